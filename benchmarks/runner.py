"""Runs benchmarks one after another, each in a process of its own."""

from __future__ import annotations

import ast
import collections
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import reports
from benchmarks.kept import read
from tfrobust.cli import quiet

DONE, SKIPPED, FAILED = "done", "skipped", "failed"
# Of a process, lines of standard error that are kept to say why it failed.
_LAST_LINES = 40


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A file that measures one claim.

    Attributes:
        module: What `python -m` runs.
        claim: The first line of its docstring.
    """

    module: str
    claim: str

    @property
    def name(self) -> str:
        """Of the file."""
        return self.module.rpartition(".")[2]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a benchmark ended.

    Attributes:
        benchmark: Which one.
        state: `DONE`, `SKIPPED` or `FAILED`.
        reason: A sentence, unless it is done.
        content: What it wrote, if it is done.
        seconds: It took.
    """

    benchmark: Benchmark
    state: str
    reason: str = ""
    content: dict[str, Any] | None = None
    seconds: float = 0.0


def find(folder: Path) -> list[Benchmark]:
    """Files of a package whose docstring begins with `Claim:`, by name.

    None is imported: that takes TensorFlow.

    Args:
        folder: Of the package, whose name is the folder's.
    """
    found = []
    for path in sorted(folder.glob("*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        if claim := reports.claim_of(doc):
            found.append(Benchmark(f"{folder.name}.{path.stem}", claim))
    return found


def choose(benchmarks: Sequence[Benchmark], names: Sequence[str]) -> list[Benchmark]:
    """Those of some names, in the order of the list; all of them without names.

    Raises:
        ValueError: If there is none of a name.
    """
    known = [benchmark.name for benchmark in benchmarks]
    for name in names:
        if name not in known:
            raise ValueError(
                f"`names` must be among {', '.join(known)}. Received: {name}"
            )
    return [each for each in benchmarks if not names or each.name in names]


def run(benchmark: Benchmark, folder: Path, arguments: Sequence[str] = ()) -> Outcome:
    """Runs one, whatever becomes of it.

    Its tables go to standard output as they come.

    Args:
        benchmark: Which one.
        folder: Exists; gets `NAME.json`, which is replaced when the benchmark is done
            and left as it was if it is skipped or fails.
        arguments: More of its command line, such as `--quick`.
    """
    path = folder / f"{benchmark.name}.json"
    before = _changed(path)
    command = [sys.executable, "-m", benchmark.module, f"--json={path}", *arguments]
    began = time.perf_counter()
    code, errors = _process(command)
    seconds = time.perf_counter() - began
    state, reason, content = FAILED, "", None
    if code == reports.SKIPPED:
        state, reason = SKIPPED, reports.reason_of(errors)
    elif code:
        last = errors[-1].strip() if errors else "it said nothing"
        reason = f"exit code {code}: {last}"
    elif _changed(path) == before:
        reason = "it ended without writing what it measured"
    else:
        state, content = DONE, read(path)
    return Outcome(benchmark, state, reason, content, seconds)


def _process(command: Sequence[str]) -> tuple[int, list[str]]:
    """Exit code, and the last lines of standard error, which is passed on."""
    last: collections.deque[str] = collections.deque(maxlen=_LAST_LINES)
    # What TensorFlow says at each of its starts is left out.
    level, gpu = int(os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2")), quiet.has_gpu()
    sys.stdout.flush()
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        for line in process.stderr or ():
            if quiet.is_noise(line, level, gpu):
                continue
            sys.stderr.write(line)
            if line.strip():
                last.append(line)
    return process.returncode, list(last)


def _changed(path: Path) -> tuple[int, int] | None:
    """Which file lies at a path: each result is a new one."""
    if not path.exists():
        return None
    found = path.stat()
    return found.st_ino, found.st_mtime_ns
