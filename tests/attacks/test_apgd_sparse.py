"""The steps of auto-PGD in L1, against the paper's rules in NumPy."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.apgd_by_hand import Wavy, ascend_l1, cross_entropy, projected_l1
from tests.attacks.test_apgd_steps import visited
from tfrobust.attacks import APGD
from tfrobust.attacks.apgd_sparse import SparseSteps, Sparsity, sparse
from tfrobust.attacks.apgd_steps import Visit


@pytest.mark.parametrize("entries", [1, 5, 24])
def test_a_step_has_the_signs_of_the_largest_gradients(entries):
    """Their sizes are equal and add up to 1."""
    gradient = np.random.default_rng(0).normal(size=(3, 2, 4, 3)).astype(np.float32)
    steps = sparse(tf.constant(gradient), tf.fill([3], entries)).numpy()
    for step, slope in zip(steps.reshape(3, -1), gradient.reshape(3, -1), strict=True):
        largest = np.argsort(-np.abs(slope))[:entries]
        expected = np.zeros(24)
        expected[largest] = np.sign(slope[largest]) / entries
        np.testing.assert_allclose(step, expected, rtol=1e-6)


def test_zero_and_infinite_gradients_take_no_step():
    """Zeros fill no places; NaN and infinity count as 0."""
    gradient = np.zeros((2, 1, 3, 1), np.float32)
    gradient[1, 0, :, 0] = [np.nan, 1e-30, np.inf]
    steps = sparse(tf.constant(gradient), tf.constant([3, 3])).numpy().reshape(2, 3)
    np.testing.assert_array_equal(steps, [[0, 0, 0], [0, 1, 0]])


def test_each_image_has_its_own_number_of_entries():
    gradient = tf.reshape(tf.constant([[3.0, 2.0, 1.0]] * 3), [3, 1, 3, 1])
    steps = sparse(gradient, tf.constant([1, 2, 3])).numpy().reshape(3, 3)
    np.testing.assert_array_equal((steps > 0).sum(axis=1), [1, 2, 3])


def test_what_counts_as_fewer_entries():
    """By hand: 18 of 20 are fewer than 0.95, 19 are not; a step gets two thirds."""
    images, eps = tf.fill([3, 4, 10, 1], 0.5), tf.fill([3], 2.0)
    counts = np.array([18, 19, 25])
    changed = np.arange(40) < counts[:, None]
    points = images + tf.constant(0.01 * changed.reshape(3, 4, 10, 1), tf.float32)
    best = Visit(points, tf.ones_like(images), tf.ones([3]))
    here = Visit(images, -tf.ones_like(images), tf.zeros([3]))
    steps = SparseSteps(images, eps, tf.constant(2), continues=False)
    pace = Sparsity(tf.constant([0.9, 0.9, 0.21]), tf.fill([3], 7), tf.fill([3], 20))
    same = steps.advance(tf.constant(3), here, best, pace)[1]
    np.testing.assert_array_equal(same.size, pace.size)
    np.testing.assert_array_equal(same.entries, pace.entries)
    point, pace = steps.advance(tf.constant(4), here, best, pace)
    np.testing.assert_allclose(pace.size, [2.0, 0.6, 0.2], rtol=1e-6)
    np.testing.assert_array_equal(pace.entries, [12, 13, 17])
    np.testing.assert_array_equal(pace.changed, counts)
    # The first went on from its best point, up the gradient there.
    assert np.all(point[0] > 0.5) and np.all(point[1:] < 0.5)


@pytest.mark.parametrize("steps", [3, 4, 5, 7, 10, 55, 100])
def test_every_radius_has_its_share_of_the_steps(steps):
    """0.3, 0.3 and 0.4 of them, none left out and none without."""
    radii, counts = zip(*APGD(norm=1, eps=1.0, steps=steps)._phases(), strict=True)
    assert radii == (3.0, 2.0, 1.0)
    assert sum(counts) == steps and min(counts) >= 1
    assert steps < 10 or counts[0] == counts[1] == math.ceil(0.3 * steps)


@pytest.mark.parametrize("sharpness", [1.0, 2.0])
def test_every_point_is_that_of_the_loop_in_numpy(sharpness):
    """At one radius; steps are reset where the perturbation got sparser, and shrink to
    a tenth elsewhere.

    float32 against float64 on a curved model.
    """
    model = Wavy(sharpness=sharpness)
    images, labels = model.images(4)
    attack = APGD(norm=1, eps=2.0, steps=60, large_radii=False, early_stop=False)
    points, _ = visited(attack, model, images, labels)
    assert len(points) == 61
    sizes, resets = set(), set()
    for i, label in enumerate(labels):
        image, climbed = images[i].ravel().astype(np.float64), cross_entropy(label)
        path, _, checks = ascend_l1(model, climbed, image, points[0, i], 2.0, 60, False)
        np.testing.assert_allclose(points[:, i], path, atol=2e-5)
        assert len(checks) == 30
        sizes |= {size for _, size, _ in checks}
        resets |= {fewer for _, _, fewer in checks}
    assert {2.0, 0.2} <= sizes and resets == {False, True}


def test_large_radii_first():
    """At 3 eps, 2 eps and eps, each from where the last was highest, brought nearer."""
    model, eps, steps = Wavy(sharpness=2.0), 0.8, 40
    images, labels = model.images(4)
    attack = APGD(norm=1, eps=eps, steps=steps, early_stop=False)
    points, found = visited(attack, model, images, labels)
    share = math.ceil(0.3 * steps)
    counts = [share, share, steps - 2 * share]
    assert len(points) == steps + 3
    for i, label in enumerate(labels):
        image, climbed = images[i].ravel().astype(np.float64), cross_entropy(label)
        start, first = points[0, i], 0
        for radius, count in zip((3 * eps, 2 * eps, eps), counts, strict=True):
            path, best, _ = ascend_l1(model, climbed, image, start, radius, count, True)
            stop = first + count + 1
            np.testing.assert_allclose(points[first:stop, i], path, atol=2e-5)
            first, start = stop, image + projected_l1(best - image, image, radius - eps)
    # What comes back is the best point of the last radius, whatever there was before.
    lengths = np.abs(found - images.reshape(4, -1)).sum(axis=1)
    assert np.all(lengths <= eps + 1e-6)
    for i in range(4):
        last = points[-counts[-1] - 1 :, i]
        assert np.abs(last - found[i]).max(axis=1).min() < 1e-6


def test_unchanged_entries_are_exactly_those_of_the_image():
    """Or rounding would count as a changed entry."""
    model = Wavy()
    images, labels = model.images(3)
    attack = APGD(norm=1, eps=1.0, steps=20, early_stop=False)
    _, found = visited(attack, model, images, labels)
    changed = np.sum(found != images.reshape(3, -1), axis=1)
    assert np.all(changed >= 1) and np.all(changed <= 12)
