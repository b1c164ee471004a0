"""Networks to convert, in the state of trained ones."""

import keras
import numpy as np
from keras import layers as kl

from tests.seeds import set_seeds

SHAPE = (8, 6, 3)


def some_images(count=4, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).random((count, *shape), np.float32)


def settled(model, seed=0):
    """The model with weights and statistics as training might leave them."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            settled(layer, seed + 1)
        if not isinstance(layer, kl.BatchNormalization):
            for weight in layer.weights:
                if weight.name == "bias":
                    weight.assign(random.normal(0.0, 0.3, weight.shape))
            continue
        shape = layer.moving_mean.shape
        layer.moving_mean.assign(random.normal(0.0, 0.3, shape))
        layer.moving_variance.assign(random.uniform(0.3, 3.0, shape))
        if layer.gamma is not None:
            layer.gamma.assign(random.normal(0.0, 1.0, shape))
        if layer.beta is not None:
            layer.beta.assign(random.normal(0.0, 0.3, shape))
    return model


def vgg(pooling=kl.AveragePooling2D, shape=SHAPE):
    """Convolutions with activations inside, pooling, two dense layers."""
    set_seeds(1)
    return settled(
        keras.Sequential(
            [
                keras.Input(shape),
                kl.Conv2D(4, 3, padding="same", activation="relu", name="conv1"),
                pooling(2, name="pool1"),
                kl.Conv2D(5, 3, padding="same", name="conv2"),
                kl.BatchNormalization(name="norm2"),
                kl.ReLU(name="relu2"),
                kl.Flatten(name="flatten"),
                kl.Dense(6, activation="relu", name="hidden"),
                kl.Dropout(0.5, name="dropout"),
                kl.Dense(3, name="logits"),
            ]
        )
    )


def resnet():
    """Residual blocks: one sum by a layer, one by an operation."""
    set_seeds(2)
    inputs = keras.Input(SHAPE, name="images")
    x = kl.Conv2D(4, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = kl.ReLU(name="stem_relu")(kl.BatchNormalization(name="stem_norm")(x))
    y = kl.Conv2D(4, 3, padding="same", name="a")(x)
    y = kl.BatchNormalization(scale=False, name="a_norm")(y)
    x = kl.ReLU(6.0, name="a_relu")(kl.Add(name="a_add")([x, y]))
    y = kl.DepthwiseConv2D(3, padding="same", name="b", activation="relu")(x)
    x = x + y
    x = kl.GlobalAveragePooling2D(name="pool")(x)
    return settled(keras.Model(inputs, kl.Dense(3, name="logits")(x), name="resnet"))


def excited():
    """A squeeze-and-excitation block, whose gate is a capped ReLU, and a norm."""
    set_seeds(3)
    inputs = keras.Input(SHAPE)
    x = kl.Conv2D(4, 3, padding="same", activation="swish", name="conv")(inputs)
    gate = kl.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    gate = kl.ReLU(6.0, name="gate")(kl.Conv2D(4, 1, name="excite")(gate) + 3.0)
    x = kl.Multiply(name="product")([x, gate * (1.0 / 6.0)])
    x = kl.LayerNormalization(name="layer_norm")(x)
    return settled(keras.Model(inputs, kl.Dense(3, name="logits")(kl.Flatten()(x))))
