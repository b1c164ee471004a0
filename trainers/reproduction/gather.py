"""Reads what the finished jobs of a plan have left."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable

from tfrobust.cli.records import Record, Records, read_evaluation
from tfrobust.cli.run_folder import RunFolder
from trainers.reproduction.plan import EVALUATE, TRAIN, Job
from trainers.reproduction.results import Network, Results
from trainers.reproduction.states import State, look


def results(jobs: Iterable[Job], out: pathlib.Path) -> Results:
    """Every network that is trained, with the records of its finished evaluations.

    What is unfinished, or of other settings, does not count.

    Args:
        jobs: The plan.
        out: The folder of the reproduction.
    """
    done = [job for job in jobs if look(job, out).state is State.DONE]
    records: dict[str, list[Record]] = {}
    for job in done:
        if job.kind == EVALUATE:
            for record in read_evaluation(out / job.folder).records:
                records.setdefault(record.model, []).append(record)
    networks: dict[str, list[Network]] = {}
    for job in done:
        if job.kind == TRAIN:
            folder = RunFolder(out / job.folder)
            summary = json.loads(folder.summary.read_text(encoding="utf-8"))
            network = Network(
                folder.stated_flags(), summary, Records(records.get(job.name, ()))
            )
            networks.setdefault(job.training.name, []).append(network)
    return Results(networks)
