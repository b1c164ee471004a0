r"""Trains an image classifier on STL-10, as the aligned gradients paper does.

    python -m trainers.stl --flagfile=pag_one_image_stl10
    python -m trainers.stl --flagfile=pag_one_image_stl10 --dry_run

The program, its flags and the folder that it fills are those of trainers.cifar; what
differs are the defaults, listed here by --help; the paper's network is --variant=plain,
which the flagfiles state. STL-10 has 5,000 training and 8,000
test images of 96x96 pixels; TFDS downloads 2.5 GiB, most of it unlabelled images that
are not used. The network is the one for small images, whose 3x3 first convolution keeps
the full resolution: a ResNet-18 costs nine times what it does on CIFAR-10, 10 GFLOP a
forward pass; --dry_run adds it up.
"""

from __future__ import annotations

from trainers import cifar

DEFAULTS = {
    "dataset": "stl10",
    "weight_decay": 1e-4,
    "epochs": 100,
    "batch_size": 32,
    "learning_rate": 0.01,
    "decay_at": "",
}


if __name__ == "__main__":
    cifar.start(__doc__, **DEFAULTS)
