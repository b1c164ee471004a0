"""What every attack shares: the checks before a search and the verdict after it.

An attack is `run`, the search, and its settings; it belongs to one of two families,
`FixedBudget` and `MinimumNorm`. Whether an image fools the model and how far it is from
the original is decided here, from the image the search returns, so that no attack
reports its own success.

Longer than other files: a call, its two families and their contract are one thing, most
of it the text of what may be given.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar, Self

import tensorflow as tf

from tfrobust.attacks import constraints, validation
from tfrobust.attacks.constraints import Constraint
from tfrobust.attacks.goal import Goal
from tfrobust.attacks.problem import Problem
from tfrobust.attacks.threat import ThreatModel
from tfrobust.attacks.verdicts import AttackResult, verdict
from tfrobust.core.classifier import Classifier, as_classifier
from tfrobust.core.configs import Configured
from tfrobust.core.differentiable import layers_named
from tfrobust.core.errors import ExtensionError, warn_caller
from tfrobust.core.graphs import GraphCache
from tfrobust.core.images import Pixels, check_classes, check_width, pixels_in
from tfrobust.core.pixels import Bounds
from tfrobust.core.replicas import graph_of_rows
from tfrobust.settings import require

_GRAPHS = GraphCache()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attack(Configured, abc.ABC):
    """An attack: its settings, and a call that attacks a batch.

    A subclass is a frozen dataclass too. It derives from `FixedBudget` or from
    `MinimumNorm`, gives `run`, and may override `score`.

    Attributes:
        needs_gradient: Whether the search asks for gradients of the model; an attribute
            of the class.
        needs_logits: Whether it asks for more than the class that the model answers
            with, so that a model that answers with classes alone is of no use to it.
    """

    needs_gradient: ClassVar[bool] = True
    needs_logits: ClassVar[bool] = True

    @property
    @abc.abstractmethod
    def threat(self) -> ThreatModel:
        """The norm, and the radius if there is one."""

    @abc.abstractmethod
    def run(self, problem: Problem) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        """Search for adversarial images.

        This is traced into a graph: loops are `tf.while_loop`, the batch size may be
        unknown, and no decision may hang on a tensor's value in Python. The radius is
        `problem.eps`, one for each image, and never `self.eps`: a graph serves every
        radius, and is traced by an attack whose own is 1.

        Args:
            problem: Images, goal and network of this batch.

        Returns:
            float32 `[B, H, W, C]`, the best image found for each example. Where nothing
            was found, the original or the closest attempt. A search that counts how
            often it asks the model returns that too, int32 `[B]`.
        """

    @property
    def constraint(self) -> Constraint:
        """The norm in which distortion is reported."""
        return self.threat.constraint

    @property
    def averages(self) -> bool:
        """Whether each gradient is a mean over several answers of the model."""
        return False

    @property
    def budget(self) -> float | None:
        """Largest distortion allowed, or `None` for attacks that minimise it."""
        return self.threat.eps

    def score(self, logits: tf.Tensor, goal: Goal) -> tf.Tensor:
        """What the attack climbs, `[B]`. Says which of two failed images is better."""
        return goal.margin(logits)

    def first_look(self, problem: Problem) -> tuple[tf.Tensor, tf.Tensor | None]:
        """The logits of the clean images, before the search.

        An attack whose first gradient is that of the image itself may take it in the
        same pass; `problem.slopes` is what it returns beside the logits.

        Args:
            problem: The images, all of them active.

        Returns:
            Logits `[B, K]`; and gradients of the score `[B, H, W, C]`, or `None`.
        """
        return problem.classifier(problem.images), None

    def template(self) -> Self:
        """An attack that compiles to the same graph, whatever its radius.

        The radius goes into the graph as a tensor, so attacks that differ in nothing
        else need one graph between them.
        """
        return self

    def for_training(self) -> Self:
        """The attack as `perturb` runs it: one that goes on after a success."""
        return self

    def stages(self) -> dict[str, Attack]:
        """The attacks that this one is made of, by name and in order, if any.

        `evaluate` runs them one after the other, each on the images that those before
        have left, and says which of them broke an image.
        """
        return {}

    def __call__(
        self,
        model: Classifier,
        images: tf.Tensor,
        labels: tf.Tensor,
        targets: tf.Tensor | None = None,
        eps: Any = None,
        bounds: Any = None,
    ) -> AttackResult:
        """Attack a batch of images.

        The result of one image does not depend on the others in the batch. An image the
        model already gets wrong (or already takes for its target) comes back as it is,
        a success at distortion 0. An image that the search left worse than it was or
        took outside the budget comes back as it was, too.

        Called eagerly, the search is compiled once for each model and image shape, and
        values are checked. A Python callable is traced as `tf.function` would: to
        attack something else, pass a new callable rather than rebinding a name it uses.
        In the scope of a `tf.distribute.MirroredStrategy` its replicas share the batch.
        Called inside a `tf.function`, only shapes and dtypes are checked. No gradient
        flows through the result.

        The first time an attack meets a model it looks at the model's gradients, and
        warns of gradients that no attack can follow.

        Args:
            model: What maps images `[B, H, W, C]` to logits `[B, K]`: a Keras model,
                called with `training=False`; a loaded SavedModel or one of its
                signatures; any callable. It may end in a softmax, or have one output
                for two classes; of several outputs the one named `"logits"` counts, or
                that which a `models.Classifier` around it names.
            images: `[B, H, W, C]` within the bounds, floating, or integers where the
                bounds are those of bytes.
            labels: The true classes, integer `[B]` or `[B, 1]`, or one-hot `[B, K]`.
            targets: Integer `[B]`, the classes to reach, none equal to its label. Leave
                out for an untargeted attack.
            eps: A radius for all images or one for each, `[B]`, in place of the
                attack's own, in units of [0, 1] whatever the bounds.
            bounds: The least and largest value of a pixel as the model takes it, such
                as `(0, 255)`. By default what a `RobustModel` or `models.Classifier`
                says, or a `Rescaling` of bytes at the network's start; else (0, 1).

        Returns:
            The adversarial images, within the same bounds, whether they succeed, and
            how far they are in units of [0, 1].

        Raises:
            ValueError: If a shape or dtype is wrong or the model has no gradient.
                Eagerly also if pixels leave the bounds, labels or targets are no
                classes of the model, a target equals its label, or the logits of the
                clean images are not finite.
        """
        self._check_model(model)
        pixels = pixels_in(images, model, bounds)
        images = pixels.images
        given = {"labels": labels, "targets": targets}
        labels = check_classes("labels", labels, images)
        if targets is not None:
            targets = check_classes("targets", targets, images)
        eps = validation.check_eps(eps, images, self.budget, type(self).__name__)
        goal = _goal(labels, targets)
        if not tf.executing_eagerly():
            # Shapes that vary are left out: the caller may be compiled by XLA.
            with layers_named(model):
                classifier = as_classifier(model, pixels.bounds)
                result, _ = self._search(classifier, images, goal, eps, False)
            return _restored(result, pixels)
        validation.check_values(labels, targets, eps)
        if images.shape[0] == 0:
            none, zero = tf.zeros([0], tf.bool), tf.zeros([0])
            count = tf.zeros([0], tf.int32)
            return AttackResult(pixels.given, none, zero, none, zero, none, count)
        with layers_named(model):
            search = _compiled(self, model, pixels, goal)
        result, logits = search(images, goal.classes, eps)
        for name, classes in given.items():
            if classes is not None:
                check_width(name, classes, int(logits.shape[1]))
        validation.check_logits(logits, labels, targets)
        return _restored(result, pixels)

    def perturb(
        self,
        model: Classifier,
        images: tf.Tensor,
        labels: tf.Tensor,
        targets: tf.Tensor | None = None,
        eps: Any = None,
        bounds: Any = None,
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
            eps: As for a call.
            bounds: As for a call.

        Returns:
            float32 `[B, H, W, C]` within the bounds, and the budget if there is one.

        Raises:
            ValueError: If a shape or dtype is wrong or the model has no gradient.

        Example:
            >>> from tfrobust.attacks import PGD
            >>> images = tf.fill([1, 2, 2, 1], 0.5)
            >>> def model(x):
            ...     total = tf.reduce_sum(x, axis=[1, 2, 3])
            ...     return tf.stack([total, 1.0 - total], axis=-1)
            >>> attack = PGD(norm="inf", eps=0.125, random_start=False)
            >>> result = attack.perturb(model, images, tf.constant([0]))
            >>> result.numpy().ravel().tolist()
            [0.375, 0.375, 0.375, 0.375]
        """
        self._check_model(model)
        pixels = pixels_in(images, model, bounds, checked=False)
        images = tf.stop_gradient(pixels.images)
        labels = check_classes("labels", labels, images)
        if targets is not None:
            targets = check_classes("targets", targets, images)
        problem = Problem(
            classifier=as_classifier(model, pixels.bounds),
            images=images,
            goal=_goal(labels, targets),
            eps=validation.check_eps(eps, images, self.budget, type(self).__name__),
            active=tf.ones_like(labels, tf.bool),
            compact=False,
        )
        with layers_named(model):
            point, _ = self.for_training()._find(problem)
        return pixels.restored(self.threat.project(images, point, problem.eps))

    def _check_model(self, model: Any) -> None:
        """Before anything is asked of a model that may lack what the search needs."""
        name = type(self).__name__
        validation.check_model(model, name, self.needs_gradient, self.needs_logits)

    def _find(self, problem: Problem) -> tuple[tf.Tensor, tf.Tensor]:
        """What the search returns, finite, in [0, 1] and without a gradient.

        Returns:
            Images `[B,H,W,C]`, and how often the model was asked about each, `[B]`.
        """
        found = self.run(problem)
        point, queries = found if isinstance(found, tuple) else (found, None)
        expected = problem.images.shape
        if not (tf.is_tensor(point) and point.shape.is_compatible_with(expected)):
            received = f"shape {point.shape}" if tf.is_tensor(point) else repr(point)
            raise ExtensionError(
                f"`run` of an attack must return images {expected}. Received: "
                f"{received} from {type(self).__name__}"
            )
        point = tf.ensure_shape(tf.stop_gradient(point), expected)
        # Before the model sees it: an exported one refuses the whole batch over a NaN.
        point = tf.where(tf.math.is_finite(point), point, problem.images)
        if queries is None:
            queries = tf.zeros(tf.shape(point)[:1], tf.int32)
        return tf.clip_by_value(point, 0.0, 1.0), queries

    def _search(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        goal: Goal,
        eps: tf.Tensor | None,
        compact: bool,
    ) -> tuple[AttackResult, tf.Tensor]:
        """Search, then judge. Also returns the logits of the clean images."""
        images = tf.stop_gradient(images)
        everyone = tf.ones(tf.shape(images)[:1], tf.bool)
        problem = Problem(
            classifier=classifier,
            images=images,
            goal=goal,
            eps=eps,
            active=everyone,
            compact=False,
        )
        clean, slopes = self.first_look(problem)
        problem = dataclasses.replace(
            problem, active=~goal.reached(clean), compact=compact, slopes=slopes
        )
        point, queries = self._find(problem)
        result = verdict(problem, clean, point, queries, self.threat, self.score)
        return result, clean


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixedBudget(Attack):
    """An attack within a ball: looks for the worst image that is near enough.

    A subclass adds its settings and `run`. Where it has a setting `early_stop`, that is
    off in training.

    Attributes:
        norm: One of `norms`, or `math.inf`.
        eps: Radius of the ball in pixel units of [0, 1], for instance `8 / 255`.
        norms: What `norm` may be, an attribute of the class: 1, 2 and `"inf"`. A
            subclass whose search respects a number of changed entries adds 0.

    Raises:
        ValueError: If `norm` is none of `norms`, or `eps` negative or not finite.

    Example:
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class Darken(FixedBudget):
        ...     norm: float | str = "inf"
        ...     def run(self, problem):
        ...         return problem.images - problem.eps[:, None, None, None]
        >>> str(Darken(eps=0.1).threat)
        'Linf eps 0.1'
    """

    norms: ClassVar[tuple[float | str, ...]] = (1, 2, "inf")

    norm: float | str
    eps: float

    def __post_init__(self) -> None:
        """Check the settings."""
        norm = "inf" if self.norm == math.inf else self.norm
        require(norm in self.norms, "norm", self.norm, constraints.listed(self.norms))
        _ = self.threat
        if self.norm in ("inf", math.inf) and self.eps > 1:
            warn_caller(
                f'`eps` of norm "inf" is {self.eps:g}, more than the range of a pixel: '
                "it is in units of images in [0, 1], whatever the model takes."
            )

    @property
    def threat(self) -> ThreatModel:
        """The ball."""
        return ThreatModel(self.norm, self.eps)

    def template(self) -> Self:
        """The same with radius 1."""
        return dataclasses.replace(self, eps=1.0)

    def for_training(self) -> Self:
        """The same, without stopping early."""
        if not hasattr(self, "early_stop"):
            return self
        never: dict[str, Any] = {"early_stop": False}
        return dataclasses.replace(self, **never)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MinimumNorm(Attack):
    """An attack without a radius: looks for the nearest image that fools the model.

    A subclass adds its settings and `run`, and `norm` if that is one of them; it is 2
    otherwise.

    Example:
        >>> from tfrobust import attacks
        >>> isinstance(attacks.DDN(), MinimumNorm), attacks.DDN().budget is None
        (True, True)
    """

    @property
    def norm(self) -> float | str:
        """The norm that is made small."""
        return 2

    @property
    def threat(self) -> ThreatModel:
        """The norm, without a radius."""
        return ThreatModel(self.norm)


def _goal(labels: tf.Tensor, targets: tf.Tensor | None) -> Goal:
    if targets is None:
        return Goal(labels, targeted=False)
    return Goal(targets, targeted=True)


def _restored(result: AttackResult, pixels: Pixels) -> AttackResult:
    """The result with its images within the caller's bounds."""
    return result._replace(adversarial=pixels.restored(result.adversarial))


def _compiled(attack: Attack, model: Any, pixels: Pixels, goal: Goal) -> Any:
    """The attack's search on this model as a graph for any batch size."""
    images, bounds = pixels.images, pixels.bounds
    if not _GRAPHS.knows(model) and getattr(model, "has_gradient", True):
        classifier = as_classifier(model, bounds)
        validation.check_gradients(classifier, images, goal)
        if not attack.averages:
            validation.check_repeatable(classifier, images)
    shape, targeted = images.shape[1:], goal.targeted
    attack = attack.template()
    # A Python function may not bear to be called by several threads.
    shared = getattr(model, "has_gradient", True)
    trace = functools.partial(_trace, attack, shape, targeted, bounds, shared)
    return _GRAPHS.get(model, (attack, tuple(shape), targeted, bounds), trace)


def _trace(
    attack: Attack,
    image_shape: tf.TensorShape,
    targeted: bool,
    bounds: Bounds,
    shared: bool,
    reference: Callable[[], Any],
) -> Any:
    """The search as a graph that holds the model weakly; see `GraphCache`.

    A concrete function, because `tf.function` warns of retracing when several attacks
    are run one after the other.
    """

    def search(images: tf.Tensor, classes: tf.Tensor, eps: tf.Tensor | None) -> Any:
        goal = Goal(classes, targeted)
        classifier = as_classifier(reference(), bounds)
        return attack._search(classifier, images, goal, eps, True)

    radius = None if attack.budget is None else tf.TensorSpec([None], tf.float32)
    return graph_of_rows(
        search,
        tf.TensorSpec([None, *image_shape], tf.float32),
        tf.TensorSpec([None], tf.int32),
        radius,
        shared=shared,
    )
