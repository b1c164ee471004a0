"""Writes a classifier as a versioned SavedModel.

The graph holds standard TensorFlow operations only, so the process that serves it needs
neither Keras nor this library. It checks its input before anything else: a server does
not enforce the signature, and a tensor of the wrong rank can take the process down.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import tfrobust.layers  # noqa: F401  Registers the layers, to load `.keras` files.

SIGNATURE = "serving_default"


def export_saved_model(
    model: keras.Model | str | os.PathLike[str],
    directory: str | os.PathLike[str],
    class_names: Sequence[str] | None = None,
) -> Path:
    """Write a model as the next version below a directory.

    The version is one above the highest there, or 1. It is written under a temporary
    name and renamed when complete, so that a server that watches the directory never
    sees half a model. Nothing that exists is changed.

    The signature `serving_default` takes `images`, float32 `[B, H, W, C]` in [0, 1],
    B at least 1, and returns a dictionary of

    - `logits`, float32 `[B, K]`;
    - `probabilities`, float32 `[B, K]`, the softmax of the logits;
    - `classes`, int32 `[B]`, the most likely class;
    - `labels`, string `[B]`, its name, if `class_names` are given.

    An input of another shape, with a pixel outside [0, 1] or NaN, or without any image
    is an `InvalidArgumentError`. Gradients flow through the signature once loaded.

    Args:
        model: Keras classifier from images to logits, or the path of a `.keras` file.
        directory: Where the versions go, made if need be. Its name is the model's name
            to a server.
        class_names: One name for each class, in order.

    Returns:
        The folder of the new version, `directory/N`.

    Raises:
        FileNotFoundError: If the model's file is missing.
        NotADirectoryError: If `directory` is a file.
        ValueError: If the file is no Keras model, the model does not map one batch of
            images to logits, `directory` is empty, or the names are too few or many.

    Example:
        >>> import tempfile
        >>> model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten()])
        >>> folder = export_saved_model(model, tempfile.mkdtemp() + "/flat")
        >>> folder.name
        '1'
        >>> served = tf.saved_model.load(folder)  # Keep it: it owns the variables.
        >>> serve = served.signatures["serving_default"]
        >>> serve(images=tf.ones([1, 2, 2, 1]))["classes"].numpy().tolist()
        [0]
    """
    target = _check_directory(directory)
    if not isinstance(model, keras.Model):
        model = _load(model)
    input_shape, classes = _check_model(model)
    serve = _serving_function(model, _check_names(class_names, classes))
    signature = tf.TensorSpec([None, *input_shape], tf.float32, name="images")
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(SIGNATURE, serve, input_signature=[signature])
    target.mkdir(parents=True, exist_ok=True)
    # On the same file system as the target, or the rename would be a copy. A server
    # looks at names that are numbers and passes over this one.
    workspace = Path(tempfile.mkdtemp(prefix=".exporting-", dir=target))
    try:
        written = workspace / "model"
        archive.write_out(str(written), verbose=False)
        return _publish(written, target)
    finally:
        shutil.rmtree(workspace)


def versions(directory: str | os.PathLike[str]) -> list[int]:
    """The version numbers taken below a directory, in rising order."""
    names = [entry.name for entry in Path(directory).iterdir()]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def _serving_function(
    model: keras.Model, names: list[str] | None
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """The computation that is served."""
    shape = model.input_shape

    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        images = _checked(tf.ensure_shape(images, shape))
        logits = tf.cast(model(images, training=False), tf.float32)
        classes = tf.argmax(logits, axis=-1, output_type=tf.int32)
        answer = {
            "logits": logits,
            "probabilities": tf.nn.softmax(logits),
            "classes": classes,
        }
        if names is not None:
            answer["labels"] = tf.gather(tf.constant(names), classes)
        return answer

    return serve


def _checked(images: tf.Tensor) -> tf.Tensor:
    """The images, once they are known to be some and to lie in [0, 1]."""
    some = tf.debugging.Assert(
        tf.size(images) > 0,
        ["images must hold at least one image, got shape", tf.shape(images)],
    )
    # NaN compares false, so it fails here too.
    inside = tf.reduce_all((images >= 0.0) & (images <= 1.0))
    lowest, highest = tf.reduce_min(images), tf.reduce_max(images)
    in_range = tf.debugging.Assert(
        inside,
        ["images must lie in [0, 1] and hold no NaN, got values from", lowest]
        + ["to", highest],
    )
    # Ties the model's first operation to the checks: they come before it, not beside.
    with tf.control_dependencies([some, in_range]):
        return tf.identity(images)


def _publish(written: Path, target: Path) -> Path:
    """Rename a complete model to the next free version."""
    while True:
        version = target / str(max(versions(target), default=0) + 1)
        try:
            return written.rename(version)
        except OSError:
            # Another export may have taken the number; any other failure is real.
            if not version.exists():
                raise


def _load(path: str | os.PathLike[str]) -> keras.Model:
    """Load a `.keras` file without running code from it."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"`model` must be an existing file. Received: {path}")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        # Keras raises whatever the first broken part does, from OSError to KeyError.
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"`model` must be a Keras model file that loads here. Received: {path} "
            f"({reason})"
        ) from error


def _check_directory(directory: str | os.PathLike[str]) -> Path:
    if not str(directory).strip():
        raise ValueError("`directory` must not be empty. Received: ''")
    path = Path(directory)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"`directory` must not be a file. Received: {path}")
    return path


def _check_model(model: keras.Model) -> tuple[tuple[int | None, ...], int]:
    """The image shape and the number of classes of a classifier."""
    images: Any = getattr(model, "input_shape", None)
    logits: Any = getattr(model, "output_shape", None)
    if not (_has_rank(images, 4) and _has_rank(logits, 2) and logits[1]):
        raise ValueError(
            "`model` must be a built Keras model from images [B, H, W, C] to logits "
            f"[B, K]. Received: input shape {images}, output shape {logits}"
        )
    if _ends_in_softmax(model):
        raise ValueError(
            "`model` must return logits; the softmax is added here. Received: a model "
            f"whose last layer, {model.layers[-1].name!r}, is a softmax"
        )
    return images[1:], logits[1]


def _ends_in_softmax(model: keras.Model) -> bool:
    last = model.layers[-1]
    activation = getattr(last, "activation", None)
    return (
        isinstance(last, keras.layers.Softmax)
        or activation is keras.activations.softmax
    )


def _has_rank(shape: Any, rank: int) -> bool:
    """Whether a shape is that of one tensor; several inputs have a list of shapes."""
    return (
        isinstance(shape, tuple)
        and len(shape) == rank
        and all(size is None or isinstance(size, int) for size in shape)
    )


def _check_names(names: Sequence[str] | None, classes: int) -> list[str] | None:
    if names is None:
        return None
    if isinstance(names, str) or len(names) != classes:
        raise ValueError(
            f"`class_names` must name each of the {classes} classes. "
            f"Received: {names!r}"
        )
    return [str(name) for name in names]
