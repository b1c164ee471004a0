"""Objects and their settings as text, without the classes that it names."""

import dataclasses
import subprocess
import sys
from typing import Any, Literal

import pytest

from tfrobust.core.specs import Spec, build, settings_of, spec_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thing:
    """One field of every type that a text can give, and one that it cannot."""

    size: float
    norm: float | str = 2
    count: int = 3
    fast: bool = False
    step: float | None = None
    level: Literal["low", 0] = "low"
    word: str = "a"
    shape: Any = ()

    def __post_init__(self):
        if self.count < 1:
            raise ValueError(f"`count` must be at least 1. Received: {self.count}")


def thing(text, **defaults):
    return build(Thing, Spec.parse(text), defaults)


def test_every_value_has_the_type_of_its_field():
    instance = thing(
        "thing:size=8/255, norm=inf,count=5,fast=true,step=1/4,level=0,word=2"
    )
    assert instance == Thing(
        size=8 / 255, norm="inf", count=5, fast=True, step=0.25, level=0, word="2"
    )
    assert instance.fast is True and instance.level == 0
    assert isinstance(thing("thing:size=1,norm=2").norm, int)
    assert thing("thing:size=1,step=none,fast=false") == Thing(size=1)
    assert "shape" not in settings_of(Thing)


def test_defaults_stand_back_behind_the_text():
    assert thing("thing:size=1", size=2, count=4, color="red") == Thing(size=1, count=4)
    assert thing("thing", size=2) == Thing(size=2)


@pytest.mark.parametrize(
    "instance",
    [
        Thing(size=0.1),
        Thing(size=8 / 255, norm="inf", fast=True),
        Thing(size=1 / 3, norm=1, count=9, step=1e-9, level=0, word="b"),
    ],
)
def test_there_and_back(instance):
    assert thing(str(spec_of("thing", instance))) == instance


AMONG = "size, norm, count, fast, step, level, word"
FORM = "A name with settings must be written like pgd:norm=inf,eps=8/255. Received: "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"{FORM}''"),
        ("thing:", f"{FORM}'thing:'"),
        ("thing:size", f"{FORM}'thing:size'"),
        ("thing:size=", f"{FORM}'thing:size='"),
        ("thing:=1", f"{FORM}'thing:=1'"),
        ("thing:size=1,,", f"{FORM}'thing:size=1,,'"),
        (":size=1", f"{FORM}':size=1'"),
        (
            "thing:size=1,size=1",
            "A setting must be given once. Received: size twice in "
            "'thing:size=1,size=1'",
        ),
        (
            "thing:size=1,colour=red",
            f"Settings of thing must be among {AMONG}. Received: colour=red",
        ),
        (
            "thing:size=1,shape=2",
            f"Settings of thing must be among {AMONG}. Received: shape=2",
        ),
        (
            "thing:size=big",
            "`size` of thing must be a number such as 0.1 or 8/255. Received: size=big",
        ),
        (
            "thing:size=8/0",
            "`size` of thing must be a number such as 0.1 or 8/255. Received: size=8/0",
        ),
        (
            "thing:size=1,count=1.5",
            "`count` of thing must be an integer. Received: count=1.5",
        ),
        (
            "thing:size=1,fast=yes",
            "`fast` of thing must be true or false. Received: fast=yes",
        ),
        (
            "thing:size=1,step=auto",
            "`step` of thing must be a number such as 0.1 or 8/255 or none. "
            "Received: step=auto",
        ),
        (
            "thing:size=1,level=high",
            "`level` of thing must be one of low, 0. Received: level=high",
        ),
        (
            "thing:fast=true",
            "thing must be given size. Received: thing:fast=true, without size",
        ),
        ("thing:size=1,count=0", "thing: `count` must be at least 1. Received: 0"),
    ],
)
def test_what_is_wrong_is_one_sentence(text, message):
    with pytest.raises(ValueError) as caught:
        thing(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("change", "value"), [({"shape": (2, 3)}, "(2, 3)"), ({"word": "a,b"}, "'a,b'")]
)
def test_what_no_text_gives_is_not_written(change, value):
    (name,) = change
    with pytest.raises(ValueError) as caught:
        spec_of("thing", Thing(size=1, **change))
    assert str(caught.value) == (
        f"`{name}` of thing must be a number or a word to be written as text. "
        f"Received: {value}"
    )


def test_reading_text_needs_no_tensorflow():
    code = (
        "import sys; from tfrobust.core.specs import Spec; Spec.parse('pgd:eps=1'); "
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_required_setting_of_unknown_type_is_the_makers_mistake():
    def maker(shape, depth, wide=True):
        return shape, depth, wide

    with pytest.raises(ValueError) as caught:
        build(maker, Spec.parse("maker:depth=3"), {}, ["round"])
    assert str(caught.value) == (
        "`depth` of maker must have a default or an annotation, which say how to read "
        "it. Received: depth=3"
    )
