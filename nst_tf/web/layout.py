"""What is on the page, and what it looks like."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from nst_tf.web import controls, painter

TITLE = "Neural style transfer"
_ASSETS = Path(__file__).parents[2] / "assets"
_EXAMPLES = (
    ("chelsea.png", "estuary.jpg"),
    ("coffee.png", "cutpaper.jpg"),
    ("chelsea.png", "ink.jpg"),
)
COLOURS = ((255, 0, 0), (0, 0, 255), (0, 160, 0), (255, 200, 0), (200, 0, 200))
NAMES = ("red", "blue", "green", "yellow", "purple")
"""The colours of the brush; each stands for a painting."""
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
#sheet .image-frame { margin-top: 1.8rem; }
.gradio-container :is(#seen, #results) .grid-container {
  grid-template-columns: repeat(auto-fill, minmax(110px, 1fr)) !important;
}
"""
_SCRIPT = """() => {
  const names = NAMES;
  const mend = () => {
    document.querySelectorAll(".empty[aria-label]:not([role])")
      .forEach((each) => each.setAttribute("role", "img"));
    document.querySelectorAll("#brush button.color:not([aria-label])")
      .forEach((each, at) => each.setAttribute("aria-label", names[at]));
    document.querySelectorAll("button:not([aria-label]):has(> .image-frame)")
      .forEach((each) => each.setAttribute("aria-label", "picture"));
    document.querySelectorAll("#results button img").forEach((each) => { each.alt = ""; });
  };
  new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
  mend();
}""".replace("NAMES", json.dumps(NAMES))
"""Mends what screen readers miss: roles, names of buttons and colours, captions told twice."""
THEME: dict[str, Any] = {
    "css": _CSS, "js": _SCRIPT, "head_paths": Path(__file__).with_name("viewer.html"),
}  # fmt: skip
"""What the page looks like, as arguments of `launch`."""


class Layout:
    """The components of the page. It is made within `gr.Blocks`.

    Attributes:
        key: the secret key of the visitor, which the browser keeps.
        photo, paintings, seen: the photo, the paintings, and the paintings as shown.
        brush, mask, outside: regions as painted, or as a file, and whether to keep what is outside.
        understood: the regions in words.
        settings: a control for each of `controls.fields`.
        recipe_of: a picture whose settings are taken.
        paint, variants, each, stop: buttons.
        status, preview, slider: words, the picture so far, and before and after.
        chosen: name of the result in the slider.
        at_chosen, go_on: what there is to do with that result; a button that goes on from it.
        zooms: buttons that enlarge pictures, by the `elem_id` of what holds them.
        kind, download: format and file of the newest result.
        results: all results.
        sheet, at_sheet: those of the last order on one sheet; what is shown if there is one.
        one, other, compare, both, differing: two results beside each other.
    """

    def __init__(self) -> None:
        self.key = gr.BrowserState("", storage_key="nst_tf-visitor")
        self.chosen = gr.State("")
        self.zooms: dict[str, gr.Button] = {}
        gr.Markdown(f"# {TITLE}")
        with gr.Row():
            with gr.Column():
                self._add_pictures()
                self._add_settings()
            with gr.Column():
                self._add_work()
                self._add_results()
                self._add_comparison()

    def _add_pictures(self) -> None:
        self.photo = gr.Image(
            label="Photo", type="filepath", image_mode=None, elem_id="photo", height=280,
            sources=["upload", "clipboard"],
        )  # fmt: skip
        self.paintings = gr.File(
            label="Paintings, one or several", file_count="multiple", type="filepath",
            file_types=["image"], elem_id="paintings", height=140,
        )  # fmt: skip
        self.seen = gr.Gallery(
            label="The paintings", columns=4, height=150, elem_id="seen", buttons=[],
            object_fit="contain", interactive=False, allow_preview=False, visible=False,
            fit_columns=False,
        )  # fmt: skip
        if examples := _examples():
            given = [self.photo, self.paintings]
            gr.Examples(examples, given, label="Examples", elem_id="examples")

    def _add_settings(self) -> None:
        fields, first = controls.fields(), len(controls.FIRST)
        self.settings = [controls.component(field) for field in fields[:first]]
        # A closed editor would tell no changes once it is opened.
        with gr.Accordion("Paint where"):
            self._add_regions()
        with gr.Accordion("More settings", open=False):
            self.settings += [controls.component(field) for field in fields[first:]]
            self.recipe_of = gr.File(
                label="Take the settings of a picture made here", type="filepath",
                file_types=["image"], elem_id="recipe", height=120,
            )  # fmt: skip

    def _add_regions(self) -> None:
        gr.Markdown(
            "Paint on the photo where to repaint it; nothing painted means all of it. With several "
            "paintings, each has a colour: "
            + ", ".join(f"{name} the {number}." for number, name in enumerate(NAMES, 1))
        )
        self.brush = gr.ImageEditor(
            label="Regions", type="numpy", image_mode="RGBA", elem_id="brush", height=420,
            brush=gr.Brush(
                default_size=40, colors=[*map(_hex, COLOURS)], default_color=_hex(COLOURS[0]),
                color_mode="fixed",
            ),
            sources=(), transforms=(), layers=gr.LayerOptions(allow_additional_layers=False),
        )  # fmt: skip
        self.mask = gr.Image(
            label="Or a picture of the regions, white or in these colours", type="filepath",
            image_mode=None, sources=["upload"], elem_id="mask", height=140,
        )  # fmt: skip
        self.outside = gr.Checkbox(
            True, label="keep the photo outside of the regions", elem_id="keep-outside"
        )
        self.understood = gr.Markdown(elem_id="understood")

    def _add_work(self) -> None:
        with gr.Row():
            self.paint = gr.Button("Paint", variant="primary", elem_id="paint")
            self.variants = gr.Button("Four strengths", elem_id="variants")
            self.each = gr.Button("Each painting", elem_id="each")
            self.stop = gr.Button("Stop and keep", elem_id="stop")
        self.status = gr.Markdown("Choose a photo and a painting.", elem_id="status")
        self.preview = gr.Image(
            label="The picture so far", interactive=False, format="jpeg", elem_id="preview",
            buttons=["fullscreen"], height=420, visible=False,
        )  # fmt: skip
        self.slider = gr.ImageSlider(
            label="Before and after", interactive=False, format="png", elem_id="slider",
            buttons=["fullscreen"], max_height=640,
        )  # fmt: skip
        with gr.Row(visible=False) as self.at_chosen:
            self.go_on = gr.Button("Go on from this result", elem_id="go-on")
            self.zooms["slider"] = gr.Button("Zoom", elem_id="zoom")

    def _add_results(self) -> None:
        with gr.Row():
            self.kind = gr.Dropdown(
                list(painter.KINDS), label="Format of the download", elem_id="kind", scale=1,
                min_width=130,
            )  # fmt: skip
            self.download = gr.File(
                label="Download", elem_id="download", interactive=False, height=90, scale=3
            )
        self.results = gr.Gallery(
            label="Your results; a click brings the settings back", columns=4, height=320,
            elem_id="results", interactive=False, allow_preview=False, object_fit="contain",
            buttons=[], fit_columns=False,
        )  # fmt: skip
        with gr.Column(visible=False) as self.at_sheet:
            self.sheet = gr.Image(
                label="All of this order on one sheet", interactive=False, elem_id="sheet",
                buttons=["download", "fullscreen"],
            )  # fmt: skip
            self.zooms["sheet"] = gr.Button("Zoom the sheet", elem_id="zoom-sheet")

    def _add_comparison(self) -> None:
        with gr.Accordion("Compare two results", open=False):
            with gr.Row():
                self.one, self.other = (
                    gr.Number(at, label=f"number of the {side} one", precision=0, minimum=1)
                    for at, side in ((1, "left"), (2, "right"))
                )
                self.compare = gr.Button("Compare", elem_id="compare")
            self.both = gr.ImageSlider(
                label="Both", interactive=False, elem_id="both", format="png"
            )
            self.zooms["both"] = gr.Button("Zoom both", elem_id="zoom-both")
            self.differing = gr.Dataframe(
                headers=["setting", "left", "right"], interactive=False, elem_id="differing"
            )


def _hex(colour: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _examples() -> list[list[Any]]:
    """Returns the bundled examples; there are none beside an installed package."""
    return [
        [str(_ASSETS / content), [str(_ASSETS / style)]]
        for content, style in _EXAMPLES
        if (_ASSETS / content).exists()
    ]
