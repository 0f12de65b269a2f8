"""The page: photo and paintings in, a picture out, in the browser."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from nst_tf import config as configs
from nst_tf import errors, jobs
from nst_tf.imaging import images
from nst_tf.records import recipe
from nst_tf.web import controls, painter
from nst_tf.web.layout import COLOURS, NAMES, THEME, TITLE, Layout

__all__ = ["THEME", "build"]

_Shown = dict[Any, Any]
"""New values of components."""
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
        title=TITLE, analytics_enabled=False, delete_cache=_sweeping(kept_seconds)
    ) as page:
        on = Layout()
        do = _Handlers(work, on)
        for upload in (on.photo, on.mask):
            # Gradio would open the file, and fail without a word about it.
            setattr(upload, "preprocess", _path)  # noqa: B010
        chosen = [on.slider, on.download, on.chosen, on.at_chosen]
        shown = [
            on.status, on.preview, *chosen, on.results, on.sheet, on.at_sheet, on.key,
        ]  # fmt: skip
        given = [
            on.key, on.chosen, on.photo, on.paintings, on.brush, on.mask, on.outside, *on.settings,
        ]  # fmt: skip
        quiet: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden"}
        page.load(do.load, [on.key], shown, **quiet)
        on.paint.click(do.paint, given, shown, **quiet)
        on.variants.click(do.variants, given, shown, **quiet)
        on.each.click(do.each, given, shown, **quiet)
        on.go_on.click(do.go_on, given, shown, **quiet)
        on.stop.click(do.stop, [on.key], [on.status], **quiet)
        on.photo.change(_to_paint_on, [on.photo], [on.brush], **quiet)
        on.paintings.change(_shown, [on.paintings], [on.seen], **quiet)
        on.brush.change(_understood, [on.brush, on.paintings], [on.understood], **quiet)
        on.recipe_of.upload(_settings_of, [on.recipe_of], [on.status, *on.settings], **quiet)
        on.results.select(do.again, [on.key], [on.status, *chosen, *on.settings], **quiet)
        on.kind.input(do.download, [on.key, on.kind], [on.download, on.status], **quiet)
        compared = [on.key, on.one, on.other], [on.both, on.differing]
        on.compare.click(do.compare, *compared, **quiet)
        for place, button in on.zooms.items():
            button.click(None, js=f"() => nst_zoom('#{place}')")
    return page


def _sweeping(kept_seconds: float) -> tuple[int, int]:
    """Returns seconds between two looks for old uploads, and their age."""
    return max(1, round(min(60.0, kept_seconds / 20))), max(1, round(kept_seconds))


def _path(payload: Any) -> str | None:
    """Returns the path of an upload, untouched."""
    return payload.path if payload else None


def _shown(paintings: list[str] | None) -> gr.Gallery:
    return gr.Gallery(paintings, visible=bool(paintings))


class _Handlers:
    """What the events of the page call. They return values by component.

    Args:
        work: what paints the orders.
        on: the components of the page.
    """

    def __init__(self, work: painter.Painter, on: Layout) -> None:
        self._work, self._on = work, on

    def paint(self, key: str, chosen: str, *given: Any) -> Iterator[_Shown]:
        """Orders a picture, and shows how it grows."""
        yield from self._ordered(key, given, lambda order: [order])

    def variants(self, key: str, chosen: str, *given: Any) -> Iterator[_Shown]:
        """Orders the picture at several strengths."""
        yield from self._ordered(key, given, _at_strengths)

    def each(self, key: str, chosen: str, *given: Any) -> Iterator[_Shown]:
        """Orders a picture after each painting alone."""
        yield from self._ordered(key, given, _after_each)

    def go_on(
        self, key: str, chosen: str, photo: str | None, paintings: list[str] | None, *given: Any
    ) -> Iterator[_Shown]:
        """Orders a picture that begins with the result that is shown.

        Where the page has no photo or paintings, those of the result are taken.
        """
        before = next((each for each in self._results(key) if each.path.name == chosen), None)
        if before is None:
            yield {self._on.status: "**This result is deleted by now.**"}
            return
        inputs = before.inputs
        pictures = photo or inputs.content, paintings or list(inputs.styles)
        yield from self._ordered(
            key, (*pictures, *given), lambda order: [_from_result(order, before.path)]
        )

    def load(self, key: str) -> Iterator[_Shown]:
        """Shows a visitor who comes back the results, and the picture that is at work."""
        if not key or not (self._work.visitor_orders(key) or self._results(key)):
            yield {self._on.key: key or secrets.token_urlsafe(24)}
            return
        yield from self._followed(key)

    def stop(self, key: str) -> str:
        """Stops what a visitor has ordered."""
        if not self._work.visitor_orders(key):
            return "There is nothing to stop."
        self._work.stop(key)
        return "Stopping after this step."

    def again(self, key: str, event: gr.SelectData) -> _Shown:
        """Shows an earlier result with its settings."""
        order = self._result(key, event.index + 1)
        values = controls.values(order.config.to_dict())
        settings = zip(self._on.settings, values, strict=True)
        return {self._on.status: order.words, **self._chosen(order), **dict(settings)}

    def download(self, key: str, kind: str) -> list[Any]:
        """Returns the newest result in another format."""
        try:
            return [str(self._work.saved(key, kind)), gr.skip()]
        except errors.StyleTransferError as error:
            return [gr.skip(), f"**{painter.without_folders(str(error))}**"]

    def compare(self, key: str, one: int, other: int) -> list[Any]:
        """Shows two results, and the settings that differ."""
        left, right = self._result(key, one), self._result(key, other)
        rows = controls.differing(left.config, right.config)
        return [(str(left.path), str(right.path)), rows]

    def _results(self, key: str) -> list[painter.Order]:
        return self._work.visitor(key).results if key else []

    def _result(self, key: str, number: int) -> painter.Order:
        results = self._results(key)
        if not 1 <= int(number or 0) <= len(results):
            raise gr.Error(f"There are {len(results)} results; {number} is none of them.")
        return results[int(number) - 1]

    def _ordered(
        self,
        key: str,
        given: Sequence[Any],
        orders: Callable[[painter.Order], Sequence[painter.Order]],
    ) -> Iterator[_Shown]:
        key = key or secrets.token_urlsafe(24)
        try:
            self._work.order(key, *orders(self._read(key, *given)))
        except errors.StyleTransferError as error:
            said = painter.without_folders(str(error))
            yield {self._on.status: f"**{said}**", self._on.key: key}
            return
        yield from self._followed(key)

    def _read(
        self, key: str, photo: str | None, paintings: list[str] | None, brush: Any,
        mask: str | None, keep: bool, *values: Any,
    ) -> painter.Order:  # fmt: skip
        if not photo or not paintings:
            missing = "a photo" if not photo else "a painting"
            raise errors.ConfigError(f"Choose {missing} first.")
        config = controls.config(values)
        painted = _painted(brush)
        regions = mask if painted is None else painted
        if regions is None:
            return painter.Order(jobs.Paths(photo, tuple(paintings)), config)
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
        return painter.Order(jobs.Paths(photo, tuple(paintings), *masks), config)

    def _followed(self, key: str) -> Iterator[_Shown]:
        """Yields what the page shows until all orders of a visitor are over."""
        on, order, last, shown = self._on, None, None, len(self._results(key))
        start = {on.key: key, **self._finished(key)}
        yield {on_page: value for on_page, value in start.items() if on_page is not on.status}
        for order in self._work.follow(key):
            ahead = self._work.ahead(key)
            words = f"{ahead} before you. " if ahead else ""
            now: _Shown = {on.status: words + order.words}
            if order.preview is not None and order.preview is not last:
                last = order.preview
                now[on.preview] = gr.Image(last, visible=True)
            if len(self._results(key)) != shown:
                shown = len(self._results(key))
                now[on.results] = self._gallery(key)
            yield now
        end = self._finished(key)
        if order:
            end[on.status] = order.words  # Also of one without a picture.
        yield end

    def _finished(self, key: str) -> _Shown:
        results, on = self._results(key), self._on
        if not results:
            return {}
        sheet = self._work.sheet(key)
        return {
            on.status: results[0].words,
            on.preview: gr.Image(None, visible=False),
            on.results: self._gallery(key),
            on.sheet: sheet and str(sheet),
            on.at_sheet: gr.Column(visible=bool(sheet)),
            **self._chosen(results[0]),
        }

    def _chosen(self, order: painter.Order) -> _Shown:
        on = self._on
        return {
            on.slider: (order.inputs.content, str(order.path)),
            on.download: str(order.path),
            on.chosen: order.path.name,
            on.at_chosen: gr.Row(visible=True),
        }

    def _gallery(self, key: str) -> list[tuple[str, str]]:
        return [
            (str(order.path), f"{number}: {order.label or _label(order)}")
            for number, order in enumerate(self._results(key), 1)
        ]


def _label(order: painter.Order) -> str:
    return f"strength {order.config.strength:g}{', gone on' if order.start else ''}"


def _from_result(order: painter.Order, path: Path) -> painter.Order:
    config = order.config.replace(init=configs.GIVEN, init_noise=0.0)
    return dataclasses.replace(order, config=config, start=str(path))


def _at_strengths(order: painter.Order) -> list[painter.Order]:
    return [
        dataclasses.replace(
            order, config=order.config.replace(strength=each), label=f"strength {each:g}"
        )
        for each in _VARIANTS
    ]


def _after_each(order: painter.Order) -> list[painter.Order]:
    inputs = order.inputs
    if inputs.style_masks:
        raise errors.ConfigError("Regions of several paintings blend them; clear the regions.")
    return [
        dataclasses.replace(
            order, inputs=dataclasses.replace(inputs, styles=(style,)), label=Path(style).name
        )
        for style in inputs.styles
    ]


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
        said = painter.without_folders(str(error))
        return [f"**{said}**", *[gr.skip()] * len(controls.fields())]
    words = f"The settings are those of {Path(path).name}"
    if found.get("init", "content") not in configs.INITIALISATIONS:
        words += ", but for the picture that it went on from"
    return [f"{words}.", *controls.values(found)]
