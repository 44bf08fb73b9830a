"""Weights of samples, dropout, clipping, penalties and optimisers: both engines against formulas written again here.

The cost is the plain formula for complex numbers, so that its derivative is exact (Squire, Trapp 1998), and which units
are dropped is worked out from the published SplitMix64 on Python's whole numbers.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest

from fastbp.errors import UsageError
from fastbp.kernels import ADAMW, OPTIMIZER, SGD, CsrRows, Settings, Split, open_engine
from fastbp.network import Network
from fastbp.streams import stream_key

N, SIZES = 24, (11, 7, 5, 3)
NETWORK = Network(SIZES, ("tanh", "sigmoid", "softmax"), "cross_entropy")
MASK = (1 << 64) - 1


def data(seed: int = 0, weighted: bool = False) -> Split:
    rng = np.random.default_rng(seed)
    weights = rng.choice([0.0, 0.5, 1.0, 3.0], N) if weighted else None
    return Split(rng.normal(size=(N, SIZES[0])), rng.integers(0, 3, N).astype(np.int32), np.eye(3), weights)


def engine_of(name: str, split: Split, theta: np.ndarray | None = None, **settings: Any) -> Any:
    theta = NETWORK.initial_parameters(5, dtype="float64") if theta is None else theta
    rule = Settings(**{"optimizer": SGD, "batch_size": N, **settings})
    return open_engine(NETWORK, theta, split, split, rule, engine=name, threads=2 if name == "fused" else 1)


def splitmix64(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def kept(seed: int, update: int, batch_size: int, n: int, rates: tuple[float, ...]) -> list[np.ndarray]:
    """Factors of the two hidden layers: four units per word, two words for 7 units and two for 5."""
    key, result = stream_key(seed, "dropout"), [np.zeros((n, 7)), np.zeros((n, 5))]
    for i in range(n):
        first = (update * batch_size + i) * 4
        for layer, (units, word) in enumerate(((7, first), (5, first + 2))):
            for j in range(units):
                bits = splitmix64((key + (word + j // 4 + 1) * 0x9E3779B97F4A7C15) & MASK)
                if (bits >> (16 * (j % 4))) & 0xFFFF >= round(rates[layer] * 65536):
                    result[layer][i, j] = 1 / (1 - rates[layer])
    return result


def cost_of(theta: np.ndarray, split: Split, rows: Any, decay: float, keep: list[np.ndarray] | None = None) -> Any:
    """Weighted mean cost of some samples plus decay/2 * sum of W^2."""
    (W1, b1), (W2, b2), (W3, b3) = NETWORK.layers_of(theta)
    k1, k2 = keep or (1.0, 1.0)
    a = np.tanh(split.x[rows] @ W1 + b1) * k1
    a = 1 / (1 + np.exp(-(a @ W2 + b2))) * k2
    e = np.exp(a @ W3 + b3)
    p = (e / e.sum(axis=1, keepdims=True))[np.arange(len(a)), split.y[rows]]
    weights = np.ones(len(a)) if split.weights is None else split.weights[rows]
    return -(weights * np.log(p)).sum() / weights.sum() + decay / 2 * sum((W * W).sum() for W in (W1, W2, W3))


def slope_of(theta: np.ndarray, *case: Any) -> np.ndarray:
    """Its gradient by the complex step."""
    return np.array([cost_of(theta + 1e-30j * h, *case).imag / 1e-30 for h in np.eye(theta.size)])


def one_step(engine: Any, rows: np.ndarray, eta: float = 1.0) -> tuple[float, np.ndarray]:
    """The cost that a step reports, and what it takes away from theta."""
    before, costs = engine.parameters(), np.empty(1)
    engine.run(rows.astype(np.uint32), np.full(1, eta), costs)
    return costs[0], before - engine.parameters()


def far(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


engines = pytest.mark.parametrize("name", ["fused", "stages", "reference"])


@engines
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("settings", [{}, {"decay": 0.3}, {"decay": 4.0, "decay_per_batch": True}])
def test_cost_and_gradient_of_all_samples(name, weighted, settings):
    split = data(1, weighted)
    engine = engine_of(name, split, batch_size=5, **settings)
    mass = split.weights.sum() if weighted else N
    decay = settings.get("decay", 0.0) / (mass if "decay_per_batch" in settings else 1)
    theta = engine.parameters()
    cost, gradient = engine.cost_and_gradient()
    assert cost == pytest.approx(cost_of(theta, split, slice(None), decay), rel=1e-12)
    assert far(gradient, slope_of(theta, split, slice(None), decay)) < 1e-12
    np.testing.assert_array_equal(engine.parameters(), theta)
    again = engine.cost_and_gradient()
    assert again[0] == cost
    np.testing.assert_array_equal(again[1], gradient)


@engines
@pytest.mark.parametrize(("weighted", "batch_size"), list(product([False, True], [N, 10])))
def test_a_step_follows_the_slope_of_the_weighted_cost_with_its_penalty(name, weighted, batch_size):
    split, rows = data(2, weighted), np.arange(3, 13)
    for decay, per_batch in ((0.0, False), (0.2, False), (3.0, True)):
        settings = {"decay": decay, "decay_per_batch": per_batch, "penalty_in_cost": True, "batch_size": batch_size}
        engine = engine_of(name, split, **settings)
        theta = engine.parameters()
        mass = split.weights[rows].sum() if weighted else len(rows)
        lam = decay / mass if per_batch else decay
        cost, change = one_step(engine, rows)
        assert cost == pytest.approx(cost_of(theta, split, rows, lam), rel=1e-12)
        assert far(change, slope_of(theta, split, rows, lam)) < 1e-12


@engines
@pytest.mark.parametrize("rates", [(0.5, 0.25), (0.0, 0.6), (0.9, 0.0)])
def test_dropout_is_the_slope_with_these_units_left_out(name, rates):
    split = data(3)
    engine = engine_of(name, split, dropout=rates, seed=8, batch_size=10)
    for update, rows in enumerate((np.arange(10), np.arange(10, 20), np.arange(20, 24), np.arange(10))):
        theta, keep = engine.parameters(), kept(8, update, 10, len(rows), rates)
        cost, change = one_step(engine, rows, 0.1)
        assert cost == pytest.approx(cost_of(theta, split, rows, 0.0, keep), rel=1e-12)
        assert far(change, 0.1 * slope_of(theta, split, rows, 0.0, keep)) < 1e-12
    theta = engine.parameters()
    assert engine.evaluate("train").loss == pytest.approx(cost_of(theta, split, slice(None), 0.0), rel=1e-12)
    assert engine.cost_and_gradient()[0] == pytest.approx(cost_of(theta, split, slice(None), 0.0), rel=1e-12)


def test_the_share_of_dropped_units():
    factors = np.concatenate([layer.ravel() for update in range(40) for layer in kept(1, update, N, N, (0.3, 0.3))])
    assert np.mean(factors == 0) == pytest.approx(0.3, abs=0.01)
    assert factors.mean() == pytest.approx(1.0, abs=0.02)


@engines
@pytest.mark.parametrize(("clip", "decay"), [(0.05, 0.0), (0.2, 0.3), (1e9, 0.3)])
def test_a_long_gradient_is_shortened_and_a_short_one_is_not(name, clip, decay):
    split, rows = data(4), np.arange(N)
    engine = engine_of(name, split, clip_norm=clip, decay=decay)
    slope = slope_of(engine.parameters(), split, rows, decay)
    _, change = one_step(engine, rows)
    expected = slope * min(1.0, clip / np.linalg.norm(slope))
    assert far(change, expected) < 1e-12
    if clip < 1:
        assert np.linalg.norm(change) == pytest.approx(clip, rel=1e-12)


@engines
def test_adamw_shrinks_weights_beside_the_step(name):
    split, rows = data(5), np.arange(N)
    plain, decayed = (engine_of(name, split, optimizer=ADAMW, decay=decay) for decay in (0.0, 0.4))
    theta = plain.parameters()
    (cost, change), (same, more) = one_step(plain, rows, 0.01), one_step(decayed, rows, 0.01)
    assert cost == same
    for (W, b), (dW, db) in zip(NETWORK.layers_of(theta), NETWORK.layers_of(more - change), strict=True):
        np.testing.assert_allclose(dW, 0.01 * 0.4 * W, rtol=1e-10)
        np.testing.assert_allclose(db, 0 * b, atol=1e-17)


@pytest.mark.parametrize("optimizer", OPTIMIZER)
@pytest.mark.parametrize("batch_size", [7, 24])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"decay": 0.1, "penalty_in_cost": True},
        {"decay": 2.0, "decay_per_batch": True},
        {"dropout": (0.4, 0.2)},
        {"clip_norm": 0.1, "decay": 0.1},
        {"update_biases": False, "clip_norm": 0.1},
    ],
)
def test_all_engines_agree(optimizer, batch_size, settings):
    """Bytes, some of them often lit, and weights: the layouts of the fused engine against the reference."""
    rng = np.random.default_rng(6)
    n_in = 40
    network = Network((n_in, 7, 5, 3), ("tanh", "sigmoid", "softmax"), "cross_entropy")
    lit = rng.random((60, n_in)) < np.where(np.arange(n_in) % 2, 0.95, 0.2)
    x = (rng.integers(1, 256, (60, n_in)) * lit).astype(np.uint8)
    split = Split(x, rng.integers(0, 3, 60).astype(np.int32), np.eye(3), rng.random(60))
    rule = Settings(optimizer=OPTIMIZER[optimizer], batch_size=batch_size, **settings)
    theta = network.initial_parameters(2, dtype="float64")
    opened = [("reference", {}), ("stages", {})]
    opened += [("fused", {"input_layout": layout, "threads": 3}) for layout in ("auto", "sparse", "dense")]
    results = []
    for name, how in opened:
        engine = open_engine(network, theta, split, split, rule, x_scale=1 / 255, engine=name, **how)
        costs = np.empty(2 * math.ceil(60 / batch_size))
        order = np.random.default_rng(7)
        for part in np.split(costs, 2):
            engine.run(order.permutation(60).astype(np.uint32), np.full(part.size, 0.05), part)
        before = engine.parameters()
        engine.reset_state()
        engine.run(np.arange(batch_size, dtype=np.uint32), np.full(1, 0.05), costs[:1])
        results.append((before, engine.parameters(), costs, engine.evaluate("train")))
    (first, last, costs, measured), *others = results
    for each in others:
        assert far(each[0], first) < 1e-11
        assert far(each[1], last) < 1e-11
        np.testing.assert_allclose(each[2], costs, rtol=1e-10)
        assert each[3].loss == pytest.approx(measured.loss, rel=1e-10)
        assert each[3].accuracy == measured.accuracy


def test_a_batch_without_weight_changes_nothing():
    split = data(8)._replace(weights=np.where(np.arange(N) < 12, 0.0, 1.0))
    for name in ("fused", "reference"):
        engine = engine_of(name, split)
        cost, change = one_step(engine, np.arange(12))
        assert cost == 0.0
        assert not change.any()


def test_sparse_rows_are_dense_rows():
    rng = np.random.default_rng(9)
    x = rng.normal(size=(N, SIZES[0])) * (rng.random((N, SIZES[0])) < 0.3)
    x[4] = 0
    rows, columns = np.nonzero(x)
    order = np.lexsort((-columns, rows))  # within a row the columns may stand in any order
    starts = np.searchsorted(rows, np.arange(N + 1)).astype(np.int64)
    sparse = CsrRows(x[rows, columns][order], columns[order].astype(np.int32), starts, SIZES[0])
    assert sparse.shape == x.shape
    dense = data(9)._replace(x=x)
    one, other = (engine_of("fused", dense._replace(x=kind), batch_size=9) for kind in (x, sparse))
    for engine in (one, other):
        engine.run(np.arange(N, dtype=np.uint32), np.ones(3), np.empty(3))
    assert one.parameters().tobytes() == other.parameters().tobytes()
    assert one.evaluate("train") == other.evaluate("train")
    with pytest.raises(UsageError, match="engine reference takes dense input only"):
        engine_of("reference", dense._replace(x=sparse))
