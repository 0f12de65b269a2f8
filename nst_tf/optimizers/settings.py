"""The optimiser of the settings, which give it by name or as an object."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from nst_tf import config as configs
from nst_tf import errors
from nst_tf.optimizers.adam import Adam
from nst_tf.optimizers.fixed_step_lbfgs import FixedStepLBFGS
from nst_tf.optimizers.gradient_descent import GradientDescent
from nst_tf.optimizers.lbfgs import LBFGS
from nst_tf.optimizers.optimizer import Optimizer
from nst_tf.optimizers.rmsprop import RMSprop
from nst_tf.optimizers.steepest_descent import SteepestDescent

_ORDINARY = 30  # Power of two, up or down, of a loss whose gradient can be squared in float32.
_MOST = 120  # Power of two, down, of a float32 that is not denormal.


def get(identifier: Any, config: configs.StyleTransferConfig | None = None) -> Optimizer:
    """Returns the optimiser of that name, or the given one.

    Args:
        identifier: `lbfgs`, `adam`, `rmsprop`, `gradient_descent`, `steepest_descent`,
            `fixed_step_lbfgs`, or an optimiser.
        config: settings of a named optimiser; None for the defaults.

    Raises:
        ConfigError: there is no optimiser of that name, or the object is no optimiser.
    """
    if isinstance(identifier, Optimizer):
        return identifier
    if not isinstance(identifier, str):
        raise errors.ConfigError(
            f"optimizer is an object of type {type(identifier).__name__}; expected a name or a "
            "subclass of nst_tf.optimizers.Optimizer, which says what becomes of a pixel."
        )
    if identifier not in NAMED:
        raise errors.unknown_name("optimizer", identifier, NAMED)
    return NAMED[identifier](config or configs.StyleTransferConfig())


def _adam(config: configs.StyleTransferConfig) -> Adam:
    # A gradient is per pixel value, so that it shrinks as the range of the values grows.
    return Adam(
        _rate(config, 0.002 if config.laplacian_bands else 0.02),
        beta_1=config.adam_beta_1,
        beta_2=config.adam_beta_2,
        epsilon=config.adam_epsilon * config.pixel_range,
        epsilon_hat=config.adam_epsilon_hat * config.pixel_range,
        final_rate=config.final_rate,
        rate_decay=config.rate_decay,
        average=config.average,
        bands=config.laplacian_bands,
        bounds=_bounds(config),
    )


def _fixed_step_lbfgs(config: configs.StyleTransferConfig) -> FixedStepLBFGS:
    return FixedStepLBFGS(
        config.lbfgs_history,
        learning_rate=config.learning_rate or 1.0,
        pixel_range=config.pixel_range,
        bounds=_bounds(config),
    )


def _gradient_descent(config: configs.StyleTransferConfig) -> GradientDescent:
    # Both the gradient and the move are in pixel values.
    return GradientDescent(
        (config.learning_rate or 0.1) / config.pixel_range**2,
        final_rate=config.final_rate,
        rate_decay=config.rate_decay,
        bounds=_bounds(config),
    )


def _lbfgs(config: configs.StyleTransferConfig) -> LBFGS:
    weights = config.with_strength
    largest = max(weights.content_weight, weights.style_weight, weights.tv_weight)
    power = round(math.log2(largest))
    return LBFGS(
        config.lbfgs_history,
        octaves=config.lbfgs_octaves,
        first_step=_rate(config, 0.01),
        scale=1.0 if abs(power) <= _ORDINARY else 2.0 ** -min(power, _MOST),
        bounds=_bounds(config),
    )


def _rmsprop(config: configs.StyleTransferConfig) -> RMSprop:
    return RMSprop(
        _rate(config, 0.002),
        epsilon=1e-8 * config.pixel_range,
        final_rate=config.final_rate,
        rate_decay=config.rate_decay,
        bands=config.laplacian_bands,
        bounds=_bounds(config),
    )


def _steepest_descent(config: configs.StyleTransferConfig) -> SteepestDescent:
    return SteepestDescent(_rate(config, 0.01), bounds=_bounds(config))


def _rate(config: configs.StyleTransferConfig, default: float) -> float:
    """Returns the length of a step in pixel values between 0 and 1."""
    return (config.learning_rate or default * config.pixel_range) / config.pixel_range


def _bounds(config: configs.StyleTransferConfig) -> tuple[float, float] | None:
    return (0.0, 1.0) if config.clip_pixels else None


NAMED: dict[str, Callable[[configs.StyleTransferConfig], Optimizer]] = {
    "adam": _adam,
    "fixed_step_lbfgs": _fixed_step_lbfgs,
    "gradient_descent": _gradient_descent,
    "lbfgs": _lbfgs,
    "rmsprop": _rmsprop,
    "steepest_descent": _steepest_descent,
}
"""Functions that make an optimiser from the settings, by its name."""
