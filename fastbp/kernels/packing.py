"""From samples as users have them to samples as the fused kernels take them; see `layout` for the form.

Which inputs are dense and which become entries depends on the data and on the batch size alone, never on a clock: the
order of summation follows from it, and with it the last bits of every result.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .layout import SPARE_ROWS, Plan, Samples, count_entries, cut_entries, pack_columns, pack_entries
from .protocol import CsrRows, Split
from .simd import VECTOR_BYTES

__all__ = ["Inputs", "cut_rows", "order_inputs", "pack_splits"]

# Inputs of which a larger share is nonzero are cheaper as a dense array: the best share lies between 0.4 and 0.5 for
# 784-16-16-10 and 784-128-10. A batch of 10 moves every dense row of W as often as one of 32, for less work.
DENSE_SHARE = 0.4
ENTRY_COST = 4.5  # what an entry costs in the backward pass, in multiples of a dense input
SAMPLED_ROWS = 4096


class Inputs(NamedTuple):
    """Which inputs are dense and which become entries, measured on some of the samples."""

    order: NDArray[Any]  # i8 (n_in,) first the dense ones
    n_dense: int
    shares: NDArray[Any]  # f8 (n_in,) how often each is nonzero, in this order

    @property
    def density(self) -> float:
        """The share of nonzero values."""
        return float(self.shares.mean())


def order_inputs(x: NDArray[Any] | CsrRows, layout: str, lanes: int, batch_size: int) -> Inputs:
    """Choose the layout: auto, sparse or dense."""
    if isinstance(x, CsrRows):
        n, n_in = x.shape
        return Inputs(np.arange(n_in), n_in, np.bincount(x.indices, minlength=n_in) / max(n, 1))
    n_in = x.shape[1]
    some = x[:: max(1, len(x) // SAMPLED_ROWS)]
    shares = np.count_nonzero(some, axis=0) / max(len(some), 1)
    everything = np.arange(n_in)
    fits = x.dtype == np.uint8 and (n_in + SPARE_ROWS) * lanes <= 0xFFFF + 1
    if layout == "sparse" and not fits:
        raise UsageError(
            f"sparse input takes bytes and at most {0x10000 // lanes - SPARE_ROWS} features, "
            f"got {x.dtype} and {n_in}; use dense"
        )
    if layout == "dense" or not fits:
        return Inputs(everything, n_in, shares)
    if layout == "sparse":
        return Inputs(everything, 0, shares)
    limit = DENSE_SHARE + 2.0 / batch_size
    n_lit = int(np.sum(shares > limit))
    if n_lit > 0.9 * n_in:
        return Inputs(everything, n_in, shares)
    n_dense = n_lit // lanes * lanes
    dense = np.sort(np.argsort(-shares, kind="stable")[:n_dense])
    order = np.concatenate([dense, np.setdiff1d(everything, dense)])
    return Inputs(order, n_dense, shares[order])


def cut_rows(plan: Plan, inputs: Inputs, lanes: int, n_parts: int) -> NDArray[Any]:
    """(n_parts + 1,) int64: the rows of the sparse inputs, cut so that all parts of the weights cost about the same.

    The rows of dense inputs and of later layers are cut evenly, in whole vectors; see `fused.bound`.
    """
    parts = np.arange(n_parts + 1)
    blocks = -(-plan.sizes[:-1, None] // lanes) * parts // n_parts  # (n_layers - 1, n_parts + 1)
    panels = plan.padded[1:, None] // lanes
    others = (np.diff(blocks, axis=1) * lanes * panels).sum(axis=0)
    sparse = np.append(ENTRY_COST * inputs.shares[inputs.n_dense :] * panels[0], 0.0)
    wanted = np.maximum((others.sum() + sparse.sum()) / n_parts - others, 0.0)
    ends = np.cumsum(wanted) / max(wanted.sum(), 1e-9) * sparse.sum()
    cuts = inputs.n_dense + np.searchsorted(np.cumsum(sparse), ends[:-1])
    return np.concatenate([[inputs.n_dense], cuts, [plan.rows[0]]]).astype(np.int64)


def pack_splits(
    train: Split,
    test: Split,
    x_scale: float,
    inputs: Inputs,
    entry_rows: NDArray[Any],
    dtype: Any,
    shared: dict[Any, Any] | None = None,
) -> dict[str, Samples]:
    """{"train": Samples, "test": Samples}; from `shared`, where these arrays have been packed like this before."""
    arrays = (*train, *test)
    key = (*map(id, arrays), x_scale, inputs.n_dense, entry_rows.tobytes(), str(dtype))
    found = shared.get(key) if shared is not None else None
    if found is None:
        splits = {"train": train, "test": test}
        packed = {name: _pack(split, x_scale, inputs, entry_rows, dtype) for name, split in splits.items()}
        found = (packed, arrays)  # the arrays stay alive as long as their ids are used
        if shared is not None:
            shared[key] = found
    samples: dict[str, Samples] = found[0]
    return samples


def _pack(split: Split, x_scale: float, inputs: Inputs, entry_rows: NDArray[Any], dtype: Any) -> Samples:
    """The dense inputs, the entries and the padded targets of one split."""
    x, y, targets, weights = split
    n, n_in = x.shape
    n_dense, n_parts = inputs.n_dense, len(entry_rows) - 1
    lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
    starts = np.zeros(n + 1, dtype=np.int64)
    cuts = np.zeros(n * n_parts + 1, dtype=np.int64)
    entries = np.empty(1, dtype=np.uint32)
    values = np.empty(1, dtype=dtype)
    if isinstance(x, CsrRows):
        dense = np.empty(0, dtype=dtype)
        entries, values = x.indices.astype(np.uint32), np.ascontiguousarray(x.data, dtype=dtype)
        cuts[:-1], cuts[-1] = np.repeat(x.indptr[:-1], n_parts), x.indptr[-1]
    elif n_dense == n_in:
        dense = x.reshape(-1)
    else:
        dense = np.empty(n * n_dense, dtype=np.uint8)
        pack_columns(_frozen(x), inputs.order[:n_dense], dense)
        mask, places = np.zeros(-(-n_in // 8) * 8, dtype=np.uint8), np.zeros(-(-n_in // 8) * 8, dtype=np.uint32)
        mask[inputs.order[n_dense:]] = 0xFF
        places[inputs.order] = np.arange(n_in) * lanes
        words = _words(x)
        count_entries(words, _words(mask[None])[0], starts)
        entries = np.empty(int(starts[-1]) + 1, dtype=np.uint32)
        pack_entries(words, _words(mask[None])[0], places, n_in, lanes, starts, entries)
        cuts = starts if n_parts == 1 else cuts
        if n_parts > 1:
            cut_entries(entries, starts, entry_rows * lanes, cuts)
    padded = np.zeros((len(targets), -(-targets.shape[1] // lanes) * lanes), dtype=dtype)
    padded[:, : targets.shape[1]] = targets
    return Samples(
        x=_frozen(dense),
        entries=entries,
        cuts=cuts,
        y=_frozen(y),
        targets=padded.reshape(-1),
        scale=float(x_scale),
        sparse=n_dense < n_in,
        scattered=isinstance(x, CsrRows),
        values=_frozen(values),
        weighted=weights is not None,
        weights=_frozen(np.ones(1) if weights is None else weights.astype(np.float64)),
    )


def _words(x: NDArray[Any]) -> NDArray[Any]:
    """Rows of bytes as uint64, the first byte of eight in the lowest place."""
    if x.shape[1] % 8:
        x = np.pad(x, ((0, 0), (0, -x.shape[1] % 8)))
    words = x.view(np.uint64)
    return _frozen(words.byteswap() if sys.byteorder == "big" else words)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view. Memory-mapped data is read-only, and Numba would compile each kernel for both kinds."""
    view = array.view()
    view.flags.writeable = False
    return view
