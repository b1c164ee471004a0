"""The networks that come with the library: whole, small, and what their cards say."""

import hashlib
import json

import keras
import numpy as np
import pytest

from tfrobust import data, models
from tfrobust.cli.records import records_from
from tfrobust.models import zoo

NAMES = models.list_pretrained()
FOLDER = zoo._folder()


def test_the_folder_is_small_and_every_network_has_two_files():
    """At most 2 MB each and 20 MB together."""
    sizes = {path.name: len(path.read_bytes()) for path in FOLDER.iterdir()}
    assert NAMES and set(sizes) == {
        f"{n}.{end}" for n in NAMES for end in ("json", "npz")
    }
    assert max(sizes.values()) <= 2_000_000
    assert sum(sizes.values()) <= 20_000_000


@pytest.mark.parametrize("name", NAMES)
def test_card_is_complete(name):
    """It names the network, its data and its digest, and holds measurements.

    Of these AutoAttack's accuracy and whether it can be trusted, in both norms.
    """
    card = models.pretrained_card(name)
    packed = (FOLDER / f"{name}.npz").read_bytes()
    assert card["sha256"] == hashlib.sha256(packed).hexdigest()
    assert card["name"] == name and card["summary"].endswith(".")
    assert card["training"]["dataset"] == card["measured"]["dataset"]
    assert set(card["measured"]) == {"dataset", "records"}
    records = records_from(card["measured"]["records"])
    assert records.models == [name]
    assert records.get(name, "accuracy", split="test", attacked=None)
    assert records.where("robust_accuracy", rounded=False)
    judged = [record.setting for record in records.where("trustworthy")]
    assert {setting["threat_model"] for setting in judged} == {"L2", "Linf"}
    for ball in judged:
        within = records.where("robust_accuracy", rounded=False, **ball)
        assert any(r.setting["attack"].startswith("AutoAttack ") for r in within)
    for quantity in ("gradient_norm", "hessian_norm", "curvature"):
        assert records.get(name, quantity, split="test"), quantity
    assert not any(text.startswith("/") for text in card["training"].values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["cifar10_standard", "cifar10_lcnn_gradreg", "mnist_c4"]
)
def test_accuracy_is_that_of_the_card(name, tfds_dir):
    """On the first 400 test images, within 4 standard errors of all."""
    dataset = models.pretrained_card(name)["measured"]["dataset"]
    test = data.load(dataset, "test", tfds_dir).take(400)
    logits = models.pretrained(name).predict(
        test.images.astype(np.float32) / 255, batch_size=100, verbose=0
    )
    accuracy = np.mean(np.argmax(logits, axis=-1) == test.labels)
    records = records_from(models.pretrained_card(name)["measured"]["records"])
    clean = records.get(name, "accuracy", split="test", attacked=None)
    said = clean.estimate.value
    assert abs(accuracy - said) < 4 * np.sqrt(said * (1 - said) / 400)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["standard", "softplus", "lcnn"])
def test_packing_changes_little(variant):
    """Half precision moves logits by less than a hundredth of their spread."""
    settings = {
        "architecture": "resnet18",
        "input_shape": [8, 8, 3],
        "classes": 4,
        "variant": variant,
        "width": 4,
    }
    network, other = zoo.build(settings), zoo.build(settings)
    random = np.random.default_rng(0)
    for weight in network.weights:
        if weight.path.endswith("moving_variance"):
            weight.assign(random.uniform(0.5, 2.0, weight.shape))
    images = random.random((16, 8, 8, 3), np.float32)
    expected = np.asarray(network(images, training=False))
    zoo.unpack(other, zoo.pack(network))
    logits = np.asarray(other(images, training=False))
    assert np.max(np.abs(logits - expected)) < 0.01 * np.std(expected, axis=0).max()


def test_weights_of_another_network_are_refused():
    """The sentence names the first weight that only one of them has."""
    small, large = (
        models.MLP((2,), classes=2, hidden=hidden) for hidden in ((3,), (3, 3))
    )
    with pytest.raises(ValueError, match="`packed` must hold the weights .*hidden2"):
        zoo.unpack(small, zoo.pack(large))


def test_unknown_names_and_damaged_files_are_refused(tmp_path, monkeypatch):
    """Each in one sentence."""
    with pytest.raises(ValueError, match="`name` must be one of .* Received: 'x'"):
        models.pretrained("x")
    (tmp_path / "x.json").write_text(json.dumps({"sha256": "0" * 64}))
    (tmp_path / "x.npz").write_bytes(b"something")
    monkeypatch.setattr(zoo, "_folder", lambda: tmp_path)
    with pytest.raises(ValueError, match="must stand for an undamaged file"):
        models.pretrained("x")


@pytest.mark.slow
def test_loaded_networks_are_ordinary_models(tmp_path):
    """They save and load as any other."""
    network = models.pretrained("cifar10_lcnn")
    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    np.testing.assert_allclose(again(images), network(images), rtol=1e-5, atol=1e-5)
