"""What an evaluation keeps until it is complete."""

import numpy as np
import pytest

from trainers.suites.partial import Partial, fingerprint

LINES = ["--model=a", "--seed=1"]


def test_nothing_is_made_before_something_is_kept(tmp_path):
    partial = Partial(tmp_path / "out", LINES)
    partial.begin()
    partial.remove()
    assert not (tmp_path / "out").exists() and not partial.exists()


def test_arrays_and_objects_are_measured_once(tmp_path):
    room = Partial(tmp_path / "out", LINES).room("model", "data")
    arrays = {"a": np.arange(3), "b": np.zeros((2, 1), bool)}
    content = {"x": [1, "two", None]}

    def again():
        raise AssertionError("it was measured again")

    for measure in (lambda: arrays, again):
        found = room.arrays("first", measure)
        assert set(found) == {"a", "b"}
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array, strict=True)
    for measure in (lambda: content, again):
        assert room.content("second", measure) == content


@pytest.mark.parametrize("left", [0, 2, 100])
def test_what_was_damaged_is_measured_again(tmp_path, left):
    """Files cut short when a machine went down, of no length too."""
    room = Partial(tmp_path / "out", LINES).room("model")
    array = np.random.default_rng(0).random(99)
    room.arrays("first", lambda: {"a": array})
    room.content("second", lambda: {"x": "y" * 200})
    for file in room.path.iterdir():
        file.write_bytes(file.read_bytes()[:left])
    np.testing.assert_array_equal(
        room.arrays("first", lambda: {"a": array})["a"], array
    )
    assert room.content("second", lambda: {"x": "new"}) == {"x": "new"}


def test_a_measurement_that_fails_leaves_nothing(tmp_path):
    room = Partial(tmp_path / "out", LINES).room("model")

    def fail():
        raise KeyError

    for keep in (room.arrays, room.content):
        with pytest.raises(KeyError):
            keep("first", fail)
    assert list(room.path.iterdir()) == []


def test_a_folder_is_of_its_flags_in_any_order(tmp_path):
    out = tmp_path / "out"
    Partial(out, LINES).room("a")
    assert Partial(out, LINES[::-1]).is_of_these_flags()
    other = Partial(out, ["--model=a", "--seed=2", "--norm=2"])
    assert other.exists() and not other.is_of_these_flags()
    assert other.differences() == (["--seed=1"], ["--norm=2", "--seed=2"])
    Partial(out, LINES).begin()
    assert other.exists()
    other.begin()
    assert not out.exists()


def test_files_beside_it_are_left_alone(tmp_path):
    partial = Partial(tmp_path, LINES)
    partial.room("a")
    (tmp_path / "thesis.tex").write_text("years of work")
    partial.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_room_is_of_its_model_and_data(tmp_path):
    partial = Partial(tmp_path, LINES)
    paths = {partial.room(*parts).path for parts in (("a", "b"), ("ab", ""), ("a",))}
    assert len(paths) == 3 and partial.room("a", "b").path in paths


def test_a_fingerprint_changes_with_the_files(tmp_path):
    file, folder = tmp_path / "net.pt", tmp_path / "served"
    file.write_bytes(b"1")
    (folder / "variables").mkdir(parents=True)
    (folder / "variables" / "a").write_bytes(b"1")
    places = [file, folder, f"robustbench:{file}:resnet-18", "pretrained:mnist_c4"]
    before = [fingerprint(place) for place in places]
    assert len(set(before)) == 4
    assert before == [fingerprint(place) for place in places]
    file.write_bytes(b"2")
    (folder / "variables" / "a").write_bytes(b"2")
    after = [fingerprint(place) for place in places]
    changed = [one != two for one, two in zip(before, after, strict=True)]
    assert changed == [True, True, True, False]
