"""Words for the person at the terminal. They are worth less than the work, and never end it."""

from __future__ import annotations

import os
import re
from typing import Any

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


class Output:
    """A text stream that may be missing, closed, full or broken: what it cannot take is left out.

    Characters that its encoding lacks are escaped. A file descriptor that fails is replaced by the
    null device, so that what is left in buffers does not fail again when the process ends.

    Args:
        stream: such as `sys.stderr`, which is None in a windowed program.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes a text, if that can be done, and returns its length."""
        self._attempt("write", self._encodable(text))
        return len(text)

    def flush(self) -> None:
        """Writes what is buffered, if that can be done."""
        self._attempt("flush")

    def isatty(self) -> bool:
        """Returns whether a person looks on."""
        try:
            return bool(self._stream.isatty())
        except Exception:
            return False

    def line(self, text: str) -> None:
        """Writes a line at once, without what a terminal would take for a command."""
        self.write(printable(text) + "\n")
        self.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)  # What tqdm asks of a file.

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
        except Exception:  # None, closed, a signal in the midst of another write, a host's own.
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

    Else the next file that is opened takes its number, and gets what native code has to say.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
