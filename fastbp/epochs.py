"""One pass over the training samples: planned by a run, trained by whoever has the engine, and then recorded.

A run says which learning rates and which order an epoch has; the costs of its batches come back. Whether one network
trains or many side by side (`training`, `lockstep`), an epoch looks the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Epoch", "batch_masses", "batches_that_last"]


@dataclass
class Epoch:
    """An epoch of one network: what is planned, and how far it is."""

    number: int  # the first is 1
    n_samples: int
    key: int | None  # of the stream of random numbers that orders the samples; None: they stay as they are
    etas: NDArray[np.float64]  # (n_batches,)  learning rates
    costs: NDArray[np.float64]  # (n_batches,)  mean cost per sample of each batch; of the first `done` ones
    done: int = 0  # batches that are trained
    seconds: float = 0.0  # spent on them

    def resume(self, done: int, etas: NDArray[np.float64], costs: NDArray[np.float64], seconds: float) -> None:
        """Its first `done` batches were trained before; the rates are those that it was planned with."""
        self.done, self.etas, self.seconds = done, etas, seconds
        self.costs[:done] = costs

    @cached_property
    def order(self) -> NDArray[np.uint32]:
        """The order in which the samples are visited, (n_samples,)."""
        order = np.arange(self.n_samples, dtype=np.uint32)
        if self.key is not None:
            from .kernels.order import shuffle

            shuffle(order, np.uint64(self.key))
        return order


def batch_masses(epoch: Epoch, batch_size: int, weights: NDArray[Any] | None) -> NDArray[np.float64]:
    """What each batch of an epoch weighs, (n_batches,): its number of samples, or the sum of their weights."""
    if weights is None:
        return _batch_sizes(epoch.n_samples, batch_size)
    starts = np.arange(0, epoch.n_samples, batch_size)
    return np.add.reduceat(weights[epoch.order], starts).astype(np.float64)


@lru_cache(16)  # the same for every epoch of thousands of networks
def _batch_sizes(n_samples: int, batch_size: int) -> NDArray[np.float64]:
    sizes = np.diff(np.arange(0, n_samples, batch_size), append=n_samples).astype(np.float64)
    sizes.flags.writeable = False
    return sizes


def batches_that_last(seconds: float, n: int, spent: float) -> int:
    """How many batches take about so many seconds, if n of them took `spent`; at most 8 n, as a first time is slow.

    Examples
    --------
    >>> batches_that_last(0.05, 10, 0.025)
    20
    """
    return max(1, min(8 * n, int(n * seconds / max(spent, 1e-6))))
