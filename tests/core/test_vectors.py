"""Norms and cosines against NumPy in float64, and where float32 ends."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfrobust.core import vectors as measures
from tfrobust.core.vectors import cosine, norms, squared_norms, unit

DRAWN = np.random.default_rng(0).normal(size=(3, 5, 4, 2)).astype(np.float32)
DRAWN[1] = 0.0


def rows(values):
    return np.asarray(values, np.float64).reshape(len(values), -1)


def test_norms_and_units_of_images():
    """Three images, one of them zero, with height other than width."""
    sizes = np.linalg.norm(rows(DRAWN), axis=1)
    np.testing.assert_allclose(norms(tf.constant(DRAWN)), sizes, rtol=1e-6)
    np.testing.assert_allclose(squared_norms(tf.constant(DRAWN)), sizes**2, rtol=1e-6)
    expected = DRAWN / np.where(sizes > 0, sizes, 1.0)[:, None, None, None]
    np.testing.assert_allclose(unit(tf.constant(DRAWN)), expected, rtol=1e-6)


def test_lengths_of_several_vectors():
    """Of five for each of three images."""
    expected = np.sqrt((DRAWN.astype(np.float64) ** 2).sum((2, 3)))
    np.testing.assert_allclose(
        measures.lengths(tf.constant(DRAWN)), expected, rtol=1e-6
    )


def test_the_largest_entry():
    largest = np.abs(DRAWN).max((1, 2, 3), keepdims=True)
    result = measures.largest_entry(tf.constant(DRAWN))
    np.testing.assert_array_equal(result, largest)
    each = np.abs(DRAWN).max((2, 3), keepdims=True)
    np.testing.assert_array_equal(measures.largest_entry(tf.constant(DRAWN), 2), each)
    scaled = measures.by_largest_entry(tf.constant(DRAWN))
    np.testing.assert_array_equal(scaled[1], 0.0)
    np.testing.assert_allclose(scaled[::2], (DRAWN / (largest + 1e-30))[::2], rtol=1e-6)


@pytest.mark.parametrize("size", [1e-35, 1.0, 1e30])
def test_norms_do_not_under_or_overflow(size):
    vectors = (size * np.array([[3.0, 4.0], [0.0, 0.0]])).astype(np.float32)
    np.testing.assert_allclose(norms(tf.constant(vectors)), [5 * size, 0], rtol=1e-6)
    units = unit(tf.constant(vectors))
    np.testing.assert_allclose(units, [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)


def test_no_examples_have_no_norms():
    empty = tf.zeros([0, 3, 4, 1])
    assert norms(empty).shape == (0,)
    assert unit(empty).shape == empty.shape


def test_squared_norms_are_per_example():
    """3-4-5 and a row of zeros, at any rank."""
    gradient = tf.constant([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_array_equal(squared_norms(gradient), [25.0, 0.0])
    images = tf.reshape(gradient, [2, 1, 2, 1])
    np.testing.assert_array_equal(squared_norms(images), [25.0, 0.0])


def test_entries_that_are_not_finite_count_for_zero():
    vectors = tf.constant([[np.nan, 1.0], [np.inf, -np.inf]])
    result = measures.zero_where_not_finite(vectors)
    np.testing.assert_array_equal(result, [[0.0, 1.0], [0.0, 0.0]])


def test_a_number_for_each_example_is_broadcast():
    for like in (DRAWN, tf.constant(DRAWN)):
        result = measures.spread(tf.constant([1.0, 2.0, 3.0]), like)
        np.testing.assert_array_equal(result, np.reshape([1.0, 2.0, 3.0], (3, 1, 1, 1)))
        each = measures.spread(tf.constant([[1.0, 2.0]]), like)
        np.testing.assert_array_equal(each, np.reshape([1.0, 2.0], (1, 2, 1, 1)))


@given(
    arrays.arrays(np.float32, (2, 3), elements=st.floats(-100, 100, width=32)),
    arrays.arrays(np.float32, (2, 3), elements=st.floats(-100, 100, width=32)),
)
@settings(deadline=None)
def test_cosines_are_bounded_and_finite(a, b):
    """In value and gradient, whatever is zero."""
    a, b = tf.constant(a[None]), tf.constant(b[None])
    with tf.GradientTape() as tape:
        tape.watch([a, b])
        cosines = cosine(a, b)
    assert np.all(np.abs(cosines) <= 1 + 1e-5)
    assert all(np.all(np.isfinite(g)) for g in tape.gradient(cosines, [a, b]))


def test_at_zero_the_cosine_and_its_gradient_are_zero():
    """The plain formula has NaN there, or a gradient of 1e8."""
    zero, other = tf.zeros([1, 1, 3]), tf.constant([[[1.0, 2.0, 2.0]]])
    with tf.GradientTape() as tape:
        tape.watch(zero)
        cosines = cosine(zero, other)
    np.testing.assert_array_equal(cosines, [[0.0]])
    np.testing.assert_array_equal(tape.gradient(cosines, zero), np.zeros([1, 1, 3]))
