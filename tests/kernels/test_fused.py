"""The fused engine against the reference engine in float64: every kind of network, rule and input."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from fastbp.kernels import OPTIMIZER, Settings, Split, entries, fused, reference
from fastbp.kernels import cpu as cpu_module
from fastbp.kernels.cpu import FusedEngine
from fastbp.kernels.stepwise import StepwiseEngine
from fastbp.network import Network

PAIRS = [
    (output, cost)
    for cost in ("squared_error", "mean_squared_error")
    for output in ("identity", "sigmoid", "tanh", "relu", "leaky_relu")
] + [("sigmoid", "binary_cross_entropy"), ("softmax", "cross_entropy")]


def images(rng: np.random.Generator, n: int, n_in: int, density: float = 0.3) -> np.ndarray:
    """Bytes of which about `density` are not 0; of 20 inputs or more, every other one is mostly lit."""
    shares = np.full(n_in, density)
    if n_in >= 20:
        shares[::2] = np.where(density < 0.4, 0.95, density)
    return (rng.integers(1, 256, (n, n_in)) * (rng.random((n, n_in)) < shares)).astype(np.uint8)


def both_engines(
    network: Network,
    x: np.ndarray,
    y: np.ndarray,
    targets: np.ndarray,
    dtype: str,
    layout: str,
    *,
    classes: bool = True,
    **settings: Any,
) -> tuple[FusedEngine, StepwiseEngine]:
    """The engine under test, and the reference in float64, with the same start weights."""
    theta = network.initial_parameters(seed=3, dtype="float64")
    rules = Settings(**settings)
    scale = 1 / 255 if x.dtype == np.uint8 else 1.0
    fused_x = x if x.dtype == np.uint8 else x.astype(dtype)
    fused = FusedEngine(
        network,
        theta.astype(dtype),
        Split(fused_x, y, targets),
        Split(fused_x[:7], y[:7], targets),
        rules,
        x_scale=scale,
        classes=classes,
        layout=layout,
    )
    exact = StepwiseEngine(
        reference,
        "reference",
        network,
        theta.astype(dtype).astype(np.float64),
        Split(x if x.dtype == np.uint8 else x.astype(np.float64), y, targets),
        Split(x[:7] if x.dtype == np.uint8 else x[:7].astype(np.float64), y[:7], targets),
        rules,
        x_scale=scale,
        classes=classes,
    )
    return fused, exact


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """||a - b|| / ||b||"""
    return float(np.linalg.norm(a.astype(np.float64) - b) / np.linalg.norm(b))


def train_both(fused: Any, exact: Any, n: int, batch_size: int, n_steps: int, eta: float) -> float:
    """Train both on the same batches; their costs and evaluations must agree. Returns the distance of the weights."""
    order = np.concatenate([np.random.default_rng(epoch).permutation(n) for epoch in range(n_steps)])
    order = order[: n_steps * batch_size].astype(np.uint32)
    n_batches = -(-order.size // batch_size)
    costs = np.empty(n_batches), np.empty(n_batches)
    etas = np.linspace(eta, eta / 2, n_batches)
    fused.run(order, etas, costs[0])
    exact.run(order, etas, costs[1])
    np.testing.assert_allclose(costs[0], costs[1], rtol=2e-4, atol=2e-6)
    for split in ("train", "test"):
        ours, theirs = fused.evaluate(split), exact.evaluate(split)
        assert ours.loss == pytest.approx(theirs.loss, rel=2e-4, abs=2e-6)
        if ours.accuracy is not None:
            assert ours.accuracy == pytest.approx(theirs.accuracy, abs=1.01 / 40)  # one answer may sit on the fence
    return distance(fused.parameters(), exact.parameters())


@pytest.mark.parametrize(("output", "cost"), PAIRS)
@pytest.mark.parametrize("hidden", ["identity", "sigmoid", "tanh", "relu", "leaky_relu"])
@pytest.mark.parametrize("layout", ["auto", "sparse", "dense"])
def test_every_activation_and_cost(hidden: str, output: str, cost: str, layout: str) -> None:
    """float32 stays within 1e-5 of the float64 reference over 20 steps, float64 within 1e-12."""
    rng = np.random.default_rng(5)
    network = Network((37, 19, 5, 4), (hidden, hidden, output), cost)
    x = images(rng, 40, 37)
    y = rng.integers(0, 4, 40).astype(np.int32)
    targets = np.where(np.eye(4) == 1, 1.0, -1.0 if output == "tanh" else 0.0)
    for dtype, limit in (("float32", 1e-5), ("float64", 1e-12)):
        engines = both_engines(network, x, y, targets, dtype, layout, optimizer=OPTIMIZER["sgd"], batch_size=9)
        assert train_both(*engines, 40, 9, 20, 0.02) <= limit, dtype


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("layout", ["auto", "sparse", "dense"])
def test_every_optimizer_over_200_steps(optimizer: str, decay: float, layout: str) -> None:
    """The plain sparse step, the collected one and the dense one are the same update."""
    rng = np.random.default_rng(6)
    network = Network((50, 16, 17, 3), ("sigmoid", "tanh", "softmax"), "cross_entropy")
    x, y = images(rng, 40, 50), rng.integers(0, 3, 40).astype(np.int32)
    settings = {"optimizer": OPTIMIZER[optimizer], "batch_size": 8, "decay": decay}
    eta = {"sgd": 0.5, "momentum": 0.05, "adam": 0.002}[optimizer]
    for dtype, limit in (("float32", 1e-5), ("float64", 1e-12)):
        engines = both_engines(network, x, y, np.eye(3), dtype, layout, **settings)
        assert train_both(*engines, 40, 8, 200, eta) <= limit, dtype


@pytest.mark.parametrize("sizes", [(1, 1), (1, 3, 1), (3, 17, 2), (16, 16, 16), (33, 1, 40), (9, 5, 5, 5, 5, 5, 6)])
@pytest.mark.parametrize("batch_size", [1, 7, 40])
def test_every_shape_from_the_same_machine_code(sizes: tuple[int, ...], batch_size: int) -> None:
    rng = np.random.default_rng(7)
    network = Network(sizes, ("tanh",) * (len(sizes) - 2) + ("sigmoid",), "squared_error")
    x = rng.normal(size=(40, sizes[0]))
    values = rng.random((40, sizes[-1]))
    for optimizer, layout in product(("sgd", "adam"), ("auto", "dense")):
        engines = both_engines(
            network,
            x.astype(np.float32),
            np.arange(40, dtype=np.int32),
            values.astype(np.float32),
            "float32",
            layout,
            classes=False,
            optimizer=OPTIMIZER[optimizer],
            batch_size=batch_size,
        )
        assert train_both(*engines, 40, batch_size, 30, 0.05) <= 1e-5


@pytest.mark.parametrize("layout", ["auto", "sparse", "dense"])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_a_batch_larger_than_a_block(layout: str, optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients collected over several blocks are those of one block."""
    for name in ("SMALLEST_BLOCK", "LARGEST_BLOCK"):
        monkeypatch.setattr(cpu_module, name, 16)
    rng = np.random.default_rng(8)
    network = Network((20, 18, 3), ("sigmoid", "softmax"), "cross_entropy")
    x, y = images(rng, 100, 20), rng.integers(0, 3, 100).astype(np.int32)
    engines = both_engines(
        network, x, y, np.eye(3), "float32", layout, optimizer=OPTIMIZER[optimizer], batch_size=50, decay=0.001
    )
    assert engines[0]._rule.block == 16
    assert train_both(*engines, 100, 50, 40, 0.2) <= 1e-5


def test_pads_stay_zero() -> None:
    """What lies behind the last unit of a layer never takes part, and never leaves zero."""
    rng = np.random.default_rng(9)
    network = Network((21, 3, 18, 5), ("sigmoid", "relu", "sigmoid"), "binary_cross_entropy")
    x, y = images(rng, 30, 21), rng.integers(0, 5, 30).astype(np.int32)
    engine, _ = both_engines(network, x, y, np.eye(5), "float32", "sparse", optimizer=OPTIMIZER["adam"], batch_size=7)
    order = np.arange(30, dtype=np.uint32)
    for _ in range(20):
        engine.run(order, np.full(5, 0.01), np.empty(5))
    for buffer in (engine._buffers.w, engine._buffers.m, engine._buffers.u):
        real = np.zeros(buffer.size, dtype=bool)
        ones = np.ones(network.n_parameters, dtype=np.float32)
        marked = np.zeros_like(buffer)
        cpu_module.pack(network.layers_of(ones), engine._plan, engine._inputs, 16, marked)
        real = marked == 1
        assert real.sum() == network.n_parameters
        assert np.all(buffer[~real] == 0)
    assert np.all(engine._buffers.g == 0)


@pytest.mark.parametrize("layout", ["auto", "sparse", "dense"])
def test_parts_of_an_order_equal_the_whole(layout: str) -> None:
    """Where calls are cut, and what the workspace held before, changes no bit."""
    rng = np.random.default_rng(10)
    network = Network((30, 16, 4), ("sigmoid", "softmax"), "cross_entropy")
    x, y = images(rng, 90, 30), rng.integers(0, 4, 90).astype(np.int32)
    settings = {"optimizer": OPTIMIZER["adam"], "batch_size": 8}
    whole, _ = both_engines(network, x, y, np.eye(4), "float32", layout, **settings)
    parts, _ = both_engines(network, x, y, np.eye(4), "float32", layout, **settings)
    order, etas = rng.permutation(90).astype(np.uint32), np.linspace(0.1, 0.01, 12)
    costs = np.empty(12), np.empty(12)
    for poisoned in (parts._buffers.a, parts._buffers.delta, parts._buffers.losses):
        poisoned[...] = np.nan
    whole.run(order, etas, costs[0])
    for first, end in ((0, 1), (1, 5), (5, 12)):
        parts.run(order[first * 8 : end * 8], etas[first:end], costs[1][first:end])
        parts.evaluate("train")
    np.testing.assert_array_equal(whole.parameters(), parts.parameters())
    np.testing.assert_array_equal(*costs)


def test_nan_and_overflow_are_seen() -> None:
    """A weight that is not finite makes the cost NaN or infinite; nothing on the way swallows it."""
    rng = np.random.default_rng(11)
    x, y = images(rng, 20, 12), rng.integers(0, 3, 20).astype(np.int32)
    for hidden, output, cost in (
        ("relu", "softmax", "cross_entropy"),
        ("sigmoid", "sigmoid", "binary_cross_entropy"),
        ("tanh", "identity", "squared_error"),
        ("leaky_relu", "softmax", "cross_entropy"),
    ):
        network = Network((12, 5, 3), (hidden, output), cost)
        engine, _ = both_engines(network, x, y, np.eye(3), "float32", "auto", optimizer=0, batch_size=5)
        for place in (0, 59, 60, 65, network.n_parameters - 1):
            theta = network.initial_parameters(0)
            theta[place] = np.nan
            engine.set_parameters(theta)
            assert not np.isfinite(engine.evaluate("train").loss) or not x[:, place // 5].any(), (hidden, place)


@pytest.mark.parametrize(("output", "cost"), [("sigmoid", "binary_cross_entropy"), ("tanh", "squared_error")])
def test_a_single_output_answers_by_its_half(output: str, cost: str) -> None:
    rng = np.random.default_rng(13)
    network = Network((8, 1), (output,), cost)
    x, y = images(rng, 40, 8), rng.integers(0, 2, 40).astype(np.int32)
    codes = np.array([[-1.0 if output == "tanh" else 0.0], [1.0]])
    engine, _ = both_engines(network, x, y, codes, "float32", "auto", optimizer=0, batch_size=8)
    theta = engine.parameters().astype(np.float64)
    answers = x / 255 @ theta[:8] + theta[8] > 0
    assert engine.evaluate("train").accuracy == np.mean(answers == y)


def test_which_layout_is_chosen() -> None:
    """Inputs that are mostly nonzero are dense, the others sparse."""
    rng = np.random.default_rng(12)
    network = Network((40, 4, 2), ("sigmoid", "softmax"), "cross_entropy")
    y = rng.integers(0, 2, 60).astype(np.int32)
    lit, unlit = np.full((60, 40), 200, np.uint8), np.zeros((60, 40), np.uint8)
    unlit[::10] = 9
    mixed = unlit.copy()
    mixed[:, 3:23] = 77

    def engine(x: np.ndarray, layout: str = "auto") -> FusedEngine:
        split = Split(x, y, np.eye(2))
        settings = Settings(optimizer=0, batch_size=32)
        return FusedEngine(network, network.initial_parameters(0), split, split, settings, layout=layout)

    assert engine(unlit).name == "fused sparse float32"
    assert engine(lit).name == "fused dense float32"
    both = engine(mixed)
    assert both.name == "fused mixed float32"
    assert both._plan.sizes[0] == 16
    assert set(both._inputs[:16]) <= set(range(3, 23))
    assert sorted(both._inputs) == list(range(40))
    assert engine(lit, "sparse").name == "fused sparse float32"
    assert engine(mixed, "dense").name == "fused dense float32"
    floats = mixed / np.float32(255)
    assert engine(floats).name == "fused mixed float32"
    assert engine(floats, "sparse").name == "fused sparse float32"
    assert engine(floats + 1).name == "fused dense float32"


def test_read_only_samples_compile_nothing_new() -> None:
    """Memory-mapped files are read-only; Numba would take that for another type."""
    rng = np.random.default_rng(14)
    network = Network((24, 4, 2), ("sigmoid", "softmax"), "cross_entropy")
    y = rng.integers(0, 2, 60).astype(np.int32)
    x = images(rng, 60, 24)
    engine, _ = both_engines(network, x, y, np.eye(2), "float32", "auto", optimizer=0, batch_size=8)
    before = [len(f.signatures) for f in (fused.run_batches, fused.refresh, entries.pack_bytes)]
    x.setflags(write=False)
    again, _ = both_engines(network, x, y, np.eye(2), "float32", "auto", optimizer=0, batch_size=8)
    assert before == [len(f.signatures) for f in (fused.run_batches, fused.refresh, entries.pack_bytes)]
    assert engine.evaluate("train") == again.evaluate("train")


@pytest.mark.parametrize("n", [1, 8, 61])
def test_measuring_in_pieces_gives_the_same_bits(monkeypatch, n: int) -> None:
    """Between the pieces signals are heard: with wide layers, measuring lasts a second."""
    rng = np.random.default_rng(15)
    network = Network((24, 4, 3), ("sigmoid", "softmax"), "cross_entropy")
    y = rng.integers(0, 3, n).astype(np.int32)
    engine, _ = both_engines(network, images(rng, n, 24), y, np.eye(3), "float32", "auto", optimizer=0, batch_size=8)
    at_once = engine.evaluate("train")
    calls, real = [], engine._run
    engine._run = lambda *what: calls.append(what) or real(*what)  # type: ignore[method-assign,func-returns-value]
    for work, expected in ((1, -(-n // 8)), (2 * 8 * network.n_parameters, -(-n // 16))):
        calls.clear()
        monkeypatch.setattr(cpu_module, "WORK_PER_CALL", work)
        assert engine.evaluate("train") == at_once
        assert len(calls) == expected
