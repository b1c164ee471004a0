"""Runs, evaluations and models whose cards are looked at."""

import json

import keras

from export.card import FILE
from export.facts import facts_of
from tfrobust.cli.records import Evaluation, Record, Records
from tfrobust.core.estimates import Estimate

SHAPE = (2, 3, 1)
FLAGS = """\
# Repeats this run:
#   python -m trainers.cifar --flagfile=THIS --workdir=NEW
--dataset=cifar10_jpeg
--data_dir=/home/alice/tfds
--train_examples=20000
--eval_examples=2000
--augment=crop_flip
--variant=lcnn
--width=16
--initial=/home/alice/runs/first/model.keras
--teacher=pretrained:cifar10_standard
--teacher_cache=~alice/cache
--judge=alice_run.keras
--curvature_absolute=false
--adversary=pgd:norm=2,eps=0.1
--gradient_norm=8/255
--decay_at=0.75,0.875
--watch_robust=500
--watch_steps=10
--tpu=
--note=
--logical_cpus=2
--workdir=/home/alice/runs/lcnn
"""
SUMMARY = {
    "dataset": "cifar10_jpeg",
    "test_accuracy": 0.75,
    "test_gradient_norm": 0.5,
    "held_out_robust_accuracy": 0.5,
    "best_held_out_robust_accuracy": 0.625,
    "versions": {"tensorflow": "2.20.0"},
}


def flat():
    return keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten()])


def estimate(mean, error=0.125, **more):
    return {"mean": mean, "standard_error": error, **more}


def record(model, quantity, value, images=500, about=None, **setting):
    """A record of an estimate `(mean, standard error)`."""
    return Record(model, quantity, setting, images, Estimate(*value), about=about or {})


def evaluation(*models, records=()):
    """The content of an evaluation of models with these names and paths."""
    about = {"dataset": "cifar10", "flags": ["--model=/home/alice/x"]}
    about["models"] = list(models)
    return Evaluation(about, Records(records)).to_json()


def measured(run, *records):
    """Facts after an evaluation with these records of a model called "other"."""
    model = {"name": "other", "path": str(run / "model.keras")}
    content = evaluation(model, records=records)
    (run / "elsewhere.json").write_text(json.dumps(content))
    return facts_of(run / "model.keras", run / "elsewhere.json")


def card_of(version):
    def never(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads((version / FILE).read_text(), parse_constant=never)
