"""What every attack guarantees, whatever it searches for and however.

See also `test_contract_on_models.py`.
"""

import functools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import (
    CLASSES,
    CONV_SHAPE,
    conv_images,
    convnet,
    distances,
)
from tests.attacks.every import ATTACKS, every_attack, some_images
from tests.processes import run_program
from tfrobust.attacks import APGD, HopSkipJump


def takes_targets(name):
    """A divergence leads away from the clean prediction and has no target; APGD that
    tries classes of its own takes none; noise to start from is of no class.
    """
    attack = ATTACKS[name]
    tries = isinstance(attack, APGD) and attack.target_classes is not None
    return not (name.endswith("-kl") or tries or isinstance(attack, HopSkipJump))


every_goal = pytest.mark.parametrize(
    ("name", "targeted"),
    [
        (name, targeted)
        for name in ATTACKS
        for targeted in (False, True)
        if takes_targets(name) or not targeted
    ],
)
# Where this many logits lie between two classes, float32 may take either.
CLOSE = 1e-4


@functools.cache
def attacked(name, targeted=False):
    """The attack's result on `some_images`, once for all tests."""
    images, labels = some_images()
    targets = (labels + 1) % CLASSES if targeted else None
    result = ATTACKS[name](convnet(), images, labels, targets)
    return type(result)(*(field.numpy() for field in result))


@functools.cache
def perturbed(name):
    """What `perturb` makes of `some_images`, and the variables that it changed."""
    before = [variable.numpy() for variable in convnet().variables]
    found = ATTACKS[name].perturb(convnet(), *some_images()).numpy()
    return found, changed(before)


def changed(before):
    """Paths of the network's variables that differ in any bit from those before."""
    pairs = zip(convnet().variables, before, strict=True)
    return [new.path for new, old in pairs if not np.array_equal(new, old)]


def lead(logits, classes, targeted):
    """By how much the goal is reached, in float64 NumPy."""
    logits = np.asarray(logits, np.float64)
    rows = np.arange(len(logits))
    own = logits[rows, classes]
    others = logits.copy()
    others[rows, classes] = -np.inf
    return (own - others.max(axis=1)) * (1 if targeted else -1)


def check_verdict(images, classes, found, success, distortion, norm, targeted):
    """Success and distortion against the network's answer and NumPy's norm."""
    np.testing.assert_allclose(
        distortion, distances(images, found, norm), rtol=1e-5, atol=1e-7
    )
    margin = lead(convnet()(found, training=False), classes, targeted)
    assert np.all(margin[success] > -CLOSE)
    assert np.all(margin[~success] < CLOSE)


@every_goal
def test_the_verdict_is_that_of_the_network(name, targeted):
    """Images, ball, success and distortion, before and after rounding to 8 bits."""
    images, labels = some_images()
    classes = (labels + 1) % CLASSES if targeted else labels
    result, threat = attacked(name, targeted), ATTACKS[name].threat
    found = result.adversarial
    assert found.dtype == result.distortion.dtype == np.float32
    assert found.min() >= 0.0 and found.max() <= 1.0
    if threat.eps is not None:
        assert np.all(distances(images, found, threat.norm) <= threat.eps + 1e-6)
    check = functools.partial(
        check_verdict, images, classes, norm=threat.norm, targeted=targeted
    )
    check(found, result.success, result.distortion)
    rounded = (np.rint(found * np.float32(255)) / 255).astype(np.float32)
    check(rounded, result.success_rounded, result.distortion_rounded)
    clean = lead(convnet()(images, training=False), classes, targeted) > 0
    np.testing.assert_array_equal(result.already, clean)
    # Not in vain: the settings above fool the network at least once.
    assert np.any(result.success & ~result.already)


@every_goal
def test_images_that_need_no_attack_come_back_bit_for_bit(name, targeted):
    """A wrong one, and where there is a target one that is taken for it already."""
    images, labels = some_images()
    result = attacked(name, targeted)
    if targeted:
        # The label of the second image is one above the answer, its target two above.
        assert not result.already[1]
        labels[:], targets = (labels + 1) % CLASSES, labels.copy()
        answers = np.argmax(convnet()(images, training=False), axis=-1)
        here = targets == answers
        result = ATTACKS[name](convnet(), images, labels, targets)
        np.testing.assert_array_equal(result.already, here)
    else:
        here = np.arange(len(images)) == 1
    assert np.any(here)
    np.testing.assert_array_equal(result.already, here)
    np.testing.assert_array_equal(np.array(result.adversarial)[here], images[here])
    assert np.all(np.array(result.success)[here])
    np.testing.assert_array_equal(np.array(result.distortion)[here], 0.0)


@every_attack
def test_no_variable_changes(name):
    """Weights, batch-norm statistics and the seed generator of dropout."""
    images, labels = some_images()
    before = [variable.numpy() for variable in convnet().variables]
    kinds = {variable.path.split("/")[-1] for variable in convnet().variables}
    assert {"moving_mean", "seed_generator_state"} <= kinds
    ATTACKS[name](convnet(), images, labels)
    assert not changed(before)
    assert not perturbed(name)[1]


@every_attack
def test_the_result_is_the_same_every_time(name):
    """To the last bit."""
    images, labels = some_images()
    again, first = ATTACKS[name](convnet(), images, labels), attacked(name)
    for field, value in first._asdict().items():
        np.testing.assert_array_equal(getattr(again, field), value, err_msg=field)


@every_attack
def test_an_image_does_not_depend_on_its_batch(name):
    """Alone, in reversed order, and among others.

    Not exact: convolutions round differently at other batch sizes.
    """
    images, labels = some_images()
    expected = attacked(name).adversarial
    attack = functools.partial(ATTACKS[name], convnet())
    backwards = attack(images[::-1], labels[::-1]).adversarial[::-1]
    np.testing.assert_allclose(backwards, expected, atol=1e-4)
    for i in (0, 2):
        alone = attack(images[i : i + 1], labels[i : i + 1]).adversarial
        np.testing.assert_allclose(alone[0], expected[i], atol=1e-4)
    others, answers = conv_images(3, seed=9)
    mixed = attack(
        np.concatenate([others, images]), np.concatenate([answers, labels])
    ).adversarial
    np.testing.assert_allclose(mixed[3:], expected, atol=1e-4)


@every_attack
def test_inside_a_graph_of_unknown_batch_size(name):
    """The same as outside, where the batch shrinks with the images that are left."""
    signature = [
        tf.TensorSpec([None, *CONV_SHAPE], tf.float32),
        tf.TensorSpec([None], tf.int64),
    ]

    @tf.function(input_signature=signature)
    def step(images, labels):
        return ATTACKS[name](convnet(), images, labels)

    images, labels = some_images()
    for count in (6, 3):
        result = step(images[:count], labels[:count].astype(np.int64))
        assert result.adversarial.shape == (count, *CONV_SHAPE)
        expected = attacked(name)
        np.testing.assert_allclose(
            result.adversarial, expected.adversarial[:count], atol=1e-4
        )
        np.testing.assert_array_equal(result.success, expected.success[:count])


def draws_a_start(attack):
    """Whether a search begins at a random point by TensorFlow's own numbers."""
    if attack.stages():
        return any(map(draws_a_start, attack.stages().values()))
    return isinstance(attack, APGD) or getattr(attack, "random_start", False)


XLA = [name for name in ATTACKS if not draws_a_start(ATTACKS[name])]


@pytest.mark.slow
@pytest.mark.parametrize("name", XLA)
def test_under_xla(name):
    """Without random starts: XLA draws other numbers from the same seed.

    A search over rounded images jumps by whole levels where the last bit of a number
    decides how a pixel is rounded, so there it is the distortion that agrees.
    """
    images, labels = some_images(4)

    @tf.function(jit_compile=True, autograph=False)
    def compiled(images, labels):
        return ATTACKS[name](convnet(), images, labels)

    result, expected = compiled(images, labels), attacked(name)
    if "rounding" in name:
        np.testing.assert_allclose(result.distortion, expected.distortion[:4], 0.05)
    else:
        expected_images = expected.adversarial[:4]
        np.testing.assert_allclose(result.adversarial, expected_images, atol=1e-4)
    np.testing.assert_array_equal(result.success, expected.success[:4])


@every_attack
def test_perturb_gives_images_in_the_ball(name):
    """Clean images as well as misclassified ones are moved."""
    (images, _), (found, _) = some_images(), perturbed(name)
    assert found.min() >= 0.0 and found.max() <= 1.0
    threat = ATTACKS[name].threat
    moved = distances(images, found, threat.norm)
    if threat.eps is None:
        return
    assert np.all(moved <= threat.eps + 1e-6)
    assert np.all(moved > 0.1 * threat.eps)


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_inside_the_replicas_of_a_strategy(tmp_path):
    """Two replicas attack half of the batch each, as one device attacks all of it."""
    program = Path(__file__).with_name("replica_attack.py")
    run_program(program, tmp_path / "found.npz", seconds=450)
    found = np.load(tmp_path / "found.npz")
    assert found["replicas"] == 2
    for name in ATTACKS:
        np.testing.assert_allclose(
            found[name], attacked(name).adversarial, atol=1e-4, err_msg=name
        )
