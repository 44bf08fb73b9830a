"""Shapes by hand, initial weights by their moments, every refusal by its words."""

import numpy as np
import pytest

from fastbp.errors import UsageError
from fastbp.network import Network


def mnist_network():
    return Network((784, 16, 16, 10), ("sigmoid", "sigmoid", "softmax"), "cross_entropy")


def test_the_mnist_network_has_13002_parameters():
    net = mnist_network()
    assert net.n_parameters == 12_960 + 42
    assert str(net) == "784-16-16-10"


def test_theta_is_weights_row_major_then_biases_layer_by_layer():
    net = Network([2, 3, 1], ["tanh", "identity"], "squared_error")
    theta = np.arange(13.0)
    (W1, b1), (W2, b2) = net.layers_of(theta)
    assert W1.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert b1.tolist() == [6, 7, 8]
    assert W2.tolist() == [[9], [10], [11]]
    assert b2.tolist() == [12]


def test_layers_are_views():
    net = Network((1, 1), ("identity",), "squared_error")
    theta = np.zeros(2)
    (W, b), *_ = net.layers_of(theta)
    W[0, 0], b[0] = 3.0, 4.0
    assert theta.tolist() == [3.0, 4.0]


def test_networks_compare_by_value_and_are_frozen():
    assert mnist_network() == mnist_network()
    assert len({mnist_network(), mnist_network()}) == 1
    with pytest.raises(AttributeError):
        mnist_network().cost = "squared_error"


def test_step_cannot_be_trained():
    assert mnist_network().trainable
    assert not Network((2, 1), ("step",), "squared_error").trainable
    assert not Network((2, 2, 1), ("step", "sigmoid"), "squared_error").trainable


@pytest.mark.parametrize("output", ["step", "identity", "sigmoid", "tanh", "relu", "leaky_relu", "softmax"])
@pytest.mark.parametrize("cost", ["squared_error", "mean_squared_error", "binary_cross_entropy", "cross_entropy"])
def test_exactly_the_costs_that_an_output_allows(cost, output):
    allowed = {
        "squared_error": {"step", "identity", "sigmoid", "tanh", "relu", "leaky_relu"},
        "mean_squared_error": {"step", "identity", "sigmoid", "tanh", "relu", "leaky_relu"},
        "binary_cross_entropy": {"sigmoid"},
        "cross_entropy": {"softmax"},
    }
    if output in allowed[cost]:
        assert Network((2, 2), (output,), cost).cost == cost
    else:
        with pytest.raises(UsageError, match=f"cost {cost} needs output_activation .*, got {output}"):
            Network((2, 2), (output,), cost)


@pytest.mark.parametrize(
    ("sizes", "activations", "cost", "words"),
    [
        ((3,), (), "squared_error", r"needs an input and an output layer, got sizes \[3\]"),
        ((3, 0), ("sigmoid",), "squared_error", "every layer must have 1 to 10000 units, got 0"),
        ((3, 10_001), ("sigmoid",), "squared_error", "1 to 10000 units, got 10001"),
        ((3, -1), ("sigmoid",), "squared_error", "got -1"),
        ((3, 2.0), ("sigmoid",), "squared_error", r"got 2\.0"),
        ((3, True), ("sigmoid",), "squared_error", "got True"),
        ((3, "4"), ("sigmoid",), "squared_error", "got '4'"),
        ((3, 4, 5), ("sigmoid",), "squared_error", "a network of 3 layers needs 2 activations, got 1"),
        ((3, 4), ("gelu",), "squared_error", "activation must be one of step, identity, .* got 'gelu'"),
        ((3, 4), (None,), "squared_error", "activation must be one of .* got None"),
        ((3, 4, 5), ("softmax", "softmax"), "cross_entropy", "softmax is for the output layer only"),
        ((3, 4), ("sigmoid",), "hinge", "cost must be one of squared_error, .* got 'hinge'"),
    ],
)
def test_what_makes_no_network_is_refused(sizes, activations, cost, words):
    with pytest.raises(UsageError, match=words):
        Network(sizes, activations, cost)


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(UsageError, match=r"784-16-16-10 has 13002 parameters, got an array of shape \(13001,\)"):
        mnist_network().layers_of(np.zeros(13001))


def test_widest_and_deepest():
    assert Network((1, 10_000, 1), ("relu", "identity"), "squared_error").n_parameters == 30_001
    deep = Network([3] * 200, ["tanh"] * 199, "squared_error")
    assert len(deep.layers_of(deep.initial_parameters())) == 199


@pytest.mark.parametrize(
    ("init", "deviation", "limit"),
    [
        ("glorot", np.sqrt(2 / (300 + 100)), np.sqrt(6 / (300 + 100))),
        ("he", np.sqrt(2 / 300), np.inf),
        ("normal", 0.01, np.inf),
    ],
)
def test_initial_weights_have_the_stated_moments(init, deviation, limit):
    net = Network((300, 100), ("sigmoid",), "squared_error")
    W, b = net.layers_of(net.initial_parameters(seed=4, init=init, dtype="float64"))[0]
    assert not b.any()
    assert abs(W.mean()) < 4 * deviation / np.sqrt(W.size)
    assert abs(W.std() / deviation - 1) < 0.02
    assert np.abs(W).max() <= limit
    fourth = (W**4).mean() / deviation**4
    assert abs(fourth - (1.8 if init == "glorot" else 3.0)) < 0.15  # kurtosis: uniform 9/5, normal 3
    assert len(np.unique(W)) == W.size  # equal weights would never part


def test_layers_and_seeds_have_their_own_numbers():
    net = Network((5, 5, 5), ("sigmoid", "sigmoid"), "squared_error")
    (first, _), (second, _) = net.layers_of(net.initial_parameters(seed=0, dtype="float64"))
    other = net.layers_of(net.initial_parameters(seed=1, dtype="float64"))[0][0]
    assert not np.isin(first, second).any()
    assert not np.isin(first, other).any()


def test_float32_weights_are_the_rounded_float64_ones():
    net = mnist_network()
    exact = net.initial_parameters(seed=9, dtype="float64")
    rounded = net.initial_parameters(seed=9)
    assert rounded.dtype == np.float32
    assert np.array_equal(rounded, exact.astype(np.float32))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"init": "xavier"}, "init must be one of normal, glorot, he, got 'xavier'"),
        ({"dtype": "int32"}, "dtype must be float32 or float64, got 'int32'"),
    ],
)
def test_other_initial_weights_are_refused(settings, words):
    with pytest.raises(UsageError, match=words):
        mnist_network().initial_parameters(**settings)
