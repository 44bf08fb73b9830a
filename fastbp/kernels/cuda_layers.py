"""The layers after the first on the GPU, and the step of every weight: what the kernels of `cuda_fused` call.

These layers are small. Their weights, activations and deltas are in shared memory, `s`; the plan says where. All
threads of a block call these functions together, each computes some of the numbers, and barriers are the caller's.
Formulas are those of `reference`; the mathematics of one element is that of `scalars`, as on the CPU.
"""

from __future__ import annotations

import math

from numba import float32, int32, uint64

from .codes import BINARY_CROSS_ENTROPY, CROSS_ENTROPY, POISSON, SOFTMAX, TANH
from .cuda import at, device, divided, put, put_quad, quad, wrapping
from .cuda_layout import (
    BETA,
    COST,
    DECAY,
    DELTA,
    DRAWN,
    EPSILON,
    GAIN,
    GAIN_RATE,
    HAS_MEAN,
    HAS_SQUARE,
    KEEP,
    KEEP_BIASES,
    KIND,
    LABEL,
    LEARN,
    LIMIT,
    LOSSES,
    MEAN,
    MEMBER,
    MOST_ROWS,
    N_FIRST,
    N_LAYERS,
    N_RIGHT,
    N_WORDS,
    PART,
    PLAIN_RATE,
    RATE,
    SHRINK,
    SIZE,
    SMALL,
    STATE,
    STEP,
    STRIDE,
    UNITS,
    USE,
    USE_RATE,
    WEIGHTED,
    WORD,
    A,
    B,
    W,
)
from .order import word as word_of_stream
from .scalars import activate as f
from .scalars import activate_prime as f_prime
from .scalars import binary_cross_entropy, poisson, squared_error

word = wrapping(word_of_stream)

__all__ = [
    "activate",
    "clipped",
    "first_layer",
    "forward",
    "hidden_delta",
    "note",
    "output",
    "small_gradients",
    "small_layers",
    "squared_norm",
]


@device
def _kept(plan, networks, layer, at_sample, unit):
    """The factor of dropout of one unit of a hidden layer: 0, or 1 / (1 - p); `dropout.factors` is the definition"""
    at_word = uint64(at_sample) * uint64(plan[N_WORDS]) + uint64(at(plan, WORD + layer) + (unit >> 2))
    piece = (word(networks.key[plan[MEMBER]], at_word) >> uint64(16 * (unit & 3))) & uint64(0xFFFF)
    return at(networks.factor, layer) if piece >= uint64(at(plan, LIMIT + layer)) else float32(0)


@device
def activate(s, plan, networks, layer, n, at_sample, thread, n_threads):
    """a = f(z + b), and some units dropped; z are in the place of a"""
    stride = at(plan, STRIDE + layer)
    item = thread
    while item < n * stride:
        i, unit = divided(item, stride)
        z = at(s, at(plan, A + layer) + item) + at(s, at(plan, B + layer - 1) + unit)
        if layer < plan[N_LAYERS] - 1:
            z = f(z, at(plan, KIND + layer))
            if plan[N_WORDS] > 0:
                z *= _kept(plan, networks, layer, at_sample + i, unit)
        put(s, at(plan, A + layer) + item, z)
        item += n_threads


@device
def forward(s, plan, layer, n, thread, n_threads):
    """z = a_before W, without b, of a layer after the first; z stand in the place of a"""
    stride, before, n_in = at(plan, STRIDE + layer), at(plan, STRIDE + layer - 1), at(plan, SIZE + layer - 1)
    quads = stride // UNITS
    item = thread
    while item < n * quads:
        i, i_quad = divided(item, quads)
        unit = UNITS * i_quad
        row, weight = at(plan, A + layer - 1) + i * before, at(plan, W + layer - 1) + unit
        z0 = z1 = z2 = z3 = float32(0)
        for k in range(n_in):
            a = at(s, row + k)
            w0, w1, w2, w3 = quad(s, weight + k * stride)
            z0 += a * w0
            z1 += a * w1
            z2 += a * w2
            z3 += a * w3
        put_quad(s, at(plan, A + layer) + i * stride + unit, z0, z1, z2, z3)
        item += n_threads


@device
def hidden_delta(s, plan, networks, layer, n, at_sample, thread, n_threads):
    """delta = (delta_next W_next^T) * f'(z), with f' taken from a"""
    stride, next_stride = at(plan, STRIDE + layer), at(plan, STRIDE + layer + 1)
    item = thread
    while item < n * stride:
        i, unit = divided(item, stride)
        weight, row = at(plan, W + layer) + unit * next_stride, at(plan, DELTA + layer + 1) + i * next_stride
        total = float32(0)
        for j in range(0, next_stride, UNITS):
            w0, w1, w2, w3 = quad(s, weight + j)
            d0, d1, d2, d3 = quad(s, row + j)
            total += w0 * d0
            total += w1 * d1
            total += w2 * d2
            total += w3 * d3
        a = at(s, at(plan, A + layer) + item)
        if plan[N_WORDS] > 0:
            kept = _kept(plan, networks, layer, at_sample + i, unit)
            total *= kept
            a = a / kept if kept > 0 else a  # f' belongs to the unit as it was before it was multiplied
        put(s, at(plan, DELTA + layer) + item, total * f_prime(a, at(plan, KIND + layer)))
        item += n_threads


@device
def output(s, plan, samples, i):
    """Cost and delta of one sample, and its activations in the place of z"""
    last = plan[N_LAYERS] - 1
    n_out, kind, cost_code = at(plan, SIZE + last), at(plan, KIND + last), plan[COST]
    row, to = at(plan, A + last) + i * at(plan, STRIDE + last), at(plan, DELTA + last) + i * at(plan, STRIDE + last)
    target = at(plan, LABEL + i) * n_out
    weight = at(samples.weights, at(plan, DRAWN + i)) if plan[WEIGHTED] else float32(1)
    cost = top = total = mass = picked = float32(0)
    if kind == SOFTMAX:
        top = at(s, row)
        for j in range(1, n_out):
            top = max(top, at(s, row + j))
        for j in range(n_out):
            total += math.exp(at(s, row + j) - top)
    for j in range(n_out):
        z, y = at(s, row + j), at(samples.targets, target + j)
        if kind == SOFTMAX:
            a = math.exp(z - top) / total
            mass += y
            picked += y * (z - top)
        else:
            a = f(z, kind)
            if cost_code == BINARY_CROSS_ENTROPY:
                cost += binary_cross_entropy(z, y)
            elif cost_code == POISSON:
                cost += poisson(z, a, y)
            else:
                cost += squared_error(a, y, cost_code)
        delta = (a - y) * weight
        if cost_code < BINARY_CROSS_ENTROPY:  # the squared ones
            delta *= f_prime(a, kind)
            if cost_code > 0:
                delta += delta
        put(s, row + j, a)
        put(s, to + j, delta)
    for j in range(n_out, at(plan, STRIDE + last)):
        put(s, to + j, float32(0))
    if cost_code == CROSS_ENTROPY:
        cost = math.log(total) * mass - picked
    put(s, plan[LOSSES] + i, cost * weight)


@device
def _is_right(s, plan, samples, i):
    """1 where the largest output is that of the target; a single output answers by its half"""
    last = plan[N_LAYERS] - 1
    row, n_out = at(plan, A + last) + i * at(plan, STRIDE + last), at(plan, SIZE + last)
    target = at(plan, LABEL + i) * n_out
    if n_out == 1:
        middle = float32(0) if at(plan, KIND + last) == TANH else float32(0.5)
        return int32((at(s, row) > middle) == (at(samples.targets, target) > middle))
    best = wanted = 0
    for j in range(1, n_out):
        if at(s, row + j) > at(s, row + best):
            best = j
        if at(samples.targets, target + j) > at(samples.targets, target + wanted):
            wanted = j
    return int32(best == wanted)


@device
def note(s, plan, samples, n):
    """Add up costs, and count right answers of samples that are only measured; one thread, in the samples' order"""
    cost = at(s, plan[LOSSES] + MOST_ROWS)
    for i in range(n):
        cost += at(s, plan[LOSSES] + i)
        if not plan[LEARN]:
            plan[N_RIGHT] += _is_right(s, plan, samples, i)
    put(s, plan[LOSSES] + MOST_ROWS, cost)


# --- gradients and steps ----------------------------------------------------------------------------------------------


@device
def _stepped(weight, dw, decays, factor, plan, rule, mean, square, column, step):
    """A weight after its step, whatever the optimiser: the rules differ in numbers only (`cuda_layout.rule_of`)

    g = factor (dw / m + decay w)        m = KEEP m + (GAIN + GAIN_RATE rate) g        u = BETA u + (1 - BETA) g^2
    w = shrink w + ((USE + USE_RATE rate) m + PLAIN_RATE rate g) / (sqrt(u) + EPSILON, where there is u)

    decays         bool   in        whether decay and shrinking are for this one: biases have none
    mean, square   f4     in, out   at `column`
    step           f4 4   in        rate, 1 / m, decay, shrinking
    """
    rate, g, shrink = step[RATE], dw * step[MEAN], float32(1)
    if decays:
        g += step[DECAY] * weight
        shrink = step[SHRINK]
    g *= factor
    change = rule[PLAIN_RATE] * rate * g
    if plan[HAS_MEAN]:
        m = rule[KEEP] * at(mean, column) + (rule[GAIN] + rule[GAIN_RATE] * rate) * g
        put(mean, column, m)
        change += (rule[USE] + rule[USE_RATE] * rate) * m
    if plan[HAS_SQUARE]:
        u = rule[BETA] * at(square, column) + (float32(1) - rule[BETA]) * (g * g)
        put(square, column, u)
        change /= math.sqrt(u) + rule[EPSILON]
    return shrink * weight + change


@device
def small_gradients(s, plan, collected, begin, n, continued, thread, n_threads):
    """Gradients of all weights that are in shared memory, summed over n samples

    collected   f4     in, out   from `begin` on, alike the weights
    continued   bool   in        whether sums of earlier samples are to be continued
    """
    for layer in range(plan[N_LAYERS] - 1):
        stride, n_rows = at(plan, STRIDE + layer + 1), at(plan, SIZE + layer) if layer > 0 else 0
        quads = stride // UNITS
        item = thread
        while item < (n_rows + 1) * quads:  # the last row are the biases
            k, i_quad = divided(item, quads)
            unit = UNITS * i_quad
            is_weight = k < n_rows
            here = begin + unit + (at(plan, W + layer) + k * stride if is_weight else at(plan, B + layer))
            here -= plan[SMALL]
            g0 = g1 = g2 = g3 = float32(0)
            if continued:
                g0, g1, g2, g3 = quad(collected, here)
            for i in range(n):
                a = at(s, at(plan, A + layer) + i * at(plan, STRIDE + layer) + k) if is_weight else float32(1)
                d0, d1, d2, d3 = quad(s, at(plan, DELTA + layer + 1) + i * stride + unit)
                g0 += a * d0
                g1 += a * d1
                g2 += a * d2
                g3 += a * d3
            if not is_weight and plan[KEEP_BIASES]:
                g0 = g1 = g2 = g3 = float32(0)
            put_quad(collected, here, g0, g1, g2, g3)
            item += n_threads


@device
def small_layers(s, plan, networks, collected, begin, factor, thread, n_threads):
    """The steps of all weights that are in shared memory, along what `small_gradients` left"""
    step = quad(s, plan[STEP])
    rule, mean, square = networks.rule[plan[MEMBER]], networks.mean[plan[STATE]], networks.square[plan[STATE]]
    for layer in range(plan[N_LAYERS] - 1):
        stride = at(plan, STRIDE + layer + 1)
        n_weights = at(plan, SIZE + layer) * stride if layer > 0 else 0
        item = thread
        while item < n_weights + stride:  # the last ones are the biases
            is_weight = item < n_weights
            from_small = item - plan[SMALL] + (at(plan, W + layer) if is_weight else at(plan, B + layer) - n_weights)
            here, column = plan[SMALL] + from_small, plan[N_FIRST] + from_small
            g = at(collected, begin + from_small)
            put(s, here, _stepped(at(s, here), g, is_weight, factor, plan, rule, mean, square, column, step))
            item += n_threads


@device
def first_layer(s, plan, networks, factor, tile_at, inputs):
    """The steps of a thread's tile, along gradients that were collected"""
    step = quad(s, plan[STEP])
    theta, rule, gradient = networks.theta[plan[MEMBER]], networks.rule[plan[MEMBER]], networks.gradient[plan[STATE]]
    mean, square = networks.mean[plan[STATE]], networks.square[plan[STATE]]
    for r in range(inputs):
        for column in range(tile_at + r * plan[STRIDE + 1], tile_at + r * plan[STRIDE + 1] + UNITS):
            g = at(gradient, column)
            new = _stepped(at(theta, column), g, True, factor, plan, rule, mean, square, column, step)
            put(theta, column, new)


@device
def squared_norm(s, plan, networks, tile_at, inputs, thread, n_threads):
    """A thread's share of the sum of squares of the gradient of the mean cost, with its penalty

    Where several blocks share a network, small layers count in the first one only: all have them.
    """
    step = quad(s, plan[STEP])
    theta, gradient = networks.theta[plan[MEMBER]], networks.gradient[plan[STATE]]
    squares = float32(0)
    for r in range(inputs):
        for c in range(UNITS):
            at_weight = tile_at + r * plan[STRIDE + 1] + c
            g = at(gradient, at_weight) * step[MEAN] + step[DECAY] * at(theta, at_weight)
            squares += g * g
    for layer in range(plan[N_LAYERS] - 1 if plan[PART] == 0 else 0):
        n_weights, stride = at(plan, SIZE + layer) if layer > 0 else 0, at(plan, STRIDE + layer + 1)
        n_weights *= stride
        item = thread
        while item < n_weights + stride:
            here = at(plan, W + layer) + item if item < n_weights else at(plan, B + layer) + item - n_weights
            g = at(gradient, plan[N_FIRST] + here - plan[SMALL]) * step[MEAN]
            if item < n_weights:
                g += step[DECAY] * at(s, here)
            squares += g * g
            item += n_threads
    return squares


@device
def clipped(squares, longest):
    """The factor that brings a gradient to a Euclidean norm of at most `longest`"""
    norm = math.sqrt(squares)
    return longest / norm if norm > longest else float32(1)
