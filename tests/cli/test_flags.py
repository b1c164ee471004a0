"""Flags from the fields of settings: two meanings of one name are refused."""

import dataclasses

import pytest

from tests.trainers.programs import defined_flags
from tfrobust.cli import flags
from tfrobust.cli.flags import Settings, integer, number, several


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
