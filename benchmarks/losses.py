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
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import common
import judge
import numpy as np
import work
from absl import app, flags

_PAIRS = flags.DEFINE_list("pairs", None, "photos and paintings, a colon between them")
_SIZE = flags.DEFINE_integer("size", 256, "long side of the pictures")
_ROWS = flags.DEFINE_list("rows", ["gram@1"], "LOSS@CONTENT_WEIGHT")
_SET = flags.DEFINE_list("set", [], "SETTING=VALUE of all rows, a number or a word")
_TURNS = flags.DEFINE_integer("turns", 0, "steps of each row that are timed")
_FOLDER = flags.DEFINE_string("folder", None, "where pictures and figures go")


def _settings(row: str) -> Any:
    """Returns the config of a row."""
    from nst_tf import StyleTransferConfig
    from nst_tf.config import CONTENT_NORMALIZATIONS

    name, weight = row.split("@")
    kind = "content_loss" if name.split("+")[0] in CONTENT_NORMALIZATIONS else "style_loss"
    named = {"strotss": {"style_loss": "remd+moments", "content_loss": "self_similarity"}}
    changes: dict[str, Any] = dict(named.get(name, {kind: name}))
    for each in _SET.value:
        setting, _, value = each.partition("=")
        try:
            changes[setting] = json.loads(value)
        except json.JSONDecodeError:  # A word.
            changes[setting] = value
    return StyleTransferConfig.preset(
        "gram", backbone="vgg16", image_size=_SIZE.value, content_weight=float(weight), **changes
    )


def _judged(rows: list[str], pairs: list[list[str]], found: dict[str, Any], folder: Path) -> None:
    """Makes and judges the picture of every row and pair that is not there yet."""
    from nst_tf import StyleTransfer
    from nst_tf.imaging import images

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
            verdict = verdicts[size](np.round(picture * 255) / 255)
            figures[name] = dataclasses.asdict(verdict)
            print(judge.line(f"{row} {name}", verdict), flush=True)
            (folder / "losses.json").write_text(json.dumps(found, indent=1))


def _mean(figures: Iterable[dict[str, float]]) -> judge.Verdict:
    """Returns the mean verdict of the pairs."""
    each = [tuple(figure.values()) for figure in figures]
    return judge.Verdict(*map(statistics.mean, zip(*each, strict=True)))


def _step(row: str, pair: list[str]) -> Callable[[], None]:
    """Returns what takes a step at full size."""
    from nst_tf import backbones, objective
    from nst_tf.imaging import images, pyramid

    config, shown = _settings(row), []
    for path in pair:
        picture = images.load(path).rgb
        size = pyramid.fit(*picture.shape[:2], _SIZE.value)
        shown.append(images.resize(picture, *size)[np.newaxis])
    layers = objective.used_layers(config)
    network = backbones.build(config.backbone, layers, **config.network)
    return work.step_of(work.prepared(config, network, *shown))


def main(argv: list[str]) -> None:
    del argv
    from nst_tf.runtime import backend

    backend.prefer_onednn()
    folder = Path(_FOLDER.value)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "losses.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    pairs = [pair.split(":") for pair in _PAIRS.value]
    _judged(_ROWS.value, pairs, found, folder)
    print(judge.heading("mean of the pairs"))
    for row in _ROWS.value:
        print(judge.line(row, _mean(found[row].values())))
    if _TURNS.value:
        steps = {row: _step(row, pairs[0]) for row in _ROWS.value}
        seconds = common.seconds_in_turns(steps, _TURNS.value)
        first = statistics.median(next(iter(seconds.values())))
        for row, each in seconds.items():
            middle = statistics.median(each)
            print(f"{row:40}{middle:8.3f} s a step, {middle / first:.2f} of {_ROWS.value[0]}")
        common.write(str(folder / "seconds.json"), seconds)


if __name__ == "__main__":
    flags.mark_flags_as_required(["pairs", "folder"])
    app.run(main)
