"""TensorFlow Serving itself, where it is installed: over REST and gRPC with the client
of this project, at once, while a new version takes over from the old one.
"""

import json
import os
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import tensorflow as tf

from export import export_saved_model
from export.client import GrpcClient, RestClient
from export.signatures import NAMES
from tests.addresses import free_ports
from tests.serving import cases

pytestmark = pytest.mark.slow

BINARY = "tensorflow_model_server"


@pytest.fixture(scope="module")
def binary():
    """The server that TENSORFLOW_MODEL_SERVER names, or that is on the PATH."""
    named = os.environ.get("TENSORFLOW_MODEL_SERVER")
    found = shutil.which(named or BINARY)
    if found is None:
        place = f"{named} does not run" if named else f"{BINARY} is not on the PATH"
        pytest.skip(f"{place}; TENSORFLOW_MODEL_SERVER names one")
    return found


class Server:
    """A server of one folder of versions, on loopback.

    Args:
        binary: The program.
        folder: That holds the versions; its name is the model's.
        log: File for what it prints.
    """

    def __init__(self, binary, folder, log):
        grpc_port, rest_port = free_ports(2)
        self.address = f"127.0.0.1:{grpc_port}"
        self.url = f"http://127.0.0.1:{rest_port}"
        self.status = f"{self.url}/v1/models/{folder.name}"
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [
                    binary,
                    f"--port={grpc_port}",
                    f"--rest_api_port={rest_port}",
                    "--grpc_socket_path=",
                    f"--model_name={folder.name}",
                    f"--model_base_path={folder}",
                    "--file_system_poll_wait_seconds=1",
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "1"},
            )

    def states(self):
        """State of each version by its number."""
        try:
            with urllib.request.urlopen(self.status, timeout=5) as response:
                found = json.load(response)["model_version_status"]
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return {}
        return {int(one["version"]): one["state"] for one in found}

    def await_states(self, wanted, seconds=120):
        """Waits for these states of these versions."""
        until = time.monotonic() + seconds
        while not wanted.items() <= self.states().items():
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < until, (self.states(), self.log.read_text())
            time.sleep(0.2)

    def stop(self):
        """Ends the process."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def server(binary, model, tmp_path):
    """A server that serves version 1."""
    folder = tmp_path / "net"
    shutil.copytree(model(True), folder / "1")
    running = Server(binary, folder, tmp_path / "log")
    try:
        running.await_states({1: "AVAILABLE"})
        yield running
    finally:
        running.stop()


@pytest.fixture
def clients(server):
    """One of each kind; they may be used from many threads."""
    with (
        RestClient(server.url, "net", timeout=60) as rest,
        GrpcClient(server.address, "net", timeout=60) as grpc,
    ):
        yield {"rest": rest, "grpc": grpc}


@pytest.mark.parametrize("name", NAMES)
def test_answers_as_python(clients, model, name):
    """Over both protocols, to 1e-5."""
    _, inputs = cases.good(name)
    loaded = tf.saved_model.load(str(model(True)))
    tensors = {key: tf.constant(value) for key, value in inputs.items()}
    expected = loaded.signatures[name](**tensors)
    for client in clients.values():
        found = client.predict(inputs, name)
        assert set(found) == set(expected)
        for key, value in expected.items():
            if value.dtype == tf.string:
                assert found[key].tolist() == value.numpy().tolist()
                continue
            np.testing.assert_allclose(
                found[key], value, rtol=1e-5, atol=1e-5, err_msg=key
            )


def test_bad_requests_leave_it_running(server, clients):
    """Levels for pixels, NaN, a rank too few and too many, no image, broken files."""
    images = cases.good("serving_default")[1]["images"]
    wrong = [
        ("serving_default", {"images": other})
        for other in (255 * images, images[0], images[None], images[:, :, :0])
    ]
    wrong += [
        ("predict_bytes", {"image_bytes": [file]})
        for file in cases.broken_files().values()
    ]
    for name, inputs in wrong:
        for client in clients.values():
            with pytest.raises(ValueError):
                client.predict(inputs, name)
    with pytest.raises(ValueError):
        clients["grpc"].predict({"images": np.full_like(images, np.nan)})
    for client in clients.values():
        assert len(client.predict({"images": images})["classes"]) == len(images)
    assert server.process.poll() is None


def test_a_new_version_takes_over_under_load(server, clients, tmp_path):
    """No request fails, and each answer is that of one version or the other."""
    images = cases.good("serving_default")[1]["images"]
    old, new = cases.network(), cases.network()
    new.layers[-1].bias.assign_add([0.0, 1.0, 2.0, 3.0])
    logits = {1: old(images).numpy(), 2: new(images).numpy()}
    seen, failures, done = [], [], threading.Event()

    def ask(client):
        while not done.is_set():
            try:
                found = client.predict({"images": images})["logits"]
            except Exception as error:
                failures.append(error)
                continue
            near = [n for n in logits if np.allclose(found, logits[n], atol=1e-4)]
            seen.append(near[0] if near else None)

    threads = [
        threading.Thread(target=ask, args=(clients[kind],))
        for kind in ("rest", "grpc") * 3
    ]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1)
        written = export_saved_model(
            new,
            tmp_path / "net",
            cases.LABELS,
            signatures=NAMES,
            settings=cases.SETTINGS,
        )
        assert written.name == "2"
        server.await_states({1: "END", 2: "AVAILABLE"})
        time.sleep(1)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert set(seen) == {1, 2} and seen[-1] == 2
