"""The registry of suites: your own from a module, and several in one evaluation."""

import pytest

from tests.trainers.suites.common import call, records_of
from tfrobust.cli.records import read_evaluation
from trainers.suites import suite as registry

OWN = """
import dataclasses

import numpy as np

from tfrobust.cli.flags import Settings, number
from tfrobust.cli.page import Section
from tfrobust.cli.records import measured, table_by_quantity
from trainers.suites.suite import Suite, register


@dataclasses.dataclass(frozen=True, kw_only=True)
class SureSettings(Settings, title="Suite sure: how sure a model is"):
    sure_above: float = number(0.5, "What counts as sure.", below=1.0)


@register
class Sure(Suite):
    name = "sure"
    settings = SureSettings

    def begin(self, train, test):
        self._images = test.images[: self.run.examples].astype(np.float32) / 255

    def measure(self, model):
        logits = np.asarray(model.call(self._images))
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        largest = (odds / odds.sum(axis=1, keepdims=True)).max(axis=1)
        return [measured(model.name, "sure", largest > self.own.sure_above)]

    def page(self, records):
        table = table_by_quantity(records, "model", [("sure", "sure", {})])
        return [Section("Sure answers", "Share of sure answers.", table)]
"""


@pytest.mark.slow
def test_a_suite_of_your_own_is_one_file(call_module, places, tmp_path):
    """Named by --import, it has flags, records and a part of the page."""
    (tmp_path / "sure.py").write_text(OWN)
    ended = call_module(
        "trainers.evaluate",
        "--import=sure",
        "--suite=sure",
        "--dataset=shapes",
        "--examples=8",
        "--sure_above=0.0",
        f"--model={places}/second.keras",
        f"--out={tmp_path}/out",
        cwd=tmp_path,
    )
    assert ended.code == 0, ended.err
    (record,) = records_of(tmp_path / "out")
    assert (record.quantity, record.images, record.estimate.value) == ("sure", 8, 1.0)
    assert "Sure answers" in ended.out
    helped = call_module("trainers.evaluate", "--import=sure", "--help", cwd=tmp_path)
    assert "Suite sure: how sure a model is" in helped.out
    assert "--sure_above" in helped.out


@pytest.mark.slow
def test_several_suites_write_one_page(places, tmp_path):
    """On one loading of models and data; what both measure alike stands once."""
    ended = call(
        "--suite=pag,lcnn",
        "--dataset=shapes",
        "--examples=6",
        "--clean_examples=20",
        "--geometry_examples=4",
        "--attack=ddn:steps=3",
        "--pag_moved=2",
        "--pag_moved_steps=1",
        "--pag_samples=2",
        f"--model={places}/second.keras",
        f"--out={tmp_path}/out",
    )
    assert ended.code == 0, ended.err
    evaluation = read_evaluation(tmp_path / "out")
    assert evaluation.about["suites"] == ["pag", "lcnn"]
    assert len(evaluation.records.where("accuracy", split="test", attacked=None)) == 1
    labels = [(record.model, record.label) for record in evaluation.records]
    assert len(labels) == len(set(labels))
    page = (tmp_path / "out" / "evaluation.html").read_text()
    for title in ("Alignment of gradients", "Geometry of the loss"):
        assert f"<h2>{title}</h2>" in page


def test_two_suites_cannot_have_one_name():
    """The same class again is let through."""
    lcnn = registry.all_suites()["lcnn"]
    assert registry.register(lcnn) is lcnn
    other = type("Other", (registry.Suite,), {"name": "lcnn"})
    taken = "name of a registered suite must be new. Received: 'lcnn', which is .*Lcnn"
    with pytest.raises(ValueError, match=taken):
        registry.register(other)
