"""What each loss makes of some pairs of photo and painting, and what a step with it takes.

    python benchmarks/losses.py --pairs=PHOTO:PAINTING,PHOTO:PAINTING --folder=FOLDER \
        [--size=256] [--rows=gram@1,moments@2] [--set=pooling=max] [--turns=5]

A row is a style loss, or a content loss with Gram matrices, or `strotss` (remd+moments and
self_similarity), and the content weight that it is given; all else is as the package comes, with
VGG16. Pictures are judged by `quality.py`'s figures; a row's are means over the pairs. The folder's
`losses.json` has them all; what is there already is not made again. With `--turns`, steps of all
rows at that size then take turns, and a row's median is given as a ratio to that of the first.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np
from absl import app, flags

_PAIRS = flags.DEFINE_list("pairs", None, "photos and paintings, a colon between them")
_SIZE = flags.DEFINE_integer("size", 256, "long side of the pictures")
_ROWS = flags.DEFINE_list("rows", ["gram@1"], "LOSS@CONTENT_WEIGHT")
_SET = flags.DEFINE_list("set", [], "SETTING=VALUE of all rows, a number or a word")
_TURNS = flags.DEFINE_integer("turns", 0, "steps of each row that are timed")
_FOLDER = flags.DEFINE_string("folder", None, "where pictures and figures go")

_CONTENT = ("laplacian", "self_similarity", "features")


def _settings(row: str) -> Any:
    """Returns the config of a row."""
    from nst_tf import StyleTransferConfig

    name, weight = row.split("@")
    kind = "content_loss" if name.split("+")[0] in _CONTENT else "style_loss"
    named = {"strotss": {"style_loss": "remd+moments", "content_loss": "self_similarity"}}
    changes: dict[str, Any] = dict(named.get(name, {kind: name}))
    for each in _SET.value:
        setting, _, value = each.partition("=")
        try:
            changes[setting] = json.loads(value)
        except json.JSONDecodeError:  # A word.
            changes[setting] = value
    return StyleTransferConfig(
        backbone="vgg16", image_size=_SIZE.value, content_weight=float(weight), **changes
    )


def _judged(rows: list[str], pairs: list[list[str]], found: dict[str, Any], folder: Path) -> None:
    """Makes and judges the picture of every row and pair that is not there yet."""
    import judge

    from nst_tf import StyleTransfer, images

    for pair in pairs:
        photo, painting = (images.load(path).rgb for path in pair)
        name, verdicts = "-".join(Path(path).stem for path in pair), {}
        for row in rows:
            figures = found.setdefault(row, {})
            if name in figures:
                continue
            picture = StyleTransfer(_settings(row)).stylize(photo, painting).numpy()
            images.save(picture, folder / f"{row}-{name}.png")
            size = picture.shape[:2]
            if size not in verdicts:
                verdicts[size] = judge.for_size(photo, painting, *size)
            figures[name] = dataclasses.asdict(verdicts[size](np.round(picture * 255) / 255))
            print(_line(f"{row} {name}", figures[name]), flush=True)
            (folder / "losses.json").write_text(json.dumps(found, indent=1))


def _line(name: str, figures: dict[str, float]) -> str:
    return f"{name:40}" + "".join(f"{value:12.3f}" for value in figures.values())


def _means(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    names = next(iter(figures.values()))
    return {name: statistics.mean(each[name] for each in figures.values()) for name in names}


def _step(row: str, pair: list[str]) -> Callable[[], float]:
    """Returns a function that takes one step at full size and returns its seconds."""
    import tensorflow as tf

    from nst_tf import gradients, images, objective, optimizers, pyramid, transfer

    config = _settings(row)
    backbone = transfer.build_backbone(config)
    photo, painting = (images.load(path).rgb for path in pair)
    sizes = [pyramid.fit(*picture.shape[:2], _SIZE.value) for picture in (photo, painting)]
    shown = [
        tf.constant(images.resize(picture, *size)[np.newaxis])
        for picture, size in zip((photo, painting), sizes, strict=True)
    ]
    whole = objective.Objective.from_config(config, backbone)
    everywhere, measure = tf.ones((1, 1, 1, 1)), gradients.compile_targets(whole)
    style = whole.blend([measure(shown[1], everywhere, model="style")], [[1.0]])
    targets = {**measure(shown[0], everywhere, model="content"), **style}
    optimizer = optimizers.Guarded.from_config(config)
    image, state = tf.Variable(shown[0]), optimizer.initial_state(shown[0], 100)
    state = {name: tf.Variable(value) for name, value in state.items()}
    step = gradients.compile_step(whole, optimizer)

    def take() -> float:
        begin = time.perf_counter()
        step(image, state, targets)[0].numpy()
        return time.perf_counter() - begin

    return take


def _timed(rows: list[str], pair: list[str]) -> dict[str, list[float]]:
    """Returns the seconds of the steps of each row, which take turns."""
    steps = {row: _step(row, pair) for row in rows}
    seconds: dict[str, list[float]] = {row: [] for row in rows}
    for turn in range(_TURNS.value + 1):
        for row, take in steps.items():
            taken = take()
            if turn:  # The first compiles.
                seconds[row].append(taken)
    return seconds


def main(argv: list[str]) -> None:
    del argv
    from nst_tf import backend

    backend.prefer_onednn()
    folder = Path(_FOLDER.value)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "losses.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    pairs = [pair.split(":") for pair in _PAIRS.value]
    _judged(_ROWS.value, pairs, found, folder)
    print(
        _line("mean of the pairs", {})
        + "  style_gain     content      colour     clipped       grain"
    )
    for row in _ROWS.value:
        print(_line(row, _means(found[row])))
    if _TURNS.value:
        seconds = _timed(_ROWS.value, pairs[0])
        first = statistics.median(next(iter(seconds.values())))
        for row, each in seconds.items():
            middle = statistics.median(each)
            print(f"{row:40}{middle:8.3f} s a step, {middle / first:.2f} of {_ROWS.value[0]}")
        common.write(str(folder / "seconds.json"), seconds)


if __name__ == "__main__":
    flags.mark_flags_as_required(["pairs", "folder"])
    app.run(main)
