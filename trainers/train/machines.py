"""Which machines a run has, before TensorFlow is imported."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os

from tfrobust.cli import workers
from tfrobust.cli.meeting import Check
from tfrobust.cli.program import UsageError
from tfrobust.core import cluster as clusters
from tfrobust.core.cluster import Cluster
from trainers.train.options import TrainConfig, flag_lines


def cluster_of(config: TrainConfig) -> Cluster | None:
    """The workers of a run, by `--workers` or else by `TF_CONFIG`; `None` if alone.

    Raises `UsageError` if they are not described so that TensorFlow could find them.
    """
    if config.distribute not in ("auto", "multi_worker") or config.dry_run:
        return None
    if config.workers:
        try:
            return Cluster(tuple(config.workers.split(",")), config.worker_index)
        except ValueError as error:
            raise UsageError(
                f"--workers={config.workers} --worker_index={config.worker_index}: "
                f"{error}."
            ) from error
    try:
        found = clusters.from_environment()
    except ValueError as error:
        raise UsageError(f"{clusters.VARIABLE} {error}.") from error
    if found is None and config.distribute == "multi_worker":
        raise UsageError(
            "--distribute=multi_worker needs --workers and --worker_index, or the "
            f"environment variable {clusters.VARIABLE}."
        )
    return found


def together(
    config: TrainConfig, cluster: Cluster | None, check: Check
) -> contextlib.AbstractContextManager[None]:
    """A block that begins when all workers are there, and `check` held on the chief."""
    if cluster is None:
        check()
        return contextlib.nullcontext()
    if config.workers:
        os.environ[clusters.VARIABLE] = cluster.as_tf_config()
    return workers.together(
        cluster,
        _claims(config, cluster),
        seconds=config.start_timeout,
        check=check if cluster.is_chief else None,
    )


def _claims(config: TrainConfig, cluster: Cluster) -> dict[str, str]:
    """What must be equal on all workers, by the name that a sentence gives it."""
    claims = {"the list of workers": ",".join(cluster.addresses)}
    for line in flag_lines(config):
        name, _, value = line.partition("=")
        # A data set may lie in another place on each machine.
        if name != "--data_dir":
            claims[name] = " ".join(
                [claims[name], value] if name in claims else [value]
            )
    claims["--resume"] = str(config.resume).lower()
    claims["the code of tfrobust, by its digest,"] = workers.code_digest()
    for package in ("tensorflow", "keras"):
        claims[f"the version of {package}"] = importlib.metadata.version(package)
    return claims
