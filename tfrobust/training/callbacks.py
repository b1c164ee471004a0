"""Keras callbacks: tight spectral norms, more to watch, a table, restart points.

The table is by hand, since Keras's `CSVLogger` appends to its file: a run that is
killed can leave half a row, one that goes on repeats the epochs after its restart
point, and columns that a later epoch adds are lost. Restart points are those of
`tf.train`, since Keras's `BackupAndRestore` writes over its one file.
"""

from __future__ import annotations

import csv
import os
import pathlib
import tempfile
import time
from typing import Any

import keras
import tensorflow as tf

from tfrobust import geometry, layers, models
from tfrobust.core.files import replacing
from tfrobust.training.distribute import is_chief


class RefreshSpectralNorms(keras.callbacks.Callback):
    """Tightens every spectral norm before an evaluation and at the end of training.

    Training follows each kernel by one power iteration a step and lags a little behind;
    what is evaluated and saved should hold the bound that it promises.

    Args:
        iterations: Rounds of Krylov iteration, at least 1; see a layer's `refresh`.

    Example:
        >>> from tfrobust.training import RefreshSpectralNorms
        >>> callback = RefreshSpectralNorms()
    """

    def __init__(self, iterations: int = 30) -> None:
        super().__init__()
        self.iterations = iterations
        self._stale = False
        self._compiled: Any = None

    def set_model(self, model: keras.Model) -> None:
        if model is not self.model:
            self._compiled = None  # it has the layers of the model before
        super().set_model(model)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._stale = True

    def on_test_begin(self, logs: Any = None) -> None:
        self._refresh()

    def on_train_end(self, logs: Any = None) -> None:
        if self._stale:  # what was evaluated last is saved as it was, to the last bit
            self._refresh()

    def _refresh(self) -> None:
        self._stale = False
        if self._compiled is None:  # one graph for all layers and for every epoch
            self._compiled = tf.function(self._refresh_all, autograph=False)
        self._compiled()

    def _refresh_all(self) -> None:
        for layer in layers.find_layers(self.model, layers.SpectralLayer):
            layer.refresh(self.iterations)


class WatchCoefficients(keras.callbacks.Callback):
    """Adds every beta and gamma to the epoch's logs, as `beta/LAYER`, `gamma/LAYER`.

    List it before the callbacks that write logs.

    Example:
        >>> from tfrobust.training import WatchCoefficients
        >>> callback = WatchCoefficients()
    """

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs is None:
            return
        for kind, values in (
            ("beta", models.betas(self.model)),
            ("gamma", models.gammas(self.model)),
        ):
            logs.update({f"{kind}/{name}": value for name, value in values.items()})


class WatchGradientNorm(keras.callbacks.Callback):
    """Adds `val_gradient_norm` to the epoch's logs, whatever the training loss is.

    It is the mean over some fixed examples of the norm of each one's cross-entropy
    gradient in the image, with the network in inference mode: `geometry.gradient_norm`.

    Args:
        images: float32 `[N,H,W,C]` in [0, 1].
        labels: int `[N]`.
        batch_size: Examples taken at once.

    Example:
        >>> import numpy as np
        >>> from tfrobust.training import WatchGradientNorm
        >>> callback = WatchGradientNorm(np.zeros((2, 8, 8, 3), "float32"), [0, 1])
    """

    def __init__(self, images: Any, labels: Any, batch_size: int = 128) -> None:
        super().__init__()
        self.batches = tf.data.Dataset.from_tensor_slices(
            (images, tf.cast(labels, tf.int32))
        ).batch(batch_size)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs is not None:
            norms = tf.concat(
                [geometry.gradient_norm(self.model, *batch) for batch in self.batches],
                axis=0,
            )
            logs["val_gradient_norm"] = float(tf.reduce_mean(norms))


class WatchTime(keras.callbacks.Callback):
    """Adds `seconds`, the time spent on an epoch's training steps, to its logs.

    Evaluation is left out. A process's first epoch includes tracing the graph.

    Example:
        >>> from tfrobust.training import WatchTime
        >>> callback = WatchTime()
    """

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._begin = time.perf_counter()
        self._seconds: float | None = None

    def on_test_begin(self, logs: Any = None) -> None:
        if getattr(self, "_seconds", 0.0) is None:
            self._seconds = time.perf_counter() - self._begin

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.on_test_begin()
        if logs is not None:
            logs["seconds"] = self._seconds


class MetricsTable(keras.callbacks.Callback):
    """Keeps one CSV row an epoch; the file is whole at every moment.

    The file is written anew each epoch and renamed into place. Rows of epochs that are
    trained again after a restart are replaced.

    Args:
        path: The CSV file. Its first column is `epoch`, counted from 1.
        first_epoch: Rows of an existing file up to this epoch are kept.
        write: Whether this process writes; `False` on workers that are not the chief.

    Example:
        >>> import tempfile
        >>> from tfrobust.training import MetricsTable
        >>> callback = MetricsTable(tempfile.mkdtemp() + "/metrics.csv")
    """

    def __init__(
        self, path: str | os.PathLike[str], first_epoch: int = 0, write: bool = True
    ) -> None:
        super().__init__()
        self.path = pathlib.Path(path)
        self.write = write
        rows = read_table(self.path) if first_epoch else []
        self.rows = [row for row in rows if row["epoch"] <= first_epoch]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        numbers = {name: float(value) for name, value in (logs or {}).items()}
        self.rows = [row for row in self.rows if row["epoch"] <= epoch]
        self.rows.append({"epoch": epoch + 1, **numbers})
        if self.write:
            self._write()

    def _write(self) -> None:
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        with replacing(self.path) as partial, open(partial, "w", newline="") as file:
            table = csv.DictWriter(file, columns, restval="")
            table.writeheader()
            table.writerows(self.rows)


def read_table(path: str | os.PathLike[str]) -> list[dict[str, float]]:
    """The rows of a `metrics.csv`, numbers as floats, `epoch` as an integer.

    Args:
        path: The file; a missing one has no rows.

    Returns:
        One dictionary an epoch, without the cells that are empty.
    """
    if not os.path.exists(path):
        return []
    with open(path, newline="") as file:
        return [
            {
                name: int(cell) if name == "epoch" else float(cell)
                for name, cell in row.items()
                if cell != ""
            }
            for row in csv.DictReader(file)
        ]


class RestartPoints(keras.callbacks.Callback):
    """Saves everything that training needs to go on, after every epoch.

    Network (singular vectors and moving statistics included) and optimiser; with data
    that depends on the epoch number alone, as `tfrobust.data.train_pipeline` yields,
    a restarted run repeats the uninterrupted one bit for bit.

    Args:
        directory: Where the checkpoints go; the last two are kept.

    Example:
        >>> import tempfile
        >>> from tfrobust.training import RestartPoints
        >>> callback = RestartPoints(tempfile.mkdtemp())
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        super().__init__()
        self.directory = os.fspath(directory)

    def restore(self, model: keras.Model) -> int:
        """Loads the last checkpoint into a compiled `RobustModel`.

        Args:
            model: A model with the same network and optimiser as the one saved.

        Returns:
            The number of epochs it had finished; 0 if there is no checkpoint.
        """
        latest = tf.train.latest_checkpoint(self.directory)
        if latest is None:
            return 0
        _checkpoint(model).restore(latest).assert_consumed()
        return int(latest.rsplit("-", 1)[1])

    def on_train_begin(self, logs: Any = None) -> None:
        strategy = self.model.distribute_strategy
        directory = self.directory
        if not is_chief(strategy):
            # Every worker has to take part in saving; only the chief's files count.
            self._aside = tempfile.TemporaryDirectory(prefix="tfrobust-worker-")
            directory = self._aside.name
        self._manager = tf.train.CheckpointManager(
            _checkpoint(self.model), directory, max_to_keep=2
        )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._manager.save(checkpoint_number=epoch + 1)


def _checkpoint(model: Any) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(network=model.network, optimizer=model.optimizer)
