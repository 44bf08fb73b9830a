"""The epochs of a run by lbfgs: a part of `training.Run`, on a page of its own.

`Run` goes through batches and takes a step after each; here SciPy takes the steps, and all samples are one batch. An
epoch is one iteration, with as many visits to all samples as its line search asks for. What surrounds it (records,
callbacks, validation, stopping) stays the run's.
"""

from __future__ import annotations

import math
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .lbfgs import minimise

if TYPE_CHECKING:
    from .training import Run

__all__ = ["Iterations"]

Array = NDArray[Any]


class Iterations:
    """Trains a run until SciPy, its number of epochs or a callback ends it.

    Weights that a callback sets between two iterations are where L-BFGS begins anew.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._clock = 0.0  # when it was started
        self._before = (0.0, 0)  # the run's seconds and samples before this iteration

    def train(self) -> None:
        """All epochs; the engine has the weights of the last one, or the last finite ones, whatever happens."""
        run = self._run
        while run._stopped is None and len(run._history) < run._config.epochs:
            limits = {"maxiter": run._config.epochs - len(run._history), "maxfun": sys.maxsize}
            precision = {"gtol": run._config.tol, "ftol": 0.0}
            self._start()
            try:
                found = minimise(
                    run._engine, run._finite, self._evaluated, self._iterated, options={**limits, **precision}
                )
            finally:
                run._engine.set_parameters(run._finite)
            if found.reason in ("converged", "line_search"):
                run.stop(found.reason)

    def _evaluated(self, theta: Array, cost: float) -> float:
        """SciPy has tried some weights; whether it goes there is open."""
        run, epoch, kept = self._run, len(self._run._history) + 1, self._run._finite
        self._count(run._n_train)
        if math.isfinite(cost):
            run._tell("on_batches", epoch, 0, 1, self._without_decay(theta, cost))
        else:
            run._engine.set_parameters(kept)
            run._diverge(epoch, 0)
        if run._finite is not kept:
            raise UsageError("lbfgs is within a line search; set its weights in on_epoch, or where done == total")
        if run._stopped is not None:
            raise StopIteration
        self._clock = perf_counter()
        return cost

    def _iterated(self, theta: Array, cost: float) -> None:
        """The line search has ended at theta, and so has an epoch."""
        run, epoch, loss = self._run, len(self._run._history) + 1, self._without_decay(theta, cost)
        self._count(0)
        run._engine.set_parameters(theta)
        run._finite = theta
        seconds, visits = run._seconds - self._before[0], run._samples_done - self._before[1]
        run._tell("on_batches", epoch, 1, 1, loss)
        run._record(epoch, loss, None, seconds, visits)
        if run._stopped is not None or run._finite is not theta:
            raise StopIteration
        self._start()

    def _start(self) -> None:
        """An iteration begins."""
        self._clock, self._before = perf_counter(), (self._run._seconds, self._run._samples_done)

    def _count(self, n_samples: int) -> None:
        """Add to the run's seconds what the clock shows."""
        self._run._seconds += perf_counter() - self._clock
        self._run._samples_done += n_samples

    def _without_decay(self, theta: Array, cost: float) -> float:
        """The cost without the penalty lambda/2 * sum of W^2."""
        run = self._run
        squares = sum(float(np.vdot(W, W)) for W, _ in run._network.layers_of(theta))
        return cost - run._config.weight_decay / 2 * squares
