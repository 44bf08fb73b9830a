"""Gradients of the stages against numerical derivatives of a cost that is written here a second time.

The second cost is the plain formula, unprotected from overflow, and knows nothing of deltas. It works for complex
numbers too, so that smooth networks can be checked by the complex step (Squire, Trapp 1998), free of cancellation.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from fastbp.kernels import reference, stages
from fastbp.kernels.codes import ACTIVATION, COST

SQUARED = ("squared_error", "mean_squared_error")
HIDDEN = ("identity", "sigmoid", "tanh", "relu", "leaky_relu")
OUTPUTS = [(activation, cost) for activation in HIDDEN for cost in SQUARED]
OUTPUTS += [("sigmoid", "binary_cross_entropy"), ("softmax", "cross_entropy"), ("exponential", "poisson")]
KINKED = ("relu", "leaky_relu")
SIZES = {1: (4, 3), 2: (4, 5, 3), 3: (4, 5, 2, 3)}
CASES = [(depth, hidden, *output) for depth in SIZES for hidden in HIDDEN for output in OUTPUTS]
CASES = [case for case in CASES if case[0] > 1 or case[1] == "identity"]  # one layer has no hidden activation
CASES += [(3, "tanh relu", "sigmoid", "squared_error"), (3, "sigmoid tanh", "softmax", "cross_entropy")]

F = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": lambda z: np.tanh(z),
    "relu": lambda z: np.where(z > 0, z, 0 * z),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "softmax": lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True),
    "exponential": lambda z: np.exp(z),
}
COST_OF = {
    "squared_error": lambda a, y: ((a - y) ** 2).sum() / 2,
    "mean_squared_error": lambda a, y: ((a - y) ** 2).sum(),
    "binary_cross_entropy": lambda a, y: -(y * np.log(a) + (1 - y) * np.log(1 - a)).sum(),
    "cross_entropy": lambda a, y: -(y * np.log(a)).sum(),
    "poisson": lambda a, y: (a - y - y * np.log(a / y)).sum(),
}


def unpacked(theta, sizes):
    """[(W, b), ...] from W[1], b[1], W[2], ..."""
    layers, start = [], 0
    for n_in, n_out in pairwise(sizes):
        end = start + n_in * n_out
        layers.append((theta[start:end].reshape(n_in, n_out), theta[end : end + n_out]))
        start = end + n_out
    return layers


def whole_cost(theta, sizes, activations, cost, decay, x, y):
    """J = mean cost per sample + decay/2 * sum of W^2"""
    a, penalty = x, 0
    for (W, b), activation in zip(unpacked(theta, sizes), activations, strict=True):
        a = F[activation](a @ W + b)
        penalty = penalty + (W * W).sum()
    return COST_OF[cost](a, y) / len(x) + decay / 2 * penalty


def nearest_kink(theta, sizes, activations, x):
    """The smallest |z| of a unit whose activation has a kink at 0."""
    a, smallest = x, np.inf
    for (W, b), activation in zip(unpacked(theta, sizes), activations, strict=True):
        z = a @ W + b
        if activation in KINKED:
            smallest = min(smallest, np.abs(z).min())
        a = F[activation](z)
    return smallest


def by_central_differences(theta, *case, step=1e-5):
    shifts = step * np.eye(len(theta))
    return np.array([whole_cost(theta + h, *case) - whole_cost(theta - h, *case) for h in shifts]) / (2 * step)


def by_complex_step(theta, *case, step=1e-30):
    shifts = 1j * step * np.eye(len(theta))
    return np.array([whole_cost(theta + h, *case).imag for h in shifts]) / step


def by_stages(module, theta, sizes, activations, cost, decay, x, y):
    """What one update with eta = 1 takes away from theta."""
    layers = unpacked(theta, sizes)
    codes = [ACTIVATION[name] for name in activations]
    a, z = [x], None
    for (W, b), code in zip(layers, codes, strict=True):
        z = np.empty((len(x), len(b)))
        a.append(np.empty_like(z))
        module.forward(a[-2], W, b, code, z, a[-1])
    delta = [np.empty_like(layer) for layer in a[1:]]
    module.output_delta(a[-1], y, codes[-1], COST[cost], delta[-1])
    for layer in range(len(layers) - 1, 0, -1):
        module.hidden_delta(delta[layer], layers[layer][0], a[layer], codes[layer - 1], delta[layer - 1])
    updated = theta.copy()
    for layer, (W, b) in enumerate(unpacked(updated, sizes)):
        dW, db = np.empty_like(W), np.empty_like(b)
        module.gradient(a[layer], delta[layer], dW, db)
        module.update(W, b, dW, db, 1.0, decay, len(x))
    return theta - updated


def network_case(depth, hidden, output, cost, n_batch):
    """Random weights, inputs and targets, drawn again until no unit is near a kink and no layer is dead."""
    sizes = SIZES[depth]
    activations = (*(hidden.split() * depth)[: depth - 1], output)
    n_parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
    for attempt in range(100):
        rng = np.random.default_rng([depth, n_batch, attempt])
        theta, x = rng.normal(scale=0.7, size=n_parameters), rng.normal(size=(n_batch, sizes[0]))
        if cost in SQUARED:
            y = rng.normal(size=(n_batch, sizes[-1]))
        else:  # probabilities: soft targets
            y = rng.uniform(0.1, 0.9, size=(n_batch, sizes[-1]))
            y /= y.sum(axis=1, keepdims=True) if cost == "cross_entropy" else 1
        g = by_central_differences(theta, sizes, activations, cost, 0.0, x, y)
        alive = all(np.linalg.norm(W) > 1e-3 for W, _ in unpacked(g, sizes))
        if alive and nearest_kink(theta, sizes, activations, x) > 1e-3:
            return theta, sizes, activations, cost, x, y
    raise AssertionError("no network without a kink nearby in 100 attempts")


@pytest.mark.parametrize("n_batch", [1, 7])
@pytest.mark.parametrize(("depth", "hidden", "output", "cost"), CASES)
def test_gradient_equals_numerical_derivative(depth, hidden, output, cost, n_batch):
    theta, sizes, activations, cost, x, y = network_case(depth, hidden, output, cost, n_batch)
    assert nearest_kink(theta, sizes, activations, x) > 1e-3
    for decay in (0.0, 0.1):
        case = (sizes, activations, cost, decay, x, y)
        numerical = by_central_differences(theta, *case)
        for module in (reference, stages):
            g = by_stages(module, theta, *case)
            assert np.linalg.norm(g - numerical) <= 1e-6 * np.linalg.norm(g), (module.__name__, decay)


SMOOTH = [case for case in CASES if not {*case[1].split(), case[2]} & set(KINKED)]


@pytest.mark.parametrize(("depth", "hidden", "output", "cost"), SMOOTH)
def test_gradient_of_smooth_networks_equals_complex_step(depth, hidden, output, cost):
    theta, sizes, activations, cost, x, y = network_case(depth, hidden, output, cost, 7)
    case = (sizes, activations, cost, 0.1, x, y)
    exact = by_complex_step(theta, *case)
    for module in (reference, stages):
        g = by_stages(module, theta, *case)
        assert np.linalg.norm(g - exact) <= 1e-12 * np.linalg.norm(g), module.__name__
