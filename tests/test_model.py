"""A trained network's answers, against numbers by hand; the file it is kept in has tests of its own."""

import dataclasses
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from fastbp.errors import UsageError
from fastbp.model import Model, load
from fastbp.network import Network
from fastbp.preprocessing import Scaling, fit_inputs, fit_targets


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def worked_example(**settings):
    """2-2-2, sigmoid everywhere, from a well-known tutorial on backpropagation; weights 0.15 ... 0.55"""
    network = Network((2, 2, 2), ("sigmoid", "sigmoid"), "squared_error")
    theta = np.array([0.15, 0.25, 0.20, 0.30, 0.35, 0.35, 0.40, 0.50, 0.45, 0.55, 0.60, 0.60])
    return Model(network, theta, **settings)


def random_model(sizes, activations, cost="squared_error", dtype="float32", seed=0, **settings):
    network = Network(sizes, activations, cost)
    theta = network.initial_parameters(seed, dtype=dtype)
    theta += np.random.default_rng(seed).normal(0, 0.3, theta.shape)
    return Model(network, theta, **settings)


SOFTMAX = {"sizes": (4, 3), "activations": ("softmax",), "cost": "cross_entropy"}


def classes(n):
    return tuple(f"class {k}" for k in range(n))


# -- answers -------------------------------------------------------------------------------------------------------


def test_the_worked_example():
    model = worked_example()
    np.testing.assert_allclose(model.outputs([[0.05, 0.10]]), [[0.7513650696, 0.7729284653]], atol=1e-9, rtol=0)
    loss, accuracy = model.evaluate([[0.05, 0.10]], [[0.01, 0.99]])
    assert abs(loss - 0.2983711088) < 1e-9
    assert accuracy is None


def test_softmax_gives_probabilities_and_the_largest_is_the_class():
    network = Network((1, 3), ("softmax",), "cross_entropy")
    model = Model(network, np.array([1.0, 2.0, 3.0, 0.0, 0.0, 0.0]), class_names=classes(3))
    exps = [math.exp(k) for k in (1, 2, 3)]
    np.testing.assert_allclose(model.outputs([[1.0]]), [[e / sum(exps) for e in exps]], rtol=1e-14)
    predicted = model.predict([[1.0], [-1.0]])
    assert predicted.tolist() == [2, 0]
    assert predicted.dtype == np.int64


@pytest.mark.parametrize(
    ("activation", "inputs", "expected"),
    [
        ("sigmoid", [-1.0, 0.0, 1e-3, 5.0], [0, 0, 1, 1]),
        ("tanh", [-1.0, 0.0, 1e-3, 5.0], [0, 0, 1, 1]),
        ("identity", [-1.0, 0.5, 0.501, 5.0], [0, 0, 1, 1]),
        ("relu", [-1.0, 0.5, 0.501, 5.0], [0, 0, 1, 1]),
        ("leaky_relu", [-100.0, 0.5, 0.501, 5.0], [0, 0, 1, 1]),
        ("step", [-1.0, 0.0, 1e-3, 5.0], [0, 0, 1, 1]),
    ],
)
def test_one_output_tells_two_classes_apart_at_the_middle(activation, inputs, expected):
    model = Model(Network((1, 1), (activation,), "squared_error"), np.array([1.0, 0.0]), class_names=("no", "yes"))
    assert model.predict(np.array(inputs)[:, None]).tolist() == expected


@pytest.mark.parametrize(
    ("bias", "fires"),
    [(-5.0, {4, 5, 6, 7}), (-3.0, {3, 4, 5, 6, 7})],
)
def test_a_perceptron_with_weights_6_2_2(bias, fires):
    """Threshold 5 fires when the first input is 1; threshold 3 also when both others are (Nielsen 2015, chapter 1)."""
    model = Model(
        Network((3, 1), ("step",), "squared_error"), np.array([6.0, 2.0, 2.0, bias]), class_names=("off", "on")
    )
    inputs = [[n >> 2 & 1, n >> 1 & 1, n & 1] for n in range(8)]
    assert set(np.flatnonzero(model.predict(inputs))) == fires


def test_values_come_back_in_their_own_units():
    model = Model(
        Network((2, 1), ("identity",), "squared_error"),
        np.array([1.0, 2.0, 0.5]),
        inputs=Scaling([10.0, 0.0], [0.5, 1.0]),
        targets=Scaling([100.0], [0.25]),
    )
    # x_network = (1, 3), z = 1 + 6 + 0.5 = 7.5, value = 7.5 / 0.25 + 100
    assert model.predict([[12.0, 3.0]]).tolist() == [[130.0]]
    assert model.outputs([[12.0, 3.0]]).tolist() == [[130.0]]
    # the cost is that of the scaled values: 1/2 (7.5 - 5)^2
    assert model.evaluate([[12.0, 3.0]], [120.0]) == (3.125, None)


def test_values_are_float64_even_from_float32_weights():
    model = random_model((2, 3), ("identity",))
    assert model.predict([[1.0, 2.0]]).dtype == np.float64
    assert model.outputs([[1.0, 2.0]]).dtype == np.float32


def test_bytes_and_floats_are_in_the_same_units():
    model = random_model((4, 3), ("softmax",), "cross_entropy", inputs=Scaling(0.0, 1 / 255), class_names=classes(3))
    pixels = np.array([[0, 17, 128, 255]], dtype=np.uint8)
    expected = model.outputs(pixels)
    for dtype in ("int64", "uint16", "float16", "float32", "float64", ">f8"):
        assert np.array_equal(model.outputs(pixels.astype(dtype)), expected)
    assert np.array_equal(model.outputs(pixels.tolist()), expected)
    assert not np.array_equal(model.outputs(pixels / 255.0), expected)


def test_pictures_may_have_two_axes():
    model = random_model((6, 2), ("sigmoid",), image_shape=(2, 3))
    pictures = np.arange(24.0).reshape(4, 2, 3)
    assert np.array_equal(model.outputs(pictures), model.outputs(pictures.reshape(4, 6)))
    free = random_model((6, 2), ("sigmoid",))
    assert np.array_equal(free.outputs(pictures.reshape(4, 3, 2)), model.outputs(pictures))


def test_no_samples_give_no_answers():
    assert random_model((3, 2), ("sigmoid",)).outputs(np.zeros((0, 3))).shape == (0, 2)
    model = random_model((3, 2), ("softmax",), "cross_entropy", class_names=classes(2))
    assert model.predict(np.zeros((0, 3))).shape == (0,)


# -- cost and accuracy ---------------------------------------------------------------------------------------------


def test_cross_entropy_and_accuracy_by_hand():
    network = Network((1, 2), ("softmax",), "cross_entropy")
    model = Model(network, np.array([1.0, -1.0, 0.0, 0.0]), class_names=classes(2))
    # x = 1: p = (e, 1/e) / (e + 1/e); x = -1: the other way round
    p = math.e / (math.e + 1 / math.e)
    loss, accuracy = model.evaluate([[1.0], [1.0], [-1.0]], [0, 1, 1])
    assert abs(loss - (-2 * math.log(p) - math.log(1 - p)) / 3) < 1e-14
    assert accuracy == 2 / 3


def test_binary_cross_entropy_by_hand():
    network = Network((1, 1), ("sigmoid",), "binary_cross_entropy")
    model = Model(network, np.array([2.0, 0.0]), class_names=("no", "yes"))
    p = 1 / (1 + math.exp(-2))
    loss, accuracy = model.evaluate([[1.0], [1.0]], [1, 0])
    assert abs(loss - (-math.log(p) - math.log(1 - p)) / 2) < 1e-14
    assert accuracy == 0.5


@pytest.mark.parametrize(("cost", "factor"), [("squared_error", 0.5), ("mean_squared_error", 1.0)])
def test_squared_costs_of_tanh_classes_use_plus_and_minus_one(cost, factor):
    model = Model(Network((1, 2), ("tanh",), cost), np.zeros(4), class_names=classes(2))
    assert model.evaluate([[3.0]], [1]) == (factor * 2.0, 0.0)  # outputs 0, 0; targets -1, 1; the first of equals


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("output", "cost", "n_outputs"), [("softmax", "cross_entropy", 2), ("sigmoid", "binary_cross_entropy", 1)]
)
def test_saturated_outputs_cost_what_they_should(dtype, output, cost, n_outputs):
    network = Network((1, n_outputs), (output,), cost)
    theta = np.array([-500.0, 500.0, 0, 0] if n_outputs == 2 else [1000.0, 0.0], dtype=dtype)
    model = Model(network, theta, class_names=classes(2))
    assert model.evaluate([[10.0]], [1]) == (0.0, 1.0)
    assert model.evaluate([[10.0]], [0]) == (10_000.0, 0.0)


def test_the_cost_of_float32_outputs_is_summed_in_float64():
    """ln 3 to 16 digits, not to the 8 of float32"""
    model = Model(Network(**SOFTMAX), np.zeros(15, dtype=np.float32), class_names=classes(3))
    loss, _ = model.evaluate(np.zeros((999, 4)), np.zeros(999, dtype=int))
    assert abs(loss - math.log(3)) < 1e-13


def test_many_samples_are_averaged_over_all_blocks(rng):
    model = random_model((5, 4, 3), ("tanh", "softmax"), "cross_entropy", "float64", class_names=classes(3))
    x, labels = rng.normal(size=(1000, 5)), rng.integers(0, 3, 1000)
    p = model.outputs(x)
    loss, accuracy = model.evaluate(x, labels)
    np.testing.assert_allclose(loss, np.mean([-math.log(p[i, k]) for i, k in enumerate(labels)]), rtol=1e-12)
    assert accuracy == np.mean(model.predict(x) == labels)


# -- to the last bit, however the samples are grouped --------------------------------------------------------------

SHAPES = [
    ((784, 16, 16, 10), ("sigmoid", "sigmoid", "softmax"), "cross_entropy", "float32"),
    ((784, 16, 16, 10), ("relu", "leaky_relu", "softmax"), "cross_entropy", "float64"),
    ((100, 300, 10), ("tanh", "softmax"), "cross_entropy", "float64"),
    ((33, 17, 8, 3), ("tanh", "relu", "identity"), "squared_error", "float32"),
    ((31, 1), ("sigmoid",), "binary_cross_entropy", "float32"),
]


@pytest.mark.parametrize(("sizes", "activations", "cost", "dtype"), SHAPES)
def test_an_answer_does_not_depend_on_its_neighbours(rng, sizes, activations, cost, dtype):
    model = random_model(sizes, activations, cost, dtype)
    x = rng.normal(size=(600, sizes[0]))
    whole = model.outputs(x)
    for size in (1, 2, 7, 64, 255, 256, 257):
        starts = range(0, len(x), size) if size > 1 else range(0, len(x), 41)
        for start in starts:
            assert np.array_equal(model.outputs(x[start : start + size]), whole[start : start + size])
    order = rng.permutation(len(x))
    assert np.array_equal(model.outputs(x[order]), whole[order])


@pytest.mark.parametrize("core", ["Haswell", "Sandybridge"])
def test_nor_does_it_on_older_processors(core):
    """OpenBLAS chooses its kernels by processor; these two are where a plain matrix product depends on the position."""
    code = """if True:
        import numpy as np
        from fastbp.model import Model
        from fastbp.network import Network
        rng = np.random.default_rng(0)
        for dtype in ("float32", "float64"):
            for width in (1, 10, 33):
                network = Network((100, width, 3), ("sigmoid", "softmax"), "cross_entropy")
                model = Model(network, rng.normal(size=network.n_parameters).astype(dtype))
                x = rng.normal(size=(256, 100))
                whole = model.outputs(x)
                for size in (1, 7, 64):
                    parts = [model.outputs(x[start:start + size]) for start in range(0, 256, size)]
                    assert np.array_equal(np.concatenate(parts), whole), (dtype, width, size)
    """
    path = os.pathsep.join(map(str, sys.path))
    env = {**os.environ, "OPENBLAS_CORETYPE": core, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 5)), "x must have shape (n, 6) or (n, 2, 3), got (2, 5)"),
        (np.zeros((4, 3, 2)), "x must have shape (n, 6) or (n, 2, 3), got (4, 3, 2)"),
        (np.zeros((1, 2, 3, 1)), "x must have shape (n, 6) or (n, 2, 3), got (1, 2, 3, 1)"),
        (3.0, "x must have shape (n, 6) or (n, 2, 3), got ()"),
        (
            np.zeros(6),
            "x must have shape (n, 6) or (n, 2, 3), got (6,); a single sample needs a leading axis of 1: x[None]",
        ),
        (
            np.zeros((2, 3)),
            "x must have shape (n, 6) or (n, 2, 3), got (2, 3); a single sample needs a leading axis of 1: x[None]",
        ),
        ([["a"] * 6], "x must hold numbers, got dtype <U1"),
        ([[1j] * 6], "x must hold numbers, got dtype complex128"),
        ([[None] * 6], "x must hold numbers, got dtype object"),
        ([[1, 2], [3]], "x must be one array of numbers, got rows of different lengths"),
        ([[0, 0, 0, math.nan, 0, 0]], "x holds nan in row 0, column 3; every value must be finite"),
        ([[0] * 6, [math.inf] * 6], "x holds inf in row 1, column 0; every value must be finite"),
        (
            [[1e300] * 6],
            "row 0, column 0 holds 1e+300, which is not a finite float32 once scaled; "
            "remove the value, or rescale the column",
        ),
        (
            [[3e38] * 6],
            "row 0 of x overflows float32 in layer 2; its values lie far outside those that the network was trained on",
        ),
    ],
)
def test_samples_that_do_not_fit_are_refused(x, message):
    theta = np.ones(Network((6, 2), ("sigmoid",), "squared_error").n_parameters, dtype=np.float32)
    model = Model(Network((6, 2), ("sigmoid",), "squared_error"), theta, image_shape=(2, 3))
    with pytest.raises(UsageError) as caught:
        model.outputs(x)
    assert str(caught.value) == message
    for answer in (model.predict, lambda x: model.evaluate(x, np.zeros((2, 2)))):
        with pytest.raises(UsageError):
            answer(x)


@pytest.mark.parametrize("value", [math.nan, 1e300])
def test_the_row_is_counted_over_all_blocks(value):
    x = np.zeros((1000, 2))
    x[777, 1] = value
    with pytest.raises(UsageError, match="row 777, column 1"):
        random_model((2, 1), ("sigmoid",)).outputs(x)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([0], r"x has 2 samples and y has shape \(1,\); they must be equally many"),
        (0, r"x has 2 samples and y has shape \(\)"),
        ([0, 2], "labels hold the class 2; classes run from 0 to 1"),
        ([0, -1], "labels hold the class -1"),
        ([0.0, 1.0], "labels must be a vector of class numbers"),
    ],
)
def test_labels_that_do_not_fit_are_refused(y, words):
    model = random_model((2, 2), ("softmax",), "cross_entropy", class_names=classes(2))
    with pytest.raises(UsageError, match=words):
        model.evaluate([[1, 2], [3, 4]], y)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([[1.0], [2.0]], r"y must hold numbers of shape \(n, 2\), got dtype float64 and shape \(2, 1\)"),
        ([["a", "b"], ["c", "d"]], "y must hold numbers"),
        ([[1.0, math.nan], [2.0, 3.0]], "row 0, column 1 holds nan"),
    ],
)
def test_values_that_do_not_fit_are_refused(y, words):
    with pytest.raises(UsageError, match=words):
        random_model((2, 2), ("identity",)).evaluate([[1, 2], [3, 4]], y)


def test_nothing_to_evaluate_is_refused():
    with pytest.raises(UsageError, match="no samples to evaluate; at least 1 is needed"):
        random_model((2, 2), ("identity",)).evaluate(np.zeros((0, 2)), np.zeros((0, 2)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"inputs": Scaling([0, 0], [1, 1])}, "the input scaling is for 2 features, the network has 4 inputs"),
        ({"targets": Scaling([0, 0], [1, 1])}, "the target scaling is for 2 values, the network has 3 outputs"),
        ({"class_names": classes(2)}, "2 class names do not fit 3 outputs; one name per output is needed"),
        ({"class_names": ("a", "b", "c\x1b[31m")}, r"the name of class 2, 'c\\x1b\[31m', holds a control character"),
        ({"class_names": ("a", "b", "c" * 1001)}, "the name of class 2 has 1001 characters, at most 1000"),
        ({"class_names": ("a", "b", 3)}, "the name of class 2 must be a text, got int"),
        ({"class_names": classes(3), "targets": Scaling(0, 1)}, "a target scaling is for target values"),
        ({"image_shape": (3, 2)}, "image_shape 3 x 2 does not make the network's 4 inputs"),
        ({"image_shape": (4,)}, r"image_shape must be two whole numbers from 1, got \(4,\)"),
        ({"image_shape": (-2, -2)}, "image_shape must be two whole numbers"),
        ({"image_shape": (2.0, 2.0)}, "image_shape must be two whole numbers"),
        ({"config": {"rate": math.nan}}, "config must be plain JSON"),
        ({"config": {"rate": np.float32(1)}}, "config must be plain JSON"),
        ({"config": {"text": "\ud800"}}, "config must be plain JSON"),
        ({"config": {"text": "x" * 10_000_001}}, "take .* bytes, a model file holds at most 10000000"),
        ({"data_sha256": "abc"}, "data_sha256 must be 64 hexadecimal digits, got abc"),
        ({"fastbp_version": "1\n2"}, r"fastbp_version must be a version such as 0\.1\.0"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(settings, words):
    with pytest.raises(UsageError, match=words):
        random_model(**SOFTMAX, **settings)


@pytest.mark.parametrize(
    ("theta", "words"),
    [
        (np.zeros(14), r"4-3 has 15 parameters, got an array of shape \(14,\)"),
        (np.zeros((5, 3)), r"got an array of shape \(5, 3\)"),
        (np.zeros(15, dtype=np.int64), "parameters must be float32 or float64, got int64"),
        (np.zeros(15, dtype=np.float16), "got float16"),
        (np.array([0.0] * 7 + [np.nan] + [0.0] * 7), "parameter 7 is nan; every weight and bias must be finite"),
        (np.array([0.0] * 14 + [np.inf]), "parameter 14 is inf"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(theta, words):
    with pytest.raises(UsageError, match=words):
        Model(Network(**SOFTMAX), theta)


def test_one_softmax_output_cannot_tell_two_classes_apart():
    with pytest.raises(UsageError, match="2 class names do not fit 1 outputs"):
        random_model((2, 1), ("softmax",), "cross_entropy", class_names=("a", "b"))


# -- what a model keeps --------------------------------------------------------------------------------------------


def test_parameters_are_a_read_only_copy():
    theta = np.zeros(15)
    model = Model(Network(**SOFTMAX), theta)
    theta[0] = 9.0
    assert model.parameters[0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        model.parameters[0] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.parameters = theta


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("mnist", "mnist"),
        ("/home/someone/data/mnist/", "mnist"),
        ("C:\\Users\\someone\\iris.csv", "iris.csv"),
        ("/", ""),
        ("a\nb\x1b", "a?b?"),
        ("x" * 5000, "x" * 200),
    ],
)
def test_of_a_path_only_the_last_part_is_kept(given, kept):
    assert random_model(**SOFTMAX, data_name=given).data_name == kept


def test_a_model_says_what_it_is():
    model = random_model(
        **SOFTMAX,
        inputs=Scaling(0.0, 0.5),
        class_names=("a", "b", "c"),
        image_shape=(2, 2),
        config={"epochs": 3},
        data_name="mnist",
        data_sha256="0" * 64,
        fastbp_version="9.9",
    )
    assert model.describe() == {
        "format": 1,
        "fastbp": "9.9",
        "network": {"sizes": [4, 3], "activations": ["softmax"], "cost": "cross_entropy"},
        "dtype": "float32",
        "inputs": {"shift": 0.0, "scale": 0.5},
        "targets": None,
        "class_names": ["a", "b", "c"],
        "image_shape": [2, 2],
        "config": {"epochs": 3},
        "data": {"name": "mnist", "sha256": "0" * 64},
    }


def test_predicting_compiles_nothing_and_files_are_equal_in_every_process(tmp_path, rng):
    """A second process, with other hash seeds: no numba, the same bytes, the same answers."""
    x = rng.normal(size=(5, 4))
    model = random_model(**SOFTMAX, inputs=fit_inputs(x), class_names=("a", "b", "\u6c49"), config={"b": 1, "a": [2.5]})
    model.save(tmp_path / "model.safetensors")
    np.save(tmp_path / "x.npy", x)
    code = """if True:
        import sys
        import numpy as np
        from fastbp.model import load
        model = load("model.safetensors")
        print(model.outputs(np.load("x.npy")).tobytes().hex())
        print(model.to_bytes() == open("model.safetensors", "rb").read())
        print(sorted({"numba", "click", "rich"} & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": os.pathsep.join(map(str, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [model.outputs(x).tobytes().hex(), "True", "[]"]


def test_a_saved_regression_predicts_the_same_bits(tmp_path, rng):
    x, y = rng.normal(5.0, 2.0, (40, 3)), rng.normal(1e4, 1e3, (40, 2))
    model = random_model(
        (3, 5, 2), ("tanh", "sigmoid"), "squared_error", inputs=fit_inputs(x), targets=fit_targets(y, "sigmoid")
    )
    model.save(tmp_path / "values.safetensors")
    again = load(tmp_path / "values.safetensors")
    assert again.predict(x).tobytes() == model.predict(x).tobytes()
    assert again.evaluate(x, y) == model.evaluate(x, y)
    assert again.is_regression
