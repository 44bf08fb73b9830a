"""The memory-mapped cache: right, or silently parsed again."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastbp.data import cache
from fastbp.data.dataset import Dataset

pytestmark = pytest.mark.usefixtures("cache_folder")

N = 2000


def make(kind: Any = np.uint8, n_test: int = 50) -> Dataset:
    rng = np.random.default_rng(5)
    x = rng.integers(0, 256, (N + n_test, 28 * 28)).astype(kind)
    y = np.arange(N + n_test) % 3
    return Dataset.from_arrays(
        x[:N], y[:N], x[N:], y[N:], name="made", class_names=("a", "b", "\u00e7"), image_shape=(28, 28)
    )


@pytest.fixture
def key(tmp_path: Path) -> cache.Key:
    (tmp_path / "source").write_bytes(b"source")
    return cache.source_key([tmp_path / "source"], kind="test", label=None)


def same(a: Dataset | None, b: Dataset) -> bool:
    assert a is not None
    for name in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert getattr(a, name).dtype == getattr(b, name).dtype
    return (a.class_names, a.image_shape, a.feature_names) == (b.class_names, b.image_shape, b.feature_names)


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("n_test", [0, 50])
def test_what_is_stored_comes_back(key: cache.Key, kind: Any, n_test: int) -> None:
    data = make(kind, n_test)
    assert cache.store(key, data)
    loaded = cache.load(key, "a name")
    assert same(loaded, data)
    assert loaded is not None
    assert loaded.name == "a name"
    assert loaded.__dict__["sha256"] == data.sha256


def test_target_values_and_feature_names(key: cache.Key) -> None:
    x = np.random.default_rng(0).normal(size=(20_000, 8))
    data = Dataset.from_arrays(x, x[:, :2], feature_names=tuple("abcdefgh"))
    assert cache.store(key, data)
    assert same(cache.load(key, "x"), data)


def test_arrays_are_views_of_the_file_and_read_only(key: cache.Key) -> None:
    cache.store(key, make())
    loaded = cache.load(key, "x")
    assert loaded is not None
    assert not loaded.x_train.flags.writeable
    assert not loaded.x_train.flags.owndata
    assert loaded.x_train.ctypes.data % cache.ALIGNMENT == 0


def test_small_data_is_not_kept(key: cache.Key, cache_folder: Path) -> None:
    assert not cache.store(key, Dataset.from_arrays([[0.0], [1.0]], [0, 1]))
    assert list(cache_folder.rglob("*.data")) == []


@pytest.mark.parametrize("change", ["contents", "time", "inode", "option", "gone"])
def test_other_sources_are_not_mistaken(tmp_path: Path, key: cache.Key, change: str) -> None:
    cache.store(key, make())
    source, label = tmp_path / "source", None
    before = source.stat()
    if change == "contents":
        source.write_bytes(b"sources")
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif change == "time":
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns + 1000))
    elif change == "inode":
        (tmp_path / "copy").write_bytes(b"source")
        os.utime(tmp_path / "copy", ns=(before.st_atime_ns, before.st_mtime_ns))
        os.replace(tmp_path / "copy", source)
    elif change == "option":
        label = "kind"
    else:
        source.unlink()
        with pytest.raises(Exception, match="No such file"):
            cache.source_key([source], kind="test", label=None)
        return
    assert cache.load(cache.source_key([source], kind="test", label=label), "x") is None


def test_changed_file_takes_the_place_of_its_former_contents(
    tmp_path: Path, key: cache.Key, cache_folder: Path
) -> None:
    cache.store(key, make())
    (tmp_path / "source").write_bytes(b"other source")
    newer = cache.source_key([tmp_path / "source"], kind="test", label=None)
    assert cache.cached_path(newer) == cache.cached_path(key)
    cache.store(newer, make(n_test=0))
    assert cache.load(key, "x") is None
    assert same(cache.load(newer, "x"), make(n_test=0))
    assert len(list(cache_folder.rglob("*.*"))) == 1


def test_every_kind_of_damage_is_seen(key: cache.Key) -> None:
    cache.store(key, make())
    path = cache.cached_path(key)
    whole = path.read_bytes()
    rng = np.random.default_rng(2)
    cases = [b"", b"x", whole[:10], whole[:40], whole[:700], whole[: len(whole) // 2], whole[:-1], whole + b"\0"]
    cases += [b"PK\3\4" + bytes(1000), whole[:24] + b"\xff" * 8 + whole[32:], bytes(len(whole))]
    header_end = whole.index(b'"crc32"') + 20
    positions = [*range(0, header_end, 9), *rng.integers(header_end + 100, len(whole), 10).tolist()]
    for position in positions:
        damaged = bytearray(whole)
        damaged[position] ^= 0x40
        cases.append(bytes(damaged))
    expected = make()
    for case in cases:
        path.write_bytes(case)
        loaded = cache.load(key, "x")
        # a flipped byte in the class names' or checksum's text can go unnoticed here, never one in an array
        assert loaded is None or np.array_equal(loaded.x_train, expected.x_train)
    path.write_bytes(whole)
    assert same(cache.load(key, "x"), expected)


def test_damage_in_the_arrays_is_seen(key: cache.Key) -> None:
    data = make()
    cache.store(key, data)
    path = cache.cached_path(key)
    whole = path.read_bytes()
    for array in (data.x_train[1000], data.y_train, data.x_test[3], data.y_test):
        position = whole.index(array.tobytes())
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert cache.load(key, "x") is None


@pytest.mark.skipif(os.name == "nt", reason="permission bits")
def test_cache_is_private(key: cache.Key) -> None:
    cache.store(key, make())
    path = cache.cached_path(key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("obstacle", ["file in the way", "cache directory", "pipe"])
def test_unusable_place_is_gone_without(
    key: cache.Key, cache_folder: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    if obstacle == "file in the way":
        (cache_folder / "parsed").write_bytes(b"")
    elif obstacle == "cache directory":
        monkeypatch.setenv("FASTBP_CACHE_DIR", str(cache_folder / "file" / "cache"))
        (cache_folder / "file").write_bytes(b"")
    else:
        cache.cached_path(key).parent.mkdir()
        os.mkfifo(cache.cached_path(key))
    assert not cache.store(key, make())
    assert cache.load(key, "x") is None


WRITER = """
import sys
import numpy as np
from fastbp.data import cache
from fastbp.data.dataset import Dataset
x = np.arange(28 * 28 * 2000, dtype=np.uint32).astype(np.uint8).reshape(2000, 784)
data = Dataset.from_arrays(x, np.arange(2000) % 3)
key = cache.source_key([sys.argv[1]])
for _ in range(10):
    assert cache.store(key, data)
    loaded = cache.load(key, "x")
    assert loaded is not None and loaded.sha256 == data.sha256 and np.array_equal(loaded.x_train, x)
"""


def test_several_processes_at_once(tmp_path: Path, cache_folder: Path) -> None:
    (tmp_path / "source").write_bytes(b"source")
    command = [sys.executable, "-c", WRITER, str(tmp_path / "source")]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    running = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for _ in range(3)]
    errors = [process.communicate(timeout=120)[1].decode() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], errors
    assert [path.suffix for path in (cache_folder / "parsed").iterdir()] == [".data"]
