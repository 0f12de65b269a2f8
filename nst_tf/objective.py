"""The objective of a stylisation: a weighted sum of losses at the layers of a backbone."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf import backbones, errors, losses
from nst_tf import config as configs
from nst_tf.config import choices, objects, vgg_layers
from nst_tf.kernels import autodiff, convolution
from nst_tf.losses import hypercolumns

Targets = dict[str, losses.Statistics]
"""The target of each term, by the term's name.

Besides the entries of the loss, a target may have `weights`, the weights of the positions of the
term's layer, and `term_weight`, a tensor that replaces the weight of the term.
"""

_RUN_REFERENCES = (losses.CONTENT, losses.STYLE, losses.START)


class View(NamedTuple):
    """A reference picture at the size of a level, for `Objective.join`.

    Attributes:
        picture: the picture, `(height, width, 3)`, float32, sRGB in [0, 1].
        weights: weights of its pixels, `(1, height, width, 1 + regions)`, the whole picture in
            the first channel; or `(1, 1, 1, 1)` for equal weights.
        known: 0 for the start before the first step of a run, otherwise 1.
    """

    picture: np.ndarray
    weights: np.ndarray
    known: float = 1.0

    def reference(
        self, region: int, share: float, activations: losses.Activations
    ) -> losses.Reference:
        """Returns the picture with the weights of a region, as a loss gets it."""
        weights = np.broadcast_to(self.weights[0, :, :, region], self.picture.shape[:2])
        return losses.Reference(self.picture, weights, activations, share * self.known)


@dataclasses.dataclass(frozen=True)
class Term:
    """One summand of the objective.

    Attributes:
        name: name of the term, unique in its objective, such as `style/block1_conv1`.
        layer: a Keras layer name, `image` for the picture itself, or several names joined by `+`
            for a loss of hypercolumns.
        loss: the function of the activations at that layer.
        weight: factor of the loss.
        region: number of the region that the term is restricted to; 0 is the whole picture.
    """

    name: str
    layer: str
    loss: losses.Loss
    weight: float
    region: int = 0

    @property
    def layers(self) -> list[str]:
        """The names of the layers in `layer`."""
        return self.layer.split(hypercolumns.JOIN)

    @property
    def positional(self) -> tuple[str, ...]:
        """The names of the target's entries that have a value at every position of the layer."""
        return (*self.loss.positional, "weights")

    @property
    def described(self) -> str:
        """The loss, its layer and its weight, as a recipe spells them."""
        return f"{choices.described(self.loss)} at {self.layer}, weight {self.weight:g}"

    @property
    def weighed_by(self) -> str:
        """The reference that supplies the target's `weights`, or an empty text.

        A reference beyond content, style and start has weights of its own, already restricted to
        the region. Otherwise it is the content if the term has a region.
        """
        if not self.loss.joint:
            for name in self.loss.references:
                if name not in _RUN_REFERENCES:
                    return name
        if self.loss.joint and self.loss.stacked:
            return ""  # The weights are in the target.
        return losses.CONTENT if self.region else ""


class Objective:
    """A backbone and the terms that are evaluated on its activations.

    Args:
        backbone: the network or a segment of it, exposing at least the layers of the terms.
        terms: the summands.
    """

    def __init__(
        self, backbone: backbones.Backbone | backbones.Segment, terms: Iterable[Term]
    ) -> None:
        self.backbone = backbone
        self.terms = tuple(terms)
        names = [term.name for term in self.terms]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise errors.ConfigError(
                f"the objective has several terms named {', '.join(twice)}; name each once."
            )

    @classmethod
    def from_config(
        cls,
        config: configs.StyleTransferConfig,
        backbone: backbones.Backbone,
        shares: Sequence[float] = (),
    ) -> Objective:
        """Returns the objective of a config.

        Args:
            config: the settings.
            backbone: the network, exposing at least `used_layers`.
            shares: share of the content that each of its regions covers; empty without regions.
        """
        return cls(backbone, terms(config, backbone.name, shares))

    @property
    def structure(self) -> tuple[Any, ...]:
        """The part of the objective that a graph depends on.

        These are the terms without their weights, and their losses without what only targets
        depend on.
        """
        return tuple(
            (term.name, term.layer, _structure(term.loss), term.region) for term in self.terms
        )

    @property
    def references(self) -> tuple[str, ...]:
        """The names of the references that the losses need, each once."""
        names = [name for term in self.terms for name in term.loss.references]
        return tuple(dict.fromkeys(names))

    @property
    def single_references(self) -> tuple[str, ...]:
        """The names of the references of losses that have one, and of those that weigh terms."""
        names = [
            name
            for term in self.terms
            for name in (*(() if term.loss.joint else term.loss.references), term.weighed_by)
        ]
        return tuple(dict.fromkeys(name for name in names if name))

    @property
    def joint(self) -> bool:
        """Whether a loss takes its target from several references together."""
        return any(term.loss.joint for term in self.terms)

    def weights(self) -> Targets:
        """Returns the weights of the terms as tensors, to be merged into their targets.

        With these a compiled step serves every weight.
        """
        weights = {term.name: tf.constant(term.weight, tf.float64) for term in self.terms}
        # A weight beyond float32 becomes infinite and the loss NaN, which the run reports.
        return {name: {"term_weight": tf.cast(each, tf.float32)} for name, each in weights.items()}

    def segments(self, cuts: Sequence[str]) -> list[Objective]:
        """Returns the objectives of the segments of the network, the lowest first.

        Args:
            cuts: names of layers, the lowest first. Each ends a segment; its activations are the
                input of the next segment.
        """
        return [
            Objective(segment, [term for term in self.terms if term.layer in segment.output])
            for segment in backbones.split(self.backbone, cuts)
        ]

    def at(self, layer: str) -> Objective:
        """Returns the objective of the terms at one layer."""
        return Objective(self.backbone, [term for term in self.terms if term.layer == layer])

    def targets(self, image: tf.Tensor, weights: tf.Tensor, reference: str) -> Targets:
        """Returns the targets that one reference picture supplies.

        Args:
            image: the reference picture, float32 of shape `(1, height, width, 3)`, sRGB in [0, 1].
            weights: weights of its pixels, `(1, height, width, 1 + regions)`, the whole picture
                in the first channel; or `(1, 1, 1, 1)` for equal weights.
            reference: name of the reference, such as `content` or `style`.

        Returns:
            The targets of the terms whose loss has only this reference; and the `weights` of the
            terms that are `weighed_by` it.
        """
        features, found = self.backbone(image), {}
        for term in self._supplied_by(reference):
            at, entries = self._weights_at(term, image, weights, features), {}
            if term.loss.references == (reference,):
                seen = _stacked(term, [features[layer] for layer in term.layers], image)
                entries = term.loss.target(seen, at)
            if reference == term.weighed_by:
                entries = {**entries, "weights": at}
            found[term.name] = entries
        return found

    def _supplied_by(self, reference: str) -> list[Term]:
        """Returns the terms whose target, or its weights, come from one reference alone."""
        return [
            term
            for term in self.terms
            if term.loss.references == (reference,) or term.weighed_by == reference
        ]

    def join(
        self,
        views: Mapping[str, Sequence[View]],
        shares: Sequence[Sequence[float]],
        look: Callable[[tuple[str, ...], str], losses.Activations],
    ) -> Targets:
        """Returns the targets of the terms whose loss has several references.

        Args:
            views: pictures of each reference, by its name: one per style picture for `style`,
                else one.
            shares: shares of the style pictures, as for `blend`.
            look: returns the network for the layers of a loss and the name of a reference.
        """
        groups: dict[tuple[int, int], list[Term]] = {}
        for term in self.terms:
            if term.loss.joint:
                groups.setdefault((id(term.loss), term.region), []).append(term)
        found: Targets = {}
        for terms_ in groups.values():
            loss, region = terms_[0].loss, terms_[0].region
            layers = tuple(layer for term in terms_ for layer in term.layers)
            references = {
                name: [
                    view.reference(region, share, look(layers, name))
                    for view, share in zip(
                        views[name], _parts(name, shares[max(region - 1, 0)]), strict=True
                    )
                    if share
                ]
                for name in loss.references
            }
            targets = _checked(loss, [term.layer for term in terms_], references)
            found |= {term.name: dict(targets[term.layer]) for term in terms_}
        return found

    def blend(self, targets: Sequence[Targets], shares: Sequence[Sequence[float]]) -> Targets:
        """Returns the weighted mean of the targets of several style pictures.

        Args:
            targets: targets of each style picture.
            shares: for each region, or for the whole picture, the weight of each style picture,
                on any scale.
        """
        return {
            term.name: _blend(
                term.loss,
                [each[term.name] for each in targets],
                shares[max(term.region - 1, 0)],
            )
            for term in self.terms
            if term.loss.references == (losses.STYLE,)
        }

    def measure(
        self, image: tf.Tensor, weights: tf.Tensor, owned: tf.Tensor, reference: str
    ) -> tuple[Targets, Targets, Sequence[tf.Tensor]]:
        """Returns the contribution of one tile of a reference to the targets.

        Args:
            image: the tile with its halo, cut from the picture or from the segment's input.
            weights: weights of its pixels, as for `targets`.
            owned: int32, top, bottom, left and right of the owned part of the tile.
            reference: name of the reference.

        Returns:
            The sums of every term, which add up over the tiles; the entries of the targets that
            have a value at every position; and the input of the next segment, if there is one.
            The last two cover the owned part.
        """
        features, sums, maps = self.backbone(image), {}, {}
        for term in self._supplied_by(reference):
            positions = self._positions(term, features[term.layer], owned)
            at, entries = self._weights_at(term, image, weights, features), {}
            if term.loss.references == (reference,):
                found = features[term.layer]
                sums[term.name] = term.loss.measure(found, _ownership(found, positions) * at)
                if "features" in term.loss.positional:
                    entries = {"features": term.loss.response(found)}
            if reference == term.weighed_by:
                entries["weights"] = at
            if entries:
                maps[term.name] = {name: part(each, positions) for name, each in entries.items()}
        handed = []
        if backbones.LINK in features:
            stride, _ = self.backbone.reach(backbones.LINK)
            handed = [part(features[backbones.LINK], owned // stride)]
        return sums, maps, handed

    def summary(self, sums: Targets) -> Targets:
        """Returns the targets, given the sums of `measure`, added up over all tiles."""
        losses_ = {term.name: term.loss for term in self.terms}
        return {name: losses_[name].summary(each) for name, each in sums.items()}

    def statistics(self, image: tf.Tensor, targets: Targets) -> Targets:
        """Returns the statistics of every term for a picture, by the term's name.

        Args:
            image: the picture.
            targets: targets of all terms.
        """
        return self.statistics_of(self.backbone(image), targets)

    def statistics_of(
        self, features: Mapping[str, tf.Tensor], targets: Targets, owned: tf.Tensor | None = None
    ) -> Targets:
        """Returns the result of `statistics`, given the activations.

        Args:
            features: activations of a picture or a tile, at all layers of the terms.
            targets: targets of all terms; of a tile, their maps cover the owned part.
            owned: int32, top, bottom, left and right of the owned part of a tile, in positions of
                the segment's input; None for the whole picture.
        """
        uses = collections.Counter(layer for term in self.terms for layer in term.layers)
        copies = {
            layer: iter(autodiff.copies(features[layer], count)) for layer, count in uses.items()
        }
        found = {}
        for term in self.terms:
            seen = [next(copies[name]) for name in term.layers]
            layer = _stacked(term, seen, features.get(backbones.IMAGE))
            target = dict(targets.get(term.name, {}))
            weights: Any = 1.0
            if owned is not None:
                positions = self._positions(term, layer, owned)
                weights = _ownership(layer, positions)
                for name in sorted(target.keys() & {*term.positional}):
                    target[name] = placed(target[name], tf.shape(layer)[1:3], positions)
            if "weights" in target:
                weights *= target.pop("weights")
            found[term.name] = term.loss.statistics(layer, weights, target)
        return found

    def _weights_at(
        self,
        term: Term,
        image: tf.Tensor,
        weights: tf.Tensor,
        features: Mapping[str, tf.Tensor],
    ) -> tf.Tensor:
        """Returns the weights of pixels for a term, at the resolution of its layer."""
        shape = tf.concat([tf.shape(image)[:3], [1]], axis=0)
        own = tf.broadcast_to(weights[..., term.region : term.region + 1], shape)
        if term.loss.stacked:
            return _stacked(term, [own], image)
        if isinstance(self.backbone, backbones.Backbone) and not self.backbone.walked:
            size = tf.shape(features[term.layer])[1:3]
            return averaged(own, size, *self.backbone.cells(term.layer))
        return pooled(own, self.backbone.reach(term.layer)[0])

    def _positions(self, term: Term, features: tf.Tensor, owned: tf.Tensor) -> tf.Tensor:
        """Returns the part of a layer that a tile owns: the positions that begin in its pixels.

        Args:
            term: a term at the layer.
            features: activations of the tile, halo included.
            owned: int32, top, bottom, left and right of the owned part, in pixels.
        """
        stride, _ = self.backbone.reach(term.layer)
        rows, columns = tf.unstack(tf.shape(features)[1:3])
        return tf.minimum(-(-owned // stride), tf.stack([rows, rows, columns, columns]))

    def halo(self, term: Term) -> int:
        """Returns the pixels around a position that a term depends on; see `Backbone.reach`."""
        stride, halo = self.backbone.reach(term.layer)
        return halo + stride * term.loss.neighbourhood

    def value(
        self, statistics: Targets, targets: Targets, pixels: int | tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns the loss and its weighted terms, which add up to it, by their names.

        Args:
            statistics: statistics of all terms, added up over the picture.
            targets: targets of all terms.
            pixels: number of pixels of the picture.
        """
        size = {"pixels": tf.cast(pixels, tf.float32)}
        values = {}
        for term in self.terms:
            target = targets.get(term.name, {})
            weight = target.get("term_weight", term.weight)
            values[term.name] = weight * term.loss.value({**statistics[term.name], **size}, target)
        return tf.reduce_sum(tf.stack(list(values.values()))), values


def _checked(
    loss: losses.Loss,
    layers: Sequence[str],
    references: Mapping[str, Sequence[losses.Reference]],
) -> dict[str, losses.Statistics]:
    """Returns the joint target of a loss, in float32.

    Raises:
        ConfigError: it is not what `Loss.joint_target` promises.
    """
    found = loss.joint_target(references)
    (at_level,) = next(each for name, each in references.items() if name != losses.STYLE)
    sizes = at_level.activations.sizes(*at_level.picture.shape[:2])
    checked = {}
    for layer in layers:
        target = found.get(layer) if isinstance(found, Mapping) else None
        if not isinstance(target, Mapping):
            raise _misfit(
                loss, f"has no entries for the layer {layer}", "a mapping from each layer"
            )
        missing = {*loss.positional} - target.keys()
        if missing:
            raise _misfit(loss, f"lacks {', '.join(sorted(missing))} at {layer}", "all positional")
        checked[layer] = {name: _in_float32(loss, name, each) for name, each in target.items()}
        for name in loss.positional:
            size = (1, *sizes[layer])
            shape = tuple(np.shape(checked[layer][name]))
            if len(shape) != 4 or shape[:3] != size:
                wanted = f"{size} and channels"
                raise _misfit(loss, f"has the shape {shape} for {name} at {layer}", wanted)
    return checked


def _in_float32(loss: losses.Loss, name: str, value: Any) -> Any:
    try:
        if isinstance(value, np.ndarray) and value.dtype == np.float32:
            found = value  # It may lie in a file.
        elif tf.is_tensor(value):
            found = tf.cast(value, tf.float32)
        else:
            found = np.asarray(value, np.float32)
        finite = bool(np.isfinite(np.sum(found)))
    except (TypeError, ValueError) as error:
        raise _misfit(loss, f"has no numbers for {name}", "an array or a tensor") from error
    if not finite:
        raise _misfit(loss, f"has values that are not finite for {name}", "finite numbers")
    return found


def _structure(loss: losses.Loss) -> Any:
    """Returns what a graph depends on of a loss."""
    if not loss.of_the_target:
        return objects.identity(loss)
    settings = loss.get_config().items()
    kept = {name: value for name, value in settings if name not in loss.of_the_target}
    return type(loss), objects.identity(kept)


def _misfit(loss: losses.Loss, what: str, expected: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"joint_target of {type(loss).__name__} {what}; expected {expected}, as "
        "nst_tf.losses.Loss.joint_target says."
    )


def _parts(reference: str, shares: Sequence[float]) -> Sequence[float]:
    """Returns the share of each picture of a reference."""
    return [each / sum(shares) for each in shares] if reference == losses.STYLE else [1.0]


def _stacked(term: Term, maps: Sequence[tf.Tensor], image: tf.Tensor | None) -> Any:
    """Returns the input of a term's loss: one layer, or several stacked."""
    if not term.loss.stacked:
        return maps[0]
    return term.loss.stack(maps, tf.shape(image)[1:3])


def _ownership(features: tf.Tensor, owned: tf.Tensor) -> tf.Tensor:
    """Returns 1 at the positions of a layer that a tile owns, and 0 around them."""
    top, bottom, left, right = tf.unstack(owned)
    rows, columns = (tf.range(size) for size in tf.unstack(tf.shape(features)[1:3]))
    inside = ((rows >= top) & (rows < bottom))[:, tf.newaxis]
    inside &= ((columns >= left) & (columns < right))[tf.newaxis]
    return tf.cast(inside, features.dtype)[tf.newaxis, :, :, tf.newaxis]


def placed(owned_part: tf.Tensor, size: tf.Tensor, owned: tf.Tensor) -> tf.Tensor:
    """Returns the owned part of a layer with zeros around it.

    Args:
        owned_part: the owned part of a layer or of a gradient.
        size: int32, height and width of the tile's layer, halo included.
        owned: int32, top, bottom, left and right of the owned part in it.
    """
    top, bottom, left, right = tf.unstack(owned)
    height, width = tf.unstack(size)
    return tf.pad(owned_part, ((0, 0), (top, height - bottom), (left, width - right), (0, 0)))


def part(features: tf.Tensor, owned: tf.Tensor) -> tf.Tensor:
    """Returns the positions of a layer that a tile owns.

    Args:
        features: activations of the tile, halo included.
        owned: int32, top, bottom, left and right of the owned part in it.
    """
    top, bottom, left, right = tf.unstack(owned)
    return features[:, top:bottom, left:right]


def pooled(weights: tf.Tensor, stride: int) -> tf.Tensor:
    """Returns a weight map at the resolution of a layer: the mean weight of a position's pixels.

    Where a side is odd, the network's poolings drop the last row or column. Its weights count
    towards the last position, so that no part of a picture goes without weight.

    Args:
        weights: the weight map, `(1, height, width, channels)`.
        stride: pixels between two positions of the layer, a power of two.
    """
    while stride > 1:
        halved = tf.nn.avg_pool2d(weights, 2, 2, "SAME")
        rows, columns = tf.unstack(tf.shape(weights)[1:3] // 2)
        weights, stride = _folded(_folded(halved, 1, rows), 2, columns), stride // 2
    return weights


def averaged(weights: tf.Tensor, size: tf.Tensor, stride: int, shift: int) -> tf.Tensor:
    """Returns a weight map at the resolution of a layer: the mean weight of a position's pixels.

    Every pixel counts towards one position. Pixels before the first or after the last position
    count towards that position.

    Args:
        weights: the weight map, `(1, height, width, channels)`.
        size: int32, height and width of the layer.
        stride: pixels between two positions; 0 divides the pixels evenly among the positions.
        shift: the first pixel of the first position.
    """
    for axis, count in zip((1, 2), tf.unstack(tf.cast(size, tf.int64)), strict=True):
        length = tf.shape(weights, tf.int64)[axis]
        pixels = tf.range(length)
        cells = (pixels - shift) // stride if stride else pixels * count // length
        cells = tf.clip_by_value(cells, 0, count - 1)
        swap = [axis, *(0 if each == axis else each for each in range(1, 4))]
        means = tf.math.unsorted_segment_mean(tf.transpose(weights, swap), cells, count)
        weights = tf.transpose(means, swap)
    return weights


def _folded(weights: tf.Tensor, axis: int, length: int | tf.Tensor) -> tf.Tensor:
    """Returns a map cut to a length; its last value is the mean of the last and all beyond."""
    kept, last = tf.split(weights, [length - 1, -1], axis)
    return tf.concat([kept, tf.reduce_mean(last, axis, keepdims=True)], axis)


def merged(one: Targets, other: Targets) -> Targets:
    """Returns targets with the entries of both; where both have an entry, that of `other`."""
    return {name: {**one.get(name, {}), **other.get(name, {})} for name in {**one, **other}}


def _blend(
    loss: losses.Loss, targets: Sequence[losses.Statistics], shares: Sequence[float]
) -> losses.Statistics:
    """Returns the target of several style pictures, omitting those of share 0."""
    used = [(each, share) for each, share in zip(targets, shares, strict=True) if share]
    weights = np.array([share for _, share in used], np.float32)
    return loss.blend([each for each, _ in used], weights / weights.sum())


def build_backbone(
    config: configs.StyleTransferConfig, progress: Callable[[int, int], None] | None = None
) -> backbones.Backbone:
    """Returns the network that a config names, with the layers that it uses.

    Args:
        config: the settings.
        progress: called with the bytes done and the bytes in all during a download.

    Raises:
        ConfigError: there is no such network, or it has no such layer.
        WeightsError: its weights cannot be had.
    """
    settings = {**config.network, "precision": precision(config)}
    return backbones.build(config.network_name, used_layers(config), **settings, progress=progress)


def precision(config: configs.StyleTransferConfig) -> str:
    """Returns the precision of the convolutions, `auto` resolved for this machine."""
    # On CPUs, XLA does not use oneDNN, whose kernels make bfloat16 fast.
    automatic = "float32" if config.jit_compile else "auto"
    return convolution.precision(automatic if config.precision == "auto" else config.precision)


def used_layers(config: configs.StyleTransferConfig) -> tuple[str, ...]:
    """Returns the layers whose terms have a weight above 0, as the config spells them."""
    config = config.with_strength
    named: list[str] = []
    if config.content_weight:
        for loss in _chosen(config, "content").values():
            named += [] if loss.layers else config.content_layers
    style = [name for name, _ in _style_weights(config)]
    for each in (config, config.final) if style else ():
        for loss in _chosen(each, "style").values():
            named += loss.layers or style
    return tuple(name for name in dict.fromkeys(named) if name != backbones.IMAGE)


def _chosen(config: configs.StyleTransferConfig, kind: str) -> dict[Any, losses.Loss]:
    """Returns the content losses or the style losses, by the name or the object in the config."""
    normalization = getattr(config, f"{kind}_normalization")
    return {
        identifier: losses.chosen(identifier, config, normalization)
        for identifier in getattr(config, f"{kind}_losses")
    }


def _style_weights(config: configs.StyleTransferConfig) -> list[tuple[str, float]]:
    """Returns each style layer and the weight of its term, omitting those of weight 0."""
    count = len(config.style_layers)
    factors = config.style_layer_weights or (1 / max(count, 1),)
    factors = factors * count if len(factors) == 1 else factors
    return [
        (name, config.style_weight * factor)
        for name, factor in zip(config.style_layers, factors, strict=True)
        if config.style_weight * factor
    ]


def terms(
    config: configs.StyleTransferConfig, architecture: str, shares: Sequence[float] = ()
) -> list[Term]:
    """Returns the terms of a config, omitting those of weight 0.

    Args:
        config: the settings.
        architecture: name of the backbone; the layer names are those of its network.
        shares: share of the content that each of its regions covers. Each region has style terms
            of its own, weighted by its share; without regions they cover the whole picture.
    """
    config = config.with_strength
    content_layers = config.content_layers if config.content_weight else ()
    content = [
        (vgg_layers.canonical(name, architecture), config.content_weight / len(content_layers))
        for name in content_layers
    ]
    style = [
        (vgg_layers.canonical(name, architecture), weight)
        for name, weight in _style_weights(config)
    ]
    found = _compared(config, "content", architecture, content)
    for term in _compared(config, "style", architecture, style):
        if term.loss.yields and content:
            ratio = config.content_weight / config.style_weight
            term = dataclasses.replace(term, weight=term.weight / max(1.0, ratio))
        found += in_regions(term, shares)
    if config.tv_weight:
        circular = config.padding == "circular"
        variation = losses.TotalVariation(config.tv_form, config.tv_normalization, circular)
        weight = config.tv_weight * config.pixel_range**variation.degree
        found.append(Term("tv", backbones.IMAGE, variation, weight))
    return found


def _compared(
    config: configs.StyleTransferConfig,
    kind: str,
    architecture: str,
    weights: Sequence[tuple[str, float]],
) -> list[Term]:
    """Returns the terms of the content losses or of the style losses.

    Args:
        config: the settings.
        kind: `content` or `style`, the prefix of the terms' names.
        architecture: name of the backbone.
        weights: pairs of layer name and weight.
    """
    found = []
    factors = getattr(config, f"{kind}_losses")
    total = sum(weight for _, weight in weights)
    taken: collections.Counter[str] = collections.Counter()
    for identifier, loss in _chosen(config, kind).items() if total else ():
        name = identifier if isinstance(identifier, str) else type(loss).__name__
        taken[name] += 1
        name = name if taken[name] == 1 else f"{name} {taken[name]}"
        prefix = kind if len(factors) == 1 else f"{kind}/{name}"
        seen = [(f"{prefix}/{layer}", layer, weight) for layer, weight in weights]
        if loss.layers == (backbones.IMAGE,):
            seen = [(f"{kind}/{name}", backbones.IMAGE, total)]
        elif loss.layers:
            own = [vgg_layers.canonical(layer, architecture) for layer in loss.layers]
            seen = [(f"{prefix}/{layer}", layer, total / len(own)) for layer in own]
        if loss.stacked:
            stacked = hypercolumns.JOIN.join(layer for _, layer, _ in seen)
            seen = [(f"{kind}/{name}", stacked, total)]
        factor = factors[identifier]
        found += [Term(title, layer, loss, factor * weight) for title, layer, weight in seen]
    return found


def in_regions(term: Term, shares: Sequence[float]) -> list[Term]:
    """Returns one term per region, or the term itself without regions or a style reference.

    Args:
        term: a term of the whole picture.
        shares: share of the content that each of its regions covers, a factor of the term's
            weight there.
    """
    if not shares or term.region or losses.STYLE not in term.loss.references:
        return [term]
    return [
        dataclasses.replace(
            term, name=f"{term.name}/{region}", weight=share * term.weight, region=region
        )
        for region, share in enumerate(shares, 1)
    ]
