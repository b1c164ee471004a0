"""Reading beta and gamma."""

import keras
import numpy as np
import pytest

from tfrobust import models


def test_names_order_and_values():
    """Every learnable beta and gamma of ResNet-18, by layer name, as it is now."""
    network = models.ResNet18((8, 8, 3), width=2, variant="lcnn", beta=3.0, gamma=7.0)
    betas, gammas = models.betas(network), models.gammas(network)
    assert len(betas) == 17
    assert len(gammas) == 20
    assert list(betas)[:2] == ["stem_activation", "stage1_block1_a_activation"]
    np.testing.assert_allclose(list(betas.values()), 3.0, rtol=1e-6)
    np.testing.assert_allclose(list(gammas.values()), 7.0, rtol=1e-6)
    network.get_layer("stage2_block1_activation").log_beta.assign(np.log(0.25))
    network.get_layer("stage2_block1_short_norm").log_gamma.assign(np.log(4.0))
    changed = models.betas(network)
    assert changed["stage2_block1_activation"] == pytest.approx(0.25)
    assert sum(changed[name] != betas[name] for name in betas) == 1
    assert models.gammas(network)["stage2_block1_short_norm"] == pytest.approx(4.0)


def test_a_standard_network_has_none():
    """A fixed beta of 1000 is no coefficient."""
    network = models.VGG11(width=1)
    assert models.betas(network) == {}
    assert models.gammas(network) == {}


def test_nested_networks():
    """A network inside another is read too."""
    inner = models.MLP((4,), 3, variant="lcnn", hidden=(5, 5))
    outer = keras.Sequential([keras.Input((4,)), inner])
    assert models.betas(outer) == models.betas(inner)
    assert len(models.betas(outer)) == 2
