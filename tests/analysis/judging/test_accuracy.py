"""What is chance, and what is more than chance."""

import numpy as np
import pytest

from tests.analysis.judging.cases import answers, case, images, linear
from tfrobust.analysis.judging.accuracy import accuracy_check
from tfrobust.attacks import FGSM, evaluate
from tfrobust.core.estimates import share_interval


@pytest.mark.parametrize(
    ("right", "outcome"), [(40, "passed"), (26, "doubtful"), (18, "wrong")]
)
def test_chance_is_not_good_enough(right, outcome):
    """Of three classes and 40 images: 100 %, 65 % and 45 %, where chance is 33 %."""
    pixels, model = images(40), linear(3)
    labels = answers(model, pixels)
    labels[right:] = (labels[right:] + 1) % 3
    found = accuracy_check(case(model, pixels, labels))
    low, _ = share_interval(right, 40)
    assert found.outcome == (outcome if low <= 1 / 3 else "passed")
    assert found.evidence.startswith(f"{right / 40:.1%} of 40 images")
    if right == 18:
        assert found.failed
        assert found.reason == "a clean accuracy of 45% is at chance (33%)"


def test_another_model_than_the_evaluations():
    pixels, model = images(20), linear(2)
    labels = answers(model, pixels)
    other = linear(2, scale=-1.0)
    evaluation = evaluate(other, (pixels, labels), {"fgsm": FGSM(norm=2, eps=0.1)})
    found = accuracy_check(case(model, pixels, labels, evaluation=evaluation))
    assert found.outcome == "wrong"
    assert found.reason == (
        "the model disagrees with the evaluation about 20 of 20 clean images"
    )
    assert not np.any(evaluation.clean_correct)
