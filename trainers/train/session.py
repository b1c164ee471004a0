"""One training run, from data to the finished folder."""

from __future__ import annotations

import math
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import export
from export.facts import facts_of
from tfrobust import data, models, pag, training, viz
from tfrobust.cli import data_record
from tfrobust.cli.devices import split_cpu
from tfrobust.cli.program import UsageError
from tfrobust.cli.run_folder import RunFolder, versions, write_json
from tfrobust.core.errors import ExtensionError
from trainers.train import build, networks
from trainers.train.options import TrainConfig, flag_lines

# Test examples on which the input-gradient norm is followed from epoch to epoch.
_WATCHED = 512


def train(config: TrainConfig, folder: RunFolder) -> dict[str, Any]:
    """Trains, evaluates, exports and reports.

    Args:
        config: What to train.
        folder: Where to; its rules (`RunFolder.check`) have been checked.

    Returns:
        What `summary.json` holds.
    """
    strategy = prepare_machine(config)
    # What can go wrong comes first, what takes long next, what replaces a run last.
    info = build.check_data(config)
    with strategy.scope():
        teacher = build.check_teacher(config, info)
        network = build.make_network(config, info.image_shape, info.classes)
    datasets = build.load_data(config)
    train_data, test_data = datasets.train, datasets.test
    if config.resume:
        data_record.check_resumed(folder, datasets.record)
    steps = data.steps_per_epoch(train_data, config.batch_size)
    directions = build.make_directions(config, train_data, teacher)
    model = build.make_model(config, network, steps, directions)
    restarts = training.RestartPoints(folder.checkpoints)
    first_epoch = restarts.restore(model) if config.resume else 0
    chief = training.is_chief(strategy)
    if chief:
        folder.begin(flag_lines(config), resume=config.resume)
        data_record.write(folder, datasets.record)
        _announce(config, model, train_data, first_epoch)
    began = time.perf_counter()
    try:
        best = _fit(
            model, config, folder, restarts, first_epoch, datasets, directions, chief
        )
    except ExtensionError as error:
        raise UsageError(str(error)) from error
    if not chief:
        return {}
    rows = training.read_table(folder.metrics)
    summary = summarize(config, model, rows, time.perf_counter() - began, best)
    _write_results(model, folder, rows, summary, test_data)
    _report(folder, summary, rows[-1])
    return summary


def prepare_machine(config: TrainConfig) -> tf.distribute.Strategy:
    """Devices, determinism and seed; before anything else touches TensorFlow."""
    split_cpu(config.logical_cpus)
    try:
        strategy = training.make_strategy(config.distribute, config.tpu)
    except ValueError as error:
        raise UsageError(f"--distribute={config.distribute}: {error}") from error
    # Unequal shares would weigh the images of one device more than another's.
    if config.batch_size % strategy.num_replicas_in_sync:
        raise UsageError(
            f"--batch_size={config.batch_size} cannot be shared alike by "
            f"{strategy.num_replicas_in_sync} devices."
        )
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        training.enable_determinism()
    return strategy


def _fit(
    model: training.RobustModel,
    config: TrainConfig,
    folder: RunFolder,
    restarts: training.RestartPoints,
    first_epoch: int,
    datasets: build.Datasets,
    directions: pag.Directions | None,
    chief: bool,
) -> training.Best | None:
    """Trains to the last epoch; returns the best one, if `--watch_robust` looks."""
    train_data, test_data, held_out, _ = datasets
    steps = data.steps_per_epoch(train_data, config.batch_size)
    batches = _batches(config, train_data, first_epoch, directions)
    watched = test_data.take(min(_WATCHED, len(test_data)))
    callbacks = [
        training.RefreshSpectralNorms(),
        training.WatchTime(),
        training.WatchCoefficients(),
    ]
    if training.is_single_process(model.distribute_strategy):
        callbacks.append(training.WatchGradientNorm(_pixels(watched), watched.labels))
    if held_out is not None:
        attack, images = build.make_watch(config), _pixels(held_out)
        callbacks.append(training.WatchRobustAccuracy(attack, images, held_out.labels))
    table = training.MetricsTable(folder.metrics, first_epoch, write=chief)
    callbacks.append(table)
    if chief:
        callbacks.append(keras.callbacks.TensorBoard(folder.tensorboard))
    if config.keep_epochs:
        kept = training.KeepEpochs(folder.epochs, config.keep_epochs, write=chief)
        callbacks.append(kept)
    callbacks.append(restarts)
    # Behind the restart points, which it leans on.
    keep = training.KeepBest(folder.best, rows=table.rows, write=chief)
    if held_out is not None:
        callbacks.append(keep)
    callbacks.append(training.Progress(write=chief))
    model.fit(
        batches,
        epochs=config.epochs,
        initial_epoch=first_epoch,
        steps_per_epoch=steps,
        validation_data=data.eval_pipeline(
            test_data, batch_size=min(config.batch_size, len(test_data)), pad=True
        ),
        callbacks=callbacks,
        shuffle=False,
        verbose=0,  # `Progress` tells
    )
    return keep.best


def _batches(
    config: TrainConfig,
    train_data: data.Dataset,
    first_epoch: int,
    directions: pag.Directions | None,
) -> tf.data.Dataset:
    """What is trained on, with what the penalties need to know of each image."""
    beside: Any = None
    if isinstance(directions, pag.CachedDirections):
        beside = directions.rows
    elif isinstance(directions, pag.StoredDirections):
        beside = directions.of_images
    return data.train_pipeline(
        train_data,
        batch_size=config.batch_size,
        seed=config.seed,
        epochs=config.epochs,
        start_epoch=first_epoch,
        augment=None if config.augment == "none" else config.augment,
        with_index=directions is not None and directions.needs_index,
        directions=beside,
    )


def _pixels(dataset: data.Dataset) -> np.ndarray:
    """All images as float32 in [0, 1]."""
    return dataset.images.astype(np.float32) / np.float32(255)


def summarize(
    config: TrainConfig,
    model: training.RobustModel,
    rows: list[dict[str, float]],
    seconds: float,
    best: training.Best | None = None,
) -> dict[str, Any]:
    """The run in a few numbers, each from the last epoch unless it says otherwise."""
    last = rows[-1]
    timed = [row["seconds"] for row in rows[1:]] or [last["seconds"]]
    return {
        "dataset": config.dataset,
        "model": config.model,
        "variant": config.variant,
        "width": config.width,
        "parameters": sum(
            int(np.prod(weight.shape)) for weight in model.network.trainable_variables
        ),
        "epochs": int(last["epoch"]),
        "test_accuracy": last["val_accuracy"],
        "test_loss": last["val_loss"],
        "train_accuracy": last["accuracy"],
        "test_gradient_norm": last.get("val_gradient_norm"),
        "held_out_robust_accuracy": last.get("val_robust_accuracy"),
        "best_epoch": None if best is None else best.epoch,
        "best_held_out_robust_accuracy": None if best is None else best.value,
        "mean_beta": _mean(models.betas(model.network)),
        "mean_gamma": _mean(models.gammas(model.network)),
        "seconds_per_epoch_median": float(np.median(timed)),
        "seconds_in_this_process": seconds,
        "seed": config.seed,
        "versions": versions(),
    }


def _mean(values: dict[str, float]) -> float | None:
    return float(np.mean(list(values.values()))) if values else None


def _write_results(
    model: training.RobustModel,
    folder: RunFolder,
    rows: list[dict[str, float]],
    summary: dict[str, Any],
    test_data: data.Dataset,
) -> None:
    model.network.save(folder.model)
    export.export_saved_model(
        model.network,
        folder.saved_model,
        class_names=test_data.class_names,
        facts=facts_of(folder.model, summary=summary),
    )
    viz.save(viz.training_curves(rows), folder.curves)
    write_json(folder.summary, summary)


def _announce(
    config: TrainConfig,
    model: training.RobustModel,
    train_data: data.Dataset,
    first_epoch: int,
) -> None:
    steps = data.steps_per_epoch(train_data, config.batch_size)
    replicas = model.distribute_strategy.num_replicas_in_sync
    shared = f", {replicas} replicas" if replicas > 1 else ""
    print(
        f"{networks.title(config)}, on {config.dataset}\n"
        f"{len(train_data)} images, {steps} steps an epoch, "
        f"epochs {first_epoch + 1} to {config.epochs}{shared}",
        flush=True,
    )


def _report(folder: RunFolder, summary: dict[str, Any], last: dict[str, float]) -> None:
    shown = ("test_accuracy", "test_gradient_norm", "mean_beta", "mean_gamma")
    print("\n" + folder.path.as_posix())
    for name in (*shown, "seconds_per_epoch_median"):
        if summary[name] is not None:
            print(f"  {name:<26}{summary[name]:.4g}")
    if lost := [name for name in ("loss", "val_loss") if not math.isfinite(last[name])]:
        print(
            f"  {' and '.join(lost)} ended as {last[lost[0]]}: this network is of no "
            "use; a lower --learning_rate or lower weights of the penalties may help"
        )
    if summary["best_epoch"] is not None:
        name = "held_out_robust_accuracy"
        print(
            f"  {name:<26}{summary[name]:.4g}; best {summary['best_' + name]:.4g} "
            f"after epoch {summary['best_epoch']}, kept as {folder.best}"
        )
    print(
        "\nNext:\n"
        f"  look at {folder.curves}\n"
        f"  tensorboard --logdir={folder.tensorboard}\n"
        f"  serve {folder.saved_model} with TF Serving, or export the model again:\n"
        f"  tfrobust export --model={folder.path} --out=served/NAME"
    )
