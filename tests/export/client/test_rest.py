"""HTTP as servers speak it: connections, chunks, and other things than answers."""

import contextlib
import io
import time
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest

from export.client import RestClient
from tests.export import servers
from tests.export.client.common import Kind, pixels, served
from tests.export.servers import NAME, Script


@pytest.mark.parametrize("url", ["localhost:8501", "ftp://a", "http://", ""])
def test_a_url_has_a_scheme_and_a_host(url):
    with pytest.raises(ValueError, match="`url` must be http"):
        RestClient(url, NAME)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_json_cannot_say_is_not_sent(loaded, bad):
    script = Script()
    images = pixels()
    images[2, 1, 1, 0] = bad
    with served(Kind(RestClient, servers.rest, [], 0), loaded, script) as client:
        with pytest.raises(ValueError, match="`inputs` must be finite.*images"):
            client.predict({"images": images})
    assert script.requests == script.connections == 0


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
        answer = client.predict({"x": np.float32([1])}, "kinds")
    assert set(answer) == {"truth", "long", "short", "log", "scalar"}
