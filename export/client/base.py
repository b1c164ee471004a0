"""What a client of a server does whatever the protocol: check, ask, try again, give up.

The deadline is kept by hand: the time-outs of sockets, and so those of `http.client`,
urllib3 and requests, are for each read alone, and none of them bounds a slow answer, or
a prediction with all its tries.
"""

from __future__ import annotations

import abc
import math
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

from .arrays import Arrays

DEFAULT = "serving_default"
"""The signature that is asked unless another is named."""

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0


class Unavailable(ConnectionError):
    """The server cannot answer now, but may soon."""


class Client(abc.ABC):
    """What the clients do alike: check, ask, try again, translate errors."""

    def __init__(self, where: str, model: str, timeout: float, retries: int) -> None:
        if not (isinstance(model, str) and model.strip()):
            raise ValueError(f"`model` must be a name. Received: model={model!r}")
        if not (timeout > 0 and math.isfinite(timeout)):
            raise ValueError(
                f"`timeout` must be positive seconds. Received: timeout={timeout}"
            )
        if retries < 0:
            raise ValueError(
                f"`retries` must be at least 0. Received: retries={retries}"
            )
        self._where, self._model = where, model
        self._timeout, self._retries = timeout, retries
        self._closed = False

    def predict(
        self,
        inputs: Mapping[str, Any],
        signature: str = DEFAULT,
        version: int | None = None,
    ) -> Arrays:
        """Ask the model.

        Args:
            inputs: Arrays by name, as docs/SERVING.md has them for each signature;
                files as a list of bytes.
            signature: Name of the signature.
            version: Which version; by default the newest that is served.

        Returns:
            Arrays by name. Strings are bytes.

        Raises:
            ValueError: If the server refuses the request (its INVALID_ARGUMENT, in its
                words), or the inputs cannot be sent. It is not tried again.
            LookupError: If it has no such model or version.
            TimeoutError: If there was no answer before the deadline.
            ConnectionError: If there is no server, or it was busy at every try.
            RuntimeError: If the server failed in another way.
        """
        if self._closed:
            raise ValueError("`predict` must be called before `close`.")
        ask = self._prepare(inputs, signature, version)
        return self._persist(ask)

    @abc.abstractmethod
    def _prepare(
        self, inputs: Mapping[str, Any], signature: str, version: int | None
    ) -> Callable[[float], Arrays]:
        """The request as a function of the moment by which it has to be answered."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give back the connections."""

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def _persist(self, ask: Callable[[float], Arrays]) -> Arrays:
        """Ask until there is an answer, the tries are used up or the time is."""
        deadline = time.monotonic() + self._timeout
        for tried in range(self._retries + 1):
            try:
                return ask(deadline)
            except Unavailable as error:
                pause = _pause(tried)
                if tried == self._retries:
                    raise
                if time.monotonic() + pause >= deadline:
                    raise self._late() from error
            time.sleep(pause)
        raise AssertionError  # The last try returns or raises.

    def _late(self) -> TimeoutError:
        return TimeoutError(f"{self._where} did not answer within {self._timeout:g} s")

    def _busy(self, reason: object) -> Unavailable:
        return Unavailable(f"{self._where} is unavailable: {reason}")


def _pause(tried: int) -> float:
    """Seconds before the next try: twice as many each time, less up to a half.

    Clients that were refused at the same moment come back at different ones.
    """
    longest: float = min(_FIRST_PAUSE * 2**tried, _LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1.0)
