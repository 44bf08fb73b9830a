"""NumPy .npz archives: the arrays that are asked for, checked before any memory is taken, never unpickled.

What comes in: a path and the names of arrays. What goes out: those arrays. What it refuses: object arrays
(they are pickles, and a pickle runs code), members whose declared size, header and packed bytes do not fit
together or exceed the limit, encrypted or exotic compression, one name twice.
"""

from __future__ import annotations

import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..errors import DataError
from ..files import open_regular, reason
from .idx import MAX_BYTES, Progress, deflated_at_most, read_into

__all__ = ["read_npz"]

MAX_MEMBERS = 1000
KINDS = "buifUS"
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error, OverflowError)
_BAD_HEADER = (ValueError, SyntaxError, TypeError, KeyError, RecursionError, tokenize.TokenError)


def read_npz(
    path: str | os.PathLike[str],
    names: Iterable[str],
    *,
    max_bytes: int = MAX_BYTES,
    progress: Progress | None = None,
) -> dict[str, NDArray[Any]]:
    """Read the arrays of an .npz archive that are among `names`; the others are not touched.

    Parameters
    ----------
    path : str or path
        a plain file
    names : iterable of str
        names of arrays, without ``.npy``; those that the archive lacks are left out of the result
    max_bytes : int
        the most that the chosen arrays may take together; 2 GiB by default
    progress : callable or None
        called as progress(text, bytes done, bytes in all)

    Returns
    -------
    dict of str to array
        numbers or texts, C or Fortran order as stored, in this machine's byte order

    Raises
    ------
    DataError
        not a zip archive, a damaged or oversized member, an object array. The message names the file and the
        array
    """
    with open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = _members(archive, path, names)
                total = sum(info.file_size for info in members.values())
                if total > max_bytes:
                    raise DataError(
                        f"{path}: {', '.join(members)} take {total} bytes unpacked; at most {max_bytes} are accepted"
                    )
                arrays = {}
                for name, info in members.items():
                    if progress is not None:
                        progress(f"reading {name} of {os.path.basename(os.fspath(path))}", 0, info.file_size)
                    with archive.open(info) as member:
                        arrays[name] = _read_npy(cast(BinaryIO, member), info, f"{path}: {name}")
                return arrays
        except DataError:
            raise
        except (*_DAMAGE, OSError, ValueError) as error:
            raise DataError(
                f"{path}: not a readable .npz archive ({reason(error)}); get or write the file again"
            ) from error


def _members(
    archive: zipfile.ZipFile, path: str | os.PathLike[str], names: Iterable[str]
) -> dict[str, zipfile.ZipInfo]:
    """The directory entries of the arrays among `names`, each there once and packed in a way that can be trusted."""
    entries = archive.infolist()
    if len(entries) > MAX_MEMBERS:
        raise DataError(f"{path}: holds {len(entries)} members; at most {MAX_MEMBERS} are accepted")
    chosen: dict[str, zipfile.ZipInfo] = {}
    wanted = {f"{name}.npy": name for name in names}
    for info in entries:
        name = wanted.get(info.filename)
        if name is None:
            continue
        if name in chosen:
            raise DataError(f"{path}: holds {info.filename} twice; each array must be there once")
        if info.flag_bits & 1:
            raise DataError(f"{path}: {name} is encrypted; write it with numpy.savez")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{path}: {name} is packed with method {info.compress_type}; write it with numpy.savez")
        if info.file_size > deflated_at_most(info.compress_size):
            raise DataError(
                f"{path}: {name} declares {info.file_size} bytes, more than {info.compress_size} packed bytes can hold"
            )
        chosen[name] = info
    return chosen


def _read_npy(member: BinaryIO, info: zipfile.ZipInfo, where: str) -> NDArray[Any]:
    """One array; its header must describe exactly as many bytes as the archive's directory declares."""
    try:
        version = npy.read_magic(member)
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read_header is None:
            raise ValueError(f"version {version} of the .npy format is not known")
        shape, fortran, kind = read_header(member)
    except _BAD_HEADER as error:
        raise DataError(
            f"{where} has no valid .npy header ({reason(error).splitlines()[0]}); write it again"
        ) from error
    if kind.hasobject:
        raise DataError(f"{where} holds Python objects (a pickle, which could run code); store numbers or texts")
    if kind.kind not in KINDS or kind.itemsize == 0:
        raise DataError(f"{where} has dtype {kind}; numbers or texts are accepted")
    if len(shape) > 8 or min(shape, default=0) < 0:
        raise DataError(f"{where} has shape {shape}; at most 8 dimensions are accepted")
    n_bytes = math.prod(shape) * kind.itemsize
    if n_bytes == 0:
        raise DataError(f"{where} is empty, its shape is {shape}")
    if member.tell() + n_bytes != info.file_size:
        raise DataError(
            f"{where} has shape {shape} and dtype {kind}, {n_bytes} bytes; "
            f"the archive holds {info.file_size - member.tell()} for it"
        )
    values = np.empty(math.prod(shape), kind)
    got = read_into(member, values)
    if got != n_bytes:  # with the last byte, zipfile has compared the checksum too
        raise DataError(f"{where}: {n_bytes} bytes were expected, {got} are there")
    if not kind.isnative:
        values = values.byteswap(inplace=True).view(kind.newbyteorder("="))
    return values.reshape(shape[::-1]).T if fortran else values.reshape(shape)
