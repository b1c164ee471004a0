"""What an evaluation is of, where no data set is given."""

import pytest

from tests.trainers.programs import defined_flags
from tfrobust.cli.program import UsageError
from trainers import evaluate
from trainers.suites.options import config_from_flags


@pytest.fixture
def run_of(tmp_path):
    """`run_of(name, flag, ...)`: the folder of a run that began with these flags."""

    def make(name, *flags):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "run.flags").write_text("\n".join(flags) + "\n")
        (folder / "model.keras").touch()
        return folder

    return make


def parse(*arguments):
    with defined_flags(evaluate.define_flags) as flags:
        flags(["evaluate", *map(str, arguments)])
        return config_from_flags()


@pytest.mark.parametrize("inside", ["", "model.keras", "saved_model/1"])
def test_the_data_set_is_that_of_the_run(run_of, inside):
    name = "folder:a/photos:size=64"
    folder = run_of("first", f"--dataset={name}", "--data_dir=d", "--seed=1")
    (folder / "saved_model" / "1").mkdir(parents=True)
    config = parse(f"--model={folder / inside}", "--model=pretrained:mnist_c4")
    assert (config.dataset, config.data_dir, config.seed) == (name, "d", 0)
    assert config.folder.as_posix() == "runs/evaluation-photos"
    assert parse(f"--model={folder}", "--data_dir=e").data_dir == "e"


def test_a_data_set_that_is_given_comes_first(run_of):
    """Also if it is the one that there would be without a run."""
    folder = run_of("first", "--dataset=mnist")
    config = parse(f"--model={folder}", "--dataset=cifar10")
    assert (config.dataset, config.data_dir) == ("cifar10", "")
    assert parse("--model=nowhere").dataset == "cifar10"


def test_runs_of_different_data_sets_need_one(run_of):
    first, second = run_of("a", "--dataset=mnist"), run_of("b", "--dataset=shapes")
    with pytest.raises(UsageError) as caught:
        parse(f"--model={first}", f"--model={second}")
    assert str(caught.value) == (
        "--dataset must be given: the models were trained on mnist and shapes."
    )
    config = parse(f"--model={first}", f"--model={second}", "--dataset=shapes")
    assert config.dataset == "shapes"


def test_a_size_goes_into_the_name(tmp_path):
    config = parse("--model=a", "--dataset=folder:b", "--image_size=48x64")
    assert (config.dataset, config.image_size) == ("folder:b:size=48x64", "")
    with pytest.raises(UsageError, match="--image_size needs a --dataset=folder:PATH"):
        parse("--model=a", "--dataset=mnist", "--image_size=48")
