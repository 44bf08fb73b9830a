"""One epoch of 784-16-16-10 in float32, by each engine and by a good NumPy trainer."""

from __future__ import annotations

import numpy as np
import pytest
from contenders import NAMES, contender, epoch_order


@pytest.mark.parametrize("batch_size", [10, 32, 256])
@pytest.mark.parametrize("name", NAMES)
def bench_epoch(benchmark, digits, name, batch_size):
    order = epoch_order(digits)
    run = contender(name, digits, batch_size)
    benchmark.group = f"epoch, batch {batch_size}"
    benchmark.extra_info["samples"] = len(order)
    costs = benchmark.pedantic(run, args=(order,), rounds=7, warmup_rounds=1)
    assert np.isfinite(costs).all()


@pytest.mark.parametrize("batch_size", [32, 256])
def bench_contenders_compute_the_same(digits, batch_size):
    """Not a benchmark: a comparison of speeds means something only where the results are the same."""
    order = epoch_order(digits)[:1000]
    costs = {name: contender(name, digits, batch_size)(order) for name in NAMES}
    for name in NAMES:
        np.testing.assert_allclose(costs[name], costs["reference"], atol=1e-4, err_msg=name)
