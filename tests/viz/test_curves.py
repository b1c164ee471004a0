"""Training curves: what is drawn, read back from the figure."""

import pytest

from tfrobust import viz

ROWS = [
    {
        "epoch": epoch,
        "cross_entropy": 2.0 / epoch,
        "val_cross_entropy": 2.5 / epoch,
        "loss": 3.0 / epoch,
        "accuracy": 0.1 * epoch,
        "val_accuracy": 0.09 * epoch,
        "gradient_norm": 0.5 * epoch,
        "val_gradient_norm": 0.4 * epoch,
        "beta/a": 5.0 / epoch,
        "beta/b": 6.0 / epoch,
        "beta": 5.5 / epoch,
        "gamma/n": 9.0 / epoch,
        "gamma": 9.0 / epoch,
        "seconds": 1.0,
    }
    for epoch in (1, 2, 3)
]


def series(axes):
    """`{label: (x, y)}`; unlabelled lines are numbered."""
    found = {}
    for place, line in enumerate(axes.get_lines()):
        label = line.get_label()
        label = place if label.startswith("_") else label
        found[label] = (list(line.get_xdata()), list(line.get_ydata()))
    return found


def column(name):
    return [1, 2, 3], [row[name] for row in ROWS]


def test_every_quantity_has_its_panel_and_its_numbers():
    """Five panels, each with the columns of the table and no others."""
    figure = viz.training_curves(ROWS)
    panels = {axes.get_title(loc="left"): series(axes) for axes in figure.axes}
    assert panels == {
        "loss": {
            "cross-entropy, train": column("cross_entropy"),
            "cross-entropy, test": column("val_cross_entropy"),
            "with penalties, train": column("loss"),
        },
        "accuracy": {"train": column("accuracy"), "test": column("val_accuracy")},
        "input-gradient norm": {
            "train": column("gradient_norm"),
            "test": column("val_gradient_norm"),
        },
        "beta, one line a layer": {
            0: column("beta/a"),
            1: column("beta/b"),
            "mean": column("beta"),
        },
        "gamma, one line a layer": {0: column("gamma/n"), "mean": column("gamma")},
    }
    assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}
    scales = [axes.get_yscale() for axes in figure.axes]
    assert scales == ["linear"] * 3 + ["log"] * 2
    for axes in figure.axes:
        shown = [text.get_text() for text in axes.get_legend().get_texts()]
        assert shown == [name for name in series(axes) if isinstance(name, str)]


def test_panels_without_data_are_left_out():
    """A standard network has no beta; a run may follow its accuracy alone."""
    rows = [{"epoch": 1, "accuracy": 0.5}, {"epoch": 2, "accuracy": 0.75}]
    (axes,) = viz.training_curves(rows).axes
    assert axes.get_title(loc="left") == "accuracy"
    assert series(axes) == {"train": ([1, 2], [0.5, 0.75])}


def test_a_missing_cell_is_a_missing_point():
    """A quantity that was not measured in every epoch keeps its epochs."""
    rows = [{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 2.0, "val_accuracy": 0.5}]
    loss, accuracy = viz.training_curves(rows).axes
    assert series(loss)["with penalties, train"] == ([1, 2], [3.0, 2.0])
    assert series(accuracy) == {"test": ([2], [0.5])}


def test_ticks_are_whole_epochs():
    """There is no epoch 1.5."""
    (axes,) = viz.training_curves([{"epoch": k, "loss": 1.0} for k in (1, 2)]).axes
    assert all(tick == int(tick) for tick in axes.get_xticks())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "`rows` must hold at least one epoch. Received: 0 rows"),
        (
            [{"epoch": 1, "seconds": 2.0}],
            "`rows` must hold a quantity of a training run, such as `loss`. "
            "Received: columns epoch, seconds",
        ),
    ],
)
def test_nothing_to_draw(rows, message):
    """Said before matplotlib fails at an empty figure."""
    with pytest.raises(ValueError) as error:
        viz.training_curves(rows)
    assert str(error.value) == message
