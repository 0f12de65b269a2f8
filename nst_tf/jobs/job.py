"""The description of a job: inputs, settings and files of one picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from nst_tf import config as configs
from nst_tf.imaging import sources
from nst_tf.runtime import files


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outputs:
    """The files that a job writes. An empty string stands for no file.

    Attributes:
        picture: path of the picture; its suffix, a key of `imaging.images.FORMATS`, chooses the
            format.
        bit_depth: bits per channel of the picture: 8, or 16 for PNG.
        overwrite: replace existing outputs, and checkpoints of another run.
        partial: keep the last good picture of an unfinished run in `partial_path`.
        preview_every: steps between two refreshes of `preview_path`; 0 for no preview.
        timelapse: path of a film of the steps, with one of `callbacks.FILM_SUFFIXES`.
        report: path of a record of the run, in JSON.
        plot: path of the loss curves, with one of `PLOT_SUFFIXES`.
        mask_overlay: path of the content with the regions of its mask laid over it.
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
"""The file formats of the loss curves."""


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a job. They are removed once the picture is written.

    Attributes:
        folder: folder of the checkpoints, for this job alone.
        seconds: seconds between two checkpoints.
        resume: go on from the newest checkpoint in the folder, or from the beginning if there is
            none.
        every_level: save one at the end of every level, too.
    """

    folder: str
    seconds: float = 60.0
    resume: bool = False
    every_level: bool = True


@dataclasses.dataclass(frozen=True)
class Job:
    """One picture to make.

    Attributes:
        inputs: the files, or the decoded pictures, which several jobs may share.
        config: the settings.
        outputs: the files to write. By default there are none, and only the outcome holds the
            picture.
        checkpoints: folder and timing of the checkpoints; None for no checkpoints.
        replay: path of a picture to make again, or an empty string. The job fails unless the
            recipe of that picture names the same inputs and weights.
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
