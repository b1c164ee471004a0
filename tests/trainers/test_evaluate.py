"""Evaluations: refused in one sentence, or right to the last digit."""

import contextlib
import csv
import io
import json
import re
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import trainers
from export.saved_model import export_saved_model
from export.signatures import Settings
from tests.trainers.programs import defined_flags
from tfrobust import attacks, data, models
from tfrobust.cli import flags as cli_flags
from tfrobust.cli import program
from tfrobust.cli.flagfiles import expand_flagfiles
from tfrobust.cli.loading import load_classifier
from tfrobust.training import RobustModel
from trainers import evaluate
from trainers.suites import options as evaluate_options
from trainers.suites import samples as evaluate_data
from trainers.suites.lcnn import measure as lcnn_suite

FLAGS = Path(trainers.__file__).parent / "flags" / "evaluate_lcnn.flags"
SMALL = ("--dataset=shapes", "--examples=24", "--geometry_examples=8",
         "--clean_examples=50", "--batch_size=10", "--steps=3", "--seed=5")  # fmt: skip
EPS = ("0.5", "8/255", "1.5")


class Ended(NamedTuple):
    """How a program ended."""

    code: int
    out: str
    err: str

    @property
    def error(self):
        """The one sentence that a refused program may leave."""
        assert self.code == 2 and "Traceback" not in self.err, self
        told = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(told) == 1 and self.err.splitlines()[-1] == told[0], self.err
        return told[0].removeprefix("error: ")


def call(*arguments):
    """`trainers.evaluate` in this process, from its flags to its end."""
    out, err = io.StringIO(), io.StringIO()
    code, argv = 0, sys.argv
    sys.argv = ["evaluate", *map(str, arguments)]
    with (
        defined_flags(evaluate_options.define_flags),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            program.run(evaluate.main, lambda: cli_flags.grouped_help(evaluate.__doc__))
        except SystemExit as stop:
            code = stop.code
        finally:
            sys.argv = argv
    return Ended(code, out.getvalue(), err.getvalue())


def parse(*arguments):
    with defined_flags(evaluate_options.define_flags) as flags:
        given = expand_flagfiles(list(map(str, arguments)))
        assert flags(["evaluate", *given]) == ["evaluate"]
        return evaluate_options.config_from_flags()


def mlp(seed, shape=(32, 32, 3), classes=10, variant="standard"):
    keras.utils.set_random_seed(seed)
    return models.MLP(shape, classes, variant, hidden=(16,))


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A run that was trained on 30 images, its export, another network, misfits."""
    folder = tmp_path_factory.mktemp("models")
    run = folder / "first"
    run.mkdir()
    flags = "--dataset=shapes\n--train_examples=30\n--seed=2\n"
    (run / "run.flags").write_text(flags)
    network = mlp(1, variant="lcnn")
    network.save(run / "model.keras")
    export_saved_model(network, folder / "served" / "net")
    mlp(2).save(folder / "second.keras")
    mlp(3, shape=(28, 28, 3)).save(folder / "small.keras")
    mlp(4, classes=7).save(folder / "seven.keras")
    (folder / "text.keras").write_text("no model")
    (folder / "held").mkdir()
    (folder / "held" / "thesis.tex").write_text("years of work")
    (folder / "started").mkdir()
    (folder / "started" / "run.flags").write_text(flags)
    return folder


MODEL = "--model={p}/first"
CASES = {
    "no model": ([], r"--model must be given at least once: a \.keras file, a Saved"),
    "no module": (
        [MODEL, "--import=no.such"],
        r"--import=no\.such cannot be imported: No module named 'no'",
    ),
    "missing model": (["--model={p}/none"], r"--model=.*/none does not exist\."),
    "no model file": (["--model={p}/text.keras"], r"is no Keras model that loads"),
    "no model folder": (["--model={p}/held"], r"holds no model: neither"),
    "unfinished run": (["--model={p}/started"], r"it has not finished\."),
    "second model": ([MODEL, "--model={p}/none"], r"--model=.*/none does not exist\."),
    "image size": (
        ["--model={p}/small.keras"],
        r"--model=.*small\.keras takes images \[28, 28, 3\], but those of shapes are "
        r"\[32, 32, 3\]\.",
    ),
    "classes": (
        [MODEL, "--model={p}/seven.keras"],
        r"--model=.*seven\.keras tells 7 classes apart, but shapes has 10\.",
    ),
    "same name": (
        [MODEL, "--model={p}/first/model.keras"],
        r"Two models would both be called 'first'; give each a --name\.",
    ),
    "names": (
        [MODEL, "--name=a", "--name=b"],
        r"--name must be given once for each of the 1 models .*Received: 2 names",
    ),
    "name twice": (
        [MODEL, "--model={p}/second.keras", "--name=a", "--name=a"],
        r"--name must be a name of its own for each model\. Received: 'a', 'a'",
    ),
    "name empty": ([MODEL, "--name="], r"--name must be a name of its own"),
    "eps negative": (
        [MODEL, "--eps=0.1,-0.1"],
        r"--eps must be numbers of at least 0, .* Received: '-0\.1'",
    ),
    "eps a word": ([MODEL, "--eps=small"], r"--eps must be .* Received: 'small'"),
    "eps over 0": ([MODEL, "--eps=8/0"], r"--eps must be .* Received: '8/0'"),
    "eps nan": ([MODEL, "--eps=nan"], r"--eps must be .* Received: 'nan'"),
    "eps infinite": ([MODEL, "--eps=inf"], r"--eps must be .* Received: 'inf'"),
    "eps huge": ([MODEL, "--eps=1e999"], r"--eps must be .* Received: '1e999'"),
    "eps empty": ([MODEL, "--eps="], r"--eps must be .* Received: ''"),
    "steps": ([MODEL, "--steps=0"], r"flag --steps=0: "),
    "restarts": ([MODEL, "--restarts=0"], r"flag --restarts=0: "),
    "norm": ([MODEL, "--norm=3"], r"flag --norm=3: .*<2\|inf\|1>"),
    "suite": (
        [MODEL, "--suite=none"],
        r"flag --suite=none: .*<lcnn\|smooth\|pag\|dissect>",
    ),
    "seed": ([MODEL, "--seed=-1"], r"flag --seed=-1: "),
    "batch": ([MODEL, "--batch_size=0"], r"flag --batch_size=0: "),
    "examples 0": ([MODEL, "--examples=0"], r"flag --examples=0: "),
    "geometry 0": ([MODEL, "--geometry_examples=1"], r"flag --geometry_examples=1: "),
    "iterations": ([MODEL, "--power_iterations=0"], r"flag --power_iterations=0: "),
    "examples": (
        [MODEL, "--examples=2001"],
        r"--examples=2001 is more than the 2000 images in the test split of shapes\.",
    ),
    "clean examples": (
        [MODEL, "--clean_examples=2001"],
        r"--clean_examples=2001 is more than the 2000 images in the test split",
    ),
    "geometry examples": (
        [MODEL, "--geometry_examples=2001"],
        r"--geometry_examples=2001 is more than the 2000 images in the test split",
    ),
    "data set": ([MODEL, "--dataset=cifar11"], r"--dataset=cifar11: `name` must be"),
    "data folder": (
        [MODEL, "--dataset=mnist", "--data_dir={p}/none"],
        r"--dataset=mnist: `data_dir` must be an existing folder",
    ),
    "out holds files": (
        [MODEL, "--out={p}/held"],
        r"--out=.*/held already holds files; choose another folder, or replace an",
    ),
    "out holds others' files": (
        [MODEL, "--out={p}/held", "--overwrite"],
        r"--out=.*/held holds files but no evaluation\.json, so --overwrite will not",
    ),
    "out is a file": (
        [MODEL, "--out={p}/second.keras"],
        r"--out=.*second\.keras is a file, not a folder\.",
    ),
    "out below a file": (
        [MODEL, "--out={p}/second.keras/a/b"],
        r"--out=.* cannot be written: .*second\.keras is not a folder",
    ),
    "stray": ([MODEL, "runs/a"], r"Unexpected argument 'runs/a'"),
    "unknown flag": ([MODEL, "--step=3"], r"Unknown command line flag 'step'"),
}


@pytest.mark.parametrize("name", CASES)
def test_refused(places, monkeypatch, snapshot, name):
    """One sentence, exit code 2, before data is loaded; nothing is written."""
    flags, expected = CASES[name]

    def load(*_):
        raise AssertionError("data would be loaded, perhaps downloaded, by now")

    monkeypatch.setattr(evaluate_data, "load", load)
    before = snapshot(places)
    flags = [flag.format(p=places) for flag in flags]
    ended = call("--dataset=shapes", f"--out={places}/out", *flags)
    assert re.search(expected, ended.error), ended.error
    assert ended.out == "" and snapshot(places) == before


def test_a_model_without_gradient_is_refused(places, tmp_path, monkeypatch):
    """Found only when it is attacked, and told in one sentence as well."""
    module = tf.Module()

    def step(images):
        return {"logits": tf.tile(tf.round(images[:, 0, 0, :1]), [1, 10])}

    spec = tf.TensorSpec([None, 32, 32, 3], tf.float32, name="images")
    module.run = tf.function(step, input_signature=[spec])
    signature = module.run.get_concrete_function()
    path = str(tmp_path / "flat")
    tf.saved_model.save(module, path, {"serving_default": signature})
    ended = call(*SMALL, f"--model={path}", f"--out={tmp_path}/out")
    assert re.search(r"--model=.*/flat: ", ended.error), ended.error
    assert not (tmp_path / "out").exists()


def test_a_served_model_that_takes_fewer_images(tmp_path):
    """Is told of in one sentence that names the flag, not by a traceback."""
    few = Settings(max_batch=10)
    folder = export_saved_model(mlp(1), tmp_path / "few", settings=few)
    out = tmp_path / "out"
    ended = call(*SMALL, "--batch_size=50", f"--model={folder}", f"--out={out}")
    told = (
        r"--model=.*few.* refused its images, --batch_size=50 at a time: .*at most 10"
    )
    assert re.search(told, ended.error) and not out.exists(), ended.error


def test_radii():
    """Fractions, repetitions and several flags; rising, and as they were written."""
    found = evaluate_options.parse_eps(["0.1, 8/255", "1e-2", "0.10"])
    assert [(eps.value, eps.text) for eps in found] == [
        (0.01, "1e-2"), (8 / 255, "8/255"), (0.1, "0.1"),
    ]  # fmt: skip
    assert parse("--model=a", "--eps=0", "--eps=2").eps[0].value == 0.0


def test_flags_repeat_the_evaluation():
    """`flag_lines` read back gives the same settings."""
    config = parse("--import=c.d", "--import=e", "--model=a", "--model=b c",
                   "--name=x", "--name=y,z", "--norm=inf",
                   "--eps=8/255,0.1", "--restarts=3", "--dataset=mnist")  # fmt: skip
    again = parse(*evaluate_options.flag_lines(config))
    assert again == config and config.out == "runs/evaluation-mnist"


def test_papers_flagfile():
    """L2 PGD at the four radii of Table 2; a model may be given beside it."""
    config = parse(f"--flagfile={FLAGS}", "--model=a")
    assert [eps.value for eps in config.eps] == [0.05, 0.1, 0.15, 0.2]
    assert (config.suite, config.norm_name, config.steps) == ("lcnn", "L2", 20)


def test_help_names_every_flag():
    """Each with its default, under its group."""
    ended = call("--help")
    assert (ended.code, ended.err) == (0, "")
    for field in evaluate_options.EvaluateConfig.__dataclass_fields__:
        field = {"imports": "import"}.get(field, field)
        assert len(re.findall(rf"^  --{field}\b.*default ", ended.out, re.M)) == 1
    assert max(map(len, ended.out.splitlines())) <= 88


def test_samples_know_where_their_images_stand():
    """The position leads back to the image, also through a subset of a subset."""
    test = data.load("shapes", "test")
    large, small = (evaluate_data.draw(test, count, 3) for count in (40, 15))
    np.testing.assert_array_equal(test.images[large.index], large.images.images)
    np.testing.assert_array_equal(large.index[:15], small.index)
    assert len(set(large.index.tolist())) == 40


def test_training_images_are_some_that_the_run_has_seen(places):
    """Those of its subset; of any model whose training is unknown, from all."""
    train = data.load("shapes", "train")
    config = parse("--model=a", *SMALL)
    run = load_classifier(places / "first")
    sample = evaluate_data.training_sample(run, train, config)
    np.testing.assert_array_equal(train.images[sample.index], sample.images.images)
    seen = {image.tobytes() for image in train.subset(30, 2).images}
    assert {image.tobytes() for image in sample.images.images} <= seen
    assert sample.origin == "the 30 images it was trained on"
    stranger = load_classifier(places / "second.keras")
    sample = evaluate_data.training_sample(stranger, train, config)
    drawn = evaluate_data.draw(train, 8, 5)
    np.testing.assert_array_equal(sample.index, drawn.index)
    assert sample.origin == "all training images"


@pytest.fixture(scope="module")
def evaluated(places, tmp_path_factory):
    """The folder of an evaluation of a run, its export and another network."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    keras.utils.set_random_seed(0)
    ended = call(*SMALL, *(f"--eps={eps}" for eps in EPS), f"--model={places}/first",
                 f"--model={places}/served/net", f"--model={places}/second.keras",
                 f"--out={out}")  # fmt: skip
    assert ended.code == 0, ended.err
    return out, ended


@pytest.fixture(scope="module")
def examples(evaluated):
    """`examples[model, split]`: the columns of per_example.csv, floats or NaN."""
    with open(evaluated[0] / "per_example.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for key in {(row["model"], row["split"]) for row in rows}:
        mine = [row for row in rows if (row["model"], row["split"]) == key]
        found[key] = {
            title: np.array([float(row[title] or "nan") for row in mine])
            for title in mine[0]
            if title not in ("model", "split")
        }
    return found


@pytest.fixture(scope="module")
def means(evaluated):
    """`means[model, quantity, setting]`: (mean, standard error) of evaluation.csv."""
    with open(evaluated[0] / "evaluation.csv", newline="") as file:
        return {
            (row["model"], row["quantity"], row["setting"]): (
                float(row["mean"] or "nan"),
                float(row["standard error"] or "nan"),
            )
            for row in csv.DictReader(file)
        }


@pytest.mark.slow
def test_the_same_network_in_two_forms(means):
    """A `.keras` file and its SavedModel agree in all that both can be asked."""
    quantities = [key[1:] for key in means if key[0] == "first"]
    assert len(quantities) == 2 + 2 * 3 + 3 + 3 + 2 + 2 * len(lcnn_suite.RADII)
    for key in quantities:
        # The export refuses images outside [0, 1], where noise leads.
        if key[0] == "gradient_stability":
            assert np.isnan(means["net", *key]).all()
        elif key[1] != "train" and key[1] != "discrepancy":
            np.testing.assert_allclose(
                means["first", *key], means["net", *key], rtol=1e-3
            )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["first", "second"])
def test_accuracy_is_that_of_the_network(means, examples, places, name):
    """Counted anew with NumPy, on the first images and on those attacked."""
    network = load_classifier(places / f"{name}{'' if name == 'first' else '.keras'}")
    test = data.load("shapes", "test")
    pixels = test.images.astype(np.float32) / 255
    correct = np.argmax(network.call.predict(pixels, verbose=0), -1) == test.labels
    share = correct[:50].mean()
    expected = (share, np.sqrt(share * (1 - share) / 49))
    np.testing.assert_allclose(means[name, "accuracy", "clean"], expected)
    found = examples[name, "test"]
    index = found["index"].astype(int)
    np.testing.assert_array_equal(found["label"], test.labels[index])
    np.testing.assert_array_equal(found["clean_correct"], correct[index])
    np.testing.assert_allclose(
        means[name, "accuracy", "unattacked"][0], correct[index].mean()
    )


@pytest.mark.slow
@pytest.mark.parametrize("rounded", ["", " rounded"])
@pytest.mark.parametrize("name", ["first", "net", "second"])
def test_robust_accuracy_counts_what_any_smaller_attack_found(
    means, examples, name, rounded
):
    """Recomputed from the single images; it never rises with eps."""
    found = examples[name, "test"]
    left, before = found["clean_correct"] == 1, 1.0
    for eps in sorted(EPS, key=lambda text: evaluate_options.parse_eps([text])[0]):
        assert np.nanmax(found[f"distortion at eps {eps}"]) <= (
            evaluate_options.parse_eps([eps])[0].value * (1 + 1e-5)
        )
        left = left & (found[f"success{rounded} at eps {eps}"] == 0)
        quantity = "accuracy_rounded" if rounded else "accuracy"
        mean, _ = means[name, quantity, f"eps {eps}"]
        np.testing.assert_allclose(mean, left.mean())
        assert mean <= before
        before = mean


@pytest.mark.slow
def test_success_is_what_the_attack_alone_finds(examples, places):
    """PGD called on the very images, all in one batch, finds the same."""
    found = examples["second", "test"]
    test = data.load("shapes", "test")
    index = found["index"].astype(int)
    images = test.images[index].astype(np.float32) / 255
    network = load_classifier(places / "second.keras").call
    result = attacks.PGD(norm=2, eps=1.5, steps=3, seed=5)(
        network, images, test.labels[index]
    )
    np.testing.assert_array_equal(found["success at eps 1.5"], result.success)
    np.testing.assert_allclose(
        found["distortion at eps 1.5"], result.distortion, rtol=1e-4, atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("split", ["test", "train"])
def test_geometry_is_that_of_the_images_named(means, examples, places, split):
    """The gradient norm of each image, by the definition."""
    found = examples["first", split]
    kept = ~np.isnan(found["gradient_norm"])
    assert kept.sum() == 8 and kept[:8].all()
    part = data.load("shapes", split)
    index = found["index"][kept].astype(int)
    images = tf.constant(part.images[index].astype(np.float32) / 255)
    network = load_classifier(places / "first").call
    with tf.GradientTape() as tape:
        tape.watch(images)
        loss = keras.losses.sparse_categorical_crossentropy(
            part.labels[index], network(images, training=False), from_logits=True
        )
    gradient = tape.gradient(loss, images).numpy().reshape(8, -1)
    norms = np.linalg.norm(gradient, axis=1)
    np.testing.assert_allclose(found["gradient_norm"][kept], norms, rtol=1e-4)
    mean, error = means["first", "gradient_norm", split]
    np.testing.assert_allclose(mean, norms.mean(), rtol=1e-4)
    np.testing.assert_allclose(error, norms.std(ddof=1) / np.sqrt(8), rtol=1e-4)
    ratio = found["hessian_norm"][kept] / norms
    np.testing.assert_allclose(found["curvature"][kept], ratio, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("quantity", ["gradient_norm", "curvature"])
def test_discrepancy(means, quantity):
    """|test - train| / test of the means stated beside it."""
    test, train = (means["first", quantity, part][0] for part in ("test", "train"))
    expected = abs(test - train) / test
    found = means["first", quantity, "discrepancy"][0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_stability(means, examples):
    """The means of the single images, and radius times mean curvature as bound."""
    found = examples["second", "test"]
    for radius in lcnn_suite.RADII:
        values = found[f"stability at radius {radius:.2g}"]
        values = values[~np.isnan(values)]
        assert len(values) == 8
        setting = f"radius {radius:.4g}"
        expected = (values.mean(), values.std(ddof=1) / np.sqrt(8))
        np.testing.assert_allclose(
            means["second", "gradient_stability", setting], expected, rtol=1e-5
        )
        np.testing.assert_allclose(
            means["second", "stability_bound", setting][0],
            radius * np.nanmean(found["curvature"]),
            rtol=1e-4,
        )


@pytest.mark.slow
def test_what_is_printed_and_written(evaluated):
    """All files, the tables on the terminal, strict JSON with settings and versions,
    one page that says what could not be measured.
    """
    out, ended = evaluated
    assert {path.name for path in out.iterdir()} == {
        "accuracy_over_eps.png", "evaluation.csv", "evaluation.flags",
        "evaluation.html", "evaluation.json", "evaluation.md",
        "gradient_stability.png", "per_example.csv",
    }  # fmt: skip

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    stated = json.loads((out / "evaluation.json").read_text(), parse_constant=refuse)
    assert [model["name"] for model in stated["models"]] == ["first", "net", "second"]
    assert stated["versions"]["tensorflow"] == tf.__version__
    assert stated["models"][0]["attack"]["steps"] == 3
    page, text = (out / "evaluation.html").read_text(), ended.out
    refused = "Not measured for net: a served model that refuses pixels outside"
    assert refused in page and refused in " ".join(text.split())
    for title in ("Accuracy, clean and under attack", "Geometry of the loss"):
        assert f"<h2>{title}</h2>" in page and title in text
    assert "24 test images drawn with seed 5" in page
    assert page.count("<table>") == 5 and page.count("<picture>") == 2
    assert len(re.findall(r" first +net +second$", text, re.M)) == 5
    assert str(out / "evaluation.html") in text


@pytest.mark.slow
def test_it_repeats_itself(evaluated, places, tmp_path):
    """From its own flags, and over an old evaluation: the same numbers."""
    out, _ = evaluated
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    (copy / "notes.txt").write_text("mine")
    (copy / "per_example.csv").write_text("old")
    ended = call(f"--flagfile={out}/evaluation.flags", f"--out={copy}", "--overwrite")
    assert ended.code == 0, ended.err
    for name in ("evaluation.csv", "evaluation.html", "per_example.csv"):
        assert (copy / name).read_bytes() == (out / name).read_bytes(), name
    assert (copy / "notes.txt").read_text() == "mine"


@pytest.mark.slow
def test_batches_do_not_matter(means, places, tmp_path):
    """Accuracies are the same with other batches, geometry up to rounding."""
    ended = call(*SMALL, *(f"--eps={eps}" for eps in EPS), "--batch_size=7",
                 f"--model={places}/second.keras", f"--out={tmp_path}/out")  # fmt: skip
    assert ended.code == 0, ended.err
    with open(tmp_path / "out" / "evaluation.csv", newline="") as file:
        for row in csv.DictReader(file):
            found = float(row["mean"]), float(row["standard error"])
            expected = means["second", row["quantity"], row["setting"]]
            np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-5)


def test_rowwise():
    """The mean and the error of every row, each by itself."""
    values = np.array([[1.0, 3.0], [2.0, 2.0]])
    assert lcnn_suite.rowwise(values) == [(2.0, 1.0), (2.0, 0.0)]


def test_a_checkpoint_is_measured_as_its_network(places, tmp_path):
    """A file of what trains, as `ModelCheckpoint` leaves it, beside its network."""
    network = keras.saving.load_model(places / "second.keras")
    RobustModel(network).save(tmp_path / "best.keras")
    ended = call(*SMALL, "--eps=0.1", f"--model={places}/second.keras",
                 f"--model={tmp_path}/best.keras", f"--out={tmp_path}/out")  # fmt: skip
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())["models"]
    first, second = (
        {key: value for key, value in one.items() if key not in ("name", "path")}
        for one in found
    )
    assert first == second and first["kind"] == "Keras"
