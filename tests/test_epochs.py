"""An epoch as it is planned: its order, the weights of its batches, and how long a call lasts."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.epochs import Epoch, batch_masses, batches_that_last
from fastbp.kernels.order import shuffle


def epoch_of(n_samples: int, key: int | None) -> Epoch:
    return Epoch(number=1, n_samples=n_samples, key=key, etas=np.ones(3), costs=np.zeros(3))


def test_order() -> None:
    np.testing.assert_array_equal(epoch_of(5, None).order, [0, 1, 2, 3, 4])
    order = np.empty(7, np.uint32)
    shuffle(order, np.uint64(2**64 - 3))
    np.testing.assert_array_equal(epoch_of(7, 2**64 - 3).order, order)
    assert epoch_of(7, 0).order.dtype == np.uint32
    assert epoch_of(7, 0).order.tolist() != list(range(7))  # 0 is a key like any other


def test_batches_weigh_what_their_samples_do() -> None:
    np.testing.assert_array_equal(batch_masses(epoch_of(7, 1), 3, None), [3, 3, 1])
    np.testing.assert_array_equal(batch_masses(epoch_of(6, None), 3, None), [3, 3])
    epoch = epoch_of(7, 1)
    epoch.order = np.array([6, 0, 3, 1, 2, 5, 4], np.uint32)
    masses = batch_masses(epoch, 3, np.array([1, 2, 4, 8, 16, 32, 64], np.float32))
    np.testing.assert_array_equal(masses, [64 + 1 + 8, 2 + 4 + 32, 16])
    assert masses.dtype == np.float64


@pytest.mark.parametrize(
    ("seconds", "n", "spent", "expected"),
    [(0.05, 10, 0.05, 10), (0.05, 10, 0.1, 5), (0.05, 1, 0.0, 8), (0.05, 10, 100.0, 1), (0.0, 5, 0.1, 1)],
)
def test_a_call_lasts_about_so_long(seconds: float, n: int, spent: float, expected: int) -> None:
    assert batches_that_last(seconds, n, spent) == expected
