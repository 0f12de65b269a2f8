"""Doing a job, whatever comes of it."""

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
from nst_tf.jobs.check import check
from nst_tf.jobs.job import Job
from nst_tf.jobs.keep import keep
from nst_tf.jobs.outcome import Outcome, in_words, of_error, status_of
from nst_tf.jobs.plan import Planned, network_settings, plan, read

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

    Nothing that goes wrong is raised, so that other jobs can go on: it is the outcome. That holds
    for a `KeyboardInterrupt` within the steps, too, after which the last good picture is saved;
    whoever makes several pictures looks for the status `stopped`.

    Args:
        job: what is to be made, or that as `plan` returned it.
        engine: whose network and compiled steps are used where they fit. Several jobs may share
            one, in several threads.
        callbacks: told of the progress.

    Returns:
        What became of it. The picture that is done is where the outputs say, under another free
        name if that was taken in the meantime, and holds its recipe.
    """
    try:
        planned = job if isinstance(job, Planned) else _planned(job, engine)
    except Exception as error:
        logger.debug("The job cannot be done.", exc_info=error)
        return of_error(error)
    try:
        return _run(planned, engine, callbacks)
    finally:
        if engine is None:
            gc.collect()  # A network refers to itself, and would stay until Python next looks.


def _planned(job: Job, engine: transfer.StyleTransfer | None) -> Planned:
    check(job)
    ready = read(job)
    return plan(ready, _network(ready.config, engine))


def _network(
    config: configs.StyleTransferConfig, engine: transfer.StyleTransfer | None
) -> backbones.Backbone:
    """Returns the network of an engine, or a new one where that does not fit."""
    from nst_tf import backbones, objective
    from nst_tf.engine import transfer

    transfer.find_device(config.device)
    if not isinstance(config.backbone, str):
        return typing.cast(backbones.Backbone, config.backbone)
    if engine:
        same = config.backbone in ("auto", engine.config.backbone)
        wanted = config.replace(backbone=engine.config.backbone)
        if same and network_settings(wanted) == network_settings(engine.config):
            return engine.backbone
    return backbones.build(config.network_name, objective.used_layers(config), **config.network)


def _engine(planned: Planned, engine: transfer.StyleTransfer | None) -> transfer.StyleTransfer:
    """Returns an engine with the settings and the network of a job."""
    from nst_tf.engine import transfer

    if engine and engine.backbone is planned.backbone:
        return engine.with_config(planned.config)
    return transfer.StyleTransfer(planned.config, planned.backbone)


def _run(
    planned: Planned,
    engine: transfer.StyleTransfer | None,
    watchers: Sequence[callbacks.Callback],
) -> Outcome:
    history, checkpoints = callbacks.History(), _checkpoints(planned.ready.job)
    watchers = [history, *watchers, *_shows(planned.ready.job), *checkpoints]
    begin = time.perf_counter()
    failure = _stylize(planned, engine, watchers)
    found = _found(planned, history, failure, time.perf_counter() - begin)
    saved = [checkpoint.saved for checkpoint in checkpoints]
    found = dataclasses.replace(found, checkpoint=next(iter(saved), None))
    kept = _kept(found, planned.ready.job)
    if not kept.done:
        return kept
    for checkpoint in checkpoints:
        checkpoint.remove()
    kept = dataclasses.replace(kept, checkpoint=None)
    # Whoever wants the run to stop wants nothing but the picture.
    return kept if history.run.stopping else _with_extras(kept, planned.ready.job)


def _stylize(
    planned: Planned,
    engine: transfer.StyleTransfer | None,
    watchers: Sequence[callbacks.Callback],
) -> BaseException | None:
    """Runs the steps, and returns what ended them before their time, if anything did."""
    given = planned.ready.pictures
    try:
        _engine(planned, engine).stylize(
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
    return [callbacks.Checkpoint(asked.folder, asked.seconds, job.outputs.overwrite)]


def _shows(job: Job) -> list[callbacks.Callback]:
    """Returns what shows the picture on the way."""
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
    """Returns what a run has come to, none of which is written yet."""
    run = getattr(history, "run", None)  # It has none before it has begun.
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
    """Returns the picture that a run has come to, or None where there is none."""
    try:
        return run and run.picture()
    except Exception as error:
        logger.warning("The last good picture is lost: %s", in_words(error))
        return None


def _steps(history: callbacks.History) -> list[dict[str, Any]]:
    """Returns what is known of the steps, which is nothing where a device has failed."""
    try:
        return history.entries
    except Exception as error:
        logger.warning("The losses are lost: %s", in_words(error))
        return []


def _kept(found: Outcome, job: Job) -> Outcome:
    """Returns an outcome whose picture is written, as far as that is asked for and possible."""
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
    """Writes report and plot; the picture is safe by now, so a failure is only noted."""
    outputs, unwritten = job.outputs, {}
    for path, write in ((outputs.report, report.write), (outputs.plot, report.plot)):
        try:
            if path:
                write(outcome, path, outputs.overwrite)
        except Exception as error:
            unwritten[path] = f"{path}: cannot be written ({errors.reason(error)})."
    return dataclasses.replace(outcome, unwritten=unwritten)
