"""The verdict on an attack: what the base class accepts, corrects and refuses."""

import dataclasses
import gc
import warnings
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrobust.attacks import L2, PGD, Attack, AttackResult, Goal

SHAPE = (2, 3, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shift(Attack):
    """Adds a constant to every pixel, whatever that does."""

    amount: float
    eps: float | None = None
    again: bool = False

    @property
    def constraint(self):
        return L2()

    @property
    def budget(self):
        return self.eps

    @property
    def attacks_reached(self):
        return self.again

    def run(self, classifier, images, goal):
        return images + self.amount


def brightness(images):
    """Class 1 if the mean pixel is above 1/2, with logits that grow with it."""
    mean = tf.reduce_mean(images, axis=[1, 2, 3])
    return tf.stack([tf.zeros_like(mean), 10.0 * (mean - 0.5)], axis=-1)


def grey(*levels):
    """One flat image for each level."""
    return tf.ones((len(levels), *SHAPE)) * tf.reshape(
        tf.constant(levels, tf.float32), [-1, 1, 1, 1]
    )


def test_success_and_distortion_are_recomputed():
    result = Shift(amount=0.2)(brightness, grey(0.45, 0.1, 0.7), [0, 0, 0])
    assert isinstance(result, AttackResult)
    assert result.success.numpy().tolist() == [True, False, True]
    # The last was wrong to begin with: untouched, at distance 0.
    expected = [0.2 * 6**0.5, 0.2 * 6**0.5, 0.0]
    np.testing.assert_allclose(result.distortion, expected, rtol=1e-5)
    np.testing.assert_allclose(result.adversarial, grey(0.65, 0.3, 0.7), rtol=1e-6)


def test_an_image_made_worse_comes_back_clean():
    images = grey(0.45, 0.1)
    result = Shift(amount=-0.05)(brightness, images, [0, 0])
    np.testing.assert_array_equal(result.adversarial, images)
    np.testing.assert_array_equal(result.distortion, 0.0)
    assert not np.any(result.success)


def test_results_are_clipped_before_they_are_judged():
    result = Shift(amount=7.0)(brightness, grey(0.25), [0])
    np.testing.assert_array_equal(result.adversarial, grey(1.0))
    np.testing.assert_allclose(result.distortion, 0.75 * 6**0.5, rtol=1e-6)


def test_a_search_that_overspends_its_budget_finds_nothing():
    result = Shift(amount=0.2, eps=0.4)(brightness, grey(0.45), [0])
    assert not result.success[0]
    np.testing.assert_array_equal(result.adversarial, grey(0.45))


def test_nan_is_not_returned():
    result = Shift(amount=float("nan"))(brightness, grey(0.45), [0])
    np.testing.assert_array_equal(result.adversarial, grey(0.45))
    assert not result.success[0]


def test_attacks_reached_searches_from_wrong_images_too():
    result = Shift(amount=0.1, again=True)(brightness, grey(0.7, 0.45), [0, 0])
    np.testing.assert_allclose(result.adversarial, grey(0.8, 0.55), rtol=1e-6)
    assert np.all(result.success)
    lost = Shift(amount=-0.3, again=True)(brightness, grey(0.7), [0])
    np.testing.assert_array_equal(lost.adversarial, grey(0.7))
    assert lost.success[0] and lost.distortion[0] == 0


def test_targets_decide_success():
    images = grey(0.45, 0.45, 0.7)
    result = Shift(amount=0.1)(brightness, images, [0, 1, 0], targets=[1, 0, 1])
    assert np.all(result.success)
    np.testing.assert_allclose(result.adversarial, grey(0.55, 0.45, 0.7), rtol=1e-6)


def test_empty_batch():
    images = tf.zeros([0, *SHAPE])
    result = Shift(amount=0.1)(brightness, images, tf.zeros([0], tf.int32))
    assert result.adversarial.shape == (0, *SHAPE)
    assert result.success.shape == result.distortion.shape == (0,)


def test_other_float_dtypes_give_float32():
    result = Shift(amount=0.2)(brightness, tf.cast(grey(0.45), tf.float64), [0])
    assert result.adversarial.dtype == tf.float32


def test_dictionary_of_logits_is_accepted():
    result = Shift(amount=0.2)(lambda x: {"logits": brightness(x)}, grey(0.45), [0])
    assert result.success[0]


def test_models_are_not_kept_alive():
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten()])
    PGD(norm=2, eps=0.1, steps=1)(model, grey(0.4), [0])
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

    result = Shift(amount=0.2)(Unhashable(), grey(0.45), [0])
    assert result.success[0]


def test_goal_orders_as_the_cross_entropy():
    logits = tf.random.stateless_normal([50, 4], [0, 1]) * 3
    labels = tf.fill([50], 2)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    leave, reach = Goal(labels, False), Goal(labels, True)
    np.testing.assert_allclose(
        tf.nn.softplus(leave.log_odds(logits)), loss, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        tf.nn.softplus(-reach.log_odds(logits)), loss, rtol=1e-5, atol=1e-6
    )
    for goal in (leave, reach):
        np.testing.assert_array_equal(goal.margin(logits) > 0, goal.reached(logits))


def test_goal_has_a_gradient_where_the_cross_entropy_has_none():
    logits = tf.constant([[200.0, 0.0, 1.0]])
    goal = Goal(tf.constant([0]), targeted=False)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        odds = goal.log_odds(logits)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits([0], logits)
    np.testing.assert_array_equal(tape.gradient(loss, logits), 0.0)
    expected = [[-1.0, 1 / (1 + np.e), np.e / (1 + np.e)]]
    np.testing.assert_allclose(tape.gradient(odds, logits), expected, rtol=1e-5)


def test_nan_logits_are_no_success():
    goal = Goal(tf.constant([0, 0]), targeted=False)
    logits = tf.constant([[np.nan, 1.0], [0.0, np.inf]])
    assert not np.any(goal.reached(logits))


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
            "`images` must lie in [0, 1]. Received: values from 255 to 255",
        ),
        (
            {"images": np.full((2, *SHAPE), np.nan, np.float32)},
            "`images` must lie in [0, 1]. Received: values from nan to nan",
        ),
        (
            {"labels": [0.0, 1.0]},
            "`labels` must be integers. Received: dtype=float32",
        ),
        (
            {"labels": [[1, 0], [0, 1]]},
            "`labels` must have shape [B], one class for each of the 2 images. "
            "Received: shape=(2, 2)",
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
            {"model": lambda x: tf.reduce_mean(x, axis=[1, 2])},
            "`model` must return floating logits [B, K] with K of at least 2. "
            "Received: float32 (None, 1)",
        ),
        (
            {"model": lambda x: brightness(x) * np.nan},
            "`model` must return finite logits. Received: NaN or infinity",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    call = {"model": brightness, "images": grey(0.4, 0.6), "labels": [0, 1]}
    with pytest.raises(ValueError) as error:
        Shift(amount=0.1)(**{**call, **arguments})
    assert str(error.value) == message


def test_probabilities_are_warned_about():
    with pytest.warns(UserWarning, match="probabilities rather than logits"):
        Shift(amount=0.1)(lambda x: tf.nn.softmax(brightness(x)), grey(0.4), [0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Shift(amount=0.1)(brightness, grey(0.4, 0.6), [0, 1])
