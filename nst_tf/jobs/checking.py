"""Checks of a job before any work, from its settings, picture headers and folders."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from nst_tf import callbacks, errors
from nst_tf.imaging import images, inputs, pyramid
from nst_tf.jobs.job import PLOT_SUFFIXES, Checkpoints, Job, Outputs
from nst_tf.records import snapshot as snapshots
from nst_tf.runtime import files

_PARTIAL = "the picture of a stopped run"
_PREVIEW = "the preview"
_EXTRAS = ("plot", "report", "mask_overlay", "timelapse")


class _Names(dict[str, str]):
    """The user's names of fields; a field without an entry goes by its own name."""

    def __missing__(self, field: str) -> str:
        return field


def check(job: Job, names: Mapping[str, str] = MappingProxyType({})) -> list[pyramid.Level]:
    """Checks a job, as far as the headers of its inputs allow.

    Every output must be writable. No output may replace an input or another output, nor an
    existing file unless `overwrite` is set.

    Args:
        job: the job.
        names: the user's names, such as `--report`, of the fields of `Outputs` and `Checkpoints`
            and of `content_mask`; a field without an entry goes by its own name.

    Returns:
        The levels of the pyramid, coarse to fine.

    Raises:
        ConfigError: the settings do not fit each other or the inputs.
        ImageError: an input cannot be used.
        OutputError: an output cannot be written, or a file is in its way.
    """
    names = _Names(names)
    if job.checkpoints:
        _check_checkpoints(job.checkpoints, job.outputs.overwrite, names)
    _check_outputs(job, names)
    given = job.inputs
    inputs.check(job.config, len(given.styles), bool(given.content_mask), len(given.style_masks))
    return pyramid.plan(job.config, *given.sizes(job.config))


def _check_checkpoints(checkpoints: Checkpoints, overwrite: bool, names: _Names) -> None:
    """Checks that the checkpoints can be written and that the folder holds no other run's."""
    folder = Path(checkpoints.folder)
    if os.path.isfile(folder):
        name = names["folder"]
        raise errors.OutputError(f"{name}={folder}: this is a file; expected a folder.")
    images.probe_writable(folder / snapshots.PREFIX if os.path.isdir(folder) else folder)
    callbacks.require_free(folder)
    if snapshots.stored(folder) and not (checkpoints.resume or overwrite):
        raise callbacks.occupied(folder)


def _check_outputs(job: Job, names: _Names) -> None:
    """Checks that every output can be written."""
    outputs = job.outputs
    _check_picture(outputs, names)
    _check_overlay(job, names)
    _check_suffix("timelapse", outputs.timelapse, callbacks.FILM_SUFFIXES, names)
    _check_suffix("plot", outputs.plot, PLOT_SUFFIXES, names)
    written = _written(outputs, names)
    for path in written.values():
        images.probe_writable(path)
    _check_apart(job, written, names)
    resumes = bool(job.checkpoints and job.checkpoints.resume)
    for name, path in written.items():
        ours = resumes and name == _PREVIEW and callbacks.is_preview(path)
        if os.path.lexists(path) and not (outputs.overwrite or ours):
            raise errors.OutputError(
                f"{path}: exists already. Choose another name, or replace it with "
                f"{names['overwrite']}."
            )


def _check_picture(outputs: Outputs, names: _Names) -> None:
    suffix = Path(outputs.picture).suffix.lower()
    if outputs.picture and suffix not in images.FORMATS:
        raise errors.ConfigError(
            f"{names['picture']}={outputs.picture}: cannot write a picture with the "
            f"suffix {Path(outputs.picture).suffix!r}; expected one of {', '.join(images.FORMATS)}."
        )
    if outputs.bit_depth != 8 and not (outputs.bit_depth == 16 and suffix == ".png"):
        raise errors.ConfigError(
            f"{names['bit_depth']}={outputs.bit_depth} with {outputs.picture}: "
            "expected 8, or 16 with .png."
        )
    name = names["preview_every"]
    if outputs.preview_every < 0:
        raise errors.ConfigError(
            f"{name}={outputs.preview_every}: expected 0 (never) or a number of steps."
        )
    if outputs.preview_every and not outputs.picture:
        raise errors.ConfigError(
            f"{name}={outputs.preview_every} refreshes a file beside the picture, which has no "
            f"name; give it one with {names['picture']}."
        )


def _check_overlay(job: Job, names: _Names) -> None:
    path = job.outputs.mask_overlay
    if path and not job.inputs.content_mask:
        raise errors.ConfigError(
            f"{names['mask_overlay']}={path} shows a content mask, and there "
            f"is none; give one with {names['content_mask']}=PICTURE."
        )
    if path:
        images.check_writable(path)


def _check_suffix(field: str, path: str, suffixes: Sequence[str], names: _Names) -> None:
    if path and Path(path).suffix.lower() not in suffixes:
        raise errors.ConfigError(
            f"{names[field]}={path}: expected one of the suffixes {', '.join(suffixes)}."
        )


def _written(outputs: Outputs, names: _Names) -> dict[str, Path]:
    """Returns the files that the job writes, by the user's names of them."""
    written = {
        names[field]: Path(path)
        for field in (*_EXTRAS, "picture")
        if (path := getattr(outputs, field))
    }
    return {**written, _PREVIEW: outputs.preview_path} if outputs.preview_every else written


def _check_apart(job: Job, written: Mapping[str, Path], names: _Names) -> None:
    """Refuses two outputs in one file, and an output that is an input.

    The picture may replace the initial picture and the replayed picture: both are read before it
    is written.
    """
    outputs = dict(written)
    if job.outputs.picture and job.outputs.partial:
        outputs[_PARTIAL] = job.outputs.partial_path
    if job.checkpoints:
        outputs[names["folder"]] = Path(job.checkpoints.folder)
    owners: dict[object, str] = {}
    for name, path in outputs.items():
        other = owners.setdefault(files.identity(path), name)
        if other != name:
            raise errors.ConfigError(
                f"{path}: {other} and {name} are one file; give each output its own name."
            )
    replaced_after = (names["picture"], _PARTIAL)
    given = {**job.paths, "weights": job.config.weights, "replayed picture": job.replay}
    for role, source in given.items():
        name = owners.get(files.identity(source), "") if os.path.exists(source) else ""
        read_before = role in ("init", "replayed picture") and name in replaced_after
        if name and not read_before and (job.outputs.overwrite or name != _PARTIAL):
            raise errors.OutputError(
                f"{source}: is the {role} of this run, which {name} would replace. Choose another "
                f"name; inputs are not replaced, not even with {names['overwrite']}."
            )
