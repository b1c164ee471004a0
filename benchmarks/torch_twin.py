"""A PyTorch network that computes what a Keras one does, for peers that want PyTorch.

It walks the Keras network's graph and answers each layer by what PyTorch has for it, so
that a peer is timed on PyTorch's own operations. Layers of the shipped networks without
spectral norms are known; others are refused.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tfrobust.core.keras_graph import read_graph
from tfrobust.layers import CenteredSoftplus


class Twin(nn.Module):
    """A functional Keras network of images `[B, H, W, C]` as one of `[B, C, H, W]`.

    Args:
        network: The Keras network.

    Raises:
        ValueError: If it has a layer that is not known here.
    """

    def __init__(self, network: keras.Model) -> None:
        super().__init__()
        self._graph = read_graph(network)
        self._layers = {layer.name: layer for layer in network.layers}
        self._shapes: dict[str, tuple[int, ...]] = {}
        made = {name: _module(layer) for name, layer in self._layers.items()}
        # Names of modules must not hold a point.
        self.parts = nn.ModuleDict(
            {name: part for name, part in made.items() if part is not None}
        )
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits `[B, K]`."""
        values = {place[0]: images for place in self._graph.inputs}
        for name, calls in self._graph.calls.items():
            if name in values:
                continue
            inputs = [values[place[0]] for place in calls[0].inputs]
            values[name] = self._answer(name, inputs)
        return values[self._graph.outputs[0][0]]

    def _answer(self, name: str, inputs: list[torch.Tensor]) -> torch.Tensor:
        layer = self._layers[name]
        if isinstance(layer, keras.layers.Average):
            return sum(inputs) / len(inputs)
        if isinstance(layer, keras.layers.Add):
            return sum(inputs)
        if isinstance(layer, keras.layers.GlobalAveragePooling2D):
            return inputs[0].mean(dim=(2, 3))
        if isinstance(layer, keras.layers.Flatten):
            # Keras counts channels last.
            return inputs[0].permute(0, 2, 3, 1).flatten(1)
        return self.parts[name](inputs[0])


class _Softplus(nn.Module):
    """Centered softplus by PyTorch's own."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`softplus(x) - log 2 / beta`."""
        return functional.softplus(x, beta=self.beta) - math.log(2.0) / self.beta


class _Padded(nn.Module):
    """A convolution behind the zeros that TensorFlow's "same" adds."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """More zeros at the end where their number is odd."""
        rows, columns = (
            max((-(-size // step) - 1) * step + kernel - size, 0)
            for size, step, kernel in zip(
                x.shape[2:],
                self.convolution.stride,
                self.convolution.kernel_size,
                strict=True,
            )
        )
        pads = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        return self.convolution(functional.pad(x, pads) if any(pads) else x)


def _module(layer: Any) -> nn.Module | None:
    """What stands for a layer; `None` of those without weights or slopes."""
    if isinstance(layer, CenteredSoftplus):
        return _Softplus(float(layer.beta))
    plain = {
        keras.layers.Conv2D: _convolution,
        keras.layers.BatchNormalization: _norm,
        keras.layers.Dense: _dense,
        keras.layers.ReLU: lambda _layer: nn.ReLU(),
        keras.layers.InputLayer: lambda _layer: None,
        keras.layers.Average: lambda _layer: None,
        keras.layers.Add: lambda _layer: None,
        keras.layers.Flatten: lambda _layer: None,
        keras.layers.GlobalAveragePooling2D: lambda _layer: None,
    }
    make = plain.get(type(layer))
    if make is None:
        raise ValueError(
            "`network` must have layers that are known here. "
            f"Received: {layer.name}, a {type(layer).__name__}"
        )
    return make(layer)


def _convolution(layer: keras.layers.Conv2D) -> nn.Module:
    kernel = np.transpose(layer.kernel.numpy(), (3, 2, 0, 1))
    made = nn.Conv2d(
        kernel.shape[1],
        layer.filters,
        layer.kernel_size,
        stride=layer.strides,
        bias=layer.use_bias,
    )
    made.weight.data = torch.tensor(kernel)
    if layer.use_bias:
        made.bias.data = torch.tensor(layer.bias.numpy())
    return _Padded(made) if layer.padding == "same" else made


def _norm(layer: keras.layers.BatchNormalization) -> nn.Module:
    made = nn.BatchNorm2d(
        layer.moving_mean.shape[0],
        eps=layer.epsilon,
        affine=layer.scale or layer.center,
    )
    made.running_mean = torch.tensor(layer.moving_mean.numpy())
    made.running_var = torch.tensor(layer.moving_variance.numpy())
    if layer.scale:
        made.weight.data = torch.tensor(layer.gamma.numpy())
    if layer.center:
        made.bias.data = torch.tensor(layer.beta.numpy())
    return made


def _dense(layer: keras.layers.Dense) -> nn.Module:
    made = nn.Linear(layer.kernel.shape[0], layer.units, bias=layer.use_bias)
    made.weight.data = torch.tensor(layer.kernel.numpy().T)
    if layer.use_bias:
        made.bias.data = torch.tensor(layer.bias.numpy())
    return made
