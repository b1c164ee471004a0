"""What is measured of a network does not hang on how pixels and answers are scaled."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.analysis.common import numbers
from tests.twins import (
    COUNT,
    IMAGES,
    KINDS,
    LABELS,
    PIXELS,
    SHAPE,
    Probabilities,
    factor,
    images_for,
    labels_for,
    network,
)
from tfrobust import analysis, attacks, pag
from tfrobust.data import Dataset

MOVED = np.clip(PIXELS.astype(int) + 32, 0, 255).astype(np.uint8)


def classes_of(kind):
    return 2 if kind in ("one output", "two logits") else 3


def moved_for(kind):
    """The images after an attack, as a network of this kind takes them."""
    unit = MOVED.astype(np.float32) / np.float32(255)
    if kind in ("bytes and softmax", "one output"):
        return MOVED
    return unit if kind in ("logits", "two logits") else 4 * unit


def towards(kind):
    """To the images of the classes themselves."""
    count = classes_of(kind)
    return pag.OneImage(IMAGES[:count], np.arange(count), classes=count)


def all_moved(kind):
    """`[N,K,H,W,C]`, of which K are equal."""
    return np.repeat(moved_for(kind)[:, None], classes_of(kind), axis=1)


def result_for(kind):
    """One that moved every image."""
    count = len(IMAGES)
    return attacks.AttackResult(
        adversarial=tf.cast(moved_for(kind), tf.float32),
        success=tf.ones([count], tf.bool),
        distortion=tf.zeros([count]),
        success_rounded=tf.ones([count], tf.bool),
        distortion_rounded=tf.zeros([count]),
        already=tf.zeros([count], tf.bool),
        queries=tf.zeros([count], tf.int32),
    )


def box(kind):
    """Where no network says it."""
    plain = kind in ("logits", "two logits")
    return {"bounds": (0, 1 if plain else factor(kind))}


RADII = [0.02, 0.2]

# Each of a network's kind, its images, labels and what is said of their bounds.
CALLS = {
    "filtered_accuracy": lambda kind, images, labels, bounds: (
        analysis.filtered_accuracy(
            network(kind), images, labels, [0.3, 1.0], "high", **bounds
        )
    ),
    "swapped_accuracy": lambda kind, images, labels, bounds: analysis.swapped_accuracy(
        network(kind), images, moved_for(kind), labels, [0.3, 1.0], **bounds
    ),
    "alignment": lambda kind, images, labels, bounds: analysis.alignment(
        network(kind), images, towards(kind), **bounds
    ),
    "agreement": lambda kind, images, labels, bounds: analysis.agreement(
        network(kind), all_moved(kind), clean=images, **bounds
    ),
    "local_response": lambda kind, images, labels, bounds: analysis.local_response(
        network(kind), images, moved_for(kind), ["conv"], **bounds
    ),
    "local_responses": lambda kind, images, labels, bounds: analysis.local_responses(
        {"a": network(kind)}, images, moved_for(kind), **bounds
    ),
    "masking_check": lambda kind, images, labels, bounds: analysis.masking_check(
        network(kind),
        images,
        labels,
        norm="inf",
        eps=0.05,
        restarts=1,
        steps=2,
        queries=5,
        **bounds,
    ),
    "smallest_success": lambda kind, images, labels, bounds: analysis.smallest_success(
        attacks.FGSM(eps=1.0), network(kind), images, labels, RADII, norm=2, **bounds
    )[1:],
    "smallest_successes": lambda kind, images, labels, bounds: [
        part[1:]
        for part in analysis.smallest_successes(
            attacks.FGSM(eps=1.0), network(kind), images, labels, RADII, **bounds
        )
    ],
    "transfer": lambda kind, images, labels, bounds: analysis.transfer(
        network(kind),
        images,
        {"a": moved_for(kind)},
        {"a": LABELS > 0},
        labels=labels,
        **bounds,
    ),
    "behind_filter": lambda kind, images, labels, bounds: analysis.behind_filter(
        network(kind), std=1.0, range_std=0.5, **bounds
    )(tf.constant(images)),
    "kernel_smoothness": lambda kind, *_: [
        row.variation for row in analysis.kernel_smoothness(network(kind))
    ],
    "default_layers": lambda kind, *_: [
        name.encode() for name in analysis.default_layers(network(kind)).values()
    ],
    # Of images alone: nobody but the caller knows their bounds.
    "remeasure": lambda kind, images, *_: analysis.remeasure(
        result_for(kind), images, **box(kind)
    )[1:],
    "magnify": lambda kind, images, *_: analysis.magnify(images, **box(kind)),
}
# A dozen attacks.
SLOW = [
    pytest.param("masking_check", kind, marks=pytest.mark.slow)
    for kind in ("bytes and softmax", "bounds are given")
]
PAIRS = [(call, kind) for call in CALLS if call != "masking_check" for kind in KINDS]


@pytest.mark.parametrize(("call", "kind"), PAIRS + SLOW)
def test_twins_measure_alike(call, kind):
    """In units of images in [0, 1], of logits."""
    images, bounds = images_for(kind)
    labels, twin = labels_for(kind), KINDS[kind]
    found = numbers(CALLS[call](kind, images, labels, bounds))
    expected = numbers(CALLS[call](twin, IMAGES, labels, {}))
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        if one.dtype.kind != "f":
            np.testing.assert_array_equal(one, other)
            continue
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["bytes and softmax", "of a wrapper"])
def test_images_are_moved_within_the_bounds(kind):
    """By the same share of them, and the original to the last bit where not at all."""
    images, bounds = images_for(kind)
    count = classes_of(kind)

    def moved(kind, images, eps, bounds):
        return analysis.towards_classes(
            network(kind), images, eps=eps, steps=2, classes=count, **bounds
        )

    found = moved(kind, images, 0.5, bounds)
    expected = moved(KINDS[kind], IMAGES, 0.5, {})
    assert found.max() <= factor(kind) and np.ptp(found - images[:, None]) > 0
    np.testing.assert_allclose(found / factor(kind), expected, atol=1e-4)
    still = moved(kind, images, 1e-9, bounds)
    np.testing.assert_allclose(still[:, 0], images, rtol=1e-6)


def test_a_data_set_is_for_every_network():
    """Its bytes are brought to what the network takes."""
    given = Dataset("noise", PIXELS, LABELS, ("a", "b", "c"))
    for kind in ("logits", "bytes and softmax", "of a wrapper"):
        images, _ = images_for(kind)
        model = network(kind)
        found = analysis.filtered_accuracy(model, given, None, [0.7])
        expected = analysis.filtered_accuracy(model, images, LABELS, [0.7])
        np.testing.assert_array_equal(found.correct, expected.correct)
        (same,) = analysis.local_responses(
            {"a": model}, given, given, ["conv"]
        ).values()
        assert not same.total.any()


OF_IMAGES = [
    name for name in CALLS if name not in ("kernel_smoothness", "default_layers")
]


@pytest.mark.parametrize("call", OF_IMAGES)
def test_pixels_out_of_bounds_are_refused(call):
    """Whichever of the images leave them."""
    with pytest.raises(ValueError, match=r"` must lie in \[0, 1\].*Received: values"):
        CALLS[call]("logits", 255 * IMAGES, LABELS, {})
    if call in ("remeasure", "magnify"):
        return
    with pytest.raises(
        ValueError, match="` must be in the range of the model's pixels"
    ):
        CALLS[call]("bytes and softmax", IMAGES, LABELS, {})


@pytest.mark.parametrize(
    "call",
    ["filtered_accuracy", "swapped_accuracy", "smallest_success", "transfer"],
)
def test_labels_come_in_every_form(call):
    expected = numbers(CALLS[call]("logits", IMAGES, LABELS, {}))
    for labels in (LABELS[:, None], np.eye(3)[LABELS], LABELS.astype(np.float32)):
        found = numbers(CALLS[call]("logits", IMAGES, labels, {}))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "call",
    [
        lambda: analysis.filtered_accuracy(Probabilities(), IMAGES, LABELS, [0.5]),
        lambda: analysis.alignment(Probabilities(), IMAGES, towards("logits")),
        lambda: analysis.towards_classes(
            Probabilities(), IMAGES, eps=0.1, steps=1, classes=3
        ),
        lambda: analysis.agreement(Probabilities(), all_moved("logits")),
        lambda: analysis.masking_check(
            Probabilities(), IMAGES, LABELS, norm="inf", eps=0.1
        ),
    ],
)
def test_probabilities_that_nothing_shows_are_refused(call):
    """Each time, not the first time alone."""
    for _ in range(2):
        with pytest.raises(ValueError, match="`model` must answer with logits, or end"):
            call()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_model_without_a_gradient_keeps_its_bounds():
    """It is given one of 0, and sees the pixels that it takes."""

    def model(images):
        lead = tf.reduce_mean(tf.round(images), axis=[1, 2, 3]) - 100.0
        return tf.stack([lead, -lead], axis=1)

    images = np.full((COUNT, *SHAPE), 200, np.uint8)
    report = analysis.masking_check(
        model,
        images,
        [0] * COUNT,
        norm="inf",
        eps=0.1,
        restarts=1,
        steps=1,
        queries=2,
        bounds=(0, 255),
    )
    assert report.robust_accuracy["clean"].value == 1.0
    assert report.vanishing.value == 1.0


def test_layers_of_a_wrapper_are_those_of_its_network():
    wrapped = network("of a wrapper")
    assert isinstance(wrapped, keras.Model)
    assert analysis.default_layers(wrapped) == {"Conv 1": "conv"}
