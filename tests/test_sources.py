"""Rules about the sources that a linter does not know."""

import ast
import configparser
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("tfrobust", "trainers", "export", "benchmarks")
# The parts of the library from the ground up: each imports those below its own row.
FLOORS = (
    ("settings", "data"),
    ("layers",),
    ("core",),
    ("models", "pag", "smoothing"),
    ("attacks", "cli"),
    ("geometry", "penalties"),
    ("analysis", "training"),
    ("viz",),
)
# What else imports what: a folder, and the only ones beside the library that it may.
# Rooms of `trainers/suites` know what all of them share, and not one another.
PROGRAMS = {
    "tfrobust": (),
    "export": (),
    "trainers/train": ("export",),
    "trainers/toys": (),
    "trainers/suites": (),
    "trainers/reproduction": ("trainers/train", "trainers/suites"),
    "trainers": (
        "export",
        "trainers/train",
        "trainers/toys",
        "trainers/suites",
        "trainers/reproduction",
    ),
    "benchmarks": ("export", "trainers", "tests"),
}
SOURCES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for package in PACKAGES
    for path in (REPOSITORY / package).rglob("*.py")
)

# Modules that their owners change without notice, and end-of-life ones.
PRIVATE = ("keras.src", "tensorflow.compiler", "tensorflow.python", "tf_keras.src")
RETIRED = ("tensorflow_addons", "tf_keras")
PICKLES = ("pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve")
# A name here cannot be saved, moved to another process or to another device.
BANNED_NAMES = ("Lambda", "numpy_function", "py_function", "py_func")
# (file, module): a private module that a file cannot do without, with its reason
# beside it.
ALLOWED_PRIVATE = frozenset(
    # What has a derivative: the public class can only add to it, once.
    ("tfrobust/core/second_derivatives.py", f"tensorflow.python.framework{name}")
    for name in ("", ".ops")
) | frozenset(
    # A gradient tape adds up by `AddN`, whose order is open, and takes no other sum.
    ("tfrobust/training/determinism.py", f"tensorflow.python.ops{name}")
    for name in ("", ".gen_math_ops")
)

# (file, name): a banned name that a file cannot do without.
ALLOWED_NAMES = frozenset(
    # A function that TensorFlow cannot trace is what the file is about; `export`
    # refuses it.
    {("tfrobust/core/black_box.py", "tensorflow.numpy_function")}
)


def is_within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == p or module.startswith(p + ".") for p in packages)


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an attribute chain, an empty string of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value)):
        return f"{owner}.{node.attr}"
    return ""


def absolute(node: ast.ImportFrom, source: str) -> str:
    """The module of a `from` import, relative ones resolved against `source`."""
    if not node.level:
        return node.module or ""
    parts = Path(source).with_suffix("").parts[: -node.level]
    return ".".join((*parts, node.module) if node.module else parts)


def imports(tree: ast.AST, source: str) -> Iterator[str]:
    """Every dotted name that an import statement may load, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(node, source)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def names(tree: ast.AST) -> Iterator[str]:
    """Every plain or dotted name that is used, `tf` spelt out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            yield re.sub(r"^tf\.", "tensorflow.", dotted(node))


def part(module: str) -> str:
    """`pag` of `tfrobust.pag.distillation`, an empty string outside the library."""
    parts = module.split(".")
    return parts[1] if parts[0] == "tfrobust" and len(parts) > 1 else ""


def floor(name: str) -> int:
    """How high a part of the library stands; what is no part stands on the ground."""
    return next((row for row, names in enumerate(FLOORS) if name in names), -1)


def folder_of(module: str) -> str:
    """The longest entry of `PROGRAMS` that a module or a room lies in, if any does."""
    path = module.replace(".", "/")
    inside = [name for name in PROGRAMS if f"{path}/".startswith(f"{name}/")]
    return max(inside, key=len, default=path.partition("/")[0])


def room(module: str) -> str:
    """`lcnn` of `trainers.suites.lcnn.page`; no room of what the rooms share."""
    parts = module.split(".")
    place = REPOSITORY.joinpath(*parts[:3])
    is_room = parts[:2] == ["trainers", "suites"] and place.is_dir()
    return parts[2] if is_room and len(parts) > 2 else ""


def goes_up(source: str, module: str) -> bool:
    """Whether an import leads to what stands on the file, or beside it."""
    own = source.removesuffix(".py").replace("/", ".")
    here, there = folder_of(own), folder_of(module)
    if here == there == "tfrobust":
        mine, other = part(own), part(module)
        is_inside = mine == other or floor(other) < 0 or mine == "__init__"
        return not is_inside and floor(other) >= floor(mine)
    if here == there:
        return room(module) not in ("", room(own))
    ours = {*PROGRAMS, "tests"}
    return there in ours - {"tfrobust", *PROGRAMS.get(here, ())}


def is_command_line(source: str) -> bool:
    return source.startswith(("tfrobust/cli/", "trainers/", "export/"))


def findings(text: str, source: str) -> list[str]:
    """What breaks a rule in `text`, the content of the file named `source`."""
    tree = ast.parse(text)
    found = []
    for module in sorted({*imports(tree, source), *names(tree)}):
        if is_within(module, PRIVATE) and (source, module) not in ALLOWED_PRIVATE:
            found.append(f"private module {module}")
        is_banned = module.rpartition(".")[2] in BANNED_NAMES
        if is_banned and (source, module) not in ALLOWED_NAMES:
            found.append(f"{module} ties a model to this process")
    for module in sorted(set(imports(tree, source))):
        if is_within(module, RETIRED):
            found.append(f"retired module {module}")
        if is_within(module, PICKLES):
            found.append(f"{module} runs what it reads")
        if source.startswith("tfrobust/"):
            if is_within(module, ("absl.flags",)) and not is_command_line(source):
                found.append("flags belong to command lines")
        if goes_up(source, module):
            found.append(f"imports go down, not to {module}")
        if source.startswith("tfrobust/layers/") and is_within(
            module, ("tensorflow", "jax", "torch")
        ):
            found.append(f"a layer is written in keras.ops, not in {module}")
    return found


@pytest.mark.parametrize("source", SOURCES)
def test_source_keeps_the_rules(source):
    assert findings((REPOSITORY / source).read_text(encoding="utf-8"), source) == []


@pytest.mark.parametrize(
    ("source", "line", "expected"),
    [
        ("export/a.py", "from tensorflow.python.framework import ops", "private"),
        ("export/a.py", "from tensorflow import python", "private"),
        ("export/a.py", "x = keras.src.backend.x()", "private"),
        ("export/a.py", "x = tf.python.x()", "private"),
        ("export/a.py", "import tensorflow_addons as tfa", "retired"),
        ("trainers/a.py", "def f():\n    import pickle", "runs what it reads"),
        ("trainers/a.py", "x = keras.layers.Lambda(f)", "ties"),
        ("trainers/a.py", "from keras.layers import Lambda", "ties"),
        ("trainers/a.py", "x = tf.numpy_function(f, [1], tf.int32)", "ties"),
        ("tfrobust/a.py", "from absl import flags", "flags belong"),
        ("export/a.py", "from trainers import cifar", "imports go down"),
        ("tfrobust/viz/a.py", "from trainers import cifar", "imports go down"),
        ("tfrobust/data/a.py", "from tfrobust.settings import require", "go down"),
        ("tfrobust/layers/a.py", "from tfrobust import attacks", "go down"),
        ("tfrobust/attacks/a.py", "from tfrobust.cli import tables", "go down"),
        ("tfrobust/core/a.py", "def f():\n    from tfrobust import viz", "go down"),
        ("trainers/train/a.py", "from trainers.suites import samples", "go down"),
        ("trainers/suites/a.py", "from trainers.suites.pag import page", "go down"),
        ("trainers/suites/a.py", "from trainers.reproduction import plan", "go down"),
        ("trainers/suites/lcnn/a.py", "from trainers.suites import pag", "go down"),
        ("trainers/a.py", "from benchmarks import peers", "imports go down"),
        ("tfrobust/a.py", "import tests.conftest", "imports go down"),
        ("tfrobust/layers/a.py", "import tensorflow as tf", "keras.ops"),
    ],
)
def test_a_broken_rule_is_found(source, line, expected):
    assert expected in "\n".join(findings(line, source))


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("export/a.py", "from absl import flags\nimport tensorflow as tf"),
        ("tfrobust/a.py", "'''Never use Lambda or pickle.'''\nx = lambda y: y"),
        ("tfrobust/layers/a.py", "from keras import ops"),
        ("tfrobust/viz/a.py", "from tfrobust.analysis import frequency"),
        ("trainers/suites/lcnn/a.py", "from trainers.suites import parts"),
        ("trainers/suites/lcnn/a.py", "from trainers.suites.lcnn import page"),
        ("trainers/a.py", "from trainers.train import build"),
        ("trainers/train/a.py", "import export"),
        ("benchmarks/a.py", "from export import client\nfrom tests import serving"),
    ],
)
def test_an_honest_line_is_left_alone(source, line):
    assert findings(line, source) == []


def test_every_part_of_the_library_has_its_floor():
    parts = {
        path.stem
        for path in (REPOSITORY / "tfrobust").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert parts - {"__init__"} == {name for row in FLOORS for name in row}


def test_no_module_is_hidden_behind_a_name_that_its_package_exports():
    """`tfrobust.geometry.curvature` is a function: its module has another name."""
    for package in sorted((REPOSITORY / "tfrobust").rglob("__init__.py")):
        tree = ast.parse(package.read_text(encoding="utf-8"))
        exported = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            # `from tfrobust import viz` names the module itself.
            and node.module != ".".join(package.relative_to(REPOSITORY).parts[:-1])
            for alias in node.names
        }
        folder = package.parent
        modules = {path.stem for path in folder.glob("*.py")} | {
            path.parent.name for path in folder.glob("*/__init__.py")
        }
        assert exported & modules == set(), package


def setup_requirements() -> list[Requirement]:
    parser = configparser.ConfigParser()
    parser.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    lines = parser["options"]["install_requires"].splitlines()
    for extra in ("train", "dev"):
        lines += parser["options.extras_require"][extra].splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    return [Requirement(line) for line in lines if line.strip()]


def lock_text() -> str:
    return (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")


def lock_pins() -> list[Requirement]:
    entries = lock_text().replace("\\\n", " ").splitlines()
    return [
        Requirement(entry.partition("--hash")[0])
        for entry in entries
        if entry.strip() and not entry.startswith("#")
    ]


@pytest.mark.parametrize("requirement", setup_requirements(), ids=str)
def test_the_range_admits_the_pin(requirement):
    name = canonicalize_name(requirement.name)
    pins = [pin for pin in lock_pins() if canonicalize_name(pin.name) == name]
    assert pins, f"{name} is not in requirements.lock; run `make lock`"
    for pin in pins:
        (pinned,) = pin.specifier
        assert pinned.operator == "=="
        assert requirement.specifier.contains(pinned.version)


def test_the_lock_is_pinned_hashed_and_names_no_place():
    for entry in lock_text().replace("\\\n", " ").splitlines():
        if not entry.startswith("#"):
            assert re.match(r"[a-z0-9-]+==\S+ ", entry), entry
            assert "--hash=sha256:" in entry
    for place in ("://", "--index", "--extra-index", "--find-links", "file:", " @ "):
        assert place not in lock_text()
