"""Which files speak of a model."""

import json

import tensorflow as tf

from export import export_saved_model
from export.facts import facts_of
from tests.export.cards import (
    FLAGS,
    SHAPE,
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


def test_a_run_has_the_names_of_its_classes(run):
    """For every network of it, wherever in the folder it lies."""
    assert facts_of(run).class_names is None
    (run / "data.json").write_text(json.dumps({"class_names": list("abcdef")}))
    (run / "epochs").mkdir()
    for name in ("model.keras", "best.keras", "epochs/epoch-001.keras"):
        (run / name).touch()
        assert facts_of(run / name).class_names == tuple("abcdef")


def test_names_go_from_a_run_into_what_is_served_and_on(run, tmp_path):
    """A server says them; other names may be given; those of other classes are not."""
    flat().save(run / "model.keras")
    names = ["cat", "dog", "emu", "fox", "gnu", "hen"]
    (run / "data.json").write_text(json.dumps({"class_names": names}))
    first = export_saved_model(run, tmp_path / "first")
    second = export_saved_model(tmp_path / "first", tmp_path / "second")
    for version in (first, second):
        assert card_of(version)["class_names"] == names
        loaded = tf.saved_model.load(str(version))
        image = tf.reshape(tf.one_hot([4], 6), [1, *SHAPE])
        answer = loaded.signatures["serving_default"](images=image)
        assert answer["labels"].numpy().tolist() == [b"gnu"]
    other = export_saved_model(run, tmp_path / "other", list("abcdef"))
    assert card_of(other)["class_names"] == list("abcdef")
    (run / "data.json").write_text(json.dumps({"class_names": names[:3]}))
    assert card_of(export_saved_model(run, tmp_path / "few"))["class_names"] is None


def test_a_card_calls_files_by_the_name_of_their_folder(run, tmp_path):
    """Not by where they lie, whatever speaks of them."""
    name = "folder:/home/alice/photos:size=64"
    flags = FLAGS.replace("--dataset=cifar10_jpeg", f"--dataset={name}")
    (run / "run.flags").write_text(flags.replace("pgd:norm=2,eps=0.1", "off"))
    (run / "summary.json").write_text(json.dumps(SUMMARY | {"dataset": name}))
    flat().save(run / "model.keras")
    card = card_of(export_saved_model(run, tmp_path / "net"))
    assert card["training"]["dataset"] == card["data"]["dataset"] == "photos"
    parts = (card["accuracy"], card["geometry"], *card["robust_accuracy"])
    assert [part["dataset"] for part in parts] == 3 * ["photos"]
    assert "alice" not in json.dumps(card)
    model = {"name": "other", "path": str(tmp_path / "net" / "1")}
    accuracy = record("other", "accuracy", (0.25, 0.125), split="test")
    file = tmp_path / "numbers.json"
    content = evaluation(model, records=[accuracy]) | {"dataset": name}
    file.write_text(json.dumps(content))
    facts = facts_of(tmp_path / "net", file)
    assert facts.accuracy["mean"] == 0.25 and facts.accuracy["dataset"] == "photos"
