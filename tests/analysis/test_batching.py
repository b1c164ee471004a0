"""Batches of any size, and one graph for all of them."""

import numpy as np
import pytest
import tensorflow as tf

from tfrobust.analysis.batching import any_number, in_batches, traced


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
def test_every_row_is_worked_on_once_and_traced_once(batch_size):
    """In order; the last slice ends where the rows do."""
    values = tf.random.stateless_uniform([7, 3], seed=[0, 0])
    traces, slices = [], []

    def squared(rows):
        traces.append(rows.shape)
        return rows**2

    graph = traced(squared, any_number(values))

    def work(rows):
        slices.append((rows.start, rows.stop))
        return graph(values[rows])

    np.testing.assert_array_equal(in_batches(work, 7, batch_size), values.numpy() ** 2)
    assert len(traces) == 1 and traces[0].as_list() == [None, 3]
    assert slices[0][0] == 0 and slices[-1][1] == 7
    assert all(stop - start <= batch_size for start, stop in slices)


def test_the_type_is_part_of_the_signature():
    assert any_number(tf.zeros([2], tf.int32)) == tf.TensorSpec([None], tf.int32)
