"""Nonzero inputs as entries: what an entry is, how kernels read it, and how samples become lists of entries.

An entry is a value and the number of its row in a panel of W (see `layout`). There are two forms, and the dtype of
`values` tells a kernel, when it is compiled, which of them it is:

    bytes    entries[e] is both: the high half the value as a bfloat16 (exact for bytes), the low half the row;
             `values` is an array of bytes that nobody reads
    numbers  entries[e] is the row, in two bytes or, of very wide samples, four; values[e] is the value, in the
             network's precision

MNIST as float32 takes 1.3 times as long an epoch as its bytes, and 2.2 times as dense input (784-16-16-10, batch 32);
rows of four bytes would cost 6 % more.

The entries of a sample stand in the order of their rows. Lists are padded to a multiple of 8 with zeros that point
at 8 different rows behind the last input: one row would make each of the 8 updates wait for the one before.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types

from .jit import inlined, kernel
from .simd import ask_for, lanes, lowers, pointer_to, splat, vector_of

__all__ = [
    "ENTRIES",
    "count_bytes",
    "cut_entries",
    "fetch",
    "pack_bytes",
    "pack_columns",
    "pack_csr",
    "pack_rows",
    "row_of",
    "value_of",
]

ENTRIES = 8


# --- reading ----------------------------------------------------------------------------------------------------------


def row_of(entries, values, e):
    """Which row of W entry e belongs to"""
    return int(entries[e]) & 0xFFFF if values.dtype == np.uint8 else int(entries[e])


@lowers(row_of)
def _(typing_context, entries, values, e):
    def generate(context, builder, sig, args):
        row = builder.load(pointer_to(context, builder, entries, args[0], args[2]))
        if values.dtype is types.uint8:
            row = builder.and_(row, ir.Constant(row.type, 0xFFFF))
        return builder.zext(row, context.get_data_type(types.intp))

    return types.intp(entries, values, types.intp), generate


def value_of(like, entries, values, e):
    """The vector that holds the value of entry e in every lane, of the dtype of `like`"""
    value = np.uint32(entries[e] & 0xFFFF0000).view(np.float32) if values.dtype == np.uint8 else values[e]
    return np.full(lanes(like), value, dtype=like.dtype)


@lowers(value_of)
def _(typing_context, like, entries, values, e):
    vector = vector_of(like)
    if vector is None:
        return None

    def generate(context, builder, sig, args):
        if values.dtype is types.uint8:
            entry = builder.load(pointer_to(context, builder, entries, args[1], args[3]))
            high = builder.and_(entry, ir.Constant(entry.type, 0xFFFF0000))
            value = context.cast(builder, builder.bitcast(high, ir.FloatType()), types.float32, vector.dtype)
        else:
            value = builder.load(pointer_to(context, builder, values, args[2], args[3]))
        return splat(builder, vector, value)

    return vector(like, entries, values, types.intp), generate


def fetch(entries, values, e):
    """Ask for the cache lines of entry e, wherever that is; changes nothing"""


@lowers(fetch)
def _(typing_context, entries, values, e):
    def generate(context, builder, sig, args):
        ask_for(builder, pointer_to(context, builder, entries, args[0], args[2]))
        if values.dtype is not types.uint8:
            ask_for(builder, pointer_to(context, builder, values, args[1], args[2]))
        return context.get_dummy_value()

    return types.void(entries, values, types.intp), generate


# --- packing bytes ----------------------------------------------------------------------------------------------------

# A byte has at most 8 significant bits and a bfloat16 has 8, so each of the 256 values is exact.
_BFLOAT16 = np.arange(256, dtype=np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
_LOW_BITS, _LOW_HALVES, _LOW_BYTE = np.uint64(0x0101010101010101), np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0xFF)
_1, _2, _4, _8, _16, _32 = (np.uint64(shift) for shift in (1, 2, 4, 8, 16, 32))


@kernel
def pack_columns(x, columns, dense):
    """dense[i * n + c] = x[i, columns[c]], with n columns

    x         u1 (n_samples, n_in)   in
    columns   i8 (n,)                in
    dense     u1 (n_samples * n,)    out
    """
    at = 0
    for i in range(x.shape[0]):
        for c in range(columns.size):
            dense[at] = x[i, columns[c]]
            at += 1


@kernel
def count_bytes(words, mask, starts):
    """starts[i + 1] - starts[i] = nonzero bytes of sample i that the mask keeps, rounded up to a multiple of 8

    words    u8 (n, n_in / 8)   in    eight inputs each, the first in the lowest byte
    mask     u8 (n_in / 8,)     in    0xff for each input that becomes entries
    starts   i8 (n + 1,)        out

    Eight bytes at a time are as cheap as one: 1.8 ms for MNIST, and 15 byte by byte.
    """
    starts[0] = 0
    for i in range(words.shape[0]):
        n = np.uint64(0)
        for k in range(words.shape[1]):
            word = words[i, k] & mask[k]
            word = (word | word >> _4) & _LOW_HALVES  # the lowest bit of each byte becomes 1 where any was
            word |= word >> _2
            word |= word >> _1
            word &= _LOW_BITS
            word += word >> _32  # their sum gathers in the lowest byte
            word += word >> _16
            word += word >> _8
            n += word & _LOW_BYTE
        starts[i + 1] = starts[i] + (np.int64(n) + ENTRIES - 1) // ENTRIES * ENTRIES


@kernel
def pack_bytes(words, mask, rows, first_spare, starts, entries):
    """entries[starts[i] : starts[i + 1]] = bfloat16 of the value | rows[k], for the nonzero inputs k of sample i

    words     u8 (n, n_in / 8)       in
    mask      u8 (n_in / 8,)         in
    rows      u4 (n_in,)             in    which row of a panel is the input's
    starts    i8 (n + 1,)            in
    entries   u4 (starts[n] + 1,)    out   the last one is of no use: zeros are written, and then overwritten
    """
    for i in range(words.shape[0]):
        at = starts[i]
        for k in range(words.shape[1]):
            word = words[i, k] & mask[k]
            if word != 0:
                for byte in range(8):
                    value = word & _LOW_BYTE
                    entries[at] = _BFLOAT16[value] | rows[8 * k + byte]
                    at += value != 0
                    word >>= _8
        spare = first_spare
        while at < starts[i + 1]:
            entries[at] = np.uint32(spare)
            spare += 1
            at += 1


# --- packing numbers --------------------------------------------------------------------------------------------------


@kernel
def pack_rows(x, order, n_dense, first, starts, dense, entries, values):
    """Dense inputs and entries of the samples first, first + 1, ..., as long as `entries` surely has room

    x         f4|f8 (n, n_in)           in
    order     u8 (n_in,)                in    the inputs, first the dense ones, then the others, ascending
    n_dense   u8                        in
    starts    i8 (n + 1,)               in, out: starts[first] is given
    dense     f4|f8 (n * n_dense,)      out
    entries   u2|u4 (capacity,)         out   one more than needed is written, and then overwritten
    values    f4|f8 (capacity,)         out

    Returns the first sample that is not packed. One pass over memory; counting first would be a second one. Indices
    have no sign, which could mean "from the end": with it, MNIST takes 62 ms, and 31 without.
    """
    n_in = np.uint64(order.size)
    for i in range(first, x.shape[0]):
        at = np.uint64(starts[i])
        if at + n_in - n_dense + _8 > entries.size:
            return i
        row = np.uint64(i)
        to = row * n_dense
        for c in range(n_dense):
            dense[to + c] = x[row, order[c]]
        for c in range(n_dense, n_in):
            value = x[row, order[c]]
            entries[at] = c
            values[at] = value
            at += np.uint64(value != 0)
        starts[i + 1] = _pad(entries, values, np.int64(at), np.int64(at) - starts[i], order.size)
    return x.shape[0]


@kernel
def pack_csr(data, indices, indptr, rows, n_dense, starts, dense, entries, values):
    """Dense inputs and entries of samples as SciPy's CSR matrices hold them

    data      f4|f8 (n_data,)           in
    indices   i4 (n_data,)              in    ascending within a sample
    indptr    i8 (n + 1,)               in
    rows      i8 (n_in,)                in    which row of a panel is the input's; those below n_dense are dense
    starts    i8 (n + 1,)               out
    dense     f4|f8 (n * n_dense,)      out   given as zeros
    entries   u4 (n_data + 8 n,)        out
    values    f4|f8 (n_data + 8 n,)     out
    """
    at = 0
    starts[0] = 0
    for i in range(indptr.size - 1):
        for e in range(indptr[i], indptr[i + 1]):
            row = rows[indices[e]]
            if row < n_dense:
                dense[i * n_dense + row] = data[e]
            else:
                entries[at] = row
                values[at] = data[e]
                at += data[e] != 0
        at = _pad(entries, values, at, at - starts[i], rows.size)
        starts[i + 1] = at


@inlined
def _pad(entries, values, at, n, first_spare):
    """Zeros behind the n entries that end before `at`, up to a multiple of 8; returns where they end"""
    for spare in range(first_spare, first_spare + -n % ENTRIES):
        entries[at] = spare
        values[at] = 0
        at += 1
    return at


@kernel
def cut_entries(entries, values, starts, bounds, cuts):
    """cuts[i * n_parts + p] = where the entries of sample i that belong to part p start

    entries, values   see above
    starts            i8 (n + 1,)              in
    bounds            i8 (n_parts + 1,)        in    the place at which each part starts
    cuts              i8 (n * n_parts + 1,)    out
    """
    n_parts = bounds.size - 1
    for i in range(starts.size - 1):
        at = starts[i]
        for part in range(n_parts):
            while at < starts[i + 1] and row_of(entries, values, at) < bounds[part]:
                at += 1
            cuts[i * n_parts + part] = at
    cuts[cuts.size - 1] = starts[starts.size - 1]
