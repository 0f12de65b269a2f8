"""The outcome of a job."""

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
    from nst_tf.jobs.job import Job

Status = Literal["done", "stopped", "diverged", "failed"]


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """The outcome of a job, whether it succeeded or failed.

    Attributes that the job did not get to are empty.

    Attributes:
        status: `done`: the picture and every other required file are written. `stopped`: a
            callback, or a `KeyboardInterrupt` within the steps, ended the run. `diverged`: the
            loss became NaN, or no step moved the picture. `failed`: any other failure.
        reason: why the job is not done, in a sentence; empty if it is done.
        picture: the picture, the last good one of an unfinished run, or None.
        path: path of the written picture, which differs from the wanted one if that could not be
            written; or None.
        config: the settings, `auto` resolved; None if the job got no network.
        levels: levels of the pyramid, coarse to fine.
        history: entries of all steps, as in `callbacks.History`.
        recipe: recipe of the picture; see `nst_tf.Result`.
        device: TensorFlow's name of the device that the steps ran on.
        rollbacks: number of steps that were rolled back to the last good picture.
        seconds: seconds that the steps took.
        earlier_seconds: seconds that the steps before the checkpoint took, in a resumed run.
        peak_memory: the most bytes used so far: of the GPU, or of the process on the CPU.
        checkpoint: path of the checkpoint to go on from; None if the picture is done.
        unwritten: why a report or a plot could not be written, in a sentence, by its path.
        error: the exception that ended the job, for callers that want to raise it; or None.
        job: the job, in the outcomes of `stylize_many`; else None.
        kept: whether the picture was there already, from an earlier run.
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
    job: Job | None = None
    kept: bool = False

    @property
    def done(self) -> bool:
        """Whether the picture is finished and written."""
        return self.status == "done"

    @property
    def network(self) -> Mapping[str, str]:
        """`name`, source of the weights (`weights`) and their `sha256`; empty if unknown."""
        return self.recipe.get("backbone", {})


def of_error(error: BaseException) -> Outcome:
    """Returns the outcome of a job that ended by an error."""
    return Outcome(status_of(error), in_words(error), error=error)


def status_of(error: BaseException | None) -> Status:
    """Returns the status of an unfinished run, given its error, or None for a stopped one."""
    if error is None or isinstance(error, KeyboardInterrupt):
        return "stopped"
    return "diverged" if isinstance(error, errors.DivergenceError) else "failed"


def in_words(error: BaseException | None) -> str:
    """Returns why a run ended early, in a sentence."""
    if error is None or isinstance(error, KeyboardInterrupt):
        return "the run was stopped before its last step."
    if isinstance(error, errors.StyleTransferError):
        return str(error)
    return f"the run has failed ({type(error).__name__}: {errors.reason(error)})."
