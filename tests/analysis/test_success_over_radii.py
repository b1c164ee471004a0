"""The least distorted success: in closed form, by NumPy, and from a table."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.analysis.results import result
from tests.attacks.common import (
    CONV_SHAPE,
    affine,
    brightness,
    conv_images,
    convnet,
    distances,
    gray,
)
from tfrobust.analysis import (
    smallest_success,
    smallest_successes,
)
from tfrobust.attacks import (
    BIM,
    DDN,
    FGSM,
    PGD,
)


def binary():
    """Two classes: the gradient of every loss is along the normal."""
    return affine(2, CONV_SHAPE)


@functools.cache
def near_gray(count=6):
    """Images at various distances from the boundary, far from the box; one wrong."""
    rng = np.random.default_rng(5)
    images = 0.5 + 0.08 * rng.normal(size=(count, *CONV_SHAPE))
    images = np.clip(images, 0.3, 0.7).astype(np.float32)
    labels = np.argmax(binary().logits(images), axis=1)
    labels[2] = 1 - labels[2]
    return images, labels


@pytest.mark.parametrize("early_stop", [False, True])
@pytest.mark.parametrize("norm", [2, "inf"])
def test_finds_the_first_radius_beyond_the_closed_form_boundary(norm, early_stop):
    """Distance `|margin| / ||w_0 - w_1||` in the dual norm; none beyond the grid."""
    model, (images, labels) = binary(), near_gray()
    logits = model.logits(images)
    normal = model.weights[:, 0] - model.weights[:, 1]
    dual = np.linalg.norm(normal, ord={2: 2, "inf": 1}[norm])
    boundary = np.abs(logits[:, 0] - logits[:, 1]) / dual
    radii = np.quantile(boundary, [0.15, 0.5, 0.7, 0.3]) * 1.001
    attack = FGSM(eps=1.0, norm=norm)
    found = smallest_success(
        attack, model, images, labels, radii, early_stop=early_stop
    )
    assert found.already.numpy().tolist() == [False, False, True, False, False, False]
    reached = 0
    for index, distance in enumerate(boundary):
        beyond = sorted(radius for radius in radii if radius > distance)
        if index == 2:
            assert found.success[2] and found.distortion[2] == 0
        elif beyond:
            reached += 1
            assert found.success[index]
            assert float(found.distortion[index]) == pytest.approx(beyond[0], rel=1e-4)
        else:
            assert not found.success[index]
            assert float(found.distortion[index]) == pytest.approx(min(radii), rel=1e-4)
    assert 2 <= reached <= 4


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("norm", [None, 2])
def test_is_the_minimum_over_separate_attacks(norm, rounded):
    """By NumPy over all radii, of the attack called on each alone."""
    images, labels = conv_images(6)
    labels[1] = (labels[1] + 1) % 3
    attack = BIM(eps=1.0, steps=3, step_size=None)
    radii = [0.2, 0.02, 0.08]
    found = smallest_success(
        attack, convnet(), images, labels, radii, norm=norm, rounded=rounded
    )
    suffix = "_rounded" if rounded else ""
    smallest = np.full(6, np.inf)
    for radius in radii:
        alone = attack(convnet(), images, labels, eps=radius)
        adversarial = np.asarray(alone.adversarial)
        if rounded:
            adversarial = np.round(adversarial * 255.0) / 255.0
        moved = distances(images, adversarial, norm or "inf")
        success = np.asarray(getattr(alone, f"success{suffix}"))
        smallest = np.where(success, np.minimum(smallest, moved), smallest)
    broken = ~np.asarray(found.already) & np.isfinite(smallest)
    assert 2 <= np.sum(broken) and np.asarray(found.already).tolist()[1]
    counted = ~np.asarray(found.already)
    success = np.asarray(getattr(found, f"success{suffix}"))
    np.testing.assert_array_equal(success[counted], broken[counted])
    distortion = np.asarray(getattr(found, f"distortion{suffix}"))
    np.testing.assert_allclose(distortion[broken], smallest[broken], rtol=1e-4)
    # The other fields are of the same image.
    direct = distances(images, found.adversarial, norm or "inf")
    np.testing.assert_allclose(found.distortion, direct, rtol=1e-4, atol=1e-6)


@dataclasses.dataclass
class Table:
    """Stands in for an attack: looks results up by label and radius, and counts."""

    rows: dict
    budget: float = 1.0
    asked: list = dataclasses.field(default_factory=list)

    def __call__(self, model, images, labels, targets=None, eps=None, bounds=None):
        labels = np.asarray(labels).tolist()
        self.asked.append((eps, labels, targets if targets is None else len(targets)))
        rows = [self.rows[label][eps] for label in labels]
        return result(
            [row[0] for row in rows],
            [row[1] for row in rows],
            [label == 3 for label in labels],
            rounded=([row[0] + 0.25 for row in rows], [row[2] for row in rows]),
        )


def table():
    """Image 0 comes nearer at the larger radius, 1 breaks late, 2 never, 3 is wrong.

    Rounding undoes what the small radius did to image 0.
    """
    return Table(
        {
            0: {1.0: (0.875, True, False), 2.0: (0.5, True, True)},
            1: {1.0: (1.0, False, False), 2.0: (1.5, True, True)},
            2: {1.0: (1.0, False, False), 2.0: (2.0, False, False)},
            3: {1.0: (0.0, True, True)},
        }
    )


def test_every_radius_is_tried_unless_told_otherwise():
    """A larger radius may give less distortion; who was wrong is not attacked again."""
    attack, images = table(), np.zeros((4, 1, 1, 1), np.float32)
    found = smallest_success(attack, None, images, [0, 1, 2, 3], [2.0, 1.0, 1.0])
    assert attack.asked == [(1.0, [0, 1, 2, 3], None), (2.0, [0, 1, 2], None)]
    assert found.success.numpy().tolist() == [True, True, False, True]
    assert found.distortion.numpy().tolist() == [0.5, 1.5, 1.0, 0.0]


def test_early_stop_leaves_broken_images_alone():
    """The first success stays, and only the others are attacked again."""
    attack, images = table(), np.zeros((4, 1, 1, 1), np.float32)
    found = smallest_success(
        attack, None, images, [0, 1, 2, 3], [1.0, 2.0], targets=[9] * 4, early_stop=True
    )
    assert attack.asked == [(1.0, [0, 1, 2, 3], 4), (2.0, [1, 2], 2)]
    assert found.distortion.numpy().tolist() == [0.875, 1.5, 1.0, 0.0]
    attack = table()
    smallest_success(attack, None, images[:2], [0, 3], [1.0, 2.0], early_stop=True)
    assert attack.asked == [(1.0, [0, 3], None)]


def test_early_stop_waits_for_a_success_that_survives_rounding():
    """Image 0 is broken at the small radius, but not once it was saved."""
    attack, images = table(), np.zeros((2, 1, 1, 1), np.float32)
    found = smallest_success(
        attack, None, images, [0, 1], [1.0, 2.0], early_stop=True, rounded=True
    )
    assert attack.asked == [(1.0, [0, 1], None), (2.0, [0, 1], None)]
    assert found.success_rounded.numpy().tolist() == [True, True]
    assert found.distortion_rounded.numpy().tolist() == [0.75, 1.75]
    assert found.distortion.numpy().tolist() == [0.5, 1.5]


def test_no_images_at_all():
    """An empty batch comes back empty."""
    images = np.zeros((0, 2, 3, 1), np.float32)
    found = smallest_success(
        FGSM(eps=1.0), brightness, images, np.zeros(0, int), [0.1, 0.2], norm=2
    )
    assert found.adversarial.shape == (0, 2, 3, 1) and found.distortion.shape == (0,)


@pytest.mark.parametrize("attack", [FGSM(eps=1.0), PGD(norm=2, eps=1.0, steps=3)])
def test_both_choices_are_those_made_one_by_one(attack):
    """As found and after rounding, each as `smallest_success` alone has it."""
    network = convnet()
    images, labels = conv_images(5)
    radii = [1.2 / 255, 0.02, 0.1, 0.4]
    found = smallest_successes(attack, network, images, labels, radii, norm=2)
    for one, rounded in zip(found, (False, True), strict=True):
        alone = smallest_success(
            attack, network, images, labels, radii, norm=2, rounded=rounded
        )
        for field, expected in zip(one, alone, strict=True):
            np.testing.assert_allclose(field, expected, atol=1e-6)
    assert np.asarray(found[0].success).any()


def test_both_choices_may_have_targets():
    """Each image reaches its own target, and is judged by it."""
    network, (images, labels) = convnet(), conv_images(6)
    targets = (labels + 1 + np.arange(6) % 2) % 3
    attack, radii = PGD(norm=2, eps=1.0, steps=3), [0.1, 0.5, 2.0, 3.0]
    found = smallest_successes(attack, network, images, labels, radii, targets=targets)
    untargeted = smallest_successes(attack, network, images, labels, radii)
    for one, other, rounded in zip(found, untargeted, (False, True), strict=True):
        alone = smallest_success(
            attack, network, images, labels, radii, targets=targets, rounded=rounded
        )
        for field, expected in zip(one, alone, strict=True):
            np.testing.assert_allclose(field, expected, atol=1e-6)
        success = np.asarray(one.success)
        answers = np.argmax(network(one.adversarial, training=False), axis=1)
        np.testing.assert_array_equal(success, answers == targets)
        answers = np.argmax(network(other.adversarial, training=False), axis=1)
        assert success.any() and np.any(answers != targets)


def test_rounding_may_choose_another_radius():
    """51.2 levels are beyond the boundary and 51 are not; 51.6 become 52, which are."""
    images = gray(51 / 255)
    boundary = 51.1 / 255

    def model(x):
        mean = tf.reduce_mean(x, axis=[1, 2, 3])
        return tf.stack([boundary - mean, mean - boundary], axis=-1)

    radii = [0.2 / 255, 0.6 / 255]
    found, rounded = smallest_successes(FGSM(eps=1.0), model, images, [0], radii)
    size = np.sqrt(np.prod(images.shape[1:])) / 255
    np.testing.assert_allclose(found.distortion, [0.2 * size], rtol=1e-3)
    assert not found.success_rounded[0] and rounded.success_rounded[0]
    np.testing.assert_allclose(rounded.distortion_rounded, [1.0 * size], rtol=1e-3)
    with pytest.raises(ValueError, match="`attack` must have a radius"):
        smallest_successes(DDN(), model, images, [0], radii)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: smallest_success(DDN(), brightness, gray(0.4), [0], [0.1]),
            "`attack` must have a radius. Received: DDN, which looks for the smallest "
            "perturbation by itself",
        ),
        (
            lambda: smallest_success(FGSM(eps=1.0), brightness, gray(0.4), [0], []),
            "`eps` must hold finite numbers above 0. Received: eps=[]",
        ),
        (
            lambda: smallest_success(
                FGSM(eps=1.0), brightness, gray(0.4), [0], [0.1, 0.0]
            ),
            "`eps` must hold finite numbers above 0. Received: eps=[0.0, 0.1]",
        ),
    ],
)
def test_what_is_wrong_is_said(call, message):
    """One sentence each."""
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message
