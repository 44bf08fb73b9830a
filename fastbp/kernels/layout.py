"""How the fused CPU kernels keep a network and its data in memory.

**Parameters.** A layer's weights are cut into panels of as many output units as a vector has lanes (16 float32 or 8
float64). A panel holds one vector, 64 bytes and one cache line, per input unit:

    panel t of W:   W[0, 16t : 16t+16], W[1, 16t : 16t+16], ...

All panels of all layers stand in one aligned array `w`, the padded biases behind them. Layers after the first also
keep their transpose in panels, for the delta recursion, which runs along the other side of W. **Every pad is 0 and
stays 0**: padded units have activation 0 and delta 0.

**Input.** Most pixels of a drawing are 0 and their rows of W need take no part; but those in the middle are lit in most
drawings. So the inputs are put in a new order: first the often nonzero ones, which stay a dense array, then the others,
whose nonzero values become a list of entries for each sample; see `entries`. Only the first layer's rows of W know of
the new order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .entries import ENTRIES
from .simd import VECTOR_BYTES

__all__ = [
    "SPARE_ROWS",
    "Buffers",
    "Plan",
    "Rule",
    "Samples",
    "aligned",
    "pack",
    "plan_of",
    "unpack",
]

SPARE_ROWS = ENTRIES


class Plan(NamedTuple):
    """Where everything of one network stands. Layer 0 is the input; weights l lead from layer l to layer l + 1.

    Of the input only its dense part counts as units of layer 0. All are int64; `sizes` and `padded` count elements, the
    `_start`s are offsets into flat arrays.
    """

    sizes: NDArray[Any]  # (n_layers,) units
    padded: NDArray[Any]  # (n_layers,) units rounded up to whole vectors
    rows: NDArray[Any]  # (n_layers - 1,) rows of a panel of W: all inputs, rounded up, with spare rows for entries
    w_start: NDArray[Any]  # (n_layers - 1,) first panel in w
    b_start: NDArray[Any]  # (n_layers - 1,) padded bias in w, behind all weights
    wt_start: NDArray[Any]  # (n_layers - 1,) first panel of the transpose in wt; unused for layer 0
    a_start: NDArray[Any]  # (n_layers,) activations of a block of samples in a; deltas stand at the same places
    kinds: NDArray[Any]  # (n_layers - 1,) codes of the activations
    n_weights: int  # elements of w before the biases
    n_w: int
    n_wt: int
    n_a: int


class Samples(NamedTuple):
    """Data that is trained on or measured."""

    x: NDArray[Any]  # u1|f4|f8 (n * n_dense,) the dense inputs, sample after sample
    entries: NDArray[Any]  # u4 (n_entries,) the other inputs, and
    values: NDArray[Any]  # f4|f8 (n_entries,) their values; u1 (1,) where `entries` holds them too, see `entries`
    cuts: NDArray[Any]  # i8 (n * n_parts + 1,) where the entries of each sample start, and within it each part's
    y: NDArray[Any]  # i4 (n,) which row of `targets` is the sample's
    targets: NDArray[Any]  # f4|f8 (n_rows * padded outputs,) flat, zeros behind the last output
    scale: float  # network input = x * scale; applied once to the sum, not to every value
    sparse: bool  # whether there are entries that take part one by one
    weighted: bool  # whether samples count differently
    weights: NDArray[Any]  # f8 (n,) how much, or one number


class Buffers(NamedTuple):
    """Parameters, state of the optimiser and workspace, all flat and aligned; see layout.Plan."""

    w: NDArray[Any]  # weights in panels, then biases
    wt: NDArray[Any]  # transposed weights of the layers after the first
    g: NDArray[Any]  # gradient, laid out like w; all zero between batches
    m: NDArray[Any]  # momentum: velocity; Adam: mean of gradients. Like w, or one vector where unused
    u: NDArray[Any]  # Adam, RMSProp: mean of squared gradients. Like w, or one vector where unused
    a: NDArray[Any]  # activations of one block of samples, row by row; first the dense input
    delta: NDArray[Any]  # deltas, at the same places
    keep: NDArray[Any]  # what hidden units are multiplied with by dropout, at the same places; or one vector
    sums: NDArray[Any]  # f8 (2,) squares of weights and of the gradient, summed
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
    rho: float
    decay_per_batch: bool  # decay is divided by the weight of a batch
    penalty_in_cost: bool
    clip_norm: float  # 0: gradients of any length
    hold: bool  # gradients stay in g, and nothing is learnt
    dropping: bool
    key: Any  # u8  of the stream that says which units are dropped
    limits: NDArray[Any]  # u8 (n_hidden,) see dropout.limits_of
    factors: NDArray[Any]  # f8 (n_hidden,) 1 / (1 - rate)
    n_words: int  # of that stream, per sample


def plan_of(sizes: tuple[int, ...], n_dense: int, kinds: list[int], lanes: int, block: int) -> Plan:
    """Lay out a network of these sizes for vectors of `lanes` elements and blocks of `block` samples."""
    n = np.array((n_dense, *sizes[1:]), dtype=np.int64)
    padded = -(-n // lanes) * lanes
    rows = padded[:-1].copy()
    rows[0] = -(-(sizes[0] + SPARE_ROWS) // lanes) * lanes
    w_sizes = rows * padded[1:]
    wt_sizes = padded[:-1] * padded[1:]
    wt_sizes[0] = 0
    n_weights = int(w_sizes.sum())
    return Plan(
        sizes=n,
        padded=padded,
        rows=rows,
        w_start=_starts(w_sizes),
        b_start=n_weights + _starts(padded[1:]),
        wt_start=_starts(wt_sizes),
        a_start=_starts(padded * block),
        kinds=np.array(kinds, dtype=np.int64),
        n_weights=n_weights,
        n_w=n_weights + int(padded[1:].sum()),
        n_wt=int(wt_sizes.sum()),
        n_a=int(padded.sum()) * block,
    )


def _starts(sizes: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.int64)


def aligned(n: int, dtype: Any) -> NDArray[Any]:
    """n zeros that start on a 64-byte boundary; NumPy promises 16, and rows across two cache lines cost 23 %."""
    itemsize = np.dtype(dtype).itemsize
    raw = np.zeros(max(n, 1) * itemsize + VECTOR_BYTES, dtype=np.uint8)
    skip = -raw.ctypes.data % VECTOR_BYTES
    return raw[skip : skip + max(n, 1) * itemsize].view(dtype)


Layers = list[tuple[NDArray[Any], NDArray[Any]]]


def pack(layers: Layers, plan: Plan, inputs: NDArray[Any], lanes: int, w: NDArray[Any]) -> None:
    """Write (W, b) of every layer into the packed array; row r of the first panels is input inputs[r].

    What lies between them becomes 0: a run that diverged leaves NaN there, which would never go away.
    """
    w[:] = 0
    for layer, (W, b) in enumerate(layers):
        _panels(plan, layer, lanes, w)[:, : W.shape[0]] = _columns(W[inputs] if layer == 0 else W, lanes)
        w[plan.b_start[layer] :][: b.size] = b


def unpack(w: NDArray[Any], plan: Plan, inputs: NDArray[Any], lanes: int, layers: Layers) -> None:
    """Read (W, b) of every layer back from the packed array."""
    for layer, (W, b) in enumerate(layers):
        columns = _panels(plan, layer, lanes, w)[:, : W.shape[0]].transpose(1, 0, 2)
        W[inputs if layer == 0 else slice(None)] = columns.reshape(W.shape[0], -1)[:, : W.shape[1]]
        b[...] = w[plan.b_start[layer] :][: b.size]


def _panels(plan: Plan, layer: int, lanes: int, w: NDArray[Any]) -> NDArray[Any]:
    """The packed weights of a layer as (n_panels, rows, lanes), a view."""
    shape = (plan.padded[layer + 1] // lanes, plan.rows[layer], lanes)
    return w[plan.w_start[layer] :][: shape[0] * shape[1] * lanes].reshape(shape)


def _columns(W: NDArray[Any], lanes: int) -> NDArray[Any]:
    """W (n_in, n_out) as (n_panels, n_in, lanes), zeros behind the last unit."""
    wide = np.zeros((W.shape[0], -(-W.shape[1] // lanes) * lanes), dtype=W.dtype)
    wide[:, : W.shape[1]] = W
    return wide.reshape(W.shape[0], -1, lanes).transpose(1, 0, 2)
