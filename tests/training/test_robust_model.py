"""The training step against a NumPy derivation, and around it what it needs."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.common import (
    convolutional,
    derived_step,
    linear,
    mlp,
    sgd,
    some_data,
    weights_of,
)
from tfrobust import attacks, models, penalties
from tfrobust.training import RobustModel


@pytest.mark.parametrize("decay", [0.0, 0.7])
def test_a_step_is_the_derived_one(decay):
    """Weights after a step, and the values reported for it, are those of NumPy."""
    images, labels = some_data()
    terms = [penalties.GradientNorm(decay)]
    model = linear(optimizer=keras.optimizers.SGD(0.5), penalties=terms)
    expected, values = derived_step(
        model.network.get_weights(), images, labels, 0.5, decay
    )
    history = model.fit(images, labels, batch_size=10, verbose=0).history
    for a, b in zip(model.network.get_weights(), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert history.keys() == values.keys()
    for name, value in values.items():
        np.testing.assert_allclose(history[name], [value], rtol=1e-5, err_msg=name)
    assert history["loss"][0] > 0.1


def test_sample_weights_scale_examples():
    """The sum is divided by the batch size; the accuracy counts all but weight 0."""
    images, labels = some_data()
    weights = np.linspace(0.0, 3.0, 10)
    model = linear(optimizer=keras.optimizers.SGD(0.5))
    expected, values = derived_step(
        model.network.get_weights(), images, labels, 0.5, 0.0, weights
    )
    history = model.fit(images, labels, 10, sample_weight=weights, verbose=0).history
    for a, b in zip(model.network.get_weights(), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for name in ("loss", "cross_entropy"):
        np.testing.assert_allclose(history[name], [values[name]], rtol=1e-5)
    _, unweighted = derived_step(
        linear().network.get_weights(), images[1:], labels[1:], 0.0, 0.0
    )
    np.testing.assert_allclose(history["accuracy"], [unweighted["accuracy"]], rtol=1e-5)


def test_an_epoch_reports_means_over_examples():
    """A last batch of 2 counts for 2 of 10, in every value of the history."""
    images, labels = some_data()
    terms = [penalties.GradientNorm(0.7)]
    model = linear(optimizer=keras.optimizers.SGD(0.0), penalties=terms)
    _, values = derived_step(model.network.get_weights(), images, labels, 0.0, 0.7)
    history = model.fit(images, labels, batch_size=4, epochs=2, verbose=0).history
    for name, value in values.items():
        np.testing.assert_allclose(history[name], [value] * 2, rtol=1e-5, err_msg=name)


def test_the_loss_is_the_sum_of_its_terms():
    """With every penalty at once; beta and gamma are today's, not the epoch's."""
    terms = [penalties.Curvature(0.1, 0.2), penalties.WeightDecay(0.3)]
    model = RobustModel(convolutional())
    model.compile(sgd(), penalties=[*terms, penalties.GradientNorm(0.4)])
    images, labels = some_data(8, (6, 5, 2))
    log = {n: v[0] for n, v in model.fit(images, labels, verbose=0).history.items()}
    names = ["cross_entropy", "curvature_penalty", "weight_penalty", "gradient_penalty"]
    np.testing.assert_allclose(log["loss"], sum(log[n] for n in names), rtol=1e-5)
    assert min(log[name] for name in names) > 0
    assert log.keys() == {"loss", "accuracy", "gradient_norm", "beta", "gamma", *names}
    mean_beta = np.mean(list(models.betas(model.network).values()))
    mean_gamma = np.mean(list(models.gammas(model.network).values()))
    # Reported from inside the step, so one update before.
    np.testing.assert_allclose(log["beta"], mean_beta, rtol=0.2)
    np.testing.assert_allclose(log["gamma"], mean_gamma, rtol=0.2)


def test_an_unbuilt_network_learns_its_shapes_from_a_batch():
    """Sequential or written by hand; it then trains as one that was built before."""

    class Written(keras.Model):
        def __init__(self):
            super().__init__()
            self.flatten = keras.layers.Flatten()
            self.dense = keras.layers.Dense(3, kernel_initializer="ones")

        def call(self, inputs, training=None):
            return self.dense(self.flatten(inputs))

    images, labels = some_data()
    results = []
    for network in (
        Written(),
        keras.Sequential(
            [
                keras.layers.Flatten(),
                keras.layers.Dense(3, kernel_initializer="ones"),
            ]
        ),
        keras.Sequential(
            [
                keras.Input(images.shape[1:]),
                keras.layers.Flatten(),
                keras.layers.Dense(3, kernel_initializer="ones"),
            ]
        ),
    ):
        model = RobustModel(network)
        model.compile(sgd(), penalties=[penalties.GradientNorm(0.5)])
        model.fit(images, labels, shuffle=False, verbose=0)
        results.append(network.get_weights())
    for one, other, built in zip(*results, strict=True):
        np.testing.assert_array_equal(one, built)
        np.testing.assert_array_equal(other, built)


def test_a_network_without_logits_is_refused():
    """Its output is an image."""
    network = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 1)])
    with pytest.raises(ValueError) as caught:
        RobustModel(network)
    assert str(caught.value) == (
        "`network` must end in one answer for each class, of shape (batch, classes). "
        "Received: output_shape=(None, 4, 4, 2)"
    )


OWN = (
    "loss, accuracy, cross_entropy, data_loss, regularization, gradient_norm, beta, "
    "gamma"
)


@pytest.mark.parametrize("names", [("a", "a"), ("a", "loss"), ("beta",)])
def test_names_of_penalties_are_different(names):
    """From each other, and from what the step reports itself."""
    terms = []
    for name in names:
        terms.append(penalties.WeightDecay(1e-3))
        terms[-1].name = name
    with pytest.raises(ValueError) as caught:
        linear(penalties=terms)
    assert str(caught.value) == (
        f"`penalties` must have different names, none of them one of {OWN}. "
        f"Received: names={list(names)}"
    )


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_and_sees_the_same_gradients(policy):
    """The input-gradient of the first step to a few per cent of float32.

    float16 has 3 digits and bfloat16 2; what matters is that no loss scale, of the
    optimiser or of the step itself, is left in the number.
    """

    def first_and_last(policy):
        keras.config.set_dtype_policy(policy)
        optimizer = sgd(0.05)
        if policy == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        model = RobustModel(convolutional())
        model.compile(optimizer, penalties=[penalties.GradientNorm(0.1)])
        images, labels = some_data(16, (6, 5, 2))
        return model.fit(images, labels, 16, epochs=8, verbose=0).history

    full, mixed = first_and_last("float32"), first_and_last(policy)
    for name in ("gradient_norm", "gradient_penalty", "loss"):
        np.testing.assert_allclose(mixed[name][0], full[name][0], rtol=0.04)
    assert np.all(np.isfinite(mixed["loss"]))
    assert mixed["loss"][-1] < mixed["loss"][0]


def test_compiling_again_changes_the_penalties():
    """What the first `compile` said is forgotten, its values included."""
    images, labels = some_data()
    model = mlp(penalties=[penalties.Curvature()])
    model.fit(images, labels, verbose=0)
    model.compile(sgd(), penalties=[penalties.GradientNorm(0.5)])
    history = model.fit(images, labels, verbose=0).history
    assert "curvature_penalty" not in history
    np.testing.assert_allclose(
        history["loss"][0] - history["cross_entropy"][0],
        history["gradient_penalty"][0],
        rtol=1e-4,
    )


def test_evaluation_changes_nothing():
    """Neither statistics, nor singular vectors, nor the optimiser."""
    images, labels = some_data(8, (6, 5, 2))
    model = RobustModel(convolutional())
    model.compile(sgd(), penalties=[penalties.GradientNorm()])
    model.fit(images, labels, verbose=0)
    before = weights_of(model)
    model.evaluate(images, labels, verbose=0)
    model.predict(images, verbose=0)
    for after, value in zip(weights_of(model), before, strict=True):
        np.testing.assert_array_equal(after, value)


def test_a_model_is_rebuilt_from_its_configuration():
    """Same name and network; the weights are fresh."""
    model = RobustModel(convolutional(), name="robust")
    again = RobustModel.from_config(model.get_config())
    assert again.name == "robust"
    assert again.network.get_config() == model.network.get_config()
    assert [w.shape for w in again.weights] == [w.shape for w in model.weights]


@pytest.mark.filterwarnings("error:.*compile.*")
def test_a_model_can_be_saved_whole(tmp_path):
    """A loaded one goes on as the one in memory: optimiser, penalties, adversary."""
    images, labels = some_data()
    model = mlp(
        optimizer=keras.optimizers.SGD(0.1, momentum=0.9),
        penalties=[penalties.Curvature(0.1), penalties.GradientNorm(0.3)],
        adversary=attacks.PGD(norm=2, eps=0.1, steps=2),
        adversary_share=0.5,
        metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2)],
    )
    model.fit(images, labels, shuffle=False, verbose=0)
    model.save(tmp_path / "robust.keras")
    again = keras.models.load_model(tmp_path / "robust.keras")
    np.testing.assert_array_equal(
        again.predict(images, verbose=0), model.predict(images, verbose=0)
    )
    assert (again.adversary, again.adversary_share) == (model.adversary, 0.5)
    histories = [
        each.fit(images, labels, shuffle=False, verbose=0).history
        for each in (model, again)
    ]
    assert histories[0] == histories[1]
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_cannot_be_saved_is_left_out_with_a_warning(tmp_path):
    """The weights are saved all the same; the loaded model is to be compiled anew."""

    class Bound(penalties.Penalty):
        name = "bound"

        def __init__(self, images):
            self.count = len(images)

        def __call__(self, context):
            return tf.constant(0.0)

    model = mlp(penalties=[Bound(some_data()[0])])
    with pytest.warns(UserWarning, match="is not saved, so that it has to be compiled"):
        model.save(tmp_path / "robust.keras")
    assert not keras.models.load_model(tmp_path / "robust.keras").compiled


def test_training_goes_on_from_a_checkpoint(tmp_path):
    """`RobustModel` of a loaded one, or of one in memory, trains the network in it."""
    images, labels = some_data()
    model = mlp()
    path = tmp_path / "best.keras"
    checkpoint = keras.callbacks.ModelCheckpoint(path)
    model.fit(images, labels, verbose=0, callbacks=[checkpoint])
    assert RobustModel(model).network is model.network
    again = RobustModel(keras.models.load_model(path))
    assert not isinstance(again.network, RobustModel)
    for new, old in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    again.compile(sgd())
    again.fit(images, labels, verbose=0)


@pytest.mark.slow
def test_the_network_loads_without_training_code(tmp_path):
    """In a process that imports `tfrobust.layers` and nothing else of the library."""
    images, labels = some_data(8, (6, 5, 2))
    model = RobustModel(convolutional())
    model.compile(sgd(), penalties=[penalties.Curvature(), penalties.GradientNorm()])
    model.fit(images, labels, epochs=2, verbose=0)
    model.network.save(tmp_path / "network.keras")
    np.save(tmp_path / "images.npy", images)
    program = (
        "import sys, keras, numpy as np, tfrobust.layers\n"
        "network = keras.models.load_model(sys.argv[1] + '/network.keras')\n"
        "images = np.load(sys.argv[1] + '/images.npy')\n"
        "np.save(sys.argv[1] + '/logits.npy', network(images))\n"
        "assert not [m for m in sys.modules if m.startswith('tfrobust.training')]\n"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=True, timeout=300
    )
    found = np.load(tmp_path / "logits.npy")
    np.testing.assert_allclose(found, model.network(images), rtol=1e-5, atol=1e-6)
