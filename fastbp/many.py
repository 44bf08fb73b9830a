"""Many networks side by side: different seeds, rates, sizes or settings, one copy of the data, all cores, or a GPU.

Each network is trained by the same compiled kernels as in `train`, on a thread of its own that does not hold Python's
lock, and its result is bit for bit the one that `train` gives alone. On a GPU, `lockstep` trains those that are alike
together. Settings come in, results go out in their order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from threading import Event, Lock
from typing import Any

from numpy.typing import ArrayLike

from .config import Config, merged
from .cores import checked_threads, usable_cores
from .data import Dataset
from .errors import DivergedError, UsageError
from .kernels import check_for_cuda
from .lbfgs import one_blas_thread
from .preparation import dataset_for
from .result import TrainingResult
from .training import Run
from .watching import Callback

__all__ = ["parse_seeds", "train_many"]

MOST_RUNS = 100_000


def train_many(
    settings: Iterable[Mapping[str, Any] | Config],
    data: Dataset | str | os.PathLike[str] | tuple[Any, ...] = "digits",
    *,
    threads: int | None = None,
    device: str | None = None,
    on_result: Callable[[int, TrainingResult], None] | None = None,
    callbacks: Iterable[Callback] = (),
    validation_data: tuple[ArrayLike, ArrayLike] | None = None,
    sample_weight: ArrayLike | None = None,
) -> list[TrainingResult]:
    """Train one network for each entry of `settings`, on all cores or on a GPU.

    Parameters
    ----------
    settings : iterable of dict or Config
        a dict holds the settings that differ from `Config`'s defaults, such as ``{"seed": 3, "learning_rate": 0.5}``;
        accuracy is measured at the end unless it says ``"evaluate": "each"``
    data : as in `train`
        the same for all
    threads : int, optional
        networks trained at the same time; by default one per core that this process may use. Not with a GPU
    device : str, optional
        ``"cuda"`` or ``"cpu"`` for all networks, whatever their settings say. On a GPU, networks are trained together
        that differ in nothing but seed, initial weights, learning rate and its schedule, weight decay, the numbers of
        their optimizer, and when they stop; with `validation`, whose samples the seed chooses, the seed as well must be
        the same. Those that differ in more take turns. Their `train_seconds` are those of all that were trained with
        them
    on_result : callable, optional
        called as on_result(number, result) in this thread whenever a network is done
    callbacks : iterable of Callback
        they hear of phases, such as compiling, and nothing else
    validation_data, sample_weight : as in `train`
        the same for all

    Returns
    -------
    list of TrainingResult
        in the order of `settings`. A network that diverged has ``stopped == "diverged"`` and its last finite weights

    Raises
    ------
    UsageError
        no settings, or one that makes no sense: before anything is trained
    DataError
        validation data that does not fit
    FastbpError
        a GPU is asked for, and there is none, or what it needs is missing
    KeyboardInterrupt
        Ctrl-C: all networks stop within about 50 ms, on a GPU when a launch ends (each is to last 0.25 s)

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    >>> xor = {"layers": "4", "epochs": 500, "optimizer": "adam", "learning_rate": 0.1}
    >>> results = train_many([{**xor, "seed": seed} for seed in range(3)], (x, np.array([0, 1, 1, 0])))
    >>> [result.seed for result in results]
    [0, 1, 2]
    """
    given = {} if device is None else {"device": device}
    base = merged(Config(evaluate="end"), given)
    configs = dict(enumerate(merged(*pair) for pair in _pairs(settings, base, given)))
    if not 1 <= len(configs) <= MOST_RUNS:
        raise UsageError(f"settings must describe 1 to {MOST_RUNS} networks, got {len(configs)}")
    if threads is not None:
        checked_threads(threads)
    on_gpu = {number: config for number, config in configs.items() if config.device == "cuda"}
    on_cores = {number: config for number, config in configs.items() if number not in on_gpu}
    for engine, input_layout in {(config.engine, config.input_layout) for config in on_gpu.values()}:
        check_for_cuda(engine, input_layout, 1 if on_cores else threads or 1)
    dataset, watchers = dataset_for(data, configs[0]), tuple(callbacks)
    results: dict[int, TrainingResult] = {}

    def ended(number: int, result: TrainingResult) -> None:
        results[number] = result
        if on_result is not None:
            on_result(number, result)

    given_samples = {"validation_data": validation_data, "sample_weight": sample_weight}
    if on_cores:
        _train_on_cores(dataset, on_cores, threads, ended, watchers, given_samples)
    if on_gpu:
        from .lockstep import train_in_fleets

        train_in_fleets(dataset, on_gpu, ended, watchers, given_samples)
    return [results[number] for number in configs]


def parse_seeds(text: str) -> list[int]:
    """The seeds in a text such as ``0-9`` or ``1,5,7-8``.

    Raises
    ------
    UsageError
        anything else, or more than 100,000 seeds

    Examples
    --------
    >>> parse_seeds("1,5,7-9")
    [1, 5, 7, 8, 9]
    """
    seeds: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        ends = (low, high if dash else low)
        if not all(end.isascii() and end.isdigit() and len(end) < 19 for end in ends) or int(ends[0]) > int(ends[1]):
            raise UsageError(f"seeds must be numbers and ranges, such as 0-9 or 1,5,7, got {text!r}")
        if int(ends[1]) - int(ends[0]) >= MOST_RUNS:
            raise UsageError(f"seeds must be at most {MOST_RUNS}, got {text!r}")
        seeds.extend(range(int(ends[0]), int(ends[1]) + 1))
    return seeds


def _pairs(
    settings: Iterable[Mapping[str, Any] | Config], base: Config, given: Mapping[str, Any]
) -> Iterator[tuple[Config, Mapping[str, Any]]]:
    """For each entry, the config to begin with and what is different."""
    for entry in settings:
        yield (entry, given) if isinstance(entry, Config) else (base, {**entry, **given})


def _train_on_cores(
    dataset: Dataset,
    configs: Mapping[int, Config],
    threads: int | None,
    on_result: Callable[[int, TrainingResult], None],
    watchers: tuple[Callback, ...],
    samples: Mapping[str, Any],
) -> None:
    """Train all networks, each on a thread; tell of each that has ended. `samples` are further arguments of `Run`."""
    stop, opening = Event(), Lock()
    shared: dict[Any, Any] = {}

    def open_run(config: Config, *callbacks: Callback) -> Run:
        """Runs share their data, unless samples are held out: each seed has its own, and they must not pile up."""
        kept = None if config.validation else shared
        return Run(dataset, config, callbacks=(*callbacks, _Stop(stop)), shared=kept, **samples)

    # the first run compiles what must be compiled, and refuses here what does not fit the data
    begun = next(iter(configs))
    first = open_run(configs[begun], *map(_PhasesOnly, watchers))

    def job(number: int) -> TrainingResult:
        with opening:  # packing the data once, not once per thread
            if stop.is_set():
                raise KeyboardInterrupt
            run = first if number == begun else open_run(configs[number])
        try:
            return run.train()
        except DivergedError as error:
            result = error.result
            assert isinstance(result, TrainingResult)
            return result

    by_lbfgs = any(config.optimizer == "lbfgs" for config in configs.values())
    with (
        one_blas_thread() if by_lbfgs else nullcontext(),
        ThreadPoolExecutor(min(threads or usable_cores(), len(configs))) as pool,
    ):
        futures = {pool.submit(job, number): number for number in configs}
        try:
            _collect(futures, on_result)
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _collect(futures: dict[Future[TrainingResult], int], on_result: Callable[[int, TrainingResult], None]) -> None:
    """Wait for all runs, telling of each when it is done; short waits, so that Ctrl-C is heard everywhere."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
        for future in sorted(done, key=futures.__getitem__):
            on_result(futures[future], future.result())


class _Stop(Callback):
    """Ends a run, between two chunks of batches, when the event is set."""

    def __init__(self, event: Event) -> None:
        self._event = event

    def on_batches(self, epoch: int, done: int, total: int, loss: float) -> None:
        if self._event.is_set():
            raise KeyboardInterrupt


class _PhasesOnly(Callback):
    """Passes on phases."""

    def __init__(self, callback: Callback) -> None:
        self._callback = callback

    def on_phase(self, text: str) -> None:
        self._callback.on_phase(text)
