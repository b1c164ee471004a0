"""Keras layers with the weights of PyTorch's, one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

# The values of `torch.nn.BatchNorm2d`, whose momentum is the share of the new batch.
_NORM = {"momentum": 0.9, "epsilon": 1e-5}

ACTIVATIONS = ("relu", "silu")
"""What an `activation` can be; `silu` is also called swish."""


class Builder:
    """Puts a Keras network together from the tensors of a PyTorch one.

    Each method calls one Keras layer, gives it the tensors of the PyTorch module of
    that name, and marks them as used. Layers are named like the modules, with `_` for
    `.`. Where both pad alike at stride 1, the layer pads by itself; where they do not,
    at stride 2, a layer of zeros stands before it.

    Args:
        tensors: Arrays by name; kernels are `[out, in, height, width]`, matrices
            `[out, in]`.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._tensors = tensors
        self._left = dict.fromkeys(tensors)

    def has(self, name: str) -> bool:
        """Whether there is a tensor of this name."""
        return name in self._tensors

    def convolution(
        self,
        x: Any,
        name: str,
        filters: int,
        kernel_size: int = 3,
        strides: int = 1,
        padding: tuple[int, int] | None = None,
    ) -> Any:
        """`torch.nn.Conv2d` without bias.

        Args:
            x: Images `[B,H,W,C]`.
            name: Of the module.
            filters: Number of output channels.
            kernel_size: Height and width.
            strides: The same along both axes.
            padding: Zeros before and after the pixels of each axis; by default half the
                kernel's size, rounded down, on both sides.
        """
        half = kernel_size // 2
        padding = (half, half) if padding is None else padding
        alike = strides == 1 and padding == (half, half)
        if not alike and any(padding):
            x = self.zeros(x, padding, f"{name}.padding")
        shape = (filters, x.shape[-1], kernel_size, kernel_size)
        kernel = self._take(f"{name}.weight", shape).transpose(2, 3, 1, 0)
        layer = keras.layers.Conv2D(
            filters,
            kernel_size,
            strides=strides,
            padding="same" if alike else "valid",
            use_bias=False,
            name=_layer_name(name),
        )
        return self._called(layer, x, [kernel])

    def norm(self, x: Any, name: str) -> Any:
        """`torch.nn.BatchNorm2d`."""
        parts = ("weight", "bias", "running_mean", "running_var")
        weights = [self._take(f"{name}.{part}", (x.shape[-1],)) for part in parts]
        layer = keras.layers.BatchNormalization(name=_layer_name(name), **_NORM)
        return self._called(layer, x, weights)

    def activation(self, x: Any, name: str, kind: str = "relu") -> Any:
        """One of `ACTIVATIONS`."""
        return keras.layers.Activation(kind, name=_layer_name(name))(x)

    def zeros(self, x: Any, padding: tuple[int, int], name: str) -> Any:
        """Zeros before and after the pixels of each axis."""
        pad = keras.layers.ZeroPadding2D((padding, padding), name=_layer_name(name))
        return pad(x)

    def add(self, branches: Sequence[Any], name: str) -> Any:
        """The sum of tensors of one shape."""
        return keras.layers.Add(name=_layer_name(name))(list(branches))

    def logits(self, x: Any, name: str) -> Any:
        """`torch.nn.Linear` on the mean over the image, as float32 whatever the policy.

        It has as many outputs as its tensors say. It is the end of the network: a
        tensor that nothing has used is refused.
        """
        x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
        matrix = self._take(f"{name}.weight", (None, x.shape[-1])).T
        bias = self._take(f"{name}.bias", (matrix.shape[1],))
        for left in self._left:
            raise _error(f"{left}, which has no place there")
        layer = keras.layers.Dense(matrix.shape[1], name="logits", dtype="float32")
        return self._called(layer, x, [matrix, bias])

    def unused(self, prefix: str) -> None:
        """Leaves out tensors that the PyTorch network holds and never computes with."""
        for name in [name for name in self._left if name.startswith(prefix)]:
            del self._left[name]

    def _called(self, layer: Any, x: Any, weights: list[np.ndarray]) -> Any:
        outputs = layer(x)
        layer.set_weights(weights)
        return outputs

    def _take(self, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
        """A tensor as float32; `ValueError` unless it is there, shaped so and finite.

        `None` in the shape is any size.
        """
        if name not in self._tensors:
            example = next(iter(self._tensors), "none")
            raise _error(
                f"no {name} among {len(self._tensors)} tensors, the first of which is "
                f"{example}"
            )
        array = self._tensors[name]
        fits = len(array.shape) == len(shape) and all(
            wanted in (None, size)
            for wanted, size in zip(shape, array.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            raise _error(f"{name} of shape {list(array.shape)}, not [{wanted}]")
        self._left.pop(name, None)
        array = array.astype(np.float32)
        if not np.all(np.isfinite(array)):
            raise _error(f"{name}, which is not finite")
        return array


def _error(received: str) -> ValueError:
    return ValueError(
        "`state_dict` must hold the tensors of this architecture, all of them and no "
        f"others. Received: {received}"
    )


def _layer_name(name: str) -> str:
    return name.replace(".", "_")
