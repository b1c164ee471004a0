"""Convolution and dense layers whose linear map has a largest singular value of one."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfrobust.layers import linear_maps
from tfrobust.settings import require_steps

# Rounds of Krylov iteration when the layer is built: enough for the estimate to start
# within a percent; training then follows the kernel, one power iteration a step.
_WARM_START_ITERATIONS = 15
# Enough for a norm within 1e-3 from any state that training leaves behind.
_REFRESH_ITERATIONS = 30


class _Spectral(keras.layers.Layer):
    """What the two layers share: state, power iteration, the normalised kernel.

    A subclass says in `_apply` and `_adjoint` which linear map its kernel is. The map's
    singular vectors are state: `left` (output-shaped) and `right` (input-shaped).
    """

    def __init__(
        self,
        *,
        use_bias: bool,
        power_iterations: int,
        kernel_initializer: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        require_steps("power_iterations", power_iterations)
        self.use_bias = bool(use_bias)
        self.power_iterations = int(power_iterations)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def _apply(self, right: Any) -> Any:
        raise NotImplementedError

    def _adjoint(self, left: Any) -> Any:
        raise NotImplementedError

    def _add_weights(
        self,
        kernel_shape: tuple[int, ...],
        left_shape: tuple[int, ...],
        right_shape: tuple[int, ...],
    ) -> None:
        # autocast=False: a float16 norm is off by 1e-3, and the bound with it.
        self.kernel = self.add_weight(
            name="kernel",
            shape=kernel_shape,
            initializer=self.kernel_initializer,
            dtype="float32",
            autocast=False,
        )
        self.bias = (
            self.add_weight(name="bias", shape=kernel_shape[-1:], initializer="zeros")
            if self.use_bias
            else None
        )
        # Every replica computes the same vectors, since they depend on the kernel
        # alone; taking the first replica's keeps them equal at no cost.
        state = {
            "trainable": False,
            "dtype": "float32",
            "autocast": False,
            "aggregation": "only_first_replica",
        }
        self.left = self.add_weight(
            name="left",
            shape=left_shape,
            initializer=lambda shape, dtype=None: self._warm_start(shape)[0],
            **state,
        )
        self.right = self.add_weight(
            name="right",
            shape=right_shape,
            initializer=lambda shape, dtype=None: linear_maps.unit(
                self._adjoint(ops.convert_to_tensor(self.left))
            ),
            **state,
        )

    def _warm_start(self, left_shape: tuple[int, ...]) -> tuple[Any, Any]:
        start = keras.random.normal(left_shape, dtype="float32", seed=0)
        return linear_maps.krylov_iteration(
            self._apply, self._adjoint, start, _WARM_START_ITERATIONS
        )

    def refresh(self, iterations: int = _REFRESH_ITERATIONS) -> None:
        """Finds the singular vectors of the current kernel anew and stores them.

        Training follows the kernel by one power iteration a step and lags behind it,
        by up to a tenth while the kernel moves fast; call this after training for a
        bound that is tight. On kernels of small ResNets, new and trained, the default
        left the norm short by at most 4e-4, and 60 rounds by 3e-6.

        Args:
            iterations: Rounds of Krylov iteration, at least 1. Each costs two
                convolutions (products) of batch size one.
        """
        require_steps("iterations", iterations)
        old = ops.convert_to_tensor(self.left), ops.convert_to_tensor(self.right)
        new = linear_maps.krylov_iteration(
            self._apply, self._adjoint, old[0], iterations
        )
        # A diverged kernel has no norm; there is nothing to tighten.
        finite = ops.all(ops.isfinite(self.kernel))
        self.left.assign(ops.where(finite, new[0], old[0]))
        self.right.assign(ops.where(finite, new[1], old[1]))

    def spectral_norm(self) -> Any:
        """Largest singular value of the raw kernel's linear map, a float32 scalar.

        A lower bound from the stored singular vector; exact once that has converged.
        """
        return linear_maps.norm_along(self._apply, ops.convert_to_tensor(self.right))

    def normalized_kernel(self) -> Any:
        """The kernel that `call` uses: the raw one over its spectral norm, float32."""
        return linear_maps.divide_by_norm(
            ops.convert_to_tensor(self.kernel), self.spectral_norm()
        )

    def _kernel_for_call(self, training: bool | None) -> Any:
        if not (training and self.trainable):
            return ops.cast(self.normalized_kernel(), self.compute_dtype)
        left, right, norm = linear_maps.power_iteration(
            self._apply,
            self._adjoint,
            ops.convert_to_tensor(self.left),
            self.power_iterations,
        )
        self.left.assign(left)
        self.right.assign(right)
        kernel = linear_maps.divide_by_norm(ops.convert_to_tensor(self.kernel), norm)
        return ops.cast(kernel, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """The arguments that rebuild this layer."""
        return {
            **super().get_config(),
            "use_bias": self.use_bias,
            "power_iterations": self.power_iterations,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable(package="tfrobust")
class SpectralConv2D(_Spectral):
    """2-D convolution divided by the largest singular value of its own linear map.

    The norm is that of the map from one image to another, at the layer's real input
    size, stride and zero padding; it is not the norm of the kernel reshaped to a
    matrix, which is a different and usually smaller number. The stored kernel is never
    overwritten: `call` uses `kernel / sigma(kernel)` and gradients flow through sigma.
    While training, each call runs `power_iterations` rounds of power iteration on one
    image-shaped vector, at the cost of a convolution of batch size one; at inference
    none. The norm is float32 also under mixed precision.

    Args:
        filters: Number of output channels.
        kernel_size: One integer, or `(height, width)`.
        strides: One integer, or `(height, width)`.
        padding: `"same"` (zeros around the image) or `"valid"`.
        use_bias: Whether to add a bias (a shift leaves the Lipschitz constant alone).
        power_iterations: Rounds for each training call, at least 1.
        kernel_initializer: Keras initialiser of the raw kernel.
        **kwargs: `name`, `dtype`, `trainable`, as for any Keras layer.

    Call arguments:
        inputs: Float tensor `[B,H,W,C]`, channels last; H, W and C must be known when
            the layer is built, B need not be.
        training: Whether to follow the kernel by power iteration.

    Raises:
        ValueError: If an argument is out of range, or the spatial size is unknown.

    Reference: Srinivas et al. 2022 (LCNN), section 3.3; Ryu et al. 2019, realSN.

    Example:
        >>> import numpy as np
        >>> from tfrobust.layers import SpectralConv2D
        >>> layer = SpectralConv2D(8, 3, strides=2)
        >>> layer(np.ones((2, 9, 9, 3), "float32")).shape
        TensorShape([2, 5, 5, 8])
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = 1,
        padding: str = "same",
        use_bias: bool = False,
        power_iterations: int = 1,
        kernel_initializer: Any = "he_normal",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            use_bias=use_bias,
            power_iterations=power_iterations,
            kernel_initializer=kernel_initializer,
            **kwargs,
        )
        require_steps("filters", filters)
        if padding not in ("same", "valid"):
            raise ValueError(
                f"`padding` must be 'same' or 'valid'. Received: padding={padding!r}"
            )
        self.filters = int(filters)
        self.kernel_size = _pair("kernel_size", kernel_size)
        self.strides = _pair("strides", strides)
        self.padding = padding
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: Any) -> None:
        """Creates the kernel and its singular vectors at this input size."""
        height, width, channels = input_shape[1:]
        if None in (height, width, channels):
            raise ValueError(
                "`SpectralConv2D` needs a known image size, since its norm depends on "
                f"it; build it on (batch, height, width, channels) with only the batch "
                f"unknown. Received: input_shape={tuple(input_shape)}"
            )
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={-1: int(channels)})
        self._input_size = (int(height), int(width))
        output = self.compute_output_shape(input_shape)
        if min(output[1:3]) < 1:
            raise ValueError(
                f"`kernel_size` must not exceed the image with padding='valid'. "
                f"Received: kernel_size={self.kernel_size}, "
                f"input_shape={tuple(input_shape)}"
            )
        self._add_weights(
            kernel_shape=(*self.kernel_size, int(channels), self.filters),
            left_shape=(1, *output[1:]),
            right_shape=(1, height, width, channels),
        )

    def _apply(self, right: Any) -> Any:
        return linear_maps.convolution(
            right, ops.convert_to_tensor(self.kernel), self.strides, self.padding
        )

    def _adjoint(self, left: Any) -> Any:
        return linear_maps.convolution_adjoint(
            left,
            ops.convert_to_tensor(self.kernel),
            self._input_size,
            self.strides,
            self.padding,
        )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Convolves with the normalised kernel."""
        if tuple(inputs.shape[1:3]) != self._input_size:
            raise ValueError(
                f"`inputs` must have the image size {self._input_size} that this "
                "layer's norm was computed for. "
                f"Received: inputs.shape={tuple(inputs.shape)}"
            )
        kernel = self._kernel_for_call(training)
        outputs = linear_maps.convolution(inputs, kernel, self.strides, self.padding)
        return outputs if self.bias is None else outputs + self.bias

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """`[B,H',W',filters]`."""
        sizes = [
            None
            if size is None
            else linear_maps.convolution_geometry(size, kernel, stride, self.padding)[0]
            for size, kernel, stride in zip(
                input_shape[1:3], self.kernel_size, self.strides, strict=True
            )
        ]
        return (input_shape[0], *sizes, self.filters)

    def get_config(self) -> dict[str, Any]:
        """The arguments that rebuild this layer."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
        }


@keras.saving.register_keras_serializable(package="tfrobust")
class SpectralDense(_Spectral):
    """Dense layer divided by the largest singular value of its matrix.

    Like `SpectralConv2D`: the stored kernel is left as it is, `call` uses
    `kernel / sigma(kernel)`, and gradients flow through sigma.

    Args:
        units: Number of outputs.
        use_bias: Whether to add a bias.
        power_iterations: Rounds of power iteration for each training call, at least 1.
        kernel_initializer: Keras initialiser of the raw kernel.
        **kwargs: `name`, `dtype`, `trainable`, as for any Keras layer.

    Call arguments:
        inputs: Float tensor `[..., features]`.
        training: Whether to follow the kernel by power iteration.

    Raises:
        ValueError: If an argument is out of range or the feature count is unknown.

    Reference: Srinivas et al. 2022 (LCNN), section 3.3; Miyato et al. 2018.

    Example:
        >>> import numpy as np
        >>> from tfrobust.layers import SpectralDense
        >>> layer = SpectralDense(4)
        >>> layer(np.ones((2, 3), "float32")).shape
        TensorShape([2, 4])
        >>> norm = np.linalg.norm(np.asarray(layer.normalized_kernel()), 2)
        >>> bool(norm < 1.01)
        True
    """

    def __init__(
        self,
        units: int,
        use_bias: bool = True,
        power_iterations: int = 1,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            use_bias=use_bias,
            power_iterations=power_iterations,
            kernel_initializer=kernel_initializer,
            **kwargs,
        )
        require_steps("units", units)
        self.units = int(units)
        self.input_spec = keras.layers.InputSpec(min_ndim=2)

    def build(self, input_shape: Any) -> None:
        """Creates the kernel and its singular vectors."""
        features = input_shape[-1]
        if features is None:
            raise ValueError(
                "`SpectralDense` needs a known number of input features. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: int(features)})
        self._add_weights(
            kernel_shape=(int(features), self.units),
            left_shape=(1, self.units),
            right_shape=(1, int(features)),
        )

    def _apply(self, right: Any) -> Any:
        return ops.matmul(right, ops.convert_to_tensor(self.kernel))

    def _adjoint(self, left: Any) -> Any:
        kernel = ops.convert_to_tensor(self.kernel)
        return ops.matmul(left, ops.transpose(kernel))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Multiplies by the normalised kernel."""
        outputs = ops.matmul(inputs, self._kernel_for_call(training))
        return outputs if self.bias is None else outputs + self.bias

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """`[..., units]`."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """The arguments that rebuild this layer."""
        return {**super().get_config(), "units": self.units}


def _pair(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise ValueError(
            f"`{name}` must be one integer or a pair of them. Received: {name}={value}"
        )
    for number in pair:
        require_steps(name, number)
    return int(pair[0]), int(pair[1])
