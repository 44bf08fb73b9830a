"""Networks with maxout layers, from the layout of their parameters to the model file, the report and the shell."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import fastbp
from fastbp import Config, Dataset, Model, Network, UsageError, train
from fastbp.__main__ import _explain
from fastbp.callbacks import Callback
from fastbp.cli import cli
from fastbp.diagnostics import diagnose, important_parameters, layer_facts
from fastbp.kernels import CsrRows, Settings, Split, open_engine, open_fleet
from fastbp.preprocessing import Scaling

# |x - y| is one maxout unit: its pieces are x - y and y - x. The second unit says the larger of x and 3.
DISTANCE = Network((2, 2, 1), ("maxout", "identity"), "squared_error")
THETA = np.array([1.0, 1, -1, 0, -1, 0, 1, 0, 0, 0, 0, 3, 1, 10, 0.5])


def blobs(n: int = 300, seed: int = 0) -> Dataset:
    """Numbers around three centres."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    x = np.array([[0.0, 0, 2, 1], [3, 0, 0, 1], [0, 3, 1, -2]])[y] + 0.7 * rng.normal(size=(n, 4))
    return Dataset.from_arrays(x[60:], y[60:], x[:60], y[:60], name="blobs")


class Phases(Callback):
    """What a run says before it begins."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def on_phase(self, text: str) -> None:
        self.said.append(text)


# --- the layout -------------------------------------------------------------------------------------------------------


def test_the_columns_of_piece_0_come_first() -> None:
    network = Network((3, 2, 1), ("maxout", "identity"), "squared_error")
    assert network.shapes == ((3, 4), (2, 1))
    assert network.n_parameters == 3 * 4 + 4 + 2 + 1
    (W1, b1), (W2, b2) = network.layers_of(np.arange(19.0))
    assert W1.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert b1.tolist() == [12, 13, 14, 15]
    assert (W2.ravel().tolist(), b2.tolist()) == ([16, 17], [18])


def test_twice_the_parameters_of_a_layer() -> None:
    maxout = Network((784, 16, 16, 10), ("maxout", "maxout", "softmax"), "cross_entropy")
    assert maxout.n_parameters == 2 * (785 * 16 + 17 * 16) + 17 * 10


def test_both_pieces_begin_with_weights_of_their_own_within_glorots_bounds() -> None:
    network = Network((40, 30, 10), ("maxout", "softmax"), "cross_entropy")
    (W, b), _ = network.layers_of(network.initial_parameters(seed=0))
    first, second = np.split(W, 2, axis=1)
    limit = np.sqrt(6 / (40 + 30))  # of the units, not of the columns
    assert not np.array_equal(first, second)
    for piece in (first, second):
        assert 0.95 * limit < np.abs(piece).max() < limit
    assert not b.any()


@pytest.mark.parametrize(
    ("activations", "words"),
    [
        (("relu", "maxout"), "maxout is for hidden layers only; use softmax, sigmoid or identity in the output layer"),
        (("maxotu", "softmax"), "activation must be one of .*, maxout, got 'maxotu'"),
    ],
)
def test_where_it_may_not_stand(activations: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Network((2, 3, 2), activations, "cross_entropy" if activations[-1] == "softmax" else "squared_error")
    with pytest.raises(UsageError, match="output_activation must be one of"):
        Config(output_activation="maxout")


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_answers_worked_out_by_hand(dtype: str) -> None:
    model = Model(DISTANCE, THETA.astype(dtype))
    x = [[5.0, 2.0], [2.0, 5.0], [1.0, 1.0], [-4.0, -1.5]]
    expected = [[abs(p - q) + 10 * max(p, 3) + 0.5] for p, q in x]
    assert model.predict(x).tolist() == expected
    assert model.evaluate(x, expected)[0] == 0
    assert model.evaluate(x, np.array(expected) + 2)[0] == 2


def test_a_sample_answers_alike_in_any_company() -> None:
    network = Network((20, 16, 3), ("maxout", "softmax"), "cross_entropy")
    model = Model(network, network.initial_parameters(3), class_names=("a", "b", "c"))
    x = np.random.default_rng(0).normal(size=(40, 20))
    together = model.outputs(x)
    assert all(np.array_equal(model.outputs(x[i : i + 1])[0], together[i]) for i in range(40))


def test_the_file_gives_the_model_back(tmp_path: Any) -> None:
    import safetensors.numpy

    model = Model(DISTANCE, THETA)
    model.save(tmp_path / "distance.safetensors")
    again = fastbp.load(tmp_path / "distance.safetensors")
    assert again.network == DISTANCE
    assert again.to_bytes() == model.to_bytes()
    tensors = safetensors.numpy.load_file(tmp_path / "distance.safetensors")
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "weights.1": (2, 4),
        "biases.1": (4,),
        "weights.2": (2, 1),
        "biases.2": (1,),
    }


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"])
def test_it_learns_and_both_engines_agree(optimizer: str) -> None:
    data = blobs()
    settings: dict[str, Any] = {"layers": "6-5", "activation": "maxout", "optimizer": optimizer, "epochs": 8}
    settings |= {"weight_decay": 1e-3, "dropout": "0.2,0.1", "dtype": "float64"}
    compiled, plain = train(data, **settings), train(data, **settings, engine="reference")
    assert compiled.engine == "stages float64"
    assert compiled.test_accuracy is not None
    assert compiled.test_accuracy > 0.9
    assert compiled.model.parameters == pytest.approx(plain.model.parameters, rel=1e-9, abs=1e-12)
    assert compiled.loss == pytest.approx(compiled.model.evaluate(data.x_train, data.y_train)[0], rel=1e-9)


def test_two_units_learn_what_one_layer_of_two_cannot() -> None:
    """XOR with one maxout unit: |x1 - x2|."""
    x, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    settings: dict[str, Any] = {"layers": "1", "activation": "maxout", "batch_size": 4, "epochs": 400}
    found = [train((x, y), seed=seed, optimizer="adam", learning_rate=0.05, **settings) for seed in range(3)]
    assert max(result.train_accuracy or 0 for result in found) == 1


def test_an_activation_for_each_layer() -> None:
    result = train(blobs(), layers="5-4", activation="relu,maxout", epochs=2)
    assert result.model.network.activations == ("relu", "maxout", "softmax")
    assert result.model.network.shapes == ((4, 5), (5, 8), (4, 3))
    assert result.model.config["activation"] == "relu,maxout"


def test_the_first_step_worked_out_by_hand() -> None:
    """Bytes, scaled; x = (1, 0), J = (a - y)^2 / 2, a = |1 - 0| + 10 max(1, 3) + 0.5 = 31.5, y = 30.5: delta 1.

    Piece 0 of the distance wins, and gets 1; the constant piece of the other unit wins, and gets 10.
    """
    split = Split(np.array([[255, 0]], np.uint8), np.zeros(1, np.int32), np.array([[30.5]]))
    engine = open_engine(DISTANCE, THETA, split, split, Settings(0, 1), x_scale=1 / 255, classes=False)
    cost, g = engine.cost_and_gradient()
    assert cost == 0.5
    assert g.tolist() == [1, 0, 0, 10, 0, 0, 0, 0, 1, 0, 0, 10, 1, 3, 1]
    engine.run(np.zeros(1, np.uint32), np.array([0.25]), costs := np.empty(1))
    assert costs.tolist() == [0.5]
    assert engine.parameters().tolist() == (THETA - 0.25 * np.array(g)).tolist()


def test_a_run_begins_with_the_weights_of_a_model_of_the_same_shape() -> None:
    data = blobs()
    first = train(data, layers="5", activation="maxout", epochs=2)
    again = train(data, layers="5", activation="maxout", init_from=first.model, epochs=0)
    assert np.array_equal(again.model.parameters, first.model.parameters)
    with pytest.raises(
        UsageError, match=r"the start model is 4-5-3 of maxout, softmax, but .* is 4-5-3 of relu, softmax"
    ):
        train(data, layers="5", activation="relu", init_from=first.model)


# --- engines ----------------------------------------------------------------------------------------------------------


def test_the_run_says_which_engine_it_takes() -> None:
    log = Phases()
    result = train(blobs(), layers="5", activation="maxout", epochs=1, callbacks=[log])
    assert result.engine == "stages float32"
    assert "activation maxout is trained by engine stages, not by the fused one" in log.said
    log = Phases()
    train(blobs(), layers="5", activation="relu", epochs=1, callbacks=[log])
    train(blobs(), layers="5", activation="maxout", engine="stages", epochs=1, callbacks=[log])
    assert not [text for text in log.said if "engine" in text]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"engine": "fused"},
            "engine fused cannot train networks of activation maxout; use engine auto, stages or ref",
        ),
        (
            {"input_layout": "sparse"},
            "stages takes dense input only; activation maxout needs it, so use input_layout d",
        ),
        ({"device": "cuda"}, "device cuda cannot train networks of activation maxout; use device cpu"),
    ],
)
def test_engines_that_cannot_are_refused(settings: dict[str, str], words: str) -> None:
    with pytest.raises(fastbp.FastbpError, match=words):
        train(blobs(), layers="5", activation="maxout", **settings)


def test_a_fleet_on_a_gpu_is_refused() -> None:
    split = Split(np.ones((1, 2), np.float32), np.zeros(1, np.int32), np.ones((1, 1), np.float32))
    with pytest.raises(UsageError, match="device cuda cannot train networks of activation maxout; use device cpu"):
        open_fleet(DISTANCE, np.float32([THETA]), split, split, [Settings(0, 1)])


def test_sparse_samples_are_refused() -> None:
    rows = CsrRows(np.ones(1), np.zeros(1, np.int32), np.array([0, 1]), 2)
    split = Split(rows, np.zeros(1, np.int32), np.ones((1, 1)))
    with pytest.raises(UsageError, match="dense input only; activation maxout needs it, so make samples dense"):
        open_engine(DISTANCE, THETA, split, split, Settings(0, 1))


# --- what looks at it, and what takes it along ------------------------------------------------------------------------


def test_what_a_layer_is() -> None:
    first, last = layer_facts(Model(DISTANCE, THETA), [[1.0, 0.0]], [[30.5]])
    assert (first.n_inputs, first.n_units, first.activation) == (2, 2, "maxout")
    assert first.gradient_norm == pytest.approx(np.sqrt(1 + 100))
    assert last.gradient_norm == pytest.approx(np.sqrt(1 + 9))
    assert first.delta_norm == pytest.approx(np.sqrt(1 + 100))
    assert (first.dead_units, first.saturated_share) == (None, None)
    assert first.mean == 2  # of 1 and 3
    assert first.weight_norm == pytest.approx(np.sqrt(5))


def test_which_parameters_matter() -> None:
    found = important_parameters(Model(DISTANCE, THETA), [[1.0, 0.0]], [[30.5]])
    assert [(each.layer, each.from_unit, each.to_unit, each.piece, each.value, each.gradient) for each in found] == [
        (1, 0, 1, 1, 0, 10),
        (1, None, 1, 1, 3, 10),
        (2, 1, 0, None, 10, 3),
        (1, 0, 0, 0, 1, 1),
        (1, None, 0, 0, 0, 1),
        (2, 0, 0, None, 1, 1),
        (2, None, 0, None, 0.5, 1),
    ]


def test_every_parameter_is_named_by_its_place() -> None:
    """Three units: column 4 is piece 1 of unit 1. All values differ, so that each tells its place."""
    network = Network((2, 3, 2, 1), ("maxout", "maxout", "identity"), "squared_error")
    theta = np.random.default_rng(2).normal(size=network.n_parameters)
    x = np.random.default_rng(3).normal(size=(40, 2))
    found = important_parameters(Model(network, theta), x, np.zeros((40, 1)), top=network.n_parameters)
    pieces_seen = set()
    for each in found:
        n_columns, n_units, start = {1: (6, 3, 0), 2: (4, 2, 18), 3: (1, 1, 34)}[each.layer]
        row = {1: 2, 2: 3, 3: 2}[each.layer] if each.from_unit is None else each.from_unit
        assert each.value == theta[start + row * n_columns + (each.piece or 0) * n_units + each.to_unit]
        pieces_seen.add((each.layer, each.to_unit, each.piece))
    assert {(1, 1, 1), (1, 2, 0), (2, 0, 1), (3, 0, None)} <= pieces_seen


def test_a_network_of_maxout_is_healthy() -> None:
    data = blobs()
    model = train(data, layers="8-8", activation="maxout", epochs=5).model
    kinds = {finding.kind for finding in diagnose(model, data.x_test, data.y_test).findings}
    assert not kinds & {"vanishing", "exploding", "dead", "saturated"}


def test_what_cannot_take_it_along() -> None:
    model = Model(DISTANCE, THETA)
    with pytest.raises(UsageError, match=r"one activation in all hidden layers, .*; this model has maxout"):
        fastbp.to_sklearn(model)
    weights = {"0.weight": np.ones((4, 2)), "0.bias": np.ones(4), "2.weight": np.ones((1, 4)), "2.bias": np.ones(1)}
    with pytest.raises(UsageError, match="maxout is no module of PyTorch"):
        fastbp.from_torch(weights, "maxout", output_activation="identity")


def test_onnxruntime_answers_by_hand() -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from fastbp.onnx_export import onnx_bytes

    session = runtime.InferenceSession(onnx_bytes(Model(DISTANCE, THETA, inputs=Scaling(0.0, 1.0))))
    (values,) = session.run(["values"], {"input": np.array([[5.0, 2.0], [-4.0, -1.5]])})
    assert values.tolist() == [[53.5], [33.0]]


# --- the shell --------------------------------------------------------------------------------------------------------


def test_from_the_shell(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    data = blobs()
    rows = np.column_stack([data.x_train, data.y_train])
    lines = ["a,b,c,d,kind", *(",".join([*map(str, row[:4]), f"k{row[4]:.0f}"]) for row in rows)]
    (tmp_path / "blobs.csv").write_text("\n".join(lines))
    table = ["--data", "blobs.csv", "--label", "kind"]

    def run(*args: str) -> Any:
        return CliRunner().invoke(cli, list(args), standalone_mode=False)

    trained = run("train", *table, "--layers", "6-4", "--activation", "maxout,tanh", "--epochs", "5", "--json")
    facts = json.loads(trained.stdout)
    assert facts["engine"] == "stages float32"
    assert facts["parameters"] == 5 * 12 + 7 * 4 + 5 * 3
    assert "activation maxout is trained by engine stages, not by the fused one" in trained.stderr
    accuracy = json.loads(run("eval", "model.safetensors", *table, "--json").stdout)["test_accuracy"]
    assert accuracy == facts["test_accuracy"]
    page = run("inspect", "model.safetensors", *table, "--top", "40").stdout
    assert "4 x 2 x 6" in page
    assert "6 maxout" in page
    assert ", piece " in page
    assert json.loads(run("info", "model.safetensors", "--json").stdout)["activations"][0] == "maxout"
    explained = run("explain", "model.safetensors", *table, "--layers", "3")
    assert "MODEL brings its own" in str(explained.exception)
    again = run("train", *table, "--init-from", "model.safetensors", "--epochs", "0", "--json")
    assert json.loads(again.stdout)["test_accuracy"] == accuracy
    refused = run("train", *table, "--activation", "maxout", "--engine", "fused")
    assert _explain(refused.exception) == 2
    assert str(refused.exception).startswith("engine fused cannot train networks of activation maxout; use")
    assert "maxout" in run("train", "--help").stdout
