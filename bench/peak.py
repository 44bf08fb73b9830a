"""What one core can do at most: independent chains of fused multiply-adds on full vector registers."""

from __future__ import annotations

from time import perf_counter

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


def fma_peak(seconds: float = 0.01) -> float:
    """float32 operations per second of one core, two per multiply-add; run it again and take the largest."""
    out = np.empty(CHAINS * 16, np.float32)
    n = 1000
    _chains(out, n)
    while True:
        begun = perf_counter()
        _chains(out, n)
        spent = perf_counter() - begun
        if spent >= seconds:
            return 2 * out.size * n / spent
        n *= 4
