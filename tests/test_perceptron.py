"""Rosenblatt's perceptron: one layer of step units, and a rule that changes weights only where an answer is wrong."""

from __future__ import annotations

import json
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import fastbp
from fastbp import Config, Model, Network, UsageError, train
from fastbp.__main__ import _explain
from fastbp.callbacks import Callback
from fastbp.cli import cli
from fastbp.diagnostics import diagnose
from fastbp.kernels import PERCEPTRON, STEP, Settings, Split, open_engine, reference, stages

both = pytest.mark.parametrize("module", [reference, stages], ids=["reference", "stages"])
engines = pytest.mark.parametrize("engine", ["auto", "stages", "reference"])

CORNERS = np.array(list(product([0.0, 1.0], repeat=2)))
AND, OR, XOR = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0])


class Updates(Callback):
    """The weights after each epoch, and the cost."""

    def __init__(self) -> None:
        self.weights: list[np.ndarray] = []
        self.said: list[str] = []

    def on_phase(self, text: str) -> None:
        self.said.append(text)

    def on_start(self, plan: Any) -> None:
        self.run = plan.run

    def on_epoch(self, record: Any) -> None:
        self.weights.append(self.run.parameters())


def learnt(y: np.ndarray, engine: str = "auto", **settings: Any) -> tuple[fastbp.TrainingResult, list[np.ndarray]]:
    """One sample per update, from weights of zero, and the weights after each epoch."""
    updates = Updates()
    network = Network((2, 1), ("step",), "perceptron")
    start = Model(network, np.zeros(3), class_names=("no", "yes"))
    settings = {"batch_size": 1, "learning_rate": 1.0, "schedule": "constant", "normalize": "none"} | settings
    settings |= {"dtype": "float64", "shuffle": False, "engine": engine, "callbacks": [updates]}
    result = train((CORNERS, y), network=network, init_from=start, **settings)
    return result, updates.weights


# --- the rule ---------------------------------------------------------------------------------------------------------


@both
def test_cost_and_delta_by_hand(module: Any) -> None:
    """Outputs: right and on, wrong and on (it costs 3), wrong and off (2), right and off."""
    z, y = np.array([[0.5, 3.0, -2.0, -7.0]]), np.array([[1.0, 0.0, 1.0, 0.0]])
    a, delta = (z > 0).astype(float), np.empty((1, 4))
    assert module.loss(z, a, y, PERCEPTRON) == 5
    module.output_delta(a, y, STEP, PERCEPTRON, delta)
    assert delta.tolist() == [[0, 1, -1, 0]]


@both
def test_the_cost_is_the_perceptron_criterion(module: Any) -> None:
    """max(0, -(2 y - 1) z), and its slope in z by central differences is a - y, away from z = 0."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(50, 3))
    z[np.abs(z) < 1e-3] = 1.0
    y = rng.integers(0, 2, z.shape).astype(float)

    def criterion(z: np.ndarray) -> np.ndarray:
        return np.maximum(0, -(2 * y - 1) * z)

    a, delta = (z > 0).astype(float), np.empty_like(z)
    assert module.loss(z, a, y, PERCEPTRON) == pytest.approx(criterion(z).sum(), rel=1e-12)
    module.output_delta(a, y, STEP, PERCEPTRON, delta)
    slope = (criterion(z + 1e-5) - criterion(z - 1e-5)) / 2e-5
    assert delta == pytest.approx(slope, abs=1e-9)


@engines
def test_one_update_by_hand(engine: str) -> None:
    """Three samples, eta 0.5, from w = (1, -1), b = 0; the mean over the batch, as in every other update.

    x1 = (2, 1): z = 1, a = 1, y = 0, wrong, costs 1; x2 = (0, 1): z = -1, a = 0, y = 1, wrong, costs 1; x3 = (3, 0):
    z = 3, right. sum of x^T (y - a) = -(2, 1) + (0, 1) = (-2, 0), of y - a: 0.
    """
    network = Network((2, 1), ("step",), "perceptron")
    split = Split(np.array([[2.0, 1], [0, 1], [3, 0]]), np.array([0, 1, 1], np.int32), np.array([[0.0], [1.0]]))
    run = open_engine(network, np.array([1.0, -1, 0]), split, split, Settings(0, 3), engine=engine)
    cost, g = run.cost_and_gradient()
    assert cost == pytest.approx(2 / 3)
    assert g == pytest.approx([2 / 3, 0, 0])
    costs = np.empty(1)
    run.run(np.arange(3, dtype=np.uint32), np.array([0.5]), costs)
    assert costs[0] == pytest.approx(2 / 3)
    assert run.parameters() == pytest.approx([1 - 0.5 * 2 / 3, -1, 0])
    assert run.evaluate("train").accuracy == pytest.approx(1 / 3)


@engines
@pytest.mark.parametrize("y", [AND, OR], ids=["and", "or"])
def test_what_can_be_separated_is_learnt_and_then_stays(y: np.ndarray, engine: str) -> None:
    """The convergence theorem (Rosenblatt 1962, Novikoff 1962): at most (R / margin)^2 updates are wrong ones.

    With x extended by 1, R^2 = 3. AND is separated by (2, 2, -3) / sqrt(17) with the margin 1 / sqrt(17): 51 updates.
    """
    result, weights = learnt(y, engine, epochs=60)
    assert (result.train_accuracy, result.loss) == (1, 0)
    changes = [not np.array_equal(one, other) for one, other in pairwise(weights)]
    first_still = changes.index(False)
    assert first_still <= 51
    assert not any(changes[first_still:])
    assert [record.loss for record in result.history[first_still + 1 :]] == [0] * (59 - first_still)
    assert result.model.predict(CORNERS).tolist() == y.tolist()


def test_the_path_to_and_is_the_one_on_paper() -> None:
    """eta 1, the samples 00, 01, 10, 11 in turn, from zero: epoch by epoch (w1, w2, b)."""
    _, weights = learnt(AND, epochs=8)
    w, on_paper = [0, 0, 0], []
    for _ in range(8):
        for (p, q), target in zip([(0, 0), (0, 1), (1, 0), (1, 1)], [0, 0, 0, 1], strict=True):
            error = target - (w[0] * p + w[1] * q + w[2] > 0)
            w = [w[0] + error * p, w[1] + error * q, w[2] + error]
        on_paper.append(list(w))
    assert [each.tolist() for each in weights] == on_paper
    assert on_paper[0] == [1, 1, 1]  # three right answers of 0 and a wrong one
    assert on_paper[-1] == [2, 1, -2]


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_xor_never_is(schedule: str) -> None:
    result, weights = learnt(XOR, epochs=200, schedule=schedule)
    assert all((record.train_accuracy or 0) <= 0.75 for record in result.history)
    assert all(record.loss > 0 for record in result.history)
    if (
        schedule == "constant"
    ):  # whole numbers that stay bounded (Minsky, Papert 1969): it goes round in circles, each epoch anew
        assert len({tuple(each) for each in weights}) < 20


@pytest.mark.parametrize(
    ("threshold", "fires"),
    [(5, lambda p, q, r: p), (3, lambda p, q, r: p or (q and r))],
    ids=["first", "first or both"],
)
def test_the_two_perceptrons_with_weights_6_2_2(threshold: int, fires: Any) -> None:
    """They know their answers, so that training them changes nothing; and a fresh one learns the same answers."""
    x = np.array(list(product([0.0, 1.0], repeat=3)))
    y = np.array([int(bool(fires(*row))) for row in x])
    network = Network((3, 1), ("step",), "perceptron")
    known = Model(network, np.array([6.0, 2, 2, -threshold]), class_names=("off", "on"))
    assert known.predict(x).tolist() == y.tolist()
    assert known.evaluate(x, y) == (0, 1)
    settings: dict[str, Any] = {"network": network, "normalize": "none", "dtype": "float64", "batch_size": 1}
    kept = train((x, y), init_from=known, epochs=5, **settings)
    assert np.array_equal(kept.model.parameters, known.parameters)
    fresh = train((x, y), epochs=100, learning_rate=1.0, schedule="constant", **settings)
    assert fresh.model.predict(x).tolist() == y.tolist()


# --- settings, files, reports -----------------------------------------------------------------------------------------


def test_either_the_output_or_the_cost_is_enough() -> None:
    for settings in ({"output_activation": "step"}, {"cost": "perceptron"}):
        result = train((CORNERS, OR), layers="", epochs=40, batch_size=1, **settings)
        assert (result.model.network.activations, result.model.network.cost) == (("step",), "perceptron")
        assert result.model.network.sizes == (2, 1)
        assert result.engine == "stages float32"
        assert result.train_accuracy == 1
        assert result.model.config["learning_rate"] == 0.5  # 1 for batches of 32, half of it for small ones


def test_the_run_says_which_engine_it_takes() -> None:
    updates = Updates()
    train((CORNERS, OR), layers="", cost="perceptron", epochs=1, callbacks=[updates])
    assert "cost perceptron is trained by engine stages, not by the fused one" in updates.said


def test_one_unit_for_each_of_several_classes() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = np.array([[0.0, 9], [-9, -5], [9, -5]])[y] + rng.normal(size=(90, 2))
    result = train((x, y), layers="", output_activation="step", epochs=30)
    assert result.model.network.sizes == (2, 3)
    assert result.train_accuracy is not None
    assert result.train_accuracy > 0.95


def test_weights_of_samples_and_decay_count(tmp_path: Any) -> None:
    """J = sum(w c) / sum(w) + decay / 2 |w|^2 for the update of the hand-worked batch, with weights 1, 3, 2."""
    network = Network((2, 1), ("step",), "perceptron")
    weights = np.array([1.0, 3.0, 2.0])
    x, codes = np.array([[2.0, 1], [0, 1], [3, 0]]), np.array([[0.0], [1.0]])
    split = Split(x, np.array([0, 1, 1], np.int32), codes, weights)
    run = open_engine(network, np.array([1.0, -1, 0]), split, split, Settings(0, 3, decay=0.1))
    cost, g = run.cost_and_gradient()
    assert cost == pytest.approx((1 * 1 + 3 * 1) / 6 + 0.05 * 2)
    assert g == pytest.approx([(2 - 0) / 6 + 0.1, (1 - 3) / 6 - 0.1, (1 - 3) / 6])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: train((CORNERS, OR), output_activation="step"), "step is trained without hidden layers only, .*16-16"),
        (lambda: train((CORNERS, OR), cost="perceptron", layers="3"), "step is trained without hidden layers only"),
        (lambda: Network((2, 3, 1), ("relu", "step"), "perceptron"), "perceptron is for networks without hidden lay"),
        (lambda: Network((2, 1), ("sigmoid",), "perceptron"), "perceptron needs output_activation step, got sigmoid"),
        (lambda: Config(cost="perceptron", output_activation="tanh"), "needs output_activation step, got tanh"),
        (lambda: Config(cost="squared_error", output_activation="step"), "output_activation step; use perceptron"),
        (
            lambda: train((CORNERS, OR), network=Network((2, 1), ("step",), "squared_error")),
            "step has no gradient and cannot be trained; use sigmoid, or, without hidden layers, cost perceptron",
        ),
        (
            lambda: train((CORNERS, OR), layers="", cost="perceptron", label_smoothing=0.1),
            "label_smoothing is for cost cross_entropy and binary_cross_entropy, got cost perceptron",
        ),
        (
            lambda: train((CORNERS, OR), layers="", cost="perceptron", engine="fused"),
            "engine fused cannot train networks of cost perceptron; use engine auto, stages or reference",
        ),
        (
            lambda: train((CORNERS, np.array([0.5, 1, 2, 3])), layers="", cost="perceptron"),
            "cost perceptron is for classes, but .* has target values",
        ),
        (
            lambda: train((CORNERS, np.array([0.5, 1, 2, 3])), network=Network((2, 1), ("step",), "perceptron")),
            "cost perceptron is for classes, but .* has target values",
        ),
    ],
)
def test_what_is_refused_in_one_sentence(call: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_file_and_the_report_know_it(tmp_path: Any) -> None:
    network = Network((2, 1), ("step",), "perceptron")
    model = Model(network, np.array([1.0, 1.0, -0.5]), class_names=("no", "yes"))
    model.save(tmp_path / "or.safetensors")
    assert fastbp.load(tmp_path / "or.safetensors").to_bytes() == model.to_bytes()
    assert model.evaluate(CORNERS, AND) == (0.25, 0.5)  # 01 and 10 are wrong, by 0.5 each
    found = diagnose(model, CORNERS, AND)
    assert (found.loss, found.accuracy) == (0.25, 0.5)
    assert [each.cost for each in found.worst[:3]] == [0.5, 0.5, 0]
    assert [(each.from_unit, each.gradient) for each in found.parameters] == [(None, 0.5), (0, 0.25), (1, 0.25)]


def test_from_the_shell(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{p:g},{q:g},{'yes' if p or q else 'no'}" for p, q in CORNERS] * 5
    (tmp_path / "or.csv").write_text("\n".join(["p,q,either", *rows]))
    table = ["--data", "or.csv", "--label", "either", "--test-fraction", "0"]

    def run(*args: str) -> Any:
        return CliRunner().invoke(cli, list(args), standalone_mode=False)

    trained = run("train", *table, "--layers", "", "--output-activation", "step", "--epochs", "20", "--json")
    facts = json.loads(trained.stdout)
    assert (facts["train_accuracy"], facts["loss"], facts["engine"]) == (1, 0, "stages float32")
    assert json.loads(run("inspect", "model.safetensors", *table, "--split", "train", "--json").stdout)["loss"] == 0
    explained = run("explain", "model.safetensors", "--input", "1,0", "--target", "no")
    assert "J = sum over the outputs of (a - y) z" in explained.stdout
    refused = run("train", *table, "--output-activation", "step")
    assert _explain(refused.exception) == 2
    assert "--layers 16-16 has some" in str(refused.exception) or "layers 16-16 has some" in str(refused.exception)
