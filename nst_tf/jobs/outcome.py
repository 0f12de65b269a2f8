"""What became of a job."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nst_tf import config as configs
from nst_tf import errors
from nst_tf.imaging import pyramid

if TYPE_CHECKING:
    from nst_tf.engine.result import Result

Status = Literal["done", "stopped", "diverged", "failed"]


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a job, whatever came of it.

    What is not known, because the job did not get that far, is empty.

    Attributes:
        status: `done`: every file that the job cannot do without is written. `stopped`: by a
            callback, or by a `KeyboardInterrupt` within the steps. `diverged`: the loss became
            NaN, or no step moved the picture. `failed`: for any other reason.
        reason: why the job is not done, in a sentence; empty where it is.
        picture: the picture, the last good one where the run did not end well, or None.
        path: where the picture is, which is not where it should be if that failed; or None.
        config: the settings, `auto` resolved; None where the job got no network.
        levels: of the pyramid, coarse to fine.
        history: of every step, as `callbacks.History` has it.
        recipe: of the picture; see `nst_tf.Result`.
        device: TensorFlow's name of what the steps ran on.
        rollbacks: steps after which the run went back to the last good picture.
        seconds: that the steps took.
        earlier_seconds: that the steps took before the checkpoint that the run went on from.
        peak_memory: the most bytes used so far: of the GPU, or of the process on the CPU.
        checkpoint: to go on from; None where the picture is done.
        unwritten: why a report or a plot is not there, in a sentence, by its path.
        error: what ended the job, to be raised again by whoever wants an exception; or None.
    """

    status: Status
    reason: str = ""
    picture: Result | None = None
    path: Path | None = None
    config: configs.StyleTransferConfig | None = None
    levels: Sequence[pyramid.Level] = ()
    history: Sequence[Mapping[str, Any]] = ()
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    device: str = ""
    rollbacks: int = 0
    seconds: float = 0.0
    earlier_seconds: float = 0.0
    peak_memory: int = 0
    checkpoint: Path | None = None
    unwritten: Mapping[str, str] = dataclasses.field(default_factory=dict)
    error: BaseException | None = None

    @property
    def done(self) -> bool:
        """Whether the picture is there."""
        return self.status == "done"

    @property
    def network(self) -> Mapping[str, str]:
        """Name, source of the weights (`weights`) and their `sha256`; empty where none is known."""
        return self.recipe.get("backbone", {})


def of_error(error: BaseException) -> Outcome:
    """Returns the outcome of a job that an error has ended."""
    return Outcome(status_of(error), in_words(error), error=error)


def status_of(error: BaseException | None) -> Status:
    """Returns how a run ended that did not take all its steps; None where it was stopped."""
    if error is None or isinstance(error, KeyboardInterrupt):
        return "stopped"
    return "diverged" if isinstance(error, errors.DivergenceError) else "failed"


def in_words(error: BaseException | None) -> str:
    """Returns why a run ended, in a sentence."""
    if error is None or isinstance(error, KeyboardInterrupt):
        return "the run was stopped before its last step."
    if isinstance(error, errors.StyleTransferError):
        return str(error)
    return f"the run has failed ({type(error).__name__}: {errors.reason(error)})."
