"""The level loop and the step loop: content and style in, a picture out."""

from __future__ import annotations

import collections
import contextlib
import copy
import dataclasses
import functools
import gc
import logging
import threading
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf import backbones, callbacks, errors, losses, optimizers
from nst_tf import config as configs
from nst_tf import objective as objectives
from nst_tf.config import objects, vgg_layers
from nst_tf.engine import result as results
from nst_tf.engine import steps
from nst_tf.imaging import images, inputs, pyramid, sources
from nst_tf.kernels import laplacian
from nst_tf.records import environment, recipe
from nst_tf.records import snapshot as snapshots
from nst_tf.runtime import backend, host
from nst_tf.tiling import activations, bands, memory, tiled_objective, tiles

logger = logging.getLogger("nst_tf")

_CACHED_BYTES = 1 << 25  # Limit of the cached style targets.
_LEAST_SIDE = 64  # Pixels of the smallest tile; smaller ones are mostly halo.
_STATE = "state/"  # Prefix of the optimiser's entries in a snapshot.
_BEGUN_WITH = "begun_with"  # Snapshot entry: the picture at the beginning of its level.
_MOST_COMPILED = 4  # Objectives whose compiled steps are kept.
_CHECK_EVERY = 10  # Steps between two checks for rollbacks.
_SAME_SHAPE = 0.02  # Largest |log| of the ratio of two aspect ratios that count as equal.
_Kind = tuple[tuple[int, ...], tf.DType]
_MOST_FAILURES = 8  # Rollbacks in a row that end the run; each halves the learning rate.


@host.undisturbed
def stylize(
    content: Any,
    styles: Any,
    config: configs.StyleTransferConfig | None = None,
    callbacks: Sequence[callbacks.Callback] = (),
    start: snapshots.Snapshot | None = None,
    *,
    content_mask: Any = None,
    style_masks: Any = (),
    init: Any = None,
) -> results.Result:
    """Renders a content picture in the style of one or several style pictures.

    Args:
        content: the content picture in any form that `nst_tf.imaging.load` accepts, such as a
            path, a PIL image, or an array or tensor `(height, width, 3)`, uint8, uint16 or
            floating point in [0, 1].
        styles: the style picture in any of these forms, a folder of style pictures, or a list of
            either. Several styles are blended by `style_blend`.
        config: the settings; None takes the defaults.
        callbacks: callbacks that follow the progress.
        start: the snapshot to go on from, returned by `callbacks.StepEnd.snapshot` in an earlier
            run with the same pictures and settings; None starts from the beginning.
        content_mask: a picture in any of these forms. Its white or coloured parts are the regions
            of the content to stylise, each after the region of the same colour in the style
            masks. None stylises the whole picture. See `nst_tf.imaging.masks.read`.
        style_masks: the mask of the style picture, or a list of one for each.
        init: the initial picture in any of these forms; None takes that of the config.

    Returns:
        The picture with its history and its recipe, accepted as an array `(height, width, 3)`,
        float32, sRGB in [0, 1]; see `nst_tf.Result`.

    Raises:
        ConfigError: the settings do not fit each other, the pictures or the start.
        ImageError: a picture cannot be used.
        WeightsError: the weights of the backbone cannot be had.
        DivergenceError: the loss became NaN or infinite.
    """
    config = config or configs.StyleTransferConfig()
    if start:
        config = recipe.with_network(config, start.provenance)
    try:
        return StyleTransfer(config).stylize(
            content,
            styles,
            callbacks,
            start,
            content_mask=content_mask,
            style_masks=style_masks,
            init=init,
        )
    finally:
        gc.collect()  # A network is a reference cycle, and would stay until the next collection.


class StyleTransfer:
    """Stylises any number of content pictures with one network and one set of compiled steps.

    The network is built by the constructor. A step is compiled once, and the targets of a style
    are computed once for each size. From the second picture on, a run costs only its steps; so
    does a run with other loss weights, by `replace`.

    Args:
        config: the settings; None takes the defaults.
        backbone: the network to use instead of that of the config. It exposes at least the
            layers that the config uses. A network of `Backbone.from_keras` has its own layer
            names, which a config with `backbone="custom"` accepts.
        objective: the objective to minimise instead of the losses of the config. With masks, its
            terms that have a style reference are restricted to each region in turn.
        optimizer: the optimiser to use instead of that of the config: an
            `nst_tf.optimizers.Optimizer`, or a name.

    Raises:
        ConfigError: the settings do not fit each other, the network or this machine.
        WeightsError: the weights of the backbone cannot be had.

    Attributes:
        config: the settings, with the name and the precision of the network.
        backbone: the network.
        least_side: shortest side of a picture that the network can use, in pixels; 0 for
            `pyramid.minimum_side`.
    """

    @host.undisturbed
    def __init__(
        self,
        config: configs.StyleTransferConfig | None = None,
        backbone: backbones.Backbone | None = None,
        *,
        objective: objectives.Objective | None = None,
        optimizer: optimizers.Optimizer | str | None = None,
    ) -> None:
        self.config = config or configs.StyleTransferConfig()
        if optimizer is not None:
            self.config = self.config.replace(optimizer=optimizer)
            configs.warn_idle((self.config, configs.of_group("Optimiser")))
        backend.require_tensorflow()
        self._device = find_device(self.config.device)
        if backbone is None and objective is not None:
            backbone = typing.cast(backbones.Backbone, objective.backbone)
        if backbone is None and not isinstance(self.config.backbone, str):
            backbone = typing.cast(backbones.Backbone, self.config.backbone)
        self.backbone = backbone or objectives.build_backbone(self.config)
        self.config = settled(self.config.replace(backbone=self.config.network_name), self.backbone)
        self.least_side = 0
        if self.backbone.architecture is None:
            self.config = self.config.replace(backbone=configs.CUSTOM)
            self.least_side = self.backbone.least_side
        elif not backbone and self.config.backbone == "auto":
            self.config = self.config.replace(backbone=self.backbone.name)
        if objective is None:
            _check_network(self.config, self.backbone)
        self._objective = objective
        self._own_objective()  # Which refuses what no recipe could name.
        self._style_backbone = self.backbone
        if self.config.padding == "circular" and (not backbone or backbone.weight_file):
            # The picture wraps around; style pictures have a border and do not.
            self._style_backbone = objectives.build_backbone(self.config.replace(padding="reflect"))
        self._optimizer = optimizers.Guarded(optimizers.get(self.config.optimizer, self.config))
        self._compiled = _CompiledCache()

    def replace(self, **changes: Any) -> StyleTransfer:
        """Returns a transfer with some settings changed.

        It shares the network, if that fits, and the compiled steps. A change of loss weights,
        sizes, steps or the initial picture traces nothing anew.

        Args:
            **changes: settings and their new values, as for `StyleTransferConfig.replace`.

        Raises:
            ConfigError: a change is not valid.
            WeightsError: the changes need another network, and its weights cannot be had.
        """
        return self.with_config(self.config.replace(**changes))

    def with_config(self, config: configs.StyleTransferConfig) -> StyleTransfer:
        """Returns a transfer with another config; see `replace`."""
        if self._objective is None and not self.has_network_of(config):
            return StyleTransfer(config)
        found = copy.copy(self)
        found.config = settled(config, self.backbone)
        found._device = find_device(config.device)
        found._optimizer = optimizers.Guarded(optimizers.get(config.optimizer, config))
        return found

    def has_network_of(self, config: configs.StyleTransferConfig) -> bool:
        """Returns whether the network is that of a config.

        Raises:
            ConfigError: a network that a program hands in does not fit it.
        """
        if self.backbone.architecture is None and config.backbone == configs.CUSTOM:
            _check_network(config, self.backbone)
            return True
        config = config.replace(precision=objectives.precision(config))
        same = config.backbone == self.config.backbone and config.network == self.config.network
        wanted = objectives.used_layers(config)
        names = {vgg_layers.canonical(name, self.backbone.name) for name in wanted}
        return same and names <= set(self.backbone.output)

    @host.undisturbed
    def stylize(
        self,
        content: Any,
        styles: Any,
        callbacks: Sequence[callbacks.Callback] = (),
        start: snapshots.Snapshot | None = None,
        *,
        content_mask: Any = None,
        style_masks: Any = (),
        init: Any = None,
        references: Mapping[str, Any] | None = None,
        plans: Sequence[tiles.TilePlan] | None = None,
    ) -> results.Result:
        """Stylises one content picture, as `nst_tf.stylize` does, with two further arguments.

        Args:
            content: the content picture.
            styles: the style picture or pictures.
            callbacks: callbacks that follow the progress.
            start: the snapshot to go on from.
            content_mask: mask of the content's regions.
            style_masks: masks of the regions of the style pictures.
            init: the initial picture.
            references: further reference pictures by the names that losses of the objective give
                them. Each is a picture, or a pair of a picture and a second one whose lightness
                is the weight of its pixels.
            plans: tile plan of each level, as `planned` returns them; None plans by the memory
                that is free now. A start has plans of its own.

        Returns:
            The picture; see `nst_tf.Result`.

        Raises:
            ConfigError: the settings do not fit the pictures, the references are not those that
                the losses need, or the start belongs to another run.
            ImageError: a picture cannot be used.
            DivergenceError: the loss became NaN or infinite.
        """
        handed_in = init is not None and not self.config.goes_on
        engine = self.replace(init=configs.GIVEN) if handed_in else self
        load = functools.partial(images.load, max_pixels=self.config.max_pixels)
        given = sources.Pictures(
            load(content),
            [load(style) for style in images.expand(_listed(styles))],
            None if content_mask is None else load(content_mask),
            [load(mask) for mask in images.expand(_listed(style_masks))],
            load(engine.config.init if init is None else init) if engine.config.goes_on else None,
            {name: _weighed(each, load) for name, each in _named(references).items()},
        )
        if not given.styles:
            raise errors.ConfigError("styles is empty; expected one painting or more.")
        return engine._stylized(given, callbacks, start, plans)

    def _stylized(
        self,
        given: sources.Pictures,
        callbacks_: Sequence[callbacks.Callback],
        start: snapshots.Snapshot | None,
        plans: Sequence[tiles.TilePlan] | None,
    ) -> results.Result:
        """Returns the result for pictures that are decoded."""
        sizes = [style.size for style in given.styles]
        levels = pyramid.plan(self.config, given.content.size, sizes, self.least_side)
        shown = inputs.prepare(
            self.config, given.content, given.styles, given.content_mask, given.style_masks
        )
        inputs.check_regions(self.config, shown, levels[-1], self._style_strides())
        objective = self._objective_of(shown.matched.shares)
        _require_references(objective, given.references)
        with tf.device(self._device):
            return self._run(objective, shown, given, levels, callbacks_, start, plans)

    def _objective_of(
        self, shares: Sequence[float], config: configs.StyleTransferConfig | None = None
    ) -> objectives.Objective:
        """Returns the objective, given the share of the content that each region covers."""
        if self._objective is None:
            return objectives.Objective.from_config(config or self.config, self.backbone, shares)
        terms = [
            each for term in self._objective.terms for each in objectives.in_regions(term, shares)
        ]
        return objectives.Objective(self.backbone, terms)

    def _run(
        self,
        objective: objectives.Objective,
        shown: inputs.Inputs,
        given: sources.Pictures,
        levels: Sequence[pyramid.Level],
        callbacks_: Sequence[callbacks.Callback],
        start: snapshots.Snapshot | None,
        plans: Sequence[tiles.TilePlan] | None,
    ) -> results.Result:
        provenance = functools.cache(lambda: self._provenance(given.roles()))
        walk = self._begin(objective, shown, given, levels, start, plans, provenance)
        in_parts = any(plan.tiled or plan.style_side for plan in walk.plans)
        if self.config.memory_limit != "auto" or in_parts:
            memory.hand_back_freed()
            costs = self.backbone.costs()
            needed = memory.most_expected(self.config, costs, levels, walk.plans, given)
            memory.reserve(needed - memory.filtering_bytes(self.config, costs))
        told = [walk.history, *callbacks_]
        unended: list[callbacks.Callback] = []
        try:
            for callback in told:
                callback.on_begin(walk.run)
                unended.append(callback)
            picture = self._go(walk, levels, told)
            while unended:
                unended.pop(0).on_end(picture)
        except BaseException as error:
            with contextlib.ExitStack() as rest:  # Calls all, even if one raises.
                for callback in reversed(unended):
                    rest.callback(callback.on_error, error)
            raise
        made = results.recorded(self.config, self.backbone, self._device, given)
        made |= self._own_objective()
        return results.of_run(picture, walk.run, walk.history.entries, made, given.content.alpha)

    def _go(
        self,
        walk: _RunState,
        levels: Sequence[pyramid.Level],
        told: Sequence[callbacks.Callback],
    ) -> tf.Tensor:
        """Takes the remaining steps until a callback stops the run, and returns the picture."""
        run = walk.run
        run.picture = lambda: self._shown(walk) if walk.at[1] else None
        for index, level in enumerate(levels):
            if run.stopping:
                break
            if run.taken(index) == level.steps:
                continue
            if self._is_final(walk, index):
                shares = walk.shown.matched.shares
                walk.objective = self._objective_of(shares, self.config.final)
                walk.compiled = self._compiled_of(walk.objective)
            for callback in told:
                callback.on_level_begin(index)
            targets = functools.partial(self._level_targets, walk, index)
            for end in self._steps(walk, index, targets):
                host.leave_if_over()
                for callback in told:
                    callback.on_step_end(end)
                if run.stopping:
                    break
        finest = levels[-1]
        picture = self._shown(walk, finest.height, finest.width)
        run.finished = walk.at == (len(levels) - 1, finest.steps)
        run.picture = lambda: picture
        return picture

    def _begin(
        self,
        objective: objectives.Objective,
        shown: inputs.Inputs,
        given: sources.Pictures,
        levels: Sequence[pyramid.Level],
        start: snapshots.Snapshot | None,
        plans: Sequence[tiles.TilePlan] | None,
        provenance: Callable[[], dict[str, Any]],
    ) -> _RunState:
        """Returns the state of a run before its first step: new, or that of a snapshot."""
        parts = objective, shown, given.references, self._compiled_of(objective)
        if start is None:
            image = _variable(self._initial_image(shown, given.init, levels[0]))
            plans = list(plans or planned(self.config, self.backbone, levels, given))
            run = callbacks.Run(self.config, self.backbone, levels, image.device)
            return _RunState(run, *parts, image, {}, plans, provenance, (0, 0))
        tensors = self._check_start(start, provenance(), levels, objective)
        image = _variable(tensors.pop("image"))
        begun_with = tensors.pop(_BEGUN_WITH, None)
        state = {name.removeprefix(_STATE): _variable(tensors.pop(name)) for name in [*tensors]}
        begin = start.level, start.step, start.history, int(state["rollbacks"])
        run = callbacks.Run(self.config, self.backbone, levels, image.device, *begin)
        plans, at = list(start.plans), (start.level, start.step)
        walk = _RunState(run, *parts, image, state, plans, provenance, at)
        if begun_with is not None:
            walk.begun_with = start.level, np.asarray(begun_with)[0]
        return walk

    def _compiled_of(self, objective: objectives.Objective) -> _Compiled:
        return self._compiled.of(objective, self._style_backbone, self._optimizer, self.config)

    def _is_final(self, walk: _RunState, at: int) -> bool:
        """Returns whether a level is the last pass, which has a style loss of its own."""
        return self.config.ends_apart and at == len(walk.run.levels) - 1

    def _steps(
        self,
        walk: _RunState,
        index: int,
        targets_of: Callable[[tiles.TilePlan], objectives.Targets | tiled_objective.TiledTargets],
    ) -> Iterator[callbacks.StepEnd]:
        """Takes the remaining steps of a level, in smaller tiles where memory runs out."""
        level, targets, number = walk.run.levels[index], None, walk.run.taken(index) + 1
        entered = number > 1
        while number <= level.steps:
            plan = walk.plans[index]
            try:
                targets = targets_of(plan) if targets is None else targets
                if not entered:  # Only now: content and style at this size are out of memory.
                    self._enter(level, walk)
                    entered = True
                loss, terms = self._take(walk, targets, plan)
            except tf.errors.ResourceExhaustedError as error:
                if self.config.whole or self.backbone.whole:
                    raise _too_large(level, "") from error
                walk.plans[index], targets = _smaller(level, plan, error), None
                continue
            walk.at = index, number
            yield callbacks.StepEnd(
                index,
                number,
                loss,
                terms,
                functools.partial(walk.unchanged, walk.begun, lambda: self._shown(walk)),
                functools.partial(walk.unchanged, walk.begun, walk.snapshot),
            )
            # The step itself rolls back to the last good picture, so a late check loses nothing.
            if number % _CHECK_EVERY in (0, 1) or number == level.steps:
                self._check(walk, index, number)
            number += 1

    def _take(
        self,
        walk: _RunState,
        targets: objectives.Targets | tiled_objective.TiledTargets,
        plan: tiles.TilePlan,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        walk.begun += 1
        image, state, compiled = walk.image, walk.state, walk.compiled
        if isinstance(targets, tiled_objective.TiledTargets):
            return compiled.tiled_step(compiled.in_tiles(plan), image, state, targets)
        return compiled.step(image, state, targets)

    def _check(self, walk: _RunState, index: int, number: int) -> None:
        """Warns of rollbacks.

        Raises:
            DivergenceError: the level has no good step, or too many bad ones in a row.
        """
        run, state = walk.run, walk.state
        rollbacks, failures = int(state["rollbacks"]), int(state["failures"])
        place = f"level {index + 1}, by step {number}"
        if rollbacks > run.rollbacks and not self._optimizer.has_line_search:
            logger.warning(
                "The loss became NaN or grew a hundredfold (%s). The run went back to the last "
                "good picture, with half the learning rate (%d times so far).",
                place,
                rollbacks,
            )
        run.rollbacks = rollbacks
        if state["first_loss"] >= optimizers.UNKNOWN or failures >= _MOST_FAILURES:
            raise errors.DivergenceError(
                f"the loss is no longer a finite number, or explodes again and again ({place}). "
                "Lower learning_rate, or the largest of content_weight, style_weight and "
                "tv_weight.",
                self._shown(walk),
            )
        self._check_moves(walk, index, number)

    def _check_moves(self, walk: _RunState, index: int, number: int) -> None:
        """Warns of a level that ends at a higher loss than it began with.

        Raises:
            DivergenceError: no step of the level has moved the picture, and its loss is not 0.
        """
        seen = [entry for entry in walk.history.entries if entry["level"] == index]
        first, last = seen[0]["loss"], seen[-1]["loss"]
        if first > 0 and len(seen) > 1 and all(each["terms"] == seen[0]["terms"] for each in seen):
            raise errors.DivergenceError(
                f"no step moved the picture (level {index + 1}, by step {number}): the loss stays "
                f"at {first:.3g}. learning_rate is too low, adam_epsilon or pixel_range too high, "
                "or the weights are beyond what 32-bit numbers can square: bring the largest near "
                "to 1.",
                self._shown(walk),
            )
        ended = number == walk.run.levels[index].steps
        if ended and last > first > 0 and not self._optimizer.has_line_search:
            logger.warning(
                "Level %d ends at a loss of %.3g, and began with %.3g. Lower learning_rate.",
                index + 1,
                last,
                first,
            )

    def _provenance(self, pictures: Mapping[str, images.Picture]) -> dict[str, Any]:
        """Returns the provenance of the picture, for comparison with that of a snapshot."""
        network = environment.network(self.backbone)
        return {
            **recipe.provenance(self.config, pictures),
            **self._own_objective(),
            "backbone": {"network": network["name"], "its weights": network["sha256"]},
            **environment.surroundings(self._device),
        }

    def _own_objective(self) -> dict[str, dict[str, str]]:
        """Returns the recipe's entry for an objective from a program, or nothing without one."""
        if self._objective is None:
            return {}
        return {"objective": {term.name: term.described for term in self._objective.terms}}

    def _check_start(
        self,
        start: snapshots.Snapshot,
        provenance: dict[str, Any],
        levels: Sequence[pyramid.Level],
        objective: objectives.Objective,
    ) -> dict[str, tf.Tensor]:
        """Returns the tensors of a snapshot. Warns of other software and another machine.

        Raises:
            ConfigError: the snapshot belongs to a run that differs from this one.
            CheckpointError: the snapshot can no longer be read.
        """
        recipe.require_same(start.provenance, provenance)
        if (
            0 <= start.level < len(levels)
            and 0 < start.step <= levels[start.level].steps
            and len(start.plans) == len(levels)
            and all(self._is_possible(plan) for plan in start.plans)
        ):
            tensors = {name: start.tensors[name] for name in start.tensors}
            if not np.isfinite(tensors["image"]).all():
                raise errors.ConfigError(
                    "the picture of the snapshot holds values that are not finite numbers. Go on "
                    "from another one, or start from the beginning."
                )
            if _kinds(tensors) == self._kept_kinds(levels[start.level], objective):
                return tensors
        raise errors.ConfigError(
            "the snapshot does not fit the levels and the optimiser of this version of nst_tf. "
            "Go on with the version that began, or start from the beginning."
        )

    def _style_strides(self) -> dict[str, int]:
        """Returns the pixels between two positions of each style layer, by its name."""
        names = [
            vgg_layers.canonical(name, self.backbone.name)
            for name in self.config.style_layers
            if self.config.with_strength.style_weight
        ]
        return {
            name: self.backbone.cells(name)[0] for name in names if name in self.backbone.output
        }

    def _is_possible(self, plan: tiles.TilePlan) -> bool:
        """Returns whether the network can be cut as in a plan."""
        names = [cost.name for cost in self.backbone.costs() if cost.walked]
        places = [names.index(cut) if cut in names else -1 for cut in plan.cuts]
        return -1 not in places and places == sorted(set(places))

    def _kept_kinds(
        self, level: pyramid.Level, objective: objectives.Objective
    ) -> dict[str, _Kind]:
        """Returns shape and dtype of every tensor in a snapshot of a level, by its name."""
        with tf.Graph().as_default():  # Tensors of a graph have shapes, but take no memory.
            image = tf.zeros((1, level.height, level.width, 3))
            state = self._optimizer.init(image, level.steps)
            begun_with = {_BEGUN_WITH: image} if losses.START in objective.references else {}
            kept = {_STATE + name: state[name] for name in state}
            return _kinds({"image": image, **begun_with, **kept})

    def _initial_image(
        self, shown: inputs.Inputs, given: images.Picture | None, level: pyramid.Level
    ) -> tf.Tensor:
        """Returns the initial picture of the coarsest level, `(1, height, width, 3)`."""
        init, shape = self.config.init, (level.height, level.width, 3)
        if init == "noise":
            return _tensor(self._noise(shape))
        if init == "outlines":
            colour = shown.styles[0].resized(level.height, level.width).mean((0, 1))
            start = colour + _finest_band(shown.content, level)[0].numpy()
        elif init in ("gray", "grey", "mean"):
            colour = _mean_colour(self.backbone) if init == "mean" else 0.5
            start = np.full(shape, colour, np.float32)
        else:
            if given:
                _warn_of_shape(init, given.size, shown.content.size)
            picture = given or (shown.content if init == "content" else shown.styles[0])
            start = picture.resized(level.height, level.width)
        share = np.float32(0 if self.config.goes_on else self.config.with_strength.init_noise)
        return _tensor((1 - share) * start + share * self._noise(shape))

    def _noise(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.random.default_rng(self.config.seed).random(shape, np.float32)

    def _level_targets(
        self, walk: _RunState, at: int, plan: tiles.TilePlan
    ) -> objectives.Targets | tiled_objective.TiledTargets:
        """Returns the targets of a level, in tiles if the plan has them."""
        level = walk.run.levels[at]
        found = {
            name: walk.compiled.measured(*self._reference(walk, name, at), name, plan)
            for name in dict.fromkeys([losses.CONTENT, *walk.objective.single_references])
            if name != losses.STYLE
        }
        blends = walk.shown.matched.blends
        styles = [
            self._style_target(walk, index, level, plan) for index in range(len(walk.shown.styles))
        ]
        shared = walk.objective.blend(styles, blends)
        targets = functools.reduce(_merged, found.values())
        if walk.objective.joint:
            views = self._views(walk, at)
            joined = walk.compiled.joined(walk.objective, views, blends, targets, plan)
            targets = _merged(targets, joined)
        return _merged_shared(targets, objectives.merged(shared, self._weights(walk, at)))

    def _weights(self, walk: _RunState, at: int) -> objectives.Targets:
        """Returns the weights of the terms at a level, as `Objective.weights` does."""
        if self._objective is not None or self.config.content_decay == 1:
            return walk.objective.weights()
        config = self.config.final if self._is_final(walk, at) else self.config
        config = config.at_level(walk.run.levels[at].long_side)
        shares = walk.shown.matched.shares
        return objectives.Objective.from_config(config, self.backbone, shares).weights()

    def _views(self, walk: _RunState, at: int) -> dict[str, list[objectives.View]]:
        """Returns the references at the size of a level, for losses that have several."""
        level = walk.run.levels[at]
        unknown = {losses.START} if at == 0 and not self.config.goes_on else set()
        views = {
            name: [objectives.View(*self._reference(walk, name, at), float(name not in unknown))]
            for name in walk.objective.references
            if name != losses.STYLE
        }
        views[losses.STYLE] = [
            objectives.View(style.resized(*size), walk.shown.style_weights(index, *size))
            for index, style in enumerate(walk.shown.styles)
            for size in [pyramid.style_size(self.config, style.size, level, self.least_side)]
        ]
        return views

    def _reference(self, walk: _RunState, name: str, at: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns a reference at the size of a level, and the weights of its pixels."""
        level = walk.run.levels[at]
        size = level.height, level.width
        weights = walk.shown.content_weights(*size)
        if name == losses.CONTENT:
            return walk.shown.content.resized(*size), weights
        if name == losses.START:
            return self._begun_with(walk, at), weights
        picture, reliability = walk.references[name]
        if reliability is not None:
            weights = weights * reliability.resized(*size)[np.newaxis, :, :, :1]
        return picture.resized(*size), weights

    def _begun_with(self, walk: _RunState, at: int) -> np.ndarray:
        """Returns the picture at the beginning of a level, `(height, width, 3)`."""
        if walk.begun_with is None or walk.begun_with[0] != at:
            picture = self._start_of(walk.run.levels[at], walk)
            walk.begun_with = at, picture[0].numpy()
        return walk.begun_with[1]

    def _style_target(
        self, walk: _RunState, index: int, level: pyramid.Level, plan: tiles.TilePlan
    ) -> objectives.Targets:
        """Returns the targets of a style picture, computed at the first use at each size."""
        style, cache = walk.shown.styles[index], walk.compiled.style_targets
        size = pyramid.style_size(self.config, style.size, level, self.least_side)
        key = (*walk.shown.style_key(index), *size, plan.of_styles)  # Other tiles, other rounding.
        kept = cache.get(key)
        if kept is None:
            weights = walk.shown.style_weights(index, *size)
            pixels = style.resized(*size)
            found = walk.compiled.measured(pixels, weights, losses.STYLE, plan.of_styles)
            kept = _shared(found)
            cache.put(key, kept)
        return kept

    def _enter(self, level: pyramid.Level, walk: _RunState) -> None:
        """Brings picture and optimiser state from the level below to this level."""
        walk.begun += 1
        start = self._start_of(level, walk)
        if walk.state:
            values = {name: tf.identity(variable) for name, variable in walk.state.items()}
            begun = self._optimizer.carried_state(values, start, level.steps)
        else:
            begun = self._optimizer.init(start, level.steps)
        if _is_finest(level, walk) and "backoff" in begun:
            begun = {**begun, "backoff": self.config.finest_rate * begun["backoff"]}
        walk.image = _variable(start)
        walk.state = {name: _variable(value) for name, value in begun.items()}

    def _start_of(self, level: pyramid.Level, walk: _RunState) -> tf.Tensor:
        """Returns the picture at the beginning of a level, `(1, height, width, 3)`."""
        start = _resized(self._result(walk), level.height, level.width)
        between = level is not walk.run.levels[0] and not _is_finest(level, walk)
        if self.config.init == "outlines" and between:
            start += _finest_band(walk.shown.content, level)
        return start

    def _result(self, walk: _RunState) -> tf.Tensor:
        """Returns the picture after the last step, `(1, height, width, 3)`."""
        return bands.result(self._optimizer, walk.image, walk.state)

    def _shown(self, walk: _RunState, height: int = 0, width: int = 0) -> tf.Tensor:
        """Returns the picture to show, `(height, width, 3)`; without a size, as large as the level.

        That includes the content's colours and what is kept outside its regions.
        """
        picture = self._result(walk)
        if height:
            picture = _resized(picture, height, width)
        if walk.shown.changes_results:
            return tf.constant(walk.shown.finished(picture[0].numpy()))
        return picture[0]


class _CompiledCache:
    """Compiled functions of the most recently used objectives and optimisers."""

    def __init__(self) -> None:
        self._kept: collections.OrderedDict[tuple[Any, ...], _Compiled] = collections.OrderedDict()
        self._lock = threading.Lock()

    def of(
        self,
        objective: objectives.Objective,
        style_backbone: backbones.Backbone,
        optimizer: optimizers.Optimizer,
        config: configs.StyleTransferConfig,
    ) -> _Compiled:
        """Returns the functions that a run of the same structure has compiled, or new ones."""
        options = {"run_eagerly": config.run_eagerly, "jit_compile": config.jit_compile}
        key = objective.structure, objects.identity(optimizer), *options.values()
        with self._lock:
            found = self._kept.pop(key, None)
            if found is None:
                found = _Compiled(objective, style_backbone, optimizer, **options)
            self._kept[key] = found
            if len(self._kept) > _MOST_COMPILED:
                self._kept.popitem(last=False)
        return found


class _Compiled:
    """Compiled functions of an objective. They serve any weights of its terms.

    Args:
        objective: the objective, with terms for each region.
        style_backbone: the network for the style pictures.
        optimizer: the optimiser.
        run_eagerly: run without graphs.
        jit_compile: compile the step of a whole picture with XLA.

    Attributes:
        step: the step of a whole picture.
        tiled_step: the step of a picture in tiles.
        style_targets: cache of the targets of style pictures.
    """

    def __init__(
        self,
        objective: objectives.Objective,
        style_backbone: backbones.Backbone,
        optimizer: optimizers.Optimizer,
        *,
        run_eagerly: bool,
        jit_compile: bool,
    ) -> None:
        self._objective, self._run_eagerly = objective, run_eagerly
        self.step = steps.compile_step(
            objective, optimizer, run_eagerly=run_eagerly, jit_compile=jit_compile
        )
        self.tiled_step = bands.compile_tiled_step(optimizer, run_eagerly=run_eagerly)
        self.style_targets = _Cache()
        self._through = through = {losses.STYLE: style_backbone}
        self._wraps = style_backbone is not objective.backbone
        self._looks: dict[tuple[tuple[str, ...], bool], losses.Activations] = {}
        self._targets = {
            name: steps.compile_targets(
                objectives.Objective(through.get(name, objective.backbone), objective.terms),
                name,
                run_eagerly=run_eagerly,
            )
            for name in dict.fromkeys([losses.CONTENT, losses.STYLE, *objective.references])
        }
        self._tiled: dict[tuple[tuple[str, ...], bool], tiled_objective.TiledObjective] = {}

    def in_tiles(self, plan: tiles.TilePlan) -> tiled_objective.TiledObjective:
        """Returns the objective with the network cut as in a plan."""
        key = plan.cuts, plan.keeps
        if key not in self._tiled:
            self._tiled[key] = tiled_objective.TiledObjective(
                self._objective, plan.cuts, keeps=plan.keeps, run_eagerly=self._run_eagerly
            )
        return self._tiled[key]

    def measured(
        self, pixels: np.ndarray, weights: np.ndarray, reference: str, plan: tiles.TilePlan
    ) -> objectives.Targets | tiled_objective.TiledTargets:
        """Returns the targets that a reference picture supplies, in tiles if the plan has them."""
        if not plan.tiled:
            return self._targets[reference](_tensor(pixels), weights)
        in_tiles = self.in_tiles(plan)
        height, width = pixels.shape[:2]
        cut = in_tiles.cut(height, width, plan.sides)
        return in_tiles.targets(pixels[np.newaxis], tf.constant(weights), cut, reference)

    def joined(
        self,
        objective: objectives.Objective,
        views: Mapping[str, Sequence[objectives.View]],
        shares: Sequence[Sequence[float]],
        like: objectives.Targets | tiled_objective.TiledTargets,
        plan: tiles.TilePlan,
    ) -> objectives.Targets | tiled_objective.TiledTargets:
        """Returns the result of `Objective.join`, in the tiles of other targets of the picture."""
        found = objective.join(views, shares, self._look)
        if isinstance(like, tiled_objective.TiledTargets):
            return self.in_tiles(plan).cut_targets(found, like.tiles)
        return found

    def _look(self, layers: tuple[str, ...], reference: str) -> losses.Activations:
        """Returns the network for losses of several references."""
        key = layers, reference == losses.STYLE
        if key not in self._looks:
            through = self._through.get(reference, self._objective.backbone)
            wraps = through is self._objective.backbone and self._wraps
            self._looks[key] = activations.TiledActivations(
                typing.cast(backbones.Backbone, through),
                layers,
                in_parts=not wraps,
                run_eagerly=self._run_eagerly,
            )
        return self._looks[key]


class _Cache:
    """A cache of the most recently used targets, up to `_CACHED_BYTES`."""

    def __init__(self) -> None:
        self._kept: collections.OrderedDict[tuple[Any, ...], objectives.Targets] = (
            collections.OrderedDict()
        )
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[Any, ...]) -> objectives.Targets | None:
        """Returns the targets of a key, or None where there are none."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: tuple[Any, ...], targets: objectives.Targets) -> None:
        """Stores targets, and drops the least recently used."""
        with self._lock:
            if key not in self._kept:
                self._kept[key] = targets
                self._bytes += _bytes(targets)
            while self._bytes > _CACHED_BYTES and len(self._kept) > 1:
                self._bytes -= _bytes(self._kept.popitem(last=False)[1])


def _bytes(targets: objectives.Targets) -> int:
    return sum(each.dtype.size * each.shape.num_elements() for each in tf.nest.flatten(targets))


def _shared(
    targets: objectives.Targets | tiled_objective.TiledTargets,
) -> objectives.Targets:
    """Returns the entries that hold for the whole picture, or all of targets without tiles."""
    return targets.shared if isinstance(targets, tiled_objective.TiledTargets) else targets


def _merged(one: Any, other: Any) -> Any:
    """Returns targets with the entries of two, both in the same tiles or both in none."""
    if isinstance(one, tiled_objective.TiledTargets):
        return one.merged(other)
    return objectives.merged(one, other)


def _merged_shared(
    targets: objectives.Targets | tiled_objective.TiledTargets, shared: objectives.Targets
) -> objectives.Targets | tiled_objective.TiledTargets:
    """Returns targets with further entries that hold for the whole picture."""
    if isinstance(targets, tiled_objective.TiledTargets):
        return dataclasses.replace(targets, shared=objectives.merged(targets.shared, shared))
    return objectives.merged(targets, shared)


@dataclasses.dataclass
class _RunState:
    """The state of a run.

    Attributes:
        run: the run as callbacks see it.
        objective: the objective.
        shown: content and style as the network sees them.
        references: further reference pictures and their weights, or None, by name.
        compiled: the compiled functions.
        image: the iterate.
        state: state of the optimiser, empty before the first level.
        plans: tile plan of each level, changed where memory runs out.
        provenance: returns the provenance of the picture.
        at: index of the level and number of the last step taken.
        begun: number of steps and levels begun.
        history: history of the steps.
        begun_with: index of a level and the picture at its beginning, if a loss needs it.
    """

    run: callbacks.Run
    objective: objectives.Objective
    shown: inputs.Inputs
    references: Mapping[str, sources.Weighed]
    compiled: _Compiled
    image: tf.Variable
    state: dict[str, tf.Variable]
    plans: list[tiles.TilePlan]
    provenance: Callable[[], dict[str, Any]]
    at: tuple[int, int]
    begun: int = 0
    history: callbacks.History = dataclasses.field(default_factory=callbacks.History)
    begun_with: tuple[int, np.ndarray] | None = None

    def unchanged(self, begun: int, function: Callable[[], Any]) -> Any:
        """Returns the result of a function of the picture, if no step has begun since.

        Raises:
            StyleTransferError: a step has begun since.
        """
        if self.begun != begun:
            raise errors.StyleTransferError(
                "the picture after that step is no more; call picture() and snapshot() of a step "
                "before the next one."
            )
        return function()

    def snapshot(self) -> snapshots.Snapshot:
        """Returns a snapshot of the run, after a step."""
        tensors = {"image": tf.identity(self.image)}
        tensors |= {f"{_STATE}{name}": tf.identity(self.state[name]) for name in self.state}
        if self.begun_with is not None:
            tensors[_BEGUN_WITH] = _tensor(self.begun_with[1])
        entries, provenance = self.history.entries, self.provenance()
        return snapshots.Snapshot(*self.at, tensors, list(self.plans), entries, provenance)


def settled(
    config: configs.StyleTransferConfig, backbone: backbones.Backbone
) -> configs.StyleTransferConfig:
    """Returns settings with a precision of `auto` replaced by that of the network."""
    known = config.precision == "auto" and backbone.precision
    return config.replace(precision=backbone.precision) if known else config


def _check_network(config: configs.StyleTransferConfig, backbone: backbones.Backbone) -> None:
    """Raises ConfigError where the settings do not fit the network."""
    for name in objectives.used_layers(config):
        errors.known(
            f"layer that the backbone {backbone.name} exposes",
            vgg_layers.canonical(name, backbone.name),
            backbone.output,
        )
    if backbone.whole and config.tile_size not in ("auto", "0"):
        raise errors.ConfigError(
            f"tile_size={config.tile_size} cuts pictures into tiles, and {backbone.name} takes "
            f"none: {backbone.whole}. Set tile_size to 0, or choose layers below that one."
        )


def _mean_colour(backbone: backbones.Backbone) -> Sequence[float]:
    if backbone.mean_colour is None:
        raise errors.ConfigError(
            f"init=mean begins with the mean colour of what the network was trained on, which "
            f"{backbone.name} does not tell; give mean_colour to Backbone.from_keras."
        )
    return backbone.mean_colour


def planned(
    config: configs.StyleTransferConfig,
    backbone: backbones.Backbone,
    levels: Sequence[pyramid.Level],
    given: sources.Pictures,
) -> list[tiles.TilePlan]:
    """Returns the tile plan of each level of a run, by the memory that is free now.

    Args:
        config: the settings.
        backbone: the network.
        levels: levels of the pyramid.
        given: the pictures of the run.

    Raises:
        ConfigError: this machine does not have the config's device, or no tile is small enough.
    """
    device = find_device(config.device)
    on_gpu = "GPU" in device if device else bool(tf.config.list_logical_devices("GPU"))
    return memory.plans(config, backbone.costs(), levels, on_gpu, memory.Given.of(given))


def find_device(name: str) -> str | None:
    """Returns the TensorFlow name of a device, or None to leave the choice to TensorFlow.

    Raises:
        ConfigError: this machine has no such device.
    """
    if name == "auto":
        return None
    wanted = name.upper().removeprefix("/DEVICE:").removeprefix("/")
    wanted = wanted if ":" in wanted else f"{wanted}:0"
    known = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices()]
    if wanted not in known:
        raise errors.unknown_name("device", name, ["auto", *known])
    return f"/device:{wanted}"


def _smaller(level: pyramid.Level, plan: tiles.TilePlan, error: Exception) -> tiles.TilePlan:
    """Returns a plan with tiles of half the side, for a level whose memory has run out.

    Raises:
        StyleTransferError: the tiles cannot be smaller.
    """
    smaller = max(side or level.long_side for side in plan.sides) // 2
    if smaller < _LEAST_SIDE:
        raise _too_large(level, ", even in small tiles") from error
    logger.info("Memory has run out; going on in tiles of %d pixels.", smaller)
    return tiles.TilePlan(sides=(smaller,), keeps=plan.keeps, style_side=smaller)


def _too_large(level: pyramid.Level, how: str) -> errors.StyleTransferError:
    return errors.StyleTransferError(
        f"the memory of the device is too little for {level.width}x{level.height} pixels{how}. "
        "Lower image_size, or take an optimiser that keeps less, such as adam."
    )


def _named(references: Any) -> Mapping[str, Any]:
    if references is None or isinstance(references, Mapping):
        return references or {}
    raise errors.ConfigError(
        f"references is an object of type {type(references).__name__}; expected a mapping from "
        "names to pictures."
    )


def _weighed(source: Any, load: Callable[[Any], images.Picture]) -> sources.Weighed:
    """Returns a reference picture, and its weights or None."""
    if not isinstance(source, tuple):
        return load(source), None
    if len(source) != 2:
        raise errors.ConfigError(
            f"a reference has {len(source)} parts; expected a picture, or a pair of a picture and "
            "its weights."
        )
    picture, weights = source
    return load(picture), None if weights is None else load(weights)


def _require_references(objective: objectives.Objective, given: Collection[str]) -> None:
    """Raises ConfigError where the given references are not those that the losses need."""
    known = (losses.CONTENT, losses.STYLE, losses.START)
    needed = [name for name in objective.references if name not in known]
    if set(needed) != set(given):
        raise errors.ConfigError(
            f"the losses need the references {_quoted(needed)} beside content and style, and "
            f"{_quoted(given)} were given; expected exactly these."
        )


def _quoted(names: Collection[str]) -> str:
    return ", ".join(map(repr, sorted(names))) or "(none)"


def _listed(source: Any) -> Sequence[Any]:
    """Returns a list of pictures, given one or several."""
    return source if isinstance(source, (list, tuple)) else [source]


def _kinds(tensors: Mapping[str, tf.Tensor]) -> dict[str, _Kind]:
    """Returns shape and dtype of tensors, by name."""
    return {name: (tuple(value.shape), value.dtype) for name, value in tensors.items()}


def _warn_of_shape(init: str, size: Sequence[int], content: Sequence[int]) -> None:
    """Warns of an initial picture that has to be stretched to the shape of the content."""
    (height, width), (rows, columns) = size, content
    if abs(np.log(width * rows / (height * columns))) > _SAME_SHAPE:
        logger.warning(
            "%s: the initial picture is %dx%d and the photo %dx%d; it is stretched to that shape.",
            init, width, height, columns, rows,
        )  # fmt: skip


def _variable(value: tf.Tensor) -> tf.Variable:
    return tf.Variable(value, trainable=False)  # A tape of the host program would watch others.


def _tensor(array: np.ndarray) -> tf.Tensor:
    return tf.constant(array[np.newaxis])


def _finest_band(picture: images.Picture, level: pyramid.Level) -> tf.Tensor:
    """Returns a picture less what remains of it at half the size, `(1, height, width, 3)`."""
    return laplacian.finest_band(_tensor(picture.resized(level.height, level.width)))


def _is_finest(level: pyramid.Level, walk: _RunState) -> bool:
    finest = walk.run.levels[-1]
    return (level.height, level.width) == (finest.height, finest.width)


def _resized(image: tf.Tensor, height: int, width: int) -> tf.Tensor:
    if image.shape[1:3] == (height, width):
        return image
    return tf.clip_by_value(tf.image.resize(image, (height, width), method="bicubic"), 0.0, 1.0)
