"""Losses divided by their sizes, deep style layers weighted less, and total variation.

Source: a write-up of Gatys et al. with total variation, which gives formulas and layers: content
conv3_4, a mean square; style from the last convolution of each block with weights that fall with
depth, the squared difference of sums over positions by channels³ and positions; the sum of squared
neighbour differences. It gives no constants. The weights, the optimiser and the steps here are
chosen by eye with torchvision's activations.

    nst-stylize --preset=tv_regularized --content=photo.jpg --style=painting.jpg

Expect a smooth picture that keeps the content's shapes well; --style_weight is the write-up's beta,
which makes a difference between 0.003 and 3, and --init=noise its other start. The variation is a
sum, so it smooths large pictures more.
"""

SETTINGS = {
    "image_size": 512,
    "init": "content",
    "steps": (300,),
    "activation_scale": "torchvision",
    "content_layers": ("conv3_4",),
    "style_layers": ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4"),
    "style_layer_weights": (1.0, 0.8, 0.6, 0.4, 0.2),
    "content_normalization": "mean",
    "style_normalization": "sums_per_value",
    "content_weight": 1.0,
    "style_weight": 0.3,
    "tv_weight": 1e-3,
    "tv_form": "squared",
    "tv_normalization": "sum",
    "optimizer": "lbfgs",
}
