"""What a run's report says of the model's answers: which class is taken for which, the surest mistakes, or the errors.

`Answers` and the data they belong to come in, values ready for JSON go out, small enough for a page: a confusion matrix
as its cells that are not 0, at most a hundred mistakes with their samples, at most some hundreds of target values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset
from ..model import Model
from ..runs.mistakes import Answers
from .model_page import is_share
from .parts import numbers

__all__ = ["described_answers", "rounded"]

Array = NDArray[Any]

MOST_MISTAKES = 100
MOST_SAMPLE_BYTES = 120_000  # of all mistakes together
MOST_CLASSES = 128  # of a matrix; of more, the most frequent confusions are named
MOST_CELLS = 1000  # where there is no matrix
MOST_FEATURES = 12  # columns of a table
MOST_POINTS = 600
MOST_ERRORS = 30


def described_answers(answers: Answers, model: Model, dataset: Dataset) -> dict[str, Any]:
    """The answers as templates/report.js reads them.

    Parameters
    ----------
    answers : Answers
        of `model` to samples of `dataset`
    model : Model
    dataset : Dataset
    """
    common = {"split": answers.split, "n": len(answers.y), "classNames": list(model.class_names)}
    if model.is_regression:
        return {**common, **_values(answers, dataset)}
    return {**common, **_classes(answers, model, dataset)}


def rounded(values: Iterable[float | None]) -> list[float | None]:
    """Numbers with six digits, which is what people read and a page has room for; None for those that are not finite.

    Examples
    --------
    >>> rounded([0.123456789, None, float("nan"), 2])
    [0.123457, None, None, 2.0]
    """
    return [None if v is None or not math.isfinite(v) else float(f"{v:.6g}") for v in values]


def _classes(answers: Answers, model: Model, dataset: Dataset) -> dict[str, Any]:
    """The cells beside the diagonal that are not 0, the most frequent first, and the mistakes."""
    n, y = answers.n_classes, answers.y.astype(np.int64)
    codes, counts = np.unique(y * n + answers.predicted, return_counts=True)
    off = codes // n != codes % n
    order = np.argsort(-counts[off], kind="stable")
    cells = np.stack([codes[off] // n, codes[off] % n, counts[off]], axis=1)[order]
    matrix = n <= MOST_CLASSES
    return {
        "percent": is_share(model),
        "matrix": matrix,
        "totals": np.bincount(y, minlength=n).tolist(),
        "right": np.bincount(y[answers.predicted == y], minlength=n).tolist(),
        "wrong": int(counts[off].sum()),
        "cells": (cells if matrix else cells[:MOST_CELLS]).ravel().tolist(),
        "mistakes": _mistakes(answers, model, dataset),
    }


def _mistakes(answers: Answers, model: Model, dataset: Dataset) -> dict[str, Any]:
    """The samples that are kept, the surest mistake first, with what was answered and how sure that was."""
    y, answered = answers.y.astype(np.int64), answers.predicted
    n_bytes = max(answers.x.dtype.itemsize * answers.x.shape[1], 1)
    most = min(MOST_MISTAKES, max(MOST_SAMPLE_BYTES // n_bytes, 1)) if model.image_shape else MOST_MISTAKES
    rows = _kept(answers.mistakes(len(y)), y * answers.n_classes + answered, most)
    outputs, each = _outputs_of_classes(answers.outputs[rows], model), np.arange(len(rows))
    return {
        "rows": rows.tolist(),
        "truth": y[rows].tolist(),
        "answered": answered[rows].tolist(),
        "outputs": rounded(outputs[each, answered[rows]].tolist()),
        "trueOutputs": rounded(outputs[each, y[rows]].tolist()),
        **(_pictures(answers.x[rows], model) if model.image_shape else _features(answers.x[rows], dataset)),
    }


def _kept(order: Array, cells: Array, most: int) -> Array:
    """At most so many mistakes in their order: the surest half, then the first of each cell that has none yet.

    The most frequent of these cells come first. What room is left goes to the next surest.
    """
    first, later = order[: most // 2], order[most // 2 :]
    places = np.arange(len(order))
    _, where, counts = np.unique(cells[later], return_index=True, return_counts=True)
    new = ~np.isin(cells[later[where]], cells[first])
    others = where[new][np.argsort(-counts[new], kind="stable")] + len(first)
    ranked = np.concatenate([places[: len(first)], others, np.setdiff1d(places[len(first) :], others)])
    return np.asarray(order[np.sort(ranked[:most])])


def _outputs_of_classes(outputs: Array, model: Model) -> Array:
    """One output for each class: the one that tells two classes apart becomes two."""
    if outputs.shape[1] == len(model.class_names):
        return outputs
    return np.concatenate([1 - outputs if is_share(model) else -outputs, outputs], axis=1)


def _pictures(x: Array, model: Model) -> dict[str, Any]:
    """Samples as pixels: bytes where they are such, and else the numbers that the model is given."""
    dtype = "uint8" if x.dtype == np.uint8 else "float32" if np.array_equal(x.astype(np.float32), x) else "float64"
    height, width = model.image_shape or (0, 0)
    return {"height": height, "width": width, "pixels": numbers(x, dtype)}


def _features(x: Array, dataset: Dataset) -> dict[str, Any]:
    """Samples as lines of a table, of which the first columns are shown."""
    shown = x[:, :MOST_FEATURES]
    return {
        "features": _feature_names(dataset)[:MOST_FEATURES],
        "more": x.shape[1] - shown.shape[1],
        "values": [rounded(row) for row in shown.tolist()],
    }


def _feature_names(dataset: Dataset) -> list[str]:
    return list(dataset.feature_names) or [f"feature {k}" for k in range(1, dataset.n_features + 1)]


def _values(answers: Answers, dataset: Dataset) -> dict[str, Any]:
    """True and predicted target values: how far apart they are, some of them as points, and the largest errors."""
    truth, predicted = answers.y, answers.predicted
    n, n_outputs = truth.shape
    errors = predicted - truth
    deviation = truth.std(axis=0)
    share = np.abs(errors) / np.where(deviation > 0, deviation, 1.0)
    worst = np.argsort(-share.max(axis=1), kind="stable")[:MOST_ERRORS]
    points = np.union1d(np.linspace(0, n - 1, min(n, MOST_POINTS)).astype(np.int64), worst)
    squares = (errors**2).mean(axis=0)
    return {
        "outputs": [
            {
                "name": "value" if n_outputs == 1 else f"value {j + 1}",
                "rmse": rounded([float(squares[j] ** 0.5)])[0],
                "mae": rounded([float(np.abs(errors[:, j]).mean())])[0],
                "r2": rounded([1 - float(squares[j]) / float(deviation[j]) ** 2])[0] if deviation[j] > 0 else None,
                "truth": rounded(truth[points, j].tolist()),
                "predicted": rounded(predicted[points, j].tolist()),
            }
            for j in range(n_outputs)
        ],
        "errors": {
            "rows": worst.tolist(),
            "truth": [rounded(row) for row in truth[worst].tolist()],
            "predicted": [rounded(row) for row in predicted[worst].tolist()],
            **_features(answers.x[worst], dataset),
        },
    }
