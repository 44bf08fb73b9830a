"""What a dataset accepts, what it keeps, and the words of every refusal."""

import hashlib

import numpy as np
import pytest

from fastbp.data.dataset import Dataset, unfit_class_names
from fastbp.errors import DataError


def test_arrays_are_kept_as_they_are():
    x = np.arange(6, dtype=np.uint8).reshape(2, 3)
    data = Dataset.from_arrays(x, np.array([1, 0], dtype=np.int64), name="tiny")
    assert np.shares_memory(data.x_train, x)
    assert data.x_train.dtype == np.uint8
    assert data.y_train.tolist() == [1, 0]
    assert data.y_train.dtype == np.int32
    assert (data.n_features, data.n_classes, data.class_names) == (3, 2, ("0", "1"))
    assert data.x_test.shape == (0, 3)
    assert data.y_test.shape == (0,)
    assert not data.is_regression
    assert data.image_shape is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [("u1", "u1"), ("f4", "f4"), ("f8", "f8"), ("f2", "f8"), ("i4", "f8"), ("u2", "f8"), ("?", "f8"), (">f4", "f8")],
)
def test_number_types(given, kept):
    data = Dataset.from_arrays(np.array([[0, 1]]).astype(given), [0])
    assert data.x_train.dtype == np.dtype(kept)
    assert data.x_train.tolist() == [[0, 1]]


def test_pictures_are_flattened_row_by_row():
    data = Dataset.from_arrays(np.arange(12).reshape(2, 2, 3), [0, 1])
    assert data.image_shape == (2, 3)
    assert data.x_train.tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]


def test_other_memory_layouts_become_rows():
    x = np.asfortranarray(np.arange(6.0).reshape(2, 3))[:, ::-1]
    data = Dataset.from_arrays(x, [0, 1])
    assert data.x_train.flags.c_contiguous
    assert data.x_train.tolist() == [[2, 1, 0], [5, 4, 3]]


def test_floats_are_target_values():
    data = Dataset.from_arrays([[1], [2]], np.array([0.5, 1.0], dtype=np.float32), [[3]], [2.0])
    assert data.is_regression
    assert data.n_classes == 0
    assert data.y_train.tolist() == [[0.5], [1.0]]
    assert data.y_test.tolist() == [[2.0]]
    assert data.y_train.dtype == np.float64


def test_the_test_set_counts_among_the_classes():
    assert Dataset.from_arrays([[1], [2]], [0, 1], [[3]], [4]).n_classes == 5


def test_given_class_names_set_the_number_of_classes():
    data = Dataset.from_arrays([[1], [2]], [0, 1], class_names=["cat", "dog", "bird"])
    assert data.class_names == ("cat", "dog", "bird")


def test_an_empty_test_set_is_none():
    data = Dataset.from_arrays([[1.0]], [0], np.zeros((0, 1)), [])
    assert data.x_test.shape == (0, 1)
    assert data.y_test.dtype == np.int32


GOOD_X, GOOD_Y = [[1.0, 2.0], [3.0, 4.0]], [0, 1]


@pytest.mark.parametrize(
    ("arrays", "settings", "message"),
    [
        ((GOOD_X, [0]), {}, "arrays: x_train has 2 samples and y_train has 1; they must be equal"),
        ((GOOD_X, GOOD_Y, GOOD_X, [0]), {}, "arrays: x_test has 2 samples and y_test has 1; they must be equal"),
        ((np.zeros((0, 2)), []), {}, "arrays: x_train has no samples; at least 1 is needed"),
        ((np.zeros((2, 0)), GOOD_Y), {}, "arrays: x_train has no features; at least 1 is needed"),
        (([1.0, 2.0], GOOD_Y), {}, "arrays: x_train must have one row per sample, got shape (2,)"),
        (([["a"], ["b"]], GOOD_Y), {}, "arrays: x_train must hold numbers, got dtype <U1"),
        (([[1j], [2]], GOOD_Y), {}, "arrays: x_train must hold numbers, got dtype complex128"),
        (([[1, 2], [3]], GOOD_Y), {}, "arrays: x_train must be one array of numbers, got rows of different lengths"),
        ((GOOD_X, [[0], [1, 2]]), {}, "arrays: y_train must be one array of numbers, got rows of different lengths"),
        (
            ([[1.0, 2.0], [np.nan, 4.0]], GOOD_Y),
            {"name": "iris.csv"},
            "iris.csv: x_train holds nan in row 1, column 0; every value must be finite",
        ),
        (
            (GOOD_X, GOOD_Y, [[0.0, -np.inf]], [0]),
            {},
            "arrays: x_test holds -inf in row 0, column 1; every value must be finite",
        ),
        ((GOOD_X, [0.5, np.inf]), {}, "arrays: y_train holds NaN or infinity in row 1; every value must be finite"),
        ((GOOD_X, [0, -1]), {}, "arrays: y_train holds the label -1; labels run from 0 to 9999"),
        ((GOOD_X, [-1, -1]), {}, "arrays: y_train holds the label -1; labels run from 0 to 9999"),
        ((GOOD_X, [0, 2_000_000_000]), {}, "arrays: y_train holds the label 2000000000; labels run from 0 to 9999"),
        ((GOOD_X, [0, 2**40]), {}, "arrays: y_train holds the label 1099511627776; labels run from 0 to 9999"),
        ((GOOD_X, [-(2**40), 0]), {}, "arrays: y_train holds the label -1099511627776; labels run from 0 to 9999"),
        (
            (GOOD_X, [0, 2]),
            {"class_names": ("a", "b")},
            "arrays: y_train holds the label 2; labels run from 0 to 1",
        ),
        (
            (GOOD_X, GOOD_Y, GOOD_X, [0, 5]),
            {"class_names": ("a", "b")},
            "arrays: y_test holds the label 5; labels run from 0 to 1",
        ),
        ((GOOD_X, [[0], [1]]), {}, "arrays: y_train must hold one class number per sample, got shape (2, 1)"),
        (
            (GOOD_X, ["a", "b"]),
            {},
            "arrays: y_train must hold class numbers (whole) or target values (floats, one row per sample), "
            "got dtype <U1 and shape (2,)",
        ),
        (
            (GOOD_X, np.zeros((2, 0))),
            {},
            "arrays: y_train must hold class numbers (whole) or target values (floats, one row per sample), "
            "got dtype float64 and shape (2, 0)",
        ),
        ((GOOD_X, GOOD_Y, [[1.0]], [0]), {}, "arrays: x_test has 1 features and x_train has 2; they must be equal"),
        ((GOOD_X, GOOD_Y, GOOD_X), {}, "arrays: x_test was given without y_test; give both or neither"),
        ((GOOD_X, GOOD_Y, None, GOOD_Y), {}, "arrays: y_test was given without x_test; give both or neither"),
        (
            (GOOD_X, GOOD_Y, GOOD_X, [0.5, 0.5]),
            {},
            "arrays: y_train holds class numbers and y_test holds 1 target values per sample; they must be alike",
        ),
        (
            (GOOD_X, [[0.5, 0.5]] * 2, GOOD_X, [0.5, 0.5]),
            {},
            "arrays: y_train holds 2 target values per sample and y_test holds 1 target values per sample; "
            "they must be alike",
        ),
        (
            (GOOD_X, [0.5, 1.5]),
            {"class_names": ("a",)},
            "arrays: class names were given but y_train holds target values, not class numbers",
        ),
        (
            (GOOD_X, GOOD_Y),
            {"image_shape": (3, 3)},
            "arrays: x_train has 2 features, pictures of 3 x 3 need 9",
        ),
        (
            (GOOD_X, GOOD_Y),
            {"class_names": ("a", "b\x1b[2J")},
            "arrays: the name of class 1, 'b\\x1b[2J', holds a control character; remove it",
        ),
    ],
)
def test_what_is_no_dataset_is_refused_with_these_words(arrays, settings, message):
    with pytest.raises(DataError) as caught:
        Dataset.from_arrays(*arrays, **settings)
    assert str(caught.value) == message
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("x" * 1001, "has 1001 characters, at most 1000"),
        ("a\nb", "control character"),
        ("\u202egnp", "control character"),  # right-to-left override
        ("\ud800", "control character"),
        (7, "must be a text, got int"),
    ],
)
def test_names_that_would_garble_a_terminal(name, words):
    assert words in unfit_class_names(["fine", name])
    assert "class 1" in unfit_class_names(["fine", name])


def test_names_in_any_language_are_fine():
    assert (
        unfit_class_names(["", "x" * 1000, "T-shirt/top", "\u6570\u5b57", "na\u00efve", "\u0915\u094d\u200d\u0937"])
        is None
    )


def test_the_checksum_sees_values_types_and_shapes():
    x = np.array([[1, 2], [3, 4]], dtype=np.uint8)
    sums = {
        Dataset.from_arrays(*arrays).sha256
        for arrays in (
            (x, [0, 1]),
            (x, [1, 0]),
            (x.T, [0, 1]),
            (x.astype("f4"), [0, 1]),
            (x.astype("f8"), [0, 1]),
            (x, [0, 1], x, [0, 1]),
            (x, [0.0, 1.0]),
        )
    }
    assert len(sums) == 7


def test_the_checksum_is_of_the_numbers_not_the_names():
    x = np.array([[1, 2]], dtype=np.uint8)
    one, other = Dataset.from_arrays(x, [0], name="a"), Dataset.from_arrays(x.copy(order="F"), [0], name="b")
    assert one.sha256 == other.sha256
    by_hand = hashlib.sha256(b"|u1(1, 2)\x01\x02" + b"<i4(1,)\x00\x00\x00\x00" + b"|u1(0, 2)" + b"<i4(0,)")
    assert one.sha256 == by_hand.hexdigest()
