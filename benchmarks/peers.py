"""Claim: at the same budget our iterated attacks are as fast as any peer's, or faster.

Longer than other files: one claim is one file, and each of three libraries wants its
attacks set up in its own terms.

Foolbox, ART and CleverHans bring much that nothing here needs, so they get an
environment of their own, with the same TensorFlow:

    python3.11 -m venv peers
    peers/bin/pip install tensorflow==2.21.0 keras==3.15.1 tensorflow-datasets==4.9.10 \
        importlib_resources tqdm foolbox==3.3.4 cleverhans==4.0.0 \
        adversarial-robustness-toolbox==1.20.1 tensorflow-probability==0.25.0
    PYTHONPATH=. peers/bin/python -m benchmarks.peers --model=c4_mnist.keras

Images: the first `--examples` of MNIST's test set, in the order in which it was
published, that the model classifies correctly; all in one batch. Every adversarial
image, ours too, is judged here by the same Keras model: a success is classified
wrongly, in [0, 1] and within the radius if there is one. D is the mean L2 distance over
successes; both again after rounding to 8 bits, where the radius is left aside.

First calls are outside the timing: ours is traced for any batch size, by the whole
batch where there is a radius and by four images where there is none; a peer runs one
step on the same batch. Then all libraries take turns, and a ratio is the median over
rounds of a peer's time over ours. A peer that raises is reported with the first line of
its error and not patched; one that would take longer than `--patience` seconds, going
by batches of one and four, is not run. Peers get what suits them best: Foolbox and
CleverHans the model as a `tf.function`, which is faster for them than the Keras model
that ART insists on; Foolbox int64 labels; each the whole batch at once. CleverHans's
Carlini-Wagner takes targets only as labels, and so gets none. Ours stop at a success
where a radius is all that counts, so their D there says little; "every step" takes
them all, as the peers do. A call of ours also tells success before and after rounding
to 8 bits, three forward passes that a single step like FGSM's feels.

Steps are the same for all; where an algorithm has other settings (Carlini-Wagner: first
constant and rate; DDN: gamma), ours are the library's defaults, and the peers' are
Foolbox's for DDN and c = 15, rate .1 for Carlini-Wagner. "combination" is ours alone:
for each image the nearest of DDN and of DDN towards each of the two classes that come
next after the label, to set against the smallest distortion over all peers' attacks.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.util
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.reports import Missing, Parser, Report, need_data, start, version
from tfrobust import attacks, data, models

# Images and labels to adversarial images.
Run = Callable[[np.ndarray, np.ndarray], np.ndarray]

ATTACKS = (
    "fgsm",
    "bim",
    "pgd_linf",
    "pgd_l2",
    "carlini_wagner",
    "deepfool",
    "ddn",
    "combination",
)
PEERS = {
    "foolbox": "foolbox",
    "art": "adversarial-robustness-toolbox",
    "cleverhans": "cleverhans",
}
OURS = "ours"
# Norm and radius of the attacks that have one; the others minimise the L2 norm.
_BUDGETS = {
    "fgsm": (np.inf, 0.3),
    "bim": (np.inf, 0.3),
    "pgd_linf": (np.inf, 0.3),
    "pgd_l2": (2, 2.0),
}
_BIM_STEP, _LINF_STEP, _L2_STEP = 0.08, 0.01, 0.1
_SEARCHES, _CONST, _RATE, _OVERSHOOT = 9, 15.0, 0.1, 0.02
_STEPS = {
    "fgsm": 1,
    "bim": 10,
    "pgd_linf": 40,
    "pgd_l2": 40,
    "carlini_wagner": 100,
    "deepfool": 50,
    "ddn": 100,
}
_PROBED = 4  # images of the larger of two batches by which a time is estimated
_SLACK = 1e-4  # share by which a peer may leave the ball: float32 projections do
_QUICK = {"examples": 8, "attacks": ["fgsm", "bim"]}
_COLUMNS = {
    "success": ".3f",
    "D": ".4f",
    "success_8bit": ".3f",
    "D_8bit": ".4f",
    "ms_per_image": ".2f",
    "cpu_ms_per_image": ".2f",
    "time_over_ours": ".2f",
    "cpu_over_ours": ".2f",
    "note": "",
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One library's version of an attack.

    Attributes:
        library: Its name in the table.
        run: The attack.
        warm: A cheap run that traces and caches the same.
    """

    library: str
    run: Run
    warm: Run


def main(argv: Sequence[str] | None = None) -> Report:
    """Runs the attacks chosen, all libraries in turn."""
    arguments, report = _parse(argv)
    _need_a_peer(arguments)
    need_data("mnist", arguments.data_dir)
    model = models.load(arguments.model).network
    images, labels = _load(model, arguments.data_dir, arguments.examples)
    add = report.begin(
        _title(arguments),
        _COLUMNS,
        claimed=_claimed(arguments),
        measure="ours_over_theirs",
    )
    kept: dict[tuple[str, str], np.ndarray | None] = {}
    for attack in arguments.attacks:
        entries = _ours(model, attack)
        entries += [_peer(peer, model, attack) for peer in arguments.peers]
        timed = _attack(entries, images, labels, arguments)
        for row in _rows(model, attack, timed, images, labels):
            add(row)
        kept |= {
            (attack, name): adversarial for name, (adversarial, _, _) in timed.items()
        }
    report.note(_floor(model, kept, images, labels))
    return report


def _need_a_peer(arguments: argparse.Namespace) -> None:
    """Raises `Missing` where peers are asked for and none is installed."""
    found = [name for name in arguments.peers if importlib.util.find_spec(name)]
    if arguments.peers and not found:
        raise Missing(
            f"none of {', '.join(arguments.peers)} is installed; the head of "
            "benchmarks/peers.py says how."
        )


def _claimed(arguments: argparse.Namespace) -> dict[str, float | None]:
    """At the same budget: the one step of FGSM is no iterated attack."""
    iterated = [attack for attack in arguments.attacks if attack != "fgsm"]
    return {f"{each}, {peer}": 1.0 for each in iterated for peer in arguments.peers}


def _parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, Report]:
    parser = Parser(__file__, __doc__, quick=_QUICK)
    parser.add_argument(
        "--model", default="pretrained:mnist_c4", help="an MNIST network"
    )
    parser.add_data_dir()
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--patience", type=float, default=600.0, help="most seconds for one attack"
    )
    return parser.parse(argv)


def _load(
    model: keras.Model, data_dir: str | None, examples: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first correctly classified images of MNIST's test set, in [0, 1]."""
    test = data.load("mnist", "test", data_dir)
    order = _published_order(len(test))
    images = test.images[order].astype(np.float32) / 255.0
    labels = test.labels[order]
    right = model.predict(images, verbose=0).argmax(axis=-1) == labels
    first = np.flatnonzero(right)[:examples]
    return images[first], labels[first]


def _published_order(count: int) -> np.ndarray:
    """Where TFDS, which sorts by a hash of the position, has put each test image."""
    from tensorflow_datasets.core import hashing

    hasher = hashing.Hasher("test")
    shuffled = sorted(range(count), key=hasher.hash_key)
    return np.argsort(shuffled)


def _ours(model: keras.Model, attack: str) -> list[Entry]:
    """This library's attack, and its variants."""
    steps = _STEPS.get(attack, 100)
    bim = attacks.BIM(eps=0.3, steps=steps, step_size=_BIM_STEP)
    linf = attacks.PGD(norm="inf", eps=0.3, steps=steps, step_size=_LINF_STEP)
    l2 = attacks.PGD(norm=2, eps=2.0, steps=steps, step_size=_L2_STEP)
    all_steps = f"{OURS}, every step"
    variants: dict[str, dict[str, attacks.Attack]] = {
        "fgsm": {OURS: attacks.FGSM(eps=0.3)},
        "bim": {OURS: bim, all_steps: dataclasses.replace(bim, early_stop=False)},
        "pgd_linf": {
            OURS: linf,
            all_steps: dataclasses.replace(linf, early_stop=False),
        },
        "pgd_l2": {
            OURS: l2,
            all_steps: dataclasses.replace(l2, early_stop=False),
            f"{OURS}, step .3": dataclasses.replace(l2, step_size=0.3),
        },
        "carlini_wagner": {
            OURS: attacks.CarliniWagnerL2(steps=steps, search_steps=_SEARCHES)
        },
        "deepfool": {OURS: attacks.DeepFool(steps=steps, overshoot=_OVERSHOOT)},
        "ddn": {
            OURS: attacks.DDN(steps=steps),
            f"{OURS}, rounding": attacks.DDN(steps=steps, rounding=True),
        },
    }
    runs = {
        name: _runner(model, variant)
        for name, variant in variants.get(attack, {}).items()
    }
    if attack == "combination":
        runs[f"{OURS}: DDN, 2 targeted DDN"] = _combination(model)
    entries = []
    for name, run in runs.items():
        entries.append(Entry(name, run, run if attack in _BUDGETS else _probe(run)))
    return entries


def _probe(run: Run) -> Run:
    """The same on a few images."""
    return lambda images, labels: run(images[:_PROBED], labels[:_PROBED])


def _runner(model: keras.Model, attack: attacks.Attack) -> Run:
    return lambda images, labels: attack(model, images, labels).adversarial.numpy()


def _combination(model: keras.Model) -> Run:
    """DDN as it comes, and towards the two most likely wrong classes."""

    def run(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        result = attacks.multi_target(attacks.DDN(), model, images, labels, count=2)
        return result.adversarial.numpy()

    return run


def _peer(peer: str, model: keras.Model, attack: str) -> Entry:
    """A peer's attack. What it lacks or cannot import raises when it is run."""
    make = {"foolbox": _foolbox, "art": _art, "cleverhans": _cleverhans}[peer]

    def with_steps(steps: int) -> Run:
        made = functools.cache(lambda: make(model, attack, steps))

        def run(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
            return np.asarray(made()(images, labels))

        return run

    return Entry(peer, with_steps(_STEPS.get(attack, 1)), with_steps(1))


def _foolbox(model: keras.Model, attack: str, steps: int) -> Run:
    import foolbox

    make: dict[str, Callable[[], Any]] = {
        "fgsm": lambda: foolbox.attacks.LinfFastGradientAttack(),
        "bim": lambda: foolbox.attacks.LinfBasicIterativeAttack(
            steps=steps, abs_stepsize=_BIM_STEP
        ),
        "pgd_linf": lambda: foolbox.attacks.LinfPGD(
            steps=steps, abs_stepsize=_LINF_STEP
        ),
        "pgd_l2": lambda: foolbox.attacks.L2PGD(steps=steps, abs_stepsize=_L2_STEP),
        "carlini_wagner": lambda: foolbox.attacks.L2CarliniWagnerAttack(
            binary_search_steps=_SEARCHES if steps > 1 else 1,
            steps=steps,
            stepsize=_RATE,
            initial_const=_CONST,
        ),
        "deepfool": lambda: foolbox.attacks.L2DeepFoolAttack(
            steps=steps, overshoot=_OVERSHOOT
        ),
        "ddn": lambda: foolbox.attacks.DDNAttack(steps=steps),
    }
    search = _made(make, attack)
    wrapped = foolbox.TensorFlowModel(_as_graph(model), bounds=(0, 1))
    _, eps = _BUDGETS.get(attack, (2, None))

    def run(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        classes = tf.constant(labels, tf.int64)
        return search(wrapped, tf.constant(images), classes, epsilons=eps)[1].numpy()

    return run


def _art(model: keras.Model, attack: str, steps: int) -> Run:
    from art.attacks import evasion
    from art.estimators.classification import TensorFlowV2Classifier

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    classes = model.output_shape[-1]
    classifier = TensorFlowV2Classifier(
        model, classes, model.input_shape[1:], loss, clip_values=(0.0, 1.0)
    )
    norm, eps = _BUDGETS.get(attack, (2, None))
    step = {"bim": _BIM_STEP, "pgd_linf": _LINF_STEP, "pgd_l2": _L2_STEP}.get(attack)
    descent = {"norm": norm, "eps": eps, "eps_step": step, "max_iter": steps}

    def run(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        batch = {"batch_size": len(images)}
        quiet = batch | {"verbose": False}
        make: dict[str, Callable[[], Any]] = {
            "fgsm": lambda: evasion.FastGradientMethod(
                classifier, norm=norm, eps=eps, **batch
            ),
            "bim": lambda: evasion.ProjectedGradientDescent(
                classifier, **descent, **quiet
            ),
            "pgd_linf": lambda: evasion.ProjectedGradientDescent(
                classifier, num_random_init=1, **descent, **quiet
            ),
            "pgd_l2": lambda: evasion.ProjectedGradientDescent(
                classifier, num_random_init=1, **descent, **quiet
            ),
            "carlini_wagner": lambda: evasion.CarliniL2Method(
                classifier,
                binary_search_steps=_SEARCHES if steps > 1 else 1,
                max_iter=steps,
                learning_rate=_RATE,
                initial_const=_CONST,
                **quiet,
            ),
            "deepfool": lambda: evasion.DeepFool(
                classifier, max_iter=steps, epsilon=_OVERSHOOT, **quiet
            ),
        }
        one_hot = np.eye(classes, dtype=np.float32)[labels]
        return _made(make, attack).generate(images, one_hot)

    return run


def _cleverhans(model: keras.Model, attack: str, steps: int) -> Run:
    from cleverhans.tf2.attacks import (
        carlini_wagner_l2,
        fast_gradient_method,
        projected_gradient_descent,
    )

    graph = _as_graph(model)
    norm, eps = _BUDGETS.get(attack, (2, None))
    step = {"bim": _BIM_STEP, "pgd_linf": _LINF_STEP, "pgd_l2": _L2_STEP}.get(attack)
    clip = {"clip_min": 0.0, "clip_max": 1.0}

    def descend(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return projected_gradient_descent.projected_gradient_descent(
            graph,
            tf.constant(images),
            eps,
            step,
            steps,
            norm,
            y=tf.constant(labels, tf.int64),
            rand_init=attack != "bim",
            **clip,
        )

    make: dict[str, Callable[[], Run]] = {
        "fgsm": lambda: (
            lambda images, labels: fast_gradient_method.fast_gradient_method(
                graph,
                tf.constant(images),
                eps,
                norm,
                y=tf.constant(labels, tf.int64),
                **clip,
            )
        ),
        "bim": lambda: descend,
        "pgd_linf": lambda: descend,
        "pgd_l2": lambda: descend,
        "carlini_wagner": lambda: (
            lambda images, _labels: carlini_wagner_l2.carlini_wagner_l2(
                graph,
                tf.constant(images),
                batch_size=len(images),
                binary_search_steps=_SEARCHES if steps > 1 else 1,
                max_iterations=steps,
                learning_rate=_RATE,
                initial_const=_CONST,
                **clip,
            )
        ),
    }
    return _made(make, attack)


class Lacking(Exception):
    """A peer has no such attack."""


def _made(make: Mapping[str, Callable[[], Any]], attack: str) -> Any:
    if attack not in make:
        raise Lacking
    return make[attack]()


_GRAPHS: dict[int, Callable[[tf.Tensor], tf.Tensor]] = {}


def _as_graph(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """One compiled function for a model, so that a warm-up warms the timed run."""
    if id(model) not in _GRAPHS:
        _GRAPHS[id(model)] = tf.function(
            lambda images: model(images, training=False), autograph=False
        )
    return _GRAPHS[id(model)]


# The adversarial images, seconds `[rounds, 2]` of wall clock and CPU, and a note.
Timed = tuple[np.ndarray | None, np.ndarray, str]


def _attack(
    entries: list[Entry],
    images: np.ndarray,
    labels: np.ndarray,
    arguments: argparse.Namespace,
) -> dict[str, Timed]:
    """Runs all versions of an attack, in turn; those left out have no images."""
    notes = {
        entry.library: _warm_up(entry, images, labels, arguments.patience)
        for entry in entries
    }
    entries = [entry for entry in entries if notes[entry.library] is not None]
    ready = [entry for entry in entries if not notes[entry.library]]
    seconds: dict[str, list[tuple[float, float]]] = {e.library: [] for e in entries}
    results: dict[str, np.ndarray | None] = {e.library: None for e in entries}
    for _ in range(arguments.rounds):
        for entry in list(ready):
            wall, cpu = time.perf_counter(), time.process_time()
            try:
                results[entry.library] = entry.run(images, labels)
            except Exception as error:
                notes[entry.library] = _first_line(error)
                ready.remove(entry)
                continue
            spent = time.perf_counter() - wall, time.process_time() - cpu
            seconds[entry.library].append(spent)
    return {
        name: (results[name], np.array(seconds[name]), notes[name] or "")
        for name in results
    }


def _warm_up(
    entry: Entry, images: np.ndarray, labels: np.ndarray, patience: float
) -> str | None:
    """Why an attack cannot be timed, or an empty string; `None` if there is none."""
    if entry.library.startswith(OURS):
        entry.warm(images, labels)
        return ""
    try:
        expected = _expected(entry, images, labels)
        if expected > patience:
            return f"not done: about {expected / len(images):.1f} s an image"
        entry.warm(images, labels)
    except Lacking:
        return None
    except Exception as error:
        return _first_line(error)
    return ""


def _expected(entry: Entry, images: np.ndarray, labels: np.ndarray) -> float:
    """Seconds for all images, on the line through the times of one and a few."""
    seconds = []
    entry.warm(images[:1], labels[:1])
    for count in (1, _PROBED):
        start = time.perf_counter()
        entry.run(images[:count], labels[:count])
        seconds.append(time.perf_counter() - start)
    slope = (seconds[1] - seconds[0]) / (_PROBED - 1)
    return seconds[0] + max(slope, 0.0) * (len(images) - 1)


def _first_line(error: Exception) -> str:
    message = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {message[0]}"[:160]


def _rows(
    model: keras.Model,
    attack: str,
    timed: dict[str, Timed],
    images: np.ndarray,
    labels: np.ndarray,
) -> Iterator[dict[str, object]]:
    """One row of the table for each version of an attack."""
    base = next(iter(timed.values()))[1]
    for name, (adversarial, seconds, note) in timed.items():
        row: dict[str, object] = {"name": f"{attack}, {name}", "note": note}
        if adversarial is not None:
            whole, rounded = adversarial, np.round(adversarial * 255.0) / 255.0
            success, distance = _judge(model, attack, whole, images, labels)
            row |= {"success": success.mean(), "D": _mean(distance[success])}
            success, distance = _judge(model, "", rounded, images, labels)
            row |= {"success_8bit": success.mean(), "D_8bit": _mean(distance[success])}
            wall, cpu = np.median(seconds, axis=0) / len(images) * 1000.0
            row |= {"ms_per_image": wall, "cpu_ms_per_image": cpu}
            if note == "":
                wall, cpu = np.median(seconds / base, axis=0)
                row |= {"time_over_ours": wall, "cpu_over_ours": cpu}
                row["ours_over_theirs"] = 1.0 / wall
        yield row


def _judge(
    model: keras.Model,
    attack: str,
    adversarial: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Which images are adversarial and allowed, bool `[N]`, and L2 distances `[N]`."""
    logits = model.predict(adversarial, batch_size=len(adversarial), verbose=0)
    delta = (adversarial - images).reshape(len(images), -1).astype(np.float64)
    distance = np.linalg.norm(delta, axis=-1)
    norm, eps = _BUDGETS.get(attack, (2, np.inf))
    inside = np.linalg.norm(delta, norm, axis=-1) <= eps * (1.0 + _SLACK)
    inside &= ((adversarial >= 0.0) & (adversarial <= 1.0)).all(axis=(1, 2, 3))
    wrong = (logits.argmax(axis=-1) != labels) & np.isfinite(logits).all(axis=-1)
    return wrong & inside, distance


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _floor(
    model: keras.Model,
    kept: dict[tuple[str, str], np.ndarray | None],
    images: np.ndarray,
    labels: np.ndarray,
) -> str:
    """The smallest distortion of each image over all attacks, ours and the peers'."""
    least = {True: np.full(len(images), np.inf), False: np.full(len(images), np.inf)}
    for (attack, name), adversarial in kept.items():
        if adversarial is not None:
            success, distance = _judge(model, attack, adversarial, images, labels)
            ours = name.startswith(OURS)
            found_least = np.where(success, distance, np.inf)
            least[ours] = np.minimum(least[ours], found_least)
    return (
        "Smallest distortion of each image over all attacks above, on average: "
        f"peers {least[False].mean():.4f}, ours {least[True].mean():.4f}."
    )


def _title(arguments: argparse.Namespace) -> str:
    versions = [
        f"{peer} {version(PEERS[peer]) or '(not installed)'}"
        for peer in arguments.peers
    ]
    return (
        f"{pathlib.Path(arguments.model).name}, {arguments.examples} MNIST test "
        f"images, {', '.join([*versions, f'rounds: {arguments.rounds}'])}"
    )


if __name__ == "__main__":
    start(main)
