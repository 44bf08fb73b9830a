"""The GPU's kernels, without a GPU: in Numba's simulator against the reference, and as machine code that is read.

    NUMBA_ENABLE_CUDASIM=1 pytest -k cuda

runs them; Numba reads the variable when it starts, so plain `pytest` does that in a process of its own. On a machine
with a GPU, `pytest -m gpu` runs the same cases there.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastbp import Network, UsageError
from fastbp.kernels import (
    ADAM,
    ADAMW,
    BINARY_CROSS_ENTROPY,
    CROSS_ENTROPY,
    EXPONENTIAL,
    IDENTITY,
    LEAKY_RELU,
    MEAN_SQUARED_ERROR,
    MOMENTUM,
    NESTEROV,
    PERCEPTRON,
    POISSON,
    RELU,
    RMSPROP,
    SGD,
    SIGMOID,
    SOFTMAX,
    SQUARED_ERROR,
    STEP,
    TANH,
    CsrRows,
    Settings,
    Split,
    open_engine,
    reference,
)
from fastbp.kernels.codes import WITH_SQUARES
from fastbp.kernels.order import shuffle

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
simulated = pytest.mark.skipif(not SIMULATED, reason="runs with NUMBA_ENABLE_CUDASIM=1, in test_in_the_simulator")
HERE = Path(__file__).parents[2]


# --- the same cases for the simulator and for a GPU -------------------------------------------------------------------


def samples(n, n_in, n_out, kind, rng, weighted=False):
    """Samples of bytes or floats, of classes; n_out = 1: of two, coded 0 and 1."""
    x = rng.integers(0, 256, (n, n_in)).astype(np.uint8) if kind == "bytes" else rng.normal(size=(n, n_in))
    codes = np.eye(n_out) if n_out > 1 else np.array([[0.0], [1.0]])
    weights = rng.random(n) + 0.5 if weighted else None
    y = rng.integers(0, len(codes), n).astype(np.int32)
    return Split(x if kind == "bytes" else x.astype(np.float32), y, codes.astype(np.float32), weights)


S = Settings
SMALL = (12, 6, 5), ("sigmoid", "softmax"), "cross_entropy"
# name: network, settings, number of samples, kind of x, weighted; batches of 4 are one block of samples, 70 are two
CASES = {
    "sgd": (SMALL, S(SGD, 4), 19, "bytes", False),
    "weighted": (SMALL, S(SGD, 4), 19, "bytes", True),
    "floats, decay": (((13, 7, 3), ("relu", "softmax"), "cross_entropy"), S(SGD, 7, decay=0.1), 19, "floats", False),
    "momentum": (SMALL, S(MOMENTUM, 4, decay=0.01), 19, "bytes", False),
    "nesterov": (SMALL, S(NESTEROV, 4, decay=0.01), 19, "bytes", False),
    "rmsprop": (SMALL, S(RMSPROP, 4, decay=0.01), 19, "bytes", False),
    "adam": (SMALL, S(ADAM, 4, decay=0.01), 19, "bytes", False),
    "adamw": (SMALL, S(ADAMW, 4, decay=0.01), 19, "bytes", False),
    "clipped": (SMALL, S(SGD, 4, clip_norm=0.3, decay=0.1), 19, "bytes", False),
    "clipped adam, many samples": (SMALL, S(ADAM, 70, clip_norm=0.3, decay=0.1), 150, "bytes", True),
    "sgd, many samples": (SMALL, S(SGD, 70, decay=0.1), 150, "floats", False),
    "decay per batch": (SMALL, S(SGD, 4, decay=0.3, decay_per_batch=True), 18, "bytes", True),
    "dropout": (SMALL, S(SGD, 4, dropout=(0.4,), seed=3), 19, "bytes", False),
    "dropout, deep": (
        ((9, 5, 6, 4), ("tanh", "leaky_relu", "softmax"), "cross_entropy"),
        S(MOMENTUM, 4, dropout=(0.25, 0.5), seed=7),
        19,
        "floats",
        False,
    ),
    "no biases": (
        ((9, 5, 7, 4), ("leaky_relu", "sigmoid", "sigmoid"), "binary_cross_entropy"),
        S(SGD, 4, update_biases=False),
        10,
        "bytes",
        False,
    ),
    "no hidden layer": (((9, 4), ("softmax",), "cross_entropy"), S(SGD, 4), 19, "bytes", False),
    "one output": (((6, 3, 1), ("sigmoid", "sigmoid"), "binary_cross_entropy"), S(SGD, 4), 19, "floats", False),
    "tanh, squared": (((6, 3, 4), ("identity", "tanh"), "squared_error"), S(SGD, 4), 19, "floats", False),
    "mean squared": (((6, 3, 4), ("sigmoid", "identity"), "mean_squared_error"), S(SGD, 4), 19, "floats", False),
    "poisson": (((6, 3, 4), ("sigmoid", "exponential"), "poisson"), S(SGD, 4), 19, "floats", False),
    "wide second layer": (
        ((4, 5, 30, 3), ("tanh", "sigmoid", "softmax"), "cross_entropy"),
        S(SGD, 4, decay=0.01),
        10,
        "floats",
        False,
    ),
    "batch of one": (SMALL, S(SGD, 1), 3, "bytes", False),
}
RATES = {RMSPROP: 0.01, ADAM: 0.01, ADAMW: 0.01}


def compare(case, n_networks=1, processors=None, monkeypatch=None):
    """Train on the GPU, real or not, and with the reference; everything they report must agree to float32 rounding."""
    from fastbp.kernels import cuda_engine

    if processors is not None:
        monkeypatch.setattr(cuda_engine, "processors", lambda: processors)
    (sizes, activations, cost), settings, n, kind, weighted = case
    rng = np.random.default_rng(5)
    network = Network(sizes, activations, cost)
    train, test = samples(n, sizes[0], sizes[-1], kind, rng, weighted), samples(7, sizes[0], sizes[-1], kind, rng)
    scale = 1 / 255 if kind == "bytes" else 0.5
    n_batches = -(-n // settings.batch_size)
    rate = RATES.get(settings.optimizer, 0.4)
    every = [
        settings._replace(momentum=0.9 - 0.1 * i, decay=settings.decay * (1 + i), seed=settings.seed + i)
        for i in range(n_networks)
    ]
    etas = np.linspace(rate, rate / 2, n_batches) * (1 + 0.1 * np.arange(n_networks)[:, None])
    thetas = np.stack([network.initial_parameters(seed=i) for i in range(n_networks)])
    orders = np.stack([rng.permutation(n) for _ in every]).astype(np.uint32)
    fleet = cuda_engine.Fleet(network, thetas, train, test, every, x_scale=scale)
    fleet.set_orders(orders)
    costs = np.empty((n_networks, n_batches))
    found = {"costs": [], "theta": [], "train": [], "test": []}
    for _ in range(2):  # the second time, the state of the optimiser counts
        fleet.run(np.arange(n_networks), 0, etas, costs)
        found["costs"].append(costs.copy())
        found["theta"].append(fleet.parameters())
    found["train"], found["test"] = fleet.evaluate("train"), fleet.evaluate("test")
    for i, rule in enumerate(every):
        engine = open_engine(network, thetas[i], train, test, rule, x_scale=scale, engine="reference")
        wanted = np.empty(n_batches)
        for time in range(2):
            engine.run(orders[i], etas[i], wanted)
            np.testing.assert_allclose(found["costs"][time][i], wanted, rtol=1e-5, atol=2e-6)
            np.testing.assert_allclose(found["theta"][time][i], engine.parameters(), rtol=1e-4, atol=3e-6)
        for split in ("train", "test"):
            loss, accuracy = engine.evaluate(split)
            assert found[split][i].loss == pytest.approx(loss, rel=1e-5)
            assert found[split][i].accuracy == pytest.approx(accuracy)
    return fleet


@simulated
@pytest.mark.parametrize("name", CASES)
def test_a_network_learns_what_the_reference_learns(name, blocks_together):
    compare(CASES[name])


def on_device(*arrays):
    from fastbp.kernels.cuda import cuda

    return [cuda.to_device(array) for array in arrays]


def check_stage(name, arguments, outputs, dtype):
    """A stage on the device and of `reference` on the same arguments; `outputs` are the places of those it writes."""
    from fastbp.kernels import cuda as stages

    wanted = [value.copy() if isinstance(value, np.ndarray) else value for value in arguments]
    getattr(reference, name)(*wanted)
    moved = [on_device(value)[0] if isinstance(value, np.ndarray) else value for value in arguments]
    getattr(stages, name)(*moved)
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    for place in outputs:
        np.testing.assert_allclose(moved[place].copy_to_host(), wanted[place], rtol=tolerance, atol=tolerance)


SHAPES = [(1, 1, 1), (3, 5, 17), (19, 33, 3)]
in_both = pytest.mark.parametrize("dtype", [np.float32, np.float64])
in_shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def numbers(rng, dtype, *shapes):
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def check_orders(n_networks, n):
    """Every network's order on the device is the permutation that the CPU makes of its key."""
    from fastbp.kernels.cuda_engine import Fleet

    rng = np.random.default_rng(0)
    network = Network(*SMALL)
    train = samples(n, 12, 5, "bytes", rng)
    thetas = np.zeros((n_networks, network.n_parameters), np.float32)
    fleet = Fleet(network, thetas, train, train, [S(SGD, 4)] * n_networks)
    keys = rng.integers(0, 2**64, n_networks, dtype=np.uint64)
    fleet.shuffle(keys)
    for order, key in zip(fleet._orders.copy_to_host(), keys, strict=True):
        wanted = np.empty(n, np.uint32)
        shuffle(wanted, key)
        np.testing.assert_array_equal(order, wanted)


def no_device():
    """Why there is nothing to run on; None where there is a GPU."""
    from fastbp import gpu

    return "the simulator is no GPU" if SIMULATED else gpu.report().problem


@pytest.fixture
def device():
    if problem := no_device():
        pytest.skip(problem)


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES)
def test_a_real_gpu_learns_what_the_reference_learns(name, device):
    compare(CASES[name])
    compare(CASES[name], n_networks=40)


@pytest.mark.gpu
@pytest.mark.parametrize(("n_networks", "batch_size"), [(1, 32), (3, 32), (150, 32), (1, 128), (150, 128)])
def test_the_emblem_on_a_real_gpu(n_networks, batch_size, device):
    """784-16-16-10 on one block and on several, in batches that fit into shared memory and that do not."""
    emblem = (784, 16, 16, 10), ("sigmoid", "sigmoid", "softmax"), "cross_entropy"
    compare((emblem, S(SGD, batch_size), 1000, "bytes", False), n_networks)
    compare((emblem, S(ADAM, batch_size), 1000, "bytes", False), n_networks)


@pytest.mark.gpu
def test_a_real_gpu_repeats_itself(device):
    """Bit for bit: nothing depends on which thread is first."""
    from fastbp.kernels.cuda_engine import Fleet

    rng = np.random.default_rng(0)
    network = Network((784, 16, 16, 10), ("sigmoid", "sigmoid", "softmax"), "cross_entropy")
    train = samples(5000, 784, 10, "bytes", rng)
    for n in (1, 200):
        thetas = np.stack([network.initial_parameters(i) for i in range(n)])
        results = []
        for _ in range(3):
            fleet = Fleet(network, thetas, train, train, [S(SGD, 32)] * n, x_scale=1 / 255)
            fleet.shuffle(np.arange(n, dtype=np.uint64))
            costs = np.empty((n, 157))
            fleet.run(np.arange(n), 0, np.full((n, 157), 0.5), costs)
            results.append((costs, fleet.parameters(), fleet.evaluate("train")))
        for costs, theta, evaluations in results[1:]:
            np.testing.assert_array_equal(costs, results[0][0])
            np.testing.assert_array_equal(theta, results[0][1])
            assert evaluations == results[0][2]


@pytest.mark.gpu
def test_a_real_gpu_shuffles_like_the_cpu(device):
    check_orders(40, 60_000)


@pytest.mark.gpu
@in_both
def test_stages_on_a_real_gpu(dtype, device):
    rng = np.random.default_rng(1)
    x, W, b, z, a = numbers(rng, dtype, (33, 784), (784, 17), 17, (33, 17), (33, 17))
    delta, dW, db, back = numbers(rng, dtype, (33, 17), (784, 17), 17, (33, 784))
    for activation in (SIGMOID, SOFTMAX, TANH):
        check_stage("forward", [x, W, b, activation, z, a], (4, 5), dtype)
    check_stage("output_delta", [a, z, SOFTMAX, CROSS_ENTROPY, delta], (4,), dtype)
    check_stage("hidden_delta", [delta, W, np.tanh(x), TANH, back], (4,), dtype)
    check_stage("gradient", [x, delta, dW, db], (2, 3), dtype)
    check_stage("update", [W, b, dW, db, 0.5, 0.1, 7], (0, 1), dtype)


@simulated
@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam", "dropout", "clipped adam, many samples"])
def test_several_networks_learn_side_by_side(name, blocks_together):
    """Each with its own start, order, rates, momentum, decay and dropout."""
    compare(CASES[name], n_networks=3)


in_every_order = pytest.mark.parametrize("blocks_together", ["forward", "backward", "greedy"], indirect=True)


@simulated
@in_every_order
@pytest.mark.parametrize("kind", ["bytes", "floats"])
@pytest.mark.parametrize("settings", [S(SGD, 4), S(ADAM, 70, decay=0.1), S(SGD, 4, clip_norm=0.2)], ids=str)
def test_blocks_share_a_network(settings, kind, blocks_together, monkeypatch):
    """The inputs split over several blocks, which wait for each other in every step."""
    from fastbp.kernels import cuda_layout

    monkeypatch.setattr(cuda_layout, "FEW_INPUTS", 8)
    case = ((37, 6, 5), ("sigmoid", "softmax"), "cross_entropy"), settings, 150 if settings.batch_size > 4 else 19
    fleet = compare((*case, kind, False), n_networks=2, processors=8, monkeypatch=monkeypatch)
    assert fleet._layout.parts == 4


@simulated
@pytest.mark.parametrize("kind", ["bytes", "floats"])
@pytest.mark.parametrize("settings", [S(SGD, 32), S(ADAM, 64)], ids=["direct", "collected"])
def test_inputs_come_in_turns_where_memory_is_short(settings, kind, blocks_together, monkeypatch):
    """Samples whose inputs do not all fit: they are fetched again for the gradient. So it is at 784-16-16-10."""
    from fastbp.kernels import cuda_layout

    monkeypatch.setattr(cuda_layout, "SHARED_BYTES", 6500 if settings.batch_size == 32 else 9500)
    fleet = compare((((24, 6, 5), ("sigmoid", "softmax"), "cross_entropy"), settings, 75, kind, False))
    assert fleet._layout.staged < fleet._layout.rows


@simulated
@in_every_order
def test_more_networks_than_fit_at_once_take_turns(blocks_together, monkeypatch):
    from fastbp.kernels import cuda_layout

    monkeypatch.setattr(cuda_layout, "MOST_THREADS", 8)  # so that two blocks are needed
    case = ((100, 6, 5), ("sigmoid", "softmax"), "cross_entropy"), S(SGD, 4), 6, "bytes", False
    fleet = compare(case, n_networks=3, processors=4, monkeypatch=monkeypatch)
    assert fleet._layout.parts * 3 > 4


@simulated
def test_the_emblem_as_it_runs_on_a_gpu():
    """784-16-16-10, all registers and threads of the real thing."""
    fleet = compare(
        (((784, 16, 16, 10), ("sigmoid", "sigmoid", "softmax"), "cross_entropy"), S(SGD, 4), 6, "bytes", False)
    )
    assert (fleet._layout.inputs, fleet._layout.n_threads) == (14, 224)


@simulated
def test_orders_are_those_of_the_cpu(blocks_together):
    check_orders(3, 50)


@simulated
def test_some_networks_rest_and_parts_of_an_order_add_up(blocks_together):
    """Two networks, of which one rests for a while; batches in two calls give the same bits as in one."""
    from fastbp.kernels.cuda_engine import Fleet

    rng = np.random.default_rng(0)
    network = Network(*SMALL)
    train = samples(19, 12, 5, "bytes", rng)
    thetas = np.stack([network.initial_parameters(seed) for seed in (0, 1)])

    def fleet():
        return Fleet(network, thetas, train, train, [S(ADAM, 4)] * 2, x_scale=1 / 255)

    etas, costs = np.full((2, 5), 0.01), np.empty((2, 5))
    whole, parts = fleet(), fleet()
    whole.run([0, 1], 0, etas, costs)
    pieces = np.empty((1, 3)), np.empty((1, 2))
    parts.run([1], 0, etas[:1, :3], pieces[0])
    np.testing.assert_array_equal(parts.parameters()[0], thetas[0])
    parts.run([1], 3, etas[:1, 3:], pieces[1])
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1)[0], costs[1])
    np.testing.assert_array_equal(parts.parameters()[1], whole.parameters()[1])
    parts.run([0], 0, etas[:1], costs[:1])
    np.testing.assert_array_equal(parts.parameters()[0], whole.parameters()[0])


@simulated
def test_parameters_and_state_can_be_set_back(blocks_together):
    from fastbp.kernels.cuda_engine import CudaEngine

    rng = np.random.default_rng(0)
    network = Network(*SMALL)
    theta = network.initial_parameters(3)
    train = samples(8, 12, 5, "bytes", rng)
    engine = CudaEngine(network, theta, train, train._replace(x=train.x[:0], y=train.y[:0]), S(ADAM, 4))
    order, etas, costs = np.arange(8, dtype=np.uint32), np.full(2, 0.01), np.empty((2, 2))
    engine.run(order, etas, costs[0])
    engine.set_parameters(theta)
    np.testing.assert_array_equal(engine.parameters(), theta)
    engine.reset_state()
    engine.run(order, etas, costs[1])
    np.testing.assert_array_equal(costs[0], costs[1])
    assert np.isnan(engine.evaluate("test").loss)
    assert engine.evaluate("test").accuracy is None
    with pytest.raises(UsageError, match="no gradient of all samples; use device cpu"):
        engine.cost_and_gradient()


@simulated
@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("optimizer", [SGD, MOMENTUM, NESTEROV, RMSPROP, ADAM, ADAMW])
@pytest.mark.parametrize("blocks_together", ["forward"], indirect=True)
def test_another_engine_goes_on_from_a_state(optimizer, parts, blocks_together, monkeypatch):
    """Bit for bit; and its numbers are those of the reference, place by place."""
    from fastbp.kernels import cuda_engine, cuda_layout

    monkeypatch.setattr(cuda_layout, "FEW_INPUTS", 8)
    monkeypatch.setattr(cuda_engine, "processors", lambda: parts)
    rng = np.random.default_rng(0)
    network = Network((37, 6, 5), ("sigmoid", "softmax"), "cross_entropy")
    train = samples(8, 37, 5, "bytes", rng)
    theta = network.initial_parameters(1)
    order, etas, costs = rng.permutation(8).astype(np.uint32), np.full(2, 0.01), np.empty(2)

    def engine(start):
        return cuda_engine.CudaEngine(network, start, train, train, S(optimizer, 4, decay=0.1), x_scale=1 / 255)

    first = engine(theta)
    first.run(order, etas, costs)
    second = engine(first.parameters())
    second.set_state(first.state())
    for each in (first, second):
        each.run(order, etas, costs)
    np.testing.assert_array_equal(first.parameters(), second.parameters())
    wanted = open_engine(network, theta, train, train, S(optimizer, 4, decay=0.1), x_scale=1 / 255, engine="reference")
    for _ in range(2):
        wanted.run(order, etas, costs)
    for ours, theirs in zip(second.state(), wanted.state(), strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)


@simulated
@pytest.mark.parametrize("blocks_together", ["forward"], indirect=True)
def test_a_run_is_resumed_to_the_same_bits(blocks_together, tmp_path, monkeypatch):
    """Cut within its first epoch and again within its second; the folder's file says nothing of the device's memory."""
    import fastbp.training
    from fastbp import Callback, resume, train_to
    from fastbp.result import Interrupted

    class Cut(Callback):
        left = 3

        def on_batches(self, *_: object) -> None:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    monkeypatch.setattr(fastbp.training, "batches_that_last", lambda seconds, n, spent: 2)
    rng = np.random.default_rng(5)
    x = rng.integers(0, 255, size=(90, 9)).astype(np.uint8)
    data = x, (x[:, 0] > x[:, 1]).astype(int)
    settings = {"layers": "5", "epochs": 2, "batch_size": 16, "optimizer": "adam", "dropout": 0.2, "validation": 0.2}
    train_to(tmp_path / "whole", data, device="cuda", on_nan="restore", **settings)
    with pytest.raises(Interrupted):
        train_to(tmp_path / "cut", data, device="cuda", on_nan="restore", callbacks=[Cut()], **settings)
    with pytest.raises(Interrupted):
        resume(tmp_path / "cut", data, callbacks=[Cut()])
    resume(tmp_path / "cut", data)
    for name in ("model.safetensors", "config.toml"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@simulated
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NumPy's scalars, which the simulator computes with
def test_divergence_shows(blocks_together):
    from fastbp.kernels.cuda_engine import CudaEngine

    rng = np.random.default_rng(0)
    network = Network((12, 6, 5), ("relu", "identity"), "squared_error")
    train = samples(40, 12, 5, "floats", rng)
    engine = CudaEngine(network, network.initial_parameters(0), train, train, S(SGD, 4), classes=False)
    costs = np.empty(10)
    engine.run(np.arange(40, dtype=np.uint32), np.full(10, 1e6), costs)
    assert not np.isfinite(costs[-1])
    assert engine.evaluate("train").accuracy is None


@simulated
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": np.float64}, "computes in float32, got dtype float64; use dtype float32 or device cpu"),
        ({"sparse": True}, "takes dense input only; use device cpu for sparse samples"),
        ({"x": np.float64}, "takes samples of uint8 or float32, got float64"),
        ({"settings": S(SGD, 4, decay=0.1, penalty_in_cost=True)}, "costs without the penalty of weight decay"),
        ({"sizes": (12, 2000, 5)}, r"12-2000-5 does not fit .* at most \d+ units in the first hidden layer fit"),
        ({"sizes": (12, *[2] * 16, 5)}, "takes networks of at most 16 layers"),
    ],
)
def test_what_a_gpu_does_not_do_is_refused(changes, message):
    from fastbp.kernels.cuda_engine import CudaEngine

    sizes = changes.get("sizes", (12, 6, 5))
    network = Network(sizes, ("sigmoid",) * (len(sizes) - 2) + ("softmax",), "cross_entropy")
    train = samples(8, 12, 5, "bytes", np.random.default_rng(0))
    if "x" in changes:
        train = train._replace(x=train.x.astype(changes["x"]))
    if "sparse" in changes:
        rows = CsrRows(np.ones(8, np.float32), np.zeros(8, np.int32), np.arange(9, dtype=np.int64), 12)
        train = train._replace(x=rows)
    theta = network.initial_parameters(0, dtype="float32").astype(changes.get("dtype", np.float32))
    with pytest.raises(UsageError, match=message):
        CudaEngine(network, theta, train, train, changes.get("settings", S(SGD, 4)))


# --- the stages -------------------------------------------------------------------------------------------------------


@simulated
@in_both
@in_shapes
@pytest.mark.parametrize("activation", [STEP, IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU, SOFTMAX, EXPONENTIAL])
def test_forward(activation, shape, dtype, blocks_together):
    n, n_in, n_out = shape
    rng = np.random.default_rng(1)
    x, W, b, z, a = numbers(rng, dtype, (n, n_in), (n_in, n_out), n_out, (n, n_out), (n, n_out))
    check_stage("forward", [x, W, b, activation, z, a], (4, 5), dtype)


@simulated
@in_both
@pytest.mark.parametrize(
    ("activation", "cost"),
    [
        (SOFTMAX, CROSS_ENTROPY),
        (SIGMOID, BINARY_CROSS_ENTROPY),
        (EXPONENTIAL, POISSON),
        (STEP, PERCEPTRON),
        *((each, SQUARED_ERROR) for each in (IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU)),
        (TANH, MEAN_SQUARED_ERROR),
    ],
)
def test_output_delta(activation, cost, dtype, blocks_together):
    a, y, delta = numbers(np.random.default_rng(2), dtype, (5, 18), (5, 18), (5, 18))
    check_stage("output_delta", [a, y, activation, cost, delta], (4,), dtype)


@simulated
@in_both
@in_shapes
@pytest.mark.parametrize("activation", [IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU])
def test_hidden_delta(activation, shape, dtype, blocks_together):
    n, n_in, n_out = shape
    rng = np.random.default_rng(3)
    delta_next, W_next, a, delta = numbers(rng, dtype, (n, n_out), (n_in, n_out), (n, n_in), (n, n_in))
    check_stage("hidden_delta", [delta_next, W_next, a, activation, delta], (4,), dtype)


@simulated
@in_both
@in_shapes
def test_gradient(shape, dtype, blocks_together):
    n, n_in, n_out = shape
    rng = np.random.default_rng(4)
    a, delta, dW, db = numbers(rng, dtype, (n, n_in), (n, n_out), (n_in, n_out), n_out)
    check_stage("gradient", [a, delta, dW, db], (2, 3), dtype)


@simulated
@in_both
@in_shapes
def test_update(shape, dtype, blocks_together):
    _, n_in, n_out = shape
    rng = np.random.default_rng(5)
    W, b, dW, db = numbers(rng, dtype, (n_in, n_out), n_out, (n_in, n_out), n_out)
    check_stage("update", [W, b, dW, db, 0.5, 0.1, 7], (0, 1), dtype)


@simulated
def test_stages_refuse_what_does_not_fit():
    from fastbp.kernels import cuda as stages

    rng = np.random.default_rng(6)
    host = numbers(rng, np.float32, (3, 4), (4, 2), 2, (3, 2), (3, 2))
    x, W, b, z, a = on_device(*host)
    with pytest.raises(ValueError, match="forward takes arrays on the GPU, got ndarray for x"):
        stages.forward(host[0], W, b, RELU, z, a)
    with pytest.raises(ValueError, match=r"forward needs b of shape \(2,\), got \(4,\)"):
        stages.forward(x, W, *on_device(np.zeros(4, np.float32)), RELU, z, a)
    with pytest.raises(ValueError, match="float32 or of float64, all alike, got float32 and float64"):
        stages.forward(x, W, *on_device(np.zeros(2)), RELU, z, a)
    with pytest.raises(ValueError, match="activation code from STEP"):
        stages.forward(x, W, b, 99, z, a)
    with pytest.raises(ValueError, match="2 dimensions"):
        stages.gradient(b, a, W, b)
    with pytest.raises(ValueError, match="hidden_delta needs an activation other than step and softmax"):
        stages.hidden_delta(a, W, x, SOFTMAX, *on_device(np.zeros((3, 4), np.float32)))
    with pytest.raises(ValueError, match="cost code"):
        stages.output_delta(a, z, SOFTMAX, 99, z)


# --- where everything stands ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "batch_size", "n", "parts", "threads", "direct"),
    [
        ((784, 16, 16, 10), 32, 1056, 1, 224, True),
        ((784, 16, 16, 10), 32, 1, 7, 224, True),  # the inputs split over blocks, on 132 processors
        ((784, 16, 16, 10), 128, 1056, 1, 224, False),
        ((784, 32, 10), 32, 1056, 1, 448, True),
        ((784, 128, 10), 64, 1, 7, 256, False),
        ((4, 8, 3), 32, 1, 1, 8, True),
    ],
)
def test_layouts(sizes, batch_size, n, parts, threads, direct):
    from fastbp.kernels import cuda_layout

    layout = cuda_layout.layout_of(sizes, batch_size, True, n, 132)
    assert (layout.parts, layout.n_threads, layout.direct) == (parts, threads, direct)


def test_the_largest_network_that_fits():
    """README names it."""
    from fastbp.kernels.cuda_layout import layout_of

    for n in (1, 1056):
        assert layout_of((784, 252, 10), 32, True, n, 132).n_threads <= 512
        with pytest.raises(UsageError, match="at most 252 units in the first hidden layer fit; or use device cpu"):
            layout_of((784, 253, 10), 32, True, n, 132)


@pytest.mark.parametrize("seed", range(40))
def test_nothing_overlaps_and_all_fits(seed):
    """Layouts of random networks: threads own each weight of the first layer once, areas of memory are disjoint."""
    from fastbp.kernels import cuda_layout as at

    rng = np.random.default_rng(seed)
    sizes = int(2 ** rng.uniform(0, 10)), *(int(2 ** rng.uniform(0, 5)) for _ in range(rng.integers(1, 5)))
    batch_size, n_networks = int(2 ** rng.uniform(0, 9)), int(2 ** rng.uniform(0, 9))
    network = Network(sizes, ("relu",) * (len(sizes) - 2) + ("softmax",), "cross_entropy")
    rule = Settings(SGD, batch_size)
    if seed >= 30:  # too large
        with pytest.raises(UsageError, match="does not fit"):
            at.layout_of((*sizes[:-1], 2000, sizes[-1]), batch_size, True, n_networks, 132)
        return
    layout = at.layout_of(sizes, batch_size, True, n_networks, 132)
    plan = at.plan_of(layout, network, rule, False, True)
    assert layout.shared_bytes <= at.SHARED_BYTES
    assert layout.rows <= at.MOST_ROWS
    assert layout.staged % layout.round == layout.rows % layout.round == layout.n_threads % layout.round == 0
    quads = layout.strides[1] // at.UNITS
    assert layout.n_threads % quads == 0
    assert (layout.n_threads // layout.round) % quads == 0  # threads that are added up own the same units
    assert layout.parts * layout.width == layout.strides[0] >= sizes[0]
    assert layout.width == layout.n_threads // quads * layout.inputs
    assert layout.width % 4 == 0
    thetas = 1 + np.arange(2 * network.n_parameters, dtype=np.float32).reshape(2, -1)
    rows = layout.padded(thetas)
    assert rows.shape == (2, layout.n_row)
    assert np.count_nonzero(rows) == thetas.size  # each at a place of its own
    np.testing.assert_array_equal(layout.unpadded(rows), thetas)
    (W, b), *_ = network.layers_of(thetas[1])
    first = rows[1, : layout.n_first].reshape(layout.strides[0], layout.strides[1])
    np.testing.assert_array_equal(first[: sizes[0], : sizes[1]], W)
    np.testing.assert_array_equal(rows[1, layout.n_first : layout.n_first + sizes[1]], b)
    used = np.zeros(layout.shared_bytes // 4, dtype=int)
    for layer in range(1, len(sizes)):
        size = layout.rows * layout.strides[layer]
        for start in (plan[at.A + layer], plan[at.DELTA + layer]):
            used[start : start + size] += 1
    for start, size in (
        (plan[at.STAGE], layout.staged * layout.width),
        (plan[at.SUMS], layout.round * layout.n_threads * 4),
        (plan[at.TOTALS], layout.n_threads * 4),
        (plan[at.LOSSES], at.MOST_ROWS + 1),
        (plan[at.SMALL], layout.n_small),
    ):
        used[start : start + size] += 1
    assert used.max() == 1
    if layout.direct:  # gradients of small layers are where sums were, and nowhere else
        rest = used.copy()
        rest[plan[at.SUMS] : plan[at.SUMS] + (layout.round + 1) * layout.n_threads * 4] = 0
        assert not rest[plan[at.COLLECTED] : plan[at.COLLECTED] + layout.n_small].any()
    # the weights of small layers fill their area, one after the other
    end = plan[at.SMALL]
    for layer in range(len(sizes) - 1):
        assert plan[at.W + layer] == end
        end += layout.strides[layer] * layout.strides[layer + 1] if layer else 0
        assert plan[at.B + layer] == end
        end += layout.strides[layer + 1]
    assert end == plan[at.SMALL] + layout.n_small


def test_every_optimiser_is_one_formula():
    """The numbers of `rule_of` in the formula of `cuda_layers._stepped`, written again, against `reference`."""
    from fastbp.kernels import cuda_layout as at

    rng = np.random.default_rng(8)
    for optimizer, stage in (
        (SGD, "update"),
        (MOMENTUM, "momentum_update"),
        (NESTEROV, "nesterov_update"),
        (RMSPROP, "rmsprop_update"),
        (ADAM, "adam_update"),
    ):
        settings = Settings(optimizer, 8, momentum=0.8, beta_1=0.7, beta_2=0.95, rho=0.85, epsilon=1e-3, decay=0.2)
        rule = at.rule_of(settings).astype(np.float64)
        W, dW, m, u = rng.normal(size=(4, 3, 2))
        u = u**2
        b, db = np.zeros(2), np.zeros(2)
        rates, steps = at.steps_of([settings], np.full((1, 1), 0.3), np.full((1, 1), 8.0), 4)
        step = np.array([rates[0, 0], *steps[0, 0]], dtype=np.float64)
        g = dW * step[at.MEAN] + step[at.DECAY] * W
        new_m = rule[at.KEEP] * m + (rule[at.GAIN] + rule[at.GAIN_RATE] * step[at.RATE]) * g
        change = rule[at.PLAIN_RATE] * step[at.RATE] * g + (rule[at.USE] + rule[at.USE_RATE] * step[at.RATE]) * new_m
        if settings.optimizer in WITH_SQUARES:
            new_u = rule[at.BETA] * u + (1 - rule[at.BETA]) * g * g
            change /= np.sqrt(new_u) + rule[at.EPSILON]
        ours = step[at.SHRINK] * W + change
        state = {
            SGD: (),
            MOMENTUM: (m, b.copy()),
            NESTEROV: (m, b.copy()),
            RMSPROP: (u, b.copy()),
            ADAM: (m, b.copy(), u, b.copy()),
        }[optimizer]
        rates = {
            SGD: (),
            MOMENTUM: (0.8,),
            NESTEROV: (0.8,),
            RMSPROP: (0.85, 1e-3),
            ADAM: (0.7, 0.95, 1e-3, 5),
        }[optimizer]
        getattr(reference, stage)(W, b, dW, db, *state, 0.3, 0.2, 8, *rates)
        np.testing.assert_allclose(ours, W, rtol=1e-6, err_msg=stage)


# --- as machine code --------------------------------------------------------------------------------------------------


class Compiler:
    """Numba's compiler for GPUs and NVIDIA's assembler, which need neither a GPU nor a driver."""

    def __init__(self, tool: Callable[[str], str]) -> None:
        self._tool = tool

    def build(self, kernel, signature, capability, folder, **options):
        """What ptxas says of a kernel: registers, bytes of spills; and the file that it makes."""
        from numba import cuda

        ptx, _ = cuda.compile_ptx(kernel, signature, cc=capability, **options)
        source, target = folder / "kernel.ptx", folder / "kernel.cubin"
        source.write_text(ptx)
        arch = f"-arch=sm_{capability[0]}{capability[1]}"
        said = subprocess.run(
            [self._tool("ptxas"), "-v", arch, str(source), "-o", str(target)],
            capture_output=True,
            text=True,
            check=True,
        ).stderr
        if shared := re.search(r"(\d+) bytes smem", said):
            assert int(shared[1]) % 16 == 0  # what follows it is read 16 bytes at a time
        spills = sum(int(bytes_) for bytes_ in re.findall(r"(\d+) bytes spill", said))
        return int(re.search(r"Used (\d+) registers", said)[1]), spills, target

    def loops(self, binary):
        """The instructions of each basic block of machine code."""
        text = subprocess.run(
            [self._tool("nvdisasm"), "-c", str(binary)], capture_output=True, text=True, check=True
        ).stdout
        blocks = re.split(r"\n\s*\.L_x_\d+:", text)
        return [re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\d+ )?([A-Z][A-Z0-9_.]*)", block) for block in blocks]


@pytest.fixture
def compiler(monkeypatch):
    if SIMULATED:
        pytest.skip("the simulator compiles nothing")
    try:
        importlib.metadata.version("numba-cuda")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("numba-cuda is not installed")
    packages = importlib.util.find_spec("nvidia")
    folders = [
        str(folder)
        for root in (packages.submodule_search_locations if packages else ())
        for folder in Path(root).glob("cu1?/bin")
    ]
    path = os.pathsep.join([*folders, os.environ.get("PATH", ""), "/usr/local/cuda/bin"])

    def tool(name):
        found = shutil.which(name, path=path)
        return found or pytest.skip(f"{name} is not installed (nvidia-cuda-nvcc, nvidia-cuda-nvdisasm)")

    tool("ptxas")
    from numba.cuda import dispatcher

    from fastbp.kernels import cuda_fused

    class Device:
        compute_capability = (9, 0)

    # functions that kernels call are compiled for the current device, and there is none
    monkeypatch.setattr(dispatcher, "get_current_device", Device)
    monkeypatch.setattr(cuda_fused, "compiled", lambda function, n_threads, n_blocks: function)
    return Compiler(tool)


def signature_of(as_bytes):
    """The types of the arguments of `run_batches`."""
    from numba import types

    from fastbp.kernels.cuda_layout import Networks, Samples, Work

    def array(kind, n_dimensions=1):
        return types.Array(kind, n_dimensions, "C")

    f4, i4, u4 = types.float32, types.int32, types.uint32
    networks = types.NamedTuple((*[array(f4, 2)] * 5, array(types.uint64), array(f4)), Networks)
    samples = types.NamedTuple((array(u4 if as_bytes else f4), array(i4), array(f4), array(f4), f4), Samples)
    batches = array(f4, 2), array(f4, 3), array(f4, 2), array(i4, 2)
    work = types.NamedTuple((array(i4), array(u4, 2), *batches, array(f4), array(i4)), Work)
    return types.void(array(i4), networks, samples, work, types.int64, types.int64, types.int64)


@pytest.mark.parametrize(
    ("inputs", "as_bytes", "n_threads", "capability"),
    [(14, True, 224, (9, 0)), (14, True, 224, (8, 0)), (14, False, 512, (9, 0)), (2, True, 224, (9, 0))],
)
def test_nothing_spills(inputs, as_bytes, n_threads, capability, compiler, tmp_path, record_property):
    """Weights stay in registers, of which 128 for each of 512 threads are a multiprocessor's: two blocks of 224."""
    from fastbp.kernels import cuda_fused

    kernel = cuda_fused.run_batches.__wrapped__(inputs, as_bytes, n_threads, 512 // n_threads)
    registers, spilled, binary = compiler.build(
        kernel, signature_of(as_bytes), capability, tmp_path, launch_bounds=(n_threads, 512 // n_threads)
    )
    assert spilled == 0
    assert registers <= 128
    hot = [block for block in compiler.loops(binary) if sum(name.startswith("FFMA") for name in block) >= 4 * inputs]
    ratios = [len(block) / sum(name.startswith("FFMA") for name in block) for block in hot]
    assert len(ratios) >= 2  # forward and gradient
    if inputs == 14:
        assert max(ratios) < 2  # instructions per multiply-add
    record_property("registers", registers)
    record_property("instructions per multiply-add", ratios)
    print(f"{capability}: {registers} registers, {spilled} bytes spilled, {max(ratios):.2f} instructions per FMA")


def test_the_other_kernels_compile(compiler, tmp_path, monkeypatch):
    from numba import types

    from fastbp.kernels import cuda as stages
    from fastbp.kernels import cuda_fused

    monkeypatch.setattr(stages, "compiled", lambda function, n_threads, n_blocks: function)
    u4, u8 = types.Array(types.uint32, 2, "C"), types.Array(types.uint64, 1, "C")
    _, spilled, _ = compiler.build(cuda_fused.shuffle_orders.__wrapped__(), types.void(u4, u8), (9, 0), tmp_path)
    assert spilled == 0
    for real in (types.float32, types.float64):
        matrix, vector = types.Array(real, 2, "C"), types.Array(real, 1, "C")
        code = types.int64
        arguments = {
            "forward": (matrix, matrix, vector, code, matrix, matrix),
            "softmax": (matrix, matrix),
            "output_delta": (matrix, matrix, code, code, matrix),
            "hidden_delta": (matrix, matrix, matrix, code, matrix),
            "gradient": (matrix, matrix, matrix, vector),
            "update": (matrix, vector, matrix, vector, real, real, real),
        }
        kernels = stages._kernels.__wrapped__(real)
        assert kernels.keys() == arguments.keys()
        for name, kernel in kernels.items():
            _, spilled, _ = compiler.build(kernel, types.void(*arguments[name]), (9, 0), tmp_path)
            assert spilled == 0


# --- a process with the simulator -------------------------------------------------------------------------------------


@pytest.mark.skipif(SIMULATED, reason="this is the simulator")
def test_in_the_simulator():
    """What is skipped above."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "cuda", str(Path(__file__))]
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(command, env=environment, cwd=HERE, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) >= 20
