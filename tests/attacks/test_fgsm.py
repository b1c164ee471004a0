"""The fast gradient sign method and its iterations against NumPy."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import affine, asked_for, conv_images, convnet, distances
from tfrobust.attacks import BIM, FGSM, MIFGSM, PGD

SHAPE = (3, 4, 2)


def cross_entropy_gradient(model, images, labels):
    """`W (p - e_y)` in float64."""
    logits = model.logits(images)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(p)), labels] -= 1.0
    return (p @ model.weights.T).reshape(np.shape(images))


def case(count=6):
    """Images on and off the faces of the box, labelled as the model answers."""
    model = affine(4, SHAPE, lead=0.0)
    images = np.clip(
        np.random.default_rng(1).uniform(-0.2, 1.2, (count, *SHAPE)), 0, 1
    ).astype(np.float32)
    return model, images, np.argmax(model.logits(images), axis=1)


@pytest.mark.parametrize("targeted", [False, True])
def test_fgsm_is_one_signed_step(targeted):
    """`x + eps sign(g)`, clipped; towards a target against the gradient."""
    model, images, labels = case()
    eps = 0.03
    if targeted:
        targets = (labels + 1) % 4
        slope = -cross_entropy_gradient(model, images, targets)
    else:
        targets, slope = None, cross_entropy_gradient(model, images, labels)
    expected = np.clip(images + eps * np.sign(slope), 0.0, 1.0)
    result = FGSM(eps=eps)(model, images, labels, targets)
    np.testing.assert_allclose(result.adversarial, expected, atol=1e-6)
    adversarial = FGSM(eps=eps).perturb(model, images, labels, targets)
    np.testing.assert_allclose(adversarial, expected, atol=1e-6)


def test_fgsm_in_l2_is_one_step_along_the_gradient():
    """Of what does not push pixels out of the box where they stand."""
    model, images, labels = case()
    images = np.clip(images, 0.2, 0.8)
    labels = np.argmax(model.logits(images), axis=1)
    slope = cross_entropy_gradient(model, images, labels)
    length = np.linalg.norm(slope.reshape(len(slope), -1), axis=1)
    expected = images + 0.15 * slope / length[:, None, None, None]
    result = FGSM(eps=0.15, norm=2)(model, images, labels)
    np.testing.assert_allclose(result.adversarial, expected, atol=1e-6)


@pytest.mark.parametrize("norm", [1, 2, "inf"])
def test_fgsm_reaches_the_edge_of_any_ball(norm):
    """Also where the call brings another radius than the attack's."""
    images, labels = conv_images(4)
    images = np.clip(images, 0.3, 0.7)
    labels = np.argmax(convnet()(images, training=False), axis=-1)
    attack = FGSM(eps=0.01, norm=norm)
    radii = np.array([0.005, 0.01, 0.05, 0.2], np.float32)
    adversarial = attack.perturb(convnet(), images, labels, eps=radii)
    np.testing.assert_allclose(distances(images, adversarial, norm), radii, rtol=1e-4)


def bim(model, images, labels, eps, steps, size):
    """Kurakin et al. 2017 in float64: steps along the sign, clipped to both."""
    start = np.asarray(images, np.float64)
    point = start.copy()
    for _ in range(steps):
        slope = np.sign(cross_entropy_gradient(model, point, labels))
        point = np.clip(point + size * slope, start - eps, start + eps)
        point = np.clip(point, 0.0, 1.0)
    return point


@pytest.mark.parametrize("size", [0.013, None])
def test_bim_is_a_loop(size):
    """The cross-entropy of an affine model is convex, so it only climbs."""
    model, images, labels = case()
    attack = BIM(eps=0.04, steps=5, step_size=size, early_stop=False)
    expected = bim(model, images, labels, 0.04, 5, size or 2 * 0.04 / 5)
    adversarial = attack.perturb(model, images, labels)
    np.testing.assert_allclose(adversarial, expected, atol=1e-6)
    np.testing.assert_allclose(
        attack(model, images, labels).adversarial, expected, atol=1e-6
    )


def test_mifgsm_adds_up_normalized_gradients():
    """Three steps of algorithm 1 of Dong et al. 2018, written out."""
    model, images, labels = case()
    images = np.clip(images, 0.2, 0.8)  # nothing is clipped to the box
    labels = np.argmax(model.logits(images), axis=1)
    attack = MIFGSM(eps=0.1, steps=3, step_size=0.03, early_stop=False)

    def normed(point):
        slope = cross_entropy_gradient(model, point, labels)
        return slope / np.abs(slope).sum(axis=(1, 2, 3), keepdims=True)

    first = normed(images)
    first_step = images + 0.03 * np.sign(first)
    second = 1.0 * first + normed(first_step)
    two = first_step + 0.03 * np.sign(second)
    third = 1.0 * second + normed(two)
    three = two + 0.03 * np.sign(third)
    adversarial = attack.perturb(model, images, labels)
    np.testing.assert_allclose(adversarial, three, atol=1e-6)
    # The plain method goes elsewhere, or this would show nothing.
    plain = BIM(eps=0.1, steps=3, step_size=0.03, early_stop=False)
    assert np.abs(plain.perturb(model, images, labels) - three).max() > 0.02


@pytest.mark.parametrize(
    ("attack", "same"),
    [
        (
            BIM(eps=0.05, steps=4, loss="margin"),
            PGD(norm="inf", eps=0.05, steps=4, loss="margin", random_start=False),
        ),
        (
            MIFGSM(eps=0.4, norm=2, steps=4, momentum=0.7),
            PGD(norm=2, eps=0.4, steps=4, momentum=0.7, random_start=False),
        ),
    ],
)
def test_they_are_projected_gradient_descent_by_other_names(attack, same):
    """To the last bit, threat and score included."""
    images, labels = conv_images(4)
    result, expected = (a(convnet(), images, labels) for a in (attack, same))
    np.testing.assert_array_equal(result.adversarial, expected.adversarial)
    assert attack.threat == same.threat
    assert not attack.for_training().early_stop
    assert dataclasses.replace(attack, early_stop=False) == attack.for_training()


def test_fgsm_without_a_radius_does_nothing():
    """A radius of 0 is no error."""
    model, images, labels = case()
    result = FGSM(eps=0.0)(model, images, labels)
    np.testing.assert_array_equal(result.adversarial, images)
    assert not tf.reduce_any(result.success)


def test_divergences_are_no_loss_of_a_single_gradient():
    """Their gradient is 0 at the image, where these attacks start."""
    for attack in (FGSM, BIM, MIFGSM):
        with pytest.raises(ValueError, match="`loss` must be a Keras loss or o.*Rec"):
            attack(eps=0.1, loss="kl")


def test_fgsm_asks_no_more_than_it_must():
    """One gradient for all; the step judged on those that are right; of images of 8
    bits and a radius of whole levels nothing is rounded, so that is not asked at all.
    """
    rows = []
    model = asked_for(rows)
    levels = np.full(64, 140)
    levels[:32] = 20  # wrong
    images = np.ones((64, *SHAPE)) * (levels / 255)[:, None, None, None]
    images = images.astype(np.float32)
    FGSM(eps=8 / 255)(model, images, np.zeros(64, int))
    rows.clear()
    result = FGSM(eps=8 / 255)(model, images, np.zeros(64, int))
    assert sum(rows) == 64 + 32 + 8  # a network is never given an empty batch
    np.testing.assert_array_equal(result.success_rounded, result.success)
    rows.clear()
    FGSM(eps=8.5 / 255)(model, images, np.zeros(64, int))
    assert sum(rows) == 64 + 32 + 32
