"""The optimisers, which move a picture down its gradient. One optimiser a file; see `get`."""

from nst_tf.optimizers.adam import Adam
from nst_tf.optimizers.fixed_step_lbfgs import FixedStepLBFGS
from nst_tf.optimizers.gradient_descent import GradientDescent
from nst_tf.optimizers.guarded import Guarded
from nst_tf.optimizers.lbfgs import LBFGS
from nst_tf.optimizers.optimizer import UNKNOWN, Evaluation, Optimizer, State
from nst_tf.optimizers.rmsprop import RMSprop
from nst_tf.optimizers.settings import NAMED, get
from nst_tf.optimizers.smoothing import Smoothed
from nst_tf.optimizers.steepest_descent import SteepestDescent
from nst_tf.optimizers.summed import SummedOptimizer, Sums, step, summed

__all__ = [
    "LBFGS",
    "NAMED",
    "UNKNOWN",
    "Adam",
    "Evaluation",
    "FixedStepLBFGS",
    "GradientDescent",
    "Guarded",
    "Optimizer",
    "RMSprop",
    "Smoothed",
    "State",
    "SteepestDescent",
    "SummedOptimizer",
    "Sums",
    "get",
    "step",
    "summed",
]
