"""Measure one epoch of 784-16-16-10 by each engine and by a good NumPy trainer, and print a Markdown table.

    FASTBP_DATA=... python scripts/bench_table.py [--batch-size 32] [--rounds 9] [--write README.md]

One core; the trainers take turns in every round, and the fastest round of each counts. Before that, all of them must
come to the same costs. What is comparable from machine to machine is the ratios. Without FASTBP_DATA the built-in
digits take the place of MNIST.
"""

from __future__ import annotations

import os
import subprocess
import sys

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
ALONE = "FASTBP_BENCH_ALONE"  # set for the process that measures NumPy with all cores
if ALONE not in os.environ:
    os.environ |= dict.fromkeys(THREADS, "1")
    if hasattr(os, "sched_setaffinity"):
        everywhere = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(everywhere)})

from argparse import ArgumentParser
from pathlib import Path
from time import perf_counter

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("bench", ".")]

import numpy as np
from contenders import NAMES, contender, epoch_order

from fastbp import load_dataset
from fastbp.installation import machine_facts

BEGIN, END = "<!-- speed: written by scripts/bench_table.py -->", "<!-- end of speed -->"
TITLES = {
    "fused": "**fastbp**, as `fastbp train` runs it",
    "fused, sparse": "fastbp, fused engine, sparse input",
    "fused, dense": "fastbp, fused engine, dense input",
    "stages": "fastbp, compiled stages called one by one",
    "reference": "fastbp, reference (readable NumPy)",
    "NumPy": "NumPy, tuned by hand (`bench/numpy_trainer.py`)",
    "NumPy, all cores": "the same, BLAS free to use all cores",
}


def best_times(names: tuple[str, ...], data, batch_size: int, rounds: int) -> dict[str, float]:
    """Seconds of the fastest epoch of each; they take turns."""
    order = epoch_order(data)
    runs = {name: contender(name, data, batch_size) for name in names}
    costs = {name: run(order) for name, run in runs.items()}
    for name in names:
        np.testing.assert_allclose(costs[name][:200], costs[names[-1]][:200], atol=1e-4, err_msg=name)
        np.testing.assert_allclose(costs[name].mean(), costs[names[-1]].mean(), atol=1e-4, err_msg=name)
    times = dict.fromkeys(names, np.inf)
    for _ in range(rounds):
        for name, run in runs.items():
            begun = perf_counter()
            run(order)
            times[name] = min(times[name], perf_counter() - begun)
    return times


def main() -> None:
    parser = ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", type=Path, help="put the table between the marks of this file, too")
    given = parser.parse_args()
    data = load_dataset("mnist" if os.environ.get("FASTBP_DATA") else "digits", offline=True)
    if ALONE in os.environ:
        print(best_times(("NumPy",), data, given.batch_size, given.rounds)["NumPy"])
        return
    times = best_times(NAMES, data, given.batch_size, given.rounds)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, everywhere)
    free = {name: text for name, text in os.environ.items() if name not in THREADS} | {ALONE: "1"}
    times["NumPy, all cores"] = float(
        subprocess.run([sys.executable, *sys.argv], env=free, capture_output=True, text=True, check=True).stdout
    )

    n, facts = len(data.x_train), machine_facts()
    lines = [
        f"| one epoch, batch {given.batch_size} | times NumPy's speed | samples per second | ms |",
        "|---|---:|---:|---:|",
    ]
    for name, title in TITLES.items():
        seconds = times[name]
        lines.append(f"| {title} | {times['NumPy'] / seconds:.2f} | {n / seconds:,.0f} | {1e3 * seconds:.1f} |")
    lines += [
        "",
        f"784-16-16-10, float32, {n:,} samples ({data.name}), fastest of {given.rounds} rounds, one core of",
        f"{facts['cpu']} with {facts['vector_bits']}-bit vectors; fastbp {facts['fastbp']}, numba {facts['numba']}, "
        f"numpy {facts['numpy']}, Python {facts['python']}.",
    ]
    print(*lines, sep="\n")
    if given.write:
        text = given.write.read_text(encoding="utf-8")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        given.write.write_text("\n".join([before + BEGIN, *lines, END + after]), encoding="utf-8")


if __name__ == "__main__":
    main()
