"""Flags and the object they are read into."""

import dataclasses

import pytest
from absl import flags

from tests.trainers.programs import defined_flags
from tfrobust.cli import flags as cli_flags
from tfrobust.cli.program import UsageError
from trainers.train import options

FIELDS = [field.name for field in dataclasses.fields(options.TrainConfig)]
FLAG_OF = {"imports": "import"}
FLAGS = [FLAG_OF.get(field, field) for field in FIELDS]

# Every flag that `run.flags` repeats, at a value that is not its default.
OTHER = {
    "imports": ("my_layers", "your.layers"),
    "dataset": "svhn_cropped",
    "data_dir": "some folder/with a space",
    "train_examples": 1234,
    "eval_examples": 56,
    "augment": "none",
    "model": "vgg11",
    "variant": "lcnn",
    "width": 7,
    "initial_beta": 0.1 + 0.2,
    "initial_gamma": 1 / 3,
    "curvature_beta": 1e-17,
    "curvature_gamma": 3.5,
    "curvature_absolute": False,
    "curvature_scale": 2 / 3,
    "gradient_norm": 6.1e-3,
    "cure": 1e-3,
    "cure_step": 0.1 + 0.7,
    "adversary": "fgsm:norm=inf,eps=8/255",
    "adversary_share": 0.1 + 0.2,
    "trades": 1 / 7,
    "weight_decay": 0.0,
    "epochs": 3,
    "batch_size": 5,
    "optimizer": "adam",
    "learning_rate": 123456.789,
    "momentum": 0.123456789012345,
    "seed": 2**32 - 1,
    "deterministic": False,
    "mixed_precision": "float16",
    "jit_compile": True,
    "initial": "runs/standard",
    "pag": "rigd",
    "pag_weight": 0.1 + 0.2,
    "pag_classes": 2,
    "pag_exact": True,
    "pag_directions": "stored",
    "penalty": ("cure:weight=0.5,step=1/3", "own"),
    "teacher": "pretrained:cifar10_lcnn",
    "teacher_cache": "cache/lcnn",
    "watch_robust": 12,
    "watch_steps": 3,
    "keep_epochs": 2,
    "schedule": "one_cycle",
    "decay_at": "0.5,0.75,0.9",
    "warmup": 0.1 + 0.2,
    "nesterov": True,
}

# Together they have every flag act; what is refused is tested in test_errors.
# How a run is started, and on what: no part of what is run.
OUTSIDE = (
    *("workdir", "resume", "overwrite", "dry_run", "image_size"),
    *("distribute", "tpu", "logical_cpus", "workers", "worker_index", "start_timeout"),
)
_NO_TEACHER = {"teacher": "", "teacher_cache": ""}
_IN_PLACE = {"trades": 0.0}
COMBINATIONS = (
    _IN_PLACE,
    {"optimizer": "sgd", "initial": "", **_IN_PLACE},
    {"adversary": "pgd:norm=1,eps=1/7", "adversary_share": 1.0, "schedule": "steps"},
    {"pag": "class_mean", **_NO_TEACHER, **_IN_PLACE},
    {"pag": "nearest_neighbor", **_NO_TEACHER, **_IN_PLACE},
    {"pag": "cluster", **_NO_TEACHER, **_IN_PLACE},
)


def test_every_field_has_a_flag_and_every_flag_a_field(trainer_flags):
    """Groups, flags and fields are the same names, each once."""
    grouped = [name for group in cli_flags.GROUPS.values() for name in group]
    assert sorted(grouped) == sorted(FLAGS)
    module = trainer_flags.flags_by_module_dict()["tfrobust.cli.flags"]
    assert sorted(flag.name for flag in module) == sorted(FLAGS)


def test_fields_have_the_types_of_their_flags(parse):
    """A parsed value is of the type that its field declares."""
    config = parse()
    for field in dataclasses.fields(config):
        assert type(getattr(config, field.name)).__name__ == field.type.split("[")[0]


def test_help_names_every_flag_once_with_its_default(cifar):
    """`--help` prints groups, flags, defaults and choices, and ends well."""
    ended = cifar("--help", "--width=0", "stray")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    heads = [line for line in lines if line.startswith("  --")]
    assert [head.split()[0].rstrip(",") for head in heads] == [
        f"--{name}" for group in cli_flags.GROUPS.values() for name in group
    ]
    assert "  --width, default 64" in lines
    assert "  --workdir, default ''" in lines
    assert "  --resume, default False" in lines
    assert "  --learning_rate, default 0.1" in lines
    assert "  --variant (standard|plain|softplus|lcnn), default 'standard'" in lines
    for title in cli_flags.GROUPS:
        assert f"{title}:" in lines
    assert max(map(len, lines)) <= 88
    # Each flag has a line of text, its own and not the next flag's.
    for place, line in enumerate(lines):
        if line in heads:
            assert lines[place + 1].startswith("      ") and lines[place + 1].strip()


def test_help_shows_commands_that_can_be_pasted(cifar):
    """The backslash that continues a command survives Python's own reading."""
    assert "lcnn_cifar10 \\\n        --flagfile" in cifar("--help").out


def test_run_flags_repeat_every_setting_exactly(parse):
    """`flag_lines` read back gives the same object, floats to the last bit."""
    defaults = parse()
    repeated = [name for name in FIELDS if name not in OUTSIDE]
    assert sorted(OTHER) == sorted(repeated)
    assert all(getattr(defaults, name) != OTHER[name] for name in repeated)
    flags = set()
    for changes in COMBINATIONS:
        config = dataclasses.replace(defaults, **(OTHER | changes))
        lines = options.flag_lines(config)
        names = {line[2:].partition("=")[0] for line in lines}
        names = {field for field in repeated if FLAG_OF.get(field, field) in names}
        # What does nothing in a run is left out, and so comes back as its default.
        left_out = {name: getattr(defaults, name) for name in {*repeated} - names}
        expected = dataclasses.replace(config, **left_out, workdir="w")
        assert parse(*lines, "--workdir=w") == expected
        flags |= names
    assert sorted(flags) == sorted(repeated), "a flag that no combination states"
    assert parse(*options.flag_lines(defaults)) == defaults


def test_run_flags_say_nothing_of_where_and_how(parse):
    """The output folder and the ways to start are left out."""
    lines = options.flag_lines(
        parse(
            *("--workdir=/some/where", "--overwrite", "--distribute=auto"),
            *("--workers=a:1,b:1", "--worker_index=1", "--logical_cpus=2"),
        )
    )
    assert len(lines) > 20
    names = {line[2:].partition("=")[0] for line in lines}
    assert names.isdisjoint(OUTSIDE)


def test_workdir_is_named_after_the_run(parse):
    """Without --workdir: data set, model, variant and seed."""
    config = parse("--dataset=shapes", "--model=mlp", "--variant=lcnn", "--seed=4")
    assert config.workdir == "runs/shapes-mlp-lcnn-4"
    assert parse("--workdir=elsewhere").workdir == "elsewhere"


def test_defining_twice_changes_nothing(trainer_flags):
    """A second trainer in the same process may define the flags again."""
    before = {title: list(names) for title, names in cli_flags.GROUPS.items()}
    options.define_flags()
    assert before == cli_flags.GROUPS


def test_a_program_has_defaults_of_its_own(trainer_flags, parse):
    """They are the flags' defaults, also in the help; a given flag wins over them."""
    before = parse()
    options.define_flags(width=3, cure="8/255", jit_compile=True)
    changed = {"width": 3, "cure": 8 / 255, "jit_compile": True}
    assert parse() == dataclasses.replace(before, **changed)
    assert "  --width, default 3" in cli_flags.grouped_help("").splitlines()
    given = "--width=5", "--nojit_compile", "--cure=0"
    assert parse(*given) == dataclasses.replace(before, width=5)


def test_a_default_of_no_flag_is_a_mistake(trainer_flags):
    """A program with a typo does not start."""
    with pytest.raises(flags.UnrecognizedFlagError, match="widht"):
        options.define_flags(widht=3)


@pytest.mark.parametrize(
    ("flags_given", "needs"),
    [
        (["--cure_step=0.3"], "--cure_step needs --cure above 0."),
        (["--trades=6"], "--trades needs an --adversary."),
        (["--adversary=off", "--trades=3"], "--trades needs an --adversary."),
        (["--watch_steps=3"], "--watch_steps needs --watch_robust above 0."),
        (["--optimizer=adam", "--momentum=0.5"], "--momentum needs --optimizer=sgd."),
        (["--initial_gamma=3"], "--initial_gamma needs --variant=lcnn."),
        (
            ["--variant=lcnn", "--initial=runs/a", "--initial_beta=3"],
            "--initial_beta needs random weights, not an --initial, which brings its "
            "own.",
        ),
        (
            ["--variant=plain", "--initial_beta=3"],
            "--initial_beta needs --variant=lcnn or softplus.",
        ),
        (
            ["--pag_directions=stored"],
            "--pag_directions needs a --pag other than off, of a weight above 0.",
        ),
        (
            ["--workers=a:1,b:1", "--worker_index=0"],
            "--workers needs --distribute=multi_worker or auto.",
        ),
        (["--pag_weight=3"], "--pag_weight needs a --pag other than off."),
        (["--logical_cpus=2"], "--logical_cpus needs --distribute=mirrored or auto."),
    ],
)
def test_a_flag_that_does_nothing_is_refused(parse, flags_given, needs):
    with pytest.raises(UsageError) as caught:
        parse(*flags_given)
    assert str(caught.value) == needs


TEACHER = ("--pag=rigd", "--teacher=runs/a")


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (["--pag=class_mean"], False),
        (["--pag=class_mean", "--pag_directions=augmented"], False),
        (["--pag=class_mean", "--pag_directions=stored"], True),
        ([*TEACHER], False),
        ([*TEACHER, "--teacher_cache=runs/b"], True),
        ([*TEACHER, "--teacher_cache=runs/b", "--pag_directions=stored"], True),
    ],
)
def test_which_image_directions_are_of(parse, given, stored):
    """Those of a cache were computed before training; others are unless one says so."""
    assert parse(*given).stored is stored


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            ["--pag_directions=stored"],
            "--pag_directions=stored with a --teacher needs --teacher_cache.",
        ),
        (
            ["--pag_directions=augmented", "--teacher_cache=runs/b"],
            "--pag_directions=augmented computes a teacher's gradients in every step, "
            "not with --teacher_cache.",
        ),
    ],
)
def test_directions_that_a_teacher_does_not_have(parse, given, sentence):
    with pytest.raises(UsageError) as caught:
        parse(*TEACHER, *given)
    assert str(caught.value) == sentence


def test_choices_are_those_of_the_library():
    """The command line states them, since it is read before TensorFlow is there."""
    from export import __main__ as export_options
    from export.quantize import KINDS
    from tfrobust.models.parts import VARIANTS
    from tfrobust.smoothing import checks
    from tfrobust.training import STRATEGIES
    from trainers.suites.smooth.suite import SmoothSettings

    with defined_flags(lambda: cli_flags.define(SmoothSettings)) as defined:
        kernels, neighbors = (
            tuple(defined[name].parser.enum_values)
            for name in ("smooth_kernel", "smooth_neighbors")
        )
    assert kernels == checks.KERNELS
    assert neighbors == tuple(map(str, checks.NEIGHBORS))
    assert options.STRATEGIES == STRATEGIES
    assert options.VARIANTS == VARIANTS
    assert export_options.QUANTIZED == ("off", *KINDS)


def test_a_flag_at_its_default_is_let_through(parse):
    """Flagfiles state them, whatever else is set."""
    assert parse("--watch_steps=10", "--trades=0") == parse()


@pytest.mark.parametrize("name", ["learning_rate", "curvature_beta", "momentum"])
def test_bounds_hold_at_the_edge(parse, name):
    """0 is allowed for weights and rates."""
    assert getattr(parse(f"--{name}=0", "--variant=lcnn"), name) == 0.0
