"""What is called in a converted network where a layer of the given one was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import keras
from keras import layers as kl

from tfrobust.core.constants import (
    Constants,
    compose,
    layer_constants,
    merge_constants,
)
from tfrobust.layers import (
    LipschitzBatchNormalization,
    SpectralLayer,
    find_layers,
)
from tfrobust.layers.spectral_layer import SpectralImageLayer
from tfrobust.models import conversion_parts as parts
from tfrobust.models.conversion_activations import (
    Rectifier,
    is_operation,
    name_of,
)

_UNKNOWN = Constants(math.inf, math.inf)


class Room(Protocol):
    """The model that a layer stands in, while it is converted."""

    form: parts.Form
    norms: dict[str, float]

    def new_name(self, layer: Any, ending: str) -> str:
        """A name that no layer of the model has."""

    def convert(self, network: Any, inputs: Any) -> keras.Model:
        """A model nested in it, converted."""

    def record(
        self,
        layer: Any,
        before: str,
        after: str,
        constants: Constants | None,
        notes: Sequence[str],
    ) -> None:
        """Adds a line to the report."""


class Replacement:
    """Layers that are called one after the other where one was.

    Weights are taken over, and the change is recorded, after the first call, which
    builds them.
    """

    def __init__(self, room: Room, layer: Any) -> None:
        self.room, self.form, self.layer, self.note = room, room.form, layer, ""
        self.layers: list[Any] = []
        self._finished = False

    def __call__(self, *inputs: Any, **settings: Any) -> Any:
        """The output of the last of the layers."""
        tensors = tensors_in((inputs, settings))
        self.prepare(tensors)
        answer = self.answer(tensors, inputs, settings)
        if not self._finished:
            self._finished = True
            self.finish(tensors)
        return answer

    def prepare(self, tensors: list[keras.KerasTensor]) -> None:
        """Checks what the layers are called with."""

    def answer(
        self,
        tensors: list[keras.KerasTensor],
        inputs: tuple[Any, ...],
        settings: dict[str, Any],
    ) -> Any:
        """Calls the layers; with the first tensor, and whether it is training."""
        training = {k: v for k, v in settings.items() if k == "training"}
        others = [
            key
            for key, value in settings.items()
            if key != "training" and value is not None and not tensors_in(value)
        ]
        if others or len(tensors) != 1:
            raise ValueError(
                "`network` must call a layer that is converted with one tensor, and "
                "with no setting but `training`. Received: the layer named "
                f"{self.layer.name!r} with {len(tensors)} tensors and {others}"
            )
        first, *rest = self.layers
        takes = isinstance(first, (SpectralLayer, LipschitzBatchNormalization))
        x = first(tensors[0], **(training if takes else {}))
        for layer in rest:
            x = layer(x)
        return x

    def finish(self, tensors: list[keras.KerasTensor]) -> None:
        """Takes weights over and records the change."""
        raise NotImplementedError

    def record(self, constants: Constants | None, *notes: str) -> None:
        """Records the layers as what this one has become."""
        after = ", ".join(described(layer) for layer in self.layers)
        self.room.record(
            self.layer, described(self.layer), after, constants, [self.note, *notes]
        )

    def softplus(self, rectifier: Rectifier, name: str) -> Any:
        """The centered softplus for this layer or for its activation."""
        return parts.softplus(self.layer, self.form, name, rectifier.max_value)


class Activation(Replacement):
    """A centered softplus where a rectifier was."""

    def __init__(self, room: Room, layer: Any, rectifier: Rectifier) -> None:
        super().__init__(room, layer)
        self._lost = rectifier.lost
        self.layers = [self.softplus(rectifier, layer.name)]

    def finish(self, tensors: list[keras.KerasTensor]) -> None:
        """Records what the form of the rectifier was."""
        constants = constants_of(self.layers[0], tensors)
        self.record(constants, self._lost)


class Norm(Replacement):
    """A gamma-Lipschitz batch norm, with scale and shift behind it."""

    def __init__(self, room: Room, layer: Any, norm: float) -> None:
        super().__init__(room, layer)
        self._norm = norm
        name = room.new_name(layer, "affine")
        self.layers = parts.norm_layers(layer, self.form, name, norm)

    def finish(self, tensors: list[keras.KerasTensor]) -> None:
        """Takes statistics, scale and shift over."""
        parts.carry_norm(self.layer, self.layers, self._norm)
        constants, notes = Constants(1.0), parts.lost_settings(self.layer)
        for layer in self.layers:
            constants = compose(layer_constants(layer, tensors[0].shape), constants)
        if len(self.layers) == 1 and (self.layer.scale or self.layer.center):
            notes.append("its scale and shift are lost")
        if self._norm != 1.0:
            notes.append(f"statistics divided by {self._norm:.4g}")
        self.record(constants, *notes)


class Linear(Replacement):
    """Spectral layers where a linear one was, and its activation behind them."""

    def __init__(self, room: Room, layer: Any, rectifier: Rectifier | None) -> None:
        super().__init__(room, layer)
        self._lost = rectifier.lost if rectifier else ""
        is_separable = type(layer) is kl.SeparableConv2D
        name = room.new_name(layer, "depthwise") if is_separable else layer.name
        self._spectral = parts.spectral_layers(layer, self.form, name)
        self._behind: list[Any] = []
        if name_of(layer.activation) != "linear":
            name = room.new_name(layer, "activation")
            self._behind = [self._activation(rectifier, name)]
        self.layers = [*self._spectral, *self._behind]

    def _activation(self, rectifier: Rectifier | None, name: str) -> Any:
        if rectifier is not None:
            return self.softplus(rectifier, name)
        settings = {"name": name, "dtype": self.layer.dtype_policy}
        return kl.Activation(self.layer.activation, **settings)

    def prepare(self, tensors: list[keras.KerasTensor]) -> None:
        """Refuses images of an unknown size, or of two sizes."""
        first = self._spectral[0]
        if not isinstance(first, SpectralImageLayer) or not tensors:
            return
        shape = tuple(tensors[0].shape)
        if None in shape[1:]:
            raise ValueError(
                "`network` must have a known image size, on which the norm of a "
                "convolution depends; give `input_shape`. "
                f"Received: {shape} at the layer named {self.layer.name!r}"
            )
        if first.built and shape[1:3] != first.input_size:
            raise two_sizes(self.layer, first.input_size, shape[1:3])

    def finish(self, tensors: list[keras.KerasTensor]) -> None:
        """Takes kernel and bias over."""
        norm = parts.carry_linear(self.layer, self._spectral)
        if not self._behind:
            self.room.norms[self.layer.name] = norm
        constants = Constants(1.0)
        for layer in self._behind:
            constants = compose(constants_of(layer, tensors), constants)
        lost = parts.lost_settings(self.layer)
        self.record(constants, f"divided by {norm:.4g}", self._lost, *lost)


class KeptLinear(Replacement):
    """A linear layer as it was, and a centered softplus for its activation."""

    def __init__(self, room: Room, layer: Any, rectifier: Rectifier) -> None:
        super().__init__(room, layer)
        self._lost = rectifier.lost
        copy = parts.copy_of(layer, activation="linear")
        name = room.new_name(layer, "activation")
        self.layers = [copy, self.softplus(rectifier, name)]

    def finish(self, tensors: list[keras.KerasTensor]) -> None:
        """Takes kernel and bias over."""
        parts.carry_copy(self.layer, self.layers[0])
        constants = kept_constants(self.layers[0], tensors, self.form)
        if constants is not None:
            bend = constants_of(self.layers[1], tensors)
            constants = compose(bend, constants)
        self.record(constants, self._lost)


class Kept(Replacement):
    """A copy of the layer."""

    def __init__(self, room: Room, layer: Any) -> None:
        super().__init__(room, layer)
        self.layers = [parts.copy_of(layer)]

    def answer(self, tensors: Any, inputs: Any, settings: Any) -> Any:
        """Calls the copy as the layer was called."""
        return self.layers[0](*inputs, **settings)

    def finish(self, tensors: list[keras.KerasTensor]) -> None:
        """Takes weights over."""
        (copy,) = self.layers
        parts.carry_copy(self.layer, copy)
        self.record(kept_constants(copy, tensors, self.form))


class Average(Replacement):
    """The average where a sum was."""

    def __init__(self, room: Room, layer: Any) -> None:
        super().__init__(room, layer)
        dtype = layer.dtype_policy
        self.layers = [kl.Average(name=layer.name, dtype=dtype)]

    def answer(self, tensors: Any, inputs: Any, settings: Any) -> Any:
        """The average of all inputs."""
        return self.layers[0](*inputs, **settings)

    def finish(self, tensors: list[keras.KerasTensor]) -> None:
        """Records by what the sum is divided."""
        self.record(Constants(1.0), f"divided by {len(tensors)}")


class Operation(Replacement):
    """A layer for arithmetic that layers know, or else the operation itself."""

    def answer(self, tensors: Any, inputs: Any, settings: Any) -> Any:
        """Chooses by what the operation is called with."""
        node, name = self.layer, self.layer.name
        kind = type(node).__name__
        if is_operation(node, kind) and not settings and tensors:
            dtype = tensors[0].dtype
            scaling = parts.scaling_of(kind, inputs, name, dtype)
            if scaling is not None:
                self.layers = [scaling]
                return scaling(tensors[0])
            if kind == "Add" and is_sum_of_two(inputs, tensors):
                merge = kl.Average if self.form.spectral else kl.Add
                self.note = "divided by 2" if self.form.spectral else ""
                self.layers = [merge(name=name, dtype=dtype)]
                return self.layers[0](tensors)
        self.layers = [node]
        return node(*inputs, **settings)

    def finish(self, tensors: list[keras.KerasTensor]) -> None:
        """Records the layer or operation."""
        (made,) = self.layers
        constants = _UNKNOWN
        if isinstance(made, kl.Layer):
            constants = constants_of(made, tensors)
        self.record(constants)


class Nested(Replacement):
    """A model inside the model, converted at the size that it is called with."""

    def answer(self, tensors: Any, inputs: Any, settings: Any) -> Any:
        """Converts it at the first call, and calls it."""
        if not self.layers:
            given = None
            if len(tensors) == 1 and _is_open(self.layer):
                shape, dtype = tensors[0].shape, tensors[0].dtype
                given = keras.Input(batch_shape=shape, dtype=dtype)
            self.layers = [self.room.convert(self.layer, given)]
        (network,) = self.layers
        sizes = [tuple(t.shape[1:]) for t in network.inputs]
        called = [tuple(t.shape[1:]) for t in tensors]
        if sizes != called and find_layers(network, SpectralImageLayer):
            raise two_sizes(self.layer, sizes[0], called[0])
        return network(*inputs, **settings)

    def finish(self, tensors: list[keras.KerasTensor]) -> None:
        """Its layers have recorded themselves."""


def _is_open(model: keras.Model) -> bool:
    inputs = getattr(model, "inputs", None) or []
    return any(None in tensor.shape[1:] for tensor in inputs)


def two_sizes(layer: Any, one: Any, other: Any) -> ValueError:
    """The error for a layer that is called at two image sizes."""
    return ValueError(
        "`network` must call a convolution at one image size alone, since its norm "
        f"depends on the size. Received: the layer named {layer.name!r} at {one} and "
        f"{other}"
    )


def tensors_in(structure: Any) -> list[keras.KerasTensor]:
    """The symbolic tensors of a structure."""
    flat = keras.tree.flatten(structure)
    return [x for x in flat if isinstance(x, keras.KerasTensor)]


def is_sum_of_two(inputs: Any, tensors: Any) -> bool:
    """Whether a sum is of two tensors of one shape, so that no axis is broadcast."""
    return len(inputs) == len(tensors) == 2 and tensors[0].shape == tensors[1].shape


def described(layer: Any) -> str:
    """Class and activation of a layer.

    Example:
        >>> import keras
        >>> described(keras.layers.Dense(2, activation="relu"))
        'Dense, relu'
    """
    kind = type(layer).__name__
    function = getattr(layer, "activation", None)
    name = name_of(function) if callable(function) else "linear"
    return kind if name == "linear" else f"{kind}, {name}"


def kept_constants(
    layer: Any, tensors: list[keras.KerasTensor], form: parts.Form
) -> Constants | None:
    """Constants of a layer that is kept; none of one as large as its weights."""
    if isinstance(layer, SpectralLayer):
        return Constants(1.0)
    if type(layer) in parts.LINEAR and not form.spectral:
        return None
    return constants_of(layer, tensors)


def constants_of(layer: Any, tensors: list[keras.KerasTensor]) -> Constants:
    """Constants of a layer as far as they are known, infinite otherwise."""
    merged = merge_constants(layer, [Constants(1.0)] * len(tensors))
    if merged is not None:
        return merged
    try:
        return layer_constants(layer, tensors[0].shape)
    except ValueError:
        return _UNKNOWN
