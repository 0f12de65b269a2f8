"""Gram matrices without matching: L-BFGS on a pyramid by the root of 2.

Source: this package. The losses are those of Gatys et al. (2016), relative to content and style.

    nst-stylize --preset=gram --content=photo.jpg --style=painting.jpg

Expect the textures of the painting all over the photo: Gram matrices say what occurs, not where it
fits. A step takes less time than with `neighbours`, and less memory.
"""

SETTINGS = {
    "backbone": "auto",
    "pooling": "avg",
    "levels": 0,
    "steps": (),
    "init_noise": 0.5,
    "optimizer": "lbfgs",
    "tv_weight": 0.0,
}
