"""A picture file that follows the run."""

from __future__ import annotations

import logging
import os

from nst_tf import errors
from nst_tf.callbacks.callback import Callback, StepEnd
from nst_tf.imaging import images

logger = logging.getLogger("nst_tf")

_MARK = '{"preview": true}'  # In place of a recipe.


class Preview(Callback):
    """Refreshes a picture file every so many steps, atomically.

    A failure to write is reported once, and the next preview is still tried.

    Args:
        path: path of the file; its suffix chooses the format.
        every: steps between two refreshes, counted over all levels.
    """

    def __init__(self, path: str | os.PathLike[str], every: int) -> None:
        self._path = path
        self._every = every
        self._count = 0
        self._failed = False

    def on_step_end(self, step: StepEnd) -> None:
        self._count += 1
        if self._count % self._every:
            return
        try:
            images.save(step.picture(), self._path, recipe=_MARK)
        except Exception as error:  # No failure may end the run, not even MemoryError.
            if not self._failed:
                logger.warning("No preview for now: %s", errors.reason(error))
            self._failed = True


def is_preview(path: str | os.PathLike[str]) -> bool:
    """Returns whether a file is a picture written by `Preview`."""
    try:
        return images.read_recipe(path) == _MARK
    except errors.ImageError:
        return False
