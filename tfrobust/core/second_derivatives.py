"""Derivatives that TensorFlow lacks, registered when this module is imported.

TensorFlow differentiates an operation by what is registered for its type. For some that
networks use it has nothing for the operation's own derivative, so that a second
derivative fails; and the derivative of bilinear resizing is declared to have none, so
that every second derivative through it is silently zero. None of them is hard: a resize
is linear, and the derivative of its adjoint is the resize itself.

A type that somebody else registered a derivative for keeps it.

There is one more trap. `tf.nn.moments`, and with it Keras's batch, group and layer
normalization, stops the gradient at the mean from which it measures deviations. The
first derivative of a variance does not depend on that, and the second is wrong without
a word. `twice_differentiable` is the remedy.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

# The public `tf.RegisterGradient` can neither say what is registered nor replace what
# was declared to have no derivative.
from tensorflow.python.framework import ops

Gradient = Callable[..., Any]

_MOMENTS = tf.nn.moments
# How many are within `twice_differentiable`.
_entered = 0
_LOCK = threading.Lock()


def registered(kind: str) -> tuple[bool, Gradient | None]:
    """What TensorFlow knows of the derivative of a type of operation.

    Args:
        kind: The type, such as `"MatMul"`.

    Returns:
        Whether anything is registered, and the function: `None` with `True` for one
        that is declared to have no derivative, which is then silently left out.

    Example:
        >>> registered("Greater"), registered("SoftsignGrad")[0]
        ((True, None), True)
    """
    try:
        return True, ops.gradient_registry.lookup(kind)
    except LookupError:
        return False, None


@contextlib.contextmanager
def twice_differentiable() -> Iterator[None]:
    """Models called within have moments with the right second derivative.

    For as long as it is entered, `tf.nn.moments` stands for the same values and first
    derivative without a gradient stopped on the way. What was traced before is not
    reached: a `tf.function` of the user's, or a SavedModel.

    Example:
        >>> x = tf.constant([1.0, 3.0])
        >>> with tf.GradientTape() as outer, tf.GradientTape() as inner:
        ...     outer.watch(x)
        ...     inner.watch(x)
        ...     with twice_differentiable():
        ...         _, variance = tf.nn.moments(x, [0])
        ...     slope = inner.gradient(variance, x)
        >>> outer.jacobian(slope, x).numpy().tolist()
        [[0.5, -0.5], [-0.5, 0.5]]
    """
    global _entered
    # No lock is held within: replicas traced in turn wait there for each other.
    with _LOCK:
        if _entered == 0:
            tf.nn.moments = _moments
        _entered += 1
    try:
        yield
    finally:
        with _LOCK:
            _entered -= 1
            if _entered == 0:
                tf.nn.moments = _MOMENTS


def _moments(
    x: tf.Tensor,
    axes: int | Sequence[int],
    shift: Any = None,
    keepdims: bool = False,
    name: str | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """`tf.nn.moments`; it ignores `shift` as well."""
    with tf.name_scope(name or "moments"):
        x = tf.convert_to_tensor(x)
        wide = tf.cast(x, tf.float32) if x.dtype == tf.float16 else x
        mean = tf.reduce_mean(wide, axes, keepdims=True)
        squares = tf.math.squared_difference(wide, mean)
        variance = tf.reduce_mean(squares, axes, keepdims=True)
        if not keepdims:
            mean, variance = tf.squeeze(mean, axes), tf.squeeze(variance, axes)
        return tf.cast(mean, x.dtype), tf.cast(variance, x.dtype)


def provides(kind: str, anew: bool = False) -> Callable[[Gradient], Gradient]:
    """Registers a derivative where there is none, or only the claim of none.

    Args:
        kind: The type of the operation.
        anew: Whether to take the place of TensorFlow's own, too.

    Returns:
        A decorator of functions of an operation and the cotangents of its outputs.

    Example:
        >>> @provides("MatMul")
        ... def never(op, upstream): ...
        >>> registered("MatMul")[1] is never
        False
    """

    def register(gradient: Gradient) -> Gradient:
        known, function = registered(kind)
        owner = getattr(function, "__module__", "tensorflow").split(".")[0]
        if known and (function is None or (anew and owner == "tensorflow")):
            del ops.gradient_registry._registry[kind]
            known = False
        if not known:
            tf.RegisterGradient(kind)(gradient)
        return gradient

    return register


def _size(images: tf.Tensor) -> tf.Tensor:
    """Height and width of images `[B,H,W,C]`."""
    return tf.shape(images)[1:3]


def _separable(
    op: Any, upstream: tf.Tensor, resize: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
) -> list[tf.Tensor | None]:
    """Of a resize that is one matrix along the rows and one along the columns.

    Products of matrices, which can be differentiated and vectorised at will.
    """
    old, new = _size(op.inputs[0]), _size(upstream)

    def matrix(axis: int) -> tf.Tensor:
        """`[new, old]`, as what the resize makes of the unit vectors."""
        units = tf.eye(old[axis], dtype=upstream.dtype)[None, :, None, :]
        resized = resize(units, tf.stack([new[axis], 1]))
        return tf.cast(resized[0, :, 0, :], upstream.dtype)

    tall = tf.einsum("brsc,ri->bisc", upstream, matrix(0))
    wide = tf.einsum("bisc,sj->bijc", tall, matrix(1))
    return [tf.cast(wide, op.inputs[0].dtype), None]


# Not that of `ResizeBilinearGrad`, whose inputs TensorFlow's tape does not keep: it
# believes that no derivative asks for them.
@provides("ResizeBilinear", anew=True)
def _resize_bilinear(op: Any, upstream: tf.Tensor) -> list[tf.Tensor | None]:
    align, half = op.get_attr("align_corners"), op.get_attr("half_pixel_centers")

    def resize(images: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.ResizeBilinear(
            images=images, size=size, align_corners=align, half_pixel_centers=half
        )

    return _separable(op, upstream, resize)


@provides("ResizeArea")
def _resize_area(op: Any, upstream: tf.Tensor) -> list[tf.Tensor | None]:
    align = op.get_attr("align_corners")

    def resize(images: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.ResizeArea(images=images, size=size, align_corners=align)

    return _separable(op, upstream, resize)


@provides("ResizeBicubicGrad")
def _resize_bicubic(op: Any, upstream: tf.Tensor) -> list[tf.Tensor | None]:
    return _resized(tf.raw_ops.ResizeBicubic, op, upstream)


@provides("ResizeNearestNeighborGrad")
def _resize_nearest(op: Any, upstream: tf.Tensor) -> list[tf.Tensor | None]:
    return _resized(tf.raw_ops.ResizeNearestNeighbor, op, upstream)


def _resized(
    resize: Callable[..., tf.Tensor], op: Any, upstream: tf.Tensor
) -> list[tf.Tensor | None]:
    """The gradient of a gradient of a resize: the resize."""
    resized = resize(
        images=upstream,
        size=_size(op.inputs[0]),
        align_corners=op.get_attr("align_corners"),
        half_pixel_centers=op.get_attr("half_pixel_centers"),
    )
    return [resized, None]


# Anew, as TensorFlow's fails on images that are not float32.
@provides("ScaleAndTranslate", anew=True)
def _scale_and_translate(op: Any, upstream: tf.Tensor) -> list[tf.Tensor | None]:
    """Of antialiased, Lanczos and Gaussian resizing."""
    images, _, scale, translation = op.inputs
    wide = tf.raw_ops.ScaleAndTranslateGrad(
        grads=upstream,
        original_image=tf.cast(images, tf.float32),
        scale=scale,
        translation=translation,
        kernel_type=op.get_attr("kernel_type"),
        antialias=op.get_attr("antialias"),
    )
    return [tf.cast(wide, images.dtype), None, None, None]


@provides("ScaleAndTranslateGrad")
def _scale_and_translate_grad(op: Any, upstream: tf.Tensor) -> list[tf.Tensor | None]:
    resized = tf.raw_ops.ScaleAndTranslate(
        images=upstream,
        size=_size(op.inputs[0]),
        scale=op.inputs[2],
        translation=op.inputs[3],
        kernel_type=op.get_attr("kernel_type"),
        antialias=op.get_attr("antialias"),
    )
    return [resized, None, None, None]


@provides("CropAndResizeGradImage")
def _crop_and_resize(op: Any, upstream: tf.Tensor) -> list[tf.Tensor | None]:
    grads, boxes, indices = op.inputs[:3]
    method = op.get_attr("method")
    crops = tf.raw_ops.CropAndResize(
        image=upstream,
        boxes=boxes,
        box_ind=indices,
        crop_size=_size(grads),
        method=method,
        extrapolation_value=0.0,
    )
    if method != b"bilinear":
        return [crops, None, None, None]
    # TensorFlow has the derivative in the boxes of a crop's product with `grads`.
    moved = tf.raw_ops.CropAndResizeGradBoxes(
        grads=grads, image=upstream, boxes=boxes, box_ind=indices, method=method
    )
    return [crops, moved, None, None]


@provides("SoftsignGrad")
def _softsign(op: Any, upstream: tf.Tensor) -> list[tf.Tensor]:
    gradients, features = op.inputs
    slope = tf.raw_ops.SoftsignGrad(gradients=upstream, features=features)
    bend = -2.0 * tf.sign(features) / (1.0 + tf.abs(features)) ** 3
    return [slope, upstream * gradients * bend]


@provides("LRNGrad")
def _local_response(op: Any, upstream: tf.Tensor) -> list[tf.Tensor | None]:
    """By differentiating the formula of the layer in elementary operations twice."""
    gradients, images, _ = op.inputs
    radius = op.get_attr("depth_radius")
    bias, alpha, beta = (op.get_attr(name) for name in ("bias", "alpha", "beta"))

    def response(x: tf.Tensor) -> tf.Tensor:
        channels = tf.range(tf.shape(x)[-1])
        near = tf.abs(channels[:, None] - channels) <= radius
        return x * (bias + alpha * (x**2 @ tf.cast(near, x.dtype))) ** -beta

    with tf.GradientTape() as outer:
        outer.watch([gradients, images])
        slope = _pulled(response, images, gradients)
    return [*outer.gradient(slope, [gradients, images], upstream), None]


def _pulled(function: Gradient, x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """Reverse mode through a function of one tensor, itself differentiable."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        result = function(x)
    return tape.gradient(result, x, upstream)
