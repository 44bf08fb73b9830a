"""Whole batches of backpropagation on the GPU, in one launch: one block of threads for each network, or several.

Read `reference` first. What is here is the same five stages in the same order; `cuda_layout` decides where everything
stands, `cuda_engine` calls it. The first layer holds nearly all weights of a network such as 784-16-16-10, and all
turns around it:

    its weights stay in registers   a thread owns the weights from `inputs` inputs to UNITS units: its tile
    forward                         each thread sums over its inputs; sums meet in shared memory, in a fixed order
    gradient                        each thread has the inputs and the deltas of its own weights: nothing is exchanged

The other layers are small. They live in shared memory, with the activations and deltas of a block of samples. Where
inputs are many, or networks are few, several blocks of threads (parts) share a network: each owns some inputs and their
weights, and they exchange their sums of the first layer. All else each of them computes for itself, alike.

Nothing is added up by atomics, so that results are the same in each run. Kernels trust their arguments.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import float32, int32, uint32, uint64

from .cuda import at, bytes_of, compiled, cuda, device, divided, pair, put, put_quad, quad
from .cuda_layers import (
    activate,
    clipped,
    first_layer,
    forward,
    hidden_delta,
    note,
    output,
    small_gradients,
    small_layers,
    squared_norm,
    word,
)
from .cuda_layout import (
    BATCH_SIZE,
    CLIP,
    CLIPPING,
    COLLECTED,
    COPIES,
    DELTA,
    DIRECT,
    DRAWN,
    LABEL,
    LEARN,
    LOSSES,
    MEAN,
    MEMBER,
    MOST_ROWS,
    N_FIRST,
    N_INTEGERS,
    N_LAYERS,
    N_RIGHT,
    N_SMALL,
    NEXT_COLUMN,
    NEXT_ROW,
    NUMBER,
    PART,
    PARTS,
    PER_SAMPLE,
    PLAN_SIZE,
    ROUND,
    ROW,
    ROW_SIZE,
    ROWS,
    SMALL,
    STAGE,
    STAGED,
    STATE,
    STEP,
    STRIDE,
    SUMS,
    TEAM,
    TOTALS,
    TURN,
    UNITS,
    WIDTH,
    A,
)
from .order import below

__all__ = ["run_batches", "shuffle_orders"]


# --- the first layer --------------------------------------------------------------------------------------------------


@device
def _stage_bytes(s, plan, samples, first, end, thread, n_threads):
    """x of the samples first..end of a block, into shared memory as numbers: they are bytes, four in a word"""
    n_words = int32(plan[WIDTH] >> 2)
    row, k = divided(thread, n_words)
    row, to = int32(row + first), int32(plan[STAGE] + 4 * thread)
    while row < end:
        x0, x1, x2, x3 = bytes_of(at(samples.x, int32(at(plan, ROW + row) + k)))
        put_quad(s, to, x0, x1, x2, x3)
        to, row, k = int32(to + 4 * n_threads), int32(row + plan[NEXT_ROW]), int32(k + plan[NEXT_COLUMN])
        if k >= n_words:
            row, k = int32(row + 1), int32(k - n_words)


@device
def _stage_floats(s, plan, samples, first, end, thread, n_threads):
    """x of the samples first..end of a block, into shared memory: they are float32"""
    row, k = divided(thread, plan[WIDTH])
    row, to = int32(row + first), int32(plan[STAGE] + thread)
    while row < end:
        put(s, to, at(samples.x, int32(at(plan, ROW + row) + k)))
        to, row, k = int32(to + n_threads), int32(row + plan[NEXT_ROW]), int32(k + plan[NEXT_COLUMN])
        if k >= plan[WIDTH]:
            row, k = int32(row + 1), int32(k - plan[WIDTH])


@device
def _add_up(s, plan, thread, n_threads):
    """Each thread adds up ROUND sums of one sample and four units; a sample is left with n_threads / ROUND totals"""
    per_sample = plan[PER_SAMPLE]
    i, column = divided(thread, per_sample)
    t0 = t1 = t2 = t3 = float32(0)
    for other in range(plan[ROUND]):
        v0, v1, v2, v3 = quad(s, plan[SUMS] + 4 * (i * n_threads + column + other * per_sample))
        t0 += v0
        t1 += v1
        t2 += v2
        t3 += v3
    put_quad(s, plan[TOTALS] + 4 * thread, t0, t1, t2, t3)


@device
def _add_totals(s, plan, scale, first, thread, n_threads):
    """Net inputs of the first layer, without its biases, of the samples first..first + ROUND of a block"""
    stride, per_sample = plan[STRIDE + 1], 4 * plan[PER_SAMPLE]
    item = thread
    while item < plan[ROUND] * stride:
        i, unit = divided(item, stride)
        total = float32(0)
        other = unit
        while other < per_sample:
            total += at(s, plan[TOTALS] + i * per_sample + other)
            other += stride
        put(s, plan[A + 1] + (first + i) * stride + unit, total * scale)
        item += n_threads


@device
def _meet(plan, met):
    """Wait until all blocks of threads that share a network have come here as often as this one"""
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        plan[TURN] += 1
        cuda.threadfence()
        cuda.atomic.add(met, plan[TEAM], 1)
        while cuda.atomic.add(met, plan[TEAM], 0) < plan[PARTS] * plan[TURN]:
            pass
        cuda.threadfence()
    cuda.syncthreads()


@device
def _mailbox(plan, part):
    """Where in Work.exchange a part leaves what the others need; another place every second time"""
    return ((plan[TEAM] * 2 + (plan[TURN] & 1)) * plan[PARTS] + part) * plan[ROWS] * plan[STRIDE + 1]


@device
def _exchange_sums(s, plan, work, n, thread, n_threads):
    """Net inputs of the first layer from those that all parts computed; added in the order of the parts"""
    first, mine, size = _mailbox(plan, 0), _mailbox(plan, plan[PART]), plan[ROWS] * plan[STRIDE + 1]
    n_items = n * plan[STRIDE + 1]
    item = UNITS * thread
    while item < n_items:
        v0, v1, v2, v3 = quad(s, plan[A + 1] + item)
        put_quad(work.exchange, mine + item, v0, v1, v2, v3)
        item += UNITS * n_threads
    _meet(plan, work.met)
    item = UNITS * thread
    while item < n_items:
        t0 = t1 = t2 = t3 = float32(0)
        for part in range(plan[PARTS]):
            v0, v1, v2, v3 = quad(work.exchange, first + part * size + item)
            t0 += v0
            t1 += v1
            t2 += v2
            t3 += v3
        put_quad(s, plan[A + 1] + item, t0, t1, t2, t3)
        item += UNITS * n_threads
    cuda.syncthreads()


@device
def _sum_over_threads(s, plan, work, value, thread, n_threads):
    """The sum of a number of each thread, over all threads of a network, in one order"""
    put(s, plan[SUMS] + thread, value)
    cuda.syncthreads()
    total = float32(0)
    for other in range(n_threads):
        total += at(s, plan[SUMS] + other)
    if plan[PARTS] > 1:
        first, mine, size = _mailbox(plan, 0), _mailbox(plan, plan[PART]), plan[ROWS] * plan[STRIDE + 1]
        if thread == 0:
            put(work.exchange, mine, total)
        _meet(plan, work.met)
        total = float32(0)
        for part in range(plan[PARTS]):
            total += at(work.exchange, first + part * size)
    return total


# --- the kernels ------------------------------------------------------------------------------------------------------


@cache
def run_batches(inputs: int, as_bytes: bool, n_threads: int, n_blocks: int) -> Any:
    """The kernel for some kind of network; compiled on its first launch.

    Parameters
    ----------
    inputs : int
        of a tile: 2 more than a multiple of 4, so that neighbouring threads read other banks of shared memory
    as_bytes : bool
        whether x are bytes
    n_threads, n_blocks : int
        of a block; blocks that are to fit into a multiprocessor's registers
    """
    tile = inputs * UNITS
    stage = _stage_bytes if as_bytes else _stage_floats

    def kernel(plan_in_memory, networks, samples, work, first, n_samples, n_updates):
        plan = cuda.shared.array(N_INTEGERS, int32)
        s = cuda.shared.array(0, float32)
        w = cuda.local.array(tile, float32)  # weights of this thread; where gradients are collected, sometimes those
        thread, n_threads = cuda.threadIdx.x, cuda.blockDim.x
        item = thread
        while item < PLAN_SIZE:
            put(plan, item, at(plan_in_memory, item))
            item += n_threads
        cuda.syncthreads()
        team, part = divided(cuda.blockIdx.x, plan[PARTS])
        number, copy = divided(team, plan[COPIES])
        member = work.members[number]
        if thread == 0:  # what is seldom needed would only take registers
            plan[TEAM], plan[PART], plan[NUMBER] = team, part, number
            plan[MEMBER], plan[STATE] = member, member * plan[PARTS] + part
        cuda.syncthreads()
        theta = networks.theta[member]

        stride, quads = plan[STRIDE + 1], plan[STRIDE + 1] // UNITS
        group, i_quad = divided(thread, quads)
        unit = int32(UNITS * i_quad)
        from_stage = int32(plan[STAGE] + group * inputs)
        tile_at = int32((part * plan[WIDTH] + group * inputs) * stride + unit)
        item = thread
        while item < plan[N_SMALL]:
            put(s, plan[SMALL] + item, at(theta, plan[N_FIRST] + item))
            item += n_threads
        for r in range(inputs):
            w[r * UNITS], w[r * UNITS + 1], w[r * UNITS + 2], w[r * UNITS + 3] = quad(theta, tile_at + r * stride)

        batch = int32(copy)
        while batch < work.costs.shape[1]:
            begin = int32(first + batch * plan[BATCH_SIZE])
            n_batch = int32(min(plan[BATCH_SIZE], first + n_samples - begin))
            if thread == n_threads - 1:
                plan[N_RIGHT] = 0
                put(s, plan[LOSSES] + MOST_ROWS, float32(0))
            start = int32(0)
            while start < n_batch:
                n = int32(min(plan[ROWS], n_batch - start))
                at_sample = (n_updates + batch) * plan[BATCH_SIZE] + start
                cuda.syncthreads()
                if start == 0 and thread == 0:
                    steps = work.steps[min(plan[NUMBER], work.steps.shape[0] - 1), batch]
                    rate = work.rates[min(plan[NUMBER], work.rates.shape[0] - 1), batch]
                    put_quad(s, plan[STEP], rate, steps[0], steps[1], steps[2])
                order = work.order[min(plan[MEMBER], work.order.shape[0] - 1)]
                i = thread
                while i < n:
                    sample = int32(at(order, begin + start + i))
                    put(plan, DRAWN + i, sample)
                    put(plan, LABEL + i, at(samples.y, sample))
                    put(plan, ROW + i, int32((sample * plan[PARTS] + plan[PART]) * plan[ROW_SIZE]))
                    i += n_threads
                cuda.syncthreads()

                staged = int32(0)
                stage(s, plan, samples, 0, min(plan[STAGED], n), thread, n_threads)
                cuda.syncthreads()
                begun = int32(0)
                while begun < n:
                    for i in range(0, plan[ROUND], 2):  # two samples at a time keep the arithmetic units busy
                        here = from_stage + (begun + i - staged) * plan[WIDTH]
                        a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = float32(0)
                        for r in range(0, inputs, 2):
                            x0, x1 = pair(s, here + r)
                            y0, y1 = pair(s, here + plan[WIDTH] + r)
                            a0 += x0 * w[r * UNITS]
                            a1 += x0 * w[r * UNITS + 1]
                            a2 += x0 * w[r * UNITS + 2]
                            a3 += x0 * w[r * UNITS + 3]
                            b0 += y0 * w[r * UNITS]
                            b1 += y0 * w[r * UNITS + 1]
                            b2 += y0 * w[r * UNITS + 2]
                            b3 += y0 * w[r * UNITS + 3]
                            a0 += x1 * w[r * UNITS + 4]
                            a1 += x1 * w[r * UNITS + 5]
                            a2 += x1 * w[r * UNITS + 6]
                            a3 += x1 * w[r * UNITS + 7]
                            b0 += y1 * w[r * UNITS + 4]
                            b1 += y1 * w[r * UNITS + 5]
                            b2 += y1 * w[r * UNITS + 6]
                            b3 += y1 * w[r * UNITS + 7]
                        put_quad(s, plan[SUMS] + 4 * (i * n_threads + thread), a0, a1, a2, a3)
                        put_quad(s, plan[SUMS] + 4 * ((i + 1) * n_threads + thread), b0, b1, b2, b3)
                    cuda.syncthreads()
                    following = int32(begun + plan[ROUND])
                    if following < n and following - staged == plan[STAGED]:
                        staged = following
                        stage(s, plan, samples, staged, min(staged + plan[STAGED], n), thread, n_threads)
                    _add_up(s, plan, thread, n_threads)
                    cuda.syncthreads()
                    _add_totals(s, plan, samples.scale, begun, thread, n_threads)
                    begun = following
                cuda.syncthreads()
                if plan[PARTS] > 1:
                    _exchange_sums(s, plan, work, n, thread, n_threads)

                for layer in range(1, plan[N_LAYERS]):
                    if layer > 1:
                        forward(s, plan, layer, n, thread, n_threads)
                        cuda.syncthreads()
                    activate(s, plan, networks, layer, n, at_sample, thread, n_threads)
                    cuda.syncthreads()
                i = thread
                while i < n:
                    output(s, plan, samples, i)
                    i += n_threads
                cuda.syncthreads()
                if thread == n_threads - 1:
                    note(s, plan, samples, n)
                if plan[LEARN]:
                    for layer in range(plan[N_LAYERS] - 2, 0, -1):
                        hidden_delta(s, plan, networks, layer, n, at_sample, thread, n_threads)
                        cuda.syncthreads()
                    if plan[DIRECT]:
                        small_gradients(s, plan, s, plan[COLLECTED], n, False, thread, n_threads)
                    else:
                        gradient = networks.gradient[plan[STATE]]
                        small_gradients(s, plan, gradient, plan[N_FIRST], n, start > 0, thread, n_threads)
                    scale = samples.scale
                    if plan[DIRECT]:
                        rate, per_mass, decay, _ = quad(s, plan[STEP])
                        scale *= -rate * per_mass
                        if decay != 0:
                            shrink = float32(1) - rate * decay
                            for j in range(tile):
                                w[j] *= shrink
                    else:
                        for r in range(inputs):
                            w0 = w1 = w2 = w3 = float32(0)
                            if start > 0:
                                w0, w1, w2, w3 = quad(networks.gradient[plan[STATE]], tile_at + r * stride)
                            w[r * UNITS], w[r * UNITS + 1], w[r * UNITS + 2], w[r * UNITS + 3] = w0, w1, w2, w3
                    for i in range(n):
                        if i - staged == plan[STAGED] or (i == 0 and staged > 0):
                            staged = int32(i)
                            cuda.syncthreads()
                            stage(s, plan, samples, staged, min(staged + plan[STAGED], n), thread, n_threads)
                            cuda.syncthreads()
                        here = from_stage + (i - staged) * plan[WIDTH]
                        d0, d1, d2, d3 = quad(s, plan[DELTA + 1] + i * stride + unit)
                        d0, d1, d2, d3 = d0 * scale, d1 * scale, d2 * scale, d3 * scale
                        for r in range(0, inputs, 2):
                            x0, x1 = pair(s, here + r)
                            w[r * UNITS] += x0 * d0
                            w[r * UNITS + 1] += x0 * d1
                            w[r * UNITS + 2] += x0 * d2
                            w[r * UNITS + 3] += x0 * d3
                            w[r * UNITS + 4] += x1 * d0
                            w[r * UNITS + 5] += x1 * d1
                            w[r * UNITS + 6] += x1 * d2
                            w[r * UNITS + 7] += x1 * d3
                    cuda.syncthreads()
                    is_last, factor = start + n == n_batch, float32(1)
                    if not plan[DIRECT]:
                        gradient, theta = networks.gradient[plan[STATE]], networks.theta[plan[MEMBER]]
                        for r in range(inputs):
                            j = r * UNITS
                            put_quad(gradient, tile_at + r * stride, w[j], w[j + 1], w[j + 2], w[j + 3])
                        if is_last:
                            if plan[CLIPPING]:
                                squares = squared_norm(s, plan, networks, tile_at, inputs, thread, n_threads)
                                squares = _sum_over_threads(s, plan, work, squares, thread, n_threads)
                                factor = clipped(squares, networks.rule[plan[MEMBER], CLIP])
                            first_layer(s, plan, networks, factor, tile_at, inputs)
                        for r in range(inputs):
                            j = r * UNITS
                            w[j], w[j + 1], w[j + 2], w[j + 3] = quad(theta, tile_at + r * stride)
                        if is_last:
                            small_layers(s, plan, networks, gradient, plan[N_FIRST], factor, thread, n_threads)
                    else:
                        small_layers(s, plan, networks, s, plan[COLLECTED], factor, thread, n_threads)
                start = int32(start + plan[ROWS])
            if plan[PART] == 0 and thread == n_threads - 1:
                work.costs[plan[NUMBER], batch] = at(s, plan[LOSSES] + MOST_ROWS) * at(s, plan[STEP] + MEAN)
                work.right[plan[NUMBER], batch] = plan[N_RIGHT]
            batch = int32(batch + plan[COPIES])

        if plan[LEARN]:
            cuda.syncthreads()
            theta = networks.theta[plan[MEMBER]]
            if plan[PART] == 0:
                item = thread
                while item < plan[N_SMALL]:
                    put(theta, plan[N_FIRST] + item, at(s, plan[SMALL] + item))
                    item += n_threads
            for r in range(inputs):
                j = r * UNITS
                put_quad(theta, tile_at + r * stride, w[j], w[j + 1], w[j + 2], w[j + 3])

    return compiled(kernel, n_threads, n_blocks)


@cache
def shuffle_orders() -> Any:
    """The kernel that shuffles: one thread for each network. `order.shuffle` is the definition."""

    def kernel(orders, keys):
        member = cuda.grid(1)
        if member < orders.shape[0]:
            order, key, n = orders[member], keys[member], orders.shape[1]
            for i in range(n):
                put(order, i, uint32(i))
            for i in range(n - 1, 0, -1):
                last = uint64(i)
                j = below(word(key, last), last + uint64(1))
                a, b = at(order, i), at(order, j)
                put(order, i, b)
                put(order, j, a)

    return compiled(kernel, 32, 1)
