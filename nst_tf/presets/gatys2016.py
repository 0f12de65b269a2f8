"""The CVPR paper: L-BFGS from the content picture, content to style as a ratio.

Source: L. A. Gatys, A. S. Ecker, M. Bethge, "Image Style Transfer Using Convolutional Neural
Networks", CVPR 2016: equations 1, 4 and 5, content from conv4_2, one style layer a scale with
weights of 1/5, average pooling, L-BFGS. The paper's pictures have content to style ratios of
1e-3, 8e-4, 5e-3 and 5e-4. It does not give the number of iterations; 500 is the number in the
program that its first author published later.

    nst-stylize --preset=gatys2016 --content=photo.jpg --style=painting.jpg

Expect the outlines of the content with the colours and fine strokes of the style. --init=gray
starts from a blank canvas and --init=noise from white noise; --content_style_ratio=1/10 keeps more
of the content, and --style_layer_weights favours single scales. The L-BFGS is that of this package,
which keeps pixels in range and has a line search. The paper rescaled its network to a mean
activation of 1 for each filter. As equation 1 is a sum over positions, that leaves the style next
to no weight at these ratios, so activations keep the scale of the published network.
"""

SETTINGS = {
    "image_size": 512,
    "init": "content",
    "steps": (500,),
    "pooling": "avg",
    "activation_scale": "caffe",
    "content_layers": ("conv4_2",),
    "style_layer_weights": (0.2, 0.2, 0.2, 0.2, 0.2),
    "content_normalization": "gatys",
    "style_normalization": "gatys",
    "content_style_ratio": 1e-3,
    "style_weight": 1e3,
    "tv_weight": 0.0,
    "optimizer": "lbfgs",
}
