"""Claim: AutoAttack here breaks as many images as a peer's, in half of the time.

    python -m benchmarks.autoattack --network=cifar10_adversarial_linf --norm=inf \
        --eps=8/255 --examples=100 --data_dir=DIR
    python -m benchmarks.autoattack --bare --network=cifar10_adversarial_linf

Peers are on PyTorch. They get a twin of the network with the same weights
(`benchmarks.torch_twin`), which must answer like it, and the same images, radius and
budget: 100 steps, every wrong class, 5,000 queries. The twin runs on as many threads as
TensorFlow has. Packages: `pip install tfrobust[peers]`; `tests/requirements/peers.txt`
has the versions that the results in docs were made with.

Each stage is first run by itself on all images that the network has right, then the
whole ensemble, where an image leaves when it falls. Every adversarial image, ours too,
is judged by the same Keras network: a success is classified wrongly, in [0, 1] and
within the radius. "only" counts the images that one breaks and the other does not. Our
graphs are traced before the clock starts, a peer runs a first step.

With `--bare` there is no peer: each stage runs on images that withstand it, so that
none drops out, and is set against the bare calls of the network that it needs, of the
same batch, in turns: a loop of gradients for APGD and FAB, one of forward passes for
Square. FAB asks for a forward pass after each gradient, and both are counted.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import sys
import time
import unittest.mock
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.reports import Missing, Parser, Report, need_data, start
from benchmarks.turns import alternate, rows
from tfrobust import attacks, data, models
from tfrobust.core.fractions import parse_fraction

Run = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Maps images `[B, H, W, C]` and labels to adversarial images."""

STAGES = ("apgd-ce", "apgd-t", "fab-t", "square")
WHOLE = "autoattack"
PEERS = ("torchattacks", "adv-lib")
_QUICK = {"examples": 8, "rounds": 1}
# Share by which an image may leave the ball: projections in float32 do.
_SLACK = 1e-4
# Of the bare comparison, which needs no more to tell a ratio.
_BARE_STEPS = 20
# Makes each call depend on the one before, and moves no pixel.
_NUDGE = 1e-12


def main(argv: Sequence[str] | None = None) -> Report:
    """Runs ours and the peers', or ours and the bare calls."""
    arguments, report = _parse(argv)
    _need_what_is_asked(arguments)
    network = models.pretrained(arguments.network)
    images, labels = _right(network, arguments)
    title = (
        f"{arguments.network}, L{arguments.norm} {arguments.eps}, the {len(labels)} "
        f"images of {arguments.examples} that it has right"
    )
    against = _against_bare if arguments.bare else _against_peers
    against(network, images, labels, arguments, report, title)
    return report


def _need_what_is_asked(arguments: argparse.Namespace) -> None:
    """Raises `Missing` where the peers or the images are."""
    needed = [] if arguments.bare else ["torch", *map(_module_of, arguments.peers)]
    for module in needed:
        if importlib.util.find_spec(module) is None:
            raise Missing(
                f"{module} is not installed (pip install 'tfrobust[peers]'); --bare "
                "needs no peer."
            )
    card = models.pretrained_card(arguments.network)
    need_data(card["training"]["dataset"], arguments.data_dir)


def _module_of(peer: str) -> str:
    return peer.replace("-", "_")


def _parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, Report]:
    parser = Parser(__file__, __doc__, quick=_QUICK)
    parser.add_argument("--network", default="cifar10_adversarial_linf")
    parser.add_argument("--norm", choices=("inf", "2"), default="inf")
    parser.add_argument("--eps", default="8/255")
    parser.add_argument("--examples", type=int, default=100)
    parser.add_data_dir()
    parser.add_argument("--stages", nargs="*", choices=STAGES, default=list(STAGES))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--bare", action="store_true", help="against bare calls")
    parser.add_argument("--rounds", type=int, default=3, help="of --bare")
    return parser.parse(argv)


def _right(network: Any, arguments: argparse.Namespace) -> tuple[Any, Any]:
    """Test images that the network has right."""
    name = models.pretrained_card(arguments.network)["training"]["dataset"]
    test = data.load(name, "test", arguments.data_dir)
    test = test.subset(arguments.examples, 0)
    images = test.images.astype(np.float32) / np.float32(255)
    right = network.predict(images, verbose=0).argmax(axis=-1) == test.labels
    return images[right], test.labels[right].astype(np.int64)


def _ours(arguments: argparse.Namespace) -> dict[str, attacks.Attack]:
    norm: Any = 2 if arguments.norm == "2" else "inf"
    whole = attacks.AutoAttack(norm=norm, eps=parse_fraction(arguments.eps))
    return {**whole.stages(), WHOLE: whole}


# Peers.


def _against_peers(
    network: Any,
    images: np.ndarray,
    labels: np.ndarray,
    arguments: Any,
    report: Report,
    title: str,
) -> None:
    add = report.begin(
        title,
        {
            "broken": "d",
            "only_ours": "d",
            "only_theirs": "d",
            "wall_s": ".1f",
            "ours_over_theirs": ".2f",
        },
        claimed={f"{WHOLE}, {peer}": 0.5 for peer in arguments.peers},
        measure="ours_over_theirs",
    )
    eps = parse_fraction(arguments.eps)
    judge = Judge(network, images, labels, arguments.norm, eps)
    peers = dict(_peers(network, arguments, eps))
    for name, attack in _ours(arguments).items():
        if name != WHOLE and name not in arguments.stages:
            continue
        attack(network, images[:8], labels[:8])
        broken, seconds = judge(lambda x, y, a=attack: a(network, x, y).adversarial)
        add({"name": f"{name}, ours", "broken": broken.sum(), "wall_s": seconds})
        for library, runs in peers.items():
            if name in runs:
                others, spent = judge(runs[name])
                add(
                    {
                        "name": f"{name}, {library}",
                        "broken": others.sum(),
                        "only_ours": np.sum(broken & ~others),
                        "only_theirs": np.sum(others & ~broken),
                        "wall_s": spent,
                        "ours_over_theirs": seconds / spent,
                    }
                )


@dataclasses.dataclass(frozen=True)
class Judge:
    """Runs an attack, and says what it broke and how long it took."""

    network: Any
    images: np.ndarray
    labels: np.ndarray
    norm: str
    eps: float

    def __call__(self, run: Run) -> tuple[np.ndarray, float]:
        """Which images are broken, bool `[N]`, and seconds."""
        began = time.perf_counter()
        found = np.asarray(run(self.images, self.labels))
        seconds = time.perf_counter() - began
        delta = (found.astype(np.float64) - self.images).reshape(len(found), -1)
        order = 2 if self.norm == "2" else np.inf
        near = np.linalg.norm(delta, order, axis=1) <= self.eps * (1 + _SLACK)
        inside = (found.min(axis=(1, 2, 3)) >= 0) & (found.max(axis=(1, 2, 3)) <= 1)
        answers = self.network.predict(found, verbose=0).argmax(axis=-1)
        return near & inside & (answers != self.labels), seconds


def _peers(
    network: Any, arguments: argparse.Namespace, eps: float
) -> Iterator[tuple[str, dict[str, Run]]]:
    """Each peer's stages by name."""
    import torch

    from benchmarks.torch_twin import Twin

    twin = Twin(network)
    _check_twin(network, twin)
    classes = network.output_shape[-1]
    for peer in arguments.peers:
        # They import what only other attacks of theirs need.
        for name in ("torchvision", "torchvision.models", "visdom"):
            sys.modules.setdefault(name, unittest.mock.MagicMock())
        make = torchattacks if peer == "torchattacks" else adv_lib
        runs = make(twin, arguments.norm, eps, classes)
        yield peer, {name: on_torch(run) for name, run in runs.items()}
    torch.manual_seed(0)


def _check_twin(network: Any, twin: Any) -> None:
    """Raises `ValueError` if the twin answers otherwise."""
    import torch

    shape = network.input_shape[1:]
    images = np.random.default_rng(0).random((4, *shape)).astype(np.float32)
    with torch.no_grad():
        answers = twin(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()
    apart = np.abs(answers - network(images, training=False).numpy()).max()
    if apart > 1e-3:
        raise ValueError(f"the twin's logits are off by {apart:g}")


def on_torch(run: Callable[[Any, Any], Any]) -> Run:
    """With channels first, and back."""
    import torch

    def on_arrays(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        found = run(torch.tensor(first), torch.tensor(labels))
        return found.detach().numpy().transpose(0, 2, 3, 1)

    return on_arrays


def torchattacks(twin: Any, norm: str, eps: float, classes: int) -> dict[str, Any]:
    import torchattacks as peer

    common = {"norm": f"L{norm}", "eps": eps, "seed": 0}
    stages = {
        "apgd-ce": peer.APGD(twin, steps=100, loss="ce", **common),
        "apgd-t": peer.APGDT(twin, steps=100, n_classes=classes, **common),
        "fab-t": peer.FAB(
            twin, steps=100, multi_targeted=True, n_classes=classes, **common
        ),
        "square": peer.Square(twin, n_queries=5000, **common),
    }
    return {**stages, WHOLE: peer.MultiAttack(list(stages.values()))}


def adv_lib(twin: Any, norm: str, eps: float, classes: int) -> dict[str, Any]:
    from adv_lib import attacks as peer
    from adv_lib.attacks import auto_pgd

    order = 2.0 if norm == "2" else float("inf")
    return {
        "apgd-ce": lambda x, y: peer.apgd(twin, x, y, eps, order, loss_function="ce"),
        "apgd-t": lambda x, y: auto_pgd.apgd_targeted(twin, x, y, eps, order),
        "fab-t": lambda x, y: peer.fab(
            twin, x, y, order, ε=eps, restarts=classes - 1, targeted_restarts=True
        ),
    }


# Bare calls.


def _against_bare(
    network: Any,
    images: np.ndarray,
    labels: np.ndarray,
    arguments: Any,
    report: Report,
    title: str,
) -> None:
    """Each stage, cut short, against the calls that it needs."""
    short = {
        "apgd-ce": {"steps": _BARE_STEPS},
        "apgd-t": {"steps": _BARE_STEPS, "target_classes": 1},
        "square": {"queries": 5 * _BARE_STEPS},
    }
    stages = _ours(arguments)
    left = images
    # What withstands these withstands the shortened stages below.
    for name in ("apgd-ce", "apgd-t"):
        success = stages[name](network, left, labels).success.numpy()
        left, labels = left[~success], labels[~success]
    for name in arguments.stages:
        attack = _shortened(stages[name], short.get(name, {}))
        asked = attack(network, left, labels).queries.numpy()
        calls = int(asked.max())
        bare = _bare(network, left, labels, calls, name)
        run = lambda a=attack: a(network, left, labels).success.numpy()  # noqa: E731
        report.table(
            f"{name}, {calls} calls: {title}, {len(labels)} that withstand, "
            f"{arguments.rounds} rounds",
            rows(["bare", name], alternate([bare, run], arguments.rounds)),
            key="bare",
            claimed={name: None},
        )


def _shortened(attack: Any, settings: dict[str, Any]) -> Any:
    if hasattr(attack, "attack"):  # FAB within a radius
        inner = dataclasses.replace(attack.attack, steps=_BARE_STEPS, target_classes=1)
        return dataclasses.replace(attack, attack=inner)
    return dataclasses.replace(attack, **settings)


def _bare(
    network: Any, images: np.ndarray, labels: np.ndarray, calls: int, stage: str
) -> Callable[[], Any]:
    """So many calls one after the other, of the kinds that the stage needs."""
    given, classes = tf.constant(images), tf.constant(labels)

    def gradient(points: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(points)
            logits = network(points, training=False)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
            total = tf.reduce_sum(loss)
        return points + _NUDGE * tape.gradient(total, points)

    def forward(points: tf.Tensor) -> tf.Tensor:
        logits = network(points, training=False)
        return points + _NUDGE * tf.reduce_mean(logits)

    def step(number: tf.Tensor, points: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if stage == "square":
            return number + 1, forward(points)
        if stage == "fab-t":
            return number + 2, forward(gradient(points))
        return number + 1, gradient(points)

    @tf.function(autograph=False)
    def loop(points: tf.Tensor) -> tf.Tensor:
        condition = lambda number, _points: number < calls  # noqa: E731
        start = (tf.constant(0), points)
        return tf.while_loop(condition, step, start, parallel_iterations=1)[1]

    return lambda: loop(given).numpy()


if __name__ == "__main__":
    start(main)
