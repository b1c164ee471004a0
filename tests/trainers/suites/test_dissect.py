"""The dissect suite: its numbers recomputed from single images, and its refusals."""

import csv
import json
import re
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import trainers
from export.saved_model import export_saved_model
from tests.trainers.suites.test_pag import expected_mean, pixels, small_network
from tests.trainers.test_evaluate import call, mlp, parse
from tfrobust import attacks, data
from tfrobust.cli.loading import load_classifier
from tfrobust.cli.program import UsageError
from tfrobust.training import KeepEpochs, RobustModel, kept_epochs
from trainers.suites import options as evaluate_options
from trainers.suites import samples as evaluate_data
from trainers.suites.dissect import measure as dissect_suite

FLAGS = Path(trainers.__file__).parent / "flags" / "evaluate_dissect.flags"
SMALL = ("--suite=dissect", "--dataset=shapes", "--examples=12", "--batch_size=5",
         "--geometry_examples=3", "--clean_examples=40", "--steps=3",
         "--power_iterations=2", "--dissect_scales=3", "--dissect_linf=4/255",
         "--dissect_step=2/255")  # fmt: skip
ATTACKS = {
    "PGD": attacks.PGD(norm="inf", eps=4 / 255, steps=3, step_size=2 / 255,
                       early_stop=False),
    "PGD2": attacks.PGD(norm=2, eps=0.4, steps=3, early_stop=False),
}  # fmt: skip
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
        model.fit(images, train.labels, batch_size=50, epochs=6, verbose=0,
                  callbacks=[keep])  # fmt: skip
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
        ["--dissect_attacks=pgd,apgd"],
        r"--dissect_attacks must be some of pgd, fgsm, pgd2, spgd2, with commas "
        r"between\. Received: 'pgd,apgd'",
    ),
    "no attack": (["--dissect_attacks= "], r"--dissect_attacks must be .*: ' '"),
    "high": (["--dissect_high=2"], r"flag --dissect_high=2.*: must be at most sqrt\(2"),
    "linf": (["--dissect_linf=0"], r"flag --dissect_linf=0.*: must be above 0"),
    "l2": (["--dissect_l2=-1"], r"flag --dissect_l2=-1: "),
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

    def load(*_):
        raise AssertionError("data would be loaded by now")

    monkeypatch.setattr(evaluate_data, "load", load)
    given, expected = (CASES | RUNS)[name]
    ended = call(*SMALL, f"--model={untrained}/one.keras", f"--out={tmp_path}/o",
                 *(flag.format(p=untrained) for flag in given))  # fmt: skip
    assert re.search(expected, ended.error), ended.error
    assert not (tmp_path / "o").exists()


@pytest.mark.filterwarnings("ignore:`model` has NaN")
def test_a_run_that_has_diverged_is_named(untrained, tmp_path):
    """Its logits are not finite: one sentence, not a traceback after hours."""
    network = mlp(1)
    network.get_layer("logits").bias.assign(np.full(10, np.nan))
    path = KeepEpochs(tmp_path / "wild").path(7)
    path.parent.mkdir()
    network.save(path)
    config = parse(*SMALL, "--model=a", f"--checkpoints={tmp_path}/wild",
                   "--checkpoint_examples=2")  # fmt: skip
    runs = dissect_suite.find_runs(config)
    assert runs == {"wild": {7: path}}
    found = dissect_suite.make_attacks(config)
    test = data.load("shapes", "test")
    measurer = dissect_suite.Measurer(config, found, runs, test)
    with pytest.raises(dissect_suite.UsageError, match=r"--checkpoints=.*wild.epoch-0"):
        measurer.measure_runs()


@pytest.mark.parametrize(
    ("flag", "needs"),
    [
        ("--eps=9", "--eps needs --suite=lcnn."),
        ("--pag_moved_eps=far", "--pag_moved_eps needs --suite=pag."),
        ("--cw_steps=3", "--cw_steps needs --suite=smooth."),
        (
            "--dissect_l2=1",
            "--dissect_l2 needs --suite=dissect with pgd2 or spgd2 in "
            "--dissect_attacks.",
        ),
        (
            "--smooth_alpha=0.5",
            "--smooth_alpha needs --suite=smooth, or dissect with spgd2 in "
            "--dissect_attacks.",
        ),
        (
            "--checkpoint_examples=7",
            "--checkpoint_examples needs --suite=dissect with --checkpoints.",
        ),
    ],
)
def test_flags_that_do_nothing_here_are_refused(flag, needs):
    """Those of another suite, and of what was not asked for."""
    with pytest.raises(UsageError) as told:
        parse(*SMALL, "--model=a", flag)
    assert str(told.value) == needs


def test_flags_of_others_act_with_what_they_need():
    """The smoother's with the smooth attack."""
    spgd2 = "--dissect_attacks=pgd,spgd2", "--smooth_alpha=0.5"
    assert parse(*SMALL, "--model=a", *spgd2).smooth_alpha == 0.5


def test_flags_repeat_the_evaluation():
    """`flag_lines` read back gives the same settings."""
    config = parse(*SMALL, "--model=a", "--dissect_attacks=spgd2, pgd,spgd2",
                   "--dissect_l2=0.4",
                   "--dissect_layers=a, b", "--checkpoints=x y", "--checkpoints=z",
                   "--checkpoint_examples=3")  # fmt: skip
    assert parse(*evaluate_options.flag_lines(config)) == config
    assert config.attack_names == ("spgd2", "pgd")
    assert config.layer_names == ("a", "b") and config.checkpoints == ("x y", "z")
    assert parse(*SMALL, "--model=a").layer_names is None


def test_papers_flagfile():
    """PGD-20 from a random start in steps of 1/255, within 8/255."""
    config = parse(f"--flagfile={FLAGS}", "--model=a")
    assert config.suite == "dissect" and not config.checkpoints
    found = dissect_suite.make_attacks(config)
    expected = attacks.PGD(
        norm="inf", eps=8 / 255, steps=20, step_size=1 / 255, early_stop=False
    )
    assert found == {"PGD": expected} and expected.random_start
    assert (config.dissect_scales, config.dissect_high) == (15, 0.5)
    default = parse("--suite=dissect", "--model=a")
    assert dissect_suite.make_attacks(default) == found


def test_every_attack_can_be_made():
    """In the order given; restarts are of PGD, since the others have no random start.

    Without a length of step it is 2 eps / steps.
    """
    config = parse(*SMALL, "--model=a", "--restarts=4", "--seed=6", "--dissect_step=0",
                   "--dissect_attacks=spgd2,fgsm,pgd2,pgd", "--smooth_alpha=0.9",
                   "--dissect_l2=0.4",
                   "--smooth_neighbors=8")  # fmt: skip
    settings = {"steps": 3, "early_stop": False, "seed": 6}
    found = dissect_suite.make_attacks(config)
    assert list(found.items()) == [
        ("sPGD2", attacks.SmoothPGD(norm=2, eps=0.4, alpha=0.9, neighbors=8,
                                    bandwidth=1.0, **settings)),
        ("FGSM", attacks.FGSM(eps=4 / 255)),
        ("PGD2", attacks.PGD(norm=2, eps=0.4, restarts=4, **settings)),
        ("PGD", attacks.PGD(norm="inf", eps=4 / 255, restarts=4, **settings)),
    ]  # fmt: skip


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
        self.models = {one["name"]: one for one in self.json["models"]}
        self.page = (out / "evaluation.html").read_text()
        self.markdown = (out / "evaluation.md").read_text()
        self.means = {
            (row["model"], row["quantity"], row["setting"]): tuple(
                float(row[key] or "nan") for key in ("images", "mean", "standard error")
            )
            for row in self._rows("evaluation.csv")
        }
        rows = self._rows("per_example.csv")
        self.examples = {
            name: {
                title: np.array(
                    [float(row[title] or "nan") for row in rows if row["model"] == name]
                )
                for title in rows[0]
                if title != "model"
            }
            for name in self.models
        }

    def _rows(self, name):
        with open(self.out / name, newline="") as file:
            return list(csv.DictReader(file))

    def table(self, title):
        """A section's table in Markdown, `{first cell: {column: cell}}`."""
        body = self.markdown.partition(f"## {title}\n")[2].partition("\n## ")[0]
        lines = [line for line in body.splitlines() if line.startswith("|")]
        head, _, *rows = [
            [cell.strip() for cell in line[1:-1].split("|")] for line in lines
        ]
        return {row[0]: dict(zip(head, row, strict=True)) for row in rows}

    def groups(self, name, attack="PGD"):
        """Rows where an attack found something, and where it failed."""
        found = self.examples[name]
        success = found[f"success of {attack}"] == 1
        return success & (found["clean_correct"] == 1), ~success


@pytest.fixture(scope="module")
def written(places, tmp_path_factory):
    """An evaluation of three networks and a served one, with the epochs of two."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    given = (f"--model={places}/{name}.keras" for name in OPEN)
    ended = call(*SMALL, *given, f"--model={places}/served", "--dissect_l2=0.4",
                 "--dissect_attacks=pgd,pgd2", f"--checkpoints={places}/one",
                 f"--checkpoints={places}/two/epochs", "--checkpoint_examples=6",
                 f"--out={out}")  # fmt: skip
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
    found = {}
    for name in NAMES:
        rows = written.examples[name]
        images, labels = pixels(rows["index"].astype(int)), rows["label"].astype(int)
        for title, attack in ATTACKS.items():
            # Cut as there, for the very bits of an image.
            parts = [
                attack(logits["calls"][name], images[at : at + 5], labels[at : at + 5])
                for at in range(0, 12, 5)
            ]
            found[name, title] = attacks.AttackResult(
                *(np.concatenate(field) for field in zip(*parts, strict=True))
            )
    return found


def check_mean(found, values, **tolerance):
    """A line of evaluation.csv: images, mean and standard error of these."""
    tolerance = {"rtol": 1e-4, "atol": 1e-6, **tolerance}
    expected = list(expected_mean(values))
    # 0 images are no images to `expected_mean`.
    expected[0] = len(values)
    np.testing.assert_allclose(found, expected, **tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_clean_accuracy(written, logits, name):
    """On the first images and on those attacked, the same for all models."""
    test = data.load("shapes", "test")
    correct = logits[name](pixels(np.arange(40))).argmax(1) == test.labels[:40]
    check_mean(written.means[name, "accuracy", "clean"], correct)
    rows = written.examples[name]
    index = rows["index"].astype(int)
    np.testing.assert_array_equal(rows["index"], written.examples["one"]["index"])
    np.testing.assert_array_equal(rows["label"], test.labels[index])
    right = logits[name](pixels(index)).argmax(1) == test.labels[index]
    np.testing.assert_array_equal(rows["clean_correct"], right)
    check_mean(written.means[name, "accuracy", "PGD, clean"], right)
    assert 0.2 < correct.mean() and 3 < right.sum() < 12


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", NAMES)
def test_accuracy_under_attack(written, logits, again, name, attack):
    """PGD run once more; an image is fooled if the network says so of that image."""
    rows, result = written.examples[name], again[name, attack]
    np.testing.assert_array_equal(rows[f"success of {attack}"], result.success)
    np.testing.assert_array_equal(rows["clean_correct"] == 0, result.already)
    np.testing.assert_allclose(
        rows[f"distortion of {attack}"], result.distortion, rtol=1e-5, atol=1e-7
    )
    wrong = logits[name](result.adversarial).argmax(1) != rows["label"]
    np.testing.assert_array_equal(result.success, wrong)
    check_mean(written.means[name, "accuracy", attack], ~wrong)
    entry = written.models[name]["attacks"][attack]
    assert entry["found"] == (wrong & ~result.already).sum() > 0
    assert (entry["norm"], entry["eps"]) == {
        "PGD": ("Linf", 4 / 255), "PGD2": ("L2", 0.4)}[attack]  # fmt: skip


@pytest.mark.slow
def test_attacks_both_find_and_fail(written):
    """Or the tests of means over groups would compare nothing."""
    counts = [np.sum(written.groups(name), axis=1) for name in OPEN]
    assert (np.sum(counts, axis=0) > 1).all(), counts


def neighbours(changes):
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
    """Pairs counted, and energy in NumPy's spectrum; means where an attack found."""
    rows, result = written.examples[name], again[name, attack]
    images = pixels(rows["index"].astype(int))
    high = (radius() > 0.5)[:, :, None]
    bound = []
    for row, change in enumerate((result.adversarial - images).astype(np.float64)):
        told = [rows[f"{what} of {attack}"][row] for what in (
            "sign agreement", "total variation", "high-frequency share")]  # fmt: skip
        bound.append(np.mean(np.abs(change) >= 4 / 255 - 1e-5))
        if not change.any():
            assert np.isnan(told).all()
            continue
        a, b = neighbours(change)
        agreement = np.mean(a[a * b != 0] * b[a * b != 0] > 0)
        variation = np.abs(a - b).sum() / np.abs(change).sum()
        energy = np.abs(np.fft.fft2(change, axes=(0, 1))) ** 2
        share = energy[np.broadcast_to(high, energy.shape)].sum() / energy.sum()
        np.testing.assert_allclose(told, [agreement, variation, share], rtol=1e-4)
    chosen, _ = written.groups(name, attack)
    for quantity, column in {
        "sign agreement": rows[f"sign agreement of {attack}"],
        "total variation ratio": rows[f"total variation of {attack}"],
        "high frequency share": rows[f"high-frequency share of {attack}"],
    }.items():
        check_mean(written.means[name, quantity, attack], column[chosen])
    told = written.means[name, "share at bound", attack]
    if attack == "PGD":
        check_mean(told, np.array(bound)[chosen])
    else:
        # No value of an L2 ball has a bound of its own.
        assert told[0] == chosen.sum() and np.isnan(told[1:]).all()
        shown = written.table("Local consistency of perturbations")
        assert shown[f"{name}, PGD2"]["share at the bound"] == "-"


def low_passed(images, scale):
    """Each channel's spectrum, cut at `radius <= scale`, by NumPy in float64."""
    kept = (radius() <= np.float32(scale))[:, :, None]
    spectrum = np.fft.fft2(images.astype(np.float64), axes=(1, 2))
    return np.fft.ifft2(spectrum * kept, axes=(1, 2)).real.astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPEN)
def test_filtered_and_swapped(written, logits, again, name):
    """At each scale, 0 and sqrt(2) among them, on images that NumPy filtered."""
    rows = written.examples[name]
    adversarial = again[name, "PGD"].adversarial
    shown = {"natural": pixels(rows["index"].astype(int)), "adversarial": adversarial}

    def check(quantity, setting, images):
        right = logits[name](images.astype(np.float32)).argmax(1) == rows["label"]
        check_mean(written.means[name, quantity, setting], right)
        return right.mean()

    for scale in SCALES:
        low = {what: low_passed(images, scale) for what, images in shown.items()}
        high = {what: images - low[what] for what, images in shown.items()}
        for what in shown:
            check("accuracy, filtered", f"{what}, low of {scale:.4g}", low[what])
            check("accuracy, filtered", f"{what}, high of {scale:.4g}", high[what])
        ends = [
            check("accuracy, swapped", f"adversarial low of {scale:.4g}",
                  low["adversarial"] + high["natural"]),
            check("accuracy, swapped", f"adversarial high of {scale:.4g}",
                  low["natural"] + high["adversarial"]),
        ]  # fmt: skip
    # At sqrt(2) all is below it: adversarial, then natural.
    entry = written.models[name]["attacks"]["PGD"]
    assert ends == [entry["accuracy"]["mean"], entry["clean_accuracy"]["mean"]]
    assert ends[0] < ends[1]


def log_amplitude(images):
    """Mean over images and channels, in NumPy's order of frequencies."""
    spectrum = np.abs(np.fft.fft2(images.astype(np.float64), axes=(1, 2)))
    return np.log(spectrum + 1 / 255).mean(axis=(0, 3))


@pytest.mark.slow
def test_amplitude_spectra(written, again):
    """Natural ones, and differences after the attack, band by band."""
    table = written.table("Amplitude spectra")
    natural = log_amplitude(pixels(written.examples["one"]["index"].astype(int)))
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
            found = log_amplitude(again[name, "PGD"].adversarial) - natural
            told = float(cells[f"{name}, difference"])
            np.testing.assert_allclose(told, found[band].mean(), **tolerance)
    # Perturbations are seen where images have little.
    assert float(table["1 to 1.41"]["one, difference"]) > 0.01


@pytest.fixture(scope="module")
def responses(written, logits, again):
    """`responses(model, images)`: `{(statistic, label): [N]}`, by a sub-model."""

    def found(name, adversarial):
        network = logits["calls"][name]
        outputs = [network.get_layer(layer).output for layer in LAYERS.values()]
        features = keras.Model(network.inputs[0], outputs)
        natural = pixels(written.examples[name]["index"].astype(int))
        before, after = (
            [np.asarray(one, np.float64).reshape(12, -1) for one in features(images)]
            for images in (natural, adversarial)
        )
        told = {}
        for label, a, b in zip(LAYERS, before, after, strict=True):
            change = np.abs(b - a)
            told["maximum", label] = change.max(1)
            told["total", label] = change.sum(1)
            told["relative", label] = change.sum(1) / np.abs(a).sum(1)
        return told

    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", OPEN)
def test_local_responses(written, again, responses, name):
    """Of each image by a sub-model's features; means over found and over failed."""
    rows = written.examples[name]
    for attack in ATTACKS:
        groups = dict(
            zip(("found", "failed"), written.groups(name, attack), strict=True)
        )
        expected = responses(name, again[name, attack].adversarial)
        for (statistic, label), values in expected.items():
            column = rows[f"{statistic} difference of {attack} at {label}"]
            np.testing.assert_allclose(column, values, rtol=1e-3, atol=1e-5)
            for group, chosen in groups.items():
                key = (f"{statistic} difference", f"{attack} {group}, {label}")
                check_mean(written.means[name, *key], column[chosen])
        shown = written.table("Local response differences, maximum")
        for group, chosen in groups.items():
            cells = shown[f"{name}, {attack} {group}"]
            assert cells["images"] == str(chosen.sum())
            assert set(LAYERS) < set(cells)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_transferred(written, logits, again, responses, name):
    """What others' images do: counted where they fooled theirs and this one is right.

    The served network is the second one: its images do the same to that one.
    """
    rows = written.examples[name]
    right = rows["clean_correct"] == 1
    for source in NAMES:
        if source == name:
            assert np.isnan(rows[f"fooled from {source}"]).all()
            continue
        images = again[source, "PGD"].adversarial
        fooled = logits[name](images).argmax(1) != rows["label"]
        np.testing.assert_array_equal(rows[f"fooled from {source}"], fooled)
        counted = written.groups(source)[0] & right
        told = written.means[name, "fooled", f"from {source}"]
        check_mean(told, fooled[counted])
        shown = written.table("Transfer")[f"{source} to {name}"]
        assert shown["images"] == str(counted.sum())
        if {source, name} == {"two", "served"}:
            assert told[0] > 0 and told[1] == 1.0
        if name == "served":
            continue
        for (statistic, label), values in responses(name, images).items():
            column = rows[f"{statistic} difference of images from {source} at {label}"]
            np.testing.assert_allclose(column, values, rtol=1e-3, atol=1e-5)
            key = (f"{statistic} difference", f"from {source}, {label}")
            check_mean(written.means[name, *key], column[counted])


@pytest.mark.slow
@pytest.mark.parametrize("name", OPEN)
def test_geometry_and_kernels(written, logits, name):
    """Gradient norms of the first images by a tape; kernels by loops over weights."""
    rows, network = written.examples[name], logits["calls"][name]
    shown = tf.constant(pixels(rows["index"][:3].astype(int)))
    with tf.GradientTape() as tape:
        tape.watch(shown)
        loss = keras.losses.sparse_categorical_crossentropy(
            rows["label"][:3].astype(int), network(shown), from_logits=True
        )
    gradient = tape.gradient(loss, shown).numpy().reshape(3, -1)
    norms = np.linalg.norm(gradient, axis=1)
    np.testing.assert_allclose(rows["gradient norm"][:3], norms, rtol=1e-3)
    for column in ("gradient norm", "curvature"):
        assert np.isnan(rows[column][3:]).all() and (rows[column][:3] > 0).all()
        check_mean(written.means[name, column, ""], rows[column][:3])
    variations = []
    for layer in ("first", "second"):
        kernel = network.get_layer(layer).kernel.numpy().astype(np.float64)
        a, b = neighbours(kernel)
        variations.append(np.sum((a - b) ** 2) / np.sum(a**2 + b**2))
        told = written.means[name, "kernel variation", layer][1]
        assert told == pytest.approx(variations[-1], rel=1e-5)
        cell = written.table("Smoothness of kernels")[layer][name]
        assert float(cell) == pytest.approx(variations[-1], rel=1e-3)
    mean = written.models[name]["measures"]["kernel variation"]
    assert mean["mean"] == pytest.approx(np.mean(variations), rel=1e-5)
    assert mean["standard_error"] is None


@pytest.mark.slow
def test_measures_are_those_of_the_tables(written):
    """Each is a mean that stands elsewhere, the last layer's being the deepest."""
    wanted = {
        "accuracy": ("accuracy", "clean"),
        "robust accuracy": ("accuracy", "PGD"),
        "gradient norm": ("gradient norm", ""),
        "curvature": ("curvature", ""),
        "high-frequency share": ("high frequency share", "PGD"),
        "sign agreement": ("sign agreement", "PGD"),
        "last difference": ("maximum difference", "PGD found, Layer 1"),
        "last relative difference": ("relative difference", "PGD found, Layer 1"),
    }
    for name, one in written.models.items():
        assert set(one["measures"]) == {*wanted, "kernel variation"}
        for measure, key in wanted.items():
            told = one["measures"][measure]["mean"]
            if name == "served" and measure.startswith("last"):
                assert told is None and (name, *key) not in written.means
            else:
                assert told == written.means[name, *key][1]


@pytest.mark.slow
def test_a_saved_model_is_measured_where_it_can_be(written):
    """The same as the network it was exported from, but for layers, kernels and curves,
    which the tables go without.
    """
    two, served = written.models["two"], written.models["served"]
    assert served["kind"] == "SavedModel"
    assert served["filtered"] == served["swapped"] == served["kernels"] == []
    assert two["filtered"] and two["swapped"] and two["kernels"]
    absent = {key[1:] for key in written.means if key[0] == "two"}
    absent -= {key[1:] for key in written.means if key[0] == "served"}
    kinds = {quantity for quantity, _ in absent}
    assert kinds >= {"accuracy, filtered", "accuracy, swapped", "kernel variation"}
    for key, told in written.means.items():
        if key[0] != "served" or key[1] == "fooled":
            continue
        np.testing.assert_allclose(told, written.means["two", *key[1:]], rtol=2e-2)
    shown = written.table("Models by measures")["served"]
    assert [title for title, cell in shown.items() if cell == "-"] == [
        "last difference", "last relative difference", "kernel variation",
    ]  # fmt: skip
    assert "two, PGD found" in written.table("Local response differences, total")
    for title in ("Local response differences, total", "Smoothness of kernels",
                  "Accuracy on what lies below a frequency"):  # fmt: skip
        table = written.table(title)
        assert not any("served, " in cell for row in table.values() for cell in row)
        assert not any(row.startswith("served") for row in table)
    assert written.markdown.count("Without served, which takes no pixels outside") == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")
def test_rank_correlations(written):
    """SciPy's of the measures in evaluation.json, '-' where a measure does not vary; in
    full beside them.
    """
    measured = {
        title: [one["measures"][title]["mean"] for one in written.json["models"]]
        for title in written.models["one"]["measures"]
    }
    table = written.table("Rank correlations of the measures")
    stored = written.json["models"][0]["rank_correlations"]
    assert list(table) == list(stored) == list(measured)
    compared = 0
    for row, first in measured.items():
        for column, second in measured.items():
            a, b = (np.array(side, float) for side in (first, second))
            known = ~np.isnan(a) & ~np.isnan(b)
            expected = stats.spearmanr(a[known], b[known]).statistic
            told = table[row][column]
            if np.isnan(expected):
                assert told == "-" and stored[row][column] is None
                continue
            compared += 1
            assert stored[row][column] == pytest.approx(expected)
            assert float(told) == pytest.approx(expected, abs=0.00501)
    assert compared > 40


@pytest.mark.slow
def test_epochs(written, places):
    """Of a run's folder and of its epochs; the last is the model itself, and the one
    before it is attacked anew here.
    """
    assert "checkpoints" not in written.models["two"]
    runs = written.models["one"]["checkpoints"]
    assert [*runs] == ["one", "two"]
    for name, epochs in runs.items():
        assert [*epochs] == ["3", "6"]
        rows = {title: values[:6] for title, values in written.examples[name].items()}
        found = (rows["success of PGD"] == 1) & (rows["clean_correct"] == 1)
        setting = f"{name}, epoch 6"
        told = {key[1:]: value for key, value in written.means.items()
                if key[0] == "one"}  # fmt: skip
        check_mean(told["accuracy", f"{setting}, clean"], rows["clean_correct"])
        check_mean(told["accuracy", setting], rows["success of PGD"] == 0)
        for statistic in STATISTICS:
            for label in LAYERS:
                column = rows[f"{statistic} difference of PGD at {label}"][found]
                key = (f"{statistic} difference", f"{setting} found, {label}")
                check_mean(told[key], column, rtol=1e-3)
        network = keras.saving.load_model(kept_epochs(places / name / "epochs")[3])
        images, labels = pixels(rows["index"].astype(int)), rows["label"].astype(int)
        result = ATTACKS["PGD"](network, images, labels)
        check_mean(told["accuracy", f"{name}, epoch 3"], ~result.success.numpy())
        assert epochs["3"]["images"] == 6
        found = (result.success & ~result.already).numpy()
        assert epochs["3"]["found"] == found.sum()
        table = written.table(f"Local responses over the epochs of {name}")
        assert [*table] == ["3", "6"] and table["3"]["images"] == str(found.sum())
    # Both have the same layers, and share a figure.
    assert "## Local responses over epochs, one, two\n" in written.markdown
    assert (written.out / "local_responses_over_epochs_0.png").is_file()
    assert not (written.out / "local_responses_over_epochs_1.png").exists()


FIGURES = {"amplitude_spectra", "filtered_high", "filtered_low", "swapped",
           "local_responses", "local_responses_over_epochs_0"}  # fmt: skip
FILES = {"evaluation.csv", "evaluation.flags", "evaluation.html", "evaluation.json",
         "evaluation.md", "per_example.csv"}  # fmt: skip


@pytest.mark.slow
def test_what_is_printed_and_written(written):
    """All files, every table on the terminal, strict JSON with the settings."""
    figures = FIGURES | {"perturbations_pgd", "perturbations_pgd2"}
    assert {path.name for path in written.out.iterdir()} == FILES | {
        f"{name}.png" for name in figures
    }
    assert written.json["suite"] == "dissect"
    assert [*written.models] == [*NAMES]
    assert written.page.count("<picture>") == len(figures)
    *titles, last = re.findall(r"<h2>(.*?)</h2>", written.page)
    assert len(titles) == len(set(titles)) == 18 and last == "Settings"
    # What is but a figure is not printed.
    drawn = ("Perturbations by", "Local responses over epochs,")
    missing = [title for title in titles if title not in written.ended.out]
    assert missing == [title for title in titles if title.startswith(drawn)]
    assert "one: 2 epochs, two: 2 epochs" in written.page
    assert "PGD: Linf 0.01569, 3 step(s) of 2/255, 1 start(s)" in written.page


@pytest.fixture(scope="module")
def harmless(places, tmp_path_factory):
    """An evaluation of two networks by an attack that can do nothing to them."""
    out = tmp_path_factory.mktemp("harmless") / "out"
    with np.errstate(divide="raise", invalid="raise"), warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        ended = call(*SMALL, f"--model={places}/one.keras", f"--model={places}/two.ke"
                     "ras", f"--checkpoints={places}/one", "--checkpoint_examples=4",
                     "--dissect_linf=1e-6", "--dissect_step=1e-7",
                     f"--out={out}")  # fmt: skip
    return Written(out, ended)


@pytest.mark.slow
def test_an_attack_that_never_succeeds(harmless):
    """Counts of 0, '-' for means, JSON without NaN, figures of what there is; nothing
    is divided by zero. What failed is whole.
    """
    for name, one in harmless.models.items():
        entry = one["attacks"]["PGD"]
        assert entry["found"] == 0 and entry["eps"] == 1e-6
        assert entry["accuracy"] == entry["clean_accuracy"]
        assert entry["sign_agreement"] == {"mean": None, "standard_error": None}
        for row in entry["layers_found"].values():
            assert row["images"] == 0 and row["maximum"]["mean"] is None
        right = int((harmless.examples[name]["clean_correct"] == 1).sum())
        for row in entry["layers_failed"].values():
            assert row["images"] == right > 1 and 0 < row["total"]["mean"] < 1
        cells = harmless.table("Local consistency of perturbations")[f"{name}, PGD"]
        assert [*cells.values()][1:] == ["0", "-", "-", "-", "-"]
        shown = harmless.table("Local response differences, relative")
        assert [*shown[f"{name}, PGD found"].values()][1:] == ["0", "-", "-", "-"]
        assert shown[f"{name}, PGD failed"]["images"] == str(right)
        assert one["measures"]["high-frequency share"]["mean"] is None
    for cells in harmless.table("Transfer").values():
        assert (cells["images"], cells["fooled"]) == ("0", "-")
    for cells in harmless.table("Local responses over the epochs of one").values():
        assert [cells["images"], *(cells[label] for label in LAYERS)] == ["0", *"---"]
    for cells in harmless.table("Amplitude spectra").values():
        assert abs(float(cells["one, difference"])) < 0.02
    assert {path.name for path in harmless.out.iterdir()} == FILES | {
        f"{name}.png" for name in FIGURES
    }
    assert "nan" not in re.sub(r"<style>.*?</style>|base64,[^\"]*", "",
                               harmless.page, flags=re.DOTALL).lower()  # fmt: skip


@pytest.mark.slow
def test_two_models_have_no_rank_correlations(harmless):
    """Of two there is no order to speak of."""
    assert "Rank correlations" not in harmless.markdown + harmless.ended.out
    assert "Models by measures" in harmless.markdown


@pytest.mark.slow
def test_a_trained_run_leaves_what_is_looked_at(call_module, tmp_path):
    """`trainers.cifar --keep_epochs=2`: epochs 2 and 3, the last being the model."""
    ended = call_module(
        "trainers.cifar", "--dataset=shapes", "--model=mlp", "--train_examples=40",
        "--eval_examples=20", "--batch_size=20", "--epochs=3", "--keep_epochs=2",
        f"--workdir={tmp_path}/run")  # fmt: skip
    assert ended.code == 0, ended.err
    config = parse(*SMALL, "--model=a", f"--checkpoints={tmp_path}/run",
                   "--checkpoint_examples=2")  # fmt: skip
    ((name, epochs),) = dissect_suite.find_runs(config).items()
    assert (name, [*epochs]) == ("run", [2, 3])
    kept, whole = (
        load_classifier(path).call.get_weights()
        for path in (epochs[3], tmp_path / "run")
    )
    for a, b in zip(kept, whole, strict=True):
        np.testing.assert_array_equal(a, b)
