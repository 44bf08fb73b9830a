"""An engine that calls the stages one by one from Python: the readable specification of what every engine does.

A batch goes forward; then come the deltas of all layers, from the last to the first, before any weight changes; then
each layer's gradient and update. The stages come from a module, `reference` (NumPy) or `stages` (compiled); all the
rest is which array goes where.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..streams import stream_key
from . import layers
from .codes import ADAM, ADAMW, COST, MOMENTUM, NESTEROV, RMSPROP, WITH_MOMENTS, WITH_SQUARES
from .dropout import factors
from .protocol import Evaluation, OptimizerState, Settings, Split

__all__ = ["StepwiseEngine"]

EVALUATION_ROWS = 1000  # samples evaluated at a time; bounds the workspace

Array = NDArray[Any]


class StepwiseEngine:
    """Trains a network batch by batch and stage by stage; `protocol.Engine` says what the methods do.

    Parameters
    ----------
    stages : module
        `fastbp.kernels.reference` or `fastbp.kernels.stages`
    name : str
        what people call this engine
    network : Network
        sizes, activations, cost, and `layers_of(theta)`
    theta : (n_parameters,) float32 or float64
        initial parameters, copied; their dtype is the precision of all arithmetic
    train, test : Split
        samples and targets, kept without a copy; `test` may have no rows
    settings : Settings
    x_scale : float
        the network's input is `x * x_scale`, where x is converted to the dtype of theta first; 1/255 for bytes
    classes : bool
        whether targets are codes of classes, so that there are right answers to count
    """

    def __init__(
        self,
        stages: Any,
        name: str,
        network: Any,
        theta: Array,
        train: Split,
        test: Split,
        settings: Settings,
        *,
        x_scale: float = 1.0,
        classes: bool = True,
    ) -> None:
        def zeros(*shape: int) -> Array:
            return np.zeros(shape, theta.dtype)

        self.name = name
        self._stages, self._settings = stages, settings
        self._x_scale, self._classes = float(x_scale), classes
        self._splits = {
            "train": train._replace(targets=train.targets.astype(theta.dtype)),
            "test": test._replace(targets=test.targets.astype(theta.dtype)),
        }
        self._activations = layers.activations_of(network)
        self._cost = COST[network.cost]

        self._theta = theta.copy()
        self._layers = network.layers_of(self._theta)
        self._layers_of = network.layers_of
        self._flat_gradient = zeros(theta.size)
        self._gradients = network.layers_of(self._flat_gradient)
        self._state = zeros(2, theta.size)
        self._moments = network.layers_of(self._state[0])  # momentum: velocity; Adam: mean of gradients
        self._squares = network.layers_of(self._state[1])  # Adam and RMSProp: mean of squared gradients
        self._n_updates = 0
        self._dropout_key = stream_key(settings.seed, "dropout")
        self._hidden = network.sizes[1:-1]

        rows = max(settings.batch_size, EVALUATION_ROWS)
        columns = [W.shape[1] for W, _ in self._layers]  # net inputs of a layer: two for each maxout unit
        self._a = [zeros(rows, size) for size in network.sizes]  # a[0] is the input
        kept = [*map(layers.keeps_z, self._activations[:-1]), True]
        self._z = [zeros(rows, n) if keep else None for n, keep in zip(columns, kept, strict=True)]  # None: that of a
        self._y = zeros(rows, network.sizes[-1])
        self._whole = [zeros(rows, size) for size in self._hidden] if any(settings.dropout) else []
        self._delta = [zeros(rows, n) for n in columns]  # delta[l] belongs to a[l + 1]

    def run(self, order: Array, etas: Array, costs: Array) -> None:
        size = self._settings.batch_size
        n_batches = -(-len(order) // size)
        if len(etas) != n_batches or len(costs) != n_batches:
            raise ValueError(
                f"{len(order)} samples in batches of {size} need {n_batches} learning rates and costs, "
                f"got {len(etas)} and {len(costs)}"
            )
        for i in range(n_batches):
            costs[i] = self._train_batch(order[i * size : (i + 1) * size], float(etas[i]))

    def evaluate(self, split: str) -> Evaluation:
        samples = self._splits[split]
        n = len(samples.y)
        if n == 0:
            return Evaluation(float("nan"), None)
        total, n_right = 0.0, 0
        for start in range(0, n, EVALUATION_ROWS):
            rows = slice(start, min(n, start + EVALUATION_ROWS))
            a, z, y = self._forward(samples, rows)
            total += self._cost_of(samples, rows, z[-1], a[-1], y)
            n_right += int(np.sum(_answers(a[-1], samples.targets) == _answers(y, samples.targets)))
        mass = n if samples.weights is None else float(samples.weights.sum())
        return Evaluation(total / mass, n_right / n if self._classes else None)

    def cost_and_gradient(self) -> tuple[float, Array]:
        samples = self._splits["train"]
        sums, total, mass = np.zeros_like(self._theta), 0.0, 0.0
        for start in range(0, len(samples.y), EVALUATION_ROWS):
            rows = np.arange(start, min(start + EVALUATION_ROWS, len(samples.y)))
            cost, weight = self._backward(rows, dropping=False)
            total, mass = total + cost, mass + weight
            sums += self._flat_gradient
        decay = self._decay(mass)
        sums /= mass
        if self._settings.optimizer != ADAMW:
            for (W, _), (dW, _) in zip(self._layers, self._layers_of(sums), strict=True):
                dW += decay * W
        return total / mass + self._penalty(decay), sums

    def reset_state(self) -> None:
        self._state[:] = 0
        self._n_updates = 0

    def state(self) -> OptimizerState:
        moments, squares = self._state.copy()
        optimizer = self._settings.optimizer
        return OptimizerState(
            moments if optimizer in WITH_MOMENTS else None,
            squares if optimizer in WITH_SQUARES else None,
            self._n_updates,
        )

    def set_state(self, state: OptimizerState) -> None:
        for row, values in zip(self._state, (state.moments, state.squares), strict=True):
            row[:] = 0 if values is None else values
        self._n_updates = state.n_updates

    def parameters(self) -> Array:
        return self._theta.copy()

    def set_parameters(self, theta: Array) -> None:
        self._theta[:] = theta

    def _forward(
        self, samples: Split, rows: Any, keep: list[Array] | None = None
    ) -> tuple[list[Array], list[Array], Array]:
        """Activations and net inputs of all layers, and targets, for some rows (indices or a slice).

        With dropout, `keep` holds the factors of the hidden layers, and `_whole` keeps what they are multiplied with.
        """
        labels = samples.y[rows]
        n = len(labels)
        a, y = [layer[:n] for layer in self._a], self._y[:n]
        z = [a[layer] if kept is None else kept[:n] for layer, kept in enumerate(self._z, start=1)]
        np.multiply(samples.x[rows], self._x_scale, out=a[0], dtype=a[0].dtype)
        y[:] = samples.targets[labels]
        last = len(self._layers) - 1
        for layer, (W, b) in enumerate(self._layers):
            layers.forward(self._stages, a[layer], W, b, self._activations[layer], z[layer], a[layer + 1])
            if keep is not None and layer < last:
                self._whole[layer][:n] = a[layer + 1]
                a[layer + 1] *= keep[layer]
        return a, z, y

    def _cost_of(self, samples: Split, rows: Any, z: Array, a: Array, y: Array) -> float:
        """The cost summed over some rows, each with its weight."""
        if samples.weights is None:
            return float(self._stages.loss(z, a, y, self._cost))
        total = 0.0
        for i, weight in enumerate(samples.weights[rows]):
            one = slice(i, i + 1)
            total += float(weight) * self._stages.loss(z[one], a[one], y[one], self._cost)
        return total

    def _backward(self, rows: Array, *, dropping: bool) -> tuple[float, float]:
        """Gradients, summed over samples with their weights; returns the sum of their costs and that of the weights."""
        stages, rule, samples, n = self._stages, self._settings, self._splits["train"], len(rows)
        keep = None
        if dropping and any(rule.dropout):
            keep = factors(
                self._dropout_key, self._n_updates, rule.batch_size, n, self._hidden, rule.dropout, self._theta.dtype
            )
        a, z, y = self._forward(samples, rows, keep)
        cost = self._cost_of(samples, rows, z[-1], a[-1], y)
        delta = [layer[:n] for layer in self._delta]
        stages.output_delta(a[-1], y, self._activations[-1], self._cost, delta[-1])
        if samples.weights is not None:
            delta[-1] *= samples.weights[rows, None]
        for layer in range(len(delta) - 1, 0, -1):
            W_next, _ = self._layers[layer]
            whole = a[layer] if keep is None else self._whole[layer - 1][:n]
            below, activation = delta[layer - 1], self._activations[layer - 1]
            layers.hidden_delta(stages, delta[layer], W_next, z[layer - 1], whole, activation, below)
            if keep is not None:  # both pieces of a maxout unit are kept or dropped
                below *= np.tile(keep[layer - 1], below.shape[1] // whole.shape[1])
        for layer, (dW, db) in enumerate(self._gradients):
            stages.gradient(a[layer], delta[layer], dW, db)
            if not rule.update_biases:
                db[:] = 0
        return cost, n if samples.weights is None else float(samples.weights[rows].sum())

    def _train_batch(self, rows: Array, eta: float) -> float:
        """One step of the optimiser. Returns the mean cost before it."""
        rule = self._settings
        total, mass = self._backward(rows, dropping=True)
        mass = mass or 1.0  # no weight at all: no gradient either
        decay = self._decay(mass)
        cost = total / mass + (self._penalty(decay) if rule.penalty_in_cost else 0.0)
        if rule.clip_norm > 0:
            self._clip(decay, mass)
            decay = 0.0 if rule.optimizer != ADAMW else decay
        self._n_updates += 1
        for layer in range(len(self._layers)):
            self._update(layer, eta, decay, mass)
        return cost

    def _decay(self, mass: float) -> float:
        return self._settings.decay / mass if self._settings.decay_per_batch else self._settings.decay

    def _penalty(self, decay: float) -> float:
        """lambda/2 * sum of W^2."""
        if self._settings.optimizer == ADAMW:
            return 0.0
        return decay / 2 * sum(float(np.vdot(W, W)) for W, _ in self._layers)

    def _clip(self, decay: float, mass: float) -> None:
        """Bring the gradients of the mean cost, with the penalty, to at most clip_norm; they stay sums over samples."""
        if self._settings.optimizer != ADAMW:
            for (W, _), (dW, _) in zip(self._layers, self._gradients, strict=True):
                dW += mass * decay * W
        norm = float(np.sqrt(np.vdot(self._flat_gradient, self._flat_gradient))) / mass
        if norm > self._settings.clip_norm:
            self._flat_gradient *= self._settings.clip_norm / norm

    def _update(self, layer: int, eta: float, decay: float, n: float) -> None:
        """Change the weights of one layer by the optimiser's rule."""
        rule, stages = self._settings, self._stages
        W, b = self._layers[layer]
        given = (W, b, *self._gradients[layer])
        if rule.optimizer in (MOMENTUM, NESTEROV):
            step = stages.momentum_update if rule.optimizer == MOMENTUM else stages.nesterov_update
            step(*given, *self._moments[layer], eta, decay, n, rule.momentum)
        elif rule.optimizer == RMSPROP:
            stages.rmsprop_update(*given, *self._squares[layer], eta, decay, n, rule.rho, rule.epsilon)
        elif rule.optimizer in (ADAM, ADAMW):
            if rule.optimizer == ADAMW:
                W *= W.dtype.type(1.0 - eta * decay)
                decay = 0.0
            means = (*self._moments[layer], *self._squares[layer])
            rates = (rule.beta_1, rule.beta_2, rule.epsilon, self._n_updates)
            stages.adam_update(*given, *means, eta, decay, n, *rates)
        else:
            stages.update(*given, eta, decay, n)


def _answers(outputs: Array, targets: Array) -> Array:
    """The class that each row stands for: its largest element; a single one is cut midway between the two codes."""
    single = outputs.shape[1] == 1
    answers: Array = outputs[:, 0] > (targets.min() + targets.max()) / 2 if single else outputs.argmax(axis=1)
    return answers
