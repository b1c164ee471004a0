"""PGD on models whose answer is known, and as a guest in other people's graphs."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.attacks.common import (
    CONV_SHAPE,
    Affine,
    affine,
    asked_for,
    conv_images,
    convnet,
    distances,
)
from tfrobust.attacks import PGD, Problem
from tfrobust.attacks.goal import divergence

SHAPE = (3, 4, 2)
NORMS = [1, 2, "inf"]


@functools.cache
def linear():
    """Classes 0 and 1 close together, class 2 far below both.

    Small enough that the box never matters at x = 1/2.
    """
    model = affine(3, SHAPE)
    model.bias = np.array([0.5, 0.0, -20.0]) - 0.5 * model.weights.sum(axis=0)
    return model


def boundary(model, norm):
    """Closed form: distance from x = 1/2 to where class 1 overtakes class 0."""
    normal = model.weights[:, 0] - model.weights[:, 1]
    logits = model.logits(np.full((1, *SHAPE), 0.5))[0]
    dual = {1: np.inf, 2: 2, "inf": 1}[norm]
    return (logits[0] - logits[1]) / np.linalg.norm(normal, ord=dual)


def gray_image():
    return tf.fill([1, *SHAPE], 0.5)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("loss", ["cross_entropy", "margin", "dlr"])
@pytest.mark.parametrize("norm", NORMS)
def test_finds_the_closed_form_boundary(norm, loss, random_start, targeted):
    """Beyond it there is a success, short of it none, at the edge of the ball."""
    model, images = linear(), gray_image()
    distance = boundary(model, norm)
    targets = [1] if targeted else None
    # The steepest entry of the L1 ball is 0.15 from the image: not at the box.
    attack = functools.partial(PGD, norm=norm, loss=loss, random_start=random_start)
    beyond = attack(eps=1.05 * distance)(model, images, [0], targets)
    assert beyond.success[0]
    assert beyond.distortion[0] <= 1.05 * distance + 1e-6
    short = attack(eps=0.95 * distance)(model, images, [0], targets)
    assert not short.success[0]
    assert float(short.distortion[0]) == pytest.approx(0.95 * distance, rel=1e-4)


def test_divergence_finds_the_closed_form_boundary():
    """From a random start, since its gradient is 0 at the image."""
    model = linear()
    distance = boundary(model, 2)
    for share, success in ((1.05, True), (0.95, False)):
        attack = PGD(norm=2, eps=share * distance, loss="kl", restarts=4)
        # Up the divergence may also be away from the boundary: 4 starts.
        assert attack(model, gray_image(), [0]).success[0] == success


@pytest.mark.parametrize("norm", NORMS)
@settings(max_examples=15)
@given(data=st.data())
def test_result_stays_in_the_ball_and_the_box(norm, data):
    eps = data.draw(st.sampled_from([0.0, 1e-4, 8 / 255, 0.5, 3.0]))
    seed = data.draw(st.integers(0, 1000))
    images, labels = conv_images(2, seed)
    attack = PGD(norm=norm, eps=eps, steps=3, early_stop=False)
    result = attack(convnet(), images, labels)
    adversarial = result.adversarial.numpy()
    assert adversarial.min() >= 0.0 and adversarial.max() <= 1.0
    moved = distances(images, adversarial, norm)
    assert np.all(moved <= eps + 1e-6)
    np.testing.assert_allclose(result.distortion, moved, atol=1e-6)
    predicted = np.argmax(convnet()(adversarial, training=False), axis=-1)
    np.testing.assert_array_equal(result.success, predicted != labels)


@pytest.mark.parametrize("norm", NORMS)
def test_each_image_may_have_its_own_radius(norm):
    """Each ends where it does when the radius is that of the attack."""
    images, labels = conv_images(4)
    radii = np.array([0.01, 0.0, 0.05, 0.2], np.float32)
    attack = PGD(norm=norm, eps=9.0, steps=4)
    together = attack(convnet(), images, labels, eps=radii)
    assert np.all(distances(images, together.adversarial, norm) <= radii + 1e-6)
    for i, eps in enumerate(radii):
        alone = dataclasses.replace(attack, eps=float(eps))
        expected = alone(convnet(), images[i : i + 1], labels[i : i + 1])
        np.testing.assert_allclose(
            together.adversarial[i], expected.adversarial[0], atol=1e-5
        )


@pytest.mark.parametrize("scale", [1e-12, 1e-30])
@pytest.mark.parametrize("norm", NORMS)
def test_tiny_gradients_move_the_image(norm, scale):
    """There is no floor under the gradient's norm: the steps are those at scale 1.

    With two classes, since the log-odds of more round to log(2) where all logits are
    tiny. Beyond the boundary the model is fooled, too.
    """
    model, images = affine(2, SHAPE), gray_image()
    tiny = Affine(model.weights * scale, model.bias * scale)
    distance = boundary(model, norm)
    for loss in ("cross_entropy", "margin"):
        ball = {"norm": norm, "eps": 0.9 * distance, "steps": 10}
        attack = PGD(**ball, random_start=False, loss=loss)
        expected = attack.perturb(model, images, [0])
        adversarial = attack.perturb(tiny, images, [0])
        np.testing.assert_allclose(adversarial, expected, atol=2e-6)
        assert distances(images, adversarial, norm)[0] > 0.8 * attack.eps
        assert attack(tiny, images, [0], eps=1.1 * distance).success[0]


def test_saturated_logits_are_still_attacked():
    """At a margin of 1000 the float32 cross-entropy has no gradient at all."""
    model = linear()
    eps = 1.05 * boundary(model, 2)
    result = PGD(norm=2, eps=eps)(lambda x: 2000.0 * model(x), gray_image(), [0])
    assert result.success[0]


@pytest.mark.parametrize("norm", NORMS)
def test_early_stop_keeps_the_successes(norm):
    """It fools as many images, with no higher loss; others are as they would be."""
    images, labels = conv_images(12)
    eps = {1: 1.0, 2: 0.3, "inf": 0.05}[norm]
    attack = PGD(norm=norm, eps=eps, steps=5, restarts=2)
    early = attack(convnet(), images, labels)
    whole = dataclasses.replace(attack, early_stop=False)(convnet(), images, labels)
    np.testing.assert_array_equal(early.success, whole.success)
    success = early.success.numpy()
    assert 0 < success.sum() < 12
    np.testing.assert_allclose(
        early.adversarial[~success], whole.adversarial[~success], atol=1e-5
    )
    loss = keras.losses.SparseCategoricalCrossentropy(True, reduction=None)
    losses = [
        loss(labels, convnet()(result.adversarial, training=False)).numpy()
        for result in (early, whole)
    ]
    assert np.all(losses[1] >= losses[0] - 1e-5)
    assert np.any(losses[1] > losses[0] + 1e-2)


def test_the_end_of_one_image_does_not_end_the_others():
    """One falls at the first step, one at the last, beside others that never do."""
    # A slope of 1 in every pixel; each step lowers the sum by 24 * 0.01.
    model = Affine(np.ones((24, 2)) * [1.0, 0.0], [0.0, 0.0])
    sums = np.array([0.1, 2.3, 3.0, 1.1]) / 24
    images = np.ones((4, *SHAPE)) * (0.5 + sums[:, None, None, None])
    model.bias[0] = -12.0
    attack = PGD(norm="inf", eps=0.1, steps=10, step_size=0.01, random_start=False)
    result = attack(model, images.astype(np.float32), [0, 0, 0, 0])
    assert result.success.numpy().tolist() == [True, True, False, True]
    np.testing.assert_allclose(result.distortion, [0.01, 0.1, 0.1, 0.05], atol=1e-6)


def test_images_that_are_through_cost_nothing():
    """The network runs on the remaining rows, in steps of an eighth of the batch."""
    rows = []
    model = asked_for(rows)
    sums = np.arange(1, 17) * 0.24 - 0.12  # one falls with each step
    images = 0.5 + np.ones((16, *SHAPE)) * (sums / 24)[:, None, None, None]
    attack = PGD(norm="inf", eps=0.2, steps=16, step_size=0.01, random_start=False)
    result = attack(model, images.astype(np.float32), np.zeros(16, int))
    assert np.all(result.success)
    # Up to six whole batches are looked at before the search and judged after it;
    # sixteen steps need 17 - step images each.
    needed = sum(2 * -(-count // 2) for count in range(1, 17))
    assert needed <= sum(rows) <= needed + 6 * 16


@pytest.mark.parametrize("norm", NORMS)
def test_seed_decides_the_result(norm):
    images, labels = conv_images(3)
    attack = PGD(norm=norm, eps=0.3, steps=2, step_size=0.05, early_stop=False)
    first, again = (attack(convnet(), images, labels).adversarial for _ in "ab")
    other = dataclasses.replace(attack, seed=2)(convnet(), images, labels).adversarial
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_more_restarts_never_do_worse():
    images, labels = conv_images(6)
    single = PGD(norm="inf", eps=0.2, steps=2, early_stop=False)
    five = dataclasses.replace(single, restarts=5)
    goal_of = keras.losses.SparseCategoricalCrossentropy(True, reduction=None)
    losses = [
        goal_of(labels, convnet()(a(convnet(), images, labels).adversarial)).numpy()
        for a in (single, five)
    ]
    assert np.all(losses[1] >= losses[0] - 1e-6)
    assert np.any(losses[1] > losses[0] + 1e-3)


def test_divergence_is_what_is_climbed():
    """The image that training gets is farther than where other losses lead."""
    images, labels = conv_images(5)
    images = np.clip(images, 0.2, 0.8)
    labels = np.argmax(convnet()(images, training=False), axis=-1)
    clean = convnet()(images, training=False)
    attack = PGD(norm=2, eps=0.05, steps=8, loss="kl")
    adversarial = attack.perturb(convnet(), images, labels)
    start = attack._start(
        Problem(
            classifier=convnet(),
            images=tf.constant(images),
            goal=None,
            eps=tf.fill([5], 0.05),
            active=None,
            compact=False,
        ),
        0,
    )
    before, after = (
        divergence(clean, convnet()(x, training=False)) for x in (start, adversarial)
    )
    assert np.all(after > before)
    # A second-order method in float64 could not do much better: at so small a radius
    # the divergence is a quadratic form, with the Fisher matrix's largest eigenvalue.
    with tf.GradientTape() as tape:
        point = tf.constant(images)
        tape.watch(point)
        logits = convnet()(point, training=False)
    jacobian = tape.batch_jacobian(logits, point).numpy().reshape(5, 3, -1)
    p = np.array(tf.nn.softmax(logits), np.float64)
    fisher = np.einsum("bki,bk,bkj->bij", jacobian, p, jacobian) - np.einsum(
        "bki,bk,bl,blj->bij", jacobian, p, p, jacobian
    )
    largest = np.linalg.eigvalsh(fisher)[:, -1]
    np.testing.assert_allclose(after, 0.5 * largest * 0.05**2, rtol=0.15)


def momentum_by_hand(gradient, start, steps, size, mu, eps):
    """Dong et al. 2018, algorithm 1, in float64 NumPy with a step along the sign."""
    point, velocity = start.copy(), np.zeros_like(start)
    for _ in range(steps):
        slope = gradient(point)
        # The library leaves out what pushes a pixel out of the box.
        slope = np.where((point <= 0) & (slope < 0), 0.0, slope)
        slope = np.where((point >= 1) & (slope > 0), 0.0, slope)
        velocity = mu * velocity + slope / np.abs(slope).sum()
        point = np.clip(point + size * np.sign(velocity), start - eps, start + eps)
        point = np.clip(point, 0.0, 1.0)
    return point


def test_momentum_against_a_loop_in_numpy():
    """On a model with a curved loss, whose gradients change sign underway."""
    rng = np.random.default_rng(0)
    center = rng.uniform(0.3, 0.7, SHAPE)
    start = np.clip(center + rng.uniform(-0.05, 0.05, SHAPE), 0, 1)
    start = start.astype(np.float32)

    def model(images):
        """Margin of class 1: a saddle, up in some pixels and down in others."""
        delta = images - tf.constant(center, tf.float32)
        signs = np.where(np.arange(24) % 3 == 0, 1.0, -1.0).reshape(SHAPE)
        bent = tf.reduce_sum(tf.constant(signs, tf.float32) * delta**2, [1, 2, 3])
        return tf.stack([tf.ones_like(bent), bent], axis=-1)

    def gradient(point):
        signs = np.where(np.arange(24) % 3 == 0, 1.0, -1.0).reshape(SHAPE)
        return 2.0 * signs * (point - center)

    for mu in (0.0, 1.0):
        attack = PGD(
            norm="inf",
            eps=0.06,
            steps=3,
            step_size=0.02,
            random_start=False,
            momentum=mu,
            early_stop=False,
        )
        last = momentum_by_hand(gradient, start.astype(np.float64), 3, 0.02, mu, 0.06)
        path = [
            momentum_by_hand(gradient, start.astype(np.float64), n, 0.02, mu, 0.06)
            for n in range(4)
        ]
        heights = [float(np.sum(gradient(x) * (x - center))) for x in path]
        best = path[int(np.argmax(heights))]
        adversarial = attack.perturb(model, start[None], [0]).numpy()[0]
        np.testing.assert_allclose(adversarial, best, atol=1e-6)
        np.testing.assert_array_equal(best, last)
    # Momentum carried some pixels past the centre, where the plain gradient turns.
    plain = momentum_by_hand(gradient, start.astype(np.float64), 3, 0.02, 0.0, 0.06)
    assert np.abs(last - plain).max() > 0.01


def test_the_last_point_is_that_of_a_plain_loop():
    """Also where an earlier one had the higher loss."""

    def model(images):
        """Margin of class 1: largest at .53, which steps of .02 from 1/2 pass."""
        bent = -tf.reduce_sum((images - 0.53) ** 2, [1, 2, 3])
        return tf.stack([tf.ones_like(bent), bent], axis=-1)

    # By hand: .52, .54 beyond the peak, back to .52, and .54 again.
    for steps, expected in ((3, 0.52), (4, 0.54)):
        attack = PGD(
            norm="inf",
            eps=0.1,
            steps=steps,
            step_size=0.02,
            random_start=False,
            keep_best=False,
        )
        last = attack.perturb(model, gray_image(), [0])
        np.testing.assert_allclose(last, expected, atol=1e-6)


def test_the_last_point_costs_a_look_less():
    """As many forward passes as steps in training."""
    images, labels = np.full((4, *SHAPE), 0.5, np.float32), np.zeros(4, int)
    for keep_best, passes in ((True, 4), (False, 3)):
        rows = []
        attack = PGD(norm="inf", eps=0.1, steps=3, keep_best=keep_best)
        attack.perturb(asked_for(rows), images, labels)
        assert rows == [4] * passes


def test_the_last_point_needs_one_start():
    with pytest.raises(ValueError, match=r"`restarts` above 1 needs `keep_best=True`"):
        PGD(norm=2, eps=0.5, restarts=2, keep_best=False)


def test_outward_gradients_take_no_part_of_the_step():
    """Half of the pixels are at their bound: L2 steps go to the others alone."""
    weights = np.ones((24, 2)) * [1.0, 0.0]
    weights[:12, 0] = 5.0
    model = Affine(weights, [1.0, 0.0])
    images = np.full((1, *SHAPE), 0.5, np.float32)
    images.reshape(-1)[:12] = 0.0  # the way down leads out of the box
    attack = PGD(norm=2, eps=0.3, steps=1, random_start=False)
    adversarial = attack(model, images, [0]).adversarial.numpy().reshape(-1)
    np.testing.assert_array_equal(adversarial[:12], 0.0)
    np.testing.assert_allclose(adversarial[12:], 0.5 - 0.3 / np.sqrt(12), rtol=1e-5)


def test_many_attacks_in_a_row_raise_no_warning_of_retracing(caplog):
    model, images = linear(), tf.fill([2, *SHAPE], 0.5)
    for steps in range(1, 8):
        PGD(norm=2, eps=0.1, steps=steps)(model, images, [0, 0])
    assert "retracing" not in caplog.text


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64, tf.uint8])
def test_integer_labels(dtype):
    images, labels = conv_images(2)
    attack = PGD(norm=2, eps=0.5, steps=2)
    expected = attack(convnet(), images, labels)
    result = attack(convnet(), images, tf.cast(labels, dtype))
    np.testing.assert_array_equal(result.adversarial, expected.adversarial)


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
def test_random_start_and_restarts_under_xla(norm):
    """Other draws, the same ball."""
    attack = PGD(norm=norm, eps=0.3, steps=2, restarts=2, early_stop=False)
    images, labels = conv_images(3)
    compiled = tf.function(
        lambda *args: attack(convnet(), *args), jit_compile=True, autograph=False
    )
    moved = distances(images, compiled(images, labels).adversarial, norm)
    assert np.all(moved <= 0.3 + 1e-6) and np.all(moved > 0.01)


def test_as_part_of_a_training_step():
    """Second-order tape outside, attack inside: gradients of weights, none of images"""
    attack = PGD(norm=2, eps=0.5, steps=2)
    network = convnet()

    @tf.function
    def gradients(images, labels):
        with tf.GradientTape() as tape:
            tape.watch(images)
            adversarial = attack(network, images, labels).adversarial
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(
                    labels, network(adversarial, training=False)
                )
            )
        return tape.gradient(loss, [images, network.trainable_variables[0].value])

    images, labels = conv_images(4)
    to_images, to_kernel = gradients(images, labels)
    assert to_images is None
    assert np.abs(to_kernel).max() > 0


def test_no_gradient_flows_through_the_result():
    attack = PGD(norm=2, eps=0.5, steps=2)
    images, labels = conv_images(2)
    images = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(attack(convnet(), images, labels).adversarial)
    assert tape.gradient(total, images) is None


def test_a_model_without_gradient_is_refused():
    images, labels = conv_images(2)
    with pytest.raises(ValueError, match="`model` must be differentiable"):
        PGD(norm=2, eps=0.5)(lambda x: convnet()(tf.round(x)), images, labels)


def test_images_of_any_size_keep_their_static_shape():
    """A graph around the attack knows the shape of what comes out."""
    attack = PGD(norm=1, eps=0.5, steps=2)
    result = tf.function(
        lambda images: attack.perturb(convnet(), images, tf.zeros([4], tf.int32))
    ).get_concrete_function(tf.TensorSpec([4, *CONV_SHAPE]))
    assert result.output_shapes == (4, *CONV_SHAPE)


def test_a_divergence_has_no_target():
    """And a sentence that says why."""
    images, labels = conv_images(2)
    attack = PGD(norm=2, eps=0.1, loss="kl")
    with pytest.raises(ValueError, match='`loss="kl"` has no target'):
        attack(convnet(), images, labels, (labels + 1) % 3)


def test_trades_keeps_the_largest_divergence():
    """In training even a fooled point gives way to one that diverges more."""
    images, labels = conv_images(4)
    clean = convnet()(images, training=False)
    attack = PGD(norm="inf", eps=0.3, steps=6, loss="kl")
    best = attack.perturb(convnet(), images, labels)
    gains = []
    for steps in range(1, 7):
        part = dataclasses.replace(attack, steps=steps, step_size=0.1)
        point = part.perturb(convnet(), images, labels)
        gains.append(divergence(clean, convnet()(point, training=False)).numpy())
    assert np.all(np.diff(gains, axis=0) >= -1e-6)
    assert np.all(divergence(clean, convnet()(best, training=False)) > 0)
