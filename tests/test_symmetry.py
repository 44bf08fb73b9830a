"""Units that start equal stay equal: all-equal weights never break the symmetry of a hidden layer; random ones do."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.kernels import reference, stages
from fastbp.kernels.codes import ADAM, MOMENTUM, SGD
from fastbp.kernels.protocol import Settings, Split
from fastbp.kernels.stepwise import StepwiseEngine
from fastbp.network import Network

NETWORK = Network((5, 4, 3), ("sigmoid", "softmax"), "cross_entropy")


def spread_after_training(module, theta, optimizer):
    """(largest difference between hidden units, largest change of a hidden weight) after 200 updates"""
    x = np.random.default_rng(4).normal(size=(40, 5))
    split = Split(x, x[:, :3].argmax(axis=1).astype(np.int32), np.eye(3))
    engine = StepwiseEngine(module, "test", NETWORK, theta, split, split, Settings(optimizer, batch_size=8))
    for _ in range(40):
        engine.run(np.arange(40, dtype=np.uint32), np.full(5, 0.1 if optimizer == ADAM else 1.0), np.empty(5))
    (W_in, b_in), (W_out, _) = NETWORK.layers_of(engine.parameters())
    spread = max(np.ptp(W_in, axis=1).max(), np.ptp(b_in), np.ptp(W_out, axis=0).max())
    return spread, np.abs(W_in - NETWORK.layers_of(theta)[0][0]).max()


@pytest.mark.parametrize("module", [reference, stages], ids=["reference", "stages"])
@pytest.mark.parametrize("optimizer", [SGD, MOMENTUM, ADAM], ids=["sgd", "momentum", "adam"])
@pytest.mark.parametrize("value", [0.3, -1.0])
def test_equal_weights_keep_hidden_units_equal(module, optimizer, value):
    spread, change = spread_after_training(module, np.full(NETWORK.n_parameters, value), optimizer)
    assert change > 1e-3
    assert spread < 1e-12


@pytest.mark.parametrize("module", [reference, stages], ids=["reference", "stages"])
def test_random_weights_let_hidden_units_differ(module):
    theta = np.full(NETWORK.n_parameters, 0.3) + 0.01 * np.random.default_rng(0).normal(size=NETWORK.n_parameters)
    before = np.ptp(NETWORK.layers_of(theta)[0][0], axis=1).max()
    spread, _ = spread_after_training(module, theta, SGD)
    assert spread > 10 * before
