"""Requests as files for the C++ program, and its answers.

The messages are declared here with the field numbers of tensorflow_serving/apis, and
without a look at those of export.prediction_logs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import named_tensor_pb2

_PACKAGE = "tfrobust_tests"
_FIELD = descriptor_pb2.FieldDescriptorProto
_STRING, _INT = _FIELD.TYPE_STRING, _FIELD.TYPE_INT32
_CODES = {getattr(tf.errors, name): name for name in dir(tf.errors) if name.isupper()}
# Of each message the fields by name: number and type, a message's by its name, and a
# list's in brackets. A map is a list of its entries.
_MESSAGES: dict[str, dict[str, tuple[int, Any]]] = {
    "ModelSpec": {"name": (1, _STRING), "signature_name": (3, _STRING)},
    "Input": {"key": (1, _STRING), "value": (2, tensor_pb2.TensorProto)},
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, ["Input"])},
    "PredictLog": {"request": (1, "PredictRequest")},
    "PredictionLog": {"predict_log": (6, "PredictLog")},
    # Of TensorFlow's RunStepResponse, which its Python package leaves out.
    "Answer": {
        "tensors": (1, [named_tensor_pb2.NamedTensorProto]),
        "code": (3, _INT),
        "message": (4, _STRING),
    },
}

Request = tuple[str, Mapping[str, Any]]
"""Name of a signature, and its inputs: arrays or TensorProto messages."""


class Answer(NamedTuple):
    """What the program got for a request.

    Attributes:
        code: `OK`, or the name of an error.
        message: Of that error.
        tensors: Arrays by name, none after an error.
    """

    code: str
    message: str
    tensors: dict[str, np.ndarray]


def write_requests(path: Path, requests: Iterable[Request]) -> Path:
    """Writes a TFRecord file of PredictionLog messages."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            writer.write(encoded(signature, inputs))
    return path


def encoded(signature: str, inputs: Mapping[str, Any]) -> bytes:
    """A PredictionLog of one request."""
    log = _message("PredictionLog")()
    request = log.predict_log.request
    request.model_spec.name = "net"
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        entry = request.inputs.add(key=name)
        if not isinstance(value, tensor_pb2.TensorProto):
            value = tf.make_tensor_proto(value)
        entry.value.CopyFrom(value)
    return log.SerializeToString()


def read_answers(path: Path) -> list[Answer]:
    """The answers that `replay` wrote, in the order of the requests."""
    answers = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        found = _message("Answer").FromString(record)
        tensors = {one.name: tf.make_ndarray(one.tensor) for one in found.tensors}
        answers.append(Answer(_CODES[found.code], found.message, tensors))
    return answers


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(
        _POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}")
    )


def _declared() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(
        name="tests/serving.proto", package=_PACKAGE, syntax="proto3"
    )
    pool = descriptor_pool.Default()
    for message, fields in _MESSAGES.items():
        declared = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            field = declared.field.add(name=name, number=number)
            field.label = (
                _FIELD.LABEL_REPEATED
                if isinstance(kind, list)
                else _FIELD.LABEL_OPTIONAL
            )
            kind = kind[0] if isinstance(kind, list) else kind
            if isinstance(kind, int):
                field.type = kind
                continue
            field.type = _FIELD.TYPE_MESSAGE
            if isinstance(kind, str):
                field.type_name = f".{_PACKAGE}.{kind}"
                continue
            field.type_name = f".{kind.DESCRIPTOR.full_name}"
            if kind.DESCRIPTOR.file.name not in file.dependency:
                file.dependency.append(kind.DESCRIPTOR.file.name)
    pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _declared()
