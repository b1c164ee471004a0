"""One reproduction, from its plan to its pages."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from tfrobust.cli.program import CheckFailed, UsageError
from tfrobust.cli.quiet import start_tensorflow
from tfrobust.cli.tables import Column, Table, formatted
from trainers.reproduction import (
    children,
    estimate,
    gather,
    pages,
    plan,
    states,
    work,
)
from trainers.reproduction.budget import Budget
from trainers.reproduction.papers import Paper
from trainers.reproduction.plan import TRAIN, Job
from trainers.reproduction.states import State
from trainers.reproduction.steps import Cost


def reproduce(
    papers: Sequence[Paper],
    budget: Budget,
    where: plan.Where,
    out: pathlib.Path,
    *,
    overwrite: bool = False,
    dry_run: bool = False,
) -> None:
    """Plans, does what is missing, and writes the pages.

    Args:
        papers: What is to be reproduced.
        budget: At what cost.
        where: Where data comes from.
        out: Folder for everything.
        overwrite: Whether work of other settings is replaced.
        dry_run: Whether to print the plan alone.

    Raises:
        UsageError: If it cannot be done.
        CheckFailed: If all was done that could be, and a job failed.
        Stopped: If it was asked to end.
    """
    jobs = plan.make(papers, budget, where)
    if not overwrite:
        states.check(jobs, out)
    with children.stopping(), _held(out, dry_run) as lock:
        estimates = _estimates(jobs, out)
        print(describe(jobs, budget, out, estimates), flush=True)
        if dry_run:
            return
        failed = work.do(jobs, out, estimates, overwrite=overwrite, lock=lock)
        # Figures import it, and say nothing then of what it cannot find.
        start_tensorflow()
        written = pages.write(papers, budget, gather.results(jobs, out), out)
    print("\n".join(f"Wrote {path}" for path in written))
    if failed:
        raise CheckFailed(f"{len(failed)} of {len(jobs)} jobs: {' '.join(failed)}")


@contextlib.contextmanager
def _held(out: pathlib.Path, dry_run: bool) -> Iterator[int]:
    """The lock of the folder; a dry run writes nothing and needs none."""
    if dry_run:
        yield -1
        return
    with children.locked(out) as lock:
        yield lock


def describe(
    jobs: Sequence[Job],
    budget: Budget,
    out: pathlib.Path,
    estimates: Mapping[str, float],
) -> str:
    """The plan for a terminal.

    Args:
        jobs: The jobs.
        budget: At what cost.
        out: The folder of the reproduction.
        estimates: Seconds of each job that is not done, by its title.
    """
    columns = [
        Column("", formatted("{:d}")),
        Column("paper", numeric=False),
        Column("job", numeric=False),
        Column("state", numeric=False),
        Column("about", numeric=True),
    ]
    rows = []
    for place, job in enumerate(jobs, start=1):
        state = states.look(job, out).state
        left = estimates.get(job.title)
        about = None if left is None else estimate.words(left)
        rows.append([place, job.paper, job.title, state.value, about])
    return "\n".join(
        [
            f"{budget.name}: {budget.about}",
            "",
            Table(columns, rows).text(),
            "",
            f"In all {estimate.words(sum(estimates.values()))}: steps measured here "
            "and now, evaluations counted in gradients.",
            f"Everything goes to {out}.",
        ]
    )


def _estimates(jobs: Sequence[Job], out: pathlib.Path) -> dict[str, float]:
    """Seconds of each job that is not done, by its title."""
    left = [job for job in jobs if states.look(job, out).state is not State.DONE]
    if not left:
        return {}
    costs = _measured(_asked(jobs, left))
    return {
        job.title: estimate.seconds(job, costs[job.training.name], out) for job in left
    }


def _asked(jobs: Sequence[Job], left: Sequence[Job]) -> list[dict[str, object]]:
    """One question for each training of what is left; seeds cost the same."""
    trained = {job.training.name: job for job in reversed(jobs) if job.kind == TRAIN}
    names = dict.fromkeys(job.training.name for job in left)
    questions: list[dict[str, object]] = []
    for name in names:
        teacher = trained[name].training.teacher
        questions.append(
            {
                "name": name,
                "arguments": list(trained[name].arguments),
                "teacher": list(trained[teacher].arguments) if teacher else [],
            }
        )
    return questions


def _measured(questions: Sequence[dict[str, object]]) -> dict[str, Cost]:
    """What each training costs, by its name, measured by a child."""
    child = children.start(
        "trainers.reproduction.steps",
        [],
        out=subprocess.PIPE,
        errors=subprocess.PIPE,
        given=subprocess.PIPE,
    )
    try:
        answer, said = child.communicate(json.dumps(list(questions)))
    finally:
        children.end(child)
    if child.returncode:
        lines = said.strip().splitlines() or ["nothing was said"]
        sentence = lines[-1].removeprefix("error: ")
        raise UsageError(f"The steps could not be measured: {sentence}")
    costs = {}
    for line in answer.splitlines():
        content = json.loads(line)
        name = content.pop("name")
        costs[name] = Cost(**content)
    return costs
