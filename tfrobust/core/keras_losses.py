"""Keras's losses, and functions like them, as a value for each example."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import tensorflow as tf

from tfrobust.core.answers import Answer


class ExampleLoss:
    """A loss as Keras has it, without the mean over the batch.

    Args:
        loss: A `keras.losses.Loss`, the name of one, or a function of targets and
            predictions; `None` for the cross-entropy of the logits, whatever the
            network ends in.

    Attributes:
        reduction: How Keras makes one number of the examples' values.

    Raises:
        ValueError: If there is no loss of that name.

    Example:
        >>> loss = ExampleLoss(keras.losses.CategoricalCrossentropy(from_logits=True))
        >>> loss.of_logits(tf.constant([0]), tf.constant([[0.0, 0.0]])).numpy().round(3)
        array([0.693], dtype=float32)
    """

    def __init__(self, loss: Any = None) -> None:
        self._loss = None if loss is None else _as_loss(loss)
        self.reduction = getattr(self._loss, "reduction", "sum_over_batch_size")

    @property
    def is_default(self) -> bool:
        """Whether this is the cross-entropy of the logits."""
        return self._loss is None

    @property
    def name(self) -> str:
        """What the loss is called."""
        return "cross_entropy" if self._loss is None else self._loss.name

    def __call__(self, targets: tf.Tensor, answer: Answer) -> tf.Tensor:
        """The loss of each example, float32 `[B]`, of what the network answers with.

        Args:
            targets: Labels `[B]` or `[B,1]`, or a share for each class, `[B,K]`.
            answer: Of the network.

        Raises:
            ValueError: If the loss takes logits and the network ends in probabilities,
                or the other way round.
        """
        if self._loss is None:
            return cross_entropy(targets, answer.logits)
        self._check_ending(answer)
        given = answer.given
        given = given[:, None] if given.shape.rank == 1 else given
        return self._of(self._targets(targets, given.shape[-1]), given)

    def of_logits(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """The loss of each example, float32 `[B]`, of logits.

        Args:
            labels: int `[B]`.
            logits: float32 `[B,K]`. A loss that says `from_logits=False` gets the
                probabilities; one for two classes the log-odds of class 1, or its
                probability; all others the logits.
        """
        if self._loss is None:
            return cross_entropy(labels, logits)
        given = logits
        if self._is_binary and logits.shape[-1] == 2:
            given = logits[:, 1:] - logits[:, :1]
        if self.from_logits is False:
            binary = given.shape[-1] == 1
            given = keras.ops.sigmoid(given) if binary else keras.ops.softmax(given)
        return self._of(self._targets(labels, given.shape[-1]), given)

    @property
    def from_logits(self) -> bool | None:
        """Whether the loss takes logits; `None` where it does not say."""
        own = getattr(self._loss, "from_logits", None)
        if own is not None:
            return bool(own)
        config = getattr(self._loss, "_fn_kwargs", None) or {}
        if "from_logits" in config:
            return bool(config["from_logits"])
        function = getattr(self._loss, "fn", None)
        known = inspect.signature(function).parameters if callable(function) else {}
        default = known["from_logits"].default if "from_logits" in known else None
        return default if isinstance(default, bool) else None

    @property
    def _family(self) -> str:
        function = getattr(self._loss, "fn", None)
        names = (type(self._loss).__name__, getattr(function, "__name__", ""))
        return " ".join((self.name, *names)).lower()

    @property
    def _is_binary(self) -> bool:
        return "binary" in self._family

    @property
    def _is_keras(self) -> bool:
        made_by = getattr(self._loss, "fn", self._loss)
        module = getattr(made_by, "__module__", None) or type(made_by).__module__
        return module.split(".")[0] == "keras"

    def _targets(self, targets: tf.Tensor, outputs: int) -> tf.Tensor:
        """Targets in the form that a loss of Keras takes; of others as they came."""
        if not self._is_keras:
            return targets
        flat = targets.shape.rank == 1 or targets.shape[1] == 1
        if "sparse" in self._family:
            return targets if flat else tf.argmax(targets, axis=1)
        if outputs == 1:
            one = flat or targets.shape[1] != 2
            return tf.reshape(targets, [-1, 1]) if one else targets[:, 1:]
        if not flat:
            return targets
        classes = tf.cast(tf.reshape(targets, [-1]), tf.int32)
        return tf.one_hot(classes, outputs)

    def _of(self, targets: tf.Tensor, given: tf.Tensor) -> tf.Tensor:
        loss: Any = self._loss
        given = tf.cast(given, loss.dtype)
        values = tf.convert_to_tensor(loss.call(tf.cast(targets, loss.dtype), given))
        if values.shape.rank == 0:
            # A mean already: of each example it is known no better.
            values = tf.fill(tf.shape(given)[:1], values)
        axes = list(range(1, values.shape.rank))
        return tf.cast(tf.reduce_mean(values, axis=axes), tf.float32)

    def _check_ending(self, answer: Answer) -> None:
        from_logits = self.from_logits
        if from_logits and answer.ending in ("softmax", "sigmoid"):
            raise ValueError(
                f"`loss` must have `from_logits=False` for a network that ends in a "
                f"{answer.ending}. Received: {self.name} with from_logits=True"
            )
        if from_logits is False and answer.ending == "sum":
            raise ValueError(
                "`loss` must have `from_logits=True`, or be None, for a network that "
                f"ends in logits. Received: {self.name} with from_logits=False"
            )


def cross_entropy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Softmax cross-entropy of each example, float32 `[B]`.

    Args:
        targets: Labels `[B]` or `[B,1]`, or a share for each class, `[B,K]`.
        logits: float32 `[B,K]`.

    Example:
        >>> even = tf.zeros([1, 2])
        >>> cross_entropy(tf.constant([1]), even).numpy().round(3)
        array([0.693], dtype=float32)
    """
    if targets.shape.rank == 2 and targets.shape[1] not in (1, None):
        shares = tf.cast(targets, tf.float32)
        return tf.nn.softmax_cross_entropy_with_logits(shares, logits)
    labels = tf.cast(tf.reshape(targets, [-1]), tf.int32)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def is_loss(value: Any) -> bool:
    """Whether a value can be a loss: one of Keras's, or a function.

    Example:
        >>> is_loss(keras.losses.CategoricalFocalCrossentropy()), is_loss("margin")
        (True, False)
    """
    return isinstance(value, keras.losses.Loss) or callable(value)


def _as_loss(loss: Any) -> keras.losses.Loss:
    if isinstance(loss, keras.losses.Loss):
        return loss
    found = loss
    if isinstance(loss, str | dict):
        try:
            found = keras.losses.get(loss)
        except ValueError as error:
            raise ValueError(
                "`loss` must be a Keras loss, its name, or a function. "
                f"Received: loss={loss!r}"
            ) from error
    if isinstance(found, keras.losses.Loss):
        return found
    if not callable(found):
        raise ValueError(
            f"`loss` must be one Keras loss or function. Received: loss={loss!r}"
        )
    return _Function(found)


class _Function(keras.losses.Loss):
    """A function of targets and predictions as a loss."""

    def __init__(self, fn: Any) -> None:
        super().__init__(name=getattr(fn, "__name__", type(fn).__name__))
        self.fn = fn

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.fn(y_true, y_pred)
