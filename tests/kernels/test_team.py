"""Several threads on one network: the same bits for any number of them, whenever they come and go."""

from __future__ import annotations

import threading
import time
from itertools import product
from typing import Any

import numpy as np
import pytest
from numba import config, njit

from fastbp import UsageError, train
from fastbp.kernels import OPTIMIZER, Settings, Split, atomics, fused
from fastbp.kernels import cpu as cpu_module
from fastbp.kernels import team as team_module
from fastbp.kernels.cpu import FusedEngine
from fastbp.kernels.packing import Inputs, cut_rows
from fastbp.kernels.team import CLAIMS, DONE, HELPERS, LATE, LINE, LONGEST_BREAK, PHASE, Helpers, team_of
from fastbp.network import Network

compiled_only = pytest.mark.skipif(config.DISABLE_JIT, reason="threads share compiled kernels only")
THREADS = (1, 2, 3, 5)
NETWORK = Network((90, 20, 33, 3), ("sigmoid", "relu", "softmax"), "cross_entropy")


def digits_like(rng: np.random.Generator, n: int = 150, n_in: int = 90) -> np.ndarray:
    """Bytes; a third of the inputs are mostly lit, so that auto makes them dense and the others sparse."""
    shares = np.where(np.arange(n_in) % 3 == 0, 0.9, 0.15)
    return (rng.integers(1, 256, (n, n_in)) * (rng.random((n, n_in)) < shares)).astype(np.uint8)


def engine_of(threads: int, dtype: str = "float32", layout: str = "auto", **settings: Any) -> FusedEngine:
    rng = np.random.default_rng(5)
    x = digits_like(rng)
    y = rng.integers(0, 3, len(x)).astype(np.int32)
    theta = NETWORK.initial_parameters(1, dtype=dtype)
    train, test = Split(x, y, np.eye(3)), Split(x[:31], y[:31], np.eye(3))
    rule = Settings(**{"optimizer": 0, "batch_size": 64, **settings})
    return FusedEngine(NETWORK, theta, train, test, rule, x_scale=1 / 255, layout=layout, threads=threads)


def trained(engine: FusedEngine, epochs: int = 3) -> tuple[bytes, bytes, Any, Any]:
    """Everything that comes out: weights, costs, and what is measured."""
    size = engine._rule.batch_size
    costs = np.empty((epochs, -(-150 // size)))
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(150).astype(np.uint32)
        engine.run(order, np.full(costs.shape[1], 0.1), costs[epoch])
    return engine.parameters().tobytes(), costs.tobytes(), engine.evaluate("train"), engine.evaluate("test")


@compiled_only
@pytest.mark.parametrize("optimizer", OPTIMIZER)
@pytest.mark.parametrize(("dtype", "layout"), list(product(["float32", "float64"], ["auto", "sparse", "dense"])))
@pytest.mark.parametrize("batch_size", [1, 10, 64, 150])
def test_any_number_of_threads_gives_the_same_bits(optimizer, dtype, layout, batch_size):
    options = {"optimizer": OPTIMIZER[optimizer], "batch_size": batch_size, "decay": 0.01 * (batch_size == 10)}
    alone, *others = (trained(engine_of(threads, dtype, layout, **options)) for threads in THREADS)
    for other in others:
        assert other == alone


@compiled_only
def test_batches_of_several_blocks(monkeypatch):
    monkeypatch.setattr(cpu_module, "LARGEST_BLOCK", 32)
    for optimizer in OPTIMIZER.values():
        alone, *others = (trained(engine_of(n, batch_size=100, optimizer=optimizer)) for n in THREADS)
        assert engine_of(2, batch_size=100)._rule.block == 32
        assert all(other == alone for other in others)


@compiled_only
def test_helpers_that_never_come_and_helpers_that_do_everything(monkeypatch):
    alone = trained(engine_of(1))
    monkeypatch.setattr(Helpers, "run", lambda self, call, team: call(team, 0))
    assert trained(engine_of(3)) == alone

    def all_roles(self, call, team):
        """Each of three threads walks through; who comes first does not matter, and nor does a pause before it."""
        threads = [threading.Thread(target=call, args=(team, role)) for role in (2, 1, 0)]
        for thread in threads:
            thread.start()
            time.sleep(0.001)
        for thread in threads:
            thread.join()

    monkeypatch.setattr(Helpers, "run", all_roles)
    assert trained(engine_of(3)) == alone


@compiled_only
def test_an_impatient_team_gives_the_same_bits(monkeypatch):
    """With no patience at all, helpers are sent away, and come back, all the time."""
    monkeypatch.setattr(cpu_module, "SPINS", 0)
    monkeypatch.setattr(cpu_module, "WORK_PER_SPIN", 10**9)
    monkeypatch.setattr(team_module, "LONGEST_BREAK", 1)
    assert trained(engine_of(3), 30) == trained(engine_of(1), 30)


@compiled_only
def test_helpers_share_the_work():
    """With two threads, both compute parts: the one that would have nothing to do is slow to come."""
    engine = engine_of(2)
    team = engine._new_team()
    order = np.arange(128, dtype=np.uint32)
    work = (engine._plan, engine._buffers, engine._samples["train"], engine._rule, order, np.full(2, -1.0))
    costs, right = np.full(2, np.nan), np.zeros(2, np.int64)
    # the first thread has claimed, and never computes, the second part of the first phase: a helper waits for it
    team.words[CLAIMS + LINE] = 1
    helper = threading.Thread(target=fused.run_batches, args=(*work, costs, right, 0, team, 1), daemon=True)
    helper.start()
    helper.join(30)
    assert not helper.is_alive()  # it lost patience
    assert team.words[CLAIMS] == 1  # after it had claimed
    assert team.words[DONE] == 1  # and computed the first part
    assert team.words[PHASE] == 0
    assert team.words[HELPERS] == 0
    assert np.isnan(costs).all()


def test_the_break_grows_and_ends():
    helpers = Helpers(0)
    calls = []

    def call(team, role):
        calls.append(late := len(calls) < 9)
        team.words[LATE] = late

    breaks = []
    for _ in range(9):
        helpers.run(call, team_of(2, 10, np.zeros(3, np.int64)))
        breaks.append(helpers._calls_to_skip)
        while helpers._calls_to_skip:
            helpers.run(lambda team, role: None, team_of(2, 10, np.zeros(3, np.int64)))
    assert breaks == [1, 2, 4, 8, 16, 32, 64, 64, 64]
    assert LONGEST_BREAK == 64
    helpers.run(call, team_of(2, 10, np.zeros(3, np.int64)))
    assert helpers._calls_to_skip == 0
    assert helpers._break == 1


def test_helpers_end_with_their_engine():
    before = set(threading.enumerate())
    helpers = Helpers(3)
    threads = set(threading.enumerate()) - before
    assert len(threads) == 3
    del helpers
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.parametrize("n_parts", [1, 2, 3, 7])
def test_rows_are_cut_into_parts_of_about_the_same_cost(n_parts):
    engine = engine_of(1)
    shares = np.concatenate([np.ones(16), np.linspace(0.4, 0.0, 74)])
    rows = cut_rows(engine._plan, Inputs(np.arange(90), 16, shares), 16, n_parts)
    assert rows[0] == 16
    assert rows[-1] == engine._plan.rows[0]
    assert (np.diff(rows) >= 0).all()
    assert len(rows) == n_parts + 1
    if n_parts > 1:
        assert rows[1] - rows[0] < rows[-1] - rows[-2]  # the first ones are lit more often


def test_atomics_mean_what_they_say():
    """Interpreted and compiled."""

    def steps(words, seen):
        atomics.write(words, 1, 5)
        seen[0] = atomics.read(words, 1)
        seen[1] = atomics.add(words, 1, -2)
        seen[2] = atomics.exchange(words, 1, 5, 9)
        seen[3] = atomics.exchange(words, 1, 3, 9)
        seen[4] = atomics.read(words, 1)
        atomics.pause()

    for run in (steps, njit(steps)):
        words, seen = np.zeros(3, np.int64), np.zeros(5, np.int64)
        run(words, seen)
        assert seen.tolist() == [5, 3, 0, 1, 9]
        assert words.tolist() == [0, 9, 0]


@compiled_only
def test_no_addition_is_lost():
    @njit(nogil=True)
    def count(words):
        for _ in range(200_000):
            atomics.add(words, 0, 1)

    words = np.zeros(1, np.int64)
    count(np.zeros(1, np.int64))
    threads = [threading.Thread(target=count, args=(words,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert words[0] == 800_000


def test_train_with_threads():
    rng = np.random.default_rng(2)
    x, y = digits_like(rng), rng.integers(0, 3, 150).astype(np.int32)
    one, more = (train((x, y), layers="20", epochs=2, batch_size=50, threads=threads) for threads in (1, 64))
    assert one.model.to_bytes() == more.model.to_bytes()
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(UsageError, match="threads must be at least 1, got"):
            train((x, y), threads=wrong)
