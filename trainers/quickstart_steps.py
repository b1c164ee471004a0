"""The steps of the quickstart."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time

import keras
import numpy as np

import tfrobust.layers  # noqa: F401  Registers the layers for loading.
from export.compatibility import versions
from tfrobust import attacks, data, viz

_FOLDER = pathlib.Path("runs/quickstart")
_FLAGFILE = "quickstart"
_ATTACKED = 300
_ATTACKS = {
    "PGD L2, eps 0.5, 10 steps": attacks.PGD(norm=2, eps=0.5, steps=10),
    "PGD Linf, eps 4/255, 10 steps": attacks.PGD(norm="inf", eps=4 / 255, steps=10),
}

# Runs in a process of its own that imports TensorFlow and nothing else.
_QUERY = """
import json, sys
import numpy, tensorflow
served = tensorflow.saved_model.load(sys.argv[1])
images = numpy.load(sys.argv[2])
answer = served.signatures["serving_default"](images=tensorflow.constant(images))
assert "tfrobust" not in sys.modules
print(json.dumps({
    "labels": [label.decode() for label in answer["labels"].numpy()],
    "logits": answer["logits"].numpy().tolist(),
}))
"""


def take() -> None:
    """Takes every step and prints what was found."""
    began = time.perf_counter()
    _run("train", f"--flagfile={_FLAGFILE}", f"--workdir={_FOLDER}", "--overwrite")
    network = keras.saving.load_model(_FOLDER / "model.keras")
    test = data.load("shapes", "test")
    rows = [("clean, all test images", len(test), _accuracy(network, test))]
    attacked = test.take(_ATTACKED)
    images = attacked.images.astype(np.float32) / np.float32(255)
    rows.append((f"clean, first {_ATTACKED}", _ATTACKED, _accuracy(network, attacked)))
    results = {}
    for name, attack in _ATTACKS.items():
        result = results[name] = attack(network, images, attacked.labels)
        rows.append((name, _ATTACKED, 1 - float(np.mean(result.success))))
    figure = _draw(network, images, attacked, results)
    served = _export(test.class_names)
    agreement = _query(served, network, images[:5], attacked)
    _print_table(rows)
    print(
        f"\nexport    {served}\n          {agreement}\n"
        f"figures   {figure}\n          {_FOLDER / 'curves.png'}\n"
        f"time      {time.perf_counter() - began:.0f} s"
    )


def _run(*arguments: str) -> None:
    """Shows and runs a command of tfrobust; fails as it fails."""
    command = " \\\n      ".join([f"tfrobust {arguments[0]}", *arguments[1:]])
    print(f"\n$ {command}\n", flush=True)
    # -P: a folder here called trainers would be taken for this package.
    place = str(pathlib.Path(__file__).parents[1])
    paths = os.pathsep.join(filter(None, [place, os.environ.get("PYTHONPATH")]))
    code = subprocess.run(
        [sys.executable, "-P", "-m", "trainers", *arguments],
        env={**os.environ, "PYTHONPATH": paths},
    ).returncode
    if code:
        sys.exit(code)


def _accuracy(network: keras.Model, test: data.Dataset) -> float:
    images = test.images.astype(np.float32) / np.float32(255)
    logits = network.predict(images, batch_size=250, verbose=0)
    return float(np.mean(np.argmax(logits, axis=-1) == test.labels))


def _draw(
    network: keras.Model,
    images: np.ndarray,
    attacked: data.Dataset,
    results: dict[str, attacks.AttackResult],
) -> pathlib.Path:
    names = np.array(attacked.class_names)
    columns = {"clean": images, **{k: v.adversarial for k, v in results.items()}}
    shown = slice(0, 8)
    rows = {
        title: (
            np.asarray(batch)[shown],
            names[np.argmax(network.predict(batch[shown], verbose=0), axis=-1)],
        )
        for title, batch in columns.items()
    }
    path = _FOLDER / "attacked.png"
    viz.save(viz.image_rows(rows, truth=names[attacked.labels[shown]]), path)
    return path


def _export(class_names: tuple[str, ...]) -> pathlib.Path:
    out = _FOLDER / "served" / "shapes"
    names = ",".join(class_names)
    _run("export", f"--model={_FOLDER}", f"--out={out}", f"--class_names={names}")
    return out / str(max(versions(out)))


def _query(
    served: pathlib.Path, network: keras.Model, images: np.ndarray, test: data.Dataset
) -> str:
    """Asks the export, and says how far it is from the Keras model."""
    path = _FOLDER / "query.npy"
    np.save(path, images)
    process = subprocess.run(
        [sys.executable, "-c", _QUERY, str(served), str(path)],
        capture_output=True,
        text=True,
    )
    if process.returncode:
        sys.exit(process.stderr)
    answer = json.loads(process.stdout.splitlines()[-1])
    expected = network.predict(images, verbose=0)
    gap = float(np.max(np.abs(expected - np.array(answer["logits"]))))
    truth = [test.class_names[label] for label in test.labels[: len(images)]]
    pairs = ", ".join(
        answered if answered == true else f"{answered} (is {true})"
        for answered, true in zip(answer["labels"], truth, strict=True)
    )
    return f"answers {pairs}\n          logits within {gap:.1e} of the Keras model's"


def _print_table(rows: list[tuple[str, int, float]]) -> None:
    print(f"\n{'accuracy':<34}{'images':>8}{'':>4}{'value':>8}")
    for name, count, value in rows:
        print(f"{name:<34}{count:>8}{'':>4}{value:>8.1%}")
