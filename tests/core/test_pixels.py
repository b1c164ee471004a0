"""The range of pixels: what networks say of it, and what it changes: nothing."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrobust import attacks, models
from tfrobust.core.images import pixels_in
from tfrobust.core.pixels import BYTES, UNIT, bounds_of, check_bounds
from tfrobust.core.unit_network import UnitNetwork
from tfrobust.training import RobustModel

SHAPE = (4, 3, 2)
kl = keras.layers


def network(*first, dtype="float32"):
    layers = [keras.Input(SHAPE, dtype=dtype), *first, kl.Flatten(), kl.Dense(3)]
    return keras.Sequential(layers)


@pytest.mark.parametrize(
    ("first", "bounds"),
    [
        ([], UNIT),
        ([kl.Rescaling(1 / 255)], BYTES),
        ([kl.Rescaling(1 / 127.5, offset=-1)], BYTES),
        ([kl.Rescaling(2.0, offset=-1.0)], UNIT),
        ([kl.Rescaling([0.003921, 0.0039216])], BYTES),
        ([kl.RandomFlip(), kl.CenterCrop(2, 2), kl.Rescaling(1 / 255)], BYTES),
        ([keras.Sequential([kl.Rescaling(1 / 255)])], BYTES),
        ([kl.Normalization(mean=[120.0, 110.0], variance=[3e3, 3e3])], BYTES),
        ([kl.Normalization(mean=[0.5, 0.4], variance=[0.1, 0.1])], UNIT),
        ([kl.Conv2D(2, 1), kl.Rescaling(1 / 255)], UNIT),
    ],
)
def test_bounds_are_read_off_the_first_layers(first, bounds):
    made = network(*first)
    assert bounds_of(made) == bounds_of(RobustModel(made)) == bounds
    assert bounds_of(made, (-1, 1)) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("arithmetic", "bounds"),
    [
        (lambda x: x / 255.0, BYTES),
        (lambda x: x * (1 / 255), BYTES),
        (lambda x: x / 127.5 - 1.0, BYTES),
        (lambda x: x[..., ::-1] - 110.0, BYTES),
        (lambda x: (x - 0.5) / 0.25, UNIT),
        (lambda x: x * 2.0, UNIT),
        (lambda x: x + x, UNIT),
        (keras.applications.mobilenet_v2.preprocess_input, BYTES),
        (keras.applications.resnet.preprocess_input, BYTES),
        (keras.applications.efficientnet.preprocess_input, UNIT),
    ],
)
def test_bounds_are_read_off_arithmetic(arithmetic, bounds):
    """As Keras's tutorials have it, before the first layer."""
    image = keras.Input((4, 4, 3))
    outputs = kl.Dense(3)(kl.Flatten()(arithmetic(image)))
    assert bounds_of(keras.Model(image, outputs)) == bounds


def test_a_layer_without_a_configuration_is_passed_by():
    """Then layers alone say something, operations nothing."""

    class Own(kl.Layer):
        def __init__(self, dense):
            super().__init__()
            self.dense = dense

        def call(self, x):
            return self.dense(x)

    for first, bounds in ((lambda x: x / 255.0, UNIT), (kl.Rescaling(1 / 255), BYTES)):
        image = keras.Input((4, 4, 3))
        made = keras.Model(image, Own(kl.Dense(3))(kl.Flatten()(first(image))))
        assert bounds_of(made) == bounds


def test_what_takes_images_in_units_has_no_other_bounds():
    unit = UnitNetwork(network(), BYTES)
    assert bounds_of(unit) == bounds_of(unit, (0, 1)) == UNIT
    with pytest.raises(ValueError, match="`bounds` must be \\(0, 1\\), or None, for"):
        bounds_of(unit, (0, 255))


def test_a_network_of_integers_takes_bytes():
    assert bounds_of(network(kl.Rescaling(2.0), dtype="uint8")) == BYTES


def test_the_model_around_a_network_says_it():
    """A `RobustModel` or `Classifier`; what is around that has the same."""
    made = network()
    for kind in (RobustModel, models.Classifier):
        assert bounds_of(kind(made, bounds=(-1, 1))) == (-1.0, 1.0)
        assert bounds_of(RobustModel(kind(made, bounds=(-1, 1)))) == (-1.0, 1.0)


@pytest.mark.parametrize("bounds", [(1, 0), (0, 0), (0, np.inf), 255, (0, 1, 2), "ab"])
def test_bounds_are_two_numbers_in_rising_order(bounds):
    with pytest.raises(ValueError, match="`bounds` must be two numbers, the least"):
        check_bounds(bounds)


def test_bytes_come_back_exactly():
    """Those that nothing changed; others within the bounds."""
    given = tf.reshape(tf.range(256.0), [1, 16, 16, 1])
    pixels = pixels_in(given, bounds=BYTES)
    np.testing.assert_array_equal(pixels.restored(pixels.images), given)
    moved = pixels.restored(tf.minimum(pixels.images + 1 / 255, 1.0))
    np.testing.assert_allclose(moved, np.minimum(given + 1, 255), rtol=1e-6)
    assert float(tf.reduce_max(moved)) == 255.0


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([0.0, 256.0], "`images` must lie in [0, 255], their bounds. Received: "),
        ([0.0, np.nan], "`images` must lie in [0, 255], their bounds. Received: "),
        ([0.0, 0.5], "`images` must be in the range of the model's pixels, [0, 255]"),
    ],
)
def test_images_outside_of_the_bounds_are_refused(values, sentence):
    """Also those in [0, 1] for a network of bytes, unless somebody said so."""
    made = network(kl.Rescaling(1 / 255))
    images = np.resize(np.float32(values), (2, *SHAPE))
    with pytest.raises(ValueError) as caught:
        attacks.FGSM(eps=0.1)(made, images, [0, 1])
    assert str(caught.value).startswith(sentence)
    with pytest.raises(ValueError) as caught:
        attacks.evaluate(made, (images, [0, 1]), {"a": attacks.FGSM(eps=0.1)})
    assert str(caught.value).startswith(sentence)


@pytest.mark.slow
def test_an_attack_is_the_same_in_any_range():
    """On the network, on that behind a rescaling, and on integers."""
    plain, behind = network(), network(kl.Rescaling(1 / 255))
    behind.set_weights(plain.get_weights())
    given = np.random.default_rng(0).integers(0, 256, (8, *SHAPE)).astype(np.uint8)
    labels = np.argmax(plain(given / 255.0), axis=1)
    for attack in (
        attacks.PGD(norm="inf", eps=8 / 255, steps=5),
        attacks.DDN(steps=5),
    ):
        expected = attack(plain, np.float32(given / 255.0), labels)
        for result in (
            attack(behind, given, labels),
            attack(models.Classifier(behind, bounds=(0, 255)), given, labels),
        ):
            np.testing.assert_array_equal(result.success, expected.success)
            np.testing.assert_allclose(
                result.distortion, expected.distortion, atol=2e-6
            )
            np.testing.assert_allclose(
                result.adversarial, 255 * expected.adversarial, atol=1e-3
            )
    attack = attacks.FGSM(eps=2 / 255)
    whole = attacks.evaluate(behind, (given, labels), {"a": attack}, bounds=(0, 255))
    assert (
        whole.robust_accuracy()
        == attacks.evaluate(
            plain, (np.float32(given / 255.0), labels), {"a": attack}
        ).robust_accuracy()
    )


def test_a_network_in_units_shares_the_weights():
    """And trains, answers and counts as the network."""
    made = network(kl.Rescaling(1 / 255))
    unit = UnitNetwork(made, BYTES)
    assert unit.output_shape == (None, 3) and unit.input_shape == (None, *SHAPE)
    assert [w.path for w in unit.weights] == [w.path for w in made.weights]
    images = np.random.default_rng(0).random((2, *SHAPE), np.float32)
    np.testing.assert_allclose(unit(images), made(255 * images), rtol=1e-5, atol=1e-6)
