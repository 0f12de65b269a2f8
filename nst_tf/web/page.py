"""The page: photo and paintings in, a picture out, in the browser."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from nst_tf import errors
from nst_tf.imaging import images
from nst_tf.records import recipe
from nst_tf.web import controls, painter

TITLE = "Neural style transfer"
_ASSETS = Path(__file__).parents[2] / "assets"
_EXAMPLES = (
    ("chelsea.png", "estuary.jpg"),
    ("coffee.png", "cutpaper.jpg"),
    ("chelsea.png", "ink.jpg"),
)
_COLOURS = ((255, 0, 0), (0, 0, 255), (0, 160, 0), (255, 200, 0), (200, 0, 200))
_NAMES = ("red", "blue", "green", "yellow", "purple")
"""The colours of the brush; each stands for a painting."""
_VARIANTS = (0.2, 0.4, 0.6, 0.8)
"""Strengths of a sheet of variants."""
_BRUSH_SIDE = 640  # Pixels of the photo to paint on.
_CSS = """
.gradio-container {
  max-width: 1200px !important; margin: auto;
  --body-text-color-subdued: #4b5563; --block-info-text-color: #4b5563;
  --button-primary-background-fill: #1d4ed8; --button-primary-background-fill-hover: #1e40af;
  --button-primary-text-color: #ffffff;
}
.dark .gradio-container, .gradio-container.dark {
  --body-text-color-subdued: #d1d5db; --block-info-text-color: #d1d5db;
}
.gradio-container .or { color: inherit; }
footer { display: none !important; }
.gradio-container .column > * { min-width: 0 !important; max-width: 100%; }
#examples { overflow-x: auto; }
#examples table { table-layout: fixed; width: 100%; }
#seen, #results { overflow-x: hidden; }
"""
_SCRIPT = """() => {
  const mend = () => document.querySelectorAll(".empty[aria-label]:not([role])")
    .forEach((each) => each.setAttribute("role", "img"));
  new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
  mend();
}"""
"""Gives a role to places without a picture, which screen readers need to read their label."""
THEME: dict[str, Any] = {"css": _CSS, "js": _SCRIPT}
"""What the page looks like, as arguments of `launch`."""


def build(work: painter.Painter, kept_seconds: float) -> gr.Blocks:
    """Returns the page.

    Args:
        work: what paints the orders.
        kept_seconds: seconds after which uploads are deleted.
    """
    fields = controls.fields()
    with gr.Blocks(
        title=TITLE, analytics_enabled=False, delete_cache=(600, round(kept_seconds))
    ) as page:
        key = gr.BrowserState("", storage_key="nst_tf-visitor")
        gr.Markdown(f"# {TITLE}")
        with gr.Row():
            with gr.Column():
                photo = gr.Image(
                    label="Photo", type="filepath", image_mode=None, elem_id="photo",
                    sources=["upload", "clipboard"], height=280,
                )  # fmt: skip
                paintings = gr.File(
                    label="Paintings, one or several", file_count="multiple", type="filepath",
                    file_types=["image"], elem_id="paintings", height=140,
                )  # fmt: skip
                seen = gr.Gallery(
                    label="The paintings", columns=4, height=150, elem_id="seen", buttons=[],
                    object_fit="contain", interactive=False, allow_preview=False, visible=False,
                    fit_columns=False,
                )  # fmt: skip
                if examples := _examples():
                    gr.Examples(examples, [photo, paintings], label="Examples", elem_id="examples")
                settings = [controls.component(field) for field in fields[: len(controls.FIRST)]]
                with gr.Accordion(
                    "Paint where"
                ):  # A closed editor tells no changes once it is opened.
                    gr.Markdown(
                        "Paint on the photo where to repaint it; nothing painted means all of it. "
                        "With several paintings, each has a colour: "
                        + ", ".join(f"{name} the {n}." for n, name in enumerate(_NAMES, 1))
                    )
                    brush = gr.ImageEditor(
                        label="Regions", type="numpy", image_mode="RGBA", elem_id="brush",
                        brush=gr.Brush(
                            default_size=40, colors=[_hex(each) for each in _COLOURS],
                            default_color=_hex(_COLOURS[0]), color_mode="fixed",
                        ),
                        sources=(), transforms=(), height=420,
                        layers=gr.LayerOptions(allow_additional_layers=False),
                    )  # fmt: skip
                    mask = gr.Image(
                        label="Or a picture of the regions, white or in these colours", height=140,
                        type="filepath", image_mode=None, sources=["upload"], elem_id="mask",
                    )  # fmt: skip
                    outside = gr.Checkbox(
                        True, label="keep the photo outside of the regions", elem_id="keep-outside"
                    )
                    understood = gr.Markdown(elem_id="understood")
                with gr.Accordion("More settings", open=False):
                    more = fields[len(controls.FIRST) :]
                    settings += [controls.component(field) for field in more]
                    recipe_of = gr.File(
                        label="Take the settings of a picture made here", type="filepath",
                        file_types=["image"], elem_id="recipe", height=120,
                    )  # fmt: skip
            with gr.Column():
                with gr.Row():
                    paint = gr.Button("Paint", variant="primary", elem_id="paint")
                    variants = gr.Button("Four strengths", elem_id="variants")
                    stop = gr.Button("Stop and keep", elem_id="stop")
                status = gr.Markdown("Choose a photo and a painting.", elem_id="status")
                preview = gr.Image(
                    label="The picture so far", interactive=False, format="jpeg",
                    elem_id="preview", buttons=["fullscreen"], height=420, visible=False,
                )  # fmt: skip
                slider = gr.ImageSlider(
                    label="Before and after", interactive=False, format="png", elem_id="slider",
                    buttons=["fullscreen"], max_height=640,
                )  # fmt: skip
                with gr.Row():
                    kind = gr.Dropdown(
                        list(painter.KINDS),
                        label="Format of the download",
                        elem_id="kind",
                        scale=1,
                        min_width=130,
                    )
                    download = gr.File(
                        label="Download",
                        elem_id="download",
                        interactive=False,
                        height=90,
                        scale=3,
                    )
                results = gr.Gallery(
                    label="Your results; a click brings the settings back", columns=4,
                    height=320, elem_id="results", interactive=False, allow_preview=False,
                    object_fit="contain", buttons=[], fit_columns=False,
                )  # fmt: skip
                with gr.Accordion("Compare two results", open=False):
                    with gr.Row():
                        one, other = (
                            gr.Number(at, label=f"number of the {side} one", precision=0, minimum=1)
                            for at, side in ((1, "left"), (2, "right"))
                        )
                        compare = gr.Button("Compare", elem_id="compare")
                    both = gr.ImageSlider(
                        label="Both", interactive=False, elem_id="both", format="png"
                    )
                    differing = gr.Dataframe(
                        headers=["setting", "left", "right"], interactive=False,
                        elem_id="differing",
                    )  # fmt: skip
        for given in (photo, mask):
            setattr(given, "preprocess", _path)  # noqa: B010 ( Gradio's would open the file, and fail without a word.)
        outputs = [status, preview, slider, download, results, key]
        inputs = [key, photo, paintings, brush, mask, outside, *settings]
        handlers = _Handlers(work)
        quiet: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden"}
        paint.click(handlers.paint, inputs, outputs, **quiet)
        variants.click(handlers.variants, inputs, outputs, **quiet)
        stop.click(handlers.stop, [key], [status], **quiet)
        page.load(handlers.load, [key], outputs, **quiet)
        photo.change(_to_paint_on, [photo], [brush], **quiet)
        paintings.change(
            lambda given: gr.Gallery(given, visible=bool(given)), [paintings], [seen], **quiet
        )
        brush.change(_understood, [brush, paintings], [understood], **quiet)
        recipe_of.upload(_settings_of, [recipe_of], [status, *settings], **quiet)
        results.select(handlers.again, [key], [status, slider, download, *settings], **quiet)
        kind.input(handlers.download, [key, kind], [download, status], **quiet)
        compare.click(handlers.compare, [key, one, other], [both, differing], **quiet)
    return page


def _path(payload: Any) -> str | None:
    """Returns the path of an upload, untouched."""
    return payload.path if payload else None


def _examples() -> list[list[Any]]:
    """Returns the bundled examples; there are none beside an installed package."""
    return [
        [str(_ASSETS / content), [str(_ASSETS / style)]]
        for content, style in _EXAMPLES
        if (_ASSETS / content).exists()
    ]


class _Handlers:
    """What the events of the page call.

    Args:
        work: what paints the orders.
    """

    def __init__(self, work: painter.Painter) -> None:
        self._work = work

    def paint(self, key: str, *given: Any) -> Iterator[list[Any]]:
        """Orders a picture, and shows how it grows."""
        yield from self._ordered(key, given, ({},))

    def variants(self, key: str, *given: Any) -> Iterator[list[Any]]:
        """Orders the picture at several strengths."""
        changes = [{"strength": strength} for strength in _VARIANTS]
        yield from self._ordered(key, given, changes)

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
        self, key: str, given: Sequence[Any], changes: Sequence[dict[str, Any]]
    ) -> Iterator[list[Any]]:
        key = key or secrets.token_urlsafe(24)
        try:
            inputs, config = self._read(key, *given)
            for each in changes:
                self._work.order(key, inputs, config.replace(**each))
        except errors.StyleTransferError as error:
            said = _without_folders(str(error))
            yield [f"**{said}**", *[gr.skip()] * 4, key]
            return
        yield from self._followed(key)

    def _read(
        self, key: str, photo: str | None, paintings: list[str] | None, brush: Any,
        mask: str | None, keep: bool, *values: Any,
    ) -> tuple[painter.Inputs, Any]:  # fmt: skip
        if not photo or not paintings:
            missing = "a photo" if not photo else "a painting"
            raise errors.ConfigError(f"Choose {missing} first.")
        config = controls.config(values)
        painted = _painted(brush)
        regions = mask if painted is None else painted
        if regions is None:
            return painter.Inputs(photo, tuple(paintings)), config
        if len(paintings) > len(_COLOURS):
            raise errors.ConfigError(
                f"there are {len(_COLOURS)} colours to paint with and {len(paintings)} paintings; "
                "leave some out, or paint no regions."
            )
        folder = self._work.visitor(key).folder
        colours = _COLOURS[: len(paintings)]
        masks = painter.region_masks(regions, colours, folder)
        if keep:
            config = config.replace(outside="keep")
        return painter.Inputs(photo, tuple(paintings), *masks), config

    def _followed(self, key: str) -> Iterator[list[Any]]:
        """Yields what the page shows until all orders of a visitor are over."""
        last, shown = None, len(self._work.visitor(key).results)
        yield self._finished(key)
        for order in self._work.follow(key):
            ahead = self._work.ahead(key)
            words = f"{ahead} before you. " if ahead else ""
            results = self._work.visitor(key).results
            gallery = gr.skip() if len(results) == shown else self._gallery(key)
            new = order.preview is not None and order.preview is not last
            picture = gr.Image(order.preview, visible=True) if new else gr.skip()
            last, shown = order.preview, len(results)
            yield [words + order.words, picture, gr.skip(), gr.skip(), gallery, key]
        yield self._finished(key)

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


def _hex(colour: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


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
    colours = np.array(_COLOURS[: len(paintings or ())])
    nearest = np.abs(painted[..., None, :3].astype(int) - colours).sum(-1).argmin(-1)
    parts = [
        f"{name}: {((nearest == at) & inside).mean():.0%} after {Path(path).name}"
        for at, (name, path) in enumerate(zip(_NAMES, paintings or (), strict=False))
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
