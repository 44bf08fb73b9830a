"""Callbacks that end a run: no lower validation cost, a cost low enough, time that is up, numbers that are none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from numpy.typing import NDArray

from .config import Config
from .errors import UsageError
from .metrics import EpochRecord, judging_cost
from .watching import Callback, Plan

__all__ = ["EarlyStopping", "KeepBest", "StopBelow", "StopOnNaN", "TimeLimit", "stopping_for"]


class KeepBest(Callback):
    """The model is that of the epoch with the lowest validation cost; without validation samples, training cost."""

    def __init__(self) -> None:
        self.best: NDArray[Any] | None = None
        self._lowest = math.inf

    def on_start(self, plan: Plan) -> None:
        self._run = plan.run
        self.best, self._lowest = None, math.inf

    def on_epoch(self, record: EpochRecord) -> None:
        if judging_cost(record) < self._lowest:
            self._lowest, self.best = judging_cost(record), self._run.parameters()

    def on_end(self, reason: str) -> None:
        if self.best is not None and reason != "failed":
            self._run.set_parameters(self.best)

    def state(self) -> dict[str, Any]:
        return {"lowest": self._lowest, **({} if self.best is None else {"best": self.best})}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._lowest, self.best = state["lowest"], state.get("best")


class EarlyStopping(KeepBest):
    """Ends a run (``patience``) when the validation cost has not been lower for some epochs; keeps the best weights.

    The cost must be lower than the lowest before it by more than `min_delta` to count (Prechelt 1998). Whatever ends
    the run, the model is that of the epoch with the lowest validation cost. The settings `patience` and `min_delta` of
    `Config` make one of these.

    Parameters
    ----------
    patience : int
        epochs, at least 1
    min_delta : float
        at least 0

    Raises
    ------
    UsageError
        other numbers; at the start, a run without validation samples
    """

    def __init__(self, patience: int = 10, min_delta: float = 0.0) -> None:
        super().__init__()
        if patience < 1 or not 0 <= min_delta < math.inf:
            raise UsageError(f"patience must be at least 1 and min_delta at least 0, got {patience} and {min_delta:g}")
        self._patience, self._min_delta = patience, min_delta

    def on_start(self, plan: Plan) -> None:
        if plan.n_validation == 0:
            raise UsageError("early stopping waits for a lower validation cost, and there are no validation samples")
        super().on_start(plan)
        self._to_beat = math.inf
        self._waited = 0

    def on_epoch(self, record: EpochRecord) -> None:
        super().on_epoch(record)
        assert record.validation_loss is not None
        if record.validation_loss < self._to_beat - self._min_delta:
            self._to_beat, self._waited = record.validation_loss, 0
            return
        self._waited += 1
        if self._waited >= self._patience:
            self._run.stop("patience")

    def state(self) -> dict[str, Any]:
        return {**super().state(), "to_beat": self._to_beat, "waited": self._waited}

    def set_state(self, state: Mapping[str, Any]) -> None:
        super().set_state(state)
        self._to_beat, self._waited = state["to_beat"], state["waited"]


class StopBelow(Callback):
    """Ends a run (``stop_below``) when the training cost of an epoch is below a limit."""

    def __init__(self, limit: float) -> None:
        self._limit = limit

    def on_start(self, plan: Plan) -> None:
        self._run = plan.run

    def on_epoch(self, record: EpochRecord) -> None:
        if record.loss < self._limit:
            self._run.stop("stop_below")


class TimeLimit(Callback):
    """Ends a run (``time_limit``) some seconds after its start, in the middle of an epoch if need be.

    Parameters
    ----------
    seconds : float
        with evaluating, without loading and compiling; the run ends within about 50 ms of that. A run that was
        interrupted goes on with what was left
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def on_start(self, plan: Plan) -> None:
        self._run, self._end = plan.run, perf_counter() + self._seconds

    def on_batches(self, epoch: int, done: int, total: int, loss: float) -> None:
        if perf_counter() >= self._end:
            self._run.stop("time_limit")

    def state(self) -> dict[str, Any]:
        return {"left": self._end - perf_counter()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._end = perf_counter() + state["left"]


class StopOnNaN(Callback):
    """A run whose cost or weights are no longer finite ends with a result (``diverged``) in place of DivergedError.

    The model has the last finite weights; with early stopping, the best ones.
    """

    def on_start(self, plan: Plan) -> None:
        self._run = plan.run

    def on_diverged(self, epoch: int) -> None:
        self._run.stop("diverged")


def stopping_for(config: Config) -> tuple[Callback, ...]:
    """The callbacks that the settings ask for."""
    wanted: list[Callback] = []
    if config.patience is not None:
        wanted.append(EarlyStopping(config.patience, config.min_delta))
    if config.stop_below is not None:
        wanted.append(StopBelow(config.stop_below))
    if config.time_limit is not None:
        wanted.append(TimeLimit(config.time_limit))
    return tuple(wanted)
