"""Who trains against whom: one network, one start, one order of the samples, several ways to compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy_trainer import NumpyTrainer

from fastbp import Dataset, Network
from fastbp.kernels import SGD, Settings, Split, open_engine

__all__ = ["NAMES", "contender", "epoch_order", "mnist_network"]

ETA = 0.5
ENGINES = {
    "fused": {"engine": "fused"},
    "fused, sparse": {"engine": "fused", "input_layout": "sparse"},
    "fused, dense": {"engine": "fused", "input_layout": "dense"},
    "stages": {"engine": "stages"},
    "reference": {"engine": "reference"},
}
NAMES = (*ENGINES, "NumPy")


def mnist_network(data: Dataset) -> Network:
    """784-16-16-10, with the sizes of the data at its ends."""
    return Network((data.n_features, 16, 16, data.n_classes), ("sigmoid", "sigmoid", "softmax"), "cross_entropy")


def epoch_order(data: Dataset) -> np.ndarray:
    return np.random.default_rng(0).permutation(len(data.x_train)).astype(np.uint32)


def contender(name: str, data: Dataset, batch_size: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function that trains on the samples of an order and returns the cost of each batch; already compiled."""
    network = mnist_network(data)
    theta = network.initial_parameters(seed=0)
    if name == "NumPy":
        trainer = NumpyTrainer(network, theta, data.x_train, data.y_train, batch_size)
        return lambda order: trainer.run(order, ETA)
    split = Split(data.x_train, data.y_train, np.eye(data.n_classes, dtype=np.float32))
    nothing = Split(data.x_train[:0], data.y_train[:0], split.targets)
    settings: Any = ENGINES[name]
    engine = open_engine(network, theta, split, nothing, Settings(SGD, batch_size), x_scale=1 / 255, **settings)
    nobody = np.zeros(0, np.uint32)
    engine.run(nobody, np.zeros(0), np.zeros(0))
    if name == "stages":  # these compile when they are called
        warm = open_engine(network, theta, split, nothing, Settings(SGD, 1), x_scale=1 / 255, **settings)
        warm.run(np.zeros(1, np.uint32), np.full(1, ETA), np.empty(1))

    def run(order: np.ndarray) -> np.ndarray:
        costs = np.empty(-(-len(order) // batch_size))
        engine.run(order, np.full(len(costs), ETA), costs)
        return costs

    return run
