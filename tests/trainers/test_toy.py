"""`trainers.toy`: what it refuses, and a real run from flags to files."""

import contextlib
import csv
import io
import re
import sys

import numpy as np
import pytest
from absl import flags

from tests.trainers.programs import defined_flags
from tfrobust import data
from tfrobust.cli import flags as cli_flags
from tfrobust.cli import program
from trainers import toy
from trainers.toys import lines as toy_lines
from trainers.toys import moons as toy_moons
from trainers.toys import options as toy_options
from trainers.toys import parts as toy_parts
from trainers.toys import softplus as toy_softplus


@pytest.fixture
def run_toy(monkeypatch):
    """`run_toy(flag, ...)`: runs `trainers.toy` here; exit code, stdout, stderr."""
    with defined_flags(toy_options.define_flags) as flags:

        def run(*arguments):
            flags.unparse_flags()
            monkeypatch.setattr(sys, "argv", ["toy", *map(str, arguments)])
            out, err, code = io.StringIO(), io.StringIO(), 0
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    program.run(toy.main, lambda: cli_flags.grouped_help(toy.__doc__))
                except SystemExit as stop:
                    code = stop.code
            return code, out.getvalue(), err.getvalue()

        yield run


@pytest.fixture
def untrained(monkeypatch):
    """Nothing may be trained."""

    def never(*_):
        raise AssertionError("it trains")

    for task in (toy_lines, toy_moons):
        monkeypatch.setattr(task, "_trained", never)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--task=three_moons"], r"flag --task=three_moons: .*two_moons"),
        (["--seeds=0"], r"flag --seeds=0"),
        (["--seed=-1"], r"flag --seed=-1"),
        (["--examples=3"], r"flag --examples=3"),
        (["--noise=2"], r"flag --noise=2"),
        (["--noise=nan"], r"flag --noise=nan"),
        (["--steps=0"], r"flag --steps=0"),
        (["--out={tmp}/file"], r"--out=.*/file is a file, not a folder\."),
        (["--out={tmp}/file/below"], r"cannot be written: .*/file is not a folder"),
        (["--out={tmp}/full"], r"already holds two_moons\.csv; choose .*--overwrite"),
        (["--task=pag_lines", "--noise=0.1"], r"--noise needs --task=two_moons\."),
        (["--task=softplus", "--seed=1"], r"--seed needs a --task that trains\."),
        (["two_moons"], r"Unexpected argument 'two_moons'"),
    ],
)
def test_mistakes_end_in_one_sentence(run_toy, untrained, tmp_path, wrong, message):
    """Exit code 2, one line, nothing trained and nothing written."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "two_moons.csv").write_text("mine")
    code, out, err = run_toy(
        f"--out={tmp_path}/new", *(flag.format(tmp=tmp_path) for flag in wrong)
    )
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert re.search(message, err), err
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "full" / "two_moons.csv").read_text() == "mine"


def test_help_names_every_flag(run_toy, untrained):
    """Each flag with its default; nothing runs."""
    code, out, _ = run_toy("--help")
    assert code == 0
    for name in ("task", "seeds", "seed", "examples", "noise", "steps", "overwrite"):
        assert f"--{name}" in out


def test_errors_over_seeds_are_those_of_the_mean():
    """By hand: values 1, 2, 6 have mean 3 and standard error sqrt(7/3)."""
    ((mean, error),) = toy_parts.over_seeds([(1.0,), (2.0,), (6.0,)])
    assert mean == pytest.approx(3)
    assert error == pytest.approx(np.sqrt(7 / 3))
    assert toy_parts.over_seeds([(1.0, 5.0)]) == [1.0, 5.0]


def test_probabilities_are_those_of_the_grid():
    """Rows run over y from below, columns over x: a network that sees x alone."""
    import tensorflow as tf

    def network(points):
        return tf.stack([tf.zeros(len(points)), 4 * points[:, 0] - 2], axis=1)

    grid = toy_parts.probabilities(network)
    expected = 1 / (1 + np.exp(2 - 4 * np.linspace(0, 1, grid.shape[1])))
    np.testing.assert_allclose(grid, np.tile(expected, (grid.shape[0], 1)), rtol=1e-5)


def test_probabilities_cover_the_extent():
    """Its first and last rows and columns are its edges."""
    import tensorflow as tf

    def network(points):
        return tf.stack([tf.zeros(len(points)), points[:, 0] + 0.1 * points[:, 1]], 1)

    grid = toy_parts.probabilities(network, (-1.0, 2.0, -10.0, 30.0))
    corners = np.array([[-2.0, 1.0], [2.0, 5.0]])  # The logit, by hand.
    np.testing.assert_allclose(
        grid[[0, 0, -1, -1], [0, -1, 0, -1]], 1 / (1 + np.exp(-corners.ravel())), 1e-5
    )


@pytest.mark.parametrize(
    ("task", "expected"),
    [("two_moons", (3, 200, 0.2, 1000)), ("pag_lines", (5, 1000, 0, 4700))],
)
def test_each_task_has_its_own_defaults(run_toy, task, expected):
    """And a flag that is given wins over them."""
    flags.FLAGS(["toy", f"--task={task}"])
    config = toy_options.config_from_flags()
    defaults = (config.seeds, config.examples, config.noise, config.steps)
    assert defaults == expected
    flags.FLAGS(["toy", f"--task={task}", "--steps=7"])
    assert toy_options.config_from_flags().steps == 7


def test_softplus_is_its_closed_form(run_toy, untrained, tmp_path):
    """Figure and table against float64: `log(1 + exp(beta x)) / beta` and that less
    `log(2) / beta`; second derivative beta / 4, curvature beta (LCNN-E3).
    """
    report = toy_softplus.run(None)
    plain, centered = report.figure.axes
    betas = [row[0] for row in report.table.rows]
    for place, beta in enumerate(betas):
        line = plain.get_lines()[place]
        x = np.float64(line.get_xdata())
        truth = np.logaddexp(0, beta * x) / beta
        np.testing.assert_allclose(line.get_ydata(), truth, atol=1e-6)
        line = centered.get_lines()[place]
        np.testing.assert_allclose(
            line.get_ydata(), truth - np.log(2) / beta, atol=1e-6
        )
        expected = [np.log(2) / beta, 0, 1, beta / 4, beta]
        np.testing.assert_allclose(report.table.rows[place][1:], expected, rtol=1e-5)
    code, out, _ = run_toy("--task=softplus", f"--out={tmp_path}")
    assert code == 0 and "largest normalised curvature" in out
    names = ["softplus.csv", "softplus.md", "softplus.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.slow
def test_a_run_finds_the_smoother_boundary(run_toy, tmp_path):
    """All four networks learn, LCNN has less than half the curvature of the standard
    one, and the files hold what was printed; a second run replaces them by --overwrite.
    """
    arguments = ("--task=two_moons", "--seeds=1", "--steps=300", f"--out={tmp_path}")
    code, out, _ = run_toy(*arguments)
    assert code == 0
    names = ["two_moons.csv", "two_moons.md", "two_moons.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    with open(tmp_path / "two_moons.csv") as file:
        rows = {row["network"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["standard", "GradReg", "LCNN", "LCNN + GradReg"]
    for row in rows.values():
        assert float(row["test accuracy"]) > 0.9
        assert f"{float(row['test accuracy']):.1%}" in out
    curvature = {name: float(row["curvature"]) for name, row in rows.items()}
    assert curvature["LCNN"] < 0.5 * curvature["standard"]
    assert (tmp_path / "two_moons.png").read_bytes()[1:4] == b"PNG"
    assert "(two_moons.png)" in (tmp_path / "two_moons.md").read_text()
    before = (tmp_path / "two_moons.csv").read_bytes()
    assert run_toy(*arguments)[0] == 2
    assert (tmp_path / "two_moons.csv").read_bytes() == before


@pytest.mark.slow
def test_the_same_seed_trains_the_same_network():
    """Two trainings of one seed agree; another seed does not."""
    train = data.make_two_moons(40, 0.2, 0)
    first, again, other = (
        np.concatenate(
            [np.ravel(w) for w in toy_moons._trained("LCNN", train, s, 5).weights]
        )
        for s in (0, 0, 1)
    )
    np.testing.assert_allclose(again, first, rtol=1e-5, atol=1e-6)
    assert np.abs(other - first).max() > 1e-2


LINE = np.array([2.0, -1.0]) / np.sqrt(5)  # Across x2 = 2 x1.


def half_plane(distance):
    """A network of images of one pixel: class 1 is beyond a line beside the data."""
    import tensorflow as tf

    def network(images):
        plane = (tf.reshape(images, [-1, 2]) - 0.5) * 300.0
        side = tf.linalg.matvec(plane, LINE.astype(np.float32)) - distance
        return tf.stack([-side, side], axis=1)

    return network


@pytest.mark.parametrize(
    ("distance", "expected"), [(8.0, (1, 0, 0)), (15.2, (1, 1, 1))]
)
def test_attack_and_search_reach_15_units_of_the_plane(distance, expected):
    """A line beside the data is crossed if it is nearer and not if it is farther."""
    points, _ = data.make_lines(2)
    images = points.reshape(-1, 1, 1, 2)
    labels = np.zeros(len(points), np.int32)
    assert toy_lines._measure(half_plane(distance), images, labels) == expected


def test_the_search_reaches_the_edge_of_the_ball():
    """At 14.8 of 15, where ten steps from a random start seldom arrive."""
    points, _ = data.make_lines(2)
    images = points.reshape(-1, 1, 1, 2)
    labels = np.zeros(len(points), np.int32)
    result = toy_lines._survives_search(half_plane(14.8), images, labels)
    assert not result.any()


def test_a_wrong_label_survives_nothing():
    """Clean errors count as errors under both attacks."""
    points, _ = data.make_lines(2)
    images = points.reshape(-1, 1, 1, 2)
    labels = np.arange(len(points), dtype=np.int32) % 2
    result = toy_lines._measure(half_plane(50.0), images, labels)
    assert result == (0.5, 0.5, 0.5)


def test_the_search_finds_an_island():
    """A disc of radius 3 at distance 10, where no gradient of the logits leads."""
    import tensorflow as tf

    points, _ = data.make_lines(1)
    images = points.reshape(-1, 1, 1, 2)
    center = (points[0] - 0.5) * 300 + 10 * LINE

    def network(images):
        plane = (tf.reshape(images, [-1, 2]) - 0.5) * 300.0
        inside = tf.cast(tf.norm(plane - center, axis=1) < 3, tf.float32)
        return tf.stack([1 - inside, inside], axis=1)

    result = toy_lines._survives_search(network, images, np.zeros(6, np.int32))
    assert result.tolist() == [False] + [True] * 5


def test_networks_of_lines_see_the_plane_in_its_units():
    """The first layer's input is the point of the plane: by hand from the weights."""
    points, _ = data.make_lines(3)
    network = toy_lines._network()
    first, bias, second, end = (weight.numpy() for weight in network.weights)
    plane = (points.astype(np.float64) - 0.5) * 300
    expected = np.maximum(plane @ first + bias, 0) @ second + end
    result = network(points.reshape(-1, 1, 1, 2))
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-3)
    wrapped = toy_lines._in_the_plane(network)(plane.astype(np.float32))
    np.testing.assert_allclose(wrapped, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_aligned_training_differs_and_repeats():
    """One seed trains one network, and the penalty changes it."""
    points, labels = data.make_lines(4)
    train = points.reshape(-1, 1, 1, 2), labels
    first, again, vanilla = (
        np.concatenate(
            [np.ravel(w) for w in toy_lines._trained(name, train, 0, 20).weights]
        )
        for name in ("PAG", "PAG", "vanilla")
    )
    np.testing.assert_allclose(again, first, rtol=1e-4, atol=1e-5)
    assert np.abs(first - vanilla).max() > 1e-2


def lines_rows(folder):
    """The table of a run, by network."""
    with open(folder / "pag_lines.csv") as file:
        return {row.pop("network"): row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_lines_run_from_flags_to_files(run_toy, tmp_path):
    """At small scale: every number is a share, the worst is no better than the mean."""
    code, out, _ = run_toy(
        "--task=pag_lines",
        "--seeds=2",
        "--steps=5",
        "--examples=4",
        f"--out={tmp_path}",
    )
    assert code == 0
    names = ["pag_lines.csv", "pag_lines.md", "pag_lines.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    rows = lines_rows(tmp_path)
    assert list(rows) == ["vanilla", "PAG"]
    for row in rows.values():
        for measure in ("clean", "PGD", "search"):
            mean = float(row[f"{measure} accuracy"])
            assert 0 <= float(row[f"{measure}, worst seed"]) <= mean <= 1
            assert f"{mean:.1%} +- " in out
        assert float(row["clean accuracy"]) >= float(row["PGD accuracy"])
    assert (tmp_path / "pag_lines.png").read_bytes()[1:4] == b"PNG"


@pytest.mark.slow
def test_aligned_gradients_make_lines_robust(run_toy, tmp_path):
    """At the default setting both learn the points; what little of the vanilla network
    withstands PGD falls to a search, and PAG keeps more than the paper's 75.5 %.
    """
    assert run_toy("--task=pag_lines", "--seeds=3", f"--out={tmp_path}")[0] == 0
    rows = {
        name: {title: float(cell) for title, cell in row.items()}
        for name, row in lines_rows(tmp_path).items()
    }
    assert rows["vanilla"]["clean accuracy"] >= 0.99
    assert rows["PAG"]["clean accuracy"] >= 0.99
    assert rows["vanilla"]["search accuracy"] < 0.35
    assert rows["PAG"]["PGD accuracy"] >= 0.755
    assert rows["PAG"]["search accuracy"] >= 0.7
