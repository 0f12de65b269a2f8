"""What a batch leaves beside its pictures: a table of the jobs and a page that shows them."""

from __future__ import annotations

import csv
import html
import io
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from nst_tf import config as configs
from nst_tf import jobs
from nst_tf.commands.batch.table import Entry
from nst_tf.imaging import images
from nst_tf.runtime import files

THUMBNAILS = "thumbnails"
_SIDE = 480  # Pixels of the long side of a thumbnail.
_COLUMNS = ("output", "status", "reason", "seconds", "width", "height", "steps", "loss")

Done = tuple[Entry, jobs.Outcome]
"""A job and its outcome."""


def table(done: Sequence[Done]) -> bytes:
    """Returns a row for each job in CSV: content, style, outcome, and the settings given."""
    names = sorted({name for entry, _ in done for name in entry.settings})
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["content", "style", *_COLUMNS, *names])
    writer.writeheader()
    for entry, outcome in done:
        given = {name: _text(value) for name, value in entry.settings.items()}
        writer.writerow({**_sources(entry), **_facts(entry, outcome), **given})
    return text.getvalue().encode()


def _sources(entry: Entry) -> dict[str, str]:
    given = entry.job.inputs
    assert isinstance(given, jobs.Paths)
    return {"content": given.content, "style": ",".join(given.styles)}


def _facts(entry: Entry, outcome: jobs.Outcome) -> dict[str, Any]:
    found: dict[str, Any] = {
        "output": entry.name,
        "status": "kept" if outcome.kept else outcome.status,
        "reason": outcome.reason,
    }
    if outcome.history:
        last = outcome.levels[-1]
        found |= {
            "seconds": round(outcome.earlier_seconds + outcome.seconds, 3),
            "width": last.width,
            "height": last.height,
            "steps": len(outcome.history),
            "loss": outcome.history[-1]["loss"],
        }
    return found


def _text(value: Any) -> str:
    return configs.written(tuple(value) if isinstance(value, list) else value)


def thumbnails(entry: Entry, folder: Path) -> None:
    """Writes thumbnails of a photo and its picture, if they are missing or older.

    Args:
        entry: the job, whose picture exists.
        folder: folder of the batch.

    Raises:
        OSError: a file cannot be read or written.
    """
    for source, name in zip(_shown(entry), _thumbnails(entry), strict=True):
        path = folder / name
        if path.exists() and path.stat().st_mtime_ns >= Path(source).stat().st_mtime_ns:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(source) as image:
            image.draft("RGB", (2 * _SIDE, 2 * _SIDE))
            small = ImageOps.exif_transpose(image)
            small.thumbnail((_SIDE, _SIDE))
            small = _on_white(small)
        with files.atomic_file(path, overwrite=True) as file:
            small.save(file, "JPEG", quality=85)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # 16 bits.
        return Image.fromarray((images.load(image).rgb * 255).round().astype("uint8"))
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _shown(entry: Entry) -> tuple[str, str]:
    given = entry.job.inputs
    assert isinstance(given, jobs.Paths)
    return given.content, entry.job.outputs.picture


def _thumbnails(entry: Entry) -> tuple[str, str]:
    return tuple(f"{THUMBNAILS}/{entry.name}.{side}.jpg" for side in ("before", "after"))  # type: ignore[return-value]


def page(done: Sequence[Done], folder: Path) -> bytes:
    """Returns a page that shows all jobs; it needs no server and no other host.

    Args:
        done: jobs and outcomes.
        folder: folder of the batch, where thumbnails are.
    """
    failed = [each for each in done if not each[1].done]
    count = f"{len(done) - len(failed)} pictures" + (f", {len(failed)} failed" if failed else "")
    shown = "\n".join(_card(*each, folder) for each in done if each[1].done)
    misses = "".join(
        f"<tr><td>{_safe(entry.label)}<td>{_safe(outcome.reason)}</tr>\n"
        for entry, outcome in failed
    )
    if misses:
        misses = f"<h2>Failed</h2>\n<table><tr><th>job<th>reason</tr>\n{misses}</table>\n"
    return _PAGE.format(count=count, failed=misses, cards=shown).encode()


def _card(entry: Entry, outcome: jobs.Outcome, folder: Path) -> str:
    title, name = _safe(entry.label), _safe(entry.name)
    before, after = map(_link, _thumbnails(entry))
    full = _link(entry.name)
    given = ", ".join(f"{key}={_text(value)}" for key, value in entry.settings.items())
    note = _safe(f"{given}; {outcome.seconds:.0f} s" if outcome.seconds else given)
    if not all((folder / each).exists() for each in _thumbnails(entry)):
        return f'<figure><a href="{full}">{name}</a><figcaption>{title}</figcaption></figure>'
    return (
        f'<figure><div class="both"><img src="{before}" alt="the photo" loading="lazy">'
        f'<img class="after" src="{after}" alt="{title}" loading="lazy">'
        f'<input type="range" value="50" aria-label="before and after: {title}"></div>'
        f'<figcaption><a href="{full}">{name}</a><br>{title}<br><small>{note}</small>'
        "</figcaption></figure>"
    )


def _safe(text: str) -> str:
    return html.escape(text.encode(errors="replace").decode())


def _link(path: str) -> str:
    return html.escape(urllib.parse.quote(path.encode(errors="surrogateescape")))


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pictures</title>
<style>
:root {{ color-scheme: light dark; font: 16px/1.4 system-ui, sans-serif; }}
body {{ margin: 1rem; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 1rem; }}
figure {{ margin: 0; }}
figcaption, td {{ overflow-wrap: anywhere; }}
.both {{ position: relative; }}
.both img {{ display: block; width: 100%; }}
.both .after {{
  position: absolute; inset: 0; height: 100%; clip-path: inset(0 0 0 var(--at, 50%));
}}
.both input {{ position: absolute; inset: auto 2% 2% 2%; width: 96%; margin: 0; }}
td, th {{ text-align: left; vertical-align: top; padding: .2rem 1rem .2rem 0; }}
</style>
<h1>{count}</h1>
{failed}<main>
{cards}
</main>
<script>
for (const each of document.querySelectorAll(".both input"))
  each.addEventListener("input", () =>
    each.parentNode.style.setProperty("--at", each.value + "%"));
</script>
</html>
"""
