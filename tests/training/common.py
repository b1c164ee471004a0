"""Networks to train, data for them, and a training step derived by hand."""

import keras
import numpy as np
import tensorflow as tf

from tfrobust import layers, models, penalties
from tfrobust.training import RobustModel

SHAPE, CLASSES = (2, 3, 2), 3


def some_data(count=10, shape=SHAPE):
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, count)
    return random.random((count, *shape), np.float32), labels


def linear(**settings):
    """Softmax regression, whose step can be derived by hand."""
    random = np.random.default_rng(1)
    network = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    )
    network.set_weights([random.normal(size=(12, CLASSES)), random.normal(size=3)])
    model = RobustModel(network)
    model.compile(**settings)
    return model


def mlp(seed=0, **settings):
    keras.utils.set_random_seed(seed)
    model = RobustModel(models.MLP(SHAPE, CLASSES, "lcnn", hidden=(5,)))
    model.compile(**{"optimizer": sgd(), **settings})
    return model


def convolutional(variant="lcnn", seed=0):
    """Both strides, a norm before and after, 6x5 images."""
    keras.utils.set_random_seed(seed)
    lcnn = variant == "lcnn"
    convolution = layers.SpectralConv2D if lcnn else keras.layers.Conv2D
    norm = (
        layers.LipschitzBatchNormalization if lcnn else keras.layers.BatchNormalization
    )
    beta = 5.0 if lcnn else 20.0
    return keras.Sequential(
        [
            keras.Input((6, 5, 2)),
            convolution(3, 3, padding="same"),
            norm(),
            layers.CenteredSoftplus(beta, trainable=lcnn),
            convolution(4, 3, strides=2, padding="same"),
            norm(),
            layers.CenteredSoftplus(beta, trainable=lcnn),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(CLASSES, dtype="float32"),
        ]
    )


def sgd(rate=0.1):
    return keras.optimizers.SGD(rate, momentum=0.9)


def weights_of(model):
    variables = [*model.network.variables, *model.optimizer.variables]
    return [variable.numpy() for variable in variables]


def check_close(found, expected, tolerance):
    """Each variable, relative to its largest entry."""
    for a, b in zip(found, expected, strict=True):
        scale = max(np.max(np.abs(b)), 1e-3)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


def derived_step(weights, images, labels, rate, decay, sample_weight=None):
    """One SGD step on cross-entropy and gradient norm, and its values, in float64.

    With residual r = p - onehot, an example's input-gradient is `W r`, and the chain
    rule runs through both W and r, where dr/dz = diag(p) - p p^T.
    """
    kernel, bias = (weight.astype(np.float64) for weight in weights)
    x = images.reshape(len(images), -1).astype(np.float64)
    logits = x @ kernel + bias
    odds = np.exp(logits - logits.max(1, keepdims=True))
    p = odds / odds.sum(1, keepdims=True)
    losses = -np.log(p[np.arange(len(x)), labels])
    r = p - np.eye(CLASSES)[labels]
    scale = np.ones(len(x)) if sample_weight is None else sample_weight
    to_logits = r * scale[:, None] / len(x)
    gradient = r @ kernel.T
    back = 2 * decay / len(x) * (gradient @ kernel)
    to_logits = to_logits + p * (back - np.sum(p * back, axis=1, keepdims=True))
    by_kernel = x.T @ to_logits + 2 * decay / len(x) * gradient.T @ r
    norms = np.linalg.norm(gradient, axis=1)
    values = {
        "cross_entropy": np.mean(scale * losses),
        "gradient_penalty": decay * np.mean(norms**2),
        "gradient_norm": np.mean(norms),
        "accuracy": np.sum(scale * (logits.argmax(1) == labels)) / np.sum(scale),
    }
    values["loss"] = values["cross_entropy"] + values["gradient_penalty"]
    return (kernel - rate * by_kernel, bias - rate * to_logits.sum(0)), values


class Shapes(penalties.Penalty):
    """Zero; notes the image shapes that the step was traced with."""

    name = "shapes"

    def __init__(self):
        self.seen = []

    def __call__(self, context):
        self.seen.append(tuple(context.images.shape))
        return tf.constant(0.0)
