"""The figures beside the times of the benchmarks in `bench/`, with a clock that the test turns."""

from __future__ import annotations

import os
import sys

import figures
import pytest
from bench_stages import stage_flops
from figures import Times, race, race_of_calls, tell
from peak import fma_peak
from peers import useful_flops
from processes import Launcher

from fastbp import Network


class Benchmark:
    """What pytest-benchmark's fixture does, without its clock."""

    enabled = True

    def __init__(self):
        self.extra_info = {}

    def __call__(self, function):
        return function()

    def pedantic(self, target, *, setup, rounds):
        for _ in range(rounds):
            setup()
            target()


class Clock:
    """A time that only passes when work is done."""

    def __init__(self, monkeypatch):
        self.now, self.log = 0.0, []
        monkeypatch.setattr(figures, "perf_counter", lambda: self.now)

    def work(self, name, *seconds):
        """A function that takes these times, call after call, and the last one from then on."""
        left = list(seconds)

        def run():
            self.log.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


def probing(monkeypatch, *peaks, together=()):
    """Let the probe find these peaks, one after the other."""
    left = {1: iter(peaks), 2: iter(together)}
    monkeypatch.setattr(figures, "fma_peak", lambda seconds, threads=1: next(left[threads]))
    monkeypatch.setattr(figures, "PROBES", 1)


def test_the_figures_of_an_entry():
    benchmark = Benchmark()
    times = Times(seconds=0.5, other=2.0, peak=10e9, scaling={})
    tell(benchmark, times, samples=1000, flops=2_000_000, against="NumPy", data="mnist")
    # 1,000 samples in half a second, 2 million operations each: 4 GFLOP/s of 10
    assert benchmark.extra_info == {
        "samples_per_second": 2000.0,
        "gflops": 4.0,
        "peak_gflops": 10.0,
        "share_of_peak": 0.4,
        "against": "NumPy",
        "ratio": 4.0,
        "data": "mnist",
    }


def test_two_take_turns_and_the_fastest_round_of_each_counts(monkeypatch):
    clock = Clock(monkeypatch)
    probing(monkeypatch, 5e9, 7e9, 6e9)
    ours, numpy = clock.work("ours", 3.0, 1.0, 2.0), clock.work("numpy", 8.0, 9.0, 4.0)
    assert race(Benchmark(), ours, numpy, rounds=3) == Times(1.0, 4.0, 7e9, {})
    assert clock.log == ["numpy", "ours"] * 3


def test_several_cores_are_probed_at_once_and_one_beside_them(monkeypatch):
    clock = Clock(monkeypatch)
    probing(monkeypatch, 5e9, 6e9, 4e9, together=(11e9, 6e9, 9e9))
    found = race(Benchmark(), clock.work("ours", 1.0), clock.work("one", 1.5), rounds=3, threads=2)
    assert found.peak == 11e9
    assert found.scaling == {"cores": 2, "probe_scaling": 11 / 6, "usual_scaling": 9 / 6}
    benchmark = Benchmark()
    tell(benchmark, found, samples=1, flops=1, against="one thread")
    assert (benchmark.extra_info["cores"], benchmark.extra_info["probe_scaling"]) == (2, 1.833)


def test_short_calls_are_timed_many_together(monkeypatch):
    clock = Clock(monkeypatch)
    probing(monkeypatch, *[1e9] * 4)
    kernel, plain = clock.work("kernel", 1 / 4096), clock.work("plain", 1 / 1024)  # no rounding in binary
    found = race_of_calls(Benchmark(), kernel, plain, rounds=4)
    assert (found.seconds, found.other) == (1 / 4096, 1 / 1024)
    # to find out how long they take: 1 + 3 and 3 calls; then four rounds of a millisecond at most, or of one call
    assert (clock.log.count("kernel"), clock.log.count("plain")) == (1 + 3 + 4 * 4, 3 + 4)


def test_useful_work_of_a_sample():
    network = Network((784, 16, 16, 10), ("sigmoid", "sigmoid", "softmax"), "cross_entropy")
    forward, gradient = 2 * (12544 + 256 + 160), 2 * (12544 + 256 + 160)
    assert useful_flops(network) == forward + gradient + 2 * (256 + 160) == 52_672


def test_the_work_of_the_stages_adds_up_to_that_of_a_sample():
    """784-16-10: both layers go forward and have a gradient; the second one passes its deltas on."""
    network = Network((784, 16, 10), ("sigmoid", "softmax"), "cross_entropy")
    first = stage_flops("forward", 3) + stage_flops("gradient", 3)
    assert first + 3 * stage_flops("hidden_delta", 3) == 3 * useful_flops(network)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_probe_finds_something(threads):
    assert 1e6 < fma_peak(0.0, threads) < 1e14


@pytest.fixture
def launcher(tmp_path):
    launcher = Launcher(tmp_path)
    yield launcher
    launcher.close()


def test_a_process_is_timed_and_its_output_kept(launcher):
    found = launcher.run((sys.executable, "-c", "import time; time.sleep(0.05); print('done')"), os.environ)
    assert found.seconds >= 0.05
    assert found.output.strip() == "done"


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="this system does not tell the memory of a process")
def test_the_memory_of_a_process_is_its_own(launcher):
    ours = b"1" * 200_000_000
    small = launcher.run((sys.executable, "-c", "pass"), os.environ).memory
    large = launcher.run((sys.executable, "-c", "x = b'1' * 100_000_000"), os.environ).memory
    assert small < 100_000_000 < large < len(ours)


def test_a_process_that_fails_is_an_error_with_its_words(launcher):
    with pytest.raises(RuntimeError, match=r"exit code 3: so it is"):
        launcher.run((sys.executable, "-c", "import sys; print('so it is'); sys.exit(3)"), os.environ)
    assert launcher.run((sys.executable, "-c", "print(1)"), os.environ).output.strip() == "1"
