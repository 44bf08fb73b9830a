"""An engine that calls the stages one by one from Python: the readable specification of what every engine does.

A batch goes forward; then come the deltas of all layers, from the last to the first, before any weight changes; then
each layer's gradient and update. The stages come from a module, `reference` (NumPy) or `stages` (compiled); all the
rest is which array goes where.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .codes import ACTIVATION, ADAM, COST, MOMENTUM
from .protocol import Evaluation, Settings, Split

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
        self._activations = [ACTIVATION[activation] for activation in network.activations]
        self._cost = COST[network.cost]

        self._theta = theta.copy()
        self._layers = network.layers_of(self._theta)
        self._gradients = network.layers_of(zeros(theta.size))
        self._moments = network.layers_of(zeros(theta.size))  # momentum: velocity; Adam: mean of gradients
        self._squares = network.layers_of(zeros(theta.size))  # Adam: mean of squared gradients
        self._n_updates = 0

        rows = max(settings.batch_size, EVALUATION_ROWS)
        self._a = [zeros(rows, size) for size in network.sizes]  # a[0] is the input
        self._z = zeros(rows, network.sizes[-1])  # of the output layer; the hidden layers need a only
        self._y = zeros(rows, network.sizes[-1])
        self._delta = [zeros(rows, size) for size in network.sizes[1:]]  # delta[l] belongs to a[l + 1]

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
            a, z, y = self._forward(samples, slice(start, min(n, start + EVALUATION_ROWS)))
            total += self._stages.loss(z, a[-1], y, self._cost)
            n_right += int(np.sum(_answers(a[-1], samples.targets) == _answers(y, samples.targets)))
        return Evaluation(total / n, n_right / n if self._classes else None)

    def parameters(self) -> Array:
        return self._theta.copy()

    def set_parameters(self, theta: Array) -> None:
        self._theta[:] = theta

    def _forward(self, samples: Split, rows: Any) -> tuple[list[Array], Array, Array]:
        """Activations of all layers, net input of the last one, and targets, for some rows (indices or a slice)."""
        labels = samples.y[rows]
        n = len(labels)
        a, z, y = [layer[:n] for layer in self._a], self._z[:n], self._y[:n]
        np.multiply(samples.x[rows], self._x_scale, out=a[0], dtype=a[0].dtype)
        y[:] = samples.targets[labels]
        last = len(self._layers) - 1
        for layer, (W, b) in enumerate(self._layers):
            z_layer = z if layer == last else a[layer + 1]
            self._stages.forward(a[layer], W, b, self._activations[layer], z_layer, a[layer + 1])
        return a, z, y

    def _train_batch(self, rows: Array, eta: float) -> float:
        """One step of the optimiser. Returns the mean cost before it."""
        stages, n = self._stages, len(rows)
        a, z, y = self._forward(self._splits["train"], rows)
        mean_cost: float = stages.loss(z, a[-1], y, self._cost) / n
        delta = [layer[:n] for layer in self._delta]
        stages.output_delta(a[-1], y, self._activations[-1], self._cost, delta[-1])
        for layer in range(len(delta) - 1, 0, -1):
            W_next, _ = self._layers[layer]
            stages.hidden_delta(delta[layer], W_next, a[layer], self._activations[layer - 1], delta[layer - 1])
        self._n_updates += 1
        for layer, (dW, db) in enumerate(self._gradients):
            stages.gradient(a[layer], delta[layer], dW, db)
            if not self._settings.update_biases:
                db[:] = 0
            self._update(layer, eta, n)
        return mean_cost

    def _update(self, layer: int, eta: float, n: int) -> None:
        """Change the weights of one layer by the optimiser's rule."""
        rule = self._settings
        given = (*self._layers[layer], *self._gradients[layer])
        if rule.optimizer == MOMENTUM:
            self._stages.momentum_update(*given, *self._moments[layer], eta, rule.decay, n, rule.momentum)
        elif rule.optimizer == ADAM:
            means = (*self._moments[layer], *self._squares[layer])
            rates = (rule.beta_1, rule.beta_2, rule.epsilon, self._n_updates)
            self._stages.adam_update(*given, *means, eta, rule.decay, n, *rates)
        else:
            self._stages.update(*given, eta, rule.decay, n)


def _answers(outputs: Array, targets: Array) -> Array:
    """The class that each row stands for: its largest element; a single one is cut midway between the two codes."""
    single = outputs.shape[1] == 1
    answers: Array = outputs[:, 0] > (targets.min() + targets.max()) / 2 if single else outputs.argmax(axis=1)
    return answers
