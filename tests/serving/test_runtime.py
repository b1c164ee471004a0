"""The export in the C++ runtime that servers load it into, with oneDNN on: the answers
that Python gets, and a refusal where a server must neither crash nor answer.
"""

import platform
import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import export_saved_model
from export.inputs import FREE_NUMBERS
from export.limits import MAX_BATCH
from export.prediction_logs import prediction_log
from export.signatures import NAMES
from export.warmup import write_warmup
from tests import networks
from tests.serving import cases
from tests.serving.messages import encoded, read_answers, write_requests

pytestmark = pytest.mark.slow

WARMUP = "assets.extra/tf_serving_warmup_requests"


def replayed(run, folder, requests, scratch, threads=8):
    """The answers to requests that several threads sent at once; all got the same."""
    asked = write_requests(scratch / "requests", requests)
    done = run("replay", folder, asked, scratch / "answers", f"--threads={threads}")
    assert done == {"requests": len(requests), "threads": threads}
    return read_answers(scratch / "answers")


def assert_answered(answer, expected):
    """Floats to 1e-5 of the larger of 1 and the number, the rest to the letter."""
    assert answer.code == "OK", answer.message
    assert set(answer.tensors) == set(expected)
    for name, value in expected.items():
        found, value = answer.tensors[name], value.numpy()
        assert found.dtype == value.dtype and found.shape == value.shape, name
        if value.dtype == np.float32:
            np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(found, value, err_msg=name)


@pytest.mark.parametrize("folded", [False, True])
def test_every_signature_answers_as_in_python(run, model, tmp_path, folded):
    """One image and several, from 8 threads at once."""
    requests = [cases.good(name, count) for name in NAMES for count in (1, 5)]
    answers = replayed(run, model(folded), requests, tmp_path)
    loaded = tf.saved_model.load(str(model(folded)))
    for (name, inputs), answer in zip(requests, answers, strict=True):
        tensors = {key: tf.constant(value) for key, value in inputs.items()}
        assert_answered(answer, loaded.signatures[name](**tensors))


@pytest.fixture(scope="module")
def refusals(run, model, tmp_path_factory):
    """Bad requests with their answers, and those to a good request after each."""
    bad = [case for name in NAMES for case in cases.bad(name)]
    good = {name: cases.good(name, count=1) for name in NAMES}
    names = [case.request[0] if case.request[0] in good else NAMES[0] for case in bad]
    requests = [
        request
        for case, name in zip(bad, names, strict=True)
        for request in (case.request, good[name])
    ]
    folder = tmp_path_factory.mktemp("refusals")
    answers = replayed(run, model(True), requests, folder)
    loaded = tf.saved_model.load(str(model(True)))
    expected = {
        name: loaded.signatures[name](**{k: tf.constant(v) for k, v in inputs.items()})
        for name, (_, inputs) in good.items()
    }
    after = [expected[name] for name in names]
    return list(zip(bad, answers[::2], answers[1::2], after, strict=True))


def test_bad_requests_are_refused(refusals):
    """Each with the code that says whose mistake it is, and in words."""
    wrong = [
        (case.request[0], case.told, found.code, found.message[:200])
        for case, found, _, _ in refusals
        if found.code != case.code or not found.message
    ]
    assert wrong == []
    assert {case.request[0] for case, *_ in refusals} == {*NAMES, "predict"}
    assert len(refusals) > 300


def test_the_next_good_request_is_answered(refusals):
    """By the same process, as if nothing had been."""
    for _, _, following, expected in refusals:
        assert_answered(following, expected)


def test_images_of_any_size(run, tmp_path):
    """A network that takes them refuses too small ones, none and too much of one, and
    answers the next good request as Python does.
    """
    names = ("serving_default", "explain", "robustness")
    folder = export_saved_model(
        networks.free_size(4), tmp_path / "free", signatures=names
    )
    most = MAX_BATCH * FREE_NUMBERS // 3
    sizes = [(1, 1, 1), (1, 2, 9), (1, 0, 5), (0, 5, 5), (1, 1, most + 1)]
    numbers = {"explain": {"classes": -1}, "robustness": {"iterations": 2}}

    def asked(name, count, height, width):
        images = np.full([count, height, width, 3], 0.5, np.float32)
        more = numbers.get(name, {}).items()
        return name, {"images": images} | {
            key: np.full([count], value, np.int32) for key, value in more
        }

    good = {name: asked(name, 2, 7, 5) for name in names}
    requests = [
        request
        for name in names
        for size in sizes
        for request in (asked(name, *size), good[name])
    ]
    answers = replayed(run, folder, requests, tmp_path)
    assert {one.code for one in answers[::2]} == {"INVALID_ARGUMENT"}
    loaded = tf.saved_model.load(str(folder))
    for (name, inputs), found in zip(requests[1::2], answers[1::2], strict=True):
        tensors = {key: tf.constant(value) for key, value in inputs.items()}
        assert_answered(found, loaded.signatures[name](**tensors))


def test_a_graph_without_checks_takes_the_process_down(program, run, tmp_path):
    """So the refusals above are those of our checks, not of the runtime."""
    if platform.machine() != "x86_64":
        pytest.skip(f"oneDNN's convolution is of x86-64, not {platform.machine()}")
    net = cases.network()
    archive = keras.export.ExportArchive()
    archive.track(net)
    spec = [tf.TensorSpec([None, *cases.SHAPE], tf.float32, name="images")]
    archive.add_endpoint(
        "serving_default", lambda images: {"logits": net(images)}, input_signature=spec
    )
    archive.write_out(str(tmp_path / "bare"), verbose=False)
    image = np.zeros(cases.SHAPE, np.float32)
    asked = write_requests(
        tmp_path / "requests", [("serving_default", {"images": image})]
    )
    with pytest.raises(AssertionError, match=r"\(-6, "):
        run("replay", tmp_path / "bare", asked, tmp_path / "answers")


@pytest.fixture
def version(model, tmp_path):
    """A copy of the model, to be given warm-up files."""
    return shutil.copytree(model(True), tmp_path / "net" / "1")


def test_warmup_requests_run(run, version):
    """As export writes them, one for each signature at least."""
    write_warmup(version, "net")
    assert run("warmup", version)["requests"] >= len(NAMES)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([b"\x32\x05hello"], "not a PredictionLog"),
        ([encoded("predict", {})], "no signature predict"),
        (
            [
                encoded(*cases.good("smooth")),
                encoded("serving_default", {"images": np.full((1, 8, 6, 3), 9.0, "f")}),
            ],
            "record 1: .*images must lie in",
        ),
        ([encoded(*cases.good("serving_default"))] * 1001, "1001 records"),
    ],
    ids=["no message", "no signature", "refused", "too many"],
)
def test_bad_warmup_files_are_noticed(run, version, records, message):
    """Each would keep a server from coming up."""
    path = version / WARMUP
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    said = run("warmup", version, fails=True)
    assert re.search(message, said, re.DOTALL), said


@pytest.mark.parametrize("name", NAMES)
def test_the_export_writes_requests_as_they_are_declared_here(name):
    """Both declare the messages, each on its own."""
    _, inputs = cases.good(name)
    tensors = {key: tf.constant(value) for key, value in inputs.items()}
    assert prediction_log("net", name, tensors) == encoded(name, inputs)
