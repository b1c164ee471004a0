"""Messages between workers, and what is none."""

import socket
import threading
import time

import pytest

from tfrobust.cli.links import Link, connect


@pytest.fixture
def ends():
    """Both ends of a connection over TCP: one raw, one a `Link`."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = connect("127.0.0.1", server.getsockname()[1], seconds=5)
        raw, _ = server.accept()
    yield raw, link
    raw.close()
    link.close()


def test_messages_come_whole_and_in_order(ends):
    """However the bytes are cut on their way."""
    raw, link = ends
    other = Link(raw)
    sent = [{"claims": {"--seed": "ü" * 40_000}}, {"go": True}, {"problem": None}]
    sender = threading.Thread(target=lambda: [other.send(**each) for each in sent])
    sender.start()
    assert [link.receive(5) for _ in sent] == sent
    sender.join()


def test_a_message_in_pieces(ends):
    """A line is a message when its end has come, not before."""
    raw, link = ends
    raw.sendall(b'{"index"')
    assert link.receive(0.05) is None
    raw.sendall(b": 1}\n{")
    assert link.receive(5) == {"index": 1}
    assert link.receive(0.05) is None


@pytest.mark.parametrize(
    "text",
    [
        *(b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b"1\n", b"\xff\xfe\n", b"\n"),
        b"[" * 100_000 + b"\n",
    ],
    ids=["HTTP", "list", "number", "bytes", "nothing", "brackets"],
)
def test_what_is_no_message(ends, text):
    """A health check, a scan, another program: as if nothing had come."""
    raw, link = ends
    raw.sendall(text)
    assert link.receive(1) is None


def test_a_message_without_an_end_is_given_up(ends):
    """At a megabyte or so, not when memory ends."""
    raw, link = ends
    sender = threading.Thread(target=raw.sendall, args=(b"x" * (3 << 20),), daemon=True)
    sender.start()
    before = time.monotonic()
    assert link.receive(60) is None
    assert time.monotonic() - before < 50


def test_the_end_of_the_other_is_the_end_of_waiting(ends):
    """Also for who waits without a limit, and nothing is raised by sending then."""
    raw, link = ends
    threading.Timer(0.1, raw.close).start()
    assert link.receive() is None
    for _ in range(3):
        link.send(left=True)


def test_nobody_listens():
    """For as long as was said, and no longer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    before = time.monotonic()
    assert connect("127.0.0.1", port, seconds=0.3) is None
    assert connect("no.such.host.invalid", port, seconds=0.1) is None
    assert 0.3 < time.monotonic() - before < 30


def test_who_comes_late_is_waited_for():
    """A port that opens within the time is found."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    opened = []
    opening = threading.Timer(
        0.5, lambda: opened.append(socket.create_server(("127.0.0.1", port)))
    )
    opening.start()
    link = connect("127.0.0.1", port, seconds=30)
    opening.join()
    assert link is not None
    link.close()
    opened[0].close()
