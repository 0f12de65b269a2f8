"""The first paper: white noise, moved down the gradient.

Source: L. A. Gatys, A. S. Ecker, M. Bethge, "A Neural Algorithm of Artistic Style",
arXiv:1508.06576 (2015): equations 1, 4 and 5, layers, equal layer weights, average pooling, and
content to style as 1 : 1000. The paper names neither the rate nor the number of its gradient
steps. A few hundred are usual. The largest rate that does not diverge depends on the pictures, so
the optimiser searches for it.

    nst-stylize --preset=gatys2015 --content=photo.jpg --style=painting.jpg

Expect a grainy picture in which the content only begins to show: plain descent is slow, and
--optimizer=lbfgs minimises the same loss much further. The ratio is meant for activations of the
scale of the published network. With a mean activation of 1, the content loss of equation 1, a sum
over positions, leaves the style no weight.
"""

SETTINGS = {
    "image_size": 512,
    "init": "noise",
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
    "optimizer": "steepest_descent",
    "clip_pixels": False,
}
