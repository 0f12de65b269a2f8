"""The first paper: white noise, moved by plain gradient descent.

Source: L. A. Gatys, A. S. Ecker, M. Bethge, "A Neural Algorithm of Artistic Style",
arXiv:1508.06576 (2015): equations 1, 4 and 5, layers, equal layer weights, average pooling, and
content to style as 1 : 1000. The paper names neither the rate nor the number of its gradient
steps; a few hundred are usual, and the rate here was chosen so that the default picture sizes
do not diverge.

    nst-stylize --preset=gatys2015 --content=photo.jpg --style=painting.jpg

Expect a slow start and a grainy picture: plain descent reduces the style of the deep layers last.
Lower --learning_rate if the loss grows. The paper's network was rescaled to a mean activation
of 1 for each filter; activations of torchvision's scale come near to that.
"""

SETTINGS = {
    "image_size": 512,
    "init": "noise",
    "steps": (500,),
    "pooling": "avg",
    "activation_scale": "caffe",
    "content_layers": ("conv4_2",),
    "style_layers": ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"),
    "style_layer_weights": (0.2, 0.2, 0.2, 0.2, 0.2),
    "content_normalization": "gatys",
    "style_normalization": "gatys",
    "content_style_ratio": 1e-3,
    "style_weight": 1e3,
    "optimizer": "gradient_descent",
    "learning_rate": 1e-8,
    "clip_pixels": False,
}
