"""What searches share, worked out by hand."""

import numpy as np
import tensorflow as tf

from tfrobust.attacks.search import inward, loop


def test_gradients_that_leave_the_range_are_left_out():
    """At 0 only rises count, at 1 only falls, in between both."""
    point = tf.constant([0.0, 0.0, 0.5, 0.5, 1.0, 1.0])
    gradient = tf.constant([-2.0, 3.0, -4.0, 5.0, -6.0, 7.0])
    np.testing.assert_array_equal(inward(gradient, point), [0, 3, -4, 5, -6, 0])


def test_a_loop_takes_batches_of_any_size():
    """A nested state, traced once for all sizes."""

    @tf.function(input_signature=[tf.TensorSpec([None, 2])])
    def doubled(rows):
        def body(step, pair):
            return step + 1, (2.0 * pair[0], pair[1] + 1.0)

        state = (tf.constant(0), (rows, rows))
        return loop(lambda step, _: step < 3, body, state)[1]

    for count in (1, 4):
        rows = np.full((count, 2), 1.5, np.float32)
        products, sums = doubled(tf.constant(rows))
        np.testing.assert_array_equal(products, 8 * rows)
        np.testing.assert_array_equal(sums, rows + 3)
