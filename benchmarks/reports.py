"""What a benchmark prints and keeps: one structure for the table and for the JSON file.

    def main(argv=None):
        parser = Parser(__file__, __doc__, quick={"rounds": 2})
        parser.add_argument("--rounds", type=int, default=8)
        arguments, report = parser.parse(argv)
        ...
        report.table("ResNet-18", turns.rows(names, seconds), claimed={"LCNN": 1.05})
        return report


    if __name__ == "__main__":
        start(main)

What a benchmark cannot run without raises `Missing`, which ends the program with the
exit code `SKIPPED` and one sentence. TensorFlow is not imported here.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tfrobust.cli.run_folder import write_json

FORMAT = 1
"""Of the JSON file; a reader refuses another."""

SKIPPED = 77
"""Exit code of a benchmark that lacks something, as in Automake's tests."""

TIMES = {
    "wall_s": ".3f",
    "wall_ratio": ".3f",
    "cpu_s": ".3f",
    "cpu_ratio": ".3f",
    "cpu_ratio_error": ".3f",
}
"""Columns of rows made by `turns.rows`, with how their numbers read."""

_SKIP = "skipped: "
_PACKAGES = ("tensorflow", "keras", "numpy")

Row = Mapping[str, Any]


class Missing(Exception):
    """What a benchmark needs is not here; the message is one sentence on it."""


class Parser(argparse.ArgumentParser):
    """The arguments of one benchmark, with those that all of them have.

    Args:
        file: The benchmark's `__file__`, which names it.
        doc: Its docstring, whose first line is the claim.
        quick: Defaults under `--quick`, by argument; what is given by hand wins.
    """

    def __init__(self, file: str, doc: str, quick: Mapping[str, Any]) -> None:
        super().__init__(description=doc.splitlines()[0])
        self.name, self.claim, self._quick = Path(file).stem, claim_of(doc), quick
        self.add_argument("--json", type=Path, help="file to keep the results in")
        self.add_argument(
            "--quick",
            action="store_true",
            help="smaller and shorter, to see it run; the numbers are worth little",
        )

    def add_data_dir(self) -> None:
        """Adds `--data_dir`, which TFROBUST_DATA_DIR stands in for."""
        self.add_argument(
            "--data_dir",
            default=os.environ.get("TFROBUST_DATA_DIR"),
            help="folder of prepared data sets; TFROBUST_DATA_DIR is one by default",
        )

    def parse(
        self, argv: Sequence[str] | None = None
    ) -> tuple[argparse.Namespace, Report]:
        """What was asked for, and the empty report on it.

        Args:
            argv: The command line; `None` for the program's own.
        """
        if self.parse_known_args(argv)[0].quick:
            self.set_defaults(**self._quick)
        arguments = self.parse_args(argv)
        if arguments.json is not None:
            self._make_folder(arguments.json.parent)
        return arguments, Report(self.name, self.claim, arguments)

    def _make_folder(self, folder: Path) -> None:
        """Before hours of measuring."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.error(f"`--json` must lie in a folder. Received: {error}")


class Report:
    """What was measured, printed as it comes and kept until it is complete.

    Args:
        name: Of the benchmark.
        claim: What it is to show, one sentence.
        arguments: What it was called with.
    """

    def __init__(self, name: str, claim: str, arguments: argparse.Namespace) -> None:
        given = vars(arguments)
        self.path: Path | None = given.get("json")
        now = datetime.datetime.now(datetime.UTC)
        self.content: dict[str, Any] = {
            "format": FORMAT,
            "benchmark": name,
            "claim": claim,
            "date": now.isoformat(timespec="seconds"),
            "arguments": {
                key: _as_json(value) for key, value in given.items() if key != "json"
            },
            "machine": machine(),
            "tables": [],
            "notes": [],
        }

    def begin(
        self,
        title: str,
        columns: Mapping[str, str],
        *,
        key: str = "",
        claimed: Mapping[str, float | None] | None = None,
        measure: str = "cpu_ratio",
    ) -> Callable[[Row], None]:
        """Begins a table, for rows that come one after the other.

        Args:
            title: Says what was run, with its settings.
            columns: What is shown of a row, each with its format specification.
            key: Tells the tables of a benchmark apart, whatever the settings.
            claimed: Names of rows that the claim is about, each with what its measure
                may be at most; `None` where the claim names no bound.
            measure: What the claim is about, a key of the rows.

        Returns:
            Adds a row, a dictionary with a `name`, and prints it. A row may hold more
            than the columns; NaN is kept as null.
        """
        self._begin()
        print(f"\n{title}\n\n{_line('', [_title(name) for name in columns])}")
        print("|---" * (1 + len(columns)) + "|", flush=True)
        rows: list[Row] = []
        self.content["tables"].append(
            {
                "key": key,
                "title": title,
                "measure": measure,
                "claimed": dict(claimed or {}),
                "rows": rows,
            }
        )

        def add(row: Row) -> None:
            rows.append(dict(row))
            cells = [_cell(row.get(name), form) for name, form in columns.items()]
            print(_line(row["name"], cells), flush=True)

        return add

    def table(
        self,
        title: str,
        rows: Iterable[Row],
        columns: Mapping[str, str] = TIMES,
        **settings: Any,
    ) -> None:
        """Adds a table whose rows are known.

        Args:
            title: As for `begin`, like the other arguments.
            rows: As for what `begin` returns.
            columns: As for `begin`.
            **settings: As for `begin`.
        """
        add = self.begin(title, columns, **settings)
        for row in rows:
            add(row)

    def note(self, text: str) -> None:
        """Adds a sentence, and prints it."""
        self._begin()
        self.content["notes"].append(text)
        print(f"\n{text}", flush=True)

    def _begin(self) -> None:
        """Prints what was measured where, above whatever comes first."""
        if not self.content["tables"] and not self.content["notes"]:
            print(_header(self.content))

    def save(self) -> None:
        """Writes the file that `--json` names, whole or not at all."""
        if self.path is not None:
            write_json(self.path, self.content)


def start(main: Callable[[], Report]) -> None:
    """Runs a benchmark as a program."""
    try:
        main().save()
    except Missing as error:
        skip(str(error))


def skip(reason: str) -> NoReturn:
    """Ends the program, saying why nothing was measured."""
    print(f"{_SKIP}{reason}", file=sys.stderr)
    raise SystemExit(SKIPPED)


def reason_of(lines: Iterable[str]) -> str:
    """Why a benchmark was skipped, from what it wrote to standard error."""
    reasons = [line.removeprefix(_SKIP) for line in lines if line.startswith(_SKIP)]
    return reasons[-1].strip() if reasons else ""


def claim_of(doc: str | None) -> str:
    """The sentence behind `Claim:` in a docstring's first line, or an empty string."""
    first = (doc or "").partition("\n")[0]
    return first.removeprefix("Claim: ") if first.startswith("Claim: ") else ""


def machine() -> dict[str, Any]:
    """Versions, the number of cores that may be used and how busy they are."""
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
        "processor": platform.machine(),
        "cores": _cores(),
        # Processes that wanted a core over the last minute: near 0 on an idle machine.
        "load_before": os.getloadavg()[0],
    }


def _cores() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def version(package: str) -> str | None:
    """Of an installed package; `None` where it is not."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def need_data(name: str, data_dir: str | None) -> None:
    """Raises `Missing` unless a data set is prepared: a benchmark downloads nothing."""
    from tfrobust import data

    where = f"in {data_dir}" if data_dir else "where TFDS looks; give --data_dir"
    try:
        is_there = bool(data.describe(name, data_dir).sizes)
    except (ImportError, OSError, ValueError):
        is_there = False
    if not is_there:
        raise Missing(f"the data set {name} is not prepared {where}.")


def need_compiler() -> None:
    """Raises `Missing` unless there is a C++ compiler to build TensorFlow's runtime."""
    from tests.serving import build

    if build.compiler() is None:
        raise Missing("there is no C++ compiler to build the C++ runtime with.")


def _header(content: dict[str, Any]) -> str:
    machine = content["machine"]
    versions = ", ".join(f"{name} {machine[name]}" for name in ("python", *_PACKAGES))
    return (
        f"# {content['benchmark']}: {content['claim']}\n\n"
        f"{machine['cores']} cores, load {machine['load_before']:.2f}, {versions}"
    )


def _title(name: str) -> str:
    return "+-" if name.endswith("_error") else name.replace("_", " ")


def _cell(value: Any, form: str) -> str:
    """Empty where there is no number; a NaN says that there was one to be had."""
    return "" if value is None else format(value, form)


def _line(name: str, cells: Sequence[str]) -> str:
    """A row of Markdown that reads well unrendered."""
    return f"| {name:<28} | {' | '.join(f'{cell:>9}' for cell in cells)} |"


def _as_json(value: Any) -> Any:
    """A path as text, what holds several as a list of its names."""
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, Mapping | tuple) else value
