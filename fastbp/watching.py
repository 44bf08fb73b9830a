"""What a run tells those who watch it, and what they may do to it. `fastbp.callbacks` lists the ready-made ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from .config import Config
from .metrics import EpochRecord
from .model import Model
from .network import Network
from .run_state import RunState

__all__ = ["Callback", "Plan", "RunControl"]


class RunControl(Protocol):
    """The run, in the hands of a callback: `Plan.run`. Between two events the weights stay as they are."""

    def stop(self, reason: str) -> None:
        """End the run after this event. `TrainingResult.stopped` will be the reason; the first one counts."""

    def parameters(self) -> NDArray[Any]:
        """A copy of the present weights and biases, (n_parameters,)."""

    def set_parameters(self, theta: NDArray[Any]) -> None:
        """Overwrite them; the state of the optimizer stays, except that lbfgs begins anew.

        UsageError within an iteration of lbfgs, whose line search goes on from the weights it has.
        """

    def model(self) -> Model:
        """The present network, ready to predict and to be saved."""

    def best(self) -> NDArray[Any] | None:
        """The weights of the best epoch so far, where a callback keeps them: EarlyStopping, or KeepBest."""

    def state(self) -> RunState | None:
        """Everything that the rest of the run depends on; to be asked by the last of its callbacks.

        After the run, that of its last batch. None where an interruption came between a batch and its events.
        """

    def set_learning_rate(self, rate: float) -> None:
        """The learning rate from the next epoch on, in place of the schedule's; UsageError unless above 0, or with
        lbfgs."""


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
    n_validation: int
    run: RunControl
    history: tuple[EpochRecord, ...] = ()  # of epochs that ended before the run was interrupted, and now goes on
    is_over: bool = False  # it had ended, and there is nothing left to train


class Callback:
    """What a run tells whoever watches it. Override what you need; every method does nothing here.

    Examples
    --------
    >>> from fastbp import train
    >>> import numpy as np
    >>> class Rates(Callback):
    ...     def on_start(self, plan):
    ...         self.run = plan.run
    ...     def on_epoch(self, record):
    ...         print(record.epoch, record.learning_rate)
    ...         if record.epoch == 2:
    ...             self.run.stop("seen enough")
    >>> x, y = np.array([[0.0], [1.0]]), np.array([0, 1])
    >>> result = train((x, y), layers="", epochs=4, learning_rate=0.5, callbacks=[Rates()])
    1 0.5
    2 0.375
    >>> result.stopped
    'seen enough'
    """

    def on_phase(self, text: str) -> None:
        """Something that takes seconds begins, such as compiling."""

    def on_start(self, plan: Plan) -> None:
        """Training begins."""

    def on_batches(self, epoch: int, done: int, total: int, loss: float) -> None:
        """`done` of `total` batches of an epoch are trained, about every 50 ms; `loss` is their mean cost.

        An epoch of lbfgs is one batch: `done` is 0 after each evaluation of the cost, where the weights are those of
        the last epoch, and 1 at its end.
        """

    def on_epoch(self, record: EpochRecord) -> None:
        """An epoch is over."""

    def on_diverged(self, epoch: int) -> None:
        """The cost or a weight is no longer finite; the last finite weights are back. DivergedError follows, unless a
        callback stops the run here."""

    def on_restored(self, epoch: int, rate: float) -> None:
        """After `on_diverged`, with ``on_nan restore``: the epoch begins again from its first weights, at this rate."""

    def on_end(self, reason: str) -> None:
        """Training is over, told once: `TrainingResult.stopped`, or ``failed`` where an error ended it.

        The result is measured afterwards, so weights that are set here are the model's.
        """

    def state(self) -> dict[str, Any]:
        """What a run that goes on later must remember: numbers, texts and float arrays by name; nothing here."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """After `on_start`, in a run that goes on: what `state` gave."""
