"""The settings of train() reach the arithmetic: optimizers, weights, smoothing, dropout, clipping, validation.

The oracle is softmax regression in float64, written out here: one layer, all samples in one batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastbp import Config, Dataset, UsageError, train, train_many
from fastbp.callbacks import EarlyStopping

ENGINES = ["fused", "stages", "reference"]
ETA, EPOCHS = 0.5, 4


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(3)
    y = np.repeat([0, 1, 2], [50, 20, 10])
    x = (rng.integers(0, 200, (3, 5))[y] + rng.integers(0, 56, (80, 5))).astype(np.uint8)
    return Dataset.from_arrays(x, y, x[::4], y[::4], name="bytes")


Step = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def descent(data: Dataset, step: Step, weights: Any = None, codes: Any = None, decay: float = 0.0) -> Any:
    """theta after EPOCHS updates theta -= step(gradient, theta, t), and the cost before each."""
    x, n_in, n_out = data.x_train / 255, 5, 3
    y = (np.eye(3) if codes is None else codes)[data.y_train]
    w = np.ones(len(x)) if weights is None else weights
    theta = train(data, layers="", epochs=0, dtype="float64").model.parameters.copy()
    costs = []
    for t in range(1, EPOCHS + 1):
        W, b = theta[: n_in * n_out].reshape(n_in, n_out), theta[n_in * n_out :]
        e = np.exp(x @ W + b)
        a = e / e.sum(1, keepdims=True)
        costs.append(-(w * (y * np.log(a)).sum(1)).sum() / w.sum())
        delta = w[:, None] * (a - y) / w.sum()
        gradient = np.concatenate([(x.T @ delta + decay * W).ravel(), delta.sum(0)])
        theta = theta - step(gradient, theta, t)
    return theta, costs


def trained(data: Dataset, engine: str, **settings: Any) -> Any:
    same = {"layers": "", "epochs": EPOCHS, "batch_size": None, "dtype": "float64", "schedule": "constant"}
    return train(data, engine=engine, **{**same, "learning_rate": ETA, **settings})


def agree(result: Any, expected: tuple[Any, list[float]]) -> None:
    np.testing.assert_allclose(result.model.parameters, expected[0], rtol=1e-10, atol=1e-12)
    assert [record.loss for record in result.history] == pytest.approx(expected[1], rel=1e-10)


def plain(gradient: Any, theta: Any, t: int) -> Any:
    return ETA * gradient


class Rule:
    """An update rule with memory, as in the papers."""

    def __init__(self, name: str) -> None:
        self.name, self.v, self.u = name, 0.0, 0.0

    def __call__(self, g: Any, theta: Any, t: int) -> Any:
        if self.name in ("momentum", "nesterov"):
            self.v = 0.5 * self.v - ETA * g
            return -(self.v if self.name == "momentum" else 0.5 * self.v - ETA * g)
        if self.name == "rmsprop":
            self.u = 0.8 * self.u + 0.2 * g**2
            return ETA * g / (np.sqrt(self.u) + 1e-8)
        self.v, self.u = 0.9 * self.v + 0.1 * g, 0.999 * self.u + 0.001 * g**2
        eta = ETA * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)  # the form at the end of section 2 of Kingma, Ba 2015
        step = eta * self.v / (np.sqrt(self.u) + 1e-8)
        shrinking = np.where(np.arange(len(theta)) < 15, 0.1, 0.0)  # weights, not biases
        return step + ETA * shrinking * theta if self.name == "adamw" else step


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("optimizer", "more"),
    [
        ("momentum", {"momentum": 0.5}),
        ("nesterov", {"momentum": 0.5}),
        ("rmsprop", {"rho": 0.8}),
        ("adam", {}),
        ("adamw", {"weight_decay": 0.1}),
    ],
)
def test_optimizers(data: Dataset, engine: str, optimizer: str, more: dict[str, Any]) -> None:
    agree(trained(data, engine, optimizer=optimizer, **more), descent(data, Rule(optimizer)))


@pytest.mark.parametrize("engine", ENGINES)
def test_coupled_decay_and_clipping(data: Dataset, engine: str) -> None:
    agree(trained(data, engine, weight_decay=0.1), descent(data, plain, decay=0.1))
    longest = 0.05

    def clipped(gradient: Any, theta: Any, t: int) -> Any:
        return ETA * gradient * min(1.0, longest / np.linalg.norm(gradient))

    agree(trained(data, engine, clip_norm=longest), descent(data, clipped))
    agree(trained(data, engine, clip_norm=longest, weight_decay=0.1), descent(data, clipped, decay=0.1))


@pytest.mark.parametrize("engine", ENGINES)
def test_weights_of_samples_and_classes(data: Dataset, engine: str) -> None:
    weights = np.random.default_rng(0).random(80) + 0.1
    result = trained(data, engine, sample_weight=weights)
    agree(result, descent(data, plain, weights))
    of_class = np.array([80 / 150, 80 / 60, 80 / 30])  # n / (K n_k)
    agree(trained(data, engine, class_weight="balanced"), descent(data, plain, of_class[data.y_train]))
    # w n / (K n_k), where n and n_k are sums of weights
    sums = np.bincount(data.y_train, weights)
    both = weights * (sums.sum() / (3 * sums))[data.y_train]
    agree(trained(data, engine, sample_weight=weights, class_weight="balanced"), descent(data, plain, both))
    # accuracies count samples, whatever these weigh
    assert result.train_accuracy == np.mean(result.model.predict(data.x_train) == data.y_train)
    assert result.test_loss == pytest.approx(result.model.evaluate(data.x_test, data.y_test)[0])


@pytest.mark.parametrize("engine", ENGINES)
def test_label_smoothing(data: Dataset, engine: str) -> None:
    """Targets 0.8 y + 0.2 / 3 while learning; accuracies and the other costs are those of the labels themselves."""
    result = trained(data, engine, label_smoothing=0.2, validation_data=(data.x_test, data.y_test))
    agree(result, descent(data, plain, codes=0.8 * np.eye(3) + 0.2 / 3))
    loss, accuracy = result.model.evaluate(data.x_test, data.y_test)
    assert (result.test_accuracy, result.validation_accuracy) == (accuracy, accuracy)
    assert (result.test_loss, result.validation_loss) == pytest.approx((loss, loss))
    assert result.train_accuracy == np.mean(result.model.predict(data.x_train) == data.y_train)
    with pytest.raises(UsageError, match="label_smoothing is for cost cross_entropy"):
        trained(data, engine, label_smoothing=0.2, cost="squared_error")


def test_one_output_can_be_smoothed() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    labels = (x[:, 0] > 0).astype(int)
    settings = {
        "cost": "binary_cross_entropy",
        "layers": "",
        "epochs": 300,
        "label_smoothing": 0.2,
        "weight_decay": 0.0,
    }
    result = train((x, labels), **settings)
    assert result.train_accuracy == np.mean(result.model.predict(x) == labels)
    assert result.train_accuracy is not None
    assert result.train_accuracy > 0.95
    assert result.loss > -(0.9 * np.log(0.9) + 0.1 * np.log(0.1)) - 1e-6  # the least that smoothed labels allow


@pytest.mark.parametrize("engine", ENGINES)
def test_a_sample_of_weight_0_is_not_there(data: Dataset, engine: str) -> None:
    """Bit for bit, in small batches and with validation, too."""
    there = np.random.default_rng(1).random(80) < 0.7
    few = Dataset.from_arrays(data.x_train[there], data.y_train[there], data.x_test, data.y_test)
    settings = {"layers": "4", "epochs": 3, "batch_size": 7, "engine": engine, "validation": 0.2}
    weights = np.where(there, np.linspace(0.5, 2, 80), 0.0)
    whole = train(data, sample_weight=weights, **settings)
    alone = train(few, sample_weight=weights[there], **settings)
    np.testing.assert_array_equal(whole.model.parameters, alone.model.parameters)
    assert whole.validation_loss == alone.validation_loss


def test_the_loss_of_an_epoch_is_the_weighted_mean(data: Dataset) -> None:
    """With a rate next to nothing the weights stay, and batches of 7 say what one batch says."""
    weights = np.linspace(0.1, 3, 80)
    settings: dict[str, Any] = {"layers": "4", "dtype": "float64", "epochs": 1, "learning_rate": 1e-12}
    for chosen in ({}, {"sample_weight": weights}, {"class_weight": "balanced"}):
        small = train(data, batch_size=7, **settings, **chosen)
        assert small.history[0].loss == pytest.approx(small.loss, rel=1e-8)
        assert small.loss == pytest.approx(train(data, batch_size=None, **settings, **chosen).loss, rel=1e-8)


@pytest.mark.parametrize("engine", ENGINES)
def test_dropout(data: Dataset, engine: str) -> None:
    settings: dict[str, Any] = {"layers": "16-8", "epochs": 2, "engine": engine, "dtype": "float64"}
    none = train(data, **settings)
    np.testing.assert_array_equal(none.model.parameters, train(data, dropout="0,0", **settings).model.parameters)
    first, again = (train(data, dropout=0.5, **settings) for _ in range(2))
    np.testing.assert_array_equal(first.model.parameters, again.model.parameters)
    assert not np.allclose(first.model.parameters, none.model.parameters)
    one = train(data, dropout="0.5,0", **settings).model.parameters
    other = train(data, dropout="0,0.5", **settings).model.parameters
    assert not np.allclose(one, other)
    start = none.model
    still: dict[str, Any] = {**settings, "init_from": start, "shuffle": False}
    same, drawn = ([train(data, dropout=p, seed=s, **still).model.parameters for s in (0, 1)] for p in (0.0, 0.5))
    np.testing.assert_array_equal(*same)
    assert not np.allclose(*drawn)  # the seed chooses what is dropped
    # nothing is dropped where the network is measured
    assert first.loss == pytest.approx(first.model.evaluate(data.x_train, data.y_train)[0])
    reference = train(data, dropout=0.5, **{**settings, "engine": "reference"})
    np.testing.assert_allclose(first.model.parameters, reference.model.parameters, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("dropout", "layers", "message"),
    [
        ("0.1,0.2", "4", r"dropout 0.1,0.2 is for 2 hidden layers, and the network 5-4-3 has 1; give one number, or"),
        ("0.1,0.2", "4-4-4", "is for 2 hidden layers, and the network 5-4-4-4-3 has 3"),
        (0.1, "", "dropout 0.1 is for 1 hidden layer, and the network 5-3 has 0"),
    ],
)
def test_dropout_that_does_not_fit(data: Dataset, dropout: Any, layers: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train(data, dropout=dropout, layers=layers, epochs=1)


@pytest.mark.parametrize("engine", ENGINES)
def test_validation_is_measured_and_not_learnt(data: Dataset, engine: str) -> None:
    """Held-out samples give the run of a dataset without them; what is measured is what Model.evaluate says."""
    from fastbp.samples import hold_out

    settings: dict[str, Any] = {"layers": "4", "epochs": 3, "engine": engine}
    result = train(data, validation=0.25, **settings)
    kept, held = hold_out(data.y_train, 0.25, 0)
    rest = Dataset.from_arrays(data.x_train[kept], data.y_train[kept], data.x_test, data.y_test)
    alone = train(rest, **settings)
    np.testing.assert_array_equal(result.model.parameters, alone.model.parameters)
    x, y = data.x_train[held], data.y_train[held]
    loss, accuracy = result.model.evaluate(x, y)
    assert (result.validation_loss, result.validation_accuracy) == pytest.approx((loss, accuracy), rel=1e-5)
    own = train(rest, validation_data=(x, y), **settings)
    without_times = [
        [{**record.as_dict(), "seconds": 0, "samples_per_second": 0} for record in each.history]
        for each in (result, own)
    ]
    assert without_times[0] == without_times[1]
    assert result.history[-1].validation_loss == result.validation_loss
    assert result.model.data_sha256 == data.sha256
    assert (alone.validation_loss, alone.validation_accuracy, alone.best_epoch) == (None, None, None)
    assert alone.history[0].validation_loss is None


def test_validation_of_values() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 3))
    y = 100 + 10 * x[:, 0]
    settings = {"layers": "4", "optimizer": "adam", "epochs": 30}
    result = train((x[:60], y[:60]), validation_data=(x[60:], y[60:]), patience=30, **settings)
    assert result.validation_accuracy is None
    assert result.validation_loss == pytest.approx(result.model.evaluate(x[60:], y[60:, None])[0], rel=1e-4)
    assert train((x, y), validation=0.25, **settings).validation_loss is not None


def test_the_test_set_chooses_nothing(data: Dataset) -> None:
    """Whatever the test samples are, the epoch that is kept and the model are the same."""
    noise = np.random.default_rng(0).integers(0, 256, data.x_test.shape).astype(np.uint8)
    other = Dataset.from_arrays(data.x_train, data.y_train, noise, data.y_test[::-1])
    none = Dataset.from_arrays(data.x_train, data.y_train)
    settings = {"layers": "16", "epochs": 60, "learning_rate": 2.0, "validation": 0.3, "patience": 3, "seed": 2}
    results = [train(each, schedule="adaptive", **settings) for each in (data, other, none)]
    for result in results[1:]:
        assert result.best_epoch == results[0].best_epoch
        np.testing.assert_array_equal(result.model.parameters, results[0].model.parameters)


def test_adaptive_listens_to_the_validation_cost(data: Dataset) -> None:
    settings = {
        "layers": "16",
        "epochs": 40,
        "learning_rate": 2.0,
        "validation": 0.3,
        "schedule": "adaptive",
        "seed": 2,
    }
    result = train(data, rate_patience=1, rate_factor=0.5, **settings)
    lowest, rate = np.inf, 2.0
    for record in result.history:
        assert record.learning_rate == rate
        assert record.validation_loss is not None
        rate *= 1.0 if record.validation_loss < lowest else 0.5
        lowest = min(lowest, record.validation_loss)
    assert rate < 2.0


def test_refused_before_anything_is_trained(data: Dataset) -> None:
    for settings, message in (
        ({"patience": 2}, "patience waits for a lower validation cost, and there are no validation samples"),
        ({"validation": 0.99}, "validation 0.99 of 80 samples is 79; between 1 and 77 can be held out"),
        ({"validation": 0.2, "validation_data": (data.x_test, data.y_test)}, "give one of them"),
        ({"sample_weight": [1, 2]}, r"shape \(80,\), got shape \(2,\)"),
        ({"callbacks": [EarlyStopping()]}, "early stopping waits for a lower validation cost"),
    ):
        with pytest.raises(UsageError, match=message):
            train(data, layers="4", epochs=1, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [1, 3])
def test_many_networks_with_all_of_it(data: Dataset, threads: int) -> None:
    base: dict[str, Any] = {"layers": "8", "epochs": 12, "learning_rate": 2.0}
    settings = [
        {**base, "seed": 1, "validation": 0.25, "patience": 2},
        {**base, "seed": 2, "validation": 0.25, "patience": 2, "schedule": "adaptive"},
        {**base, "seed": 1, "label_smoothing": 0.1, "class_weight": "balanced"},
        {**base, "seed": 1, "dropout": 0.3, "optimizer": "adamw", "schedule": "one_cycle"},
        {**base, "seed": 1, "label_smoothing": 0.3},
        {**base, "seed": 1, "validation": 0.5},
    ]
    for entry, result in zip(settings, train_many(settings, data, threads=threads), strict=True):
        alone = train(data, config=Config(**entry, evaluate="end"))
        np.testing.assert_array_equal(result.model.parameters, alone.model.parameters)
        assert (result.stopped, result.best_epoch, result.loss, result.validation_loss) == (
            alone.stopped,
            alone.best_epoch,
            alone.loss,
            alone.validation_loss,
        )
