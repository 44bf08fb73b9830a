"""Which samples train, which ones validate, and how much each of them counts.

A dataset, and perhaps validation samples and sample weights of the caller's own, come in; rows and weights go out.
Refused: weights that are no weights, shares that leave no sample. The test samples are not looked at. NumPy only.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .config import Config
from .data.dataset import Dataset
from .errors import DataError, UsageError
from .streams import permutation, stream_key

__all__ = ["Samples", "balanced_weights", "checked_weights", "divide", "hold_out"]

MOST_WEIGHT = 1e12  # only ratios matter, and sums of weights stay finite in float32

Rows = NDArray[np.int64]
Weights = NDArray[np.float64]


class Samples(NamedTuple):
    """Samples, their targets, and how much each counts; None: all the same."""

    x: NDArray[Any]  # (n, n_features)
    y: NDArray[Any]  # (n,) class numbers, or (n, n_outputs) values
    weights: Weights | None = None  # (n,)


def divide(
    data: Dataset, config: Config, validation_data: Any = None, sample_weight: ArrayLike | None = None
) -> tuple[Samples, Samples | None]:
    """The training samples and the validation samples (None: there are none).

    Parameters
    ----------
    data : Dataset
    config : Config
        `validation`, `class_weight`, `seed`
    validation_data : (x, y), optional
        like x_train and y_train of the dataset
    sample_weight : array-like (n_train,), optional
        at least 0; a sample of weight 0 is left out, as if it were not there

    Raises
    ------
    UsageError, DataError
        what does not fit, by name

    Notes
    -----
    Weights hold for held-out samples, too: what is measured there is the cost that is minimised. Samples of
    `validation_data` have the weight of their class.
    """
    train = Samples(data.x_train, data.y_train)
    if sample_weight is not None:
        weights = checked_weights(sample_weight, len(train.y))
        train = _rows(train._replace(weights=weights), np.flatnonzero(weights)) if not weights.all() else train
        train = train._replace(weights=weights[weights > 0])
    validation = None
    if validation_data is not None:
        if config.validation:
            raise UsageError(
                "validation holds training samples out, and validation_data brings others; give one of them"
            )
        validation = _checked_validation(validation_data, data)
    elif config.validation:
        kept, held = hold_out(train.y, config.validation, config.seed)
        train, validation = _rows(train, kept), _rows(train, held)
    elif config.patience is not None:
        raise UsageError(
            "patience waits for a lower validation cost, and there are no validation samples; "
            "set validation to a share of the training samples"
        )
    if config.class_weight == "balanced":
        if data.is_regression:
            raise UsageError(f"class_weight balanced is for classes, but {data.name} has target values; leave it out")
        of_class = balanced_weights(train.y, data.n_classes, train.weights)
        train = _weighted(train, of_class)
        validation = validation and _weighted(validation, of_class)
    return train, validation


def hold_out(y: NDArray[Any], fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Rows to train on and rows to validate on, each in the order of the data.

    Of every class about the same share is held out, and never all of it; of values a random share.

    Parameters
    ----------
    y : (n,) class numbers, or (n, n_outputs) values
    fraction : float
        of the n samples, to the nearest whole number
    seed : int
        other seeds hold other samples out

    Raises
    ------
    UsageError
        a share of less than one sample, or one that leaves a class or the training without samples

    Examples
    --------
    >>> y = np.array([0] * 8 + [1] * 4)
    >>> kept, held = hold_out(y, 0.25, seed=0)
    >>> np.bincount(y[kept]), np.bincount(y[held])
    (array([6, 3]), array([2, 1]))
    """
    n = len(y)
    n_held = round(n * fraction)
    order = permutation(stream_key(seed, "split", 1), n)
    if y.ndim == 1:
        # number r of a class of c, in random order, stands at (r + 1/2) / c: the lowest of these are an even share
        labels = y[order]
        counts = np.bincount(labels)
        rank = np.empty(n, dtype=np.int64)
        rank[np.argsort(labels, kind="stable")] = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
        last = rank == counts[labels] - 1
        order = order[np.argsort(np.where(last, 2.0, (rank + 0.5) / counts[labels]), kind="stable")]
        most = n - int(last.sum())
    else:
        most = n - 1
    if not 1 <= n_held <= most:
        raise UsageError(
            f"validation {fraction:g} of {n} samples is {n_held}; between 1 and {most} can be held out, so that some "
            "of every kind are left to train on"
        )
    return np.sort(order[n_held:]), np.sort(order[:n_held])


def checked_weights(weights: ArrayLike, n: int) -> Weights:
    """Sample weights as float64 (n,).

    Raises
    ------
    UsageError
        another length, NaN, numbers below 0 or above 1e12, or nothing above 0

    Examples
    --------
    >>> checked_weights([1, 0.5], 2)
    array([1. , 0.5])
    """
    try:
        values = np.asarray(weights)
    except ValueError:
        values = np.empty(0, dtype=object)
    if values.dtype.kind not in "buif" or values.shape != (n,):
        raise UsageError(
            f"sample_weight must be one number per training sample, shape ({n},), got shape {values.shape} and dtype "
            f"{values.dtype}"
        )
    values = values.astype(np.float64)
    wrong = np.flatnonzero(~((values >= 0) & (values <= MOST_WEIGHT)))
    if len(wrong):
        raise UsageError(
            f"sample_weight must be from 0 to {MOST_WEIGHT:g}, got {values[wrong[0]]:g} for sample {wrong[0]}"
        )
    if not values.any():
        raise UsageError("sample_weight is 0 for all samples; at least one must be above 0")
    return values


def balanced_weights(y: NDArray[Any], n_classes: int, weights: Weights | None = None) -> Weights:
    """w[k] = n / (K n[k]): all K classes that occur weigh the same; the mean weight is 1. scikit-learn's "balanced".

    Parameters
    ----------
    y : (n,) class numbers
    n_classes : int
    weights : (n,), optional
        of the samples; n and n[k] are sums of them

    Returns
    -------
    (n_classes,) float64; 1 for a class that does not occur

    Examples
    --------
    >>> balanced_weights(np.array([0, 0, 0, 1]), 3)
    array([0.66666667, 2.        , 1.        ])
    """
    counts = np.bincount(y, weights, n_classes)
    found = counts > 0
    return np.where(found, counts.sum() / (found.sum() * np.where(found, counts, 1.0)), 1.0)


def _rows(samples: Samples, rows: Rows) -> Samples:
    weights = None if samples.weights is None else samples.weights[rows]
    return Samples(samples.x[rows], samples.y[rows], weights)


def _weighted(samples: Samples, of_class: Weights) -> Samples:
    """Every weight times that of its class."""
    weights = of_class[samples.y]
    return samples._replace(weights=weights if samples.weights is None else weights * samples.weights)


def _checked_validation(pair: Any, data: Dataset) -> Samples:
    """validation_data as samples of the kind that the dataset has."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise UsageError("validation_data must be a pair of arrays, (x, y)")
    y = np.asarray(pair[1])
    if data.is_regression and y.dtype.kind in "bui":
        y = y.astype(np.float64)  # whole numbers are values, too
    try:
        checked = Dataset.from_arrays(pair[0], y, name="validation_data", class_names=data.class_names)
    except DataError as error:
        raise DataError(str(error).replace("x_train", "x").replace("y_train", "y")) from None
    if checked.n_features != data.n_features:
        raise DataError(
            f"validation_data has {checked.n_features} features and {data.name} has {data.n_features}; "
            "they must be equal"
        )
    if checked.y_train.shape[1:] != data.y_train.shape[1:]:
        raise DataError(
            f"validation_data: y has shape {checked.y_train.shape} and the targets of {data.name} have shape "
            f"{data.y_train.shape}; they must be alike"
        )
    return Samples(checked.x_train, checked.y_train)
