"""The network of the best epoch is kept, whole, whenever a run is killed."""

import os

import keras
import numpy as np
import pytest

from tests.training.short_runs import fit, make_model
from tfrobust.training import KeepBest


class Scores(keras.callbacks.Callback):
    """Logs given scores and remembers the weights at each."""

    def __init__(self, *scores):
        super().__init__()
        self.scores, self.weights = scores, []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(self.model.network.get_weights())
        if self.scores[epoch] is not None:
            logs["score"] = self.scores[epoch]


def assert_holds(path, weights):
    loaded = keras.saving.load_model(path).get_weights()
    for one, other in zip(loaded, weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("mode", "scores", "best"),
    [
        ("max", (0.1, 0.5, 0.3, 0.5), (2, 0.5)),
        ("min", (0.1, 0.5, 0.05, 0.5), (3, 0.05)),
        ("max", (float("nan"), -1.0, None, float("nan")), (2, -1.0)),
    ],
)
def test_the_network_of_the_best_epoch_is_kept(tmp_path, mode, scores, best):
    """Not the last one: of equals the first, never NaN, and nothing half written."""
    logged = Scores(*scores)
    keep = KeepBest(tmp_path / "best.keras", "score", mode)
    fit(make_model(), [logged, keep], epochs=4)
    assert keep.best == best
    assert_holds(keep.path, logged.weights[best[0] - 1])
    assert os.listdir(tmp_path) == ["best.keras"]


def test_killed_between_restart_point_and_best(tmp_path):
    """The restored epoch is the best of the rows: it is saved before training goes on.
    Where an earlier one is, the file stays as it is; where that is gone, what comes is
    best.
    """
    path = tmp_path / "best.keras"
    path.write_text("old")
    rows = [{"epoch": 1, "score": 0.5}, {"epoch": 2, "score": 0.75}]
    model, logged = make_model(), Scores(None, None, 0.6)
    restored = model.network.get_weights()
    keep = KeepBest(path, "score", rows=rows)
    fit(model, [logged, keep], epochs=3, initial_epoch=3)
    assert_holds(path, restored)
    path.write_text("old")
    lower = [*rows, {"epoch": 3, "score": 0.7}]
    keep = KeepBest(path, "score", rows=lower)
    fit(model, [keep], epochs=3, initial_epoch=3)
    assert path.read_text() == "old" and keep.best == (2, 0.75)
    path.unlink()
    keep = KeepBest(path, "score", rows=lower)
    fit(model, [Scores(None, None, None, 0.1), keep], epochs=4, initial_epoch=3)
    assert path.exists() and keep.best == (4, 0.1)


def test_the_file_is_whole_at_every_moment(tmp_path, monkeypatch):
    """A process that ends while saving leaves the best of before."""
    path = tmp_path / "best.keras"
    keep, logged = KeepBest(path, "score"), Scores(0.1, 0.2)
    model = make_model()
    fit(model, [logged, keep], epochs=1)

    def crash(source, target):
        assert_holds(source, model.network.get_weights())
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        fit(model, [logged, keep], epochs=2, initial_epoch=1)
    assert_holds(path, logged.weights[0])


def test_a_worker_that_must_not_write_does_not(tmp_path):
    """It knows the best all the same."""
    keep = KeepBest(tmp_path / "best.keras", "score", write=False)
    fit(make_model(), [Scores(0.5), keep], epochs=1)
    assert keep.best == (1, 0.5) and os.listdir(tmp_path) == []


def test_bad_settings_are_one_sentence():
    with pytest.raises(ValueError, match="`path` must be a file that ends with .keras"):
        KeepBest("best.h5")
    with pytest.raises(ValueError, match='`mode` must be "max" or "min"'):
        KeepBest("best.keras", mode="most")
