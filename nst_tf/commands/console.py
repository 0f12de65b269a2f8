"""What every command shares at the terminal: words, the set-up, the exit status."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from PIL import Image

from nst_tf import config as configs
from nst_tf import errors, presets
from nst_tf.commands import flags
from nst_tf.runtime import backend, files, signals, terminal

if TYPE_CHECKING:
    from nst_tf import backbones
    from nst_tf.imaging import pyramid, sources
    from nst_tf.tiling import tiles


_LONGEST_NAME = 120  # Bytes of a name that is made from those of the inputs.


class Terminated(KeyboardInterrupt):
    """SIGTERM came. It is dealt with as Ctrl-C is, but for the exit status."""


class HungUp(KeyboardInterrupt):
    """SIGHUP came, likewise."""


_INTERRUPTIONS: dict[int, type[KeyboardInterrupt]] = {
    signal.SIGTERM: Terminated,
    getattr(signal, "SIGHUP", 0): HungUp,  # Windows has none.
}


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
            the usual ones. SIGTERM raises `Terminated`, SIGHUP `HungUp`.
        usage: the beginning of the help text, with `{program}` in it.
    """
    argv = list(sys.argv if argv is None else argv)
    program = Path(argv[0]).name
    terminal.fill_standard_streams()
    try:
        values = flags.define(*owners)
        flags.parse(values, argv)
        if values.help or values.helpfull or values.version or values.list_presets:
            help_text = flags.help_text(program, *owners, usage=usage, full=values.helpfull)
            text = _information(values, help_text)
            terminal.Output(sys.stdout).line(text)
            return 0
        Image.MAX_IMAGE_PIXELS = None  # Here max_pixels is the limit, and it can be raised.
        with _terminable(), _notes_shown():
            return command(values)
    except errors.StyleTransferError as error:
        say(f"{program}: {error}")
        return error.exit_status
    except MemoryError:
        say(f"{program}: memory has run out. Give smaller pictures, or lower image_size.")
        return 1
    except KeyboardInterrupt as error:
        say(str(error) or "Interrupted; nothing was written.")
        return stopped_by(error)


def stopped_by(cause: KeyboardInterrupt | int) -> int:
    """Returns the exit status after an exception that a signal raised, or after a signal."""
    if isinstance(cause, KeyboardInterrupt):
        found = [number for number, kind in _INTERRUPTIONS.items() if isinstance(cause, kind)]
        cause = found[0] if found else signal.SIGINT
    return 128 + cause


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Lets every signal that asks the program to end raise a `KeyboardInterrupt`."""
    previous = signals.install(lambda number, _: _interrupt(number))
    try:
        yield
    finally:
        signals.restore(previous)


def interruption(number: int) -> type[KeyboardInterrupt]:
    """Returns what a signal raises."""
    return _INTERRUPTIONS.get(number, KeyboardInterrupt)


def _interrupt(number: int) -> NoReturn:
    raise interruption(number)


def _information(values: Any, help_text: str) -> str:
    if values.version:
        import nst_tf

        return nst_tf.__version__
    return presets.table() if values.list_presets else help_text


def say(text: str) -> None:
    """Tells the person something; standard output stays free for results."""
    terminal.Output(sys.stderr).line(text)


def give(path: Path) -> None:
    """Puts the path of a result on standard output: legible on a terminal, else as it is."""
    output = terminal.Output(sys.stdout)
    output.write(f"{terminal.printable(str(path)) if output.isatty() else path}\n")
    output.flush()


def result_name(content: str, styles: Sequence[str]) -> str:
    """Returns the name of what is made from pictures, without a suffix."""
    stems = "_".join(Path(path).stem for path in (content, *styles))
    return files.shortened(stems, _LONGEST_NAME)


def painted(content: str, styles: Sequence[str]) -> str:
    """Returns what is made from pictures, as a person is told."""
    return f"{content} in the manner of {' and '.join(styles)}"


def gigabytes(count: float) -> str:
    """Returns a number of bytes in words."""
    return f"{count / 1e9:.1f} GB"


@contextlib.contextmanager
def _notes_shown() -> Iterator[None]:
    """Lets the notes of the package through to the person at the terminal, each once."""
    logger = logging.getLogger("nst_tf")
    handler = _Notes()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


class _Notes(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self._said:
            say(text)
        self._said.add(text)


# The set-up.


def build_backbone(config: configs.StyleTransferConfig) -> backbones.Backbone:
    """Returns the network of a run, and shows the progress of a download."""
    load_tensorflow([config])
    from nst_tf import backbones, objective
    from nst_tf.engine import transfer

    transfer.find_device(config.device)
    layers = objective.used_layers(config)
    with _download_bar() as progress:
        return backbones.build(config.network_name, layers, **config.network, progress=progress)


def announce(
    config: configs.StyleTransferConfig,
    model: backbones.Backbone,
    levels: Sequence[pyramid.Level],
    plans: Sequence[tiles.TilePlan],
    given: sources.Pictures,
) -> None:
    """Tells what a run works with, and the memory that it takes.

    Args:
        config: of the run.
        model: its network.
        levels: of its pyramid.
        plans: how each of them is looked at.
        given: its pictures.
    """
    from nst_tf.engine import transfer
    from nst_tf.records import environment
    from nst_tf.tiling import memory

    name = _device_name(transfer.find_device(config.device))
    expected = memory.most_expected(config, model.costs(), levels, plans, given)
    side = plans[-1].sides[0]
    tiles = f" in tiles of {side} pixels" if side else ""
    say(
        f"{name}; {model.name} with weights from "
        f"{environment.network(model)['weights']}; about {gigabytes(expected)} of memory "
        f"expected{tiles}."
    )
    on_gpu = name.startswith("GPU")
    if config.memory_limit == "auto" and not on_gpu and expected > (free := memory.available()):
        adam = config.replace(optimizer="adam")
        lighter = transfer.planned(adam, model, levels, given)
        least = memory.most_expected(adam, model.costs(), levels, lighter, given)
        say(
            f"That is more than the {gigabytes(free)} that can be counted on: the system may end "
            f"the run. --optimizer=adam would take about {gigabytes(least)}."
        )


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
        from nst_tf.engine import transfer

        _let_gpu_memory_grow()
        transfer.find_device("cpu")  # Sets all devices up, which has its own messages.


@contextlib.contextmanager
def _native_log_hidden() -> Iterator[None]:
    """Hides what TensorFlow's native code prints while it loads, unless loading fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    terminal.Output(sys.stderr).flush()
    shown = os.dup(2)
    # Ctrl-C in the midst of native code would break the import.
    with signals.held() as came, tempfile.TemporaryFile() as hidden:
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
    if came:
        _interrupt(came[0])


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
            file = terminal.Output(sys.stderr)
            bars.append(
                tqdm.tqdm(total=total, desc="weights", unit="B", unit_scale=True, file=file)
            )
        bars[0].update(done - bars[0].n)

    yield progress
    for bar in bars:
        bar.close()
