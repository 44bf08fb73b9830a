"""One step of gradient descent on one sample, with every number that turns up on the way kept.

A network, its parameters and a sample come in; net inputs, activations, deltas, gradients and the parameters after the
step go out, in float64, computed by the stages of `kernels/reference.py`. Refused: shapes that do not fit, activations
without a gradient, numbers that overflow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .graph import forward_mode, reverse_mode
from .kernels import layers as stages_of
from .kernels import reference
from .kernels.codes import ACTIVATION, COST, CROSS_ENTROPY, SGD
from .kernels.protocol import Settings, Split
from .kernels.stepwise import StepwiseEngine
from .network import Network
from .network_graph import cost_graph

__all__ = ["GraphCheck", "Step", "after_steps", "check_by_graph", "one_step"]

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Step:
    """What came in, and all that followed from it."""

    network: Network
    theta: Vector  # (n_parameters,)  before the step
    x: Vector  # (n_inputs,)
    y: Vector  # (n_outputs,)
    learning_rate: float
    update_biases: bool
    z: list[Vector]  # net inputs of every layer after the input
    a: list[Vector]  # activations of every layer; a[0] is x
    costs: Vector  # (n_outputs,)  what each output adds to J
    delta: list[Vector]  # dJ/dz of every layer after the input
    gradient: Vector  # (n_parameters,)  dJ/dtheta, those of fixed biases too
    theta_after: Vector  # (n_parameters,)
    costs_after: Vector  # (n_outputs,)
    outputs_after: Vector  # (n_outputs,)

    @property
    def cost(self) -> float:
        """J before the step."""
        return float(self.costs.sum())

    @property
    def cost_after(self) -> float:
        """J after it."""
        return float(self.costs_after.sum())

    @property
    def first_order_change(self) -> float:
        """What the step would change J by, were J a plane: the gradient times the change of the parameters."""
        return float(self.gradient @ (self.theta_after - self.theta))


@dataclass(frozen=True)
class GraphCheck:
    """What the computational graph of the cost says about a step's gradient."""

    edges: int
    reverse_visits: int  # edges visited by the one sweep of reverse mode
    forward_visits: int  # edges visited by the n_parameters sweeps of forward mode
    reverse_difference: float  # largest difference between its derivatives and the step's gradient
    forward_difference: float


def one_step(
    network: Network,
    theta: Sequence[float] | Vector,
    x: Sequence[float] | Vector,
    y: Sequence[float] | Vector,
    learning_rate: float,
    *,
    update_biases: bool = True,
) -> Step:
    """theta -= learning_rate * dJ/dtheta, for the cost J of one sample.

    Parameters
    ----------
    network : Network
        trainable
    theta : (n_parameters,) numbers
        W[1] row by row, b[1], W[2], b[2], ...
    x : (n_inputs,) numbers
        as the network takes them
    y : (n_outputs,) numbers
    learning_rate : float
    update_biases : bool
        False leaves all biases as they are

    Raises
    ------
    UsageError
        another number of parameters, inputs or targets; activation step; numbers that overflow

    Examples
    --------
    One identity unit, J = 1/2 (w x + b - y)^2:

    >>> step = one_step(Network((1, 1), ("identity",), "squared_error"), [2.0, 1.0], [3.0], [4.0], 0.1)
    >>> step.cost, step.gradient.tolist()
    (4.5, [9.0, 3.0])
    >>> step.theta_after.round(12).tolist(), round(step.cost_after, 12)
    ([1.1, 0.7], 0.0)
    """
    if not network.trainable:
        raise UsageError("activation step has no gradient and cannot be trained; use sigmoid, or cost perceptron")
    theta, x, y = (np.array(values, dtype=np.float64) for values in (theta, x, y))
    sizes = (network.n_parameters, network.sizes[0], network.sizes[-1])
    for name, size, values in zip(("theta", "x", "y"), sizes, (theta, x, y), strict=True):
        if values.shape != (size,):
            raise UsageError(f"{network} needs {name} of shape ({size},), got {values.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        z, a = _forward(network, theta, x)
        costs = _costs(network, z[-1], a[-1], y)
        delta = _deltas(network, theta, z, a, y)
        gradient, theta_after = np.empty_like(theta), theta.copy()
        layers, gradients = network.layers_of(theta_after), network.layers_of(gradient)
        for layer, ((W, b), (dW, db)) in enumerate(zip(layers, gradients, strict=True)):
            reference.gradient(a[layer][None], delta[layer][None], dW, db)
            reference.update(W, b, dW, db if update_biases else np.zeros_like(db), learning_rate, 0.0, 1)
        z_after, a_after = _forward(network, theta_after, x)
        costs_after = _costs(network, z_after[-1], a_after[-1], y)
    if not all(np.isfinite(values).all() for values in (theta, x, y, *z, costs, gradient)):
        raise UsageError("the network overflows float64 at this sample; use smaller inputs, targets or weights")
    return Step(
        network=network,
        theta=theta,
        x=x,
        y=y,
        learning_rate=learning_rate,
        update_biases=update_biases,
        z=z,
        a=a,
        costs=costs,
        delta=delta,
        gradient=gradient,
        theta_after=theta_after,
        costs_after=costs_after,
        outputs_after=a_after[-1],
    )


def after_steps(step: Step, counts: Sequence[int]) -> Iterator[tuple[int, float, Vector]]:
    """(count, J, outputs) after so many steps like this one, for each of the rising `counts`."""
    split = Split(step.x[None], np.zeros(1, np.int32), step.y[None])
    rule = Settings(SGD, batch_size=1, update_biases=step.update_biases)
    engine = StepwiseEngine(reference, "reference", step.network, step.theta, split, split, rule, classes=False)
    done = 0
    for count in counts:
        more = count - done
        with np.errstate(over="ignore", invalid="ignore"):
            engine.run(np.zeros(more, np.uint32), np.full(more, step.learning_rate), np.empty(more))
            _, a = _forward(step.network, engine.parameters(), step.x)
            cost = engine.evaluate("train").loss
        yield count, cost, a[-1]
        done = count


def check_by_graph(step: Step) -> GraphCheck:
    """Differentiate the computational graph of the cost in both modes, and compare with the step's gradient."""
    graph = cost_graph(step.network, step.theta.tolist(), step.x.tolist(), step.y.tolist())
    backward = reverse_mode(graph.cost)
    ahead = [forward_mode(graph.cost, parameter) for parameter in graph.theta]
    by_reverse = np.array([backward[parameter] for parameter in graph.theta])
    by_forward = np.array([sweep[graph.cost] for sweep in ahead])
    return GraphCheck(
        edges=sum(len(node.edges) for node in backward.derivatives),
        reverse_visits=backward.visits,
        forward_visits=sum(sweep.visits for sweep in ahead),
        reverse_difference=float(np.abs(by_reverse - step.gradient).max()),
        forward_difference=float(np.abs(by_forward - step.gradient).max()),
    )


def _forward(network: Network, theta: Vector, x: Vector) -> tuple[list[Vector], list[Vector]]:
    """(z of every layer after the input, a of every layer)"""
    z: list[Vector] = []
    a = [x]
    kinds = stages_of.activations_of(network)
    for (W, b), kind, n_out in zip(network.layers_of(theta), kinds, network.sizes[1:], strict=True):
        net, out = np.empty((1, b.size)), np.empty((1, n_out))
        stages_of.forward(reference, a[-1][None], W, b, kind, net, out)
        z.append(net[0])
        a.append(out[0])
    return z, a


def _deltas(network: Network, theta: Vector, z: list[Vector], a: list[Vector], y: Vector) -> list[Vector]:
    """dJ/dz of every layer after the input, from the last to the first, all with the same weights"""
    kinds, layers = stages_of.activations_of(network), network.layers_of(theta)
    delta: list[Any] = [np.empty((1, b.size)) for _, b in layers]
    reference.output_delta(a[-1][None], y[None], ACTIVATION[network.activations[-1]], COST[network.cost], delta[-1])
    for layer in range(len(delta) - 1, 0, -1):
        W_next, below = layers[layer][0], (z[layer - 1][None], a[layer][None])
        stages_of.hidden_delta(reference, delta[layer], W_next, *below, kinds[layer - 1], delta[layer - 1])
    return [row[0] for row in delta]


def _costs(network: Network, z: Vector, a: Vector, y: Vector) -> Vector:
    """The cost of each output on its own; they add up to J."""
    code = COST[network.cost]
    if code == CROSS_ENTROPY:  # each term needs all net inputs, and its own target only
        rows = [(z[None], a[None], target[None]) for target in np.diag(y)]
    else:
        rows = [(z[None, k : k + 1], a[None, k : k + 1], y[None, k : k + 1]) for k in range(y.size)]
    return np.array([reference.loss(*row, code) for row in rows])
