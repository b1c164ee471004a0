"""A network with what has to be known to use it as a classifier."""

from __future__ import annotations

from typing import Any

import keras

from tfrobust.core.answers import shape_of_output
from tfrobust.core.pixels import bounds_of, check_bounds
from tfrobust.core.unit_network import input_shape_of
from tfrobust.layers import NetworkWrapper


@keras.saving.register_keras_serializable(package="tfrobust")
class Classifier(NetworkWrapper):
    """Any Keras network, with the output that counts and the range of its pixels.

    Attacks, `geometry`, `analysis`, `RobustModel` and `export` take one wherever they
    take a network. Most networks do without: where there is one output or one named
    "logits", and where pixels are in [0, 1] or the first layers say that they are
    bytes, all of this is found out. How a network ends, in logits, a softmax or a
    sigmoid, always is.

    Called, it answers as the network does.

    Args:
        network: A `keras.Model` that maps images `[B,H,W,C]` to an answer for each
            class, `[B,K]`, or one number for two classes, `[B]` or `[B,1]`.
        output: Which of several outputs counts, by its name.
        bounds: The least and the largest value of a pixel as the network takes it, such
            as `(0, 255)` or `(-1, 1)`.

    Raises:
        ValueError: If there is no such output, or `bounds` is not two numbers in rising
            order.

    Example:
        >>> import tensorflow as tf
        >>> from tfrobust import attacks, models
        >>> image = keras.Input((2, 2, 1))
        >>> flat = keras.layers.Flatten()(image)
        >>> heads = [keras.layers.Dense(3, name=name)(flat) for name in ("a", "b")]
        >>> network = keras.Model(image, heads)
        >>> classifier = models.Classifier(network, output="b", bounds=(0, 255))
        >>> images = tf.fill([1, 2, 2, 1], 128.0)
        >>> result = attacks.FGSM(eps=1 / 255)(classifier, images, [0])
        >>> bool(tf.reduce_max(tf.abs(result.adversarial - images)) <= 1.001)
        True
    """

    def __init__(
        self,
        network: keras.Model,
        *,
        output: str | None = None,
        bounds: tuple[float, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if bounds is not None:
            bounds = check_bounds(bounds)
        super().__init__(network, output=output, bounds=bounds, **kwargs)
        if self.network.built:
            shape_of_output(self.network, self.output_name)

    @property
    def input_shape(self) -> Any:
        """That of the network's images."""
        return input_shape_of(self.network)

    @property
    def pixel_bounds(self) -> tuple[float, float]:
        """The least and the largest value of a pixel, given or found out."""
        return bounds_of(self)
