"""Labels become class numbers or values; bytes stay bytes; the split is the same for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastbp.data.dataset import Dataset
from fastbp.data.targets import Targets, check_labels, encode_targets, pixels, split
from fastbp.errors import DataError


def encode(train: Any, test: Any = (), target: str = "auto", is_image: bool = False) -> Targets:
    train = np.asarray(train)
    test = np.asarray(test) if len(test) else train[:0]
    return encode_targets(train, test, target, is_image, (lambda i: f"train {i}", lambda i: f"test {i}"))


def test_texts_are_numbered_in_order() -> None:
    result = encode(["b", "a", "c", "b"], ["c", "d"])
    assert result.class_names == ("a", "b", "c", "d")
    assert result.y_train.tolist() == [1, 0, 2, 1]
    assert result.y_test.tolist() == [2, 3]


@pytest.mark.parametrize(
    "labels", [["10", "9", "10", "-1"], [10, 9, 10, -1], ["1e1", "9.0", "10", "-1"], [10.0, 9.0, 10.0, -1.0]]
)
def test_whole_numbers_are_classes_in_the_order_of_numbers(labels: list[Any]) -> None:
    result = encode(labels)
    assert result.class_names == ("-1", "9", "10")
    assert result.y_train.tolist() == [2, 1, 2, 0]


@pytest.mark.parametrize("labels", [["3", "0", "3"], [3, 0, 3]])
def test_class_k_of_pictures_is_label_k(labels: list[Any]) -> None:
    result = encode(labels, labels[:1], is_image=True)
    assert result.class_names == ("0", "1", "2", "3")
    assert result.y_train.tolist() == [3, 0, 3]
    assert encode(labels, target="values", is_image=True).class_names == ("0", "1", "2", "3")


def test_numbers_with_fractions_are_values() -> None:
    result = encode(["1", "2.5"], ["3"])
    assert result.class_names == ()
    assert result.y_train.tolist() == [[1.0], [2.5]]
    assert result.y_test.tolist() == [[3.0]]
    assert result.y_train.dtype == np.float64


def test_a_fraction_in_the_test_samples_counts_too() -> None:
    assert encode(["1", "2"], ["3.5"]).class_names == ()


def test_values_on_request() -> None:
    assert encode(["1", "2"], target="values").y_train.tolist() == [[1.0], [2.0]]
    assert encode([[1], [2]], target="values").y_train.tolist() == [[1.0], [2.0]]
    assert encode([[1, 2], [3, 4]], target="values").y_train.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert encode(["a", "b"], target="values").class_names == ("a", "b")


def test_mixed_labels_are_texts_only_on_request() -> None:
    assert encode(["1", "b"], target="classes").class_names == ("1", "b")
    assert encode(["1", "2"], ["b"], target="classes").class_names == ("1", "2", "b")


@pytest.mark.parametrize(
    ("train", "test", "target", "words"),
    [
        (["1", "2", "x"], [], "auto", ("train 2", "'x'", "among numbers")),
        (["a", "b", "c", "7"], [], "auto", ("train 3", "'7'", "among texts")),
        (["1", "2", "x"], [], "values", ("train 2", "'x'")),
        (["1", "", "2"], [], "auto", ("train 1", "no label")),
        (["1", "2"], ["x"], "auto", ("test 0", "'x'", "numbers")),
        (["a", "b"], ["2"], "auto", ("test 0", "'2'", "texts")),
        (["1", "nan"], [], "auto", ("train 1", "nan")),
        ([1.0, np.inf], [], "auto", ("train 1", "inf")),
        (["1", "2.5"], [], "classes", ("train 1", "whole")),
        ([1.0, 1e300], [], "classes", ("train 1", "whole")),
        ([5, 5, 5], [], "auto", ("every label is 5",)),
        (["a", "a"], [], "auto", ("every label is a",)),
        (list(range(10_001)), [], "auto", ("10001 different labels", "10000")),
        ([[1, 2], [3, 4]], [], "classes", ("one label per sample",)),
        ([["a", "b"]], [], "auto", ("one label per sample",)),
    ],
)
def test_refusals(train: list[Any], test: list[Any], target: str, words: tuple[str, ...]) -> None:
    with pytest.raises(DataError) as caught:
        encode(train, test, target)
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize(("label", "word"), [(-1, "-1"), (10_000, "10000")])
def test_labels_of_pictures_have_a_range(label: int, word: str) -> None:
    with pytest.raises(DataError, match=f"train 1 holds the label {word}; labels run from 0 to 9999"):
        encode([0, label], is_image=True)


def test_check_labels() -> None:
    assert check_labels(np.array([0, 9]), str, 10) == 10
    assert check_labels(np.array([], dtype=np.int64), str) == 0
    with pytest.raises(DataError, match="1 holds the label 10; labels run from 0 to 9"):
        check_labels(np.array([0, 10]), str, 10)
    with pytest.raises(DataError, match="0 holds the label -1"):
        check_labels(np.array([-1, 10], dtype=np.int8), str, 10)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (np.full((2, 64), 200, np.uint8), (True, (8, 8))),
        (np.full((2, 784), 255.0), (True, (28, 28))),
        (np.full((2, 64), 16, np.uint8), (False, (8, 8))),
        (np.full((2, 65), 200, np.uint8), (True, None)),
        (np.full((2, 49), 200, np.uint8), (False, None)),
        (np.full((2, 64), 1, np.uint8), (False, None)),
        (np.full((2, 64), 256), (False, None)),
        (np.full((2, 64), -1), (False, None)),
        (np.full((2, 64), 200.5), (False, None)),
        (np.full((0, 64), 200, np.uint8), (False, None)),
        (np.full((2, 64), np.nan), (False, None)),
    ],
)
def test_what_looks_like_pixels(x: np.ndarray, expected: tuple[bool, tuple[int, int] | None]) -> None:
    assert pixels(x) == expected


def numbered(n: int) -> Dataset:
    return Dataset.from_arrays(np.arange(n, dtype=np.float64).reshape(n, 1), np.arange(n) % 2, name="numbered")


@pytest.mark.parametrize(
    ("n", "fraction", "n_test"),
    [(10, 0.2, 2), (10, 0.0, 0), (2, 0.01, 1), (2, 0.99, 1), (1, 0.5, 0), (10, 0.999, 9), (7, 0.5, 4)],
)
def test_split_sizes(n: int, fraction: float, n_test: int) -> None:
    data = split(numbered(n), fraction, seed=0)
    assert (len(data.x_train), len(data.x_test)) == (n - n_test, n_test)
    together = np.concatenate([data.x_train, data.x_test]).reshape(-1)
    assert sorted(together.tolist()) == list(range(n))
    assert data.y_train.tolist() == (data.x_train[:, 0] % 2).astype(int).tolist()
    assert data.y_test.tolist() == (data.x_test[:, 0] % 2).astype(int).tolist()


def test_split_depends_on_the_seed_alone() -> None:
    parts = [split(numbered(100), 0.2, seed).x_test[:, 0].tolist() for seed in (3, 3, 4)]
    assert parts[0] == parts[1]
    assert parts[0] != parts[2]
    assert parts[0] == sorted(parts[0])
    assert parts[0] != list(range(20))
    assert parts[0] != list(range(80, 100))


def test_split_leaves_given_test_samples_alone() -> None:
    data = Dataset.from_arrays([[0.0], [1.0]], [0, 1], [[2.0]], [1])
    assert split(data, 0.5, 0) is data
