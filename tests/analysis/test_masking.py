"""Honest models show no sign of masking, and each kind of masked model its own."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from tfrobust.analysis import MaskingReport, Sign, masking_check
from tfrobust.analysis.masking_report import search_sign
from tfrobust.attacks import PGD, Square, ThreatModel
from tfrobust.core.estimates import Estimate

SHAPE = (4, 3, 1)
SIZE = 12
NAMES = {
    "single_step_beats_iterative",
    "search_beats_gradients",
    "unbounded_attack_fails",
    "gradients_vanish",
}


def weights(classes=2, seed=0):
    return np.random.default_rng(seed).normal(size=(SIZE, classes))


def lead_of(images, w):
    """Half the lead of class 1 over class 0 of two; 0 on the grey image, float32."""
    rows = tf.reshape(images, [tf.shape(images)[0], SIZE])
    return (rows - 0.5) @ tf.constant(w[:, 1:] - w[:, :1], tf.float32)


def linear(images, w):
    lead = lead_of(images, w)
    return tf.concat([-lead, lead], axis=1)


def some_images(count, w, seed=1):
    """Random images, and which side of the linear boundary they are on."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(0.1, 0.9, (count, *SHAPE)).astype(np.float32)
    lead = (images.reshape(count, SIZE).astype(np.float64) - 0.5) @ (w[:, 1] - w[:, 0])
    return images, (lead > 0).astype(np.int32)


check = functools.partial(
    masking_check, restarts=2, steps=10, queries=300, batch_size=16
)


def seen(report):
    return {name for name, sign in report.signs.items() if sign.present}


def left_by_hand(images, labels, w, radius):
    """Images of a linear model that nothing within an L-infinity ball breaks."""
    rows = images.reshape(len(images), SIZE).astype(np.float64)
    normal = (w[:, 1] - w[:, 0]) * np.where(labels == 1, 1.0, -1.0)[:, None]
    worst = np.clip(rows - radius * np.sign(normal), 0.0, 1.0)
    lead = np.sum((worst - 0.5) * normal, axis=1)
    assert np.abs(lead).min() > 1e-3
    return np.mean(lead > 0)


def test_an_honest_linear_model_is_not_flagged():
    """Every attack leaves what the closed form says, at every radius."""
    w = weights()
    images, labels = some_images(24, w)
    wrong = labels.copy()
    wrong[:2] = 1 - wrong[:2]
    eps = 0.05
    model = functools.partial(linear, w=w)
    report = check(model, images, wrong, norm="inf", eps=eps)
    share = left_by_hand(images[2:], labels[2:], w, eps) * 22 / 24
    assert 0.2 < share < 0.8
    left = report.robust_accuracy
    assert list(left) == [
        "clean",
        "pgd",
        "bim",
        "fgsm",
        "pgd_margin",
        "square",
        "union",
    ]
    assert left["clean"].value == pytest.approx(22 / 24)
    for name in list(left)[1:]:
        assert left[name].value == pytest.approx(share), name
    spread = math.sqrt(share * (1 - share) / 23)
    assert left["union"].standard_error == pytest.approx(spread)
    assert list(report.growth) == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0])
    for radius, estimate in report.growth.items():
        expected = left_by_hand(images[2:], labels[2:], w, radius) * 22 / 24
        assert estimate.value == pytest.approx(expected)
    assert report.vanishing == Estimate(0.0, 0.0) and report.only_search == 0
    assert not report.masked and seen(report) == set()
    assert set(report.signs) == NAMES
    assert report.threat == ThreatModel("inf", eps)
    rows = report.table()
    assert rows[:7] == list(left.items())
    assert [name for name, _ in rows[7:]] == [
        f"pgd at eps {radius:g}" for radius in (0.1, 0.2, 0.4, 0.8, 1.0)
    ]


@pytest.mark.slow
def test_an_honest_model_of_three_classes_in_l2():
    """The difference of logits ratio takes part; the box is as large as its diagonal"""
    w = weights(3)

    def model(images):
        rows = tf.reshape(images, [tf.shape(images)[0], SIZE])
        return (rows - 0.5) @ tf.constant(w, tf.float32)

    images, _ = some_images(12, w[:, :2])
    labels = np.argmax((images.reshape(12, SIZE) - 0.5) @ w, axis=1)
    report = check(model, images, labels, norm=2, eps=0.1)
    values = {name: left.value for name, left in report.robust_accuracy.items()}
    logits = (images.reshape(12, SIZE) - 0.5) @ w
    nearest = [
        min(
            (row[label] - row[other]) / np.linalg.norm(w[:, label] - w[:, other])
            for other in {0, 1, 2} - {label}
        )
        for row, label in zip(logits, labels, strict=True)
    ]
    # Attacks without a target may head for the farther boundary, and never win early.
    share = np.mean(np.array(nearest) > 0.1)
    assert 0 < share <= values["union"] <= share + 0.1
    for name in ("pgd", "bim", "fgsm", "pgd_margin", "pgd_dlr", "square"):
        assert values["union"] <= values[name] < 1 == values["clean"], name
    assert list(report.growth) == pytest.approx([0.2, 0.4, 0.8, 1.6, math.sqrt(SIZE)])
    assert list(report.growth.values())[-1].value == 0.0
    # The single step beats PGD, whose random start is in its way, but not BIM.
    assert values["pgd"] > values["fgsm"] >= values["bim"]
    assert not report.masked


def test_a_quantized_input_has_no_gradient():
    """PGD refuses such a model; here its gradient counts as 0. Search goes through."""
    w = weights()

    def model(images):
        return linear(tf.round(images * 8.0) / 8.0, w)

    images, _ = some_images(24, w)
    labels = np.argmax(model(images), axis=1)
    with pytest.warns(UserWarning, match="gradients of exactly 0"):
        report = check(model, images, labels, norm="inf", eps=0.15)
    assert report.masked
    assert {"search_beats_gradients", "gradients_vanish"} <= seen(report)
    assert report.vanishing.value == 1.0
    search = Square(norm="inf", eps=0.15, queries=300)(model, images, labels)
    broken = 1.0 - np.mean(search.success)
    assert report.robust_accuracy["square"].value == pytest.approx(broken)
    gradient = [report.robust_accuracy[n].value for n in ("pgd", "fgsm", "pgd_margin")]
    # What search alone breaks, and what it shares with a lucky random start.
    assert 0 < report.only_search <= (1.0 - broken) * 24
    assert min(gradient) - report.robust_accuracy["union"].value <= (
        report.only_search / 24 + 1e-9
    )
    reason = report.signs["search_beats_gradients"].reason
    assert reason.startswith(f"{report.only_search} of 24 correctly classified images")


def test_logits_saturated_by_a_temperature():
    """tanh in float32 is flat beyond 9, where even any image at all is out of reach."""
    w = weights()

    def model(images):
        lead = tf.tanh(1e4 * lead_of(images, w))
        return tf.concat([-lead, lead], axis=1)

    images, labels = some_images(16, w)
    with pytest.warns(UserWarning, match="gradients of exactly 0"):
        report = check(model, images, labels, norm="inf", eps=0.02)
    assert {"unbounded_attack_fails", "gradients_vanish"} <= seen(report)
    assert report.signs["gradients_vanish"].reason.startswith("100.0% of the correctly")
    last = list(report.growth.items())[-1]
    assert last[0] == 1.0 and last[1].value > 0.1


@pytest.mark.slow
def test_gradients_that_are_tiny_but_not_zero_vanish_too():
    """A share of 1e-6 of the slope is left between steep steps: no image is that far"""
    w = weights()

    def model(images):
        lead = lead_of(images, w)
        steps = tf.tanh(1e4 * lead) + 1e-6 * lead
        return tf.concat([-steps, steps], axis=1)

    images, labels = some_images(8, w)
    report = check(model, images, labels, norm=2, eps=0.05)
    assert report.vanishing.value == 1.0
    assert report.signs["gradients_vanish"].present


def test_a_single_step_over_a_ridge():
    """Small steps end on a low ridge of the loss; one long step lands beyond it."""
    width = 0.2

    def model(images):
        """By the mean's shift: a ridge at 0.02, a valley at 0.06, then up for good."""
        shift = tf.reduce_mean(images, axis=[1, 2, 3]) - 0.5
        first = tf.minimum(shift, 0.02)
        valley = tf.clip_by_value(shift - 0.02, 0.0, 0.04)
        rise = tf.maximum(shift - 0.06, 0.0)
        lead = first - 0.9 * valley + 10.0 * rise - 0.1
        return tf.stack([tf.zeros_like(lead), lead], axis=-1)

    rng = np.random.default_rng(0)
    images = rng.uniform(0.3, 0.7, (12, *SHAPE))
    images += 0.5 - images.mean(axis=(1, 2, 3), keepdims=True)
    report = check(
        model,
        images.astype(np.float32),
        np.zeros(12, int),
        norm="inf",
        eps=width,
        steps=40,
    )
    left = report.robust_accuracy
    assert left["fgsm"].value == 0.0 < left["pgd"].value
    assert left["bim"].value == 1.0
    assert "single_step_beats_iterative" in seen(report)
    assert not report.signs["gradients_vanish"].present
    reason = report.signs["single_step_beats_iterative"].reason
    assert reason == (
        f"one step breaks {left['pgd'].value:.1%} more of the images than PGD and BIM"
    )


@pytest.mark.slow
def test_the_attacks_are_those_that_one_would_run_oneself():
    """The same settings and seed, whatever the batches."""
    w = weights(seed=5)

    def model(images):
        lead = lead_of(images, w)
        bent = lead + 0.5 * tf.sin(6.0 * lead)
        return tf.concat([-bent, bent], axis=1)

    images, _ = some_images(10, w)
    labels = np.argmax(model(images), axis=1)
    report = check(model, images, labels, norm=2, eps=0.2, seed=7, batch_size=4)
    pgd = PGD(norm=2, eps=0.2, steps=10, seed=7)
    often = dataclasses.replace(pgd, loss="margin", restarts=2)
    search = Square(norm=2, eps=0.2, queries=300, seed=7)
    for name, attack in {"pgd": pgd, "pgd_margin": often, "square": search}.items():
        held = ~attack(model, images, labels).success.numpy()
        assert report.robust_accuracy[name].value == pytest.approx(held.mean()), name
    whole = check(model, images, labels, norm=2, eps=0.2, seed=7)
    assert whole == report


@pytest.mark.parametrize(
    ("count", "size", "counts"),
    [
        (4, 100, True),
        (3, 100, False),
        (4, 12, True),
        (3, 12, False),
        (7, 7, True),
        (10, 1000, False),
        (11, 1000, True),
        (0, 50, False),
        (1, 1, False),
    ],
)
def test_a_few_images_are_no_sign(count, size, counts):
    """By hand: more than 1 in 100, and more than twice `sqrt(p (1 - p) / (n - 1))`."""
    alone = np.arange(size) < count
    sign = search_sign(alone)
    assert sign.present == counts
    assert sign.reason.startswith(f"{count} of {size} correctly classified images are")


def test_one_sign_is_enough():
    """And none is none."""
    estimate = Estimate(0.5, 0.1)
    report = MaskingReport(
        threat=ThreatModel(2, 0.1),
        robust_accuracy={"pgd": estimate},
        growth={0.25: estimate},
        vanishing=estimate,
        only_search=0,
        signs={"a": Sign(False, ""), "b": Sign(True, "")},
    )
    assert report.masked
    assert not dataclasses.replace(report, signs={"a": Sign(False, "")}).masked
    assert report.table() == [("pgd", estimate), ("pgd at eps 0.25", estimate)]


def left_in_l1_by_hand(images, labels, w, radius):
    """Images of a linear model that no L1 ball breaks: largest weights move first."""
    normal = (w[:, 1] - w[:, 0]).astype(np.float64)
    left = []
    for row, label in zip(images.reshape(len(images), SIZE), labels, strict=True):
        toward = normal if label == 0 else -normal
        room = np.where(toward > 0, 1.0 - row, row)
        lead, budget = -float((row - 0.5) @ toward), radius
        for pixel in np.argsort(-np.abs(toward)):
            moved = min(room[pixel], budget)
            lead, budget = lead - abs(toward[pixel]) * moved, budget - moved
        left.append(lead > 0)
    return np.array(left)


@pytest.mark.slow
def test_the_l1_ball_is_searched_too(capsys):
    """Gradients reach what a linear model withstands there; no search goes beyond."""
    w = weights()
    images, labels = some_images(12, w)
    report = check(
        functools.partial(linear, w=w), images, labels, norm=1, eps=0.3, progress=True
    )
    left = left_in_l1_by_hand(images, labels, w, 0.3)
    assert 0 < left.sum() < 12
    searched = ~report.evaluation.results["square"].success
    assert np.all(searched[left]) and not searched.all()
    assert report.robust_accuracy["square"].value == searched.mean()
    assert report.robust_accuracy["union"].value == left.mean()
    assert report.only_search == 0 and not report.masked
    assert list(report.growth)[-1] == SIZE
    assert set(report.evaluation.results) >= {"pgd", "pgd at eps 12"}
    assert len(report.evaluation.labels) == 12
    assert "masking: 100%" in capsys.readouterr().err


ERRORS = [
    ({"norm": 3}, '`norm` must be 1, 2 or "inf". Received: norm=3'),
    ({"eps": 0}, "`eps` must be a finite number above 0. Received: eps=0"),
    (
        {"restarts": 0},
        "`restarts` must be an integer of at least 1. Received: restarts=0",
    ),
    ({"steps": 0}, "`steps` must be an integer of at least 1. Received: steps=0"),
    (
        {"queries": 1.5},
        "`queries` must be an integer of at least 1. Received: queries=1.5",
    ),
    (
        {"batch_size": 0},
        "`batch_size` must be an integer of at least 1. Received: batch_size=0",
    ),
    ({"seed": -1}, "`seed` must be in [0, 2**31). Received: seed=-1"),
    (
        {"labels": [0, 1, 1]},
        "`labels` must have shape [B], one class for each of the 2 images. "
        "Received: shape=(3,)",
    ),
    (
        {"images": np.zeros((0, *SHAPE), np.float32), "labels": np.zeros(0, int)},
        "`images` must hold at least one image. Received: none",
    ),
    (
        {"labels": [1, 1]},
        "`images` must include some that `model` classifies correctly. Received: none",
    ),
]


@pytest.mark.parametrize(("change", "message"), ERRORS, ids=lambda value: str(value))
def test_what_cannot_be_checked(change, message):
    """Said in one sentence."""
    arguments = {
        "images": np.full((2, *SHAPE), 0.4, np.float32),
        "labels": [0, 0],
        "norm": "inf",
        "eps": 0.01,
        **change,
    }
    w = np.tile([-0.5, 0.5], (SIZE, 1))  # the mean pixel against 1/2
    with pytest.raises(ValueError) as caught:
        check(functools.partial(linear, w=w), **{"queries": 2, "steps": 1, **arguments})
    assert str(caught.value) == message
