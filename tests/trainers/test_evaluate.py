"""The program that evaluates, whatever the suite: what it refuses and repeats."""

import dataclasses
import json
import re

import keras
import pytest
import tensorflow as tf

from export.saved_model import export_saved_model
from export.signatures import Settings
from tests.trainers.suites.common import SMALL, call, mlp, parse, records_of
from tfrobust.cli.program import UsageError
from tfrobust.training import RobustModel
from trainers import evaluate
from trainers.suites import samples
from trainers.suites.options import EvaluateConfig
from trainers.suites.partial import Partial
from trainers.suites.suite import all_suites, flag_lines

MODEL = "--model={p}/first"
CASES = {
    "no model": ([], r"--model must be given at least once: a \.keras file, a Saved"),
    "no module": (
        [MODEL, "--import=no.such"],
        r"--import=no\.such cannot be imported: No module named 'no'",
    ),
    "missing model": (["--model={p}/none"], r"--model=.*/none does not exist\."),
    "no model file": (["--model={p}/text.keras"], r"is no Keras model that loads"),
    "no model folder": (["--model={p}/held"], r"holds no model: neither"),
    "unfinished run": (["--model={p}/started"], r"it has not finished\."),
    "second model": ([MODEL, "--model={p}/none"], r"--model=.*/none does not exist\."),
    "image size": (
        ["--model={p}/small.keras"],
        r"--model=.*small\.keras takes images \[28, 28, 3\], but those of shapes are "
        r"\[32, 32, 3\]\.",
    ),
    "classes": (
        [MODEL, "--model={p}/seven.keras"],
        r"--model=.*seven\.keras tells 7 classes apart, but shapes has 10\.",
    ),
    "same name": (
        [MODEL, "--model={p}/first/model.keras"],
        r"Two models would both be called 'first'; give each a --name\.",
    ),
    "names": (
        [MODEL, "--name=a", "--name=b"],
        r"--name must be given once for each of the 1 models .*Received: 2 names",
    ),
    "name twice": (
        [MODEL, "--model={p}/second.keras", "--name=a", "--name=a"],
        r"--name must be a name of its own for each model\. Received: 'a', 'a'",
    ),
    "name empty": ([MODEL, "--name="], r"--name must be a name of its own"),
    "eps negative": (
        [MODEL, "--eps=0.1,-0.1"],
        r"--eps=.*: must be numbers of at least 0, .* Received: '-0\.1'",
    ),
    "eps a word": ([MODEL, "--eps=small"], r"--eps=.*: must be .* Received: 'small'"),
    "eps over 0": ([MODEL, "--eps=8/0"], r"--eps=.*: must be .* Received: '8/0'"),
    "eps nan": ([MODEL, "--eps=nan"], r"--eps=.*: must be .* Received: 'nan'"),
    "eps infinite": ([MODEL, "--eps=inf"], r"--eps=.*: must be .* Received: 'inf'"),
    "eps huge": ([MODEL, "--eps=1e999"], r"--eps=.*: must be .* Received: '1e999'"),
    "eps empty": ([MODEL, "--eps="], r"--eps=: must be given at least one radius"),
    "steps": (
        [MODEL, "--attack=pgd:norm=2,steps=0"],
        r"--attack=pgd:norm=2,steps=0: .*steps",
    ),
    "restarts": (
        [MODEL, "--attack=pgd:norm=2,restarts=0"],
        r"--attack=pgd:norm=2,restarts=0: .*restarts",
    ),
    "norm": ([MODEL, "--attack=pgd:norm=3"], r"--attack=pgd:norm=3: .*norm"),
    "attack": (
        [MODEL, "--attack=none"],
        r"--attack=none: `attack` must be one of .*ddn, .*pgd.* Received: 'none'",
    ),
    "setting": (
        [MODEL, "--attack=pgd:norm=2,stps=3"],
        r"--attack=.*: Settings of pgd must be among .*steps.* Received: stps=3",
    ),
    "radius twice": (
        [MODEL, "--attack=pgd:norm=2,eps=0.5"],
        r"--attack=pgd:norm=2,eps=0\.5: in this suite --eps sets the radii\.",
    ),
    "attack twice": (
        [MODEL, "--attack=ddn", "--attack=ddn:steps=100"],
        r"--attack=ddn:steps=100 is given twice\.",
    ),
    "suite": (
        [MODEL, "--suite=none"],
        r"--suite must be some of .*lcnn.*, with commas between\. Received: 'none'",
    ),
    "suite empty": ([MODEL, "--suite="], r"--suite must be some of"),
    "flag of another suite": (
        [MODEL, "--pag_samples=7"],
        r"--pag_samples needs --suite=pag\.",
    ),
    "seed": ([MODEL, "--seed=-1"], r"flag --seed=-1: "),
    "batch": ([MODEL, "--batch_size=0"], r"flag --batch_size=0: "),
    "examples 0": ([MODEL, "--examples=0"], r"flag --examples=0: "),
    "geometry 0": ([MODEL, "--geometry_examples=1"], r"flag --geometry_examples=1: "),
    "iterations": ([MODEL, "--power_iterations=0"], r"flag --power_iterations=0: "),
    "examples": (
        [MODEL, "--examples=2001"],
        r"--examples=2001 is more than the 2000 images in the test split of shapes\.",
    ),
    "clean examples": (
        [MODEL, "--clean_examples=2001"],
        r"--clean_examples=2001 is more than the 2000 images in the test split",
    ),
    "geometry examples": (
        [MODEL, "--geometry_examples=2001"],
        r"--geometry_examples=2001 is more than the 2000 images in the test split",
    ),
    "data set": ([MODEL, "--dataset=cifar11"], r"--dataset=cifar11: `name` must be"),
    "data folder": (
        [MODEL, "--dataset=mnist", "--data_dir={p}/none"],
        r"--dataset=mnist: `data_dir` must be an existing folder",
    ),
    "out holds files": (
        [MODEL, "--out={p}/held"],
        r"--out=.*/held already holds files; choose another folder, or replace an",
    ),
    "out holds others' files": (
        [MODEL, "--out={p}/held", "--overwrite"],
        r"--out=.*/held holds files but no evaluation\.json, so --overwrite will not",
    ),
    "out is a file": (
        [MODEL, "--out={p}/second.keras"],
        r"--out=.*second\.keras is a file, not a folder\.",
    ),
    "out below a file": (
        [MODEL, "--out={p}/second.keras/a/b"],
        r"--out=.* cannot be written: .*second\.keras is not a folder",
    ),
    "stray": ([MODEL, "runs/a"], r"Unexpected argument 'runs/a'"),
    "unknown flag": ([MODEL, "--step=3"], r"Unknown command line flag 'step'"),
}


@pytest.mark.parametrize("name", CASES)
def test_refused(places, monkeypatch, snapshot, name):
    """One sentence, exit code 2, before data is loaded; nothing is written."""
    flags, expected = CASES[name]

    def load(*_):
        raise AssertionError("data would be loaded, perhaps downloaded, by now")

    monkeypatch.setattr(samples, "load", load)
    before = snapshot(places)
    flags = [flag.format(p=places) for flag in flags]
    given = ("--suite=lcnn", "--dataset=shapes", f"--out={places}/out")
    ended = call(*given, *flags)
    assert re.search(expected, ended.error), ended.error
    assert ended.out == "" and snapshot(places) == before


LINES = ["--model=a", "--seed=1"]


@pytest.mark.parametrize(
    ("left_by", "finished", "overwrite", "sentence"),
    [
        (LINES, False, False, ""),
        (LINES, True, True, ""),
        (LINES, True, False, "already holds files"),
        (["--model=a", "--seed=2"], False, False, r"other flags \(--seed=2\)"),
        (["--model=a", "--seed=2"], False, True, ""),
        (["--model=a", "--seed=2"], True, False, "already holds files"),
        (None, False, True, "holds files but no evaluation.json"),
    ],
)
def test_what_a_killed_evaluation_left_is_gone_on_with_or_replaced(
    tmp_path, left_by, finished, overwrite, sentence
):
    """Never something that is no evaluation, and none that is complete unasked."""
    (tmp_path / "evaluation.csv").write_text("")
    if finished:
        (tmp_path / "evaluation.json").write_text("{}")
    if left_by:
        Partial(tmp_path, left_by).room("a")
    partial = Partial(tmp_path, LINES)
    if not sentence:
        evaluate._check_out(partial, overwrite)
        return
    with pytest.raises(UsageError, match=sentence):
        evaluate._check_out(partial, overwrite)


def test_a_model_without_gradient_is_refused(places, tmp_path, monkeypatch):
    """It shows only under attack, and the error is one sentence as well."""
    module = tf.Module()

    def step(images):
        return {"logits": tf.tile(tf.round(images[:, 0, 0, :1]), [1, 10])}

    spec = tf.TensorSpec([None, 32, 32, 3], tf.float32, name="images")
    module.run = tf.function(step, input_signature=[spec])
    signature = module.run.get_concrete_function()
    path = str(tmp_path / "flat")
    tf.saved_model.save(module, path, {"serving_default": signature})
    ended = call(*SMALL, f"--model={path}", f"--out={tmp_path}/out")
    assert re.search(r"--model=.*/flat: ", ended.error), ended.error
    assert not (tmp_path / "out").exists()


def test_a_served_model_that_takes_fewer_images(tmp_path):
    """The error is one sentence that names the flag, not a traceback."""
    few = Settings(max_batch=10)
    folder = export_saved_model(mlp(1), tmp_path / "few", settings=few)
    out = tmp_path / "out"
    ended = call(*SMALL, "--batch_size=50", f"--model={folder}", f"--out={out}")
    message = (
        r"--model=.*few.* refused its images, --batch_size=50 at a time: .*at most 10"
    )
    assert re.search(message, ended.error) and not out.exists(), ended.error


def test_flags_repeat_the_evaluation():
    """`flag_lines` read back gives the same settings."""
    run, suites = parse(
        "--import=c.d",
        "--import=e",
        "--model=a",
        "--model=b c",
        "--name=x",
        "--name=y,z",
        "--suite=pag,lcnn",
        "--attack=pgd:norm=inf,restarts=3",
        "--attack=ddn",
        "--eps=8/255,0.1",
        "--dataset=mnist",
    )
    again, same = parse(*flag_lines(run, suites))
    assert again == run and str(run.folder) == "runs/evaluation-mnist"
    assert [suite.name for suite in same] == ["pag", "lcnn"]
    assert [suite.own for suite in same] == [suite.own for suite in suites]
    assert [str(eps) for eps in same[1].own.eps] == ["8/255", "0.1"]


def test_help_names_every_flag():
    """Each with its default, under its group."""
    ended = call("--help")
    assert (ended.code, ended.err) == (0, "")
    fields = {field.name for field in dataclasses.fields(EvaluateConfig)}
    for suite in all_suites().values():
        fields |= {field.name for field in dataclasses.fields(suite.settings)}
        assert f"Suite {suite.name}: " in ended.out
    for field in fields:
        field = {"imports": "import"}.get(field, field)
        assert len(re.findall(rf"^  --{field}\b.*default ", ended.out, re.M)) == 1
    assert max(map(len, ended.out.splitlines())) <= 88


@pytest.mark.slow
def test_a_checkpoint_is_measured_as_its_network(places, tmp_path):
    """A file of what trains, as `ModelCheckpoint` leaves it, beside its network."""
    network = keras.saving.load_model(places / "second.keras")
    RobustModel(network).save(tmp_path / "best.keras")
    ended = call(
        *SMALL,
        "--eps=0.1",
        f"--model={places}/second.keras",
        f"--model={tmp_path}/best.keras",
        f"--out={tmp_path}/out",
    )
    assert ended.code == 0, ended.err
    records = records_of(tmp_path / "out")
    first, second = (
        [record.to_json() | {"model": ""} for record in records.of(name)]
        for name in records.models
    )
    assert first == second and len(first) > 20
    about = json.loads((tmp_path / "out" / "evaluation.json").read_text())["models"]
    assert [record["kind"] for record in about] == ["Keras", "Keras"]
