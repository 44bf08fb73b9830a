"""Limited-memory BFGS: SciPy chooses the steps, an engine gives cost and gradient of all samples. Liu, Nocedal 1989.

An engine and where to begin come in; what was found goes out. Each evaluation and each iteration is told as it happens,
and may end it. SciPy computes in float64 and the engine in its own precision. SciPy is imported when it is needed, and
its absence is said in one sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import FastbpError
from .kernels import Engine

__all__ = ["Found", "minimise", "one_blas_thread", "scipy_minimize"]

Array = NDArray[Any]

# why it ended, by SciPy's number; a StopIteration has another one
REASONS = {0: "converged", 1: "limit", 2: "line_search"}


class Found(NamedTuple):
    """Where L-BFGS ended."""

    theta: Array  # (n_parameters,), of the engine's dtype
    cost: float
    n_iterations: int
    reason: str  # converged, limit (of iterations or evaluations), line_search (no lower cost), stopped (when told)
    message: str  # SciPy's


def scipy_minimize() -> Any:
    """`scipy.optimize.minimize`; FastbpError where there is no SciPy."""
    try:
        import threadpoolctl  # noqa: F401
        from scipy.optimize import minimize
    except ImportError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in ("scipy", "threadpoolctl"):
            raise
        raise FastbpError(
            f"optimizer lbfgs needs SciPy 1.11 or newer and threadpoolctl, and {missing} is not installed; "
            "pip install 'fastbp[lbfgs]'"
        ) from error
    return minimize


def one_blas_thread() -> AbstractContextManager[Any]:
    """For a `with` statement: in it BLAS has one thread, and afterwards as many as before.

    SciPy's vectors are too short for more: on a busy machine, 60 iterations of 784-16-16-10 on MNIST took 1.6 s with
    one and 5.8 s with two. And the last bits of sums would depend on their number. Where threads run side by side, the
    one that starts them should say this, too: they would lift each other's limits.
    """
    scipy_minimize()  # loads the BLAS that is to be limited
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1, "blas")
    return limits


def minimise(
    engine: Engine,
    theta: Array,
    after_evaluation: Callable[[Array, float], float],
    after_iteration: Callable[[Array, float], None],
    *,
    options: dict[str, float],
    order: Array | None = None,
) -> Found:
    """Go from `theta` to where the cost of all training samples, with the penalty, is lowest nearby.

    Parameters
    ----------
    engine : Engine
        its parameters are overwritten with each evaluation
    theta : (n_parameters,)
        of the engine's dtype
    after_evaluation : callable
        after_evaluation(theta, cost) -> cost, as SciPy shall see it; NaN comes in where the cost or a part of the
        gradient is not finite. A StopIteration from here ends it, at the last iteration
    after_iteration : callable
        after_iteration(theta, cost), with both at the end of a line search; a StopIteration from here ends it
    options : dict
        of SciPy's L-BFGS-B: maxiter, maxfun, gtol, ftol
    order : (n_parameters,) integers, optional
        where in theta SciPy's numbers stand, so that its sums round as those of another program
    """
    places = np.arange(theta.size) if order is None else order
    last = (theta.copy(), float("nan"), 0)

    def unpacked(packed: Array) -> Array:
        here = np.empty_like(theta)
        here[places] = packed
        return here

    def cost_and_gradient(packed: Array) -> tuple[float, Array]:
        here = unpacked(packed)
        engine.set_parameters(here)
        cost, slope = engine.cost_and_gradient()
        cost = float(cost) if np.isfinite(slope).all() else float("nan")
        return after_evaluation(here, cost), slope[places].astype(np.float64)

    def iterated(intermediate_result: Any) -> None:
        nonlocal last
        last = (unpacked(intermediate_result.x), float(intermediate_result.fun), last[2] + 1)
        after_iteration(last[0], last[1])

    start, minimize = theta[places].astype(np.float64), scipy_minimize()
    try:
        with one_blas_thread():
            found = minimize(cost_and_gradient, start, method="L-BFGS-B", jac=True, options=options, callback=iterated)
    except StopIteration:  # within a line search
        return Found(*last, "stopped", "")
    reason = REASONS.get(int(found.status), "stopped")
    return Found(unpacked(found.x), float(found.fun), int(found.nit), reason, str(found.message))
