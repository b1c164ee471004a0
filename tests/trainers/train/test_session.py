"""One run from start to end, on the machine as the flags want it."""

import csv
import json

import keras
import numpy as np
import pytest

import tfrobust.layers  # noqa: F401  Registers the layers for loading.
from tfrobust import data, pag, training
from tfrobust.cli import run_folder
from trainers.train import build, options, session

# Convolutions and norms of both kinds in a second or two of training.
QUICK = (
    "--dataset=shapes",
    "--train_examples=60",
    "--eval_examples=25",
    "--batch_size=20",
    "--model=vgg11",
    "--width=2",
    "--epochs=1",
)


def test_stored_directions_come_with_their_images(parse):
    """What a run trains on: the pipeline's images, and in every epoch directions that
    are those of the data set where nothing is cropped; a step of training takes them.
    """
    flags = "--model=mlp", "--width=3", "--dataset=shapes", "--batch_size=10"
    flags += "--pag=nearest_neighbor:samples=2", "--pag_directions=stored"
    train = data.make_shapes(40, seed=0)
    for augment in ("none", "crop_flip"):
        config = parse(*flags, "--epochs=1", "--pag_classes=1", f"--augment={augment}")
        directions = build.make_directions(config, train)
        batches = session._batches(config, train, 0, directions)
        batch, labels = next(iter(batches))
        assert sorted(batch) == ["directions", "images"]
        rows = [
            int(np.flatnonzero((train.images == image).all((1, 2, 3)))[0])
            for image in np.rint(batch["images"].numpy() * 255)
            if augment == "none"
        ]
        if rows:
            expected = directions.of_images(
                batch["images"], np.array(rows, np.int32)
            ).numpy()
            np.testing.assert_allclose(batch["directions"], expected, atol=1e-6)
    network = build.make_network(config, train.image_shape, 10)
    model = build.make_model(config, network, 4, directions)
    history = model.fit(batches, verbose=0).history
    assert 0 < history["alignment_penalty"][0] < 0.4 * 10 * 2


def test_summary_takes_the_last_row(parse):
    """Each number is that of the last epoch, but for the time, which is a median
    without the epoch that traced the graph.
    """
    from trainers.train import build

    config = parse(
        "--dataset=shapes",
        "--model=mlp",
        "--variant=lcnn",
        "--width=3",
        "--initial_beta=4",
    )
    model = build.make_model(config, build.make_network(config, (2, 2, 3), 10), 5)
    row = {"accuracy": 0.5, "val_loss": 2.0, "val_accuracy": 0.25}
    rows = [
        {"epoch": epoch, **row, "seconds": seconds}
        for epoch, seconds in enumerate((100.0, 1.0, 2.0, 6.0), start=1)
    ]
    rows[-1] |= {"val_accuracy": 0.75, "val_loss": 1.5, "accuracy": 0.625}
    summary = session.summarize(config, model, rows, 12.5)
    expected = {
        "dataset": "shapes",
        "model": "mlp",
        "variant": "lcnn",
        "width": 3,
        "parameters": 12 * 3 + 3 + 3 * 3 + 3 + 3 * 10 + 10 + 2,
        "epochs": 4,
        "test_accuracy": 0.75,
        "test_loss": 1.5,
        "train_accuracy": 0.625,
        "test_gradient_norm": None,
        "mean_gamma": None,
        "seconds_per_epoch_median": 2.0,
        "seconds_in_this_process": 12.5,
        "seed": 0,
    }
    assert {name: summary[name] for name in expected} == expected
    assert summary["mean_beta"] == pytest.approx(4.0)
    assert summary["versions"]["keras"] == keras.__version__
    watched = "held_out_robust_accuracy", "best_epoch", "best_held_out_robust_accuracy"
    assert [summary[name] for name in watched] == [None, None, None]
    rows[-1]["val_robust_accuracy"] = 0.25
    summary = session.summarize(config, model, rows, 1.0, training.Best(2, 0.375))
    assert [summary[name] for name in watched] == [0.25, 2, 0.375]
    short = session.summarize(config, model, rows[:1], 1.0)
    assert short["seconds_per_epoch_median"] == 100.0
    json.dumps(summary)


def table(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def train(call_module):
    def trained(folder, *flags):
        workdir = f"--workdir={folder}"
        ended = call_module("trainers.cifar", *QUICK, workdir, *flags)
        assert ended.code == 0, ended.err[-3000:]
        return keras.saving.load_model(folder / "model.keras")

    return trained


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision(train, tmp_path, precision):
    """It trains, with an input-gradient penalty, on layers of half precision, and the
    saved model says so.
    """
    flags = "--variant=lcnn", "--gradient_norm=0.01", "--curvature_beta=0.001"
    network = train(tmp_path / "run", *flags, f"--mixed_precision={precision}")
    assert network.get_layer("block1_conv").compute_dtype == precision
    row = table(tmp_path / "run")[-1]
    assert all(np.isfinite(float(cell)) for cell in row.values())
    assert float(row["gradient_norm"]) > 0


@pytest.mark.slow
def test_compiled(train, tmp_path):
    """By XLA it trains to the same loss, but for the order of additions."""
    flags = "--model=mlp", "--variant=lcnn", "--gradient_norm=0.01"
    train(tmp_path / "plain", *flags)
    train(tmp_path / "compiled", *flags, "--jit_compile")
    plain, compiled = (table(tmp_path / name)[-1] for name in ("plain", "compiled"))
    for name in ("loss", "val_loss"):
        assert float(compiled[name]) == pytest.approx(float(plain[name]), rel=1e-3)
    flags = (tmp_path / "compiled" / "run.flags").read_text()
    assert "--jit_compile=true" in flags


@pytest.mark.slow
def test_mirrored(train, tmp_path):
    """Two devices, statistics shared, give what one does: weights to 1e-4, since sums
    are taken in another order. The last of the evaluation's batches is padded.
    """
    # A small rate: at a large one, training itself amplifies the order of the sums.
    flags = "--variant=standard", "--weight_decay=0.01", "--learning_rate=0.01"
    single = train(tmp_path / "one", *flags)
    two = train(tmp_path / "two", *flags, "--distribute=mirrored", "--logical_cpus=2")
    for ours, theirs in zip(single.weights, two.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4, err_msg=ours.path)
    first, second = (table(tmp_path / name)[-1] for name in ("one", "two"))
    for name in ("loss", "accuracy", "val_loss", "val_accuracy", "val_gradient_norm"):
        assert float(first[name]) == pytest.approx(float(second[name]), rel=1e-3), name


def watched_run(parse, folder, *flags):
    """A run in this process: weights of the last epoch and of the best, rows."""
    config = parse(
        "--dataset=shapes",
        "--train_examples=40",
        "--eval_examples=10",
        "--batch_size=10",
        "--model=mlp",
        "--width=16",
        "--adversary=fgsm:eps=1/255",
        "--augment=none",
        "--learning_rate=0.01",
        f"--workdir={folder}",
        *flags,
    )
    run = run_folder.RunFolder(folder)
    run.check(
        options.flag_lines(config), resume=config.resume, overwrite=config.overwrite
    )
    session.train(config, run)
    rows = [
        {name: cell for name, cell in row.items() if name != "seconds"}
        for row in table(folder)
    ]
    return keras.saving.load_model(run.model).get_weights(), rows


@pytest.fixture
def small_shapes(monkeypatch):
    """Drawing all of the shapes takes seconds; determinism cannot be undone."""
    part = data.make_shapes(120, seed=0)
    monkeypatch.setattr(data, "load", lambda *_: part)
    nothing = lambda *_, **__: None  # noqa: E731
    monkeypatch.setattr(session.training, "enable_determinism", nothing)
    monkeypatch.setattr(session.export, "export_saved_model", nothing)


@pytest.mark.slow
def test_a_watched_run_trains_the_same_and_goes_on_the_same(
    parse, small_shapes, tmp_path
):
    """With --train_examples, watching changes no weight and no other number, bit for
    bit. A run that was stopped goes on to the same table, the same best epoch and the
    same best.keras, of which the summary tells.
    """
    plain, plain_rows = watched_run(parse, tmp_path / "plain", "--epochs=4")
    watch = "--epochs=4", "--watch_robust=50", "--watch_steps=2"
    whole, rows = watched_run(parse, tmp_path / "whole", *watch)
    for first, second in zip(plain, whole, strict=True):
        np.testing.assert_array_equal(first, second)
    robust = [float(row["val_robust_accuracy"]) for row in rows]
    assert len(set(robust)) > 1
    assert not (tmp_path / "plain" / "best.keras").exists()
    for row, plain_row in zip(rows, plain_rows, strict=True):
        row.pop("val_robust_accuracy")
        assert row == plain_row
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert summary["best_held_out_robust_accuracy"] == max(robust)
    assert summary["best_epoch"] == 1 + robust.index(max(robust))
    assert summary["held_out_robust_accuracy"] == robust[-1]

    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.KeepBest, "on_epoch_end", stop)
        with pytest.raises(Stop):
            watched_run(parse, tmp_path / "parts", *watch)
    _, again = watched_run(parse, tmp_path / "parts", *watch, "--resume")
    assert [float(row.pop("val_robust_accuracy")) for row in again] == robust
    assert again == rows
    best = [
        keras.saving.load_model(tmp_path / name / "best.keras").get_weights()
        for name in ("whole", "parts")
    ]
    for first, second in zip(*best, strict=True):
        np.testing.assert_array_equal(first, second)
    in_parts = json.loads((tmp_path / "parts" / "summary.json").read_text())
    assert in_parts["best_epoch"] == summary["best_epoch"]


@pytest.mark.slow
def test_overwriting_a_finished_run(train, tmp_path):
    """The new run takes the old one's place whole; a note beside it stays."""
    folder = tmp_path / "run"
    train(folder, "--model=mlp", "--epochs=2")
    (folder / "note.txt").write_text("mine")
    train(folder, "--model=mlp", "--seed=1", "--overwrite")
    assert [row["epoch"] for row in table(folder)] == ["1"]
    assert json.loads((folder / "summary.json").read_text())["seed"] == 1
    assert (folder / "note.txt").read_text() == "mine"
    assert len(list(folder.glob("tensorboard/train/*"))) == 1
    assert [path.name for path in folder.glob("checkpoints/*.index")] == [
        "ckpt-1.index"
    ]
    assert [path.name for path in folder.glob("saved_model/*")] == ["1"]


@pytest.mark.parametrize(
    ("flags", "cached", "names"),
    [
        ([], False, None),
        (["--pag=class_mean"], False, None),
        (["--pag=nearest_neighbor"], False, {"images", "index"}),
        (["--pag=rigd", "--teacher=t"], True, {"images", "directions"}),
    ],
)
def test_batches_hold_what_the_penalties_ask_for(parse, flags, cached, names):
    """Without its index an augmented image might be its own neighbour."""
    config = parse(*QUICK, *flags)
    images = data.make_shapes(60, seed=0)
    if cached:
        rows = np.zeros((60, 10, 32, 32, 3), np.float16)
        directions = pag.CachedDirections(rows)
    else:
        directions = build.make_directions(config, images)
    spec, _ = session._batches(config, images, 0, directions).element_spec
    assert (set(spec) if isinstance(spec, dict) else None) == names
