"""A finished run becomes a network of the zoo, and a card says what was measured."""

import json

import numpy as np
import pytest

from tfrobust import models
from tfrobust.cli.program import UsageError
from tfrobust.cli.records import Evaluation, Record, Records
from tfrobust.cli.run_folder import RunFolder
from tfrobust.core.estimates import Estimate
from tfrobust.models import zoo
from trainers import publishing
from trainers.train.options import flag_lines


@pytest.fixture
def publish(parse, tmp_path, monkeypatch):
    """`publish(variant)`: the folder of the zoo after a run of it was published."""
    place = tmp_path / "zoo"
    monkeypatch.setattr(publishing, "_FOLDER", place)

    def publish(variant, overwrite=False):
        flags = f"--variant={variant}", "--model=mlp", "--width=5", "--dataset=shapes"
        run = RunFolder(tmp_path / variant)
        run.path.mkdir(exist_ok=True)
        run.flags.write_text("\n".join(flag_lines(parse(*flags))) + "\n")
        network = models.MLP((4, 4, 3), 3, variant, hidden=(5, 5))
        network.save(run.model)
        run.summary.write_text("{}")
        publishing.publish(run, "mine", "A sentence.", overwrite)
        return place, network

    return publish


@pytest.mark.parametrize("variant", ["plain", "standard", "softplus", "lcnn"])
def test_what_is_published_is_the_network(publish, variant):
    """Rebuilt from its card and weights it answers alike, to half precision."""
    place, network = publish(variant)
    card = json.loads((place / "mine.json").read_text())
    assert ("beta" in card["network"]) == (variant in ("softplus", "lcnn"))
    assert card["summary"] == "A sentence." and card["training"]["width"] == "5"
    again = zoo.build(card["network"])
    zoo.unpack(again, np.load(place / "mine.npz"))
    images = np.random.default_rng(0).random((2, 4, 4, 3), "float32")
    np.testing.assert_allclose(again(images), network(images), rtol=0.02, atol=0.02)


def test_what_is_there_is_not_written_over(publish):
    place, _ = publish("standard")
    before = (place / "mine.npz").read_bytes()
    with pytest.raises(UsageError, match="mine.json exists already"):
        publish("lcnn")
    assert (place / "mine.npz").read_bytes() == before
    publish("lcnn", overwrite=True)
    assert (place / "mine.npz").read_bytes() != before


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no finished run"):
        publishing.publish(RunFolder(tmp_path), "mine", "", False)


def test_measurements_are_filled_in(publish, tmp_path):
    """The records of an evaluation of a shipped network stand in its card."""
    place, _ = publish("standard")
    setting = {"split": "test"}
    records = [
        Record(name, "accuracy", setting, 4, Estimate(value, 0.25))
        for name, value in (("mine", 0.5), ("other", 0.75))
    ]
    paths = {"mine": "pretrained:mine", "other": "/somewhere/other.keras"}
    listed = [{"name": name, "path": path} for name, path in paths.items()]
    about = {"dataset": "shapes", "models": listed}
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps(Evaluation(about, Records(records)).to_json()))
    publishing.fill_in(str(file))
    card = json.loads((place / "mine.json").read_text())
    assert card["measured"] == {"dataset": "shapes", "records": [records[0].to_json()]}
    with pytest.raises(ValueError, match="must be a finished evaluation"):
        publishing.fill_in(str(tmp_path / "none.json"))
