"""Bad input: one sentence, exit code 2, nothing written, lost, trained or fetched."""

import os
import re

import pytest
import tensorflow as tf

from tfrobust.cli.run_folder import RunFolder
from trainers.train import options

SHAPES = ("--dataset=shapes", "--model=mlp", "--width=4")

# name: (flags, what the sentence must match). `{tmp}` is an empty folder.
CASES = {
    "unknown data set": (
        ["--dataset=cifar11"],
        r"--dataset=cifar11: `name` must be shapes, .* TFDS name\. "
        r"Received: name='cifar11'",
    ),
    "empty data set": (["--dataset="], r"--dataset=: `name` must be shapes"),
    "data folder is missing": (
        ["--data_dir={tmp}/none"],
        r"`data_dir` must be an existing folder\. Received: data_dir='.*/none'",
    ),
    "data folder is a file": (
        ["--dataset=mnist", "--data_dir={tmp}/../file"],
        r"`data_dir` must be an existing folder\. Received: data_dir='.*/file'",
    ),
    "data folder without it": (
        ["--dataset=mine", "--data_dir={tmp}"],
        r"holds no prepared data set\. Received: name='mine'",
    ),
    "no images": (["--dataset=ag_news_subset"], r"an `image` of fixed size"),
    "width": (["--width=0"], r"flag --width=0: .* positive integer"),
    "no integer": (["--epochs=many"], r"flag --epochs=many: invalid literal"),
    "no float": (["--learning_rate=fast"], r"flag --learning_rate=fast: could not"),
    "no enum": (
        ["--variant=hard"],
        r"flag --variant=hard: .*<standard\|plain\|softplus",
    ),
    "unknown network": (
        ["--model=alexnet"],
        r"--model=alexnet: `network` must be one of c4, .*, vgg11\. Received: 'al",
    ),
    "unknown setting of a network": (
        ["--model=vgg11:depth=3"],
        r"Settings of vgg11 must be among variant, width, .*Received: depth=3",
    ),
    "setting of a network that has a flag": (
        ["--model=mlp:variant=lcnn"],
        r"--model=mlp:variant=lcnn must leave variant to --variant\.",
    ),
    "network of no form": (
        ["--model=vgg11 deep"],
        r"--model=vgg11 deep: A name with settings must be written like",
    ),
    "gamma of a network without norms": (
        ["--variant=lcnn", "--initial_gamma=3"],
        r"--initial_gamma needs a --model with a setting gamma; that of mlp are "
        r"variant, width, beta\.",
    ),
    "penalty of gammas that are not there": (
        ["--variant=lcnn", "--curvature_gamma=0.1"],
        r"--curvature_gamma needs a --model that learns a gamma; there is none in "
        r"mlp\.",
    ),
    "unknown penalty": (
        ["--penalty=jacobian:weight=1"],
        r"--penalty=jacobian:weight=1: `penalty` must be one of cure, curvature, .*",
    ),
    "weight of a penalty": (
        ["--penalty=cure:weight=-1"],
        r"--penalty=cure:weight=-1: cure: `weight` must be",
    ),
    "penalty twice": (
        ["--cure=0.1", "--penalty=cure"],
        r"--penalty must not give a term twice\. Received: cure_penalty twice\.",
    ),
    "penalty that does not apply": (
        ["--penalty=curvature"],
        r"--model=mlp cannot be trained so: .*needs a network with a learnable",
    ),
    "no boolean": (["--overwrite=x"], r"flag --overwrite=x: must be true or false"),
    "epochs": (["--epochs=0"], r"flag --epochs=0:"),
    "batch": (["--batch_size=0"], r"flag --batch_size=0:"),
    "negative seed": (["--seed=-1"], r"flag --seed=-1:"),
    "large seed": (["--seed=4294967296"], r"flag --seed=4294967296:"),
    "negative rate": (["--learning_rate=-0.1"], r"flag --learning_rate=-0\.1:"),
    "momentum": (["--momentum=1"], r"flag --momentum=1"),
    "beta": (["--initial_beta=0"], r"flag --initial_beta=0"),
    "unknown flag": (["--depth=3"], r"Unknown command line flag 'depth'"),
    "stray argument": (["train"], r"Unexpected argument 'train'"),
    "no flagfile": (["--flagfile={tmp}/no.flags"], r"no\.flags is neither a file nor"),
    "flagfile is a folder": (["--flagfile={tmp}"], r"is neither a file nor one that"),
    "beta without lcnn": (
        ["--curvature_beta=0.01", "--variant=standard"],
        r"need --variant=lcnn: a standard network has no beta",
    ),
    "gamma without lcnn": (["--curvature_gamma=0.01"], r"need --variant=lcnn"),
    "no room for the adversary": (
        ["--adversary=pgd:norm=2,eps=0"],
        r"--adversary=pgd:norm=2,eps=0 must be an attack with a radius above 0, such",
    ),
    "adversary without a radius": (
        ["--adversary=ddn"],
        r"--adversary=ddn must be an attack with a radius above 0, such as pgd:norm=2",
    ),
    "adversary of no form": (
        ["--adversary=pgd norm=2"],
        r"--adversary=pgd norm=2: A name with settings must be written like pgd:norm=",
    ),
    "unknown adversary": (
        ["--adversary=pdg:norm=2,eps=0.1"],
        r"--adversary=pdg:norm=2,eps=0\.1: `attack` must be one of apgd, .*, square",
    ),
    "unknown setting": (
        ["--adversary=fgsm:eps=0.1,steps=3"],
        r"Settings of fgsm must be among norm, eps, loss\. Received: steps=3",
    ),
    "adversary without settings": (
        ["--adversary=pgd"],
        r"pgd must be given norm and eps\. Received: pgd, without norm and eps",
    ),
    "no share": (
        ["--adversary=fgsm:eps=0.1", "--adversary_share=0"],
        r"flag --adversary_share=0",
    ),
    "more than all": (
        ["--adversary=pgd:norm=2,eps=0.1", "--adversary_share=1.5"],
        r"flag --adversary_share=1\.5",
    ),
    "share of trades": (
        ["--adversary=pgd:norm=2,eps=0.1", "--trades=6", "--adversary_share=0.5"],
        r"--adversary_share below 1 needs an --adversary, and no --trades: what the",
    ),
    "share of nothing": (
        ["--adversary_share=0.5"],
        r"--adversary_share below 1 needs an --adversary",
    ),
    "unknown optimizer": (
        ["--optimizer=lion"],
        r"flag --optimizer=lion: .*<sgd\|adam>",
    ),
    "eps divided by zero": (
        ["--adversary=pgd:norm=2,eps=8/0"],
        r"`eps` of pgd must be a number such as 0\.1 or 8/255\. Received: eps=8/0",
    ),
    "eps in words": (
        ["--adversary=pgd:norm=2,eps=small"],
        r"`eps` of pgd must be a number .*Received: eps=small",
    ),
    "negative eps": (
        ["--adversary=pgd:norm=2,eps=-8/255"],
        r"pgd: `eps` must be finite and at least 0\. Received: eps=-0\.03",
    ),
    "infinite eps": (
        ["--adversary=pgd:norm=2,eps=inf"],
        r"`eps` of pgd must be a number .*Received: eps=inf",
    ),
    "no steps": (
        ["--adversary=pgd:norm=2,eps=0.1,steps=0"],
        r"pgd: `steps` must be an integer of at least 1\. Received: steps=0",
    ),
    "unknown directions": (
        ["--pag=all_images"],
        r"`directions` must be one of class_mean, ",
    ),
    "no teacher": (["--pag=rigd"], r"--pag=rigd and --teacher need each other\."),
    "teacher of nothing": (
        ["--pag=class_mean", "--teacher=pretrained:cifar10_lcnn"],
        r"--pag=rigd and --teacher need each other\.",
    ),
    "teacher that is not there": (
        ["--pag=rigd", "--teacher={tmp}/none.keras"],
        r"--teacher=.*none\.keras does not exist",
    ),
    "teacher of other images": (
        ["--pag=rigd", "--teacher=pretrained:mnist_c4"],
        r"--teacher=pretrained:mnist_c4 takes images \[28, 28, 1\]",
    ),
    "cache of no teacher": (
        ["--teacher_cache={tmp}/cache"],
        r"--teacher_cache needs a --teacher\.",
    ),
    "negative weight of alignment": (
        ["--pag=class_mean", "--pag_weight=-1"],
        r"flag --pag_weight=-1",
    ),
    "too many classes": (
        ["--pag=class_mean", "--pag_classes=11"],
        r"--pag_classes=11 is more than the 10 classes of shapes\.",
    ),
    "one neighbour": (
        ["--pag=nearest_neighbor:samples=1"],
        r"--pag=nearest_neighbor:samples=1: nearest_neighbor: `samples` must be at "
        r"least 2",
    ),
    "decay in words": (["--decay_at=half"], r"--decay_at=half: must be rising numbers"),
    "empty share": (["--decay_at=0.5,"], r"--decay_at=0\.5,: must be rising numbers"),
    "decay that falls": (["--decay_at=0.75,0.5"], r"must be rising numbers between"),
    "decay behind the end": (["--decay_at=0.5,1"], r"must be rising numbers between"),
    "decay at NaN": (["--decay_at=nan"], r"must be rising numbers between"),
    "nothing left to train on": (
        ["--watch_robust=10000"],
        r"--watch_robust=10000 is more than can be held out of the 10000 training "
        r"images of shapes while others are trained on\.",
    ),
    "nothing left to hold out": (
        ["--watch_robust=9", "--train_examples=9992"],
        r"--watch_robust=9 is more than can be held out .* while 9992 are trained on",
    ),
    "batch of held-out images": (
        ["--watch_robust=9900", "--batch_size=101"],
        r"--batch_size=101 is more than the 100 images to train on",
    ),
    "no steps of the watch": (["--watch_steps=0"], r"flag --watch_steps=0"),
    "watch of many": (
        ["--watch_robust=9", "--distribute=multi_worker"],
        r"--watch_robust needs one process",
    ),
    "workers without an index": (
        ["--distribute=multi_worker", "--workers=a:1,b:1"],
        r"--workers and --worker_index need each other\.",
    ),
    "an index without workers": (
        ["--distribute=auto", "--worker_index=0"],
        r"--workers and --worker_index need each other\.",
    ),
    "an index that no worker has": (
        ["--distribute=auto", "--workers=a:1,b:1", "--worker_index=2"],
        r"--workers=a:1,b:1 --worker_index=2: there is no worker 2 among 2, which are "
        r"counted from 0\.",
    ),
    "a worker without a port": (
        ["--distribute=auto", "--workers=a,b:1", "--worker_index=1"],
        r"--workers=a,b:1 --worker_index=1: 'a' is no HOST:PORT\.",
    ),
    "no workers": (
        ["--distribute=multi_worker"],
        r"--distribute=multi_worker needs --workers and --worker_index, or the "
        r"environment variable TF_CONFIG\.",
    ),
    "a wait of no time": (
        ["--distribute=auto", "--start_timeout=0"],
        r"--start_timeout=0.*must be above 0",
    ),
    "XLA with replicas": (
        ["--jit_compile", "--distribute=mirrored"],
        r"--jit_compile works with --distribute=off or tpu only",
    ),
    "resume and overwrite": (
        ["--resume", "--overwrite"],
        r"--resume and --overwrite exclude each other",
    ),
    "resume nothing": (["--resume"], r"--resume found no run in --workdir=.*/run,"),
    "subset too large": (
        ["--train_examples=10001"],
        r"--train_examples=10001 is more than the 10000 training images of shapes\.",
    ),
    "batch larger than data": (
        ["--batch_size=10001"],
        r"--batch_size=10001 is more than the 10000 images to train on\.",
    ),
    "batch larger than subset": (
        ["--train_examples=20", "--batch_size=21"],
        r"--batch_size=21 is more than the 20 images to train on\.",
    ),
    "batch larger than subset of what is not there": (
        ["--dataset=cifar100", "--train_examples=20", "--data_dir={tmp}"],
        r"--batch_size=128 is more than the 20 images to train on\.",
    ),
    "images too small, data not there": (
        ["--dataset=mnist", "--data_dir={tmp}", "--model=vgg11"],
        r"--model=vgg11 does not fit --dataset=mnist: .*input_shape=\(28, 28, 1\)",
    ),
    "no TPU": (["--distribute=tpu"], r"--distribute=tpu: .*TPU"),
    "dry run is checked as well": (
        ["--dry_run", "--batch_size=10001"],
        r"--batch_size=10001 is more",
    ),
}
for _name in (
    "initial_beta",
    "initial_gamma",
    "curvature_beta",
    "curvature_gamma",
    "curvature_scale",
    "gradient_norm",
    "cure",
    "cure_step",
    "trades",
    "adversary_share",
    "weight_decay",
    "learning_rate",
    "momentum",
):
    for _value in ("nan", "inf", "-inf"):
        CASES[f"{_name} {_value}"] = (
            ["--variant=lcnn", f"--{_name}={_value}"],
            rf"flag --{_name}={_value}: ",
        )


@pytest.mark.parametrize("name", CASES)
def test_refused_flags(cifar, snapshot, tmp_path, name):
    """Refused in one sentence that names what is wrong; the folder stays empty."""
    flags, expected = CASES[name]
    (tmp_path / "file").write_text("mine")
    empty = tmp_path / "empty"
    empty.mkdir()
    before = snapshot(tmp_path)
    flags = [flag.format(tmp=empty) for flag in flags]
    ended = cifar(*SHAPES, f"--workdir={empty}/run", *flags)
    assert re.search(expected, ended.error), ended.error
    assert ended.out == ""
    assert snapshot(tmp_path) == before


@pytest.fixture
def begun(parse, tmp_path):
    """A folder in which a run with `SHAPES` began and left something."""
    folder = RunFolder(tmp_path / "run")
    folder.begin(options.flag_lines(parse(*SHAPES)))
    folder.metrics.write_text("epoch,loss\n1,2.0\n")
    folder.checkpoints.mkdir()
    (folder.checkpoints / "ckpt-1.index").write_text("weights")
    return folder


def finished(folder):
    folder.summary.write_text("{}")


def foreign(folder):
    """What is left is nobody's run."""
    folder.flags.unlink()


def a_file(folder):
    """The folder's name is taken by a file."""
    folder.path.rename(folder.path.with_name("moved"))
    folder.path.write_text("mine")


OCCUPIED = r"--workdir=.*/run already holds files; choose another folder, or go on"
FOREIGN = r"--workdir=.*/run holds files but no run\.flags, so --overwrite will not"
FOLDERS = {
    "holds a run": (None, [], OCCUPIED),
    "holds a run, dry": (None, ["--dry_run"], OCCUPIED),
    "holds a finished run": (finished, [], OCCUPIED),
    "holds other files": (foreign, [], OCCUPIED),
    "other files stay": (foreign, ["--overwrite"], FOREIGN),
    "resume other files": (foreign, ["--resume"], r"--resume found no run"),
    "resume a finished run": (finished, ["--resume"], r"has finished already\."),
    "resume another seed": (
        None,
        ["--resume", "--seed=1"],
        r"began with \(--seed=0\)\. Received: --seed=1; use --flagfile=.*run\.flags",
    ),
    "resume another network": (
        None,
        ["--resume", "--width=5", "--epochs=7"],
        r"\(--epochs=200 --width=4\)\. Received: --epochs=7 --width=5;",
    ),
    "is a file": (a_file, [], r"--workdir=.*/run is a file, not a folder\."),
    "is a file to replace": (a_file, ["--overwrite"], r"is a file, not a folder\."),
    "bad flags beside overwrite": (None, ["--overwrite", "--width=0"], r"--width=0"),
    "bad network beside overwrite": (
        None,
        ["--overwrite", "--dataset=mnist", "--model=vgg11"],
        r"--model=vgg11 does not fit",
    ),
    "bad batch beside overwrite": (
        None,
        ["--overwrite", "--batch_size=20000"],
        r"--batch_size=20000 is more",
    ),
    "no TPU beside overwrite": (None, ["--overwrite", "--distribute=tpu"], r"TPU"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_refused_folders(cifar, begun, snapshot, name):
    """A folder that may not be written stays as it is, to the byte."""
    prepare, flags, expected = FOLDERS[name]
    if prepare:
        prepare(begun)
    before = snapshot(begun.path.parent)
    ended = cifar(*SHAPES, f"--workdir={begun.path}", *flags)
    assert re.search(expected, ended.error), ended.error
    assert snapshot(begun.path.parent) == before


def test_folder_below_a_file(cifar, snapshot, tmp_path):
    """A folder that cannot be made is refused before training, not after."""
    (tmp_path / "file").write_text("mine")
    before = snapshot(tmp_path)
    error = cifar(*SHAPES, f"--workdir={tmp_path}/file/runs/1").error
    assert re.search(r"cannot be written: .*/file is not a folder", error), error
    assert snapshot(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(cifar, tmp_path):
    """Nor is it tried where the user may not write."""
    tmp_path.chmod(0o500)
    assert "cannot be written" in cifar(*SHAPES, f"--workdir={tmp_path}/run").error


@pytest.mark.parametrize("batch", [7, 12])
def test_unequal_shares_of_a_batch(cifar, monkeypatch, snapshot, tmp_path, batch):
    """A batch that leaves a replica empty would end in NaN, and one that is shared
    unequally would weigh some images more: both are refused.
    """

    class Eight(tf.distribute.MirroredStrategy):
        num_replicas_in_sync = 8

    monkeypatch.setattr("tfrobust.training.make_strategy", lambda *_: Eight(["CPU:0"]))
    flags = [*SHAPES, f"--workdir={tmp_path}/run", "--distribute=mirrored"]
    error = cifar(*flags, f"--batch_size={batch}").error
    assert error == (
        f"--batch_size={batch} cannot be shared alike by 8 devices; choose a multiple "
        "of 8."
    )
    assert snapshot(tmp_path) == {}


def test_good_flags_pass_every_check(cifar, tmp_path):
    """What the cases above are refused for is the one thing wrong with them."""
    with pytest.raises(AssertionError, match="data would be loaded"):
        cifar(*SHAPES, f"--workdir={tmp_path}/run")


def test_overwrite_is_allowed_on_a_run(cifar, begun, snapshot):
    """And what it replaces is still there when the data begins to load."""
    before = snapshot(begun.path)
    with pytest.raises(AssertionError, match="data would be loaded"):
        cifar(*SHAPES, f"--workdir={begun.path}", "--overwrite")
    assert snapshot(begun.path) == before


@pytest.mark.slow
def test_as_processes(call_module, snapshot, tmp_path):
    """The same from a shell's point of view: a few cases as real processes."""
    held = tmp_path / "held"
    held.mkdir()
    (held / "thesis.tex").write_text("years of work")
    before = snapshot(tmp_path)
    cases = [
        (["--dataset=cifar11"], "`name` must be shapes"),
        (["--width=0"], "flag --width=0"),
        ([f"--workdir={held}", "--overwrite"], "will not delete it"),
    ]
    for flags, expected in cases:
        workdir = f"--workdir={tmp_path}/run"
        ended = call_module("trainers.cifar", *SHAPES, workdir, *flags, cwd=tmp_path)
        assert expected in ended.error and ended.out == ""
    assert snapshot(tmp_path) == before


def test_a_module_that_cannot_be_imported(cifar):
    """Before anything else is looked at."""
    error = cifar("--import=no.such", "--dataset=none").error
    assert error == "--import=no.such cannot be imported: No module named 'no'"


def test_a_run_is_no_less_protected_on_a_machine_of_a_cluster(
    cifar, tmp_path, monkeypatch
):
    """TF_CONFIG makes no worker of a process that is not distributed."""
    (tmp_path / "kept").write_text("mine")
    flags = "--dataset=shapes", f"--workdir={tmp_path}"
    cluster = '{"cluster": {"worker": ["a:1", "b:2"]}, "task": TASK}'
    task = '{"type": "worker", "index": 1}'
    monkeypatch.setenv("TF_CONFIG", cluster.replace("TASK", task))
    assert "already holds files" in cifar(*flags).error
    monkeypatch.setenv("TF_CONFIG", "worker 1")
    for kind in ("multi_worker", "auto"):
        message = cifar(*flags, f"--distribute={kind}").error
        assert message.startswith("TF_CONFIG is no JSON object: ")
