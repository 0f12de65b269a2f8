"""K. Crowson's tool: Wasserstein-2 style, a pyramid, Adam with averaged iterates.

Source: crowsonkb/style-transfer-pytorch, `style_transfer.py` and `cli.py`, the defaults.

    nst-stylize --preset=style_transfer_pytorch --content=photo.jpg --style=painting.jpg

Expect the style's colours and coherent strokes at several scales. Its pyramid begins at 128:
for another --image_size, give --levels and --steps to match, such as --image_size=1024 --levels=7
--steps=1000,500,500,500,500,500,500. The tool approximates the matrix root of the style loss by
twelve iterations, where this package computes it exactly; its first convolution repeats the
border, and it does not enlarge a small style picture.
"""

SETTINGS = {
    "image_size": 512,
    "init": "content",
    "levels": 5,
    "steps": (1000, 500, 500, 500, 500),
    "activation_scale": "torchvision",
    "content_layers": ("relu4_2",),
    "style_layer_weights": (256 / 341, 64 / 341, 16 / 341, 4 / 341, 1 / 341),
    "style_loss": "w2",
    "content_normalization": "mean",
    "style_normalization": "mean",
    "content_weight": 0.015,
    "style_weight": 1.0,
    "tv_weight": 2.0,
    "tv_form": "nine_point",
    "optimizer": "adam",
    "learning_rate": 0.02,
    "adam_beta_2": 0.99,
    "adam_epsilon": 1e-8,
    "average": 0.99,
}
