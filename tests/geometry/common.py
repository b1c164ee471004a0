"""Networks with a known geometry, and exact derivatives to compare with."""

import keras
import numpy as np
import tensorflow as tf

from tests.seeds import set_seeds

SHAPE = (6, 5, 2)


def draw(*shape, seed=0):
    """Uniform float32 numbers in [0, 1), the same on every run."""
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def smooth_network(seed=0, beta=3.0):
    """A small convolutional network with curvature, all weights away from zero."""
    from tfrobust.layers import CenteredSoftplus, LipschitzBatchNormalization

    set_seeds(seed)
    network = keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Conv2D(3, 3, padding="same"),
            LipschitzBatchNormalization(),
            CenteredSoftplus(beta),
            keras.layers.Conv2D(4, 3, strides=2),
            CenteredSoftplus(beta),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    network.layers[1].moving_variance.assign([0.5, 1.5, 0.9])
    return network


def regression(weights, bias):
    """Logits `x W + b` of flattened images."""

    def model(images):
        flat = tf.reshape(images, [-1, weights.shape[0]])
        return tf.matmul(flat, tf.constant(weights)) + tf.constant(bias)

    return model


def regression_derivatives(weights, bias, image, label):
    """Gradient `W (p - y)` and Hessian `W (diag p - p p') W'` in float64."""
    weights = np.asarray(weights, np.float64)
    logits = np.asarray(image, np.float64).ravel() @ weights + bias
    p = np.exp(logits - logits.max())
    p /= p.sum()
    # 1 - p of the label as a sum of the others, which does not cancel.
    residual = p.copy()
    residual[label] = -(p.sum() - p[label] if p[label] < 0.5 else _others(p, label))
    middle = np.diag(p) - np.outer(p, p)
    return weights @ residual, weights @ middle @ weights.T


def _others(p, label):
    return np.delete(p, label).sum()


def exact_derivatives(model, image, label):
    """Gradient and Hessian of the usual cross-entropy by one backward pass a pixel."""
    x = tf.constant(image[None])
    with tf.GradientTape(persistent=True) as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            logits = model(x)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits([label], logits)
        gradient = inner.gradient(loss, x)
    size = int(np.prod(x.shape))
    hessian = outer.jacobian(gradient, x, experimental_use_pfor=False)
    return (
        gradient.numpy().ravel().astype(np.float64),
        hessian.numpy().reshape(size, size).astype(np.float64),
    )


def spectral_norm(matrix):
    """Largest absolute eigenvalue of a symmetric matrix."""
    return np.abs(np.linalg.eigvalsh((matrix + matrix.T) / 2)).max()
