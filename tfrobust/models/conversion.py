"""Any functional Keras network as a low-curvature one, with its weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
from keras import layers as kl

from tfrobust.core.constants import Constants
from tfrobust.core.keras_graph import Graph, is_graph, read_graph
from tfrobust.layers import network_of
from tfrobust.models import conversion_calls as calls
from tfrobust.models import conversion_parts as parts
from tfrobust.models.conversion_activations import (
    Rectifier,
    rectifier_of_function,
    rectifier_of_layer,
)
from tfrobust.models.conversion_calls import Replacement
from tfrobust.models.conversion_parts import Form
from tfrobust.models.conversion_report import ConversionReport, LayerChange
from tfrobust.settings import require_positive, require_steps


class Conversion(NamedTuple):
    """A converted network, and what that changed.

    Attributes:
        network: A functional Keras model with weights of its own.
        report: The `ConversionReport`: `print(report)` for a summary,
            `report.table()` layer by layer.
    """

    network: keras.Model
    report: ConversionReport


def to_low_curvature(
    network: keras.Model,
    *,
    beta: float = 5.0,
    gamma: float = 10.0,
    affine: bool = True,
    power_iterations: int = 1,
    input_shape: Sequence[int] | None = None,
) -> Conversion:
    """The low-curvature form (LCNN) of a Keras network, to be trained further.

    Convolutions (strided, dilated, grouped, depthwise, separable, transposed) and dense
    layers become spectral layers, divided by the largest singular value of their linear
    map at its image size; batch norms become gamma-Lipschitz; rectifiers, also those
    inside a layer, become centered softplus, with a cap where they have one; sums
    become averages. Pooling, padding, dropout and other layers are kept.

    Weights are carried over: kernels as they are, to be divided in each call; biases
    divided by the same norm; the moving statistics of a batch norm right behind such a
    layer too, so that it normalizes as before. Scale and shift of batch norms stay in a
    `ChannelAffine` behind them, the scales made smaller by one factor where one exceeds
    1. Still the network computes another function, as it must: train it before use.
    What has no global Lipschitz constant (layer normalization, attention, the product
    of a squeeze-and-excitation block) is kept and listed in `report.unbounded`; where
    that is empty, `geometry.curvature_bound` takes the network.

    Args:
        network: A built functional or sequential Keras model, or a model that trains
            one; nested ones are converted too. It is not changed.
        beta: Where each centered softplus starts, positive.
        gamma: Where each batch norm's bound starts, positive.
        affine: Whether scale and shift of batch norms are kept. `False` is the paper's
            network, without them.
        power_iterations: Rounds that each spectral layer makes in each training step,
            at least 1.
        input_shape: `(H, W, C)` of one image where the network leaves it open; spectral
            norms depend on it.

    Returns:
        `Conversion(network, report)`. Layers keep their names; what stands behind one
        has its name and `_activation`, `_affine` or the like.

    Raises:
        ValueError: If the network is of another kind, has open image sizes, or calls a
            convolution at two image sizes; or a setting is out of range.

    Reference: Srinivas et al. 2022 (LCNN), sections 3.3 and 3.4.

    Example:
        >>> import keras
        >>> from tfrobust import geometry, models
        >>> network = keras.Sequential([
        ...     keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, activation="relu"),
        ...     keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> low, report = models.to_low_curvature(network)
        >>> print(report)
        layers | was                    | is
        1      | Conv2D, relu           | SpectralConv2D, CenteredSoftplus
        1      | GlobalAveragePooling2D | kept
        1      | Dense                  | SpectralDense
        >>> geometry.curvature_bound(low).lipschitz < 1
        True
    """
    require_steps("power_iterations", power_iterations)
    form = Form(
        beta=beta,
        gamma=gamma,
        spectral=True,
        affine=bool(affine),
        power_iterations=power_iterations,
    )
    return _convert(network, form, input_shape)


def curvature_recipe(
    network: keras.Model, *, beta: float = 5.0, gamma: float = 10.0
) -> Conversion:
    """A Keras network with what the curvature penalty trains, and no spectral layers.

    Rectifiers become centered softplus with a learnable beta and batch norms become
    gamma-Lipschitz with a learnable gamma, so that `penalties.Curvature` has its terms;
    convolutions, dense layers, sums and everything else are kept. Scale and shift stay
    in a `ChannelAffine` without bound. It costs no power iteration, and bounds nothing
    by itself: the linear layers are as large as their weights.

    Weights are carried over. Where all rectifiers are ReLU, capped or not, the function
    comes back as `beta` and `gamma` grow; the start of the paper (5 and 10) changes it.

    Args:
        network: As for `to_low_curvature`; sizes may be open.
        beta: Where each centered softplus starts, positive.
        gamma: Where each batch norm's bound starts, positive.

    Returns:
        `Conversion(network, report)`.

    Raises:
        ValueError: If the network is of another kind, or a setting is out of range.

    Reference: Srinivas et al. 2022 (LCNN), sections 3.3, 3.4.2 and 3.5, equation 5.

    Example:
        >>> import keras, numpy as np
        >>> from tfrobust import models
        >>> network = keras.Sequential([
        ...     keras.Input((4,)), keras.layers.Dense(8), keras.layers.ReLU(),
        ...     keras.layers.Dense(2)])
        >>> same, _ = models.curvature_recipe(network, beta=1e6)
        >>> x = np.ones((1, 4), "float32")
        >>> bool(np.allclose(same(x), network(x), atol=1e-5))
        True
    """
    form = Form(beta=beta, gamma=gamma, spectral=False, affine=True)
    return _convert(network, form, None)


def _convert(network: Any, form: Form, input_shape: Sequence[int] | None) -> Conversion:
    require_positive("beta", form.beta)
    require_positive("gamma", form.gamma)
    network = network_of(network)
    inputs = None
    if input_shape is not None:
        inputs = _open_input(network, tuple(input_shape))
    converter = _Converter(form)
    converted = converter.convert(network, "", inputs)
    return Conversion(converted, ConversionReport(tuple(converter.changes)))


def _open_input(network: Any, shape: tuple[int, ...]) -> Any:
    """An input of the shape given, where the network's own admits it."""
    given: Any = getattr(network, "input_shape", None)
    fits = isinstance(given, tuple) and len(given) == len(shape) + 1
    if not fits or any(
        g not in (None, s) for g, s in zip(given[1:], shape, strict=True)
    ):
        raise ValueError(
            f"`input_shape` must fit the network's, {given}. "
            f"Received: input_shape={shape}"
        )
    return keras.Input(shape, dtype=network.inputs[0].dtype)


class _Converter:
    """Converts a network and those nested in it, each layer once."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.changes: list[LayerChange] = []
        self._made: dict[int, Replacement] = {}

    def convert(self, network: Any, path: str, inputs: Any = None) -> keras.Model:
        """The converted network, on `inputs` or on inputs of its own."""
        if not is_graph(network):
            raise ValueError(
                "`network` must be a built functional or sequential Keras model, and "
                f"so must models in it. Received: a {type(network).__name__} named "
                f"{getattr(network, 'name', None)!r}"
            )
        if isinstance(network, keras.Sequential):
            ends = network.inputs[0], network.outputs[0]
        else:
            ends = network.input, network.output
        # A plain model, not compiled: what it was compiled with is the given one's.
        plain = keras.Model(*ends, name=network.name)
        if inputs is not None:
            inputs = keras.tree.pack_sequence_as(plain.input, [inputs])
        room = _Room(self, plain, path)
        return keras.models.clone_model(
            plain,
            input_tensors=inputs,
            clone_function=room.replacement,
            call_function=lambda made, *inputs, **settings: made(*inputs, **settings),
        )

    def made(self, layer: Any, make: Callable[[], Replacement]) -> Replacement:
        """The replacement of a layer, which two models may share."""
        if id(layer) not in self._made:
            self._made[id(layer)] = make()
        return self._made[id(layer)]


class _Room:
    """One model of those that are nested in one another."""

    def __init__(self, converter: _Converter, model: keras.Model, path: str) -> None:
        self.converter, self.form, self.path = converter, converter.form, path
        self._graph: Graph = read_graph(model)
        self._names = {operation.name for operation in model.operations}
        # By what the last linear layer of a name is divided.
        self.norms: dict[str, float] = {}

    def replacement(self, layer: Any) -> Replacement:
        """What is called where the layer was."""
        return self.converter.made(layer, lambda: self._make(layer))

    def _make(self, layer: Any) -> Replacement:
        if isinstance(layer, keras.Model):
            return calls.Nested(self, layer)
        rectifier = rectifier_of_layer(layer)
        if rectifier is not None:
            return calls.Activation(self, layer, rectifier)
        if not isinstance(layer, kl.Layer):
            return calls.Operation(self, layer)
        if parts.is_batch_norm(layer):
            return calls.Norm(self, layer, self._norm_in_front(layer))
        if self.form.spectral and parts.can_be_spectral(layer):
            return calls.Linear(self, layer, _own_rectifier(layer))
        if self.form.spectral and type(layer) is kl.Add:
            return calls.Average(self, layer)
        rectifier = _own_rectifier(layer)
        if type(layer) in parts.LINEAR and rectifier is not None:
            return calls.KeptLinear(self, layer, rectifier)
        return calls.Kept(self, layer)

    def _norm_in_front(self, layer: Any) -> float:
        """By what the input of a batch norm has been divided."""
        uses = self._graph.calls[layer.name]
        if len(uses) != 1 or len(uses[0].inputs) != 1:
            return 1.0
        return self.norms.get(uses[0].inputs[0][0], 1.0)

    def convert(self, network: Any, inputs: Any) -> keras.Model:
        """A model nested in this one, converted."""
        path = f"{self.path}{network.name}/"
        return self.converter.convert(network, path, inputs)

    def new_name(self, layer: Any, ending: str) -> str:
        """A name that no layer of this model has, behind the layer's own."""
        name, count = f"{layer.name}_{ending}", 1
        while name in self._names:
            count += 1
            name = f"{layer.name}_{ending}{count}"
        self._names.add(name)
        return name

    def record(
        self,
        layer: Any,
        before: str,
        after: str,
        constants: Constants | None,
        notes: Sequence[str] = (),
    ) -> None:
        """Adds a line to the report."""
        self.converter.changes.append(
            LayerChange(
                name=f"{self.path}{layer.name}",
                before=before,
                after=after,
                lipschitz=None if constants is None else constants.lipschitz,
                is_smooth=constants is None or constants.hessian < math.inf,
                note=", ".join(note for note in notes if note),
            )
        )


def _own_rectifier(layer: Any) -> Rectifier | None:
    """The rectifier that a layer applies to its own answers."""
    return rectifier_of_function(getattr(layer, "activation", None))
