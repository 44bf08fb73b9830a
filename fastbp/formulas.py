"""Numbers, names and equations as text, at most 80 characters wide.

Names are those of textbooks: inputs x1, x2, ..., hidden units h1, h2, ... through all hidden layers, outputs o1, o2,
...; weights w1, w2, ... layer by layer and, within a layer, unit by unit, so that w1 and w2 lead from x1 and x2 to h1.
A maxout unit h1 has two pieces, h1p0 and h1p1, with weights of their own; those of all pieces 0 come first.
Values and formulas come in, lines come out; nothing is printed here.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .network import Network

__all__ = [
    "INDENT",
    "WIDTH",
    "F",
    "J",
    "Names",
    "columns",
    "cost_sides",
    "equation",
    "factor",
    "number",
    "paragraph",
    "products",
    "slope_of",
    "slope_sides",
]

WIDTH = 80
INDENT = "  "

# f(z) and f'(z), in general and for the unit {u}
F = {
    "identity": ("z", "1", "1"),
    "sigmoid": ("1 / (1 + exp(-z))", "a (1 - a)", "a_{u} (1 - a_{u})"),
    "tanh": ("tanh(z)", "1 - a^2", "1 - a_{u}^2"),
    "relu": ("max(0, z)", "1 if a > 0, else 0", "1 if a_{u} > 0, else 0"),
    "leaky_relu": ("z if z >= 0, else 0.01 z", "1 if a >= 0, else 0.01", "1 if a_{u} >= 0, else 0.01"),
    "exponential": ("exp(z)", "a", "a_{u}"),
    "softmax": ("exp(z_k) / sum_j exp(z_j)", "", ""),
    "maxout": ("the larger z of a unit's pieces p0 and p1", "1 for the larger one, of equals p0, else 0", ""),
    "step": ("1 if z > 0, else 0", "", ""),
}
J = {
    "squared_error": "J = sum over the outputs of 1/2 (a - y)^2",
    "mean_squared_error": "J = sum over the outputs of (a - y)^2",
    "binary_cross_entropy": "J = sum over the outputs of -(y ln a + (1 - y) ln(1 - a))",
    "cross_entropy": "J = sum over the outputs of -y ln a",
    "poisson": "J = sum over the outputs of a - y + y ln(y / a)",
    "perceptron": "J = sum over the outputs of (a - y) z",
}


def number(value: float, digits: int = 7) -> str:
    """A number of at most 12 characters and its sign: ten decimals without trailing zeros, fewer from 10 on.

    Very small and very large ones come in powers of ten, with so many digits.

    Examples
    --------
    >>> number(0.15), number(1 / 3), number(-200 / 3), number(-0.0)
    ('0.15', '0.3333333333', '-66.666666667', '0')
    >>> number(3.510187783e-05), number(3.510187783e-05, digits=10)
    ('3.510188e-05', '3.510187783e-05')
    """
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e6:
        return f"{value:.{11 - len(str(int(abs(value))))}f}".rstrip("0").rstrip(".")
    return f"{value:.{digits}g}"


def factor(value: float) -> str:
    """A number inside of a formula: negative ones in brackets."""
    return f"({number(value)})" if value < 0 else number(value)


def products(left: Iterable[float], right: Iterable[float]) -> list[str]:
    """The terms of a sum of products, in numbers."""
    pairs = enumerate(zip(left, right, strict=True))
    return [f"{factor(a) if place else number(a)} * {factor(b)}" for place, (a, b) in pairs]


class Names:
    """What the units and the parameters of a network are called."""

    def __init__(self, network: Network) -> None:
        sizes, last = network.sizes, len(network.sizes) - 1
        self.units: list[list[str]] = []  # layer by layer, the input first
        n_hidden = 0
        for layer, size in enumerate(sizes):
            letter = "x" if layer == 0 else "o" if layer == last else "h"
            first = n_hidden + 1 if letter == "h" else 1
            self.units.append([f"{letter}{number}" for number in range(first, first + size)])
            n_hidden += size if letter == "h" else 0
        self.nets: list[list[str]] = [[]]  # of net inputs: those of the units, but two for each maxout unit
        for units, activation in zip(self.units[1:], network.activations, strict=True):
            pieces = ("p0", "p1") if activation == "maxout" else ("",)
            self.nets.append([unit + piece for piece in pieces for unit in units])
        self.weights: list[list[list[str]]] = []  # weights[l][k][j] leads from unit k to net input j of the next layer
        n_weights = 0
        for n_in, n_out in network.shapes:
            self.weights.append([[f"w{n_weights + j * n_in + k + 1}" for j in range(n_out)] for k in range(n_in)])
            n_weights += n_in * n_out

    def activation(self, layer: int, unit: int) -> str:
        """x1, a_h1, a_o1"""
        return self.units[layer][unit] if layer == 0 else f"a_{self.units[layer][unit]}"


def equation(name: str, *sides: str | Sequence[str]) -> list[str]:
    """The lines of name = side = side = ..., with what does not fit below the first sign of equality.

    A side is one text, or the terms of a sum, between which a line may break.
    """
    lines, room = [INDENT + name], len(INDENT + name)
    for side in sides:
        terms = [side] if isinstance(side, str) else list(side)
        whole = " = " + " + ".join(terms)
        if len(lines[-1]) + len(whole) <= WIDTH:
            lines[-1] += whole
            continue
        if len(lines) > 1 or lines[-1] != INDENT + name:
            lines.append(" " * room)
        lines[-1] += " = " + terms[0]
        for term in terms[1:]:
            if len(lines[-1]) + len(term) + 3 > WIDTH:
                lines.append(" " * (room + 2))
            lines[-1] += " + " + term
    return lines


def slope_of(activation: str, a: float) -> float:
    """f'(z) from a = f(z)."""
    slopes = {"sigmoid": a * (1 - a), "tanh": 1 - a * a, "relu": float(a > 0), "leaky_relu": 1.0 if a >= 0 else 0.01}
    return slopes.get(activation, 1.0)


def slope_sides(activation: str, unit: str, a: float) -> list[str]:
    """f'(z) of one unit as a formula, and with its number."""
    symbols = F[activation][2].format(u=unit)
    if activation == "sigmoid":
        return [symbols, f"{number(a)} * (1 - {number(a)})"]
    if activation == "tanh":
        return [symbols, f"1 - {factor(a)}^2"]
    return [] if activation == "identity" else [f"({symbols})"]


def cost_sides(cost: str, unit: str, k: int, z: float, a: float, y: float) -> list[str]:
    """What output k adds to the cost, as a formula, and with its numbers."""
    output, target = f"a_{unit}", f"y{k}"
    if cost == "cross_entropy":
        return [f"-{target} ln {output}", f"-{factor(y)} ln {number(a)}"]
    if cost == "binary_cross_entropy":
        return [
            f"-({target} ln {output} + (1 - {target}) ln(1 - {output}))",
            f"-({number(y)} ln {number(a)} + {number(1 - y)} ln {number(1 - a)})",
        ]
    if cost == "poisson":
        return [
            f"{output} - {target} + {target} ln({target} / {output})",
            f"{number(a)} - {factor(y)} + {factor(y)} ln({factor(y)} / {number(a)})" if y else f"{number(a)}",
        ]
    if cost == "perceptron":
        return [f"({output} - {target}) z_{unit}", f"({number(a)} - {factor(y)}) * {factor(z)}"]
    half = "1/2 " if cost == "squared_error" else ""
    return [f"{half}({output} - {target})^2", f"{half}({number(a)} - {factor(y)})^2"]


def paragraph(text: str) -> list[str]:
    """A text on lines of the page's width."""
    return textwrap.wrap(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT, break_on_hyphens=False)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells, flush left, one blank between columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [INDENT + " ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
