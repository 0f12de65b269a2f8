"""Films of the optimisation."""

from __future__ import annotations

import av
import numpy as np
import pytest
from PIL import Image

import nst_tf
from nst_tf import callbacks

RANDOM = np.random.default_rng(0)
PHOTO, PAINTING = RANDOM.random((2, 67, 99, 3), np.float32)
SETTINGS = nst_tf.StyleTransferConfig(
    backbone="vgg16", image_size=99, levels=2, steps=(5, 4), content_layers=("block2_conv1",),
    style_layers=("block1_conv1", "block2_conv1"),
    style_loss="gram", style_weight=10.0, content_weight=1.0, color="style", init_noise=0.5,
    level_factor=2**0.5,
)  # fmt: skip


def frames(path):
    """Returns all frames of a film, `(frames, height, width, 3)`."""
    if path.suffix == ".gif":
        with Image.open(path) as film:
            shown = []
            for number in range(film.n_frames):
                film.seek(number)
                times = film.info["duration"] // 50  # Equal frames are stored once, for longer.
                shown += [np.asarray(film.convert("RGB"))] * times
            return np.stack(shown)
    with av.open(path) as film:
        assert film.streams.video[0].codec_context.name == "h264"
        assert film.streams.video[0].average_rate == 30
        return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])


@pytest.mark.parametrize(("suffix", "rate"), [(".mp4", 30), (".gif", 20)])
def test_every_step_is_a_frame_and_the_result_stands(tmp_path, suffix, rate):
    path = tmp_path / f"film{suffix}"
    picture = nst_tf.stylize(PHOTO, PAINTING, SETTINGS, [callbacks.Timelapse(path)]).numpy()
    found = frames(path)
    assert found.shape[1:] == (66, 98, 3)
    assert len(found) == 9 + 2 * rate
    shown = nst_tf.imaging.resize(picture, 66, 98) * 255
    assert np.abs(found[-1].astype(float) - shown).mean() < 20
    assert not np.array_equal(found[0], found[8])
    assert list(tmp_path.iterdir()) == [path]


def test_a_long_run_skips_steps(tmp_path, monkeypatch):
    monkeypatch.setattr("nst_tf.callbacks.timelapse._MOST_FRAMES", 4)
    path = tmp_path / "film.mp4"
    nst_tf.stylize(PHOTO, PAINTING, SETTINGS, [callbacks.Timelapse(path)])
    assert len(frames(path)) == 9 // 3 + 60


def test_a_film_of_a_stopped_run_is_whole(tmp_path):
    class Stop(callbacks.Callback):
        def on_begin(self, run):
            self.run = run

        def on_step_end(self, step):
            self.run.stopping = step.step == 3

    path = tmp_path / "film.mp4"
    nst_tf.stylize(PHOTO, PAINTING, SETTINGS, [callbacks.Timelapse(path), Stop()])
    assert len(frames(path)) == 3 + 60


@pytest.mark.parametrize("name", ["film.mp4", "film.gif"])
def test_a_film_that_cannot_be_written_stops_nothing(tmp_path, name, caplog):
    path = tmp_path / "gone" / name
    assert np.isfinite(nst_tf.stylize(PHOTO, PAINTING, SETTINGS, [callbacks.Timelapse(path)])).all()
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: no film (No such file or directory)."
    ]


@pytest.mark.parametrize(("height", "width"), [(1, 3), (4000, 3001)])
def test_sides_of_a_frame_are_even(height, width):
    sides = callbacks.timelapse._frame_size(height, width, 1920)
    assert all(side % 2 == 0 and 2 <= side <= 1920 for side in sides)
