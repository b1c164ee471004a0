"""What counts as a result: finished jobs of the plan's settings, and no others."""

import json
import os

import pytest

from tests.trainers.reproduction.made_up import record
from tfrobust.cli.records import Evaluation, Records
from trainers.reproduction import gather
from trainers.reproduction.papers import Training
from trainers.reproduction.plan import EVALUATE, TRAIN, Job
from trainers.reproduction.results import Measured

NETWORK = Training(name="a", title="A", setting="", seeds=2)


def trained(name):
    return Job(TRAIN, name, "lcnn", NETWORK, (), frozenset({f"--seed={name[-1]}"}))


JOBS = [
    trained("a"),
    trained("a_seed1"),
    Job(EVALUATE, "g", "lcnn", NETWORK, (), frozenset({"--x=1"}), ("a", "a_seed1")),
]


@pytest.fixture
def out(tmp_path):
    """Two seeds, and one evaluation of both."""
    for job in JOBS[:2]:
        folder = tmp_path / job.folder
        folder.mkdir(parents=True)
        (folder / "run.flags").write_text("\n".join(job.lines) + "\n")
        (folder / "summary.json").write_text('{"epochs": 3}')
        os.utime(folder / "summary.json", (100, 100))
    folder = tmp_path / JOBS[2].folder
    folder.mkdir(parents=True)
    records = Records(
        [record("a", "x", 1.0, 0.1), record("a_seed1", "x", 2.0, 0.1)]
        + [record("all", "x", 9.0)]
    )
    content = Evaluation({"flags": ["--x=1"]}, records).to_json()
    (folder / "evaluation.json").write_text(json.dumps(content))
    return tmp_path


def test_seeds_come_together(out):
    results = gather.results(JOBS, out)
    assert [network.flags for network in results.of("a")] == [
        {"seed": "a"},
        {"seed": "1"},
    ]
    assert [len(network.records) for network in results.of("a")] == [1, 1]
    assert results.of("a")[0].summary == {"epochs": 3}
    assert Measured("a", "x").value(results) == (1.5, 0.5, 100, 2)


def test_what_is_unfinished_or_of_other_settings_does_not_count(out):
    (out / "runs" / "a_seed1" / "summary.json").unlink()
    results = gather.results(JOBS, out)
    # The evaluation is of a network that is not there any more.
    assert len(results.of("a")) == 1 and not results.of("a")[0].records
    (out / "runs" / "a" / "run.flags").write_text("--seed=7\n")
    assert gather.results(JOBS, out).of("a") == ()
