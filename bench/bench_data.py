"""From files to arrays, and from arrays to the form that the fused kernels read."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from contenders import contender

from fastbp import load_dataset
from fastbp.data import digits as drawn


@pytest.fixture
def idx_folder(digits, tmp_path, monkeypatch):
    """The dataset as four IDX files, and an empty cache."""
    monkeypatch.setenv("FASTBP_CACHE_DIR", str(tmp_path / "cache"))
    x, y = digits.x_train, digits.y_train.astype(np.uint8)
    for role in ("train", "t10k"):
        images = struct.pack(">4B3I", 0, 0, 8, 3, len(x), 28, 28) + x.tobytes()
        labels = struct.pack(">4B1I", 0, 0, 8, 1, len(y)) + y.tobytes()
        (tmp_path / f"{role}-images-idx3-ubyte").write_bytes(images)
        (tmp_path / f"{role}-labels-idx1-ubyte").write_bytes(labels)
    return tmp_path


def bench_load_again(benchmark, idx_folder):
    """The second load: one memory-mapped file instead of four parsed ones."""
    first = load_dataset(idx_folder)
    again = benchmark(load_dataset, idx_folder)
    assert np.array_equal(again.x_train, first.x_train)


def bench_load_first(benchmark, idx_folder, monkeypatch):
    """Parsing, checking and filling the cache."""
    counter = iter(range(10**9))

    def empty_cache():
        monkeypatch.setenv("FASTBP_CACHE_DIR", str(idx_folder / f"cache-{next(counter)}"))

    data = benchmark.pedantic(load_dataset, args=(idx_folder,), setup=empty_cache, rounds=3)
    assert data.x_train.shape[1] == 784


def bench_draw_digits(benchmark, measuring):
    n = 60_000 if measuring else 20
    drawn.make_digits(20, 10)  # compiles
    x_train, *_ = benchmark.pedantic(drawn.make_digits, args=(n, n // 6), rounds=1)
    assert x_train.shape == (n, 28, 28)


def bench_open_engine(benchmark, digits):
    """Weights and samples brought into the form that the fused kernels read."""
    contender("fused", digits, 32)  # compiles
    run = benchmark.pedantic(contender, args=("fused", digits, 32), rounds=3)
    assert np.isfinite(run(np.arange(100, dtype=np.uint32))).all()
