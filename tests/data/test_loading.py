"""load_dataset: names, folders, files; and every bad one of them in one sentence."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp.data
from fastbp.data import Dataset, cache, load_dataset
from fastbp.data.sources import NAMES
from fastbp.errors import DataError, DownloadError, FastbpError, UsageError

pytestmark = pytest.mark.usefixtures("cache_folder")

Write = Callable[..., tuple[np.ndarray, ...]]


def refused(kind: type[FastbpError], *words: str, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        load_dataset(**options)
    message = str(caught.value)
    for word in words:
        assert word in message, message
    assert "\n" not in message
    return message


def holds(data: Dataset, arrays: tuple[np.ndarray, ...]) -> bool:
    x_train, y_train, x_test, y_test = arrays
    np.testing.assert_array_equal(data.x_train, x_train.reshape(len(x_train), -1))
    np.testing.assert_array_equal(data.x_test, x_test.reshape(len(x_test), -1))
    np.testing.assert_array_equal(data.y_train, y_train)
    np.testing.assert_array_equal(data.y_test, y_test)
    return data.y_train.dtype == np.int32


# ---- IDX


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("inner", ["", "MNIST/raw"])
def test_idx_folder(tmp_path: Path, mnist_like: Write, packed: bool, inner: str) -> None:
    arrays = mnist_like(tmp_path / inner, packed=packed)
    data = load_dataset(tmp_path)
    assert holds(data, arrays)
    assert data.x_train.dtype == np.uint8
    assert data.image_shape == (8, 8)
    assert data.class_names == tuple("0123456789")
    assert data.name == str(tmp_path)


def test_idx_without_test_files_is_split(tmp_path: Path, mnist_like: Write) -> None:
    mnist_like(tmp_path)
    for path in tmp_path.glob("t10k*"):
        path.unlink()
    data = load_dataset(str(tmp_path), test_fraction=0.1)
    assert (len(data.x_train), len(data.x_test)) == (27, 3)
    assert data.x_train.dtype == np.uint8


def replace(folder: Path, role: str, content: bytes) -> Path:
    path = next(folder.glob(f"{role}*"))
    path.write_bytes(gzip.compress(content))
    return path


def test_swapped_image_and_label_files(tmp_path: Path, mnist_like: Write) -> None:
    mnist_like(tmp_path)
    images, labels = next(tmp_path.glob("train-images*")), next(tmp_path.glob("train-labels*"))
    contents = images.read_bytes(), labels.read_bytes()
    images.write_bytes(contents[1])
    labels.write_bytes(contents[0])
    refused(DataError, str(images), str(labels), "swap", source=tmp_path)


def test_training_and_test_labels_mixed_up(tmp_path: Path, mnist_like: Write) -> None:
    mnist_like(tmp_path)
    train, test = next(tmp_path.glob("train-labels*")), next(tmp_path.glob("t10k-labels*"))
    contents = train.read_bytes(), test.read_bytes()
    train.write_bytes(contents[1])
    test.write_bytes(contents[0])
    refused(DataError, str(train), "30 images", "12 labels", source=tmp_path)


def test_counts_that_differ(tmp_path: Path, mnist_like: Write, idx_bytes: Callable[..., bytes]) -> None:
    mnist_like(tmp_path)
    path = replace(tmp_path, "t10k-labels", idx_bytes("B", (11,), [0] * 11))
    refused(DataError, str(path), "12 images", "11 labels", source=tmp_path)


@pytest.mark.parametrize(("code", "label"), [("B", 200), ("i", 10_000), ("b", -1)])
def test_labels_out_of_range(
    tmp_path: Path, mnist_like: Write, idx_bytes: Callable[..., bytes], code: str, label: int
) -> None:
    mnist_like(tmp_path / "mnist")
    path = replace(tmp_path / "mnist", "t10k-labels", idx_bytes(code, (12,), [1] * 5 + [label] + [1] * 6))
    refused(DataError, str(path), "item 5", f"label {label}", "0 to 9", source="mnist", data_dir=tmp_path)
    if label == 200:
        assert load_dataset(tmp_path / "mnist").n_classes == 201
    else:
        refused(DataError, str(path), "item 5", f"label {label}", "0 to 9999", source=tmp_path / "mnist")


def test_labels_that_are_no_whole_numbers(tmp_path: Path, mnist_like: Write, idx_bytes: Callable[..., bytes]) -> None:
    mnist_like(tmp_path)
    path = replace(tmp_path, "train-labels", idx_bytes("f", (30,), [0.5] * 30))
    refused(DataError, str(path), "float32", source=tmp_path)


@pytest.mark.parametrize(
    ("sizes", "word"), [((0, 8, 8), "no images"), ((30,), "one number per sample"), ((30, 0, 8), "no images")]
)
def test_images_that_are_none(
    tmp_path: Path, mnist_like: Write, idx_bytes: Callable[..., bytes], sizes: tuple[int, ...], word: str
) -> None:
    mnist_like(tmp_path)
    path = replace(tmp_path, "train-images", idx_bytes("B", sizes, [0] * int(np.prod(sizes))))
    replace(tmp_path, "train-labels", idx_bytes("B", (sizes[0],), [0] * sizes[0]))
    refused(DataError, str(path), word, source=tmp_path)


def test_test_images_of_another_size(tmp_path: Path, mnist_like: Write, idx_bytes: Callable[..., bytes]) -> None:
    mnist_like(tmp_path)
    path = replace(tmp_path, "t10k-images", idx_bytes("B", (12, 4, 16), [0] * 768))
    refused(DataError, str(path), "4 x 16", "8 x 8", source=tmp_path)


def test_nan_in_float_images(tmp_path: Path, mnist_like: Write, idx_bytes: Callable[..., bytes]) -> None:
    mnist_like(tmp_path)
    replace(tmp_path, "train-images", idx_bytes("f", (30, 8, 8), [0.5] * 70 + [float("nan")] + [0.5] * 1849))
    refused(DataError, str(tmp_path), "x_train", "nan", "row 1", source=tmp_path)


def test_missing_files_are_named(tmp_path: Path, mnist_like: Write) -> None:
    mnist_like(tmp_path / "mnist")
    next((tmp_path / "mnist").glob("t10k-labels*")).unlink()
    for source, data_dir in ((tmp_path / "mnist", None), ("mnist", tmp_path)):
        refused(DataError, str(tmp_path / "mnist"), "lacks t10k-labels-idx1-ubyte", source=source, data_dir=data_dir)


# ---- names


@pytest.mark.parametrize("name", ["mnist", "fashion", "kmnist"])
def test_named_datasets_from_a_data_folder(
    tmp_path: Path, mnist_like: Write, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    arrays = mnist_like(tmp_path / name)
    data = load_dataset(name, data_dir=tmp_path)
    assert holds(data, arrays)
    assert data.name == name
    assert data.n_classes == 10
    assert data.class_names[0] == {"mnist": "0", "fashion": "T-shirt/top", "kmnist": "o"}[name]
    monkeypatch.setenv("FASTBP_DATA", str(tmp_path))
    assert load_dataset(name).sha256 == data.sha256


def test_named_dataset_that_is_nowhere(cache_folder: Path) -> None:
    refused(DownloadError, str(cache_folder), "t10k-labels-idx1-ubyte.gz", source="mnist", offline=True)


def test_files_put_into_the_download_folder_by_hand(cache_folder: Path, mnist_like: Write) -> None:
    arrays = mnist_like(cache_folder / "data" / "mnist", packed=False)
    assert holds(load_dataset("mnist", offline=True), arrays)


def test_digits_are_generated_once_and_do_not_depend_on_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    import fastbp.data.digits

    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (1600, 28, 28)).astype(np.uint8)
    y = (np.arange(1600) % 10).astype(np.uint8)
    calls = []

    def make_digits(**options: Any) -> tuple[np.ndarray, ...]:
        calls.append(options)
        return x[:1500], y[:1500], x[1500:], y[1500:]

    monkeypatch.setattr(fastbp.data.digits, "make_digits", make_digits)
    progress = lambda *call: None  # noqa: E731
    first = load_dataset(seed=0, progress=progress)
    second = load_dataset("digits", seed=9)
    assert holds(first, (x[:1500], y[:1500], x[1500:], y[1500:]))
    assert holds(second, (x[:1500], y[:1500], x[1500:], y[1500:]))
    assert calls == [{"progress": progress}]
    assert (first.name, first.image_shape, first.class_names) == ("digits", (28, 28), tuple("0123456789"))
    monkeypatch.setattr(fastbp.data.digits, "VERSION", "another")
    load_dataset("digits")
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        ("mnits", UsageError, ("'mnits'", "Did you mean mnist?", *NAMES, ".csv")),
        ("MNIST", UsageError, ("Did you mean mnist?",)),
        ("zzz", UsageError, ("'zzz'", *NAMES)),
        ("", UsageError, ("''",)),
        ("a\0b", UsageError, ("a\\x00b",)),
        ("no/such/folder", DataError, ("'no/such/folder'", *NAMES)),
        ("absent.csv", DataError, ("'absent.csv'",)),
        (Path("absent"), DataError, ("'absent'",)),
        (7, UsageError, ("int",)),
        (None, UsageError, ("NoneType",)),
    ],
)
def test_names_that_are_none(source: Any, kind: type[FastbpError], words: tuple[str, ...]) -> None:
    refused(kind, *words, source=source)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"target": "both"}, "auto, classes, values"),
        ({"test_fraction": 1}, "less than 1"),
        ({"test_fraction": -0.1}, "at least 0"),
        ({"test_fraction": float("nan")}, "nan"),
        ({"test_fraction": "half"}, "'half'"),
        ({"label": 1.5}, "1.5"),
        ({"label": True}, "True"),
        ({"label": "x", "source": "mnist"}, "mnist has no columns"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], word: str) -> None:
    refused(UsageError, word, **{"source": "digits", **options})


def test_label_of_a_folder_of_images(tmp_path: Path, mnist_like: Write) -> None:
    mnist_like(tmp_path)
    refused(UsageError, "leave label out", source=tmp_path, label=0)


@pytest.mark.skipif(os.name == "nt", reason="no such files there")
def test_pipe_and_device_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    refused(DataError, "a pipe", source=tmp_path / "pipe.csv")
    refused(DataError, "a device", source="/dev/zero")
    os.mkfifo(tmp_path / "train-images-idx3-ubyte")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"")
    refused(DataError, "a pipe", source=tmp_path)


# ---- npz


def test_keras_archive(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    arrays = {
        "x_train": rng.integers(0, 256, (20, 8, 8)).astype(np.uint8),
        "y_train": (np.arange(20) % 10).astype(np.uint8),
        "x_test": rng.integers(0, 256, (10, 8, 8)).astype(np.uint8),
        "y_test": (np.arange(10) % 10).astype(np.uint8),
    }
    np.savez(tmp_path / "mnist.npz", **arrays)
    for source in (tmp_path, tmp_path / "mnist.npz"):
        data = load_dataset(source)
        assert holds(data, tuple(arrays.values()))
        assert (data.image_shape, data.x_train.dtype, data.n_classes) == ((8, 8), np.uint8, 10)


@pytest.mark.parametrize("shape", [(20, 8, 8, 1), (20, 1, 8, 8)])
def test_archive_with_a_grey_channel(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.full(shape, 200), y_train=np.arange(20) % 2)
    data = load_dataset(tmp_path / "a.npz")
    assert (data.image_shape, data.x_train.dtype) == ((8, 8), np.uint8)


def test_archive_of_floats_with_text_labels(tmp_path: Path) -> None:
    x = np.linspace(-1, 1, 30, dtype=np.float32).reshape(10, 3)
    for labels in (np.array(["no", "yes"] * 5), np.array([b"no", b"yes"] * 5)):
        np.savez(tmp_path / "a.npz", x_train=x, y_train=labels)
        data = load_dataset(tmp_path / "a.npz", test_fraction=0)
        np.testing.assert_array_equal(data.x_train, x)
        assert data.x_train.dtype == np.float32
        assert data.class_names == ("no", "yes")
        assert data.y_train.tolist() == [0, 1] * 5
        assert data.x_test.shape == (0, 3)


def test_archive_with_values(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.ones((4, 2)), y_train=np.array([0.5, 1, 2, 3]))
    data = load_dataset(tmp_path / "a.npz", test_fraction=0)
    assert data.is_regression
    assert data.y_train.tolist() == [[0.5], [1.0], [2.0], [3.0]]
    np.savez(tmp_path / "b.npz", x_train=np.ones((4, 2)), y_train=np.array([[0, 1], [1, 2], [2, 3], [3, 4]]))
    assert load_dataset(tmp_path / "b.npz", test_fraction=0.25, target="values").y_train.shape == (3, 2)


def test_archive_whose_label_is_a_column(tmp_path: Path) -> None:
    table = np.array([[1.0, 2, 0], [3, 4, 1], [5, 6, 0], [7, 8, 1]])
    np.savez(tmp_path / "a.npz", x_train=table, x_test=table[::-1])
    data = load_dataset(tmp_path / "a.npz", label=-1)
    assert data.x_train.tolist() == table[:, :2].tolist()
    assert data.y_train.tolist() == [0, 1, 0, 1]
    assert data.y_test.tolist() == [1, 0, 1, 0]
    refused(UsageError, "x_train", "got 3", source=tmp_path / "a.npz", label=3)
    refused(UsageError, "no column names", "'kind'", source=tmp_path / "a.npz", label="kind")


@pytest.mark.parametrize(
    ("arrays", "kind", "words"),
    [
        ({"x": [[1.0]], "y": [0]}, DataError, ("lacks x_train, y_train",)),
        ({"x_train": [[1.0]]}, DataError, ("lacks y_train",)),
        ({"x_train": [[1.0]], "y_train": [0], "x_test": [[1.0]]}, DataError, ("lacks y_test",)),
        ({"x_train": [[1.0]], "y_train": [0], "y_test": [1]}, DataError, ("lacks x_test",)),
        ({"x_train": [1.0, 2.0], "y_train": [0, 1]}, DataError, ("x_train", "(2,)", "one row per sample")),
        ({"x_train": [["a"]], "y_train": [0]}, DataError, ("x_train", "<U1")),
        ({"x_train": [[1.0], [2.0]], "y_train": [0]}, DataError, ("2 samples", "(1,)")),
        ({"x_train": [[1.0], [2.0]], "y_train": np.array(1)}, DataError, ("()",)),
        ({"x_train": [[1.0], [2.0]], "y_train": np.zeros((2, 2, 2))}, DataError, ("(2, 2, 2)",)),
        ({"x_train": [[1.0], [np.nan]], "y_train": [0, 1]}, DataError, ("x_train", "nan", "row 1")),
        ({"x_train": [[1.0], [2.0]], "y_train": [0.5, np.inf]}, DataError, ("y_train, row 1", "inf")),
        (
            {"x_train": [[1.0], [2.0]], "y_train": [0, 1], "x_test": [[1.0, 2.0]], "y_test": [0]},
            DataError,
            ("2 numbers", "training samples 1"),
        ),
        ({"x_train": np.array([[None]]), "y_train": [0]}, DataError, ("Python objects",)),
        ({"x_train": [[1.0], [2.0]], "y_train": np.array([b"\xff", b"a"])}, DataError, ("not valid text",)),
    ],
)
def test_archives_that_do_not_fit(
    tmp_path: Path, arrays: dict[str, Any], kind: type[FastbpError], words: tuple[str, ...]
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    refused(kind, str(tmp_path / "a.npz"), *words, source=tmp_path / "a.npz")


def test_archive_with_labels_and_a_label_column(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=[[1.0], [2.0]], y_train=[0, 1])
    refused(UsageError, "leave label out", source=tmp_path / "a.npz", label=0)


# ---- tables


def test_kaggles_digits(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    x, y = rng.integers(0, 256, (40, 64)), np.arange(40) % 10
    lines = ["label," + ",".join(f"pixel{k}" for k in range(64))]
    lines += [f"{label}," + ",".join(map(str, row)) for label, row in zip(y, x.tolist(), strict=True)]
    (tmp_path / "train.csv").write_text("\n".join(lines))
    (tmp_path / "test.csv").write_text("\n".join(line.split(",", 1)[1] for line in lines))
    texts: list[str] = []
    data = load_dataset(tmp_path, test_fraction=0.25, seed=3, progress=lambda text, done, total: texts.append(text))
    assert (data.x_train.shape, data.x_test.shape) == ((30, 64), (10, 64))
    assert (data.x_train.dtype, data.image_shape, data.n_classes) == (np.uint8, (8, 8), 10)
    assert texts == ["test.csv has no label column and is not used"]
    rows = {bytes(row): label for row, label in zip(x.astype(np.uint8), y.tolist(), strict=True)}
    both = zip(np.concatenate([data.x_train, data.x_test]), np.concatenate([data.y_train, data.y_test]), strict=True)
    assert all(rows.pop(bytes(row)) == label for row, label in both)
    assert rows == {}


def test_training_and_test_tables(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,kind\n1.5,x\n2.5,y\n3.5,x\n")
    (tmp_path / "test.csv").write_text("a,kind\n4.5,z\n")
    data = load_dataset(tmp_path)
    assert data.x_train.tolist() == [[1.5], [2.5], [3.5]]
    assert data.x_test.tolist() == [[4.5]]
    assert data.class_names == ("x", "y", "z")
    assert data.y_test.tolist() == [2]
    assert data.feature_names == ("a",)


def test_small_whole_numbers_are_floats(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b,kind\n1,200,x\n2,100,y\n")
    data = load_dataset(tmp_path / "a.csv", test_fraction=0)
    assert data.x_train.dtype == np.float64
    assert data.image_shape is None


def test_values_from_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("rooms,price\n1,100\n2,200\n3,300\n")
    assert load_dataset(tmp_path / "a.csv", test_fraction=0).class_names == ("100", "200", "300")
    data = load_dataset(tmp_path / "a.csv", test_fraction=0, target="values")
    assert data.y_train.tolist() == [[100.0], [200.0], [300.0]]
    (tmp_path / "a.csv").write_text("rooms,price\n1,100.5\n2,200\n3,x\n")
    refused(DataError, "a.csv, line 4", "'x'", source=tmp_path / "a.csv")


def test_bytes_in_one_table_and_floats_in_the_other(tmp_path: Path) -> None:
    row = ",".join(["200"] * 64)
    (tmp_path / "train.csv").write_text(f"{row},0\n{row},1\n")
    (tmp_path / "test.csv").write_text(f"{row.replace('200', '0.5')},0\n")
    data = load_dataset(tmp_path, label=-1)
    assert (data.x_train.dtype, data.x_test.dtype) == (np.float64, np.float64)
    assert data.x_test[0, 0] == 0.5


def test_home_directory_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("1.5,x\n2.5,y\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert load_dataset("~/a.csv").n_classes == 2


# ---- the parsed cache


def test_second_load_parses_nothing(tmp_path: Path, mnist_like: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastbp.data import assemble

    monkeypatch.setattr(cache, "MIN_BYTES", 0)
    arrays = mnist_like(tmp_path)
    first = load_dataset(tmp_path)
    real = assemble.read_idx
    monkeypatch.setattr(assemble, "read_idx", None)
    second = load_dataset(os.path.relpath(tmp_path))
    assert holds(second, arrays)
    assert second.sha256 == first.sha256
    assert second.name == os.path.relpath(tmp_path)
    monkeypatch.setattr(assemble, "read_idx", real)
    changed = mnist_like(tmp_path, n_train=40)
    assert holds(load_dataset(tmp_path), changed)


def test_options_of_a_table_have_their_own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MIN_BYTES", 0)
    (tmp_path / "a.csv").write_text("a,b,c\n1,0,1\n2,1,0\n3,0,0\n4,1,1\n")
    for _ in range(2):
        assert load_dataset(tmp_path / "a.csv", label="b", test_fraction=0).y_train.tolist() == [0, 1, 0, 1]
        assert load_dataset(tmp_path / "a.csv", label="c", test_fraction=0).y_train.tolist() == [1, 0, 0, 1]
        assert load_dataset(tmp_path / "a.csv", target="values", test_fraction=0).is_regression
        halves = [load_dataset(tmp_path / "a.csv", test_fraction=0.5, seed=seed) for seed in (1, 1)]
        assert halves[0].sha256 == halves[1].sha256


def test_file_that_changes_while_it_is_read_is_not_cached(
    tmp_path: Path, mnist_like: Write, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastbp.data import assemble

    monkeypatch.setattr(cache, "MIN_BYTES", 0)
    mnist_like(tmp_path)
    real = assemble.read_idx

    def read_while_it_changes(path: Path, **options: Any) -> np.ndarray:
        array = real(path, **options)
        os.utime(path, ns=(0, 0))
        return array

    monkeypatch.setattr(assemble, "read_idx", read_while_it_changes)
    load_dataset(tmp_path)
    assert list(cache_folder.rglob("*.data")) == []


def test_seed_chooses_the_split(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("".join(f"{k}.5,{k % 2}\n" for k in range(50)))
    tests = [load_dataset(tmp_path / "a.csv", seed=seed).x_test.reshape(-1).tolist() for seed in (1, 1, 2)]
    assert tests[0] == tests[1] != tests[2]


def test_damaged_source_is_never_cached(tmp_path: Path, mnist_like: Write, cache_folder: Path) -> None:
    mnist_like(tmp_path)
    path = next(tmp_path.glob("train-images*"))
    path.write_bytes(path.read_bytes()[:-4])
    refused(DataError, str(path), "gzip", source=tmp_path)
    assert list(cache_folder.rglob("*.data")) == []


# ---- the room as a whole


def test_importing_the_room_imports_neither_numpy_nor_numba() -> None:
    code = "import sys, fastbp.data, fastbp.data.sources, fastbp.data.folders, fastbp.data.download; "
    code += "sys.exit(any(name in sys.modules for name in ('numpy', 'numba')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    code = "import sys; from fastbp.data import load_dataset; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="load_data"):
        fastbp.data.load_data  # noqa: B018
