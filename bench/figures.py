"""What an entry of the benchmarks tells beside its time, in `extra_info`; the same figures for every entry.

    samples_per_second
    gflops          useful work: `peers.useful_flops` of a sample, however much of it a trainer can skip
    peak_gflops     what fused multiply-adds reach on the same cores, measured before every round: see `peak`
    share_of_peak   gflops / peak_gflops. Who skips the zeros of sparse inputs may come above 1
    against         whom the entry is compared with
    ratio           their time / the entry's time: above 1 the entry is faster

Entries that use several cores add

    cores
    probe_scaling   the peak of these cores at once / the peak of one: their number where they are free, less where they
                    share their units, their power, or their time with other programs; no work can scale better
    usual_scaling   the same, but the median of the rounds: far below, other programs came and went

All times are the fastest of several rounds, in which the entry, the one it is compared with, and the probe of the peak
take turns: a machine gets slower and faster, and does so to all of them. Without --benchmark-enable everything runs
once, as a test, and the figures mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

from peak import fma_peak

__all__ = ["Stopwatch", "Times", "race", "race_of_calls", "tell"]

SHORTEST_ROUND = 1e-3  # seconds; calls that take less are timed several together
PROBE_SECONDS = 1e-3  # short, so that some probe is not interrupted on a busy machine
PROBES = 10  # before each round
TOGETHER_SECONDS = 1e-2  # beside which threads begin at the same time


class Times(NamedTuple):
    """The fastest rounds of two that took turns."""

    seconds: float  # the entry
    other: float  # the one it is compared with
    peak: float  # float32 operations per second, of all cores that the entry may use
    scaling: dict[str, Any]  # of the probe; empty for one core


class Stopwatch:
    """A function that keeps in mind how long its fastest call took."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function, self.fastest = function, float("inf")

    def __call__(self) -> Any:
        begun = perf_counter()
        result = self._function()
        self.fastest = min(self.fastest, perf_counter() - begun)
        return result


def race(benchmark: Any, run: Callable[[], Any], other: Callable[[], Any], *, rounds: int, threads: int = 1) -> Times:
    """Benchmark `run`, some milliseconds or more; `other` and the probe have their turns before each round."""
    ours, theirs, probe = Stopwatch(run), Stopwatch(other), _Probe(benchmark, threads)

    def between_rounds() -> None:
        probe(PROBES)
        theirs()

    benchmark.pedantic(ours, setup=between_rounds, rounds=rounds)
    return Times(ours.fastest, theirs.fastest, probe.peak, probe.scaling)


def race_of_calls(benchmark: Any, run: Callable[[], Any], other: Callable[[], Any], *, rounds: int = 50) -> Times:
    """Benchmark `run`, a matter of microseconds; then it takes turns with `other`, many calls at a time."""
    benchmark(run)
    probe, watches = _Probe(benchmark, 1), []
    for function in (run, other):
        calls = _calls_per_round(function) if benchmark.enabled else 1
        watches.append((Stopwatch(_repeated(function, calls)), calls))
    for _ in range(rounds if benchmark.enabled else 1):
        probe(1)
        for watch, _ in watches:
            watch()
    (ours, n_ours), (theirs, n_theirs) = watches
    return Times(ours.fastest / n_ours, theirs.fastest / n_theirs, probe.peak, {})


def tell(benchmark: Any, times: Times, *, samples: int, flops: float, against: str, **more: Any) -> None:
    """Put the figures into `extra_info`. A round trains on `samples` samples with `flops` operations each."""
    rate = samples / times.seconds
    figures = {
        "samples_per_second": rate,
        "gflops": rate * flops / 1e9,
        "peak_gflops": times.peak / 1e9,
        "share_of_peak": rate * flops / times.peak,
        "against": against,
        "ratio": times.other / times.seconds,
        **times.scaling,
        **more,
    }
    for name, value in figures.items():
        benchmark.extra_info[name] = float(f"{value:.4g}") if isinstance(value, float) else value


class _Probe:
    """The peak of the cores that an entry may use, and how it compares with that of one."""

    def __init__(self, benchmark: Any, threads: int) -> None:
        self._enabled, self._threads = benchmark.enabled, threads
        self._seconds = PROBE_SECONDS if threads == 1 else TOGETHER_SECONDS
        self._peaks: list[float] = []
        self._peaks_of_one: list[float] = []

    def __call__(self, times: int) -> None:
        seconds = self._seconds if self._enabled else 0.0
        for _ in range(times if self._enabled else 1):
            self._peaks.append(fma_peak(seconds, self._threads))
            if self._threads > 1:
                self._peaks_of_one.append(fma_peak(seconds))

    @property
    def peak(self) -> float:
        return max(self._peaks)

    @property
    def scaling(self) -> dict[str, Any]:
        if self._threads == 1:
            return {}
        one = max(self._peaks_of_one)
        return {
            "cores": self._threads,
            "probe_scaling": self.peak / one,
            "usual_scaling": median(self._peaks) / one,
        }


def _repeated(function: Callable[[], Any], calls: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(calls):
            function()

    return run


def _calls_per_round(function: Callable[[], Any]) -> int:
    watch = Stopwatch(function)
    for _ in range(3):
        watch()
    return max(1, int(SHORTEST_ROUND / watch.fastest))
