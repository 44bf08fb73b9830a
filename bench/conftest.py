"""For all benchmarks: one thread, and data. `pytest bench --benchmark-enable` measures; else they are quick tests.

FASTBP_DATA may name a folder with the real datasets; without it the built-in digits are used.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import pytest

from fastbp import Dataset, load_dataset


def pytest_configure(config: pytest.Config) -> None:
    cache = getattr(config, "cache", None)
    if cache is not None:
        os.environ.setdefault("FASTBP_CACHE_DIR", str(Path(cache.mkdir("fastbp"))))


@pytest.fixture(scope="session")
def measuring(request: pytest.FixtureRequest) -> bool:
    """False where benchmarks only have to run."""
    option = request.config.getoption
    return option("benchmark_enable") or not option("benchmark_disable")


@pytest.fixture(scope="session")
def digits(measuring: bool) -> Dataset:
    """MNIST, the built-in digits, or a few random pictures as dark as they are."""
    if measuring:
        return load_dataset("mnist" if os.environ.get("FASTBP_DATA") else "digits", offline=True)
    rng = np.random.default_rng(0)
    x = rng.integers(1, 256, (200, 784)) * (rng.random((200, 784)) < 0.19)
    return Dataset.from_arrays(x.astype(np.uint8), np.arange(200) % 10)
