"""Every value arrives, in the type that it has."""

import numpy as np
import pytest

from tests.export import servers
from tests.export.client.common import pixels, png, served
from tests.export.servers import VERSION


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
        answer = client.predict({"x": np.float32([2, 0, 3])}, "kinds")
    assert answer["truth"].dtype == bool and answer["truth"].tolist() == [1, 0, 1]
    assert answer["long"].dtype == np.int64
    assert answer["long"].tolist() == [2**41, 0, 3 * 2**40]
    assert answer["short"].dtype == np.int32
    assert answer["log"][1] == -np.inf
    assert answer["scalar"].shape == () and answer["scalar"] == 5


def test_files_arrive_byte_for_byte(kind, loaded, odd):
    # NumPy's strings would drop the zeros at the end, UTF-8 the first byte.
    files = [b"\xff\0a\0\0", b"", b"longer than the others"]
    with served(kind, odd) as client:
        for sent in (files, np.array(files, object)):
            # The only output keeps its name, which REST leaves out.
            answer = client.predict({"image_bytes": sent}, "echo")
            assert list(answer) == ["echo_bytes"]
            assert answer["echo_bytes"].tolist() == files
    with served(kind, loaded) as client:
        answer = client.predict({"image_bytes": [png(51), png(255)]}, "predict_bytes")
    expected = np.float32([[0.2], [1.0]]) * np.ones([2, 6], np.float32)
    np.testing.assert_allclose(answer["logits"], expected, rtol=1e-6)


def test_only_numbers_and_bytes_are_sent(kind, loaded):
    with served(kind, loaded) as client:
        with pytest.raises(ValueError, match="`inputs` must be numbers or bytes"):
            client.predict({"images": np.zeros(3, complex)})
