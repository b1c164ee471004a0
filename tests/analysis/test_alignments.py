"""Alignment against rows of weights."""

import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import CLASSES, CONV_SHAPE, affine, conv_images, convnet
from tfrobust import pag
from tfrobust.analysis import Alignment, alignment

SHAPE = (3, 4, 2)


class Towards(pag.Directions):
    """`r_t - x`, r_t random; shifted by an image's own `shift` where it is known."""

    def __init__(self, shape=SHAPE, classes=3):
        self.classes, self.image_shape = classes, shape
        self.targets = np.random.default_rng(1).random((classes, *shape), np.float32)

    def __call__(self, images, chosen, extras=None):
        found = tf.gather(self.targets, chosen) - images[:, None]
        shift = (extras or {}).get("shift")
        return found if shift is None else found + shift[:, None, None, None, None]


def images(count, shape=SHAPE, seed=2):
    return np.random.default_rng(seed).random((count, *shape), np.float32)


def cosines(gradients, directions):
    """Of `[N,K,...]` pairs in float64."""
    a, b = (
        np.asarray(v, np.float64).reshape(*np.shape(v)[:2], -1)
        for v in (gradients, directions)
    )
    return (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_gradients_of_an_affine_model_are_its_weights(batch_size):
    """The same for every image; a last batch that is smaller changes nothing."""
    model, directions, shown = affine(3, SHAPE), Towards(), images(7)
    found = alignment(model, shown, directions, batch_size=batch_size)
    rows = np.broadcast_to(model.weights.T, (7, 3, model.weights.shape[0]))
    expected = cosines(rows, directions.targets - shown[:, None].astype(np.float64))
    assert found.cosines.dtype == np.float32
    np.testing.assert_allclose(found.cosines, expected, atol=1e-6)


def test_what_is_known_of_each_image_reaches_the_directions():
    """Rows of `extras` go with their images through the batches."""
    model, directions, shown = affine(3, SHAPE), Towards(), images(5)
    shift = np.float32([0, -1, 2, 0.5, 3])
    extras = {"shift": shift, "unused": np.arange(5)}
    found = alignment(model, shown, directions, batch_size=2, extras=extras)
    rows = np.broadcast_to(model.weights.T, (5, 3, model.weights.shape[0]))
    wanted = directions.targets - shown[:, None] + shift[:, None, None, None, None]
    np.testing.assert_allclose(found.cosines, cosines(rows, wanted), atol=1e-6)


def test_gradients_of_a_network_image_by_image():
    """One tape for each image and class, batch norm and dropout at rest."""
    network, (shown, _) = convnet(), conv_images(4)
    directions = Towards(CONV_SHAPE, CLASSES)
    gradients = np.zeros((4, CLASSES, *CONV_SHAPE))
    for row in range(4):
        for label in range(CLASSES):
            one = tf.constant(shown[row : row + 1])
            with tf.GradientTape() as tape:
                tape.watch(one)
                logit = network(one, training=False)[0, label]
            gradients[row, label] = tape.gradient(logit, one)[0]
    found = alignment(network, shown, directions, batch_size=3)
    expected = cosines(gradients, directions.targets - shown[:, None])
    np.testing.assert_allclose(found.cosines, expected, atol=1e-5)
    assert np.abs(expected).max() > 0.05


def test_no_gradient_to_compare_is_0():
    """A class whose logit is constant."""

    def model(shown):
        level = tf.reduce_mean(shown, axis=[1, 2, 3])
        return tf.stack([level, 0.0 * level], axis=1)

    found = alignment(model, images(2), Towards(classes=2))
    assert found.cosines[:, 1].tolist() == [0, 0] and (found.cosines[:, 0] != 0).all()


def test_one_graph_for_all_batches():
    """As many calls in Python over four batches, the last one smaller, as over one."""

    def calls(batch_size):
        model = affine(3, SHAPE)
        alignment(model, images(7), Towards(), batch_size=batch_size)
        return model.calls

    assert calls(2) == calls(7) > 0


def test_means_of_cosines():
    """Errors are over images: an image's classes are not independent of each other."""
    values = np.random.default_rng(0).uniform(-1, 1, (6, 4)).astype(np.float32)
    found, wide = Alignment(values), values.astype(np.float64)
    by_image = wide.mean(axis=1)
    expected = (by_image.mean(), by_image.std(ddof=1) / np.sqrt(6))
    np.testing.assert_allclose(found.means()["cosine"], expected, rtol=1e-12)
    expected = np.stack([wide.mean(0), wide.std(0, ddof=1) / np.sqrt(6)], axis=1)
    np.testing.assert_allclose(found.by_class(), expected, rtol=1e-12)


def run_alignment(**changes):
    arguments = {
        "model": affine(3, SHAPE),
        "images": images(2),
        "directions": Towards(),
        **changes,
    }
    return alignment(**arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: run_alignment(images=images(2) + 1),
            "`images` must lie in [0, 1], or `bounds` must say where. Received: ",
        ),
        (
            lambda: run_alignment(images=images(0)),
            "`images` must hold at least one image. Received: none",
        ),
        (
            lambda: run_alignment(images=images(2)[0]),
            "`images` must have shape [B, H, W, C]. Received: shape=(3, 4, 2)",
        ),
        (
            lambda: run_alignment(batch_size=0),
            "`batch_size` must be an integer of at least 1. Received: batch_size=0",
        ),
        (
            lambda: run_alignment(directions=Towards(classes=4)),
            "`directions` must have the network's number of classes. Received: ",
        ),
        (
            lambda: run_alignment(directions=Towards((3, 4, 1))),
            "`directions` must be of the network's image shape. Received: ",
        ),
        (
            lambda: run_alignment(extras={"index": [1, 2, 3]}),
            "`extras` must hold a row for each of the 2 images. Received: shape=(3,) "
            "for 'index'",
        ),
        (
            lambda: run_alignment(model=lambda x: tf.zeros([tf.shape(x)[0], 3])),
            "`model` must be differentiable in its images. Received: ",
        ),
        (
            lambda: Alignment(np.zeros(3)),
            "`cosines` must have shape [N, K]. Received: shape=(3,)",
        ),
    ],
)
def test_what_is_wrong_is_said(call, message):
    """One sentence each."""
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value).startswith(message)
