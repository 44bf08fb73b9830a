"""Models as ONNX files: the graph against formulas written out here, the file against onnx and onnxruntime.

The graph is plain names and arrays, so most of it is tested without the package onnx, by an interpreter of the
operators as the ONNX specification defines them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import fastbp
from fastbp.cli import cli
from fastbp.data import Dataset
from fastbp.errors import FastbpError, ModelError, UsageError
from fastbp.model import Model
from fastbp.network import Network
from fastbp.onnx_export import Graph, network_graph, onnx_bytes, to_onnx
from fastbp.preprocessing import Scaling, fit_inputs, fit_targets

X = np.array([[0] * 4, [255] * 4, *np.random.default_rng(0).integers(0, 256, (30, 4))], np.uint8)
PIXELS = Scaling(0.0, 1 / 255)
PER_FEATURE = Scaling(np.array([1.0, 200.1, -3.0, 1 / 3]), np.array([0.01, 0.004, -0.015, 0.02]))

# (sizes, activations, cost, class names)
NETWORKS: dict[str, tuple[tuple[int, ...], tuple[str, ...], str, tuple[str, ...]]] = {
    "softmax": ((4, 3, 3), ("sigmoid", "softmax"), "cross_entropy", ("0", "1", "2")),
    "softmax with names": ((4, 3, 3), ("tanh", "softmax"), "cross_entropy", ("cat", "dog", "\u6c49 \u00fc")),
    "names that are numbers": ((4, 3, 3), ("relu", "softmax"), "cross_entropy", ("1", "2", "3")),
    "no hidden layer": ((4, 2), ("softmax",), "cross_entropy", ("no", "yes")),
    "one class": ((4, 1), ("softmax",), "cross_entropy", ("all",)),
    "sigmoid pair": ((4, 3, 1), ("relu", "sigmoid"), "binary_cross_entropy", ("no", "yes")),
    "tanh pair": ((4, 3, 1), ("leaky_relu", "tanh"), "squared_error", ("0", "1")),
    "identity pair": ((4, 1), ("identity",), "squared_error", ("a", "b")),
    "step pair": ((4, 3, 1), ("step", "step"), "squared_error", ("0", "1")),
    "sigmoids": ((4, 3, 3), ("identity", "sigmoid"), "squared_error", ("0", "1", "2")),
    "tanhs": ((4, 3, 3), ("relu", "tanh"), "squared_error", ("x", "y", "z")),
    "relus": ((4, 2, 3, 2), ("tanh", "leaky_relu", "relu"), "mean_squared_error", ("0", "1")),
    "leaky relus": ((4, 3), ("leaky_relu",), "squared_error", ("0", "1", "2")),
    "maxout": ((4, 3, 5, 3), ("maxout", "maxout", "softmax"), "cross_entropy", ("0", "1", "2")),
    "maxout of values": ((4, 3, 2), ("maxout", "identity"), "squared_error", ()),
    "perceptrons": ((4, 3), ("step",), "perceptron", ("0", "1", "2")),
    "values": ((4, 3, 2), ("sigmoid", "identity"), "squared_error", ()),
    "bounded values": ((4, 3, 2), ("tanh", "sigmoid"), "squared_error", ()),
}


def model_of(name: str, dtype: str = "float32", inputs: Scaling = PIXELS, **settings: Any) -> Model:
    """Random weights; the first ones that put X into more than one class."""
    sizes, activations, cost, class_names = NETWORKS[name]
    network = Network(sizes, activations, cost)
    for seed in range(100):
        theta = np.random.default_rng(seed).normal(0.0, 1.5, network.n_parameters).astype(dtype)
        model = Model(network, theta, inputs=inputs, class_names=class_names, **settings)
        if len(class_names) < 2 or len(set(model.predict(X))) > 1:
            return model
    raise AssertionError(f"all samples are of one class: {name}")


# -- the oracle: ONNX's operators, and the network's formulas --------------------------------------------------------


def alike(*arrays: np.ndarray) -> None:
    """ONNX converts nothing by itself: operands have one type."""
    assert len({array.dtype for array in arrays}) == 1, [array.dtype for array in arrays]


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def gemm(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    alike(a, b, c)
    return a @ b + c


def elementwise(function: Any) -> Any:
    def apply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        alike(a, b)
        return function(a, b)

    return apply


OPERATORS: dict[str, Any] = {
    "Add": elementwise(np.add),
    "Sub": elementwise(np.subtract),
    "Mul": elementwise(np.multiply),
    "Div": elementwise(np.divide),
    "Max": elementwise(np.maximum),
    "Greater": elementwise(np.greater),
    "Gemm": gemm,
    "Cast": lambda x, to: x.astype(to),
    "Sigmoid": lambda x: (1 / (1 + np.exp(-x.astype(np.float64)))).astype(x.dtype),
    "Tanh": np.tanh,
    "Relu": lambda x: np.maximum(x, x.dtype.type(0)),
    "LeakyRelu": lambda x, alpha: np.where(x < 0, x.dtype.type(alpha) * x, x),
    "Softmax": lambda x, axis: {1: softmax}[axis](x),
    "ArgMax": lambda x, axis, keepdims: {0: x.argmax(axis=axis)}[keepdims],
    "Squeeze": lambda x, axes: x.squeeze(tuple(axes)),
    "Gather": lambda x, indices, axis: np.take(x, indices, axis=axis),
    "Concat": lambda *parts, axis: np.concatenate(parts, axis=axis),
}


def compute(graph: Graph, x: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs of a graph; every name must be computed once, and before it is used."""
    assert x.dtype == graph.input.dtype
    assert x.shape[1:] == graph.input.shape[1:]
    values: dict[str, np.ndarray] = {graph.input.name: x, **graph.constants}
    for node in graph.nodes:
        assert node.output not in values
        values[node.output] = OPERATORS[node.operator](*(values[name] for name in node.inputs), **node.attributes)
    for value in graph.outputs:
        found = values[value.name]
        assert found.shape == (len(x), *value.shape[1:])
        assert found.dtype == (object if value.dtype == "string" else value.dtype)
    return {value.name: values[value.name] for value in graph.outputs}


F: dict[str, Any] = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.where(z > 0, z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "step": lambda z: np.where(z > 0, 1.0, 0.0),
    "softmax": softmax,
    "maxout": lambda z: np.where(z[:, : z.shape[1] // 2] > z[:, z.shape[1] // 2 :], *np.split(z, 2, axis=1)),
}


def last_layer(model: Model, x: np.ndarray) -> np.ndarray:
    """The output layer, in float64 from the parameter vector on."""
    a = (x.astype(np.float64) - model.inputs.shift) * model.inputs.scale
    theta, start = model.parameters.astype(np.float64), 0
    for n_in, n_out, name in zip(
        model.network.sizes[:-1], model.network.sizes[1:], model.network.activations, strict=True
    ):
        n_columns = 2 * n_out if name == "maxout" else n_out
        W = theta[start : start + n_in * n_columns].reshape(n_in, n_columns)
        start += n_in * n_columns
        a = F[name](a @ W + theta[start : start + n_columns])
        start += n_columns
    return a


# -- the graph ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inputs", [PIXELS, PER_FEATURE, Scaling(0.0, 1.0)], ids=["pixels", "per feature", "none"])
@pytest.mark.parametrize("input_dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_graph_computes_the_network(name, dtype, input_dtype, inputs):
    model = model_of(name, dtype, inputs)
    x = X if inputs != Scaling(0.0, 1.0) else X // 60  # raw pixels would saturate every unit
    found = compute(network_graph(model, input_dtype), x.astype(input_dtype))
    a = last_layer(model, x)
    near = {"atol": 2e-5, "rtol": 2e-5} if dtype == "float32" else {"atol": 1e-13, "rtol": 1e-12}
    if not model.class_names:
        np.testing.assert_allclose(found.pop("values"), a, **near)
    else:
        counted = model.class_names in (("0", "1"), ("0", "1", "2"))
        names = [int(each) if counted else each for each in model.class_names]
        if model.network.sizes[-1] == 1 and len(names) == 2:
            middle = 0.0 if model.network.activations[-1] == "tanh" else 0.5
            classes = [int(row > middle) for row in a[:, 0]]
        else:
            classes = list(a.argmax(axis=1))
        assert found.pop("label").tolist() == [names[k] for k in classes]
        if model.network.activations[-1] == "softmax":
            np.testing.assert_allclose(found.pop("probabilities"), a, **near)
        elif name == "sigmoid pair":
            np.testing.assert_allclose(found.pop("probabilities"), np.hstack([1 - a, a]), **near)
        else:
            np.testing.assert_allclose(found.pop("outputs"), a, **near)
    assert found == {}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_target_values_come_back_in_their_units(dtype):
    targets = Scaling(np.array([1e6, -3.0]), np.array([0.25, 2.0]))
    model = model_of("bounded values", dtype, targets=targets)
    a = last_layer(model, X)
    (values,) = compute(network_graph(model), X.astype(dtype)).values()
    np.testing.assert_allclose(values, a / [0.25, 2.0] + [1e6, -3.0], atol=2e-6 if dtype == "float32" else 1e-9)
    one_factor = dataclasses.replace(model, targets=Scaling(5.0, 0.5))
    (values,) = compute(network_graph(one_factor), X.astype(dtype)).values()
    np.testing.assert_allclose(values, a / 0.5 + 5.0, atol=2e-6)


@pytest.mark.parametrize(("activation", "class_names"), [("sigmoid", ("no", "yes")), ("tanh", ("0", "1"))])
def test_in_the_middle_a_single_output_says_class_0(activation, class_names):
    network = Network((1, 1), (activation,), "squared_error")
    model = Model(network, np.zeros(2), class_names=class_names)
    label = compute(network_graph(model), np.array([[3.0]]))["label"]
    assert label.tolist() == [class_names[0] if activation == "sigmoid" else 0]


def test_the_first_of_equal_outputs_is_the_class():
    model = Model(Network((1, 3), ("softmax",), "cross_entropy"), np.zeros(6), class_names=("0", "1", "2"))
    assert compute(network_graph(model), np.array([[3.0]]))["label"].tolist() == [0]


def test_a_column_of_years_keeps_its_precision_in_float32():
    """The float32 next to 2000.1 is 3e-5 away: with one subtraction, each input would be off by 6e-6 deviations."""
    scaling = Scaling(np.array([2000.1]), np.array([1 / 5.0]))
    model = Model(Network((1, 1), ("identity",), "squared_error"), np.float32([1, 0]), inputs=scaling)
    x = np.arange(1990, 2011, dtype=np.float32)[:, None]
    (values,) = compute(network_graph(model), x).values()
    np.testing.assert_allclose(values, (x.astype(np.float64) - 2000.1) / 5, rtol=3e-7)


def test_samples_in_float64_are_scaled_in_float64():
    """Two times in seconds that are one number in float32."""
    scaling = Scaling(np.array([1.7e9]), np.array([0.5]))
    model = Model(Network((1, 1), ("identity",), "squared_error"), np.float32([1, 0]), inputs=scaling)
    x = np.array([[1.7e9 + 1], [1.7e9 + 3]])
    (values,) = compute(network_graph(model, "float64"), x).values()
    assert values.tolist() == [[0.5], [1.5]]


@pytest.mark.parametrize("scaling", [Scaling(1e40, 1.0), Scaling(0.0, 1e40), Scaling(0.0, 1e-40)])
def test_a_scaling_beyond_float32_is_refused_in_float32(scaling):
    model = model_of("values", inputs=scaling)
    with pytest.raises(UsageError, match="float32 cannot express; use input_dtype float64"):
        network_graph(model)
    network_graph(model, "float64")


def test_nothing_is_computed_that_need_not_be():
    graph = network_graph(model_of("softmax", inputs=Scaling(0.0, 1.0)))
    assert [node.operator for node in graph.nodes] == ["Gemm", "Sigmoid", "Gemm", "Softmax", "ArgMax"]
    graph = network_graph(model_of("softmax"), "uint8")
    assert [node.operator for node in graph.nodes][:3] == ["Cast", "Mul", "Gemm"]
    assert set(graph.constants) == {"scale", "weights.1", "biases.1", "weights.2", "biases.2"}


def test_a_column_may_be_left_as_it_is():
    model = model_of("no hidden layer", inputs=Scaling(np.array([0.0, 0, 0, 9]), np.array([1.0, 1, 0.1, 1])))
    operators = [node.operator for node in network_graph(model).nodes]
    assert operators[:3] == ["Sub", "Mul", "Gemm"]


def test_what_goes_in_and_out():
    graph = network_graph(model_of("softmax with names"), "uint8")
    assert graph.input == ("input", "uint8", ("batch", 4))
    assert graph.outputs == [("label", "string", ("batch",)), ("probabilities", "float32", ("batch", 3))]
    assert network_graph(model_of("softmax", "float64")).input.dtype == "float64"
    assert network_graph(model_of("values")).outputs == [("values", "float64", ("batch", 2))]


@pytest.mark.parametrize("wrong", ["float16", "int8", "", 8])
def test_other_input_types_are_refused(wrong, tmp_path):
    with pytest.raises(UsageError, match="input_dtype must be one of uint8, float32, float64, got"):
        to_onnx(model_of("softmax"), tmp_path / "no.onnx", input_dtype=wrong)
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    (tmp_path / "model.onnx").write_bytes(b"older")
    with pytest.raises(FastbpError, match=r"needs the package onnx, .* pip install 'fastbp\[onnx\]'$"):
        to_onnx(model_of("softmax"), tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == b"older"


# -- the command -------------------------------------------------------------------------------------------------------


def run(*args: object) -> str:
    """What a command prints; its error rises."""
    result = CliRunner().invoke(cli, [str(arg) for arg in args], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_export_replaces_no_model(tmp_path):
    model = tmp_path / "model.safetensors"
    model_of("softmax").save(model)
    before = model.read_bytes()
    with pytest.raises(UsageError, match=r"must end in \.onnx or \.html, got .*model\.safetensors"):
        run("export", tmp_path / "model.onnx", model)
    assert model.read_bytes() == before
    with pytest.raises(ModelError, match="No such file"):
        run("export", tmp_path / "none.safetensors", tmp_path / "model.onnx")
    assert "uint8|float32|float64" in run("export", "--help")


def test_export_says_what_it_wrote(tmp_path):
    pytest.importorskip("onnx")
    model_of("sigmoid pair").save(tmp_path / "model.safetensors")
    command = ("export", tmp_path / "model.safetensors", tmp_path / "model.ONNX", "--input-dtype", "uint8")
    said = json.loads(run(*command, "--json"))
    assert said == {
        "model": str(tmp_path / "model.safetensors"),
        "file": str(tmp_path / "model.ONNX"),
        "bytes": len(onnx_bytes(model_of("sigmoid pair"), "uint8")),
        "opset": 7,
        "input": {"name": "input", "dtype": "uint8", "shape": ["batch", 4]},
        "outputs": [
            {"name": "label", "dtype": "string", "shape": ["batch"]},
            {"name": "probabilities", "dtype": "float32", "shape": ["batch", 2]},
        ],
        "classes": ["no", "yes"],
    }
    assert (tmp_path / "model.ONNX").read_bytes() == onnx_bytes(model_of("sigmoid pair"), "uint8")
    assert "label: string (batch), probabilities: float32 (batch, 2)" in run(*command)


# -- the file ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def onnx():
    pytest.importorskip("onnx.checker")
    return pytest.importorskip("onnx")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_passes_the_checker_and_computes_the_network(onnx, name, dtype):
    from onnx.reference import ReferenceEvaluator

    model = model_of(name, dtype, PER_FEATURE)
    proto = onnx.load_from_string(onnx_bytes(model, "uint8"))
    onnx.checker.check_model(proto, full_check=True)
    newest = {"ArgMax": 11, "Max": 8} if dtype == "float64" else {}
    opset = max(newest.get(node.op_type, 7) for node in proto.graph.node)
    assert [(each.domain, each.version) for each in proto.opset_import] == [("", opset)]
    assert proto.ir_version == 4
    found = ReferenceEvaluator(proto).run(None, {"input": X})
    expected = compute(network_graph(model, "uint8"), X)
    assert [each.name for each in proto.graph.output] == list(expected)
    for got, wanted in zip(found, expected.values(), strict=True):
        if wanted.dtype.kind == "f":
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
        else:
            assert list(got) == list(wanted)


def test_the_opset_is_the_lowest(onnx):
    """Up to opset 6, operators broadcast only where an attribute says so."""
    used = {node.operator for name in NETWORKS for node in network_graph(model_of(name), "uint8").nodes}
    versions = {name: onnx.defs.get_schema(name, 7).since_version for name in used}
    assert max(versions.values()) == versions["Gemm"] == versions["Mul"] == 7
    assert "broadcast" in onnx.defs.get_schema("Gemm", 6).attributes
    assert "broadcast" not in onnx.defs.get_schema("Gemm", 7).attributes


def test_the_file_says_where_it_comes_from(onnx):
    model = model_of(
        "softmax with names", data_name="/home/me/pets.csv", data_sha256="ab" * 32, image_shape=(2, 2),
        fastbp_version="0.0.9",
    )  # fmt: skip
    proto = onnx.load_from_string(onnx_bytes(model))
    assert (proto.producer_name, proto.producer_version) == ("fastbp", fastbp.__version__)
    assert {each.key: each.value for each in proto.metadata_props} == {
        "fastbp_version": "0.0.9",
        "network": "4-3-3",
        "data_name": "pets.csv",
        "data_sha256": "ab" * 32,
        "class_names": '["cat", "dog", "\u6c49 \u00fc"]',
        "image_shape": "[2, 2]",
    }
    bare = onnx.load_from_string(onnx_bytes(model_of("values")))
    assert {each.key for each in bare.metadata_props} == {"fastbp_version", "network"}


def test_weights_are_stored_bit_by_bit(onnx):
    from onnx.numpy_helper import to_array

    model = model_of("softmax")
    stored = {each.name: to_array(each) for each in onnx.load_from_string(onnx_bytes(model)).graph.initializer}
    for layer, (W, b) in enumerate(model.network.layers_of(model.parameters), start=1):
        assert stored[f"weights.{layer}"].tobytes() == W.tobytes()
        assert stored[f"biases.{layer}"].tobytes() == b.tobytes()


def test_the_same_model_gives_the_same_bytes_in_every_process(onnx, tmp_path):
    model = model_of("softmax with names", inputs=PER_FEATURE, data_name="pets")
    model.save(tmp_path / "model.safetensors")
    to_onnx(model, tmp_path / "here.onnx")
    code = "import fastbp; fastbp.to_onnx(fastbp.load('model.safetensors'), 'there.onnx')"
    path = os.pathsep.join([str(Path(fastbp.__file__).parents[1]), *map(str, sys.path)])
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True,
        env={**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": path},
    )  # fmt: skip
    assert (tmp_path / "here.onnx").read_bytes() == (tmp_path / "there.onnx").read_bytes()


def test_a_file_that_cannot_be_written_leaves_nothing(onnx, tmp_path):
    with pytest.raises(FastbpError, match=r"cannot write .*none"):
        to_onnx(model_of("softmax"), tmp_path / "none" / "model.onnx")
    assert list(tmp_path.iterdir()) == []


# -- onnxruntime -------------------------------------------------------------------------------------------------------


def answers(model: Model, x: np.ndarray, input_dtype: str | None = None) -> dict[str, np.ndarray]:
    """What onnxruntime answers."""
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(onnx_bytes(model, input_dtype), options, providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == ["input"]
    names = [each.name for each in session.get_outputs()]
    dtype = input_dtype or model.parameters.dtype
    return dict(zip(names, session.run(names, {"input": x.astype(dtype)}), strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_onnxruntime_answers_as_the_model(name, dtype):
    model = model_of(name, dtype, PER_FEATURE)
    found = answers(model, X, "uint8")
    if model.is_regression:
        np.testing.assert_allclose(found["values"], model.predict(X), rtol=1e-5, atol=1e-6)
        return
    named = [model.class_names[k] for k in model.predict(X)]
    assert [str(each) for each in found["label"]] == named
    outputs = found["probabilities"][:, -1:] if "pair" in name and "probabilities" in found else list(found.values())[1]
    np.testing.assert_allclose(outputs, model.outputs(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_samples", [0, 1, 7])
def test_the_batch_may_have_any_size(n_samples):
    x = np.zeros((n_samples, 4), np.float32)
    assert [len(each) for each in answers(model_of("softmax"), x).values()] == [n_samples, n_samples]


def test_a_regression_on_a_table(rng):
    x, y = (
        rng.normal([2000.0, 1e-3, 5e4], [5.0, 1e-4, 1e4], (300, 3)).astype(np.float32),
        rng.normal(1e4, 10.0, (300, 1)),
    )
    network = Network((3, 8, 1), ("tanh", "identity"), "squared_error")
    model = Model(network, network.initial_parameters(), inputs=fit_inputs(x), targets=fit_targets(y, "identity"))
    np.testing.assert_allclose(answers(model, x)["values"], model.predict(x), rtol=0, atol=1e-6 * 10.0 * 5)


def digits() -> Dataset:
    found = fastbp.load_dataset("digits")
    return Dataset.from_arrays(found.x_train[:6000], found.y_train[:6000], found.x_test, found.y_test)


@pytest.fixture
def dataset(request):
    return digits() if request.param == "digits" else fastbp.load_dataset(request.getfixturevalue("mnist_folder"))


@pytest.mark.parametrize("dataset", ["digits", "mnist"], indirect=True)
@pytest.mark.parametrize("input_dtype", ["uint8", "float32"])
def test_ten_thousand_images(dataset, input_dtype):
    """In float64 the answers are equal. In float32 each side is some 1e-6 from these: it adds 784 terms in 24 bits."""
    pytest.importorskip("onnxruntime")
    x = dataset.x_test
    assert len(x) == 10_000
    model = fastbp.train(dataset, epochs=5, batch_size=32).model
    precise = dataclasses.replace(model, parameters=model.parameters.astype(np.float64))
    exact = precise.outputs(x)
    found = answers(precise, x, input_dtype)
    assert np.array_equal(found["label"], precise.predict(x))
    assert np.abs(found["probabilities"] - exact).max() <= 1e-12
    found = answers(model, x, input_dtype)
    assert np.abs(found["probabilities"] - exact).max() <= 1e-5
    assert np.abs(found["probabilities"] - model.outputs(x)).max() <= 1e-5
    first, second = np.sort(exact, axis=1)[:, [-1, -2]].T
    clear = first - second > 3e-5
    assert clear.sum() > 9_980
    assert np.array_equal(found["label"][clear], model.predict(x)[clear])
