"""Short messages between the workers of a run, one JSON object a line."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import Any

# Flags are some kilobytes. Whoever sends more is no worker.
_LONGEST = 1 << 20
_RETRY_SECONDS = 0.2
# Without an answer for so long, the other machine is gone: 10 + 3 * 5 seconds.
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


class Link:
    """One end of a connection between two workers.

    Args:
        connection: The socket, which the link closes.

    Example:
        >>> one, other = socket.socketpair()
        >>> sender, receiver = Link(one), Link(other)
        >>> sender.send(index=1)
        >>> receiver.receive()
        {'index': 1}
        >>> sender.close()
        >>> receiver.receive() is None
        True
        >>> receiver.close()
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEPALIVE.items():
                if hasattr(socket, name):  # Not every system has all of them.
                    option = getattr(socket, name)
                    connection.setsockopt(socket.IPPROTO_TCP, option, value)

    def send(self, **message: Any) -> None:
        """Sends a message; whether it arrives is known only by an answer."""
        with contextlib.suppress(OSError):
            self._connection.settimeout(None)
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, seconds: float | None = None) -> dict[str, Any] | None:
        """The next message; `None` where none comes, or what comes is none.

        Args:
            seconds: How long to wait; `None` for as long as the connection stands.
        """
        end = None if seconds is None else time.monotonic() + seconds
        while b"\n" not in self._received:
            if len(self._received) > _LONGEST:
                return None
            try:
                left = None if end is None else max(end - time.monotonic(), 0.001)
                self._connection.settimeout(left)
                more = self._connection.recv(1 << 16)
            except OSError:  # Timed out, reset, or closed here.
                return None
            if not more:
                return None
            self._received += more
        line, _, self._received = self._received.partition(b"\n")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):  # The second by brackets in brackets.
            return None
        return message if isinstance(message, dict) else None

    def close(self) -> None:
        """Ends the connection, at once and for both."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


def connect(host: str, port: int, seconds: float) -> Link | None:
    """A connection to who listens there, now or within a time; else `None`.

    Args:
        host: Name or address.
        port: Of TCP.
        seconds: How long to try.
    """
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            return Link(socket.create_connection((host, port), timeout=left))
        except OSError:  # Also a name that is not known yet, as a pod's is at first.
            time.sleep(min(_RETRY_SECONDS, left))
    return None
