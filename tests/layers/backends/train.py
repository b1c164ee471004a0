"""Trains and saves a model of each layer, and one of several: `train.py FOLDER`."""

import sys
from pathlib import Path

import keras
import numpy as np

from tests.layers.backends.cases import CASES, as_numpy, images, model_of
from tests.layers.backends.test_training import fit
from tfrobust.layers import (
    CenteredSoftplus,
    LipschitzBatchNormalization,
    SpectralConv2D,
    SpectralDense,
)


def network():
    """A low-curvature residual network of one block."""
    inputs = keras.Input((9, 8, 3))
    x = CenteredSoftplus()(LipschitzBatchNormalization()(SpectralConv2D(6, 3)(inputs)))
    branch = SpectralConv2D(8, 3, strides=2)(x)
    branch = LipschitzBatchNormalization(gamma=0.5)(branch)
    shortcut = SpectralConv2D(8, 1, strides=2)(x)
    x = CenteredSoftplus()(keras.layers.Average()([branch, shortcut]))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, SpectralDense(4)(x))


def main(folder: Path) -> None:
    models = {name: model_of(case) for name, case in CASES.items()}
    for name, model in (models | {"network": network()}).items():
        fit(model)
        model.save(folder / f"{name}.keras")
        x = images(3, *model.input_shape[1:])
        np.save(folder / f"{name}.npy", as_numpy(model(x, training=False)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
