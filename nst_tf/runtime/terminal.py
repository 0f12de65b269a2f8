"""Output to the terminal. Its failures never end a run."""

from __future__ import annotations

import os
import re
from typing import Any

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


class Output:
    """A text stream that may be missing, closed, full or broken; failed output is dropped.

    Characters that its encoding lacks are escaped. A failing file descriptor is replaced by the
    null device, so that buffered text does not fail again at the exit of the process.

    Args:
        stream: a stream such as `sys.stderr`, which is None in a windowed program.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes a text, if possible, and returns its length."""
        self._attempt("write", self._encodable(text))
        return len(text)

    def flush(self) -> None:
        """Flushes the stream, if possible."""
        self._attempt("flush")

    def isatty(self) -> bool:
        """Returns whether the stream is a terminal."""
        try:
            return bool(self._stream.isatty())
        except Exception:
            return False

    def line(self, text: str) -> None:
        """Writes and flushes a line, with control characters escaped."""
        self.write(printable(text) + "\n")
        self.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)  # For attributes that tqdm needs.

    def _encodable(self, text: str) -> str:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            text.encode(encoding, getattr(self._stream, "errors", None) or "strict")
        except UnicodeError:
            return text.encode(encoding, "backslashreplace").decode(encoding)
        return text

    def _attempt(self, method: str, *arguments: str) -> None:
        try:
            getattr(self._stream, method)(*arguments)
        except OSError:
            self._give_up()
        except Exception:  # None, closed, interrupted by a signal, or replaced by a host.
            pass

    def _give_up(self) -> None:
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
        except Exception:  # It has no file descriptor.
            pass


def printable(text: str) -> str:
    """Returns a text with all control characters but the newline escaped."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def fill_standard_streams() -> None:
    """Opens the null device as every standard stream that is closed.

    Otherwise the next opened file would take its number, and receive the output of native code.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
