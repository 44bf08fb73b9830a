"""Where everything of a network stands on the GPU: which thread holds what, and what shared memory holds.

Sizes and settings come in; a plan goes out, the whole numbers that the kernels of `cuda_fused` read, and the numbers of
update rules and batches. Networks that do not fit are refused, with the sizes that would. NumPy only, no CUDA.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from . import codes
from .codes import ADAM, ADAMW, MOMENTUM, NESTEROV, RMSPROP, SGD
from .dropout import UNITS as UNITS_OF_WORD
from .dropout import limits_of
from .protocol import Settings

UNITS = 4  # of a tile: 16 bytes, the widest load
MOST_LAYERS = 16
MOST_ROWS = 64

# --- the plan: whole numbers that all networks of a launch share; `plan_of` makes it ----------------------------------
(
    N_LAYERS,
    PARTS,  # blocks of threads that share a network
    COPIES,  # blocks of threads that measure a network, each some of the batches; 1 where it learns
    LEARN,
    BATCH_SIZE,
    ROWS,  # samples in shared memory at a time
    STAGED,  # of them: samples whose inputs are there
    ROUND,  # of them: samples that go through the first layer between two barriers; even
    WIDTH,  # inputs of a part, with padding
    ROW_SIZE,  # the same in elements of x
    NEXT_ROW,  # n_threads as rows and columns of the inputs of a part (of words of four, where they are bytes)
    NEXT_COLUMN,
    PER_SAMPLE,  # n_threads / ROUND
    COST,
    WEIGHTED,
    DIRECT,  # whether weights of the first layer change sample by sample; else their gradients are collected
    HAS_MEAN,
    HAS_SQUARE,
    CLIPPING,
    N_WORDS,  # words of random bits for the dropout of one sample; 0: nothing is dropped
    KEEP_BIASES,
    STAGE,  # where in shared memory: inputs
    SUMS,  # sums of single threads
    TOTALS,  # sums of several threads
    LOSSES,  # costs of MOST_ROWS samples, and behind them their sum
    STEP,  # the numbers of the batch: rate, 1 / weight, decay, factor on weights
    SMALL,  # weights of small layers, as they stand in memory
    COLLECTED,  # their gradients, alike, where DIRECT: in the place of SUMS; else in Networks.gradient
    N_SMALL,
    N_FIRST,  # weights of the first layer, with padding
    TEAM,  # this block of threads: its network's or copy's number,
    PART,  # its own among the parts,
    NUMBER,  # and the number of its network among the members
    MEMBER,  # the row of its network in Networks.theta,
    STATE,  # and of its state in the arrays that each part has one of
    N_RIGHT,  # right answers so far
    TURN,  # how often this block has met the others of its network
    N_NUMBERS,
) = range(38)
# then rows of MOST_LAYERS numbers, one for each layer of neurons; those of weights at the layer they come from
SIZE, STRIDE, KIND, A, DELTA, W, B, WORD, LIMIT = (N_NUMBERS + MOST_LAYERS * row for row in range(9))
PLAN_SIZE = N_NUMBERS + 9 * MOST_LAYERS
# behind the plan, for each sample of a block: its number, its row of targets, where its row of x begins
DRAWN, LABEL, ROW = PLAN_SIZE, PLAN_SIZE + MOST_ROWS, PLAN_SIZE + 2 * MOST_ROWS
# The numbers of networks and samples follow them in shared memory and must begin at a multiple of 16 bytes.
N_INTEGERS = -(-(PLAN_SIZE + 3 * MOST_ROWS) // 4) * 4

# columns of Networks.rule, and the numbers of a batch: its rate in Work.rates, then Work.steps
KEEP, GAIN, GAIN_RATE, USE, USE_RATE, PLAIN_RATE, BETA, EPSILON, CLIP, N_RULE = range(10)
RATE, MEAN, DECAY, SHRINK, N_STEP = range(5)


class Networks(NamedTuple):
    """Parameters and update rules, one row for each network.

    A row of parameters: W[1] (parts * WIDTH, stride), b[1], then W[l] (stride, stride), b[l] of the small layers, all
    padded with zeros to strides that are multiples of UNITS. Behind W[1] it is what shared memory holds.
    """

    theta: Any  # f4 (n, n_row)
    gradient: Any  # f4 (n * parts, n_row)  collected, where not DIRECT; (n * parts, 1) where unused, like the next two
    mean: Any  # f4 (n * parts, n_row)  velocity of momentum, mean of gradients of Adam
    square: Any  # f4 (n * parts, n_row)  mean of squared gradients
    rule: Any  # f4 (n, N_RULE)  see `_stepped`
    key: Any  # u8 (n,)  of dropout
    factor: Any  # f4 (MOST_LAYERS,)  1 / (1 - p) of dropout


class Samples(NamedTuple):
    """What `protocol.Split` holds, on the device."""

    x: Any  # u4 (n * parts * WIDTH / 4,) four bytes each, or f4 (n * parts * WIDTH,); behind the inputs zeros
    y: Any  # i4 (n,)
    targets: Any  # f4 (n_rows * n_out,)
    weights: Any  # f4 (n,); (1,) where all samples weigh the same
    scale: Any  # f4: network input = x * scale; it is applied to sums of the first layer and to its deltas


class Work(NamedTuple):
    """What one launch does: k networks, some batches."""

    members: Any  # i4 (k,)  rows of Networks
    order: Any  # u4 (n or 1, n_order)  sample numbers; (1, ...): the same for all networks, as below
    rates: Any  # f4 (k or 1, n_batches)  learning rates
    steps: Any  # f4 (k or 1, n_batches, 3)  1 / weight of the batch, decay in the gradient, factor on weights
    costs: Any  # f4 (k, n_batches)  out   mean cost of each batch, before its update
    right: Any  # i4 (k, n_batches)  out   right answers of batches that are only measured
    exchange: Any  # f4 (k * copies * 2 * parts * ROWS * stride of layer 1,)
    met: Any  # i4 (k * copies,)  in, out   zeros


# --- how a network is spread ------------------------------------------------------------------------------------------

SHARED_BYTES = 49_152 - 4 * N_INTEGERS  # what a kernel of numba-cuda can have, without the plan
MOST_THREADS = 512  # of a multiprocessor: they leave each other 128 registers, which is what kernels need
INPUTS = (2, 6, 10, 14)  # of a tile: 2 more than a multiple of 4, so that neighbours read other banks of memory
FEW_INPUTS = 112  # a part of fewer would wait more than it computes

Array = NDArray[Any]


class Layout(NamedTuple):
    """How a network is spread over threads and memory; `plan_of` makes the kernels' plan of it."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]  # sizes, padded to what is loaded at once; of the input: those of all parts
    parts: int  # blocks of threads that share a network
    inputs: int  # of a thread
    n_threads: int  # of a block
    width: int  # inputs of a part, with padding
    rows: int  # samples in shared memory
    staged: int  # of them, those whose inputs are there
    round: int  # of them, those that go through the first layer together
    direct: bool  # whether the first layer's weights change sample by sample

    @property
    def n_first(self) -> int:
        """Weights of the first layer, with padding."""
        return self.strides[0] * self.strides[1]

    @property
    def n_small(self) -> int:
        """Weights of the other layers and all biases, with padding."""
        weights = sum(a * b for a, b in zip(self.strides[1:-1], self.strides[2:], strict=True))
        return weights + sum(self.strides[1:])

    @property
    def areas(self) -> dict[str, int]:
        """Numbers of 4 bytes for each purpose in shared memory."""
        activations = self.rows * sum(self.strides[1:])
        return {
            "STAGE": self.staged * self.width,
            "SUMS": self.round * self.n_threads * UNITS,
            "TOTALS": self.n_threads * UNITS,
            "REST": max(0, self.n_small - (self.round + 1) * self.n_threads * UNITS) if self.direct else 0,
            "LOSSES": MOST_ROWS + UNITS,
            "STEP": N_STEP,
            "SMALL": self.n_small,
            "A": activations,
            "DELTA": activations,
        }

    @property
    def shared_bytes(self) -> int:
        return 4 * sum(self.areas.values())

    @property
    def n_row(self) -> int:
        """Parameters of a network on the device, with padding."""
        return self.n_first + self.n_small

    def pieces(self) -> Iterator[tuple[int, int, int, int]]:
        """For each W and b: where it begins in a row, how many rows it has, their stride, and their length."""
        start = 0
        for layer, (n_in, n_out) in enumerate(pairwise(self.sizes)):
            stride = self.strides[layer + 1]
            yield start, n_in, stride, n_out
            start += stride * self.strides[layer]
            yield start, 1, stride, n_out
            start += stride

    def padded(self, thetas: Array) -> NDArray[np.float32]:
        """(n, n_row) from (n, n_parameters)."""
        rows = np.zeros((len(thetas), self.n_row), dtype=np.float32)
        at = 0
        for start, n, stride, n_out in self.pieces():
            piece = rows[:, start : start + n * stride].reshape(-1, n, stride)
            piece[:, :, :n_out] = thetas[:, at : at + n * n_out].reshape(-1, n, n_out)
            at += n * n_out
        return rows

    def unpadded(self, rows: Array) -> NDArray[np.float32]:
        """(n, n_parameters) from (n, n_row)."""
        pieces = [
            rows[:, start : start + n * stride].reshape(-1, n, stride)[:, :, :n_out].reshape(len(rows), -1)
            for start, n, stride, n_out in self.pieces()
        ]
        return np.concatenate(pieces, axis=1)


def layout_of(sizes: Sequence[int], batch_size: int, plain: bool, n_networks: int, n_processors: int) -> Layout:
    """The fastest layout that fits.

    Parameters
    ----------
    sizes : units per layer
    batch_size : int
    plain : bool
        whether the optimiser is plain gradient descent, without clipping
    n_networks, n_processors : int
        how many networks train side by side, and on how many multiprocessors

    Raises
    ------
    UsageError
        a network that does not fit; it says which ones would
    """
    layout = _fit(tuple(sizes), batch_size, plain, n_networks, n_processors)
    if layout is not None:
        return layout
    name = "-".join(map(str, sizes))
    if len(sizes) > MOST_LAYERS:
        raise UsageError(f"device cuda takes networks of at most {MOST_LAYERS} layers, got {name}; use device cpu")
    smaller = [(size, *sizes[2:-1]) for size in range(sizes[1] - 1, 0, -1)] if len(sizes) > 2 else []
    fits = next(
        (h for h in smaller if _fit((sizes[0], *h, sizes[-1]), batch_size, plain, n_networks, n_processors)), ()
    )
    cure = f"at most {fits[0]} units in the first hidden layer fit" if fits else "fewer units per layer are needed"
    raise UsageError(
        f"the network {name} does not fit into the {SHARED_BYTES // 1024} KB that a block of GPU threads shares: "
        f"{cure}; or use device cpu"
    )


def _fit(sizes: tuple[int, ...], batch_size: int, plain: bool, n_networks: int, n_processors: int) -> Layout | None:
    """The best layout that fits: a whole batch in shared memory if possible, then long rounds, then many samples."""
    padded = tuple(-(-size // UNITS) * UNITS for size in sizes)
    quads = padded[1] // UNITS
    most_groups = MOST_THREADS // quads // 4 * 4  # of threads with the same inputs
    if len(sizes) > MOST_LAYERS or most_groups == 0:
        return None
    spread = max(1, min(n_processors // n_networks, sizes[0] // FEW_INPUTS))  # parts, for as many as there is room
    parts = max(spread, -(-sizes[0] // (most_groups * INPUTS[-1])))
    needed = -(-sizes[0] // parts)
    for inputs in INPUTS:
        groups = -(-needed // (4 * inputs)) * 4
        if groups * quads <= MOST_THREADS // 2:
            break
    found = []
    for round_ in (4, 2):
        whole = -(-batch_size // round_) * round_
        for rows in {min(whole, MOST_ROWS), *(rows for rows in (48, 32, 24, 16, 8, 4) if rows < whole)}:
            layout = Layout(
                sizes=sizes,
                strides=(parts * groups * inputs, *padded[1:]),
                parts=parts,
                inputs=inputs,
                n_threads=groups * quads,
                width=groups * inputs,
                rows=rows,
                staged=round_,
                round=round_,
                direct=plain and rows >= batch_size,
            )
            room = (SHARED_BYTES - layout.shared_bytes) // (4 * layout.width)
            if room >= 0:
                found.append(layout._replace(staged=min(rows, round_ + room // round_ * round_)))
    return max(found, key=lambda layout: (layout.rows >= batch_size, layout.round, layout.rows), default=None)


def plan_of(layout: Layout, network: Any, settings: Settings, weighted: bool, as_bytes: bool) -> NDArray[np.int32]:
    """(PLAN_SIZE,): the whole numbers that the kernels read; their names are at the top of this file."""
    plan = np.zeros(PLAN_SIZE, dtype=np.int32)
    row = layout.width // 4 if as_bytes else layout.width
    numbers = {
        "N_LAYERS": len(layout.sizes),
        "PARTS": layout.parts,
        "COPIES": 1,
        "LEARN": 1,
        "BATCH_SIZE": settings.batch_size,
        "ROWS": layout.rows,
        "STAGED": layout.staged,
        "ROUND": layout.round,
        "WIDTH": layout.width,
        "ROW_SIZE": row,
        "NEXT_ROW": layout.n_threads // row,
        "NEXT_COLUMN": layout.n_threads % row,
        "PER_SAMPLE": layout.n_threads // layout.round,
        "COST": codes.COST[network.cost],
        "WEIGHTED": weighted,
        "DIRECT": layout.direct,
        "HAS_MEAN": settings.optimizer in codes.WITH_MOMENTS,
        "HAS_SQUARE": settings.optimizer in codes.WITH_SQUARES,
        "CLIPPING": settings.clip_norm > 0,
        "KEEP_BIASES": not settings.update_biases,
        "N_SMALL": layout.n_small,
        "N_FIRST": layout.n_first,
    }
    start = {}
    at = 0
    for area, size in layout.areas.items():
        start[area] = at
        at += size
    numbers |= {area: start[area] for area in ("STAGE", "SUMS", "TOTALS", "LOSSES", "STEP", "SMALL")}
    numbers["COLLECTED"] = start["SUMS"]
    n_words = [-(-size // UNITS_OF_WORD) for size in layout.sizes[1:-1]] if any(settings.dropout) else []
    numbers["N_WORDS"] = sum(n_words)
    for name, value in numbers.items():
        plan[globals()[name]] = value
    small, limits = start["SMALL"], limits_of(settings.dropout, len(n_words))
    for layer, stride in enumerate(layout.strides):
        plan[SIZE + layer] = layout.sizes[layer]
        plan[STRIDE + layer] = stride
        if layer > 0:
            plan[KIND + layer] = codes.ACTIVATION[network.activations[layer - 1]]
            before = layout.rows * sum(layout.strides[1:layer])
            plan[A + layer] = start["A"] + before
            plan[DELTA + layer] = start["DELTA"] + before
        if layer < len(layout.strides) - 1:
            plan[W + layer] = small
            small += stride * layout.strides[layer + 1] if layer > 0 else 0
            plan[B + layer] = small
            small += layout.strides[layer + 1]
        if 0 < layer <= len(n_words):
            plan[WORD + layer] = sum(n_words[: layer - 1])
            plan[LIMIT + layer] = limits[layer - 1]
    return plan


def rule_of(settings: Settings) -> NDArray[np.float32]:
    """(N_RULE,): an update rule as the numbers of the one formula in `cuda_layers._stepped`."""
    rule = np.zeros(N_RULE, dtype=np.float32)
    optimizer = settings.optimizer
    if optimizer in (MOMENTUM, NESTEROV):
        rule[[KEEP, GAIN_RATE]] = settings.momentum, -1
        rule[USE] = settings.momentum if optimizer == NESTEROV else 1
    elif optimizer in (ADAM, ADAMW):
        rule[[KEEP, GAIN, USE_RATE]] = settings.beta_1, 1 - settings.beta_1, -1
    if optimizer in (SGD, NESTEROV, RMSPROP):
        rule[PLAIN_RATE] = -1
    rule[BETA] = settings.rho if optimizer == RMSPROP else settings.beta_2
    rule[EPSILON] = settings.epsilon
    rule[CLIP] = settings.clip_norm
    return rule


def steps_of(
    settings: Sequence[Settings], etas: Array, masses: Array, n_updates: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Work.rates (k, n_batches) and Work.steps (k or 1, n_batches, 3): what kernels need to know of each batch.

    etas     f8 (k, n_batches)        in   learning rates
    masses   f8 (k or 1, n_batches)   in   what the samples of each batch weigh together
    """
    first, rates = settings[0], etas
    decays = np.array([[each.decay] for each in settings])
    decays = decays[:1] if np.all(decays == decays[0]) else decays
    if first.decay_per_batch:
        decays = decays / masses
    if first.optimizer in (ADAM, ADAMW):
        t = n_updates + 1.0 + np.arange(etas.shape[1])
        beta_1, beta_2 = np.array([[(each.beta_1, each.beta_2)] for each in settings]).transpose(2, 0, 1)
        rates = etas * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
    coupled, shrink = decays, np.ones((1, 1))
    if first.optimizer == ADAMW:
        coupled, shrink = np.zeros((1, 1)), 1.0 - etas * decays
    columns = np.broadcast_arrays(1.0 / masses, coupled, shrink, np.empty((1, etas.shape[1])))[:3]
    return rates.astype(np.float32), np.stack(columns, axis=-1).astype(np.float32)
