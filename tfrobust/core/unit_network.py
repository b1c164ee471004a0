"""Any network as penalties and attacks in training see it: [0, 1] in, logits out."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrobust.core.answers import Answer, read_answer, shape_of_output
from tfrobust.core.float_input import for_floats
from tfrobust.core.pixels import UNIT, Bounds, from_unit
from tfrobust.layers import NetworkWrapper


@keras.saving.register_keras_serializable(package="tfrobust")
class UnitNetwork(NetworkWrapper):
    """A Keras model from images in [0, 1] to logits, around any network.

    It shares the network's weights and has none of its own. For a network of images in
    [0, 1] with logits it is the same function.

    Args:
        network: From images within `pixel_bounds` to logits or probabilities, one
            number for each class or one in all for two classes; of several outputs
            `output` counts.
        pixel_bounds: The range of the pixels that `network` takes.
        output: The name of its output; may be `None` if there is one, or one named
            "logits".

    Example:
        >>> layers = [keras.Input((2,)), keras.layers.Dense(3, activation="softmax")]
        >>> network = keras.Sequential(layers)
        >>> logits = UnitNetwork(network, (0, 255))(tf.constant([[0.0, 1.0]]))
        >>> same = tf.nn.softmax(logits) - network(tf.constant([[0.0, 255.0]]))
        >>> bool(tf.reduce_max(tf.abs(same)) < 1e-6)
        True
    """

    is_in_units = True

    def __init__(
        self,
        network: keras.Model,
        pixel_bounds: Bounds = UNIT,
        output: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(network, output=output, bounds=UNIT, **kwargs)
        self.pixel_bounds = pixel_bounds
        self._ending, self._classes = "", 0
        self._eager = tf.function(self._traced, reduce_retracing=True, autograph=False)

    def answer(self, images: tf.Tensor, training: bool | None = None) -> Answer:
        """The network's own answer to images in [0, 1], and the logits in it.

        Eagerly by a graph too, which alone tells how the network ends.
        """
        return self.answer_and_losses(images, training)[0]

    def _answer(self, images: tf.Tensor, training: bool | None) -> Answer:
        network = for_floats(self.network)
        given = network(from_unit(images, self.pixel_bounds), training=training)
        names = getattr(self.network, "output_names", None) or ()
        return read_answer(given, self.output_name, names)

    def answer_and_losses(
        self, images: tf.Tensor, training: bool | None = None
    ) -> tuple[Answer, list[tf.Tensor]]:
        """The same, and what the network's layers add to a loss, float32 scalars."""
        if tf.executing_eagerly():
            given, logits, added = self._eager(images, bool(training))
            return Answer(given, logits, self._ending), added
        answer = self._answer(images, training)
        losses = for_floats(self.network).losses
        added = [tf.reduce_sum(tf.cast(loss, tf.float32)) for loss in losses]
        return answer, added

    def call(self, inputs: Any, training: bool | None = None) -> tf.Tensor:
        """Logits float32 `[B,K]` of images float32 `[B,...]` in [0, 1]."""
        return self.answer(inputs, training).logits

    def _traced(self, images: tf.Tensor, training: bool) -> tuple[Any, ...]:
        answer, added = self.answer_and_losses(images, training)
        self._ending = answer.ending
        return answer.given, answer.logits, added

    def get_config(self) -> dict[str, Any]:
        """The arguments that rebuild this model."""
        config = super().get_config()
        config.pop("bounds")
        return {**config, "pixel_bounds": list(self.pixel_bounds)}

    @property
    def input_shape(self) -> Any:
        """That of the network; of a subclassed one that of its first batch."""
        return input_shape_of(self.network)

    @property
    def output_shape(self) -> tuple[int | None, int]:
        """That of the logits."""
        shape = shape_of_output(self.network, self.output_name)
        if shape is None:
            return None, self._traced_classes()
        return shape[0], 2 if len(shape) == 1 or shape[1] == 1 else shape[1]

    def _traced_classes(self) -> int:
        """K of a network that says nothing of its shapes."""
        if not self._classes:
            spec = tf.TensorSpec([None, *self.input_shape[1:]], tf.float32)
            traced = tf.function(lambda images: self(images), autograph=False)
            self._classes = traced.get_concrete_function(spec).output_shapes[-1]
        return self._classes

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the logits."""
        return self.output_shape


def input_shape_of(network: keras.Model) -> Any:
    """The shape of a network's images, its batch left open.

    Args:
        network: A built one; of a subclassed one it is the shape that it was built for.

    Raises:
        AttributeError: If it is not known.

    Example:
        >>> input_shape_of(keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]))
        (None, 2)
    """
    shape = getattr(network, "input_shape", None)
    if shape is None:
        built = network.get_build_config() if network.built else None
        shape = (built or {}).get("input_shape")
        if shape is None:
            raise AttributeError(f"{network.name} has not been called on images yet")
        shape = (None, *shape[1:])
    return shape
