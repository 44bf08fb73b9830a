"""What cores can do at most: independent chains of fused multiply-adds on full vector registers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from time import perf_counter
from typing import Any

import numpy as np
from numba import njit

from fastbp.kernels.simd import fill, fma, lanes, store

__all__ = ["fma_peak"]

CHAINS = 12  # more than latency times throughput of any processor so far, fewer than there are registers


@njit(error_model="numpy", nogil=True)
def _chains(out, n):
    a, b = fill(out, 0.999), fill(out, 0.001)
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = s9 = s10 = s11 = fill(out, 0.0)
    for _ in range(n):
        s0, s1, s2 = fma(s0, a, b), fma(s1, a, b), fma(s2, a, b)
        s3, s4, s5 = fma(s3, a, b), fma(s4, a, b), fma(s5, a, b)
        s6, s7, s8 = fma(s6, a, b), fma(s7, a, b), fma(s8, a, b)
        s9, s10, s11 = fma(s9, a, b), fma(s10, a, b), fma(s11, a, b)
    lane = lanes(out)
    for i, s in enumerate((s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11)):
        store(out, i * lane, s)


def fma_peak(seconds: float = 0.01, threads: int = 1) -> float:
    """float32 operations per second, two per multiply-add; run it again and take the largest.

    Several threads begin together, and the last one to end counts: where two share a core, or somebody else is busy on
    one, the figure is less than that of one core times their number. `seconds` is how long it takes at least; half as
    long again has gone before in finding out how much work that is.
    """
    outs = [np.empty(CHAINS * 16, np.float32) for _ in range(threads)]
    n = 1000
    _chains(outs[0], n)  # compiles
    while True:
        spent = _spent(outs, n)
        if spent >= seconds:
            return 2 * outs[0].size * threads * n / spent
        n *= 4


def _spent(outs: list[Any], n: int) -> float:
    """Seconds from the first start to the last end of n steps on each array, one thread each."""
    begin = Barrier(len(outs))

    def work(out: Any) -> tuple[float, float]:
        begin.wait()
        begun = perf_counter()
        _chains(out, n)
        return begun, perf_counter()

    if len(outs) == 1:
        spans = [work(outs[0])]
    else:
        with ThreadPoolExecutor(len(outs)) as pool:
            spans = list(pool.map(work, outs))
    return max(end for _, end in spans) - min(begun for begun, _ in spans)
