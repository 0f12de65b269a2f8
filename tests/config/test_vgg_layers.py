"""Layer names and strides, against the networks that Keras builds."""

from __future__ import annotations

import functools

import keras
import pytest

from nst_tf import errors
from nst_tf.config import vgg_layers

APPLICATIONS = {"vgg16": keras.applications.VGG16, "vgg19": keras.applications.VGG19}


@functools.cache
def network(backbone: str) -> keras.Model:
    return APPLICATIONS[backbone](include_top=False, weights=None, input_shape=(64, 64, 3))


@pytest.mark.parametrize("backbone", APPLICATIONS)
def test_names_are_those_of_keras_in_order(backbone: str):
    assert vgg_layers.names(backbone) == [layer.name for layer in network(backbone).layers[1:]]


def test_every_backbone_is_compared_with_keras():
    assert set(vgg_layers.CONVOLUTIONS) == set(APPLICATIONS)


@pytest.mark.parametrize("backbone", APPLICATIONS)
def test_strides_are_those_of_the_outputs(backbone: str):
    for name in vgg_layers.names(backbone):
        height, width = network(backbone).get_layer(name).output.shape[1:3]
        assert (64 // height, 64 // width) == (vgg_layers.stride(name), vgg_layers.stride(name)), (
            name
        )


@pytest.mark.parametrize("name", ["block4_conv2", "conv4_2", "relu4_2"])
@pytest.mark.parametrize("backbone", APPLICATIONS)
def test_three_spellings_mean_one_layer(name: str, backbone: str):
    assert vgg_layers.canonical(name, backbone) == "block4_conv2"


@pytest.mark.parametrize("backbone", APPLICATIONS)
def test_keras_names_stay_as_they_are(backbone: str):
    names = vgg_layers.names(backbone)
    assert [vgg_layers.canonical(name, backbone) for name in names] == names


@pytest.mark.parametrize("name", ["block3_conv4", "conv3_4", "relu4_4", "block5_conv4"])
def test_deeper_blocks_of_vgg19_are_unknown_to_vgg16(name: str):
    assert vgg_layers.canonical(name, "vgg19") in vgg_layers.names("vgg19")
    with pytest.raises(errors.ConfigError, match="layer of vgg16"):
        vgg_layers.canonical(name, "vgg16")


@pytest.mark.parametrize(
    "name", ["", "block6_conv1", "block0_conv1", "conv1_3", "block4_conv2 ", "pool4", "relu4-2",
             "image", "BLOCK4_CONV2", "xconv4_2", "conv4_21"]
)  # fmt: skip
@pytest.mark.parametrize("backbone", APPLICATIONS)
def test_unknown_name_is_refused_with_the_valid_ones(name: str, backbone: str):
    with pytest.raises(errors.ConfigError) as caught:
        vgg_layers.canonical(name, backbone)
    for valid in vgg_layers.names(backbone):
        assert valid in str(caught.value)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("block4_conv_2", "block4_conv2"), ("blok2_pool", "block2_pool"), ("BLOCK1_conv1",
     "block1_conv1")],
)  # fmt: skip
def test_unknown_name_is_answered_with_the_nearest(name: str, nearest: str):
    with pytest.raises(errors.ConfigError, match=f"Did you mean '{nearest}'"):
        vgg_layers.canonical(name, "vgg19")
