#!/usr/bin/env python3
"""The measurements behind the default learning rates in fastbp/defaults.py.

Every rate is judged on 10,000 images held out of MNIST's training set, with seeds of 100 and more; the test set takes
no part. Run it with FASTBP_DATA set to a folder that holds mnist/, or let it download. Some minutes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fastbp

SEEDS = (100, 101, 102)
HELD_OUT = 10_000


def main() -> None:
    mnist = fastbp.load_dataset("mnist")
    kept = len(mnist.x_train) - HELD_OUT
    data = fastbp.Dataset.from_arrays(
        mnist.x_train[:kept], mnist.y_train[:kept], mnist.x_train[kept:], mnist.y_train[kept:], name="held-out"
    )

    def table(name: str, rates: tuple[float, ...], **settings: Any) -> None:
        cells = (f"{rate:g}: {accuracy(data, learning_rate=rate, **settings)}" for rate in rates)
        print(f"{name:<32}", "  ".join(cells), flush=True)

    for activation in ("sigmoid", "tanh", "relu", "leaky_relu"):
        table(activation, (0.05, 0.1, 0.2, 0.5, 1.0, 2.0), activation=activation)
        for optimizer in ("momentum", "nesterov"):
            table(
                f"{activation}, {optimizer}", (0.005, 0.01, 0.02, 0.05, 0.1), activation=activation, optimizer=optimizer
            )
        for optimizer in ("adam", "adamw", "rmsprop"):
            table(f"{activation}, {optimizer}", (0.001, 0.002, 0.005, 0.01), activation=activation, optimizer=optimizer)
    for cost in ("squared_error", "mean_squared_error", "binary_cross_entropy"):
        table(cost, (0.5, 1.0, 2.0, 4.0), cost=cost)
    for batch_size in (10, 128, 1000, 10_000):
        table(f"batch size {batch_size}", (0.5, 1.0, 2.0, 4.0, 8.0), batch_size=batch_size)


def accuracy(data: fastbp.Dataset, **settings: Any) -> str:
    """Mean accuracy on the held-out images."""
    try:
        results = [fastbp.train(data, seed=seed, evaluate="end", **settings) for seed in SEEDS]
    except fastbp.DivergedError:
        return "diverged"
    return f"{100 * np.mean([result.test_accuracy for result in results]):.2f} %"


if __name__ == "__main__":
    main()
