"""Which processes train together, before TensorFlow is imported."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Sequence
from typing import Any

VARIABLE = "TF_CONFIG"
_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:.%\w]+\]|[^\s:/\[\]]+):(?P<port>\d+)")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of a run, and which of them this process is.

    Args:
        addresses: `HOST:PORT` of each worker, the same list on all of them. The first
            is the chief, who writes files and prints.
        index: This process's place in the list.

    Raises:
        ValueError: If an address is no `HOST:PORT` or is there twice, or no address has
            this index.

    Example:
        >>> Cluster(("10.0.0.1:2222", "10.0.0.2:2222"), index=1).is_chief
        False
    """

    addresses: tuple[str, ...]
    index: int

    def __post_init__(self) -> None:
        for address in self.addresses:
            split(address)
            if self.addresses.count(address) > 1:
                raise ValueError(f"{address} is there twice")
        if not 0 <= self.index < len(self.addresses):
            raise ValueError(
                f"there is no worker {self.index} among {len(self.addresses)}, which "
                "are counted from 0"
            )

    @property
    def is_chief(self) -> bool:
        """Whether this is the first worker."""
        return self.index == 0

    @property
    def address(self) -> str:
        """This worker's own address."""
        return self.addresses[self.index]

    def name(self, index: int) -> str:
        """A worker as sentences call it, such as `worker 1 (10.0.0.2:2222)`."""
        return f"worker {index} ({self.addresses[index]})"

    def as_tf_config(self) -> str:
        """The value of `TF_CONFIG` by which TensorFlow knows the cluster."""
        task = {"type": "worker", "index": self.index}
        return json.dumps({"cluster": {"worker": self.addresses}, "task": task})


def split(address: str) -> tuple[str, int]:
    """Host and port of an address.

    Raises:
        ValueError: If it is no `HOST:PORT`, with a port from 1 to 65535.

    Example:
        >>> split("[::1]:2222")
        ('::1', 2222)
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise ValueError(f"{address!r} is no HOST:PORT")
    return match["host"].strip("[]"), int(match["port"])


def from_environment() -> Cluster | None:
    """The cluster that `TF_CONFIG` describes; `None` where there is none.

    Raises:
        ValueError: If it describes none, in words that follow the variable's name.

    Example:
        >>> from_environment() is None
        True
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    config = _object(text)
    cluster, task = config.get("cluster"), config.get("task", {})
    if not cluster:
        return None
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise ValueError("has a cluster or a task that is no JSON object")
    if others := set(cluster) - {"chief", "worker"}:
        raise ValueError(
            f"has tasks of the kind {min(others)!r}: training takes workers, of whom "
            "one may be called chief"
        )
    chief, workers = (_addresses(cluster, kind) for kind in ("chief", "worker"))
    kind, index = (
        task.get("type", "worker" if not chief else "chief"),
        task.get("index"),
    )
    if kind not in cluster:
        raise ValueError(f"makes this a {kind!r}, of which its cluster has none")
    try:
        index = int(task.get("index", 0))
        return Cluster((*chief, *workers), index + len(chief) * (kind == "worker"))
    except (TypeError, ValueError) as error:
        raise ValueError(f"describes no cluster: {error}") from error


def is_chief_process() -> bool:
    """Whether this process writes files and prints, by `TF_CONFIG` alone.

    The chief is the task of that name, or worker 0 of a cluster that has none.
    """
    config = _object(os.environ.get(VARIABLE) or "{}")
    task = config.get("task", {})
    kind = task.get("type", "chief")
    if kind == "worker" and "chief" not in config.get("cluster", {}):
        return int(task.get("index", 0)) == 0
    return kind == "chief"


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"is no JSON object: {error}") from error
    if not isinstance(found, dict):
        raise ValueError("is no JSON object")
    return found


def _addresses(cluster: dict[str, Any], kind: str) -> Sequence[str]:
    found = cluster.get(kind, [])
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ValueError(f"has no list of HOST:PORT as the cluster's {kind!r}")
    return found
