"""Networks by name: those of the library, your own, and what is refused."""

import keras
import pytest

from tfrobust import models
from tfrobust.core.registry import Makers
from tfrobust.models import registry

SHAPE = (32, 32, 3)


@pytest.fixture
def own(monkeypatch):
    """An empty registry for this test alone."""
    monkeypatch.setattr(registry, "_NETWORKS", Makers("network"))


def flat(input_shape, classes, use_bias: bool = True, units: int | None = None):
    return keras.Sequential(
        [
            keras.Input(input_shape),
            keras.layers.Flatten(),
            keras.layers.Dense(units or classes, use_bias=use_bias),
        ]
    )


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("c4", lambda: models.C4(SHAPE, 7, "lcnn", 4, beta=3.0)),
        ("resnet18", lambda: models.ResNet18(SHAPE, 7, "lcnn", 4, beta=3.0, gamma=2.0)),
        ("resnet9", lambda: models.ResNet9(SHAPE, 7, "lcnn", 4, beta=3.0, gamma=2.0)),
        ("vgg11", lambda: models.VGG11(SHAPE, 7, "lcnn", 4, beta=3.0, gamma=2.0)),
        ("mlp", lambda: models.MLP(SHAPE, 7, "lcnn", (4, 4), beta=3.0)),
    ],
)
def test_a_name_builds_the_network_of_the_library(text, made):
    """With the settings that it has; beta and gamma are among its weights."""
    by_name = models.build(text, SHAPE, 7, variant="lcnn", width=4, beta=3.0, gamma=2.0)
    by_hand = made()
    shapes = [(weight.path, tuple(weight.shape)) for weight in by_hand.weights]
    assert [(w.path, tuple(w.shape)) for w in by_name.weights] == shapes
    assert models.betas(by_name) == models.betas(by_hand) != {}
    assert models.gammas(by_name) == models.gammas(by_hand)


def test_a_text_wins_over_the_defaults():
    network = models.build("mlp:width=3", (2,), 2, width=5, gamma=1.0)
    assert network.get_layer("hidden1").units == 3


def test_an_own_network(own):
    assert models.register("flat")(flat) is flat
    assert models.names() == ("flat",)
    assert models.settings("flat") == ("use_bias", "units")
    network = models.build("flat:use_bias=false", (2, 2, 1), 3, width=8)
    assert network.count_params() == 4 * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("other", "`network` must be one of flat. Received: 'other'"),
        (
            "flat:depth=2",
            "Settings of flat must be among use_bias, units. Received: depth=2",
        ),
        (
            "flat:classes=2",
            "Settings of flat must be among use_bias, units. Received: classes=2",
        ),
        (
            "flat:use_bias=maybe",
            "`use_bias` of flat must be true or false. Received: use_bias=maybe",
        ),
        (
            "flat:units=5",
            "A registered network must be a `keras.Model` from images (None, 2, 2, 1) "
            "to logits (None, 3). Received: outputs (None, 5) of flat:units=5",
        ),
    ],
)
def test_what_is_refused(own, text, message):
    models.register("flat")(flat)
    with pytest.raises(ValueError) as caught:
        models.build(text, (2, 2, 1), 3)
    assert str(caught.value) == message


def other_images(input_shape, classes):
    return flat((3, 3, 1), classes)


def softmax(input_shape, classes):
    return keras.Sequential([flat(input_shape, classes), keras.layers.Softmax()])


@pytest.mark.parametrize(
    ("maker", "received"),
    [
        (lambda input_shape, classes: None, "a NoneType of mine"),
        (other_images, "images (None, 3, 3, 1) of mine"),
        (softmax, "mine, whose last layer is a softmax"),
    ],
)
def test_what_is_no_such_network_is_refused(own, maker, received):
    models.register("mine")(maker)
    with pytest.raises(ValueError) as caught:
        models.build("mine", (2, 2, 1), 3)
    assert str(caught.value) == (
        "A registered network must be a `keras.Model` from images (None, 2, 2, 1) to "
        f"logits (None, 3). Received: {received}"
    )


def test_a_network_may_take_images_of_any_size(own):
    def any_size(input_shape, classes):
        images = keras.Input((None, None, input_shape[-1]))
        pooled = keras.layers.GlobalAveragePooling2D()(images)
        return keras.Model(images, keras.layers.Dense(classes)(pooled))

    models.register("any_size")(any_size)
    assert models.build("any_size", (2, 2, 1), 3).count_params() == 6
