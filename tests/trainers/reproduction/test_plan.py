"""Jobs: in which order, with which settings, in which folders."""

from pathlib import Path

import pytest

import trainers
from tfrobust.cli.program import UsageError
from trainers.reproduction import options, plan
from trainers.reproduction.budget import BUDGETS
from trainers.reproduction.catalog import CATALOG
from trainers.reproduction.commands import evaluation_lines, train_lines
from trainers.reproduction.plan import EVALUATE, TRAIN, Where

HERE = Where("cifar10_jpeg", "/data")
FLAGFILES = Path(trainers.__file__).parent / "flags"


def jobs_of(paper, budget):
    return plan.make([CATALOG[paper]], BUDGETS[budget], HERE)


def lines_of(jobs, name, kind=TRAIN):
    return next(job for job in jobs if (job.kind, job.name) == (kind, name)).lines


def test_budgets_have_their_flag():
    assert tuple(BUDGETS) == options.BUDGETS


@pytest.mark.parametrize("budget", BUDGETS)
def test_every_job_stands_behind_what_it_needs(budget):
    jobs = plan.make([*CATALOG.values()], BUDGETS[budget], HERE)
    trained, folders = set(), [job.folder for job in jobs]
    assert len(set(folders)) == len(folders)
    for job in jobs:
        assert trained.issuperset(job.needs)
        trained.update({job.name} if job.kind == TRAIN else ())
    # And every network that tables ask for is evaluated.
    evaluated = {name for job in jobs if job.kind == EVALUATE for name in job.needs}
    assert evaluated == {name for name in trained if "teacher" not in name}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("lcnn_gradreg", "lcnn_gradreg_cifar100"),
        ("adversarial_l2_seed1", "adversarial_l2_cifar100"),
    ],
)
def test_gpu_is_what_the_flagfile_says(name, file):
    """Every flag of the file, but for its data set's folder and the seed."""
    lines = lines_of(jobs_of("lcnn", "gpu"), name)
    given = [
        line
        for line in (FLAGFILES / f"{file}.flags").read_text().splitlines()
        if line.startswith("--")
    ]
    assert given
    whole = set(
        train_lines([*given, "--data_dir=/data", f"--seed={'1' in name[-1]:d}"])
    )
    assert lines == whole


def test_an_hour_scales_down_and_says_so():
    lines = lines_of(jobs_of("lcnn", "cpu_hour"), "lcnn")
    expected = {"--width=16", "--epochs=5", "--train_examples=10000", "--variant=lcnn"}
    assert expected | {"--dataset=cifar10_jpeg", "--data_dir=/data"} <= lines
    assert {"--schedule=one_cycle", "--nesterov=true"} <= lines


def test_mnist_is_never_scaled():
    trained = {budget: lines_of(jobs_of("smooth", budget), "c4") for budget in BUDGETS}
    assert len(set(trained.values())) == 1
    assert "--dataset=mnist" in trained["gpu"] and "--width=64" in trained["gpu"]


def test_a_teacher_comes_first_and_is_the_one_that_is_named():
    jobs = jobs_of("pag", "cpu_hour")
    names = [job.name for job in jobs if job.kind == TRAIN]
    assert names.index("pag_teacher_l2") < names.index("pag_rigd_l2")
    lines = lines_of(jobs, "pag_rigd_l2")
    assert "--teacher=runs/pag_teacher_l2" in lines
    assert not any(line.startswith("--teacher_cache=r") for line in lines)
    taught = lines_of(jobs, "pag_teacher_l2")
    assert "--adversary=pgd:norm=2,eps=0.5,steps=3,keep_best=false" in taught


def test_every_setting_comes_once_before_one_comes_twice():
    again = ["_seed" in job.name for job in jobs_of("lcnn", "gpu")]
    assert again == sorted(again) and any(again) and not all(again)


def test_seeds_of_each_budget():
    def seeds(budget, name):
        names = [job.name for job in jobs_of("lcnn", budget) if job.kind == TRAIN]
        return [each for each in names if each.removesuffix("_seed1") == name]

    assert seeds("cpu_hour", "standard") == ["standard"]
    assert seeds("cpu_night", "standard") == ["standard", "standard_seed1"]
    assert seeds("cpu_night", "cure") == ["cure"]
    assert seeds("gpu", "cure") == ["cure", "cure_seed1"]
    three = [job.name for job in jobs_of("pag", "gpu") if job.kind == TRAIN]
    assert sum(name.startswith("pag_one_image") for name in three) == 3
    assert "--seed=1" in lines_of(jobs_of("lcnn", "gpu"), "standard_seed1")


def test_networks_of_a_group_are_evaluated_together():
    """Transfer is between them."""
    jobs = jobs_of("dissect", "cpu_hour")
    [evaluation] = [job for job in jobs if job.kind == EVALUATE]
    assert evaluation.needs == ("dissect_standard", "dissect_adversarial")
    lines = evaluation.lines
    assert {"--model=runs/dissect_standard", "--name=dissect_adversarial"} <= lines
    assert {"--suite=standard,dissect", "--examples=200"} <= lines


def test_evaluations_attack_all_test_images_on_a_gpu():
    lines = lines_of(jobs_of("pag", "gpu"), "pag_vanilla", EVALUATE)
    assert {
        "--examples=10000",
        "--geometry_examples=1000",
        "--clean_examples=0",
    } <= lines
    # Only those that the network has right are attacked.
    assert "--examples=9500" in lines_of(jobs_of("smooth", "gpu"), "smooth", EVALUATE)


def test_command_lines_are_refused_in_words():
    with pytest.raises(UsageError) as caught:
        train_lines(["--variant=twisted"])
    assert "variant" in str(caught.value)
    with pytest.raises(UsageError) as caught:
        evaluation_lines(["--model=a", "--dataset=shapes", "--suite=lcnn", "--norm=2"])
    assert str(caught.value) == "--norm needs --suite=standard."
    with pytest.raises(UsageError) as caught:
        train_lines(["--width=4", "more"])
    assert str(caught.value) == "Unexpected argument 'more'."
