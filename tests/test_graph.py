"""The computational graph: the example worked out by hand, differences for every operation, counts of edges visited."""

from __future__ import annotations

import ast
import math
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import fastbp.graph
from fastbp.errors import UsageError
from fastbp.graph import (
    Node,
    exp,
    forward_mode,
    leaky_relu,
    log,
    maximum,
    ordered,
    relu,
    reverse_mode,
    sigmoid,
    softplus,
    tanh,
)
from fastbp.network import Network
from fastbp.network_graph import cost_graph, softmax

close = pytest.approx


# --- e = (a + b) * (b + 1) at a = 2, b = 1, by hand -------------------------------------------------------------------


@pytest.fixture
def example() -> dict[str, Node]:
    a, b = Node(2), Node(1)
    c, d = a + b, b + 1
    return {"a": a, "b": b, "c": c, "d": d, "e": c * d}


def test_values(example):
    assert {name: node.value for name, node in example.items()} == {"a": 2, "b": 1, "c": 3, "d": 2, "e": 6}


def test_partial_derivatives_stand_on_the_edges(example):
    a, b, c, d, e = example.values()
    assert e.edges == ((c, 2.0), (d, 3.0))
    assert c.edges == ((a, 1.0), (b, 1.0))
    assert d.edges == ((b, 1.0),)  # 1 is a constant, not a node
    assert a.edges == b.edges == ()


def test_one_reverse_sweep_gives_all_derivatives_and_visits_every_edge_once(example):
    a, b, c, d, e = example.values()
    sweep = reverse_mode(e)
    assert [sweep[node] for node in (e, d, c, b, a)] == [1, 3, 2, 5, 2]
    assert sweep.visits == 5


def test_forward_mode_needs_a_sweep_for_each_input(example):
    a, b, c, d, e = example.values()
    by_a, by_b = forward_mode(e, a), forward_mode(e, b)
    assert [by_a[node] for node in (a, b, c, d, e)] == [1, 0, 1, 0, 2]
    assert [by_b[node] for node in (a, b, c, d, e)] == [0, 1, 1, 1, 5]
    assert (by_a.visits, by_b.visits) == (5, 5)


def test_a_node_without_a_path_to_the_output_has_no_influence(example):
    stranger = Node(7)
    assert reverse_mode(example["e"])[stranger] == 0
    assert forward_mode(example["e"], stranger)[example["e"]] == 0
    assert reverse_mode(example["c"])[example["d"]] == 0


def test_nodes_know_their_names_by_identity_not_by_value():
    one, other = Node(1), Node(1)
    assert one != other
    assert reverse_mode(one * other * 3)[one] == 3


# --- operations -------------------------------------------------------------------------------------------------------

OF_ONE: dict[str, tuple[Callable, Callable[[float], float]]] = {
    "x + 2": (lambda x: x + 2, lambda x: x + 2),
    "2 + x": (lambda x: 2 + x, lambda x: x + 2),
    "x - 2": (lambda x: x - 2, lambda x: x - 2),
    "2 - x": (lambda x: 2 - x, lambda x: 2 - x),
    "x * 3": (lambda x: x * 3, lambda x: 3 * x),
    "3 * x": (lambda x: 3 * x, lambda x: 3 * x),
    "x / 4": (lambda x: x / 4, lambda x: x / 4),
    "4 / x": (lambda x: 4 / x, lambda x: 4 / x),
    "-x": (lambda x: -x, lambda x: -x),
    "x^3": (lambda x: x**3, lambda x: x * x * x),
    "x^-2": (lambda x: x**-2, lambda x: 1 / (x * x)),
    "x^0": (lambda x: x**0, lambda x: 1),
    "x x": (lambda x: x * x, lambda x: x * x),
    "x / x^2": (lambda x: x / (x * x), lambda x: 1 / x),
    "x - x": (lambda x: x - x, lambda x: 0),
    "exp": (exp, math.exp),
    "ln x^2": (lambda x: log(x * x), lambda x: 2 * math.log(abs(x))),
    "tanh": (tanh, lambda x: (math.exp(x) - math.exp(-x)) / (math.exp(x) + math.exp(-x))),
    "sigmoid": (sigmoid, lambda x: 1 / (1 + math.exp(-x))),
    "softplus": (softplus, lambda x: math.log(1 + math.exp(x))),
    "relu": (relu, lambda x: x if x > 0 else 0),
    "leaky relu": (leaky_relu, lambda x: x if x > 0 else 0.01 * x),
    "leaky relu 0.2": (lambda x: leaky_relu(x, 0.2), lambda x: x if x > 0 else 0.2 * x),
    "max(x, 1 - x)": (lambda x: maximum(x, 1 - x), lambda x: x if x > 0.5 else 1 - x),
}


@pytest.mark.parametrize("x", [-2.3, -0.7, 0.3, 1.9])
@pytest.mark.parametrize("name", OF_ONE)
def test_operations_against_central_differences(name, x):
    on_nodes, on_numbers = OF_ONE[name]
    node = Node(x)
    result = on_nodes(node)
    slope = (on_numbers(x + 1e-6) - on_numbers(x - 1e-6)) / 2e-6
    assert result.value == close(on_numbers(x), rel=1e-14, abs=1e-14)
    assert reverse_mode(result)[node] == close(slope, rel=1e-8, abs=1e-9)
    assert forward_mode(result, node)[result] == close(slope, rel=1e-8, abs=1e-9)


def test_division_and_subtraction_of_two():
    x, y = Node(3), Node(4)
    quotient, difference = reverse_mode(x / y), reverse_mode(x - y)
    assert (quotient[x], quotient[y]) == (0.25, -3 / 16)
    assert (difference[x], difference[y]) == (1, -1)


def test_kinks_are_those_of_the_kernels():
    """relu: 1 if a > 0 else 0. leaky relu: 1 if a >= 0 else the slope. maximum: one winner, the first of equals."""
    zero = Node(0.0)
    assert reverse_mode(relu(zero))[zero] == 0
    assert reverse_mode(leaky_relu(zero))[zero] == 1
    first, second = Node(2), Node(2)
    sweep = reverse_mode(maximum(first, second))
    assert (sweep[first], sweep[second], sweep.visits) == (1, 0, 2)


@pytest.mark.parametrize("x", [-1000.0, 1000.0])
def test_saturation_does_not_overflow(x):
    node = Node(x)
    assert (sigmoid(node).value, softplus(node).value, tanh(node).value) == ((0, 0, -1) if x < 0 else (1, x, 1))
    assert reverse_mode(softplus(node))[node] == (0 if x < 0 else 1)
    assert reverse_mode(sigmoid(node))[node] == 0


def test_sigmoid_equals_its_formula_made_of_smaller_nodes():
    for x in (-3.0, 0.2, 5.0):
        whole, parts = Node(x), Node(x)
        small = 1 / (1 + exp(-parts))
        assert sigmoid(whole).value == close(small.value, rel=1e-14)
        assert reverse_mode(sigmoid(whole))[whole] == close(reverse_mode(small)[parts], rel=1e-13)


def test_a_node_as_an_exponent_is_refused():
    with pytest.raises(TypeError):
        Node(2) ** Node(3)


# --- sweeps -----------------------------------------------------------------------------------------------------------


def test_edges_are_visited_and_paths_are_not():
    """60 doublings have 2^60 paths and 120 edges."""
    x = node = Node(1)
    for _ in range(60):
        node = node + node
    backward, ahead = reverse_mode(node), forward_mode(node, x)
    assert backward[x] == ahead[node] == 2.0**60
    assert backward.visits == ahead.visits == 120


def test_a_graph_may_be_deeper_than_the_call_stack():
    x = node = Node(0.5)
    depth = 20 * sys.getrecursionlimit()
    for _ in range(depth):
        node = node + 1.0
    sweep = reverse_mode(node)
    assert (sweep[x], sweep.visits, len(ordered(node))) == (1.0, depth, depth + 1)
    assert forward_mode(node, x)[node] == 1.0


def random_graph(rng: random.Random) -> tuple[list[Node], list[Node], list[Node]]:
    """(inputs, all nodes in the order they were made, outputs)"""
    inputs = [Node(rng.uniform(-1, 1)) for _ in range(rng.randint(1, 6))]
    nodes = list(inputs)
    for _ in range(rng.randint(5, 60)):
        x, y = rng.choice(nodes), rng.choice(nodes)
        made = rng.choice(
            [x + y, x - y, x * y, x / (y * y + 1), x**2, tanh(x), sigmoid(x), softplus(x), relu(x), leaky_relu(x)]
            + [maximum(x, y), exp(tanh(x)), log(y * y + 0.5), 1 - x, 0.3 / (1 + x * x), -x]
        )
        nodes.append(made)
    return inputs, nodes, nodes[-rng.randint(1, 4) :]


def test_both_modes_agree_on_random_graphs():
    """<J u, v> = <u, J^T v>: forward mode by a common factor t of the direction u, reverse mode by the mix v."""
    rng = random.Random(20260607)
    for _ in range(200):
        inputs, _, outputs = random_graph(rng)
        v = [rng.uniform(-1, 1) for _ in outputs]
        mixed = sum((output * weight for output, weight in zip(outputs, v, strict=True)), start=Node(0))
        backward = reverse_mode(mixed)
        ahead = [forward_mode(mixed, x) for x in inputs]
        u = [rng.uniform(-1, 1) for _ in inputs]
        ju_v = sum(
            sum(sweep[output] * part for sweep, part in zip(ahead, u, strict=True)) * weight
            for output, weight in zip(outputs, v, strict=True)
        )
        u_jtv = sum(part * backward[x] for part, x in zip(u, inputs, strict=True))
        size = sum(abs(part * backward[x]) for part, x in zip(u, inputs, strict=True)) + 1e-300
        assert abs(ju_v - u_jtv) <= 1e-12 * max(size, 1.0)
        edges = sum(len(node.edges) for node in ordered(mixed))
        assert {sweep.visits for sweep in (backward, *ahead)} == {edges}


def test_order_puts_every_node_after_what_it_was_computed_from():
    rng = random.Random(1)
    for _ in range(50):
        _, nodes, _ = random_graph(rng)
        order = ordered(nodes[-1])
        place = {node: number for number, node in enumerate(order)}
        assert len(place) == len(order)
        assert order[-1] is nodes[-1]
        for node in order:
            assert all(place[source] < place[node] for source, _ in node.edges)


def test_the_standard_library_is_enough():
    tree = ast.parse(Path(fastbp.graph.__file__).read_text(encoding="utf-8"))
    found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    found |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert found <= {"__future__", "math", "dataclasses"}


# --- the cost of a network --------------------------------------------------------------------------------------------

WORKED = Network((2, 2, 2), ("sigmoid", "sigmoid"), "squared_error")
# W[1] row by row: w1, w3, w2, w4, for w1 and w2 lead to the first hidden unit; then the biases, then w5, w7, w6, w8
THETA = [0.15, 0.25, 0.20, 0.30, 0.35, 0.35, 0.40, 0.50, 0.45, 0.55, 0.60, 0.60]


def test_the_worked_example():
    graph = cost_graph(WORKED, THETA, [0.05, 0.10], [0.01, 0.99])
    assert [unit.value for unit in graph.a[0]] == close([0.5932699921, 0.5968843783], abs=1e-9)
    assert [unit.value for unit in graph.a[1]] == close([0.7513650696, 0.7729284653], abs=1e-9)
    assert graph.cost.value == close(0.2983711088, abs=1e-9)
    gradient = graph.gradient()
    assert gradient[0] == close(0.0004385677, abs=1e-9)
    assert gradient[6] == close(0.0821670406, abs=1e-9)
    after = [w - 0.5 * g for w, g in zip(THETA, gradient, strict=True)]
    assert [after[k] for k in (0, 2, 1, 3)] == close([0.1497807161, 0.1995614323, 0.2497511436, 0.2995022873], abs=1e-9)
    assert [after[k] for k in (6, 8, 7, 9)] == close([0.3589164797, 0.4086661861, 0.5113012702, 0.5613701211], abs=1e-9)
    for biases in (slice(4, 6), slice(10, 12)):
        after[biases] = THETA[biases]
    assert cost_graph(WORKED, after, [0.05, 0.10], [0.01, 0.99]).cost.value == close(0.2910277737, abs=1e-9)


def test_one_sweep_back_instead_of_twelve_ahead():
    """Edges, counted by hand: a unit has 2 products of one edge (of two in the second layer), 2 sums and f of one
    edge; an output has a difference, a square and a half; one sum makes the total."""
    graph = cost_graph(WORKED, THETA, [0.05, 0.10], [0.01, 0.99])
    edges = 2 * (2 + 4 + 1) + 2 * (4 + 4 + 1) + 2 * 3 + 2
    backward = reverse_mode(graph.cost)
    ahead = [forward_mode(graph.cost, parameter) for parameter in graph.theta]
    assert backward.visits == edges == 40
    assert sum(sweep.visits for sweep in ahead) == 12 * 40
    assert [sweep[graph.cost] for sweep in ahead] == close([backward[each] for each in graph.theta], rel=1e-14)


def test_the_derivatives_by_net_inputs_are_the_deltas():
    """(a - y) a (1 - a) at the outputs: 0.1384985616 and -0.0380982365, by hand."""
    graph = cost_graph(WORKED, THETA, [0.05, 0.10], [0.01, 0.99])
    sweep = reverse_mode(graph.cost)
    assert [sweep[z] for z in graph.z[1]] == close([0.1384985616, -0.0380982365], abs=1e-9)
    assert [sweep[z] for z in graph.z[0]] == close([0.0087713547, 0.0099542547], abs=1e-9)


@pytest.mark.parametrize(("output", "cost"), [("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy")])
def test_cross_entropies_equal_their_plain_formulas(output, cost):
    z, y = [Node(0.3), Node(-1.2), Node(2.0)], [0.2, 0.5, 0.3]
    network = Network((1, 3), (output,), cost)
    graph = cost_graph(network, [0.0, 0.0, 0.0, 0.3, -1.2, 2.0], [1.0], y)
    if output == "softmax":
        a = softmax(z)
        plain = sum((log(unit) * -target for unit, target in zip(a, y, strict=True)), start=Node(0))
    else:
        a = [sigmoid(unit) for unit in z]
        terms = (log(unit) * -target - log(1 - unit) * (1 - target) for unit, target in zip(a, y, strict=True))
        plain = sum(terms, start=Node(0))
    assert graph.cost.value == close(plain.value, rel=1e-14)
    delta, sweep = reverse_mode(graph.cost), reverse_mode(plain)
    assert [delta[unit] for unit in graph.z[0]] == close([sweep[unit] for unit in z], abs=1e-15)
    assert [delta[unit] for unit in graph.z[0]] == close(
        [unit.value - target for unit, target in zip(a, y, strict=True)], abs=1e-15
    )


def test_saturated_outputs_keep_their_cost_finite():
    for output, cost in (("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy")):
        graph = cost_graph(Network((1, 2), (output,), cost), [0, 0, 800.0, -800.0], [1.0], [0.0, 1.0])
        assert graph.cost.value == close(1600.0)
        assert graph.gradient() == close([1.0, -1.0, 1.0, -1.0])


@pytest.mark.parametrize(
    ("theta", "x", "y", "words"),
    [
        (THETA[1:], [1, 2], [3, 4], "2-2-2 takes 12 parameters, 2 inputs and 2 targets, got 11, 2 and 2"),
        (THETA, [1], [3, 4], "got 12, 1 and 2"),
        (THETA, [1, 2], [3], "got 12, 2 and 1"),
    ],
)
def test_what_does_not_fit_is_refused(theta, x, y, words):
    with pytest.raises(UsageError, match=words):
        cost_graph(WORKED, theta, x, y)


def test_a_step_has_no_gradient():
    with pytest.raises(UsageError, match="activation step has no gradient"):
        cost_graph(Network((1, 1), ("step",), "squared_error"), [1, 1], [1], [1])
