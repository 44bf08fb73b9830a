"""Run folders that are trained into, cut short anywhere, and resumed: the same bits as without interruption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp.training
from fastbp import Callback, Config, CustomActivation, Dataset, DivergedError, ModelError, UsageError, load, train
from fastbp.errors import AtOnce, FastbpError
from fastbp.result import Interrupted
from fastbp.runs.checkpoint_file import read_state
from fastbp.runs.folder import NAMES, RunFolder
from fastbp.runs.training import resume, train_to

N_TRAIN, N_TEST = 203, 60
TIMES = {"seconds", "samples_per_second", "train_seconds"}

KINDS: dict[str, dict[str, Any]] = {
    "sgd": {"layers": "7"},
    "momentum": {"layers": "7-5", "optimizer": "momentum", "schedule": "cosine"},
    "nesterov, float64": {"layers": "6", "optimizer": "nesterov", "dtype": "float64", "schedule": "one_cycle"},
    "adam with dropout": {"layers": "8-6", "optimizer": "adam", "learning_rate": 0.01, "dropout": 0.3},
    "adamw, early stopping": {
        "layers": "8",
        "optimizer": "adamw",
        "weight_decay": 0.01,
        "learning_rate": 0.02,
        "validation": 0.2,
        "patience": 2,
    },
    "patience that ends the run": {
        "layers": "20",
        "epochs": 50,
        "learning_rate": 3.0,
        "schedule": "constant",
        "validation": 0.2,
        "patience": 4,
    },
    "rmsprop, adaptive": {
        "layers": "5",
        "optimizer": "rmsprop",
        "learning_rate": 0.01,
        "schedule": "adaptive",
        "rate_patience": 1,
        "min_delta": 10.0,  # no cost is lower by that much: the rate falls after every epoch
        "validation": 0.2,
    },
    "in order, clipped": {"layers": "7", "shuffle": False, "clip_norm": 0.5, "evaluate": "end"},
    "stages": {"layers": "7", "engine": "stages", "optimizer": "adam", "learning_rate": 0.01},
    "reference": {"layers": "7", "engine": "reference", "optimizer": "momentum", "dropout": 0.2},
    "standardised floats, restore": {"layers": "7", "on_nan": "restore", "optimizer": "momentum"},
    "smoothed and balanced": {"layers": "7", "label_smoothing": 0.1, "class_weight": "balanced"},
    "no hidden layer, stop_below": {"layers": "", "stop_below": 0.3, "epochs": 40},
    "one batch an epoch": {"layers": "5", "batch_size": None, "optimizer": "adam", "learning_rate": 0.05},
    "maxout": {"layers": "4", "activation": "maxout"},
}


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(N_TRAIN + N_TEST, 9))
    y = (x @ rng.normal(size=(9, 3)) + 0.5 * rng.normal(size=(len(x), 3))).argmax(axis=1)
    return Dataset.from_arrays(x[:N_TRAIN], y[:N_TRAIN], x[N_TRAIN:], y[N_TRAIN:], name="made")


class CutAfter(Callback):
    """Interrupts a run at its n-th event: of batches that are done, or of epochs."""

    def __init__(self, count: int, event: str = "on_batches") -> None:
        self.left = count
        setattr(self, event, self._count)

    def _count(self, *_: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.fixture
def short_chunks(monkeypatch):
    """A compiled call has a few batches, so that runs are cut within epochs."""
    monkeypatch.setattr(fastbp.training, "batches_that_last", lambda seconds, n, spent: 2)


def kept(folder: Path) -> dict[str, Any]:
    """What must be the same, however often a run was interrupted."""
    run = RunFolder(folder)
    summary = run.summary()
    assert summary is not None
    return {
        "model": run.model_file.read_bytes(),
        "config": run.config_file.read_bytes(),
        "history": [
            {name: value for name, value in record.as_dict().items() if name not in TIMES} for record in run.history()
        ],
        "summary": {name: value for name, value in summary.items() if name not in TIMES},
    }


def last_state(folder: Path) -> dict[str, Any]:
    state, _ = read_state(folder / "checkpoint.safetensors")
    remembered = {name: dict(values) for name, values in state.callbacks.items()}
    remembered.pop("TimeLimit", None)
    arrays = {
        "parameters": state.parameters,
        "moments": state.optimizer.moments,
        "squares": state.optimizer.squares,
        **{
            f"{name}.{key}": values.pop(key)
            for name, values in remembered.items()
            for key in ("best",)
            if key in values
        },
    }
    return {
        **{name: None if array is None else array.tobytes() for name, array in arrays.items()},
        "n_updates": state.optimizer.n_updates,
        "n_samples": state.n_samples,
        "schedule": dict(state.schedule),
        "callbacks": remembered,
        "stopped": state.stopped,
        "done": state.done,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_cut_and_resumed_ends_with_the_same_bits(data, tmp_path, short_chunks, kind):
    """Cut at the 1st, 2nd, 3rd, ... event of a run that goes on from the last cut, until it ends by itself."""
    settings = {"epochs": 6, "seed": 4, "batch_size": 32, **KINDS[kind]}
    train_to(tmp_path / "whole", data, **settings)
    cuts, done = 0, set()
    count = 1
    for _ in range(100):
        try:
            if cuts == 0:
                train_to(tmp_path / "cut", data, callbacks=[CutAfter(2)], **settings)
            else:
                resume(tmp_path / "cut", data, callbacks=[CutAfter(count)])
            break
        except Interrupted:
            cuts += 1
            count = cuts % 4 + 1
            done.add(read_state(tmp_path / "cut" / "checkpoint.safetensors")[0].done)
    assert cuts >= 2
    assert len(done) > 1 or settings["batch_size"] is None
    assert kept(tmp_path / "cut") == kept(tmp_path / "whole")
    assert last_state(tmp_path / "cut") == last_state(tmp_path / "whole")


@pytest.mark.parametrize("event", ["on_batches", "on_epoch"])
def test_without_a_folder_the_weights_are_the_same(data, tmp_path, event):
    """A folder changes nothing in training; its model is the best one, here the last one."""
    settings = {"epochs": 4, "layers": "6", "seed": 2, "optimizer": "adam", "learning_rate": 0.01}
    with pytest.raises(Interrupted):
        train_to(tmp_path / "a", data, callbacks=[CutAfter(2, event)], **settings)
    result = resume(tmp_path / "a", data)
    plain = train(data, **settings)
    assert [record.loss for record in result.history] == [record.loss for record in plain.history]
    assert result.history[-1].loss == min(record.loss for record in result.history)
    assert result.model.to_bytes() == plain.model.to_bytes()


def test_the_model_is_that_of_the_best_epoch(data, tmp_path):
    """With a rate that is too high the training cost goes up and down: weights of the lowest one are kept."""
    settings = {"layers": "6", "learning_rate": 8.0, "schedule": "constant", "seed": 1}
    result = train_to(tmp_path / "a", data, epochs=12, **settings)
    losses = [record.loss for record in result.history]
    best = int(np.argmin(losses)) + 1
    assert best < 12
    until = train(data, epochs=best, **settings)
    assert np.array_equal(load(tmp_path / "a" / "model.safetensors").parameters, until.model.parameters)
    last, _ = read_state(tmp_path / "a" / "checkpoint.safetensors")
    assert np.array_equal(last.parameters, train(data, epochs=12, **settings).model.parameters)


def test_the_best_model_is_chosen_by_validation_and_not_by_test_samples(data, tmp_path):
    result = train_to(tmp_path / "a", data, layers="30", epochs=30, learning_rate=2.0, validation=0.3)
    costs = [record.validation_loss for record in result.history]
    assert result.best_epoch == int(np.argmin(np.array(costs, dtype=float))) + 1
    assert result.validation_loss == pytest.approx(min(cost for cost in costs if cost is not None), rel=1e-6)


def test_what_is_in_the_folder(data, tmp_path):
    result = train_to(tmp_path / "a", data, layers="5", epochs=3)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted([".lock", *NAMES[:5]])
    folder = RunFolder(tmp_path / "a")
    assert folder.settings() == {k: v for k, v in result.model.config.items() if v is not None}
    lines = folder.metrics_file.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [record.as_dict() for record in result.history]
    summary = folder.summary()
    assert summary is not None
    assert (summary["stopped"], summary["epochs"], summary["test_accuracy"]) == ("epochs", 3, result.test_accuracy)
    assert folder.model().to_bytes() == result.model.to_bytes()
    for file in (folder.model_file, folder.checkpoint_file):
        assert str(tmp_path).encode() not in file.read_bytes()
    with pytest.raises(ModelError, match="a checkpoint, for --resume"):
        load(folder.checkpoint_file)
    with pytest.raises(ModelError, match="a model, not a checkpoint"):
        read_state(folder.model_file)


def test_a_finished_run_is_measured_again(data, tmp_path):
    first = train_to(tmp_path / "a", data, layers="5", epochs=3)
    before = kept(tmp_path / "a")
    (tmp_path / "a" / "model.safetensors").unlink()
    again = resume(tmp_path / "a", data)
    assert kept(tmp_path / "a") == before
    assert (again.history, again.train_seconds) == (first.history, first.train_seconds)


@pytest.mark.parametrize("schedule", ["constant", "step", "adaptive", "inverse"])
def test_more_epochs(data, tmp_path, schedule):
    """Where rates do not depend on the number of epochs, more of them give what they would have given at once."""
    settings = {"layers": "6", "schedule": schedule, "optimizer": "momentum", "validation": 0.2}
    train_to(tmp_path / "whole", data, epochs=7, **settings)
    train_to(tmp_path / "more", data, epochs=3, **settings)
    assert resume(tmp_path / "more", data, epochs=7).epochs == 7
    assert kept(tmp_path / "more") == kept(tmp_path / "whole")


def test_more_epochs_where_rates_depend_on_their_number(data, tmp_path):
    train_to(tmp_path / "a", data, epochs=2, layers="5", schedule="linear", learning_rate=0.8)
    result = resume(tmp_path / "a", data, epochs=4)
    assert [record.learning_rate for record in result.history] == [0.8, 0.4, 0.4, 0.2]
    with pytest.raises(UsageError, match="4 epochs are done"):
        resume(tmp_path / "a", data, epochs=3)


def test_lbfgs_begins_again(data, tmp_path):
    pytest.importorskip("scipy")
    settings = {"layers": "4", "optimizer": "lbfgs", "epochs": 8, "dtype": "float64"}
    train_to(tmp_path / "whole", data, **settings)
    with pytest.raises(Interrupted):
        train_to(tmp_path / "cut", data, callbacks=[CutAfter(3, "on_epoch")], **settings)
    assert not (tmp_path / "cut" / "checkpoint.safetensors").exists()
    resume(tmp_path / "cut", data)
    assert kept(tmp_path / "cut") == kept(tmp_path / "whole")
    assert resume(tmp_path / "cut", data).epochs == 8
    train_to(tmp_path / "more", data, **{**settings, "epochs": 3})
    resume(tmp_path / "more", data, epochs=8)
    assert kept(tmp_path / "more") == kept(tmp_path / "whole")


def test_a_start_model_is_kept(data, tmp_path):
    start = train(data, layers="5", epochs=1, learning_rate=0.1).model
    settings = {"layers": "5", "epochs": 4, "optimizer": "adam", "learning_rate": 0.01}
    train_to(tmp_path / "whole", data, init_from=start, **settings)
    with pytest.raises(Interrupted):
        train_to(tmp_path / "cut", data, init_from=start, callbacks=[CutAfter(2, "on_epoch")], **settings)
    resume(tmp_path / "cut", data)
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()
    assert load(tmp_path / "cut" / "start.safetensors").to_bytes() == start.to_bytes()
    assert Path(RunFolder(tmp_path / "cut").settings()["init_from"]).samefile(tmp_path / "cut" / "start.safetensors")


def test_a_start_model_that_is_gone_is_missed(data, tmp_path):
    """Else the run would begin again from random weights."""
    start = train(data, layers="5", epochs=1).model
    train_to(tmp_path / "a", data, init_from=start, layers="5", epochs=2)
    for name in ("start", "checkpoint", "model"):
        (tmp_path / "a" / f"{name}.safetensors").unlink()
    with pytest.raises(ModelError, match=r"start\.safetensors"):
        resume(tmp_path / "a", data)


@pytest.mark.parametrize("engine", ["reference", "fused"])
def test_a_second_ctrl_c_within_a_batch_saves_no_state_of_it(data, tmp_path, engine):
    """The optimizer's memory is that of a batch of which nobody knows: the last checkpoint must stay."""

    class Breaks(Callback):
        left = 3

        def on_start(self, plan: Any) -> None:
            real = plan.run._engine.run

            def run(*what: Any) -> None:
                real(*what)
                self.left -= 1
                if self.left == 0:
                    raise AtOnce

            plan.run._engine.run = run

    settings = {"layers": "5", "epochs": 5, "optimizer": "momentum", "engine": engine}
    with pytest.raises(Interrupted):
        train_to(tmp_path / "cut", data, callbacks=[Breaks()], **settings)
    resume(tmp_path / "cut", data)
    train_to(tmp_path / "whole", data, **settings)
    assert kept(tmp_path / "cut") == kept(tmp_path / "whole")


def test_a_second_ctrl_c_measures_nothing(data, tmp_path, monkeypatch):
    """It comes during training, or while the first one's result is measured; model and checkpoint are there anyway."""

    class Twice(Callback):
        error: type[BaseException] = AtOnce

        def on_epoch(self, record: Any) -> None:
            if record.epoch == 2:
                raise self.error

    twice = Twice()
    with pytest.raises(Interrupted) as caught:
        train(data, layers="5", epochs=9, callbacks=[twice])
    assert np.isnan(caught.value.result.loss)
    assert (caught.value.result.train_accuracy, caught.value.result.epochs) == (None, 2)
    twice.error = KeyboardInterrupt
    real = fastbp.training.Run.result

    def interrupted(run: Any, measured: bool = True) -> Any:
        if measured:
            raise AtOnce
        return real(run, measured)

    with monkeypatch.context() as patch:
        patch.setattr(fastbp.training.Run, "result", interrupted)
        with pytest.raises(Interrupted):
            train_to(tmp_path / "a", data, layers="5", epochs=3, callbacks=[twice, CutAfter(2)])
    summary = RunFolder(tmp_path / "a").summary()
    assert summary is not None
    assert (summary["stopped"], summary["loss"]) == ("interrupted", None)
    resume(tmp_path / "a", data)
    train_to(tmp_path / "b", data, layers="5", epochs=3)
    assert kept(tmp_path / "a") == kept(tmp_path / "b")


def test_other_data_settings_and_samples_are_refused(data, tmp_path):
    weights = np.ones(N_TRAIN)
    train_to(tmp_path / "a", data, layers="5", epochs=2, sample_weight=weights)
    before = (tmp_path / "a" / "checkpoint.safetensors").read_bytes()
    other = Dataset.from_arrays(data.x_train + 1, data.y_train, data.x_test, data.y_test, name="other")
    with pytest.raises(UsageError, match=r"other is not the data that .* was begun with .made."):
        resume(tmp_path / "a", other, sample_weight=weights)
    for wrong in (None, weights * 2):
        with pytest.raises(UsageError, match="sample_weight and validation_data are not those"):
            resume(tmp_path / "a", data, sample_weight=wrong)
    assert resume(tmp_path / "a", data, epochs=3, sample_weight=weights).epochs == 3
    assert (tmp_path / "a" / "checkpoint.safetensors").read_bytes() != before
    config = tmp_path / "a" / "config.toml"
    config.write_text(config.read_text().replace("seed = 0", "seed = 1"))
    with pytest.raises(UsageError, match=r"seed is 1 in .*config\.toml, and the run was begun with 0"):
        resume(tmp_path / "a", data, sample_weight=weights)


def test_folders_that_are_refused(data, tmp_path):
    train_to(tmp_path / "a", data, layers="5", epochs=1)
    before = kept(tmp_path / "a")
    with pytest.raises(UsageError, match="already holds a run"):
        train_to(tmp_path / "a", data, layers="5", epochs=1)
    with pytest.raises(UsageError, match="holds no run"):
        resume(tmp_path / "none", data)
    assert kept(tmp_path / "a") == before
    owner = RunFolder(tmp_path / "a")
    owner.claim(new=False)
    for call in (lambda: resume(tmp_path / "a", data), lambda: train_to(tmp_path / "a", data, force=True)):
        with pytest.raises(FastbpError, match="in use"):
            call()
    owner.release()
    train_to(tmp_path / "a", data, layers="6", epochs=1, force=True)
    assert kept(tmp_path / "a") != before


def test_settings_that_make_no_sense_leave_no_folder_behind(data, tmp_path):
    with pytest.raises(UsageError):
        train_to(tmp_path / "a" / "b", data, layers="4-4-4-4", patience=3)
    own = CustomActivation("half", lambda z: z / 2, lambda z, a: 0.5)
    with pytest.raises(UsageError, match="functions of your own"):
        train_to(tmp_path / "b", data, activation=own)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_diverges_keeps_its_best_model(data, tmp_path):
    settings = {"layers": "6", "activation": "relu", "cost": "squared_error", "output_activation": "identity"}
    with pytest.raises(DivergedError):
        train_to(tmp_path / "a", data, epochs=6, learning_rate=1e6, **settings)
    folder = RunFolder(tmp_path / "a")
    summary = folder.summary()
    assert summary is not None
    assert summary["stopped"] == "diverged"
    assert np.isfinite(folder.model().parameters).all()


def test_a_checkpoint_of_another_run_is_refused(data, tmp_path):
    train_to(tmp_path / "a", data, layers="5", epochs=2)
    other = Dataset.from_arrays(data.x_train[:50], data.y_train[:50], name="made")
    train_to(tmp_path / "b", other, layers="5", epochs=2)
    (tmp_path / "b" / "checkpoint.safetensors").replace(tmp_path / "a" / "checkpoint.safetensors")
    with pytest.raises(UsageError, match="is not the data"):
        resume(tmp_path / "a", data)
    file = tmp_path / "a" / "checkpoint.safetensors"
    whole = file.read_bytes()
    for damaged in (b"", whole[:100], whole[:-1], whole[:2000] + b"x" + whole[2001:]):
        file.write_bytes(damaged)
        with pytest.raises(ModelError):
            resume(tmp_path / "a", other)


def test_what_callbacks_remember_goes_on(data, tmp_path):
    class Counts(Callback):
        def __init__(self) -> None:
            self.epochs, self.sums = 0, np.zeros(2)

        def on_epoch(self, record: Any) -> None:
            self.epochs += 1
            self.sums = self.sums + record.loss

        def state(self) -> dict[str, Any]:
            return {"epochs": self.epochs, "sums": self.sums, "none": None, "far": float("inf"), "text": "a"}

        def set_state(self, state: Any) -> None:
            assert (state["none"], state["far"], state["text"]) == (None, float("inf"), "a")
            self.epochs, self.sums = state["epochs"], state["sums"]

    counts = Counts()
    with pytest.raises(Interrupted):
        train_to(tmp_path / "a", data, layers="4", epochs=5, callbacks=[counts, CutAfter(3, "on_epoch")])
    again = Counts()
    result = resume(tmp_path / "a", data, callbacks=[again])
    assert again.epochs == 5
    assert again.sums[1] == pytest.approx(sum(record.loss for record in result.history), rel=1e-15)


def test_logs_are_whole_after_resuming(data, tmp_path):
    from fastbp.callbacks import CsvLogger

    with pytest.raises(Interrupted):
        train_to(tmp_path / "a", data, layers="4", epochs=4, callbacks=[CutAfter(2, "on_epoch")])
    resume(tmp_path / "a", data, callbacks=[CsvLogger(tmp_path / "log.csv")])
    assert [line.split(",")[0] for line in (tmp_path / "log.csv").read_text().splitlines()] == ["epoch", *"1234"]


def test_the_default_config_is_written_and_read_back(data, tmp_path):
    train_to(tmp_path / "a", data, epochs=0, dropout="0.1,0.2", layers="6-5", batch_size=None)
    from fastbp.runs.training import config_of

    config = config_of(RunFolder(tmp_path / "a"))
    assert config == Config(
        epochs=0, dropout="0.1,0.2", layers="6-5", batch_size=None, learning_rate=config.learning_rate
    )


def test_interrupted_before_its_first_batch_a_resumed_run_stays_where_it_was(data, tmp_path, short_chunks, monkeypatch):
    """Ctrl-C in Python may come anywhere: here between taking up the state and the first epoch."""
    settings = {"layers": "5", "epochs": 3, "optimizer": "adam", "learning_rate": 0.01}
    train_to(tmp_path / "whole", data, **settings)
    with pytest.raises(Interrupted):
        train_to(tmp_path / "cut", data, callbacks=[CutAfter(2)], **settings)
    before = last_state(tmp_path / "cut")

    def interrupted(self: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fastbp.training.Run, "next_epoch", interrupted)
        with pytest.raises(Interrupted):
            resume(tmp_path / "cut", data)
    assert last_state(tmp_path / "cut") == before
    assert before["done"] > 0
    resume(tmp_path / "cut", data)
    assert kept(tmp_path / "cut") == kept(tmp_path / "whole")


@pytest.mark.parametrize("epochs", [None, 60])
def test_a_run_that_ended_by_itself_stays_ended(data, tmp_path, epochs):
    """Early stopping would have ended the longer run at the same epoch."""
    settings = {"layers": "20", "epochs": 50, "learning_rate": 3.0, "schedule": "constant", "validation": 0.2}
    first = train_to(tmp_path / "a", data, patience=3, **settings)
    assert (first.stopped, first.epochs < 50) == ("patience", True)
    again = resume(tmp_path / "a", data, epochs=epochs)
    assert (again.stopped, again.history) == ("patience", first.history)
    assert np.array_equal(again.model.parameters, first.model.parameters)


def test_an_epoch_that_has_begun_keeps_its_rates(data, tmp_path, short_chunks):
    """linear: 0.8, 0.4 in two epochs. Four of them go on from the second, which was begun with 0.4, at 0.4 and 0.2."""
    settings = {"layers": "5", "schedule": "linear", "learning_rate": 0.8}
    with pytest.raises(Interrupted):
        train_to(tmp_path / "a", data, epochs=2, callbacks=[CutAfter(5)], **settings)
    state, _ = read_state(tmp_path / "a" / "checkpoint.safetensors")
    assert (len(state.history), state.done) == (1, 2)
    result = resume(tmp_path / "a", data, epochs=4)
    assert [record.learning_rate for record in result.history] == pytest.approx([0.8, 0.4, 0.4, 0.2])
