"""What is measured inside a network, against finite differences, numbers by hand, and cases built to show it.

Derivatives are central differences of `Model.evaluate`, which goes forward only and knows nothing of deltas.
"""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from fastbp import gradients
from fastbp.console import print_json
from fastbp.diagnostics import (
    LayerFacts,
    answers_to_noise,
    confusions,
    diagnose,
    important_parameters,
    layer_facts,
    probabilities,
    saliency,
    worst_samples,
)
from fastbp.errors import UsageError
from fastbp.gradients import measure
from fastbp.model import Model
from fastbp.network import Network
from fastbp.noise import NoiseAnswers
from fastbp.preprocessing import Scaling
from fastbp.symptoms import of_answers, of_gradients, of_noise, of_units
from fastbp.training import train

SIZES = (4, 5, 3, 3)
OUTPUTS = {
    "softmax": (("sigmoid", "tanh", "softmax"), "cross_entropy"),
    "bernoulli": (("tanh", "sigmoid", "sigmoid"), "binary_cross_entropy"),
    "squared": (("leaky_relu", "sigmoid", "tanh"), "squared_error"),
    "relu": (("relu", "relu", "softmax"), "cross_entropy"),
    "values": (("tanh", "sigmoid", "identity"), "mean_squared_error"),
}
N = 11


def case(name: str, dtype: str = "float64") -> tuple[Model, np.ndarray, np.ndarray]:
    """A network with random weights, inputs in units of their own, and targets."""
    rng = np.random.default_rng(list(OUTPUTS).index(name))
    network = Network(SIZES, *OUTPUTS[name])
    parts: dict[str, Any] = {"class_names": ("a", "b", "c")}
    x, y = rng.normal(size=(N, 4)) * [1, 10, 0.1, 1] + [0, 5, 0, -1], rng.integers(0, 3, N)
    if name == "values":
        parts = {"targets": Scaling(np.array([1.0, 2, 3]), np.array([0.5, 0.1, 2]))}
        y = rng.normal(size=(N, 3)) * [2, 10, 0.5]
    theta = rng.normal(scale=0.8, size=network.n_parameters).astype(dtype)
    inputs = Scaling(np.array([0.0, 5, 0, -1]), np.array([1.0, 0.1, 10, 1]))
    return Model(network, theta, inputs=inputs, **parts), x, y


def slopes(cost, at: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central differences of cost(at) by each element of `at`."""
    found = np.empty(at.size)
    for k in range(at.size):
        shift = np.zeros(at.size)
        shift[k] = step
        shift = shift.reshape(at.shape)
        found[k] = (cost(at + shift) - cost(at - shift)) / (2 * step)
    return found.reshape(at.shape)


def with_parameters(model: Model, theta: np.ndarray) -> Model:
    return dataclasses.replace(model, parameters=theta)


def slopes_of_parameters(model: Model, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    theta = model.parameters.astype(np.float64)
    return slopes(lambda theta: with_parameters(model, theta).evaluate(x, y)[0], theta)


@pytest.fixture(params=[1 << 20, 1, 4 * sum(SIZES)], ids=["one block", "row by row", "blocks of 4"])
def blocks(request, monkeypatch):
    """The samples in one block, one by one, and in blocks of which the last is smaller."""
    monkeypatch.setattr(gradients, "BLOCK_VALUES", request.param)


# --- gradients against finite differences -----------------------------------------------------------------------------


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("name", OUTPUTS)
def test_the_gradient_is_that_of_the_mean_cost(name):
    model, x, y = case(name)
    np.testing.assert_allclose(measure(model, x, y).gradient, slopes_of_parameters(model, x, y), rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("name", OUTPUTS)
def test_gradient_norms_and_ratios(name):
    model, x, y = case(name)
    expected = [np.linalg.norm(dW) for dW, _ in model.network.layers_of(slopes_of_parameters(model, x, y))]
    facts = layer_facts(model, x, y)
    np.testing.assert_allclose([each.gradient_norm for each in facts], expected, rtol=1e-6)
    ratios = [below / above for below, above in pairwise(expected)]
    np.testing.assert_allclose([each.gradient_ratio for each in facts[:-1]], ratios, rtol=1e-6)
    assert facts[-1].gradient_ratio is None


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("name", OUTPUTS)
def test_delta_is_the_slope_of_one_samples_cost_by_its_biases(name):
    model, x, y = case(name)
    squares = np.zeros(3)
    for i in range(N):
        layers = model.network.layers_of(slopes_of_parameters(model, x[i : i + 1], y[i : i + 1]))
        squares += [(db**2).sum() for _, db in layers]
    found = [each.delta_norm for each in layer_facts(model, x, y)]
    np.testing.assert_allclose(found, np.sqrt(squares / N), rtol=1e-6)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("name", OUTPUTS)
def test_saliency_is_the_slope_by_the_scaled_inputs(name):
    model, x, y = case(name)
    sizes = np.zeros(4)
    for i in range(N):
        scaled = model.inputs.apply(x[i : i + 1], "float64")
        bare = dataclasses.replace(model, inputs=Scaling(0.0, 1.0))
        sizes += np.abs(slopes(lambda at, i=i, bare=bare: bare.evaluate(at, y[i : i + 1])[0], scaled)[0])
    np.testing.assert_allclose(saliency(model, x, y), sizes / N, rtol=1e-6)


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_model_of_float32_is_measured_in_float64(name):
    model, x, y = case(name, "float32")
    measured = measure(model, x, y)
    wide = with_parameters(model, model.parameters.astype(np.float64))
    assert measured.gradient.dtype == np.float64
    np.testing.assert_allclose(measured.gradient, slopes_of_parameters(wide, x, y), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_two_classes(n_outputs):
    """One sigmoid output for two classes, and two outputs."""
    network = Network((2, 3, n_outputs), ("tanh", "sigmoid"), "binary_cross_entropy")
    theta = np.random.default_rng(1).normal(size=network.n_parameters)
    model = Model(network, theta, class_names=("no", "yes"))
    x, y = np.random.default_rng(2).normal(size=(9, 2)), np.arange(9) % 2
    np.testing.assert_allclose(measure(model, x, y).gradient, slopes_of_parameters(model, x, y), rtol=1e-6, atol=1e-9)
    for sample in worst_samples(model, x, y):
        outputs = model.outputs(x[sample.index][None])[0]
        assert sample.answer == (outputs[0] > 0.5 if n_outputs == 1 else outputs.argmax())


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("name", OUTPUTS)
def test_costs_are_those_of_each_sample_alone(name):
    model, x, y = case(name)
    alone = [model.evaluate(x[i : i + 1], y[i : i + 1])[0] for i in range(N)]
    np.testing.assert_allclose(measure(model, x, y).costs, alone, rtol=1e-12)


def test_costs_stay_finite_where_outputs_saturate():
    """1000 off the mark: both cross-entropies are 1000, and not infinite."""
    for activation, cost in (("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy")):
        network = Network((1, 2), (activation,), cost)
        model = Model(network, np.array([1000.0, -1000, 0, 0]), class_names=("a", "b"))
        assert worst_samples(model, [[1.0]], [1])[0].cost == 2000
        assert worst_samples(model, [[0.0]], [1])[0].cost == pytest.approx(np.log(2) * (1 + (activation == "sigmoid")))


def test_memory_does_not_grow_with_the_samples():
    """30,000 images in float64 would take 190 MB."""
    network = Network((784, 8, 10), ("sigmoid", "softmax"), "cross_entropy")
    model = Model(network, network.initial_parameters(), class_names=tuple("0123456789"))
    x, y = np.zeros((30_000, 784), np.uint8), np.zeros(30_000, np.int32)
    tracemalloc.start()
    diagnose(model, x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6


# --- activations and weights ------------------------------------------------------------------------------------------


def activations_by_hand(model: Model, x: np.ndarray) -> list[np.ndarray]:
    f = {"sigmoid": lambda z: 1 / (1 + np.exp(-z)), "tanh": np.tanh, "relu": lambda z: np.where(z > 0, z, 0)}
    a, found = np.asarray(x), []
    for (W, b), name in zip(model.network.layers_of(model.parameters), model.network.activations, strict=True):
        a = f.get(name, lambda z: z)(a @ W + b)
        found.append(a)
    return found


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "identity"])
def test_moments_and_shares_of_activations(activation, rng):
    network = Network((4, 5, 6), (activation, "identity"), "squared_error")
    model = Model(network, rng.normal(scale=2.0, size=network.n_parameters) + 1e3 * (activation == "identity"))
    x, y = rng.normal(size=(N, 4)), rng.normal(size=(N, 6))
    first, last = layer_facts(model, x, y)
    hidden, out = activations_by_hand(model, x)
    for facts, a in ((first, hidden), (last, out)):
        assert facts.mean == pytest.approx(a.mean(), rel=1e-12)
        assert facts.deviation == pytest.approx(a.std(), rel=1e-9)
    limits = {"sigmoid": (0.01, 0.99), "tanh": (-0.98, 0.98)}
    if activation in limits:
        low, high = limits[activation]
        saturated = (hidden < low) | (hidden > high)
        assert 0 < saturated.mean() < 1
        assert first.saturated_share == saturated.mean()
        assert first.saturated_units == saturated.all(axis=0).sum()
    else:
        assert first.saturated_share is first.saturated_units is None
    if activation == "relu":
        assert first.dead_units == (hidden <= 0).all(axis=0).sum()
    else:
        assert first.dead_share is first.dead_units is None
    assert last.saturated_share is last.dead_share is None


@pytest.mark.usefixtures("blocks")
def test_units_that_are_stuck_on_every_sample():
    """Unit 0 is always at a limit, unit 1 on one sample only; of the relus, 0 is dead and 1 lives for one sample."""
    x, y = np.array([[-1.0], [0.0], [1.0]] * 4), np.zeros((12, 1))
    for activation in ("sigmoid", "tanh"):
        network = Network((1, 2, 1), (activation, "identity"), "squared_error")
        facts = layer_facts(Model(network, np.array([20.0, 4, 10, 1, 1, 1, 0])), x, y)[0]  # z: -10 10 30 and -3 1 5
        assert facts.saturated_units == 1
        assert facts.saturated_share == pytest.approx({"sigmoid": 4 / 6, "tanh": 5 / 6}[activation])
    network = Network((1, 2, 1), ("relu", "identity"), "squared_error")
    facts = layer_facts(Model(network, np.array([1.0, 1, -1, -0.5, 1, 1, 0])), x, y)[0]  # z: -2 -1 0 and -1.5 -0.5 0.5
    assert (facts.dead_units, facts.dead_share) == (1, 0.5)


def test_what_a_layer_is():
    network = Network((2, 3, 1), ("tanh", "identity"), "squared_error")
    model = Model(network, np.array([3.0, 0, 0, -4, 0, 0, 9, 9, 9, 1, 2, 2, 9]))
    first, last = layer_facts(model, [[1.0, 1.0]], [[0.0]])
    assert (first.layer, first.n_inputs, first.n_units, first.activation) == (1, 2, 3, "tanh")
    assert (last.layer, last.n_inputs, last.n_units, last.activation) == (2, 3, 1, "identity")
    assert (first.weight_norm, first.largest_weight) == (5, -4)  # 3-4-5; the biases do not count
    assert (last.weight_norm, last.largest_weight) == (3, 2)


# --- cases that are built to show it ----------------------------------------------------------------------------------


def deep(activation: str, init: str, times: float = 1.0) -> tuple[Model, np.ndarray, np.ndarray]:
    """Ten layers with fresh weights, and 300 samples of five classes."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 20)), rng.integers(0, 5, 300)
    network = Network((20, *[16] * 9, 5), (*[activation] * 9, "softmax"), "cross_entropy")
    return Model(network, times * network.initial_parameters(0, init, "float64"), class_names=tuple("abcde")), x, y


def test_ten_layers_of_sigmoids_let_the_gradient_vanish():
    model, x, y = deep("sigmoid", "glorot")
    diagnosis = diagnose(model, x, y)
    deltas = [facts.delta_norm for facts in diagnosis.layers]
    for below, above in pairwise(deltas):
        assert below < 0.5 * above
    norms = [facts.gradient_norm for facts in diagnosis.layers]
    assert norms[0] < 1e-4 * norms[-1]
    finding = diagnosis.findings[0]
    assert (finding.kind, finding.layer) == ("vanishing", 1)
    assert finding.text.startswith("layer 1 of 10 learns ")
    assert "times as fast as the last" in finding.text
    assert finding.text.endswith("use relu with init he, or fewer layers")


@pytest.mark.parametrize(("activation", "init"), [("relu", "he"), ("leaky_relu", "he"), ("tanh", "glorot")])
def test_ten_layers_of_relus_do_not(activation, init):
    model, x, y = deep(activation, init)
    diagnosis = diagnose(model, x, y)
    assert not {finding.kind for finding in diagnosis.findings} & {"vanishing", "exploding"}
    deltas = np.array([facts.delta_norm for facts in diagnosis.layers])
    assert (deltas > 0.1 * deltas[-1]).all()


def test_small_initial_weights_cut_the_first_layers_off():
    """All gradients are equally tiny there, as the activations die on the way up, too; only the deltas tell."""
    model, x, y = deep("relu", "normal")
    diagnosis = diagnose(model, x, y)
    finding = diagnosis.findings[0]
    assert (finding.kind, finding.layer) == ("vanishing", 1)
    assert "layer 1 of 10 is cut off" in finding.text
    assert "begin with init he" in finding.text


def test_large_initial_weights_let_the_gradient_explode():
    model, x, y = deep("relu", "he", times=4.0)
    finding = diagnose(model, x, y).findings[0]
    assert (finding.kind, finding.layer) == ("exploding", 1)
    assert "layer 1 of 10 has grown to 1e5 times the last layer's" in finding.text


def trained(learning_rate: float, **settings: Any) -> tuple[Model, np.ndarray, np.ndarray]:
    """A network that learned which of five random directions a point lies in."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 20))
    y = (x @ rng.normal(size=(20, 5))).argmax(axis=1)
    settings = {"layers": "16-16", "activation": "relu", "init": "he", "schedule": "constant", **settings}
    result = train((x, y), learning_rate=learning_rate, engine="reference", dtype="float64", **settings)
    return result.model, x, y


def test_a_learning_rate_that_is_far_too_high_kills_relus():
    model, x, y = trained(10.0)
    diagnosis = diagnose(model, x, y)
    assert diagnosis.layers[1].dead_share > 0.4
    assert "dead" in [finding.kind for finding in diagnosis.findings]
    hidden = activations_by_hand(model, model.inputs.apply(x, "float64"))[1]
    assert diagnosis.layers[1].dead_units == (hidden == 0).all(axis=0).sum()


def test_a_learning_rate_that_suits_does_not():
    model, x, y = trained(0.1)
    diagnosis = diagnose(model, x, y)
    assert [facts.dead_units for facts in diagnosis.layers] == [0, 0, None]
    assert diagnosis.accuracy > 0.7
    assert diagnosis.findings == ()


def test_where_all_units_of_a_layer_are_dead_the_layers_below_get_no_gradient():
    model, x, y = deep("relu", "he")
    theta = model.parameters.copy()
    for _, b in model.network.layers_of(theta):
        b[:] = 0.1
    model.network.layers_of(theta)[4][1][:] = -1000
    diagnosis = diagnose(with_parameters(model, theta), x, y)
    assert [facts.delta_norm for facts in diagnosis.layers[:5]] == [0] * 5
    assert [finding.kind for finding in diagnosis.findings] == ["vanishing", "dead", "one answer"]
    assert "layer 1 of 10 gets no gradient at all (and so does that of 4 other layers)" in diagnosis.findings[0].text
    assert diagnosis.findings[1].text.startswith("all relu units of layer 5 of 10 are dead")
    assert diagnosis.findings[1].layer == 5


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_huge_weights_saturate(activation, rng):
    network = Network((4, 8, 3), (activation, "softmax"), "cross_entropy")
    theta = network.initial_parameters(0, "glorot", "float64")
    x, y = rng.normal(size=(200, 4)), rng.integers(0, 3, 200)
    healthy = diagnose(Model(network, theta, class_names=("a", "b", "c")), x, y)
    network.layers_of(theta)[0][0][:] *= 100_000
    stuck = diagnose(Model(network, theta, class_names=("a", "b", "c")), x, y)
    assert healthy.layers[0].saturated_share < 0.2
    assert stuck.layers[0].saturated_share > 0.99
    assert stuck.layers[0].gradient_norm < 0.01 * healthy.layers[0].gradient_norm
    assert "saturated" not in [finding.kind for finding in healthy.findings]
    found = [finding for finding in stuck.findings if finding.kind == "saturated"]
    assert found[0].layer == 1
    assert "of the activations of layer 1 of 2 are saturated" in found[0].text


def test_outputs_that_are_stuck_get_no_gradient():
    """A squared error on sigmoids that say 1 to everything: wrong, and deaf to it."""
    network = Network((1, 2), ("sigmoid",), "squared_error")
    model = Model(network, np.array([0.0, 0, 800, 800]), class_names=("a", "b"))
    [finding] = [found for found in diagnose(model, [[1.0], [2.0]], [0, 1]).findings if found.kind == "vanishing"]
    assert "no layer gets any gradient although the mean cost is 0.5" in finding.text


def test_a_network_without_an_error_needs_no_gradient():
    line = Model(Network((1, 1), ("identity",), "squared_error"), np.array([2.0, 1.0]))
    assert diagnose(line, [[1.0], [2.0]], [[3.0], [5.0]]).findings == ()


# --- thresholds -------------------------------------------------------------------------------------------------------


def layer(number: int = 1, activation: str = "relu", **changes: Any) -> LayerFacts:
    values: dict[str, Any] = {
        "layer": number, "n_inputs": 10, "n_units": 20, "activation": activation, "gradient_norm": 1.0,
        "gradient_ratio": 1.0, "delta_norm": 1.0, "saturated_share": None, "saturated_units": None, "dead_share": None,
        "dead_units": None, "mean": 0.0, "deviation": 1.0, "weight_norm": 1.0, "largest_weight": 1.0,
    }  # fmt: skip
    return LayerFacts(**{**values, **changes})


@pytest.mark.parametrize(
    ("deltas", "kinds"),
    [
        ((1.0, 1.0), []),
        ((1.1e-3, 1.0), []),
        ((0.9e-3, 1.0), ["vanishing"]),
        ((0.9e-3, 1e-3), []),  # small everywhere is no trouble of one layer
        ((999.0, 1.0), []),
        ((1001.0, 1.0), ["exploding"]),
        ((1e-4, 1e5, 1.0), ["vanishing", "exploding"]),
        ((np.inf, 1.0), ["exploding"]),
        ((1e-9,), []),
        ((0.0, 0.0), ["vanishing"]),
    ],
)
def test_when_gradients_vanish_or_explode(deltas, kinds):
    layers = [layer(number, delta_norm=value) for number, value in enumerate(deltas, start=1)]
    assert [finding.kind for finding in of_gradients(layers, loss=1.0)] == kinds


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({"dead_units": 1, "dead_share": 0.05}, []),
        ({"dead_units": 2, "dead_share": 0.1}, ["dead"]),
        ({"saturated_share": 0.94, "saturated_units": 1}, []),
        ({"saturated_share": 0.95, "saturated_units": 0}, ["saturated"]),
        ({"saturated_share": 0.3, "saturated_units": 2}, ["saturated"]),
    ],
)
def test_when_units_are_stuck(changes, kinds):
    assert [finding.kind for finding in of_units([layer(**changes), layer(2)], 50)] == kinds
    assert list(of_units([layer(), layer(2, **changes)], 50)) == []  # the output layer may be as it likes


def test_few_samples_say_little_about_units_and_answers():
    dead, stuck = layer(dead_units=9, dead_share=0.45), layer(saturated_share=0.5, saturated_units=9)
    assert list(of_units([dead, stuck, layer(3)], 49)) == []
    assert list(of_answers(np.array([[25, 0], [24, 0]]), ("a", "b"))) == []
    assert len(list(of_units([layer(saturated_share=0.99, saturated_units=9), layer(2)], 3))) == 1


def test_one_finding_names_all_stuck_layers():
    layers = [layer(number, dead_units=4, dead_share=0.2) for number in (1, 2)] + [layer(3)]
    [finding] = of_units(layers, 1000)
    assert finding.text.startswith("8 of the 40 relu units of layers 1, 2 of 3 are dead: positive on none of the 1,000")
    assert finding.layer == 1


def test_one_answer_to_everything():
    assert [found.kind for found in of_answers(np.array([[0, 30], [0, 30]]), ("a", "b"))] == ["one answer"]
    assert list(of_answers(np.array([[0, 30], [1, 30]]), ("a", "b"))) == []
    assert list(of_answers(np.array([[0, 0], [0, 60]]), ("a", "b"))) == []  # there is only one class to be seen


def test_when_a_network_is_sure_about_noise():
    noise = NoiseAnswers(n_samples=100, seed=0, counts=(30, 70), probability=0.8, sure_share=0.5)
    [finding] = of_noise(noise, ("cat", "dog"))
    assert "50 % of its answers to 100 samples of noise" in finding.text
    assert "70 % are 'dog'" in finding.text
    assert list(of_noise(dataclasses.replace(noise, sure_share=0.49), ("cat", "dog"))) == []


# --- noise ------------------------------------------------------------------------------------------------------------


def above(threshold: float, **parts: Any) -> Model:
    """Says yes, and is sure of it, where the mean of its two inputs is above a threshold."""
    network = Network((2, 1), ("sigmoid",), "binary_cross_entropy")
    return Model(network, np.array([1e4, 1e4, -2e4 * threshold]), class_names=("no", "yes"), **parts)


def test_noise_comes_from_the_range_of_each_feature():
    x = np.array([[10.0, -1.0], [20.0, -2.0]])  # the mean of two such numbers lies between 4 and 9.5, about 6.75
    assert answers_to_noise(above(3.99), x).counts == (0, 1000)
    assert answers_to_noise(above(9.51), x).counts == (1000, 0)
    half = answers_to_noise(above(6.75), x).counts
    assert 430 < half[0] < 570
    assert answers_to_noise(above(4.5), x).counts[0] > 3
    assert answers_to_noise(above(9.0), x).counts[1] > 3


def test_noise_images_have_one_range_for_all_pixels():
    x = np.array([[0, 100], [0, 200]], np.uint8)  # the first pixel is always 0
    counts = answers_to_noise(above(100.0, image_shape=(1, 2)), x).counts
    assert 430 < counts[0] < 570
    assert answers_to_noise(above(100.0), x).counts[1] < 10


def test_noise_of_one_seed_is_always_the_same():
    x = np.array([[0.0, 0.0], [1.0, 1.0]])
    found = answers_to_noise(above(0.5), x, 1000, seed=3)
    assert found == answers_to_noise(above(0.5), x, 1000, seed=3)
    assert found.counts != answers_to_noise(above(0.5), x, 1000, seed=4).counts
    counts = [np.array(answers_to_noise(above(0.5), x, n, seed=3).counts) for n in (1, 99, 100, 101, 250)]
    for few, many in pairwise(counts):  # more samples are further samples
        assert (few <= many).all()
    assert [sum(each) for each in counts] == [1, 99, 100, 101, 250]
    assert (answers_to_noise(above(0.5), x, 1000, seed=3).counts != 10 * counts[2]).any()


def test_how_sure_it_is_of_noise():
    network = Network((3, 2), ("softmax",), "cross_entropy")
    x = np.array([[0.0, 0, 0], [1, 1, 1]])
    for odds, sure in ((8.9, 0), (9.1, 1)):  # 0.899 and 0.901
        model = Model(network, np.array([0.0] * 6 + [np.log(odds), 0]), class_names=("a", "b"))
        noise = answers_to_noise(model, x, n_samples=7)
        assert (noise.counts, noise.sure_share) == ((7, 0), sure)
        assert noise.probability == pytest.approx(odds / (odds + 1))
    assert [finding.kind for finding in diagnose(model, x, [0, 0]).findings] == ["noise"]


@pytest.mark.parametrize(
    ("activation", "cost", "n_outputs"),
    [("softmax", "cross_entropy", 3), ("sigmoid", "squared_error", 3), ("tanh", "squared_error", 3),
     ("identity", "squared_error", 3), ("sigmoid", "binary_cross_entropy", 1), ("tanh", "squared_error", 1)],
)  # fmt: skip
def test_probabilities_are_shares_of_one(activation, cost, n_outputs, rng):
    network = Network((2, n_outputs), (activation,), cost)
    model = Model(network, rng.normal(size=network.n_parameters), class_names=tuple("abc"[: max(n_outputs, 2)]))
    outputs = model.outputs(rng.normal(size=(20, 2)))
    np.testing.assert_allclose(probabilities(model, outputs).sum(axis=1), 1.0)
    assert (probabilities(model, -np.ones((1, n_outputs))).sum(axis=1) > 0.999).all() or activation == "softmax"


# --- mistakes ---------------------------------------------------------------------------------------------------------


def mirror() -> Model:
    """Its probabilities are the softmax of its inputs."""
    network = Network((3, 3), ("softmax",), "cross_entropy")
    return Model(network, np.concatenate([np.eye(3).ravel(), np.zeros(3)]), class_names=("a", "b", "c"))


def test_the_worst_mistakes_come_first():
    x = np.log([[8.0, 1, 1], [1, 8, 1], [6, 3, 1], [1, 1, 8], [6, 3, 1]])
    y = np.array([2, 1, 1, 2, 1])
    found = worst_samples(mirror(), x, y, top=4)
    assert [sample.index for sample in found] == [0, 2, 4, 1]  # equals in their order, and one that is right
    assert [(sample.target, sample.answer) for sample in found] == [(2, 0), (1, 0), (1, 0), (1, 1)]
    np.testing.assert_allclose([sample.probability for sample in found], [0.8, 0.6, 0.6, 0.8])
    np.testing.assert_allclose([sample.target_probability for sample in found], [0.1, 0.3, 0.3, 0.8])
    np.testing.assert_allclose([sample.cost for sample in found], -np.log([0.1, 0.3, 0.3, 0.8]))
    assert len(worst_samples(mirror(), x, y)) == 5


def test_the_largest_errors_of_values_are_in_their_own_units():
    network = Network((1, 2), ("identity",), "squared_error")
    model = Model(network, np.array([1.0, 2, 0, 0]), targets=Scaling(np.array([100.0, 0]), np.array([0.1, 1.0])))
    x, y = np.array([[1.0], [2.0]]), np.array([[110.0, 2.0], [130.0, 1.0]])  # it says (110, 2) and (120, 4)
    first, second = worst_samples(model, x, y)
    assert (first.index, first.target, first.answer) == (1, (130, 1), (120, 4))
    assert (first.cost, second.cost) == (5, 0)  # (1^2 + 3^2) / 2, as the network sees them
    assert first.probability is first.target_probability is None
    diagnosis = diagnose(model, x, y)
    assert (diagnosis.accuracy, diagnosis.confusions, diagnosis.noise) == (None, (), None)
    assert diagnosis.loss == 2.5


def test_targets_of_one_value_may_be_a_vector():
    line = Model(Network((1, 1), ("identity",), "squared_error"), np.array([2.0, 1.0]))
    found = worst_samples(line, [[1.0], [2.0]], [3.0, 9.0], top=1)
    assert (found[0].index, found[0].target, found[0].answer) == (1, (9,), (5,))


def test_confusions_by_hand():
    x = 5 * np.eye(3)[[0, 0, 0, 1, 1, 1, 1, 2]]  # the answers
    y = np.array([0, 1, 1, 0, 2, 2, 1, 2])
    found = confusions(mirror(), x, y)
    assert [(each.target, each.answer, each.count, each.share) for each in found] == [
        (1, 0, 2, 2 / 3),
        (2, 1, 2, 2 / 3),
        (0, 1, 1, 1 / 2),
    ]
    assert confusions(mirror(), x, y, top=1) == found[:1]
    assert confusions(mirror(), x, [0, 0, 0, 1, 1, 1, 1, 2]) == ()


# --- important parameters ---------------------------------------------------------------------------------------------


def test_important_parameters_that_were_planted():
    """Only input 2 is lit and only hidden unit 1 lives, so the gradient has just five entries, worked out by hand.

    z = 3 * 2 - 1 = 5, a = (0, 5), output 4 * 5 + 1 = 21, target 20: delta 1, and 4 at the hidden unit.
    """
    network = Network((3, 2, 1), ("relu", "identity"), "squared_error")
    W1, b1, W2, b2 = np.array([[7.0, 7], [7, 7], [-7, 2]]), [-1.0, -1], [9.0, 4], [1.0]
    model = Model(network, np.concatenate([W1.ravel(), b1, W2, b2]))
    found = important_parameters(model, [[0.0, 0.0, 3.0]], [[20.0]])
    assert [(each.layer, each.from_unit, each.to_unit, each.value, each.gradient) for each in found] == [
        (1, 2, 1, 2, 12),
        (2, 1, 0, 4, 5),
        (1, None, 1, -1, 4),
        (2, None, 0, 1, 1),
    ]
    assert important_parameters(model, [[0.0, 0.0, 3.0]], [[20.0]], top=2) == found[:2]
    np.testing.assert_array_equal(saliency(model, [[0.0, 0.0, 3.0]], [[20.0]]), [28, 28, 8])


@pytest.mark.parametrize("name", OUTPUTS)
def test_places_of_all_parameters(name):
    model, x, y = case(name)
    gradient = slopes_of_parameters(model, x, y)
    layers, slopes_by_layer = model.network.layers_of(model.parameters), model.network.layers_of(gradient)
    found = important_parameters(model, x, y, top=10_000)
    sizes = [abs(each.gradient) for each in found]
    assert sizes == sorted(sizes, reverse=True)
    assert len({(each.layer, each.from_unit, each.to_unit) for each in found}) == len(found)
    assert len(found) == np.count_nonzero(np.abs(gradient) > 1e-8)
    for each in found:
        (W, b), (dW, db) = layers[each.layer - 1], slopes_by_layer[each.layer - 1]
        place = (b, db) if each.from_unit is None else (W[each.from_unit], dW[each.from_unit])
        assert each.value == place[0][each.to_unit]
        assert each.gradient == pytest.approx(place[1][each.to_unit], rel=1e-5, abs=1e-9)


# --- the whole, and what is refused -----------------------------------------------------------------------------------


def test_diagnose_is_the_sum_of_its_parts():
    model, x, y = case("softmax")
    whole = diagnose(model, x, y, top=3, seed=7)
    assert (whole.n_samples, whole.loss, whole.accuracy) == (N, *model.evaluate(x, y))
    assert whole.layers == layer_facts(model, x, y)
    assert whole.parameters == important_parameters(model, x, y, 3)
    assert whole.worst == worst_samples(model, x, y, 3)
    assert whole.confusions == confusions(model, x, y, 3)
    assert whole.noise == answers_to_noise(model, x, seed=7)
    np.testing.assert_array_equal(whole.saliency, saliency(model, x, y))


@pytest.mark.parametrize("name", ["softmax", "values"])
def test_a_diagnosis_is_ready_for_json(name, capsys):
    model, x, y = case(name)
    whole = diagnose(model, x, y)
    print_json(whole.as_dict())
    read = json.loads(capsys.readouterr().out)
    assert read["layers"][0] == dataclasses.asdict(whole.layers[0])
    assert read["saliency"] == whole.saliency.tolist()
    assert read["worst"][0]["index"] == whole.worst[0].index
    assert set(read) == {item.name for item in dataclasses.fields(whole)}


def test_images_may_have_two_axes():
    network = Network((6, 2), ("softmax",), "cross_entropy")
    model = Model(network, np.arange(14.0) / 10, class_names=("a", "b"), image_shape=(2, 3))
    x, y = np.arange(24, dtype=np.uint8).reshape(4, 2, 3), [0, 1, 1, 0]
    assert diagnose(model, x, y).as_dict()["layers"] == diagnose(model, x.reshape(4, 6), y).as_dict()["layers"]
    assert saliency(model, x, y).shape == (6,)
    assert worst_samples(model, x, y) == worst_samples(model, x.reshape(4, 6), y)


def test_nothing_is_changed():
    model, x, y = case("softmax")
    before = (model.parameters.copy(), x.copy(), y.copy())
    diagnose(model, x, y)
    for old, new in zip(before, (model.parameters, x, y), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("function", [diagnose, layer_facts, important_parameters, saliency, worst_samples, confusions])
def test_what_is_refused(function):
    model, x, y = case("softmax")
    for bad_x, bad_y, words in (
        (x[:, :3], y, r"x must have shape \(n, 4\), got \(11, 3\)"),
        (x, y[:5], "x has 11 samples and y has shape"),
        (x[:0], y[:0], "there are no samples"),
        (x, y + 1, "labels hold the class 3"),
        (np.full_like(x, np.nan), y, "must be finite"),
    ):
        with pytest.raises(UsageError, match=words):
            function(model, bad_x, bad_y)
    if function not in (layer_facts, saliency):
        with pytest.raises(UsageError, match="top must be at least 1, got 0"):
            function(model, x, y, top=0)


def test_step_units_have_no_gradient():
    both = Model(Network((2, 1), ("step",), "squared_error"), np.array([1.0, 1.0, -1.5]), class_names=("no", "yes"))
    with pytest.raises(UsageError, match="the network 2-1 has step units, which have no gradient"):
        diagnose(both, [[0, 1], [1, 1]], [0, 1])
    assert confusions(both, [[0, 1], [1, 1]], [0, 1]) == ()
    assert sum(answers_to_noise(both, [[0, 0], [1, 1]], 50).counts) == 50


def test_values_are_no_classes():
    model, x, y = case("values")
    with pytest.raises(UsageError, match="answers with values, not classes"):
        confusions(model, x, y)
    with pytest.raises(UsageError, match="answers with values, not classes"):
        answers_to_noise(model, x)


def test_noise_needs_samples():
    with pytest.raises(UsageError, match="at least 1 is needed"):
        answers_to_noise(mirror(), np.empty((0, 3)))
    with pytest.raises(UsageError, match="at least 1 is needed"):
        answers_to_noise(mirror(), np.ones((1, 3)), n_samples=0)
    with pytest.raises(UsageError, match="x must have shape"):
        answers_to_noise(mirror(), np.ones((1, 4)))


def test_real_images(mnist_folder):
    """One epoch on real digits: the totals of two ways of counting agree, and a gradient with its finite difference."""
    from fastbp.data import load_dataset

    data = load_dataset(mnist_folder)
    model = train(data, epochs=1).model
    model = with_parameters(model, model.parameters.astype(np.float64))
    whole = diagnose(model, data.x_test, data.y_test, top=90)
    wrong = int((model.predict(data.x_test) != data.y_test).sum())
    assert sum(each.count for each in whole.confusions) == wrong == round((1 - whole.accuracy) * 10_000)
    assert whole.findings == ()
    for each in whole.parameters[:2]:
        theta = model.parameters.copy()
        W, b = model.network.layers_of(theta)[each.layer - 1]
        row = b if each.from_unit is None else W[each.from_unit]
        costs = []
        for value in (each.value + 1e-4, each.value - 1e-4):
            row[each.to_unit] = value
            costs.append(with_parameters(model, theta).evaluate(data.x_test, data.y_test)[0])
        assert (costs[0] - costs[1]) / 2e-4 == pytest.approx(each.gradient, rel=1e-4)
