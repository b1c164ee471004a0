"""One attack on a whole data set, stage by stage."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tqdm

from tfrobust.attacks.base import Attack
from tfrobust.attacks.outcomes import AttackOutcome
from tfrobust.attacks.store import Store, close, digest
from tfrobust.attacks.verdicts import AttackResult
from tfrobust.core.terminal import columns


class Given(NamedTuple):
    """Some images to attack.

    Attributes:
        images: `[B, H, W, C]` as the model takes them.
        labels: int32 `[B]`.
        logits: float32 `[B, K]`, the model's answers to the clean images.
    """

    images: np.ndarray
    labels: np.ndarray
    logits: np.ndarray

    def rows(self, chosen: np.ndarray) -> Given:
        """Some of the images, by index or by a mask."""
        return Given(*(array[chosen] for array in self))


class Trial:
    """Attacks batches of images as they come, and puts the results together.

    Args:
        name: What the attack is called.
        attack: The attack.
        model: As for its call.
        bounds: As for its call.
        keep_images: Whether to keep the adversarial images.
        store: What has been done before.
    """

    def __init__(
        self,
        name: str,
        attack: Attack,
        model: Any,
        bounds: Any,
        keep_images: bool,
        store: Store,
    ) -> None:
        self._name, self._attack = name, attack
        self._model, self._bounds = model, bounds
        self._keep_images, self._store = keep_images, store
        self._stages: Mapping[str, Attack] = attack.stages() or {"": attack}
        self._seconds = dict.fromkeys(self._stages, 0.0)
        self._parts: list[AttackResult] = []
        self._broken_by: list[np.ndarray] = []
        # Images that have withstood so far, and their places in the data set.
        self._waiting: list[Given] = []
        self._places: list[np.ndarray] = []
        self._count = self._withstood = 0

    @property
    def left(self) -> str:
        """Which share of the images is right and has withstood so far, in words."""
        if not self._count:
            return ""
        return f"robust {self._withstood / self._count:.1%}, "

    def add(self, given: Given) -> None:
        """Runs the first stage on a batch."""
        stage = next(iter(self._stages))
        result = self._run(stage, given)
        self._parts.append(result)
        fallen = result.success & ~result.already
        self._broken_by.append(np.where(fallen, stage, ""))
        standing = np.flatnonzero(~result.success)
        if len(self._stages) > 1 and len(standing):
            self._waiting.append(given.rows(standing))
            self._places.append(self._count + standing)
        self._count += len(given.labels)
        self._withstood += len(standing)

    def finish(self, batch_size: int, progress: bool) -> None:
        """Runs the later stages, each on the images that are left."""
        whole = AttackResult(*map(np.concatenate, zip(*self._parts, strict=True)))
        broken_by = np.concatenate(self._broken_by).astype(object)
        if self._waiting:
            waiting = Given(*map(np.concatenate, zip(*self._waiting, strict=True)))
            places = np.concatenate(self._places)
            for stage in list(self._stages)[1:]:
                found = self._finish(stage, waiting, batch_size, progress)
                _update(whole, found, places)
                # A model that answers at random may be wrong of a clean image now.
                broken_by[places[found.success & ~found.already]] = stage
                standing = ~found.success
                waiting, places = waiting.rows(standing), places[standing]
        self._waiting, self._places = [], []
        self._parts, self._broken_by = [whole], [broken_by.astype(str)]

    def _finish(
        self, stage: str, given: Given, batch_size: int, progress: bool
    ) -> AttackResult:
        """A later stage on all images that are left."""
        count, parts = len(given.labels), [self._empty()]
        with tqdm.tqdm(
            desc=f"{self._name}, {stage}",
            total=-(-count // batch_size),
            unit="batch",
            ncols=columns(sys.stderr),
            disable=not progress,
        ) as shown:
            for first in range(0, count, batch_size):
                rows = np.arange(first, min(first + batch_size, count))
                parts.append(self._run(stage, given.rows(rows)))
                self._withstood -= int(parts[-1].success.sum())
                shown.set_postfix_str(self.left.rstrip(", "), refresh=False)
                shown.update()
        return AttackResult(*map(np.concatenate, zip(*parts, strict=True)))

    def _empty(self) -> AttackResult:
        """The result of no image."""
        like = self._parts[0]
        return AttackResult(*(array[:0] for array in like))

    def _run(self, stage: str, given: Given) -> AttackResult:
        """A stage on a batch, from the store where it has been done before."""
        attack, key = self._stages[stage], ""
        if self._store:
            about = [self._store.model, repr(attack), repr(self._keep_images)]
            key = digest([*about, given.images, given.labels])
            if (kept := self._kept(key, given)) is not None:
                self._seconds[stage] += float(kept["seconds"])
                return AttackResult(*(kept[name] for name in AttackResult._fields))
        began = time.perf_counter()
        found = attack(self._model, given.images, given.labels, bounds=self._bounds)
        if not self._keep_images:
            found = found._replace(adversarial=np.zeros(len(given.labels), np.float32))
        found = AttackResult(*map(np.asarray, found))
        seconds = time.perf_counter() - began
        self._seconds[stage] += seconds
        self._store.put(key, seconds=seconds, logits=given.logits, **found._asdict())
        return found

    def _kept(self, key: str, given: Given) -> dict[str, np.ndarray] | None:
        """What the store has of a batch, if the model answered it alike then."""
        kept = self._store.get(key)
        needed = {*AttackResult._fields, "seconds", "logits"}
        if kept is None or not needed <= kept.keys():
            return None
        alike = self._store.at_random or close(kept["logits"], given.logits)
        return kept if alike else None

    def outcome(self) -> AttackOutcome:
        """What the attack did to each image, once it has finished."""
        (whole,), (broken_by,) = self._parts, self._broken_by
        fields = whole._asdict()
        if not self._keep_images:
            fields["adversarial"] = None
        staged = bool(self._attack.stages())
        return AttackOutcome(
            threat=self._attack.threat,
            broken_by=broken_by if staged else None,
            seconds=dict(self._seconds),
            gradient_free=tuple(
                name for name, each in self._stages.items() if not each.needs_gradient
            ),
            **fields,
        )


def _update(whole: AttackResult, found: AttackResult, places: np.ndarray) -> None:
    """Writes what a later stage found over what was found before, in place.

    A success takes the place of a failure, and so does one of the rounded image alone.
    """
    better = found.success | (found.success_rounded & ~whole.success_rounded[places])
    for name, array in whole._asdict().items():
        if name == "queries":
            array[places] += found.queries
        else:
            array[places[better]] = getattr(found, name)[better]
