"""A classifier as it is served: a SavedModel, its versions and its signature."""

from __future__ import annotations

import json
import os
import pathlib

import keras
import tensorflow as tf

SIGNATURE = "serving_default"
"""The signature by which a classifier answers: `images` in, `logits` out."""

CARD = "assets.extra/model_card.json"
"""What `export` writes beside a model of what it is, below the folder of a version."""

GRAPH = "saved_model.pb"
"""The file that makes a folder a SavedModel."""


def numbered_versions(
    directory: str | os.PathLike[str],
) -> list[tuple[int, pathlib.Path]]:
    """The versions below a directory, as a server counts them.

    Args:
        directory: A folder, whose entries are versions if their names are numbers, of
            which zeros may lead.

    Returns:
        Number and path of each, in rising order.
    """
    return sorted(
        (int(entry.name), entry)
        for entry in pathlib.Path(directory).iterdir()
        if entry.name.isascii() and entry.name.isdigit()
    )


class ServedModel:
    """The signature of a SavedModel as a function from images to logits.

    Args:
        path: Folder with `saved_model.pb`.

    Attributes:
        bounds: The least and the largest value of a pixel as the signature takes it;
            `None` where nothing beside the model says so.

    Raises:
        KeyError: If it has no signature `serving_default`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # The loaded object owns the variables, the signature only borrows them.
        self.loaded = tf.saved_model.load(str(path))
        self.signature = self.loaded.signatures[SIGNATURE]
        self.bounds = _bounds_beside(pathlib.Path(path))

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Logits float32 `[B, K]` of images float32 `[B, H, W, C]` within bounds."""
        return self.signature(images=images)["logits"]


def _bounds_beside(folder: pathlib.Path) -> tuple[float, float] | None:
    """The range of the pixels, as the card of an exported model has it."""
    try:
        card = json.loads((folder / CARD).read_text())
        low, high = card["serving"]["bounds"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return float(low), float(high)


def as_network(
    path: str | os.PathLike[str], input_shape: tuple[int | None, ...]
) -> keras.Model:
    """A Keras model around the signature of a SavedModel.

    Gradients flow through it to the images. It has one layer, whose weights are neither
    trained nor changed, and cannot be saved as a `.keras` file that loads elsewhere.

    Args:
        path: Folder with `saved_model.pb`.
        input_shape: `(H, W, C)` of its images; `None` where any size fits.

    Returns:
        A functional model from images float32 `[B, H, W, C]` to logits `[B, K]`.
    """
    images = keras.Input(input_shape, name="images")
    # With names and a type of its own it is the same in each process, whatever was
    # made in it before: caches tell networks apart by their configuration.
    layer = keras.layers.TFSMLayer(
        str(path), SIGNATURE, trainable=False, name="served", dtype="float32"
    )
    return keras.Model(images, layer(images)["logits"], name="served_model")
