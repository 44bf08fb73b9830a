"""Whoever watches a run: the protocol, and what comes with the package.

`Callback` is what to derive your own from, `Plan` what it is told at the start, `RunControl` what it may do.
"""

from __future__ import annotations

from .logs import Checkpoint, CsvLogger, JsonLinesLogger, LearningRate
from .stopping import EarlyStopping, KeepBest, StopBelow, StopOnNaN, TimeLimit
from .watching import Callback, Plan, RunControl

__all__ = [
    "Callback",
    "Checkpoint",
    "CsvLogger",
    "EarlyStopping",
    "JsonLinesLogger",
    "KeepBest",
    "LearningRate",
    "Plan",
    "RunControl",
    "StopBelow",
    "StopOnNaN",
    "TimeLimit",
]
