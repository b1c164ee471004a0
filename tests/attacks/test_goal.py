"""The losses that attacks climb against their formulas in float64 NumPy."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfrobust.attacks import PGD, Goal
from tfrobust.attacks.goal import divergence


def random_logits(count=40, classes=5, seed=0, scale=3.0):
    draws = np.random.default_rng(seed).normal(size=(count, classes)) * scale
    return draws.astype(np.float32)


def test_goal_orders_as_the_cross_entropy():
    """The softplus of the log-odds is the cross-entropy, in both directions."""
    logits = tf.constant(random_logits(50, 4))
    labels = tf.fill([50], 2)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    leave, reach = Goal(labels, False), Goal(labels, True)
    np.testing.assert_allclose(
        tf.nn.softplus(leave.log_odds(logits)), loss, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        tf.nn.softplus(-reach.log_odds(logits)), loss, rtol=1e-5, atol=1e-6
    )
    for goal in (leave, reach):
        np.testing.assert_array_equal(goal.margin(logits) > 0, goal.reached(logits))


def test_goal_has_a_gradient_where_the_cross_entropy_has_none():
    """Logits 200 apart."""
    logits = tf.constant([[200.0, 0.0, 1.0]])
    goal = Goal(tf.constant([0]), targeted=False)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        odds = goal.log_odds(logits)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits([0], logits)
    np.testing.assert_array_equal(tape.gradient(loss, logits), 0.0)
    expected = [[-1.0, 1 / (1 + np.e), np.e / (1 + np.e)]]
    np.testing.assert_allclose(tape.gradient(odds, logits), expected, rtol=1e-5)


def test_nan_logits_are_no_success():
    """Nor infinite ones, though one of them is the largest."""
    goal = Goal(tf.constant([0, 0]), targeted=False)
    logits = tf.constant([[np.nan, 1.0], [0.0, np.inf]])
    assert not np.any(goal.reached(logits))


@pytest.mark.parametrize("targeted", [False, True])
def test_margin_is_a_difference_of_logits(targeted):
    """Against a loop over classes."""
    logits = random_logits(7)
    classes = np.arange(7) % 5
    margin = Goal(tf.constant(classes), targeted).margin(tf.constant(logits))
    for row, chosen, actual in zip(logits, classes, margin, strict=True):
        expected = max(np.delete(row, chosen)) - row[chosen]
        assert abs(float(actual) - (-expected if targeted else expected)) < 1e-5


def untargeted_dlr(row, label):
    """`-(z_y - max_{i != y} z_i) / (z_1 - z_3)`, sorted downwards."""
    top = np.sort(row)[::-1]
    return -(row[label] - np.delete(row, label).max()) / (top[0] - top[2])


def targeted_dlr(row, label, target):
    """`-(z_y - z_t) / (z_1 - (z_3 + z_4) / 2)`."""
    top = np.sort(row)[::-1]
    return -(row[label] - row[target]) / (top[0] - 0.5 * (top[2] + top[3]))


@pytest.mark.parametrize("classes", [3, 4, 10])
def test_dlr_is_that_of_autoattack(classes):
    """Croce and Hein 2020, equation 6, for every label."""
    logits = random_logits(20, classes)
    for label in range(classes):
        goal = Goal(tf.fill([20], label), targeted=False)
        expected = [untargeted_dlr(row, label) for row in logits.astype(np.float64)]
        np.testing.assert_allclose(
            goal.logits_ratio(tf.constant(logits)), expected, rtol=1e-4, atol=1e-5
        )


def test_targeted_dlr_is_that_of_autoattack():
    """Equation 7, where the label is the best class but the target."""
    logits = random_logits(40, 6, seed=1)
    targets = np.arange(40) % 6
    others = logits.copy()
    others[np.arange(40), targets] = -np.inf
    labels = others.argmax(axis=1)
    expected = [
        targeted_dlr(row, label, target)
        for row, label, target in zip(
            logits.astype(np.float64), labels, targets, strict=True
        )
    ]
    result = Goal(tf.constant(targets), True).logits_ratio(tf.constant(logits))
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("targeted", [False, True])
@given(
    shift=st.floats(-20, 20),
    scale=st.floats(0.01, 100),
    seed=st.integers(0, 100),
)
def test_dlr_has_neither_scale_nor_offset(targeted, shift, scale, seed):
    """The same for `scale * z + shift`, but for rounding the sum."""
    logits = random_logits(5, 6, seed)
    goal = Goal(tf.constant([0, 1, 2, 3, 4]), targeted)
    moved = (scale * logits.astype(np.float64) + shift).astype(np.float32)
    np.testing.assert_allclose(
        goal.logits_ratio(tf.constant(moved)),
        goal.logits_ratio(tf.constant(logits)),
        rtol=1e-3,
        # Of z and shift, 20 / scale against a spread that may be small.
        atol=1e-5 * (1 + abs(shift) / scale),
    )


def test_dlr_of_equal_logits_is_zero():
    """And so is its gradient: no NaN."""
    logits = tf.zeros([1, 4])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = Goal(tf.constant([1]), False).logits_ratio(logits)
    assert value[0] == 0
    assert np.all(np.isfinite(tape.gradient(value, logits)))


def test_dlr_needs_three_classes():
    """Of two classes it is -1 or 1 everywhere."""
    message = (
        '`loss` must not be "dlr" with fewer than 3 classes, where it is constant. '
        "Received: 2 classes"
    )
    with pytest.raises(ValueError) as caught:
        Goal(tf.constant([0]), False).logits_ratio(tf.constant([[0.0, 1.0]]))
    assert str(caught.value) == message
    images = tf.fill([1, 2, 2, 1], 0.5)
    attack = PGD(norm=2, eps=0.1, steps=1, loss="dlr")
    with pytest.raises(ValueError) as caught:
        attack(lambda x: tf.reshape(x, [-1, 4])[:, :2], images, [0])
    assert str(caught.value) == message


@given(
    pair=hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(-30, 30, width=32)),
)
def test_divergence_is_that_of_scipy(pair):
    """`scipy.stats.entropy` of probabilities in float64, up to logits 60 apart."""
    p, q = (scipy.special.softmax(part.astype(np.float64), axis=1) for part in pair)
    expected = scipy.stats.entropy(p, q, axis=1)
    result = divergence(tf.constant(pair[0]), tf.constant(pair[1]))
    np.testing.assert_allclose(result, expected, rtol=2e-5, atol=2e-6)


def test_divergence_has_no_floor_under_probabilities():
    """A class of probability exp(-200) counts in full: p (0 - -200) / 2 and so on."""
    p, q = tf.constant([[0.0, 0.0]]), tf.constant([[0.0, -200.0]])
    np.testing.assert_allclose(divergence(p, q), 100.0 - np.log(2.0), rtol=1e-6)


def test_goals_divergence_passes_no_gradient_to_the_clean_logits():
    """And needs them."""
    clean, moved = tf.constant(random_logits(3)), tf.constant(random_logits(3, seed=4))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([clean, moved])
        value = Goal(tf.constant([0, 1, 2]), False, clean).divergence(moved)
    assert tape.gradient(value, clean) is None
    expected = scipy.special.softmax(moved, axis=1) - scipy.special.softmax(
        clean, axis=1
    )
    np.testing.assert_allclose(tape.gradient(value, moved), expected, atol=1e-5)
    with pytest.raises(ValueError) as caught:
        Goal(tf.constant([0, 1, 2]), False).divergence(moved)
    assert str(caught.value) == "`clean` must be given for a divergence. Received: None"


def test_rows_take_classes_and_clean_logits_along():
    """In the order asked for."""
    clean = tf.constant(random_logits(4))
    goal = Goal(tf.constant([3, 1, 2, 0]), True, clean).rows(tf.constant([2, 0]))
    assert goal.targeted
    np.testing.assert_array_equal(goal.classes, [2, 3])
    np.testing.assert_array_equal(goal.clean, clean.numpy()[[2, 0]])


@pytest.mark.parametrize("classes", [4, 7])
def test_ratio_towards_a_rival_is_that_of_autoattack(classes):
    """Equation 7 for every pair of a label and a rival, also where neither is best."""
    logits = random_logits(12, classes, seed=2)
    for label in range(classes):
        for rival in set(range(classes)) - {label}:
            labels, rivals = tf.fill([12], label), tf.fill([12], rival)
            goal = Goal(labels, targeted=False, rivals=rivals)
            expected = [
                targeted_dlr(row, label, rival) for row in logits.astype(np.float64)
            ]
            result = goal.rival_ratio(tf.constant(logits))
            np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(
                goal.rival_margin(tf.constant(logits)),
                logits[:, rival] - logits[:, label],
                rtol=1e-6,
            )


def test_ratio_towards_a_rival_needs_four_classes_and_a_rival():
    goal = Goal(tf.constant([0]), targeted=False, rivals=tf.constant([1]))
    with pytest.raises(ValueError) as caught:
        goal.rival_ratio(tf.constant([[0.0, 1.0, 2.0]]))
    assert str(caught.value) == (
        "The ratio towards a rival must have at least 4 classes. Received: 3 classes"
    )
    for loss in ("rival_ratio", "rival_margin"):
        with pytest.raises(ValueError) as caught:
            getattr(Goal(tf.constant([0]), False), loss)(tf.zeros([1, 4]))
        assert str(caught.value) == (
            "`rivals` must be given for a loss of theirs. Received: None"
        )


def test_rows_take_rivals_along():
    """In the order asked for."""
    goal = Goal(tf.constant([3, 1, 2]), False, rivals=tf.constant([0, 2, 1]))
    np.testing.assert_array_equal(goal.rows(tf.constant([2, 0])).rivals, [1, 0])
