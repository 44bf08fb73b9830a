"""The engine that steps through the stages: batches, optimisers, evaluation, and what it keeps between calls."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastbp.kernels import reference, stages
from fastbp.kernels.codes import ADAM, CROSS_ENTROPY, MOMENTUM, SGD, SIGMOID, SOFTMAX
from fastbp.kernels.protocol import Settings, Split
from fastbp.kernels.stepwise import EVALUATION_ROWS, StepwiseEngine
from fastbp.network import Network

both = pytest.mark.parametrize("module", [reference, stages], ids=["reference", "stages"])
optimizers = pytest.mark.parametrize("optimizer", [SGD, MOMENTUM, ADAM], ids=["sgd", "momentum", "adam"])

DIGITS = Network((6, 5, 4), ("sigmoid", "softmax"), "cross_entropy")
LINE = Network((1, 1), ("identity",), "squared_error")
SIGN = Network((1, 1), ("tanh",), "squared_error")


def classes_split(n, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (n, 6)).astype(np.uint8)
    return Split(x, rng.integers(0, 4, n).astype(np.int32), np.eye(4))


def values_split(x, targets):
    x, targets = np.array(x, float), np.array(targets, float)
    return Split(x[:, None], np.arange(len(x), dtype=np.int32), targets[:, None])


def digits_engine(module, optimizer=SGD, batch_size=8, dtype="float32", n=40, **settings):
    return StepwiseEngine(
        module,
        "an engine",
        DIGITS,
        DIGITS.initial_parameters(seed=3, dtype=dtype),
        classes_split(n),
        classes_split(10, seed=1),
        Settings(optimizer, batch_size, **settings),
        x_scale=1 / 255,
    )


def line_engine(module, theta, train, batch_size, network=LINE, classes=False):
    theta = np.array(theta, float)
    return StepwiseEngine(module, "line", network, theta, train, train, Settings(SGD, batch_size), classes=classes)


def run(engine, order, etas):
    costs = np.full(len(etas), np.nan)
    engine.run(np.array(order, np.uint32), np.array(etas, float), costs)
    return costs


@both
@optimizers
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parts_give_the_same_bits_as_the_whole(module, optimizer, dtype):
    order = np.random.default_rng(0).permutation(40)
    etas = np.linspace(0.5, 0.1, 5)
    whole, parts = (digits_engine(module, optimizer, dtype=dtype, decay=0.01) for _ in range(2))
    costs = run(whole, order, etas)
    costs_of_parts = [run(parts, order[:16], etas[:2]), run(parts, order[16:], etas[2:])]
    assert whole.parameters().dtype == dtype
    assert whole.parameters().tobytes() == parts.parameters().tobytes()
    assert costs.tolist() == np.concatenate(costs_of_parts).tolist()


@both
def test_each_batch_has_its_own_size_and_rate(module):
    """Three samples in batches of two: y = w x + c from w = 1, c = 0, worked out by hand."""
    engine = line_engine(module, [1.0, 0.0], values_split([1.0, 2.0, 4.0], [0.0, 1.0, 1.0]), batch_size=2)
    costs = run(engine, [0, 1, 2], [0.5, 0.25])
    w, c = 1.0 - 0.5 * (1 * 1 + 1 * 2) / 2, 0.0 - 0.5 * (1 + 1) / 2  # errors 1 and 1
    error = 4 * w + c - 1  # the last batch holds one sample, so its mean is over one
    assert costs.tolist() == pytest.approx([(0.5 + 0.5) / 2, error**2 / 2], rel=1e-14)
    assert engine.parameters().tolist() == pytest.approx([w - 0.25 * error * 4, c - 0.25 * error], rel=1e-14)


@both
def test_samples_are_taken_in_the_given_order(module):
    train = values_split([1.0, 2.0], [0.0, 1.0])
    engine = line_engine(module, [1.0, 0.0], train, batch_size=1)
    run(engine, [1, 1], [0.1, 0.1])  # sample 0 is never seen
    w, c = 1.0, 0.0
    for _ in range(2):
        error = 2 * w + c - 1
        w, c = w - 0.1 * error * 2, c - 0.1 * error
    assert engine.parameters().tolist() == pytest.approx([w, c], rel=1e-14)


@both
def test_rates_and_costs_must_match_the_batches(module):
    engine = digits_engine(module)
    for n_etas, n_costs in ((4, 5), (5, 4), (6, 6)):
        with pytest.raises(ValueError, match="40 samples in batches of 8 need 5 learning rates and costs"):
            engine.run(np.arange(40, dtype=np.uint32), np.ones(n_etas), np.empty(n_costs))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_twenty_lines_of_stages_reproduce_the_engine_bit_for_bit(dtype):
    engine = digits_engine(stages, dtype=dtype, batch_size=8, decay=0.01)
    split = classes_split(40)
    order = np.random.default_rng(5).permutation(40)
    run(engine, order, [0.5] * 5)

    theta = DIGITS.initial_parameters(seed=3, dtype=dtype)
    (W1, b1), (W2, b2) = DIGITS.layers_of(theta)
    h, z, a = (np.empty((8, n), dtype) for n in (5, 4, 4))
    delta1, delta2 = np.empty_like(h), np.empty_like(a)
    dW1, db1, dW2, db2 = (np.empty_like(array) for array in (W1, b1, W2, b2))
    for rows in order.reshape(5, 8):
        x = split.x[rows].astype(dtype) * np.dtype(dtype).type(1 / 255)
        y = split.targets[split.y[rows]].astype(dtype)
        stages.forward(x, W1, b1, SIGMOID, h, h)
        stages.forward(h, W2, b2, SOFTMAX, z, a)
        stages.output_delta(a, y, SOFTMAX, CROSS_ENTROPY, delta2)
        stages.hidden_delta(delta2, W2, h, SIGMOID, delta1)
        stages.gradient(x, delta1, dW1, db1)
        stages.gradient(h, delta2, dW2, db2)
        stages.update(W1, b1, dW1, db1, 0.5, 0.01, 8)
        stages.update(W2, b2, dW2, db2, 0.5, 0.01, 8)
    assert theta.tobytes() == engine.parameters().tobytes()


@optimizers
def test_compiled_and_numpy_stages_learn_the_same(optimizer):
    order = np.random.default_rng(0).permutation(40)
    engines = [digits_engine(module, optimizer, dtype="float64", decay=0.01) for module in (reference, stages)]
    costs = [run(engine, np.tile(order, 5), [0.1] * 25) for engine in engines]
    np.testing.assert_allclose(costs[1], costs[0], rtol=1e-10)
    np.testing.assert_allclose(engines[1].parameters(), engines[0].parameters(), atol=1e-10)
    assert costs[0][-5:].mean() < costs[0][:5].mean()


def test_adam_counts_batches_not_layers_and_across_calls():
    steps = []

    class Spy:
        def __getattr__(self, name):
            return getattr(reference, name)

        def adam_update(self, *arguments):
            steps.append(arguments[-1])

    engine = digits_engine(Spy(), ADAM)
    run(engine, range(16), [0.1, 0.1])
    run(engine, range(8), [0.1])
    assert steps == [1, 1, 2, 2, 3, 3]  # two layers


@both
@optimizers
def test_frozen_biases_stay_and_weights_move(module, optimizer):
    engine = digits_engine(module, optimizer, update_biases=False)
    theta = engine.parameters() + np.float32(0.25)
    engine.set_parameters(theta)
    run(engine, range(40), [0.5] * 5)
    for (W, b), (W_before, b_before) in zip(
        DIGITS.layers_of(engine.parameters()), DIGITS.layers_of(theta), strict=True
    ):
        assert b.tobytes() == b_before.tobytes()
        assert not np.array_equal(W, W_before)


@both
def test_parameters_are_copies(module):
    theta = DIGITS.initial_parameters()
    engine = StepwiseEngine(module, "", DIGITS, theta, classes_split(8), classes_split(8), Settings(SGD, 4))
    theta[:] = 7
    engine.parameters()[:] = 8
    assert engine.parameters().tobytes() == DIGITS.initial_parameters().tobytes()
    engine.set_parameters(theta)
    assert (engine.parameters() == 7).all()


@both
def test_evaluation_of_values_by_hand(module):
    engine = line_engine(module, [2.0, 1.0], values_split([0.0, 1.0, -1.0], [1.0, 2.0, 1.0]), batch_size=1)
    evaluation = engine.evaluate("train")  # outputs 1, 3, -1: errors 0, 1, -2
    assert evaluation.loss == pytest.approx((0 + 1 + 4) / 2 / 3, rel=1e-14)
    assert evaluation.accuracy is None


@both
def test_evaluation_of_classes_by_hand(module):
    network = Network((2, 3), ("softmax",), "cross_entropy")
    theta = np.concatenate([np.log([[2.0, 1.0, 1.0], [1.0, 1.0, 6.0]]).ravel(), np.zeros(3)])
    x = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 1.0]])  # outputs (2,1,1)/4, (1,1,6)/8 twice, (2,1,6)/9
    split = Split(x, np.array([0, 2, 1, 2], np.int32), np.eye(3))
    empty = Split(x[:0], split.y[:0], np.eye(3))
    engine = StepwiseEngine(module, "", network, theta, split, empty, Settings(SGD, 4))
    loss = -(math.log(2 / 4) + math.log(6 / 8) + math.log(1 / 8) + math.log(6 / 9)) / 4
    assert engine.evaluate("train") == (pytest.approx(loss, rel=1e-14), 0.75)
    nothing = engine.evaluate("test")
    assert math.isnan(nothing.loss)
    assert nothing.accuracy is None


@both
@pytest.mark.parametrize("codes", [(-1.0, 1.0), (0.0, 1.0)])
def test_a_single_output_is_cut_midway_between_the_codes(module, codes):
    outputs = np.array([-0.9, -0.1, 0.1, 0.4, 0.6, 0.9])
    split = Split(np.arctanh(outputs)[:, None], np.array([0, 0, 0, 0, 1, 1], np.int32), np.array(codes)[:, None])
    engine = line_engine(module, [1.0, 0.0], split, 1, network=SIGN, classes=True)
    assert engine.evaluate("train").accuracy == (4 / 6 if codes[0] < 0 else 1.0)


@both
def test_evaluation_covers_every_row_of_a_large_split(module):
    n = 2 * EVALUATION_ROWS + 345
    x = np.linspace(-1, 1, n)
    targets = np.where(np.arange(n) < EVALUATION_ROWS, x, x + 2)
    targets[-1] += 100
    engine = line_engine(module, [1.0, 0.0], values_split(x, targets), batch_size=7)
    errors = (x - targets).tolist()
    assert engine.evaluate("train").loss == pytest.approx(math.fsum(e * e / 2 for e in errors) / n, rel=1e-12)


@both
def test_bytes_are_scaled_and_numbers_are_taken_as_they_are(module):
    numbers = values_split([0.0, 51.0, 255.0], [0.0, 0.2, 1.0])
    scaled = numbers._replace(x=numbers.x.astype(np.uint8))
    theta = np.array([1.0, 0.0])
    settings = Settings(SGD, 3)
    as_bytes = StepwiseEngine(module, "", LINE, theta, scaled, scaled, settings, x_scale=1 / 255, classes=False)
    assert as_bytes.evaluate("train").loss == pytest.approx(0, abs=1e-30)
    as_they_are = StepwiseEngine(module, "", LINE, theta, numbers, numbers, settings, classes=False)
    assert as_they_are.evaluate("train").loss == pytest.approx((50.8**2 + 254**2) / 6, rel=1e-12)


@both
def test_one_batch_may_be_larger_than_an_evaluation_block(module):
    n = EVALUATION_ROWS + 200
    x = np.linspace(-1, 1, n)
    engine = line_engine(module, [0.0, 0.0], values_split(x, 3 * x + 1), batch_size=n)
    cost = run(engine, range(n), [0.5])
    assert cost[0] == pytest.approx(np.mean((3 * x + 1) ** 2) / 2, rel=1e-12)
    assert engine.parameters().tolist() == pytest.approx([1.5 * np.mean(x * x), 0.5], rel=1e-12)
