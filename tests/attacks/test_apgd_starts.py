"""Random starts of auto-PGD: where they lie, and on what they depend."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfrobust.attacks.apgd_starts import random_start

SHAPE = (5, 4, 3)


def some_images(count=200, seed=0):
    draws = np.random.default_rng(seed).random((count, *SHAPE), np.float32)
    return tf.constant(draws)


def starts(norm, eps, **settings):
    images = some_images(len(eps))
    settings = {"seed": 0, "run": 0, **settings}
    delta = random_start(norm, images, tf.constant(eps, tf.float32), **settings)
    return delta.numpy().reshape(len(eps), -1)


def test_linf_is_uniform_noise_scaled_to_the_edge():
    """The largest entry is eps in each; the others are uniform below it."""
    eps = np.linspace(0.01, 2, 200)
    delta = starts("inf", eps)
    largest = np.abs(delta).max(axis=1)
    np.testing.assert_allclose(largest, eps, rtol=1e-6)
    shares = delta / largest[:, None]
    others = shares[np.abs(shares) < 1]
    uniform = scipy.stats.uniform(-1, 2)
    assert scipy.stats.kstest(others, uniform.cdf).pvalue > 1e-3


def test_l2_is_a_uniform_direction_of_length_eps():
    """An entry of a uniform direction in d dimensions has a beta distribution."""
    eps = np.linspace(0.01, 2, 200)
    delta = starts(2, eps)
    np.testing.assert_allclose(np.linalg.norm(delta, axis=1), eps, rtol=1e-6)
    half = (delta.shape[1] - 1) / 2
    beta = scipy.stats.beta(half, half, loc=-1, scale=2)
    entries = delta[:, 7] / eps
    assert scipy.stats.kstest(entries, beta.cdf).pvalue > 1e-3


def test_l1_is_normal_noise():
    """Of variance 1, whatever the radius."""
    delta = starts(1, np.ones(200))
    assert scipy.stats.kstest(delta.ravel(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("norm", [1, 2, "inf"])
def test_draws_differ_by_image_seed_and_run_alone(norm):
    first = starts(norm, np.ones(6))
    assert np.unique(first.round(4), axis=0).shape == first.shape
    for other in ({"seed": 1}, {"run": 1}):
        assert np.abs(starts(norm, np.ones(6), **other) - first).max() > 0.1
    images = some_images(6)
    backwards = random_start(norm, images[::-1], tf.ones([6]), 0, 0)
    backwards = backwards.numpy()[::-1].reshape(6, -1)
    np.testing.assert_allclose(backwards, first, rtol=1e-6)
