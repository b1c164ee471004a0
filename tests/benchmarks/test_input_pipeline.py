"""The wait and the CPU time of a pipeline that is known."""

import argparse
import threading
import time

import numpy as np
import pytest

from benchmarks import input_pipeline


@pytest.fixture
def slow_batches(monkeypatch):
    """Batches that take 20 ms of sleep each, and next to no CPU time."""

    def batches(_dataset, _size):
        while True:
            time.sleep(0.02)
            yield None

    monkeypatch.setattr(input_pipeline, "_batches", batches)
    monkeypatch.setattr(input_pipeline, "_QUIET_SECONDS", 0.01)
    monkeypatch.setattr(input_pipeline, "_MORE", 2)


def test_waits_and_steps_are_told_apart(slow_batches):
    arguments = argparse.Namespace(batches=3, batch_size=4, rounds=2)
    steps = []

    def step():
        steps.append(None)
        time.sleep(0.01)

    seconds = input_pipeline._times(step, None, arguments)
    # Two runs of three steps in a first call and in each of two rounds.
    assert len(steps) == 2 * 3 * 3
    assert seconds.shape == (4, 2, 2)
    alone, together, given, wait = seconds[:, :, 0]
    # Seconds a batch; a sleep may last longer than asked for and never less.
    assert (alone >= 0.01).all() and (given >= 0.02).all() and (wait >= 0.02).all()
    assert (together >= 0.03).all() and (wait < together).all()
    assert np.isnan(seconds[3, :, 1]).all() and (seconds[:3, :, 1] < 0.01).all()


def test_random_images_are_as_many_as_cifar_has():
    dataset = input_pipeline._dataset(argparse.Namespace(dataset="random"))
    assert dataset.images.shape == (50_000, 32, 32, 3)
    assert dataset.images.dtype == np.uint8 and dataset.classes == 10
    assert set(np.unique(dataset.images[:100])) == set(range(256))


def test_what_a_run_leaves_running_is_its_own(monkeypatch):
    """CPU time of a thread that goes on after the run that started it."""
    monkeypatch.setattr(input_pipeline, "_QUIET_SECONDS", 0.4)
    threads = []

    def busy():
        end = time.thread_time() + 0.2
        while time.thread_time() < end:
            pass

    def run():
        threads.append(threading.Thread(target=busy))
        threads[-1].start()

    _, cpu = input_pipeline._spent(run)
    threads[0].join()
    assert 0.15 < cpu < 0.6
