"""From arrays as scikit-learn keeps them to an engine, and back: weights, samples, targets.

scikit-learn keeps one array per layer, an engine the vector theta = W[1], b[1], W[2], b[2], ... Whatever comes in is
brought into one of two forms, C-contiguous float32 or float64, so that no kernel is compiled for a third.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from ..kernels import CsrRows, Engine, Settings, Split, open_engine

__all__ = ["Shape", "Targets", "bytes_of", "engine_for", "samples"]

ENGINE = "fused"
LARGE = 1 << 20  # values from which on it pays to look whether they are pixels
Array = NDArray[Any]

ACTIVATIONS = {"logistic": "sigmoid", "exp": "exponential"}  # where scikit-learn has another name
COSTS = {
    "softmax": "cross_entropy",
    "logistic": "binary_cross_entropy",
    "identity": "squared_error",
    "exp": "poisson",
}


class Targets(NamedTuple):
    """What each sample should give: sample i the row `table[rows[i]]`."""

    rows: NDArray[np.int32]  # (n,)
    table: Array  # f8 (n_rows, n_outputs)

    def dense(self, which: Array | slice) -> Array:
        """The targets of some samples, (n, n_outputs)."""
        return np.asarray(self.table[self.rows[which]])


@dataclass(frozen=True)
class Shape:
    """What engines ask of a network. Unlike `fastbp.Network` it has no upper limit of units: texts have many features.

    activations : names of scikit-learn, one per layer after the input
    """

    sizes: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def activations(self) -> tuple[str, ...]:
        return tuple(ACTIVATIONS.get(name, name) for name in self.names)

    @property
    def cost(self) -> str:
        return COSTS[self.names[-1]]

    def layers_of(self, theta: Array) -> list[tuple[Array, Array]]:
        """Views (W, b) into theta, one pair per layer: W (n_in, n_out), b (n_out,)."""
        pairs, start = [], 0
        for n_in, n_out in pairwise(self.sizes):
            middle, end = start + n_in * n_out, start + (n_in + 1) * n_out
            pairs.append((theta[start:middle].reshape(n_in, n_out), theta[middle:end]))
            start = end
        return pairs

    def theta_of(self, coefs: Sequence[Array], intercepts: Sequence[Array], dtype: Any) -> Array:
        """One vector, in the order of engines."""
        parts = [part.ravel() for pair in zip(coefs, intercepts, strict=True) for part in pair]
        return np.concatenate(parts).astype(dtype, copy=False)

    def arrays_of(self, theta: Array) -> tuple[list[Array], list[Array]]:
        """coefs_ and intercepts_, copies."""
        layers = self.layers_of(theta)
        return [W.copy() for W, _ in layers], [b.copy() for _, b in layers]

    def weights_squared(self, theta: Array) -> float:
        """The sum of W^2, without biases."""
        return float(sum(np.vdot(W, W) for W, _ in self.layers_of(theta)))


def samples(X: Any, dtype: Any) -> Any:
    """X in one of the two forms, (n, n_features): a C-contiguous array, or a CSR matrix without duplicates."""
    if not issparse(X):
        return np.require(X, np.dtype(dtype), ["C", "A"])
    X = X.tocsr()
    X = X.astype(dtype) if X.dtype != dtype else X
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def bytes_of(X: Any) -> tuple[Any, float]:
    """(uint8 array, scale) where X is scale times whole numbers from 0 to 255, as pixels are; else (X, 1.0).

    Bytes take the fastest path: an epoch of MNIST takes 0.8 of the time of the same numbers as float32 or float64.
    Small arrays stay as they are: looking might compile, which would take longer than it saves.
    """
    if issparse(X) or X.size < LARGE:
        return X, 1.0
    from ..kernels.pixels import pixels_of

    return pixels_of(X) or (X, 1.0)


def _rows(X: Any) -> Any:
    if not issparse(X):
        return X
    return CsrRows(
        np.ascontiguousarray(X.data),
        np.ascontiguousarray(X.indices, dtype=np.int32),
        np.ascontiguousarray(X.indptr, dtype=np.int64),
        X.shape[1],
    )


def engine_for(
    shape: Shape, theta: Array, X: Any, targets: Targets, weights: Array | None, settings: Settings, threads: int
) -> Engine:
    """An engine that holds all samples; X comes from `samples`, theta says in which precision everything is.

    weights   f4|f8 (n,) or None   how much each sample counts
    """
    dtype = theta.dtype
    rows = np.ascontiguousarray(targets.rows, dtype=np.int32)
    table = np.ascontiguousarray(targets.table, dtype=dtype)
    if weights is not None:
        weights = np.ascontiguousarray(weights, dtype=dtype)
    X, x_scale = bytes_of(X)
    train = Split(_rows(X), rows, table, weights)
    nothing = Split(_rows(X[:0]), rows[:0], table, None)
    return open_engine(
        shape, theta, train, nothing, settings, x_scale=x_scale, classes=False, engine=ENGINE, threads=threads
    )
