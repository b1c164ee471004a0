"""The PAG suite: its numbers recomputed from single images, and its refusals."""

import csv
import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import trainers
from export.saved_model import export_saved_model
from tests.trainers.test_evaluate import call, mlp, parse
from tfrobust import attacks, data
from tfrobust.cli import page as report
from tfrobust.cli.loading import Loaded, load_classifier
from tfrobust.cli.program import UsageError
from tfrobust.training import RobustModel
from trainers.suites import options as evaluate_options
from trainers.suites import samples as evaluate_data
from trainers.suites.pag import files as pag_files
from trainers.suites.pag import measure as pag_suite
from trainers.suites.pag import page as pag_tables

FLAGS = Path(trainers.__file__).parent / "flags" / "evaluate_pag.flags"
SMALL = ("--suite=pag", "--dataset=shapes", "--examples=7", "--batch_size=4",
         "--clean_examples=30", "--steps=3", "--pag_linf=4/255", "--pag_l2=0.3",
         "--pag_samples=5", "--pag_moved=3", "--pag_moved_eps=1,4",
         "--pag_moved_steps=3", "--pag_shown=2")  # fmt: skip
DIRECTIONS = ("class mean", "nearest neighbour")
RADII = (1, 4)


def small_network(seed):
    """Two small convolutions, with a second derivative for who wants one."""
    keras.utils.set_random_seed(seed)
    images = keras.Input((32, 32, 3))
    maps = keras.layers.Conv2D(4, 5, 3, activation="softplus")(images)
    maps = keras.layers.Conv2D(6, 5, 2, activation="softplus")(maps)
    logits = keras.layers.Dense(10)(keras.layers.Flatten()(maps))
    return keras.Model(images, logits)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Three networks, trained for a second; one of them is served."""
    folder = tmp_path_factory.mktemp("models")
    train = data.load("shapes", "train").take(600)
    images = train.images.astype(np.float32) / 255
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for seed, name in ((1, "one"), (2, "two"), (3, "judge")):
        network = small_network(seed)
        network.compile(keras.optimizers.Adam(1e-2), loss)
        network.fit(images, train.labels, batch_size=50, epochs=6, verbose=0)
        network.save(folder / f"{name}.keras")
        if name == "two":
            export_saved_model(network, folder / "served")
    return folder


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A model, and one that does not fit the images."""
    folder = tmp_path_factory.mktemp("untrained")
    mlp(1).save(folder / "one.keras")
    mlp(4, shape=(28, 28, 3)).save(folder / "small.keras")
    return folder


CASES = {
    "linf": ("--pag_linf=0", r"flag --pag_linf=0.*: must be above 0"),
    "l2": ("--pag_l2=1/0", r"flag --pag_l2=1/0: "),
    "samples": ("--pag_samples=1", r"flag --pag_samples=1: "),
    "moved": ("--pag_moved=1", r"flag --pag_moved=1: "),
    "moved steps": ("--pag_moved_steps=0", r"flag --pag_moved_steps=0: "),
    "moved eps": (
        "--pag_moved_eps=3,far",
        r"--pag_moved_eps must be numbers of at least 0, .* Received: 'far'",
    ),
    "moved eps, empty": ("--pag_moved_eps=", r"--pag_moved_eps must be .*: ''"),
    "more moved": (
        "--pag_moved=8",
        r"--pag_moved=8 is more than the --examples=7 images attacked, of which",
    ),
    "more looked at": ("--masking", r"--masking_examples=100 is more than the --exam"),
    "examples": (
        "--examples=2001",
        r"--examples=2001 is more than the 2000 images in the test split of shapes",
    ),
    "no judge": ("--judge={p}/none", r"--judge=.*/none does not exist\."),
    "judge of other images": (
        "--judge={p}/small.keras",
        r"--judge=.*small\.keras takes images \[28, 28, 3\], but those of shapes are",
    ),
    "judge in its own cause": (
        "--judge={p}/one.keras",
        r"--judge=.*one\.keras must be another classifier than each --model",
    ),
    "shipped judge": (
        "--judge=pretrained:none",
        r"--judge=pretrained:none is none of t",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_refused(monkeypatch, untrained, tmp_path, name):
    """One sentence, before data is loaded."""

    def load(*_):
        raise AssertionError("data would be loaded by now")

    monkeypatch.setattr(evaluate_data, "load", load)
    flag, expected = CASES[name]
    ended = call(*SMALL, f"--model={untrained}/one.keras", f"--out={tmp_path}/o",
                 flag.format(p=untrained))  # fmt: skip
    assert re.search(expected, ended.error), ended.error
    assert not (tmp_path / "o").exists()


def test_flags_that_do_nothing_here_are_refused():
    """Those of another suite, and of a check that was not asked for."""
    for flag, needs in (
        ("geometry_examples", "--suite=lcnn or dissect"),
        ("masking_examples", "--suite=pag with --masking"),
    ):
        with pytest.raises(UsageError) as told:
            parse(*SMALL, "--model=a", f"--{flag}=7")
        assert str(told.value) == f"--{flag} needs {needs}."
    with pytest.raises(UsageError, match="--pag_moved_eps needs --suite=pag"):
        parse("--suite=lcnn", "--model=a", "--pag_moved_eps=3")


def test_flags_repeat_the_evaluation():
    """`flag_lines` read back gives the same settings."""
    config = parse(*SMALL, "--model=a", "--judge=b c", "--masking",
                   "--masking_examples=5", "--pag_moved_eps=4/3, 1")  # fmt: skip
    assert parse(*evaluate_options.flag_lines(config)) == config
    assert [str(eps) for eps in config.moved_radii] == ["1", "4/3"]
    assert config.masking and config.pag_linf == 4 / 255


def test_papers_flagfile():
    """PGD-20 from a random start in steps of 2 eps / 20, within 0.031 and 0.5."""
    config = parse(f"--flagfile={FLAGS}", "--model=a")
    assert config.suite == "pag" and not config.masking and not config.judge
    found = pag_suite.make_attacks(config)
    assert found == {
        "Linf": attacks.PGD(norm="inf", eps=0.031, steps=20),
        "L2": attacks.PGD(norm=2, eps=0.5, steps=20),
    }
    for attack in found.values():
        assert attack.random_start and attack.step_size is None
        assert attack.restarts == 1
    default = parse("--suite=pag", "--model=a")
    assert pag_suite.make_attacks(default) == found


@pytest.fixture(scope="module")
def evaluated(places, tmp_path_factory):
    """The folder of an evaluation of two networks by a third, and how it ended."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    ended = call(*SMALL, f"--model={places}/one.keras", f"--model={places}/served",
                 "--name=one", "--name=two", f"--judge={places}/judge.keras",
                 f"--out={out}")  # fmt: skip
    assert ended.code == 0, ended.err
    return out, ended


@pytest.fixture(scope="module")
def examples(evaluated):
    """`examples[model]`: the columns of per_example.csv, floats or NaN."""
    with open(evaluated[0] / "per_example.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        name: {
            title: np.array(
                [float(row[title] or "nan") for row in rows if row["model"] == name]
            )
            for title in rows[0]
            if title != "model"
        }
        for name in ("one", "two")
    }


@pytest.fixture(scope="module")
def means(evaluated):
    """`means[model, quantity, setting]`: (images, mean, standard error)."""
    with open(evaluated[0] / "evaluation.csv", newline="") as file:
        return {
            (row["model"], row["quantity"], row["setting"]): tuple(
                float(row[key] or "nan") for key in ("images", "mean", "standard error")
            )
            for row in csv.DictReader(file)
        }


def network(places, name):
    return load_classifier(places / f"{name}.keras").call


def pixels(index):
    return data.load("shapes", "test").images[index].astype(np.float32) / 255


def expected_mean(values, count=None):
    """Images, mean and standard error."""
    values = np.asarray(values, np.float64)
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return count or len(values), values.mean() if len(values) else np.nan, error


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one", "two"])
def test_clean_accuracy(examples, means, places, name):
    """Of the first images, and of those drawn, which are balanced; by NumPy."""
    test = data.load("shapes", "test")
    predict = network(places, name).predict
    correct = predict(pixels(np.arange(30)), verbose=0).argmax(1) == test.labels[:30]
    np.testing.assert_allclose(
        means[name, "accuracy", "clean"], expected_mean(correct), rtol=1e-6
    )
    index = examples[name]["index"].astype(int)
    assert len(set(examples[name]["label"])) == 7
    np.testing.assert_array_equal(examples[name]["label"], test.labels[index])
    answers = predict(pixels(index), verbose=0).argmax(1)
    np.testing.assert_array_equal(
        examples[name]["clean_correct"], answers == test.labels[index]
    )
    np.testing.assert_allclose(
        means[name, "accuracy", "unattacked"],
        expected_mean(examples[name]["clean_correct"]),
        rtol=1e-6,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one", "two"])
def test_accuracy_under_attack(examples, means, places, name):
    """PGD written out once more, all images in one batch; both is the union."""
    found = examples[name]
    index = found["index"].astype(int)
    labels = found["label"].astype(int)
    left = {}
    for norm, which, eps in (("Linf", "inf", 4 / 255), ("L2", 2, 0.3)):
        attack = attacks.PGD(norm=which, eps=eps, steps=3, step_size=2 * eps / 3)
        result = attack(network(places, name), pixels(index), labels)
        success = result.success.numpy()
        np.testing.assert_array_equal(found[f"success of {norm}"] == 1, success)
        left[norm] = (found["clean_correct"] == 1) & ~success
        key = (name, "accuracy", f"{norm} {eps:g}")
        np.testing.assert_allclose(means[key], expected_mean(left[norm]), rtol=1e-6)
        rounded = found[f"success rounded of {norm}"] == 1
        kept = (found["clean_correct"] == 1) & ~rounded
        key = (name, "accuracy_rounded", f"{norm} {eps:g}")
        np.testing.assert_allclose(means[key], expected_mean(kept), rtol=1e-6)
    both = left["Linf"] & left["L2"]
    key = (name, "accuracy", "both")
    np.testing.assert_allclose(means[key], expected_mean(both), rtol=1e-6)
    assert found["success of Linf"].any()


def expected_directions(images):
    """From each image to the class means, as long as their images; `[N,10,...]`."""
    train = data.load("shapes", "train")
    pool = [train.images[train.labels == t].astype(np.float64) / 255 for t in range(10)]
    means = np.stack([part.mean(axis=0) for part in pool])
    length = [np.sqrt((part**2).sum((1, 2, 3)).mean()) for part in pool]
    means *= (length / np.sqrt((means**2).sum((1, 2, 3))))[:, None, None, None]
    return means[None] - images[:, None]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one", "two"])
def test_cosines_to_the_class_means(examples, places, name):
    """A tape for each class over all images; class means in float64."""
    images = pixels(examples[name]["index"].astype(int))
    wanted = expected_directions(images)
    model = network(places, name)
    for t in range(10):
        shown = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(shown)
            logit = model(shown, training=False)[:, t]
        found = tape.gradient(logit, shown).numpy().reshape(7, -1).astype(np.float64)
        other = wanted[:, t].reshape(7, -1)
        expected = (found * other).sum(1)
        expected /= np.linalg.norm(found, axis=1) * np.linalg.norm(other, axis=1)
        column = examples[name][f"cosine to class mean of class {t}"]
        np.testing.assert_allclose(column, expected, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_means_of_cosines(examples, means, direction):
    """Over all classes, with the error over images, and class by class."""
    names = data.load("shapes", "test").class_names
    for model, found in examples.items():
        columns = [found[f"cosine to {direction} of class {t}"] for t in range(10)]
        key = (model, "cosine", direction)
        expected = expected_mean(np.mean(columns, axis=0))
        np.testing.assert_allclose(means[key], expected, rtol=1e-4, atol=1e-7)
        for name, column in zip(names, columns, strict=True):
            key = (model, "cosine", f"{direction}, {name}")
            expected = expected_mean(column)
            np.testing.assert_allclose(means[key], expected, rtol=1e-4, atol=1e-7)
        assert np.ptp(columns) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one", "two"])
def test_what_the_judge_sees(examples, places, name):
    """Images moved one class at a time; the judge is the third network."""
    found = examples[name]
    images = pixels(found["index"].astype(int)[:3])
    judges = {"itself": network(places, name), "judge": network(places, "judge")}
    for radius in RADII:
        attack = attacks.PGD(norm=2, eps=radius, steps=3, random_start=False)
        for target in range(10):
            goal = np.full(3, target)
            moved = attack.perturb(judges["itself"], images, goal, goal)
            for who, judge in judges.items():
                before = judge.predict(images, verbose=0).argmax(1)
                seen = judge.predict(moved, verbose=0).argmax(1) == target
                expected = np.where(before == target, np.nan, seen)
                column = found[f"{who} sees class {target} at L2 {radius}"]
                np.testing.assert_array_equal(column[:3], expected)
                assert np.isnan(column[3:]).all()


@pytest.mark.slow
@pytest.mark.parametrize("who", ["itself", "judge"])
@pytest.mark.parametrize("radius", RADII)
def test_shares_recognised(examples, means, who, radius):
    """Of what counts of each image, with the error over images; and by class."""
    names = data.load("shapes", "test").class_names
    for model, found in examples.items():
        seen = np.stack(
            [found[f"{who} sees class {t} at L2 {radius}"][:3] for t in range(10)], 1
        )
        assert (np.isnan(seen).sum(1) == 1).all()
        key = (model, f"recognised by {who}", f"L2 {radius}")
        expected = expected_mean(np.nanmean(seen, axis=1))
        np.testing.assert_allclose(means[key], expected, rtol=1e-6, atol=1e-9)
        for name, column in zip(names, seen.T, strict=True):
            key = (model, f"recognised by {who}", f"L2 {radius}, {name}")
            expected = expected_mean(column[~np.isnan(column)], count=3)
            np.testing.assert_allclose(means[key], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_what_is_printed_and_written(evaluated):
    """All files, every table on the terminal, strict JSON with the settings."""
    out, ended = evaluated
    assert {path.name for path in out.iterdir()} == {
        "evaluation.csv", "evaluation.flags", "evaluation.html", "evaluation.json",
        "evaluation.md", "per_example.csv", "towards_classes.png",
    }  # fmt: skip

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    stated = json.loads((out / "evaluation.json").read_text(), parse_constant=refuse)
    one, two = stated["models"]
    assert (stated["suite"], two["kind"]) == ("pag", "SavedModel")
    assert one["attack"]["norms"]["L2"]["eps"] == 0.3 and one["masking"] == {}
    assert set(one["alignment"]["directions"]) == set(DIRECTIONS)
    assert one["moved"]["judge"] == "judge"
    assert [entry["eps"] for entry in one["moved"]["radii"]] == [1.0, 4.0]
    page = (out / "evaluation.html").read_text()
    for title in ("Accuracy, clean and under attack", "Alignment of gradients",
                  "Moved images, recognised", "Class by class"):  # fmt: skip
        assert f"<h2>{title}</h2>" in page and title in ended.out
    assert page.count("<table>") == 4 and page.count("<picture>") == 1
    assert "judge, which made none of these images" in page
    assert "masked" not in page


class Linear:
    """Logits `<w_t, x>` on images of 2x2 pixels."""

    def __init__(self, weights):
        self.weights = tf.constant(weights, tf.float32)

    def __call__(self, images):
        return tf.einsum("bhwc,khwc->bk", images, self.weights)


def tiny(weights, *flags, judge=None):
    """Findings on one linear model: grey test images, three lit training classes."""
    lit = np.full((6, 2, 2, 1), 100, np.uint8)
    labels = np.arange(6) % 3
    lit[np.arange(6), labels // 2, labels % 2] = 240
    names = ("a", "b", "c")
    train = data.Dataset("lit", lit, labels, names)
    grey = data.Dataset("grey", np.full((6, 2, 2, 1), 128, np.uint8), labels, names)
    config = parse("--suite=pag", "--model=a", "--examples=6", "--pag_moved=4",
                   "--pag_samples=2", "--steps=4", "--pag_moved_steps=4",
                   "--pag_moved_eps=0.2", "--batch_size=4", *flags)  # fmt: skip
    found = pag_suite.make_attacks(config)
    measurer = pag_suite.Measurer(config, found, judge, train, grey)
    measurer.measure(loaded(weights, "linear"))
    return measurer.findings


def loaded(weights, name):
    return Loaded(name, Linear(weights), (2, 2, 1), 3, Path(name), {})


def lamps():
    """One pixel a class, brighter than the rest as in the training images."""
    weights = np.zeros((3, 2, 2, 1))
    weights[np.arange(3), np.arange(3) // 2, np.arange(3) % 2] = 1.0
    return weights


def test_a_linear_model_where_all_is_known():
    """Cosines in closed form; a judge that agrees, and one that never does."""
    found = tiny(lamps(), judge=loaded(lamps(), "same"))
    one = found.models["linear"]
    # The nearest of a class is any of it: all of a class are alike.
    direction = np.full(4, 100 - 128.0)
    direction[0] = 240 - 128.0
    expected = direction[0] / np.linalg.norm(direction)
    np.testing.assert_allclose(
        one.alignments["nearest neighbour"].cosines, expected, rtol=1e-5
    )
    # The mean of equals is scaled by 1.
    np.testing.assert_allclose(
        one.alignments["class mean"].cosines, expected, rtol=1e-5
    )
    (eps,) = one.itself
    assert one.itself[eps].mean().value == one.judged[eps].mean().value == 1.0
    # All logits are equal on grey, so that class 0 is the answer.
    assert one.accuracy().value == pytest.approx(1 / 3)
    assert one.robust_accuracy("L2").value == 0.0
    opposite = tiny(-lamps(), judge=loaded(lamps(), "other")).models["linear"]
    assert opposite.itself[eps].mean().value == 1.0
    assert opposite.judged[eps].mean().value == 0.0
    np.testing.assert_allclose(
        opposite.alignments["class mean"].cosines, -expected, rtol=1e-5
    )


def test_without_a_judge_the_page_says_so():
    """And has no column of one."""
    found = tiny(lamps())
    shown = report.text(pag_tables.sections(found))
    assert "nobody else, as no" in shown and "itself, L2 0.2" in shown
    assert "judge, L2" not in shown
    assert pag_tables.facts(found)["judge"] == "none"
    assert not any("judge" in column.title for column in
                   pag_files.per_example(found).columns)  # fmt: skip


@pytest.mark.slow
def test_masking_is_looked_for_where_asked():
    """Rows of the check in a table, a file and JSON, for each norm."""
    found = tiny(lamps() + 0.1, "--masking", "--masking_examples=6",
                 "--masking_restarts=2", "--masking_queries=5")  # fmt: skip
    checked = found.models["linear"].masking
    assert list(checked) == ["Linf", "L2"]
    assert [one.threat.eps for one in checked.values()] == [0.031, 0.5]
    shown = report.text(pag_tables.sections(found))
    assert "Signs of masked gradients" in shown
    for norm, eps in (("Linf", "0.031"), ("L2", "0.5")):
        assert f"Accuracy under several attacks, {norm} {eps}" in shown
    stated = pag_files.results(found)["linear"]["masking"]
    lines = {row[2]: row[3:] for row in pag_files.long_table(found).rows}
    for norm, one in checked.items():
        assert set(stated[norm]["signs"]) == set(one.signs)
        assert all(name.replace("_", " ") in shown for name in one.signs)
        for title, left in one.table():
            assert stated[norm]["accuracy"][title]["mean"] == left.value
            assert lines[f"{norm}, masking, {title}"][:2] == [6, left.value]
    json.dumps(stated)


def test_too_few_training_images_are_refused():
    """A class with a single image has no neighbour beside itself."""
    config = parse("--suite=pag", "--model=a", "--examples=2", "--pag_moved=2")
    pixels = np.zeros((3, 2, 2, 1), np.uint8)
    train = data.Dataset("few", pixels, np.array([0, 0, 1]), ("a", "b"))
    with pytest.raises(pag_suite.UsageError, match="--dataset=cifar10: `labels` must"):
        pag_suite.make_directions(config, train)


def test_every_form_judges(untrained, tmp_path):
    """A run, a checkpoint of what trains, a SavedModel, beside the plain file."""
    network = mlp(7)
    run = tmp_path / "run"
    run.mkdir()
    network.save(run / "model.keras")
    RobustModel(network).save(tmp_path / "best.keras")
    export_saved_model(network, tmp_path / "served")
    images = tf.constant(np.random.default_rng(0).random((3, 32, 32, 3), np.float32))
    expected = network(images, training=False)
    for form in ("run", "run/model.keras", "best.keras", "served"):
        config = parse(
            *SMALL, f"--model={untrained}/one.keras", f"--judge={tmp_path}/{form}"
        )
        judge = pag_suite.load_judge(config)
        np.testing.assert_allclose(judge.call(images), expected, atol=1e-5)
