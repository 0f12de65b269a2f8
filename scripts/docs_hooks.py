"""Lets links that lead out of docs/ work on the site as they do in the repository.

MkDocs, which mkdocs.yml names this file to, knows the pages of docs/ only. A file elsewhere that
a page links to becomes a part of the site, below `repository/`, and so do the files that it links
to in turn.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<=\]\()[^)#\s]+")


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds the files outside docs/ that pages link to."""
    waiting = [file.src_uri for file in files.documentation_pages()]
    while waiting:
        page = waiting.pop()
        for link in LINK.findall((ROOT / _place(page)).read_text()):
            name = _name(page, link)
            if files.get_file_from_path(name) is None and (ROOT / _place(name)).is_file():
                source = str(ROOT / _place(name))
                files.append(File.generated(config, name, abs_src_path=source))
                waiting += [name] if name.endswith(".md") else []


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Returns the text of a page with its links as the site needs them."""

    def renamed(link: re.Match[str]) -> str:
        name = _name(page.file.src_uri, link[0])
        known = files.get_file_from_path(name) is not None
        return posixpath.relpath(name, posixpath.dirname(page.file.src_uri)) if known else link[0]

    return LINK.sub(renamed, markdown)


def _place(name: str) -> str:
    """Returns where in the repository a file of the site lies."""
    inside = name.removeprefix("repository/")
    return f"docs/{name}" if inside == name else inside


def _name(page: str, link: str) -> str:
    """Returns what the site calls the file that a page links to."""
    place = posixpath.normpath(posixpath.join(posixpath.dirname(_place(page)), link))
    return place.removeprefix("docs/") if place.startswith("docs/") else f"repository/{place}"
