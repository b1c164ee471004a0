"""AutoAttack: its stages as published, and that nothing is lost between them."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import Affine, conv_images, convnet, distances
from tfrobust.attacks import FAB, AutoAttack, evaluate
from tfrobust.attacks.within import Within

ROOT = Path(__file__).parents[2]
RADII = {"inf": 0.05, 2: 0.4, 1: 2.0}


def inner(attack):
    """The attack itself, whatever gives it a radius."""
    return attack.attack if isinstance(attack, Within) else attack


def about(attack, *names):
    """Some of its settings."""
    return tuple(getattr(inner(attack), name, None) for name in names)


@pytest.mark.parametrize("norm", ["inf", 2])
def test_standard_is_as_published(norm):
    """Croce and Hein 2020, section 6, and the settings of their program."""
    stages = AutoAttack(norm=norm, eps=0.1).stages()
    assert list(stages) == ["apgd-ce", "apgd-t", "fab-t", "square"]
    settings = ("loss", "steps", "restarts", "target_classes", "queries", "p_init")
    assert [about(attack, *settings) for attack in stages.values()] == [
        ("cross_entropy", 100, 1, None, None, None),
        ("dlr", 100, 1, 9, None, None),
        (None, 100, 1, 9, None, None),
        (None, None, None, None, 5000, 0.8),
    ]
    assert {attack.threat.eps for attack in stages.values()} == {0.1}
    assert {inner(attack).norm for attack in stages.values()} == {norm}


def test_standard_in_l1_is_as_published():
    """Croce and Hein 2021: five starts, five classes, larger radii first."""
    stages = AutoAttack(norm=1, eps=12.0).stages()
    assert about(stages["apgd-ce"], "restarts", "target_classes") == (5, None)
    assert about(stages["apgd-t"], "restarts", "target_classes") == (1, 5)
    assert about(stages["fab-t"], "target_classes") == (9,)


def test_plus_and_rand_are_as_published():
    stages = AutoAttack(norm="inf", eps=0.1, version="plus").stages()
    names = ["apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"]
    assert list(stages) == names
    assert [about(attack, "restarts")[0] for attack in stages.values()] == [
        *(5, 5, 5),
        *(None, 1, 1),
    ]
    assert about(stages["fab"], "target_classes") == (None,)
    stages = AutoAttack(norm="inf", eps=0.1, version="rand").stages()
    assert [about(attack, "loss", "samples") for attack in stages.values()] == [
        ("cross_entropy", 20),
        ("dlr", 20),
    ]


def by_hand(attack, model, images, labels):
    """Which stage broke each image, running each on all images by itself."""
    right = np.argmax(model(images, training=False), axis=-1) == labels
    broken_by = np.full(len(labels), "", object)
    for name, stage in attack.stages().items():
        found = stage(model, images, labels).success.numpy()
        broken_by[(broken_by == "") & found & right] = name
    return broken_by


@pytest.mark.slow
@pytest.mark.parametrize("norm", list(RADII))
def test_it_breaks_what_any_of_its_stages_breaks(norm):
    """Image by image, in a call and over a data set, whatever the batches."""
    images, labels = conv_images(24, seed=3)
    labels[5] = (labels[5] + 1) % 3
    attack = AutoAttack(norm=norm, eps=0.4 * RADII[norm], version="fast")
    expected = by_hand(attack, convnet(), images, labels)
    # Not in vain: something is left, and something falls.
    assert 4 < np.count_nonzero(expected == "") < 20
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        called = attack(convnet(), images, labels)
        whole = evaluate(
            convnet(), (images, labels), {"a": attack}, batch_size=7, keep_images=True
        )
    outcome = whole.results["a"]
    np.testing.assert_array_equal(outcome.broken_by, expected.astype(str))
    np.testing.assert_array_equal(outcome.success, called.success)
    np.testing.assert_array_equal(outcome.success, (expected != "") | outcome.already)
    np.testing.assert_array_equal(np.flatnonzero(outcome.already), [5])
    moved = distances(images, outcome.adversarial, norm)
    assert np.all(moved <= attack.eps + 1e-6)
    # Images that withstand cost every stage.
    standing = ~outcome.success
    assert outcome.queries[standing].min() > outcome.queries[~standing].max()


def test_a_success_beyond_the_ball_is_none():
    """FAB looks for the nearest adversarial image, which may be too far away."""
    model = Affine(np.ones((24, 4)) * [1.0, 0.0, 0.0, 0.0], [-11.0, 0.0, 0.1, 0.2])
    images = np.full((2, 3, 4, 2), 0.5, np.float32)
    images[1] = 0.47
    # To lower the sum from 12 or 11.28 to 11.2.
    near, far = 0.08 / 24**0.5, 0.8 / 24**0.5
    attack = Within(norm=2, eps=2 * near, attack=FAB(norm=2, target_classes=3))
    result = attack(model, images, [0, 0])
    assert result.success.numpy().tolist() == [False, True]
    np.testing.assert_allclose(result.distortion[1], near, rtol=0.05)
    free = attack.attack(model, images, [0, 0])
    np.testing.assert_allclose(free.distortion, [far, near], rtol=0.05)


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_fall_back_to_the_margin_and_say_so(classes):
    """The sentence of APGD is said; what can fall, falls.

    In L-infinity the most that a ball leaves of a linear network's lead has a closed
    form: every pixel goes to the end of its interval.
    """
    weights = np.random.default_rng(0).normal(size=(24, classes))
    model = Affine(weights, np.zeros(classes))
    images = np.random.default_rng(1).uniform(0.3, 0.7, (6, 3, 4, 2))
    images = images.astype(np.float32)
    labels = np.argmax(model.logits(images), axis=1)
    eps = np.array([0.05, 0.45, 0.1, 0.5, 0.15, 0.4])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        attack = AutoAttack(norm="inf", eps=0.1, version="fast")
        result = attack(model, images, labels, eps=eps)
    said = {str(warning.message) for warning in caught}
    assert any(f"Received: {classes} classes" in sentence for sentence in said)
    flat = images.reshape(6, -1).astype(np.float64)
    least, most = np.clip(flat - eps[:, None], 0, 1), np.clip(flat + eps[:, None], 0, 1)
    can_fall = np.zeros(6, bool)
    for rival in range(classes):
        ahead = weights[:, rival, None] - weights[:, labels]
        lead = np.where(ahead.T > 0, most, least) * ahead.T
        can_fall |= lead.sum(axis=1) > 1e-6
    assert 0 < np.count_nonzero(can_fall) < 6
    np.testing.assert_array_equal(result.success, can_fall)


def test_targets_are_what_every_stage_heads_for():
    images, labels = conv_images(8, seed=3)
    targets = (labels + 1) % 3
    attack = AutoAttack(norm="inf", eps=0.2, version="fast")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = attack(convnet(), images, labels, targets)
    assert np.any(result.success)
    answers = np.argmax(convnet()(result.adversarial, training=False), axis=-1)
    np.testing.assert_array_equal(answers == targets, result.success)


@pytest.mark.slow
def test_rand_is_for_networks_that_answer_at_random():
    """Twenty answers show the way where noise drowns that of one; no warning is due."""
    model = Affine(np.ones((24, 4)) * [1.0, 0.0, 0.0, 0.0], [-11.5, 0.0, -5.0, -6.0])

    def noisy(images):
        noise = tf.random.normal(tf.shape(images), stddev=0.05)
        return model(images + noise)

    images = np.full((4, 3, 4, 2), 0.5, np.float32)
    attack = AutoAttack(norm="inf", eps=0.06, version="rand")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = attack(noisy, images, [0, 0, 0, 0])
    # The mean answer is that of the sum less 11.5, from .5 to 0 at .0208 a pixel.
    assert np.all(result.success)
    with pytest.warns(UserWarning, match="answers at random"):
        AutoAttack(norm="inf", eps=0.06, version="fast")(
            lambda x: noisy(x), images, [0, 0, 0, 0]
        )


def test_settings_that_make_no_sense():
    for settings, sentence in (
        ({"norm": 0}, "`norm` must be 1, 2 or"),
        ({"version": "best"}, "`version` must be one of"),
        ({"seed": -1}, "`seed` must be"),
        ({"eps": -1.0}, "`eps` must be"),
    ):
        with pytest.raises(ValueError, match=sentence):
            AutoAttack(**{"norm": 2, "eps": 0.5, **settings})


PROGRAM = """
import sys
from tests.attacks.common import conv_images, convnet
from tfrobust.attacks import AutoAttack, evaluate

images, labels = conv_images(40, seed=3)
attack = AutoAttack(norm="inf", eps=0.02, version="fast")
outcome = evaluate(
    convnet(), (images, labels), {"a": attack}, batch_size=4, folder=sys.argv[1]
).results["a"]
print(",".join(outcome.broken_by), outcome.queries.sum())
"""


def start(folder):
    """The program in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_evaluation_goes_on(tmp_path):
    """SIGKILL once some batches are done; the rest is done later, to the same end."""
    expected, _ = start(tmp_path / "whole").communicate(timeout=300)
    killed = start(tmp_path / "part")
    while len(list(tmp_path.glob("part/*.npz"))) < 5 and killed.poll() is None:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = len(list(tmp_path.glob("part/*.npz")))
    assert 5 <= done < len(list(tmp_path.glob("whole/*.npz")))
    found, _ = start(tmp_path / "part").communicate(timeout=300)
    assert found == expected and "apgd" in found


@pytest.mark.slow
def test_under_xla():
    """What falls outside falls inside, whatever the random starts."""
    images, labels = conv_images(4, seed=3)
    attack = AutoAttack(norm="inf", eps=0.2, version="fast")

    @tf.function(jit_compile=True, autograph=False)
    def compiled(images, labels):
        return attack(convnet(), images, labels)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result, plain = compiled(images, labels), attack(convnet(), images, labels)
    np.testing.assert_array_equal(result.success, plain.success)
    assert np.all(result.success)
    assert np.all(distances(images, result.adversarial, "inf") <= 0.2 + 1e-6)
