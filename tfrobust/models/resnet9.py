"""ResNet-9 for small images, and its variants."""

from __future__ import annotations

from typing import Any

import keras

from tfrobust.models.parts import Parts, check_image_shape
from tfrobust.models.registry import register
from tfrobust.settings import require_steps

# Of each stage behind the first convolution: channels as a multiple of `width`, and
# whether a residual block follows.
_STAGES = ((2, True), (4, False), (8, True))


@register("resnet9")
def ResNet9(
    input_shape: tuple[int, int, int] = (32, 32, 3),
    classes: int = 10,
    variant: str = "standard",
    width: int = 64,
    *,
    beta: float = 5.0,
    gamma: float = 10.0,
    synchronized: bool = False,
    lcnn_parts: str = "all",
    name: str = "resnet9",
) -> keras.Model:
    """ResNet-9: eight convolutions, two residual blocks and one dense layer.

    Made to be trained in little time; 6,568,650 weights to train at width 64 and 10
    classes. Halving is by averages of 2x2, which are 1-Lipschitz and smooth, where the
    original takes the largest value. Blocks return half the sum of branch and shortcut,
    in the variant `"plain"` the sum, as those of `ResNet18` do.

    Args:
        input_shape: `(height, width, channels)`; height and width at least 8.
        classes: Number of classes K.
        variant: `"plain"` (ReLU, batch norms with scale and shift, blocks that return
            the sum), `"standard"` (softplus at beta = 1000), `"softplus"` (at `beta`)
            or `"lcnn"` (low-curvature layers).
        width: Channels of the first convolution; 64 is the published network.
        beta: Of every activation: where `lcnn` starts, what `softplus` keeps.
        gamma: Initial gamma of every norm (`lcnn` only).
        synchronized: Whether batch norms share statistics over the replicas of a
            `tf.distribute` strategy.
        lcnn_parts: Which parts of `lcnn` are low-curvature: `"all"`, or some of
            `activation`, `spectral` and `norm` with + between, the others being those
            of `standard`.
        name: Name of the model.

    Returns:
        A functional `keras.Model` from images float32 `[B,H,W,C]` in [0, 1] to logits
        float32 `[B,K]`.

    Raises:
        ValueError: If an argument is out of range or the image is too small.

    Reference: Page 2018, How to Train Your ResNet (the network of the DAWNBench entry);
    He et al. 2016.

    Example:
        >>> from tfrobust import models
        >>> models.ResNet9((32, 32, 3), classes=10, width=4).output_shape
        (None, 10)
    """
    require_steps("classes", classes)
    require_steps("width", width)
    shape = check_image_shape(input_shape)
    if min(shape[:2]) < 8:
        raise ValueError(
            "`input_shape` must have a height and width of at least 8, since ResNet-9 "
            f"halves them three times. Received: input_shape={shape}"
        )
    parts = Parts(
        variant=variant,
        beta=beta,
        gamma=gamma,
        synchronized=synchronized,
        lcnn_parts=lcnn_parts,
    )
    images = keras.Input(shape, name="images")
    x = parts.convolution_block(images, width, name="stem")
    for stage, (multiple, residual) in enumerate(_STAGES, start=1):
        x = parts.convolution_block(x, width * multiple, name=f"stage{stage}")
        x = keras.layers.AveragePooling2D(2, name=f"stage{stage}_half")(x)
        if residual:
            x = _block(x, width * multiple, parts, name=f"stage{stage}_block")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, parts.dense(x, classes, name="logits"), name=name)


def _block(x: Any, filters: int, parts: Parts, name: str) -> Any:
    """Two convolutions, each with norm and activation, beside the shortcut."""
    branch = parts.convolution_block(x, filters, name=f"{name}_a")
    branch = parts.convolution_block(branch, filters, name=f"{name}_b")
    return parts.joined(branch, x, name=name)
