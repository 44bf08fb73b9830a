"""A pytest plugin for performance regression suites: the fixture `speed_ratio`.

    def test_forward_is_fast(speed_ratio):
        speed_ratio(lambda: ours(x), lambda: plain(x), at_least=4.0)

Two functions come in, the kernel and its reference. Both are called once beforehand, so that nothing compiles while the
clock runs; then they take turns, round after round, in this very process, and the best round of each counts. The test
fails where the kernel is less than `at_least` times as fast. A ratio of two times from one run means the same on a slow
machine and on a fast one; a time does not.

`--speed-json PATH` writes what was measured; all times are seconds per call:

    {"format": "fastbp speed", "version": 1, "created": "2026-01-31T12:00:00+00:00",
     "machine": {"system": ..., "cpu": ..., "threads": ..., "python": ..., "packages": {"numpy": ...}},
     "results": [{"test": "test_speed.py::test_forward_is_fast", "name": "",
                  "kernel": {"best": 1.9e-05, "calls": 27, "rounds": [...]}, "reference": {...the same...},
                  "ratio": 210.5, "noise": 0.012, "at_least": 4.0, "at_most": null, "outcome": "passed"}]}

`calls` of one round are timed together; `noise` is the relative scatter of the rounds' ratios; `outcome` is passed,
failed, or, under `--speed-off`, "not measured", with null for what is not known.

pytest imports this file in every run, with or without such tests: it needs the standard library only, and measures in
the process that runs the test, also under pytest-xdist, beside pytest-benchmark or without either.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

__all__ = ["Comparison", "SpeedRatio", "speed_ratio"]

FORMAT, VERSION = "fastbp speed", 1
PROPERTY = "speed_ratio"
FEWEST_ROUNDS = 5
SHORTEST_ROUND = 5e-4  # seconds; calls that take less are timed several together
MOST_CALLS = 100_000
ATTEMPTS = 3  # who misses the limit is measured again: other programs can only make things slower
ROUNDS, SECONDS = 50, 1.0


class Comparison(NamedTuple):
    """What was measured; times are seconds per call."""

    kernel_rounds: tuple[float, ...]
    reference_rounds: tuple[float, ...]

    @property
    def kernel(self) -> float:
        """The kernel's best round."""
        return min(self.kernel_rounds)

    @property
    def reference(self) -> float:
        """The reference's best round."""
        return min(self.reference_rounds)

    @property
    def ratio(self) -> float:
        """How many times as fast as the reference the kernel is."""
        return self.reference / self.kernel

    @property
    def noise(self) -> float:
        """Scatter of the ratio from round to round: 1.48 times its median absolute deviation, as a share of its median.

        For normally distributed noise it is the standard deviation; a few disturbed rounds do not change it.
        """
        pairs = zip(self.kernel_rounds, self.reference_rounds, strict=True)
        ratios = [reference / kernel for kernel, reference in pairs]
        middle = _median(ratios)
        return 1.4826 * _median([abs(ratio - middle) for ratio in ratios]) / middle


class SpeedRatio:
    """What the fixture `speed_ratio` gives to a test: call it with a kernel and a reference."""

    def __init__(self, node: Any, rounds: int | None, seconds: float | None, off: bool) -> None:
        self._node, self._rounds, self._seconds, self._off = node, rounds, seconds, off

    def __call__(
        self,
        kernel: Callable[..., object],
        reference: Callable[..., object],
        *,
        at_least: float,
        at_most: float | None = None,
        setup: Callable[[], tuple[Any, ...] | None] | None = None,
        reference_setup: Callable[[], tuple[Any, ...] | None] | None = None,
        rounds: int = ROUNDS,
        seconds: float = SECONDS,
        name: str = "",
    ) -> Comparison | None:
        """Fail unless `kernel` is `at_least` times as fast as `reference`.

        Parameters
        ----------
        kernel, reference : callable
            called without arguments, or with those that their setup returns
        at_least : float
            the smallest ratio time(reference) / time(kernel) that passes: 4.0 means four times as fast, 0.8 that the
            kernel may take a quarter more time than the reference
        at_most : float, optional
            the largest: a kernel that is suddenly a thousand times as fast may have stopped doing its work
        setup, reference_setup : callable, optional
            called before every call, outside the timed part; a tuple that it returns holds the arguments. The first
            serves both functions where only it is given. With a setup, every round is one call
        rounds : int
            most rounds; the option --speed-rounds replaces it
        seconds : float
            no more rounds are begun after so long, but at least 5 are made; --speed-seconds replaces it
        name : str
            for the report, where a test makes several comparisons

        Returns
        -------
        Comparison or None
            None under --speed-off, where both functions are called once and nothing is measured

        Raises
        ------
        ValueError
            limits that no ratio can meet, or no rounds
        """
        rounds = rounds if self._rounds is None else self._rounds
        seconds = seconds if self._seconds is None else self._seconds
        if not 0 < at_least < float("inf") or (at_most is not None and not at_most >= at_least):
            raise ValueError(f"at_least must be above 0 and at most at_most, got {at_least} and {at_most}")
        if rounds < 1 or not seconds >= 0:
            raise ValueError(f"rounds must be at least 1 and seconds at least 0, got {rounds} and {seconds}")
        first = _Runner(kernel, setup)
        second = _Runner(reference, setup if reference_setup is None else reference_setup)
        if self._off:
            self._record(name, first, second, None, at_least, at_most, "not measured")
            return None
        found = Comparison((), ())
        for _ in range(ATTEMPTS):
            more = _compare(first, second, rounds, seconds)
            found = Comparison(found.kernel_rounds + more.kernel_rounds, found.reference_rounds + more.reference_rounds)
            passed = at_least <= found.ratio and (at_most is None or found.ratio <= at_most)
            if passed:
                break
        self._record(name, first, second, found, at_least, at_most, "passed" if passed else "failed")
        if not passed:
            pytest.fail(_sentence(name, found, at_least, at_most), pytrace=False)
        return found

    def _record(
        self,
        name: str,
        kernel: _Runner,
        reference: _Runner,
        found: Comparison | None,
        at_least: float,
        at_most: float | None,
        outcome: str,
    ) -> None:
        """Keep a result with the test: pytest-xdist carries it to the process that reports."""
        rounds = ((), ()) if found is None else (found.kernel_rounds, found.reference_rounds)
        entry = {
            "name": name,
            "kernel": {"best": min(rounds[0], default=None), "calls": kernel.calls, "rounds": list(rounds[0])},
            "reference": {"best": min(rounds[1], default=None), "calls": reference.calls, "rounds": list(rounds[1])},
            "ratio": found and found.ratio,
            "noise": found and found.noise,
            "at_least": at_least,
            "at_most": at_most,
            "outcome": outcome,
        }
        self._node.user_properties.append((PROPERTY, entry))


class _Runner:
    """A function, how it gets its arguments, and how many calls make a round. Made after a first call: it compiles."""

    def __init__(self, function: Callable[..., object], setup: Callable[[], tuple[Any, ...] | None] | None) -> None:
        self._function, self._setup, self.calls = function, setup, 1
        self.round()

    def calibrate(self) -> None:
        """Let a round last long enough for the clock."""
        if self._setup is None:
            once = min(self.round() for _ in range(3))
            self.calls = max(1, min(MOST_CALLS, int(SHORTEST_ROUND / max(once, 1e-9))))

    def round(self) -> float:
        """Seconds per call."""
        function, calls = self._function, self.calls
        arguments = () if self._setup is None else self._setup() or ()
        begun = perf_counter()
        for _ in range(calls):
            function(*arguments)
        return (perf_counter() - begun) / calls


def _compare(kernel: _Runner, reference: _Runner, rounds: int, seconds: float) -> Comparison:
    """Both take turns; who begins changes from round to round."""
    times: tuple[list[float], list[float]] = ([], [])
    with _no_garbage_collection():
        for runner in (kernel, reference):
            runner.calls = 1
            runner.calibrate()
        begun = perf_counter()
        for number in range(max(rounds, FEWEST_ROUNDS)):
            if number >= FEWEST_ROUNDS and perf_counter() - begun > seconds:
                break
            for which in (0, 1) if number % 2 == 0 else (1, 0):
                times[which].append((kernel, reference)[which].round())
    return Comparison(tuple(times[0]), tuple(times[1]))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _time(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def _sentence(name: str, found: Comparison, at_least: float, at_most: float | None) -> str:
    limit = f"at least {at_least:g}" if found.ratio < at_least else f"at most {at_most:g}"
    return (
        f"{name + ': ' if name else ''}the kernel takes {_time(found.kernel)} and the reference "
        f"{_time(found.reference)}, so the kernel is {found.ratio:.3g} times as fast, but {limit} times is the limit "
        f"(best of {len(found.kernel_rounds)} rounds, noise {100 * found.noise:.1f} %)"
    )


# --- pytest's side ----------------------------------------------------------------------------------------------------


@pytest.fixture
def speed_ratio(request: pytest.FixtureRequest) -> SpeedRatio:
    """Times a kernel against a reference in the same run: speed_ratio(kernel, reference, at_least=4.0)."""
    option = request.config.getoption
    return SpeedRatio(request.node, option("speed_rounds"), option("speed_seconds"), option("speed_off"))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("speed_ratio", "speed ratios (fastbp)")
    group.addoption("--speed-json", metavar="PATH", help="write what speed_ratio measured to this JSON file")
    group.addoption("--speed-rounds", metavar="N", type=int, help="most rounds of every speed_ratio")
    group.addoption("--speed-seconds", metavar="S", type=float, help="seconds after which no round is begun")
    group.addoption("--speed-off", action="store_true", help="speed_ratio calls both functions once, and never fails")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("speed_json")
    folder = None if path is None else os.path.dirname(os.path.abspath(path))
    if folder is not None and (os.path.isdir(path) or not os.path.isdir(folder)):
        raise pytest.UsageError(f"--speed-json {path}: name a file in a folder that exists")
    if not hasattr(config, "workerinput"):  # a worker of pytest-xdist sends its results to the process that has this
        config.pluginmanager.register(_Collector(config), "fastbp-speed-collector")


class _Collector:
    """Gathers what the tests have measured; writes and shows it at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._results: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":  # this one knows of all that went before
            found = [entry for name, entry in report.user_properties if name == PROPERTY]
            self._results += [{"test": report.nodeid, **entry} for entry in found]  # type: ignore[dict-item]

    def pytest_sessionfinish(self) -> None:
        path = self._config.getoption("speed_json")
        if path is None:
            return
        import json
        from datetime import UTC, datetime

        from .errors import FastbpError
        from .files import write_atomically

        created = datetime.now(UTC).isoformat(timespec="seconds")
        content = {"format": FORMAT, "version": VERSION, "created": created, "machine": _machine()}
        try:
            text = json.dumps({**content, "results": self._results}, indent=1, allow_nan=False)
            write_atomically(path, text.encode() + b"\n")
        except FastbpError as error:
            raise pytest.UsageError(f"--speed-json: {error}") from None

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        measured = [entry for entry in self._results if entry["ratio"] is not None]
        if not measured:
            return
        terminalreporter.section("speed ratios")
        for entry in measured:
            limits = f"at least {entry['at_least']:g}"
            limits += "" if entry["at_most"] is None else f", at most {entry['at_most']:g}"
            times = f"{_time(entry['kernel']['best'])} against {_time(entry['reference']['best'])}"
            label = entry["test"] + (f" ({entry['name']})" if entry["name"] else "")
            colour = {"red" if entry["outcome"] == "failed" else "green": True}
            terminalreporter.write_line(f"{entry['ratio']:9.3g} times  {times}  [{limits}]  {label}", **colour)


def _machine() -> dict[str, Any]:
    """What the times depend on."""
    import platform

    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            cpu = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        cpu = ""
    usable = getattr(os, "sched_getaffinity", None)
    packages = ("fastbp", "numpy", "numba", "llvmlite", "scipy", "torch", "jax")
    versions = {name: getattr(sys.modules.get(name), "__version__", None) for name in packages}
    return {
        "system": platform.platform(),
        "cpu": cpu or platform.processor() or platform.machine(),
        "threads": len(usable(0)) if usable else os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: version for name, version in versions.items() if version},
    }
