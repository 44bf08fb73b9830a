"""Epoch after epoch: order, learning rate, engine, loss curve, validation, stopping. The page where `fit` flows.

Everything that decides when to stop follows scikit-learn's MLP, and random numbers are drawn in its order.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import shuffle

from ..kernels import OptimizerState, Settings
from .callbacks import Tasks
from .engines import engine_for
from .outputs import mean_loss, network_outputs
from .problem import Problem

__all__ = ["fit_stochastic"]

Array = NDArray[Any]

SMALLEST_RATE = 1e-6  # an adaptive learning rate below this ends training


@dataclass
class Memory:
    """What the next call of partial_fit goes on from. It can be pickled, and used on a machine of another kind."""

    solver: str
    learning_rate: float
    state: OptimizerState | None = None


def fit_stochastic(est: Any, problem: Problem, theta: Array, incremental: bool, tasks: Tasks) -> Array:
    """Train from `theta` and return the parameters that the estimator keeps; the curves are written to `est`.

    With `incremental` it is one epoch, and the optimiser goes on from where the last call left it.
    """
    batch_size = _batch_size(est.batch_size, problem.n_trained)
    settings = est._settings(batch_size)
    memory = _memory(est, incremental)
    run = _Run(est, problem, theta, settings, memory)
    # Where a warm start finds no better score than earlier fits had, scikit-learn keeps its last weights; so do we.
    best = None
    if incremental or not est.loss_curve_:
        best = problem.shape.theta_of(est._best_coefs, est._best_intercepts, theta.dtype)
    est.stopped_ = False
    visits = np.arange(problem.n_trained, dtype=int)
    try:
        est.n_iter_ = 0
        for _ in range(est.max_iter):
            tasks.begin("epoch", run.attributes)
            if est.shuffle:
                visits = shuffle(visits, random_state=est._random_state)
            est.loss_ = run.epoch(visits)
            est.n_iter_ += 1
            est.t_ += problem.n_trained
            est.loss_curve_.append(est.loss_)
            _say(est, f"Iteration {est.n_iter_}, loss = {est.loss_:.8f}")
            if run.validate():
                best = run.engine.parameters()
            _count_idle_epochs(est)
            if est.solver == "sgd" and est.learning_rate == "invscaling":
                memory.learning_rate = float(est.learning_rate_init) / (est.t_ + 1) ** est.power_t
            asked = tasks.end(run.attributes)
            if est._no_improvement_count > est.n_iter_no_change:
                if _lower_or_stop(est, memory):
                    est.stopped_ = True
                    break
                est._no_improvement_count = 0
            if asked or incremental:
                break
            if est.n_iter_ == est.max_iter:
                warnings.warn(
                    f"Maximum iterations ({est.max_iter}) reached and the optimization hasn't converged yet; "
                    "increase max_iter, or scale the data.",
                    ConvergenceWarning,
                    stacklevel=2,
                )
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=2)

    last = run.engine.parameters()
    est._optimizer = replace(memory, state=run.engine.state())
    if not est.early_stopping or best is None:
        return last
    est._best_coefs, est._best_intercepts = problem.shape.arrays_of(best)
    # A call of partial_fit is one step of a longer training: it goes back to the best weights only where that ends.
    return last if incremental and not est.stopped_ else best


class _Run:
    """One engine with the samples of a fit, epoch after epoch."""

    def __init__(self, est: Any, problem: Problem, theta: Array, settings: Settings, memory: Memory) -> None:
        self.est, self.problem, self.settings, self.memory = est, problem, settings, memory
        self.engine = engine_for(
            problem.shape, theta, problem.X, problem.targets, problem.weights, settings, est.threads
        )
        if memory.state is not None:
            self.engine.set_state(memory.state)
        size = settings.batch_size
        self.starts = np.arange(0, problem.n_trained, size)
        self.sizes = np.minimum(size, problem.n_trained - self.starts)

    def attributes(self) -> dict[str, Any]:
        """The fitted attributes of this moment."""
        coefs, intercepts = self.problem.shape.arrays_of(self.engine.parameters())
        return {"coefs_": coefs, "intercepts_": intercepts}

    def epoch(self, visits: Array) -> float:
        """Train on the samples in this order. The loss is the mean of the batches' losses, by their numbers of samples.

        The scale of several regression outputs is scikit-learn's: their gradient is that of the sum of their costs,
        what is reported is the mean, plus the penalty.
        """
        order = visits if self.problem.rows is None else self.problem.rows[visits]
        order = order.astype(np.uint32)
        totals = self._totals(order)
        etas = np.full(len(self.starts), self.memory.learning_rate)
        costs = np.empty(len(self.starts))
        shape, settings = self.problem.shape, self.settings
        n_outputs = shape.sizes[-1] if shape.names[-1] == "identity" else 1
        if n_outputs == 1 or not (settings.penalty_in_cost and settings.decay):
            self.engine.run(order, etas, costs)
            costs /= n_outputs
        else:  # batch by batch, to tell the penalty from the costs of the outputs
            for batch, start in enumerate(self.starts):
                penalty = settings.decay / 2 / totals[batch] * shape.weights_squared(self.engine.parameters())
                here = slice(batch, batch + 1)
                self.engine.run(order[start : start + settings.batch_size], etas[here], costs[here])
                costs[batch] = (costs[batch] - penalty) / n_outputs + penalty
        return float(costs @ self.sizes) / self.problem.n_trained

    def _totals(self, order: Array) -> Array:
        """The sum of weights of each batch; the mean cost of a batch needs it to be above 0."""
        if self.problem.weights is None:
            return self.sizes
        totals = np.add.reduceat(self.problem.weights[order], self.starts)
        if not (totals > 0).all():
            raise ValueError(
                "the sample weights of a batch sum to zero or less, so that it has no mean loss; "
                "remove samples of weight 0 or increase batch_size"
            )
        return np.asarray(totals)

    def validate(self) -> bool:
        """Note score and loss on the validation set, if there is one. True where the score is the best so far."""
        est, held = self.est, self.problem.validation
        if held is None:
            return False
        shape = self.problem.shape
        outputs = network_outputs(held.X, *shape.arrays_of(self.engine.parameters()), shape.names)
        est.validation_loss_curve_.append(mean_loss(held.targets, outputs, shape.names[-1], held.weights))
        score = est._score_outputs(held.labels, outputs, held.weights)
        est.validation_scores_.append(score)
        _say(est, f"Validation score: {score:f}")
        if est.early_stopping:
            idle = score < est.best_validation_score_ + est.tol
            est._no_improvement_count = est._no_improvement_count + 1 if idle else 0
        if score > est.best_validation_score_:
            est.best_validation_score_ = score
            return True
        return False


def _batch_size(wanted: Any, n: int) -> int:
    if wanted == "auto":
        return min(200, n)
    if wanted > n:
        warnings.warn(f"batch_size={wanted} is larger than the {n} samples; it is clipped to {n}.", stacklevel=4)
    return int(np.clip(wanted, 1, n))


def _memory(est: Any, incremental: bool) -> Memory:
    """That of the last call where training goes on, else a new one."""
    earlier: Memory | None = getattr(est, "_optimizer", None)
    if incremental and earlier is not None and earlier.solver == est.solver:
        return replace(earlier)
    return Memory(est.solver, float(est.learning_rate_init))


def _count_idle_epochs(est: Any) -> None:
    """Epochs in a row whose training loss did not get better by `tol`; with early stopping the score counts instead."""
    if est.early_stopping:
        return
    loss = est.loss_curve_[-1]
    est._no_improvement_count = est._no_improvement_count + 1 if loss > est.best_loss_ - est.tol else 0
    est.best_loss_ = min(est.best_loss_, loss) if loss == loss else est.best_loss_


def _lower_or_stop(est: Any, memory: Memory) -> bool:
    """Too many idle epochs: stop, or go on with a fifth of an adaptive learning rate. True to stop."""
    what = "Validation score" if est.early_stopping else "Training loss"
    text = f"{what} did not improve more than tol={est.tol:f} for {est.n_iter_no_change} consecutive epochs."
    if est.solver != "sgd" or est.learning_rate != "adaptive":
        _say(est, f"{text} Stopping.")
        return True
    if memory.learning_rate <= SMALLEST_RATE:
        _say(est, f"{text} Learning rate too small. Stopping.")
        return True
    memory.learning_rate /= 5.0
    _say(est, f"{text} Setting learning rate to {memory.learning_rate:f}")
    return False


def _say(est: Any, text: str) -> None:
    if est.verbose:
        print(text)
