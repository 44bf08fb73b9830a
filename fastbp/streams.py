"""Counter-based random numbers: one seed, one stream for each purpose, no hidden state.

Number `i` of a stream is a hash of (seed, purpose, i): SplitMix64 (Steele, Lea, Flood 2014). The same numbers come
out on every machine, in any order, in NumPy here and in the compiled twin `fastbp.kernels.order.splitmix64`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["normal", "permutation", "stream_key", "uniform", "words"]

GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_PURPOSES = {"init": 1, "shuffle": 2, "split": 3, "digits": 4, "dropout": 5, "noise": 6}


def _mix(z: int) -> int:
    """SplitMix64's finaliser on a Python int."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def stream_key(seed: int, purpose: str, *counters: int) -> int:
    """The 64-bit key of a stream. Different seeds, purposes or counters (epoch, layer, ...) give unrelated streams.

    Examples
    --------
    >>> stream_key(0, "init") != stream_key(0, "shuffle") != stream_key(0, "shuffle", 1)
    True
    """
    key = _mix((seed + GOLDEN) & _MASK)
    for value in (_PURPOSES[purpose], *counters):
        key = _mix((key + (value + 1) * GOLDEN) & _MASK)
    return key


def words(key: int, n: int, start: int = 0) -> NDArray[np.uint64]:
    """n 64-bit words of the stream, from number `start`.

    Examples
    --------
    >>> bool(words(7, 3, 2)[0] == words(7, 3)[2])
    True
    """
    z = np.arange(start + 1, start + n + 1, dtype=np.uint64) * np.uint64(GOLDEN) + np.uint64(key)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform(key: int, n: int) -> NDArray[np.float64]:
    """n numbers in [0, 1), 53 random bits each.

    Examples
    --------
    >>> float(uniform(stream_key(0, "init"), 10_000).mean().round(1))
    0.5
    """
    return (words(key, n) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(key: int, n: int) -> NDArray[np.float64]:
    """n numbers of the standard normal distribution (Box and Muller 1958)."""
    u = 1.0 - uniform(key, n)  # (0, 1], so that the logarithm is finite
    angle = (words(key, n, start=n) >> np.uint64(11)).astype(np.float64) * (2.0 * np.pi * 2.0**-53)
    return np.sqrt(-2.0 * np.log(u)) * np.cos(angle)


def permutation(key: int, n: int) -> NDArray[np.int64]:
    """A random order of 0..n-1: the stable sort of n hashed words. For splits; epochs are shuffled by the engine.

    Examples
    --------
    >>> sorted(permutation(stream_key(1, "split"), 5).tolist())
    [0, 1, 2, 3, 4]
    """
    return np.argsort(words(key, n), kind="stable").astype(np.int64)
