"""For all benchmarks: one thread, and data. `pytest bench --benchmark-enable` measures; else they are quick tests.

FASTBP_DATA may name a folder with the real datasets; without it the built-in digits take the place of MNIST.
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

FEW = 200  # samples, where benchmarks only have to run


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
    return few_pictures(0.19)


@pytest.fixture(scope="session")
def fashion(measuring: bool) -> Dataset:
    """Fashion-MNIST, half of whose pixels are lit, or a few random pictures like that."""
    if not measuring:
        return few_pictures(0.5)
    if not os.environ.get("FASTBP_DATA"):
        pytest.skip("FASTBP_DATA is not set: it names the folder with fashion/")
    return load_dataset("fashion", offline=True)


@pytest.fixture(scope="session")
def gaussian(measuring: bool) -> Dataset:
    """float32 without a zero: 60,000 samples, or a few."""
    n = 60_000 if measuring else FEW
    x = np.random.default_rng(1).standard_normal((n, 784), dtype=np.float32)
    return Dataset.from_arrays(x, np.arange(n) % 10, name="gaussian")


def few_pictures(lit: float) -> Dataset:
    """Random pictures with this share of lit pixels."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, 256, (FEW, 784)) * (rng.random((FEW, 784)) < lit)
    return Dataset.from_arrays(x.astype(np.uint8), np.arange(FEW) % 10)
