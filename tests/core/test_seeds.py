"""Seeds that depend on the image alone."""

import numpy as np
import tensorflow as tf

from tfrobust.core.seeds import seeds_of

SHAPE = (3, 4, 2)


def test_seeds_differ_where_images_do():
    """Also where pixels are only 0 and 1, whose low bits are all zero."""
    binary = np.zeros((25, *SHAPE), np.float32)
    for i in range(24):
        binary[i].flat[i] = 1.0
    noise = np.random.default_rng(0).integers(0, 256, (500, *SHAPE)) / 255
    images = np.concatenate([binary, noise]).astype(np.float32)
    seeds = seeds_of(tf.constant(images), 7, 0).numpy()
    assert len(set(seeds[:, 0].tolist())) == len(images)


def test_neighboring_settings_share_no_stream():
    """The seed and the number of the restart are told apart."""
    images = tf.zeros([1, *SHAPE])
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (2**31 - 1, 2**31 - 1)]
    assert len({int(seeds_of(images, *pair)[0, 1]) for pair in pairs}) == len(pairs)


def test_one_bit_of_one_pixel_changes_the_seed():
    """And nothing else does: the others of the batch, or their order."""
    images = np.random.default_rng(1).random((3, *SHAPE), np.float32)
    seeds = seeds_of(tf.constant(images), 0).numpy()
    np.testing.assert_array_equal(seeds_of(images[::-1], 0)[::-1], seeds)
    images[1, 2, 3, 1] = np.nextafter(images[1, 2, 3, 1], np.float32(2))
    changed = np.any(seeds_of(tf.constant(images), 0).numpy() != seeds, axis=1)
    assert changed.tolist() == [False, True, False]
