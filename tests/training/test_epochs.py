"""Networks kept epoch by epoch: which, when, and that they are those of the epoch."""

import functools
import os

import keras
import numpy as np
import pytest

import tfrobust.layers  # noqa: F401  All that loading a network may need.
from tfrobust import models
from tfrobust.training import KeepEpochs, RobustModel, kept_epochs

SHAPE, CLASSES = (3, 2, 2), 3


@functools.cache
def made():
    """One model for all tests, each of which trains it further."""
    model = RobustModel(models.MLP(SHAPE, CLASSES, "lcnn", hidden=(4,)))
    model.compile(keras.optimizers.SGD(0.3))
    return model


def train(folder, epochs, *, initial_epoch=0, stop_after=None, **settings):
    """Trains for some epochs; the weights as they were after each."""
    random = np.random.default_rng(0)
    images, labels = random.random((8, *SHAPE), np.float32), np.arange(8) % CLASSES
    model = made()
    weights = {}

    def remember(epoch, logs=None):
        weights[epoch + 1] = model.network.get_weights()
        model.stop_training = epoch + 1 == stop_after

    watch = keras.callbacks.LambdaCallback(on_epoch_end=remember)
    model.fit(
        images,
        labels,
        batch_size=4,
        epochs=epochs,
        verbose=0,
        initial_epoch=initial_epoch,
        callbacks=[KeepEpochs(folder, **settings), watch],
    )
    return weights


@pytest.mark.parametrize(
    "every, expected",
    [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (3, [3, 5]), (5, [5]), (9, [5])],
)
def test_which_epochs(tmp_path, every, expected):
    """Each so many, and the last; nothing else is left in the folder."""
    train(tmp_path / "a" / "epochs", 5, every=every)
    found = kept_epochs(tmp_path / "a" / "epochs")
    assert list(found) == expected
    names = sorted(path.name for path in (tmp_path / "a" / "epochs").iterdir())
    assert names == [f"epoch-{epoch:03d}.keras" for epoch in expected]
    assert [path.name for path in found.values()] == names


def test_the_last_of_a_training_that_stops_early(tmp_path):
    """Is kept too, as it was; nothing is trained or kept beyond it."""
    weights = train(tmp_path, 9, every=4, stop_after=6)
    found = kept_epochs(tmp_path)
    assert list(found) == [4, 6]
    kept = keras.saving.load_model(found[6]).get_weights()
    for ours, theirs in zip(kept, weights[6], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_networks_are_those_of_their_epochs(tmp_path):
    """All weights to the last bit, and other ones after each epoch."""
    weights = train(tmp_path, 3)
    loaded = {
        epoch: keras.saving.load_model(path)
        for epoch, path in kept_epochs(tmp_path).items()
    }
    assert list(loaded) == [1, 2, 3]
    for epoch, network in loaded.items():
        # The network alone, not what trains it.
        assert type(network) is type(made().network) and network.name == "mlp"
        for found, expected in zip(network.get_weights(), weights[epoch], strict=True):
            np.testing.assert_array_equal(found, expected)
    kernels = [network.get_layer("logits").kernel for network in loaded.values()]
    assert np.ptp(np.stack(kernels), axis=0).max() > 0.01


def test_a_run_that_goes_on_counts_on(tmp_path):
    """Epochs after a restart have the numbers of an unbroken run; one that is trained
    once more replaces its file.
    """
    train(tmp_path, 3, every=2)
    assert list(kept_epochs(tmp_path)) == [2, 3]
    before = kept_epochs(tmp_path)[3].read_bytes()
    (tmp_path / "epoch-003.partial.keras").write_text("killed")
    weights = train(tmp_path, 6, initial_epoch=2, every=2)
    found = kept_epochs(tmp_path)
    assert list(found) == [2, 3, 4, 6] and found[3].read_bytes() == before
    network = keras.saving.load_model(found[4])
    np.testing.assert_array_equal(network.get_weights()[0], weights[4][0])
    train(tmp_path, 3, initial_epoch=2, every=2)
    assert kept_epochs(tmp_path)[3].read_bytes() != before
    assert not (tmp_path / "epoch-003.partial.keras").exists()


def test_workers_that_are_not_the_chief(tmp_path):
    """`write=False` makes not even the folder."""
    train(tmp_path / "epochs", 2, write=False)
    assert not (tmp_path / "epochs").exists()


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    """Killed between writing and renaming, an epoch is not there."""

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, 2)
    assert kept_epochs(tmp_path) == {}
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.parametrize("every", [0, -1, 1.5])
def test_every_is_checked(every):
    """One sentence, from `every`."""
    with pytest.raises(ValueError, match=f"`every` must .*Received: every={every}"):
        KeepEpochs("anywhere", every)


def test_other_files_are_no_epochs(tmp_path):
    """In the order of numbers, not of names: 2, 10, 1000. A folder of none is empty."""
    names = ("epoch-010.keras", "epoch-2.keras", "epoch-1000.keras")
    others = (
        "epoch-003.partial.keras",
        "epoch-004.h5",
        "epoch-.keras",
        "best.keras",
        "my-epoch-005.keras",
        "epoch-006.keras.bak",
        "epoch--7.keras",
        "epoch-008.keras\n",
    )
    for name in names + others:
        (tmp_path / name).touch()
    found = kept_epochs(str(tmp_path))
    assert list(found.items()) == [
        (2, tmp_path / "epoch-2.keras"),
        (10, tmp_path / "epoch-010.keras"),
        (1000, tmp_path / "epoch-1000.keras"),
    ]
    assert kept_epochs(tmp_path / "none") == {} == kept_epochs(found[2])


def test_names_sort_like_numbers():
    """As `ls` shows them, up to 999 epochs; the path is what is written."""
    keep = KeepEpochs("a/b")
    names = [str(keep.path(epoch)) for epoch in range(1, 1000)]
    assert names == sorted(names) and names[6] == os.path.join(
        "a", "b", "epoch-007.keras"
    )
