"""The files around the package: citation, forms, hooks, the image."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

import nst_tf
from nst_tf.commands import flags

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
PROJECT = (ROOT / "pyproject.toml").read_text()


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def test_citation_has_what_its_format_requires():
    """Required keys and values of the Citation File Format 1.2.0."""
    citation = read("CITATION.cff")
    assert {"authors", "cff-version", "message", "title"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert all("name" in author for author in citation["authors"])
    for reference in citation["references"]:
        assert {"authors", "title", "type"} <= set(reference)


def test_citation_is_of_this_version():
    citation = read("CITATION.cff")
    assert citation["version"] == nst_tf.__version__
    assert f'\nlicense = "{citation["license"]}"\n' in PROJECT
    assert f'\ndescription = "{citation["abstract"]}"\n' in PROJECT


@pytest.mark.parametrize("name", ["bug_report", "feature_request"])
def test_issue_forms_are_well_formed(name: str):
    form = read(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert {"name", "description", "body"} <= set(form)
    fields = [item for item in form["body"] if item["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(field["type"] in ("input", "textarea") for field in fields)
    assert all(field["attributes"]["label"] for field in fields)


def test_a_bug_report_asks_for_flags_that_exist():
    named = re.findall(r"--(\w+)", (ROOT / ".github/ISSUE_TEMPLATE/bug_report.yml").read_text())
    assert {"report", "version"} <= set(named) <= set(flags.define(*flags.ALL))


def test_every_picture_is_listed_with_its_licence():
    rows = re.findall(
        r"^\| (`.+`) \|.+\| (.+) \|$", (ROOT / "assets/README.md").read_text(), re.MULTILINE
    )
    listed = {name: licence for names, licence in rows for name in re.findall(r"`(.+?)`", names)}
    folder = (ROOT / "assets").iterdir()
    assert set(listed) == {path.name for path in folder if path.suffix in (".jpg", ".png")}
    assert all(licence.startswith(("Apache-2.0", "CC0")) for licence in listed.values())


def test_hooks_run_what_the_tests_run():
    repositories = read(".pre-commit-config.yaml")["repos"]
    assert {repository["repo"] for repository in repositories} == {"local"}
    hooks = [hook for repository in repositories for hook in repository["hooks"]]
    tools = {shlex.split(hook["entry"])[0] for hook in hooks if hook["language"] == "system"}
    script = (ROOT / "scripts/test.sh").read_text()
    assert tools == {"ruff", "mypy"}
    assert all(f'"$VENV/bin/{tool}"' in script for tool in tools)


def test_image_copies_what_its_context_holds():
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"]
    copies = re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {source for copy in copies for source in copy.split()}
    assert sources == set(allowed)
    assert all((ROOT / source).exists() for source in sources)


def test_image_runs_the_demo():
    entry, arguments = (
        json.loads(re.search(rf"^{word} (.+)$", DOCKERFILE, re.MULTILINE)[1])
        for word in ("ENTRYPOINT", "CMD")
    )
    assert f"\n{entry[0]} = " in PROJECT
    values = flags.define(*flags.ALL)
    flags.parse(values, [*entry, *arguments])
    assert values["output"].value == "/out/demo.png"
    demo = shlex.split((ROOT / "scripts/demo.sh").read_text(), comments=True)
    pictures = {argument.replace("/opt/nst_tf/", "") for argument in arguments[:2]}
    assert pictures <= {word for words in demo for word in words.split()}
