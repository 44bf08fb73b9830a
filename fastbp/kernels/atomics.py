"""Words of memory that several threads read and change at the same time: what `team` is made of.

As in `simd`, each operation is a plain Python function that says what it means, with its LLVM form attached. The plain
forms are for one thread (`NUMBA_DISABLE_JIT=1`). A `read` that sees a `write` also sees everything that the other
thread wrote before it (acquire and release); `add` and `exchange` are both.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types

from .simd import lowers, pointer_to

__all__ = ["add", "exchange", "pause", "read", "write"]

_SHARED = types.Array(types.int64, 1, "C")


def read(words, index):
    """words[index], an int64"""
    return int(words[index])


@lowers(read)
def _(typing_context, words, index):
    if words != _SHARED:
        return None

    def generate(context, builder, sig, args):
        return builder.load_atomic(pointer_to(context, builder, sig.args[0], *args), "acquire", 8)

    return types.int64(words, types.intp), generate


def write(words, index, value):
    """words[index] = value"""
    words[index] = value


@lowers(write)
def _(typing_context, words, index, value):
    if words != _SHARED:
        return None

    def generate(context, builder, sig, args):
        builder.store_atomic(args[2], pointer_to(context, builder, sig.args[0], args[0], args[1]), "release", 8)
        return context.get_dummy_value()

    return types.void(words, types.intp, types.int64), generate


def add(words, index, value):
    """words[index] += value; returns the new value"""
    words[index] += value
    return int(words[index])


@lowers(add)
def _(typing_context, words, index, value):
    if words != _SHARED:
        return None

    def generate(context, builder, sig, args):
        pointer = pointer_to(context, builder, sig.args[0], args[0], args[1])
        return builder.add(builder.atomic_rmw("add", pointer, args[2], "acq_rel"), args[2])

    return types.int64(words, types.intp, types.int64), generate


def exchange(words, index, old, new):
    """True, and words[index] = new, where it was old; else False, and nothing changes"""
    found = bool(words[index] == old)
    if found:
        words[index] = new
    return found


@lowers(exchange)
def _(typing_context, words, index, old, new):
    if words != _SHARED:
        return None

    def generate(context, builder, sig, args):
        pointer = pointer_to(context, builder, sig.args[0], args[0], args[1])
        return builder.extract_value(builder.cmpxchg(pointer, args[2], args[3], "acq_rel", "acquire"), 1)

    return types.boolean(words, types.intp, types.int64, types.int64), generate


def pause():
    """Let the other hardware thread of this core run for some 40 cycles; nothing where the processor cannot"""


@lowers(pause)
def _(typing_context):
    def generate(context, builder, sig, args):
        triple = builder.module.triple
        if triple.startswith(("x86_64", "i386", "i686", "amd64")):
            name, operands = "llvm.x86.sse2.pause", []
        elif triple.startswith(("aarch64", "arm64")):
            name, operands = "llvm.aarch64.hint", [ir.Constant(ir.IntType(32), 1)]
        else:
            return context.get_dummy_value()
        function_type = ir.FunctionType(ir.VoidType(), [operand.type for operand in operands])
        builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), operands)
        return context.get_dummy_value()

    return types.void(), generate
