"""Results that are kept are taken of the same model alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import conv_images, convnet
from tests.seeds import set_seeds
from tfrobust import models
from tfrobust.attacks import FGSM, BlackBox, HopSkipJump, evaluate

EPS = 0.1


def robust(model, folder, attack=None, labels=None):
    """The robust accuracy, and how many batches were new to the folder."""
    images, answers = conv_images(12)
    labels = answers if labels is None else labels
    before = set(folder.glob("*.npz"))
    attacks = {"a": attack or FGSM(eps=EPS)}
    found = evaluate(model, (images, labels), attacks, folder=folder)
    probes = [file for file in {*folder.glob("*.npz")} - before if "-" in file.name]
    new = len({*folder.glob("*.npz")} - before) - len(probes)
    return found.robust_accuracy().value, new


def test_the_same_model_is_known_again(tmp_path):
    """A copy of equal weights too, in another process or not."""
    left, new = robust(convnet(), tmp_path)
    assert new == 1
    twin = keras.models.clone_model(convnet())
    twin.set_weights(convnet().get_weights())
    assert robust(twin, tmp_path) == (left, 0)


def test_weights_that_change_no_answer_here_make_another_model(tmp_path):
    """The last bit of one of them is enough."""
    robust(convnet(), tmp_path)
    other = keras.models.clone_model(convnet())
    weights = convnet().get_weights()
    weights[0] = np.nextafter(weights[0], np.float32(9))
    other.set_weights(weights)
    assert robust(other, tmp_path)[1] == 1


def test_a_gradient_that_is_put_right_makes_another_model(tmp_path):
    """The very same answers, robust for want of gradients at first."""

    weights = tf.constant(np.random.default_rng(0).normal(size=(60, 3)), tf.float32)

    def plain(images):
        return tf.reshape(images, [-1, 60]) @ weights

    @tf.custom_gradient
    def without(images):
        def slope(upstream):
            return tf.zeros_like(images) + 0.0 * tf.reduce_sum(upstream)

        return plain(images), slope

    labels = np.argmax(plain(conv_images(12)[0]), axis=-1)
    with pytest.warns(UserWarning, match="gradients of exactly 0"):
        hidden, _ = robust(without, tmp_path, labels=labels)
    shown, new = robust(plain, tmp_path, labels=labels)
    assert new == 1 and shown < hidden


def test_other_bounds_make_another_model(tmp_path):
    """The same network of pixels in [-3, 3] and in [0, 1]."""
    wide = models.Classifier(convnet(), bounds=(-3, 3))
    narrow = models.Classifier(convnet(), bounds=(0, 1))
    assert robust(wide, tmp_path)[1] == 1
    assert robust(narrow, tmp_path)[1] == 1


def test_small_logits_are_compared_as_large_ones_are(tmp_path):
    """Scaled by 1e-5 and turned around."""

    def small(sign):
        return lambda x: sign * 1e-5 * convnet()(x, training=False)

    assert robust(small(1.0), tmp_path)[1] == 1
    assert robust(small(-1.0), tmp_path)[1] == 1


def test_black_boxes_are_known_by_their_key(tmp_path):
    """Two that agree on every image here would else be one."""
    attack = HopSkipJump(queries=20, first_probes=4)

    def box(**settings):
        def ask(images):
            return np.argmax(convnet()(images, training=False), axis=-1)

        return BlackBox(ask, classes=3, answers="classes", **settings)

    one = box(key="v1")
    assert robust(one, tmp_path, attack)[1] == 1
    again, other, nameless = box(key="v1"), box(key="v2"), box()
    assert robust(again, tmp_path, attack)[1] == 0
    assert robust(other, tmp_path, attack)[1] == 1
    with pytest.raises(ValueError, match="give the BlackBox a `key`"):
        robust(nameless, tmp_path, attack)


def test_random_answers_are_kept_of_networks_alone(tmp_path):
    """Known by their weights; of a function nothing is kept."""
    set_seeds(0)
    network = keras.Sequential([keras.Input((6, 5, 2)), Noise(), convnet()])
    with pytest.warns(UserWarning, match="answers at random"):
        assert robust(network, tmp_path)[1] == 1
    assert robust(network, tmp_path)[1] == 0

    def noisy(images):
        return network(images, training=False)

    with pytest.warns(UserWarning, match="answers at random"):
        assert robust(noisy, tmp_path)[1] == 1
    assert robust(noisy, tmp_path)[1] == 1


class Noise(keras.layers.Layer):
    """Adds noise, in inference too."""

    def call(self, images):
        """Another draw each time."""
        return images + tf.random.normal(tf.shape(images), stddev=0.1)
