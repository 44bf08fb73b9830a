"""Maxout, NumPy and compiled, against numbers worked out by hand and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numba import njit

from fastbp.kernels import reference, stages
from fastbp.kernels.codes import IDENTITY

both = pytest.mark.parametrize("module", [reference, stages], ids=["reference", "stages"])
precision = pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float64", 1e-12)])


@both
def test_the_larger_piece_is_the_activation(module):
    """Two units: unit 0 has the columns 0 and 2, unit 1 the columns 1 and 3."""
    x = np.array([[1.0, 2.0], [-1.0, 0.5]])
    W = np.array([[1.0, 0.0, 3.0, -1.0], [1.0, 2.0, -1.0, 0.0]])
    b = np.array([0.5, 0.0, 0.0, 1.0])
    z, a = np.empty((2, 4)), np.empty((2, 2))
    module.forward(x, W, b, IDENTITY, z, z)
    module.maxout(z, a)
    assert z.tolist() == [[3.5, 4.0, 1.0, 0.0], [0.0, 1.0, -3.5, 2.0]]
    assert a.tolist() == [[3.5, 4.0], [0.0, 2.0]]


@both
def test_the_winner_takes_the_whole_delta(module):
    z = np.array([[3.5, 4.0, 1.0, 0.0], [0.0, 1.0, -3.5, 2.0]])
    delta_next, W_next = np.array([[1.0], [-2.0]]), np.array([[10.0], [20.0]])
    delta = np.full((2, 4), np.nan)
    module.maxout_delta(delta_next, W_next, z, delta)
    assert delta.tolist() == [[10.0, 20.0, 0.0, 0.0], [-20.0, 0.0, 0.0, -40.0]]


@both
def test_of_equal_pieces_the_first_wins(module):
    z, a, delta = np.array([[0.25, -1.0, 0.25, -1.0]]), np.empty((1, 2)), np.empty((1, 4))
    module.maxout(z, a)
    module.maxout_delta(np.array([[1.0]]), np.array([[3.0], [5.0]]), z, delta)
    assert a.tolist() == [[0.25, -1.0]]
    assert delta.tolist() == [[3.0, 5.0, 0.0, 0.0]]


@both
def test_nan_in_either_piece_is_never_swallowed(module):
    a = np.empty((1, 3))
    module.maxout(np.array([[np.nan, 1.0, 2.0, 1.0, np.nan, 3.0]]), a)
    assert np.isnan(a).tolist() == [[True, True, False]]
    delta = np.empty((1, 6))
    module.maxout_delta(np.array([[np.nan]]), np.ones((3, 1)), np.zeros((1, 6)), delta)
    assert np.isnan(delta[:, :3]).all()


def by_plain_loops(z, delta_next, W_next):
    """a and delta, unit by unit"""
    n_batch, n_units = len(z), len(W_next)
    a, delta = np.zeros((n_batch, n_units)), np.zeros((n_batch, 2 * n_units))
    for i in range(n_batch):
        for j in range(n_units):
            pieces = float(z[i, j]), float(z[i, n_units + j])
            a[i, j] = max(pieces)
            back = math.fsum(float(w) * float(d) for w, d in zip(W_next[j], delta_next[i], strict=True))
            delta[i, j + n_units * pieces.index(max(pieces))] = back
    return a, delta


def arrays(n_batch, n_units, n_out, dtype):
    rng = np.random.default_rng([n_batch, n_units, n_out])
    shapes = (n_batch, 2 * n_units), (n_batch, n_out), (n_units, n_out)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


@both
@precision
@pytest.mark.parametrize("n_batch", [1, 7, 257])
@pytest.mark.parametrize(("n_units", "n_out"), [(1, 1), (3, 17), (17, 3), (5, 6)])
def test_stages_equal_plain_loops(module, n_batch, n_units, n_out, dtype, tolerance):
    z, delta_next, W_next = arrays(n_batch, n_units, n_out, dtype)
    a, delta = np.empty((n_batch, n_units), dtype), np.empty((n_batch, 2 * n_units), dtype)
    module.maxout(z, a)
    module.maxout_delta(delta_next, W_next, z, delta)
    expected = by_plain_loops(z, delta_next, W_next)
    np.testing.assert_array_equal(a, expected[0])
    np.testing.assert_allclose(delta, expected[1], rtol=tolerance, atol=10 * tolerance)


maxout, maxout_delta = stages.maxout, stages.maxout_delta


@njit
def forward_and_back(z, a, delta_next, W_next, delta):
    maxout(z, a)
    maxout_delta(delta_next, W_next, z, delta)


def test_stages_work_inside_a_users_own_compiled_function():
    z, delta_next, W_next = arrays(5, 3, 2, "float64")
    a, delta = np.empty((5, 3)), np.empty((5, 6))
    forward_and_back(z, a, delta_next, W_next, delta)
    expected = by_plain_loops(z, delta_next, W_next)
    np.testing.assert_allclose(a, expected[0])
    np.testing.assert_allclose(delta, expected[1])


@pytest.mark.parametrize("shape", [(4, 3), (4, 5), (3, 6)])
def test_wrong_shapes_change_nothing_and_raise(shape):
    z, a, delta = np.ones(shape), np.full((4, 3), 7.0), np.full((4, 6), 7.0)
    with pytest.raises(ValueError, match="maxout needs z"):
        stages.maxout(z, a)
    with pytest.raises(ValueError, match="maxout_delta needs"):
        stages.maxout_delta(np.ones((4, 2)), np.ones((3, 2)), z, delta)
    assert (a == 7).all()
    assert (delta == 7).all()
