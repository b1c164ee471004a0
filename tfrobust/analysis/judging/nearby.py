"""Whether the model answers with numbers beside the data as it does on the data.

Attacks count no answer that is NaN or infinite as a success: it is no prediction. So
a network that overflows as soon as an image is not one of the data, as one in float16
may, looks as if it withstood everything.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfrobust.analysis.judging.case import Case
from tfrobust.analysis.judging.drawing import draws_of
from tfrobust.analysis.judging.results import Check, check
from tfrobust.attacks import Evaluation
from tfrobust.core.pixels import to_unit

# From the ball of each image; every other is at the edge of it.
_DRAWS = 4
_CHECK = "finite_nearby", "answers are finite in the ball too"


def nearby_check(case: Case, own: Evaluation | None) -> Check:
    """Whether answers are finite at random images of the ball, and at attacks' images.

    One answer is enough to fail: there the attacks were blind.

    Args:
        case: What is judged. Images that its evaluation kept are looked at.
        own: What was run beside it, with images for `case.model`.
    """
    rows = np.arange(len(case.labels))
    draw = draws_of(case, rows)
    drawn = np.zeros(len(rows), bool)
    for number in range(_DRAWS):
        drawn |= _bad(case, draw(number))
    found = np.zeros(len(rows), bool)
    for images in _kept(case, own):
        # Attacks of a larger radius may have gone farther.
        found |= _bad(case, images) & case.threat.allows(case.images, images).numpy()
    evidence = (
        f"beside {drawn.sum()} of {len(rows)} images random draws are answered by no "
        f"finite number, beside {found.sum()} what attacks found"
    )
    bad = int(np.sum(drawn | found))
    reason = (
        f"answers in the ball of {bad} of {len(rows)} images are not finite, which no "
        "attack counts as a success"
    )
    return check(*_CHECK, evidence, bad > 0, reason)


def _kept(case: Case, own: Evaluation | None) -> Iterator[tf.Tensor]:
    """The images that attacks kept, in [0, 1], of one attack after the other."""
    pairs = [(case.evaluation, case.own.bounds), (own, case.pixels.bounds)]
    for evaluation, bounds in pairs:
        for outcome in {} if evaluation is None else evaluation.results.values():
            if outcome.adversarial is not None:
                given = tf.convert_to_tensor(outcome.adversarial, tf.float32)
                yield to_unit(given, bounds)


def _bad(case: Case, images: tf.Tensor) -> np.ndarray:
    """Where an answer is no finite number, bool `[N]`."""
    # An exported model refuses a whole batch over a NaN.
    safe = tf.where(tf.math.is_finite(images), images, 0.0)
    bad: np.ndarray = ~np.isfinite(case.logits(safe)).all(axis=1)
    return bad
