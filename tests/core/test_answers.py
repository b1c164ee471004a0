"""Logits in what networks answer with, against the numbers that went into the end."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrobust.core.answers import are_probabilities, read_answer, shape_of_output
from tfrobust.core.classifier import PROBABILITIES, as_classifier

SHAPE, CLASSES = (4, 3, 2), 3
IMAGES = np.random.default_rng(0).random((5, *SHAPE), np.float32)
image = keras.Input(SHAPE)


def flat():
    return keras.layers.Flatten()(image)


def dense(units=CLASSES, **settings):
    """With weights so large that a softmax of the answer rounds to 0 and 1."""
    large = keras.initializers.RandomNormal(stddev=100.0, seed=1)
    return keras.layers.Dense(units, kernel_initializer=large, **settings)


def weights_of(network):
    """Kernel and bias of the one layer that has them, as two matrices."""
    kernel, bias = network.get_weights()
    return kernel.reshape(-1, kernel.shape[-1]), bias


class Written(keras.Model):
    """Subclassed, with a softmax in its call."""

    def __init__(self):
        super().__init__()
        self.flatten, self.dense = keras.layers.Flatten(), dense()

    def call(self, inputs, training=None):
        return tf.nn.softmax(self.dense(self.flatten(inputs)))


def written():
    network = Written()
    network(IMAGES)
    return network


def nested():
    end = keras.Sequential([dense(), keras.layers.Softmax()])
    return keras.Sequential([image, keras.layers.Flatten(), end])


def convolutional():
    """A softmax of a map of one pixel, then a reshape."""
    conv = keras.layers.Conv2D(
        CLASSES, SHAPE[:2], kernel_initializer=dense().kernel_initializer
    )
    odds = keras.layers.Softmax()(conv(image))
    return keras.Model(image, keras.layers.Reshape((CLASSES,))(odds))


ENDINGS = {
    "activation": lambda: keras.Model(image, dense(activation="softmax")(flat())),
    "layer": lambda: keras.Model(image, keras.layers.Softmax()(dense()(flat()))),
    "activation layer": lambda: keras.Model(
        image, keras.layers.Activation("softmax")(dense()(flat()))
    ),
    "operation": lambda: keras.Model(image, keras.ops.softmax(dense()(flat()))),
    "exponential": lambda: keras.Model(
        image, keras.ops.exp(keras.ops.log_softmax(dense()(flat())))
    ),
    "then another type": lambda: keras.Model(
        image,
        keras.layers.Activation("linear", dtype="float64")(
            dense(activation="softmax")(flat())
        ),
    ),
    "nested": nested,
    "convolutional": convolutional,
    "subclassed": written,
}


@pytest.mark.parametrize("name", ENDINGS)
def test_a_softmax_is_left_out_wherever_it_stands(name):
    """Exactly: logits hundreds apart, whose probabilities are 0 and 1."""
    network = ENDINGS[name]()
    kernel, bias = weights_of(network)
    expected = IMAGES.reshape(5, -1) @ kernel + bias
    assert np.ptp(expected, axis=1).min() > 50
    logits = as_classifier(network)(IMAGES)
    np.testing.assert_allclose(logits, expected, rtol=1e-4)


@pytest.mark.parametrize(
    "end",
    [
        lambda: dense(1)(flat()),
        lambda: dense(1, activation="sigmoid")(flat()),
        lambda: keras.ops.sigmoid(dense(1)(flat()))[:, 0],
        lambda: keras.layers.Reshape(())(dense(1, activation="sigmoid")(flat())),
    ],
    ids=["logit", "sigmoid", "rank 1", "scalar"],
)
def test_one_output_is_two_classes(end):
    """Whose log-odds are the logit, and whose gradients are opposite."""
    network = keras.Model(image, end())
    kernel, bias = weights_of(network)
    odds = (IMAGES.reshape(5, -1) @ kernel + bias)[:, 0]
    logits = as_classifier(network)(IMAGES)
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], odds, rtol=1e-4)
    np.testing.assert_allclose(logits[:, 1] + logits[:, 0], 0.0, atol=1e-4)


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        (lambda z: keras.ops.sigmoid(z), "a sigmoid for each of 3 classes"),
        (lambda z: keras.ops.tanh(z[:, :1]), "Received: Tanh"),
        (lambda z: keras.ops.argmax(z, axis=-1), "int32 of shape (None,)"),
        (lambda z: z[:, :, None, None], "float32 of shape (None, 3, 1, 1)"),
    ],
)
def test_what_is_no_answer_of_a_classifier_is_refused(end, sentence):
    network = keras.Model(image, end(dense()(flat())))
    with pytest.raises(ValueError) as caught:
        as_classifier(network)(IMAGES)
    assert sentence in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_probabilities_of_another_step_are_refused():
    """A softmax written by hand, whose input nothing in the graph tells."""
    powers = keras.ops.exp(keras.layers.Dense(CLASSES)(flat()))
    odds = powers / keras.ops.sum(powers, axis=-1, keepdims=True)
    with pytest.raises(ValueError) as caught:
        as_classifier(keras.Model(image, odds))(IMAGES)
    assert str(caught.value) == PROBABILITIES


def test_logits_that_are_no_probabilities_pass_unchanged():
    """Whatever step they end in."""
    network = keras.Model(image, keras.ops.relu(keras.layers.Dense(CLASSES)(flat())))
    np.testing.assert_allclose(as_classifier(network)(IMAGES), network(IMAGES))
    assert not are_probabilities(tf.constant([[0.5, 0.5], [0.5, 0.6]]))
    assert not are_probabilities(tf.constant([[1.5, -0.5]]))
    assert are_probabilities(tf.constant([[0.25, 0.75], [1.0, 0.0]]))


def test_two_softmaxes_are_one_too_many():
    """The last is left out, and only that."""
    end = keras.layers.Softmax()(dense(activation="softmax")(flat()))
    network = keras.Model(image, end)
    logits = as_classifier(network)(IMAGES)
    np.testing.assert_allclose(tf.nn.softmax(logits), network(IMAGES), atol=1e-6)
    assert np.max(logits) <= 1.0


@pytest.mark.parametrize("keyed", [True, False])
def test_one_of_several_outputs_is_chosen_by_name(keyed):
    heads = [dense(3, name="first")(flat()), dense(2, name="second")(flat())]
    outputs = {"b": heads[0], "a": heads[1]} if keyed else heads
    names = ("b", "a") if keyed else ("first", "second")
    network = keras.Model(image, outputs)
    for name, units in zip(names, (3, 2), strict=True):
        assert shape_of_output(network, name) == (None, units)
    with pytest.raises(ValueError, match="must have one output, or one named 'logits'"):
        as_classifier(network)(IMAGES)
    with pytest.raises(ValueError, match="`output` must be one of the model's outputs"):
        shape_of_output(network, "third")


def test_the_output_named_logits_counts():
    heads = {"features": flat(), "logits": dense()(flat())}
    network = keras.Model(image, heads)
    np.testing.assert_allclose(
        as_classifier(network)(IMAGES), network(IMAGES)["logits"], rtol=1e-4
    )


def test_gradients_flow_to_the_images_past_a_softmax():
    """Where those of the probabilities are exactly 0, the logits have the kernel."""
    network = ENDINGS["layer"]()
    kernel, _ = weights_of(network)
    images = tf.constant(IMAGES[:1])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        first = as_classifier(network)(images)[0, 0]
        share = network(images)[0, 0]
    np.testing.assert_allclose(
        tf.reshape(tape.gradient(first, images), [-1]), kernel[:, 0], rtol=1e-5
    )
    assert not np.any(tape.gradient(share, images))


def test_an_eager_answer_is_taken_as_it_is():
    """There is no graph to read; a network is asked in one."""
    answer = read_answer(tf.constant([[0.25, 0.75]]))
    assert answer.ending == "eager" and answer.is_doubtful
    np.testing.assert_array_equal(answer.logits, [[0.25, 0.75]])
