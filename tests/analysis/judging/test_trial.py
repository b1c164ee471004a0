"""Broken networks are named by their fault, and honest ones are left alone."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.analysis.judging.cases import answers, images, linear
from tests.analysis.judging.test_naming import MonteCarlo
from tests.analysis.judging.test_nearby import PIXELS, overflowing
from tfrobust import data, models
from tfrobust.analysis import judge
from tfrobust.analysis.judging.case import Case
from tfrobust.attacks import FGSM, PGD, Evaluation, Square, evaluate
from tfrobust.core.examples import gather

COUNT, EPS = 24, 0.1
NAMES = [
    "accuracy",
    "sample",
    "finite",
    "logits",
    "classes",
    "random",
    "batch",
    "variables",
    "inference",
    "finite_nearby",
    "audit",
    "rounding",
    "gradients",
    "cross_entropy",
    "finite_differences",
    "growth",
    "unbounded",
    "steps",
    "convergence",
    "black_box",
    "noise",
    "transfer",
    "planted",
    "sharper",
    "aligned",
]


class RandomSize(keras.layers.Layer):
    """Shrinks images to a size that is drawn, and stretches them again."""

    def call(self, inputs):
        side = tf.random.uniform([], 18, 28, tf.int32)
        small = tf.image.resize(inputs, [side, side])
        return tf.image.resize(small, inputs.shape[1:3])


class Quantized(keras.layers.Layer):
    """Nine levels of a pixel."""

    def call(self, inputs):
        return tf.round(inputs * 8.0) / 8.0


def digits(folder, count=COUNT):
    return gather(
        data.load("mnist", f"test[:{count}]", folder, download=False),
        None,
        "images",
        labeled=True,
    )


def behind(*layers, name="mnist_c4", after=()):
    """A shipped network with layers of its own before and after it."""
    network = models.pretrained(name)
    x = inputs = keras.Input(network.input_shape[1:])
    for layer in layers:
        x = layer(x)
    x = network(x)
    for layer in after:
        x = layer(x)
    return keras.Model(inputs, x)


def judged(model, folder, **changes):
    pixels, labels = digits(folder)
    settings = {"norm": "inf", "eps": EPS, "steps": 10, "queries": 300, **changes}
    return judge(model, pixels, labels, **settings)


def failed(judgement):
    return {check.name for check in judgement.failed()}


@pytest.mark.slow
def test_logits_that_are_ten_thousand_times_as_large(tfds_dir):
    judgement = judged(behind(after=[keras.layers.Rescaling(1e4)]), tfds_dir)
    assert failed(judgement) == {"cross_entropy"}
    assert judgement.sentence.startswith(
        "Doubtful: a float32 cross-entropy has no gradient on 24 of 24 images, as "
        "logits are as large as "
    )


@pytest.mark.slow
def test_an_input_that_is_rounded(tfds_dir):
    judgement = judged(behind(Quantized()), tfds_dir)
    assert judgement.verdict == "Doubtful"
    assert failed(judgement) >= {"gradients", "black_box", "finite_differences"}
    assert "there is no gradient at all, as of a rounded input or a black box" in (
        judgement.sentence
    )


@pytest.mark.slow
def test_a_random_resize(tfds_dir):
    judgement = judged(behind(RandomSize(name="jitter")), tfds_dir)
    assert judgement.verdict == "Doubtful"
    assert (
        "the model answers at random (the layer 'jitter' (RandomSize), a random "
        'resize), which AutoAttack(version="rand") is for'
    ) in judgement.sentence


@pytest.mark.slow
def test_dropout_that_was_left_on(tfds_dir):
    judgement = judged(behind(MonteCarlo(0.3, name="drop")), tfds_dir)
    assert judgement.verdict == "Doubtful"
    assert "the model answers at random (the layer 'drop' (MonteCarlo)" in (
        judgement.sentence
    )


@pytest.mark.slow
def test_an_honest_network_of_digits(tfds_dir, capsys):
    judgement = judged(models.pretrained("mnist_c4"), tfds_dir, progress=True)
    assert judgement.sentence == "Trustworthy", str(judgement)
    assert [check.name for check in judgement.checks] == NAMES
    assert judgement["planted"].outcome == "passed"
    assert judgement["black_box"].outcome == "passed"
    assert "judge" in capsys.readouterr().err
    assert json.loads(json.dumps(judgement.to_json()))["verdict"] == "Trustworthy"


@pytest.mark.slow
def test_an_honest_adversarially_trained_network(tfds_dir):
    """Of 40 images 24 are drawn."""
    network = models.pretrained("mnist_c4_fgsm")
    pixels, labels = digits(tfds_dir, 40)
    judgement = judge(
        network, pixels, labels, norm="inf", eps=EPS, steps=10, queries=100, examples=24
    )
    assert judgement.sentence == "Trustworthy", str(judgement)
    assert "of 24 images" in judgement["accuracy"].evidence


TINY = {"norm": 2, "eps": 0.1, "steps": 5, "queries": 20}


@pytest.mark.slow
def test_a_forged_evaluation():
    """Images of twice the distance, in the name of the smaller ball."""
    pixels, model = images(16), linear(3)
    labels = answers(model, pixels)
    attack = {"pgd": PGD(norm=2, eps=0.4, early_stop=False, steps=10)}
    far = evaluate(model, (pixels, labels), attack, keep_images=True)
    forged = dataclasses.replace(
        far.results["pgd"],
        threat=PGD(norm=2, eps=0.1).threat,
        distortion=np.minimum(far.results["pgd"].distortion, 0.1),
    )
    judgement = judge(
        model,
        pixels,
        labels,
        evaluation=dataclasses.replace(far, results={"pgd": forged}),
        **TINY,
    )
    assert judgement.verdict == "Wrong"
    assert "kept images are outside of their ball" in judgement.sentence


@pytest.mark.slow
def test_an_evaluation_is_taken_at_its_word_and_what_it_leaves_is_searched(monkeypatch):
    """By the judge's own random search, of which the one that is given spares none."""
    pixels, model = images(24), linear(3)
    labels = answers(model, pixels)
    attacks = {
        "pgd": PGD(norm=2, eps=0.1),
        "square": Square(norm=2, eps=0.1, queries=50),
    }
    evaluation = evaluate(model, (pixels, labels), attacks, keep_images=True)
    searched, run = [], Case.attacked

    def attacked(self, attack, rows, *rest):
        if isinstance(attack, Square):
            searched.append((attack, rows.tolist()))
        return run(self, attack, rows, *rest)

    monkeypatch.setattr(Case, "attacked", attacked)
    # Batches that can be read but once.
    batches = iter([(pixels[:10], labels[:10]), (pixels[10:], labels[10:])])
    judgement = judge(model, batches, evaluation=evaluation, **TINY)
    assert judgement.sentence == "Trustworthy", str(judgement)
    assert judgement["audit"].outcome == "passed"
    assert judgement["audit"].evidence.startswith("of 48 images 0 are outside")
    left = np.flatnonzero(evaluation.withstood())
    assert 0 < len(left) < 24
    assert searched == [(Square(norm=2, eps=0.1, queries=20), left.tolist())]


SIDE, WAVE, DEPTH = 8, 0.03, 0.03


def wiggly():
    """A linear model whose every pixel waves near grey, and images near its boundary.

    The waves are 6 times as steep as the slope below them, so that gradients say
    nothing of it, and they move a pixel's share by less than the ball does.
    """
    rng = np.random.default_rng(0)
    signs = np.where(rng.random(SIDE**2) < 0.5, -1.0, 1.0)

    def model(x):
        rows = tf.reshape(x, [-1, SIDE**2]) - 0.5
        wave = DEPTH * tf.sin(2 * np.pi / WAVE * rows)
        rows += tf.where(tf.abs(rows) < 9 * WAVE, wave, 0.0)
        lead = tf.linalg.matvec(rows, tf.constant(signs, tf.float32))
        return tf.stack([-lead, lead], axis=1)

    rows = rng.uniform(-0.1, 0.1, (COUNT, SIDE**2))
    # 0.045 a pixel on either side of the boundary, but for the waves.
    wanted = np.where(np.arange(COUNT) % 2, 0.045, -0.045) * SIDE**2
    rows += np.outer(wanted - rows @ signs, signs) / SIDE**2
    pixels = (rows + 0.5).reshape(COUNT, SIDE, SIDE, 1).astype(np.float32)
    return model, pixels, answers(model, pixels)


@pytest.mark.slow
@pytest.mark.parametrize("weak", [{"eps": EPS, "queries": 1}, {"eps": 1e-4}])
def test_a_search_that_was_too_weak_spares_none(weak):
    """One of a query, and one of a tiny radius, on a model that a search breaks."""
    model, pixels, labels = wiggly()
    attacks = {
        "pgd": PGD(norm="inf", eps=EPS, steps=20, restarts=2),
        "square": Square(norm="inf", **{"queries": 5, **weak}),
    }
    evaluation = evaluate(model, (pixels, labels), attacks)
    assert evaluation.robust_accuracy().value == 1.0
    judgement = judge(
        model,
        pixels,
        labels,
        norm="inf",
        eps=EPS,
        evaluation=evaluation,
        steps=10,
        queries=300,
    )
    assert failed(judgement) == {"black_box"}, str(judgement)
    assert judgement.verdict == "Doubtful"


@pytest.mark.slow
def test_a_network_that_overflows_off_the_data():
    """No attack can break it, since no answer of it is one."""
    plain = linear(3)
    labels = answers(plain, PIXELS)
    judgement = judge(overflowing(plain, PIXELS), PIXELS, labels, **TINY)
    assert judgement.verdict == "Doubtful"
    assert "answers in the ball of 24 of 24 images are not finite" in judgement.sentence


@pytest.mark.slow
def test_one_image_says_nothing():
    """That is said, and so is what is known without any share."""
    model, pixels = linear(10, quantum=0.1), images(1)
    judgement = judge(model, pixels, answers(model, pixels), **TINY)
    assert judgement.sentence == (
        "Doubtful: too few images are classified correctly to tell (1, where 20 are "
        "the least): no fault can show; there is no gradient at all, as of a rounded "
        "input or a black box"
    )


@pytest.mark.slow
def test_an_evaluation_that_was_too_weak():
    """One step of a network that bends: its images withstand, by its account."""
    pixels = images(16)
    plain = linear(2)
    labels = answers(plain, pixels)
    weak = evaluate(plain, (pixels, labels), {"fgsm": FGSM(norm=2, eps=1e-4)})
    outcome = dataclasses.replace(
        weak.results["fgsm"], threat=FGSM(norm=2, eps=1.5).threat
    )
    weak = Evaluation(
        labels=weak.labels,
        clean_correct=weak.clean_correct,
        results={"fgsm": outcome},
    )
    judgement = judge(plain, pixels, labels, evaluation=weak, **{**TINY, "eps": 1.5})
    assert judgement["convergence"].outcome == "doubtful"
    assert "more steps and restarts break " in judgement.sentence


def test_labels_of_something_else():
    """A clean accuracy of nothing ends the judgement there."""
    pixels, model = images(12), linear(2)
    judgement = judge(model, pixels, 1 - answers(model, pixels), **TINY)
    assert judgement.sentence == ("Wrong: a clean accuracy of 0% is at chance (50%)")
    assert [check.name for check in judgement.checks] == NAMES[:9]


@pytest.mark.slow
def test_probabilities_in_place_of_logits():
    pixels, plain = images(12), linear(3, scale=40.0)
    shares = lambda x: tf.nn.softmax(plain(x)) * 1.0  # noqa: E731
    judgement = judge(shares, pixels, answers(plain, pixels), **TINY)
    assert judgement.verdict == "Wrong"
    assert "probabilities for logits" in judgement.sentence


@pytest.mark.slow
def test_every_norm_and_any_bounds():
    pixels, model = images(20), linear(3)
    labels = answers(model, pixels)
    found = judge(model, pixels, labels, **{**TINY, "norm": 1, "eps": 0.02})
    assert found.sentence == "Trustworthy", str(found)
    assert found["black_box"].outcome == "passed"
    wide = judge(
        lambda x: model(x / 255.0), 255.0 * pixels, labels, bounds=(0, 255), **TINY
    )
    assert wide.sentence == "Trustworthy", str(wide)


def small_evaluation(labels, **results):
    blank = np.ones(len(labels), bool)
    return Evaluation(labels=np.asarray(labels), clean_correct=blank, results=results)


ERRORS = [
    ({"norm": 3}, '`norm` must be 1, 2 or "inf". Received: norm=3'),
    ({"eps": 0}, "`eps` must be a finite number above 0. Received: eps=0"),
    (
        {"examples": 0},
        "`examples` must be an integer of at least 1. Received: examples=0",
    ),
    ({"seed": -1}, "`seed` must be an integer in [0, 2**31). Received: seed=-1"),
    (
        {"evaluation": small_evaluation([0, 0, 0])},
        "`evaluation` must be of the same 2 images. Received: one of 3",
    ),
    (
        {"evaluation": small_evaluation([0, 1])},
        "`evaluation` must be of the same labels. "
        "Received: other labels for 1 of 2 images",
    ),
    (
        {"images": np.zeros((0, 4, 3, 1), np.float32), "labels": np.zeros(0, int)},
        "`images` must hold at least one image. Received: none",
    ),
]


@pytest.mark.parametrize(("change", "message"), ERRORS, ids=lambda value: str(value))
def test_what_cannot_be_judged(change, message):
    """Said in one sentence."""
    arguments = {"images": images(2), "labels": [0, 0], **TINY, **change}
    with pytest.raises(ValueError) as caught:
        judge(linear(2), **arguments)
    assert str(caught.value) == message
