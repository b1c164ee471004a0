"""Networks by name, as `--model` of the trainers knows them: `resnet18:width=16`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import keras
import tensorflow as tf

from tfrobust.core.keras_graph import ends_in_softmax
from tfrobust.core.registry import Makers

_NETWORKS: Makers[keras.Model] = Makers("network")

_Maker = TypeVar("_Maker", bound=Callable[..., keras.Model])


def register(name: str) -> Callable[[_Maker], _Maker]:
    """Makes a network known by name; a decorator of the function that builds it.

    Args:
        name: Lower-case letters, digits and underscores, a letter first.

    Returns:
        A function that registers a function and returns it. What it registers takes the
        image shape `(H, W, C)` and the number of classes, and after these any settings,
        and returns a `keras.Model` from images in [0, 1] to logits. The trainers give
        it those of `variant`, `width`, `beta`, `gamma` and `synchronized` that it has.

    Raises:
        ValueError: If the name is malformed or belongs to another network.

    Example:
        >>> import keras
        >>> from tfrobust import models
        >>> @models.register("linear")
        ... def linear(input_shape, classes, use_bias: bool = True):
        ...     return keras.Sequential([
        ...         keras.Input(input_shape), keras.layers.Flatten(),
        ...         keras.layers.Dense(classes, use_bias=use_bias)])
        >>> models.build("linear:use_bias=false", (8, 8, 1), 3).count_params()
        192
    """
    return _NETWORKS.register(name)


def names() -> tuple[str, ...]:
    """Names of all registered networks, in alphabetical order.

    Example:
        >>> from tfrobust import models
        >>> {"c4", "mlp", "resnet18", "resnet34", "vgg11"} <= set(models.names())
        True
    """
    return _NETWORKS.names()


def settings(text: str) -> tuple[str, ...]:
    """The settings of the network that a text names.

    Raises:
        ValueError: If there is no such network or setting.

    Example:
        >>> from tfrobust import models
        >>> models.settings("mlp")
        ('variant', 'width', 'beta')
    """
    return _NETWORKS.settings(text, 2)


def build(
    text: str, input_shape: Sequence[int], classes: int, **defaults: Any
) -> keras.Model:
    """The network that a text names, freshly initialised.

    Args:
        text: A name, and after a colon any number of settings with commas between:
            `resnet18`, `vgg11:width=16,variant=lcnn`.
        input_shape: `(H, W, C)` of one image.
        classes: Number of classes K.
        **defaults: Settings that the network takes, if it has them, where the text does
            not give them.

    Returns:
        The network, from images float32 `[B,H,W,C]` in [0, 1] to logits `[B,K]`.

    Raises:
        ValueError: If there is no such network or setting, or the network refuses a
            value or the image shape.

    Example:
        >>> from tfrobust import models
        >>> models.build("resnet18:width=4", (32, 32, 3), 10, gamma=1.0).output_shape
        (None, 10)
    """
    network = _NETWORKS.make(text, tuple(input_shape), classes, **defaults)
    _check(network, (None, *input_shape), (None, classes), text)
    return network


def _check(network: Any, images: Any, logits: Any, text: str) -> None:
    """Raises `ValueError` unless a network maps such images to such logits."""
    if not isinstance(network, keras.Model):
        received = f"a {type(network).__name__} of {text}"
    elif network.output_shape != logits:
        received = f"outputs {network.output_shape} of {text}"
    elif not tf.TensorShape(network.input_shape).is_compatible_with(images):
        received = f"images {network.input_shape} of {text}"
    elif ends_in_softmax(network):
        received = f"{text}, whose last layer is a softmax"
    else:
        return
    raise ValueError(
        f"A registered network must be a `keras.Model` from images {images} to logits "
        f"{logits}. Received: {received}"
    )
