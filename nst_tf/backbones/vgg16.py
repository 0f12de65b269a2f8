"""VGG16 (Simonyan and Zisserman, 2015, configuration D). Its weights ship with the package."""

import keras

from nst_tf.backbones.architecture import Architecture

ARCHITECTURE = Architecture(
    name="vgg16",
    application=keras.applications.VGG16,
    mean=(103.939, 116.779, 123.68),
    url="https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    md5="6d6bbae143d832006294945121d1f1fc",
    bundled="vgg16_imagenet.h5",
)
