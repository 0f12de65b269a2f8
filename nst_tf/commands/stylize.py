"""The command: flags in, a picture file out, errors as sentences."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nst_tf import callbacks, errors, jobs
from nst_tf import config as configs
from nst_tf.commands import console, flags
from nst_tf.commands import options as command_options
from nst_tf.commands.options import FileOptions
from nst_tf.imaging import inputs, pyramid
from nst_tf.records import recipe

_NAMES = {
    "picture": "--output",
    "mask_overlay": "--save_mask_overlay",
    "folder": "--checkpoint_dir",
    **{
        name: f"--{name}"
        for name in (
            "bit_depth", "content_mask", "overwrite", "plot", "preview_every", "report",
            "timelapse",
        )
    },
}  # fmt: skip
"""The flags of the fields of a job."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    0: the picture is written. 1: a file, the weights or the run failed. 2: a flag is wrong.
    130: stopped by Ctrl-C. 143: by SIGTERM. 129: by SIGHUP.

    Args:
        argv: program name and flags; those of the process if None.
    """
    return console.run(argv, flags.ALL, _command)


def _command(values: Any) -> int:
    options: FileOptions = flags.to_dataclass(values, FileOptions)
    paths = command_options.paths(options)
    if options.preset and options.replay:
        raise errors.ConfigError(
            f"--preset={options.preset} and --replay={options.replay} both give all settings; give "
            "one of them."
        )
    config = _config(values, options)
    return _run(_job(options, paths, config))


def _config(values: Any, options: FileOptions) -> configs.StyleTransferConfig:
    """Returns the settings, and prints their differences from a recipe to replay."""
    given = flags.given(values, configs.StyleTransferConfig)
    replayed = recipe.load(options.replay) if options.replay else None
    if replayed is None:
        config = flags.to_config(values, options.preset)
    else:
        config = flags.to_config(values, settings=recipe.settings(replayed, given))
        config = recipe.with_network(config, recipe.essence(replayed))
    configs.warn_idle((config, given), (options, flags.given(values, FileOptions)))
    for sentence in recipe.changes(replayed, config, given) if replayed else ():
        console.say(sentence)
    return config


def _job(options: FileOptions, paths: jobs.Paths, config: configs.StyleTransferConfig) -> jobs.Job:
    if options.resume and not options.checkpoint_dir:
        raise errors.ConfigError(
            "--resume goes on from a checkpoint; tell where they are with --checkpoint_dir=DIR."
        )
    name = options.output or f"{console.result_name(options.content, options.style)}.png"
    outputs = jobs.Outputs(
        str(Path(name)),
        mask_overlay=options.save_mask_overlay,
        **{
            name: getattr(options, name)
            for name in ("bit_depth", "overwrite", "preview_every", "timelapse", "plot", "report")
        },
    )
    checkpoints = None
    if options.checkpoint_dir:
        checkpoints = jobs.Checkpoints(
            options.checkpoint_dir, options.checkpoint_seconds, options.resume
        )
    return jobs.Job(paths, config, outputs, checkpoints, options.replay)


def _run(job: jobs.Job) -> int:
    start = time.perf_counter()
    levels = jobs.check(job, _NAMES)
    _announce(job, levels)
    ready = jobs.read(job)
    _tell_what_was_read(ready)
    planned = jobs.plan(ready, console.build_backbone(ready.config))
    console.announce(planned.config, planned.backbone, ready.levels, planned.plans, ready.pictures)
    interrupt = callbacks.Interrupt(hold=True)
    try:
        outcome = jobs.run(planned, callbacks=[callbacks.Progress(), interrupt])
        return _shown(outcome, interrupt, start)
    finally:
        interrupt.restore()


def _announce(job: jobs.Job, levels: Sequence[pyramid.Level]) -> None:
    """Prints inputs, output, sizes and steps, from the headers of the files alone."""
    content, styles = job.inputs.sizes(job.config)
    steps = ", ".join(f"{level.width}x{level.height} in {level.steps} steps" for level in levels)
    assert isinstance(job.inputs, jobs.Paths)
    names = [
        f"{path} ({width}x{height})"
        for path, (height, width) in zip(
            (job.inputs.content, *job.inputs.styles), (content, *styles), strict=True
        )
    ]
    console.say(f"{console.painted(names[0], names[1:])} -> {job.outputs.picture}; {steps}.")


def _tell_what_was_read(ready: jobs.Ready) -> None:
    """Prints the regions of the content mask, and the checkpoint that the run goes on from."""
    job = ready.job
    if ready.pictures.content_mask:
        regions = inputs.regions_of(ready.pictures.content_mask, "content mask")
        console.say(f"{job.inputs.content_mask}: {regions.in_words()}.")
    if ready.checkpoint:
        place = f"step {ready.about['step']} of level {ready.about['level'] + 1}"
        console.say(f"Going on from {ready.checkpoint}: {place}.")
    elif job.checkpoints and job.checkpoints.resume:
        console.say(f"{job.checkpoints.folder}: no checkpoint to resume; starting anew.")


# After the run.


def _shown(outcome: jobs.Outcome, interrupt: callbacks.Interrupt, start: float) -> int:
    """Prints the outcome of a job, and returns the exit status.

    Raises:
        BaseException: the job is not done; the message says why.
    """
    if not outcome.done:
        raise _unfinished(outcome, interrupt.signal)
    assert outcome.path
    console.give(outcome.path)
    for sentence in outcome.unwritten.values():
        console.say(sentence)
    if interrupt.pressed:
        console.say(f"Interrupted, but the picture is finished: {outcome.path}.")
        return console.stopped_by(interrupt.signal)
    console.say(
        f"Done in {time.perf_counter() - start:.0f} s, {outcome.seconds:.0f} s of it stylising; "
        f"{console.gigabytes(outcome.peak_memory)} of memory used."
    )
    return 0


def _unfinished(outcome: jobs.Outcome, number: int) -> BaseException:
    """Returns the error for a job that is not done.

    Args:
        outcome: outcome of the job.
        number: number of the signal received, or 0.
    """
    failure, kept = outcome.error, outcome.path
    how = f" --resume goes on from {outcome.checkpoint}." if outcome.checkpoint else ""
    if outcome.status == "stopped":
        kind = type(failure) if failure else console.interruption(number)
        said = f"Stopped. What there is so far is {kept}.{how}" if kept else ""
        return kind(said or (how and f"Interrupted.{how}"))
    if isinstance(failure, errors.OutputError) and kept == failure.elsewhere:
        return failure  # Its message has the path of the picture.
    if kept is None and not how and isinstance(failure, errors.StyleTransferError):
        return failure
    where = f" The last good picture is {kept}." if kept else ""
    return errors.StyleTransferError(f"{outcome.reason}{where}{how}")
