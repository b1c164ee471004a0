"""The folder of a run: what is written when, and what a whole run leaves there."""

import csv
import json
import os
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfrobust.layers  # noqa: F401  All that loading a model may need.
import trainers
from tfrobust.cli import run_folder
from tfrobust.cli.program import UsageError
from tfrobust.cli.run_folder import RunFolder
from trainers.train import options

SMALL = ("--dataset=shapes", "--model=mlp")


def check(folder, config):
    lines = options.flag_lines(config)
    folder.check(lines, resume=config.resume, overwrite=config.overwrite)


def begin(folder, config):
    folder.begin(options.flag_lines(config), resume=config.resume)


def test_begin_writes_a_flagfile_of_the_run(parse, tmp_path):
    """`run.flags` parses to the same settings, and to the folder it is told."""
    config = parse(*SMALL, "--seed=5", f"--workdir={tmp_path}/a/b")
    folder = RunFolder(config.workdir)
    check(folder, config)
    begin(folder, config)
    assert [path.name for path in folder.path.iterdir()] == ["run.flags"]
    again = parse(f"--flagfile={folder.flags}", f"--workdir={config.workdir}")
    assert again == config
    text = folder.flags.read_text()
    assert f"# tensorflow {tf.__version__}\n" in text
    assert str(tmp_path) not in text


def test_overwrite_removes_the_run_and_nothing_else(parse, tmp_path, snapshot):
    """Everything a run writes goes; a note beside it stays, links' targets too."""
    config = parse(*SMALL, f"--workdir={tmp_path}/run", "--overwrite")
    folder = RunFolder(config.workdir)
    begin(folder, parse(*SMALL, "--seed=9"))
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "ckpt-1.index").write_text("kept")
    folder.checkpoints.symlink_to(tmp_path / "big")
    for path in (folder.tensorboard, folder.saved_model / "1", folder.epochs):
        path.mkdir(parents=True)
        (path / "old").write_text("old")
    written = folder.metrics, folder.model, folder.best, folder.curves, folder.summary
    for path in written:
        path.write_text("old")
    (folder.path / "notes").mkdir()
    (folder.path / "notes" / "a.txt").write_text("mine")
    check(folder, config)
    begin(folder, config)
    left = snapshot(folder.path)
    assert set(left) == {"run.flags", "notes", "notes/a.txt"}
    assert left["notes/a.txt"] == b"mine"
    assert b"--seed=0\n" in left["run.flags"]
    assert snapshot(tmp_path / "big") == {"ckpt-1.index": b"kept"}


def test_resume_removes_unfinished_results_only(parse, tmp_path, snapshot):
    """A run killed while exporting keeps all it learnt and exports again."""
    config = parse(*SMALL, f"--workdir={tmp_path}/run")
    folder = RunFolder(config.workdir)
    begin(folder, config)
    for path in (folder.checkpoints, folder.epochs):
        path.mkdir()
    (folder.epochs / "epoch-001.keras").write_text("kept")
    folder.metrics.write_text("epoch\n1\n")
    folder.best.write_text("the best so far")
    before = snapshot(folder.path)
    (folder.saved_model / ".exporting-x").mkdir(parents=True)
    folder.model.write_text("half")
    again = parse(*SMALL, f"--workdir={tmp_path}/run", "--resume")
    check(folder, again)
    begin(folder, again)
    assert snapshot(folder.path) == before


def test_killed_before_its_first_file(parse, tmp_path):
    """An empty folder, or one with a half-written flagfile, is free to begin in."""
    config = parse(*SMALL, f"--workdir={tmp_path}/run")
    folder = RunFolder(config.workdir)
    folder.path.mkdir()
    check(folder, config)
    (folder.path / "run.partial.flags").write_text("--data")
    check(folder, config)
    begin(folder, config)
    assert [path.name for path in folder.path.iterdir()] == ["run.flags"]


def test_home_is_expanded(monkeypatch, tmp_path):
    """`--workdir=~/run`, which a shell does not expand, is below the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunFolder("~/run").path == tmp_path / "run"


def test_files_are_replaced_whole(monkeypatch, tmp_path):
    """Until the new text is complete, the old one is there."""
    path = tmp_path / "a.json"
    run_folder.write_json(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run_folder.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}


def test_json_files_are_strict(tmp_path):
    """NaN, which only some readers take, is null."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    path = tmp_path / "a.json"
    content = {"b": float("nan"), "a": [np.float32(0.5), -np.inf]}
    run_folder.write_json(path, content)
    written = json.loads(path.read_text(), parse_constant=refuse)
    assert written == {"b": None, "a": [0.5, None]} and list(written) == ["b", "a"]
    run_folder.write_json(path, content, sort_keys=True)
    assert list(json.loads(path.read_text())) == ["a", "b"]
    with pytest.raises(TypeError, match="not JSON serializable"):
        run_folder.write_json(path, {"a": path})
    run_folder.write_json(path, {"a": path}, default=lambda _: None)
    assert json.loads(path.read_text()) == {"a": None}


def test_missing_flag_in_an_older_run(parse, tmp_path):
    """A run of a version that knew fewer flags is not resumed by guesswork."""
    config = parse(*SMALL, f"--workdir={tmp_path}/run", "--resume")
    folder = RunFolder(config.workdir)
    begin(folder, parse(*SMALL))
    lines = folder.flags.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("--momentum")]
    folder.flags.write_text("\n".join(kept))
    with pytest.raises(UsageError, match=r"Received: --momentum=0\.9"):
        check(folder, config)


# What one whole run, in a process of its own, left behind.


def table(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_promised_file_is_there(finished_run):
    """All files of the trainer's help, and nothing else."""
    folder, _ = finished_run
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [
            "run.flags",
            "data.json",
            "metrics.csv",
            "tensorboard",
            "checkpoints",
            "model.keras",
            "saved_model",
            "curves.png",
            "summary.json",
        ]
    )
    assert [path.name for path in (folder / "saved_model").iterdir()] == ["1"]
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    kept = (folder / "checkpoints").glob("*.index")
    assert sorted(path.stem for path in kept) == ["ckpt-3", "ckpt-4"]


@pytest.mark.slow
def test_output_says_what_next(finished_run):
    """The last lines point at what was written."""
    folder, ended = finished_run
    assert str(folder) in ended.out
    for name in ("curves.png", "tensorboard", "saved_model"):
        assert f"{folder}/{name}" in ended.out
    assert f"tfrobust export --model={folder} --out=served/NAME" in ended.out
    # Values of single layers are for files.
    assert "beta/" not in ended.out and "val " in ended.out


@pytest.mark.slow
def test_no_path_of_this_machine_is_written(finished_run):
    """Nothing in flags or summary tells where the run was made."""
    folder, _ = finished_run
    for name in ("run.flags", "summary.json"):
        text = (folder / name).read_text()
        values = re.sub(r"THIS|NEW|--\w+=|\"\w+\":|#.*", "", text)
        assert "/" not in values, name


def events(folder):
    """`{tag: {step: value}}` of every event file below a folder."""
    scalars = {}
    for path in sorted(folder.glob("*.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    number = float(tf.make_ndarray(value.tensor))
                    scalars.setdefault(value.tag, {})[event.step] = number
    return scalars


@pytest.mark.slow
def test_every_beta_and_gamma_is_followed(finished_run):
    """Each has a CSV column and a TensorBoard scalar, equal in every epoch; the last
    row holds the values of the saved network.
    """
    from tfrobust import models

    folder, _ = finished_run
    network = keras.saving.load_model(folder / "model.keras")
    now = {f"beta/{name}": value for name, value in models.betas(network).items()}
    now |= {f"gamma/{name}": value for name, value in models.gammas(network).items()}
    assert len(now) == 8 + 8
    rows = table(folder)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    columns = [name for name in rows[0] if name.startswith(("beta/", "gamma/"))]
    assert sorted(columns) == sorted(now)
    scalars = events(folder / "tensorboard" / "train")
    for name, value in now.items():
        values = [float(row[name]) for row in rows]
        assert values[-1] == pytest.approx(value, rel=1e-6)
        assert len(set(values)) == 4, "it does not move"
        # TensorBoard keeps float32.
        assert list(scalars[f"epoch_{name}"]) == [0, 1, 2, 3]
        np.testing.assert_allclose(
            list(scalars[f"epoch_{name}"].values()), values, rtol=1e-6
        )


@pytest.mark.slow
def test_tensorboard_follows_training_and_test(finished_run):
    """Losses and accuracies of both are scalars and equal the table."""
    folder, _ = finished_run
    rows = table(folder)
    for split, column in (("train", ""), ("validation", "val_")):
        scalars = events(folder / "tensorboard" / split)
        for name in ("accuracy", "cross_entropy", "loss"):
            values = [float(row[column + name]) for row in rows]
            logged = list(scalars[f"epoch_{name}"].values())
            np.testing.assert_allclose(logged, values, rtol=1e-6)


@pytest.mark.slow
def test_summary_equals_the_last_row_and_a_new_evaluation(finished_run):
    """Its numbers are the table's, and the saved model reaches them again."""
    from tfrobust import data

    folder, _ = finished_run
    summary = json.loads((folder / "summary.json").read_text())
    rows = table(folder)
    for name, column in {
        "epochs": "epoch",
        "test_accuracy": "val_accuracy",
        "test_loss": "val_loss",
        "train_accuracy": "accuracy",
        "test_gradient_norm": "val_gradient_norm",
    }.items():
        assert summary[name] == float(rows[-1][column]), name
    for mean, family in (("mean_beta", "beta/"), ("mean_gamma", "gamma/")):
        values = [float(v) for k, v in rows[-1].items() if k.startswith(family)]
        assert summary[mean] == pytest.approx(np.mean(values), rel=1e-6)
    seconds = [float(row["seconds"]) for row in rows[1:]]
    assert summary["seconds_per_epoch_median"] == np.median(seconds)

    network = keras.saving.load_model(folder / "model.keras")
    assert summary["parameters"] == sum(
        int(np.prod(w.shape)) for w in network.trainable_variables
    )
    test = data.load("shapes", "test").take(50)
    images = tf.constant(test.images, tf.float32) / 255
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = network(images, training=False)
        losses = keras.losses.sparse_categorical_crossentropy(
            test.labels, logits, from_logits=True
        )
    gradient = tape.gradient(losses, images).numpy().reshape(50, -1)
    hit = np.argmax(logits, axis=1) == test.labels
    assert summary["test_accuracy"] == pytest.approx(hit.mean(), abs=1e-6)
    # The last evaluation precedes one more tightening of the spectral norms.
    assert summary["test_loss"] == pytest.approx(np.mean(losses), rel=1e-3)
    norm = np.linalg.norm(gradient, axis=1).mean()
    assert summary["test_gradient_norm"] == pytest.approx(norm, rel=1e-2)
    # The card of the exported model was written before the summary.
    path = folder / "saved_model" / "1" / "assets.extra" / "model_card.json"
    card = json.loads(path.read_text())
    assert card["accuracy"]["mean"] == summary["test_accuracy"]
    assert card["training"]["width"] == 2 and card["data"]["dataset"] == "shapes"


@pytest.mark.slow
def test_model_loads_with_the_layers_alone(finished_run, tmp_path):
    """`import tfrobust.layers` is enough, in safe mode, away from the repository; the
    SavedModel answers the same to float32 accuracy.
    """
    import subprocess
    import sys

    folder, _ = finished_run
    code = (
        "import sys, numpy, keras, tfrobust.layers\n"
        "network = keras.saving.load_model(sys.argv[1], safe_mode=True)\n"
        "absent = ('trainers', 'export', 'tfrobust.training', 'tfrobust.models')\n"
        "assert not set(absent) & set(sys.modules), sys.modules\n"
        "images = numpy.random.default_rng(0).random((5, 32, 32, 3), 'float32')\n"
        "numpy.save(sys.argv[2], network.predict(images, verbose=0))\n"
    )
    out = tmp_path / "logits.npy"
    repository = str(Path(trainers.__file__).parents[1])
    subprocess.run(
        [sys.executable, "-c", code, folder / "model.keras", out],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": repository},
    )
    images = np.random.default_rng(0).random((5, 32, 32, 3), "float32")
    served = tf.saved_model.load(str(folder / "saved_model" / "1"))
    answer = served.signatures["serving_default"](images=tf.constant(images))
    np.testing.assert_allclose(answer["logits"], np.load(out), atol=1e-5)
    assert set(answer) == {"logits", "probabilities", "classes", "labels"}
    names = {label.decode() for label in answer["labels"].numpy()}
    assert names <= {
        "circle",
        "ring",
        "square",
        "triangle",
        "star",
        "heart",
        "cross",
        "crescent",
        "arrow",
        "hourglass",
    }
