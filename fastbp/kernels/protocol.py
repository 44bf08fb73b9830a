"""What an engine, or a fleet, is given and what it must do. Trainers know them by this page only.

An engine owns the samples, the parameters, the state of the optimiser and all workspace. It is given checked arrays, so
it checks little itself, and it allocates once, when it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["CsrRows", "Engine", "Evaluation", "Fleet", "Settings", "Split"]


class Split(NamedTuple):
    """Samples and their targets: sample i has the target row `targets[y[i]]`.

    For classes `targets` is the table of codes (one row per class) and `y` the labels; for values `targets` holds the
    target of every sample and `y` counts 0..n-1.
    """

    x: Any  # (n, n_features) uint8 or the dtype of theta; or CsrRows
    y: NDArray[np.int32]  # (n,)  row of `targets`
    targets: NDArray[np.floating]  # f4|f8 (n_rows, n_out)
    weights: NDArray[np.floating] | None = None  # (n,)  how much each sample counts, at least 0; None: all the same


class CsrRows(NamedTuple):
    """Sparse samples in place of `Split.x`, as SciPy keeps them: row i has data[indptr[i] : indptr[i + 1]]."""

    data: NDArray[Any]  # of theta's dtype
    indices: NDArray[np.int32]  # the feature of each value; no feature twice in a row
    indptr: NDArray[np.int64]  # (n + 1,)
    n_features: int

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n_features)."""
        return len(self.indptr) - 1, self.n_features


class Settings(NamedTuple):
    """The update rule of a run."""

    optimizer: int  # SGD, MOMENTUM, NESTEROV, RMSPROP, ADAM or ADAMW
    batch_size: int  # 1 or more
    momentum: float = 0.9  # MOMENTUM and NESTEROV
    beta_1: float = 0.9  # ADAM and ADAMW
    beta_2: float = 0.999  # ADAM and ADAMW
    epsilon: float = 1e-8  # RMSPROP, ADAM and ADAMW
    decay: float = 0.0  # lambda of the penalty lambda/2 * sum of W^2; ADAMW: W -= eta lambda W, beside the step
    update_biases: bool = True  # False leaves all biases as they are
    rho: float = 0.9  # RMSPROP
    decay_per_batch: bool = False  # True divides lambda by the weight of the batch (its number of samples)
    penalty_in_cost: bool = False  # True adds the penalty to the costs of batches; not with ADAMW
    dropout: tuple[float, ...] = ()  # share of the units of each hidden layer that are dropped, from 0, below 1
    seed: int = 0  # of the units that are dropped
    clip_norm: float = 0.0  # longest gradient, in the Euclidean norm of all parameters; 0: any length


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
        """Cost and accuracy of the present parameters on the split "train" or "test"; nothing is dropped."""

    def cost_and_gradient(self) -> tuple[float, NDArray[np.floating]]:
        """Mean cost of all training samples, with the penalty, and its gradient (n_parameters,); nothing is learnt.

        Nothing is dropped or clipped. For ADAMW the penalty is 0.
        """

    def reset_state(self) -> None:
        """Forget moments and the number of updates, as if nothing had been learnt; the parameters stay."""

    def parameters(self) -> NDArray[np.floating]:
        """A copy of theta, (n_parameters,)."""

    def set_parameters(self, theta: NDArray[np.floating]) -> None:
        """Overwrite theta, (n_parameters,); the state of the optimiser stays."""


class Fleet(Protocol):
    """Networks of one shape that are trained side by side, each with its own weights, rates and order of samples.

    They share samples, optimizer, batch size and dropout. A member is the number of a network, from 0.
    """

    name: str
    density: float  # share of the inputs that are not 0

    def shuffle(self, keys: NDArray[np.uint64]) -> None:
        """Every network's order of samples becomes the permutation that `order.shuffle` makes of its key.

        keys   u8 (n_networks,)   in
        """

    def set_orders(self, orders: NDArray[np.uint32]) -> None:
        """Every network's order of samples: rows of the training split.

        orders   u4 (n_networks, n_train)   in
        """

    def run(
        self,
        members: NDArray[np.int64],
        first: int,
        etas: NDArray[np.float64],
        costs: NDArray[np.float64],
    ) -> None:
        """Train some networks on consecutive batches of their orders; the others stay as they are.

        members   i8 (k,)             in    which ones
        first                         in    number of the first batch in their orders, from 0
        etas      f8 (k, n_batches)   in    learning rates
        costs     f8 (k, n_batches)   out   as those of `Engine.run`
        """

    def evaluate(self, split: str) -> Sequence[Evaluation]:
        """Cost and accuracy of every network on the split "train" or "test"; nothing is dropped."""

    def parameters(self) -> NDArray[np.floating]:
        """A copy of all weights and biases, (n_networks, n_parameters)."""

    def set_parameters(self, member: int, theta: NDArray[np.floating]) -> None:
        """Overwrite those of one network, (n_parameters,); the state of its optimiser stays."""
