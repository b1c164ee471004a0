"""Success against distortion: worked by hand, by NumPy, and in closed form."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import (
    CONV_SHAPE,
    affine,
    brightness,
    conv_images,
    convnet,
    distances,
    grey,
)
from tfrobust.analysis import (
    Characteristic,
    characteristic,
    remeasure,
    smallest_success,
    smallest_successes,
)
from tfrobust.attacks import (
    BIM,
    DDN,
    FGSM,
    PGD,
    AttackOutcome,
    AttackResult,
    ThreatModel,
    evaluate,
)
from tfrobust.core.estimates import Estimate


def result(distortion, success, already=None, rounded=None):
    """A result of tiny images; rounded ones fare as the others unless said."""
    distortion = tf.constant(distortion, tf.float32)
    success = tf.constant(success, tf.bool)
    rounded_distortion, rounded_success = rounded or (distortion, success)
    return AttackResult(
        adversarial=tf.zeros([len(success), 1, 1, 1]),
        success=success,
        distortion=distortion,
        success_rounded=tf.constant(rounded_success, tf.bool),
        distortion_rounded=tf.constant(rounded_distortion, tf.float32),
        already=tf.zeros_like(success) if already is None else tf.constant(already),
    )


def random_characteristic(seed=0, count=40):
    rng = np.random.default_rng(seed)
    distortion = np.round(rng.exponential(2.0, count), 1)  # with ties
    return Characteristic(distortion=distortion, success=rng.random(count) < 0.7)


def test_a_worked_example():
    """Six images: one was wrong from the start, one withstood, distortions 1 2 2 5."""
    found = characteristic(
        result(
            [0.0, 2.0, 9.0, 5.0, 1.0, 2.0],
            [True, True, False, True, True, True],
            [True, False, False, False, False, False],
        )
    )
    assert found.index.tolist() == [1, 2, 3, 4, 5]
    share, error = found.success_rate()
    assert share == pytest.approx(0.8)
    assert error == pytest.approx(math.sqrt(0.8 * 0.2 / 4))
    value, error = found.mean_distortion()
    assert value == pytest.approx(2.5)
    assert error == pytest.approx(math.sqrt((2.25 + 0.25 + 0.25 + 6.25) / 3) / 2)
    np.testing.assert_allclose(
        found.at([0.0, 0.99, 1.0, 2.0, 4.9, 5.0, 100.0]),
        [0.0, 0.0, 0.2, 0.6, 0.6, 0.8, 0.8],
    )
    assert float(found.at(2)) == pytest.approx(0.6)
    assert float(found.standard_error(2)) == pytest.approx(math.sqrt(0.6 * 0.4 / 4))
    distortions, shares = found.curve()
    assert distortions.tolist() == [0.0, 1.0, 2.0, 5.0]
    np.testing.assert_allclose(shares, [0.0, 0.2, 0.6, 0.8])
    # Of the two at distance 2 the first; the failure at distance 9 is no success.
    assert found.worst(2).tolist() == [3, 1]
    assert found.worst(10).tolist() == [3, 1, 5, 4]


def test_shares_are_counts():
    """At any D, by counting; rising in D, up to the probability of success."""
    found = random_characteristic()
    grid = np.concatenate([np.linspace(0, 12, 50), found.distortion, [math.inf]])
    grid = np.sort(grid).reshape(-1, 7)
    shares = found.at(grid)
    assert shares.shape == grid.shape and np.all(np.diff(shares.ravel()) >= 0)
    for distortion, share in zip(grid.ravel(), shares.ravel(), strict=True):
        assert share == np.mean(found.success & (found.distortion <= distortion))
    assert shares[-1, -1] == found.success_rate().value
    middle = found.standard_error(grid)[3, 3]
    rows = (found.success & (found.distortion <= grid[3, 3])).astype(float)
    assert middle == pytest.approx(np.std(rows, ddof=1) / math.sqrt(len(rows)))


def test_the_curve_steps_where_the_share_does():
    """At each of its points, and just before the next, `at` reads the curve."""
    found = random_characteristic()
    distortions, shares = found.curve()
    np.testing.assert_array_equal(found.at(distortions), shares)
    np.testing.assert_array_equal(found.at(distortions[1:] - 1e-9), shares[:-1])
    assert distortions[0] == 0 and np.all(np.diff(distortions) > 0)
    assert distortions[-1] == found.distortion[found.success].max()


def test_rounded_images_are_judged_by_their_own_fields():
    """An image may succeed before and fail after it was rounded."""
    both = result([1.0, 2.0], [True, True], rounded=([1.25, 2.5], [False, True]))
    assert characteristic(both).mean_distortion().value == 1.5
    rounded = characteristic(both, rounded=True)
    assert rounded.success.tolist() == [False, True]
    assert rounded.mean_distortion().value == 2.5


def test_batches_and_outcomes_are_as_one_result():
    """Rows in their order, `worst` counting through; an outcome does as well."""
    first = result([3.0, 1.0, 0.0], [True, True, True], [False, False, True])
    second = result([2.0, 4.0], [False, True])
    found = characteristic(first, second)
    assert found.distortion.tolist() == [3.0, 1.0, 2.0, 4.0]
    assert found.index.tolist() == [0, 1, 3, 4] and found.worst(2).tolist() == [4, 0]
    arrays = {name: np.asarray(value) for name, value in first._asdict().items()}
    outcome = AttackOutcome(threat=ThreatModel(2), **(arrays | {"adversarial": None}))
    assert characteristic(outcome).curve()[0].tolist() == [0.0, 1.0, 3.0]
    assert characteristic(outcome).mean_distortion() == outcome.mean_distortion()


def test_without_images_or_successes_there_is_no_number():
    """NaN, not 0 and not an error."""
    none = characteristic(result([0.0], [True], [True]))
    assert math.isnan(none.success_rate().value) and np.isnan(none.at([1.0]))[0]
    assert np.isnan(none.standard_error(1.0)) and none.worst(3).tolist() == []
    failed = characteristic(result([2.0, 2.0], [False, False]))
    assert failed.success_rate() == Estimate(0.0, 0.0)
    assert math.isnan(failed.mean_distortion().value)
    distortions, shares = failed.curve()
    assert distortions.tolist() == [0.0] and shares.tolist() == [0.0]


@pytest.mark.parametrize("norm", [1, 2, "inf"])
def test_distances_are_measured_anew(norm):
    """By NumPy, of the images as found and rounded; nothing else changes."""
    images, labels = conv_images(5)
    evaluation = evaluate(
        convnet(),
        [(images, labels)],
        {"a": PGD(norm="inf", eps=0.1, steps=2)},
        keep_images=True,
    )
    outcome = evaluation.results["a"]
    found = remeasure(outcome, images, norm)
    np.testing.assert_allclose(
        found.distortion, distances(images, outcome.adversarial, norm), rtol=1e-5
    )
    saved = np.round(outcome.adversarial * 255.0) / 255.0
    np.testing.assert_allclose(
        found.distortion_rounded, distances(images, saved, norm), rtol=1e-5
    )
    assert isinstance(found, AttackResult) and found.distortion.dtype == tf.float32
    for name in ("adversarial", "success", "success_rounded", "already"):
        np.testing.assert_array_equal(getattr(found, name), getattr(outcome, name))


def binary():
    """Two classes: the gradient of every loss is along the normal."""
    return affine(2, CONV_SHAPE)


@functools.cache
def near_grey(count=6):
    """Images at various distances from the boundary, far from the box; one wrong."""
    rng = np.random.default_rng(5)
    images = 0.5 + 0.08 * rng.normal(size=(count, *CONV_SHAPE))
    images = np.clip(images, 0.3, 0.7).astype(np.float32)
    labels = np.argmax(binary().logits(images), axis=1)
    labels[2] = 1 - labels[2]
    return images, labels


@pytest.mark.parametrize("early_stop", [False, True])
@pytest.mark.parametrize("norm", [2, "inf"])
def test_finds_the_first_radius_beyond_the_closed_form_boundary(norm, early_stop):
    """Distance `|margin| / ||w_0 - w_1||` in the dual norm; none beyond the grid."""
    model, (images, labels) = binary(), near_grey()
    logits = model.logits(images)
    normal = model.weights[:, 0] - model.weights[:, 1]
    dual = np.linalg.norm(normal, ord={2: 2, "inf": 1}[norm])
    boundary = np.abs(logits[:, 0] - logits[:, 1]) / dual
    radii = np.quantile(boundary, [0.15, 0.5, 0.7, 0.3]) * 1.001
    attack = FGSM(eps=1.0, norm=norm)
    found = smallest_success(
        attack, model, images, labels, radii, early_stop=early_stop
    )
    assert found.already.numpy().tolist() == [False, False, True, False, False, False]
    reached = 0
    for index, distance in enumerate(boundary):
        beyond = sorted(radius for radius in radii if radius > distance)
        if index == 2:
            assert found.success[2] and found.distortion[2] == 0
        elif beyond:
            reached += 1
            assert found.success[index]
            assert float(found.distortion[index]) == pytest.approx(beyond[0], rel=1e-4)
        else:
            assert not found.success[index]
            assert float(found.distortion[index]) == pytest.approx(min(radii), rel=1e-4)
    assert 2 <= reached <= 4


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("norm", [None, 2])
def test_is_the_minimum_over_separate_attacks(norm, rounded):
    """By NumPy over all radii, of the attack called on each alone."""
    images, labels = conv_images(6)
    labels[1] = (labels[1] + 1) % 3
    attack = BIM(eps=1.0, steps=3, step_size=None)
    radii = [0.2, 0.02, 0.08]
    found = smallest_success(
        attack, convnet(), images, labels, radii, norm=norm, rounded=rounded
    )
    suffix = "_rounded" if rounded else ""
    smallest = np.full(6, np.inf)
    for radius in radii:
        alone = attack(convnet(), images, labels, eps=radius)
        adversarial = np.asarray(alone.adversarial)
        if rounded:
            adversarial = np.round(adversarial * 255.0) / 255.0
        moved = distances(images, adversarial, norm or "inf")
        success = np.asarray(getattr(alone, f"success{suffix}"))
        smallest = np.where(success, np.minimum(smallest, moved), smallest)
    broken = ~np.asarray(found.already) & np.isfinite(smallest)
    assert 2 <= np.sum(broken) and np.asarray(found.already).tolist()[1]
    counted = ~np.asarray(found.already)
    success = np.asarray(getattr(found, f"success{suffix}"))
    np.testing.assert_array_equal(success[counted], broken[counted])
    distortion = np.asarray(getattr(found, f"distortion{suffix}"))
    np.testing.assert_allclose(distortion[broken], smallest[broken], rtol=1e-4)
    # The other fields are of the same image.
    direct = distances(images, found.adversarial, norm or "inf")
    np.testing.assert_allclose(found.distortion, direct, rtol=1e-4, atol=1e-6)


@dataclasses.dataclass
class Table:
    """Stands in for an attack: looks results up by label and radius, and counts."""

    rows: dict
    budget: float = 1.0
    asked: list = dataclasses.field(default_factory=list)

    def __call__(self, model, images, labels, targets=None, eps=None):
        labels = np.asarray(labels).tolist()
        self.asked.append((eps, labels, targets if targets is None else len(targets)))
        rows = [self.rows[label][eps] for label in labels]
        return result(
            [row[0] for row in rows],
            [row[1] for row in rows],
            [label == 3 for label in labels],
            rounded=([row[0] + 0.25 for row in rows], [row[2] for row in rows]),
        )


def table():
    """Image 0 comes nearer at the larger radius, 1 breaks late, 2 never, 3 is wrong.

    Rounding undoes what the small radius did to image 0.
    """
    return Table(
        {
            0: {1.0: (0.875, True, False), 2.0: (0.5, True, True)},
            1: {1.0: (1.0, False, False), 2.0: (1.5, True, True)},
            2: {1.0: (1.0, False, False), 2.0: (2.0, False, False)},
            3: {1.0: (0.0, True, True)},
        }
    )


def test_every_radius_is_tried_unless_told_otherwise():
    """A larger radius may give less distortion; who was wrong is not attacked again."""
    attack, images = table(), np.zeros((4, 1, 1, 1), np.float32)
    found = smallest_success(attack, None, images, [0, 1, 2, 3], [2.0, 1.0, 1.0])
    assert attack.asked == [(1.0, [0, 1, 2, 3], None), (2.0, [0, 1, 2], None)]
    assert found.success.numpy().tolist() == [True, True, False, True]
    assert found.distortion.numpy().tolist() == [0.5, 1.5, 1.0, 0.0]


def test_early_stop_leaves_broken_images_alone():
    """The first success stays, and only the others are attacked again."""
    attack, images = table(), np.zeros((4, 1, 1, 1), np.float32)
    found = smallest_success(
        attack, None, images, [0, 1, 2, 3], [1.0, 2.0], targets=[9] * 4, early_stop=True
    )
    assert attack.asked == [(1.0, [0, 1, 2, 3], 4), (2.0, [1, 2], 2)]
    assert found.distortion.numpy().tolist() == [0.875, 1.5, 1.0, 0.0]
    attack = table()
    smallest_success(attack, None, images[:2], [0, 3], [1.0, 2.0], early_stop=True)
    assert attack.asked == [(1.0, [0, 3], None)]


def test_early_stop_waits_for_a_success_that_survives_rounding():
    """Image 0 is broken at the small radius, but not once it was saved."""
    attack, images = table(), np.zeros((2, 1, 1, 1), np.float32)
    found = smallest_success(
        attack, None, images, [0, 1], [1.0, 2.0], early_stop=True, rounded=True
    )
    assert attack.asked == [(1.0, [0, 1], None), (2.0, [0, 1], None)]
    assert found.success_rounded.numpy().tolist() == [True, True]
    assert found.distortion_rounded.numpy().tolist() == [0.75, 1.75]
    assert found.distortion.numpy().tolist() == [0.5, 1.5]


def test_no_images_at_all():
    """An empty batch comes back empty."""
    images = np.zeros((0, 2, 3, 1), np.float32)
    found = smallest_success(
        FGSM(eps=1.0), brightness, images, np.zeros(0, int), [0.1, 0.2], norm=2
    )
    assert found.adversarial.shape == (0, 2, 3, 1) and found.distortion.shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Characteristic(distortion=[1.0], success=[True, False]),
            "`distortion`, `success` and `index` must have one shape [M]. "
            "Received: shapes [(1,), (2,), (2,)]",
        ),
        (
            lambda: Characteristic(distortion=[1, -1, 7], success=[1, 1, 0]),
            "`distortion` must be finite and at least 0 where there is a success. "
            "Received: values from -1 to 1",
        ),
        (
            lambda: Characteristic(distortion=[math.nan], success=[True]),
            "`distortion` must be finite and at least 0 where there is a success. "
            "Received: values from nan to nan",
        ),
        (
            lambda: random_characteristic().worst(0),
            "`count` must be an integer of at least 1. Received: count=0",
        ),
        (characteristic, "`results` must hold at least one result. Received: none"),
        (
            lambda: characteristic([result([1.0], [True]), result([2.0], [True])]),
            "`results` must be results, each an argument of its own. Received: list",
        ),
        (
            lambda: characteristic(*result([1.0], [True])),
            "`results` must be results, each an argument of its own. "
            "Received: EagerTensor",
        ),
        (
            lambda: remeasure(result([1.0], [True]), grey(0.5)),
            "`images` must have the shape of the adversarial images, (1, 1, 1, 1). "
            "Received: shape=(1, 2, 3, 1)",
        ),
        (
            lambda: remeasure(
                result([1.0], [True])._replace(adversarial=None), grey(0.5)
            ),
            "`result` must hold its adversarial images; `evaluate` keeps them with "
            "`keep_images=True`. Received: adversarial=None",
        ),
        (
            lambda: remeasure(result([1.0], [True]), grey(0.5), norm=3),
            '`norm` must be 1, 2 or "inf". Received: norm=3',
        ),
        (
            lambda: smallest_success(DDN(), brightness, grey(0.4), [0], [0.1]),
            "`attack` must have a radius. Received: DDN, which looks for the smallest "
            "perturbation by itself",
        ),
        (
            lambda: smallest_success(FGSM(eps=1.0), brightness, grey(0.4), [0], []),
            "`eps` must hold finite numbers above 0. Received: eps=[]",
        ),
        (
            lambda: smallest_success(
                FGSM(eps=1.0), brightness, grey(0.4), [0], [0.1, 0.0]
            ),
            "`eps` must hold finite numbers above 0. Received: eps=[0.0, 0.1]",
        ),
    ],
)
def test_what_is_wrong_is_said(call, message):
    """One sentence each."""
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message


@pytest.mark.parametrize("attack", [FGSM(eps=1.0), PGD(norm=2, eps=1.0, steps=3)])
def test_both_choices_are_those_made_one_by_one(attack):
    """As found and after rounding, each as `smallest_success` alone has it."""
    network = convnet()
    images, labels = conv_images(5)
    radii = [1.2 / 255, 0.02, 0.1, 0.4]
    found = smallest_successes(attack, network, images, labels, radii, norm=2)
    for result, rounded in zip(found, (False, True), strict=True):
        alone = smallest_success(
            attack, network, images, labels, radii, norm=2, rounded=rounded
        )
        for field, expected in zip(result, alone, strict=True):
            np.testing.assert_allclose(field, expected, atol=1e-6)
    assert np.asarray(found[0].success).any()


def test_both_choices_may_have_targets():
    """Each image reaches its own target, and is judged by it."""
    network, (images, labels) = convnet(), conv_images(6)
    targets = (labels + 1 + np.arange(6) % 2) % 3
    attack, radii = PGD(norm=2, eps=1.0, steps=3), [0.1, 0.5, 2.0, 3.0]
    found = smallest_successes(attack, network, images, labels, radii, targets=targets)
    untargeted = smallest_successes(attack, network, images, labels, radii)
    for result, other, rounded in zip(found, untargeted, (False, True), strict=True):
        alone = smallest_success(
            attack, network, images, labels, radii, targets=targets, rounded=rounded
        )
        for field, expected in zip(result, alone, strict=True):
            np.testing.assert_allclose(field, expected, atol=1e-6)
        success = np.asarray(result.success)
        answers = np.argmax(network(result.adversarial, training=False), axis=1)
        np.testing.assert_array_equal(success, answers == targets)
        answers = np.argmax(network(other.adversarial, training=False), axis=1)
        assert success.any() and np.any(answers != targets)


def test_rounding_may_choose_another_radius():
    """51.2 levels are beyond the boundary and 51 are not; 51.6 become 52, which are."""
    images = grey(51 / 255)
    boundary = 51.1 / 255

    def model(x):
        mean = tf.reduce_mean(x, axis=[1, 2, 3])
        return tf.stack([boundary - mean, mean - boundary], axis=-1)

    radii = [0.2 / 255, 0.6 / 255]
    found, rounded = smallest_successes(FGSM(eps=1.0), model, images, [0], radii)
    size = np.sqrt(np.prod(images.shape[1:])) / 255
    np.testing.assert_allclose(found.distortion, [0.2 * size], rtol=1e-3)
    assert not found.success_rounded[0] and rounded.success_rounded[0]
    np.testing.assert_allclose(rounded.distortion_rounded, [1.0 * size], rtol=1e-3)
    with pytest.raises(ValueError, match="`attack` must have a radius"):
        smallest_successes(DDN(), model, images, [0], radii)
