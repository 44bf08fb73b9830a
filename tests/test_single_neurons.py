"""Networks so small that something older than backpropagation knows the answer."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest

from fastbp.kernels import reference, stages
from fastbp.kernels.codes import IDENTITY, SGD, STEP
from fastbp.kernels.protocol import Settings, Split
from fastbp.kernels.stepwise import StepwiseEngine
from fastbp.network import Network

both = pytest.mark.parametrize("module", [reference, stages], ids=["reference", "stages"])


def descended(module, network, x, targets, n_steps, eta):
    """Weights and bias of one neuron after full-batch gradient descent from zero."""
    n = len(x)
    split = Split(x, np.arange(n, dtype=np.int32), targets)
    theta = np.zeros(network.n_parameters)
    engine = StepwiseEngine(module, "test", network, theta, split, split, Settings(SGD, batch_size=n), classes=False)
    order, cost = np.arange(n, dtype=np.uint32), np.empty(1)
    for _ in range(n_steps):
        engine.run(order, np.array([eta]), cost)
    return engine.parameters()


@both
@pytest.mark.parametrize(
    ("threshold", "fires"),
    [(5, lambda p, q, r: p), (3, lambda p, q, r: p or (q and r))],
    ids=["first", "first or both"],
)
def test_perceptron(module, threshold, fires):
    x = np.array(list(product([0.0, 1.0], repeat=3)))
    W, b = np.array([[6.0], [2.0], [2.0]]), np.array([-float(threshold)])
    z, a = np.empty((8, 1)), np.empty((8, 1))
    module.forward(x, W, b, STEP, z, a)
    assert a[:, 0].tolist() == [float(bool(fires(*row))) for row in x]


@both
def test_a_perceptron_exactly_at_its_threshold_does_not_fire(module):
    z, a = np.empty((1, 1)), np.empty((1, 1))
    module.forward(np.array([[1.0]]), np.array([[3.0]]), np.array([-3.0]), STEP, z, a)
    assert a[0, 0] == 0.0


@both
def test_sigmoid_neuron_with_cross_entropy_is_logistic_regression(module):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 3))
    y = (x @ [1.0, -2.0, 0.5] + 0.3 + rng.logistic(size=200) > 0).astype(float)
    design = np.column_stack([x, np.ones(200)])
    beta = np.zeros(4)
    for _ in range(20):  # Newton's iterations on the log-likelihood
        p = 1 / (1 + np.exp(-design @ beta))
        beta += np.linalg.solve(design.T @ (design * (p * (1 - p))[:, None]), design.T @ (y - p))
    neuron = Network((3, 1), ("sigmoid",), "binary_cross_entropy")
    assert descended(module, neuron, x, y[:, None], 1500, 2.0) == pytest.approx(beta, abs=1e-6)


@both
def test_identity_neuron_with_squared_error_is_linear_regression(module):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(50, 3))
    y = x @ np.array([[1.0, 0.0], [-2.0, 3.0], [0.5, 1.0]]) + [0.3, -0.7] + rng.normal(size=(50, 2))
    solution, *_ = np.linalg.lstsq(np.column_stack([x, np.ones(50)]), y, rcond=None)
    neurons = Network((3, 2), ("identity",), "squared_error")
    theta = descended(module, neurons, x, y, 500, 0.3)
    (W, b), *_ = neurons.layers_of(theta)
    assert pytest.approx(solution, abs=1e-9) == np.vstack([W, b])


@both
def test_layers_without_nonlinearity_collapse_to_one_linear_map(module):
    rng = np.random.default_rng(3)
    sizes = (4, 6, 5, 2)
    a = x = rng.normal(size=(7, 4))
    M, c = np.eye(4), np.zeros(4)
    for n_in, n_out in pairwise(sizes):
        W, b = rng.normal(size=(n_in, n_out)), rng.normal(size=n_out)
        z = np.empty((7, n_out))
        module.forward(a, W, b, IDENTITY, z, z)
        a, M, c = z, M @ W, c @ W + b
    np.testing.assert_allclose(a, x @ M + c, rtol=1e-12)
