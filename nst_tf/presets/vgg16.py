"""A short PyTorch program on VGG16: mean squares and unnormalised Gram matrices.

Source: the write-ups around A. Persson's video "Neural Style Transfer from Scratch" and its
program (`nst.py`, Machine-Learning-Collection): content and style from the same five layers, mean
square of activations, mean square of sums over positions, 1 : 0.01, Adam at 0.001 for 6000 steps,
pixels in [0, 1]. The write-up's example has 900x1400 pixels.

    nst-stylize --preset=vgg16 --content=photo.jpg --style=painting.jpg

Expect hours on a CPU: --image_size=512 --steps=2000 shows what it does. The sums grow with the
picture, and with them the weight of the style. --init=noise starts from noise. The program feeds
its network with pixels of 0 to 1, without the normalisation of the training; here pixels are
always normalised, and the activations are scaled instead.
"""

SETTINGS = {
    "backbone": "vgg16",
    "image_size": 1400,
    "init": "content",
    "steps": (6000,),
    "activation_scale": "unit",
    "content_layers": ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"),
    "style_layer_weights": (1.0,),
    "content_normalization": "mean",
    "style_normalization": "sums",
    "content_weight": 5.0,  # 1 for each of five layers.
    "style_weight": 0.01,
    "tv_weight": 0.0,
    "optimizer": "adam",
    "learning_rate": 0.001,
    "adam_epsilon": 1e-8,
    "clip_pixels": False,
}
