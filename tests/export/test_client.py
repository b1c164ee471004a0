"""The clients against real servers on loopback, good ones and bad ones."""

import contextlib
import io
import socket
import struct
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import client as client_module
from export import export_saved_model
from export.client import GrpcClient, RestClient
from tests.export import servers
from tests.export.servers import NAME, VERSION, Script

SHAPE = (2, 3, 1)
LABELS = list("abcde") + ["\u00e9"]


class Odd(tf.Module):
    """Signatures with what an exported model does not answer."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def echo(self, image_bytes):
        return {"echo_bytes": image_bytes}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def kinds(self, x):
        return {
            "truth": x > 0,
            "long": tf.cast(x, tf.int64) * 2**40,
            "short": tf.cast(x, tf.int32),
            "log": tf.math.log(x),
            "scalar": tf.reduce_sum(x),
        }


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A model whose logits are its pixels, to the last bit."""
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten()])
    folder = tmp_path_factory.mktemp("served") / NAME
    return tf.saved_model.load(
        export_saved_model(
            model, folder, LABELS, signatures=("serving_default", "predict_bytes")
        )
    )


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    model, folder = Odd(), str(tmp_path_factory.mktemp("odd"))
    signatures = {"echo": model.echo, "kinds": model.kinds}
    tf.saved_model.save(model, folder, signatures)
    return tf.saved_model.load(folder)


class Kind:
    """A protocol: its client, its server and its words for a status."""

    def __init__(self, client, server, busy, failed):
        self.client, self.server = client, server
        self.busy, self.failed = busy, failed

    def where(self, port):
        return (
            f"http://127.0.0.1:{port}"
            if self.client is RestClient
            else f"127.0.0.1:{port}"
        )


@pytest.fixture(params=["rest", "grpc"])
def kind(request):
    if request.param == "rest":
        return Kind(RestClient, servers.rest, [503, 429], 500)
    codes = pytest.importorskip("grpc").StatusCode
    pytest.importorskip("tensorflow_serving.apis")
    busy = [codes.UNAVAILABLE, codes.RESOURCE_EXHAUSTED]
    return Kind(GrpcClient, servers.grpc, busy, codes.INTERNAL)


def pixels(count=4, seed=0):
    return np.random.default_rng(seed).random((count, *SHAPE), np.float32)


def png(level, *extra):
    """A 2x3 image of one grey, as a file, encoded by hand."""

    def chunk(name, content):
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    head = struct.pack(">IIBBBBB", SHAPE[1], SHAPE[0], 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + bytes([level] * SHAPE[1]) for _ in range(SHAPE[0]))
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


@contextlib.contextmanager
def served(kind, loaded, script=None, **settings):
    """A client of a server that follows the script."""
    with kind.server(loaded, script or Script()) as where:
        with kind.client(where, NAME, **settings) as client:
            yield client


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_every_bit_of_a_float_arrives_and_comes_back(kind, loaded):
    images = pixels()
    # The least number there is, the least normal one, neighbours of 0.1 and of 1.
    images.flat[:6] = 1e-45, 1.1754944e-38, 0.1, np.nextafter(np.float32(0.1), 1), 1, 0
    images.flat[6] = np.nextafter(np.float32(1), 0)
    with served(kind, loaded) as client:
        answer = client.predict({"images": images})
        pinned = client.predict({"images": images}, version=VERSION)
    assert answer["logits"].tobytes() == images.tobytes()
    assert pinned["logits"].tobytes() == images.tobytes()


def test_types_and_names_are_those_of_the_model(kind, loaded, odd):
    images = pixels()
    direct = servers.run(loaded, "serving_default", {"images": images})
    with served(kind, loaded) as client:
        answer = client.predict({"images": images})
    assert set(answer) == {"logits", "probabilities", "classes", "labels"}
    for name, value in direct.items():
        assert (answer[name].dtype, answer[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(answer[name], value)
    with served(kind, odd) as client:
        found = client.predict({"x": np.float32([2, 0, 3])}, "kinds")
    assert found["truth"].dtype == bool and found["truth"].tolist() == [1, 0, 1]
    assert found["long"].dtype == np.int64
    assert found["long"].tolist() == [2**41, 0, 3 * 2**40]
    assert found["short"].dtype == np.int32
    assert found["log"][1] == -np.inf
    assert found["scalar"].shape == () and found["scalar"] == 5


def test_files_arrive_byte_for_byte(kind, loaded, odd):
    # NumPy's strings would drop the zeros at the end, UTF-8 the first byte.
    files = [b"\xff\0a\0\0", b"", b"longer than the others"]
    with served(kind, odd) as client:
        for sent in (files, np.array(files, object)):
            # The only output keeps its name, which REST leaves out.
            found = client.predict({"image_bytes": sent}, "echo")
            assert list(found) == ["echo_bytes"]
            assert found["echo_bytes"].tolist() == files
    with served(kind, loaded) as client:
        found = client.predict({"image_bytes": [png(51), png(255)]}, "predict_bytes")
    expected = np.float32([[0.2], [1.0]]) * np.ones([2, 6], np.float32)
    np.testing.assert_allclose(found["logits"], expected, rtol=1e-6)


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
    monkeypatch.setattr(client_module.time, "sleep", pauses.append)
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
    client = kind.client(kind.where(free_port()), NAME, retries=1)
    with client, pytest.raises(ConnectionError, match="unavailable"):
        client.predict({"images": pixels()})


def test_a_server_that_starts_late_is_found(kind, loaded):
    port, stop = free_port(), threading.Event()

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
    ("settings", "told"),
    [
        ({"timeout": 0.0}, "`timeout` must be positive"),
        ({"timeout": float("nan")}, "`timeout` must be positive"),
        ({"retries": -1}, "`retries` must be at least 0"),
        ({"model": " "}, "`model` must be a name"),
    ],
)
def test_settings_are_checked(kind, settings, told):
    with pytest.raises(ValueError, match=told):
        kind.client(kind.where(1), **({"model": NAME} | settings))


@pytest.mark.parametrize("url", ["localhost:8501", "ftp://a", "http://", ""])
def test_a_url_has_a_scheme_and_a_host(url):
    with pytest.raises(ValueError, match="`url` must be http"):
        RestClient(url, NAME)


def test_an_address_has_no_scheme():
    with pytest.raises(ValueError, match="`address` must be HOST:PORT"):
        GrpcClient("http://localhost:8500", NAME)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_json_cannot_say_is_not_sent(loaded, bad):
    script = Script()
    images = pixels()
    images[2, 1, 1, 0] = bad
    with served(Kind(RestClient, servers.rest, [], 0), loaded, script) as client:
        with pytest.raises(ValueError, match="`inputs` must be finite.*images"):
            client.predict({"images": images})
    assert script.requests == script.connections == 0


def test_only_numbers_and_bytes_are_sent(kind, loaded):
    with served(kind, loaded) as client:
        with pytest.raises(ValueError, match="`inputs` must be numbers or bytes"):
            client.predict({"images": np.zeros(3, complex)})


def test_an_idle_connection_may_be_closed_by_the_server(loaded):
    """Without any retry: a fresh connection is none."""
    script = Script()

    def once(handler, status, content):
        servers.whole(handler, status, content)
        # Said to nobody: the client finds out when it sends.
        handler.close_connection = True

    with servers.rest(loaded, script, reply=once) as url:
        with RestClient(url, NAME, retries=0) as client:
            for _ in range(3):
                client.predict({"images": pixels()})
                time.sleep(0.5)  # until the end of the connection has come
    assert script.requests == 3


def test_an_answer_that_breaks_off_is_asked_for_again(loaded):
    script, broken = Script(), [True]

    def reply(handler, status, content):
        if broken.pop() if broken else False:
            handler.send_response(status)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content[: len(content) // 2])
            handler.close_connection = True
        else:
            servers.whole(handler, status, content)

    with servers.rest(loaded, script, reply=reply) as url:
        with RestClient(url, NAME, retries=1) as client:
            images = pixels()
            answer = client.predict({"images": images})
    np.testing.assert_array_equal(answer["logits"], images.reshape(4, -1))
    assert script.requests == 2


def test_an_answer_that_trickles_is_cut_off(loaded):
    """Each byte comes in time; all of them would not."""

    def reply(handler, status, content):
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        with contextlib.suppress(OSError):
            for byte in content[:40]:
                handler.wfile.write(bytes([byte]))
                time.sleep(0.1)

    with servers.rest(loaded, Script(), reply=reply) as url:
        with RestClient(url, NAME, timeout=0.5) as client:
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                client.predict({"images": pixels()})
            assert time.monotonic() - began < 3


def test_an_answer_in_chunks_is_put_together(loaded):
    def reply(handler, status, content):
        handler.send_response(status)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for part in (content[:7], content[7:], b""):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))

    with servers.rest(loaded, Script(), reply=reply) as url:
        with RestClient(url, NAME, retries=0) as client:
            for _ in range(2):
                images = pixels()
                answer = client.predict({"images": images})["logits"]
                np.testing.assert_array_equal(answer, images.reshape(4, -1))


@pytest.mark.parametrize("content", [b"<html>hello</html>", b'"outputs"', b"[1]"])
def test_a_server_of_something_else_is_told(content):
    class Other(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            """Nothing."""

        def setup(self):
            super().setup()
            self.rfile = io.BytesIO(self.request.recv(1 << 16))

    with servers.rest(None, Script(), handler=Other) as url:
        with RestClient(url, NAME, retries=0) as client:
            with pytest.raises(RuntimeError, match="failed with status 200"):
                client.predict({"images": pixels()})


def test_new_outputs_of_a_newer_version_are_noticed(loaded, odd):
    """The types that were asked for once are those of the version before."""
    script = Script()
    with servers.rest(odd, script) as url, RestClient(url, NAME) as client:
        client._dtypes[f"/v1/models/{NAME}", "kinds"] = {
            "log": np.dtype("float32"),
            "old": np.dtype("float32"),
        }
        found = client.predict({"x": np.float32([1])}, "kinds")
    assert set(found) == {"truth", "long", "short", "log", "scalar"}


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(ImportError) as error:
        GrpcClient("localhost:8500", NAME)
    assert str(error.value) == (
        'GrpcClient needs the extra packages of `pip install "tfrobust[serving]"`.'
    )
