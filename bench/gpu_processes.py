"""The processes of `gpu.py`: each trainer has one of its own, with time limits, and a job that all map into memory."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from gpu_peers import TRAINERS, Fastbp, Job, MissingPeerError, make

from fastbp.config import Config
from fastbp.defaults import learning_rate_for
from fastbp.schedules import Schedule
from fastbp.streams import stream_key

Array = np.ndarray[Any, Any]
CHECKED = 16  # batches, of every network
STARTING = 120.0  # seconds in which a process must have imported its framework


class Bench:
    """One trainer and what can be asked of it. Every method returns plain values."""

    def __init__(self, name: str, device: str) -> None:
        self._name, self._device, self._trainer, self._job = name, device, None, None

    def start(self) -> dict[str, str]:
        """Import the framework; what it says about itself."""
        needs = TRAINERS[self._name].needs
        if not needs:
            return {}
        if find_spec(needs) is None:
            raise MissingPeerError(f"{needs} is not installed")
        module = import_module(needs)
        if needs == "torch":
            facts = {"torch": module.__version__, "torch's CUDA": str(module.version.cuda)}
            if self._device == "cuda" and module.cuda.is_available():
                chip = module.cuda.get_device_properties(0)
                facts["multiprocessors"] = str(chip.multi_processor_count)
            return facts
        return {"jax": module.__version__}

    def make(self, folder: str) -> dict[str, Any]:
        begun = time.perf_counter()
        self._job = job = read_job(folder)
        self._trainer = trainer = make(self._name, job, self._device)
        n = min(job.n_batches, max(CHECKED, 2 * trainer.block))
        costs = trainer.run(n)
        trainer.reset()
        setup = time.perf_counter() - begun
        return {"costs": costs, "detail": trainer.detail, "block": trainer.block, "setup_seconds": setup}

    def time(self, batches: int) -> float:
        """Seconds of so many batches; a few before that wake the device up."""
        self._trainer.run(min(batches, max(8, self._trainer.block)))
        begun = time.perf_counter()
        self._trainer.run(batches)
        return time.perf_counter() - begun

    def drop(self) -> None:
        """Give the memory back."""
        self._trainer = self._job = None
        import gc

        gc.collect()
        if "torch" in sys.modules and self._device == "cuda":
            sys.modules["torch"].cuda.empty_cache()

    def parts(self, folder: str, rounds: int) -> dict[str, list[float]]:
        """Seconds of the parts of a run of the fleet, in rounds."""
        job = read_job(folder)
        trainer = Fastbp(job, self._device)
        fleet, members = trainer.fleet, np.arange(job.n_networks)
        keys = np.array([stream_key(seed, "shuffle", 2) for seed in members.tolist()], np.uint64)
        one = (members[:1], 0, np.full((1, 1), 0.1), np.empty((1, 1)))
        many = 9  # shuffles; a run of one batch, which must wait for them, ends them

        def shuffled(times: int) -> Callable[[], None]:
            def work() -> None:
                for _ in range(times):
                    fleet.shuffle(keys)
                fleet.run(*one)

            return work

        def spent(work: Callable[[], Any]) -> list[float]:
            work()
            return [stopwatch(work) for _ in range(rounds)]

        n = min(33, job.n_batches)
        # all networks first: those that are not equally far are not trained in one launch
        short, long = spent(lambda: trainer.run(1)), spent(lambda: trainer.run(n))
        once, often = spent(shuffled(1)), spent(shuffled(many))
        return {
            "the order of an epoch (shuffle)": [(b - a) / (many - 1) for a, b in zip(once, often, strict=True)],
            "a launch: one batch of one network": spent(lambda: fleet.run(*one)),
            "one batch of all networks": short,
            "a batch more": [(each - min(short)) / max(n - 1, 1) for each in long],
            "evaluation, training samples": spent(lambda: fleet.evaluate("train")),
            "evaluation, test samples": spent(lambda: fleet.evaluate("test")),
        }

    def accuracy(self, folder: str, seeds: int, epochs: int) -> tuple[float, float]:
        """Mean test accuracy of so many seeds, trained as `fastbp train` does; and the seconds it took."""
        job = read_job(folder)
        network, n_batches = job.network, -(-len(job.y) // job.batch_size)
        config = Config(epochs=epochs, batch_size=job.batch_size)
        rate = learning_rate_for(config, network)
        schedule = Schedule(Config(epochs=epochs, learning_rate=rate), n_batches, len(job.y))
        trainer = Fastbp(job, self._device)
        fleet, members = trainer.fleet, np.arange(seeds, dtype=np.int64)
        costs = np.empty((seeds, n_batches))
        begun = time.perf_counter()
        for epoch in range(1, epochs + 1):
            fleet.shuffle(np.array([stream_key(seed, "shuffle", epoch) for seed in range(seeds)], np.uint64))
            fleet.run(members, 0, np.tile(schedule.rates(epoch), (seeds, 1)), costs)
        accuracies = [result.accuracy for result in fleet.evaluate("test")]
        return float(np.mean(accuracies)), time.perf_counter() - begun


def stopwatch(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def write_job(job: Job, folder: Path) -> str:
    """Put a job where other processes can map it into memory."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in Job._fields:
        np.save(folder / f"{name}.npy", np.asarray(getattr(job, name)))
    return str(folder)


def read_job(folder: str) -> Job:
    arrays = {name: np.load(Path(folder) / f"{name}.npy", mmap_mode="r") for name in Job._fields}
    arrays |= {name: np.array(arrays[name]) for name in ("x", "y", "x_test", "y_test", "etas")}
    return Job(**arrays | {"sizes": tuple(arrays["sizes"].tolist()), "batch_size": int(arrays["batch_size"])})


def serve(pipe: Any, name: str, device: str) -> None:
    """Answer what comes through the pipe, until it is closed: (True, value) or (False, reason)."""
    os.dup2(2, 1)  # the tables have stdout for themselves
    bench = Bench(name, device)
    request: Any = ("start",)
    while True:
        try:
            answer = True, getattr(bench, request[0])(*request[1:])
        except Exception as error:
            answer = False, reason_of(error)
        pipe.send(answer)
        try:
            request = pipe.recv()
        except EOFError:
            return


def reason_of(error: BaseException) -> str:
    """An error in one short line."""
    text = " ".join(str(error).split()) or "no reason given"
    kind = type(error).__name__
    if "OutOfMemory" in kind or "out of memory" in text.lower() or "RESOURCE_EXHAUSTED" in text:
        return f"out of memory: {text[:120]}"
    return text[:200] if kind == "MissingPeerError" else f"{kind}: {text[:200]}"


# -- in the process that measures


class TrainerError(Exception):
    """Why a trainer has no figures."""


class Worker:
    """A trainer in a process of its own, which is started again where it died or had to be ended."""

    def __init__(self, name: str, device: str) -> None:
        self._name, self._device = name, device
        self.facts: dict[str, str] = {}
        self._broken: str | None = None  # why its framework cannot be imported
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, self._name, self._device), daemon=True)
        self._process.start()
        other.close()
        self._ready, self._ended = False, False

    def ask(self, limit: float, *request: Any) -> Any:
        """The answer within `limit` seconds; raises TrainerError."""
        if self._broken:
            raise TrainerError(self._broken)
        if self._ended:
            self._start()
        if not self._ready:
            try:
                self.facts = self._answer(STARTING, "importing")
            except TrainerError as error:
                self._broken = str(error)
                raise
            self._ready = True
        try:
            self._pipe.send(request)
        except OSError as error:
            raise TrainerError(self._death()) from error
        return self._answer(limit, request[0])

    def _answer(self, limit: float, what: str) -> Any:
        try:
            if not self._pipe.poll(limit):
                self.end()
                raise TrainerError(f"ended after {limit:.0f} s: {what} took too long")
            good, value = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise TrainerError(self._death()) from error
        if not good:
            raise TrainerError(value)
        return value

    def _death(self) -> str:
        self._process.join(5)
        code = self._process.exitcode
        self.end()
        return f"its process died with exit code {code}"

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            self._process.kill()
            self._process.join(5)
            self._pipe.close()


class Inline:
    """The same without a process: for tests, and to find errors. No time limits."""

    def __init__(self, name: str, device: str) -> None:
        self._bench = Bench(name, device)
        self.facts: dict[str, str] = {}

    def ask(self, limit: float, *request: Any) -> Any:
        try:
            self.facts = self.facts or self._bench.start()
            return getattr(self._bench, request[0])(*request[1:])
        except Exception as error:
            raise TrainerError(reason_of(error)) from error

    def end(self) -> None:
        pass


class Clock:
    """The time that is left."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self, limit: float) -> float:
        """`limit`, or what is left of all time; raises TrainerError where that is nothing."""
        left = self._end - time.monotonic()
        if left < 1:
            raise TrainerError("no time was left for it")
        return min(limit, left)
