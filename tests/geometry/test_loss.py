"""The cross-entropy that is differentiated, and the graphs that are kept of it."""

import numpy as np
import pytest
import tensorflow as tf

from tests.geometry.common import draw
from tfrobust import geometry
from tfrobust.geometry.loss import cross_entropy


def float64_cross_entropy(logits, label):
    logits = np.asarray(logits, np.float64)
    margins = np.delete(logits, label) - logits[label]
    largest = max(margins.max(), 0.0)
    # log(1 + sum exp(margins)), exact for large and for tiny sums.
    if largest == 0.0:
        return np.log1p(np.exp(margins).sum())
    return largest + np.log(np.exp(-largest) + np.exp(margins - largest).sum())


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
def test_value_gradient_and_hessian_keep_relative_accuracy(classes, scale):
    """Against float64: value, `p - y` and `diag p - p p'`, however small.

    The last relative to the gradient, which is what a curvature needs.
    """
    logits = scale * np.random.default_rng(0).standard_normal((20, classes))
    logits = logits.astype(np.float32)
    labels = np.arange(20) % classes
    x = tf.constant(logits)
    with tf.GradientTape(persistent=True) as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            loss = cross_entropy(x, tf.constant(labels))
        gradient = inner.gradient(loss, x)
    hessian = outer.batch_jacobian(gradient, x, experimental_use_pfor=False)
    for row, label in enumerate(labels):
        expected = float64_cross_entropy(logits[row], label)
        np.testing.assert_allclose(loss[row], expected, rtol=3e-5)
        p = np.exp(logits[row].astype(np.float64) - logits[row].max())
        p /= p.sum()
        rest = np.delete(p, label).sum()
        slope = p.copy()
        slope[label] = -rest
        np.testing.assert_allclose(gradient[row], slope, rtol=1e-4, atol=1e-36)
        bend = np.diag(p) - np.outer(p, p)
        bend[label, label] = p[label] * rest
        # Confidently wrong, the Hessian vanishes and the gradient does not.
        tiny = 3e-7 * np.abs(slope).max()
        np.testing.assert_allclose(hessian[row], bend, rtol=1e-3, atol=tiny)


def test_a_measure_is_traced_once():
    """Batch sizes, settings and radii share one graph for each measure and shape."""
    traced = []

    def model(x):
        traced.append(x.shape)
        return x + 0.0  # ends in a sum, or it would be asked for probabilities

    for size in (1, 2, 5):
        for iterations, tolerance, seed in ((1, None, 0), (3, 0.1, 7)):
            labels = np.zeros(size, int)
            images = draw(size, 3)
            geometry.curvature(model, images, labels, iterations, tolerance, seed)
    assert len(traced) == 1
    geometry.gradient_norm(model, draw(2, 4), [0, 0])
    assert len(traced) == 2


def test_a_dictionary_of_logits_and_other_dtypes_are_accepted():
    images, labels = draw(2, 3), [0, 1]
    expected = geometry.gradient_norm(lambda x: x, images, labels)
    answers = geometry.gradient_norm(lambda x: {"logits": x}, images, labels)
    np.testing.assert_array_equal(answers, expected)
    double = geometry.gradient_norm(
        lambda x: tf.cast(x, tf.float64), images.astype("float64"), np.uint8(labels)
    )
    np.testing.assert_allclose(double, expected, rtol=1e-6)
    assert double.dtype == tf.float32


def test_an_unknown_number_of_classes_is_no_obstacle():
    """A SavedModel may not say how many logits it returns."""
    images, labels = draw(2, 3), [0, 2]
    hidden = tf.function(lambda x: x, input_signature=[tf.TensorSpec([None, None])])
    result = geometry.curvature(hidden, images, labels)
    expected = geometry.curvature(lambda x: x, images, labels)
    np.testing.assert_allclose(np.array(result), np.array(expected), rtol=1e-5)
