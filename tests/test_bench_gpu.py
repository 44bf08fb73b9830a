"""What `bench/gpu.py` makes of its rounds, without a GPU, PyTorch or JAX."""

from __future__ import annotations

import json
import os
import sys

import gpu
import numpy as np
import pytest
from gpu import Samples, expected_costs, facts_line, failed, job_of, main, query
from gpu_peers import TRAINERS, Entry, Fastbp, MissingPeerError, largest_divisor, takes_part
from gpu_processes import Clock, TrainerError, Worker, read_job, reason_of, write_job
from gpu_tables import accuracy_table, batches_in, compare, disagreement, figures, parts_table, table

N = 160


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    x = (rng.integers(1, 256, (2 * N, 784)) * (rng.random((2 * N, 784)) < 0.2)).astype(np.uint8)
    y = (np.arange(2 * N) % 10).astype(np.int32)
    return Samples("noise", x[:N], y[:N], x[N:], y[N:])


def test_figures_are_of_an_epoch_of_all_networks():
    made = figures([3.0, 1.0, 2.0], batches=10, n_batches=40, n_networks=100)
    assert made["ms_per_epoch"] == 8000.0  # the median, four times as long
    assert made["fastest_ms_per_epoch"] == 4000.0
    assert made["network_epochs_per_second"] == 12.5
    assert made["rounds"] == [3.0, 1.0, 2.0]
    assert made["scaled"]
    assert not figures([1.0], 40, 40, 1)["scaled"]


@pytest.mark.parametrize(
    ("seconds", "per_batch", "expected"),
    [
        (100.0, 0.001, 1000),  # an epoch fits
        (5.0, 0.01, 100),  # 1 s a round
        (5.0, 0.009, 100),  # 111, cut to whole blocks
        (0.01, 1.0, 50),  # one block at least
    ],
)
def test_rounds_are_cut_to_whole_blocks(seconds, per_batch, expected):
    assert batches_in(seconds, rounds=5, per_batch=per_batch, n_batches=1000, block=50) == expected


def test_an_agreement_is_of_every_network_and_goes_on_after_the_first_batches():
    right = np.linspace(1.0, 2.0, 3 * 20).reshape(3, 20)
    rule = {"first": right[:, :4], "followed": right[[0, 2]], "members": np.array([0, 2])}
    assert disagreement(right, **rule) == 0
    assert disagreement(right[:, :7], **rule) == 0
    wrong = right.copy()
    wrong[1, 0] *= 1.4  # one network, its first batch
    assert disagreement(wrong, **rule) == pytest.approx(0.4 * right[1, 0] / right[1, :4].sum())
    wrong = right.copy()
    wrong[2, 19] *= 1.2  # a batch that only the followed networks know
    assert disagreement(wrong, **rule) == pytest.approx(0.2 * right[2, 19] / right[2].sum())
    wrong[2, 19] = np.nan
    assert not disagreement(wrong, **rule) <= 1


def test_ratios_are_to_the_best_peer_of_our_precision():
    times = {"fastbp": 10.0, "fastbp, CPU": 80.0, "PyTorch, graph of many steps": 30.0, "JAX": 20.0, "JAX, TF32": 5.0}
    entries = {name: {"ms_per_epoch": time} for name, time in times.items()} | {"JAX, unrolled": {"left_out": "dead"}}
    compare(entries)
    assert entries["fastbp"]["best_peer"] == "JAX"
    ratios = [entries[name]["ratio"] for name in times]
    assert ratios == pytest.approx([2.0, 0.25, 2 / 3, 1.0, 4.0])
    assert "ratio" not in entries["JAX, unrolled"]
    alone = {"fastbp": {"ms_per_epoch": 1.0}}
    compare(alone)
    assert alone["fastbp"]["ratio"] is None


def test_the_table_is_sorted_and_tells_why_somebody_is_missing():
    entries = {
        "JAX": {"detail": "125 steps per call", "cost_difference": 2e-7, **figures([0.5], 250, 1000, 132)},
        "fastbp": {"cost_difference": 1e-7, **figures([1.0], 1000, 1000, 132)},
        "PyTorch, compiled": {"left_out": "torch is not installed"},
    }
    compare(entries)
    shape = {"n_networks": 132, "batch_size": 32, "samples": 32_000, "data": "mnist"}
    lines = table({**shape, "trainers": entries}).splitlines()
    assert lines[0] == "**132 networks, batch 32**, 32,000 samples of mnist"
    assert lines[4] == "| fastbp | 132.0 | 1,000.00 | 1,000.00 | 2.00 | 1e-07 |"
    assert lines[5] == "| JAX (125 steps per call), from 250 batches | 66.0 | 2,000.00 | 2,000.00 | 1.00 | 2e-07 |"
    assert lines[6] == "| PyTorch, compiled | | | | torch is not installed |  |"
    assert {line.count("|") for line in lines[2:]} == {7}


def test_tables_of_parts_and_accuracies():
    where = {"n_networks": 1056, "batch_size": 32}
    lines = parts_table(
        [{"part": "shuffle", **where, "seconds": 0.002, "fastest": 0.001}, {"part": "all", **where, "left_out": "no"}]
    ).splitlines()
    assert lines[4:] == ["| shuffle | 1,056 | 32 | 2.0000 | 1.0000 |", "| all | 1,056 | 32 | no | |"]
    row = {"epochs": 10, "seeds": 132, "accuracy": 95.0, "cpu_accuracy": 95.25, "difference": -0.25, "alike": False}
    lines = accuracy_table(
        [{**row, "seconds": 1.0, "cpu_seconds": 4.0}, {"epochs": 1, "seeds": 9, "left_out": "no"}]
    ).splitlines()
    assert lines[4] == "| 10 | 132 | 95.000 | 95.250 | -0.250 (too much) | 1.00 | 4.00 |"
    assert {line.count("|") for line in lines[2:]} == {8}


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ({"ms_per_epoch": 1.0}, 0),
        ({"left_out": "torch is not installed"}, 0),
        ({"left_out": "no time was left for it"}, 0),
        ({"left_out": "wrong: its mean costs are not those of the CPU engine"}, 1),
        ({"left_out": "its process died with exit code -11"}, 1),
    ],
)
def test_the_exit_code_tells_of_failures(entry, code):
    trainers = {"fastbp": {"ms_per_epoch": 2.0}, "JAX": entry}
    assert failed({"speed": [{"trainers": trainers}], "parts": [], "accuracy": []}) == code
    assert failed({"speed": [], "parts": [], "accuracy": [{"alike": False}]}) == 1
    assert (
        failed({"speed": [], "parts": [], "accuracy": [{"left_out": "no time was left for it"}]}) == 1
    )  # nothing done


def test_reasons_are_one_line():
    assert reason_of(MissingPeerError("no\n  GPU")) == "no GPU"
    assert reason_of(ValueError("odd")) == "ValueError: odd"
    assert reason_of(RuntimeError("CUDA out of memory. Tried ...")).startswith("out of memory: ")
    assert reason_of(AssertionError()) == "AssertionError: no reason given"


def test_divisors():
    assert [largest_divisor(1875, 80), largest_divisor(468, 80), largest_divisor(7, 3), largest_divisor(5, 0)] == [
        *(75, 78, 1, 1)
    ]


def test_some_trainers_are_for_one_network():
    assert takes_part("fastbp, one network", 1)
    assert not takes_part("fastbp, one network", 2)
    assert takes_part("JAX", 1)
    assert takes_part("JAX", 2)


def test_time_that_is_over_is_given_to_nobody():
    assert Clock(100.0).left(5.0) == 5.0
    assert 50 < Clock(100.0).left(500.0) <= 100
    with pytest.raises(TrainerError, match="no time was left"):
        Clock(0.5).left(5.0)


@pytest.mark.skipif(sys.platform == "win32", reason="the card is a shell script")
def test_the_card_is_asked_field_by_field_where_the_driver_does_not_know_them_all(monkeypatch, tmp_path):
    card = tmp_path / "nvidia-smi"
    card.write_text(
        '#!/bin/sh\ncase "$1" in *odd*) exit 2;; *name,*) echo "H200, 580";; *name*) echo H200;; *) echo 580;; esac\n'
    )
    card.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert query(["name", "driver_version"]) == {"name": "H200", "driver_version": "580"}
    assert query(["name", "odd", "driver_version"]) == {"name": "H200", "driver_version": "580"}
    monkeypatch.setenv("PATH", "")
    assert query(["name"]) == {}


def test_facts_are_one_line():
    facts = {"host": {"threads": 16}, "versions": {"fastbp": "1", "jax": "2"}}
    assert facts_line(facts) == "16 CPU threads, fastbp 1, jax 2"
    facts["gpu"] = {"name": "NVIDIA H200", "driver_version": "580"}
    assert facts_line(facts) == "NVIDIA H200, driver 580, 16 CPU threads, fastbp 1, jax 2"


def test_networks_differ_in_start_rate_and_order(samples, tmp_path):
    job = job_of(samples, 3, 32)
    assert job.sizes == (784, 16, 16, 10)
    assert job.etas.tolist() == pytest.approx([0.25, 0.5, 1.0])
    assert len({order.tobytes() for order in job.orders}) == len({theta.tobytes() for theta in job.thetas}) == 3
    assert job.batches().shape == (5, 3, 32)
    np.testing.assert_array_equal(job.batches()[1, 2], job.orders[2, 32:64])
    back = read_job(write_job(job, tmp_path))
    assert back.sizes == job.sizes
    assert back.batch_size == 32
    np.testing.assert_array_equal(back.orders, job.orders)
    np.testing.assert_array_equal(back.x, job.x)


class Forgetful(Fastbp):
    """Trains with the rate of another network."""

    def __init__(self, job, device):
        super().__init__(job._replace(etas=job.etas[::-1]), device)


@pytest.fixture
def few(monkeypatch, samples):
    """Few samples, and a trainer that is wrong."""
    monkeypatch.setattr(gpu, "samples_of", lambda count: samples)
    monkeypatch.setitem(TRAINERS, "forgetful", Entry(Forgetful))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def test_a_whole_run_on_the_cpu(few, tmp_path, capsys):
    path = tmp_path / "gpu.json"
    options = "--device cpu --inline --networks 1,3 --batch 32,64 --rounds 2 --seconds 1 --seeds 2 --epochs 1,2"
    code = main([*options.split(), "--contenders", "fastbp;fastbp, one network;forgetful", "--json", str(path)])
    out, result = capsys.readouterr().out, json.loads(path.read_text())
    assert code == 1  # because of the one that is wrong
    assert [(each["n_networks"], each["batch_size"]) for each in result["speed"]] == [
        (1, 32),
        (3, 32),
        (1, 64),
        (3, 64),
    ]
    for each in result["speed"]:
        ours = each["trainers"]["fastbp"]
        assert ours["cost_difference"] < 1e-6
        assert len(ours["rounds"]) == 2
        wrong = each["trainers"]["forgetful"]
        if each["n_networks"] == 1:  # nobody else's rate
            assert wrong["ratio"] == 1.0
        else:
            assert "wrong" in wrong["left_out"]
            assert "rounds" not in wrong
    assert len(result["parts"]) == 4 * 6
    assert [row["difference"] for row in result["accuracy"]] == [0.0, 0.0]
    assert result["facts"]["versions"]["numpy"] == np.__version__
    assert out.count("| trainer |") == 4


def test_without_a_gpu_there_is_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "missing_gpu", lambda: "there is no NVIDIA driver here")
    assert main([]) == 1
    assert capsys.readouterr().err.startswith("gpu.py: there is no NVIDIA driver here; --device cpu")


def test_a_trainer_in_a_process_of_its_own(samples, tmp_path):
    job = job_of(samples, 1, 32)
    folder = write_job(job, tmp_path)
    worker = Worker("fastbp", "cpu")
    try:
        made = worker.ask(60, "make", folder)
        assert disagreement(made["costs"], *expected_costs(job)) < 1e-6
        with pytest.raises(TrainerError, match="TypeError"):
            worker.ask(60, "time")
        with pytest.raises(TrainerError, match="ended after 0 s: parts took too long"):
            worker.ask(0.1, "parts", folder, 10**9)
        assert worker.ask(60, "make", folder)["detail"] == made["detail"]  # another process
        worker._process.kill()
        with pytest.raises(TrainerError, match="died with exit code"):
            worker.ask(60, "time", 1)
    finally:
        worker.end()
