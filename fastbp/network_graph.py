"""The cost of a network at one sample as a computational graph: backpropagation once more, by the chain rule alone.

A network's shape, its parameters and a sample come in, nodes go out: the parameters, every net input and activation,
and the cost. One reverse sweep from the cost gives dJ/dtheta, and every delta besides, without any of the formulas in
`kernels/reference.py`, so the two check each other. Scalar by scalar, hence slow; for small networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import UsageError
from .graph import Node, exp, leaky_relu, log, maximum, relu, reverse_mode, sigmoid, softplus, tanh

if TYPE_CHECKING:
    from .activations import CustomActivation
    from .network import Network

__all__ = ["CostGraph", "cost_graph"]

# of one unit; softmax looks at all units of its layer, maxout at two net inputs per unit
ACTIVATIONS: dict[str, Callable[[Node], Node]] = {
    "identity": lambda z: z,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "exponential": exp,
    "step": lambda z: Node(float(z.value > 0)),  # flat: no path leads back from it
}


class CostGraph(NamedTuple):
    """The nodes that have a name; `reverse_mode(graph.cost)[node]` is the derivative of the cost by any of them."""

    theta: list[Node]  # W[1] row by row, b[1], W[2], b[2], ... (n_parameters)
    z: list[list[Node]]  # net inputs, a list for each layer after the input; of maxout, all of piece 0 first
    a: list[list[Node]]  # activations, likewise
    cost: Node

    def gradient(self) -> list[float]:
        """dJ/dtheta (n_parameters), by one reverse sweep."""
        sweep = reverse_mode(self.cost)
        return [sweep[node] for node in self.theta]


def cost_graph(network: Network, theta: Sequence[float], x: Sequence[float], y: Sequence[float]) -> CostGraph:
    """The graph of J(theta) at one sample, without weight decay.

    Parameters
    ----------
    network : Network
        any sizes, every cost, every activation; step with cost perceptron only
    theta : (n_parameters,) numbers
        W[1] row by row, b[1], W[2], b[2], ...
    x : (n_inputs,) numbers
    y : (n_outputs,) numbers

    Raises
    ------
    UsageError
        another number of parameters, inputs or targets; an activation without a gradient

    Examples
    --------
    One identity unit, J = 1/2 (w x + b - y)^2, so that dJ/dw = (a - y) x and dJ/db = a - y:

    >>> from fastbp import Network
    >>> cost_graph(Network((1, 1), ("identity",), "squared_error"), [2.0, 1.0], [3.0], [4.0]).gradient()
    [9.0, 3.0]
    """
    expected = (network.n_parameters, network.sizes[0], network.sizes[-1])
    if (len(theta), len(x), len(y)) != expected:
        raise UsageError(
            f"{network} takes {expected[0]} parameters, {expected[1]} inputs and {expected[2]} targets, "
            f"got {len(theta)}, {len(x)} and {len(y)}"
        )
    if not network.trainable:
        raise UsageError("activation step has no gradient and cannot be trained; use sigmoid, or cost perceptron")
    own = {each.name: each for each in network.customs}
    nodes = [Node(value) for value in theta]
    z: list[list[Node]] = []
    a: list[list[Node]] = []
    start = 0
    for (n_in, n_columns), activation in zip(network.shapes, network.activations, strict=True):
        incoming: Sequence[Any] = a[-1] if a else x
        biases = nodes[start + n_in * n_columns : start + (n_in + 1) * n_columns]
        z.append([])
        for j in range(n_columns):
            weights = nodes[start + j : start + n_in * n_columns : n_columns]  # column j of W
            z[-1].append(sum((w * value for w, value in zip(weights, incoming, strict=True)), start=biases[j]))
        if activation == "softmax":
            a.append(softmax(z[-1]))
        elif activation == "maxout":
            a.append([maximum(*pair) for pair in zip(z[-1][: n_columns // 2], z[-1][n_columns // 2 :], strict=True)])
        elif activation in own:
            a.append([_custom(own[activation], unit) for unit in z[-1]])
        else:
            a.append([ACTIVATIONS[activation](unit) for unit in z[-1]])
        start += (n_in + 1) * n_columns
    return CostGraph(nodes, z, a, _cost(network.cost, z[-1], a[-1], y))


def _custom(activation: CustomActivation, z: Node) -> Node:
    """f(z) for a pair of functions of a user's own; the edge carries f'(z)."""
    a = activation.value(z.value)
    return Node(a, ((z, activation.slope(z.value, a)),))


def softmax(z: list[Node]) -> list[Node]:
    """exp(z_k) / sum_j exp(z_j); the largest z is taken off first, as a constant, so that nothing overflows."""
    largest = max(unit.value for unit in z)
    powers = [exp(unit - largest) for unit in z]
    total = reduce(add, powers)
    return [power / total for power in powers]


def _cost(name: str, z: list[Node], a: list[Node], y: Sequence[float]) -> Node:
    """The cost of the outputs; both cross-entropies from z, where saturated outputs cannot make them infinite."""
    if name == "squared_error":
        terms = [(output - target) ** 2 / 2 for output, target in zip(a, y, strict=True)]
    elif name == "mean_squared_error":
        terms = [(output - target) ** 2 for output, target in zip(a, y, strict=True)]
    elif name == "binary_cross_entropy":  # -y ln a - (1 - y) ln(1 - a), where ln a = z - ln(1 + e^z)
        terms = [softplus(unit) - unit * target for unit, target in zip(z, y, strict=True)]
    elif name == "poisson":  # a - y + y ln(y / a), where ln a = z; y ln y is 0 for y = 0
        constants = [target * (math.log(target) if target > 0 else 0.0) - target for target in y]
        terms = [a_k - z_k * y_k + c for a_k, z_k, y_k, c in zip(a, z, y, constants, strict=True)]
    elif name == "perceptron":  # |z| where the output is wrong; a is flat, a constant
        terms = [unit * (output.value - target) for unit, output, target in zip(z, a, y, strict=True)]
    else:  # cross-entropy: -y ln a, where ln a = z - ln sum_j e^z_j
        largest = max(unit.value for unit in z)
        log_sum = log(reduce(add, (exp(unit - largest) for unit in z))) + largest
        terms = [(log_sum - unit) * target for unit, target in zip(z, y, strict=True)]
    return reduce(add, terms)
