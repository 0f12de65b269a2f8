"""The command-line tool of PyTorch: L-BFGS without a line search, from nearly nothing.

Source: ProGamerGov/neural-style-pt, `neural_style.py`, its defaults, which are those of J.
Johnson's neural-style.

    nst-stylize --preset=neural_style_pt --content=photo.jpg --style=painting.jpg

Expect a strong style with large, well-formed strokes. --init=content is its `-init image`. Its
start, normal noise of 0.001 in 0 to 255 around the mean colour, is uniform noise of that spread
here. L-BFGS remembers a hundred pairs of pictures: 1.3 GB at 512x512 in float32.
"""

SETTINGS = {
    "image_size": 512,
    "init": "mean",
    "init_noise": 0.001 / 255 * 12**0.5,
    "steps": (999,),  # Its thousandth evaluation saves the picture after 999 moves.
    "activation_scale": "caffe",
    "content_layers": ("relu4_2",),
    "style_layer_weights": (1.0,),
    "content_normalization": "mean",
    "style_normalization": "johnson",
    "content_weight": 5.0,
    "style_weight": 100.0,
    "tv_weight": 1e-3,
    "tv_form": "absolute",
    "tv_normalization": "sum",
    "optimizer": "fixed_step_lbfgs",
    "lbfgs_history": 100,
    "pixel_range": 255.0,
    "clip_pixels": False,
}
