"""What is said of training while it runs, at every width."""

import io
import os
import re

import keras
import numpy as np
import pytest

from tests.training.runs import LOGS, Run, Terminal
from tfrobust import models
from tfrobust.training import Progress, RobustModel


def test_a_file_gets_a_first_estimate_and_then_an_epoch_a_line():
    """Ten seconds of steps after the first; none where the epoch's line is as near."""
    run = Run(epochs=9, steps=40)
    for epoch in range(3):
        run.epoch(epoch, [1.0] * 40)
    first, *lines = run.lines()
    assert first == (
        "epoch 1/9  step 11/40  loss 1.250  accuracy 50.0%  at least 6 min left"
    )
    assert [line.split()[1] for line in lines] == ["1/9", "2/9", "3/9"]
    assert "\r" not in run.stream.getvalue()
    run = Run(epochs=9, steps=20)
    run.epoch(0, [1.0] * 20)
    assert len(run.lines()) == 1


def test_a_file_is_not_silent_for_long():
    """One line in ten minutes of an epoch."""
    run = Run(epochs=2, steps=40)
    run.epoch(0, [60.0] * 40)
    steps = re.findall(r"step (\d+)/40", run.stream.getvalue())
    assert steps == ["2", "12", "22", "32"]


def test_on_a_terminal_a_line_is_rewritten_and_the_last_one_stays():
    """Nothing of a longer line is left behind a shorter one, and no line is drawn more
    often than is worth the while.
    """
    run = Run(epochs=2, steps=400, stream=Terminal())
    run.progress.on_epoch_begin(0)
    assert run.last() == "epoch 1/2  preparing the first step"
    run.steps(*[0.01] * 400)
    assert run.stream.getvalue().count("\r") <= 1 + 400 * 0.01 / 0.2
    run.test(0.5)
    assert run.stream.screen() == ["epoch 1/2  evaluation  at least 4.0 s left"]
    run.progress.on_epoch_end(0, dict(LOGS))
    assert run.stream.screen()[0].startswith("epoch 1/2  loss 1.250  accuracy 50.0%  4")
    run.progress.on_epoch_begin(1)
    run.steps(1.0)
    run.progress.on_train_end()  # stopped inside of an epoch: the line is left
    assert len(run.stream.screen()) == 3
    assert run.stream.screen()[1].startswith("epoch 2/2  step 1/400")


@pytest.mark.parametrize("columns", [1, 2, 9, 30, 50, 72, 80, 81, 200, 0])
def test_no_line_is_wider_than_the_terminal(monkeypatch, columns):
    """Nor than 80 columns; 0 is what a terminal says that does not know."""
    size = os.terminal_size((columns, 24))
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: size)
    stream = Terminal()
    stream.fileno = lambda: 1
    names = (
        "loss",
        "a" * 70,
        "b" * 90,
        *(f"metric_{k}" for k in range(9)),
        "val_accuracy",
    )
    run = Run(1234, 56789, stream, metrics=names)
    logs = {name: 1e7 for name in names}
    for epoch in range(3):
        run.epoch(1200 + epoch, [1e5, 1e4, 1.0, 1e5], [1.0, 1e6], **logs)
    widths = [len(line) for line in re.split("[\r\n]", stream.getvalue())]
    assert max(widths) <= min(columns - 1 if columns > 1 else 79, 80)
    assert columns < 30 or "loss" not in run.last() or "val" in run.last()


def test_what_a_line_has_no_room_for():
    """Labels are abbreviated, then the seconds go, then metrics from the first on."""
    long = "a_metric_of_sixty_characters_that_leaves_others_no_room_at_al"

    def line(*names, epochs=2000, **logs):
        run = Run(epochs, steps=2, metrics=names)
        logs = {"val_auc": 0.5, long: 1.0, **logs}
        run.epoch(1199, [0.0, 40.0], **logs)
        return run.last()

    usual = "loss", "accuracy", "val_accuracy", "val_robust_accuracy"
    assert line(*usual, epochs=10_000)[4:] == (
        "/10000  loss 1.250  acc 50.0%  val 37.5%  robust 25.0%  40 s  8.1 days left"
    )
    assert line(*usual) == (
        "1200/2000  loss 1.250  acc 50.0%  val 37.5%  robust 25.0%  40 s  17.8 h left"
    )
    assert line(*usual, epochs=10_000, loss=1e-9) == (
        "1200/10000  loss 1.00e-09  acc 50.0%  val 37.5%  robust 25.0%  8.1 days left"
    )
    assert line("loss", "val_auc") == (
        "epoch 1200/2000  loss 1.250  val_auc 0.500  40 s  17.8 h left"
    )
    assert line("loss", "val_auc", long) == "1200/2000  17.8 h left"
    assert line("missing") == "epoch 1200/2000  40 s  17.8 h left"


def test_numbers_that_are_none():
    """A loss that is lost is shown as it is; a text is no metric."""
    run = Run(metrics=("loss", "accuracy", "text", "table"))
    logs = {
        "loss": float("nan"),
        "accuracy": float("nan"),
        "text": "a",
        "table": [1, 2],
    }
    run.epoch(0, [1.0] * 4, **logs)
    assert run.last() == "epoch 1/3  loss nan  accuracy nan%  4.0 s  8.0 s left"


def test_training_that_is_stopped_says_so():
    """No time left of epochs that do not come."""
    run = Run(epochs=9, steps=2)
    run.progress.set_model(keras.Sequential())
    run.epoch(0, [1.0, 1.0])
    run.progress.model.stop_training = True
    run.epoch(1, [1.0, 1.0])
    # One timed step, then two.
    assert [line.split("  ")[-1] for line in run.lines()] == [
        "16 s left",
        "4.0 s in all",
    ]


def test_workers_that_are_not_the_chief_are_silent(capsys):
    run = Run(write=False)
    run.epoch(0, [1.0] * 4, test=[1.0])
    run.progress.on_train_end()
    assert run.stream.getvalue() == "" and capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("closed file")])
def test_a_stream_that_is_gone_does_not_end_training(error):
    """A closed pipe or terminal; nothing is tried a second time."""

    class Gone(io.StringIO):
        tries = 0

        def write(self, text):
            self.tries += 1
            raise error

    run = Run(stream=Gone())
    for epoch in range(3):
        run.epoch(epoch, [1.0] * 4)
    run.progress.on_train_end()
    assert run.stream.tries == 1


def test_metrics_are_a_sequence():
    with pytest.raises(ValueError) as caught:
        Progress(metrics="loss")
    assert str(caught.value) == (
        "`metrics` must be a sequence of names. Received: metrics='loss'"
    )


class Attacked(keras.callbacks.Callback):
    """What `WatchRobustAccuracy` logs, at the end of an epoch."""

    def on_epoch_end(self, epoch, logs=None):
        logs |= {"val_robust_accuracy": 0.125, "beta/layer": 1.0}


def fitted(stream, **settings):
    """A real training of a tiny network; what `fit` reported."""
    random = np.random.default_rng(0)
    images = random.random((24, 3, 2, 2), np.float32)
    labels = random.integers(0, 3, 24)
    model = RobustModel(models.MLP((3, 2, 2), 3, hidden=(5,)))
    model.compile(
        keras.optimizers.SGD(0.1), steps_per_execution=settings.pop("together", 1)
    )
    callbacks = [Attacked(), Progress(stream)]
    settings = {"batch_size": 4, "epochs": 3, "verbose": 0} | settings
    history = model.fit(
        images,
        labels,
        validation_data=(images[:8], labels[:8]),
        callbacks=callbacks,
        **settings,
    ).history
    before = stream and stream.getvalue()
    model.evaluate(images, labels, callbacks=callbacks[1:], verbose=0)
    assert before == (stream and stream.getvalue())
    return history


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
@pytest.mark.parametrize("settings", [{}, {"initial_epoch": 1}, {"together": 3}])
def test_real_training(stream, settings):
    """Every epoch's line has the numbers that `fit` returns, robust accuracy included,
    which another callback adds; an evaluation by itself is silent.
    """
    stream = stream()
    history = fitted(stream, **settings)
    terminal = isinstance(stream, Terminal)
    lines = stream.screen()[:-1] if terminal else stream.getvalue().splitlines()
    first = settings.get("initial_epoch", 0)
    assert len(lines) == 3 - first
    for row, line in enumerate(lines):
        values = {name: column[row] for name, column in history.items()}
        assert line.startswith(
            f"epoch {first + row + 1}/3  loss {values['loss']:.3f}  "
            f"acc {100 * values['accuracy']:.1f}%  "
            f"val {100 * values['val_accuracy']:.1f}%  robust 12.5%  "
        )
        assert line.endswith("left" if row < 2 - first else "in all")
        assert len(line) <= 80


def test_real_training_of_unknown_length_on_standard_output(capsys):
    """A generator; and the stream is what `sys.stdout` is by then."""

    def batches():
        for _ in range(5):
            yield np.zeros((4, 2), np.float32), np.zeros(4, np.int32)

    model = RobustModel(models.MLP((2,), 3, hidden=(5,)))
    model.compile(keras.optimizers.SGD(0.1))
    data = batches()
    model.fit(data, callbacks=[Progress()], verbose=0)
    out, _ = capsys.readouterr()
    assert re.fullmatch(
        r"epoch 1/1  loss \S+  accuracy \S+%  \S+ s  \S+ s in all\n", out
    )
