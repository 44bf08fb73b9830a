"""Which samples are held out, and how much each counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbp import Config, DataError, Dataset, Network, UsageError
from fastbp.preparation import prepare, smoothed
from fastbp.samples import balanced_weights, checked_weights, divide, hold_out


@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=200),
    st.floats(0.01, 0.99),
    st.integers(0, 2**32),
)
def test_every_class_gives_its_share(labels: list[int], fraction: float, seed: int) -> None:
    y = np.array(labels, dtype=np.int32)
    n, n_held = len(y), round(len(y) * fraction)
    n_classes = len(np.unique(y))
    if not 1 <= n_held <= n - n_classes:
        with pytest.raises(UsageError, match=rf"of {n} samples is {n_held}; between 1 and {n - n_classes} can"):
            hold_out(y, fraction, seed)
        return
    kept, held = hold_out(y, fraction, seed)
    assert sorted([*kept, *held]) == list(range(n))
    assert len(held) == n_held
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held) > 0).all()
    counts, out = np.bincount(y, minlength=5), np.bincount(y[held], minlength=5)
    assert (out[counts > 0] <= counts[counts > 0] - 1).all()
    if n_held <= 0.8 * n and counts[counts > 0].min() >= 5:  # else a class may have too little to give
        assert (abs(out - counts * n_held / n) <= 1.5).all()


def test_held_out_rows_are_random_and_the_seeds() -> None:
    y = np.repeat(np.arange(4, dtype=np.int32), 50)
    first, again, other = (hold_out(y, 0.2, seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert len(np.intersect1d(first, other)) < 25
    assert np.bincount(y[first]).tolist() == [10] * 4
    drawn = np.bincount(np.concatenate([hold_out(y, 0.2, seed)[1] for seed in range(400)]), minlength=200)
    assert 45 < drawn.min() <= drawn.max() < 120  # 80 each in the mean, 8 the deviation
    values = np.zeros((50, 1))
    kept, held = hold_out(values, 0.3, 0)
    assert (len(kept), len(held)) == (35, 15)
    with pytest.raises(UsageError, match=r"validation 0.99 of 50 samples is 50; between 1 and 49 can"):
        hold_out(values, 0.99, 0)


def test_it_is_not_the_split_into_training_and_test() -> None:
    from fastbp.data.targets import split

    data = Dataset.from_arrays(np.arange(400.0)[:, None], np.arange(400.0))
    test = np.flatnonzero(~np.isin(np.arange(400), split(data, 0.2, 3).x_train[:, 0]))
    held = hold_out(data.y_train, 0.2, 3)[1]
    assert len(np.intersect1d(test, held)) < 40


def test_balanced_weights() -> None:
    """n / (K n_k), by hand: 6 samples, classes of 3, 2 and 1."""
    y = np.array([0, 0, 0, 2, 2, 3])
    assert balanced_weights(y, 5) == pytest.approx([2 / 3, 1, 1, 2, 1])
    assert balanced_weights(y, 5)[y].mean() == pytest.approx(1.0)
    # a sample of weight 3 is three samples
    tripled = balanced_weights(np.array([0, 1, 1]), 2, np.array([3.0, 1.0, 1.0]))
    assert tripled == pytest.approx(balanced_weights(np.array([0, 0, 0, 1, 1]), 2))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], r"shape \(3,\), got shape \(2,\)"),
        ([[1, 2, 3]], r"got shape \(1, 3\)"),
        ([[1], [2, 3]], "one number per training sample"),
        (["a", "b", "c"], "dtype <U1"),
        ([1, float("nan"), 1], "from 0 to 1e.12, got nan for sample 1"),
        ([1, 1, float("inf")], "got inf for sample 2"),
        ([-1, 1, 1], "got -1 for sample 0"),
        ([0, 0, 0], "0 for all samples"),
        (None, "one number per training sample"),
        (1.0, r"got shape \(\)"),
    ],
)
def test_weights_that_are_none(weights: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        checked_weights(weights, 3)


def small(n: int = 12, n_classes: int = 3) -> Dataset:
    x = np.arange(n * 2, dtype=np.float64).reshape(n, 2)
    return Dataset.from_arrays(x, np.arange(n) % n_classes, x[:3], np.arange(3) % n_classes, name="small")


def test_samples_of_weight_0_are_not_there() -> None:
    data = small()
    train, validation = divide(data, Config(), sample_weight=[0, 1, 2, 0, *[1] * 8])
    assert validation is None
    assert train.x[:, 0].tolist() == [2, 4, *range(8, 24, 2)]
    assert train.weights is not None
    assert train.weights.tolist() == [1, 2, *[1] * 8]
    train, validation = divide(data, Config(validation=0.5), sample_weight=[0] * 6 + [1] * 6)
    assert validation is not None
    assert sorted([*train.x[:, 0], *validation.x[:, 0]]) == list(range(12, 24, 2))


def test_weights_follow_their_samples_and_classes() -> None:
    data = small()
    weights = np.arange(1.0, 13)
    train, validation = divide(data, Config(validation=0.25), sample_weight=weights)
    assert validation is not None
    for part in (train, validation):
        assert part.weights is not None
        np.testing.assert_array_equal(part.weights, part.x[:, 0] / 2 + 1)
    few = Dataset.from_arrays(np.zeros((6, 1)), np.array([0, 0, 0, 0, 0, 1]))
    train, validation = divide(few, Config(class_weight="balanced"), ([[1.0], [2.0]], [1, 0]))
    assert validation is not None
    assert train.weights is not None
    assert validation.weights is not None
    assert train.weights.tolist() == pytest.approx([0.6] * 5 + [3.0])
    assert validation.weights.tolist() == pytest.approx([3.0, 0.6])
    assert divide(few, Config())[0].weights is None


@pytest.mark.parametrize(
    ("config", "more", "error", "message"),
    [
        (
            {"patience": 3},
            {},
            UsageError,
            "patience waits for a lower validation cost, and there are no validation samples",
        ),
        ({"validation": 0.2}, {"validation_data": ([[1.0, 2.0]], [0])}, UsageError, "give one of them"),
        ({}, {"validation_data": [[1.0, 2.0]]}, UsageError, r"must be a pair of arrays"),
        ({}, {"validation_data": ([[1.0]], [0])}, DataError, "validation_data has 1 features and small has 2"),
        (
            {},
            {"validation_data": ([[1.0, 2.0]], [3])},
            DataError,
            "validation_data: y holds the label 3; labels run from 0",
        ),
        ({}, {"validation_data": ([[1.0, 2.0]], [0, 1])}, DataError, "validation_data: x has 1 samples and y has 2"),
        ({}, {"validation_data": ([[1.0, 2.0]], [0.5])}, DataError, "validation_data: .*y holds target values"),
        ({}, {"validation_data": (np.zeros((0, 2)), [])}, DataError, "validation_data"),
        ({"validation": 0.01}, {}, UsageError, "validation 0.01 of 12 samples is 0; between 1 and 9 can be held out"),
        (
            {},
            {"sample_weight": [1.0]},
            UsageError,
            r"sample_weight must be one number per training sample, shape \(12,\)",
        ),
    ],
)
def test_refusals(config: dict[str, Any], more: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        divide(small(), Config(**config), **more)


def test_values_have_no_classes_to_balance() -> None:
    values = Dataset.from_arrays(np.zeros((4, 2)), np.array([0.5, 1, 2, 3]), name="values")
    with pytest.raises(UsageError, match="class_weight balanced is for classes, but values has target values"):
        divide(values, Config(class_weight="balanced"))
    validation = divide(values, Config(), (np.zeros((2, 2)), [1, 2]))[1]
    assert validation is not None
    assert validation.y.tolist() == [[1.0], [2.0]]
    with pytest.raises(DataError, match=r"y has shape \(2, 2\) and the targets of values have shape \(4, 1\)"):
        divide(values, Config(), (np.zeros((2, 2)), np.zeros((2, 2))))


def test_scalings_see_the_training_samples_only() -> None:
    data = small()
    network = Network((2, 3), ("softmax",), "cross_entropy")
    ready = prepare(data, Config(validation=0.25, dtype="float64"), network)
    assert ready.validation is not None
    rows = (ready.train.x * np.asarray(1 / ready.inputs.scale) + ready.inputs.shift)[:, 0]
    np.testing.assert_allclose(ready.train.x.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(ready.train.x.std(0), 1)
    assert len(rows) == 9
    assert abs(ready.validation.x.mean()) > 1e-3
    values = Dataset.from_arrays(data.x_train, np.arange(12.0) * 7)
    ready = prepare(values, Config(validation=0.25), Network((2, 1), ("identity",), "squared_error"))
    assert ready.validation is not None
    assert ready.train.targets.mean() == pytest.approx(0, abs=1e-6)
    assert len(ready.validation.targets) == len(ready.validation.y) == 3


def test_bytes_stay_bytes_only_if_all_are() -> None:
    data = Dataset.from_arrays(np.arange(24, dtype=np.uint8).reshape(12, 2), np.arange(12) % 3)
    network = Network((2, 3), ("softmax",), "cross_entropy")
    assert prepare(data, Config(validation=0.25), network).x_scale == 1 / 255
    floats = (data.x_train[:3].astype(np.float64), [0, 1, 2])
    ready = prepare(data, Config(), network, validation_data=floats)
    assert ready.x_scale == 1.0
    assert ready.validation is not None
    np.testing.assert_array_equal(ready.validation.x, ready.train.x[:3])
    assert ready.train.x.dtype == np.float32


def test_smoothed_labels() -> None:
    """(1 - s) y + s / K; only where the network learns, not where it is measured."""
    assert smoothed(np.eye(4), 0.2, "cross_entropy")[1] == pytest.approx([0.05, 0.85, 0.05, 0.05])
    assert smoothed(np.array([[0.0], [1.0]]), 0.2, "binary_cross_entropy")[:, 0] == pytest.approx([0.1, 0.9])
    assert smoothed(np.eye(3, dtype=np.float32), 0.1, "cross_entropy").dtype == np.float32
    network = Network((2, 3), ("softmax",), "cross_entropy")
    ready = prepare(small(), Config(label_smoothing=0.3, validation=0.25), network)
    assert ready.validation is not None
    np.testing.assert_allclose(ready.train.targets, np.eye(3) * 0.7 + 0.1, rtol=1e-6)
    np.testing.assert_array_equal(ready.validation.targets, np.eye(3))
    np.testing.assert_array_equal(ready.test.targets, np.eye(3))
    with pytest.raises(
        UsageError, match="label_smoothing is for cost cross_entropy and binary_cross_entropy, got cost"
    ):
        prepare(small(), Config(label_smoothing=0.3), Network((2, 3), ("sigmoid",), "squared_error"))
