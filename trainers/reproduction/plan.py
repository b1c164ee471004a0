"""From papers and a budget to jobs: command lines in order, each with its folder."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

from trainers.reproduction import commands
from trainers.reproduction.budget import Budget
from trainers.reproduction.papers import Evaluation, Paper, Training

TRAIN, EVALUATE = "train", "evaluate"
"""The kinds of jobs."""

MODULES = {TRAIN: "trainers.cifar", EVALUATE: "trainers.evaluate"}
"""The program that does a job of a kind."""

# In the name of a run with another seed than the first.
_SEED = "_seed"


@dataclasses.dataclass(frozen=True)
class Where:
    """Where data comes from.

    Args:
        cifar10: The name under which CIFAR-10 is there.
        data_dir: Folder with prepared TFDS folders; empty: TFDS's own place.
    """

    cifar10: str = "cifar10"
    data_dir: str = ""

    def flags(self, data: str) -> list[str]:
        """The flags of a data set.

        Args:
            data: `cifar10`, or another name.
        """
        name = self.cifar10 if data == "cifar10" else data
        folder = [f"--data_dir={self.data_dir}"] if self.data_dir else []
        return [f"--dataset={name}", *folder]


@dataclasses.dataclass(frozen=True)
class Job:
    """A program to run.

    Args:
        kind: `TRAIN` or `EVALUATE`.
        name: The last part of its folder.
        paper: Name of the paper.
        training: What is trained; of an evaluation the first network's.
        arguments: Of the program, paths relative to the folder of the reproduction.
        lines: The lines that its folder will hold of its settings.
        needs: Names of the trainings that must have been done.
        suites: Of an evaluation.
    """

    kind: str
    name: str
    paper: str
    training: Training
    arguments: tuple[str, ...]
    lines: frozenset[str]
    needs: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()

    @property
    def folder(self) -> pathlib.Path:
        """Where it writes, relative to the folder of the reproduction."""
        return pathlib.Path("runs" if self.kind == TRAIN else "evaluations") / self.name

    @property
    def title(self) -> str:
        """What it does, for a line of progress."""
        return f"{self.kind} {self.name}"


def make(papers: Sequence[Paper], budget: Budget, where: Where) -> list[Job]:
    """Every job, each behind those that it needs, of each paper first seeds first.

    Args:
        papers: What is to be reproduced.
        budget: At what cost.
        where: Where data comes from.

    Raises:
        UsageError: If a program would refuse its flags.
    """
    return [
        job
        for paper in papers
        # Once each, and then again: what is stopped early has some of everything.
        for job in sorted(_of_paper(paper, budget, where), key=_is_repeated)
    ]


def runs_of(training: Training, budget: Budget) -> list[str]:
    """Names of the runs of a training, one for each seed.

    Example:
        >>> from trainers.reproduction.budget import BUDGETS
        >>> runs_of(Training(name="a", title="A", setting="", seeds=2), BUDGETS["gpu"])
        ['a', 'a_seed1']
    """
    if not budget.trains(training):
        return []
    return [_run(training, seed) for seed in budget.seeds(training)]


def _run(training: Training, seed: int) -> str:
    return f"{training.name}{_SEED}{seed}" if seed else training.name


def _is_repeated(job: Job) -> bool:
    """Whether it is of a second seed; a group is evaluated with all of its seeds."""
    return _SEED in job.name and not job.training.group


def _of_paper(paper: Paper, budget: Budget, where: Where) -> Iterator[Job]:
    members: dict[str, list[str]] = {}
    chosen = [each for each in paper.trainings if budget.trains(each)]
    for place, training in enumerate(chosen):
        for seed in budget.seeds(training):
            yield _training(paper, training, seed, budget, where)
            run = _run(training, seed)
            members.setdefault(training.group, []).append(run)
            for evaluation in paper.evaluations:
                alone = not (evaluation.grouped and training.group)
                if training.measured and alone:
                    yield _evaluation(
                        paper, evaluation, training, run, [run], budget, where
                    )
        group = training.group
        is_last = group not in [other.group for other in chosen[place + 1 :]]
        for evaluation in paper.evaluations:
            if group and is_last and evaluation.grouped:
                yield _evaluation(
                    paper, evaluation, training, group, members[group], budget, where
                )


def _training(
    paper: Paper, training: Training, seed: int, budget: Budget, where: Where
) -> Job:
    data, name = budget.data(paper), _run(training, seed)
    arguments = [
        f"--flagfile={training.flagfile or training.name}_{data}",
        *budget.flags(paper, training),
        *where.flags(data),
        f"--seed={seed}",
    ]
    needs: tuple[str, ...] = ()
    if training.teacher:
        needs = (training.teacher,)
        arguments.append(f"--teacher=runs/{training.teacher}")
    arguments.append(f"--workdir=runs/{name}")
    lines = frozenset(commands.train_lines(arguments))
    return Job(TRAIN, name, paper.name, training, tuple(arguments), lines, needs)


def _evaluation(
    paper: Paper,
    evaluation: Evaluation,
    training: Training,
    owner: str,
    runs: Sequence[str],
    budget: Budget,
    where: Where,
) -> Job:
    name = "_".join(filter(None, [owner, evaluation.name]))
    arguments = [
        *evaluation.flags,
        *where.flags(budget.data(paper)),
        f"--examples={min(budget.examples, evaluation.most)}",
        *(evaluation.scaled if budget.scaled else ()),
    ]
    if "standard" in evaluation.suites:
        arguments.append(f"--geometry_examples={budget.geometry_examples}")
    for run in runs:
        arguments += [f"--model=runs/{run}", f"--name={run}"]
    arguments.append(f"--out=evaluations/{name}")
    return Job(
        EVALUATE,
        name,
        paper.name,
        training,
        tuple(arguments),
        frozenset(commands.evaluation_lines(arguments)),
        tuple(runs),
        evaluation.suites,
    )
