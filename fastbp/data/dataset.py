"""What every loader returns and every trainer takes: arrays that have been checked, and what they mean."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..config import MAX_UNITS
from ..errors import DataError

__all__ = ["Dataset", "unfit_class_names"]

MAX_NAME_LENGTH = 1000
_JOINERS = "\u200c\u200d"  # invisible, but part of the spelling of many languages


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test samples, one per row.

    Attributes
    ----------
    name : str
        for people: ``mnist``, or the path it was read from
    x_train, x_test : (n, n_features) uint8, float32 or float64, C-contiguous
        bytes stay bytes; they may be read-only views of a memory-mapped file. `x_test` may have no rows
    y_train, y_test : (n,) int32 class numbers, or (n, n_outputs) float64 target values
    class_names : tuple of str
        one per class; empty for target values
    image_shape : (height, width) or None
    feature_names : tuple of str
        column names where the source has them, else empty

    Examples
    --------
    >>> data = Dataset.from_arrays([[0.0, 1.0], [1.0, 0.0]], [0, 1], class_names=("cat", "dog"))
    >>> data.x_train.shape, data.y_train.tolist(), data.is_regression
    ((2, 2), [0, 1], False)
    """

    name: str
    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_test: NDArray[Any]
    y_test: NDArray[Any]
    class_names: tuple[str, ...] = ()
    image_shape: tuple[int, int] | None = None
    feature_names: tuple[str, ...] = ()

    @classmethod
    def from_arrays(
        cls,
        x_train: ArrayLike,
        y_train: ArrayLike,
        x_test: ArrayLike | None = None,
        y_test: ArrayLike | None = None,
        *,
        name: str = "arrays",
        class_names: tuple[str, ...] = (),
        image_shape: tuple[int, int] | None = None,
        feature_names: tuple[str, ...] = (),
    ) -> Dataset:
        """Check a user's arrays and bring them to the form that engines take.

        Parameters
        ----------
        x_train, x_test : array-like (n, ...) of numbers
            images may have two axes; they are flattened. uint8 stays uint8 (0..255), float32 and float64 stay, every
            other number type becomes float64
        y_train, y_test : array-like
            whole numbers from 0 (n,): classes. Floats (n,) or (n, n_outputs): target values

        Raises
        ------
        DataError
            counts that differ, NaN or infinity, labels below 0 or not below the number of classes, empty arrays

        Examples
        --------
        >>> data = Dataset.from_arrays([[0.0], [1.0]], [0, 1])
        >>> data.n_features, data.n_classes
        (1, 2)
        """
        samples = _features(x_train, f"{name}: x_train")
        if image_shape is None and np.ndim(x_train) == 3:
            image_shape = (np.shape(x_train)[1], np.shape(x_train)[2])
        if image_shape is not None and image_shape[0] * image_shape[1] != samples.shape[1]:
            raise DataError(
                f"{name}: x_train has {samples.shape[1]} features, pictures of {image_shape[0]} x {image_shape[1]} "
                f"need {image_shape[0] * image_shape[1]}"
            )
        targets = _targets(y_train, f"{name}: y_train")
        if len(samples) == 0:
            raise DataError(f"{name}: x_train has no samples; at least 1 is needed")
        if (x_test is None) != (y_test is None):
            given, missing = ("x_test", "y_test") if y_test is None else ("y_test", "x_test")
            raise DataError(f"{name}: {given} was given without {missing}; give both or neither")
        if x_test is None or y_test is None:
            test_samples, test_targets = samples[:0], targets[:0]
        else:
            test_samples, test_targets = _features(x_test, f"{name}: x_test"), _targets(y_test, f"{name}: y_test")
        for part, x, y in (("train", samples, targets), ("test", test_samples, test_targets)):
            if len(x) != len(y):
                raise DataError(f"{name}: x_{part} has {len(x)} samples and y_{part} has {len(y)}; they must be equal")
        if len(test_samples) and test_samples.shape[1] != samples.shape[1]:
            raise DataError(
                f"{name}: x_test has {test_samples.shape[1]} features and x_train has {samples.shape[1]}; "
                "they must be equal"
            )
        if len(test_targets) == 0:
            test_samples, test_targets = samples[:0], targets[:0]
        if test_targets.shape[1:] != targets.shape[1:]:
            raise DataError(
                f"{name}: y_train holds {_kind(targets)} and y_test holds {_kind(test_targets)}; they must be alike"
            )
        if targets.ndim == 1:
            class_names = _checked_classes(name, targets, test_targets, tuple(class_names))
        elif class_names:
            raise DataError(f"{name}: class names were given but y_train holds target values, not class numbers")
        return cls(name, samples, targets, test_samples, test_targets, class_names, image_shape, tuple(feature_names))

    @property
    def n_features(self) -> int:
        """Numbers per sample."""
        return int(self.x_train.shape[1])

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for target values."""
        return len(self.class_names)

    @property
    def is_regression(self) -> bool:
        """True where the targets are values rather than classes."""
        return not self.class_names

    @cached_property
    def sha256(self) -> str:
        """A checksum of all four arrays with their shapes: the same data, from whatever file, has the same one."""
        digest = sha256()
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def unfit_class_names(names: Sequence[object]) -> str | None:
    """What is wrong with names of classes, as a sentence; None where nothing is.

    They are shown on terminals and stored in model files: at most 1,000 characters each, and no control characters.

    Examples
    --------
    >>> unfit_class_names(["cat", "dog"]) is None
    True
    >>> unfit_class_names(["cat", "d\\x1bog"])
    "the name of class 1, 'd\\\\x1bog', holds a control character; remove it"
    """
    for number, name in enumerate(names):
        if not isinstance(name, str):
            return f"the name of class {number} must be a text, got {type(name).__name__}"
        if len(name) > MAX_NAME_LENGTH:
            return f"the name of class {number} has {len(name)} characters, at most {MAX_NAME_LENGTH} are accepted"
        if not name.isprintable() and any(
            unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in _JOINERS for c in name
        ):
            return f"the name of class {number}, {name!a}, holds a control character; remove it"
    return None


def _checked_classes(
    name: str, y_train: NDArray[Any], y_test: NDArray[Any], class_names: tuple[str, ...]
) -> tuple[str, ...]:
    """The names of the classes, made up where there are none, after checking that every label is one of them."""
    n_classes = len(class_names) or MAX_UNITS
    for part, y in (("train", y_train), ("test", y_test)):
        if len(y) and (y.min() < 0 or y.max() >= n_classes):
            wrong = y.min() if y.min() < 0 else y.max()
            raise DataError(f"{name}: y_{part} holds the label {wrong}; labels run from 0 to {n_classes - 1}")
    if not class_names:
        class_names = tuple(str(k) for k in range(1 + max(int(y.max()) for y in (y_train, y_test) if len(y))))
    problem = unfit_class_names(class_names)
    if problem is not None:
        raise DataError(f"{name}: {problem}")
    return class_names


def _kind(targets: NDArray[Any]) -> str:
    """What a y array holds, in words."""
    return "class numbers" if targets.ndim == 1 else f"{targets.shape[1]} target values per sample"


def _array(values: ArrayLike, what: str) -> NDArray[Any]:
    """values as an array; DataError where they do not make one."""
    try:
        return np.asarray(values)
    except ValueError:
        raise DataError(f"{what} must be one array of numbers, got rows of different lengths") from None


def _features(values: ArrayLike, what: str) -> NDArray[Any]:
    """values as (n, n_features) uint8, float32 or float64, C-contiguous and finite."""
    x = _array(values, what)
    if x.dtype.kind not in "buif":
        raise DataError(f"{what} must hold numbers, got dtype {x.dtype}")
    if x.ndim < 2:
        raise DataError(f"{what} must have one row per sample, got shape {x.shape}")
    if x.dtype not in (np.uint8, np.float32, np.float64):
        x = x.astype(np.float64)
    x = np.ascontiguousarray(x.reshape(len(x), -1) if len(x) else x.reshape(0, int(np.prod(x.shape[1:]))))
    if x.shape[1] == 0:
        raise DataError(f"{what} has no features; at least 1 is needed")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise DataError(f"{what} holds {x[row, column]} in row {row}, column {column}; every value must be finite")
    return x


def _targets(values: ArrayLike, what: str) -> NDArray[Any]:
    """values as (n,) int32 class numbers, or (n, n_outputs) finite float64."""
    y = _array(values, what)
    if y.dtype.kind in "bui":
        if y.ndim != 1:
            raise DataError(f"{what} must hold one class number per sample, got shape {y.shape}")
        if len(y) and (y.min() < 0 or y.max() >= 2**31):
            wrong = y.min() if y.min() < 0 else y.max()
            raise DataError(f"{what} holds the label {wrong}; labels run from 0 to {MAX_UNITS - 1}")
        return np.ascontiguousarray(y, dtype=np.int32)
    if y.dtype.kind != "f" or y.ndim not in (1, 2) or y.shape[1:] == (0,):
        raise DataError(
            f"{what} must hold class numbers (whole) or target values (floats, one row per sample), "
            f"got dtype {y.dtype} and shape {y.shape}"
        )
    if not np.isfinite(y).all():
        row = np.argwhere(~np.isfinite(y))[0][0]
        raise DataError(f"{what} holds NaN or infinity in row {row}; every value must be finite")
    return np.ascontiguousarray(y[:, None] if y.ndim == 1 else y, dtype=np.float64)
