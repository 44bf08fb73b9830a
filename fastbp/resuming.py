"""Taking a run's state, and going on from one: a part of `training.Run`, on a page of its own.

What a run is made of says `Run`; `RunState` is the same as a value. Refused: a state that another network, or another
number of batches, has left.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from .config import Config
from .errors import ModelError
from .network import Network
from .run_state import RunState
from .watching import Callback

if TYPE_CHECKING:
    from .training import Run

__all__ = ["check_state", "go_on", "state_of"]


def check_state(state: RunState, config: Config, network: Network, n_batches: int) -> None:
    """Raise ModelError unless the parts of a state fit a run with these settings."""
    shape = (network.n_parameters,)
    before = () if state.before is None else (state.before[0], state.before[1].moments, state.before[1].squares)
    for each in (state.parameters, state.optimizer.moments, state.optimizer.squares, *before):
        if each is not None and (each.shape != shape or each.dtype != config.dtype):
            raise ModelError(
                f"the checkpoint holds {each.dtype} values of shape {each.shape}, and {network} has {shape[0]} "
                f"parameters of {config.dtype}; it belongs to another run"
            )
    n_rates = n_batches if state.done else 0
    if not 0 <= state.done <= n_batches or len(state.costs) != state.done or len(state.etas) != n_rates:
        raise ModelError(
            f"the checkpoint is at batch {state.done} of an epoch with {len(state.costs)} costs and "
            f"{len(state.etas)} learning rates, and this run has {n_batches} batches; it belongs to another run"
        )


def state_of(run: Run) -> RunState:
    """Where a run stands; after its end, where its last batch left it."""
    epoch, rescue = run._begun, run._rescue
    done = epoch.done if epoch is not None else 0
    remembered = {name: callback.state() for name, callback in _named(run._callbacks)}
    return RunState(
        history=tuple(run._history),
        parameters=run._finite if run._ended is None else run._at_end,
        optimizer=run._engine.state(),
        done=done,
        costs=epoch.costs[:done].copy() if epoch is not None else np.empty(0),
        etas=epoch.etas if epoch is not None and done else np.empty(0),
        epoch_seconds=epoch.seconds if epoch is not None else 0.0,
        seconds=run._seconds,
        n_samples=run._samples_done,
        stopped=run._stopped,
        restores=rescue.restores if rescue is not None else 0,
        schedule=run._schedule.state(),
        callbacks={name: values for name, values in remembered.items() if values},
        before=rescue.before if rescue is not None and done else None,
    )


def go_on(run: Run, state: RunState) -> None:
    """Bring a run that has just begun to where another one with the same data and settings was."""
    run._engine.set_parameters(state.parameters)
    run._engine.set_state(state.optimizer)
    run._finite = run._engine.parameters()
    run._seconds, run._samples_done, run._stopped = state.seconds, state.n_samples, state.stopped
    run._schedule.set_state(state.schedule)
    if run._rescue is not None:
        run._rescue.set_state(state.restores, state.before)
    for name, callback in _named(run._callbacks):
        if name in state.callbacks:
            callback.set_state(state.callbacks[name])


def _named(callbacks: Iterable[Callback]) -> list[tuple[str, Callback]]:
    """Those that may remember something, by their class; the second of a class is called Class-2."""
    seen: dict[str, int] = {}
    found = []
    for callback in callbacks:
        if isinstance(callback, Callback):
            kind = type(callback).__name__
            seen[kind] = seen.get(kind, 0) + 1
            found.append((kind if seen[kind] == 1 else f"{kind}-{seen[kind]}", callback))
    return found
