"""Compare one epoch of fastbp with the same epoch by NumPy, scikit-learn, PyTorch, JAX and two trainers in C.

    FASTBP_DATA=... python scripts/bench_peers.py [JOB ...] [--threads 1,all] [--rounds 7] [--json FILE]

A JOB is LAYERS:BATCH:OPTIMIZER:DATA, such as 784-16-16-10:32:sgd:mnist; `all` stands for every one in JOBS below.
Data is mnist, fashion, digits (built in), or gaussian: 60,000 samples without a zero. Without FASTBP_DATA the built-in
digits take the place of MNIST. Peers that are not installed are left out, with the reason.

All trainers of a job get the same weights, batches, order and rates, and must come to the same mean cost over the first
epoch, to 1 in 10,000, before they are timed. Then they take turns in one process, and the fastest round of each counts.
Data is brought to the form that each one likes before. A number of threads takes a process of its own; `1` is pinned to
one core. What is comparable from machine to machine is the ratios.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

SMALL = "784-16-16-10"
JOBS = (
    *(f"{SMALL}:32:{optimizer}:mnist" for optimizer in ("sgd", "momentum", "adam")),
    *(f"{SMALL}:32:sgd:{data}" for data in ("fashion", "gaussian")),
    *(f"{SMALL}:{batch_size}:sgd:mnist" for batch_size in (10, 256, 1024)),
    *(f"{layers}:32:sgd:mnist" for layers in ("784-16-10", "784-30-10", "784-32-32-32-10")),
    *(f"784-128-10:64:sgd:{data}" for data in ("mnist", "gaussian")),
    *(f"784-512-512-10:128:sgd:{data}" for data in ("mnist", "gaussian")),
)
RATES = {"sgd": 0.5, "momentum": 0.1, "adam": 0.003}
CLOSE = 1e-4
SLOW = 3.0  # seconds; who takes longer has three rounds
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def measure(text: str, names: list[str], rounds: int, threads: int) -> dict:
    """The fastest epoch of every trainer for one job, in this process."""
    sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("bench", ".")]
    import numpy as np
    from peak import fma_peak
    from peers import MissingPeerError, make, useful_flops

    job = read_job(text)
    order = np.random.default_rng(0).permutation(len(job.x))[: job.n_batches * job.batch_size].astype(np.uint32)
    expected, turns, entries = None, {}, {}
    for name in names:
        begun = time.perf_counter()
        try:
            trainer = make(name, job)
        except MissingPeerError as error:
            entries[name] = {"left_out": str(error)}
            continue
        prepared = trainer.prepare(order)
        ready = time.perf_counter()
        cost = float(trainer.run(prepared).mean())
        seconds = time.perf_counter() - ready
        expected = expected or cost
        entries[name] = {"cost": cost, "cost_difference": cost / expected - 1, "setup_seconds": ready - begun}
        entries[name] |= {"detail": trainer.detail, "n_networks": trainer.n_networks}
        if abs(cost / expected - 1) > CLOSE:
            entries[name]["left_out"] = f"its mean cost is {cost:.6f}, that of {names[0]} {expected:.6f}"
            continue
        turns[name] = trainer, prepared
        entries[name]["seconds"] = seconds
    peak = 0.0
    for number in range(rounds):
        peak = max(peak, fma_peak())
        for name, (trainer, prepared) in turns.items():
            if number >= 3 and entries[name]["seconds"] > SLOW:
                continue
            if threads > 1:
                time.sleep(0.1)  # pools of threads spin for a while after their work
            begun = time.perf_counter()
            trainer.run(prepared)
            entries[name]["seconds"] = min(entries[name]["seconds"], time.perf_counter() - begun)
    for entry in entries.values():
        if "seconds" in entry:
            entry["seconds"] /= entry["n_networks"]
            entry["samples_per_second"] = order.size / entry["seconds"]
            entry["gflops"] = useful_flops(job.network) * entry["samples_per_second"] / 1e9
            entry["share_of_peak"] = entry["gflops"] * 1e9 / (peak * threads)
            entry["ratio"] = entry["seconds"] / entries[names[0]]["seconds"]
    return {"job": text, "threads": threads, "samples": order.size, "peak_gflops": peak / 1e9, "trainers": entries}


def read_job(text: str):
    """LAYERS:BATCH:OPTIMIZER:DATA as a Job."""
    import numpy as np
    from peers import Job

    from fastbp import Network, load_dataset

    layers, batch_size, optimizer, source = text.split(":")
    if source == "gaussian":
        rng = np.random.default_rng(1)
        x = rng.standard_normal((60_000, int(layers.split("-")[0])), dtype=np.float32)
        y = rng.integers(0, int(layers.split("-")[-1]), len(x)).astype(np.int32)
    else:
        data = load_dataset(source if os.environ.get("FASTBP_DATA") else "digits", offline=True)
        x, y = data.x_train, data.y_train
    sizes = tuple(map(int, layers.split("-")))
    network = Network(sizes, ("sigmoid",) * (len(sizes) - 2) + ("softmax",), "cross_entropy")
    # mild enough that rounding errors do not grow: the comparison of costs is of the trainers, not of the network
    mild = 0.2 if source == "gaussian" or max(sizes[1:]) > 100 else min(1.0, int(batch_size) / 32)
    eta = RATES[optimizer] * mild
    return Job(network, network.initial_parameters(seed=0), x, y, int(batch_size), optimizer, eta)


def spawn(text: str, names: list[str], rounds: int, threads: int) -> dict:
    """`measure` in a process with this number of threads."""
    xla = os.environ.get("XLA_FLAGS", "")
    if threads == 1:
        xla += " --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    env = os.environ | dict.fromkeys(POOLS, str(threads)) | {"XLA_FLAGS": xla.strip(), "JAX_PLATFORMS": "cpu"}
    task = json.dumps([text, names, rounds, threads])
    done = subprocess.run([sys.executable, __file__, "--child", task], env=env, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"bench_peers.py: measuring {text} failed")
    return json.loads(done.stdout.splitlines()[-1])


def table(result: dict) -> str:
    """A Markdown table of one job."""
    threads = "one core" if result["threads"] == 1 else f"{result['threads']} threads"
    lines = [
        f"**{result['job'].replace(':', ', ')}**, {threads}; {result['peak_gflops']:.0f} GFLOP/s at most per core",
        "",
        "| trainer | ms per epoch | samples per second | GFLOP/s | of peak | times our time | cost differs by |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    entries = result["trainers"]
    for name, entry in sorted(entries.items(), key=lambda item: item[1].get("seconds", 1e9)):
        title = f"{name} ({entry['detail']})" if entry.get("detail") else name
        if "seconds" not in entry:
            lines.append(f"| {title} | | | | | | {entry['left_out']} |")
            continue
        lines.append(
            f"| {title} | {1e3 * entry['seconds']:.1f} | {entry['samples_per_second']:,.0f} | {entry['gflops']:.1f} "
            f"| {100 * entry['share_of_peak']:.0f} % | {entry['ratio']:.2f} | {entry['cost_difference']:.0e} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", metavar="JOB", default=[JOBS[0]])
    parser.add_argument("--threads", default="1", help="such as 1,2 or 1,all")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peers", help="some of them, separated by semicolons")
    parser.add_argument(
        "--many", action="store_true", help="with 32 networks at once, by fastbp and JAX vmap: time per network"
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--child", help="used by the script itself")
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    if given.child:
        text, names, rounds, threads = json.loads(given.child)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores[:threads])
        print(json.dumps(measure(text, names, rounds, threads)))
        return
    names = ["fastbp", "NumPy", "scikit-learn", "PyTorch", "PyTorch, compiled", "JAX"]
    names += ["C, plain loops", "C, vector extensions"]
    names += ["fastbp, 32 networks", "JAX, vmap of 32 networks"] if given.many else []
    if given.peers:
        wanted = [name.strip() for name in given.peers.split(";")]
        names = ["fastbp", *(name for name in wanted if name != "fastbp")]
    results = []
    for text in JOBS if given.jobs == ["all"] else given.jobs:
        for threads in given.threads.split(","):
            results.append(spawn(text, names, given.rounds, len(cores) if threads == "all" else int(threads)))
            print(table(results[-1]), flush=True)
            if given.json:
                given.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
