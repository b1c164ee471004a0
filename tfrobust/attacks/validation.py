"""What is wrong with a call, or with the model, said in one sentence."""

from __future__ import annotations

import warnings
from typing import Any

import tensorflow as tf

from tfrobust.attacks.goal import Goal
from tfrobust.core.classifier import Classifier
from tfrobust.core.errors import warn_caller

# Images on which a model's gradients are looked at before its first attack.
_PROBED = 32
# Images of which it is asked whether it answers alike, twice.
_ASKED_TWICE = 8
# Share of the spread of logits by which two answers may differ: threads add up sums in
# any order.
_REPEATABLE = 1e-3


def check_eps(
    eps: Any, images: tf.Tensor, default: float | None, name: str
) -> tf.Tensor | None:
    """A radius for each image, float32 `[B]`, or `None` for an attack without one."""
    if default is None:
        if eps is not None:
            raise ValueError(
                f"`eps` must be left out: {name} looks for the smallest perturbation "
                "and has no radius"
            )
        return None
    count = tf.shape(images)[0]
    if eps is None:
        return tf.fill([count], tf.constant(default, tf.float32))
    eps = tf.cast(tf.convert_to_tensor(eps), tf.float32)
    if eps.shape.rank == 0:
        return tf.fill([count], eps)
    if not eps.shape.is_compatible_with(images.shape[:1]):
        raise ValueError(
            "`eps` must be a number, or one number for each of the "
            f"{images.shape[0]} images. Received: shape={eps.shape}"
        )
    return eps


def check_model(model: Any, name: str, gradient: bool, logits: bool) -> None:
    """Raises `ValueError` if a model says that it lacks what an attack asks for.

    Args:
        model: As for an attack's call.
        name: Of the attack.
        gradient: Whether it needs gradients.
        logits: Whether it needs more than the class that is answered with.
    """
    kind = type(model).__name__
    if gradient and not getattr(model, "has_gradient", True):
        raise ValueError(
            f"`model` must be differentiable in its images for {name}. Received: a "
            f"{kind}, which has no gradient; Square and HopSkipJump ask for none"
        )
    if logits and not getattr(model, "has_logits", True):
        raise ValueError(
            f"`model` must answer with logits or probabilities for {name}. Received: a "
            f"{kind} that answers with classes; HopSkipJump asks for no more"
        )


def check_values(
    labels: tf.Tensor,
    targets: tf.Tensor | None,
    eps: tf.Tensor | None,
) -> None:
    """Raises `ValueError` over idle targets or a bad radius."""
    if targets is not None and tf.reduce_any(targets == labels):
        raise ValueError(
            "`targets` must differ from `labels`. Received: equal at index "
            f"{int(tf.where(targets == labels)[0, 0])}"
        )
    if eps is not None and not tf.reduce_all((eps >= 0.0) & (eps < float("inf"))):
        raise ValueError(
            "`eps` must be finite and at least 0. Received: values from "
            f"{tf.reduce_min(eps):g} to {tf.reduce_max(eps):g}"
        )


def check_logits(
    logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor | None
) -> None:
    """Checks that need the model's answer on the clean images."""
    count = int(logits.shape[1])
    named = {"labels": labels} if targets is None else {"targets": targets}
    for name, classes in {"labels": labels, **named}.items():
        if tf.reduce_any((classes < 0) | (classes >= count)):
            raise ValueError(
                f"`{name}` must lie in [0, {count}). Received: values from "
                f"{tf.reduce_min(classes)} to {tf.reduce_max(classes)}"
            )
    if not tf.reduce_all(tf.math.is_finite(logits)):
        raise ValueError("`model` must return finite logits. Received: NaN or infinity")


def check_gradients(classifier: Classifier, images: tf.Tensor, goal: Goal) -> None:
    """Warns of gradients that no attack can follow: NaN, or zero on most images.

    Looks at the gradient of the margin, which does not saturate as the cross-entropy's
    does, on the first images of a batch.
    """
    probed = images[:_PROBED]
    goal = Goal(goal.classes[:_PROBED], goal.targeted)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(probed)
        total = tf.reduce_sum(goal.margin(classifier(probed)))
    gradient = tape.gradient(total, probed)
    if gradient is None:  # The search itself says so, as an error.
        return
    count = int(probed.shape[0])
    axes = [1, 2, 3]
    finite = tf.reduce_all(tf.math.is_finite(gradient), axis=axes)
    flawed = count - int(tf.math.count_nonzero(finite))
    if flawed:
        warn_caller(
            f"`model` has NaN or infinite gradients on {flawed} of the first {count} "
            "images; attacks take them for 0 and may look weaker than they are.",
        )
        return
    zero = int(tf.math.count_nonzero(tf.reduce_all(gradient == 0.0, axis=axes)))
    if 2 * zero > count:
        warn_caller(
            f"`model` has gradients of exactly 0 on {zero} of the first {count} "
            "images, which hides its errors from gradient attacks: that is masking, "
            "not robustness.",
        )


def check_repeatable(classifier: Classifier, images: tf.Tensor) -> None:
    """Warns of a model that answers at random, which one gradient says little of."""
    probed = images[:_ASKED_TWICE]
    with warnings.catch_warnings():
        # What there is to say of the answers has been said.
        warnings.simplefilter("ignore")
        first, second = classifier(probed), classifier(probed)
    spread = tf.reduce_max(first) - tf.reduce_min(first)
    apart = tf.reduce_max(tf.abs(first - second))
    if apart > _REPEATABLE * spread:
        warn_caller(
            "`model` answers at random: logits of the same images differ by up to "
            f"{apart:.3g}. An attack's success is that of one answer; "
            'AutoAttack(version="rand") and APGD(samples=20) average over several.'
        )
