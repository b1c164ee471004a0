"""What tests of a run share."""

from tfrobust.training import RobustModel


def initial_forms(trained, folder):
    """One trained network in every form whose weights are those of layers."""
    run = folder / "run"
    run.mkdir()
    trained.save(run / "model.keras")
    RobustModel(trained).save(folder / "best.keras")
    return run, run / "model.keras", folder / "best.keras"
