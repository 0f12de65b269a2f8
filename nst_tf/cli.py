"""The command: flags in, a picture file out, and a sentence for everything that goes wrong."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nst_tf import callbacks, console, errors, flags, images, inputs, masks, pyramid, recipe, sizes
from nst_tf import config as configs
from nst_tf import snapshot as snapshots

if TYPE_CHECKING:
    from nst_tf import report

_PLOT_SUFFIXES = (".png", ".jpg", ".pdf", ".svg")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    0: the picture is written. 1: a file, the weights or the run failed. 2: a flag is wrong.
    130: stopped by Ctrl-C. 143: by SIGTERM.

    Args:
        argv: program name and flags; those of the process where it is None.
    """
    return console.run(argv, flags.ALL, _command)


def _command(values: Any) -> int:
    options: configs.FileOptions = flags.to_dataclass(values, configs.FileOptions)
    paths = recipe.Paths.of(options)
    if options.preset and options.replay:
        raise errors.ConfigError(
            f"--preset={options.preset} and --replay={options.replay} both give all settings; give "
            "one of them."
        )
    replayed = recipe.load(options.replay) if options.replay else {}
    config = flags.to_config(values, options.preset, replayed.get("config", {}))
    configs.warn_idle(*((each, flags.given(values, type(each))) for each in (config, options)))
    return _run(config, options, paths, replayed)


def _run(
    config: configs.StyleTransferConfig,
    options: configs.FileOptions,
    paths: recipe.Paths,
    replayed: Mapping[str, Any],
) -> int:
    start = time.perf_counter()
    output = _output(options)
    _check_checkpoints(options)
    inputs.check(config, len(paths.styles), bool(paths.content_mask), len(paths.style_masks))
    levels = _announce(config, paths, output)
    hashes = _hash_inputs(config, paths, replayed)
    given = paths.pictures(config.max_pixels)
    photo, paintings = given.photo, given.paintings
    inputs.match_masks(config, len(paintings), given.content_mask, given.style_masks)
    _save_overlay(options, given)
    found = _found(config, options, given.roles(config))
    model = console.build_backbone(config, levels[-1])
    from nst_tf import report, transfer

    engine = transfer.StyleTransfer(config.replace(backbone=model.architecture.name), model)
    history, interrupt = callbacks.History(), callbacks.Interrupt()
    checkpoints = _checkpoints(options)
    watchers = [callbacks.Progress(), history, interrupt, *_shows(options, output), *checkpoints]
    snapshot = snapshots.read(found) if found else None
    begin = time.perf_counter()
    try:
        picture = engine.stylize(
            photo,
            paintings,
            watchers,
            snapshot,
            content_mask=given.content_mask,
            style_masks=given.style_masks,
        )
    except KeyboardInterrupt as stop:
        how = _how_to_go_on(checkpoints)
        raise type(stop)(how and f"Interrupted.{how}") from None
    except errors.DivergenceError as error:
        interrupt.restore()
        kept = _save(error.image, _partial(output), photo, "", options)
        raise errors.StyleTransferError(f"{error} The last good picture is {kept}.") from error
    seconds = time.perf_counter() - begin
    if interrupt.pressed:
        kept = _save(picture, _partial(output), photo, "", options)
        console.say(f"Stopped. What there is so far is {kept}.{_how_to_go_on(checkpoints)}")
        return console.stopped_by(interrupt.signal)
    made = recipe.dump(engine.config, report.versions(), report.backbone(model), hashes)
    kept = _save(picture, output, photo, made, options)
    before = snapshot.history[-1]["seconds"] if snapshot else 0
    record = report.Record(history.run, history.entries, before + seconds)
    _write_extras(options, record)
    for checkpoint in checkpoints:
        checkpoint.remove()
    peak = report.peak_memory_bytes(record.run.device)
    console.say(
        f"Done in {time.perf_counter() - start:.0f} s, {seconds:.0f} s of it stylising; "
        f"{console.gigabytes(peak)} of memory used."
    )
    print(kept)
    return 0


def _partial(output: Path) -> Path:
    return output.with_name(f"{output.stem}.partial{output.suffix}")


# Before the work.


def _output(options: configs.FileOptions) -> Path:
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
    extras = (options.plot, options.report, options.save_mask_overlay, options.timelapse)
    written = [Path(path) for path in (output, *extras) if path]
    for path in written:
        if written.count(path) > 1:
            raise errors.ConfigError(f"{path} is asked for twice; give each output its own name.")
        images.probe_writable(path)
        if path.exists() and not options.overwrite:
            raise errors.OutputError(
                f"{path}: exists already. Choose another name, or replace it with --overwrite."
            )
    return output


def _check_suffix(flag: str, path: str, suffixes: Sequence[str]) -> None:
    if path and Path(path).suffix.lower() not in suffixes:
        raise errors.ConfigError(
            f"--{flag}={path}: expected one of the suffixes {', '.join(suffixes)}."
        )


def _check_checkpoints(options: configs.FileOptions) -> None:
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
    if snapshots.stored(folder) and not (options.resume or options.overwrite):
        raise callbacks.occupied(folder)


def _found(
    config: configs.StyleTransferConfig,
    options: configs.FileOptions,
    pictures: Mapping[str, images.Picture],
) -> Path | None:
    """Returns the checkpoint to go on from, if there is one, once it is sure that it is ours."""
    if not options.resume:
        return None
    found = snapshots.newest(Path(options.checkpoint_dir))
    if not found:
        console.say(f"{options.checkpoint_dir}: no checkpoint to resume; starting anew.")
        return None
    about = snapshots.read_about(found)
    now = recipe.made_with(config, pictures)
    if config.backbone == "auto":  # Which it is will be known, and checked, with the network.
        now["config"]["backbone"] = about["made_with"]["config"]["backbone"]
    recipe.require_same(about["made_with"], now)
    console.say(f"Going on from {found}: step {about['step']} of level {about['level'] + 1}.")
    return found


def _checkpoints(options: configs.FileOptions) -> list[callbacks.Checkpoint]:
    if not options.checkpoint_dir:
        return []
    return [
        callbacks.Checkpoint(options.checkpoint_dir, options.checkpoint_seconds, options.overwrite)
    ]


def _announce(
    config: configs.StyleTransferConfig, paths: recipe.Paths, output: Path
) -> list[pyramid.Level]:
    """Prints what is about to happen, from the headers of the files alone."""
    photo = images.size(paths.content, config.max_pixels)
    paintings = [images.size(path, config.max_pixels) for path in paths.styles]
    others = [path for path in (paths.content_mask, *paths.style_masks) if path]
    if config.init not in configs.INITIALISATIONS:
        others.append(config.init)
    for path in others:
        images.size(path, config.max_pixels)
    levels = sizes.plan(config, photo, paintings)
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
    paths: recipe.Paths,
    replayed: Mapping[str, Any],
) -> dict[str, dict[str, str]]:
    """Returns the hashes of all inputs, which are those of the replayed recipe if there is one."""
    hashes = recipe.input_hashes(paths.roles(config))
    if replayed:
        recipe.check_inputs(replayed, hashes)
    if "init" in hashes:
        images.load(config.init, config.max_pixels)  # Better refused now than after the set-up.
    return hashes


def _save_overlay(options: configs.FileOptions, given: recipe.Pictures) -> None:
    """Tells what was understood of the content mask, and draws it where that is asked for."""
    if given.content_mask is None:
        return
    regions = masks.read(given.content_mask.rgb, "content mask")
    console.say(f"{options.content_mask}: {regions.in_words()}.")
    if options.save_mask_overlay:
        maps = images.resize(regions.maps, *given.photo.size)
        shown = masks.overlay(given.photo.rgb, dataclasses.replace(regions, maps=maps))
        images.save(shown, options.save_mask_overlay)


def _shows(options: configs.FileOptions, output: Path) -> list[callbacks.Callback]:
    """Returns what shows the picture on the way."""
    found: list[callbacks.Callback] = []
    if options.preview_every:
        path = output.with_name(f"{output.stem}.preview.png")
        found.append(callbacks.Preview(path, options.preview_every))
    if options.timelapse:
        found.append(callbacks.Timelapse(options.timelapse))
    return found


# After the work.


def _how_to_go_on(checkpoints: Sequence[callbacks.Checkpoint]) -> str:
    """Returns a sentence, after a space, where there is a checkpoint."""
    return "".join(
        f" --resume goes on from {checkpoint.saved}."
        for checkpoint in checkpoints
        if checkpoint.saved
    )


def _save(
    picture: Any, path: Path, photo: images.Picture, made: str, options: configs.FileOptions
) -> Path:
    return console.save(
        picture,
        path,
        photo.alpha,
        recipe=made,
        bit_depth=options.bit_depth,
        overwrite=options.overwrite,
    )


def _write_extras(options: configs.FileOptions, record: report.Record) -> None:
    """Writes report and plot; the picture is safe by now, so a failure is only reported."""
    for path, write in ((options.report, record.write), (options.plot, record.plot)):
        try:
            if path:
                write(path)
        except OSError as error:
            console.say(f"{path}: cannot be written ({error.strerror}).")
