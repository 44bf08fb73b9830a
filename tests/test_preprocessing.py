"""Scalings against numbers by hand, NumPy's moments and exact fractions."""

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest

from fastbp import preprocessing
from fastbp.errors import UsageError
from fastbp.kernels import CsrRows
from fastbp.preprocessing import Scaling, code_classes, fit_inputs, fit_targets


@pytest.fixture
def rng():
    return np.random.default_rng(20)


def test_apply_and_invert_by_hand():
    scaling = Scaling(np.array([10.0, -1.0]), np.array([0.5, 2.0]))
    assert scaling.apply([[12, -1], [8, 0]], "float64").tolist() == [[1.0, 0.0], [-1.0, 2.0]]
    assert scaling.invert([[1.0, 0.0], [-1.0, 2.0]]).tolist() == [[12.0, -1.0], [8.0, 0.0]]
    assert Scaling(1.0, 4.0).apply([[2.0, 3.0]], "float32").tolist() == [[4.0, 8.0]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bytes_become_exactly_rounded_shares_of_255(dtype):
    pixels = np.arange(256, dtype=np.uint8)[:, None]
    result = fit_inputs(pixels).apply(pixels, dtype)
    assert result.dtype == dtype
    for value, got in zip(range(256), result[:, 0], strict=True):
        assert got == np.dtype(dtype).type(float(value * Fraction(1.0 / 255.0)))
    assert result[0, 0] == 0.0
    assert result[255, 0] == 1.0


def test_auto_is_a_constant_for_bytes_and_standard_for_floats(rng):
    dark = np.full((3, 2), 7, dtype=np.uint8)
    assert fit_inputs(dark, "auto") == Scaling(0.0, 1.0 / 255.0) == fit_inputs(dark, "unit")
    x = rng.normal(5.0, 3.0, (50, 4))
    assert fit_inputs(x, "auto") == fit_inputs(x, "standard")
    assert fit_inputs(x, "none") == Scaling(0.0, 1.0) == fit_inputs(dark, "none")


def test_standard_gives_mean_0_and_deviation_1_per_feature(rng):
    x = rng.normal([0.0, 1e6, -3.0], [1e-3, 10.0, 1e8], (1000, 3))
    scaling = fit_inputs(x, "standard")
    np.testing.assert_allclose(scaling.shift, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(scaling.scale, 1 / x.std(axis=0), rtol=1e-12)
    scaled = scaling.apply(x, "float64")
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(scaled.std(axis=0), 1.0, rtol=1e-9)


def test_unit_gives_0_to_1_per_feature(rng):
    x = rng.uniform([-5.0, 100.0], [5.0, 101.0], (200, 2)).astype(np.float32)
    scaled = fit_inputs(x, "unit").apply(x, "float64")
    assert scaled.min(axis=0).tolist() == [0.0, 0.0]
    np.testing.assert_allclose(scaled.max(axis=0), 1.0, rtol=1e-15)


def test_standard_of_bytes_is_per_feature():
    x = np.array([[0, 10], [4, 10], [8, 10]], dtype=np.uint8)
    scaling = fit_inputs(x, "standard")
    np.testing.assert_allclose(scaling.shift, [4.0, 10.0])
    np.testing.assert_allclose(scaling.scale, [1 / np.sqrt(32 / 3), 1.0])


@pytest.mark.parametrize("how", ["unit", "standard"])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e300, 5e-324, 1e9 + 0.1])
def test_a_feature_that_never_changes_becomes_0(how, value):
    x = np.full((7, 1), value)
    scaling = fit_inputs(x, how)
    assert scaling.shift.tolist() == [value]
    assert scaling.scale.tolist() == [1.0]
    assert not scaling.apply(x, "float64").any()


@pytest.mark.parametrize(
    "column",
    [
        [-1.7e308, 1.7e308],
        [1.7e308, 1.6e308],
        [-1.7e308, 0.0, 1.7e308],
        [1e-290, 2e-290],
        [5e-324, 1e-323],
        [0.0, 2.3e-308],
        [1e9, np.nextafter(1e9, 2e9)],
    ],
)
@pytest.mark.parametrize("how", ["unit", "standard"])
def test_extreme_ranges_stay_finite_and_come_back(how, column):
    x = np.array(column)[:, None]
    scaling = fit_inputs(x, how)
    scaled = scaling.apply(x, "float64")
    assert np.isfinite(scaled).all()
    assert np.abs(scaled).max() <= 2.0
    np.testing.assert_allclose(scaling.invert(scaled), x, rtol=1e-14, atol=1e-323)


def test_extreme_ranges_are_still_scaled():
    x = np.array([[-1.5e308], [1.5e308]])
    for scaling, bottom in (
        (fit_inputs(x, "unit"), 0.0),
        (fit_inputs(x, "standard"), -1.0),
        (fit_targets(x, "tanh"), -1.0),
        (fit_targets(x, "sigmoid"), 0.0),
    ):
        np.testing.assert_allclose(scaling.apply(x, "float64").ravel(), [bottom, 1.0], atol=1e-14)


def test_blocks_do_not_show_in_the_result(rng, monkeypatch):
    x = rng.normal(3.0, 2.0, (100, 7)).astype(np.float32)
    whole = fit_inputs(x)
    applied = whole.apply(x, "float32")
    monkeypatch.setattr(preprocessing, "BLOCK_VALUES", 20)
    parts = fit_inputs(x)
    assert np.array_equal(whole.apply(x, "float32"), applied)
    np.testing.assert_allclose(parts.shift, whole.shift, rtol=1e-13)
    np.testing.assert_allclose(parts.scale, whole.scale, rtol=1e-13)


@pytest.mark.parametrize("how", ["auto", "standard"])
def test_bytes_are_never_copied_whole(how):
    x = np.zeros((20_000, 784), dtype=np.uint8)  # 15.7 MB; as float64 it would be 125 MB
    x[::3, ::2] = 9
    tracemalloc.start()
    try:
        scaling = fit_inputs(x, how)
        fitted = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        scaling.apply(x, "float32")
        applied = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert fitted < 12e6
    assert applied < x.size * 4 + 12e6


def test_the_source_array_is_untouched_and_may_be_read_only(rng):
    x = rng.normal(size=(5, 2))
    x.setflags(write=False)
    before = x.copy()
    fit_inputs(x).apply(x, "float64")[...] = 0
    assert np.array_equal(x, before)


def test_no_rows_are_no_rows():
    assert Scaling(0.0, 1.0).apply(np.zeros((0, 3)), "float32").shape == (0, 3)


@pytest.mark.parametrize(
    ("x", "dtype", "words"),
    [
        ([[0.0], [1e39]], "float32", r"row 1, column 0 holds 1e\+39, which is not a finite float32 once scaled"),
        ([[0.0, np.nan]], "float64", "row 0, column 1 holds nan"),
        ([[-np.inf]], "float64", "row 0, column 0 holds -inf"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(x, dtype, words):
    with pytest.raises(UsageError, match=words):
        Scaling(0.0, 1.0).apply(x, dtype)


def test_rows_are_counted_across_blocks_and_from_the_first(monkeypatch):
    monkeypatch.setattr(preprocessing, "BLOCK_VALUES", 2)
    x = np.zeros((10, 1))
    x[7] = np.inf
    with pytest.raises(UsageError, match="row 107, column 0"):
        Scaling(0.0, 1.0).apply(x, "float64", first_row=100)


@pytest.mark.parametrize(
    ("shift", "scale", "words"),
    [
        (0.0, 0.0, "no scale may be 0"),
        (np.nan, 1.0, "must be finite"),
        (0.0, np.inf, "must be finite"),
        (np.zeros(3), np.ones(2), r"shapes \(3,\) and \(2,\)"),
        (0.0, np.ones(2), r"shapes \(\) and \(2,\)"),
        (np.zeros((1, 1)), np.ones((1, 1)), "two numbers or two vectors"),
        (np.zeros(0), np.ones(0), "two numbers or two vectors"),
    ],
)
def test_a_scaling_that_makes_no_sense_is_refused(shift, scale, words):
    with pytest.raises(UsageError, match=words):
        Scaling(shift, scale)


def test_a_scaling_keeps_its_own_copy_and_compares_by_value():
    shift = np.zeros(2)
    scaling = Scaling(shift, np.ones(2))
    shift[0] = 5.0
    assert scaling == Scaling([0, 0], [1, 1])
    assert scaling != Scaling([0, 0], [1, 2])
    assert scaling != Scaling(0.0, 1.0)
    assert scaling != "a text"
    assert scaling.n_features == 2
    assert Scaling(0, 1).n_features is None
    assert type(Scaling(np.float32(0), 1).shift) is float
    with pytest.raises(ValueError, match="read-only"):
        scaling.shift[0] = 1.0


@pytest.mark.parametrize(
    ("activation", "low", "high"),
    [("sigmoid", 0, 1), ("tanh", -1, 1), ("relu", 0, 1), ("leaky_relu", 0, 1), ("step", 0, 1)],
)
def test_targets_fill_the_range_of_the_output(activation, low, high):
    y = np.array([[10.0, 0.5], [30.0, 0.0], [15.0, 1.0]])
    scaling = fit_targets(y, activation)
    scaled = scaling.apply(y, "float64")
    assert scaled.min(axis=0).tolist() == [low, low]
    assert scaled.max(axis=0).tolist() == [high, high]
    assert scaled[2, 0] == low + (high - low) * 0.25
    np.testing.assert_allclose(scaling.invert(scaled), y, rtol=1e-15)


def test_identity_targets_have_mean_0_and_deviation_1():
    scaling = fit_targets(np.array([[1.0], [3.0]]), "identity")
    assert scaling == Scaling([2.0], [1.0])
    assert fit_targets(np.array([[10.0], [10.0]]), "identity") == Scaling([10.0], [1.0])


def test_softmax_is_not_for_values():
    with pytest.raises(UsageError, match="need an output_activation other than softmax, got softmax"):
        fit_targets(np.ones((2, 1)), "softmax")


def test_nothing_to_fit_is_refused():
    with pytest.raises(UsageError, match="no samples"):
        fit_inputs(np.zeros((0, 3)))
    with pytest.raises(UsageError, match="no target values"):
        fit_targets(np.zeros((0, 1)), "identity")
    with pytest.raises(UsageError, match="normalize must be one of auto, none, unit, standard, scale, got 'zscore'"):
        fit_inputs(np.zeros((1, 3)), "zscore")


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", "relu", "identity"])
def test_classes_are_coded_by_one_and_zeros(activation):
    y = code_classes(np.array([2, 0], dtype=np.uint8), 3, activation, "float64")
    assert y.tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    assert y.dtype == np.float64


def test_classes_of_tanh_are_coded_by_plus_and_minus_one():
    assert code_classes([1, 0], 2, "tanh").tolist() == [[-1.0, 1.0], [1.0, -1.0]]
    assert code_classes([1, 0], 1, "tanh").tolist() == [[1.0], [-1.0]]


def test_one_output_tells_two_classes_apart():
    y = code_classes([1, 0, 1], 1, "sigmoid")
    assert y.tolist() == [[1.0], [0.0], [1.0]]
    assert y.dtype == np.float32


def test_no_labels_are_no_rows():
    assert code_classes([], 4, "softmax").shape == (0, 4)


@pytest.mark.parametrize(
    ("labels", "n_outputs", "activation", "words"),
    [
        ([0, 3], 3, "softmax", "labels hold the class 3; classes run from 0 to 2"),
        ([-1, 0], 3, "softmax", "labels hold the class -1"),
        ([2], 1, "sigmoid", "labels hold the class 2; classes run from 0 to 1"),
        ([1], 1, "softmax", "labels hold the class 1; classes run from 0 to 0"),
        ([0.5], 3, "softmax", "vector of class numbers, .* float64"),
        ([[0]], 3, "softmax", r"got shape \(1, 1\)"),
    ],
)
def test_labels_that_are_no_class_are_refused(labels, n_outputs, activation, words):
    with pytest.raises(UsageError, match=words):
        code_classes(labels, n_outputs, activation)


# --- scale: deviation 1, and zeros stay zeros -------------------------------------------------------------------------


def csr_of(x):
    """What SciPy's csr_array of x would hold, and a zero that is stored at (1, 1)."""
    kept = [sorted({*np.flatnonzero(row).tolist(), *([1] if i == 1 else [])}) for i, row in enumerate(x)]
    return CsrRows(
        np.array([x[i, k] for i, columns in enumerate(kept) for k in columns], x.dtype),
        np.array([k for columns in kept for k in columns], np.int32),
        np.cumsum([0, *map(len, kept)]),
        x.shape[1],
    )


def sparse_table(rng, dtype="float64"):
    """Counts and numbers, mostly zero; column 2 always 0, column 3 always 7, column 4 once 1e6."""
    x = rng.normal(size=(60, 7)) * (rng.random((60, 7)) < 0.3)
    x[:, 1] = rng.poisson(0.4, 60)
    x[:, 2], x[:, 3], x[:, 4] = 0, 7, 0
    x[17, 4] = 1e6
    return x.astype(dtype)


def test_scale_by_hand():
    """Deviations of (0, 0, 4, 0) and (1, 3, 1, 3): sqrt(3) and 1; the mean stays where it is."""
    x = np.array([[0.0, 1.0, 5.0], [0.0, 3.0, 5.0], [4.0, 1.0, 5.0], [0.0, 3.0, 5.0]])
    scaling = fit_inputs(x, "scale")
    assert scaling.shift.tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(scaling.scale, [1 / np.sqrt(3), 1.0, 1.0], rtol=1e-15)
    np.testing.assert_allclose(scaling.apply(x[2:3], "float64"), [[4 / np.sqrt(3), 1.0, 5.0]], rtol=1e-15)
    assert fit_inputs(x.astype(np.uint8), "scale") == scaling


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scale_of_sparse_samples_is_that_of_dense_ones(rng, dtype):
    x = sparse_table(rng, dtype)
    x.T[1][5:] = 2  # few zeros
    sparse = csr_of(x)
    scaling = fit_inputs(sparse, "scale")
    deviation = x.astype(np.float64).std(axis=0)
    np.testing.assert_allclose(scaling.scale, 1 / np.where(deviation == 0, 1, deviation), rtol=1e-12)
    np.testing.assert_allclose(fit_inputs(x, "scale").scale, scaling.scale, rtol=1e-12)
    assert scaling.scale[2:4].tolist() == [1.0, 1.0]
    scaled = scaling.apply_sparse(sparse, dtype)
    assert scaled.data.dtype == dtype
    assert scaled.indices is sparse.indices
    dense = np.zeros_like(x)
    rows = np.repeat(np.arange(60), np.diff(sparse.indptr))
    dense[rows, sparse.indices] = scaled.data
    np.testing.assert_array_equal(dense, scaling.apply(x, dtype))
    np.testing.assert_array_equal(dense == 0, x == 0)
    assert fit_inputs(sparse, "none") == Scaling(0.0, 1.0)
    np.testing.assert_array_equal(Scaling(0.0, 0.5).apply_sparse(sparse, dtype).data, sparse.data / 2)


@pytest.mark.parametrize("kind", ["csr_array", "csc_array"])
def test_scale_is_that_of_scikit_learn_without_a_mean(rng, kind):
    scalers, sparse = pytest.importorskip("sklearn.preprocessing"), pytest.importorskip("scipy.sparse")
    x = sparse_table(rng)
    theirs = scalers.StandardScaler(with_mean=False)
    expected = theirs.fit_transform(getattr(sparse, kind)(x)).toarray()
    for given in (x, csr_of(x)):
        scaling = fit_inputs(given, "scale")
        np.testing.assert_allclose(scaling.scale, 1 / theirs.scale_, rtol=1e-12)
        np.testing.assert_allclose(scaling.apply(x, "float64"), expected, rtol=1e-12)


@pytest.mark.parametrize("column", [[-1.7e308, 1.7e308, 0.0], [1e-290, 2e-290, 0.0], [5e-324, 0.0, 0.0], [1e9] * 3])
def test_extreme_columns_stay_finite(column):
    x = np.array(column)[:, None]
    for given in (x, csr_of(np.repeat(x, 2, axis=1))):
        scaling = fit_inputs(given, "scale")
        scaled = scaling.apply(np.repeat(x, 2, axis=1)[:, : len(scaling.scale)], "float64")
        assert np.isfinite(scaled).all()
        assert scaling.shift.tolist() == [0.0] * len(scaling.scale)


def test_what_sparse_samples_cannot_do(rng):
    x = csr_of(sparse_table(rng))
    for how in ("auto", "unit", "standard"):
        with pytest.raises(UsageError, match=f"normalize {how} shifts zeros, .*; use scale or none"):
            fit_inputs(x, how)
    with pytest.raises(UsageError, match=r"this scaling shifts zeros, .*; use normalize scale or none"):
        Scaling(np.ones(7), np.ones(7)).apply_sparse(x, "float32")
    with pytest.raises(UsageError, match="there are no samples"):
        fit_inputs(x._replace(data=x.data[:0], indices=x.indices[:0], indptr=x.indptr[:1]), "scale")
    data = x.data.copy()
    place = int(np.flatnonzero(x.indices == 4)[0])
    data[place] = 1e300
    with pytest.raises(UsageError, match=r"row 17, column 4 holds 1e\+300, which is not a finite float32 once scaled"):
        Scaling(0.0, 1.0).apply_sparse(x._replace(data=data), "float32")


def test_deviations_of_bytes_are_exact():
    """A column that changes once, one that is all of 0..255, and a constant; in fractions by hand."""
    n = 100_000
    x = np.zeros((n, 3), dtype=np.uint8)
    x[:, 0], x[17, 0] = 255, 254
    x[:, 1] = np.arange(n) % 256
    x[:, 2] = 7
    scaling = fit_inputs(x, "standard")
    for column in (0, 1):
        values, counts = np.unique(x[:, column], return_counts=True)
        pairs = [(Fraction(int(value)), int(count)) for value, count in zip(values, counts, strict=True)]
        mean = sum(value * count for value, count in pairs) / n
        variance = sum((value - mean) ** 2 * count for value, count in pairs) / n
        assert scaling.shift[column] == pytest.approx(float(mean), rel=1e-15)
        assert scaling.scale[column] == pytest.approx(float(variance) ** -0.5, rel=1e-14)
    assert (scaling.shift[2], scaling.scale[2]) == (7.0, 1.0)
