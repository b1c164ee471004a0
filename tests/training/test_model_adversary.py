"""Training on adversarial examples: all of a batch, or a share of it."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.common import (
    CLASSES,
    convolutional,
    derived_step,
    linear,
    sgd,
    some_data,
    weights_of,
)
from tfrobust import attacks
from tfrobust.training import RobustModel


@pytest.mark.parametrize("jit_compile", [False, True])
def test_an_adversary_takes_the_place_of_the_clean_images(jit_compile):
    """The loss of a step is that at the perturbed images."""
    images, labels = some_data()
    attack = attacks.PGD(norm="inf", eps=0.1, steps=3, random_start=False)
    model = linear(
        optimizer=keras.optimizers.SGD(0.0), adversary=attack, jit_compile=jit_compile
    )
    found = attack.perturb(model.network, images, labels).numpy()
    weights = model.network.get_weights()
    _, clean = derived_step(weights, images, labels, 0.0, 0.0)
    _, perturbed = derived_step(weights, found, labels, 0.0, 0.0)
    history = model.fit(images, labels, 10, shuffle=False, verbose=0).history
    np.testing.assert_allclose(history["loss"], [perturbed["loss"]], rtol=1e-4)
    assert perturbed["loss"] > 1.05 * clean["loss"]


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    ("share", "attacked"), [(0.5, 5), (0.3, 3), (0.25, 2), (0.96, 10), (0.01, 1)]
)
def test_an_adversary_takes_its_share_of_the_batch(share, attacked, jit_compile):
    """The step is that of NumPy on `round(share * 10)` perturbed rows and the clean
    rest; half a row goes to the even number, and one row at least is attacked.
    """
    images, labels = some_data()
    attack = attacks.FGSM(norm="inf", eps=0.1)
    model = linear(
        optimizer=keras.optimizers.SGD(0.5),
        adversary=attack,
        adversary_share=share,
        jit_compile=jit_compile,
    )
    weights = model.network.get_weights()
    # One step to the corner of the ball that the sign of W (p - onehot) names.
    kernel, bias = (np.float64(weight) for weight in weights)
    odds = np.exp(images.reshape(10, -1) @ kernel + bias)
    residual = odds / odds.sum(1, keepdims=True) - np.eye(CLASSES)[labels]
    sign = np.sign(residual @ kernel.T).reshape(images.shape)
    mixed = np.float64(images)
    mixed[:attacked] = np.clip(images + 0.1 * sign, 0, 1)[:attacked]
    expected, values = derived_step(weights, mixed, labels, 0.5, 0.0)
    history = model.fit(images, labels, 10, shuffle=False, verbose=0).history
    np.testing.assert_allclose(history["loss"], [values["loss"]], rtol=1e-5)
    for a, b in zip(model.network.get_weights(), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_clean_rows_cost_the_adversary_nothing():
    """It is run on its share alone, anew for every batch, the shorter last one too."""
    seen = []

    class Rows:
        """Notes the sizes of what it is given, and leaves the images alone."""

        def perturb(self, model, images, labels):
            seen.append((int(images.shape[0]), int(labels.shape[0])))
            return images

    images, labels = some_data(10)
    model = linear(adversary=Rows(), adversary_share=0.5, run_eagerly=True)
    model.fit(images, labels, 4, shuffle=False, verbose=0)
    assert seen == [(2, 2), (2, 2), (1, 1)]


@pytest.mark.parametrize("settings", [{}, {"jit_compile": True}])
def test_the_share_is_the_same_of_known_and_unknown_batch_sizes(settings):
    """Weights and losses after two epochs of three batches."""
    found = []
    for static in (True, False):
        batches = tf.data.Dataset.from_tensor_slices(some_data(21))
        batches = batches.batch(7, drop_remainder=static)
        assert batches.element_spec[0].shape[0] == (7 if static else None)
        model = linear(
            optimizer=sgd(),
            adversary=attacks.FGSM(eps=0.1),
            adversary_share=0.6,
            **settings,
        )
        history = model.fit(batches, epochs=2, shuffle=False, verbose=0).history
        found.append([*weights_of(model), np.array(history["loss"])])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_share_of_one_is_the_whole_batch():
    """In every bit what training without the argument gives."""
    found, attack = [], attacks.PGD(norm=2, eps=0.1, steps=2)
    for settings in ({}, {"adversary_share": 1}, {"adversary_share": 0.999}):
        model = RobustModel(convolutional())
        model.compile(sgd(), adversary=attack, **settings)
        images, labels = some_data(12, (6, 5, 2))
        model.fit(images, labels, 6, epochs=2, shuffle=False, verbose=0)
        found.append(weights_of(model))
    for one, other, nearly in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
        # 0.999 of 6 rows are 6 rows as well, cut out and put together again.
        np.testing.assert_allclose(nearly, one, rtol=1e-4, atol=1e-6)


TWO_REPLICAS = """
import sys
import keras, numpy as np, tensorflow as tf
from tfrobust import attacks, training

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
given = np.load(sys.argv[1])
with training.make_strategy("mirrored").scope():
    network = keras.Sequential(
        [keras.Input((2, 3, 2)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    network.set_weights([given["kernel"], given["bias"]])
    model = training.RobustModel(network)
    model.compile(
        keras.optimizers.SGD(0.5), adversary=attacks.FGSM(eps=0.1), adversary_share=0.5
    )
batch = tf.data.Dataset.from_tensor_slices((given["images"], given["labels"]))
model.fit(batch.batch(8, drop_remainder=True), shuffle=False, verbose=0)
np.savez(sys.argv[2], *network.get_weights())
"""


@pytest.mark.slow
def test_each_replica_takes_the_share_of_its_own_rows(tmp_path):
    """Two replicas of four rows attack the first two each: the step of one device on
    the same mix, made beforehand.
    """
    images, labels = some_data(8)
    attack = attacks.FGSM(eps=0.1)
    model = linear(optimizer=keras.optimizers.SGD(0.5))
    kernel, bias = model.network.get_weights()
    given = {"images": images, "labels": labels, "kernel": kernel, "bias": bias}
    np.savez(tmp_path / "given.npz", **given)
    files = [str(tmp_path / name) for name in ("given.npz", "found.npz")]
    command = [sys.executable, "-c", TWO_REPLICAS, *files]
    subprocess.run(command, check=True, timeout=300)
    mixed = images.copy()
    attacked = [0, 1, 4, 5]
    mixed[attacked] = attack.perturb(model.network, images[attacked], labels[attacked])
    expected, _ = derived_step((kernel, bias), mixed, labels, 0.5, 0.0)
    found = np.load(tmp_path / "found.npz")
    for name, value in zip(found.files, expected, strict=True):
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, float("nan")])
def test_a_share_is_above_zero_and_at_most_one(share):
    """Nothing else is a share."""
    with pytest.raises(ValueError) as caught:
        linear(adversary=attacks.FGSM(eps=0.1), adversary_share=share)
    assert str(caught.value) == (
        "`adversary_share` must be above 0 and at most 1. "
        f"Received: adversary_share={share}"
    )


def test_a_share_of_no_adversary_is_refused():
    """It would silently do nothing."""
    with pytest.raises(ValueError) as caught:
        linear(adversary_share=0.5)
    assert str(caught.value) == (
        "`adversary_share` must be 1 without an adversary. "
        "Received: adversary_share=0.5, adversary=None"
    )


def test_an_adversary_is_an_attack():
    """Something else is refused before training starts."""
    with pytest.raises(ValueError) as caught:
        linear(adversary="pgd")
    assert str(caught.value) == (
        "`adversary` must be an attack from `tfrobust.attacks`. "
        "Received: adversary='pgd'"
    )
