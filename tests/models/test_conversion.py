"""Conversion of whole networks: their function, their bounds, their graphs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

from tests.models.conversions import SHAPE, excited, resnet, settled, some_images, vgg
from tfrobust import geometry, models, penalties
from tfrobust.layers import (
    CenteredSoftplus,
    ChannelAffine,
    LipschitzBatchNormalization,
    SpectralLayer,
    spectral_layer,
)
from tfrobust.models import conversion_parts
from tfrobust.training import RobustModel

NETWORKS = {"vgg": vgg, "resnet": resnet, "excited": excited}
SHARP = {"beta": 1e6, "gamma": 1e6}


@pytest.fixture
def few_rounds(monkeypatch):
    """Norms from few rounds, where a test does not need them to be right."""
    monkeypatch.setattr(spectral_layer, "_WARM_START_ITERATIONS", 1)
    monkeypatch.setattr(conversion_parts, "_ROUNDS", 2)


def jacobian_norm(network, image):
    x = tf.constant(image[None])
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = network(x)[0]
    jacobian = tape.jacobian(logits, x).numpy().reshape(len(logits), -1)
    return np.linalg.norm(jacobian, 2)


@pytest.mark.parametrize("name", ["vgg", "resnet"])
def test_the_recipe_keeps_the_function_as_beta_and_gamma_grow(name):
    """Scale, shift, caps, sums and all: float32 rounding and 7e-7 an activation."""
    network = NETWORKS[name]()
    same, _ = models.curvature_recipe(network, **SHARP)
    x, truth = some_images(), network(some_images()).numpy()
    np.testing.assert_allclose(same(x), truth, atol=2e-5 * np.abs(truth).max())
    other, _ = models.curvature_recipe(network, beta=1e6, gamma=0.1)
    assert np.abs(other(x) - truth).max() > 1e-2 * np.abs(truth).max()


@pytest.mark.parametrize("name", NETWORKS)
def test_what_becomes_what(name, few_rounds):
    """No plain convolution, dense layer, batch norm or ReLU is left."""
    low, report = models.to_low_curvature(NETWORKS[name](), beta=3.0, gamma=4.0)
    plain = (kl.Conv2D, kl.DepthwiseConv2D, kl.Dense, kl.BatchNormalization, kl.ReLU)
    assert not [layer for layer in low.layers if isinstance(layer, (*plain, kl.Add))]
    betas, gammas = models.betas(low), models.gammas(low)
    assert set(np.round(list(betas.values()), 5)) == {3.0}
    assert set(np.round(list(gammas.values()), 5)) <= {4.0}
    assert len(report.changes) >= len(betas)


def test_names_lead_to_their_layers(few_rounds):
    low, report = models.to_low_curvature(resnet())
    assert low.name == "resnet"
    assert low.input.name == "images"
    assert isinstance(low.get_layer("b"), SpectralLayer)
    assert isinstance(low.get_layer("b_activation"), CenteredSoftplus)
    assert isinstance(low.get_layer("a_norm_affine"), ChannelAffine)
    assert isinstance(low.get_layer("a_norm"), LipschitzBatchNormalization)
    assert low.get_layer("a_relu").max_value == 6.0
    sums = [c.name for c in report.changes if c.after == "Average"]
    assert len(sums) == 2
    assert sums[0] == "a_add"


def test_a_name_that_is_taken(few_rounds):
    """The activation of `x` where the network has an `x_activation` already."""
    inputs = keras.Input((4,))
    x = kl.Dense(3, "relu", name="x")(inputs)
    x = kl.Dense(3, name="x_activation")(x)
    low, _ = models.to_low_curvature(keras.Model(inputs, x))
    assert isinstance(low.get_layer("x_activation2"), CenteredSoftplus)


@pytest.mark.parametrize("name", ["vgg", "resnet"])
def test_the_bound_of_a_converted_network(name):
    """Finite, the product of the layers' own along a sequence, and never exceeded."""
    low, report = models.to_low_curvature(NETWORKS[name]())
    assert report.unbounded == report.not_smooth == ()
    bound = geometry.curvature_bound(low)
    assert np.isfinite(bound.loss_hessian)
    if name == "vgg":
        product = np.prod([change.lipschitz for change in report.changes])
        np.testing.assert_allclose(bound.lipschitz, product, rtol=1e-3)
    for image in some_images():
        assert 0 < jacobian_norm(low, image) <= bound.lipschitz * (1 + 1e-4)


def test_what_is_not_bounded_is_listed(few_rounds):
    low, report = models.to_low_curvature(excited())
    assert report.unbounded == ("product", "layer_norm")
    with pytest.raises(ValueError, match="named 'product'"):
        geometry.curvature_bound(low)
    _, report = models.to_low_curvature(vgg(kl.MaxPooling2D))
    assert report.unbounded == ()
    assert report.not_smooth == ("pool1",)


def test_a_gate_keeps_its_cap(few_rounds):
    """The numbers that a product multiplies with stay between zero and one."""
    low, _ = models.to_low_curvature(excited(), beta=50.0)
    gate = keras.Model(low.input, low.get_layer("gate").output)
    gate.get_layer("excite").bias.assign(30.0 * np.array([1.0, -1.0, 0.0, 1.0]))
    answers = gate(some_images()).numpy()
    assert answers.min() > -0.1
    np.testing.assert_allclose(answers[..., 0], 6.0, atol=0.1)


def test_the_given_network_stays_as_it_was(few_rounds):
    """Its weights, and none of them are the converted one's."""
    network = resnet()
    before = network.get_weights()
    for convert in (models.to_low_curvature, models.curvature_recipe):
        low, _ = convert(network)
        ours = {id(variable) for variable in low.variables}
        assert not ours & {id(variable) for variable in network.variables}
        for variable in low.trainable_variables:
            variable.assign(variable + 1.0)
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_converted_network_is_converted_again(few_rounds):
    """To itself."""
    low, _ = models.to_low_curvature(vgg())
    again, report = models.to_low_curvature(low)
    assert not [change for change in report.changes if change.changed]
    x = some_images()
    np.testing.assert_allclose(again(x), low(x), rtol=1e-6)


def test_it_trains_with_the_curvature_penalty_and_comes_back(tmp_path, few_rounds):
    """Betas, gammas and kernels move; the file loads in safe mode."""
    low, _ = models.to_low_curvature(resnet())
    before = {w.path: w.numpy() for w in low.trainable_variables}
    model = RobustModel(low)
    penalty = penalties.Curvature(beta=1e-2, gamma=1e-2)
    optimizer = keras.optimizers.SGD(0.1)
    model.compile(optimizer, penalties=[penalty], jit_compile=False)
    model.fit(some_images(), np.array([0, 1, 2, 0]), batch_size=4, verbose=0)
    for weight in low.trainable_variables:
        # A batch norm takes the bias before it away, and with it its gradient.
        if weight.path != "a/bias":
            assert np.any(weight.numpy() != before[weight.path]), weight.path
    low.save(tmp_path / "low.keras")
    loaded = keras.models.load_model(tmp_path / "low.keras", safe_mode=True)
    x = some_images()
    np.testing.assert_array_equal(loaded(x), low(x))


def test_frozen_layers_stay_frozen(few_rounds):
    network = vgg()
    for layer in network.layers[:4]:
        layer.trainable = False
    for convert in (models.to_low_curvature, models.curvature_recipe):
        low, _ = convert(network)
        frozen = ("conv1", "conv1_activation", "conv2", "norm2", "norm2_affine")
        for layer in low.layers:
            if layer.weights:
                assert layer.trainable is not (layer.name in frozen), layer.name


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_stays(policy, few_rounds):
    """Each layer computes as before, with float32 weights."""
    keras.config.set_dtype_policy(policy)
    network = vgg()
    keras.config.set_dtype_policy("float32")
    low, _ = models.to_low_curvature(network)
    assert {layer.compute_dtype for layer in low.layers[1:]} == {policy[6:]}
    assert {weight.dtype for weight in low.weights} == {"float32"}
    assert np.all(np.isfinite(low(some_images()).numpy().astype(np.float32)))


ARITHMETIC = {
    "x + 3": (lambda x: x + 3.0, 1.0),
    "3 - x": (lambda x: 3.0 - x, 1.0),
    "x - 3": (lambda x: x - 3.0, 1.0),
    "3 x": (lambda x: 3.0 * x, 3.0),
    "x / 4": (lambda x: x / 4.0, 0.25),
    "x + x": (lambda x: x + x, 2.0),
}


@pytest.mark.parametrize("kind", ARITHMETIC)
def test_arithmetic_becomes_layers(kind):
    """The same numbers, and a bound."""
    function, lipschitz = ARITHMETIC[kind]
    inputs = keras.Input((4,))
    network = keras.Model(inputs, kl.Flatten()(function(inputs)))
    x = some_images(2, (4,))
    same, report = models.curvature_recipe(network)
    np.testing.assert_allclose(same(x), network(x), rtol=1e-6)
    assert report.unbounded == ()
    bound = geometry.curvature_bound(same).lipschitz
    np.testing.assert_allclose(bound, lipschitz, rtol=1e-6)
    low, _ = models.to_low_curvature(network)
    half = 0.5 if kind == "x + x" else 1.0
    np.testing.assert_allclose(low(x), half * network(x), rtol=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: keras.ops.mean(x, axis=1, keepdims=True),
        lambda x: keras.ops.concatenate([x, 2.0 * x], axis=-1),
        lambda x: x[:, 1:],
        lambda x: x + keras.ops.mean(x, axis=1, keepdims=True),
        lambda x: x * x,
        lambda x: 1.0 / (x + 2.0),
        lambda x: keras.ops.maximum(x, 0.25),
    ],
)
def test_other_operations_are_kept_and_listed(function):
    inputs = keras.Input((4,))
    network = keras.Model(inputs, kl.Flatten()(function(inputs)))
    x = some_images(2, (4,))
    for convert in (models.to_low_curvature, models.curvature_recipe):
        same, report = convert(network)
        np.testing.assert_allclose(same(x), network(x), rtol=1e-6)
        assert report.unbounded


def test_several_inputs_and_outputs_keep_their_structure():
    inputs = {"left": keras.Input((4,), name="left")}
    inputs["right"] = keras.Input((3,), name="right")
    x = kl.Concatenate(name="both")([inputs["left"], inputs["right"]])
    x = kl.Dense(5, "relu")(x)
    network = keras.Model(inputs, {"a": kl.Dense(2)(x), "b": [x]})
    given = {"left": some_images(2, (4,)), "right": some_images(2, (3,))}
    same, report = models.curvature_recipe(network, beta=1e6)
    answers, truth = same(given), network(given)
    assert answers.keys() == truth.keys()
    np.testing.assert_allclose(answers["a"], truth["a"], atol=1e-5)
    np.testing.assert_allclose(answers["b"][0], truth["b"][0], atol=1e-5)
    np.testing.assert_allclose(report.changes[0].lipschitz, np.sqrt(2.0))


def test_the_network_of_a_trained_model_is_converted(few_rounds):
    low, _ = models.to_low_curvature(RobustModel(vgg()))
    assert type(low) is type(keras.Model(low.input, low.output))


def test_a_compiled_network_gives_one_that_is_not():
    network = vgg()
    network.compile("sgd", "mse")
    low, _ = models.curvature_recipe(network)
    assert not low.compiled


def test_every_example_is_answered_by_itself(few_rounds):
    low, _ = models.to_low_curvature(settled(resnet()))
    x = some_images(3)
    each = np.concatenate([low(image[None]) for image in x])
    np.testing.assert_allclose(low(x), each, rtol=1e-4, atol=1e-7)
    assert low.input_shape == (None, *SHAPE)
