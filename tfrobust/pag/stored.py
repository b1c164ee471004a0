"""Directions of training images as they are, before they are cropped and mirrored."""

from __future__ import annotations

import tensorflow as tf

from tfrobust.pag.base import BatchDirections, Directions


class StoredDirections(BatchDirections):
    """g(x, t) of the image x before augmentation, moved with it.

    Most directions answer for the image that the network sees: `r_t - x` of a cropped
    and mirrored x, r_t as it is. These answer for the image of the data set, as if they
    had been computed before training and stored, and are then cropped and mirrored with
    the image; what a crop adds at the border is 0. The nearest representative is that
    of the image of the data set too.

    They come with each batch as its `directions`, which
    `train_pipeline(directions=stored.of_images)` makes of them. Nothing is stored: they
    are computed with each batch, on the processor that prepares the data. That is cheap
    for all directions but those of a `Teacher`, for which `cache_directions` is there.

    Args:
        source: The directions, such as `ClassMean`.

    Reference: Ganz et al. 2023 (PAG): the gradients of every training image are
    computed before training (PAG-S4). The paper does not say whether they are moved
    when the image is cropped and mirrored.

    Example:
        >>> import numpy as np
        >>> from tfrobust import data, pag
        >>> train = data.make_shapes(20, seed=0)
        >>> means = pag.build("class_mean", train.images, train.labels, train.classes)
        >>> stored = StoredDirections(means)
        >>> batches = data.train_pipeline(
        ...     train, batch_size=4, seed=0, epochs=1, augment="crop_flip",
        ...     directions=stored.of_images)
        >>> batch, labels = next(iter(batches))
        >>> batch["directions"].shape
        TensorShape([4, 10, 32, 32, 3])
        >>> stored(batch["images"], tf.constant([[0]] * 4), batch).shape
        TensorShape([4, 1, 32, 32, 3])
    """

    def __init__(self, source: Directions) -> None:
        self.source = source
        self.classes, self.image_shape = source.classes, source.image_shape

    def of_images(self, images: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        """Directions of every class, `[B,K,H,W,C]`.

        Args:
            images: float32 `[B,H,W,C]` in [0, 1], images of the data set.
            index: int32 `[B]`, the row of each in it.
        """
        shape = [tf.shape(images)[0], self.classes]
        chosen = tf.broadcast_to(tf.range(self.classes), shape)
        chosen = tf.ensure_shape(chosen, [images.shape[0], self.classes])
        return self.source(images, chosen, {"index": index})
