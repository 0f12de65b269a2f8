"""VGG19 (Simonyan and Zisserman, 2015, configuration E), the network of Gatys et al."""

import keras

from nst_tf.backbones.architecture import Architecture

ARCHITECTURE = Architecture(
    name="vgg19",
    application=keras.applications.VGG19,
    mean=(103.939, 116.779, 123.68),
    url="https://storage.googleapis.com/tensorflow/keras-applications/vgg19/"
    "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
    md5="253f8cb515780f3b799900260a226db6",
)
