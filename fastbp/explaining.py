"""What `fastbp explain` says: one step of backpropagation as formulas with their numbers, or the numbers as JSON.

A `Step` and where it came from come in, lines of at most 80 characters go out on stdout. Units and weights have the
names that `formulas` gives them; matrices are those of the package: W[l] is (inputs, outputs) and leads from layer l to
layer l + 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .config import SQUARED_COSTS
from .console import aligned, echo, facts, printable
from .errors import UsageError
from .formulas import (
    INDENT,
    WIDTH,
    F,
    J,
    Names,
    columns,
    cost_sides,
    equation,
    factor,
    number,
    paragraph,
    products,
    slope_of,
    slope_sides,
)

if TYPE_CHECKING:
    from .network import Network
    from .one_step import GraphCheck, Step

__all__ = ["MOST_PARAMETERS", "Origin", "check_size", "counts_up_to", "explanation_facts", "show_explanation"]

MOST_PARAMETERS = 100  # two lines for each of them are read; more are scrolled past
MOST_ROWS = 6  # of a matrix that is written out
MOST_EXPONENT = 20.0  # of a power that is written out


@dataclass(frozen=True)
class Origin:
    """Where the numbers of a step came from, for people."""

    weights: str
    sample: str
    raw: tuple[float, ...] = ()  # the sample in the units of the data, where these are others
    classes: tuple[str, ...] = ()  # one name per output, where the outputs are classes
    is_worked_example: bool = False


def check_size(network: Network) -> None:
    """Raise UsageError for a network whose numbers nobody would read."""
    if network.n_parameters > MOST_PARAMETERS:
        raise UsageError(
            f"{network} has {network.n_parameters:,} weights and biases, too many to print one by one; "
            f"explain takes networks of at most {MOST_PARAMETERS}"
        )


def counts_up_to(n_steps: int) -> list[int]:
    """The numbers of steps to report on: 1, 10, 100, ... and the last one.

    Examples
    --------
    >>> counts_up_to(2500)
    [1, 10, 100, 1000, 2500]
    """
    return [10**power for power in range(len(str(n_steps))) if 10**power < n_steps] + [n_steps]


class Explanation:
    """The lines about one step, a method for each section."""

    def __init__(self, step: Step, origin: Origin) -> None:
        self.step, self.origin = step, origin
        self.names = Names(step.network)
        self.n_layers = len(step.network.sizes)
        self.before = step.network.layers_of(step.theta)
        self.after = step.network.layers_of(step.theta_after)
        self.gradients = step.network.layers_of(step.gradient)

    def setting(self) -> list[tuple[str, object]]:
        """What is given: the network, the sample, the learning rate."""
        step, origin, units = self.step, self.origin, self.names.units
        network = step.network
        given = [f"{name} = {number(value)}" for name, value in zip(units[0], step.x, strict=True)]
        wanted = [f"y{k} = {number(value)}" for k, value in enumerate(step.y, start=1)]
        classes = [f"{name} {printable(each, 30)}" for name, each in zip(units[-1], origin.classes, strict=False)]
        hidden = [" ".join(layer) for layer in units[1:-1]]
        layout = f"inputs {' '.join(units[0])}; " + "".join(f"hidden {each}; " for each in hidden)
        return [
            ("network", f"{network}: {layout}outputs {' '.join(units[-1])}"),
            ("activations", ", ".join(network.activations)),
            ("cost", f"{network.cost}: {J[network.cost]}"),
            ("weights", origin.weights),
            ("sample", origin.sample),
            ("as it came", ", ".join(map(number, origin.raw)) or None),
            ("input", ", ".join(given)),
            ("target", ", ".join(wanted)),
            ("classes", ", ".join(classes) or None),
            ("learning rate", f"eta = {number(step.learning_rate)}"),
        ]

    def forward(self) -> Iterable[str]:
        """Net inputs and activations, unit by unit."""
        step, names = self.step, self.names
        for layer in range(1, self.n_layers):
            activation, to = step.network.activations[layer - 1], layer + 1
            W, b = self.before[layer - 1]
            yield f"{INDENT}Layer {to}: z[{to}] = {self._incoming(layer)} W[{layer}] + b[{layer}], a[{to}] = f(z[{to}])"
            yield f"{INDENT}{activation}: f(z) = {F[activation][0]}"
            yield from self._matrices(layer)
            for j, unit in enumerate(names.nets[layer]):
                symbols = [
                    f"{row[j]} {names.activation(layer - 1, k)}" for k, row in enumerate(names.weights[layer - 1])
                ]
                numbers = products(W[:, j], step.a[layer - 1])
                z = number(step.z[layer - 1][j])
                yield ""
                yield from equation(f"z_{unit}", [*symbols, f"b_{unit}"], [*numbers, factor(b[j])], z)
                if activation not in ("softmax", "maxout"):
                    yield from equation(f"a_{unit}", f"f({z})", number(step.a[layer][j]))
            if activation == "softmax":
                yield from self._softmax()
            if activation == "maxout":
                yield from self._maxout(layer)
            yield ""

    def _incoming(self, layer: int) -> str:
        """What goes into a layer."""
        return "x" if layer == 1 else f"a[{layer}]"

    def _matrices(self, layer: int) -> Iterable[str]:
        """Where each weight stands in W[layer], unless that is a large matrix."""
        rows = self.names.weights[layer - 1]
        width = max(len(name) for row in rows for name in row)
        matrix = [f"| {' '.join(name.ljust(width) for name in row)} |" for row in rows]
        name = f"{INDENT}W[{layer}] = "
        biases = " ".join(f"b_{unit}" for unit in self.names.nets[layer])
        first = f"{name}{matrix[0]}   b[{layer}] = | {biases} |"
        if len(rows) <= MOST_ROWS and len(first) <= WIDTH:
            yield from ("", first, *(" " * len(name) + row for row in matrix[1:]))

    def _softmax(self) -> Iterable[str]:
        """The shares of a softmax layer."""
        z, units = self.step.z[-1], self.names.units[-1]
        yield ""
        if abs(z).max() > MOST_EXPONENT:  # powers that nobody reads, or that overflow
            for unit, a in zip(units, self.step.a[-1], strict=True):
                yield from equation(f"a_{unit}", f"exp(z_{unit}) / sum_j exp(z_j)", number(a))
            return
        powers = [math.exp(each) for each in z]
        total = number(sum(powers))
        yield from equation("S", [f"exp(z_{unit})" for unit in units], [number(power) for power in powers], total)
        for unit, power, a in zip(units, powers, self.step.a[-1], strict=True):
            yield from equation(f"a_{unit}", f"exp(z_{unit}) / S", f"{number(power)} / {total}", number(a))

    def _maxout(self, layer: int) -> Iterable[str]:
        """The larger piece of each unit."""
        units, z = self.names.units[layer], self.step.z[layer - 1]
        yield ""
        for k, unit in enumerate(units):
            pieces = f"max({number(z[k])}, {number(z[len(units) + k])})"
            yield from equation(f"a_{unit}", f"max(z_{unit}p0, z_{unit}p1)", pieces, number(self.step.a[layer][k]))

    def cost(self) -> Iterable[str]:
        """The cost of each output, and their sum."""
        step, name, units = self.step, self.step.network.cost, self.names.units[-1]
        shares = [number(share) for share in step.costs]
        for k, unit in enumerate(units):
            yield from equation(
                f"J_{unit}", *cost_sides(name, unit, k + 1, step.z[-1][k], step.a[-1][k], step.y[k]), shares[k]
            )
        if len(units) > 1:
            yield from equation("J".ljust(len(f"J_{units[-1]}")), shares, number(step.cost))
        if "cross" in name:
            yield ""
            yield from paragraph("It is computed from z, and stays finite where an output is rounded to 0 or 1.")
        yield ""

    def deltas(self) -> Iterable[str]:
        """The deltas of every layer, from the last to the first."""
        step, names, network = self.step, self.names, self.step.network
        for layer in range(self.n_layers - 1, 0, -1):
            activation, at = network.activations[layer - 1], layer + 1
            is_last = layer == self.n_layers - 1
            if is_last and network.cost not in SQUARED_COSTS:
                yield f"{INDENT}Layer {at}: delta[{at}] = a[{at}] - y"
                how = "dJ/dz, as a is flat on both sides of its jump," if activation == "step" else "dJ/da * f'(z)"
                yield from paragraph(f"({how} comes to this for {activation} with {network.cost})")
                yield ""
                for k, unit in enumerate(names.units[layer]):
                    numbers = f"{number(step.a[layer][k])} - {factor(step.y[k])}"
                    yield from equation(f"delta_{unit}", f"a_{unit} - y{k + 1}", numbers, number(step.delta[-1][k]))
                yield ""
                continue
            back = f"dJ/da[{at}]" if is_last else f"(delta[{at + 1}] W[{at}]^T)"
            yield f"{INDENT}Layer {at}: delta[{at}] = {back} * f'(z[{at}])"
            yield f"{INDENT}{activation}: f'(z) = {F[activation][1]}"
            if activation == "relu" and not step.a[layer].all():
                yield from paragraph("A unit that is off, a = 0, sends nothing back: its delta is 0.")
            if activation == "maxout":
                yield from self._to_pieces(layer)
                continue
            for k, unit in enumerate(names.units[layer]):
                a = step.a[layer][k]
                slope = number(slope_of(activation, a))
                sides, arriving = self._from_cost(k) if is_last else self._from_next(layer, k)
                yield ""
                yield from equation(f"dJ/da_{unit}", *sides, arriving)
                yield from equation(f"f'(z_{unit})", *slope_sides(activation, unit, a), slope)
                product = f"{arriving} * {slope}"
                yield from equation(
                    f"delta_{unit}", f"dJ/da_{unit} * f'(z_{unit})", product, number(step.delta[layer - 1][k])
                )
            yield ""

    def _to_pieces(self, layer: int) -> Iterable[str]:
        """dJ/da of each maxout unit, and which of its pieces gets it."""
        step, units = self.step, self.names.units[layer]
        z, delta = step.z[layer - 1], step.delta[layer - 1]
        for k, unit in enumerate(units):
            sides, arriving = self._from_next(layer, k)
            first = z[k] >= z[len(units) + k]
            yield ""
            yield from equation(f"dJ/da_{unit}", *sides, arriving)
            for column, piece, wins in ((k, "p0", first), (len(units) + k, "p1", not first)):
                why = [f"dJ/da_{unit}"] if wins else []
                yield from equation(f"delta_{unit}{piece}", *why, number(delta[column]))
        yield ""

    def _from_cost(self, k: int) -> tuple[list[str], str]:
        """dJ/da of output k, for a squared cost: formulas and number."""
        a, y, unit = self.step.a[-1][k], self.step.y[k], self.names.units[-1][k]
        forms = [f"a_{unit} - y{k + 1}", f"{number(a)} - {factor(y)}"]
        if self.step.network.cost == "mean_squared_error":
            return [f"2 ({form})" for form in forms], number(2 * (a - y))
        return forms, number(a - y)

    def _from_next(self, layer: int, k: int) -> tuple[list[list[str]], str]:
        """dJ/da of a hidden unit, from the units that it feeds: formulas and number."""
        names, W, deltas = self.names, self.before[layer][0], self.step.delta[layer]
        symbols = [f"{w} delta_{to}" for w, to in zip(names.weights[layer][k], names.nets[layer + 1], strict=True)]
        return [symbols, products(W[k], deltas)], number(W[k] @ deltas)

    def gradient(self) -> Iterable[str]:
        """The derivative by every weight and bias."""
        step, names = self.step, self.names
        for layer in range(1, self.n_layers):
            (dW, db), to = self.gradients[layer - 1], layer + 1
            yield f"{INDENT}dW[{layer}] = {self._incoming(layer)}^T delta[{to}], db[{layer}] = delta[{to}]"
            yield ""
            rows = []
            for j, unit in enumerate(names.nets[layer]):
                delta = factor(step.delta[layer - 1][j])
                for k in range(len(names.units[layer - 1])):
                    a = names.activation(layer - 1, k)
                    numbers = f"= {number(step.a[layer - 1][k])} * {delta}"
                    rows.append((f"dJ/d{names.weights[layer - 1][k][j]}", f"= {a} delta_{unit}", numbers, dW[k, j]))
                rows.append((f"dJ/db_{unit}", f"= delta_{unit}", "", db[j]))
            yield from columns([(*texts, f"= {number(value)}") for *texts, value in rows])
            yield ""

    def update(self) -> Iterable[str]:
        """Every parameter before and after the step."""
        step, names = self.step, self.names
        eta = number(step.learning_rate)
        rows = []
        for layer in range(1, self.n_layers):
            (W, b), (dW, db) = self.before[layer - 1], self.gradients[layer - 1]
            W_after, b_after = self.after[layer - 1]
            for j, unit in enumerate(names.nets[layer]):
                for k in range(len(names.units[layer - 1])):
                    numbers = f"{number(W[k, j])} - {eta} * {factor(dW[k, j])}"
                    rows.append((names.weights[layer - 1][k][j], "<-", numbers, f"= {number(W_after[k, j])}"))
                if step.update_biases:
                    numbers = f"{number(b[j])} - {eta} * {factor(db[j])}"
                    rows.append((f"b_{unit}", "<-", numbers, f"= {number(b_after[j])}"))
        yield from columns(rows)
        if not step.update_biases:
            yield ""
            also = ", as in the published example" if self.origin.is_worked_example else ""
            yield from paragraph(f"The biases stay as they are{also}; --update-biases moves them, too.")
        yield ""

    def outcome(self) -> Iterable[str]:
        """What the step has changed."""
        step = self.step
        rows = [
            (f"a_{unit}", f"= {number(after)},", f"was {number(before)},", f"should be {number(y)}")
            for unit, before, after, y in zip(self.names.units[-1], step.a[-1], step.outputs_after, step.y, strict=True)
        ]
        yield from columns([*rows, ("J", f"= {number(step.cost_after)},", f"was {number(step.cost)}", "")])
        change = step.cost_after - step.cost
        yield ""
        moved = f"falls by {number(-change)}" if change <= 0 else f"rises by {number(change)}"
        text = f"J {moved}. Were J a plane, the step would lower it by {number(-step.first_order_change)} "
        text += "(eta times the sum of the squares of the derivatives used)."
        if change > 0:
            text += " The step goes too far for that: a smaller --learning-rate goes down."
        yield from paragraph(text)
        yield ""


def check_lines(check: GraphCheck, n_parameters: int) -> Iterable[str]:
    """The same derivatives from a computational graph, and what they cost."""
    yield from paragraph(
        f"As a graph of single operations (fastbp/graph.py), J has {check.edges:,} edges. Reverse mode, which is "
        f"backpropagation, visits each of them once and has all {n_parameters} derivatives. Forward mode takes a sweep "
        f"for each of the {n_parameters}: {check.forward_visits:,} visits. Largest difference from the derivatives "
        f"above: {check.reverse_difference:.1g} in reverse, {check.forward_difference:.1g} in forward mode."
    )


def show_explanation(step: Step, origin: Origin, check: GraphCheck, later: Sequence[tuple[int, float, Any]]) -> None:
    """The whole report on stdout; `later` are rows (number of steps, J, outputs)."""
    told = Explanation(step, origin)
    echo("Backpropagation, step by step", bold=True)
    echo()
    facts(told.setting())
    echo()
    sections: list[tuple[str, str, Iterable[str]]] = [
        (
            "1. Forward",
            "Each unit adds up what comes in, times its weights, plus its bias: its net input z. "
            "Its activation is a = f(z).",
            told.forward(),
        ),
        ("2. Cost", J[step.network.cost] + ": how far the outputs are from their targets.", told.cost()),
        (
            "3. Backward",
            "The delta of a unit is dJ/dz: how J changes with its net input. The deltas of a layer follow from those "
            "of the layer after it, so they go through the network from its end to its beginning.",
            told.deltas(),
        ),
        (
            "4. Gradient",
            "A weight takes part in one product only, w a, so dJ/dw is the activation that goes into it times the "
            "delta of the unit that it leads to.",
            told.gradient(),
        ),
        (
            "5. Update",
            "w <- w - eta dJ/dw: downhill. All derivatives are those of the old weights.",
            told.update(),
        ),
        ("6. Forward again", "The same sample with the new weights.", told.outcome()),
        ("7. Check", "", check_lines(check, step.network.n_parameters)),
    ]
    for title, text, lines in sections:
        echo(title, bold=True)
        for line in [*paragraph(text), *([""] if text else []), *lines]:
            echo(line)
    if later:
        echo()
        echo("8. More such steps", bold=True)
        units = told.names.units[-1] if len(told.names.units[-1]) <= 3 else []
        rows = [(f"{count:,}", number(cost, 10), *map(number, a[: len(units)])) for count, cost, a in later]
        for line in aligned(("steps", "J", *(f"a_{unit}" for unit in units)), rows, left=range(1, 5)):
            echo(INDENT + line)


def explanation_facts(
    step: Step, origin: Origin, check: GraphCheck, later: Sequence[tuple[int, float, Any]]
) -> dict[str, Any]:
    """The same numbers, JSON-ready: one entry in `layers` for each layer after the input."""
    network = step.network
    layers = []
    rows = zip(
        *(network.layers_of(theta) for theta in (step.theta, step.gradient, step.theta_after)),
        network.activations,
        strict=True,
    )
    for layer, ((W, b), (dW, db), (W_after, b_after), activation) in enumerate(rows):
        layers.append(
            {
                "activation": activation,
                "weights": W,
                "biases": b,
                "z": step.z[layer],
                "a": step.a[layer + 1],
                "delta": step.delta[layer],
                "dW": dW,
                "db": db,
                "weights_after": W_after,
                "biases_after": b_after,
            }
        )
    return {
        "sizes": network.sizes,
        "cost": network.cost,
        "learning_rate": step.learning_rate,
        "update_biases": step.update_biases,
        "weights_from": origin.weights,
        "sample_from": origin.sample,
        "x": step.x,
        "y": step.y,
        "layers": layers,
        "J": step.cost,
        "J_of_outputs": step.costs,
        "J_after": step.cost_after,
        "outputs_after": step.outputs_after,
        "first_order_change": step.first_order_change,
        "graph": {
            "edges": check.edges,
            "reverse_visits": check.reverse_visits,
            "forward_visits": check.forward_visits,
            "reverse_difference": check.reverse_difference,
            "forward_difference": check.forward_difference,
        },
        "steps": [{"steps": count, "J": cost, "outputs": a} for count, cost, a in later],
    }
