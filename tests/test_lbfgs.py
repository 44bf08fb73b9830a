"""L-BFGS in the trainer. The oracles: Newton's method and least squares in NumPy, costs written out here, prefixes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy", minversion="1.11")

from click.testing import CliRunner

from fastbp import Callback, Config, Dataset, DivergedError, FastbpError, UsageError, train, train_many
from fastbp.callbacks import EarlyStopping, LearningRate, StopOnNaN
from fastbp.cli import cli
from fastbp.result import Interrupted

Array = np.ndarray[Any, Any]
ENGINES = ["fused", "stages", "reference"]
FAR: dict[str, Any] = {"optimizer": "lbfgs", "dtype": "float64", "epochs": 1000, "tol": 1e-10}


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Three classes that overlap; the last 40 samples are for testing."""
    rng = np.random.default_rng(5)
    y = np.repeat([0, 1, 2], [80, 50, 30])[rng.permutation(160)]
    x = rng.normal(size=(3, 4))[y] + 1.5 * rng.normal(size=(160, 4))
    return Dataset.from_arrays(x[:120], y[:120], x[120:], y[120:], name="blobs")


SMALL: dict[str, Any] = {"layers": "6", "activation": "tanh", "optimizer": "lbfgs", "epochs": 12}


def two_classes() -> tuple[Array, Array]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(90, 3))
    return x, (x @ [1.0, -2.0, 0.5] + 1.5 * rng.normal(size=90) > 0.3).astype(int)


def newton(x: Array, y: Array, decay: float, weights: Array) -> tuple[Array, float]:
    """Logistic regression: where the gradient of the mean cost with the penalty is 0, and the cost there without it."""
    ones, penalty = np.column_stack([x, np.ones(len(x))]), np.append(np.full(x.shape[1], decay), 0.0)
    w, theta = weights / weights.sum(), np.zeros(x.shape[1] + 1)
    for _ in range(50):
        p = 1 / (1 + np.exp(-ones @ theta))
        gradient = ones.T @ (w * (p - y)) + penalty * theta
        hessian = (ones.T * (w * p * (1 - p))) @ ones + np.diag(penalty)
        theta = theta - np.linalg.solve(hessian, gradient)
    assert np.abs(gradient).max() < 1e-12
    p = 1 / (1 + np.exp(-ones @ theta))
    return theta, float(-(w * np.where(y == 1, np.log(p), np.log(1 - p))).sum())


# where it ends


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("decay", [0.0, 0.03])
@pytest.mark.parametrize("weighted", [False, True])
def test_logistic_regression_reaches_the_optimum(engine: str, decay: float, weighted: bool) -> None:
    x, y = two_classes()
    weights = np.random.default_rng(2).random(90) + 0.1 if weighted else np.ones(90)
    result = train(
        (x, y),
        layers="",
        cost="binary_cross_entropy",
        normalize="none",
        weight_decay=decay,
        engine=engine,
        sample_weight=weights if weighted else None,
        **FAR,
    )
    theta, cost = newton(x, y, decay, weights)
    np.testing.assert_allclose(result.model.parameters, theta, atol=1e-6)
    assert result.loss == pytest.approx(cost, abs=1e-9)
    assert result.history[-1].loss == pytest.approx(cost, abs=1e-9)
    assert result.stopped == "converged"
    assert result.epochs < 60


def test_labels_that_are_smoothed_and_classes_that_weigh_alike() -> None:
    """Smoothing by s makes the targets s/2 and 1 - s/2; balancing gives both classes half of the weight."""
    x, y = two_classes()
    settings: dict[str, Any] = {"layers": "", "cost": "binary_cross_entropy", "normalize": "none", **FAR}
    smooth = train((x, y), label_smoothing=0.2, **settings).model.parameters
    np.testing.assert_allclose(smooth, newton(x, 0.8 * y + 0.1, 0.0, np.ones(90))[0], atol=1e-6)
    balanced = train((x, y), class_weight="balanced", **settings).model.parameters
    np.testing.assert_allclose(balanced, newton(x, y, 0.0, 1 / np.bincount(y)[y])[0], atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_quadratic_cost_gives_least_squares(engine: str, weighted: bool) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(50, 4))
    y = np.column_stack([x @ [1.0, -2.0, 0.5, 3.0], x[:, 0] ** 2]) * [1, 100] + rng.normal(size=(50, 2))
    weights = rng.random(50) + 0.1 if weighted else np.ones(50)
    root = np.sqrt(weights)[:, None]
    ones = np.column_stack([x, np.ones(50)])
    best = np.linalg.lstsq(root * ones, root * y, rcond=None)[0]
    result = train((x, y), layers="", engine=engine, sample_weight=weights if weighted else None, **FAR)
    np.testing.assert_allclose(result.model.predict(x), ones @ best, atol=1e-5)
    assert result.stopped == "converged"


def test_a_quadratic_cost_with_decay_gives_ridge_regression() -> None:
    """(X'X / n + lambda I) W = X'Y / n for centred x and y; the bias is not decayed."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(50, 4))
    y = (x @ [1.0, -2.0, 0.5, 3.0] + rng.normal(size=50))[:, None]
    result = train((x, y), layers="", weight_decay=0.3, **FAR)
    centred, values = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    W = np.linalg.solve(centred.T @ centred / 50 + 0.3 * np.eye(4), centred.T @ values / 50)
    np.testing.assert_allclose(result.model.predict(x), centred @ W * y.std() + y.mean(), atol=1e-6)
    assert result.loss == pytest.approx(((centred @ W - values) ** 2).mean() / 2)


def softmax_cost(theta: Array, x: Array, y: Array, decay: float) -> float:
    """The cost of 4-6-3, tanh and softmax, with the penalty."""
    W1, b1, W2, b2 = theta[:24].reshape(4, 6), theta[24:30], theta[30:48].reshape(6, 3), theta[48:]
    z = np.tanh(x @ W1 + b1) @ W2 + b2
    cost = np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), y]
    return float(cost.mean() + decay / 2 * (np.sum(W1**2) + np.sum(W2**2)))


def test_with_a_hidden_layer_it_ends_where_the_cost_is_flat(data: Dataset) -> None:
    """By central differences, in all directions; and the cost has fallen in each epoch."""
    decay = 0.01
    result = train(data, weight_decay=decay, normalize="none", **{**SMALL, **FAR})
    theta, x, y = result.model.parameters, data.x_train, data.y_train
    for step in 1e-5 * np.eye(theta.size):
        slope = (softmax_cost(theta + step, x, y, decay) - softmax_cost(theta - step, x, y, decay)) / 2e-5
        assert abs(slope) < 1e-8
    assert result.loss == pytest.approx(softmax_cost(theta, x, y, 0.0))
    assert result.history[-1].loss == pytest.approx(result.loss, rel=1e-12)
    costs: list[float] = []
    for epochs in range(1, 5):  # the first epochs of a run are those of a shorter one
        short = train(data, weight_decay=decay, normalize="none", **{**SMALL, **FAR, "epochs": epochs})
        costs.append(softmax_cost(short.model.parameters, x, y, decay))
        assert short.stopped == "epochs"
        assert short.history[-1].loss == result.history[epochs - 1].loss == pytest.approx(short.loss, rel=1e-12)
    assert all(after < before for before, after in pairwise(costs))


def test_float32_ends_near_float64() -> None:
    x, y = two_classes()
    settings: dict[str, Any] = {"layers": "", "cost": "binary_cross_entropy", "normalize": "none", "weight_decay": 0.01}
    result = train((x, y), **settings, **{**FAR, "dtype": "float32", "tol": 0.0})
    assert result.model.parameters.dtype == np.float32
    assert result.stopped in ("line_search", "converged")  # rounding ends it, no gradient is 0
    np.testing.assert_allclose(result.model.parameters, newton(x, y, 0.01, np.ones(90))[0], atol=2e-3)


def test_where_nothing_can_be_gained_nothing_is_done() -> None:
    x, y = two_classes()
    settings: dict[str, Any] = {"layers": "", "cost": "binary_cross_entropy", "weight_decay": 0.1, **FAR}
    start = train((x, y), **settings).model
    again = train((x, y), init_from=start, **{**settings, "tol": 1e-6})
    assert (again.stopped, again.epochs, again.history) == ("converged", 0, ())
    np.testing.assert_array_equal(again.model.parameters, start.parameters)
    none = train((x, y), **{**settings, "epochs": 0})
    assert (none.stopped, none.epochs) == ("epochs", 0)


def test_tol_ends_it_sooner() -> None:
    x, y = two_classes()
    settings: dict[str, Any] = {"layers": "", "cost": "binary_cross_entropy", "normalize": "none", "weight_decay": 0.1}
    for tol in (1e-1, 1e-2, 1e-5):
        result = train((x, y), **{**settings, **FAR, "tol": tol})
        W, b = result.model.parameters[:3], result.model.parameters[3]
        p = 1 / (1 + np.exp(-x @ W - b))
        largest = np.abs(np.append(x.T @ (p - y) / 90 + 0.1 * W, (p - y).mean())).max()
        assert largest <= tol
        before = train((x, y), **{**settings, **FAR, "epochs": result.epochs - 1}).model.parameters
        p = 1 / (1 + np.exp(-x @ before[:3] - before[3]))
        assert np.abs(np.append(x.T @ (p - y) / 90 + 0.1 * before[:3], (p - y).mean())).max() > tol


# what a run is told and does


class Watcher(Callback):
    """Writes down what it hears; calls `act` with the run at each event."""

    def __init__(self, act: Callable[[Any, tuple[Any, ...]], None] = lambda run, event: None) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self._act = act

    def _hear(self, *event: Any) -> None:
        self.heard.append(event)
        self._act(self.run, event)

    def on_start(self, plan: Any) -> None:
        self.plan, self.run = plan, plan.run

    def on_batches(self, epoch: int, done: int, total: int, loss: float) -> None:
        self.weights = self.run.parameters()
        self._hear("batches", epoch, done, total, loss)

    def on_epoch(self, record: Any) -> None:
        self._hear("epoch", record.epoch, record.loss)

    def on_end(self, reason: str) -> None:
        self.heard.append(("end", reason))


def test_an_epoch_is_an_iteration(data: Dataset) -> None:
    watcher = Watcher()
    result = train(data, callbacks=[watcher], weight_decay=0.01, **SMALL)
    assert [event[1] for event in watcher.heard if event[0] == "epoch"] == list(range(1, 13))
    assert watcher.heard[-1] == ("end", "epochs")
    ends = [event for event in watcher.heard if event[0] == "batches" and event[2] == 1]
    assert ends == [("batches", record.epoch, 1, 1, record.loss) for record in result.history]
    for record in result.history:  # every evaluation visits all samples
        visits = sum(event[:3] == ("batches", record.epoch, 0) for event in watcher.heard)
        assert visits >= 1 + (record.epoch == 1)  # the first epoch also looks at the start
        assert record.samples_per_second * record.seconds == pytest.approx(120 * visits)
        assert record.learning_rate is None
    assert result.samples_per_second * result.train_seconds == pytest.approx(
        120 * sum(event[0] == "batches" and event[2] == 0 for event in watcher.heard)
    )
    assert (watcher.plan.config.learning_rate, watcher.plan.config.batch_size) == (None, None)
    assert result.history[-1].train_accuracy == result.train_accuracy
    assert result.history[-1].test_accuracy == result.test_accuracy
    accuracy = np.mean(result.model.predict(data.x_train) == data.y_train)
    assert result.train_accuracy == accuracy
    json.dumps(result.as_dict(), allow_nan=False)


@pytest.mark.parametrize("engine", ENGINES)
def test_validation_samples_are_measured_and_not_learnt(data: Dataset, engine: str) -> None:
    held = (data.x_test, data.y_test)
    result = train(data, validation_data=held, engine=engine, **SMALL)
    plain = train(data, engine=engine, **SMALL)
    np.testing.assert_array_equal(result.model.parameters, plain.model.parameters)
    for record in (result.history[4], result.history[-1]):
        model = train(data, engine=engine, **{**SMALL, "epochs": record.epoch}).model
        assert record.validation_loss == pytest.approx(model.evaluate(*held)[0], rel=1e-5)
        assert record.validation_accuracy == np.mean(model.predict(data.x_test) == data.y_test)


def test_early_stopping_keeps_the_best_epoch(data: Dataset) -> None:
    settings: dict[str, Any] = {**SMALL, "layers": "20", "epochs": 300}
    result = train(data, validation=0.3, patience=4, **settings)
    costs = [record.validation_loss for record in result.history]
    assert result.stopped == "patience"
    assert result.best_epoch == int(np.argmin(costs)) + 1 == result.epochs - 4  # type: ignore[arg-type]
    best = train(data, validation=0.3, **{**settings, "epochs": result.best_epoch})
    np.testing.assert_array_equal(result.model.parameters, best.model.parameters)
    assert result.loss == pytest.approx(best.loss)
    with pytest.raises(UsageError, match="there are no validation samples"):
        train(data, callbacks=[EarlyStopping()], **settings)


def test_stop_below(data: Dataset) -> None:
    whole = train(data, **SMALL)
    limit = whole.history[6].loss
    result = train(data, stop_below=limit * 1.000001, **SMALL)
    assert (result.stopped, result.epochs) == ("stop_below", 7)
    assert result.loss == pytest.approx(limit, rel=1e-5)


def test_time_limit_ends_a_line_search(data: Dataset) -> None:
    result = train(data, time_limit=1e-9, **SMALL)
    assert (result.stopped, result.epochs) == ("time_limit", 0)
    np.testing.assert_array_equal(result.model.parameters, result.model.network.initial_parameters(0))
    assert result.train_seconds > 0
    assert result.samples_per_second * result.train_seconds == pytest.approx(120)


@pytest.mark.parametrize("done", [0, 1])
def test_a_run_that_is_stopped_has_the_weights_of_its_last_epoch(data: Dataset, done: int) -> None:
    """Whatever the line search has tried since (done is 0); an iteration that is complete (1) counts."""

    def stop(run: Any, event: tuple[Any, ...]) -> None:
        if event[:3] == ("batches", 4, done):
            run.stop("enough")

    result = train(data, callbacks=[Watcher(stop)], **SMALL)
    kept = train(data, **{**SMALL, "epochs": 3 + done})
    assert (result.stopped, result.epochs) == ("enough", 3 + done)
    np.testing.assert_array_equal(result.model.parameters, kept.model.parameters)
    assert result.loss == kept.loss


@pytest.mark.parametrize("event", [("batches", 4, 0), ("epoch", 3)])
def test_an_interrupted_run_has_the_weights_of_its_last_epoch(data: Dataset, event: tuple[Any, ...]) -> None:
    def interrupt(run: Any, heard: tuple[Any, ...]) -> None:
        if heard[: len(event)] == event:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        train(data, callbacks=[Watcher(interrupt)], **SMALL)
    result, kept = caught.value.result, train(data, **{**SMALL, "epochs": 3})
    assert (result.stopped, result.epochs) == ("interrupted", 3)
    np.testing.assert_array_equal(result.model.parameters, kept.model.parameters)
    assert result.loss == kept.loss


def test_between_iterations_callbacks_see_the_weights_of_the_last_epoch(data: Dataset) -> None:
    seen: list[Array] = []

    def look(run: Any, event: tuple[Any, ...]) -> None:
        if event[:2] == ("batches", 3):
            seen.append(run.parameters())

    train(data, callbacks=[Watcher(look)], **SMALL)
    two, three = (train(data, **{**SMALL, "epochs": n}).model.parameters for n in (2, 3))
    assert len(seen) >= 2
    for weights in seen[:-1]:
        np.testing.assert_array_equal(weights, two)
    np.testing.assert_array_equal(seen[-1], three)


def test_weights_that_a_callback_sets_are_where_it_begins_anew(data: Dataset) -> None:
    start = train(data, seed=9, layers="6", activation="tanh", epochs=3).model

    def set_them(run: Any, event: tuple[Any, ...]) -> None:
        if event[:2] == ("epoch", 5):
            run.set_parameters(start.parameters)

    result = train(data, callbacks=[Watcher(set_them)], **SMALL)
    rest = train(data, init_from=start, **{**SMALL, "epochs": 7})
    assert result.epochs == 12
    np.testing.assert_array_equal(result.model.parameters, rest.model.parameters)
    assert [record.loss for record in result.history[5:]] == [record.loss for record in rest.history]

    def too_early(run: Any, event: tuple[Any, ...]) -> None:
        if event[:3] == ("batches", 2, 0):
            run.set_parameters(start.parameters)

    with pytest.raises(UsageError, match="within a line search; set its weights in on_epoch, or where done == total"):
        train(data, callbacks=[Watcher(too_early)], **SMALL)


def test_it_has_no_learning_rate(data: Dataset) -> None:
    with pytest.raises(UsageError, match="lbfgs has no learning rate to set: its line search finds the length"):
        train(data, callbacks=[LearningRate(lambda epoch: 0.1)], **SMALL)


@pytest.mark.parametrize("engine", ENGINES)
def test_divergence_keeps_the_last_finite_weights(engine: str) -> None:
    x = np.array([[1e30], [-1e30], [2e30]])
    y = np.array([[1.0], [2.0], [3.0]])
    settings: dict[str, Any] = {"layers": "", "normalize": "none", "optimizer": "lbfgs", "engine": engine}
    with np.errstate(all="ignore"):
        with pytest.raises(DivergedError, match=r"in epoch 1, .*no longer finite; scale the data, or use weight_decay"):
            train((x, y), **settings)
        result = train((x, y), callbacks=[StopOnNaN()], **settings)
    assert (result.stopped, result.epochs) == ("diverged", 0)
    np.testing.assert_array_equal(result.model.parameters, result.model.network.initial_parameters(0))


def test_divergence_on_the_way(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that has lost its numbers in the middle of an iteration."""
    from fastbp.kernels.cpu import FusedEngine

    genuine, calls = FusedEngine.cost_and_gradient, iter(range(1000))

    def lost(self: FusedEngine) -> tuple[float, Array]:
        cost, gradient = genuine(self)
        if next(calls) == 6:
            gradient[3] = np.nan
        return cost, gradient

    monkeypatch.setattr(FusedEngine, "cost_and_gradient", lost)
    with pytest.raises(DivergedError) as caught:
        train(data, **SMALL)
    result = caught.value.result
    monkeypatch.undo()
    kept = train(data, **{**SMALL, "epochs": result.epochs})  # type: ignore[attr-defined]
    assert kept.epochs >= 2
    np.testing.assert_array_equal(result.model.parameters, kept.model.parameters)  # type: ignore[attr-defined]


def test_threads_change_no_bit(data: Dataset) -> None:
    one, two = (train(data, threads=threads, **SMALL).model.parameters for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("threads", [1, 3])
def test_many_networks(data: Dataset, threads: int) -> None:
    settings: list[dict[str, Any]] = [
        {**SMALL, "seed": 1},
        {**SMALL, "seed": 2, "validation": 0.25, "patience": 2, "epochs": 100},
        {"layers": "6", "epochs": 3},
        {**SMALL, "seed": 3, "weight_decay": 0.1, "dtype": "float64", "label_smoothing": 0.1},
    ]
    weights = np.linspace(0.2, 2, 120)
    for entry, result in zip(settings, train_many(settings, data, threads=threads, sample_weight=weights), strict=True):
        alone = train(data, config=Config(**entry, evaluate="end"), sample_weight=weights)
        np.testing.assert_array_equal(result.model.parameters, alone.model.parameters)
        assert (result.stopped, result.epochs, result.loss) == (alone.stopped, alone.epochs, alone.loss)


def test_many_networks_are_interrupted_within_an_iteration(data: Dataset) -> None:
    def interrupt(number: int, result: Any) -> None:
        raise KeyboardInterrupt

    endless = {**SMALL, "epochs": 1_000_000, "tol": 0.0, "dtype": "float64", "layers": "30"}
    with pytest.raises(KeyboardInterrupt):
        train_many([{**SMALL, "epochs": 1}, endless, endless], data, threads=2, on_result=interrupt)


# at the shell, and without SciPy


def test_at_the_shell(data: Dataset, tmp_path: Any) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x_train=data.x_train, y_train=data.y_train, x_test=data.x_test, y_test=data.y_test)
    arguments = [
        "train",
        "--data",
        str(path),
        "--layers",
        "",
        "--optimizer",
        "lbfgs",
        "--no-save",
        "--dtype",
        "float64",
    ]
    far = ["--epochs", "500", "--weight-decay", "0.1"]
    said = CliRunner().invoke(cli, [*arguments, *far, "--log", str(tmp_path / "log.csv")], catch_exceptions=False)
    assert "lbfgs, all samples" in said.stderr
    assert "learning rate" not in said.stderr
    lines = said.stderr.splitlines()
    rows = [line.split() for line in lines[lines.index(next(line for line in lines if "epoch " in line)) + 1 :]]
    assert [row[0] for row in rows] == [str(n + 1) for n in range(len(rows))]
    assert "stopped         early, because no partial derivative of the cost is larger than --tol" in said.stdout
    written = (tmp_path / "log.csv").read_text().splitlines()
    assert len(written) == len(rows) + 1
    assert written[1].split(",")[4] == ""  # no learning rate
    facts = json.loads(CliRunner().invoke(cli, [*arguments, *far, "--json"], catch_exceptions=False).stdout)
    assert (facts["stopped"], facts["epochs"]) == ("converged", len(rows))
    assert facts["config"]["optimizer"] == "lbfgs"
    many = CliRunner().invoke(cli, [*arguments, *far, "--seeds", "0-2", "--json"], catch_exceptions=False)
    losses = [each["loss"] for each in json.loads(many.stdout)["runs"]]
    np.testing.assert_allclose(losses, facts["loss"], atol=1e-6)  # convex: one optimum for all seeds


@pytest.mark.parametrize("threads", [1, 2])
def test_blas_has_one_thread_in_the_meantime(data: Dataset, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And as many as before afterwards: also where several networks begin and end at different times."""
    from threadpoolctl import threadpool_info, threadpool_limits

    from fastbp.kernels.cpu import FusedEngine

    def counts() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    if not counts():
        pytest.skip("this BLAS has no number of threads to set")
    genuine, seen = FusedEngine.cost_and_gradient, set[int]()

    def watched(self: FusedEngine) -> tuple[float, Array]:
        seen.update(counts())
        return genuine(self)

    monkeypatch.setattr(FusedEngine, "cost_and_gradient", watched)
    threadpool_limits(2, "blas")
    try:
        train_many([{**SMALL, "seed": seed, "epochs": 2 + seed % 3} for seed in range(8)], data, threads=threads)
        assert (seen, counts()) == ({1}, {2})
        with pytest.raises(Interrupted):
            train(data, callbacks=[Interrupts()], **SMALL)
        assert (seen, counts()) == ({1}, {2})
    finally:
        threadpool_limits(1, "blas")


class Interrupts(Callback):
    def on_epoch(self, record: Any) -> None:
        raise KeyboardInterrupt


def test_without_scipy_one_sentence_says_what_to_install(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    words = r"needs SciPy 1.11 or newer and threadpoolctl, and {} is not installed; pip install 'fastbp\[lbfgs\]'"
    with monkeypatch.context() as lacking:
        lacking.setitem(sys.modules, "threadpoolctl", None)
        with pytest.raises(FastbpError, match=words.format("threadpoolctl")):
            train(data, **SMALL)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(FastbpError, match=words.format("scipy")) as caught:
        train(data, **SMALL)
    assert caught.value.exit_code == 1
    with pytest.raises(FastbpError, match="SciPy"):
        train_many([SMALL, SMALL], data)
    train(data, **{**SMALL, "optimizer": "sgd", "epochs": 1})


def test_scipy_is_imported_for_lbfgs_alone() -> None:
    code = (
        "import sys, fastbp\n"
        "xy = ([[0.0], [1.0]], [0, 1])\n"
        "fastbp.train(xy, layers='', epochs=1)\n"
        "assert 'scipy.optimize' not in sys.modules\n"
        "fastbp.train(xy, layers='', epochs=1, optimizer='lbfgs')\n"
        "assert 'scipy.optimize' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
