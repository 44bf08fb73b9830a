"""Whole batches of backpropagation in one compiled call, on one core: the stages of `reference`, inlined.

Read `reference` first, then `layout` for how weights and data stand in memory. What is here is the same five stages
in the same order; the sums run through two small loops that keep their results in vector registers:

    products   eight rows of a product of matrices at a time: the net inputs (a W), the deltas (delta W^T) and the
               gradients (a^T delta) of dense layers are all of this form
    entries    the net inputs and the update of a first layer with sparse input

One compiled function serves every depth, width, activation, cost and optimiser: sizes and codes are read outside the
inner loops. Kernels here trust their arguments; they do not allocate, check, raise or print.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .codes import (
    ADAM,
    BINARY_CROSS_ENTROPY,
    CROSS_ENTROPY,
    LEAKY_RELU,
    LEAKY_SLOPE,
    MEAN_SQUARED_ERROR,
    MOMENTUM,
    RELU,
    SGD,
    SIGMOID,
    STEP,
    TANH,
)
from .jit import inlined, kernel
from .layout import ENTRIES
from .simd import (
    broadcast,
    exp,
    fill,
    fma,
    fold_add,
    fold_max,
    lanes,
    load,
    log,
    maximum,
    peek,
    prefetch,
    sqrt,
    store,
    transpose,
    unpack_bfloat16,
    where_less,
)

__all__ = ["Buffers", "Rule", "Samples", "evaluate", "refresh", "run_batches"]

ROWS = 8  # rows of a block of `products`: with one vector of weights they fill 9 registers
AHEAD = 8  # samples between the one at work and the one being fetched from memory


class Samples(NamedTuple):
    """Data that is trained on or measured; either x or the entries are used."""

    x: NDArray[Any]  # u1|f4|f8 (n, n_in) dense input; (0, n_in) where the input is sparse
    entries: NDArray[Any]  # u4 (n_entries,) sparse input, see layout; (1,) where it is dense
    starts: NDArray[Any]  # i8 (n + 1,) where the entries of each sample start
    y: NDArray[Any]  # i4 (n,) which row of `targets` is the sample's
    targets: NDArray[Any]  # f4|f8 (n_rows * padded outputs,) flat, zeros behind the last output
    scale: float  # network input = x * scale; applied once to the sum, not to every value
    sparse: bool


class Buffers(NamedTuple):
    """Parameters, state of the optimiser and workspace, all flat and aligned; see layout.Plan."""

    w: NDArray[Any]  # weights in panels, then biases
    wt: NDArray[Any]  # transposed weights of the layers after the first
    g: NDArray[Any]  # gradient, laid out like w; all zero between batches
    m: NDArray[Any]  # momentum: velocity; Adam: mean of gradients. Like w, or one vector where unused
    u: NDArray[Any]  # Adam: mean of squared gradients. Like w, or one vector where unused
    a: NDArray[Any]  # activations of one block of samples, row by row; first the dense input
    delta: NDArray[Any]  # deltas, at the same places
    mask: NDArray[Any]  # 1 for each output, 0 for its pads
    norms: NDArray[Any]  # (block,) softmax: sums of exponentials
    losses: NDArray[Any]  # (block,) cost of each sample


class Rule(NamedTuple):
    """How to take a step."""

    cost: int  # code
    optimizer: int  # code
    batch_size: int
    block: int  # samples that fit into the workspace; a multiple of ROWS
    decay: float
    momentum: float
    beta_1: float
    beta_2: float
    epsilon: float
    update_biases: bool


@kernel
def run_batches(plan, buffers, samples, rule, order, etas, costs, steps_done):
    """Train on the samples of `order`, batch after batch; etas and costs hold one number per batch

    order        u4 (n,)          in    sample numbers
    etas         f8 (n_batches,)  in    learning rates
    costs        f8 (n_batches,)  out   mean cost of each batch, as it was before its update
    steps_done   updates made before this call, for Adam's correction
    """
    n_layers = plan.sizes.size
    for batch in range(etas.size):
        first = batch * rule.batch_size
        n_batch = min(rule.batch_size, order.size - first)
        step = _step(rule, etas[batch], n_batch, steps_done + batch + 1)
        # A batch that fits into one block updates the weights straight from the products; others collect gradients.
        at_once = n_batch <= rule.block
        total = 0.0
        for start in range(first, first + n_batch, rule.block):
            n = min(rule.block, first + n_batch - start)
            _forward(plan, buffers, samples, order, start, n)
            total += _output(plan, buffers, samples, rule.cost, order, start, n)
            for layer in range(n_layers - 2, 0, -1):
                _hidden_delta(plan, buffers, layer, n)
            for layer in range(n_layers - 1):
                _gradient_bias(plan, buffers, layer, n)
                if layer == 0 and samples.sparse:
                    _gradient_sparse(plan, buffers, samples, order, start, n, step, at_once)
                else:
                    scale = samples.scale if layer == 0 else 1.0
                    _gradient(plan, buffers, layer, n, scale, step, at_once)
        if not at_once:
            _descend_all(buffers, step, 0, plan.n_weights, step.decay)
        elif samples.sparse and not _plain(step):
            _descend_all(buffers, step, 0, plan.rows[0] * plan.padded[1], step.decay)
        if rule.update_biases:
            _descend_all(buffers, step, plan.n_weights, plan.n_w, 0.0)
        else:
            buffers.g[plan.n_weights : plan.n_w] = 0.0
        refresh(plan, buffers)
        costs[batch] = total / n_batch


@kernel
def evaluate(plan, buffers, samples, rule, order, correct):
    """The cost summed over the samples of `order`; correct[0] counts the right answers

    order     u4 (n,)   in
    correct   i8 (1,)   out   the largest output is the answer; a single output answers by its half
    """
    n_out = plan.sizes[-1]
    stride = plan.padded[-1]
    a_start = plan.a_start[-1]
    kind = plan.kinds[-1]
    middle = 0.0 if kind == TANH else 0.5
    total = 0.0
    correct[0] = 0
    for start in range(0, order.size, rule.block):
        n = min(rule.block, order.size - start)
        _forward(plan, buffers, samples, order, start, n)
        total += _output(plan, buffers, samples, rule.cost, order, start, n)
        for i in range(n):
            row = a_start + i * stride
            target = samples.y[order[start + i]] * stride
            if n_out == 1:
                correct[0] += (buffers.a[row] > middle) == (samples.targets[target] > middle)
            else:
                correct[0] += _largest(buffers.a, row, n_out) == _largest(samples.targets, target, n_out)
    return total


@inlined
def _largest(values, start, n):
    best = 0
    for j in range(1, n):
        if values[start + j] > values[start + best]:
            best = j
    return best


# --- forward ----------------------------------------------------------------------------------------------------------


@inlined
def _forward(plan, buffers, samples, order, start, n):
    """a[l] = f(z[l]) of every hidden layer, and z of the output layer, for n samples"""
    a = buffers.a
    last = plan.sizes.size - 1
    for layer in range(last):
        if layer == 0 and samples.sparse:
            _net_input_sparse(plan, buffers, samples, order, start, n)
        else:
            if layer == 0:
                _gather(plan, a, samples.x, order, start, n)
            scale = samples.scale if layer == 0 else 1.0
            _net_input(plan, buffers, layer, n, scale)
        if layer < last - 1:
            _activate(plan, a, layer, n)


@inlined
def _gather(plan, a, x, order, start, n):
    """Copy samples, as numbers of the network's precision, into the first rows of a"""
    stride = plan.padded[0]
    for i in range(n):
        sample = order[start + i]
        for k in range(x.shape[1]):
            a[plan.a_start[0] + i * stride + k] = x[sample, k]


@inlined
def _products(p, p_start, p_row, p_step, q, q_start, q_step, n):
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
def _net_input(plan, buffers, layer, n, scale):
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
        for i in range(0, n, ROWS):
            s0, s1, s2, s3, s4, s5, s6, s7 = _products(
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
def _net_input_sparse(plan, buffers, samples, order, start, n):
    """z[i, j] = scale * sum over the nonzero x[i, k] of x[i, k] W[k, j] + b[j]"""
    w = buffers.w
    entries = samples.entries
    starts = samples.starts
    lane = lanes(w)
    stride = plan.padded[1]
    scales = fill(w, samples.scale)
    for i in range(n):
        sample = order[start + i]
        begin = starts[sample]
        end = starts[sample + 1]
        ahead = starts[order[min(start + i + AHEAD, order.size - 1)]] - begin
        for j in range(0, stride, lane):
            panel = plan.w_start[0] + j * plan.rows[0]
            # four sums, so that a product need not wait for the one before it
            s0 = s1 = s2 = s3 = fill(w, 0.0)
            for e in range(begin, end, ENTRIES):
                prefetch(entries, ahead + e)
                s0 = _add_entry(w, panel, entries, e, s0)
                s1 = _add_entry(w, panel, entries, e + 1, s1)
                s2 = _add_entry(w, panel, entries, e + 2, s2)
                s3 = _add_entry(w, panel, entries, e + 3, s3)
                s0 = _add_entry(w, panel, entries, e + 4, s0)
                s1 = _add_entry(w, panel, entries, e + 5, s1)
                s2 = _add_entry(w, panel, entries, e + 6, s2)
                s3 = _add_entry(w, panel, entries, e + 7, s3)
            z = fma((s0 + s1) + (s2 + s3), scales, load(w, plan.b_start[0] + j))
            store(buffers.a, plan.a_start[1] + i * stride + j, z)


@inlined
def _add_entry(w, panel, entries, e, total):
    """total + x[k] * W[k, panel]"""
    entry = peek(entries, e)
    place = panel + np.int64(entry & np.uint32(0xFFFF))
    return fma(unpack_bfloat16(w, entry), load(w, place), total)


@inlined
def _f(kind, z):
    """The activation, on a vector"""
    if kind == SIGMOID:
        return 1.0 / (1.0 + exp(-z))
    if kind == TANH:
        return 2.0 / (1.0 + exp(z * -2.0)) - 1.0
    zero = fill(z, 0.0)
    if kind == RELU:
        return where_less(z, zero, zero, z)
    if kind == LEAKY_RELU:
        return where_less(z, zero, z * LEAKY_SLOPE, z)
    if kind == STEP:
        return where_less(zero, z, fill(z, 1.0), zero)
    return z


@inlined
def _f_prime(kind, a):
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
def _activate(plan, a, layer, n):
    """a = f(z) in place; the pads of the last vector of a row go back to 0"""
    lane = lanes(a)
    kind = plan.kinds[layer]
    stride = plan.padded[layer + 1]
    for i in range(n):
        row = plan.a_start[layer + 1] + i * stride
        for j in range(0, stride, lane):
            store(a, row + j, _f(kind, load(a, row + j)))
        for j in range(plan.sizes[layer + 1], stride):
            a[row + j] = 0.0


# --- deltas -----------------------------------------------------------------------------------------------------------


@inlined
def _output(plan, buffers, samples, cost, order, start, n):
    """Activation and delta of the output layer; returns the cost summed over the n samples"""
    a = buffers.a
    delta = buffers.delta
    losses = buffers.losses
    lane = lanes(a)
    last = plan.sizes.size - 1
    kind = plan.kinds[last - 1]
    stride = plan.padded[last]
    for i in range(n):
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
            act = _f(kind, z) * mask
            d = (act - y) * mask
            if cost == BINARY_CROSS_ENTROPY:
                # max(z, 0) - z y + ln(1 + exp(-|z|)) cannot overflow
                magnitude = maximum(z, -z)
                loss = loss + (maximum(z, fill(a, 0.0)) - z * y + log(1.0 + exp(-magnitude))) * mask
            elif cost == MEAN_SQUARED_ERROR:
                loss = fma(d, d, loss)
                d = d * 2.0 * _f_prime(kind, act)
            else:
                loss = fma(d * 0.5, d, loss)
                d = d * _f_prime(kind, act)
            store(a, row + j, act)
            store(delta, row + j, d)
        losses[i] = fold_add(loss)
    total = 0.0
    if cost == CROSS_ENTROPY:
        for i in range(0, n, lane):
            store(losses, i, load(losses, i) + log(load(buffers.norms, i)))
    for i in range(n):
        total += losses[i]
    return total


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
def _hidden_delta(plan, buffers, layer, n):
    """delta[i, k] = f'(z[i, k]) * sum_j delta_next[i, j] W[k, j], with the panels of the transpose"""
    a = buffers.a
    delta = buffers.delta
    wt = buffers.wt
    lane = lanes(wt)
    stride_next = plan.padded[layer + 1]
    stride = plan.padded[layer]
    for k in range(0, stride, lane):
        panel = plan.wt_start[layer] + k * stride_next
        for i in range(0, n, ROWS):
            s0, s1, s2, s3, s4, s5, s6, s7 = _products(
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
    for at in range(plan.a_start[layer], plan.a_start[layer] + n * stride, lane):
        store(delta, at, load(delta, at) * _f_prime(kind, load(a, at)))


# --- gradients and steps ----------------------------------------------------------------------------------------------


class Step(NamedTuple):
    """One update: `Rule` with the numbers of this batch worked out."""

    optimizer: int
    rate: float  # learning rate; Adam: with its correction for the first steps
    mean: float  # 1 / number of samples in the batch
    decay: float
    momentum: float
    beta_1: float
    beta_2: float
    epsilon: float


@inlined
def _step(rule, eta, n_batch, number):
    rate = eta
    if rule.optimizer == ADAM:
        rate = eta * np.sqrt(1.0 - rule.beta_2**number) / (1.0 - rule.beta_1**number)
    return Step(rule.optimizer, rate, 1.0 / n_batch, rule.decay, rule.momentum, rule.beta_1, rule.beta_2, rule.epsilon)


@inlined
def _plain(step):
    """True where an update is W -= rate * mean * dW: it touches only the rows with nonzero input"""
    return step.optimizer == SGD and step.decay == 0.0


@inlined
def _descend(buffers, at, total, step, decay):
    """One vector of parameters takes a step along its gradient; `total` is summed over the samples of the batch"""
    w = buffers.w
    value = load(w, at)
    g = fma(value, fill(w, decay), total * step.mean)
    if step.optimizer == SGD:
        store(w, at, value - g * step.rate)
    elif step.optimizer == MOMENTUM:
        v = fma(load(buffers.m, at), fill(w, step.momentum), -(g * step.rate))
        store(buffers.m, at, v)
        store(w, at, value + v)
    else:
        m = fma(load(buffers.m, at), fill(w, step.beta_1), g * (1.0 - step.beta_1))
        u = fma(load(buffers.u, at), fill(w, step.beta_2), g * g * (1.0 - step.beta_2))
        store(buffers.m, at, m)
        store(buffers.u, at, u)
        store(w, at, value - m * step.rate / (sqrt(u) + step.epsilon))


@inlined
def _descend_all(buffers, step, start, end, decay):
    """The parameters start..end take their step along the collected gradient, which becomes 0 again"""
    lane = lanes(buffers.w)
    for at in range(start, end, lane):
        _descend(buffers, at, load(buffers.g, at), step, decay)
        store(buffers.g, at, fill(buffers.g, 0.0))


@inlined
def _gradient_bias(plan, buffers, layer, n):
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
def _gradient(plan, buffers, layer, n, scale, step, at_once):
    """dW[k, j] += scale * sum_i a[i, k] delta[i, j], eight inputs and one panel at a time; used at once while cached"""
    a = buffers.a
    g = buffers.g
    scales = fill(a, scale)
    delta = buffers.delta
    lane = lanes(a)
    stride_in = plan.padded[layer]
    stride = plan.padded[layer + 1]
    for j in range(0, stride, lane):
        panel = plan.w_start[layer] + j * plan.rows[layer]
        for k in range(0, plan.sizes[layer], ROWS):
            s0, s1, s2, s3, s4, s5, s6, s7 = _products(
                a, plan.a_start[layer] + k, 1, stride_in, delta, plan.a_start[layer + 1] + j, stride, n
            )
            at = panel + k * lane
            store(g, at, fma(s0, scales, load(g, at)))
            store(g, at + lane, fma(s1, scales, load(g, at + lane)))
            store(g, at + 2 * lane, fma(s2, scales, load(g, at + 2 * lane)))
            store(g, at + 3 * lane, fma(s3, scales, load(g, at + 3 * lane)))
            store(g, at + 4 * lane, fma(s4, scales, load(g, at + 4 * lane)))
            store(g, at + 5 * lane, fma(s5, scales, load(g, at + 5 * lane)))
            store(g, at + 6 * lane, fma(s6, scales, load(g, at + 6 * lane)))
            store(g, at + 7 * lane, fma(s7, scales, load(g, at + 7 * lane)))
            if at_once:
                _descend_all(buffers, step, at, at + ROWS * lane, step.decay)


@inlined
def _gradient_sparse(plan, buffers, samples, order, start, n, step, at_once):
    """dW[k, j] += x[i, k] delta[i, j] for the nonzero x[i, k]; plain SGD subtracts it from W without collecting"""
    direct = at_once and _plain(step)
    target = buffers.w if direct else buffers.g
    factor = -step.rate * step.mean * samples.scale if direct else samples.scale
    entries = samples.entries
    lane = lanes(target)
    stride = plan.padded[1]
    for i in range(n):
        sample = order[start + i]
        for j in range(0, stride, lane):
            panel = plan.w_start[0] + j * plan.rows[0]
            d = load(buffers.delta, plan.a_start[1] + i * stride + j) * factor
            for e in range(samples.starts[sample], samples.starts[sample + 1], ENTRIES):
                _spread_entry(target, panel, entries, e, d)
                _spread_entry(target, panel, entries, e + 1, d)
                _spread_entry(target, panel, entries, e + 2, d)
                _spread_entry(target, panel, entries, e + 3, d)
                _spread_entry(target, panel, entries, e + 4, d)
                _spread_entry(target, panel, entries, e + 5, d)
                _spread_entry(target, panel, entries, e + 6, d)
                _spread_entry(target, panel, entries, e + 7, d)


@inlined
def _spread_entry(target, panel, entries, e, d):
    """target[k, panel] += x[k] * d"""
    entry = peek(entries, e)
    place = panel + np.int64(entry & np.uint32(0xFFFF))
    store(target, place, fma(unpack_bfloat16(target, entry), d, load(target, place)))


@kernel
def refresh(plan, buffers):
    """wt = the transpose of w, for every layer after the first"""
    lane = lanes(buffers.w)
    for layer in range(1, plan.sizes.size - 1):
        rows = plan.rows[layer]
        columns = plan.padded[layer + 1]
        for k in range(0, rows, lane):
            for j in range(0, columns, lane):
                source = plan.w_start[layer] + j * rows + k * lane
                target = plan.wt_start[layer] + k * columns + j * lane
                transpose(buffers.w, source, lane, buffers.wt, target, lane)
