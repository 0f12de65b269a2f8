"""How the picture moves down its gradient. One optimiser a file; see `get`."""

from __future__ import annotations

from nst_tf import config as configs
from nst_tf import errors
from nst_tf.optimizers.adam import Adam
from nst_tf.optimizers.fixed_step_lbfgs import FixedStepLBFGS
from nst_tf.optimizers.gradient_descent import GradientDescent
from nst_tf.optimizers.guarded import Guarded
from nst_tf.optimizers.lbfgs import LBFGS
from nst_tf.optimizers.optimizer import UNKNOWN, Evaluation, Optimizer, State, Sums
from nst_tf.optimizers.smoothing import Smoothed
from nst_tf.optimizers.steepest_descent import SteepestDescent

__all__ = [
    "LBFGS",
    "UNKNOWN",
    "Adam",
    "Evaluation",
    "FixedStepLBFGS",
    "GradientDescent",
    "Guarded",
    "Optimizer",
    "Smoothed",
    "State",
    "SteepestDescent",
    "Sums",
    "get",
]

_OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adam": Adam,
    "fixed_step_lbfgs": FixedStepLBFGS,
    "gradient_descent": GradientDescent,
    "lbfgs": LBFGS,
    "steepest_descent": SteepestDescent,
}


def get(
    identifier: str | Optimizer, config: configs.StyleTransferConfig | None = None
) -> Optimizer:
    """Returns the optimiser of that name, or the one that is given.

    Args:
        identifier: `lbfgs`, `adam`, `gradient_descent`, `steepest_descent`, `fixed_step_lbfgs`,
            or an optimiser.
        config: where an optimiser that is named finds its settings.

    Raises:
        ConfigError: there is no optimiser of that name.
    """
    if isinstance(identifier, Optimizer):
        return identifier
    if identifier not in _OPTIMIZERS:
        raise errors.unknown_name("optimizer", identifier, _OPTIMIZERS)
    return _OPTIMIZERS[identifier].from_config(config or configs.StyleTransferConfig())
