r"""Trains an image classifier, standard or low-curvature, and exports it.

    python -m trainers.cifar --flagfile=trainers/flags/lcnn_cifar10.flags
    python -m trainers.cifar --flagfile=trainers/flags/lcnn_cifar10.flags \
        --flagfile=trainers/flags/cpu.flags --workdir=runs/laptop

Despite its name it takes any data set of small images that TFDS knows. A later flag
wins over an earlier one, also between flagfiles. The run's folder ends up with:
run.flags (repeats the run), metrics.csv, tensorboard/, checkpoints/, model.keras,
saved_model/1/ (for TF Serving), curves.png and summary.json; with --watch_robust also
best.keras, the network of the epoch that withstood an attack on held-out images best.
"""

from __future__ import annotations

from tfrobust.training import is_chief_process
from trainers import build, dry_run, options, program, session
from trainers.run_folder import RunFolder


def main() -> None:
    """Checks everything first, then trains or prints the plan."""
    config = options.config_from_flags()
    program.import_modules(config.imports)
    build.check_data(config)
    folder = RunFolder(config.workdir)
    if is_chief_process():
        folder.check(config)
    if config.dry_run:
        dry_run.describe(config)
    else:
        session.train(config, folder)


if __name__ == "__main__":
    options.define_flags()
    program.run(main, lambda: options.grouped_help(__doc__))
