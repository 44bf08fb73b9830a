"""Sparse input: lists of entries say what the samples hold, and training on them is training on the samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import config, njit

from fastbp.errors import UsageError
from fastbp.kernels import OPTIMIZER, CsrRows, Settings, Split, packing, reference
from fastbp.kernels import cpu as cpu_module
from fastbp.kernels.cpu import FusedEngine
from fastbp.kernels.entries import row_of, value_of
from fastbp.kernels.layout import SPARE_ROWS
from fastbp.kernels.packing import Inputs, _pack
from fastbp.kernels.simd import lanes, store
from fastbp.kernels.stepwise import StepwiseEngine
from fastbp.network import Network

FORMS = ("bytes", "numbers", "csr")


def samples(form: str, dtype: str = "float64", n: int = 50, n_in: int = 30) -> np.ndarray:
    """A third nonzero, and every fourth input mostly so; sample 3 holds nothing, 4 everything, 5 a single zero."""
    rng = np.random.default_rng(0)
    shares = np.where(np.arange(n_in) % 4 == 1, 0.95, 0.25)
    x = rng.integers(1, 256, (n, n_in)) * (rng.random((n, n_in)) < shares)
    if n > 5:
        x[3], x[4], x[5] = 0, 255, np.arange(n_in) % 256
    if form == "bytes":
        return x.astype(np.uint8)
    return (x * rng.normal(size=(n, n_in))).astype(dtype)


def as_csr(x: np.ndarray, ascending: bool = True) -> CsrRows:
    """What SciPy would hold, written by hand; with a zero that is stored like a number in every sample that has one."""
    data, indices, indptr = [], [], [0]
    for row in x:
        kept = sorted({*np.flatnonzero(row), *np.flatnonzero(row == 0)[:1]})
        for k in kept if ascending else kept[::-1]:
            data.append(row[k])
            indices.append(k)
        indptr.append(len(data))
    return CsrRows(np.array(data, x.dtype), np.array(indices, np.int32), np.array(indptr, np.int64), x.shape[1])


def given(form: str, dtype: str = "float64", **shape: int) -> tuple[np.ndarray, Any]:
    """Samples, and the same in the form that engines are given."""
    x = samples(form, dtype, **shape)
    return x, as_csr(x) if form == "csr" else x


# --- what lists hold --------------------------------------------------------------------------------------------------


def unpacked(packed: Any, i: int, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The list of sample i, read bit by bit: rows and values."""
    part = slice(packed.cuts[i], packed.cuts[i + 1])
    entries = packed.entries[part]
    if packed.entries.dtype == np.uint32 and packed.values.dtype == np.uint8:
        return (entries & 0xFFFF).astype(int), (entries & np.uint32(0xFFFF0000)).view(np.float32)
    return entries.astype(int), packed.values[part]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_dense", [0, 8, 30])
def test_dense_columns_and_entries_say_what_the_samples_hold(form: str, dtype: str, n_dense: int) -> None:
    x, split_x = given(form, dtype)
    order = np.random.default_rng(1).permutation(30) if n_dense < 30 else np.arange(30)
    order = np.concatenate([order[:n_dense], np.sort(order[n_dense:])])
    split = Split(split_x, np.zeros(50, np.int32), np.eye(1))
    packed = _pack(split, 1.0, Inputs(order, n_dense, np.ones(30)), np.array([n_dense, 48]), np.dtype(dtype))
    np.testing.assert_array_equal(packed.x.reshape(50, n_dense), x[:, order[:n_dense]])
    assert packed.sparse == (n_dense < 30)
    for i, row in enumerate(x[:, order] if packed.sparse else []):
        rows, values = unpacked(packed, i, 30)
        n = np.count_nonzero(row[n_dense:])
        assert len(rows) == -(-n // 8) * 8
        assert (np.diff(rows) > 0).all()
        assert (rows[:n] < 30).all()
        decoded = np.zeros(30, dtype)
        decoded[rows[:n]] = values[:n]
        np.testing.assert_array_equal(decoded[n_dense:], row[n_dense:])
        assert not decoded[:n_dense].any()
        assert (values[n:] == 0).all()
        assert list(rows[n:]) == list(range(30, 30 + len(rows) - n))
        assert (rows < 30 + SPARE_ROWS).all()


@pytest.mark.parametrize("form", FORMS)
def test_parts_begin_at_the_first_entry_of_their_rows(form: str) -> None:
    split_x = given(form)[1]
    split = Split(split_x, np.zeros(50, np.int32), np.eye(1))
    bounds = np.array([0, 11, 11, 25, 40])
    packed = _pack(split, 1.0, Inputs(np.arange(30), 0, np.ones(30)), bounds, np.float64)
    starts = packed.cuts[::4]
    for i in range(50):
        rows, _ = unpacked(packed._replace(cuts=starts), i, 30)
        expected = [starts[i] + np.searchsorted(rows, bound) for bound in bounds[:-1]]
        assert list(packed.cuts[4 * i : 4 * i + 4]) == expected
    assert packed.cuts[-1] == starts[-1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_more_entries_than_the_sampled_rows_let_expect(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "SAMPLED_ROWS", 2)
    x = np.zeros((900, 40), dtype)
    x[1:] = np.arange(1, 41)  # only sample 0 is looked at, and 450, which is empty too
    x[450] = 0
    inputs = packing.order_inputs(x, "sparse", 8, 32)
    assert inputs.density == 0
    calls = []
    monkeypatch.setattr(packing, "pack_rows", lambda *given: calls.append(given) or packing_rows(*given))
    packed = _pack(Split(x, np.zeros(900, np.int32), np.eye(1)), 1.0, inputs, np.array([0, 48]), np.dtype(dtype))
    assert len(calls) > 1
    for i in (0, 1, 2, 449, 450, 451, 899):
        rows, values = unpacked(packed, i, 40)
        np.testing.assert_array_equal(rows, np.flatnonzero(x[i]))
        np.testing.assert_array_equal(values, x[i][x[i] != 0])
    assert packed.cuts[-1] == 898 * 40


packing_rows = packing.pack_rows


def test_nan_and_infinity_are_nonzero_and_the_negative_zero_is_not() -> None:
    x = np.array([[0.0, np.nan, -0.0, np.inf, 0.0, -1e-300, 0.0, 0.0]])
    for split_x in (x, as_csr(x)):
        inputs = Inputs(np.arange(8), 0, np.ones(8))
        packed = _pack(Split(split_x, np.zeros(1, np.int32), np.eye(1)), 1.0, inputs, np.array([0, 16]), np.float64)
        rows, values = unpacked(packed, 0, 8)
        assert list(rows[:3]) == [1, 3, 5]
        assert np.isnan(values[0])
        assert list(values[1:3]) == [np.inf, -1e-300]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernels_read_entries(dtype: Any) -> None:
    """Bytes are exact in a bfloat16, whatever the low half says."""
    n = 64 // np.dtype(dtype).itemsize

    @njit
    def read(entries, values, e, out):
        store(out, 0, value_of(out, entries, values, e))
        return row_of(entries, values, e)

    compiled, out = read, np.empty(n, dtype)
    for value in range(256):
        bits = np.float32(value).view(np.uint32) | np.uint32(0x8000 + value)
        entries, none = np.array([0, bits], np.uint32), np.zeros(1, np.uint8)
        for function in (compiled, read.py_func if not config.DISABLE_JIT else read):
            assert function(entries, none, 1, out) == 0x8000 + value
            assert list(out) == [value] * n
    values = np.array([0.1, -7.5, 3e30], dtype)
    for kind, row in ((np.uint16, 65_535), (np.uint32, 4_000_000_000)):
        for function in (compiled, read.py_func if not config.DISABLE_JIT else read):
            assert function(np.array([1, 2, row], kind), values, 2, out) == row
            assert list(out) == [values[2]] * n
    assert lanes(out) == n


def test_which_bytes_are_too_wide() -> None:
    x = np.zeros((2, 65_529), np.uint8)
    with pytest.raises(UsageError, match="sparse input of bytes takes at most 65528 features, got 65529; use dense"):
        packing.order_inputs(x, "sparse", 16, 1)
    assert packing.order_inputs(x, "auto", 16, 1).n_dense == 65_529
    assert packing.order_inputs(x[:, :65_528], "auto", 16, 1).n_dense == 0
    assert packing.order_inputs(np.zeros((2, 65_529), np.float32), "auto", 16, 1).n_dense == 0


# --- what is learnt from them -----------------------------------------------------------------------------------------

NETWORK = Network((30, 17, 5, 3), ("tanh", "sigmoid", "softmax"), "cross_entropy")


def fused_engine(form: str, dtype: str, layout: str, *, threads: int = 1, **settings: Any) -> FusedEngine:
    _, x = given(form, dtype)
    part = x._replace(indptr=x.indptr[:8]) if form == "csr" else x[:7]
    return FusedEngine(
        NETWORK,
        NETWORK.initial_parameters(3, dtype=dtype),
        Split(x, labels(), np.eye(3)),
        Split(part, labels()[:7], np.eye(3)),
        Settings(**settings),
        x_scale=scale_of(form),
        layout=layout,
        threads=threads,
    )


def exact_engine(form: str, dtype: str, **settings: Any) -> StepwiseEngine:
    x = samples(form, dtype)
    x = x if form == "bytes" else x.astype(np.float64)
    theta = NETWORK.initial_parameters(3, dtype=dtype).astype(np.float64)
    splits = (Split(x[:n], labels()[:n], np.eye(3)) for n in (50, 7))
    return StepwiseEngine(reference, "reference", NETWORK, theta, *splits, Settings(**settings), x_scale=scale_of(form))


def labels() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 3, 50).astype(np.int32)


def scale_of(form: str) -> float:
    return 1 / 255 if form == "bytes" else 1 / 64


def trained(engine: Any, batch_size: int, eta: float) -> tuple[np.ndarray, np.ndarray, float, float]:
    order = np.concatenate([np.random.default_rng(epoch).permutation(50) for epoch in range(4)]).astype(np.uint32)
    n_batches = -(-len(order) // batch_size)
    costs = np.empty(n_batches)
    engine.run(order, np.linspace(eta, eta / 2, n_batches), costs)
    return engine.parameters(), costs, engine.evaluate("train").loss, engine.evaluate("test").loss


RATES = {"sgd": 0.1, "momentum": 0.02, "nesterov": 0.02, "rmsprop": 0.001, "adam": 0.002, "adamw": 0.002}


@pytest.mark.parametrize("optimizer", OPTIMIZER)
@pytest.mark.parametrize("layout", ["auto", "sparse", "dense"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_trains_like_the_reference(form: str, layout: str, optimizer: str) -> None:
    for (dtype, limit), batch_size in zip((("float64", 1e-11), ("float32", 2e-5)), (8, 50), strict=True):
        settings = {"optimizer": OPTIMIZER[optimizer], "batch_size": batch_size, "decay": 0.01 * (batch_size == 8)}
        ours = trained(fused_engine(form, dtype, layout, **settings), batch_size, RATES[optimizer])
        theirs = trained(exact_engine(form, dtype, **settings), batch_size, RATES[optimizer])
        assert np.linalg.norm(ours[0] - theirs[0]) / np.linalg.norm(theirs[0]) <= limit
        for got, expected in zip(ours[1:], theirs[1:], strict=True):
            np.testing.assert_allclose(got, expected, rtol=10 * limit)


@pytest.mark.parametrize("form", FORMS)
def test_the_layouts_are_what_they_are_called(form: str) -> None:
    names = [fused_engine(form, "float32", layout, optimizer=0, batch_size=8).name for layout in ("auto", "sparse")]
    assert names == ["fused sparse float32"] * 2  # 8 of 30 inputs are mostly nonzero: no whole vector of 16
    assert fused_engine(form, "float64", "auto", optimizer=0, batch_size=32).name == "fused mixed float64"
    assert fused_engine(form, "float32", "dense", optimizer=0, batch_size=8).name == "fused dense float32"
    density = fused_engine(form, "float32", "auto", optimizer=0, batch_size=8).density
    stored = 49 if form == "csr" else 0  # zeros that are stored count as if they were none
    assert density == pytest.approx((np.count_nonzero(samples(form)) + stored) / 1500)


@pytest.mark.skipif(config.DISABLE_JIT, reason="threads share compiled kernels only")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("block", [16, 4096])
def test_any_number_of_threads_gives_the_same_bits(
    form: str, optimizer: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_module, "SMALLEST_BLOCK", min(block, 256))
    monkeypatch.setattr(cpu_module, "LARGEST_BLOCK", block)
    settings = {"optimizer": OPTIMIZER[optimizer], "batch_size": 40}
    for dtype, layout in (("float32", "sparse"), ("float64", "auto")):
        one, *others = (
            trained(fused_engine(form, dtype, layout, threads=threads, **settings), 40, 0.01)
            for threads in (1, 2, 3, 5)
        )
        for other in others:
            assert [np.asarray(each).tobytes() for each in other] == [np.asarray(each).tobytes() for each in one]


@pytest.mark.parametrize("threads", [1, 3])
def test_the_columns_of_a_sparse_row_may_stand_in_any_order(threads: int) -> None:
    x = samples("csr")
    engines = (
        FusedEngine(
            NETWORK,
            NETWORK.initial_parameters(3, dtype="float64"),
            Split(as_csr(x, ascending), labels(), np.eye(3)),
            Split(as_csr(x[:0]), labels()[:0], np.eye(3)),
            Settings(0, 8),
            threads=threads,
        )
        for ascending in (True, False)
    )
    one, other = (trained(engine, 8, 0.1)[0] for engine in engines)
    assert one.tobytes() == other.tobytes()


def test_more_features_than_two_bytes_count() -> None:
    """A row's number needs four bytes, and the network's weights follow the formula dW = x^T delta."""
    n_in = 70_000

    class Wide:  # a fastbp.Network has at most 10,000 inputs
        sizes, activations, cost = (n_in, 2), ("identity",), "squared_error"
        layers_of = staticmethod(lambda theta: [(theta[: 2 * n_in].reshape(n_in, 2), theta[2 * n_in :])])

    indices = np.array([0, 65_530, 69_999, 12], np.int32)
    x = CsrRows(np.array([1.0, 2.0, 3.0, 4.0]), indices, np.array([0, 3, 4], np.int64), n_in)
    theta = np.zeros(2 * n_in + 2)
    theta[2 * 65_530] = 0.5  # z = (1, 0) for sample 0
    targets = np.array([[0.0, 1.0], [1.0, 0.0]])
    split = Split(x, np.arange(2, dtype=np.int32), targets)
    engine = FusedEngine(Wide, theta, split, split, Settings(0, 1), classes=False)
    costs = np.empty(2)
    engine.run(np.arange(2, dtype=np.uint32), np.full(2, 0.1), costs)
    assert list(costs) == [1.0, pytest.approx(0.5 * (1.1**2 + 0.1**2))]  # b is (-0.1, 0.1) by then
    W, b = Wide.layers_of(engine.parameters())[0]
    expected = {0: (-0.1, 0.1), 65_530: (0.3, 0.2), 69_999: (-0.3, 0.3), 12: (0.4 * 1.1, -0.4 * 0.1)}
    assert sorted(np.unique(np.nonzero(W)[0])) == sorted(expected)
    for k, values in expected.items():
        np.testing.assert_allclose(W[k], values, rtol=1e-14)
    np.testing.assert_allclose(b, (-0.1 + 0.1 * 1.1, 0.1 - 0.1 * 0.1), rtol=1e-14)
