"""Reading clips and writing films: times, audio, transparency, bits, formats, damaged files."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from footage import in_8_bits, moving, write_clip
from PIL import Image

from nst_tf import errors
from nst_tf.film import clips, writing
from nst_tf.imaging import images

FRAMES = moving(6)
TIMES = [0, 40, 110, 150, 220, 300]


def read(path, part=None):
    return list(clips.opened(path).frames(part or clips.Part()))


def times(frames):
    return [float(frame.time) for frame in frames]


def as_frames(pictures, clip, alpha=None):
    return [
        clips.Frame(frame.number, frame.time, images.Picture(in_8_bits(picture), alpha))
        for frame, picture in zip(clip.frames(clips.Part()), pictures, strict=True)
    ]


def packets(path, track=0):
    with av.open(str(path)) as container:
        stream = container.streams.audio[track]
        return [
            (bytes(each), each.pts * each.time_base)
            for each in container.demux(stream)
            if each.size
        ]


@pytest.fixture
def source(tmp_path):
    return clips.opened(write_clip(tmp_path / "source.mp4", FRAMES, times=TIMES, tracks=2))


def test_a_clip_gives_its_frames_and_their_times(source):
    frames = list(source.frames(clips.Part()))
    assert source.size == (48, 64) and source.audio == ("aac", "aac")
    np.testing.assert_allclose(times(frames), np.array(TIMES) / 1000)
    for frame, wanted in zip(frames, FRAMES, strict=True):
        np.testing.assert_array_equal(frame.picture.pixels, in_8_bits(wanted))


def test_a_part_of_a_clip(source):
    part = clips.Part(Fraction(1, 10), Fraction(3, 10), 2)
    frames = list(source.frames(part))
    assert [frame.number for frame in frames] == [0, 1]
    np.testing.assert_allclose(times(frames), [0.01, 0.12])
    np.testing.assert_array_equal(frames[1].picture.pixels, in_8_bits(FRAMES[4]))
    with pytest.raises(errors.ConfigError, match="a later end"):
        clips.Part(Fraction(2), Fraction(1))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".gif", ".apng", ".webp"])
def test_a_film_keeps_times_and_looks_like_its_frames(source, tmp_path, suffix):
    path = tmp_path / f"film{suffix}"
    frames = as_frames(FRAMES, source)
    writing.write(path, frames, source, clips.Part(), audio=suffix != ".webm")
    found = read(path)
    np.testing.assert_allclose(times(found), np.array(TIMES) / 1000, atol=1e-9)
    for one, other in zip(found, frames, strict=True):
        assert np.abs(one.picture.rgb - other.picture.rgb).mean() < 0.03


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_all_audio_is_copied_as_it_is(source, tmp_path, suffix):
    path = tmp_path / f"film{suffix}"
    writing.write(path, as_frames(FRAMES, source), source, clips.Part())
    for track in (0, 1):
        before, after = packets(source.name, track), packets(path, track)
        assert [data for data, _ in after] == [data for data, _ in before]
        moved = {round(float(b - a), 3) for (_, a), (_, b) in zip(before, after, strict=True)}
        assert len(moved) == 1  # A container without negative times moves all streams alike.


def test_a_part_has_the_audio_of_that_part(source, tmp_path):
    part = clips.Part(Fraction(1, 10), Fraction(1, 4))
    path = tmp_path / "part.mp4"
    frames = list(source.frames(part))
    writing.write(path, frames, source, part)
    whole, cut = packets(source.name), packets(path)
    wanted = [data for data, time in whole if Fraction(1, 10) <= time < Fraction(1, 4)]
    assert [data for data, _ in cut] == wanted and 0 < len(wanted) < len(whole)
    assert all(0 <= time < 0.16 for _, time in cut)


def test_audio_that_a_format_does_not_hold_is_refused_before_the_work(source, tmp_path):
    with pytest.raises(errors.ConfigError, match=r"webm holds no aac.*--audio=false"):
        writing.check(tmp_path / "film.webm", source, True)
    writing.check(tmp_path / "film.webm", source, False)
    with pytest.raises(errors.ConfigError, match="films end in"):
        writing.check(tmp_path / "film.avi", source, True)


@pytest.mark.parametrize("suffix", [".mov", ".webm", ".apng", ".webp"])
def test_transparency_is_kept(source, tmp_path, suffix):
    alpha = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (48, 1))
    frames = as_frames(FRAMES, source, alpha)
    path = tmp_path / f"film{suffix}"
    writing.write(path, frames, source, clips.Part(), audio=False)
    clip = clips.opened(path)
    assert clip.transparent
    found = next(iter(clip.frames(clips.Part())))
    assert np.abs(found.picture.alpha - alpha).mean() < 0.01


def test_transparency_is_laid_on_white_where_it_is_not_kept(source, tmp_path):
    frames = as_frames(FRAMES, source, np.zeros((48, 64), np.float32))
    writing.write(tmp_path / "film.mp4", frames, source, clips.Part(), audio=False)
    assert read(tmp_path / "film.mp4")[0].picture.rgb.min() > 0.98


def test_10_bits_are_read_and_written(source, tmp_path):
    source.bits = 10
    ramp = np.tile(np.linspace(0.4, 0.45, 64, dtype=np.float32)[:, np.newaxis], (48, 1, 3))
    frames = [
        clips.Frame(frame.number, frame.time, images.Picture(ramp))
        for frame in source.frames(clips.Part())
    ]
    writing.write(tmp_path / "film.mp4", frames, source, clips.Part(), audio=False)
    clip = clips.opened(tmp_path / "film.mp4")
    found = next(iter(clip.frames(clips.Part()))).picture
    assert clip.bits == 10 and found.pixels.dtype == np.uint16
    assert len(np.unique(found.pixels[20, :, 1])) > 20  # In 8 bits there are 13 steps.
    assert np.abs(found.rgb - ramp).mean() < 0.004


def test_odd_sides_keep_their_pixels(tmp_path):
    frames = [frame[:47, :63] for frame in FRAMES]
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(frames):
        images.save(frame, folder / f"{number}.png")
    clip = clips.opened(folder)
    writing.write(tmp_path / "film.mp4", list(clip.frames(clips.Part())), clip, clips.Part())
    found = read(tmp_path / "film.mp4")
    assert found[0].picture.size == (48, 64)
    assert np.abs(found[0].picture.rgb[:47, :63] - frames[0]).mean() < 0.03


def test_a_folder_is_read_by_the_numbers_of_its_pictures(tmp_path):
    for number, frame in zip((1, 2, 10), FRAMES, strict=False):
        images.save(frame, tmp_path / f"f{number}.png")
    clip = clips.opened(tmp_path, 10)
    found = list(clip.frames(clips.Part()))
    assert times(found) == [0, 0.1, 0.2]
    np.testing.assert_array_equal(found[2].picture.pixels, in_8_bits(FRAMES[2]))
    images.save(FRAMES[0][:20], tmp_path / "f11.png")
    with pytest.raises(errors.ClipError, match=r"f11\.png: has 64x20 pixels"):
        list(clips.opened(tmp_path).frames(clips.Part()))


def test_a_film_may_be_a_folder(source, tmp_path):
    frames = as_frames(FRAMES, source)
    writing.write(tmp_path / "film", frames, source, clips.Part())
    assert sorted(path.name for path in (tmp_path / "film").iterdir())[0] == "000001.png"
    np.testing.assert_array_equal(read(tmp_path / "film")[5].picture.pixels, in_8_bits(FRAMES[5]))
    with pytest.raises(errors.ExistingOutputError):
        writing.write(tmp_path / "film", frames, source, clips.Part())


def test_a_rotated_clip_is_turned_upright(source, tmp_path):
    """The matrix of an MP4's track, as a phone held upright writes it."""
    data = bytearray(Path(source.name).read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16  # Version 0: times, layer and volume before it.
    one = 1 << 16
    matrix = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    data[at : at + 36] = matrix
    path = tmp_path / "turned.mp4"
    path.write_bytes(data)
    clip = clips.opened(path)
    assert clip.size == (64, 48)
    found = next(iter(clip.frames(clips.Part()))).picture.pixels
    np.testing.assert_array_equal(found, np.rot90(in_8_bits(FRAMES[0]), -1))


def test_one_frame_and_one_frame_a_second(tmp_path):
    path = write_clip(tmp_path / "one.mp4", FRAMES[:1])
    assert times(read(path)) == [0]
    path = write_clip(tmp_path / "slow.mp4", FRAMES[:3], times=[0, 1000, 2000])
    clip = clips.opened(path)
    writing.write(tmp_path / "film.mp4", list(clip.frames(clips.Part())), clip, clips.Part())
    assert times(read(tmp_path / "film.mp4")) == [0, 1, 2]


def test_a_gif_has_one_palette_for_all_frames(source, tmp_path):
    writing.write(tmp_path / "film.gif", as_frames(FRAMES, source), source, clips.Part())
    with Image.open(tmp_path / "film.gif") as image:
        assert image.n_frames == 6 and image.info["loop"] == 0


def test_a_truncated_clip_says_how_much_there_is(tmp_path):
    whole = write_clip(tmp_path / "whole.mkv", moving(40))
    with (
        av.open(str(whole)) as container,
        av.open(str(tmp_path / "front.mp4"), "w", options={"movflags": "faststart"}) as copy,
    ):
        stream = copy.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(container.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    data = (tmp_path / "front.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(errors.ClipError, match=r"cut.mp4: (ends after \d+ of 40 frames|cannot be)"):
        read(tmp_path / "cut.mp4")


@pytest.mark.parametrize(
    "data",
    [b"", b"no video at all", b"\x00\x00\x00\x18ftypmp42" + bytes(200), b"RIFF" + bytes(500)],
    ids=["empty", "text", "header", "riff"],
)
def test_a_file_that_is_no_video_is_refused_in_a_sentence(tmp_path, data):
    path = tmp_path / "bad.mp4"
    path.write_bytes(data)
    with pytest.raises(errors.ClipError, match=r"bad\.mp4: "):
        clips.opened(path)


def test_sound_alone_and_nothing_are_refused(tmp_path):
    with pytest.raises(errors.ClipError, match="no such file"):
        clips.opened(tmp_path / "none.mp4")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 44100, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(errors.ClipError, match="there is no video"):
        clips.opened(tmp_path / "sound.mp4")


def test_large_frames_are_refused(source):
    with pytest.raises(errors.ClipError, match="64x48 pixels, and max_pixels allows 100"):
        clips.opened(source.name, max_pixels=100)
