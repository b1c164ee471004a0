"""Whatever answers with logits, as one kind of function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

Classifier = Callable[[tf.Tensor], tf.Tensor]
"""Maps float32 images `[B, H, W, C]` in [0, 1] to logits `[B, K]`."""

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Maps images `[B, ...]` and labels `[B]` to each example's loss `[B]`."""


def as_classifier(model: Any) -> Classifier:
    """A model as a function from float32 images to float32 logits, in inference mode.

    Args:
        model: A Keras model, which is called with `training=False`; a loaded SavedModel
            (its `serving_default` is used) or one of its signatures; or any callable.
            It may answer with the logits `[B,K]`, or with a dictionary that holds them
            under `"logits"` or holds nothing else.

    Returns:
        A function from images float32 `[B,H,W,C]` to logits float32 `[B,K]`. It raises
        `ValueError` when the answer is none.

    Example:
        >>> import tensorflow as tf
        >>> classifier = as_classifier(lambda x: {"logits": tf.zeros([2, 3])})
        >>> classifier(tf.zeros([2, 4, 4, 1])).shape
        TensorShape([2, 3])
    """
    ask = _caller(model)

    def classifier(images: tf.Tensor) -> tf.Tensor:
        logits = tf.convert_to_tensor(_logits_in(ask(images)))
        shape = logits.shape
        if not logits.dtype.is_floating or shape.rank != 2 or shape[1] in (0, 1):
            raise ValueError(
                "`model` must return floating logits [B, K] with K of at least 2. "
                f"Received: {logits.dtype.name} {shape}"
            )
        return tf.cast(logits, tf.float32)

    return classifier


def split_logits(logits: tf.Tensor, classes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The logit of one class, and all of them with that class masked out.

    Args:
        logits: float32 `[B,K]`.
        classes: int32 `[B]`.

    Returns:
        float32 `[B]`, and float32 `[B,K]` with the least float32 at the class.

    Example:
        >>> own, others = split_logits(tf.constant([[1.0, 3.0]]), tf.constant([0]))
        >>> own.numpy().tolist(), float(tf.reduce_max(others))
        ([1.0], 3.0)
    """
    chosen = tf.one_hot(classes, tf.shape(logits)[-1], on_value=True, off_value=False)
    own = tf.reduce_sum(tf.where(chosen, logits, tf.zeros_like(logits)), axis=-1)
    return own, tf.where(chosen, logits.dtype.min, logits)


def log_odds(logits: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """Log-odds of all other classes together against one, float32 `[B]`.

    The cross-entropy of the class is its `softplus`.

    Args:
        logits: float32 `[B,K]`, K at least 2.
        classes: int32 `[B]`.

    Example:
        >>> float(log_odds(tf.constant([[1.0, 3.0]]), tf.constant([0]))[0])
        2.0
    """
    own, others = split_logits(logits, classes)
    return tf.reduce_logsumexp(others, axis=-1) - own


def _caller(model: Any) -> Callable[[tf.Tensor], Any]:
    if isinstance(model, keras.layers.Layer):
        return lambda images: model(images, training=False)
    signatures = getattr(model, "signatures", None)
    if not callable(model) and signatures and "serving_default" in signatures:
        # The signature alone does not keep the loaded variables alive: `model` must be
        # what the closure holds.
        return lambda images: _by_name(model.signatures["serving_default"])(images)
    if not callable(model):
        raise ValueError(
            "`model` must be callable, or a loaded SavedModel with the signature "
            f'"serving_default". Received: {type(model).__name__}'
        )
    return _by_name(model)


def _by_name(model: Any) -> Callable[[tf.Tensor], Any]:
    """Signatures of a SavedModel take their one argument by its name."""
    arguments, named = getattr(model, "structured_input_signature", None) or ((), {})
    if arguments or len(named) != 1:
        return model
    name = next(iter(named))
    return lambda images: model(**{name: images})


def _logits_in(answer: Any) -> Any:
    if not isinstance(answer, dict):
        return answer
    if "logits" in answer:
        return answer["logits"]
    if len(answer) == 1:
        return next(iter(answer.values()))
    raise ValueError(
        '`model` must return logits, or a dictionary with the key "logits". '
        f"Received: the keys {', '.join(sorted(answer))}"
    )
