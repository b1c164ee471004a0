"""One learnable scale and shift a channel, whose Lipschitz constant can be bounded."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfrobust.settings import require_positive


@keras.saving.register_keras_serializable(package="tfrobust")
class ChannelAffine(keras.layers.Layer):
    """Scale and shift of each channel, at most `bound`-Lipschitz.

    What `keras.layers.BatchNormalization` does after normalising, as a layer of its
    own behind `LipschitzBatchNormalization`, which has neither. The map is
    `x * scale * min(1, bound / max_i |scale_i|) + shift`: where a scale exceeds the
    bound all are made smaller by one factor, through which gradients flow.

    Args:
        bound: Lipschitz constant that the layer does not exceed, positive; `None`: no
            bound.
        **kwargs: `name`, `dtype`, `trainable`, as for any Keras layer.

    Call arguments:
        inputs: Float tensor `[B,...,C]`. The output has the same shape.

    Raises:
        ValueError: If `bound` is not a positive finite number, or the size of the last
            axis is unknown.

    Example:
        >>> import numpy as np
        >>> from tfrobust.layers import ChannelAffine
        >>> layer = ChannelAffine(bound=1.0)
        >>> layer.build((None, 2))
        >>> layer.set_weights([np.array([4.0, -2.0]), np.zeros(2)])
        >>> np.asarray(layer(np.array([[1.0, 1.0]], "float32"))).tolist()
        [[1.0, -0.5]]
    """

    def __init__(self, bound: float | None = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if bound is not None:
            require_positive("bound", bound)
        self.bound = None if bound is None else float(bound)
        self.supports_masking = True
        self.input_spec = keras.layers.InputSpec(min_ndim=2)

    def build(self, input_shape: Any) -> None:
        """Creates scale and shift."""
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(
                "`ChannelAffine` needs a known size of the last axis. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: int(channels)})
        shared = {"shape": (int(channels),), "dtype": "float32", "autocast": False}
        self.scale = self.add_weight(name="scale", initializer="ones", **shared)
        self.shift = self.add_weight(name="shift", initializer="zeros", **shared)

    def bounded_scale(self) -> Any:
        """The scale that `call` uses, float32 `[C]`."""
        scale = ops.convert_to_tensor(self.scale)
        if self.bound is None:
            return scale
        # The largest at least the bound: no division by zero, no scale made larger.
        largest = ops.maximum(ops.max(ops.abs(scale)), self.bound)
        return scale * (self.bound / largest)

    def lipschitz_constant(self) -> Any:
        """The largest absolute scale that `call` uses, a float32 scalar."""
        return ops.max(ops.abs(self.bounded_scale()))

    def call(self, inputs: Any) -> Any:
        """Scales and shifts each channel."""
        x = ops.cast(inputs, "float32")
        return ops.cast(x * self.bounded_scale() + self.shift, self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The arguments that rebuild this layer."""
        return {**super().get_config(), "bound": self.bound}
