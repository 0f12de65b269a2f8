"""The example of Keras.io: gradient descent with a falling rate.

Source: F. Chollet, "Neural style transfer", keras.io/examples/generative/neural_style_transfer.

    nst-stylize --preset=keras_io --content=photo.jpg --style=painting.jpg

Expect a restrained picture, close to the content. The example makes pictures of 400 rows, a long
side of 533 at 4:3, and stretches the style picture to the content's shape; here it keeps its own.
"""

SETTINGS = {
    "image_size": 533,
    "init": "content",
    "steps": (4000,),
    "activation_scale": "caffe",
    "content_layers": ("block5_conv2",),
    "content_normalization": "sum",
    "style_normalization": "sums_per_pixel",
    "content_weight": 2.5e-8,
    "style_weight": 1e-6,
    "tv_weight": 1e-6,
    "tv_form": "power",
    "tv_normalization": "sum",
    "optimizer": "gradient_descent",
    "learning_rate": 100.0,
    "rate_decay": 0.96**0.01,  # 0.96 every 100 steps.
    "pixel_range": 255.0,
    "clip_pixels": False,
}
