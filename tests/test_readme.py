"""README.md: every Python block runs, one after the other."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.seeds import set_seeds
from tfrobust import data, models

README = Path(__file__).resolve().parents[1] / "README.md"
# What takes minutes there, and what the test runs in its place.
SHORTER = {
    "width=16)\nmodel = RobustModel": "width=2)\nmodel = RobustModel",
    "epochs=5": "epochs=1, verbose=0",
    "steps=20)(network": "steps=2)(network",
    "restarts=5": "restarts=2, steps=2",
    "progress=True": "progress=False",
    "eps=10.0, steps=50": "eps=10.0, steps=2",
    "norm=2, eps=0.5\n)": "norm=2, eps=0.5, restarts=2, steps=2, queries=10\n)",
    "steps=100, search_steps=9": "steps=5, search_steps=2",
}


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", README.read_text(), flags=re.M | re.S)


@pytest.mark.slow
def test_every_block_runs(tmp_path, monkeypatch):
    """In one session; only data, and what a reader has of their own, come from here."""
    monkeypatch.chdir(tmp_path)
    set_seeds(0)
    run = tmp_path / "runs" / "laptop"
    run.mkdir(parents=True)
    models.MLP((32, 32, 3), 10, hidden=(4,)).save(run / "model.keras")
    shapes = data.make_shapes(40, seed=0)
    ten = shapes.subset(10, seed=0)  # one of each class
    images = tf.constant(ten.images / np.float32(255))
    session = {
        "train": data.train_pipeline(shapes, batch_size=20, seed=0, epochs=1),
        "test": data.eval_pipeline(shapes, batch_size=20),
        "test_batches": data.eval_pipeline(shapes.take(8), batch_size=4, pad=True),
        "images": images,
        "labels": tf.constant(ten.labels),
        "natural": images,
        "adversarial": tf.clip_by_value(images + 8 / 255, 0.0, 1.0),
        "z": tf.ones_like(images),
        "optimizer": keras.optimizers.SGD(0.1),
        "photographs": np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3)),
        "kinds": np.arange(6) % 3,
    }
    text = "\n# next block\n".join(blocks())
    for long, short in SHORTER.items():
        assert long in text, f"{long!r} is no longer in the README"
        text = text.replace(long, short)
    for block in text.split("\n# next block\n"):
        exec(compile(block, "README.md", "exec"), session)
        if "model.fit" in block:
            # A smaller one from here on: the rest is about what is done with it.
            session["network"] = models.C4((32, 32, 3), 10, "lcnn", 2)
    assert (tmp_path / "model.keras").exists()
    assert 0 <= session["evaluation"].accuracy().value <= 1
    assert len(session["result"].success) == 10
