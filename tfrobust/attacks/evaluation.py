"""Attacks on whole data sets."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import tqdm

from tfrobust.attacks.base import Attack
from tfrobust.attacks.identity import identity_of
from tfrobust.attacks.outcomes import Evaluation
from tfrobust.attacks.store import Store
from tfrobust.attacks.trial import Given, Trial
from tfrobust.core.classifier import as_classifier
from tfrobust.core.examples import Batches
from tfrobust.core.images import check_classes, check_range, check_width, pixels_in
from tfrobust.core.terminal import columns


def evaluate(
    model: Any,
    batches: Any,
    attacks: Mapping[str, Attack],
    *,
    batch_size: int = 128,
    progress: bool = False,
    keep_images: bool = False,
    bounds: Any = None,
    folder: str | os.PathLike[str] | None = None,
) -> Evaluation:
    """Runs attacks on a data set, batch by batch.

    Each attack sees the clean images and reports by itself; `Evaluation` puts them
    together. Smaller last batches are not traced anew.

    An attack in stages, such as `AutoAttack`, runs its first stage batch by batch. The
    images that withstand stay in memory, and each later stage gets those that are left,
    in full batches.

    In the scope of a `tf.distribute.MirroredStrategy` its replicas share every batch,
    and the outcome is that of one device up to rounding. Create or load the model in
    the scope too, so that each device has a copy of its weights. A `BlackBox` stays on
    one device.

    Args:
        model: As for an attack's call.
        batches: `(images, labels)` batches, for instance a `tf.data.Dataset`, or one
            such pair of arrays, which is cut into batches; both as for an attack. A
            third element, the weights of a padded pipeline, marks padding by 0, and
            such images are left out.
        attacks: The attacks by name; untargeted.
        batch_size: Of a pair of arrays, and of the later stages of an attack that has
            some, at least 1.
        progress: Whether to show progress bars with the time left on standard error,
            and how much of the accuracy is left so far.
        keep_images: Whether to keep the adversarial images.
        bounds: The range of the pixels, as for an attack's call.
        folder: Where to keep what is done. After an interruption the same call with the
            same folder goes on where it was: the result of a batch is read from there
            if the images, the labels, the attack's settings, this library's version and
            the model are the same. A Keras model is known by its weights, its
            configuration and its answers and gradients on the first images, a
            `BlackBox` by its `key`, anything else by answers and gradients. Nothing is
            kept of a function that answers at random. The folder is made if it does not
            exist, and left to you to remove; do so after a change of an attack of your
            own.

    Returns:
        The outcome for every image and attack.

    Raises:
        ValueError: If there is no image, or a batch is not `(images, labels)`; and as
            for an attack's call.

    Example:
        >>> import tensorflow as tf
        >>> from tfrobust import attacks
        >>> def model(x):
        ...     total = tf.reduce_sum(x, axis=[1, 2, 3])
        ...     return tf.stack([total, 3.9 - total], axis=-1)
        >>> data = [(tf.fill([2, 2, 2, 1], 0.5), [0, 0])] * 3
        >>> evaluation = attacks.evaluate(model, data, {"pgd": attacks.FGSM(eps=0.1)})
        >>> evaluation.accuracy().value, evaluation.robust_accuracy().value
        (1.0, 0.0)

        On all GPUs of the machine:

        >>> with tf.distribute.MirroredStrategy(["CPU:0"]).scope():  # or of ()
        ...     shared = attacks.evaluate(model, data, {"pgd": attacks.FGSM(eps=0.1)})
        >>> shared.robust_accuracy().value
        0.0
    """
    if not isinstance(attacks, Mapping):
        raise ValueError(
            "`attacks` must be a dictionary of attacks by name. "
            f"Received: a {type(attacks).__name__}"
        )
    if not attacks:
        raise ValueError("`attacks` must hold at least one attack. Received: none")
    classifier = as_classifier(model, bounds)
    store = Store(folder)
    trials = {
        name: Trial(name, attack, model, bounds, keep_images, store)
        for name, attack in attacks.items()
    }
    labels, correct = [], []
    shown = tqdm.tqdm(
        Batches(batches, batch_size),
        desc="attacks",
        unit="batch",
        ncols=columns(sys.stderr),
        disable=not progress,
    )
    for images, classes in shown:
        pixels = pixels_in(images, model, bounds).images
        given_classes = classes
        classes = check_classes("labels", classes, pixels)
        logits = classifier(pixels)
        check_width("labels", given_classes, int(logits.shape[-1]))
        check_range("labels", classes, int(logits.shape[-1]))
        labels.append(classes.numpy())
        correct.append(np.argmax(logits, axis=-1) == labels[-1])
        given = Given(np.asarray(images), labels[-1], logits.numpy())
        if store and len(labels) == 1:
            store.begin(*identity_of(model, classifier, pixels, classes))
        for name, trial in trials.items():
            shown.set_postfix_str(f"{trial.left}{name}")
            trial.add(given)
    if not labels:
        raise ValueError("`batches` must hold at least one batch. Received: none")
    for trial in trials.values():
        trial.finish(batch_size, progress)
    return Evaluation(
        labels=np.concatenate(labels),
        clean_correct=np.concatenate(correct),
        results={name: trial.outcome() for name, trial in trials.items()},
    )
