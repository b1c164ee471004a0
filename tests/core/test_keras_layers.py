"""First and second derivatives through every layer of Keras, by finite differences.

Of `sum(sin(3 f(x) + p))` with a phase p for each entry, in float64.
"""

import numpy as np
import pytest
import tensorflow as tf

from tests.core.keras_layers import (
    CASES,
    LEFT_OUT,
    REFUSED,
    all_layers,
    apply,
    make,
)
from tests.seeds import set_seeds
from tfrobust.core.gradients import gradient_and_hessian

EVERY = [
    pytest.param(name, case, id=f"{name}{number}")
    for name, cases in CASES.items()
    for number, case in enumerate(cases)
]
# These compute in float32 whatever they are asked for, or cannot do otherwise.
SINGLE = {
    "AdaptiveAveragePooling3D",
    "AdaptiveMaxPooling3D",
    "AveragePooling3D",
    "CenterCrop",
    "MaxPooling3D",
    "RandomCrop",
    "RandomPerspective",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "Resizing",
    "UpSampling2D",
}


def test_every_layer_is_tried_or_left_out_for_a_reason():
    """So that a layer that a new Keras brings has to be looked at."""
    known = [*CASES, *REFUSED, *LEFT_OUT]
    assert sorted(known) == sorted(set(known)) == sorted(all_layers())


def values_of(layer, case):
    def values(x):
        outputs = tf.cast(apply(layer, case, x), x.dtype)
        outputs = tf.reshape(outputs, [tf.shape(x)[0], -1])
        phases = tf.cast(tf.range(tf.shape(outputs)[1]), x.dtype)
        return tf.reduce_sum(tf.sin(3.0 * outputs + phases), axis=1)

    return values


@pytest.mark.slow
@pytest.mark.parametrize(("name", "case"), EVERY)
def test_derivatives_of_a_layer(name, case):
    set_seeds(0)
    random = np.random.default_rng(0)
    dtype = "float32" if name in SINGLE else "float64"
    images = random.uniform(0.1, 0.9, (2, *case.shape)).astype(dtype)
    vectors = random.normal(size=images.shape).astype(dtype)
    layer = make(name, case, dtype)
    values = values_of(layer, case)
    values(tf.constant(images))
    state = [(variable, variable.numpy()) for variable in layer.variables]

    def reset():
        """What a layer drew or counted in one call is the same in the next."""
        for variable, value in state:
            variable.assign(value)

    @tf.function(autograph=False)
    def total(x):
        return tf.reduce_sum(values(x))

    @tf.function(autograph=False)
    def derivatives(x, v):
        gradient, product = gradient_and_hessian(values, x)
        return gradient, product(v)

    def at(function, shift, *more):
        reset()
        result = function(tf.constant(images + shift * vectors), *more)
        result = result[0] if isinstance(result, tuple) else result
        return np.asarray(result, np.float64)

    reset()
    vector = tf.constant(vectors)
    gradient, product = (np.asarray(d) for d in derivatives(images, vector))
    step, tolerance = (2e-3, 1e-2) if name in SINGLE else (1e-5, 1e-6)
    slope = (at(total, step) - at(total, -step)) / (2 * step)
    size = np.linalg.norm(gradient)
    assert size > 0
    assert abs(np.sum(gradient * vectors) - slope) <= tolerance * (size + abs(slope))
    ends = [at(derivatives, sign * step, vector) for sign in (1, -1)]
    expected = (ends[0] - ends[1]) / (2 * step)
    scale = np.linalg.norm(expected)
    np.testing.assert_allclose(product, expected, rtol=0, atol=tolerance * scale)
    assert scale > 0
