"""Reading the learnt beta and gamma of a low-curvature network."""

from __future__ import annotations

import keras

from tfrobust.layers import (
    LipschitzBatchNormalization,
    find_layers,
    learnable_activations,
)


def betas(network: keras.Model) -> dict[str, float]:
    """The learnable beta of each centered softplus, by layer name.

    Args:
        network: Any Keras model.

    Returns:
        `{layer name: beta}` in the model's order; empty for a standard network, whose
        activations are fixed.

    Reference: Srinivas et al. 2022 (LCNN), section 3.3.

    Example:
        >>> from tfrobust import models
        >>> network = models.MLP((2,), classes=2, hidden=(8,), variant="lcnn")
        >>> {name: round(beta, 3) for name, beta in models.betas(network).items()}
        {'hidden1_activation': 5.0}
    """
    return {layer.name: float(layer.beta) for layer in learnable_activations(network)}


def gammas(network: keras.Model) -> dict[str, float]:
    """The gamma of each gamma-Lipschitz batch norm, by layer name.

    Args:
        network: Any Keras model.

    Returns:
        `{layer name: gamma}` in the model's order; empty for a standard network.

    Reference: Srinivas et al. 2022 (LCNN), section 3.4.2.

    Example:
        >>> from tfrobust import models
        >>> network = models.ResNet18((8, 8, 3), width=2, variant="lcnn")
        >>> len(models.gammas(network))
        20
    """
    return {
        layer.name: float(layer.gamma)
        for layer in find_layers(network, LipschitzBatchNormalization)
    }
