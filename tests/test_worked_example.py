"""A 2-2-2 network worked out by hand: sigmoid units, squared error, one sample, rate 0.5, biases never updated.

The numbers are float64 ones. Published programs of this example often update the output layer before they compute the
hidden deltas; the last test shows that these tests tell the two apart.
"""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.kernels import reference, stages
from fastbp.kernels.codes import SGD, SIGMOID, SQUARED_ERROR
from fastbp.kernels.cpu import FusedEngine
from fastbp.kernels.protocol import Settings, Split
from fastbp.kernels.stepwise import StepwiseEngine
from fastbp.network import Network

NETWORK = Network((2, 2, 2), ("sigmoid", "sigmoid"), "squared_error")
X = np.array([[0.05, 0.10]])
Y = np.array([[0.01, 0.99]])
# h1 = w1 x1 + w2 x2 + 0.35, so that w1 and w2 stand in the first column
W_HIDDEN = np.array([[0.15, 0.25], [0.20, 0.30]])
W_OUTPUT = np.array([[0.40, 0.50], [0.45, 0.55]])
B_HIDDEN = np.array([0.35, 0.35])
B_OUTPUT = np.array([0.60, 0.60])
THETA = np.concatenate([W_HIDDEN.ravel(), B_HIDDEN, W_OUTPUT.ravel(), B_OUTPUT])

close = pytest.approx
both = pytest.mark.parametrize("module", [reference, stages], ids=["reference", "stages"])


def trained(module, n_steps):
    """The engine after n_steps updates."""
    split = Split(X, np.zeros(1, np.int32), Y)
    settings = Settings(SGD, batch_size=1, update_biases=False)
    engine = StepwiseEngine(module, "test", NETWORK, THETA, split, split, settings, classes=False)
    engine.run(np.zeros(n_steps, np.uint32), np.full(n_steps, 0.5), np.empty(n_steps))
    return engine


def outputs_of(module, theta):
    hidden, output = np.empty((1, 2)), np.empty((1, 2))
    (W_hidden, b_hidden), (W_output, b_output) = NETWORK.layers_of(theta)
    module.forward(X, W_hidden, b_hidden, SIGMOID, hidden, hidden)
    module.forward(hidden, W_output, b_output, SIGMOID, output, output)
    return hidden[0], output[0]


@both
def test_forward(module):
    hidden, output = outputs_of(module, THETA)
    assert hidden == close([0.5932699921, 0.5968843783], abs=1e-9, rel=0)
    assert output == close([0.7513650696, 0.7729284653], abs=1e-9, rel=0)


@both
def test_error_before_any_step(module):
    assert trained(module, 0).evaluate("train").loss == close(0.2983711088, abs=1e-9, rel=0)


@both
def test_gradients(module):
    hidden, output = outputs_of(module, THETA)
    delta, delta_hidden = np.empty((1, 2)), np.empty((1, 2))
    dW_output, dW_hidden, db = np.empty((2, 2)), np.empty((2, 2)), np.empty(2)
    module.output_delta(output[None], Y, SIGMOID, SQUARED_ERROR, delta)
    module.hidden_delta(delta, W_OUTPUT, hidden[None], SIGMOID, delta_hidden)
    module.gradient(hidden[None], delta, dW_output, db)
    module.gradient(X, delta_hidden, dW_hidden, db)
    assert dW_output[0, 0] == close(0.0821670406, abs=1e-9, rel=0)
    assert dW_hidden[0, 0] == close(0.0004385677, abs=1e-9, rel=0)


@both
def test_weights_after_one_step(module):
    (W_hidden, b_hidden), (W_output, b_output) = NETWORK.layers_of(trained(module, 1).parameters())
    w1_to_w4 = [0.1497807161, 0.1995614323, 0.2497511436, 0.2995022873]
    w5_to_w8 = [0.3589164797, 0.4086661861, 0.5113012702, 0.5613701211]
    assert W_hidden.T.ravel() == close(w1_to_w4, abs=1e-9, rel=0)
    assert W_output.T.ravel() == close(w5_to_w8, abs=1e-9, rel=0)
    assert b_hidden.tolist() == B_HIDDEN.tolist()
    assert b_output.tolist() == B_OUTPUT.tolist()


@both
def test_error_after_one_step(module):
    assert trained(module, 1).evaluate("train").loss == close(0.2910277737, abs=1e-9, rel=0)


@both
def test_ten_thousand_steps(module):
    engine = trained(module, 10_000)
    assert engine.evaluate("train").loss == close(3.510187783e-05, rel=1e-9, abs=0)
    _, output = outputs_of(module, engine.parameters())
    assert output == close([0.0159136204, 0.9840642735], abs=1e-9, rel=0)


def descended(module, n_steps, output_layer_first):
    """The error after n_steps; `output_layer_first` plants the bug: hidden deltas from weights already updated."""
    theta = THETA.copy()
    (W_hidden, _), (W_output, _) = NETWORK.layers_of(theta)
    delta, delta_hidden = np.empty((1, 2)), np.empty((1, 2))
    dW, db, frozen = np.empty((2, 2)), np.empty(2), np.zeros(2)
    for _ in range(n_steps):
        hidden, output = (a[None] for a in outputs_of(module, theta))
        module.output_delta(output, Y, SIGMOID, SQUARED_ERROR, delta)
        if not output_layer_first:
            module.hidden_delta(delta, W_output, hidden, SIGMOID, delta_hidden)
        module.gradient(hidden, delta, dW, db)
        module.update(W_output, frozen, dW, frozen, 0.5, 0.0, 1)
        if output_layer_first:
            module.hidden_delta(delta, W_output, hidden, SIGMOID, delta_hidden)
        module.gradient(X, delta_hidden, dW, db)
        module.update(W_hidden, frozen, dW, frozen, 0.5, 0.0, 1)
    _, output = outputs_of(module, theta)
    return float(np.sum((output - Y[0]) ** 2) / 2), output


@both
def test_updating_the_output_layer_first_is_told_apart(module):
    right, _ = descended(module, 1, output_layer_first=False)
    wrong, _ = descended(module, 1, output_layer_first=True)
    assert right == close(0.2910277737, abs=1e-9, rel=0)
    assert wrong == close(0.2910279239, abs=1e-9, rel=0)
    assert abs(wrong - right) > 1e-7
    assert trained(module, 1).evaluate("train").loss == close(right, abs=1e-9, rel=0)
    assert trained(module, 1).evaluate("train").loss != close(wrong, abs=1e-7, rel=0)


def test_updating_the_output_layer_first_gives_the_other_published_numbers():
    error, output = descended(stages, 10_000, output_layer_first=True)
    assert error == close(3.508479e-05, rel=1e-6, abs=0)
    assert output == close([0.0159121963, 0.9840657345], abs=1e-9, rel=0)


def test_the_fused_engine_reaches_the_same_numbers():
    split = Split(X, np.zeros(1, np.int32), Y)
    settings = Settings(SGD, batch_size=1, update_biases=False)
    engine = FusedEngine(NETWORK, THETA, split, split, settings, classes=False)
    run = [np.zeros(1, np.uint32), np.full(1, 0.5), np.empty(1)]
    engine.run(*run)
    assert engine.evaluate("train").loss == close(0.2910277737, abs=1e-9, rel=0)
    weights = engine.parameters()
    assert weights[6:10].reshape(2, 2).T.ravel() == close(
        [0.3589164797, 0.4086661861, 0.5113012702, 0.5613701211], abs=1e-9, rel=0
    )
    assert weights[:4].reshape(2, 2).T.ravel() == close(
        [0.1497807161, 0.1995614323, 0.2497511436, 0.2995022873], abs=1e-9, rel=0
    )
    np.testing.assert_array_equal(weights[[4, 5, 10, 11]], [0.35, 0.35, 0.60, 0.60])
    engine.run(np.zeros(9999, np.uint32), np.full(9999, 0.5), np.empty(9999))
    assert engine.evaluate("train").loss == close(3.510187783e-05, rel=1e-9, abs=0)
