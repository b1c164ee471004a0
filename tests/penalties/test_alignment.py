"""The alignment penalty against float64 NumPy, finite differences and its own mean."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.penalties.common import CLASSES, SHAPE, softmax_regression
from tests.seeds import set_seeds
from tfrobust import models, pag
from tfrobust.core.errors import ExtensionError
from tfrobust.core.gradients import pullback
from tfrobust.penalties import GradientAlignment, StepContext
from tfrobust.training import RobustModel


def smooth_network(activation="tanh"):
    """Not linear, and without batch norm: finite differences of it are exact enough."""
    set_seeds(1)
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Flatten(),
            keras.layers.Dense(5, activation=activation),
            keras.layers.Dense(CLASSES),
        ]
    )


def means():
    random = np.random.default_rng(4)
    return pag.ClassMean(random.random((8, *SHAPE)), np.arange(8) % CLASSES, CLASSES)


def penalty_and_gradient(penalty, network, images, step=0):
    """What `RobustModel` does: the value of a step and its gradient in the weights."""
    images = tf.constant(images)
    with tf.GradientTape() as outer:
        with tf.GradientTape(True, watch_accessed_variables=False) as inner:
            inner.watch(images)
            logits = network(images, training=True)
        context = StepContext(
            network=network,
            images=images,
            labels=tf.zeros([len(images)], tf.int32),
            logits=logits,
            losses=tf.zeros([len(images)]),
            pullback=pullback(inner, logits, images),
            step=tf.constant(step, tf.int64),
        )
        value = penalty(context)
    return value, outer.gradient(value, network.trainable_variables)


SLOPES = {"tanh": lambda z: 1 - np.tanh(z) ** 2, "relu": lambda z: 1.0 * (z > 0)}


def by_hand(weights, images, representatives, activation="tanh"):
    """`mean_i sum_t (1 - cos)` of the network in float64."""
    first, offset, last, _ = (w.astype(np.float64) for w in weights)
    flat = images.reshape(len(images), -1).astype(np.float64)
    slope = SLOPES[activation](flat @ first + offset)
    total = 0.0
    for x, s in zip(flat, slope, strict=True):
        for t in range(CLASSES):
            gradient = first @ (s * last[:, t])
            goal = representatives[t].ravel() - x
            lengths = np.linalg.norm(gradient) * np.linalg.norm(goal)
            total += 1 - gradient @ goal / lengths
    return total / len(images)


def test_the_value_of_a_linear_network():
    """Its gradients are the columns of its kernel, for every image."""
    network, images, _ = softmax_regression()
    directions = means()
    value, _ = penalty_and_gradient(GradientAlignment(directions, 0.3), network, images)
    columns = network.get_weights()[0].T.astype(np.float64)
    goals = directions.representatives.numpy()[None] - images[:, None]
    goals = goals.reshape(3, CLASSES, -1)
    cosines = np.sum(columns * goals, -1) / (
        np.linalg.norm(columns, axis=-1) * np.linalg.norm(goals, axis=-1)
    )
    expected = 0.3 * np.mean(np.sum(1 - cosines, axis=1))
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("exact", [True, False])
def test_the_value_is_exact_either_way(exact):
    network, directions = smooth_network(), means()
    images = np.random.default_rng(2).random((3, *SHAPE), np.float32)
    penalty = GradientAlignment(directions, 0.5, exact=exact)
    value, _ = penalty_and_gradient(penalty, network, images)
    representatives = directions.representatives.numpy().astype(np.float64)
    expected = 0.5 * by_hand(network.get_weights(), images, representatives)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("activation", SLOPES)
def test_the_exact_gradient_is_that_of_finite_differences(activation):
    """Central differences of the float64 re-derivation, in every weight. Those of a
    ReLU network go through its linear pieces.
    """
    network, directions = smooth_network(activation), means()
    images = np.random.default_rng(2).random((3, *SHAPE), np.float32)
    penalty = GradientAlignment(directions, 1.0, exact=True)
    _, gradients = penalty_and_gradient(penalty, network, images)
    representatives = directions.representatives.numpy().astype(np.float64)
    weights = [w.astype(np.float64) for w in network.get_weights()]
    step = 1e-6
    for weight, gradient in list(zip(weights, gradients, strict=True))[:3]:
        for index in np.ndindex(weight.shape):
            kept, ends = weight[index], []
            for sign in (1, -1):
                weight[index] = kept + sign * step
                ends.append(by_hand(weights, images, representatives, activation))
            weight[index] = kept
            expected = (ends[0] - ends[1]) / (2 * step)
            actual = 0.0 if gradient is None else gradient[index]
            np.testing.assert_allclose(actual, expected, 1e-3, 1e-5)
    # The last bias moves no gradient.
    assert gradients[3] is None or np.all(gradients[3] == 0)


def test_the_mean_over_all_signs_is_the_exact_gradient():
    """One image of 4 classes has 16 signs; no sampling error is left."""
    network, directions = smooth_network(), means()
    images = np.random.default_rng(3).random((1, *SHAPE), np.float32)
    exact = GradientAlignment(directions, 1.0, exact=True)
    _, expected = penalty_and_gradient(exact, network, images)
    penalty, mean = GradientAlignment(directions, 1.0), 0.0
    results = []
    for signs in itertools.product([-1.0, 1.0], repeat=CLASSES):
        penalty._signs = lambda *_, signs=signs: tf.constant([signs])
        _, gradient = penalty_and_gradient(penalty, network, images)
        results.append(gradient[0].numpy())
        mean = mean + gradient[0] / 16
    np.testing.assert_allclose(mean, expected[0], rtol=1e-4, atol=1e-6)
    assert np.std(results, axis=0).max() > 1e-3  # a single draw is not


def test_a_class_of_short_gradients_does_not_drown_in_the_noise_of_others():
    """The noise over all random signs, whatever the lengths of the gradients."""
    directions = means()
    images = np.random.default_rng(3).random((1, *SHAPE), np.float32)

    def noise(shrunk):
        """Root mean square deviation over the length of the exact gradient."""
        network = smooth_network()
        last = network.layers[-1].kernel
        last.assign(last * np.array([shrunk, 1, 1, 1], np.float32))
        exact = GradientAlignment(directions, 1.0, exact=True)
        goal = penalty_and_gradient(exact, network, images)[1][0]
        penalty, squares = GradientAlignment(directions, 1.0), []
        for signs in itertools.product([-1.0, 1.0], repeat=CLASSES):
            penalty._signs = lambda *_, signs=signs: tf.constant([signs])
            value, gradient = penalty_and_gradient(penalty, network, images)
            squares.append(np.sum((gradient[0] - goal) ** 2))
        representatives = directions.representatives.numpy().astype(np.float64)
        expected = by_hand(network.get_weights(), images, representatives)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        return np.sqrt(np.mean(squares)) / np.linalg.norm(goal)

    assert noise(1e-3) < 2 * noise(1.0)


def test_drawn_classes_have_the_expectation_of_all():
    """Each class is drawn equally often: 2 of 4, over 4,000 images and a few steps."""
    network, directions = smooth_network(), means()
    image = np.random.default_rng(3).random((1, *SHAPE), np.float32)
    images = np.repeat(image, 4000, axis=0)
    whole, _ = penalty_and_gradient(GradientAlignment(directions), network, image)
    some = GradientAlignment(directions, classes_per_step=2)
    values = [
        float(penalty_and_gradient(some, network, images, step)[0]) for step in range(3)
    ]
    np.testing.assert_allclose(np.mean(values), whole, rtol=0.01)
    assert len(set(values)) == 3  # other classes in each step


def test_a_drawing_has_different_classes_and_depends_on_seed_and_step():
    network, images, _ = softmax_regression()

    def drawn(seed, step):
        penalty = GradientAlignment(means(), classes_per_step=3, seed=seed)
        context = StepContext(
            network=network,
            images=tf.constant(np.repeat(images, 20, axis=0)),
            labels=None,
            logits=None,
            losses=None,
            step=tf.constant(step, tf.int64),
        )
        return penalty._choose(context).numpy()

    first = drawn(0, 7)
    assert all(len(set(row)) == 3 for row in first)
    assert set(first.ravel()) == set(range(CLASSES))
    np.testing.assert_array_equal(first, drawn(0, 7))
    assert not np.array_equal(first, drawn(0, 8))
    assert not np.array_equal(first, drawn(1, 7))


def train(penalty, epochs=30, **compile_arguments):
    network = smooth_network()
    keras.utils.set_random_seed(1)
    model = RobustModel(network)
    rate = keras.optimizers.SGD(0.05, momentum=0.9)
    model.compile(rate, penalties=[penalty], **compile_arguments)
    random = np.random.default_rng(0)
    images = random.random((12, *SHAPE), np.float32)
    history = model.fit(
        images, np.arange(12) % CLASSES, epochs=epochs, batch_size=4, verbose=0
    )
    return history.history["alignment_penalty"], network.get_weights()


@pytest.mark.parametrize(
    "arguments", [{}, {"exact": True}, {"classes_per_step": 2}], ids=str
)
def test_training_aligns(arguments):
    """By whichever estimate of the gradient, the penalty goes down."""
    values, _ = train(GradientAlignment(means(), 1.0, **arguments))
    assert np.mean(values[-3:]) < 0.7 * values[0]


def test_a_seed_fixes_the_weights():
    """Bit for bit, and another seed gives others."""
    runs = [
        train(GradientAlignment(means(), 1.0, classes_per_step=2, seed=seed), 2)[1]
        for seed in (0, 0, 1)
    ]
    for first, again in zip(*runs[:2], strict=True):
        np.testing.assert_array_equal(first, again)
    assert not np.array_equal(runs[0][0], runs[2][0])


@pytest.mark.slow
def test_under_xla():
    """Neighbours, drawn classes and signs as well."""
    random = np.random.default_rng(4)
    examples = random.random((8, *SHAPE)), np.arange(8) % CLASSES, CLASSES
    near = pag.NearestNeighbor(*examples)
    penalty = GradientAlignment(near, 1.0, classes_per_step=2)
    values, _ = train(penalty, jit_compile=True)
    assert np.mean(values[-3:]) < 0.7 * values[0]


def gradient_of_a_step(policy="float32", compiled=False, exact=False):
    """What a whole training step takes off each weight at rate 1, in one vector.

    Of a network of convolutions with batch norm, towards neighbours in drawn classes.
    """
    # XLA draws other fractions from a seed that is not known before the step runs.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GradientAlignment, "_seed", lambda _, __, stream: [5, stream])
        return _gradient_of_a_step(policy, compiled, exact)


def _gradient_of_a_step(policy, compiled, exact):
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(policy)
    network = keras.Sequential(
        [
            keras.Input((5, 6, 2)),
            keras.layers.Conv2D(4, 3, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.Activation("softplus"),
            keras.layers.Conv2D(3, 2, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.Activation("tanh"),
            keras.layers.Flatten(),
            keras.layers.Dense(CLASSES),
        ]
    )
    optimizer = keras.optimizers.SGD(1.0)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    random = np.random.default_rng(5)
    images = random.random((12, 5, 6, 2), np.float32)
    labels = np.arange(12, dtype=np.int32) % CLASSES
    near = pag.NearestNeighbor(images, labels, CLASSES, samples=3)
    penalty = GradientAlignment(near, 1.0, classes_per_step=2, exact=exact)
    model = RobustModel(network)
    model.compile(optimizer, penalties=[penalty], jit_compile=compiled)
    before = [weight.numpy() for weight in network.trainable_variables]
    batch = {"images": images[:8], "index": np.arange(8, dtype=np.int32)}
    history = model.fit(batch, labels[:8], batch_size=8, verbose=0).history
    steps = zip(before, network.trainable_variables, strict=True)
    steps = np.concatenate([np.ravel(old - weight) for old, weight in steps])
    return steps, history["alignment_penalty"][0]


@pytest.fixture(scope="module", params=[True, False], ids=["exact", "signs"])
def plain_step(request):
    """In float32 and not compiled, and whether each class was taken by itself."""
    return *gradient_of_a_step(exact=request.param), request.param


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "compiled", "tolerance"),
    [
        ("float32", True, 1e-4),
        ("mixed_float16", False, 0.02),
        ("mixed_float16", True, 0.02),
    ],
)
def test_xla_and_float16_take_the_same_step(plain_step, policy, compiled, tolerance):
    """Of neighbours, drawn classes and signs, through batch norm in training; by loss
    scaling, which drops a step of which one entry is not finite.
    """
    expected, value, exact = plain_step
    gradient, other = gradient_of_a_step(policy, compiled, exact)
    assert np.all(np.isfinite(gradient)) and np.linalg.norm(expected) > 0.1
    error = np.linalg.norm(gradient - expected) / np.linalg.norm(expected)
    assert error < tolerance
    np.testing.assert_allclose(other, value, rtol=tolerance)


def test_in_float16_small_gradients_survive():
    """The cosine of gradients near 1e-7 is that of float32, not of zeros."""
    results = {}
    for policy in ("float32", "mixed_float16"):
        keras.utils.set_random_seed(0)
        dense = keras.layers.Dense(CLASSES, dtype=policy)
        network = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), dense])
        dense.kernel.assign(1e-7 * np.random.default_rng(1).normal(size=(12, CLASSES)))
        model = RobustModel(network)
        optimizer = keras.optimizers.SGD(1e-12)
        model.compile(optimizer, penalties=[GradientAlignment(means(), 1.0)])
        images = np.random.default_rng(0).random((4, *SHAPE), np.float32)
        history = model.fit(images, np.arange(4), verbose=0).history
        results[policy] = history["alignment_penalty"][0]
    assert results["float32"] != pytest.approx(CLASSES, rel=1e-3)
    assert results["mixed_float16"] == pytest.approx(results["float32"], rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": -0.1}, "`weight` must be finite and at least 0"),
        ({"classes_per_step": 0}, "`classes_per_step` must be an integer of at"),
        ({"classes_per_step": 5}, "`classes_per_step` must be from 1 to 4"),
        ({"classes_per_step": 2.0}, "`classes_per_step` must be an integer of at"),
    ],
)
def test_settings_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        GradientAlignment(means(), **arguments)


def test_a_network_of_other_classes_is_refused_by_compile():
    network = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    with pytest.raises(ValueError, match="of 4 classes, a network of 3"):
        RobustModel(network).compile("sgd", penalties=[GradientAlignment(means())])


@pytest.mark.parametrize(
    ("given", "received"),
    [
        (lambda images, chosen, extras: images, r"a tensor \(None, 3\) from Wrong"),
        (lambda images, chosen, extras: None, "None from Wrong"),
    ],
)
def test_directions_of_another_shape_are_refused(given, received):
    """At the first batch, by their name."""

    class Wrong(pag.Directions):
        classes, image_shape = 2, (3,)

        def __call__(self, images, chosen, extras=None):
            return given(images, chosen, extras)

    model = RobustModel(models.MLP((3,), classes=2, hidden=(4,)))
    model.compile("sgd", penalties=[GradientAlignment(Wrong())])
    with pytest.raises(ExtensionError, match="Directions must be a.* " + received):
        model.fit(np.zeros((4, 3), np.float32), np.zeros(4, int), verbose=0)
