"""Whole batches of backpropagation in one compiled call: the stages of `reference`, inlined.

Read `reference` first, then `layout` for how weights and data stand in memory. What is here is the same five stages
in the same order: forward, output delta, hidden deltas, gradients, update.

One compiled function serves every depth, width, activation, cost and optimiser: sizes and codes are read outside the
inner loops. Kernels here trust their arguments; they do not allocate, check, raise or print.
"""

from __future__ import annotations

import numpy as np

from .codes import ADAMW, TANH
from .dropout import UNITS
from .fused_backward import (
    Step,
    descend,
    gradient,
    gradient_bias,
    gradient_sparse,
    hidden_delta,
    is_plain,
    output,
    step_of,
)
from .fused_forward import forward
from .jit import inlined, kernel, outlined
from .order import word
from .simd import fill, fma, lanes, load_as, store
from .simd_functions import fold_add, transpose
from .team import join, leave, over, share

__all__ = ["refresh", "run_batches"]


DELTAS, GRADIENTS, NORM, STEP_CLIPPED = range(4)  # stages of a block; the last two only where gradients are clipped
_16, _LOW_16 = np.uint64(16), np.uint64(0xFFFF)


@kernel
def run_batches(plan, buffers, samples, rule, order, etas, costs, right, n_updates, team, role):
    """Train on the samples of `order`, or only measure them, batch after batch

    order       u4 (n,)          in    sample numbers
    etas        f8 (n_batches,)  in    learning rates; with a negative one nothing is learnt
    costs       f8 (n_batches,)  out   mean cost of each batch, as it was before its update
    right       i8 (n_batches,)  out   right answers in batches that are only measured, else 0
    n_updates   updates made before this call, for Adam's correction
    team, role  which threads share the work, and which of them this is; see `team`
    """
    join(team, role)
    phase = 0
    for batch in range(etas.size):
        first = batch * rule.batch_size
        n_batch = min(rule.batch_size, order.size - first)
        learn = etas[batch] >= 0.0
        mass = _mass(samples, order, first, n_batch)
        step = step_of(rule, etas[batch], mass, n_updates + batch + 1)
        clipping = learn and rule.clip_norm > 0.0 and not rule.hold
        # A batch that fits into one block updates the weights straight from the products; others collect gradients.
        at_once = n_batch <= rule.block and not (clipping or rule.hold)
        for start in range(first, first + n_batch, rule.block):
            n = min(rule.block, first + n_batch - start)
            last = start + n == first + n_batch
            last_stage = STEP_CLIPPED if clipping and last else GRADIENTS
            for stage in range(last_stage + 1):
                begin, end = share(team, phase, role, 0)
                while begin < end:
                    if stage == DELTAS:
                        if begin == 0 and start == first and learn and rule.penalty_in_cost:
                            buffers.sums[0] = sum_of_squares(buffers.w, plan.n_weights, buffers.sums)
                        at = np.uint64((n_updates + batch) * rule.batch_size + start - first)
                        _down_and_up(plan, buffers, samples, rule, order, start, n, learn, team.n_parts, begin, end, at)
                    elif stage == GRADIENTS:
                        if learn:
                            _gradients(plan, buffers, samples, order, start, n, step, at_once, team, begin, end)
                        if begin == 0:
                            n_right = 0 if learn else _count_right(plan, buffers, samples, order, start, n)
                            right[batch] = n_right + (0 if start == first else right[batch])
                            costs[batch] = _sum(buffers.losses, n) + (0.0 if start == first else costs[batch])
                            if last:
                                costs[batch] /= mass
                                if learn and rule.penalty_in_cost:
                                    costs[batch] += 0.5 * step.decay * buffers.sums[0]
                    elif stage == NORM and begin == 0:
                        buffers.sums[1] = _squared_norm(plan, buffers, rule, step)
                    if learn and last and stage == last_stage and not rule.hold:
                        whole = _clipped(rule, step, buffers.sums[1]) if clipping else step
                        _finish(plan, buffers, samples, rule, whole, at_once, team, begin, end)
                    begin, end = share(team, phase, role, end - begin)
                if not over(team, phase, role):
                    leave(team)
                    return
                phase += 1


@inlined
def _down_and_up(plan, buffers, samples, rule, order, start, n, learn, n_parts, begin, end, at):
    """Forward pass, cost and deltas, for a part of a block's samples"""
    lane = lanes(buffers.a)
    first = bound(n, begin, n_parts, lane)
    last = min(bound(n, end, n_parts, lane), n)
    dropping = learn and rule.dropping
    if dropping:
        draw(plan, buffers.keep, rule, first, last, at)
    forward(plan, buffers, samples, order, start, first, last, n_parts, dropping)
    output(plan, buffers, samples, rule.cost, order, start, first, last)
    if learn:
        for layer in range(plan.sizes.size - 2, 0, -1):
            hidden_delta(plan, buffers, rule, layer, first, last)


@outlined
def draw(plan, keep, rule, first, last, at):
    """The factors of dropout for a part of a block's samples; `at` counts samples since the first update"""
    for i in range(first, last):
        at_word = (at + np.uint64(i)) * np.uint64(rule.n_words)
        for layer in range(1, plan.sizes.size - 1):
            row = plan.a_start[layer] + i * plan.padded[layer]
            limit = rule.limits[layer - 1]
            at_word = _put_factors(rule.key, at_word, limit, rule.factors[layer - 1], keep, row, plan.sizes[layer])


@inlined
def _put_factors(key, at, limit, factor, target, first, n):
    """target[first : first + n] = the factors of one sample and layer, from word `at` of the stream

    key, at   u8           in
    limit     u8           in    from `limits_of`
    factor    f8           in    1 / (1 - p)
    target    f4|f8 (...)  out

    Returns the word after the last one.
    """
    bits = np.uint64(0)
    for j in range(n):
        if j % UNITS == 0:
            bits = word(key, at)
            at += np.uint64(1)
        target[first + j] = factor if (bits & _LOW_16) >= limit else 0.0
        bits >>= _16
    return at


@inlined
def _gradients(plan, buffers, samples, order, start, n, step, at_once, team, begin, end):
    """Gradients of a part of the weights, used at once or collected"""
    plain = is_plain(step)
    lane = lanes(buffers.w)
    for layer in range(plan.sizes.size - 1):
        sparse = layer == 0 and samples.sparse
        first_row = bound(plan.sizes[layer], begin, team.n_parts, lane)
        end_row = bound(plan.sizes[layer], end, team.n_parts, lane)
        scale = samples.scale if layer == 0 else 1.0
        direct = at_once and not (sparse and not plain)
        gradient(plan, buffers, samples, order, start, layer, n, scale, step, direct, first_row, end_row)
        if sparse:
            gradient_sparse(plan, buffers, samples, order, start, n, step, at_once, team.n_parts, begin, end)
        if begin == 0:
            gradient_bias(plan, buffers, layer, n)


@inlined
def _finish(plan, buffers, samples, rule, step, at_once, team, begin, end):
    """The steps along collected gradients of a part of the parameters, and the transpose of the new weights"""
    lane = lanes(buffers.w)
    for layer in range(plan.sizes.size - 1):
        sparse = layer == 0 and samples.sparse
        rows = plan.rows[layer]
        first_row = bound(plan.sizes[layer], begin, team.n_parts, lane)
        end_row = bound(plan.sizes[layer], end, team.n_parts, lane)
        collected = not at_once or (sparse and not is_plain(step))
        for j in range(0, plan.padded[layer + 1], lane):
            panel = plan.w_start[layer] + j * rows
            bias = plan.b_start[layer] + j
            # three ranges, one loop: rows of dense inputs, rows of sparse inputs, biases
            for part in range(3):
                first = panel + first_row * lane
                last = panel + end_row * lane if collected else first
                decay = step.decay
                if part == 1:
                    first = panel + team.entry_rows[begin] * lane
                    last = panel + team.entry_rows[end] * lane if collected and sparse else first
                elif part == 2:
                    first = bias
                    last = bias + lane if begin == 0 else first
                    decay = 0.0
                    if not rule.update_biases:
                        store(buffers.g, bias, fill(buffers.g, 0.0))
                        last = first
                descend(buffers, step, first, last, decay)
        if layer > 0:
            transpose_rows(plan, buffers, layer, first_row, end_row)


@inlined
def bound(n, part, n_parts, lane):
    """Where part number `part` of n rows begins: a multiple of `lane`, and the one after the last ends behind row n"""
    if part == 0:
        return 0
    blocks = (n + lane - 1) // lane
    if part < n_parts:
        blocks = blocks * part // n_parts
    return blocks * lane


@inlined
def _mass(samples, order, first, n):
    """How much the samples of a batch weigh together: their number, where all weigh the same"""
    if not samples.weighted:
        return float(n)
    mass = 0.0
    for i in range(first, first + n):
        mass += samples.weights[order[i]]
    return mass if mass > 0.0 else 1.0


@outlined
def _squared_norm(plan, buffers, rule, step):
    """Sum of squares of the gradient of the mean cost, with the penalty on the weights, which is added to it here"""
    if not rule.update_biases:
        buffers.g[plan.n_weights : plan.n_w] = 0.0
    if step.optimizer != ADAMW:
        for at in range(plan.n_weights):
            buffers.g[at] += step.decay / step.mean * buffers.w[at]
    return sum_of_squares(buffers.g, plan.n_w, buffers.sums) * step.mean * step.mean


@inlined
def _clipped(rule, step, squared_norm):
    """The step with a gradient of at most clip_norm; the penalty is in it already"""
    norm = np.sqrt(squared_norm)
    factor = min(1.0, rule.clip_norm / norm) if norm > 0.0 else 1.0
    decay = step.decay if step.optimizer == ADAMW else 0.0
    mean = step.mean * factor
    rates = step.momentum, step.beta_1, step.beta_2, step.epsilon, step.rho
    return Step(step.optimizer, step.rate, step.eta, mean, decay, *rates)


@outlined
def sum_of_squares(values, n, like):
    """Sum of values[i]^2 for i < n, whole vectors of them, in the precision of `like`: float64

    Numbers instead of vectors would take a third of the time of a batch of 784-16-16-10.
    """
    lane = lanes(like)
    s0 = s1 = s2 = s3 = fill(like, 0.0)
    whole = n // (4 * lane) * (4 * lane)
    for i in range(0, whole, 4 * lane):
        s0 = _add_square(like, values, i, s0)
        s1 = _add_square(like, values, i + lane, s1)
        s2 = _add_square(like, values, i + 2 * lane, s2)
        s3 = _add_square(like, values, i + 3 * lane, s3)
    for i in range(whole, n, lane):
        s0 = _add_square(like, values, i, s0)
    return fold_add((s0 + s1) + (s2 + s3))


@inlined
def _add_square(like, values, i, total):
    """total + values[i]^2, lane by lane"""
    value = load_as(like, values, i)
    return fma(value, value, total)


@inlined
def _sum(values, n):
    total = 0.0
    for i in range(n):
        total += values[i]
    return total


@outlined
def _count_right(plan, buffers, samples, order, start, n):
    """How many samples of a block are answered rightly: the largest output wins, a single output answers by its half"""
    n_out = plan.sizes[-1]
    stride = plan.padded[-1]
    middle = 0.0 if plan.kinds[-1] == TANH else 0.5
    count = 0
    for i in range(n):
        row = plan.a_start[-1] + i * stride
        target = samples.y[order[start + i]] * stride
        if n_out == 1:
            count += (buffers.a[row] > middle) == (samples.targets[target] > middle)
        else:
            count += _largest(buffers.a, row, n_out) == _largest(samples.targets, target, n_out)
    return count


@inlined
def _largest(values, start, n):
    best = 0
    for j in range(1, n):
        if values[start + j] > values[start + best]:
            best = j
    return best


@kernel
def refresh(plan, buffers):
    """Make the transposed weights follow weights that came from outside"""
    for layer in range(1, plan.sizes.size - 1):
        transpose_rows(plan, buffers, layer, 0, plan.rows[layer])


@inlined
def transpose_rows(plan, buffers, layer, first, last):
    """wt = the transpose of w, for some rows (whole vectors of them) of a layer after the first"""
    lane = lanes(buffers.w)
    rows = plan.rows[layer]
    columns = plan.padded[layer + 1]
    for k in range(first, last, lane):
        for j in range(0, columns, lane):
            source = plan.w_start[layer] + j * rows + k * lane
            target = plan.wt_start[layer] + k * columns + j * lane
            transpose(buffers.w, source, lane, buffers.wt, target, lane)
