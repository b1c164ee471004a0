"""Workers of one run, who start together and stop together.

TensorFlow waits for a worker that never comes, and a worker whose neighbour died may
wait in its next sum of gradients for good. So each worker of a run keeps a connection
to worker 0 from the first second to the last, over the addresses of the cluster.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import tfrobust
from tfrobust.cli.links import Link
from tfrobust.cli.meeting import Check, Claims, disagreement, meet
from tfrobust.cli.program import UsageError, WorkerLost, say
from tfrobust.core.cluster import Cluster

# A worker often learns from TensorFlow that another is gone, and a little later which.
_NEWS_SECONDS = 3.0


@contextlib.contextmanager
def together(
    cluster: Cluster, claims: Claims, *, seconds: float, check: Check | None = None
) -> Iterator[None]:
    """A block that all workers of a run are in, or none.

    It begins when every worker is there; the addresses are free again by then. It ends
    when every worker is at its end. In between, the end of one process is the end of
    all within seconds: they say which it was and why, with code 2 if it was a
    `UsageError`, 75 if it was killed or its machine is gone, and 1 after another error.

    Args:
        cluster: The workers, and which of them this is.
        claims: What must be equal on all workers, by name, such as flags.
        seconds: How long to wait for the others.
        check: What may go wrong on this worker before it meets the others, by
            `UsageError`, of which they then hear.

    Raises:
        UsageError: If a worker does not come, comes twice, has other claims or fails
            its check.
        WorkerLost: If worker 0 is killed meanwhile.

    Example:
        >>> with together(Cluster(("127.0.0.1:29412",), 0), {}, seconds=1):
        ...     print("all are here")
        all are here
    """
    watch = _Watch(cluster, meet(cluster, claims, seconds=seconds, check=check))
    _Watch.current = watch
    try:
        yield
    except UsageError as error:
        watch.fail(str(error), code=2)
        raise
    except Exception as error:
        watch.fail_after_news(type(error).__name__)
        raise
    except BaseException:
        watch.fail("it was stopped.", code=WorkerLost.CODE)
        raise
    finally:
        _Watch.current = None
    watch.leave()


def code_digest() -> str:
    """A digest of the sources that run, of the library and of the programs beside it.

    Example:
        >>> len(code_digest())
        12
    """
    library = pathlib.Path(tfrobust.__file__).parent
    digest = hashlib.sha256()
    for package in ("tfrobust", "trainers", "export"):
        folder = library.parent / package
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder.parent).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def claim(name: str, value: str) -> None:
    """States what must be equal on all workers and is known only in the block.

    Of workers that do not agree with worker 0 all processes end, with code 2 and a
    sentence. Outside of `together` nothing happens.

    Args:
        name: What it is, as the subject of a sentence.
        value: What it is here.

    Example:
        >>> claim("the number of images", "50000")
    """
    if _Watch.current is not None:
        _Watch.current.claim(name, value)


class _Watch:
    """Ends this process when another worker ends before its time."""

    current: _Watch | None = None

    def __init__(self, cluster: Cluster, links: dict[int, Link]) -> None:
        self._cluster, self._links = cluster, links
        self._claims: dict[str, str] = {}
        self._changed = threading.Condition()
        self._gone: set[int] = set()
        self._left = False
        for index, link in links.items():
            threading.Thread(
                target=self._listen, args=(index, link), daemon=True
            ).start()

    def claim(self, name: str, value: str) -> None:
        """Tells worker 0, which compares."""
        with self._changed:
            self._claims[name] = value
            self._changed.notify_all()
        if not self._cluster.is_chief:
            self._tell(claim=name, value=value)

    def leave(self) -> None:
        """Waits until every worker has done its part; worker 0 is the last to go.

        Until then the end of one is still the end of all: its part is missing.
        """
        if not self._cluster.is_chief:
            self._tell(left=True)
        with self._changed:
            self._changed.wait_for(lambda: self._gone == set(self._links))
            self._left = True
        if self._cluster.is_chief:
            self._tell(left=True)

    def fail(self, reason: str, code: int) -> None:
        """This worker ends, and so must the others."""
        with self._changed:
            self._left = True
        name = self._cluster.name(self._cluster.index)
        self._tell(problem=f"{name}: {reason}", code=code)

    def fail_after_news(self, error: str) -> None:
        """As `fail`, unless what happened to another worker is behind it."""
        time.sleep(_NEWS_SECONDS * bool(self._links))
        self.fail(f"it ended in {error}; its own output says more.", code=1)

    def _tell(self, **message: Any) -> None:
        for link in self._links.values():
            link.send(**message)

    def _listen(self, index: int, link: Link) -> None:
        """Hears a worker out, to the last."""
        while (message := link.receive()) and "claim" in message:
            self._compare(index, message["claim"], message["value"])
        if message is None:
            lost = f"{self._cluster.name(index)} is gone; start all workers again."
            self._end(lost, WorkerLost.CODE)
        elif "problem" in message:
            self._end(str(message["problem"]), int(message["code"]))
        else:
            with self._changed:
                self._gone.add(index)
                self._changed.notify_all()

    def _compare(self, index: int, name: str, value: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: name in self._claims)
            own = self._claims[name]
        if value != own:
            self._end(disagreement(name, own, value, self._cluster.name(index)), 2)

    def _end(self, problem: str, code: int) -> None:
        """Tells the others and ends this process, whatever it is waiting for."""
        with self._changed:
            if self._left:
                return
            self._left = True
        self._tell(problem=problem, code=code)
        say(problem)
        sys.stdout.flush()
        os._exit(code)
