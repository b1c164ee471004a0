"""What a run would do, without doing it."""

import re

import keras
import pytest

from tfrobust import models
from tfrobust.training import RobustModel
from trainers.train import build, dry_run


@pytest.fixture
def plan(cifar, monkeypatch, snapshot, tmp_path):
    """`plan(flag, ...)`: the lines of a dry run, in which nothing may happen."""

    def never(*_, **__):
        raise AssertionError("a dry run trains, downloads or exports nothing")

    for owner, name in (
        (RobustModel, "fit"),
        (RobustModel, "train_step"),
        (keras.optimizers.SGD, "apply"),
        (keras.Model, "save"),
    ):
        monkeypatch.setattr(owner, name, never)
    monkeypatch.setattr(dry_run, "_matrix_rate", lambda: 2e9)
    monkeypatch.chdir(tmp_path)

    def run(*flags):
        ended = cifar(*flags, "--dry_run")
        assert (ended.code, ended.err) == (0, "")
        assert snapshot(tmp_path) == {}
        assert max(map(len, ended.out.splitlines())) <= 80
        # What goes on in the next line stands below the text.
        whole = ended.out.replace("\n" + " " * 10, " ")
        return dict(line.split(maxsplit=1) for line in whole.splitlines())

    return run


def test_plan_of_a_known_data_set(plan):
    """Network, data, loss, schedule and cost of a run, worked out by hand."""
    lines = plan(
        "--dataset=shapes",
        "--model=mlp",
        "--variant=lcnn",
        "--width=5",
        "--train_examples=1000",
        "--batch_size=96",
        "--epochs=8",
        "--curvature_beta=0.01",
        "--gradient_norm=0.1",
    )
    # 3072 * 5 + 5, 5 * 5 + 5, 5 * 10 + 10 weights, and two betas.
    assert lines["network"] == "mlp, lcnn, width 5: 15,457 trainable weights"
    assert lines["data"] == (
        "shapes: 10,000 train, 2,000 test; images (32, 32, 3), 10 classes; trains on "
        "1,000, augmented by crop_flip"
    )
    assert lines["loss"] == (
        "cross-entropy + curvature_penalty + gradient_penalty + weight_penalty"
    )
    assert lines["schedule"] == (
        "8 epochs of 10 steps of 96 images; sgd, learning rate 0.1, divided by 10 "
        "after epochs 6 and 7"
    )
    # 2 * (3072 * 5 + 25 + 50) operations, six times for a gradient's gradient.
    epoch = 2 * 15_435 * 6 * 960
    assert lines["cost"].startswith(
        f"3.09e-05 GFLOP a forward pass of one image, {epoch / 1e12:.3g} TFLOP an epoch"
    )
    assert f"at least {epoch / 2e9:.0f} s an epoch, 0.0002 h in all" in lines["cost"]
    assert lines["writes"].startswith("runs/shapes-mlp-lcnn-0 (nothing yet")


def test_plan_of_held_out_images_and_other_decays(plan):
    """They are not trained on; the epochs are those of --decay_at."""
    lines = plan(
        "--dataset=shapes",
        "--model=mlp",
        "--width=5",
        "--watch_robust=1000",
        "--decay_at=0.5,0.57,0.75",
        "--epochs=100",
        "--batch_size=100",
    )
    assert lines["data"].endswith(
        "trains on 9,000, augmented by crop_flip; 1,000 more are held out and attacked "
        "after each epoch"
    )
    assert lines["schedule"].startswith("100 epochs of 90 steps of 100 images")
    assert lines["schedule"].endswith("divided by 10 after epochs 50, 57 and 75")


MLP = "--dataset=shapes", "--model=mlp", "--width=5"


@pytest.mark.parametrize(
    ("epochs", "decay_at", "sentence"),
    [
        (1, "0.75,0.875", "not divided: 0.75 and 0.875 of the run fall into epoch 1"),
        (2, "0.75,0.875", "divided by 100 after epoch 1"),
        (3, "0.75,0.875", "divided by 100 after epoch 2"),
        (4, "0.75,0.875", "divided by 100 after epoch 3"),
        (3, "0.2", "not divided: 0.2 of the run falls into epoch 1"),
        (5, "0.75,0.875", "divided by 10 after epochs 3 and 4"),
        (200, "0.75,0.875", "divided by 10 after epochs 150 and 175"),
        (
            4,
            "0.1,0.5",
            "divided by 10 after epoch 2; not at 0.1 of the run, in epoch 1",
        ),
        (9, "", "constant"),
        (10, "0.5,0.55,0.8", "divided by 100 after epoch 5, by 10 after epoch 8"),
    ],
)
def test_plan_of_the_rate(plan, parse, epochs, decay_at, sentence):
    """What training then does: the words are as `step_decay` divides. In an epoch that
    is the first, it does not.
    """
    flags = *MLP, f"--epochs={epochs}", f"--decay_at={decay_at}"
    assert plan(*flags)["schedule"].endswith(f"learning rate 0.1, {sentence}")
    rate, expected = 0.1, []
    changes = dict(
        (int(epoch), int(by))
        for by, listed in re.findall(r"by (\d+) after epochs? ([\d, and]+)", sentence)
        for epoch in re.findall(r"\d+", listed)
    )
    for epoch in range(epochs):
        rate /= changes.get(epoch, 1)
        expected.append(rate)
    model = build.make_model(parse(*flags), models.MLP((2,), 2, hidden=(2,)), 7)
    for epoch in range(epochs):
        model.optimizer.iterations.assign(7 * epoch)
        assert float(model.optimizer.learning_rate) == pytest.approx(expected[epoch])


def test_plan_of_one_cycle(plan, parse):
    """In words, and as the optimiser has it at the quarters of a run."""
    flags = *MLP, "--epochs=4", "--schedule=one_cycle", "--warmup=0.5"
    sentence = "learning rate 0.1 after 50% of the run, which begins and ends at 0"
    assert plan(*flags)["schedule"].endswith(sentence)
    model = build.make_model(parse(*flags), models.MLP((2,), 2, hidden=(2,)), 7)
    for epoch, rate in enumerate([0, 0.05, 0.1, 0.05]):
        model.optimizer.iterations.assign(7 * epoch)
        assert float(model.optimizer.learning_rate) == pytest.approx(rate)
    assert not model.optimizer.nesterov


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ([], None),
        (
            ["--adversary=pgd:norm=inf,eps=8/255,steps=10"],
            "PGD Linf 8/255, 10 steps of 1.6/255, in place of all images",
        ),
        (
            [
                "--adversary=pgd:norm=2,eps=0.5,steps=1,step_size=1/255",
                "--adversary_share=0.25",
            ],
            "PGD L2 0.5, 1 step of 1/255, in place of 25% of each batch; the others "
            "stay clean",
        ),
        (
            ["--adversary=fgsm:norm=1,eps=12"],
            "FGSM L1 12, in place of all images",
        ),
        (
            ["--adversary=square:norm=inf,eps=0.1,queries=50"],
            "Square Linf 0.1, 50 queries, in place of all images",
        ),
        (
            ["--adversary=pgd:norm=2,eps=0.2,steps=3,restarts=2", "--trades=2.5"],
            "TRADES: clean images, and 2.5 times the divergence of the prediction "
            "under PGD L2 0.2, 3 steps of 0.133, 2 restarts",
        ),
    ],
)
def test_plan_of_an_adversary(plan, flags, sentence):
    """What is attacked, in which ball, by how many steps of which length."""
    assert plan(*MLP, *flags).get("adversary") == sentence


@pytest.mark.parametrize(
    "value", ["0.1", "0.2", "1", "8/255", "1/255", "2.5", "127/255"]
)
def test_a_radius_is_shown_as_it_was_typed(plan, value):
    """51/255 is 0.2, and 255/255 is 1."""
    shown = plan(*MLP, f"--adversary=fgsm:eps={value}")["adversary"]
    assert shown == f"FGSM Linf {value}, in place of all images"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ([], None),
        (["--pag=one_image", "--pag_weight=0"], None),
        (
            ["--pag=class_mean", "--pag_exact"],
            "class_mean, weight 0.4: towards the mean of each class; all 10 classes a "
            "step, each exactly",
        ),
        (
            ["--pag=nearest_neighbor", "--pag_weight=2", "--pag_classes=3"],
            "nearest_neighbor, weight 2: towards the nearest of some images of each "
            "class; 3 of 10 classes a step, by random signs",
        ),
        (
            ["--pag=cluster:clusters=7", "--pag_classes=1"],
            "cluster:clusters=7, weight 0.4: towards the nearest of some centers of "
            "each class; 1 of 10 classes a step, each exactly",
        ),
    ],
)
def test_plan_of_aligned_gradients(plan, flags, sentence):
    """Which directions, with which weight."""
    assert plan(*MLP, *flags).get("aligned") == sentence


def test_plan_of_a_teacher(plan, monkeypatch):
    """It is named, and so is the folder that keeps its gradients."""
    monkeypatch.setattr(build, "check_teacher", lambda *_: None)
    lines = plan(*MLP, "--pag=rigd", "--teacher=runs/t", "--teacher_cache=cache/t")
    assert lines["aligned"].startswith(
        "rigd, weight 0.4: towards the gradients of a teacher, runs/t, kept in "
        "cache/t; all 10"
    )


def test_a_path_is_not_broken(cifar, monkeypatch, tmp_path):
    """It may be copied, however long it is."""
    monkeypatch.setattr(dry_run, "_matrix_rate", lambda: 2e9)
    path = tmp_path / ("a" * 60) / "b-c"
    assert f" {path}\n" in cifar(*MLP, "--dry_run", f"--workdir={path}").out


def test_plan_of_a_data_set_that_is_not_there(plan, monkeypatch, tmp_path):
    """Shape and classes are known offline; what is not is said to be unknown, and the
    network is never asked.
    """
    import socket

    def offline(*_, **__):
        raise AssertionError("the network was tried")

    monkeypatch.setattr(socket, "create_connection", offline)
    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setenv("HOME", str(tmp_path))
    lines = plan("--dataset=cifar100", "--model=mlp", "--width=4")
    assert lines["data"] == (
        "cifar100: not downloaded yet; images (32, 32, 3), 100 classes; trains on ?, "
        "augmented by crop_flip"
    )
    assert lines["schedule"].startswith("200 epochs of ? steps of 128 images;")
    assert "not known before the data is there" in lines["cost"]
    prepared = plan(
        "--dataset=cifar100", "--model=mlp", "--width=4", "--train_examples=1280"
    )
    assert "trains on 1,280" in prepared["data"]
    assert prepared["schedule"].startswith("200 epochs of 10 steps of 128 images;")


def test_plan_of_a_prepared_folder(plan, tfds_dir):
    """Sizes come from the folder."""
    flags = f"--data_dir={tfds_dir}", "--model=mlp", "--width=4"
    lines = plan("--dataset=mnist", *flags)
    sizes = dict(re.findall(r"([\d,]+\d) (\w+)", lines["data"].split(";")[0]))
    assert sizes == {"60,000": "train", "10,000": "test"}
    assert "images (28, 28, 1), 10 classes; trains on 60,000" in lines["data"]


@pytest.mark.parametrize(
    ("flags", "passes"),
    [
        ([], 3),
        (["--adversary=pgd:norm=2,eps=0.1,steps=4"], 3 + 9),
        (["--adversary=pgd:norm=2,eps=0.1,steps=4,restarts=2"], 3 + 18),
        (["--adversary=pgd:norm=2,eps=0.1,steps=4", "--trades=1"], 3 + 9 + 3),
        (["--adversary=square:norm=2,eps=0.1,queries=7"], 3 + 8),
        (["--adversary=fgsm:eps=0.1"], 3 + 3),
        (["--adversary=fgsm:eps=0.1", "--adversary_share=0.5"], 3 + 1.5),
    ],
)
def test_cost_counts_the_adversarys_passes(parse, flags, passes):
    """Two for each gradient and one for the last look, of the rows attacked alone."""
    assert dry_run._passes(parse(*flags)) == passes


def test_rate_is_of_matrix_products():
    """The measured rate is a positive number of operations a second."""
    assert 1e7 < dry_run._matrix_rate(64) < 1e16


def test_cost_counts_what_the_network_multiplies(parse):
    """Without an input-gradient a step costs three forward passes."""
    config = parse("--dataset=shapes", "--model=mlp", "--width=4", "--batch_size=10")
    network = models.MLP((2,), classes=2, hidden=(8,))
    operations = 2 * (2 * 8 + 8 * 2) * 3 * 10 * 7
    assert f"{operations / 1e12:.3g} TFLOP" in dry_run._cost(config, network, 7)
