"""The suite of the LCNN paper: every number counted anew from single images."""

import csv
import json
import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.seeds import set_seeds
from tests.trainers.suites.common import (
    FLAGFILES,
    SMALL,
    call,
    columns_of,
    parse,
    records_of,
)
from tfrobust import attacks, data
from tfrobust.cli.loading import load_classifier
from tfrobust.core.fractions import Eps
from trainers.suites.lcnn import measure as lcnn_suite

EPS = ("0.5", "8/255", "1.5")


def robust(eps, rounded=False):
    """The title of a column of what is left at an eps."""
    value = f"{Eps.parse(eps).value:.6g}"
    return (
        f"robust_accuracy attack=PGD L2 threat_model=L2 eps={value} rounded={rounded}"
    )


def alone(quantity, eps, rounded=False):
    """The title of a column of what the attack did at an eps by itself."""
    value = f"{Eps.parse(eps).value:.6g}"
    return f"{quantity} attack=PGD L2 eps={value} rounded={rounded}"


def test_papers_flagfile():
    """L2 PGD at the four radii of Table 2; a model may be given beside it."""
    run, (suite,) = parse(f"--flagfile={FLAGFILES}/evaluate_lcnn.flags", "--model=a")
    assert [eps.value for eps in suite.own.eps] == [0.05, 0.1, 0.15, 0.2]
    suite.prepare()
    (curve,) = suite._attacks.values()
    assert (suite.name, curve.attack.norm, curve.attack.steps) == ("lcnn", 2, 20)
    made = [(eps.value, attack.eps) for eps, (_, attack) in curve.at.items()]
    assert made == [(eps.value, eps.value) for eps in suite.own.eps]


@pytest.fixture(scope="module")
def evaluated(places, tmp_path_factory):
    """The folder of an evaluation of a run, its export and another network."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    set_seeds(0)
    ended = call(
        *SMALL,
        f"--eps={','.join(EPS)}",
        f"--model={places}/first",
        f"--model={places}/served/net",
        f"--model={places}/second.keras",
        f"--out={out}",
    )
    assert ended.code == 0, ended.err
    return out, ended


@pytest.fixture(scope="module")
def examples(evaluated):
    """`examples[model, split]`: the columns of per_example.csv, floats or NaN."""
    return columns_of(evaluated[0])


@pytest.fixture(scope="module")
def means(evaluated):
    """`means[model, label]`: (mean, standard error) of evaluation.csv."""
    with open(evaluated[0] / "evaluation.csv", newline="") as file:
        return {
            (row["model"], f"{row['quantity']} {row['setting']}"): (
                float(row["mean"] or "nan"),
                float(row["standard error"] or "nan"),
            )
            for row in csv.DictReader(file)
        }


@pytest.mark.slow
def test_the_json_and_the_csv_say_the_same(evaluated, means):
    """Every number of one file stands in the other."""
    records = records_of(evaluated[0])
    assert len(records) == len(means)
    for record in records:
        np.testing.assert_array_equal(
            record.estimate, means[record.model, record.label]
        )


@pytest.mark.slow
def test_the_same_network_in_two_forms(means):
    """A `.keras` file and its SavedModel agree in all that both can compute."""
    labels = {model: [key[1] for key in means if key[0] == model] for model, _ in means}
    radii = len(lcnn_suite.RADII)
    curves = 2 * (radii + len(lcnn_suite.LINEARIZATION_RADII))
    assert len(labels["first"]) == 2 + 2 * 3 + 4 * 3 + 3 + 3 + 3 + curves
    # The export refuses images outside [0, 1], where noise leads.
    missing = {*labels["first"]} - {*labels["net"]}
    assert len(missing) == curves / 2
    noisy = ("gradient_stability ", "linearization_error ")
    assert all(label.startswith(noisy) for label in missing)
    for label in labels["net"]:
        if "split=train" not in label and not label.startswith("discrepancy"):
            np.testing.assert_allclose(
                means["first", label], means["net", label], rtol=1e-3, atol=1e-6
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
    np.testing.assert_allclose(means[name, "accuracy split=test"], expected)
    columns = examples[name, "test"]
    kept = ~np.isnan(columns["accuracy split=test attacked=True"])
    assert kept.sum() == 24
    index = columns["index"].astype(int)
    np.testing.assert_array_equal(columns["label"], test.labels[index])
    np.testing.assert_array_equal(
        columns["accuracy split=test attacked=True"][kept], correct[index[kept]]
    )
    np.testing.assert_allclose(
        means[name, "accuracy split=test attacked=True"][0], correct[index[kept]].mean()
    )


@pytest.mark.slow
@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("name", ["first", "net", "second"])
def test_robust_accuracy_counts_what_any_smaller_attack_did(
    means, examples, name, rounded
):
    """Recomputed from the single images; it never rises with eps."""
    columns = examples[name, "test"]
    kept = ~np.isnan(columns["accuracy split=test attacked=True"])
    surviving, before = columns["accuracy split=test attacked=True"][kept] == 1, 1.0
    for eps in sorted(EPS, key=Eps.parse):
        lengths = columns[alone("distortion", eps)]
        assert not np.any(lengths > Eps.parse(eps).value * (1 + 1e-5))
        surviving = surviving & (columns[alone("success", eps, rounded)][kept] == 0)
        np.testing.assert_array_equal(columns[robust(eps, rounded)][kept], surviving)
        mean, _ = means[name, robust(eps, rounded)]
        np.testing.assert_allclose(mean, surviving.mean())
        assert mean <= before
        before = mean


@pytest.mark.slow
def test_success_is_what_the_attack_alone_does(examples, places):
    """PGD called on the very images, all in one batch, does the same."""
    columns = examples["second", "test"]
    kept = ~np.isnan(columns[alone("success", "1.5")])
    test = data.load("shapes", "test")
    index = columns["index"][kept].astype(int)
    images = test.images[index].astype(np.float32) / 255
    network = load_classifier(places / "second.keras").call
    result = attacks.PGD(norm=2, eps=1.5, steps=3, seed=5)(
        network, images, test.labels[index]
    )
    np.testing.assert_array_equal(
        columns[alone("success", "1.5")][kept], result.success
    )
    counted = result.success & ~result.already
    np.testing.assert_allclose(
        columns[alone("distortion", "1.5")][kept],
        np.where(counted, result.distortion, np.nan),
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.slow
@pytest.mark.parametrize("split", ["test", "train"])
def test_geometry_is_that_of_the_images_named(means, examples, places, split):
    """The gradient norm of each image, by the definition."""
    columns = examples["first", split]
    norm, hessian, curvature = (
        f"{name} split={split}" for name in lcnn_suite.QUANTITIES
    )
    kept = ~np.isnan(columns[norm])
    assert kept.sum() == 8
    part = data.load("shapes", split)
    index = columns["index"][kept].astype(int)
    images = tf.constant(part.images[index].astype(np.float32) / 255)
    network = load_classifier(places / "first").call
    with tf.GradientTape() as tape:
        tape.watch(images)
        loss = keras.losses.sparse_categorical_crossentropy(
            part.labels[index], network(images, training=False), from_logits=True
        )
    gradient = tape.gradient(loss, images).numpy().reshape(8, -1)
    norms = np.linalg.norm(gradient, axis=1)
    np.testing.assert_allclose(columns[norm][kept], norms, rtol=1e-4)
    mean, error = means["first", norm]
    np.testing.assert_allclose(mean, norms.mean(), rtol=1e-4)
    np.testing.assert_allclose(error, norms.std(ddof=1) / np.sqrt(8), rtol=1e-4)
    ratio = columns[hessian][kept] / norms
    np.testing.assert_allclose(columns[curvature][kept], ratio, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("quantity", lcnn_suite.QUANTITIES)
def test_discrepancy(means, quantity):
    """|test - train| / train of the means stated beside it."""
    test, train = (
        means["first", f"{quantity} split={split}"][0] for split in ("test", "train")
    )
    expected = abs(test - train) / train
    mean = means["first", f"discrepancy of={quantity}"][0]
    np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_stability(means, examples):
    """The means of the single images, and radius times mean curvature as bound."""
    columns = examples["second", "test"]
    for radius in lcnn_suite.RADII:
        values = columns[f"gradient_stability radius={radius:.6g}"]
        values = values[~np.isnan(values)]
        assert len(values) == 8
        expected = (values.mean(), values.std(ddof=1) / np.sqrt(8))
        np.testing.assert_allclose(
            means["second", f"gradient_stability radius={radius:.6g}"],
            expected,
            rtol=1e-5,
        )
        np.testing.assert_allclose(
            means["second", f"stability_bound radius={radius:.6g}"][0],
            radius * np.nanmean(columns["curvature split=test"]),
            rtol=1e-4,
        )


@pytest.mark.slow
def test_local_linearity(means, examples):
    """Half of the squared radius times mean curvature as bound, and errors below it."""
    columns = examples["second", "test"]
    for radius in lcnn_suite.LINEARIZATION_RADII:
        values = columns[f"linearization_error radius={radius:.6g}"]
        values = values[~np.isnan(values)]
        assert len(values) == 8
        mean, _ = means["second", f"linearization_error radius={radius:.6g}"]
        np.testing.assert_allclose(mean, values.mean(), rtol=1e-5)
        bound, _ = means["second", f"linearization_bound radius={radius:.6g}"]
        curvature = np.nanmean(columns["curvature split=test"])
        np.testing.assert_allclose(bound, radius**2 / 2 * curvature, rtol=1e-4)
        assert 0 < mean < bound


@pytest.mark.slow
def test_what_is_printed_and_written(evaluated):
    """All files, the tables on the terminal, strict JSON with settings and versions,
    one page that says what could not be measured.
    """
    out, ended = evaluated
    assert {path.name for path in out.iterdir()} == {
        "accuracy_over_eps.png",
        "evaluation.csv",
        "evaluation.flags",
        "evaluation.html",
        "evaluation.json",
        "evaluation.md",
        "gradient_stability.png",
        "per_example.csv",
    }

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    whole = json.loads((out / "evaluation.json").read_text(), parse_constant=refuse)
    assert (whole["format"], whole["version"]) == ("tfrobust-evaluation", 1)
    assert [model["name"] for model in whole["models"]] == ["first", "net", "second"]
    assert whole["versions"]["tensorflow"] == tf.__version__
    assert whole["seconds"] > 0 and whole["created"].startswith("20")
    line = next(
        record for record in whole["records"] if record["quantity"] == "robust_accuracy"
    )
    assert line["setting"]["threat_model"] == "L2" and line["about"]["seed"] == 5
    assert line["about"]["dataset"] == "shapes"
    (spec,) = line["about"]["attacks"]
    assert attacks.parse(spec) == attacks.PGD(norm=2, eps=8 / 255, steps=3, seed=5)
    page, text = (out / "evaluation.html").read_text(), ended.out
    refused = "Not measured for net: a served model that refuses pixels outside"
    assert refused in page and refused in " ".join(text.split())
    for title in ("Accuracy, clean and under attack", "Geometry of the loss"):
        assert f"<h2>{title}</h2>" in page and title in text
    assert "24 test images drawn with seed 5" in page
    assert "Clean: on the first 50 test images of shapes." in " ".join(page.split())
    assert page.count("<table>") == 6 and page.count("<picture>") == 2
    assert len(re.findall(r" first +net +second$", text, re.M)) == 6
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
    ended = call(
        *SMALL,
        f"--eps={','.join(EPS)}",
        "--batch_size=7",
        f"--model={places}/second.keras",
        f"--out={tmp_path}/out",
    )
    assert ended.code == 0, ended.err
    for record in records_of(tmp_path / "out"):
        np.testing.assert_allclose(
            record.estimate, means["second", record.label], rtol=2e-3, atol=1e-5
        )


@pytest.mark.slow
def test_attacks_of_other_kinds(places, tmp_path):
    """A search for the smallest perturbation is run once and counts within each eps;
    an image that any attack breaks is broken in the union.
    """
    ended = call(
        *SMALL[:-2],
        "--attack=ddn:steps=30",
        "--attack=fgsm",
        "--eps=8/255,0.5,2",
        f"--model={places}/second.keras",
        f"--out={tmp_path}/out",
    )
    assert ended.code == 0, ended.err
    columns = columns_of(tmp_path / "out")["second", "test"]
    clean = columns["accuracy split=test attacked=True"]
    kept = ~np.isnan(clean)
    clean = clean[kept] == 1
    lengths = columns["distortion attack=DDN L2 rounded=False"][kept]
    fallen = clean & False
    for eps in ("8/255", "0.5", "2"):
        radius = Eps.parse(eps).value
        within = clean & ~(lengths <= radius)
        title = f"threat_model=L2 eps={radius:.6g} rounded=False"
        column = columns[f"robust_accuracy attack=DDN L2 {title}"][kept]
        np.testing.assert_array_equal(column, within)
        sign = f"success attack=FGSM Linf eps={radius:.6g} rounded=False"
        fallen = fallen | (columns[sign][kept] == 1)
        union = next(
            columns[key][kept]
            for key in columns
            if "attack=all" in key and f"eps={radius:.6g} rounded=False" in key
        )
        np.testing.assert_array_equal(union, within & ~fallen)
    assert "Accuracy under all attacks together" in ended.out
