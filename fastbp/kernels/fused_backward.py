"""The way back through the network: deltas, gradients and steps of the fused engine.

All deltas of a batch are there before any weight changes. Dense gradients are used while they are in the cache; the
plain step of a sparse first layer touches only the rows of nonzero inputs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .codes import (
    ADAM,
    ADAMW,
    BINARY_CROSS_ENTROPY,
    CROSS_ENTROPY,
    MEAN_SQUARED_ERROR,
    MOMENTUM,
    NESTEROV,
    POISSON,
    RMSPROP,
    SGD,
)
from .entries import ENTRIES, fetch, row_of, value_of
from .fused_forward import AHEAD, ROWS, f, f_prime, products
from .jit import inlined
from .simd import fill, fma, lanes, load, maximum, prefetch, sqrt, store
from .simd_functions import exp, fold_add, fold_max, log

__all__ = [
    "Step",
    "descend",
    "gradient",
    "gradient_bias",
    "gradient_sparse",
    "hidden_delta",
    "is_plain",
    "output",
    "step_of",
]

TINY = 1e-30  # in place of a target of 0, whose logarithm is multiplied with 0
CACHE_LINE = 64
ENTRY_LINE = CACHE_LINE // 4
FETCHED = 64  # samples fetched while the batch before them is at work: of 784 numbers, 200 KB of second-level cache


@inlined
def output(plan, buffers, samples, cost, order, start, first, end):
    """Activation, delta and cost at the output layer, for the samples first..end of a block"""
    a = buffers.a
    delta = buffers.delta
    losses = buffers.losses
    lane = lanes(a)
    last = plan.sizes.size - 1
    kind = plan.kinds[last - 1]
    stride = plan.padded[last]
    for i in range(first, end):
        row = plan.a_start[last] + i * stride
        target = samples.y[order[start + i]] * stride
        if cost == CROSS_ENTROPY:
            _softmax(buffers, samples.targets, i, row, target, stride)
            continue
        loss = fill(a, 0.0)
        for j in range(0, stride, lane):
            z = load(a, row + j)
            y = load(samples.targets, target + j)
            mask = load(buffers.mask, j)
            act = f(kind, z) * mask
            d = (act - y) * mask
            if cost in (BINARY_CROSS_ENTROPY, POISSON):
                magnitude = maximum(z, -z)
                counts = cost == POISSON
                logarithm = log(maximum(y, fill(a, TINY)) if counts else 1.0 + exp(-magnitude))
                if counts:  # a - y + y ln(y / a)
                    loss = loss + (act - y + y * (logarithm - z)) * mask
                else:  # max(z, 0) - z y + ln(1 + exp(-|z|)) cannot overflow
                    loss = loss + (maximum(z, fill(a, 0.0)) - z * y + logarithm) * mask
            elif cost == MEAN_SQUARED_ERROR:
                loss = fma(d, d, loss)
                d = d * 2.0 * f_prime(kind, act)
            else:
                loss = fma(d * 0.5, d, loss)
                d = d * f_prime(kind, act)
            store(a, row + j, act)
            store(delta, row + j, d)
        losses[i] = fold_add(loss)
    if cost == CROSS_ENTROPY:
        for i in range(first, end, lane):
            store(losses, i, load(losses, i) + log(load(buffers.norms, i)))
    if samples.weighted:
        for i in range(first, end):
            weight = samples.weights[order[start + i]]
            losses[i] *= weight
            row = plan.a_start[last] + i * stride
            for j in range(row, row + stride, lane):
                store(delta, j, load(delta, j) * weight)


@inlined
def _softmax(buffers, targets, i, row, target, stride):
    """a = exp(z - top) / sum, delta = a - y; losses[i] = sum_k y_k (top - z_k), still without ln(norms[i])"""
    a = buffers.a
    lane = lanes(a)
    tops = fill(a, -3e38)
    for j in range(0, stride, lane):
        tops = maximum(tops, load(a, row + j) + (load(buffers.mask, j) - 1.0) * 1e30)
    top = fold_max(tops)
    norm = fill(a, 0.0)
    loss = fill(a, 0.0)
    for j in range(0, stride, lane):
        z = load(a, row + j) - top
        e = exp(z) * load(buffers.mask, j)
        loss = loss - load(targets, target + j) * z
        norm = norm + e
        store(a, row + j, e)
    total = fold_add(norm)
    for j in range(0, stride, lane):
        act = load(a, row + j) / total
        store(a, row + j, act)
        store(buffers.delta, row + j, act - load(targets, target + j))
    buffers.norms[i] = total
    buffers.losses[i] = fold_add(loss)


@inlined
def hidden_delta(plan, buffers, rule, layer, first, end):
    """delta[i, k] = f'(z[i, k]) * sum_j delta_next[i, j] W[k, j], with the panels of the transpose"""
    a = buffers.a
    delta = buffers.delta
    wt = buffers.wt
    lane = lanes(wt)
    stride_next = plan.padded[layer + 1]
    stride = plan.padded[layer]
    for k in range(0, stride, lane):
        panel = plan.wt_start[layer] + k * stride_next
        for i in range(first, end, ROWS):
            s0, s1, s2, s3, s4, s5, s6, s7 = products(
                delta,
                plan.a_start[layer + 1] + i * stride_next,
                stride_next,
                1,
                wt,
                panel,
                lane,
                plan.sizes[layer + 1],
            )
            at = plan.a_start[layer] + i * stride + k
            store(delta, at, s0)
            store(delta, at + stride, s1)
            store(delta, at + 2 * stride, s2)
            store(delta, at + 3 * stride, s3)
            store(delta, at + 4 * stride, s4)
            store(delta, at + 5 * stride, s5)
            store(delta, at + 6 * stride, s6)
            store(delta, at + 7 * stride, s7)
    kind = plan.kinds[layer - 1]
    start, last = plan.a_start[layer] + first * stride, plan.a_start[layer] + end * stride
    if rule.dropping:
        for at in range(start, last, lane):  # a is f(z) times its factor
            keep = load(buffers.keep, at)
            whole = load(a, at) * (1.0 / rule.factors[layer - 1])
            store(delta, at, load(delta, at) * keep * f_prime(kind, whole))
    else:
        for at in range(start, last, lane):
            store(delta, at, load(delta, at) * f_prime(kind, load(a, at)))


class Step(NamedTuple):
    """One update: `Rule` with the numbers of this batch worked out."""

    optimizer: int
    rate: float  # learning rate; Adam: with its correction for the first steps
    eta: float  # learning rate
    mean: float  # 1 / number of samples in the batch, or 1 / the sum of their weights
    decay: float
    momentum: float
    beta_1: float
    beta_2: float
    epsilon: float
    rho: float


@inlined
def step_of(rule, eta, mass, number):
    """The step of update `number` (the first is 1) with a batch whose samples weigh `mass` together"""
    rate = eta
    if rule.optimizer == ADAM or rule.optimizer == ADAMW:
        rate = eta * np.sqrt(1.0 - rule.beta_2**number) / (1.0 - rule.beta_1**number)
    mean = 1.0 / mass
    decay = rule.decay * mean if rule.decay_per_batch else rule.decay
    return Step(rule.optimizer, rate, eta, mean, decay, rule.momentum, rule.beta_1, rule.beta_2, rule.epsilon, rule.rho)


@inlined
def is_plain(step):
    """True where an update is W -= rate * mean * dW: it touches only the rows with nonzero input"""
    return step.optimizer == SGD and step.decay == 0.0


@inlined
def _descend(buffers, at, total, step, decay):
    """One vector of parameters takes a step along its gradient; `total` is summed over the samples of the batch"""
    w = buffers.w
    value = load(w, at)
    g = fma(value, fill(w, 0.0 if step.optimizer == ADAMW else decay), total * step.mean)
    if step.optimizer == SGD:
        store(w, at, value - g * step.rate)
    elif step.optimizer == MOMENTUM:
        v = fma(load(buffers.m, at), fill(w, step.momentum), -(g * step.rate))
        store(buffers.m, at, v)
        store(w, at, value + v)
    elif step.optimizer == NESTEROV:
        v = fma(load(buffers.m, at), fill(w, step.momentum), -(g * step.rate))
        store(buffers.m, at, v)
        store(w, at, fma(v, fill(w, step.momentum), value - g * step.rate))
    elif step.optimizer == RMSPROP:
        u = fma(load(buffers.u, at), fill(w, step.rho), g * g * (1.0 - step.rho))
        store(buffers.u, at, u)
        store(w, at, value - g * step.rate / (sqrt(u) + step.epsilon))
    else:
        if step.optimizer == ADAMW:
            value = value * (1.0 - step.eta * decay)
        m = fma(load(buffers.m, at), fill(w, step.beta_1), g * (1.0 - step.beta_1))
        u = fma(load(buffers.u, at), fill(w, step.beta_2), g * g * (1.0 - step.beta_2))
        store(buffers.m, at, m)
        store(buffers.u, at, u)
        store(w, at, value - m * step.rate / (sqrt(u) + step.epsilon))


@inlined
def descend(buffers, step, start, end, decay):
    """The parameters start..end take their step along the collected gradient, which becomes 0 again"""
    lane = lanes(buffers.w)
    for at in range(start, end, lane):
        _descend(buffers, at, load(buffers.g, at), step, decay)
        store(buffers.g, at, fill(buffers.g, 0.0))


@inlined
def gradient_bias(plan, buffers, layer, n):
    """db[j] += sum_i delta[i, j]"""
    delta = buffers.delta
    lane = lanes(delta)
    stride = plan.padded[layer + 1]
    for j in range(0, stride, lane):
        at = plan.b_start[layer] + j
        s = load(buffers.g, at)
        for i in range(n):
            s = s + load(delta, plan.a_start[layer + 1] + i * stride + j)
        store(buffers.g, at, s)


@inlined
def gradient(plan, buffers, samples, order, start, layer, n, scale, step, at_once, first, end):
    """dW[k, j] = scale * sum_i a[i, k] delta[i, j] for rows first..end, eight inputs and one panel at a time

    A plain step subtracts it from W at once; other steps follow for each eight rows, while they are in the cache,
    or at the end of a batch of several blocks.
    """
    a = buffers.a
    direct = at_once and is_plain(step)
    target = buffers.w if direct else buffers.g
    scales = fill(a, -step.rate * step.mean * scale if direct else scale)
    delta = buffers.delta
    lane = lanes(a)
    stride_in = plan.padded[layer]
    stride = plan.padded[layer + 1]
    for j in range(0, stride, lane):
        panel = plan.w_start[layer] + j * plan.rows[layer]
        for k in range(first, min(end, plan.sizes[layer]), ROWS):
            if layer == 0 and j == 0:
                _fetch_next(samples.x, order, start + n, n, plan.sizes[0], k)
            s0, s1, s2, s3, s4, s5, s6, s7 = products(
                a, plan.a_start[layer] + k, 1, stride_in, delta, plan.a_start[layer + 1] + j, stride, n
            )
            at = panel + k * lane
            store(target, at, fma(s0, scales, load(target, at)))
            store(target, at + lane, fma(s1, scales, load(target, at + lane)))
            store(target, at + 2 * lane, fma(s2, scales, load(target, at + 2 * lane)))
            store(target, at + 3 * lane, fma(s3, scales, load(target, at + 3 * lane)))
            store(target, at + 4 * lane, fma(s4, scales, load(target, at + 4 * lane)))
            store(target, at + 5 * lane, fma(s5, scales, load(target, at + 5 * lane)))
            store(target, at + 6 * lane, fma(s6, scales, load(target, at + 6 * lane)))
            store(target, at + 7 * lane, fma(s7, scales, load(target, at + 7 * lane)))
            if at_once and not direct:
                descend(buffers, step, at, at + ROWS * lane, step.decay)


@inlined
def _fetch_next(x, order, start, n, n_in, k):
    """Fetch the cache lines of inputs k, k + 1, ... of the next batch, while there is arithmetic to do

    Gaussian data: 40 instead of 48 ms an epoch, where the memory had nothing to do between one batch and the next.
    """
    if k * x.itemsize % CACHE_LINE == 0:
        for i in range(start, min(start + min(n, FETCHED), order.size)):
            prefetch(x, order[i] * n_in + k)


@inlined
def gradient_sparse(plan, buffers, samples, order, start, n, step, at_once, n_parts, first, end):
    """dW[k, j] += x[i, k] delta[i, j] for the nonzero x[i, k] of a part of the rows

    Plain SGD subtracts it from W without collecting.
    """
    direct = at_once and is_plain(step)
    target = buffers.w if direct else buffers.g
    factor = -step.rate * step.mean * samples.scale if direct else samples.scale
    entries = samples.entries
    values = samples.values
    lane = lanes(target)
    stride = plan.padded[1]
    for i in range(n):
        sample = np.int64(order[start + i]) * n_parts
        begin = samples.cuts[sample + first]
        behind = samples.cuts[sample + end]
        if n_parts > 1:  # another thread has had the first look at it; 1.4 instead of 1.3 times as fast on two cores
            ahead = samples.cuts[np.int64(order[start + min(i + AHEAD, n - 1)]) * n_parts + first]
            for line in range(0, 3 * ENTRY_LINE, ENTRY_LINE):
                fetch(entries, values, ahead + line)
        for j in range(0, stride, lane):
            panel = plan.w_start[0] + j * plan.rows[0]
            d = load(buffers.delta, plan.a_start[1] + i * stride + j) * factor
            whole = begin + (behind - begin) // ENTRIES * ENTRIES
            for e in range(begin, whole, ENTRIES):
                _spread_entry(target, panel, entries, values, e, d)
                _spread_entry(target, panel, entries, values, e + 1, d)
                _spread_entry(target, panel, entries, values, e + 2, d)
                _spread_entry(target, panel, entries, values, e + 3, d)
                _spread_entry(target, panel, entries, values, e + 4, d)
                _spread_entry(target, panel, entries, values, e + 5, d)
                _spread_entry(target, panel, entries, values, e + 6, d)
                _spread_entry(target, panel, entries, values, e + 7, d)
            for e in range(whole, behind):
                _spread_entry(target, panel, entries, values, e, d)


@inlined
def _spread_entry(target, panel, entries, values, e, d):
    """target[k, panel] += x[k] * d"""
    place = panel + row_of(entries, values, e) * lanes(target)
    store(target, place, fma(value_of(target, entries, values, e), d, load(target, place)))
