r"""Trains an image classifier, standard or low-curvature, and exports it.

    tfrobust train --flagfile=lcnn_cifar10
    tfrobust train --flagfile=lcnn_cifar10 \
        --flagfile=cpu --workdir=runs/laptop

Despite its name it takes any data set of small images that TFDS knows. A later flag
wins over an earlier one, also between flagfiles. The run's folder ends up with:
run.flags (repeats the run), metrics.csv, tensorboard/, checkpoints/, model.keras,
saved_model/1/ (for TF Serving), curves.png and summary.json; with --watch_robust also
best.keras, the network of the epoch that withstood an attack on held-out images best.
"""

from __future__ import annotations

from tfrobust.cli import dataset_names, program
from tfrobust.cli.flags import grouped_help
from tfrobust.cli.quiet import start_tensorflow
from tfrobust.cli.run_folder import RunFolder
from trainers.train import machines, options


def main() -> None:
    """Checks everything first, then trains or prints the plan."""
    config = options.config_from_flags()
    folder = RunFolder(config.workdir)

    def check_folder() -> None:
        folder.check(
            options.flag_lines(config), resume=config.resume, overwrite=config.overwrite
        )

    cluster = machines.cluster_of(config)
    # What can be refused without TensorFlow is: it takes seconds to import.
    with machines.together(config, cluster, check_folder):
        _train(config, folder)


def _train(config: options.TrainConfig, folder: RunFolder) -> None:
    start_tensorflow()
    program.import_modules(config.imports)
    from trainers.train import build, devices, dry_run, session

    config = devices.resolved(config)
    build.check_names(config)
    # Decoding one's own files starts TensorFlow's devices, which the session sets up
    # first; it looks at the data then, before anything else.
    if not dataset_names.is_own(config.dataset):
        build.check_data(config)
    if config.dry_run:
        dry_run.describe(config)
    else:
        session.train(config, folder)


def start(usage: str = __doc__, **defaults: object) -> None:
    """Runs the program with the command line's flags.

    Args:
        usage: What `--help` begins with.
        **defaults: Defaults of the flags, where they are not those of this program.
    """
    options.define_flags(**defaults)
    program.run(main, lambda: grouped_help(usage))


if __name__ == "__main__":
    start()
