"""The vector type: compiled, it does what the plain functions say; and both do what mathematics says."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from numba import njit

from fastbp.kernels import simd, simd_functions
from fastbp.kernels.simd import (
    broadcast,
    fill,
    fma,
    lanes,
    load,
    load_as,
    maximum,
    peek,
    prefetch,
    sqrt,
    store,
    where_less,
)
from fastbp.kernels.simd_functions import exp, fold_add, fold_max, log, transpose

DTYPES = [np.float32, np.float64]


def arithmetic(x, out):
    """One of every operator, on vectors and numbers"""
    n = lanes(x)
    a = load(x, 0)
    b = load(x, n)
    store(out, 0, a + b)
    store(out, n, a - b)
    store(out, 2 * n, a * b)
    store(out, 3 * n, a / b)
    store(out, 4 * n, -a)
    store(out, 5 * n, 1 - a * 2.5 + 3 / b - 1.5)
    store(out, 6 * n, fma(a, b, a))
    store(out, 7 * n, maximum(a, b))
    store(out, 8 * n, where_less(a, b, a * 2.0, b * 3.0))
    store(out, 9 * n, sqrt(a * a))
    store(out, 10 * n, fill(x, 0.1))
    store(out, 11 * n, fill(a, 7))
    store(out, 12 * n, broadcast(x, 3))
    prefetch(x, 0)
    out[13 * n] = fold_add(a)
    out[13 * n + 1] = fold_max(b)
    out[13 * n + 2] = peek(x, 5)
    out[13 * n + 3] = n


@pytest.mark.parametrize("dtype", DTYPES)
def test_operators(dtype: Any) -> None:
    n = 64 // np.dtype(dtype).itemsize
    x = np.random.default_rng(0).normal(size=2 * n).astype(dtype)
    a, b = x[:n], x[n:]
    compiled, plain = np.zeros(14 * n, dtype), np.zeros(14 * n, dtype)
    njit(arithmetic)(x, compiled)
    arithmetic(x, plain)
    np.testing.assert_allclose(compiled, plain, rtol=4 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps)
    exact = [a + b, a - b, a * b, a / b, -a, 1 - a * dtype(2.5) + 3 / b - dtype(1.5), a * b + a, np.maximum(a, b)]
    exact += [np.where(a < b, a * 2, b * 3), abs(a), [dtype(0.1)] * n, [7] * n, [x[3]] * n]
    for k, expected in enumerate(exact):
        part, eps = compiled[k * n : (k + 1) * n], np.finfo(dtype).eps
        np.testing.assert_allclose(part, expected, rtol=8 * eps, atol=8 * eps, err_msg=str(k))
    assert compiled[13 * n] == pytest.approx(math.fsum(a), rel=1e-5)
    assert list(compiled[13 * n + 1 : 13 * n + 4]) == [b.max(), x[5], n]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("source", [np.uint8, np.int16, np.float32, np.float64])
def test_load_as_converts(dtype: Any, source: Any) -> None:
    n = 64 // np.dtype(dtype).itemsize
    x = np.array([0, 1, 127, 128, 200, 255, 3, 4] * 5).astype(source)
    out = np.empty(n, dtype)
    njit(lambda x, out: store(out, 0, load_as(out, x, 3)))(x, out)
    assert list(out) == list(x[3 : 3 + n]) == list(load_as(out, x, 3))


@njit
def exp_of(x, out):
    for i in range(0, x.size, lanes(x)):
        store(out, i, exp(load(x, i)))


@njit
def log_of(x, out):
    for i in range(0, x.size, lanes(x)):
        store(out, i, log(load(x, i)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_and_log_to_the_last_bits(dtype: Any) -> None:
    """Within one unit in the last place of exp; of log, relative to the larger of itself and 1."""
    eps = np.finfo(dtype).eps
    x = np.linspace(-86.9, 87.9, 160_000).astype(dtype)
    out = np.empty_like(x)
    exp_of(x, out)
    exact = np.exp(x.astype(np.longdouble))
    assert np.max(np.abs(out / exact - 1)) < 1.2 * eps
    y = np.exp(np.linspace(-60, 60, 160_000)).astype(dtype)
    log_of(y, out)
    exact = np.log(y.astype(np.longdouble))
    assert np.max(np.abs(out - exact) / np.maximum(np.abs(exact), 1)) < 1.2 * eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_and_log_at_the_ends(dtype: Any) -> None:
    """Large arguments are clipped to normal numbers; what is not a number is never made into one."""
    n = 64 // np.dtype(dtype).itemsize
    x = np.resize(np.array([np.nan, np.inf, -np.inf, 1e4, -1e4, 0], dtype), n)
    out = np.empty(n, dtype)
    exp_of(x, out)
    assert np.isnan(out[0])
    assert out[5] == 1
    assert np.isfinite(out[1:5]).all()
    assert out[1] == out[3] > 1e37
    assert 0 < out[2] == out[4] < 1e-37
    log_of(x, out)
    assert np.isnan(out[:2]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_transpose(dtype: Any) -> None:
    n = 64 // np.dtype(dtype).itemsize
    source = np.arange(3 * n * n, dtype=dtype)
    target, plain = np.zeros(4 * n * n, dtype), np.zeros(4 * n * n, dtype)
    njit(lambda a, b, m: transpose(a, 5, 2 * m, b, 7, 3 * m))(source, target, n)
    transpose(source, 5, 2 * n, plain, 7, 3 * n)
    np.testing.assert_array_equal(target, plain)
    for row in range(n):
        np.testing.assert_array_equal(target[7 + 3 * n * row :][:n], source[5 + row :: 2 * n][:n])


def test_interpreted_accesses_are_checked() -> None:
    x = np.zeros(20, np.float32)
    for access in (
        lambda: load(x, 5),
        lambda: load(x, -1),
        lambda: store(x, 5, x[:16]),
        lambda: peek(x, 20),
        lambda: broadcast(x, -1),
    ):
        with pytest.raises(IndexError):
            access()


def test_machine_code_uses_whole_vectors() -> None:
    """A sum of products stays in registers: fused multiply-adds, as wide as the machine's vectors."""
    from fastbp.kernels.jit import machine

    @njit
    def dot(a, b):
        s = fill(a, 0.0)
        for i in range(0, a.size, lanes(a)):
            s = fma(load(a, i), load(b, i), s)
        return fold_add(s)

    x = np.arange(64, dtype=np.float32)
    assert dot(x, x) == np.sum(x * x)
    registers = {512: "zmm", 256: "ymm"}.get(machine()["vector_bits"])
    if registers is None:
        pytest.skip(f"no expectation for vectors of {machine()['vector_bits']} bits")
    code = next(iter(dot.inspect_asm().values()))
    assert re.search(rf"vfmadd\w+\s.*{registers}", code)


def test_every_public_name_has_a_meaning_in_plain_python() -> None:
    for module in (simd, simd_functions):
        for name in module.__all__:
            value = getattr(module, name)
            assert isinstance(value, int) or (callable(value) and value.__doc__), name
