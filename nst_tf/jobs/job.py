"""What is to be made: a picture, from which inputs, with which settings, into which files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from nst_tf import config as configs
from nst_tf.imaging import sources
from nst_tf.runtime import files


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outputs:
    """The files that a job writes. An empty text is no file.

    Attributes:
        picture: where the picture goes; its suffix, a key of `imaging.images.FORMATS`, chooses
            the format.
        bit_depth: bits a channel of it: 8, or 16 for PNG.
        overwrite: replace outputs, and checkpoints of another run, that are there.
        partial: keep the last good picture of a run that does not end well, in `partial_path`.
        preview_every: steps between two refreshes of `preview_path`; 0 for none.
        timelapse: a film of the steps, one of `callbacks.FILM_SUFFIXES`.
        report: a record of the run, in JSON.
        plot: the loss curves, one of `PLOT_SUFFIXES`.
        mask_overlay: the photo with the regions of its mask laid over it.
    """

    picture: str = dataclasses.field(default="", kw_only=False)
    bit_depth: int = 8
    overwrite: bool = False
    partial: bool = True
    preview_every: int = 0
    timelapse: str = ""
    report: str = ""
    plot: str = ""
    mask_overlay: str = ""

    @property
    def partial_path(self) -> Path:
        """The file of the last good picture."""
        path = Path(self.picture)
        return files.sibling(path, f".partial{path.suffix}")

    @property
    def preview_path(self) -> Path:
        """The file of the preview."""
        return files.sibling(Path(self.picture), ".preview.png")


PLOT_SUFFIXES = (".png", ".jpg", ".pdf", ".svg")
"""What loss curves can be drawn as."""


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """Where a job keeps its checkpoints, which are removed once the picture is written.

    Attributes:
        folder: of this job alone.
        seconds: between two checkpoints.
        resume: go on from the newest one there, or begin where there is none.
    """

    folder: str
    seconds: float = 60.0
    resume: bool = False


@dataclasses.dataclass(frozen=True)
class Job:
    """One picture to make.

    Attributes:
        inputs: the files, or the pictures decoded, which several jobs may share.
        config: the settings.
        outputs: the files to write; none by default, and the picture is in the outcome alone.
        checkpoints: or None for none.
        replay: a picture whose recipe names the same inputs and weights, or else the job fails;
            an empty text for none.
    """

    inputs: sources.Paths | sources.Pictures
    config: configs.StyleTransferConfig = dataclasses.field(
        default_factory=configs.StyleTransferConfig
    )
    outputs: Outputs = Outputs()
    checkpoints: Checkpoints | None = None
    replay: str = ""

    @property
    def paths(self) -> dict[str, str]:
        """The path of every input that is a file, by its role."""
        given = self.inputs
        return given.roles(self.config) if isinstance(given, sources.Paths) else {}
