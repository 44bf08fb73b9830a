"""Archives of arrays: read rightly, never unpickled, bombs and contradictions refused before memory is taken."""

from __future__ import annotations

import io
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastbp.data.archives import read_npz
from fastbp.errors import DataError


def npy(descr: str, shape: tuple[int, ...], values: bytes, *, fortran: bool = False) -> bytes:
    """An .npy file, put together by hand."""
    text = f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape!r}, }}".encode()
    text = text.ljust(118 - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + values


def archive(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def refused(path: Path, *words: str, names: tuple[str, ...] = ("x_train",), **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_npz(path, names, **options)
    message = str(caught.value)
    assert str(path) in message
    for word in words:
        assert word in message, message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_arrays_of_all_kinds(tmp_path: Path, method: int) -> None:
    members = {
        "a.npy": npy("|u1", (2, 3), bytes(range(6))),
        "b.npy": npy(">i4", (2,), struct.pack(">2i", -1, 70000)),
        "c.npy": npy("<f8", (2, 3), struct.pack("<6d", 1, 2, 3, 4, 5, 6), fortran=True),
        "d.npy": npy("<U2", (2,), "hi\0".encode("utf-32-le") + "o\0"[:1].encode("utf-32-le")),
        "e.npy": npy("|O", (1,), pickle.dumps([1])),
    }
    arrays = read_npz(archive(tmp_path / "all.npz", members, method), ("a", "b", "c", "d", "absent"))
    assert sorted(arrays) == ["a", "b", "c", "d"]
    assert arrays["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert arrays["b"].tolist() == [-1, 70000]
    assert arrays["b"].dtype.isnative
    assert arrays["c"].tolist() == [[1, 3, 5], [2, 4, 6]]
    assert arrays["d"].tolist() == ["hi", "\0o"]


def test_numpys_own_files(tmp_path: Path) -> None:
    x = np.arange(12.0).reshape(3, 4)
    np.savez_compressed(tmp_path / "a.npz", x_train=x, y_train=np.array(["a", "b", "c"]))
    np.savez(tmp_path / "b.npz", x_train=x, y_train=np.array(["a", "b", "c"]))
    for name in ("a.npz", "b.npz"):
        arrays = read_npz(tmp_path / name, ("x_train", "y_train"))
        np.testing.assert_array_equal(arrays["x_train"], x)
        assert arrays["y_train"].tolist() == ["a", "b", "c"]


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


def test_pickled_arrays_are_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "was-run"
    np.savez(tmp_path / "trap.npz", x_train=np.array([Trap(str(marker))], dtype=object))
    refused(tmp_path / "trap.npz", "x_train", "Python objects")
    assert not marker.exists()


def test_object_fields_in_a_structure_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "trap.npz", x_train=np.array([(1, "a")], dtype=[("n", "i4"), ("o", "O")]))
    refused(tmp_path / "trap.npz", "Python objects")


@pytest.mark.parametrize("kind", ["c16", "M8[s]", "V3", [("a", "f4")]])
def test_other_dtypes(tmp_path: Path, kind: Any) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.zeros(2, dtype=kind))
    refused(tmp_path / "a.npz", "x_train", "dtype")


def test_texts_of_no_length(tmp_path: Path) -> None:
    refused(archive(tmp_path / "a.npz", {"x_train.npy": npy("|S0", (2,), b"")}), "x_train", "dtype")


def patched(content: bytes, old: int, new: int) -> bytes:
    """The archive with a declared size changed wherever it stands."""
    assert content.count(struct.pack("<I", old)) == 2  # in the local header and in the directory
    return content.replace(struct.pack("<I", old), struct.pack("<I", new))


def test_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as file,
        file.open("x_train.npy", "w") as member,
    ):
        member.write(npy("|u1", (100_000_000,), b""))
        for _ in range(100):
            member.write(bytes(1_000_000))
    tracemalloc.start()
    refused(tmp_path / "bomb.npz", "100000128 bytes", "at most 50000000", max_bytes=50_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_members_together_must_stay_under_the_limit(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=np.zeros(1000), b=np.zeros(1000))
    refused(tmp_path / "two.npz", "a, b", names=("a", "b"), max_bytes=10_000)


@pytest.mark.parametrize("declared", [4_000_000_000, 1_000_000_000, 2_000_000])
def test_directory_that_lies_about_the_size(tmp_path: Path, declared: int) -> None:
    content = npy("|u1", (declared,), b"1234567890" * 5)
    path = archive(tmp_path / "lie.npz", {"x_train.npy": content})
    path.write_bytes(patched(path.read_bytes(), len(content), declared + 128))
    tracemalloc.start()
    refused(path, str(declared + 128))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_header_that_declares_more_than_the_member_holds(tmp_path: Path) -> None:
    path = archive(tmp_path / "lie.npz", {"x_train.npy": npy("|u1", (10**9, 10**9), b"123")})
    refused(path, "(1000000000, 1000000000)", "holds 3")


def test_header_that_declares_less_than_the_member_holds(tmp_path: Path) -> None:
    path = archive(tmp_path / "lie.npz", {"x_train.npy": npy("|u1", (3,), b"123456")})
    refused(path, "3 bytes", "holds 6")


@pytest.mark.parametrize("shape", [(-1,), (0,), (3, 0), (2**40, 0), (1,) * 9])
def test_shapes_that_hold_nothing_or_make_no_sense(tmp_path: Path, shape: tuple[int, ...]) -> None:
    refused(archive(tmp_path / "odd.npz", {"x_train.npy": npy("|u1", shape, b"1")}), "x_train", "shape")


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\x10\x00{'descr'",
        b"\x93NUMPY\x09\x00" + bytes(60),
        b"\x93NUMPY\x01\x00\x04\x00[1]\n",
        b"\x93NUMPY\x01\x00\x05\x00(((\n\n",
        b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b" " * 100,
        npy("|u1", (1,), b"")[:-1] + b"\0",
        b"\x93NUMPY\x01\x00\xf0\x00" + b"(" * 240,
        npy("|u1", (1,), b"1").replace(b"'|u1'", b"foo()"),
    ],
)
def test_bad_headers(tmp_path: Path, header: bytes) -> None:
    refused(archive(tmp_path / "bad.npz", {"x_train.npy": header}), "x_train")


def test_very_long_header(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    text = b"{" + b" " * 60_000 + b"}\n"
    buffer.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
    refused(archive(tmp_path / "long.npz", {"x_train.npy": buffer.getvalue()}), "header")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as file:
        file.writestr("x_train.npy", npy("|u1", (1,), b"1"))
        file.writestr("x_train.npy", npy("|u1", (1,), b"2"))
    refused(tmp_path / "twice.npz", "x_train.npy twice")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression(tmp_path: Path, method: int) -> None:
    path = archive(tmp_path / "odd.npz", {"x_train.npy": npy("|u1", (1,), b"1")}, method)
    refused(path, "x_train", f"method {method}")


def test_encrypted_member(tmp_path: Path) -> None:
    path = archive(tmp_path / "secret.npz", {"x_train.npy": npy("|u1", (1,), b"1")})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    refused(path, "encrypted")


def test_many_members(tmp_path: Path) -> None:
    refused(archive(tmp_path / "many.npz", {f"{k}.npy": b"" for k in range(1001)}), "1001 members")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_wrong_checksum(tmp_path: Path, method: int) -> None:
    member = npy("|u1", (500,), bytes(500))
    path = archive(tmp_path / "bad.npz", {"x_train.npy": member}, method)
    checksum = struct.pack("<I", zlib.crc32(member))
    assert path.read_bytes().count(checksum) == 2
    path.write_bytes(path.read_bytes().replace(checksum, struct.pack("<I", zlib.crc32(member) ^ 1)))
    refused(path, "CRC")


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\3\4" + bytes(50), b"PK\5\6" + b"\xff" * 18, b"hello"])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "no.npz").write_bytes(content)
    refused(tmp_path / "no.npz", "not a readable .npz archive")


def test_folder_and_absent_file(tmp_path: Path) -> None:
    refused(tmp_path, "a folder")
    refused(tmp_path / "absent.npz", "No such file")


def test_truncated_and_flipped_bytes_never_escape(tmp_path: Path) -> None:
    whole = archive(tmp_path / "whole.npz", {"x_train.npy": npy("<i4", (5, 5), bytes(100))}).read_bytes()
    path = tmp_path / "bad.npz"
    rng = np.random.default_rng(1)
    cases = [whole[:length] for length in range(0, len(whole), 5)]
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[int(rng.integers(len(whole)))] = int(rng.integers(256))
        cases.append(bytes(damaged))
    n_refused = 0
    for case in cases:
        path.write_bytes(case)
        try:
            arrays = read_npz(path, ("x_train",))
            assert all(array.size * array.itemsize == 100 for array in arrays.values())
        except DataError:
            n_refused += 1
    assert n_refused > len(whole) // 10
