"""The smooth suite: its numbers recomputed from single images, and its refusals."""

import csv
import dataclasses
import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.data.pictures import encoded, picture
from tests.trainers.suites.common import (
    FLAGFILES,
    call,
    columns_of,
    mlp,
    parse,
    records_of,
    refusal,
)
from tfrobust import analysis, attacks, data, smoothing
from tfrobust.cli.loading import Loaded, load_classifier
from tfrobust.cli.program import UsageError
from tfrobust.cli.records import Records
from trainers.suites import samples as evaluate_data
from trainers.suites.evaluation import flag_lines
from trainers.suites.smooth import measure as smooth_suite
from trainers.suites.smooth import page as smooth_tables
from trainers.suites.smooth import trials as smooth_trials
from trainers.suites.smooth.measure import FILTERED
from trainers.suites.smooth.trials import AT_EPS, BUDGET, SMALLEST, Case

FLAGS = FLAGFILES / "evaluate_smooth.flags"
SEARCH = "steps=5,search_steps=2,initial_const=15,early_abort=false"
ATTACKS = (
    "--attack=fgsm:eps=24/255",
    "--attack=bim:eps=24/255,steps=3",
    "--attack=pgd:norm=2,eps=1.5,steps=3,random_start=false",
    "--attack=smooth_pgd:norm=2,eps=1.5,steps=3,bandwidth=0.3",
    f"--attack=cw:{SEARCH},learning_rate=0.1",
    f"--attack=smooth_cw:{SEARCH},bandwidth=0.3",
    f"--attack=smooth_cw:{SEARCH},bandwidth=0.3,roughness_weight=2",
)
BASE = (
    "--suite=smooth",
    "--dataset=shapes",
    "--examples=7",
    "--batch_size=4",
    "--clean_examples=60",
    "--radii=3",
    "--smooth_bandwidth=0.3",
)
SMALL = (*BASE, "--budgets=1x5,2x5", *ATTACKS)
NAMES = ("FGSM", "I-FGSM", "PGD2", "sPGD2", "C&W", "sC&W", "sC&W, roughness 2")
AT_BUDGETS = ("C&W, tanh", "C&W, clip", "sC&W", "sC&W, roughness 2")


def setting(name, protocol=SMALLEST, budget=""):
    """An attack and how it is run, as the title of a column says it."""
    return f"attack={name} protocol={protocol}" + f" budget={budget}" * bool(budget)


SETTINGS = [
    *map(setting, NAMES),
    *(setting(name, AT_EPS) for name in NAMES[:4]),
    *(
        setting(name, BUDGET, budget)
        for budget in ("1x5", "2x5")
        for name in AT_BUDGETS
    ),
]


def small_network(seed):
    """Two small convolutions."""
    keras.utils.set_random_seed(seed)
    images = keras.Input((32, 32, 3))
    maps = keras.layers.Conv2D(6, 5, 2, activation="relu")(images)
    maps = keras.layers.Conv2D(8, 5, 2, activation="relu")(maps)
    logits = keras.layers.Dense(10)(keras.layers.Flatten()(maps))
    return keras.Model(images, logits)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Two networks, trained for a second, that are right on a third of the images."""
    folder = tmp_path_factory.mktemp("models")
    train = data.load("shapes", "train").take(600)
    images = train.images.astype(np.float32) / 255
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for seed, name in ((1, "one"), (2, "two")):
        network = small_network(seed)
        network.compile(keras.optimizers.Adam(1e-2), loss)
        network.fit(images, train.labels, batch_size=50, epochs=8, verbose=0)
        network.save(folder / f"{name}.keras")
    return folder


SMOOTH = "--attack=smooth_pgd:norm=2,eps=1"
CASES = {
    "alpha": (f"{SMOOTH},alpha=1", r"alpha=1: .*`alpha` must be in \[0, 1\)"),
    "alpha negative": (f"{SMOOTH},alpha=-0.1", r"alpha=-0\.1: .*`alpha` must be in"),
    "alpha nan": (f"{SMOOTH},alpha=nan", r"alpha=nan: .*`alpha` .* must be a number"),
    "bandwidth": (f"{SMOOTH},bandwidth=0", r"bandwidth=0: .*`bandwidth` must be"),
    "bandwidth a word": (
        f"{SMOOTH},bandwidth=wide",
        r"bandwidth=wide: `bandwidth` of smooth_pgd must be a number",
    ),
    "kernel": (f"{SMOOTH},kernel=box", r"kernel=box: .*`kernel` must be one of"),
    "neighbours": (f"{SMOOTH},neighbors=6", r"neighbors=6: .*`neighbors` must be one"),
    "graph's bandwidth": (
        "--smooth_bandwidth=0",
        r"--smooth_bandwidth=0.*: must be above 0",
    ),
    "graph's bandwidth a word": (
        "--smooth_bandwidth=wide",
        r"flag --smooth_bandwidth=wide: ",
    ),
    "graph's kernel": (
        "--smooth_kernel=box",
        r"flag --smooth_kernel=box: .*<laplacian\|gau",
    ),
    "graph's neighbours": (
        "--smooth_neighbors=6",
        r"flag --smooth_neighbors=6: .*<4\|8>",
    ),
    "radii": ("--radii=0", r"flag --radii=0: "),
    "linf": (
        "--attack=mifgsm:eps=0",
        r"--attack=mifgsm:eps=0: `eps` must be above 0",
    ),
    "l2": ("--attack=pgd:norm=2,eps=1/0", r"eps=1/0: `eps` of pgd must be a number"),
    "no radius": ("--attack=mifgsm", r"--attack=mifgsm: mifgsm must be given eps"),
    "steps": ("--attack=cw:steps=0", r"--attack=cw:steps=0: .*`steps` must be"),
    "searches": (
        "--attack=cw:search_steps=0",
        r"--attack=cw:search_steps=0: .*`search_steps` must be",
    ),
    "const": (
        "--attack=cw:initial_const=0",
        r"--attack=cw:initial_const=0: .*`initial_const` must be",
    ),
    "rate": (
        "--attack=smooth_cw:learning_rate=0",
        r"learning_rate=0: .*`learning_rate` must be",
    ),
    "space": ("--attack=cw:space=sphere", r"space=sphere: .*one of \('tanh', 'clip'\)"),
    "roughness": (
        "--attack=smooth_cw:roughness_weight=-1",
        r"roughness_weight=-1: .*`roughness_weight` must be",
    ),
    "attack": ("--attack=none", r"--attack=none: `attack` must be one of .*smooth_cw"),
    "attack twice": (ATTACKS[0], r"--attack=fgsm:eps=24/255 is given twice"),
    "filter": ("--filter_std=0", r"flag --filter_std=0.*: must be above 0"),
    "filter's range": ("--filter_range=0", r"flag --filter_range=0.*: must be above 0"),
    "budget": (
        "--budgets=3x100,9",
        r"--budgets must be searches x steps, such as 3x100, .* Received: '9'",
    ),
    "budget of nothing": ("--budgets=0x5", r"--budgets must be .* Received: '0x5'"),
    "budget, comma": ("--budgets=1x5,", r"--budgets must be .* Received: ''"),
    "examples": (
        "--examples=2001",
        r"--examples=2001 is more than the 2000 images in the test split of shapes",
    ),
    "clean examples": (
        "--clean_examples=6",
        r"--clean_examples=6 must be at least --examples=7: smooth attacks",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_refused(monkeypatch, tmp_path, name):
    """One sentence, before a model or data is loaded."""
    mlp(1).save(tmp_path / "net.keras")
    flag, expected = CASES[name]
    small = [text for text in SMALL if name != "examples" or "clean_ex" not in text]
    given = f"--model={tmp_path}/net.keras", flag
    error = refusal(monkeypatch, tmp_path / "o", *small, *given)
    assert re.search(expected, error), error


@pytest.mark.slow
def test_too_few_correct_images_are_refused(places, tmp_path):
    """Too few images are classified correctly; the message says how many."""
    network = load_classifier(places / "one.keras").call
    test = data.load("shapes", "test").take(60)
    logits = network.predict(test.images.astype(np.float32) / 255, verbose=0)
    right = int((logits.argmax(-1) == test.labels).sum())
    assert 7 < right < 59
    ended = call(
        *SMALL, "--examples=59", f"--model={places}/one.keras", f"--out={tmp_path}/o"
    )
    expected = rf"--examples=59 is more than the {right} of 60 test images that --model"
    assert re.search(expected, ended.error), ended.error


def test_flags_that_do_nothing_are_refused():
    """Those of another suite, and those that no attack chosen looks at."""
    with pytest.raises(UsageError, match="--eps needs --suite=lcnn"):
        parse(*SMALL, "--model=a", "--eps=0.3")
    for flags, expected in (
        (("--attack=cw", "--radii=3"), "--radii needs an --attack within a radius"),
        (("--attack=fgsm:eps=1", "--budgets=2x5"), "--budgets needs an --attack that"),
    ):
        _, (suite,) = parse("--suite=smooth", "--model=a", *flags)
        with pytest.raises(UsageError, match=expected):
            suite.prepare()
    _, (suite,) = parse("--suite=smooth", "--model=a", "--attack=cw")
    suite.prepare()


def test_flags_repeat_the_evaluation():
    """`flag_lines` read back gives the same settings, budgets or none."""
    for budgets in ("2x5, 1x7", ""):
        run, (suite,) = parse(*SMALL, "--model=a", f"--budgets={budgets}")
        again, (same,) = parse(*flag_lines(run, [suite]))
        assert (again, same.own) == (run, suite.own)
        made = smooth_trials.make(run, suite.own)
        assert smooth_trials.make(again, same.own) == made
    assert suite.own.parsed_budgets == ()
    assert made[Case("FGSM", SMALLEST)].attack.eps == 24 / 255


def made_of(*flags):
    """The trials that flags ask for, by case."""
    run, (suite,) = parse("--suite=smooth", "--model=a", *flags)
    return smooth_trials.make(run, suite.own)


def smallest_of(*flags):
    """Those of them with the least distorted success, by title."""
    trials = made_of(*flags)
    return {case.attack: trial for case, trial in trials.items() if case[1] == SMALLEST}


def test_papers_flagfile():
    """Radii, alpha, C&W's rate and constant of the paper; no attack of its own."""
    run, (suite,) = parse(f"--flagfile={FLAGS}", "--model=a", "--dataset=mnist")
    assert suite.name == "smooth" and run.attack == ()
    trials = smallest_of(f"--flagfile={FLAGS}", "--dataset=mnist")
    assert list(trials) == [*NAMES[:6], "sC&W, roughness 30"]
    made = {name: trial.attack for name, trial in trials.items()}
    assert (made["FGSM"].eps, made["I-FGSM"].eps) == (0.3, 0.3)
    assert (made["PGD2"].eps, made["sPGD2"].eps) == (5.0, 5.0)
    assert (made["sPGD2"].alpha, made["sC&W"].alpha) == (0.95, 0.95)
    assert (made["C&W"].learning_rate, made["C&W"].initial_const) == (0.1, 15.0)
    assert made["sC&W"].learning_rate == 0.2
    assert made["C&W"].rounding and made["sC&W"].rounding
    assert made["sC&W, roughness 30"] == dataclasses.replace(
        made["sC&W"], roughness_weight=30
    )


def test_trials_are_as_the_flags_say():
    """Radii evenly spaced, settings handed on, gradients counted."""
    trials = smallest_of(*SMALL)
    assert tuple(trials) == NAMES
    np.testing.assert_allclose(trials["FGSM"].radii, [8 / 255, 16 / 255, 24 / 255])
    np.testing.assert_allclose(trials["sPGD2"].radii, [0.5, 1.0, 1.5])
    assert [trial.cost for trial in trials.values()] == [3, 9, 9, 9, 10, 10, 10]
    exact = [trial.exact for trial in trials.values()]
    assert exact == [True, False, False, False, True, True, True]
    assert trials["sPGD2"].attack == attacks.SmoothPGD(
        norm=2, eps=1.5, steps=3, random_start=False, alpha=0.95, bandwidth=0.3
    )
    assert trials["sC&W, roughness 2"].attack == attacks.SmoothCarliniWagner(
        steps=5,
        search_steps=2,
        initial_const=15.0,
        learning_rate=0.2,
        early_abort=False,
        roughness_weight=2.0,
        alpha=0.95,
        bandwidth=0.3,
    )
    assert trials["C&W"].attack.space == "clip"
    largest = trials["PGD2"].at_eps()
    assert (largest.radii, largest.cost) == ((1.5,), 3)
    assert not largest.attack.early_stop and trials["PGD2"].attack.early_stop
    assert largest.exact and made_of(*SMALL)[Case("PGD2", AT_EPS)] == largest
    assert tuple(smallest_of(*SMALL[:-1])) == NAMES[:6]


def test_radii_may_be_given_for_a_norm():
    """In place of even ones, whatever eps; for transfer eps alone, SMO-S7."""
    given = ("--l2_radii=6,1,2.5", "--linf_radii=24/255")
    trials = made_of(*BASE, "--budgets=", *ATTACKS[:4], *given)
    assert trials[Case("PGD2", SMALLEST)].radii == (1.0, 2.5, 6.0)
    assert trials[Case("sPGD2", SMALLEST)].cost == 9
    assert trials[Case("I-FGSM", SMALLEST)].radii == (24 / 255,)
    assert trials[Case("PGD2", AT_EPS)].radii == (1.5,)
    trials = made_of(*BASE, "--budgets=", *ATTACKS[:4], given[0])
    np.testing.assert_allclose(
        trials[Case("FGSM", SMALLEST)].radii, [8 / 255, 16 / 255, 24 / 255]
    )
    for flag, attack in (("--l2_radii=1", ATTACKS[0]), ("--linf_radii=1", ATTACKS[2])):
        norm = "L2" if "l2" in flag else "Linf"
        expected = f"{flag[:-2]} needs an --attack within an {norm} radius."
        with pytest.raises(UsageError, match=expected):
            made_of(flag, attack)
    run, (suite,) = parse(*BASE, "--model=a", *given)
    again, (same,) = parse(*flag_lines(run, [suite]))
    assert (again, same.own) == (run, suite.own)


PAPER = FLAGFILES / "evaluate_smooth_paper.flags"
IMAGENET = FLAGFILES / "evaluate_smooth_imagenet.flags"
BY_ADAM = {
    "learning_rate": 0.1,
    "early_abort": False,
    "warm_start": False,
    "decay": False,
    "steps": 100,
}


def test_the_settings_are_exactly_the_papers():
    """SMO-S3, S4, S7, S8, S10; where the paper is silent SMO-R1, R4 and R7."""
    run, (suite,) = parse(f"--flagfile={PAPER}", "--model=a")
    trials = smooth_trials.make(run, suite.own)
    by_adam = {**BY_ADAM, "initial_const": 15, "confidence": 1, "search_steps": 1}
    smooth = {"alpha": 0.95, "bandwidth": 0.1, "solver": "dense"}
    ball = {"norm": 2, "eps": 5, "steps": 10, "step_size": 3, "early_stop": False}
    assert {
        case.attack: trial.attack
        for case, trial in trials.items()
        if case.protocol == SMALLEST
    } == {
        "FGSM": attacks.FGSM(eps=0.3),
        "I-FGSM": attacks.BIM(eps=0.3, steps=10, step_size=0.08, early_stop=False),
        "PGD2": attacks.PGD(**ball, random_start=False),
        "C&W": attacks.CarliniWagnerL2(**by_adam, space="tanh"),
        "sPGD2": attacks.SmoothPGD(**ball, **smooth),
        "sC&W": attacks.SmoothCarliniWagner(**by_adam, **smooth),
    }
    assert {case.protocol for case in trials} == {SMALLEST, AT_EPS}
    l2, linf = (trials[Case(name, SMALLEST)].radii for name in ("sPGD2", "FGSM"))
    assert l2 == (1, 1.5, 1.75, 2, 2.25, 2.5, 3, 4, 5, 6)
    assert linf == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert trials[Case("PGD2", AT_EPS)].radii == (5,)
    assert trials[Case("PGD2", SMALLEST)].exact
    assert (suite.own.filter_std, suite.own.filter_range) == (0.5, 0.2)
    default, (usual,) = parse("--suite=smooth", "--model=a")
    assert (usual.own.filter_std, usual.own.filter_range) == (0.5, 0.2)


def test_the_settings_on_imagenet_are_the_papers():
    """SMO-S5, S6, with the kernel of the paper and any data set of 1,000 classes."""
    run, (suite,) = parse(f"--flagfile={IMAGENET}", "--model=a")
    trials = smooth_trials.make(run, suite.own)
    by_adam = {**BY_ADAM, "initial_const": 100, "search_steps": 9}
    smooth = {"alpha": 0.997, "solver": "cg", "iterations": 50}
    ball = {"norm": 2, "eps": 5, "steps": 10, "step_size": 3, "early_stop": False}
    small = {"eps": 0.1255, "steps": 10, "step_size": 0.08, "early_stop": False}
    assert {
        case.attack: trial.attack
        for case, trial in trials.items()
        if case.protocol == SMALLEST
    } == {
        "FGSM": attacks.FGSM(eps=0.1255),
        "I-FGSM": attacks.BIM(**small),
        "PGD2": attacks.PGD(**ball, random_start=False),
        "C&W": attacks.CarliniWagnerL2(**by_adam, space="tanh"),
        "sPGD2": attacks.SmoothPGD(**ball, **smooth),
        "sC&W": attacks.SmoothCarliniWagner(**by_adam, **smooth),
    }
    assert trials[Case("sC&W", SMALLEST)].attack.confidence == 0


def test_budgets_are_of_every_attack_that_searches():
    """With the settings of the attack; C&W in both spaces."""
    trials = made_of(*SMALL)
    at = {case: trial for case, trial in trials.items() if case.protocol == BUDGET}
    titles = [(case.attack, case.budget) for case in at]
    assert titles == [(name, size) for size in ("1x5", "2x5") for name in AT_BUDGETS]
    assert at[Case("C&W, clip", BUDGET, "2x5")] == trials[Case("C&W", SMALLEST)]
    tanh = at[Case("C&W, tanh", BUDGET, "1x5")].attack
    assert (tanh.space, tanh.search_steps, tanh.learning_rate) == ("tanh", 1, 0.1)
    assert not any(
        case.protocol == BUDGET for case in made_of("--budgets=", ATTACKS[4])
    )


def test_titles_and_costs_of_other_attacks():
    """The paper's where the family is its own, and each title once."""
    trials = smallest_of(
        "--attack=pgd:norm=2,eps=1,restarts=2",
        "--attack=pgd:norm=2,eps=0.5",
        "--attack=pgd:norm=2,eps=0.5,steps=7",
        "--attack=pgd:norm=inf,eps=0.1",
        "--attack=cw",
        "--attack=ddn:steps=30",
        "--attack=deepfool:steps=5,candidates=3",
        "--attack=square:norm=inf,eps=0.1,queries=50",
        "--radii=2",
    )
    assert {
        title: (trial.cost, trial.unit, trial.exact) for title, trial in trials.items()
    } == {
        "PGD2": (80, "gradients", False),
        "PGD L2 0.5": (40, "gradients", False),
        "pgd:norm=2,eps=0.5,steps=7": (14, "gradients", False),
        "PGD Linf 0.1": (40, "gradients", False),
        "C&W": (900, "gradients", False),
        "DDN L2": (30, "gradients", True),
        "DeepFool L2": (15, "gradients", False),
        "Square Linf 0.1": (100, "queries", False),
    }


def test_transfer_counted_by_hand():
    """Pixels against a threshold: who fools whom is read off the grey levels.

    The target calls class 1 what is brighter than 0.5. Clean images are 0.2 (class 0,
    right), 0.6 (class 0, wrong), 0.8 (class 1, right), 0.2 and 0.2.
    """

    def classify(images):
        return (images.numpy().mean((1, 2, 3)) > 0.5).astype(int)

    levels = np.array([51, 153, 204, 51, 51], np.uint8)
    images = data.Dataset(
        "grey",
        np.tile(levels[:, None, None, None], [1, 2, 2, 1]),
        [0, 0, 1, 0, 0],
        ("dark", "bright"),
    )
    moved = np.float32([0.7, 0.7, 0.9, 0.4, 0.9])
    adversarial = {"a": np.tile(moved[:, None, None, None], [1, 2, 2, 1])}
    success = {"a": np.array([True, True, True, True, False])}
    transferred = analysis.transfer(classify, images, adversarial, success, 2)
    assert transferred.clean_correct.tolist() == [True, False, True, True, True]
    assert transferred.fooled["a"].tolist() == [True, True, False, False, True]
    # Counted are images 0, 2 and 3: of those one is fooled.
    assert transferred.counted("a").tolist() == [True, False, True, True, False]
    np.testing.assert_allclose(transferred.rate("a"), (1 / 3, 1 / 3), rtol=1e-6)
    assert transferred.clean_accuracy().value == 0.8
    assert transferred.clean_accuracy("a").value == 0.75


def test_a_filter_takes_back_a_lone_pixel():
    """What stands out by less than the filter's range is averaged away."""

    def classify(images):
        return (images.numpy().max((1, 2, 3)) > 0.55).astype(int)

    image = np.full((1, 9, 9, 1), 0.5, np.float32)
    image[0, 4, 4, 0] = 0.6
    shown = tf.constant(image)
    assert classify(shown).tolist() == [1]
    assert analysis.behind_filter(classify, 5.0, 0.5)(shown).tolist() == [0]
    assert analysis.behind_filter(classify, 5.0, 0.01)(shown).tolist() == [1]


def test_the_first_correct_images():
    """In the data set's order, and their places with them."""
    test = data.load("shapes", "test")
    correct = np.arange(20) % 3 == 1
    sample = evaluate_data.first_correct(test, correct, 4)
    assert sample.index.tolist() == [1, 4, 7, 10]
    np.testing.assert_array_equal(sample.images.images, test.images[[1, 4, 7, 10]])
    np.testing.assert_array_equal(sample.images.labels, test.labels[[1, 4, 7, 10]])


@pytest.fixture(scope="module")
def evaluated(places, tmp_path_factory):
    """The folder of an evaluation of both networks, and how it ended."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    ended = call(
        *SMALL,
        f"--model={places}/one.keras",
        f"--model={places}/two.keras",
        f"--out={out}",
    )
    assert ended.code == 0, ended.err
    return out, ended


@pytest.fixture(scope="module")
def examples(evaluated):
    """`examples[model]`: the columns of per_example.csv, of the attacked images."""
    files = {}
    for (name, split), columns in columns_of(evaluated[0]).items():
        assert split == "test"
        kept = ~np.isnan(columns[f"success {setting('FGSM')} rounded=False"])
        files[name] = {title: column[kept] for title, column in columns.items()}
    return files


@pytest.fixture(scope="module")
def means(evaluated):
    """`means[model, label]`: (images, mean, standard error)."""
    with open(evaluated[0] / "evaluation.csv", newline="") as file:
        return {
            (row["model"], f"{row['quantity']} {row['setting']}"): tuple(
                float(row[key] or "nan") for key in ("images", "mean", "standard error")
            )
            for row in csv.DictReader(file)
        }


def expected_mean(values):
    """Number, mean and standard error, NaN where there are none."""
    count = len(values)
    if not count:
        return 0, np.nan, np.nan
    error = values.std(ddof=1) / np.sqrt(count) if count > 1 else np.nan
    return count, values.mean(), error


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one", "two"])
def test_the_images_are_the_first_correct_ones(
    examples, means, places, evaluated, name
):
    """Computed anew with NumPy, with the number of those passed over."""
    network = load_classifier(places / f"{name}.keras").call
    test = data.load("shapes", "test").take(60)
    logits = network.predict(test.images.astype(np.float32) / 255, verbose=0)
    correct = logits.argmax(-1) == test.labels
    index = np.flatnonzero(correct)[:7]
    np.testing.assert_array_equal(examples[name]["index"], index)
    np.testing.assert_array_equal(examples[name]["label"], test.labels[index])
    np.testing.assert_allclose(
        means[name, "accuracy split=test"], expected_mean(correct.astype(float))
    )
    records = records_of(evaluated[0]).of(name).where("success")
    (skipped,) = {record.about["skipped"] for record in records}
    assert skipped == int((~correct[: index[-1]]).sum())
    assert f"{skipped} for {name}" in (evaluated[0] / "evaluation.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("case", SETTINGS)
def test_means_are_those_of_the_images(examples, means, case):
    """P_suc, distortion and roughness of successes, before and after rounding."""
    for name, columns in examples.items():
        success, rounded = (
            columns[f"success {case} rounded={when}"] == 1 for when in (False, True)
        )
        expected = {
            f"success {case} rounded=False": success.astype(float),
            f"success {case} rounded=True": rounded.astype(float),
        }
        for label, kept in (
            (f"distortion {case} rounded=False", success),
            (f"distortion {case} rounded=True", rounded),
            (f"roughness {case}", success),
        ):
            expected[label] = columns[label][kept]
            assert np.isnan(columns[label][~kept]).all()
        for label, values in expected.items():
            np.testing.assert_allclose(
                means[name, label],
                expected_mean(values),
                rtol=1e-5,
                atol=1e-7,
                err_msg=f"{name} {label}",
            )


@pytest.mark.slow
@pytest.mark.parametrize("title", NAMES)
@pytest.mark.parametrize("rounded", [False, True])
def test_robust_accuracy_is_what_no_run_broke(examples, evaluated, title, rounded):
    """Of the correct images, over the radii and at the largest."""
    for name, columns in examples.items():
        robust = np.ones(7, bool)
        for protocol in (SMALLEST, AT_EPS) if title in NAMES[:4] else (SMALLEST,):
            case = setting(title, protocol)
            robust &= columns[f"success {case} rounded={rounded}"] == 0
        record = records_of(evaluated[0]).get(
            name, "robust_accuracy", attack=title, rounded=rounded
        )
        np.testing.assert_array_equal(columns[record.label] == 1, robust)
        assert (record.images, record.estimate.value) == (7, robust.mean())
        eps = {"FGSM": 24 / 255, "I-FGSM": 24 / 255, "PGD2": 1.5, "sPGD2": 1.5}
        norm = "Linf" if "FGSM" in title else "L2"
        assert record.setting["eps"] == eps.get(title)
        assert record.setting["threat_model"] == norm
        assert record.setting["among"] == "correct"
        assert record.about["clean_accuracy"] == 1.0
        (spec,) = record.about["attacks"]
        flag = ATTACKS[NAMES.index(title)].removeprefix("--attack=")
        assert attacks.parse(spec) == attacks.parse(flag)


@pytest.mark.slow
def test_something_was_found(means):
    """The numbers compared above are not those of attacks that all fail."""
    for name in ("PGD2", "C&W", "sC&W"):
        assert means["one", f"success {setting(name)} rounded=False"][1] > 0.5
    assert means["one", f"distortion {setting('sPGD2')} rounded=False"][2] > 0
    smooth, rough = (
        means["one", f"roughness {setting(name)}"][1] for name in ("sPGD2", "PGD2")
    )
    assert smooth < rough


def attack_at(name, radius):
    """An attack of the tables with settings written out once more."""
    pgd = {"norm": 2, "steps": 3, "random_start": False, "eps": radius}
    return {
        "FGSM": lambda: attacks.FGSM(eps=radius),
        "I-FGSM": lambda: attacks.BIM(eps=radius, steps=3),
        "PGD2": lambda: attacks.PGD(**pgd),
        "sPGD2": lambda: attacks.SmoothPGD(**pgd, alpha=0.95, bandwidth=0.3),
    }[name]()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES[:4])
def test_the_smallest_success_over_the_radii(examples, places, name):
    """Attacked radius by radius, all in one batch; L2 norms and roughness in NumPy."""
    columns = examples["one"]
    test = data.load("shapes", "test")
    index = columns["index"].astype(int)
    images = test.images[index].astype(np.float32) / 255
    network = load_classifier(places / "one.keras").call
    least, least_rounded = np.full([2, 7], np.inf)
    rough = np.zeros(7)
    matrix = smoothing.grid_graph(images, bandwidth=0.3).to_sparse()
    matrix = tf.sparse.to_dense(matrix).numpy().astype(np.float64)
    for share in (1, 2, 3):
        radius = share * (8 / 255 if "FGSM" in name else 0.5)
        result = attack_at(name, radius)(network, images, test.labels[index])
        change = result.adversarial.numpy().astype(np.float64) - images
        norms = np.sqrt((change**2).sum((1, 2, 3)))
        better = result.success.numpy() & (norms < least)
        least[better] = norms[better]
        flat = change.reshape(7, -1, 3)
        form = (flat * (flat - matrix @ flat)).sum((1, 2))
        rough[better] = (form / (flat**2).sum((1, 2)).clip(1e-12))[better]
        saved = np.round(result.adversarial.numpy() * 255) / 255 - images
        norms = np.sqrt((saved**2).sum((1, 2, 3)))
        better = result.success_rounded.numpy() & (norms < least_rounded)
        least_rounded[better] = norms[better]
    case = setting(name)
    hit = np.isfinite(least)
    np.testing.assert_array_equal(columns[f"success {case} rounded=False"] == 1, hit)
    np.testing.assert_allclose(
        columns[f"distortion {case} rounded=False"][hit], least[hit], 1e-3
    )
    np.testing.assert_allclose(columns[f"roughness {case}"][hit], rough[hit], 2e-2)
    hit = np.isfinite(least_rounded)
    np.testing.assert_array_equal(columns[f"success {case} rounded=True"] == 1, hit)
    np.testing.assert_allclose(
        columns[f"distortion {case} rounded=True"][hit], least_rounded[hit], 1e-3
    )


@pytest.mark.slow
def test_at_the_largest_radius_attacks_go_on(examples, places):
    """They end on the sphere unless the range of pixels stops them."""
    columns = examples["one"]
    largest, smallest = setting("PGD2", AT_EPS), setting("PGD2")
    distance = columns[f"distortion {largest} rounded=False"]
    success = columns[f"success {largest} rounded=False"] == 1
    test, index = data.load("shapes", "test"), columns["index"].astype(int)
    attack = attacks.PGD(norm=2, eps=1.5, steps=3, random_start=False, early_stop=False)
    result = attack(
        load_classifier(places / "one.keras").call,
        test.images[index].astype(np.float32) / 255,
        test.labels[index],
    )
    np.testing.assert_array_equal(success, result.success)
    np.testing.assert_allclose(distance[success], result.distortion[success], 1e-3)
    assert success.any() and (result.distortion.numpy() <= 1.5 * (1 + 1e-5)).all()
    assert np.median(distance[success]) > 1.2
    both = success & (columns[f"success {smallest} rounded=False"] == 1)
    least = columns[f"distortion {smallest} rounded=False"]
    assert (distance[both] >= least[both] - 1e-5).all()


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [SMALLEST, AT_EPS])
@pytest.mark.parametrize(
    ("source", "target"),
    [("one", "two"), ("two", "one"), ("one", FILTERED), ("two", FILTERED)],
)
def test_transfer_is_counted_from_the_images(examples, means, source, target, protocol):
    """Successes on the source whose clean image the target has right."""
    columns = examples[source]
    pair = f"source={source} target={target}"
    right = columns[f"target_accuracy {pair}"] == 1
    np.testing.assert_allclose(
        means[source, f"target_accuracy {pair}"], expected_mean(right), rtol=1e-6
    )
    for attack in NAMES[:4] if protocol == AT_EPS else NAMES:
        case = setting(attack, protocol)
        success = columns[f"success {case} rounded=False"] == 1
        counted = success & right
        wrong = columns[f"target_error {pair} {case}"]
        column = columns[f"transfer {pair} {case}"]
        np.testing.assert_array_equal(column, np.where(counted, wrong, np.nan))
        for quantity, values in (
            ("transfer", wrong[counted]),
            ("target_accuracy", right[success]),
            ("target_error", wrong),
        ):
            np.testing.assert_allclose(
                means[source, f"{quantity} {pair} {case}"],
                expected_mean(values),
                rtol=1e-6,
            )


@pytest.mark.slow
def test_the_target_is_the_other_model(examples, places):
    """Which of the source's clean images it has right, with NumPy."""
    test = data.load("shapes", "test")
    for source, target in (("one", "two"), ("two", "one")):
        index = examples[source]["index"].astype(int)
        network = load_classifier(places / f"{target}.keras").call
        logits = network.predict(test.images[index].astype(np.float32) / 255, verbose=0)
        np.testing.assert_array_equal(
            examples[source][f"target_accuracy source={source} target={target}"] == 1,
            logits.argmax(-1) == test.labels[index],
        )
        itself = f"target_accuracy source={source} target={source}"
        assert itself not in examples[source]


@pytest.mark.slow
def test_what_is_printed_and_written(evaluated):
    """All files, every table on the terminal, strict JSON with the settings."""
    out, ended = evaluated
    figures = {
        f"{name}_{place}.png"
        for place in (1, 2)
        for name in ("characteristics", "worst_cases", "magnified", "perturbations")
    }
    assert {path.name for path in out.iterdir()} == figures | {
        "evaluation.csv",
        "evaluation.flags",
        "evaluation.html",
        "evaluation.json",
        "evaluation.md",
        "per_example.csv",
    }

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    whole = json.loads((out / "evaluation.json").read_text(), parse_constant=refuse)
    records = records_of(out)
    assert whole["suites"] == ["smooth"]
    how = {"protocol": SMALLEST, "rounded": False}
    record = records.get("one", "success", attack="FGSM", **how)
    assert record.images == 7 and record.about["threat_model"] == "Linf"
    assert record.about["spec"] == "fgsm:eps=24/255"
    np.testing.assert_allclose(record.about["radii"], [8 / 255, 16 / 255, 24 / 255])
    spent = records.get("one", "gradients", attack="PGD2", protocol=SMALLEST)
    assert (spent.estimate.value, spent.about["exact"]) == (9, False)
    assert all(
        record.estimate.value > 0 for record in records.where("seconds_per_image")
    )
    budgets = records.of("two").where("gradients", protocol=BUDGET)
    assert [entry.setting["budget"] for entry in budgets] == ["1x5"] * 4 + ["2x5"] * 4
    targets = records.of("two").where("transfer").values_of("target")
    assert {*targets} == {FILTERED, "one"}
    page = (out / "evaluation.html").read_text()
    for title in (
        "Attacks on one",
        "Budgets of the searches on two",
        "Transfer at eps",
    ):
        assert f"<h2>{title}</h2>" in page and title in ended.out
    assert page.count("<table>") == 8 and page.count("<picture>") == 8
    assert "first 7 that it classifies correctly; wrong ones passed over" in page


class Threshold:
    """A served model of ten classes that tells two apart, by one pixel."""

    def __call__(self, images):
        first = images[:, 0, 0, 0]
        rest = tf.fill([tf.shape(images)[0], 8], -100.0)
        two = tf.stack([0.55 - first, first - 0.55], axis=-1)
        return tf.concat([two, rest], axis=-1)


@pytest.mark.slow
def test_a_linear_model_where_all_is_known():
    """Two thresholds on a pixel: distortions in closed form, and who fools whom."""
    pixels = np.full((6, 3, 3, 1), 128, np.uint8)
    test = data.Dataset("grey", pixels, np.zeros(6, int), tuple("abcdefghij"))
    run, (suite,) = parse(
        "--suite=smooth",
        "--model=a",
        "--examples=6",
        "--radii=4",
        "--attack=fgsm:eps=0.4",
        "--attack=pgd:norm=2,eps=0.4,steps=4,random_start=false",
        "--budgets=",
        "--batch_size=4",
    )
    trials = smooth_trials.make(run, suite.own)
    measurer = smooth_suite.Measurer(run, suite.own, trials, test)

    def stricter(images):
        logits = Threshold()(images)
        # Fooled from 0.85 on, and 0.9 is the farthest that a radius of 0.4 leads.
        return logits + tf.constant([0.3, -0.3] + [0.0] * 8)

    results = []
    for name, network in (("easy", Threshold()), ("hard", stricter)):
        results += measurer.measure(
            Loaded(name, network, (3, 3, 1), 10, Path(name), {})
        )
    records = Records([*results, *measurer.transfers()])

    def mean(model, quantity, attack, protocol=SMALLEST, **more):
        case = {"attack": attack, "protocol": protocol, **more}
        return records.get(model, quantity, **case).estimate

    assert measurer.attacked["easy"].skipped == 0
    assert records.get("easy", "accuracy", attacked=True).images == 6
    assert records.get("easy", "accuracy", attacked=None).estimate.value == 1.0
    # One pixel has to rise by 0.048; the smallest radius is 0.1, in each pixel that
    # has a gradient, which is one.
    for attack in ("FGSM", "PGD2"):
        assert mean("easy", "success", attack, rounded=False) == (1.0, 0.0)
        least = mean("easy", "distortion", attack, rounded=False).value
        assert 0.048 < least <= 0.1 + 1e-6
    for model, expected in (("easy", 0.1), ("hard", 0.4)):
        least = mean(model, "distortion", "FGSM", rounded=False).value
        assert abs(least - expected) < 1e-6
    # What barely fools the one is nothing to the other; the other way round all is.
    for attack in ("FGSM", "PGD2"):
        assert mean("easy", "transfer", attack, target="hard").value == 0.0
        assert mean("hard", "transfer", attack, target="easy").value == 1.0
        assert mean("easy", "transfer", attack, AT_EPS, target="hard").value == 1.0


def test_the_median_image():
    """The lower of two in the middle; none where nothing was fooled."""
    success = np.array([True, True, False, True, True])
    distortion = np.float32([4.0, 1.0, 0.0, 3.0, 2.0])

    def median(success):
        curve = analysis.Characteristic(distortion=distortion, success=success)
        return smooth_tables.median_row(curve)

    assert median(success) == 4
    assert median(np.zeros(5, bool)) is None


@pytest.mark.slow
def test_attacks_of_every_kind(places, tmp_path):
    """Each registered attack, in every norm; distortions are L2 for all."""
    ended = call(
        *BASE,
        "--attack=fgsm:norm=2,eps=1",
        "--attack=mifgsm:eps=24/255,steps=3",
        "--attack=pgd:norm=1,eps=30,steps=3",
        "--attack=smooth_pgd:norm=inf,eps=24/255,steps=3",
        "--attack=ddn:steps=40",
        "--attack=ddn:norm=inf,steps=10",
        "--attack=deepfool:steps=10",
        "--attack=square:norm=inf,eps=24/255,queries=20",
        f"--model={places}/one.keras",
        f"--out={tmp_path}/out",
    )
    assert ended.code == 0, ended.err
    records = records_of(tmp_path / "out")
    how = {"protocol": SMALLEST, "rounded": False}
    titles = records.where("success", **how).values_of("attack")
    assert titles == [
        "FGSM L2 1",
        "MI-FGSM Linf 24/255",
        "PGD L1 30",
        "sPGD Linf 24/255",
        "DDN L2",
        "DDN Linf",
        "DeepFool L2",
        "Square Linf 24/255",
    ]
    assert len(records.where("robust_accuracy")) == 2 * len(titles)
    assert "<= 60 queries" in ended.out and "Budgets of" not in ended.out
    assert records.get("one", "success", attack="DDN L2", **how).estimate.value > 0.9
    for title, largest in (("MI-FGSM Linf 24/255", 24), ("FGSM L2 1", 0)):
        length = records.get("one", "distortion", attack=title, **how).estimate.value
        # A step of each pixel is long in L2.
        assert length > 24 / 255 if largest else length <= 1 + 1e-5
    for title in ("DDN Linf", "Square Linf 24/255"):
        length = records.get("one", "distortion", attack=title, **how)
        assert length.images == 0 or length.estimate.value > 24 / 255


@pytest.mark.slow
def test_a_few_numbered_images_of_a_network_of_many_classes(tmp_path):
    """As on ImageNet: six images, forty classes, an own range of pixels, no training.

    All are called what the network calls them, but for the second.
    """
    network = mlp(3, shape=(12, 16, 3), classes=40)
    bytes_in = keras.Sequential(
        [keras.Input((12, 16, 3)), keras.layers.Rescaling(1 / 255), network]
    )
    bytes_in.save(tmp_path / "net.keras")
    folder = tmp_path / "few"
    folder.mkdir()
    shown = np.stack([picture(seed) for seed in range(6)])
    classes = network.predict(shown / np.float32(255), verbose=0).argmax(-1)
    classes[1] = (classes[1] + 1) % 40
    for seed, label in enumerate(classes):
        file = folder / f"{seed:02}_{label}.png"
        file.write_bytes(encoded(shown[seed], ".png"))
    common = f"--model={tmp_path}/net.keras", f"--dataset=folder:{folder}:classes=40"
    out = tmp_path / "out"
    ended = call(
        "--suite=smooth",
        *common,
        "--examples=4",
        "--budgets=",
        "--l2_radii=5,20",
        "--attack=pgd:norm=2,eps=20,steps=3,random_start=false,early_stop=false",
        "--attack=smooth_cw:steps=5,search_steps=1,solver=cg,iterations=5",
        f"--out={out}",
    )
    assert ended.code == 0, ended.err
    records = records_of(out)
    assert records.get("net", "accuracy", attacked=None).estimate.value == 5 / 6
    rows = columns_of(out)["net", "test"]
    attacked = ~np.isnan(rows[f"success {setting('PGD2')} rounded=False"])
    assert rows["index"][attacked].tolist() == [0, 2, 3, 4]
    how = {"protocol": SMALLEST, "rounded": False}
    length = records.get("net", "distortion", attack="PGD2", **how).estimate.value
    assert 0 < length <= 20
    assert (out / "perturbations_1.png").exists()
    ended = call("--suite=lcnn", *common, "--attack=pgd:norm=2,eps=1", f"--out={out}2")
    assert re.search("must be one of test for .* split='train'", ended.error)


@pytest.mark.slow
def test_the_command_on_mnist(call_module, tfds_dir, tmp_path):
    """As a user types it, one network that is right by chance now and then."""
    keras.utils.set_random_seed(0)
    mlp(3, shape=(28, 28, 1)).save(tmp_path / "net.keras")
    search = "steps=5,search_steps=1"
    ended = call_module(
        "trainers.evaluate",
        f"--flagfile={FLAGS}",
        f"--model={tmp_path}/net.keras",
        "--dataset=mnist",
        f"--data_dir={tfds_dir}",
        "--clean_examples=200",
        "--examples=5",
        "--radii=2",
        "--budgets=",
        "--attack=fgsm:eps=0.3",
        "--attack=pgd:norm=2,eps=5,random_start=false",
        f"--attack=cw:{search}",
        f"--attack=smooth_cw:{search},roughness_weight=30",
        f"--out={tmp_path}/out",
    )
    assert ended.code == 0, ended.err[-3000:]
    records = records_of(tmp_path / "out")
    (model,) = records.models
    how = {"protocol": SMALLEST, "rounded": False}
    fast = records.get(model, "success", attack="FGSM", **how)
    assert fast.about["radii"] == [0.15, 0.3]
    assert not records.where(protocol=BUDGET)
    assert records.cell(model, "success", attack="PGD2", **how)[0] == 1.0
    assert "sC&W, roughness 30" in records.values_of("attack")
