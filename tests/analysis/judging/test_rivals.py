"""What noise, other models and longer attacks find beside gradients."""

import numpy as np

from tests.analysis.judging.cases import SIZE, answers, case, images, linear, weights
from tfrobust.analysis.judging.claims import Claims
from tfrobust.analysis.judging.convergence import convergence_check
from tfrobust.analysis.judging.rivals import noise_check, transfer_check

EPS = 0.1


def near(count, eps=EPS):
    """Images whose boundary is at a fifth of the radius, by a linear model."""
    w = weights(2)
    normal = w[:, 0] - w[:, 1]
    rows = images(count).reshape(count, SIZE).astype(np.float64)
    lead = (rows - 0.5) @ normal
    wanted = 0.2 * eps * np.abs(normal).sum() * np.sign(lead)
    rows -= ((lead - wanted) / (normal @ normal))[:, None] * normal
    return np.clip(rows, 0.0, 1.0).reshape(count, 4, 3, 1).astype(np.float32)


def nothing(count):
    return np.zeros(count, bool)


def test_noise_that_breaks_what_gradients_do_not():
    pixels, model = near(20), linear(2)
    labels = answers(model, pixels)
    given = case(model, pixels, labels, eps=EPS)
    found, alone = noise_check(given, nothing(20))
    assert found.outcome == "doubtful" and alone.sum() >= 4
    assert found.reason == (
        f"random noise breaks {alone.sum()} images that gradient attacks miss"
    )
    # What gradients break as well is none of its own.
    found, alone = noise_check(given, ~nothing(20))
    assert found.outcome == "passed" and not alone.any()


def test_images_of_another_model():
    """A model that rounds is fooled by those of the one that does not."""
    pixels = near(20)
    model, smooth = linear(2, quantum=0.02), linear(2)
    labels = answers(model, pixels)
    given = case(model, pixels, labels, eps=EPS)
    found = transfer_check(given, nothing(20), smooth)
    assert found.outcome == "doubtful"
    assert found.evidence.startswith("those of 1 break ")
    several = transfer_check(given, nothing(20), [smooth, linear(2, scale=2.0)])
    assert several.evidence.startswith("those of 2 break ")
    assert transfer_check(given, ~nothing(20), smooth).outcome == "passed"
    assert transfer_check(given, nothing(20), None).outcome == "not applicable"


def test_an_attack_that_gave_up():
    """Claims to break nothing, where every image is within reach."""
    pixels, model = near(20), linear(2)
    given = case(model, pixels, answers(model, pixels), eps=EPS)
    claims = Claims(broken={"a": nothing(20)}, rounded={"a": nothing(20)})
    found = convergence_check(given, claims)
    assert found.reason == "more steps and restarts break 100.0% more of the images"
    done = Claims(broken={"a": ~nothing(20)}, rounded={"a": ~nothing(20)})
    assert convergence_check(given, done).outcome == "passed"
