"""The result of a stylisation: the picture, its settings, history and recipe."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.lib.mixins import NDArrayOperatorsMixin

from nst_tf import backbones, callbacks
from nst_tf import config as configs
from nst_tf.imaging import images, pyramid, sources
from nst_tf.records import environment, recipe

logger = logging.getLogger("nst_tf")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Result(NDArrayOperatorsMixin):
    """The picture of a stylisation, with its settings.

    NumPy, Pillow, matplotlib, TensorFlow and `nst_tf.imaging` accept it as an array, float32 of
    shape `(height, width, 3)`, sRGB in [0, 1]. It is indexed like one, and arithmetic with it
    returns arrays.

        result = nst_tf.stylize("photo.jpg", "painting.jpg")
        result.save("result.png")
        pixels = np.asarray(result)

    Attributes:
        tensor: the picture, float32 `(height, width, 3)`, sRGB in [0, 1].
        config: the settings, `auto` resolved.
        levels: levels of the pyramid, coarse to fine.
        history: entries of all steps, as in `callbacks.History`.
        recipe: the record for making the picture again, ready for JSON: `config`, `backbone`,
            `inputs`, `versions`, `machine`. An input given as a path is identified by the
            SHA-256 of its file, any other by that of its pixels.
        finished: whether all steps were taken.
        alpha: opacity of the content, float32 of shape `(h, w)` in [0, 1], of any size, or None.
    """

    tensor: tf.Tensor
    config: configs.StyleTransferConfig
    levels: Sequence[pyramid.Level]
    history: Sequence[Mapping[str, Any]]
    recipe: Mapping[str, Any]
    finished: bool = True
    alpha: np.ndarray | None = None

    @property
    def network(self) -> Mapping[str, str]:
        """`name` of the network, source of its `weights`, and their `sha256` or an empty text."""
        return self.recipe["backbone"]

    @property
    def shape(self) -> tf.TensorShape:
        """Height, width and 3."""
        return self.tensor.shape

    @property
    def dtype(self) -> tf.DType:
        """float32."""
        return self.tensor.dtype

    def numpy(self) -> np.ndarray:
        """Returns the picture as a NumPy array, float32 `(height, width, 3)`."""
        return self.tensor.numpy()

    def save(
        self, path: str | os.PathLike[str], bit_depth: int = 8, overwrite: bool = False
    ) -> Path:
        """Writes the picture, with the content's transparency, in one atomic step.

        The recipe of a finished picture goes into the metadata, where the command's `--replay`
        finds it. A replay checks inputs that were arrays by their pixels.

        Args:
            path: path of the file; its suffix, a key of `imaging.images.FORMATS`, chooses the
                format.
            bit_depth: bits per channel, 8, or 16 for PNG.
            overwrite: whether to replace an existing file.

        Returns:
            The path.

        Raises:
            ExistingOutputError: the file exists, and `overwrite` is False.
            OutputError: the file cannot be written; an existing file is untouched.
        """
        path = Path(path)
        images.save(
            self.tensor,
            path,
            alpha=self._opacity(path),
            recipe=json.dumps(self.recipe) if self.finished else "",
            bit_depth=bit_depth,
            overwrite=overwrite,
        )
        return path

    def _opacity(self, path: Path) -> np.ndarray | None:
        """Returns the opacity at the size of the picture, or None without one or without memory."""
        if self.alpha is None:
            return None
        if images.FORMATS.get(path.suffix.lower()) == "JPEG":
            logger.info("JPEG holds no transparency; the picture is laid on white.")
        try:
            return images.resize(self.alpha, *self.shape[:2])
        except MemoryError:
            logger.warning("There is not enough memory for the transparency, which is left out.")
            return None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.tensor, dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *given: Any, **options: Any) -> Any:
        if any(isinstance(each, Result) for each in options.get("out", ())):
            del options["out"]  # A result does not change: `result += 1` makes an array.
        arrays = [np.asarray(each) if isinstance(each, Result) else each for each in given]
        return getattr(ufunc, method)(*arrays, **options)

    def __tf_tensor__(self, dtype: tf.DType | None = None, name: str | None = None) -> tf.Tensor:
        return tf.convert_to_tensor(self.tensor, dtype, name=name)

    def __getitem__(self, key: Any) -> tf.Tensor:
        return self.tensor[key]

    def __len__(self) -> int:
        return len(self.tensor)

    def __iter__(self) -> Iterator[tf.Tensor]:
        return iter(self.tensor)

    def __repr__(self) -> str:
        height, width = self.shape[:2]
        return f"<Result: {width}x{height}, {self.network['name']}, {len(self.history)} steps>"


def of_run(
    picture: tf.Tensor,
    run: callbacks.Run,
    history: Sequence[Mapping[str, Any]],
    made: Mapping[str, Any],
    alpha: np.ndarray | None,
) -> Result:
    """Returns the result of a run that has ended.

    Args:
        picture: the picture it ended with.
        run: the run.
        history: entries of its steps.
        made: the recipe, as `recorded` returns it.
        alpha: opacity of the content, or None.
    """
    return Result(picture, run.config, run.levels, history, made, run.finished, alpha)


def recorded(
    config: configs.StyleTransferConfig,
    backbone: backbones.Backbone,
    device: str | None,
    given: sources.Pictures,
) -> dict[str, Any]:
    """Returns the recipe of a run.

    Args:
        config: the settings, `auto` resolved.
        backbone: the network.
        device: TensorFlow's name of the device, or None where TensorFlow chooses.
        given: the input pictures.
    """
    return recipe.record(
        config,
        environment.network(backbone),
        environment.surroundings(device),
        recipe.inputs_of(given.roles()),
    )
