"""Theorem 1: a bound on a network's curvature from its layers alone, without data."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras

from tfrobust.core.constants import (
    Constants,
    compose,
    layer_constants,
    merge_constants,
)
from tfrobust.core.keras_graph import Tensor, is_graph, read_graph
from tfrobust.layers import network_of

# Of the softmax cross-entropy in the logits: norm(p - y) and norm(diag(p) - p p').
_LOSS = Constants(math.sqrt(2.0), 0.5)


class CurvatureBound(NamedTuple):
    """What no image can exceed.

    Attributes:
        lipschitz: On the operator norm of the logits' Jacobian.
        hessian: On the operator norm of the logits' second derivative, the largest
            `norm(D2 f[a, b])` of unit a and b.
        loss_gradient: On the gradient norm of the per-example cross-entropy,
            `sqrt(2) * lipschitz`.
        loss_hessian: On its Hessian norm,
            `lipschitz**2 / 2 + sqrt(2) * hessian`.
    """

    lipschitz: float
    hessian: float
    loss_gradient: float
    loss_hessian: float

    @property
    def normalized(self) -> float:
        """`hessian / lipschitz`, the right-hand side of the paper's Theorem 1.

        For layers `f_1 ... f_L` one after the other it equals
        `sum_i C_i * prod_(j<i) L_j` with `C_i = M_i / L_i`, layer by layer the terms of
        the theorem without its factors `n_i`: the norm of an elementwise activation's
        second derivative is its largest entry, with no factor of the dimension. It is
        the quotient of two bounds. It says how curvature adds up over the layers, and
        is what the curvature penalty pushes down; it is *not* a bound on
        `norm(Hessian) / norm(gradient)` at an image, which is infinite where a gradient
        vanishes.
        """
        return self.hessian / self.lipschitz if self.lipschitz else 0.0


def curvature_bound(network: keras.Model) -> CurvatureBound:
    """Bound a network's Lipschitz constant and Hessian norm from its weights.

    Each tensor of the network gets a pair (L, M) that bounds its first and second
    derivative in the input. Layers compose them by the chain rule,
    `L = L_g L_f` and `M = M_g L_f^2 + L_g M_f`; sums add them, averages average them,
    concatenations take the root of the sum of squares. A centered softplus has
    `(1, beta / 4)`; linear layers have `(norm, 0)`, the norm computed anew from the
    present weights, by singular values for small layers and by 60 rounds of Krylov
    iteration for large ones (short by 1e-4 at most). For a spectral layer it is that
    of the kernel it really applies, 1 after `refresh()`.

    The bound holds at inference, for every input. It ignores how far the maxima of
    different layers are apart, and grows with the depth and the `beta` of the network.
    ReLU and max pooling have a gradient that jumps: `lipschitz` stays finite, and
    `hessian` is infinite.

    Args:
        network: A functional or sequential Keras model with one output, made of the
            layers of `tfrobust.models` and the usual linear and pooling layers; nested
            models are followed, and so is the network of a `RobustModel`.

    Returns:
        The `CurvatureBound`.

    Raises:
        ValueError: If a layer's constants are not known, or the model is not a graph
            of layers.

    Reference: Srinivas et al. 2022 (LCNN), theorem 1.

    Example:
        >>> from tfrobust import geometry, models
        >>> network = models.MLP((2,), 2, "lcnn", hidden=(8,), beta=4.0)
        >>> bound = geometry.curvature_bound(network)
        >>> round(bound.lipschitz, 2), round(bound.hessian, 2)
        (1.0, 1.0)
        >>> round(bound.loss_hessian, 2)
        1.91
    """
    logits = _network_constants(network, Constants(1.0))
    loss = compose(_LOSS, logits)
    return CurvatureBound(
        logits.lipschitz, logits.hessian, loss.lipschitz, loss.hessian
    )


def _network_constants(network: keras.Model, start: Constants) -> Constants:
    """Constants of a model's output, given those of its input."""
    network = network_of(network)
    if isinstance(network, keras.Sequential):
        constants, shape = start, network.input_shape
        for layer in network.layers:
            constants = _apply(layer, [constants], [shape])
            shape = layer.compute_output_shape(shape)
        return constants
    return _Graph(network, start).output()


class _Graph:
    """The constants of a functional model's tensors, computed one after the other."""

    def __init__(self, network: keras.Model, start: Constants) -> None:
        if not is_graph(network):
            raise ValueError(
                "`network` must be a functional or sequential Keras model. "
                f"Received: a {type(network).__name__}"
            )
        graph = read_graph(network)
        inputs, outputs = graph.inputs, graph.outputs
        if len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(
                "`network` must have one input and one output. "
                f"Received: {len(inputs)} and {len(outputs)}"
            )
        self._calls = graph.calls
        self._layers = {layer.name: layer for layer in network.layers}
        self._last = outputs[0]
        self._constants: dict[Tensor, tuple[Constants, Any]] = {
            inputs[0]: (start, network.input_shape)
        }

    def output(self) -> Constants:
        """Constants of the model's output. Inputs first, with a stack of its own."""
        pending = [self._last]
        while pending:
            name, call, _ = pending[-1]
            sources = self._calls[name][call].inputs
            missing = [source for source in sources if source not in self._constants]
            if missing and pending[-1] not in self._constants:
                pending += missing
                continue
            origin = pending.pop()
            if origin not in self._constants:
                self._constants[origin] = self._node(origin[0], sources)
        return self._constants[self._last][0]

    def _node(self, name: str, sources: list[Tensor]) -> tuple[Constants, Any]:
        """Constants and shape of what one call of a layer returns."""
        layer = self._layers.get(name)
        if layer is None or not sources:
            raise ValueError(
                "`network` must be made of layers alone. "
                f"Received: an operation named {name!r}"
            )
        inputs = [self._constants[source][0] for source in sources]
        shapes = [self._constants[source][1] for source in sources]
        shape = layer.compute_output_shape(shapes if len(shapes) > 1 else shapes[0])
        return _apply(layer, inputs, shapes), shape


def _apply(layer: Any, inputs: list[Constants], shapes: list[Any]) -> Constants:
    merged = merge_constants(layer, inputs)
    if merged is not None:
        return merged
    if isinstance(layer, keras.Model):
        return _network_constants(layer, inputs[0])
    return compose(layer_constants(layer, shapes[0]), inputs[0])
