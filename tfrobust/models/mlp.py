"""Multilayer perceptron, plain, standard and low-curvature."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from tfrobust.models.parts import Parts
from tfrobust.models.registry import register
from tfrobust.settings import require_steps


def MLP(
    input_shape: tuple[int, ...],
    classes: int = 10,
    variant: str = "standard",
    hidden: Sequence[int] = (256, 256),
    *,
    beta: float = 5.0,
    name: str = "mlp",
) -> keras.Model:
    """Dense layers with centered softplus or ReLU between them, and no normalisation.

    Args:
        input_shape: Shape of one input, any rank: `(2,)` for a point in the plane,
            `(28, 28, 1)` for an image; it is flattened.
        classes: Number of classes K.
        variant: `"standard"` (dense, softplus at beta = 1000), `"plain"` (dense, ReLU),
            `"softplus"` (at `beta`) or `"lcnn"` (spectral dense, learnable beta).
        hidden: Units of each hidden layer.
        beta: Of every activation: where `lcnn` starts, what `softplus` keeps.
        name: Name of the model.

    Returns:
        A functional `keras.Model` from float32 `[B,*input_shape]` to logits `[B,K]`.

    Raises:
        ValueError: If an argument is out of range.

    Reference: Srinivas et al. 2022 (LCNN), section 3. Its Figure 1 has such a network,
    whose settings are not in the text (LCNN-N1).

    Example:
        >>> from tfrobust import models
        >>> models.MLP((2,), classes=2, hidden=(8,), variant="lcnn").output_shape
        (None, 2)
    """
    require_steps("classes", classes)
    parts = Parts(variant=variant, beta=beta)
    inputs = keras.Input(tuple(input_shape), name="images")
    x = keras.layers.Flatten(name="flatten")(inputs)
    for index, units in enumerate(hidden, start=1):
        require_steps("hidden", units)
        x = parts.dense(x, int(units), name=f"hidden{index}")
        x = parts.activation(x, name=f"hidden{index}_activation")
    return keras.Model(inputs, parts.dense(x, classes, name="logits"), name=name)


@register("mlp")
def _mlp(
    input_shape: tuple[int, ...],
    classes: int,
    variant: str = "standard",
    width: int = 256,
    *,
    beta: float = 5.0,
) -> keras.Model:
    """Two hidden layers of `width` units each."""
    return MLP(input_shape, classes, variant, (width, width), beta=beta)
