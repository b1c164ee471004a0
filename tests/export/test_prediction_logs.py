"""The bytes of PredictionLog messages, by hand and as TensorFlow Serving has them."""

import numpy as np
import pytest
import tensorflow as tf

from export.prediction_logs import parse_prediction_log, prediction_log


def test_bytes_of_a_small_message_by_hand():
    """Tag, length and content of each field, from the inside out."""
    tensor = bytes.fromhex(
        "0803"  # dtype = DT_INT32
        "1204"
        "1202"
        "0801"  # tensor_shape { dim { size: 1 } }
        "2204"
        "05000000"  # tensor_content: 5, the lowest byte first
    )
    entry = b"\x0a\x01x" + b"\x12\x0e" + tensor  # key, value: 14 bytes
    spec = b"\x0a\x01m" + b"\x1a\x01s"  # name, signature_name
    request = b"\x0a\x06" + spec + b"\x12\x13" + entry  # model_spec, inputs
    predict = b"\x0a\x1d" + request  # PredictLog.request
    expected = b"\x32\x1f" + predict  # PredictionLog.predict_log
    assert len(tensor) == 14 and len(entry) == 0x13 and len(request) == 0x1D
    assert prediction_log("m", "s", {"x": tf.constant([5], tf.int32)}) == expected


@pytest.mark.parametrize("size", [1, 30, 40, 4000, 600_000])
def test_tensorflow_serving_reads_what_was_meant(size):
    """With lengths of one to three bytes, and names beyond ASCII."""
    messages = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    request = {
        "images": tf.random.stateless_uniform([size, 1], [1, 2]),
        "classes": tf.constant([-1, 3], tf.int32),
        "image_bytes": tf.constant([b"\xff\0", b""]),
    }
    log = messages.PredictionLog()
    log.ParseFromString(prediction_log("net\u00e9", "explain", request))
    read = log.predict_log.request
    assert log.WhichOneof("log_type") == "predict_log"
    spec = read.model_spec
    assert (spec.name, spec.signature_name) == ("net\u00e9", "explain")
    assert set(read.inputs) == set(request)
    for name, tensor in request.items():
        array = tf.make_ndarray(read.inputs[name])
        np.testing.assert_array_equal(array, tensor.numpy())
        assert array.dtype == tensor.numpy().dtype
    # And nothing else: it has nothing to add when it writes the message again.
    assert log.ByteSize() == len(prediction_log("net\u00e9", "explain", request))


def test_what_tensorflow_serving_writes_is_read():
    messages = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    log = messages.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = "net", "explain"
    request.model_spec.version.value = 3
    proto = tf.make_tensor_proto(np.float32([[1.5, -2.0]]))
    request.inputs["images"].CopyFrom(proto)
    parsed = parse_prediction_log(log.SerializeToString())
    assert (parsed.model_name, parsed.signature) == ("net", "explain")
    tensor = tf.io.parse_tensor(parsed.inputs["images"], tf.float32)
    assert tensor.numpy().tolist() == [[1.5, -2.0]]


def test_a_message_cut_short_anywhere_is_refused():
    whole = prediction_log("net", "explain", {"x": tf.fill([1, 2, 3, 1], 0.5)})
    for length in range(len(whole)):
        with pytest.raises(ValueError):
            parse_prediction_log(whole[:length])


@pytest.mark.parametrize(("model", "signature"), [("", "s"), ("m", "")])
def test_a_request_without_a_name_is_refused(model, signature):
    message = prediction_log(model, signature, {})
    with pytest.raises(ValueError) as error:
        parse_prediction_log(message)
    assert str(error.value) == "a request names its model and its signature"
