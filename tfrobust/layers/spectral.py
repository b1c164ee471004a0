"""Convolution and dense layers whose linear map has a largest singular value of one."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfrobust.layers import linear_maps
from tfrobust.layers.spectral_layer import (
    SpectralImageLayer,
    SpectralLayer,
    pair,
    require_one_or_the_other,
    sizes_after,
)
from tfrobust.settings import require_steps


@keras.saving.register_keras_serializable(package="tfrobust")
class SpectralConv2D(SpectralImageLayer):
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
        dilation_rate: One integer, or `(height, width)`: distance of the kernel's rows
            and columns on the image. Where it is not 1, `strides` are.
        groups: Into how many the channels are divided, each convolved by itself;
            divides both numbers of channels. The norm is the largest of the groups'.
        **kwargs: `name`, `dtype`, `trainable`, as for any Keras layer.

    Call arguments:
        inputs: Float tensor `[B,H,W,C]`, channels last; H, W and C must be known when
            the layer is built, B need not be.
        training: Whether to follow the kernel by power iteration.

    Raises:
        ValueError: If an argument is out of range, or the spatial size is unknown.

    Reference: Srinivas et al. 2022 (LCNN), section 3.4.1; Ryu et al. 2019, realSN.

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
        dilation_rate: int | tuple[int, int] = 1,
        groups: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            use_bias=use_bias,
            power_iterations=power_iterations,
            kernel_initializer=kernel_initializer,
            **kwargs,
        )
        require_steps("filters", filters)
        require_steps("groups", groups)
        if filters % groups:
            raise ValueError(
                "`groups` must divide `filters`. "
                f"Received: groups={groups}, filters={filters}"
            )
        self.filters = int(filters)
        self.groups = int(groups)
        self.dilation_rate = pair("dilation_rate", dilation_rate)
        require_one_or_the_other(self.strides, self.dilation_rate)

    def kernel_shape(self, channels: int) -> tuple[int, ...]:
        """`[kh,kw,channels/groups,filters]`."""
        if channels % self.groups:
            raise ValueError(
                "`groups` must divide the number of channels. "
                f"Received: groups={self.groups} and {channels} channels"
            )
        return (*self.kernel_size, channels // self.groups, self.filters)

    def linear_map(self, x: Any, kernel: Any) -> Any:
        """The convolution with the kernel given, without bias or division."""
        return linear_maps.convolution(
            x, kernel, self.strides, self.padding, self.dilation_rate, self.groups
        )

    def adjoint_map(self, y: Any, kernel: Any) -> Any:
        """The adjoint of `linear_map`, outputs to inputs."""
        return linear_maps.convolution_adjoint(
            y,
            kernel,
            self.input_size,
            self.strides,
            self.padding,
            self.dilation_rate,
            self.groups,
        )

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """`[B,H',W',filters]`."""
        sizes = sizes_after(
            input_shape[1:3],
            self.kernel_size,
            self.strides,
            self.padding,
            self.dilation_rate,
        )
        return (input_shape[0], *sizes, self.filters)

    def get_config(self) -> dict[str, Any]:
        """The arguments that rebuild this layer."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "dilation_rate": self.dilation_rate,
            "groups": self.groups,
        }


@keras.saving.register_keras_serializable(package="tfrobust")
class SpectralDense(SpectralLayer):
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

    Reference: Srinivas et al. 2022 (LCNN), section 3.4.1; Miyato et al. 2018.

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
        self.supports_masking = True
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
        self.add_weights(
            kernel_shape=(int(features), self.units),
            left_shape=(1, self.units),
            right_shape=(1, int(features)),
        )

    def linear_map(self, x: Any, kernel: Any) -> Any:
        """The product with the matrix given, without bias or division."""
        return ops.matmul(x, kernel)

    def adjoint_map(self, y: Any, kernel: Any) -> Any:
        """The adjoint of `linear_map`, outputs to inputs."""
        return ops.matmul(y, ops.transpose(kernel))

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """`[..., units]`."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """The arguments that rebuild this layer."""
        return {**super().get_config(), "units": self.units}
