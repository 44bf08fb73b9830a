"""Going back to the beginning of an epoch that diverged (``on_nan restore``).

An engine is given; its weights and its optimizer's memory are kept at the beginning of each epoch and put back when the
cost is no longer finite. The beginning of the epoch, not the last batch that was looked at, since how many batches are
trained between two looks depends on the clock, and one seed is one result.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from .kernels import Engine, OptimizerState

__all__ = ["MOST_RESTORES", "Rescue"]

MOST_RESTORES = 3


class Rescue:
    """Keeps what an engine had at the beginning of an epoch."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.restores = 0
        self.before: tuple[NDArray[Any], OptimizerState] | None = None

    def remember(self) -> None:
        """An epoch begins."""
        self.before = self._engine.parameters(), self._engine.state()

    def restore(self) -> bool:
        """Give the engine back what it had; False where that has been done often enough."""
        if self.restores == MOST_RESTORES or self.before is None:
            return False
        self.restores += 1
        theta, state = self.before
        self._engine.set_parameters(theta)
        self._engine.set_state(state)
        return True

    def set_state(self, restores: int, before: tuple[NDArray[Any], OptimizerState] | None) -> None:
        """Go on from what another one had."""
        self.restores, self.before = restores, before
