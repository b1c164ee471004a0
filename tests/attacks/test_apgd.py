"""Auto-PGD as a whole: known boundaries, other attacks, its settings, what it costs."""

import dataclasses
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.apgd_by_hand import Wavy
from tests.attacks.common import (
    Affine,
    affine,
    conv_images,
    convnet,
    distances,
)
from tests.seeds import set_seeds
from tfrobust.attacks import APGD, PGD, Goal, Problem

SHAPE = (3, 4, 2)
NORMS = [1, 2, "inf"]


def linear(classes=4):
    """Classes 0 and 1 close together on a grey image, the others far below both."""
    model = affine(classes, SHAPE)
    bias = np.array([0.5, 0.0, *[-20.0] * (classes - 2)])
    return Affine(model.weights, bias - 0.5 * model.weights.sum(axis=0))


def boundary(model, norm):
    """Closed form: distance from grey to where class 1 overtakes class 0."""
    normal = model.weights[:, 0] - model.weights[:, 1]
    dual = {1: np.inf, 2: 2, "inf": 1}[norm]
    return 0.5 / np.linalg.norm(normal, ord=dual)


def gray_image(count=1):
    return tf.fill([count, *SHAPE], 0.5)


def problem_of(model, images, labels, eps):
    return Problem(
        classifier=model,
        images=tf.convert_to_tensor(images),
        goal=Goal(tf.constant(labels, tf.int32), False),
        eps=tf.fill([len(labels)], eps),
        active=tf.ones([len(labels)], tf.bool),
        compact=False,
    )


def searched(attack, model, count, eps):
    """What a search in a graph returns for grey images of class 0."""

    def run():
        return attack.run(problem_of(model, gray_image(count), [0] * count, eps))

    return tf.function(run, autograph=False)()


@pytest.mark.parametrize(
    ("norm", "settings", "targeted"),
    [
        (1, {"loss": "dlr"}, False),
        (2, {}, False),
        ("inf", {"loss": "margin"}, False),
        (2, {"loss": "dlr"}, True),
        (1, {}, True),
        ("inf", {"loss": "dlr", "target_classes": 2}, False),
        (1, {"loss": "margin", "target_classes": 2}, False),
    ],
)
def test_finds_the_closed_form_boundary(norm, settings, targeted):
    """Beyond it there is a success, short of it none, at the edge of the ball."""
    model = linear()
    distance = boundary(model, norm)
    attack = APGD(norm=norm, eps=9.0 if norm == 1 else 1.0, steps=30, **settings)
    targets = [1, 1] if targeted else None
    # Steps of the search are not equal, so the ends of two radii tell more than one.
    eps = [1.02 * distance, 0.95 * distance]
    result = attack(model, gray_image(2), [0, 0], targets, eps=eps)
    assert result.success.numpy().tolist() == [True, False]
    np.testing.assert_allclose(result.distortion[1], eps[1], rtol=1e-3)
    assert np.all(result.distortion <= np.array(eps) + 1e-6)


@pytest.fixture(scope="module")
def trained():
    """A small network that has learned which corner of an image is bright."""
    set_seeds(0)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 600)
    images = rng.uniform(0.0, 0.7, (600, 6, 6, 1))
    corners = [(0, 0), (0, 3), (3, 0), (3, 3), (1, 1)]
    for image, label in zip(images, labels, strict=True):
        row, column = corners[label]
        image[row : row + 3, column : column + 3] += 0.25
    images = images.astype(np.float32)
    network = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(5),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile("adam", loss)
    network.fit(images[:480], labels[:480], epochs=25, batch_size=32, verbose=0)
    return network, images[480:], labels[480:]


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "eps"), [(1, 1.2), (2, 0.5), ("inf", 0.09)])
def test_fools_a_trained_network_at_least_as_often_as_pgd(norm, eps, trained):
    """With the same steps and loss; and the classes one by one beat both."""
    network, images, labels = trained
    ball = {"norm": norm, "eps": eps, "steps": 30}
    rates = [
        float(np.mean(attack(network, images, labels).success))
        for attack in (
            PGD(**ball),
            APGD(**ball),
            APGD(**ball, loss="dlr", target_classes=4),
        )
    ]
    assert 0.2 < rates[0] < 0.9
    assert rates[1] >= rates[0]
    assert rates[2] >= rates[1]


@pytest.mark.parametrize("norm", NORMS)
def test_each_image_may_have_its_own_radius(norm):
    """Each ends where it does when the radius is that of the attack."""
    images, labels = conv_images(4)
    radii = np.array([0.01, 0.0, 0.05, 0.2], np.float32)
    attack = APGD(norm=norm, eps=1.0, steps=8)
    together = attack(convnet(), images, labels, eps=radii)
    assert np.all(distances(images, together.adversarial, norm) <= radii + 1e-6)
    for i in (0, 3):
        alone = dataclasses.replace(attack, eps=float(radii[i]))
        expected = alone(convnet(), images[i : i + 1], labels[i : i + 1])
        np.testing.assert_allclose(
            together.adversarial[i], expected.adversarial[0], atol=1e-5
        )


def test_saturated_logits_are_still_attacked():
    """At a margin of 1000 the float32 cross-entropy has no gradient at all."""
    model = linear()
    eps = 1.02 * boundary(model, 2)
    attack = APGD(norm=2, eps=eps, steps=20)
    assert attack(lambda x: 2000.0 * model(x), gray_image(), [0]).success[0]


def counting(model):
    """The model, and a list of the sizes of the batches that it is asked about."""
    asked = []

    def counted(images):
        def count(part):
            asked.append(len(part))
            return np.float32(0)

        with tf.control_dependencies([tf.numpy_function(count, [images], tf.float32)]):
            return model(tf.identity(images))

    return counted, asked


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 11),
        ({"restarts": 2, "samples": 3}, 66),
        ({"norm": 1, "restarts": 2}, 26),
        ({"norm": "inf", "large_radii": True}, 13),
        ({"loss": "margin", "target_classes": 9, "restarts": 2}, 1 + 3 * 2 * 11),
    ],
    ids=["plain", "samples", "l1", "large", "classes"],
)
def test_queries_are_counted_as_the_model_sees_them(settings, expected):
    """One for each point visited; of 4 classes 3 are tried."""
    model, asked = counting(linear())
    ball = {"norm": 2, "eps": 0.001, "steps": 10, "early_stop": False}
    attack = APGD(**(ball | settings))
    _, queries = searched(attack, model, 2, 0.01)
    assert queries.dtype == tf.int32
    assert asked == [2] * expected
    assert queries.numpy().tolist() == [expected] * 2


def test_images_that_are_through_ask_no_more():
    """Alone, by a radius each: one falls at its start or after a step, one never."""
    model = linear()
    eps = np.array([1.5, 0.5]) * boundary(model, "inf")
    attack = APGD(norm="inf", eps=1.0, steps=10, restarts=3)
    result = attack(model, gray_image(2), [0, 0], eps=eps)
    assert result.success.numpy().tolist() == [True, False]
    assert 1 <= result.queries[0] <= 2 and result.queries[1] == 33
    # Where all are through, no restart is begun.
    counted, asked = counting(model)
    assert attack(counted, gray_image(2), [0, 0], eps=eps[0]).success.numpy().all()
    assert len(asked) <= 8


@pytest.mark.parametrize("samples", [2, 4])
def test_samples_are_averaged(samples):
    """A model that takes turns between two linear ones is their mean, in every step.

    With two classes, whose log-odds are a difference of logits. Each alone takes the
    image for another class: the mean does not.
    """
    rng = np.random.default_rng(3)
    both = [rng.normal(size=(24, 2)) for _ in range(2)]
    bias = [-0.5 * weights.sum(axis=0) for weights in both]
    models = [
        Affine(both[0], bias[0] + np.array([9.0, 0.0])),
        Affine(both[1], bias[1] + np.array([-8.0, 0.0])),
    ]
    mean = Affine(sum(both) / 2, (models[0].bias + models[1].bias) / 2)
    turn = tf.Variable(0)

    def alternating(images):
        first = tf.equal(turn.assign_add(1) % 2, 0)
        return tf.where(first, models[0](images), models[1](images))

    ball = {"norm": 2, "eps": 0.1, "steps": 8, "loss": "cross_entropy"}
    attack = APGD(**ball, samples=samples)
    images, labels = gray_image(2), [0, 0]
    found, queries = attack.run(problem_of(alternating, images, labels, 0.1))
    expected, _ = APGD(**ball).run(problem_of(mean, images, labels, 0.1))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert distances(images, found, 2)[0] > 0.09
    # Neither is fooled on average, so both were asked to the end.
    assert queries.numpy().tolist() == [9 * samples] * 2


def test_samples_help_against_noise():
    """Gradients in noise ten times their length: the mean of many leads further."""
    model = linear()
    direction = model.weights[:, 1] - model.weights[:, 0]
    generator = tf.random.Generator.from_seed(0)

    def noisy(images):
        slopes = generator.normal(tf.shape(images)) * 8.0
        noise = tf.reduce_sum(slopes * (images - 0.5), [1, 2, 3])[:, None]
        return model(images) + noise * [1.0, -1.0, 0.0, 0.0]

    gained = {}
    for samples in (1, 32):
        attack = APGD(norm=2, eps=0.02, steps=10, samples=samples, early_stop=False)
        found, _ = searched(attack, noisy, 16, 0.02)
        gained[samples] = np.mean((found.numpy().reshape(16, -1) - 0.5) @ direction)
    assert gained[32] > 2 * abs(gained[1])


def caught(attack, model, images, labels):
    """The result, and the sentences of the warnings about the loss."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        result = attack(model, images, labels)
        attack(model, images, labels)
    return result, [str(each.message) for each in found if "loss" in str(each.message)]


def test_ratio_of_two_classes_is_a_margin_and_says_so():
    """Once, when the graph is traced; the score is that of the margin."""
    model = affine(2, SHAPE, lead=0.1)
    attack = APGD(norm=2, eps=0.2, steps=4, loss="dlr")
    result, said = caught(attack, model, gray_image(), [0])
    assert result.success[0]
    assert said == [
        '`loss="dlr"` needs 3 classes, so the margin is climbed in its place. '
        "Received: 2 classes"
    ]
    logits, goal = tf.constant([[3.0, 5.0]]), Goal(tf.constant([0]), False)
    assert attack.score(logits, goal).numpy().tolist() == [2.0]


def test_ratio_towards_one_of_three_classes_is_a_difference_and_says_so():
    model = Wavy(classes=3)
    images, labels = model.images(3)
    attack = APGD(norm=2, eps=0.1, steps=4, loss="dlr", target_classes=2)
    _, said = caught(attack, model, images, labels)
    assert said == [
        '`loss="dlr"` needs 4 classes, so the difference of two logits is climbed in '
        "its place. Received: 3 classes"
    ]
    goal = Goal(tf.constant([0]), False, rivals=tf.constant([2]))
    assert attack.score(tf.constant([[3.0, 5.0, 2.5]]), goal).numpy().tolist() == [-0.5]


def test_classes_are_tried_in_the_order_of_their_logits():
    """Of the three rivals each search raises its own over the label, in turn."""
    weights = np.zeros((24, 4))
    weights[:4, 0], weights[4:8, 1] = 1.0, 1.0
    weights[8:12, 2], weights[12:16, 3] = 1.0, 1.0
    model = Affine(weights, [5.0, 1.0, 3.0, 2.0])
    points = []

    def recording(images):
        if isinstance(images, tf.Tensor) and tf.executing_eagerly():
            points.append(np.array(images))
        return model(images)

    attack = APGD(norm=2, eps=0.2, steps=3, loss="margin", target_classes=2)
    attack.run(problem_of(recording, gray_image(), [0], 0.2))
    # The clean image, then 4 points for class 2, then 4 for class 3.
    assert len(points) == 9
    for last, rival in ((points[4], 2), (points[8], 3)):
        moved = (last - 0.5).reshape(6, 4).mean(axis=1)
        assert moved[0] < -0.03 and moved[rival] > 0.03
        others = {1, 2, 3} - {rival}
        assert all(abs(moved[other]) < 0.02 for other in others)


def test_classes_of_its_own_leave_no_targets():
    images, labels = conv_images(2)
    attack = APGD(norm=2, eps=0.1, loss="margin", target_classes=2)
    with pytest.raises(ValueError) as error:
        attack(convnet(), images, labels, targets=(labels + 1) % 3)
    assert str(error.value) == (
        "`target_classes` has targets of its own, the classes next to the label. "
        "Received: targets"
    )


@pytest.mark.parametrize("norm", NORMS)
def test_without_early_stop_a_success_is_kept_and_the_loss_is_higher(norm):
    """The points are the same until one is fooled."""
    images, labels = conv_images(8)
    eps = {1: 1.0, 2: 0.3, "inf": 0.05}[norm]
    attack = APGD(norm=norm, eps=eps, steps=8)
    early = attack(convnet(), images, labels)
    whole = dataclasses.replace(attack, early_stop=False)(convnet(), images, labels)
    np.testing.assert_array_equal(early.success, whole.success)
    assert 0 < np.sum(early.success) < 8
    loss = keras.losses.SparseCategoricalCrossentropy(True, reduction=None)
    losses = [
        loss(labels, convnet()(result.adversarial, training=False)).numpy()
        for result in (early, whole)
    ]
    assert np.all(losses[1] >= losses[0] - 1e-5)
    # One step leads from corner to corner of a cube, where nothing is higher.
    assert norm == "inf" or np.any(losses[1] > losses[0] + 1e-2)


def test_nan_gradients_leave_the_image_in_its_ball():
    """Where an answer is not finite the search goes on with what it has."""

    def model(images):
        total = tf.reduce_sum(images, axis=[1, 2, 3])
        return tf.stack([total, 24.5 - total + tf.sqrt(total - 11.9)], axis=-1)

    for norm in NORMS:
        attack = APGD(norm=norm, eps=0.3, steps=6)
        found = attack.perturb(model, gray_image(), [0])
        assert np.all(np.isfinite(found))
        assert distances(gray_image(), found, norm)[0] <= 0.3 + 1e-6


def test_one_step_is_enough_for_every_norm():
    """The least budget there is."""
    model = linear()
    for norm in NORMS:
        attack = APGD(norm=norm, eps=9.0 if norm == 1 else 0.9, steps=1)
        found = attack.perturb(model, gray_image(), [0])
        assert np.argmax(model.logits(found)) != 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("norm", "settings"),
    [(1, {}), (2, {"samples": 2}), ("inf", {"loss": "dlr", "target_classes": 9})],
)
def test_under_xla(norm, settings):
    """Other draws, the same ball, and as strong."""
    model = linear(5)
    distance = boundary(model, norm)
    attack = APGD(norm=norm, eps=1.0, steps=20, restarts=2, **settings)

    def run(images, eps):
        return attack(model, images, [0, 0], eps=eps)

    compiled = tf.function(run, jit_compile=True, autograph=False)
    eps = tf.constant([1.05 * distance, 0.95 * distance], tf.float32)
    result = compiled(gray_image(2), eps)
    assert result.success.numpy().tolist() == [True, False]
    moved = distances(gray_image(2), result.adversarial, norm)
    assert np.all(moved <= eps + 1e-6)
    np.testing.assert_allclose(moved[1], eps[1], rtol=1e-3)
