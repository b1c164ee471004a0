"""The model card: what is in it, and that nothing else is."""

import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import export_saved_model, saved_model
from export.card import FILE, Facts, signatures_of, write_card
from export.facts import facts_of
from export.signatures import Settings
from tests.export.cards import (
    SUMMARY,
    card_of,
    evaluation,
    flat,
    record,
)
from tests.export.test_other_process import export_each
from tfrobust import attacks

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_model_on_its_own_has_no_facts(tmp_path):
    (tmp_path / "model.keras").touch()
    assert facts_of(tmp_path / "model.keras") == Facts()
    version = export_saved_model(flat(), tmp_path / "net")
    card = card_of(version)
    unknown = {"data", "training", "accuracy", "robust_accuracy"}
    unknown |= {"geometry", "judgement"}
    assert {name for name, value in card.items() if value is None} == unknown | {
        "class_names"
    }
    assert card["versions"]["training"] is None
    assert card["versions"]["export"]["tensorflow"] == tf.__version__
    assert card["versions"]["export"]["keras"] == keras.__version__
    assert (card["schema"], card["name"]) == (1, "net")


def test_signatures_are_those_that_are_served(tmp_path):
    names = ("serving_default", "predict_bytes", "explain")
    version = export_saved_model(
        flat(), tmp_path / "net", list("abcdef"), signatures=names
    )
    described, loaded = card_of(version)["signatures"], tf.saved_model.load(version)
    assert set(described) == set(names)
    for name, function in loaded.signatures.items():
        both = (function.structured_input_signature[1], function.structured_outputs)
        for part, specs in zip(("inputs", "outputs"), both, strict=True):
            assert described[name][part] == {
                key: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}
                for key, spec in specs.items()
            }
    assert described == signatures_of(version)
    assert card_of(version)["class_names"] == list("abcdef")


def test_an_output_of_any_rank_has_no_shape(tmp_path):
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec(None, tf.int32, "x")])
    def echo(x):
        return {"y": x}

    module.echo = echo
    tf.saved_model.save(module, str(tmp_path), {"echo": echo})
    tensor = {"dtype": "int32", "shape": None}
    assert signatures_of(tmp_path) == {
        "echo": {"inputs": {"x": tensor}, "outputs": {"y": tensor}}
    }


def test_the_card_is_strict_sorted_and_tells_of_no_place(run, monkeypatch):
    flat().save(run / "model.keras")
    content = SUMMARY | {"test_accuracy": float("nan"), "path": "/home/alice/secret"}
    (run / "summary.json").write_text(json.dumps(content))
    publish, seen = saved_model._publish, []

    def watched(written, *rest):
        seen.append((written / FILE).read_text())
        return publish(written, *rest)

    monkeypatch.setattr(saved_model, "_publish", watched)
    attack = attacks.PGD(norm="inf", eps=np.float32(0.5), steps=3)
    version = export_saved_model(
        run / "model.keras", run / "net", settings=Settings(attack=attack, alpha=0.5)
    )
    text = (version / FILE).read_text()
    # It was there before a server could see the version.
    assert seen == [text]
    card = card_of(version)
    assert text == json.dumps(card, indent=2, sort_keys=True) + "\n"
    assert card["accuracy"]["mean"] is None
    assert card["training"]["width"] == 16
    assert card["serving"]["attack"]["method"] == "PGD"
    assert card["serving"]["attack"]["eps"] == 0.5
    assert (card["serving"]["alpha"], card["serving"]["folded"]) == (0.5, True)
    for secret in ("alice", "home", str(run.parent), os.sep, ".keras"):
        assert secret not in text.replace("8/255", ""), secret


def test_an_object_among_the_settings_of_an_attack_is_null(tmp_path):
    version = export_saved_model(flat(), tmp_path / "net")
    serving = {"attack": {"method": "Own", "loss": object(), "eps": np.float32(0.5)}}
    write_card(version, "net", Facts(), serving=serving)
    attack = card_of(version)["serving"]["attack"]
    assert attack == {"method": "Own", "loss": None, "eps": 0.5}


def test_every_field_is_documented(tmp_path):
    text = (REPOSITORY / "docs" / "SERVING.md").read_text()
    card = card_of(export_saved_model(flat(), tmp_path / "net"))
    for name in card:
        assert f"| `{name}` |" in text, name
    (line,) = (line for line in text.splitlines() if line.startswith("| `serving` |"))
    for name in card["serving"]:
        assert f"`{name}`" in line, name


@pytest.mark.slow
def test_command_line(run):
    flat().save(run / "model.keras")
    file = run / "numbers.json"
    accuracy = record("lcnn", "accuracy", (0.25, 0.125), split="test")
    model = {"name": "lcnn", "path": "gone"}
    file.write_text(json.dumps(evaluation(model, records=[accuracy])))

    given = [f"--model={run}/model.keras", f"--out={run}/net"]
    few = [*given, "--signatures=serving_default,explain"]
    first, second, failed = export_each(
        [*few, f"--evaluation={file}"],
        [*few, "--nowarmup"],
        [*given, f"--evaluation={run}/missing.json"],
    )
    assert [first[0], second[0]] == [0, 0], first[2] + second[2]
    assert failed[:2] == [2, ""]
    assert failed[2].startswith("error: --evaluation must be an existing file. Recei")
    versions = sorted((run / "net").iterdir())
    assert [path.name for path in versions] == ["1", "2"]
    first, second = map(card_of, versions)
    assert (first["accuracy"]["mean"], second["accuracy"]["mean"]) == (0.25, 0.75)
    warm = [path / "assets.extra/tf_serving_warmup_requests" for path in versions]
    assert [path.exists() for path in warm] == [True, False]
    assert len(list(tf.data.TFRecordDataset(str(warm[0])))) == 2
