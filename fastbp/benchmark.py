"""A short benchmark for this machine: one epoch of 784-16-16-10 by each engine, and by scikit-learn where it is there.

A dataset comes in, times go out. Everybody trains on the same samples in the same order, in float32; ours on one core,
NumPy and scikit-learn with as many threads as their BLAS likes. They take turns in every round, since a machine gets
slower and faster, and the fastest round of each counts. Our engines must come to the same costs before they are timed.
What is comparable from machine to machine is the ratios.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import FastbpError, UsageError
from .kernels import SGD, Settings, Split, open_engine
from .network import Network
from .streams import permutation, stream_key

if TYPE_CHECKING:
    from .data import Dataset

__all__ = ["Timing", "measure"]

LEARNING_RATE = 0.5
FEWEST_ROUNDS = 3
TITLES = {
    "fused": "fastbp, as it trains",
    "stages": "fastbp, compiled stages called one by one",
    "reference": "fastbp, readable NumPy",
    "scikit-learn": "scikit-learn, MLPClassifier",
}


class Timing(NamedTuple):
    """How long an epoch took somebody."""

    name: str  # fused, stages, reference, scikit-learn
    title: str
    rounds: tuple[float, ...]  # seconds of each epoch

    @property
    def seconds(self) -> float:
        """The fastest epoch: what the others have more is the rest of the machine."""
        return min(self.rounds)


def measure(
    data: Dataset,
    *,
    batch_size: int = 32,
    seconds: float = 10.0,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> list[Timing]:
    """Time one epoch of 784-16-16-10 (its ends as the data has them) by everyone who can.

    Parameters
    ----------
    data : Dataset
        classes; bytes, such as pictures
    batch_size : int
        1 or more
    seconds : float
        rounds go on for so long; at least 3 of them
    progress : callable, optional
        called as progress(text, done, total) before each round

    Returns
    -------
    list of Timing
        as in `TITLES`

    Raises
    ------
    UsageError
        data that is no pictures with classes
    FastbpError
        the engines disagree about the costs

    Examples
    --------
    >>> from fastbp import Dataset
    >>> x = np.random.default_rng(0).integers(0, 256, (64, 9)).astype(np.uint8)
    >>> [timing.name for timing in measure(Dataset.from_arrays(x, np.arange(64) % 3), seconds=0)][:3]
    ['fused', 'stages', 'reference']
    """
    if data.is_regression or data.x_train.dtype != np.uint8:
        raise UsageError(f"the benchmark needs pictures with classes, and {data.name} holds something else")
    order = permutation(stream_key(0, "shuffle", 1), len(data.x_train)).astype(np.uint32)
    trainers: dict[str, Callable[[NDArray[Any]], Any]] = {
        name: _engine(name, data, batch_size) for name in ("fused", "stages", "reference")
    }
    costs = [train(order) for train in trainers.values()]
    if not all(np.allclose(cost, costs[-1], atol=2e-3) for cost in costs):
        raise FastbpError("the engines disagree about the costs, so their times mean nothing; please report this bug")
    if find_spec("sklearn") is not None:
        trainers["scikit-learn"] = _scikit_learn(data, batch_size, order)
    rounds: dict[str, list[float]] = {name: [] for name in trainers}
    begun = perf_counter()
    while len(rounds["fused"]) < FEWEST_ROUNDS or perf_counter() - begun < seconds:
        if progress is not None:
            progress("measuring", min(int(100 * (perf_counter() - begun) / max(seconds, 1e-3)), 100), 100)
        for name, train in trainers.items():
            start = perf_counter()
            train(order)
            rounds[name].append(perf_counter() - start)
    return [Timing(name, TITLES[name], tuple(times)) for name, times in rounds.items()]


def _engine(name: str, data: Dataset, batch_size: int) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """A function that trains on the samples of an order and returns the cost of each batch; already compiled."""
    network = Network((data.n_features, 16, 16, data.n_classes), ("sigmoid", "sigmoid", "softmax"), "cross_entropy")
    split = Split(data.x_train, data.y_train, np.eye(data.n_classes, dtype=np.float32))
    nothing = Split(data.x_train[:0], data.y_train[:0], split.targets)
    theta = network.initial_parameters(seed=0)
    engine = open_engine(network, theta, split, nothing, Settings(SGD, batch_size), x_scale=1 / 255, engine=name)

    def train(order: NDArray[Any]) -> NDArray[Any]:
        costs = np.empty(-(-len(order) // batch_size))
        engine.run(order, np.full(len(costs), LEARNING_RATE), costs)
        return costs

    return train


def _scikit_learn(data: Dataset, batch_size: int, order: NDArray[Any]) -> Callable[[NDArray[Any]], None]:
    """The same network and rule, as scikit-learn's users write them; the samples stand in their order beforehand."""
    classifier = import_module("sklearn.neural_network").MLPClassifier
    x, y = data.x_train[order].astype(np.float32) / np.float32(255), data.y_train[order]
    model = classifier(
        (16, 16), activation="logistic", solver="sgd", alpha=0.0, batch_size=batch_size, momentum=0.0,
        learning_rate_init=LEARNING_RATE, shuffle=False, random_state=0,
    )  # fmt: skip
    model.partial_fit(x, y, classes=np.arange(data.n_classes))

    def train(order: NDArray[Any]) -> None:
        model.partial_fit(x, y)

    return train
