"""Prepares a job for its first step: pictures, checkpoint, network and tile plans."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nst_tf import config as configs
from nst_tf.imaging import images, inputs, masks, pyramid, sources
from nst_tf.jobs.job import Job
from nst_tf.records import recipe
from nst_tf.records import snapshot as snapshots

if TYPE_CHECKING:
    from nst_tf import backbones
    from nst_tf.tiling import tiles

logger = logging.getLogger("nst_tf")


@dataclasses.dataclass(frozen=True)
class Ready:
    """A job whose pictures are read.

    Attributes:
        job: the job.
        config: the settings; with a checkpoint, its network stands for `auto`.
        pictures: the decoded pictures.
        levels: levels of the pyramid, coarse to fine.
        replayed: the recipe to make again, or None.
        checkpoint: path of the checkpoint to go on from, or None.
        about: the record of the checkpoint, as `snapshot.read_about` returns it; empty without
            one.
    """

    job: Job
    config: configs.StyleTransferConfig
    pictures: sources.Pictures
    levels: Sequence[pyramid.Level]
    replayed: Mapping[str, Any] | None = None
    checkpoint: Path | None = None
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Planned:
    """A job that is ready to run, with its network.

    Attributes:
        ready: the job with its pictures.
        config: the settings, `auto` resolved.
        backbone: the network, which other jobs may share.
        recipe: recipe of the picture.
        plans: tile plan of each level.
        start: snapshot that the run goes on from, or None.
    """

    ready: Ready
    config: configs.StyleTransferConfig
    backbone: backbones.Backbone
    recipe: Mapping[str, Any]
    plans: Sequence[tiles.TilePlan]
    start: snapshots.Snapshot | None = None

    def with_outputs(self, **changes: Any) -> Planned:
        """Returns the job with some fields of its `Outputs` changed."""
        job = self.ready.job
        job = dataclasses.replace(job, outputs=dataclasses.replace(job.outputs, **changes))
        return dataclasses.replace(self, ready=dataclasses.replace(self.ready, job=job))


def read(job: Job) -> Ready:
    """Reads the pictures of a job, each once, and writes the overlay of the mask.

    Raises:
        ConfigError: masks and settings do not fit each other, or the checkpoint belongs to another
            picture.
        ImageError: a picture cannot be used.
        CheckpointError: there are checkpoints, and none can be read.
        OutputError: the overlay cannot be written.
        StyleTransferError: the recipe to replay names other pictures.
    """
    replayed = recipe.load(job.replay) if job.replay else None
    given = job.inputs
    if isinstance(given, sources.Paths):
        given = read_pictures(given, job.config)
    if replayed:
        recipe.require_inputs(replayed, job.config, given.roles())
    inputs.match_masks(job.config, len(given.styles), given.content_mask, given.style_masks)
    _save_overlay(job, given)
    levels = pyramid.plan(job.config, *given.sizes(job.config))
    ready = Ready(job, job.config, given, levels, replayed)
    return _resumed(ready) if job.checkpoints and job.checkpoints.resume else ready


def read_pictures(paths: sources.Paths, config: configs.StyleTransferConfig) -> sources.Pictures:
    """Returns the decoded pictures, for one job or for several.

    Raises:
        ConfigError: a picture takes more memory than the limit allows.
        ImageError: a picture cannot be used, or its file changed in the meantime.
    """
    roles = paths.roles(config)
    hashes = recipe.input_hashes(roles)
    found = paths.pictures(config.max_pixels, config.init, config.memory_limit)
    recipe.require_unchanged(roles, hashes, found.roles())
    return found


def _save_overlay(job: Job, given: sources.Pictures) -> None:
    if job.outputs.mask_overlay and given.content_mask:
        regions = inputs.regions_of(given.content_mask, "content mask")
        maps = images.resize(regions.maps, *given.content.size)
        shown = masks.overlay(given.content.rgb, dataclasses.replace(regions, maps=maps))
        images.save(shown, job.outputs.mask_overlay, overwrite=job.outputs.overwrite)


def _resumed(ready: Ready) -> Ready:
    """Returns a job with its checkpoint, if there is one, after checking that it fits the job."""
    assert ready.job.checkpoints
    found = snapshots.newest(Path(ready.job.checkpoints.folder))
    if not found:
        return ready
    about = snapshots.read_about(found)
    config = recipe.with_network(ready.config, about["provenance"])
    recipe.require_same(about["provenance"], recipe.provenance(config, ready.pictures.roles()))
    return dataclasses.replace(ready, config=config, checkpoint=found, about=about)


def plan(ready: Ready, backbone: backbones.Backbone) -> Planned:
    """Plans the levels of a job by the memory that is free now.

    Args:
        ready: the job with its pictures.
        backbone: a network that fits the settings.

    Raises:
        ConfigError: this machine has no such device, or no tile is small enough.
        CheckpointError: the checkpoint can no longer be read.
        StyleTransferError: the recipe to replay names other weights.
    """
    from nst_tf.engine import result, transfer

    given = ready.pictures
    if not backbone.architecture:
        levels = pyramid.plan(ready.config, *given.sizes(ready.config), backbone.least_side)
        ready = dataclasses.replace(ready, levels=levels)
    config = ready.config.replace(backbone=configs.network_name(backbone))
    config = transfer.settled(config, backbone)
    made = result.recorded(config, backbone, transfer.find_device(config.device), given)
    if ready.replayed:
        recipe.require_same_maker(ready.replayed, made)
    start = snapshots.read(ready.checkpoint) if ready.checkpoint else None
    plans = start.plans if start else transfer.planned(config, backbone, ready.levels, given)
    return Planned(ready, config, backbone, made, plans, start)


def network_settings(config: configs.StyleTransferConfig) -> tuple[Any, ...]:
    """Returns the settings that define a network; jobs with equal ones can share it."""
    from nst_tf import objective

    layers = frozenset(objective.used_layers(config))
    return (config.backbone, *config.network.values(), layers)
