"""Which hidden units a batch does without, and how much the others count: inverted dropout.

A unit of a layer with rate p is dropped with probability p; the others are multiplied by 1 / (1 - p), so that nothing
changes when nothing is dropped. The choice is made by counter-based random numbers: a word of 64 bits decides on four
units, 16 bits each, and which word depends on the number of the update, the place of the sample in its batch and the
unit alone. So it is the same for every engine and any number of threads. This is the definition, in NumPy; the fused
engine draws the same bits in `fused.draw`.

Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014, "Dropout".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..streams import words

__all__ = ["UNITS", "factors", "limits_of"]

UNITS = 4  # per word
_16, _LOW = np.uint64(16), np.uint64(0xFFFF)


def limits_of(rates: tuple[float, ...], n_hidden: int) -> NDArray[np.uint64]:
    """(n_hidden,): a unit is dropped where its 16 bits are below this."""
    return np.array([round(rate * 65536) for rate in rates or (0.0,) * n_hidden], dtype=np.uint64)


def factors(
    key: int, update: int, batch_size: int, n: int, sizes: tuple[int, ...], rates: tuple[float, ...], dtype: Any
) -> list[NDArray[Any]]:
    """For each hidden layer (n, units): 0 for the units that a batch of n samples does without, 1 / (1 - p) else."""
    n_words = [-(-size // UNITS) for size in sizes]
    per_sample = sum(n_words)
    bits = words(key, n * per_sample, update * batch_size * per_sample)
    pieces = (bits[:, None] >> (_16 * np.arange(UNITS, dtype=np.uint64))) & _LOW
    rows = pieces.reshape(n, per_sample * UNITS)
    result, start = [], 0
    for size, count, rate, limit in zip(sizes, n_words, rates, limits_of(rates, len(sizes)), strict=True):
        kept = rows[:, start : start + size] >= limit
        result.append(kept.astype(dtype) * np.dtype(dtype).type(1.0 / (1.0 - rate)))
        start += count * UNITS
    return result
