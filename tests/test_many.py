"""Many networks side by side: the results of `train`, whatever the number of threads."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from fastbp import Config, Dataset, FastbpError, UsageError, train, train_many
from fastbp.cli import cli
from fastbp.many import parse_seeds
from fastbp.samples import hold_out


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 200)
    x = rng.integers(0, 256, (3, 24))[y] * (rng.random((200, 24)) < 0.6)
    return Dataset.from_arrays(x[:150].astype(np.uint8), y[:150], x[150:].astype(np.uint8), y[150:])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_is_what_train_gives_alone(data: Dataset, threads: int) -> None:
    settings: list[dict[str, Any]] = [
        {"seed": 1, "layers": "8", "epochs": 4},
        {"seed": 2, "layers": "8", "epochs": 4},
        {"seed": 1, "layers": "5-4", "epochs": 2, "optimizer": "adam"},
        {"seed": 3, "layers": "8", "epochs": 3, "batch_size": 7, "dtype": "float64", "activation": "tanh"},
        {"seed": 3, "layers": "8", "epochs": 3, "cost": "squared_error", "output_activation": "tanh"},
        {"seed": 4, "layers": "8", "epochs": 2, "engine": "reference"},
    ]
    heard: dict[int, Any] = {}
    results = train_many(settings, data, threads=threads, on_result=heard.__setitem__)
    for number, (entry, result) in enumerate(zip(settings, results, strict=True)):
        alone = train(data, **entry, evaluate="end")
        np.testing.assert_array_equal(result.model.parameters, alone.model.parameters)
        assert (result.loss, result.test_accuracy) == (alone.loss, alone.test_accuracy)
        assert heard[number] is result


def test_configs_and_one_that_diverges(data: Dataset) -> None:
    good = Config(layers="8", epochs=2)
    bad = Config(layers="8", epochs=50, activation="relu", learning_rate=1e30)
    results = train_many([good, bad, good], data)
    assert [result.stopped for result in results] == ["epochs", "diverged", "epochs"]
    assert np.isfinite(results[1].model.parameters).all()
    np.testing.assert_array_equal(results[0].model.parameters, results[2].model.parameters)


@pytest.mark.parametrize(
    ("settings", "threads", "message"),
    [
        ([], None, "1 to 100000 networks, got 0"),
        ([{"colour": 1}], None, "no such setting"),
        ([{"epochs": -1}], None, "epochs must be at least 0"),
        ([{}], 0, "threads must be at least 1, got 0"),
        ([{"layers": "7-7-7-7"}], None, "begins with 7 inputs"),
    ],
)
def test_refusals(data: Dataset, settings: Any, threads: int | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train_many(settings, data, threads=threads)


@pytest.mark.parametrize("threads", [1, 3])
def test_weights_and_validation_samples_of_ones_own(data: Dataset, threads: int) -> None:
    """One array for all: bit for bit what `train` makes of it, whatever the settings around it."""
    weights = np.random.default_rng(1).random(150) * (np.arange(150) % 5 > 0)
    held = (data.x_test[:30], data.y_test[:30])
    settings: list[dict[str, Any]] = [
        {"seed": 1, "layers": "8", "epochs": 5},
        {"seed": 2, "layers": "8", "epochs": 40, "patience": 2, "learning_rate": 3.0},
        {"seed": 2, "layers": "4", "epochs": 3, "class_weight": "balanced", "evaluate": "each"},
        {"seed": 1, "layers": "4", "epochs": 3, "dtype": "float64", "batch_size": 7, "label_smoothing": 0.1},
        {"seed": 4, "layers": "8", "epochs": 2, "engine": "reference"},
    ]
    given: dict[str, Any] = {"sample_weight": weights, "validation_data": held}
    results = train_many(settings, data, threads=threads, **given)
    for entry, result in zip(settings, results, strict=True):
        alone = train(data, **{"evaluate": "end", **entry}, **given)
        np.testing.assert_array_equal(result.model.parameters, alone.model.parameters)
        for name in ("stopped", "epochs", "loss", "validation_loss", "validation_accuracy", "test_accuracy"):
            assert getattr(result, name) == getattr(alone, name)
        assert [each.validation_loss for each in result.history] == [each.validation_loss for each in alone.history]
    loss, accuracy = results[0].model.evaluate(*held)
    assert results[0].validation_loss == pytest.approx(loss, rel=1e-5)
    assert results[0].validation_accuracy == accuracy
    plain = train_many(settings[:1], data)[0]
    assert not np.array_equal(plain.model.parameters, results[0].model.parameters)
    assert plain.validation_loss is None


def test_weights_belong_to_held_out_samples_too(data: Dataset) -> None:
    weights = np.linspace(0.1, 3, 150)
    settings = [{"seed": seed, "layers": "4", "epochs": 2, "validation": 0.2} for seed in range(3)]
    for entry, result in zip(settings, train_many(settings, data, sample_weight=weights), strict=True):
        alone = train(data, evaluate="end", sample_weight=weights, **entry)  # type: ignore[arg-type]
        np.testing.assert_array_equal(result.model.parameters, alone.model.parameters)
        assert result.validation_loss == alone.validation_loss
        kept, held = hold_out(data.y_train, 0.2, entry["seed"])  # type: ignore[arg-type]
        own = result.model.outputs(data.x_train[held])[np.arange(30), data.y_train[held]]
        w = weights[held]
        assert result.validation_loss == pytest.approx(-(w * np.log(own)).sum() / w.sum(), rel=1e-5)
        assert len(kept) == 120


def test_weights_and_validation_samples_that_do_not_fit(data: Dataset) -> None:
    """The sentences of `train`, before anything is trained."""
    heard: list[int] = []
    for given, message in (
        ({"sample_weight": np.ones(149)}, r"sample_weight must be one number per training sample, shape \(150,\)"),
        ({"sample_weight": np.full(150, -1.0)}, "sample_weight must be from 0 to 1e"),
        ({"sample_weight": np.zeros(150)}, "sample_weight is 0 for all samples"),
        ({"validation_data": data.x_test}, "validation_data must be a pair of arrays"),
        ({"validation_data": (data.x_test[:, :9], data.y_test)}, "validation_data has 9 features"),
    ):
        for call in (
            lambda given=given: train(data, epochs=1, **given),
            lambda given=given: train_many([{"epochs": 1}] * 2, data, on_result=lambda n, _: heard.append(n), **given),
        ):
            with pytest.raises(FastbpError, match=message):
                call()
    with pytest.raises(UsageError, match="validation holds training samples out, and validation_data brings others"):
        train_many([{"epochs": 1, "validation": 0.1}], data, validation_data=(data.x_test, data.y_test))
    assert heard == []


def test_validation_samples_are_packed_once(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many networks look at them."""
    from fastbp.kernels import packing

    sizes: list[int] = []
    genuine = packing._pack

    def pack(split: Any, *rest: Any) -> Any:
        sizes.append(len(split.y))
        return genuine(split, *rest)

    monkeypatch.setattr(packing, "_pack", pack)
    settings = [{"seed": seed, "layers": "8", "epochs": 1} for seed in range(6)]
    train_many(settings, data, threads=2, validation_data=(data.x_test[:30], data.y_test[:30]))
    assert sorted(sizes) == [0, 30, 50, 150]


def test_an_interrupt_stops_all(data: Dataset) -> None:
    def interrupt(number: int, result: Any) -> None:
        raise KeyboardInterrupt

    endless = {"layers": "8", "epochs": 1_000_000}
    with pytest.raises(KeyboardInterrupt):
        train_many([{"layers": "8", "epochs": 1}, endless, endless, endless], data, threads=2, on_result=interrupt)


@pytest.mark.parametrize(
    ("text", "seeds"), [("0", [0]), ("0-3", [0, 1, 2, 3]), ("5,1-2", [5, 1, 2]), (" 7 , 8 ", [7, 8])]
)
def test_seeds_in_words(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "3-1", "1-", "-1", "1..3", "0-9999999", "1;2", "0-99999999999999999999"])
def test_seeds_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="seeds must be"):
        parse_seeds(text)


def test_the_command(data: Dataset, tmp_path: Any) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x_train=data.x_train, y_train=data.y_train, x_test=data.x_test, y_test=data.y_test)
    save = tmp_path / "best.safetensors"
    arguments = ["train", "--data", str(path), "--layers", "8", "--epochs", "2", "--seeds", "3-5", "--save", str(save)]
    result = CliRunner().invoke(cli, [*arguments, "--json"], catch_exceptions=False)
    facts = json.loads(result.stdout)
    assert facts["seeds"] == [run["seed"] for run in facts["runs"]] == [3, 4, 5]
    losses = [run["loss"] for run in facts["runs"]]
    assert facts["best_seed"] == 3 + int(np.argmin(losses))
    assert facts["loss_mean"] == pytest.approx(np.mean(losses))
    assert facts["test_accuracy_deviation"] == pytest.approx(
        np.std([run["test_accuracy"] for run in facts["runs"]], ddof=1)
    )
    best = train(str(path), layers="8", epochs=2, seed=facts["best_seed"]).model
    assert best.to_bytes() != b""
    assert np.array_equal(best.parameters, _load(save).parameters)
    text = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert "in the mean of 3 seeds" in text.stdout
    assert text.stderr.count("\n") >= 5


def test_what_does_not_go_with_seeds() -> None:
    for arguments, message in ((["--seeds", "x"], "seeds must be numbers"),):
        with pytest.raises(UsageError, match=message):
            CliRunner().invoke(cli, ["train", "--no-save", *arguments], catch_exceptions=False, standalone_mode=False)


def _load(path: Any) -> Any:
    from fastbp import load

    return load(path)
