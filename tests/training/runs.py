"""Keras's calls to `Progress`, made at times that are given."""

import io
import re

from tfrobust.training import Progress

LOGS = {"loss": 1.25, "accuracy": 0.5, "curvature_penalty": 3.0}
VAL = {"val_accuracy": 0.375, "val_robust_accuracy": 0.25, "val_loss": 2.0, "beta/a": 1}


class Terminal(io.StringIO):
    """A stream that says it is a terminal, and what it would show."""

    def isatty(self):
        return True

    def screen(self):
        """Lines as they stand in the end: `\\r` goes back and writes over."""
        lines = []
        for line in self.getvalue().split("\n"):
            shown = ""
            for text in line.split("\r"):
                shown = text + shown[len(text) :]
            lines.append(shown.rstrip())
        return lines


class Run:
    """Keras's calls to a callback, at times that are given."""

    def __init__(self, epochs=3, steps=4, stream=None, **settings):
        self.now = 1000.0
        self.stream = stream or io.StringIO()
        self.progress = Progress(self.stream, clock=lambda: self.now, **settings)
        self.progress.set_params({"epochs": epochs, "steps": steps, "verbose": 0})
        self.progress.on_train_begin()

    def lines(self):
        return self.stream.getvalue().splitlines()

    def last(self):
        return re.split("[\r\n]", self.stream.getvalue().rstrip())[-1]

    def steps(self, *seconds, by=1, first=0):
        for step, each in enumerate(seconds):
            self.now += each
            self.progress.on_train_batch_end(first + by * (step + 1) - 1, dict(LOGS))

    def test(self, *seconds):
        self.progress.on_test_begin()
        for batch, each in enumerate(seconds):
            self.now += each
            self.progress.on_test_batch_end(batch, {})

    def epoch(self, epoch, steps, test=(), callbacks=0.0, after=0.0, by=1, **logs):
        self.progress.on_epoch_begin(epoch)
        self.steps(*steps, by=by)
        if test:
            self.test(*test)
        self.now += callbacks
        self.progress.on_epoch_end(epoch, LOGS | VAL | logs)
        self.now += after
