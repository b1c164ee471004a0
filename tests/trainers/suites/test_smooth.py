"""The smooth suite: its numbers recomputed from single images, and its refusals."""

import csv
import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import trainers
from tests.trainers.test_evaluate import call, mlp, parse
from tfrobust import attacks, data, smoothing
from tfrobust.analysis import transfer as smooth_transfer
from tfrobust.cli.loading import Loaded, load_classifier
from tfrobust.cli.program import UsageError
from trainers.suites import options as evaluate_options
from trainers.suites import samples as evaluate_data
from trainers.suites.smooth import attacks as smooth_attacks
from trainers.suites.smooth import measure as smooth_suite
from trainers.suites.smooth import page as smooth_tables
from trainers.suites.smooth.measure import FILTERED

FLAGS = Path(trainers.__file__).parent / "flags" / "evaluate_smooth.flags"
SMALL = ("--suite=smooth", "--dataset=shapes", "--examples=7", "--batch_size=4",
         "--clean_examples=60", "--radii=3", "--linf_eps=24/255", "--l2_eps=1.5",
         "--steps=3", "--cw_steps=5", "--cw_searches=2", "--budgets=1x5,2x5",
         "--roughness_weight=2", "--smooth_bandwidth=0.3")  # fmt: skip
NAMES = ("FGSM", "I-FGSM", "PGD2", "sPGD2", "C&W", "sC&W", "sC&W, roughness 2")
BUDGETS = [f"{name}, {budget}" for budget in ("1x5", "2x5")
           for name in ("C&W, tanh", "C&W, clip", "sC&W")]  # fmt: skip
SETTINGS = [*NAMES, *(f"{name}, largest radius" for name in NAMES[:4]), *BUDGETS]


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


CASES = {
    "alpha": ("--smooth_alpha=1", r"flag --smooth_alpha=1.*: must be below 1"),
    "alpha negative": ("--smooth_alpha=-0.1", r"flag --smooth_alpha=-0\.1: "),
    "alpha nan": ("--smooth_alpha=nan", r"flag --smooth_alpha=nan: "),
    "bandwidth": ("--smooth_bandwidth=0", r"--smooth_bandwidth=0.*: must be above 0"),
    "bandwidth a word": ("--smooth_bandwidth=wide", r"flag --smooth_bandwidth=wide: "),
    "kernel": ("--smooth_kernel=box", r"flag --smooth_kernel=box: .*<laplacian\|gau"),
    "neighbours": ("--smooth_neighbors=6", r"flag --smooth_neighbors=6: .*<4\|8>"),
    "radii": ("--radii=0", r"flag --radii=0: "),
    "linf": ("--linf_eps=0", r"flag --linf_eps=0.*: must be above 0"),
    "l2": ("--l2_eps=1/0", r"flag --l2_eps=1/0: "),
    "steps": ("--cw_steps=0", r"flag --cw_steps=0: "),
    "searches": ("--cw_searches=0", r"flag --cw_searches=0: "),
    "const": ("--cw_const=0", r"flag --cw_const=0.*: must be above 0"),
    "rate": ("--smooth_rate=0", r"flag --smooth_rate=0.*: must be above 0"),
    "space": ("--cw_space=sphere", r"flag --cw_space=sphere: .*<tanh\|clip>"),
    "roughness": ("--roughness_weight=-1", r"flag --roughness_weight=-1: "),
    "filter": ("--filter_std=0", r"flag --filter_std=0.*: must be above 0"),
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

    def load(*_):
        raise AssertionError("data would be loaded by now")

    monkeypatch.setattr(evaluate_data, "load", load)
    mlp(1).save(tmp_path / "net.keras")
    flag, expected = CASES[name]
    small = [one for one in SMALL if name != "examples" or "clean_ex" not in one]
    ended = call(*small, f"--model={tmp_path}/net.keras", f"--out={tmp_path}/o", flag)
    assert re.search(expected, ended.error), ended.error
    assert not (tmp_path / "o").exists()


def test_too_few_correct_images_are_refused(places, tmp_path):
    """A model that has not so many right, told with how many it has."""
    network = load_classifier(places / "one.keras").call
    test = data.load("shapes", "test").take(60)
    logits = network.predict(test.images.astype(np.float32) / 255, verbose=0)
    right = int((logits.argmax(-1) == test.labels).sum())
    assert 7 < right < 59
    ended = call(*SMALL, "--examples=59", f"--model={places}/one.keras",
                 f"--out={tmp_path}/o")  # fmt: skip
    expected = rf"--examples=59 is more than the {right} of 60 test images that --model"
    assert re.search(expected, ended.error), ended.error


def test_flags_of_another_suite_are_refused():
    with pytest.raises(UsageError, match="--restarts needs --suite=lcnn or pag, or"):
        parse(*SMALL, "--model=a", "--restarts=2")


def test_flags_repeat_the_evaluation():
    """`flag_lines` read back gives the same settings, budgets or none."""
    for budgets in ("2x5, 1x7", ""):
        config = parse(*SMALL, "--model=a", f"--budgets={budgets}")
        assert parse(*evaluate_options.flag_lines(config)) == config
    assert config.parsed_budgets == () and config.linf_eps == 24 / 255


def test_papers_flagfile():
    """Radii, alpha, C&W's rate and constant of the paper."""
    config = parse(f"--flagfile={FLAGS}", "--model=a", "--dataset=mnist")
    assert (config.suite, config.linf_eps, config.l2_eps) == ("smooth", 0.3, 5.0)
    assert (config.smooth_alpha, config.cw_rate, config.cw_const) == (0.95, 0.1, 15.0)
    trials = smooth_attacks.make_trials(config)
    assert list(trials)[:6] == list(NAMES[:6])
    assert trials["sC&W"].attack.learning_rate == 0.2
    assert trials["C&W"].attack.rounding and trials["sC&W"].attack.rounding


def test_trials_are_as_the_flags_say():
    """Radii evenly spaced, settings handed on, gradients counted."""
    trials = smooth_attacks.make_trials(parse(*SMALL, "--model=a"))
    assert tuple(trials) == NAMES
    np.testing.assert_allclose(trials["FGSM"].radii, [8 / 255, 16 / 255, 24 / 255])
    np.testing.assert_allclose(trials["sPGD2"].radii, [0.5, 1.0, 1.5])
    assert [trial.gradients for trial in trials.values()] == [3, 9, 9, 9, 10, 10, 10]
    assert trials["sPGD2"].attack == attacks.SmoothPGD(
        norm=2, eps=1.5, steps=3, random_start=False, alpha=0.95, bandwidth=0.3
    )
    assert trials["sC&W, roughness 2"].attack == attacks.SmoothCarliniWagner(
        steps=5, search_steps=2, initial_const=15.0, learning_rate=0.2,
        early_abort=False, roughness_weight=2.0, alpha=0.95, bandwidth=0.3,
    )  # fmt: skip
    assert trials["C&W"].attack.space == "clip"
    largest = trials["PGD2"].at_largest()
    assert (largest.radii, largest.gradients) == ((1.5,), 3)
    assert not largest.attack.early_stop and trials["PGD2"].attack.early_stop
    without = smooth_attacks.make_trials(
        parse(*SMALL, "--model=a", "--roughness_weight=0")
    )
    assert tuple(without) == NAMES[:6]


def test_transfer_counted_by_hand():
    """Pixels against a threshold: who fools whom is read off the grey levels.

    The target calls class 1 what is brighter than 0.5. Clean images are 0.2 (class 0,
    right), 0.6 (class 0, wrong), 0.8 (class 1, right), 0.2 and 0.2.
    """

    def classify(images):
        return (images.numpy().mean((1, 2, 3)) > 0.5).astype(int)

    levels = np.array([51, 153, 204, 51, 51], np.uint8)
    images = data.Dataset(
        "grey", np.tile(levels[:, None, None, None], [1, 2, 2, 1]), [0, 0, 1, 0, 0],
        ("dark", "bright"),
    )  # fmt: skip
    moved = np.float32([0.7, 0.7, 0.9, 0.4, 0.9])
    adversarial = {"a": np.tile(moved[:, None, None, None], [1, 2, 2, 1])}
    success = {"a": np.array([True, True, True, True, False])}
    found = smooth_transfer.transfer(classify, images, adversarial, success, 2)
    assert found.clean_correct.tolist() == [True, False, True, True, True]
    assert found.fooled["a"].tolist() == [True, True, False, False, True]
    # Counted are images 0, 2 and 3: of those one is fooled.
    assert found.counted("a").tolist() == [True, False, True, True, False]
    np.testing.assert_allclose(found.rate("a"), (1 / 3, 1 / 3), rtol=1e-6)
    assert found.clean_accuracy().value == 0.8
    assert found.clean_accuracy("a").value == 0.75


def test_a_filter_takes_back_a_lone_pixel():
    """What stands out by less than the filter's range is averaged away."""

    def classify(images):
        return (images.numpy().max((1, 2, 3)) > 0.55).astype(int)

    image = np.full((1, 9, 9, 1), 0.5, np.float32)
    image[0, 4, 4, 0] = 0.6
    shown = tf.constant(image)
    assert classify(shown).tolist() == [1]
    assert smooth_transfer.behind_filter(classify, 5.0, 0.5)(shown).tolist() == [0]
    assert smooth_transfer.behind_filter(classify, 5.0, 0.01)(shown).tolist() == [1]


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
    ended = call(*SMALL, f"--model={places}/one.keras", f"--model={places}/two.keras",
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
    """Found anew with NumPy, with the number of those passed over."""
    network = load_classifier(places / f"{name}.keras").call
    test = data.load("shapes", "test").take(60)
    logits = network.predict(test.images.astype(np.float32) / 255, verbose=0)
    correct = logits.argmax(-1) == test.labels
    index = np.flatnonzero(correct)[:7]
    np.testing.assert_array_equal(examples[name]["index"], index)
    np.testing.assert_array_equal(examples[name]["label"], test.labels[index])
    np.testing.assert_allclose(
        means[name, "accuracy", "clean"], expected_mean(correct.astype(float))
    )
    stated = json.loads((evaluated[0] / "evaluation.json").read_text())
    (told,) = [model for model in stated["models"] if model["name"] == name]
    assert told["skipped"] == int((~correct[: index[-1]]).sum())
    assert (
        f"{told['skipped']} for {name}" in (evaluated[0] / "evaluation.md").read_text()
    )


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_means_are_those_of_the_images(examples, means, setting):
    """P_suc, distortion and roughness of successes, as found and after rounding."""
    for name, found in examples.items():
        success = found[f"success of {setting}"] == 1
        rounded = found[f"success rounded of {setting}"] == 1
        expected = {
            "success": success.astype(float),
            "distortion": found[f"distortion of {setting}"][success],
            "roughness": found[f"roughness of {setting}"][success],
            "success_rounded": rounded.astype(float),
            "distortion_rounded": found[f"distortion rounded of {setting}"][rounded],
        }
        for quantity, values in expected.items():
            np.testing.assert_allclose(
                means[name, quantity, setting], expected_mean(values), rtol=1e-5,
                atol=1e-7, err_msg=f"{name} {quantity}",
            )  # fmt: skip


@pytest.mark.slow
def test_something_was_found(means):
    """The numbers compared above are not those of attacks that all fail."""
    for setting in ("PGD2", "C&W", "sC&W"):
        assert means["one", "success", setting][1] > 0.5
    assert means["one", "distortion", "sPGD2"][2] > 0
    assert means["one", "roughness", "sPGD2"][1] < means["one", "roughness", "PGD2"][1]


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
    found = examples["one"]
    test = data.load("shapes", "test")
    index = found["index"].astype(int)
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
    hit = np.isfinite(least)
    np.testing.assert_array_equal(found[f"success of {name}"] == 1, hit)
    np.testing.assert_allclose(found[f"distortion of {name}"][hit], least[hit], 1e-3)
    np.testing.assert_allclose(found[f"roughness of {name}"][hit], rough[hit], 2e-2)
    hit = np.isfinite(least_rounded)
    np.testing.assert_array_equal(found[f"success rounded of {name}"] == 1, hit)
    np.testing.assert_allclose(
        found[f"distortion rounded of {name}"][hit], least_rounded[hit], 1e-3
    )


@pytest.mark.slow
def test_at_the_largest_radius_attacks_go_on(examples):
    """They end on the sphere unless the range of pixels stops them."""
    found = examples["one"]
    distance = found["distortion of PGD2, largest radius"]
    success = found["success of PGD2, largest radius"] == 1
    assert success.any() and (distance <= 1.5 * (1 + 1e-5)).all()
    assert np.median(distance[success]) > 1.2
    both = success & (found["success of PGD2"] == 1)
    assert (distance[both] >= found["distortion of PGD2"][both] - 1e-5).all()


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["", ", largest radius"])
@pytest.mark.parametrize(
    ("source", "target"),
    [("one", "two"), ("two", "one"), ("one", FILTERED), ("two", FILTERED)],
)
def test_transfer_is_counted_from_the_images(examples, means, source, target, ending):
    """Successes on the source whose clean image the target has right."""
    found = examples[source]
    for attack in NAMES[:4] if ending else NAMES:
        counted = (found[f"success of {attack}{ending}"] == 1) & (
            found[f"correct by {target}"] == 1
        )
        fooled = found[f"{attack}{ending} fools {target}"][counted]
        key = (source, "transfer", f"{attack}{ending} to {target}")
        np.testing.assert_allclose(means[key], expected_mean(fooled), rtol=1e-6)


@pytest.mark.slow
def test_the_target_is_the_other_model(examples, places):
    """Which of the source's clean images it has right, with NumPy."""
    test = data.load("shapes", "test")
    for source, target in (("one", "two"), ("two", "one")):
        index = examples[source]["index"].astype(int)
        network = load_classifier(places / f"{target}.keras").call
        logits = network.predict(test.images[index].astype(np.float32) / 255, verbose=0)
        np.testing.assert_array_equal(
            examples[source][f"correct by {target}"] == 1,
            logits.argmax(-1) == test.labels[index],
        )
        assert np.isnan(examples[source][f"correct by {source}"]).all()


@pytest.mark.slow
def test_what_is_printed_and_written(evaluated):
    """All files, every table on the terminal, strict JSON with the settings."""
    out, ended = evaluated
    figures = {f"{name}_{place}.png" for place in (1, 2)
               for name in ("characteristics", "worst_cases", "magnified")}  # fmt: skip
    assert {path.name for path in out.iterdir()} == figures | {
        "evaluation.csv", "evaluation.flags", "evaluation.html", "evaluation.json",
        "evaluation.md", "per_example.csv",
    }  # fmt: skip

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    stated = json.loads((out / "evaluation.json").read_text(), parse_constant=refuse)
    one, two = stated["models"]
    assert (stated["suite"], one["images"]) == ("smooth", 7)
    assert one["attacks"]["FGSM"]["norm"] == "Linf"
    assert one["attacks"]["PGD2"]["gradients_exact"] is False
    assert [entry["searches"] for entry in two["budgets"]] == [1, 1, 1, 2, 2, 2]
    assert set(two["transfer"]) == {FILTERED, "one"}
    page = (out / "evaluation.html").read_text()
    for title in ("Attacks on one", "Budgets of the searches on two",
                  "Transfer at the largest radius"):  # fmt: skip
        assert f"<h2>{title}</h2>" in page and title in ended.out
    assert page.count("<table>") == 8 and page.count("<picture>") == 6
    assert "first 7 that it classifies correctly; wrong ones passed over" in page


class Threshold:
    """A served model of ten classes that tells two apart, by one pixel."""

    def __call__(self, images):
        first = images[:, 0, 0, 0]
        rest = tf.fill([tf.shape(images)[0], 8], -100.0)
        two = tf.stack([0.55 - first, first - 0.55], axis=-1)
        return tf.concat([two, rest], axis=-1)


def test_a_linear_model_where_all_is_known():
    """Two thresholds on a pixel: distortions in closed form, and who fools whom."""
    pixels = np.full((6, 3, 3, 1), 128, np.uint8)
    test = data.Dataset("grey", pixels, np.zeros(6, int), tuple("abcdefghij"))
    config = parse("--suite=smooth", "--model=a", "--examples=6", "--radii=4",
                   "--l2_eps=0.4", "--linf_eps=0.4", "--steps=4", "--cw_steps=5",
                   "--cw_searches=1", "--budgets=", "--batch_size=4")  # fmt: skip
    trials = {
        name: trial
        for name, trial in smooth_attacks.make_trials(config).items()
        if name in ("FGSM", "PGD2")
    }
    measurer = smooth_suite.Measurer(config, trials, {}, test)

    def stricter(images):
        logits = Threshold()(images)
        # Fooled from 0.85 on, and 0.9 is the farthest that a radius of 0.4 leads.
        return logits + tf.constant([0.3, -0.3] + [0.0] * 8)

    for name, network in (("easy", Threshold()), ("hard", stricter)):
        measurer.measure(Loaded(name, network, (3, 3, 1), 10, Path(name), {}))
    easy, hard = (measurer.findings.models[name] for name in ("easy", "hard"))
    assert easy.skipped == 0 and easy.accuracy().value == 1.0
    # One pixel has to rise by 0.048; the smallest radius is 0.1, in each pixel that
    # has a gradient, which is one.
    for tried in easy.tried.values():
        assert tried.curve().success_rate() == (1.0, 0.0)
        assert 0.048 < tried.curve().mean_distortion().value <= 0.1 + 1e-6
    assert abs(easy.tried["FGSM"].curve().mean_distortion().value - 0.1) < 1e-6
    assert abs(hard.tried["FGSM"].curve().mean_distortion().value - 0.4) < 1e-6
    # What barely fools the one is nothing to the other; the other way round all is.
    for name in trials:
        assert easy.transfers["hard"].rate(name).value == 0.0
        assert hard.transfers["easy"].rate(name).value == 1.0
        assert easy.transfers_largest["hard"].rate(name).value == 1.0


def test_the_median_image():
    """The lower of two in the middle; none where nothing was fooled."""
    success = np.array([True, True, False, True, True])
    distortion = np.float32([4.0, 1.0, 0.0, 3.0, 2.0])
    zero = np.zeros(5, bool)

    def tried(success):
        result = attacks.AttackResult(
            np.zeros([5, 1, 1, 1]), success, distortion, success, distortion, zero
        )
        trial = smooth_attacks.Trial(attacks.DDN(), (), 1, True)
        return smooth_suite.Tried(trial, result, result, distortion, 0.0)

    assert smooth_tables.median_row(tried(success)) == 4
    assert smooth_tables.median_row(tried(zero)) is None


@pytest.mark.slow
def test_the_command_on_mnist(call_module, tfds_dir, tmp_path):
    """As a user types it, one network that is right by chance now and then."""
    keras.utils.set_random_seed(0)
    mlp(3, shape=(28, 28, 1)).save(tmp_path / "net.keras")
    ended = call_module(
        "trainers.evaluate", f"--flagfile={FLAGS}", f"--model={tmp_path}/net.keras",
        "--dataset=mnist", f"--data_dir={tfds_dir}", "--clean_examples=200",
        "--examples=5", "--radii=2", "--cw_steps=5", "--cw_searches=1", "--budgets=",
        f"--out={tmp_path}/out",
    )  # fmt: skip
    assert ended.code == 0, ended.err[-3000:]
    stated = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    (model,) = stated["models"]
    assert model["budgets"] == [] and model["attacks"]["FGSM"]["radii"] == [0.15, 0.3]
    assert model["attacks"]["PGD2"]["success"]["mean"] == 1.0
    assert "sC&W, roughness 30" in model["attacks"]
