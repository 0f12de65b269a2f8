"""Google's notebook with eager execution: Adam in 0 to 255 with a large epsilon.

Source: R. Yuan, "Neural Style Transfer: Creating Art with Deep Learning using tf.keras and eager
execution" (2018), tensorflow/models, research/nst_blogpost, and programs that follow it.

    nst-stylize --preset=eager_notebook --content=photo.jpg --style=painting.jpg

Expect strong colours and some grain. --tv_weight adds the mean of squared neighbour differences in
0 to 255, which some followers use with a weight of 100. The notebook returns the picture of the
lowest loss; this package returns the last one.
"""

SETTINGS = {
    "image_size": 512,
    "init": "content",
    "steps": (1000,),
    "activation_scale": "caffe",
    "content_layers": ("block5_conv2",),
    "content_normalization": "mean",
    "style_normalization": "mean",
    "content_weight": 1e3,
    "style_weight": 1e-2,
    "tv_weight": 0.0,
    "optimizer": "adam",
    "learning_rate": 5.0,
    "adam_beta_1": 0.99,
    "adam_epsilon_hat": 0.1,
    "pixel_range": 255.0,
}
