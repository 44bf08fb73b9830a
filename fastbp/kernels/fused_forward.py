"""The forward pass of the fused engine, and the loop that all its dense products share.

Sums run through two small loops that keep their results in vector registers:

    products   eight rows of a product of matrices at a time: the net inputs (a W), the deltas (delta W^T) and the
               gradients (a^T delta) of dense layers are all of this form
    entries    the net inputs (here) and the update (`fused_backward`) of a first layer with sparse input
"""

from __future__ import annotations

import numpy as np

from .codes import EXPONENTIAL, LEAKY_RELU, LEAKY_SLOPE, RELU, SIGMOID, STEP, TANH
from .entries import ENTRIES, fetch, row_of, value_of
from .jit import inlined
from .simd import broadcast, fill, fma, lanes, load, load_as, peek, prefetch, store, where_less
from .simd_functions import exp

__all__ = ["AHEAD", "ROWS", "f", "f_prime", "forward", "products"]

ROWS = 8  # rows of a block of `products`: with one vector of weights they fill 9 registers
AHEAD = 8  # samples between the one at work and the one being fetched from memory


@inlined
def forward(plan, buffers, samples, order, start, first, end, n_parts, dropping):
    """a[l] = f(z[l]) of every hidden layer, and z of the output layer, for the samples first..end of a block"""
    a = buffers.a
    last = plan.sizes.size - 1
    _gather(plan, a, samples.x, order, start, first, end)
    for layer in range(last):
        _net_input(plan, buffers, layer, first, end, samples.scale if layer == 0 else 1.0)
        if layer == 0 and samples.sparse:
            _add_entries(plan, buffers, samples, order, start, first, end, n_parts)
        if layer < last - 1:
            _activate(plan, a, layer, first, end)
            if dropping:
                _drop(plan, a, buffers.keep, layer, first, end)


@inlined
def _gather(plan, a, x, order, start, first, end):
    """Copy the dense inputs of samples, as numbers of the network's precision, into the first rows of a"""
    lane = lanes(a)
    n_in = plan.sizes[0]
    whole = n_in // lane * lane
    for i in range(first, end):
        source = order[start + i] * n_in
        ahead = order[min(start + i + AHEAD, order.size - 1)] * n_in
        row = plan.a_start[0] + i * plan.padded[0]
        for k in range(0, whole, lane):
            prefetch(x, ahead + k)
            store(a, row + k, load_as(a, x, source + k))
        for k in range(whole, n_in):
            a[row + k] = peek(x, source + k)


@inlined
def products(p, p_start, p_row, p_step, q, q_start, q_step, n):
    """Eight sums over t, each of p[p_start + row * p_row + t * p_step] * (vector of q at q_start + t * q_step)"""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = fill(q, 0.0)
    for t in range(n):
        vector = load(q, q_start + t * q_step)
        at = p_start + t * p_step
        s0 = fma(broadcast(p, at), vector, s0)
        s1 = fma(broadcast(p, at + p_row), vector, s1)
        s2 = fma(broadcast(p, at + 2 * p_row), vector, s2)
        s3 = fma(broadcast(p, at + 3 * p_row), vector, s3)
        s4 = fma(broadcast(p, at + 4 * p_row), vector, s4)
        s5 = fma(broadcast(p, at + 5 * p_row), vector, s5)
        s6 = fma(broadcast(p, at + 6 * p_row), vector, s6)
        s7 = fma(broadcast(p, at + 7 * p_row), vector, s7)
    return s0, s1, s2, s3, s4, s5, s6, s7


@inlined
def _net_input(plan, buffers, layer, first, end, scale):
    """z[i, j] = scale * sum_k a[i, k] W[k, j] + b[j], eight samples and one panel at a time"""
    w = buffers.w
    a = buffers.a
    lane = lanes(w)
    stride_in = plan.padded[layer]
    stride = plan.padded[layer + 1]
    scales = fill(w, scale)
    for j in range(0, stride, lane):
        panel = plan.w_start[layer] + j * plan.rows[layer]
        bias = load(w, plan.b_start[layer] + j)
        for i in range(first, end, ROWS):
            s0, s1, s2, s3, s4, s5, s6, s7 = products(
                a, plan.a_start[layer] + i * stride_in, stride_in, 1, w, panel, lane, plan.sizes[layer]
            )
            at = plan.a_start[layer + 1] + i * stride + j
            store(a, at, fma(s0, scales, bias))
            store(a, at + stride, fma(s1, scales, bias))
            store(a, at + 2 * stride, fma(s2, scales, bias))
            store(a, at + 3 * stride, fma(s3, scales, bias))
            store(a, at + 4 * stride, fma(s4, scales, bias))
            store(a, at + 5 * stride, fma(s5, scales, bias))
            store(a, at + 6 * stride, fma(s6, scales, bias))
            store(a, at + 7 * stride, fma(s7, scales, bias))


@inlined
def _add_entries(plan, buffers, samples, order, start, first, end, n_parts):
    """z[i, j] += scale * sum over the entries x[i, k] of x[i, k] W[k, j]"""
    a = buffers.a
    w = buffers.w
    entries = samples.entries
    values = samples.values
    cuts = samples.cuts
    lane = lanes(w)
    stride = plan.padded[1]
    scales = fill(w, samples.scale)
    for i in range(first, end):
        sample = np.int64(order[start + i]) * n_parts
        begin = cuts[sample]
        behind = cuts[sample + n_parts]
        # Where the entries ahead start must be known by then, or fetching them waits for it: a sample of 600,000 costs
        # 1.14 times as much as one of 60,000, and 1.36 times without these lines.
        further = np.int64(order[min(start + i + 2 * AHEAD, order.size - 1)])
        prefetch(cuts, further * n_parts)
        prefetch(samples.y, further)
        ahead = cuts[np.int64(order[min(start + i + AHEAD, order.size - 1)]) * n_parts] - begin
        for j in range(0, stride, lane):
            panel = plan.w_start[0] + j * plan.rows[0]
            # four sums, so that a product need not wait for the one before it
            s0 = s1 = s2 = s3 = fill(w, 0.0)
            for e in range(begin, behind, ENTRIES):
                fetch(entries, values, ahead + e)
                s0 = _add_entry(w, panel, entries, values, e, s0)
                s1 = _add_entry(w, panel, entries, values, e + 1, s1)
                s2 = _add_entry(w, panel, entries, values, e + 2, s2)
                s3 = _add_entry(w, panel, entries, values, e + 3, s3)
                s0 = _add_entry(w, panel, entries, values, e + 4, s0)
                s1 = _add_entry(w, panel, entries, values, e + 5, s1)
                s2 = _add_entry(w, panel, entries, values, e + 6, s2)
                s3 = _add_entry(w, panel, entries, values, e + 7, s3)
            at = plan.a_start[1] + i * stride + j
            store(a, at, fma((s0 + s1) + (s2 + s3), scales, load(a, at)))


@inlined
def _add_entry(w, panel, entries, values, e, total):
    """total + x[k] * W[k, panel]"""
    return fma(value_of(w, entries, values, e), load(w, panel + row_of(entries, values, e) * lanes(w)), total)


@inlined
def f(kind, z):
    """The activation, on a vector"""
    if kind in (SIGMOID, TANH, EXPONENTIAL):
        e = exp(z * (-1.0 if kind == SIGMOID else -2.0 if kind == TANH else 1.0))
        if kind == EXPONENTIAL:
            return e
        if kind == SIGMOID:
            return 1.0 / (1.0 + e)
        return 2.0 / (1.0 + e) - 1.0
    zero = fill(z, 0.0)
    if kind == RELU:
        return where_less(z, zero, zero, z)
    if kind == LEAKY_RELU:
        return where_less(z, zero, z * LEAKY_SLOPE, z)
    if kind == STEP:
        return where_less(zero, z, fill(z, 1.0), zero)
    return z


@inlined
def f_prime(kind, a):
    """Its derivative, from a = f(z)"""
    if kind == SIGMOID:
        return a * (1.0 - a)
    if kind == TANH:
        return 1.0 - a * a
    one = fill(a, 1.0)
    zero = fill(a, 0.0)
    if kind == RELU:
        return where_less(zero, a, one, zero)
    if kind == LEAKY_RELU:
        return where_less(a, zero, fill(a, LEAKY_SLOPE), one)
    return one


@inlined
def _activate(plan, a, layer, first, end):
    """a = f(z) in place; the pads of the last vector of a row go back to 0"""
    lane = lanes(a)
    kind = plan.kinds[layer]
    stride = plan.padded[layer + 1]
    for i in range(first, end):
        row = plan.a_start[layer + 1] + i * stride
        for j in range(0, stride, lane):
            store(a, row + j, f(kind, load(a, row + j)))
        for j in range(plan.sizes[layer + 1], stride):
            a[row + j] = 0.0


@inlined
def _drop(plan, a, keep, layer, first, end):
    """a *= the factors of dropout"""
    stride = plan.padded[layer + 1]
    start = plan.a_start[layer + 1]
    for at in range(start + first * stride, start + end * stride, lanes(a)):
        store(a, at, load(a, at) * load(keep, at))
