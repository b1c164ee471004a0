"""Predictions over gRPC."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from .arrays import Arrays, checked_array
from .base import Client


class GrpcClient(Client):
    """Predictions over gRPC, where a pixel costs its four bytes.

    Arrays are sent in the type that they have, and the server converts nothing: images
    float32, classes and iterations int32. A client may be used from many threads.

    Args:
        address: `HOST:PORT` of the server, such as `localhost:8500`.
        model: Name of the model.
        timeout: Seconds for a prediction with all its tries.
        retries: How often to try again, with pauses that grow, on UNAVAILABLE and
            RESOURCE_EXHAUSTED.
        credentials: Of `grpc.ssl_channel_credentials`; unencrypted without.

    Raises:
        ImportError: If the packages of the `serving` extra are missing.
        ValueError: If an argument cannot be.

    Example:
        >>> import numpy as np
        >>> images = np.zeros([1, 32, 32, 3], np.float32)
        >>> with GrpcClient("localhost:1", "lcnn", retries=0) as client:
        ...     try:
        ...         client.predict({"images": images})
        ...     except ConnectionError:
        ...         print("no server")
        no server
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        timeout: float = 10.0,
        retries: int = 3,
        credentials: Any = None,
    ) -> None:
        super().__init__(address, model, timeout, retries)
        if not address.strip() or "://" in address:
            raise ValueError(
                f"`address` must be HOST:PORT. Received: address={address!r}"
            )
        self._grpc, self._messages, services = _grpc_packages()
        options = [
            # A gradient for each of many images is more than the usual 4 MiB.
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            # By default it waits for longer than this client does between its tries.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]
        self._channel = (
            self._grpc.insecure_channel(address, options)
            if credentials is None
            else self._grpc.secure_channel(address, credentials, options)
        )
        self._stub = services.PredictionServiceStub(self._channel)

    def close(self) -> None:
        """Close the channel; requests in flight are cancelled."""
        self._closed = True
        self._channel.close()

    def _prepare(
        self, inputs: Mapping[str, Any], signature: str, version: int | None
    ) -> Callable[[float], Arrays]:
        import tensorflow as tf

        request = self._messages.PredictRequest()
        request.model_spec.name = self._model
        request.model_spec.signature_name = signature
        if version is not None:
            request.model_spec.version.value = version
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(
                tf.make_tensor_proto(checked_array(name, value))
            )

        def ask(deadline: float) -> Arrays:
            left = max(deadline - time.monotonic(), 0.0)
            try:
                outputs = self._stub.Predict(request, timeout=left).outputs
            except self._grpc.RpcError as error:
                self._refuse(error)
            return {name: tf.make_ndarray(outputs[name]) for name in outputs}

        return ask

    def _refuse(self, error: Any) -> NoReturn:
        codes, code, reason = self._grpc.StatusCode, error.code(), error.details()
        if code in (codes.UNAVAILABLE, codes.RESOURCE_EXHAUSTED):
            raise self._busy(f"{code.name}, {reason}") from error
        if code is codes.DEADLINE_EXCEEDED:
            raise self._late() from error
        # The same as HTTP's 400.
        bad = (codes.INVALID_ARGUMENT, codes.FAILED_PRECONDITION, codes.OUT_OF_RANGE)
        if code in bad:
            raise ValueError(reason) from error
        if code is codes.NOT_FOUND:
            raise LookupError(reason) from error
        raise RuntimeError(
            f"{self._where} failed with {code.name}: {reason}"
        ) from error


def _grpc_packages() -> tuple[Any, Any, Any]:
    """gRPC, TF Serving's messages and its services."""
    try:
        import grpc
        from tensorflow_serving.apis import (
            predict_pb2,
            prediction_service_pb2_grpc,
        )
    except ImportError as error:
        raise ImportError(
            'GrpcClient needs the extra packages of `pip install "tfrobust[serving]"`.'
        ) from error
    return grpc, predict_pb2, prediction_service_pb2_grpc
