"""A loop inside a graph."""

import numpy as np
import tensorflow as tf

from tfrobust.core.loops import loop


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
