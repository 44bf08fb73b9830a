"""What an engine is given and what it must do. Trainers know engines by this page only.

An engine owns the samples, the parameters, the state of the optimiser and all workspace. It is given checked arrays, so
it checks little itself, and it allocates once, when it is made.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Engine", "Evaluation", "Settings", "Split"]


class Split(NamedTuple):
    """Samples and their targets: sample i has the target row `targets[y[i]]`.

    For classes `targets` is the table of codes (one row per class) and `y` the labels; for values `targets` holds the
    target of every sample and `y` counts 0..n-1.
    """

    x: NDArray[Any]  # uint8, or the dtype of theta; (n, n_features)
    y: NDArray[np.int32]  # (n,)  row of `targets`
    targets: NDArray[np.floating]  # f4|f8 (n_rows, n_out)


class Settings(NamedTuple):
    """The update rule of a run."""

    optimizer: int  # SGD, MOMENTUM or ADAM
    batch_size: int  # 1 or more
    momentum: float = 0.9  # MOMENTUM only
    beta_1: float = 0.9  # ADAM only, and the next two
    beta_2: float = 0.999
    epsilon: float = 1e-8
    decay: float = 0.0  # lambda of the penalty lambda/2 * sum of W^2
    update_biases: bool = True  # False leaves all biases as they are


class Evaluation(NamedTuple):
    """What `Engine.evaluate` measures on one split."""

    loss: float  # mean cost per sample, without decay; NaN for a split without samples
    accuracy: float | None  # fraction of right answers; None where targets are values, or there are no samples


class Engine(Protocol):
    """Anything that trains a network on samples that it holds."""

    name: str

    def run(self, order: NDArray[np.uint32], etas: NDArray[np.float64], costs: NDArray[np.float64]) -> None:
        """Train on the samples `order`, in consecutive batches of `Settings.batch_size`; the last may be shorter.

        order   u4 (n,)          in    rows of the training split
        etas    f8 (n_batches,)  in    learning rate of each batch; n_batches = ceil(n / batch_size)
        costs   f8 (n_batches,)  out   mean cost per sample of each batch, before its update, without decay

        The state of the optimiser lives on: running the parts of an order one after the other, cut at multiples of the
        batch size, gives the same parameters bit for bit as running it at once.
        """

    def evaluate(self, split: str) -> Evaluation:
        """Cost and accuracy of the present parameters on the split "train" or "test"."""

    def parameters(self) -> NDArray[np.floating]:
        """A copy of theta, (n_parameters,)."""

    def set_parameters(self, theta: NDArray[np.floating]) -> None:
        """Overwrite theta, (n_parameters,); the state of the optimiser stays."""
