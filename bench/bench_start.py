"""Whole processes, as a user starts them: `python -m fastbp train --no-save`, from the shell to the last line.

cached          machine code and parsed data are in the cache directory
no kernels      parsed data only: what the first run after an update of fastbp, Numba or Python takes
nothing         an empty cache directory: what the first run of all takes. The built-in digits are drawn, those of MNIST
                are unpacked; Python's own byte code, and the disk's cache, are not touched

`extra_info` tells the seconds and the most resident memory of the fastest process, and, in turns with it, how long
Python takes to start and import NumPy alone. Without --benchmark-enable one process is started, with a file of its own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import Launcher

import fastbp

TRAIN = (sys.executable, "-m", "fastbp", "train", "--no-save", "--offline")
NUMPY = (sys.executable, "-c", "import numpy")
OURS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)  # set for the other benchmarks


@pytest.fixture
def launcher(tmp_path):
    launcher = Launcher(tmp_path)
    yield launcher
    launcher.close()


def environment(cache):
    """A user's environment, with this copy of fastbp and this cache directory."""
    env = {name: value for name, value in os.environ.items() if name not in OURS}
    paths = (str(Path(fastbp.__file__).parents[1]), env.get("PYTHONPATH"))
    return env | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "FASTBP_CACHE_DIR": str(cache)}


@pytest.fixture(scope="session")
def full_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("full-cache")


@pytest.mark.parametrize("source", ["digits", "mnist"])
@pytest.mark.parametrize(
    ("cached", "epochs", "rounds"),
    [("cached", 0, 9), ("cached", 1, 9), ("no kernels", 0, 2), ("nothing", 0, 2)],
    ids=["cached, 0 epochs", "cached, 1 epoch", "no kernels", "nothing cached"],
)
def bench_start(benchmark, measuring, launcher, tmp_path, full_cache, source, cached, epochs, rounds):
    if not measuring:
        pytest.skip("takes half a minute; bench_start_with_a_small_file shows that processes run")
    if source == "mnist" and not os.environ.get("FASTBP_DATA"):
        pytest.skip("FASTBP_DATA is not set: it names the folder with mnist/")
    command = (*TRAIN, "--data", source, "--epochs", str(epochs))
    if cached != "nothing":
        launcher.run(command, environment(full_cache))
    caches = iter(range(10**9))

    def cache_of_this_round():
        if cached == "cached":
            return full_cache
        cache = tmp_path / f"cache-{next(caches)}"
        cache.mkdir(mode=0o700)
        if cached == "no kernels":
            (cache / "parsed").symlink_to(full_cache / "parsed", target_is_directory=True)
        return cache

    benchmark.group = f"start, {source}"
    time_processes(benchmark, launcher, command, cache_of_this_round, rounds)


def bench_start_with_a_small_file(benchmark, launcher, tmp_path):
    """60 pictures in an .npz file, machine code cached: what starting and ending take, without data."""
    path = tmp_path / "pictures.npz"
    rng = np.random.default_rng(0)
    np.savez(path, x_train=rng.integers(0, 256, (60, 28, 28), np.uint8), y_train=np.arange(60) % 10)
    command = (*TRAIN, "--data", str(path), "--epochs", "0")
    cache = Path(os.environ["FASTBP_CACHE_DIR"])
    launcher.run(command, environment(cache))  # compiles
    benchmark.group = "start, a small file"
    time_processes(benchmark, launcher, command, lambda: cache, rounds=9)


def time_processes(benchmark, launcher, command, cache, rounds):
    """Benchmark a command, in turns with an import of NumPy; the cache directory is chosen anew for each round."""
    outcomes, imports = [], []

    def import_numpy():
        here = cache()
        imports.append(launcher.run(NUMPY, environment(here)))
        return (environment(here),), {}

    def train(env):
        outcomes.append(launcher.run(command, env))

    benchmark.pedantic(train, setup=import_numpy, rounds=rounds)
    fastest = min(outcomes)
    assert "784-16-16-10" in fastest.output, fastest.output
    benchmark.extra_info["seconds"] = round(fastest.seconds, 4)
    benchmark.extra_info["numpy_import_seconds"] = round(min(imports).seconds, 4)
    if fastest.memory is not None:
        benchmark.extra_info["peak_memory_mb"] = round(fastest.memory / 1e6, 1)
        benchmark.extra_info["numpy_import_memory_mb"] = round(min(imports).memory / 1e6, 1)
