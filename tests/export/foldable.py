"""Images, and networks in the state of trained ones, to be folded."""

import numpy as np

SHAPE = (8, 6, 3)


def some_images(count=4):
    return np.random.default_rng(0).random((count, *SHAPE), np.float32)


def settled(model, seed=0):
    """The model with statistics, scales and norms as training might leave them."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        for weight in layer.weights:
            shape = weight.shape
            if "moving_variance" in weight.path or weight.name == "gamma":
                weight.assign(random.uniform(0.3, 3.0, shape))
            elif weight.name in ("moving_mean", "beta", "bias"):
                weight.assign(random.normal(0.0, 0.3, shape))
    return model
