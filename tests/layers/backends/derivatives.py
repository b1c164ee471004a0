"""Gradients on any backend of Keras, which has no word of its own for them."""

import keras

BACKEND = keras.backend.backend()


def gradient(function):
    """The gradient of a scalar function in all its arguments, differentiable again.

    Args:
        function: From float tensors to a scalar.

    Returns:
        A function from the same tensors to a list of gradients.
    """

    def of(*tensors):
        tensors = [keras.ops.convert_to_tensor(tensor) for tensor in tensors]
        return list(_GRADIENTS[BACKEND](function, tensors))

    return of


def _tensorflow(function, tensors):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
    return tape.gradient(value, tensors)


def _jax(function, tensors):
    import jax

    return jax.grad(function, tuple(range(len(tensors))))(*tensors)


def _torch(function, tensors):
    import torch

    tensors = [t if t.requires_grad else t.requires_grad_() for t in tensors]
    return torch.autograd.grad(function(*tensors), tensors, create_graph=True)


_GRADIENTS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
