"""What a run of training leaves: the model, its measurements, and one record per epoch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from .metrics import EpochRecord
from .model import Model

__all__ = ["Interrupted", "TrainingResult"]


@dataclass(frozen=True)
class TrainingResult:
    """What `train` returns.

    Attributes
    ----------
    model : Model
        the trained network, ready to predict and to be saved
    history : tuple of EpochRecord
        one per epoch
    loss : float
        mean training cost per sample of the final weights, without decay; weighted where samples are, with smoothed
        labels where they are; NaN, as `test_loss`, where a second Ctrl-C left no time to measure
    train_accuracy, test_accuracy : float or None
        shares from 0 to 1 of the final weights; None for target values, or where there are no test samples
    test_loss : float or None
        without weights and smoothing
    epochs : int
        epochs that were completed
    seed : int
    engine : str
        what ran, such as ``fused sparse float32``
    train_seconds, samples_per_second : float
        without loading, compiling and evaluating
    stopped : str
        ``epochs``, ``patience``, ``stop_below``, ``time_limit``, ``interrupted``, ``diverged``, or a callback's reason;
        of lbfgs also ``converged`` (the gradient is below `tol`, or the cost does not change any more) and
        ``line_search`` (no step lowers the cost in this precision)
    validation_loss, validation_accuracy : float or None
        of the final weights; None without validation samples
    best_epoch : int or None
        the one with the lowest validation cost; with `patience` the final weights are those of its end. With KeepBest,
        as in a run folder, they always are, and without validation samples the training cost judges
    restores : int
        how often an epoch was begun again with half the learning rate (``on_nan restore``)
    """

    model: Model
    history: tuple[EpochRecord, ...]
    loss: float
    train_accuracy: float | None
    test_accuracy: float | None
    test_loss: float | None
    epochs: int
    seed: int
    engine: str
    train_seconds: float
    samples_per_second: float
    stopped: str
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    best_epoch: int | None = None
    restores: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The result and its history as JSON-ready values; the model by its description."""
        network = self.model.network
        numbers = {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.name not in ("model", "history")
        }
        return {
            **numbers,
            "network": str(network),
            "parameters": network.n_parameters,
            "data": self.model.data_name,
            "config": dict(self.model.config),
            "history": [record.as_dict() for record in self.history],
        }


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training. `result` is the TrainingResult of the weights so far."""

    def __init__(self, result: TrainingResult) -> None:
        super().__init__("training was interrupted")
        self.result = result
