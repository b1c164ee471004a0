r"""Trains the MNIST network of the smooth adversarial examples paper, and exports it.

    python -m trainers.mnist
    python -m trainers.mnist --flagfile=c4_adversarial_mnist

The program, its flags and the folder that it fills are those of trainers.cifar; what
differs are the defaults, listed here by --help. So a run's run.flags, which states
every flag that acts in it, is repeated by either program.
"""

from __future__ import annotations

from trainers import cifar

DEFAULTS = {
    "dataset": "mnist",
    "augment": "none",
    "model": "c4",
    "weight_decay": 0.0,
    "epochs": 6,
    "optimizer": "adam",
    "learning_rate": 1e-3,
}


if __name__ == "__main__":
    cifar.start(__doc__, **DEFAULTS)
