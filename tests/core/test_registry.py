"""Objects by name: one for each name, and a sentence over any other."""

import pytest

from tfrobust.core.registry import Makers, Registry


def shapes():
    registry = Registry("shape")
    registry.add("square", 4)
    registry.add("line_2", 2)
    return registry


def test_an_object_is_looked_up_by_name():
    registry = shapes()
    assert registry["square"] == 4
    assert registry.names() == tuple(registry) == ("line_2", "square")
    assert "square" in registry and "circle" not in registry and len(registry) == 2
    assert registry.name_of(2) == "line_2" and registry.name_of(5) is None


def test_an_unknown_name_is_answered_with_all():
    with pytest.raises(ValueError) as caught:
        shapes()["circle"]
    message = "`shape` must be one of line_2, square. Received: 'circle'"
    assert str(caught.value) == message


def test_a_name_belongs_to_one_object():
    registry = shapes()
    registry.add("square", 4)
    with pytest.raises(ValueError) as caught:
        registry.add("square", 5)
    message = (
        "The name of a registered shape must be new. Received: 'square', which is 4"
    )
    assert str(caught.value) == message
    assert registry["square"] == 4


@pytest.mark.parametrize("name", ["", "Square", "2d", "a b", "a:b", "a-b", "é"])
def test_a_malformed_name_is_refused(name):
    with pytest.raises(ValueError) as caught:
        shapes().add(name, 1)
    assert str(caught.value) == (
        "The name of a registered shape must be lower-case letters, digits and "
        f"underscores, a letter first. Received: {name!r}"
    )


class Box:
    """Settings of several kinds, and one that no text can give."""

    def __init__(self, shape, size: int = 1, *, closed: bool = False, content=None):
        self.made_of = shape, size, closed, content

    @staticmethod
    def check_settings(size: int = 1, closed: bool = False) -> None:
        if size < 1:
            raise ValueError(f"`size` must be at least 1. Received: size={size}")


def makers():
    registry = Makers("box")
    assert registry.register("box")(Box) is Box
    return registry


def test_makers_take_settings_of_the_text_over_those_of_the_program():
    box = makers().make("box:size=3", "round", size=2, content=[1], other=5)
    assert box.made_of == ("round", 3, False, [1])


def test_settings_are_checked_without_making_anything():
    assert makers().settings("box:size=2", 1) == ("size", "closed", "content")
    for text, message in {
        "box:size=0": "box: `size` must be at least 1. Received: size=0",
        "box:content=1": "Settings of box must be among size, closed. "
        "Received: content=1",
        "box:shape=1": "Settings of box must be among size, closed. Received: shape=1",
        "bag": "`box` must be one of box. Received: 'bag'",
    }.items():
        with pytest.raises(ValueError) as caught:
            makers().settings(text, 1)
        assert str(caught.value) == message
