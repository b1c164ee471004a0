"""The standard suite: every number counted anew, what it says, and what it resumes."""

import re
import types

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from export.facts import facts_of
from tests.trainers.suites.common import call, columns_of, parse, records_of, refusal
from tfrobust import analysis, attacks, data, geometry
from tfrobust.cli.loading import load_classifier
from tfrobust.cli.program import CheckFailed
from tfrobust.cli.records import Record, Records
from tfrobust.core.estimates import Estimate
from trainers.suites.standard import measure as standard
from trainers.suites.standard.fallen import fell_first
from trainers.suites.standard.gradient import why_no_gradient

EPS = 8 / 255
SMALL = (
    "--dataset=shapes",
    "--examples=24",
    "--clean_examples=60",
    "--geometry_examples=4",
    "--judge_examples=10",
    "--batch_size=10",
    "--seed=5",
)
TITLE = "AutoAttack Linf 8/255"
NEAREST = "--attack=ddn:norm=inf,steps=5"
CHECKS = [
    ("radius", "accuracy falls with the radius", "passed", "to 0 at 32/255", ""),
    ("search", "no search breaks more", "doubtful", "3 of 10", "a search breaks 3"),
]


def stages(attack):
    """What AutoAttack is made of here: two attacks that take no time."""
    ball = {"norm": attack.norm, "eps": attack.eps}
    first = attacks.FGSM(**ball)
    return {"apgd-ce": first, "square": attacks.Square(**ball, queries=40, seed=1)}


def judgement(verdict="Doubtful"):
    """A judge that is asked the right question, and always answers the same."""

    def judge(model, images, labels, *, norm, eps, evaluation, examples, **settings):
        assert (norm, eps, len(images)) == ("inf", EPS, len(labels))
        assert len(evaluation.labels) == len(images) >= examples
        assert set(settings) == {"seed", "batch_size", "progress"}
        fields = ("name", "title", "outcome", "evidence", "reason")
        reason = ": a search breaks 3" if verdict != "Trustworthy" else ""
        content = {
            "verdict": verdict,
            "sentence": f"{verdict}{reason}",
            "checks": [dict(zip(fields, each, strict=True)) for each in CHECKS],
            "note": "An adaptive attack may find more.",
        }
        return types.SimpleNamespace(to_json=lambda: content)

    return judge


@pytest.fixture(scope="module", autouse=True)
def cheap():
    """AutoAttack and the judge in seconds; they have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attacks.AutoAttack, "stages", stages)
        patch.setattr(analysis, "judge", judgement())
        yield patch


@pytest.fixture(scope="module")
def evaluated(places, tmp_path_factory, cheap):
    """The folder of an evaluation of two networks, and what it printed."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    models = [f"--model={places}/{name}" for name in ("first", "second.keras")]
    ended = call(*SMALL, NEAREST, *models, f"--out={out}")
    assert ended.code == 0, ended.err
    return out, ended


@pytest.fixture(scope="module")
def attacked(evaluated):
    """`attacked[model]`: columns of the images that were attacked."""
    columns = columns_of(evaluated[0])
    found = {}
    for name in ("first", "second"):
        whole = columns[name, "test"]
        rows = ~np.isnan(whole["accuracy split=test attacked=True"])
        assert rows.sum() == 24
        found[name] = {title: values[rows] for title, values in whole.items()}
    return found


@pytest.fixture(scope="module")
def again(attacked, places):
    """The network `second`, its attacked images and labels, in one batch."""
    test = data.load("shapes", "test")
    index = attacked["second"]["index"].astype(int)
    images = test.images[index].astype(np.float32) / 255
    network = load_classifier(places / "second.keras").call
    return network, images, test.labels[index]


def robust(title, rounded=False):
    ball = f"threat_model=Linf eps={EPS:.6g} rounded={rounded}"
    return f"robust_accuracy attack={title} {ball}"


def over_eps(title, eps):
    return f"accuracy_over_eps attack={title} threat_model=Linf eps={eps:.6g}"


def test_it_is_what_is_measured_by_default():
    _, (suite,) = parse("--model=a")
    assert suite.name == "standard" and suite.own.version == "standard"


@pytest.mark.parametrize(
    ("flags", "dataset", "expected"),
    [
        ([], "cifar10", ("8/255", 8 / 255)),
        ([], "mnist", ("0.3", 0.3)),
        (["--norm=2"], "cifar10", ("0.5", 0.5)),
        (["--norm=1"], "mnist", ("10", 10.0)),
        (["--radius=4/255"], "mnist", ("4/255", 4 / 255)),
        ([], "folder:digits/mnist:size=28", ("0.3", 0.3)),
    ],
)
def test_the_radius_is_the_usual_one_unless_it_is_given(flags, dataset, expected):
    run, (suite,) = parse("--model=a", f"--dataset={dataset}", *flags)
    ball = suite.own.ball(run.dataset)
    assert (str(ball), ball.value) == expected


@pytest.mark.parametrize(
    ("version", "title"),
    [("standard", TITLE), ("fast", "AutoAttack fast Linf 8/255")],
)
def test_another_version_is_called_what_it_is(version, title):
    """A lighter attack leaves a higher robust accuracy."""
    run, (suite,) = parse("--model=a", f"--version={version}")
    ((named, attack),) = standard.make_attacks(run, suite.own).items()
    assert named == title and attack.version == version
    assert (attack.norm, attack.eps, attack.seed) == ("inf", EPS, 0)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--radius=0"], r"--radius must be a number above 0, .* Received: 0$"),
        (["--radius=wide"], "--radius must be a number above 0, .* Received: wide$"),
        (["--norm=3"], r"flag --norm=3: value should be one of <inf\\|2\\|1>"),
        (
            ["--attack=pgd:norm=2"],
            r"--attack=pgd:norm=2,eps=8/255: in this suite --norm and --radius set the "
            r"ball, Linf 8/255. Received: L2 8/255",
        ),
        (
            ["--attack=pgd:eps=0.1"],
            r"--attack=.*set the ball, Linf 8/255. Received: Linf 0\.1",
        ),
        (["--attack=cw"], r"--attack=cw: .* Received: L2"),
        (["--attack=autoattack"], "--attack=autoattack.* is run by this suite anyway"),
        (["--eps=0.1"], "--eps needs --suite=lcnn"),
        (["--examples=2001"], "--examples=2001 is more than the 2000 images"),
    ],
)
def test_refused(places, tmp_path, monkeypatch, flags, sentence):
    model = f"--model={places}/second.keras"
    out = tmp_path / "out"
    error = refusal(monkeypatch, out, "--dataset=shapes", model, *flags)
    assert re.search(sentence, error), error


def test_a_data_set_without_a_test_image_is_refused(places, tmp_path):
    arrays = {
        "x_train": np.zeros((4, 32, 32, 3), np.uint8),
        "y_train": np.zeros(4, int),
        "x_test": np.zeros((0, 32, 32, 3), np.uint8),
        "y_test": np.zeros(0, int),
    }
    np.savez(tmp_path / "none.npz", **arrays)
    given = f"--dataset=npz:{tmp_path}/none.npz"
    ended = call(given, f"--model={places}/second.keras", f"--out={tmp_path}/out")
    assert f"npz:{tmp_path}/none.npz" in ended.error
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_what_broke_each_image_is_what_the_stages_do(attacked, again):
    """Called by themselves on all images at once, the second on what is left."""
    columns, (network, images, labels) = attacked["second"], again
    first, second = stages(attacks.PGD(norm="inf", eps=EPS)).values()
    results = [attack(network, images, labels) for attack in (first, second)]
    by_first = (results[0].success & ~results[0].already).numpy()
    by_second = ~results[0].success.numpy() & results[1].success.numpy()
    for part, broke in (("apgd-ce", by_first), ("square", by_second)):
        column = columns[f"broken_by attack={TITLE} part={part}"]
        np.testing.assert_array_equal(column, broke)
    correct = ~results[0].already.numpy()
    np.testing.assert_array_equal(columns["accuracy split=test attacked=True"], correct)
    np.testing.assert_array_equal(
        columns[robust(TITLE)], correct & ~by_first & ~by_second
    )
    # DDN does not count its questions.
    assert "queries attack=DDN Linf" not in columns
    # FGSM asks thrice or so, a search up to 40 times more.
    asked = columns[f"queries attack={TITLE}"]
    assert np.isnan(asked[~correct]).all() and by_first.any()
    expected = results[0].queries.numpy() + np.where(
        by_first, 0, results[1].queries.numpy()
    )
    np.testing.assert_array_equal(asked[correct], expected[correct])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["first", "second"])
def test_the_union_counts_an_attack_without_a_radius_within_this_one(
    attacked, evaluated, name
):
    columns = attacked[name]
    success = columns["success attack=DDN Linf rounded=False"] == 1
    far = columns["distortion attack=DDN Linf rounded=False"] > EPS
    held = (columns["accuracy split=test attacked=True"] == 1) & (~success | far)
    np.testing.assert_array_equal(columns[robust("DDN Linf")], held)
    both = held & (columns[robust(TITLE)] == 1)
    np.testing.assert_array_equal(columns[robust("all")], both)
    records = records_of(evaluated[0])
    record = records.get(name, "robust_accuracy", attack="all", rounded=False)
    np.testing.assert_allclose(record.estimate.value, both.mean())
    assert [spec.partition(":")[0] for spec in record.about["attacks"]] == [
        "autoattack",
        "ddn",
    ]
    assert far.any() or not success.any()


@pytest.mark.slow
def test_classes_are_those_of_the_labels(attacked, evaluated):
    columns, records = attacked["first"], records_of(evaluated[0])
    names = data.load("shapes", "test").class_names
    for place, name in enumerate(names):
        rows = columns["label"] == place
        for quantity, title in (
            ("class_accuracy", "accuracy split=test attacked=True"),
            ("class_robust_accuracy", robust("all")),
        ):
            record = records.get("first", quantity, **{"class": name})
            assert record.images == rows.sum() > 0
            np.testing.assert_allclose(
                record.estimate.value, columns[title][rows].mean()
            )


@pytest.mark.slow
def test_accuracy_over_eps_is_that_of_the_cheap_attacks(attacked, evaluated, again):
    """It falls, an image once lost stays lost, and it ends where little is left."""
    columns, (network, images, labels) = attacked["second"], again
    clean = columns["accuracy split=test attacked=True"] == 1
    radii = records_of(evaluated[0]).of("second").where("accuracy_over_eps")
    radii = radii.values_of("eps")
    np.testing.assert_allclose(
        radii, np.multiply(standard._GRID[: len(radii)], EPS), rtol=1e-12
    )
    assert len(radii) >= 4
    held = {"FGSM": clean, "PGD": clean}
    for eps in radii:
        attack = {
            "FGSM": attacks.FGSM(norm="inf", eps=eps),
            "PGD": attacks.PGD(norm="inf", eps=eps, loss="margin", seed=5),
        }
        for title in held:
            success = attack[title](network, images, labels).success.numpy()
            held[title] = held[title] & ~success
            np.testing.assert_array_equal(columns[over_eps(title, eps)], held[title])
        both = held["FGSM"] & held["PGD"]
        np.testing.assert_array_equal(columns[over_eps("all", eps)], both)
    assert both.mean() <= 0.01 or len(radii) == len(standard._GRID)


@pytest.mark.slow
def test_geometry_is_that_of_the_library(attacked, evaluated, again):
    columns = columns_of(evaluated[0])["second", "test"]
    kept = ~np.isnan(columns["curvature split=test"])
    assert kept.sum() == 4
    test = data.load("shapes", "test")
    index = columns["index"][kept].astype(int)
    pair = (test.images[index].astype(np.float32) / 255, test.labels[index])
    whole = geometry.measure(again[0], pair, power_iterations=10)
    for key in standard.QUANTITIES:
        np.testing.assert_allclose(
            columns[f"{key} split=test"][kept], getattr(whole, key), rtol=1e-3
        )


def wilson(values):
    """The interval of a share, by scipy."""
    test = scipy.stats.binomtest(int(values.sum()), len(values))
    return test.proportion_ci(0.95, method="wilson")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["first", "second"])
def test_the_sentence_says_what_was_measured(evaluated, attacked, name):
    """Counted anew; Wilson's interval by scipy, the union where it is lower.

    A robust accuracy has a standard error, or the interval where all are alike.
    """
    out, ended = evaluated
    clean = columns_of(out)[name, "test"]["accuracy split=test"]
    clean = clean[~np.isnan(clean)]
    low, high = wilson(clean)
    left, union = (attacked[name][robust(title)] for title in (TITLE, "all"))
    shown = [
        f"{values.mean():.1%} +- {values.std(ddof=1) / np.sqrt(24):.1%}"
        if 0 < values.sum() < 24
        else "{:.1%} [{:.1%}, {:.1%}]".format(values.mean(), *wilson(values))
        for values in (left, union)
    ]
    lower = union.sum() < left.sum()
    more = f" and {shown[1]} under all attacks together" if lower else ""
    sentence = (
        f"{name}: clean {clean.mean():.1%} [{low:.1%}, {high:.1%}], robust {shown[0]} "
        f"under {TITLE}{more} on 24 images. Doubtful: a search breaks 3."
    )
    assert sentence in " ".join(ended.out.split())
    page = (out / "evaluation.html").read_text()
    assert f'<p class="result">{sentence.replace(" +- ", " &plusmn; ")}</p>' in page
    assert f"- {sentence}\n" in (out / "evaluation.md").read_text()


@pytest.mark.slow
def test_what_is_written(evaluated):
    """All files and nothing else, every section, the checks with their reasons."""
    out, ended = evaluated
    assert {path.name for path in out.iterdir()} == {
        "evaluation.csv",
        "evaluation.flags",
        "evaluation.html",
        "evaluation.json",
        "evaluation.md",
        "fell_first_0.png",
        "fell_first_1.png",
        "per_example.csv",
        "robustness.png",
        "robustness_0.png",
        "robustness_1.png",
    }
    page = (out / "evaluation.html").read_text()
    first = page.index("<h2>")
    assert page[first:].startswith("<h2>How robust, and whether that can be trusted")
    assert page.count("<picture>") == 5
    for title in (
        "Accuracy, clean and under attack",
        "Accuracy against eps, first",
        "What speaks for the numbers and against them, second",
        "Class by class",
        "The images that fell first, second",
        "Parts of the attack, first",
        "Geometry of the loss",
    ):
        assert f"<h2>{title}</h2>" in page
    assert '<td class="word">a search breaks 3: 3 of 10</td>' in page
    assert '<td class="word">to 0 at 32/255</td>' in page
    assert page.index("no search breaks more") < page.index("accuracy falls with the")
    assert ">6/255</th>" in page and f">{TITLE}</th>" in page
    record = records_of(out).get("second", "trustworthy")
    assert (record.estimate.value, record.images) == (0.0, 10)
    assert record.about["verdict"] == "Doubtful"
    assert [each["outcome"] for each in record.about["checks"]] == [
        "passed",
        "doubtful",
    ]
    flags = (out / "evaluation.flags").read_text().splitlines()
    assert {"--suite=standard", "--radius=", "--norm=inf"} <= set(flags)


@pytest.mark.slow
def test_the_images_that_fell_first_were_asked_about_least(attacked, again, cheap):
    run, (suite,) = parse(*SMALL, "--model=a")
    network, images, labels = again
    model = types.SimpleNamespace(name="second", call=network)
    made = standard.make_attacks(run, suite.own)
    evaluation = attacks.evaluate(network, (images, labels), made, keep_images=True)
    fallen = fell_first(model, images, labels, evaluation.results[TITLE])
    columns = attacked["second"]
    broken = (columns[robust(TITLE)] == 0) & (
        columns["accuracy split=test attacked=True"] == 1
    )
    asked = columns[f"queries attack={TITLE}"]
    np.testing.assert_array_equal(fallen.queries, np.sort(asked[broken])[:6])
    assert len(fallen.images) == min(6, broken.sum()) > 0
    change = np.abs(fallen.adversarial - fallen.images)
    assert change.max() <= EPS * (1 + 1e-5) and np.all(change.max((1, 2, 3)) > 0)
    answers = np.argmax(network(fallen.adversarial, training=False), axis=-1)
    np.testing.assert_array_equal(fallen.answers, answers)
    assert np.all(fallen.answers != fallen.labels)
    assert set(fallen.broken_by) <= {"apgd-ce", "square"}


@pytest.mark.slow
def test_a_card_tells_the_verdict(evaluated, places):
    facts = facts_of(places / "first" / "model.keras", evaluated[0] / "evaluation.json")
    assert facts.judgement == {
        "verdict": "Doubtful",
        "sentence": "Doubtful: a search breaks 3",
        "threat_model": "Linf",
        "eps": EPS,
        "images": 10,
        "dataset": "shapes",
        "source": "evaluation",
    }
    named = [entry["attack"] for entry in facts.robust_accuracy]
    assert named == [TITLE, "DDN Linf", "all"]
    assert facts.geometry["test"]["curvature"]["mean"] > 0


@pytest.mark.parametrize("verdict", ["Trustworthy", "Doubtful", "Wrong"])
def test_strict_fails_unless_every_model_is_trustworthy(verdict):
    records = Records(
        Record(name, "trustworthy", {}, 9, Estimate(0, 0), about={"verdict": said})
        for name, said in (("a", "Trustworthy"), ("b", verdict))
    )
    _, (suite,) = parse("--model=a", "--strict")
    if verdict == "Trustworthy":
        suite.conclude(records)
    else:
        with pytest.raises(CheckFailed, match=rf"^--strict: b is {verdict}\.$"):
            suite.conclude(records)
    _, (suite,) = parse("--model=a")
    suite.conclude(records)


@pytest.mark.slow
def test_a_killed_evaluation_goes_on(places, tmp_path, monkeypatch, evaluated):
    """The same command attacks nothing anew; other flags are refused, or replace it.

    With --strict it ends with a code of its own, after all was written.
    """
    out = tmp_path / "out"
    model = f"--model={places}/second.keras"
    given = [*SMALL, NEAREST, "--strict", model, f"--out={out}"]

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(analysis, "judge", killed)
        with pytest.raises(KeyboardInterrupt):
            call(*given)
    assert [path.name for path in out.iterdir()] == ["partial"]
    error = call(*given, "--seed=6").error
    part = f"--out={out} holds a part of an evaluation with other flags (--seed=5); "
    assert part in error and error.endswith("Received: --seed=6")

    def attack(*_, **__):
        raise AssertionError("an attack was run again")

    with monkeypatch.context() as patch:
        patch.setattr(attacks.Attack, "__call__", attack)
        ended = call(*given)
    assert (ended.code, ended.err) == (3, "failed: --strict: second is Doubtful.\n")
    assert not (out / "partial").exists()
    same, other = (
        [
            record.to_json()
            for record in records_of(folder).of("second")
            if record.quantity != "seconds"
        ]
        for folder in (out, evaluated[0])
    )
    assert same == other and len(same) > 40


@pytest.mark.slow
def test_a_model_without_gradient_is_attacked_by_questions_alone(tmp_path):
    module = tf.Module()

    def step(images):
        means = tf.reduce_mean(images, [1, 2])
        rounded = tf.round(20.0 * means)
        return {
            "logits": tf.concat([rounded, tf.zeros_like(means[:, :1])] * 3, 1)[:, :10]
        }

    spec = tf.TensorSpec([None, 32, 32, 3], tf.float32, name="images")
    module.run = tf.function(step, input_signature=[spec])
    path = str(tmp_path / "flat")
    tf.saved_model.save(
        module, path, {"serving_default": module.run.get_concrete_function()}
    )
    loaded = load_classifier(path)
    reason = why_no_gradient(loaded, np.zeros((1, 32, 32, 3), np.float32))
    assert "`model` must be differentiable in its images" in reason
    ended = call(*SMALL, f"--model={path}", f"--out={tmp_path}/out")
    assert ended.code == 0, ended.err
    text = " ".join(ended.out.split())
    assert "flat has no gradient: only black-box attacks can be run on it" in text
    assert "under Square Linf 8/255 on 24 images." in text
    records = records_of(tmp_path / "out")
    assert not records.where("accuracy_over_eps") and not records.where("curvature")
    assert records.where("robust_accuracy").values_of("attack") == ["Square Linf 8/255"]


def test_a_network_has_a_gradient(places):
    loaded = load_classifier(places / "second.keras")
    assert why_no_gradient(loaded, np.zeros((1, 32, 32, 3), np.float32)) == ""
