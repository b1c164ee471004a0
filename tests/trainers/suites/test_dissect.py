"""The dissect suite: its numbers recomputed from single images, and its refusals."""

import json
import re
import warnings
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from export.saved_model import export_saved_model
from tests.trainers.suites.common import (
    FLAGFILES,
    call,
    columns_of,
    mlp,
    parse,
    refusal,
)
from tests.trainers.suites.test_pag import expected_mean, pixels, small_network
from tfrobust import attacks, data
from tfrobust.cli.loading import load_classifier
from tfrobust.cli.program import UsageError
from tfrobust.cli.prose import Prose
from tfrobust.cli.records import Records, read_evaluation
from tfrobust.training import KeepEpochs, RobustModel, kept_epochs
from trainers.suites import attacks as suite_attacks
from trainers.suites.dissect import checkpoints, measures, page
from trainers.suites.dissect import measure as dissect_suite
from trainers.suites.evaluation import flag_lines

MAIN, OTHER = "PGD Linf 4/255", "PGD L2 0.4"
SMALL = (
    "--suite=dissect",
    "--dataset=shapes",
    "--examples=12",
    "--batch_size=5",
    "--geometry_examples=3",
    "--clean_examples=40",
    "--power_iterations=2",
    "--dissect_scales=3",
)
PGD = "--attack=pgd:norm=inf,eps=4/255,steps=3,step_size=2/255"
PGD2 = "--attack=pgd:norm=2,eps=0.4,steps=3"
ATTACKS = {
    MAIN: attacks.PGD(
        norm="inf", eps=4 / 255, steps=3, step_size=2 / 255, early_stop=False
    ),
    OTHER: attacks.PGD(norm=2, eps=0.4, steps=3, early_stop=False),
}
OPEN = ("one", "two", "three")
NAMES = (*OPEN, "served")
LAYERS = {"Conv 1": "first", "Layer 0": "centred", "Layer 1": "second"}
STATISTICS = ("maximum", "total", "relative")
SCALES = (0.0, np.sqrt(0.5), np.sqrt(2.0))


def readable_network(seed):
    """Two convolutions that learn in seconds, and whose layers have names."""
    keras.utils.set_random_seed(seed)
    images = keras.Input((32, 32, 3))
    maps = keras.layers.Rescaling(6.0, -3.0)(images)
    maps = keras.layers.Conv2D(8, 5, 3, activation="softplus", name="first")(maps)
    maps = keras.layers.Rescaling(1.0, -1.0, name="centred")(maps)
    maps = keras.layers.Conv2D(12, 5, 2, activation="softplus", name="second")(maps)
    logits = keras.layers.Dense(10, name="logits")(keras.layers.Flatten()(maps))
    return keras.Model(images, logits)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Three networks with two of their epochs, and the second as it is served."""
    folder = tmp_path_factory.mktemp("models")
    train = data.load("shapes", "train").take(1000)
    images = train.images.astype(np.float32) / 255
    for seed, name in enumerate(OPEN, start=1):
        model = RobustModel(readable_network(seed))
        model.compile(keras.optimizers.Adam(1e-2))
        keep = KeepEpochs(folder / name / "epochs", every=3)
        model.fit(
            images,
            train.labels,
            batch_size=50,
            epochs=6,
            verbose=0,
            callbacks=[keep],
        )
        model.network.save(folder / f"{name}.keras")
        if name == "two":
            export_saved_model(model.network, folder / "served")
    return folder


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A model, and epochs of networks that fit, that do not, and that are none."""
    folder = tmp_path_factory.mktemp("untrained")
    mlp(1).save(folder / "one.keras")
    runs = {
        "run/epochs": [mlp(1), mlp(2)],
        "again/run": [mlp(3)],
        "small": [mlp(4, shape=(28, 28, 3))],
        "seven": [mlp(5), mlp(6, classes=7)],
        "mixed": [mlp(7), small_network(8)],
    }
    for name, networks in runs.items():
        (folder / name).mkdir(parents=True)
        for epoch, network in enumerate(networks, start=1):
            network.save(KeepEpochs(folder / name).path(epoch))
    (folder / "broken").mkdir()
    (folder / "broken" / "epoch-001.keras").write_text("no network")
    (folder / "empty").mkdir()
    return folder


RUN = "--checkpoints={p}/run"
CASES = {
    "attack": (
        ["--attack=apgd_t"],
        r"--attack=apgd_t: `attack` must be one of .*pgd.* Received: 'apgd_t'",
    ),
    "no attack": (["--attack="], r"--attack=: "),
    "high": (["--dissect_high=2"], r"flag --dissect_high=2: "),
    "linf": (["--attack=fgsm:eps=0"], r"--attack=fgsm:eps=0: .*eps"),
    "l2": (["--attack=pgd:norm=2,eps=-1"], r"--attack=pgd:norm=2,eps=-1: .*eps"),
    "scales": (["--dissect_scales=1"], r"flag --dissect_scales=1: "),
    "shown": (["--dissect_shown=0"], r"flag --dissect_shown=0: "),
    "layer": (
        ["--dissect_layers=hidden1,hidden9"],
        r"--model=.*one\.keras: --dissect_layers must be among .*hidden1, "
        r"hidden1_activation, logits\. Received: 'hidden9'",
    ),
    "blank layer": (
        ["--dissect_layers=hidden1,,logits"],
        r"--dissect_layers must be among .*logits\. Received: ''",
    ),
    "geometry": (
        ["--geometry_examples=13"],
        r"--geometry_examples=13 is more than the --examples=12 images attacked, of",
    ),
    "checkpoint examples": (
        [RUN],
        r"--checkpoint_examples=100 is more than the --examples=12 images attacked",
    ),
    "examples": (
        ["--examples=2001"],
        r"--examples=2001 is more than the 2000 images in the test split of shapes",
    ),
}
# What is refused of a run.
RUNS = {
    "missing": (["--checkpoints={p}/none"], r"--checkpoints=.*/none holds no epoch-NN"),
    "no epochs": (["--checkpoints={p}/empty"], r"--checkpoints=.*/empty holds no ep"),
    "a file": (["--checkpoints={p}/one.keras"], r"one\.keras holds no epoch-NNN\.ker"),
    "name": ([RUN, "--checkpoints={p}/again/run"], r"Two runs .* are called 'run'\."),
    "given twice": ([RUN, RUN + "/epochs"], r"Two runs .* are called 'run'\."),
    "broken": (
        ["--checkpoints={p}/broken"],
        r"--checkpoints=.*broken.epoch-001\.keras is no Keras model that loads here",
    ),
    "image size": (
        ["--checkpoints={p}/small"],
        r"--checkpoints=.*small.epoch-001\.keras takes images \[28, 28, 3\], but those",
    ),
    "classes": (
        [RUN, "--checkpoints={p}/seven"],
        r"--checkpoints=.*seven.epoch-002\.keras tells 7 classes apart, but shapes ha",
    ),
    "layer": (
        ["--checkpoints={p}/mixed", "--dissect_layers=hidden1"],
        r"--checkpoints=.*mixed.epoch-002\.keras: --dissect_layers must be among .*'hi",
    ),
    "layers": (
        ["--checkpoints={p}/mixed"],
        r"--checkpoints=.*mixed must hold networks of the same layers\. "
        r"Received: Conv 1, Layer 1 and Dense 1, Dense 2",
    ),
}
RUNS = {
    f"run: {name}": ([*given, "--checkpoint_examples=2"], expected)
    for name, (given, expected) in RUNS.items()
}


@pytest.mark.parametrize("name", [*CASES, *RUNS])
def test_refused(monkeypatch, untrained, tmp_path, name):
    """One sentence, before data is loaded."""
    flags, expected = (CASES | RUNS)[name]
    given = [f"--model={untrained}/one.keras"]
    given += [flag.format(p=untrained) for flag in flags]
    error = refusal(monkeypatch, tmp_path / "o", *SMALL, *given)
    assert re.search(expected, error), error


@pytest.mark.filterwarnings("ignore:`model` has NaN")
def test_a_run_that_has_diverged_is_named(untrained, tmp_path):
    """Its logits are not finite: one sentence, not a traceback after hours."""
    network = mlp(1)
    network.get_layer("logits").bias.assign(np.full(10, np.nan))
    path = KeepEpochs(tmp_path / "wild").path(7)
    path.parent.mkdir()
    network.save(path)
    run, (suite,) = parse(
        *SMALL,
        PGD,
        "--model=a",
        f"--checkpoints={tmp_path}/wild",
        "--checkpoint_examples=2",
    )
    runs = checkpoints.find_runs(run, suite.own)
    assert runs == {"wild": {7: path}}
    made = {MAIN: ATTACKS[MAIN]}
    test = data.load("shapes", "test")
    measurer = dissect_suite.Measurer(run, suite.own, made, runs, test)
    with pytest.raises(UsageError, match=r"--checkpoints=.*wild.epoch-0"):
        measurer.finish()


@pytest.mark.parametrize(
    ("flag", "needs"),
    [
        ("--eps=9", "--eps needs --suite=lcnn."),
        ("--pag_moved_eps=9", "--pag_moved_eps needs --suite=pag."),
        ("--budgets=3x3", "--budgets needs --suite=smooth."),
        ("--checkpoint_examples=7", "--checkpoint_examples needs --checkpoints."),
    ],
)
def test_flags_that_do_nothing_here_are_refused(flag, needs):
    """Those of another suite, and of parts that are off."""
    with pytest.raises(UsageError) as caught:
        parse(*SMALL, "--model=a", flag)
    assert str(caught.value) == needs


def test_flags_repeat_the_evaluation():
    """`flag_lines` read back gives the same settings."""
    run, suites = parse(
        *SMALL,
        "--model=a",
        "--attack=smooth_pgd:norm=2,eps=0.4,alpha=0.5",
        PGD,
        "--dissect_layers=a, b",
        "--checkpoints=x y",
        "--checkpoints=z",
        "--checkpoint_examples=3",
    )
    again, (same,) = parse(*flag_lines(run, suites))
    (suite,) = suites
    assert again == run and same.own == suite.own
    assert run.attack == ("smooth_pgd:norm=2,eps=0.4,alpha=0.5", PGD[9:])
    assert suite.own.layers == ("a", "b") and suite.own.checkpoints == ("x y", "z")
    _, (plain,) = parse(*SMALL, "--model=a")
    assert plain.own.layers is None


def test_papers_flagfile():
    """PGD-20 from a random start in steps of 1/255, and FGSM, within 8/255 (DIS-S4)."""
    run, (suite,) = parse(f"--flagfile={FLAGFILES}/evaluate_dissect.flags", "--model=a")
    assert suite.name == "dissect" and not suite.own.checkpoints
    expected = attacks.PGD(
        norm="inf", eps=8 / 255, steps=20, step_size=1 / 255, early_stop=False
    )
    suite.prepare()
    fgsm = attacks.FGSM(norm="inf", eps=8 / 255)
    assert suite._attacks == {"PGD Linf 8/255": expected, "FGSM Linf 8/255": fgsm}
    assert expected.random_start
    assert (suite.own.dissect_scales, suite.own.dissect_high) == (15, 0.5)
    _, (default,) = parse("--suite=dissect", "--model=a")
    default.prepare()
    assert default._attacks == suite._attacks


def test_every_attack_can_be_made():
    """In the order given, with the seed; none of them stops at a success."""
    run, (suite,) = parse(
        *SMALL,
        "--model=a",
        "--seed=6",
        "--attack=smooth_pgd:norm=2,eps=0.4,steps=3,alpha=0.9,neighbors=8,bandwidth=1",
        "--attack=fgsm:eps=4/255",
        "--attack=pgd:norm=2,eps=0.4,steps=3,restarts=4",
        "--attack=pgd:norm=inf,eps=4/255,steps=3,restarts=4",
        "--attack=ddn:steps=9",
    )
    suite.prepare()
    settings = {"steps": 3, "early_stop": False, "seed": 6}
    smooth = {"alpha": 0.9, "neighbors": 8, "bandwidth": 1.0}
    assert [*suite._attacks.items()] == [
        ("sPGD L2 0.4", attacks.SmoothPGD(norm=2, eps=0.4, **smooth, **settings)),
        ("FGSM Linf 4/255", attacks.FGSM(eps=4 / 255)),
        (OTHER, attacks.PGD(norm=2, eps=0.4, restarts=4, **settings)),
        (MAIN, attacks.PGD(norm="inf", eps=4 / 255, restarts=4, **settings)),
        ("DDN L2", attacks.DDN(steps=9)),
    ]
    assert suite_attacks.threat_model(suite._attacks[MAIN]) == "Linf"


def refuse(name):
    raise AssertionError(f"{name} is no JSON")


class Written:
    """The files of an evaluation.

    Args:
        out: Its folder.
        ended: How it ended.
    """

    def __init__(self, out, ended):
        assert ended.code == 0, ended.err
        self.out, self.ended = out, ended
        text = (out / "evaluation.json").read_text()
        self.json = json.loads(text, parse_constant=refuse)
        self.kinds = {model["name"]: model["kind"] for model in self.json["models"]}
        self.records = read_evaluation(out).records
        self.page = (out / "evaluation.html").read_text()
        self.markdown = (out / "evaluation.md").read_text()
        self._columns = columns_of(out)

    def record(self, model, quantity, **setting):
        """The record of a model alone, not of an epoch."""
        result = self.records.get(model, quantity, epoch=None, **setting)
        assert result is not None, (model, quantity, setting)
        return result

    def mean(self, model, quantity, **setting):
        """Images, mean and standard error of a record."""
        record = self.record(model, quantity, **setting)
        return record.images, *record.estimate

    def each(self, model, quantity, **setting):
        """What per_example.csv has of a record: the 12 images attacked, in order."""
        label = self.record(model, quantity, **setting).label
        return self.rows(model)[label]

    def rows(self, model):
        """The columns of the 12 images attacked."""
        columns = self._columns[model, "test"]
        kept = ~np.isnan(columns["accuracy split=test attacked=True"])
        return {title: column[kept] for title, column in columns.items()}

    def index(self, model="one"):
        """The positions of the images attacked."""
        return self.rows(model)["index"].astype(int)

    def right(self, model):
        """Where a model is right before the attack."""
        return self.each(model, "accuracy", attacked=True) == 1

    def table(self, title):
        """A section's table in Markdown, `{first cell: {column: cell}}`."""
        body = self.markdown.partition(f"## {title}\n")[2].partition("\n## ")[0]
        lines = [line for line in body.splitlines() if line.startswith("|")]
        head, _, *rows = [
            [cell.strip() for cell in line[1:-1].split("|")] for line in lines
        ]
        return {row[0]: dict(zip(head, row, strict=True)) for row in rows}

    def groups(self, name, attack=MAIN):
        """Rows that an attack broke, and that withstood it."""
        success = self.each(name, "success", attack=attack, rounded=False) == 1
        return success & self.right(name), ~success


@pytest.fixture(scope="module")
def written(places, tmp_path_factory):
    """An evaluation of three networks and a served one, with the epochs of two."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    given = (f"--model={places}/{name}.keras" for name in OPEN)
    ended = call(
        *SMALL,
        *given,
        f"--model={places}/served",
        PGD,
        PGD2,
        f"--checkpoints={places}/one",
        f"--checkpoints={places}/two/epochs",
        "--checkpoint_examples=6",
        f"--out={out}",
    )
    return Written(out, ended)


@pytest.fixture(scope="module")
def logits(places):
    """`logits[name](images)`: what each model answers."""
    loaded = {
        name: load_classifier(
            places / (name if name == "served" else f"{name}.keras")
        ).call
        for name in NAMES
    }
    return {
        name: (lambda images, call=call: np.asarray(call(tf.constant(images))))
        for name, call in loaded.items()
    } | {"calls": loaded}


@pytest.fixture(scope="module")
def again(written, logits):
    """`again[model, attack]`: the attacks run once more, and the images they change."""
    results = {}
    for name in NAMES:
        index = written.index(name)
        images, labels = pixels(index), written.rows(name)["label"].astype(int)
        for title, attack in ATTACKS.items():
            # Cut as there, for the very bits of an image.
            parts = [
                attack(logits["calls"][name], images[at : at + 5], labels[at : at + 5])
                for at in range(0, 12, 5)
            ]
            results[name, title] = attacks.AttackResult(
                *(np.concatenate(field) for field in zip(*parts, strict=True))
            )
    return results


@pytest.fixture(scope="module")
def potential(written, logits, again):
    """`potential[model, attack]`: where the search ends on every image, fooled or not.

    Those that an attack leaves alone, as training would perturb them, one by one.
    """
    results = {}
    for name in NAMES:
        index, labels = written.index(name), written.rows(name)["label"].astype(int)
        natural = pixels(index)
        for title, attack in ATTACKS.items():
            images = np.array(again[name, title].adversarial)
            for row in np.flatnonzero((images == natural).all((1, 2, 3))):
                one = slice(row, row + 1)
                images[one] = attack.perturb(
                    logits["calls"][name], natural[one], labels[one]
                )
            results[name, title] = images
    return results


# `potential` perturbs some images one by one, the suite several at a time. There a
# convolution may add up in another order, and where that decides the sign of a gradient
# a pixel moves by a step: 1.4e-3 of a response, seen on a machine without AVX-512.
MOVED = {"rtol": 5e-3, "atol": 1e-5}


def check_mean(actual, values, **tolerance):
    """A record: images, mean and standard error of these."""
    tolerance = {"rtol": 1e-4, "atol": 1e-6, **tolerance}
    expected = list(expected_mean(values))
    # 0 images are no images to `expected_mean`.
    expected[0] = len(values)
    np.testing.assert_allclose(actual, expected, **tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_clean_accuracy(written, logits, name):
    """On the first images and on those attacked, the same for all models."""
    test = data.load("shapes", "test")
    correct = logits[name](pixels(np.arange(40))).argmax(1) == test.labels[:40]
    check_mean(written.mean(name, "accuracy", split="test", attacked=None), correct)
    index = written.index(name)
    np.testing.assert_array_equal(index, written.index("one"))
    np.testing.assert_array_equal(written.rows(name)["label"], test.labels[index])
    right = logits[name](pixels(index)).argmax(1) == test.labels[index]
    np.testing.assert_array_equal(written.right(name), right)
    check_mean(written.mean(name, "accuracy", attacked=True), right)
    assert 0.2 < correct.mean() and 3 < right.sum() < 12


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", NAMES)
def test_accuracy_under_attack(written, logits, again, name, attack):
    """PGD run once more; an image is fooled if the network says so of that image."""
    result, about = again[name, attack], {"attack": attack, "rounded": False}
    success = written.each(name, "success", **about)
    np.testing.assert_array_equal(success, result.success)
    np.testing.assert_array_equal(~written.right(name), result.already)
    broken = result.success & ~result.already
    np.testing.assert_allclose(
        written.each(name, "distortion", **about),
        np.where(broken, result.distortion, np.nan),
        rtol=1e-5,
        atol=1e-7,
    )
    labels = written.rows(name)["label"]
    wrong = logits[name](result.adversarial).argmax(1) != labels
    np.testing.assert_array_equal(result.success, wrong)
    check_mean(written.mean(name, "robust_accuracy", **about), ~wrong)
    assert written.record(name, "distortion", **about).images == broken.sum() > 0
    setting = written.record(name, "robust_accuracy", **about).setting
    assert (setting["threat_model"], setting["eps"]) == {
        MAIN: ("Linf", 4 / 255),
        OTHER: ("L2", 0.4),
    }[attack]


@pytest.mark.slow
def test_attacks_break_some_and_not_others(written, potential):
    """Or the tests of means over groups would compare nothing. Every image is moved."""
    counts = [np.sum(written.groups(name), axis=1) for name in OPEN]
    assert (np.sum(counts, axis=0) > 1).all(), counts
    for (name, attack), images in potential.items():
        moved = np.abs(images - pixels(written.index(name))).max((1, 2, 3))
        assert moved.min() > 1e-3, (name, attack)
        if attack == MAIN:
            assert moved.max() < 4 / 255 + 1e-6


def neighbors(changes):
    """Both values of each pair above and beside each other."""
    pairs = ((changes[:-1], changes[1:]), (changes[:, :-1], changes[:, 1:]))
    return [np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1)]


def radius():
    """Of each frequency in NumPy's order, as the scale is defined."""
    along = 2.0 * np.fft.fftfreq(32)
    return np.hypot(along[:, None], along).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", NAMES)
def test_local_consistency(written, again, name, attack):
    """Pairs counted, and energy in NumPy's spectrum, of the images that were broken."""
    result = again[name, attack]
    images = pixels(written.index(name))
    high = (radius() > 0.5)[:, :, None]
    chosen, _ = written.groups(name, attack)
    quantities = ("sign_agreement", "total_variation_ratio", "high_frequency_share")
    columns = [written.each(name, quantity, attack=attack) for quantity in quantities]
    bound, expected = [], []
    for change in (result.adversarial - images).astype(np.float64)[chosen]:
        bound.append(np.mean(np.abs(change) >= 4 / 255 - 1e-5))
        a, b = neighbors(change)
        agreement = np.mean(a[a * b != 0] * b[a * b != 0] > 0)
        variation = np.abs(a - b).sum() / np.abs(change).sum()
        energy = np.abs(np.fft.fft2(change, axes=(0, 1))) ** 2
        share = energy[np.broadcast_to(high, energy.shape)].sum() / energy.sum()
        expected.append([agreement, variation, share])
    for quantity, column, values in zip(
        quantities, columns, np.transpose(expected), strict=True
    ):
        np.testing.assert_allclose(column[chosen], values, rtol=1e-4)
        assert np.isnan(column[~chosen]).all()
        check_mean(written.mean(name, quantity, attack=attack), values)
    if attack == MAIN:
        check_mean(written.mean(name, "share_at_bound", attack=attack), bound)
    else:
        # No value of an L2 ball has a bound of its own.
        assert not written.records.where("share_at_bound", attack=attack)
        shown = written.table("Local consistency of perturbations")
        assert shown[f"{name}, {OTHER}"]["share at the bound"] == "-"


def low_passed(images, scale):
    """Each channel's spectrum, cut at `radius <= scale`, by NumPy in float64."""
    kept = (radius() <= np.float32(scale))[:, :, None]
    spectrum = np.fft.fft2(images.astype(np.float64), axes=(1, 2))
    return np.fft.ifft2(spectrum * kept, axes=(1, 2)).real.astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPEN)
def test_filtered_and_swapped(written, logits, potential, name):
    """At each scale, 0 and sqrt(2) among them, on images that NumPy filtered."""
    labels = written.rows(name)["label"]
    adversarial = potential[name, MAIN]
    shown = {"natural": pixels(written.index(name)), "adversarial": adversarial}

    def check(quantity, scale, shown_images, **setting):
        right = logits[name](shown_images.astype(np.float32)).argmax(1) == labels
        scales = written.records.where(quantity).values_of("scale")
        setting["scale"] = min(scales, key=lambda other: abs(other - scale))
        assert setting["scale"] == pytest.approx(scale)
        check_mean(written.mean(name, quantity, **setting), right)
        return right.mean()

    for scale in SCALES:
        low = {what: low_passed(images, scale) for what, images in shown.items()}
        high = {what: images - low[what] for what, images in shown.items()}
        for what in shown:
            for kind, images in (("low", low[what]), ("high", high[what])):
                check("filtered_accuracy", scale, images, images=what, kind=kind)
        swapped = {
            "low": low["adversarial"] + high["natural"],
            "high": low["natural"] + high["adversarial"],
        }
        ends = [
            check("swapped_accuracy", scale, images, kind=kind)
            for kind, images in swapped.items()
        ]
    # At sqrt(2) all is below it: adversarial, then natural.
    left = written.mean(name, "robust_accuracy", attack=MAIN, rounded=False)[1]
    assert ends == [left, written.mean(name, "accuracy", attacked=True)[1]]
    assert ends[0] < ends[1]


def log_amplitude(images):
    """Mean over images and channels, in NumPy's order of frequencies."""
    spectrum = np.abs(np.fft.fft2(images.astype(np.float64), axes=(1, 2)))
    return np.log(spectrum + 1 / 255).mean(axis=(0, 3))


@pytest.mark.slow
def test_amplitude_spectra(written, potential):
    """Natural ones, and differences after the attack, band by band."""
    table = written.table("Amplitude spectra")
    natural = log_amplitude(pixels(written.index()))
    edges = (0, 0.25, 0.5, 0.75, 1, np.sqrt(2))
    assert len(table) == 5
    for cells, low, high in zip(table.values(), edges, edges[1:], strict=False):
        band = (radius() > low) & (radius() <= np.float32(high))
        tolerance = {"rtol": 1e-3, "atol": 1e-4}
        assert cells["scales"] == f"{low:g} to {high:.3g}"
        np.testing.assert_allclose(
            float(cells["natural"]), natural[band].mean(), **tolerance
        )
        for name in NAMES:
            difference = log_amplitude(potential[name, MAIN]) - natural
            shown = float(cells[f"{name}, difference"])
            np.testing.assert_allclose(shown, difference[band].mean(), **tolerance)
    # Perturbations are seen where images have little.
    assert float(table["1 to 1.41"]["one, difference"]) > 0.01


@pytest.fixture(scope="module")
def responses(written, logits, again):
    """`responses(model, images)`: `{(statistic, label): [N]}`, by a sub-model."""

    def difference(name, adversarial):
        network = logits["calls"][name]
        outputs = [network.get_layer(layer).output for layer in LAYERS.values()]
        features = keras.Model(network.inputs[0], outputs)
        natural = pixels(written.index(name))
        before, after = (
            [
                np.asarray(feature, np.float64).reshape(12, -1)
                for feature in features(images)
            ]
            for images in (natural, adversarial)
        )
        expected = {}
        for label, a, b in zip(LAYERS, before, after, strict=True):
            change = np.abs(b - a)
            expected["maximum", label] = change.max(1)
            expected["total", label] = change.sum(1)
            expected["relative", label] = change.sum(1) / np.abs(a).sum(1)
        return expected

    return difference


@pytest.mark.slow
@pytest.mark.parametrize("name", OPEN)
def test_local_responses(written, potential, responses, name):
    """Of each image by a sub-model's features; means over all images, broken and
    withstood.
    """
    for attack in ATTACKS:
        groups = {"all": np.ones(12, bool)} | dict(
            zip(("broken", "withstood"), written.groups(name, attack), strict=True)
        )
        expected = responses(name, potential[name, attack])
        for (statistic, label), values in expected.items():
            about = {"attack": attack, "layer": label, "statistic": statistic}
            for group, chosen in groups.items():
                column = written.each(name, "local_response", group=group, **about)
                np.testing.assert_allclose(
                    column, np.where(chosen, values, np.nan), **MOVED
                )
                record = written.mean(name, "local_response", group=group, **about)
                check_mean(record, column[chosen])
        shown = written.table("Local response differences, maximum")
        for group, chosen in groups.items():
            cells = shown[f"{name}, {attack} {group}"]
            assert cells["images"] == str(chosen.sum())
            assert set(LAYERS) < set(cells)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_transferred(written, logits, potential, responses, name):
    """What others' images do: counted where they fooled theirs and this one is right,
    and on all images, moved for the other model whether that was fooled or not.

    The served network is the second one: its images do the same to that one.
    """
    right, labels = written.right(name), written.rows(name)["label"]
    for source in NAMES:
        if source == name:
            assert not written.records.of(name).where("transfer", source=source)
            continue
        images = potential[source, MAIN]
        fooled = logits[name](images).argmax(1) != labels
        counted = written.groups(source)[0] & right
        np.testing.assert_array_equal(
            written.each(name, "transfer", source=source),
            np.where(counted, fooled, np.nan),
        )
        record = written.mean(name, "transfer", source=source)
        check_mean(record, fooled[counted])
        shown = written.table("Transfer")[f"{source} to {name}"]
        assert shown["images"] == str(counted.sum())
        check_mean(written.mean(name, "transfer_accuracy", source=source), ~fooled)
        if {source, name} == {"two", "served"}:
            assert record[0] > 0 and record[1] == 1.0
        if name == "served":
            continue
        for (statistic, label), values in responses(name, images).items():
            about = {"source": source, "layer": label, "statistic": statistic}
            every = np.ones(12, bool)
            for group, chosen in (("transferred", counted), ("transferred all", every)):
                about["group"] = group
                column = written.each(name, "local_response", **about)
                np.testing.assert_allclose(
                    column, np.where(chosen, values, np.nan), **MOVED
                )
                check_mean(
                    written.mean(name, "local_response", **about), column[chosen]
                )


@pytest.mark.slow
@pytest.mark.parametrize("name", OPEN)
def test_geometry_and_kernels(written, logits, name):
    """Gradient norms of the first images by a tape; kernels by loops over weights."""
    labels, network = written.rows(name)["label"], logits["calls"][name]
    shown = tf.constant(pixels(written.index(name)[:3]))
    with tf.GradientTape() as tape:
        tape.watch(shown)
        loss = keras.losses.sparse_categorical_crossentropy(
            labels[:3].astype(int), network(shown), from_logits=True
        )
    gradient = tape.gradient(loss, shown).numpy().reshape(3, -1)
    norms = np.linalg.norm(gradient, axis=1)
    columns = {
        quantity: written.each(name, quantity)
        for quantity in ("gradient_norm", "hessian_norm", "curvature")
    }
    np.testing.assert_allclose(columns["gradient_norm"][:3], norms, rtol=1e-3)
    for quantity, column in columns.items():
        assert np.isnan(column[3:]).all() and (column[:3] > 0).all()
        check_mean(written.mean(name, quantity), column[:3])
    variations = []
    for layer in ("first", "second"):
        kernel = network.get_layer(layer).kernel.numpy().astype(np.float64)
        a, b = neighbors(kernel)
        variations.append(np.sum((a - b) ** 2) / np.sum(a**2 + b**2))
        value = written.mean(name, "kernel_variation", layer=layer)[1]
        assert value == pytest.approx(variations[-1], rel=1e-5)
        cell = written.table("Smoothness of kernels")[layer][name]
        assert float(cell) == pytest.approx(variations[-1], rel=1e-3)
    _, value, error = written.mean(name, "kernel_variation", layer=None)
    assert value == pytest.approx(np.mean(variations), rel=1e-5)
    assert np.isnan(error)


@pytest.mark.slow
def test_measures_are_those_of_the_tables(written):
    """Each is a mean that stands elsewhere, the last layer's being the deepest."""
    deepest = {"attack": MAIN, "group": "broken", "layer": "Layer 1"}
    expected = {
        "accuracy": ("accuracy", {"split": "test", "attacked": None}),
        "robust accuracy": ("robust_accuracy", {"attack": MAIN, "rounded": False}),
        "gradient norm": ("gradient_norm", {}),
        "curvature": ("curvature", {}),
        "high-frequency share": ("high_frequency_share", {"attack": MAIN}),
        "sign agreement": ("sign_agreement", {"attack": MAIN}),
        "last difference": ("local_response", {**deepest, "statistic": "maximum"}),
        "last relative difference": (
            "local_response",
            {**deepest, "statistic": "relative"},
        ),
    }
    assert {*measures.MEASURES} == {*expected, "kernel variation"}
    shown = written.table("Models by measures")
    for name in NAMES:
        for title, (quantity, setting) in expected.items():
            result = measures.measure(written.records, name, title, MAIN)
            if name == "served" and title.startswith("last"):
                assert result is None and shown[name][title] == "-"
            else:
                record = written.record(name, quantity, **setting)
                assert result.estimate.value == record.estimate.value


@pytest.mark.slow
def test_a_saved_model_is_measured_where_it_can_be(written):
    """The same as the network it was exported from, but for layers, kernels and curves,
    which the tables go without.
    """
    assert written.kinds["served"] == "SavedModel"

    def by_label(name):
        own = written.records.of(name).where(None, epoch=None)
        return {record.label: record for record in own}

    two, served = by_label("two"), by_label("served")
    kinds = {two[label].quantity for label in {*two} - {*served}}
    absent = {"filtered_accuracy", "swapped_accuracy", "kernel_variation"}
    assert kinds >= absent | {"local_response", "last_difference"}
    assert not absent & {record.quantity for record in served.values()}
    for label, record in served.items():
        if record.quantity not in ("transfer", "transfer_accuracy"):
            np.testing.assert_allclose(record.estimate, two[label].estimate, rtol=2e-2)
            assert record.images == two[label].images
    shown = written.table("Models by measures")["served"]
    assert [title for title, cell in shown.items() if cell == "-"] == [
        "last difference",
        "last relative difference",
        "kernel variation",
    ]
    assert f"two, {MAIN} broken" in written.table("Local response differences, total")
    for title in (
        "Local response differences, total",
        "Smoothness of kernels",
        "Accuracy on what lies below a frequency",
    ):
        table = written.table(title)
        assert not any("served, " in cell for row in table.values() for cell in row)
        assert not any(row.startswith("served") for row in table)
    assert written.markdown.count("Without served, which takes no pixels outside") == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")
def test_rank_correlations(written):
    """SciPy's, '-' where a measure does not vary; in full as records."""
    measured = {}
    for title in measures.MEASURES:
        records = [
            measures.measure(written.records, name, title, MAIN) for name in NAMES
        ]
        measured[title] = [
            np.nan if record is None else record.estimate.value for record in records
        ]
    table = written.table("Rank correlations of the measures")
    assert list(table) == list(measured)
    compared = 0
    for row, first in measured.items():
        for column, second in measured.items():
            a, b = np.array(first), np.array(second)
            both = ~np.isnan(a) & ~np.isnan(b)
            expected = stats.spearmanr(a[both], b[both]).statistic
            about = {"of": row, "with": column}
            value = written.mean("all", "rank_correlation", **about)[1]
            if np.isnan(expected):
                assert table[row][column] == "-" and np.isnan(value)
                continue
            compared += 1
            assert value == pytest.approx(expected)
            assert float(table[row][column]) == pytest.approx(expected, abs=0.00501)
    assert compared > 40


@pytest.mark.slow
def test_epochs(written, places):
    """Of a run's folder and of its epochs; the last is the model itself, and the one
    before it is attacked anew here.
    """
    epochs = written.records.where(None).values_of("epoch")
    assert epochs == [3, 6]
    for name in ("one", "two"):
        own = written.records.of(name)
        right = written.right(name)[:6]
        success = written.each(name, "success", attack=MAIN, rounded=False)[:6] == 1

        def of_epoch(quantity, epoch, own=own, name=name, **setting):
            record = own.get(name, quantity, epoch=epoch, **setting)
            return record.images, *record.estimate

        check_mean(of_epoch("accuracy", 6), right)
        check_mean(of_epoch("robust_accuracy", 6, rounded=False), ~success)
        for statistic in STATISTICS:
            for label in LAYERS:
                about = {"group": "broken", "layer": label, "statistic": statistic}
                column = written.each(name, "local_response", attack=MAIN, **about)[:6]
                check_mean(
                    of_epoch("local_response", 6, **about),
                    column[success & right],
                    rtol=1e-3,
                )
        network = keras.saving.load_model(kept_epochs(places / name / "epochs")[3])
        labels = written.rows(name)["label"].astype(int)[:6]
        result = ATTACKS[MAIN](network, pixels(written.index(name))[:6], labels)
        check_mean(
            of_epoch("robust_accuracy", 3, rounded=False), ~result.success.numpy()
        )
        assert of_epoch("robust_accuracy", 3, rounded=False)[0] == 6
        squares = sum(np.sum(w.astype(np.float64) ** 2) for w in network.get_weights())
        assert of_epoch("squared_weights", 3)[1] == pytest.approx(squares)
        broken = (result.success & ~result.already).numpy()
        assert of_epoch("distortion", 3, rounded=False)[0] == broken.sum()
        table = written.table(f"Local responses over the epochs of {name}")
        assert [*table] == ["3", "6"] and table["3"]["images"] == str(broken.sum())
    # Both have the same layers, and share a figure.
    assert "## Local responses over epochs, one, two\n" in written.markdown
    assert (written.out / "local_responses_over_epochs_0.png").is_file()
    assert not (written.out / "local_responses_over_epochs_1.png").exists()


FIGURES = {
    "amplitude_spectra",
    "filtered_high",
    "filtered_low",
    "local_responses",
    "local_responses_over_epochs_0",
    "swapped",
}
FILES = {
    "evaluation.csv",
    "evaluation.flags",
    "evaluation.html",
    "evaluation.json",
    "evaluation.md",
    "per_example.csv",
}


def test_panels_show_the_same_images_of_all_models():
    """Figure 3: those that fell for every model; each model's own where none did."""

    def about(*broken):
        results = {
            name: SimpleNamespace(
                attacked={MAIN: SimpleNamespace(broken=np.array(row))}
            )
            for name, row in zip(OPEN, broken, strict=False)
        }
        own = SimpleNamespace(dissect_shown=2)
        return SimpleNamespace(results=results, own=own)

    first, second = [True, False, True, True, True], [False, True, True, True, True]
    shown, same = page._broken_by(about(first, second), MAIN)
    assert same and {name: [*rows] for name, rows in shown.items()} == {
        "one": [2, 3],
        "two": [2, 3],
    }
    shown, same = page._broken_by(
        about(first, [False, True, False, False, False]), MAIN
    )
    assert not same and [*shown["one"]] == [0, 2] and [*shown["two"]] == [1]


def test_what_panels_are_called():
    """Figure 3 of PGD, 7 of FGSM, 8 of what failed, without a model that has none."""
    made = {MAIN: ATTACKS[MAIN], "FGSM": attacks.FGSM(eps=0.1)}
    every, none = np.array([True, True]), np.array([False, False])

    def results(broken):
        one = SimpleNamespace(broken=broken, groups={"withstood": ~broken})
        return SimpleNamespace(attacked=dict.fromkeys(made, one), main=one)

    own = SimpleNamespace(dissect_shown=1)
    about = SimpleNamespace(
        attacks=made,
        results={"weak": results(every), "strong": results(none)},
        own=own,
        first=MAIN,
    )
    prose = Prose("trainers.suites.dissect", own=own, main=MAIN)
    pgd, fgsm, failed = page._panels(prose, Records([]), about)
    assert "As Figure 3 of the paper" in pgd.sentence
    assert "for each model, since there is none" in pgd.sentence
    assert "As Figure 7 of the paper" in fgsm.sentence
    assert "As Figure 8 of the paper" in failed.sentence
    assert "there is none of weak." in failed.sentence
    assert [pgd.title, failed.title] == [
        f"Perturbations by {MAIN}",
        f"Perturbations by {MAIN} that failed",
    ]


@pytest.mark.slow
def test_what_is_printed_and_written(written):
    """All files, every table on the terminal, strict JSON with the settings."""
    panels = {"perturbations_0", "perturbations_1", "perturbations_failed"}
    figures = FIGURES | panels
    assert {path.name for path in written.out.iterdir()} == FILES | {
        f"{name}.png" for name in figures
    }
    assert written.json["suites"] == ["dissect"]
    assert [*written.kinds] == [*NAMES]
    assert written.page.count("<picture>") == len(figures)
    *titles, last = re.findall(r"<h2>(.*?)</h2>", written.page)
    assert len(titles) == len(set(titles)) == 19 and last == "Settings"
    # What is but a figure is not printed.
    drawn = ("Perturbations by", "Local responses over epochs,")
    missing = [title for title in titles if title not in written.ended.out]
    assert missing == [title for title in titles if title.startswith(drawn)]
    assert "one: 2 epochs, two: 2 epochs" in written.page
    assert f"{MAIN} (3 steps, 1 start, of 2/255 each)" in written.page


@pytest.fixture(scope="module")
def harmless(places, tmp_path_factory):
    """An evaluation of two networks by an attack that can do nothing to them."""
    out = tmp_path_factory.mktemp("harmless") / "out"
    with np.errstate(divide="raise", invalid="raise"), warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        ended = call(
            *SMALL,
            f"--model={places}/one.keras",
            f"--model={places}/two.keras",
            f"--checkpoints={places}/one",
            "--checkpoint_examples=4",
            "--attack=pgd:norm=inf,eps=1e-6,step_size=1e-7,steps=3",
            f"--out={out}",
        )
    return Written(out, ended)


@pytest.mark.slow
def test_an_attack_that_never_succeeds(harmless):
    """Counts of 0, '-' for means, JSON without NaN, figures of what there is; nothing
    is divided by zero. What failed is whole.
    """
    title = "PGD Linf 1e-06"
    for name in ("one", "two"):
        robust = harmless.record(name, "robust_accuracy", attack=title, rounded=False)
        assert robust.setting["eps"] == 1e-6
        clean = harmless.record(name, "accuracy", attacked=True)
        assert robust.estimate == clean.estimate
        agreement = harmless.record(name, "sign_agreement")
        assert agreement.images == 0 and np.isnan(agreement.estimate).all()
        assert agreement.to_json()["mean"] is None
        own = harmless.records.of(name).where("local_response", epoch=None)
        for record in own.where(group="broken"):
            assert record.images == 0 and np.isnan(record.estimate.value)
        right = int(harmless.right(name).sum())
        for record in own.where(group="withstood", statistic="total"):
            assert record.images == right > 1 and 0 < record.estimate.value < 1
        cells = harmless.table("Local consistency of perturbations")[f"{name}, {title}"]
        assert [*cells.values()][1:] == ["0", "-", "-", "-", "-"]
        shown = harmless.table("Local response differences, relative")
        assert [*shown[f"{name}, {title} broken"].values()][1:] == ["0", "-", "-", "-"]
        assert shown[f"{name}, {title} withstood"]["images"] == str(right)
        high = harmless.record(name, "high_frequency_share")
        assert np.isnan(high.estimate.value)
    for cells in harmless.table("Transfer").values():
        assert (cells["images"], cells["fooled"]) == ("0", "-")
    for cells in harmless.table("Local responses over the epochs of one").values():
        assert [cells["images"], *(cells[label] for label in LAYERS)] == ["0", *"---"]
    for cells in harmless.table("Amplitude spectra").values():
        assert abs(float(cells["one, difference"])) < 0.02
    assert {path.name for path in harmless.out.iterdir()} == FILES | {
        f"{name}.png" for name in FIGURES | {"perturbations_failed"}
    }
    text = re.sub(r"<style>.*?</style>|base64,[^\"]*", "", harmless.page, flags=re.S)
    assert "nan" not in text.lower()


EVERY = {
    "DDN L2": "ddn:steps=3",
    "C&W L2": "cw:steps=3,search_steps=1",
    "sC&W L2": "smooth_cw:steps=3,search_steps=1",
    "DeepFool L2": "deepfool:steps=3",
    "FGSM Linf 4/255": "fgsm:eps=4/255",
    "Square Linf 8/255": "square:norm=inf,eps=8/255,queries=9",
}


@pytest.mark.slow
def test_every_kind_of_attack(untrained, tmp_path):
    """Those that look for the smallest perturbation too, as the first among them: they
    have no radius, and no share at the bound.
    """
    specs = [f"--attack={spec}" for spec in EVERY.values()]
    model = f"--model={untrained}/one.keras"
    ended = call(*SMALL, model, *specs, f"--out={tmp_path}/out")
    assert ended.code == 0, ended.err
    records = read_evaluation(tmp_path / "out").records
    for quantity in ("robust_accuracy", "sign_agreement", "high_frequency_share"):
        titles = records.where(quantity).values_of("attack")
        assert [title for title in titles if title != "all"] == [*EVERY]
    within = [title for title in EVERY if "Linf" in title]
    assert records.where("share_at_bound").values_of("attack") == within
    for title in EVERY:
        robust = records.get("one", "robust_accuracy", attack=title, rounded=False)
        assert robust.setting["eps"] == (
            attacks.parse(EVERY[title]).threat.eps if title in within else None
        )
    assert records.where("last_difference").values_of("attack") == ["DDN L2"]


@pytest.mark.slow
def test_two_models_have_no_rank_correlations(harmless):
    """Of two there is no order to speak of."""
    assert "Rank correlations" not in harmless.markdown + harmless.ended.out
    assert "Models by measures" in harmless.markdown


@pytest.mark.slow
def test_a_trained_run_leaves_what_is_looked_at(call_module, tmp_path):
    """`trainers.cifar --keep_epochs=2`: epochs 2 and 3, the last being the model."""
    ended = call_module(
        "trainers.cifar",
        "--dataset=shapes",
        "--model=mlp",
        "--train_examples=40",
        "--eval_examples=20",
        "--batch_size=20",
        "--epochs=3",
        "--keep_epochs=2",
        f"--workdir={tmp_path}/run",
    )
    assert ended.code == 0, ended.err
    run, (suite,) = parse(
        *SMALL,
        "--model=a",
        f"--checkpoints={tmp_path}/run",
        "--checkpoint_examples=2",
    )
    ((name, epochs),) = checkpoints.find_runs(run, suite.own).items()
    assert (name, [*epochs]) == ("run", [2, 3])
    kept, whole = (
        load_classifier(path).call.get_weights()
        for path in (epochs[3], tmp_path / "run")
    )
    for a, b in zip(kept, whole, strict=True):
        np.testing.assert_array_equal(a, b)
