"""RobustBench's own definitions, run by PyTorch, against what is made of them."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tfrobust import models


def definitions(name):
    """A module of RobustBench's architectures, without the rest of its package.

    The package itself imports programs that download and others that are not needed.
    """
    for package in ("torch", "robustbench"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed; `make test-backends` has it")
    folder = Path(importlib.util.find_spec("robustbench").origin).parent
    path = folder / "model_zoo" / "architectures" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"robustbench_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def preact(block, **settings):
    return lambda m: m.PreActResNet(getattr(m, block), [2, 2, 2, 2], **settings)


def deepmind(*arguments, **settings):
    return lambda m: m.DMWideResNet(*arguments, activation_fn=m.Swish, **settings)


CASES = {
    "resnet18": ("resnet", lambda m: m.ResNet18()),
    "resnet34": ("resnet", lambda m: m.ResNet34()),
    "resnet50": ("resnet", lambda m: m.ResNet50()),
    "preactresnet18": ("resnet", preact("PreActBlock")),
    "preactresnet18:activation=relu": (
        "resnet",
        preact("PreActBlockV2", bn_before_fc=True),
    ),
    "preactresnet18:shortcut=input": (
        "resnet",
        preact("PreActBlock", bn_before_fc=True),
    ),
    "wideresnet-28-10": ("wide_resnet", lambda m: m.WideResNet(28, 10, 10)),
    "wideresnet-34-2": (
        "wide_resnet",
        lambda m: m.WideResNet(34, widen_factor=2, sub_block1=True),
    ),
    "PreActResNet18": (
        "dm_wide_resnet",
        lambda m: m.DMPreActResNet(activation_fn=m.Swish),
    ),
    "wideresnet-28-4": ("dm_wide_resnet", deepmind(10, 28, 4)),
    "wideresnet-70-2": (
        "dm_wide_resnet",
        deepmind(
            100, 70, 2, mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762)
        ),
    ),
}


def disturbed(net):
    """In evaluation, with statistics and norms away from where they start."""
    import torch

    random = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for each in (module.weight, module.running_var):
                each.data.uniform_(0.5, 1.5, generator=random)
            for each in (module.bias, module.running_mean):
                each.data.normal_(0, 0.3, generator=random)
    return net.eval()


def asked(net, images):
    import torch

    with torch.no_grad():
        return net(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()


@pytest.mark.parametrize("architecture", CASES)
def test_the_same_answers(architecture):
    module, make = CASES[architecture]
    net = disturbed(make(definitions(module)))
    images = np.random.default_rng(0).random((3, 32, 32, 3), np.float32)
    expected = asked(net, images)
    network = models.from_pytorch(net.state_dict(), architecture)
    scale = max(1.0, np.abs(expected).max())
    logits = np.asarray(network(images, training=False))
    np.testing.assert_allclose(logits, expected, atol=1e-5 * scale)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file(tmp_path, suffix):
    """As programs save it, data-parallel and with the epoch beside it; in bfloat16."""
    wide_resnet = definitions("wide_resnet")
    import torch
    from safetensors.torch import save_file

    net = disturbed(wide_resnet.WideResNet(10, widen_factor=1)).to(torch.bfloat16)
    path = tmp_path / f"net{suffix}"
    if suffix == ".pt":
        whole = {f"module.{name}": t for name, t in net.state_dict().items()}
        torch.save({"state_dict": whole, "epoch": 7}, path)
    else:
        save_file(net.state_dict(), path)
    images = np.random.default_rng(0).random((3, 32, 32, 3), np.float32)
    loaded = models.load(f"robustbench:{path}:wideresnet-10-1")
    assert loaded.name == "net"
    expected = asked(net.float(), images)
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(loaded.call(images), expected, atol=1e-5 * scale)
    module = models.from_pytorch(net, "wideresnet-10-1")
    np.testing.assert_allclose(module(images), expected, atol=1e-5 * scale)


def test_code_in_a_file_is_not_run(tmp_path):
    """A pickled module is refused, in one sentence."""
    wide_resnet = definitions("wide_resnet")
    import torch

    torch.save(wide_resnet.WideResNet(10, widen_factor=1).conv1, tmp_path / "net.pt")
    with pytest.raises(ValueError, match="which does not load: Weights only") as error:
        models.from_pytorch(tmp_path / "net.pt", "wideresnet-10-1")
    assert "\n" not in str(error.value)
