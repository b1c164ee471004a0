"""A model that TensorFlow cannot trace: any Python function of NumPy arrays."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from tfrobust.core.errors import warn_caller
from tfrobust.core.pixels import Bounds, check_bounds
from tfrobust.settings import require, require_steps

Answers = Literal["logits", "probabilities", "classes"]
"""What a function answers with."""

_ANSWERS = ("logits", "probabilities", "classes")
# Below the least probability of a float32 that is not subnormal.
_LEAST = 1e-37
# How far from 1 probabilities may sum up.
_TOLERANCE = 1e-2


class BlackBox:
    """A model behind any Python function: NumPy arrays in, NumPy arrays out.

    For a model that TensorFlow cannot trace, such as a session of ONNX Runtime, a
    network of another framework or a client of a server. Everything of this library
    that asks a model for answers takes it: `attacks.evaluate`, and the attacks without
    gradients, `Square` (for logits or probabilities) and `HopSkipJump` (for classes
    alone, too). What needs a gradient refuses it.

    It stays in this process: it cannot be exported, nor compiled by XLA. What asks it
    has to keep it, as a graph holds it weakly.

    Args:
        ask: Maps images float32 `[B, H, W, C]`, within the model's own bounds, to an
            answer for each. It may change its array. Of a list with one array, that is
            taken; of a dictionary the entry `"logits"`, else `"probabilities"`, or for
            `answers="classes"` the entry `"classes"`.
        classes: How many there are, K, at least 2. Where the answers are logits or
            probabilities it may be left out: one grey image is asked about then.
        answers: `"logits"`, `[B, K]`; `"probabilities"`, `[B, K]`, whose logarithms are
            the logits; or `"classes"`, integers `[B]` in [0, K), which become logits of
            1 at the class and -1 elsewhere.
        batch_size: At most so many images are asked about at once; all if `None`.
        bounds: The least and largest value of a pixel as `ask` takes it, such as
            `(0, 255)`; (0, 1) by default.
        key: What tells this model from any other, such as a path with a version;
            `attacks.evaluate` needs it where it keeps results in a folder.

    Attributes:
        queries: How many images `ask` was given so far. An attack counts what it makes
            use of in `AttackResult.queries`; this counts the clean images, the verdict
            and what fills up a batch, too.

    Raises:
        ValueError: If a setting is out of range, or `classes` is missing where the
            answers are classes.

    Example:
        >>> from tfrobust import attacks
        >>> def ask(images):  # no TensorFlow in it
        ...     total = np.round(64 * images).sum(axis=(1, 2, 3)) / 64
        ...     return np.stack([total, 15 - total], axis=-1)
        >>> model = attacks.BlackBox(ask)
        >>> attack = attacks.Square(norm="inf", eps=0.1)
        >>> result = attack(model, np.full([1, 4, 4, 1], 0.5, np.float32), [0])
        >>> bool(result.success[0]), model.queries >= int(result.queries[0])
        (True, True)
    """

    has_gradient = False

    def __init__(
        self,
        ask: Callable[[np.ndarray], Any],
        classes: int | None = None,
        answers: Answers = "logits",
        batch_size: int | None = None,
        bounds: tuple[float, float] | None = None,
        key: str | None = None,
    ) -> None:
        if not callable(ask):
            raise ValueError(
                f"`ask` must be callable. Received: a {type(ask).__name__}"
            )
        require(answers in _ANSWERS, "answers", answers, f"one of {_ANSWERS}")
        if classes is None and answers == "classes":
            raise ValueError(
                '`classes` must be given for `answers="classes"`, which do not tell '
                "how many there are. Received: classes=None"
            )
        if classes is not None:
            require_steps("classes", classes)
            require(classes >= 2, "classes", classes, "at least 2")
        if batch_size is not None:
            require_steps("batch_size", batch_size)
        self.ask = ask
        self.answers = answers
        self.batch_size = batch_size
        self.bounds: Bounds | None = None if bounds is None else check_bounds(bounds)
        self.queries = 0
        self.key = key
        self._classes = classes
        self._has_warned = False

    @property
    def has_logits(self) -> bool:
        """Whether the answers tell how near another class is."""
        return self.answers != "classes"

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Logits float32 `[B, K]` of images `[B, H, W, C]` within the bounds.

        Raises:
            ValueError: If the number of classes is not known and the function's answer
                does not tell it. What goes wrong inside of a graph is an error of
                TensorFlow with the same sentence in it.
        """
        images = tf.cast(tf.convert_to_tensor(images), tf.float32)
        count = self._class_count(images.shape[1:])
        # A graph that held the model would keep it alive: caches are weak in it.
        reference = weakref.ref(self)

        def answer(images: np.ndarray) -> np.ndarray:
            box = reference()
            if box is None:
                raise ReferenceError("A BlackBox must be kept as long as it is asked.")
            return box.logits(images)

        logits = tf.numpy_function(answer, [images], tf.float32)
        return tf.ensure_shape(logits, [images.shape[0], count])

    def logits(self, images: np.ndarray) -> np.ndarray:
        """The same of NumPy arrays, without TensorFlow.

        Args:
            images: float32 `[B, H, W, C]` within the bounds.

        Raises:
            ValueError: If the function's answer is none of a classifier.
        """
        size = self.batch_size or max(len(images), 1)
        parts = [
            self._asked(images[start : start + size])
            for start in range(0, len(images), size)
        ]
        if not parts:
            return np.zeros([0, self._classes or 0], np.float32)
        return np.concatenate(parts)

    def _class_count(self, shape: tf.TensorShape) -> int:
        """K, given or found out by a grey image."""
        if self._classes is not None:
            return self._classes
        if not shape.is_fully_defined():
            raise ValueError(
                "`classes` must be given where images have no fixed size. "
                f"Received: classes=None for images {list(shape)}"
            )
        grey = sum(self.bounds or (0.0, 1.0)) / 2.0
        with tf.init_scope():  # a function may use TensorFlow eagerly
            return self.logits(np.full([1, *shape], grey, np.float32)).shape[1]

    def _asked(self, images: np.ndarray) -> np.ndarray:
        """Logits of images that are asked about at once."""
        # A copy: the array is TensorFlow's, which relies on what is in it.
        answer = self.ask(np.array(images, np.float32))
        self.queries += len(images)
        values, kind = self._values(answer)
        if kind == "classes":
            return self._from_classes(values, len(images))
        fits = values.ndim == 2 and len(values) == len(images) and values.shape[1] >= 2
        fits = fits and self._classes in (None, values.shape[1])
        if not fits or values.dtype.kind not in "fiu":
            raise ValueError(
                f"`ask` must answer with {kind} "
                f"[{len(images)}, {self._classes or 'K'}], K at least 2. "
                f"Received: {values.dtype} of shape {list(values.shape)}"
            )
        self._classes = values.shape[1]
        values = values.astype(np.float32)
        return self._from_probabilities(values) if kind == "probabilities" else values

    def _values(self, answer: Any) -> tuple[np.ndarray, str]:
        """The array that counts in an answer, and what it holds."""
        if isinstance(answer, Mapping):
            if self.answers == "classes":
                wanted: tuple[str, ...] = ("classes",)
            elif self.answers == "probabilities":
                wanted = ("probabilities",)
            else:
                wanted = ("logits", "probabilities")
            for name in wanted:
                if name in answer:
                    return np.asarray(answer[name]), name
            raise ValueError(
                f"`ask` must answer with {' or '.join(wanted)}. "
                f"Received: a dictionary of {', '.join(map(str, answer)) or 'nothing'}"
            )
        # As a session of ONNX Runtime answers: a list of outputs.
        if isinstance(answer, list | tuple) and len(answer) == 1:
            if np.ndim(answer[0]) >= (1 if self.answers == "classes" else 2):
                answer = answer[0]
        values = np.asarray(answer)
        self._warn_of_probabilities(values)
        return values, self.answers

    def _warn_of_probabilities(self, values: np.ndarray) -> None:
        """Once, where what is said to be logits looks like probabilities."""
        if self.answers != "logits" or self._has_warned or values.ndim != 2:
            return
        if values.dtype.kind == "f" and _are_probabilities(values, 1e-4):
            self._has_warned = True
            warn_caller(
                '`answers` is "logits", but those of the first images are at least 0 '
                'and sum up to 1: say `answers="probabilities"` if that is what they '
                "are."
            )
        else:
            self._has_warned = True

    def _from_probabilities(self, values: np.ndarray) -> np.ndarray:
        if not _are_probabilities(values, _TOLERANCE):
            raise ValueError(
                "`ask` must answer with probabilities, at least 0 and of sum 1. "
                f"Received: values from {values.min():g} to {values.max():g}, "
                f"sums from {values.sum(axis=1).min():g} to "
                f"{values.sum(axis=1).max():g}"
            )
        return np.log(np.maximum(values, _LEAST)).astype(np.float32)

    def _from_classes(self, values: np.ndarray, count: int) -> np.ndarray:
        if values.shape == (count, 1):
            values = values[:, 0]
        whole = values.dtype.kind in "iu"
        if not whole or values.shape != (count,):
            raise ValueError(
                f"`ask` must answer with classes, integers [{count}]. "
                f"Received: {values.dtype} of shape {list(values.shape)}"
            )
        known = self._classes or 0  # given: the constructor sees to it
        if values.min() < 0 or values.max() >= known:
            raise ValueError(
                f"`ask` must answer with classes in [0, {known}). "
                f"Received: values from {values.min()} to {values.max()}"
            )
        logits = np.full([count, known], -1.0, np.float32)
        logits[np.arange(count), values] = 1.0
        return logits


def untraceable(error: Exception) -> ValueError | None:
    """What to say of a function that TensorFlow could not trace; `None` of others.

    Args:
        error: What it raised while it was traced.

    Example:
        >>> untraceable(KeyError("weights")) is None
        True
        >>> print(untraceable(AttributeError("'SymbolicTensor' has no 'numpy'")))
        `model` must be made of TensorFlow's operations, or wrapped as \
`attacks.BlackBox(model)` if it computes in NumPy or elsewhere. Received: a function \
that cannot be traced ('SymbolicTensor' has no 'numpy')
    """
    text = str(error)
    if "symbolic" not in text.lower() and "numpy" not in text.lower():
        return None
    return ValueError(
        "`model` must be made of TensorFlow's operations, or wrapped as "
        "`attacks.BlackBox(model)` if it computes in NumPy or elsewhere. Received: "
        f"a function that cannot be traced ({text.strip().splitlines()[0]})"
    )


def _are_probabilities(values: np.ndarray, tolerance: float) -> bool:
    near = np.abs(values.sum(axis=1) - 1.0) <= tolerance
    return bool(np.all(near) and np.all(values >= 0.0))
