"""The command: flags in, a picture file out, and a sentence for everything that goes wrong."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from nst_tf import backend, callbacks, errors, flags, images, presets, pyramid, recipe, sizes
from nst_tf import config as configs

if TYPE_CHECKING:
    from nst_tf import backbones, report

INTERRUPTED = 130
_PLOT_SUFFIXES = (".png", ".jpg", ".pdf", ".svg")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    0: the picture is written. 1: a file, the weights or the run failed. 2: a flag is wrong.
    130: stopped by Ctrl-C.

    Args:
        argv: program name and flags; those of the process where it is None.
    """
    argv = list(sys.argv if argv is None else argv)
    program = Path(argv[0]).name
    try:
        values = flags.define(*flags.ALL)
        flags.parse(values, argv)
        if values.help or values.version or values.list_presets:
            print(_information(values, program))
            return 0
        options = _options(values)
        replayed = recipe.load(options.replay) if options.replay else {}
        with _notes_shown():
            return _run(_config(values, options, replayed), options, replayed)
    except errors.StyleTransferError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("Interrupted; nothing was written.", file=sys.stderr)
        return INTERRUPTED


def _information(values: Any, program: str) -> str:
    if values.version:
        import nst_tf

        return nst_tf.__version__
    return presets.table() if values.list_presets else flags.help_text(program, *flags.ALL)


def _options(values: Any) -> configs.FileOptions:
    options: configs.FileOptions = flags.to_dataclass(values, configs.FileOptions)
    for name in ("content", "style"):
        if not getattr(options, name):
            raise errors.ConfigError(f"--{name} is missing; expected --{name}=PICTURE.")
    return options


def _config(
    values: Any, options: configs.FileOptions, replayed: Mapping[str, Any]
) -> configs.StyleTransferConfig:
    """Returns the settings of a preset or a recipe, or the defaults, with the flags given."""
    given = flags.given(values, configs.StyleTransferConfig)
    if options.preset:
        return configs.StyleTransferConfig.preset(options.preset, **given)
    return configs.StyleTransferConfig.from_dict({**replayed.get("config", {}), **given})


def _run(
    config: configs.StyleTransferConfig,
    options: configs.FileOptions,
    replayed: Mapping[str, Any],
) -> int:
    start = time.perf_counter()
    Image.MAX_IMAGE_PIXELS = None  # In this process max_pixels is the limit, and it can be raised.
    output = _output(options)
    levels = _announce(config, options, output)
    inputs = _hash_inputs(config, options, replayed)
    photo = images.load(options.content, config.max_pixels)
    painting = images.load(options.style, config.max_pixels)
    model = _build_backbone(config, levels[-1])
    from nst_tf import report, transfer

    engine = transfer.StyleTransfer(config.replace(backbone=model.architecture.name), model)
    history, interrupt = callbacks.History(), callbacks.Interrupt()
    watchers = [callbacks.Progress(), history, interrupt, *_preview(options, output)]
    begin = time.perf_counter()
    try:
        picture = engine.stylize(photo, [painting], watchers)
    except errors.DivergenceError as error:
        interrupt.restore()
        kept = _save(error.image, _partial(output), photo, "", options)
        raise errors.StyleTransferError(f"{error} The last good picture is {kept}.") from error
    seconds = time.perf_counter() - begin
    if interrupt.pressed:
        kept = _save(picture, _partial(output), photo, "", options)
        _say(f"Stopped. What there is so far is {kept}.")
        return INTERRUPTED
    made = recipe.dump(engine.config, report.versions(), report.backbone(model), inputs)
    kept = _save(picture, output, photo, made, options)
    record = report.Record(history.run, history.entries, seconds)
    _write_extras(options, record)
    peak = report.peak_memory_bytes(record.run.device)
    _say(
        f"Done in {time.perf_counter() - start:.0f} s, {seconds:.0f} s of it stylising; "
        f"{_gigabytes(peak)} of memory used."
    )
    print(kept)
    return 0


def _partial(output: Path) -> Path:
    return output.with_name(f"{output.stem}.partial{output.suffix}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# Before the work.


def _output(options: configs.FileOptions) -> Path:
    """Returns where the picture goes, once it is sure that everything asked for can be written."""
    name = f"{Path(options.content).stem}_{Path(options.style).stem}.png"
    output = Path(options.output or name)
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
    if options.plot and Path(options.plot).suffix.lower() not in _PLOT_SUFFIXES:
        raise errors.ConfigError(
            f"--plot={options.plot}: expected one of the suffixes {', '.join(_PLOT_SUFFIXES)}."
        )
    written = [Path(path) for path in (output, options.plot, options.report) if path]
    for path in written:
        if written.count(path) > 1:
            raise errors.ConfigError(f"{path} is asked for twice; give each output its own name.")
        images.probe_writable(path)
        if path.exists() and not options.overwrite:
            raise errors.OutputError(
                f"{path}: exists already. Choose another name, or replace it with --overwrite."
            )
    return output


def _announce(
    config: configs.StyleTransferConfig, options: configs.FileOptions, output: Path
) -> list[pyramid.Level]:
    """Prints what is about to happen, from the headers of the files alone."""
    photo = images.size(options.content, config.max_pixels)
    painting = images.size(options.style, config.max_pixels)
    if config.init not in configs.INITIALISATIONS:
        images.size(config.init, config.max_pixels)
    levels = sizes.plan(config, photo, [painting])
    steps = ", ".join(f"{level.width}x{level.height} in {level.steps} steps" for level in levels)
    _say(
        f"{options.content} ({photo[1]}x{photo[0]}) in the manner of {options.style} "
        f"({painting[1]}x{painting[0]}) -> {output}; {steps}."
    )
    return levels


def _hash_inputs(
    config: configs.StyleTransferConfig,
    options: configs.FileOptions,
    replayed: Mapping[str, Any],
) -> dict[str, dict[str, str]]:
    """Returns the hashes of all inputs, which are those of the replayed recipe if there is one."""
    inputs = recipe.input_hashes(recipe.input_files(config, options))
    if replayed:
        recipe.check_inputs(replayed, inputs)
    if "init" in inputs:
        images.load(config.init, config.max_pixels)  # Better refused now than after the set-up.
    return inputs


def _build_backbone(
    config: configs.StyleTransferConfig, finest: pyramid.Level
) -> backbones.Backbone:
    """Returns the network, and tells what it is and what it runs on."""
    with _native_log_hidden():
        backend.require_tensorflow()
        from nst_tf import report, transfer

        _let_gpu_memory_grow()
        device = transfer.find_device(config.device)
    with _download_bar() as progress:
        model = transfer.build_backbone(config, progress)
    _say(
        f"{_device_name(device)}; {model.architecture.name} with weights from "
        f"{report.backbone(model)['weights']}; about "
        f"{_gigabytes(transfer.expected_memory(config, model, finest))} of memory expected."
    )
    return model


@contextlib.contextmanager
def _notes_shown() -> Iterator[None]:
    """Lets the notes of the package through to the person at the terminal."""
    logger = logging.getLogger("nst_tf")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextlib.contextmanager
def _native_log_hidden() -> Iterator[None]:
    """Hides what TensorFlow's native code prints while it loads, unless loading fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    shown = os.dup(2)
    pressed: list[int] = []  # Ctrl-C in the midst of native code would break the import.
    previous = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except BaseException:
            hidden.seek(0)
            os.write(shown, hidden.read())
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)
            signal.signal(signal.SIGINT, previous)
    if pressed:
        raise KeyboardInterrupt


def _let_gpu_memory_grow() -> None:
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)


def _device_name(device: str | None) -> str:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    name = device or ("/device:GPU:0" if gpus else "/device:CPU:0")
    name = name.removeprefix("/device:")
    return f"{name} ({os.cpu_count()} cores)" if name.startswith("CPU") else name


@contextlib.contextmanager
def _download_bar() -> Iterator[Any]:
    """Yields a download progress callback that draws a bar once the first bytes arrive."""
    import tqdm

    bars: list[tqdm.tqdm] = []

    def progress(done: int, total: int) -> None:
        if not bars:
            bars.append(tqdm.tqdm(total=total, desc="weights", unit="B", unit_scale=True))
        bars[0].update(done - bars[0].n)

    yield progress
    for bar in bars:
        bar.close()


def _preview(options: configs.FileOptions, output: Path) -> list[callbacks.Callback]:
    if not options.preview_every:
        return []
    path = output.with_name(f"{output.stem}.preview.png")
    return [callbacks.Preview(path, options.preview_every)]


# After the work.


def _save(
    picture: Any, path: Path, photo: images.Picture, made: str, options: configs.FileOptions
) -> Path:
    """Writes the picture and returns where; finds it another place rather than lose it."""
    height, width = picture.shape[:2]
    alpha = None if photo.alpha is None else images.resize(photo.alpha, height, width)
    if alpha is not None and images.FORMATS[path.suffix.lower()] == "JPEG":
        _say("JPEG holds no transparency; the picture is laid on white.")
    if path.exists() and not options.overwrite:
        path = _free_name(path)
    arguments: dict[str, Any] = {"alpha": alpha, "recipe": made, "bit_depth": options.bit_depth}
    try:
        images.save(picture, path, **arguments)
        return path
    except errors.OutputError as error:
        refuge = _free_name(Path(tempfile.gettempdir()) / path.name)
        try:
            images.save(picture, refuge, **arguments)
        except errors.OutputError:
            raise error from None
        raise errors.OutputError(f"{error} The picture is {refuge} instead.") from error


def _free_name(path: Path) -> Path:
    number = 2
    free = path
    while free.exists():
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return free


def _write_extras(options: configs.FileOptions, record: report.Record) -> None:
    """Writes report and plot; the picture is safe by now, so a failure is only reported."""
    try:
        if options.report:
            record.write(options.report)
        if options.plot:
            record.plot(options.plot)
    except OSError as error:
        _say(f"{error.filename or 'report or plot'}: cannot be written ({error.strerror}).")


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
