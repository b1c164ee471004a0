"""Several attacks on a data set: unions for each image, and how sure they are."""

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import (
    Affine,
    Shift,
    affine,
    brightness,
    conv_images,
    convnet,
    gray,
)
from tests.attacks.shared_attack import ARRAYS, EXACT, NAMES
from tests.processes import run_program
from tfrobust import data
from tfrobust.attacks import (
    DDN,
    FGSM,
    L2,
    PGD,
    Attack,
    AttackResult,
    DeepFool,
    ThreatModel,
    combine,
    evaluate,
    multi_target,
)

COUNT = "must be an integer of at least 1. Received: "


@dataclasses.dataclass(frozen=True, kw_only=True)
class Half(Attack):
    """Shifts the images whose first pixel is below 1/2, or the others."""

    lower: bool
    amount: float

    @property
    def threat(self):
        return ThreatModel(2, 10.0)

    def run(self, problem):
        low = problem.images[:, :1, :1, :1] < 0.5
        hit = low if self.lower else ~low
        return problem.images + tf.where(hit, self.amount, 0.0)


def two_halves():
    """Four images of class 0 and one that is wrong; the first pixel tells the half."""
    images = gray(0.4, 0.4, 0.4, 0.4, 0.9).numpy()
    images[:, 0, 0, 0] = [0.2, 0.8, 0.3, 0.7, 0.2]
    return images, np.zeros(5, int)


def test_robust_accuracy_is_a_union():
    """Each of two attacks breaks half of the images: nothing is left."""
    images, labels = two_halves()
    evaluation = evaluate(
        brightness,
        [(images, labels)],
        {"low": Half(lower=True, amount=0.3), "high": Half(lower=False, amount=0.3)},
    )
    np.testing.assert_array_equal(evaluation.labels, labels)
    assert evaluation.clean_correct.tolist() == [True] * 4 + [False]
    assert evaluation.accuracy().value == pytest.approx(0.8)
    assert evaluation.robust_accuracy(["low"]).value == pytest.approx(0.4)
    assert evaluation.robust_accuracy(["high"]).value == pytest.approx(0.4)
    assert evaluation.robust_accuracy().value == 0.0
    # No attack at all leaves the clean accuracy, without the image that was wrong.
    assert evaluation.robust_accuracy([]).value == pytest.approx(0.8)


def test_the_union_after_rounding_is_one_of_its_own():
    """An image may be broken before rounding by one attack, after it by another."""

    def model(images):
        """Class 1 above 0.4985, which lies between 127 / 255 and 128 / 255."""
        return brightness(images + 0.0015)

    # By 0.4991, which is saved as 127 / 255 = 0.498, and by 0.51.
    attacks = {"near": Shift(amount=0.0491), "far": Shift(amount=0.06)}
    images = gray(0.45, 0.45, 0.2)
    evaluation = evaluate(model, [(images, [0, 0, 0])], attacks)
    third = pytest.approx(1 / 3)
    assert evaluation.robust_accuracy(["near"]).value == third
    assert evaluation.robust_accuracy(["near"], rounded=True).value == 1.0
    assert evaluation.robust_accuracy(["far"], rounded=True).value == third
    assert evaluation.robust_accuracy(rounded=True).value == third


def test_standard_errors_are_those_of_a_mean():
    """Bernoulli: `sqrt(p (1 - p) / (n - 1))`; distortions: by NumPy."""
    images, labels = conv_images(9)
    labels[4] = (labels[4] + 1) % 3
    evaluation = evaluate(
        convnet(), [(images, labels)], {"a": PGD(norm=2, eps=0.3, steps=3)}
    )
    share = 8 / 9
    assert evaluation.accuracy().value == pytest.approx(share)
    assert evaluation.accuracy().standard_error == pytest.approx(
        math.sqrt(share * (1 - share) / 8)
    )
    outcome = evaluation.results["a"]
    chosen = outcome.distortion[outcome.success & ~outcome.already].astype(np.float64)
    assert 1 < len(chosen) < 9
    mean, error = outcome.mean_distortion()
    assert mean == pytest.approx(sum(chosen) / len(chosen))
    spread = math.sqrt(sum((chosen - mean) ** 2) / (len(chosen) - 1))
    assert error == pytest.approx(spread / math.sqrt(len(chosen)))
    rounded = outcome.distortion_rounded[outcome.success_rounded & ~outcome.already]
    assert outcome.mean_distortion(rounded=True).value == pytest.approx(
        float(np.mean(rounded, dtype=np.float64))
    )


def test_too_few_images_have_no_error():
    """Of one there is a mean, of none not even that."""
    evaluation = evaluate(brightness, [(gray(0.45), [0])], {"a": FGSM(eps=0.1)})
    assert evaluation.accuracy().value == 1.0
    assert math.isnan(evaluation.accuracy().standard_error)
    failed = evaluate(brightness, [(gray(0.1), [0])], {"a": FGSM(eps=0.1)})
    assert math.isnan(failed.results["a"].mean_distortion().value)


def test_batches_are_put_together():
    """In their order, the smaller last one included, as one batch would be."""
    images, labels = conv_images(7)
    attacks = {"pgd": PGD(norm="inf", eps=0.05, steps=3), "deepfool": DeepFool(steps=5)}
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(3)
    parts = evaluate(convnet(), data, attacks, keep_images=True)
    whole = evaluate(convnet(), [(images, labels)], attacks, keep_images=True)
    np.testing.assert_array_equal(parts.labels, labels)
    for name in attacks:
        first, second = parts.results[name], whole.results[name]
        assert first.threat == attacks[name].threat
        np.testing.assert_allclose(first.adversarial, second.adversarial, atol=1e-4)
        np.testing.assert_array_equal(first.success, second.success)
        np.testing.assert_allclose(first.distortion, second.distortion, atol=1e-4)
    assert evaluate(convnet(), data, attacks).results["pgd"].adversarial is None


def test_the_smaller_last_batch_is_not_traced_anew():
    """A Python callable is called as often for two batches as for three."""
    images = np.random.default_rng(0).random((7, 3, 4, 2), np.float32)
    calls = []
    for count in (6, 7):
        model = affine(3)
        labels = np.argmax(model.logits(images), axis=1)
        batches = [
            (images[i : min(i + 3, count)], labels[i : min(i + 3, count)])
            for i in range(0, count, 3)
        ]
        evaluate(model, batches, {"a": PGD(norm=2, eps=0.1, steps=2)})
        calls.append(model.calls)
    assert calls[0] == calls[1]


def test_images_of_other_dtypes():
    """float64 from NumPy, integers of any kind as labels."""
    images, labels = conv_images(3)
    evaluation = evaluate(
        convnet(),
        [(images.astype(np.float64), labels.astype(np.uint8))],
        {"a": FGSM(eps=0.05)},
    )
    assert evaluation.labels.dtype == np.int32
    assert np.all(evaluation.clean_correct)


def test_what_cannot_be_evaluated():
    """No batch, and the name of no attack."""
    with pytest.raises(ValueError) as caught:
        evaluate(brightness, [], {"a": FGSM(eps=0.1)})
    message = "`batches` must hold at least one batch. Received: none"
    assert str(caught.value) == message
    evaluation = evaluate(brightness, [(gray(0.4), [0])], {"a": FGSM(eps=0.1)})
    with pytest.raises(ValueError) as caught:
        evaluation.robust_accuracy(["b"])
    assert str(caught.value) == "`names` must be among a. Received: 'b'"


def test_progress_is_shown_on_request(capsys):
    """On standard error, or not at all."""
    batches = [(gray(0.4), [0])]
    evaluate(brightness, batches, {"a": FGSM(eps=0.1)})
    assert capsys.readouterr() == ("", "")
    evaluate(brightness, batches, {"a" * 90: FGSM(eps=0.1)}, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "attacks" in err
    shown = re.split("[\r\n]", err)
    assert max(map(len, shown)) == 80
    assert all(
        re.search(r"\[\d\d:\d\d<[\d?:]+, ", line) for line in shown if "a" * 9 in line
    )


def made_up(success, distortion):
    """A result whose fields tell where they come from."""
    count = len(success)
    values = tf.constant(distortion, tf.float32)
    return AttackResult(
        adversarial=tf.ones([count, 2, 2, 1]) * tf.reshape(values, [-1, 1, 1, 1]),
        success=tf.constant(success),
        distortion=values,
        success_rounded=tf.constant(success),
        distortion_rounded=values + 0.5,
        already=tf.zeros([count], tf.bool),
        queries=tf.fill([count], 3),
    )


def test_combine_takes_the_nearest_success_of_each_image():
    """All fields from the same attack; failures only where there is nothing else."""
    best = combine(
        [
            made_up([True, False, False, True], [2.0, 0.1, 0.3, 1.0]),
            made_up([True, True, False, False], [1.0, 5.0, 0.2, 0.5]),
            made_up([True, True, False, True], [3.0, 4.0, 0.1, 1.0]),
        ]
    )
    expected = [1.0, 4.0, np.float32(0.3), 1.0]
    np.testing.assert_array_equal(best.distortion, expected)
    np.testing.assert_array_equal(best.success, [True, True, False, True])
    np.testing.assert_array_equal(best.adversarial[:, 0, 0, 0], expected)
    np.testing.assert_allclose(best.distortion_rounded, np.add(expected, 0.5))


def test_combine_of_real_attacks_is_no_worse_than_any():
    images, labels = conv_images(6)
    results = [
        attack(convnet(), images, labels)
        for attack in (DDN(steps=10), DeepFool(), DDN(steps=60))
    ]
    best = combine(results)
    distances = [np.where(r.success, r.distortion, np.inf) for r in results]
    np.testing.assert_array_equal(best.distortion, np.min(distances, axis=0))
    np.testing.assert_allclose(
        L2().distance(best.adversarial - images), best.distortion, rtol=1e-5
    )


def test_what_cannot_be_combined():
    """Nothing, and results of different images."""
    with pytest.raises(ValueError) as caught:
        combine([])
    message = "`results` must hold at least one result. Received: none"
    assert str(caught.value) == message
    with pytest.raises(ValueError) as caught:
        combine([made_up([True], [1.0]), made_up([True, True], [1.0, 2.0])])
    assert str(caught.value) == (
        "`results` must be of the same images. Received: shapes "
        "[(1, 2, 2, 1), (2, 2, 2, 1)]"
    )


def test_minimal_attacks_break_every_linear_model():
    """Robust accuracy without a radius is that of unlimited change: none."""
    model = Affine(np.ones((6, 2)) * [-1.0, 1.0], [3.0, -3.0])
    evaluation = evaluate(model, [(gray(0.1, 0.3, 0.8), [0, 0, 1])], {"a": DDN()})
    assert evaluation.robust_accuracy().value == 0.0
    exact = np.abs(np.array([0.1, 0.3, 0.8]) - 0.5) * 6**0.5
    mean = evaluation.results["a"].mean_distortion().value
    assert mean == pytest.approx(exact.mean(), rel=0.02)


def test_multi_target_is_the_best_of_its_searches():
    """Never farther than any of them, and misclassified images stay as they are."""
    images, labels = conv_images(6)
    labels = np.array(labels)
    labels[0] = (labels[0] + 1) % 3  # now misclassified
    attack = DDN(steps=30)
    result = multi_target(attack, convnet(), images, labels, count=9)
    alone = attack(convnet(), images, labels)
    np.testing.assert_array_equal(result.already, alone.already)
    assert result.already[0] and result.distortion[0] == 0
    np.testing.assert_array_equal(result.adversarial[0], images[0])
    assert np.all(result.success.numpy() >= alone.success.numpy())
    assert np.all(result.distortion <= alone.distortion)
    for target in range(3):
        rows = np.flatnonzero((labels != target) & ~alone.already.numpy())
        aimed = attack(
            convnet(),
            tf.gather(images, rows),
            labels[rows],
            np.full(len(rows), target),
        )
        near = np.where(aimed.success, aimed.distortion, np.inf)
        assert np.all(result.distortion.numpy()[rows] <= near * (1 + 1e-4))


def test_multi_target_needs_a_target():
    """At least one."""
    with pytest.raises(ValueError, match=f"`count` {COUNT}cou"):
        multi_target(DDN(), brightness, gray(0.4), [0], count=0)


def test_minimal_norm_attacks_have_a_robust_accuracy_at_a_radius():
    """Successes farther than eps do not count."""
    images, labels = two_halves()
    attacks = {"low": Half(lower=True, amount=0.7)}
    evaluation = evaluate(brightness, [(images, labels)], attacks)
    near = evaluation.results["low"].distortion
    assert evaluation.robust_accuracy().value == 0.4
    assert evaluation.robust_accuracy(eps=float(near.max()) + 1e-3).value == 0.4
    assert (
        evaluation.robust_accuracy(eps=0.1).value == evaluation.accuracy().value == 0.8
    )


def assert_same_bits(first, second):
    """Two evaluations of the same attacks, adversarial images included."""
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.clean_correct, second.clean_correct)
    assert first.results.keys() == second.results.keys()
    for name, outcome in first.results.items():
        for field in AttackResult._fields:
            theirs = getattr(second.results[name], field)
            np.testing.assert_array_equal(getattr(outcome, field), theirs, name)


def test_padding_counts_nowhere():
    """A padded pipeline, a plain one and the arrays: alike to the last bit."""
    shapes = data.make_shapes(22, seed=0)
    model = affine(10, shape=shapes.images.shape[1:])
    chosen = {"pgd": PGD(norm="inf", eps=0.03, steps=3), "ddn": DDN(steps=5)}
    plain, padded = (
        evaluate(
            model,
            data.eval_pipeline(shapes, batch_size=8, pad=pad),
            chosen,
            keep_images=True,
        )
        for pad in (False, True)
    )
    assert plain.labels.shape == (22,)
    assert_same_bits(plain, padded)
    pixels = shapes.images.astype(np.float32) / np.float32(255)
    pair = evaluate(
        model, (pixels, shapes.labels), chosen, batch_size=8, keep_images=True
    )
    assert_same_bits(plain, pair)


def test_some_of_the_images_and_their_means():
    images, labels = two_halves()
    evaluation = evaluate(
        brightness,
        (images, labels),
        {"low": Half(lower=True, amount=0.3), "high": Half(lower=False, amount=0.3)},
        keep_images=True,
    )
    assert {name: mean.value for name, mean in evaluation.means().items()} == {
        "accuracy": pytest.approx(0.8),
        "robust_accuracy": 0.0,
        "robust_accuracy low": pytest.approx(0.4),
        "robust_accuracy high": pytest.approx(0.4),
    }
    # The first image and the third are below 1/2, the last was wrong from the start.
    for rows in ([0, 2, 4], np.array([True, False, True, False, True])):
        some = evaluation.select(rows)
        np.testing.assert_array_equal(some.labels, [0, 0, 0])
        assert some.clean_correct.tolist() == [True, True, False]
        low = some.results["low"]
        assert low.success.tolist() == [True] * 3 and low.already.tolist() == [
            False,
            False,
            True,
        ]
        np.testing.assert_array_equal(
            low.adversarial, evaluation.results["low"].adversarial[[0, 2, 4]]
        )
        assert low.threat == evaluation.results["low"].threat
        assert some.means()["robust_accuracy high"].value == pytest.approx(2 / 3)
        high = some.results["high"].means()
        assert high["success"].value == pytest.approx(1 / 3)
        assert math.isnan(high["distortion"].value)
        assert low.means()["distortion"] == low.mean_distortion()
        assert low.means()["distortion_rounded"] == low.mean_distortion(rounded=True)
        assert low.means()["success_rounded"].value == 1.0
    bare = evaluate(brightness, (images, labels), {"low": Half(lower=True, amount=0.3)})
    assert bare.select([0]).results["low"].adversarial is None


def test_an_attack_says_nothing_beyond_its_radius():
    """One without a radius says something at any distance."""
    images, labels = conv_images(3)
    found = {"near": FGSM(eps=0.05), "any": DDN(steps=2)}
    evaluation = evaluate(convnet(), (images, labels), found)
    evaluation.robust_accuracy(["near"], eps=0.05)
    evaluation.robust_accuracy(["any"], eps=9.0)
    with pytest.raises(ValueError) as caught:
        evaluation.robust_accuracy(eps=0.1)
    assert str(caught.value) == (
        "`eps` must be at most the radius of every attack, 0.05 of near, which looked "
        "no farther. Received: eps=0.1"
    )


def test_attacks_are_given_by_name():
    images, labels = conv_images(3)
    with pytest.raises(ValueError) as caught:
        evaluate(convnet(), (images, labels), [FGSM(eps=0.05)])
    assert str(caught.value) == (
        "`attacks` must be a dictionary of attacks by name. Received: a list"
    )


@pytest.mark.parametrize(("norm", "eps"), [("inf", 0.1), ("inf", 8 / 255), (2, 0.3)])
def test_the_attacks_own_radius_counts_all_of_its_successes(norm, eps):
    """Distortions in float32 may lie a little above it."""
    images, labels = conv_images(24)
    evaluation = evaluate(
        convnet(), (images, labels), {"a": PGD(norm=norm, eps=eps, steps=5)}
    )
    left = evaluation.robust_accuracy().value
    assert left < 1.0
    assert evaluation.robust_accuracy(eps=eps).value == left


def test_an_evaluation_needs_an_attack():
    with pytest.raises(ValueError, match="`attacks` must hold at least one attack"):
        evaluate(brightness, [(gray(0.4), [0])], {})


@pytest.mark.parametrize("width", [2, 4])
def test_one_hot_labels_are_as_wide_as_the_answers(width):
    """Of three classes; in a call and over a data set."""
    images, _ = conv_images(3)
    labels = np.eye(width)[[0, 1, 0]]
    message = r"`labels` must have a column for each of the 3 classes.*\(3, "
    with pytest.raises(ValueError, match=message):
        FGSM(eps=0.1)(convnet(), images, labels)
    with pytest.raises(ValueError, match=message):
        evaluate(convnet(), (images, labels), {"a": FGSM(eps=0.1)})


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.parametrize("replicas", [2, 3])
def test_replicas_find_what_one_device_finds(tmp_path, replicas):
    """Every verdict and count of an image; its pixels to the rounding of sums.

    The last batch has one image, fewer than there are replicas. A convolution may add
    up in another order for another number of rows; searches that take signs of
    gradients, and those without, end at the same bits all the same.
    """
    program = Path(__file__).with_name("shared_attack.py")
    run_program(program, replicas, tmp_path / "found.npz", seconds=450)
    found = np.load(tmp_path / "found.npz")
    names = [name.removeprefix("one/") for name in found.files if name[:4] == "one/"]
    assert {f"{attack}/{array}" for attack in NAMES for array in ARRAYS[:-1]} < {*names}
    assert {"autoattack/broken_by", "clean_correct"} < {*names}
    for name in names:
        one, shared = found[f"one/{name}"], found[f"shared/{name}"]
        attack, _, array = name.partition("/")
        if attack in EXACT or not array.startswith(("adversarial", "distortion")):
            np.testing.assert_array_equal(shared, one, err_msg=name)
        else:
            np.testing.assert_allclose(shared, one, atol=1e-6, err_msg=name)
        # An attack that does nothing would be the same everywhere.
        if array == "success":
            assert np.any(one & ~found[f"one/{attack}/already"]), name
