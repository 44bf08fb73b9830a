"""`fastbp inspect`: the page and the JSON object, on networks that are built so that everybody can see what they do."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from fastbp.__main__ import _explain
from fastbp.cli import cli
from fastbp.data import load_dataset
from fastbp.diagnostics import diagnose
from fastbp.model import Model
from fastbp.network import Network
from fastbp.preprocessing import Scaling

N_TEST = 60


@dataclasses.dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Runs `fastbp inspect` in this process, in an empty folder; returns its exit code and what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("FASTBP_DEBUG", raising=False)

    def invoke(*args: object) -> Outcome:
        capsys.readouterr()
        result = CliRunner().invoke(cli, ["inspect", *map(str, args)], standalone_mode=False)
        code = 0 if result.exception is None else _explain(result.exception)
        return Outcome(code, result.stdout, result.stderr + capsys.readouterr().err)

    return invoke


@pytest.fixture
def bars(tmp_path) -> Path:
    """Images of 4 x 6 with 3 columns lit on the left (0) or 2 on the right (1); test images 7 and 31 are labelled 0."""
    y = np.arange(N_TEST) % 2
    x = np.zeros((N_TEST, 4, 6), np.uint8)
    x[y == 0, :, :3] = 200
    x[y == 1, :, 4:] = 200
    x[31, :, 4:] = 255  # the network is surer of bright ones
    labels = y.copy()
    labels[[7, 31]] = 0
    path = tmp_path / "bars.npz"
    np.savez(path, x_train=x[:20], y_train=y[:20], x_test=x, y_test=labels)
    return path


def bars_model(b1: float = 0.0, output: float = 4.0, **parts: Any) -> Model:
    """Tells left from right by adding up the pixels of each half."""
    network = Network((24, 2, 2), ("sigmoid", "softmax"), "cross_entropy")
    left = np.tile([1.0, 1, 1, 0, 0, 0], 4)
    W1 = np.stack([left, 1 - left], axis=1) * 0.1
    theta = np.concatenate([W1.ravel(), [b1, b1], [output, -output, -output, output], [0, 0]])
    values: dict[str, Any] = {"inputs": Scaling(0.0, 1 / 255), "class_names": ("0", "1"), "image_shape": (4, 6)}
    return Model(**{"network": network, "parameters": theta, **values, **parts})


@pytest.fixture
def saved(tmp_path) -> Path:
    path = tmp_path / "bars.safetensors"
    bars_model().save(path)
    return path


def test_a_page_for_people(run, saved, bars):
    outcome = run(saved, "--data", bars)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0].startswith("60 test samples of ")
    assert "accuracy 96.67 %, loss " in lines[0]
    assert lines[2] == "nothing unusual"
    headings = [
        "How the layers learn", "What their units do", "The worst mistakes", "What is taken for what",
        "The parameters that matter most", "The pixels that matter most", "The answer to noise",
    ]  # fmt: skip
    assert [line for line in lines if line in headings] == headings
    assert max(map(len, lines)) <= 100
    assert "\x1b" not in outcome.out


def rows_below(text: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its headers."""
    lines = text.splitlines()[text.splitlines().index(heading) + 1 :]
    lines = lines[: lines.index("") if "" in lines else None]
    headers = re.compile("(layer|sample|class|pixel|input)  ")
    start = next(number for number, line in enumerate(lines) if headers.match(line))
    return [line.split() for line in lines[start + 1 :]]


def test_one_row_per_layer(run, saved, bars):
    out = run(saved, "--data", bars).out
    data = load_dataset(bars)
    facts = diagnose(bars_model(), data.x_test, data.y_test).layers
    learn, units = rows_below(out, "How the layers learn"), rows_below(out, "What their units do")
    assert [row[:4] for row in learn] == [["1", "24", "x", "2"], ["2", "2", "x", "2"]]
    assert [len(row) for row in learn] == [9, 8]  # the last layer has no ratio
    for row, each in zip(learn, facts, strict=True):
        numbers = (each.gradient_norm, each.gradient_ratio, each.delta_norm, each.weight_norm, each.largest_weight)
        assert row[4:] == [f"{value:.3g}" for value in numbers if value is not None]
    for row, each in zip(units, facts, strict=True):
        assert row[:3] == [str(each.layer), "2", each.activation]
        assert row[3:5] == [f"{each.mean:.3g}", f"{each.deviation:.3g}"]
    assert units[0][5:] == ["0.00", "%", "0"]


def test_the_worst_mistakes_are_named_and_drawn(run, saved, bars):
    out = run(saved, "--data", bars, "--top", 2).out
    assert [row[:3] for row in rows_below(out, "The worst mistakes")] == [["31", "0", "1"], ["7", "0", "1"]]
    assert "31: 0 as 1" in out
    assert "7: 0 as 1" in out
    picture = out[out.index("of the target") : out.index("31: 0 as 1")].splitlines()[4:]
    assert len(picture) == 2  # two pixels in a character
    assert all(set(line) == {" ", "\u2588"} for line in picture)


def test_right_answers_are_no_mistakes(run, saved, bars):
    out = run(saved, "--data", bars, "--split", "train").out
    assert "20 train samples" in out
    assert "No mistakes; the samples that come nearest to one" in out
    assert "1 (right)" in out
    assert "What is taken for what" not in out


def test_confusions_and_pixels(run, saved, bars):
    out = run(saved, "--data", bars, "--top", 3).out
    assert rows_below(out, "What is taken for what") == [["0", "1", "2", "6.25", "%"]]  # of 32
    pixels = rows_below(out, "The pixels that matter most")
    assert len(pixels) == 3
    assert pixels[0][0] == "row"
    assert "bright: matters much" in out


def test_parameters_are_named(run, saved, bars):
    rows = rows_below(run(saved, "--data", bars, "--top", 60).out, "The parameters that matter most")
    named = {" ".join(row[:-2]) for row in rows}
    assert {
        "1 row 0, column 2 unit 0",
        "1 row 3, column 5 unit 1",
        "1 bias unit 1",
        "2 unit 1 output 0",
        "2 bias output 1",
    } <= named
    assert len(rows) == 20 * 2 + 2 + 2 * 2 + 2  # 20 pixels are lit in some image


def test_findings_come_first(run, tmp_path, bars):
    path = tmp_path / "stuck.safetensors"
    bars_model(b1=20.0, output=1.0).save(path)
    out = run(path, "--data", bars).out
    bullets = [line for line in out[: out.index("How the layers learn")].splitlines() if line.startswith("* ")]
    assert bullets[0].startswith("* layer 1 of 2 learns ")
    assert bullets[1].startswith("* 100 % of the activations of layer 1 of 2 are saturated, 2 of the 2 units on every")
    assert len(bullets) == 2
    theta = bars_model().parameters.copy()
    theta[-2:] = 0, 90
    bars_model(parameters=theta).save(path)
    assert "* it answers '1' to every sample, whatever it is shown\n" in run(path, "--data", bars).out


def test_a_network_that_is_sure_about_noise(run, tmp_path, bars):
    path = tmp_path / "sure.safetensors"
    bars_model(output=400.0).save(path)
    out = run(path, "--data", bars, "--seed", 3).out
    assert "* it is sure about noise: 9" in out
    tail = out[out.index("The answer to noise") :]
    assert "1,000 samples of uniform noise are taken for: " in tail
    assert "of them have 90 % or more" in tail


def test_json(run, saved, bars):
    outcome = run(saved, "--data", bars, "--json", "--top", 2, "--seed", 5)
    assert outcome.code == 0
    found = json.loads(outcome.out)
    data = load_dataset(bars)
    whole = diagnose(bars_model(), data.x_test, data.y_test, top=2, seed=5)
    assert (found["split"], found["samples"], found["classes"]) == ("test", N_TEST, ["0", "1"])
    assert found["model"] == str(saved)
    assert (found["loss"], found["accuracy"], found["findings"]) == (whole.loss, whole.accuracy, [])
    assert found["layers"] == [dataclasses.asdict(each) for each in whole.layers]
    assert found["parameters"] == [dataclasses.asdict(each) for each in whole.parameters]
    assert found["saliency"] == whole.saliency.tolist()
    assert [each["index"] for each in found["worst"]] == [31, 7]
    assert found["confusions"] == [{"target": 0, "answer": 1, "count": 2, "share": 2 / 32}]
    assert found["noise"]["seed"] == 5
    assert found["noise"]["counts"] == list(whole.noise.counts)


def test_a_sample_of_the_samples_keeps_their_numbers(run, saved, bars):
    data, seen = load_dataset(bars), set()
    for seed in range(12):
        found = json.loads(run(saved, "--data", bars, "--json", "--samples", 10, "--seed", seed, "--top", 10).out)
        assert found["samples"] == len(found["worst"]) == 10
        indices = [each["index"] for each in found["worst"]]
        assert len(set(indices)) == 10
        assert [each["target"] for each in found["worst"]] == data.y_test[indices].tolist()
        seen.add(tuple(sorted(indices)))
    assert len(seen) == 12
    again = json.loads(run(saved, "--data", bars, "--json", "--samples", 10, "--seed", 0, "--top", 10).out)
    assert tuple(sorted(each["index"] for each in again["worst"])) in seen
    everything = json.loads(run(saved, "--data", bars, "--json", "--samples", 1000).out)
    assert everything["samples"] == N_TEST


def test_pictures_of_a_sample_of_the_samples_are_the_right_ones(run, saved, bars):
    for seed in range(6):
        out = run(saved, "--data", bars, "--samples", 1, "--seed", seed, "--top", 1).out
        [row] = rows_below(out, next(line for line in out.splitlines() if "istakes" in line))
        is_left = load_dataset(bars).x_test[int(row[0])].reshape(4, 6)[0, 0] > 0
        picture = out[out.index("of the target") :].splitlines()[3]
        assert picture.strip() == (3 if is_left else 2) * "\u2588"
        assert f"{row[0]}: {row[1]} as {0 if is_left else 1}" in out
        assert "what units do on every sample is judged from 50 samples on, and not from 1" in out


def test_the_seed_is_that_of_the_training_run(run, tmp_path, bars):
    path = tmp_path / "seeded.safetensors"
    bars_model(config={"seed": 11}).save(path)
    assert json.loads(run(path, "--data", bars, "--json").out)["noise"]["seed"] == 11


def test_other_data_than_that_of_the_training_is_noted(run, tmp_path, bars):
    path = tmp_path / "other.safetensors"
    bars_model(data_name="mnist", data_sha256="0" * 64).save(path)
    assert (
        run(path, "--data", bars).err.splitlines()[-1]
        == "note: this is not the data that the model was trained on (mnist)"
    )
    assert run(path, "--data", bars, "--quiet").err == ""
    bars_model(data_name="bars", data_sha256=load_dataset(bars).sha256).save(path)
    assert "note:" not in run(path, "--data", bars).err


# --- tables of numbers ------------------------------------------------------------------------------------------------


def test_values(run, tmp_path):
    """y = 2 width + 1; the last rows say something else."""
    rows = [f"{k},{k % 3},{2 * k + 1}" for k in range(60)] + ["10,0,41", "20,0,11"]
    (tmp_path / "line.csv").write_text("width,other,price\n" + "\n".join(rows) + "\n")
    network = Network((2, 1), ("identity",), "squared_error")
    Model(network, np.array([2.0, 0, 1])).save(tmp_path / "line.safetensors")
    options = ["--data", "line.csv", "--label", "price", "--test-fraction", 0, "--split", "train"]
    outcome = run("line.safetensors", *options, "--top", 2)
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("62 train samples of line.csv: loss 10.48\n")  # (20^2 + 30^2) / 2 / 62 = 10.48
    assert "nothing unusual" in outcome.out
    worst = rows_below(outcome.out, "The largest errors")
    assert [row[1:] for row in worst] == [["11", "41", "450"], ["41", "21", "200"]]
    assert "The inputs that matter most" in outcome.out
    assert "width" in outcome.out
    assert "The answer to noise" not in outcome.out
    found = json.loads(run("line.safetensors", *options, "--json").out)
    assert (found["accuracy"], found["noise"], found["confusions"], found["classes"]) == (None, None, [], [])
    assert found["worst"][0]["target"] == [11.0]


def test_classes_with_names(run, tmp_path):
    rows = [f"{k},{'dog' if k > 30 else 'cat'}" for k in range(60)]
    (tmp_path / "pets.csv").write_text("weight,kind\n" + "\n".join(rows) + "\n")
    network = Network((1, 1), ("sigmoid",), "binary_cross_entropy")  # one output for two classes
    Model(network, np.array([0.2, -5.0]), class_names=("cat", "dog")).save(tmp_path / "pets.safetensors")
    out = run("pets.safetensors", "--data", "pets.csv", "--label", "kind", "--split", "train", "--test-fraction", 0).out
    assert rows_below(out, "What is taken for what")[0][:3] == ["cat", "dog", "5"]  # 26 to 30
    assert {" ".join(row[:-2]) for row in rows_below(out, "The parameters that matter most")} == {
        "1 weight unit 0",
        "1 bias unit 0",
    }
    assert "\u2588" not in out
    other_way = Model(network, np.array([-0.2, 5.1]), class_names=("dog", "cat"))  # the data count cat, dog
    other_way.save(tmp_path / "pets.safetensors")
    options = ["--data", "pets.csv", "--label", "kind", "--split", "train", "--test-fraction", 0]
    found = json.loads(run("pets.safetensors", *options, "--json").out)
    assert (found["accuracy"], found["classes"]) == (55 / 60, ["dog", "cat"])
    assert [(each["target"], each["answer"], each["count"]) for each in found["confusions"]] == [(1, 0, 5)]


# --- what is refused --------------------------------------------------------------------------------------------------


def test_what_is_refused(run, tmp_path, saved, bars):
    step = Model(Network((24, 2), ("step",), "squared_error"), np.zeros(50), class_names=("0", "1"))
    step.save(tmp_path / "step.safetensors")
    values = Model(Network((24, 1), ("identity",), "squared_error"), np.zeros(25))
    values.save(tmp_path / "values.safetensors")
    (tmp_path / "pair.csv").write_text("a,b\n" + "1,0\n2,1\n" * 20)
    for arguments, code, words in (
        ([saved, "--data", "pair.csv", "--label", "b"], 2, "pair.csv has 1 features and the model reads 24"),
        (["step.safetensors", "--data", bars], 2, "24-2 has step units, which have no gradient"),
        (["values.safetensors", "--data", "pair.csv", "--label", "b"], 2, "has 1 features and the model reads 24"),
        ([saved, "--data", bars, "--samples", 0], 2, "0 is not in the range x>=1"),
        ([saved, "--data", bars, "--top", 0], 2, "0 is not in the range"),
        ([saved, "--data", bars, "--split", "all"], 2, "'all' is not one of 'test', 'train'"),
        ([saved, "--data", "nothing.csv"], 3, "nothing.csv"),
        (["nothing.safetensors", "--data", bars], 4, "nothing.safetensors"),
        ([bars, "--data", bars], 4, "bars.npz"),
    ):
        outcome = run(*arguments)
        assert outcome.code == code, outcome
        assert outcome.out == ""
        assert words in outcome.err
        assert "internal error" not in outcome.err
        assert sum(line.startswith("Error: ") for line in outcome.err.splitlines()) == 1


def test_a_split_without_samples(run, tmp_path):
    (tmp_path / "pair.csv").write_text("a,b\n" + "1,x\n2,y\n" * 20)
    network = Network((1, 2), ("softmax",), "cross_entropy")
    Model(network, np.zeros(4), class_names=("x", "y")).save(tmp_path / "pair.safetensors")
    outcome = run("pair.safetensors", "--data", "pair.csv", "--label", "b", "--test-fraction", 0)
    assert (outcome.code, outcome.err) == (2, "Error: pair.csv has no test samples; use --split train\n")
    assert run("pair.safetensors", "--data", "pair.csv", "--label", "b", "--split", "train").code == 0


def test_help(run):
    outcome = run("--help")
    assert outcome.code == 0
    for name in ("--data", "--split", "--samples", "--top", "--seed", "--json"):
        assert name in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 100
