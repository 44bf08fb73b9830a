"""on_nan restore: an epoch that diverged begins again, with half the learning rate, three times at most."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbp.training
from fastbp import Callback, Config, Dataset, DivergedError, UsageError, train, train_many
from fastbp.callbacks import LearningRate, StopOnNaN
from fastbp.result import Interrupted
from fastbp.runs.training import resume, train_to

# a linear network without anything that saturates: too high a rate makes its weights grow without limit
LINEAR: dict[str, Any] = {
    "layers": "3",
    "activation": "identity",
    "cost": "squared_error",
    "output_activation": "identity",
    "schedule": "constant",
    "batch_size": 1,  # many updates: what grows, grows beyond all limits within an epoch
    "on_nan": "restore",
}


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(3)
    x = rng.uniform(0.0, 0.7, size=(1500, 2))
    return Dataset.from_arrays(x, (x[:, :1] - x[:, 1:] + 0.2), x[:40], x[:40, :1], name="line")


class Watcher(Callback):
    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_diverged(self, epoch: int) -> None:
        self.told.append(("diverged", epoch))

    def on_restored(self, epoch: int, rate: float) -> None:
        self.told.append(("restored", epoch, rate))

    def on_epoch(self, record: Any) -> None:
        self.told.append(("epoch", record.epoch, record.learning_rate))


HOLDS: dict[str, float] = {}


def diverges(data: Dataset, rate: float, optimizer: str, epochs: int) -> bool:
    settings = {**LINEAR, "on_nan": "stop", "normalize": "none", "optimizer": optimizer, "epochs": epochs}
    try:
        train(data, **settings, learning_rate=rate)
    except DivergedError:
        return True
    return False


def highest_that_holds(data: Dataset, optimizer: str = "sgd") -> float:
    """A learning rate that does not diverge in five epochs, where twice as much does so in the first."""
    if optimizer not in HOLDS:
        rate = 1.0
        while diverges(data, rate, optimizer, 5) or not diverges(data, 2 * rate, optimizer, 1):
            rate *= 0.8
        HOLDS[optimizer] = rate
    return HOLDS[optimizer]


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov"])
@pytest.mark.parametrize("restores", [1, 2, 3])
@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_in_the_first_epoch_it_is_as_if_begun_with_the_lower_rate(data, monkeypatch, optimizer, restores, chunk):
    """Weights, moments and the order of samples are those of a run that never knew the higher rate."""
    monkeypatch.setattr(fastbp.training, "batches_that_last", lambda seconds, n, spent: chunk)
    more: dict[str, Any] = {"optimizer": optimizer, "normalize": "none"}
    holds = highest_that_holds(data, optimizer)
    watcher = Watcher()
    result = train(data, **{**LINEAR, **more, "epochs": 3, "learning_rate": holds * 2**restores}, callbacks=[watcher])
    plain = train(data, **{**LINEAR, **more, "epochs": 3, "learning_rate": holds})
    assert np.array_equal(result.model.parameters, plain.model.parameters)
    assert [record.loss for record in result.history] == [record.loss for record in plain.history]
    assert (result.restores, plain.restores, result.stopped) == (restores, 0, "epochs")
    expected: list[Any] = []
    for k in range(restores):
        expected += [("diverged", 1), ("restored", 1, holds * 2 ** (restores - 1 - k))]
    assert watcher.told == [*expected, *(("epoch", epoch, holds) for epoch in (1, 2, 3))]


def test_after_three_times_it_ends(data):
    holds = highest_that_holds(data)
    watcher = Watcher()
    with pytest.raises(DivergedError) as raised:
        train(data, **{**LINEAR, "normalize": "none", "learning_rate": holds * 16}, callbacks=[watcher])
    assert watcher.told[-1] == ("diverged", 1)
    assert len(watcher.told) == 7
    assert raised.value.result.restores == 3  # type: ignore[attr-defined]
    assert "learning_rate below" in str(raised.value)


def test_in_a_later_epoch_only_that_one_begins_again(data):
    """The third epoch's rate is too high: it is halved from there on, and the first two epochs stay."""
    highest = highest_that_holds(data, "momentum")
    settings = {**LINEAR, "optimizer": "momentum", "normalize": "none", "epochs": 5}
    low, high = highest / 8, highest * 4
    watcher = Watcher()
    rates = LearningRate(lambda epoch: low if epoch < 3 else high)
    result = train(data, **settings, callbacks=[rates, watcher])
    holds = high / 2**result.restores
    plain = train(data, **settings, callbacks=[LearningRate(lambda epoch: low if epoch < 3 else holds)])
    assert ("restored", 3, holds) in watcher.told
    assert np.array_equal(result.model.parameters, plain.model.parameters)
    assert [record.learning_rate for record in result.history] == [low, low, holds, holds, holds]


def test_a_callback_may_stop_the_run_instead(data):
    result = train(data, **{**LINEAR, "normalize": "none", "learning_rate": 1e9}, callbacks=[StopOnNaN()])
    assert (result.stopped, result.restores) == ("diverged", 0)


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 8, 13, 21])
def test_interrupted_and_resumed_it_is_the_same(data, tmp_path, monkeypatch, cut):
    """Also where it is cut between a beginning of an epoch and the divergence that leads back there."""
    monkeypatch.setattr(fastbp.training, "batches_that_last", lambda seconds, n, spent: 4)
    holds = highest_that_holds(data, "momentum")
    settings = {**LINEAR, "optimizer": "momentum", "normalize": "none", "epochs": 3, "learning_rate": holds * 4}

    class Cut(Callback):
        left = cut

        def on_batches(self, *_: Any) -> None:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    whole = train_to(tmp_path / "whole", data, **settings)
    with pytest.raises(Interrupted):
        train_to(tmp_path / "cut", data, callbacks=[Cut()], **settings)
    again = resume(tmp_path / "cut", data)
    assert again.restores == whole.restores == 2
    for name in ("model.safetensors", "config.toml"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_where_it_has_no_use(data):
    with pytest.raises(UsageError, match="on_nan has no use with optimizer lbfgs"):
        Config(optimizer="lbfgs", on_nan="restore")
    with pytest.raises(UsageError, match="on_nan must be one of stop, restore"):
        Config(on_nan="hope")


def test_many_networks_on_cores(data):
    holds = highest_that_holds(data)
    settings = [{**LINEAR, "normalize": "none", "epochs": 2, "learning_rate": holds * factor} for factor in (1, 2)]
    one, two = train_many(settings, data)
    assert (one.restores, two.restores) == (0, 1)
    assert np.array_equal(one.model.parameters, two.model.parameters)
