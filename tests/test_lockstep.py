"""Networks in lockstep: with a fleet on the CPU, every result is bit for bit the one of `train`."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from fastbp import Callback, Config, Dataset, FastbpError, Network, UsageError, lockstep, train, train_many, training
from fastbp.cli import cli
from fastbp.config import OPTIMIZERS, SCHEDULES
from fastbp.gpu import Report
from fastbp.kernels import Evaluation, Settings, Split, open_engine, open_fleet
from fastbp.kernels.order import shuffle


class CpuFleet:
    """`protocol.Fleet` with the fused engine; writes down what is asked of it."""

    opened: ClassVar[list[CpuFleet]] = []

    def __init__(
        self,
        network: Any,
        thetas: NDArray[Any],
        train: Split,
        test: Split,
        settings: Sequence[Settings],
        *,
        x_scale: float = 1.0,
        classes: bool = True,
        engine: str = "auto",
        input_layout: str = "auto",
    ) -> None:
        if thetas.dtype != np.float32:
            raise UsageError(f"device cuda computes in float32, got dtype {thetas.dtype}")
        assert len({(rule.optimizer, rule.batch_size, rule.dropout, rule.clip_norm > 0) for rule in settings}) == 1
        assert len(thetas) == len(settings)
        how = {"x_scale": x_scale, "classes": classes}
        shared: dict[Any, Any] = {}
        self._engines = [
            open_engine(network, theta, train, test, rule, shared=shared, **how)
            for theta, rule in zip(thetas, settings, strict=True)
        ]
        self.size, self._n_train, self._batch_size = len(thetas), len(train.y), settings[0].batch_size
        self._orders: Any = None  # whoever trains must say
        self.name, self.density = "pretended float32", 0.5
        self.asked: list[Any] = []
        CpuFleet.opened.append(self)

    def shuffle(self, keys: NDArray[np.uint64]) -> None:
        assert keys.shape == (self.size,)
        assert keys.dtype == np.uint64
        self.asked.append("shuffle")
        self._orders = np.empty((self.size, self._n_train), np.uint32)
        for order, key in zip(self._orders, keys, strict=True):
            shuffle(order, key)

    def set_orders(self, orders: NDArray[np.uint32]) -> None:
        assert orders.shape == (self.size, self._n_train)
        assert orders.dtype == np.uint32
        assert orders.flags.c_contiguous
        self.asked.append("set_orders")
        self._orders = orders.copy()

    def run(
        self, members: NDArray[np.int64], first: int, etas: NDArray[np.float64], costs: NDArray[np.float64]
    ) -> None:
        assert members.dtype == np.int64
        assert etas.flags.c_contiguous
        assert costs.flags.c_contiguous
        assert etas.shape == costs.shape == (members.size, etas.shape[1])
        self.asked.append(("run", members.tolist()))
        for member, rates, of_one in zip(members, etas, costs, strict=True):
            rows = self._orders[member, first * self._batch_size : (first + rates.size) * self._batch_size]
            self._engines[member].run(rows, rates, of_one)

    def evaluate(self, split: str) -> list[Evaluation]:
        self.asked.append(("evaluate", split))
        return [engine.evaluate(split) for engine in self._engines]

    def parameters(self) -> NDArray[Any]:
        self.asked.append("parameters")
        return np.stack([engine.parameters() for engine in self._engines])

    def set_parameters(self, member: int, theta: NDArray[Any]) -> None:
        assert theta.dtype == np.float32
        self._engines[member].set_parameters(theta)


@pytest.fixture(autouse=True)
def fleets(monkeypatch: pytest.MonkeyPatch) -> list[CpuFleet]:
    """Let this process think that it has a GPU; the fleets that are opened on it."""
    CpuFleet.opened = []
    monkeypatch.setattr("fastbp.gpu.report", lambda: Report("numba-cuda 0.0", "13.0", (), None))
    monkeypatch.setattr(lockstep, "open_fleet", CpuFleet)
    return CpuFleet.opened


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 200)
    x = rng.integers(0, 256, (3, 24))[y] * (rng.random((200, 24)) < 0.6)
    return Dataset.from_arrays(x[:150].astype(np.uint8), y[:150], x[150:].astype(np.uint8), y[150:])


def facts_of(result: Any) -> str:
    """All of a result but times and the name of the engine, as JSON, where NaN is NaN."""
    facts = result.as_dict()
    del facts["engine"], facts["train_seconds"], facts["samples_per_second"], facts["config"]["device"]
    for record in facts["history"]:
        del record["seconds"], record["samples_per_second"]
    return json.dumps(facts, indent=1)


def check(data: Dataset, settings: list[dict[str, Any]], **how: Any) -> list[Any]:
    """Train on the pretended GPU and on the CPU; everything must be the same."""
    results = train_many(settings, data, device="cuda", **how)
    expected = train_many(settings, data, device="cpu")
    for result, other in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result.model.parameters, other.model.parameters)
        assert facts_of(result) == facts_of(other)
        assert result.engine == "pretended float32"
    return results


def seeds(n: int, **settings: Any) -> list[dict[str, Any]]:
    return [{"layers": "8", "epochs": 3, "seed": seed, **settings} for seed in range(n)]


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "lbfgs"])
def test_every_optimizer(data: Dataset, fleets: list[CpuFleet], optimizer: str) -> None:
    check(data, seeds(3, optimizer=optimizer))
    assert [fleet.size for fleet in fleets] == [3]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule(data: Dataset, schedule: str) -> None:
    check(data, [*seeds(2, schedule=schedule), *seeds(1, schedule=schedule, learning_rate=0.1, epochs=5)])


@pytest.mark.parametrize(
    "settings",
    [
        {"evaluate": "each"},
        {"shuffle": False},
        {"batch_size": None},
        {"batch_size": 7, "layers": "5-4", "activation": "tanh,relu"},
        {"dropout": 0.3},
        {"class_weight": "balanced", "evaluate": "each"},
        {"class_weight": "balanced", "shuffle": False},
        {"clip_norm": 0.1},
        {"weight_decay": 0.01, "optimizer": "adamw"},
        {"label_smoothing": 0.1},
        {"cost": "squared_error"},
        {"normalize": "standard"},
        {"validation": 0.2},
        {"validation": 0.2, "epochs": 40, "patience": 2, "learning_rate": 5.0},
        {"stop_below": 0.6, "epochs": 30},
        {"epochs": 0},
    ],
    ids=str,
)
def test_settings(data: Dataset, settings: dict[str, Any]) -> None:
    check(data, seeds(4, **settings))


def test_target_values() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(90, 5))
    check(Dataset.from_arrays(x[:60], x[:60, :2] ** 2, x[60:], x[60:, :2] ** 2), seeds(3, evaluate="each"))


def test_settings_that_differ_within_a_fleet(data: Dataset, fleets: list[CpuFleet]) -> None:
    check(
        data,
        [
            {"layers": "8", "optimizer": "adam"},
            {"layers": "8", "optimizer": "adam", "learning_rate": 0.1, "epochs": 2, "beta_1": 0.5, "init": "he"},
            {"layers": "8", "optimizer": "adam", "weight_decay": 0.01, "schedule": "one_cycle", "stop_below": 0.9},
            {"layers": "8", "optimizer": "adam", "evaluate": "each", "beta_2": 0.9, "epsilon": 1e-3, "epochs": 1},
        ],
    )
    assert [fleet.size for fleet in fleets] == [4]


def test_those_that_differ_in_more_take_turns(data: Dataset, fleets: list[CpuFleet]) -> None:
    heard: list[int] = []
    settings = [
        *({"layers": layers, "epochs": 1} for layers in ("8", "4", "8")),
        *({"layers": "8", "epochs": 1, name: value} for name, value in (("batch_size", 5), ("clip_norm", 1.0))),
        *({"layers": "8", "epochs": 1, "validation": 0.2, "seed": seed} for seed in (1, 2, 1)),
    ]
    check(data, settings, on_result=lambda number, result: heard.append(number))
    assert [fleet.size for fleet in fleets] == [2, 1, 1, 1, 2, 1]
    assert heard == [0, 2, 1, 3, 4, 5, 7, 6]


def test_memory_is_bounded(data: Dataset, fleets: list[CpuFleet], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockstep, "LARGEST_FLEET", 3)
    check(data, seeds(7, epochs=1))
    assert [fleet.size for fleet in fleets] == [3, 3, 1]
    monkeypatch.setattr(lockstep, "MOST_BYTES", 2 * (4 * 150 + 32 * 5 + 32 * (24 * 8 + 8 + 8 * 3 + 3)))
    check(data, seeds(3, epochs=1))
    assert [fleet.size for fleet in fleets[3:]] == [2, 1]


def test_one_that_diverges_and_others_that_go_on(
    data: Dataset, fleets: list[CpuFleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHUNK_SECONDS", 0)  # weights are looked at after every batch
    monkeypatch.setattr(lockstep, "LAUNCH_SECONDS", 0)
    good, bad = {"activation": "relu", "layers": "8", "epochs": 3}, {"learning_rate": 1e30}
    results = check(data, [good, {**good, **bad}, {**good, "seed": 5}, {**good, **bad, "seed": 6}])
    assert [result.stopped for result in results] == ["epochs", "diverged", "epochs", "diverged"]
    assert all(np.isfinite(result.model.parameters).all() for result in results)
    runs = [asked[1] for asked in fleets[0].asked if asked[0] == "run"]
    assert runs[0] == [0, 1, 2, 3]
    assert runs[-1] == [0, 2]


def test_networks_that_end_together_are_measured_together(data: Dataset, fleets: list[CpuFleet]) -> None:
    train_many([*seeds(20), *seeds(20, activation="sigmoid", epochs=2)], data, device="cuda")
    assert [fleet.size for fleet in fleets] == [40]
    evaluations = [asked for asked in fleets[0].asked if asked[0] == "evaluate"]
    assert evaluations == [("evaluate", "train"), ("evaluate", "test")] * 2
    launches = sum(asked[0] == "run" for asked in fleets[0].asked)
    assert fleets[0].asked.count("parameters") == launches
    assert fleets[0].asked.count("shuffle") == 3


def test_orders_are_made_on_the_device_where_that_can_be(data: Dataset, fleets: list[CpuFleet]) -> None:
    for settings in ({}, {"shuffle": False}, {"batch_size": None}, {"class_weight": "balanced"}):
        train_many(seeds(2, **settings), data, device="cuda")
    orders = [[asked for asked in fleet.asked if asked in ("shuffle", "set_orders")] for fleet in fleets]
    assert orders == [["shuffle"] * 3, ["set_orders"], ["set_orders"], ["set_orders"] * 3]


class Meddler(Callback):
    """Writes down what it hears of one run; sets its weights, its rate, and stops it."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_start(self, plan: Any) -> None:
        self.run = plan.run
        self.heard.append((plan.n_train, plan.n_validation, plan.run.parameters().tolist()))

    def on_epoch(self, record: Any) -> None:
        self.heard.append((record.epoch, record.loss, record.train_accuracy, record.test_accuracy))
        self.heard.append(self.run.parameters().tolist())
        if record.epoch == 1:
            self.run.set_parameters(self.run.parameters() / 2)
        if record.epoch == 2:
            self.run.set_learning_rate(0.3)
        if record.epoch == 3:
            self.run.stop("enough")

    def on_end(self, reason: str) -> None:
        self.heard.append(reason)
        self.run.set_parameters(self.run.parameters() + 1)


def formed(data: Dataset, configs: list[Config], callbacks: list[Any]) -> tuple[lockstep.Formation, dict[int, Any]]:
    """Runs with a callback each, and their fleet."""
    members: list[Any] = []

    def opener(*what: Any, **how: Any) -> Any:
        members.append(lockstep.Member(*what, **how))
        return members[-1]

    shared: dict[Any, Any] = {}
    runs = {
        number: training.Run(data, config, callbacks=(callback,), shared=shared, opener=opener)
        for number, (config, callback) in enumerate(zip(configs, callbacks, strict=True))
    }
    return lockstep.Formation(dict(enumerate(members))), runs


def test_callbacks_of_each_run(data: Dataset) -> None:
    configs = [Config(layers="8", epochs=5, seed=seed) for seed in range(3)]
    meddlers = [Meddler() for _ in configs]
    formation, runs = formed(data, configs, meddlers)
    results: dict[int, Any] = {}
    lockstep.train_fleet(formation, runs, results.__setitem__)
    assert runs == {}
    for number, config in enumerate(configs):
        alone = Meddler()
        expected = train(data, config=config, callbacks=[alone])
        assert meddlers[number].heard == alone.heard
        assert facts_of(results[number]) == facts_of(expected)
        assert results[number].stopped == "enough"
        np.testing.assert_array_equal(results[number].model.parameters, expected.model.parameters)


@pytest.mark.parametrize(("error", "reason"), [(KeyboardInterrupt, "interrupted"), (OSError, "failed")])
def test_all_hear_why_they_end(data: Dataset, error: type[BaseException], reason: str) -> None:
    class Breaker(Meddler):
        def on_epoch(self, record: Any) -> None:
            if record.epoch == 2:
                raise error

    configs = [Config(layers="8", epochs=epochs) for epochs in (1, 5, 5)]
    watchers = [Meddler(), Breaker(), Meddler()]
    formation, runs = formed(data, configs, watchers)
    with pytest.raises(error):
        lockstep.train_fleet(formation, runs, lambda number, result: None)
    assert [watcher.heard[-1] for watcher in watchers] == ["epochs", reason, reason]


def test_time_is_up_in_the_middle_of_an_epoch(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockstep, "LAUNCH_SECONDS", 0)
    results = train_many([*seeds(2, time_limit=1e-9), *seeds(1)], data, device="cuda")
    assert [(result.stopped, result.epochs) for result in results] == [("time_limit", 0)] * 2 + [("epochs", 3)]


def test_an_interrupt_ends_all(data: Dataset, fleets: list[CpuFleet]) -> None:
    def interrupt(number: int, result: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_many([*seeds(1, epochs=1), *seeds(3, epochs=1_000_000)], data, device="cuda", on_result=interrupt)


def test_both_devices_in_one_call(data: Dataset, fleets: list[CpuFleet]) -> None:
    settings = [*seeds(2, device="cuda"), *seeds(2), Config(layers="8", seed=9, device="cuda", evaluate="end")]
    results = train_many(settings, data, threads=2)
    names = [result.engine.split()[0] for result in results]
    assert names == ["pretended", "pretended", "fused", "fused", "pretended"]
    assert [result.seed for result in results] == [0, 1, 0, 1, 9]
    again = train_many([*settings[:3], settings[-1]], data, device="cpu")
    assert [result.engine for result in again] == [results[2].engine] * 4
    assert [fleet.size for fleet in fleets] == [3]


@pytest.mark.parametrize(
    ("settings", "how", "message"),
    [
        ({"engine": "stages"}, {}, "device cuda has one engine of its own, got engine stages; leave it out"),
        ({"input_layout": "sparse"}, {}, "device cuda takes dense input only, got input_layout sparse"),
        ({}, {"threads": 2}, "threads are cores of the CPU, got 2 with device cuda; leave them out"),
        ({"dtype": "float64"}, {}, "float32, got dtype float64"),
        ({}, {"device": "tpu"}, "device must be one of auto, cpu, cuda, got 'tpu'"),
    ],
)
def test_refusals(data: Dataset, settings: dict[str, Any], how: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train_many(seeds(2, **settings), data, **{"device": "cuda", **how})


def test_a_member_alone_is_refused(data: Dataset) -> None:
    x = np.eye(2, dtype=np.float32)
    split = Split(x, np.arange(2, dtype=np.int32), x)
    how = {"x_scale": 1.0, "classes": True, "engine": "auto", "input_layout": "auto"}
    member = lockstep.Member(None, np.zeros(6, np.float32), split, split, Settings(0, 1), **how)
    for call in (lambda: member.run(None, None, None), member.cost_and_gradient, member.reset_state):  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="fleet"):
            call()


def test_every_setting_is_known_to_agree_or_not() -> None:
    """A new setting must agree within a fleet until somebody says that it need not."""
    assert set(lockstep.OF_EACH) < {field.name for field in dataclasses.fields(Config)}
    assert {"layers", "optimizer", "batch_size", "dropout", "dtype", "shuffle"}.isdisjoint(lockstep.OF_EACH)


def test_the_command(data: Dataset, fleets: list[CpuFleet], tmp_path: Any) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x_train=data.x_train, y_train=data.y_train, x_test=data.x_test, y_test=data.y_test)
    arguments = [
        "train",
        "--data",
        str(path),
        "--layers",
        "8",
        "--epochs",
        "2",
        "--no-save",
        "--seeds",
        "3-5",
        "--json",
    ]
    facts = []
    for device in ("cuda", "cpu"):
        outcome = CliRunner().invoke(cli, [*arguments, "--device", device], catch_exceptions=False)
        facts.append(json.loads(outcome.stdout))
        assert outcome.stderr.count("\n") >= 3
    assert [run["engine"] for run in facts[0]["runs"]] == ["pretended float32"] * 3
    for name in ("seeds", "best_seed", "loss_mean", "test_accuracy_deviation"):
        assert facts[0][name] == facts[1][name]
    assert [fleet.size for fleet in fleets] == [3]


@pytest.fixture
def cuda_engine(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """In place of `kernels.cuda_engine`: CPU engines. What its `CudaEngine` was made with."""
    made: list[Any] = []

    def engine(*what: Any, **how: Any) -> Any:
        made.append((what, how))
        return open_engine(*what, **how)

    module = SimpleNamespace(CudaEngine=engine, Fleet=CpuFleet)
    monkeypatch.setitem(sys.modules, "fastbp.kernels.cuda_engine", module)
    return made


def test_one_network_on_a_gpu(data: Dataset, cuda_engine: list[Any]) -> None:
    """It is trained there, and validated on the CPU."""
    settings: dict[str, Any] = {"layers": "8", "epochs": 3, "validation": 0.2}
    result = train(data, device="cuda", **settings)
    np.testing.assert_array_equal(result.model.parameters, train(data, **settings).model.parameters)
    ((what, how),) = cuda_engine
    assert len(what[2].y) == 120
    assert how == {"x_scale": 1 / 255, "classes": True}
    train(data, device="auto", **settings)
    assert len(cuda_engine) == 1


def test_a_fleet_is_opened_in_the_kernels(
    data: Dataset, cuda_engine: list[Any], fleets: list[CpuFleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lockstep, "open_fleet", open_fleet)
    check(data, seeds(2, epochs=1))
    assert [fleet.size for fleet in fleets] == [2]
    assert cuda_engine == []
    monkeypatch.setattr("fastbp.gpu.report", lambda: Report(None, None, (), "device cuda needs a GPU; use device cpu"))
    with pytest.raises(FastbpError, match="device cuda needs a GPU; use device cpu"):
        train_many(seeds(2), data, device="cuda")


def test_what_one_network_on_a_gpu_is_refused() -> None:
    x = np.eye(2, dtype=np.float32)
    network = Network((2, 2), ("softmax",), "cross_entropy")
    split = Split(x, np.arange(2, dtype=np.int32), x)
    network = Network((2, 2), ("softmax",), "cross_entropy")
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"engine": "fused"}, "one engine of its own, got engine fused"),
        ({"input_layout": "sparse"}, "dense input only"),
        ({"threads": 3}, "got 3 with device cuda"),
    )
    for how, message in refused:
        with pytest.raises(UsageError, match=message):
            open_engine(network, None, split, split, Settings(0, 1), device="cuda", **how)
