"""The time left of a run, by hand."""

import re

import pytest

from tests.training.runs import LOGS, VAL, Run, Terminal


def test_time_left_of_the_whole_run_by_hand():
    """Steps of 2 s but for the first one, evaluations of 4 s but for their first batch,
    other callbacks before and after this one.
    """
    run = Run(stream=Terminal())
    run.progress.on_epoch_begin(0)
    run.steps(100.0)
    assert run.last() == "epoch 1/3  step 1/4  loss 1.250  accuracy 50.0%"
    run.steps(2.0, 2.0, first=1)
    # One more step, and two epochs of four steps.
    assert run.last().endswith(
        "step 3/4  loss 1.250  accuracy 50.0%  at least 18 s left"
    )
    run.steps(2.0, first=3)
    run.test(50.0, 1.0, 1.0, 1.0)
    run.now += 2.0
    run.progress.on_epoch_end(0, LOGS | VAL)
    # The rest of an epoch: 53 + 2 without the 49 of tracing. Twice 8 + 6.
    assert run.last() == (
        "epoch 1/3  loss 1.250  acc 50.0%  val 37.5%  robust 25.0%  3 min  28 s left"
    )
    run.now += 3.0
    run.progress.on_epoch_begin(1)
    run.steps(2.0)
    # Three steps, a rest of 6 + 3, and one epoch more.
    assert run.last().endswith("32 s left")
    run.steps(2.0, 2.0, 2.0, first=1)
    run.test(1.0)
    # Of a rest of 9 one second has gone by.
    assert run.last() == "epoch 2/3  evaluation  25 s left"
    run.test(3.0)
    run.now += 2.0
    run.progress.on_epoch_end(1, LOGS | VAL)
    # The first rest, in which callbacks compile, no longer counts: 8 + 6.
    assert run.last().endswith("14 s  14 s left")
    run.now += 3.0
    run.epoch(2, [2.0] * 4, test=[4.0], callbacks=2.0)
    assert run.last().endswith("14 s  3 min in all")  # 161 + 3 + 14 + 3 + 14
    run.progress.on_train_end()
    assert len(run.stream.screen()) == 4 and run.stream.screen()[-1] == ""


def test_steps_count_as_of_late():
    """This epoch's and the one's before: a machine that is shared no longer is soon
    forgotten.
    """
    run = Run(epochs=4, steps=10)
    run.epoch(0, [9.0] * 10)
    run.epoch(1, [3.0] * 10)
    assert run.last().endswith("30 s  2 min left")  # 20 * (81 + 30) / 19 seconds
    run.epoch(2, [3.0] * 10)
    assert run.last().endswith("30 s  30 s left")


def test_a_resumed_run_counts_the_epochs_to_come():
    """From the third epoch of five on."""
    run = Run(epochs=5, steps=3)
    run.epoch(2, [60.0, 1.0, 1.0], callbacks=2.0)
    assert run.last().startswith("epoch 3/5") and run.last().endswith("64 s  10 s left")


def test_the_number_of_steps_is_learnt():
    """Where Keras does not know it: no time left in the first epoch, and no total."""
    run = Run(epochs=3, steps=None, stream=Terminal())
    run.progress.on_epoch_begin(0)
    run.steps(9.0, 1.0, 1.0, 1.0)
    assert run.last() == "epoch 1/3  step 4  loss 1.250  accuracy 50.0%"
    run.progress.on_epoch_end(0, dict(LOGS))
    assert run.last().endswith("12 s  8.0 s left")
    run.progress.on_epoch_begin(1)
    run.steps(1.0)
    assert "step 1/4" in run.last() and run.last().endswith("7.0 s left")
    run.steps(1.0, 1.0, 1.0, 1.0, 1.0, first=1)  # a longer epoch than the one before
    assert "step 6  loss" in run.last() and run.last().endswith("4.0 s left")


def test_several_steps_in_one_execution():
    """Three at a time, of ten: Keras counts the last execution whole."""
    run = Run(epochs=2, steps=10, stream=Terminal())
    run.progress.on_epoch_begin(0)
    run.steps(50.0, 3.0, by=3)
    assert "step 6/10" in run.last() and run.last().endswith("at least 14 s left")
    run.steps(3.0, 1.0, by=3, first=6)
    assert "step 10/10" in run.last() and run.last().endswith("at least 10 s left")


def test_one_step_an_epoch_is_known_from_the_second():
    """The first one traces the graph: nothing is known before."""
    run = Run(epochs=3, steps=1)
    run.epoch(0, [30.0])
    assert run.last().endswith("robust 25.0%  30 s")
    run.epoch(1, [2.0])
    assert run.last().endswith("2.0 s  2.0 s left")


@pytest.mark.parametrize("seconds", [[0.0], [5.0, 4.0, 3.0], [1.0, 9.0]])
def test_times_are_never_negative_or_infinite(seconds):
    """Where a clock stands still, or an evaluation takes longer than those before."""
    run = Run(epochs=3, steps=2, stream=Terminal())
    for epoch in range(3):
        run.epoch(epoch, [0.0, 0.0], [*seconds * (epoch + 1), 0.0])
    text = run.stream.getvalue()
    assert not re.search(r"nan|inf|-\d", text), text
