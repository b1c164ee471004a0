"""The clients against real servers on loopback, good ones and bad ones."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from export.client import base
from tests.addresses import free_ports
from tests.export.client.common import pixels, served
from tests.export.servers import NAME, VERSION, Script


def test_a_refused_request_is_told_and_not_repeated(kind, loaded):
    script = Script()
    with served(kind, loaded, script) as client:
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\] and hold no NaN"):
            client.predict({"images": pixels() * 255})
        with pytest.raises(ValueError):
            client.predict({"images": pixels()}, "no_such_signature")
    assert script.requests == 2


def test_an_unknown_model_or_version_is_told(kind, loaded):
    with kind.server(loaded, Script()) as where:
        with kind.client(where, "other") as client, pytest.raises(LookupError):
            client.predict({"images": pixels()})
        with kind.client(where, NAME) as client:
            with pytest.raises(LookupError, match="Servable not found"):
                client.predict({"images": pixels()}, version=VERSION + 1)


def test_a_busy_server_is_asked_again(kind, loaded):
    script = Script(kind.busy)
    with served(kind, loaded, script, retries=2) as client:
        assert client.predict({"images": pixels()})["logits"].shape == (4, 6)
    assert script.requests == 3


def test_tries_are_counted(kind, loaded):
    script = Script(kind.busy * 5)
    with served(kind, loaded, script, retries=1) as client:
        with pytest.raises(ConnectionError, match="unavailable: .*told to fail"):
            client.predict({"images": pixels()})
    assert script.requests == 2


def test_another_failure_is_not_repeated(kind, loaded):
    script = Script([kind.failed])
    with served(kind, loaded, script) as client:
        with pytest.raises(RuntimeError, match="told to fail"):
            client.predict({"images": pixels()})
    assert script.requests == 1


def test_pauses_double_and_vary(monkeypatch, kind, loaded):
    pauses = []
    monkeypatch.setattr(base.time, "sleep", pauses.append)
    with served(kind, loaded, Script(kind.busy * 2), retries=4) as client:
        client.predict({"images": pixels()})
    # The server's own pauses of no time at all are among them.
    pauses = [pause for pause in pauses if pause]
    assert len(pauses) == 4
    for tried, pause in enumerate(pauses):
        assert 0.05 * 2**tried <= pause <= 0.1 * 2**tried
    assert len({pause / 2**tried for tried, pause in enumerate(pauses)}) == 4


@pytest.mark.parametrize("slow", [True, False])
def test_the_deadline_holds_whatever_the_tries(kind, loaded, slow):
    script = Script(delay=4.0) if slow else Script(kind.busy * 100)
    with served(kind, loaded, script, timeout=1.0, retries=100) as client:
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="did not answer within 1 s"):
            client.predict({"images": pixels()})
        assert time.monotonic() - began < 3
    # A slow server gets one request, a busy one as many as the pauses let through.
    assert script.requests == 1 if slow else 1 <= script.requests <= 6


def test_no_server(kind):
    client = kind.client(kind.where(free_ports(1)[0]), NAME, retries=1)
    with client, pytest.raises(ConnectionError, match="unavailable"):
        client.predict({"images": pixels()})


def test_a_server_that_starts_late_is_found(kind, loaded):
    port, stop = free_ports(1)[0], threading.Event()

    def start():
        time.sleep(0.3)
        with kind.server(loaded, Script(), port):
            stop.wait(30)

    thread = threading.Thread(target=start)
    thread.start()
    try:
        with kind.client(kind.where(port), NAME, retries=20) as client:
            assert client.predict({"images": pixels()})["logits"].shape == (4, 6)
    finally:
        stop.set()
        thread.join()


def test_threads_share_a_client(kind, loaded):
    script = Script()
    with served(kind, loaded, script) as client:

        def ask(seed):
            images = pixels(seed=seed)
            return np.array_equal(
                client.predict({"images": images})["logits"], images.reshape(4, -1)
            )

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(ask, range(40)))
    assert script.requests == 40
    # One connection a thread, kept open. The server of gRPC does not count them.
    assert script.connections <= 8


def test_a_closed_client_says_so(kind, loaded):
    with served(kind, loaded) as client:
        client.predict({"images": pixels()})
    with pytest.raises(ValueError, match="`predict` must be called before `close`"):
        client.predict({"images": pixels()})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timeout": 0.0}, "`timeout` must be positive"),
        ({"timeout": float("nan")}, "`timeout` must be positive"),
        ({"retries": -1}, "`retries` must be at least 0"),
        ({"model": " "}, "`model` must be a name"),
    ],
)
def test_settings_are_checked(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind.client(kind.where(1), **({"model": NAME} | settings))
