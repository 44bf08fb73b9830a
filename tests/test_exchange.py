"""Models from PyTorch and scikit-learn and back: numbers by hand, files by `struct`, and the real packages.

What can be tested without the packages is.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
import struct
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import fastbp
from fastbp.cli import cli
from fastbp.errors import FastbpError, ModelError, UsageError
from fastbp.exchange import from_sklearn, from_torch, to_sklearn
from fastbp.model import Model, load
from fastbp.network import Network
from fastbp.preprocessing import Scaling


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


F: dict[str, Any] = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.where(z > 0, z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "softmax": softmax,
}


# -- PyTorch -----------------------------------------------------------------------------------------------------------

# PyTorch's weights are (n_out, n_in): with x = (2, 1), z1 = (2 + 2 + 0.5, 6 + 4 - 1), z2 = (4.5 - 9, 2.25 + 18 + 1)
WEIGHTS = {
    "0.weight": np.array([[1.0, 2.0], [3.0, 4.0]]),
    "0.bias": np.array([0.5, -1.0]),
    "2.weight": np.array([[1.0, -1.0], [0.5, 2.0]]),
    "2.bias": np.array([0.0, 1.0]),
}
X = np.array([[2.0, 1.0], [1.0, -1.0]])
Z = np.array([[-4.5, 21.25], [0.0, 1.0]])  # with relu: the second sample's hidden units are both off


def safetensors_bytes(tensors: dict[str, tuple[str, tuple[int, ...], bytes]], length: int = 0) -> bytes:
    """A safetensors file, written by hand: (dtype, shape, little-endian bytes) by name."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode().ljust(length)
    return struct.pack("<Q", len(text)) + text + body


def bfloat16(values: np.ndarray) -> bytes:
    """The upper halves of float32; exact for the numbers used here."""
    return b"".join(struct.pack("<f", value)[2:] for value in values.ravel())


ENCODERS: dict[str, Any] = {
    "F64": lambda values: struct.pack(f"<{values.size}d", *values.ravel()),
    "F32": lambda values: struct.pack(f"<{values.size}f", *values.ravel()),
    "F16": lambda values: struct.pack(f"<{values.size}e", *values.ravel()),
    "BF16": bfloat16,
}


def write(path: Path, dtype: str = "F32", weights: dict[str, np.ndarray] = WEIGHTS, length: int = 0) -> Path:
    tensors = {name: (dtype, values.shape, ENCODERS[dtype](values)) for name, values in weights.items()}
    path.write_bytes(safetensors_bytes(tensors, length))
    return path


@pytest.mark.parametrize("dtype", ENCODERS)
def test_a_file_by_hand(tmp_path, dtype):
    model = from_torch(write(tmp_path / "net.safetensors", dtype), "relu", output_activation="identity")
    assert model.network == Network((2, 2, 2), ("relu", "identity"), "squared_error")
    assert model.parameters.dtype == (np.float64 if dtype == "F64" else np.float32)
    assert model.parameters.tolist() == [1.0, 3.0, 2.0, 4.0, 0.5, -1.0, 1.0, 0.5, -1.0, 2.0, 0.0, 1.0]
    assert model.predict(X).tolist() == Z.tolist()
    assert model.is_regression


def test_a_mapping_of_classes():
    model = from_torch(WEIGHTS, "relu")
    assert (model.network.activations, model.network.cost) == (("relu", "softmax"), "cross_entropy")
    assert model.class_names == ("0", "1")
    np.testing.assert_allclose(model.outputs(X), softmax(Z), rtol=1e-14)
    assert from_torch(WEIGHTS, "relu", class_names=["cat", "dog"]).class_names == ("cat", "dog")
    assert from_torch(WEIGHTS, "relu", class_names=()).is_regression
    scaled = from_torch(WEIGHTS, "relu", inputs=Scaling(0.0, 1 / 255))
    np.testing.assert_allclose(scaled.outputs(X * 255), softmax(Z), rtol=1e-13)


def test_one_sigmoid_output_tells_two_classes_apart():
    model = from_torch({"0.weight": [[1.0, 2.0]], "0.bias": [-2.0]}, "relu", output_activation="sigmoid")
    assert (model.class_names, model.network.cost) == (("0", "1"), "binary_cross_entropy")
    assert model.predict([[1.0, 1.0], [1.0, 0.0]]).tolist() == [1, 0]


def test_several_activations_and_numbers_that_leave_room():
    """Flatten is number 0, and a Dropout stands among the rest."""
    rng = np.random.default_rng(1)
    sizes, numbers = (3, 4, 5, 2), (1, 4, 10)
    weights, a = {}, rng.normal(size=(6, 3))
    x = a
    for number, n_in, n_out, name in zip(
        numbers, sizes[:-1], sizes[1:], ("tanh", "leaky_relu", "identity"), strict=True
    ):
        weight, bias = rng.normal(size=(n_out, n_in)), rng.normal(size=n_out)
        weights |= {f"net.{number}.bias": bias, f"net.{number}.weight": weight}
        a = F[name](np.array([[weight[j] @ row + bias[j] for j in range(n_out)] for row in a]))
    shuffled = dict(sorted(weights.items(), reverse=True))
    model = from_torch(shuffled, "tanh, leaky_relu", output_activation="identity")
    np.testing.assert_allclose(model.outputs(x), a, rtol=1e-12)
    shuffled["head.0.weight"] = np.ones((2, 2))
    again = from_torch(shuffled, "tanh, leaky_relu", output_activation="identity", prefix="net.")
    assert np.array_equal(again.parameters, model.parameters)


def test_layers_may_be_numbered_without_a_dot():
    weights = {f"fc{key}": value for key, value in WEIGHTS.items()}
    assert from_torch(weights, "relu", output_activation="identity").predict(X).tolist() == Z.tolist()


def test_mixed_precision_becomes_the_wider_one():
    weights = {**WEIGHTS, "0.weight": WEIGHTS["0.weight"].astype(np.float16)}
    assert from_torch(weights, "relu").parameters.dtype == np.float64
    halves = {key: value.astype(np.float16) for key, value in WEIGHTS.items()}
    assert from_torch(halves, "relu").parameters.dtype == np.float32


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in WEIGHTS.items() if name != key}


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({}, "holds no layers; names such as 0.weight and 0.bias are needed"),
    (without("2.bias"), r"layer 2 has no bias; for nn.Linear\(..., bias=False\) add one of zeros"),
    (without("0.weight"), "layer 0 has no weight"),
    ({**WEIGHTS, "2.weight": np.ones((2, 3))}, "layer 0 gives 2 numbers and layer 2 takes 3"),
    ({**WEIGHTS, "2.bias": np.ones(3)}, r"shape \(2, 2\) and a bias of shape \(3,\); the bias must be \(2,\)"),
    ({**WEIGHTS, "0.weight": np.ones((4, 1, 3, 3))}, "as of a convolution; only Linear layers"),
    ({**WEIGHTS, "2.weight": np.ones(2)}, "as of a normalization or a PReLU; only Linear layers"),
    ({**WEIGHTS, "1.running_mean": np.ones(2)}, r"holds 1\.running_mean; only Linear layers"),
    ({**WEIGHTS, "0.weight": np.ones((2, 2), int)}, "is int64, accepted are float64, float32, float16, bfloat16"),
    ({**WEIGHTS, "0.weight": np.ones((2, 2), complex)}, "is complex128, accepted are"),
    ({**WEIGHTS, "head.0.weight": np.ones((2, 2))}, r"names begin with '', 'head\.'; name one of these as prefix"),
    ({**WEIGHTS, "0.\x1b": np.ones(2)}, r"holds '0\.\\x1b'"),
]


@pytest.mark.parametrize(("weights", "words"), BROKEN, ids=[words[:40] for _, words in BROKEN])
def test_weights_that_are_no_stack_of_linear_layers(weights, words):
    with pytest.raises(ModelError, match=words):
        from_torch(weights, "relu")


def test_a_prefix_that_nothing_has():
    with pytest.raises(ModelError, match=r"no layers whose names begin with 'net\.'"):
        from_torch(WEIGHTS, "relu", prefix="net.")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"activation": "gelu"}, "activation must be one of .*, got 'gelu'"),
        ({"activation": "relu,relu"}, "names 2 hidden layers and the mapping has 1"),
        ({"activation": ("relu",)}, r"activation must be a text such as .*, got \('relu',\)"),
        ({"output_activation": "logits"}, "activation must be one of .*, got 'logits'"),
        ({"class_names": "abc"}, "3 class names do not fit 2 outputs"),
        ({"inputs": Scaling(np.zeros(3), np.ones(3))}, "the input scaling is for 3 features, the network has 2"),
    ],
)
def test_settings_that_do_not_fit(settings, words):
    with pytest.raises(UsageError, match=words):
        from_torch(WEIGHTS, **{"activation": "relu", **settings})


def test_layers_with_nothing_between_them_have_no_activation():
    weights = {key.replace("2.", "1."): value for key, value in WEIGHTS.items()}
    with pytest.raises(UsageError, match=r"layers 0 and 1 .* have nothing between them, .* number its layers 0, 2, "):
        from_torch(weights, "relu")
    assert from_torch(weights, "identity").network.activations == ("identity", "softmax")


def test_one_softmax_output_is_refused():
    with pytest.raises(UsageError, match="one softmax output is always 1; use output_activation sigmoid"):
        from_torch({"0.weight": [[1.0]], "0.bias": [1.0]}, "relu")


def test_a_weight_that_is_not_finite():
    with pytest.raises(UsageError, match="every weight and bias must be finite"):
        from_torch({**WEIGHTS, "2.bias": np.array([np.nan, 0.0])}, "relu")


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (b"PK\x03\x04 and so on", r"looks like a file of torch\.save, .* safetensors\.torch\.save_file"),
        (b"\x80\x02}q\x00.........", r"looks like a file of torch\.save"),
        (b"abc", "not a whole safetensors file"),
        (b"", "not a whole safetensors file"),
        (safetensors_bytes({"0.weight": ("F32", (1, 1), bytes(4))})[:-1], "not a whole safetensors file"),
        (safetensors_bytes({"0.weight": ("I32", (1, 1), bytes(4))}), r"is I32, accepted are F64, F32, F16, BF16"),
        (safetensors_bytes({"0.weight": ("F8_E4M3", (1, 1), bytes(1))}), "is F8_E4M3, accepted are"),
    ],
)
def test_files_that_hold_no_weights(tmp_path, contents, words):
    path = tmp_path / "net.safetensors"
    path.write_bytes(contents)
    with pytest.raises(ModelError, match=rf"net\.safetensors.*{words}"):
        from_torch(path, "relu")


def test_a_header_that_begins_like_a_pickle_is_no_pickle(tmp_path):
    """640 is 80 02 in hexadecimal, as the first bytes of a pickle."""
    path = write(tmp_path / "net.safetensors", length=640)
    assert path.read_bytes().startswith(b"\x80\x02")
    assert from_torch(path, "relu", output_activation="identity").predict(X).tolist() == Z.tolist()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match=r"none\.safetensors.*No such file"):
        from_torch(tmp_path / "none.safetensors", "relu")


def run(*args: object) -> str:
    """What a command prints; its error rises."""
    result = CliRunner().invoke(cli, [str(arg) for arg in args], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_import_writes_a_model_file(tmp_path):
    weights, path = write(tmp_path / "net.safetensors"), tmp_path / "model.safetensors"
    said = run(
        "import", weights, path, "--activation", "relu", "--normalize", "unit", "--classes", "cat, dog", "--json"
    )
    found = json.loads(said)
    assert (found["network"], found["activations"], found["classes"]) == ("2-2-2", ["relu", "softmax"], ["cat", "dog"])
    np.testing.assert_allclose(load(path).outputs(X * 255), softmax(Z), rtol=1e-5)
    said = run("import", weights, path, "--activation", "relu", "--output-activation", "identity", "--prefix", "")
    assert "2-2-2" in said
    assert "settings" not in said
    assert load(path).predict(X).tolist() == Z.tolist()


def test_import_refuses_to_replace_the_weights(tmp_path):
    weights = write(tmp_path / "net.safetensors")
    before = weights.read_bytes()
    for same in (weights, f"{tmp_path}/./net.safetensors"):
        with pytest.raises(UsageError, match="would replace the file of the weights"):
            run("import", weights, same, "--activation", "relu")
    assert weights.read_bytes() == before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "module"),
    [("sigmoid", "Sigmoid"), ("tanh", "Tanh"), ("relu", "ReLU"), ("leaky_relu", "LeakyReLU"), ("identity", "Identity")],
)
def test_a_real_sequential(tmp_path, name, module, dtype):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    torch.manual_seed(3)
    nn = torch.nn
    kind = getattr(torch, dtype)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 7), getattr(nn, module)(), nn.Dropout(0.5), nn.Linear(7, 5), getattr(nn, module)(),
        nn.Linear(5, 3),
    ).to(kind).eval()  # fmt: skip
    x = torch.randn(40, 3, 4, dtype=kind)
    with torch.no_grad():
        logits = net(x).to(torch.float64).numpy()
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    near = {"atol": 1e-6, "rtol": 1e-6} if dtype == "float32" else {"atol": 1e-14, "rtol": 1e-12}
    for source in (net.state_dict(), tmp_path / "net.safetensors", str(tmp_path / "net.safetensors")):
        model = from_torch(source, name)
        np.testing.assert_allclose(model.outputs(x.numpy().reshape(40, 12)), softmax(logits), **near)
    half = {key: value.bfloat16() for key, value in net.state_dict().items()}
    save_file(half, tmp_path / "half.safetensors")
    wide = {key: value.float() for key, value in half.items()}
    from_file = from_torch(tmp_path / "half.safetensors", name)
    assert np.array_equal(from_file.parameters, from_torch(wide, name).parameters)
    with pytest.raises(UsageError, match=r"cannot be read as an array .* float32 and on the CPU"):
        from_torch(half, name)
    with pytest.raises(UsageError, match=r"requires grad.* tensors of a state_dict"):
        from_torch(dict(net.named_parameters()), name)


# -- to scikit-learn, what needs no package ----------------------------------------------------------------------------


def model_of(
    sizes: tuple[int, ...],
    activations: tuple[str, ...],
    cost: str = "squared_error",
    dtype: str = "float64",
    **parts: Any,
) -> Model:
    network = Network(sizes, activations, cost)
    theta = np.random.default_rng(4).normal(0.0, 1.0, network.n_parameters).astype(dtype)
    return Model(network, theta, **parts)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (model_of((2, 3, 1), ("leaky_relu", "identity")), "identity, sigmoid, tanh, relu; this model has leaky_relu"),
        (model_of((2, 3, 3, 1), ("relu", "tanh", "identity")), "one activation in all hidden .* has relu, tanh"),
        (model_of((2, 3, 1), ("step", "identity")), "this model has step"),
        (model_of((2, 3, 1), ("maxout", "identity")), "identity, sigmoid, tanh, relu; this model has maxout"),
        (model_of((2, 1), ("tanh",)), "MLPRegressor has the output activation identity, this model has tanh"),
        (model_of((2, 1), ("tanh",), class_names=("a", "b")), "one sigmoid output for two classes; .* has 1 tanh"),
        (model_of((2, 3), ("sigmoid",), class_names=("a", "b", "c")), "this model has 3 sigmoid; train it with"),
        (model_of((2, 1), ("softmax",), "cross_entropy", class_names=("a",)), "this model has 1 softmax"),
        (model_of((2, 1), ("sigmoid",), class_names=("a",)), "this model has 1 sigmoid"),
        (model_of((2, 2), ("softmax",), "cross_entropy", class_names=("a", "a")), "two classes .* have the same name"),
    ],
)
def test_what_sklearn_cannot_express(model, words, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UsageError, match=words):
        to_sklearn(model)


@pytest.mark.parametrize("call", [lambda: to_sklearn(model_of((2, 1), ("identity",))), lambda: from_sklearn(object())])
def test_without_sklearn_one_sentence_says_what_to_install(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(FastbpError, match=r"needs scikit-learn, .* pip install 'fastbp\[sklearn\]'$"):
        call()


# -- scikit-learn ------------------------------------------------------------------------------------------------------


@pytest.fixture
def neural_network():
    return pytest.importorskip("sklearn.neural_network")


def fitted(estimator: Any, x: np.ndarray, y: np.ndarray) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        return estimator.fit(x, y)


def forward(estimator: Any, x: np.ndarray, output: str) -> np.ndarray:
    """The formula of scikit-learn's documentation, from the fitted attributes."""
    names = {"logistic": "sigmoid"}
    a = x.astype(np.float64)
    for layer, (W, b) in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True)):
        name = output if layer == len(estimator.coefs_) - 1 else names.get(estimator.activation, estimator.activation)
        a = F[name](a @ W.astype(np.float64) + b)
    return a


LABELS = {
    "names": np.array(["cat", "dog", "ant"]),
    "numbers": np.array([7, -2, 30]),
    "two names": np.array(["yes", "no"]),
    "two numbers": np.array([0, 1]),
    "truth": np.array([True, False]),
    "one": np.array([5]),
}


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_classifier_comes_in(neural_network, activation, labels, dtype, rng):
    x = rng.normal(size=(60, 4)).astype(dtype)
    y = LABELS[labels][np.arange(60) % len(LABELS[labels])]
    estimator = fitted(neural_network.MLPClassifier((6, 5), activation=activation, max_iter=20, random_state=0), x, y)
    model = from_sklearn(estimator)
    assert model.parameters.dtype == dtype
    assert model.class_names == tuple(map(str, estimator.classes_))
    assert np.array_equal(estimator.classes_[model.predict(x)], estimator.predict(x))
    expected = forward(estimator, x, "softmax" if len(LABELS[labels]) > 2 else "sigmoid")
    np.testing.assert_allclose(model.outputs(x), expected, atol=1e-6 if dtype == "float32" else 1e-14)
    np.testing.assert_allclose(estimator.predict_proba(x)[:, -1], expected[:, -1], atol=1e-6)


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("hidden", [(), (5,), 3])
def test_a_regressor_comes_in(neural_network, n_outputs, hidden, rng):
    x, y = rng.normal(size=(50, 3)), rng.normal(size=(50, n_outputs)) * 10
    estimator = fitted(
        neural_network.MLPRegressor(hidden_layer_sizes=hidden, max_iter=30, random_state=0),
        x,
        y if n_outputs > 1 else y[:, 0],
    )
    model = from_sklearn(estimator)
    assert model.is_regression
    np.testing.assert_allclose(model.predict(x), estimator.predict(x).reshape(50, n_outputs), rtol=1e-12)


def test_a_scaler_comes_with_its_network(neural_network, rng):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, StandardScaler

    x = rng.normal([2000.0, 1e-3, -5.0, 0.0], [5.0, 1e-4, 1.0, 3.0], (80, 4))
    x[:, 2] = -5.0  # never changes
    y = np.where(x[:, 0] + x[:, 3] > 2000, "more", "less")
    for scaler in (
        StandardScaler(), StandardScaler(with_mean=False), StandardScaler(with_std=False), MinMaxScaler(),
        MinMaxScaler((-1, 2)), MaxAbsScaler(), "passthrough",
    ):  # fmt: skip
        pipeline = fitted(make_pipeline(scaler, neural_network.MLPClassifier((4,), max_iter=10, random_state=1)), x, y)
        model = from_sklearn(pipeline)
        np.testing.assert_allclose(model.outputs(x)[:, 0], pipeline.predict_proba(x)[:, 1], atol=1e-11)
        assert np.array_equal(pipeline.classes_[model.predict(x)], pipeline.predict(x))
    mlp = neural_network.MLPClassifier((4,), max_iter=10, random_state=1)
    for steps, words in (
        ((Normalizer(), mlp), "one StandardScaler, MinMaxScaler or MaxAbsScaler and one MLP, got Normalizer and MLPCl"),
        ((MinMaxScaler(clip=True), mlp), "clips, and a model's input scaling does not; use clip=False"),
        ((StandardScaler(), StandardScaler(), mlp), "leave the other steps outside"),
    ):
        with pytest.raises(UsageError, match=words):
            from_sklearn(fitted(make_pipeline(*steps), x, y))
    with pytest.raises(UsageError, match="StandardScaler is not fitted"):
        from_sklearn(make_pipeline(StandardScaler(), mlp))


def test_estimators_that_cannot_come_in(neural_network, rng):
    from sklearn.dummy import DummyClassifier

    x, y = rng.normal(size=(40, 3)), rng.integers(0, 2, (40, 2))
    with pytest.raises(UsageError, match=r"takes an MLPClassifier, an MLPRegressor, or a Pipeline .* got Dummy"):
        from_sklearn(DummyClassifier().fit(x, y[:, 0]))
    with pytest.raises(UsageError, match="this MLPRegressor is not fitted"):
        from_sklearn(neural_network.MLPRegressor())
    with pytest.raises(UsageError, match=r"is multi-label, .*; fit one for each label"):
        from_sklearn(fitted(neural_network.MLPClassifier((3,), max_iter=2), x, y))
    if "loss" in neural_network.MLPRegressor().get_params():  # from scikit-learn 1.7 on
        with pytest.raises(UsageError, match=r"output activation exp, of loss 'poisson', .*squared_error"):
            from_sklearn(fitted(neural_network.MLPRegressor(loss="poisson", max_iter=2), x, y[:, 0]))


INPUTS = {
    "as they are": Scaling(0.0, 1.0),
    "pixels": Scaling(0.0, 1 / 255),
    "per feature": Scaling(np.array([100.0, -3.0, 0.5, 128.0]), np.array([0.01, -0.005, 0.02, 0.004])),
}
# (outputs, output activation, class names), and what estimator.classes_ must be
CLASSES = {
    "three numbers": (3, "softmax", ("0", "1", "2"), [0, 1, 2]),
    "unsorted names": (4, "softmax", ("dog", "cat", "ox", "ant"), ["ant", "cat", "dog", "ox"]),
    "numbers out of order": (3, "softmax", ("10", "9", "1"), ["1", "10", "9"]),
    "two": (2, "softmax", ("0", "1"), [0, 1]),
    "two unsorted": (2, "softmax", ("yes", "no"), ["no", "yes"]),
    "sigmoid": (1, "sigmoid", ("no", "yes"), ["no", "yes"]),
    "sigmoid unsorted": (1, "sigmoid", ("yes", "no"), ["no", "yes"]),
}


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("hidden", [(), ("sigmoid",), ("tanh", "tanh"), ("relu",), ("identity",)])
def test_a_classifier_goes_out(neural_network, hidden, classes, inputs, rng):
    n_outputs, output, names, sorted_names = CLASSES[classes]
    sizes = (4, *(5 + k for k in range(len(hidden))), n_outputs)
    cost = "cross_entropy" if output == "softmax" else "binary_cross_entropy"
    model = model_of(sizes, (*hidden, output), cost, inputs=INPUTS[inputs], class_names=names)
    x = rng.integers(0, 256, (200, 4)) / (50 if inputs == "as they are" else 1)
    estimator = to_sklearn(model)
    assert isinstance(estimator, neural_network.MLPClassifier)
    assert estimator.classes_.tolist() == sorted_names
    said = [str(name) for name in estimator.predict(x)]
    assert said == [names[k] for k in model.predict(x)]
    outputs = model.outputs(x)
    shares = np.hstack([1 - outputs, outputs]) if n_outputs == 1 else outputs
    order = [names.index(str(name)) for name in sorted_names]
    np.testing.assert_allclose(estimator.predict_proba(x), shares[:, order], atol=1e-12)
    assert estimator.score(x, estimator.classes_[np.argsort(order)][model.predict(x)]) == 1.0
    again = from_sklearn(estimator)
    assert np.array_equal(np.array(again.class_names)[again.predict(x)], said)


@pytest.mark.parametrize(
    ("n_outputs", "targets"),
    [
        (1, None),
        (2, None),
        (1, Scaling(1e3, 0.2)),
        (2, Scaling(1e3, 0.2)),
        (2, Scaling(np.array([5.0, -1e4]), np.array([2.0, 1e-3]))),
    ],
)
@pytest.mark.parametrize("inputs", INPUTS)
def test_a_regressor_goes_out(neural_network, inputs, n_outputs, targets, rng):
    model = model_of((4, 6, n_outputs), ("tanh", "identity"), inputs=INPUTS[inputs], targets=targets)
    x = rng.integers(0, 256, (100, 4)) / (50 if inputs == "as they are" else 1)
    estimator = to_sklearn(model)
    found = estimator.predict(x)
    assert found.shape == ((100,) if n_outputs == 1 else (100, 2))
    np.testing.assert_allclose(found.reshape(100, n_outputs), model.predict(x), rtol=1e-10)
    np.testing.assert_allclose(from_sklearn(estimator).predict(x), model.predict(x), rtol=1e-10)


def test_there_and_back_are_the_same_weights(neural_network):
    model = model_of((4, 6, 3), ("tanh", "softmax"), "cross_entropy", class_names=("0", "1", "2"))
    assert np.array_equal(from_sklearn(to_sklearn(model)).parameters, model.parameters)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("kind", ["classes", "two classes", "values"])
def test_training_goes_on_as_in_sklearn(neural_network, kind, solver, rng):
    """An estimator of scikit-learn's own, given the same weights, makes the same steps and has the same attributes."""
    x = rng.normal(size=(60, 4))
    if kind == "values":
        y, estimator = rng.normal(size=60), to_sklearn(model_of((4, 5, 1), ("relu", "identity")))
        own, more = neural_network.MLPRegressor(hidden_layer_sizes=(5,)), {}
    else:
        names = ("a", "b", "c")[: 2 if kind == "two classes" else 3]
        y = np.array(names)[np.arange(60) % len(names)]
        estimator = to_sklearn(model_of((4, 5, len(names)), ("relu", "softmax"), "cross_entropy", class_names=names))
        own, more = neural_network.MLPClassifier(hidden_layer_sizes=(5,)), {"classes": names}
    settings = {"solver": solver, "random_state": 0, "learning_rate_init": 0.01}
    own.set_params(**settings).partial_fit(x, y, **more)
    assert set(vars(own)) - set(vars(estimator)) <= {
        "loss_",
        "_optimizer",
        "_random_state",
        "_best_coefs",
        "_best_intercepts",
    }
    own.coefs_, own.intercepts_ = [W.copy() for W in estimator.coefs_], [b.copy() for b in estimator.intercepts_]
    own.t_, own.loss_curve_, own.best_loss_ = 0, [], np.inf
    del own._optimizer
    estimator.set_params(**settings)
    for _ in range(30):
        own.partial_fit(x, y)
        estimator.partial_fit(x, y)
    assert all(np.array_equal(a, b) for a, b in zip(own.coefs_, estimator.coefs_, strict=True))
    assert own.loss_curve_ == estimator.loss_curve_
    assert estimator.loss_curve_[-1] < estimator.loss_curve_[0]
    assert estimator.t_ == 30 * 60
    with pytest.raises(ValueError, match="features"):
        estimator.predict(x[:, :3])


def test_an_estimator_can_be_copied_and_kept(neural_network, rng):
    from sklearn.base import clone

    estimator = to_sklearn(model_of((4, 6, 3), ("tanh", "softmax"), "cross_entropy", class_names=("0", "1", "2")))
    x = rng.normal(size=(9, 4))
    assert np.array_equal(pickle.loads(pickle.dumps(estimator)).predict_proba(x), estimator.predict_proba(x))
    fresh = fitted(clone(estimator).set_params(max_iter=2), x, np.arange(9) % 2)
    assert [W.shape for W in fresh.coefs_] == [(4, 6), (6, 1)]
    assert fitted(estimator.set_params(max_iter=2, warm_start=True), x, np.arange(9) % 3).n_iter_ == 2


def test_ten_thousand_images_in_sklearn(neural_network):
    digits = fastbp.load_dataset("digits")
    model = fastbp.train((digits.x_train[:6000], digits.y_train[:6000]), epochs=3).model
    precise = dataclasses.replace(model, parameters=model.parameters.astype(np.float64))
    estimator = to_sklearn(model)
    found = estimator.predict_proba(digits.x_test)
    assert np.abs(found - precise.outputs(digits.x_test)).max() <= 1e-12
    assert np.abs(found - model.outputs(digits.x_test)).max() <= 1e-5
    assert np.array_equal(estimator.predict(digits.x_test), precise.predict(digits.x_test))
