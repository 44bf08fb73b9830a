"""The IDX format of MNIST: read one array from a raw or gzipped file, believing nothing the file says about itself.

    bytes 0, 0, type, number of dimensions; one 4-byte size per dimension; the values in C order; all
    big-endian

What comes in: a path. What goes out: one array. What it refuses, before any memory is taken: a wrong magic
number, an unknown type, sizes that do not fit the file or the limit. A gzipped file is unpacked only as far
as its header says.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..files import open_regular, reason

__all__ = ["MAX_BYTES", "Progress", "deflated_at_most", "is_idx", "read_idx", "read_into"]

Progress = Callable[[str, int, int | None], None]
"""Called as progress(text, done, total); total is None where it is not known."""

MAX_BYTES = 2**31
MAX_DIMENSIONS = 8
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"
PIECE = 1 << 20


def is_idx(head: bytes) -> bool:
    """True where the first bytes of a file are those of an IDX file."""
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in TYPES and 0 < head[3] <= MAX_DIMENSIONS


def deflated_at_most(n_bytes: int) -> int:
    """The most that n_bytes of deflated data can unpack to: its best ratio is 1032 to 1 (RFC 1951, zlib)."""
    return 1032 * n_bytes + 1032


def read_into(file: BinaryIO, target: NDArray[Any], tick: Callable[[int], None] | None = None) -> int:
    """Fill a C-contiguous array from a stream in pieces of 1 MiB; the number of bytes that came."""
    view = target.reshape(-1).view(np.uint8).data
    done = 0
    while done < len(view):
        got = cast(Any, file).readinto(view[done : done + PIECE])
        if not got:
            break
        done += got
        if tick is not None:
            tick(done)
    return done


def read_idx(
    path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES, progress: Progress | None = None
) -> NDArray[Any]:
    """Read an IDX file, raw or gzipped (told apart by its first bytes, not by its name).

    Parameters
    ----------
    path : str or path
        a plain file
    max_bytes : int
        the most that the values may take once unpacked; 2 GiB by default
    progress : callable or None
        called as progress(text, bytes done, bytes in all) while a large file is unpacked

    Returns ------- array with the sizes of the header; uint8, int8, int16, int32, float32 or float64 in this
    machine's byte order

    Raises
    ------
    DataError
        not a plain file, a wrong magic number, sizes beyond the limit or the file, too few or too many bytes,
        a damaged gzip stream. The message names the file, what was found and what was expected

    Examples
    --------
    >>> from fastbp.files import write_atomically
    >>> write_atomically("fastbp-example.idx", bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    >>> read_idx("fastbp-example.idx")
    array([7, 2, 1], dtype=uint8)
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            packed = file.read(2) == GZIP_MAGIC
            file.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=file, mode="rb") as stream:
                    return _read(cast(BinaryIO, stream), path, size, True, max_bytes, progress)
            return _read(file, path, size, False, max_bytes, progress)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"{path}: the gzip data is damaged or cut off ({reason(error)}); get the file again"
            ) from error
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {reason(error)}") from error


def _read(
    file: BinaryIO, path: str | os.PathLike[str], size: int, packed: bool, max_bytes: int, progress: Progress | None
) -> NDArray[Any]:
    """Header, checks, values; `size` is that of the file on the disk."""
    kind, shape = _header(file, path)
    offset = 4 + 4 * len(shape)
    n_bytes = math.prod(shape) * kind.itemsize
    declared = f"{' x '.join(map(str, shape))} values of {kind.itemsize} bytes"
    if n_bytes > max_bytes:
        raise DataError(f"{path}: the header declares {declared}, {n_bytes} bytes; at most {max_bytes} are accepted")
    if not packed and size != offset + n_bytes:
        raise DataError(f"{path}: the header declares {declared}, {offset + n_bytes} bytes in all; the file has {size}")
    if packed and offset + n_bytes > deflated_at_most(size):
        raise DataError(
            f"{path}: the header declares {declared}, more than {size} bytes of gzip can hold; it is cut off"
        )
    values = np.empty(math.prod(shape), kind)
    name = os.path.basename(os.fspath(path))
    tick = None if progress is None else lambda done: progress(f"reading {name}", done, n_bytes)
    got = read_into(file, values, tick)
    if got != n_bytes:
        raise DataError(f"{path}: the header declares {declared}, {n_bytes} bytes; only {got} are there")
    if file.read(1):  # at the end of a gzip stream this also compares its checksum
        raise DataError(f"{path}: the header declares {declared}, {n_bytes} bytes; the file goes on after them")
    if kind.byteorder == ">" and not kind.isnative:
        values = values.byteswap(inplace=True).view(kind.newbyteorder("="))
    return values.reshape(shape)


def _header(file: BinaryIO, path: str | os.PathLike[str]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """The value type and the sizes that the first bytes declare."""
    head = file.read(4)
    if len(head) < 4:
        raise DataError(f"{path}: {len(head)} bytes of contents; an IDX file has at least 8")
    if not is_idx(head):
        raise DataError(
            f"{path}: begins with bytes {head.hex(' ')}; an IDX file begins with 00 00, a type "
            f"(08, 09, 0b, 0c, 0d or 0e) and 01 to 0{MAX_DIMENSIONS} dimensions, such as 00 00 08 03 for images"
        )
    n_dimensions = head[3]
    sizes = file.read(4 * n_dimensions)
    if len(sizes) < 4 * n_dimensions:
        raise DataError(
            f"{path}: ends within its header; {4 + 4 * n_dimensions} bytes were expected, {4 + len(sizes)} found"
        )
    return np.dtype(TYPES[head[2]]), struct.unpack(f">{n_dimensions}I", sizes)
