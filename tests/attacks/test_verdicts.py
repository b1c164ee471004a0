"""The verdict on an attack: recomputed from the image that it returned."""

import dataclasses

import numpy as np
import tensorflow as tf

from tests.attacks.common import Shift, brightness, distances, gray
from tfrobust.attacks import AttackResult, combine


def test_success_and_distortion_are_recomputed():
    result = Shift(amount=0.2)(brightness, gray(0.45, 0.1, 0.7), [0, 0, 0])
    assert isinstance(result, AttackResult)
    assert result.success.numpy().tolist() == [True, False, True]
    # The last was wrong to begin with: untouched, at distance 0.
    expected = [0.2 * 6**0.5, 0.2 * 6**0.5, 0.0]
    np.testing.assert_allclose(result.distortion, expected, rtol=1e-5)
    np.testing.assert_allclose(result.adversarial, gray(0.65, 0.3, 0.7), rtol=1e-6)


def test_an_image_made_worse_comes_back_clean():
    images = gray(0.45, 0.1)
    result = Shift(amount=-0.05)(brightness, images, [0, 0])
    np.testing.assert_array_equal(result.adversarial, images)
    np.testing.assert_array_equal(result.distortion, 0.0)
    assert not np.any(result.success)


def test_results_are_clipped_before_they_are_judged():
    result = Shift(amount=7.0)(brightness, gray(0.25), [0])
    np.testing.assert_array_equal(result.adversarial, gray(1.0))
    np.testing.assert_allclose(result.distortion, 0.75 * 6**0.5, rtol=1e-6)


def test_a_search_that_overspends_its_budget_finds_nothing():
    result = Shift(amount=0.2, eps=0.4)(brightness, gray(0.45), [0])
    assert not result.success[0]
    np.testing.assert_array_equal(result.adversarial, gray(0.45))


def test_nan_is_not_returned():
    result = Shift(amount=float("nan"))(brightness, gray(0.45), [0])
    np.testing.assert_array_equal(result.adversarial, gray(0.45))
    assert not result.success[0]


def test_images_that_need_no_attack_are_marked():
    """They count as successes, and the search has no say in them."""
    result = Shift(amount=0.1)(brightness, gray(0.7, 0.45, 0.1), [0, 0, 0])
    assert result.already.numpy().tolist() == [True, False, False]
    assert result.success.numpy().tolist() == [True, True, False]
    np.testing.assert_array_equal(result.adversarial[0], gray(0.7)[0])


def test_rounded_fields_are_those_of_the_saved_image():
    """Recomputed in float64; one that lies just over the edge falls back."""
    images = gray(0.4961, 0.4962, 0.1)
    result = Shift(amount=0.0055)(brightness, images, [0, 0, 0])
    rounded = np.rint(np.float64(result.adversarial) * 255) / 255
    expected = rounded.mean(axis=(1, 2, 3)) > 0.5
    np.testing.assert_array_equal(result.success_rounded, expected)
    np.testing.assert_allclose(
        result.distortion_rounded, distances(images, rounded, 2), atol=1e-6
    )
    low = Shift(amount=0.0085)(lambda x: brightness(x + 0.0015), gray(0.4906), [0])
    # 0.4991 becomes 127 / 255 = 0.4980: over the edge at 0.4985, and back again.
    assert low.success[0] and not low.success_rounded[0]
    assert low.distortion_rounded[0] < low.distortion[0]


def test_targets_decide_success():
    images = gray(0.45, 0.45, 0.7)
    result = Shift(amount=0.1)(brightness, images, [0, 1, 0], targets=[1, 0, 1])
    assert np.all(result.success)
    np.testing.assert_allclose(result.adversarial, gray(0.55, 0.45, 0.7), rtol=1e-6)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counting(Shift):
    """Says of each image that it asked as often as its label is high."""

    def run(self, problem):
        """The points, and made-up counts."""
        return super().run(problem), 10 + problem.goal.classes


def test_queries_are_those_that_the_search_counted():
    """0 where it does not count; those of attacks that are combined add up."""
    images, labels = gray(0.45, 0.1), [0, 0]
    assert Shift(amount=0.1)(brightness, images, labels).queries.numpy().tolist() == [
        0,
        0,
    ]
    counted = Counting(amount=0.1)(brightness, images, labels)
    assert counted.queries.numpy().tolist() == [10, 10]
    assert counted.queries.dtype == tf.int32
    both = combine([counted, counted])
    assert both.queries.numpy().tolist() == [20, 20]
