"""The command: flags in, a picture file out, and a sentence for everything that goes wrong."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nst_tf import callbacks, errors
from nst_tf import config as configs
from nst_tf.commands import console, flags
from nst_tf.commands.options import FileOptions
from nst_tf.imaging import images, inputs, masks, pyramid, sources
from nst_tf.records import recipe
from nst_tf.records import snapshot as snapshots
from nst_tf.runtime import files

if TYPE_CHECKING:
    from nst_tf.commands import report
    from nst_tf.engine import transfer
    from nst_tf.tiling import tiles

logger = logging.getLogger("nst_tf")

_PLOT_SUFFIXES = (".png", ".jpg", ".pdf", ".svg")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    0: the picture is written. 1: a file, the weights or the run failed. 2: a flag is wrong.
    130: stopped by Ctrl-C. 143: by SIGTERM. 129: by SIGHUP.

    Args:
        argv: program name and flags; those of the process where it is None.
    """
    return console.run(argv, flags.ALL, _command)


def _command(values: Any) -> int:
    options: FileOptions = flags.to_dataclass(values, FileOptions)
    paths = sources.Paths.of(options)
    if options.preset and options.replay:
        raise errors.ConfigError(
            f"--preset={options.preset} and --replay={options.replay} both give all settings; give "
            "one of them."
        )
    given = flags.given(values, configs.StyleTransferConfig)
    if not options.replay:
        config = flags.to_config(values, options.preset)
        configs.warn_idle((config, given), (options, flags.given(values, FileOptions)))
        return _run(config, options, paths)
    replayed = recipe.load(options.replay)
    config = flags.to_config(values, settings=recipe.settings(replayed, given))
    config = recipe.with_network(config, recipe.essence(replayed))
    configs.warn_idle((config, given), (options, flags.given(values, FileOptions)))
    for sentence in recipe.changes(replayed, config, given):
        console.say(sentence)
    return _run(config, options, paths, replayed)


def _run(
    config: configs.StyleTransferConfig,
    options: FileOptions,
    paths: sources.Paths,
    replayed: Mapping[str, Any] | None = None,
) -> int:
    start = time.perf_counter()
    _check_checkpoints(options)
    output = _output(options, paths, config)
    inputs.check(config, len(paths.styles), bool(paths.content_mask), len(paths.style_masks))
    levels = _announce(config, paths, output)
    hashes = _hash_inputs(config, paths, replayed)
    given = paths.pictures(config.max_pixels, config.init, config.memory_limit)
    photo, paintings = given.photo, given.paintings
    inputs.match_masks(config, len(paintings), given.content_mask, given.style_masks)
    _save_overlay(options, given)
    recipe.require_unchanged(paths.roles(config), hashes)
    found, config = _found(config, options, given.roles())
    model = console.build_backbone(config)
    from nst_tf.commands import report
    from nst_tf.engine import transfer
    from nst_tf.records import environment

    engine = transfer.StyleTransfer(config.replace(backbone=model.name), model)
    surroundings = environment.surroundings(transfer.find_device(config.device))
    made = recipe.record(engine.config, environment.network(model), surroundings, hashes)
    if replayed:
        recipe.require_same_maker(replayed, made)
    history, interrupt = callbacks.History(), callbacks.Interrupt(hold=True)
    checkpoints = _checkpoints(options)
    watchers = [callbacks.Progress(), history, interrupt, *_shows(options, output), *checkpoints]
    snapshot = snapshots.read(found) if found else None
    plans = snapshot.plans if snapshot else transfer.planned(config, model, levels, given)
    console.announce(config, model, levels, plans, given)
    begin = time.perf_counter()
    try:
        failure = _stylize(engine, given, watchers, snapshot, plans)
        seconds = time.perf_counter() - begin
        picture = _last_good(history)
        if picture is None or not history.run.finished:
            kept = None if picture is None else _save(picture, _partial(output), photo, "", options)
            raise _unfinished(failure, interrupt.signal, kept, checkpoints)
        if failure:
            console.say(f"At the end, {_in_words(failure)}")
        kept = _save(picture, output, photo, json.dumps(made), options)
        console.give(kept)
        for checkpoint in checkpoints:
            checkpoint.remove()
        before = snapshot.history[-1]["seconds"] if snapshot else 0
        record = report.Record(history.run, history.entries, before + seconds)
        _write_extras(options, record, interrupt)
    finally:
        interrupt.restore()
    if interrupt.pressed:
        console.say(f"Interrupted, but the picture is finished: {kept}.")
        return console.stopped_by(interrupt.signal)
    peak = environment.peak_memory_bytes(record.run.device)
    console.say(
        f"Done in {time.perf_counter() - start:.0f} s, {seconds:.0f} s of it stylising; "
        f"{console.gigabytes(peak)} of memory used."
    )
    return 0


def _stylize(
    engine: transfer.StyleTransfer,
    given: sources.Pictures,
    watchers: Sequence[callbacks.Callback],
    snapshot: snapshots.Snapshot | None,
    plans: Sequence[tiles.Plan],
) -> BaseException | None:
    """Runs the steps, and returns what ended them before their time, if anything did."""
    try:
        engine.stylize(
            given.photo,
            given.paintings,
            watchers,
            snapshot,
            content_mask=given.content_mask,
            style_masks=given.style_masks,
            init=given.init,
            plans=plans,
        )
    except (Exception, KeyboardInterrupt) as error:
        logger.debug("The run has failed.", exc_info=error)
        return error
    return None


def _last_good(history: callbacks.History) -> Any:
    """Returns the picture that a run has come to, or None where there is none."""
    run = getattr(history, "run", None)  # It has none before it has begun.
    try:
        return run and run.picture()
    except Exception as error:
        console.say(f"The last good picture is lost: {_in_words(error)}")
        return None


def _unfinished(
    failure: BaseException | None,
    number: int,
    kept: Path | None,
    checkpoints: Sequence[callbacks.Checkpoint],
) -> BaseException:
    """Returns the error that tells how a run has ended that is not finished.

    Args:
        failure: that ended it; None where it was stopped after a step.
        number: of the signal that came, or 0.
        kept: where the last good picture is.
        checkpoints: of the run.
    """
    how = _how_to_go_on(checkpoints)
    if failure is None or isinstance(failure, KeyboardInterrupt):
        kind = type(failure) if failure else console.interruption(number)
        said = f"Stopped. What there is so far is {kept}.{how}" if kept else ""
        return kind(said or (how and f"Interrupted.{how}"))
    if kept is None and not how and isinstance(failure, errors.StyleTransferError):
        return failure
    where = f" The last good picture is {kept}." if kept else ""
    return errors.StyleTransferError(f"{_in_words(failure)}{where}{how}")


def _in_words(failure: BaseException) -> str:
    if isinstance(failure, errors.StyleTransferError):
        return str(failure)
    return f"the run has failed ({type(failure).__name__}: {errors.reason(failure)})."


def _partial(output: Path) -> Path:
    return files.sibling(output, f".partial{output.suffix}")


def _preview(output: Path) -> Path:
    return files.sibling(output, ".preview.png")


# Before the work.


def _output(
    options: FileOptions, paths: sources.Paths, config: configs.StyleTransferConfig
) -> Path:
    """Returns where the picture goes, once it is sure that everything asked for can be written."""
    output = Path(options.output or f"{recipe.name(options.content, options.style)}.png")
    if output.suffix.lower() not in images.FORMATS:
        raise errors.ConfigError(
            f"--output={output}: cannot write a picture with the suffix {output.suffix!r}; "
            f"expected one of {', '.join(images.FORMATS)}."
        )
    deep = output.suffix.lower() == ".png"
    if options.bit_depth != 8 and not (options.bit_depth == 16 and deep):
        raise errors.ConfigError(
            f"--bit_depth={options.bit_depth} with {output}: expected 8, or 16 with .png."
        )
    if options.preview_every < 0:
        raise errors.ConfigError(
            f"--preview_every={options.preview_every}: expected 0 (never) or a number of steps."
        )
    if options.save_mask_overlay:
        if not options.content_mask:
            raise errors.ConfigError(
                f"--save_mask_overlay={options.save_mask_overlay} shows a content mask, and there "
                "is none; give one with --content_mask=PICTURE."
            )
        images.check_writable(options.save_mask_overlay)
    _check_suffix("timelapse", options.timelapse, callbacks.FILM_SUFFIXES)
    _check_suffix("plot", options.plot, _PLOT_SUFFIXES)
    names = ("plot", "report", "save_mask_overlay", "timelapse")
    written = {f"--{name}": Path(path) for name in names if (path := getattr(options, name))}
    written["--output"] = output
    if options.preview_every:
        written["the preview"] = _preview(output)
    for path in written.values():
        images.probe_writable(path)
    _check_apart(written, options, paths, config)
    for path in written.values():
        ours = options.resume and path == _preview(output) and callbacks.is_preview(path)
        if os.path.lexists(path) and not (options.overwrite or ours):
            raise errors.OutputError(
                f"{path}: exists already. Choose another name, or replace it with --overwrite."
            )
    return output


def _check_apart(
    written: Mapping[str, Path],
    options: FileOptions,
    paths: sources.Paths,
    config: configs.StyleTransferConfig,
) -> None:
    """Refuses two outputs that are one file, and an output that is an input.

    The picture may replace the one that it begins with or is a replay of, which are read before.
    """
    partial = "the picture of a stopped run"
    outputs = {**written, partial: _partial(written["--output"])}
    if options.checkpoint_dir:
        outputs["--checkpoint_dir"] = Path(options.checkpoint_dir)
    names: dict[object, str] = {}
    for name, path in outputs.items():
        other = names.setdefault(files.identity(path), name)
        if other != name:
            raise errors.ConfigError(
                f"{path}: {other} and {name} are one file; give each output its own name."
            )
    given = {**paths.roles(config), "weights": config.weights, "replayed picture": options.replay}
    for role, source in given.items():
        name = names.get(files.identity(source), "") if os.path.exists(source) else ""
        read_before = role in ("init", "replayed picture") and name in ("--output", partial)
        if name and not read_before and (options.overwrite or name != partial):
            raise errors.OutputError(
                f"{source}: is the {role} of this run, which {name} would replace. Choose another "
                "name; inputs are not replaced, not even with --overwrite."
            )


def _check_suffix(flag: str, path: str, suffixes: Sequence[str]) -> None:
    if path and Path(path).suffix.lower() not in suffixes:
        raise errors.ConfigError(
            f"--{flag}={path}: expected one of the suffixes {', '.join(suffixes)}."
        )


def _check_checkpoints(options: FileOptions) -> None:
    """Makes sure that checkpoints can be written, and that no other run's are in the way."""
    if not options.checkpoint_dir:
        if options.resume:
            raise errors.ConfigError(
                "--resume goes on from a checkpoint; tell where they are with --checkpoint_dir=DIR."
            )
        return
    folder = Path(options.checkpoint_dir)
    if os.path.isfile(folder):
        raise errors.OutputError(f"--checkpoint_dir={folder}: this is a file; expected a folder.")
    images.probe_writable(folder / snapshots.PREFIX if os.path.isdir(folder) else folder)
    callbacks.require_free(folder)
    if snapshots.stored(folder) and not (options.resume or options.overwrite):
        raise callbacks.occupied(folder)


def _found(
    config: configs.StyleTransferConfig,
    options: FileOptions,
    pictures: Mapping[str, images.Picture],
) -> tuple[Path | None, configs.StyleTransferConfig]:
    """Returns the checkpoint to go on from, if there is one, once it is sure that it is ours.

    The settings come with it: of them `auto` is the network that the checkpoint was made with.
    """
    if not options.resume:
        return None, config
    found = snapshots.newest(Path(options.checkpoint_dir))
    if not found:
        console.say(f"{options.checkpoint_dir}: no checkpoint to resume; starting anew.")
        return None, config
    about = snapshots.read_about(found)
    config = recipe.with_network(config, about["made_with"])
    recipe.require_same(about["made_with"], recipe.made_with(config, pictures))
    console.say(f"Going on from {found}: step {about['step']} of level {about['level'] + 1}.")
    return found, config


def _checkpoints(options: FileOptions) -> list[callbacks.Checkpoint]:
    if not options.checkpoint_dir:
        return []
    return [
        callbacks.Checkpoint(options.checkpoint_dir, options.checkpoint_seconds, options.overwrite)
    ]


def _announce(
    config: configs.StyleTransferConfig, paths: sources.Paths, output: Path
) -> list[pyramid.Level]:
    """Prints what is about to happen, from the headers of the files alone."""
    photo = images.size(paths.content, config.max_pixels)
    paintings = [images.size(path, config.max_pixels) for path in paths.styles]
    others = [path for path in (paths.content_mask, *paths.style_masks) if path]
    if config.init not in configs.INITIALISATIONS:
        others.append(config.init)
    for path in others:
        images.size(path, config.max_pixels)
    levels = pyramid.plan(config, photo, paintings)
    steps = ", ".join(f"{level.width}x{level.height} in {level.steps} steps" for level in levels)
    names = [
        f"{path} ({width}x{height})"
        for path, (height, width) in zip(
            (paths.content, *paths.styles), (photo, *paintings), strict=True
        )
    ]
    console.say(f"{recipe.in_words(names[0], names[1:])} -> {output}; {steps}.")
    return levels


def _hash_inputs(
    config: configs.StyleTransferConfig,
    paths: sources.Paths,
    replayed: Mapping[str, Any] | None,
) -> dict[str, dict[str, str]]:
    """Returns the hashes of all inputs, which are those of the replayed recipe if there is one."""
    hashes = recipe.input_hashes(paths.roles(config))
    if replayed:
        recipe.require_inputs(replayed, config, hashes)
    return hashes


def _save_overlay(options: FileOptions, given: sources.Pictures) -> None:
    """Tells what was understood of the content mask, and draws it where that is asked for."""
    if given.content_mask is None:
        return
    regions = inputs.regions_of(given.content_mask, "content mask")
    console.say(f"{options.content_mask}: {regions.in_words()}.")
    if options.save_mask_overlay:
        maps = images.resize(regions.maps, *given.photo.size)
        shown = masks.overlay(given.photo.rgb, dataclasses.replace(regions, maps=maps))
        images.save(shown, options.save_mask_overlay, overwrite=options.overwrite)


def _shows(options: FileOptions, output: Path) -> list[callbacks.Callback]:
    """Returns what shows the picture on the way."""
    found: list[callbacks.Callback] = []
    if options.preview_every:
        found.append(callbacks.Preview(_preview(output), options.preview_every))
    if options.timelapse:
        found.append(callbacks.Timelapse(options.timelapse, options.overwrite))
    return found


# After the work.


def _how_to_go_on(checkpoints: Sequence[callbacks.Checkpoint]) -> str:
    """Returns a sentence, after a space, where there is a checkpoint."""
    return "".join(
        f" --resume goes on from {checkpoint.saved}."
        for checkpoint in checkpoints
        if checkpoint.saved
    )


def _save(picture: Any, path: Path, photo: images.Picture, made: str, options: FileOptions) -> Path:
    return console.save(
        picture,
        path,
        photo.alpha,
        recipe=made,
        bit_depth=options.bit_depth,
        overwrite=options.overwrite,
    )


def _write_extras(
    options: FileOptions, record: report.Record, interrupt: callbacks.Interrupt
) -> None:
    """Writes report and plot; the picture is safe by now, so a failure is only reported."""
    for path, write in ((options.report, record.write), (options.plot, record.plot)):
        try:
            if path and not interrupt.pressed:
                write(path, options.overwrite)
        except Exception as error:
            console.say(f"{path}: cannot be written ({errors.reason(error)}).")
