"""Runs a job and returns its outcome."""

from __future__ import annotations

import dataclasses
import gc
import logging
import time
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nst_tf import callbacks, errors
from nst_tf import config as configs
from nst_tf.jobs import report
from nst_tf.jobs.checking import check
from nst_tf.jobs.job import Job
from nst_tf.jobs.outcome import Outcome, in_words, of_error, status_of
from nst_tf.jobs.planning import Planned, plan, read
from nst_tf.jobs.saving import keep

if TYPE_CHECKING:
    from nst_tf import backbones
    from nst_tf.engine import transfer

logger = logging.getLogger("nst_tf")


def run(
    job: Job | Planned,
    engine: transfer.StyleTransfer | None = None,
    callbacks: Sequence[callbacks.Callback] = (),
) -> Outcome:
    """Makes one picture and its files.

    Errors are not raised but returned in the outcome, so that a batch goes on. That includes a
    `KeyboardInterrupt` within the steps, after which the last good picture is saved; a batch checks
    for the status `stopped`.

    Args:
        job: the job, or the result of `plan`.
        engine: a `StyleTransfer` whose network and compiled steps are reused if they fit. Several
            jobs may share one, in several threads.
        callbacks: callbacks that follow the run.

    Returns:
        The outcome. A finished picture holds its recipe. It is at the path in the outputs, or under
        another free name if that was taken in the meantime.
    """
    try:
        planned = job if isinstance(job, Planned) else _planned(job, engine)
        fitting = engine_for(planned, engine)
    except Exception as error:
        logger.debug("The job cannot be done.", exc_info=error)
        return of_error(error)
    try:
        return write(make(planned, fitting, callbacks))
    finally:
        if engine is None:
            gc.collect()  # A network refers to itself, so only a collection frees it.


def _planned(job: Job, engine: transfer.StyleTransfer | None) -> Planned:
    check(job)
    ready = read(job)
    return plan(ready, network_for(ready.config, engine))


def network_for(
    config: configs.StyleTransferConfig, engine: transfer.StyleTransfer | None
) -> backbones.Backbone:
    """Returns the network of an engine if it fits the config, else a new one."""
    from nst_tf import backbones, objective
    from nst_tf.engine import transfer

    transfer.find_device(config.device)
    if not isinstance(config.backbone, str):
        return typing.cast(backbones.Backbone, config.backbone)
    if engine and fits(config, engine):
        return engine.backbone
    return objective.build_backbone(config)


def fits(config: configs.StyleTransferConfig, engine: transfer.StyleTransfer) -> bool:
    """Returns whether an engine has the network of a config; to `auto`, any name fits."""
    named = engine.config.backbone if config.backbone == "auto" else config.backbone
    return engine.has_network_of(config.replace(backbone=named))


def engine_for(
    planned: Planned, engine: transfer.StyleTransfer | None = None
) -> transfer.StyleTransfer:
    """Returns an engine with the settings and the network of a job; it reuses one if that fits.

    Raises:
        ConfigError: the settings do not fit the network.
    """
    from nst_tf.engine import transfer

    if engine and engine.backbone is planned.backbone:
        return engine.with_config(planned.config)
    return transfer.StyleTransfer(planned.config, planned.backbone)


@dataclasses.dataclass(frozen=True)
class Made:
    """A job after its steps, before its files are written.

    Attributes:
        job: the job.
        outcome: its outcome so far.
        checkpoints: the callbacks that keep its checkpoints.
        run: the run, which is asked to stop even now if only the picture is still wanted; None if
            it failed before its beginning.
    """

    job: Job
    outcome: Outcome
    checkpoints: Sequence[callbacks.Checkpoint]
    run: callbacks.Run | None


def make(
    planned: Planned,
    engine: transfer.StyleTransfer,
    watchers: Sequence[callbacks.Callback] = (),
) -> Made:
    """Takes the steps of a job. `write` then writes its files, in another thread if need be.

    Args:
        planned: the job.
        engine: an engine with its settings, as `engine_for` returns it.
        watchers: callbacks that follow the run.
    """
    job = planned.ready.job
    history, checkpoints = callbacks.History(), _checkpoints(job)
    watchers = [history, *watchers, *_shows(job), *checkpoints]
    begin = time.perf_counter()
    failure = _stylize(planned, engine, watchers)
    found = _found(planned, history, failure, time.perf_counter() - begin)
    saved = [checkpoint.saved for checkpoint in checkpoints]
    found = dataclasses.replace(found, checkpoint=next(iter(saved), None))
    return Made(job, found, checkpoints, getattr(history, "run", None))


def write(made: Made) -> Outcome:
    """Writes the files of a job, and returns its outcome. Of a stopped run it is the picture."""
    kept = _kept(made.outcome, made.job)
    if not kept.done:
        return kept
    for checkpoint in made.checkpoints:
        checkpoint.remove()
    kept = dataclasses.replace(kept, checkpoint=None)
    return kept if made.run and made.run.stopping else _with_extras(kept, made.job)


def _stylize(
    planned: Planned,
    engine: transfer.StyleTransfer,
    watchers: Sequence[callbacks.Callback],
) -> BaseException | None:
    """Runs the steps, and returns the exception that ended them early, or None."""
    given = planned.ready.pictures
    try:
        engine.stylize(
            given.content,
            given.styles,
            watchers,
            start=planned.start,
            content_mask=given.content_mask,
            style_masks=given.style_masks,
            init=given.init,
            plans=planned.plans,
        )
    except (Exception, KeyboardInterrupt) as error:
        logger.debug("The run has failed.", exc_info=error)
        return error
    return None


def _checkpoints(job: Job) -> list[callbacks.Checkpoint]:
    asked = job.checkpoints
    if not asked:
        return []
    every_level = asked.every_level
    return [callbacks.Checkpoint(asked.folder, asked.seconds, job.outputs.overwrite, every_level)]


def _shows(job: Job) -> list[callbacks.Callback]:
    """Returns the callbacks that show the picture during the run."""
    outputs, found = job.outputs, list[callbacks.Callback]()
    if outputs.preview_every:
        found.append(callbacks.Preview(outputs.preview_path, outputs.preview_every))
    if outputs.timelapse:
        found.append(callbacks.Timelapse(outputs.timelapse, outputs.overwrite))
    return found


# After the work.


def _found(
    planned: Planned, history: callbacks.History, failure: BaseException | None, seconds: float
) -> Outcome:
    """Returns the outcome of a run before any file is written."""
    run = getattr(history, "run", None)  # Missing if the run failed before its beginning.
    picture = _last_good(run)
    finished = run is not None and picture is not None and run.finished
    if finished and failure:
        logger.warning("At the end, %s", in_words(failure))
    start = planned.start
    found = Outcome(
        "done" if finished else status_of(failure),
        "" if finished else in_words(failure),
        config=planned.config,
        levels=planned.ready.levels,
        recipe=planned.recipe,
        seconds=seconds,
        earlier_seconds=start.history[-1]["seconds"] if start else 0.0,
        error=None if finished else failure,
    )
    return found if run is None else _with_run(found, planned, run, _steps(history), picture)


def _with_run(
    found: Outcome,
    planned: Planned,
    run: callbacks.Run,
    entries: Sequence[dict[str, Any]],
    picture: Any,
) -> Outcome:
    from nst_tf.engine import result
    from nst_tf.records import environment

    alpha, made = planned.ready.pictures.content.alpha, planned.recipe
    if picture is not None:
        picture = result.of_run(picture, run, entries, made, alpha)
    return dataclasses.replace(
        found,
        picture=picture,
        history=entries,
        device=run.device,
        rollbacks=run.rollbacks,
        peak_memory=environment.peak_memory_bytes(run.device),
    )


def _last_good(run: callbacks.Run | None) -> Any:
    """Returns the last good picture of a run, or None."""
    try:
        return run and run.picture()
    except Exception as error:
        logger.warning("The last good picture is lost: %s", in_words(error))
        return None


def _steps(history: callbacks.History) -> list[dict[str, Any]]:
    """Returns the entries of the steps; none if reading them from the device fails."""
    try:
        return history.entries
    except Exception as error:
        logger.warning("The losses are lost: %s", in_words(error))
        return []


def _kept(found: Outcome, job: Job) -> Outcome:
    """Writes the picture, if it is wanted and possible, and returns the outcome with its path."""
    outputs = job.outputs
    if found.picture is None or not outputs.picture or not (found.done or outputs.partial):
        return found
    path = Path(outputs.picture) if found.done else outputs.partial_path
    try:
        path = keep(found.picture, path, outputs.bit_depth, outputs.overwrite)
        return dataclasses.replace(found, path=path)
    except errors.StyleTransferError as error:
        where = getattr(error, "elsewhere", None)
        return dataclasses.replace(
            found, status="failed", reason=str(error), path=where, error=error
        )


def _with_extras(outcome: Outcome, job: Job) -> Outcome:
    """Writes report and plot. The picture is safe by now, so a failure is only recorded."""
    outputs, unwritten = job.outputs, {}
    for path, write in ((outputs.report, report.write), (outputs.plot, report.plot)):
        try:
            if path:
                write(outcome, path, outputs.overwrite)
        except Exception as error:
            unwritten[path] = f"{path}: cannot be written ({errors.reason(error)})."
    return dataclasses.replace(outcome, unwritten=unwritten)
