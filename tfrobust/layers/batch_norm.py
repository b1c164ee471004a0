"""Batch normalisation with a learnable bound on its Lipschitz constant."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from tfrobust.settings import require, require_positive


def _normalize(x: Any, shrink: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """`shrink * (x - mean) / sqrt(variance + epsilon)`, mean and variance.

    In TensorFlow the gradient is written out, since the one derived from the formula
    passes over the batch about twice as often. It consists of differentiable
    operations, so that it has a gradient of its own; none flows through the statistics
    that are returned. It is for training alone: a custom gradient does not survive in a
    SavedModel's second derivatives. JAX and PyTorch derive the gradient: of a function
    of several outputs Keras hands each backend's custom gradient something else.
    """
    if keras.backend.backend() != "tensorflow":
        return _formula(x, shrink, epsilon)

    @ops.custom_gradient
    def normalize(x: Any, shrink: Any) -> Any:
        def gradient(upstream: Any, *of_statistics: Any) -> tuple[Any, Any]:
            return _normalize_gradient(x, shrink, upstream, epsilon)

        return _formula(x, shrink, epsilon), gradient

    return normalize(x, shrink)


def _formula(x: Any, shrink: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """What `_normalize` returns, as it is written."""
    mean = _mean(x)
    centered = x - mean
    variance = _mean(ops.square(centered))
    return centered * (shrink * ops.rsqrt(variance + epsilon)), mean, variance


def _normalize_gradient(
    x: Any, shrink: Any, upstream: Any, epsilon: float
) -> tuple[Any, Any]:
    """The gradients of `_normalize` in `x` and `shrink`."""
    centered = x - _mean(x)
    scale = ops.rsqrt(_mean(ops.square(centered)) + epsilon)
    mean = _mean(upstream)
    slope = _mean(upstream * centered)
    gradient = upstream - (centered * (slope * ops.square(scale)) + mean)
    return gradient * (shrink * scale), _count(x) * ops.sum(slope * scale)


def _mean(x: Any) -> Any:
    """The mean over every axis but the last, `[C]`; 0 of an empty batch, not NaN."""
    axes = list(range(len(x.shape) - 1))
    return ops.sum(x, axis=axes) / ops.maximum(_count(x), 1.0)


def _count(x: Any) -> Any:
    """How many values of each channel there are, a scalar."""
    return ops.cast(ops.size(x), x.dtype) / x.shape[-1]


def _over_replicas(
    mean: Any, variance: Any, count: Any, kept: tuple[Any, Any]
) -> tuple[Any, Any]:
    """Means over the replicas of mean and variance `[C]`, by their examples.

    A replica without examples does not count, and if there are none at all, what was
    `kept` comes back.
    """
    sums = ops.concatenate([count * mean, count * variance, ops.reshape(count, [1])])
    if keras.backend.backend() == "tensorflow":
        # The one reduction over replicas that Keras has for any of them: a mean over
        # a batch of one row for each replica, whose size cancels below.
        sums, _ = ops.moments(sums[None], axes=[0], synchronized=True)
    total = sums[-1]
    means = sums[:-1] / ops.maximum(total, 1e-30)
    mean, variance = ops.split(means, 2)
    return (
        ops.where(total > 0, mean, kept[0]),
        ops.where(total > 0, variance, kept[1]),
    )


@keras.saving.register_keras_serializable(package="tfrobust")
class LipschitzBatchNormalization(keras.layers.Layer):
    """Batch normalisation over the last axis, at most gamma-Lipschitz at inference.

    Plain batch normalisation stretches its input by up to `1/m`, where
    `m = min_i sqrt(moving_variance_i + epsilon)`. This layer multiplies it by
    `m * min(1/m, gamma) = min(1, gamma * m)`: the Lipschitz constant at inference is
    `min(1/m, gamma)`, and where `gamma >= 1/m` it is plain batch normalisation without
    scale and shift. It learns `log(gamma)`, one scalar, named `log_gamma`; the
    optimisers of `tfrobust.training` leave it out of weight decay. The paper keeps
    gamma at 1 or above; here it is free, as in its authors' code, and
    `penalties.Curvature` pulls it to 1 from both sides (LCNN-R3).

    While training, mean and variance are the batch's and `m` comes from the moving
    variance, as in the paper's release; no gradient flows through `m`. Statistics are
    float32 also under mixed precision.

    Args:
        gamma: Initial bound, positive. The paper's release starts at 10.
        momentum: Share of the moving statistics kept at each training step, in [0, 1).
        epsilon: Added to the variance, positive.
        synchronized: Whether replicas of a `tf.distribute` strategy share the batch's
            statistics. Otherwise their statistics are averaged for the moving ones,
            by the examples that each has, so replicas never drift apart. A replica
            without examples, as the last batch of an epoch may leave, counts for
            nothing.
        **kwargs: `name`, `dtype`, `trainable`, as for any Keras layer.

    Call arguments:
        inputs: Float tensor `[B,...,C]` of rank 2 or more.
        training: Whether to use and record the batch's statistics.

    Raises:
        ValueError: If an argument is out of range.

    Reference: Srinivas et al. 2022 (LCNN), section 3.4.2, gamma-Lipschitz batch norm.

    Example:
        >>> import numpy as np
        >>> from tfrobust.layers import LipschitzBatchNormalization
        >>> layer = LipschitzBatchNormalization(gamma=0.5)
        >>> y = layer(np.array([[0.0], [3.0]], "float32"), training=False)
        >>> round(float(y[1, 0] - y[0, 0]), 3)
        1.5
        >>> round(float(layer.lipschitz_constant()), 3)
        0.5
    """

    def __init__(
        self,
        gamma: float = 10.0,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        require_positive("gamma", gamma)
        require(0 <= momentum < 1, "momentum", momentum, "in [0, 1)")
        require_positive("epsilon", epsilon)
        self.initial_gamma = float(gamma)
        self.momentum = float(momentum)
        self.epsilon = float(epsilon)
        self.synchronized = bool(synchronized)
        self.input_spec = keras.layers.InputSpec(min_ndim=2)

    def build(self, input_shape: Any) -> None:
        """Creates gamma and the moving statistics."""
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(
                "`LipschitzBatchNormalization` needs a known size of the last axis. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        # Another number of channels would broadcast against the statistics unnoticed.
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: int(channels)})
        self.log_gamma = self.add_weight(
            name="log_gamma",
            shape=(),
            initializer=keras.initializers.Constant(math.log(self.initial_gamma)),
            dtype="float32",
            autocast=False,
        )
        statistics = {
            "shape": (int(channels),),
            "trainable": False,
            "dtype": "float32",
            "autocast": False,
            "aggregation": "mean",
        }
        self.moving_mean = self.add_weight(
            name="moving_mean", initializer="zeros", **statistics
        )
        self.moving_variance = self.add_weight(
            name="moving_variance", initializer="ones", **statistics
        )

    @property
    def gamma(self) -> Any:
        """The current bound, a positive float32 scalar tensor."""
        return ops.exp(self.log_gamma)

    def smallest_deviation(self) -> Any:
        """`m`, the smallest `sqrt(moving_variance + epsilon)`, a float32 scalar."""
        return self._smallest_deviation(ops.convert_to_tensor(self.moving_variance))

    def _smallest_deviation(self, variance: Any) -> Any:
        return ops.sqrt(ops.min(variance) + self.epsilon)

    def lipschitz_constant(self) -> Any:
        """`min(1/m, gamma)`, the Lipschitz constant at inference, a float32 scalar."""
        return ops.minimum(1.0 / self.smallest_deviation(), self.gamma)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Normalises over every axis but the last."""
        x = ops.cast(inputs, "float32")
        # A copy reads each once, and what is recorded depends on it. Of a second read
        # TensorFlow's optimizer may forget that it comes before the update: the custom
        # gradient below ties its result to the variance for a while, and when that tie
        # is cut, the order has been dropped as redundant.
        moving_mean = ops.copy(self.moving_mean)
        moving_variance = ops.copy(self.moving_variance)
        deviation = self._smallest_deviation(moving_variance)
        shrink = ops.minimum(1.0, self.gamma * deviation)
        if training and self.trainable:
            kept = moving_mean, moving_variance
            y, mean, variance = self._normalize_batch(x, shrink, kept)
            self._record(self.moving_mean, moving_mean, mean)
            self._record(self.moving_variance, moving_variance, variance)
        else:
            stretch = shrink * ops.rsqrt(moving_variance + self.epsilon)
            y = (x - moving_mean) * stretch
        return ops.cast(y, self.compute_dtype)

    def _normalize_batch(
        self, x: Any, shrink: Any, kept: tuple[Any, Any]
    ) -> tuple[Any, Any, Any]:
        """`x` normalised by its batch times `shrink`; what is recorded, `[C]` each."""
        if not self.synchronized:
            y, mean, variance = _normalize(x, shrink, self.epsilon)
            examples = ops.cast(ops.shape(x)[0], "float32")
            return (y, *_over_replicas(mean, variance, examples, kept))
        # Sums over all replicas, so that the sizes of their batches may differ.
        axes = list(range(len(x.shape) - 1))
        mean, variance = ops.moments(x, axes=axes, synchronized=True)
        stretch = shrink * ops.rsqrt(variance + self.epsilon)
        return (x - mean) * stretch, mean, variance

    def _record(self, moving: Any, kept: Any, batch: Any) -> None:
        moving.assign(kept + (1.0 - self.momentum) * (ops.stop_gradient(batch) - kept))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The arguments that rebuild this layer."""
        return {
            **super().get_config(),
            "gamma": self.initial_gamma,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "synchronized": self.synchronized,
        }
