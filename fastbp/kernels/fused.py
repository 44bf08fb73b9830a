"""Whole batches of backpropagation in one compiled call, on one core: the stages of `reference`, inlined.

Read `reference` first, then `layout` for how weights and data stand in memory. What is here is the same five stages
in the same order: forward, output delta, hidden deltas, gradients, update.

One compiled function serves every depth, width, activation, cost and optimiser: sizes and codes are read outside the
inner loops. Kernels here trust their arguments; they do not allocate, check, raise or print.
"""

from __future__ import annotations

from .codes import TANH
from .fused_backward import (
    descend_all,
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
from .simd import lanes
from .simd_functions import transpose

__all__ = ["refresh", "run_batches"]


@kernel
def run_batches(plan, buffers, samples, rule, order, etas, costs, right, n_updates):
    """Train on the samples of `order`, or only measure them, batch after batch

    order       u4 (n,)          in    sample numbers
    etas        f8 (n_batches,)  in    learning rates; with a negative one nothing is learnt
    costs       f8 (n_batches,)  out   mean cost of each batch, as it was before its update
    right       i8 (n_batches,)  out   right answers in batches that are only measured, else 0
    n_updates   updates made before this call, for Adam's correction
    """
    for batch in range(etas.size):
        first = batch * rule.batch_size
        n_batch = min(rule.batch_size, order.size - first)
        learn = etas[batch] >= 0.0
        step = step_of(rule, etas[batch], n_batch, n_updates + batch + 1)
        # A batch that fits into one block updates the weights straight from the products; others collect gradients.
        at_once = n_batch <= rule.block
        total = 0.0
        right[batch] = 0
        for start in range(first, first + n_batch, rule.block):
            n = min(rule.block, first + n_batch - start)
            forward(plan, buffers, samples, order, start, n)
            total += output(plan, buffers, samples, rule.cost, order, start, n)
            if learn:
                _backward(plan, buffers, samples, order, start, n, step, at_once)
            else:
                right[batch] += _count_right(plan, buffers, samples, order, start, n)
        if learn:
            _finish(plan, buffers, samples, rule, step, at_once)
        costs[batch] = total / n_batch


@inlined
def _backward(plan, buffers, samples, order, start, n, step, at_once):
    """Deltas of all hidden layers, then the gradients of all layers, used or collected"""
    n_layers = plan.sizes.size
    for layer in range(n_layers - 2, 0, -1):
        hidden_delta(plan, buffers, layer, n)
    for layer in range(n_layers - 1):
        gradient_bias(plan, buffers, layer, n)
        scale = samples.scale if layer == 0 else 1.0
        together = layer == 0 and samples.sparse and not is_plain(step)
        gradient(plan, buffers, samples, order, start, layer, n, scale, step, at_once and not together)
        if layer == 0 and samples.sparse:
            gradient_sparse(plan, buffers, samples, order, start, n, step, at_once)


@inlined
def _finish(plan, buffers, samples, rule, step, at_once):
    """The steps along collected gradients, and the transpose of the new weights"""
    if not at_once:
        descend_all(buffers, step, 0, plan.n_weights, step.decay)
    elif samples.sparse and not is_plain(step):
        descend_all(buffers, step, 0, plan.rows[0] * plan.padded[1], step.decay)
    if rule.update_biases:
        descend_all(buffers, step, plan.n_weights, plan.n_w, 0.0)
    else:
        buffers.g[plan.n_weights : plan.n_w] = 0.0
    transpose_all(plan, buffers)


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
    transpose_all(plan, buffers)


@inlined
def transpose_all(plan, buffers):
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
