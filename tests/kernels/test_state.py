"""What an optimizer remembers: by hand, from engine to engine, and across a run that is cut in two."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from fastbp.kernels import OPTIMIZER, Engine, OptimizerState, Settings, Split, open_engine
from fastbp.network import Network

ENGINES = ("fused", "stages", "reference")
NETWORK = Network((12, 9, 4, 3), ("tanh", "sigmoid", "softmax"), "cross_entropy")
N, BATCH = 40, 6


def split() -> Split:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 12)) * (rng.random((N, 12)) < 0.4)
    return Split(x, rng.integers(0, 3, N).astype(np.int32), np.eye(3))


def engine(name: str, theta: np.ndarray | None = None, optimizer: str = "adam", **settings: Any) -> Engine:
    theta = NETWORK.initial_parameters(1, dtype="float64") if theta is None else theta
    rule = Settings(OPTIMIZER[optimizer], BATCH, **settings)
    return open_engine(NETWORK, theta, split(), split(), rule, engine=name, threads=2 if name == "fused" else 1)


ORDER = np.random.default_rng(1).permutation(N).astype(np.uint32)
ETAS = np.linspace(0.05, 0.01, 7)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("optimizer", OPTIMIZER)
@pytest.mark.parametrize("settings", [{}, {"decay": 0.01, "dropout": (0.3, 0.0), "seed": 7}], ids=["plain", "dropout"])
def test_a_run_cut_in_two_is_the_whole_run(name: str, optimizer: str, settings: dict[str, Any]) -> None:
    """Bit for bit, with everything carried over to an engine that has just been made."""
    whole, costs = engine(name, optimizer=optimizer, **settings), np.empty(7)
    whole.run(ORDER, ETAS, costs)
    for cut in (1, 3):
        first, parts = engine(name, optimizer=optimizer, **settings), np.empty(7)
        first.run(ORDER[: cut * BATCH], ETAS[:cut], parts[:cut])
        state = first.state()
        second = engine(name, first.parameters(), optimizer, **settings)
        first.run(ORDER[:BATCH], ETAS[:1], np.empty(1))  # what it does from here on is its own affair
        second.set_state(pickle.loads(pickle.dumps(state)))
        second.run(ORDER[cut * BATCH :], ETAS[cut:], parts[cut:])
        assert parts.tobytes() == costs.tobytes()
        assert second.parameters().tobytes() == whole.parameters().tobytes()
        for ours, theirs in zip(second.state(), whole.state(), strict=True):
            assert np.array_equal(ours, theirs) if ours is not None else theirs is None


@pytest.mark.parametrize("name", ENGINES)
def test_what_is_remembered_after_one_step(name: str) -> None:
    """The first moments are shares of the gradient, which the whole training set's own method gives."""
    one = engine(name)
    _, g = one.cost_and_gradient()
    everything, costs = np.arange(N, dtype=np.uint32), np.empty(1)

    def after_one_step(optimizer: str, **settings: float) -> OptimizerState:
        rule = Settings(OPTIMIZER[optimizer], N, **settings)
        theta = NETWORK.initial_parameters(1, dtype="float64")
        fresh = open_engine(NETWORK, theta, split(), split(), rule, engine=name)
        fresh.run(everything, np.full(1, 0.5), costs)
        return fresh.state()

    for optimizer, settings, moments, squares in (
        ("sgd", {}, None, None),
        ("momentum", {}, -0.5 * g, None),
        ("nesterov", {}, -0.5 * g, None),
        ("rmsprop", {"rho": 0.75}, None, 0.25 * g * g),
        ("adam", {"beta_1": 0.875, "beta_2": 0.75}, 0.125 * g, 0.25 * g * g),
        ("adamw", {"beta_1": 0.875, "beta_2": 0.75}, 0.125 * g, 0.25 * g * g),
    ):
        state = after_one_step(optimizer, **settings)
        assert state.n_updates == 1
        for ours, expected in ((state.moments, moments), (state.squares, squares)):
            assert (ours is None) == (expected is None), optimizer
            if expected is not None:
                np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-16)


@pytest.mark.parametrize("optimizer", OPTIMIZER)
def test_a_state_moves_between_engines(optimizer: str) -> None:
    first = engine("fused", optimizer=optimizer)
    first.run(ORDER[: 3 * BATCH], ETAS[:3], np.empty(3))
    results = []
    for name in ENGINES:
        other = engine(name, first.parameters(), optimizer)
        other.set_state(first.state())
        other.run(ORDER[3 * BATCH :], ETAS[3:], np.empty(4))
        results.append(other.parameters())
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ENGINES)
def test_another_optimizer_takes_what_it_can_use(name: str) -> None:
    """Plain descent has no use for a velocity, and a velocity that is not there is 0."""
    rng = np.random.default_rng(2)
    given = OptimizerState(rng.normal(size=NETWORK.n_parameters), rng.random(NETWORK.n_parameters), 5)
    plain = engine(name, optimizer="sgd")
    plain.set_state(given)
    assert plain.state() == OptimizerState(None, None, 5)
    moving = engine(name, optimizer="momentum")
    moving.set_state(given)
    np.testing.assert_array_equal(moving.state().moments, given.moments)
    moving.set_state(OptimizerState(None, None, 2))
    assert not moving.state().moments.any()
    assert moving.state()[1:] == (None, 2)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("optimizer", OPTIMIZER)
def test_a_divergence_leaves_nothing_behind(name: str, optimizer: str) -> None:
    """Once weights and state are put back, all is as in an engine that never saw NaN."""
    tried, fresh = engine(name, optimizer=optimizer), engine(name, optimizer=optimizer)
    theta, state = tried.parameters(), tried.state()
    with np.errstate(all="ignore"):
        tried.set_parameters(np.full_like(theta, np.nan))
        tried.run(ORDER, ETAS, np.empty(7))
        assert np.isnan(tried.parameters()).all()
    tried.set_parameters(theta)
    tried.set_state(state)
    costs = np.empty((2, 7))
    for each, found in zip((tried, fresh), costs, strict=True):
        each.run(ORDER, ETAS, found)
    assert costs[0].tobytes() == costs[1].tobytes()
    assert tried.parameters().tobytes() == fresh.parameters().tobytes()
    assert tried.evaluate("test") == fresh.evaluate("test")
