"""Wide residual networks of three stages, in two implementations."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from tfrobust.models.pytorch.builder import Builder
from tfrobust.models.pytorch.registry import register
from tfrobust.settings import require, require_steps


class _Names(NamedTuple):
    """What an implementation calls its modules."""

    first: str
    block: str
    norms: tuple[str, str]
    convolutions: tuple[str, str]
    shortcut: str
    last_norm: str
    logits: str


_TRADES = _Names(
    first="conv1",
    block="block{stage}.layer.{block}",
    norms=("bn1", "bn2"),
    convolutions=("conv1", "conv2"),
    shortcut="convShortcut",
    last_norm="bn1",
    logits="fc",
)
_DEEPMIND = _Names(
    first="init_conv",
    block="layer.{before}.block.{block}",
    norms=("batchnorm_0", "batchnorm_1"),
    convolutions=("conv_0", "conv_1"),
    shortcut="shortcut",
    last_norm="batchnorm",
    logits="logits",
)


@register("wideresnet")
def wideresnet(
    build: Builder,
    x: Any,
    depth: int,
    width: int,
    activation: Literal["relu", "silu"] | None = None,
) -> Any:
    """WideResNet of a depth and a width, such as 28 and 10, told apart by names.

    That of TRADES, which most of RobustBench's are, and that of DeepMind (Gowal 2020,
    Rebuffi 2021 and those after them). They differ in their names, in the activation
    and in where zeros are at stride 2: around the pixels, or behind them.

    Args:
        build: With the tensors.
        x: Images.
        depth: Number of layers, 4 more than a multiple of 6.
        width: How many times 16, 32 and 64 channels the stages have.
        activation: By default ReLU, and SiLU in DeepMind's, as in RobustBench.

    Returns:
        Logits.

    Raises:
        ValueError: If the depth or the width is not possible, or in DeepMind's the size
            of the images.

    Reference: Zagoruyko and Komodakis 2016, Wide Residual Networks; Gowal et al. 2020.
    """
    require_steps("depth", depth)
    require_steps("width", width)
    allowed = "10 or more, and 4 more than a multiple of 6"
    require(depth >= 10 and depth % 6 == 4, "depth", depth, allowed)
    deepmind = build.has("init_conv.weight")
    if deepmind and any(size % 4 for size in x.shape[1:3]):
        raise ValueError(
            "`input_shape` must have a height and width that 4 divides in DeepMind's "
            f"implementation. Received: height and width {tuple(x.shape[1:3])}"
        )
    names = _DEEPMIND if deepmind else _TRADES
    kind = activation or ("silu" if deepmind else "relu")
    x = build.convolution(x, names.first, 16)
    for stage in (1, 2, 3):
        for block in range((depth - 4) // 6):
            strides = 2 if stage > 1 and block == 0 else 1
            prefix = names.block.format(stage=stage, before=stage - 1, block=block)
            filters = 8 * 2**stage * width
            x = _block(build, x, names, f"{prefix}.", filters, strides, kind)
    # Left behind by TRADES: a first stage that is made twice and computed with once.
    build.unused("sub_block1.")
    x = build.activation(build.norm(x, names.last_norm), "relu", kind)
    return build.logits(x, names.logits)


def _block(
    build: Builder,
    x: Any,
    names: _Names,
    prefix: str,
    filters: int,
    strides: int,
    kind: str,
) -> Any:
    """Where channels change, the shortcut reads what is normalised and activated."""
    branch = build.norm(x, prefix + names.norms[0])
    branch = build.activation(branch, f"{prefix}relu1", kind)
    if x.shape[-1] != filters:
        x = build.convolution(branch, prefix + names.shortcut, filters, 1, strides)
    padding = (0, 1) if strides == 2 and names is _DEEPMIND else (1, 1)
    name = prefix + names.convolutions[0]
    branch = build.convolution(branch, name, filters, 3, strides, padding)
    branch = build.norm(branch, prefix + names.norms[1])
    branch = build.activation(branch, f"{prefix}relu2", kind)
    branch = build.convolution(branch, prefix + names.convolutions[1], filters)
    return build.add([branch, x], f"{prefix}add")
