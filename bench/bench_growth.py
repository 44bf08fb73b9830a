"""Time per sample of 784-16-16-10 at batch 32 as the data grows from 1,000 samples to 6,000,000.

The samples are generated digits, all different, drawn in blocks of 60,000 with a seed each. They are in one engine
whatever their number, and an epoch visits them in one random order, as `fastbp train` does; so the last entry walks
through 2 GB of packed samples. It needs 10 GB of free memory while they are packed, and two minutes before it begins.

A round trains on 60,000 samples or more: 60 epochs of 1,000. It takes turns with one epoch of 60,000; `ratio` in
`extra_info` is how many times as long a sample takes as there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from contenders import engine_of
from figures import race

from fastbp import Network
from fastbp.data.digits import make_digits

NETWORK = Network((784, 16, 16, 10), ("sigmoid", "sigmoid", "softmax"), "cross_entropy")
BATCH_SIZE = 32
BLOCK = 60_000
BYTES_PER_SAMPLE = 1_600  # 784 as drawn, and about half of that packed: with something to spare


def drawn(n):
    """n digits (n, 784) uint8 and their labels; the first 60,000 are those of the dataset `digits`."""
    x, y = np.empty((n, 784), np.uint8), np.empty(n, np.int32)
    for seed, first in enumerate(range(0, n, BLOCK)):
        some, labels, *_ = make_digits(min(BLOCK, n - first), 0, seed)
        x[first : first + BLOCK], y[first : first + BLOCK] = some.reshape(-1, 784), labels
    return x, y


def trainer_of(n, n_visits):
    """A function that trains on about n_visits samples, in whole epochs of n; and how many those are."""
    engine = engine_of("fused", NETWORK, *drawn(n), BATCH_SIZE)  # the digits themselves are not kept
    order = np.random.default_rng(0).permutation(n).astype(np.uint32)
    etas = np.full(-(-n // BATCH_SIZE), 0.1)
    costs = np.empty_like(etas)
    epochs = max(1, n_visits // n)

    def run():
        for _ in range(epochs):
            engine.run(order, etas, costs)
        assert np.isfinite(costs).all()

    return run, epochs * n


def free_memory():
    """Bytes that programs may still take, or None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


@pytest.mark.parametrize("n", [1_000, 60_000, 600_000, 6_000_000])
def bench_growth(benchmark, measuring, n):
    free, needed = free_memory(), n * BYTES_PER_SAMPLE
    if measuring and free is not None and free < needed:
        pytest.skip(f"needs {needed / 1e9:.0f} GB of memory, and {free / 1e9:.0f} GB are free")
    usual = BLOCK if measuring else 60
    n = n if measuring else min(n, 200)
    (run, n_ours), (other, n_theirs) = trainer_of(n, usual), trainer_of(usual, usual)
    benchmark.group = "growth, 784-16-16-10, batch 32"
    times = race(benchmark, run, other, rounds=3 if n > 10 * BLOCK else 7)
    ours, theirs = times.seconds / n_ours, times.other / n_theirs
    benchmark.extra_info["samples"] = n
    benchmark.extra_info["ns_per_sample"] = round(1e9 * ours, 1)
    benchmark.extra_info["against"] = f"{usual:,} samples"
    benchmark.extra_info["ratio"] = round(ours / theirs, 3)
