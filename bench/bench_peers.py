"""One epoch by each peer. Without --benchmark-enable: a check that all of them train the same network alike."""

from __future__ import annotations

import numpy as np
import pytest
from peers import TRAINERS, Job, MissingPeerError, make

from fastbp import Network

CLOSE = 1e-4
MANY = [name for name, trainer in TRAINERS.items() if trainer.n_networks > 1]
ONE = [name for name in TRAINERS if name not in MANY]


def job_of(data, *, optimizer="sgd", batch_size=32, x=None):
    network = Network((data.n_features, 16, 16, data.n_classes), ("sigmoid", "sigmoid", "softmax"), "cross_entropy")
    x = data.x_train if x is None else x
    eta = {"sgd": 0.5, "momentum": 0.1, "adam": 0.003}[optimizer]
    return Job(network, network.initial_parameters(seed=0), x, data.y_train, batch_size, optimizer, eta)


def trainer_of(name, job):
    try:
        return make(name, job)
    except MissingPeerError as error:
        pytest.skip(str(error))


def order_of(job):
    return np.random.default_rng(0).permutation(len(job.x))[: job.n_batches * job.batch_size].astype(np.uint32)


@pytest.mark.filterwarnings("ignore")  # of the peers, about themselves
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("name", ONE)
def bench_peer(benchmark, digits, measuring, name, optimizer):
    if name == "PyTorch, compiled" and not measuring:
        pytest.skip("compiles for half a minute")
    job = job_of(digits, optimizer=optimizer)
    trainer, order = trainer_of(name, job), order_of(job)
    expected = make("fastbp", job).run(order).mean()
    prepared = trainer.prepare(order)
    assert trainer.run(prepared).mean() == pytest.approx(expected, rel=CLOSE)
    benchmark.group = f"peers, 784-16-16-10, batch 32, {optimizer}"
    benchmark.extra_info["samples"] = len(order)
    benchmark.pedantic(trainer.run, args=(prepared,), rounds=5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ONE)
def bench_peer_dense(benchmark, digits, measuring, name):
    if name == "PyTorch, compiled" and not measuring:
        pytest.skip("compiles for half a minute")
    x = np.random.default_rng(1).standard_normal(digits.x_train.shape, dtype=np.float32)
    job = job_of(digits, x=x, batch_size=10)
    trainer, order = trainer_of(name, job), order_of(job)
    expected = make("fastbp", job).run(order).mean()
    prepared = trainer.prepare(order)
    assert trainer.run(prepared).mean() == pytest.approx(expected, rel=CLOSE)
    benchmark.group = "peers, 784-16-16-10, batch 10, Gaussian"
    benchmark.pedantic(trainer.run, args=(prepared,), rounds=5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MANY)
def bench_many(benchmark, digits, name):
    job = job_of(digits)
    trainer, order = trainer_of(name, job), order_of(job)
    expected = make("fastbp", job).run(order).mean()
    prepared = trainer.prepare(order)
    assert trainer.run(prepared).mean() == pytest.approx(expected, rel=CLOSE)
    benchmark.group = "peers, many networks"
    benchmark.pedantic(trainer.run, args=(prepared,), rounds=2)
