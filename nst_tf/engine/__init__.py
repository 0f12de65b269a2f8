"""The level loop, the step loop and the compiled step."""

from nst_tf.engine.result import Result
from nst_tf.engine.steps import Step, compile_step, compile_targets, value_and_gradient
from nst_tf.engine.transfer import StyleTransfer, stylize

__all__ = [
    "Result",
    "Step",
    "StyleTransfer",
    "compile_step",
    "compile_targets",
    "stylize",
    "value_and_gradient",
]
