"""Pictures of runs: what stands on the axes is what the run's files say, computed here once more."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("matplotlib")

import matplotlib
from matplotlib.colors import to_rgb
from PIL import Image

import fastbp
from fastbp.__main__ import _explain
from fastbp.cli import cli
from fastbp.config import Config
from fastbp.errors import FastbpError, UsageError
from fastbp.model import Model
from fastbp.network import Network
from fastbp.plotting import draw, file_bytes
from fastbp.plotting.answers import draw_confusion
from fastbp.plotting.curves import spread
from fastbp.plotting.style import DARK, LIGHT, STYLES, Panel, short
from fastbp.plotting.weights import grid_for
from fastbp.preprocessing import Scaling
from fastbp.runs.comparing import read_runs
from fastbp.runs.folder import RunFolder
from fastbp.runs.mistakes import Answers
from fastbp.settings_file import settings_text

SIDE = 5  # pixels of a picture


def epochs(n: int, **given: list[Any]) -> list[dict[str, Any]]:
    """Records of n epochs: costs that fall, accuracies that rise; `given` are other values of a field."""
    records = []
    for k in range(n):
        record: dict[str, Any] = {
            "epoch": k + 1, "loss": 1 / (k + 1), "train_accuracy": 0.9 - 0.4 / (k + 1),
            "test_accuracy": 0.85 - 0.4 / (k + 1), "learning_rate": 0.5, "seconds": 0.25, "samples_per_second": 100.0,
            "validation_loss": None, "validation_accuracy": None,
        }  # fmt: skip
        records.append(record | {name: values[k] for name, values in given.items()})
    return records


def make_run(
    folder: Path,
    history: list[dict[str, Any]],
    model: Model | None = None,
    stopped: str | None = "epochs",
    **settings: Any,
) -> Path:
    """A run folder as `fastbp train --out` writes it; without summary.json where `stopped` is None."""
    run = RunFolder(folder)
    folder.mkdir(parents=True)
    run.config_file.write_text(settings_text({"data": "digits", **Config().as_dict(), **settings}))
    run.metrics_file.write_text("".join(json.dumps(record) + "\n" for record in history))
    if model is not None:
        model.save(run.model_file)
    if stopped is not None:
        last = history[-1] if history else {}
        names = ("loss", "train_accuracy", "test_accuracy", "validation_loss", "validation_accuracy")
        found = {name: last.get(name) for name in names}
        found |= {"epochs": len(history), "train_seconds": 0.5, "stopped": stopped, "test_loss": 0.3}
        run.summary_file.write_text(json.dumps(found))
    return folder


def pictures(folder: Path, classes: int = 4, seed: int = 0) -> tuple[Path, np.ndarray, np.ndarray]:
    """An .npz of little pictures, and its test samples."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 256, (90, SIDE, SIDE), dtype=np.uint8), rng.integers(0, classes, 90)
    y[:classes] = range(classes)
    np.savez(folder / "pictures.npz", x_train=x[:30], y_train=y[:30], x_test=x[30:], y_test=y[30:])
    return folder / "pictures.npz", x[30:].reshape(60, -1), y[30:]


def classifier(n_inputs: int, hidden: int, classes: int, **parts: Any) -> Model:
    sizes = (n_inputs, hidden, classes) if hidden else (n_inputs, classes)
    network = Network(sizes, ("sigmoid", "softmax") if hidden else ("softmax",), "cross_entropy")
    theta = np.random.default_rng(1).normal(0, 1, network.n_parameters).astype(np.float32)
    names = tuple(map(str, range(classes)))
    return Model(network, theta, **{"inputs": Scaling(0.0, 1 / 255), "class_names": names, **parts})


def table(folder: Path, rows: int = 60, targets: int = 1) -> Path:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(rows, 3))
    if targets == 0:
        lines = ["width,height,depth,kind"] + [f"{a},{b},{c},{'ab'[int(a > b)]}" for a, b, c in x]
    else:
        lines = ["width,height,depth,price"] + [f"{a},{b},{c},{100 + 3 * a - b}" for a, b, c in x]
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder / "table.csv"


def lines_of(figure: Any) -> dict[str, tuple[list[float], list[float]]]:
    """All named lines of a figure; the best epoch's ring too."""
    found = {}
    for axes in figure.axes:
        for line in axes.lines:
            if not line.get_label().startswith("_"):
                found[line.get_label()] = (list(line.get_xdata()), list(line.get_ydata()))
    return found


def texts_of(figure: Any) -> list[str]:
    """Everything that is written in a figure."""
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


@pytest.fixture
def image_run(tmp_path: Path) -> Path:
    data, _, _ = pictures(tmp_path)
    model = classifier(SIDE * SIDE, 3, 4, image_shape=(SIDE, SIDE))
    history = epochs(
        4, validation_loss=[0.9, 0.4, 0.6, 0.5], validation_accuracy=[0.5, 0.6, 0.7, 0.7],
        learning_rate=[0.4, 0.3, 0.2, 0.1],
    )  # fmt: skip
    return make_run(tmp_path / "run", history, model, data=str(data), seed=3)


# --- one run ----------------------------------------------------------------------------------------------------------


def test_the_curves_are_the_history(image_run):
    lines = lines_of(fastbp.plot_run(image_run))
    assert lines["loss"] == ([1, 2, 3, 4], [1, 1 / 2, 1 / 3, 1 / 4])
    assert lines["validation_loss"] == ([1, 2, 3, 4], [0.9, 0.4, 0.6, 0.5])
    assert lines["validation_accuracy"][1] == [0.5, 0.6, 0.7, 0.7]
    assert lines["train_accuracy"][1] == [0.5, 0.7, 0.9 - 0.4 / 3, 0.8]
    assert lines["test_accuracy"][1] == pytest.approx([0.45, 0.65, 0.85 - 0.4 / 3, 0.75])
    assert lines["learning_rate"] == ([1, 2, 3, 4], [0.4, 0.3, 0.2, 0.1])


def test_the_best_epoch_is_that_of_the_lowest_validation_cost(image_run):
    figure = fastbp.plot_run(image_run)
    rings = [line for line in figure.axes[0].lines if line.get_label() == "best" and line.get_marker() == "o"]
    assert [(list(ring.get_xdata()), list(ring.get_ydata())) for ring in rings] == [([2], [0.4])]
    assert "best epoch 2" in texts_of(figure)


def test_the_lines_are_named_where_they_end(image_run):
    texts = texts_of(fastbp.plot_run(image_run))
    for words in ("training 0.25", "validation 0.5", "training 80.00 %", "validation 70.00 %", "test 75.00 %"):
        assert words in texts


def test_names_stand_at_the_height_of_their_line(image_run):
    figure = fastbp.plot_run(image_run)
    low, high = figure.axes[0].get_ylim()
    places = {text.get_text(): text.xy[1] for text in figure.axes[0].texts}
    assert places["training 0.25"] == pytest.approx((0.25 - low) / (high - low))
    assert places["validation 0.5"] == pytest.approx((0.5 - low) / (high - low))


def confusion_by_hand(model: Model, x: np.ndarray, y: np.ndarray) -> dict[tuple[int, int], int]:
    (W1, b1), (W2, b2) = model.network.layers_of(model.parameters)
    z = 1 / (1 + np.exp(-(x / 255 @ W1 + b1))) @ W2 + b2
    counts: dict[tuple[int, int], int] = {}
    for true, row in zip(y, z, strict=True):
        pair = (int(true), int(np.argmax(row)))
        counts[pair] = counts.get(pair, 0) + 1
    return counts


def test_the_cells_of_the_confusion_matrix(image_run, tmp_path):
    _, x, y = pictures(tmp_path)
    expected = confusion_by_hand(fastbp.load(image_run / "model.safetensors"), x, y)
    assert any((column, row) not in expected for row, column in expected), "transposing it must make a difference"
    figure = fastbp.plot_run(image_run)
    cells = {text.get_gid(): text for text in figure.findobj(matplotlib.text.Text) if text.get_gid()}
    shown = {tuple(map(int, name.split("-")[1:])): int(text.get_text()) for name, text in cells.items()}
    assert shown == expected
    for name, text in cells.items():  # row and column stand where they say
        row, column = map(int, name.split("-")[1:])
        assert text.get_position() == (column, row)
    colours = cells["cell-0-0"].axes.images[0].get_array()
    saturation = np.ptp(colours, axis=2)
    assert max(saturation[k, k] for k in range(4)) < 0.1 < saturation.max(), "the diagonal is grey"
    wrong = {
        pair: count / sum(n for (row, _), n in expected.items() if row == pair[0]) for pair, count in expected.items()
    }
    worst = max((pair for pair in wrong if pair[0] != pair[1]), key=lambda pair: wrong[pair])
    assert np.allclose(colours[worst], to_rgb(LIGHT.plus))


def test_the_diagonal_does_not_drown_the_mistakes():
    """Of 200 samples 3 are wrong: the class that fares worst has the full colour, by its share."""
    y = np.array([0] * 50 + [1] * 100 + [2] * 50)
    predicted = y.copy()
    predicted[0], predicted[50:52] = 2, 0
    figure = matplotlib.figure.Figure((5, 5))
    answers = Answers("test", np.zeros((200, 1)), y, np.eye(3)[predicted], predicted, 3)
    draw_confusion(Panel(figure, 0, 0, 5, 5), answers, ("a", "b", "c"), LIGHT)
    colours = figure.axes[0].images[0].get_array()
    assert np.allclose(colours[0, 2], to_rgb(LIGHT.plus))
    assert np.allclose(colours[1, 0], to_rgb(LIGHT.plus)), "2 of 100 are the share of 1 of 50"
    assert np.allclose(colours[2, 0], to_rgb(LIGHT.ground))
    assert {"98.0 %", "100.0 %", "200 test samples; most often b for a, 2 times"} <= set(texts_of(figure))


def weight_pictures(figure: Any) -> list[Any]:
    return [image for axes in figure.axes for image in axes.images if image.get_cmap().name == "fastbp"]


def test_the_weights_are_pictures_on_one_symmetric_scale(image_run):
    W = fastbp.load(image_run / "model.safetensors").network.layers_of(
        fastbp.load(image_run / "model.safetensors").parameters
    )[0][0]
    images = [each for each in weight_pictures(fastbp.plot_run(image_run)) if each.get_array().shape == (SIDE, SIDE)]
    assert len(images) == 3
    for unit, image in enumerate(images):
        assert np.array_equal(image.get_array(), W[:, unit].reshape(SIDE, SIDE))
    scales = {image.get_clim() for image in images}
    ((low, high),) = scales
    assert low == -high
    assert np.percentile(np.abs(W), 99.5) <= high <= 1.1 * np.percentile(np.abs(W), 99.5)
    colours = images[0].get_cmap()
    assert np.allclose(colours(0.5)[:3], to_rgb(LIGHT.ground), atol=0.02), "nothing is white"
    assert colours(0.75)[0] > colours(0.75)[2], "positive weights are orange"
    assert f"{high:.2g}" in texts_of(images[0].figure)
    assert f"-{high:.2g}" in texts_of(images[0].figure)


def test_the_strongest_of_many_units(tmp_path):
    data, _, _ = pictures(tmp_path)
    model = classifier(SIDE * SIDE, 40, 4, image_shape=(SIDE, SIDE))
    W = model.network.layers_of(model.parameters)[0][0]
    figure = fastbp.plot_run(make_run(tmp_path / "run", epochs(1), model, data=str(data)))
    shown = [np.asarray(each.get_array()) for each in weight_pictures(figure) if each.get_array().shape == (SIDE, SIDE)]
    norms = [sum(float(w) ** 2 for w in W[:, unit]) for unit in range(40)]
    weakest = sorted(range(40), key=lambda unit: norms[unit])[:8]
    expected = [W[:, unit].reshape(SIDE, SIDE) for unit in range(40) if unit not in weakest]
    assert np.array_equal(shown, expected)
    assert any("the 32 strongest of 40 units" in text for text in texts_of(figure))


def test_the_units_of_a_single_layer_have_the_names_of_the_classes(tmp_path):
    data, _, _ = pictures(tmp_path)
    model = classifier(SIDE * SIDE, 0, 4, image_shape=(SIDE, SIDE))
    figure = fastbp.plot_run(make_run(tmp_path / "run", epochs(1), model, data=str(data), layers=""))
    axes = next(image.axes for image in weight_pictures(figure) if image.get_array().shape == (SIDE, SIDE))
    assert [text.get_text() for text in axes.texts] == ["0", "1", "2", "3"]


def test_the_worst_mistakes_are_pictures_with_words(image_run, tmp_path):
    _, x, y = pictures(tmp_path)
    outputs = fastbp.load(image_run / "model.safetensors").outputs(x)
    wrong = [row for row in range(60) if outputs[row].argmax() != y[row]]
    wrong.sort(key=lambda row: outputs[row, y[row]] - outputs[row].max())
    figure = fastbp.plot_run(image_run)
    axes = next(axes for axes in figure.axes for image in axes.images if image.get_cmap().name == "gray_r")
    assert len(axes.images) == 10
    for image, row in zip(axes.images, wrong, strict=False):
        assert np.array_equal(image.get_array(), x[row].reshape(SIDE, SIDE))
    captions = [text.get_text() for text in axes.texts]
    for place, row in enumerate(wrong[:10]):
        share = 100 * float(outputs[row].max())
        assert captions[2 * place] == f"{y[row]} taken for {outputs[row].argmax()},"
        assert abs(float(captions[2 * place + 1].removesuffix(" %")) - share) <= 0.51
    assert any(f"of {len(wrong)} among 60 test samples" in text for text in texts_of(figure))


@pytest.mark.parametrize("gone", ["lost", "other"])
def test_without_its_data_curves_and_weights_are_drawn(image_run, tmp_path, gone):
    if gone == "lost":
        (tmp_path / "pictures.npz").unlink()
    else:
        model = fastbp.load(image_run / "model.safetensors")
        changed = Model(
            model.network, model.parameters, inputs=model.inputs, class_names=model.class_names,
            image_shape=model.image_shape, data_sha256="0" * 64,
        )  # fmt: skip
        changed.save(image_run / "model.safetensors")
    drawing = draw(read_runs([image_run]))
    assert len(drawing.remarks) == 1
    assert drawing.remarks[0].startswith("answers and mistakes are not drawn: ")
    assert ("no file or folder" if gone == "lost" else "not the data that the model was trained on") in drawing.remarks[
        0
    ]
    assert len([each for each in weight_pictures(drawing.figure) if each.get_array().shape == (SIDE, SIDE)]) == 3
    assert lines_of(drawing.figure)["loss"][1][0] == 1
    assert not any("Confusion" in text for text in texts_of(drawing.figure))
    assert any(text.startswith("answers and mistakes are not drawn") for text in texts_of(drawing.figure))


def test_a_run_of_train_to_on_arrays(tmp_path):
    """Training itself writes the folder; where its arrays are, nobody knows."""
    data = ([[0.0], [1.0]] * 4, [0, 1] * 4)
    result = fastbp.train_to(tmp_path / "run", data, layers="", epochs=2, engine="reference")
    drawing = draw(read_runs([tmp_path / "run"]))
    assert lines_of(drawing.figure)["loss"] == ([1, 2], [record.loss for record in result.history])
    assert drawing.remarks == ("answers and mistakes are not drawn: the run's data are arrays, not a file",)
    assert "arrays, 1-2" in texts_of(drawing.figure)
    fastbp.train_to(tmp_path / "other", data, layers="", epochs=3, engine="reference")
    assert "2 runs on arrays" in texts_of(fastbp.plot_run(tmp_path / "run", tmp_path / "other"))


# --- other kinds of runs ----------------------------------------------------------------------------------------------


def value_model(outputs: int = 1) -> Model:
    network = Network((3, 2, outputs), ("tanh", "identity"), "squared_error")
    theta = np.random.default_rng(3).normal(0, 1, network.n_parameters)
    return Model(network, theta, targets=Scaling(100.0, 0.25))


def test_target_values_have_a_scatter_and_residuals(tmp_path):
    data = table(tmp_path)
    model = value_model()
    none = [None] * 3
    history = epochs(3, train_accuracy=none, test_accuracy=none)
    run = make_run(
        tmp_path / "run", history, model, data=str(data), label="price", cost="squared_error", activation="tanh", seed=1
    )
    figure = fastbp.plot_run(run)
    known = fastbp.load_dataset(data, label="price", target="values", seed=1)
    predicted, true = model.predict(known.x_test)[:, 0], known.y_test[:, 0]
    scatter, residuals = (
        next(line for line in axes.lines if line.get_linestyle() == "None")
        for axes in figure.axes
        if axes.get_xlabel() in ("true", "predicted")
    )
    assert np.array_equal(scatter.get_xdata(), true)
    assert np.array_equal(scatter.get_ydata(), predicted)
    assert np.array_equal(residuals.get_xdata(), predicted)
    assert np.allclose(residuals.get_ydata(), predicted - true)
    texts = texts_of(figure)
    error = np.sqrt(np.mean((predicted - true) ** 2))
    assert any(text.startswith(f"off by {error:.3g}, ") for text in texts)
    assert not {"Confusion", "Worst mistakes", "Accuracy"} & set(texts)
    (heat,) = [image for image in weight_pictures(figure) if image.get_array().shape == (3, 2)]
    assert np.array_equal(heat.get_array(), model.network.layers_of(model.parameters)[0][0])
    assert [label.get_text() for label in heat.axes.get_yticklabels()] == ["width", "height", "depth"]


def test_five_target_values_are_four_squares(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "many.npz", x_train=rng.normal(size=(40, 3)), y_train=rng.normal(size=(40, 5)))
    settings = {"data": str(tmp_path / "many.npz"), "cost": "squared_error"}
    figure = fastbp.plot_run(make_run(tmp_path / "run", epochs(2), value_model(5), **settings))
    assert [axes.get_xlabel() for axes in figure.axes].count("true") == 4
    assert any(text.startswith("4 of 5: off by ") for text in texts_of(figure))


@pytest.mark.parametrize(("activation", "cost"), [("sigmoid", "binary_cross_entropy"), ("tanh", "squared_error")])
def test_one_output_for_two_classes(tmp_path, activation, cost):
    data = table(tmp_path, targets=0)
    network = Network((3, 1), (activation,), cost)
    model = Model(network, np.array([1.0, -1.0, 2.0, 0.2]), class_names=("a", "b"))
    run = make_run(tmp_path / "run", epochs(2), model, data=str(data), label="kind", cost=None)
    figure = fastbp.plot_run(run)
    known = fastbp.load_dataset(data, label="kind")
    z = known.x_test @ [1.0, -1.0, 2.0] + 0.2
    expected: dict[str, int] = {}
    for true, value in zip(known.y_test, z, strict=True):
        name = f"cell-{true}-{int(value > 0)}"
        expected[name] = expected.get(name, 0) + 1
    cells = {text.get_gid(): int(text.get_text()) for text in figure.findobj(matplotlib.text.Text) if text.get_gid()}
    assert cells == expected
    texts = texts_of(figure)
    assert {"is", "taken for", "width"} <= set(texts)
    wrong = [float(value) for true, value in zip(known.y_test, z, strict=True) if int(value > 0) != true]
    wrong = sorted(wrong, key=abs, reverse=True)[:9]
    assert min(wrong) < 0 < max(wrong), "both classes are among the mistakes"
    if activation == "sigmoid":
        expected_words = [f"{100 / (1 + np.exp(-abs(value))):.0f} %" for value in wrong]
    else:
        expected_words = [f"output {np.tanh(value):.3g}" for value in wrong]
    assert [text for text in texts if text in expected_words] == expected_words


def test_a_hundred_classes_have_colours_without_numbers(tmp_path):
    data, x, _ = pictures(tmp_path, classes=30)
    rng = np.random.default_rng(0)
    y = np.arange(200) % 100
    data = tmp_path / "hundred.npz"
    np.savez(data, x_train=rng.integers(0, 256, (200, SIDE, SIDE), np.uint8), y_train=y, x_test=x, y_test=y[:60])
    model = classifier(SIDE * SIDE, 3, 100, image_shape=(SIDE, SIDE))
    figure = fastbp.plot_run(make_run(tmp_path / "run", epochs(1), model, data=str(data)))
    matrix = next(axes for axes in figure.axes if axes.images and axes.images[0].get_array().shape == (100, 100, 3))
    assert list(matrix.texts) == []
    assert 10 <= len(matrix.get_xticklabels()) <= 40
    assert len(file_bytes(figure, "x.png")) > 10_000


def test_no_mistakes_are_said(tmp_path):
    np.savez(tmp_path / "easy.npz", x_train=np.array([[0.0], [9.0]] * 5), y_train=[0, 1] * 5)
    network = Network((1, 2), ("softmax",), "cross_entropy")
    model = Model(network, np.array([-1.0, 1.0, 4.0, -4.0]), class_names=("0", "1"))
    figure = fastbp.plot_run(make_run(tmp_path / "run", epochs(1), model, data=str(tmp_path / "easy.npz")))
    assert "none among 2 test samples" in texts_of(figure)
    assert "2 test samples, all of them right" in texts_of(figure)


ODD = {
    "no epochs": ([], None),
    "one epoch": (epochs(1), "epochs"),
    "accuracies at the end only": (
        epochs(3, train_accuracy=[None, None, 0.9], test_accuracy=[None] * 3),
        "epochs",
    ),
    "accuracies never": (epochs(3, train_accuracy=[None] * 3, test_accuracy=[None] * 3), "epochs"),
    "no learning rate": (epochs(3, learning_rate=[None] * 3), "converged"),
    "costs of zero": (epochs(3, loss=[1.0, 0.0, 0.0]), "epochs"),
    "negative costs": (epochs(3, loss=[1.0, -2.0, -3.0]), "epochs"),
    "costs that are none": (epochs(4, loss=[0.5, None, float("nan"), float("inf")]), "diverged"),
    "no cost at all": (epochs(2, loss=[None, None]), "diverged"),
    "the same cost": (epochs(3, loss=[0.5] * 3, test_accuracy=[1.0] * 3, train_accuracy=[1.0] * 3), "epochs"),
    "huge costs": (epochs(3, loss=[1e30, 1.0, 1e-30]), "time_limit"),
    "many epochs": (epochs(1000, learning_rate=[0.1 / (k + 1) for k in range(1000)]), "interrupted"),
    "not finished": (epochs(3), None),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_runs_are_drawn(tmp_path, kind):
    history, stopped = ODD[kind]
    run = make_run(tmp_path / "run", history, None, stopped)
    figure = fastbp.plot_run(run)
    with Image.open(io.BytesIO(file_bytes(figure, "x.png"))) as image:
        assert image.size[0] == 1600
        assert len(image.convert("L").getcolors()) > 10
    finite = [
        (each["epoch"], each["loss"]) for each in history if each["loss"] is not None and abs(each["loss"]) < 1e99
    ]
    lines = lines_of(figure)
    if finite:
        assert list(zip(*lines["loss"], strict=True)) == finite
        best = min(finite, key=lambda pair: pair[1])[0]
        assert f"best epoch {best:,}" in texts_of(figure)
    else:
        assert "loss" not in lines
        assert "no epoch has ended yet" in texts_of(figure) or history
    several = fastbp.plot_run(run, make_run(tmp_path / "other", epochs(2)), style="dark")
    assert len(file_bytes(several, "x.svg")) > 5000


def test_costs_that_span_a_decade_have_a_logarithmic_scale(tmp_path):
    far = fastbp.plot_run(make_run(tmp_path / "a", epochs(20)))
    near = fastbp.plot_run(make_run(tmp_path / "b", epochs(4)))
    assert (far.axes[0].get_yscale(), near.axes[0].get_yscale()) == ("log", "linear")


def test_names_are_no_formulas(tmp_path):
    """Dollars, backslashes, control characters and letters that the font lacks."""
    table = tmp_path / "t.csv"
    names = ["$x^2$", "\\alpha", "\u3042\u3044"]
    rows = [f"{k % 3 + k / 99},{names[k % 3]}" for k in range(30)]
    table.write_text("value_$1$," + "kind\n" + "\n".join(rows) + "\n", encoding="utf-8")
    names = sorted(names)
    network = Network((1, 3), ("softmax",), "cross_entropy")
    model = Model(network, np.arange(6) / 6, class_names=tuple(names))
    run = make_run(tmp_path / "_$run$", epochs(2), model, data=str(table), label="kind")
    figure = fastbp.plot_run(run)
    assert file_bytes(figure, "x.svg")
    assert {"$x^2$", "\\alpha"} <= set(texts_of(figure))
    assert not any(text.get_parse_math() for text in figure.findobj(matplotlib.text.Text) if "$" in text.get_text())
    other = make_run(tmp_path / "_b", epochs(2), model, data=str(table), label="kind")
    several = fastbp.plot_run(run, other)
    assert {"_$run$", "_b"} <= set(texts_of(several))
    assert file_bytes(several, "x.pdf")


# --- several runs -----------------------------------------------------------------------------------------------------


def test_several_runs_are_named_by_what_differs_best_first(tmp_path):
    for rate, costs in ((0.5, [0.9, 0.7]), (0.1, [0.8, 0.3]), (2.0, [0.6, 0.5])):
        history = epochs(
            2, validation_loss=costs, validation_accuracy=[0.5, 1 - costs[1]], test_accuracy=[0.1, rate / 2]
        )
        make_run(tmp_path / "runs" / f"rate-{rate}", history, learning_rate=rate, validation=0.1)
    figure = fastbp.plot_run(tmp_path / "runs")
    texts = texts_of(figure)
    assert "3 runs on digits" in texts
    assert "best first, by validation cost; they differ in learning rate" in texts
    names = [text for text in texts if text in ("0.1", "0.5", "2")]
    rows = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text() in ("0.1", "2", "0.5")]
    listed = [text for text in rows if text.axes is not None and text in text.axes.texts]
    assert len(names) >= 3
    assert [text.get_text() for text in sorted(listed, key=lambda text: text.get_position()[1])] == ["0.1", "2", "0.5"]
    overlay = {axes: {line.get_label(): list(line.get_ydata()) for line in axes.lines} for axes in figure.axes}
    wanted = {"run 1": [0.8, 0.3], "run 2": [0.6, 0.5], "run 3": [0.9, 0.7]}
    (costs,) = [lines for lines in overlay.values() if lines.get("run 1") == [0.8, 0.3]]
    assert {name: costs[name] for name in wanted} == wanted
    assert {name: costs[f"best of {name}"] for name in wanted} == {name: [min(y)] for name, y in wanted.items()}
    results = [text for text in texts if text in ("25.00 %", "5.00 %", "100.00 %")]
    assert results == ["5.00 %", "100.00 %", "25.00 %"]
    looks = {
        (line.get_color(), str(line._unscaled_dash_pattern), line.get_marker()) for line in figure.axes[0].lines[::2]
    }
    assert len(looks) == 3


def test_runs_that_differ_in_nothing_have_the_names_of_their_folders(tmp_path):
    for name in ("first", "second"):
        make_run(tmp_path / name, epochs(2))
    texts = texts_of(fastbp.plot_run(tmp_path / "first", tmp_path / "second"))
    assert {"first", "second", "best first, by training cost"} <= set(texts)


def test_two_runs_of_the_same_settings_among_others_are_named_by_their_folders(tmp_path):
    for name, seed in (("once", 1), ("again", 1), ("third", 2)):
        make_run(tmp_path / "runs" / name, epochs(2), seed=seed)
    texts = texts_of(fastbp.plot_run(tmp_path / "runs"))
    assert {"once", "again", "third", "best first, by training cost; they differ in seed"} <= set(texts)


def test_many_runs_keep_their_distance(tmp_path):
    for seed in range(45):
        make_run(tmp_path / "runs" / f"{seed}", epochs(3, loss=[1.0, 0.9, 0.5 + seed / 100]), seed=seed)
    figure = fastbp.plot_run(tmp_path / "runs")
    names = [
        text for text in figure.findobj(matplotlib.text.Text) if text.get_text().isdecimal() and text.get_gid() is None
    ]
    names = [text for text in names if text.axes is not None and text in text.axes.texts]
    assert [text.get_text() for text in names] == [str(seed) for seed in range(40)]
    height = figure.get_size_inches()[1]
    shares = [text.axes.transData.transform(text.get_position())[1] / figure.dpi for text in names]
    assert height < 12
    assert np.diff(shares) == pytest.approx(-0.18, abs=1e-6)
    assert "and 5 more, drawn but not listed" in texts_of(figure)
    assert len([line for line in figure.axes[0].lines if line.get_label().startswith("run ")]) == 45
    brightness = [sum(to_rgb(line.get_color())) for line in figure.axes[0].lines]
    assert brightness == sorted(brightness)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".png", ".pdf", ".svg", ".PNG"])
def test_the_same_run_gives_the_same_bytes(image_run, ending):
    name = f"x{ending}"
    first = file_bytes(fastbp.plot_run(image_run), name)
    theirs = {
        "font.size": 20, "axes.facecolor": "red", "svg.hashsalt": "mine", "lines.linewidth": 9,
        "image.origin": "lower", "savefig.bbox": "tight", "axes.titlepad": 30,
    }  # fmt: skip
    with matplotlib.rc_context(theirs):
        assert file_bytes(fastbp.plot_run(image_run), name) == first
        assert matplotlib.rcParams["font.size"] == 20
    begins = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}[ending.lower()]
    assert first.startswith(begins)
    for word in (b"CreationDate", b"<dc:date>", b"Creation Time"):
        assert word not in first


def test_another_process_gives_the_same_bytes(image_run, tmp_path):
    code = "import sys; from fastbp.__main__ import main; sys.exit(main())"
    out = tmp_path / "theirs.svg"
    command = [sys.executable, "-c", code, "plot", str(image_run), "--out", str(out), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, str(out), "")
    assert out.read_bytes() == file_bytes(fastbp.plot_run(image_run), "x.svg")
    command[-2] = str(tmp_path / "theirs.gif")
    refused = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1


def test_no_window_and_no_pyplot(image_run):
    code = (
        f"import sys, fastbp; f = fastbp.plot_run({str(image_run)!r}); f.savefig({str(image_run / 'x.png')!r}); "
        "assert 'matplotlib.pyplot' not in sys.modules and 'tkinter' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Runs a command in this process, in an empty folder; returns its exit code, stdout and stderr."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def invoke(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        result = CliRunner().invoke(cli, [str(arg) for arg in args], standalone_mode=False)
        code = 0 if result.exception is None else _explain(result.exception)
        said = (result.stderr + capsys.readouterr().err).splitlines(keepends=True)
        return code, result.stdout, "".join(line for line in said if not line.startswith("reading "))

    return invoke


def test_the_command_writes_into_the_folder_of_a_run(run, image_run, tmp_path):
    code, out, err = run("plot", image_run)
    assert (code, out.strip(), err) == (0, str(image_run / "plot.png"), "")
    assert (image_run / "plot.png").read_bytes() == file_bytes(fastbp.plot_run(image_run), "plot.png")
    make_run(tmp_path / "other", epochs(2))
    code, out, err = run("plot", image_run, tmp_path / "other", "--json", "--quiet")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"plot": "plot.png", "runs": [str(image_run), str(tmp_path / "other")], "remarks": []}
    assert Path("plot.png").read_bytes().startswith(b"\x89PNG")


def test_what_could_not_be_drawn_is_said_in_one_line(run, image_run, tmp_path):
    (tmp_path / "pictures.npz").unlink()
    code, out, err = run("plot", image_run, "--out", "x.svg")
    assert (code, out.strip()) == (0, "x.svg")
    assert err.startswith("note: answers and mistakes are not drawn")
    assert err.count("\n") == 1
    assert run("plot", image_run, "--out", "x.svg", "--quiet")[2] == ""


def test_a_dark_picture_is_dark(run, image_run):
    assert run("plot", image_run, "--style", "dark", "--out", "x.png")[0] == 0
    with Image.open("x.png") as image:
        assert image.convert("RGB").getpixel((2, 2)) == tuple(round(255 * part) for part in to_rgb(DARK.ground))


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["RUN", "--out", "x.jpg"], 2, r"\.png, \.pdf or \.svg, got 'x\.jpg'"),
        (["RUN", "--out", "x"], 2, r"\.png, \.pdf or \.svg"),
        (["RUN", "--style", "blue"], 2, "blue"),
        ([], 2, "RUN"),
        (["nowhere"], 2, "there is no such folder"),
        (["."], 2, "holds no run"),
        (["RUN", "--out", "no/such/x.png"], 1, "No such file"),
    ],
)
def test_what_is_refused(run, image_run, args, code, words):
    found, out, err = run("plot", *[image_run if arg == "RUN" else arg for arg in args])
    assert (found, out) == (code, "")
    assert re.search(words, err)
    assert list(Path().iterdir()) == []


def test_an_old_picture_is_untouched_where_drawing_fails(run, image_run, monkeypatch):
    old = image_run / "plot.png"
    old.write_bytes(b"old")
    (image_run / "metrics.jsonl").write_text("{}\n")
    assert run("plot", image_run)[0] == 1
    assert old.read_bytes() == b"old"
    (image_run / "metrics.jsonl").write_text("")
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: 1 / 0)
    assert run("plot", image_run)[0] == 1
    assert old.read_bytes() == b"old"


def test_a_damaged_model_is_an_error(run, image_run):
    model = image_run / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-9])
    assert run("plot", image_run)[0] == 4


def test_matplotlib_that_is_missing_is_one_sentence(run, image_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, out, err = run("plot", image_run)
    assert (code, out) == (1, "")
    assert "pip install 'fastbp[plot]'" in err
    assert err.count("\n") == 1
    with pytest.raises(FastbpError, match="not installed"):
        fastbp.plot_run(image_run)


def test_wrong_arguments_of_plot_run(image_run):
    with pytest.raises(UsageError, match="light, dark, got 'pink'"):
        fastbp.plot_run(image_run, style="pink")
    with pytest.raises(UsageError, match="no run to draw"):
        fastbp.plot_run()


# --- pieces -----------------------------------------------------------------------------------------------------------


def test_names_at_the_ends_of_lines_do_not_cover_each_other():
    places = spread([0.1, 0.11, 0.12, 1.0], 0.2, 1.0)
    assert places == pytest.approx([0.1, 0.3, 0.5, 1.0])
    assert spread([0.9, 0.95, 1.0], 0.2, 1.0) == pytest.approx([0.6, 0.8, 1.0])
    assert spread([], 1.0, 1.0) == []


@pytest.mark.parametrize("n", [1, 2, 7, 16, 32])
def test_grids_fit_into_their_rectangle(n):
    columns, side = grid_for(n, 4.5, 2.35, caption=0.2, shape=1.5, gap=0.1)
    rows = -(-n // columns)
    assert columns * side + 0.1 * (columns - 1) <= 4.5 + 1e-9
    assert rows * (1.5 * side + 0.2) + 0.1 * (rows - 1) <= 2.35 + 1e-9
    assert side > 0


def test_long_names_lose_their_middle():
    assert short("x" * 50 + "end", 20) == "x" * 10 + "..." + "xxxxend"
    assert len(short("x" * 50, 20)) == 20
    assert short("a\nb\x1b", 20) == "a?b?"


def test_styles_are_readable():
    """Contrast of text, after WCAG 2: at least 4.5, and 3 for lines."""

    def light(colour: str) -> float:
        parts = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
        return float(np.dot((0.2126, 0.7152, 0.0722), parts))

    def contrast(a: str, b: str) -> float:
        low, high = sorted((light(a), light(b)))
        return (high + 0.05) / (low + 0.05)

    for style in STYLES.values():
        assert contrast(style.text, style.ground) > 12
        assert contrast(style.quiet, style.ground) > 4.5
        for colour in (style.plus, style.minus, *(line[0] for line in style.lines)):
            assert contrast(colour, style.ground) > 3
        assert len({line[1:] for line in style.lines}) == len(style.lines), "told apart without colours"
