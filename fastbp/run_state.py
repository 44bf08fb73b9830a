"""Where a run stands between two batches: everything that the rest of it depends on.

Given its `RunState`, a run goes on as if it had never been interrupted, to the last bit: weights, the optimizer's
moments, the costs of the batches of an epoch that has begun, and what its schedule and its callbacks remember. The
order of samples needs no place here, as it follows from the seed and the number of the epoch. `fastbp.resuming` takes
it from a run and gives it to one, `fastbp.runs.checkpoint_file` keeps it on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .kernels import OptimizerState
from .metrics import EpochRecord

__all__ = ["RunState"]

Array = NDArray[Any]


@dataclass(frozen=True)
class RunState:
    """Where a run stands, between two batches.

    Attributes
    ----------
    history : tuple of EpochRecord
        of the epochs that have ended
    parameters : (n_parameters,)
        the last weights and biases, not the best ones
    optimizer : OptimizerState
    done : int
        batches of the next epoch that are trained
    costs : (done,) float64
        of these batches
    etas : (n_batches,) float64
        learning rates of that epoch; empty while `done` is 0
    epoch_seconds : float
        spent on these batches
    seconds, n_samples : float, int
        spent on the whole run, and samples visited
    stopped : str or None
        why the run is over, unless it is because all epochs are done
    restores : int
        how often it went back to the beginning of an epoch (``on_nan restore``)
    schedule : dict
        what the learning rates depend on besides the settings
    callbacks : dict of dict
        what callbacks remember, by name: numbers, texts, arrays
    before : (parameters, OptimizerState) or None
        at the beginning of the next epoch, where ``on_nan restore`` may have to go back
    """

    history: tuple[EpochRecord, ...]
    parameters: Array
    optimizer: OptimizerState
    done: int = 0
    costs: Array = field(default_factory=lambda: np.empty(0))
    etas: Array = field(default_factory=lambda: np.empty(0))
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    n_samples: int = 0
    stopped: str | None = None
    restores: int = 0
    schedule: Mapping[str, Any] = field(default_factory=dict)
    callbacks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    before: tuple[Array, OptimizerState] | None = None

    def is_over(self, epochs: int) -> bool:
        """True where a run of so many epochs has nothing left to train."""
        return self.stopped is not None or len(self.history) >= epochs
