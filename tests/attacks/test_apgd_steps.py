"""The steps of auto-PGD in L2 and L-infinity, against both papers' rules in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.apgd_by_hand import Wavy, ascend, cross_entropy, dlr
from tfrobust.attacks import APGD, Goal, Problem, ThreatModel
from tfrobust.attacks.apgd_steps import MomentumSteps, Visit, table, windows


def test_checkpoints_are_those_of_the_paper():
    """`p_0 = 0, p_1 = 0.22, p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06)`, in
    hundredths of 100 steps.
    """
    places = [0, 22]
    while places[-1] < 100:
        places.append(places[-1] + max(places[-1] - places[-2] - 3, 6))
    found = windows(100)
    assert [number for number in range(101) if found[number]] == places[1:-1]
    assert [window for window in found if window] == np.diff(places)[:-1].tolist()


@pytest.mark.parametrize("steps", [1, 2, 5, 17, 40, 250])
def test_windows_reach_from_one_checkpoint_to_the_next(steps):
    """Whatever the budget: there is one, they add up, and none grows."""
    found = windows(steps)
    assert len(found) == steps + 1
    numbers = [0, *(number for number, window in enumerate(found) if window)]
    sizes = [window for window in found if window]
    assert sizes[0] == max(int(0.22 * steps), 1)
    assert np.diff(numbers).tolist() == sizes
    assert sizes == sorted(sizes, reverse=True)


def test_table_fills_up_with_zeros():
    np.testing.assert_array_equal(table([[1, 2, 3], [4]]), [[1, 2, 3], [4, 0, 0]])


def test_what_counts_as_a_step_that_rises():
    """By hand, a checkpoint after 4 steps, of which 3 are too few to go on.

    The first counts where its loss is above 0, wherever the start was.
    """
    scores = {
        "all rise, though the start was higher": ([5, 1, 2, 3, 4], False),
        "the first is below 0": ([-5, -1, 2, 3, 4], True),
        "one is equal": ([0, 1, 2, 2, 4], True),
        "one falls": ([0, 1, 5, 3, 4], True),
        "all rise": ([0, 1, 2, 3, 4], False),
    }
    rows = np.array([row for row, _ in scores.values()], np.float32)
    images, eps = tf.fill([len(rows), 1, 2, 1], 0.5), tf.fill([len(rows)], 0.125)
    checks = tf.constant([0, 0, 0, 0, 4])
    steps = MomentumSteps(ThreatModel(2), images, eps, checks, rho=0.75, zero=0.0)
    pace = steps.begin(images)
    for number in range(5):
        best = tf.constant(rows[:, : number + 1].max(axis=1))
        slopes = tf.ones_like(images)
        here = Visit(images + 0.01 * number, slopes, tf.constant(rows[:, number]))
        # Where an image goes back to, so that it shows who does.
        highest = Visit(images + 0.1, -slopes, best)
        _, pace = steps.advance(tf.constant(number), here, highest, pace)
    halved = np.array([halves for _, halves in scores.values()])
    np.testing.assert_array_equal(pace.size, np.where(halved, 0.125, 0.25))
    np.testing.assert_array_equal(pace.halved, halved)
    before = np.where(halved, np.float32(0.6), np.float32(0.54))
    np.testing.assert_allclose(pace.before[:, 0, 0, 0], before, rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "targeted", "least", "most"),
    [
        ("cross_entropy", False, -np.inf, -50.0),
        ("cross_entropy", True, 50.0, np.inf),
        ("dlr", False, 0.0, 0.0),
        ("margin", True, 0.0, 0.0),
    ],
)
def test_the_score_at_which_each_loss_is_0(loss, targeted, least, most):
    """The published cross-entropy is above 0, and minus that of a target below."""
    images, eps = tf.fill([1, 1, 2, 1], 0.5), tf.constant([0.1])
    problem = Problem(
        classifier=None,
        images=images,
        goal=Goal(tf.constant([0]), targeted),
        eps=eps,
        active=tf.constant([True]),
        compact=False,
    )
    attack = APGD(norm=2, eps=0.1, loss=loss)
    assert least <= attack._steps(problem, eps, tf.constant(0))._zero <= most


def visited(attack, model, images, labels):
    """The points that the model was asked about, float64 `[N,B,d]`, and the result."""
    graph = tf.function(lambda *batch: attack.perturb(model, *batch), autograph=False)
    model.points.clear()
    model.records = True
    found = graph(images, labels).numpy().reshape(len(images), -1)
    model.records = False
    points = np.array(model.points, np.float64)
    return points.reshape(*points.shape[:2], -1), found


@pytest.mark.parametrize(
    ("norm", "eps", "loss", "steps"),
    [
        ("inf", 0.15, "cross_entropy", 40),
        (2, 0.8, "cross_entropy", 40),
        (2, 0.2, "dlr", 30),
    ],
)
def test_every_point_is_that_of_the_loop_in_numpy(norm, eps, loss, steps):
    """The steps of four images, through every checkpoint: those that halve for want
    of rising steps, those that halve as nothing changed, and those that do not. The
    loop climbs the cross-entropy itself, the attack its log-odds.

    float32 against float64 on a curved model: what rounding differs by grows from step
    to step.
    """
    model = Wavy(sharpness=2.0)
    images, labels = model.images(4)
    attack = APGD(norm=norm, eps=eps, steps=steps, loss=loss, early_stop=False)
    points, _ = visited(attack, model, images, labels)
    assert len(points) == steps + 1
    kinds = set()
    for i, label in enumerate(labels):
        climbed = {"cross_entropy": cross_entropy, "dlr": dlr}[loss](label)
        image = images[i].ravel().astype(np.float64)
        path, checks = ascend(model, climbed, image, points[0, i], eps, norm, steps)
        np.testing.assert_allclose(points[:, i], path, atol=2e-5)
        numbers = [number for number, *_ in checks]
        expected = [number for number, window in enumerate(windows(steps)) if window]
        assert numbers == expected
        kinds |= {tuple(why) for _, *why in checks}
    assert {(True, False), (False, False)} <= kinds
    if loss == "cross_entropy":
        assert {(True, True), (False, True)} & kinds


def test_rho_decides_what_rises_enough():
    """Another share, another path, and the loop's again."""
    model = Wavy(sharpness=2.0)
    images, labels = model.images(2)
    paths = {}
    for rho in (0.75, 0.2):
        attack = APGD(norm=2, eps=0.8, steps=30, rho=rho, early_stop=False)
        points, _ = visited(attack, model, images, labels)
        for i, label in enumerate(labels):
            image = images[i].ravel().astype(np.float64)
            climbed = cross_entropy(label)
            start = points[0, i]
            path, _ = ascend(model, climbed, image, start, 0.8, 2, 30, rho)
            np.testing.assert_allclose(points[:, i], path, atol=2e-5)
        paths[rho] = points
    assert np.abs(paths[0.75] - paths[0.2]).max() > 0.01


@pytest.mark.parametrize("norm", [2, "inf"])
def test_points_stay_in_the_ball_and_the_box(norm):
    model = Wavy()
    images, labels = model.images(3)
    attack = APGD(norm=norm, eps=0.3, steps=12, early_stop=False)
    points, _ = visited(attack, model, images, labels)
    assert points.min() >= 0.0 and points.max() <= 1.0
    delta = points - images.reshape(3, -1)
    order = np.inf if norm == "inf" else 2
    assert np.all(np.linalg.norm(delta, ord=order, axis=-1) <= 0.3 + 1e-6)
