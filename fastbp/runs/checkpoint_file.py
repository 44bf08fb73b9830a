"""The file of a run that can go on: its `RunState`, and what it was begun with.

It is one of `fastbp.model_file`: safetensors, with a checksum over everything, and no times of day, hosts or paths. The
`Origin` is there so that a run goes on with the same data and settings, or not at all. Refused: everything that is not
such a file, whole and unchanged.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..errors import ModelError, UsageError
from ..kernels import OptimizerState
from ..metrics import EpochRecord
from ..model_file import CHECKPOINT, FORMAT_VERSION, decode, encode, part, read_bytes, shown
from ..run_state import RunState

__all__ = ["Origin", "read_state", "state_bytes"]

Array = NDArray[Any]

FIELDS = tuple(item.name for item in dataclasses.fields(EpochRecord))
_values_of = attrgetter(*FIELDS)


@dataclass(frozen=True)
class Origin:
    """What a run was begun with.

    Attributes
    ----------
    config : dict
        all settings by name
    network : str
        such as ``784-16-16-10``
    data_name, data_sha256 : str
    samples_sha256 : str
        of sample weights and validation samples that were given in Python; empty without
    fastbp_version : str
    """

    config: Mapping[str, Any]
    network: str
    data_name: str
    data_sha256: str
    samples_sha256: str = ""
    fastbp_version: str = __version__


def state_bytes(state: RunState, origin: Origin) -> bytes:
    """The contents of a checkpoint file.

    Raises
    ------
    UsageError
        a callback whose state is more than numbers, texts and arrays of float32 or float64
    """
    tensors: dict[str, Array] = {"parameters": state.parameters, "costs": state.costs, "etas": state.etas}
    _put_optimizer(tensors, "", state.optimizer)
    if state.before is not None:
        tensors["before.parameters"] = state.before[0]
        _put_optimizer(tensors, "before.", state.before[1])
    rows = [_values_of(record) for record in state.history]
    tensors["history"] = np.array(rows, dtype=np.float64).reshape(-1, len(FIELDS))  # None becomes NaN
    remembered: dict[str, dict[str, Any]] = {}
    for name, values in state.callbacks.items():
        remembered[name] = {}
        for key, value in values.items():
            if isinstance(value, np.ndarray):
                tensors[f"callbacks.{name}.{key}"] = value
            else:
                remembered[name][key] = _written(value)
    description = {
        "format": FORMAT_VERSION,
        "kind": CHECKPOINT,
        "fastbp": origin.fastbp_version,
        "origin": vars(origin),
        "done": state.done,
        "n_updates": state.optimizer.n_updates,
        "n_updates_before": None if state.before is None else state.before[1].n_updates,
        "epoch_seconds": state.epoch_seconds,
        "seconds": state.seconds,
        "n_samples": state.n_samples,
        "stopped": state.stopped,
        "restores": state.restores,
        "schedule": {key: _written(value) for key, value in state.schedule.items()},
        "callbacks": remembered,
    }
    try:
        return encode(description, tensors)
    except (TypeError, ValueError) as error:
        raise UsageError(f"what a callback remembers must be numbers, texts and float arrays ({error})") from None


def read_state(path: str | os.PathLike[str]) -> tuple[RunState, Origin]:
    """Read a checkpoint file.

    Raises
    ------
    ModelError
        not a whole, unchanged checkpoint
    """
    description, tensors = decode(read_bytes(path), path)
    if description.get("kind") != CHECKPOINT:
        raise ModelError(f"{shown(path)}: a model, not a checkpoint; begin a run from it with --init-from")
    try:
        return _assemble(description, tensors)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelError(f"{shown(path)}: its parts do not fit together ({shown(str(error))})") from None


def _assemble(description: dict[str, Any], tensors: dict[str, Array]) -> tuple[RunState, Origin]:
    numbers = {name: part(description, name, float) for name in ("epoch_seconds", "seconds")}
    counts = {name: part(description, name, int) for name in ("done", "n_samples", "restores")}
    callbacks = {name: _read_all(values) for name, values in part(description, "callbacks", dict).items()}
    for key, tensor in tensors.items():
        kind, *names = key.split(".", 2)
        if kind == "callbacks":
            callbacks[names[0]][names[1]] = tensor.copy()
    before = None
    if "before.parameters" in tensors:
        optimizer = _optimizer(tensors, "before.", part(description, "n_updates_before", int))
        before = tensors["before.parameters"].copy(), optimizer
    stopped = description["stopped"]
    state = RunState(
        history=tuple(_record(row) for row in tensors["history"]),
        parameters=tensors["parameters"].copy(),
        optimizer=_optimizer(tensors, "", part(description, "n_updates", int)),
        costs=tensors["costs"].copy(),
        etas=tensors["etas"].copy(),
        stopped=None if stopped is None else str(stopped),
        schedule=_read_all(part(description, "schedule", dict)),
        callbacks=callbacks,
        before=before,
        **numbers,
        **counts,
    )
    return state, Origin(**part(description, "origin", dict))


def _record(row: Array) -> EpochRecord:
    values: dict[str, Any] = {
        name: None if math.isnan(value) else float(value) for name, value in zip(FIELDS, row, strict=True)
    }
    return EpochRecord(**{**values, "epoch": int(values["epoch"])})


def _put_optimizer(tensors: dict[str, Array], prefix: str, state: OptimizerState) -> None:
    for name, values in (("moments", state.moments), ("squares", state.squares)):
        if values is not None:
            tensors[prefix + name] = values


def _optimizer(tensors: dict[str, Array], prefix: str, n_updates: int) -> OptimizerState:
    moments, squares = (tensors.get(prefix + name) for name in ("moments", "squares"))
    return OptimizerState(
        None if moments is None else moments.copy(), None if squares is None else squares.copy(), n_updates
    )


def _written(value: Any) -> Any:
    """A plain value for JSON, which has no infinity."""
    if isinstance(value, float | np.floating) and not math.isfinite(value):
        return {"float": repr(float(value))}
    return value.item() if isinstance(value, np.generic) else value


def _read_all(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: float(value["float"]) if isinstance(value, dict) else value for key, value in values.items()}
