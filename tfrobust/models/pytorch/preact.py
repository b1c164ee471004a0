"""Pre-activation residual networks of four stages, in two implementations."""

from __future__ import annotations

from typing import Any, Literal

from tfrobust.models.pytorch.builder import Builder
from tfrobust.models.pytorch.registry import register

_STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


@register("preactresnet18")
def preactresnet18(
    build: Builder,
    x: Any,
    shortcut: Literal["input", "activation"] | None = None,
    activation: Literal["relu", "silu"] | None = None,
) -> Any:
    """PreActResNet-18, as RobustBench or as DeepMind writes it, told apart by names.

    Args:
        build: With the tensors.
        x: Images.
        shortcut: What the 1x1 convolution of a shortcut reads, which no tensor tells:
            the block's input, or the input normalised and activated. By default as in
            RobustBench: the activation where a norm stands before the last layer
            (Rice2020, Kireev2021), and the input where there is none (Wong2020,
            Andriushchenko2020). DeepMind's reads the input.
        activation: By default ReLU, and SiLU in DeepMind's, as in RobustBench.

    Returns:
        Logits.

    Reference: He et al. 2016, Identity Mappings in Deep Residual Networks; Gowal et al.
    2020, Uncovering the Limits of Adversarial Training.
    """
    return _preact(build, x, 18, shortcut, activation)


@register("preactresnet34")
def preactresnet34(
    build: Builder,
    x: Any,
    shortcut: Literal["input", "activation"] | None = None,
    activation: Literal["relu", "silu"] | None = None,
) -> Any:
    """PreActResNet-34; see `preactresnet18`."""
    return _preact(build, x, 34, shortcut, activation)


def _preact(
    build: Builder, x: Any, depth: int, shortcut: str | None, activation: str | None
) -> Any:
    if build.has("conv_2d.weight"):
        if shortcut == "activation":
            raise ValueError(
                "`shortcut` must be input in DeepMind's implementation, whose names "
                f"`state_dict` has. Received: shortcut={shortcut}"
            )
        return _deepmind(build, x, _STAGES[depth], activation or "silu")
    normed = build.has("bn.weight")
    shortcut = shortcut or ("activation" if normed else "input")
    kind = activation or "relu"
    x = build.convolution(x, "conv1", 64)
    for stage, count in enumerate(_STAGES[depth]):
        for block in range(count):
            strides = 2 if stage > 0 and block == 0 else 1
            name, filters = f"layer{stage + 1}.{block}", 64 * 2**stage
            x = _block(build, x, name, filters, strides, shortcut, kind)
    if normed:
        x = build.activation(build.norm(x, "bn"), "relu", kind)
    return build.logits(x, "linear")


def _block(
    build: Builder,
    x: Any,
    name: str,
    filters: int,
    strides: int,
    shortcut: str,
    kind: str,
) -> Any:
    branch = build.activation(build.norm(x, f"{name}.bn1"), f"{name}.relu1", kind)
    if strides != 1 or x.shape[-1] != filters:
        start = x if shortcut == "input" else branch
        x = build.convolution(start, f"{name}.shortcut.0", filters, 1, strides)
    branch = build.convolution(branch, f"{name}.conv1", filters, 3, strides)
    branch = build.activation(build.norm(branch, f"{name}.bn2"), f"{name}.relu2", kind)
    branch = build.convolution(branch, f"{name}.conv2", filters)
    return build.add([branch, x], f"{name}.add")


def _deepmind(build: Builder, x: Any, stages: tuple[int, ...], kind: str) -> Any:
    """Its shortcuts are 3x3, and at stride 2 zeros are behind the pixels alone."""
    x = build.convolution(x, "conv_2d", 64)
    for stage, count in enumerate(stages):
        for block in range(count):
            name, filters = f"layer_{stage}.{block}", 64 * 2**stage
            strides = 2 if stage > 0 and block == 0 else 1
            padding = (0, 1) if strides == 2 else (1, 1)
            branch = build.norm(x, f"{name}.batchnorm_0")
            branch = build.activation(branch, f"{name}.relu_0", kind)
            branch = build.convolution(
                branch, f"{name}.conv_2d_1", filters, 3, strides, padding
            )
            branch = build.norm(branch, f"{name}.batchnorm_1")
            branch = build.activation(branch, f"{name}.relu_1", kind)
            branch = build.convolution(branch, f"{name}.conv_2d_2", filters)
            if strides != 1 or x.shape[-1] != filters:
                x = build.convolution(
                    x, f"{name}.shortcut", filters, 3, strides, padding
                )
            x = build.add([branch, x], f"{name}.add")
    x = build.activation(build.norm(x, "batchnorm"), "relu", kind)
    return build.logits(x, "logits")
