"""The solver lbfgs: `fastbp.lbfgs` as scikit-learn's MLP uses it.

SciPy sees the parameters in scikit-learn's order, all weights and then all biases, so that its sums round alike.
"""

from __future__ import annotations

import warnings
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from ..lbfgs import minimise
from .callbacks import Tasks
from .engines import Shape, engine_for
from .problem import Problem

__all__ = ["fit_lbfgs"]

Array = NDArray[Any]


def fit_lbfgs(est: Any, problem: Problem, theta: Array, tasks: Tasks) -> Array:
    """Minimise from `theta` and return the parameters that were found; writes n_iter_ and loss_ to `est`."""
    shape, n = problem.shape, problem.X.shape[0]
    total = float(n if problem.weights is None else problem.weights.sum())
    if not total > 0:
        raise ValueError(f"the sample weights must have a sum above 0, got {total}")
    engine = engine_for(shape, theta, problem.X, problem.targets, problem.weights, est._settings(n), est.threads)
    n_outputs = shape.sizes[-1] if shape.names[-1] == "identity" else 1
    n_iterations = count(1)

    def reported(here: Array, cost: float) -> float:
        """scikit-learn reports the mean of several outputs and descends their sum."""
        if n_outputs == 1:
            return cost
        penalty = est.alpha / 2 / total * shape.weights_squared(here)
        return float((cost - penalty) / n_outputs + penalty)

    def attributes_at(here: Array) -> Any:
        return lambda: dict(zip(("coefs_", "intercepts_"), shape.arrays_of(here), strict=True))

    def after_iteration(here: Array, cost: float) -> None:
        if est.verbose:
            print(f"Iteration {next(n_iterations)}, loss = {cost:.8f}")
        if tasks.watched:
            if tasks.end(attributes_at(here)):
                raise StopIteration
            tasks.begin("lbfgs-iter", attributes_at(here))

    tasks.begin("lbfgs-iter", attributes_at(theta))
    limits = {"maxfun": est.max_fun, "maxiter": est.max_iter, "gtol": est.tol}
    order = _weights_first(shape, theta.size)
    found = minimise(engine, theta, reported, after_iteration, options=limits, order=order)
    tasks.abandon()
    est.n_iter_ = min(found.n_iterations, est.max_iter)
    est.loss_ = found.cost
    if found.reason in ("limit", "line_search"):
        warnings.warn(
            f"lbfgs failed to converge after {found.n_iterations} iteration(s): {found.message}; "
            "increase max_iter or max_fun, or scale the data.",
            ConvergenceWarning,
            stacklevel=4,
        )
    return found.theta


def _weights_first(shape: Shape, n: int) -> Array:
    """Where in theta the weights of all layers stand, and then the biases."""
    layers = shape.layers_of(np.arange(n))
    return np.concatenate([W.ravel() for W, _ in layers] + [b for _, b in layers])
