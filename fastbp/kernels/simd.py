"""A value that fills one 64-byte vector register: 16 float32 or 8 float64 numbers ("lanes").

Numba's own loops do not keep 16 sums in a register; a value of an LLVM vector type does, and made the epoch of
784-16-16-10 about 13 times as fast. Each operation is **a plain Python function that says what it means** (on a
NumPy slice) with its LLVM form attached beside it. Compiled, it is one or two instructions; interpreted
(`NUMBA_DISABLE_JIT=1`), the same kernel runs on NumPy, for debugging and coverage.

Kernels then read like mathematics: `1 / (1 + exp(-z))`. LLVM lowers the type to AVX-512, AVX2, SSE or NEON by itself.
`load` and `store` do not check bounds when compiled: their callers pad their arrays to whole vectors.
"""

from __future__ import annotations

import operator
from math import factorial
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer, infer_global, make_intrinsic_template, signature
from numba.extending import models, register_model

__all__ = [
    "VECTOR_BYTES",
    "broadcast",
    "exp",
    "fill",
    "fma",
    "fold_add",
    "fold_max",
    "lanes",
    "load",
    "log",
    "maximum",
    "peek",
    "prefetch",
    "sqrt",
    "store",
    "transpose",
    "unpack_bfloat16",
    "where_less",
]

VECTOR_BYTES = 64


class Vector(types.Type):
    """Numba's type of a vector; `dtype` is float32 or float64."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.lanes = VECTOR_BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"Vector({dtype})")


def _element(vector: Any) -> ir.Type:
    return ir.FloatType() if vector.dtype is types.float32 else ir.DoubleType()


def _llvm(vector: Any) -> ir.Type:
    return ir.VectorType(_element(vector), vector.lanes)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _llvm(fe_type))


# --- attaching an LLVM form to a plain function -----------------------------------------------------------------------


def _lowers(plain: Any) -> Any:
    """Decorator for `(typing_context, *argument types) -> (signature, code generator)`: the LLVM form of `plain`."""

    def attach(definition: Any) -> Any:
        template = make_intrinsic_template(plain, definition, plain.__name__, prefer_literal=False, kwargs={})
        infer(template)
        infer_global(plain, types.Function(template))
        return plain

    return attach


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """The address of element `index`: no bounds, no wraparound."""
    data = cgutils.create_struct_proxy(array_type)(context, builder, value=array).data
    return builder.gep(data, [index], inbounds=True)


def _splat(builder: Any, vector: Any, scalar: Any) -> Any:
    one = builder.insert_element(ir.Constant(_llvm(vector), ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(
        one, one, ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [0] * vector.lanes)
    )


def _shuffle(builder: Any, a: Any, b: Any, places: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places))


def _call(builder: Any, name: str, result: Any, *args: Any) -> Any:
    """Call the LLVM intrinsic `name`, whose suffix is the vector's shape."""
    suffix = f"v{result.count}f{32 if isinstance(result.element, ir.FloatType) else 64}"
    function_type = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, f"llvm.{name}.{suffix}"), args)


def _vector_of(array_type: Any) -> Vector | None:
    if isinstance(array_type, Vector):
        return array_type
    known = isinstance(array_type, types.Array) and array_type.dtype in (types.float32, types.float64)
    return Vector(array_type.dtype) if known else None


# --- operators --------------------------------------------------------------------------------------------------------


def _binary(symbol: Any, emit: str) -> None:
    """Teach Numba `symbol` on two vectors, or on a vector and a number, which is copied to every lane."""

    @infer_global(symbol)
    class _Typing(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) != 2 or not any(isinstance(a, Vector) for a in args):
                return None
            vector = next(a for a in args if isinstance(a, Vector))
            if all(a == vector or isinstance(a, types.Number) for a in args):
                return signature(vector, *args)
            return None

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = sig.return_type

        def side(value: Any, kind: Any) -> Any:
            if isinstance(kind, Vector):
                return value
            return _splat(builder, vector, context.cast(builder, value, kind, vector.dtype))

        return getattr(builder, emit)(*map(side, args, sig.args))

    for left, right in ((Vector, Vector), (Vector, types.Number), (types.Number, Vector)):
        lower_builtin(symbol, left, right)(lower)


_binary(operator.add, "fadd")
_binary(operator.sub, "fsub")
_binary(operator.mul, "fmul")
_binary(operator.truediv, "fdiv")


@infer_global(operator.neg)
class _Negative(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        return signature(args[0], args[0]) if isinstance(args[0], Vector) else None


@lower_builtin(operator.neg, Vector)
def _lower_negative(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.fneg(args[0])


# --- memory -----------------------------------------------------------------------------------------------------------


def lanes(array):
    """How many elements of the dtype of `array` fill a vector: a constant when compiled"""
    return VECTOR_BYTES // array.itemsize


@_lowers(lanes)
def _(typing_context, array):
    vector = _vector_of(array)
    if vector is None:
        return None

    def generate(context, builder, sig, args):
        return context.get_constant(types.intp, vector.lanes)

    return types.intp(array), generate


def load(array, index):
    """The vector of elements index, index + 1, ... of a one-dimensional array"""
    n = lanes(array)
    if not 0 <= index <= array.size - n:
        raise IndexError(f"vector at {index} of an array of {array.size}")
    return array[index : index + n].copy()


@_lowers(load)
def _(typing_context, array, index):
    vector = _vector_of(array)
    if vector is None:
        return None

    def generate(context, builder, sig, args):
        pointer = _pointer(context, builder, sig.args[0], *args)
        pointer = builder.bitcast(pointer, _llvm(vector).as_pointer())
        return builder.load(pointer, align=vector.dtype.bitwidth // 8)

    return vector(array, types.intp), generate


def store(array, index, vector):
    """array[index : index + lanes] = vector"""
    n = lanes(array)
    if not 0 <= index <= array.size - n:
        raise IndexError(f"vector at {index} of an array of {array.size}")
    array[index : index + n] = vector


@_lowers(store)
def _(typing_context, array, index, vector):
    if _vector_of(array) != vector:
        return None

    def generate(context, builder, sig, args):
        pointer = _pointer(context, builder, sig.args[0], args[0], args[1])
        pointer = builder.bitcast(pointer, _llvm(vector).as_pointer())
        builder.store(args[2], pointer, align=vector.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


def broadcast(array, index):
    """The vector that holds array[index] in every lane"""
    if not 0 <= index < array.size:
        raise IndexError(f"element {index} of an array of {array.size}")
    return np.full(lanes(array), array[index])


@_lowers(broadcast)
def _(typing_context, array, index):
    vector = _vector_of(array)
    if vector is None:
        return None

    def generate(context, builder, sig, args):
        scalar = builder.load(_pointer(context, builder, sig.args[0], *args))
        return _splat(builder, vector, scalar)

    return vector(array, types.intp), generate


def fill(like, value):
    """The vector that holds `value` in every lane, of the dtype of an array or another vector"""
    return np.full(lanes(like), value, dtype=like.dtype)


@_lowers(fill)
def _(typing_context, like, value):
    vector = _vector_of(like)
    if vector is None or not isinstance(value, types.Number):
        return None

    def generate(context, builder, sig, args):
        return _splat(builder, vector, context.cast(builder, args[1], sig.args[1], vector.dtype))

    return vector(like, value), generate


def unpack_bfloat16(array, bits):
    """The vector that holds, in every lane, the bfloat16 number in the high half of the uint32 `bits`"""
    return np.full(lanes(array), np.uint32(bits & 0xFFFF0000).view(np.float32), dtype=array.dtype)


@_lowers(unpack_bfloat16)
def _(typing_context, array, bits):
    vector = _vector_of(array)
    if vector is None:
        return None

    def generate(context, builder, sig, args):
        word = builder.and_(args[1], ir.Constant(ir.IntType(32), 0xFFFF0000))
        value = builder.bitcast(word, ir.FloatType())
        return _splat(builder, vector, context.cast(builder, value, types.float32, vector.dtype))

    return vector(array, types.uint32), generate


def peek(array, index):
    """array[index], without the test for a negative index"""
    if not 0 <= index < array.size:
        raise IndexError(f"element {index} of an array of {array.size}")
    return array[index]


@_lowers(peek)
def _(typing_context, array, index):
    if not isinstance(array, types.Array):
        return None

    def generate(context, builder, sig, args):
        return builder.load(_pointer(context, builder, sig.args[0], *args))

    return array.dtype(array, types.intp), generate


def prefetch(array, index):
    """Ask for the cache line of element `index`, wherever that is; changes nothing"""


@_lowers(prefetch)
def _(typing_context, array, index):
    def generate(context, builder, sig, args):
        pointer = builder.bitcast(_pointer(context, builder, sig.args[0], *args), ir.IntType(8).as_pointer())
        i32 = ir.IntType(32)
        function_type = ir.FunctionType(ir.VoidType(), [pointer.type, i32, i32, i32])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
        builder.call(function, [pointer, ir.Constant(i32, 0), ir.Constant(i32, 3), ir.Constant(i32, 1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


# --- arithmetic -------------------------------------------------------------------------------------------------------


def fma(a, b, c):
    """a * b + c, with a single rounding where the processor can"""
    return a * b + c


@_lowers(fma)
def _(typing_context, a, b, c):
    if not isinstance(a, Vector) or a != b or a != c:
        return None

    def generate(context, builder, sig, args):
        return _call(builder, "fmuladd", args[0].type, *args)

    return a(a, b, c), generate


def sqrt(a):
    """The square root of every lane"""
    return np.sqrt(a)


@_lowers(sqrt)
def _(typing_context, a):
    if not isinstance(a, Vector):
        return None

    def generate(context, builder, sig, args):
        return _call(builder, "sqrt", args[0].type, *args)

    return a(a), generate


def where_less(a, b, x, y):
    """x where a < b, else y; a NaN is not less"""
    return np.where(a < b, x, y)


@_lowers(where_less)
def _(typing_context, a, b, x, y):
    if not isinstance(a, Vector) or not a == b == x == y:
        return None

    def generate(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[2], args[3])

    return a(a, b, x, y), generate


def maximum(a, b):
    """The larger of each pair; a NaN in `a` stays"""
    return where_less(a, b, b, a)


@_lowers(maximum)
def _(typing_context, a, b):
    if not isinstance(a, Vector) or a != b:
        return None

    def generate(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[1], args[0])

    return a(a, b), generate


def _fold(plain: Any, combine: Any) -> None:
    """Attach a reduction in a fixed order: lane i with lane i + half, then again on the half"""

    @_lowers(plain)
    def _(typing_context, a):
        if not isinstance(a, Vector):
            return None

        def generate(context, builder, sig, args):
            (value,) = args
            n = a.lanes
            while n > 1:
                n //= 2
                low = _shuffle(builder, value, value, list(range(n)))
                high = _shuffle(builder, value, value, list(range(n, 2 * n)))
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


@_lowers(transpose)
def _(typing_context, source, start, step, target, target_start, target_step):
    vector = _vector_of(source)
    if vector is None or _vector_of(target) != vector:
        return None

    def generate(context, builder, sig, args):
        source_, start_, step_, target_, target_start_, target_step_ = args
        n = vector.lanes
        align = vector.dtype.bitwidth // 8
        pointer_type = _llvm(vector).as_pointer()
        intp = start_.type

        def address(array_type, array, first, stride, r):
            place = builder.add(first, builder.mul(stride, ir.Constant(intp, r)))
            return builder.bitcast(_pointer(context, builder, array_type, array, place), pointer_type)

        rows = [builder.load(address(sig.args[0], source_, start_, step_, r), align=align) for r in range(n)]
        d = n // 2
        while d:  # swap the off-diagonal blocks of d x d, then of half that size, ...
            for r in range(n):
                if r & d == 0:
                    a, b = rows[r], rows[r + d]
                    rows[r] = _shuffle(builder, a, b, [c if c & d == 0 else n + c - d for c in range(n)])
                    rows[r + d] = _shuffle(builder, a, b, [c + d if c & d == 0 else n + c for c in range(n)])
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
        self.builder, self.type = builder, _llvm(vector)
        width, self.mantissa, self.bias = (32, 23, 127) if vector.dtype is types.float32 else (64, 52, 1023)
        self.integers = ir.VectorType(ir.IntType(width), vector.lanes)

    def constant(self, value: float) -> ir.Constant:
        return ir.Constant(self.type, [float(np.float32(value)) if self.mantissa == 23 else value] * self.type.count)

    def bits(self, value: int) -> ir.Constant:
        return ir.Constant(self.integers, [value] * self.integers.count)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return _call(self.builder, "fmuladd", self.type, a, b, c)

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


@_lowers(exp)
def _(typing_context, x):
    if not isinstance(x, Vector):
        return None

    def generate(context, builder, sig, args):
        # x = n ln 2 + r with |r| <= ln 2 / 2, so e^x = 2^n e^r: Taylor's terms to r^7 (float32) or r^13 (float64),
        # the next one below half a unit in the last place; ln 2 in two parts, the first with few bits
        v = _Lanes(builder, x)
        single = v.mantissa == 23
        z = v.clip(args[0], *((-87.0, 88.0) if single else (-708.0, 709.0)))
        n = _call(builder, "rint", v.type, builder.fmul(z, v.constant(1.4426950408889634)))
        r = v.fma(n, v.constant(-0.693359375), z)
        r = v.fma(n, v.constant(2.1219444005469058e-4), r)
        p = v.polynomial(r, tuple(1 / factorial(k) for k in range(7 if single else 13, -1, -1)))
        return builder.fmul(p, v.power_of_two(n))

    return x(x), generate


def log(x):
    """The natural logarithm of positive normal numbers; NaN and infinity give NaN"""
    return np.log(x) + x * 0


@_lowers(log)
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
