"""The container of a trained network: a safetensors file that says what it holds and notices damage.

Tensors are named arrays; the metadata has one entry, ``fastbp``, a JSON text that describes them. Plain safetensors
readers can read both. The JSON also carries a SHA-256 over itself and every tensor, so that no flipped bit loads as
different numbers. The same contents always give the same bytes: keys are sorted, and no time, host or path is written.

Nothing in a file is trusted: sizes are capped before anything is allocated, texts are data and never run. What the
description means is `fastbp.model`'s business. Refused: everything that is not such a file, whole and unchanged.
"""

from __future__ import annotations

import json
import os
from hashlib import sha256
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from .errors import ModelError, UsageError
from .files import open_regular, reason

__all__ = [
    "CHECKPOINT",
    "FORMAT_VERSION",
    "canonical_json",
    "check_tensors",
    "decode",
    "encode",
    "part",
    "read_bytes",
    "shown",
]

FORMAT_VERSION = 1
KEY = "fastbp"
CHECKPOINT = "checkpoint"  # the kind of a file that a run goes on from; models have none
MAX_FILE_BYTES = 2 << 30
MAX_HEADER_BYTES = 16 << 20  # names of 10,000 classes take at most 10 MB
DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}


def encode(description: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> bytes:
    """The bytes of a file: `description` (JSON-ready) and float32 or float64 `tensors` by name.

    Examples
    --------
    >>> data = encode({"format": 1}, {"weights.1": np.ones((2, 3), dtype=np.float32)})
    >>> description, tensors = decode(data, "my.safetensors")
    >>> description["format"], tensors["weights.1"].shape
    (1, (2, 3))
    """
    little = {name: np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")) for name, tensor in tensors.items()}
    text = canonical_json({**description, "sha256": _checksum(description, little)})
    return safetensors.numpy.save(little, metadata={KEY: text})


def decode(data: bytes, path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The description and the tensors in a file's bytes; `path` is named in errors.

    Raises
    ------
    ModelError
        not a safetensors file, truncated, damaged, written by something else or by a newer fastbp
    """
    name = shown(path)
    header = _header(data, name)
    try:
        found: list[tuple[str, dict[str, Any]]] = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise ModelError(f"{name}: not a whole safetensors file ({shown(str(error))}); use an undamaged copy") from None
    text = _entry(header.get("__metadata__"), KEY)
    if not isinstance(text, str):
        raise ModelError(
            f"{name}: not written by fastbp, its metadata has no entry {KEY!r}; use a file that fastbp train saved"
        )
    description = _json(text, name)
    version = description.get("format")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ModelError(
            f"{name}: format {version} was written by a newer fastbp, this one reads format {FORMAT_VERSION}; "
            "upgrade fastbp"
        )
    checksum = description.pop("sha256", None)
    tensors = {tensor: _array(tensor, content, name) for tensor, content in found}
    try:
        expected = _checksum(description, tensors)
    except (ValueError, RecursionError):
        raise ModelError(f"{name}: its description is not plain JSON; use an undamaged copy") from None
    if checksum != expected:
        raise ModelError(
            f"{name}: damaged, its checksum is {expected[:16]}... where the file says "
            f"{shown(str(checksum))[:16]}...; use an undamaged copy"
        )
    if isinstance(version, bool) or version != FORMAT_VERSION:
        raise ModelError(f"{name}: format is {shown(repr(version))}, expected {FORMAT_VERSION}")
    return description, tensors


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """A regular file's contents, at most 2 GiB.

    Raises
    ------
    ModelError
        no such file, a directory, a pipe or a device, too large, or unreadable
    """
    try:
        with open_regular(path, ModelError) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise ModelError(f"{shown(path)}: {size} bytes, a model file has at most {MAX_FILE_BYTES}")
            return file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise ModelError(f"{shown(path)}: cannot be read ({reason(error)}); use a readable file") from None


def part(description: dict[str, Any], key: str, kind: type) -> Any:
    """description[key], which must be of that kind."""
    value = description.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UsageError(f"its description needs {key!r} of type {kind.__name__}, found {shown(repr(value))}")
    return value


def check_tensors(
    tensors: dict[str, NDArray[Any]], wanted: dict[str, tuple[str, tuple[int, ...]]], network: str
) -> None:
    """Raise UsageError unless there are exactly the tensors that are wanted, of that dtype and shape."""
    for name in [*wanted, *sorted(tensors)]:
        if name not in tensors:
            raise UsageError(f"tensor {name} of the network {network} is missing")
        if name not in wanted:
            raise UsageError(f"tensor {shown(name)} has no place in the network {network}")
        found, (dtype, shape) = tensors[name], wanted[name]
        if found.dtype.name != dtype or found.shape != shape:
            raise UsageError(
                f"tensor {name} is {found.dtype.name} of shape {found.shape}, the network {network} needs "
                f"{shown(dtype)} of shape {shape}"
            )


def canonical_json(value: Any) -> str:
    """The one JSON text of a value. ValueError or TypeError where it is not plain JSON (NaN is not)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def shown(text: str | os.PathLike[str]) -> str:
    """A text from outside, fit for one line on a terminal: control characters escaped, at most 200 characters."""
    plain = os.fsdecode(text)
    if len(plain) > 200:
        plain = plain[:197] + "..."
    return plain if plain.isprintable() else ascii(plain)


def _header(data: bytes, name: str) -> dict[str, Any]:
    """The JSON at the start of a safetensors file, after checking that the file is as long as it says."""
    if len(data) < 8:
        raise ModelError(f"{name}: {len(data)} bytes, too short for a safetensors file; use an undamaged copy")
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise ModelError(
            f"{name}: not a safetensors file, or damaged: its header would have {length} bytes, "
            f"at most {MAX_HEADER_BYTES} are accepted"
        )
    if length > len(data) - 8:
        raise ModelError(f"{name}: truncated, {len(data)} bytes where its header alone needs {length + 8}")
    header = _json(data[8 : 8 + length], name)
    offsets = [_entry(entry, "data_offsets") for entry in header.values()]
    ends = [pair[1] for pair in offsets if isinstance(pair, list) and len(pair) == 2]
    whole = max((end for end in ends if isinstance(end, int)), default=0)
    if len(data) < 8 + length + whole:
        raise ModelError(f"{name}: truncated, {len(data)} of {8 + length + whole} bytes; use an undamaged copy")
    return header


def _entry(value: Any, key: str) -> Any:
    """value[key] where value is a dict that has it, else None."""
    return value.get(key) if isinstance(value, dict) else None


def _json(text: str | bytes, name: str) -> dict[str, Any]:
    """The JSON object in a text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ModelError(f"{name}: not a safetensors file, or damaged: its header holds no JSON object")
    return value


def _array(tensor: str, content: dict[str, Any], name: str) -> NDArray[Any]:
    """One tensor, read-only."""
    if content["dtype"] not in DTYPES:
        raise ModelError(f"{name}: tensor {shown(tensor)} has dtype {content['dtype']}, accepted are F32 and F64")
    values: NDArray[Any] = np.frombuffer(content["data"], dtype=DTYPES[content["dtype"]])
    try:
        return values.reshape(tuple(content["shape"]))
    except (ValueError, OverflowError):
        raise ModelError(f"{name}: tensor {shown(tensor)} has an impossible shape; use an undamaged copy") from None


def _checksum(description: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> str:
    """SHA-256 of the description and of every tensor's name, type, shape and little-endian bytes."""
    digest = sha256(canonical_json(description).encode("utf-8"))
    for tensor in sorted(tensors):
        values = tensors[tensor]
        digest.update(f"\n{tensor} {values.dtype.str} {values.shape}\n".encode())
        digest.update(values.data if values.size else b"")
    return digest.hexdigest()
