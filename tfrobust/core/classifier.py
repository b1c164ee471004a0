"""Whatever answers with logits, as one kind of function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfrobust.core.answers import are_probabilities, read_answer
from tfrobust.core.black_box import BlackBox, untraceable
from tfrobust.core.errors import warn_caller
from tfrobust.core.float_input import for_floats
from tfrobust.core.graphs import GraphCache
from tfrobust.core.pixels import Bounds, bounds_of, from_unit
from tfrobust.core.replicas import graph_of_rows
from tfrobust.core.unit_network import UnitNetwork
from tfrobust.layers import network_of

Classifier = Callable[[tf.Tensor], tf.Tensor]
"""Maps float32 images `[B, H, W, C]` in [0, 1] to logits `[B, K]`."""

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Maps images `[B, ...]` and labels `[B]` to each example's loss `[B]`."""

PROBABILITIES = (
    "`model` must answer with logits, or end in a softmax. Received: probabilities, "
    "which a step that is no softmax makes, so that their logits cannot be had"
)

# Images on which a model is asked whether it answers with probabilities.
_LOOKED_AT = 8

_GRAPHS = GraphCache()


class AskedClassifier:
    """A model as a function from images in [0, 1] to logits; see `as_classifier`.

    Attributes:
        bounds: The range of the pixels that the model takes.
        has_gradient: Whether it may have gradients; `False` of a `BlackBox`.
        has_logits: Whether it answers with more than a class.
        is_doubtful: Whether, as far as asked, the model may have answered with
            probabilities that nothing in its graph shows to be such.
    """

    def __init__(self, model: Any, bounds: Any = None) -> None:
        self._model = model
        self._ask = _caller(model)
        self.bounds = bounds_of(model, bounds)
        self.has_gradient: bool = getattr(model, "has_gradient", True)
        self.has_logits: bool = getattr(model, "has_logits", True)
        self.is_doubtful = False

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Logits float32 `[B,K]` of images float32 `[B,...]` in [0, 1]."""
        if not tf.executing_eagerly():
            return self._logits(images)
        # Only a graph tells how a network ends.
        logits, self.is_doubtful = _compiled(self._model, self.bounds, images)
        if self.is_doubtful and are_probabilities(logits):
            self._refuse()
        return logits

    def _refuse(self) -> None:
        """Raises `ValueError`, or warns of a function, which may mean what it says."""
        if isinstance(self._model, keras.layers.Layer) or hasattr(
            self._model, "signatures"
        ):
            raise ValueError(PROBABILITIES)
        warn_caller(PROBABILITIES)

    def check(self, images: tf.Tensor) -> None:
        """Raises `ValueError` if a doubtful model answers with probabilities."""
        if self.is_doubtful:
            self(images[:_LOOKED_AT])

    def _logits(self, images: tf.Tensor) -> tf.Tensor:
        answer = self._answer(from_unit(images, self.bounds))
        if isinstance(self._model, UnitNetwork | AskedClassifier | BlackBox):
            return answer  # logits already
        output = getattr(self._model, "output_name", None)
        names = getattr(network_of(self._model), "output_names", None) or ()
        read = read_answer(answer, output, names)
        self.is_doubtful |= read.is_doubtful
        return read.logits

    def _answer(self, images: tf.Tensor) -> Any:
        """What the model answers; `ValueError` of a function that cannot be traced."""
        try:
            return self._ask(images)
        except Exception as error:
            is_function = not isinstance(self._model, keras.layers.Layer | BlackBox)
            sentence = untraceable(error) if is_function else None
            if sentence is None or vars(error).get("missing"):
                raise
            raise sentence from error


def as_classifier(model: Any, bounds: Any = None) -> AskedClassifier:
    """A model as a function from float32 images to float32 logits, in inference mode.

    Args:
        model: A Keras model, which is called with `training=False`; a loaded SavedModel
            (its `serving_default` is used) or one of its signatures; or any callable.
            It may end in logits, a softmax or, with one output for two classes, a
            sigmoid; of several outputs the one named "logits" counts, or that which a
            `models.Classifier` around it names.
        bounds: The range of the pixels that the model takes, such as `(0, 255)`; by
            default as `core.pixels.bounds_of` finds it.

    Returns:
        A function from images float32 `[B,H,W,C]` in [0, 1] to logits float32 `[B,K]`.
        It raises `ValueError` when the answer is none. Called eagerly, it compiles once
        for each model.

    Example:
        >>> import tensorflow as tf
        >>> classifier = as_classifier(lambda x: {"logits": tf.zeros([2, 3])})
        >>> classifier(tf.zeros([2, 4, 4, 1])).shape
        TensorShape([2, 3])
    """
    return AskedClassifier(model, bounds)


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


def runners_up(logits: tf.Tensor, classes: tf.Tensor, count: int) -> tf.Tensor:
    """The classes with the largest logits beside one, the largest first.

    Args:
        logits: float32 `[B,K]`.
        classes: int32 `[B]`, those that are left out.
        count: How many at most.

    Returns:
        int32 `[B,N]`, N no more than K - 1.

    Example:
        >>> logits = tf.constant([[1.0, 3.0, 2.0]])
        >>> runners_up(logits, tf.constant([1]), 9).numpy().tolist()
        [[2, 0]]
    """
    _, others = split_logits(logits, classes)
    known = logits.shape[-1]
    most = tf.shape(logits)[-1] - 1 if known is None else known - 1
    number = tf.minimum(count, most) if known is None else min(count, most)
    return tf.math.top_k(others, number).indices


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


def _compiled(model: Any, bounds: Bounds, images: tf.Tensor) -> tuple[tf.Tensor, bool]:
    """The logits of eager images, by a graph that is traced once for each model."""
    shape = [None, *images.shape[1:]]

    def trace(reference: Callable[[], Any]) -> tuple[Any, bool]:
        doubts = []

        def ask(images: tf.Tensor) -> tf.Tensor:
            classifier = AskedClassifier(reference(), bounds)
            logits = classifier(images)
            doubts.append(classifier.is_doubtful)
            return logits

        spec = tf.TensorSpec(shape, tf.float32)
        # A Python function may not bear to be called by several threads.
        shared = getattr(model, "has_gradient", True)
        return graph_of_rows(ask, spec, shared=shared), doubts[-1]

    graph, is_doubtful = _GRAPHS.get(model, (bounds, tuple(shape)), trace)
    return graph(tf.cast(tf.convert_to_tensor(images), tf.float32)), is_doubtful


def _caller(model: Any) -> Callable[[tf.Tensor], Any]:
    if isinstance(model, keras.layers.Layer):
        asked = (
            model if isinstance(model, UnitNetwork) else for_floats(network_of(model))
        )
        return lambda images: asked(images, training=False)
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
