"""What is compared between a picture and its models. One loss a file; see `get`.

A loss is a function of statistics that are weighted sums over positions. A mask is a weight
map, several styles are an average of targets, and tiles are parts of a sum.
"""

from __future__ import annotations

from typing import Any

from nst_tf import errors
from nst_tf.losses.content import Content
from nst_tf.losses.gram import Gram
from nst_tf.losses.loss import Loss, Statistics
from nst_tf.losses.total_variation import TotalVariation
from nst_tf.losses.wasserstein2 import Wasserstein2

__all__ = ["Content", "Gram", "Loss", "Statistics", "TotalVariation", "Wasserstein2", "get"]

_LOSSES: dict[str, type[Loss]] = {
    "content": Content,
    "gram": Gram,
    "total_variation": TotalVariation,
    "w2": Wasserstein2,
}


def get(identifier: str | Loss, **arguments: Any) -> Loss:
    """Returns the loss of that name, or the loss that is given.

    Args:
        identifier: `content`, `gram`, `total_variation`, `w2`, or a loss.
        **arguments: of the constructor of a loss that is named.

    Raises:
        ConfigError: there is no loss of that name.
    """
    if isinstance(identifier, Loss):
        return identifier
    if identifier not in _LOSSES:
        raise errors.unknown_name("loss", identifier, _LOSSES)
    return _LOSSES[identifier](**arguments)
