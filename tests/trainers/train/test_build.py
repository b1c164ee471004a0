"""From flags to objects of the library."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import export_saved_model
from tests.seeds import set_seeds
from tests.trainers.train.common import initial_forms
from tfrobust import attacks, data, models, pag, penalties
from tfrobust.cli.program import UsageError
from tfrobust.training import step_decay
from trainers.train import build

PGD = "--adversary=pgd:norm=inf,eps=8/255,steps=10"
SHAPES = ("--dataset=shapes", "--model=mlp", "--width=4")


@pytest.fixture
def fewer_shapes(monkeypatch):
    """Drawing all of the shapes takes seconds."""
    sizes = {"train": 100, "test": 20}
    parts = {name: data.make_shapes(size, seed=1) for name, size in sizes.items()}
    monkeypatch.setattr(data, "load", lambda name, split, folder: parts[split])
    return parts


def test_load_data_cuts_down_as_told(parse, fewer_shapes):
    """A balanced subset fixed by the seed, and the first test examples."""
    flags = [*SHAPES, "--train_examples=30", "--eval_examples=7", "--batch_size=30"]
    train, test, held_out = build.load_data(parse(*flags))[:3]
    assert np.bincount(train.labels).tolist() == [3] * 10 and held_out is None
    np.testing.assert_array_equal(test.images, fewer_shapes["test"].images[:7])
    again, *_ = build.load_data(parse(*flags))
    other, *_ = build.load_data(parse(*flags, "--seed=1"))
    np.testing.assert_array_equal(train.images, again.images)
    assert not np.array_equal(train.images, other.images)


def test_load_data_takes_all_by_default(parse, fewer_shapes):
    """0 means all; more test examples than there are mean all, too."""
    for flag in ("--eval_examples=0", "--eval_examples=99999"):
        train, test, _ = build.load_data(parse(*SHAPES, flag, "--batch_size=100"))[:3]
        assert (len(train), len(test)) == (100, 20)


def images_of(dataset):
    return {image.tobytes() for image in dataset.images}


def test_held_out_images_are_not_trained_on(parse, fewer_shapes):
    """With --train_examples: those are the same as without, and others are held out,
    balanced too. Without: all but the held-out ones are trained on. None is of the
    test data, and each keeps its label.
    """
    flags = [*SHAPES, "--train_examples=30", "--batch_size=30"]
    plain = build.load_data(parse(*flags))
    for extra, trained in ((flags, 30), ([*SHAPES, "--batch_size=80"], 80)):
        loaded = build.load_data(parse(*extra, "--watch_robust=20"))
        assert (len(loaded.train), len(loaded.held_out)) == (trained, 20)
        train, held_out = images_of(loaded.train), images_of(loaded.held_out)
        assert not train & held_out and len(train | held_out) == trained + 20
        assert train | held_out <= images_of(fewer_shapes["train"])
        assert np.bincount(loaded.held_out.labels).tolist() == [2] * 10
        everything = fewer_shapes["train"]
        keys = [image.tobytes() for image in everything.images]
        labels = dict(zip(keys, everything.labels.tolist(), strict=True))
        for part in (loaded.train, loaded.held_out):
            assert [labels[i.tobytes()] for i in part.images] == part.labels.tolist()
        if trained == 30:
            np.testing.assert_array_equal(loaded.train.images, plain.train.images)
            np.testing.assert_array_equal(loaded.train.labels, plain.train.labels)


def test_what_watches_has_the_adversarys_ball(parse):
    """And L-infinity at 8/255 where there is none."""
    watch = build.make_watch(parse(*SHAPES, "--watch_robust=5", "--watch_steps=7"))
    assert watch == attacks.PGD(norm="inf", eps=8 / 255, steps=7)
    for flags in (["fgsm"], ["pgd"], ["pgd", "--trades=6"]):
        kind, *more = flags
        ball = f"--adversary={kind}:norm=1,eps=3"
        watch = build.make_watch(parse(*SHAPES, ball, *more))
        assert watch == attacks.PGD(norm=1, eps=3.0, steps=10)


def test_the_rate_falls_where_told(parse):
    """--decay_at=0.5,0.75: after 50 and 75 of 100 epochs, as the schedule has it."""
    config = parse(*SHAPES, "--epochs=100", "--decay_at=0.5,0.75")
    model = build.make_model(config, build.make_network(config, (4, 4, 3), 10), 3)
    for step, rate in ((149, 0.1), (150, 0.01), (224, 0.01), (225, 0.001)):
        model.optimizer.iterations.assign(step)
        assert float(model.optimizer.learning_rate) == pytest.approx(rate), step


@pytest.mark.parametrize("error", [ConnectionError, ValueError, PermissionError])
def test_failed_download_is_one_sentence(parse, monkeypatch, error):
    """No network, no space, no permission: the data set is named."""

    def load(*_):
        raise error("no route")

    monkeypatch.setattr(data, "load", load)
    with pytest.raises(UsageError) as failure:
        build.load_data(parse("--dataset=cifar10"))
    assert str(failure.value) == "--dataset=cifar10 could not be loaded: no route"


def test_sizes_unknown_before_the_download_are_checked_after_it(parse, monkeypatch):
    """A batch larger than what the download brought is still one sentence."""
    small = data.make_shapes(20, seed=0)
    monkeypatch.setattr(data, "load", lambda *_: small)
    with pytest.raises(UsageError, match="--batch_size=128 is more than the 20 images"):
        build.load_data(parse("--dataset=cifar10"))
    with pytest.raises(UsageError, match="--train_examples=21 is more than the 20"):
        build.load_data(parse("--dataset=cifar10", "--train_examples=21"))


def test_check_data_needs_no_download(parse, tmp_path):
    """Shape and classes of a data set that is not there; its size is unknown."""
    info = build.check_data(parse("--dataset=mnist", f"--data_dir={tmp_path}"))
    assert (info.image_shape, info.classes, info.sizes) == ((28, 28, 1), 10, {})
    assert list(tmp_path.iterdir()) == []


def test_penalties_have_the_weights_of_their_flags(parse):
    """--curvature_scale multiplies both weights of the curvature and nothing else."""
    config = parse(
        "--variant=lcnn",
        "--curvature_beta=0.01",
        "--curvature_gamma=0.02",
        "--curvature_scale=0.5",
        "--nocurvature_absolute",
        "--gradient_norm=0.3",
        "--weight_decay=0.04",
    )
    curvature, gradient, decay = build.make_penalties(config)
    assert isinstance(curvature, penalties.Curvature)
    assert (curvature.beta, curvature.gamma) == (0.005, 0.01)
    assert curvature.absolute is False
    assert isinstance(gradient, penalties.GradientNorm) and gradient.weight == 0.3
    assert isinstance(decay, penalties.WeightDecay) and decay.weight == 0.04


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--weight_decay=0"], []),
        ([], ["weight_penalty"]),
        (
            ["--variant=lcnn", "--curvature_gamma=1", "--weight_decay=0"],
            ["curvature_penalty"],
        ),
        (
            ["--variant=lcnn", "--curvature_beta=1", "--curvature_scale=0"],
            ["weight_penalty"],
        ),
        (["--gradient_norm=1", "--weight_decay=0"], ["gradient_penalty"]),
        (["--cure=1", "--weight_decay=0"], ["cure_penalty"]),
        ([PGD, "--trades=6", "--weight_decay=0"], ["trades_penalty"]),
        ([PGD, "--weight_decay=0"], []),
    ],
)
def test_no_penalty_of_weight_zero(parse, flags, names):
    """What has no weight costs nothing."""
    assert [term.name for term in build.make_penalties(parse(*flags))] == names


def test_adversary_has_the_settings_of_its_flag(parse):
    """Fractions are read as such, and a step that is not given is the attack's own."""
    assert build.make_adversary(parse()) is None
    assert build.make_adversary(parse("--adversary=off")) is None
    expected = attacks.PGD(norm="inf", eps=8 / 255, steps=10)
    assert build.make_adversary(parse(PGD)) == expected
    small = parse("--adversary=pgd:norm=2,eps=0.1,steps=3,step_size=2/255")
    expected = attacks.PGD(norm=2, eps=0.1, steps=3, step_size=2 / 255)
    assert build.make_adversary(small) == expected
    square = parse("--adversary=square:norm=2,eps=1/2,queries=7")
    expected = attacks.Square(norm=2, eps=0.5, queries=7)
    assert build.make_adversary(square) == expected


@pytest.mark.parametrize(("norm", "value"), [("inf", "inf"), ("2", 2), ("1", 1)])
def test_fgsm_has_its_norm_and_radius(parse, norm, value):
    """Its one step has no settings."""
    config = parse(f"--adversary=fgsm:norm={norm},eps=3/10")
    assert build.make_adversary(config) == attacks.FGSM(norm=value, eps=0.3)


def test_trades_attacks_the_divergence(parse):
    """Under the adversary, within the penalty, in place of an adversary."""
    config = parse(PGD, "--trades=5", "--weight_decay=0")
    assert build.make_adversary(config) is None
    (trades,) = build.make_penalties(config)
    assert trades.weight == 5
    assert trades.attack == attacks.PGD(norm="inf", eps=8 / 255, steps=10, loss="kl")


@pytest.mark.parametrize(
    ("text", "attack"),
    [
        ("pgd:norm=2,eps=1,loss=margin", attacks.PGD(norm=2, eps=1, loss="margin")),
        ("fgsm:eps=1/8", attacks.FGSM(eps=1 / 8)),
        (
            "smooth_pgd:norm=2,eps=1,random_start=true",
            attacks.SmoothPGD(norm=2, eps=1, random_start=True, loss="kl"),
        ),
    ],
)
def test_trades_under_another_attack(parse, text, attack):
    """Which keeps the loss it is given, or the only ones that it has."""
    config = parse(f"--adversary={text}", "--trades=2", "--weight_decay=0")
    (trades,) = build.make_penalties(config)
    assert trades.attack == attack


def test_cure_has_the_settings_of_its_flags(parse):
    """Weight and step."""
    cure = build.make_penalties(parse("--cure=0.5", "--cure_step=0.25"))[0]
    assert (cure.weight, cure.step) == (0.5, 0.25)


def test_model_is_trained_against_the_adversary(parse):
    """The compiled model has it."""
    config = parse(*SHAPES, PGD)
    model = build.make_model(config, build.make_network(config, (4, 4, 3), 10), 78)
    assert model.adversary == build.make_adversary(config)


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_the_adversarys_share_reaches_the_model(parse, share):
    """All of a batch by default."""
    flags = [] if share == 1 else [f"--adversary_share={share}"]
    config = parse(*SHAPES, "--adversary=fgsm:eps=0.1", *flags)
    model = build.make_model(config, build.make_network(config, (4, 4, 3), 10), 78)
    assert model.adversary_share == share


def test_adam_has_the_same_schedule(parse):
    """Keras's own moments, and the rate divided by ten twice; float16 scales its loss
    as well.
    """
    flags = "--optimizer=adam", "--learning_rate=0.001", "--epochs=8"
    config = parse(*SHAPES, *flags)
    model = build.make_model(config, build.make_network(config, (4, 4, 3), 10), 10)
    optimizer = model.optimizer
    assert type(optimizer) is keras.optimizers.Adam
    assert (optimizer.beta_1, optimizer.beta_2) == (0.9, 0.999)
    assert optimizer.weight_decay is None
    for step, rate in ((0, 1e-3), (59, 1e-3), (60, 1e-4), (69, 1e-4), (70, 1e-5)):
        optimizer.iterations.assign(step)
        assert float(optimizer.learning_rate) == pytest.approx(rate), step
    half = parse(*SHAPES, *flags, "--mixed_precision=float16")
    model = build.make_model(half, build.make_network(half, (4, 4, 3), 10), 10)
    assert type(model.optimizer) is keras.optimizers.LossScaleOptimizer
    assert type(model.optimizer.inner_optimizer) is keras.optimizers.Adam


def test_model_has_the_papers_optimizer(parse):
    """SGD with momentum, no weight decay of Keras's own; 0.1, 0.01 from epoch 150 and
    0.001 from epoch 175 of 200.
    """
    config = parse(*SHAPES, "--variant=lcnn", "--curvature_beta=0.01")
    model = build.make_model(config, build.make_network(config, (4, 4, 3), 10), 78)
    assert type(model.optimizer) is keras.optimizers.SGD
    assert (model.optimizer.momentum, model.optimizer.weight_decay) == (0.9, None)
    assert not model.optimizer.nesterov and not model.jit_compile
    # Keras's name for the schedule behind the number of the current step.
    expected = step_decay(0.1, 200, 78)
    for step, rate in (
        (0, 0.1),
        (150 * 78 - 1, 0.1),
        (150 * 78, 0.01),
        (175 * 78 - 1, 0.01),
        (175 * 78, 0.001),
    ):
        assert float(expected(step)) == pytest.approx(rate)
        model.optimizer.iterations.assign(step)
        assert float(model.optimizer.learning_rate) == pytest.approx(rate), step
    assert [term.name for term in model.penalties] == [
        "curvature_penalty",
        "weight_penalty",
    ]


def test_nesterov_momentum(parse):
    """By flag, beside the momentum that stands."""
    config = parse(*SHAPES, "--nesterov", "--momentum=0.8")
    optimizer = build.make_model(
        config, build.make_network(config, (4, 4, 3), 10), 78
    ).optimizer
    assert (optimizer.nesterov, optimizer.momentum) == (True, 0.8)


def test_float16_scales_its_loss(parse):
    """Only float16 needs it."""
    for flag, kind in (
        ("off", keras.optimizers.SGD),
        ("bfloat16", keras.optimizers.SGD),
        ("float16", keras.optimizers.LossScaleOptimizer),
    ):
        config = parse(*SHAPES, f"--mixed_precision={flag}")
        model = build.make_model(config, build.make_network(config, (4, 4, 3), 10), 5)
        assert type(model.optimizer) is kind


def test_jit_compile_reaches_the_model(parse):
    """The flag is not forgotten on the way."""
    config = parse(*SHAPES, "--jit_compile")
    model = build.make_model(config, build.make_network(config, (4, 4, 3), 10), 5)
    assert model.jit_compile is True


def small_data(classes=10, count=40):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 4, 4, 3)).astype(np.uint8)
    names = tuple(map(str, range(classes)))
    return data.Dataset("small", images, np.arange(count) % classes, names)


@pytest.mark.parametrize(
    ("flags", "kind"),
    [
        (["--pag=one_image"], pag.OneImage),
        (["--pag=class_mean:scale=2"], pag.ClassMean),
        (["--pag=nearest_neighbor:samples=3"], pag.NearestNeighbor),
        (["--pag=cluster:clusters=2"], pag.Cluster),
    ],
)
def test_directions_are_those_of_the_flag(parse, flags, kind):
    config = parse(
        *flags, "--pag_weight=0.3", "--pag_classes=4", "--pag_exact", "--seed=5"
    )
    directions = build.make_directions(config, small_data())
    assert type(directions) is kind
    assert (directions.classes, directions.image_shape) == (10, (4, 4, 3))
    alignment, decay = build.make_penalties(config, directions)
    assert isinstance(alignment, penalties.GradientAlignment)
    assert (alignment.weight, alignment.classes_per_step) == (0.3, 4)
    assert (alignment.exact, alignment.seed) == (True, 5)
    assert isinstance(decay, penalties.WeightDecay)


def test_stored_directions_are_those_of_the_flag(parse):
    """Of the images before augmentation; without the flag of those that are seen."""
    config = parse("--pag=class_mean:scale=2", "--pag_directions=stored")
    directions = build.make_directions(config, small_data())
    assert isinstance(directions, pag.StoredDirections)
    assert type(directions.source) is pag.ClassMean
    (alignment, _) = build.make_penalties(config, directions)
    assert alignment.directions is directions


def test_the_scale_of_class_means(parse):
    """Without one it is the library's; a number is the constant."""
    train = small_data()
    own, twice, once = (
        build.make_directions(
            parse(f"--pag=class_mean{scale}"), train
        ).representatives.numpy()
        for scale in ("", ":scale=2", ":scale=1")
    )
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-6)
    assert np.all(np.sum(own**2, axis=(1, 2, 3)) > np.sum(once**2, axis=(1, 2, 3)))


def test_no_directions_without_the_flag_and_no_penalty_of_weight_zero(parse):
    assert build.make_directions(parse(), small_data()) is None
    config = parse("--pag=one_image", "--pag_weight=0", "--weight_decay=0")
    directions = build.make_directions(config, small_data())
    assert build.make_penalties(config, directions) == []


def test_data_that_lack_a_class_are_the_users_mistake(parse):
    train = small_data()
    labels = np.where(train.labels == 3, 0, train.labels)
    train = dataclasses.replace(train, labels=labels)
    with pytest.raises(UsageError, match="--pag=class_mean: .* no image of class 3"):
        build.make_directions(parse("--pag=class_mean"), train)


@pytest.mark.slow
def test_every_form_teaches_the_same(parse, tmp_path):
    """A run, its file, a checkpoint, a SavedModel: the gradients of one network, also
    compiled, where many are taken at once.
    """
    info = data.describe("shapes")
    set_seeds(2)
    network = models.MLP(info.image_shape, 10, "lcnn", hidden=(4,))
    paths = initial_forms(network, tmp_path)
    export_saved_model(network, tmp_path / "served")
    images = tf.constant(np.random.default_rng(0).random((3, 32, 32, 3), np.float32))
    chosen = tf.constant([[1, 9], [0, 2], [3, 3]])
    expected = pag.Teacher(network)(images, chosen)
    train = data.make_shapes(20, seed=0)
    for path in (*paths, tmp_path / "served"):
        config = parse(*SHAPES, "--pag=rigd", f"--teacher={path}")
        teacher = build.check_teacher(config, info)
        directions = build.make_directions(config, train, teacher)
        result = tf.function(directions)(images, chosen)
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-8)
