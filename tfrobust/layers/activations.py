"""Centered softplus: a smooth activation whose curvature is a learnable number."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from tfrobust.settings import require_positive


def centered_softplus(x: Any, beta: Any, max_value: float | None = None) -> Any:
    """Softplus of sharpness `beta`, shifted so that it maps zero to zero.

    `s0(x; beta) = log((1 + exp(beta * x)) / 2) / beta`. It runs from `x / 2` as beta
    goes to 0 to `max(x, 0)` as beta goes to infinity, is 1-Lipschitz, and its second
    derivative never exceeds `beta / 4`. Its normalised curvature, second derivative
    over slope, is `beta * (1 - slope)`: at most `beta`, and near it far below zero
    (equation 3).

    It is computed as `max(x, 0) - log1p(tanh(beta |x| / 2)) / beta`, where nothing
    cancels: the value is accurate to float32 rounding at any beta and x, the slope to
    two roundings of 1, the second derivative to as many of beta. `|x|` is twice
    `max(x, 0)` less x, whose slope at zero is that of the left side: the backend's own
    slope of `abs` is 0 there, and the curvature would vanish.

    With a `max_value` it stands for a capped ReLU, `min(max(x, 0), max_value)`, as
    `s0(x) - s0(x - max_value) + s0(-max_value)`: still zero at zero, 1-Lipschitz, its
    second derivative at most `beta / 4`. That is an addition to the paper; as beta goes
    to 0 this one goes to 0.

    Args:
        x: Float tensor of any shape.
        beta: Positive scalar, or a tensor that broadcasts against `x`.
        max_value: Positive number, or `None` for no cap.

    Returns:
        Tensor of the shape and dtype of `x`.

    Reference: Srinivas et al. 2022 (LCNN), section 3.3, equation 4.

    Example:
        >>> import numpy as np
        >>> from tfrobust.layers import centered_softplus
        >>> y = centered_softplus(np.array([-2.0, 0.0, 2.0], "float32"), 1000.0)
        >>> [round(float(v), 3) for v in y]
        [-0.001, 0.0, 1.999]
    """
    x = ops.convert_to_tensor(x)
    if max_value is not None:
        above = centered_softplus(x - max_value, beta)
        shift = centered_softplus(ops.full((), -max_value, x.dtype), beta)
        return centered_softplus(x, beta) - above + shift
    positive = ops.relu(x)
    absolute = positive + (positive - x)
    bend = ops.log1p(ops.tanh(absolute * (0.5 * beta)))
    return positive - bend * (1.0 / beta)


@keras.saving.register_keras_serializable(package="tfrobust")
class CenteredSoftplus(keras.layers.Layer):
    """Centered softplus with one learnable sharpness for the whole layer.

    The layer learns `log(beta)`, so beta stays positive. Its one weight is named
    `log_beta`; the optimisers of `tfrobust.training` leave it out of weight decay.
    The arithmetic is float32 whatever the layer's compute dtype, since `beta * x`
    overflows float16.

    Args:
        beta: Initial sharpness, positive. The paper's release starts at 5.
        trainable: Whether beta learns. `False` gives the fixed activation of the
            standard networks (`beta=1000`), which is ReLU to within 7e-4.
        max_value: The cap of a capped ReLU that it stands for, positive; `None` (the
            paper's): no cap.
        **kwargs: `name` and `dtype`, as for any Keras layer.

    Call arguments:
        inputs: Float tensor of any shape. The output has the same shape.

    Raises:
        ValueError: If `beta` or `max_value` is not a positive finite number.

    Reference: Srinivas et al. 2022 (LCNN), section 3.3, equation 4;
    see `centered_softplus`.

    Example:
        >>> import numpy as np
        >>> from tfrobust.layers import CenteredSoftplus
        >>> layer = CenteredSoftplus(beta=5.0)
        >>> float(layer(np.zeros((1, 3), "float32"))[0, 0])
        0.0
        >>> round(float(layer.beta), 3)
        5.0
    """

    def __init__(
        self, beta: float = 5.0, max_value: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        require_positive("beta", beta)
        if max_value is not None:
            require_positive("max_value", max_value)
        self.initial_beta = float(beta)
        self.max_value = None if max_value is None else float(max_value)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Creates `log_beta`; `input_shape` is not used."""
        self.log_beta = self.add_weight(
            name="log_beta",
            shape=(),
            initializer=keras.initializers.Constant(math.log(self.initial_beta)),
            dtype="float32",
            autocast=False,
        )

    @property
    def beta(self) -> Any:
        """The current sharpness, a positive float32 scalar tensor."""
        return ops.exp(self.log_beta)

    def call(self, inputs: Any) -> Any:
        """Applies the activation element by element."""
        x = ops.cast(inputs, "float32")
        y = centered_softplus(x, self.beta, self.max_value)
        return ops.cast(y, self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The arguments that rebuild this layer."""
        return {
            **super().get_config(),
            "beta": self.initial_beta,
            "max_value": self.max_value,
        }
