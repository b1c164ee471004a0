"""One device, two replicas and two workers train to the same weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.addresses import free_ports
from tfrobust.training import (
    STRATEGIES,
    find_kind,
    is_chief,
    is_chief_process,
    is_single_process,
    make_strategy,
)

PROGRAM = Path(__file__).with_name("replica_run.py")
CASES = ("standard", "lcnn", "gradreg", "adversary", "aligned", "overflow")
# These depend on the number of replicas, and must.
UNEQUAL = ("unsynchronized", "averaged", "aligned-normed")
SECONDS = 500


def start(*arguments, program=PROGRAM):
    """Starts `replica_run.py`, or another program."""
    root = str(PROGRAM.parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "CUDA_VISIBLE_DEVICES": "-1"}
    environment.pop("TF_CONFIG", None)
    return subprocess.Popen(
        [sys.executable, str(program), *map(str, arguments)],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes):
    """Waits for all to succeed; one that fails or hangs ends the others."""
    try:
        outputs = [process.communicate(timeout=SECONDS)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output[-3000:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("replicas")


@pytest.fixture(scope="module")
def one(folder):
    """What one device is left with."""
    finish(start(folder / "one.npz", ",".join((*CASES, *UNEQUAL)), "one"))
    return np.load(folder / "one.npz")


@pytest.fixture(scope="module")
def mirrored(folder):
    """What two replicas in one process are left with."""
    finish(start(folder / "mirrored.npz", ",".join((*CASES, *UNEQUAL)), "mirrored"))
    return np.load(folder / "mirrored.npz")


@pytest.fixture(scope="module")
def workers(folder):
    """What each of two processes is left with."""
    paths, ports = [folder / "worker0.npz", folder / "worker1.npz"], free_ports(2)
    finish(
        *[
            start(path, ",".join(CASES), "worker", index, *ports)
            for index, path in enumerate(paths)
        ]
    )
    return [np.load(path) for path in paths]


def variables(run, case, replica):
    """`{name: value}` of one replica, network and optimiser."""
    prefix = f"{case}/{replica}/"
    found = {n.removeprefix(prefix): run[n] for n in run.files if n.startswith(prefix)}
    assert found
    return found


def deviation(a, b):
    """Largest difference over the largest entry."""
    return np.max(np.abs(a - b)) / max(np.max(np.abs(a)), 1e-30)


def deviations(expected, found):
    """Worst deviation of network and of momentum variables, as a pair."""
    names = [name.partition("/")[2] for name in expected]
    assert names == [name.partition("/")[2] for name in found]
    weights, momenta = [0.0], [0.0]
    for a, b, name in zip(expected.values(), found.values(), names, strict=True):
        (momenta if "momentum" in name else weights).append(deviation(a, b))
    return max(weights), max(momenta)


def check_same_training(one, other, case):
    """Weights to 1e-5, momentum to the rounding of ten ill-conditioned gradients.

    See `LEARNING_RATE` in `replica_run.py`. A gradient that is scaled wrongly, or taken
    with a replica's own statistics, changes the momentum by 50 % or more.
    """
    expected = variables(one, case, 0)
    weights, momenta = deviations(expected, variables(other, case, 0))
    assert weights < 1e-5
    assert momenta < 0.01


def check_same_history(one, other, case):
    """What `fit` reports, validation over unequally padded replicas included."""
    prefix = f"{case}/history/"
    names = [name for name in other.files if name.startswith(prefix)]
    assert {prefix + "loss", prefix + "val_loss", prefix + "val_accuracy"} < set(names)
    assert set(one.files) >= set(names)
    for name in names:
        # The penalty squares the rounding of the input-gradient.
        tolerance = 1e-4 if "gradient" in name else 1e-5
        np.testing.assert_allclose(other[name], one[name], tolerance, err_msg=name)


@pytest.mark.slow
@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.parametrize("case", CASES)
def test_two_replicas_train_as_one_device(one, mirrored, case):
    """Ten steps of `fit` under MirroredStrategy; both replicas hold the same."""
    check_same_training(one, mirrored, case)
    check_same_history(one, mirrored, case)
    first, second = (variables(mirrored, case, replica) for replica in (0, 1))
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value, err_msg=name)


@pytest.mark.slow
@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.parametrize("case", CASES)
def test_two_workers_train_as_one_device(one, workers, case):
    """Ten steps under MultiWorkerMirroredStrategy; both workers hold the same."""
    check_same_training(one, workers[0], case)
    check_same_history(one, workers[0], case)
    assert workers[0].files == workers[1].files
    for name in workers[0].files:
        np.testing.assert_array_equal(workers[1][name], workers[0][name], err_msg=name)


@pytest.mark.slow
@pytest.mark.timeout(3 * SECONDS)
def test_without_synchronization_the_results_differ(one, mirrored):
    """Unsynchronised batch norm is seen by the same comparison, at once."""
    expected = variables(one, "unsynchronized", 0)
    found = variables(mirrored, "unsynchronized", 0)
    weights, momenta = deviations(expected, found)
    assert weights > 1e-2
    assert momenta > 0.5
    other = variables(mirrored, "unsynchronized", 1)
    assert deviations(found, other)[0] > 1e-2  # and the replicas drift apart


@pytest.mark.slow
@pytest.mark.timeout(3 * SECONDS)
def test_aligned_gradients_through_shared_statistics(mirrored):
    """It ends, where passes back that are vectorised wait for each other for ever."""
    first, second = (
        variables(mirrored, "aligned-normed", replica) for replica in (0, 1)
    )
    for name, value in first.items():
        assert np.all(np.isfinite(value))
        np.testing.assert_array_equal(second[name], value, err_msg=name)


@pytest.mark.slow
@pytest.mark.timeout(3 * SECONDS)
def test_moving_statistics_never_drift_apart(one, mirrored):
    """The library's norm averages them, though each replica sees its own batch."""
    first, second = (variables(mirrored, "averaged", replica) for replica in (0, 1))
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value, err_msg=name)
    # The mean of replicas' variances is less than the variance of the whole batch.
    (name,) = [name for name in first if name.endswith("moving_variance")]
    assert np.all(first[name] < variables(one, "averaged", 0)[name])


@pytest.mark.slow
@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.parametrize("run", ["one", "mirrored"])
def test_an_overflow_on_one_replica_skips_the_step_on_all(request, run):
    """Of ten float16 steps nine count, and the scale is halved once, everywhere."""
    run = request.getfixturevalue(run)
    for replica in range(1 + any(name.startswith("lcnn/1/") for name in run.files)):
        found = variables(run, "overflow", replica)
        for name, value in found.items():
            assert np.all(np.isfinite(value)), name
            if name.endswith("dynamic_scale"):
                assert value == 2.0**14
            if name.endswith("step_counter"):
                assert value == 7


@pytest.mark.parametrize(
    ("config", "chief"),
    [
        (None, True),
        ("", True),
        ({}, True),
        ({"cluster": {"worker": ["a:1", "b:1"]}}, True),
        ({"task": {"type": "chief", "index": 0}}, True),
        ({"task": {"type": "worker", "index": 0}}, True),
        ({"task": {"type": "worker", "index": "0"}}, True),
        ({"task": {"type": "worker", "index": 1}}, False),
        (
            {
                "cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]},
                "task": {"type": "worker", "index": 0},
            },
            False,
        ),
        (
            {
                "cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]},
                "task": {"type": "chief", "index": 0},
            },
            True,
        ),
        ({"task": {"type": "evaluator", "index": 0}}, False),
    ],
)
def test_exactly_one_task_is_the_chief(monkeypatch, config, chief):
    """The chief, or worker 0 where there is none; never an evaluator."""
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        text = config if config == "" else json.dumps(config)
        monkeypatch.setenv("TF_CONFIG", text)
    assert is_chief_process() is chief


def test_a_process_of_its_own_is_always_the_chief(monkeypatch):
    """Without several workers the environment does not matter."""
    task = {"task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(task))
    strategy = make_strategy("off")
    assert is_single_process(strategy)
    assert is_chief(strategy)
    assert not is_chief_process()


def test_kinds_of_strategy():
    """Each name makes what it says; here on one device."""
    assert STRATEGIES == ("off", "auto", "mirrored", "multi_worker", "tpu")
    assert make_strategy("off") is tf.distribute.get_strategy()
    mirrored = make_strategy("mirrored")
    assert isinstance(mirrored, tf.distribute.MirroredStrategy)
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices(
        "CPU"
    )
    assert mirrored.num_replicas_in_sync == len(devices)
    assert is_single_process(mirrored)


def test_other_kinds_are_refused():
    """With the names there are, and the one that came."""
    with pytest.raises(ValueError) as caught:
        make_strategy("horovod")
    assert str(caught.value) == (
        "`kind` must be one of off, auto, mirrored, multi_worker, tpu. "
        "Received: kind='horovod'"
    )


@pytest.mark.parametrize(
    ("workers", "tpu", "variable", "devices", "kind"),
    [
        (0, "", "", {}, "off"),
        (1, "", "", {}, "off"),
        (2, "", "", {}, "multi_worker"),
        (0, "", "", {"GPU": 2}, "mirrored"),
        (0, "", "", {"GPU": 1, "CPU": 4}, "off"),
        (0, "", "", {"CPU": 4}, "mirrored"),
        (0, "local", "", {"CPU": 4}, "tpu"),
        (0, "", "grpc://10.0.0.2:8470", {}, "tpu"),
        (2, "", "grpc://10.0.0.2:8470", {"GPU": 8}, "multi_worker"),
    ],
)
def test_what_auto_stands_for(monkeypatch, workers, tpu, variable, devices, kind):
    """The most that there is: workers, then a TPU, then devices of this machine."""
    addresses = [f"10.0.0.{index + 1}:2222" for index in range(workers)]
    config = json.dumps({"cluster": {"worker": addresses}}) if workers else ""
    monkeypatch.setenv("TF_CONFIG", config)
    monkeypatch.setenv("TPU_NAME", variable)
    monkeypatch.setattr(
        tf.config,
        "list_logical_devices",
        lambda device: [None] * {"CPU": 1, **devices}.get(device, 0),
    )
    assert find_kind(tpu) == kind


def test_auto_on_one_device(monkeypatch):
    """No strategy, so nothing is synchronised."""
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("TPU_NAME", raising=False)
    if make_strategy("mirrored").num_replicas_in_sync == 1:
        assert make_strategy("auto") is tf.distribute.get_strategy()
