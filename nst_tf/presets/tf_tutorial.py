"""The tutorial of TensorFlow: Adam in 0 to 1, with total variation.

Source: "Neural style transfer", TensorFlow Core tutorials, second run, with total variation.

    nst-stylize --preset=tf_tutorial --content=photo.jpg --style=painting.jpg

Expect a picture close to that of `eager_notebook`, but smoother. The tutorial resizes without
antialiasing.
"""

SETTINGS = {
    "image_size": 512,
    "init": "content",
    "steps": (1000,),
    "activation_scale": "caffe",
    "content_layers": ("block5_conv2",),
    "content_normalization": "mean",
    "style_normalization": "mean",
    "content_weight": 1e4,
    "style_weight": 1e-2,
    "tv_weight": 30.0,
    "tv_form": "absolute",
    "tv_normalization": "sum",
    "optimizer": "adam",
    "learning_rate": 0.02,
    "adam_beta_1": 0.99,
    "adam_epsilon_hat": 0.1,
}
