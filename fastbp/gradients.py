"""One pass over many samples, forward and back: the gradient of the mean cost, and what each layer did meanwhile.

    block of samples -> forward -> costs -> output_delta -> hidden_delta, gradient, layer by layer down to the input

A model with samples and targets comes in, a `Measured` goes out. The stages are those of `kernels.reference`, in
float64 whatever the precision of the model; memory for the activations is bounded, however many samples there are.
Refused: what `Model.evaluate` refuses, and networks with step units, which have no gradient but for the cost of the
perceptron. Nothing is updated.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import UsageError
from .kernels import layers as stages_of
from .kernels import reference
from .kernels.codes import (
    ACTIVATION,
    BINARY_CROSS_ENTROPY,
    CROSS_ENTROPY,
    IDENTITY,
    MEAN_SQUARED_ERROR,
    PERCEPTRON,
    POISSON,
)
from .model import Model
from .preprocessing import Scaling, code_classes

__all__ = ["Activity", "Measured", "measure", "sample_costs"]

FloatArray = NDArray[np.float64]

BLOCK_VALUES = 1 << 20  # activations in a block: 8 MB of float64, and as much again for the deltas
LIMITS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
NEAR = 0.01  # share of the range between the limits


class Activity:
    """Counts and moments of one layer's activations, gathered block by block.

    An activation of sigmoid or tanh is saturated where it lies within 1 % of the range from one of its limits; there
    the derivative is below 4 % of its largest. A relu unit is dead while none of its activations is positive.
    """

    def __init__(self, activation: str, n_units: int) -> None:
        self.activation = activation
        self.n_units = n_units
        self.n_values = 0
        self.n_saturated = 0
        self.always_saturated = np.ones(n_units, dtype=bool)
        self.ever_positive = np.zeros(n_units, dtype=bool)
        self.mean = 0.0
        self._squares = 0.0  # sum of squared deviations from the mean

    def add(self, a: FloatArray) -> None:
        """Take in the activations of a block, (n, n_units)."""
        if self.activation in LIMITS:
            low, high = LIMITS[self.activation]
            margin = NEAR * (high - low)
            saturated = (a < low + margin) | (a > high - margin)
            self.n_saturated += int(saturated.sum())
            self.always_saturated &= saturated.all(axis=0)
        self.ever_positive |= (a > 0).any(axis=0)
        # two moments of two parts, without cancellation (Chan, Golub, LeVeque 1979)
        mean, total = float(a.mean()), self.n_values + a.size
        gap = mean - self.mean
        self._squares += float(((a - mean) ** 2).sum()) + gap * gap * self.n_values * a.size / total
        self.mean += gap * a.size / total
        self.n_values = total

    @property
    def deviation(self) -> float:
        """Of the activations so far, as a population."""
        return float(np.sqrt(self._squares / self.n_values))


class Measured(NamedTuple):
    """What one pass found. `x` and `y` are the samples and targets as arrays; layers are in order, the first first."""

    x: NDArray[Any]  # (n_samples, n_features) in the units of the data
    y: NDArray[Any]  # (n_samples,) class numbers, or (n_samples, n_outputs) in the units of the data
    loss: float  # as Model.evaluate measures it, and so is the accuracy
    accuracy: float | None
    costs: FloatArray  # (n_samples,) cost of each sample
    gradient: FloatArray  # (n_parameters,) of the mean cost, in the order of theta; no weight decay
    delta_norms: FloatArray  # (n_layers,) root mean square over the samples of the norm of dJ_i/dz
    sensitivity: FloatArray  # (n_features,) mean over the samples of |dJ_i/dx|, x as the network sees it
    activity: list[Activity]  # one for each layer


def measure(model: Model, x: ArrayLike, y: ArrayLike) -> Measured:
    """Send the samples through the network and their errors back.

    Parameters
    ----------
    model : Model
    x, y : as for `Model.evaluate`

    Raises
    ------
    UsageError
        what `Model.evaluate` refuses; a network with step units

    Examples
    --------
    >>> from fastbp.network import Network
    >>> line = Model(Network((1, 1), ("identity",), "squared_error"), np.array([2.0, 1.0]))
    >>> measured = measure(line, [[1.0], [2.0]], [[3.0], [9.0]])  # it answers 3 and 5
    >>> measured.costs, measured.gradient
    (array([0., 8.]), array([-4., -2.]))
    """
    network = model.network
    if not network.trainable:
        raise UsageError(
            f"the network {network} has step units, which have no gradient; use a network of other activations, "
            "such as sigmoid"
        )
    loss, accuracy = model.evaluate(x, y)
    samples = np.asarray(x).reshape(np.shape(x)[0], -1)
    targets = np.asarray(y).reshape(len(samples), -1) if model.is_regression else np.asarray(y)
    layers = network.layers_of(model.parameters.astype(np.float64))
    kinds = [IDENTITY, *stages_of.activations_of(network)]  # of the input, too
    cost = reference.COST[network.cost]
    gradient, block_gradient = np.zeros(network.n_parameters), np.empty(network.n_parameters)
    costs = np.empty(len(samples))
    delta_squares, sensitivity = np.zeros(len(layers)), np.zeros(network.sizes[0])
    activity = [Activity(name, n) for name, n in zip(network.activations, network.sizes[1:], strict=True)]
    output = ACTIVATION[network.activations[-1]]
    n_rows = max(1, BLOCK_VALUES // (network.sizes[0] + sum(n_columns for _, n_columns in network.shapes)))
    for start in range(0, len(samples), n_rows):
        part = slice(start, start + n_rows)
        a = [model.inputs.apply(samples[part], np.float64, first_row=start)]
        rows = _target_rows(model, targets[part])
        z = [a[0]]
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # exploding gradients may leave float64
            for (W, b), kind, seen in zip(layers, kinds[1:], activity, strict=True):
                z.append(np.empty((len(rows), len(b))))
                out = np.empty((len(rows), seen.n_units))
                stages_of.forward(reference, a[-1], W, b, kind, z[-1], out)
                a.append(out)
                seen.add(out)
            costs[part] = sample_costs(z[-1], a[-1], rows, cost)
            delta = np.empty_like(a[-1])
            reference.output_delta(a[-1], rows, output, cost, delta)
            for layer in range(len(layers) - 1, -1, -1):
                delta_squares[layer] += np.sum(delta**2)
                reference.gradient(a[layer], delta, *network.layers_of(block_gradient)[layer])
                # f' of the input is 1: below the first layer, delta is dJ/dx
                delta_above, delta = delta, np.empty_like(z[layer])
                W_next, _ = layers[layer]
                stages_of.hidden_delta(reference, delta_above, W_next, z[layer], a[layer], kinds[layer], delta)
            gradient += block_gradient
            sensitivity += np.abs(delta).sum(axis=0)
    n = len(samples)
    return Measured(
        x=samples,
        y=targets,
        loss=loss,
        accuracy=accuracy,
        costs=costs,
        gradient=gradient / n,
        delta_norms=np.sqrt(delta_squares / n),
        sensitivity=sensitivity / n,
        activity=activity,
    )


def sample_costs(z: FloatArray, a: FloatArray, y: FloatArray, cost: int) -> FloatArray:
    """The cost of each sample: `kernels.reference.loss`, row by row.

    Parameters
    ----------
    z, a, y : (n, n_outputs)
        net input, activation and target of the output layer
    cost : int
        code

    Returns
    -------
    costs : (n,)

    Examples
    --------
    >>> a, y = np.array([[1.0, 3.0], [2.0, 2.0]]), np.array([[0.0, 1.0], [2.0, 2.0]])
    >>> sample_costs(a, a, y, MEAN_SQUARED_ERROR)
    array([5., 0.])
    """
    if cost == CROSS_ENTROPY:
        shifted = z - z.max(axis=1, keepdims=True)
        terms = y * (np.log(np.exp(shifted).sum(axis=1, keepdims=True)) - shifted)
    elif cost == BINARY_CROSS_ENTROPY:
        terms = np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))
    elif cost == POISSON:
        terms = a - y + y * (np.log(np.where(y > 0, y, 1)) - z)
    elif cost == PERCEPTRON:
        terms = (a - y) * z
    else:
        terms = (a - y) ** 2 if cost == MEAN_SQUARED_ERROR else (a - y) ** 2 / 2
    return np.asarray(terms.sum(axis=1))


def _target_rows(model: Model, y: NDArray[Any]) -> FloatArray:
    """What the output layer should say, (n, n_outputs)."""
    if model.is_regression:
        return (model.targets or Scaling(0.0, 1.0)).apply(y, np.float64)
    return code_classes(y, model.network.sizes[-1], model.network.activations[-1], np.float64)
