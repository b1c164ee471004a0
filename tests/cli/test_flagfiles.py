"""The settings that come with the trainers."""

import re
from pathlib import Path

import pytest

import trainers
from tfrobust.cli import flagfiles
from trainers.train import build, options

FOLDER = Path(trainers.__file__).parent / "flags"
FILES = sorted(path.name for path in FOLDER.glob("*.flags"))
ALIGNED = [name for name in FILES if name.startswith("pag_")]
DISSECT = [name for name in FILES if name.startswith("dissect_")]
FILES = [name for name in FILES if name not in ALIGNED + DISSECT]
PAPER = [name for name in FILES if name.endswith(("_cifar10.flags", "_cifar100.flags"))]

# Design: SGD, momentum 0.9, 0.1, weight decay 5e-4, 200 epochs, batch 128, width 64.
RECIPE = {
    "augment": "crop_flip",
    "model": "resnet18",
    "width": 64,
    "epochs": 200,
    "batch_size": 128,
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
}
# What each method has beside the recipe; of LCNN what its authors' code has, LCNN-R1,
# R4, R5, R6 and R8.
METHODS = {
    "standard": {},
    "gradreg": {"gradient_norm": 6.1e-3},
    "lcnn": {"variant": "lcnn", "curvature_beta": 1e-3, "curvature_gamma": 1e-3},
    "softplus": {"variant": "softplus", "initial_beta": 10.0},
    "cure": {"cure": 6.1e-5, "cure_step": 1.0},
    "adversarial_l2": {
        "adversary": "pgd:norm=2,eps=0.1,steps=3,step_size=0.01,keep_best=false"
    },
    "adversarial_linf": {
        "adversary": "pgd:norm=inf,eps=8/255,steps=10,step_size=2/255,keep_best=false"
    },
    "trades": {
        "adversary": "pgd:norm=inf,eps=0.031,steps=10,step_size=0.007,keep_best=false",
        "trades": 6.0,
    },
}
METHODS["lcnn_gradreg"] = METHODS["lcnn"] | METHODS["gradreg"]
# Files for other programs than trainers.cifar have tests of their own.
OTHER = {
    "evaluate_dissect.flags",
    "evaluate_lcnn.flags",
    "evaluate_pag.flags",
    "evaluate_smooth.flags",
    "evaluate_smooth_imagenet.flags",
    "evaluate_smooth_paper.flags",
    "c4_mnist.flags",
    "c4_adversarial_mnist.flags",
}
FILES = [name for name in FILES if name not in OTHER]


# Table 3 of the PAG paper: the weight on CIFAR-10 and on STL-10.
WEIGHTS = {
    "vanilla": None,
    "one_image": (0.5, 0.25),
    "class_mean": (0.4, 0.2),
    "nearest_neighbor": (0.4, 0.4),
    "rigd_linf": (0.4, 0.4),
    "rigd_l2": (0.4, 0.4),
}
PAG_DATA = ("cifar10", "stl10")


def test_there_is_a_file_for_every_method_and_data_set():
    """Every method, two data sets, the overlays and the quickstart."""
    expected = {f"{m}_{d}.flags" for m in METHODS for d in ("cifar10", "cifar100")}
    assert set(FILES) == expected | {"cpu.flags", "fast.flags", "quickstart.flags"}


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_understood(parse, name):
    """It parses by itself, and each of its lines changes or states a flag once."""
    parse(f"--flagfile={FOLDER / name}")
    lines = (FOLDER / name).read_text().splitlines()
    names = [line[2:].split("=")[0] for line in lines if line.startswith("--")]
    assert len(names) == len(set(names)) > 0
    assert all(line.startswith(("--", "# ")) for line in lines)


@pytest.mark.parametrize("name", PAPER)
def test_papers_settings(parse, name):
    """The recipe and the weights of the penalties are the paper's, nothing besides."""
    method, dataset = name.removesuffix(".flags").rsplit("_", 1)
    config = parse(f"--flagfile={FOLDER / name}")
    default = parse()
    settings = {"dataset": dataset, **RECIPE, **METHODS[method]}
    for field, value in settings.items():
        assert getattr(config, field) == value, field
    for field in set(options.TrainConfig.__dataclass_fields__) - set(settings):
        if field != "workdir":
            assert getattr(config, field) == getattr(default, field), field
    # The commands in its comments name the file itself.
    text = (FOLDER / name).read_text()
    assert len(re.findall(rf"--flagfile={Path(name).stem}\s", text)) == 2


@pytest.mark.parametrize("name", PAPER)
def test_cpu_settings_lie_over_the_papers(parse, name):
    """Given second, cpu.flags changes its three flags; given first, width and epochs
    are the paper's again: the later wins.
    """
    paper, cpu = (f"--flagfile={FOLDER / file}" for file in (name, "cpu.flags"))
    full, small = parse(paper), parse(paper, cpu)
    smaller = {"width": 16, "epochs": 5, "train_examples": 20000}
    for field in options.TrainConfig.__dataclass_fields__:
        assert getattr(small, field) == smaller.get(field, getattr(full, field)), field
    swapped = parse(cpu, paper)
    assert (swapped.width, swapped.epochs) == (64, 200)
    assert swapped.train_examples == 20000


FAST = {
    "width": 16,
    "epochs": 20,
    "batch_size": 128,
    "schedule": "one_cycle",
    "learning_rate": 0.2,
    "decay_at": "0.75,0.875",
    "nesterov": True,
}


@pytest.mark.parametrize("name", [*PAPER, *ALIGNED, *DISSECT])
def test_fast_settings_lie_over_the_papers(parse, name):
    """Given second, fast.flags changes how weights are found, not what is minimised."""
    paper, fast = (f"--flagfile={FOLDER / file}" for file in (name, "fast.flags"))
    full, small = parse(paper), parse(paper, fast)
    for field in options.TrainConfig.__dataclass_fields__:
        if field != "workdir":
            expected = FAST.get(field, getattr(full, field))
            assert getattr(small, field) == expected, field


def aligned(name):
    """The method and the number of the data set of `pag_METHOD_DATA.flags`."""
    method, dataset = name.removeprefix("pag_").removesuffix(".flags").rsplit("_", 1)
    return method, PAG_DATA.index(dataset)


def test_there_is_a_file_for_every_row_of_the_aligned():
    """Tables 1 and 2 of the PAG paper, but for adversarial training."""
    assert set(ALIGNED) == {f"pag_{m}_{d}.flags" for m in WEIGHTS for d in PAG_DATA}


@pytest.mark.parametrize("name", ALIGNED)
def test_every_aligned_file_is_understood(parse, name):
    """It states each flag once, and the commands in its comments parse and name it."""
    parse(f"--flagfile={FOLDER / name}")
    lines = (FOLDER / name).read_text().splitlines()
    names = [line[2:].split("=")[0] for line in lines if line.startswith("--")]
    assert len(names) == len(set(names)) > 0
    assert all(line.startswith(("--", "# ")) for line in lines)
    text = "\n".join(line[2:] for line in lines if line.startswith("#"))
    commands = re.findall(
        r"^  python -m trainers\.(\S+) ((?:.*\\\n)*.*)$", text, re.MULTILINE
    )
    method, place = aligned(name)
    assert len(commands) == 1 + (place == 0) + method.startswith("rigd")
    for program, flags in commands:
        assert program == ("cifar", "stl")[place]
        parse(*flags.replace("\\\n", "").split())
    assert f"--flagfile={Path(name).stem}" in commands[0][1]


@pytest.mark.parametrize("name", ALIGNED)
def test_aligned_settings(parse, name):
    """PAG-S1 to S3: the published network, a constant rate, as none other is given, the
    weight of Table 3, and nothing besides.
    """
    method, place = aligned(name)
    settings = {
        **RECIPE,
        "variant": "plain",
        "dataset": PAG_DATA[place],
        "epochs": 100,
        "decay_at": "",
        "batch_size": (64, 32)[place],
        "learning_rate": 0.01,
        "weight_decay": 1e-4,
    }
    if method != "vanilla":
        settings |= {"pag": method, "pag_weight": WEIGHTS[method][place]}
    if method.startswith("rigd"):
        norm = method.removeprefix("rigd_")
        settings |= {
            "pag": "rigd",
            "teacher": f"runs/teacher_{norm}_{PAG_DATA[place]}",
            "teacher_cache": f"runs/directions_{norm}_{PAG_DATA[place]}",
        }
    config, default = parse(f"--flagfile={FOLDER / name}"), parse()
    for field in options.TrainConfig.__dataclass_fields__:
        if field != "workdir":
            expected = settings.get(field, getattr(default, field))
            assert getattr(config, field) == expected, field


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("place", [0, 1])
def test_the_teachers_command_trains_what_the_file_distils(parse, norm, place):
    """Its folder is `--teacher`; ball and network are those of PAG-S5 and S6."""
    name = f"pag_rigd_{norm}_{PAG_DATA[place]}.flags"
    text = (FOLDER / name).read_text()
    command = text.partition("The teacher comes first")[2].partition("Its gradients")[0]
    flags = command.partition("--")[2].replace("#", "").replace("\\\n", "").split()
    flags[0] = f"--{flags[0]}"
    teacher = parse(*flags)
    student = parse(f"--flagfile={FOLDER / name}")
    assert teacher.workdir == student.teacher and teacher.pag == "off"
    assert teacher.model == ("resnet50", "resnet18")[place]
    assert (teacher.variant, teacher.decay_at) == ("plain", "")
    eps = {"linf": ("8/255", "8/255"), "l2": ("0.5", "1.5")}[norm][place]
    ball = f"norm={norm.removeprefix('l')},eps={eps}"
    assert teacher.adversary == f"pgd:{ball},steps=10,keep_best=false"


def test_there_are_two_networks_to_dissect():
    """A standard and an adversarially trained one."""
    kinds = ("adversarial", "standard")
    assert [f"dissect_{kind}_cifar10.flags" for kind in kinds] == DISSECT


@pytest.mark.parametrize("name", DISSECT)
def test_dissected_settings(parse, name):
    """The paper's recipe, PGD-10 with a random start, and images held out; nothing
    besides, each flag stated once. The sweep's commands parse and name the file.
    """
    settings = {
        **RECIPE,
        "variant": "plain",
        "epochs": 100,
        "decay_at": "0.5,0.75",
        "watch_robust": 1000,
        "watch_steps": 10,
    }
    if "adversarial" in name:
        settings |= METHODS["adversarial_linf"]
    config, default = parse(f"--flagfile={FOLDER / name}"), parse()
    for field in options.TrainConfig.__dataclass_fields__:
        if field != "workdir":
            expected = settings.get(field, getattr(default, field))
            assert getattr(config, field) == expected, field
    adversary = build.make_adversary(config)
    assert adversary is None or adversary.random_start
    lines = (FOLDER / name).read_text().splitlines()
    flags = [line[2:].split("=")[0] for line in lines if line.startswith("--")]
    assert len(flags) == len(set(flags))
    text = "\n".join(line[2:] for line in lines if line.startswith("# "))
    commands = re.findall(r"python -m trainers\.cifar ((?:.*\\\n)*.*)", text)
    parsed = [parse(*command.replace("\\\n", "").split()) for command in commands]
    assert all(f"--flagfile={Path(name).stem}" in command for command in commands)
    assert [config.weight_decay for config in parsed] == [5e-4, 5e-4, 1e-4]
    assert parsed[1].width == 16


def test_a_flag_after_a_file_wins_and_before_it_loses(parse):
    """Order decides between files and flags as well."""
    file = f"--flagfile={FOLDER / 'cpu.flags'}"
    assert parse(file, "--width=3").width == 3
    assert parse("--width=3", file).width == 16


def test_quickstart_needs_no_network(parse):
    """The quickstart trains a low-curvature network on the built-in data."""
    config = parse(f"--flagfile={FOLDER / 'quickstart.flags'}")
    assert (config.dataset, config.variant) == ("shapes", "lcnn")
    assert (config.curvature_beta, config.curvature_gamma) == (1e-3, 1e-3)
    assert config.curvature_scale == 1.0


def test_packaged_files_are_known_by_name(tmp_path, monkeypatch):
    """With or without the ending, from any folder; by their path in a checkout too."""
    monkeypatch.chdir(tmp_path)
    for name in ("cpu", "cpu.flags", "trainers/flags/cpu.flags"):
        assert flagfiles.find_flagfile(name) == FOLDER / "cpu.flags"
    assert set(flagfiles.packaged_flagfiles()) == {
        path.stem for path in FOLDER.glob("*.flags")
    }


def test_a_packaged_name_is_never_a_file_by_chance(tmp_path, monkeypatch):
    """One of that name here is `./cpu`; with an ending it is a path like any other."""
    monkeypatch.chdir(tmp_path)
    for name in ("cpu", "cpu.flags", "mine"):
        (tmp_path / name).write_text("--width=3")
    assert flagfiles.find_flagfile("cpu") == FOLDER / "cpu.flags"
    for name in ("./cpu", "cpu.flags", "mine"):
        assert flagfiles.find_flagfile(name).read_text() == "--width=3"


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("lcnn_cifr10", "; the nearest are lcnn_cifar10, lcnn_cifar100, "),
        ("zzz", ", which --help lists."),
        ("runs/cpu.flags", "; the nearest are cpu."),
        ("", ", which --help lists."),
    ],
)
def test_a_name_of_nothing_is_refused(tmp_path, monkeypatch, name, ending):
    monkeypatch.chdir(tmp_path)
    start = f"--flagfile={name} is neither a file nor one that comes with tfrobust"
    with pytest.raises(ValueError, match=re.escape(start + ending)):
        flagfiles.find_flagfile(name)


def test_flags_take_the_place_of_their_file(tmp_path, monkeypatch):
    """In order, files within files too; comments and blank lines are left out."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inner").write_text("# a comment\n\n// another\n  --width=2  \n")
    (tmp_path / "outer").write_text("--epochs=1\n--flagfile=inner\n--seed=5\n")
    given = ["--width=1", "--flagfile", "outer", "-flagfile=inner", "stray"]
    assert flagfiles.expand_flagfiles(given) == [
        "--width=1",
        "--epochs=1",
        "--width=2",
        "--seed=5",
        "--width=2",
        "stray",
    ]
    assert flagfiles.expand_flagfiles(["--", "--flagfile=no"]) == [
        "--",
        "--flagfile=no",
    ]


def test_a_file_that_reads_itself_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one").write_text("--flagfile=two")
    (tmp_path / "two").write_text("--flagfile=one")
    with pytest.raises(ValueError, match="--flagfile=one reads itself"):
        flagfiles.expand_flagfiles(["--flagfile=one"])
    # Twice side by side is no circle.
    (tmp_path / "two").write_text("--width=3")
    twice = ["--flagfile=one", "--flagfile=one"]
    assert flagfiles.expand_flagfiles(twice) == ["--width=3"] * 2
