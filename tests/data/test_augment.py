"""`crop_flip`: against a slow loop, its randomness, and its determinism."""

import numpy as np
import pytest
import tensorflow as tf

from tfrobust.data.augment import crop_flip, crop_flip_draws


def slow_crop_flip(images, top, left, flip, padding):
    """One image after the other: pad, cut, mirror."""
    out = []
    height, width = images.shape[1:3]
    for image, row, column, mirrored in zip(images, top, left, flip, strict=True):
        border = ((padding, padding), (padding, padding), (0, 0))
        window = np.pad(image, border)[row : row + height, column : column + width]
        out.append(window[:, ::-1] if mirrored else window)
    return np.stack(out)


def random_images(shape, dtype):
    """Images without a zero, so that filled pixels stand out."""
    return np.random.default_rng(0).integers(1, 256, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("shape", [(40, 7, 5, 3), (40, 6, 9, 1), (1, 3, 3, 2)])
def test_equals_the_slow_loop(shape, padding, dtype):
    """Every pixel is that of pad, cut and mirror, one image at a time."""
    images = random_images(shape, dtype)
    draws = [part.numpy() for part in crop_flip_draws(len(images), (3, 4), padding)]
    fast = crop_flip(images, (3, 4), padding)
    assert fast.dtype == dtype and fast.shape == shape
    np.testing.assert_array_equal(fast, slow_crop_flip(images, *draws, padding))


def test_draws_are_uniform_and_differ_between_images():
    """All 9 x 9 x 2 outcomes come up about equally often."""
    top, left, flip = crop_flip_draws(162 * 400, (1, 2))
    assert (int(tf.reduce_min(top)), int(tf.reduce_max(top))) == (0, 8)
    outcome = (top * 9 + left) * 2 + tf.cast(flip, tf.int32)
    counts = np.bincount(outcome, minlength=162)
    # Chi-square with 161 degrees of freedom: 230 is its 99.97 % point.
    assert len(counts) == 162 and ((counts - 400) ** 2 / 400).sum() < 230


def test_the_seed_decides():
    """The same seed repeats the result and another does not."""
    images = random_images((30, 8, 8, 3), np.uint8)
    first = crop_flip(images, (1, 2)).numpy()
    np.testing.assert_array_equal(first, crop_flip(images, (1, 2)))
    assert (first != crop_flip(images, (1, 3)).numpy()).any()


def test_eager_equals_graph_with_dynamic_shape():
    """Compiled for unknown sizes, the result is the same."""
    images = random_images((9, 8, 6, 3), np.uint8)
    spec = tf.TensorSpec([None, None, None, 3], tf.uint8)
    compiled = tf.function(
        crop_flip, input_signature=[spec, tf.TensorSpec([2], tf.int32)]
    )
    np.testing.assert_array_equal(compiled(images, (5, 6)), crop_flip(images, (5, 6)))


def test_negative_padding_is_refused():
    """The message gives the range of `padding`."""
    with pytest.raises(ValueError) as caught:
        crop_flip(np.zeros((1, 2, 2, 1)), (0, 0), padding=-1)
    assert str(caught.value) == "`padding` must not be negative. Received: padding=-1"
