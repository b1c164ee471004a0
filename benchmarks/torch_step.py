"""Claim: a standard training step takes PyTorch at least 1.2 times as long on a CPU.

    python -m benchmarks.torch_step --width=64 --batch_size=32

The same ResNet-18 with the same weights on the same batch, as Keras has it and as its
twin of PyTorch's own modules, by momentum and with weight decay. The steps take turns.
Both use all cores, or as many as OMP_NUM_THREADS and TF_NUM_INTRAOP_THREADS say.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from benchmarks.reports import Missing, Parser, Report, start
from benchmarks.steps import random_batch, training_step
from benchmarks.turns import Run, alternate, rows
from tfrobust import models

_QUICK = {"width": 4, "batch_size": 8, "rounds": 2}


def main(argv: Sequence[str] | None = None) -> Report:
    """Times a step of both; ratios are to ours."""
    parser = Parser(__file__, __doc__, quick=_QUICK)
    parser.add_argument("--variant", choices=("plain", "standard"), default="plain")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=8)
    arguments, report = parser.parse(argv)
    try:
        import torch
    except ImportError as error:
        raise Missing("PyTorch is not installed; it is the peer here") from error

    keras.utils.set_random_seed(0)
    network = models.ResNet18((32, 32, 3), 10, arguments.variant, arguments.width)
    runs = {
        "PyTorch": _torch_step(network, arguments.batch_size),
        "ours": training_step(network, batch_size=arguments.batch_size),
    }
    seconds = alternate(list(runs.values()), arguments.rounds)
    report.table(
        f"ResNet-18, {arguments.variant}, width {arguments.width}, batch "
        f"{arguments.batch_size}, 32x32x3, PyTorch {torch.__version__}, "
        f"{arguments.rounds} rounds",
        rows(list(runs), seconds),
        claimed={"ours": 1 / 1.2},
    )
    return report


def _torch_step(network: keras.Model, batch_size: int) -> Run:
    """One update by PyTorch, of a twin with the weights as they are now."""
    import torch
    from torch.nn import functional

    from benchmarks.torch_twin import Twin

    twin = Twin(network).train()
    optimizer = torch.optim.SGD(
        twin.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4
    )
    images, labels = random_batch(batch_size)
    pixels = torch.tensor(images.transpose(0, 3, 1, 2))
    classes = torch.tensor(labels, dtype=torch.long)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(twin(pixels), classes)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


if __name__ == "__main__":
    start(main)
