"""Target values are scaled to what the outputs can reach, and predictions are scaled back: all the way, by hand.

In every test the first output's values are 10, 30, 15 and the second's 2, 2, 2, unless it says otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastbp import Callback, Dataset, Model, Network, load, train
from fastbp.preprocessing import Scaling, fit_targets

X = np.array([[1.0], [2.0], [3.0]])
Y = np.array([[10.0, 2.0], [30.0, 2.0], [15.0, 2.0]])
DEVIATION = np.sqrt(((10 - 55 / 3) ** 2 + (30 - 55 / 3) ** 2 + (15 - 55 / 3) ** 2) / 3)  # 8.4984, of the population

# activation -> scalings of both outputs; the bias at which an output is `a`; the value in the data's units
BY_HAND = {
    "identity": (([55 / 3, 2.0], [1 / DEVIATION, 1.0]), 1.0, 55 / 3 + DEVIATION),  # a = 1: mean + deviation
    "sigmoid": (([10.0, 1.5], [1 / 20, 1.0]), np.log(3.0), 25.0),  # a = 3/4: 10 + 3/4 * 20
    "tanh": (([20.0, 2.0], [1 / 10, 1.0]), np.log(3.0) / 2, 25.0),  # a = 1/2: 20 + 1/2 * 10
    "relu": (([10.0, 2.0], [1 / 20, 1.0]), 0.75, 25.0),  # a = 3/4
    "leaky_relu": (([10.0, 2.0], [1 / 20, 1.0]), -10.0, 8.0),  # a = -1/10: 10 - 1/10 * 20
}
every_output = pytest.mark.parametrize("output", BY_HAND)


class Sets(Callback):
    """Gives a run its start weights."""

    def __init__(self, theta: list[float]) -> None:
        self._theta = np.array(theta)

    def on_start(self, plan: Any) -> None:
        plan.run.set_parameters(self._theta)


def with_bias(output: str, bias: float, **settings: Any) -> Any:
    """A network without hidden layer and with weights 0: outputs f(bias) and f(0), whatever comes in."""
    settings = {"layers": "", "epochs": 0, "dtype": "float64", "output_activation": output, **settings}
    return train((X, Y), callbacks=[Sets([0.0, 0.0, bias, 0.0])], **settings)


@every_output
def test_the_scaling_and_the_way_back(output: str) -> None:
    (shift, scale), bias, value = BY_HAND[output]
    model = with_bias(output, bias).model
    np.testing.assert_allclose(model.targets.shift, shift, rtol=1e-15)
    np.testing.assert_allclose(model.targets.scale, scale, rtol=1e-15)
    constant = 2.0  # f(0) is 0, and 1/2 for sigmoid: what never changes is right at once
    np.testing.assert_allclose(model.predict(X), [[value, constant]] * 3, rtol=1e-14)
    assert model.predict(X).dtype == np.float64


@pytest.mark.parametrize(
    ("output", "cost"),
    [
        ("sigmoid", (0.75**2 + 0.25**2 + 0.5**2) / 6),  # targets 0, 1, 1/4
        ("relu", (0.75**2 + 0.25**2 + 0.5**2) / 6),
        ("tanh", (1.5**2 + 0.5**2 + 1.0**2) / 6),  # targets -1, 1, -1/2
        ("identity", (1 + ((10 - 55 / 3) ** 2 + (30 - 55 / 3) ** 2 + (15 - 55 / 3) ** 2) / DEVIATION**2 / 3) / 2),
        ("leaky_relu", (0.1**2 + 1.1**2 + 0.35**2) / 6),
    ],
)
def test_costs_are_those_of_scaled_targets(output: str, cost: float) -> None:
    """1/2 of the mean of squares; the constant output costs nothing. identity: variance 1 and bias 1 make (1 + 1)/2."""
    result = with_bias(output, BY_HAND[output][1], validation_data=(X, Y))
    assert (result.loss, result.validation_loss) == pytest.approx((cost, cost))
    assert result.model.evaluate(X, Y)[0] == pytest.approx(cost)
    double = with_bias(output, BY_HAND[output][1], cost="mean_squared_error")
    assert double.loss == pytest.approx(2 * cost)


def test_one_step_by_hand() -> None:
    """Sigmoid outputs 3/4 and 1/2, targets (0, 1, 1/4) and 1/2: delta = (a - y) a (1 - a) = (9, -3, 6)/64, and 0.

    With x as it is, dW = (1 * 9 - 2 * 3 + 3 * 6)/64 = 21/64 and db = 12/64; a step of 3/2 by the mean of three.
    """
    settings = {"epochs": 1, "learning_rate": 1.5, "batch_size": None, "schedule": "constant", "normalize": "none"}
    theta = with_bias("sigmoid", np.log(3.0), **settings).model.parameters
    np.testing.assert_allclose(theta, [-21 / 128, 0, np.log(3.0) - 12 / 128, 0], atol=1e-15)


@every_output
def test_what_is_learnt_comes_back_in_the_units_of_the_data(output: str) -> None:
    """Three samples with a hidden layer can be learnt by heart, the constant value too, however large it is."""
    y = Y + [0.0, 1e5]
    settings: dict[str, Any] = {"layers": "16", "activation": "tanh", "optimizer": "adam", "learning_rate": 0.02}
    seed = 1  # with others a relu output may be dead from the start
    result = train((X, y), output_activation=output, epochs=3000, batch_size=3, dtype="float64", seed=seed, **settings)
    np.testing.assert_allclose(result.model.predict(X)[:, 0], y[:, 0], atol=0.6)  # sigmoid and tanh never reach an end
    np.testing.assert_allclose(result.model.predict(X)[:, 1], y[:, 1], atol=0.02)


@pytest.mark.parametrize("value", [0.0, -3.5, 1e12])
def test_values_that_never_change(value: float) -> None:
    y = np.full((4, 1), value)
    for output in (*BY_HAND, "step"):
        scaling = fit_targets(y, output)
        middle = 0.5 if output == "sigmoid" else 0.0
        assert scaling.apply(y, "float64").tolist() == [[middle]] * 4
        assert scaling.invert([[middle]]).tolist() == [[value]]
    one = train((X[:1], Y[:1]), layers="", epochs=5, output_activation="tanh")  # one sample never changes either
    np.testing.assert_allclose(one.model.predict(X[:1]), Y[:1], atol=1.0)


@every_output
def test_whole_numbers_and_one_column_are_values_too(output: str) -> None:
    y = np.array([10, 30, 15])
    data = Dataset.from_arrays(X, y.astype(np.float64))
    assert data.is_regression
    model = train(data, layers="", epochs=0, output_activation=output, cost="squared_error").model
    assert np.ravel(model.targets.shift)[0] == pytest.approx(BY_HAND[output][0][0][0])  # type: ignore[union-attr]
    assert model.predict(X).shape == (3, 1)


# going on from a model


@every_output
def test_a_start_model_keeps_its_scaling(output: str) -> None:
    """With values of another range, too: its weights mean what they meant."""
    start = with_bias(output, BY_HAND[output][1]).model
    again = train((X, 100 * Y), init_from=start, layers="", output_activation=output, epochs=0, dtype="float64").model
    assert again.targets == start.targets
    np.testing.assert_array_equal(again.predict(X), start.predict(X))


def test_a_start_model_without_scaling_keeps_none() -> None:
    """Such as one from PyTorch: its outputs are in the units of the data."""
    start = Model(Network((1, 1), ("identity",), "squared_error"), np.array([2.0, 1.0]))
    y = np.array([[10.0], [30.0], [15.0]])
    settings: dict[str, Any] = {"layers": "", "dtype": "float64", "batch_size": None}
    same = train((X, y), init_from=start, epochs=0, **settings)
    assert same.model.predict(X).ravel().tolist() == [3.0, 5.0, 7.0]
    assert same.loss == pytest.approx((7**2 + 25**2 + 8**2) / 6)
    # one step by hand: delta = (-7, -25, -8), dW = -7 - 50 - 24 = -81, db = -40
    step = train((X, y), init_from=start, epochs=1, learning_rate=0.03, schedule="constant", **settings)
    np.testing.assert_allclose(step.model.parameters, [2 + 0.81, 1 + 0.4])


def test_weights_of_another_output_are_scaled_for_the_new_one() -> None:
    """tanh reaches [-1, 1] and sigmoid [0, 1]: here only the weights are taken over. So from a classifier."""
    start = with_bias("tanh", 0.5).model
    model = train((X, Y), init_from=start, layers="", output_activation="sigmoid", epochs=0).model
    assert model.targets == fit_targets(Y, "sigmoid")
    labels = Model(Network((1, 2), ("sigmoid",), "squared_error"), np.zeros(4), class_names=("a", "b"))
    assert train((X, Y), init_from=labels, layers="", output_activation="sigmoid", epochs=0).model.targets == (
        fit_targets(Y, "sigmoid")
    )


# files


@every_output
def test_the_model_file_and_onnx_know_the_way_back(output: str, tmp_path: Path) -> None:
    _, bias, value = BY_HAND[output]
    model = with_bias(output, bias).model
    model.save(tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors")
    assert again.targets == model.targets
    assert isinstance(again.targets, Scaling)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    from fastbp import to_onnx

    to_onnx(again, tmp_path / "m.onnx")
    onnx.checker.check_model(str(tmp_path / "m.onnx"))
    session = runtime.InferenceSession(str(tmp_path / "m.onnx"))
    (values,) = session.run(["values"], {"input": X.astype(session_type(session))})
    np.testing.assert_allclose(values, [[value, 2.0]] * 3, rtol=1e-12)


def session_type(session: Any) -> str:
    return {"tensor(double)": "float64", "tensor(float)": "float32"}[session.get_inputs()[0].type]


@pytest.mark.parametrize("output", ["sigmoid", "tanh", "relu"])
def test_a_table_at_the_shell(output: str, tmp_path: Path) -> None:
    """Loss in the scaled units, the model's answers in those of the table."""
    from click.testing import CliRunner

    from fastbp.cli import cli

    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 2))
    y = 1000 + 40 * np.tanh(x[:, 0])
    rows = "\n".join(f"{a},{b},{c}" for (a, b), c in zip(x, y, strict=True))
    (tmp_path / "t.csv").write_text(f"a,b,price\n{rows}\n")
    save = tmp_path / "m.safetensors"
    table = ["--data", str(tmp_path / "t.csv"), "--label", "price"]
    settings = ["--output-activation", output, "--cost", "squared_error", "--layers", "8", "--activation", "tanh"]
    optimizer = ["--optimizer", "adam", "--epochs", "200", "--learning-rate", "0.02"]
    CliRunner().invoke(cli, ["train", *table, *settings, *optimizer, "--save", str(save)], catch_exceptions=False)
    assert np.sqrt(np.mean((load(save).predict(x).ravel() - y) ** 2)) < 8
