"""Packed weights: everything finds its place and comes back."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.kernels.layout import aligned, pack, plan_of, unpack
from fastbp.network import Network


@pytest.mark.parametrize("sizes", [(784, 16, 16, 10), (1, 1), (3, 17, 40, 2), (20, 16), (15, 33, 1)])
@pytest.mark.parametrize("lanes", [8, 16])
def test_weights_come_back(sizes: tuple[int, ...], lanes: int) -> None:
    network = Network(sizes, ("sigmoid",) * (len(sizes) - 1), "squared_error")
    theta = np.arange(1, network.n_parameters + 1, dtype=np.float64)
    plan = plan_of(sizes, sizes[0] // 2, [2] * (len(sizes) - 1), lanes, 8)
    inputs = np.random.default_rng(0).permutation(sizes[0])
    w = aligned(plan.n_w, np.float64)
    pack(network.layers_of(theta), plan, inputs, lanes, w)
    assert sorted(w[w != 0]) == list(theta)
    back = np.zeros_like(theta)
    unpack(w, plan, inputs, lanes, network.layers_of(back))
    np.testing.assert_array_equal(back, theta)
    # by hand: weight (k, j) stands in panel j // lanes, row k, lane j % lanes
    for layer, (W, _) in enumerate(network.layers_of(theta)):
        for k, j in ((0, 0), (W.shape[0] - 1, W.shape[1] - 1)):
            row = list(inputs).index(k) if layer == 0 else k
            place = plan.w_start[layer] + (j // lanes * plan.rows[layer] + row) * lanes + j % lanes
            assert w[place] == W[k, j]


def test_arrays_start_on_a_cache_line() -> None:
    for n in (1, 5, 1000):
        for dtype in (np.float32, np.float64):
            array = aligned(n, dtype)
            assert array.ctypes.data % 64 == 0
            assert array.size == n
            assert not array.any()
