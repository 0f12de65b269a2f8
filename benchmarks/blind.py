"""A blind choice between our pictures and those of contenders.

    python benchmarks/blind.py --pairs=FOLDER --ours=FOLDER --contenders=FOLDER,FOLDER \
        [--untouched] [--seed=0] --output=blind.html
    python benchmarks/blind.py ... --output=FOLDER --sheet
    python benchmarks/blind.py --count=ANSWERS --key=blind_key.json

--pairs is a folder of `pairs.py`; the other folders hold one picture a pair, whose file has the
pair's name: `01_portrait_thick.png`. The name of a folder is that of the contender. --untouched
has the photos themselves as one more contender. Pairs that a folder lacks are left out, with a
message.

A trial is a picture of ours beside one of a contender, for one pair; the contender's is given the
size of ours. Sides and order are random: each contender is on the left in half of its trials. The
page is one HTML file, with the pictures in it and without names. Left arrow, right arrow and down
(no difference) choose; backspace goes one back. It saves the answers as JSON. With --sheet the
output is a folder of numbered strips (photo over painting, left, right), and the answers are lines
of text that somebody writes: `1 l`, `2 r`, `3 =`.

Which picture is whose is in the key, beside the output: `blind_key.json`. --count reads answers of
either kind, and prints how often each was chosen.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common  # noqa: F401 (finds the package)
import numpy as np
from absl import app, flags
from PIL import Image

from nst_tf import errors
from nst_tf.imaging import images

_PAIRS = flags.DEFINE_string("pairs", None, "folder of photos and paintings, made by pairs.py")
_OURS = flags.DEFINE_string("ours", None, "folder of our pictures")
_CONTENDERS = flags.DEFINE_list("contenders", [], "folders of the contenders' pictures")
_UNTOUCHED = flags.DEFINE_bool("untouched", False, "the photos are a contender, too")
_SEED = flags.DEFINE_integer("seed", 0, "of the order and the sides")
_OUTPUT = flags.DEFINE_string("output", None, "the HTML file, or the folder of strips")
_SHEET = flags.DEFINE_bool("sheet", False, "strips of pictures instead of a page")
_COUNT = flags.DEFINE_string("count", "", "answers to count")
_KEY = flags.DEFINE_string("key", "", "the key to the answers")

_ANSWERS = ("l", "r", "=")
_INPUTS = ("photo", "painting")
_PHOTO = "untouched photo"


@dataclasses.dataclass(frozen=True)
class Trial:
    """One choice.

    Attributes:
        pair: name of the pair of photo and painting.
        contender: name of the contender.
        ours: the side of our picture, "l" or "r".
    """

    pair: str
    contender: str
    ours: str


def drawn(pairs: Mapping[str, Sequence[str]], seed: int) -> list[Trial]:
    """Returns trials in random order, our picture on either side in half of each contender's.

    Args:
        pairs: the names of each contender's pairs, by the contender's name.
        seed: of the random order and sides.
    """
    random = np.random.default_rng(seed)
    trials = []
    for contender, names in pairs.items():
        sides = random.permutation((np.arange(len(names)) + random.integers(2)) % 2)
        for name, side in zip(names, sides, strict=True):
            trials.append(Trial(name, contender, _ANSWERS[side]))
    return [trials[index] for index in random.permutation(len(trials))]


def counted(key: Mapping[str, Any], answers: Mapping[int, str]) -> dict[str, dict[str, int]]:
    """Returns how often ours, the contender's and neither was chosen, by the contender's name.

    Args:
        key: as it is written beside the page.
        answers: "l", "r" or "=" by the number of the trial, from 1. Not all need an answer.

    Raises:
        ConfigError: an answer is none of these, or of a trial that the key does not have.
    """
    trials = [Trial(**trial) for trial in key["trials"]]
    found: dict[str, dict[str, int]] = {}
    for number, answer in sorted(answers.items()):
        if not 1 <= number <= len(trials):
            raise errors.ConfigError(
                f"There is an answer to trial {number}; the key has trials 1 to {len(trials)}. "
                "Give the key that was written with the pictures."
            )
        if answer not in _ANSWERS:
            raise errors.ConfigError(
                f"The answer to trial {number} is {answer!r}; expected l (left), r (right) or "
                "= (no difference)."
            )
        trial = trials[number - 1]
        counts = found.setdefault(trial.contender, {"ours": 0, "theirs": 0, "neither": 0})
        chosen = "neither" if answer == "=" else "ours" if answer == trial.ours else "theirs"
        counts[chosen] += 1
    return found


def answers_of(text: str, key: Mapping[str, Any]) -> dict[int, str]:
    """Returns the answers in a file: the JSON that a page saves, or lines such as `1 l`.

    Raises:
        ConfigError: a line is no answer, a trial has two, or the page is not that of the key.
    """
    if text.lstrip().startswith("{"):
        saved = json.loads(text)
        if saved["page"] != key["page"]:
            raise errors.ConfigError(
                f"The answers are to page {saved['page']}, and the key is to page {key['page']}. "
                "Give the key that was written with the page."
            )
        return {int(number): answer for number, answer in saved["answers"].items()}
    found: dict[int, str] = {}
    for line in filter(str.strip, text.splitlines()):
        number, *answer = line.lower().split()
        if not number.isdecimal() or len(answer) != 1 or int(number) in found:
            raise errors.ConfigError(
                f"{line!r} is no answer, or a second one to its trial; expected one line a trial, "
                "such as '1 l', '2 r' or '3 ='."
            )
        found[int(number)] = answer[0]
    return found


@dataclasses.dataclass(frozen=True)
class _Shown:
    """The pictures of a trial, left and right of one size."""

    photo: Image.Image
    painting: Image.Image
    left: Image.Image
    right: Image.Image


def _picture_of(folder: Path, name: str) -> Path | None:
    """Returns the file of a pair's picture in a folder."""
    files = (folder / f"{name}{suffix}" for suffix in images.FORMATS)
    return next(filter(Path.exists, files), None)


def _opened(path: Path) -> Image.Image:
    return Image.open(path).convert("RGB")


def _shown(trial: Trial, files: Mapping[tuple[str, str], Path]) -> _Shown:
    """Returns what a trial shows; the contender's picture is given the size of ours."""
    small = [_opened(files[kind, trial.pair]) for kind in _INPUTS]
    ours, theirs = (_opened(files[kind, trial.pair]) for kind in ("ours", trial.contender))
    theirs = theirs.resize(ours.size, Image.Resampling.LANCZOS)
    return _Shown(*small, *((ours, theirs) if trial.ours == "l" else (theirs, ours)))


def _files(
    pairs: Path, folders: Mapping[str, Path], untouched: bool
) -> dict[tuple[str, str], Path]:
    """Returns the files of all pictures, by whose they are and the name of the pair."""
    found = {}
    for pair in json.loads((pairs / "pairs.json").read_text()):
        name = pair["name"]
        for kind in _INPUTS:
            found[kind, name] = pairs / pair[kind]
        if untouched:
            found[_PHOTO, name] = pairs / pair["photo"]
        for kind, folder in folders.items():
            if path := _picture_of(folder, name):
                found[kind, name] = path
            else:
                print(f"{folder} has no picture {name}; it is left out")
    return found


def _jpeg(picture: Image.Image, side: int = 0) -> bytes:
    """Returns a picture as JPEG without any metadata, its long side at most as given."""
    if side:
        picture = picture.copy()
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    Image.fromarray(np.asarray(picture)).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def _strip(shown: _Shown) -> Image.Image:
    """Returns photo over painting, left, right, side by side."""
    width, height = shown.left.size
    gap, column = 12, width // 2
    strip = Image.new("RGB", (column + 2 * (width + gap), height), "white")
    for index, picture in enumerate((shown.photo, shown.painting)):
        small = picture.copy()
        small.thumbnail((column, (height - gap) // 2), Image.Resampling.LANCZOS)
        strip.paste(small, (0, index * (height + gap) // 2))
    strip.paste(shown.left, (column + gap, 0))
    strip.paste(shown.right, (column + width + 2 * gap, 0))
    return strip


def _write_sheet(folder: Path, trials: Sequence[Trial], files: Mapping[Any, Path]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    for number, trial in enumerate(trials, 1):
        strip = _jpeg(_strip(_shown(trial, files)))
        digest.update(strip)
        (folder / f"{number:03}.jpg").write_bytes(strip)
    return digest.hexdigest()[:16]


def _write_page(path: Path, trials: Sequence[Trial], files: Mapping[Any, Path]) -> str:
    digest, shown = hashlib.sha256(), []
    for trial in trials:
        pictures = dataclasses.astuple(_shown(trial, files))
        data = [_jpeg(each, side) for each, side in zip(pictures, (320, 320, 0, 0), strict=True)]
        digest.update(b"".join(data))
        shown.append(["data:image/jpeg;base64," + base64.b64encode(x).decode() for x in data])
    name = digest.hexdigest()[:16]
    page = _PAGE.replace("%PAGE%", name).replace("%TRIALS%", json.dumps(shown))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page)
    return name


_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Which picture is better?</title>
<style>
  body { margin: 1em; background: #777; color: #fff; font: 16px sans-serif; text-align: center; }
  .inputs img { height: 150px; margin: 0 4px; }
  .choice { display: flex; justify-content: center; gap: 12px; margin: 12px 0; }
  .choice img { max-width: 49vw; max-height: 68vh; cursor: pointer; }
  button { font-size: 16px; margin: 0 8px; }
</style>
<p id="progress"></p>
<div class="inputs"><img alt="photo"><img alt="painting"></div>
<div class="choice"><img alt="left"><img alt="right"></div>
<p>Which is the better picture of this photo in the manner of this painting?<br>
<button id="l">&larr; left</button><button id="=">&darr; no difference</button>
<button id="r">right &rarr;</button><button id="save">save the answers</button></p>
<script>
const page = "%PAGE%", trials = %TRIALS%, answers = {};
const keys = { ArrowLeft: "l", ArrowRight: "r", ArrowDown: "=" };
const images = document.querySelectorAll("img");
let number = 1;
function show() {
  const done = Object.keys(answers).length;
  document.getElementById("progress").textContent = number > trials.length
    ? `All ${trials.length} are done. Save the answers.`
    : `${number} of ${trials.length}, ${done} answered`;
  images.forEach((image, index) => { image.src = (trials[number - 1] || [])[index] || ""; });
}
function choose(answer) {
  if (number <= trials.length) { answers[number] = answer; number += 1; show(); }
}
function save() {
  const link = document.createElement("a");
  const text = JSON.stringify({ page, answers }, null, 1);
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "answers.json";
  link.click();
}
document.addEventListener("keydown", event => {
  if (event.key in keys) { event.preventDefault(); choose(keys[event.key]); }
  if (event.key === "Backspace" && number > 1) { event.preventDefault(); number -= 1; show(); }
});
for (const answer of ["l", "=", "r"]) {
  document.getElementById(answer).onclick = () => choose(answer);
}
images[2].onclick = () => choose("l");
images[3].onclick = () => choose("r");
document.getElementById("save").onclick = save;
show();
</script>
</html>
"""


def _folders() -> dict[str, Path]:
    """Returns the folders of ours and of every contender, by their names."""
    folders = {"ours": Path(_OURS.value)}
    for folder in map(Path, _CONTENDERS.value):
        if folder.name in (*folders, *_INPUTS, _PHOTO):
            raise errors.ConfigError(
                f"Two contenders would be named {folder.name}; rename the folder {folder}."
            )
        folders[folder.name] = folder
    return folders


def _write() -> None:
    """Writes the page or the strips, and the key beside them."""
    folders = _folders()
    files = _files(Path(_PAIRS.value), folders, _UNTOUCHED.value)
    contenders = [*list(folders)[1:], *([_PHOTO] if _UNTOUCHED.value else [])]
    both = {
        each: [name for kind, name in files if kind == each and ("ours", name) in files]
        for each in contenders
    }
    trials = drawn(both, _SEED.value)
    output = Path(_OUTPUT.value)
    page = (_write_sheet if _SHEET.value else _write_page)(output, trials, files)
    key = output.parent / f"{output.stem}_key.json"
    about = {"page": page, "trials": [dataclasses.asdict(trial) for trial in trials]}
    key.write_text(json.dumps(about, indent=1) + "\n")
    print(f"{len(trials)} trials are in {output}, and who made what is in {key}")


def _print_count() -> None:
    key = json.loads(Path(_KEY.value).read_text())
    answers = answers_of(Path(_COUNT.value).read_text(), key)
    print(f"{'ours or':32}{'ours':>10}{'theirs':>10}{'neither':>10}")
    for contender, counts in counted(key, answers).items():
        print(f"{contender:32}" + "".join(f"{each:10}" for each in counts.values()))
    if left := len(key["trials"]) - len(answers):
        print(f"trials without an answer: {left}")


def main(argv: list[str]) -> None:
    del argv
    if _COUNT.value:
        _print_count()
    else:
        _write()


@flags.multi_flags_validator(
    ["count", "key", "pairs", "ours", "output"],
    "expected --pairs, --ours and --output, or --count and --key",
)
def _is_whole(values: dict[str, str | None]) -> bool:
    names = ["key"] if values["count"] else ["pairs", "ours", "output"]
    return all(values[name] for name in names)


if __name__ == "__main__":
    app.run(main)
