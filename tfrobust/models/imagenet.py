"""Keras's ImageNet networks with this library's inputs and outputs."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import keras

from tfrobust.models.parts import check_image_shape
from tfrobust.settings import require_steps

_CLASSES = 1000  # Of Keras's own weights.
_ENDINGS = (".keras", ".weights.h5", ".h5")


def InceptionV3(
    input_shape: tuple[int, int, int] = (299, 299, 3),
    classes: int = _CLASSES,
    weights: str | os.PathLike[str] | None = None,
    *,
    name: str = "inception_v3",
) -> keras.Model:
    """Inception-v3 from images in [0, 1] to logits.

    The network is `keras.applications.InceptionV3`. Before it stands a layer that
    scales pixels to [-1, 1], as `keras.applications.inception_v3.preprocess_input`
    does, and its softmax is left out.

    Args:
        input_shape: `(height, width, 3)`; height and width at least 75.
        classes: Number of classes K.
        weights: Where weights come from. `None`: fresh ones. `"imagenet"`: Keras's own,
            of 1000 classes, which Keras downloads. A path: a whole network (`.keras`)
            or its weights (`.weights.h5`, `.h5`), saved from this network or from
            Keras's, with as many classes; the size of its images does not matter.
        name: Name of the model.

    Returns:
        A functional `keras.Model` from images float32 `[B,H,W,3]` in [0, 1] to logits
        float32 `[B,K]`. Its layers are Keras's alone, so its file loads anywhere.

    Raises:
        ValueError: If an argument is out of range, the image is too small, there is no
            file of weights or it does not fit.
        OSError: If Keras's weights cannot be downloaded.

    Reference: Szegedy et al. 2016, Rethinking the Inception Architecture for Computer
    Vision.

    Example:
        >>> from tfrobust import models
        >>> models.InceptionV3((75, 75, 3), classes=10).output_shape
        (None, 10)
    """
    make = keras.applications.InceptionV3
    return _network(make, 75, input_shape, classes, weights, name)


def ResNet50V2(
    input_shape: tuple[int, int, int] = (299, 299, 3),
    classes: int = _CLASSES,
    weights: str | os.PathLike[str] | None = None,
    *,
    name: str = "resnet50v2",
) -> keras.Model:
    """ResNet-50 of the second kind (full pre-activation), from [0, 1] to logits.

    The network is `keras.applications.ResNet50V2`. Before it stands a layer that scales
    pixels to [-1, 1], as `keras.applications.resnet_v2.preprocess_input` does, and its
    softmax is left out. Keras trained it on 224x224 images; it takes any size.

    Args:
        input_shape: `(height, width, 3)`; height and width at least 32.
        classes: As for `InceptionV3`.
        weights: As for `InceptionV3`.
        name: Name of the model.

    Returns:
        As for `InceptionV3`.

    Raises:
        ValueError: As for `InceptionV3`.
        OSError: If Keras's weights cannot be downloaded.

    Reference: He et al. 2016, Identity Mappings in Deep Residual Networks.

    Example:
        >>> from tfrobust import models
        >>> models.ResNet50V2((32, 32, 3), classes=10).output_shape
        (None, 10)
    """
    make = keras.applications.ResNet50V2
    return _network(make, 32, input_shape, classes, weights, name)


def _network(
    make: Callable[..., keras.Model],
    smallest: int,
    input_shape: tuple[int, int, int],
    classes: int,
    weights: str | os.PathLike[str] | None,
    name: str,
) -> keras.Model:
    """One of Keras's networks between a scaling and float32 logits, all in one graph.

    Nothing is nested, so that weights files of Keras's own network fit this one.
    """
    require_steps("classes", classes)
    shape = _checked_shape(input_shape, smallest)
    _check_weights(weights, classes)
    images = keras.Input(shape, name="images")
    scaled = keras.layers.Rescaling(2.0, offset=-1.0, name="scaling")(images)
    body = make(
        weights=None, input_tensor=scaled, classes=classes, classifier_activation=None
    )
    # Float32 whatever the policy; the dense layer before it computes in the policy's.
    logits = keras.layers.Activation("linear", dtype="float32", name="logits")
    network = keras.Model(images, logits(body.output), name=name)
    if weights == "imagenet":
        network.set_weights(_downloaded(make).get_weights())
    elif weights is not None:
        _load(network, pathlib.Path(weights))
    return network


def _checked_shape(
    input_shape: tuple[int, int, int], smallest: int
) -> tuple[int, int, int]:
    shape = check_image_shape(input_shape)
    if min(shape[:2]) < smallest or shape[2] != 3:
        raise ValueError(
            f"`input_shape` must have a height and width of at least {smallest} and 3 "
            f"channels. Received: input_shape={shape}"
        )
    return shape


def _check_weights(weights: str | os.PathLike[str] | None, classes: int) -> None:
    """Refuses before anything is built, which takes seconds."""
    if weights is None:
        return
    if weights == "imagenet":
        if classes != _CLASSES:
            raise ValueError(
                f"`classes` must be {_CLASSES} with weights='imagenet'. "
                f"Received: classes={classes}"
            )
        return
    path = pathlib.Path(weights)
    if not (path.is_file() and path.name.endswith(_ENDINGS)):
        raise ValueError(
            "`weights` must be None, 'imagenet' or an existing file that ends in "
            f"{', '.join(_ENDINGS)}. Received: weights={str(weights)!r}"
        )


def _downloaded(make: Callable[..., keras.Model]) -> keras.Model:
    """Keras's network at its own image size, with the weights that Keras downloads."""
    try:
        return make(weights="imagenet", classifier_activation=None)
    except Exception as error:  # Keras raises a bare one where it has no network.
        raise OSError(
            f"weights='imagenet' could not be downloaded by Keras: {error}"
        ) from error


def _load(network: keras.Model, path: pathlib.Path) -> None:
    """Fills a network from a file, whatever its form."""
    try:
        if path.suffix == ".keras":
            source = keras.models.load_model(path, compile=False)
            network.set_weights(source.get_weights())
        else:
            network.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(
            f"`weights` must hold weights of {network.name} with "
            f"{network.output_shape[-1]} classes. Received: weights={str(path)!r}"
        ) from error
