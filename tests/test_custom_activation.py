"""Activations of one's own: a pair of functions, checked, trained, saved by name, and refused where nobody knows it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numba import njit

import fastbp
from fastbp import Config, CustomActivation, Dataset, Model, Network, UsageError, load, train
from fastbp.__main__ import _explain
from fastbp.callbacks import Callback
from fastbp.cli import cli
from fastbp.diagnostics import diagnose, layer_facts
from fastbp.kernels import Settings, Split, open_engine, reference, stages
from fastbp.kernels.warming import prepared
from fastbp.onnx_export import network_graph

both = pytest.mark.parametrize("module", [reference, stages], ids=["reference", "stages"])

SOFTSIGN = CustomActivation("softsign", lambda z: z / (1 + abs(z)), lambda z, a: (1 - abs(a)) ** 2)
ALSO_TANH = CustomActivation("also_tanh", math.tanh, lambda z, a: 1 - a * a)


def blobs(n: int = 200) -> Dataset:
    rng = np.random.default_rng(5)
    y = rng.integers(0, 3, n)
    x = np.array([[0.0, 0, 2], [3, 0, 0], [0, 3, 1]])[y] + 0.7 * rng.normal(size=(n, 3))
    return Dataset.from_arrays(x[40:], y[40:], x[:40], y[:40], name="blobs")


class Phases(Callback):
    """What a run says before it begins."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def on_phase(self, text: str) -> None:
        self.said.append(text)


# --- the pair ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "f_prime"),
    [
        (math.sin, lambda z, a: math.cos(z)),
        (np.tanh, lambda z, a: 1 - a**2),
        (lambda z: max(0.0, z) ** 2, lambda z, a: 2 * max(0.0, z)),
        (lambda z: 3, lambda z, a: 0),
        (lambda z: min(1.0, max(-1.0, z)), lambda z, a: 1.0 if -1 < z < 1 else 0.0),
        (lambda z: math.exp(-z * z), lambda z, a: -2 * z * a),
        (njit(lambda z: z * z), njit(lambda z, a: 2 * z)),
        (lambda z: 1e6 * math.cos(3 * z), lambda z, a: -3e6 * math.sin(3 * z)),
    ],
)
def test_right_pairs_are_taken(f: Any, f_prime: Any) -> None:
    pair = CustomActivation("mine", f, f_prime)
    assert pair.value(0.5) == pytest.approx(float(f(0.5)))
    assert pair.slope(0.5, float(f(0.5))) == pytest.approx(float(f_prime(0.5, f(0.5))))
    assert math.isnan(pair.value(math.nan))


@pytest.mark.parametrize(
    ("name", "f", "f_prime", "words"),
    [
        (
            "a",
            math.sin,
            lambda z, a: -math.cos(z),
            r"a: f_prime\(-4.713, 1\) is -0.00061102, but the slope of f .* 0.000",
        ),
        (
            "a",
            lambda z: z * z,
            lambda z, a: z,
            r"f_prime\(-4.713, 22.2124\) is -4.713, but the slope of f there is -9.426",
        ),
        ("a", lambda z: z * z, lambda z, a: 2.001 * z, "must be the derivative of f"),
        ("a", math.tanh, lambda z, a: 1 - z * z, "must be the derivative of f"),
        ("a", math.log, lambda z, a: 1 / z, r"a: f\(-4.713\) raised ValueError .*; it must give a number for every z"),
        ("a", lambda z: z.real_part, lambda z, a: 1, r"f\(-4.713\) raised AttributeError"),
        ("a", lambda z: math.nan, lambda z, a: 1, r"f\(-4.713\) is nan; it must be finite for every z"),
        ("a", lambda z: z, lambda z, a: math.inf, r"f_prime\(-4.713, -4.713\) is inf; it must be finite"),
        ("a", lambda z: None, lambda z, a: 1, r"f\(-4.713\) is None, a NoneType; it must be a number"),
        ("a", lambda z: z + 0j, lambda z, a: 1, "a complex; it must be a number"),
        ("a", lambda z: np.array([z]), lambda z, a: 1, "a ndarray; it must be a number"),
        ("a", lambda z: z, lambda z: 1, r"f_prime\(-4.713, -4.713\) raised TypeError"),
        ("a", "tanh", lambda z, a: 1, "a: f must be a function of numbers, got 'tanh'"),
        ("a", math.tanh, None, "a: f_prime must be a function of numbers, got None"),
        ("relu", math.tanh, lambda z, a: 1 - a * a, "the name of an activation must be .* other than .*, got 'relu'"),
        ("a,b", math.tanh, lambda z, a: 1 - a * a, "the name of an activation must be a letter and up to 39 .* 'a,b'"),
        ("", math.tanh, lambda z, a: 1 - a * a, "got ''"),
        (3, math.tanh, lambda z, a: 1 - a * a, "got 3"),
    ],
)
def test_wrong_pairs_are_refused_in_one_sentence(name: Any, f: Any, f_prime: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        CustomActivation(name, f, f_prime)
    assert "\n" not in str(caught.value)


def test_pairs_are_equal_by_name_and_functions() -> None:
    again = CustomActivation("softsign", SOFTSIGN.f, SOFTSIGN.f_prime)
    other = CustomActivation("softsign", lambda z: z / (1 + abs(z)), SOFTSIGN.f_prime)
    assert (again == SOFTSIGN, hash(again) == hash(SOFTSIGN), other == SOFTSIGN) == (True, True, False)


# --- the stages -------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_stages_by_hand(module: Any, dtype: str) -> None:
    """softsign: f(1) = 1/2 and f' = 1/4, f(-3) = -3/4 and f' = 1/16."""
    z, a, delta = np.array([[1.0, -3.0]], dtype), np.empty((1, 2), dtype), np.empty((1, 2), dtype)
    module.custom(SOFTSIGN, z, a)
    assert a.tolist() == [[0.5, -0.75]]
    delta_next, W_next = np.array([[2.0]], dtype), np.array([[4.0], [8.0]], dtype)
    module.custom_delta(delta_next, W_next, z, a, SOFTSIGN, delta)
    assert delta.tolist() == [[2 * 4 / 4, 2 * 8 / 16]]
    assert z.tolist() == [[1, -3]]


def test_wrong_shapes_raise() -> None:
    z = np.ones((2, 3))
    with pytest.raises(ValueError, match="custom needs z and a of one shape"):
        stages.custom(SOFTSIGN, z, np.ones((2, 2)))
    with pytest.raises(ValueError, match="custom_delta needs"):
        stages.custom_delta(np.ones((2, 4)), np.ones((3, 4)), z, np.ones((2, 2)), SOFTSIGN, z)


@pytest.mark.parametrize("engine", ["stages", "reference"])
def test_z_is_kept_for_f_prime(engine: str) -> None:
    """f = z^2 forgets the sign of z, so that f' must see z: 1-1-1, w = -3, J = (z^2 - 10)^2 / 2 at x = 1, b = 1.

    z = -2, a = 4, dJ/da = -6, dJ/dz = -6 * 2 z = 24.
    """
    square = CustomActivation("square", lambda z: z * z, lambda z, a: 2 * z)
    network = Network((1, 1, 1), (square, "identity"), "squared_error")
    split = Split(np.array([[1.0]]), np.zeros(1, np.int32), np.array([[10.0]]))
    run = open_engine(network, np.array([-3.0, 1, 1, 0]), split, split, Settings(0, 1), engine=engine, classes=False)
    cost, g = run.cost_and_gradient()
    assert (cost, g.tolist()) == (18, [24, 24, -24, -6])


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tanh_of_ones_own_is_tanh(dtype: str) -> None:
    settings: dict[str, Any] = {"layers": "6-4", "epochs": 5, "dtype": dtype, "learning_rate": 0.2, "dropout": 0.1}
    theirs = train(blobs(), activation="tanh", engine="stages", **settings)
    ours = train(blobs(), activation=ALSO_TANH, **settings)
    near = 1e-4 if dtype == "float32" else 1e-11
    assert ours.engine == f"stages {dtype}"
    assert ours.model.parameters == pytest.approx(theirs.model.parameters, rel=near, abs=near)
    assert ours.test_accuracy == theirs.test_accuracy
    assert ours.loss == pytest.approx(ours.model.evaluate(blobs().x_train, blobs().y_train)[0], rel=1e-5)


def test_in_python_and_compiled_alike() -> None:
    settings: dict[str, Any] = {"layers": "5-4", "activation": [SOFTSIGN, "maxout"], "epochs": 2, "dtype": "float64"}
    one, other = train(blobs(), **settings), train(blobs(), engine="reference", **settings)
    assert one.model.parameters == pytest.approx(other.model.parameters, rel=1e-11)
    assert one.model.network.activations == ("softsign", "maxout", "softmax")
    assert one.model.config["activation"] == "softsign,maxout"
    assert json.loads(json.dumps(one.as_dict()))["config"]["activation"] == "softsign,maxout"


def test_ready_compiled_functions_are_taken_as_they_are() -> None:
    pair = CustomActivation("jitted", njit(lambda z: z / (1 + abs(z))), njit(lambda z, a: (1 - abs(a)) ** 2))
    settings: dict[str, Any] = {"layers": "5", "epochs": 2}
    one, other = train(blobs(), activation=pair, **settings), train(blobs(), activation=SOFTSIGN, **settings)
    assert one.model.parameters == pytest.approx(other.model.parameters, rel=1e-4, abs=1e-5)
    assert pair.f.signatures


def test_ways_to_give_it() -> None:
    assert Config(activation=SOFTSIGN).hidden_activations == (SOFTSIGN,)
    assert Config(activation=(SOFTSIGN, " relu")).hidden_activations == (SOFTSIGN, "relu")
    assert Config(activation=SOFTSIGN).as_dict()["activation"] == "softsign"
    network = Network((3, 5, 4, 3), (SOFTSIGN, SOFTSIGN, "softmax"), "cross_entropy")
    assert (network.activations, network.customs) == (("softsign", "softsign", "softmax"), (SOFTSIGN,))
    assert train(blobs(), network=network, epochs=1).model.network is network
    results = fastbp.train_many([{"activation": SOFTSIGN, "seed": seed, "epochs": 1} for seed in (0, 1)], blobs())
    assert [result.seed for result in results] == [0, 1]


def test_the_run_says_so_and_nothing_is_kept_on_disk(tmp_path: Any) -> None:
    folder = Path(os.environ["FASTBP_CACHE_DIR"]) / "kernels"
    fresh = CustomActivation("fresh", lambda z: z + 0.125 * math.sin(z), lambda z, a: 1 + 0.125 * math.cos(z))
    train(blobs(), layers="5", activation=SOFTSIGN, epochs=1)  # whatever belongs to the stages is there now
    before, n_prepared, log = {*folder.rglob("*")}, len(prepared), Phases()
    train(blobs(), layers="5", activation=fresh, epochs=1, callbacks=[log])
    assert log.said == [
        "activation fresh is trained by engine stages, not by the fused one",
        "compiling activation fresh, once per process: it is never kept on disk",
    ]
    assert {*folder.rglob("*")} == before
    assert len(prepared) == n_prepared
    from fastbp.kernels.stages_pieces import _compiled

    compiled = _compiled(fresh.f, 1)
    n_signatures = len(compiled.signatures)
    train(blobs(), layers="5", activation=fresh, epochs=1)
    assert _compiled(fresh.f, 1) is compiled
    assert len(compiled.signatures) == n_signatures


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: train(blobs(), activation=SOFTSIGN, engine="fused"),
            "engine fused cannot train networks of activation softsign; use engine auto, stages or reference",
        ),
        (
            lambda: train(blobs(), activation=SOFTSIGN, input_layout="sparse"),
            "dense input only; activation softsign needs it, so use input_layout dense",
        ),
        (
            lambda: Network((2, 1), (SOFTSIGN,), "squared_error"),
            "softsign is for hidden layers only; use softmax, sigm",
        ),
        (
            lambda: Network(
                (2, 3, 3, 1),
                (SOFTSIGN, CustomActivation("softsign", math.tanh, ALSO_TANH.f_prime), "identity"),
                "squared_error",
            ),
            "two activations have the name softsign; give each pair of functions its own",
        ),
        (lambda: Network((2, 3, 1), ("softsign", "identity"), "squared_error"), "must be one of .*, got 'softsign'"),
        (
            lambda: Config(activation=math.tanh),
            "activation must be a text, a CustomActivation, or a list of these, got",
        ),
        (lambda: Config(activation="softsign"), "activation must be one of identity, .*, got 'softsign'"),
        (lambda: Config(output_activation=SOFTSIGN), "output_activation must be one of"),
    ],
)
def test_what_is_refused_in_one_sentence(call: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_what_numba_cannot_compile() -> None:
    table = {"slope": 2.0}
    pair = CustomActivation("tabled", lambda z: table["slope"] * z, lambda z, a: table["slope"])
    with pytest.raises(
        UsageError, match=r"tabled: Numba cannot compile f for numbers of type float32 \(.*dict.*reference"
    ) as caught:
        train(blobs(), activation=pair, epochs=1)
    assert "\n" not in str(caught.value)
    assert train(blobs(), layers="4", activation=pair, epochs=1, engine="reference").engine == "reference float32"


def picky(z: float) -> float:
    if z > 100:
        raise ValueError("too much")
    return z


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_errors_during_the_run(engine: str) -> None:
    pair = CustomActivation("picky", picky, lambda z, a: 1.0)
    x = np.array([[1.0], [1e6]])
    with pytest.raises(UsageError, match=r"activation picky: f.* raised ValueError \(too much\)") as caught:
        train((x, np.array([0, 1])), activation=pair, init_from=far(pair), layers="1", normalize="none", engine=engine)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"picky: f\(1e\+06\) raised ValueError \(too much\); it must give a number"):
        far(pair).predict(x)


def far(pair: CustomActivation) -> Model:
    """z = x"""
    network = Network((1, 1, 2), (pair, "softmax"), "cross_entropy")
    return Model(network, np.float32([1, 0, 1, 1, 0, 0]), class_names=("0", "1"))


def test_numbers_that_grow_without_end_are_divergence() -> None:
    cube = CustomActivation("cube", lambda z: z * z * z, lambda z, a: 3 * z * z)
    with pytest.raises(fastbp.DivergedError):
        train(blobs(), layers="8-8-8", activation=cube, learning_rate=50.0, epochs=5)


# --- what looks at it, and what takes it along ------------------------------------------------------------------------


def soft_model() -> Model:
    """z = (x, -3 x), answers f(x) + 2 f(-3 x) + 1"""
    network = Network((1, 2, 1), (SOFTSIGN, "identity"), "squared_error")
    return Model(network, np.array([1.0, -3, 0, 0, 1, 2, 1]))


def test_answers_by_hand() -> None:
    model = soft_model()
    assert model.predict([[1.0], [-1.0]]).ravel().tolist() == [0.5 - 1.5 + 1, -0.5 + 1.5 + 1]
    assert model.evaluate([[1.0], [-1.0]], [[0.0], [0.0]]) == (1.0, None)


def test_diagnostics_by_hand() -> None:
    """At x = 1, y = -1: delta 1; f' is 1/4 and 1/16, so dJ/dw = 1/4 and 2/16."""
    first, _ = layer_facts(soft_model(), [[1.0]], [[-1.0]])
    assert first.activation == "softsign"
    assert first.gradient_norm == pytest.approx(math.hypot(1 / 4, 1 / 8))
    assert first.dead_units is None
    assert diagnose(soft_model(), [[1.0]], [[-1.0]]).saliency.tolist() == [abs(1 / 4 - 3 / 8)]


def test_one_step_and_the_graph_of_the_cost() -> None:
    from fastbp.one_step import check_by_graph, one_step

    step = one_step(soft_model().network, soft_model().parameters, [1.0], [-1.0], 0.5)
    assert step.gradient == pytest.approx([1 / 4, 1 / 8, 1 / 4, 1 / 8, 0.5, -0.75, 1])
    found = check_by_graph(step)
    assert max(found.reverse_difference, found.forward_difference) < 1e-15


def test_the_file_holds_the_name_and_asks_for_the_pair(tmp_path: Any) -> None:
    path = tmp_path / "soft.safetensors"
    soft_model().save(path)
    with pytest.raises(UsageError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path} needs the activation softsign, whose functions no model file holds; give them in Python: "
        "load(path, activations=[CustomActivation('softsign', f, f_prime)])"
    )
    with pytest.raises(UsageError, match="needs the activation softsign"):
        load(path, activations=[ALSO_TANH])
    again = load(path, activations=[ALSO_TANH, SOFTSIGN])
    assert again.network == soft_model().network
    assert again.to_bytes() == soft_model().to_bytes()
    assert again.predict([[1.0]]).tolist() == [[0.0]]
    for wrong in ([math.tanh], [SOFTSIGN, CustomActivation("softsign", math.tanh, ALSO_TANH.f_prime)]):
        with pytest.raises(UsageError, match="activations must be CustomActivations with a name of its own each"):
            load(path, activations=wrong)
    plain = Model(Network((1, 1), ("identity",), "squared_error"), np.array([2.0, 1.0]))
    plain.save(path)
    assert load(path, activations=[SOFTSIGN]).to_bytes() == plain.to_bytes()
    assert "custom" not in json.dumps(plain.describe())


def test_a_run_goes_on_from_a_loaded_model(tmp_path: Any) -> None:
    first = train(blobs(), layers="5", activation=SOFTSIGN, epochs=3)
    first.model.save(tmp_path / "first.safetensors")
    start = load(tmp_path / "first.safetensors", activations=[SOFTSIGN])
    again = train(blobs(), network=start.network, init_from=start, epochs=0)
    assert again.loss == first.loss


def test_what_cannot_take_it_along() -> None:
    with pytest.raises(UsageError, match="activation softsign is a function of your own, which ONNX cannot express"):
        network_graph(soft_model())
    with pytest.raises(UsageError, match=r"one activation in all hidden layers.*; this model has softsign"):
        fastbp.to_sklearn(soft_model())


def test_the_shell_says_that_it_is_for_python(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    soft_model().save("soft.safetensors")
    for args in (["eval", "soft.safetensors", "--data", "digits"], ["info", "soft.safetensors"]):
        result = CliRunner().invoke(cli, args, standalone_mode=False)
        assert _explain(result.exception) == 2
        assert "give them in Python" in str(result.exception)


def test_naming_a_pair_needs_neither_numba_nor_numpy() -> None:
    code = (
        "import sys, math, fastbp; fastbp.CustomActivation('t', math.tanh, lambda z, a: 1 - a * a);"
        "sys.exit(bool({'numba', 'numpy'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
