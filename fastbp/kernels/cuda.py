"""Numba's CUDA, in one place: the package that provides it, access to memory without checks, how kernels are compiled.

The only file of the project that imports `numba.cuda`, so that moving to another package is a change of some lines
here. Import it where a GPU is asked for, and nowhere else: `fastbp.gpu` says beforehand, without it, what is missing.

With NUMBA_ENABLE_CUDASIM=1 in the environment all kernels run in Numba's simulator, as plain Python: there each of the
functions for memory access is the few lines that say what it means, and elsewhere the LLVM instructions beside them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import config, types
from numba.core.errors import TypingError

if not hasattr(np, "row_stack"):
    # numba-cuda 0.30 looks for it at every compilation, and NumPy 2.5 has it no more.
    np.row_stack = np.vstack

from numba import cuda

__all__ = [
    "SIMULATED",
    "at",
    "bytes_of",
    "compiled",
    "cuda",
    "device",
    "divided",
    "is_out_of_memory",
    "pair",
    "put",
    "put_quad",
    "quad",
    "wrapping",
]

SIMULATED = bool(config.ENABLE_CUDASIM)


def device(function: Any) -> Any:
    """A function for kernels to call. It dissolves into them, or arrays of registers would go through memory."""
    return function if SIMULATED else cuda.jit(device=True, forceinline=True)(function)


def compiled(function: Any, n_threads: int, n_blocks: int) -> Any:
    """A kernel for blocks of at most n_threads, of which n_blocks are to fit into a multiprocessor's registers."""
    if SIMULATED:
        return cuda.jit(function)
    return cuda.jit(launch_bounds=(n_threads, n_blocks))(function)


def wrapping(function: Any) -> Any:
    """A shared function whose 64-bit words wrap around: silently on a GPU, with a warning in NumPy's scalars."""
    return np.errstate(over="ignore")(function) if SIMULATED else function


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception of the driver says that the GPU's memory is full."""
    return getattr(error, "code", None) == 2 or "OUT_OF_MEMORY" in str(error)


# --- access to memory: plain Python, and the instructions that mean the same ------------------------------------------


def at(array, i):
    """array[i] of a one-dimensional array, i at least 0"""
    return array[i]


def put(array, i, value):
    """array[i] = value"""
    array[i] = value


def divided(i, n):
    """i // n, i % n, of whole numbers from 0 to 2^31 - 1: in 32 bits, which is five times as fast as in 64"""
    return i // n, i % n


def pair(array, i):
    """array[i], array[i + 1], i even: one load of 8 bytes"""
    return array[i], array[i + 1]


def quad(array, i):
    """array[i], ..., array[i + 3], i a multiple of 4: one load of 16 bytes"""
    return array[i], array[i + 1], array[i + 2], array[i + 3]


def put_quad(array, i, v0, v1, v2, v3):
    """array[i], ..., array[i + 3] = v0, ..., v3, i a multiple of 4: one store of 16 bytes"""
    array[i], array[i + 1], array[i + 2], array[i + 3] = v0, v1, v2, v3


def bytes_of(four):
    """The four bytes of a uint32 as float32, the lowest first"""
    return tuple(np.float32((int(four) >> shift) & 255) for shift in (0, 8, 16, 24))


if not SIMULATED:
    from llvmlite import ir
    from numba.cuda.extending import intrinsic

    _i32, _i64, _f32 = ir.IntType(32), ir.IntType(64), ir.FloatType()

    def _pointer(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        """The address of element i: no wrap-around, no bounds. That is 4.3 instead of 24 instructions per FMA."""
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        index, kind = arguments[1], signature.args[1]
        if kind.bitwidth < 64:
            index = (builder.sext if kind.signed else builder.zext)(index, _i64)
        return builder.gep(array.data, [index])

    def _check(array: Any, i: Any) -> None:
        if not (isinstance(array, types.Array) and array.ndim == 1 and isinstance(i, types.Integer)):
            raise TypingError(f"unchecked access takes a one-dimensional array and an integer, got {array} and {i}")

    @intrinsic
    def at(typing_context, array, i):
        _check(array, i)

        def generate(context, builder, signature, arguments):
            return builder.load(_pointer(context, builder, signature, arguments))

        return array.dtype(array, i), generate

    @intrinsic
    def put(typing_context, array, i, value):
        _check(array, i)

        def generate(context, builder, signature, arguments):
            builder.store(arguments[2], _pointer(context, builder, signature, arguments))
            return context.get_dummy_value()

        return types.void(array, i, array.dtype), generate

    @intrinsic
    def divided(typing_context, i, n):
        def generate(context, builder, signature, arguments):
            i, n = (
                builder.trunc(argument, _i32) if kind.bitwidth > 32 else argument
                for argument, kind in zip(arguments, signature.args, strict=True)
            )
            quotient = builder.udiv(i, n)
            remainder = builder.sub(i, builder.mul(quotient, n))
            return context.make_tuple(builder, signature.return_type, [quotient, remainder])

        return types.UniTuple(types.int32, 2)(i, n), generate

    def _vector(builder: Any, pointer: Any, n: int) -> Any:
        return builder.bitcast(pointer, ir.VectorType(_f32, n).as_pointer(pointer.type.addrspace))

    def _load(n: int) -> Any:
        def typed(typing_context, array, i):
            _check(array, i)

            def generate(context, builder, signature, arguments):
                pointer = _pointer(context, builder, signature, arguments)
                vector = builder.load(_vector(builder, pointer, n), align=4 * n)
                values = [builder.extract_element(vector, _i32(lane)) for lane in range(n)]
                return context.make_tuple(builder, signature.return_type, values)

            return types.UniTuple(types.float32, n)(array, i), generate

        return intrinsic(typed)

    pair, quad = _load(2), _load(4)

    @intrinsic
    def put_quad(typing_context, array, i, v0, v1, v2, v3):
        _check(array, i)

        def generate(context, builder, signature, arguments):
            pointer = _pointer(context, builder, signature, arguments)
            vector = ir.Constant(ir.VectorType(_f32, 4), ir.Undefined)
            for lane, value in enumerate(arguments[2:]):
                vector = builder.insert_element(vector, value, _i32(lane))
            builder.store(vector, _vector(builder, pointer, 4), align=16)
            return context.get_dummy_value()

        f4 = types.float32
        return types.void(array, i, f4, f4, f4, f4), generate

    @intrinsic
    def bytes_of(typing_context, four):
        """The byte becomes the last bits of 2^23 as a float: two cheap instructions, for a conversion that is slow."""

        def generate(context, builder, signature, arguments):
            values = []
            for shift in (0, 8, 16, 24):
                byte = builder.and_(builder.lshr(arguments[0], _i32(shift)), _i32(255))
                number = builder.bitcast(builder.or_(byte, _i32(0x4B000000)), _f32)
                values.append(builder.fsub(number, _f32(2.0**23)))
            return context.make_tuple(builder, signature.return_type, values)

        return types.UniTuple(types.float32, 4)(types.uint32), generate
