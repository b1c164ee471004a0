"""Smooth attacks: their plain versions with one operator in between."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import affine, conv_images, convnet, distances
from tests.attacks.minimal import (
    answers,
    binary_model,
    boundary_distance,
    random_images,
)
from tfrobust.attacks import (
    PGD,
    CarliniWagnerL2,
    Goal,
    Problem,
    SmoothCarliniWagner,
    SmoothPGD,
    parse,
)
from tfrobust.smoothing import Smoother, iterations_for

COUNT = "must be an integer of at least 1. Received: "

BOTH = [SmoothPGD(norm=2, eps=0.5), SmoothCarliniWagner()]
both = pytest.mark.parametrize("attack", BOTH)


def test_without_smoothing_sPGD_is_PGD():
    """With alpha 0, to rounding."""
    images, labels = conv_images(6)
    settings = {"norm": 2, "eps": 0.4, "steps": 6, "random_start": False}
    plain = PGD(**settings)(convnet(), images, labels)
    result = SmoothPGD(alpha=0.0, **settings)(convnet(), images, labels)
    np.testing.assert_allclose(result.adversarial, plain.adversarial, atol=1e-5)
    assert np.any(plain.success) and np.any(plain.distortion > 0)


@pytest.mark.parametrize("norm", [2, "inf"])
def test_one_step_is_the_normalized_smooth_gradient(norm):
    """`x - eps * normalised(smooth(w))` on a linear model, by an explicit solve."""
    shape = (4, 6, 1)
    model, images = affine(2, shape), random_images(3, 0.4, 0.6).reshape(3, *shape)
    attack = SmoothPGD(
        norm=norm,
        eps=0.05,
        steps=1,
        step_size=0.05,
        random_start=False,
        early_stop=False,
        alpha=0.9,
        bandwidth=0.2,
        iterations=200,
    )
    labels = answers(model, images)
    change = attack.perturb(model, images, labels) - images
    smoother = Smoother(images, 0.9, 200, bandwidth=0.2)
    matrix = tf.sparse.to_dense(smoother.to_sparse()).numpy().astype(np.float64)
    for row, label in enumerate(labels):
        weights = model.weights[:, 1 - label] - model.weights[:, label]
        smoothed_ones = np.linalg.solve(matrix[row], np.ones(len(weights)))
        direction = np.linalg.solve(matrix[row], weights) / smoothed_ones
        step = np.sign(direction) if norm == "inf" else direction
        step = step / np.linalg.norm(step, np.inf if norm == "inf" else 2)
        # Where the smoothed step does not climb, the image itself was best.
        assert weights @ step > 0
        np.testing.assert_allclose(np.ravel(change[row]), 0.05 * step, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "tolerance"), [(0.5, 0.03), (0.95, 0.06)])
def test_smoothing_does_not_move_the_boundary(alpha, tolerance):
    """sC&W comes near the nearest point of a linear model, never below it.

    Its weights are noise, the worst there is to a smooth search. Of images that are
    not so near that the first step of Adam goes far beyond.
    """
    model, images = binary_model(), random_images(6, 0.4, 0.6)
    exact = boundary_distance(model, images, 2)
    attack = SmoothCarliniWagner(
        alpha=alpha, early_abort=False, bandwidth=0.3, iterations=10
    )
    result = attack(model, images, answers(model, images))
    assert np.all(result.success)
    assert np.all(result.distortion >= exact * (1 - 1e-4))
    far = exact > 0.05
    assert np.sum(far) >= 5
    np.testing.assert_allclose(result.distortion[far], exact[far], rtol=tolerance)


def roughness(images, result):
    graph = Smoother(images, bandwidth=0.3).graph
    return float(np.mean(graph.roughness(result.adversarial - images)))


def smooth_scene():
    """A linear model with noise for weights, and flat images with one edge."""
    shape = (8, 9, 1)
    model = affine(2, shape, seed=3, lead=0.0)
    images = np.full((4, *shape), 0.4, np.float32)
    images[:, :, 4:] = 0.7
    return model, images, np.argmax(model.logits(images), axis=1)


@pytest.mark.slow
def test_perturbations_are_smoother_than_those_of_the_plain_attacks():
    """sPGD's after the same steps, sC&W's after few, and more so by its weight."""
    model, images, labels = smooth_scene()
    ball = {"norm": 2, "eps": 30.0, "steps": 5}
    plain = roughness(images, PGD(**ball, random_start=False)(model, images, labels))
    smooth = SmoothPGD(**ball, bandwidth=0.3)(model, images, labels)
    assert np.all(smooth.success)
    assert roughness(images, smooth) < 0.3 * plain
    plain = roughness(images, CarliniWagnerL2()(model, images, labels))
    attack = SmoothCarliniWagner(bandwidth=0.3)
    short = dataclasses.replace(attack, steps=30, search_steps=2)
    heavy = dataclasses.replace(attack, roughness_weight=20.0)
    for variant in (short, heavy):
        result = variant(model, images, labels)
        assert np.all(result.success)
        assert roughness(images, result) < 0.5 * plain


def test_a_roughness_weight_is_minimized():
    """On a linear model the best r is `(I + w (I - W))^-1 g`, up to its length."""
    model, images, labels = smooth_scene()
    attack = SmoothCarliniWagner(
        alpha=0.5, bandwidth=0.3, roughness_weight=8.0, early_abort=False
    )
    result = attack(model, images[:1], labels[:1])
    graph = attack.smoother(images[:1]).graph
    weights = tf.sparse.to_dense(graph.to_sparse())[0].numpy().astype(np.float64)
    gradient = model.weights[:, 1 - labels[0]] - model.weights[:, labels[0]]
    matrix = np.eye(len(weights)) + 8.0 * (np.eye(len(weights)) - weights)
    direction = np.linalg.solve(matrix, gradient)
    gap = -np.diff(model.logits(images[:1])[0])[0] * (1 if labels[0] == 0 else -1)
    best = direction * gap / (gradient @ direction)
    delta = np.ravel(result.adversarial[0] - images[0])
    assert bool(result.success[0])
    cosine = delta @ best / np.linalg.norm(delta) / np.linalg.norm(best)
    assert cosine > 0.99
    np.testing.assert_allclose(np.linalg.norm(delta), np.linalg.norm(best), rtol=0.03)


@pytest.mark.slow
def test_a_gradient_that_is_not_a_number_stays_where_it_is():
    """One such pixel, at every image or at the clean one only, spoils no other."""
    inner, images, labels = smooth_scene()
    clean = tf.constant(images[:, 0, 0, 0])

    @tf.custom_gradient
    def spoilt(pixel, bad):
        return pixel, lambda upstream: (
            tf.where(bad, math.nan, upstream),
            None,
        )

    def model(x, always=True):
        pixel = x[:, 0, 0, 0]
        bad = tf.fill(tf.shape(pixel), True) if always else pixel == clean[0]
        pixel = spoilt(pixel, bad)
        first = tf.concat([pixel[:, None, None, None], x[:, :1, 1:]], axis=2)
        return inner(tf.concat([first, x[:, 1:]], axis=1))

    for attack in (SmoothPGD(norm=2, eps=30.0), SmoothCarliniWagner(steps=40)):
        plain = attack(inner, images, labels)
        with pytest.warns(UserWarning, match="NaN"):
            always = attack(lambda x: model(x), images, labels)
        with pytest.warns(UserWarning, match="NaN"):
            once = attack(lambda x: model(x, always=False), images, labels)
        for result in (always, once):
            assert np.all(result.success)
            assert np.all(result.distortion < 1.5 * plain.distortion + 1e-3)


def test_a_search_that_begins_at_the_image_does():
    """Without warm starts the second one's first point is the image again."""
    images, labels = conv_images(3)
    attack = SmoothCarliniWagner(
        steps=5, search_steps=2, warm_start=False, early_abort=False
    )
    problem = some_problem(images, labels)
    space = attack._space(problem)
    state = attack._start(problem, space)
    for _ in range(5):
        state = attack._advance(problem, space, state)
    assert np.all(state.search == 1)
    again, _ = space.to_image(state.variable, state.carry)
    np.testing.assert_array_equal(again, images)


def some_problem(images, labels):
    return Problem(
        classifier=lambda x: convnet()(x, training=False),
        images=tf.constant(images),
        goal=Goal(tf.constant(labels, tf.int32), targeted=False),
        eps=None,
        active=tf.ones([len(images)], tf.bool),
        compact=False,
    )


@both
def test_an_image_does_not_depend_on_its_batch(attack):
    """Alone and with others, to rounding."""
    if attack.budget is None:
        attack = dataclasses.replace(attack, steps=30, search_steps=3)
    images, labels = conv_images(4)
    together = attack(convnet(), images, labels)
    for row in range(4):
        alone = attack(convnet(), images[row : row + 1], labels[row : row + 1])
        np.testing.assert_allclose(
            alone.distortion[0], together.distortion[row], rtol=1e-3, atol=1e-5
        )


def test_the_budget_holds_after_smoothing():
    """For both norms and tight balls, measured in float64."""
    images, labels = conv_images(5)
    for norm in (2, "inf"):
        attack = SmoothPGD(norm=norm, eps=0.03, steps=5, early_stop=False)
        adversarial = attack.perturb(convnet(), images, labels)
        assert np.all(distances(images, adversarial, norm) <= 0.03 * (1 + 1e-5))
        assert np.min(adversarial) >= 0 and np.max(adversarial) <= 1


@pytest.mark.parametrize("neighbors", [4, 8])
def test_as_many_steps_as_five_per_cent_takes(neighbors):
    """Unless `iterations` is given; one of four neighbours is worth two."""
    attack = SmoothPGD(norm=2, eps=1.0, alpha=0.9, neighbors=neighbors)
    products = iterations_for(0.9, 0.05)
    expected = math.ceil(products / 2) if neighbors == 4 else products
    assert attack.smoother(tf.zeros([1, 3, 3, 1])).iterations == expected
    explicit = dataclasses.replace(attack, iterations=7)
    assert explicit.smoother(tf.zeros([1, 3, 3, 1])).iterations == 7


def test_solves_begin_where_the_last_ended():
    """After 30 steps the remembered solution is nearer than one from zeros."""
    images, labels = conv_images(3)
    problem = some_problem(images, labels)
    attack = SmoothCarliniWagner(early_abort=False, iterations=4, alpha=0.95)
    space = attack._space(problem)
    state = attack._start(problem, space)
    for _ in range(30):
        variable = state.variable
        state = attack._advance(problem, space, state)
    exact = Smoother(images, 0.95, 200, bandwidth=attack.bandwidth).smooth(variable)
    cold = Smoother(images, 0.95, 4, bandwidth=attack.bandwidth).smooth(variable)
    size = np.linalg.norm(exact)
    error = np.linalg.norm(state.carry[0] - exact) / size
    assert error < 0.07
    assert error < 0.5 * np.linalg.norm(cold - exact) / size


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["smooth_pgd:norm=2,eps=0.5,steps=8", "smooth_cw:steps=8,search_steps=1"]
)
def test_every_solver_gives_the_same_answer(text):
    """The paper's two, by name as on a command line, where all converge.

    At alpha 0.8 80 steps are exact to float32.
    """
    images, labels = conv_images(3)
    usual = parse(f"{text},alpha=0.8,iterations=80")
    expected = usual(convnet(), images, labels)
    assert np.any(expected.success) and np.any(expected.distortion > 0.01)
    # Conjugate gradients stop at a residual of 1e-4.
    for solver, tolerance in (("cg", 3e-4), ("dense", 1e-5)):
        other = parse(f"{text},alpha=0.8,iterations=80,solver={solver}")
        assert (usual.solver, other.solver) == (None, solver)
        found = other(convnet(), images, labels)
        np.testing.assert_array_equal(found.success, expected.success)
        np.testing.assert_allclose(
            found.adversarial, expected.adversarial, atol=tolerance
        )


def test_the_solver_is_handed_on():
    """With as many steps as its error takes: fifty are the paper's."""
    images = tf.zeros([1, 3, 3, 1])
    plain = SmoothPGD(norm=2, eps=1.0, alpha=0.9)
    products = iterations_for(0.9, 0.05)
    for solver, steps in (("cg", products), ("checkerboard", math.ceil(products / 2))):
        smoother = dataclasses.replace(plain, solver=solver).smoother(images)
        assert smoother.iterations == steps
    paper = SmoothCarliniWagner(alpha=0.997, solver="cg", iterations=50)
    assert paper.smoother(images).iterations == 50
    with pytest.raises(ValueError) as error:
        dataclasses.replace(plain, solver="checkerboard", neighbors=8)
    assert str(error.value) == (
        '`solver="checkerboard"` needs `neighbors=4`, where the neighbours of black '
        "pixels are white. Received: neighbors=8"
    )


@both
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"alpha": 1.0}, "`alpha` must be in [0, 1). Received: alpha=1.0"),
        ({"alpha": math.nan}, "`alpha` must be in [0, 1). Received: alpha=nan"),
        (
            {"bandwidth": 0},
            "`bandwidth` must be a finite number above 0. Received: bandwidth=0",
        ),
        (
            {"iterations": 0},
            f"`iterations` {COUNT}iterations=0",
        ),
        ({"neighbors": 5}, "`neighbors` must be one of (4, 8). Received: neighbors=5"),
        (
            {"kernel": "box"},
            "`kernel` must be one of ('laplacian', 'gaussian'). Received: kernel='box'",
        ),
        (
            {"solver": "lu"},
            "`solver` must be one of ('checkerboard', 'chebyshev', 'cg', 'dense'). "
            "Received: solver='lu'",
        ),
    ],
)
def test_bad_settings_are_named(attack, setting, message):
    with pytest.raises(ValueError) as error:
        dataclasses.replace(attack, **setting)
    assert str(error.value) == message


def test_a_bad_weight_is_named_and_plain_settings_are_checked():
    with pytest.raises(ValueError, match="`roughness_weight` must be finite"):
        SmoothCarliniWagner(roughness_weight=-1.0)
    with pytest.raises(ValueError, match="`steps` must be an integer of at least 1"):
        SmoothPGD(norm=2, eps=1.0, steps=0)
    with pytest.raises(ValueError, match='`norm` must be 2 or "inf". Received: norm=1'):
        SmoothPGD(norm=1, eps=1.0)
