"""Films: coherent frames, shots, masks, stopping and going on, processes, the command."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import numpy as np
import pytest
from footage import HEIGHT, WIDTH, another, moving, write_clip

import nst_tf
from nst_tf import errors, film
from nst_tf.commands import film as command
from nst_tf.film import clips, painting, shot
from nst_tf.imaging import images

ROOT = Path(__file__).parents[2]
SETTINGS = nst_tf.StyleTransferConfig(
    backbone="vgg16",
    image_size=64,
    levels=1,
    steps=(8,),
    style_loss="gram",
    content_layers=("block2_conv1",),
    style_layers=("block1_conv1", "block2_conv1"),
    tv_weight=0.0,
)
MATCHED = SETTINGS.replace(
    style_loss="neighbours", match_layers=("block1_conv1", "block3_conv1"), steps=(4,)
)
QUICK = film.Coherence(steps=3, coarse_steps=())


@pytest.fixture(scope="module")
def clip_path(tmp_path_factory):
    """A clip of two shots of four frames each, with audio."""
    folder = tmp_path_factory.mktemp("clip")
    return write_clip(folder / "clip.mp4", moving(4) + another(4), tracks=1)


@pytest.fixture(scope="module")
def painting_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("painting") / "painting.png"
    images.save(np.random.default_rng(5).random((40, 48, 3), np.float32), path)
    return path


@pytest.fixture(scope="module")
def engine():
    return nst_tf.StyleTransfer(SETTINGS)


@pytest.fixture
def made(clip_path, painting_path, engine, tmp_path):
    """Makes a film, and returns its frames."""

    def make(name="film", watcher=None, workers=1, **changes):
        given = film.Film(
            content=str(clip_path),
            styles=[str(painting_path)],
            output=str(tmp_path / name),
            config=SETTINGS,
            coherence=QUICK,
        )
        given = dataclasses.replace(given, **changes)
        path = film.make(given, engine, watcher=watcher, workers=workers)
        return frames_of(path)

    return make


def frames_of(path):
    return np.stack([frame.picture.rgb for frame in clips.opened(path).frames(clips.Part())])


def painted(engine, frames, coherence=QUICK, **masks):
    sample = np.concatenate(frames)
    style = images.load(np.random.default_rng(5).random((40, 48, 3), np.float32))
    painter = shot.Shot(engine, [style], sample, coherence, masked=bool(masks))
    return painter, [painter.paint(images.load(frame)) for frame in frames]


class Stop(film.Watcher):
    """Stops after so many frames."""

    def __init__(self, after):
        self.left = after

    def on_frame(self, number):
        self.left -= 1

    @property
    def stopping(self):
        return self.left <= 0


# Coherence.


def test_frames_follow_the_motion(engine):
    """The paint of a place moves with it; frames by themselves do not agree so well."""
    frames = moving(4, step=2)
    _, pictures = painted(engine, frames)
    painting = np.random.default_rng(5).random((40, 48, 3), np.float32)
    alone = [engine.stylize(frame, painting) for frame in frames[:2]]

    def change(one, other):
        """Of the ground above the square, without what enters."""
        return np.abs(other[4:14, 2:-10] - one[4:14, 4:-8]).mean()

    assert change(pictures[2], pictures[3]) < 0.5 * change(*map(np.asarray, alone))


def test_a_still_clip_is_still(engine):
    frames = [moving(1)[0]] * 4
    _, pictures = painted(engine, frames)
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])


def test_noise_does_not_move_what_stands_still(engine):
    random = np.random.default_rng(0)
    still = moving(1)[0]
    frames = [
        (still + random.normal(0, 1.5 / 255, still.shape)).clip(0, 1).astype(np.float32)
        for _ in range(3)
    ]
    _, pictures = painted(engine, frames)
    np.testing.assert_array_equal(pictures[2], pictures[1])


def test_a_place_that_changes_is_painted_anew(engine):
    before = moving(1)[0]
    after = before.copy()
    after[:, 40:] = 1 - after[:, 40:]
    _, pictures = painted(engine, [before, after])
    assert np.abs(pictures[1] - pictures[0])[:, 52:].mean() > 0.05
    np.testing.assert_array_equal(pictures[1][:, :16], pictures[0][:, :16])


def test_the_colours_of_a_shot_are_those_of_all_its_frames(engine):
    """A shot that begins in the dark is not recoloured by its first frame."""
    frames = [0.02 * moving(1)[0], moving(1)[0]]
    _, pictures = painted(engine.replace(color="palette"), frames)
    assert pictures[0].mean() < pictures[1].mean() - 0.1
    assert ((pictures[1] > 0.01) & (pictures[1] < 0.99)).mean() > 0.6


def test_matches_are_carried_along_the_flow(engine):
    frames = moving(3, step=4)
    painter, _ = painted(engine.with_config(MATCHED), frames)
    (now,) = painter.state.matches
    before_painter, _ = painted(engine.with_config(MATCHED), frames[:2])
    (before,) = before_painter.state.matches
    assert now.shape == before.shape == (HEIGHT // 4, WIDTH // 4)
    carried = now[:3, 1:-3] == before[:3, 2:-2]  # One cell to the left.
    assert carried.mean() > 0.8


def test_frames_between_keyframes_are_filled_in(made):
    all_painted = made("all")
    filled = made("filled", coherence=dataclasses.replace(QUICK, keyframe_every=3))
    difference = np.abs(filled - all_painted).mean(axis=(1, 2, 3))
    assert difference[[0, 4]].max() == 0 and 0 < difference[1] < 0.1


def test_a_mask_follows_the_motion(made, tmp_path):
    mask = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    mask[:, :32] = 255
    images.save(mask, tmp_path / "mask.png")
    config = SETTINGS.replace(outside="keep", color="style")
    changes = {"content_mask": str(tmp_path / "mask.png"), "config": config}
    with pytest.raises(errors.ConfigError, match="2 shots"):
        made("masked", **changes)
    found = made("masked", part=clips.Part(end=clips.Fraction(16, 100)), **changes)
    outside = np.abs(found[:, :12] - np.stack(moving(4))[:, :12])
    # The ground moves two pixels to the left a frame, and so does the border.
    assert outside[3, :, 36:56].max() < 0.02
    assert outside[3, :, 8:20].mean() > 0.03


# Shots, parts and times.


def test_a_cut_leaves_no_trace(made, engine, clip_path, painting_path):
    found = made()
    frames = [frame.picture for frame in clips.opened(clip_path).frames(clips.Part())]
    second = frames[4:]
    alone = list(
        nst_tf.stylize_film(second, painting_path, SETTINGS, coherence=QUICK, engine=engine)
    )
    np.testing.assert_allclose(found[4:], np.stack(alone), atol=0.5 / 255 + 1e-6)


def test_a_program_gets_the_same_frames(made, clip_path, painting_path, engine):
    given = nst_tf.stylize_film(clip_path, painting_path, SETTINGS, coherence=QUICK, engine=engine)
    np.testing.assert_allclose(np.stack(list(given)), made(), atol=0.5 / 255 + 1e-6)


def test_a_fade_goes_from_the_clip_into_the_painting(made):
    whole, faded = made("whole"), made("faded", fade=[(0, 0.0), (2, 1.0)])
    original = np.stack(moving(4))
    np.testing.assert_allclose(faded[0], original[0], atol=1 / 255)
    np.testing.assert_allclose(faded[1], (original[1] + whole[1]) / 2, atol=1.5 / 255)
    np.testing.assert_array_equal(faded[2:], whole[2:])
    assert painting.share_at([(10, 0.2), (20, 0.6)], 15) == pytest.approx(0.4)


def test_a_loop_ends_as_it_begins(made):
    plain = made("plain", cuts=[])
    looped = made("looped", cuts=[], coherence=dataclasses.replace(QUICK, loop=True))
    assert np.abs(looped[0] - plain[0]).max() > 0
    np.testing.assert_array_equal(looped[3:], plain[3:])


def test_a_part_without_frames_is_refused(made):
    with pytest.raises(errors.ClipError, match="no frame between --start and --end"):
        made(part=clips.Part(clips.Fraction(50)))


# Nothing is lost.


def test_a_film_goes_on_where_it_was_stopped(made, tmp_path):
    whole = made("whole", config=MATCHED)
    for after in (2, 1, 3):
        with pytest.raises(film.StoppedError):
            made("stopped", Stop(after), resume=True, config=MATCHED)
        assert (tmp_path / "stopped-partial").is_dir()
    np.testing.assert_array_equal(made("stopped", resume=True, config=MATCHED), whole)
    assert not (tmp_path / "stopped.frames").exists()


def test_a_film_that_cannot_begin_leaves_nothing(made, tmp_path):
    with pytest.raises(errors.ConfigError):
        made("film", config=SETTINGS.replace(outside="keep"))
    assert not list(tmp_path.iterdir())


def test_frames_of_another_film_are_not_taken(made, tmp_path):
    with pytest.raises(film.StoppedError):
        made("film", Stop(1))
    with pytest.raises(errors.ConfigError, match="--resume goes on"):
        made("film")
    with pytest.raises(errors.ConfigError, match="made with another settings"):
        made("film", resume=True, config=SETTINGS.replace(style_weight=3.0))


def test_an_existing_film_is_kept(made, tmp_path):
    (tmp_path / "film").mkdir()
    with pytest.raises(errors.ExistingOutputError):
        made("film")


def test_a_killed_command_goes_on_in_two_processes_to_the_same_film(
    made, clip_path, painting_path, tmp_path
):
    command = [
        sys.executable, str(ROOT / "scripts" / "film.py"),
        f"--content={clip_path}", f"--style={painting_path}", f"--output={tmp_path / 'film.mkv'}",
        "--backbone=vgg16", "--image_size=64", "--levels=1", "--steps=8", "--style_loss=gram",
        "--content_layers=block2_conv1", "--style_layers=block1_conv1,block2_conv1",
        "--tv_weight=0", "--later_steps=3", "--resume",
    ]  # fmt: skip
    folder = tmp_path / "film.mkv.frames"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(folder.glob("0*.png"))) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = forked.run(ROOT / "scripts" / "film.py", *command[2:], "--workers=2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "film.mkv") and not folder.exists()
    made("undisturbed.mkv", coherence=film.Coherence(steps=3))
    assert (tmp_path / "undisturbed.mkv").read_bytes() == (tmp_path / "film.mkv").read_bytes()


def test_a_disk_that_is_full_loses_no_frame(made, tmp_path, monkeypatch):
    save, count = images.save, [0]

    def full(*given, **options):
        count[0] += 1
        if count[0] == 3:
            raise errors.OutputError("frame: cannot write the picture (No space left on device).")
        save(*given, **options)

    monkeypatch.setattr(images, "save", full)
    with pytest.raises(errors.OutputError, match="No space left"):
        made("film")
    monkeypatch.undo()
    assert len(list((tmp_path / "film.frames").glob("0*.png"))) == 2
    np.testing.assert_array_equal(made("film", resume=True), made("whole"))


# The command.


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--fade=0:2"], "--fade: '0:2' is no FRAME:SHARE"),
        (["--cuts=1,x"], "--cuts=1,x: expected auto, none, or numbers"),
        (["--cuts=99"], "99, and the film has 8 frames"),
        (["--start=3", "--end=2"], "a later end"),
        (["--output=film.avi"], "films end in .mp4"),
        (["--start=50"], "no frame between --start and --end"),
        (["--every=0"], "expected 1 or more"),
    ],
)
def test_a_wrong_flag_is_a_sentence(clip_path, painting_path, tmp_path, capsys, flags, said):
    given = [f"--content={clip_path}", f"--style={painting_path}", "--backbone=vgg16"]
    status = command.main(["film.py", *given, f"--output={tmp_path / 'film.mp4'}", *flags])
    shown = capsys.readouterr().err
    assert status in (1, 2) and said in shown and "Traceback" not in shown
    assert not list(tmp_path.iterdir())
