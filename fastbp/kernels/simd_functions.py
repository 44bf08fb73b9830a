"""Functions of a whole vector: sums and maxima of its lanes, transposed tiles, exp and log.

As in `simd`, each is a plain Python function that says what it means, with its LLVM form beside it.
"""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from .simd import Vector, call_llvm, lanes, llvm_type, load, lowers, pointer_to, store, vector_of

__all__ = ["exp", "fold_add", "fold_max", "log", "transpose"]


def shuffle_lanes(builder: Any, a: Any, b: Any, places: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places))


def _fold(plain: Any, combine: Any) -> None:
    """Attach a reduction in a fixed order: lane i with lane i + half, then again on the half"""

    @lowers(plain)
    def _(typing_context, a):
        if not isinstance(a, Vector):
            return None

        def generate(context, builder, sig, args):
            (value,) = args
            n = a.lanes
            while n > 1:
                n //= 2
                low = shuffle_lanes(builder, value, value, list(range(n)))
                high = shuffle_lanes(builder, value, value, list(range(n, 2 * n)))
                value = combine(builder, low, high)
            return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

        return a.dtype(a), generate


def fold_add(a):
    """The sum of all lanes"""
    while len(a) > 1:
        a = a[: len(a) // 2] + a[len(a) // 2 :]
    return a[0]


def fold_max(a):
    """The largest lane"""
    return a.max()


_fold(fold_add, lambda builder, low, high: builder.fadd(low, high))
_fold(fold_max, lambda builder, low, high: builder.select(builder.fcmp_ordered("<", low, high), high, low))


def transpose(source, start, step, target, target_start, target_step):
    """Copy a square tile of lanes x lanes elements, rows `step` apart, to columns of rows `target_step` apart"""
    n = lanes(source)
    rows = [load(source, start + r * step) for r in range(n)]
    for r, column in enumerate(np.stack(rows).T):
        store(target, target_start + r * target_step, column)


@lowers(transpose)
def _(typing_context, source, start, step, target, target_start, target_step):
    vector = vector_of(source)
    if vector is None or vector_of(target) != vector:
        return None

    def generate(context, builder, sig, args):
        source_, start_, step_, target_, target_start_, target_step_ = args
        n = vector.lanes
        align = vector.dtype.bitwidth // 8
        pointer_type = llvm_type(vector).as_pointer()
        intp = start_.type

        def address(array_type, array, first, stride, r):
            place = builder.add(first, builder.mul(stride, ir.Constant(intp, r)))
            return builder.bitcast(pointer_to(context, builder, array_type, array, place), pointer_type)

        rows = [builder.load(address(sig.args[0], source_, start_, step_, r), align=align) for r in range(n)]
        d = n // 2
        while d:  # swap the off-diagonal blocks of d x d, then of half that size, ...
            for r in range(n):
                if r & d == 0:
                    a, b = rows[r], rows[r + d]
                    rows[r] = shuffle_lanes(builder, a, b, [c if c & d == 0 else n + c - d for c in range(n)])
                    rows[r + d] = shuffle_lanes(builder, a, b, [c + d if c & d == 0 else n + c for c in range(n)])
            d //= 2
        for r in range(n):
            builder.store(rows[r], address(sig.args[3], target_, target_start_, target_step_, r), align=align)
        return context.get_dummy_value()

    numbers = (types.intp,) * 2
    return types.void(source, *numbers, target, *numbers), generate


# --- exp and log ------------------------------------------------------------------------------------------------------
# Polynomials on the whole vector: math.exp in a loop would be one library call per element.


class _Lanes:
    """Builds LLVM arithmetic on vectors of one type, constants included."""

    def __init__(self, builder: Any, vector: Vector) -> None:
        self.builder, self.type = builder, llvm_type(vector)
        width, self.mantissa, self.bias = (32, 23, 127) if vector.dtype is types.float32 else (64, 52, 1023)
        self.integers = ir.VectorType(ir.IntType(width), vector.lanes)

    def constant(self, value: float) -> ir.Constant:
        return ir.Constant(self.type, [float(np.float32(value)) if self.mantissa == 23 else value] * self.type.count)

    def bits(self, value: int) -> ir.Constant:
        return ir.Constant(self.integers, [value] * self.integers.count)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return call_llvm(self.builder, "fmuladd", self.type, a, b, c)

    def polynomial(self, x: Any, coefficients: tuple[float, ...]) -> Any:
        """Horner's rule, highest power first."""
        value = self.constant(coefficients[0])
        for c in coefficients[1:]:
            value = self.fma(value, x, self.constant(c))
        return value

    def clip(self, x: Any, low: float, high: float) -> Any:
        """x within low..high; the comparisons are false for NaN, which stays."""
        for sign, limit in (("<", self.constant(low)), (">", self.constant(high))):
            x = self.builder.select(self.builder.fcmp_ordered(sign, x, limit), limit, x)
        return x

    def power_of_two(self, n: Any) -> Any:
        """2^n for whole n: adding 1.5 * 2^mantissa leaves n + bias in the low bits; shifted up, it is the exponent."""
        shifted = self.builder.fadd(n, self.constant(1.5 * 2.0**self.mantissa + self.bias))
        bits = self.builder.shl(self.builder.bitcast(shifted, self.integers), self.bits(self.mantissa))
        return self.builder.bitcast(bits, self.type)

    def split(self, x: Any) -> tuple[Any, Any]:
        """(e, m) with x = 2^e m and 1 <= m < 2, for positive normal x."""
        builder, bits = self.builder, self.builder.bitcast(x, self.integers)
        # the exponent's bits, or'ed into the mantissa of 2^mantissa, are a number that needs only a subtraction
        field = builder.or_(
            builder.lshr(bits, self.bits(self.mantissa)), self.bits((self.bias + self.mantissa) << self.mantissa)
        )
        e = builder.fsub(builder.bitcast(field, self.type), self.constant(2.0**self.mantissa + self.bias))
        low = builder.and_(bits, self.bits((1 << self.mantissa) - 1))
        return e, builder.bitcast(builder.or_(low, self.bits(self.bias << self.mantissa)), self.type)


def exp(x):
    """e^x, clipped to the range of normal numbers; NaN stays NaN"""
    return np.exp(np.clip(x, -87.0, 88.0) if x.dtype == np.float32 else np.clip(x, -708.0, 709.0))


@lowers(exp)
def _(typing_context, x):
    if not isinstance(x, Vector):
        return None

    def generate(context, builder, sig, args):
        # x = n ln 2 + r with |r| <= ln 2 / 2, so e^x = 2^n e^r: Taylor's terms to r^7 (float32) or r^13 (float64),
        # the next one below half a unit in the last place; ln 2 in two parts, the first with few bits
        v = _Lanes(builder, x)
        single = v.mantissa == 23
        z = v.clip(args[0], *((-87.0, 88.0) if single else (-708.0, 709.0)))
        n = call_llvm(builder, "rint", v.type, builder.fmul(z, v.constant(1.4426950408889634)))
        r = v.fma(n, v.constant(-0.693359375), z)
        r = v.fma(n, v.constant(2.1219444005469058e-4), r)
        p = v.polynomial(r, tuple(1 / factorial(k) for k in range(7 if single else 13, -1, -1)))
        return builder.fmul(p, v.power_of_two(n))

    return x(x), generate


def log(x):
    """The natural logarithm of positive normal numbers; NaN and infinity give NaN"""
    return np.log(x) + x * 0


@lowers(log)
def _(typing_context, x):
    if not isinstance(x, Vector):
        return None

    def generate(context, builder, sig, args):
        # x = 2^e m with 1/sqrt(2) <= m < sqrt(2); ln m = 2 artanh(s), s = (m - 1) / (m + 1), |s| <= 0.172
        v = _Lanes(builder, x)
        e, m = v.split(args[0])
        large = builder.fcmp_ordered(">", m, v.constant(2**0.5))
        m = builder.select(large, builder.fmul(m, v.constant(0.5)), m)
        e = builder.select(large, builder.fadd(e, v.constant(1.0)), e)
        s = builder.fdiv(builder.fsub(m, v.constant(1.0)), builder.fadd(m, v.constant(1.0)))
        q = builder.fmul(s, s)
        series = v.polynomial(q, tuple(2 / (2 * k + 1) for k in range(4 if v.mantissa == 23 else 10, -1, -1)))
        result = v.fma(s, series, builder.fmul(e, v.constant(0.6931471805599453)))
        return v.fma(args[0], v.constant(0.0), result)  # keeps NaN

    return x(x), generate
