"""Layouts on people's disks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from fastbp.data import folders
from fastbp.data.folders import idx_files, idx_folders, layout_of
from fastbp.data.sources import PUBLISHED, PinnedFile
from fastbp.errors import DataError

pytestmark = pytest.mark.usefixtures("cache_folder")

FOUR = [
    f"{role}-idx{3 if 'images' in role else 1}-ubyte"
    for role in ("train-images", "train-labels", "t10k-images", "t10k-labels")
]


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("dot", [False, True])
@pytest.mark.parametrize("inner", ["", "raw", "MNIST", "MNIST/raw", "FashionMNIST/raw", "mnist"])
def test_four_idx_files(tmp_path: Path, ending: str, dot: bool, inner: str) -> None:
    names = [(name.replace("-idx", ".idx") if dot else name) + ending for name in FOUR]
    folder = touch(tmp_path / inner, *names)
    layout = layout_of(tmp_path)
    assert layout.kind == "idx"
    assert [path.samefile(folder / name) for path, name in zip(layout.files, names, strict=True) if path] == [True] * 4


def test_unpacked_files_go_first(tmp_path: Path) -> None:
    touch(tmp_path, *FOUR, *(f"{name}.gz" for name in FOUR))
    assert [path.name for path in layout_of(tmp_path).files if path] == FOUR


def test_any_of_the_four_files_stands_for_all(tmp_path: Path) -> None:
    touch(tmp_path, *FOUR)
    assert layout_of(tmp_path / FOUR[2]) == layout_of(tmp_path)


def test_missing_files_are_none(tmp_path: Path) -> None:
    touch(tmp_path, FOUR[0], FOUR[1])
    assert layout_of(tmp_path).files[2:] == (None, None)
    assert idx_files(tmp_path / "absent") is None
    assert idx_files(tmp_path / FOUR[0]) is None


def test_tables_and_archives(tmp_path: Path) -> None:
    assert layout_of(touch(tmp_path / "a", "data.npz")).kind == "npz"
    assert layout_of(touch(tmp_path / "b", "iris.csv", "readme.md")).files == (tmp_path / "b" / "iris.csv", None)
    both = layout_of(touch(tmp_path / "c", "train.csv", "test.csv", "sample_submission.csv"))
    assert both == ("csv", (tmp_path / "c" / "train.csv", tmp_path / "c" / "test.csv"))
    both = layout_of(touch(tmp_path / "d", "mnist_train.csv.gz", "mnist_test.csv.gz"))
    assert both == ("csv", (tmp_path / "d" / "mnist_train.csv.gz", tmp_path / "d" / "mnist_test.csv.gz"))
    assert layout_of(touch(tmp_path / "e", "train.csv")).files[1] is None


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.npz", b"PK\3\4", "npz"),
        ("odd-name", b"PK\3\4", "npz"),
        ("a.csv", b"1,2\n", "csv"),
        ("a.CSV", b"1,2\n", "csv"),
        ("a.tsv.gz", b"\x1f\x8b", "csv"),
        ("iris.data", b"1,2\n", "csv"),
    ],
)
def test_files(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert layout_of(tmp_path / name).kind == kind


def refused(path: Path, *words: str) -> None:
    with pytest.raises(DataError) as caught:
        layout_of(path)
    for word in (str(path), *words):
        assert word in str(caught.value), str(caught.value)


def test_folders_that_are_no_dataset(tmp_path: Path) -> None:
    refused(touch(tmp_path / "empty"), "it is empty", "train-images-idx3-ubyte", ".npz", ".csv")
    refused(touch(tmp_path / "other", "notes.md"), "notes.md")
    refused(touch(tmp_path / "two", "a.npz", "b.npz"), "a.npz, b.npz")
    refused(touch(tmp_path / "tables", "a.csv", "b.csv"), "a.csv, b.csv", "no train.csv")
    touch(tmp_path / "root" / "MNIST" / "raw", *FOUR)
    touch(tmp_path / "root" / "FashionMNIST" / "raw", *FOUR)
    refused(tmp_path / "root", "2 datasets", "FashionMNIST")


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.csv", b"", "is empty"),
        ("a.npy", b"\x93NUMPY\x01\x00", "single array"),
        ("images.idx", b"\0\0\x08\3\0\0\0\0", "all four"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "not a kind of file"),
        ("a.gz", b"\x1f\x8b", "not a kind of file"),
    ],
)
def test_files_that_are_no_dataset(tmp_path: Path, name: str, content: bytes, word: str) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, word)


def test_broken_link(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match="No such file"):
        layout_of(tmp_path / "link.csv")


def test_named_dataset_in_a_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert idx_folders("fashion") is None
    env = tmp_path / "env"
    touch(env / "fashion", *FOUR)
    touch(env / "mnist", *FOUR)
    monkeypatch.setenv("FASTBP_DATA", str(env))
    assert idx_folders("fashion") == tuple(env / "fashion" / name for name in FOUR)
    assert idx_folders("kmnist") is None
    wanted = touch(tmp_path / "wanted" / "FashionMNIST" / "raw", *FOUR)
    assert idx_folders("fashion", tmp_path / "wanted") == tuple(wanted / name for name in FOUR)
    direct = touch(tmp_path / "direct", *FOUR)
    assert idx_folders("fashion", direct) == tuple(direct / name for name in FOUR)


@pytest.mark.parametrize("setting", ["data_dir", "FASTBP_DATA"])
def test_data_folder_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    if setting == "FASTBP_DATA":
        monkeypatch.setenv(setting, str(tmp_path / "typo"))
    with pytest.raises(DataError, match=f"{setting} is .*typo.*not a folder"):
        idx_folders("mnist", tmp_path / "typo" if setting == "data_dir" else None)


def test_files_of_another_dataset_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mnist_like: Callable[..., object]
) -> None:
    mnist_like(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte.gz"
    content = labels.read_bytes()
    pins = list(PUBLISHED["kmnist"].files)
    pins[1] = PinnedFile(labels.name, len(content), hashlib.sha256(content).hexdigest())
    changed = {**PUBLISHED, "kmnist": type(PUBLISHED["kmnist"])(**{**vars(PUBLISHED["kmnist"]), "files": tuple(pins)})}
    monkeypatch.setattr(folders, "PUBLISHED", changed)
    with pytest.raises(DataError, match="files of kmnist, not of mnist"):
        idx_folders("mnist", tmp_path)
    assert idx_folders("kmnist", tmp_path) is not None
    monkeypatch.setenv("FASTBP_DATA", str(tmp_path))
    assert idx_folders("mnist") is None
