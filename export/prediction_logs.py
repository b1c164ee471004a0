"""Requests as PredictionLog messages, the records of TensorFlow Serving's warm-up file.

protobuf writes and reads them. The five messages are declared here, with the fields
that a request has and their numbers in tensorflow_serving/apis, so that exporting needs
no package of TensorFlow Serving.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2

# Of its own: tensorflow_serving may be imported beside it.
_PACKAGE = "tfrobust_export"
_FIELD = descriptor_pb2.FieldDescriptorProto
_TENSOR = tensor_pb2.TensorProto.DESCRIPTOR
# Of each message its fields by name: number and type, a message's by its name. A map is
# a list of its entries, and written as such it keeps their order.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "ModelSpec": {"name": (1, ""), "signature_name": (3, "")},
    "Input": {"key": (1, ""), "value": (2, f".{_TENSOR.full_name}")},
    "PredictRequest": {
        "model_spec": (1, f".{_PACKAGE}.ModelSpec"),
        "inputs": (2, f".{_PACKAGE}.Input"),
    },
    "PredictLog": {"request": (1, f".{_PACKAGE}.PredictRequest")},
    "PredictionLog": {"predict_log": (6, f".{_PACKAGE}.PredictLog")},
}
_REPEATED = "inputs"

Request = Mapping[str, tf.Tensor]
"""Tensors by name."""


class Log(NamedTuple):
    """A PredictionLog as it was read.

    Attributes:
        model_name: What the server calls the model.
        signature: Name of the signature.
        inputs: TensorProto messages by name, serialised.
    """

    model_name: str
    signature: str
    inputs: dict[str, bytes]


def prediction_log(model_name: str, signature: str, request: Request) -> bytes:
    """A PredictionLog message with a PredictRequest.

    Args:
        model_name: What the server calls the model.
        signature: Name of the signature.
        request: Tensors by name.

    Returns:
        The message, serialised.

    Example:
        >>> log = prediction_log("net", "explain", {"classes": tf.constant([-1])})
        >>> log[:1].hex(), parse_prediction_log(log).signature
        ('32', 'explain')
    """
    log = _PredictionLog()
    written = log.predict_log.request
    written.model_spec.name = model_name
    written.model_spec.signature_name = signature
    for name, tensor in request.items():
        proto = tf.io.serialize_tensor(tensor).numpy()
        written.inputs.add(key=name).value.ParseFromString(proto)
    return log.SerializeToString()


def parse_prediction_log(message: bytes) -> Log:
    """What `prediction_log` wrote.

    Args:
        message: The message, serialised.

    Returns:
        Name of the model, name of the signature, and the tensors as TensorProto.

    Raises:
        ValueError: If it is no such message.

    Example:
        >>> parse_prediction_log(prediction_log("net", "explain", {}))
        Log(model_name='net', signature='explain', inputs={})
    """
    try:
        log = _PredictionLog.FromString(message)
    except DecodeError as error:
        raise ValueError("not a message of this kind, or cut short") from error
    if not log.HasField("predict_log"):
        raise ValueError("not a log of a prediction")
    request = log.predict_log.request
    spec = request.model_spec
    if not (spec.name and spec.signature_name):
        raise ValueError("a request names its model and its signature")
    inputs = {entry.key: entry.value.SerializeToString() for entry in request.inputs}
    return Log(spec.name, spec.signature_name, inputs)


def _declared() -> Any:
    """The class of PredictionLog messages."""
    file = descriptor_pb2.FileDescriptorProto(
        name="export/prediction_logs.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[_TENSOR.file.name],
    )
    for message, fields in _MESSAGES.items():
        declared = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            declared.field.add(
                name=name,
                number=number,
                label=_FIELD.LABEL_REPEATED
                if name == _REPEATED
                else _FIELD.LABEL_OPTIONAL,
                type=_FIELD.TYPE_MESSAGE if kind else _FIELD.TYPE_STRING,
                type_name=kind or None,
            )
    # The pool that has TensorProto.
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    descriptor = pool.FindMessageTypeByName(f"{_PACKAGE}.PredictionLog")
    return message_factory.GetMessageClass(descriptor)


_PredictionLog = _declared()
