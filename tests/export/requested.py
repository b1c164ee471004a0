"""Good requests for every signature, and their answers as arrays."""

import numpy as np
import tensorflow as tf

SHAPE, CLASSES = (6, 5, 3), 4


def pixels(count=3, seed=0):
    return np.random.default_rng(seed).random((count, *SHAPE), np.float32)


def ask(loaded, name, **tensors):
    answer = loaded.signatures[name](**{k: tf.constant(v) for k, v in tensors.items()})
    return {key: value.numpy() for key, value in answer.items()}


def request(name, count=3, seed=0):
    """A good request for any signature."""
    images = pixels(count, seed)
    if name == "predict_bytes":
        levels = (255 * images).astype(np.uint8)
        files = [tf.io.encode_png(level).numpy() for level in levels]
        return {"image_bytes": np.array(files, object)}
    more = {
        "explain": {"classes": np.arange(count, dtype=np.int32) % CLASSES},
        "attack": {"classes": np.full(count, -1, np.int32)},
        "robustness": {"iterations": np.arange(1, count + 1, dtype=np.int32)},
        "smooth": {"perturbations": pixels(count, seed + 1) - 0.5},
    }
    return {"images": images, **more.get(name, {})}
