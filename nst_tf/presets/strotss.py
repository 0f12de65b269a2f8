"""STROTSS: nearest neighbours among hypercolumns, self-similarity, RMSprop on a Laplacian pyramid.

Source: nkolkin13/STROTSS, `styleTransfer.py`, with the content weight 1 and the scales 64 to 512.

    nst-stylize --preset=strotss --content=photo.jpg --style=painting.jpg

Expect the contours of the photo in the painting's colours and strokes, coherent at every scale.
--content_weight=16 is its content weight of 1; it is halved at each finer scale above 64 pixels.
For another --image_size, give --levels and --steps to match, such as --image_size=256 --levels=3
--steps=250,250,250. The program draws 1024 random places for each step, where this package takes a
grid over the whole picture, and its columns include the pixels themselves.
"""

_LAYERS = (
    "relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3", "relu4_3",
    "relu5_3",
)  # fmt: skip

SETTINGS = {
    "backbone": "vgg16",
    "image_size": 512,
    "init": "outlines",
    "levels": 4,
    "level_factor": 2.0,
    "steps": (250, 250, 250, 250),
    "activation_scale": "torchvision",
    "content_layers": _LAYERS,
    "style_layers": _LAYERS,
    "content_loss": "self_similarity",
    "style_loss": "remd:1+palette:1",
    "style_normalization": "strotss",
    "content_weight": 16.0,
    "content_decay": 0.5,
    "style_weight": 1.0,
    "tv_weight": 0.0,
    "optimizer": "rmsprop",
    "laplacian_bands": 5,
    "learning_rate": 0.002,
    "finest_rate": 0.5,
    "clip_pixels": False,
}
