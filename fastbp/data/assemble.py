"""From files that were read to a dataset: do images and labels, training and test, samples and targets fit together?

What comes in: the paths of one dataset's files. What goes out: a checked `Dataset`, whose test part is empty
where the files have none. What it refuses: swapped files, counts that differ, labels out of range, missing
arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from .archives import read_npz
from .dataset import Dataset
from .idx import Progress, read_idx
from .tabular import read_table
from .targets import MAX_CLASSES, Where, check_labels, encode_targets, pixels, whole_bytes

__all__ = ["from_idx", "from_npz", "from_tables"]

Array = NDArray[Any]
ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def from_idx(paths: Sequence[Path], name: str, class_names: tuple[str, ...], progress: Progress | None) -> Dataset:
    """Read training images and labels, and test images and labels if there are four paths.

    Labels must be below the number of `class_names`; without names, the largest label says how many classes
    there are.
    """
    pairs = [_pair(paths[k], paths[k + 1], len(class_names) or MAX_CLASSES, progress) for k in range(0, len(paths), 2)]
    x_train, y_train = pairs[0]
    x_test, y_test = pairs[1] if len(pairs) > 1 else (x_train[:0], y_train[:0])
    if x_test.shape[1:] != x_train.shape[1:]:
        raise DataError(
            f"{paths[2]} holds samples of {_by(x_test.shape[1:])} and {paths[0]} of {_by(x_train.shape[1:])}; "
            "they must be equal"
        )
    shape = _picture(x_train)
    return Dataset.from_arrays(x_train, y_train, x_test, y_test, name=name, class_names=class_names, image_shape=shape)


def from_npz(
    paths: Sequence[Path], name: str, label: str | int | None, target: str, progress: Progress | None
) -> Dataset:
    """Read the four arrays of an .npz file; `label` is a column of x_train where there is no y_train."""
    arrays = read_npz(paths[0], ARRAYS, progress=progress)
    needed = {"x_train", "y_train"}
    if "x_test" in arrays or "y_test" in arrays:
        needed |= {"x_test", "y_test"}
    if label is not None:
        if arrays.keys() & {"y_train", "y_test"}:
            raise UsageError(f"{name} has its labels in y_train; leave label out")
        needed &= {"x_train", "x_test"}
    if missing := sorted(needed - arrays.keys()):
        raise DataError(f"{name} lacks {', '.join(missing)}; expected x_train, y_train and perhaps x_test, y_test")
    for part in ("x_train", "x_test"):
        if part not in arrays:
            continue
        if arrays[part].dtype.kind not in "buif" or arrays[part].ndim < 2:
            raise DataError(
                f"{name}: {part} has dtype {arrays[part].dtype} and shape {arrays[part].shape}; "
                "expected numbers, one row per sample"
            )
        if label is not None:
            arrays[part], arrays[part.replace("x", "y", 1)] = _take_column(arrays[part], label, f"{name}: {part}")
    for part in ("train", "test"):
        x, y = arrays.get(f"x_{part}"), arrays.get(f"y_{part}")
        if x is not None and y is not None and (y.ndim not in (1, 2) or len(x) != len(y)):
            raise DataError(
                f"{name}: x_{part} has {len(x)} samples and y_{part} has shape {y.shape}; they must be equally many"
            )
    x_train, y_train = arrays["x_train"], _texts(arrays["y_train"], name)
    x_test, y_test = arrays.get("x_test", x_train[:0]), _texts(arrays.get("y_test", y_train[:0]), name)
    places = (lambda i: f"{name}: y_train, row {i}", lambda i: f"{name}: y_test, row {i}")
    return _from_columns(x_train, y_train, x_test, y_test, places, target, name, keep=x_train.dtype == np.uint8)


def from_tables(
    paths: Sequence[Path], name: str, label: str | int | None, target: str, progress: Progress | None
) -> Dataset:
    """Read a table, and a second one for testing if it has the label column too (Kaggle's test.csv has not)."""
    train = read_table(paths[0], label=label, progress=progress)
    test = read_table(paths[1], like=train, progress=progress) if len(paths) > 1 else None
    if test is not None and test.label_column is None:
        if progress is not None:
            progress(f"{test.path.name} has no label column and is not used", 1, 1)
        test = None
    x_test, y_test = (test.x, test.labels) if test is not None else (train.x[:0], train.labels[:0])
    places = (train.place, (test or train).place)
    return _from_columns(train.x, train.labels, x_test, y_test, places, target, name, feature_names=train.feature_names)


def _from_columns(
    x_train: Array,
    y_train: Array,
    x_test: Array,
    y_test: Array,
    places: tuple[Where, Where],
    target: str,
    name: str,
    *,
    keep: bool = False,
    feature_names: tuple[str, ...] = (),
) -> Dataset:
    """Decide between bytes and floats, classes and values; `keep` where the source itself says bytes."""
    flat = [x.reshape(len(x), -1) if len(x) else x.reshape(0, x_train[0].size) for x in (x_train, x_test)]
    if flat[1].shape[1] != flat[0].shape[1]:
        raise DataError(f"{name}: test samples have {flat[1].shape[1]} numbers, training samples {flat[0].shape[1]}")
    bytes_fit, shape = pixels(flat[0])
    bytes_fit = keep or (bytes_fit and (not len(flat[1]) or whole_bytes(flat[1])))
    if x_train.ndim > 2:
        shape = _picture(x_train)
    if bytes_fit and (flat[1].dtype == np.uint8 or whole_bytes(flat[1])):
        flat = [x.astype(np.uint8, copy=False) for x in flat]
    elif flat[0].dtype == np.uint8 or flat[0].dtype != flat[1].dtype:
        flat = [x.astype(np.float64) for x in flat]
    targets = encode_targets(y_train, y_test, target, shape is not None, places)
    return Dataset.from_arrays(
        flat[0],
        targets.y_train,
        flat[1],
        targets.y_test,
        name=name,
        class_names=targets.class_names,
        image_shape=shape,
        feature_names=feature_names,
    )


def _pair(images_path: Path, labels_path: Path, n_classes: int, progress: Progress | None) -> tuple[Array, Array]:
    """One IDX file of samples and its file of labels, checked against each other."""
    images, labels = read_idx(images_path, progress=progress), read_idx(labels_path)
    if images.ndim == 1 and labels.ndim > 1:
        raise DataError(
            f"{images_path} holds labels ({_by(images.shape)}) and {labels_path} holds images ({_by(labels.shape)}); "
            "swap the two files"
        )
    if images.ndim == 1:
        raise DataError(
            f"{images_path} holds one number per sample ({_by(images.shape)}); images have 2 or more dimensions"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "ui":
        raise DataError(
            f"{labels_path} holds {labels.dtype} values ({_by(labels.shape)}); labels are one whole number per sample"
        )
    if len(images) != len(labels):
        raise DataError(
            f"{images_path} holds {len(images)} images and {labels_path} holds {len(labels)} labels; "
            "they must be equally many"
        )
    if not images.size:
        raise DataError(f"{images_path} holds no images ({_by(images.shape)}); at least 1 is needed")
    check_labels(labels, lambda i: f"{labels_path}, item {i},", n_classes)
    return images, labels


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _picture(x: Array) -> tuple[int, int] | None:
    """Height and width of samples (n, h, w), (n, h, w, 1) or (n, 1, h, w); None for anything else."""
    sizes = x.shape[1:]
    if len(sizes) == 3 and 1 in (sizes[0], sizes[2]):
        sizes = sizes[1:] if sizes[0] == 1 else sizes[:2]
    return (sizes[0], sizes[1]) if len(sizes) == 2 else None


def _take_column(x: Array, label: str | int, where: str) -> tuple[Array, Array]:
    """Samples and the column of labels among them."""
    try:
        column = int(label)
    except ValueError:
        raise UsageError(f"{where} has no column names; give the label column's position, got {label!r}") from None
    if x.ndim != 2 or x.shape[1] < 2 or not -x.shape[1] <= column < x.shape[1]:
        raise UsageError(f"{where} has shape {x.shape}; the label column must be one of at least 2, got {label}")
    return np.delete(x, column, axis=1), x[:, column]


def _texts(labels: Array, name: str) -> Array:
    """Labels stored as bytes become texts; others stay."""
    try:
        if labels.dtype.kind == "S":
            return np.char.decode(labels, "utf-8")
        if labels.dtype.kind == "U":
            labels.tolist()  # raises where a stored number is no character
    except ValueError as error:
        raise DataError(f"{name}: a label is not valid text ({error}); write the file again") from error
    return labels
