"""Theorem 1: a bound on a network's curvature from its layers alone, without data."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
from keras import layers as kl

from tfrobust.core.constants import (
    Constants,
    compose,
    layer_constants,
    merge_constants,
    without_activation,
)
from tfrobust.core.keras_graph import Tensor, is_graph, read_graph
from tfrobust.core.pixels import bounds_of
from tfrobust.layers import CenteredSoftplus, network_of

# Layers that change no number at inference, nor which there are.
_PASSING = (
    kl.Dropout,
    kl.Flatten,
    kl.GaussianDropout,
    kl.GaussianNoise,
    kl.Identity,
    kl.Reshape,
)

# Of the softmax cross-entropy in the logits: norm(p - y) and norm(diag(p) - p p').
_LOSS = Constants(math.sqrt(2.0), 0.5)


class CurvatureBound(NamedTuple):
    """What no image can exceed, in units of images in [0, 1].

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
        vanishes (LCNN-X4).

        Of a centered softplus `M_i / L_i` is `beta / 4`, the largest second derivative
        over the largest slope. The largest quotient of the two at one point, which the
        paper bounds, is `beta` (LCNN-X7).

        The product runs over the layers before i, as the chain rule has it. The paper
        prints it up to i itself (LCNN-X1), which is false: one layer `x^2 / 2` at 0.5
        has curvature 2, and the printed sum is `2 * 0.5`.

        Example:
            >>> CurvatureBound(0.5, 1.0, 0.0, 0.0).normalized  # x^2 / 2 up to 0.5
            2.0
        """
        return self.hessian / self.lipschitz if self.lipschitz else 0.0


def curvature_bound(network: keras.Model, *, bounds: Any = None) -> CurvatureBound:
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

    It is of the logits as a function of images in [0, 1], whatever the bounds: a
    softmax or sigmoid at the end is left out, and of one output z for two classes the
    logits are `(-z/2, z/2)`.

    Args:
        network: A functional or sequential Keras model, made of the layers of
            `tfrobust.models` and the usual linear and pooling layers; nested models are
            followed, and so is the network of a `RobustModel`. Of several outputs the
            one named "logits" counts, or that which a `models.Classifier` names.
        bounds: The range of the pixels, as for an attack's call.

    Returns:
        The `CurvatureBound`.

    Raises:
        ValueError: If a layer's constants are not known, or the model is not a graph
            of layers.

    Reference: Srinivas et al. 2022 (LCNN), section 3.2, Theorem 1, equation 2.

    Example:
        >>> from tfrobust import geometry, models
        >>> network = models.MLP((2,), 2, "lcnn", hidden=(8,), beta=4.0)
        >>> bound = geometry.curvature_bound(network)
        >>> round(bound.lipschitz, 2), round(bound.hessian, 2)
        (1.0, 1.0)
        >>> round(bound.loss_hessian, 2)
        1.91
    """
    low, high = bounds_of(network, bounds)
    output = getattr(network, "output_name", None)
    logits = _logits_constants(network, Constants(high - low), output)
    loss = compose(_LOSS, logits)
    return CurvatureBound(
        logits.lipschitz, logits.hessian, loss.lipschitz, loss.hessian
    )


def _logits_constants(network: Any, start: Constants, output: str | None) -> Constants:
    """Constants of a network's logits, as `core.classifier` finds them."""
    constants, ending = _network_constants(network, start, _End(output))
    classes = 1 if len(ending.shape) == 1 else ending.shape[1]
    if classes != 1:
        if ending.activation == "sigmoid":
            raise ValueError(
                "`network` must choose one of its classes, by a softmax or by logits. "
                f"Received: a sigmoid for each of {classes} classes"
            )
        return constants
    if ending.activation not in ("sigmoid", "linear"):
        raise ValueError(
            "`network` with one output must end in a sigmoid or a layer without an "
            "activation, whose output is the logit of class 1. "
            f"Received: {ending.activation}"
        )
    # Of a log-odds z the logits are -z/2 and z/2.
    return compose(Constants(math.sqrt(0.5)), constants)


class _End(NamedTuple):
    """Where a network ends, and in what.

    Attributes:
        output: The name of the output that counts.
        shape: Of what the network answers with, batch first.
        activation: The name of the activation at the end; `"softmax"` and `"sigmoid"`
            are left out of the constants.
    """

    output: str | None = None
    shape: Any = ()
    activation: str = "linear"


def _network_constants(
    network: keras.Model, start: Constants, end: _End | None
) -> tuple[Constants, _End]:
    """Constants of a model's output, given those of its input; how it ends.

    Without its softmax or sigmoid at the end, if there is one and `end` is given.
    """
    network = network_of(network)
    if isinstance(network, keras.Sequential):
        constants, shape = start, network.input_shape
        layers = list(network.layers)
        last = max((i for i, x in enumerate(layers) if not _passes(x)), default=-1)
        ending = _End()
        for number, layer in enumerate(layers):
            here = end if number == last else None
            constants, found = _apply(layer, [constants], [shape], here)
            ending = found if number == last else ending
            shape = layer.compute_output_shape(shape)
        return constants, ending._replace(shape=shape)
    return _Graph(network, start, end).output()


class _Graph:
    """The constants of a functional model's tensors, computed one after the other."""

    def __init__(
        self, network: keras.Model, start: Constants, end: _End | None
    ) -> None:
        if not is_graph(network):
            raise ValueError(
                "`network` must be a functional or sequential Keras model. "
                f"Received: a {type(network).__name__}"
            )
        graph = read_graph(network)
        inputs = graph.inputs
        outputs = _chosen(network, graph.outputs, end.output if end else None)
        if len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(
                "`network` must have one input and one output. "
                f"Received: {len(inputs)} and {len(outputs)}"
            )
        self._calls = graph.calls
        self._layers = {layer.name: layer for layer in network.layers}
        self._last = outputs[0]
        self._end, self._ending = end, _End()
        self._end_at = self._find_end()
        self._constants: dict[Tensor, tuple[Constants, Any]] = {
            inputs[0]: (start, network.input_shape)
        }

    def output(self) -> tuple[Constants, _End]:
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
                self._constants[origin] = self._node(origin, sources)
        constants, shape = self._constants[self._last]
        return constants, self._ending._replace(shape=shape)

    def _find_end(self) -> Tensor:
        """The last tensor that is more than another one passed on."""
        place = self._last
        while place[0] in self._layers and _passes(self._layers[place[0]]):
            sources = self._calls[place[0]][place[1]].inputs
            if len(sources) != 1:
                break
            place = sources[0]
        return place

    def _node(self, origin: Tensor, sources: list[Tensor]) -> tuple[Constants, Any]:
        """Constants and shape of what one call of a layer returns."""
        name = origin[0]
        layer = self._layers.get(name)
        if layer is None or not sources:
            raise ValueError(
                "`network` must be made of layers alone. "
                f"Received: an operation named {name!r}"
            )
        inputs = [self._constants[source][0] for source in sources]
        shapes = [self._constants[source][1] for source in sources]
        shape = layer.compute_output_shape(shapes if len(shapes) > 1 else shapes[0])
        is_end = origin == self._end_at
        constants, found = _apply(layer, inputs, shapes, self._end if is_end else None)
        if is_end:
            self._ending = found
        return constants, shape


def _chosen(
    network: keras.Model, outputs: list[Tensor], name: str | None
) -> list[Tensor]:
    """The output that counts, of several; all where none is named."""
    if len(outputs) == 1:
        return outputs
    ends = network.get_config()["output_layers"]
    wanted = "logits" if name is None else name
    if isinstance(ends, dict):
        return [tuple(ends[wanted])] if wanted in ends else outputs
    pairs = zip(network.output_names, outputs, strict=True)
    return [place for own, place in pairs if own == wanted] or outputs


def _passes(layer: Any) -> bool:
    """Whether a layer passes all numbers on as they are, at inference."""
    if type(layer) is kl.Activation:
        return layer.activation is keras.activations.linear
    return type(layer) in _PASSING


def _apply(
    layer: Any, inputs: list[Constants], shapes: list[Any], end: _End | None = None
) -> tuple[Constants, _End]:
    """Constants of a layer's output, and its activation if it is where all ends."""
    merged = merge_constants(layer, inputs)
    if merged is not None:
        return merged, _End()
    if isinstance(layer, keras.Model):
        own = getattr(layer, "output_name", None)
        inner = None if end is None else _End(own)
        return _network_constants(layer, inputs[0], inner)
    activation = _activation_name(layer)
    if end is not None and activation in ("softmax", "sigmoid"):
        constants = without_activation(layer, shapes[0])
    else:
        constants = layer_constants(layer, shapes[0])
    return compose(constants, inputs[0]), _End(activation=activation)


def _activation_name(layer: Any) -> str:
    """Of a layer's activation, by identity where it is one of Keras's."""
    if type(layer) is kl.Softmax:
        return "softmax"
    if type(layer) in (kl.LeakyReLU, kl.ReLU, CenteredSoftplus):
        return type(layer).__name__
    function = getattr(layer, "activation", None)
    name = getattr(function, "__name__", "linear")
    known = function is None or function is keras.activations.get(name)
    return name if known else f"a function {name}"
