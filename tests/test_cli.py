"""The command line: options, results, exit codes; signals and pipes in processes of their own."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import fastbp
from fastbp.__main__ import _explain
from fastbp.callbacks import Plan
from fastbp.cli import cli
from fastbp.config import Config
from fastbp.data import Dataset
from fastbp.data.download import MIRRORS
from fastbp.errors import DivergedError, FastbpError
from fastbp.gpu import Device, Report
from fastbp.model import Model, load
from fastbp.network import Network
from fastbp.options import option_name
from fastbp.preprocessing import Scaling
from fastbp.result import Interrupted, TrainingResult

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = os.environ.get("FASTBP_DATA")
REQUIRED = {"test_accuracy", "train_accuracy", "loss", "epochs", "seed", "parameters", "engine"}
REQUIRED |= {"train_seconds", "samples_per_second"}


@dataclasses.dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Runs a command in this process, in an empty folder; returns its exit code and what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTBP_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTBP_DATA", raising=False)
    monkeypatch.delenv("FASTBP_DEBUG", raising=False)

    def invoke(*args: object) -> Outcome:
        capsys.readouterr()
        result = CliRunner().invoke(cli, [str(arg) for arg in args], standalone_mode=False)
        code = result.return_value if isinstance(result.return_value, int) else 0
        if result.exception is not None:
            code = _explain(result.exception)
        return Outcome(code, result.stdout, result.stderr + capsys.readouterr().err)

    return invoke


def image_data(n: int = 40) -> Dataset:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (n, 28, 28), np.uint8), np.arange(n) % 10
    return Dataset.from_arrays(x, y, x[:20], y[:20], name="fake")


def image_model(**changes: object) -> Model:
    network = Network((784, 16, 16, 10), ("sigmoid", "sigmoid", "softmax"), "cross_entropy")
    parts: dict[str, object] = {
        "network": network, "parameters": network.initial_parameters(), "inputs": Scaling(0.0, 1 / 255),
        "class_names": tuple("0123456789"), "image_shape": (28, 28), "config": Config().as_dict(), "data_name": "fake",
    }  # fmt: skip
    return Model(**{**parts, **changes})  # type: ignore[arg-type]


def result_of(config: Config, **changes: object) -> TrainingResult:
    values: dict[str, object] = {
        "model": image_model(config=config.as_dict()), "history": (), "loss": 0.25, "train_accuracy": 0.96,
        "test_accuracy": 0.9512, "test_loss": 0.3, "epochs": config.epochs, "seed": config.seed,
        "engine": "fused sparse float32", "train_seconds": 0.1, "samples_per_second": 5e6, "stopped": "epochs",
    }  # fmt: skip
    return TrainingResult(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def fake(monkeypatch):
    """A training that takes no time. `fake.seen` holds what it was called with; `fake.error` is raised if set."""

    class Fake:
        def __init__(self) -> None:
            self.seen: dict[str, object] = {}
            self.loaded: dict[str, object] = {}
            self.error: BaseException | None = None
            self.changes: dict[str, object] = {}

        def load_dataset(self, source: str = "digits", **options: object) -> Dataset:
            self.loaded = {"source": source, **options}
            return image_data()

        def train(
            self, data: Dataset, *, config: Config, init_from: Model | None, callbacks: tuple, threads: int
        ) -> TrainingResult:
            self.seen = {"data": data, "config": config, "init_from": init_from, "threads": threads}
            model = image_model()
            for callback in callbacks:
                rate = None if config.optimizer == "lbfgs" else 1.0
                config_used = dataclasses.replace(config, learning_rate=rate)
                callback.on_start(
                    Plan(config_used, model.network, "fused sparse float32", 40, 20, 13_002, 0.5, 0, None)
                )
            if self.error is not None:
                raise self.error
            return result_of(config, **self.changes)

    it = Fake()
    monkeypatch.setattr("fastbp.training.train", it.train)
    monkeypatch.setattr("fastbp.data.loading.load_dataset", it.load_dataset)
    return it


# help, versions, imports


def test_both_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert fastbp.__version__ == project["version"]


def test_version(run):
    assert run("--version").out == "fastbp 0.1.0\n"


@pytest.mark.parametrize("command", [[], ["train"], ["eval"], ["predict"], ["data"], ["data", "list"], ["data", "get"],
                                     ["data", "verify"], ["data", "show"], ["info"], ["doctor"]])  # fmt: skip
def test_every_command_has_help(run, command):
    outcome = run(*command, "--help")
    assert outcome.code == 0
    assert "Usage:" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 100


def test_help_names_every_setting_with_its_default(run):
    text = " ".join(run("train", "--help").out.split())
    for field in dataclasses.fields(Config):
        assert option_name(field.name) in text
        if isinstance(field.default, int | float | str) and not isinstance(field.default, bool):
            assert f"default: {field.default}" in text


PROBE = """
import sys
{}
heavy = [name for name in ("numpy", "numba", "rich", "safetensors", "PIL", "llvmlite") if name in sys.modules]
sys.stderr.write("heavy: " + ",".join(heavy))
"""


@pytest.mark.parametrize(
    "code",
    [
        "import fastbp; dir(fastbp)",
        "sys.argv = ['fastbp', '--help']; from fastbp.__main__ import main; main()",
        "sys.argv = ['fastbp', 'train', '--help']; from fastbp.__main__ import main; main()",
        "sys.argv = ['fastbp', '--version']; from fastbp.__main__ import main; main()",
    ],
)
def test_help_and_import_load_nothing_heavy(code):
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(code)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stderr == "heavy: "


def test_public_names_are_imported_on_first_use():
    assert fastbp.Config is Config
    assert fastbp.load is load
    assert set(fastbp.__all__) <= set(dir(fastbp))
    for name in fastbp.__all__:
        assert getattr(fastbp, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = fastbp.nonsense


# train: options to settings


@pytest.mark.parametrize(
    ("options", "setting", "value"),
    [
        (["--layers", "784-16-16-10"], "layers", "784-16-16-10"),
        (["--activation", "relu,tanh"], "activation", "relu,tanh"),
        (["--output-activation", "softmax"], "output_activation", "softmax"),
        (["--cost", "mean_squared_error"], "cost", "mean_squared_error"),
        (["--init", "he"], "init", "he"),
        (["--optimizer", "adam"], "optimizer", "adam"),
        (["--learning-rate", "1e-3"], "learning_rate", 0.001),
        (["--optimizer", "adamw"], "optimizer", "adamw"),
        (["--clip-norm", "5"], "clip_norm", 5.0),
        (["--dropout", "0.2"], "dropout", 0.2),
        (["--dropout", "0.2,0"], "dropout", "0.2,0"),
        (["--label-smoothing", "0.1"], "label_smoothing", 0.1),
        (["--class-weight", "balanced"], "class_weight", "balanced"),
        (["--validation", "0.1"], "validation", 0.1),
        (["--patience", "3"], "patience", 3),
        (["--time-limit", "1.5"], "time_limit", 1.5),
        (["--on-nan", "restore"], "on_nan", "restore"),
        (["--weight-decay", "0.01"], "weight_decay", 0.01),
        (["--schedule", "constant"], "schedule", "constant"),
        (["--batch-size", "10"], "batch_size", 10),
        (["--batch-size", "full"], "batch_size", None),
        (["--epochs", "0"], "epochs", 0),
        (["--stop-below", "0.1"], "stop_below", 0.1),
        (["--seed", "7"], "seed", 7),
        (["--no-shuffle"], "shuffle", False),
        (["--normalize", "standard"], "normalize", "standard"),
        (["--normalize", "scale"], "normalize", "scale"),
        (["--dtype", "float64"], "dtype", "float64"),
        (["--device", "cpu"], "device", "cpu"),
        (["--engine", "stages"], "engine", "stages"),
        (["--input-layout", "dense"], "input_layout", "dense"),
        (["--evaluate", "end"], "evaluate", "end"),
    ],
)
def test_options_become_settings(run, fake, options, setting, value):
    assert run("train", *options).code == 0
    assert fake.seen["config"] == Config(**{setting: value})


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (["--optimizer", "nesterov", "--momentum", "0.5"], {"optimizer": "nesterov", "momentum": 0.5}),
        (["--optimizer", "rmsprop", "--rho", "0.5"], {"optimizer": "rmsprop", "rho": 0.5}),
        (["--schedule", "step", "--step-every", "3"], {"schedule": "step", "step_every": 3}),
        (["--schedule", "one_cycle", "--warm-up", "0.1"], {"schedule": "one_cycle", "warm_up": 0.1}),
        (["--optimizer", "lbfgs", "--tol", "0"], {"optimizer": "lbfgs", "tol": 0.0}),
        (["--optimizer", "lbfgs", "--batch-size", "full"], {"optimizer": "lbfgs", "batch_size": None}),
        (["--patience", "3", "--min-delta", "0.01"], {"patience": 3, "min_delta": 0.01}),
    ],
)
def test_options_that_go_together(run, fake, options, settings):
    assert run("train", *options).code == 0
    assert fake.seen["config"] == Config(**settings)


def test_one_network_is_trained_on_one_core_unless_more_are_asked_for(run, fake):
    assert run("train").code == 0
    assert fake.seen["threads"] == 1
    assert run("train", "--threads", "3").code == 0
    assert fake.seen["threads"] == 3


def test_without_options_all_settings_are_the_defaults(run, fake):
    assert run("train").code == 0
    assert fake.seen["config"] == Config()
    assert fake.loaded["source"] == "digits"
    assert fake.loaded["target"] == "auto"


def test_data_options(run, fake):
    run(
        "train", "--data", "iris.csv", "--label", "kind", "--test-fraction", "0.3", "--data-dir", "there", "--offline",
        "--seed", 5, "--cost", "squared_error",
    )  # fmt: skip
    fake.loaded.pop("progress")
    assert fake.loaded == {
        "source": "iris.csv", "label": "kind", "target": "values", "test_fraction": 0.3, "seed": 5, "data_dir": "there",
        "offline": True,
    }  # fmt: skip


WRONG = {
    "--layers": ["16-0", "16,16", "x", "-1", "20000"],
    "--activation": ["softmax", "sigmoid,", "tan"],
    "--output-activation": ["maxout", "max"],
    "--cost": ["mse"],
    "--init": ["zeros"],
    "--optimizer": ["sgdd"],
    "--learning-rate": ["0", "-1", "nan", "inf", "fast"],
    "--momentum": ["1", "-0.1", "x"],
    "--beta-1": ["1"],
    "--beta-2": ["-1"],
    "--epsilon": ["0"],
    "--tol": ["-1", "nan", "small"],
    "--weight-decay": ["-1", "nan"],
    "--schedule": ["sine"],
    "--rho": ["1", "-0.1"],
    "--clip-norm": ["0", "x"],
    "--step-every": ["0", "1.5"],
    "--rate-factor": ["0", "1"],
    "--rate-patience": ["0"],
    "--inverse-power": ["0"],
    "--warm-up": ["1", "-0.1"],
    "--dropout": ["1", "0.5,x", "-0.1", "nan"],
    "--label-smoothing": ["1", "-0.1"],
    "--class-weight": ["fair"],
    "--validation": ["1", "-0.1", "some"],
    "--patience": ["0", "1.5"],
    "--min-delta": ["-1"],
    "--time-limit": ["0", "-1"],
    "--on-nan": ["hope"],
    "--batch-size": ["0", "-5", "all", "2.5"],
    "--epochs": ["-1", "1.5", "many"],
    "--stop-below": ["nan", "x"],
    "--seed": ["-1", "9223372036854775808", "0.5"],
    "--normalize": ["yes"],
    "--dtype": ["float16"],
    "--device": ["tpu"],
    "--engine": ["fast"],
    "--input-layout": ["csr"],
    "--evaluate": ["never"],
    "--test-fraction": ["1", "-0.1", "half"],
}


def test_every_setting_has_wrong_values_to_try():
    assert {option_name(field.name) for field in dataclasses.fields(Config)} - {"--shuffle"} <= set(WRONG)


@pytest.mark.parametrize(("option", "value"), [(option, value) for option, values in WRONG.items() for value in values])
def test_wrong_values_are_usage_errors_that_name_the_option(run, fake, option, value):
    outcome = run("train", option, value)
    assert outcome.code == 2
    assert option in outcome.err
    assert "Traceback" not in outcome.err
    assert fake.loaded == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--cost", "cross_entropy", "--output-activation", "tanh"],
            "cost cross_entropy needs --output-activation softmax",
        ),
        (["--cost", "squared_error", "--output-activation", "softmax"], "--output-activation softmax"),
        (["--nonsense"], "--nonsense"),
        (["--momentum", "0.5"], "momentum is for optimizer momentum and nesterov and has no use with optimizer sgd"),
        (
            ["--optimizer", "lbfgs", "--learning-rate", "0.1"],
            "--learning-rate has no use with optimizer lbfgs, whose line search finds the length of each step",
        ),
        (["--optimizer", "lbfgs", "--batch-size", "64"], "--batch-size has no use with optimizer lbfgs"),
        (["--step-every", "2", "--schedule", "cosine"], "--step-every is for schedule step"),
        (["--min-delta", "0.1"], "--min-delta is for patience and for schedule adaptive"),
        (["--log", "log.txt"], "the name of a log must end in .csv or .jsonl, got log.txt"),
        (["--checkpoint", "no/where"], "--checkpoint no/where: there is no folder"),
        (["--seeds", "0-1", "--log", "log.csv"], "--log follows one network; leave out --seeds"),
        (["--seeds", "0-1", "--checkpoint", "c"], "--checkpoint follows one network; leave out --seeds"),
        (["extra"], "extra"),
    ],
)
def test_combinations_and_strangers_are_usage_errors(run, fake, options, words):
    outcome = run("train", *options)
    assert outcome.code == 2
    assert words in outcome.err


# train: results


def test_json_is_exactly_one_object(run, fake):
    outcome = run("train", "--json")
    result = json.loads(outcome.out)
    assert set(result) >= REQUIRED
    assert result["parameters"] == 13_002
    assert result["test_accuracy"] == 0.9512
    assert result["model"] == "model.safetensors"
    assert outcome.out.count("\n") == 1


def test_json_has_null_for_what_is_no_number(run, fake):
    fake.changes = {"loss": float("nan"), "test_accuracy": None, "samples_per_second": float("inf")}
    result = json.loads(run("train", "--json").out, parse_constant=lambda name: pytest.fail(name))
    assert (result["loss"], result["test_accuracy"], result["samples_per_second"]) == (None, None, None)


def test_the_result_for_people(run, fake):
    outcome = run("train")
    assert re.search(r"test accuracy +95\.12 %", outcome.out)
    assert "model.safetensors" in outcome.out
    assert "13,002 parameters" in outcome.err
    assert "epoch" not in outcome.out.splitlines()[0]


def test_quiet_silences_stderr_only(run, fake):
    outcome = run("train", "--quiet")
    assert outcome.err == ""
    assert "95.12 %" in outcome.out
    fake.error = FastbpError("something is wrong")
    assert "something is wrong" in run("train", "--quiet").err


def test_the_model_is_saved_and_replaces_an_older_one(run, fake, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"old")
    run("train")
    assert load(tmp_path / "model.safetensors").network.n_parameters == 13_002
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["model.safetensors"]


@pytest.mark.parametrize("options", [["--no-save"], ["--save", ""]])
def test_saving_can_be_left_out(run, fake, tmp_path, options):
    outcome = run("train", *options, "--json")
    assert json.loads(outcome.out)["model"] is None
    assert not list(tmp_path.glob("*.safetensors"))


def test_init_from_brings_its_network_along(run, fake, tmp_path):
    network = Network((784, 5, 10), ("tanh", "softmax"), "cross_entropy")
    image_model(network=network, parameters=network.initial_parameters()).save(tmp_path / "start.safetensors")
    assert run("train", "--init-from", "start.safetensors").code == 0
    config = fake.seen["config"]
    assert (config.layers, config.activation, config.output_activation) == ("784-5-10", "tanh", "softmax")
    assert fake.seen["init_from"].network == network
    run("train", "--init-from", "start.safetensors", "--layers", "32")
    assert fake.seen["config"].layers == "32"


# train: places that cannot be written


@pytest.mark.parametrize(
    ("place", "code", "words"),
    [
        (".", 2, "is a folder"),
        ("missing/model.safetensors", 2, "there is no folder"),
        ("file/model.safetensors", 2, "there is no folder"),
        ("/dev/null", 2, "not a plain file"),
        pytest.param("/proc/model.safetensors", 1, "cannot be written", marks=pytest.mark.skipif(
            sys.platform != "linux", reason="/proc, where even root cannot write, is Linux's")),
    ],
)  # fmt: skip
def test_an_unwritable_place_is_found_before_training(run, fake, tmp_path, place, code, words):
    (tmp_path / "file").write_text("")
    outcome = run("train", "--save", place)
    assert outcome.code == code
    assert words in outcome.err
    assert "--save" in outcome.err
    assert fake.loaded == {}


def test_a_full_disk_at_the_end_costs_no_result(run, fake, monkeypatch, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"old")

    def full(*_: object) -> None:
        raise FastbpError("cannot write model.safetensors: No space left on device; choose a place")

    monkeypatch.setattr(Model, "save", full)
    outcome = run("train", "--json")
    assert outcome.code == 1
    assert json.loads(outcome.out)["test_accuracy"] == 0.9512
    assert json.loads(outcome.out)["model"] is None
    assert "training is done, but the model is not saved" in outcome.err
    assert "No space left" in outcome.err
    assert (tmp_path / "model.safetensors").read_bytes() == b"old"


# train: cut short


def test_divergence_saves_the_last_finite_weights(run, fake, tmp_path):
    fake.error = DivergedError("training diverged in epoch 3; use a learning_rate below 9", result_of(Config()))
    outcome = run("train", "--json")
    assert outcome.code == 5
    assert outcome.out == ""
    assert (
        "epoch 3; use a --learning-rate below 9; the last finite weights are saved in model.safetensors" in outcome.err
    )
    assert load(tmp_path / "model.safetensors").network.n_parameters == 13_002


def test_interruption_saves_the_weights_so_far(run, fake, tmp_path):
    fake.error = Interrupted(result_of(Config()))
    outcome = run("train")
    assert outcome.code == 130
    assert "the weights so far are saved in model.safetensors" in outcome.err
    load(tmp_path / "model.safetensors")


def test_interruption_before_training_changes_nothing(run, fake, tmp_path):
    fake.error = KeyboardInterrupt()
    outcome = run("train")
    assert outcome.code == 130
    assert "nothing was changed" in outcome.err
    assert not (tmp_path / "model.safetensors").exists()


def test_interruption_with_no_save(run, fake):
    fake.error = Interrupted(result_of(Config()))
    outcome = run("train", "--no-save")
    assert outcome.code == 130
    assert "no model is saved, as asked" in outcome.err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (MemoryError("array of 9 TB"), 1, "not enough memory"),
        (OSError(28, "No space left on device", "here"), 1, "here: No space left on device"),
        (ZeroDivisionError("deep inside"), 1, "internal error (ZeroDivisionError: deep inside)"),
        (BrokenPipeError(32, "Broken pipe"), 1, ""),
    ],
)
def test_unexpected_errors_are_one_sentence(run, fake, error, code, words):
    fake.error = error
    outcome = run("train", "--quiet")
    assert outcome.code == code
    assert words in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.err.count("\n") <= 1


def test_the_traceback_can_be_asked_for(run, fake, monkeypatch):
    fake.error = ZeroDivisionError("deep inside")
    monkeypatch.setenv("FASTBP_DEBUG", "1")
    assert "Traceback" in run("train").err


# eval


@pytest.fixture
def model_file(tmp_path):
    image_model().save(tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def save_images(path: Path, n: int = 30, n_classes: int = 10, size: int = 28) -> np.ndarray:
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 256, (n, size, size), np.uint8), np.arange(n) % n_classes
    np.savez(path, x_train=x, y_train=y, x_test=x[: n // 2], y_test=y[: n // 2])
    return x


def test_eval_gives_the_share_of_right_answers(run, model_file, tmp_path):
    x = save_images(tmp_path / "d.npz")
    expected = load(model_file).predict(x)
    for split, part in (("test", slice(0, 15)), ("train", slice(0, 30))):
        outcome = run("eval", model_file, "--data", "d.npz", "--split", split, "--json")
        result = json.loads(outcome.out)
        assert result[f"{split}_accuracy"] == pytest.approx(
            float((expected[part] == (np.arange(30) % 10)[part]).mean())
        )
        assert result["loss"] > 0
    assert re.search(r"accuracy +\d+\.\d\d %", run("eval", model_file, "--data", "d.npz").out)


@pytest.mark.parametrize(("size", "n_classes", "numbers"), [(8, 10, ("64", "784")), (28, 12, ("12", "10"))])
def test_eval_on_data_that_does_not_fit(run, model_file, tmp_path, size, n_classes, numbers):
    save_images(tmp_path / "d.npz", n_classes=n_classes, size=size)
    outcome = run("eval", model_file, "--data", "d.npz")
    assert outcome.code == 2
    for number in numbers:
        assert number in outcome.err


def test_eval_matches_classes_by_name(run, tmp_path):
    network = Network((1, 3), ("softmax",), "cross_entropy")
    theta = np.array([1.0, 0.0, -1.0, 0.0, 0.5, 0.0], np.float32)  # x > 0.5: a; x < -0.5: c; between: b
    Model(network, theta, class_names=("a", "b", "c")).save(tmp_path / "m.safetensors")
    (tmp_path / "d.csv").write_text("x,label\n-2,c\n-3,c\n0,b\n0.1,b\n")
    result = json.loads(
        run("eval", "m.safetensors", "--data", "d.csv", "--test-fraction", 0, "--split", "train", "--json").out
    )
    assert result["train_accuracy"] == 1.0
    (tmp_path / "d.csv").write_text("x,label\n-2,c\n-3,c\n0,b\n5,zebra\n")
    outcome = run("eval", "m.safetensors", "--data", "d.csv", "--split", "train")
    assert outcome.code == 2
    assert "zebra" in outcome.err


def test_eval_of_a_regression(run, tmp_path):
    network = Network((1, 1), ("identity",), "squared_error")
    Model(network, np.array([2.0, 1.0])).save(tmp_path / "m.safetensors")
    (tmp_path / "d.csv").write_text("x,y\n1,3\n2,5.5\n")
    args = ("eval", "m.safetensors", "--data", "d.csv", "--test-fraction", 0, "--split", "train")
    result = json.loads(run(*args, "--json").out)
    assert result["loss"] == pytest.approx(0.5 * 0.25 / 2)
    assert result["train_accuracy"] is None
    assert run(*args).code == 0


def test_eval_without_test_samples(run, model_file, tmp_path):
    x = np.zeros((4, 28, 28), np.uint8)
    np.savez(tmp_path / "d.npz", x_train=x, y_train=np.arange(4))
    outcome = run("eval", model_file, "--data", "d.npz", "--test-fraction", "0")
    assert outcome.code == 2
    assert "--split train" in outcome.err


# predict


def test_predict_answers_for_whole_files(run, model_file, tmp_path):
    images = np.random.default_rng(3).integers(0, 256, (7, 28, 28), np.uint8)
    np.save(tmp_path / "many.npy", images)
    np.save(tmp_path / "one.npy", images[0])
    result = json.loads(run("predict", model_file, "many.npy", "one.npy", "--json").out)
    model = load(model_file)
    assert result["labels"] == [*model.predict(images).tolist(), int(model.predict(images[:1])[0])]
    assert np.array(result["probabilities"]) == pytest.approx(
        np.concatenate([model.outputs(images), model.outputs(images[:1])])
    )
    assert result["files"] == ["many.npy"] * 7 + ["one.npy"]
    rows = run("predict", model_file, "many.npy", "one.npy").out.splitlines()
    assert len(rows) == 9
    assert rows[0].split() == ["file", "label", "probability", "next"]
    assert rows[1].split()[:3] == ["many.npy", "[0]", str(result["labels"][0])]


def test_predict_names_classes_that_have_names(run, tmp_path):
    network = Network((2, 2), ("softmax",), "cross_entropy")
    Model(network, np.array([9.0, 0, 0, 9.0, 0, 0]), class_names=("cat", "hot dog")).save(tmp_path / "m.safetensors")
    (tmp_path / "rows.csv").write_text("1,0\n0,1\n")
    assert json.loads(run("predict", "m.safetensors", "rows.csv", "--json").out)["labels"] == ["cat", "hot dog"]
    assert "hot dog" in run("predict", "m.safetensors", "rows.csv").out


def test_file_names_reach_the_terminal_without_control_characters(run, model_file, tmp_path):
    np.save(tmp_path / "a\x1b[31m.npy", np.zeros((28, 28), np.uint8))
    outcome = run("predict", model_file, "a\x1b[31m.npy", "b\x1b[31m.npy")
    assert outcome.code == 3
    assert "\x1b" not in outcome.err
    assert "\x1b" not in run("predict", model_file, "a\x1b[31m.npy").out


@pytest.mark.parametrize(
    ("activations", "cost", "theta", "expected"),
    [
        (("sigmoid",), "binary_cross_entropy", [0.0, np.log(3)], [0.25, 0.75]),
        (("tanh",), "squared_error", [0.0, np.arctanh(0.5)], [0.25, 0.75]),
        (("identity",), "squared_error", [0.0, 1.5], [0.0, 1.0]),
    ],
)
def test_a_single_output_gives_two_probabilities(run, tmp_path, activations, cost, theta, expected):
    model = Model(Network((1, 1), activations, cost), np.array(theta), class_names=("no", "yes"))
    model.save(tmp_path / "m.safetensors")
    (tmp_path / "rows.csv").write_text("1\n")
    result = json.loads(run("predict", "m.safetensors", "rows.csv", "--json").out)
    assert result["labels"] == ["yes"]
    assert result["probabilities"][0] == pytest.approx(expected)


def test_predict_values(run, tmp_path):
    Model(Network((1, 1), ("identity",), "squared_error"), np.array([2.0, 1.0])).save(tmp_path / "m.safetensors")
    (tmp_path / "rows.csv").write_text("1\n2.5\n")
    assert json.loads(run("predict", "m.safetensors", "rows.csv", "--json").out)["values"] == [[3.0], [6.0]]
    assert run("predict", "m.safetensors", "rows.csv").out.split()[-1] == "6"


@pytest.mark.parametrize(
    ("file", "contents", "code"),
    [
        ("missing.png", None, 3),
        ("bad.png", b"\x89PNG\r\n\x1a\nxx", 3),
        ("bad.npy", b"\x93NUMPY\x01", 3),
        ("bad.gz", b"\x1f\x8b00", 3),
    ],
)
def test_predict_refuses_bad_files_by_name(run, model_file, tmp_path, file, contents, code):
    if contents is not None:
        (tmp_path / file).write_bytes(contents)
    outcome = run("predict", model_file, file)
    assert outcome.code == code
    assert file in outcome.err


def test_predict_needs_files(run, model_file):
    assert run("predict", model_file).code == 2


@pytest.mark.parametrize("command", [["eval"], ["predict", "x.npy"], ["info"]])
@pytest.mark.parametrize("contents", [None, b"", b"not a model", b"\xff" * 100])
def test_bad_model_files(run, tmp_path, command, contents):
    np.save(tmp_path / "x.npy", np.zeros((28, 28)))
    if contents is not None:
        (tmp_path / "m.safetensors").write_bytes(contents)
    outcome = run(command[0], "m.safetensors", *command[1:])
    assert outcome.code == 4
    assert "m.safetensors" in outcome.err


def test_a_bad_start_model_is_found_before_the_data_is_loaded(run, fake, tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"not a model")
    assert run("train", "--init-from", "m.safetensors").code == 4
    assert fake.loaded == {}


# info


def test_info_about_a_model(run, model_file):
    facts = json.loads(run("info", model_file, "--json").out)
    assert facts["network"] == "784-16-16-10"
    assert facts["parameters"] == 13_002
    assert facts["bytes"] == model_file.stat().st_size
    assert facts["settings"]["epochs"] == 10
    text = run("info", model_file).out
    assert "13002" in text
    assert "cross_entropy" in text
    assert max(map(len, text.splitlines())) <= 80 or str(model_file) in text


def test_info_shows_control_characters_harmlessly(run, tmp_path):
    image_model(config={"note": "\x1b[2J"}).save(tmp_path / "m.safetensors")
    out = run("info", "m.safetensors").out
    assert "\x1b" not in out
    assert "\\x1b[2J" in out


def test_info_about_the_machine(run, tmp_path):
    facts = json.loads(run("info", "--json").out)
    assert facts["fastbp"] == fastbp.__version__
    assert facts["numpy"] == np.__version__
    assert facts["python"].startswith(f"{sys.version_info[0]}.{sys.version_info[1]}")
    assert facts["threads"] >= 1
    assert facts["vector_bits"] in (128, 256, 512)
    assert Path(facts["cache"]) == tmp_path / "cache"
    for name in ("numba", "llvmlite", "cpu", "cache"):
        assert name in run("info").out


def test_info_about_a_gpu(run, monkeypatch):
    device = Device("NVIDIA H100", (9, 0), 80 * 2**30, 132)
    shown = "NVIDIA H100 (132 multiprocessors, 80 GiB, compute capability 9.0)"
    monkeypatch.setattr("fastbp.gpu.report", lambda: Report("numba-cuda 0.30.4", "13.0", (device,), None))
    facts = json.loads(run("info", "--json").out)
    assert facts["gpu"] == [shown]
    assert (facts["gpu_driver"], facts["gpu_package"]) == ("for CUDA 13.0", "numba-cuda 0.30.4")
    assert facts["gpu_problem"] is None
    for text in ("NVIDIA H100 (132", "for CUDA 13.0", "numba-cuda 0.30.4"):
        assert text in run("info").out


def test_info_about_no_gpu(run, monkeypatch):
    monkeypatch.setattr("fastbp.gpu.report", lambda: Report(None, None, (), "device cuda needs a driver; use another"))
    facts = json.loads(run("info", "--json").out)
    assert facts["gpu_problem"] == "device cuda needs a driver; use another"
    assert facts["gpu"] is facts["gpu_driver"] is facts["gpu_package"] is None
    assert re.search("gpu problem +device cuda needs a driver; use another", run("info").out)


def test_a_gpu_that_is_not_there_is_said_before_anything_is_loaded(run, fake, monkeypatch):
    monkeypatch.setattr("fastbp.gpu.report", lambda: Report(None, None, (), "device cuda needs a driver; use another"))
    for arguments in ((), ("--seeds", "0-3")):
        outcome = run("train", "--device", "cuda", *arguments)
        assert outcome.code == 1
        assert outcome.err == "Error: device cuda needs a driver; use another\n"
    assert fake.loaded == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--threads", "2"], "threads are cores of the CPU, got 2 with device cuda"),
        (["--seeds", "0-3", "--threads", "2"], "threads are cores of the CPU, got 2 with device cuda"),
        (["--engine", "stages"], "one engine of its own, got engine stages"),
        (["--input-layout", "sparse"], "dense input only, got --input-layout sparse"),
    ],
)
def test_what_does_not_go_with_a_gpu(run, fake, arguments, words):
    outcome = run("train", "--device", "cuda", *arguments)
    assert outcome.code == 2
    assert words in outcome.err


# data


def test_data_list(run):
    rows = json.loads(run("data", "list", "--json").out)["datasets"]
    assert [row["name"] for row in rows] == ["digits", "mnist", "fashion", "kmnist"]
    assert rows[1]["bytes"] == 11_594_722
    assert rows[1]["place"] is None
    assert "mnist" in run("data", "list").out


def test_data_get_of_an_unknown_name(run):
    outcome = run("data", "get", "imagenet")
    assert outcome.code == 2
    assert "digits, mnist, fashion, kmnist" in outcome.err


def test_data_get_without_a_network(run, monkeypatch):
    monkeypatch.setitem(MIRRORS, "mnist", ("http://127.0.0.1:9/",))
    outcome = run("data", "get", "mnist")
    assert outcome.code == 6
    assert "mnist" in outcome.err


def test_train_offline(run):
    outcome = run("train", "--data", "mnist", "--offline")
    assert outcome.code == 6
    assert "train-images-idx3-ubyte.gz" in outcome.err


def test_data_verify_finds_damage(run, tmp_path, monkeypatch):
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for role, n in (
        ("train-images-idx3", 16),
        ("train-labels-idx1", 8),
        ("t10k-images-idx3", 16),
        ("t10k-labels-idx1", 8),
    ):
        (folder / f"{role}-ubyte.gz").write_bytes(b"\x1f\x8b" + bytes(n))
    monkeypatch.setenv("FASTBP_DATA", str(tmp_path / "data"))
    for args in (["mnist"], [folder], [folder / "t10k-labels-idx1-ubyte.gz"]):
        outcome = run("data", "verify", *args)
        assert outcome.code == 3
        assert "damaged" in outcome.out
        assert "t10k-labels" in outcome.err
    rows = json.loads(run("data", "verify", "--json").out)["files"]
    assert {row["status"] for row in rows if row["name"] == "mnist"} == {"damaged"}
    assert {row["status"] for row in rows if row["name"] == "kmnist"} == {"missing"}


def test_data_verify_of_other_files(run, tmp_path):
    save_images(tmp_path / "d.npz")
    assert json.loads(run("data", "verify", "d.npz", "--json").out)["files"][0]["status"] == "unknown"
    whole = (tmp_path / "d.npz").read_bytes()
    (tmp_path / "d.npz").write_bytes(whole[: len(whole) // 2])
    assert run("data", "verify", "d.npz").code == 3
    assert run("data", "verify", "nowhere").code == 3
    assert run("data", "verify", "digits").code == 2


@pytest.mark.skipif(PUBLISHED is None, reason="FASTBP_DATA names no folder with the published files")
def test_data_verify_knows_the_published_files(run):
    folder = Path(str(PUBLISHED)).resolve() / "mnist"
    rows = json.loads(run("data", "verify", folder, "--json").out)["files"]
    assert [(row["name"], row["status"]) for row in rows] == [("mnist", "ok")] * 4


def test_data_show_draws_images(run, tmp_path):
    save_images(tmp_path / "d.npz")
    outcome = run("data", "show", "d.npz", "-n", 2)
    assert outcome.code == 0
    assert "█" in outcome.out
    assert run("data", "show", "d.npz", "-n", 2).out == outcome.out
    assert run("data", "show", "d.npz", "-n", 2, "--seed", 1).out != outcome.out
    assert len(json.loads(run("data", "show", "d.npz", "-n", 2, "--json").out)["targets"]) == 2


def test_data_show_lists_rows_of_tables(run, tmp_path):
    (tmp_path / "d.csv").write_text("width,kind\n1.5,a\n2.5,b\n1.4,a\n2.6,b\n")
    out = run("data", "show", "d.csv", "-n", 3).out
    assert out.splitlines()[0].split() == ["width", "target"]
    assert len(out.splitlines()) == 4


def test_data_show_of_nothing(run):
    assert run("data", "show", "d.csv").code == 3
    assert run("data", "show", "d.csv", "-n", 0).code == 2


# processes


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with small data, and an environment in which compiled code is kept between the processes."""
    folder = tmp_path_factory.mktemp("processes")
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 4)) * 3
    y = np.arange(300) % 3
    np.savez(
        folder / "d.npz",
        x_train=centres[y] + rng.normal(size=(300, 4)),
        y_train=y,
        x_test=centres[y[:60]],
        y_test=y[:60],
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.setdefault("FASTBP_CACHE_DIR", str(folder / "cache"))
    environment.pop("FASTBP_DEBUG", None)
    return folder, environment


def start(workplace, *args: object, **kwargs: object) -> subprocess.Popen:
    folder, environment = workplace
    command = [sys.executable, "-m", "fastbp", *map(str, args)]
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": folder, "env": environment, "text": True}
    return subprocess.Popen(command, **{**settings, **kwargs})


SMALL = ("--data", "d.npz", "--engine", "reference")


def test_a_whole_run(workplace):
    folder, _ = workplace
    process = start(
        workplace, "train", *SMALL, "--epochs", 5, "--learning-rate", 0.5, "--json", "--save", "whole.safetensors"
    )
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    result = json.loads(out)
    assert set(result) >= REQUIRED
    assert result["parameters"] == 4 * 16 + 16 + 16 * 16 + 16 + 16 * 3 + 3
    assert result["epochs"] == 5
    assert 0 <= result["test_accuracy"] <= 1
    assert [line.split()[0] for line in err.splitlines()[-5:]] == ["1", "2", "3", "4", "5"]
    assert "\x1b" not in err
    process = start(workplace, "eval", "whole.safetensors", "--data", "d.npz", "--json")
    evaluated = json.loads(process.communicate(timeout=60)[0])
    assert evaluated["test_accuracy"] == result["test_accuracy"]
    assert (folder / "whole.safetensors").is_file()


@pytest.mark.parametrize("arguments", [(), ("--seeds", "0-3")])
def test_no_gpu_in_earnest(workplace, arguments):
    process = start(workplace, "info", "--json")
    problem = json.loads(process.communicate(timeout=60)[0])["gpu_problem"]
    if problem is None:
        pytest.skip("there is a GPU")
    process = start(workplace, "train", "--data", "d.npz", "--device", "cuda", "--no-save", *arguments)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert (out, err) == ("", f"Error: {problem}\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_save_the_weights(workplace, number, code):
    folder, _ = workplace
    name = f"signal{code}.safetensors"
    process = start(workplace, "train", *SMALL, "--epochs", 100_000, "--save", name)
    for line in process.stderr:
        if line.split()[:1] == ["1"]:
            break
    time.sleep(0.2)
    process.send_signal(number)
    begun = time.perf_counter()
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert time.perf_counter() - begun < 10
    assert f"the weights so far are saved in {name}" in err
    assert "Traceback" not in err
    assert out == ""
    assert np.isfinite(load(folder / name).parameters).all()


def test_divergence_in_earnest(workplace):
    folder, _ = workplace
    process = start(
        workplace,
        "train",
        *SMALL,
        "--learning-rate",
        1e30,
        "--activation",
        "relu",
        "--epochs",
        50,
        "--save",
        "far.safetensors",
    )
    _, err = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "the last finite weights are saved in far.safetensors" in err
    assert "Traceback" not in err
    assert np.isfinite(load(folder / "far.safetensors").parameters).all()


def test_a_closed_pipe_is_no_traceback_and_the_model_is_kept(workplace):
    folder, _ = workplace
    reader, writer = os.pipe()
    os.close(reader)
    process = start(workplace, "train", *SMALL, "--epochs", 1, "--json", "--save", "pipe.safetensors", stdout=writer)
    os.close(writer)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    assert (folder / "pipe.safetensors").is_file()


def test_a_closed_stderr_does_not_stop_training(workplace):
    reader, writer = os.pipe()
    os.close(reader)
    process = start(workplace, "train", *SMALL, "--epochs", 1, "--no-save", "--json", stderr=writer)
    os.close(writer)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["epochs"] == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_under_stdout(workplace):
    with open("/dev/full", "w") as full:
        process = start(workplace, "train", *SMALL, "--epochs", 1, "--quiet", "--no-save", stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "No space left on device" in err
    assert "Traceback" not in err


def test_a_file_that_may_not_grow_leaves_the_old_model(workplace):
    resource = pytest.importorskip("resource", reason="limits on file sizes are Unix's")
    folder, _ = workplace
    place = folder / "kept.safetensors"
    place.write_bytes(b"old")
    process = start(
        workplace, "train", *SMALL, "--layers", "200-200", "--epochs", 1, "--save", place, "--json",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )  # fmt: skip
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert json.loads(out)["model"] is None
    assert "is not saved" in err
    assert "kept.safetensors" in err
    assert place.read_bytes() == b"old"
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["train", "--epochs", "x"], 2),
        (["train", "--data", "missing.csv"], 3),
        (["info", "missing.safetensors"], 4),
        (["nonsense"], 2),
    ],
)
def test_exit_codes_of_processes(workplace, args, code):
    process = start(workplace, *args)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Error: " in err
    assert "Traceback" not in err


# completion in shells


def completed(workplace, words: str, number: int, shell: str = "bash") -> list[str]:
    """What a shell is answered for the word with this number."""
    folder, environment = workplace
    asked = {"_FASTBP_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    process = start((folder, {**environment, **asked}))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out.splitlines()


@pytest.mark.parametrize(
    ("words", "number", "answers"),
    [
        ("fastbp ", 1, sorted(cli.commands)),
        ("fastbp data ", 2, ["get", "list", "show", "verify"]),
        ("fastbp data get ", 3, ["digits", "mnist", "fashion", "kmnist"]),
        ("fastbp train --optim", 2, ["--optimizer"]),
        ("fastbp train --optimizer ", 3, list(Config.__dataclass_fields__["optimizer"].metadata["choices"])),
        ("fastbp train --optimizer a", 3, ["adam", "adamw"]),
        ("fastbp train --activation relu,s", 3, ["relu,sigmoid"]),
        ("fastbp eval m --split ", 4, ["test", "train"]),
    ],
)
def test_completion_of_commands_options_and_values(workplace, words, number, answers):
    assert completed(workplace, words, number) == [f"plain,{answer}" for answer in answers]


@pytest.mark.parametrize(
    ("words", "number", "answers"),
    [
        ("fastbp info mo", 2, ["file,mo"]),
        ("fastbp train --data m", 3, ["plain,mnist", "file,m"]),
        ("fastbp train --save mo", 3, ["file,mo"]),
        ("fastbp predict m.safetensors pic", 3, ["file,pic"]),
        ("fastbp export m", 2, ["file,m"]),
    ],
)
def test_completion_of_files_is_left_to_the_shell(workplace, words, number, answers):
    assert completed(workplace, words, number) == answers


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_completion_in_bash(workplace):
    folder, environment = workplace
    (folder / "bin").mkdir()
    (folder / "bin" / "fastbp").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fastbp "$@"\n')
    (folder / "bin" / "fastbp").chmod(0o755)
    script = """
    eval "$(_FASTBP_COMPLETE=bash_source fastbp)"
    COMP_WORDS=(fastbp train --optimizer ad) COMP_CWORD=3
    _fastbp_completion fastbp
    echo "${COMPREPLY[@]}"
    """
    path = os.pathsep.join([str(folder / "bin"), environment["PATH"]])
    command, settings = ["bash", "-c", script], {"capture_output": True, "text": True, "cwd": folder}
    done = subprocess.run(command, env={**environment, "PATH": path}, **settings)
    assert (done.stdout, done.stderr) == ("adam adamw\n", "")


@pytest.mark.parametrize(("shell", "word"), [("zsh", "compdef"), ("fish", "complete")])
def test_what_other_shells_read(workplace, shell, word):
    folder, environment = workplace
    out, _ = start((folder, {**environment, "_FASTBP_COMPLETE": f"{shell}_source"})).communicate(timeout=60)
    assert word in out
    assert "_FASTBP_COMPLETE" in out
