"""From what a label column holds to what a network learns: class numbers, or values.

What comes in: labels of the training and the test samples, as texts or numbers. What goes out: int32 class
numbers and the class names, or float64 values (n, n_outputs). What it refuses: missing labels, numbers mixed
with texts, fractions as classes, more than 10,000 classes. Also here: the split into training and test
samples, and when a table of whole numbers is a table of pixels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..streams import permutation, stream_key
from .dataset import Dataset

__all__ = [
    "MAX_CLASSES",
    "NUMBER",
    "Targets",
    "Where",
    "check_labels",
    "encode_targets",
    "pixels",
    "split",
    "whole_bytes",
]

MAX_CLASSES = 10_000
MAX_WHOLE = 2.0**53  # from here on a float64 is not exact
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)

Labels = NDArray[Any]
Where = Callable[[int], str]
"""Names the place of label number i for an error message, such as ``train.csv, line 7``."""


class Targets(NamedTuple):
    """Checked targets: class numbers with names, or values without."""

    y_train: NDArray[Any]
    y_test: NDArray[Any]
    class_names: tuple[str, ...]


def encode_targets(train: Labels, test: Labels, target: str, is_image: bool, places: tuple[Where, Where]) -> Targets:
    """Turn labels into class numbers or values.

    Parameters
    ----------
    train, test : arrays (n,) of str or numbers, or (n, n_outputs) of numbers
    target : str
        classes, values, or auto: texts and whole numbers are classes, numbers with fractions are values.
        Texts are classes whatever is asked for
    is_image : bool
        the samples are pictures: their targets are classes even where values are asked for, and class k is
        label k. Otherwise the classes are the different labels in order, and their names say which is which
    places : pair of functions
        name the place of training and of test label i

    Raises
    ------
    DataError
        naming the place of the first label that does not fit
    """
    if train.ndim == 2 and train.shape[1] == 1 and (test.ndim == 1 or test.shape[1] == 1):
        train, test = train.reshape(-1), test.reshape(-1)
    if train.ndim != 1 or test.ndim != 1:
        if target == "classes" or {train.dtype.kind, test.dtype.kind} - set("buif") or train.ndim != test.ndim:
            raise DataError(
                f"{places[0](0)}: expected one label per sample, got arrays of {train.shape} and {test.shape}"
            )
        return Targets(train.astype(np.float64), test.astype(np.float64), ())
    y_train, y_test = (_numbers(labels, place, target) for labels, place in zip((train, test), places, strict=True))
    all_text = y_train is None and (y_test is None or not len(test))
    if all_text or (target == "classes" and (y_train is None or y_test is None)):
        return _classes(train.astype(np.str_), test.astype(np.str_), places[0])
    if y_train is None or y_test is None:
        found, others = ("a text", "numbers") if y_test is None else ("a number", "texts")
        raise DataError(
            f"{places[1](0)}: the label {str(test[0])[:40]!r} is {found}; those of the training samples are {others}"
        )
    fractions = [
        place(int(row))
        for y, place in ((y_train, places[0]), (y_test, places[1]))
        for row in np.flatnonzero((y % 1 != 0) | (np.abs(y) >= MAX_WHOLE))[:1]
    ]
    if (target == "values" and not is_image) or (target != "classes" and fractions):
        return Targets(y_train.reshape(-1, 1), y_test.reshape(-1, 1), ())
    if fractions:
        raise DataError(
            f"{fractions[0]}: the label is no whole number; classes are whole numbers or texts, values any number"
        )
    if is_image:
        n_classes = max(check_labels(y, place) for y, place in ((y_train, places[0]), (y_test, places[1])))
        return Targets(y_train.astype(np.int32), y_test.astype(np.int32), tuple(map(str, range(n_classes))))
    return _classes(y_train.astype(np.int64), y_test.astype(np.int64), places[0])


def check_labels(labels: NDArray[Any], place: Where, n_classes: int = MAX_CLASSES) -> int:
    """The number of classes that labels 0, 1, ... need; 0 without labels.

    Raises
    ------
    DataError
        a label below 0 or not below n_classes, with its place
    """
    if not len(labels):
        return 0
    wrong = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if len(wrong):
        raise DataError(
            f"{place(int(wrong[0]))} holds the label {int(labels[wrong[0]])}; labels run from 0 to {n_classes - 1}"
        )
    return int(labels.max()) + 1


def _numbers(labels: Labels, place: Where, target: str) -> NDArray[np.float64] | None:
    """Labels as finite numbers, or None where they are texts."""
    if labels.dtype.kind in "buif":
        values = labels.astype(np.float64)
    elif not len(labels):
        return np.empty(0)
    else:
        different, which = np.unique(labels, return_inverse=True)
        texts = different.tolist()
        numeric = [bool(NUMBER.fullmatch(text) or NOT_FINITE.fullmatch(text)) for text in texts]
        if "" in texts:
            raise DataError(
                f"{place(int(np.flatnonzero(which == texts.index(''))[0]))}: no label; fill it in or remove this row"
            )
        if not any(numeric) or (target == "classes" and not all(numeric)):
            return None
        if not all(numeric):
            most_are_numbers = 2 * sum(numeric) >= len(numeric)
            odd = numeric.index(not most_are_numbers)
            raise DataError(
                f"{place(int(np.flatnonzero(which == odd)[0]))}: the label {texts[odd][:40]!r} stands among "
                f"{'numbers' if most_are_numbers else 'texts'}; correct this row (target classes takes all as texts)"
            )
        values = np.array([float(text) for text in texts])[which]
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise DataError(f"{place(int(bad[0]))}: the label is {values[bad[0]]}; every label must be a finite number")
    return values


def _classes(train: Labels, test: Labels, place: Where) -> Targets:
    """Number the different labels in order."""
    names, numbers = np.unique(np.concatenate([train, test]), return_inverse=True)
    if len(names) > MAX_CLASSES:
        raise DataError(f"{place(0)}: {len(names)} different labels; at most {MAX_CLASSES} are accepted as classes")
    if len(names) < 2:
        raise DataError(
            f"{place(0)}: every label is {names[0]}; at least 2 classes are needed. Is it the label column?"
        )
    numbers = numbers.astype(np.int32)
    return Targets(numbers[: len(train)], numbers[len(train) :], tuple(str(name) for name in names))


def whole_bytes(x: NDArray[Any]) -> bool:
    """True where every number is whole and from 0 to 255."""
    if x.dtype == np.uint8 or not x.size:
        return True
    return x.dtype.kind in "uif" and x.min() >= 0 and x.max() <= 255 and not (x % 1).any()


def pixels(x: NDArray[Any]) -> tuple[bool, tuple[int, int] | None]:
    """Whether a table (n, n_features) holds pixels that should stay bytes, and the size of its pictures.

    They stay bytes where there are at least 64 columns of whole numbers from 0 to 255 and the largest is at
    least 128, for then dividing by 255 brings them to 0..1. A square number of columns, 64 or more, of whole
    numbers from 0 to 255 that are not only 0 and 1 is a square picture, also where the numbers are too small
    to stay bytes (8x8 pictures of 0..16 are common).
    """
    if x.shape[1] < 64 or not len(x) or not whole_bytes(x):
        return False, None
    side = math.isqrt(x.shape[1])
    return bool(x.max() >= 128), (side, side) if side * side == x.shape[1] and x.max() > 1 else None


def split(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Set a random share of the training samples aside for testing; both parts keep their order."""
    n = len(dataset.x_train)
    if len(dataset.x_test) or fraction == 0 or n < 2:
        return dataset
    n_test = min(max(round(n * fraction), 1), n - 1)
    order = permutation(stream_key(seed, "split"), n)
    test, train = np.sort(order[:n_test]), np.sort(order[n_test:])
    return Dataset(
        name=dataset.name,
        x_train=dataset.x_train[train],
        y_train=dataset.y_train[train],
        x_test=dataset.x_train[test],
        y_test=dataset.y_train[test],
        class_names=dataset.class_names,
        image_shape=dataset.image_shape,
        feature_names=dataset.feature_names,
    )
