"""Who trains against whom: one network, one start, one order of the samples, several ways to compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy_trainer import NumpyTrainer

from fastbp import Dataset, Network
from fastbp.kernels import SGD, Settings, Split, open_engine

__all__ = ["NAMES", "contender", "engine_of", "epoch_order", "network_of"]

ETA = 0.5
ENGINES = {
    "fused": {"engine": "fused"},
    "fused, sparse": {"engine": "fused", "input_layout": "sparse"},
    "fused, dense": {"engine": "fused", "input_layout": "dense"},
    "stages": {"engine": "stages"},
    "reference": {"engine": "reference"},
}
NAMES = (*ENGINES, "NumPy")

Array = np.ndarray[Any, Any]


def network_of(data: Dataset, hidden: tuple[int, ...] = (16, 16)) -> Network:
    """Sigmoid layers of these sizes between the sizes of the data, softmax, cross-entropy."""
    activations = ("sigmoid",) * len(hidden) + ("softmax",)
    return Network((data.n_features, *hidden, data.n_classes), activations, "cross_entropy")


def epoch_order(data: Dataset) -> Array:
    return np.random.default_rng(0).permutation(len(data.x_train)).astype(np.uint32)


def engine_of(name: str, network: Network, x: Array, y: Array, batch_size: int, threads: int = 1) -> Any:
    """An engine with these samples and the start weights; already compiled. Bytes are scaled to 0..1, floats stay."""
    theta = network.initial_parameters(seed=0)
    split = Split(x, y, np.eye(network.sizes[-1], dtype=np.float32))
    nothing = Split(x[:0], y[:0], split.targets)
    options: Any = {"x_scale": 1 / 255 if x.dtype == np.uint8 else 1.0, "threads": threads, **ENGINES[name]}
    engine = open_engine(network, theta, split, nothing, Settings(SGD, batch_size), **options)
    engine.run(np.zeros(0, np.uint32), np.zeros(0), np.zeros(0))
    if name == "stages":  # these compile when they are called
        warm = open_engine(network, theta, split, nothing, Settings(SGD, 1), **options)
        warm.run(np.zeros(1, np.uint32), np.full(1, ETA), np.empty(1))
    return engine


def contender(
    name: str, data: Dataset, batch_size: int, *, network: Network | None = None, eta: float = ETA
) -> Callable[[Array], Array]:
    """A function that trains on the samples of an order and returns the cost of each batch; already compiled.

    The network is 784-16-16-10, with the sizes of the data at its ends, unless another one is given.
    """
    network = network or network_of(data)
    if name == "NumPy":
        trainer = NumpyTrainer(network, network.initial_parameters(seed=0), data.x_train, data.y_train, batch_size)
        return lambda order: trainer.run(order, eta)
    engine = engine_of(name, network, data.x_train, data.y_train, batch_size)

    def run(order: Array) -> Array:
        costs = np.empty(-(-len(order) // batch_size))
        engine.run(order, np.full(len(costs), eta), costs)
        return costs

    return run
