"""How soon a picture is good: style gain and LPIPS against seconds.

    python -m pip install -r benchmarks/requirements.txt
    python benchmarks/time_to_quality.py --content=PHOTO --style=PAINTING --size=512 \
        --runs=default@0.3,default@1,adam@1,single@1,torch@5 --folder=FOLDER

A run is a contender and the content weight that it is given. Each is one process, alone on the
machine, the clock of which starts with the process; the time that saving pictures takes is taken
out. The pictures on the way are judged afterwards (`quality.py`). The folder gets the last picture
of every run, `curves.json` and `curves.png`; runs of earlier calls in it take part.

- `default`: this package as it comes, VGG16.
- `photo`, `smooth`: from the photo without noise; so too, and with total variation.
- `adam`, `single`: the same with Adam; at one level, with as many steps as four levels take work.
- `early`: at one level from the photo without noise, with smoothed gradients, stopped after 45
  steps.
- `torch`: what most people run: PyTorch, L-BFGS with 500 iterations at one scale from the photo.
  Weights 5 (content) to 100, Johnson's Gram matrices and total variation as in neural-style-pt.
- `tutorial`: 1000 steps of Adam on a Keras model in a `tf.function`, with the rate and weights
  of TensorFlow's tutorial (content 10000, style 0.01), from the photo.

The first table gives the last picture of each run; the second, for every picture of this package
that is as good as the last of a reference (at least its style gain at its LPIPS or less), how many
times sooner it was there.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np
from absl import app, flags

_BEGIN = time.time()
_CONTENT = flags.DEFINE_string("content", None, "the photo")
_STYLE = flags.DEFINE_string("style", None, "the painting")
_SIZE = flags.DEFINE_integer("size", 512, "long side of the picture")
_RUNS = flags.DEFINE_list("runs", ["default@0.3", "default@1", "torch@5"], "NAME@CONTENT_WEIGHT")
_STEPS = flags.DEFINE_integer("steps", 0, "steps of each run instead of its own number, to try out")
_FOLDER = flags.DEFINE_string("folder", None, "where the results go")
_ONE = flags.DEFINE_string("one", "", "the run that this process makes")

_REFERENCES = ("torch", "tutorial")
_CAFFE = 57.6  # Scale of the activations that the reference's weights were meant for.


class _Recorder:
    """Keeps pictures and when they were there, at times that grow by a thirtieth."""

    def __init__(self, height: int, width: int) -> None:
        self._size = height, width
        self._saving, self._next = 0.0, 0.0
        self.seconds: list[float] = []
        self.pictures: list[np.ndarray] = []

    def offer(self, picture: Callable[[], np.ndarray], last: bool = False) -> None:
        """Keeps a picture `(height, width, 3)` if it is due."""
        from nst_tf.imaging import images

        now = time.time()
        seconds = now - _BEGIN - self._saving
        if last or seconds >= self._next:
            shown = np.clip(images.resize(np.float32(picture()), *self._size), 0, 1)
            self.pictures.append(np.uint8(np.round(255 * shown)))
            self.seconds.append(seconds)
            self._next = 1.03 * seconds
        self._saving += time.time() - now


def _inputs() -> tuple[np.ndarray, np.ndarray]:
    """Returns photo and painting at the size of the picture."""
    from nst_tf.imaging import images, pyramid

    photo, painting = (images.load(each.value).rgb for each in (_CONTENT, _STYLE))
    return tuple(
        images.resize(each, *pyramid.fit(*each.shape[:2], _SIZE.value))
        for each in (photo, painting)
    )


def _ours(weight: float, **settings: Any) -> _Recorder:
    import nst_tf
    from nst_tf.runtime import backend

    backend.prefer_onednn()  # As the commands do.
    photo, painting = _inputs()
    recorder = _Recorder(*photo.shape[:2])

    class Record(nst_tf.callbacks.Callback):
        def on_step_end(self, step: nst_tf.callbacks.StepEnd) -> None:
            step.loss.numpy()
            recorder.offer(lambda: step.picture().numpy())

    config = nst_tf.StyleTransferConfig.preset(
        "gram", backbone="vgg16", image_size=_SIZE.value, content_weight=weight, **settings
    )
    if _STEPS.value:
        config = config.replace(steps=_STEPS.value, levels=1)
    picture = nst_tf.stylize(photo, painting, config, [Record()])
    recorder.offer(picture.numpy, last=True)
    return recorder


def _torch(weight: float) -> _Recorder:
    import torch
    import work

    photo, painting = _inputs()
    recorder = _Recorder(*photo.shape[:2])
    features = work.torch_network("vgg16", torch.float32)
    content, style = (
        torch.tensor(np.ascontiguousarray(each.transpose(2, 0, 1)[np.newaxis]))
        for each in (photo, painting)
    )

    def gram(activations: Any) -> Any:
        return work.torch_gram(_CAFFE * activations) / activations.shape[1]

    with torch.no_grad():
        wanted = _CAFFE * features(content)[work.CONTENT]
        styles = {name: gram(features(style)[name]) for name in work.STYLE}
    image = (255 * content).requires_grad_(True)  # In the units of its total variation.
    most = _STEPS.value or 500
    optimizer = torch.optim.LBFGS(
        [image], max_iter=most, max_eval=10 * most, history_size=100,
        tolerance_grad=-1, tolerance_change=-1,
    )  # fmt: skip

    def closure() -> Any:
        optimizer.zero_grad()
        found = features(image / 255)
        loss = weight * ((_CAFFE * found[work.CONTENT] - wanted) ** 2).mean()
        for name, target in styles.items():
            loss = loss + 100 * ((gram(found[name]) - target) ** 2).mean()
        across, down = image.diff(dim=3).abs().sum(), image.diff(dim=2).abs().sum()
        loss = loss + 1e-3 * (across + down)
        loss.backward()
        recorder.offer(shown)
        return loss

    def shown() -> np.ndarray:
        return image.detach()[0].numpy().transpose(1, 2, 0) / 255

    optimizer.step(closure)
    recorder.offer(shown, last=True)
    return recorder


def _tutorial(weight: float) -> _Recorder:
    import keras
    import tensorflow as tf
    import work

    photo, painting = _inputs()
    recorder = _Recorder(*photo.shape[:2])
    features = work.keras_features("vgg16")
    content, style = (tf.constant(each[np.newaxis]) for each in (photo, painting))
    wanted = _CAFFE * features(content)[work.CONTENT]

    def gram(activations: Any) -> Any:
        return work.keras_gram(_CAFFE * activations)

    styles = {name: gram(features(style)[name]) for name in work.STYLE}
    image, optimizer = tf.Variable(content), keras.optimizers.Adam(0.02, 0.99, epsilon=1e-1)
    optimizer.build([image])

    @tf.function
    def move() -> None:
        with tf.GradientTape() as tape:
            found = features(image)
            loss = weight * tf.reduce_mean((_CAFFE * found[work.CONTENT] - wanted) ** 2)
            for name, target in styles.items():
                loss += 1e-2 / len(styles) * tf.reduce_mean((gram(found[name]) - target) ** 2)
            loss += 30 * tf.reduce_sum(tf.image.total_variation(image))
        optimizer.apply_gradients([(tape.gradient(loss, image), image)])
        image.assign(tf.clip_by_value(image, 0.0, 1.0))

    for _ in range(_STEPS.value or 1000):
        move()
        recorder.offer(lambda: image.numpy()[0])
    recorder.offer(lambda: image.numpy()[0], last=True)
    return recorder


_CONTENDERS: dict[str, Callable[[float], _Recorder]] = {
    "default": _ours,
    "photo": lambda weight: _ours(weight, init_noise=0.0),
    "smooth": lambda weight: _ours(weight, init_noise=0.0, tv_weight=20.0),
    "adam": lambda weight: _ours(weight, optimizer="adam"),
    "single": lambda weight: _ours(weight, levels=1, steps=110),
    "early": lambda weight: _ours(weight, init_noise=0.0, levels=1, steps=45, lbfgs_octaves=4),
    "torch": _torch,
    "tutorial": _tutorial,
}


def _make(run: str) -> None:
    """Makes one run, and leaves its pictures in the folder."""
    name, weight = run.split("@")
    recorder = _CONTENDERS[name](float(weight))
    target = Path(_FOLDER.value) / f"{run}.npz"
    np.savez_compressed(target, seconds=recorder.seconds, pictures=recorder.pictures)


def _judged(run: Path) -> list[dict[str, float]]:
    """Returns the verdicts on the pictures of a run, with their seconds."""
    import judge
    from PIL import Image

    from nst_tf.imaging import images

    saved = np.load(run)
    photo, painting = (images.load(each.value).rgb for each in (_CONTENT, _STYLE))
    verdict_on = judge.for_size(photo, painting, *saved["pictures"].shape[1:3])
    Image.fromarray(saved["pictures"][-1]).save(run.with_suffix(".png"))
    return [
        {"seconds": float(seconds), **dataclasses.asdict(verdict_on(np.float32(picture) / 255))}
        for seconds, picture in zip(saved["seconds"], saved["pictures"], strict=True)
    ]


def ratios(curves: dict[str, list[dict[str, float]]]) -> list[tuple[str, str, float, float]]:
    """Returns reference, run, seconds, and how many times sooner the run was as good, if it was.

    As good as the last picture of the reference: its style gain at least, its LPIPS at most.
    """
    found = []
    for reference, curve in curves.items():
        if reference.split("@")[0] not in _REFERENCES:
            continue
        last = curve[-1]
        for run, own in curves.items():
            if run.split("@")[0] in _REFERENCES:
                continue
            for point in own:
                better = point["style_gain"] >= last["style_gain"]
                if better and point["content"] <= last["content"]:
                    factor = last["seconds"] / point["seconds"]
                    found.append((reference, run, point["seconds"], factor))
                    break
    return found


def _plot(curves: dict[str, list[dict[str, float]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    for name, curve in curves.items():
        seconds, gain, content = (
            [point[key] for point in curve] for key in ("seconds", "style_gain", "content")
        )
        line = "--" if name.split("@")[0] in _REFERENCES else "-"
        axes[0].plot(seconds, gain, line, label=name)
        axes[1].plot(seconds, content, line)
        axes[2].plot(content, gain, line, marker="o", markevery=[-1])
    for axis, label in zip(axes, ("style gain", "LPIPS to the photo", "style gain"), strict=True):
        axis.set(ylabel=label, xlabel="seconds", xscale="log")
    axes[2].set(xlabel="LPIPS to the photo", xscale="linear")
    axes[0].legend()
    figure.savefig(path, dpi=110)


def main(argv: list[str]) -> None:
    del argv
    if _ONE.value:
        _make(_ONE.value)
        return
    folder = Path(_FOLDER.value)
    folder.mkdir(parents=True, exist_ok=True)
    for run in _RUNS.value:
        arguments = [f"--one={run}", *(each for each in sys.argv[1:] if "--runs" not in each)]
        subprocess.run([sys.executable, __file__, *arguments], check=True)
        print(f"{run} is done.", flush=True)
    curves = {run.stem: _judged(run) for run in sorted(folder.glob("*.npz"))}
    for name, curve in curves.items():
        last = " ".join(f"{key} {value:.3f}" for key, value in curve[-1].items())
        print(f"{name:15} {last}")
    for reference, run, seconds, factor in ratios(curves):
        print(f"{run} is as good as {reference} after {seconds:.1f} s, {factor:.1f} times sooner")
    _plot(curves, folder / "curves.png")
    results = {"size": _SIZE.value, "content": _CONTENT.value, "style": _STYLE.value}
    common.write(str(folder / "curves.json"), {**results, "curves": curves})
    print(json.dumps(common.machine()))


if __name__ == "__main__":
    flags.mark_flags_as_required(["content", "style", "folder"])
    app.run(main)
