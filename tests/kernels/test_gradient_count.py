"""How many networks have had their gradient checked, and how far the worst one is off.

Every activation, allowed cost and depth from one to three layers, plain, with weight decay, with smoothed labels, with
weighted samples and with a fixed mask of dropped units: what the engine of the stages calls the gradient, against
derivatives of a cost that is written here a second time, in float64, from the definitions. That cost knows nothing of
deltas. Without kinks it is differentiated by the complex step (Squire, Trapp 1998), which is exact to rounding; with
them by central differences, from networks whose net inputs keep away from the kinks. `pytest -s` prints the counts.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import product

import numpy as np
import pytest

from fastbp import CustomActivation, Network
from fastbp.kernels import Settings, Split, reference, stages
from fastbp.kernels.codes import SGD
from fastbp.kernels.stepwise import StepwiseEngine
from fastbp.preparation import smoothed

# The derivative is worked out by hand; the cost below has a formula for f alone.
SWISH = CustomActivation("swish", lambda z: z / (1 + math.exp(-z)), lambda z, a: a + (1 - a) / (1 + math.exp(-z)))
HIDDEN = ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "maxout", SWISH)
SQUARED = ("squared_error", "mean_squared_error")
OUTPUTS = [*product(HIDDEN[:5], SQUARED), ("sigmoid", "binary_cross_entropy"), ("softmax", "cross_entropy")]
OUTPUTS += [("exponential", "poisson"), ("step", "perceptron")]
SIZES = {1: (4, 3), 2: (4, 5, 3), 3: (4, 5, 2, 3)}
N, DECAY, SMOOTHING, RATE = 7, 0.1, 0.2, 0.5
KINKED = ("relu", "leaky_relu", "maxout", "step")

VARIANTS = ("plain", "decay", "smoothing", "weights", "dropout")


def cases():
    for (depth, sizes), (output, cost), variant in product(SIZES.items(), OUTPUTS, VARIANTS):
        if cost == "perceptron" and depth > 1:
            continue
        if variant == "smoothing" and "cross" not in cost:
            continue
        if variant == "dropout" and depth == 1:
            continue
        for hidden in HIDDEN if depth > 1 else HIDDEN[:1]:
            yield variant, Network(sizes, (*[hidden] * (depth - 1), output), cost)


CASES = list(cases())


def softmax(z):
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


def larger(z):
    """Of two pieces, by their real parts, so that the complex step may pass."""
    first, second = np.split(z, 2, axis=1)
    return np.where(first.real >= second.real, first, second)


F = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": lambda z: (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z)),
    "relu": lambda z: np.where(z.real > 0, z, 0),
    "leaky_relu": lambda z: np.where(z.real > 0, z, z / 100),
    "maxout": larger,
    "swish": lambda z: z / (1 + np.exp(-z)),
    "softmax": softmax,
    "exponential": np.exp,
    "step": lambda z: np.where(z.real > 0, 1.0, 0.0),
}
J = {  # of each sample
    "squared_error": lambda z, a, y: (a - y) ** 2 / 2,
    "mean_squared_error": lambda z, a, y: (a - y) ** 2,
    "binary_cross_entropy": lambda z, a, y: -y * np.log(a) - (1 - y) * np.log(1 - a),
    "cross_entropy": lambda z, a, y: -y * np.log(a),
    "poisson": lambda z, a, y: a - y + y * np.log(y) - y * z,
    "perceptron": lambda z, a, y: np.where(((1 - 2 * y) * z).real > 0, (1 - 2 * y) * z, 0),
}


def cost_of(theta, network, x, y, *, decay=0.0, weights=None, factors=None):
    """J, and the smallest distance of a net input from a kink"""
    a, start, penalty, nearest = x, 0, 0.0, np.inf
    for layer, (n_in, n_out) in enumerate(zip(network.sizes, network.sizes[1:], strict=False)):
        name = network.activations[layer]
        n_columns = 2 * n_out if name == "maxout" else n_out
        W = theta[start : start + n_in * n_columns].reshape(n_in, n_columns)
        b = theta[start + n_in * n_columns : start + (n_in + 1) * n_columns]
        start += (n_in + 1) * n_columns
        z = a @ W + b
        if name in KINKED:
            gap = z[:, :n_out] - z[:, n_out:] if name == "maxout" else z
            nearest = min(nearest, np.abs(gap).min())
        a = F[name](z)
        if factors is not None and layer < len(factors):
            a = a * factors[layer]
        penalty = penalty + (W * W).sum()
    each = J[network.cost](z, a, y).sum(axis=1)
    share = np.full(N, 1 / N) if weights is None else weights / weights.sum()
    return (share * each).sum() + decay / 2 * penalty, nearest


def numerical(theta, network, *case, **more):
    """dJ/dtheta by the complex step where there are no kinks, else by central differences of two steps, combined."""
    if not {*network.activations} & {*KINKED}:
        return (
            np.array([cost_of(theta + h, network, *case, **more)[0].imag for h in 1e-30j * np.eye(len(theta))]) / 1e-30
        )
    slopes = []
    for step in (1e-4, 2e-4):
        pairs = [(theta + h, theta - h) for h in step * np.eye(len(theta))]
        sides = [[cost_of(side, network, *case, **more)[0] for side in pair] for pair in pairs]
        slopes.append((np.array(sides)[:, 0] - np.array(sides)[:, 1]) / (2 * step))
    return (4 * slopes[0] - slopes[1]) / 3  # the error of step^2 cancels (Richardson)


@cache
def problem(network, variant):
    """Parameters, samples and what else belongs to J, drawn again until no kink is near and no gradient is 0."""
    n_out = network.sizes[-1]
    for attempt in range(300):
        rng = np.random.default_rng([N, len(network.sizes), attempt])
        theta, x = rng.normal(scale=0.7, size=network.n_parameters), rng.normal(size=(N, network.sizes[0]))
        labels = np.arange(N) % n_out
        y = rng.uniform(0.1, 0.9, size=(N, n_out))
        if "cross" in network.cost or network.cost == "perceptron":
            y = np.eye(n_out)[labels]
        if variant == "smoothing":
            n_classes = n_out if network.cost == "cross_entropy" else 2
            y = (1 - SMOOTHING) * y + SMOOTHING / n_classes
        more = {"decay": DECAY} if variant == "decay" else {}
        if variant == "weights":  # those of classes times those of samples
            more["weights"] = np.array([0.5, 2.0, 1.25])[labels] * rng.uniform(0.2, 3.0, N)
        if variant == "dropout":
            kept = [rng.random((N, n)) >= RATE for n in network.sizes[1:-1]]
            more["factors"] = [mask / (1 - RATE) for mask in kept]
        _, nearest = cost_of(theta, network, x, y, **more)
        g = numerical(theta, network, x, y, **more)
        parts = [np.linalg.norm(W) for W, _ in network.layers_of(g)]
        if nearest > 5e-3 and min(parts) > 1e-2:
            return theta, x, y, more, g
    raise AssertionError(f"no network of {network.activations} away from kinks in 300 attempts")


def by_engine(module, network, variant, theta, x, y, more):
    """What the engine calls the gradient: of all samples, or, with dropped units, what one step of it takes away."""
    split = Split(x, np.arange(N, dtype=np.int32), y, more.get("weights"))
    if variant == "smoothing":
        n_out = network.sizes[-1]
        split = split._replace(y=split.y % n_out, targets=smoothed(np.eye(n_out), SMOOTHING, network.cost))
    rates = (RATE,) * (len(network.sizes) - 2) if "factors" in more else ()
    rule = Settings(SGD, batch_size=N, decay=more.get("decay", 0.0), dropout=rates)
    engine = StepwiseEngine(module, "test", network, theta, split, split, rule, classes=False)
    if not rates:
        return engine.cost_and_gradient()
    costs = np.empty(1)
    engine.run(np.arange(N, dtype=np.uint32), np.ones(1), costs)
    return float(costs[0]), theta - engine.parameters()


@pytest.mark.parametrize("module", [reference, stages], ids=["reference", "stages"])
def test_gradients_of_every_kind_of_network(module, monkeypatch, record_property):
    worst, counts = {"smooth": (0.0, ""), "kinked": (0.0, "")}, {"smooth": 0, "kinked": 0}
    for variant, network in CASES:
        theta, x, y, more, expected = problem(network, variant)
        fixed = more.get("factors")
        monkeypatch.setattr("fastbp.kernels.stepwise.factors", lambda *_, fixed=fixed: fixed)
        cost, g = by_engine(module, network, variant, theta, x, y, more)
        assert cost == pytest.approx(cost_of(theta, network, x, y, **more)[0], rel=1e-12)
        kind = "kinked" if {*network.activations} & {*KINKED} else "smooth"
        error = float(np.linalg.norm(g - expected) / np.linalg.norm(expected))
        counts[kind] += 1
        worst[kind] = max(worst[kind], (error, f"{variant} {', '.join(network.activations)} {network.cost}"))
        assert error <= {"smooth": 1e-13, "kinked": 1e-9}[kind], (variant, network.activations, network.cost)
    for kind, (error, where) in worst.items():
        said = (
            f"{module.__name__.rsplit('.', 1)[-1]}: {counts[kind]} {kind} networks, worst error {error:.1e} ({where})"
        )
        record_property(kind, said)
        print(said)
    assert counts == {"smooth": 333, "kinked": 467}
