"""The parts that turn one skeleton into its variants, from plain to lcnn."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from tfrobust.layers import (
    CenteredSoftplus,
    LipschitzBatchNormalization,
    SpectralConv2D,
    SpectralDense,
)
from tfrobust.settings import require_steps

VARIANTS = ("standard", "plain", "softplus", "lcnn")
LCNN_PARTS = ("activation", "spectral", "norm")

# At this sharpness softplus is ReLU to within log(2)/1000; the paper's standard
# networks use it so that curvature is defined for them too.
_STANDARD_BETA = 1000.0
_NORM = {"momentum": 0.9, "epsilon": 1e-5}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """Makes the convolutions, norms, activations and dense layers of a variant.

    Attributes:
        variant: `"plain"` (the published networks: plain convolution, batch norm with
            scale and shift, ReLU), `"standard"` (batch norm without scale and shift,
            softplus at beta = 1000), `"softplus"` (the same at a softer fixed beta) or
            `"lcnn"` (spectral, gamma-Lipschitz, centered softplus with a learnable
            beta).
        beta: Of the activations: where `lcnn` starts, what `softplus` keeps.
        gamma: Initial gamma of the `lcnn` norms.
        synchronized: Whether norms share statistics over replicas.
        lcnn_parts: Which parts of `lcnn` are low-curvature, the others being those of
            `standard`: `"all"`, or names with + between, such as `"spectral+norm"`:
            `activation` (centered softplus with a learnable beta), `spectral`
            (convolutions and dense layers), `norm` (gamma-Lipschitz batch norm).

    Raises:
        ValueError: If there is no such variant or part, or parts are chosen of another
            variant.

    Example:
        >>> parts = Parts(variant="lcnn", lcnn_parts="spectral+norm")
        >>> parts.has("norm"), parts.has("activation")
        (True, False)
    """

    variant: str
    beta: float = 5.0
    gamma: float = 10.0
    synchronized: bool = False
    lcnn_parts: str = "all"

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(
                f"`variant` must be one of {', '.join(VARIANTS)}. "
                f"Received: variant={self.variant!r}"
            )
        if self.lcnn_parts == "all":
            return
        chosen = self.lcnn_parts.split("+")
        if not set(chosen) <= set(LCNN_PARTS) or len(set(chosen)) < len(chosen):
            raise ValueError(
                f"`lcnn_parts` must be all, or some of {', '.join(LCNN_PARTS)} with + "
                f"between. Received: lcnn_parts={self.lcnn_parts!r}"
            )
        if self.variant != "lcnn":
            raise ValueError(
                "`lcnn_parts` must be all unless the variant is lcnn. "
                f"Received: lcnn_parts={self.lcnn_parts!r}, variant={self.variant!r}"
            )

    @property
    def is_plain(self) -> bool:
        """Whether this is the published network, with ReLU and an affine batch norm."""
        return self.variant == "plain"

    def has(self, part: str) -> bool:
        """Whether a part, one of `LCNN_PARTS`, is the low-curvature one."""
        chosen = self.lcnn_parts.split("+")
        return self.variant == "lcnn" and (chosen == ["all"] or part in chosen)

    def convolution(
        self, x: Any, filters: int, kernel_size: int, strides: int, name: str
    ) -> Any:
        """Convolution without bias, zero-padded to keep the size at stride 1."""
        layer = SpectralConv2D if self.has("spectral") else keras.layers.Conv2D
        return layer(
            filters,
            kernel_size,
            strides=strides,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=name,
        )(x)

    def norm(self, x: Any, name: str) -> Any:
        """Batch normalisation, with scale and shift in `plain` only."""
        if self.has("norm"):
            layer = LipschitzBatchNormalization(
                gamma=self.gamma, synchronized=self.synchronized, name=name, **_NORM
            )
        else:
            layer = keras.layers.BatchNormalization(
                center=self.is_plain,
                scale=self.is_plain,
                synchronized=self.synchronized,
                name=name,
                **_NORM,
            )
        return layer(x)

    def activation(self, x: Any, name: str) -> Any:
        """Centered softplus, its beta learnable in `lcnn` only; ReLU in `plain`."""
        if self.is_plain:
            return keras.layers.ReLU(name=name)(x)
        learns = self.has("activation")
        soft = learns or self.variant == "softplus"
        beta = self.beta if soft else _STANDARD_BETA
        return CenteredSoftplus(beta, trainable=learns, name=name)(x)

    def joined(self, branch: Any, shortcut: Any, name: str) -> Any:
        """Half the sum of branch and shortcut, which is 1-Lipschitz if both are.

        The sum itself in `plain`.
        """
        if self.is_plain:
            return keras.layers.Add(name=f"{name}_sum")([branch, shortcut])
        # A layer, not `0.5 * (a + b)`: Keras marks a scaled symbolic tensor as sparse.
        return keras.layers.Average(name=f"{name}_average")([branch, shortcut])

    def convolution_block(
        self, x: Any, filters: int, name: str, strides: int = 1
    ) -> Any:
        """3x3 convolution, norm, activation."""
        x = self.convolution(x, filters, 3, strides, name=f"{name}_conv")
        x = self.norm(x, name=f"{name}_norm")
        return self.activation(x, name=f"{name}_activation")

    def dense(self, x: Any, units: int, name: str) -> Any:
        """Dense layer with bias; float32 outputs, so that logits stay exact."""
        layer = SpectralDense if self.has("spectral") else keras.layers.Dense
        return layer(units, name=name, dtype="float32")(x)


def check_image_shape(input_shape: Any) -> tuple[int, int, int]:
    """`(height, width, channels)` as integers, or a one-sentence `ValueError`."""
    shape = tuple(input_shape)
    if len(shape) != 3:
        raise ValueError(
            "`input_shape` must be (height, width, channels). "
            f"Received: input_shape={shape}"
        )
    for size in shape:
        require_steps("input_shape", size)
    return int(shape[0]), int(shape[1]), int(shape[2])
