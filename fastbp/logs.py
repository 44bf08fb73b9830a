"""Callbacks that write: one line per epoch as CSV or JSON, the model every few epochs. And one that sets the rate."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TextIO

from .errors import FastbpError, UsageError
from .files import reason as words_of
from .metrics import EpochRecord
from .watching import Callback, Plan

__all__ = ["Checkpoint", "CsvLogger", "JsonLinesLogger", "LearningRate", "logger_for", "record_line", "without_nan"]


_encode = json.JSONEncoder(allow_nan=False).encode


class _Logger(Callback):
    """A text file that is begun anew at the start and gets a line per epoch, at once.

    A file that cannot be opened is a FastbpError before training. One that later cannot be written (disk full) is a
    RuntimeWarning: training goes on without it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._file: TextIO | None = None

    def on_start(self, plan: Plan) -> None:
        try:
            self._file = open(self._path, "w", encoding="utf-8", newline="", buffering=1)  # noqa: SIM115
        except (OSError, ValueError) as error:
            raise FastbpError(f"cannot write the log {os.fspath(self._path)}: {words_of(error)}") from error
        self._begin(plan)
        for record in plan.history:
            self.on_epoch(record)

    def _begin(self, plan: Plan) -> None:
        """Write what stands above the first record."""

    def on_end(self, reason: str) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._guarded(file.close)

    def _write(self, line: str) -> None:
        if self._file is not None:
            self._guarded(self._file.write, line + "\n")

    def _guarded(self, call: Callable[..., Any], *what: Any) -> None:
        """Write; where that fails, say so and write no more."""
        try:
            call(*what)
        except OSError as error:
            file, self._file = self._file, None
            if file is not None:
                with suppress(OSError):  # what could not be written is tried once more
                    file.close()
            warnings.warn(
                f"the log {os.fspath(self._path)} ends here: {words_of(error)}; training goes on",
                RuntimeWarning,
                stacklevel=2,
            )


class CsvLogger(_Logger):
    """Writes one row per epoch, with a header: the fields of `EpochRecord`, empty where nothing was measured.

    Parameters
    ----------
    path : str or path
        a file that is there already is replaced

    Examples
    --------
    >>> from fastbp import train
    >>> result = train(([[0.0], [1.0]], [0, 1]), layers="", epochs=2, callbacks=[CsvLogger("log.csv")])
    >>> with open("log.csv") as file:
    ...     print(file.readline()[:21])
    epoch,loss,train_accu
    """

    def _begin(self, plan: Plan) -> None:
        self._names = [item.name for item in dataclasses.fields(EpochRecord)]
        self._write(",".join(self._names))

    def on_epoch(self, record: EpochRecord) -> None:
        cells = [getattr(record, name) for name in self._names]
        self._write(",".join(["" if cell is None else repr(cell) for cell in cells]))


class JsonLinesLogger(_Logger):
    """Writes one JSON object per line and epoch: the fields of `EpochRecord`, null where nothing was measured.

    Parameters
    ----------
    path : str or path
        a file that is there already is replaced
    """

    def on_epoch(self, record: EpochRecord) -> None:
        self._write(record_line(record))


class Checkpoint(Callback):
    """Saves the model every few epochs; a reader sees the old file or the new one, never a mixture.

    Parameters
    ----------
    path : str or path
        of the model file; ``{epoch}`` in it becomes the number of the epoch
    every : int
        epochs from one to the next
    best_only : bool
        save only when the validation cost is the lowest so far

    Raises
    ------
    UsageError
        `every` below 1; at the start, `best_only` in a run without validation samples
    FastbpError
        the file cannot be written
    """

    def __init__(self, path: str | os.PathLike[str], every: int = 1, best_only: bool = False) -> None:
        if every < 1:
            raise UsageError(f"every must be at least 1, got {every}")
        self._path, self._every, self._best_only = os.fspath(path), every, best_only

    def on_start(self, plan: Plan) -> None:
        if self._best_only and plan.n_validation == 0:
            raise UsageError("best_only looks at the validation cost, and there are no validation samples")
        self._run, self._lowest = plan.run, math.inf

    def on_epoch(self, record: EpochRecord) -> None:
        if record.epoch % self._every:
            return
        if self._best_only:
            cost = record.validation_loss
            if cost is None or not cost < self._lowest:
                return
            self._lowest = cost
        self._run.model().save(self._path.replace("{epoch}", str(record.epoch)))

    def state(self) -> dict[str, Any]:
        return {"lowest": self._lowest}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._lowest = state["lowest"]


class LearningRate(Callback):
    """Sets the learning rate of every epoch by a function of its number, in place of the schedule.

    Parameters
    ----------
    rate : callable
        rate(epoch) -> learning rate; the first epoch is 1

    Examples
    --------
    >>> from fastbp import train
    >>> halving = LearningRate(lambda epoch: 0.5**epoch)
    >>> result = train(([[0.0], [1.0]], [0, 1]), layers="", epochs=3, callbacks=[halving])
    >>> [record.learning_rate for record in result.history]
    [0.5, 0.25, 0.125]
    """

    def __init__(self, rate: Callable[[int], float]) -> None:
        self._rate = rate

    def on_start(self, plan: Plan) -> None:
        self._run, self._n_epochs = plan.run, plan.config.epochs
        self._run.set_learning_rate(self._rate(1))

    def on_epoch(self, record: EpochRecord) -> None:
        if record.epoch < self._n_epochs:
            self._run.set_learning_rate(self._rate(record.epoch + 1))


def logger_for(path: str | os.PathLike[str]) -> Callback:
    """The logger that the end of a file's name asks for: .csv or .jsonl.

    Raises
    ------
    UsageError
        another end
    """
    name = os.fspath(path)
    if name.endswith(".csv"):
        return CsvLogger(path)
    if name.endswith(".jsonl"):
        return JsonLinesLogger(path)
    raise UsageError(f"the name of a log must end in .csv or .jsonl, got {name}")


def record_line(record: EpochRecord) -> str:
    """A record as one line of JSON."""
    return _encode(without_nan(record.as_dict()))


def without_nan(values: Mapping[str, Any]) -> dict[str, Any]:
    """None for what is no number: JSON has no NaN."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
