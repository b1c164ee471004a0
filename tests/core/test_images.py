"""What images and labels may be, and the sentence about those that may not."""

import re

import numpy as np
import pytest
import tensorflow as tf

from tfrobust.core import images as checks

SHAPE = (2, 3, 4, 1)
ZEROS = np.zeros(SHAPE)


def test_images_come_back_in_float32():
    """Of any floating precision; of lower rank where that is allowed."""
    for dtype in (np.float16, np.float32, np.float64):
        result = checks.check_images(np.full(SHAPE, 0.5, dtype), sized=True)
        assert result.dtype == tf.float32
        np.testing.assert_array_equal(result, np.full(SHAPE, 0.5))
    assert checks.check_images(ZEROS[:, :, 0, 0], any_rank=True).shape == (2, 3)
    assert checks.check_images(ZEROS[:, :0]).shape == (2, 0, 4, 1)
    np.testing.assert_array_equal(checks.check_batch("moved", -1 + ZEROS), -1 + ZEROS)


@pytest.mark.parametrize(
    ("value", "settings", "sentence"),
    [
        (np.uint8(ZEROS), {}, "`x` must be floating. Received: dtype=uint8"),
        (
            np.uint8(ZEROS),
            {"pixels": True},
            "`x` must be floating, with pixels in [0, 1]. Received: dtype=uint8",
        ),
        (
            ZEROS[0],
            {},
            "`x` must have shape [B, H, W, C]. Received: shape=(3, 4, 1)",
        ),
        (
            ZEROS[0, 0, 0],
            {"any_rank": True},
            "`x` must have shape [B, ...] of rank 2 or more. Received: shape=(1,)",
        ),
        (
            ZEROS[0],
            {"sized": True},
            "`x` must have shape [B, H, W, C] with H, W and C known. "
            "Received: shape=(3, 4, 1)",
        ),
        (
            ZEROS[:, :0],
            {"sized": True},
            "`x` must have at least one pixel. Received: shape=(2, 0, 4, 1)",
        ),
    ],
)
def test_wrong_images_are_named(value, settings, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        checks.check_images(value, "x", **settings)


@pytest.mark.parametrize("flaw", [np.nan, np.inf, -np.inf])
def test_values_must_be_finite(flaw):
    sentence = "`moved` must be finite. Received: NaN or infinity"
    value = ZEROS.copy()
    value[1, 2, 3, 0] = flaw
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        checks.check_batch("moved", value)


@pytest.mark.parametrize(
    ("value", "said"), [(-0.5, "-0.5 to 0"), (2.0, "0 to 2"), (np.nan, "nan to nan")]
)
def test_pixels_lie_in_the_unit_range(value, said):
    images = tf.constant([0.0, value])
    sentence = (
        "`x` must lie in [0, 1], or `bounds` must say where. "
        f"Received: values from {said}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        checks.check_within("x", images, (0.0, 1.0))
    checks.check_within("x", tf.constant([0.0, 1.0]), (0.0, 1.0))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([0.0, 0.5], "`y` must be integers. Received: dtype=float32 with fractions"),
        (
            [0, 1, 0],
            "`y` must have shape [B], one class for each of the 2 images. "
            "Received: shape=(3,)",
        ),
    ],
)
def test_wrong_classes_are_named(value, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        checks.check_classes("y", value, ZEROS)


def test_classes_come_back_as_int32_and_have_a_range():
    result = checks.check_classes("y", np.uint8([0, 2]), ZEROS)
    assert result.dtype == tf.int32
    checks.check_range("y", result, 3)
    sentence = "`y` must lie in [0, 2). Received: values from 0 to 2"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        checks.check_range("y", result, 2)


def test_values_in_a_graph_are_nobody_s_business():
    @tf.function
    def checked(images, classes):
        checks.check_within("x", checks.check_batch("x", images), (0.0, 1.0))
        checks.check_range("y", classes, 1)
        return images

    checked(tf.fill(SHAPE, np.nan), tf.constant([5, -1]))
