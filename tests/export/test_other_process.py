"""The exported model where it is used: a process that knows only TensorFlow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import export_saved_model
from export.signatures import NAMES
from tfrobust import models
from tfrobust.training import RobustModel

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
SHAPE = (7, 8, 3)

CLIENT = '''
import sys

class Without:
    """Finds what the finder it wraps does, but for what is not to be installed."""
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *args):
        if name.split(".")[0] in {"keras", "tf_keras", "tfrobust", "export"}:
            return None
        return self.finder.find_spec(name, *args)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import numpy as np
import tensorflow as tf

folder, inputs, outputs = sys.argv[1:]
model = tf.saved_model.load(folder)
serve = model.signatures["serving_default"]
answer = serve(images=tf.constant(np.load(inputs)))
np.savez(outputs, **{name: value.numpy() for name, value in answer.items()})
assert not {"keras", "tfrobust"} & set(sys.modules), "imported all the same"
'''

# One process for all cases: importing TensorFlow is what takes the time.
COMMAND_LINE = """
import contextlib, io, json, runpy, sys
from absl import flags, logging

report, before = [], set(flags.FLAGS)
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["export", *arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_module("export", run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as exit:
            code = exit.code or 0
    report.append([code, out.getvalue(), err.getvalue()])
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()
print("REPORT" + json.dumps(report))
"""


def python(code, *arguments, cwd):
    """Run code in a new interpreter and return its output."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def export_each(*cases):
    """Exit code, stdout and stderr of `python -m export` for each list of flags."""
    printed = python(COMMAND_LINE, json.dumps(cases), cwd=REPOSITORY)
    return json.loads(printed.split("REPORT")[1])


@pytest.mark.parametrize("variant", ["standard", "lcnn"])
def test_predicts_without_keras_and_without_tfrobust(tmp_path, variant):
    network = models.ResNet18(input_shape=SHAPE, classes=5, variant=variant, width=2)
    network(tf.random.stateless_uniform([8, *SHAPE], [0, 1]), training=True)
    folder = export_saved_model(network, tmp_path / "net", list("abcde"))
    images = np.random.default_rng(0).uniform(size=(6, *SHAPE)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    python(
        CLIENT, folder, tmp_path / "images.npy", tmp_path / "answer.npz", cwd=tmp_path
    )
    answer = np.load(tmp_path / "answer.npz")
    logits = network(images, training=False)
    np.testing.assert_allclose(answer["logits"], logits, atol=1e-5)
    np.testing.assert_array_equal(answer["classes"], np.argmax(logits, axis=1))


def test_command_line(tmp_path):
    model = tmp_path / "model.keras"
    keras.Sequential([keras.Input((2, 3, 1)), keras.layers.Flatten()]).save(model)
    served = tmp_path / "served"
    note = tmp_path / "note.keras"
    note.write_text("no model")
    names = "--class_names=a,b,c,d,e,f"
    given = [f"--model={model}", f"--out={served}"]
    few = [*given, "--signatures=serving_default,explain"]
    helped, first, second, third, *failures = export_each(
        [*given, "--help"],
        [*given, "--attack"],
        [*few, names, "--overwrite", "--max_batch=2", "--max_gradients=1"],
        [*few, "--overwrite"],
        [f"--model={tmp_path}/missing.keras", f"--out={served}"],
        [f"--model={note}", f"--out={served}"],
        [f"--model={model}", f"--out={note}"],
        [f"--model={model}", "--out="],
        [f"--out={served}"],
        [*given, "--class_names=a,b"],
        [*given, "--signatures=explain"],
        [*given, "--signatures=serving_default,attack"],
        [*given, "--smooth_alpha=1"],
        [*given, "--attack", "--attack_steps=0"],
        [*given, "--speed=9"],
        [*given, "--signatures=serving_default"],
        [*given, "--max_batch=0"],
        [*given, "stray"],
    )
    assert (helped[0], helped[2]) == (0, "")
    assert "tfrobust export --model=" in helped[1]
    for flag in ("--model,", "--out,", "--class_names,", "--signatures,"):
        assert helped[1].count(f"  {flag}") == 1
    assert [first[0], second[0], third[0]] == [0, 0, 0], first[2] + second[2]
    # Versions count up, and nothing is replaced by exporting again or by failing.
    assert sorted(path.name for path in served.iterdir()) == ["1", "2", "3"]
    for version in served.iterdir():
        assert (version / "saved_model.pb").exists()
    # By default everything, of which only the attack has to be asked for.
    for version, names in (("1", NAMES), ("3", ("serving_default", "explain"))):
        loaded = tf.saved_model.load(served / version)
        assert set(loaded.signatures) == set(names)
    assert first[1].startswith(f"Wrote {served / '1'}. Query it with:")
    snippet = third[1].split("\n\n")[1]
    assert len(snippet.strip().splitlines()) == 3
    scope = {}
    exec(snippet, scope)
    assert scope["answer"]["logits"].shape == (1, 6)
    expected = [
        "--model must be an existing file",
        "--model must be a classifier that loads here",
        "--out must not be a file",
        "--out must be given",
        "--model must be given",
        "--class_names must name each of the 6 classes",
        "--signatures must be serving_default and any of the others of this model",
        "--signatures must be serving_default and any of the others of this model",
        "--smooth_alpha must be in [0, 1). Received",
        "--attack_steps must be",
        "Unknown command line flag 'speed'",
        "--overwrite must be set for a version that answers clients of",
        "--max_batch must be an integer of at least 1",
        "Unexpected argument 'stray'; everything is given as a --flag=value.",
    ]
    for (code, out, err), start in zip(failures, expected, strict=True):
        assert (code, out) == (2, ""), err
        assert err.startswith(f"error: {start}") and err.count("\n") == 1, err


LAYERS = """
import keras

@keras.saving.register_keras_serializable(package="alice")
class Halved(keras.layers.Layer):
    def call(self, inputs):
        return inputs / 2
"""


@pytest.fixture(scope="module")
def own_layers(tmp_path_factory):
    """A folder with a package of a user's and a model with a layer of it."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "alice_layers").mkdir()
    (folder / "alice_layers" / "__init__.py").write_text(LAYERS)
    code = (
        "import keras, alice_layers\n"
        "layers = [keras.Input((32, 32, 3)), alice_layers.Halved(),\n"
        "          keras.layers.Flatten(), keras.layers.Dense(10)]\n"
        "keras.Sequential(layers).save('own.keras')\n"
    )
    python(code, cwd=folder)
    return folder


def program(module, *arguments, cwd):
    """Exit code, stdout and stderr of `python -m MODULE` in somebody's folder."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


def test_layers_of_ones_own_are_exported(own_layers):
    """With `--import`; without it the sentence says so, and what it is called."""
    given = ("--model=own.keras", "--out=served/own", "--signatures=serving_default")
    code, _, err = program("export", *given, "--import=alice_layers", cwd=own_layers)
    assert code == 0, err
    assert (own_layers / "served/own/1/saved_model.pb").is_file()
    code, out, err = program("export", *given, cwd=own_layers)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == (
        "error: --model must be a classifier that loads here. Received: "
        "model=own.keras, which needs the class 'Halved', which nothing that is "
        "imported registers; name the module that does by --import"
    )
    code, out, err = program("export", *given, "--import=bob_layers", cwd=own_layers)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == (
        "error: --import=bob_layers cannot be imported: No module named 'bob_layers'"
    )


def test_layers_of_ones_own_are_evaluated(own_layers):
    """With `--import`, which evaluation.flags repeats."""
    small = (
        "--suite=lcnn",
        "--dataset=shapes",
        "--examples=4",
        "--geometry_examples=2",
        "--attack=pgd:norm=2,steps=1",
        "--clean_examples=20",
        "--batch_size=4",
        "--eps=0.1",
        "--model=own.keras",
        "--out=out",
    )
    code, _, err = program(
        "trainers.evaluate", *small, "--import=alice_layers", cwd=own_layers
    )
    assert code == 0, err
    flags = (own_layers / "out/evaluation.flags").read_text().splitlines()
    assert "--import=alice_layers" in flags
    code, _, err = program("trainers.evaluate", *small, "--overwrite", cwd=own_layers)
    assert code == 2
    assert err.splitlines()[-1].endswith("name the module that does by --import.")


def test_every_form_is_exported_from_the_command_line(tmp_path):
    """A run, a file of what trains, a SavedModel, a shipped network."""
    network = models.MLP((4, 3, 1), 3, hidden=(5,))
    run = tmp_path / "run"
    run.mkdir()
    network.save(run / "model.keras")
    (run / "run.flags").write_text("--dataset=shapes\n")
    (run / "summary.json").write_text('{"test_accuracy": 0.5}')
    RobustModel(network).save(tmp_path / "best.keras")
    export_saved_model(network, tmp_path / "served")
    forms = [run, tmp_path / "best.keras", tmp_path / "served", "pretrained:mnist_c4"]
    ended = export_each(
        *(
            [
                f"--model={path}",
                f"--out={tmp_path}/out{index}",
                "--signatures=serving_default,explain",
            ]
            for index, path in enumerate(forms)
        )
    )
    for index, (code, out, err) in enumerate(ended):
        version = tmp_path / f"out{index}" / "1"
        assert code == 0 and out.startswith(f"Wrote {version}."), err
    card = json.loads((tmp_path / "out0/1/assets.extra/model_card.json").read_text())
    assert card["accuracy"]["mean"] == 0.5
