"""IDX files: read rightly, and refused in a sentence where they lie. The bytes are packed by hand with struct."""

from __future__ import annotations

import gzip
import os
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastbp.data.idx import read_idx
from fastbp.errors import DataError

PACK = Callable[..., bytes]
CODES = {0x08: "B", 0x09: "b", 0x0B: "h", 0x0C: "i", 0x0D: "f", 0x0E: "d"}
LIMITS = {"B": (0, 255), "b": (-128, 127), "h": (-(2**15), 2**15 - 1), "i": (-(2**31), 2**31 - 1)}


def refused(path: Path, *words: str, **options: int) -> str:
    """The message with which a file is refused; it must name the file and hold the words."""
    with pytest.raises(DataError) as caught:
        read_idx(path, **options)
    message = str(caught.value)
    assert str(path) in message
    for word in words:
        assert word in message, message
    assert "\n" not in message
    return message


@st.composite
def idx_contents(draw: st.DrawFn) -> tuple[int, list[int], list[float]]:
    code = draw(st.sampled_from(sorted(CODES)))
    sizes = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    n = int(np.prod(sizes))
    kind = CODES[code]
    if kind in LIMITS:
        values = draw(st.lists(st.integers(*LIMITS[kind]), min_size=n, max_size=n))
    else:
        values = draw(st.lists(st.floats(width=32 if kind == "f" else 64, allow_nan=False), min_size=n, max_size=n))
    return code, sizes, values


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=idx_contents(), packed=st.booleans())
def test_every_type_and_shape(tmp_path: Path, contents: tuple[int, list[int], list[float]], packed: bool) -> None:
    code, sizes, values = contents
    content = struct.pack(f">BBBB{len(sizes)}I", 0, 0, code, len(sizes), *sizes)
    content += struct.pack(f">{len(values)}{CODES[code]}", *values)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if packed else content)
    array = read_idx(path)
    assert array.shape == tuple(sizes)
    assert array.dtype.isnative
    assert array.reshape(-1).tolist() == values


def test_mnist_magic_numbers(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(struct.pack(">4I", 2051, 2, 1, 3) + bytes([1, 2, 3, 4, 5, 6]))
    (tmp_path / "labels").write_bytes(struct.pack(">2I", 2049, 2) + bytes([9, 0]))
    assert read_idx(tmp_path / "images").tolist() == [[[1, 2, 3]], [[4, 5, 6]]]
    assert read_idx(tmp_path / "labels").tolist() == [9, 0]


@pytest.mark.parametrize("packed", [False, True])
def test_truncated_at_every_byte(tmp_path: Path, idx_bytes: PACK, packed: bool) -> None:
    whole = idx_bytes("h", (2, 3), [1, 2, 3, 4, 5, 6])
    stored = gzip.compress(whole) if packed else whole
    path = tmp_path / "cut"
    for length in range(len(stored)):
        path.write_bytes(stored[:length])
        refused(path)


@pytest.mark.parametrize("length", range(20))
def test_truncated_inside_of_an_intact_gzip_stream(tmp_path: Path, idx_bytes: PACK, length: int) -> None:
    (tmp_path / "cut.gz").write_bytes(gzip.compress(idx_bytes("B", (2, 4), range(8))[:length]))
    refused(tmp_path / "cut.gz")


@pytest.mark.parametrize("packed", [False, True])
def test_trailing_bytes(tmp_path: Path, idx_bytes: PACK, packed: bool) -> None:
    content = idx_bytes("B", (3,), [1, 2, 3]) + b"\0"
    (tmp_path / "long").write_bytes(gzip.compress(content) if packed else content)
    refused(tmp_path / "long", "3 values", "goes on after" if packed else "the file has 12")


def test_trailing_garbage_after_the_gzip_stream(tmp_path: Path, idx_bytes: PACK) -> None:
    (tmp_path / "long.gz").write_bytes(gzip.compress(idx_bytes("B", (3,), [1, 2, 3])) + b"garbage")
    refused(tmp_path / "long.gz", "gzip data is damaged")


@pytest.mark.parametrize("position", [-8, -4], ids=["checksum", "length"])
def test_wrong_gzip_trailer(tmp_path: Path, idx_bytes: PACK, position: int) -> None:
    stored = bytearray(gzip.compress(idx_bytes("B", (3,), [1, 2, 3])))
    stored[position] ^= 1
    (tmp_path / "bad.gz").write_bytes(stored)
    refused(tmp_path / "bad.gz", "gzip data is damaged")


def test_damaged_deflate_stream(tmp_path: Path, idx_bytes: PACK) -> None:
    stored = bytearray(gzip.compress(idx_bytes("B", (200,), [k * 7 % 251 for k in range(200)])))
    for position in range(10, len(stored) - 8, 7):
        damaged = bytearray(stored)
        damaged[position] ^= 0xFF
        (tmp_path / "bad.gz").write_bytes(damaged)
        refused(tmp_path / "bad.gz")


def test_type_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    accepted = []
    for code in range(256):
        path.write_bytes(bytes([0, 0, code, 1, 0, 0, 0, 1]) + bytes(struct.calcsize(CODES.get(code, "B"))))
        try:
            accepted.append((code, read_idx(path).shape))
        except DataError as error:
            assert f"00 00 {code:02x} 01" in str(error)  # noqa: PT017 - refused and read cases side by side
    assert accepted == [(code, (1,)) for code in sorted(CODES)]


def test_number_of_dimensions(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for n_dimensions in range(256):
        path.write_bytes(bytes([0, 0, 8, n_dimensions]) + struct.pack(">I", 1) * n_dimensions + b"\7")
        if 1 <= n_dimensions <= 8:
            assert read_idx(path).shape == (1,) * n_dimensions
        else:
            refused(path, f"00 00 08 {n_dimensions:02x}")


@pytest.mark.parametrize("head", [b"\x89PNG", b"PK\3\4", b"\1\0\x08\3", b"\0\1\x08\3", b"label,pixel0\n", b"<html>"])
def test_wrong_magic_says_what_was_found(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "file").write_bytes(head + bytes(100))
    refused(tmp_path / "file", head[:4].hex(" "), "00 00 08 03")


@pytest.mark.parametrize(
    "sizes", [(2**31,), (2**32 - 1,), (2**32 - 1, 2**32 - 1), (2**32 - 1,) * 8, (65536, 65536, 16), (2**31 - 1,)]
)
@pytest.mark.parametrize("packed", [False, True])
def test_huge_declared_sizes_are_refused_before_memory_is_taken(
    tmp_path: Path, sizes: tuple[int, ...], packed: bool
) -> None:
    content = struct.pack(f">BBBB{len(sizes)}I", 0, 0, 0x0E, len(sizes), *sizes) + bytes(100)
    (tmp_path / "huge").write_bytes(gzip.compress(content) if packed else content)
    tracemalloc.start()
    begin = time.perf_counter()
    refused(tmp_path / "huge", str(sizes[0]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
    assert time.perf_counter() - begin < 2


def test_gzip_that_cannot_hold_what_it_declares_takes_no_memory(tmp_path: Path, idx_bytes: PACK) -> None:
    # 1 GB is under the limit, but 60 bytes of gzip cannot unpack to it
    content = struct.pack(">BBBBI", 0, 0, 8, 1, 10**9)
    (tmp_path / "huge.gz").write_bytes(gzip.compress(content))
    tracemalloc.start()
    refused(tmp_path / "huge.gz", "1000000000", "cut off")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_bomb_stops_at_the_declared_size(tmp_path: Path) -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    stored = deflate.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 1000))
    zeros = bytes(1 << 20)
    stored += b"".join(deflate.compress(zeros) for _ in range(60)) + deflate.flush()
    (tmp_path / "bomb.gz").write_bytes(stored)
    tracemalloc.start()
    refused(tmp_path / "bomb.gz", "1000", "goes on after")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000  # of 60 MB


def test_limit_is_the_callers(tmp_path: Path, idx_bytes: PACK) -> None:
    (tmp_path / "file").write_bytes(idx_bytes("d", (10,), [0.5] * 10))
    assert len(read_idx(tmp_path / "file", max_bytes=80)) == 10
    refused(tmp_path / "file", "80 bytes", "at most 79", max_bytes=79)


def test_many_gzip_members_are_one_stream(tmp_path: Path, idx_bytes: PACK) -> None:
    content = idx_bytes("B", (300,), [k % 256 for k in range(300)])
    (tmp_path / "many.gz").write_bytes(b"".join(gzip.compress(content[k : k + 1]) for k in range(len(content))))
    assert read_idx(tmp_path / "many.gz").tolist() == [k % 256 for k in range(300)]


def test_nested_gzip_is_not_unpacked_twice(tmp_path: Path, idx_bytes: PACK) -> None:
    (tmp_path / "twice.gz").write_bytes(gzip.compress(gzip.compress(idx_bytes("B", (1,), [1]))))
    refused(tmp_path / "twice.gz", "1f 8b")


@pytest.mark.skipif(os.name == "nt", reason="no such files there")
@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "absent"])
def test_what_is_not_a_plain_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thing"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    refused(path)


def test_odd_names(tmp_path: Path, idx_bytes: PACK) -> None:
    for name in ("with space", "new\nline", "umlaut \u00e4", b"bytes \xff".decode("utf-8", "surrogateescape")):
        path = tmp_path / name
        try:
            path.write_bytes(idx_bytes("B", (1,), [4]))
        except OSError:
            continue  # a file system that has no such names
        assert read_idx(path).tolist() == [4]


def test_progress_reaches_the_end(tmp_path: Path, idx_bytes: PACK) -> None:
    (tmp_path / "file.gz").write_bytes(gzip.compress(idx_bytes("B", (3000, 1000), bytes(3_000_000))))
    calls: list[tuple[str, int, int | None]] = []
    read_idx(tmp_path / "file.gz", progress=lambda *call: calls.append(call))
    assert calls[-1] == ("reading file.gz", 3_000_000, 3_000_000)
    assert [done for _, done, _ in calls] == sorted({done for _, done, _ in calls})


def test_any_damage_is_a_data_error_or_a_correct_read(tmp_path: Path, idx_bytes: PACK) -> None:
    rng = np.random.default_rng(3)
    whole = idx_bytes("B", (4, 5), range(20))
    path = tmp_path / "file"
    outcomes = set()
    for content in (whole, gzip.compress(whole)):
        for _ in range(100):
            damaged = bytearray(content)
            for _ in range(int(rng.integers(1, 4))):
                damaged[int(rng.integers(len(damaged)))] = int(rng.integers(256))
            path.write_bytes(damaged)
            try:
                outcomes.add(read_idx(path).size)
            except DataError:
                outcomes.add("refused")
    assert outcomes <= {20, "refused"}
    assert "refused" in outcomes
