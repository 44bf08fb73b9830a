"""The pytest plugin: how it measures, by a clock that only the measured functions move; and as pytest users meet it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tomllib
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastbp import pytest_plugin
from fastbp.pytest_plugin import Comparison, SpeedRatio

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "bench" / "example_suite" / "test_speed.py"

CLOCK = """
from fastbp import pytest_plugin

now = [0.0]
pytest_plugin.perf_counter = lambda: now[0]

def takes(seconds):
    def function():
        now[0] += seconds
    return function
"""


class Clock:
    """Time that passes only where a function says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def takes(self, name, *seconds):
        """A function that takes so long: each call the next of these times, the last one for ever."""
        rest = list(seconds)

        def function(*arguments):
            self.calls.append(name)
            self.now += rest.pop(0) if len(rest) > 1 else rest[0]

        return function


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pytest_plugin, "perf_counter", lambda: clock.now)
    return clock


def fixture(**options):
    node = SimpleNamespace(user_properties=[])
    return SpeedRatio(node, options.get("rounds"), options.get("seconds"), options.get("off", False)), node


# --- how it measures --------------------------------------------------------------------------------------------------


def test_the_ratio_is_the_references_time_by_the_kernels(clock):
    compare, node = fixture()
    found = compare(clock.takes("kernel", 0.25), clock.takes("reference", 1.0), at_least=4.0, seconds=100, rounds=7)
    assert (found.kernel, found.reference, found.ratio, found.noise) == (0.25, 1.0, 4.0, 0.0)
    ((name, entry),) = node.user_properties
    assert name == "speed_ratio"
    assert entry == {
        "name": "",
        "kernel": {"best": 0.25, "calls": 1, "rounds": [0.25] * 7},
        "reference": {"best": 1.0, "calls": 1, "rounds": [1.0] * 7},
        "ratio": 4.0,
        "noise": 0.0,
        "at_least": 4.0,
        "at_most": None,
        "outcome": "passed",
    }


def test_who_is_too_slow_fails_with_all_figures_in_one_sentence(clock):
    compare, node = fixture()
    with pytest.raises(pytest.fail.Exception) as failure:
        compare(clock.takes("k", 0.0031), clock.takes("r", 0.0093), at_least=4, rounds=10, name="forward")
    assert str(failure.value) == (
        "forward: the kernel takes 3.1 ms and the reference 9.3 ms, so the kernel is 3 times as fast, but at least 4 "
        "times is the limit (best of 30 rounds, noise 0.0 %)"
    )
    assert node.user_properties[0][1]["outcome"] == "failed"


def test_who_is_too_fast_to_be_true_fails_where_asked(clock):
    compare, _ = fixture()
    with pytest.raises(pytest.fail.Exception, match="is 100 times as fast, but at most 50 times is the limit"):
        compare(clock.takes("k", 1.0), clock.takes("r", 100.0), at_least=4, at_most=50)
    assert compare(clock.takes("k", 1.0), clock.takes("r", 100.0), at_least=4, at_most=100).ratio == 100


def test_the_first_call_is_not_measured(clock):
    """It may compile."""
    compare, _ = fixture()
    found = compare(clock.takes("k", 1000.0, 1.0), clock.takes("r", 500.0, 2.0), at_least=2)
    assert max(found.kernel_rounds) == 1.0
    assert max(found.reference_rounds) == 2.0


def test_they_take_turns_and_change_who_begins(clock):
    compare, _ = fixture()
    compare(clock.takes("k", 1.0), clock.takes("r", 1.0), at_least=1, rounds=6, seconds=100, setup=lambda: ())
    assert "".join(clock.calls) == "kr" + "krrk" * 3


def test_the_best_round_counts_and_a_disturbed_one_is_no_noise(clock):
    compare, _ = fixture()
    slow = [1.0, 1.0, 5.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    found = compare(clock.takes("k", *slow), clock.takes("r", 2.0), at_least=2, rounds=7, seconds=99, setup=lambda: ())
    assert found.ratio == 2.0
    assert 5.0 in found.kernel_rounds
    assert found.noise == 0.0


def test_noise_is_the_scatter_of_the_ratios():
    found = Comparison((1.0,) * 5, (1.8, 1.9, 2.0, 2.1, 2.2))
    assert found.noise == pytest.approx(1.4826 * 0.1 / 2.0)


def test_a_near_miss_is_measured_again(clock):
    compare, _ = fixture()
    disturbed = [1.0] + [1.5] * 5 + [1.0]
    found = compare(clock.takes("k", *disturbed), clock.takes("r", 4.0), at_least=4, rounds=5, setup=lambda: ())
    assert len(found.kernel_rounds) == 10
    assert found.ratio == 4.0


def test_rounds_end_with_the_time_but_there_are_five(clock):
    compare, _ = fixture()
    assert len(compare(clock.takes("k", 9.0), clock.takes("r", 9.0), at_least=1, seconds=1).kernel_rounds) == 5
    assert len(compare(clock.takes("k", 1.0), clock.takes("r", 1.0), at_least=1, seconds=15).kernel_rounds) == 8
    compare, _ = fixture(rounds=6, seconds=1000.0)
    assert len(compare(clock.takes("k", 1.0), clock.takes("r", 1.0), at_least=1, seconds=15).kernel_rounds) == 6


def test_short_calls_are_timed_together(clock):
    compare, node = fixture()
    step = 2.0**-14
    found = compare(clock.takes("k", step), clock.takes("r", 4 * step), at_least=4, rounds=5)
    entry = node.user_properties[0][1]
    assert (entry["kernel"]["calls"], entry["reference"]["calls"]) == (8, 2)
    assert (found.kernel, found.reference) == (step, 4 * step)


def test_a_setup_is_called_before_every_call_and_not_timed(clock):
    seen = []

    def setup():
        clock.now += 7.0
        seen.append(len(seen))
        return (seen[-1], "x")

    def kernel(number, text):
        assert (number, text) == (seen[-1], "x")
        clock.now += 1.0

    def reference(number, text):
        assert (number, text) == (seen[-1], "x")
        clock.now += 3.0

    compare, _ = fixture()
    assert compare(kernel, reference, at_least=3, setup=setup, rounds=5).ratio == 3.0
    assert len(seen) == 12

    def other(text):
        clock.now += 2.0

    found = compare(kernel, other, at_least=2, setup=setup, reference_setup=lambda: ("y",), rounds=5)
    assert found.ratio == 2.0


def test_limits_that_make_no_sense_are_refused():
    compare, _ = fixture()
    for limits in ({"at_least": 0}, {"at_least": math.nan}, {"at_least": math.inf}, {"at_least": 4, "at_most": 2}):
        with pytest.raises(ValueError, match="at_least must be above 0"):
            compare(int, int, **limits)
    for settings in ({"rounds": 0}, {"seconds": -1}, {"seconds": math.nan}):
        with pytest.raises(ValueError, match="rounds must be at least 1"):
            compare(int, int, at_least=1, **settings)


def test_the_garbage_collector_is_back_afterwards(clock):
    import gc

    compare, _ = fixture()
    states = []

    def kernel():
        states.append(gc.isenabled())
        clock.now += 1

    compare(kernel, clock.takes("r", 1.0), at_least=1)
    assert states[0] is True
    assert not any(states[1:])
    assert gc.isenabled()


# --- as a plugin ------------------------------------------------------------------------------------------------------


def run_pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """pytest in a process of its own, with this plugin and no other."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    environment.pop("PYTEST_ADDOPTS", None)
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = [sys.executable, "-m", "pytest", "-p", "fastbp.pytest_plugin", "-p", "no:cacheprovider", "-c", os.devnull]
    command += ["--rootdir", str(folder), *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def suite(tmp_path):
    """One test that passes, one that fails, one that has nothing to do with speed."""
    (tmp_path / "test_it.py").write_text(
        CLOCK
        + """
def test_fast(speed_ratio):
    speed_ratio(takes(1.0), takes(8.0), at_least=4.0)

def test_slow(speed_ratio):
    speed_ratio(takes(2.0), takes(3.0), at_least=1.0, name="first")
    speed_ratio(takes(2.0), takes(3.0), at_least=4.0, name="second")

def test_other():
    pass
"""
    )
    return tmp_path


def test_a_run_with_its_file(suite):
    run = run_pytest(suite, "--speed-json", "speed.json")
    assert run.returncode == 1, run.stdout + run.stderr
    assert "1 failed, 2 passed" in run.stdout
    assert "second: the kernel takes 2 s and the reference 3 s, so the kernel is 1.5 times as fast, but" in run.stdout
    assert "speed ratios" in run.stdout
    content = json.loads((suite / "speed.json").read_text())
    assert (content["format"], content["version"]) == ("fastbp speed", 1)
    assert datetime.fromisoformat(content["created"]).tzinfo is not None
    assert set(content["machine"]) == {"system", "cpu", "threads", "python", "packages"}
    assert content["machine"]["threads"] >= 1
    shown = [(each["test"], each["name"], each["ratio"], each["outcome"]) for each in content["results"]]
    assert shown == [
        ("test_it.py::test_fast", "", 8.0, "passed"),
        ("test_it.py::test_slow", "first", 1.5, "passed"),
        ("test_it.py::test_slow", "second", 1.5, "failed"),
    ]
    assert content["results"][0]["kernel"]["rounds"] == [1.0] * 5


def test_options_replace_what_tests_ask_for(suite):
    run = run_pytest(suite, "--speed-json", "s.json", "--speed-rounds", "9", "--speed-seconds", "1e9", "-k", "fast")
    assert run.returncode == 0, run.stdout
    (result,) = json.loads((suite / "s.json").read_text())["results"]
    assert len(result["kernel"]["rounds"]) == 9


def test_switched_off_nothing_is_judged(suite):
    run = run_pytest(suite, "--speed-off", "--speed-json", "s.json")
    assert run.returncode == 0
    assert "3 passed" in run.stdout
    assert "speed ratios" not in run.stdout
    results = json.loads((suite / "s.json").read_text())["results"]
    assert {(each["outcome"], each["ratio"], each["kernel"]["best"]) for each in results} == {
        ("not measured",) + (None,) * 2
    }


@pytest.mark.parametrize("path", [".", "nowhere/speed.json"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(suite, path):
    run = run_pytest(suite, "--speed-json", path)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"--speed-json {path}: name a file in a folder that exists" in run.stderr
    assert "test_it" not in run.stdout


def test_runs_without_such_tests_say_nothing(tmp_path):
    (tmp_path / "test_it.py").write_text("def test_it(): pass\n")
    run = run_pytest(tmp_path)
    assert run.returncode == 0
    assert "speed ratios" not in run.stdout


def test_the_example_runs_as_it_is(tmp_path):
    (tmp_path / EXAMPLE.name).write_text(EXAMPLE.read_text())
    run = run_pytest(tmp_path, "--speed-off", "-W", "error")
    assert run.returncode == 0, run.stdout
    assert "2 passed" in run.stdout


def test_pytest_finds_the_plugin_by_its_entry_point():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"] == {"pytest11": {"fastbp": "fastbp.pytest_plugin"}}


def test_starting_pytest_imports_nothing_heavy():
    program = """
import json, sys
import pytest
before = set(sys.modules)
import fastbp.pytest_plugin
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    new = {name.split(".")[0] for name in json.loads(run.stdout)}
    assert new - set(sys.stdlib_module_names) == {"fastbp"}
    assert {name for name in json.loads(run.stdout) if name.startswith("fastbp")} == {"fastbp", "fastbp.pytest_plugin"}
