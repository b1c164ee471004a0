"""The tensors of a network, whatever they are wrapped in."""

import types

import numpy as np
import pytest

from tfrobust.models.pytorch.state import read_state

KERNEL = np.arange(6.0).reshape(2, 3)


def tensor(array, floating=True):
    """What PyTorch's tensors can do, without PyTorch."""
    one = types.SimpleNamespace(is_floating_point=lambda: floating)
    one.detach = one.cpu = one.float = lambda: one
    one.numpy = lambda: np.asarray(array)
    return one


@pytest.mark.parametrize(
    "wrap",
    [
        lambda names: names,
        lambda names: {"state_dict": names, "epoch": 7},
        lambda names: {"model_state_dict": names, "optimizer": {"state": {}}},
        lambda names: {"model": names, "args": "whatever"},
        lambda names: {"net": {"state_dict": names}, "acc": 0.9},
        lambda names: types.SimpleNamespace(state_dict=lambda: names),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.module.model."])
def test_wrappers_and_prefixes(wrap, prefix):
    names = {f"{prefix}fc.weight": KERNEL, f"{prefix}fc.bias": tensor([1.0, 2.0])}
    state = read_state(wrap(names))
    assert list(state.tensors) == ["fc.weight", "fc.bias"]
    np.testing.assert_array_equal(state.tensors["fc.weight"], KERNEL)
    np.testing.assert_array_equal(state.tensors["fc.bias"], [1.0, 2.0])
    assert state.statistics is None


def test_counts_of_batches_are_left_out():
    names = {"bn1.num_batches_tracked": tensor(7, floating=False), "bn1.bias": KERNEL}
    assert list(read_state(names).tensors) == ["bn1.bias"]


@pytest.mark.parametrize(
    ("mean", "deviation", "first"),
    [
        ("mu", "sigma", "conv1.weight"),
        ("module.mu", "module.sigma", "module.conv1.weight"),
        ("mean", "std", "conv1.weight"),
        ("normalize.mean", "normalize.std", "model.conv1.weight"),
        ("normalizer.new_mean", "normalizer.new_std", "model.conv1.weight"),
        ("0.mean", "0.std", "1.conv1.weight"),
        ("module.0.mu", "module.0.sigma", "module.1.module.conv1.weight"),
    ],
)
def test_statistics_of_pixels(mean, deviation, first):
    """Wherever they are kept, with the network behind them."""
    shape = (1, 3, 1, 1)
    names = {
        mean: np.reshape([0.1, 0.2, 0.3], shape),
        deviation: np.reshape([4.0, 5.0, 6.0], shape),
        first: KERNEL,
    }
    state = read_state(names)
    assert list(state.tensors) == ["conv1.weight"]
    np.testing.assert_array_equal(state.statistics, [[0.1, 0.2, 0.3], [4, 5, 6]])


CASES = {
    "a list": (
        [KERNEL],
        "`state_dict` must be a path or a mapping from names to tensors. Received: a "
        "list",
    ),
    "nothing": (
        {"state_dict": {}},
        "`state_dict` must hold tensors. Received: an empty mapping",
    ),
    "no tensor": (
        {"fc.bias": KERNEL, "epoch": 7},
        "`state_dict` must map names to tensors. Received: a int as epoch",
    ),
    "two checkpoints": (
        {"last": {"a": KERNEL}, "best": {"a": KERNEL}},
        "`state_dict` must map names to tensors. Received: a dict as last",
    ),
    "two networks": (
        {"module.a": KERNEL, "model.a": KERNEL},
        "`state_dict` must hold one network. Received: two tensors named a behind "
        "their prefixes",
    ),
    "half of the statistics": (
        {"mu": KERNEL, "a": KERNEL},
        "`state_dict` must hold one mean and one deviation of pixels. Received: mu",
    ),
    "statistics twice": (
        {"mu": KERNEL, "sigma": KERNEL, "mean": KERNEL, "std": KERNEL},
        "`state_dict` must hold one mean and one deviation of pixels. Received: mu, "
        "sigma, mean, std",
    ),
    "no file": (
        "/none/net.pt",
        "`state_dict` must be an existing file. Received: /none/net.pt",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_holds_no_network(name):
    source, expected = CASES[name]
    with pytest.raises(ValueError) as error:
        read_state(source)
    assert str(error.value) == expected
