"""For tests of the data room: a private cache directory, no data folder from outside, and IDX bytes packed by hand."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

TYPE_CODES = {"B": 0x08, "b": 0x09, "h": 0x0B, "i": 0x0C, "f": 0x0D, "d": 0x0E}


@pytest.fixture
def cache_folder(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory, and no data folder from outside."""
    monkeypatch.delenv("FASTBP_DATA", raising=False)
    return own_cache


@pytest.fixture
def idx_bytes() -> Callable[..., bytes]:
    """idx_bytes(code, sizes, values): an IDX file, packed with struct."""

    def pack(code: str, sizes: Sequence[int], values: Sequence[float]) -> bytes:
        head = struct.pack(f">BBBB{len(sizes)}I", 0, 0, TYPE_CODES[code], len(sizes), *sizes)
        return head + struct.pack(f">{len(values)}{code}", *values)

    return pack


@pytest.fixture
def mnist_like(idx_bytes: Callable[..., bytes]) -> Callable[..., tuple[np.ndarray, ...]]:
    """mnist_like(folder, ...): write four small IDX files; the arrays that they hold."""

    def write(
        folder: Path, n_train: int = 30, n_test: int = 12, *, packed: bool = True, dot: bool = False, side: int = 8
    ) -> tuple[np.ndarray, ...]:
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(7)
        arrays = []
        for role, n in (("train", n_train), ("t10k", n_test)):
            images = rng.integers(0, 256, (n, side, side))
            labels = np.arange(n) % 10
            arrays += [images, labels]
            for what, array in (("images", images), ("labels", labels)):
                content = idx_bytes("B", array.shape, array.reshape(-1).tolist())
                name = f"{role}-{what}{'.' if dot else '-'}idx{array.ndim}-ubyte"
                if packed:
                    (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
                else:
                    (folder / name).write_bytes(content)
        return tuple(arrays)

    return write
