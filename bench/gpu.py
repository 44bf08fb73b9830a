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
import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from gpu_peers import TRAINERS, CpuFleet, Job, network_of, splits_of, takes_part
from gpu_processes import CHECKED, Clock, Inline, TrainerError, Worker, write_job
from gpu_tables import accuracy_table, batches_in, compare, disagreement, figures, parts_table, table

from fastbp import Dataset, FastbpError, load_dataset, train_many
from fastbp.kernels import SGD, Settings
from fastbp.streams import stream_key

Array = np.ndarray[Any, Any]

JOBS = ("speed", "parts", "accuracy")
HIDDEN = (16, 16)
FOLLOWED = 4  # networks whose mean cost is checked over more batches
TRIED = 64  # batches, to see how long they take
PACKAGES = ("fastbp", "numpy", "numba", "llvmlite", "numba-cuda", "numba-cuda-mlir", "cuda-bindings", "cuda-core")
PACKAGES += ("torch", "triton", "jax", "jaxlib", "jax-cuda13-plugin", "jax-cuda12-plugin", "nvidia-cublas")
QUERY = ("name", "driver_version", "compute_cap", "memory.total", "compute_mode", "mig.mode.current")
CLOCKS = ("clocks.sm", "clocks.mem", "clocks.max.sm", "power.draw", "temperature.gpu", "clocks_event_reasons.active")
VARIABLES = ("XLA_FLAGS", "NVIDIA_TF32_OVERRIDE", "PYTORCH_CUDA_ALLOC_CONF", "CUDA_VISIBLE_DEVICES")


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
