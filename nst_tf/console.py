"""What every command shares at the terminal: words, the set-up, safe saving, the exit status."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from nst_tf import backend, callbacks, errors, flags, images, presets, pyramid
from nst_tf import config as configs

if TYPE_CHECKING:
    from nst_tf import backbones, memory


class Terminated(KeyboardInterrupt):
    """SIGTERM came. It is dealt with as Ctrl-C is, but for the exit status."""


def run(
    argv: Sequence[str] | None,
    owners: Sequence[type],
    command: Callable[[Any], int],
    usage: str = flags.USAGE,
) -> int:
    """Parses a command line, runs the command, and returns its exit status.

    Args:
        argv: program name and flags; those of the process where it is None.
        owners: the dataclasses whose fields are the flags.
        command: given the parsed flags, returns the exit status. A `StyleTransferError` that it
            raises becomes a sentence; the words of a `KeyboardInterrupt`, if it has any, replace
            the usual ones. SIGTERM raises `Terminated`.
        usage: the beginning of the help text, with `{program}` in it.
    """
    argv = list(sys.argv if argv is None else argv)
    program = Path(argv[0]).name
    try:
        values = flags.define(*owners)
        flags.parse(values, argv)
        if values.help or values.version or values.list_presets:
            print(_information(values, flags.help_text(program, *owners, usage=usage)))
            return 0
        Image.MAX_IMAGE_PIXELS = None  # Here max_pixels is the limit, and it can be raised.
        with _terminable(), _notes_shown():
            return command(values)
    except errors.StyleTransferError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt as error:
        print(str(error) or "Interrupted; nothing was written.", file=sys.stderr)
        return stopped_by(error)


def stopped_by(cause: KeyboardInterrupt | int) -> int:
    """Returns the exit status after an exception of Ctrl-C or SIGTERM, or after a signal."""
    if isinstance(cause, KeyboardInterrupt):
        cause = signal.SIGTERM if isinstance(cause, Terminated) else signal.SIGINT
    return 128 + cause


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Lets SIGTERM raise `Terminated`, as Ctrl-C raises KeyboardInterrupt."""

    def terminate(*_: Any) -> None:
        raise Terminated

    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _information(values: Any, help_text: str) -> str:
    if values.version:
        import nst_tf

        return nst_tf.__version__
    return presets.table() if values.list_presets else help_text


def say(text: str) -> None:
    """Tells the person something; standard output stays free for results."""
    print(text, file=sys.stderr, flush=True)


def gigabytes(count: float) -> str:
    """Returns a number of bytes in words."""
    return f"{count / 1e9:.1f} GB"


@contextlib.contextmanager
def _notes_shown() -> Iterator[None]:
    """Lets the notes of the package through to the person at the terminal, each once."""
    logger = logging.getLogger("nst_tf")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    said: set[str] = set()
    handler.addFilter(lambda record: not _seen(record.getMessage(), said))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _seen(text: str, before: set[str]) -> bool:
    """Returns whether a text was seen before, and remembers it."""
    seen = text in before
    before.add(text)
    return seen


# The set-up.


def build_backbone(
    config: configs.StyleTransferConfig, finest: pyramid.Level
) -> backbones.Backbone:
    """Returns the network, and tells what it is and what it runs on.

    Args:
        config: of the run.
        finest: its last level, which tells how much memory it takes.
    """
    load_tensorflow([config])
    from nst_tf import memory, report, transfer

    device = transfer.find_device(config.device)
    with _download_bar() as progress:
        model = transfer.build_backbone(config, progress)
    name = _device_name(device)
    on_gpu = name.startswith("GPU")
    expected, tiles = _preflight(config, model.costs(), finest, on_gpu)
    say(
        f"{name}; {model.architecture.name} with weights from "
        f"{report.backbone(model)['weights']}; about {gigabytes(expected)} of memory "
        f"expected{tiles}."
    )
    if config.memory_limit == "auto" and not on_gpu and expected > (free := memory.available()):
        adam, _ = _preflight(config.replace(optimizer="adam"), model.costs(), finest, on_gpu)
        say(
            f"That is more than the {gigabytes(free)} that can be counted on: the system may end "
            f"the run. --optimizer=adam would take about {gigabytes(adam)}."
        )
    return model


def _preflight(
    config: configs.StyleTransferConfig, costs: memory.Costs, level: pyramid.Level, on_gpu: bool
) -> tuple[int, str]:
    """Returns the bytes that a level is expected to take, and in what tiles, in words."""
    from nst_tf import memory

    (plan,) = memory.plans(config, costs, [level], on_gpu)
    tiles = f" in tiles of {plan.sides[0]} pixels" if plan.sides[0] else ""
    return memory.expected(config, costs, level, plan), tiles


def load_tensorflow(settings: Sequence[configs.StyleTransferConfig]) -> None:
    """Imports TensorFlow and what needs it, in silence.

    Args:
        settings: of the runs to come, which tell the kernels that suit them.

    Raises:
        ConfigError: Keras is set to another backend.
    """
    with _native_log_hidden():
        backend.claim_process()
        if all(config.precision == "float32" for config in settings):
            backend.prefer_onednn()
        backend.require_tensorflow()
        from nst_tf import transfer

        _let_gpu_memory_grow()
        transfer.find_device("cpu")  # Sets all devices up, which has its own messages.


@contextlib.contextmanager
def _native_log_hidden() -> Iterator[None]:
    """Hides what TensorFlow's native code prints while it loads, unless loading fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    shown = os.dup(2)
    came: list[int] = []  # Ctrl-C in the midst of native code would break the import.
    previous = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in callbacks.SIGNALS
    }
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
            for number, handler in previous.items():
                signal.signal(number, handler)
    if came:
        raise Terminated if came[0] == signal.SIGTERM else KeyboardInterrupt


def _let_gpu_memory_grow() -> None:
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):  # It is in use already, and stays as it is.
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


# Saving.


def save(
    picture: Any,
    path: Path,
    alpha: np.ndarray | None,
    *,
    recipe: str = "",
    bit_depth: int = 8,
    overwrite: bool = False,
) -> Path:
    """Writes a picture and returns where; finds it another place rather than lose it.

    Args:
        picture: array or tensor `(height, width, 3)`, sRGB in [0, 1].
        path: where it should go. Without `overwrite` a free name near it is taken.
        alpha: opacity of the photo, in any size, or None.
        recipe: text for the file's metadata.
        bit_depth: bits a channel.
        overwrite: replace a file that is there.

    Raises:
        OutputError: it could not be written there; the error tells where it is instead.
    """
    height, width = picture.shape[:2]
    alpha = None if alpha is None else images.resize(alpha, height, width)
    if alpha is not None and images.FORMATS[path.suffix.lower()] == "JPEG":
        say("JPEG holds no transparency; the picture is laid on white.")
    if path.exists() and not overwrite:
        path = _free_name(path)
    arguments: dict[str, Any] = {"alpha": alpha, "recipe": recipe, "bit_depth": bit_depth}
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
