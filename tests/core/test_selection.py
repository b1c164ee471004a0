"""Masks over images, and what they leave."""

import numpy as np
import pytest
import tensorflow as tf

from tfrobust.core.selection import checked_mask, selected


def test_rows_are_taken_in_their_order():
    """Of arrays and tensors of any rank; the type of each stays."""
    mask = [True, False, True]
    values = np.arange(3), np.arange(6.0).reshape(3, 2), tf.constant([[1], [2], [3]])
    first, second, third = selected(values, mask)
    assert first.tolist() == [0, 2] and second.tolist() == [[0.0, 1.0], [4.0, 5.0]]
    assert tf.is_tensor(third) and third.numpy().tolist() == [[1], [3]]
    for none in selected(values, tf.constant([False] * 3)):
        assert len(none) == 0


def test_no_images_have_a_mask():
    """Also an empty list, whose type NumPy does not know."""
    assert checked_mask([], 0).dtype == bool
    assert selected([np.zeros((0, 2))], [])[0].shape == (0, 2)


@pytest.mark.parametrize(
    ("mask", "received"),
    [
        ([1, 0], "int64 [2]"),
        ([True], "bool [1]"),
        ([[True], [False]], "bool [2, 1]"),
        (True, "bool []"),
    ],
)
def test_a_mask_has_a_bool_for_each_image(mask, received):
    """Neither indices nor another length."""
    with pytest.raises(ValueError) as caught:
        selected([np.zeros(2)], mask)
    assert str(caught.value) == (
        f"`mask` must be bool [2], one for each image. Received: {received}"
    )
