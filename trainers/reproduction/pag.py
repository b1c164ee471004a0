"""Ganz, Kawar and Elad 2023, Do Perceptually Aligned Gradients Imply Robustness?"""

from __future__ import annotations

from trainers.reproduction.findings import ABOVE, BELOW, Claim, Finding, chain
from trainers.reproduction.papers import Evaluation, Paper, Training
from trainers.reproduction.results import Flag, Measured, Source
from trainers.reproduction.tables import PaperTable, grid

# Two classes a step cost half of what ten do (docs/results/pag.md).
_FEWER = ("--pag_classes=2",)
# The rate of docs/results/pag.md, a quarter of what `fast` has for the others.
_SLOWER = ("--learning_rate=0.05",)
_ALIGNED = (*_FEWER, *_SLOWER)
# Ten classes of 50,000 images would take 3 GB on disk and of the memory.
_TAUGHT = (*_ALIGNED, "--teacher_cache=")


def _teacher(norm: str, eps: str, short: str) -> Training:
    """A network whose gradients RIGD distils (PAG-S5), smaller if scaled."""
    ball = f"--adversary=pgd:norm={norm},eps={eps}"
    return Training(
        name=f"pag_teacher_{short}",
        title=f"teacher of RIGD {short}",
        setting="PAG-S5",
        flagfile="pag_vanilla",
        flags=(f"{ball},steps=10,keep_best=false", "--model=resnet50"),
        scaled=(f"{ball},steps=3,keep_best=false", "--model=resnet18"),
        measured=False,
    )


_TRAININGS = (
    Training(name="pag_vanilla", title="Vanilla", setting="PAG-S8"),
    Training(
        name="pag_one_image",
        title="One Image",
        setting="PAG-T3",
        seeds=3,
        scaled=_ALIGNED,
        robust=True,
    ),
    Training(
        name="pag_class_mean",
        title="Class Mean",
        setting="PAG-T3",
        scaled=_ALIGNED,
        robust=True,
    ),
    Training(
        name="pag_nearest_neighbor",
        title="Nearest Neighbor",
        setting="PAG-T3",
        scaled=_ALIGNED,
        robust=True,
    ),
    _teacher("inf", "8/255", "linf"),
    Training(
        name="pag_rigd_linf",
        title="RIGD Linf",
        setting="PAG-T3",
        scaled=_TAUGHT,
        robust=True,
        teacher="pag_teacher_linf",
    ),
    _teacher("2", "0.5", "l2"),
    Training(
        name="pag_rigd_l2",
        title="RIGD L2",
        setting="PAG-T3",
        scaled=_TAUGHT,
        robust=True,
        teacher="pag_teacher_l2",
    ),
    *(
        Training(
            name=f"pag_class_mean_{weight}",
            title=f"Class Mean, lambda {weight}",
            setting="PAG-F5",
            flagfile="pag_class_mean",
            flags=(f"--pag_weight={weight}",),
            robust=True,
            only_full=True,
        )
        for weight in ("0.01", "0.1", "1")
    ),
)
_NAMES = {each.title: each.name for each in _TRAININGS}
_T1 = [
    "Vanilla",
    "One Image",
    "Class Mean",
    "Nearest Neighbor",
    "RIGD Linf",
    "RIGD L2",
]
_ALIGNED_NAMES = [_NAMES[title] for title in _T1[1:]]


def _clean(name: str) -> Measured:
    setting = {"split": "test", "attacked": None}
    return Measured(name, "accuracy", setting, 100, name="clean accuracy")


def _linf(name: str) -> Measured:
    return _attacked(name, "PGD Linf 0.031", "accuracy under Linf .031")


def _l2(name: str) -> Measured:
    return _attacked(name, "PGD L2 0.5", "accuracy under L2 .5")


def _attacked(name: str, attack: str, title: str) -> Measured:
    setting = {"attack": attack, "rounded": False}
    return Measured(name, "robust_accuracy", setting, 100, "pag", title)


def _three(name: str, column: int) -> Source:
    return (_clean, _linf, _l2)[column](name)


def _t3(title: str, column: int) -> Source | None:
    # The second column is STL's, which no budget trains.
    return None if column else Flag(_NAMES[title], "pag_weight")


def _f5(title: str, column: int) -> Source:
    name = "pag_class_mean" if title == "0.4" else f"pag_class_mean_{title}"
    return _three(name, column)


_COLUMNS = ("no attack", "Linf .031", "L2 .5")
_TABLES = (
    PaperTable(
        label="PAG-T1",
        title="Accuracy in percent on CIFAR-10",
        corner="method",
        columns=_COLUMNS,
        rows=grid(
            """
            93.61 00.00 00.00
            79.46 16.57 49.68
            81.41 15.65 50.62
            80.65 10.58 46.33
            84.94 40.69 58.51
            88.96 28.35 65.04
            """,
            _T1,
            lambda title, column: _three(_NAMES[title], column),
        ),
        note="The paper's are of one training. Its teachers are public ResNet-50s "
        "(PAG-S5); ours are ResNet-18s that are trained here at the same radii.",
    ),
    PaperTable(
        label="PAG-T3",
        title="Weight of the alignment, lambda",
        corner="method",
        columns=("CIFAR-10", "STL-10"),
        rows=grid("0.5 0.25\n0.4 0.2\n0.4 0.4\n0.4 0.4\n0.4 0.4", _T1[1:], _t3),
        note="Settings, not results: ours is what the network was trained with.",
    ),
    PaperTable(
        label="PAG-T4",
        title="One Image over three trainings, accuracy in percent",
        corner="method",
        columns=_COLUMNS,
        rows=grid(
            "79.13+-0.74 15.93+-0.58 50.26+-0.91",
            ["One Image"],
            lambda title, column: _three(_NAMES[title], column),
        ),
        error="not said what; of three trainings",
    ),
    PaperTable(
        label="PAG-F5",
        title="Class Mean over lambda, accuracy in percent",
        corner="lambda",
        columns=_COLUMNS,
        rows=grid(
            "93.39 0 0.65\n88.40 4.88 36.43\n81.41 15.65 50.62\n72.63 19.47 48.73",
            ["0.01", "0.1", "0.4", "1"],
            _f5,
        ),
    ),
)

_FINDINGS = (
    Finding(
        "PAG-T1",
        "Aligned gradients make a network robust without adversarial training.",
        [
            Claim(of(name), ABOVE, of("pag_vanilla"))
            for name in _ALIGNED_NAMES[:3]
            for of in (_linf, _l2)
        ],
    ),
    Finding(
        "PAG-T1",
        "So does distilling the gradients of a robust network.",
        [
            Claim(of(name), ABOVE, of("pag_vanilla"))
            for name in _ALIGNED_NAMES[3:]
            for of in (_linf, _l2)
        ],
    ),
    Finding(
        "PAG-T1",
        "It costs clean accuracy.",
        [Claim(_clean(name), BELOW, _clean("pag_vanilla")) for name in _ALIGNED_NAMES],
    ),
    Finding(
        "PAG-T1",
        "Distilled gradients of an Linf teacher are most robust in Linf.",
        [
            Claim(_linf("pag_rigd_linf"), ABOVE, _linf(name))
            for name in ("pag_vanilla", *_ALIGNED_NAMES)
            if name != "pag_rigd_linf"
        ],
    ),
    Finding(
        "PAG-T1",
        "Distilled gradients of an L2 teacher are most robust in L2.",
        [
            Claim(_l2("pag_rigd_l2"), ABOVE, _l2(name))
            for name in ("pag_vanilla", *_ALIGNED_NAMES)
            if name != "pag_rigd_l2"
        ],
    ),
    Finding(
        "PAG-T1",
        "Clean accuracy falls from class mean over nearest neighbour to one image.",
        chain(
            [
                _clean("pag_class_mean"),
                _clean("pag_nearest_neighbor"),
                _clean("pag_one_image"),
            ]
        ),
    ),
    Finding(
        "PAG-T1",
        "Robustness in Linf falls from one image over class mean to nearest neighbour.",
        chain(
            [
                _linf("pag_one_image"),
                _linf("pag_class_mean"),
                _linf("pag_nearest_neighbor"),
            ]
        ),
    ),
    Finding(
        "PAG-T1",
        "Robustness in L2 falls from class mean over one image to nearest neighbour.",
        chain(
            [_l2("pag_class_mean"), _l2("pag_one_image"), _l2("pag_nearest_neighbor")]
        ),
    ),
    Finding(
        "PAG-F5",
        "The larger lambda, the lower the clean accuracy.",
        chain([_f5(weight, 0) for weight in ("0.01", "0.1", "0.4", "1")]),
    ),
    Finding(
        "PAG-F4",
        "Images moved far along aligned gradients look like the class aimed at.",
        note="The paper judges by eye. The pages of the evaluations show the images.",
    ),
)

PAG = Paper(
    name="pag",
    title="Ganz, Kawar and Elad 2023, Do Perceptually Aligned Gradients Imply "
    "Adversarial Robustness?",
    data="cifar10",
    trainings=_TRAININGS,
    evaluations=[
        Evaluation(
            flags=("--flagfile=evaluate_pag", "--suite=standard,pag"),
            suites=("standard", "pag"),
            scaled=("--pag_moved=20",),
        )
    ],
    tables=_TABLES,
    findings=_FINDINGS,
    not_tested=(
        "PAG-T2 and the STL-10 column of PAG-T3: trainers.stl with pag_*_stl10",
        "PAG-TOY: trainers.toy --task=pag_lines",
    ),
)
