"""Attacks in stages over a data set, and an evaluation that goes on where it was."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import brightness, gray
from tfrobust.attacks import FixedBudget, evaluate
from tfrobust.attacks.store import Store, digest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Brighten(FixedBudget):
    """Adds `by` to images whose first pixel is at most `most`; asks `by` * 100 times.

    As a sum of stages it is made of several.
    """

    norm: float | str = "inf"
    eps: float = 1.0
    by: float = 0.2
    most: float = 1.0
    parts: tuple["Brighten", ...] = ()

    def stages(self):
        """The parts, by how far they go."""
        return {f"by {part.by:g}": part for part in self.parts}

    def run(self, problem):
        """The shift, and how often it asked."""
        low = problem.images[:, :1, :1, :1] <= self.most
        asked = tf.fill(tf.shape(low)[:1], int(100 * self.by))
        return problem.images + tf.where(low, self.by, 0.0), asked


FIRST, SECOND, THIRD = Brighten(by=0.1), Brighten(by=0.2, most=0.35), Brighten(by=0.3)
STAGED = Brighten(parts=(FIRST, SECOND, THIRD))
# Class 1 above 1/2: wrong from the start; broken by .1, by .2, by .3 and by none.
LEVELS = (0.7, 0.42, 0.32, 0.37, 0.1)


def data(repeats=3):
    """Batches of five images."""
    return [(gray(*LEVELS).numpy(), np.zeros(5, int))] * repeats


def test_each_stage_gets_what_those_before_left():
    """Who broke what, the smallest that did, and queries up to there, by hand."""
    evaluation = evaluate(
        brightness, data(), {"staged": STAGED}, batch_size=4, keep_images=True
    )
    outcome = evaluation.results["staged"]
    assert outcome.broken_by.tolist() == ["", "by 0.1", "by 0.2", "by 0.3", ""] * 3
    assert outcome.success.tolist() == [True, True, True, True, False] * 3
    assert outcome.already.tolist() == [True, False, False, False, False] * 3
    shift = [0.0, 0.1, 0.2, 0.3, 0.1]
    np.testing.assert_allclose(outcome.distortion, shift * 3, atol=1e-6)
    np.testing.assert_allclose(
        outcome.adversarial[:, 0, 0, 0], (np.array(LEVELS) + shift).tolist() * 3, 1e-6
    )
    # The first stage counts for all, as no image has left before it.
    assert outcome.queries.tolist() == [10, 10, 30, 60, 60] * 3
    assert list(outcome.seconds) == ["by 0.1", "by 0.2", "by 0.3"]
    assert all(seconds > 0 for seconds in outcome.seconds.values())
    assert evaluation.robust_accuracy().value == pytest.approx(1 / 5)
    chosen = outcome.select([1, 4])
    assert chosen.broken_by.tolist() == ["by 0.1", ""]


def test_attacks_beside_one_in_stages_are_as_they_were():
    evaluation = evaluate(brightness, data(1), {"staged": STAGED, "one": THIRD})
    outcome = evaluation.results["one"]
    assert outcome.broken_by is None and list(outcome.seconds) == [""]
    assert outcome.success.tolist() == [True, True, True, True, False]


def test_nothing_is_left_for_the_later_stages():
    """Not an image: their graphs are not asked."""
    evaluation = evaluate(
        brightness, [(gray(0.45, 0.48).numpy(), [0, 0])], {"staged": STAGED}
    )
    outcome = evaluation.results["staged"]
    assert outcome.broken_by.tolist() == ["by 0.1"] * 2
    assert outcome.seconds["by 0.3"] == 0.0 and outcome.adversarial is None


def test_progress_says_what_is_left_so_far(capsys):
    """Of the images looked at, those that are right and have withstood all so far."""
    evaluate(brightness, data(), {"staged": STAGED}, batch_size=4, progress=True)
    shown = capsys.readouterr().err
    assert "staged, by 0.2" in shown and "staged, by 0.3" in shown
    # After the first stage 3 of 5 are left, after the second 2, after the third 1.
    for share in ("60.0%", "40.0%", "20.0%"):
        assert f"robust {share}" in shown


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failing(Brighten):
    """Raises when told to; nothing of it is in its settings."""

    def __call__(self, model, images, labels, **rest):
        """Counts calls, and fails at the last of those allowed."""
        CALLS.append(len(labels))
        if len(CALLS) > ALLOWED[0]:
            raise KeyboardInterrupt
        return super().__call__(model, images, labels, **rest)


CALLS, ALLOWED = [], [0]


def interrupted(allowed, folder, **settings):
    """The evaluation with so many calls allowed; how many images were attacked."""
    CALLS.clear()
    ALLOWED[0] = allowed
    parts = tuple(Failing(by=part.by, most=part.most) for part in STAGED.parts)
    attack = dataclasses.replace(STAGED, parts=parts)
    # Batches of images that differ, so that none is found under another's name.
    batches = [
        (gray(*(np.array(LEVELS) + 0.001 * place)).numpy(), np.zeros(5, int))
        for place in range(3)
    ]
    arguments = {"batch_size": 4, "keep_images": True, "folder": folder} | settings
    return evaluate(brightness, batches, {"staged": attack}, **arguments)


def test_an_interrupted_evaluation_goes_on_where_it_was(tmp_path):
    """In the middle of the first stage, of a later one, and when all is done."""
    expected = interrupted(100, None).results["staged"]
    calls = len(CALLS)
    assert calls == 3 + 3 + 2
    for allowed in (2, 3, 1):
        with pytest.raises(KeyboardInterrupt):
            interrupted(allowed, tmp_path / "kept")
    found = interrupted(100, tmp_path / "kept").results["staged"]
    # Six calls had come to an end.
    assert len(CALLS) == calls - 6
    for name in ("adversarial", "success", "distortion", "queries", "broken_by"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    interrupted(0, tmp_path / "kept")
    assert not CALLS


def test_other_settings_and_damaged_files_are_not_taken(tmp_path):
    """Images that were not kept before; a file cut short when the machine went down."""
    interrupted(100, tmp_path, keep_images=False)
    assert interrupted(100, tmp_path).results["staged"].adversarial is not None
    assert len(CALLS) == 8
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:100])
    interrupted(100, tmp_path)
    assert len(CALLS) == 8
    for file in tmp_path.iterdir():
        file.write_bytes(b"")
    interrupted(100, tmp_path)
    assert len(CALLS) == 8


def test_a_store_without_a_folder_keeps_nothing():
    store = Store(None)
    store.put("key", value=1)
    assert not store and store.get("key") is None


def test_digests_tell_arrays_apart():
    """By their numbers, their shapes and their dtypes."""
    one = np.arange(4, dtype=np.float32)
    several = [[one], [one.reshape(2, 2)], [one.astype(np.int32)], [one[:2], one[2:]]]
    several += [["pgd", one], ["fgsm", one], [one[::-1]]]
    assert len(set(map(digest, several))) == len(several)
    assert digest(["pgd", one]) == digest(["pgd", one.copy()])


def test_a_name_is_found_again_up_to_rounding(tmp_path):
    """Three probes, of which the last is the first but for its last digits."""
    store, exact = Store(tmp_path), "model"
    logits = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    first = store.name_of(exact, {"logits": logits})
    second = store.name_of(exact, {"logits": 1.1 * logits})
    third = store.name_of(exact, {"logits": logits, "slopes": logits})
    assert len({first, second, third}) == 3
    nearly = np.nextafter(logits, np.float32(9))
    assert store.name_of(exact, {"logits": nearly}) == first
    assert store.name_of("other", {"logits": logits}) not in (first, second, third)
    # However small the numbers are.
    tiny = store.name_of(exact, {"logits": 1e-6 * logits})
    assert store.name_of(exact, {"logits": 1.1e-6 * logits}) != tiny
