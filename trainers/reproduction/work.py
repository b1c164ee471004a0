"""Does the jobs of a plan, one after another, and says how long is left."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from tfrobust.cli.program import is_watched
from trainers.reproduction import children, estimate
from trainers.reproduction.plan import EVALUATE, MODULES, TRAIN, Job
from trainers.reproduction.states import State, look

# Estimates are mended by what jobs of the same kind took, within these factors.
_MOST = 20.0


@dataclasses.dataclass
class Clock:
    """How long the jobs that are left take, mended by those that are done.

    Args:
        estimates: Seconds of each job that is left, by its title.
    """

    estimates: dict[str, float]
    _expected: dict[str, float] = dataclasses.field(default_factory=dict)
    _taken: dict[str, float] = dataclasses.field(default_factory=dict)

    def finish(self, job: Job, seconds: float) -> None:
        """Says that a job has ended.

        Args:
            job: The job.
            seconds: What it took.
        """
        expected = self.estimates.pop(job.title, 0.0)
        self._expected[job.kind] = self._expected.get(job.kind, 0.0) + expected
        self._taken[job.kind] = self._taken.get(job.kind, 0.0) + seconds

    def expected(self, job: Job) -> float:
        """About how long a job takes, by now.

        Args:
            job: The job.
        """
        return self._factor(job.kind) * self.estimates.get(job.title, 0.0)

    def left(self, jobs: Sequence[Job]) -> float:
        """Seconds of all jobs that are left.

        Args:
            jobs: The plan; those that are done count nothing.
        """
        return sum(self.expected(job) for job in jobs)

    def _factor(self, kind: str) -> float:
        """What jobs of a kind took over what they were expected to take."""
        expected = self._expected.get(kind, 0.0)
        if not expected:
            return 1.0
        return min(max(self._taken[kind] / expected, 1 / _MOST), _MOST)


def do(
    jobs: Sequence[Job],
    out: pathlib.Path,
    estimates: Mapping[str, float],
    *,
    overwrite: bool,
    lock: int,
    clock: Callable[[], float] = time.monotonic,
) -> list[str]:
    """Does what is not done; a sentence on each job that failed.

    A job that needs a failed one is left out. Work of other settings is replaced, so
    `states.check` comes before if it must not be.

    Args:
        jobs: The plan.
        out: The folder of the reproduction.
        estimates: Seconds of each job that is not done, by its title.
        overwrite: Whether work of other settings may be replaced.
        lock: The file descriptor that children inherit.
        clock: Tells the time in seconds.

    Raises:
        Stopped: If the process was asked to end.
    """
    times, failed, sentences = Clock(dict(estimates)), set[str](), []
    for place, job in enumerate(jobs, start=1):
        state = look(job, out).state
        if state is State.DONE:
            continue
        if missing := failed.intersection(job.needs):
            sentences.append(f"{job.title} was left out, without {', '.join(missing)}.")
            failed.update({job.name} if job.kind == TRAIN else ())
            continue
        line = f"[{place}/{len(jobs)}] {job.paper}: {job.title}"
        left = estimate.words(times.left(jobs))
        _say(f"{line} ({estimate.words(times.expected(job))}); {left} left in all")
        began = clock()
        log = out / "logs" / f"{job.kind}-{job.name}.log"
        code = children.run(
            MODULES[job.kind],
            [*job.arguments, *how_to_begin(job, state, overwrite)],
            cwd=out,
            log=log,
            keep=(lock,),
            watch=_watcher(job, out, line, times, jobs, clock),
        )
        times.finish(job, clock() - began)
        if code:
            sentence = (
                f"{job.title} failed with code {code}; the last line of {log} is: "
                f"{children.last_line(log)}"
            )
            _say(sentence)
            sentences.append(sentence)
            failed.update({job.name} if job.kind == TRAIN else ())
    return sentences


def how_to_begin(job: Job, state: State, overwrite: bool) -> list[str]:
    """What a job's program is told of what its folder holds.

    Args:
        job: The job.
        state: How far it is.
        overwrite: Whether work of other settings may be replaced.
    """
    if state in (State.OTHER, State.OLD) and overwrite:
        return ["--overwrite"]
    # An evaluation goes on by itself.
    return ["--resume"] if state is State.BEGUN and job.kind == TRAIN else []


def _watcher(
    job: Job,
    out: pathlib.Path,
    line: str,
    times: Clock,
    jobs: Sequence[Job],
    clock: Callable[[], float],
) -> Callable[[], None]:
    """Keeps a line of a terminal up to date; nothing where nobody sees it."""
    began = clock()

    def watch() -> None:
        if not is_watched():
            return
        gone = clock() - began
        left = max(times.left(jobs) - gone, 0.0)
        epoch = ""
        if job.kind != EVALUATE:
            epoch = f", {estimate.epochs_done(out / job.folder)} epochs done"
        text = f"{line}: {estimate.words(gone)}{epoch}; {estimate.words(left)} left"
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    return watch


def _say(text: str) -> None:
    """A line of progress, in the place of the one that is kept up to date."""
    if is_watched():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    print(text, flush=True)
