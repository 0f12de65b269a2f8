"""Pictures: files, colours, masks, sizes, and the network's inputs. Needs no TensorFlow."""

from nst_tf.imaging.images import Picture, load, resize, save

__all__ = ["Picture", "load", "resize", "save"]
