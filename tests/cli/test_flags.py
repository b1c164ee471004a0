"""Flags from the fields of settings: two meanings of one name are refused."""

import dataclasses

import pytest

from tests.trainers.programs import defined_flags
from tfrobust.cli import flags
from tfrobust.cli.flags import Settings, integer, number, several
from tfrobust.cli.program import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class First(Settings):
    steps: int = integer(3, "Steps of the search.")
    words: tuple[str, ...] = several("A word. Once for each.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Same(Settings):
    steps: int = integer(3, "Steps of the search.")
    words: tuple[str, ...] = several("A word. Once for each.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Other(Settings):
    steps: float = number(0.5, "Length of a step.")


def test_a_flag_may_be_shared_if_it_means_the_same():
    def both():
        flags.define(First)
        flags.define(Same)

    with defined_flags(both) as defined:
        defined(["program", "--steps=5", "--words=a", "--words=b"])
        assert flags.read(First).steps == flags.read(Same).steps == 5
        assert flags.read(Same).words == ("a", "b")


def test_a_flag_of_another_meaning_is_refused():
    def both():
        flags.define(First)
        flags.define(Other)

    with pytest.raises(ValueError) as caught, defined_flags(both):
        raise AssertionError("they were defined")
    assert str(caught.value) == (
        "The flag of Other.steps must have a name of its own, or the meaning of the "
        "one there is. Received: steps"
    )


def test_another_command_line_is_read_in_place_of_this_one(tmp_path):
    """And is gone afterwards, with its flags and its headings."""
    (tmp_path / "mine.flags").write_text("--steps=9\n--words=c\n")

    def other():
        flags.define(Other)

    def first():
        flags.define(First)

    with defined_flags(other) as defined:
        defined(["program", "--steps=0.25"])
        headings = dict(flags.GROUPS)
        given = [f"--flagfile={tmp_path}/mine.flags", "--words=d"]
        with flags.command_line(first, given):
            assert flags.read(First).steps == 9
            assert flags.read(First).words == ("c", "d")
            assert flags.was_given("steps") and flags.was_changed("steps")
        assert flags.read(Other).steps == 0.25
        assert headings == flags.GROUPS
        with (
            pytest.raises(UsageError, match="words"),
            flags.command_line(other, ["--words=a"]),
        ):
            raise AssertionError("it was parsed")
        with pytest.raises(UsageError, match="none.flags is neither"):
            flags.command_line(first, ["--flagfile=none.flags"]).__enter__()
        assert flags.read(Other).steps == 0.25
