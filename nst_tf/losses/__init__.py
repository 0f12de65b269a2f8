"""What is compared between a picture and its models. One loss a file; see `get`.

A loss is a function of statistics that are weighted sums over positions. A mask is a weight
map, several styles are an average of targets, and tiles are parts of a sum.
"""

from __future__ import annotations

from nst_tf import errors
from nst_tf.losses.content import Content
from nst_tf.losses.gram import Gram
from nst_tf.losses.loss import Loss, Statistics
from nst_tf.losses.total_variation import TotalVariation

__all__ = ["Content", "Gram", "Loss", "Statistics", "TotalVariation", "get"]

_LOSSES: dict[str, type[Loss]] = {
    "content": Content,
    "gram": Gram,
    "total_variation": TotalVariation,
}


def get(identifier: str | Loss) -> Loss:
    """Returns the loss of that name with its defaults, or the loss that is given.

    Raises:
        ConfigError: there is no loss of that name.
    """
    if isinstance(identifier, Loss):
        return identifier
    if identifier not in _LOSSES:
        raise errors.unknown_name("loss", identifier, _LOSSES)
    return _LOSSES[identifier]()
