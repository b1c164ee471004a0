"""Logits of whatever can be attacked."""

import numpy as np
import pytest
import tensorflow as tf

from export import saved_model
from tests.attacks.common import (
    CONV_SHAPE,
    brightness,
    build_convnet,
    conv_images,
    convnet,
    gray,
)
from tfrobust.attacks import DDN, FGSM, PGD, DeepFool
from tfrobust.core.classifier import as_classifier, runners_up


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The network, exported and loaded."""
    folder = tmp_path_factory.mktemp("exported") / "convnet"
    return tf.saved_model.load(saved_model.export_saved_model(convnet(), folder))


@pytest.mark.slow
@pytest.mark.parametrize("part", ["object", "signature"])
@pytest.mark.parametrize(
    "attack",
    [
        PGD(norm="inf", eps=0.05, steps=4),
        PGD(norm=2, eps=0.4, steps=4, loss="kl"),
        DDN(steps=12),
        DeepFool(steps=5),
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_an_exported_model_is_attacked_as_the_network(served, attack, part):
    """The loaded object and its signature, both with checks of their input."""
    model = served if part == "object" else served.signatures["serving_default"]
    images, labels = conv_images(5)
    labels[1] = (labels[1] + 1) % 3
    expected = attack(convnet(), images, labels)
    result = attack(model, images, labels)
    np.testing.assert_allclose(result.adversarial, expected.adversarial, atol=1e-4)
    np.testing.assert_array_equal(result.success, expected.success)
    np.testing.assert_array_equal(result.already, expected.already)
    assert np.any(result.success & ~result.already)


def test_a_saved_module_with_a_call_is_attacked(tmp_path):
    """TensorFlow's own, without Keras and without signatures."""

    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 2, 3, 1])])
        def __call__(self, images):
            return brightness(images)

    tf.saved_model.save(Module(), str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    result = FGSM(eps=0.1)(loaded, gray(0.45), [0])
    assert result.success[0]


def test_keras_models_are_asked_in_inference_mode():
    """Dropout and batch norm of training would change the answer."""
    images, _ = conv_images(3)
    expected = convnet()(images, training=False)
    np.testing.assert_array_equal(as_classifier(convnet())(images), expected)
    # A copy, whose statistics may move.
    trained = build_convnet()(images, training=True)
    assert np.abs(trained - expected).max() > 0.1


@pytest.mark.parametrize(
    "answer",
    [
        lambda x: {"logits": brightness(x)},
        lambda x: {"logits": brightness(x), "classes": tf.argmax(brightness(x), 1)},
        lambda x: {"output_0": brightness(x)},
        lambda x: tf.cast(brightness(x), tf.float16),
    ],
)
def test_answers_that_hold_logits(answer):
    """A dictionary by name, or with nothing else in it; any floating dtype."""
    logits = as_classifier(answer)(gray(0.25, 0.75))
    assert logits.dtype == tf.float32
    np.testing.assert_array_equal(logits, brightness(gray(0.25, 0.75)))
    assert FGSM(eps=0.1)(answer, gray(0.45), [0]).success[0]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            lambda x: {"scores": brightness(x), "classes": brightness(x)},
            "`model` must have one output, or one named 'logits'; choose one by its "
            "name, as in `models.Classifier(model, output=NAME)` or "
            "`RobustModel(model, output=NAME)`. Received: the outputs scores, classes",
        ),
        (
            lambda x: tf.argmax(brightness(x), axis=-1),
            "`model` must answer with floating logits or probabilities [B, K]. "
            "Received: int64 of shape (None,)",
        ),
        (
            lambda x: tf.tanh(brightness(x)[:, :1]),
            "`model` with one output must end in a sigmoid or a layer without an "
            "activation, whose output is the logit of class 1. Received: Tanh",
        ),
        (
            lambda x: x,
            "`model` must answer with floating logits or probabilities [B, K]. "
            "Received: float32 of shape (None, 2, 3, 1)",
        ),
    ],
)
def test_answers_without_logits_are_named(answer, message):
    """In one sentence."""
    with pytest.raises(ValueError) as caught:
        as_classifier(answer)(gray(0.25, 0.75))
    assert str(caught.value) == message


def test_a_loaded_model_keeps_its_variables(tmp_path):
    """The signature alone would lose them; the classifier holds the whole object."""
    folder = saved_model.export_saved_model(convnet(), tmp_path / "convnet")
    classifier = as_classifier(tf.saved_model.load(folder))
    images = np.full((2, *CONV_SHAPE), 0.5, np.float32)
    expected = convnet()(images, training=False)
    np.testing.assert_allclose(classifier(images), expected, atol=1e-5)


def test_what_cannot_be_called_is_refused():
    """In one sentence."""
    with pytest.raises(ValueError, match="`model` must be callable, .*Received: obj"):
        as_classifier(object())


@pytest.mark.parametrize("count", [1, 2, 9])
def test_runners_up_are_the_largest_of_the_rest(count):
    """By NumPy's sort, never the class itself, with as many classes as there are."""
    logits = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    classes = np.array([0, 1, 2, 3, 0, 1])
    expected = [
        [k for k in np.argsort(-row) if k != own][:count]
        for row, own in zip(logits, classes, strict=True)
    ]
    spec = [tf.TensorSpec([None, None], tf.float32), tf.TensorSpec([None], tf.int32)]
    unknown = tf.function(
        lambda logits, classes: runners_up(logits, classes, count), input_signature=spec
    )
    for found in (
        runners_up(tf.constant(logits), tf.constant(classes, tf.int32), count),
        unknown(logits, classes.astype(np.int32)),
    ):
        np.testing.assert_array_equal(found, expected)
