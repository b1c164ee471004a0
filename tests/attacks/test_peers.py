"""AutoAttack's stages beside those of PyTorch libraries, on networks of equal weights.

Run by hand; tests/requirements/peers.txt says how.
"""

import functools
import sys
import unittest.mock

import numpy as np
import pytest

from tfrobust import attacks, data, models

pytestmark = [pytest.mark.peers, pytest.mark.slow, pytest.mark.timeout(3600)]

# Images of each network; no more may fall to one and not to the other by chance.
COUNT = 60
BY_CHANCE = 1
CASES = {
    "cifar10_adversarial_linf": ("inf", 8 / 255),
    "cifar10_adversarial_l2": (2, 0.5),
    "mnist_c4_fgsm": ("inf", 0.3),
}
STAGES = ("apgd-ce", "apgd-t", "fab-t", "square")


@functools.cache
def case(name, folder):
    """A network, its twin in PyTorch, and images that it has right."""
    torch = pytest.importorskip("torch")
    from benchmarks.torch_twin import Twin

    torch.manual_seed(0)
    network = models.pretrained(name)
    dataset = models.pretrained_card(name)["training"]["dataset"]
    test = data.load(dataset, "test", folder).subset(COUNT, 0)
    images = test.images.astype(np.float32) / np.float32(255)
    right = network.predict(images, verbose=0).argmax(axis=-1) == test.labels
    return network, Twin(network), images[right], test.labels[right].astype(np.int64)


@pytest.mark.parametrize("name", CASES)
def test_the_twin_answers_as_the_network(name, tfds_dir):
    """Logits and their gradients in the pixels."""
    import tensorflow as tf

    torch = pytest.importorskip("torch")
    network, twin, images, _ = case(name, tfds_dir)
    images = tf.constant(images[:4])
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = network(images, training=False)
        total = tf.reduce_sum(logits[:, 0])
    pixels = torch.tensor(images.numpy().transpose(0, 3, 1, 2), requires_grad=True)
    answers = twin(pixels)
    answers[:, 0].sum().backward()
    np.testing.assert_allclose(answers.detach().numpy(), logits, atol=1e-3)
    slopes = pixels.grad.numpy().transpose(0, 2, 3, 1)
    expected = tape.gradient(total, images).numpy()
    assert np.abs(slopes - expected).max() < 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("peer", ["torchattacks", "adv-lib"])
def test_a_stage_breaks_at_least_what_a_peers_does(peer, name, stage, tfds_dir):
    """Image by image, at the same budget; judged by the Keras network."""
    pytest.importorskip(peer.replace("adv-lib", "adv_lib.utils"))
    from benchmarks import autoattack

    for missing in ("torchvision", "torchvision.models", "visdom"):
        sys.modules.setdefault(missing, unittest.mock.MagicMock())
    norm, eps = CASES[name]
    network, twin, images, labels = case(name, tfds_dir)
    make = autoattack.torchattacks if peer == "torchattacks" else autoattack.adv_lib
    runs = make(twin, str(norm), eps, 10)
    if stage not in runs:
        pytest.skip(f"{peer} has no {stage}")
    judge = autoattack.Judge(network, images, labels, str(norm), eps)
    theirs, _ = judge(autoattack.on_torch(runs[stage]))
    attack = attacks.AutoAttack(norm=norm, eps=eps).stages()[stage]
    ours, _ = judge(lambda x, y: attack(network, x, y).adversarial)
    assert ours.sum() >= theirs.sum() - BY_CHANCE
    assert np.sum(theirs & ~ours) <= np.sum(ours & ~theirs) + BY_CHANCE
