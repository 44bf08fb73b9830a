"""What callbacks are told and may do, and those that come with the package."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastbp import Callback, Dataset, DivergedError, FastbpError, TrainingResult, UsageError, load, train
from fastbp.callbacks import (
    Checkpoint,
    CsvLogger,
    EarlyStopping,
    JsonLinesLogger,
    LearningRate,
    Plan,
    StopBelow,
    StopOnNaN,
    TimeLimit,
)
from fastbp.logs import logger_for
from fastbp.metrics import EpochRecord
from fastbp.result import Interrupted


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Four classes that overlap, so that a network of some size learns the training samples by heart."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 160)
    x = rng.normal(size=(4, 8))[y] + 1.5 * rng.normal(size=(160, 8))
    return Dataset.from_arrays(x[:120], y[:120], x[120:], y[120:], name="blobs")


SETTINGS: dict[str, Any] = {"layers": "8", "epochs": 6, "learning_rate": 0.5}


class Events(Callback):
    """Writes down what it is told; does what it is asked to at one of the events."""

    def __init__(self, at: tuple[str, int] | None = None, do: Any = None) -> None:
        self.heard: list[tuple[str, int]] = []
        self._at, self._do = at, do

    def _hear(self, *event: Any) -> None:
        self.heard.append(event)
        if event == self._at:
            self._do(self.run)

    def on_start(self, plan: Plan) -> None:
        self.run = plan.run
        self._hear("start", plan.n_validation)

    def on_batches(self, epoch: int, done: int, total: int, loss: float) -> None:
        self._hear("batches", epoch)

    def on_epoch(self, record: EpochRecord) -> None:
        self._hear("epoch", record.epoch)

    def on_diverged(self, epoch: int) -> None:
        self._hear("diverged", epoch)

    def on_end(self, reason: str) -> None:
        self._hear("end", reason)


# the protocol


def test_the_order_of_events(data: Dataset) -> None:
    events = Events()
    train(data, callbacks=[events], **{**SETTINGS, "epochs": 2})
    order = [event for i, event in enumerate(events.heard) if i == 0 or event != events.heard[i - 1]]
    assert order == [("start", 0), ("batches", 1), ("epoch", 1), ("batches", 2), ("epoch", 2), ("end", "epochs")]


def test_stop_after_an_epoch(data: Dataset) -> None:
    """All callbacks hear of the epoch, whichever stops the run; the first reason counts."""
    first = Events(("epoch", 3), lambda run: run.stop("seen enough"))
    second = Events(("epoch", 3), lambda run: run.stop("me, too"))
    result = train(data, callbacks=[first, second], **SETTINGS)
    assert (result.stopped, result.epochs) == ("seen enough", 3)
    assert first.heard == second.heard
    assert second.heard[-2:] == [("epoch", 3), ("end", "seen enough")]
    whole = train(data, **SETTINGS)
    assert result.history[2].loss == whole.history[2].loss


def test_stop_in_the_middle_of_an_epoch(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The epoch leaves no record, its samples are counted, and its weights are the model's."""
    monkeypatch.setattr("fastbp.training.CHUNK_SECONDS", 0.0)  # one batch at a time
    events = Events(("batches", 2), lambda run: run.stop("now"))
    result = train(data, callbacks=[events], batch_size=1, **{**SETTINGS, "schedule": "constant"})
    assert (result.stopped, result.epochs, len(result.history)) == ("now", 1, 1)
    one = train(data, batch_size=1, **{**SETTINGS, "schedule": "constant", "epochs": 1})
    assert not np.array_equal(result.model.parameters, one.model.parameters)
    samples = result.samples_per_second * result.train_seconds
    assert 120 < samples < 240
    np.testing.assert_allclose(samples, round(samples), atol=1e-6)
    at_start = train(data, callbacks=[Events(("start", 0), lambda run: run.stop("no"))], **SETTINGS)
    assert (at_start.stopped, at_start.epochs) == ("no", 0)
    np.testing.assert_array_equal(at_start.model.parameters, at_start.model.network.initial_parameters(0))


def test_weights_and_models_on_demand(data: Dataset) -> None:
    seen: list[Any] = []

    def look(run: Any) -> None:
        seen.extend((run.parameters(), run.model()))
        run.parameters()[:] = 0  # a copy

    result = train(data, callbacks=[Events(("epoch", 6), look)], **SETTINGS)
    np.testing.assert_array_equal(seen[0], result.model.parameters)
    np.testing.assert_array_equal(seen[1].outputs(data.x_test), result.model.outputs(data.x_test))
    assert seen[1].to_bytes() == result.model.to_bytes()
    ones = Events(("end", "epochs"), lambda run: run.set_parameters(np.ones_like(seen[0])))
    result = train(data, callbacks=[ones], **SETTINGS)
    assert (result.model.parameters == 1).all()
    assert result.loss == pytest.approx(result.model.evaluate(data.x_train, data.y_train)[0], rel=1e-5)


def test_a_learning_rate_of_ones_own(data: Dataset) -> None:
    result = train(data, callbacks=[LearningRate(lambda epoch: 1 / epoch)], **SETTINGS)
    assert [record.learning_rate for record in result.history] == [1 / epoch for epoch in range(1, 7)]
    flat = train(data, callbacks=[LearningRate(lambda epoch: 0.5)], **SETTINGS)
    same = train(data, schedule="constant", **SETTINGS)
    np.testing.assert_array_equal(flat.model.parameters, same.model.parameters)
    with pytest.raises(UsageError, match="learning rate must be a finite number greater than 0, got -1"):
        train(data, callbacks=[LearningRate(lambda epoch: -1.0)], **SETTINGS)


@pytest.mark.parametrize(("error", "reason"), [(RuntimeError("mine"), "failed"), (KeyboardInterrupt(), "interrupted")])
def test_the_end_is_told_once_whatever_ends_it(data: Dataset, error: BaseException, reason: str) -> None:
    def fail(run: Any) -> None:
        raise error

    other, failing = Events(), Events(("epoch", 2), fail)
    with pytest.raises((RuntimeError, Interrupted)) as caught:
        train(data, callbacks=[failing, other], **SETTINGS)
    for events in (failing, other):
        assert [event for event in events.heard if event[0] == "end"] == [("end", reason)]
    if reason == "failed":
        assert caught.value is error
    at_start = Events(("start", 0), fail)
    with pytest.raises(type(error)):
        train(data, callbacks=[other, at_start, EarlyStopping()], **SETTINGS)
    assert other.heard[-1] == ("end", "failed")


# stopping


def stopping(costs: list[float], **settings: Any) -> tuple[str | None, int]:
    """What EarlyStopping says to these validation costs, and whose weights it keeps (those of epoch e are e)."""
    run = SimpleNamespace(reason=None, theta=np.zeros(1))
    run.stop = lambda reason: setattr(run, "reason", reason)
    run.parameters = lambda: run.theta.copy()
    run.set_parameters = lambda theta: run.theta.__setitem__(slice(None), theta)
    callback = EarlyStopping(**settings)
    callback.on_start(SimpleNamespace(n_validation=1, run=run))  # type: ignore[arg-type]
    for epoch, cost in enumerate(costs, 1):
        run.theta[:] = epoch
        callback.on_epoch(SimpleNamespace(validation_loss=cost))  # type: ignore[arg-type]
        if run.reason:
            assert epoch == len(costs), "it stopped before the last of these costs"
    callback.on_end(run.reason or "epochs")
    return run.reason, int(run.theta[0])


@pytest.mark.parametrize(
    ("costs", "settings", "expected"),
    [
        ([3, 2, 2.5, 2.4], {"patience": 2}, ("patience", 2)),
        ([3, 2, 2.5], {"patience": 2}, (None, 2)),
        ([3, 2, 2.5, 1, 1.1], {"patience": 2}, (None, 4)),
        ([3, 3], {"patience": 1}, ("patience", 1)),
        ([3, 2, 1, 0], {"patience": 1}, (None, 4)),
        # each epoch is 0.1 better, which is not enough; the weights are those of the lowest cost all the same
        ([3, 2.9, 2.8], {"patience": 2, "min_delta": 0.5}, ("patience", 3)),
        # ... but together they are
        ([3, 2.9, 2.7, 2.6, 2.2], {"patience": 3, "min_delta": 0.25}, (None, 5)),
        ([3, float("nan"), float("nan")], {"patience": 2}, ("patience", 1)),
        ([float("nan"), float("nan")], {"patience": 2}, ("patience", 2)),
    ],
)
def test_patience_worked_by_hand(costs: list[float], settings: dict[str, Any], expected: Any) -> None:
    assert stopping(costs, **settings) == expected


@pytest.mark.parametrize("settings", [{"patience": 0}, {"min_delta": -1}, {"min_delta": float("nan")}])
def test_patience_that_is_none(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="patience must be at least 1 and min_delta at least 0"):
        EarlyStopping(**settings)


def test_early_stopping_keeps_the_best_weights(data: Dataset) -> None:
    settings = {
        "layers": "32",
        "epochs": 200,
        "learning_rate": 1.0,
        "validation": 0.3,
        "schedule": "constant",
        "seed": 1,
    }
    result = train(data, patience=5, **settings)
    costs = [record.validation_loss for record in result.history]
    best = int(np.argmin(costs)) + 1
    assert (result.stopped, result.best_epoch, result.epochs) == ("patience", best, best + 5)
    there = train(data, **{**settings, "epochs": best})
    np.testing.assert_array_equal(result.model.parameters, there.model.parameters)
    assert (result.validation_loss, result.validation_accuracy) == (
        there.history[-1].validation_loss,
        there.history[-1].validation_accuracy,
    )
    assert result.test_accuracy == there.test_accuracy
    # without patience the best epoch is known, and the weights are the last ones
    last = train(data, **{**settings, "epochs": best + 5})
    assert (last.best_epoch, last.stopped) == (best, "epochs")
    assert last.validation_loss == last.history[-1].validation_loss == costs[-1]
    # the same as a callback of one's own; and the best weights stay when something else ends the run
    own = train(data, callbacks=[EarlyStopping(5)], **settings)
    np.testing.assert_array_equal(own.model.parameters, result.model.parameters)
    cut = train(data, patience=50, callbacks=[Events(("epoch", best + 3), lambda run: run.stop("enough"))], **settings)
    np.testing.assert_array_equal(cut.model.parameters, result.model.parameters)


def test_time_limit(data: Dataset) -> None:
    result = train(data, time_limit=0.02, **{**SETTINGS, "epochs": 10_000_000})
    assert result.stopped == "time_limit"
    assert result.epochs < 10_000_000
    assert train(data, time_limit=1000.0, **SETTINGS).stopped == "epochs"
    assert train(data, callbacks=[TimeLimit(1e-9)], **SETTINGS).epochs <= 1


def test_stop_below_is_a_callback_too(data: Dataset) -> None:
    full = train(data, **SETTINGS)
    limit = (full.history[2].loss + full.history[3].loss) / 2
    for result in (train(data, stop_below=limit, **SETTINGS), train(data, callbacks=[StopBelow(limit)], **SETTINGS)):
        assert (result.stopped, result.epochs) == ("stop_below", 4)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("engine", ["fused", "reference"])
def test_a_run_that_diverges_can_end_with_a_result(data: Dataset, engine: str) -> None:
    wild = {"layers": "8", "activation": "relu", "learning_rate": 1e20, "epochs": 50, "engine": engine}
    events = Events()
    with pytest.raises(DivergedError) as caught:
        train(data, callbacks=[events], **wild)
    assert [event[0] for event in events.heard[-2:]] == ["diverged", "end"]
    result = train(data, callbacks=[StopOnNaN()], **wild)
    kept = caught.value.result
    assert isinstance(kept, TrainingResult)
    assert result.stopped == kept.stopped == "diverged"
    assert np.isfinite(result.model.parameters).all()
    np.testing.assert_array_equal(result.model.parameters, kept.model.parameters)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_the_best_weights_survive_divergence(data: Dataset) -> None:
    settings: dict[str, Any] = {"layers": "8", "activation": "relu", "epochs": 20, "validation": 0.3, "patience": 20}
    rates = LearningRate(lambda epoch: 0.05 if epoch < 5 else 1e30)
    with pytest.raises(DivergedError) as caught:
        train(data, callbacks=[rates], **settings)
    result = caught.value.result
    assert isinstance(result, TrainingResult)
    assert result.best_epoch is not None
    assert result.validation_loss == min(record.validation_loss or 0 for record in result.history)


# writing


def test_csv_log(data: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("old")
    result = train(data, callbacks=[CsvLogger(path)], validation=0.2, **SETTINGS)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [item.name for item in fields(EpochRecord)]
    for row, record in zip(rows, result.history, strict=True):
        assert {name: float(cell) for name, cell in row.items()} == record.as_dict()
    train(data, callbacks=[CsvLogger(path)], evaluate="end", **SETTINGS)
    with open(path, newline="") as file:
        assert {row["test_accuracy"] + row["validation_loss"] for row in csv.DictReader(file)} == {""}


def test_json_log(data: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    result = train(data, callbacks=[JsonLinesLogger(path)], **SETTINGS)
    lines = path.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [record.as_dict() for record in result.history]
    assert json.loads(lines[0])["validation_loss"] is None
    assert json.loads(lines[0])["test_accuracy"] == result.history[0].test_accuracy


def test_json_has_no_nan(tmp_path: Path) -> None:
    log = JsonLinesLogger(tmp_path / "log.jsonl")
    log.on_start(SimpleNamespace(history=()))  # type: ignore[arg-type]
    record = EpochRecord(epoch=1, loss=1.0, train_accuracy=None, test_accuracy=None, learning_rate=1.0, seconds=1.0,
                         samples_per_second=1.0, validation_loss=float("nan"))  # fmt: skip
    log.on_epoch(record)
    log.on_end("epochs")
    assert json.loads((tmp_path / "log.jsonl").read_text())["validation_loss"] is None


@pytest.mark.parametrize("kind", [CsvLogger, JsonLinesLogger])
def test_lines_are_there_at_once_and_the_file_is_closed(data: Dataset, tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "log"
    counts: list[int] = []
    count = Events(("epoch", 2), lambda run: counts.append(len(path.read_text().splitlines())))
    train(data, callbacks=[kind(path), count], **SETTINGS)
    assert counts == [3 if kind is CsvLogger else 2]

    def fail(run: Any) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):  # a file left open would be a ResourceWarning, and that an error
        train(data, callbacks=[kind(path), Events(("epoch", 2), fail)], **SETTINGS)


def test_a_log_that_cannot_be_opened_stops_the_run_before_it_begins(data: Dataset, tmp_path: Path) -> None:
    events = Events()
    with pytest.raises(FastbpError, match=r"cannot write the log .*nowhere.*No such file or directory"):
        train(data, callbacks=[events, CsvLogger(tmp_path / "nowhere" / "log.csv")], **SETTINGS)
    assert events.heard == [("start", 0), ("end", "failed")]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("kind", [CsvLogger, JsonLinesLogger])
def test_a_full_disk_costs_the_log_and_not_the_model(data: Dataset, kind: Any) -> None:
    with pytest.warns(RuntimeWarning, match="the log /dev/full ends here: No space left on device; training goes on"):
        result = train(data, callbacks=[kind("/dev/full")], **SETTINGS)
    assert result.epochs == 6


def test_the_end_of_the_name_chooses_the_logger(tmp_path: Path) -> None:
    assert isinstance(logger_for(tmp_path / "a.csv"), CsvLogger)
    assert isinstance(logger_for("b.jsonl"), JsonLinesLogger)
    with pytest.raises(UsageError, match=r"must end in .csv or .jsonl, got c.json"):
        logger_for("c.json")


def test_checkpoints(data: Dataset, tmp_path: Path) -> None:
    result = train(data, callbacks=[Checkpoint(tmp_path / "m{epoch}", every=2)], schedule="constant", **SETTINGS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m2", "m4", "m6"]
    np.testing.assert_array_equal(load(tmp_path / "m6").parameters, result.model.parameters)
    two = train(data, **{**SETTINGS, "epochs": 2, "schedule": "constant"})
    np.testing.assert_array_equal(load(tmp_path / "m2").parameters, two.model.parameters)


def test_checkpoints_of_the_best_only(data: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "best"
    settings = {
        "layers": "32",
        "epochs": 60,
        "learning_rate": 1.0,
        "validation": 0.3,
        "schedule": "constant",
        "seed": 1,
    }
    result = train(data, callbacks=[Checkpoint(path, best_only=True)], patience=60, **settings)
    assert result.best_epoch is not None
    assert result.best_epoch < 60
    np.testing.assert_array_equal(load(path).parameters, result.model.parameters)
    with pytest.raises(UsageError, match="best_only looks at the validation cost"):
        train(data, callbacks=[Checkpoint(path, best_only=True)], **SETTINGS)
    with pytest.raises(UsageError, match="every must be at least 1, got 0"):
        Checkpoint(path, every=0)
