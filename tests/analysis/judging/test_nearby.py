"""Networks that answer with numbers on the data alone."""

import numpy as np
import tensorflow as tf

from tests.analysis.judging.cases import answers, case, images, linear
from tfrobust.analysis.judging.nearby import nearby_check
from tfrobust.analysis.judging.outputs import finite_check
from tfrobust.attacks import PGD, evaluate

PIXELS = images(24)


def overflowing(model, pixels, least=1e-5):
    """Logits that are infinite farther than so much from each image."""
    known = tf.constant(pixels)

    def off(x):
        apart = tf.reduce_mean(tf.abs(x[:, None] - known[None]), axis=[2, 3, 4])
        distance = tf.reduce_min(apart, axis=1, keepdims=True)
        # exp overflows float32 beyond 88.7.
        return model(x) * tf.exp(90.0 / least * tf.nn.relu(distance - 1e-7))

    return off


def test_an_overflow_off_the_data():
    """Finite on every image, infinite all around it."""
    honest = linear(3)
    model, labels = overflowing(honest, PIXELS), answers(honest, PIXELS)
    given = case(model, PIXELS, labels)
    assert finite_check(given).outcome == "passed"
    found = nearby_check(given, None)
    assert found.outcome == "doubtful"
    assert found.reason == (
        "answers in the ball of 24 of 24 images are not finite, which no attack counts "
        "as a success"
    )
    # Nor does an answer that is none count as another class.
    assert not given.fooled(tf.constant(PIXELS + 0.01), labels).any()
    assert nearby_check(case(honest, PIXELS, labels), None).outcome == "passed"


def at(points):
    """A model that is not finite in these points, and nowhere else."""
    honest, known = linear(3), tf.constant(points)

    def model(x):
        apart = tf.reduce_max(tf.abs(x[:, None] - known[None]), axis=[2, 3, 4])
        hit = tf.reduce_any(apart < 1e-6, axis=1, keepdims=True)
        return tf.where(hit, np.nan, honest(x))

    return model


def test_what_attacks_found():
    """Not finite where an attack stopped, be it the evaluation's or the judge's."""
    honest = linear(3)
    labels = answers(honest, PIXELS)
    attack = {"pgd": PGD(norm="inf", eps=0.05, steps=3)}
    kept = evaluate(honest, (PIXELS, labels), attack, keep_images=True)
    model = at(kept.results["pgd"].adversarial[:5])
    found = nearby_check(case(model, PIXELS, labels, evaluation=kept), None)
    assert found.evidence == (
        "beside 0 of 24 images random draws are answered by no finite number, beside 5 "
        "what attacks found"
    )
    assert found.outcome == "doubtful"
    assert nearby_check(case(model, PIXELS, labels), kept).outcome == "doubtful"
    # Out of the ball it is no matter.
    smaller = case(model, PIXELS, labels, eps=0.02, evaluation=kept)
    assert nearby_check(smaller, None).outcome == "passed"


def test_any_range_of_pixels():
    honest = linear(3)
    labels = answers(honest, PIXELS)
    attack = {"pgd": PGD(norm="inf", eps=0.05, steps=3)}
    kept = evaluate(honest, (PIXELS, labels), attack, keep_images=True)
    points = kept.results["pgd"].adversarial
    inner = at(points[:5])
    wide = evaluate(
        lambda x: honest(x / 255.0),
        (255.0 * PIXELS, labels),
        attack,
        keep_images=True,
        bounds=(0, 255),
    )
    given = case(
        lambda x: inner(x / 255.0),
        255.0 * PIXELS,
        labels,
        eps=0.06,
        bounds=(0, 255),
        evaluation=wide,
    )
    found = nearby_check(given, None)
    assert found.outcome == "doubtful" and "beside 5 what" in found.evidence
