"""The PAG suite: its numbers recomputed from single images, and its refusals."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from export.saved_model import export_saved_model
from tests.trainers.suites.common import (
    FLAGFILES,
    call,
    columns_of,
    mlp,
    parse,
    records_of,
    refusal,
)
from tfrobust import analysis, attacks, data
from tfrobust.cli import page
from tfrobust.cli.loading import Loaded, load_classifier
from tfrobust.cli.program import UsageError
from tfrobust.cli.records import Records, per_example, read_evaluation
from tfrobust.training import RobustModel
from trainers.suites.evaluation import flag_lines
from trainers.suites.pag import measure as pag_suite
from trainers.suites.pag import page as pag_page

SMALL = (
    "--suite=pag",
    "--dataset=shapes",
    "--examples=7",
    "--batch_size=4",
    "--clean_examples=30",
    "--attack=pgd:norm=inf,eps=4/255,steps=3",
    "--attack=pgd:norm=2,eps=0.3,steps=3",
    "--pag_samples=5",
    "--pag_moved=3",
    "--pag_moved_eps=1,4",
    "--pag_moved_steps=3",
    "--pag_shown=2",
)
DIRECTIONS = ("class mean", "nearest neighbour")
RADII = (1, 4)
# Title, norm and radius of each attack.
ATTACKS = (("PGD Linf 4/255", "inf", 4 / 255), ("PGD L2 0.3", 2, 0.3))


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
    "radius": ("--attack=pgd:norm=2,eps=1/0", r"--attack=.*: `eps` of pgd must be a"),
    "twice": (SMALL[5], r"--attack=pgd:norm=inf,eps=4/255,steps=3 is given twice\."),
    "nothing moves": ("--pag_moved_eps=0", r"--pag_moved_eps must be above 0, or"),
    "samples": ("--pag_samples=1", r"flag --pag_samples=1: "),
    "moved": ("--pag_moved=1", r"flag --pag_moved=1: "),
    "moved steps": ("--pag_moved_steps=0", r"flag --pag_moved_steps=0: "),
    "moved eps": (
        "--pag_moved_eps=3,far",
        r"--pag_moved_eps=.*: must be numbers of at least 0, .* Received: 'far'",
    ),
    "moved eps, empty": ("--pag_moved_eps=", r"--pag_moved_eps=: must be given at"),
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
    flag, expected = CASES[name]
    given = f"--model={untrained}/one.keras", flag.format(p=untrained)
    error = refusal(monkeypatch, tmp_path / "o", *SMALL, *given)
    assert re.search(expected, error), error


def test_flags_that_do_nothing_here_are_refused():
    """Those of another suite, and of a check that is off."""
    for flag, needs in (
        ("geometry_examples", "--suite=dissect or lcnn or standard"),
        ("masking_examples", "--masking"),
    ):
        with pytest.raises(UsageError) as caught:
            parse(*SMALL, "--model=a", f"--{flag}=7")
        assert str(caught.value) == f"--{flag} needs {needs}."
    with pytest.raises(UsageError, match="--pag_moved_eps needs --suite=pag"):
        parse("--suite=lcnn", "--model=a", "--pag_moved_eps=3")


def test_flags_repeat_the_evaluation():
    """`flag_lines` read back gives the same settings."""
    run, suites = parse(
        *SMALL,
        "--model=a",
        "--judge=b c",
        "--masking",
        "--masking_examples=5",
        "--pag_moved_eps=4/3, 1",
    )
    again, (same,) = parse(*flag_lines(run, suites))
    (suite,) = suites
    assert again == run and same.own == suite.own
    assert [str(eps) for eps in suite.own.pag_moved_eps] == ["1", "4/3"]
    assert suite.own.masking
    assert [f"--attack={text}" for text in run.attack] == list(SMALL[5:7])


def test_papers_flagfile():
    """PGD-20 from a random start in steps of 2 eps / 20, within 0.031 and 0.5."""
    run, (suite,) = parse(f"--flagfile={FLAGFILES}/evaluate_pag.flags", "--model=a")
    assert suite.name == "pag" and not suite.own.masking and not suite.own.judge
    made = pag_suite.make_attacks(run, suite.own)
    assert made == {
        "PGD Linf 0.031": attacks.PGD(norm="inf", eps=0.031, steps=20),
        "PGD L2 0.5": attacks.PGD(norm=2, eps=0.5, steps=20),
    }
    for attack in made.values():
        assert attack.random_start and attack.step_size is None
        assert attack.restarts == 1
    default, (other,) = parse("--suite=pag", "--model=a")
    assert pag_suite.make_attacks(default, other.own) == made


@pytest.fixture(scope="module")
def evaluated(places, tmp_path_factory):
    """The folder of an evaluation of two networks by a third, and how it ended."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    ended = call(
        *SMALL,
        f"--model={places}/one.keras",
        f"--model={places}/served",
        "--name=one",
        "--name=two",
        f"--judge={places}/judge.keras",
        f"--out={out}",
    )
    assert ended.code == 0, ended.err
    return out, ended


@pytest.fixture(scope="module")
def examples(evaluated):
    """`examples[model]`: the columns of per_example.csv, floats or NaN.

    Of the images that were attacked, in their order.
    """
    files = {}
    for (model, split), columns in columns_of(evaluated[0]).items():
        assert split == "test"
        kept = ~np.isnan(columns["accuracy split=test attacked=True"])
        files[model] = {title: column[kept] for title, column in columns.items()}
    return files


@pytest.fixture(scope="module")
def means(evaluated):
    """`means[model, label]`: (images, mean, standard error)."""
    return {
        (record.model, record.label): (record.images, *record.estimate)
        for record in records_of(evaluated[0])
    }


def robust(title, norm, eps, rounded=False):
    """The label of what an attack leaves."""
    threat = f"threat_model=L{norm} eps={eps:.6g}"
    return f"robust_accuracy attack={title} {threat} rounded={rounded}"


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
        means[name, "accuracy split=test"], expected_mean(correct), rtol=1e-6
    )
    index = examples[name]["index"].astype(int)
    assert len(set(examples[name]["label"])) == 7
    np.testing.assert_array_equal(examples[name]["label"], test.labels[index])
    answers = predict(pixels(index), verbose=0).argmax(1)
    attacked = "accuracy split=test attacked=True"
    np.testing.assert_array_equal(
        examples[name][attacked], answers == test.labels[index]
    )
    np.testing.assert_allclose(
        means[name, attacked],
        expected_mean(examples[name][attacked]),
        rtol=1e-6,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one", "two"])
def test_accuracy_under_attack(examples, means, places, name):
    """PGD written out once more, all images in one batch; both is the union."""
    columns = examples[name]
    index = columns["index"].astype(int)
    labels = columns["label"].astype(int)
    clean = columns["accuracy split=test attacked=True"] == 1
    accuracies = {}
    for title, norm, eps in ATTACKS:
        attack = attacks.PGD(norm=norm, eps=eps, steps=3, step_size=2 * eps / 3)
        result = attack(network(places, name), pixels(index), labels)
        success = result.success.numpy()
        column = columns[f"success attack={title} rounded=False"]
        np.testing.assert_array_equal(column == 1, success)
        counted = success & ~result.already.numpy()
        np.testing.assert_allclose(
            columns[f"distortion attack={title} rounded=False"],
            np.where(counted, result.distortion, np.nan),
            rtol=1e-4,
            atol=1e-6,
        )
        accuracies[title] = clean & ~success
        for rounded, kept in (
            (False, accuracies[title]),
            (True, clean & ~(columns[f"success attack={title} rounded=True"] == 1)),
        ):
            label = robust(title, norm, eps, rounded)
            np.testing.assert_array_equal(columns[label] == 1, kept)
            np.testing.assert_allclose(
                means[name, label], expected_mean(kept), rtol=1e-6
            )
    both = np.all(list(accuracies.values()), axis=0)
    label = "robust_accuracy attack=all threat_model=L2, Linf eps=None rounded=False"
    np.testing.assert_allclose(means[name, label], expected_mean(both), rtol=1e-6)
    assert (columns["success attack=PGD Linf 4/255 rounded=False"] == 1).any()


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
    goal = expected_directions(images)
    model = network(places, name)
    names = data.load("shapes", "test").class_names
    for t in range(10):
        shown = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(shown)
            logit = model(shown, training=False)[:, t]
        gradient = tape.gradient(logit, shown).numpy().reshape(7, -1).astype(np.float64)
        other = goal[:, t].reshape(7, -1)
        expected = (gradient * other).sum(1)
        expected /= np.linalg.norm(gradient, axis=1) * np.linalg.norm(other, axis=1)
        column = examples[name][f"cosine towards=class mean class={names[t]}"]
        np.testing.assert_allclose(column, expected, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_means_of_cosines(examples, means, direction):
    """Over all classes, with the error over images, and class by class."""
    names = data.load("shapes", "test").class_names
    for model, arrays in examples.items():
        label = f"cosine towards={direction}"
        columns = [arrays[f"{label} class={name}"] for name in names]
        key = (model, label)
        expected = expected_mean(np.mean(columns, axis=0))
        np.testing.assert_allclose(means[key], expected, rtol=1e-4, atol=1e-7)
        for name, column in zip(names, columns, strict=True):
            key = (model, f"{label} class={name}")
            expected = expected_mean(column)
            np.testing.assert_allclose(means[key], expected, rtol=1e-4, atol=1e-7)
        assert np.ptp(columns) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one", "two"])
def test_what_the_judge_sees(examples, places, name):
    """Images moved one class at a time; the judge is the third network."""
    columns = examples[name]
    names = data.load("shapes", "test").class_names
    images = pixels(columns["index"].astype(int)[:3])
    judges = {"itself": network(places, name), "judge": network(places, "judge")}
    for radius in RADII:
        attack = attacks.PGD(norm=2, eps=radius, steps=3, random_start=False)
        for target in range(10):
            goal = np.full(3, target)
            moved = attack.perturb(judges["itself"], images, goal, goal)
            for who, judge in judges.items():
                before = judge.predict(images, verbose=0).argmax(1)
                recognized = judge.predict(moved, verbose=0).argmax(1) == target
                expected = np.where(before == target, np.nan, recognized)
                column = columns[
                    f"recognised judge={who} eps={radius} class={names[target]}"
                ]
                np.testing.assert_array_equal(column[:3], expected)
                assert np.isnan(column[3:]).all()


@pytest.mark.slow
@pytest.mark.parametrize("who", ["itself", "judge"])
@pytest.mark.parametrize("radius", RADII)
def test_shares_recognized(examples, means, who, radius):
    """Of what counts of each image, with the error over images; and by class."""
    names = data.load("shapes", "test").class_names
    label = f"recognised judge={who} eps={radius}"
    for model, columns in examples.items():
        recognized = np.stack(
            [columns[f"{label} class={name}"][:3] for name in names], 1
        )
        assert (np.isnan(recognized).sum(1) == 1).all()
        key = (model, label)
        expected = expected_mean(np.nanmean(recognized, axis=1))
        np.testing.assert_allclose(means[key], expected, rtol=1e-6, atol=1e-9)
        for name, column in zip(names, recognized.T, strict=True):
            key = (model, f"{label} class={name}")
            expected = expected_mean(column[~np.isnan(column)])
            np.testing.assert_allclose(means[key], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_what_is_printed_and_written(evaluated):
    """All files, every table on the terminal, strict JSON with the settings."""
    out, ended = evaluated
    assert {path.name for path in out.iterdir()} == {
        "evaluation.csv",
        "evaluation.flags",
        "evaluation.html",
        "evaluation.json",
        "evaluation.md",
        "per_example.csv",
        "towards_classes.png",
    }
    evaluation = read_evaluation(out)
    records = evaluation.records
    assert evaluation.about["suites"] == ["pag"]
    assert [record["kind"] for record in evaluation.about["models"]] == [
        "Keras",
        "SavedModel",
    ]

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    json.loads((out / "evaluation.json").read_text(), parse_constant=refuse)
    assert records.get("one", "robust_accuracy", eps=0.3, rounded=False)
    assert not records.where("masked") and not records.where("masking_accuracy")
    assert records.where("cosine").values_of("towards") == list(DIRECTIONS)
    recognized = records.where("recognised")
    assert recognized.values_of("judge") == ["itself", "judge"]
    for name, judged_by in (("judge", "judge"), ("itself", "one")):
        for record in recognized.of("one").where(judge=name):
            assert record.about["judged_by"] == judged_by
    assert recognized.values_of("eps") == [1.0, 4.0]
    shown = (out / "evaluation.html").read_text()
    for title in (
        "Accuracy, clean and under attack",
        "Alignment of gradients",
        "Moved images, recognised",
        "Class by class",
    ):
        assert f"<h2>{title}</h2>" in shown and title in ended.out
    assert shown.count("<table>") == 4 and shown.count("<picture>") == 1
    assert "judge, which made none of these images" in shown
    assert "masked" not in shown


class Linear:
    """Logits `<w_t, x>` on images of 2x2 pixels."""

    def __init__(self, weights):
        self.weights = tf.constant(weights, tf.float32)

    def __call__(self, images):
        return tf.einsum("bhwc,khwc->bk", images, self.weights)


# What `tiny` attacks with: title, norm and radius of each.
TINY_ATTACKS = (("PGD Linf 0.031", "inf", 0.031), ("PGD L2 0.5", 2, 0.5))


def tiny(weights, *flags, judge=None):
    """Records of one linear model: grey test images, three lit training classes."""
    lit = np.full((6, 2, 2, 1), 100, np.uint8)
    labels = np.arange(6) % 3
    lit[np.arange(6), labels // 2, labels % 2] = 240
    names = ("a", "b", "c")
    train = data.Dataset("lit", lit, labels, names)
    gray = data.Dataset("grey", np.full((6, 2, 2, 1), 128, np.uint8), labels, names)
    run, (suite,) = parse(
        "--suite=pag",
        "--model=a",
        "--examples=6",
        "--pag_moved=4",
        "--pag_samples=2",
        "--attack=pgd:norm=inf,eps=0.031,steps=4",
        "--attack=pgd:norm=2,eps=0.5,steps=4",
        "--pag_moved_steps=4",
        "--pag_moved_eps=0.2",
        "--batch_size=4",
        *flags,
    )
    made = pag_suite.make_attacks(run, suite.own)
    measurer = pag_suite.Measurer(run, suite.own, made, judge, train, gray)
    return Records(measurer.measure(loaded(weights, "linear"))), measurer


def loaded(weights, name):
    return Loaded(name, Linear(weights), (2, 2, 1), 3, Path(name), {})


def lamps():
    """One pixel a class, brighter than the rest as in the training images."""
    weights = np.zeros((3, 2, 2, 1))
    weights[np.arange(3), np.arange(3) // 2, np.arange(3) % 2] = 1.0
    return weights


@pytest.mark.slow
def test_a_linear_model_where_all_is_known():
    """Cosines in closed form; a judge that agrees, and one that never does."""
    records, _ = tiny(lamps(), judge=loaded(lamps(), "same"))
    # The nearest of a class is any of it: all of a class are alike.
    direction = np.full(4, 100 - 128.0)
    direction[0] = 240 - 128.0
    expected = direction[0] / np.linalg.norm(direction)
    for towards in DIRECTIONS:  # The mean of equals is scaled by 1.
        for name in "abc":
            cosines = records.get(
                "linear", "cosine", towards=towards, **{"class": name}
            )
            np.testing.assert_allclose(cosines.values, expected, rtol=1e-5)

    def share(records, judge):
        record = records.where("recognised", judge=judge, **{"class": None})[0]
        return record.estimate.value

    assert share(records, "itself") == share(records, "judge") == 1.0
    # All logits are equal on grey, so that class 0 is the answer.
    accuracy = records.get("linear", "accuracy", attacked=None)
    assert accuracy.estimate.value == pytest.approx(1 / 3)
    robust = records.get(
        "linear", "robust_accuracy", attack="PGD L2 0.5", rounded=False
    )
    assert robust.estimate.value == 0.0
    opposite, _ = tiny(-lamps(), judge=loaded(lamps(), "other"))
    assert share(opposite, "itself") == 1.0
    assert share(opposite, "judge") == 0.0
    for entry in opposite.where("cosine", towards="class mean"):
        np.testing.assert_allclose(entry.values, -expected, rtol=1e-5)


def test_without_a_judge_the_page_says_so():
    """And has no column of one."""
    records, measurer = tiny(lamps())
    shown = page.text(pag_page.sections(records, measurer))
    assert "nobody else, as no" in shown and "itself, L2 0.2" in shown
    assert "judge, L2" not in shown
    assert measurer.facts()["judge"] == "none"
    titles = [column.title for column in per_example(records).columns]
    assert not any("judge=judge" in title for title in titles)
    assert any("judge=itself" in title for title in titles)


@pytest.mark.slow
def test_masking_is_looked_for_where_asked():
    """Rows of the check in a table and as records, for each ball."""
    records, measurer = tiny(
        lamps() + 0.1,
        "--masking",
        "--masking_examples=6",
        "--masking_restarts=2",
        "--masking_queries=5",
    )
    titles = [title for title, _, _ in TINY_ATTACKS]
    accuracies, signs = records.where("masking_accuracy"), records.where("masked")
    assert accuracies.values_of("within") == signs.values_of("within") == titles
    shown = page.text(pag_page.sections(records, measurer))
    assert "Signs of masked gradients" in shown
    for title, norm, eps in TINY_ATTACKS:
        assert f"Accuracy under several attacks, {title}" in shown
        report = attacks_report(norm, eps, measurer)
        mine = accuracies.where(within=title)
        assert [record.setting["probe"] for record in mine] == [
            t for t, _ in report.table()
        ]
        for record, (_, estimate) in zip(mine, report.table(), strict=True):
            assert (record.images, record.estimate) == (6, estimate)
        verdict, *each = signs.where(within=title)
        assert "sign" not in verdict.setting
        assert (verdict.images, verdict.estimate.value) == (6, report.masked)
        signs_of = {
            record.setting["sign"]: (record.estimate.value, record.about["reason"])
            for record in each
        }
        assert signs_of == report.signs
        assert all(reason in shown for _, reason in signs_of.values())
        assert all(name.replace("_", " ") in shown for name in signs_of)


def attacks_report(norm, eps, measurer):
    """The check itself, on the same images."""
    return analysis.masking_check(
        Linear(lamps() + 0.1),
        measurer.attacked.pixels[:6],
        measurer.attacked.labels[:6],
        norm=norm,
        eps=eps,
        restarts=2,
        steps=4,
        queries=5,
        seed=0,
        batch_size=4,
    )


# Each attack by name, with the norm that its records must have.
EVERY_ATTACK = {
    "fgsm:eps=8/255": "Linf",
    "bim:eps=8/255,steps=2": "Linf",
    "mifgsm:eps=8/255,steps=2": "Linf",
    "pgd:norm=2,eps=0.2,steps=2": "L2",
    "smooth_pgd:norm=2,eps=0.2,steps=2": "L2",
    "square:norm=inf,eps=8/255,queries=3": "Linf",
    "cw:steps=2,search_steps=1": "L2",
    "smooth_cw:steps=2,search_steps=1": "L2",
    "ddn:steps=2": "L2",
    "deepfool:steps=2": "L2",
}


@pytest.mark.slow
def test_every_attack_takes_part():
    """A record and a column for each, and the union of their successes."""
    built_in = {text.partition(":")[0] for text in EVERY_ATTACK}
    assert built_in <= set(attacks.names())
    specs = [f"--attack={text}" for text in EVERY_ATTACK]
    records, measurer = tiny(lamps(), *specs)
    shown = page.text(pag_page.sections(records, measurer))
    robust = records.where("robust_accuracy", rounded=False)
    kept = []
    for text, norm in EVERY_ATTACK.items():
        attack = attacks.parse(text, seed=0)
        title = attacks.title(attack)
        assert title in shown
        (mine,) = robust.where(attack=title)
        assert mine.setting["threat_model"] == norm
        assert mine.setting["eps"] == attack.threat.eps
        assert mine.about["attacks"] == [attacks.spec(attack)]
        kept.append(mine.values)
    kept += [robust.where(attack=title)[0].values for title, _, _ in TINY_ATTACKS]
    (union,) = robust.where(attack="all")
    np.testing.assert_array_equal(union.values, np.all(kept, axis=0))


def test_masking_needs_a_ball():
    """Refused before anything is loaded, where no attack has one."""
    needed = "--masking needs an --attack that has a radius above 0, in L2 or Linf."
    refusals = {
        "ddn": needed,
        "pgd:norm=inf,eps=0": "--attack=pgd:norm=inf,eps=0: `eps` must be above 0.",
    }
    for spec, sentence in refusals.items():
        _, (suite,) = parse("--suite=pag", "--model=a", "--masking", f"--attack={spec}")
        with pytest.raises(UsageError) as refused:
            suite.prepare()
        assert str(refused.value) == sentence


def test_too_few_training_images_are_refused():
    """A class with a single image has no neighbour beside itself."""
    few = "--examples=2", "--pag_moved=2"
    run, (suite,) = parse("--suite=pag", "--model=a", *few)
    pixels = np.zeros((3, 2, 2, 1), np.uint8)
    train = data.Dataset("few", pixels, np.array([0, 0, 1]), ("a", "b"))
    with pytest.raises(UsageError, match="--dataset=cifar10: `labels` must"):
        pag_suite.Measurer(run, suite.own, {}, None, train, train)


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
        run_settings, (suite,) = parse(
            *SMALL, f"--model={untrained}/one.keras", f"--judge={tmp_path}/{form}"
        )
        judge = pag_suite.load_judge(run_settings, suite.own)
        np.testing.assert_allclose(judge.call(images), expected, atol=1e-5)
