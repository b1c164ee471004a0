"""Depthwise convolution whose linear map has a largest singular value of one."""

from __future__ import annotations

from typing import Any

import keras

from tfrobust.layers import linear_maps
from tfrobust.layers.spectral_layer import (
    SpectralImageLayer,
    pair,
    require_one_or_the_other,
    sizes_after,
)
from tfrobust.settings import require_steps


@keras.saving.register_keras_serializable(package="tfrobust")
class SpectralDepthwiseConv2D(SpectralImageLayer):
    """Depthwise convolution divided by the largest singular value of its linear map.

    Like `SpectralConv2D`, with every channel convolved by itself. Its map is a block a
    channel, so the norm is the largest of the channels' norms: all channels are divided
    by the same number, and their sizes to one another stay.

    Args:
        kernel_size: One integer, or `(height, width)`.
        strides: One integer, or two equal ones.
        padding: `"same"` (zeros around the image) or `"valid"`.
        depth_multiplier: Number of output channels for each input channel.
        use_bias: Whether to add a bias.
        power_iterations: Rounds for each training call, at least 1.
        kernel_initializer: Keras initialiser of the raw kernel `[kh,kw,C,multiplier]`.
        dilation_rate: One integer, or `(height, width)`. Where it is not 1, `strides`
            are.
        **kwargs: `name`, `dtype`, `trainable`, as for any Keras layer.

    Call arguments:
        inputs: Float tensor `[B,H,W,C]`, channels last; H, W and C must be known when
            the layer is built, B need not be.
        training: Whether to follow the kernel by power iteration.

    Raises:
        ValueError: If an argument is out of range, or the spatial size is unknown.

    Reference: Srinivas et al. 2022 (LCNN), section 3.4.1, for depthwise convolutions.

    Example:
        >>> import numpy as np
        >>> from tfrobust.layers import SpectralDepthwiseConv2D
        >>> layer = SpectralDepthwiseConv2D(3, strides=2, depth_multiplier=2)
        >>> layer(np.ones((2, 9, 9, 3), "float32")).shape
        TensorShape([2, 5, 5, 6])
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = 1,
        padding: str = "same",
        depth_multiplier: int = 1,
        use_bias: bool = False,
        power_iterations: int = 1,
        kernel_initializer: Any = "he_normal",
        dilation_rate: int | tuple[int, int] = 1,
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
        require_steps("depth_multiplier", depth_multiplier)
        if self.strides[0] != self.strides[1]:
            raise ValueError(
                "`strides` must be equal in both directions for a depthwise "
                f"convolution. Received: strides={self.strides}"
            )
        self.depth_multiplier = int(depth_multiplier)
        self.dilation_rate = pair("dilation_rate", dilation_rate)
        require_one_or_the_other(self.strides, self.dilation_rate)

    def kernel_shape(self, channels: int) -> tuple[int, ...]:
        """`[kh,kw,channels,depth_multiplier]`."""
        return (*self.kernel_size, channels, self.depth_multiplier)

    def linear_map(self, x: Any, kernel: Any) -> Any:
        """The convolution with the kernel given, without bias or division."""
        return linear_maps.depthwise_convolution(
            x, kernel, self.strides, self.padding, self.dilation_rate
        )

    def adjoint_map(self, y: Any, kernel: Any) -> Any:
        """The adjoint of `linear_map`, outputs to inputs."""
        return linear_maps.depthwise_adjoint(
            y,
            kernel,
            self.input_size,
            self.strides,
            self.padding,
            self.dilation_rate,
        )

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """`[B,H',W',C*depth_multiplier]`."""
        sizes = sizes_after(
            input_shape[1:3],
            self.kernel_size,
            self.strides,
            self.padding,
            self.dilation_rate,
        )
        return (input_shape[0], *sizes, input_shape[-1] * self.depth_multiplier)

    def get_config(self) -> dict[str, Any]:
        """The arguments that rebuild this layer."""
        return {
            **super().get_config(),
            "depth_multiplier": self.depth_multiplier,
            "dilation_rate": self.dilation_rate,
        }
