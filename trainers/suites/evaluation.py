"""One evaluation, from the models and the data to the finished folder."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import pathlib
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfrobust import data, viz
from tfrobust.cli import data_record, page
from tfrobust.cli.loading import Loaded, find_model, load_classifier
from tfrobust.cli.program import UsageError, is_watched
from tfrobust.cli.records import (
    Evaluation,
    Record,
    Records,
    long_table,
    per_example,
)
from tfrobust.cli.run_folder import EVALUATION, versions, write_json, write_text
from tfrobust.core.errors import ExtensionError
from tfrobust.core.pixels import Bounds, check_bounds
from trainers.suites import samples
from trainers.suites.options import EvaluateConfig
from trainers.suites.partial import Partial
from trainers.suites.suite import Suite, flag_lines

# Names of classes that a page lists.
_LISTED = 20


def evaluate(
    run: EvaluateConfig, suites: Sequence[Suite], strategy: tf.distribute.Strategy
) -> None:
    """Finishes the checks, then measures, prints and writes.

    Args:
        run: The settings of every suite; the rules of its folder have been checked.
        suites: From `chosen`.
        strategy: Whose devices share the work.

    Raises:
        UsageError: If what was asked for cannot be done; nothing new is left then.
        CheckFailed: If all was done, and a result fails a check that was asked for.
    """
    partial = Partial(run.folder, flag_lines(run, suites))
    partial.begin()
    goes_on = partial.exists()
    for suite in suites:
        suite.partial = partial
    try:
        records = _evaluate(run, suites, strategy)
    except UsageError:
        if not goes_on:
            partial.remove()
        raise
    partial.remove()
    for suite in suites:
        suite.conclude(records[suite.name])


def _evaluate(
    run: EvaluateConfig, suites: Sequence[Suite], strategy: tf.distribute.Strategy
) -> dict[str, Records]:
    """Checks, measures, prints and writes; the records of each suite."""
    began, started = time.perf_counter(), datetime.datetime.now(datetime.UTC)
    for path in run.model:
        find_model(path)
    counts = _counts(suites)
    trained = any(suite.trained for suite in suites)
    splits = ("train", "test") if trained else ("test",)
    info = samples.check(run, counts, splits)
    for suite in suites:
        suite.prepare()
    models = _load_models(run, strategy)
    for model in models:
        model.check(info.image_shape, info.classes, run.dataset)
        for suite in suites:
            suite.check_model(model)
    train, test = samples.load(run, counts, splits)
    for model in models:
        data_record.check_tested(model.source, run.dataset, test)
    for suite in suites:
        suite.begin(train, test)
    with strategy.scope():
        records = _measure(run, suites, models)
    about = {
        "created": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - began, 1),
        "suites": [suite.name for suite in suites],
        "dataset": run.dataset,
        "class_names": list(test.class_names),
        "seed": run.seed,
        "flags": flag_lines(run, suites),
        "device": _device(),
        "versions": versions(),
        "models": [_about(model) for model in models],
    }
    sections = [
        section
        for suite in suites
        for section in _returned(suite, "page", suite.page(records[suite.name]))
    ]
    flat = _together(records)
    _write(
        run.folder, Evaluation(about, flat), sections, _facts(run, suites, models, test)
    )
    print(page.text(sections))
    print(f"Wrote {run.folder / 'evaluation.html'}")
    return records


def _counts(suites: Sequence[Suite]) -> dict[str, dict[str, int]]:
    """How many images are asked for, by split and flag."""
    counts: dict[str, dict[str, int]] = {}
    for suite in suites:
        for split, fields in suite.images.items():
            for field in fields:
                owner = suite.own if hasattr(suite.own, field) else suite.run
                counts.setdefault(split, {})[field] = getattr(owner, field)
    return counts


def _load_models(run: EvaluateConfig, strategy: tf.distribute.Strategy) -> list[Loaded]:
    """Every model under a name of its own."""
    bounds = _bounds(run.bounds)
    names = run.name or ("",) * len(run.model)
    models = []
    for path, name in zip(run.model, names, strict=True):
        # A copy for each device; but a SavedModel that is loaded in the scope can be
        # asked by replicas alone, and not everything is shared.
        served = pathlib.Path(find_model(path)).is_dir()
        with contextlib.nullcontext() if served else strategy.scope():
            models.append(load_classifier(path, name, bounds=bounds))
    taken = [model.name for model in models]
    for name in taken:
        if taken.count(name) > 1:
            raise UsageError(
                f"Two models would both be called {name!r}; give each a --name."
            )
    return models


def _bounds(text: str) -> Bounds | None:
    """What `--bounds` says, if anything."""
    try:
        return check_bounds(text.split(",")) if text else None
    except ValueError as error:
        raise UsageError(str(error).replace("`bounds`", "--bounds", 1)) from error


def _measure(
    run: EvaluateConfig, suites: Sequence[Suite], models: Sequence[Loaded]
) -> dict[str, Records]:
    """What every suite measures of every model, by suite."""
    records: dict[str, list[Record]] = {suite.name: [] for suite in suites}
    for place, model in enumerate(models, start=1):
        began = time.perf_counter()
        _say(f"{model.name}, model {place} of {len(models)}")
        for suite in suites:
            try:
                records[suite.name] += _returned(suite, "measure", suite.measure(model))
            except ExtensionError as error:
                raise UsageError(f"--suite={suite.name}: {error}") from error
            except ValueError as error:
                raise UsageError(f"--model={model.source}: {error}") from error
            except tf.errors.InvalidArgumentError as error:
                # An exported model checks its inputs.
                raise UsageError(
                    f"--model={model.source} refused its images, --batch_size="
                    f"{run.batch_size} at a time: {error.message}"
                ) from error
        _say(f"{model.name} took {time.perf_counter() - began:.0f} s")
    for suite in suites:
        records[suite.name] += suite.finish()
    return {name: Records(part) for name, part in records.items()}


def _returned(suite: Suite, method: str, parts: Any) -> Sequence[Any]:
    """What a method of a suite returned, if it is a sequence."""
    if not isinstance(parts, Iterable):
        raise UsageError(
            f"--suite={suite.name}: `{method}` must return a list. Received: {parts!r}"
        )
    return list(parts)


def _together(records: Mapping[str, Records]) -> Records:
    """The records of all suites; what two of them measured alike stands once."""
    kept: dict[tuple[str, str], list[Record]] = {}
    for suite, part in records.items():
        for record in part:
            others = kept.setdefault((record.model, record.label), [])
            if any(record.to_json() == other.to_json() for other in others):
                continue
            if others:
                setting = {**record.setting, "suite": suite}
                record = dataclasses.replace(record, setting=setting)
            others.append(record)
    return Records(each for group in kept.values() for each in group)


def _write(
    out: pathlib.Path,
    evaluation: Evaluation,
    sections: Sequence[page.Section],
    facts: Mapping[str, str],
) -> None:
    title = f"Evaluation on {evaluation.about['dataset']}"
    out.mkdir(parents=True, exist_ok=True)
    # It says that an evaluation is complete: it goes first and comes last.
    (out / EVALUATION).unlink(missing_ok=True)
    texts = {
        "evaluation.html": page.page(title, facts, sections),
        "evaluation.md": page.markdown(title, facts, sections),
        "evaluation.csv": long_table(evaluation.records).csv(),
        "per_example.csv": per_example(evaluation.records).csv(),
        "evaluation.flags": "\n".join(evaluation.about["flags"]) + "\n",
    }
    for name, text in texts.items():
        write_text(out / name, text)
    for section in sections:
        if section.draw is not None:
            viz.save(section.draw(), out / f"{section.figure_name}.png")
    write_json(out / EVALUATION, evaluation.to_json())


def _facts(
    run: EvaluateConfig,
    suites: Iterable[Suite],
    models: Iterable[Loaded],
    test: data.Dataset,
) -> dict[str, str]:
    facts = {f"model {model.name}": f"{model.kind}, {model.source}" for model in models}
    for suite in suites:
        facts |= suite.facts()
    facts["classes"] = _listed(test.class_names)
    return {**facts, "seed": str(run.seed), **versions()}


def _listed(names: Sequence[str]) -> str:
    """How many classes there are, and the names of the first."""
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{len(names)}: {', '.join(names[:_LISTED])}{rest}"


def _about(model: Loaded) -> dict[str, Any]:
    return {"name": model.name, "kind": model.kind, "path": str(model.source)}


def _device() -> str:
    """What was computed on: the names of the GPUs, or CPU."""
    devices = tf.config.list_physical_devices("GPU")
    names = [
        tf.config.experimental.get_device_details(device).get("device_name", "GPU")
        for device in devices
    ]
    return ", ".join(names) or "CPU"


def _say(line: str) -> None:
    """Where the program is, for who watches it."""
    if is_watched():
        print(line, file=sys.stderr)
