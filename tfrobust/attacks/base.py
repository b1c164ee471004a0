"""What every attack shares: the checks before a search and the verdict after it.

An attack supplies `run`, the search, and nothing else. Whether an image fools the model
and how far it is from the original is decided here, from the image the search returns,
so that no attack reports its own success.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import warnings
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfrobust.attacks.constraints import Constraint

Classifier = Callable[[tf.Tensor], tf.Tensor]
"""Maps float32 images `[B, H, W, C]` in [0, 1] to logits `[B, K]`."""

# Rounding x + delta to float32 moves a distance by about this much.
_ROUNDING = 1e-6

# model -> {(attack, image shape, targeted): compiled search}. Weak in the model, so
# that attacking a model does not keep it in memory.
_COMPILED: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()


class AttackResult(NamedTuple):
    """What an attack found for each image of a batch.

    Attributes:
        adversarial: float32 `[B, H, W, C]` in [0, 1].
        success: bool `[B]`. True where the model answers as the attack wanted.
        distortion: float32 `[B]`. Distance from the original image in the attack's
            norm, in pixel units; 0 where the image is returned as it came.
    """

    adversarial: tf.Tensor
    success: tf.Tensor
    distortion: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Goal:
    """What an attack wants: to leave a class, or to reach one.

    Attributes:
        classes: int32 `[B]`. The labels to leave, or the targets to reach.
        targeted: True if `classes` are targets.

    Example:
        >>> goal = Goal(tf.constant([0, 1]), targeted=False)
        >>> logits = tf.constant([[2.0, 5.0], [0.0, 4.0]])
        >>> goal.reached(logits).numpy().tolist()
        [True, False]
        >>> goal.margin(logits).numpy().tolist()
        [3.0, -4.0]
    """

    classes: tf.Tensor
    targeted: bool

    def reached(self, logits: tf.Tensor) -> tf.Tensor:
        """Whether the predicted class is what the attack wants, bool `[B]`.

        Never true where a logit is NaN or infinite: such an answer is no prediction.
        """
        predicted = tf.argmax(logits, axis=-1, output_type=tf.int32)
        finite = tf.reduce_all(tf.math.is_finite(logits), axis=-1)
        hit = tf.equal(predicted, self.classes)
        return finite & (hit if self.targeted else ~hit)

    def margin(self, logits: tf.Tensor) -> tf.Tensor:
        """Lead of the best wanted class over the best unwanted one, float32 `[B]`.

        Positive where the goal is reached, 0 on the decision boundary.
        """
        own, others = self._split(logits)
        return self._sign() * (tf.reduce_max(others, axis=-1) - own)

    def log_odds(self, logits: tf.Tensor) -> tf.Tensor:
        """Log-odds of the wanted classes, float32 `[B]`.

        The cross-entropy of the label is `softplus(log_odds)` when untargeted, and that
        of the target is `softplus(-log_odds)` when targeted. So this orders images as
        the cross-entropy does and has a gradient in the same direction. Unlike the
        cross-entropy it does not saturate: in float32 that has a gradient of exactly
        zero at a margin of 100, and a wrong one from 17 on, as 1 - p rounds to 0.
        """
        own, others = self._split(logits)
        return self._sign() * (tf.reduce_logsumexp(others, axis=-1) - own)

    def _split(self, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The logit of the goal's class `[B]`, and the logits with it masked out."""
        chosen = tf.one_hot(
            self.classes, tf.shape(logits)[-1], on_value=True, off_value=False
        )
        own = tf.reduce_sum(tf.where(chosen, logits, tf.zeros_like(logits)), axis=-1)
        return own, tf.where(chosen, logits.dtype.min, logits)

    def _sign(self) -> float:
        return -1.0 if self.targeted else 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attack(abc.ABC):
    """An attack: its settings, and a call that attacks a batch.

    A subclass is a frozen dataclass too. It gives `constraint` and `run`, and may
    override `budget`, `score` and `attacks_reached`.
    """

    @property
    @abc.abstractmethod
    def constraint(self) -> Constraint:
        """The norm in which distortion is reported."""

    @abc.abstractmethod
    def run(self, classifier: Classifier, images: tf.Tensor, goal: Goal) -> tf.Tensor:
        """Search for adversarial images.

        This is traced into a graph: loops are `tf.while_loop`, the batch size may be
        unknown, and no decision may hang on a tensor's value in Python.

        Args:
            classifier: Maps images `[B, H, W, C]` to float32 logits `[B, K]`.
            images: float32 `[B, H, W, C]` in [0, 1].
            goal: What to achieve for each image.

        Returns:
            float32 `[B, H, W, C]`, the best image found for each example. Where nothing
            was found, the original or the closest attempt.
        """

    @property
    def budget(self) -> float | None:
        """Largest distortion allowed, or `None` for attacks that minimise it."""
        return None

    @property
    def attacks_reached(self) -> bool:
        """Whether to search where the clean image already reaches the goal."""
        return False

    def score(self, logits: tf.Tensor, goal: Goal) -> tf.Tensor:
        """What the attack climbs, `[B]`. Says which of two failed images is better."""
        return goal.margin(logits)

    def __call__(
        self,
        model: Classifier,
        images: tf.Tensor,
        labels: tf.Tensor,
        targets: tf.Tensor | None = None,
    ) -> AttackResult:
        """Attack a batch of images.

        The result of one image does not depend on the others in the batch. An image the
        model already gets wrong (or already takes for its target) comes back as it is,
        a success at distortion 0. An image that the search left worse than it was or
        took outside the budget comes back as it was, too.

        Called eagerly, the search is compiled once for each model and image shape, and
        values are checked. A Python callable is traced as `tf.function` would: to
        attack something else, pass a new callable rather than rebinding a name it uses.
        Called inside a `tf.function`, only shapes and dtypes are checked. No gradient
        flows through the result.

        Args:
            model: Callable from images `[B, H, W, C]` to logits `[B, K]`, K at least 2.
                A Keras model is called with `training=False`. A dictionary with the key
                `"logits"` is accepted as its answer.
            images: Floating `[B, H, W, C]` in [0, 1].
            labels: Integer `[B]`, the true classes.
            targets: Integer `[B]`, the classes to reach, none equal to its label. Leave
                out for an untargeted attack.

        Returns:
            The images found, whether they succeed and how far they are.

        Raises:
            ValueError: If a shape or dtype is wrong or the model has no gradient.
                Eagerly also if pixels leave [0, 1], labels or targets are no classes
                of the model, a target equals its label, or the logits of the clean
                images are not finite.
        """
        images = _check_images(images)
        labels = _check_classes("labels", labels, images)
        if targets is not None:
            targets = _check_classes("targets", targets, images)
        if not tf.executing_eagerly():
            goal = _goal(labels, targets)
            return self._search(_logits_of(model), images, goal)[0]
        _check_values(images, labels, targets)
        if images.shape[0] == 0:
            return AttackResult(images, tf.zeros([0], tf.bool), tf.zeros([0]))
        goal = _goal(labels, targets)
        search = _compiled(self, model, images.shape[1:], goal.targeted)
        result, logits = search(images, goal.classes)
        _check_logits(logits, labels, targets)
        return result

    def perturb(
        self,
        model: Classifier,
        images: tf.Tensor,
        labels: tf.Tensor,
        targets: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The images that the search ends at, for adversarial training.

        Unlike a call it passes no verdict: an image on which the attack failed, or that
        the model got wrong from the start, comes back perturbed too, since training
        wants the points of highest loss. It may be used inside a `tf.function` or a
        training step; only shapes and dtypes are checked, and nothing is compiled. No
        gradient flows through the result, and no state of the model changes.

        Args:
            model: As for a call.
            images: As for a call.
            labels: As for a call.
            targets: As for a call.

        Returns:
            float32 `[B, H, W, C]` in [0, 1], within the budget if there is one.

        Raises:
            ValueError: If a shape or dtype is wrong or the model has no gradient.

        Example:
            >>> from tfrobust.attacks import PGD
            >>> images = tf.fill([1, 2, 2, 1], 0.5)
            >>> def model(x):
            ...     total = tf.reduce_sum(x, axis=[1, 2, 3])
            ...     return tf.stack([total, 1.0 - total], axis=-1)
            >>> attack = PGD(norm="inf", eps=0.125, random_start=False)
            >>> found = attack.perturb(model, images, tf.constant([0]))
            >>> found.numpy().ravel().tolist()
            [0.375, 0.375, 0.375, 0.375]
        """
        images = tf.stop_gradient(_check_images(images))
        labels = _check_classes("labels", labels, images)
        if targets is not None:
            targets = _check_classes("targets", targets, images)
        found = self._find(_logits_of(model), images, _goal(labels, targets))
        if self.budget is None:
            return found
        # Ball before box, which only brings a point nearer to an image inside it.
        delta = self.constraint.project(found - images, self.budget)
        return tf.clip_by_value(images + delta, 0.0, 1.0)

    def _find(self, classifier: Classifier, images: tf.Tensor, goal: Goal) -> tf.Tensor:
        """What the search returns, finite, in [0, 1] and without a gradient."""
        found = tf.stop_gradient(self.run(classifier, images, goal))
        found = tf.ensure_shape(found, images.shape)
        # Before the model sees it: an exported one refuses the whole batch over a NaN.
        found = tf.where(tf.math.is_finite(found), found, images)
        return tf.clip_by_value(found, 0.0, 1.0)

    def _search(
        self, classifier: Classifier, images: tf.Tensor, goal: Goal
    ) -> tuple[AttackResult, tf.Tensor]:
        """Search, then judge. Also returns the logits of the clean images."""
        images = tf.stop_gradient(images)
        clean = classifier(images)
        found = self._find(classifier, images, goal)
        logits = classifier(found)
        keep = self._is_better(logits, clean, goal)
        keep &= self._is_allowed(found, images)
        if not self.attacks_reached:
            keep &= ~goal.reached(clean)
        adversarial = tf.where(keep[:, None, None, None], found, images)
        success = tf.where(keep, goal.reached(logits), goal.reached(clean))
        distortion = self.constraint.distance(adversarial - images)
        return AttackResult(adversarial, success, distortion), clean

    def _is_better(self, logits: tf.Tensor, clean: tf.Tensor, goal: Goal) -> tf.Tensor:
        """Where the image found beats the clean one: success first, then score."""
        gained = goal.reached(logits) & ~goal.reached(clean)
        lost = goal.reached(clean) & ~goal.reached(logits)
        higher = self.score(logits, goal) > self.score(clean, goal)
        return gained | (higher & ~lost)

    def _is_allowed(self, found: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """Where the image found is within the budget, bool `[B]`."""
        distance = self.constraint.distance(found - images)
        if self.budget is None:
            return tf.ones_like(distance, tf.bool)
        return distance <= self.budget + _ROUNDING * (1.0 + self.budget)


def _goal(labels: tf.Tensor, targets: tf.Tensor | None) -> Goal:
    if targets is None:
        return Goal(labels, targeted=False)
    return Goal(targets, targeted=True)


def _logits_of(model: Classifier) -> Classifier:
    """The model as a function to float32 logits, never in training mode."""
    inference = {"training": False} if isinstance(model, keras.layers.Layer) else {}

    def classifier(images: tf.Tensor) -> tf.Tensor:
        logits = model(images, **inference)
        if isinstance(logits, dict) and "logits" in logits:
            logits = logits["logits"]
        logits = tf.convert_to_tensor(logits)
        shape = logits.shape
        if not logits.dtype.is_floating or shape.rank != 2 or shape[1] in (0, 1):
            raise ValueError(
                "`model` must return floating logits [B, K] with K of at least 2. "
                f"Received: {logits.dtype.name} {shape}"
            )
        return tf.cast(logits, tf.float32)

    return classifier


def _compiled(
    attack: Attack, model: Classifier, image_shape: tf.TensorShape, targeted: bool
) -> Any:
    """The attack's search on this model as a graph for any batch size."""
    reference: Callable[[], Any]
    try:
        reference = weakref.ref(model)
        searches = _COMPILED.setdefault(model, {})
    except TypeError:
        # Not weakly referable or not hashable: held by this call, traced every time.
        reference, searches = functools.partial(_identity, model), {}
    key = (attack, tuple(image_shape), targeted)
    if key not in searches:
        searches[key] = _trace(attack, reference, image_shape, targeted)
    return searches[key]


def _identity(model: Classifier) -> Classifier:
    return model


def _trace(
    attack: Attack,
    reference: Callable[[], Any],
    image_shape: tf.TensorShape,
    targeted: bool,
) -> Any:
    """The search as a graph that holds the model weakly; see `_COMPILED`.

    A concrete function, because `tf.function` warns of retracing when several attacks
    are run one after the other.
    """

    def search(images: tf.Tensor, classes: tf.Tensor) -> Any:
        classifier = _logits_of(reference())
        return attack._search(classifier, images, Goal(classes, targeted))

    return tf.function(search, autograph=False).get_concrete_function(
        tf.TensorSpec([None, *image_shape], tf.float32),
        tf.TensorSpec([None], tf.int32),
    )


def _check_images(images: Any) -> tf.Tensor:
    images = tf.convert_to_tensor(images)
    if not images.dtype.is_floating:
        raise ValueError(
            "`images` must be floating, with pixels in [0, 1]. "
            f"Received: dtype={images.dtype.name}"
        )
    if images.shape.rank != 4:
        raise ValueError(
            f"`images` must have shape [B, H, W, C]. Received: shape={images.shape}"
        )
    return tf.cast(images, tf.float32)


def _check_classes(name: str, classes: Any, images: tf.Tensor) -> tf.Tensor:
    classes = tf.convert_to_tensor(classes)
    if not classes.dtype.is_integer:
        raise ValueError(
            f"`{name}` must be integers. Received: dtype={classes.dtype.name}"
        )
    if not classes.shape.is_compatible_with(images.shape[:1]):
        raise ValueError(
            f"`{name}` must have shape [B], one class for each of the "
            f"{images.shape[0]} images. Received: shape={classes.shape}"
        )
    return tf.cast(classes, tf.int32)


def _check_values(
    images: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor | None
) -> None:
    # Written so that NaN fails too.
    if not tf.reduce_all((images >= 0.0) & (images <= 1.0)):
        raise ValueError(
            "`images` must lie in [0, 1]. Received: values from "
            f"{tf.reduce_min(images):g} to {tf.reduce_max(images):g}"
        )
    if targets is not None and tf.reduce_any(targets == labels):
        raise ValueError(
            "`targets` must differ from `labels`. Received: equal at index "
            f"{int(tf.where(targets == labels)[0, 0])}"
        )


def _check_logits(
    logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor | None
) -> None:
    """Checks that need the model's answer on the clean images."""
    count = int(logits.shape[1])
    named = {"labels": labels} if targets is None else {"targets": targets}
    for name, classes in {"labels": labels, **named}.items():
        if tf.reduce_any((classes < 0) | (classes >= count)):
            raise ValueError(
                f"`{name}` must lie in [0, {count}). Received: values from "
                f"{tf.reduce_min(classes)} to {tf.reduce_max(classes)}"
            )
    if not tf.reduce_all(tf.math.is_finite(logits)):
        raise ValueError("`model` must return finite logits. Received: NaN or infinity")
    total = tf.reduce_sum(logits, axis=-1)
    if tf.reduce_all(logits >= 0.0) and tf.reduce_all(tf.abs(total - 1.0) < 1e-4):
        warnings.warn(
            "`model` seems to return probabilities rather than logits; their gradients "
            "vanish where the model is confident, and the attack will look weaker "
            "than it is.",
            stacklevel=3,
        )
