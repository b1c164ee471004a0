"""How the workers of a run find each other, before TensorFlow starts.

Each connects to worker 0 and says who it is and what it was told to do. Worker 0 waits
for all, compares, and tells all of them to go on or what is wrong.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from tfrobust.cli.links import Link, connect
from tfrobust.cli.program import UsageError, WorkerLost
from tfrobust.core.cluster import Cluster, split

# Whoever connects and says nothing for so long is no worker; others wait meanwhile.
_HELLO_SECONDS = 2.0
# How long worker 0 stays to tell those who come late that there is nothing to do.
_REFUSING_SECONDS = 10.0
_LAST_SECONDS = 1.0

Claims = Mapping[str, str]
Check = Callable[[], None]


def meet(
    cluster: Cluster,
    claims: Claims,
    *,
    seconds: float,
    check: Check | None = None,
) -> dict[int, Link]:
    """Waits until every worker of the cluster is there and agrees.

    Args:
        cluster: The workers, and which of them this is.
        claims: What must be equal on all workers, by name, such as flags.
        seconds: How long to wait for the others.
        check: What may go wrong on this worker alone, by `UsageError`, of which the
            others then hear.

    Returns:
        Connections by the worker at their other end: of worker 0 to all others, of the
        others to worker 0.

    Raises:
        UsageError: If a worker does not come, comes twice, has other claims or fails
            its check.
        WorkerLost: If worker 0 ends before it has answered.

    Example:
        >>> from tfrobust.core.cluster import Cluster
        >>> meet(Cluster(("127.0.0.1:29411",), 0), {"--seed": "0"}, seconds=1)
        {}
    """
    problem = None
    with contextlib.ExitStack() as opened:
        door = None
        try:
            # A port that nobody else can take until TensorFlow does.
            door = opened.enter_context(_open(cluster))
            if check is not None:
                check()
        except UsageError as error:
            problem = str(error)
        if cluster.is_chief and door is not None:
            return _Reception(cluster, claims, door).gather(seconds, problem)
        # Also a second worker 0, if the one at its address is the first.
        return {0: _arrive(cluster, claims, seconds, problem)}


def _open(cluster: Cluster) -> socket.socket:
    """Listens on this worker's port, on all of the machine's interfaces."""
    host, port = split(cluster.address)
    try:
        if ":" in host:
            return socket.create_server(("", port), family=socket.AF_INET6)
        return socket.create_server(("", port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise UsageError(
                f"{cluster.name(cluster.index)} cannot use its address: "
                f"{error.strerror}."
            ) from error
        raise UsageError(
            f"The address of {cluster.name(cluster.index)} is in use on this machine; "
            "is there another worker of the same index, or an earlier run?"
        ) from error


def _arrive(
    cluster: Cluster, claims: Claims, seconds: float, problem: str | None
) -> Link:
    """Goes to worker 0 and does what it says."""
    host, port = split(cluster.addresses[0])
    end = time.monotonic() + seconds
    link = connect(host, port, _REFUSING_SECONDS if problem else seconds)
    if link is None:
        raise UsageError(
            problem
            or f"{cluster.name(0)} could not be reached within {seconds:g} seconds "
            f"from {cluster.name(cluster.index)} (--start_timeout)."
        )
    link.send(index=cluster.index, claims=dict(claims), problem=problem)
    if problem:
        link.receive(_HELLO_SECONDS)  # It was heard.
        link.close()
        raise UsageError(problem)
    answer = link.receive(end - time.monotonic() + _REFUSING_SECONDS)
    if answer is None:
        link.close()
        raise WorkerLost(
            f"{cluster.name(0)} was there and ended before all workers had met."
        )
    if "problem" in answer:
        link.close()
        raise UsageError(str(answer["problem"]))
    return link


class _Reception:
    """Worker 0, as the others come in."""

    def __init__(self, cluster: Cluster, claims: Claims, door: socket.socket) -> None:
        self._cluster, self._claims, self._door = cluster, claims, door
        self._links: dict[int, Link] = {}

    def gather(self, seconds: float, problem: str | None) -> dict[int, Link]:
        """All others, once they are there; `UsageError` for all if they do not fit."""
        end = time.monotonic() + seconds
        while problem is None and self._missing:
            problem = self._admit(end)
        if problem is None:
            for link in self._links.values():
                link.send(go=True)
            return self._links
        self._refuse(problem, end)
        raise UsageError(problem)

    @property
    def _missing(self) -> list[int]:
        others = range(1, len(self._cluster.addresses))
        return [index for index in others if index not in self._links]

    def _admit(self, end: float) -> str | None:
        """Lets one worker in; what is wrong, if anything is."""
        arrived = self._next(end)
        if arrived is None:
            if time.monotonic() < end:
                return None
            names = ", ".join(self._cluster.name(index) for index in self._missing)
            return (
                f"{names} did not come to {self._cluster.name(0)} in time "
                "(--start_timeout)."
            )
        link, hello = arrived
        problem = self._problem(hello)
        self._keep(link, hello)
        if problem is not None:
            link.send(problem=problem)
        return problem

    def _problem(self, hello: dict[str, Any]) -> str | None:
        """What speaks against a worker that says so of itself."""
        index, claims = hello.get("index"), hello["claims"]
        if not isinstance(index, int) or index not in range(
            len(self._cluster.addresses)
        ):
            return f"A worker came with the index {index!r}, which no worker has."
        # Two of one index can have the same address, and the second then finds it in
        # use: the index says more.
        if index not in self._missing:
            return f"Two workers have the index {index} (--worker_index)."
        if hello.get("problem"):
            return str(hello["problem"])
        for name in {**self._claims, **claims}:
            here, there = self._claims.get(name), claims.get(name)
            if here != there:
                return disagreement(name, here, there, self._cluster.name(index))
        return None

    def _next(self, end: float) -> tuple[Link, dict[str, Any]] | None:
        """Who comes next and what it says; `None` if nobody does, or no worker."""
        self._door.settimeout(max(end - time.monotonic(), 0.001))
        try:
            link = Link(self._door.accept()[0])
        except OSError:
            return None
        hello = link.receive(_HELLO_SECONDS)
        if hello is None or not isinstance(hello.get("claims"), dict):
            link.close()
            return None
        return link, hello

    def _refuse(self, problem: str, end: float) -> None:
        """Tells those who are there, and those who come in the next seconds."""
        for link in self._links.values():
            link.send(problem=problem)
        now = time.monotonic()
        # Even if all have been here: two may have come as one.
        least = now + _LAST_SECONDS
        end = max(least, min(end, now + _REFUSING_SECONDS))
        while (left := (end if self._missing else least) - time.monotonic()) > 0:
            if (arrived := self._next(time.monotonic() + left)) is not None:
                self._keep(*arrived)
                arrived[0].send(problem=problem)
        for link in self._links.values():
            link.close()

    def _keep(self, link: Link, hello: dict[str, Any]) -> None:
        """Holds the connection, of the first who comes with an index."""
        if hello.get("index") in self._missing:
            self._links[hello["index"]] = link


def disagreement(name: str, here: str | None, there: str | None, worker: str) -> str:
    """The sentence on a claim that a worker has and worker 0 has not.

    Args:
        name: Of the claim.
        here: On worker 0.
        there: On the other.
        worker: The other, as `Cluster.name` has it.
    """
    own, other = ("not given" if each is None else each for each in (here, there))
    return (
        f"All workers must be alike: {name} is {own} on worker 0 and {other} on "
        f"{worker}."
    )
