"""FAB on affine models, where one projection is the answer, and step by step in NumPy.

Called on a `Problem` outside of a graph the search runs in Python, so that a model can
write down each image that it runs on.
"""

import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import Affine, affine, distances
from tests.attacks.minimal import (
    SHAPE,
    answers,
    binary_model,
    random_images,
)
from tests.attacks.planes import length, nearest_step
from tests.attacks.recording import recorded
from tests.seeds import set_seeds
from tfrobust.attacks import DDN, FAB, DeepFool

NORMS = [1, 2, "inf"]
every_norm = pytest.mark.parametrize("norm", NORMS)


def found_by(attack, model, images, classes, targeted=False):
    """Where the search ends, without a graph, which takes longer to make."""
    problem, _ = recorded(model, images, classes, targeted=targeted)
    return attack.run(problem)[0].numpy()


def boundary_steps(model, images, labels, norm):
    """For each image the shortest step to the boundary of each other class."""
    logits = model.logits(images)
    steps = []
    for image, row, label in zip(images, logits, labels, strict=True):
        others = [k for k in range(len(row)) if k != label]
        steps.append(
            {
                k: nearest_step(
                    norm,
                    image.reshape(-1),
                    model.weights[:, k] - model.weights[:, label],
                    row[k] - row[label],
                )
                for k in others
            }
        )
    return steps


@every_norm
def test_affine_models_are_fooled_at_the_exact_projection(norm):
    """With pixels that stop at the box: the distance, and where there is one the point.

    A thousandth may be missing: the answer lies on a line from the image to a point
    that the search was at, and a ten-thousandth of the way beyond the boundary.
    """
    model, images = binary_model(offset=3.0), random_images(6, -0.5, 1.5)
    labels = answers(model, images)
    steps = [
        next(iter(row.values())) for row in boundary_steps(model, images, labels, norm)
    ]
    stopped = [np.isin(np.ravel(i) + s, [0, 1]) for i, s in zip(images, steps)]  # noqa: B905
    assert np.mean(stopped) > 0.2
    found = found_by(FAB(norm=norm, steps=30), model, images, labels)
    assert np.all(answers(model, found) != labels)
    expected = np.array([length(norm, step) for step in steps])
    distance = distances(images, found, norm)
    assert np.all(distance > expected * (1 - 1e-5))
    np.testing.assert_allclose(distance, expected, rtol=3e-3)
    if norm != "inf":
        np.testing.assert_allclose((found - images).reshape(6, -1), steps, atol=0.02)


@every_norm
@pytest.mark.parametrize("target_classes", [9, None])
def test_of_several_boundaries_the_nearest(norm, target_classes):
    """One after the other, or all of them in each step."""
    model = affine(4, SHAPE, seed=2, lead=0.0)
    images = random_images(8, 0.2, 0.8)
    labels = answers(model, images)
    steps = boundary_steps(model, images, labels, norm)
    expected = [min(length(norm, step) for step in row.values()) for row in steps]
    attack = FAB(norm=norm, steps=12, target_classes=target_classes)
    found = found_by(attack, model, images, labels)
    assert np.all(answers(model, found) != labels)
    np.testing.assert_allclose(distances(images, found, norm), expected, rtol=3e-3)


def test_fewer_classes_may_miss_the_nearest_boundary():
    """A class with a lower logit and a steeper slope."""
    weights = np.zeros((24, 3))
    weights[0, 1], weights[1, 2] = 1.0, 10.0
    model = Affine(weights, [0.0, -0.6, -5.5])  # distances 0.1 and 0.05
    images = np.full((1, *SHAPE), 0.5, np.float32)
    for count, distance in ((1, 0.1), (2, 0.05), (None, 0.05)):
        attack = FAB(norm=2, steps=10, target_classes=count)
        found = found_by(attack, model, images, [0])
        assert distances(images, found, 2)[0] == pytest.approx(distance, rel=1e-3)


@every_norm
def test_targets_are_reached_and_others_do_not_count(norm):
    """Where only two classes are near, at the boundary between target and label."""
    model = affine(3, SHAPE, seed=1, lead=0.0)
    model.bias += [0.3, 0.0, 0.0] - model.logits(np.full((1, *SHAPE), 0.5))[0]
    images = random_images(5, 0.49, 0.51)
    labels = answers(model, images)
    assert np.all(labels == 0)
    steps = boundary_steps(model, images, labels, norm)
    for target in (1, 2):
        other = 3 - target
        attack, targets = FAB(norm=norm, steps=25), np.full(5, target)
        found = found_by(attack, model, images, targets, targeted=True)
        np.testing.assert_array_equal(answers(model, found), targets)
        least = np.array([length(norm, row[target]) for row in steps])
        distance = distances(images, found, norm)
        assert np.all(distance > (1 - 1e-4) * least)
        # Exact where the third class does not lead at that point.
        ends = images + [row[target].reshape(SHAPE) for row in steps]
        logits = model.logits(ends)
        alone = logits[:, other] < logits[:, 0]
        assert np.any(alone)
        np.testing.assert_allclose(distance[alone], least[alone], rtol=3e-3)


class Curved:
    """Logits `w_k . x + b_k - c_k |x - 1/2|^2`, and their slopes in float64."""

    def __init__(self, curvature):
        rng = np.random.default_rng(5)
        self.weights = rng.normal(size=(24, 3))
        self.bias = -0.5 * self.weights.sum(axis=0) + [0.6, 0.0, 0.1]
        self.curvature = np.asarray(curvature)

    def __call__(self, images):
        rows = tf.reshape(images, [-1, 24])
        away = tf.reduce_sum(tf.square(rows - 0.5), axis=1, keepdims=True)
        weights = tf.constant(self.weights, tf.float32)
        bent = away * tf.constant(self.curvature, tf.float32)
        return rows @ weights + tf.constant(self.bias, tf.float32) - bent

    def logits(self, point):
        return (
            point @ self.weights
            + self.bias
            - self.curvature * np.sum((point - 0.5) ** 2)
        )

    def slopes(self, point):
        return self.weights - 2.0 * np.outer(point - 0.5, self.curvature)


def next_point(model, norm, image, point, label, rivals, settings):
    """One step of algorithm 1 in float64 from the paper's text."""
    alpha_max, eta = settings
    logits, slopes = model.logits(point), model.slopes(point)
    dual = {1: np.inf, 2: 2, "inf": 1}[norm]
    normals = {k: slopes[:, k] - slopes[:, label] for k in rivals}
    leads = {k: logits[k] - logits[label] for k in rivals}
    nearest = min(
        rivals, key=lambda k: abs(leads[k]) / np.linalg.norm(normals[k], ord=dual)
    )
    normal, lead = normals[nearest], leads[nearest]
    step = nearest_step(norm, point, normal, lead)
    anew = nearest_step(norm, image, normal, lead + normal @ (image - point))
    here, there = length(norm, step), length(norm, anew)
    alpha = min(here / (here + there), alpha_max)
    moved = (1 - alpha) * (point + eta * step) + alpha * (image + eta * anew)
    return np.clip(moved, 0, 1)


@every_norm
@pytest.mark.parametrize("target_classes", [1, 2, None])
def test_every_step_against_the_paper(norm, target_classes):
    """Replayed in float64 from each point that the search asked about."""
    model = Curved([0.8, 0.1, -0.4])
    images = random_images(3, 0.2, 0.8)
    flat = images.reshape(3, -1).astype(np.float64)
    clean = np.array([model.logits(row) for row in flat])
    labels = np.argmax(clean, axis=1)
    beta, settings = 0.8, (0.3, 1.2)
    attack = FAB(
        norm=norm,
        steps=7,
        target_classes=target_classes,
        alpha_max=settings[0],
        eta=settings[1],
        beta=beta,
    )
    problem, asked = recorded(model, images, labels)
    attack.run(problem)
    asked = np.array(asked, np.float64).reshape(len(asked), 3, -1)
    rounds = target_classes or 1
    # The images; a gradient and a look for each step; three points of the line.
    assert len(asked) == 1 + 2 * 7 * rounds + 3
    for row, label in enumerate(labels):
        order = [k for k in np.argsort(-clean[row]) if k != label]
        backwards = 0
        for number in range(rounds):
            rivals = order if target_classes is None else [order[number]]
            steps = asked[1 + 14 * number :][:14, row]
            np.testing.assert_array_equal(steps[0], flat[row])
            for at, moved, after in zip(
                steps[::2], steps[1::2], [*steps[2::2], None], strict=True
            ):
                expected = next_point(
                    model, norm, flat[row], at, label, rivals, settings
                )
                np.testing.assert_allclose(moved, expected, atol=2e-5)
                if after is None:
                    continue
                reached = np.argmax(model.logits(moved)) != label
                backwards += reached
                kept = flat[row] + (beta if reached else 1.0) * (moved - flat[row])
                np.testing.assert_allclose(after, kept, atol=1e-6)
        assert backwards > 0


@every_norm
def test_the_answer_was_asked_about_and_is_the_nearest_success(norm):
    """Of all points that the search visited, and no point that it did not."""
    model = Curved([0.8, 0.1, -0.4])
    images = random_images(4, 0.2, 0.8)
    flat = images.reshape(4, -1).astype(np.float64)
    labels = np.array([np.argmax(model.logits(row)) for row in flat])
    problem, asked = recorded(model, images, labels)
    found, queries = FAB(norm=norm, steps=6).run(problem)
    np.testing.assert_array_equal(queries, len(asked))
    for row, label in enumerate(labels):
        points = np.array([batch[row] for batch in asked])
        assert any(np.array_equal(found[row], point) for point in points)
        success = [
            np.argmax(model.logits(np.float64(p.ravel()))) != label for p in points
        ]
        least = distances(images[row : row + 1], points, norm)[success].min()
        nearest = distances(images[row : row + 1], found[row : row + 1], norm)[0]
        assert nearest == pytest.approx(least, rel=1e-6)


@every_norm
def test_a_success_within_the_budget_ends_the_search(norm):
    """Rows with a radius beyond the boundary are done; others go on to the end."""
    model, images = binary_model(), random_images(4, 0.3, 0.7)
    labels = answers(model, images)
    exact = np.array(
        [
            length(norm, next(iter(row.values())))
            for row in boundary_steps(model, images, labels, norm)
        ]
    )
    radii = (exact * [1.2, 0.9, 1.5, 0.5]).astype(np.float32)
    attack = FAB(norm=norm, steps=12, restarts=2)
    problem, _ = recorded(model, images, labels, eps=radii)
    found, queries = attack.run(problem)
    within = distances(images, found, norm) <= radii
    np.testing.assert_array_equal(within, [True, False, True, False])
    assert np.all(answers(model, found) != labels)
    # Clean logits, two for each step; the line, where no success is within.
    np.testing.assert_array_equal(queries, [3, 1 + 48 + 3, 3, 1 + 48 + 3])
    # Nothing is left to do where all are done.
    problem, asked = recorded(model, images[:1], labels[:1], eps=radii[:1])
    attack.run(problem)
    assert len(asked) == 3


def test_the_line_may_lead_into_the_budget():
    """An overshoot of 1.5 leaves the ball, and the boundary is inside of it."""
    model, images = binary_model(), random_images(2, 0.4, 0.6)
    labels = answers(model, images)
    exact = [
        length(2, next(iter(row.values())))
        for row in boundary_steps(model, images, labels, 2)
    ]
    radii = np.float32(1.01) * np.float32(exact)
    problem, _ = recorded(model, images, labels, eps=radii)
    found, _ = FAB(norm=2, steps=1, eta=1.5).run(problem)
    assert np.all(distances(images, found, 2) <= radii)
    assert np.all(answers(model, found) != labels)


def test_rows_that_are_not_active_cost_nothing():
    """No question, and the image comes back."""
    model, images = binary_model(), random_images(3, 0.4, 0.6)
    labels = answers(model, images)
    problem, _ = recorded(model, images, labels, active=[True, False, True])
    found, queries = FAB(norm=2, steps=3).run(problem)
    np.testing.assert_array_equal(queries, [10, 0, 10])
    np.testing.assert_array_equal(found[1], images[1])


@every_norm
@pytest.mark.parametrize("eps", [None, 0.02])
def test_restarts_begin_half_as_far_as_the_nearest_success(norm, eps):
    """Or half of the radius where that is less; in a direction of their own."""
    model, images = binary_model(), random_images(3, 0.4, 0.6)
    labels = answers(model, images)
    for radius in (None, 0.01):
        attack = FAB(norm=norm, steps=4, restarts=3, start_radius=radius)
        problem, asked = recorded(model, images, labels, eps=eps)
        attack.run(problem)
        starts = [asked[1], asked[9], asked[17]]
        np.testing.assert_array_equal(starts[0], images)
        directions = []
        for number, start in zip((9, 17), starts[1:], strict=True):
            looks = asked[2:number:2]
            best = np.min(
                [
                    np.where(
                        answers(model, look) != labels,
                        distances(images, look, norm),
                        np.inf,
                    )
                    for look in looks
                ],
                axis=0,
            )
            assert np.all(np.isfinite(best))
            default = {1: 5.0, 2: 1.0, "inf": 0.3}[norm]
            limit = eps if eps is not None else default if radius is None else radius
            size = distances(images, start, norm)
            np.testing.assert_allclose(size, 0.5 * np.minimum(best, limit), rtol=1e-4)
            directions.extend((start - images).reshape(3, -1) / size[:, None])
        products = np.corrcoef(directions)
        assert np.abs(products[~np.eye(6, dtype=bool)]).max() < 0.8


def test_each_boundary_is_first_sought_from_the_image():
    """Of two boundaries with two starts each, the first and the third."""
    model = affine(3, SHAPE, lead=0.0)
    images = random_images(2, 0.4, 0.6)
    attack = FAB(norm=2, steps=2, restarts=2)
    problem, asked = recorded(model, images, answers(model, images))
    attack.run(problem)
    starts = asked[1:17:4]
    same = [np.array_equal(start, images) for start in starts]
    assert same == [True, False, True, False]
    assert np.abs(starts[1] - starts[3]).max() > 1e-3


@functools.cache
def trained():
    """A network with kinks, taught to tell three patterns apart, and new images."""
    rng = np.random.default_rng(0)
    patterns = rng.uniform(0.2, 0.8, (3, 8, 8, 1))
    labels = rng.integers(0, 3, 600)
    images = np.clip(patterns[labels] + rng.normal(0, 0.25, (600, 8, 8, 1)), 0, 1)
    images = images.astype(np.float32)
    set_seeds(1)
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(5e-3), loss)
    network.fit(images[:500], labels[:500], batch_size=50, epochs=6, verbose=0)
    return network, images[500:540], labels[500:540]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("norm", "target_classes"), [(1, 9), (2, 9), ("inf", 9), (2, None)]
)
def test_a_trained_network_is_fooled_as_near_as_by_other_attacks(norm, target_classes):
    """A median within a hundredth of DDN's, DeepFool's or both; and far below in L1."""
    network, images, labels = trained()
    attack = FAB(norm=norm, steps=60, target_classes=target_classes)
    result = attack(network, images, labels)
    assert np.all(result.success)
    others = [DeepFool()(network, images, labels)]
    if norm != 1:
        others.append(DDN(norm=norm, steps=100)(network, images, labels))
    for other in others:
        assert np.all(other.success)
        far = distances(images, other.adversarial, norm)
        rows = far > 0
        ratios = result.distortion.numpy()[rows] / far[rows]
        assert np.median(ratios) < (0.8 if norm == 1 else 1.01)
        assert ratios.max() < 1.2


@every_norm
@pytest.mark.parametrize("scale", [1e-20])
def test_the_scale_of_the_logits_does_not_matter(norm, scale):
    """The same distances for logits of any size."""
    model = affine(3, SHAPE, lead=0.0)
    images = random_images(5, 0.3, 0.7)
    labels = answers(model, images)
    scaled = Affine(scale * model.weights, scale * model.bias)
    expected, found = (
        found_by(FAB(norm=norm, steps=6), network, images, labels)
        for network in (model, scaled)
    )
    assert np.all(answers(model, found) != labels)
    np.testing.assert_allclose(
        distances(images, found, norm), distances(images, expected, norm), rtol=1e-3
    )


def test_gradients_that_are_no_numbers_leave_the_image_where_it_is():
    """Beside one that has a boundary."""

    def model(images):
        mean = tf.reduce_mean(images, axis=[1, 2, 3])
        wild = tf.where(mean > 0.7, tf.sqrt(0.0 * mean), 0.0)
        return tf.stack([0.6 - mean + tf.sign(mean - 0.7), wild], axis=-1)

    images = np.full((2, *SHAPE), 0.5, np.float32)
    images[1] = 0.9
    problem, _ = recorded(model, images, [0, 0], active=[False, True])
    found, _ = FAB(norm="inf", steps=3).run(problem)
    np.testing.assert_array_equal(found, images)


@pytest.mark.parametrize("norm", ["inf", math.inf])
def test_both_names_of_the_largest_change(norm):
    """The same attack."""
    model, images = binary_model(), random_images(2, 0.4, 0.6)
    labels = answers(model, images)
    found = found_by(FAB(norm=norm, steps=5), model, images, labels)
    expected = found_by(FAB(steps=5), model, images, labels)
    np.testing.assert_array_equal(found, expected)
