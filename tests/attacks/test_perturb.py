"""Perturbed images for adversarial training: no verdict, no side effects."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import SHAPE, Shift, brightness, gray
from tfrobust.attacks import FGSM, L2, PGD, Linf
from tfrobust.training import RobustModel


def test_failed_and_needless_attacks_are_kept():
    """Both images come back perturbed, where a call returns them clean."""
    # The first stays class 0 after a shift down; the second is wrong from the start.
    images, labels = gray(0.4, 0.7), [0, 0]
    attack = Shift(amount=-0.1)
    np.testing.assert_array_equal(attack(brightness, images, labels)[0], images)
    adversarial = attack.perturb(brightness, images, labels)
    np.testing.assert_allclose(adversarial, gray(0.3, 0.6), rtol=1e-6)


def test_misclassified_images_are_attacked_too():
    """One step of FGSM goes on from an image that is wrong already."""
    adversarial = FGSM(eps=0.125).perturb(brightness, gray(0.25, 0.75), [0, 0])
    np.testing.assert_allclose(adversarial, gray(0.375, 0.875), rtol=1e-6)
    attack = PGD(norm="inf", eps=0.125, steps=3)
    adversarial = attack.perturb(brightness, gray(0.25, 0.75), [0, 0])
    np.testing.assert_allclose(adversarial, gray(0.375, 0.875), rtol=1e-6)


def test_a_radius_for_each_image():
    """Adversarial training may draw them."""
    attack = PGD(norm="inf", eps=0.5, steps=3)
    images, eps = gray(0.25, 0.25), tf.constant([0.125, 0.0625])
    adversarial = attack.perturb(brightness, images, [0, 0], eps=eps)
    np.testing.assert_allclose(adversarial, gray(0.375, 0.3125), rtol=1e-6)


def test_a_search_that_overspends_is_projected():
    """Onto the budget, in its direction; a call would refuse it altogether."""
    adversarial = Shift(amount=0.4, eps=0.5).perturb(brightness, gray(0.4), [0])
    delta = adversarial - gray(0.4)
    np.testing.assert_allclose(L2().distance(delta), 0.5, rtol=1e-5)
    np.testing.assert_allclose(delta, np.full((1, *SHAPE), 0.5 / 6**0.5), rtol=1e-5)


def test_the_result_is_an_image():
    """Clipped to [0, 1], and clean where the search returns no number."""
    adversarial = Shift(amount=7.0).perturb(brightness, gray(0.4), [0])
    np.testing.assert_array_equal(adversarial, gray(1.0))
    adversarial = Shift(amount=float("nan")).perturb(brightness, gray(0.4), [0])
    np.testing.assert_array_equal(adversarial, gray(0.4))


def test_no_gradient_flows_through():
    """Training differentiates at the perturbed image, not through the search.

    Steps along a normalised gradient depend smoothly on the weights.
    """
    network, attack = convolutional(), PGD(norm=2, eps=0.1, steps=1, random_start=False)
    images, labels = some_images(3)
    images = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        adversarial = attack.perturb(network, images, labels)
    sources = [images, *network.trainable_variables]
    assert tape.gradient(adversarial, sources) == [None] * len(sources)


def test_targets_are_climbed_to():
    """PGD towards a class goes the other way than PGD away from it."""
    attack = PGD(norm="inf", eps=0.125, steps=2, random_start=False)
    away = attack.perturb(brightness, gray(0.25), [1])
    towards = attack.perturb(brightness, gray(0.25), [0], targets=[1])
    np.testing.assert_allclose(away, gray(0.125), rtol=1e-6)
    np.testing.assert_allclose(towards, gray(0.375), rtol=1e-6)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            np.zeros((2, *SHAPE), np.uint8),
            [0, 0],
            "`images` must be floating, with pixels in [0, 1]. Received: dtype=uint8",
        ),
        (
            gray(0.1, 0.2),
            [0.5, 1.0],
            "`labels` must be integers. Received: dtype=float32 with fractions",
        ),
    ],
)
def test_what_is_known_before_running_is_checked(images, labels, message):
    """Dtypes and shapes, as for a call."""
    with pytest.raises(ValueError) as caught:
        PGD(norm=2, eps=0.1).perturb(brightness, images, labels)
    assert str(caught.value) == message


def convolutional():
    """Batch norm first, so that its statistics tell which images came by."""
    return keras.Sequential(
        [
            keras.Input((6, 5, 2)),
            keras.layers.BatchNormalization(momentum=0.5),
            keras.layers.Conv2D(4, 3, activation="softplus"),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )


def some_images(count):
    random = np.random.default_rng(2)
    labels = random.integers(0, 3, count)
    images = random.random((count, 6, 5, 2), np.float32) * 0.4
    images[np.arange(count), labels] += 0.4  # one bright row: the class
    return images, labels


@pytest.mark.parametrize("norm", [2, "inf"])
def test_inside_a_graph_it_does_what_it_does_outside(norm):
    """Any batch size, within the budget, and the loss does go up."""
    network = convolutional()
    attack = PGD(norm=norm, eps=0.25, steps=3)
    constraint = L2() if norm == 2 else Linf()

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 6, 5, 2]),
            tf.TensorSpec([None], tf.int64),
        ]
    )
    def perturb(images, labels):
        return attack.perturb(network, images, labels)

    for count in (3, 5):
        images, labels = some_images(count)
        adversarial = perturb(images, labels)
        eager = attack.perturb(network, images, labels)
        np.testing.assert_allclose(adversarial, eager, atol=1e-5)
        assert np.all(constraint.distance(adversarial - images) <= 0.25 * (1 + 1e-6))
        assert np.min(adversarial) >= 0 and np.max(adversarial) <= 1
        losses = [
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels, network(x))
            for x in (images, adversarial)
        ]
        assert np.all(losses[1] > losses[0])


def test_a_training_step_sees_the_perturbed_images_once():
    """Batch-norm statistics move by one update, to the perturbed images' mean."""
    network = convolutional()
    attack = PGD(norm="inf", eps=0.2, steps=2)
    images, labels = some_images(8)
    adversarial = attack.perturb(network, images, labels).numpy()
    norm = network.layers[0]
    np.testing.assert_array_equal(norm.moving_mean, 0.0)
    model = RobustModel(network)
    model.compile(keras.optimizers.SGD(0.0), adversary=attack)
    model.fit(images, labels, batch_size=8, shuffle=False, verbose=0)
    expected = 0.5 * adversarial.mean((0, 1, 2))
    np.testing.assert_allclose(norm.moving_mean, expected, rtol=1e-5)
    assert np.max(np.abs(adversarial.mean((0, 1, 2)) - images.mean((0, 1, 2)))) > 1e-3


@pytest.mark.slow
def test_adversarial_training_lowers_the_adversarial_loss():
    """Below that of clean training from the same start, on the training images."""
    images, labels = some_images(48)
    attack = PGD(norm="inf", eps=0.15, steps=3)

    def adversarial_loss(adversary):
        keras.utils.set_random_seed(3)
        network = convolutional()
        model = RobustModel(network)
        model.compile(keras.optimizers.Adam(0.01), adversary=adversary)
        model.fit(images, labels, epochs=25, batch_size=16, verbose=0)
        adversarial = attack.perturb(network, images, labels)
        return model.evaluate(adversarial, labels, verbose=0, return_dict=True)["loss"]

    robust, clean = adversarial_loss(attack), adversarial_loss(None)
    assert robust < 0.7 * clean
