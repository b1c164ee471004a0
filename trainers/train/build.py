"""From a `TrainConfig` to the library's objects: data, network, penalties, model."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import keras

from tfrobust import attacks, data, pag, penalties
from tfrobust.cli import data_record, dataset_names, datasets
from tfrobust.cli.loading import Loaded, load_classifier
from tfrobust.cli.program import UsageError
from tfrobust.training import RobustModel
from trainers.train import networks, rates, teacher_cache
from trainers.train.options import TrainConfig


class Datasets(NamedTuple):
    """The data of a run.

    Attributes:
        train: What is trained on.
        test: What every epoch is evaluated on, and nothing is chosen by.
        held_out: Images that are not trained on, which `--watch_robust` attacks to
            choose the best epoch: of a folder's `val/`, or else of the training images;
            `None` where it is 0.
        record: What `data.json` says of them, before they were cut down.
    """

    train: data.Dataset
    test: data.Dataset
    held_out: data.Dataset | None
    record: dict[str, Any]


def check_data(config: TrainConfig) -> data.DatasetInfo:
    """What is known of the data; `UsageError` if the run cannot use it.

    Nothing is downloaded. The size of a data set that is not there yet is unknown; then
    `load_data` finds what is wrong with it.
    """
    info = datasets.check(config.dataset, config.data_dir)
    _check_size(config, info.sizes.get("train"), validation_size(info))
    if config.pag_classes > info.classes:
        raise UsageError(
            f"--pag_classes={config.pag_classes} is more than the {info.classes} "
            f"classes of {config.dataset}."
        )
    return info


def load_data(config: TrainConfig) -> Datasets:
    """The data, cut down as the flags say; downloads what is missing."""
    train, test = (
        datasets.load(config.dataset, split, config.data_dir)
        for split in datasets.SPLITS
    )
    held_out = _validation(config)
    _check_size(config, len(train), None if held_out is None else len(held_out))
    splits = {"train": train, "test": test}
    if held_out is not None:
        splits[datasets.VALIDATION] = held_out
    record = data_record.describe(config.dataset, splits)
    if config.watch_robust and held_out is None:
        train, held_out = _hold_out(config, train)
    elif config.train_examples:
        train = train.subset(config.train_examples, config.seed)
    if config.eval_examples:
        test = test.take(min(config.eval_examples, len(test)))
    if held_out is not None and not config.watch_robust:
        held_out = None
    elif held_out is not None and config.watch_robust < len(held_out):
        held_out = held_out.subset(config.watch_robust, config.seed)
    return Datasets(train, test, held_out, record)


def _validation(config: TrainConfig) -> data.Dataset | None:
    """All of a folder's `val/`, if it has one beside its `test/`."""
    if not dataset_names.is_own(config.dataset):
        return None
    info = datasets.check(config.dataset, config.data_dir)
    if not datasets.has_validation(info):
        return None
    return datasets.load(config.dataset, datasets.VALIDATION, config.data_dir)


def validation_size(info: data.DatasetInfo) -> int | None:
    """How many images a folder's `val/` has, if there is one."""
    return info.sizes[datasets.VALIDATION] if datasets.has_validation(info) else None


def _hold_out(
    config: TrainConfig, full: data.Dataset
) -> tuple[data.Dataset, data.Dataset]:
    """What to train on, and `--watch_robust` other images of the same split.

    Of all images in the random, balanced order that the seed fixes: with
    `--train_examples` the first so many are trained on, the same as without
    `--watch_robust`, and the next ones held out; else the first ones are held out and
    all others trained on.
    """
    order = full.subset(len(full), config.seed)
    trained, watched = config.train_examples, config.watch_robust
    if trained:
        return _rows(order, 0, trained), _rows(order, trained, trained + watched)
    return _rows(order, watched, len(order)), _rows(order, 0, watched)


def _rows(dataset: data.Dataset, start: int, stop: int) -> data.Dataset:
    """Some examples of a data set, copied, so that the others can be let go."""
    return dataclasses.replace(
        dataset,
        images=dataset.images[start:stop].copy(),
        labels=dataset.labels[start:stop].copy(),
    )


def examples_of(
    config: TrainConfig, available: int | None, validation: int | None = None
) -> int | None:
    """How many images are trained on; `None` if that is not known.

    Args:
        config: The settings.
        available: How many training images there are, if that is known.
        validation: How many images a folder's `val/` has, if there is one.
    """
    if config.train_examples or available is None:
        return config.train_examples or None
    return available - (config.watch_robust if validation is None else 0)


def _check_size(
    config: TrainConfig, available: int | None, validation: int | None = None
) -> None:
    """Refuses a subset larger than the data and a batch larger than the subset."""
    if available is not None and config.train_examples > available:
        raise UsageError(
            f"--train_examples={config.train_examples} is more than the {available} "
            f"training images of {config.dataset}."
        )
    if validation is not None and config.watch_robust > validation:
        raise UsageError(
            f"--watch_robust={config.watch_robust} is more than the {validation} "
            f"images in val/ of {config.dataset}."
        )
    remaining = None if available is None else available - config.train_examples
    if (
        validation is None
        and remaining is not None
        and config.watch_robust > remaining - (not config.train_examples)
    ):
        raise UsageError(
            f"--watch_robust={config.watch_robust} is more than can be held out of the "
            f"{available} training images of {config.dataset} while "
            f"{config.train_examples or 'others'} are trained on."
        )
    used = examples_of(config, available, validation)
    if used is not None and config.batch_size > used:
        raise UsageError(
            f"--batch_size={config.batch_size} is more than the {used} images to "
            "train on."
        )


def check_names(config: TrainConfig) -> None:
    """Raises `UsageError` if a name is not registered, or cannot do what flags ask."""
    networks.check(config)
    _parse_penalties(config)
    make_attack(config)
    if config.pag != "off":
        _check_directions(config)


def _check_directions(config: TrainConfig) -> None:
    try:
        settings = pag.settings(config.pag)
    except ValueError as error:
        raise UsageError(f"--pag={config.pag}: {error}") from error
    if config.teacher and "teacher" not in settings:
        raise UsageError("--pag=rigd and --teacher need each other.")


def make_network(
    config: TrainConfig, input_shape: tuple[int, int, int], classes: int
) -> keras.Model:
    """The network that the flags describe, freshly initialised.

    Raises `UsageError` if it does not fit the images, or a penalty does not fit it.
    """
    made = networks.make(config, input_shape, classes)
    _check_penalties(config, made)
    return made


def _check_penalties(config: TrainConfig, network: keras.Model) -> None:
    """Raises `UsageError` if terms share a name or one cannot apply to the network."""
    terms = make_penalties(config)
    names = [term.name for term in terms]
    names += [penalties.GradientAlignment.name] * config.aligned
    for term in terms:
        if names.count(term.name) > 1:
            raise UsageError(
                f"--penalty must not give a term twice. Received: {term.name} twice."
            )
        try:
            term.check(network)
        except ValueError as error:
            raise UsageError(
                f"--model={config.model} cannot be trained so: {error}"
            ) from error


def check_teacher(config: TrainConfig, info: data.DatasetInfo) -> Loaded | None:
    """The network that `--pag=rigd` distils; `UsageError` if it cannot."""
    if not config.teacher:
        return None
    teacher = load_classifier(config.teacher, flag="teacher")
    teacher.check(info.image_shape, info.classes, config.dataset)
    if tuple(teacher.input_shape) != info.image_shape:
        raise UsageError(
            f"--teacher={config.teacher} must take images of one size alone."
        )
    if config.teacher_cache:
        teacher_cache.check(config)
    return teacher


def make_directions(
    config: TrainConfig, train: data.Dataset, teacher: Loaded | None = None
) -> pag.Directions | None:
    """Where the logits' gradients are to point, if anywhere.

    Raises `UsageError` if the data or the teacher do not allow it.
    """
    if not config.aligned:
        return None
    given = {} if teacher is None else {"teacher": teacher.network}
    try:
        if config.teacher_cache and teacher is not None:
            return teacher_cache.directions(config, train, teacher.network)
        made = pag.build(
            config.pag,
            train.images,
            train.labels,
            train.classes,
            seed=config.seed,
            **given,
        )
    except ValueError as error:
        raise UsageError(f"--pag={config.pag}: {error}") from error
    return pag.StoredDirections(made) if config.stored else made


def make_penalties(
    config: TrainConfig, directions: pag.Directions | None = None
) -> list[penalties.Penalty]:
    """The terms of the loss beside cross-entropy; none with weight 0."""
    terms: list[penalties.Penalty] = []
    beta, gamma = (
        weight * config.curvature_scale
        for weight in (config.curvature_beta, config.curvature_gamma)
    )
    if beta or gamma:
        terms.append(
            penalties.Curvature(beta, gamma, absolute=config.curvature_absolute)
        )
    if config.gradient_norm:
        terms.append(penalties.GradientNorm(config.gradient_norm))
    if config.cure:
        terms.append(penalties.Cure(config.cure, config.cure_step))
    attack = make_attack(config)
    if attack is not None and config.trades:
        terms.append(penalties.Trades(config.trades, attack))
    if directions is not None:
        terms.append(
            penalties.GradientAlignment(
                directions,
                config.pag_weight,
                classes_per_step=config.pag_classes or None,
                exact=config.pag_exact,
                seed=config.seed,
            )
        )
    if config.weight_decay:
        terms.append(penalties.WeightDecay(config.weight_decay))
    return terms + _parse_penalties(config)


def _parse_penalties(config: TrainConfig) -> list[penalties.Penalty]:
    """The terms of `--penalty`."""
    terms = []
    for text in config.penalty:
        try:
            terms.append(penalties.parse(text))
        except ValueError as error:
            raise UsageError(f"--penalty={text}: {error}") from error
    return terms


def make_attack(config: TrainConfig) -> attacks.Attack | None:
    """The attack of `--adversary`, if there is one.

    Raises `UsageError` if it does not exist, has other settings or no radius.
    """
    if not config.attacked:
        return None
    try:
        attack = attacks.parse(config.adversary)
        if config.trades and isinstance(attack, attacks.PGD):
            attack = attacks.parse(config.adversary, loss="kl")
    except ValueError as error:
        raise UsageError(f"--adversary={config.adversary}: {error}") from error
    if not attack.budget:
        raise UsageError(
            f"--adversary={config.adversary} must be an attack with a radius above 0, "
            "such as pgd:norm=2,eps=0.1."
        )
    return attack


def make_adversary(config: TrainConfig) -> attacks.Attack | None:
    """What perturbs the images of every training step, if anything."""
    return None if config.trades else make_attack(config)


def make_watch(config: TrainConfig) -> attacks.Attack:
    """What `--watch_robust` attacks with: PGD in the adversary's ball, if there is one.

    Without an adversary the ball is L-infinity at 8/255.
    """
    attack = make_attack(config) or attacks.FGSM(norm="inf", eps=8 / 255)
    norm, eps = attack.threat.norm, attack.threat.eps
    return attacks.PGD(norm=norm, eps=eps or 0.0, steps=config.watch_steps)


def make_model(
    config: TrainConfig,
    network: keras.Model,
    steps_per_epoch: int,
    directions: pag.Directions | None = None,
) -> RobustModel:
    """Network, optimiser and penalties as one compiled model, where the network is."""
    with network.distribute_strategy.scope():
        model = RobustModel(network)
        try:
            model.compile(
                _optimizer(config, steps_per_epoch),
                penalties=make_penalties(config, directions),
                adversary=make_adversary(config),
                adversary_share=config.adversary_share,
                jit_compile=config.jit_compile,
            )
        except ValueError as error:
            raise UsageError(
                f"--model={config.model} cannot be trained so: {error}"
            ) from error
    return model


def _optimizer(config: TrainConfig, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    rate = rates.make(config, steps_per_epoch)
    if config.optimizer == "adam":
        return keras.optimizers.Adam(rate)
    return keras.optimizers.SGD(
        rate, momentum=config.momentum, nesterov=config.nesterov
    )
