"""Numbers of an evaluation in the facts of a model."""

import json

import pytest

from export.facts import facts_of
from tests.export.cards import (
    estimate,
    evaluation,
    measured,
    record,
)


def test_an_evaluation_comes_before_the_summary(run):
    about = {"power_iterations": 10, "images_from": "/home/alice"}
    nothing = (float("nan"), float("nan"))
    facts = measured(
        run,
        record("other", "accuracy", (0.5, 0.125), 10000, split="test"),
        record("other", "accuracy", (0.25, 0.125), split="test", attacked=True),
        record("other", "curvature", (3.0, 0.125), 200, about, split="test"),
        record("other", "discrepancy", nothing, 200, of="curvature"),
        record("another", "curvature", (9.0, 0.125), 200, about, split="test"),
    )
    origin = {"dataset": "cifar10", "source": "evaluation"}
    assert facts.accuracy == estimate(0.5, images=10000) | origin
    # Records that do not say so were divided by the value on test images.
    discrepancy = facts.geometry.pop("discrepancy")["curvature"]
    assert discrepancy == {"mean": None, "standard_error": None, "relative_to": "test"}
    about = {"power_iterations": 10, "images": 200}
    assert facts.geometry == about | origin | {"test": {"curvature": estimate(3.0)}}
    # It has no attack, so the run's own stays.
    assert facts.robust_accuracy[0]["source"] == "training, held out"


def left(mean, eps, attack="PGD L2", threat_model="L2", rounded=False):
    """What an attack leaves of the model called "other"."""
    setting = {"attack": attack, "threat_model": threat_model, "eps": eps}
    about = {"attacks": [f"pgd:norm=2,eps={eps}"], "seed": 3, "dataset": "cifar10"}
    setting["rounded"] = rounded
    return record("other", "robust_accuracy", (mean, 0.125), 500, about, **setting)


@pytest.mark.parametrize(
    "records",
    [
        # One norm and several radii, as lcnn has them.
        [left(0.5, 0.05), left(0.75, 0.05, rounded=True), left(0.25, 0.1)],
        # Several norms, one radius each, as pag has them.
        [left(0.5, 0.05), left(0.25, 0.1, "PGD Linf 0.1", "Linf")],
        # Several attacks, as dissect has them.
        [left(0.5, 0.05), left(0.25, 0.1, "FGSM Linf 0.1", "Linf")],
    ],
    ids=["lcnn", "pag", "dissect"],
)
def test_each_suite_tells_of_robust_accuracy(run, records):
    """What was rounded is left out."""
    first, second = measured(run, *records).robust_accuracy
    assert first == {
        "attack": "PGD L2",
        "threat_model": "L2",
        "eps": 0.05,
        "specs": ["pgd:norm=2,eps=0.05"],
        "seed": 3,
        "images": 500,
        "dataset": "cifar10",
        "source": "evaluation",
        **estimate(0.5),
    }
    assert (second["eps"], second["mean"], second["images"]) == (0.1, 0.25, 500)


def test_the_judgement_of_the_suite_standard_is_told(run):
    """Not its checks, which are many; of another model not at all."""
    said = {"verdict": "Doubtful", "sentence": "Doubtful: 3 images", "checks": [1]}
    ball = {"threat_model": "Linf", "eps": 0.1}
    nothing = (float("nan"), float("nan"))
    facts = measured(
        run,
        record("another", "trustworthy", (1.0, float("nan")), 9, {}, **ball),
        record("other", "trustworthy", (0.0, float("nan")), 100, said, **ball),
        record("other", "curvature", nothing, 2, {}, split="test"),
    )
    assert facts.judgement == {
        "verdict": "Doubtful",
        "sentence": "Doubtful: 3 images",
        "threat_model": "Linf",
        "eps": 0.1,
        "images": 100,
        "dataset": "cifar10",
        "source": "evaluation",
    }


def test_an_evaluation_of_distortions_leaves_the_runs_own_robust_accuracy(run):
    """As of the suite smooth: success and distortion are no accuracy."""
    success = record("other", "success", (1.0, 0.125), attack="C&W", rounded=False)
    (kept,) = measured(run, success).robust_accuracy
    assert kept["source"] == "training, held out"


def test_an_evaluation_is_of_the_model_or_refused(run):
    other = {"name": "lcnn (best)", "path": "/elsewhere/best.keras"}
    moved = {"name": "lcnn", "path": "/elsewhere/model.keras"}
    file = run / "evaluation.json"
    accuracy = [
        record(model["name"], "accuracy", (0.5, 0.125), split="test")
        for model in (other, moved)
    ]
    file.write_text(json.dumps(evaluation(other, records=accuracy)))
    with pytest.raises(ValueError) as error:
        facts_of(run / "model.keras", file)
    assert str(error.value) == (
        "`evaluation` must be an evaluation.json with the model "
        f"{run / 'model.keras'}. Received: {file}, of lcnn (best)"
    )
    # One that lies there unasked is of another model, and not an error.
    assert facts_of(run / "model.keras").accuracy["source"] == "training"
    assert facts_of(run / "best.keras").accuracy["source"] == "evaluation"
    file.write_text(json.dumps(evaluation(moved, records=accuracy)))
    assert facts_of(run / "model.keras").accuracy["source"] == "evaluation"
    # Two of one name: neither.
    file.write_text(json.dumps(evaluation(moved, moved, records=accuracy)))
    assert facts_of(run / "model.keras").accuracy["source"] == "training"
    with pytest.raises(FileNotFoundError, match="`evaluation` must be an existing"):
        facts_of(run / "model.keras", run / "missing.json")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("no JSON", "Expecting value"),
        ("[1]", "it must have the format tfrobust-evaluation"),
        ('{"models": [3]}', "it must have the format tfrobust-evaluation"),
        (json.dumps(evaluation() | {"version": 2}), "Received: version 2"),
        (json.dumps(evaluation() | {"records": [3]}), "not subscriptable"),
    ],
    ids=["text", "list", "no format", "version", "no records"],
)
def test_a_file_that_is_no_evaluation_is_refused_with_the_reason(run, content, reason):
    """If it was named; one that lies there unasked is passed over."""
    file = run / "evaluation.json"
    file.write_text(content)
    with pytest.raises(ValueError) as error:
        facts_of(run / "model.keras", file)
    sentence = str(error.value)
    assert sentence.startswith(
        "`evaluation` must be an evaluation.json with the model "
        f"{run / 'model.keras'}. Received: {file}, of nothing ("
    )
    assert reason in sentence
    assert facts_of(run / "model.keras").accuracy["source"] == "training"


@pytest.mark.parametrize("models", [[3], 3, None])
def test_models_that_are_none_are_refused(run, models):
    """An evaluation whose list of models was damaged is not of this model."""
    file = run / "evaluation.json"
    file.write_text(json.dumps(evaluation() | {"models": models}))
    with pytest.raises(ValueError, match="`evaluation` must be an evaluation"):
        facts_of(run / "model.keras", file)


def test_a_kept_epoch_is_found_by_the_name_that_tables_give_it(run, tmp_path):
    """`RUN (epoch-001)`, though the run is one folder further out."""
    kept = run / "epochs" / "epoch-001.keras"
    name = f"{run.name} (epoch-001)"
    file = tmp_path / "evaluation.json"
    accuracy = record(name, "accuracy", (0.5, 0.125), split="test")
    content = evaluation({"name": name, "path": "/x"}, records=[accuracy])
    file.write_text(json.dumps(content))
    assert facts_of(kept, file).accuracy["mean"] == 0.5
