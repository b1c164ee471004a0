"""What layers with a largest singular value of one share: state, norm, kernel."""

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


class SpectralLayer(keras.layers.Layer):
    """A layer that divides its kernel by the largest singular value of its linear map.

    A subclass says in `linear_map` and `adjoint_map` which linear map its kernel is,
    and creates its weights by `add_weights`. The map's singular vectors are state:
    `left` (output-shaped) and `right` (input-shaped).

    Args:
        use_bias: Whether to add a bias.
        power_iterations: Rounds of power iteration for each training call, at least 1.
        kernel_initializer: Keras initialiser of the raw kernel.
        **kwargs: `name`, `dtype`, `trainable`, as for any Keras layer.
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

    def linear_map(self, x: Any, kernel: Any) -> Any:
        """The layer's linear map with the kernel given, without bias or division."""
        raise NotImplementedError

    def adjoint_map(self, y: Any, kernel: Any) -> Any:
        """The adjoint of `linear_map`, outputs to inputs."""
        raise NotImplementedError

    def _apply(self, right: Any) -> Any:
        return self.linear_map(right, ops.convert_to_tensor(self.kernel))

    def _adjoint(self, left: Any) -> Any:
        return self.adjoint_map(left, ops.convert_to_tensor(self.kernel))

    def add_weights(
        self,
        kernel_shape: tuple[int, ...],
        left_shape: tuple[int, ...],
        right_shape: tuple[int, ...],
    ) -> None:
        """Creates kernel, bias and singular vectors; `left` ends in the channels."""
        # autocast=False: a float16 norm is off by 1e-3, and the bound with it.
        self.kernel = self.add_weight(
            name="kernel",
            shape=kernel_shape,
            initializer=self.kernel_initializer,
            dtype="float32",
            autocast=False,
        )
        self.bias = (
            self.add_weight(name="bias", shape=left_shape[-1:], initializer="zeros")
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

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Applies the linear map of the normalised kernel, and adds the bias."""
        outputs = self.linear_map(inputs, self._kernel_for_call(training))
        return outputs if self.bias is None else outputs + self.bias

    def get_config(self) -> dict[str, Any]:
        """The arguments that rebuild this layer."""
        return {
            **super().get_config(),
            "use_bias": self.use_bias,
            "power_iterations": self.power_iterations,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


class SpectralImageLayer(SpectralLayer):
    """A spectral layer from images to images, whose norm depends on their size.

    A subclass creates its kernel in `build_kernel`.

    Args:
        kernel_size: One integer, or `(height, width)`.
        strides: One integer, or `(height, width)`.
        padding: `"same"` or `"valid"`.
        **kwargs: As for `SpectralLayer`.
    """

    def __init__(
        self,
        *,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int],
        padding: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if padding not in ("same", "valid"):
            raise ValueError(
                f"`padding` must be 'same' or 'valid'. Received: padding={padding!r}"
            )
        self.kernel_size = pair("kernel_size", kernel_size)
        self.strides = pair("strides", strides)
        self.padding = padding
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def kernel_shape(self, channels: int) -> tuple[int, ...]:
        """Shape of the kernel on images of so many channels."""
        raise NotImplementedError

    def build(self, input_shape: Any) -> None:
        """Creates the kernel and its singular vectors at this input size."""
        height, width, channels = input_shape[1:]
        if None in (height, width, channels):
            raise ValueError(
                f"`{type(self).__name__}` needs a known image size, since its norm "
                "depends on it; build it on (batch, height, width, channels) with only "
                f"the batch unknown. Received: input_shape={tuple(input_shape)}"
            )
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={-1: int(channels)})
        self.input_size = (int(height), int(width))
        kernel_shape = self.kernel_shape(int(channels))
        output = self.compute_output_shape(input_shape)
        if min(output[1:3]) < 1:
            raise ValueError(
                f"`kernel_size` must not exceed the image with padding='valid'. "
                f"Received: kernel_size={self.kernel_size}, "
                f"input_shape={tuple(input_shape)}"
            )
        self.output_size = output[1:3]
        self.add_weights(
            kernel_shape=kernel_shape,
            left_shape=(1, *output[1:]),
            right_shape=(1, height, width, channels),
        )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Applies the normalised kernel, and adds the bias."""
        if tuple(inputs.shape[1:3]) != self.input_size:
            raise ValueError(
                f"`inputs` must have the image size {self.input_size} that this "
                "layer's norm was computed for. "
                f"Received: inputs.shape={tuple(inputs.shape)}"
            )
        return super().call(inputs, training)

    def get_config(self) -> dict[str, Any]:
        """The arguments that rebuild this layer."""
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
        }


def sizes_after(
    sizes: Any,
    kernel_size: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int],
) -> list[int | None]:
    """Height and width after a convolution, `None` where it is unknown before."""
    return [
        None
        if size is None
        else linear_maps.convolution_geometry(
            size, linear_maps.dilated(kernel, dilation), stride, padding
        )[0]
        for size, kernel, stride, dilation in zip(
            sizes, kernel_size, strides, dilation_rate, strict=True
        )
    ]


def require_one_or_the_other(
    strides: tuple[int, int], dilation_rate: tuple[int, int]
) -> None:
    """Raises `ValueError` where a convolution is both strided and dilated."""
    if max(strides) > 1 and max(dilation_rate) > 1:
        raise ValueError(
            "`dilation_rate` must be 1 where `strides` are not. "
            f"Received: dilation_rate={dilation_rate}, strides={strides}"
        )


def pair(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    """One integer of at least 1 twice, or two of them as they are."""
    numbers = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(numbers) != 2:
        raise ValueError(
            f"`{name}` must be one integer or a pair of them. Received: {name}={value}"
        )
    for number in numbers:
        require_steps(name, number)
    return int(numbers[0]), int(numbers[1])
