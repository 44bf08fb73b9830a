"""Several cores: 32 networks side by side, and one network on several threads.

`ratio` is how much faster the entry is than the same work on one thread, in turns with it; `probe_scaling` says how
much of that the machine had to give in the same run (see `figures`). Whoever takes part must come to the same weights,
bit for bit.
"""

from __future__ import annotations

import numpy as np
import pytest
from contenders import engine_of, epoch_order, network_of
from figures import race, tell
from peers import Fastbp, FastbpMany, Job, useful_flops

from fastbp.cores import usable_cores

RATE = 0.1
NETWORKS = {"784-16-16-10": (16, 16), "784-512-512-10": (512, 512)}


@pytest.mark.parametrize("cores", ["one", "all"])
def bench_side_by_side(benchmark, digits, cores):
    """32 networks at once, beside one network that is trained 32 times."""
    n_cores = usable_cores() if cores == "all" else 1
    network = network_of(digits)
    job = Job(network, network.initial_parameters(seed=0), digits.x_train, digits.y_train, 32, "sgd", RATE)
    order = epoch_order(digits)[: job.n_batches * job.batch_size]
    many, alone = FastbpMany(job, n_cores), Fastbp(job, threads=1)
    many.run(order)
    alone.run(order)
    assert all(np.array_equal(theta, alone.parameters()) for theta in many.parameters())

    def one_after_the_other():
        for _ in range(many.n_networks):
            alone.run(order)

    benchmark.group = "32 networks, 784-16-16-10, batch 32"
    times = race(benchmark, lambda: many.run(order), one_after_the_other, rounds=5, threads=n_cores)
    samples, flops = many.n_networks * order.size, useful_flops(network)
    tell(benchmark, times, samples=samples, flops=flops, against="one after the other", data=digits.name)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("layers", "batch_size"),
    [("784-16-16-10", 32), ("784-16-16-10", 256), ("784-16-16-10", 1024), ("784-512-512-10", 128)],
)
def bench_one_network(benchmark, digits, measuring, layers, batch_size, threads):
    """One network on one or two threads, beside the same on one; entries of one thread show how much ratios scatter."""
    if measuring and usable_cores() < threads:
        pytest.skip("this process may use one core only")
    network = network_of(digits, NETWORKS[layers])
    data = digits.x_train, digits.y_train
    ours, one = (engine_of("fused", network, *data, batch_size, threads=n) for n in (threads, 1))
    order = epoch_order(digits)
    etas = np.full(-(-order.size // batch_size), RATE)
    costs, expected = np.empty_like(etas), np.empty_like(etas)
    benchmark.group = f"one network, {layers}, batch {batch_size}"
    times = race(
        benchmark,
        lambda: ours.run(order, etas, costs),
        lambda: one.run(order, etas, expected),
        rounds=3 if layers == "784-512-512-10" else 7,
        threads=threads,
    )
    np.testing.assert_array_equal(costs, expected)  # of the last round
    np.testing.assert_array_equal(ours.parameters(), one.parameters())
    flops = useful_flops(network)
    tell(benchmark, times, samples=order.size, flops=flops, against="one thread", data=digits.name)
