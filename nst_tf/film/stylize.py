"""A film from a program: frames in, pictures out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from nst_tf import config as configs
from nst_tf.engine import transfer
from nst_tf.film import clips, shot, shots
from nst_tf.film.coherence import Coherence
from nst_tf.imaging import images


def stylize_film(
    frames: str | os.PathLike[str] | Iterable[Any],
    styles: Any,
    config: configs.StyleTransferConfig | None = None,
    *,
    coherence: Coherence | None = None,
    cuts: Sequence[int] | None = None,
    engine: transfer.StyleTransfer | None = None,
) -> Iterator[np.ndarray]:
    """Renders the frames of a film in the style of one or several paintings, one by one.

    Args:
        frames: the path of a clip, as `clips.opened` takes it; or pictures of one size, in any form
            that `nst_tf.imaging.load` accepts, which are read to their end first.
        styles: a painting or a list of paintings, in any of these forms.
        config: the settings of a picture; None takes the defaults.
        coherence: how frames follow each other; None takes the defaults. `loop` is for files only.
        cuts: numbers of the frames that begin a new shot; None finds them.
        engine: an engine whose network and compiled steps are used; None builds one.

    Yields:
        The picture of each frame, float32 `(height, width, 3)`, sRGB in [0, 1]; a group of
        `keyframe_every` at a time.

    Raises:
        ClipError: the clip cannot be read.
        ConfigError: the settings do not fit each other or the pictures.
        ImageError: a picture cannot be used.
    """
    config, coherence = config or configs.StyleTransferConfig(), coherence or Coherence()
    read = _reader(frames, config.max_pixels)
    found, samples = shots.survey(picture.pixels for picture in read())
    ranges = shots.ranges(len(samples), found if cuts is None else cuts)
    engine = engine.with_config(config) if engine else transfer.StyleTransfer(config)
    given = styles if isinstance(styles, (list, tuple)) else [styles]
    paintings = [images.load(each, config.max_pixels) for each in images.expand(given)]
    pictures = read()
    for numbers in ranges:
        sample = shots.colours(samples[numbers.start : numbers.stop])
        painter = shot.Shot(engine, paintings, sample, coherence)
        own = (next(pictures) for _ in numbers)
        for group in shot.groups(own, coherence.keyframe_every):
            yield from painter.paint_to(group)


def _reader(frames: Any, most: int) -> Any:
    """Returns a function that begins to read the frames, again and again."""
    if isinstance(frames, (str, os.PathLike)):
        clip = clips.opened(frames, max_pixels=most)
        return lambda: (frame.picture for frame in clip.frames(clips.Part()))
    pictures = [images.load(each, most) for each in frames]
    return lambda: iter(pictures)
