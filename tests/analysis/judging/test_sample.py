"""A few images cannot tell, and that is said."""

import pytest

from tests.analysis.judging.cases import answers, case, images, linear
from tfrobust.analysis.judging.sample import least_that_speaks, sample_check

TOO_FEW = (
    "too few images are classified correctly to tell ({}, where 20 are the least): "
)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9, 12, 19, 20, 99, 100])
def test_the_least_that_speaks(count):
    """By hand: of N images k are above two standard errors where k > 4 N / (N + 3)."""
    least = 4 * count // (count + 3) + 1
    assert least_that_speaks(count) == (least if least <= count else 0)


@pytest.mark.parametrize(
    ("right", "reason"),
    [
        (20, ""),
        (19, TOO_FEW.format(19) + "a fault shows from 4 of them on"),
        (5, TOO_FEW.format(5) + "a fault shows from 3 of them on"),
        (1, TOO_FEW.format(1) + "no fault can show"),
    ],
)
def test_only_what_is_right_can_be_broken(right, reason):
    pixels, model = images(30), linear(2)
    labels = answers(model, pixels)
    labels[right:] = 1 - labels[right:]
    found = sample_check(case(model, pixels, labels))
    assert found.outcome == ("doubtful" if reason else "passed")
    assert found.reason == reason
    assert found.evidence.startswith(f"{right} are classified correctly, ")


def test_nothing_is_right():
    pixels, model = images(4), linear(2)
    found = sample_check(case(model, pixels, 1 - answers(model, pixels)))
    assert found.outcome == "not applicable"
    assert found.evidence == "no image is classified correctly"
