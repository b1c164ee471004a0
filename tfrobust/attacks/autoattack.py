"""AutoAttack, the ensemble by which robust accuracies are compared."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from tfrobust.attacks.apgd import APGD
from tfrobust.attacks.base import Attack, FixedBudget
from tfrobust.attacks.fab import FAB
from tfrobust.attacks.problem import Problem
from tfrobust.attacks.registry import register
from tfrobust.attacks.square import Square
from tfrobust.attacks.within import Within
from tfrobust.settings import require, require_positive, require_seed

VERSIONS = ("standard", "plus", "rand", "fast")

# How often `rand` asks a network that answers at random, for each gradient.
_SAMPLES = 20
_TARGETS = 9
# Of APGD in L1, which tries fewer.
_L1_TARGETS = 5
_QUERIES = 5000


@register("autoattack")
@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoAttack(FixedBudget):
    """AutoAttack (Croce and Hein 2020, https://arxiv.org/abs/2003.01690).

    Four attacks without a setting to tune, one after the other. Each sees the clean
    images that those before have not broken, so an image that falls early costs little.
    `stages` has them:

    - `standard`: `apgd-ce`, APGD on the cross-entropy; `apgd-t`, APGD on the targeted
      difference of logits ratio towards each of 9 classes; `fab-t`, FAB towards each of
      9 classes; `square`, 5,000 queries. In L1 (Croce and Hein 2021,
      https://arxiv.org/abs/2103.01208) `apgd-ce` starts 5 times and `apgd-t` has 5
      classes.
    - `plus`: `apgd-ce`, `apgd-dlr` and the untargeted `fab`, from 5 starts each, then
      `square`, `apgd-t` and `fab-t`.
    - `rand`, for networks that answer at random: `apgd-ce` and `apgd-dlr`, where each
      gradient is the mean over 20 answers.
    - `fast`, ours and not published: short searches of the same kinds, which ask for
      less than a tenth of what `standard` may; see `stages`. What it leaves is more
      than or as much as `standard` leaves of most networks, and is to be named as what
      it is.

    A call runs them in one graph. `evaluate` runs them one after the other over a whole
    data set, each on what is left, shows the robust accuracy so far, says which stage
    broke which image, and goes on after an interruption if it has a folder.

    Given targets, each stage heads for the target alone.

    With fewer than 4 classes the targeted difference of logits ratio is undefined, and
    `apgd-t` climbs the margin instead; a warning says so.

    Attributes:
        norm: 1, 2, `"inf"` or `math.inf`.
        eps: Radius of the ball in pixel units of [0, 1], above 0. A call may give one
            for each image instead.
        version: `"standard"`, `"plus"`, `"rand"` or `"fast"`.
        seed: Of all draws, in [0, 2**31).

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> images = tf.fill([1, 4, 4, 1], 0.5)
        >>> def model(x):
        ...     total = tf.reduce_sum(x, axis=[1, 2, 3])
        ...     return tf.stack([total, 7.0 - total, 9.0 - total, 15.5 - total], -1)
        >>> attack = AutoAttack(norm="inf", eps=0.1, version="fast")
        >>> list(attack.stages())
        ['apgd-ce', 'apgd-margin', 'apgd-t', 'square']
        >>> bool(attack(model, images, tf.constant([0])).success[0])
        True
    """

    version: str = "standard"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_positive("eps", self.eps)
        require(self.version in VERSIONS, "version", self.version, f"one of {VERSIONS}")
        require_seed(self.seed)

    def stages(self) -> dict[str, Attack]:
        """The attacks by name, in the order in which they run."""
        make = {
            "standard": self._standard,
            "plus": self._plus,
            "rand": self._rand,
            "fast": self._fast,
        }
        return make[self.version]()

    @property
    def averages(self) -> bool:
        """Whether each gradient is a mean over several answers of the model."""
        return self.version == "rand"

    def run(self, problem: Problem) -> tuple[tf.Tensor, tf.Tensor]:
        """Each stage on what is left; the first stage's points where none succeeds."""
        rows = tf.shape(problem.images)[:1]
        points, reached = problem.images, tf.zeros(rows, tf.bool)
        queries = tf.zeros(rows, tf.int32)
        stages = [*self.stages().values()]
        if problem.goal.targeted:
            stages = [*map(_towards_target, stages)]
        for place, attack in enumerate(stages):
            left = dataclasses.replace(problem, active=problem.active & ~reached)
            found, asked = attack._find(left)
            broken = self._broken(left, found)
            taken = left.active if place == 0 else broken
            points = tf.where(taken[:, None, None, None], found, points)
            queries += tf.where(left.active, asked, 0)
            reached |= broken
        return points, queries

    def _broken(self, problem: Problem, points: tf.Tensor) -> tf.Tensor:
        """Which of the active rows a stage has broken within the ball, bool `[B]`."""
        logits = problem.logits(points, problem.active)
        allowed = self.threat.allows(problem.images, points, problem.eps)
        return problem.active & allowed & problem.goal.reached(logits)

    def _standard(self) -> dict[str, Attack]:
        l1 = self.norm == 1
        return {
            "apgd-ce": self._apgd(restarts=5 if l1 else 1),
            "apgd-t": self._apgd(
                loss="dlr", target_classes=_L1_TARGETS if l1 else _TARGETS
            ),
            "fab-t": self._fab(target_classes=_TARGETS),
            "square": self._square(_QUERIES),
        }

    def _plus(self) -> dict[str, Attack]:
        return {
            "apgd-ce": self._apgd(restarts=5),
            "apgd-dlr": self._apgd(loss="dlr", restarts=5),
            "fab": self._fab(target_classes=None, restarts=5),
            "square": self._square(_QUERIES),
            "apgd-t": self._apgd(loss="dlr", target_classes=_TARGETS),
            "fab-t": self._fab(target_classes=_TARGETS),
        }

    def _rand(self) -> dict[str, Attack]:
        return {
            "apgd-ce": self._apgd(samples=_SAMPLES),
            "apgd-dlr": self._apgd(loss="dlr", samples=_SAMPLES),
        }

    def _fast(self) -> dict[str, Attack]:
        return {
            "apgd-ce": self._apgd(steps=30),
            "apgd-margin": self._apgd(loss="margin", steps=30),
            "apgd-t": self._apgd(loss="dlr", steps=20, target_classes=_TARGETS),
            "square": self._square(300),
        }

    def _apgd(self, **settings: object) -> Attack:
        return APGD(norm=self.norm, eps=self.eps, seed=self.seed, **settings)  # type: ignore[arg-type]

    def _fab(self, **settings: object) -> Attack:
        attack = FAB(norm=self.norm, seed=self.seed, **settings)  # type: ignore[arg-type]
        return Within(norm=self.norm, eps=self.eps, attack=attack)

    def _square(self, queries: int) -> Attack:
        return Square(norm=self.norm, eps=self.eps, queries=queries, seed=self.seed)


def _towards_target(attack: Attack) -> Attack:
    """The attack without classes of its own to try: there is one to reach."""
    if isinstance(attack, Within):
        inner = _towards_target(attack.attack)
        return dataclasses.replace(attack, attack=inner)
    if getattr(attack, "target_classes", None) is None:
        return attack
    return dataclasses.replace(attack, target_classes=None)  # type: ignore[call-arg]
