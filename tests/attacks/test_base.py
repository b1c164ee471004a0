"""A call of an attack: what the base class accepts, refuses and compiles."""

import dataclasses
import gc
import math
import warnings
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import SHAPE, Shift, brightness, gray
from tfrobust.attacks import (
    BIM,
    DDN,
    FGSM,
    PGD,
    CarliniWagnerL2,
    DeepFool,
    FixedBudget,
    MinimumNorm,
    SmoothCarliniWagner,
    SmoothPGD,
    Square,
    ThreatModel,
)
from tfrobust.core.errors import ExtensionError


def test_empty_batch():
    images = tf.zeros([0, *SHAPE])
    result = Shift(amount=0.1)(brightness, images, tf.zeros([0], tf.int32))
    assert result.adversarial.shape == (0, *SHAPE)
    assert result.success.shape == result.distortion.shape == (0,)


def test_other_float_dtypes_give_float32():
    result = Shift(amount=0.2)(brightness, tf.cast(gray(0.45), tf.float64), [0])
    assert result.adversarial.dtype == tf.float32


def test_models_are_not_kept_alive():
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten()])
    PGD(norm=2, eps=0.1, steps=1)(model, gray(0.4), [0])
    reference = weakref.ref(model)
    keras.backend.clear_session()
    del model
    gc.collect()
    assert reference() is None


def test_unhashable_models_work():
    @dataclasses.dataclass
    class Unhashable:
        def __call__(self, images):
            return brightness(images)

    result = Shift(amount=0.2)(Unhashable(), gray(0.45), [0])
    assert result.success[0]


def test_each_image_may_have_its_own_radius():
    """A shift of 0.2 is 0.49 in L2: the second image's radius is too small."""
    attack = Shift(amount=0.2, eps=0.1)
    images = gray(0.45, 0.45, 0.45)
    result = attack(brightness, images, [0, 0, 0], eps=[0.5, 0.4, 1.0])
    assert result.success.numpy().tolist() == [True, False, True]
    result = attack(brightness, images, [0, 0, 0], eps=0.5)
    assert np.all(result.success)
    assert not np.any(attack(brightness, images, [0, 0, 0]).success)


@pytest.mark.parametrize("attack", [DDN(), CarliniWagnerL2(), DeepFool()])
def test_attacks_without_a_radius_take_none(attack):
    with pytest.raises(ValueError) as error:
        attack(brightness, gray(0.4), [0], eps=0.1)
    assert str(error.value) == (
        f"`eps` must be left out: {type(attack).__name__} looks for the smallest "
        "perturbation and has no radius"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"images": np.zeros((2, *SHAPE), np.uint8)},
            "`images` must be floating, with pixels in [0, 1]. Received: dtype=uint8",
        ),
        (
            {"images": np.zeros(SHAPE, np.float32)},
            "`images` must have shape [B, H, W, C]. Received: shape=(2, 3, 1)",
        ),
        (
            {"images": np.full((2, *SHAPE), 255, np.float32)},
            "`images` must lie in [0, 1], or `bounds` must say where. "
            "Received: values from 255 to 255",
        ),
        (
            {"images": np.full((2, *SHAPE), np.nan, np.float32)},
            "`images` must lie in [0, 1], or `bounds` must say where. "
            "Received: values from nan to nan",
        ),
        (
            {"labels": [0.0, 0.5]},
            "`labels` must be integers. Received: dtype=float32 with fractions",
        ),
        (
            {"labels": [[1, 0], [1, 1]]},
            "`labels` of shape [B, K] must be one-hot, a single 1 in each row. "
            "Received: shape=(2, 2) with other rows",
        ),
        (
            {"labels": [0, 1, 0]},
            "`labels` must have shape [B], one class for each of the 2 images. "
            "Received: shape=(3,)",
        ),
        (
            {"labels": [0, 2]},
            "`labels` must lie in [0, 2). Received: values from 0 to 2",
        ),
        (
            {"targets": [1]},
            "`targets` must have shape [B], one class for each of the 2 images. "
            "Received: shape=(1,)",
        ),
        (
            {"targets": [1, 1]},
            "`targets` must differ from `labels`. Received: equal at index 1",
        ),
        (
            {"targets": [1, 5]},
            "`targets` must lie in [0, 2). Received: values from 1 to 5",
        ),
        (
            {"eps": [0.1]},
            "`eps` must be a number, or one number for each of the 2 images. "
            "Received: shape=(1,)",
        ),
        (
            {"eps": [0.1, -0.1]},
            "`eps` must be finite and at least 0. Received: values from -0.1 to 0.1",
        ),
        (
            {"eps": float("nan")},
            "`eps` must be finite and at least 0. Received: values from nan to nan",
        ),
        (
            {"model": lambda x: tf.tanh(tf.reduce_mean(x, axis=[1, 2]))},
            "`model` with one output must end in a sigmoid or a layer without an "
            "activation, whose output is the logit of class 1. Received: Tanh",
        ),
        (
            {"model": lambda x: brightness(x) * np.nan},
            "`model` must return finite logits. Received: NaN or infinity",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:`model` has NaN or infinite gradients")
def test_wrong_arguments_are_named(arguments, message):
    call = {"model": brightness, "images": gray(0.4, 0.6), "labels": [0, 1]}
    with pytest.raises(ValueError) as error:
        Shift(amount=0.1, eps=1.0)(**{**call, **arguments})
    assert str(error.value) == message


@pytest.mark.parametrize(
    "attack", [FGSM(eps=0.1), BIM(eps=0.1), PGD(norm=2, eps=0.1), PGD(norm=1, eps=0.1)]
)
def test_radii_share_a_graph(attack):
    """A second radius asks the Python of the model nothing, and is kept to."""
    calls = []

    def model(images):
        calls.append(images.shape)
        return brightness(images)

    images = gray(0.1, 0.2)
    attack(model, images, [0, 0])
    calls_before = len(calls)
    wide = dataclasses.replace(attack, eps=0.3)
    result = wide(model, images, [0, 0])
    assert len(calls) == calls_before
    np.testing.assert_allclose(result.distortion, 0.3, rtol=1e-4)
    fresh = wide(lambda x: brightness(x), images, [0, 0])
    np.testing.assert_allclose(result.adversarial, fresh.adversarial, atol=1e-6)


def test_radii_of_graphs_are_not_mixed_up_with_other_settings():
    """Another step size is another graph."""
    calls = []

    def model(images):
        calls.append(images.shape)
        return brightness(images)

    attack = PGD(norm=2, eps=0.1, steps=2)
    attack(model, gray(0.1), [0])
    calls_before = len(calls)
    dataclasses.replace(attack, step_size=0.01)(model, gray(0.1), [0])
    assert len(calls) > calls_before


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lighten(FixedBudget):
    """Goes to the edge of the ball in every pixel: all that an attack has to say."""

    early_stop: bool = True

    def run(self, problem):
        return problem.images + problem.eps[:, None, None, None]


def test_an_attack_within_a_ball_is_its_run_and_settings():
    attack = Lighten(norm="inf", eps=0.2)
    assert attack.threat == ThreatModel("inf", 0.2) and attack.budget == 0.2
    assert attack.template() == Lighten(norm="inf", eps=1.0)
    assert attack.for_training() == Lighten(norm="inf", eps=0.2, early_stop=False)
    result = attack(brightness, gray(0.45, 0.1), [0, 0])
    assert result.success.numpy().tolist() == [True, False]
    np.testing.assert_allclose(result.distortion, [0.2, 0.2], rtol=1e-5)
    result = attack(brightness, gray(0.45, 0.1), [0, 0], eps=[0.1, 0.5])
    assert result.success.numpy().tolist() == [True, True]
    np.testing.assert_allclose(result.distortion, [0.1, 0.5], rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"norm": "inf", "eps": -0.1},
            "`eps` must be finite and at least 0. Received: eps=-0.1",
        ),
        (
            {"norm": 2, "eps": math.inf},
            "`eps` must be finite and at least 0. Received: eps=inf",
        ),
        ({"norm": 3, "eps": 0.1}, '`norm` must be 1, 2 or "inf". Received: norm=3'),
    ],
)
def test_a_ball_that_is_none_is_refused(settings, message):
    with pytest.raises(ValueError) as caught:
        Lighten(**settings)
    assert str(caught.value) == message


def test_every_attack_is_of_one_family():
    for kind in (FGSM, BIM, PGD, SmoothPGD, Square):
        attack = kind(norm="inf", eps=0.25)
        assert isinstance(attack, FixedBudget) and attack.budget == 0.25
        assert attack.template().budget == 1.0
        assert attack.template() == dataclasses.replace(attack, eps=1.0)
        assert not getattr(attack.for_training(), "early_stop", False)
    for kind in (DDN, DeepFool, CarliniWagnerL2, SmoothCarliniWagner):
        assert isinstance(kind(), MinimumNorm) and kind().budget is None
        assert kind().threat == ThreatModel(2)
        assert kind().template() == kind().for_training() == kind()
    assert DDN(norm="inf").threat == ThreatModel("inf")


@pytest.mark.parametrize(
    ("returned", "received"),
    [
        (lambda problem: None, "None from Returns"),
        (lambda problem: problem.images[:, 0], "shape (None, 3, 1) from Returns"),
    ],
)
def test_a_search_that_returns_no_images_is_refused(returned, received):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Returns(FixedBudget):
        norm: float | str = "inf"

        def run(self, problem):
            return returned(problem)

    with pytest.raises(ExtensionError) as caught:
        Returns(eps=0.1)(brightness, gray(0.4), [0])
    assert str(caught.value) == (
        f"`run` of an attack must return images {(None, *SHAPE)}. Received: {received}"
    )


def test_a_radius_in_other_units_is_pointed_out():
    """8 in place of 8 / 255, for a network of bytes say."""
    with pytest.warns(UserWarning, match="more than the range of a pixel") as caught:
        PGD(norm="inf", eps=8)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PGD(norm="inf", eps=1.0)
        PGD(norm=2, eps=8)
