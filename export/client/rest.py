"""Predictions over HTTP, in JSON."""

from __future__ import annotations

import functools
import http.client
import json
import queue
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

import numpy as np

from .arrays import Arrays, dtype_of, from_json, to_json
from .base import Client, Unavailable

_CONNECTIONS: dict[str, type[http.client.HTTPConnection]] = {
    "http": http.client.HTTPConnection,
    "https": http.client.HTTPSConnection,
}
_CHUNK = 1 << 16
# What a server says by HTTP when it cannot answer now: RESOURCE_EXHAUSTED, UNAVAILABLE.
_BUSY = (429, 503)
# DEADLINE_EXCEEDED.
_LATE = 504


class RestClient(Client):
    """Predictions over HTTP, in JSON, on connections that stay open.

    Pixels cost ten to twenty characters each, so files (`predict_bytes`) are the better
    thing to send. Every float32 arrives as it was sent. JSON has no NaN, so inputs with
    one are refused here. A client may be used from many threads; each request in flight
    has a connection of its own.

    The names and types of what comes back are those of the signature, which is asked
    for once: JSON alone tells neither.

    Args:
        url: Of the server, such as `http://localhost:8501`.
        model: Name of the model.
        timeout: Seconds for a prediction with all its tries.
        retries: How often to try again, with pauses that grow, when the server says
            that it is busy (429, 503), cannot be reached, or hangs up.

    Raises:
        ValueError: If an argument cannot be.

    Example:
        >>> images = np.zeros([1, 32, 32, 3], np.float32)
        >>> with RestClient("http://localhost:1", "lcnn", retries=0) as client:
        ...     try:
        ...         client.predict({"images": images})
        ...     except ConnectionError:
        ...         print("no server")
        no server
    """

    def __init__(
        self, url: str, model: str, *, timeout: float = 10.0, retries: int = 3
    ) -> None:
        super().__init__(url, model, timeout, retries)
        parts = urlsplit(url)
        if parts.scheme not in _CONNECTIONS or not parts.hostname:
            raise ValueError(f"`url` must be http://HOST:PORT. Received: url={url!r}")
        self._connection = functools.partial(
            _CONNECTIONS[parts.scheme], parts.hostname, parts.port
        )
        self._path = f"{parts.path.rstrip('/')}/v1/models/{quote(model, safe='')}"
        self._idle: queue.LifoQueue[http.client.HTTPConnection] = queue.LifoQueue()
        self._dtypes: dict[tuple[str, str], dict[str, np.dtype]] = {}

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._closed = True
        while (connection := self._take()) is not None:
            connection.close()

    def _prepare(
        self, inputs: Mapping[str, Any], signature: str, version: int | None
    ) -> Callable[[float], Arrays]:
        columns = {name: to_json(name, value) for name, value in inputs.items()}
        body = json.dumps({"signature_name": signature, "inputs": columns}).encode()
        path = self._path + ("" if version is None else f"/versions/{version:d}")

        def ask(deadline: float) -> Arrays:
            answer = self._call("POST", f"{path}:predict", body, deadline, "outputs")
            dtypes = self._dtypes_of(answer, path, signature, deadline)
            if len(dtypes) == 1:
                # The server leaves out the name of an only output.
                answer = dict.fromkeys(dtypes, answer)
            return {name: from_json(answer[name], dtypes[name]) for name in answer}

        return ask

    def _dtypes_of(
        self, answer: Any, path: str, signature: str, deadline: float
    ) -> dict[str, np.dtype]:
        """Types of the outputs by name; JSON has neither float32 nor an only name."""
        dtypes = self._dtypes.get((path, signature), {})
        if _fits(answer, dtypes):
            return dtypes
        # The first answer, or a newer version has other outputs.
        metadata = self._call("GET", f"{path}/metadata", None, deadline, "metadata")
        signatures = metadata["signature_def"]["signature_def"]
        outputs = signatures.get(signature, {"outputs": {}})["outputs"]
        dtypes = {name: dtype_of(info["dtype"]) for name, info in outputs.items()}
        if not _fits(answer, dtypes):
            raise self._busy("another version came up between question and answer")
        self._dtypes[path, signature] = dtypes
        return dtypes

    def _call(
        self, method: str, path: str, body: bytes | None, deadline: float, key: str
    ) -> Any:
        """What the server answers under a key, out of JSON."""
        status, content = self._exchange(method, path, body, deadline)
        answer = _object(content)
        if status == 200 and key in answer:
            return answer[key]
        self._refuse(status, answer.get("error", answer))

    def _refuse(self, status: int, reason: object) -> NoReturn:
        if status in _BUSY:
            raise self._busy(f"{status}, {reason}")
        if status == _LATE:
            raise self._late()
        if status == 400:
            raise ValueError(str(reason))
        if status == 404:
            raise LookupError(str(reason))
        raise RuntimeError(f"{self._where} failed with status {status}: {reason}")

    def _exchange(
        self, method: str, path: str, body: bytes | None, deadline: float
    ) -> tuple[int, bytes]:
        """Status and content, on an open connection if there is one."""
        while (connection := self._take()) is not None:
            try:
                return self._send(connection, method, path, body, deadline)
            except Unavailable:
                # The server may close what was idle; that says nothing of the server.
                continue
        return self._send(self._connection(), method, path, body, deadline)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        deadline: float,
    ) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"}
        done = False
        try:
            connection.timeout = self._left(deadline)
            if connection.sock is None:
                connection.connect()
            # A response that ends with its connection takes the socket along.
            socket = connection.sock
            socket.settimeout(self._left(deadline))
            connection.request(method, path, body, headers)
            socket.settimeout(self._left(deadline))
            response = connection.getresponse()
            content = self._read(response, socket, deadline)
            done = True
            return response.status, content
        except TimeoutError as error:
            raise self._late() from error
        except ssl.SSLCertVerificationError as error:
            raise ConnectionError(f"{self._where} is not trusted: {error}") from error
        except (OSError, http.client.HTTPException) as error:
            raise self._busy(str(error) or type(error).__name__) from error
        finally:
            if done and not self._closed:
                self._idle.put(connection)
            else:
                connection.close()

    def _read(
        self, response: http.client.HTTPResponse, socket: Any, deadline: float
    ) -> bytes:
        """The content, however slowly it comes, as long as there is time."""
        parts = []
        # The length that is left; None if the end shows otherwise.
        while response.length != 0:
            socket.settimeout(self._left(deadline))
            parts.append(response.read1(_CHUNK))
            if not parts[-1]:
                break
        response.close()
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        return b"".join(parts)

    def _left(self, deadline: float) -> float:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _take(self) -> http.client.HTTPConnection | None:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return None


def _object(content: bytes) -> dict[str, Any]:
    """An object out of JSON; anything else tells what went wrong."""
    try:
        answer = json.loads(content)
    except ValueError:
        answer = content.decode(errors="replace").strip()
    return answer if isinstance(answer, dict) else {"error": answer}


def _fits(answer: Any, dtypes: dict[str, np.dtype]) -> bool:
    """Whether an answer is of these outputs."""
    if isinstance(answer, dict):
        return len(answer) > 1 and set(answer) == set(dtypes)
    return len(dtypes) == 1
