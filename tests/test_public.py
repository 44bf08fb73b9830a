"""What users may rely on, written out: names, signatures, defaults, and examples that run.

A change here is a change for everybody who uses the package: it belongs into the release notes.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import fastbp
import fastbp.callbacks
import fastbp.diagnostics
import fastbp.kernels

ROOT = Path(__file__).parents[1]

ERRORS = {"FastbpError": 1, "UsageError": 2, "DataError": 3, "ModelError": 4, "DivergedError": 5, "DownloadError": 6}

STAGES = {
    "forward": "(x, W, b, activation, z, a)",
    "output_delta": "(a, y, activation, cost, delta)",
    "hidden_delta": "(delta_next, W_next, a, activation, delta)",
    "gradient": "(a, delta, dW, db)",
    "update": "(W, b, dW, db, eta, decay, n_samples)",
}

DIAGNOSTICS = {
    "answers_to_noise": "(model, x, n_samples=1000, seed=0)",
    "confusions": "(model, x, y, top=10)",
    "diagnose": "(model, x, y, *, top=5, seed=0)",
    "important_parameters": "(model, x, y, top=10)",
    "layer_facts": "(model, x, y)",
    "probabilities": "(model, outputs)",
    "saliency": "(model, x, y)",
    "worst_samples": "(model, x, y, top=10)",
}
RECORDS = ["Confusion", "Diagnosis", "ImportantParameter", "LayerFacts", "NoiseAnswers", "WorstSample"]

SIGNATURES = {
    "Callback": "()",
    "Dataset": "(name, x_train, y_train, x_test, y_test, class_names=(), image_shape=None, feature_names=())",
    "Dataset.from_arrays": "(x_train, y_train, x_test=None, y_test=None, *, name='arrays', class_names=(), "
    "image_shape=None, feature_names=())",
    "Model.evaluate": "(self, x, y)",
    "Model.outputs": "(self, x)",
    "Model.predict": "(self, x)",
    "Model.save": "(self, path)",
    "Network": "(sizes, activations, cost)",
    "Network.initial_parameters": "(self, seed=0, init='glorot', dtype='float32')",
    "Network.layers_of": "(self, theta)",
    "TrainingResult.as_dict": "(self)",
    "from_sklearn": "(estimator)",
    "from_torch": "(source, activation, *, output_activation='softmax', class_names=None, inputs=None, prefix=None)",
    "load": "(path, *, activations=())",
    "plot_run": "(*folders, style='light')",
    "load_dataset": "(source='digits', *, label=None, target='auto', test_fraction=0.2, seed=0, data_dir=None, "
    "offline=False, progress=None)",
    "resume": "(path, data=None, *, epochs=None, callbacks=(), threads=1, validation_data=None, sample_weight=None)",
    "train_to": "(path, data='digits', *, force=False, config=None, init_from=None, callbacks=(), threads=1, "
    "validation_data=None, sample_weight=None, origin=None, **settings)",
    "train": "(data='digits', *, config=None, network=None, init_from=None, callbacks=(), threads=1, "
    "validation_data=None, sample_weight=None, **settings)",
    "train_many": "(settings, data='digits', *, threads=None, device=None, on_result=None, callbacks=(), "
    "validation_data=None, sample_weight=None)",
    **STAGES,
    **{f"diagnostics.{name}": signature for name, signature in DIAGNOSTICS.items()},
}

DEFAULTS = {
    "layers": "16-16",
    "activation": "sigmoid",
    "output_activation": None,
    "cost": None,
    "init": "glorot",
    "optimizer": "sgd",
    "learning_rate": None,
    "momentum": 0.9,
    "beta_1": 0.9,
    "beta_2": 0.999,
    "rho": 0.9,
    "epsilon": 1e-8,
    "tol": 1e-6,
    "clip_norm": None,
    "schedule": "linear",
    "step_every": 5,
    "rate_factor": 0.2,
    "rate_patience": 2,
    "inverse_power": 0.5,
    "warm_up": 0.3,
    "weight_decay": 0.0,
    "dropout": 0.0,
    "label_smoothing": 0.0,
    "batch_size": 32,
    "epochs": 10,
    "shuffle": True,
    "seed": 0,
    "class_weight": "none",
    "validation": 0.0,
    "patience": None,
    "min_delta": 0.0,
    "stop_below": None,
    "time_limit": None,
    "on_nan": "stop",
    "normalize": "auto",
    "dtype": "float32",
    "device": "auto",
    "engine": "auto",
    "input_layout": "auto",
    "evaluate": "each",
}

RESULT = [
    "model",
    "history",
    "loss",
    "train_accuracy",
    "test_accuracy",
    "test_loss",
    "epochs",
    "seed",
    "engine",
    "train_seconds",
    "samples_per_second",
    "stopped",
    "validation_loss",
    "validation_accuracy",
    "best_epoch",
    "restores",
]

CODES = {
    "STEP": 0,
    "IDENTITY": 1,
    "SIGMOID": 2,
    "TANH": 3,
    "RELU": 4,
    "LEAKY_RELU": 5,
    "SOFTMAX": 6,
    "EXPONENTIAL": 7,
    "SQUARED_ERROR": 0,
    "MEAN_SQUARED_ERROR": 1,
    "BINARY_CROSS_ENTROPY": 2,
    "CROSS_ENTROPY": 3,
    "POISSON": 4,
    "PERCEPTRON": 5,
    "SGD": 0,
    "MOMENTUM": 1,
    "ADAM": 2,
    "NESTEROV": 3,
    "RMSPROP": 4,
    "ADAMW": 5,
}

MODULES = sorted(
    info.name for info in pkgutil.walk_packages(fastbp.__path__, "fastbp.") if not info.name.endswith("__main__")
)


def named(path: str) -> Any:
    value: Any = fastbp
    for name in path.split("."):
        value = getattr(value, name)
    return value


def plain(value: Any) -> Any:
    """The function behind a compiled one."""
    return getattr(value, "py_func", value)


# --- names and signatures ---------------------------------------------------------------------------------------------


def test_names_of_the_package():
    assert sorted(fastbp.__all__) == sorted(
        ["__version__", "Callback", "Config", "CustomActivation", "Dataset", "Model", "Network", "TrainingResult"]
        + ["load", "load_dataset", "resume", "train", "train_many", "train_to", *STAGES, *ERRORS]
        + ["from_sklearn", "from_torch", "plot_run", "to_onnx", "to_page", "to_report", "to_sklearn"]
    )
    assert set(fastbp.__all__) <= set(dir(fastbp))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        fastbp.trian  # noqa: B018


def test_names_of_the_kernels():
    assert sorted(fastbp.kernels.__all__) == sorted(
        [*CODES, *STAGES, "OPTIMIZER", "adam_update", "loss", "momentum_update", "nesterov_update", "rmsprop_update"]
        + ["CsrRows", "Engine", "Evaluation", "Fleet", "OptimizerState", "Preparation", "Settings", "Split"]
        + [
            "announce_compiling",
            "check_for_cuda",
            "maxout",
            "maxout_delta",
            "needs_stages",
            "open_engine",
            "open_fleet",
        ]
        + ["warm_up"]
    )
    assert {name: getattr(fastbp.kernels, name) for name in CODES} == CODES
    for name in fastbp.kernels.__all__:
        assert hasattr(fastbp.kernels, name)
    for name in STAGES:
        assert getattr(fastbp.kernels, name) is getattr(fastbp, name)
    with pytest.raises(AttributeError, match="no attribute 'backward'"):
        fastbp.kernels.backward  # noqa: B018


def test_names_of_the_diagnostics():
    assert sorted(fastbp.diagnostics.__all__) == sorted([*DIAGNOSTICS, *RECORDS, "Finding"])


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    signature = inspect.signature(plain(named(name)))
    parameters = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    assert str(inspect.Signature(parameters)) == SIGNATURES[name]


def test_settings_and_their_defaults():
    assert {item.name: item.default for item in fields(fastbp.Config)} == DEFAULTS
    assert fastbp.Config().as_dict() == DEFAULTS
    kinds = {each.kind for each in inspect.signature(fastbp.Config).parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}


def test_names_of_the_callbacks():
    assert sorted(fastbp.callbacks.__all__) == sorted(
        ["Callback", "Plan", "RunControl", "EarlyStopping", "KeepBest", "StopBelow", "StopOnNaN", "TimeLimit"]
        + ["Checkpoint", "CsvLogger", "JsonLinesLogger", "LearningRate"]
    )
    for name in fastbp.callbacks.__all__:
        assert inspect.getdoc(getattr(fastbp.callbacks, name))


def test_what_a_result_holds():
    assert [item.name for item in fields(fastbp.TrainingResult)] == RESULT


@pytest.mark.parametrize("name", ERRORS)
def test_errors_and_their_exit_codes(name):
    error = named(name)
    assert issubclass(error, fastbp.FastbpError)
    assert error.exit_code == ERRORS[name]
    assert str(error("what was got")) == "what was got"


def test_usage_errors_are_value_errors():
    assert issubclass(fastbp.UsageError, ValueError)


def test_types_are_published():
    assert (Path(fastbp.__file__).parent / "py.typed").is_file()


# --- documentation ----------------------------------------------------------------------------------------------------


def examples_of(module: Any) -> Iterator[doctest.DocTest]:
    """The examples in a module; doctest itself does not look into compiled functions."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = {test.name: test for test in finder.find(module, module.__name__)}
    for name, value in vars(module).items():
        function = plain(value)
        if function is not value and function.__module__ == module.__name__:
            path = f"{module.__name__}.{name}"
            tests.update({test.name: test for test in finder.find(function, path, module=module)})
    yield from (test for test in tests.values() if test.examples)


@pytest.mark.parametrize(
    "name", [name for name in SIGNATURES if name.count(".") == 0] + ["Config", "CustomActivation", "Model"]
)
def test_public_names_are_documented_with_an_example(name):
    text = inspect.getdoc(plain(named(name))) or ""
    assert text.split("\n")[0]
    assert ">>> " in text


OTHERS = [
    f"{module.__name__}.{name}".removeprefix("fastbp.")
    for module in (fastbp.diagnostics, fastbp.kernels)
    for name in module.__all__
]


@pytest.mark.parametrize("name", [*ERRORS, "TrainingResult", *OTHERS])
def test_the_other_public_names_are_documented(name):
    value = plain(named(name))
    if not isinstance(value, int | dict):
        assert inspect.getdoc(value)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, tmp_path, monkeypatch, own_cache):
    monkeypatch.chdir(tmp_path)
    if name.startswith("fastbp.sklearn."):
        pytest.importorskip("sklearn", minversion="1.7")
    module = importlib.import_module(name)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in examples_of(module):
        runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)
    source = inspect.getsource(module)
    assert runner.tries == source.count(">>> ") - source.count("# doctest: +SKIP"), (
        "an example stands where nothing finds it"
    )


def test_the_documentation_shows_every_public_name():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    names = fastbp.__all__
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []
