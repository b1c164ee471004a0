"""Which files speak of a model."""

import json

from export import export_saved_model
from export.facts import facts_of
from tests.export.cards import (
    FLAGS,
    SUMMARY,
    card_of,
    evaluation,
    flat,
    record,
)
from tfrobust import models


def test_a_run_folder_has_the_facts_of_its_model(run):
    """The summary tells of the file that the folder stands for."""
    assert facts_of(run) == facts_of(run / "model.keras")
    assert facts_of(run).accuracy["mean"] == 0.75


def test_a_served_model_carries_its_facts_along(run, tmp_path):
    """But for numbers of an evaluation of it, which are newer."""
    flat().save(run / "model.keras")
    first = export_saved_model(run, tmp_path / "first")
    second = export_saved_model(tmp_path / "first", tmp_path / "second")
    before, after = card_of(first), card_of(second)
    fields = ("data", "training", "accuracy", "robust_accuracy", "geometry")
    assert before["accuracy"]["mean"] == 0.75 and before["data"] is not None
    assert {name: after[name] for name in fields} == {
        name: before[name] for name in fields
    }
    assert after["versions"]["training"] == SUMMARY["versions"]
    file = tmp_path / "numbers.json"
    model = {"name": "other", "path": str(first)}
    accuracy = record("other", "accuracy", (0.25, 0.125), split="test")
    file.write_text(json.dumps(evaluation(model, records=[accuracy])))
    facts = facts_of(tmp_path / "first", file)
    assert facts.accuracy["mean"] == 0.25 and facts.training == before["training"]


def test_a_shipped_network_has_the_facts_of_its_card(tmp_path, monkeypatch):
    """And not those of a run that happens to be in the current folder."""
    (tmp_path / "run.flags").write_text(FLAGS)
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    monkeypatch.chdir(tmp_path)
    card = models.pretrained_card("cifar10_lcnn")
    facts = facts_of("pretrained:cifar10_lcnn")
    assert facts.data["dataset"] == card["training"]["dataset"]
    assert facts.training["variant"] == "lcnn" and "initial" not in facts.training
    measured = card["measured"]
    clean = measured["records"][0]
    assert (clean["quantity"], clean["setting"]) == ("accuracy", {"split": "test"})
    assert facts.accuracy == {
        "mean": clean["mean"],
        "standard_error": clean["standard_error"],
        "images": clean["images"],
        "dataset": measured["dataset"],
        "source": "evaluation",
    }
    assert facts.robust_accuracy and facts.geometry["test"]
    assert facts.versions == card["versions"]
