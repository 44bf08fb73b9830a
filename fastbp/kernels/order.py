"""The order in which an epoch visits its samples: counter-based random numbers and a shuffle, compiled.

Word i of the stream with a given key is splitmix64(key + (i + 1) GOLDEN), exactly as in `fastbp.streams`; nothing is
stored between calls, so the same key gives the same order on every machine, compiled or interpreted.

Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators".
"""

from __future__ import annotations

import numpy as np
from numba import config

from ..streams import GOLDEN
from .jit import inlined, kernel

__all__ = ["below", "shuffle", "splitmix64", "word"]

# Every operand is a uint64: Numba turns a sum of int64 and uint64 into a float64.
_GOLDEN = np.uint64(GOLDEN)
_FACTOR_1 = np.uint64(0xBF58476D1CE4E5B9)
_FACTOR_2 = np.uint64(0x94D049BB133111EB)
_ONE, _27, _30, _31, _32 = np.uint64(1), np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)


@inlined
def splitmix64(x):
    """The finaliser of SplitMix64: a bijection of 64-bit words that looks random.

    x   u8   in
    """
    x = (x ^ (x >> _30)) * _FACTOR_1
    x = (x ^ (x >> _27)) * _FACTOR_2
    return x ^ (x >> _31)


@inlined
def word(key, i):
    """splitmix64(key + (i + 1) GOLDEN): word i of a stream

    key, i   u8   in
    """
    return splitmix64(key + (i + _ONE) * _GOLDEN)


@inlined
def below(bits, n):
    """floor(n u), where u in [0, 1) is made of the high 32 bits: a whole number from 0 to n - 1

    bits, n   u8   in   n at most 2^32; each number is off its share 1/n by at most 2^-32
    """
    return ((bits >> _32) * n) >> _32


@kernel
def shuffle(order, key):
    """order = a random permutation of 0..n-1; position i is drawn with word i of the stream

    order   u4 (n,)   out   overwritten; n from 0 to 2^32 - 1
    key     u8        in    np.uint64: a Python int of another size would compile another kernel

    Durstenfeld 1964, "Algorithm 235: random permutation". The last position is drawn first.

    Examples
    --------
    >>> import numpy as np
    >>> order = np.empty(5, np.uint32)
    >>> shuffle(order, np.uint64(1))
    >>> sorted(order.tolist())
    [0, 1, 2, 3, 4]
    """
    stream = np.uint64(key)
    for i in range(order.size):
        order[i] = i
    for i in range(order.size - 1, 0, -1):
        last = np.uint64(i)
        j = below(word(stream, last), last + _ONE)
        order[i], order[j] = order[j], order[i]


if config.DISABLE_JIT:
    # Products of 64-bit words wrap around: silently in machine code, with a warning in NumPy's scalars.
    _wrapping = np.errstate(over="ignore")
    splitmix64, word, shuffle = _wrapping(splitmix64), _wrapping(word), _wrapping(shuffle)
