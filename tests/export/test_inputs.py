"""Checks of a request, inside and outside of a graph."""

import pytest
import tensorflow as tf

from export.inputs import checked, checked_images


def test_images_of_any_size_have_a_limit():
    """As many numbers as so many images of 224 x 224 x 3, for a network of any size."""
    free = (None, None, 3)
    assert checked_images(tf.zeros([1, 448, 224, 3]), free, 2).shape[1] == 448
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 301056 numbers"):
        checked_images(tf.zeros([1, 449, 224, 3]), free, 2)


@pytest.mark.parametrize("wrap", [tf.function, lambda run: run])
def test_every_check_has_to_hold(wrap):
    """The error has the text of the check that does not."""

    @wrap
    def doubled(number):
        odd = (number % 2 == 1, ["it must be odd, got", number])
        return 2 * checked(number, (number > 0, ["it must be above 0"]), odd)

    assert int(doubled(tf.constant(3))) == 6
    for number, message in ((4, "it must be odd, got"), (-3, "it must be above 0")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            doubled(tf.constant(number))
