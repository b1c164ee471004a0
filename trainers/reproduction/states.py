"""What of a plan is done already, by the settings that its folders state."""

from __future__ import annotations

import enum
import json
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

from tfrobust.cli.program import UsageError
from tfrobust.cli.run_folder import EVALUATION, RunFolder
from trainers.reproduction.plan import TRAIN, Job
from trainers.suites.partial import Partial


class State(enum.Enum):
    """How far a job is."""

    NEW = "to do"
    BEGUN = "begun"
    DONE = "done"
    OTHER = "other settings"
    OLD = "of networks other than those that are there now"


class Found(NamedTuple):
    """What the folder of a job holds.

    Attributes:
        state: How far it is.
        differences: What it was made with and what it would be now, where that differs.
    """

    state: State
    differences: str = ""


def look(job: Job, out: pathlib.Path) -> Found:
    """What the folder of a job holds.

    A job is done if its folder is complete and states the settings that the job has; an
    evaluation also has to be younger than the networks that it is of.

    Args:
        job: The job.
        out: The folder of the reproduction.
    """
    if job.kind == TRAIN:
        return _training(job, RunFolder(out / job.folder))
    return _evaluation(job, out)


def check(jobs: Iterable[Job], out: pathlib.Path) -> None:
    """Raises `UsageError` over the first job whose folder must not be replaced.

    Args:
        jobs: The jobs.
        out: The folder of the reproduction.
    """
    for job in jobs:
        found = look(job, out)
        if found.state in (State.OTHER, State.OLD):
            raise UsageError(
                f"{out / job.folder} holds {_said(found)}; choose another --out, or "
                "replace it with --overwrite."
            )


def _said(found: Found) -> str:
    if found.state is State.OLD:
        return f"an evaluation {State.OLD.value}"
    return f"work of other settings ({found.differences})"


def _training(job: Job, folder: RunFolder) -> Found:
    if not folder.path.is_dir() or not any(folder.path.iterdir()):
        return Found(State.NEW)
    stated = folder.stated_lines()
    if not stated:
        # A run that was killed in its first moment leaves no more than a partial file.
        names = {path.name for path in folder.path.iterdir()}
        born = names != {"run.partial.flags"}
        return Found(State.OTHER, "no run.flags") if born else Found(State.NEW)
    if stated != job.lines:
        return Found(State.OTHER, _differences(stated, job.lines))
    return Found(State.DONE if folder.summary.is_file() else State.BEGUN)


def _evaluation(job: Job, out: pathlib.Path) -> Found:
    folder = out / job.folder
    if not folder.is_dir() or not any(folder.iterdir()):
        return Found(State.NEW)
    partial, file = Partial(folder, sorted(job.lines)), folder / EVALUATION
    if not file.is_file():
        if partial.is_of_these_flags():
            return Found(State.BEGUN)
        return Found(State.OTHER, "no evaluation.json")
    stated = set(json.loads(file.read_text(encoding="utf-8")).get("flags", ()))
    if stated != job.lines:
        return Found(State.OTHER, _differences(stated, job.lines))
    trained = [out / "runs" / name / "summary.json" for name in job.needs]
    made = file.stat().st_mtime
    if any(not path.is_file() or path.stat().st_mtime > made for path in trained):
        return Found(State.OLD)
    return Found(State.DONE)


def _differences(stated: Iterable[str], wanted: Iterable[str]) -> str:
    """`--width=16; now --width=64`."""
    before, now = set(stated), set(wanted)
    old, new = (sorted(each) for each in (before - now, now - before))
    return f"{' '.join(old) or 'fewer'}; now {' '.join(new) or 'fewer'}"
