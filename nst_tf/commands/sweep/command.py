"""The sweep: one photo and one painting, every combination of settings, and a contact sheet."""

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

import numpy as np

from nst_tf import callbacks, errors
from nst_tf import config as configs
from nst_tf.commands import console, flags
from nst_tf.commands.options import SweepOptions
from nst_tf.commands.sweep import grid, sheet
from nst_tf.imaging import images, inputs, sources
from nst_tf.records import recipe
from nst_tf.runtime import files

if TYPE_CHECKING:
    from nst_tf import backbones
    from nst_tf.tiling import tiles

USAGE = """Repaints a photo with every combination of settings, and lays the results side by side.

  {program} --content=photo.jpg --style=painting.jpg \\
      --grid=init=noise,content --grid=style_weight=1,10,100

Quote a --grid that holds a semicolon. Settings that are not swept are given as flags.
"""
SHEET, TABLE = "sheet.png", "losses.csv"
_LAST_COLUMNS = ("seconds", "picture")
_UNWEIGHTED = " unweighted"
_LONGEST_REASON = 80  # Characters of what the sheet says about a cell that failed.


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the sweep and returns its exit status.

    0: all pictures are there. 1: a file, the weights or a picture failed. 2: a flag is wrong.
    130: stopped by Ctrl-C. 143: by SIGTERM. 129: by SIGHUP.

    Args:
        argv: program name and flags; those of the process where it is None.
    """
    return console.run(argv, flags.SWEEP, _command, USAGE)


def _command(values: Any) -> int:
    start = time.perf_counter()
    options: SweepOptions = flags.to_dataclass(values, SweepOptions)
    plan = grid.plan(options, values)
    painted = recipe.in_words(options.content, options.style)
    console.say(f"{painted}, {len(plan.cells)} pictures -> {plan.folder}.")
    hashes = _hash_inputs(plan)
    given = _read_pictures(plan, hashes)
    with _made_folder(plan.folder):
        _check_derived(plan)
        jobs = _prepare(plan, hashes, given)
        _check_pictures(plan, jobs)
        try:
            status = _run(plan, jobs, given)
            _write_sheet(plan, jobs)
            _write_table(plan, jobs)
        except KeyboardInterrupt as stop:
            raise type(stop)(f"Interrupted; finished pictures are in {plan.folder}.") from None
    _say_summary(plan, jobs, time.perf_counter() - start)
    console.give(plan.folder / SHEET)
    return status


# Before the work.


@dataclasses.dataclass
class Job:
    """What it takes to make a cell, and what became of it.

    Attributes:
        cell: to make.
        config: its settings, `auto` resolved.
        model: the network, which other jobs may share.
        recipe: of the picture.
        path: of the picture; its report is beside it.
        outcome: `kept`, `made`, or why there is no picture, in a word.
        reason: the same in words, where it failed.
        plans: how each level is looked at.
    """

    cell: grid.Cell
    config: configs.StyleTransferConfig
    model: backbones.Backbone
    recipe: Mapping[str, Any]
    path: Path
    outcome: str = "not run"
    reason: str = ""
    plans: Sequence[tiles.Plan] = ()

    @property
    def report(self) -> Path:
        """The file of the JSON report."""
        return self.path.with_suffix(".json")

    @property
    def done(self) -> bool:
        """Whether the picture is there."""
        return self.outcome in ("kept", "made")


def _hash_inputs(plan: grid.Plan) -> dict[str, dict[str, Any]]:
    """Returns the hashes of all inputs by initial image."""
    hashes: dict[str, dict[str, Any]] = {}
    for cell in plan.cells:
        if cell.config.init not in hashes:
            paths = plan.paths.roles(cell.config)
            hashes[cell.config.init] = recipe.input_hashes(paths)
    return hashes


def _read_pictures(
    plan: grid.Plan, hashes: Mapping[str, Mapping[str, Any]]
) -> dict[str, sources.Pictures]:
    """Returns the pictures by initial image, which fit each other with the settings of all cells.

    Each is decoded once, and is the one that was hashed.
    """
    found: dict[str, sources.Pictures] = {}
    first = plan.paths.pictures(
        plan.max_pixels, configs.INITIALISATIONS[0], plan.cells[0].config.memory_limit
    )
    for cell in plan.cells:
        config = cell.config
        if config.init not in found:
            init = images.load(config.init, config.max_pixels) if config.goes_on else None
            recipe.require_unchanged(plan.paths.roles(config), hashes[config.init])
            found[config.init] = dataclasses.replace(first, init=init)
        inputs.match_masks(config, len(first.paintings), first.content_mask, first.style_masks)
    return found


@contextlib.contextmanager
def _made_folder(folder: Path) -> Iterator[None]:
    """Makes the folder, and takes it away again if nothing came into it."""
    existed = os.path.isdir(folder)  # Path.is_dir raises where the name is too long.
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
            with contextlib.suppress(OSError):  # There is something in it.
                folder.rmdir()


def _check_derived(plan: grid.Plan) -> None:
    """Refuses to replace a sheet or a table that no sweep has written."""
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


def _prepare(
    plan: grid.Plan,
    hashes: Mapping[str, Mapping[str, Any]],
    given: Mapping[str, sources.Pictures],
) -> list[Job]:
    """Returns the jobs in the order of the cells, with one network for all that can share it."""
    console.load_tensorflow([cell.config for cell in plan.cells])
    largest = sorted(plan.cells, key=lambda cell: -math.prod(cell.size))
    models: dict[tuple[Any, ...], backbones.Backbone] = {}
    plans: dict[str, list[tiles.Plan]] = {}
    from nst_tf.engine import transfer
    from nst_tf.records import environment

    for cell in largest:  # The first of each network is the one that takes most memory.
        key, pictures = _network(cell.config), given[cell.config.init]
        told = key in models
        if not told:
            models[key] = console.build_backbone(cell.config)
        run = cell.config, models[key], cell.levels
        plans[cell.name] = transfer.planned(*run, pictures)
        if not told:
            console.announce(*run, plans[cell.name], pictures)
    jobs = []
    for cell in plan.cells:
        surroundings = environment.surroundings(transfer.find_device(cell.config.device))
        model = models[_network(cell.config)]
        config = cell.config.replace(backbone=model.name)
        made = recipe.record(config, environment.network(model), surroundings, hashes[config.init])
        path = plan.folder / cell.name
        jobs.append(Job(cell, config, model, made, path, plans=plans[cell.name]))
    return jobs


def _network(config: configs.StyleTransferConfig) -> tuple[Any, ...]:
    """Returns the settings that a network is built from."""
    from nst_tf import objective

    layers = frozenset(objective.used_layers(config))
    return (config.backbone, *config.network.values(), layers)


def _check_pictures(plan: grid.Plan, jobs: Sequence[Job]) -> None:
    """Finds the pictures that need not be made again, and refuses to replace any other."""
    others = []
    for job in jobs:
        if not job.path.exists():
            continue
        if not _is_made_by(job):
            others.append(job.path)
        elif _read_report(job) is not None:
            job.outcome = "kept"
    if others and not plan.options.overwrite:
        raise _existing(others, "made with other settings, inputs or versions")


def _is_made_by(job: Job) -> bool:
    try:
        found = recipe.load(str(job.path))
    except errors.ImageError:
        return False
    then, now = ({**recipe.essence(made), "machine": None} for made in (found, job.recipe))
    return then == now  # Another machine has a say in the last bits alone.


def _read_report(job: Job) -> dict[str, Any] | None:
    """Returns the report of a picture, or None where it is missing, damaged or another's."""
    try:
        read = files.parse_json(job.report.read_text())
        same = read["config"] == job.config.to_dict()
        numbers = [read["seconds"], read["history"][-1]["loss"]]
        numbers += read["history"][-1]["terms"].values()
        return read if same and math.isfinite(sum(numbers)) else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


# The work.


def _run(plan: grid.Plan, jobs: Sequence[Job], given: Mapping[str, sources.Pictures]) -> int:
    """Makes the pictures that are not there yet, and returns the exit status."""
    for number, job in enumerate(jobs, 1):
        kept = ": kept" if job.done else ""
        console.say(f"[{number}/{len(jobs)}] {job.cell.label}{kept}")
        if not job.done:
            interrupt = callbacks.Interrupt(hold=True)
            try:
                _make(job, given[job.config.init], interrupt, plan.options.overwrite)
            except KeyboardInterrupt as stop:
                return console.stopped_by(stop)
            except Exception as error:  # Whatever it is, the other cells are not to blame.
                _fail(job, error)
            finally:
                interrupt.restore()
            if interrupt.signal:
                return console.stopped_by(interrupt.signal)
    return 0 if all(job.done for job in jobs) else 1


def _make(
    job: Job, given: sources.Pictures, interrupt: callbacks.Interrupt, overwrite: bool
) -> None:
    """Makes one picture and its report, if it is not interrupted."""
    from nst_tf.commands import report
    from nst_tf.engine import transfer

    engine = transfer.StyleTransfer(job.config, job.model)
    history = callbacks.History()
    begin = time.perf_counter()
    picture = engine.stylize(
        given.photo,
        given.paintings,
        [callbacks.Progress(), history, interrupt],
        content_mask=given.content_mask,
        style_masks=given.style_masks,
        init=given.init,
        plans=job.plans,
    )
    seconds = time.perf_counter() - begin
    if not history.run.finished:
        return
    job.report.unlink(missing_ok=True)  # A picture must never stand beside another's report.
    job.path = console.save(
        picture,
        job.path,
        given.photo.alpha,
        recipe=json.dumps(job.recipe),
        overwrite=overwrite or _is_made_by(job),
    )
    with _as_output_error(job.report):
        report.Record(history.run, history.entries, seconds).write(str(job.report))
    job.outcome = "made"


def _fail(job: Job, error: Exception) -> None:
    """Notes and tells why there is no picture."""
    job.outcome = "diverged" if isinstance(error, errors.DivergenceError) else "failed"
    job.reason = str(error).partition("\n")[0]
    if not isinstance(error, errors.StyleTransferError):
        kind = type(error).__name__
        job.reason = f"{kind}: {job.reason}" if job.reason else kind
    console.say(f"{job.cell.label}: {job.outcome}. {job.reason}")


@contextlib.contextmanager
def _as_output_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.OutputError(f"{path}: cannot be written ({error.strerror}).") from error


def _say_summary(plan: grid.Plan, jobs: Sequence[Job], seconds: float) -> None:
    outcomes = [job.outcome for job in jobs]
    counts = ", ".join(f"{outcomes.count(name)} {name}" for name in dict.fromkeys(outcomes))
    console.say(f"{len(jobs)} pictures: {counts}, in {seconds:.0f} s.")


# After the work.


def contact_sheet(plan: grid.Plan, jobs: Sequence[Job]) -> sheet.Sheet:
    """Returns the sheet of a sweep, whose jobs are in the order of the plan's cells."""
    names = [Path(name) for name in (plan.paths.content, *plan.paths.styles)]
    shown = [_shown(job.path, plan.max_pixels) if job.done else _gap(job) for job in jobs]
    count = len(plan.columns)
    return sheet.Sheet(
        title=recipe.in_words(names[0].name, [name.name for name in names[1:]]),
        note=grid.label(plan.given, ", "),
        sources=[_shown(name, plan.max_pixels) for name in names],
        rows=[grid.label(row, "\n") for row in plan.rows],
        columns=[grid.label(column, "\n") for column in plan.columns],
        pictures=[shown[start : start + count] for start in range(0, len(shown), count)],
        size=max((cell.size for cell in plan.cells), key=max),
    )


def _gap(job: Job) -> str:
    """Returns what the sheet shows in the place of a picture."""
    reason = textwrap.shorten(job.reason, _LONGEST_REASON, placeholder="...")
    return f"{job.outcome}: {reason}" if reason else job.outcome


def _shown(path: Path, max_pixels: int) -> np.ndarray:
    """Returns the colours of a picture file, on white where it is transparent."""
    picture = images.load(path, max_pixels)
    if picture.alpha is None:
        return picture.rgb
    return 1 + (picture.rgb - 1) * picture.alpha[..., np.newaxis]


def _write_sheet(plan: grid.Plan, jobs: Sequence[Job]) -> None:
    pixels = sheet.render(sheet.draw(contact_sheet(plan, jobs)))
    mark = json.dumps({"sweep": list(plan.options.grid)})
    images.save(pixels, plan.folder / SHEET, recipe=mark)


def table(plan: grid.Plan, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Returns one row a cell: swept values, losses at the last step, seconds, and the file.

    A loss is weighted; `<group> unweighted` is its value at weight 1, which can be compared
    between cells of different weights.
    """
    settings = [
        {name: configs.written(value) for name, value in job.cell.settings.items()} for job in jobs
    ]
    return [{**swept, **_losses(job)} for swept, job in zip(settings, jobs, strict=True)]


def _losses(job: Job) -> dict[str, Any]:
    from nst_tf import objective

    read = _read_report(job) if job.done else None
    if read is None:
        return {}
    last = read["history"][-1]
    terms = objective.terms(job.config, job.model.name)
    weights = callbacks.group_terms({term.name: term.weight for term in terms})
    groups = callbacks.group_terms(last["terms"])
    unweighted = {f"{name}{_UNWEIGHTED}": groups[name] / weights[name] for name in groups}
    ends = zip(_LAST_COLUMNS, (read["seconds"], job.path.name), strict=True)
    return {"loss": last["loss"], **groups, **unweighted, **dict(ends)}


def _write_table(plan: grid.Plan, jobs: Sequence[Job]) -> None:
    rows = table(plan, jobs)
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
