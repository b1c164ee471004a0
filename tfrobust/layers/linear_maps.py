"""Convolutions and matrices as linear maps: apply, adjoint, largest singular value."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from keras import ops

LinearMap = Callable[[Any], Any]

# Below this a vector counts as zero; far under any norm that float32 training meets.
_TINY = 1e-30


def convolution_geometry(
    size: int, kernel: int, stride: int, padding: str
) -> tuple[int, int, int]:
    """Output size and zero padding of a convolution along one axis.

    Args:
        size: Input size along the axis, in pixels.
        kernel: Kernel size along the axis.
        stride: Stride along the axis.
        padding: `"same"` or `"valid"`, as in Keras.

    Returns:
        `(output_size, padding_before, padding_after)`.

    Example:
        >>> from tfrobust.layers.linear_maps import convolution_geometry
        >>> convolution_geometry(size=32, kernel=3, stride=2, padding="same")
        (16, 0, 1)
    """
    if padding == "valid":
        return (size - kernel) // stride + 1, 0, 0
    output = -(-size // stride)
    total = max((output - 1) * stride + kernel - size, 0)
    return output, total // 2, total - total // 2


def convolution(
    x: Any,
    kernel: Any,
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Any:
    """The convolution itself, `[B,H,W,C_in]` to `[B,H',W',C_out]`.

    Args:
        x: Float tensor `[B,H,W,C_in]`.
        kernel: `[kh,kw,C_in/groups,C_out]`.
        strides: Of the rows and columns.
        padding: `"same"` or `"valid"`.
        dilation_rate: Distance of the kernel's rows and columns on the image; where it
            is not 1, strides are.
        groups: Into how many the channels are divided, each convolved by itself.
    """
    if groups > 1:
        if groups == x.shape[-1] and strides[0] == strides[1]:
            kernel = _as_depthwise(kernel, groups)
            return depthwise_convolution(x, kernel, strides, padding, dilation_rate)
        # Not the backend's own: TensorFlow has it on a CPU through a compiler alone.
        parts = zip(
            ops.split(x, groups, axis=-1),
            ops.split(kernel, groups, axis=-1),
            strict=True,
        )
        answers = [
            convolution(*part, strides, padding, dilation_rate) for part in parts
        ]
        return ops.concatenate(answers, axis=-1)
    if tuple(kernel.shape[:2]) == (1, 1):
        # A strided 1x1 convolution only reads every stride-th pixel. Saying so keeps
        # away from oneDNN's kernel for its filter gradient, which writes out of bounds
        # at batch size 1 with few channels (seen in TensorFlow 2.21).
        x, strides = x[:, :: strides[0], :: strides[1], :], (1, 1)
    return ops.conv(
        x,
        kernel,
        strides=strides,
        padding=padding,
        data_format="channels_last",
        dilation_rate=dilation_rate,
    )


def depthwise_convolution(
    x: Any,
    kernel: Any,
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int] = (1, 1),
) -> Any:
    """Each channel convolved by itself, `[B,H,W,C]` to `[B,H',W',C*M]`.

    Args:
        x: Float tensor `[B,H,W,C]`.
        kernel: `[kh,kw,C,M]`; output channel `c * M + m` is `kernel[..., c, m]` over
            input channel c.
        strides: Two equal numbers.
        padding: As for `convolution`.
        dilation_rate: As for `convolution`.
    """
    return ops.depthwise_conv(
        x,
        kernel,
        strides=strides,
        padding=padding,
        data_format="channels_last",
        dilation_rate=dilation_rate,
    )


def convolution_adjoint(
    y: Any,
    kernel: Any,
    input_size: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Any:
    """Adjoint (transpose) of `convolution` as a linear map on images.

    `<convolution(x), y> == <x, convolution_adjoint(y)>` for all x and y, exactly the
    operator that backpropagation applies, for every input size: where stride and size
    do not divide, Keras's transposed convolution would return another size.

    Args:
        y: Float tensor `[B,H',W',C_out]`.
        kernel: `[kh,kw,C_in/groups,C_out]`.
        input_size: `(H, W)` of the convolution's input.
        strides: Strides of the convolution.
        padding: `"same"` or `"valid"`.
        dilation_rate: Dilation of the convolution.
        groups: Groups of the convolution.

    Returns:
        Float tensor `[B,H,W,C_in]`.
    """
    settings = (input_size, strides, padding, dilation_rate)
    if groups > 1:
        if kernel.shape[2] == 1 and strides[0] == strides[1]:
            return depthwise_adjoint(y, _as_depthwise(kernel, groups), *settings)
        parts = zip(
            ops.split(y, groups, axis=-1),
            ops.split(kernel, groups, axis=-1),
            strict=True,
        )
        answers = [convolution_adjoint(a, b, *settings) for a, b in parts]
        return ops.concatenate(answers, axis=-1)
    if tuple(strides) == tuple(dilation_rate) == (1, 1):
        # The same operator, without a flipped copy of the kernel.
        return ops.conv_transpose(
            y, kernel, strides=1, padding=padding, data_format="channels_last"
        )
    y = _spread_image(y, kernel, *settings)
    flipped = ops.transpose(ops.flip(kernel, axis=(0, 1)), (0, 1, 3, 2))
    return ops.conv(
        y,
        flipped,
        strides=1,
        padding="valid",
        data_format="channels_last",
        dilation_rate=dilation_rate,
    )


def depthwise_adjoint(
    y: Any,
    kernel: Any,
    input_size: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int] = (1, 1),
) -> Any:
    """Adjoint of `depthwise_convolution`, `[B,H',W',C*M]` to `[B,H,W,C]`."""
    y = _spread_image(y, kernel, input_size, strides, padding, dilation_rate)
    channels, multiplier = kernel.shape[2:]
    flipped = ops.reshape(
        ops.flip(kernel, axis=(0, 1)), [*kernel.shape[:2], channels * multiplier, 1]
    )
    y = depthwise_convolution(y, flipped, (1, 1), "valid", dilation_rate)
    return ops.sum(ops.reshape(y, [-1, *input_size, channels, multiplier]), axis=-1)


def _as_depthwise(kernel: Any, channels: int) -> Any:
    """The kernel of a convolution with one group a channel as a depthwise one."""
    height, width, _, filters = kernel.shape
    return ops.reshape(kernel, [height, width, channels, filters // channels])


def dilated(kernel_size: int, dilation_rate: int) -> int:
    """How many pixels a kernel of a dilated convolution reaches over."""
    return (kernel_size - 1) * dilation_rate + 1


def _spread_image(
    y: Any,
    kernel: Any,
    input_size: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int],
) -> Any:
    for axis in (0, 1):
        reach = dilated(int(kernel.shape[axis]), dilation_rate[axis])
        y = _spread(y, axis + 1, input_size[axis], reach, strides[axis], padding)
    return y


def _spread(
    y: Any, axis: int, size: int, kernel: int, stride: int, padding: str
) -> Any:
    """Puts `stride - 1` zeros between entries and pads for a full correlation."""
    output, before, _ = convolution_geometry(size, kernel, stride, padding)
    if stride > 1:
        shape = list(y.shape)
        y = ops.expand_dims(y, axis + 1)
        y = _pad_axis(y, axis + 1, 0, stride - 1)
        shape[axis] = output * stride
        y = ops.reshape(y, [-1, *shape[1:]])
    after = size + before - output * stride
    if after < 0:  # the zeros behind the last entry reach past what is needed
        keep = [slice(None)] * len(y.shape)
        keep[axis] = slice(0, output * stride + after)
        y = y[tuple(keep)]
    return _pad_axis(y, axis, kernel - 1 - before, max(after, 0))


def _pad_axis(x: Any, axis: int, before: int, after: int) -> Any:
    if before == after == 0:
        return x
    widths = [(0, 0)] * len(x.shape)
    widths[axis] = (before, after)
    return ops.pad(x, widths)


def unit(x: Any) -> Any:
    """`x` over its Euclidean norm; zero stays zero."""
    return x / ops.maximum(ops.sqrt(ops.sum(ops.square(x))), _TINY)


def power_iteration(
    apply: LinearMap, adjoint: LinearMap, left: Any, iterations: int
) -> tuple[Any, Any, Any]:
    """Follows the leading singular pair of a linear map by power iteration.

    Args:
        apply: The map A.
        adjoint: Its transpose.
        left: Current left singular vector u, any nonzero tensor in A's output space.
        iterations: Number of rounds, at least 1.

    Returns:
        `(left, right, norm)`: unit tensors u and v, without a gradient, and
        `norm(apply(v))`, a lower bound of the largest singular value that converges to
        it; its gradient in the map is `u v^T`, the derivative of that value. A zero map
        leaves `left` as it came and makes `right` zero, so that a later call can start
        again.

    Reference: Srinivas et al. 2022 (LCNN), section 3.4.1, after Ryu et al. 2019.

    Example:
        >>> import numpy as np
        >>> from tfrobust.layers.linear_maps import power_iteration
        >>> a = np.diag([3.0, 1.0]).astype("float32")
        >>> left, right, norm = power_iteration(
        ...     lambda v: np.dot(a, v), lambda u: np.dot(a.T, u), np.ones(2, "f"), 20)
        >>> round(float(norm), 4)
        3.0
    """
    right, image = left, left
    for _ in range(iterations):
        right = ops.stop_gradient(unit(adjoint(left)))
        image = apply(right)
        left = ops.stop_gradient(ops.where(ops.any(image != 0), unit(image), left))
    return left, right, ops.sum(left * image)


def krylov_iteration(
    apply: LinearMap, adjoint: LinearMap, left: Any, iterations: int
) -> tuple[Any, Any]:
    """Leading singular pair of a linear map: the best one that these rounds can reach.

    Each round costs what a round of `power_iteration` costs and visits the same
    directions. Power iteration keeps the last of them; this keeps them all, made
    orthonormal, and picks the unit vector of their span that the map stretches most
    (Lanczos, by Rayleigh and Ritz). Where the leading singular values lie close
    together, as they do for convolutions on large images, 15 rounds come closer than
    hundreds of the other. It holds `iterations` vectors in memory: for building and
    for `refresh`, not for every training step.

    Args:
        apply: The map A.
        adjoint: Its transpose.
        left: Where to start in A's output space, any nonzero tensor.
        iterations: Number of rounds, at least 1.

    Returns:
        `(left, right)` as from `power_iteration`.

    Reference: Golub and Van Loan 2013, sections 10.1 and 10.4.

    Example:
        >>> import numpy as np
        >>> from tfrobust.layers.linear_maps import krylov_iteration
        >>> a = np.diag([3.0, 2.9, 1.0]).astype("float32")
        >>> left, right = krylov_iteration(
        ...     lambda v: np.dot(a, v), lambda u: np.dot(a.T, u), np.ones(3, "f"), 3)
        >>> round(float(np.linalg.norm(a @ np.asarray(right))), 4)
        3.0
    """
    start = unit(adjoint(left))
    shape, rounds = start.shape, min(iterations, math.prod(start.shape))

    # A loop and not a list, so that a graph holds one round, not all of them.
    def visit(count: Any, state: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        basis, images, direction = state
        row = ops.expand_dims(ops.cast(ops.arange(rounds) == count, start.dtype), 1)
        image = apply(direction)
        basis = basis + row * ops.reshape(direction, [1, -1])
        images = images + row * ops.reshape(image, [1, -1])
        new = ops.reshape(adjoint(image), [1, -1])
        # Twice is enough. What the first time leaves may be rounding error alone, which
        # is random and gets a stalled search going again; but where the second time
        # shrinks it again, there is nothing left to be orthogonal in.
        for _ in range(2):
            parts = ops.matmul(basis, ops.reshape(new, [-1, 1]))
            rest = new - ops.matmul(ops.reshape(parts, [1, -1]), basis)
            new = unit(rest)
        settled = ops.sum(ops.square(rest)) > 0.1
        new = ops.where(settled, new, ops.zeros_like(new))
        return basis, images, ops.reshape(new, shape)

    empty = [ops.zeros([rounds, math.prod(x.shape)], x.dtype) for x in (start, left)]
    basis, stretched, _ = ops.fori_loop(0, rounds, visit, (*empty, start))
    gram = ops.matmul(stretched, ops.transpose(stretched))
    # Where the map is not finite there is nothing to find, and eigh would not return.
    _, weights = ops.linalg.eigh(ops.where(ops.isfinite(gram), gram, 0.0))
    leading = ops.reshape(weights[:, -1], [1, -1])
    right = unit(ops.reshape(ops.matmul(leading, basis), shape))
    image = apply(right)
    return ops.where(ops.any(image != 0), unit(image), left), right


def norm_along(apply: LinearMap, right: Any) -> Any:
    """`norm(apply(right))`, differentiable in the map and finite for a zero map.

    With `right` a leading right singular vector this is the largest singular value
    sigma, and its gradient in the map is `u v^T`, the derivative of sigma.
    """
    image = apply(ops.stop_gradient(right))
    return ops.sum(ops.stop_gradient(unit(image)) * image)


def divide_by_norm(kernel: Any, norm: Any) -> Any:
    """`kernel / norm`; a zero kernel stays zero, with the gradient of `kernel / 1`."""
    # A product: the gradient of a quotient would pass over the kernel five times.
    return kernel * (1.0 / ops.where(norm > _TINY, norm, ops.ones_like(norm)))
