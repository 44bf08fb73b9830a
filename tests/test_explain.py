"""`fastbp explain`: the worked example to its published digits, and every printed equation worked out again.

A reader of the report could check each line with a pocket calculator. These tests do: they know the given numbers
(inputs, targets, weights, biases), evaluate both the formula in symbols and the one in numbers, take the result along
for the lines that follow, and compare what they end with with the derivatives of a computational graph.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from click.testing import CliRunner

from fastbp import Model, Network, load_dataset, train
from fastbp.__main__ import _explain
from fastbp.cli import cli
from fastbp.explaining import counts_up_to
from fastbp.formulas import equation, number
from fastbp.graph import reverse_mode
from fastbp.network_graph import cost_graph
from fastbp.one_step import one_step
from fastbp.preprocessing import Scaling

HIDDEN = ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "maxout")
OUTPUTS = [(activation, cost) for activation in HIDDEN[:5] for cost in ("squared_error", "mean_squared_error")]
OUTPUTS += [("sigmoid", "binary_cross_entropy"), ("softmax", "cross_entropy"), ("exponential", "poisson")]


@dataclasses.dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Runs `fastbp explain` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASTBP_DATA", raising=False)

    def invoke(*args: object) -> Outcome:
        capsys.readouterr()
        result = CliRunner().invoke(cli, ["explain", *map(str, args)], standalone_mode=False)
        code = 0 if result.exception is None else _explain(result.exception)
        return Outcome(code, result.stdout, result.stderr + capsys.readouterr().err)

    return invoke


# --- the worked example -----------------------------------------------------------------------------------------------

WORKED_LINES = """
z_h1 = w1 x1 + w2 x2 + b_h1 = 0.15 * 0.05 + 0.2 * 0.1 + 0.35 = 0.3775
a_h1 = f(0.3775) = 0.5932699921
a_h2 = f(0.3925) = 0.5968843783
= 0.4 * 0.5932699921 + 0.45 * 0.5968843783 + 0.6 = 1.1059059671
a_o1 = f(1.1059059671) = 0.7513650696
a_o2 = f(1.2249214041) = 0.7729284653
J_o1 = 1/2 (a_o1 - y1)^2 = 1/2 (0.7513650696 - 0.01)^2 = 0.2748110832
J_o2 = 1/2 (a_o2 - y2)^2 = 1/2 (0.7729284653 - 0.99)^2 = 0.0235600256
J    = 0.2748110832 + 0.0235600256 = 0.2983711088
dJ/da_o1 = a_o1 - y1 = 0.7513650696 - 0.01 = 0.7413650696
f'(z_o1) = a_o1 (1 - a_o1) = 0.7513650696 * (1 - 0.7513650696) = 0.1868156018
delta_o1 = dJ/da_o1 * f'(z_o1) = 0.7413650696 * 0.1868156018 = 0.1384985616
dJ/da_h1 = w5 delta_o1 + w7 delta_o2
= 0.4 * 0.1384985616 + 0.5 * (-0.0380982365) = 0.0363503064
delta_h1 = dJ/da_h1 * f'(z_h1) = 0.0363503064 * 0.2413007086 = 0.0087713547
dJ/dw1   = x1 delta_h1 = 0.05 * 0.0087713547 = 0.0004385677
dJ/dw5   = a_h1 delta_o1 = 0.5932699921 * 0.1384985616    = 0.0821670406
w1 <- 0.15 - 0.5 * 0.0004385677    = 0.1497807161
w2 <- 0.2 - 0.5 * 0.0008771355     = 0.1995614323
w3 <- 0.25 - 0.5 * 0.0004977127    = 0.2497511436
w4 <- 0.3 - 0.5 * 0.0009954255     = 0.2995022873
w5 <- 0.4 - 0.5 * 0.0821670406     = 0.3589164797
w6 <- 0.45 - 0.5 * 0.0826676278    = 0.4086661861
w7 <- 0.5 - 0.5 * (-0.0226025405)  = 0.5113012702
w8 <- 0.55 - 0.5 * (-0.0227402422) = 0.5613701211
J    = 0.2910277737, was 0.2983711088
10,000  3.510187783e-05  0.0159136204  0.9840642735
""".strip().splitlines()


def test_the_worked_example_line_by_line(run):
    """The figures of a published example, in float64; some were printed there with nine digits, which agree."""
    outcome = run("--steps", 10_000)
    assert (outcome.code, outcome.err) == (0, "")
    lines = [line.strip() for line in outcome.out.splitlines()]
    places = [lines.index(line) for line in WORKED_LINES]
    assert places == sorted(places)
    assert "<- 0.35" not in outcome.out
    assert "biases stay" in outcome.out


def test_the_worked_example_as_json(run):
    found = json.loads(run("--json", "--steps", 10_000).out)
    hidden, output = found["layers"]
    close = pytest.approx
    assert (hidden["weights"], hidden["biases"]) == ([[0.15, 0.25], [0.2, 0.3]], [0.35, 0.35])
    assert (output["weights"], output["biases"]) == ([[0.4, 0.5], [0.45, 0.55]], [0.6, 0.6])
    assert hidden["z"] == close([0.3775, 0.3925], abs=1e-12)
    assert hidden["a"] == close([0.5932699921, 0.5968843783], abs=1e-9)
    assert output["a"] == close([0.7513650696, 0.7729284653], abs=1e-9)
    assert found["J"] == close(0.2983711088, abs=1e-9)
    assert found["J_of_outputs"] == close([0.274811083, 0.023560026], abs=1e-9)
    assert output["delta"][0] == close(0.138498562, abs=1e-9)
    assert (hidden["dW"][0][0], output["dW"][0][0]) == close((0.0004385677, 0.0821670406), abs=1e-9)
    assert hidden["db"] == hidden["delta"]
    after = np.array(hidden["weights_after"]).T.ravel(), np.array(output["weights_after"]).T.ravel()
    assert after[0] == close([0.1497807161, 0.1995614323, 0.2497511436, 0.2995022873], abs=1e-9)
    assert after[1] == close([0.3589164797, 0.4086661861, 0.5113012702, 0.5613701211], abs=1e-9)
    assert (hidden["biases_after"], output["biases_after"]) == ([0.35, 0.35], [0.6, 0.6])
    assert found["J_after"] == close(0.2910277737, abs=1e-9)
    assert [row["steps"] for row in found["steps"]] == [1, 10, 100, 1000, 10_000]
    assert found["steps"][0]["J"] == close(found["J_after"], rel=1e-14)
    assert found["steps"][0]["outputs"] == close(found["outputs_after"], rel=1e-14)
    assert found["steps"][-1]["J"] == close(3.510187783e-05, rel=1e-9)
    assert found["steps"][-1]["outputs"] == close([0.0159136204, 0.9840642735], abs=1e-9)
    graph = found["graph"]
    assert (graph["edges"], graph["reverse_visits"], graph["forward_visits"]) == (40, 40, 480)
    assert max(graph["reverse_difference"], graph["forward_difference"]) < 1e-15


def test_the_biases_move_on_request(run):
    found = json.loads(run("--json", "--update-biases").out)
    for layer in found["layers"]:
        moved = np.array(layer["biases"]) - 0.5 * np.array(layer["delta"])
        assert layer["biases_after"] == pytest.approx(moved, rel=1e-14)
    assert found["J_after"] < 0.2910277737
    text = run("--update-biases").out
    assert re.search(r"^  b_h1 <- 0.35 - 0.5 \* 0.0087713547 += 0.3456143227$", text, re.MULTILINE)
    assert "biases stay" not in text


def test_a_step_that_goes_too_far_is_called_so(run):
    text = " ".join(run("--learning-rate", 100, "--input", "1,1", "--target", "0.7,0.7").out.split())
    assert "J rises by" in text
    assert "a smaller --learning-rate" in text


# --- every equation, worked out again ---------------------------------------------------------------------------------


def equations(text: str) -> list[tuple[str, list[str]]]:
    """(name, sides) of every equation in sections 1 to 5, with those on several lines put together."""
    body = text[text.index("1. Forward") : text.index("6. Forward again")]
    joined: list[str] = []
    for line in body.splitlines():
        if re.match(r" {4,}[=+] ", line):
            joined[-1] += " " + line.strip()
        else:
            joined.append(line.strip())
    found = []
    for line in joined:
        match = re.match(r"([\w/]+|f'\(z_\w+\))\s+(=|<-) (.*)", line)
        if match and not line.startswith(("J = sum", "w <-")) and "|" not in line and "[" not in line:
            found.append((match[1] + ("'" if match[2] == "<-" else ""), re.split(r"\s+= ", match[3])))
    return found


def as_python(side: str) -> str:
    """w1 x1 + (a_h1 - y1)^2 as an expression for Python."""
    side = re.sub(r"f'\(z_(\w+)\)", r"slope_\1", side.strip()).replace("dJ/d", "dJd").replace("^", "**")
    if " if " in side:
        return side.replace(",", "")
    side = re.sub(r"ln ([\w.]+)", r"ln(\1)", side)
    return re.sub(r"(?<=[\w)]) +(?=[\w(])", " * ", side)


F = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + math.exp(-z)),
    "tanh": math.tanh,
    "relu": lambda z: max(0.0, z),
    "leaky_relu": lambda z: z if z > 0 else 0.01 * z,
    "step": lambda z: 1.0 if z > 0 else 0.0,
    "exponential": math.exp,
}


def worked_out(text: str, facts: dict) -> dict[str, float]:
    """The value of every name in a report, from its equations alone; fails where sides of an equation differ."""
    known: dict[str, float] = {}
    weights = [np.array(layer["weights"]).T.ravel() for layer in facts["layers"]]
    known |= {f"w{k}": float(w) for k, w in enumerate(np.concatenate(weights), start=1)}
    known |= {f"x{k}": x for k, x in enumerate(facts["x"], start=1)}
    known |= {f"y{k}": y for k, y in enumerate(facts["y"], start=1)}
    activation_of = {}
    n_hidden = 0
    for layer in facts["layers"]:
        is_last = layer is facts["layers"][-1]
        for j, bias in enumerate(layer["biases"]):
            piece, number = divmod(j, len(layer["a"]))
            unit = f"o{number + 1}" if is_last else f"h{n_hidden + number + 1}"
            activation_of[unit] = layer["activation"]
            known[f"b_{unit}" + f"p{piece}" * (layer["activation"] == "maxout")] = bias
        n_hidden += len(layer["a"])
    for name, sides in equations(text):
        key = as_python(name.rstrip("'")) + "_after" * name.endswith("'")
        values = []
        for side in sides:
            if re.match(r"f\([^z]", side):
                values.append(F[activation_of[name.removeprefix("a_")]](float(side[2:-1])))
            elif "sum_j" not in side:
                names = {**known, "exp": math.exp, "max": max, "ln": lambda z: math.log(z) if z > 0 else 0.0}
                values.append(float(eval(as_python(side), {"__builtins__": {}}, names)))
        assert values == pytest.approx([values[-1]] * len(values), rel=1e-6, abs=1e-8), (name, sides)
        assert key not in known or known[key] == pytest.approx(values[-1]), name
        known[key] = values[-1]
    return known


def check_report(run, *args: object) -> dict:
    """Run a command for people and for programs, and check the one against the other and against the graph."""
    outcome = run(*args)
    assert (outcome.code, outcome.err) == (0, "")
    assert max(map(len, outcome.out.splitlines())) <= 80
    facts = json.loads(run(*args, "--json").out)
    known = worked_out(outcome.out, facts)

    layers = facts["layers"]
    network = Network(facts["sizes"], [layer["activation"] for layer in layers], facts["cost"])
    theta = np.concatenate([np.append(np.ravel(layer["weights"]), layer["biases"]) for layer in layers])
    graph = cost_graph(network, theta.tolist(), facts["x"], facts["y"])
    sweep = reverse_mode(graph.cost)
    expected = {"J": graph.cost.value} if len(layers[-1]["a"]) > 1 else {"J_o1": graph.cost.value}
    n_weights, n_hidden = 0, 0
    for layer, ((W, b), (n_in, n_out)) in enumerate(
        zip(network.layers_of(np.array(graph.theta)), pairwise(network.sizes), strict=True)
    ):
        letter, before = ("o", 0) if layer == len(layers) - 1 else ("h", n_hidden)
        for j in range(n_out):
            expected[f"a_{letter}{before + j + 1}"] = graph.a[layer][j].value
        for j in range(len(b)):
            unit = f"{letter}{before + j % n_out + 1}" + f"p{j // n_out}" * (layers[layer]["activation"] == "maxout")
            expected[f"z_{unit}"] = graph.z[layer][j].value
            expected[f"delta_{unit}"] = sweep[graph.z[layer][j]]
            expected[f"dJdb_{unit}"] = sweep[b[j]]
            for k in range(n_in):
                w = n_weights + j * n_in + k + 1
                expected[f"dJdw{w}"] = sweep[W[k, j]]
                expected[f"w{w}_after"] = W[k, j].value - facts["learning_rate"] * sweep[W[k, j]]
            if facts["update_biases"]:
                expected[f"b_{unit}_after"] = b[j].value - facts["learning_rate"] * sweep[b[j]]
        n_hidden += n_out
        n_weights += W.size
    assert expected == pytest.approx({name: known[name] for name in expected}, rel=1e-5, abs=1e-8)
    assert facts["J"] == pytest.approx(graph.cost.value, rel=1e-13)
    for layer, found in enumerate(layers):
        assert found["z"] == pytest.approx([unit.value for unit in graph.z[layer]], rel=1e-12, abs=1e-14)
        assert found["delta"] == pytest.approx([sweep[unit] for unit in graph.z[layer]], rel=1e-12, abs=1e-14)
    return facts


def test_the_worked_example_adds_up(run):
    check_report(run)
    check_report(run, "--update-biases", "--learning-rate", 3)


@pytest.mark.parametrize(("output", "cost"), OUTPUTS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_every_activation_and_cost_adds_up(run, hidden, output, cost):
    names = ("--activation", hidden, "--output-activation", output, "--cost", cost)
    facts = check_report(run, "--layers", "2-3-2", "--seed", 4, *names, "--input", "-0.7,0.4")
    assert [layer["activation"] for layer in facts["layers"]] == [hidden, output]
    assert facts["cost"] == cost
    assert facts["update_biases"] is True


@pytest.mark.parametrize("layers", ["1-1", "3-2", "1-5-1", "2-3-4-2", "2-1-1-1-1-2", "4-12-2", "1-33-1"])
def test_every_shape_adds_up(run, layers):
    sizes = [int(size) for size in layers.split("-")]
    x = ",".join(f"{0.3 - 0.45 * k}" for k in range(sizes[0]))
    y = ",".join(f"{0.1 + 0.2 * k}" for k in range(sizes[-1]))
    facts = check_report(run, "--layers", layers, "--input", x, "--target", y, "--activation", "tanh")
    assert facts["sizes"] == sizes


@pytest.mark.parametrize("hidden", ["relu,tanh", "leaky_relu,relu", "maxout,tanh", "sigmoid,maxout"])
def test_an_activation_for_each_layer(run, hidden):
    args = ("--layers", "2-3-3-2", "--activation", hidden, "--input", "-1,0.5", "--cost", "cross_entropy")
    facts = check_report(run, *args)
    assert [layer["activation"] for layer in facts["layers"]] == [*hidden.split(","), "softmax"]


@pytest.mark.parametrize("target", ["0,1", "1,0", "0,0", "1,1"])
def test_the_perceptron_rule_adds_up(run, target):
    names = ("--output-activation", "step", "--cost", "perceptron")
    check_report(run, "--layers", "3-2", *names, "--input", "0.7,-1.1,0.4", "--target", target)


def test_what_becomes_of_the_pieces_of_maxout_units(run):
    """w1 and w2 lead from x1 to the pieces 0 and 1 of h1."""
    facts = json.loads(run("--layers", "1-1-1", "--activation", "maxout", "--input=-2", "--target=1", "--json").out)
    first = facts["layers"][0]
    (w1, w2), (delta_1, delta_2) = first["weights"][0], first["delta"]
    assert first["z"] == pytest.approx([-2 * w1, -2 * w2])
    assert first["a"] == [max(first["z"])]
    assert (delta_1 == 0) == (w1 > w2)  # at x = -2 the smaller weight wins
    assert (delta_2 == 0) == (w1 < w2)


def test_a_unit_that_is_off_is_pointed_out(run):
    args = ("--layers", "1-1-1", "--activation", "relu", "--input", 1, "--target", 1)
    off = [seed for seed in range(9) if "sends nothing back" in run(*args, "--seed", seed).out]
    dead = [seed for seed in range(9) if json.loads(run(*args, "--seed", seed, "--json").out)["layers"][0]["a"] == [0]]
    assert off == dead
    assert 0 < len(dead) < 9


def test_large_and_small_numbers_stay_on_the_page(run):
    args = ("--layers", "2-3-2", "--activation", "identity", "--output-activation", "identity")
    check_report(run, *args, "--input=-123456.789,0.000012345", "--target=-99999.5,3e-7", "--learning-rate", 1.2345e-9)


def test_saturated_cross_entropies_stay_finite(run):
    for cost in ("cross_entropy", "binary_cross_entropy"):
        args = ("--layers", "2-2", "--input", "3000,-4000", "--cost", cost, "--target", "1,0")
        found = json.loads(run(*args, "--json").out)
        assert found["J"] > 100 or found["J"] == 0
        assert "inf" not in run(*args).out.replace("into", "")


def test_an_endless_step_is_null_in_json(run):
    args = ("--learning-rate", 1e300, "--activation", "identity", "--output-activation", "identity")
    found = json.loads(run(*args, "--json", "--steps", 20).out)
    assert found["J_after"] is None
    assert found["steps"][-1]["J"] is None
    assert run(*args).code == 0


# --- samples from data and weights from models ------------------------------------------------------------------------

FLOWERS = "length,width,kind\n" + "".join(
    f"{4 + k % 3 + 0.1 * (k % 5):.1f},{1 + k % 2 + 0.2 * (k % 3):.1f},{('rose', 'tulip', 'lily')[k % 3]}\n"
    for k in range(20)
)
LINE = "x,y\n" + "".join(f"{k},{2.5 * k + 100}\n" for k in range(20))


@pytest.fixture
def flowers(tmp_path):
    (tmp_path / "flowers.csv").write_text(FLOWERS)
    return ("--data", "flowers.csv", "--label", "kind")


def test_a_sample_of_a_dataset_as_training_would_begin(run, flowers, tmp_path):
    """Scaling, start weights and coding are those of `train` with the same seed, before its first step."""
    facts = check_report(run, *flowers, "--index", 4, "--layers", 2, "--seed", 6, "--activation", "tanh")
    start = train(tmp_path / "flowers.csv", layers="2", seed=6, activation="tanh", epochs=0, engine="reference").model
    weights = [W for W, _ in start.network.layers_of(start.parameters)]
    for layer, W in zip(facts["layers"], weights, strict=True):
        np.testing.assert_allclose(layer["weights"], W, rtol=1e-6)
    dataset = load_dataset(tmp_path / "flowers.csv", label="kind", seed=6)
    np.testing.assert_allclose(facts["x"], start.inputs.apply(dataset.x_train[4:5], "float64")[0], rtol=1e-12)
    assert facts["y"] == [float(name == dataset.class_names[dataset.y_train[4]]) for name in dataset.class_names]
    assert (facts["cost"], facts["layers"][1]["activation"]) == ("cross_entropy", "softmax")
    text = run(*flowers, "--index", 4, "--layers", 2, "--seed", 6).out
    assert f"class {dataset.class_names[dataset.y_train[4]]}" in text
    assert f"as it came     {number(dataset.x_train[4, 0])}, {number(dataset.x_train[4, 1])}" in text
    assert "o1 lily, o2 rose, o3 tulip" in text


def test_a_dataset_of_values(run, tmp_path):
    (tmp_path / "line.csv").write_text(LINE)
    facts = check_report(run, "--data", "line.csv", "--cost", "squared_error", "--layers", 2, "--index", 3)
    assert facts["layers"][-1]["activation"] == "identity"
    assert facts["x"] == pytest.approx(facts["y"], rel=1e-12)  # on a line, both lie as far from their means


def test_default_layers_for_data(run, flowers):
    assert json.loads(run(*flowers, "--json").out)["sizes"] == [2, 3, 3]


@pytest.fixture
def kinds(tmp_path):
    network = Network((2, 2, 3), ("tanh", "softmax"), "cross_entropy")
    theta = np.linspace(-1, 1, network.n_parameters).astype(np.float32)
    inputs = Scaling(np.array([5.0, 1.5]), np.array([2.0, 4.0]))
    model = Model(network, theta, inputs, class_names=("lily", "rose", "tulip"))
    model.save(tmp_path / "kinds.safetensors")
    return model


def test_a_model_with_a_sample_in_the_units_of_its_data(run, kinds):
    facts = check_report(run, "kinds.safetensors", "--input", "5.5,1.75", "--target", "rose")
    assert (facts["x"], facts["y"]) == ([1.0, 1.0], [0.0, 1.0, 0.0])
    np.testing.assert_allclose(facts["layers"][-1]["a"], kinds.outputs([[5.5, 1.75]])[0], rtol=1e-6)
    assert facts["J"] == pytest.approx(kinds.evaluate([[5.5, 1.75]], [1])[0], rel=1e-6)
    text = run("kinds.safetensors", "--sample", "5.5,1.75", "--target", "rose").out
    for line in (
        "weights        from kinds.safetensors",
        "sample         as given, class rose",
        "as it came     5.5, 1.75",
    ):
        assert line in text


def test_a_model_with_a_sample_of_a_dataset(run, kinds, flowers):
    facts = check_report(run, "kinds.safetensors", *flowers, "--index", 2)
    by_hand = check_report(run, "kinds.safetensors", "--input", _row(facts, kinds), "--target", _kind(facts, kinds))
    assert by_hand["J"] == pytest.approx(facts["J"], rel=1e-12)


def _row(facts, model):
    return ",".join(map(repr, model.inputs.invert([facts["x"]])[0].tolist()))


def _kind(facts, model):
    return model.class_names[facts["y"].index(1.0)]


def test_a_model_of_values_scales_its_target(run, tmp_path):
    model = Model(
        Network((1, 1), ("identity",), "squared_error"), np.array([3.0, 1.0]), Scaling(2.0, 0.5), Scaling(100.0, 0.1)
    )
    model.save(tmp_path / "line.safetensors")
    facts = check_report(run, "line.safetensors", "--input", 4, "--target", 130)
    assert (facts["x"], facts["y"], facts["layers"][0]["a"]) == ([1.0], [pytest.approx(3.0)], [4.0])
    assert facts["J"] == pytest.approx(0.5)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("--layers 784-16-16-10", "784-16-16-10 has 13,002 weights and biases, too many .* at most 100"),
        ("--layers 10-9-1 --input 1 --target 1", "10-9-1 has 109 weights and biases"),
        ("--layers 2", "needs an input and an output layer"),
        ("--layers=", "needs an input and an output layer"),
        ("--layers 2-x", "layers must be sizes"),
        ("--layers 3-2", "the network 3-2 has 3 inputs; give as many numbers with --input, got none"),
        ("--layers 2-3", "the network 2-3 has 3 outputs; give as many numbers with --target, got none"),
        ("--input 1", "the network 2-2-2 has 2 inputs; give as many numbers with --input, got 1"),
        ("--target 1,2,3", "the network 2-2-2 has 2 outputs; give as many numbers with --target, got 3"),
        ("--input 1,b", "--input must be numbers joined by ','"),
        ("--input=", "--input must be numbers joined by ','"),
        ("--target 1,nan", "--target must be finite numbers"),
        ("--activation step", "--activation.*got 'step'"),
        ("--activation tanh,relu", "--activation names 2 hidden layers and the network 2-2-2 has 1"),
        ("--output-activation step", "cost perceptron is for networks without hidden layers"),
        ("--output-activation maxout", "--output-activation"),
        ("--cost cross_entropy --output-activation tanh", "cost cross_entropy needs --output-activation softmax"),
        ("--cost cross_entropy --target 1,1", "--target must be probabilities that add up to 1"),
        ("--cost binary_cross_entropy --target 2,0", "--target must be from 0 to 1"),
        ("--learning-rate 0", "--learning-rate.*greater than 0"),
        ("--learning-rate nan", "--learning-rate"),
        ("--seed -1", "--seed"),
        ("--steps 0", "--steps"),
        ("--index 3", "--index is for --data, which is not given"),
        ("--label kind", "--label is for --data"),
        ("--data flowers.csv --input 1,2", "--input and --data are two ways to give a sample"),
        ("--data flowers.csv --label kind --index 16", "has 16 training samples; --index counts from 0, got 16"),
        ("--data flowers.csv --label kind --layers 30", "2-30-3 has 183 weights and biases"),
        ("kinds.safetensors", "a MODEL needs a sample to explain"),
        ("kinds.safetensors --input 1,2", "a MODEL needs a sample to explain"),
        ("kinds.safetensors --input 1,2 --target daisy", r"must be one of the model's classes \(lily, rose, tulip\)"),
        ("kinds.safetensors --input 1 --target rose", "has 2 inputs"),
        ("kinds.safetensors --seed 1 --input 1,2 --target rose", "--seed is for networks without a file"),
        ("kinds.safetensors --cost cross_entropy --input 1,2 --target rose", "--cost is for networks without a file"),
        ("--input 1e200,1 --activation identity --output-activation identity", "overflows float64"),
        ("digits.safetensors --input 1 --target 0", "784-16-16-10 has 13,002 weights and biases"),
        ("step.safetensors --input 1 --target 0", "activation step has no gradient"),
    ],
)
def test_refusals_are_one_sentence_and_exit_code_2(run, flowers, kinds, tmp_path, args, words):
    network = Network((784, 16, 16, 10), ("sigmoid", "sigmoid", "softmax"), "cross_entropy")
    Model(network, network.initial_parameters(), class_names=tuple("0123456789")).save(tmp_path / "digits.safetensors")
    Model(Network((1, 1), ("step",), "squared_error"), np.ones(2)).save(tmp_path / "step.safetensors")
    outcome = run(*args.split())
    assert outcome.code == 2
    assert outcome.out == ""
    message = outcome.err.strip().splitlines()[-1]
    assert message.startswith("Error: ")
    assert re.search(words, message)


def test_missing_files_have_their_own_exit_codes(run):
    assert run("missing.safetensors", "--input", 1, "--target", 1).code == 4
    assert run("--data", "missing.csv").code == 3


def test_one_step_checks_what_it_is_given():
    network = Network((1, 1), ("identity",), "squared_error")
    with pytest.raises(ValueError, match=r"needs theta of shape \(2,\), got \(1,\)"):
        one_step(network, [1.0], [1.0], [1.0], 0.1)
    with pytest.raises(ValueError, match=r"needs y of shape \(1,\), got \(2,\)"):
        one_step(network, [1.0, 1.0], [1.0], [1.0, 2.0], 0.1)


# --- the page ---------------------------------------------------------------------------------------------------------


def test_help(run):
    outcome = run("--help")
    assert outcome.code == 0
    assert max(map(len, outcome.out.splitlines())) <= 100
    assert "worked example" in outcome.out


def test_long_sums_break_before_a_plus():
    terms = [f"w{k} x{k}" for k in range(1, 20)]
    lines = equation("z", terms, "1 + 1", "2")
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("      + w")
    assert " ".join(line.strip() for line in lines) == "z = " + " + ".join(terms) + " = 1 + 1 = 2"


def test_which_counts_of_steps_are_shown():
    assert [counts_up_to(n) for n in (1, 2, 10, 25)] == [[1], [1, 2], [1, 10], [1, 10, 25]]


def test_explaining_compiles_nothing():
    code = "import sys; from click.testing import CliRunner; from fastbp.cli import cli; CliRunner().invoke(cli, "
    code += "{}); sys.stdout.write(','.join(name for name in ('numpy', 'numba') if name in sys.modules))"
    for args, loaded in ((["explain"], "numpy"), (["explain", "--help"], "")):
        done = subprocess.run([sys.executable, "-c", code.format(args)], capture_output=True, text=True, check=True)
        assert done.stdout == loaded
