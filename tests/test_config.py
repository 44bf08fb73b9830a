"""Every default, every limit and every refusal of the settings."""

import json
import subprocess
import sys

import numpy as np
import pytest

from fastbp.config import Config, parse_layers
from fastbp.errors import FastbpError, UsageError


def test_the_defaults():
    assert Config().as_dict() == {
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


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("batch_size", 0, "batch_size must be at least 1, got 0"),
        ("batch_size", -5, "batch_size must be at least 1, got -5"),
        ("batch_size", 1.5, "batch_size must be a whole number, got 1.5"),
        ("batch_size", True, "batch_size must be a whole number, got True"),
        ("batch_size", "32", "batch_size must be a whole number, got '32'"),
        ("epochs", -1, "epochs must be at least 0, got -1"),
        ("epochs", None, "epochs must not be None"),
        ("seed", -1, "seed must be at least 0, got -1"),
        ("seed", 2**63, f"seed must be at most {2**63 - 1}, got {2**63}"),
        ("learning_rate", 0, "learning_rate must be greater than 0, got 0.0"),
        ("learning_rate", -1.0, "learning_rate must be greater than 0, got -1.0"),
        ("learning_rate", float("nan"), "learning_rate must be a finite number, got nan"),
        ("learning_rate", float("inf"), "learning_rate must be a finite number, got inf"),
        ("learning_rate", 10**400, "learning_rate must be a finite number, got inf"),
        ("learning_rate", "1", "learning_rate must be a finite number, got '1'"),
        ("learning_rate", True, "learning_rate must be a finite number, got True"),
        ("learning_rate", 1j, "learning_rate must be a finite number, got 1j"),
        ("momentum", 1.0, "momentum must be less than 1, got 1.0"),
        ("momentum", -0.1, "momentum must be at least 0, got -0.1"),
        ("momentum", None, "momentum must not be None"),
        ("beta_1", 1.0, "beta_1 must be less than 1, got 1.0"),
        ("beta_2", 1, "beta_2 must be less than 1, got 1.0"),
        ("tol", -1e-9, "tol must be at least 0, got -1e-09"),
        ("epsilon", 0.0, "epsilon must be greater than 0, got 0.0"),
        ("weight_decay", -1e-9, "weight_decay must be at least 0, got -1e-09"),
        ("stop_below", float("nan"), "stop_below must be a finite number, got nan"),
        ("shuffle", "no", "shuffle must be True or False, got 'no'"),
        ("shuffle", 1, "shuffle must be True or False, got 1"),
        ("layers", 16, "layers must be a text, got 16"),
        ("layers", None, "layers must not be None"),
        ("activation", 3, "activation must be a text, a CustomActivation, or a list of these, got 3"),
        ("activation", [], "activation must be a text, a CustomActivation, or a list of these, got []"),
        (
            "activation",
            ["relu", "step"],
            "activation must be one of identity, sigmoid, tanh, relu, leaky_relu, maxout, got 'step'",
        ),
        ("init", "zeros", "init must be one of normal, glorot, he, got 'zeros'"),
        (
            "optimizer",
            "sdg",
            "optimizer must be one of sgd, momentum, nesterov, rmsprop, adam, adamw, lbfgs, got 'sdg'",
        ),
        ("optimizer", None, "optimizer must not be None"),
        (
            "schedule",
            "square",
            "schedule must be one of constant, linear, step, inverse, adaptive, cosine, one_cycle, got 'square'",
        ),
        ("rho", 1.0, "rho must be less than 1, got 1.0"),
        ("clip_norm", 0, "clip_norm must be greater than 0, got 0.0"),
        ("step_every", 0, "step_every must be at least 1, got 0"),
        ("rate_factor", 1, "rate_factor must be less than 1, got 1.0"),
        ("rate_factor", 0, "rate_factor must be greater than 0, got 0.0"),
        ("rate_patience", 0, "rate_patience must be at least 1, got 0"),
        ("inverse_power", 0.0, "inverse_power must be greater than 0, got 0.0"),
        ("warm_up", 1.0, "warm_up must be less than 1, got 1.0"),
        ("warm_up", -0.1, "warm_up must be at least 0, got -0.1"),
        ("dropout", 1.0, "dropout must be numbers from 0 to below 1, one or a comma-separated list, got 1.0"),
        ("dropout", -0.1, "dropout must be numbers from 0 to below 1, one or a comma-separated list, got -0.1"),
        ("dropout", "0.1,x", "dropout must be numbers from 0 to below 1, one or a comma-separated list, got '0.1,x'"),
        ("dropout", "", "dropout must be numbers from 0 to below 1, one or a comma-separated list, got ''"),
        ("dropout", "nan", "dropout must be numbers from 0 to below 1, one or a comma-separated list, got 'nan'"),
        ("dropout", True, "dropout must be numbers from 0 to below 1, one or a comma-separated list, got True"),
        ("dropout", None, "dropout must not be None"),
        ("dropout", (0.1,), "dropout must be numbers from 0 to below 1, one or a comma-separated list, got (0.1,)"),
        ("label_smoothing", 1.0, "label_smoothing must be less than 1, got 1.0"),
        ("class_weight", "fair", "class_weight must be one of none, balanced, got 'fair'"),
        ("validation", 1.0, "validation must be less than 1, got 1.0"),
        ("validation", -0.1, "validation must be at least 0, got -0.1"),
        ("patience", 0, "patience must be at least 1, got 0"),
        ("patience", 1.5, "patience must be a whole number, got 1.5"),
        ("min_delta", -1.0, "min_delta must be at least 0, got -1.0"),
        ("time_limit", 0.0, "time_limit must be greater than 0, got 0.0"),
        ("normalize", "l2", "normalize must be one of auto, none, unit, standard, scale, got 'l2'"),
        ("dtype", "float16", "dtype must be one of float32, float64, got 'float16'"),
        ("device", "tpu", "device must be one of auto, cpu, cuda, got 'tpu'"),
        ("engine", "turbo", "engine must be one of auto, fused, stages, reference, got 'turbo'"),
        ("input_layout", "csr", "input_layout must be one of auto, dense, sparse, got 'csr'"),
        ("evaluate", "never", "evaluate must be one of each, end, got 'never'"),
        (
            "cost",
            "hinge",
            "cost must be one of squared_error, mean_squared_error, binary_cross_entropy, cross_entropy, poisson, "
            "perceptron, got 'hinge'",
        ),
        (
            "output_activation",
            ["tanh"],
            "output_activation must be one of step, identity, sigmoid, tanh, relu, leaky_relu, softmax, exponential, "
            "got ['tanh']",
        ),
    ],
)
def test_a_value_outside_its_limits_is_refused_with_these_words(name, value, message):
    with pytest.raises(UsageError) as caught:
        Config(**{name: value})
    assert str(caught.value) == message
    assert caught.value.exit_code == 2
    assert isinstance(caught.value, FastbpError)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 1),
        ("batch_size", None),
        ("epochs", 0),
        ("seed", 2**63 - 1),
        ("learning_rate", 1e-300),
        ("learning_rate", None),
        ("dropout", 0),
        ("dropout", "0, 0.5"),
        ("patience", 1),
        ("patience", None),
        ("time_limit", 1e-9),
        ("weight_decay", 0),
        ("stop_below", -1.0),
        ("layers", ""),
        ("layers", "1"),
        ("activation", "sigmoid, relu"),
    ],
)
def test_limits_themselves_are_accepted(name, value):
    assert getattr(Config(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "value", "fitting", "by"),
    [
        ("momentum", 0.0, ("momentum", "nesterov"), "optimizer"),
        ("beta_1", 0.0, ("adam", "adamw"), "optimizer"),
        ("beta_2", 0.0, ("adam", "adamw"), "optimizer"),
        ("rho", 0.0, ("rmsprop",), "optimizer"),
        ("epsilon", 1e-4, ("rmsprop", "adam", "adamw"), "optimizer"),
        ("tol", 0.0, ("lbfgs",), "optimizer"),
        ("step_every", 1, ("step",), "schedule"),
        ("rate_factor", 0.5, ("step", "adaptive"), "schedule"),
        ("rate_patience", 1, ("adaptive",), "schedule"),
        ("inverse_power", 0.1, ("inverse",), "schedule"),
        ("warm_up", 0.0, ("one_cycle",), "schedule"),
    ],
)
def test_a_setting_without_a_use_is_refused(name, value, fitting, by):
    """Not ignored: who sets the momentum of plain descent believes that there is one."""
    item = Config.__dataclass_fields__
    for choice in item[by].metadata["choices"]:
        if choice in fitting:
            assert getattr(Config(**{name: value, by: choice}), name) == value
        else:
            with pytest.raises(UsageError) as caught:
                Config(**{name: value, by: choice})
            words = f"{name} is for {by} {' and '.join(fitting)} and has no use with {by} {choice}; leave it out"
            assert str(caught.value) == words
        assert getattr(Config(**{name: item[name].default, by: choice}), name) == item[name].default


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("learning_rate", 0.1, "whose line search finds the length of each step"),
        ("schedule", "constant", "whose line search finds the length of each step"),
        ("clip_norm", 1.0, "whose line search finds the length of each step"),
        ("dropout", 0.1, "whose line search compares costs, and these would change by chance"),
        ("shuffle", False, "which takes all samples at once, in whatever order"),
        ("batch_size", 64, "which takes all samples at once"),
    ],
)
def test_what_lbfgs_has_no_use_for(name, value, why):
    with pytest.raises(UsageError) as caught:
        Config(optimizer="lbfgs", **{name: value})
    assert str(caught.value) == f"{name} has no use with optimizer lbfgs, {why}; leave it out"
    for optimizer in ("sgd", "adam"):
        assert getattr(Config(optimizer=optimizer, **{name: value}), name) == value


def test_the_batch_of_lbfgs_may_be_called_full():
    assert Config(optimizer="lbfgs", batch_size=None).batch_size is None


def test_min_delta_needs_somebody_who_waits():
    with pytest.raises(UsageError, match="min_delta is for patience and for schedule adaptive"):
        Config(min_delta=0.1)
    assert Config(min_delta=0.1, patience=2).min_delta == Config(min_delta=0.1, schedule="adaptive").min_delta == 0.1


@pytest.mark.parametrize(
    ("value", "kept", "shares"),
    [(0.5, 0.5, (0.5,)), ("0.5", 0.5, (0.5,)), ("0.5, 0", "0.5, 0", (0.5, 0.0)), (np.float32(0.25), 0.25, (0.25,))],
)
def test_dropout_is_a_number_or_a_list(value, kept, shares):
    config = Config(dropout=value)
    assert (config.dropout, config.hidden_dropout) == (kept, shares)
    assert Config(**json.loads(json.dumps(config.as_dict()))) == config


def test_numpy_numbers_become_plain_ones():
    config = Config(batch_size=np.int64(7), learning_rate=np.float32(0.5), weight_decay=1)
    assert (type(config.batch_size), type(config.learning_rate), type(config.weight_decay)) == (int, float, float)
    assert json.loads(json.dumps(config.as_dict()))["batch_size"] == 7


@pytest.mark.parametrize("name", ["softmax", "step", "gelu", "", "Sigmoid"])
def test_hidden_activations(name):
    with pytest.raises(UsageError) as caught:
        Config(activation=f"relu,{name}")
    assert (
        str(caught.value)
        == f"activation must be one of identity, sigmoid, tanh, relu, leaky_relu, maxout, got {name!r}"
    )
    assert Config(activation="relu, tanh").hidden_activations == ("relu", "tanh")
    assert Config(activation=["relu", "maxout"]).hidden_activations == ("relu", "maxout")


@pytest.mark.parametrize(
    "cost", ["squared_error", "mean_squared_error", "binary_cross_entropy", "cross_entropy", "poisson", "perceptron"]
)
@pytest.mark.parametrize(
    "output", ["step", "identity", "sigmoid", "tanh", "relu", "leaky_relu", "softmax", "exponential"]
)
def test_cost_and_output_belong_together(cost, output):
    needed = {"cross_entropy": {"softmax"}, "binary_cross_entropy": {"sigmoid"}, "poisson": {"exponential"}}
    needed["perceptron"] = {"step"}
    squared = {"identity", "sigmoid", "tanh", "relu", "leaky_relu"}
    if output in needed.get(cost, squared):
        assert Config(cost=cost, output_activation=output).cost == cost
    else:
        with pytest.raises(UsageError, match=f"cost {cost} (needs|cannot be used with) output_activation"):
            Config(cost=cost, output_activation=output)


def test_a_config_is_frozen_and_takes_names_only():
    with pytest.raises(AttributeError):
        Config().epochs = 3
    with pytest.raises(TypeError):
        Config("16-16")


def test_every_setting_has_a_help_text():
    for name, item in Config.__dataclass_fields__.items():
        assert len(item.metadata["help"]) > 8, name


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("784-16-16-10", (784, 16, 16, 10)),
        ("16", (16,)),
        ("", ()),
        ("  ", ()),
        (" 4 - 5 ", (4, 5)),
        ("10000", (10_000,)),
    ],
)
def test_layers_are_read(text, sizes):
    assert parse_layers(text) == sizes


@pytest.mark.parametrize(
    "text", ["0", "10001", "16-", "-16", "16--16", "16x16", "1.5", "1e3", "+5", "\u0661\u0662", "16,16", "9" * 5000]
)
def test_layers_that_cannot_be_read(text):
    with pytest.raises(UsageError) as caught:
        parse_layers(text)
    assert str(caught.value) == (
        f"layers must be sizes from 1 to 10000 joined by '-', such as 784-16-16-10, got {text!r}"
    )
    with pytest.raises(UsageError):
        Config(layers=text)


def test_settings_are_read_without_numpy_or_numba():
    code = "import sys, fastbp.config; print(sorted({'numpy', 'numba', 'click', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_lbfgs_runs_on_the_cpu():
    with pytest.raises(UsageError, match="optimizer lbfgs runs on the CPU, got device cuda"):
        Config(optimizer="lbfgs", device="cuda")
