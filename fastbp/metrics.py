"""How good a network is: accuracy, the confusion matrix, and the record that each epoch of training leaves.

Class numbers come in, plain numbers go out. Refused: arrays whose lengths differ, numbers that are no class. The cost
of a network is measured by `fastbp.model.Model.evaluate`. NumPy only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import UsageError

__all__ = ["EpochRecord", "accuracy", "best_record", "confusion_matrix", "judging_cost"]


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """What one epoch did.

    Attributes
    ----------
    epoch : int
        the first is 1
    loss : float
        mean training cost per sample while the weights were changing, without decay; weighted where samples are. With
        lbfgs at the end of the epoch
    train_accuracy, test_accuracy, validation_accuracy : float or None
        shares from 0 to 1 after the epoch; None where they were not measured, or for target values
    validation_loss : float or None
        mean cost per validation sample after the epoch, without decay; None without such samples
    learning_rate : float or None
        of the first batch of the epoch; None with lbfgs
    seconds : float
        spent on training alone
    samples_per_second : float
        a sample counts as often as it was visited

    Examples
    --------
    >>> EpochRecord(
    ...     epoch=1, loss=0.5, train_accuracy=None, test_accuracy=0.9, learning_rate=1.0, seconds=2.0,
    ...     samples_per_second=30_000.0,
    ... ).as_dict()["test_accuracy"]
    0.9
    """

    epoch: int
    loss: float
    train_accuracy: float | None
    test_accuracy: float | None
    learning_rate: float | None
    seconds: float
    samples_per_second: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """All fields by name, JSON-ready."""
        return dict(vars(self))


def judging_cost(record: EpochRecord) -> float:
    """What an epoch is judged by: its validation cost; without validation samples, its training cost."""
    return record.loss if record.validation_loss is None else record.validation_loss


def best_record(history: Iterable[EpochRecord]) -> EpochRecord | None:
    """The record with the lowest validation cost, the first of equals; without such costs, the lowest training cost.

    What is no finite number counts as not measured; None where nothing is.
    """
    records = list(history)
    for name in ("validation_loss", "loss"):
        measured = [each for each in records if (cost := getattr(each, name)) is not None and math.isfinite(cost)]
        if measured:
            return min(measured, key=attrgetter(name))
    return None


def accuracy(predicted: ArrayLike, labels: ArrayLike) -> float:
    """The share of predictions that equal their label, from 0 to 1.

    Parameters
    ----------
    predicted, labels : (n,) class numbers

    Raises
    ------
    UsageError
        lengths that differ, no samples, anything but whole numbers

    Examples
    --------
    >>> accuracy([3, 1, 4, 1], [3, 1, 4, 7])
    0.75
    """
    guesses, truth = _pair(predicted, labels)
    return int((guesses == truth).sum()) / len(truth)


def confusion_matrix(predicted: ArrayLike, labels: ArrayLike, n_classes: int) -> NDArray[np.int64]:
    """How often class `row` was taken for class `column`.

    Parameters
    ----------
    predicted, labels : (n,) class numbers from 0 to n_classes - 1
    n_classes : int

    Returns
    -------
    counts : (n_classes, n_classes) int64
        rows are the true classes, columns the predicted ones; they sum to n

    Raises
    ------
    UsageError
        lengths that differ, no samples, a number that is no class

    Examples
    --------
    >>> confusion_matrix([0, 1, 1], [0, 0, 1], 2)
    array([[1, 1],
           [0, 1]])
    """
    guesses, truth = _pair(predicted, labels)
    for what, numbers in (("predicted", guesses), ("labels", truth)):
        if numbers.min() < 0 or numbers.max() >= n_classes:
            wrong = numbers.min() if numbers.min() < 0 else numbers.max()
            raise UsageError(f"{what} holds the class {wrong}; classes run from 0 to {n_classes - 1}")
    cells = truth.astype(np.int64) * n_classes + guesses.astype(np.int64)
    return np.bincount(cells, minlength=n_classes * n_classes).reshape(n_classes, n_classes).astype(np.int64)


def _pair(predicted: ArrayLike, labels: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both as vectors of whole numbers of one length above 0."""
    guesses, truth = np.asarray(predicted), np.asarray(labels)
    for what, numbers in (("predicted", guesses), ("labels", truth)):
        if numbers.ndim != 1 or (len(numbers) and numbers.dtype.kind not in "bui"):
            raise UsageError(
                f"{what} must be a vector of class numbers, got shape {numbers.shape} and dtype {numbers.dtype}"
            )
    if len(guesses) != len(truth):
        raise UsageError(f"predicted has {len(guesses)} class numbers and labels has {len(truth)}; they must be equal")
    if len(truth) == 0:
        raise UsageError("there are no samples to compare; at least 1 is needed")
    return guesses, truth
