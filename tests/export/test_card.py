"""The model card: what it takes from where, and what it keeps to itself."""

import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import export_saved_model, saved_model
from export.card import FILE, Facts, facts_of, signatures_of
from export.signatures import Settings
from tests.export.test_other_process import export_each
from tfrobust import attacks, models
from tfrobust.cli.records import Evaluation, Record, Records
from tfrobust.core.estimates import Estimate

REPOSITORY = Path(__file__).resolve().parents[2]
SHAPE = (2, 3, 1)
FLAGS = """\
# Repeats this run:
#   python -m trainers.cifar --flagfile=THIS --workdir=NEW
--dataset=cifar10_jpeg
--data_dir=/home/alice/tfds
--train_examples=20000
--eval_examples=2000
--augment=crop_flip
--variant=lcnn
--width=16
--initial=/home/alice/runs/first/model.keras
--teacher=pretrained:cifar10_standard
--teacher_cache=~alice/cache
--judge=alice_run.keras
--curvature_absolute=false
--adversary=pgd:norm=2,eps=0.1
--gradient_norm=8/255
--decay_at=0.75,0.875
--watch_robust=500
--watch_steps=10
--tpu=
--note=
--logical_cpus=2
--workdir=/home/alice/runs/lcnn
"""
SUMMARY = {
    "dataset": "cifar10_jpeg",
    "test_accuracy": 0.75,
    "test_gradient_norm": 0.5,
    "held_out_robust_accuracy": 0.5,
    "best_held_out_robust_accuracy": 0.625,
    "versions": {"tensorflow": "2.20.0"},
}


def flat():
    return keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten()])


def estimate(mean, error=0.125, **more):
    return {"mean": mean, "standard_error": error, **more}


def record(model, quantity, value, images=500, about=None, **setting):
    """A record of an estimate `(mean, standard error)`."""
    return Record(model, quantity, setting, images, Estimate(*value), about=about or {})


def evaluation(*models, records=()):
    """The content of an evaluation of models with these names and paths."""
    about = {"dataset": "cifar10", "flags": ["--model=/home/alice/x"]}
    about["models"] = list(models)
    return Evaluation(about, Records(records)).to_json()


@pytest.fixture
def run(tmp_path):
    """A finished run; the model itself is not looked at."""
    folder = tmp_path / "lcnn"
    folder.mkdir()
    (folder / "run.flags").write_text(FLAGS)
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    (folder / "model.keras").touch()
    return folder


def measured(run, *records):
    """Facts after an evaluation with these records of a model called "other"."""
    model = {"name": "other", "path": str(run / "model.keras")}
    content = evaluation(model, records=records)
    (run / "elsewhere.json").write_text(json.dumps(content))
    return facts_of(run / "model.keras", run / "elsewhere.json")


def card_of(version):
    def never(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads((version / FILE).read_text(), parse_constant=never)


def test_a_model_on_its_own_has_no_facts(tmp_path):
    (tmp_path / "model.keras").touch()
    assert facts_of(tmp_path / "model.keras") == Facts()
    version = export_saved_model(flat(), tmp_path / "net")
    card = card_of(version)
    unknown = {"data", "training", "accuracy", "robust_accuracy", "geometry"}
    assert {name for name, value in card.items() if value is None} == unknown | {
        "class_names"
    }
    assert card["versions"]["training"] is None
    assert card["versions"]["export"]["tensorflow"] == tf.__version__
    assert card["versions"]["export"]["keras"] == keras.__version__
    assert (card["schema"], card["name"]) == (1, "net")


def test_a_run_tells_data_settings_and_its_own_numbers(run):
    facts = facts_of(run / "model.keras")
    assert facts.data == {
        "dataset": "cifar10_jpeg",
        "train_examples": 20000,
        "eval_examples": 2000,
        "augment": "crop_flip",
    }
    assert facts.training == {
        "dataset": "cifar10_jpeg",
        "train_examples": 20000,
        "eval_examples": 2000,
        "augment": "crop_flip",
        "variant": "lcnn",
        "width": 16,
        "initial": None,  # there was one, and where it lay is nobody's business
        "teacher": "pretrained:cifar10_standard",
        "judge": None,
        "curvature_absolute": False,
        "adversary": "pgd:norm=2,eps=0.1",
        "gradient_norm": "8/255",
        "decay_at": "0.75,0.875",
        "watch_robust": 500,
        "watch_steps": 10,
    }
    assert facts.accuracy == {
        "mean": 0.75,
        "standard_error": None,
        "images": 2000,
        "dataset": "cifar10_jpeg",
        "source": "training",
    }
    assert facts.robust_accuracy == [
        {
            "attack": "PGD L2",
            "threat_model": "L2",
            "eps": 0.1,
            "specs": ["pgd:norm=2,eps=0.1,steps=10"],
            "seed": None,
            "images": 500,
            "mean": 0.5,
            "standard_error": None,
            "dataset": "cifar10_jpeg",
            "source": "training, held out",
        }
    ]
    assert facts.geometry == {
        "test": {"gradient_norm": {"mean": 0.5, "standard_error": None}},
        "dataset": "cifar10_jpeg",
        "source": "training",
    }
    assert facts.versions == {"tensorflow": "2.20.0"}


def test_the_summary_tells_of_the_last_network_only(run):
    """The best and the kept ones have other weights."""
    best, kept = facts_of(run / "best.keras"), facts_of(run / "epoch_3.keras")
    for facts in (best, kept):
        assert facts.training["width"] == 16
        assert facts.accuracy is None and facts.geometry is None
    assert [one["mean"] for one in best.robust_accuracy] == [0.625]
    assert kept.robust_accuracy is None


def test_without_an_adversary_the_watch_looked_elsewhere(run):
    (run / "run.flags").write_text(FLAGS.replace("pgd:norm=2,eps=0.1", "off"))
    (watched,) = facts_of(run / "model.keras").robust_accuracy
    assert (watched["threat_model"], watched["eps"]) == ("Linf", 8 / 255)
    (spec,) = watched["specs"]
    assert attacks.parse(spec) == attacks.PGD(norm="inf", eps=8 / 255, steps=10)


def test_a_kept_epoch_is_found_by_the_name_that_tables_give_it(run, tmp_path):
    """`RUN (epoch-001)`, though the run is one folder further out."""
    kept = run / "epochs" / "epoch-001.keras"
    name = f"{run.name} (epoch-001)"
    file = tmp_path / "evaluation.json"
    accuracy = record(name, "accuracy", (0.5, 0.125), split="test")
    content = evaluation({"name": name, "path": "/x"}, records=[accuracy])
    file.write_text(json.dumps(content))
    assert facts_of(kept, file).accuracy["mean"] == 0.5


def test_a_summary_that_is_not_written_yet(run):
    """It tells of what was watched too, and the old one is passed over."""
    told = {"held_out_robust_accuracy": 0.75, "test_accuracy": 0.875}
    facts = facts_of(run / "model.keras", summary=told)
    assert [one["mean"] for one in facts.robust_accuracy] == [0.75]
    assert facts.accuracy["mean"] == 0.875 and facts.versions is None


def test_fractions_are_numbers_and_folders_are_nobodys_business(run):
    """A radius of 8/255, and runs that are named without a slash."""
    flags = FLAGS.replace("norm=2,eps=0.1", "norm=2,eps=8/255").replace(
        "--teacher=pretrained:cifar10_standard", "--teacher=alices_run"
    )
    (run / "run.flags").write_text(flags)
    facts = facts_of(run / "model.keras")
    assert facts.robust_accuracy[0]["eps"] == 8 / 255
    assert facts.training["adversary"] == "pgd:norm=2,eps=8/255"
    assert facts.training["teacher"] is None


def test_an_adversary_that_is_not_known_here(run):
    """Its ball is not known either, and no place in its settings is told."""
    own = "--adversary=alices:eps=0.1,file=/home/alice/patch.npz"
    flags = FLAGS.replace("--adversary=pgd:norm=2,eps=0.1", own)
    (run / "run.flags").write_text(flags)
    facts = facts_of(run / "model.keras")
    assert facts.robust_accuracy is None
    assert facts.training["adversary"] is None


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
    assert facts.geometry.pop("discrepancy")["curvature"]["standard_error"] is None
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
        record(one["name"], "accuracy", (0.5, 0.125), split="test")
        for one in (other, moved)
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
    told = str(error.value)
    assert told.startswith(
        "`evaluation` must be an evaluation.json with the model "
        f"{run / 'model.keras'}. Received: {file}, of nothing ("
    )
    assert reason in told
    assert facts_of(run / "model.keras").accuracy["source"] == "training"


@pytest.mark.parametrize("models", [[3], 3, None])
def test_models_that_are_none_are_refused(run, models):
    """An evaluation whose list of models was damaged is not of this model."""
    file = run / "evaluation.json"
    file.write_text(json.dumps(evaluation() | {"models": models}))
    with pytest.raises(ValueError, match="`evaluation` must be an evaluation"):
        facts_of(run / "model.keras", file)


def test_signatures_are_those_that_are_served(tmp_path):
    names = ("serving_default", "predict_bytes", "explain")
    version = export_saved_model(
        flat(), tmp_path / "net", list("abcdef"), signatures=names
    )
    found, loaded = card_of(version)["signatures"], tf.saved_model.load(version)
    assert set(found) == set(names)
    for name, function in loaded.signatures.items():
        both = (function.structured_input_signature[1], function.structured_outputs)
        for part, specs in zip(("inputs", "outputs"), both, strict=True):
            assert found[name][part] == {
                key: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}
                for key, spec in specs.items()
            }
    assert found == signatures_of(version)
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
    for told in ("alice", "home", str(run.parent), os.sep, ".keras"):
        assert told not in text.replace("8/255", ""), told


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


def test_imported_modules_are_not_told_of(run):
    """What a package is called is its owner's business."""
    (run / "run.flags").write_text("--import=alice_layers\n" + FLAGS)
    assert "import" not in facts_of(run).training
