"""Warm-up requests, and that a server will take them."""

import json

import keras
import pytest
import tensorflow as tf

from export import export_saved_model, saved_model, warmup
from export.prediction_logs import parse_prediction_log, prediction_log
from export.warmup import FILE, replay, requests_for, write_warmup

SHAPE = (2, 3, 1)
SIGNATURES = ("serving_default", "predict_bytes", "explain")


def flat():
    return keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten()])


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """A version without warm-up requests."""
    folder = tmp_path_factory.mktemp("served") / "net"
    return export_saved_model(flat(), folder, signatures=SIGNATURES)


@pytest.fixture(scope="module")
def loaded(version):
    return tf.saved_model.load(version)


def records(path):
    return list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())


def write(path, *logs):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log)
    return path


def good(count=1):
    return {"images": tf.fill([count, *SHAPE], 0.5)}


def test_each_signature_gets_a_request_of_each_size(loaded):
    requests = list(requests_for(loaded, (1, 3)))
    assert [name for name, _ in requests] == [*loaded.signatures] * 2
    for index, (name, request) in enumerate(requests):
        specs = loaded.signatures[name].structured_input_signature[1]
        assert set(request) == set(specs)
        for key, tensor in request.items():
            assert specs[key].is_compatible_with(tensor)
            assert tensor.shape[0] == (1 if index < len(SIGNATURES) else 3)
        for answer in loaded.signatures[name](**request).values():
            assert tensor.shape[0] == answer.shape[0]


def test_the_file_holds_the_requests(version, loaded, tmp_path):
    folder = tmp_path / "net" / "1"
    tf.io.gfile.makedirs(str(folder))
    tf.saved_model.save(loaded, str(folder), dict(loaded.signatures))
    path = write_warmup(folder, "net", (2, 5))
    assert path == folder / "assets.extra" / "tf_serving_warmup_requests"
    logs = [parse_prediction_log(record) for record in records(path)]
    assert sorted(log.signature for log in logs) == sorted(SIGNATURES * 2)
    assert {log.model_name for log in logs} == {"net"}
    assert replay(path, loaded) == 2 * len(SIGNATURES)


def refused():
    whole = prediction_log("net", "serving_default", good())
    too_bright = {"images": tf.fill([1, *SHAPE], 255.0)}
    doubles = {"images": tf.fill([1, *SHAPE], tf.constant(0.5, tf.float64))}
    return {
        "no log of a prediction": (b"\x0a\x00", "not a log of a prediction"),
        "cut": (whole[:-1], "cut short"),
        "of no signature": (prediction_log("net", "fly", good()), "no signature fly"),
        "without its tensors": (prediction_log("net", "explain", good()), "takes"),
        "of another type": (
            prediction_log("net", "serving_default", doubles),
            "Type mismatch",
        ),
        "that the graph refuses": (
            prediction_log("net", "serving_default", too_bright),
            "must lie in [0, 1]",
        ),
    }


@pytest.mark.parametrize("what", refused())
def test_a_record_that_keeps_a_model_from_coming_up_is_found(what, loaded, tmp_path):
    bad, reason = refused()[what]
    whole = prediction_log("net", "serving_default", good())
    path = write(tmp_path / "requests", whole, bad)
    with pytest.raises(ValueError) as error:
        replay(path, loaded)
    start = "`path` must hold requests that the model answers. Received: requests, "
    assert str(error.value).startswith(f"{start}record 2 (")
    assert reason in str(error.value)


def test_a_file_with_a_wrong_byte_is_found(loaded, tmp_path):
    path = write(
        tmp_path / "requests", prediction_log("net", "serving_default", good())
    )
    assert replay(path, loaded) == 1
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="`path` must hold requests"):
        replay(path, loaded)


def test_a_server_takes_a_thousand_records_and_no_more(
    loaded, version, tmp_path, monkeypatch
):
    with pytest.raises(ValueError) as error:
        write_warmup(version, "net", (1,) * 334)
    assert str(error.value) == (
        "`batch_sizes` must make 1 to 1000 requests. Received: 1002 requests"
    )
    with pytest.raises(ValueError, match="Received: 0 requests"):
        write_warmup(version, "net", ())
    assert not (version / FILE).exists()
    # The same of a file; a thousand answers would take a while.
    monkeypatch.setattr(warmup, "MAX_RECORDS", 4)
    log = prediction_log("net", "serving_default", good())
    path = write(tmp_path / "requests", *[log] * 4)
    assert replay(path, loaded) == 4
    write(path, *[log] * 5)
    with pytest.raises(ValueError, match="more than 4 records"):
        replay(path, loaded)


def test_a_version_has_its_requests_when_it_appears(tmp_path, monkeypatch):
    """A server that looks between the two would serve a cold model, or none."""
    publish, seen = saved_model._publish, []

    def watched(written, *rest):
        seen.extend(record for record in records(written / FILE))
        return publish(written, *rest)

    monkeypatch.setattr(saved_model, "_publish", watched)
    folder = export_saved_model(flat(), tmp_path / "net", warmup=True)
    assert records(folder / FILE) == seen
    (log,) = map(parse_prediction_log, seen)
    assert (log.model_name, log.signature) == ("net", "serving_default")


def test_images_of_any_size_that_must_not_be_small(tmp_path):
    """The request is of a size that the network takes, and the model is folded."""
    image = keras.Input((None, None, 1))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(2, 40)(image))
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    folder = export_saved_model(keras.Model(image, x), tmp_path / "net", warmup=True)
    ((_, request),) = requests_for(tf.saved_model.load(folder))
    assert request["images"].shape == (1, 96, 96, 1)
    card = json.loads((folder / "assets.extra/model_card.json").read_text())
    assert card["serving"]["folded"] is True


def test_nothing_is_published_that_refuses_its_own_requests(tmp_path, monkeypatch):
    monkeypatch.setattr(warmup, "_gray", lambda *_: tf.fill([1, *SHAPE], 9.0))
    with pytest.raises(ValueError, match="`path` must hold requests"):
        export_saved_model(flat(), tmp_path / "net", warmup=True)
    assert list((tmp_path / "net").iterdir()) == []
