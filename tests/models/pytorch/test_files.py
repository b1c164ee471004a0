"""Files of tensors, written here byte by byte or by those who made the format."""

import importlib.util
import json
import sys

import numpy as np
import pytest

from tfrobust.models.pytorch.files import read_file


def packed(header, numbers):
    """The bytes of a `.safetensors` file."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_npz(tmp_path):
    np.savez(tmp_path / "a.npz", **{"fc.weight": np.eye(2), "fc.bias": np.ones(2)})
    arrays = read_file(tmp_path / "a.npz")
    assert sorted(arrays) == ["fc.bias", "fc.weight"]
    np.testing.assert_array_equal(arrays["fc.weight"], np.eye(2))


def test_safetensors(tmp_path):
    """Every kind, in any order, with its shape; 1.5 is 0x3fc0 in bfloat16."""
    header = {
        "__metadata__": {"format": "pt"},
        "b": entry("BF16", [2], 12, 16),
        "a": entry("F32", [1, 3], 0, 12),
        "empty": entry("F16", [0, 4], 16, 16),
        "count": entry("I64", [], 16, 24),
        "half": entry("F16", [2, 1], 24, 28),
    }
    numbers = (
        np.array([1, -2, 0.1], "<f4").tobytes()
        + b"\xc0\x3f\x80\xbf"
        + np.int64(7).tobytes()
        + np.array([0.25, 3], "<f2").tobytes()
    )
    (tmp_path / "a.safetensors").write_bytes(packed(header, numbers))
    arrays = read_file(tmp_path / "a.safetensors")
    expected = {
        "a": np.float32([[1, -2, 0.1]]),
        "b": [1.5, -1.0],
        "empty": np.zeros((0, 4)),
        "count": 7,
        "half": [[0.25], [3]],
    }
    assert arrays.keys() == expected.keys()
    for name, value in expected.items():
        assert arrays[name].shape == np.shape(value)
        np.testing.assert_array_equal(arrays[name], value)


BROKEN = {
    "cut": (
        packed({"a": entry("F32", [3], 0, 12)}, b"1234"),
        "a reaches past the end of the file",
    ),
    "another size": (
        packed({"a": entry("F32", [3], 0, 8)}, b"12345678"),
        "a has 8 bytes, which are not [3]",
    ),
    "backwards": (
        packed({"a": entry("F32", [1], 8, 4)}, b"12345678"),
        "a reaches past the end of the file",
    ),
    "unknown kind": (
        packed({"a": entry("F4", [1], 0, 4)}, b"1234"),
        "a has the dtype F4",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file(tmp_path, name):
    content, problem = BROKEN[name]
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_file(path)
    assert str(error.value) == (
        "`state_dict` must be a file that PyTorch, safetensors or NumPy wrote. "
        f"Received: {path}, which does not load: {problem}"
    )


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors"])
def test_a_file_of_another_kind(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"not at all what the name says")
    with pytest.raises(ValueError, match="which does not load: ") as error:
        read_file(path)
    assert "\n" not in str(error.value)


def test_pickles_in_npz_are_not_run(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([{}], object))
    with pytest.raises(ValueError, match="does not load: Object arrays cannot be load"):
        read_file(tmp_path / "a.npz")


def test_pytorchs_own_without_pytorch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "a.pt"
    path.write_bytes(b"anything")
    with pytest.raises(ValueError) as error:
        read_file(path)
    assert str(error.value) == (
        "`state_dict` must be a file that PyTorch, safetensors or NumPy wrote. "
        f"Received: {path}, which does not load: PyTorch, which wrote it, is not "
        "installed (`pip install torch`; .npz and .safetensors files are read without "
        "it)"
    )


def test_what_safetensors_itself_writes(tmp_path):
    if importlib.util.find_spec("safetensors") is None:
        pytest.skip("safetensors is not installed; `make test-backends` has it")
    from safetensors.numpy import save_file

    arrays = {"a.b": np.random.default_rng(0).random((3, 4, 5)), "c": np.float32([1])}
    save_file(arrays, tmp_path / "a.safetensors")
    read = read_file(tmp_path / "a.safetensors")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
