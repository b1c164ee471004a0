"""Registered derivatives against finite differences, an explicit matrix or a formula.

What is differentiated is `sum(sin(3 * f(x)))`, which is curved whatever f is: its
Hessian has a term of the derivative's derivative, and one of the derivative alone.
"""

import numpy as np
import pytest
import tensorflow as tf

from tfrobust.core.second_derivatives import (
    provides,
    registered,
    twice_differentiable,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0.1, 0.9, (2, 5, 6, 3)).astype(np.float32)
METHODS = ("bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5", "gaussian")


def derivatives(function, images, vectors, graph):
    """Gradient and Hessian-vector product of `sum(sin(3 f(x)))`, by TensorFlow."""

    def compute(x, v):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                total = tf.reduce_sum(tf.sin(3.0 * function(x)))
            gradient = inner.gradient(total, x)
        return gradient, outer.gradient(gradient, x, v)

    run = tf.function(compute) if graph else compute
    return [result.numpy() for result in run(tf.constant(images), tf.constant(vectors))]


def linear_oracle(function, images, vectors):
    """Both of a linear f, from its matrix, which is what it makes of unit images."""
    size = images[0].size
    units = np.eye(size, dtype=np.float32).reshape(size, *images.shape[1:])
    matrix = np.asarray(function(tf.constant(units)), np.float64).reshape(size, -1)
    flat = images.reshape(len(images), -1).astype(np.float64)
    inner = 3.0 * flat @ matrix
    gradient = 3.0 * np.cos(inner) @ matrix.T
    along = vectors.reshape(len(images), -1) @ matrix
    product = -9.0 * (np.sin(inner) * along) @ matrix.T
    return gradient.reshape(images.shape), product.reshape(images.shape)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [(7, 9), (3, 4)])
@pytest.mark.parametrize("method", METHODS)
def test_resizing_up_and_down_is_its_matrix(method, size, antialias, graph):
    def resize(x):
        return tf.image.resize(x, size, method, antialias=antialias)

    vectors = RNG.normal(size=IMAGES.shape).astype(np.float32)
    computed = derivatives(resize, IMAGES, vectors, graph)
    for result, expected in zip(
        computed, linear_oracle(resize, IMAGES, vectors), strict=True
    ):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["bilinear", "bicubic", "nearest_neighbor"])
@pytest.mark.parametrize("settings", [(True, False), (False, False)])
def test_resizing_with_the_older_settings_is_its_matrix(kind, settings):
    align, half = settings
    name = "Resize" + "".join(part.title() for part in kind.split("_"))

    def resize(x):
        return getattr(tf.raw_ops, name)(
            images=x, size=[8, 7], align_corners=align, half_pixel_centers=half
        )

    vectors = RNG.normal(size=IMAGES.shape).astype(np.float32)
    computed = derivatives(resize, IMAGES, vectors, True)
    for result, expected in zip(
        computed, linear_oracle(resize, IMAGES, vectors), strict=True
    ):
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_resizing_of_half_precision_keeps_its_dtype():
    images = tf.constant(IMAGES, tf.float16)
    vectors = tf.ones_like(images)
    wide = derivatives(
        lambda x: tf.image.resize(x, (7, 9)), IMAGES, np.ones_like(IMAGES), True
    )
    half = derivatives(lambda x: tf.image.resize(x, (7, 9)), images, vectors, True)
    for a, b in zip(half, wide, strict=True):
        assert a.dtype == np.float16
        np.testing.assert_allclose(a, b, rtol=5e-2, atol=5e-2)


def test_crops_are_their_matrix():
    boxes = [[0.1, 0.0, 0.8, 0.9], [0.2, 0.3, 0.7, 1.1]]
    vectors = RNG.normal(size=IMAGES.shape).astype(np.float32)

    for method in ("bilinear", "nearest"):

        def crop(x, method=method):
            count = tf.shape(x)[0]
            places = tf.tile(tf.constant(boxes[:1]), [count, 1])
            return tf.image.crop_and_resize(
                x, places, tf.range(count), (4, 3), method=method
            )

        computed = derivatives(crop, IMAGES, vectors, True)
        for result, expected in zip(
            computed, linear_oracle(crop, IMAGES, vectors), strict=True
        ):
            np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_crops_whose_boxes_are_learnt_against_differences():
    """The gradient in the images, differentiated in the boxes."""
    cotangents = RNG.normal(size=(2, 4, 3, 3)).astype(np.float32)
    boxes = np.array([[0.11, 0.02, 0.83, 0.91], [0.2, 0.3, 0.7, 0.95]], np.float32)
    vectors = RNG.normal(size=IMAGES.shape).astype(np.float32)

    def slope(places):
        images = tf.constant(IMAGES)
        with tf.GradientTape() as tape:
            tape.watch(images)
            crops = tf.image.crop_and_resize(images, places, [0, 1], (4, 3))
            total = tf.reduce_sum(crops * cotangents)
        return tf.reduce_sum(tape.gradient(total, images) * vectors)

    places = tf.constant(boxes)
    with tf.GradientTape() as tape:
        tape.watch(places)
        total = slope(places)
    computed = tape.gradient(total, places).numpy()
    step = 1e-3
    for place in np.ndindex(boxes.shape):
        ends = [boxes.copy(), boxes.copy()]
        ends[0][place] += step
        ends[1][place] -= step
        expected = (slope(ends[0]) - slope(ends[1])) / (2 * step)
        np.testing.assert_allclose(computed[place], expected, rtol=0.02, atol=0.05)


def against_differences(function, images, step, tolerance):
    """The product, and the gradient along a vector, by central differences."""
    vectors = RNG.normal(size=images.shape).astype(images.dtype)
    gradient, product = derivatives(function, images, vectors, True)

    def ends(of):
        return [of(images + sign * step * vectors) for sign in (1, -1)]

    values = ends(lambda x: np.sum(np.sin(3.0 * np.asarray(function(x), np.float64))))
    slope = (values[0] - values[1]) / (2 * step)
    scale = np.abs(gradient).max() * np.sqrt(gradient.size)
    assert abs(np.sum(gradient * vectors) - slope) < tolerance * scale
    gradients = ends(lambda x: derivatives(function, x, vectors, True)[0])
    expected = (gradients[0].astype(np.float64) - gradients[1]) / (2 * step)
    scale = np.abs(expected).max()
    assert scale > 0.1
    np.testing.assert_allclose(product, expected, atol=tolerance * scale)


@pytest.mark.parametrize("graph", [False, True])
def test_softsign_is_its_formula(graph):
    x, v = RNG.normal(size=(2, 3, 5))
    gradient, product = derivatives(tf.math.softsign, x, v, graph)
    inner, first = 3 * x / (1 + np.abs(x)), 3 / (1 + np.abs(x)) ** 2
    second = -6 * np.sign(x) / (1 + np.abs(x)) ** 3
    np.testing.assert_allclose(gradient, np.cos(inner) * first, rtol=1e-10)
    expected = (np.cos(inner) * second - np.sin(inner) * first**2) * v
    np.testing.assert_allclose(product, expected, rtol=1e-10)


def test_local_response_normalization_against_differences():
    def normalize(x):
        return tf.nn.local_response_normalization(x, 1, bias=1.2, alpha=0.7, beta=0.6)

    against_differences(normalize, IMAGES, step=3e-3, tolerance=2e-2)


def test_moments_are_tensorflow_s_but_for_the_second_derivative():
    original = tf.nn.moments
    images = tf.constant(IMAGES)
    with twice_differentiable():
        with twice_differentiable():
            pass
        for dtype in (tf.float32, tf.float16, tf.float64):
            for settings in ({"axes": [0, 1, 2]}, {"axes": [-1], "keepdims": True}):
                x = tf.cast(images, dtype)
                results = tf.nn.moments(x, **settings), original(x, **settings)
                for ours, theirs in zip(*results, strict=True):
                    assert ours.dtype == theirs.dtype == dtype
                    np.testing.assert_array_equal(ours, theirs)
        assert tf.nn.moments is not original
    assert tf.nn.moments is original


def test_what_somebody_registered_is_kept():
    kept = registered("MatMul")
    provides("MatMul")(lambda op, upstream: None)
    assert registered("MatMul") == kept
    assert registered("NoSuchOperation") == (False, None)
    assert registered("Greater") == (True, None)
