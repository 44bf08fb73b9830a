"""Kernels against the computational graph: gradients by the chain rule alone, without a formula for any delta.

The graph differentiates the cost node by node in plain Python. The stages and the engines must give the same dJ/dtheta:
one step of gradient descent with one sample and learning rate 1 takes exactly it away from the parameters.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from fastbp.kernels import reference, stages
from fastbp.kernels.codes import ACTIVATION, COST, SGD
from fastbp.kernels.cpu import FusedEngine
from fastbp.kernels.protocol import Settings, Split
from fastbp.kernels.stepwise import StepwiseEngine
from fastbp.network import Network
from fastbp.network_graph import cost_graph

HIDDEN = ("identity", "sigmoid", "tanh", "relu", "leaky_relu")
OUTPUTS = [*product(HIDDEN, ("squared_error", "mean_squared_error"))]
OUTPUTS += [("sigmoid", "binary_cross_entropy"), ("softmax", "cross_entropy"), ("exponential", "poisson")]
SHAPES = [(3, 2), (2, 3, 2), (3, 4, 1, 3)]
CASES = [(sizes, hidden, *output) for sizes in SHAPES for hidden in HIDDEN for output in OUTPUTS]
CASES = [case for case in CASES if len(case[0]) > 2 or case[1] == "identity"]  # one layer has no hidden activation
CASES += [((2, 3, 3, 2), "tanh relu", "sigmoid", "squared_error"), ((1, 1), "identity", "tanh", "squared_error")]


def case_of(sizes, hidden, output, cost, as_bytes=False):
    """(network, theta, x, y): random, with units on both sides of every kink; bytes are inputs times 255."""
    names = (hidden.split() * len(sizes))[: len(sizes) - 2]
    network = Network(sizes, (*names, output), cost)
    rng = np.random.default_rng([len(sizes), len(hidden), len(output)])
    theta = rng.normal(scale=0.8, size=network.n_parameters)
    x = rng.integers(1, 256, sizes[0]).astype(np.uint8) if as_bytes else rng.normal(size=sizes[0])
    if cost in ("squared_error", "mean_squared_error"):
        y = rng.normal(size=sizes[-1])
    else:
        y = rng.uniform(0.1, 0.9, size=sizes[-1])
        y /= y.sum() if cost == "cross_entropy" else 1
    return network, theta, x, y


def by_graph(network, theta, x, y):
    """(J, dJ/dtheta)"""
    graph = cost_graph(network, theta.tolist(), x.tolist(), y.tolist())
    return graph.cost.value, np.array(graph.gradient())


def distance(ours, theirs):
    """How far two gradients are apart, relative to the larger of 1 and the second one's length."""
    return float(np.linalg.norm(ours - theirs) / max(1.0, float(np.linalg.norm(theirs))))


def by_stages(module, network, theta, x, y):
    """dJ/dtheta, the deltas of all layers and the cost, from the five stages."""
    layers, codes = network.layers_of(theta), [ACTIVATION[name] for name in network.activations]
    a = [x[None]]
    for (W, b), code in zip(layers, codes, strict=True):
        z, out = np.empty((1, len(b))), np.empty((1, len(b)))
        module.forward(a[-1], W, b, code, z, out)
        a.append(out)
    delta = [np.empty_like(each) for each in a[1:]]
    module.output_delta(a[-1], y[None], codes[-1], COST[network.cost], delta[-1])
    for layer in range(len(layers) - 1, 0, -1):
        module.hidden_delta(delta[layer], layers[layer][0], a[layer], codes[layer - 1], delta[layer - 1])
    dtheta = np.empty_like(theta)
    for layer, (dW, db) in enumerate(network.layers_of(dtheta)):
        module.gradient(a[layer], delta[layer], dW, db)
    return dtheta, module.loss(z, a[-1], y[None], COST[network.cost])


def one_step(engine, theta):
    """(cost before, what one step of the engine with learning rate 1 takes away from theta)"""
    costs = np.empty(1)
    engine.run(np.zeros(1, np.uint32), np.ones(1), costs)
    return costs[0], theta - engine.parameters()


def split_of(x, y):
    return Split(x[None], np.zeros(1, np.int32), y[None])


@pytest.mark.parametrize("module", [reference, stages], ids=["reference", "stages"])
@pytest.mark.parametrize(("sizes", "hidden", "output", "cost"), CASES)
def test_stages(module, sizes, hidden, output, cost):
    network, theta, x, y = case_of(sizes, hidden, output, cost)
    expected_cost, expected = by_graph(network, theta, x, y)
    dtheta, found_cost = by_stages(module, network, theta, x, y)
    assert found_cost == pytest.approx(expected_cost, rel=1e-13)
    assert distance(dtheta, expected) <= 1e-13


@pytest.mark.parametrize(("sizes", "hidden", "output", "cost"), CASES)
def test_one_step_of_the_engines(sizes, hidden, output, cost):
    network, theta, x, y = case_of(sizes, hidden, output, cost)
    expected_cost, expected = by_graph(network, theta, x, y)
    split, rule = split_of(x, y), Settings(SGD, batch_size=1)
    for engine in (
        StepwiseEngine(reference, "reference", network, theta, split, split, rule, classes=False),
        FusedEngine(network, theta, split, split, rule, classes=False),
    ):
        found_cost, dtheta = one_step(engine, theta)
        assert found_cost == pytest.approx(expected_cost, rel=1e-12), engine.name
        assert distance(dtheta, expected) <= 1e-12, engine.name


@pytest.mark.parametrize("layout", ["sparse", "dense"])
@pytest.mark.parametrize(("sizes", "hidden", "output", "cost"), [case for case in CASES if case[0] == (2, 3, 2)])
def test_one_step_of_the_fused_engine_on_bytes(layout, sizes, hidden, output, cost):
    network, theta, x, y = case_of(sizes, hidden, output, cost, as_bytes=True)
    expected_cost, expected = by_graph(network, theta, x / 255, y)
    split, rule = split_of(x, y), Settings(SGD, batch_size=1)
    engine = FusedEngine(network, theta, split, split, rule, x_scale=1 / 255, classes=False, layout=layout)
    found_cost, dtheta = one_step(engine, theta)
    assert found_cost == pytest.approx(expected_cost, rel=1e-12)
    assert distance(dtheta, expected) <= 1e-12


def test_random_cases_reach_every_side_of_the_kinks():
    """Were all relu units dead or all alive, their derivative would hardly be tested."""
    signs = {"relu": set(), "leaky_relu": set()}
    for sizes, hidden, output, cost in CASES:
        network, theta, x, y = case_of(sizes, hidden, output, cost)
        graph = cost_graph(network, theta.tolist(), x.tolist(), y.tolist())
        for name, units in zip(network.activations, graph.z, strict=True):
            if name in signs:
                signs[name] |= {unit.value > 0 for unit in units}
    assert signs == {"relu": {True, False}, "leaky_relu": {True, False}}
