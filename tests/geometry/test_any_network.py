"""The geometry of a network does not hang on how its pixels and answers are scaled."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.analysis.common import numbers
from tests.twins import (
    IMAGES,
    KINDS,
    LABELS,
    PIXELS,
    Probabilities,
    images_for,
    labels_for,
    network,
)
from tfrobust import geometry

CALLS = {
    "gradient_norm": geometry.gradient_norm,
    "hessian_norm": lambda *given, **bounds: geometry.hessian_norm(
        *given, iterations=3, **bounds
    ),
    "curvature": lambda *given, **bounds: geometry.curvature(
        *given, iterations=3, **bounds
    ),
    "measure": lambda model, images, labels, **bounds: geometry.measure(
        model, (images, labels), power_iterations=3, batch_size=2, **bounds
    ),
    "robustness": lambda model, images, _, **bounds: geometry.robustness(
        model, images, iterations=3, **bounds
    ),
    "gradient_stability": lambda *given, **bounds: geometry.gradient_stability(
        *given, [0.01, 0.1], **bounds
    ),
    "linearization_error": lambda *given, **bounds: geometry.linearization_error(
        *given, [0.5, 1.0], **bounds
    ),
    "curvature_bound": lambda model, _, __, **bounds: geometry.curvature_bound(
        model, **bounds
    ),
}
OF_IMAGES = [name for name in CALLS if name != "curvature_bound"]
# Twice differentiated graphs take a second each; these two show the rest.
FAST = ("bytes and softmax", "one output")
PAIRS = [
    pytest.param(
        call,
        kind,
        marks=[]
        if kind in FAST or call in ("gradient_norm", "curvature_bound")
        else pytest.mark.slow,
    )
    for call in CALLS
    for kind in KINDS
]


@pytest.mark.parametrize(("call", "kind"), PAIRS)
def test_twins_have_one_geometry(call, kind):
    """In units of images in [0, 1], of logits."""
    images, bounds = images_for(kind)
    labels, twin = labels_for(kind), KINDS[kind]
    found = CALLS[call](network(kind), images, labels, **bounds)
    expected = CALLS[call](network(twin), IMAGES, labels)
    pairs = list(zip(numbers(found), numbers(expected), strict=True))
    assert pairs and any(np.any(other > 0) for _, other in pairs)
    for one, other in pairs:
        # Differences of gradients, and of losses, have lost a few digits.
        differs = call in ("gradient_stability", "linearization_error")
        loose = 2e-3 if differs else 1e-4
        np.testing.assert_allclose(one, other, rtol=loose)


@pytest.mark.parametrize("call", OF_IMAGES)
def test_pixels_out_of_bounds_are_refused(call):
    for kind, images, message in (
        ("logits", 255 * IMAGES, "must lie in [0, 1], or `bounds` must say where. "),
        ("logits", PIXELS, "must be floating, with pixels in [0, 1]. "),
        ("of a wrapper", 5 * IMAGES, "must lie in [0, 4], their bounds. "),
        (
            "bytes and softmax",
            IMAGES,
            "must be in the range of the model's pixels, [0, 255]",
        ),
    ):
        with pytest.raises(ValueError) as error:
            CALLS[call](network(kind), images, LABELS)
        assert str(error.value).startswith(f"`images` {message}")


@pytest.mark.parametrize(
    "call", [name for name in OF_IMAGES if name not in ("measure", "robustness")]
)
def test_labels_come_in_every_form(call):
    expected = numbers(CALLS[call](network("logits"), IMAGES, LABELS))
    for labels in (LABELS[:, None], np.eye(3)[LABELS], LABELS.astype(np.float32)):
        found = numbers(CALLS[call](network("logits"), IMAGES, labels))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("call", ["gradient_norm", "robustness"])
def test_probabilities_that_nothing_shows_are_refused(call):
    """Each time, not the first time alone."""
    model = Probabilities()
    for _ in range(2):
        with pytest.raises(ValueError, match="`model` must answer with logits, or end"):
            CALLS[call](model, IMAGES, LABELS)


def test_a_margin_is_traced_once():
    """For all sizes of a batch; another range of pixels is another graph."""
    traced = []

    def model(images):
        traced.append(1)
        return tf.reshape(images, [-1, 60])[:, :3] + 0.0

    for count in (1, 2, 3):
        geometry.robustness(model, IMAGES[:count])
    assert len(traced) == 2  # the margin, the curvature
    geometry.robustness(model, IMAGES, bounds=(0, 2))
    assert len(traced) == 4


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [keras.layers.Dense(3, "sigmoid")],
            "`network` must choose one of its classes, by a softmax or by logits. "
            "Received: a sigmoid for each of 3 classes",
        ),
        (
            [keras.layers.Dense(1, "tanh")],
            "`network` with one output must end in a sigmoid or a layer without an "
            "activation, whose output is the logit of class 1. Received: tanh",
        ),
        (
            [keras.layers.Softmax(), keras.layers.Dense(3)],
            "`network` must be made of layers whose constants are known. Received: a "
            "Softmax named ",
        ),
    ],
)
def test_ends_that_are_no_classifiers_have_no_bound(layers, message):
    model = keras.Sequential([keras.Input((2,)), *layers])
    with pytest.raises(ValueError) as error:
        geometry.curvature_bound(model)
    assert str(error.value).startswith(message)


def test_a_bound_looks_behind_every_way_to_end():
    """Layers that only pass numbers on, nested models, one of several outputs."""
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    expected = geometry.curvature_bound(plain)
    softmax = keras.layers.Softmax()
    inner = keras.Sequential([keras.Input((2,)), plain, softmax])
    image = keras.Input((2,))
    logits = plain(image)
    named = keras.layers.Activation("softmax", name="logits")(logits)
    for twin in (
        inner,
        keras.Sequential([keras.Input((2,)), inner, keras.layers.Reshape((3,))]),
        keras.Model(image, keras.layers.Dropout(0.5)(inner(image))),
        keras.Model(image, keras.layers.Identity()(softmax(logits))),
        keras.Model(image, [named, keras.layers.Dense(2)(image)]),
        keras.Model(image, {"other": keras.layers.Dense(2)(image), "logits": logits}),
    ):
        assert geometry.curvature_bound(twin) == expected
