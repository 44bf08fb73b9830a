"""Reports of runs: the file read by a parser of HTML, and the page opened in a browser, where there is one.

Runs are made by hand: a network, a history written out, data in a file of its own. What the page shows is compared with
these, and what it computes with `Model.outputs`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from pages import NASTY, Page

import fastbp
from fastbp import Dataset, Model, Network, load_dataset
from fastbp.cli import cli
from fastbp.config import Config
from fastbp.errors import FastbpError, ModelError, UsageError
from fastbp.metrics import EpochRecord
from fastbp.pages.answers import MOST_MISTAKES, described_answers
from fastbp.pages.model_page import DRAWING_SCRIPTS, DRAWING_STYLES
from fastbp.pages.report_page import SCRIPTS, report_of
from fastbp.pages.settings import described_settings
from fastbp.preprocessing import Scaling
from fastbp.runs.folder import RunFolder
from fastbp.runs.mistakes import answers_of
from fastbp.settings_file import settings_text

PIXELS = Scaling(0.0, 1 / 255)
EVIL = "</script><img src=x onerror=alert(1)>"


def record(epoch: int, **changes: Any) -> EpochRecord:
    usual = {
        "epoch": epoch,
        "loss": 1.5 / epoch,
        "train_accuracy": 1 - 0.5 / epoch,
        "test_accuracy": 1 - 0.6 / epoch,
        "learning_rate": 0.1 * (9 - epoch % 9),
        "seconds": 0.25,
        "samples_per_second": 4000.0,
    }
    return EpochRecord(**{**usual, **changes})


def write_run(
    path: Path,
    model: Model | None,
    history: list[EpochRecord],
    summary: dict[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """A folder as `fastbp train --out` leaves it; without a summary it is not finished."""
    path.mkdir(parents=True, exist_ok=True)
    folder = RunFolder(path)
    folder.config_file.write_text(settings_text(settings), encoding="utf-8")
    folder.metrics_file.write_text("".join(json.dumps(each.as_dict()) + "\n" for each in history), encoding="utf-8")
    if model is not None:
        model.save(folder.model_file)
    if summary is not None:
        folder.summary_file.write_text(json.dumps({"format": 1, "fastbp": "0.1.0", **summary}), encoding="utf-8")
    return path


def random_model(
    sizes: tuple[int, ...], data: Dataset, activations: tuple[str, ...], cost: str = "cross_entropy", **settings: Any
) -> Model:
    network = Network(sizes, activations, cost)
    theta = np.random.default_rng(1).normal(0, 3 / sizes[0] ** 0.5, network.n_parameters).astype("float32")
    facts = {"class_names": data.class_names, "image_shape": data.image_shape, "data_sha256": data.sha256}
    return Model(network, theta, data_name=data.name, **{**facts, **settings})


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of 9 x 9 pixels in four classes: a file."""
    rng = np.random.default_rng(4)
    x, y = rng.integers(0, 256, (500, 9, 9), np.uint8), rng.integers(0, 4, 500)
    path = tmp_path_factory.mktemp("data") / "squares.npz"
    np.savez(path, x_train=x[:100], y_train=y[:100], x_test=x[100:], y_test=y[100:])
    return path


@pytest.fixture
def image_run(images: Path, tmp_path: Path) -> Callable[..., Path]:
    """A run on these pictures, with four epochs behind it."""

    def make(history: list[EpochRecord] | None = None, finished: bool = True, **settings: Any) -> Path:
        data = load_dataset(images)
        model = random_model((81, 5, 4), data, ("tanh", "softmax"), inputs=PIXELS)
        records = [record(epoch) for epoch in (1, 2, 3, 4)] if history is None else history
        loss, accuracy = model.evaluate(data.x_test, data.y_test)
        summary = {"loss": 0.25, "train_accuracy": 0.875, "test_accuracy": accuracy, "test_loss": loss, "epochs": 4}
        summary |= {"stopped": "epochs", "engine": "fused dense float32", "train_seconds": 1.0, "best_epoch": 3}
        settings = {"data": str(images), "epochs": 4, "activation": "tanh", **settings}
        return write_run(tmp_path / "runs" / "a", model, records, summary if finished else None, **settings)

    return make


@pytest.fixture
def table_run(tmp_path: Path) -> Callable[..., Path]:
    """A run on a table whose names are meant to become markup: binary with one output, or values."""

    def make(values: bool = False) -> Path:
        rng = np.random.default_rng(7)
        x = rng.normal(size=(60, 2)).round(3)
        kinds = [EVIL, "<b>&amp;"]
        targets = [f"{a * 3 + b + 0.25:.3f}" if values else kinds[int(a > b)] for a, b in x]
        lines = [f'"{EVIL}",<i>width,kind', *(f'{a},{b},"{t}"' for (a, b), t in zip(x, targets, strict=True))]
        path = tmp_path / "a & <b>.csv"
        path.write_text("\n".join(lines), encoding="utf-8")
        data = load_dataset(path, label="kind", target="values" if values else "auto")
        ends = ("identity", "squared_error") if values else ("sigmoid", "binary_cross_entropy")
        scalings = {"targets": Scaling(np.array([1.0]), np.array([0.5]))} if values else {}
        model = random_model((2, 1), data, ends[:1], ends[1], **scalings)
        history = [record(each, train_accuracy=None, test_accuracy=None) for each in (1, 2)]
        summary = {"loss": 0.25, "stopped": "time_limit", "epochs": 2, "test_accuracy": None, "engine": EVIL}
        extra = {"cost": ends[1]} if values else {"output_activation": "sigmoid"}
        return write_run(tmp_path / "b<i>", model, history, summary, data=str(path), label="kind", layers="", **extra)

    return make


def parsed(folder: Path) -> Page:
    return Page(report_of(RunFolder(folder)).page)


def data_of(page: Page) -> dict[str, Any]:
    """What the page says of the run."""
    (found,) = [text for tag, attributes, text in page.elements if tag == "script" and attributes.get("id") == "run"]
    return json.loads(found)


# -- the file ----------------------------------------------------------------------------------------------------------


def test_the_same_run_gives_the_same_bytes(image_run, tmp_path):
    folder = image_run()
    fastbp.to_report(folder, tmp_path / "one.html")
    fastbp.to_report(str(folder), str(tmp_path / "two.html"))
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
    with pytest.raises(FastbpError, match="cannot write"):
        fastbp.to_report(folder, tmp_path / "none" / "page.html")
    assert sorted(os.listdir(tmp_path)) == ["one.html", "runs", "two.html"]


def test_the_file_needs_nothing_from_elsewhere(image_run, table_run):
    for folder, parts in ((image_run(), ["model", "run"]), (table_run(), ["run"]), (table_run(values=True), ["run"])):
        page = parsed(folder)
        page.check_policy()
        page.check_that_nothing_is_loaded()
        ids = [attributes["id"] for tag, attributes, _ in page.elements if tag == "script" and "id" in attributes]
        assert ids == parts


def test_every_id_that_a_script_asks_for_is_there_once(image_run):
    page = parsed(image_run())
    ids = [found["id"] for _, found, _ in page.elements if "id" in found]
    assert len(ids) == len(set(ids))
    asked = set(re.findall(r'byId\("([\w-]+)"\)', page.texts("script")[-1]))
    assert asked <= set(ids)


@pytest.mark.parametrize("values", [False, True])
def test_texts_from_outside_stay_texts(table_run, values):
    page = parsed(table_run(values))
    assert {tag for tag, _, _ in page.elements if tag in ("img", "i")} == set()
    assert len(page.texts("script")) == 2
    found = data_of(page)
    if values:
        assert found["answers"]["errors"]["features"] == [EVIL, "<i>width"]
    else:
        assert set(found["answers"]["classNames"]) == {EVIL, "<b>&amp;"}
        assert found["answers"]["mistakes"]["features"] == [EVIL, "<i>width"]
    assert ["engine", EVIL] in found["facts"]
    (title,) = page.texts("title")
    assert title == "fastbp: 2-1 on a & <b>.csv"
    assert not set("<>&") & set(page.texts("script")[0])
    assert found["command"] == "fastbp train --config 'b<i>/config.toml' --out OTHER"


def test_no_path_of_the_machine(image_run, tmp_path):
    folder = image_run(data_dir=str(tmp_path / "there"), init_from=str(tmp_path / "x" / "first.safetensors"))
    text = report_of(RunFolder(folder)).page.decode()
    assert str(tmp_path) not in text
    assert tmp_path.name not in text
    settings = {row["name"]: row["value"] for row in data_of(parsed(folder))["settings"]}
    found = [settings[name] for name in ("data", "data_dir", "init_from")]
    assert found == ["squares.npz", "there", "first.safetensors"]


def test_size_of_a_report_like_mnists():
    """784-16-16-10 with 460 mistakes in 10,000: what a page takes for its data, whatever the weights are."""
    rng = np.random.default_rng(5)
    x, y = rng.integers(0, 256, (2000, 784), np.uint8), rng.integers(0, 10, 2000)
    data = Dataset.from_arrays(x[:100], y[:100], x[100:], y[100:], image_shape=(28, 28))
    model = random_model((784, 16, 16, 10), data, ("sigmoid", "sigmoid", "softmax"), inputs=PIXELS)
    found = described_answers(answers_of(model, data), model, data)
    assert len(found["mistakes"]["rows"]) == MOST_MISTAKES
    assert len(json.dumps(found)) < 120_000
    folder = Path(fastbp.__file__).parent / "pages" / "templates"
    names = (*DRAWING_SCRIPTS, *SCRIPTS, *DRAWING_STYLES, "report.css", "report.html", "drawing.html", "frame.html")
    templates = sum((folder / name).stat().st_size for name in names)
    assert templates + 120_000 + 95_000 < 400_000  # weights and samples take 85 KB


def test_every_template_is_used_and_short():
    folder = Path(fastbp.__file__).parent / "pages" / "templates"
    used = [*DRAWING_SCRIPTS, *SCRIPTS, *DRAWING_STYLES, "report.css"]
    used += ["frame.html", "page.html", "drawing.html", "report.html", "inside.html"]
    assert sorted(os.listdir(folder)) == sorted(used)
    for path in folder.iterdir():
        lines = path.read_text(encoding="ascii").split("\n")
        assert len(lines) <= 250
        assert max(map(len, lines)) <= 120
        if path.suffix == ".js":
            assert lines[0] == '"use strict";'
            assert lines[1].startswith("/* ")


# -- what is in it -----------------------------------------------------------------------------------------------------


def test_headline_of_a_finished_run(image_run):
    page = parsed(image_run())
    assert "All 4 epochs are done." in page.words
    assert page.texts("h1") == ["81-5-4 on squares.npz"]
    found = data_of(page)
    tiles = {tile["name"]: tile["value"] for tile in found["tiles"]}
    assert (tiles["training accuracy"], tiles["training cost"], tiles["best epoch"]) == (0.875, 0.25, 3)
    assert tiles["test accuracy"] == found["answers"]["n"] ** -1 * sum(found["answers"]["right"])
    assert found["curves"]["best"] == 3
    facts = dict(found["facts"])
    assert (facts["weights and biases"], facts["activations"], facts["seed"]) == ("434", "tanh, softmax", "0")
    assert found["note"] == ""


def test_an_unfinished_run(image_run):
    losses = [0.5, 0.25, 0.75]
    history = [record(k, validation_loss=v, validation_accuracy=0.5) for k, v in enumerate(losses, start=1)]
    page = parsed(image_run(history, finished=False, epochs=9))
    assert "Not finished: 3 of 9 epochs so far" in page.words
    found = data_of(page)
    assert (found["finished"], found["curves"]["best"]) == (False, 2)
    tiles = {tile["name"]: tile["value"] for tile in found["tiles"]}
    assert (tiles["test accuracy"], tiles["validation cost"]) == (1 - 0.6 / 3, 0.75)


def test_a_run_that_has_hardly_begun(tmp_path):
    folder = write_run(tmp_path / "new", None, [], None, data="mnist", layers="32")
    made = report_of(RunFolder(folder))
    found = data_of(Page(made.page))
    assert (made.finished, made.mistakes, made.missing) == (False, None, None)
    assert found["note"] == "This run has no model yet."
    assert (found["tiles"], found["answers"], found["curves"]["epochs"]) == ([], None, [])
    assert Page(made.page).texts("h1") == ["layers 32 on mnist"]
    with pytest.raises(UsageError, match="holds no run"):
        report_of(RunFolder(tmp_path))


def test_data_that_is_gone_or_differs(image_run, images, tmp_path):
    gone = image_run(data=str(tmp_path / "gone.npz"))
    made = report_of(RunFolder(gone))
    found = data_of(Page(made.page))
    assert (found["answers"], "could not be loaded" in found["note"]) == (None, True)
    assert "gone.npz" in (made.missing or "")
    assert str(tmp_path) not in made.page.decode()
    with np.load(images) as arrays:
        np.savez(tmp_path / "other.npz", **{name: arrays[name][:50] for name in arrays})
    found = data_of(parsed(image_run(data=str(tmp_path / "other.npz"))))
    assert (found["answers"], "not what it was" in found["note"]) == (None, True)


def test_a_damaged_model_is_an_error(image_run):
    folder = image_run()
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError):
        report_of(RunFolder(folder))


def test_confusions_and_mistakes_by_hand():
    """Three classes, seven samples, outputs that are the inputs."""
    names = ("a", "b", "c")
    x = np.array([[9, 0, 0], [0, 9, 0], [5, 4, 0], [0, 1, 8], [0, 2, 7], [0, 0, 9], [6, 1, 0]], np.float64) / 9
    y = np.array([0, 1, 1, 1, 1, 2, 2])
    data = Dataset.from_arrays(x, y, x, y, class_names=names, feature_names=("u", "v", "w"))
    theta = np.concatenate([np.eye(3).ravel(), np.zeros(3)])
    model = Model(Network((3, 3), ("identity",), "squared_error"), theta, class_names=names)
    found = described_answers(answers_of(model, data), model, data)
    assert found["cells"] == [1, 2, 2, 1, 0, 1, 2, 0, 1]  # b for c twice, b for a once, c for a once
    assert (found["totals"], found["right"], found["wrong"]) == ([1, 4, 2], [1, 1, 1], 4)
    mistakes = found["mistakes"]
    assert (mistakes["rows"], mistakes["truth"], mistakes["answered"]) == ([3, 6, 4, 2], [1, 2, 1, 1], [2, 0, 2, 0])
    assert mistakes["outputs"] == [0.888889, 0.666667, 0.777778, 0.555556]
    assert mistakes["trueOutputs"] == [0.111111, 0.0, 0.222222, 0.444444]
    assert (mistakes["features"], mistakes["values"][1]) == (["u", "v", "w"], [0.666667, 0.111111, 0.0])


def test_one_output_tells_two_classes_apart():
    data = Dataset.from_arrays([[-3.0], [1.0], [2.0]], [1, 0, 1], class_names=("no", "yes"))
    model = Model(Network((1, 1), ("sigmoid",), "squared_error"), np.array([1.0, 0.0]), class_names=("no", "yes"))
    found = described_answers(answers_of(model, data), model, data)
    assert (found["split"], found["mistakes"]["rows"], found["mistakes"]["answered"]) == ("training", [0, 1], [0, 1])
    assert found["mistakes"]["outputs"] == [0.952574, 0.731059]  # 1 / (1 + e^-3), 1 / (1 + e^-1)
    assert found["mistakes"]["trueOutputs"] == [0.0474259, 0.268941]


def test_rare_confusions_have_a_mistake_kept(rng):
    """200 sure mistakes of one kind, and 30 less sure ones of 30 kinds."""
    n = 32
    y = np.array([0] * 200 + list(range(2, n)))
    answered = np.array([1] * 200 + [0] * (n - 2))
    x = np.zeros((len(y), n))
    x[np.arange(len(y)), answered] = np.linspace(1, 0.1, len(y))
    data = Dataset.from_arrays(x, y, x, y, class_names=tuple(map(str, range(n))))
    theta = np.concatenate([np.eye(n).ravel(), np.zeros(n)])
    model = Model(Network((n, n), ("identity",), "squared_error"), theta, class_names=data.class_names)
    mistakes = described_answers(answers_of(model, data), model, data)["mistakes"]
    assert len(mistakes["rows"]) == MOST_MISTAKES
    assert mistakes["rows"] == sorted(mistakes["rows"])  # the surest first
    assert set(mistakes["truth"]) == {0, *range(2, n)}
    assert mistakes["rows"][:50] == list(range(50))


def test_errors_of_target_values():
    x = np.arange(8.0)[:, None]
    y = np.stack([2 * x[:, 0], 100 * x[:, 0]], axis=1)
    y[5, 0] += 9
    data = Dataset.from_arrays(x, y, x, y)
    theta = np.array([2.0, 100.0, 0.0, 0.0])
    model = Model(Network((1, 2), ("identity",), "squared_error"), theta)
    found = described_answers(answers_of(model, data), model, data)
    first, second = found["outputs"]
    assert (first["rmse"], first["mae"]) == (3.18198, 1.125)  # 9 / sqrt(8), 9 / 8
    assert (second["rmse"], second["r2"]) == (0.0, 1.0)
    assert (first["truth"][5], first["predicted"][5]) == (19.0, 10.0)
    assert (found["errors"]["rows"][0], found["errors"]["truth"][0]) == (5, [19.0, 500.0])


def test_many_epochs_keep_their_extremes(tmp_path):
    history = [record(epoch, loss=1.0 if epoch != 2345 else 77.0) for epoch in range(1, 5001)]
    folder = write_run(tmp_path / "long", None, history, {"stopped": "epochs", "best_epoch": 1234}, data="mnist")
    made = report_of(RunFolder(folder))
    curves = data_of(Page(made.page))["curves"]
    assert curves["total"] == 5000
    assert {1, 1234, 2345, 5000} <= set(curves["epochs"])
    assert 400 <= len(curves["epochs"]) <= 2400
    assert max(curves["loss"]) == 77.0
    assert len(made.page) < 150_000


def test_numbers_that_are_none_are_null(tmp_path):
    """A run that diverged: NaN is no JSON."""
    history = [record(1), record(2, loss=float("nan"), learning_rate=None)]
    summary = {"stopped": "diverged", "loss": float("inf"), "test_accuracy": "high", "epochs": 2}
    found = data_of(parsed(write_run(tmp_path / "d", None, history, summary, data="mnist")))
    assert found["curves"]["loss"] == [1.5, None]
    assert found["tiles"] == []


def test_settings_tell_what_was_changed(image_run):
    folder = image_run(learning_rate=0.2, cost="cross_entropy", batch_size=None, seed=9, dropout=0.25)
    model = RunFolder(folder).model()
    rows = {row["name"]: row for row in described_settings(RunFolder(folder).settings(), model)}
    assert list(rows)[1:] == list(Config.__dataclass_fields__)
    changed = [name for name, row in rows.items() if row["changed"]]
    assert changed == ["data", "activation", "learning_rate", "dropout", "batch_size", "epochs", "seed"]
    assert rows["learning_rate"]["standard"] == "0.8"  # 4 * 0.2: tanh, and a full batch
    assert rows["batch_size"]["value"] == "full"
    assert (rows["output_activation"]["value"], rows["momentum"]["value"]) == ("softmax", "0.9")


# -- from the shell ----------------------------------------------------------------------------------------------------


def test_from_the_shell(image_run, tmp_path):
    folder = image_run()
    result = CliRunner().invoke(cli, ["report", str(folder)])
    assert result.exit_code == 0
    page = folder / "report.html"
    assert page.read_bytes() == report_of(RunFolder(folder)).page
    assert re.search(r"report\.html\s+\(1\d\d\.\d KB\)\nmistakes  \d+\n", result.stdout)
    other = str(tmp_path / "other.html")
    said = json.loads(CliRunner().invoke(cli, ["report", str(folder), other, "--json"]).stdout)
    wrong = data_of(Page(page.read_bytes()))["answers"]["wrong"]
    assert said == {
        "report": other,
        "run": str(folder),
        "bytes": os.path.getsize(other),
        "finished": True,
        "mistakes": wrong,
        "missing": None,
    }
    refused = CliRunner().invoke(cli, ["report", str(folder), str(folder / "config.toml")], standalone_mode=False)
    assert isinstance(refused.exception, UsageError)
    assert "must end in .html" in str(refused.exception)


def test_the_shell_says_why_something_is_missing(image_run, tmp_path):
    folder = image_run(data=str(tmp_path / "gone.npz"))
    result = CliRunner().invoke(cli, ["report", str(folder)])
    assert result.exit_code == 0
    assert "gone.npz" in result.stderr
    assert CliRunner().invoke(cli, ["report", str(folder), "--quiet"]).stderr == ""


# -- in a browser ------------------------------------------------------------------------------------------------------


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Opens the report of a run. At the end of the test, the browser must have complained about nothing."""

    def open_page(folder: Path) -> Any:
        fastbp.to_report(folder, tmp_path / "page.html")
        browser.get((tmp_path / "page.html").as_uri())
        return browser

    yield open_page
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').map((each) => each.name)") == []
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0


def texts(page: Any, selector: str) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)"
    return page.execute_script(script, selector)


def values_of_line(page: Any, series: str) -> np.ndarray:
    """What a line's points stand for, told from the numbers at the axes: (epoch, value) pairs."""
    script = """
        const line = document.querySelector(`[data-series=${arguments[0]}]`), drawing = line.closest("svg");
        const axis = (name, place) => [...drawing.querySelectorAll(`.tick.${name}`)]
          .map((tick) => [parseFloat(tick.textContent.replace(",", "")), Number(tick.getAttribute(place))]);
        return [axis("x", "x"), axis("y", "y"), line.getAttribute("d")];
    """
    x_ticks, y_ticks, d = page.execute_script(script, series)
    points = np.array([[float(v) for v in pair.split()] for pair in re.split("[ML]", d)[1:]])
    result = []
    for ticks, places, offset in ((x_ticks, points[:, 0], 0), (y_ticks, points[:, 1], 4)):
        (a, at_a), (b, at_b) = ticks[0], ticks[-1]
        result.append(a + (places - at_a + offset) / (at_b - at_a) * (b - a))
    return np.stack(result, axis=1)


def test_curves_are_those_of_the_history(show, image_run):
    rng = np.random.default_rng(8)
    history = [record(k, loss=rng.uniform(0.1, 2), validation_loss=rng.uniform(0.1, 2)) for k in range(1, 13)]
    page = show(image_run(history))
    for series, factor in (("loss", 1), ("validation_loss", 1), ("test_accuracy", 100), ("learning_rate", 1)):
        found = values_of_line(page, series)
        wanted = [getattr(each, series) * factor for each in history]
        np.testing.assert_allclose(found[:, 0], range(1, 13), atol=0.01)
        np.testing.assert_allclose(found[:, 1], wanted, atol=0.005 * max(wanted))


def test_what_was_not_measured_leaves_a_gap(show, image_run):
    history = [record(k, validation_loss=None if k == 3 else 0.5) for k in range(1, 6)]
    page = show(image_run(history))
    d = page.find_element("css selector", "[data-series=validation_loss]").get_attribute("d")
    assert re.sub(r"[\d. ]", "", d) == "MLML"
    assert len(page.find_elements("css selector", ".spot.validation")) == 4


def test_an_epoch_is_chosen_by_key_in_all_charts_at_once(show, image_run):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    page = show(image_run())
    first, second, _ = page.find_elements("css selector", ".chart")
    assert first.aria_role == "slider"
    assert second.get_attribute("aria-valuetext").startswith("epoch 3: ")  # the best
    first.send_keys(Keys.HOME, Keys.ARROW_RIGHT)
    assert first.get_attribute("aria-valuetext") == "epoch 2: training 0.75"
    assert second.get_attribute("aria-valuetext") == "epoch 2: training 75.00\u00a0%, test 70.00\u00a0%"
    assert texts(page, ".readout")[1] == second.get_attribute("aria-valuetext")
    first.send_keys(Keys.END, Keys.ARROW_RIGHT)
    assert first.get_attribute("aria-valuenow") == "4"
    page.find_element("css selector", "#epochs summary").click()
    WebDriverWait(page, 10).until(lambda page: page.find_elements("css selector", "#epochs table"))
    rows = page.find_elements("css selector", "#epochs tbody tr")
    assert [row.text.split()[:2] for row in rows] == [["1", "1.5"], ["2", "0.75"], ["3", "0.5"], ["4", "0.375"]]


def test_costs_on_a_logarithmic_scale(show, image_run):
    page = show(image_run([record(k, loss=10.0 ** (3 - k)) for k in range(1, 7)]))
    button = page.find_element("id", "logarithm")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    d = page.find_element("css selector", "[data-series=loss]").get_attribute("d")
    steps = np.diff([float(pair.split()[1]) for pair in re.split("[ML]", d)[1:]])
    assert np.ptp(steps) < 0.05  # each epoch a tenth of the last
    assert steps[0] > 20


def test_confusion_cells_and_their_mistakes(show, image_run, images):
    from selenium.webdriver.common.keys import Keys

    folder = image_run()
    with np.load(images) as arrays:
        x, y = arrays["x_test"], arrays["y_test"]
    model = RunFolder(folder).model()
    predicted = model.predict(x)
    wanted = [[sum((y == row) & (predicted == column)) for column in range(4)] for row in range(4)]
    page = show(folder)
    rows = page.find_elements("css selector", "#matrix tbody tr")
    found = [[td.text for td in row.find_elements("css selector", "td[tabindex]")] for row in rows]
    assert found == [[str(count) if count else "" for count in row] for row in wanted]

    # by keyboard from the most frequent cell to the corner, on to another one, and there to its mistakes
    pairs = [(t, p) for t in range(4) for p in range(4) if wanted[t][p] != wanted[p][t] and 0 < wanted[t][p] < 30]
    t, p = next((t, p) for t, p in pairs if t and p and t != p)
    page.execute_script("document.querySelector('#matrix td[tabindex=\"0\"]').focus()")
    page.switch_to.active_element.send_keys(Keys.PAGE_UP, Keys.HOME, Keys.ARROW_DOWN * t + Keys.ARROW_RIGHT * p)
    assert texts(page, "#cell") == [f"{t} taken for {p}: {wanted[t][p]} of {sum(wanted[t])}"]
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert texts(page, "#mistakes-title") == [f"{t} taken for {p}"]
    labels = [each.get_attribute("aria-label") for each in page.find_elements("css selector", ".mistake")]
    kept = [int(re.match(r"Test sample (\d+) is", label)[1]) for label in labels]
    assert 0 < len(kept) <= wanted[t][p]
    assert (y[kept].tolist(), predicted[kept].tolist()) == ([t] * len(kept), [p] * len(kept))
    page.switch_to.active_element.send_keys(Keys.ARROW_LEFT, Keys.ESCAPE)
    assert texts(page, "#mistakes-title") == ["The surest mistakes"]
    assert len(page.find_elements("css selector", "[aria-selected=true]")) == 0


def test_a_mistake_goes_through_the_network(show, image_run, images):
    folder = image_run()
    model = RunFolder(folder).model()
    with np.load(images) as arrays:
        x, y = arrays["x_test"], arrays["y_test"]
    page = show(folder)
    outputs = model.outputs(x)
    wrong = np.flatnonzero(outputs.argmax(axis=1) != y)
    sureness = outputs.max(axis=1) - outputs[np.arange(len(y)), y]
    surest = wrong[np.argsort(-sureness[wrong], kind="stable")]
    buttons = page.find_elements("css selector", "button.mistake")
    for place in (0, 5):
        row = int(surest[place])
        buttons[place].click()
        pixels, y_page = page.execute_script("return [Array.from(state.pixels), Array.from(state.y)]")
        assert pixels == x[row].ravel().tolist()
        assert np.abs(np.array(y_page) - model.outputs(x[row][None])[0]).max() <= 1e-5
        assert texts(page, "#remark")[0].startswith(f"Test sample {row} is \u201c{y[row]}\u201d")
        assert page.execute_script("return document.activeElement.id") == "inside-title"
        shown = page.execute_script(
            "const c = document.querySelectorAll('button.mistake canvas')[arguments[0]];"
            "return Array.from(c.getContext('2d').getImageData(0, 0, 9, 9).data).filter((_, i) => i % 4 === 0)",
            place,
        )
        assert shown == pixels


def test_pictures_that_are_no_bytes_keep_their_numbers(show, tmp_path):
    """Values from -1 to 1: shown in grey, and given to the network as they are."""
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-1, 1, (60, 5, 5)).astype(np.float32), rng.integers(0, 3, 60)
    np.savez(tmp_path / "floats.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    data = load_dataset(tmp_path / "floats.npz")
    model = random_model((25, 3), data, ("softmax",))
    page = show(write_run(tmp_path / "f", model, [record(1)], {"stopped": "epochs"}, data=str(tmp_path / "floats.npz")))
    button = page.find_elements("css selector", "button.mistake")[2]
    button.click()
    row = int(re.match(r"Test sample (\d+)", button.get_attribute("aria-label"))[1])
    found = page.execute_script("return Array.from(state.y)")
    assert np.abs(np.array(found) - model.outputs(x[row][None])[0]).max() <= 1e-5
    low, high = page.execute_script(
        "const all = decodeNumbers(run.answers.mistakes.pixels); return [Math.min(...all), Math.max(...all)]"
    )
    grey = page.execute_script("return Array.from(state.grey)")
    np.testing.assert_allclose(grey, (x[row].ravel() - low) / (high - low) * 255, atol=1)


def test_names_stay_texts_in_the_browser(show, table_run, images, tmp_path):
    page = show(table_run())
    headers = texts(page, "#matrix thead th")
    assert set(headers) == {EVIL, "<b>&amp;", "right"}
    assert EVIL in texts(page, "#gallery th")
    assert EVIL in texts(page, "#run-facts dd")
    data = load_dataset(images)
    model = random_model((81, 4), data, ("softmax",), class_names=NASTY)
    page = show(write_run(tmp_path / "n", model, [record(1)], {"stopped": EVIL}, data=str(images)))
    assert tuple(texts(page, "#matrix thead th")[:4]) == NASTY
    assert EVIL in texts(page, "header p")[0]
    assert page.execute_script("return document.scripts.length") == 3


def test_target_values_as_points_and_as_a_table(show, table_run):
    folder = table_run(values=True)
    page = show(folder)
    settings = RunFolder(folder).settings()
    data = load_dataset(settings["data"], label="kind", target="values")
    predicted = RunFolder(folder).model().predict(data.x_test)
    points = texts(page, ".point title")
    assert len(points) == len(data.y_test)
    for text, true, answer in zip(points, data.y_test[:, 0], predicted[:, 0], strict=True):
        found = [float(number) for number in re.findall(r"-?[\d.]+(?:e-?\d+)?", text)]
        np.testing.assert_allclose(found, [true, answer], rtol=6e-4)
    places = page.execute_script("""
        const points = [...document.querySelectorAll(".point")];
        return points.map((point) => [Number(point.getAttribute("cx")), -Number(point.getAttribute("cy"))]);
    """)
    for place, wanted in zip(np.transpose(places), (data.y_test[:, 0], predicted[:, 0]), strict=True):
        assert np.corrcoef(place, wanted)[0, 1] > 0.999999  # to the right what is true, upwards what is predicted
    worst = int(np.argmax(np.abs(predicted - data.y_test)))
    assert texts(page, "#errors tbody th")[0] == str(worst)
    assert not page.find_element("id", "judged").is_displayed()


def test_many_classes(show, tmp_path):
    """A hundred: cells without numbers, which are told when one stands on them."""
    rng = np.random.default_rng(6)
    x, y = rng.integers(0, 256, (600, 4, 4), np.uint8), np.arange(600) % 100
    np.savez(tmp_path / "many.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    data = load_dataset(tmp_path / "many.npz")
    model = random_model((16, 100), data, ("softmax",), inputs=PIXELS)
    page = show(write_run(tmp_path / "h", model, [record(1)], {"stopped": "epochs"}, data=str(tmp_path / "many.npz")))
    assert len(page.find_elements("css selector", "#matrix td[tabindex]")) == 10_000
    box = page.find_element("css selector", "#matrix td.off").rect
    assert min(box["width"], box["height"]) >= 4
    page.find_elements("css selector", "#frequent button")[0].click()
    assert re.fullmatch(r"\d+ taken for \d+: \d+ of 6", texts(page, "#cell")[0])
    assert page.find_elements("css selector", ".mistake")


def test_runs_that_are_hardly_there(show, image_run, tmp_path):
    page = show(write_run(tmp_path / "new", None, [], None, data="mnist"))
    assert texts(page, "#curves-hint") == ["No epoch has ended."]
    assert page.find_element("id", "note").text == "This run has no model yet."
    assert not page.find_element("id", "judged").is_displayed()
    bare = record(1, train_accuracy=None, test_accuracy=None, learning_rate=None)
    page = show(image_run([bare], optimizer="lbfgs", evaluate="end"))
    assert texts(page, "figcaption") == ["Cost"]
    assert texts(page, "#curves-hint") == ["Accuracies were measured at the end alone."]
    assert texts(page, ".readout") == ["epoch 1: training 1.5"]
    assert len(page.find_elements("css selector", ".spot")) == 1


def test_the_keyboard_reaches_everything(show, image_run):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page = show(image_run())
    page.execute_script("""
        window.reached = [];
        addEventListener("focusin", ({ target: e }) => reached.push(e.id, e.className, e.closest("[id]")?.id));
    """)
    ActionChains(page).send_keys(Keys.TAB * 80).perform()
    reached = {word for each in page.execute_script("return reached") for word in (each or "").split()}
    wanted = {"parts", "chart", "logarithm", "matrix", "frequent", "mistake", "further", "pad", "noise", "changed"}
    assert wanted <= reached
    hidden = "return [...document.querySelectorAll('button, select, summary, a')].filter((e) => e.tabIndex < 0).length"
    assert page.execute_script(hidden) == 0


def test_only_the_changed_settings(show, image_run):
    page, n_rows = show(image_run()), 1 + len(Config.__dataclass_fields__)  # and data
    assert (
        len([row for row in page.find_elements("css selector", ".settings tbody tr") if row.is_displayed()]) == n_rows
    )
    page.find_element("id", "changed").click()
    rows = [row.text for row in page.find_elements("css selector", ".settings tbody tr") if row.is_displayed()]
    assert [row.split()[0] for row in rows] == ["data", "activation", "epochs"]
    assert texts(page, "#command") == ["fastbp train --config a/config.toml --out OTHER"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1240])
def test_fits_the_screen(show, image_run, width, scheme):
    page = show(image_run())
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
        ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) < 380) == (scheme == "dark")
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": features})
        training = page.execute_script("return getComputedStyle(document.documentElement).getPropertyValue('--card')")
        assert training.strip() == "#ffffff"  # paper is white, whatever the screen is
        assert not page.find_element("id", "inside").is_displayed()
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_everything_has_a_name_for_screen_readers(show, image_run):
    page = show(image_run())
    parts = page.find_elements("css selector", "button, [role]:not([role=status]), section, nav, table")
    seen = [part for part in parts if part.is_displayed()]
    assert len(seen) > 40
    named = "return [...arguments[0]].map((e) => e.id || e.className || e.outerHTML.slice(0, 60))"
    bare = [part for part in seen if not part.accessible_name]
    assert page.execute_script(named, bare) == []
