"""Images moved as far as closed forms say, and who recognises them, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import (
    CLASSES,
    CONV_SHAPE,
    affine,
    brightness,
    conv_images,
    convnet,
    distances,
    gray,
)
from tfrobust import attacks
from tfrobust.analysis import Agreement, agreement, towards_classes

SHAPE = (3, 4, 2)


def images(count, shape=SHAPE, seed=2):
    return np.random.default_rng(seed).random((count, *shape), np.float32)


@pytest.mark.parametrize("run", ["towards", "agreement"])
def test_one_graph_for_all_batches_and_calls(run):
    """As many calls in Python over four batches, the last one smaller, as over one.

    And none more in a second call.
    """

    def calls(batch_size, times=1):
        model, shown = affine(3, SHAPE), images(7)
        for _ in range(times):
            if run == "towards":
                towards_classes(
                    model, shown, eps=1, steps=2, classes=3, batch_size=3 * batch_size
                )
            else:
                moved = np.repeat(shown[:, None], 3, axis=1)
                agreement(model, moved, batch_size=3 * batch_size)
        return model.calls

    assert calls(2) == calls(7) == calls(3, times=2) > 0


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("norm", [2, "inf"])
def test_two_classes_are_reached_along_the_normal(norm, batch_size):
    """`x +- eps n`, whatever class the image was in; the box is far away."""
    model, eps = affine(2, SHAPE), 0.2
    shown = 0.5 + 0.1 * (images(3) - 0.5)
    normal = (model.weights[:, 1] - model.weights[:, 0]).reshape(SHAPE)
    normal = np.sign(normal) if norm == "inf" else normal / np.linalg.norm(normal)
    found = towards_classes(
        model, shown, eps=eps, steps=2, classes=2, norm=norm, batch_size=batch_size
    )
    assert found.shape == (3, 2, *SHAPE) and found.dtype == np.float32
    expected = shown[:, None] + eps * np.stack([-normal, normal])
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert len(set(model.logits(shown).argmax(1))) == 1  # One of both is its own.


def test_is_the_targeted_attack_on_each_image_alone():
    """Of a network of three classes: PGD one by one, within the ball and the box."""
    network, (shown, answers) = convnet(), conv_images(4)
    found = towards_classes(
        network, shown, eps=3.0, steps=5, step_size=0.9, classes=3, batch_size=5
    )
    attack = attacks.PGD(norm=2, eps=3.0, steps=5, step_size=0.9, random_start=False)
    for row in range(4):
        for target in range(CLASSES):
            goal = np.array([target])
            alone = attack.perturb(network, shown[row : row + 1], goal, goal)[0]
            np.testing.assert_allclose(found[row, target], alone, atol=1e-4)
    flat = found.reshape(-1, *CONV_SHAPE)
    assert flat.min() >= 0 and flat.max() <= 1
    away = distances(np.repeat(shown, 3, axis=0), flat, 2)
    assert away.max() <= 3.0 + 1e-5 and away.min() > 1.0
    reached = agreement(network, found).reached()
    assert reached.all() and len(set(answers)) > 1


def test_agreement_counted_by_hand():
    """A judge that calls bright what has a mean above 1/2.

    Image 0 (dark) becomes dark and bright, image 1 (bright) bright and bright, image 2
    (dark) dark and dark.
    """
    levels = np.float32([[0.1, 0.9], [0.6, 0.8], [0.2, 0.3]])
    moved = np.tile(levels[:, :, None, None, None], [1, 1, 2, 3, 1])
    found = agreement(brightness, moved, batch_size=4)
    assert found.predicted.tolist() == [[0, 1], [1, 1], [0, 0]]
    # Shares of an image: 2/2, 1/2, 1/2.
    np.testing.assert_allclose(found.means()["reached"], (2 / 3, np.sqrt(1 / 12 / 3)))
    np.testing.assert_allclose([one.value for one in found.by_class()], [2 / 3] * 2)
    clean = gray(0.3, 0.7, 0.4)
    found = agreement(brightness, moved, clean=clean)
    assert found.counted.tolist() == [[False, True], [True, False], [False, True]]
    # Left are dark to bright (yes), bright to dark (no), dark to bright (no).
    np.testing.assert_allclose(found.means()["reached"], (1 / 3, 1 / 3))
    assert [one.value for one in found.by_class()] == [0.0, 0.5]


def test_errors_of_agreement_are_over_images():
    """In NumPy, of images of which a different number of classes counts, or none."""
    rng = np.random.default_rng(3)
    predicted, counted = rng.integers(0, 4, (9, 4)), rng.random((9, 4)) < 0.5
    counted[2] = False
    found = Agreement(predicted, counted)
    shares = [
        np.mean([predicted[i, t] == t for t in range(4) if counted[i, t]])
        for i in range(9)
        if counted[i].any()
    ]
    expected = (np.mean(shares), np.std(shares, ddof=1) / np.sqrt(len(shares)))
    np.testing.assert_allclose(found.means()["reached"], expected, rtol=1e-12)
    assert len(shares) < 9
    by_image = found.shares()
    np.testing.assert_allclose(by_image[counted.any(axis=1)], shares, rtol=1e-12)
    assert np.isnan(by_image[2])
    nothing = Agreement(predicted, np.zeros_like(counted)).means()["reached"]
    assert np.isnan(nothing.value)


def test_no_answer_is_no_agreement():
    """A judge whose logits are NaN says nothing, not class 0."""

    def silent(shown):
        return tf.stack([tf.reduce_mean(shown, [1, 2, 3]) * np.nan] * 2, axis=1)

    found = agreement(silent, np.full((2, 2, 1, 1, 1), 0.5, np.float32))
    assert found.means()["reached"].value == 0.0


def run_towards(**changes):
    arguments = {"eps": 1.0, "steps": 2, "classes": 3, **changes}
    return towards_classes(affine(3, SHAPE), images(2), **arguments)


def run_agreement(moved, **changes):
    return agreement(affine(3, SHAPE), moved, **changes)


MOVED = np.zeros((2, 3, *SHAPE), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: run_towards(classes=4),
            "`classes` must be 3, the model's number. Received: classes=4",
        ),
        (
            lambda: run_towards(steps=0),
            "`steps` must be an integer of at least 1. Received: steps=0",
        ),
        (lambda: run_towards(norm=3), '`norm` must be 1, 2 or "inf". Received: norm=3'),
        (
            lambda: run_agreement(MOVED[0]),
            "`modified` must have shape [N, K, H, W, C]. Received: shape=(3, 3, 4, 2)",
        ),
        (
            lambda: run_agreement(MOVED[:, :2]),
            "`judge` must tell the 2 classes of `modified` apart. Received: a judge of "
            "3 classes",
        ),
        (
            lambda: run_agreement(MOVED, clean=MOVED[:1, 0]),
            "`clean` must have shape (2, 3, 4, 2), as `modified` says. Received: "
            "shape=(1, 3, 4, 2)",
        ),
        (
            lambda: run_agreement(MOVED - 1),
            "`modified` must lie in [0, 1], or `bounds` must say where. Received: "
            "values from -1 to -1",
        ),
        (
            lambda: Agreement(np.zeros((2, 3)), np.ones((2, 2))),
            "`predicted` and `counted` must have one shape [N, K]. Received: shapes "
            "(2, 3) and (2, 2)",
        ),
    ],
)
def test_what_is_wrong_is_said(call, message):
    """One sentence each."""
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value).startswith(message)
