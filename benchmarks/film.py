"""How steady a film is, on clips with known flow, and how long it takes.

    python benchmarks/film.py --run=coherence [--clips=pan,turn,light] [--frames=12] [--width=256]
    python benchmarks/film.py --run=drift [--frames=100] [--width=128]
    python benchmarks/film.py --run=still [--frames=10] [--width=256]
    python benchmarks/film.py --run=time [--frames=30] [--width=512]

coherence: the warping error of pictures one frame and five frames apart, by the true flow and by
the estimated one, with style gain and structure of the last picture. The contenders, each with the
settings of the film's frames: every frame alone; from the frame before, moved along the flow;
every frame alone, and half of the frame before blended in; and the temporal losses of two peers,
from their formulas: that of Ruder et al. (weights by the consistency of the flow, long-term weights
that leave out what a nearer frame holds) and one without weights.
drift: how far the mean colour moves. still: the change where nothing moves, in a clip with noise,
and in one without. time: seconds of a film, and of every frame alone, of the first frames.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import common
import judge
import moving
import numpy as np
from absl import app, flags

import nst_tf
from nst_tf import objective
from nst_tf.film import coherence, flow, shot, temporal
from nst_tf.imaging import images, inputs

_RUN = flags.DEFINE_enum(
    "run", None, ["coherence", "drift", "still", "time"], "what to measure", required=True
)
_CLIPS = flags.DEFINE_list("clips", ["pan", "turn", "light"], "clips of benchmarks/moving.py")
_FRAMES = flags.DEFINE_integer("frames", 0, "frames of a clip; 0 for that of the description")
_WIDTH = flags.DEFINE_integer("width", 0, "width of a frame, in 16:9; 0 likewise")
_CONTENDERS = flags.DEFINE_list("contenders", [], "names of contenders; empty for all")
_OUTPUT = flags.DEFINE_string("output", "", "JSON file for the figures")

_PAINTING = common.ROOT / "assets" / "estuary.jpg"
_RUDER_WEIGHT = 1e3 * 3  # Of squares in [0, 255], where the style has 1e0 a layer; see `_terms`.
_NEAR = 1  # Frames between a frame and its second reference.
Pictures = list[np.ndarray]


def _engine(width: int) -> nst_tf.StyleTransfer:
    return nst_tf.StyleTransfer(nst_tf.StyleTransferConfig(image_size=width))


def film(engine: nst_tf.StyleTransfer, frames: Sequence[np.ndarray]) -> Pictures:
    """Returns the pictures of a film of one shot."""
    painter = shot.Shot(
        engine, [images.load(_PAINTING)], np.concatenate(frames), coherence.Coherence()
    )
    return [painter.paint(images.load(frame)) for frame in frames]


def alone(engine: nst_tf.StyleTransfer, frames: Sequence[np.ndarray]) -> Pictures:
    """Returns the picture of every frame by itself."""
    return [engine.stylize(frame, _PAINTING).numpy() for frame in frames]


def blended(engine: nst_tf.StyleTransfer, frames: Sequence[np.ndarray]) -> Pictures:
    """Returns pictures of every frame by itself, half of the one before blended in."""
    found = alone(engine, frames[:1])
    for before, frame in itertools.pairwise(frames):
        moved = flow.between(before, frame).carried(found[-1])
        found.append((0.5 * (alone(engine, [frame])[0] + moved)).clip(0, 1))
    return found


def chained(engine: nst_tf.StyleTransfer, frames: Sequence[np.ndarray], peer: str = "") -> Pictures:
    """Returns pictures that each begin with the one before, moved along the flow.

    Args:
        engine: the engine of the first frame.
        frames: the frames.
        peer: the temporal loss: `ruder`, `unweighted`, or an empty text for none.
    """
    found = alone(engine, frames[:1])
    later, sample = _later(engine, peer), np.concatenate(frames)
    painting = images.load(_PAINTING)
    recoloured = inputs.prepare(engine.config, images.load(sample), [painting])
    for number in range(1, len(frames)):
        content = recoloured.matched_to_palettes(frames[number], sample).clip(0, 1)
        flows = [
            flow.between(frames[number - apart], frames[number])
            for apart in (1, 1 + _NEAR)
            if apart <= number
        ]
        moved = [each.carried(found[-1 - at]).clip(0, 1) for at, each in enumerate(flows)]
        near = flows[0].holds
        start = content + near[..., np.newaxis] * (moved[0] - content)
        references = {}
        if peer:
            weights = near if peer == "ruder" else np.ones_like(near)
            references["previous"] = moved[0], weights
        if peer == "ruder":
            far, second = flows[-1].holds, moved[-1]
            references["second"] = second, np.maximum(far - near, 0)
        made = later.stylize(content, painting, init=start, references=references)
        found.append(made.numpy())
    return found


def _later(engine: nst_tf.StyleTransfer, peer: str) -> nst_tf.StyleTransfer:
    config = engine.config.at_level(engine.config.image_size)
    config = config.replace(levels=1, steps=(coherence.Coherence().steps,), color="style")
    terms = list(objective.terms(config, engine.backbone.name))
    names = {"ruder": ("previous", "second"), "unweighted": ("previous",)}.get(peer, ())
    terms += [
        objective.Term(name, "image", temporal.Temporal(reference=name), _RUDER_WEIGHT)
        for name in names
    ]
    made = objective.Objective(engine.backbone, terms)
    return nst_tf.StyleTransfer(config, engine.backbone, objective=made)


CONTENDERS: dict[str, Callable[[nst_tf.StyleTransfer, Sequence[np.ndarray]], Pictures]] = {
    "film": film,
    "frames alone": alone,
    "from the frame before": chained,
    "alone, blended": blended,
    "Ruder et al.": lambda engine, frames: chained(engine, frames, "ruder"),
    "without weights": lambda engine, frames: chained(engine, frames, "unweighted"),
}


def _coherence(count: int, width: int) -> list[dict[str, Any]]:
    painting, rows = images.load(_PAINTING).rgb, []
    for name in _CLIPS.value:
        clip = moving.clip(name, count, _height(width), width)
        floor = moving.warping_error(clip.frames, clip.back, 1)
        print(f"{name}: the clip itself {floor:.4f}")
        for title in _CONTENDERS.value or CONTENDERS:
            engine = _engine(width)
            begin = time.perf_counter()
            pictures = CONTENDERS[title](engine, clip.frames)
            seconds = (time.perf_counter() - begin) / count
            verdict = judge.for_size(clip.frames[-1], painting, _height(width), width)(pictures[-1])
            row = {
                "clip": name,
                "contender": title,
                "one apart": moving.warping_error(pictures, clip.back, 1),
                "five apart": moving.warping_error(pictures, clip.back, 5),
                "estimated": moving.warping_error(pictures, _estimated(clip.frames), 1),
                "style gain": verdict.style_gain,
                "structure": verdict.structure,
                "bare": verdict.bare,
                "seconds a frame": seconds,
            }
            rows.append(row)
            print(_line(row), flush=True)
    return rows


def _estimated(frames: Sequence[np.ndarray]) -> Callable[[int, int], tuple[np.ndarray, np.ndarray]]:
    def back(later: int, earlier: int) -> tuple[np.ndarray, np.ndarray]:
        found = flow.between(frames[earlier], frames[later])
        return found.back, found.holds

    return back


def _drift(count: int, width: int) -> list[dict[str, Any]]:
    clip = moving.clip("turn", count, _height(width), width)
    pictures = film(_engine(width), clip.frames)
    means = np.array([picture.mean((0, 1)) for picture in pictures])
    frames = np.array([frame.mean((0, 1)) for frame in clip.frames])
    row = {
        "largest drift of the mean colour": float(np.abs(means - means[0]).max()),
        "of the clip itself": float(np.abs(frames - frames[0]).max()),
        "drift of the last": float(np.abs(means[-1] - means[0]).max()),
        "frames": count,
    }
    print(_line(row))
    return [row]


def _still(count: int, width: int) -> list[dict[str, Any]]:
    rows = []
    for title, motion in (
        ("without noise", moving.Motion()),
        ("with noise of 2/255", moving.Motion(noise=2 / 255)),
        ("with noise, and a disc that moves", moving.Motion(noise=2 / 255, object_across=6.0)),
    ):
        clip = moving.Clip(motion, count, _height(width), width)
        pictures = film(_engine(width), clip.frames)
        columns = slice(0, width // 4)  # Which the disc never reaches.
        changes = [
            float(np.abs(after[:, columns] - before[:, columns]).mean())
            for before, after in itertools.pairwise(pictures[1:])
        ]
        row = {"clip": title, "mean change": float(np.mean(changes)), "largest": max(changes)}
        rows.append(row)
        print(_line(row), flush=True)
    return rows


def _time(count: int, width: int) -> list[dict[str, Any]]:
    clip = moving.clip("pan", count, _height(width), width)
    engine = _engine(width)
    alone(engine, clip.frames[:1])  # Compiles the steps of both.
    begin = time.perf_counter()
    alone(engine, clip.frames[1:4])
    single = (time.perf_counter() - begin) / 3
    begin = time.perf_counter()
    film(engine, clip.frames)
    seconds = time.perf_counter() - begin
    row = {
        "frames": count,
        "seconds of the film": seconds,
        "seconds of a frame alone": single,
        "ratio to all frames alone": seconds / (count * single),
    }
    print(_line(row))
    return [row]


def _height(width: int) -> int:
    return width * 9 // 16


def _line(row: dict[str, Any]) -> str:
    parts = (f"{value:.4f}" if isinstance(value, float) else str(value) for value in row.values())
    return "  ".join(f"{name} {part}" for name, part in zip(row, parts, strict=True))


_RUNS = {
    "coherence": (_coherence, 12, 256),
    "drift": (_drift, 100, 128),
    "still": (_still, 10, 256),
    "time": (_time, 30, 512),
}


def main(argv: Sequence[str]) -> None:
    """Measures and prints."""
    del argv
    run, count, width = _RUNS[_RUN.value]
    rows = run(_FRAMES.value or count, _WIDTH.value or width)
    if _OUTPUT.value:
        with open(_OUTPUT.value, "w") as file:
            json.dump({"machine": common.machine(), "rows": rows}, file, indent=2)


if __name__ == "__main__":
    app.run(main)
