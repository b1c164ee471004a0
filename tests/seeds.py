"""Random seeds for a test, which leave alone what TensorFlow has compiled.

Setting TensorFlow's own seed makes it forget every kernel and optimize each graph anew,
at half a second a graph, so that tests would share networks in vain. No test needs it:
Keras and this library draw without state, from seeds of their own, and what is left of
TensorFlow's seed, the order of `tf.data`'s shuffling, is given one wherever it is used.
"""

from unittest import mock

import keras


def set_seeds(seed: int) -> None:
    """Python's, NumPy's and Keras's seeds, with which layers draw their weights."""
    if keras.backend.backend() != "tensorflow":
        keras.utils.set_random_seed(seed)
        return
    with mock.patch("tensorflow.random.set_seed"):
        keras.utils.set_random_seed(seed)
