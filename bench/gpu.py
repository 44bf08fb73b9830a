"""Train one network and many side by side on a GPU: fastbp against PyTorch's CUDA graphs and JAX's scan and vmap.

    FASTBP_DATA=... python bench/gpu.py [--networks 1,132,528,1056] [--batch 32,128] [--json FILE]

The job is 784-16-16-10, sigmoid, softmax, cross-entropy, float32, plain SGD; each network has its own start weights,
learning rate and order of the samples. Data is MNIST where FASTBP_DATA names a folder that has it, else the built-in
digits, else random sparse bytes. `gpu_peers.py` has the trainers, each in a process of its own: who runs out of memory,
crashes or takes too long is reported and disturbs nobody.

Before anyone is timed, all of them train on the same batches from the same start, and their mean costs must agree with
the fused engine of the CPU, to 1 in 10,000: of every network over the first batches, and of a few networks over more.
Then they take turns; a round trains an epoch, or fewer batches where an epoch takes too long, which the JSON tells.
Orders are on the device before; the costs of all batches come to the host within the timed part.

The last tables: how long the parts of a run of fastbp take, and the accuracy of many seeds on the GPU and on the CPU.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from gpu_peers import TRAINERS, CpuFleet, Fastbp, Job, MissingPeerError, make, network_of, splits_of, takes_part

from fastbp import Dataset, FastbpError, load_dataset, train_many
from fastbp.config import Config
from fastbp.defaults import learning_rate_for
from fastbp.kernels import SGD, Settings
from fastbp.schedules import Schedule
from fastbp.streams import stream_key

Array = np.ndarray[Any, Any]

JOBS = ("speed", "parts", "accuracy")
HIDDEN = (16, 16)
CHECKED = 16  # batches, of every network
FOLLOWED = 4  # networks whose mean cost is checked over more batches
TRIED = 64  # batches, to see how long they take
STARTING = 120.0  # seconds in which a process must have imported its framework
PACKAGES = ("fastbp", "numpy", "numba", "llvmlite", "numba-cuda", "numba-cuda-mlir", "cuda-bindings", "cuda-core")
PACKAGES += ("torch", "triton", "jax", "jaxlib", "jax-cuda13-plugin", "jax-cuda12-plugin", "nvidia-cublas")
QUERY = ("name", "driver_version", "compute_cap", "memory.total", "compute_mode", "mig.mode.current")
CLOCKS = ("clocks.sm", "clocks.mem", "clocks.max.sm", "power.draw", "temperature.gpu", "clocks_event_reasons.active")
VARIABLES = ("XLA_FLAGS", "NVIDIA_TF32_OVERRIDE", "PYTORCH_CUDA_ALLOC_CONF", "CUDA_VISIBLE_DEVICES")


# -- figures


def figures(seconds: list[float], batches: int, n_batches: int, n_networks: int) -> dict[str, Any]:
    """What rounds of `batches` batches of all networks say about an epoch of `n_batches`."""
    factor = n_batches / batches
    middle, least = median(seconds) * factor, min(seconds) * factor
    return {
        "rounds": seconds,
        "batches": batches,
        "scaled": batches != n_batches,
        "ms_per_epoch": 1e3 * middle,
        "fastest_ms_per_epoch": 1e3 * least,
        "network_epochs_per_second": n_networks / middle,
    }


def disagreement(costs: Array, first: Array, followed: Array, members: Array) -> float:
    """The largest relative difference of a mean cost; NaN where a cost is none.

    costs      (n_networks, n)       of a trainer
    first      (n_networks, few)     what the first ones must be
    followed   (n_followed, n_all)   what those of `members` must be, as far as there are any
    """
    n = min(costs.shape[1], followed.shape[1])
    pairs = (
        (costs[:, : first.shape[1]].mean(1), first.mean(1)),
        (costs[members, :n].mean(1), followed[:, :n].mean(1)),
    )
    return float(np.max([np.max(np.abs(ours / right - 1)) for ours, right in pairs]))


def batches_in(seconds: float, rounds: int, per_batch: float, n_batches: int, block: int) -> int:
    """Batches of a round, a multiple of `block`: an epoch, or what `rounds` rounds can do in `seconds`."""
    fit = int(seconds / rounds / max(per_batch, 1e-9))
    return n_batches if fit >= n_batches else max(1, fit // block) * block


def compare(entries: dict[str, dict[str, Any]]) -> None:
    """Give every figure its ratio to the best peer of the same precision as ours: above 1 it is faster."""
    times = {name: entry["ms_per_epoch"] for name, entry in entries.items() if "ms_per_epoch" in entry}
    peers = [name for name in times if TRAINERS[name].peer and TRAINERS[name].tolerance <= 1e-4]
    best = min(peers, key=times.__getitem__, default=None)
    for name in times:
        entries[name]["best_peer"] = best
        entries[name]["ratio"] = times[best] / times[name] if best else None


def table(result: dict[str, Any]) -> str:
    """A Markdown table of one number of networks and one batch size."""
    n = result["n_networks"]
    lines = [
        f"**{n:,} network{'s' * (n > 1)}, batch {result['batch_size']}**, "
        f"{result['samples']:,} samples of {result['data']}",
        "",
        "| trainer | network-epochs per second | ms per epoch | fastest | times the best peer | cost differs by |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    entries = result["trainers"]
    for name, entry in sorted(entries.items(), key=lambda item: item[1].get("ms_per_epoch", 1e12)):
        title = f"{name} ({entry['detail']})" if entry.get("detail") else name
        off = f"{entry['cost_difference']:.0e}" if "cost_difference" in entry else ""
        if "ms_per_epoch" not in entry:
            lines.append(f"| {title} | | | | {entry['left_out']} | {off} |")
            continue
        star = f", from {entry['batches']:,} batches" * entry["scaled"]
        ratio = "" if entry["ratio"] is None else f"{entry['ratio']:.2f}"
        lines.append(
            f"| {title}{star} | {entry['network_epochs_per_second']:,.1f} | {entry['ms_per_epoch']:,.2f} "
            f"| {entry['fastest_ms_per_epoch']:,.2f} | {ratio} | {off} |"
        )
    return "\n".join(lines) + "\n"


def parts_table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table of what the parts of a run take."""
    lines = [
        "**Parts of a run of fastbp**",
        "",
        "| part | networks | batch | ms | fastest |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        where = f"| {row['part']} | {row['n_networks']:,} | {row['batch_size']} "
        if "left_out" in row:
            lines.append(f"{where}| {row['left_out']} | |")
        else:
            lines.append(f"{where}| {1e3 * row['seconds']:,.4f} | {1e3 * row['fastest']:,.4f} |")
    return "\n".join(lines) + "\n"


def accuracy_table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table of mean accuracies, in percent."""
    lines = [
        "**Test accuracy, mean of all seeds**, batch 32, as `fastbp train` sets everything else",
        "",
        "| epochs | seeds | here | on the CPU | differ by, points | seconds here | on the CPU, all cores |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        if "left_out" in row:
            lines.append(f"| {row['epochs']} | {row['seeds']} | {row['left_out']} | | | | |")
            continue
        lines.append(
            f"| {row['epochs']} | {row['seeds']} | {row['accuracy']:.3f} | {row['cpu_accuracy']:.3f} "
            f"| {row['difference']:+.3f}{' (too much)' * (not row['alike'])} | {row['seconds']:.2f} "
            f"| {row['cpu_seconds']:.2f} |"
        )
    return "\n".join(lines) + "\n"


# -- the job


class Samples(NamedTuple):
    name: str
    x: Array
    y: Array
    x_test: Array
    y_test: Array


def samples_of(count: int | None) -> Samples:
    """MNIST, the built-in digits or random sparse bytes; the first `count` of them."""
    for source in ("mnist", "digits") if os.environ.get("FASTBP_DATA") else ("digits",):
        try:
            data = load_dataset(source, offline=True)
        except (FastbpError, ImportError) as error:
            tell(f"no {source}: {error}")
            continue
        arrays = (data.x_train[:count], data.y_train[:count], data.x_test, data.y_test)
        return Samples(source, *map(np.ascontiguousarray, arrays))
    rng = np.random.default_rng(0)
    n = count or 60_000
    x = (rng.integers(1, 256, (n + 10_000, 784)) * (rng.random((n + 10_000, 784)) < 0.19)).astype(np.uint8)
    y = rng.integers(0, 10, len(x)).astype(np.int32)
    return Samples("random bytes", x[:n], y[:n], x[n:], y[n:])


def job_of(samples: Samples, n_networks: int, batch_size: int) -> Job:
    """Networks with the seeds 0, 1, ..., their own orders, and rates from 0.25 to 1; a single one has 0.5."""
    from fastbp.kernels.order import shuffle

    sizes = (samples.x.shape[1], *HIDDEN, int(samples.y.max()) + 1)
    network = network_of(sizes)
    orders = np.empty((n_networks, len(samples.y)), np.uint32)
    for seed, order in enumerate(orders):
        shuffle(order, np.uint64(stream_key(seed, "shuffle", 1)))
    thetas = np.stack([network.initial_parameters(seed=seed) for seed in range(n_networks)])
    etas = np.geomspace(0.25, 1.0, n_networks) if n_networks > 1 else np.array([0.5])
    return Job(sizes, thetas, etas, orders, *samples[1:], batch_size)


def expected_costs(job: Job) -> tuple[Array, Array, Array]:
    """`first`, `followed` and `members` of `disagreement`, by the fused engine."""
    settings = [Settings(SGD, job.batch_size)]
    fleet = CpuFleet(job.network, job.thetas[:1], *splits_of(job), settings, x_scale=1 / 255)

    def costs_of(k: int, n: int) -> Array:
        fleet.set_parameters(0, job.thetas[k])
        fleet.set_orders(job.orders[k : k + 1])
        costs = np.empty((1, n))
        fleet.run(np.array([0]), 0, np.full((1, n), job.etas[k]), costs)
        return costs[0]

    members = np.unique(np.linspace(0, job.n_networks - 1, FOLLOWED).astype(np.int64))
    first = np.stack([costs_of(k, min(CHECKED, job.n_batches)) for k in range(job.n_networks)])
    return first, np.stack([costs_of(k, job.n_batches) for k in members]), members


# -- in the process of a trainer


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


def speed(workers: dict[str, Any], job: Job, folder: str, data: str, given: Any, clock: Clock) -> dict[str, Any]:
    """All trainers on one job: checked, then timed in turns."""
    names = [name for name in workers if takes_part(name, job.n_networks)]
    expected = expected_costs(job)
    entries: dict[str, dict[str, Any]] = {name: {} for name in names}
    turns: dict[str, int] = {}
    rounds: dict[str, list[float]] = {name: [] for name in names}

    def ask(name: str, *request: Any) -> Any:
        try:
            return workers[name].ask(clock.left(given.limit), *request)
        except TrainerError as error:
            entries[name]["left_out"] = str(error)
            turns.pop(name, None)
            return None

    for name in names:
        tell(f"{job.n_networks:,} network{'s' * (job.n_networks > 1)}, batch {job.batch_size}: {name}")
        made = ask(name, "make", folder)
        if made is None:
            continue
        entry = entries[name]
        entry |= {
            "detail": made["detail"],
            "setup_seconds": made["setup_seconds"],
            "tolerance": TRAINERS[name].tolerance,
        }
        entry["cost_difference"] = off = disagreement(made["costs"], *expected)
        if not off <= TRAINERS[name].tolerance:
            entry["left_out"] = "wrong: its mean costs are not those of the CPU engine"
            ask(name, "drop")
            continue
        few = min(job.n_batches, max(TRIED // made["block"], 1) * made["block"])
        seconds = ask(name, "time", few)
        if seconds is not None:
            turns[name] = batches_in(given.seconds, given.rounds, seconds / few, job.n_batches, made["block"])
    for _ in range(given.rounds):
        for name, batches in list(turns.items()):
            seconds = ask(name, "time", batches)
            if seconds is not None:
                rounds[name].append(seconds)
    clocks = query(CLOCKS) if given.device == "cuda" else {}
    for name in names:
        if rounds[name] and "left_out" not in entries[name]:
            entries[name] |= figures(rounds[name], turns[name], job.n_batches, job.n_networks)
        if "setup_seconds" in entries[name]:
            with suppress(TrainerError):
                workers[name].ask(given.limit, "drop")
    compare(entries)
    shape = {"layers": "-".join(map(str, job.sizes)), "n_networks": job.n_networks, "batch_size": job.batch_size}
    whole = {"samples": job.n_batches * job.batch_size, "n_batches": job.n_batches, "data": data}
    return {**shape, **whole, "clocks": clocks, "trainers": entries}


def parts(worker: Any, job: Job, folder: str, given: Any, clock: Clock) -> list[dict[str, Any]]:
    """Rows of `parts_table`."""
    where = {"n_networks": job.n_networks, "batch_size": job.batch_size}
    try:
        answer = worker.ask(clock.left(given.limit), "parts", folder, given.rounds)
    except TrainerError as error:
        return [{"part": "all", **where, "left_out": str(error)}]
    return [
        {"part": part, **where, "seconds": median(seconds), "fastest": min(seconds), "rounds": seconds}
        for part, seconds in answer.items()
    ]


def accuracy(worker: Any, samples: Samples, folder: str, epochs: int, given: Any, clock: Clock) -> dict[str, Any]:
    """A row of `accuracy_table`."""
    row = {"epochs": epochs, "seeds": given.seeds, "batch_size": 32, "target": 0.1}
    try:
        here, seconds = worker.ask(clock.left(given.limit), "accuracy", folder, given.seeds, epochs)
    except TrainerError as error:
        return {**row, "left_out": str(error)}
    data = Dataset.from_arrays(*samples[1:], name=samples.name)
    settings = [{"seed": seed, "epochs": epochs, "batch_size": 32} for seed in range(given.seeds)]
    begun = time.perf_counter()
    results = train_many(settings, data)
    there = float(np.mean([result.test_accuracy for result in results]))
    difference = 100 * (here - there)
    figures_of = {"accuracy": 100 * here, "cpu_accuracy": 100 * there, "difference": difference}
    times = {"seconds": seconds, "cpu_seconds": time.perf_counter() - begun}
    return {**row, **figures_of, **times, "alike": abs(difference) <= row["target"]}


# -- facts


def query(fields: Iterable[str]) -> dict[str, str]:
    """What nvidia-smi says, field by field; empty where it says nothing. Only reads."""
    names = list(fields)
    command = ["nvidia-smi", f"--query-gpu={','.join(names)}", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return {}
    if done.returncode and len(names) > 1:  # a field that this driver does not know
        return {name: value for each in names for name, value in query([each]).items()}
    values = done.stdout.strip().split("\n")[0].split(", ")
    return dict(zip(names, values, strict=False)) if done.returncode == 0 else {}


def facts_of(device: str) -> dict[str, Any]:
    """Machine and versions."""
    versions = {}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    from fastbp import __version__
    from fastbp.kernels.jit import machine

    found = {"versions": versions | {"fastbp": __version__, "python": sys.version.split()[0]}, "host": machine()}
    commit = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    )
    found["commit"] = commit.stdout.strip() or None
    found["environment"] = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    if device == "cuda":
        found["gpu"] = query(QUERY) | query(CLOCKS)
    return found


def facts_line(facts: dict[str, Any]) -> str:
    """What figures must not be quoted without."""
    gpu = facts.get("gpu") or {}
    driver = f"driver {gpu['driver_version']}" if "driver_version" in gpu else ""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return ", ".join(filter(None, (gpu.get("name"), driver, f"{facts['host']['threads']} CPU threads", versions)))


def missing_gpu() -> str | None:
    """Why there is no GPU to measure; None where there is one."""
    from fastbp import gpu

    return gpu.report().problem


def tell(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def numbers(text: str) -> list[int]:
    """The numbers in a text such as 1,132."""
    return [int(each) for each in text.split(",")]


def parsed(arguments: list[str] | None) -> Any:
    by_default = [name for name, entry in TRAINERS.items() if entry.by_default]
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", default=",".join(JOBS), help="some of speed, parts and accuracy")
    parser.add_argument("--networks", type=numbers, default=[1, 132, 528, 1056], help="such as 1,132")
    parser.add_argument("--batch", type=numbers, default=[32, 128], help="batch sizes, such as 32,128")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="for the rounds of one trainer on one job (5)")
    parser.add_argument("--limit", type=float, default=90.0, help="after which a trainer is ended (90)")
    parser.add_argument("--total", type=float, default=1500.0, help="after which nothing new is begun (1500)")
    parser.add_argument("--contenders", help=f"separated by semicolons, of: {'; '.join(TRAINERS)}")
    parser.add_argument("--samples", type=int, help="only the first so many")
    parser.add_argument("--seeds", type=int, default=132, help="of the comparison of accuracies (132)")
    parser.add_argument("--epochs", type=numbers, default=[1, 10], help="of the same (1,10)")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try things out")
    parser.add_argument("--inline", action="store_true", help="all in this process, without time limits")
    given = parser.parse_args(arguments)
    given.jobs = given.jobs.split(",")
    names = [name.strip() for name in given.contenders.split(";")] if given.contenders else by_default
    for name in [*given.jobs, *names]:
        if name not in JOBS and name not in TRAINERS:
            parser.error(f"there is no {name!r}; jobs are {', '.join(JOBS)}; contenders {'; '.join(TRAINERS)}")
    given.contenders = names
    return given


def main(arguments: list[str] | None = None) -> int:
    given = parsed(arguments)
    if given.device == "cuda" and (reason := missing_gpu()):
        print(f"gpu.py: {reason}; --device cpu tries everything out without one", file=sys.stderr)
        return 1
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ["JAX_PLATFORMS"] = given.device
    clock, result = Clock(given.total), {"facts": facts_of(given.device), "device": given.device}
    result |= {"speed": [], "parts": [], "accuracy": []}

    def keep() -> None:
        if given.json:
            given.json.write_text(json.dumps(result, indent=1, default=str) + "\n")

    kind = Inline if given.inline else Worker
    names = [name for name in given.contenders if any(takes_part(name, n) for n in given.networks)]
    workers = {name: kind(name, given.device) for name in (names if "speed" in given.jobs else [])}
    ours = workers.get("fastbp") or kind("fastbp", given.device)
    samples = samples_of(given.samples)
    print(f"{facts_line(result['facts'])}\n", flush=True)
    with tempfile.TemporaryDirectory() as work:
        for batch_size in given.batch:
            for n_networks in given.networks:
                job = job_of(samples, n_networks, batch_size)
                folder = write_job(job, Path(work) / "job")
                if "speed" in given.jobs:
                    result["speed"].append(speed(workers, job, folder, samples.name, given, clock))
                    print(table(result["speed"][-1]), flush=True)
                if "parts" in given.jobs:
                    result["parts"] += parts(ours, job, folder, given, clock)
                keep()
        if "parts" in given.jobs:
            print(parts_table(result["parts"]), flush=True)
        if "accuracy" in given.jobs:
            folder = write_job(job_of(samples, given.seeds, 32), Path(work) / "accuracy")
            for epochs in given.epochs:
                result["accuracy"].append(accuracy(ours, samples, folder, epochs, given, clock))
            print(accuracy_table(result["accuracy"]), flush=True)
    for worker in {*workers.values(), ours}:
        result["facts"]["versions"] |= worker.facts
        worker.end()
    keep()
    return failed(result)


def failed(result: dict[str, Any]) -> int:
    """1 where someone was wrong, died or took too long, or nobody has figures.

    Who is not installed, or was left no time, is no failure.
    """
    entries = [entry for each in result["speed"] for entry in each["trainers"].values()]
    rows = [*entries, *result["parts"], *result["accuracy"]]
    reasons = [row["left_out"] for row in rows if "left_out" in row]
    fine = ("is not installed", "no time was left for it")
    wrong = any(not text.endswith(fine) for text in reasons) or any(row.get("alike") is False for row in rows)
    return int(wrong or len(reasons) == len(rows))


if __name__ == "__main__":
    sys.exit(main())
