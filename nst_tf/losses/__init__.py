"""The losses that compare a picture with its references. One loss a file; see `get`.

A loss is a function of statistics: weighted sums over positions. So a mask is a weight map,
several styles are an average of targets, and tiles are parts of a sum. A few losses are not such
functions; they say so, and need the whole picture at once.
"""

from __future__ import annotations

from typing import Any

from nst_tf import errors
from nst_tf.losses.color_distances import ColorDistances
from nst_tf.losses.content import Content
from nst_tf.losses.gram import Gram
from nst_tf.losses.histogram import Histogram
from nst_tf.losses.laplacian import Laplacian
from nst_tf.losses.loss import (
    CONTENT,
    START,
    STYLE,
    Activations,
    Loss,
    Patch,
    Reference,
    Statistics,
)
from nst_tf.losses.moments import Moments
from nst_tf.losses.nearest_features import NearestFeatures
from nst_tf.losses.neighbour_columns import NeighbourColumns
from nst_tf.losses.neighbours import Neighbours
from nst_tf.losses.palette import Palette
from nst_tf.losses.relaxed_emd import RelaxedEMD
from nst_tf.losses.self_similarity import SelfSimilarity
from nst_tf.losses.sliced_wasserstein import SlicedWasserstein
from nst_tf.losses.total_variation import TotalVariation
from nst_tf.losses.wasserstein2 import Wasserstein2

__all__ = [
    "CONTENT",
    "START",
    "STYLE",
    "Activations",
    "ColorDistances",
    "Content",
    "Gram",
    "Histogram",
    "Laplacian",
    "Loss",
    "Moments",
    "NearestFeatures",
    "NeighbourColumns",
    "Neighbours",
    "Palette",
    "Patch",
    "Reference",
    "RelaxedEMD",
    "SelfSimilarity",
    "SlicedWasserstein",
    "Statistics",
    "TotalVariation",
    "Wasserstein2",
    "chosen",
    "get",
]

_LOSSES: dict[str, type[Loss]] = {
    "color_distances": ColorDistances,
    "features": Content,
    "gram": Gram,
    "histogram": Histogram,
    "laplacian": Laplacian,
    "moments": Moments,
    "nearest_features": NearestFeatures,
    "neighbour_columns": NeighbourColumns,
    "neighbours": Neighbours,
    "palette": Palette,
    "remd": RelaxedEMD,
    "self_similarity": SelfSimilarity,
    "swd": SlicedWasserstein,
    "total_variation": TotalVariation,
    "w2": Wasserstein2,
}


def get(identifier: str | Loss, **arguments: Any) -> Loss:
    """Returns the loss of that name, or the given loss.

    Args:
        identifier: `features`, `laplacian`, `self_similarity` or `color_distances` for the content;
            `neighbours`, `neighbour_columns`, `nearest_features`, `gram`, `moments`, `w2`, `swd`,
            `histogram`, `remd` or `palette` for the style; `total_variation`; or a loss.
        **arguments: constructor arguments of a named loss.

    Raises:
        ConfigError: there is no loss of that name.
    """
    if isinstance(identifier, Loss):
        return identifier
    return _kind(identifier)(**arguments)


def chosen(identifier: str | Loss, settings: Any, normalization: str) -> Loss:
    """Returns a loss with its knobs as a config has them, or the given loss.

    Args:
        identifier: as for `get`.
        settings: the config.
        normalization: normalisation of a named loss.

    Raises:
        ConfigError: there is no loss of that name, or a setting is not valid for it.
    """
    if isinstance(identifier, Loss):
        return identifier
    kind = _kind(identifier)
    arguments = {name: getattr(settings, field) for name, field in kind.knobs.items()}
    return kind(normalization=normalization, **arguments)


def _kind(name: str) -> type[Loss]:
    if name not in _LOSSES:
        raise errors.unknown_name("loss", name, _LOSSES)
    return _LOSSES[name]
