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
from .entries import ENTRIES, count_bytes, cut_entries, pack_bytes, pack_columns, pack_csr, pack_rows
from .layout import SPARE_ROWS, Plan, Samples
from .protocol import CsrRows, Split
from .simd import VECTOR_BYTES

__all__ = ["Inputs", "cut_rows", "order_inputs", "pack_splits"]

# Inputs of which a larger share is nonzero are cheaper as a dense array: the best share lies between 0.4 and 0.5 for
# 784-16-16-10 and 784-128-10. A batch of 10 moves every dense row of W as often as one of 32, for less work.
DENSE_SHARE = 0.4
ENTRY_COST = 4.5  # what an entry costs in the backward pass, in multiples of a dense input
SAMPLED_ROWS = 4096
SLACK = 1.05  # room for entries, in multiples of what the sampled rows let expect


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
    n, n_in = x.shape
    everything = np.arange(n_in)
    if isinstance(x, CsrRows):
        shares = np.bincount(x.indices[: x.indptr[-1]], minlength=n_in) / max(n, 1)
    else:
        some = x[:: max(1, n // SAMPLED_ROWS)]
        shares = np.count_nonzero(some, axis=0) / max(len(some), 1)
    fits = isinstance(x, CsrRows) or x.dtype != np.uint8 or n_in + SPARE_ROWS <= 1 << 16
    if layout == "sparse" and not fits:
        raise UsageError(
            f"sparse input of bytes takes at most {(1 << 16) - SPARE_ROWS} features, got {n_in}; use dense"
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


class Packed(NamedTuple):
    """The inputs of some samples, as `Samples` has them."""

    x: NDArray[Any]
    entries: NDArray[Any]
    values: NDArray[Any]
    starts: NDArray[Any]  # i8 (n + 1,) where the entries of each sample start


def _pack(split: Split, x_scale: float, inputs: Inputs, entry_rows: NDArray[Any], dtype: Any) -> Samples:
    """The dense inputs, the entries and the padded targets of one split."""
    x, y, targets, weights = split
    n, n_in = x.shape
    n_parts = len(entry_rows) - 1
    lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
    if isinstance(x, CsrRows):
        packed = _pack_csr(x, inputs, dtype)
    elif inputs.n_dense == n_in:
        starts, unused = (
            np.zeros(n + 1, dtype=np.int64),
            np.zeros(1, dtype=np.uint32 if x.dtype == np.uint8 else np.uint16),
        )
        packed = Packed(x.reshape(-1), unused, np.zeros(1, dtype=x.dtype), starts)
    else:
        packed = _pack_bytes(x, inputs) if x.dtype == np.uint8 else _pack_rows(x, inputs)
    cuts = packed.starts
    if n_parts > 1:
        cuts = np.zeros(n * n_parts + 1, dtype=np.int64)
        cut_entries(packed.entries, packed.values, packed.starts, entry_rows, cuts)
    padded = np.zeros((len(targets), -(-targets.shape[1] // lanes) * lanes), dtype=dtype)
    padded[:, : targets.shape[1]] = targets
    return Samples(
        x=_frozen(packed.x),
        entries=packed.entries,
        values=packed.values,
        cuts=cuts,
        y=_frozen(y),
        targets=padded.reshape(-1),
        scale=float(x_scale),
        sparse=inputs.n_dense < n_in,
        weighted=weights is not None,
        weights=_frozen(np.ones(1) if weights is None else weights.astype(np.float64)),
    )


def _pack_bytes(x: NDArray[Any], inputs: Inputs) -> Packed:
    (n, n_in), n_dense = x.shape, inputs.n_dense
    dense = np.empty(n * n_dense, dtype=np.uint8)
    pack_columns(_frozen(x), inputs.order[:n_dense], dense)
    mask, rows = np.zeros(-(-n_in // 8) * 8, dtype=np.uint8), np.zeros(-(-n_in // 8) * 8, dtype=np.uint32)
    mask[inputs.order[n_dense:]] = 0xFF
    rows[inputs.order] = np.arange(n_in)
    words, mask = _words(x), _words(mask[None])[0]
    starts = np.zeros(n + 1, dtype=np.int64)
    count_bytes(words, mask, starts)
    entries = np.empty(int(starts[-1]) + 1, dtype=np.uint32)
    pack_bytes(words, mask, rows, n_in, starts, entries)
    return Packed(dense, entries, np.zeros(1, dtype=np.uint8), starts)


def _pack_rows(x: NDArray[Any], inputs: Inputs) -> Packed:
    (n, n_in), n_dense = x.shape, inputs.n_dense
    dense = np.empty(n * n_dense, dtype=x.dtype)
    starts = np.zeros(n + 1, dtype=np.int64)
    order = inputs.order.astype(np.uint64)
    expected = float(inputs.shares[n_dense:].sum()) + ENTRIES / 2  # entries of a sample
    longest = n_in - n_dense + ENTRIES
    entries, values = np.empty(0, dtype=_row_type(n_in)), np.empty(0, dtype=x.dtype)
    done, used = 0, 0
    while done < n:
        if done:  # there are more of them than expected
            expected = max(expected, used / done)
        room = used + int(SLACK * expected * (n - done)) + 2 * longest
        entries, values = _enlarged(entries, used, room), _enlarged(values, used, room)
        done = pack_rows(_frozen(x), order, np.uint64(n_dense), done, starts, dense, entries, values)
        used = int(starts[done])
    return Packed(dense, entries, values, starts)


def _row_type(n_in: int) -> Any:
    return np.uint16 if n_in + SPARE_ROWS <= 1 << 16 else np.uint32


def _enlarged(array: NDArray[Any], used: int, size: int) -> NDArray[Any]:
    """A longer array with the same first elements; what is not used takes no memory."""
    larger = np.empty(size, dtype=array.dtype)
    larger[:used] = array[:used]
    return larger


def _pack_csr(x: CsrRows, inputs: Inputs, dtype: Any) -> Packed:
    (n, n_in), n_dense = x.shape, inputs.n_dense
    n_data = int(x.indptr[-1])  # SciPy's arrays may be longer
    data, indices = np.asarray(x.data[:n_data], dtype=dtype), np.asarray(x.indices[:n_data], dtype=np.int32)
    numbers = np.repeat(np.arange(n), np.diff(x.indptr))
    if np.any((np.diff(indices) < 0) & (np.diff(numbers) == 0)):
        ascending = np.lexsort((indices, numbers))
        data, indices = data[ascending], indices[ascending]
    rows = np.empty(n_in, dtype=np.int64)
    rows[inputs.order] = np.arange(n_in)
    starts = np.zeros(n + 1, dtype=np.int64)
    dense = np.zeros(n * n_dense, dtype=dtype)
    entries, values = (np.empty(len(data) + ENTRIES * n, dtype=kind) for kind in (_row_type(n_in), dtype))
    given = (np.ascontiguousarray(array) for array in (data, indices, np.asarray(x.indptr, dtype=np.int64)))
    pack_csr(*map(_frozen, given), rows, n_dense, starts, dense, entries, values)
    return Packed(dense, entries, values, starts)


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
