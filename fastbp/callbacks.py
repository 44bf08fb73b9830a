"""Whoever watches a run is told of it here: what it is about to do, how far it is, what each epoch gave."""

from __future__ import annotations

from dataclasses import dataclass

from .config import Config
from .metrics import EpochRecord
from .network import Network

__all__ = ["Callback", "Plan"]


@dataclass(frozen=True)
class Plan:
    """What a run is about to do, for `Callback.on_start`. Everything that `config` left open is filled in."""

    config: Config
    network: Network
    engine: str
    n_train: int
    n_test: int
    n_parameters: int
    density: float


class Callback:
    """What a run tells whoever watches it. Override what you need; every method does nothing here.

    Examples
    --------
    >>> from fastbp import train
    >>> import numpy as np
    >>> class Rates(Callback):
    ...     def on_epoch(self, record):
    ...         print(record.epoch, record.learning_rate)
    >>> x, y = np.array([[0.0], [1.0]]), np.array([0, 1])
    >>> result = train((x, y), layers="", epochs=2, learning_rate=0.5, callbacks=[Rates()])
    1 0.5
    2 0.25
    """

    def on_phase(self, text: str) -> None:
        """Something that takes seconds begins, such as compiling."""

    def on_start(self, plan: Plan) -> None:
        """Training begins."""

    def on_batches(self, epoch: int, done: int, total: int, loss: float) -> None:
        """`done` of `total` batches of an epoch are trained, about every 50 ms; `loss` is their mean cost."""

    def on_epoch(self, record: EpochRecord) -> None:
        """An epoch is over."""
