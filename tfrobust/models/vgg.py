"""VGG-11 for small images, plain, standard and low-curvature."""

from __future__ import annotations

import keras

from tfrobust.models.parts import Parts, check_image_shape
from tfrobust.models.registry import register
from tfrobust.settings import require_steps

# Channels as multiples of `width`; None halves the resolution by max pooling.
_VGG11 = (1, None, 2, None, 4, 4, None, 8, 8, None, 8, 8, None)


@register("vgg11")
def VGG11(
    input_shape: tuple[int, int, int] = (32, 32, 3),
    classes: int = 10,
    variant: str = "standard",
    width: int = 64,
    *,
    beta: float = 5.0,
    gamma: float = 10.0,
    synchronized: bool = False,
    lcnn_parts: str = "all",
    name: str = "vgg11",
) -> keras.Model:
    """VGG-11 (configuration A) in its CIFAR form: eight convolutions, one dense layer.

    Every convolution is followed by a batch norm; the two hidden dense layers of the
    ImageNet network are left out. Max pooling over 2x2 is 1-Lipschitz.

    Args:
        input_shape: `(height, width, channels)`; height and width at least 32.
        classes: Number of classes K.
        variant: `"standard"` (softplus at beta = 1000), `"plain"` (ReLU, and batch
            norms with scale and shift), `"softplus"` (at `beta`) or `"lcnn"`
            (low-curvature layers).
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

    Reference: Simonyan and Zisserman 2015, table 1, column A. The release of the LCNN
    paper calls a network with ten convolutions VGG-11; this is the published one.

    Example:
        >>> from tfrobust import models
        >>> models.VGG11((32, 32, 3), classes=10, width=4).output_shape
        (None, 10)
    """
    require_steps("classes", classes)
    require_steps("width", width)
    shape = check_image_shape(input_shape)
    if min(shape[:2]) < 32:
        raise ValueError(
            "`input_shape` must have a height and width of at least 32, since VGG-11 "
            f"halves them five times. Received: input_shape={shape}"
        )
    parts = Parts(
        variant=variant,
        beta=beta,
        gamma=gamma,
        synchronized=synchronized,
        lcnn_parts=lcnn_parts,
    )
    images = keras.Input(shape, name="images")
    x, index = images, 0
    for multiple in _VGG11:
        if multiple is None:
            x = keras.layers.MaxPooling2D(2, name=f"pool{index}")(x)
            continue
        index += 1
        x = parts.convolution_block(x, width * multiple, name=f"block{index}")
    x = keras.layers.Flatten(name="flatten")(x)
    return keras.Model(images, parts.dense(x, classes, name="logits"), name=name)
