"""The forward pass of a fitted estimator on any array, and the mean cost of its outputs, in NumPy.

Training is the engines' part; what is here serves `predict`, validation and callbacks, in the precision of the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, xlogy
from sklearn.utils.extmath import safe_sparse_dot

from ..kernels.codes import LEAKY_SLOPE

__all__ = ["mean_loss", "network_outputs"]

Array = NDArray[Any]


def network_outputs(X: Any, coefs: Sequence[Array], intercepts: Sequence[Array], names: Sequence[str]) -> Array:
    """Activations of the output layer, (n_samples, n_outputs)

    X       array or sparse matrix (n_samples, n_features)
    names   activation of each layer after the input, in scikit-learn's words
    """
    a = X
    for W, b, name in zip(coefs, intercepts, names, strict=True):
        a = safe_sparse_dot(a, W, dense_output=True)
        a += b
        _activate(a, name)
    return np.asarray(a)


def _activate(z: Array, name: str) -> None:
    """a = f(z), in place"""
    if name == "relu":
        np.maximum(z, 0, out=z)
    elif name == "leaky_relu":
        np.multiply(z, LEAKY_SLOPE, out=z, where=z < 0)
    elif name == "tanh":
        np.tanh(z, out=z)
    elif name == "logistic":
        expit(z, out=z)
    elif name == "exp":
        np.exp(z, out=z)
    elif name == "softmax":
        z -= z.max(axis=1, keepdims=True)
        np.exp(z, out=z)
        z /= z.sum(axis=1, keepdims=True)


def mean_loss(y: Array, outputs: Array, out_activation: str, weights: Array | None) -> float:
    """The cost per sample as scikit-learn reports it: of several regression outputs the mean, of others the sum

    y, outputs   f4|f8 (n, n_outputs)
    weights      f4|f8 (n,) or None
    """
    if out_activation == "identity":
        costs = 0.5 * np.square(y - outputs).mean(axis=1)
    elif out_activation == "exp":
        costs = (xlogy(y, y / outputs) - y + outputs).sum(axis=1)
    else:
        eps = np.finfo(outputs.dtype).eps
        p = np.clip(outputs, eps, 1 - eps)
        costs = -xlogy(y, p).sum(axis=1)
        if out_activation == "logistic":
            costs -= xlogy(1 - y, 1 - p).sum(axis=1)
    return float(np.average(costs, weights=weights))
