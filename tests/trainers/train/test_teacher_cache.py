"""`--pag=rigd`: a teacher that fits, its gradients in a folder or in every step."""

import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from export import export_saved_model
from tests.seeds import set_seeds
from tests.trainers.restarts import assert_same_bits, kill_and_resume, rows
from tfrobust import data, models, pag
from tfrobust.cli.program import UsageError
from trainers.train import build, dry_run, teacher_cache

QUICK = (
    "--dataset=shapes",
    "--train_examples=60",
    "--eval_examples=20",
    "--batch_size=20",
    "--model=mlp",
    "--width=3",
    "--pag=rigd",
    "--pag_exact",
    "--learning_rate=0.001",
)
SHAPE = (32, 32, 3)


def save_teacher(path, shape=SHAPE, classes=10):
    set_seeds(1)
    models.MLP(shape, classes, hidden=(4,)).save(path)
    return path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return save_teacher(tmp_path_factory.mktemp("teacher") / "teacher.keras")


@pytest.fixture
def config(parse, teacher, tmp_path):
    return parse(*QUICK, f"--teacher={teacher}", f"--teacher_cache={tmp_path}/cache")


@pytest.fixture
def sixty():
    return data.make_shapes(60, seed=0)


def info():
    return data.describe("shapes")


def test_directions_come_from_the_folder_or_from_the_teacher(
    config, sixty, capsys, tmp_path
):
    """With a folder they are cached, and it is said how large it is and how much of it
    is there; without one they are the teacher itself.
    """
    loaded = build.check_teacher(config, info())
    cached = build.make_directions(config, sixty, loaded)
    assert isinstance(cached, pag.CachedDirections)
    assert cached.rows.shape == (60, 10, *SHAPE)
    assert pag.cached_rows(loaded.call, sixty, tmp_path / "cache") == 60
    output = capsys.readouterr()
    size = f"{60 * 10 * 3072 * 2 / 1e9:.3g} GB"
    assert f"{size} for 60 images, 0 of them done" in output.out
    assert "60/60" in output.err
    again = build.make_directions(config, sixty, loaded)
    np.testing.assert_array_equal(again.rows, cached.rows)
    output = capsys.readouterr()
    assert f"{size} for 60 images, 60 of them done" in output.out and not output.err
    plain = dataclasses.replace(config, teacher_cache="")
    directions = build.make_directions(plain, sixty, loaded)
    assert type(directions) is pag.Teacher and directions.network is loaded.call


def test_the_bar_begins_where_the_last_one_ended(capsys):
    """So that its rate is of this process."""
    bar = teacher_cache._Bar(shown=True)
    for done in (40, 50, 60):
        bar(done, 60)
    (last,) = re.findall(r"60/60 \[", capsys.readouterr().err)[-1:]
    assert bar._bar.n == 60 and bar._bar.initial == 40 and last
    quiet = teacher_cache._Bar(shown=False)
    quiet(40, 60)
    assert capsys.readouterr().err == ""


def refused(call, *arguments):
    with pytest.raises(UsageError) as caught:
        call(*arguments)
    return str(caught.value)


def test_a_cache_of_something_else_is_the_users_mistake(config, sixty):
    """The flag is named, and what differs."""
    loaded = build.check_teacher(config, info())
    build.make_directions(config, sixty, loaded)
    other = data.make_shapes(60, seed=1)
    sentence = refused(build.make_directions, config, other, loaded)
    assert sentence.startswith(f"--teacher_cache={config.teacher_cache}: `folder` must")
    assert sentence.endswith("a cache of another data set")


def test_a_complete_cache_may_be_read_only(config, sixty, monkeypatch):
    """One row less and the folder has to be written; nothing is changed to find out."""
    loaded = build.check_teacher(config, info())
    rows = build.make_directions(config, sixty, loaded).rows
    monkeypatch.setattr(os, "access", lambda *_: False)
    again = build.check_teacher(config, info())
    cached = build.make_directions(config, sixty, again).rows
    np.testing.assert_array_equal(cached, rows)
    state = Path(config.teacher_cache) / "directions.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "rows": 59}))
    sentence = refused(build.check_teacher, config, info())
    assert sentence.startswith(
        f"--teacher_cache={config.teacher_cache} cannot be written: "
    )


def test_a_full_disk_is_the_users_mistake(config, sixty, monkeypatch):
    """The sentence says how much is needed."""
    loaded = build.check_teacher(config, info())
    usage = shutil.disk_usage("/")._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    sentence = refused(build.make_directions, config, sixty, loaded)
    assert "`folder` must be on a disk with" in sentence and "GB free" in sentence


@pytest.mark.parametrize(
    ("shape", "classes", "reason"),
    [
        ((28, 28, 1), 10, "takes images [28, 28, 1], but those of shapes are [32, 32,"),
        (SHAPE, 5, "tells 5 classes apart, but shapes has 10."),
    ],
)
def test_a_teacher_of_other_data_is_refused_at_once(
    cifar, tmp_path, shape, classes, reason
):
    """Before data load, by its own flag, also in a dry run; nothing is written."""
    path = save_teacher(tmp_path / "other.keras", shape, classes)
    for more in ([], ["--dry_run"]):
        flags = (*QUICK, f"--teacher={path}", f"--workdir={tmp_path}/run", *more)
        error = cifar(*flags).error
        assert error.startswith(f"--teacher={path} ") and reason in error
    assert [each.name for each in tmp_path.iterdir()] == ["other.keras"]


def test_a_teacher_of_any_size_is_refused(parse, tmp_path):
    """Gradients of any size have no place in a file."""
    images = keras.Input((None, None, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(images)
    logits = keras.layers.Dense(10)(pooled)
    path = tmp_path / "any.keras"
    keras.Model(images, logits).save(path)
    config = parse(*QUICK, f"--teacher={path}")
    assert refused(build.check_teacher, config, info()) == (
        f"--teacher={path} must take images of one size alone."
    )


def test_a_missing_teacher_and_a_bad_folder_are_refused_at_once(
    cifar, teacher, tmp_path
):
    """Each by its own flag."""
    flags = (*QUICK, f"--workdir={tmp_path}/run")
    error = cifar(*flags, f"--teacher={tmp_path}/none").error
    assert error == f"--teacher={tmp_path}/none does not exist."
    file = tmp_path / "file"
    file.write_text("")
    error = cifar(*flags, f"--teacher={teacher}", f"--teacher_cache={file}").error
    assert error == f"--teacher_cache={file} is a file, not a folder."
    error = cifar("--dataset=shapes", "--pag=one_image", "--pag_classes=11").error
    assert error == "--pag_classes=11 is more than the 10 classes of shapes."


@pytest.mark.parametrize(
    ("flags", "passes"),
    [
        (["--pag=one_image"], 3 + 10 + 3),
        (["--pag=one_image", "--pag_classes=4"], 3 + 4 + 3),
        (["--pag=one_image", "--pag_classes=4", "--pag_exact"], 3 + 3 * 4),
        (["--pag=one_image", "--pag_classes=1"], 3 + 3),
        (["--pag=one_image", "--pag_weight=0"], 3),
    ],
)
def test_cost_counts_the_alignments_passes(parse, flags, passes):
    """One back for each class, and what differentiating them takes; one class costs
    what the gradient's norm does.
    """
    assert dry_run._passes(parse(*flags), 10) == passes


def test_cost_counts_the_teacher(config):
    """In every step, or once and before, with the size of the folder."""
    teacher = build.check_teacher(config, info())
    network = build.make_network(config, SHAPE, 10)
    own = 2 * models.multiply_adds(network) * (3 + 3 * 10)
    taught = 2 * (3072 * 4 + 4 * 10) * 11
    cached = dry_run._cost(config, network, 3, teacher)
    assert f", {own * 60 / 1e12:.3g} TFLOP an epoch" in cached
    assert f"{taught * 60 / 1e12:.3g} TFLOP for 0.00369 GB in" in cached
    plain = dataclasses.replace(config, teacher_cache="")
    total = (own + taught) * 60
    direct = dry_run._cost(plain, network, 3, teacher)
    assert f", {total / 1e12:.3g} TFLOP an epoch" in direct and "GB" not in direct


@pytest.mark.slow
def test_training_with_and_without_the_folder(call_module, teacher, tmp_path):
    """The same losses but for half precision."""
    flags = (*QUICK, f"--teacher={teacher}", "--epochs=2", "--augment=none")
    for name, more in (("direct", []), ("cached", [f"--teacher_cache={tmp_path}/c"])):
        workdir = f"--workdir={tmp_path / name}"
        ended = call_module("trainers.cifar", *flags, *more, workdir)
        assert ended.code == 0, ended.err[-3000:]
        assert ("60 images, 0 of them done" in ended.out) == (name == "cached")
    direct, cached = (rows(tmp_path / name) for name in ("direct", "cached"))
    assert len(direct) == 2
    for first, second in zip(direct, cached, strict=True):
        assert float(first["alignment_penalty"]) > 0.1
        for name, value in first.items():
            # The gradient norm of a network that is certain by now is next to nothing,
            # and falls by a factor wherever a logit moves a little.
            near = 1e-3 if name.endswith("gradient_norm") else 1e-4
            expected = pytest.approx(float(value), rel=1e-2, abs=near)
            assert float(second[name]) == expected, name


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_folder(call_module, teacher, tmp_path):
    """Killed in the middle, augmented, and resumed: every bit of an undisturbed run,
    which the same folder serves.
    """
    flags = (
        *QUICK,
        f"--teacher={teacher}",
        f"--teacher_cache={tmp_path}/cache",
        "--epochs=3",
    )
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    out = kill_and_resume(call_module, killed, *flags, epoch=1, step=1)
    ended = call_module("trainers.cifar", *flags, f"--workdir={whole}")
    assert ended.code == 0, ended.err[-3000:]
    for output in (out, ended.out):
        assert "60 images, 60 of them done" in output
    assert_same_bits(killed, whole, epochs=3)


def test_a_served_teacher_fills_the_folder_and_finds_it_again(
    parse, teacher, sixty, tmp_path, capsys
):
    """With the gradients of the network that was exported, to float16."""
    network = keras.saving.load_model(teacher)
    served = export_saved_model(network, tmp_path / "served")
    flags = (*QUICK, f"--teacher={served}", f"--teacher_cache={tmp_path}/cache")
    config = parse(*flags)
    rows = []
    for _ in range(2):
        loaded = build.check_teacher(config, info())
        rows.append(build.make_directions(config, sixty, loaded).rows)
    assert "60 of them done" in capsys.readouterr().out
    np.testing.assert_array_equal(*rows)
    other = pag.cache_directions(network, sixty, tmp_path / "other")
    np.testing.assert_allclose(rows[0], other, atol=2e-3)


def test_a_dry_run_says_that_the_cost_of_a_served_teacher_is_not_known(
    parse, teacher, tmp_path, capsys
):
    served = export_saved_model(keras.saving.load_model(teacher), tmp_path / "served")
    dry_run.describe(parse(*QUICK, f"--teacher={served}"))
    sentence = "; the cost of the teacher, a SavedModel, is not known and not in it"
    assert sentence in " ".join(capsys.readouterr().out.split())
    dry_run.describe(parse(*QUICK, f"--teacher={teacher}"))
    assert sentence not in " ".join(capsys.readouterr().out.split())
