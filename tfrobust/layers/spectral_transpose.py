"""Transposed convolution whose linear map has a largest singular value of one."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfrobust.layers import linear_maps
from tfrobust.layers.spectral_layer import SpectralImageLayer
from tfrobust.settings import require_steps


@keras.saving.register_keras_serializable(package="tfrobust")
class SpectralConv2DTranspose(SpectralImageLayer):
    """Transposed convolution divided by the largest singular value of its linear map.

    Like `SpectralConv2D`; the map is `keras.layers.Conv2DTranspose`'s, the adjoint of a
    strided convolution of the larger image, without output padding or dilation.

    Args:
        filters: Number of output channels.
        kernel_size: One integer, or `(height, width)`.
        strides: One integer, or `(height, width)`: how many times larger the image
            becomes.
        padding: `"same"` or `"valid"`, as in Keras.
        use_bias: Whether to add a bias.
        power_iterations: Rounds for each training call, at least 1.
        kernel_initializer: Keras initialiser of the raw kernel `[kh,kw,filters,C]`.
        **kwargs: `name`, `dtype`, `trainable`, as for any Keras layer.

    Call arguments:
        inputs: Float tensor `[B,H,W,C]`, channels last; H, W and C must be known when
            the layer is built, B need not be.
        training: Whether to follow the kernel by power iteration.

    Raises:
        ValueError: If an argument is out of range, or the spatial size is unknown.

    Reference: Srinivas et al. 2022 (LCNN), section 3.4.1, for transposed ones.

    Example:
        >>> import numpy as np
        >>> from tfrobust.layers import SpectralConv2DTranspose
        >>> layer = SpectralConv2DTranspose(8, 3, strides=2)
        >>> layer(np.ones((2, 5, 5, 3), "float32")).shape
        TensorShape([2, 10, 10, 8])
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
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            use_bias=use_bias,
            power_iterations=power_iterations,
            kernel_initializer=kernel_initializer,
            **kwargs,
        )
        require_steps("filters", filters)
        self.filters = int(filters)

    def kernel_shape(self, channels: int) -> tuple[int, ...]:
        """`[kh,kw,filters,channels]`."""
        return (*self.kernel_size, self.filters, channels)

    def linear_map(self, x: Any, kernel: Any) -> Any:
        """The map with the kernel given, without bias or division."""
        return ops.conv_transpose(
            x,
            kernel,
            strides=self.strides,
            padding=self.padding,
            data_format="channels_last",
        )

    def adjoint_map(self, y: Any, kernel: Any) -> Any:
        """The adjoint of `linear_map`, outputs to inputs: a convolution."""
        return linear_maps.convolution(y, kernel, self.strides, self.padding)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """`[B,H*stride,W*stride,filters]`, larger by what the kernel overhangs."""
        overhang = self.padding == "valid"
        sizes = [
            None if size is None else size * stride + overhang * max(kernel - stride, 0)
            for size, stride, kernel in zip(
                input_shape[1:3], self.strides, self.kernel_size, strict=True
            )
        ]
        return (input_shape[0], *sizes, self.filters)

    def get_config(self) -> dict[str, Any]:
        """The arguments that rebuild this layer."""
        return {**super().get_config(), "filters": self.filters}
