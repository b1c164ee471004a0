"""Claim: what a server says of an image tells which images an attack breaks.

    python -m benchmarks.served_answers --data_dir=... --examples=1000 \
        --figure=docs/images/served_answers.png

Test images go as the JPEG files that the data set is made of to `predict_bytes`, and
as pixels to `robustness`, both in the C++ runtime of tests/serving; the same images are
classified by Keras and attacked by PGD in Python. Printed are both accuracies, the
largest difference of a logit, and for each answer of `robustness` the area under the
ROC curve: the chance that of two correctly classified images, one that PGD breaks and
one that withstands it, the answer puts the broken one first. 0.5 is guessing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from benchmarks.reports import Parser, Report, need_compiler, need_data, start
from export import export_saved_model
from tests.serving import build
from tests.serving.messages import Request, read_answers, write_requests
from tfrobust import attacks, viz
from tfrobust.cli.loading import load_classifier
from tfrobust.data.tfds import make_builder

BATCH = 50
# Higher is safer in the first, more easily broken in the second.
SAFE = ("margin", "margin_distance", "distance_linear", "distance")
FRAIL = ("gradient_norm", "hessian_norm", "curvature")
_QUICK = {"examples": 200, "iterations": 2}
DRAWN = ("margin_distance", "margin", "distance", "curvature")


def main(argv: Sequence[str] | None = None) -> Report:
    """Serves, attacks and draws a figure."""
    parser = Parser(__file__, __doc__, quick=_QUICK)
    parser.add_argument("--model", default="pretrained:cifar10_lcnn_gradreg")
    parser.add_argument("--dataset", default="cifar10_jpeg")
    parser.add_data_dir()
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--eps", type=float, default=0.2, help="L2 radius of PGD-20")
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--figure", type=Path)
    given, report = parser.parse(argv)
    need_compiler()
    need_data(given.dataset, given.data_dir)
    network = load_classifier(given.model).call
    files, labels = _files(given.dataset, given.data_dir, given.examples)
    images = _pixels(files)
    logits, answers = _served(network, files, images, given.iterations)
    expected = np.concatenate([network(batch).numpy() for batch in _parts(images)])
    right = expected.argmax(axis=1) == labels
    broken = _broken(network, images, labels, given.eps)[right]
    answers = {name: values[right] for name, values in answers.items()}
    report.table(
        f"{given.model} on {len(files)} files of {given.dataset}, PGD-20 within L2 "
        f"{given.eps}",
        _areas(answers, broken),
        {"auc": ".3f", "auc_error": ".3f"},
        claimed={"margin_distance": None},
        measure="auc",
    )
    report.note(
        f"Accuracy: Keras {right.mean():.4f}, served "
        f"{np.mean(logits.argmax(axis=1) == labels):.4f}; logits differ by at most "
        f"{np.abs(logits - expected).max():.1e}. PGD breaks {broken.sum()} of "
        f"{right.sum()} correct."
    )
    if given.figure:
        viz.save(_draw(answers, broken, given.eps), given.figure)
    return report


def _files(
    dataset: str, data_dir: str | None, count: int
) -> tuple[list[bytes], np.ndarray]:
    """The first test images as they are stored, and their labels."""
    import tensorflow_datasets as tfds

    builder = make_builder(dataset, Path(data_dir) if data_dir else None)
    stored = builder.as_dataset(
        split=f"test[:{count}]",
        decoders={"image": tfds.decode.SkipDecoding()},
        shuffle_files=False,
    )
    pairs = [
        (example["image"], example["label"]) for example in stored.as_numpy_iterator()
    ]
    files, labels = zip(*pairs, strict=True)
    return list(files), np.array(labels)


def _pixels(files: list[bytes]) -> np.ndarray:
    """The files as float32 images in [0, 1]."""
    images = [tf.io.decode_image(file).numpy() for file in files]
    return np.stack(images).astype(np.float32) / np.float32(255)


def _parts(rows: Any) -> Iterator[Any]:
    for first in range(0, len(rows), BATCH):
        yield rows[first : first + BATCH]


def _served(
    network: Any, files: list[bytes], images: np.ndarray, iterations: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Logits of the files, and what `robustness` says of the images, from C++."""
    requests: list[Request] = [
        ("predict_bytes", {"image_bytes": np.array(part, object)})
        for part in _parts(files)
    ]
    requests += [
        (
            "robustness",
            {
                "images": part,
                "iterations": np.full(len(part), iterations).astype(np.int32),
            },
        )
        for part in _parts(images)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        signatures = ["serving_default", "predict_bytes", "robustness"]
        version = export_saved_model(
            network, folder / "net", signatures=signatures, folded=True
        )
        requests_file = write_requests(folder / "requests", requests)
        command = ["replay", str(version), str(requests_file), str(folder / "answers")]
        build.run(*command, "--threads=1")
        answers = read_answers(folder / "answers")
    bad = [answer for answer in answers if answer.code != "OK"]
    if bad:
        raise RuntimeError(f"{bad[0].code}: {bad[0].message}")
    tensors = [answer.tensors for answer in answers]
    predicted = tensors[: -(-len(files) // BATCH)]
    measured = tensors[len(predicted) :]
    return (
        np.concatenate([rows["logits"] for rows in predicted]),
        {
            name: np.concatenate([rows[name] for rows in measured])
            for name in SAFE + FRAIL
        },
    )


def _broken(
    network: Any, images: np.ndarray, labels: np.ndarray, eps: float
) -> np.ndarray:
    attack = attacks.PGD(norm=2, eps=eps, steps=20)
    pairs = zip(_parts(images), _parts(labels), strict=True)
    return np.concatenate([attack(network, *pair).success for pair in pairs])


def _area(values: np.ndarray, broken: np.ndarray) -> float:
    """Area under the ROC curve of higher values for the broken ones.

    The chance that a broken one's value is the higher, ties counted half: Mann and
    Whitney's statistic over the number of pairs.
    """
    first, second = values[broken][:, None], values[~broken][None]
    return float(np.mean(np.sign(first - second) + 1) / 2)


def _error(values: np.ndarray, broken: np.ndarray) -> float:
    """Standard error over 500 resamplings of the images."""
    random, areas = np.random.default_rng(0), []
    while len(areas) < 500:
        rows = random.integers(0, len(values), len(values))
        if 0 < broken[rows].sum() < len(rows):
            areas.append(_area(values[rows], broken[rows]))
    return float(np.std(areas))


def _areas(
    answers: dict[str, np.ndarray], broken: np.ndarray
) -> Iterator[dict[str, Any]]:
    """One row for each answer."""
    for name in SAFE + FRAIL:
        values = -answers[name] if name in SAFE else answers[name]
        area, error = _area(values, broken), _error(values, broken)
        yield {"name": name, "auc": area, "auc_error": error}


def _draw(answers: dict[str, np.ndarray], broken: np.ndarray, eps: float) -> Figure:
    """Share broken in each tenth of the images, from safest to frailest."""
    figure = Figure(figsize=(5.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, style in zip(DRAWN, ("-o", "--s", "-.^", ":v"), strict=True):
        values = -answers[name] if name in SAFE else answers[name]
        tenths = np.array_split(np.argsort(values, kind="stable"), 10)
        shares = [100 * broken[rows].mean() for rows in tenths]
        axes.plot(range(1, 11), shares, style, label=name)
    axes.axhline(100 * broken.mean(), color="0.6", linewidth=1, label="all images")
    axes.set_xticks(range(1, 11))
    axes.set_xlabel("tenth of the images, by the served answer, frailest last")
    axes.set_ylabel(f"broken by PGD within L2 {eps:g}, %")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    start(main)
