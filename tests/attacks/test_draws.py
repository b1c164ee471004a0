"""Random integers: uniform, unrelated, and the same wherever they are drawn."""

import numpy as np
import scipy.stats
import tensorflow as tf

from tfrobust.attacks.draws import below, draws_of, keys_of, signs_of


def test_draws_are_uniform_and_unrelated():
    """Chi-square over bins, over the pairs of neighbours too: in place, query, image"""
    keys = keys_of(
        tf.stack([tf.range(40, dtype=tf.int64) + 2**40, tf.zeros(40, tf.int64)], 1)
    )
    draws = np.array([draws_of(keys, query, 12) for query in range(60)])
    assert draws.min() >= 0 and draws.max() < 2**31
    bins = np.array(below(tf.constant(draws), tf.constant(6)))
    assert set(bins.ravel()) == set(range(6))
    counts = np.bincount(bins.ravel())
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    for axis in range(3):
        before = np.delete(bins, 0, axis).ravel()
        other = np.delete(bins, -1, axis).ravel()
        pairs = np.bincount(6 * before + other, minlength=36)
        assert scipy.stats.chisquare(pairs).pvalue > 1e-3
    for bit in range(31):
        set_bits = int(np.sum(draws >> bit & 1))
        assert scipy.stats.binomtest(set_bits, draws.size).pvalue > 1e-4


def test_xla_draws_the_same():
    """Bit for bit, which TensorFlow's own random numbers do not."""
    keys = keys_of(tf.constant([[3, 5], [2**40, 7]], tf.int64))

    def both():
        draws = draws_of(keys, 4, 9)
        return draws, signs_of(draws)

    compiled = tf.function(both, jit_compile=True)()
    for fused, plain in zip(compiled, both(), strict=True):
        np.testing.assert_array_equal(fused, plain)
    assert set(np.unique(both()[1])) == {-1.0, 1.0}
