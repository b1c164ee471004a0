"""The part of a model that does it, by its name."""

import functools

import keras
import numpy as np
import tensorflow as tf

from tfrobust.analysis.judging import naming

SHAPE = (4, 4, 1)


class MonteCarlo(keras.layers.Dropout):
    """Dropout that is always in training."""

    def call(self, inputs, training=None):
        return super().call(inputs, training=True)


def network(first, **call):
    inputs = keras.Input(SHAPE)
    x = keras.layers.Conv2D(3, 3, name="conv")(inputs)
    x = first(x, **call)
    return keras.Model(inputs, keras.layers.Dense(2, name="top")(x), name="inner")


def pixels(count=3):
    return tf.random.stateless_uniform([count, *SHAPE], [1, 2])


def arrays(outputs):
    several = outputs if isinstance(outputs, list) else [outputs]
    return [np.array(each) for each in several]


def twice(wide, enter):
    left, right = (arrays(wide(enter(pixels()), training=False)) for _ in range(2))
    return left, right


def alone(wide, enter):
    given = enter(pixels())
    whole = arrays(wide(given, training=True))
    return [each[:1] for each in whole], arrays(wide(given[:1], training=True))


def test_the_layer_that_draws():
    noisy = network(MonteCarlo(0.5, name="mc"))
    found = naming.differing_layer(noisy, twice)
    assert found is noisy.get_layer("mc")
    # Looking at it leaves no trace: a second call would make `output` ambiguous.
    assert noisy.get_layer("mc").output is not None
    assert noisy.get_layer("conv").output is not None


def test_nothing_draws():
    assert naming.differing_layer(network(keras.layers.ReLU()), twice) is None
    assert naming.differing_layer(lambda x: x, twice) is None


def test_sequential_and_nested_networks():
    plain = keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Flatten(),
            MonteCarlo(0.5, name="sequential_mc"),
            keras.layers.Dense(2),
        ]
    )
    assert naming.differing_layer(plain, twice).name == "sequential_mc"
    inputs = keras.Input(SHAPE)
    small = keras.layers.AveragePooling2D(1)(inputs)
    nested = keras.Model(inputs, network(MonteCarlo(0.5, name="deep"))(small))
    assert naming.differing_layer(nested, twice).name == "deep"


def test_the_layer_that_looks_at_the_batch():
    norm = network(keras.layers.BatchNormalization(name="norm"))
    assert naming.differing_layer(norm, alone).name == "norm"
    words = naming.batch_part(lambda x: norm(x, training=True), alone)
    assert words == (
        "the layer 'norm' (BatchNormalization) uses the statistics of the batch"
    )


def helper(model, x):
    return model(x)


def test_networks_that_a_function_has():
    model = network(keras.layers.ReLU())
    assert naming.networks_in(model) == [model]
    assert naming.networks_in(lambda x: model(x)) == [model]
    assert naming.networks_in(functools.partial(helper, model)) == [model]
    assert naming.networks_in(model.call)[0] is model

    def outer(x):
        return inner(x)

    def inner(x):
        return model(x) if len(x) else outer(x)

    assert naming.networks_in(outer) == [model]
    assert naming.networks_in(tf.nn.softmax) == []


def graph_of(function):
    spec = tf.TensorSpec([None, *SHAPE])
    return tf.function(function).get_concrete_function(spec).graph


def resized(x):
    size = tf.random.uniform([], 5, 9, tf.int32)
    return tf.image.resize(x, [size, size])


def test_operations_that_draw():
    assert naming.random_operations(graph_of(tf.sqrt)) == []
    ((kind, _),) = naming.random_operations(
        graph_of(lambda x: x + tf.random.normal([]))
    )
    assert kind == "RandomStandardNormal"
    inside = tf.function(lambda x: x + tf.random.uniform([]))
    assert [k for k, _ in naming.random_operations(graph_of(lambda x: inside(x)))] == [
        "RandomUniform"
    ]
    assert naming.resizes_at_random(graph_of(resized))
    still = graph_of(lambda x: tf.image.resize(x + tf.random.normal([]), [6, 6]))
    assert not naming.resizes_at_random(still)


def test_what_a_function_draws():
    words = naming.random_part(resized, graph_of(resized), twice)
    assert words.startswith("a random resize, by RandomUniformInt in ")
    noise = lambda x: x + tf.random.normal([])  # noqa: E731
    assert naming.random_part(noise, graph_of(noise), twice).startswith(
        "the operation RandomStandardNormal"
    )
    assert naming.random_part(tf.sqrt, graph_of(tf.sqrt), twice) == ""


def test_batch_moments_of_a_function():
    def normed(x):
        with tf.name_scope("norm"):
            mean, variance = tf.nn.moments(x, [0, 1, 2])
        return (x - mean) / tf.sqrt(variance)

    assert naming.batch_moments(graph_of(normed)) == "norm"
    assert naming.batch_moments(graph_of(tf.sqrt)) == ""


def test_what_counts_as_different():
    assert not naming.differ(np.array([0.0, 100.0]), np.array([1e-3, 100.0]))
    assert naming.differ(np.array([0.0, 1.0]), np.array([1e-3, 1.0]))
    assert naming.differ(np.zeros(2), np.zeros(3))
    assert naming.differ(np.array([np.nan]), np.array([1.0]))
    assert not naming.differ(np.zeros(0), np.zeros(0))
