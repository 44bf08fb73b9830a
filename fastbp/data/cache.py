"""Parsed data on the disk: the second load of the same files maps one file into memory instead of parsing again.

    magic, length of the header; header (JSON: key, shapes, offsets, checksums); the four arrays, 64-byte
    aligned

What comes in: a dataset and the key of what it was made from (paths, sizes, times, inodes, options). What
goes out: the same dataset, its arrays read-only views of the file. Whatever is wrong here (damaged, from
other files, from another version, folder not writable) is never an error: the caller parses again. Safe with
several processes at once: files appear whole, by renaming.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, FastbpError
from ..files import cache_directory, open_regular, reason, write_atomically
from .dataset import Dataset

__all__ = ["cached_path", "load", "source_key", "store"]

MAGIC = b"fastbp parsed data 1\n".ljust(24, b"\0")
ALIGNMENT = 64
MAX_HEADER = 1 << 24
MIN_BYTES = 1 << 20
DTYPES = {np.dtype(kind).str: np.dtype(kind) for kind in (np.uint8, np.int32, np.float32, np.float64)}

Key = dict[str, Any]


def source_key(paths: Iterable[str | os.PathLike[str]], **options: Any) -> Key:
    """What parsed data depends on: each file's place, size, time and inode, and the options it was read with.

    Raises
    ------
    DataError
        a file that is not there or cannot be looked at
    """
    files = []
    for path in paths:
        try:
            state = os.stat(path)
        except (OSError, ValueError) as error:
            raise DataError(
                f"cannot read {os.fspath(path)!r}: {reason(error)}; give the path of a readable file"
            ) from error
        files.append([os.path.realpath(path), state.st_size, state.st_mtime_ns, state.st_ino])
    return {"files": files, "options": options}


def cached_path(key: Key) -> Path:
    """Where the data of `key` is or would be kept. A file that changed takes the place of its former contents."""
    identity = json.dumps([[entry[0] for entry in key["files"]], key["options"]], sort_keys=True)
    return cache_directory() / "parsed" / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.data"


def store(key: Key, dataset: Dataset) -> bool:
    """Keep a parsed dataset, unless it is under 1 MiB, which parses quickly enough. False where it was not kept."""
    arrays = (dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test)
    if sum(array.nbytes for array in arrays) < MIN_BYTES:
        return False
    layout, offset = [], 0
    for array in arrays:
        layout.append({"dtype": array.dtype.str, "shape": array.shape, "offset": offset})
        offset += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    header = {
        "key": key,
        "class_names": dataset.class_names,
        "feature_names": dataset.feature_names,
        "image_shape": dataset.image_shape,
        "sha256": dataset.sha256,
        "arrays": layout,
        "crc32": _crc32(_padded(arrays)),
    }
    text = json.dumps(header).encode()
    start = -(-(len(MAGIC) + 8 + len(text)) // ALIGNMENT) * ALIGNMENT
    head = (MAGIC + len(text).to_bytes(8, "little") + text).ljust(start, b" ")
    try:
        path = cached_path(key)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomically(path, (piece for part in ((head,), _padded(arrays)) for piece in part), mode=0o600)
    except (FastbpError, OSError):
        return False  # a full or read-only disk: the data is in memory already, and the next load parses again
    return True


def load(key: Key, name: str) -> Dataset | None:
    """The dataset stored under `key`, or None where there is none that is whole and made from exactly these files."""
    try:
        with open_regular(cached_path(key)) as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        header, start = _header(mapped)
        if header["key"] != json.loads(json.dumps(key)):
            return None
        if zlib.crc32(memoryview(mapped)[start:]) != header["crc32"]:
            return None
        x_train, y_train, x_test, y_test = (_array(mapped, start, entry) for entry in header["arrays"])
        dataset = Dataset.from_arrays(
            x_train,
            y_train,
            x_test,
            y_test,
            name=name,
            class_names=tuple(header["class_names"]),
            image_shape=tuple(header["image_shape"]) if header["image_shape"] else None,
            feature_names=tuple(header["feature_names"]),
        )
        # sha256 is a cached_property: the value stored with the arrays saves hashing them again
        dataset.__dict__["sha256"] = str(header["sha256"])
    except (FastbpError, OSError, ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError):
        return None
    return dataset


def _header(mapped: mmap.mmap) -> tuple[dict[str, Any], int]:
    """The header and where the arrays begin; ValueError where this is not such a file."""
    if mapped[: len(MAGIC)] != MAGIC:
        raise ValueError("not a file of parsed data")
    begin = len(MAGIC) + 8
    length = int.from_bytes(mapped[len(MAGIC) : begin], "little")
    if length > min(MAX_HEADER, len(mapped)):
        raise ValueError("header too long")
    header = json.loads(mapped[begin : begin + length])
    return header, -(-(begin + length) // ALIGNMENT) * ALIGNMENT


def _array(mapped: mmap.mmap, start: int, entry: dict[str, Any]) -> NDArray[Any]:
    """A read-only view of one stored array; numpy raises where it would leave the file."""
    return np.ndarray(tuple(entry["shape"]), DTYPES[entry["dtype"]], buffer=mapped, offset=start + entry["offset"])


def _padded(arrays: Iterable[NDArray[Any]]) -> Iterator[memoryview | bytes]:
    """The bytes of each array, each filled up to the alignment."""
    for array in arrays:
        if array.nbytes:
            yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        yield bytes(-array.nbytes % ALIGNMENT)


def _crc32(pieces: Iterable[memoryview | bytes]) -> int:
    checksum = 0
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
    return checksum
