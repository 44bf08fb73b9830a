r"""A computational graph of numbers, and the chain rule on it in both directions. Standard library only.

Every operation makes a node. The node holds its value, and one edge to each node that it was computed from; the edge
carries the partial derivative of the one by the other. For e = (a + b) * (b + 1) at a = 2, b = 1:

            e = c * d = 6                  edge   partial derivative
             /      \                      e-c    de/dc = d = 2
     c = a + b = 3   d = b + 1 = 2         e-d    de/dd = c = 3
       /      \     /                      c-a    dc/da = 1
     a = 2     b = 1                       c-b    dc/db = 1
                                           d-b    dd/db = 1

The chain rule: the derivative of e by an input is the sum, over all paths between the two, of the product of the
partial derivatives along the path. So de/da = 2 * 1 = 2, and de/db = 2 * 1 + 3 * 1 = 5, for there are two paths.
Nobody walks path by path, because many paths share edges:

* forward mode goes from one input up: it knows, at every node, the derivative of that node by the input. One sweep
  per input.
* reverse mode goes from the output down: it knows, at every node, the derivative of the output by that node. One sweep
  gives all inputs, and visits every edge once. On the cost of a neural network it is called backpropagation.

>>> a, b = Node(2), Node(1)
>>> e = (a + b) * (b + 1)
>>> sweep = reverse_mode(e)
>>> e.value, sweep[a], sweep[b], sweep.visits
(6.0, 2.0, 5.0, 5)
>>> by_a, by_b = forward_mode(e, a), forward_mode(e, b)
>>> by_a[e], by_b[e], by_a.visits + by_b.visits
(2.0, 5.0, 10)

Linnainmaa 1970 (reverse mode); Griewank, Walther 2008, "Evaluating Derivatives", chapter 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = [
    "Node",
    "Sweep",
    "exp",
    "forward_mode",
    "leaky_relu",
    "log",
    "maximum",
    "ordered",
    "relu",
    "reverse_mode",
    "sigmoid",
    "softplus",
    "tanh",
]


class Node:
    """A number in a computational graph: an input, `Node(2.0)`, or what + - * / ** or a function below made of others.

    Plain numbers in a formula are constants, not nodes: nothing is ever differentiated by them.
    """

    __slots__ = ("edges", "value")

    def __init__(self, value: float, edges: tuple[tuple[Node, float], ...] = ()) -> None:
        self.value = float(value)
        self.edges = edges  # (node that this one was computed from, partial derivative by it)

    def __repr__(self) -> str:
        return f"Node({self.value!r})"

    def __add__(self, other: Node | float) -> Node:
        if isinstance(other, Node):
            return Node(self.value + other.value, ((self, 1.0), (other, 1.0)))
        return Node(self.value + other, ((self, 1.0),))

    def __sub__(self, other: Node | float) -> Node:
        if isinstance(other, Node):
            return Node(self.value - other.value, ((self, 1.0), (other, -1.0)))
        return Node(self.value - other, ((self, 1.0),))

    def __mul__(self, other: Node | float) -> Node:
        if isinstance(other, Node):
            return Node(self.value * other.value, ((self, other.value), (other, self.value)))
        return Node(self.value * other, ((self, float(other)),))

    def __truediv__(self, other: Node | float) -> Node:
        if isinstance(other, Node):
            ratio = self.value / other.value
            return Node(ratio, ((self, 1.0 / other.value), (other, -ratio / other.value)))
        return Node(self.value / other, ((self, 1.0 / other),))

    def __pow__(self, exponent: float) -> Node:
        """The exponent is a plain number; where it is a node, write exp(y * log(x)) for x ** y."""
        slope = exponent * self.value ** (exponent - 1) if exponent else 0.0
        return Node(self.value**exponent, ((self, slope),))

    def __neg__(self) -> Node:
        return Node(-self.value, ((self, -1.0),))

    def __rsub__(self, other: float) -> Node:
        return Node(other - self.value, ((self, -1.0),))

    def __rtruediv__(self, other: float) -> Node:
        ratio = other / self.value
        return Node(ratio, ((self, -ratio / self.value),))

    __radd__ = __add__
    __rmul__ = __mul__


def exp(z: Node) -> Node:
    """e^z, which is its own derivative."""
    value = math.exp(z.value)
    return Node(value, ((z, value),))


def log(z: Node) -> Node:
    """ln z; the derivative is 1 / z."""
    return Node(math.log(z.value), ((z, 1.0 / z.value),))


def tanh(z: Node) -> Node:
    """tanh z = a; the derivative is 1 - a^2."""
    a = math.tanh(z.value)
    return Node(a, ((z, 1.0 - a * a),))


def sigmoid(z: Node) -> Node:
    """1 / (1 + e^-z) = a; the derivative is a (1 - a)."""
    a = _logistic(z.value)
    return Node(a, ((z, a * (1.0 - a)),))


def softplus(z: Node) -> Node:
    """ln(1 + e^z), however large z is; the derivative is 1 / (1 + e^-z)."""
    value = max(z.value, 0.0) + math.log1p(math.exp(-abs(z.value)))
    return Node(value, ((z, _logistic(z.value)),))


def relu(z: Node) -> Node:
    """max(0, z); at the kink the derivative counts as 0."""
    return Node(max(z.value, 0.0), ((z, 1.0 if z.value > 0 else 0.0),))


def leaky_relu(z: Node, slope: float = 0.01) -> Node:
    """z where z >= 0, else slope * z; at the kink the derivative counts as 1."""
    factor = 1.0 if z.value >= 0 else slope
    return Node(factor * z.value, ((z, factor),))


def maximum(x: Node, y: Node) -> Node:
    """The larger of two, the first of equals: the winner gets the whole derivative, the other none (maxout)."""
    first = x.value >= y.value
    return Node(x.value if first else y.value, ((x, float(first)), (y, float(not first))))


def _logistic(z: float) -> float:
    """1 / (1 + e^-z), written so that the exponential cannot overflow."""
    e = math.exp(-abs(z))
    return 1.0 / (1.0 + e) if z >= 0 else e / (1.0 + e)


@dataclass(frozen=True)
class Sweep:
    """The derivatives that one pass over a graph found, as `sweep[node]`, and how many edges it visited."""

    derivatives: dict[Node, float]
    visits: int

    def __getitem__(self, node: Node) -> float:
        return self.derivatives.get(node, 0.0)  # no path, no influence


def forward_mode(output: Node, by: Node) -> Sweep:
    """d node / d by, for `output` and every node below it: one sweep from the inputs up."""
    found: dict[Node, float] = {}
    visits = 0
    for node in ordered(output):
        found[node] = 1.0 if node is by else 0.0
        for source, partial in node.edges:
            found[node] += partial * found[source]
            visits += 1
    return Sweep(found, visits)


def reverse_mode(output: Node) -> Sweep:
    """d output / d node, for `output` and every node below it: one sweep from the output down."""
    nodes = ordered(output)
    found = dict.fromkeys(nodes, 0.0)
    found[output] = 1.0
    visits = 0
    for node in reversed(nodes):  # whatever uses a node has sent its share before the node passes on the sum
        for source, partial in node.edges:
            found[source] += partial * found[node]
            visits += 1
    return Sweep(found, visits)


def ordered(output: Node) -> list[Node]:
    """`output` and every node below it, each after all that it was computed from (topological order).

    Depth first, with a stack of its own in place of recursion, so that a graph may be deeper than Python's call stack.
    """
    nodes: list[Node] = []
    seen: set[Node] = set()
    stack = [(output, False)]
    while stack:
        node, is_ready = stack.pop()
        if is_ready:
            nodes.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))  # comes up again once all that lies above it on the stack is done
            stack.extend((source, False) for source, _ in node.edges)
    return nodes
