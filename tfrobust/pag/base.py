"""What a source of directions is."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf


class Directions:
    """The gradients g(x, t) that the logit of class t should have at an image x.

    A subclass sets `classes` and `image_shape` and defines `__call__`. Only the
    direction of what it returns counts, not the length. Everything in it is per
    example: the answer for an image does not depend on the batch that it is in. One
    that is registered may have a static method `check_settings`, which raises
    `ValueError` over settings that `__init__` would refuse: programs ask it before they
    read any data.

    Attributes:
        classes: K.
        image_shape: Shape of one image, `(H, W, C)`.
        needs_index: Whether `extras` must hold the `index` of each image's row in the
            training data; the trainers then see to it.

    Reference: Ganz et al. 2023 (PAG), equation 2 and section 4.
    """

    classes: int
    image_shape: tuple[int, ...]
    needs_index: bool = False

    def __call__(
        self,
        images: tf.Tensor,
        chosen: tf.Tensor,
        extras: Mapping[str, tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """Directions for some classes of each image.

        Args:
            images: float32 `[B,H,W,C]` in [0, 1], as the network sees them.
            chosen: int32 `[B,k]`, the requested classes of each image.
            extras: What else is known of each image, `[B,...]` by name, such as the
                `index` of its row in the training data.

        Returns:
            float32 `[B,k,H,W,C]`.
        """
        raise NotImplementedError

    def check(self, image_shape: tuple[int, ...], classes: int) -> None:
        """Raises `ValueError` if this does not fit a network's images and classes."""
        if self.classes != classes:
            raise ValueError(
                "`directions` must have the network's number of classes. Received: "
                f"{type(self).__name__} of {self.classes} classes, a network of "
                f"{classes}"
            )
        pairs = zip(self.image_shape, image_shape, strict=False)
        fits = len(self.image_shape) == len(image_shape)
        if not fits or any(own not in (None, size) and size for own, size in pairs):
            raise ValueError(
                "`directions` must be of the network's image shape. Received: "
                f"{type(self).__name__} of images {tuple(self.image_shape)}, a network "
                f"of {tuple(image_shape)}"
            )


class BatchDirections(Directions):
    """Directions that come with each batch, as its `directions`.

    `train_pipeline(directions=...)` makes them. A subclass sets `classes` and
    `image_shape`.

    Example:
        >>> batch = {"directions": tf.ones([2, 3, 4, 4, 1])}
        >>> images, chosen = tf.zeros([2, 4, 4, 1]), tf.constant([[0], [2]])
        >>> BatchDirections()(images, chosen, batch).shape
        TensorShape([2, 1, 4, 4, 1])
    """

    def __call__(
        self,
        images: tf.Tensor,
        chosen: tf.Tensor,
        extras: Mapping[str, tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """Directions `[B,k,H,W,C]`; see `Directions`.

        Raises:
            ValueError: If `extras` has no `directions`.
        """
        return of_batch(chosen, extras)


def of_batch(chosen: tf.Tensor, extras: Mapping[str, tf.Tensor] | None) -> tf.Tensor:
    """The directions that came with a batch, of some classes.

    Args:
        chosen: int32 `[B,k]`, the requested classes of each image.
        extras: With the `directions`, `[B,K,H,W,C]`, that `train_pipeline` made.

    Returns:
        `[B,k,H,W,C]`.

    Raises:
        ValueError: If `extras` has no `directions`.

    Example:
        >>> batch = {"directions": tf.reshape(tf.range(6.0), [1, 3, 1, 1, 2])}
        >>> of_batch(tf.constant([[2]]), batch).numpy().ravel().tolist()
        [4.0, 5.0]
    """
    extras = extras or {}
    if "directions" not in extras:
        raise ValueError(
            "A batch must hold the `directions` of its images, as "
            "train_pipeline(directions=...) makes it. Received: "
            f"{', '.join(sorted(extras)) or 'images'} alone"
        )
    return tf.gather(extras["directions"], chosen, batch_dims=1)
