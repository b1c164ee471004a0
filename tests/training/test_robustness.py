"""Accuracy under attack, followed in training."""

import keras
import numpy as np
import pytest

from tests.training.short_runs import ATTACK, SHAPE, fit, make_model, some_data
from tfrobust import attacks
from tfrobust.training import (
    KeepBest,
    MetricsTable,
    RestartPoints,
    RobustModel,
    WatchRobustAccuracy,
    read_table,
)


def test_accuracy_is_what_is_left_in_closed_form():
    """Of two classes by a line, an image within eps * ||w||_1 / 2 of it is lost, as is
    a misclassified one. Over uneven batches.
    """
    images, _ = some_data(25)
    labels = np.random.default_rng(5).integers(0, 2, 25)
    image = keras.Input(SHAPE)
    flat = keras.layers.Flatten()(image)
    network = keras.Model(image, keras.layers.Dense(2)(flat))
    direction = np.random.default_rng(2).normal(size=12)
    bias = -images.reshape(25, -1).mean(0) @ direction
    kernel = np.stack([0 * direction, direction], 1)
    network.layers[-1].set_weights([kernel, np.array([0.0, bias])])
    model = RobustModel(network)
    model.compile(keras.optimizers.SGD(0.0))
    inside = np.clip(images, 0.3, 0.7)  # eps reaches no bound of [0, 1] from here
    margins = (inside.reshape(25, -1) @ direction + bias) * (2 * labels - 1)
    for eps in (0.05, 0.09):
        attack = attacks.FGSM(eps=eps)
        watch = WatchRobustAccuracy(attack, inside, labels, batch_size=10)
        history = model.fit(inside, labels, verbose=0, callbacks=[watch]).history
        expected = np.mean(margins > eps * np.abs(direction).sum())
        assert history["val_robust_accuracy"] == [expected]
        assert 0 < expected < np.mean(margins > 0)


def test_every_so_many_epochs_and_after_the_last(tmp_path):
    """Other rows of the table have no such number."""
    table = MetricsTable(tmp_path / "metrics.csv")
    watch = WatchRobustAccuracy(ATTACK, *some_data(), every=2)
    fit(make_model(), [watch, table], epochs=5)
    rows = read_table(table.path)
    watched = [row["epoch"] for row in rows if "val_robust_accuracy" in row]
    assert watched == [2, 4, 5]
    watch.on_epoch_end(1, None)


def test_training_is_the_same_watched_or_not():
    """Weights and losses, bit for bit: the attack's draws are its own."""
    plain, watched = make_model(), make_model()
    losses = fit(plain, [], epochs=3).history["loss"]
    watch = WatchRobustAccuracy(ATTACK, *some_data(seed=1))
    assert fit(watched, [watch], epochs=3).history["loss"] == losses
    for one, other in zip(plain.get_weights(), watched.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_restart_repeats_table_and_best(tmp_path):
    """Stopped after epoch 2 of 5 and gone on: every row, the best epoch, and the file
    are those of the undisturbed run, bit for bit.
    """

    def run(folder, epochs, seed=0):
        model = make_model(seed)
        restarts = RestartPoints(folder / "checkpoints")
        first = restarts.restore(model)
        table = MetricsTable(folder / "metrics.csv", first)
        best = KeepBest(folder / "best.keras", rows=table.rows)
        watch = WatchRobustAccuracy(ATTACK, *some_data(24, seed=1))
        fit(model, [watch, table, restarts, best], epochs, initial_epoch=first)
        return table.rows, best.best, keras.saving.load_model(best.path).get_weights()

    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = run(tmp_path / "whole", 5)
    run(tmp_path / "parts", 2)
    parts = run(tmp_path / "parts", 5, seed=1)
    assert parts[:2] == whole[:2]
    assert len({row["val_robust_accuracy"] for row in whole[0]}) > 1
    for one, other in zip(whole[2], parts[2], strict=True):
        np.testing.assert_array_equal(one, other)


def test_bad_settings_are_one_sentence():
    """Numbers, and no images."""
    images, labels = some_data()
    for settings, message in (
        ({"every": 0}, "`every` must be an integer"),
        ({"batch_size": 1.5}, "`batch_size` must be an integer"),
    ):
        with pytest.raises(ValueError, match=message):
            WatchRobustAccuracy(ATTACK, images, labels, **settings)
    with pytest.raises(ValueError, match="`images` must hold at least one"):
        WatchRobustAccuracy(ATTACK, images[:0], labels[:0])
