"""Limited-memory BFGS by SciPy, on cost and gradient of the whole training set from an engine.

Liu, Nocedal 1989. SciPy sees the parameters in scikit-learn's order, all weights and then all biases, so that its sums
round alike.
"""

from __future__ import annotations

import warnings
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

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
    places = _weights_first(shape, theta.size)
    n_outputs = shape.sizes[-1] if shape.names[-1] == "identity" else 1
    present = theta.copy()
    costs: list[float] = []  # of each evaluation
    n_iterations = count(1)

    def cost_and_gradient(packed: Array) -> tuple[float, Array]:
        present[places] = packed
        engine.set_parameters(present)
        cost, slope = engine.cost_and_gradient()
        if n_outputs > 1:  # scikit-learn reports the mean of several outputs and descends their sum
            penalty = est.alpha / 2 / total * shape.weights_squared(present)
            cost = (cost - penalty) / n_outputs + penalty
        costs.append(cost)
        return float(cost), slope[places].astype(np.float64)

    def attributes_at(packed: Array) -> Any:
        here = present.copy()
        here[places] = packed
        return lambda: dict(zip(("coefs_", "intercepts_"), shape.arrays_of(here), strict=True))

    def after_iteration(packed: Array) -> None:
        if est.verbose:
            print(f"Iteration {next(n_iterations)}, loss = {costs[-1]:.8f}")
        if tasks.watched:
            if tasks.end(attributes_at(packed)):
                raise StopIteration
            tasks.begin("lbfgs-iter", attributes_at(packed))

    start = theta[places].astype(np.float64)
    tasks.begin("lbfgs-iter", attributes_at(start))
    found = minimize(
        cost_and_gradient,
        start,
        method="L-BFGS-B",
        jac=True,
        options={"maxfun": est.max_fun, "maxiter": est.max_iter, "gtol": est.tol},
        callback=after_iteration,
    )
    tasks.abandon()
    est.n_iter_ = min(int(found.nit), est.max_iter)
    est.loss_ = float(found.fun)
    if found.status in (1, 2):
        warnings.warn(
            f"lbfgs failed to converge after {found.nit} iteration(s) (status={found.status}): {found.message}; "
            "increase max_iter or max_fun, or scale the data.",
            ConvergenceWarning,
            stacklevel=4,
        )
    present[places] = found.x
    return present


def _weights_first(shape: Shape, n: int) -> Array:
    """Where in theta the weights of all layers stand, and then the biases."""
    layers = shape.layers_of(np.arange(n))
    return np.concatenate([W.ravel() for W, _ in layers] + [b for _, b in layers])
