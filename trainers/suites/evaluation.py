"""One evaluation, from the models and the data to the finished folder."""

from __future__ import annotations

import abc
import pathlib
import sys
import time
from typing import Any, NamedTuple

import tensorflow as tf

from tfrobust import data, viz
from tfrobust.cli import page as report
from tfrobust.cli.loading import Loaded, find_model, load_classifier
from tfrobust.cli.program import UsageError, is_watched
from tfrobust.cli.run_folder import EVALUATION, versions, write_json, write_text
from tfrobust.cli.tables import Table
from trainers.suites import samples as evaluate_data
from trainers.suites.dissect import files as dissect_files
from trainers.suites.dissect import measure as dissect_suite
from trainers.suites.dissect import page as dissect_tables
from trainers.suites.lcnn import files as lcnn_files
from trainers.suites.lcnn import measure as lcnn_suite
from trainers.suites.lcnn import page as lcnn_tables
from trainers.suites.options import EvaluateConfig, flag_lines
from trainers.suites.pag import files as pag_files
from trainers.suites.pag import measure as pag_suite
from trainers.suites.pag import page as pag_tables
from trainers.suites.smooth import attacks as smooth_attacks
from trainers.suites.smooth import files as smooth_files
from trainers.suites.smooth import measure as smooth_suite
from trainers.suites.smooth import page as smooth_tables


class Outcome(NamedTuple):
    """What a suite found, for people and for programs.

    Attributes:
        facts: Settings in words, by name.
        sections: Tables and figures, in order.
        results: Means and errors by model, ready for JSON.
        means: The same, one line each.
        per_example: One line an image and model.
    """

    facts: dict[str, str]
    sections: list[report.Section]
    results: dict[str, dict[str, Any]]
    means: Table
    per_example: Table


class Suite(abc.ABC):
    """What stands behind a value of --suite."""

    @abc.abstractmethod
    def __init__(self, config: EvaluateConfig) -> None:
        """Raises `UsageError` if the settings cannot be; does no work."""

    def check(self, model: Loaded) -> None:  # noqa: B027
        """Raises `UsageError` if a model cannot be measured, before any is."""

    @abc.abstractmethod
    def begin(self, train: data.Dataset, test: data.Dataset) -> None:
        """Takes the data."""

    @abc.abstractmethod
    def measure(self, model: Loaded) -> None:
        """Measures one model, whose name is its own."""

    @abc.abstractmethod
    def outcome(self) -> Outcome:
        """What was found on all models."""


class _Lcnn(Suite):
    """Tables 1 to 3 and figure 2 of the LCNN paper."""

    def __init__(self, config: EvaluateConfig) -> None:
        self._config = config
        self._attacks = lcnn_suite.make_attacks(config)

    def begin(self, train: data.Dataset, test: data.Dataset) -> None:
        self._measurer = lcnn_suite.Measurer(self._config, self._attacks, train, test)

    def measure(self, model: Loaded) -> None:
        self._measurer.measure(model)

    def outcome(self) -> Outcome:
        found = self._measurer.findings
        return Outcome(
            lcnn_tables.facts(found),
            lcnn_tables.sections(found),
            lcnn_files.results(found),
            lcnn_files.long_table(found),
            lcnn_files.per_example(found),
        )


class _Smooth(Suite):
    """Tables 1 to 3 and figures 1, 2 and 5 of the paper on smooth adversaries."""

    def __init__(self, config: EvaluateConfig) -> None:
        self._config = config
        self._trials = smooth_attacks.make_trials(config)
        self._budgets = smooth_attacks.make_budgets(config)

    def begin(self, train: data.Dataset, test: data.Dataset) -> None:
        self._measurer = smooth_suite.Measurer(
            self._config, self._trials, self._budgets, test
        )

    def measure(self, model: Loaded) -> None:
        self._measurer.measure(model)

    def outcome(self) -> Outcome:
        found = self._measurer.findings
        return Outcome(
            smooth_tables.facts(found),
            smooth_tables.sections(found),
            smooth_files.results(found),
            smooth_files.long_table(found),
            smooth_files.per_example(found),
        )


class _Pag(Suite):
    """Tables 1, 2 and 4, figures 1, 4 and 5 of the paper on aligned gradients."""

    def __init__(self, config: EvaluateConfig) -> None:
        self._config = config
        self._attacks = pag_suite.make_attacks(config)
        self._judge = pag_suite.load_judge(config)

    def begin(self, train: data.Dataset, test: data.Dataset) -> None:
        self._measurer = pag_suite.Measurer(
            self._config, self._attacks, self._judge, train, test
        )

    def measure(self, model: Loaded) -> None:
        self._measurer.measure(model)

    def outcome(self) -> Outcome:
        found = self._measurer.findings
        return Outcome(
            pag_tables.facts(found),
            pag_tables.sections(found),
            pag_files.results(found),
            pag_files.long_table(found),
            pag_files.per_example(found),
        )


class _Dissect(Suite):
    """Tables 1 to 5, figures 1 to 3 and 5 to 9 of the paper that dissects examples."""

    def __init__(self, config: EvaluateConfig) -> None:
        self._config = config
        self._attacks = dissect_suite.make_attacks(config)
        self._runs = dissect_suite.find_runs(config)

    def check(self, model: Loaded) -> None:
        dissect_suite.check_layers(self._config, model)

    def begin(self, train: data.Dataset, test: data.Dataset) -> None:
        self._measurer = dissect_suite.Measurer(
            self._config, self._attacks, self._runs, test
        )

    def measure(self, model: Loaded) -> None:
        self._measurer.measure(model)

    def outcome(self) -> Outcome:
        self._measurer.measure_runs()
        found = self._measurer.findings
        return Outcome(
            dissect_tables.facts(found),
            dissect_tables.sections(found),
            dissect_files.results(found),
            dissect_files.long_table(found),
            dissect_files.per_example(found),
        )


_SUITES: dict[str, type[Suite]] = {
    "lcnn": _Lcnn,
    "smooth": _Smooth,
    "pag": _Pag,
    "dissect": _Dissect,
}


def evaluate(config: EvaluateConfig, out: pathlib.Path) -> None:
    """Checks what is left to check, then measures, prints and writes.

    Args:
        config: What to measure.
        out: Where to write; its rules (`trainers.evaluate`) have been checked.
    """
    for path in config.model:
        find_model(path)
    info = evaluate_data.check(config)
    suite: Suite = _SUITES[config.suite](config)
    models = _load_models(config)
    for model in models:
        model.check(info.image_shape, info.classes, config.dataset)
        suite.check(model)
    suite.begin(*evaluate_data.load(config))
    for place, model in enumerate(models, start=1):
        began = time.perf_counter()
        _tell(f"{model.name}, model {place} of {len(models)}")
        try:
            suite.measure(model)
        except ValueError as error:
            raise UsageError(f"--model={model.source}: {error}") from error
        except tf.errors.InvalidArgumentError as error:
            # What `export` writes checks what it is asked.
            raise UsageError(
                f"--model={model.source} refused its images, --batch_size="
                f"{config.batch_size} at a time: {error.message}"
            ) from error
        _tell(f"{model.name} took {time.perf_counter() - began:.0f} s")
    outcome = suite.outcome()
    _write(out, config, outcome, models)
    print(report.text(outcome.sections))
    print(f"Wrote {out / 'evaluation.html'}")


def _load_models(config: EvaluateConfig) -> list[Loaded]:
    """Every model under a name of its own."""
    names = config.name or ("",) * len(config.model)
    models = [
        load_classifier(path, name)
        for path, name in zip(config.model, names, strict=True)
    ]
    taken = [model.name for model in models]
    for name in taken:
        if taken.count(name) > 1:
            raise UsageError(
                f"Two models would both be called {name!r}; give each a --name."
            )
    return models


def _write(
    out: pathlib.Path, config: EvaluateConfig, outcome: Outcome, models: list[Loaded]
) -> None:
    title = f"Evaluation on {config.dataset}"
    facts = _facts(config, outcome, models)
    out.mkdir(parents=True, exist_ok=True)
    # It says that an evaluation is complete: it goes first and comes last.
    (out / EVALUATION).unlink(missing_ok=True)
    texts = {
        "evaluation.html": report.page(title, facts, outcome.sections),
        "evaluation.md": report.markdown(title, facts, outcome.sections),
        "evaluation.csv": outcome.means.csv(),
        "per_example.csv": outcome.per_example.csv(),
        "evaluation.flags": "\n".join(flag_lines(config)) + "\n",
    }
    for name, text in texts.items():
        write_text(out / name, text)
    for section in outcome.sections:
        if section.draw is not None:
            viz.save(section.draw(), out / f"{section.figure_name}.png")
    write_json(out / EVALUATION, _results(config, outcome, models))


def _facts(
    config: EvaluateConfig, outcome: Outcome, models: list[Loaded]
) -> dict[str, str]:
    facts = {f"model {model.name}": f"{model.kind}, {model.source}" for model in models}
    return {**facts, **outcome.facts, "seed": str(config.seed), **versions()}


def _results(
    config: EvaluateConfig, outcome: Outcome, models: list[Loaded]
) -> dict[str, Any]:
    return {
        "suite": config.suite,
        "dataset": config.dataset,
        "flags": flag_lines(config),
        "versions": versions(),
        "models": [
            {
                "name": model.name,
                "kind": model.kind,
                "path": str(model.source),
                **outcome.results[model.name],
            }
            for model in models
        ],
    }


def _tell(line: str) -> None:
    """Where the program is, for who watches it."""
    if is_watched():
        print(line, file=sys.stderr)
