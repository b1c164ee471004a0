"""The matrix of a Keras layer, read from its answers alone."""

import math

import keras
import numpy as np


def matrix_of(layer, shape):
    """Float64 matrix `(inputs, outputs)` of an affine layer on one example.

    Args:
        layer: A layer that Keras itself computes, or one of ours; not yet built ones
            are built.
        shape: Shape of one input, without the batch.
    """
    count = math.prod(shape)
    basis = np.eye(count, dtype=np.float64).reshape(count, *shape)
    network = keras.Sequential([keras.Input(shape, dtype=layer.dtype), layer])
    answers, shift = (
        np.asarray(network(x, training=False), np.float64) for x in (basis, 0 * basis)
    )
    return (answers - shift).reshape(count, -1)


def norm_of(layer, shape):
    """Its largest singular value, by NumPy."""
    return np.linalg.norm(matrix_of(layer, shape), 2)
