"""Measuring a data set: the same values however it comes, and honest errors."""

import numpy as np
import pytest
import tensorflow as tf

from tests.geometry.common import SHAPE, draw, smooth_network
from tfrobust import geometry

NAMES = ("gradient_norm", "hessian_norm", "curvature")


@pytest.fixture(scope="module")
def network():
    return smooth_network()


@pytest.fixture(scope="module")
def expected(network):
    images, labels = draw(7, *SHAPE), np.arange(7) % 3
    return images, labels, geometry.curvature(network, images, labels, 4)


def pairs(images, labels):
    return [(images[:3], labels[:3]), (images[3:], labels[3:])]


def padded(images, labels):
    """As an evaluation pipeline pads its last batch: zeros of weight 0."""
    images = np.concatenate([images, np.zeros((1, *SHAPE), np.float32)])
    weights = np.ones(8, np.float32)
    weights[-1] = 0
    return tf.data.Dataset.from_tensor_slices(
        (images, np.append(labels, 0), weights)
    ).batch(4)


SOURCES = {
    "pair": lambda x, y: (x, y),
    "pair of tensors": lambda x, y: (tf.constant(x), tf.constant(y)),
    "list of two batches": pairs,
    "tuple of two batches": lambda x, y: tuple(pairs(x, y)),
    "generator": lambda x, y: iter(pairs(x, y)),
    "dataset": lambda x, y: tf.data.Dataset.from_tensor_slices((x, y)).batch(4),
    "padded": padded,
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_gives_the_same_values(network, expected, source):
    """In the order of the data, against one call on all of it."""
    images, labels, values = expected
    result = geometry.measure(network, SOURCES[source](images, labels), 4, batch_size=2)
    for name in NAMES:
        array = getattr(result, name)
        assert isinstance(array, np.ndarray) and array.shape == (7,)
        np.testing.assert_allclose(array, getattr(values, name), rtol=1e-4)


def test_means_have_values_and_standard_errors(network, expected):
    images, labels, values = expected
    summary = geometry.measure(network, (images, labels), 4).means()
    assert tuple(summary) == NAMES
    for name in NAMES:
        sample = np.asarray(getattr(values, name), np.float64)
        error = sample.std(ddof=1) / np.sqrt(7)
        np.testing.assert_allclose(summary[name], (sample.mean(), error), rtol=1e-4)


def test_one_example_has_no_standard_error(network, expected):
    images, labels, _ = expected
    summary = geometry.measure(network, (images[:1], labels[:1]), 1).means()
    assert np.isnan(summary["curvature"].standard_error)
    assert summary["curvature"].value > 0


def test_progress_is_shown_on_demand(network, expected, capsys):
    images, labels, _ = expected
    geometry.measure(network, (images, labels), 1)
    assert capsys.readouterr() == ("", "")
    geometry.measure(network, (images, labels), 1, batch_size=4, progress=True)
    shown = capsys.readouterr().err
    assert "2/2" in shown and "batch" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_discrepancy_by_hand():
    """`|test / train - 1|`: a test value 13 times the training one gives 12."""
    assert geometry.discrepancy([1.0, 4.0], [1.0, 3.0]).value == 0.25
    assert geometry.discrepancy([1.0, 2.0], [3.0, 1.0]).value == 0.25
    assert geometry.discrepancy([26.0], [2.0]).value == 12.0


def test_discrepancy_error_is_that_of_many_samples():
    """The spread of the estimate over 4000 pairs of samples."""
    random = np.random.default_rng(0)
    test = random.gamma(4.0, 1.0, (4000, 200))
    train = random.gamma(4.0, 0.6, (4000, 100))
    ratio = np.abs(test.mean(axis=1) / train.mean(axis=1) - 1)
    errors = [
        geometry.discrepancy(a, b).standard_error
        for a, b in zip(test[:50], train[:50], strict=True)
    ]
    np.testing.assert_allclose(np.mean(errors), ratio.std(), rtol=0.05)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "`batches` must hold at least one example. Received: none"),
        (
            [np.zeros((2, 3))],
            "`batches` must yield (images, labels). Received: a ndarray",
        ),
        (
            (np.zeros((2, 3)), np.zeros(3, int)),
            "`batches` must hold as many labels as images. "
            "Received: 2 images, 3 labels",
        ),
    ],
)
def test_wrong_batches_are_named(batches, message):
    with pytest.raises(ValueError) as error:
        geometry.measure(lambda x: x, batches)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (([], [1.0]), "`test_values` must hold at least one value. Received: none"),
        (([1.0], []), "`train_values` must hold at least one value. Received: none"),
        (([1.0], [0.0]), "`train_values` must have a mean other than 0. Received: 0"),
    ],
)
def test_wrong_samples_are_named(values, message):
    with pytest.raises(ValueError) as error:
        geometry.discrepancy(*values)
    assert str(error.value) == message
