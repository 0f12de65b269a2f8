"""Callbacks, which follow a stylisation. One callback per file."""

from nst_tf.callbacks.callback import Callback, Run, StepEnd, group_terms
from nst_tf.callbacks.checkpoint import Checkpoint, occupied, require_free
from nst_tf.callbacks.history import History
from nst_tf.callbacks.interrupt import SIGNALS, Interrupt
from nst_tf.callbacks.preview import Preview, is_preview
from nst_tf.callbacks.progress import Progress
from nst_tf.callbacks.timelapse import FILM_SUFFIXES, Timelapse

__all__ = [
    "FILM_SUFFIXES",
    "SIGNALS",
    "Callback",
    "Checkpoint",
    "History",
    "Interrupt",
    "Preview",
    "Progress",
    "Run",
    "StepEnd",
    "Timelapse",
    "group_terms",
    "is_preview",
    "occupied",
    "require_free",
]
