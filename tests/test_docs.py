"""Every page: links lead somewhere, flags and scripts exist, figures agree."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml
from PIL import Image

from nst_tf.commands import flags

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "assets/*.md", "docs/**/*.md", "benchmarks/**/*.md")
    for path in ROOT.glob(pattern)
)
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_PYTHON = re.compile(r"^```python\n.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(<?([^)>\s]+)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_SLIDER = re.compile(r'<div class="slider" markdown>\n\n(.*?)\n\n</div>', re.DOTALL)
_FLAG = re.compile(r"(?<![\w-])--([a-z][a-z_0-9]*)(?![a-z-])")
_TABLE_ROW = re.compile(r"^\|.*\d.*\|$", re.MULTILINE)
_OF_OTHERS = {"array", "depth"}  # Of Slurm and git.
_BESIDE_SETTINGS = {"help", "helpfull", "flagfile", "list_presets"}
_OTHER_FLAGS = {"measurements.md", "docker.md", "releasing.md", "settings.md"}
"""Pages that name flags of other programs, or a placeholder for any flag."""


def flags_in(text: str) -> set[str]:
    """Returns the names of the flags in a text, Python apart."""
    return set(_FLAG.findall(_PYTHON.sub("", text)))


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text()))
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


def broken(page: Path) -> list[str]:
    """Returns the relative links of a page that lead nowhere."""
    found = []
    for link in _LINK.findall(_FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path):
    assert broken(page) == []


def test_a_broken_link_is_found(tmp_path: Path):
    (tmp_path / "other.md").write_text("# A heading\n")
    page = tmp_path / "page.md"
    links = ("other.md", "other.md#a-heading", "gone.md", "other.md#gone", "https://example.org")
    page.write_text("".join(f"[x]({link})\n" for link in links) + "```\n[x](code.md)\n```\n")
    assert broken(page) == ["gone.md", "other.md#gone"]


def test_the_pages_are_there():
    assert {"README.md", "index.md", "library.md", "losses.md", "speed.md"} <= {
        page.name for page in PAGES
    }


def test_sliders_lay_pictures_of_one_shape_over_each_other():
    sliders = [(page, pair) for page in PAGES for pair in _SLIDER.findall(page.read_text())]
    assert ROOT / "docs/index.md" in dict(sliders)
    for page, pair in sliders:
        photo, result = (Image.open(page.parent / link).size for link in _LINK.findall(pair))
        assert photo[0] / photo[1] == pytest.approx(result[0] / result[1], rel=0.01), page


def test_the_site_has_what_a_slider_needs():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert "md_in_html" in site["markdown_extensions"]
    for kind, name in (("extra_css", "slider.css"), ("extra_javascript", "slider.js")):
        assert name in site[kind] and (ROOT / "docs" / name).exists()


def test_every_flag_that_is_named_exists():
    owners = {*flags.ALL, *flags.SWEEP, *flags.BATCH, *flags.FILM, *flags.APP}
    fields = {field.name for owner in owners for field in dataclasses.fields(owner)}
    negated = {f"no{name}" for name in fields}
    known = fields | negated | _BESIDE_SETTINGS | _OF_OTHERS
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("**/*.md")]
    for page in pages:
        if page.name not in _OTHER_FLAGS:
            assert flags_in(page.read_text()) <= known, page


def test_every_script_that_is_named_exists():
    for page in PAGES:
        for script in re.findall(r"(?:scripts|benchmarks)/[\w/]+\.(?:sh|py)", page.read_text()):
            assert (ROOT / script).exists(), f"{page}: {script}"


def test_figures_of_the_losses_are_those_of_the_results():
    """The reference repeats the table of the results, row by row."""
    reference = (ROOT / "docs/reference/losses.md").read_text().partition("## Figures")[2]
    results = set((ROOT / "benchmarks/results/quality.md").read_text().splitlines())
    rows = [row for row in _TABLE_ROW.findall(reference) if "0." in row]
    assert len(rows) == 15
    assert not set(rows) - results


def test_headline_figures_are_those_of_the_results():
    headline = (ROOT / "docs/measurements.md").read_text().partition("## Headline figures")[2]
    results = "".join(page.read_text() for page in (ROOT / "benchmarks/results").glob("*.md"))
    figures = set(re.findall(r"\d+\.\d+", headline))
    assert len(figures) > 30
    assert figures <= set(re.findall(r"\d+\.\d+", results))
