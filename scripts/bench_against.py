"""Compare the speed of two commits on this machine, and fail where the newer one is slower.

    python scripts/bench_against.py BASE [HEAD] [--rounds 8] [--limit 5%] [--json PATH]

BASE and HEAD are commits; without HEAD it is the working tree. The two take turns, each time in a new process, with a
compile cache of their own and the same data; the best time of each counts. How far the best of every other round of the
*same* side are apart is the noise. Exit code 1 where an entry is slower by more than the limit and by more than the
noise, also after twice as many rounds more; 2 for usage, or where nothing could be compared; else 0. What an older
commit cannot do is skipped, with the reason. Nothing is left behind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
START_UP = "start-up: train --epochs 0"
SMALL, WIDE = (784, 16, 16, 10), (784, 128, 10)
# what to train: sizes, optimiser, layout of the input, learning rate
EPOCHS: dict[str, tuple[tuple[int, ...], str, str, float]] = {
    "784-16-16-10, auto": (SMALL, "SGD", "auto", 0.5),
    "784-16-16-10, sparse": (SMALL, "SGD", "sparse", 0.5),
    "784-16-16-10, dense": (SMALL, "SGD", "dense", 0.5),
    "784-16-16-10, Adam": (SMALL, "ADAM", "auto", 1e-3),
    "784-128-10, auto": (WIDE, "SGD", "auto", 0.5),
}
BATCH_SIZE = 32
EPOCHS_PER_PROCESS = 5
ATTEMPTS = 3  # where something seems slower, all is measured again: other programs can only make things slower


# --- in the processes of the two sides --------------------------------------------------------------------------------


def work(data: str) -> None:
    """Time every entry with the fastbp that PYTHONPATH leads to; print {entry: seconds, or why not}.

    Not pinned to a core: the one that we would choose may be the one that others are pinned to.
    """
    import numpy as np

    x, y = np.load(f"{data}/x.npy"), np.load(f"{data}/y.npy")
    order = np.random.default_rng(0).permutation(len(x)).astype(np.uint32)
    found: dict[str, float | str] = {}
    for name, entry in EPOCHS.items():
        try:
            found[name] = time_epoch(x, y, order, *entry)
        except Exception as error:  # whatever an older commit lacks: its words become the reason
            found[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(found))


def time_epoch(x: Any, y: Any, order: Any, sizes: tuple[int, ...], optimizer: str, layout: str, eta: float) -> float:
    """Seconds of the fastest of some epochs, in one compiled call each; what compiles has compiled before."""
    import numpy as np

    from fastbp import kernels
    from fastbp.network import Network

    activations = ("sigmoid",) * (len(sizes) - 2) + ("softmax",)
    network = Network(sizes, activations, "cross_entropy")
    split = kernels.Split(x, y, np.eye(sizes[-1], dtype=np.float32))
    nothing = kernels.Split(x[:0], y[:0], split.targets)
    engine = kernels.open_engine(
        network,
        network.initial_parameters(seed=0),
        split,
        nothing,
        kernels.Settings(getattr(kernels, optimizer), BATCH_SIZE),
        x_scale=1 / 255,
        engine="fused",
        input_layout=layout,
    )
    costs = np.empty(-(-len(order) // BATCH_SIZE))
    etas = np.full(len(costs), eta)
    engine.run(order[:BATCH_SIZE], etas[:1], costs[:1])
    best = float("inf")
    for _ in range(EPOCHS_PER_PROCESS):
        begun = perf_counter()
        engine.run(order, etas, costs)
        best = min(best, perf_counter() - begun)
    if not np.isfinite(costs).all():
        raise ArithmeticError("the costs are no longer finite")
    return best


# --- in the process that compares -------------------------------------------------------------------------------------


class Side:
    """A checkout, its cache and its times."""

    def __init__(self, name: str, checkout: Path, scratch: Path) -> None:
        self.name = name
        self.times: dict[str, list[float]] = {}
        self.skipped: dict[str, str] = {}
        cache = scratch / f"cache-{name}"
        cache.mkdir()
        kept = {key: text for key, text in os.environ.items() if not key.startswith(("PYTHON", "FASTBP_"))}
        self.environment = {
            **kept,
            **dict.fromkeys(THREADS, "1"),
            "PYTHONPATH": str(checkout),
            "PYTHONPYCACHEPREFIX": str(cache / "bytecode"),
            "FASTBP_CACHE_DIR": str(cache),
        }
        self._scratch = scratch

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Python in the side's own world, in a folder from which nothing else is imported."""
        command = [sys.executable, *arguments]
        return subprocess.run(command, env=self.environment, cwd=self._scratch, capture_output=True, text=True)

    def round(self) -> None:
        """One time more for every entry."""
        done = self.run("-P", str(Path(__file__).resolve()), "--work", str(self._scratch))
        if done.returncode != 0:
            raise SystemExit(f"{self.name}: the measurement broke off: {done.stderr[-2000:]}")
        found = json.loads(done.stdout)
        begun = perf_counter()
        train = self.run("-P", "-m", "fastbp", "train", "--epochs", "0", "--no-save", "--quiet")
        seconds = perf_counter() - begun
        found[START_UP] = seconds if train.returncode == 0 else (train.stderr.strip().splitlines() or ["no reason"])[-1]
        for entry, value in found.items():
            if isinstance(value, float):
                self.times.setdefault(entry, []).append(value)
            else:
                self.skipped[entry] = value


def compare(base: Side, head: Side, limit: float) -> list[dict[str, Any]]:
    """For each entry the best times, their ratio, the noise, and what follows."""
    results: list[dict[str, Any]] = []
    for entry in (*EPOCHS, START_UP):
        reasons = [f"{side.name}: {side.skipped[entry]}" for side in (base, head) if entry in side.skipped]
        if reasons:
            results.append({"entry": entry, "verdict": "skipped", "reason": "; ".join(reasons)})
            continue
        before, after = base.times[entry], head.times[entry]
        ratio, noise = min(after) / min(before), max(noise_of(before), noise_of(after))
        if ratio > 1 + limit:
            verdict = "slower" if ratio > 1 + noise else "too noisy to tell"
        else:
            verdict = "faster" if ratio < 1 / (1 + max(limit, noise)) else "same"
        results.append(
            {"entry": entry, "verdict": verdict, "base": before, "head": after, "ratio": ratio, "noise": noise}
        )
    return results


def noise_of(times: list[float]) -> float:
    """How far the best of the even rounds and the best of the odd rounds are apart: one side against itself.

    >>> noise_of([1.0, 1.1, 1.2, 1.3])
    0.10000000000000009
    """
    halves = min(times[::2]), min(times[1::2])
    return max(halves) / min(halves) - 1


@contextmanager
def checkout(commit: str | None, folder: Path) -> Iterator[Path]:
    """The files of a commit in a work tree of their own; those of the working tree for None."""
    if commit is None:
        yield ROOT
        return
    git("worktree", "add", "--detach", "--force", str(folder), commit)
    try:
        yield folder
    finally:
        git("worktree", "remove", "--force", str(folder))


def git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def commit_of(text: str) -> str:
    """The full name of a commit."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise ArgumentTypeError(f"{text!r} is no commit of this repository")
    return done.stdout.strip()


def share(text: str) -> float:
    """5% or 0.05.

    >>> share("5%"), share("0.05")
    (0.05, 0.05)
    """
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 10:
        raise ArgumentTypeError(f"a share, such as 5% or 0.05, is wanted, got {text!r}")
    return value


def even(text: str) -> int:
    """At least 4, so that each half has two."""
    if not text.isdecimal() or int(text) < 4:
        raise ArgumentTypeError(f"at least 4 rounds are needed to know the noise, got {text!r}")
    return int(text)


def show(results: list[dict[str, Any]], limit: float) -> None:
    print(f"{'best of each, in ms':<28} {'base':>9} {'head':>9} {'head/base':>10} {'noise':>7}")
    for each in results:
        if each["verdict"] == "skipped":
            print(f"{each['entry']:<28} skipped ({each['reason']})")
            continue
        base, head = 1e3 * min(each["base"]), 1e3 * min(each["head"])
        figures = f"{base:9.2f} {head:9.2f} {each['ratio']:10.3f} {100 * each['noise']:5.1f} %"
        print(f"{each['entry']:<28} {figures}  {each['verdict']}")
    slower = [each["entry"] for each in results if each["verdict"] == "slower"]
    unclear = [each["entry"] for each in results if each["verdict"] == "too noisy to tell"]
    print()
    if unclear:
        print(f"slower by more than {100 * limit:g} %, but not by more than the noise: {'; '.join(unclear)}")
    print(f"slower by more than {100 * limit:g} % and the noise: {'; '.join(slower) or 'nothing'}")


def measure(given: Namespace) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="fastbp-bench-") as name:
        scratch = Path(name)
        with checkout(given.base, scratch / "base") as old, checkout(given.head, scratch / "head") as new:
            base, head = Side("base", old, scratch), Side("head", new, scratch)
            draw = "import numpy as np, fastbp; d = fastbp.load_dataset('digits'); "
            draw += "np.save('x.npy', d.x_train); np.save('y.npy', d.y_train)"
            drawn = head.run("-P", "-c", draw)
            if drawn.returncode != 0:
                raise SystemExit(f"head: the digits could not be drawn: {drawn.stderr[-2000:]}")
            for side in (base, head):
                print(f"{side.name}: compiling", file=sys.stderr)
                side.round()
                side.times.clear()
            for number in range(ATTEMPTS * given.rounds):
                if number % given.rounds == 0:
                    results = compare(base, head, given.limit) if number else []
                    if number and not any(each["verdict"] == "slower" for each in results):
                        return results
                print(f"round {number + 1}", file=sys.stderr)
                for side in (base, head) if number % 4 in (0, 3) else (head, base):
                    side.round()
            return compare(base, head, given.limit)


def main() -> int:
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2])
        return 0
    parser = ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("base", metavar="BASE", type=commit_of, help="the commit to compare with")
    parser.add_argument("head", metavar="HEAD", type=commit_of, nargs="?", help="by default the working tree")
    parser.add_argument("--rounds", type=even, default=8, help="processes of each side (8)")
    parser.add_argument("--limit", type=share, default=0.05, help="how much slower is too slow (5%%)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all times to this file")
    given = parser.parse_args()
    results = measure(given)
    if given.json:
        facts = {"base": given.base, "head": given.head or "working tree", "limit": given.limit, "results": results}
        given.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    show(results, given.limit)
    if all(each["verdict"] == "skipped" for each in results):
        print("nothing could be compared", file=sys.stderr)
        return 2
    return int(any(each["verdict"] == "slower" for each in results))


if __name__ == "__main__":
    sys.exit(main())
