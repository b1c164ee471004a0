"""Callbacks: what they watch, what they keep, and when."""

import os
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrobust import geometry, layers, models, penalties
from tfrobust.training import (
    MetricsTable,
    RefreshSpectralNorms,
    RestartPoints,
    RobustModel,
    WatchCoefficients,
    WatchGradientNorm,
    WatchTime,
    read_table,
)

SHAPE, CLASSES = (3, 2, 2), 3


def some_data(count=12):
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, count)
    return random.random((count, *SHAPE), np.float32), labels


def make_model(seed=0, optimizer=None, lcnn=True, **settings):
    keras.utils.set_random_seed(seed)
    kind = {"hidden": (5,), "variant": "lcnn" if lcnn else "standard"}
    model = RobustModel(models.MLP(SHAPE, CLASSES, **kind))
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), **settings)
    return model


def exact_norm(layer):
    return np.linalg.norm(layer.kernel.numpy().astype(np.float64), 2)


def test_spectral_norms_are_tight_before_an_evaluation_and_at_the_end():
    """The estimate of a kernel that has moved is wrong before and right after.

    The oracle is NumPy's singular value decomposition.
    """
    images, labels = some_data()
    model = make_model()
    callback = RefreshSpectralNorms(iterations=60)

    random = np.random.default_rng(7)

    def move():
        for layer in layers.find_layers(model, layers.SpectralDense):
            kernel = random.normal(size=layer.kernel.shape)
            layer.kernel.assign(kernel)
            assert float(layer.spectral_norm()) < 0.99 * exact_norm(layer)

    def check():
        for layer in layers.find_layers(model, layers.SpectralDense):
            found = float(layer.spectral_norm())
            np.testing.assert_allclose(found, exact_norm(layer), rtol=1e-5)

    move()
    model.evaluate(images, labels, callbacks=[callback], verbose=0)
    check()
    model.optimizer.learning_rate = 0.0
    ends = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: move())
    model.fit(images, labels, callbacks=[ends, callback], verbose=0)
    check()


def test_every_kind_of_spectral_layer_is_tightened():
    """Depthwise, transposed and those in a nested model."""
    inner = keras.Input((4, 4, 2))
    x = layers.SpectralDepthwiseConv2D(3)(inner)
    body = keras.Model(inner, layers.SpectralConv2DTranspose(2, 3)(x))
    inputs = keras.Input((4, 4, 2))
    x = layers.SpectralConv2D(2, 3, groups=2)(body(inputs))
    network = keras.Model(inputs, layers.SpectralDense(3)(keras.layers.Flatten()(x)))
    callback = RefreshSpectralNorms()
    callback.set_model(network)
    found = layers.find_layers(network, layers.SpectralLayer)
    assert len(found) == 4
    for layer in found:
        layer.kernel.assign(np.random.default_rng(1).normal(size=layer.kernel.shape))
    loose = [float(layer.spectral_norm()) for layer in found]
    callback.on_test_begin()
    for layer, before in zip(found, loose, strict=True):
        tight = float(layer.spectral_norm())
        assert tight > 1.01 * before
        layer.refresh(100)
        np.testing.assert_allclose(tight, float(layer.spectral_norm()), rtol=1e-4)


def test_one_callback_tightens_one_model_after_another():
    """The graph of the first model's layers is not run for the second."""
    callback, (images, labels) = RefreshSpectralNorms(iterations=60), some_data()
    for seed in (0, 1):
        model = make_model(seed)
        for layer in layers.find_layers(model, layers.SpectralDense):
            layer.kernel.assign(
                np.random.default_rng(seed).normal(size=layer.kernel.shape)
            )
        model.evaluate(images, labels, callbacks=[callback], verbose=0)
        for layer in layers.find_layers(model, layers.SpectralDense):
            found = float(layer.spectral_norm())
            np.testing.assert_allclose(found, exact_norm(layer), rtol=1e-5)


def test_coefficients_are_logged_by_layer():
    """One key for every learnable beta and every gamma, with its value."""
    network = models.ResNet18((8, 8, 3), CLASSES, "lcnn", width=1)
    callback, logs = WatchCoefficients(), {"loss": 1.0}
    callback.set_model(RobustModel(network))
    callback.on_epoch_end(0, logs)
    activations = layers.find_layers(network, layers.CenteredSoftplus)
    norms = layers.find_layers(network, layers.LipschitzBatchNormalization)
    betas = {f"beta/{layer.name}" for layer in activations}
    gammas = {f"gamma/{layer.name}" for layer in norms}
    assert set(logs) == {"loss"} | betas | gammas
    assert len(betas) == 17 and len(gammas) == 20
    assert logs["beta/stem_activation"] == pytest.approx(5.0)
    assert logs["gamma/stem_norm"] == pytest.approx(10.0)


def test_a_standard_network_has_no_coefficients_to_log():
    """Its fixed betas are no news."""
    callback, logs = WatchCoefficients(), {}
    callback.set_model(make_model(lcnn=False))
    callback.on_epoch_end(0, logs)
    callback.on_epoch_end(0, None)
    assert logs == {}


def test_the_gradient_norm_is_the_closed_form():
    """`mean_i ||W (p_i - onehot_i)||` of softmax regression, over uneven batches."""
    images, labels = some_data(11)
    network = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    )
    model = RobustModel(network)
    model.compile(keras.optimizers.SGD(0.5))
    callback = WatchGradientNorm(images, labels.tolist(), batch_size=4)
    history = model.fit(
        images, labels, epochs=2, batch_size=6, callbacks=[callback], verbose=0
    ).history["val_gradient_norm"]
    kernel, bias = (weight.astype(np.float64) for weight in network.get_weights())
    odds = np.exp(images.reshape(11, -1) @ kernel + bias)
    residual = odds / odds.sum(1, keepdims=True) - np.eye(CLASSES)[labels]
    expected = np.mean(np.linalg.norm(residual @ kernel.T, axis=1))
    np.testing.assert_allclose(history[-1], expected, rtol=1e-5)
    assert history[0] != history[1]


def test_the_gradient_norm_is_that_of_the_geometry():
    """The mean of `geometry.gradient_norm` over the same images, to the last bit."""
    images, labels = some_data(11)
    model = make_model()
    callback, logs = WatchGradientNorm(images, labels, batch_size=11), {}
    callback.set_model(model)
    callback.on_train_begin()
    callback.on_epoch_end(0, logs)
    alone = geometry.gradient_norm(model.network, images, labels)
    assert logs == {"val_gradient_norm": float(tf.reduce_mean(alone))}


def test_time_leaves_out_the_evaluation(monkeypatch):
    """By a clock that a training step moves by 1 and an evaluation by 1000."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def move(seconds):
        now[0] += seconds

    clock = keras.callbacks.Callback()
    clock.on_train_batch_end = lambda batch, logs=None: move(1.0)
    clock.on_test_batch_end = lambda batch, logs=None: move(1000.0)
    images, labels = some_data()
    model, settings = make_model(), {"epochs": 2, "batch_size": 4, "verbose": 0}
    watch = WatchTime()
    history = model.fit(
        images,
        labels,
        validation_data=(images, labels),
        callbacks=[clock, watch],
        **settings,
    )
    assert history.history["seconds"] == [3.0, 3.0]
    history = model.fit(images, labels, callbacks=[clock, WatchTime()], **settings)
    assert history.history["seconds"] == [3.0, 3.0]
    model.evaluate(images, labels, callbacks=[watch], verbose=0)


def test_the_table_has_a_row_an_epoch(tmp_path):
    """What is read back is what was logged, also where a column comes late."""
    table = MetricsTable(tmp_path / "metrics.csv")
    table.on_epoch_end(0, {"loss": np.float32(0.5)})
    table.on_epoch_end(1, {"loss": 1e-30, "val_loss": float("nan")})
    rows = read_table(tmp_path / "metrics.csv")
    assert rows[0] == {"epoch": 1, "loss": 0.5}
    assert rows[1]["loss"] == 1e-30 and np.isnan(rows[1]["val_loss"])
    assert isinstance(rows[0]["epoch"], int)
    assert os.listdir(tmp_path) == ["metrics.csv"]
    assert read_table(tmp_path / "absent.csv") == []


def test_the_table_is_whole_at_every_moment(tmp_path, monkeypatch):
    """A process that ends while writing leaves the file of the epoch before."""
    path = tmp_path / "metrics.csv"
    table = MetricsTable(path)
    table.on_epoch_end(0, {"loss": 0.5})

    def crash(source, target):
        assert read_table(source)[-1]["epoch"] == 2  # complete before it is moved
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        table.on_epoch_end(1, {"loss": 0.25})
    assert read_table(path) == [{"epoch": 1, "loss": 0.5}]


def test_the_table_drops_what_is_trained_again(tmp_path):
    """A run restarted after epoch 1 replaces rows 2 and 3; a new one all rows."""
    path = tmp_path / "metrics.csv"
    table = MetricsTable(path)
    for epoch in range(3):
        table.on_epoch_end(epoch, {"loss": float(epoch)})
    again = MetricsTable(path, first_epoch=1)
    again.on_epoch_end(1, {"loss": 10.0})
    expected = [{"epoch": 1, "loss": 0.0}, {"epoch": 2, "loss": 10.0}]
    assert read_table(path) == expected
    again.on_epoch_end(0, {"loss": 5.0})  # the same callback in a second `fit`
    assert read_table(path) == [{"epoch": 1, "loss": 5.0}]
    MetricsTable(path).on_epoch_end(0, {"loss": 7.0})
    assert read_table(path) == [{"epoch": 1, "loss": 7.0}]


def test_a_table_that_must_not_write_does_not(tmp_path):
    """All workers but the chief keep their rows to themselves."""
    table = MetricsTable(tmp_path / "metrics.csv", write=False)
    table.on_epoch_end(0, {"loss": 1.0})
    assert table.rows == [{"epoch": 1, "loss": 1.0}]
    assert os.listdir(tmp_path) == []


def state(model):
    variables = [*model.network.variables, *model.optimizer.variables]
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize("scaled", [False, True])
def test_a_restart_repeats_the_next_epoch_bit_for_bit(tmp_path, scaled):
    """Restored into a model of another seed: every variable, and the next step.

    Singular vectors, momentum, step count and, with loss scaling, the scale and its
    counter are part of it.
    """
    images, labels = some_data()

    def make(seed):
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
        if scaled:
            optimizer = keras.optimizers.LossScaleOptimizer(
                optimizer, initial_scale=8.0, dynamic_growth_steps=4
            )
        return make_model(seed, optimizer, penalties=[penalties.Curvature()])

    settings = {"batch_size": 4, "shuffle": False, "verbose": 0}
    first = make(0)
    points = RestartPoints(tmp_path)
    assert points.restore(first) == 0
    first.fit(images, labels, epochs=3, callbacks=[points], **settings)
    assert len([name for name in os.listdir(tmp_path) if "index" in name]) == 2
    second = make(1)
    assert RestartPoints(tmp_path).restore(second) == 3
    for a, b in zip(state(first), state(second), strict=True):
        np.testing.assert_array_equal(a, b)
    if scaled:
        assert float(second.optimizer.dynamic_scale.numpy()) == 32.0
    for model in (first, second):
        model.fit(images, labels, epochs=4, initial_epoch=3, **settings)
    for a, b in zip(state(first), state(second), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_restart_needs_the_same_network(tmp_path):
    """A checkpoint of another network is refused."""
    images, labels = some_data()
    model = make_model()
    model.fit(images, labels, callbacks=[RestartPoints(tmp_path)], verbose=0)
    with pytest.raises(ValueError, match="Received incompatible tensor"):
        RestartPoints(tmp_path).restore(make_model(lcnn=False))
