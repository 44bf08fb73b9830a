"""What keeps the engine fast unnoticed: no allocation per step, no second compilation, wide fused multiply-adds."""

from __future__ import annotations

import gc
import json
import os
import platform
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys

import fastbp
from fastbp.data.digits import make_digits
from fastbp.kernels import ADAM, MOMENTUM, SGD, Settings, Split, announce_compiling, jit, open_engine, warm_up
from fastbp.kernels.warming import Preparation, before_compiling, prepared
from fastbp.network import Network


def engine_for(layout="auto", dtype="float32", optimizer=SGD, batch_size=4, n=40, name="fused"):
    """A small network with a hidden layer, and samples that are half zero."""
    rng = np.random.default_rng(0)
    x = (rng.integers(1, 256, (n, 30)) * rng.integers(0, 2, (n, 30))).astype(np.uint8)
    split = Split(x, (np.arange(n) % 3).astype(np.int32), np.eye(3, dtype=dtype))
    network = Network((30, 17, 3), ("sigmoid", "softmax"), "cross_entropy")
    settings = Settings(optimizer, batch_size)
    theta = network.initial_parameters(seed=0, dtype=dtype)
    return open_engine(network, theta, split, split, settings, x_scale=1 / 255, engine=name, input_layout=layout)


# --- allocation -------------------------------------------------------------------------------------------------------


@pytest.fixture
def counted():
    """Numba's runtime counts what it allocates. What earlier tests left behind is collected before, not meanwhile."""
    gc.collect()
    gc.disable()
    _nrt_python.memsys_enable_stats()
    yield rtsys.get_allocation_stats
    _nrt_python.memsys_disable_stats()
    gc.enable()


def steps(engine, batch_size, n_batches):
    """What a run of so many batches needs, made beforehand."""
    order = (np.arange(n_batches * batch_size) % 40).astype(np.uint32)
    etas, costs = np.full(n_batches, 0.01), np.empty(n_batches)
    return lambda: engine.run(order, etas, costs)


def memory_of(run, counted):
    """(largest memory of Python's, allocations by Numba's runtime, those not freed) while it runs."""
    before = counted()
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    after = counted()
    taken = (after.alloc - before.alloc, after.mi_alloc - before.mi_alloc)
    return peak, taken, (after.alloc - after.free) - (before.alloc - before.free)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("layout", "optimizer", "batch_size"),
    [
        ("auto", SGD, 4),
        ("sparse", SGD, 4),
        ("dense", SGD, 4),
        ("sparse", MOMENTUM, 32),
        ("auto", ADAM, 32),
        ("sparse", ADAM, 1),
        ("dense", ADAM, 9000),  # more than one block of samples
    ],
)
def test_steps_allocate_nothing(counted, layout, optimizer, batch_size, dtype):
    """A call takes a little memory, with 8 bytes per step for what it counts: 300 steps take no more than 3."""
    engine = engine_for(layout, dtype, optimizer, batch_size)
    peaks, runtime = [], []
    for n_batches in (3, 30, 300) if batch_size < 9000 else (2, 4):
        measured = [memory_of(steps(engine, batch_size, n_batches), counted) for _ in range(4)][1:]
        peaks.append(min(peak for peak, _, _ in measured) - 8 * n_batches)  # what else goes on can only add
        runtime.append(min(taken for _, taken, _ in measured))
        assert min(lost for _, _, lost in measured) <= 0
    assert max(peaks) < 4096
    assert max(peaks) - min(peaks) < 1024
    assert len(set(runtime)) == 1


# --- compilation ------------------------------------------------------------------------------------------------------


def cold(cache: Path, program: str):
    environment = {**os.environ, "FASTBP_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("NUMBA_CPU_NAME", None)
    run = subprocess.run(
        [sys.executable, "-P", "-c", program], env=environment, capture_output=True, text=True, timeout=180
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def train(x, y, **settings):
    return fastbp.train((x, y), epochs=1, batch_size=8, learning_rate=0.1, **settings)


def check_that_nothing_new_is_needed():
    """Neither for new shapes, nor for other dtypes of inputs and labels, other memory layouts, engines and settings."""
    warm_up()
    ready = len(prepared)
    rng = np.random.default_rng(0)
    pictures, numbers, y = rng.integers(0, 256, (24, 20)).astype(np.uint8), rng.random((24, 20)), np.arange(24) % 3
    frozen = pictures.copy()
    frozen.flags.writeable = False
    inputs = {
        "bytes": pictures,
        "read-only bytes": frozen,
        "columns first": np.asfortranarray(pictures),
        "every other": np.repeat(pictures, 2, axis=0)[::2],
        "fewer columns": pictures[:, 3:10],
        "float64": numbers,
        "float32": numbers.astype(np.float32),
        "float64, columns first": np.asfortranarray(numbers),
        "int64": pictures.astype(np.int64),
    }
    for name, x in inputs.items():
        for dtype in ("float32", "float64"):
            train(x, y, dtype=dtype, layers="5")
            assert prepared[ready:] == [], (name, dtype)
    for labels in (y.astype(np.uint8), y.astype(np.int32), y.astype(">i4"), y[::-1]):
        train(pictures, labels)
        assert prepared[ready:] == [], labels.dtype
    for settings in (
        {"layers": ""},
        {"layers": "40-3-70", "activation": "relu,tanh,leaky_relu"},
        {"layers": "512-512", "batch_size": 24},
        {"optimizer": "momentum", "weight_decay": 0.01},
        {"optimizer": "adam", "schedule": "constant"},
        {"engine": "stages"},
        {"engine": "stages", "optimizer": "adam", "dtype": "float64"},
        {"engine": "reference"},
        {"input_layout": "sparse"},
        {"input_layout": "dense", "shuffle": False},
        {"cost": "squared_error", "output_activation": "sigmoid"},
    ):
        fastbp.train((pictures, y), **{"epochs": 1, "learning_rate": 0.1, "batch_size": 8, **settings})
        assert prepared[ready:] == [], settings
    train(numbers, numbers[:, :2])
    fastbp.train_many([{"seed": 1}, {"seed": 2}], (pictures, y))
    make_digits(3, 2)
    assert prepared[ready:] == []


def test_after_a_warm_up_nothing_is_compiled_or_loaded_any_more(shared_cache):
    """In a process of its own, where no other test has made anything ready."""
    cold(
        shared_cache, f"import runpy; runpy.run_path({__file__!r})['check_that_nothing_new_is_needed'](); print('{{}}')"
    )


COLD = """if True:
    import json, sys
    from fastbp.kernels import announce_compiling, fused, jit, open_engine, order, protocol
    from fastbp.kernels.warming import prepared
    import numpy as np
    from fastbp.network import Network

    def engine(dtype, name="fused"):
        network = Network((4, 3), ("softmax",), "cross_entropy")
        split = protocol.Split(np.eye(3, 4, dtype=np.uint8), np.arange(3, dtype=np.int32), np.eye(3, dtype=dtype))
        theta = network.initial_parameters(0, dtype=dtype)
        return open_engine(network, theta, split, split, protocol.Settings(0, 2), engine=name, input_layout="dense")

    said = []
    with announce_compiling(said.append):
        order.shuffle(np.empty(3, np.uint32), np.uint64(0))
    silent = list(said)
    with announce_compiling(said.append):
        engine("float32")
        engine("float32")
    answer = {"silent": silent, "said": said, "prepared": prepared, "machine": jit.machine()}
    compiled = fused.run_batches.inspect_asm() if not prepared[-1].from_cache else {}
    print(json.dumps({**answer, "asm": list(compiled.values())}))
"""


@pytest.fixture(scope="module")
def empty_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("empty")


@pytest.fixture(scope="module")
def first(empty_cache):
    """A process that has to compile."""
    return cold(empty_cache, COLD)


def test_compiling_is_announced_once_and_beforehand(first):
    assert first["silent"] == []  # a fraction of a second is not worth a line
    assert first["said"] == ["compiling kernels, about 8 s, once"]
    kernels = {name: from_cache for name, _, from_cache in first["prepared"]}
    assert kernels == {"order.shuffle": False, "fused.refresh": False, "fused.run_batches": False}
    assert all(0 < seconds < 120 for _, seconds, _ in first["prepared"])


def test_loading_is_not_announced_and_other_types_are(first, empty_cache):
    again = cold(empty_cache, COLD)
    assert again["said"] == []
    assert {from_cache for _, _, from_cache in again["prepared"]} == {True}
    other = cold(empty_cache, COLD.replace("float32", "float64"))  # cached for float32 is not cached for float64
    assert other["said"] == ["compiling kernels, about 8 s, once"]
    assert [name for name, _, from_cache in other["prepared"] if not from_cache] == [
        "fused.refresh",
        "fused.run_batches",
    ]


def test_announcements_end_with_their_block():
    said: list[str] = []
    with pytest.raises(KeyError), announce_compiling(said.append):
        raise KeyError
    assert before_compiling == []
    with announce_compiling(said.append):
        (announce,) = before_compiling
        announce("entries.pack_columns")
        announce("wide.run")
        announce("fused.run_batches")
    assert said == ["compiling kernels, about 5 s, once"]


def test_what_a_warm_up_tells(own_cache):
    """Here everything is ready, or becomes so; a list of what was done comes out."""
    warm_up()
    assert warm_up() == []
    assert before_compiling == []
    assert Preparation._fields == ("kernel", "seconds", "from_cache")


# --- machine code -----------------------------------------------------------------------------------------------------

FUSED = re.compile(r"^\s+vfn?m(?:add|sub)\w*(ps|pd|ss|sd)\s.*?%(xmm|ymm|zmm)", re.MULTILINE)


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="registers have these names on x86")
def test_the_hot_loops_multiply_and_add_on_whole_registers(first):
    """Of the widest kind that the processor has: 16 float32 at once with AVX-512, 8 with AVX2."""
    expected = {512: "zmm", 256: "ymm"}.get(first["machine"]["vector_bits"])
    if expected is None:
        pytest.skip(f"{first['machine']['cpu']} has neither AVX nor AVX-512")
    (assembly,) = first["asm"]
    found = FUSED.findall(assembly)
    if expected == "ymm" and not found:
        pytest.skip(f"{first['machine']['cpu']} has no fused multiply-add")
    assert found.count(("ps", expected)) > 100
    whole = [register for _, register in found if register == expected]  # squares are summed in float64
    assert len(whole) > 0.9 * len(found)


def test_the_machine_code_calls_nobody(first):
    """No memory is asked for, and no exp of the C library is called."""
    (assembly,) = first["asm"]
    for name in ("NRT_Allocate", "NRT_MemInfo_alloc", "NRT_MemInfo_new", "malloc", "expf", "logf", "powf", "tanhf"):
        assert not re.search(rf"\b{name}\w*", assembly), name


def test_the_cache_folder_is_known():
    assert jit.cache_folder() is not None
