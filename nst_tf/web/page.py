"""The page: photo and paintings in, a picture out, in the browser."""

from __future__ import annotations

import dataclasses
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from nst_tf import errors, jobs
from nst_tf.config import StyleTransferConfig as Config
from nst_tf.imaging import images
from nst_tf.records import recipe
from nst_tf.web import controls, painter
from nst_tf.web.layout import COLOURS, NAMES, THEME, TITLE, Layout

__all__ = ["THEME", "build"]

_Order = tuple[jobs.Paths, Config]
_VARIANTS = (0.2, 0.4, 0.6, 0.8)
"""Strengths of a sheet of variants."""
_BRUSH_SIDE = 640  # Pixels of the photo to paint on.


def build(work: painter.Painter, kept_seconds: float) -> gr.Blocks:
    """Returns the page.

    Args:
        work: what paints the orders.
        kept_seconds: seconds after which uploads are deleted.
    """
    with gr.Blocks(
        title=TITLE, analytics_enabled=False, delete_cache=(600, round(kept_seconds))
    ) as page:
        on, do = Layout(), _Handlers(work)
        for upload in (on.photo, on.mask):
            # Gradio would open the file, and fail without a word about it.
            setattr(upload, "preprocess", _path)  # noqa: B010
        shown = [on.status, on.preview, on.slider, on.download, on.results, on.key]
        given = [
            on.key, on.photo, on.paintings, on.brush, on.mask, on.outside, *on.settings,
        ]  # fmt: skip
        quiet: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden"}
        page.load(do.load, [on.key], shown, **quiet)
        on.paint.click(do.paint, given, shown, **quiet)
        on.variants.click(do.variants, given, shown, **quiet)
        on.each.click(do.each, given, shown, **quiet)
        on.stop.click(do.stop, [on.key], [on.status], **quiet)
        on.photo.change(_to_paint_on, [on.photo], [on.brush], **quiet)
        on.paintings.change(_shown, [on.paintings], [on.seen], **quiet)
        on.brush.change(_understood, [on.brush, on.paintings], [on.understood], **quiet)
        on.recipe_of.upload(_settings_of, [on.recipe_of], [on.status, *on.settings], **quiet)
        brought = [on.status, on.slider, on.download, *on.settings]
        on.results.select(do.again, [on.key], brought, **quiet)
        on.kind.input(do.download, [on.key, on.kind], [on.download, on.status], **quiet)
        compared = [on.key, on.one, on.other], [on.both, on.differing]
        on.compare.click(do.compare, *compared, **quiet)
    return page


def _path(payload: Any) -> str | None:
    """Returns the path of an upload, untouched."""
    return payload.path if payload else None


def _shown(paintings: list[str] | None) -> gr.Gallery:
    return gr.Gallery(paintings, visible=bool(paintings))


class _Handlers:
    """What the events of the page call.

    Args:
        work: what paints the orders.
    """

    def __init__(self, work: painter.Painter) -> None:
        self._work = work

    def paint(self, key: str, *given: Any) -> Iterator[list[Any]]:
        """Orders a picture, and shows how it grows."""
        yield from self._ordered(key, given, lambda *order: [order])

    def variants(self, key: str, *given: Any) -> Iterator[list[Any]]:
        """Orders the picture at several strengths."""
        yield from self._ordered(key, given, _at_strengths)

    def each(self, key: str, *given: Any) -> Iterator[list[Any]]:
        """Orders a picture after each painting alone."""
        yield from self._ordered(key, given, _after_each)

    def load(self, key: str) -> Iterator[list[Any]]:
        """Shows a visitor who comes back the results, and the picture that is at work."""
        if not key or not (self._work.visitor_orders(key) or self._work.visitor(key).results):
            yield [gr.skip()] * 5 + [key or secrets.token_urlsafe(24)]
            return
        yield from self._followed(key)

    def stop(self, key: str) -> str:
        """Stops what a visitor has ordered."""
        if not self._work.visitor_orders(key):
            return "There is nothing to stop."
        self._work.stop(key)
        return "Stopping after this step."

    def again(self, key: str, event: gr.SelectData) -> list[Any]:
        """Shows an earlier result with its settings."""
        order = self._result(key, event.index + 1)
        return [
            order.words, (order.inputs.content, str(order.path)), str(order.path),
            *controls.values(order.config.to_dict()),
        ]  # fmt: skip

    def download(self, key: str, kind: str) -> list[Any]:
        """Returns the newest result in another format."""
        try:
            return [str(self._work.saved(key, kind)), gr.skip()]
        except errors.StyleTransferError as error:
            return [gr.skip(), f"**{_without_folders(str(error))}**"]

    def compare(self, key: str, one: int, other: int) -> list[Any]:
        """Shows two results, and the settings that differ."""
        left, right = self._result(key, one), self._result(key, other)
        rows = controls.differing(left.config, right.config)
        return [(str(left.path), str(right.path)), rows]

    def _result(self, key: str, number: int) -> painter.Order:
        results = self._work.visitor(key).results if key else []
        if not 1 <= int(number or 0) <= len(results):
            raise gr.Error(f"There are {len(results)} results; {number} is none of them.")
        return results[int(number) - 1]

    def _ordered(
        self, key: str, given: Sequence[Any], orders: Callable[..., Sequence[_Order]]
    ) -> Iterator[list[Any]]:
        key = key or secrets.token_urlsafe(24)
        try:
            for each in orders(*self._read(key, *given)):
                self._work.order(key, *each)
        except errors.StyleTransferError as error:
            said = _without_folders(str(error))
            yield [f"**{said}**", *[gr.skip()] * 4, key]
            return
        yield from self._followed(key)

    def _read(
        self, key: str, photo: str | None, paintings: list[str] | None, brush: Any,
        mask: str | None, keep: bool, *values: Any,
    ) -> tuple[jobs.Paths, Any]:  # fmt: skip
        if not photo or not paintings:
            missing = "a photo" if not photo else "a painting"
            raise errors.ConfigError(f"Choose {missing} first.")
        config = controls.config(values)
        painted = _painted(brush)
        regions = mask if painted is None else painted
        if regions is None:
            return jobs.Paths(photo, tuple(paintings)), config
        if len(paintings) > len(COLOURS):
            raise errors.ConfigError(
                f"there are {len(COLOURS)} colours to paint with and {len(paintings)} paintings; "
                "leave some out, or paint no regions."
            )
        folder = self._work.visitor(key).folder
        colours = COLOURS[: len(paintings)]
        masks = painter.region_masks(regions, colours, folder)
        if keep:
            config = config.replace(outside="keep")
        return jobs.Paths(photo, tuple(paintings), *masks), config

    def _followed(self, key: str) -> Iterator[list[Any]]:
        """Yields what the page shows until all orders of a visitor are over."""
        order, last, shown = None, None, len(self._work.visitor(key).results)
        yield [gr.skip(), *self._finished(key)[1:]]
        for order in self._work.follow(key):
            ahead = self._work.ahead(key)
            words = f"{ahead} before you. " if ahead else ""
            results = self._work.visitor(key).results
            gallery = gr.skip() if len(results) == shown else self._gallery(key)
            new = order.preview is not None and order.preview is not last
            picture = gr.Image(order.preview, visible=True) if new else gr.skip()
            last, shown = order.preview, len(results)
            yield [words + order.words, picture, gr.skip(), gr.skip(), gallery, key]
        end = self._finished(key)
        yield [order.words if order else end[0], *end[1:]]  # Also of one without a picture.

    def _finished(self, key: str) -> list[Any]:
        results = self._work.visitor(key).results
        if not results:
            return [*[gr.skip()] * 5, key]
        newest = results[0]
        before_after = (newest.inputs.content, str(newest.path))
        hidden = gr.Image(None, visible=False)
        return [newest.words, hidden, before_after, str(newest.path), self._gallery(key), key]

    def _gallery(self, key: str) -> list[tuple[str, str]]:
        results = self._work.visitor(key).results
        return [
            (str(order.path), f"{number}: strength {order.config.strength:g}")
            for number, order in enumerate(results, 1)
        ]


def _at_strengths(inputs: jobs.Paths, config: Config) -> list[_Order]:
    return [(inputs, config.replace(strength=strength)) for strength in _VARIANTS]


def _after_each(inputs: jobs.Paths, config: Config) -> list[_Order]:
    if inputs.style_masks:
        raise errors.ConfigError("Regions of several paintings blend them; clear the regions.")
    return [(dataclasses.replace(inputs, styles=(style,)), config) for style in inputs.styles]


def _painted(brush: Any) -> np.ndarray | None:
    """Returns what was painted, uint8 `(height, width, 4)`, or None for nothing."""
    layers = (brush or {}).get("layers") or []
    found = [layer for layer in layers if layer is not None and np.asarray(layer)[..., 3].any()]
    return np.asarray(found[0]) if found else None


def _to_paint_on(photo: str | None) -> Any:
    """Returns the photo at a size to paint on."""
    if not photo:
        return None
    try:
        picture = images.load(photo)
    except errors.StyleTransferError:
        return None  # The order says why.
    share = min(1.0, _BRUSH_SIDE / max(picture.size))
    height, width = (max(1, round(share * side)) for side in picture.size)
    return np.rint(255 * picture.resized(height, width)).astype(np.uint8)


def _understood(brush: Any, paintings: list[str] | None) -> str:
    """Returns in words which part of the photo goes to which painting."""
    painted = _painted(brush)
    if painted is None:
        return "Nothing is painted: the whole photo is repainted."
    inside = painted[..., 3] > 127
    if len(paintings or ()) < 2:
        return f"{inside.mean():.0%} of the photo is repainted."
    colours = np.array(COLOURS[: len(paintings or ())])
    nearest = np.abs(painted[..., None, :3].astype(int) - colours).sum(-1).argmin(-1)
    parts = [
        f"{name}: {((nearest == at) & inside).mean():.0%} after {Path(path).name}"
        for at, (name, path) in enumerate(zip(NAMES, paintings or (), strict=False))
    ]
    return "; ".join(parts)


def _settings_of(path: str) -> list[Any]:
    """Returns a message and the settings of a picture's recipe."""
    try:
        found = recipe.essence(recipe.load(path))["config"]
    except errors.StyleTransferError as error:
        return [f"**{_without_folders(str(error))}**", *[gr.skip()] * len(controls.fields())]
    return [f"The settings are those of {Path(path).name}.", *controls.values(found)]


def _without_folders(text: str) -> str:
    """Returns a message without the server's folders in it."""
    words = [os.path.basename(word) if word.startswith("/") else word for word in text.split(" ")]
    return " ".join(words)
