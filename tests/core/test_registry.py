"""Objects by name: one for each name, and a sentence over any other."""

import pytest

from tfrobust.core.registry import Registry


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
