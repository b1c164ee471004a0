"""A Python function of NumPy arrays as a model: its answers, and what is refused."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

from export import export_saved_model
from tests.attacks.common import affine
from tfrobust import analysis, attacks, geometry
from tfrobust.attacks import DDN, FGSM, PGD, BlackBox, Square
from tfrobust.core.classifier import as_classifier

SHAPE = (3, 4, 2)
GRADIENT = (
    "`model` must be differentiable in its images for {}. Received: a BlackBox, which "
    "has no gradient; Square and HopSkipJump ask for none"
)


def images_of(count, seed=0):
    return np.random.default_rng(seed).random((count, *SHAPE), np.float32)


@pytest.fixture
def model():
    """An affine model, and its logits in float64 NumPy."""
    return affine(3, seed=2)


def asked(function, images):
    """Logits of images, through the graph by which attacks ask."""
    return as_classifier(function)(tf.constant(images)).numpy()


def test_logits_are_passed_on_in_batches_and_counted(model):
    sizes = []

    def ask(images):
        sizes.append(len(images))
        answer = model.logits(images)
        images[:] = np.nan  # it may do as it likes with its array
        return answer

    box, images = BlackBox(ask, classes=3, batch_size=4), images_of(10)
    given = images.copy()
    np.testing.assert_allclose(asked(box, images), model.logits(images), rtol=1e-5)
    np.testing.assert_array_equal(images, given)
    assert sizes == [4, 4, 2] and box.queries == 10
    assert asked(box, images[:0]).shape == (0, 3)
    assert box.queries == 10


def test_the_number_of_classes_is_found_by_one_grey_image(model):
    seen = []

    def ask(images):
        seen.append(images)
        return model.logits(images)

    box = BlackBox(ask, bounds=(-1, 3))

    @tf.function(input_signature=[tf.TensorSpec([None, *SHAPE])])
    def answer(images):
        logits = box(images)
        assert logits.shape.as_list() == [None, 3]
        return logits

    answer(images_of(2))
    np.testing.assert_array_equal(seen[0], np.ones((1, *SHAPE)))
    assert box.queries == 3
    with pytest.raises(ValueError, match="`classes` must be given where images have"):
        sizes = tf.TensorSpec([None, None, None, 2])
        tf.function(BlackBox(ask).__call__).get_concrete_function(sizes)


@pytest.mark.parametrize(
    "wrap", [lambda x: x, lambda x: {"other": 0, "probabilities": x}]
)
def test_probabilities_become_their_logarithms(model, wrap):
    """An answer of 0 stays finite."""
    images = images_of(4)
    logits = model.logits(images)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    odds[0] = [1, 0, 0]
    answers = "logits" if isinstance(wrap(0), dict) else "probabilities"
    found = asked(BlackBox(lambda _: wrap(odds), 3, answers=answers), images)
    np.testing.assert_allclose(np.exp(found), odds, rtol=1e-5, atol=1e-30)
    assert np.all(np.isfinite(found)) and np.argmax(found[0]) == 0


@pytest.mark.parametrize(
    "wrap",
    [np.asarray, list, lambda x: x[:, None], lambda x: [x], lambda x: {"classes": x}],
)
def test_classes_become_logits_that_choose_them(wrap):
    classes = np.array([2, 0, 1, 1, 3], np.int64)
    box = BlackBox(lambda _: wrap(classes), 4, "classes")
    found = asked(box, images_of(5))
    assert np.argmax(found, axis=1).tolist() == classes.tolist()
    assert np.sort(found, axis=1).tolist() == [[-1, -1, -1, 1]] * 5


def test_a_list_of_one_output_is_that(model):
    """As ONNX Runtime answers."""
    box, images = BlackBox(lambda images: [model.logits(images)]), images_of(3)
    np.testing.assert_allclose(asked(box, images), model.logits(images), rtol=1e-5)
    one = BlackBox(lambda images: model.logits(images).tolist())  # no array in it
    np.testing.assert_allclose(
        asked(one, images[:1]), model.logits(images[:1]), rtol=1e-5
    )


def test_bounds_are_those_of_any_model(model):
    """Of the box itself, or of the call; the radius is in units of [0, 1]."""
    ranges = []

    def ask(images):
        ranges.append((images.min(), images.max()))
        return model.logits(images / 255)

    images = np.rint(images_of(6) * 255)
    labels = np.argmax(model.logits(images / 255), axis=1)
    attack = Square(norm="inf", eps=0.02, queries=60)
    own = attack(BlackBox(ask, 3, bounds=(0, 255)), images, labels)
    given = attack(BlackBox(ask, 3), images, labels, bounds=(0, 255))
    np.testing.assert_array_equal(own.adversarial, given.adversarial)
    moved = np.abs(own.adversarial.numpy() - images).max(axis=(1, 2, 3))
    np.testing.assert_allclose(moved, 255 * own.distortion, rtol=1e-3, atol=1e-3)
    assert max(high for _, high in ranges) > 200 and np.any(own.success)


def test_square_finds_what_it_finds_on_the_same_model_in_tensorflow(model):
    images = images_of(8)
    labels = np.argmax(model.logits(images), axis=1)
    attack = Square(norm="inf", eps=0.05, queries=80)
    traced = attack(model, images, labels)
    box = BlackBox(lambda images: model(tf.constant(images)).numpy())
    found = attack(box, images, labels)
    np.testing.assert_array_equal(found.success, traced.success)
    np.testing.assert_allclose(found.adversarial, traced.adversarial, atol=1e-6)
    evaluation = attacks.evaluate(box, (images, labels), {"square": attack})
    np.testing.assert_array_equal(evaluation.results["square"].success, traced.success)
    assert evaluation.accuracy().value == 1.0


@pytest.mark.parametrize("attack", [PGD(norm=2, eps=1.0), FGSM(eps=0.1), DDN()])
def test_gradient_attacks_are_refused_before_anything_is_asked(attack):
    """Called, in a graph, in training, and around a classifier."""
    box, images = BlackBox(lambda images: 1 / 0, 3), images_of(2)
    expected = GRADIENT.format(type(attack).__name__)
    for ask in (attack, tf.function(attack, autograph=False), attack.perturb):
        with pytest.raises(ValueError) as caught:
            ask(box, images, tf.constant([0, 1]))
        assert str(caught.value) == expected
    with pytest.raises(ValueError, match="must be differentiable in its images for"):
        attack(as_classifier(box), images, tf.constant([0, 1]))
    assert box.queries == 0


def test_square_refuses_classes_alone():
    """Its margin would be a step: every proposal that changes no class is as good."""
    box = BlackBox(lambda images: 1 / 0, 3, "classes")
    with pytest.raises(ValueError) as caught:
        Square(norm=2, eps=1.0)(box, images_of(2), [0, 1])
    assert str(caught.value) == (
        "`model` must answer with logits or probabilities for Square. Received: a "
        "BlackBox that answers with classes; HopSkipJump asks for no more"
    )


@pytest.mark.parametrize(
    "measure",
    [
        lambda box, images, labels: geometry.curvature(box, images, labels),
        lambda box, images, labels: geometry.robustness(box, images),
        lambda box, images, labels: geometry.gradient_stability(
            box, images, labels, 0.1
        ),
    ],
)
def test_what_needs_a_gradient_says_so(model, measure):
    box = BlackBox(model.logits, 3)
    with pytest.raises(ValueError, match="`model` must be .*differentiable"):
        measure(box, images_of(2), np.array([0, 1]))


@pytest.mark.filterwarnings("ignore:`model` has gradients of exactly 0")
def test_whether_gradients_are_masked_is_answered(model):
    """They are: there is none, and the search finds what it can."""
    box = BlackBox(model.logits, 3)
    images = images_of(6)
    labels = np.argmax(box.logits(images.copy()), axis=-1)
    report = analysis.masking_check(
        box, images, labels, norm="inf", eps=0.1, queries=20, steps=2
    )
    assert report.vanishing.value == 1.0 and report.masked
    # From the image itself, without a random start, nothing moves.
    assert report.robust_accuracy["bim"].value == 1.0


def test_export_refuses_it(model, tmp_path):
    with pytest.raises(ValueError) as caught:
        export_saved_model(BlackBox(model.logits), tmp_path / "served")
    assert str(caught.value) == (
        "`model` must be a Keras model or the path of a saved one. Received: a "
        "BlackBox, whose function is Python and cannot be exported"
    )
    assert not (tmp_path / "served").exists()


def test_it_is_collected_once_nothing_else_holds_it(model):
    """With the graphs by which it was asked; one that is left says what is missing."""
    box, images = BlackBox(model.logits, 3), tf.constant(images_of(2))
    Square(norm=2, eps=0.1, queries=2)(box, images, [0, 0])
    held = weakref.ref(box)
    spec = tf.TensorSpec([2, *SHAPE])
    graph = tf.function(lambda images: held()(images)).get_concrete_function(spec)
    assert graph(images).shape == (2, 3)
    del box
    gc.collect()
    assert held() is None
    with pytest.raises(tf.errors.OpError, match="must be kept as long as it is asked"):
        graph(images)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ask": 3}, "`ask` must be callable. Received: a int"),
        ({"classes": 1}, "`classes` must be at least 2. Received: classes=1"),
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1."),
        ({"answers": "labels"}, "`answers` must be one of"),
        ({"answers": "classes"}, '`classes` must be given for `answers="classes"`'),
        ({"bounds": 3}, "`bounds` must be two numbers"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError) as caught:
        BlackBox(**{"ask": len, **settings})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("answer", "settings", "message"),
    [
        (np.zeros((2, 3)), {"classes": 4}, r"logits \[2, 4\], K at least 2. Received:"),
        (np.zeros((3, 4)), {"classes": 4}, r"float64 of shape \[3, 4\]"),
        (np.zeros(2), {}, r"logits \[2, K\], K at least 2. .* shape \[2\]"),
        (np.zeros((2, 1)), {}, r"K at least 2. Received: float64 of shape \[2, 1\]"),
        (np.array([["a", "b"]] * 2), {}, "Received: <U1 of shape"),
        (
            {"scores": 1},
            {},
            "logits or probabilities. Received: a dictionary of scores",
        ),
        (np.eye(2) * 2, {"answers": "probabilities"}, "at least 0 and of sum 1. Rec"),
        (
            np.zeros(2),
            {"answers": "classes", "classes": 3},
            r"integers \[2\]. Received",
        ),
        (
            [0, 3],
            {"answers": "classes", "classes": 3},
            r"in \[0, 3\). Received: .*to 3",
        ),
        ([-1, 0], {"answers": "classes", "classes": 3}, r"in \[0, 3\). .* from -1 to"),
    ],
)
def test_wrong_answers_are_named(answer, settings, message):
    """Asked in NumPy, and as a part of TensorFlow's error in a graph."""
    box, images = BlackBox(lambda _: answer, **settings), images_of(2)
    with pytest.raises(ValueError, match="`ask` must answer with .*" + message):
        box.logits(images)
    box = BlackBox(lambda _: answer, **{"classes": 4, **settings})
    with pytest.raises(tf.errors.InvalidArgumentError, match="`ask` must answer with"):
        as_classifier(box)(tf.constant(images))


def test_logits_that_look_like_probabilities_are_warned_of_once():
    box = BlackBox(lambda images: np.tile([0.25, 0.75], (len(images), 1)), 2)
    with pytest.warns(UserWarning, match='say `answers="probabilities"` if that is'):
        box.logits(images_of(2))
    box.logits(images_of(2))  # a warning is an error here


@pytest.mark.parametrize(
    "function",
    [
        lambda images: images.numpy().reshape(len(images), -1),
        lambda images: np.asarray(images).reshape(2, -1),
        lambda images: images if images[0, 0, 0, 0] > 0 else -images,
    ],
)
def test_a_function_that_cannot_be_traced_is_told_of_it(function):
    with pytest.raises(ValueError) as caught:
        PGD(norm=2, eps=1.0)(function, images_of(2), [0, 1])
    sentence = str(caught.value)
    assert sentence.startswith(
        "`model` must be made of TensorFlow's operations, or wrapped as "
        "`attacks.BlackBox(model)`"
    )
    assert caught.value.__cause__ is not None


def test_other_errors_of_a_function_are_its_own():
    def function(images):
        raise KeyError("weights")

    with pytest.raises(KeyError, match="weights"):
        FGSM(eps=0.1)(function, images_of(2), [0, 1])


def test_attacks_say_what_they_ask_for():
    needs = {kind.__name__: kind.needs_gradient for kind in (PGD, FGSM, DDN, Square)}
    assert needs == {"PGD": True, "FGSM": True, "DDN": True, "Square": False}
    assert Square.needs_logits
