"""A tiny model and a training of some epochs."""

import keras
import numpy as np

from tfrobust import attacks, models
from tfrobust.training import RobustModel

SHAPE, CLASSES = (3, 2, 2), 3
ATTACK = attacks.PGD(norm="inf", eps=0.01, steps=3)


def some_data(count=12, seed=0):
    """Images, and the third of them that is brightest."""
    images = np.random.default_rng(seed).random((count, *SHAPE), np.float32)
    return images, np.argmax(images.sum(axis=(2, 3)), axis=1)


def make_model(seed=0):
    keras.utils.set_random_seed(seed)
    model = RobustModel(models.MLP(SHAPE, CLASSES, hidden=(5,)))
    optimizer = keras.optimizers.SGD(0.2, momentum=0.9)
    model.compile(optimizer, adversary=attacks.FGSM(eps=0.02))
    return model


def fit(model, callbacks, epochs, **settings):
    settings |= {"batch_size": 4, "shuffle": False, "verbose": 0}
    return model.fit(*some_data(), epochs=epochs, callbacks=callbacks, **settings)
