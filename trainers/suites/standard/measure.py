"""Measures AutoAttack, what speaks against its answer, weaker attacks and geometry.

Croce and Hein 2020, Reliable Evaluation of Adversarial Robustness with an Ensemble of
Diverse Parameter-free Attacks.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tfrobust import analysis, attacks, data, geometry
from tfrobust.cli.loading import Loaded
from tfrobust.cli.program import UsageError, is_watched
from tfrobust.cli.records import Record, measured
from tfrobust.cli.run_folder import versions
from tfrobust.core.fractions import Eps, format_fraction
from trainers.suites import attacks as suite_attacks
from trainers.suites import parts, samples
from trainers.suites.options import EvaluateConfig
from trainers.suites.partial import Partial, Room, fingerprint
from trainers.suites.standard.fallen import Fallen, fell_first
from trainers.suites.standard.gradient import why_no_gradient
from trainers.suites.standard.suite import TRUSTWORTHY, StandardSettings

QUANTITIES = ("gradient_norm", "hessian_norm", "curvature")
"""What `geometry.measure` measures."""

# Where the cheap attacks are run, in units of the radius, until nothing is left.
_GRID = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
_NOTHING = 0.01
# Of the attack on a model that has no gradient: as many as AutoAttack's Square asks.
_QUERIES = 5000


def ball_of(run: EvaluateConfig, own: StandardSettings) -> tuple[Any, Eps]:
    """Norm, as attacks take it, and radius."""
    norm = own.norm if own.norm == "inf" else int(own.norm)
    return norm, own.ball(run.dataset)


def make_attacks(
    run: EvaluateConfig, own: StandardSettings
) -> dict[str, attacks.Attack]:
    """AutoAttack, then those of `--attack`, by title.

    Raises:
        UsageError: If there is no such attack, or one has another ball.
    """
    norm, eps = ball_of(run, own)
    try:
        first: attacks.Attack = attacks.AutoAttack(
            norm=norm, eps=eps.value, version=own.version, seed=run.seed
        )
    except ValueError as error:
        raise UsageError(
            f"--norm={own.norm} --radius={eps} --version={own.version}: {error}"
        ) from error
    title = attacks.title(first)
    if own.version != "standard":
        # Its number is not to be taken for that of the standard version.
        title = title.replace("AutoAttack", f"AutoAttack {own.version}", 1)
    made = {title: first}
    given = suite_attacks.make(run, (), norm=norm, eps=eps.value)
    for title, attack in given.items():
        here = attack.threat.norm == first.threat.norm
        if not here or attack.threat.eps not in (None, eps.value):
            raise UsageError(
                f"--attack={attacks.spec(attack)}: in this suite --norm and --radius "
                f"set the ball, {_ball(first)}. Received: {_ball(attack)}"
            )
        if attack == first:
            raise UsageError(
                f"--attack={attacks.spec(attack)} is run by this suite anyway."
            )
        made[attacks.spec(attack) if title in made else title] = attack
    return made


class Measurer:
    """Measures models one by one, on images that it draws once.

    Args:
        run: The settings of the evaluation.
        own: Those of the suite.
        made: The attacks, from `make_attacks`.
        test: All test images.
        partial: Where results are kept until the evaluation is complete.

    Attributes:
        ball: Norm and radius.
        grid: Every radius at which a model was attacked cheaply, rising.
        fallen: The images of each model that fell first.
        blind: Of each model without a gradient, why it has none.
    """

    def __init__(
        self,
        run: EvaluateConfig,
        own: StandardSettings,
        made: Mapping[str, attacks.Attack],
        test: data.Dataset,
        partial: Partial,
    ) -> None:
        self.run, self.own, self.attacks = run, own, made
        self.class_names = test.class_names
        self.norm, self.eps = ball_of(run, own)
        self.fallen: dict[str, Fallen] = {}
        self.blind: dict[str, str] = {}
        self._test, self._partial = test, partial
        self.attacked, self._looked_at = (
            samples.draw(test, count, run.seed)
            for count in (run.examples, own.geometry_examples)
        )

    @property
    def judged(self) -> int:
        """On how many of the attacked images the result is judged."""
        return min(self.own.judge_examples, self.run.examples)

    @property
    def title(self) -> str:
        """The title of AutoAttack."""
        return next(iter(self.attacks))

    @property
    def threat_model(self) -> str:
        """L1, L2 or Linf."""
        return suite_attacks.threat_model(self.attacks[self.title])

    def facts(self) -> dict[str, str]:
        """The settings, in words."""
        own = self.own
        return {
            "data": f"{self.run.dataset}, {len(self._test)} test images",
            "attacks": ", ".join(suite_attacks.words(self.attacks)),
            "version of AutoAttack": own.version,
            "judged on": f"{self.judged} of the attacked images",
            "geometry": f"{own.geometry_examples} test images, "
            f"{own.power_iterations} power iterations",
        }

    def measure(self, model: Loaded) -> list[Record]:
        """Everything on one model."""
        room = self._partial.room(
            model.name,
            fingerprint(model.source),
            self.attacked.images.digest(),
            str(versions()),
        )
        reason = why_no_gradient(model, self.attacked.pixels[:1])
        if reason:
            self.blind[model.name] = reason
        made = self._black_box() if reason else self.attacks
        evaluation = self._attack(model, room, made)
        return [
            parts.accuracy(self.run, model, self._test),
            *self._robustness(model, evaluation, made),
            *self._by_part(model, evaluation, next(iter(made))),
            *self._by_class(model, evaluation),
            *(() if reason else self._over_eps(model, room, evaluation)),
            *(() if reason else self._geometry(model, room)),
            self._judged(model, room, evaluation),
        ]

    def _black_box(self) -> dict[str, attacks.Attack]:
        """What can attack a model that has no gradient, and what was asked for."""
        try:
            square = attacks.Square(
                norm=self.norm,
                eps=self.eps.value,
                queries=_QUERIES,
                seed=self.run.seed,
            )
        except ValueError as error:
            raise UsageError(f"--norm={self.own.norm}: {error}") from error
        _, *given = self.attacks.items()
        return {attacks.title(square): square, **dict(given)}

    def _attack(
        self, model: Loaded, room: Room, made: Mapping[str, attacks.Attack]
    ) -> attacks.Evaluation:
        """The attacks at the radius, and the images that fell first."""
        evaluation = attacks.evaluate(
            model.call,
            self.attacked.batches(self.run.batch_size),
            made,
            batch_size=self.run.batch_size,
            progress=is_watched(),
            keep_images=True,
            folder=room.path / "attacks",
        )
        outcome = evaluation.results[next(iter(made))]
        fallen = fell_first(model, self.attacked.pixels, self.attacked.labels, outcome)
        if len(fallen.images):
            self.fallen[model.name] = fallen
        return evaluation

    def _robustness(
        self,
        model: Loaded,
        evaluation: attacks.Evaluation,
        made: Mapping[str, attacks.Attack],
    ) -> Iterator[Record]:
        """Robust accuracy at the radius, under each attack and under all."""
        of, correct = self.attacked.first(), evaluation.clean_correct
        yield measured(model.name, "accuracy", correct, of, split="test", attacked=True)
        robust = suite_attacks.RobustAccuracy(self.run, model.name, evaluation, of)
        # An attack without a radius may have gone beyond it.
        counted = {
            title: None if attack.threat.eps else self.eps.value
            for title, attack in made.items()
        }
        ball: dict[str, Any] = {
            "threat_model": self.threat_model,
            "eps": self.eps.value,
        }
        for title, attack in made.items():
            yield from robust.records(
                [(title, counted[title])], [attack], attack=title, **ball
            )
            outcome = evaluation.results[title]
            yield from suite_attacks.effects(model.name, outcome, of, attack=title)
            if outcome.queries.any():  # the attack counts them
                asked = np.where(outcome.already, np.nan, outcome.queries)
                yield measured(model.name, "queries", asked, of, attack=title)
        if len(made) > 1:
            yield from robust.records(
                [*counted.items()], made.values(), attack="all", **ball
            )

    def _by_part(
        self, model: Loaded, evaluation: attacks.Evaluation, title: str
    ) -> Iterator[Record]:
        """What each part of AutoAttack broke, by how many questions, and its time."""
        outcome, of = evaluation.results[title], self.attacked.first()
        if outcome.broken_by is None:
            return
        for part, seconds in outcome.seconds.items():
            how: dict[str, Any] = {"attack": title, "part": part}
            broke = outcome.broken_by == part
            yield measured(model.name, "broken_by", broke, of, **how)
            asked = np.where(broke, outcome.queries, np.nan)
            yield measured(model.name, "queries", asked, **how)
            yield parts.exactly(model.name, "seconds", seconds, len(broke), how)

    def _by_class(
        self, model: Loaded, evaluation: attacks.Evaluation
    ) -> Iterator[Record]:
        """Accuracy of each class, clean and under all attacks together."""
        held = self._held(evaluation)
        for place, name in enumerate(self.class_names):
            rows = evaluation.labels == place
            for quantity, values in (
                ("class_accuracy", evaluation.clean_correct),
                ("class_robust_accuracy", held),
            ):
                how: dict[str, Any] = {"class": name}
                yield measured(model.name, quantity, values[rows], **how)

    def _held(self, evaluation: attacks.Evaluation) -> np.ndarray:
        """Which images withstood every attack within the radius, bool `[N]`."""
        held = evaluation.clean_correct
        for name, outcome in evaluation.results.items():
            cap = None if outcome.threat.eps else self.eps.value
            held = held & evaluation.withstood([name], eps=cap)
        return held

    def _over_eps(
        self, model: Loaded, room: Room, evaluation: attacks.Evaluation
    ) -> Iterator[Record]:
        """What cheap attacks leave at radii up to where next to nothing is left."""
        of = self.attacked.first()
        held: dict[str, np.ndarray] = {}
        for share in _GRID:
            eps = share * self.eps.value
            if eps > _diameter(self.norm, self.attacked.pixels.shape[1:]):
                return
            run = functools.partial(self._cheaply, model, eps)
            succeeded = room.arrays(f"eps-{share:g}", run)
            for title, success in succeeded.items():
                before = held.get(title, evaluation.clean_correct)
                held[title] = before & ~success
            every = np.all([*held.values()], axis=0)
            ball: dict[str, Any] = {"threat_model": self.threat_model, "eps": eps}
            for title, values in {**held, "all": every}.items():
                yield measured(
                    model.name, "accuracy_over_eps", values, of, attack=title, **ball
                )
            if share >= 1 and np.mean(every) <= _NOTHING:
                return

    def cheap(self, eps: float) -> dict[str, attacks.Attack]:
        """Two attacks that cost little, by title.

        Args:
            eps: Their radius.
        """
        ball: dict[str, Any] = {"norm": self.norm, "eps": eps}
        return {
            "FGSM": attacks.FGSM(**ball),
            "PGD": attacks.PGD(**ball, steps=20, loss="margin", seed=self.run.seed),
        }

    def _cheaply(self, model: Loaded, eps: float) -> dict[str, np.ndarray]:
        """Which images each of them broke, bool `[N]`."""
        evaluation = attacks.evaluate(
            model.call,
            self.attacked.batches(self.run.batch_size),
            self.cheap(eps),
            progress=is_watched(),
        )
        return {name: each.success for name, each in evaluation.results.items()}

    def _geometry(self, model: Loaded, room: Room) -> Iterator[Record]:
        """Gradient and curvature of the loss on test images, as suite lcnn has them."""

        def measure() -> dict[str, np.ndarray]:
            whole = geometry.measure(
                model.call,
                self._looked_at.batches(self.run.batch_size),
                power_iterations=self.own.power_iterations,
                progress=is_watched(),
            )
            return {key: np.asarray(getattr(whole, key)) for key in QUANTITIES}

        of, values = self._looked_at, room.arrays("geometry", measure)
        about = {
            "power_iterations": self.own.power_iterations,
            "images_from": of.origin,
        }
        for key in QUANTITIES:
            yield measured(
                model.name, key, values[key], of.first(), about, split=of.split
            )

    def _judged(
        self, model: Loaded, room: Room, evaluation: attacks.Evaluation
    ) -> Record:
        """Whether the robust accuracy can be trusted, and what says so."""
        judgement = room.content("judged", lambda: self._judge(model, evaluation))
        ball: dict[str, Any] = {
            "threat_model": self.threat_model,
            "eps": self.eps.value,
        }
        trusted = judgement["verdict"] == TRUSTWORTHY
        record = parts.exactly(model.name, "trustworthy", trusted, self.judged, ball)
        return dataclasses.replace(record, about=judgement)

    def _judge(self, model: Loaded, evaluation: attacks.Evaluation) -> dict[str, Any]:
        judgement = analysis.judge(
            model.call,
            self.attacked.pixels,
            self.attacked.labels,
            norm=self.norm,
            eps=self.eps.value,
            evaluation=evaluation,
            examples=self.judged,
            seed=self.run.seed,
            batch_size=self.run.batch_size,
            progress=is_watched(),
        )
        content: dict[str, Any] = judgement.to_json()
        return content


def _ball(attack: attacks.Attack) -> str:
    """Norm and radius as a person would write them."""
    radius = "" if attack.threat.eps is None else format_fraction(attack.threat.eps)
    return f"{suite_attacks.threat_model(attack)} {radius}".strip()


def _diameter(norm: Any, shape: tuple[int, ...]) -> float:
    """How far two images can be from each other."""
    size = math.prod(shape)
    return {1: float(size), 2: math.sqrt(size)}.get(norm, 1.0)
