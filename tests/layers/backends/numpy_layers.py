"""The layers at inference in float64 NumPy, from their arguments and weights.

Each function takes a layer's arguments, inputs `[B, ...]` and weights by name, and
returns its outputs. Convolutions are sums over the taps of a kernel, written out.
"""

import itertools
import math

import numpy as np


def pair(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def geometry(size, reach, stride, padding):
    """Output size and zeros before the image, for a kernel that reaches so far."""
    if padding == "valid":
        return (size - reach) // stride + 1, 0
    output = math.ceil(size / stride)
    return output, max((output - 1) * stride + reach - size, 0) // 2


def convolution(x, kernel, strides=1, padding="same", dilation_rate=1, groups=1):
    """`[B,H,W,C]` and `[kh,kw,C/groups,F]` to `[B,H',W',F]`."""
    strides, dilation = pair(strides), pair(dilation_rate)
    inputs = np.split(x, groups, -1)
    kernels = np.split(kernel, groups, -1)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel.shape[:2], dilation, strict=True)]
    (height, top), (width, left) = (
        geometry(size, reach[axis], strides[axis], padding)
        for axis, size in enumerate(x.shape[1:3])
    )
    parts = []
    for image, taps in zip(inputs, kernels, strict=True):
        # More than enough zeros behind the image.
        wide = np.pad(image, ((0, 0), (top, sum(reach)), (left, sum(reach)), (0, 0)))
        wide = np.pad(wide, ((0, 0), (0, sum(strides)), (0, sum(strides)), (0, 0)))
        total = 0.0
        for a, b in np.ndindex(*taps.shape[:2]):
            rows = a * dilation[0] + strides[0] * np.arange(height)
            columns = b * dilation[1] + strides[1] * np.arange(width)
            total = total + wide[:, rows][:, :, columns] @ taps[a, b]
        parts.append(total)
    return np.concatenate(parts, -1)


def depthwise(x, kernel, **settings):
    """`[kh,kw,C,M]`: output channel `c * M + m` is of input channel c."""
    size, channels = kernel.shape[:2], kernel.shape[2]
    return convolution(x, kernel.reshape(*size, 1, -1), groups=channels, **settings)


def transposed(x, kernel, strides=1, padding="same"):
    """`[kh,kw,F,C]`: every pixel adds the kernel to a larger image."""
    strides, size = pair(strides), kernel.shape[:2]
    over = [max(k - s, 0) for k, s in zip(size, strides, strict=True)]
    whole = [n * s + o for n, s, o in zip(x.shape[1:3], strides, over, strict=True)]
    y = np.zeros((len(x), *whole, kernel.shape[2]))
    for i, j in itertools.product(*map(range, x.shape[1:3])):
        for a, b in np.ndindex(*size):
            if i * strides[0] + a < whole[0] and j * strides[1] + b < whole[1]:
                y[:, i * strides[0] + a, j * strides[1] + b] += (
                    x[:, i, j] @ kernel[a, b].T
                )
    if padding == "valid":
        return y
    top, left = over[0] // 2, over[1] // 2
    return y[
        :, top : top + x.shape[1] * strides[0], left : left + x.shape[2] * strides[1]
    ]


def dense(x, kernel):
    return x @ kernel


def matrix(linear, shape):
    """`(inputs, outputs)` of a linear map on one example: its answers to 1."""
    count = math.prod(shape)
    return linear(np.eye(count).reshape(count, *shape)).reshape(count, -1)


_SETTINGS = ("strides", "padding", "dilation_rate", "groups")


def linear_map(linear, arguments, kernel):
    settings = {name: arguments[name] for name in _SETTINGS if name in arguments}
    return lambda x: linear(x, kernel, **settings)


def spectral(linear):
    """A layer that divides its kernel by the map's largest singular value."""

    def forward(arguments, x, weights):
        kernel = weights["kernel"]
        shape = x.shape[-1:] if linear is dense else x.shape[1:]
        sigma = np.linalg.norm(matrix(linear_map(linear, arguments, kernel), shape), 2)
        y = linear_map(linear, arguments, kernel / sigma)(x)
        return y + weights.get("bias", 0.0)

    return forward


def centered_softplus(arguments, x, weights):
    beta = np.exp(weights["log_beta"])
    return x / 2 + np.log(np.cosh(beta * x / 2)) / beta


def batch_norm(arguments, x, weights):
    deviation = np.sqrt(weights["moving_variance"] + arguments["epsilon"])
    shrink = min(1.0, np.exp(weights["log_gamma"]) * deviation.min())
    return (x - weights["moving_mean"]) / deviation * shrink


def affine(arguments, x, weights):
    scale = weights["scale"]
    factor = min(1.0, arguments["bound"] / np.abs(scale).max())
    return x * scale * factor + weights["shift"]
