"""The standard suite as a whole, on a network whose robust accuracy is known.

Classes are quarters of an image, and the network takes the mean of each for its logit.
An L-infinity attack lowers the lead of the brightest over the next by twice its radius
and no more, so an image withstands it exactly where the lead is larger.
"""

import keras
import numpy as np
import pytest

from tests.trainers.suites.common import call, columns_of, records_of

# By how many levels of 8 bits the quarter of the class is brighter; 8/255 takes 16.
LEADS = np.array([6, 10, 14, 20, 26, 30])


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Flags for the network and its data."""
    folder = tmp_path_factory.mktemp("quarters")
    labels = np.repeat(np.arange(4), len(LEADS))
    images = np.full((len(labels), 8, 8, 1), 100, np.uint8)
    for image, label, lead in zip(images, labels, np.tile(LEADS, 4), strict=True):
        top, left = 4 * (label // 2), 4 * (label % 2)
        image[top : top + 4, left : left + 4] += np.uint8(lead)
    arrays = {}
    for split in ("train", "test"):
        arrays |= {f"x_{split}": images, f"y_{split}": labels}
    np.savez(folder / "quarters.npz", **arrays)
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.AveragePooling2D(4),
            keras.layers.Flatten(),
            keras.layers.Rescaling(50.0),
        ]
    )
    network.save(folder / "means.keras")
    return [f"--dataset=npz:{folder}/quarters.npz", f"--model={folder}/means.keras"]


@pytest.mark.slow
def test_everything_is_as_worked_out_by_hand(given, tmp_path):
    out = tmp_path / "out"
    small = ("--examples=24", "--geometry_examples=4", "--version=fast")
    ended = call(*given, *small, f"--out={out}")
    assert ended.code == 0, ended.err
    records = records_of(out)
    title = "AutoAttack fast Linf 8/255"
    left = records.get("means", "robust_accuracy", attack=title, rounded=False)
    assert left.estimate.value == np.mean(LEADS > 16) == 0.5
    curve = records.where("accuracy_over_eps")
    for attack in ("FGSM", "PGD", "all"):
        shown = {
            round(255 * record.setting["eps"]): record.estimate.value
            for record in curve.where(attack=attack)
        }
        expected = {levels: np.mean(LEADS > 2 * levels) for levels in (2, 4, 6, 8, 12)}
        np.testing.assert_allclose(
            [shown[levels] for levels in (*expected, 16)], [*expected.values(), 0.0]
        )
        assert len(shown) == 6  # Nothing is left at 16/255, and no more is looked at.
    columns = columns_of(out)["means", "test"]
    parts = [title for title in columns if title.startswith("broken_by")]
    broken = np.sum([columns[part] for part in parts], axis=0)
    leads = np.tile(LEADS, 4)[columns["index"].astype(int)]
    np.testing.assert_array_equal(broken, leads < 16)
    judged = records.get("means", "trustworthy")
    assert judged.about["verdict"] == "Trustworthy", judged.about
    assert judged.estimate.value == 1.0 and len(judged.about["checks"]) > 15
    sentence = (
        "means: clean 100.0% [86.2%, 100.0%], robust 50.0% +- 10.4% under AutoAttack "
        "fast Linf 8/255 on 24 images. Trustworthy."
    )
    assert sentence in " ".join(ended.out.split())
