"""Shared by the commands: messages, set-up of TensorFlow, signals and exit status."""

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


_LONGEST_NAME = 120  # Bytes of a file name made from the names of the inputs.


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived. It is handled as Ctrl-C is, except for the exit status."""


class HungUp(KeyboardInterrupt):
    """SIGHUP arrived. It is handled as Ctrl-C is, except for the exit status."""


_INTERRUPTIONS: dict[int, type[KeyboardInterrupt]] = {
    signal.SIGTERM: Terminated,
    getattr(signal, "SIGHUP", 0): HungUp,  # Windows has no SIGHUP.
}


def run(
    argv: Sequence[str] | None,
    owners: Sequence[type],
    command: Callable[[Any], int],
    usage: str = flags.USAGE,
) -> int:
    """Parses a command line, runs the command, and returns its exit status.

    Args:
        argv: program name and flags; those of the process if None.
        owners: dataclasses whose fields are the flags.
        command: function from the parsed flags to the exit status. A `StyleTransferError` that it
            raises is printed as a sentence. The message of a `KeyboardInterrupt`, if it has one,
            replaces the usual one. SIGTERM raises `Terminated`, SIGHUP `HungUp`.
        usage: beginning of the help text, with `{program}` in it.
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
        Image.MAX_IMAGE_PIXELS = None  # The setting max_pixels is the limit here.
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
    """Returns the exit status after a signal, given its number or its exception."""
    if isinstance(cause, KeyboardInterrupt):
        found = [number for number, kind in _INTERRUPTIONS.items() if isinstance(cause, kind)]
        cause = found[0] if found else signal.SIGINT
    return 128 + cause


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Makes every signal of `signals.SIGNALS` raise a `KeyboardInterrupt`."""
    previous = signals.install(lambda number, _: _interrupt(number))
    try:
        yield
    finally:
        signals.restore(previous)


def interruption(number: int) -> type[KeyboardInterrupt]:
    """Returns the exception class that a signal raises."""
    return _INTERRUPTIONS.get(number, KeyboardInterrupt)


def _interrupt(number: int) -> NoReturn:
    raise interruption(number)


def _information(values: Any, help_text: str) -> str:
    if values.version:
        import nst_tf

        return nst_tf.__version__
    return presets.table() if values.list_presets else help_text


def say(text: str) -> None:
    """Prints a message to standard error; standard output stays free for results."""
    terminal.Output(sys.stderr).line(text)


def give(path: Path) -> None:
    """Prints the path of a result to standard output; on a terminal, control codes are escaped."""
    output = terminal.Output(sys.stdout)
    output.write(f"{terminal.printable(str(path)) if output.isatty() else path}\n")
    output.flush()


def result_name(content: str, styles: Sequence[str]) -> str:
    """Returns the name of a result, made from the names of its inputs, without a suffix."""
    stems = "_".join(Path(path).stem for path in (content, *styles))
    return files.shortened(stems, _LONGEST_NAME)


def painted(content: str, styles: Sequence[str]) -> str:
    """Returns the description of a result for the user, given the names of its inputs."""
    return f"{content} in the manner of {' and '.join(styles)}"


def gigabytes(count: float) -> str:
    """Returns a number of bytes as text, in GB."""
    return f"{count / 1e9:.1f} GB"


@contextlib.contextmanager
def _notes_shown() -> Iterator[None]:
    """Prints the log messages of the package to the terminal, each once."""
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


# Set-up of TensorFlow and the network.


def build_backbone(config: configs.StyleTransferConfig) -> backbones.Backbone:
    """Returns the network of a run, and shows the progress of its download."""
    load_tensorflow([config])
    from nst_tf import objective
    from nst_tf.engine import transfer

    transfer.find_device(config.device)
    with _download_bar() as progress:
        return objective.build_backbone(config, progress)


def announce(
    config: configs.StyleTransferConfig,
    model: backbones.Backbone,
    levels: Sequence[pyramid.Level],
    plans: Sequence[tiles.TilePlan],
    given: sources.Pictures,
) -> None:
    """Prints device, network, tiles and expected memory of a run.

    Args:
        config: settings of the run.
        model: the network.
        levels: levels of the pyramid.
        plans: tile plan of each level.
        given: pictures of the run.
    """
    from nst_tf.engine import transfer
    from nst_tf.records import environment
    from nst_tf.tiling import memory

    name = _device_name(transfer.find_device(config.device))
    expected = memory.most_expected(config, model.costs(), levels, plans, given)
    side = plans[-1].sides[0]
    tiles = f" in tiles of {side} pixels" if side else ""
    weights = environment.network(model)["weights"]
    weights += " in bfloat16" if config.precision == "bfloat16" else ""
    say(
        f"{name}; {model.name} with weights from {weights}; about {gigabytes(expected)} of memory "
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
    """Imports TensorFlow and the modules that need it, without its log output.

    Args:
        settings: settings of all runs to come; they decide whether oneDNN is preferred.

    Raises:
        ConfigError: Keras is set to another backend.
    """
    with _native_log_hidden():
        backend.claim_process()
        if all(config.precision != "bfloat16" for config in settings):
            backend.prefer_onednn()
        backend.require_tensorflow()
        from nst_tf.engine import transfer

        _let_gpu_memory_grow()
        transfer.find_device("cpu")  # Initialises all devices, which logs.


@contextlib.contextmanager
def _native_log_hidden() -> Iterator[None]:
    """Hides the output of TensorFlow's native code while it loads, unless loading fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    terminal.Output(sys.stderr).flush()
    shown = os.dup(2)
    # Ctrl-C during native code would break the import.
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
        with contextlib.suppress(RuntimeError):  # Already in use; its setting stays.
            tf.config.experimental.set_memory_growth(gpu, True)


def _device_name(device: str | None) -> str:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    name = device or ("/device:GPU:0" if gpus else "/device:CPU:0")
    name = name.removeprefix("/device:")
    return f"{name} ({os.cpu_count()} cores)" if name.startswith("CPU") else name


@contextlib.contextmanager
def _download_bar() -> Iterator[Any]:
    """Yields a callback for the progress of a download; its bar appears with the first bytes."""
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
