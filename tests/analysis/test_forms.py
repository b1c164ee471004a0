"""Functions of images take them in any form, with the numbers of plain arrays."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.analysis.common import numbers
from tests.attacks.common import affine
from tests.seeds import set_seeds
from tfrobust import analysis, pag
from tfrobust.attacks import FGSM
from tfrobust.data import Dataset

SHAPE, COUNT = (6, 5, 2), 7
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, *SHAPE), np.uint8)
LABELS = np.random.default_rng(1).integers(0, 3, COUNT).astype(np.int32)
IMAGES = PIXELS.astype(np.float32) / np.float32(255)
MOVED = np.clip(IMAGES + 0.125, 0, 1)


def padded(images, labels):
    """Batches of 3, the last one filled up by what must not count."""
    for start in range(0, len(images), 3):
        rows = slice(start, start + 3)
        missing = 3 - len(labels[rows])
        fill = np.ones((missing, *images.shape[1:]), images.dtype)
        yield (
            np.concatenate([images[rows], fill]),
            np.concatenate([labels[rows], np.zeros(missing, labels.dtype)]),
            np.concatenate([np.ones(3 - missing), np.zeros(missing)]),
        )


# How images and labels are given, and the labels that are given beside them.
FORMS = {
    "pair": lambda images: ((images, LABELS), None),
    "dataset": lambda images: (
        tf.data.Dataset.from_tensor_slices((images, LABELS)).batch(3),
        None,
    ),
    "padded": lambda images: (padded(images, LABELS), None),
    "images in batches": lambda images: (
        tf.data.Dataset.from_tensor_slices(images).batch(2),
        LABELS,
    ),
}


def bright(images):
    """Two classes by the mean pixel; the second is the brighter one."""
    lead = tf.reduce_mean(images, axis=[1, 2, 3]) - 0.5
    return tf.stack([-lead, lead], axis=1)


def classify(images):
    return np.argmax(bright(images), axis=1)


def network():
    set_seeds(0)
    return keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Conv2D(2, 3, name="conv")]
    )


def towards():
    """To the images of the classes themselves."""
    return pag.OneImage(IMAGES[:3], [0, 1, 2], classes=3)


MODEL = affine(3, SHAPE)
RESULT = FGSM(eps=0.125)(MODEL, tf.constant(IMAGES), LABELS)
ALL_MOVED = np.stack([IMAGES, MOVED], axis=1)

# Each of images in a form and their labels; `form` makes another array of that form.
CALLS = {
    "filtered_accuracy": lambda images, labels, form: analysis.filtered_accuracy(
        MODEL, images, labels, [0.3, 1.0]
    ),
    "swapped_accuracy": lambda images, labels, form: analysis.swapped_accuracy(
        MODEL, images, form(MOVED)[0], labels, [0.3, 1.0]
    ),
    "log_amplitude": lambda images, labels, form: analysis.log_amplitude(images),
    "log_amplitude_difference": lambda images, labels, form: (
        analysis.log_amplitude_difference(form(MOVED)[0], images)
    ),
    "masking_check": lambda images, labels, form: analysis.masking_check(
        MODEL, images, labels, norm="inf", eps=0.1, restarts=1, steps=2, queries=5
    ),
    "alignment": lambda images, labels, form: analysis.alignment(
        MODEL, images, towards()
    ),
    "towards_classes": lambda images, labels, form: analysis.towards_classes(
        MODEL, images, eps=0.5, steps=2, classes=3
    ),
    "agreement": lambda images, labels, form: analysis.agreement(
        bright, ALL_MOVED, clean=images
    ),
    "local_response": lambda images, labels, form: analysis.local_response(
        network(), images, form(MOVED)[0], ["conv"]
    ),
    "local_responses": lambda images, labels, form: analysis.local_responses(
        {"a": network(), "b": network()}, images, form(MOVED)[0], ["conv"]
    ),
    "remeasure": lambda images, labels, form: analysis.remeasure(RESULT, images),
    "smallest_success": lambda images, labels, form: analysis.smallest_success(
        FGSM(eps=1.0), MODEL, images, labels, [0.01, 0.1, 0.5]
    ),
    "smallest_successes": lambda images, labels, form: analysis.smallest_successes(
        FGSM(eps=1.0), MODEL, images, labels, [0.01, 0.1, 0.5]
    ),
    "transfer": lambda images, labels, form: analysis.transfer(
        classify,
        images,
        {"a": form(MOVED)[0]},
        {"a": LABELS > 0},
        batch_size=2,
        labels=labels,
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("call", CALLS)
def test_the_form_makes_no_difference(call, form):
    """Neither of the images nor of adversarial ones; padding is left out."""
    expected = CALLS[call](IMAGES, LABELS, lambda images: (images, None))
    found = CALLS[call](*FORMS[form](IMAGES), FORMS[form])
    pairs = list(zip(numbers(found), numbers(expected), strict=True))
    assert pairs
    for one, other in pairs:
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("call", CALLS)
def test_a_data_set_brings_pixels_and_labels(call):
    def arrays(images):
        return images, None

    expected = CALLS[call](IMAGES, LABELS, arrays)
    given = Dataset("noise", PIXELS, LABELS, ("a", "b", "c"))
    found = CALLS[call](given, None, arrays)
    for one, other in zip(numbers(found), numbers(expected), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "call",
    [
        "filtered_accuracy",
        "swapped_accuracy",
        "masking_check",
        "smallest_success",
        "smallest_successes",
        "transfer",
    ],
)
def test_labels_are_given_exactly_once(call):
    for images, labels, message in (
        (IMAGES, None, "`labels` must be given where `(images|natural)` brings none"),
        ((IMAGES, LABELS), LABELS, "`labels` must be None where"),
    ):
        with pytest.raises(ValueError, match=message):
            CALLS[call](images, labels, lambda images: (images, None))
