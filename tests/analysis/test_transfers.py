"""Transfer between two models, counted by hand."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfrobust import analysis
from tfrobust.data import Dataset

# The target calls a pixel bright from 1/2 on.
LEVELS = np.uint8([0, 255, 204, 51, 255]).reshape(5, 1, 1, 1)
IMAGES = Dataset(
    images=LEVELS, labels=[0, 1, 1, 0, 0], class_names=("dark", "bright"), name="five"
)
ADVERSARIAL = {
    "a": np.float32([0.6, 0.4, 0.9, 0.7, 0.8]).reshape(5, 1, 1, 1),
    "b": np.float32([0.1, 0.9, 0.9, 0.1, 0.1]).reshape(5, 1, 1, 1),
}
SUCCESS = {
    "a": np.array([True, True, True, False, True]),
    "b": np.array([False, False, False, False, True]),
}


def classify(images):
    return np.int32(images[:, 0, 0, 0] >= 0.5)


def test_what_transfers_is_counted_by_hand():
    """The target has image 4 wrong when it is clean, so that one never counts.

    Attack a fooled the source on 0, 1 and 2 of the others, and the target on 0 and 1 of
    these; on 3 the target alone. Attack b fooled the source on image 4 alone.
    """
    found = analysis.transfer(classify, IMAGES, ADVERSARIAL, SUCCESS, 2)
    assert found.clean_correct.tolist() == [True, True, True, True, False]
    assert found.fooled["a"].tolist() == [True, True, False, True, True]
    assert found.counted("a").tolist() == [True, True, True, False, False]
    assert found.rate("a").value == 2 / 3
    # The standard error of 1, 1, 0: their deviation is sqrt(1/3).
    np.testing.assert_allclose(found.rate("a").standard_error, 1 / 3, rtol=1e-12)
    assert not found.counted("b").any()
    assert np.isnan(found.rate("b").value)
    assert found.clean_accuracy().value == 4 / 5
    assert found.clean_accuracy("a").value == 3 / 4
    assert found.clean_accuracy("b").value == 0.0
    assert found.responses == {}


def test_the_batch_size_makes_no_difference():
    expected = analysis.transfer(classify, IMAGES, ADVERSARIAL, SUCCESS, 5)
    for size in (1, 2, 3):
        found = analysis.transfer(classify, IMAGES, ADVERSARIAL, SUCCESS, size)
        for name in ADVERSARIAL:
            np.testing.assert_array_equal(found.fooled[name], expected.fooled[name])


def test_a_result_is_public_and_frozen():
    assert dataclasses.is_dataclass(analysis.Transfer)
    assert isinstance(
        analysis.transfer(classify, IMAGES, ADVERSARIAL, SUCCESS, 2), analysis.Transfer
    )


def test_a_filter_takes_away_what_is_near_and_alike():
    """One of four pixels stands out by 0.06: alike for a wide range, not for 0.001."""
    noisy = tf.reshape(tf.constant([0.51, 0.45, 0.45, 0.45]), [1, 1, 4, 1])
    assert classify(noisy).tolist() == [1]
    assert analysis.behind_filter(classify, 5.0, 0.5)(noisy).tolist() == [0]
    assert analysis.behind_filter(classify, 5.0, 0.001)(noisy).tolist() == [1]
