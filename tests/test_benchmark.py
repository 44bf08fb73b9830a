"""`fastbp bench` and `fastbp warmup`: what is measured, what is told. Times themselves are no test's business."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from fastbp import benchmark
from fastbp.benchmark import Timing, measure
from fastbp.cli import cli
from fastbp.data import Dataset
from fastbp.errors import FastbpError, UsageError
from fastbp.kernels import Preparation
from fastbp.speed import show_warmth, speed_facts, warmth_facts


def pictures(n=64):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (n, 16)).astype(np.uint8)
    return Dataset.from_arrays(x, np.arange(n) % 4, name="squares")


# --- measuring --------------------------------------------------------------------------------------------------------


def test_engines_take_turns_for_three_rounds_at_least():
    said = []
    timings = measure(pictures(), seconds=0, progress=lambda *what: said.append(what))
    assert [each.name for each in timings][:3] == ["fused", "stages", "reference"]
    assert [len(each.rounds) for each in timings] == [3] * len(timings)
    assert all(each.seconds == min(each.rounds) > 0 for each in timings)
    assert [text for text, _, _ in said] == ["measuring"] * 3


def test_rounds_go_on_for_the_time_that_is_given(monkeypatch):
    now = iter(range(10**6))
    monkeypatch.setattr(benchmark, "perf_counter", lambda: float(next(now)))
    monkeypatch.setattr(benchmark, "find_spec", lambda name: None)
    timings = measure(pictures(), seconds=35)
    assert len(timings[0].rounds) == 6  # they end at 6, 12, 18, 25, 32 and 39: from the fourth on, one look more
    assert {each.seconds for each in timings} == {1.0}


def test_engines_that_disagree_are_not_timed(monkeypatch):
    whole = benchmark._engine

    def wrong(name, data, batch_size):
        train = whole(name, data, batch_size)
        return (lambda order: train(order) + 0.1) if name == "stages" else train

    monkeypatch.setattr(benchmark, "_engine", wrong)
    with pytest.raises(FastbpError, match="the engines disagree"):
        measure(pictures(), seconds=0)


def test_other_data_is_refused():
    x, y = np.random.default_rng(0).random((8, 3)), np.arange(8) % 2
    with pytest.raises(UsageError, match="needs pictures with classes, and table holds something else"):
        measure(Dataset.from_arrays(x, y, name="table"))


def test_scikit_learn_takes_part_where_it_is():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    assert [each.name for each in measure(pictures(), seconds=0)][3:] == ["scikit-learn"]


# --- telling ----------------------------------------------------------------------------------------------------------


def test_ratios_are_times_by_ours():
    data = pictures(64)
    timings = [Timing("fused", "ours", (0.5, 0.25)), Timing("reference", "NumPy", (2.0, 3.0))]
    found = speed_facts(timings, data, 8)
    assert found["job"] == {
        "network": "16-16-16-4", "data": "squares", "samples": 64, "batch_size": 8, "dtype": "float32",
    }  # fmt: skip
    assert [(each["seconds"], each["samples_per_second"], each["ratio"]) for each in found["results"]] == [
        (0.25, 256.0, 1.0),
        (2.0, 32.0, 8.0),
    ]
    assert found["results"][0]["rounds"] == [0.5, 0.25]
    assert found["machine"]["vector_bits"] in (128, 256, 512)


def run(*args):
    result = CliRunner().invoke(cli, args, standalone_mode=False)
    assert result.exception is None, result.exception
    return result


def test_the_command_bench(monkeypatch):
    monkeypatch.setattr("fastbp.data.load_dataset", lambda **_: pictures(), raising=False)
    found = json.loads(run("bench", "--seconds", "0", "--batch-size", "16", "--json", "--quiet").stdout)
    assert set(found) == {"job", "machine", "results"}
    assert (found["job"]["batch_size"], found["job"]["samples"]) == (16, 64)
    assert [each["name"] for each in found["results"]][:3] == ["fused", "stages", "reference"]
    assert set(found["results"][0]) == {"name", "title", "seconds", "samples_per_second", "ratio", "rounds"}
    shown = run("bench", "--seconds", "0", "--quiet")
    assert shown.stdout.splitlines()[0].split() == ["one", "epoch", "ms", "samples/s", "times", "ours"]
    assert "readable NumPy" in shown.stdout
    assert "64 samples of squares, batch size 32, fastest of 3 rounds" in shown.stdout
    assert shown.stderr == ""


def test_the_command_warmup():
    run("warmup", "--quiet")
    found = json.loads(run("warmup", "--json").stdout)  # all is ready in this process by now
    assert (found["compiled"], found["loaded"], found["kernels"]) == (0, 0, [])
    assert "kernels" in found["cache"]


def test_a_warm_up_in_words(capsys, monkeypatch):
    monkeypatch.setattr("fastbp.kernels.jit.cache_folder", lambda: None)
    done = [
        Preparation("fused.run", 2.0, False),
        Preparation("fused.run", 0.5, False),
        Preparation("order", 0.25, True),
    ]
    found = warmth_facts(done)
    assert {name: found[name] for name in ("compiled", "loaded", "seconds", "cache")} == {
        "compiled": 2, "loaded": 1, "seconds": 2.75, "cache": None,
    }  # fmt: skip
    assert found["kernels"][2] == {"kernel": "order", "seconds": 0.25, "from_cache": True}
    show_warmth(found)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["kernel", "was", "variants", "seconds"],
        ["fused.run", "compiled", "2", "2.50"],
        ["order", "loaded", "1", "0.25"],
    ]
    assert lines[-2:] == [
        "2 compiled, 1 loaded, 2.75 s",
        "no place to keep them: set FASTBP_CACHE_DIR to your own folder",
    ]
