"""Servers with TF Serving's protocols around a SavedModel, and with faults on demand.

The REST one follows tensorflow_serving/util/json_tensor.cc: columns in, columns out,
the name of an only output left out, bytes of NAME_bytes in base64, other strings
plain, floats by their shortest digits with a point, NaN as such.
"""

import base64
import contextlib
import json
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import tensorflow as tf

NAME, VERSION = "net", 7


class Script:
    """What a server does before it answers as it should, and what it has seen.

    Args:
        failures: Statuses of the first answers, in order.
        delay: Seconds before each answer.
    """

    def __init__(self, failures=(), delay=0.0):
        self.failures = list(failures)
        self.delay = delay
        self.requests = 0
        self.connections = 0
        self._lock = threading.Lock()

    def next_failure(self):
        """The status to fail with, or None; waits as told."""
        with self._lock:
            self.requests += 1
            failure = self.failures.pop(0) if self.failures else None
        time.sleep(self.delay)
        return failure


def run(loaded, signature, arrays):
    """What the model answers to arrays, by name."""
    function = loaded.signatures[signature]
    specs = function.structured_input_signature[1]
    tensors = {k: tf.constant(arrays[k], spec.dtype) for k, spec in specs.items()}
    return {name: value.numpy() for name, value in function(**tensors).items()}


def written(value, as_bytes):
    """A value as TF Serving writes it, before it is JSON."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()} if as_bytes else value.decode()
    if isinstance(value, np.floating):
        return float(str(value))
    return value.item()


def nested(array, as_bytes):
    if array.ndim == 0:
        return written(array[()], as_bytes)
    return [nested(np.asarray(row, array.dtype), as_bytes) for row in array]


def read(value):
    """Nested lists with b64 objects as nested lists of bytes and numbers."""
    if isinstance(value, list):
        return [read(item) for item in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def metadata(loaded):
    def infos(tensors):
        return {
            name: {"dtype": f"DT_{spec.dtype.as_numpy_dtype().dtype.name.upper()}"}
            if spec.dtype not in (tf.string, tf.float32)
            else {"dtype": "DT_STRING" if spec.dtype == tf.string else "DT_FLOAT"}
            for name, spec in tensors.items()
        }

    signatures = {
        name: {"outputs": infos(function.structured_outputs)}
        for name, function in loaded.signatures.items()
    }
    return {"metadata": {"signature_def": {"signature_def": signatures}}}


class Handler(BaseHTTPRequestHandler):
    """One connection; `server` has the model and the script."""

    protocol_version = "HTTP/1.1"
    # Headers and body go out one after the other, and must not wait for each other.
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.server.script.connections += 1

    def log_message(self, *args):
        """Nothing."""

    def do_GET(self):
        self._reply(200, metadata(self.server.loaded))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        failure = self.server.script.next_failure()
        if failure is not None:
            self._reply(failure, {"error": f"told to fail with {failure}"})
            return
        places = (f"/v1/models/{NAME}", f"/v1/models/{NAME}/versions/{VERSION}")
        if self.path not in [f"{place}:predict" for place in places]:
            self._reply(404, {"error": f"Servable not found for request: {self.path}"})
            return
        try:
            arrays = {name: read(value) for name, value in body["inputs"].items()}
            outputs = run(self.server.loaded, body["signature_name"], arrays)
        except (tf.errors.InvalidArgumentError, KeyError, ValueError) as error:
            self._reply(400, {"error": str(error)})
            return
        columns = {k: nested(v, k.endswith("_bytes")) for k, v in outputs.items()}
        only = next(iter(columns.values()))
        self._reply(200, {"outputs": columns if len(columns) > 1 else only})

    def _reply(self, status, content):
        self.server.reply(self, status, json.dumps(content).encode())


def whole(handler, status, content):
    """Send all of an answer at once."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


@contextlib.contextmanager
def rest(loaded, script, port=0, handler=Handler, reply=whole):
    """A REST server on loopback; yields its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.loaded, server.script, server.reply = loaded, script, reply
    thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def grpc(loaded, script, port=0):
    """A gRPC server on loopback; yields its address."""
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            failure = script.next_failure()
            if failure is not None:
                context.abort(failure, f"told to fail with {failure.name}")
            spec = request.model_spec
            if spec.name != NAME or spec.version.value not in (0, VERSION):
                context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found")
            arrays = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
            try:
                outputs = run(loaded, spec.signature_name, arrays)
            except (tf.errors.InvalidArgumentError, KeyError, ValueError) as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            response = predict_pb2.PredictResponse()
            for name, value in outputs.items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            return response

    server = grpc.server(futures.ThreadPoolExecutor(16))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Service(), server
    )
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        server.stop(None).wait()
