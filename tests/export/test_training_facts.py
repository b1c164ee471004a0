"""What a run says of its model, and what it keeps to itself."""

from export.facts import facts_of
from tests.export.cards import FLAGS
from tfrobust import attacks


def test_a_run_tells_data_settings_and_its_own_numbers(run):
    facts = facts_of(run / "model.keras")
    assert facts.data == {
        "dataset": "cifar10_jpeg",
        "train_examples": 20000,
        "eval_examples": 2000,
        "augment": "crop_flip",
    }
    assert facts.training == {
        "dataset": "cifar10_jpeg",
        "train_examples": 20000,
        "eval_examples": 2000,
        "augment": "crop_flip",
        "variant": "lcnn",
        "width": 16,
        "initial": None,  # there was one, and where it lay is nobody's business
        "teacher": "pretrained:cifar10_standard",
        "judge": None,
        "curvature_absolute": False,
        "adversary": "pgd:norm=2,eps=0.1",
        "gradient_norm": "8/255",
        "decay_at": "0.75,0.875",
        "watch_robust": 500,
        "watch_steps": 10,
    }
    assert facts.accuracy == {
        "mean": 0.75,
        "standard_error": None,
        "images": 2000,
        "dataset": "cifar10_jpeg",
        "source": "training",
    }
    assert facts.robust_accuracy == [
        {
            "attack": "PGD L2",
            "threat_model": "L2",
            "eps": 0.1,
            "specs": ["pgd:norm=2,eps=0.1,steps=10"],
            "seed": None,
            "images": 500,
            "mean": 0.5,
            "standard_error": None,
            "dataset": "cifar10_jpeg",
            "source": "training, held out",
        }
    ]
    assert facts.geometry == {
        "test": {"gradient_norm": {"mean": 0.5, "standard_error": None}},
        "dataset": "cifar10_jpeg",
        "source": "training",
    }
    assert facts.versions == {"tensorflow": "2.20.0"}


def test_the_summary_tells_of_the_last_network_only(run):
    """The best and the kept ones have other weights."""
    best, kept = facts_of(run / "best.keras"), facts_of(run / "epoch_3.keras")
    for facts in (best, kept):
        assert facts.training["width"] == 16
        assert facts.accuracy is None and facts.geometry is None
    assert [entry["mean"] for entry in best.robust_accuracy] == [0.625]
    assert kept.robust_accuracy is None


def test_without_an_adversary_the_watch_looked_elsewhere(run):
    (run / "run.flags").write_text(FLAGS.replace("pgd:norm=2,eps=0.1", "off"))
    (watched,) = facts_of(run / "model.keras").robust_accuracy
    assert (watched["threat_model"], watched["eps"]) == ("Linf", 8 / 255)
    (spec,) = watched["specs"]
    assert attacks.parse(spec) == attacks.PGD(norm="inf", eps=8 / 255, steps=10)


def test_a_summary_that_is_not_written_yet(run):
    """It tells of what was watched too, and the old one is passed over."""
    summary = {"held_out_robust_accuracy": 0.75, "test_accuracy": 0.875}
    facts = facts_of(run / "model.keras", summary=summary)
    assert [entry["mean"] for entry in facts.robust_accuracy] == [0.75]
    assert facts.accuracy["mean"] == 0.875 and facts.versions is None


def test_fractions_are_numbers_and_folders_are_nobodys_business(run):
    """A radius of 8/255, and runs that are named without a slash."""
    flags = FLAGS.replace("norm=2,eps=0.1", "norm=2,eps=8/255").replace(
        "--teacher=pretrained:cifar10_standard", "--teacher=alices_run"
    )
    (run / "run.flags").write_text(flags)
    facts = facts_of(run / "model.keras")
    assert facts.robust_accuracy[0]["eps"] == 8 / 255
    assert facts.training["adversary"] == "pgd:norm=2,eps=8/255"
    assert facts.training["teacher"] is None


def test_an_adversary_that_is_not_known_here(run):
    """Its ball is not known either, and no place in its settings is told."""
    own = "--adversary=alices:eps=0.1,file=/home/alice/patch.npz"
    flags = FLAGS.replace("--adversary=pgd:norm=2,eps=0.1", own)
    (run / "run.flags").write_text(flags)
    facts = facts_of(run / "model.keras")
    assert facts.robust_accuracy is None
    assert facts.training["adversary"] is None


def test_imported_modules_are_not_told_of(run):
    """What a package is called is its owner's business."""
    (run / "run.flags").write_text("--import=alice_layers\n" + FLAGS)
    assert "import" not in facts_of(run).training
