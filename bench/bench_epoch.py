"""One epoch in float32: the fused engine on networks, data and batches of many kinds, and every engine on one of them.

Each entry takes turns with the same epoch by a good NumPy trainer; `figures` tells what stands in its `extra_info`.
"""

from __future__ import annotations

import numpy as np
import pytest
from contenders import NAMES, contender, epoch_order, network_of
from figures import race, tell
from peers import useful_flops

NETWORKS = {"784-16-16-10": (16, 16), "784-30-10": (30,), "784-128-10": (128,), "784-512-512-10": (512, 512)}
MILD = 0.1  # a rate at which every one of the networks learns all of the data, so that rounding errors do not grow
LARGE = 150_000  # parameters; epochs of larger networks take seconds, and have fewer rounds


@pytest.mark.parametrize("batch_size", [10, 32, 128, 1024])
@pytest.mark.parametrize("source", ["digits", "fashion", "gaussian"])
@pytest.mark.parametrize("layers", NETWORKS)
def bench_epoch(benchmark, request, layers, source, batch_size):
    """The fused engine, with the input layout that it chooses for the data, beside NumPy."""
    data = request.getfixturevalue(source)
    network = network_of(data, NETWORKS[layers])
    ours, numpy = (contender(name, data, batch_size, network=network, eta=MILD) for name in ("fused", "NumPy"))
    order = epoch_order(data)
    first = order[: max(1000, 3 * batch_size)]
    np.testing.assert_allclose(ours(first), numpy(first), atol=1e-4)
    benchmark.group = f"epoch, {layers}, {source}, batch {batch_size}"
    rounds = 3 if network.n_parameters > LARGE else 7
    times = race(benchmark, lambda: ours(order), lambda: numpy(order), rounds=rounds)
    tell(benchmark, times, samples=len(order), flops=useful_flops(network), against="NumPy", data=data.name)


@pytest.mark.parametrize("batch_size", [10, 32, 256])
@pytest.mark.parametrize("name", NAMES)
def bench_engine(benchmark, digits, name, batch_size):
    """784-16-16-10 by each engine; NumPy's own entry, compared with itself, shows how much ratios scatter."""
    order = epoch_order(digits)
    run, numpy = contender(name, digits, batch_size), contender("NumPy", digits, batch_size)
    few = order[:1000]
    assert np.isfinite(run(few)).all()
    numpy(few)
    benchmark.group = f"engines, batch {batch_size}"
    times = race(benchmark, lambda: run(order), lambda: numpy(order), rounds=7)
    flops = useful_flops(network_of(digits))
    tell(benchmark, times, samples=len(order), flops=flops, against="NumPy", data=digits.name)


@pytest.mark.parametrize("batch_size", [32, 256])
def bench_contenders_compute_the_same(digits, batch_size):
    """Not a benchmark: a comparison of speeds means something only where the results are the same."""
    order = epoch_order(digits)[:1000]
    costs = {name: contender(name, digits, batch_size)(order) for name in NAMES}
    for name in NAMES:
        np.testing.assert_allclose(costs[name], costs["reference"], atol=1e-4, err_msg=name)
