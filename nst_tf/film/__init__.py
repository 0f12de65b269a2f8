"""Film: the frames of a clip in the style of paintings, coherent in time."""

from nst_tf.film.coherence import Coherence
from nst_tf.film.film import Film, check, make
from nst_tf.film.painting import StoppedError, Watcher
from nst_tf.film.stylize import stylize_film

__all__ = ["Coherence", "Film", "StoppedError", "Watcher", "check", "make", "stylize_film"]
