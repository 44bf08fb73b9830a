"""A value that fills one 64-byte vector register: 16 float32 or 8 float64 numbers ("lanes").

Numba's own loops do not keep 16 sums in a register; a value of an LLVM vector type does. (The compiled `stages`, which
do without it and run batch by batch, take 7 to 8 times as long for an epoch of 784-16-16-10: scripts/bench_table.py.)
Each operation is **a plain Python function that says what it means** (on a NumPy slice) with its LLVM form attached
beside it. Compiled, it is one or two instructions; interpreted (`NUMBA_DISABLE_JIT=1`), the same kernel runs on NumPy,
for debugging and coverage.

Kernels then read like mathematics: `1 / (1 + exp(-z))`. LLVM lowers the type to AVX-512, AVX2, SSE or NEON by itself.
`load` and `store` do not check bounds when compiled: their callers pad their arrays to whole vectors.
"""

from __future__ import annotations

import operator
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
    "fill",
    "fma",
    "lanes",
    "load",
    "load_as",
    "maximum",
    "peek",
    "prefetch",
    "sqrt",
    "store",
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


def llvm_type(vector: Any) -> ir.Type:
    return ir.VectorType(_element(vector), vector.lanes)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, llvm_type(fe_type))


# --- attaching an LLVM form to a plain function -----------------------------------------------------------------------


def lowers(plain: Any) -> Any:
    """Decorator for `(typing_context, *argument types) -> (signature, code generator)`: the LLVM form of `plain`."""

    def attach(definition: Any) -> Any:
        template = make_intrinsic_template(plain, definition, plain.__name__, prefer_literal=False, kwargs={})
        infer(template)
        infer_global(plain, types.Function(template))
        return plain

    return attach


def pointer_to(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """The address of element `index`: no bounds, no wraparound."""
    data = cgutils.create_struct_proxy(array_type)(context, builder, value=array).data
    return builder.gep(data, [index], inbounds=True)


def splat(builder: Any, vector: Any, scalar: Any) -> Any:
    one = builder.insert_element(ir.Constant(llvm_type(vector), ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(
        one, one, ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [0] * vector.lanes)
    )


def ask_for(builder: Any, address: Any) -> None:
    """Prefetch a cache line for reading."""
    i8, i32 = ir.IntType(8), ir.IntType(32)
    pointer = builder.bitcast(address, i8.as_pointer())
    function_type = ir.FunctionType(ir.VoidType(), [pointer.type, i32, i32, i32])
    function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
    builder.call(function, [pointer, ir.Constant(i32, 0), ir.Constant(i32, 3), ir.Constant(i32, 1)])


def call_llvm(builder: Any, name: str, result: Any, *args: Any) -> Any:
    """Call the LLVM intrinsic `name`, whose suffix is the vector's shape."""
    suffix = f"v{result.count}f{32 if isinstance(result.element, ir.FloatType) else 64}"
    function_type = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, f"llvm.{name}.{suffix}"), args)


def vector_of(array_type: Any) -> Vector | None:
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
            return splat(builder, vector, context.cast(builder, value, kind, vector.dtype))

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


@lowers(lanes)
def _(typing_context, array):
    vector = vector_of(array)
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


@lowers(load)
def _(typing_context, array, index):
    vector = vector_of(array)
    if vector is None:
        return None

    def generate(context, builder, sig, args):
        pointer = pointer_to(context, builder, sig.args[0], *args)
        pointer = builder.bitcast(pointer, llvm_type(vector).as_pointer())
        return builder.load(pointer, align=vector.dtype.bitwidth // 8)

    return vector(array, types.intp), generate


def load_as(like, array, index):
    """The vector of elements index, index + 1, ... of an array of any number type, in the dtype of `like`"""
    n = lanes(like)
    if not 0 <= index <= array.size - n:
        raise IndexError(f"vector at {index} of an array of {array.size}")
    return array[index : index + n].astype(like.dtype)


@lowers(load_as)
def _(typing_context, like, array, index):
    vector = vector_of(like)
    if vector is None or not isinstance(array, types.Array):
        return None

    def generate(context, builder, sig, args):
        source = ir.VectorType(context.get_data_type(array.dtype), vector.lanes)
        pointer = builder.bitcast(pointer_to(context, builder, array, args[1], args[2]), source.as_pointer())
        values = builder.load(pointer, align=max(1, array.dtype.bitwidth // 8))
        if source == llvm_type(vector):
            return values
        if isinstance(array.dtype, types.Integer):
            convert = builder.sitofp if getattr(array.dtype, "signed", True) else builder.uitofp
        else:
            convert = builder.fpext if array.dtype.bitwidth < vector.dtype.bitwidth else builder.fptrunc
        return convert(values, llvm_type(vector))

    return vector(like, array, types.intp), generate


def store(array, index, vector):
    """array[index : index + lanes] = vector"""
    n = lanes(array)
    if not 0 <= index <= array.size - n:
        raise IndexError(f"vector at {index} of an array of {array.size}")
    array[index : index + n] = vector


@lowers(store)
def _(typing_context, array, index, vector):
    if vector_of(array) != vector:
        return None

    def generate(context, builder, sig, args):
        pointer = pointer_to(context, builder, sig.args[0], args[0], args[1])
        pointer = builder.bitcast(pointer, llvm_type(vector).as_pointer())
        builder.store(args[2], pointer, align=vector.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


def broadcast(array, index):
    """The vector that holds array[index] in every lane"""
    if not 0 <= index < array.size:
        raise IndexError(f"element {index} of an array of {array.size}")
    return np.full(lanes(array), array[index])


@lowers(broadcast)
def _(typing_context, array, index):
    vector = vector_of(array)
    if vector is None:
        return None

    def generate(context, builder, sig, args):
        scalar = builder.load(pointer_to(context, builder, sig.args[0], *args))
        return splat(builder, vector, scalar)

    return vector(array, types.intp), generate


def fill(like, value):
    """The vector that holds `value` in every lane, of the dtype of an array or another vector"""
    return np.full(lanes(like), value, dtype=like.dtype)


@lowers(fill)
def _(typing_context, like, value):
    vector = vector_of(like)
    if vector is None or not isinstance(value, types.Number):
        return None

    def generate(context, builder, sig, args):
        return splat(builder, vector, context.cast(builder, args[1], sig.args[1], vector.dtype))

    return vector(like, value), generate


def peek(array, index):
    """array[index], without the test for a negative index"""
    if not 0 <= index < array.size:
        raise IndexError(f"element {index} of an array of {array.size}")
    return array[index]


@lowers(peek)
def _(typing_context, array, index):
    if not isinstance(array, types.Array):
        return None

    def generate(context, builder, sig, args):
        return builder.load(pointer_to(context, builder, sig.args[0], *args))

    return array.dtype(array, types.intp), generate


def prefetch(array, index):
    """Ask for the cache line of element `index`, wherever that is; changes nothing"""


@lowers(prefetch)
def _(typing_context, array, index):
    def generate(context, builder, sig, args):
        ask_for(builder, pointer_to(context, builder, array, *args))
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


# --- arithmetic -------------------------------------------------------------------------------------------------------


def fma(a, b, c):
    """a * b + c, with a single rounding where the processor can"""
    return a * b + c


@lowers(fma)
def _(typing_context, a, b, c):
    if not isinstance(a, Vector) or a != b or a != c:
        return None

    def generate(context, builder, sig, args):
        return call_llvm(builder, "fmuladd", args[0].type, *args)

    return a(a, b, c), generate


def sqrt(a):
    """The square root of every lane"""
    return np.sqrt(a)


@lowers(sqrt)
def _(typing_context, a):
    if not isinstance(a, Vector):
        return None

    def generate(context, builder, sig, args):
        return call_llvm(builder, "sqrt", args[0].type, *args)

    return a(a), generate


def where_less(a, b, x, y):
    """x where a < b, else y; a NaN is not less"""
    return np.where(a < b, x, y)


@lowers(where_less)
def _(typing_context, a, b, x, y):
    if not isinstance(a, Vector) or not a == b == x == y:
        return None

    def generate(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[2], args[3])

    return a(a, b, x, y), generate


def maximum(a, b):
    """The larger of each pair; a NaN in `a` stays"""
    return where_less(a, b, b, a)


@lowers(maximum)
def _(typing_context, a, b):
    if not isinstance(a, Vector) or a != b:
        return None

    def generate(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[1], args[0])

    return a(a, b), generate
