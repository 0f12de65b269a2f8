"""The sweep: one content, one style or more, every combination of settings, a contact sheet."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import math
import os
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nst_tf import callbacks, errors, jobs
from nst_tf import config as configs
from nst_tf.commands import console, flags
from nst_tf.commands.options import SweepOptions
from nst_tf.commands.sweep import grid
from nst_tf.imaging import images, inputs, sheet, sources
from nst_tf.jobs import report
from nst_tf.records import recipe
from nst_tf.runtime import files

if TYPE_CHECKING:
    from nst_tf import backbones
    from nst_tf.engine import transfer

USAGE = """Repaints a photo with every combination of settings, and lays the results side by side.

  {program} --content=photo.jpg --style=painting.jpg \\
      --grid=init=noise,content --grid=style_weight=1,10,100

Quote a --grid that holds a semicolon. Settings that are not swept are given as flags.
"""
SHEET, TABLE = "sheet.png", "losses.csv"
_LAST_COLUMNS = ("seconds", "picture")
_UNWEIGHTED = " unweighted"
_LONGEST_REASON = 80  # Characters of the reason in a failed cell.


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the sweep and returns its exit status.

    0: all pictures exist. 1: a file, the weights or a picture failed. 2: a flag is wrong.
    130: stopped by Ctrl-C. 143: by SIGTERM. 129: by SIGHUP.

    Args:
        argv: program name and flags; those of the process if None.
    """
    return console.run(argv, flags.SWEEP, _command, USAGE)


def _command(values: Any) -> int:
    start = time.perf_counter()
    options: SweepOptions = flags.to_dataclass(values, SweepOptions)
    plan = grid.plan(options, values)
    painted = console.painted(options.content, options.style)
    console.say(f"{painted}, {len(plan.cells)} pictures -> {plan.folder}.")
    given = _read_pictures(plan)
    with _made_folder(plan.folder):
        _check_derived(plan)
        entries = _prepare(plan, given)
        _check_pictures(plan, entries)
        try:
            status = _run(plan, entries)
            _write_sheet(plan, entries)
            _write_table(plan, entries)
        except KeyboardInterrupt as stop:
            raise type(stop)(f"Interrupted; finished pictures are in {plan.folder}.") from None
    _say_summary(entries, time.perf_counter() - start)
    console.give(plan.folder / SHEET)
    return status


# Before the runs.


@dataclasses.dataclass
class Entry:
    """A cell and its outcome.

    Attributes:
        cell: the cell.
        path: path of the picture; its report is beside it.
        job: the planned job of the picture; None before planning.
        outcome: one of `not run`, `kept`, `made`, `diverged` and `failed`.
        reason: why the picture failed, in words; else empty.
    """

    cell: grid.Cell
    path: Path
    job: jobs.Planned | None = None
    outcome: str = "not run"
    reason: str = ""

    @property
    def report(self) -> Path:
        """Path of the JSON report."""
        return self.path.with_suffix(".json")

    @property
    def done(self) -> bool:
        """Whether the picture exists."""
        return self.outcome in ("kept", "made")

    @property
    def planned(self) -> jobs.Planned:
        """The job, once it is planned."""
        assert self.job is not None
        return self.job


def _read_pictures(plan: grid.SweepPlan) -> dict[str, sources.Pictures]:
    """Returns the pictures of the cells by their setting `init`, each picture decoded once.

    Masks and pictures are checked against the settings of all cells.
    """
    found: dict[str, sources.Pictures] = {}
    config = plan.cells[0].config.replace(init="noise", max_pixels=plan.max_pixels)
    first = jobs.read_pictures(plan.paths, config)
    for cell in plan.cells:
        config = cell.config
        if config.init not in found:
            init = images.load(config.init, config.max_pixels) if config.goes_on else None
            found[config.init] = dataclasses.replace(first, init=init)
        inputs.match_masks(config, len(first.styles), first.content_mask, first.style_masks)
    return found


@contextlib.contextmanager
def _made_folder(folder: Path) -> Iterator[None]:
    """Makes the folder, and removes it afterwards if it is new and empty."""
    existed = os.path.isdir(folder)  # Path.is_dir raises for a name that is too long.
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise errors.OutputError(
            f"{folder}: cannot make this folder ({error.strerror}); make the one that it is in, or "
            "choose another --output."
        ) from error
    try:
        yield
    finally:
        if not existed:
            with contextlib.suppress(OSError):  # The folder is not empty.
                folder.rmdir()


def _check_derived(plan: grid.SweepPlan) -> None:
    """Refuses to replace a sheet or a table that was not made by a sweep."""
    paths = [plan.folder / SHEET, plan.folder / TABLE]
    for path in paths:
        images.probe_writable(path)
    others = [path for path in paths if path.exists() and not _is_derived(path)]
    if others and not plan.options.overwrite:
        raise _existing(others, "not made by a sweep")


def _is_derived(path: Path) -> bool:
    try:
        if path.name == SHEET:
            return "sweep" in files.parse_json(images.read_recipe(path))
        return path.read_text().partition("\n")[0].rstrip().endswith(",".join(_LAST_COLUMNS))
    except (errors.ImageError, OSError, ValueError, TypeError):
        return False


def _existing(paths: Sequence[Path], how: str) -> errors.OutputError:
    return errors.OutputError(
        f"{', '.join(map(str, paths))}: exists already, {how}. Choose another --output, or "
        "replace what is there with --overwrite."
    )


def _prepare(plan: grid.SweepPlan, given: Mapping[str, sources.Pictures]) -> list[Entry]:
    """Returns all cells in their order, planned; cells with equal network settings share it."""
    console.load_tensorflow([cell.config for cell in plan.cells])
    models: dict[tuple[Any, ...], backbones.Backbone] = {}
    found: dict[str, Entry] = {}
    largest = sorted(plan.cells, key=lambda cell: -math.prod(cell.size))
    for cell in largest:  # The first cell of each network takes most memory.
        key = jobs.network_settings(cell.config)
        told = key in models
        if not told:
            models[key] = console.build_backbone(cell.config)
        job = jobs.plan(jobs.read(_job(plan, cell, given[cell.config.init])), models[key])
        if not told:
            run = job.config, job.backbone, job.ready.levels, job.plans, job.ready.pictures
            console.announce(*run)
        found[cell.name] = Entry(cell, plan.folder / cell.name, job)
    return [found[cell.name] for cell in plan.cells]


def _job(plan: grid.SweepPlan, cell: grid.Cell, given: sources.Pictures) -> jobs.Job:
    path, overwrite = str(plan.folder / cell.name), plan.options.overwrite
    return jobs.Job(given, cell.config, jobs.Outputs(path, overwrite=overwrite, partial=False))


def _check_pictures(plan: grid.SweepPlan, entries: Sequence[Entry]) -> None:
    """Marks the pictures that can be kept, and refuses to replace any other."""
    others = []
    for entry in entries:
        if not entry.path.exists():
            continue
        if not _is_made_by(entry):
            others.append(entry.path)
        elif _read_report(entry) is not None:
            entry.outcome = "kept"
        else:
            entry.job = entry.planned.with_outputs(overwrite=True)
    if others and not plan.options.overwrite:
        raise _existing(others, "made with other settings, inputs or versions")


def _is_made_by(entry: Entry) -> bool:
    try:
        found = recipe.load(str(entry.path))
    except errors.ImageError:
        return False
    recipes = found, entry.planned.recipe
    then, now = ({**recipe.essence(made), "machine": None} for made in recipes)
    return then == now  # Another machine changes the last bits only.


def _read_report(entry: Entry) -> dict[str, Any] | None:
    """Returns the report of a picture, or None if it is missing, damaged or of another picture."""
    try:
        read = files.parse_json(entry.report.read_text())
        same = read["config"] == entry.planned.config.to_dict()
        numbers = [read["seconds"], read["history"][-1]["loss"]]
        numbers += read["history"][-1]["terms"].values()
        numbers += [read["levels"][-1][side] for side in ("height", "width")]
        return read if same and math.isfinite(sum(numbers)) else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


# The runs.


def _run(plan: grid.SweepPlan, entries: Sequence[Entry]) -> int:
    """Makes the missing pictures, and returns the exit status."""
    engines: dict[int, transfer.StyleTransfer] = {}
    for number, entry in enumerate(entries, 1):
        kept = ": kept" if entry.done else ""
        console.say(f"[{number}/{len(entries)}] {entry.cell.label}{kept}")
        if not entry.done and (status := _make(entry, engines)):
            return status
    return 0 if all(entry.done for entry in entries) else 1


def _make(entry: Entry, engines: dict[int, transfer.StyleTransfer]) -> int:
    """Makes one picture and its report; returns the exit status of a received signal, or 0.

    Args:
        entry: entry of the picture.
        engines: engine of each network, by `id`; pictures share its compiled steps.
    """
    from nst_tf.engine import transfer

    interrupt = callbacks.Interrupt(hold=True)
    try:
        entry.report.unlink(missing_ok=True)  # No picture may stand beside another's report.
        planned = entry.planned
        key = id(planned.backbone)
        if key not in engines:
            engines[key] = transfer.StyleTransfer(planned.config, planned.backbone)
        _note(entry, jobs.run(planned, engines[key], [callbacks.Progress(), interrupt]))
    except KeyboardInterrupt as stop:
        return console.stopped_by(stop)
    except Exception as error:  # The other cells go on after any error.
        _fail(entry, error)
    finally:
        interrupt.restore()
    return console.stopped_by(interrupt.signal) if interrupt.signal else 0


def _note(entry: Entry, outcome: jobs.Outcome) -> None:
    """Records the outcome of a picture, and writes its report.

    Raises:
        OutputError: the report cannot be written.
        BaseException: the error that ended the run.
    """
    if outcome.error:
        raise outcome.error
    if outcome.path:
        entry.path = outcome.path
        with _as_output_error(entry.report):
            report.write(outcome, str(entry.report), overwrite=True)
        entry.outcome = "made"


def _fail(entry: Entry, error: Exception) -> None:
    """Records and prints why a picture failed."""
    entry.outcome = "diverged" if isinstance(error, errors.DivergenceError) else "failed"
    entry.reason = str(error).partition("\n")[0]
    if not isinstance(error, errors.StyleTransferError):
        kind = type(error).__name__
        entry.reason = f"{kind}: {entry.reason}" if entry.reason else kind
    console.say(f"{entry.cell.label}: {entry.outcome}. {entry.reason}")


@contextlib.contextmanager
def _as_output_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.OutputError(f"{path}: cannot be written ({error.strerror}).") from error


def _say_summary(entries: Sequence[Entry], seconds: float) -> None:
    outcomes = [entry.outcome for entry in entries]
    counts = ", ".join(f"{outcomes.count(name)} {name}" for name in dict.fromkeys(outcomes))
    console.say(f"{len(entries)} pictures: {counts}, in {seconds:.0f} s.")


# After the runs.


def contact_sheet(plan: grid.SweepPlan, entries: Sequence[Entry]) -> sheet.Sheet:
    """Returns the contact sheet of a sweep, given the entries in the order of the plan's cells."""
    names = [Path(name) for name in (plan.paths.content, *plan.paths.styles)]
    shown = [
        sheet.shown(each.path, plan.max_pixels) if each.done else _gap(each) for each in entries
    ]
    count = len(plan.columns)
    return sheet.Sheet(
        title=console.painted(names[0].name, [name.name for name in names[1:]]),
        note=grid.label(plan.given, ", "),
        sources=[sheet.shown(name, plan.max_pixels) for name in names],
        rows=[grid.label(row, "\n") for row in plan.rows],
        columns=[grid.label(column, "\n") for column in plan.columns],
        pictures=[shown[start : start + count] for start in range(0, len(shown), count)],
        size=max((cell.size for cell in plan.cells), key=max),
    )


def _gap(entry: Entry) -> str:
    """Returns the words that the sheet shows in place of a missing picture."""
    reason = textwrap.shorten(entry.reason, _LONGEST_REASON, placeholder="...")
    return f"{entry.outcome}: {reason}" if reason else entry.outcome


def _write_sheet(plan: grid.SweepPlan, entries: Sequence[Entry]) -> None:
    pixels = sheet.draw(contact_sheet(plan, entries))
    mark = json.dumps({"sweep": list(plan.options.grid)})
    images.save(pixels, plan.folder / SHEET, recipe=mark)


def table(plan: grid.SweepPlan, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Returns one row per cell: swept values, losses at the last step, seconds, and the file.

    Losses are weighted; `<group> unweighted` is the value at weight 1, which is comparable between
    cells of different weights.
    """
    settings = [
        {name: configs.written(value) for name, value in entry.cell.settings.items()}
        for entry in entries
    ]
    return [{**swept, **_losses(entry)} for swept, entry in zip(settings, entries, strict=True)]


def _losses(entry: Entry) -> dict[str, Any]:
    from nst_tf import objective

    read = _read_report(entry) if entry.done else None
    if read is None:
        return {}
    job, last = entry.planned, read["history"][-1]
    finest = read["levels"][-1]
    config = job.config.at_level(max(finest["height"], finest["width"]))
    terms = objective.terms(config, job.backbone.name)
    weights = callbacks.group_terms({term.name: term.weight for term in terms})
    groups = callbacks.group_terms(last["terms"])
    unweighted = {f"{name}{_UNWEIGHTED}": groups[name] / weights[name] for name in groups}
    ends = zip(_LAST_COLUMNS, (read["seconds"], entry.path.name), strict=True)
    return {"loss": last["loss"], **groups, **unweighted, **dict(ends)}


def _write_table(plan: grid.SweepPlan, entries: Sequence[Entry]) -> None:
    rows = table(plan, entries)
    known = list(dict.fromkeys(name for row in rows for name in row))
    unweighted = [name for name in known if name.endswith(_UNWEIGHTED)]
    groups = [name.removesuffix(_UNWEIGHTED) for name in unweighted]
    swept = [axis.name for axis in plan.axes]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*swept, "loss", *groups, *unweighted, *_LAST_COLUMNS])
    writer.writeheader()
    writer.writerows(rows)
    with _as_output_error(plan.folder / TABLE), files.atomic_file(plan.folder / TABLE) as file:
        file.write(text.getvalue().encode(errors="surrogateescape"))
