"""What a graph loses, by small graphs of which it is known."""

import numpy as np
import pytest
import tensorflow as tf

from tfrobust.core.flow import Flow

# The operation of each has no derivative in TensorFlow, or one that is declared away.
LOST = tf.random.shuffle


def graph_of(function, shape=(3,)):
    spec = tf.TensorSpec(shape)
    return tf.function(function, autograph=False).get_concrete_function(spec).graph


def lost(function, **settings):
    graph = graph_of(function)
    step = Flow(graph).lost(graph.inputs[:1], graph.outputs, **settings)
    return None if step is None else step.kind


def broken(function):
    graph = graph_of(function)
    step = Flow(graph).broken(graph.inputs[:1], graph.outputs)
    return None if step is None else step.kind


@tf.function(autograph=False)
def inner(x):
    return 2.0 * LOST(x)


@tf.function(autograph=False)
def clean(x):
    return tf.sin(x)


@tf.custom_gradient
def own(x):
    return LOST(x) * 2.0, lambda upstream: upstream


@tf.custom_gradient
def two(x, y):
    return (LOST(x) * y, LOST(y)), lambda first, second: (first, second)


def looped(x):
    def body(i, value):
        return i + 1, LOST(value)

    return tf.while_loop(lambda i, _: i < 3, body, (0, x))[1]


def untouched_loop(x):
    """What is shuffled in the loop is no function of x, which goes around with it."""
    state = (0, tf.ones([3]), x)

    def body(i, noise, value):
        return i + 1, LOST(noise), tf.sin(value)

    return tf.while_loop(lambda i, *_: i < 3, body, state)[2]


def branched(x):
    return tf.cond(x[0] > 0.0, lambda: LOST(x), lambda: x)


LOSING = {
    "alone": LOST,
    "beside a clean way": lambda x: x + LOST(x),
    "in a function": inner,
    "after a function": lambda x: LOST(clean(x)),
    "in a function in a loop": lambda x: tf.map_fn(lambda row: inner(x) + row, x),
    "in a loop": looped,
    "in a branch": branched,
    "after a derivative of one's own": lambda x: LOST(own(x)),
    "before a derivative of one's own": lambda x: own(LOST(x)),
}
WHOLE = {
    "a clean function": clean,
    "of something else": lambda x: x + LOST(tf.ones([3])),
    "leading nowhere": lambda x: (LOST(x), tf.sin(x))[1],
    "by its shape": lambda x: x * tf.cast(tf.shape(LOST(x))[0], tf.float32),
    "under a stopped gradient": lambda x: x + tf.stop_gradient(LOST(x)),
    "in a derivative of one's own": lambda x: own(tf.sin(x)) + x,
    "in one of two arguments and results": lambda x: two(x, tf.sin(x))[1],
    "beside it in a loop": untouched_loop,
    "rounded, which is flat": lambda x: x + tf.round(x),
    "compared, which is flat": lambda x: tf.where(x > 0.5, x, 2.0 * x),
    "the largest": lambda x: x * tf.cast(tf.argmax(x), tf.float32),
}


@pytest.mark.parametrize("name", LOSING)
def test_a_lost_derivative_is_found(name):
    assert lost(LOSING[name]) == "RandomShuffle"


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_derivative_is_let_be(name):
    assert lost(WHOLE[name]) is None


def test_variables_are_sources_when_asked():
    weights = tf.Variable([1.0, 2.0, 3.0])

    def function(x):
        return x * LOST(weights)

    assert lost(function) is None
    assert lost(function, variables=True) == "RandomShuffle"


def test_what_ends_every_gradient_is_named():
    assert broken(lambda x: tf.sin(tf.round(tf.cos(x)))) == "Round"
    assert broken(lambda x: tf.cast(tf.cast(x, tf.uint8), tf.float32)) == "Cast"
    assert broken(lambda x: tf.cast(tf.argmax(tf.sin(x)), tf.float32)) == "ArgMax"
    assert broken(lambda x: tf.stop_gradient(x) * 2.0) == "StopGradient"
    assert broken(lambda x: LOST(tf.sin(x))) == "RandomShuffle"
    bent = lambda x: tf.where(x > 0.5, x, 2.0 * x)  # noqa: E731 - smooth beside it
    assert broken(lambda x: tf.round(bent(x))) == "Round"
    assert broken(tf.sin) is None
    assert broken(lambda x: tf.ones([3])) is None


def test_a_loaded_function_is_read(tmp_path):
    """Where it is a graph without the Python that made it."""
    module = tf.Module()
    module.call = tf.function(inner, input_signature=[tf.TensorSpec([3])])
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    assert lost(lambda x: x + loaded.call(x)) == "RandomShuffle"


def test_a_variance_with_its_mean_held_fixed_is_found():
    """That of `tf.nn.moments`, and not the maximum in a sum of exponentials."""

    def stopped(function):
        graph = graph_of(function)
        return Flow(graph).stopped_moments(graph.inputs, graph.outputs)

    def variance(x):
        return tf.nn.moments(x, [0])[1]

    assert stopped(variance).kind == "SquaredDifference"
    assert stopped(lambda x: variance(tf.ones([3])) * x) is None
    assert stopped(lambda x: tf.reduce_logsumexp(x)) is None
    assert stopped(lambda x: tf.math.squared_difference(x, 0.5)) is None


@pytest.mark.parametrize("name", LOSING)
def test_the_tape_says_nothing_of_what_is_found(name):
    """The reason of it all: TensorFlow answers none, zero, or with a term missing."""
    images = tf.constant([0.2, 0.5, 0.7])
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(LOSING[name](images) * tf.constant([1.0, 1.0, 1.0]))
    gradient = tape.gradient(total, images)
    # Of the sum of shuffled numbers the derivative is that of their sum.
    missing = gradient is None or not np.allclose(gradient, 1.0, atol=1e-3)
    assert missing or name in ("in a branch",) or "own" in name or "beside" in name
