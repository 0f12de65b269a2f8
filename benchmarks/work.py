"""The work that steps are compared on, as this package and as other programs do it.

A square picture; Gram losses at block1_conv1 to block5_conv1, the content loss at block4_conv2; the
gradient; a step of Adam; clipping. All have the same weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import common  # noqa: F401 (finds the package)
import numpy as np

STYLE = [f"block{block}_conv1" for block in range(1, 6)]
CONTENT = "block4_conv2"
CONTENT_WEIGHT, STYLE_WEIGHT, RATE = 1.0, 10.0, 0.02


class Contender(NamedTuple):
    """One way to do the work.

    Attributes:
        step: takes a step, and returns once it is done.
        gradient: returns that of the first step, `(1, size, size, 3)`.
    """

    step: Callable[[], Any]
    gradient: Callable[[], np.ndarray]


def pictures(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a photo and a painting, `(1, size, size, 3)`, smooth, so that layers respond."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    coarse = random.random((2, 1, 16, 16, 3), np.float32)
    fine = 0.2 * random.random((2, 1, size, size, 3), np.float32)
    photo, painting = (
        np.clip(0.8 * tf.image.resize(each, (size, size), "bicubic").numpy() + noise, 0, 1)
        for each, noise in zip(coarse, fine, strict=True)
    )
    return photo, painting


def backbone(name: str, precision: str = "float32") -> Any:
    """Returns the network of the package; VGG19 with random weights, which take as long."""
    from nst_tf import backbones

    if name == "vgg16":
        return backbones.build(name, [*STYLE, CONTENT], pooling="max", precision=precision)
    import keras

    keras.utils.set_random_seed(0)
    return backbones.Backbone(
        [*STYLE, CONTENT], backbones.get(name), None, pooling="max", precision=precision
    )


def layers(network: Any) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Returns name, kernel and bias of each convolution, in order."""
    return [
        (layer.name, *layer.get_weights())
        for layer in network.layers
        if "_conv" in layer.name and layer.get_weights()
    ]


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a step works on, in the terms of this package."""

    config: Any
    objective: Any
    photo: Any
    targets: Any


def setting(name: str, size: int, optimizer: str = "adam", precision: str = "float32") -> Setting:
    """Returns the work for a network and a size."""
    import nst_tf

    config = nst_tf.StyleTransferConfig(
        backbone=name, style_loss="gram", style_layers=tuple(STYLE), content_layers=(CONTENT,),
        content_weight=CONTENT_WEIGHT, style_weight=STYLE_WEIGHT, pooling="max",
        tv_weight=0.0, optimizer=optimizer, learning_rate=RATE, precision=precision,
    )  # fmt: skip
    return prepared(config, backbone(name, precision), *pictures(size))


def prepared(config: Any, network: Any, photo: np.ndarray, painting: np.ndarray) -> Setting:
    """Returns the work of a config on two pictures, `(1, height, width, 3)`."""
    import tensorflow as tf

    from nst_tf import objective
    from nst_tf.engine import steps

    whole = objective.Objective.from_config(config, network)
    photo, painting = map(tf.constant, (photo, painting))
    everywhere = tf.ones((1, 1, 1, 1))
    targets = {
        **steps.compile_targets(whole, "content")(photo, everywhere),
        **steps.compile_targets(whole, "style")(painting, everywhere),
    }
    return Setting(config, whole, photo, targets)


def step_of(given: Setting) -> Callable[[], None]:
    """Returns what takes a step of this package, and returns once it is done."""
    import tensorflow as tf

    from nst_tf import optimizers
    from nst_tf.engine import steps

    optimizer = optimizers.Guarded(optimizers.get(given.config.optimizer, given.config))
    image, state = tf.Variable(given.photo), optimizer.init(given.photo, 100)
    state = {key: tf.Variable(value) for key, value in state.items()}
    step = steps.compile_step(given.objective, optimizer)

    def take() -> None:
        step(image, state, given.targets)[0].numpy()

    return take


def nst_tf_step(name: str, size: int) -> Contender:
    from nst_tf.engine import steps

    given = setting(name, size)

    def gradient() -> np.ndarray:
        found = steps.value_and_gradient(given.objective, given.photo, given.targets)
        return found.gradient.numpy()

    return Contender(step_of(given), gradient)


def keras_features(name: str) -> Callable[[Any], dict[str, Any]]:
    """Returns the activations as a function of the picture, by the model that Keras ships."""
    import keras

    network = backbone(name)
    mean = np.float32([255 * each for each in network.mean_colour])[::-1]
    application = {"vgg16": keras.applications.VGG16, "vgg19": keras.applications.VGG19}[name]
    full = application(include_top=False, weights=None)
    for layer, kernel, bias in layers(network):
        full.get_layer(layer).set_weights([kernel, bias])
    names = [*STYLE, CONTENT]
    model = keras.Model(full.input, [full.get_layer(layer).output for layer in names])
    model.trainable = False
    return lambda picture: dict(zip(names, model(255 * picture[..., ::-1] - mean), strict=True))


def keras_gram(activations: Any) -> Any:
    """Returns the Gram matrix of activations `(1, h, w, channels)`, a mean over positions."""
    import tensorflow as tf

    positions = tf.cast(tf.reduce_prod(tf.shape(activations)[1:3]), tf.float32)
    return tf.linalg.einsum("bijc,bijd->bcd", activations, activations) / positions


def keras_step(name: str, size: int, compiled: bool) -> Contender:
    import keras
    import tensorflow as tf

    features = keras_features(name)
    photo, painting = map(tf.constant, pictures(size))
    image = tf.Variable(photo)

    wanted = features(photo)[CONTENT]
    painted = features(painting)
    styles = {layer: keras_gram(painted[layer]) for layer in STYLE}
    optimizer = keras.optimizers.Adam(RATE, beta_1=0.9, beta_2=0.99)

    def gradient_at(picture: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(picture)
            found = features(picture)
            loss = CONTENT_WEIGHT * tf.reduce_sum((found[CONTENT] - wanted) ** 2)
            loss /= tf.reduce_sum(wanted**2)
            for layer, style in styles.items():
                part = tf.reduce_sum((keras_gram(found[layer]) - style) ** 2)
                loss += STYLE_WEIGHT / len(STYLE) * part / tf.reduce_sum(style**2)
        return tape.gradient(loss, picture)

    def step() -> None:
        optimizer.apply_gradients([(gradient_at(image), image)])
        image.assign(tf.clip_by_value(image, 0.0, 1.0))

    optimizer.build([image])
    run = tf.function(step) if compiled else step

    def take() -> None:
        run()
        image.numpy()

    return Contender(take, lambda: gradient_at(photo).numpy())


def torch_network(name: str, kind: Any) -> Callable[[Any], dict[str, Any]]:
    """Returns `torch_features` by the weights of a network of the package."""
    import torch

    network = backbone(name)
    convolutions = [
        (layer, torch.tensor(kernel).to(kind), torch.tensor(bias).to(kind))
        for layer, kernel, bias in layers(network)
    ]
    mean = torch.tensor([255 * each for each in network.mean_colour][::-1], dtype=kind)
    return torch_features(convolutions, mean)


def torch_features(
    convolutions: Sequence[tuple[str, Any, Any]],
    mean: Any,
    names: Sequence[str] = (*STYLE, CONTENT),
) -> Callable[[Any], dict[str, Any]]:
    """Returns the activations as a function of the picture, `(1, 3, height, width)`.

    Args:
        convolutions: name, kernel `(height, width, inputs, outputs)` and bias of each, in order.
        mean: of blue, green and red in 0 to 255.
        names: names of the layers whose activations are returned.
    """
    import torch

    ordered = [
        (layer, kernel.permute(3, 2, 0, 1).contiguous(), bias)
        for layer, kernel, bias in convolutions
    ]

    def features(picture: Any) -> dict[str, Any]:
        found, block = {}, "block1"
        x = 255 * picture.flip(1) - mean.view(1, 3, 1, 1)
        for layer, kernel, bias in ordered:
            if not layer.startswith(block):
                x, block = torch.nn.functional.max_pool2d(x, 2), layer.split("_")[0]
            x = torch.relu(torch.nn.functional.conv2d(x, kernel, bias, padding=1))
            if layer in names:
                found[layer] = x
        return found

    return features


def torch_gram(activations: Any) -> Any:
    """Returns the Gram matrix of activations `(1, channels, h, w)`, a mean over positions."""
    flat = activations.flatten(2)[0]
    return flat @ flat.T / flat.shape[1]


def torch_loss(
    features: Callable[[Any], dict[str, Any]], photo: Any, painting: Any
) -> Callable[[Any], Any]:
    """Returns the loss as a function of the picture, `(1, 3, height, width)`."""
    import torch

    with torch.no_grad():
        wanted, painted = features(photo)[CONTENT], features(painting)
        styles = {layer: torch_gram(painted[layer]) for layer in STYLE}

    def loss_at(picture: Any) -> Any:
        found = features(picture)
        loss = CONTENT_WEIGHT * ((found[CONTENT] - wanted) ** 2).sum() / (wanted**2).sum()
        for layer, style in styles.items():
            part = ((torch_gram(found[layer]) - style) ** 2).sum() / (style**2).sum()
            loss = loss + STYLE_WEIGHT / len(STYLE) * part
        return loss

    return loss_at


def torch_step(name: str, size: int, double: bool = False) -> Contender:
    import torch

    kind = torch.float64 if double else torch.float32
    photo, painting = (
        torch.tensor(np.ascontiguousarray(each.transpose(0, 3, 1, 2)), dtype=kind)
        for each in pictures(size)
    )
    loss_at = torch_loss(torch_network(name, kind), photo, painting)
    image = photo.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([image], lr=RATE, betas=(0.9, 0.99))

    def take() -> None:
        optimizer.zero_grad()
        loss_at(image).backward()
        optimizer.step()
        with torch.no_grad():
            image.clamp_(0, 1)

    def gradient() -> np.ndarray:
        picture = photo.clone().requires_grad_(True)
        loss_at(picture).backward()
        return picture.grad.numpy().transpose(0, 2, 3, 1)

    return Contender(take, gradient)


CONTENDERS = {
    "nst_tf": nst_tf_step,
    "keras eager": lambda name, size: keras_step(name, size, compiled=False),
    "keras function": lambda name, size: keras_step(name, size, compiled=True),
    "torch": torch_step,
    "float64": lambda name, size: torch_step(name, size, double=True),
}


def products(name: str, size: int) -> float:
    """Returns the multiplications of all convolutions, forth and back."""
    from nst_tf import backbones

    network = backbones.Backbone([*STYLE, CONTENT], backbones.get(name), None)
    return 2 * sum(cost.products for cost in network.costs()) * size**2
