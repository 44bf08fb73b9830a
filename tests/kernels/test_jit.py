"""The compile cache, seen from outside: processes that find, miss, damage, share or cannot have it."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.core.caching import NullCache
from numba.core.dispatcher import Dispatcher

import fastbp.kernels
from fastbp.kernels import Settings, Split, entries, fused, jit, open_engine
from fastbp.network import Network

PACKAGE = Path(fastbp.kernels.__file__).parents[1]

# A Fisher-Yates shuffle of 0..9 with key 7, worked out with Python's integers
SHUFFLED = [5, 0, 6, 9, 7, 8, 3, 2, 1, 4]

PRELUDE = """if True:
    import json, os, sys
    from pathlib import Path
    import numpy as np
    from fastbp.kernels import jit, order

    def fresh():
        "The kernel as a new process meets it: nothing compiled, nothing loaded."
        return jit.kernel(order.shuffle.py_func)

    def shuffled(kernel):
        numbers = np.empty(10, np.uint32)
        kernel(numbers, np.uint64(7))
        return numbers.tolist()

    def hits(kernel):
        return sum(kernel.stats.cache_hits.values())

    def answer(**values):
        print(json.dumps(values))

    def files():
        root = Path(os.environ["FASTBP_CACHE_DIR"])
        return sorted(path for path in root.rglob("*") if path.is_file())
"""

SEVERAL = """
    from fastbp.kernels import stages
    kernels, results = [order.shuffle, stages.output_delta, stages.update], [shuffled(order.shuffle)]
    for dtype in (np.float32, np.float64):
        a, y, delta = np.full((1, 1), 0.25, dtype), np.zeros((1, 1), dtype), np.zeros((1, 1), dtype)
        stages.output_delta(a, y, 2, 0, delta)  # sigmoid, squared error
        W, b = np.ones((2, 1), dtype), np.ones(1, dtype)
        stages.update(W, b, np.full((2, 1), 4, dtype), np.full(1, 8, dtype), 0.5, 0.0, 4)
        results += [delta.item(), W.tolist(), b.tolist()]
    answer(results=results, hits=sum(map(hits, kernels)))
"""

# By hand: 0.25 * 0.25 * 0.75; 1 - 0.5 * 4 / 4; 1 - 0.5 * 8 / 4
UPDATED = [0.046875, [[0.5], [0.5]], [0.0]]

NO_HOME = """
    import pwd
    def unknown(*_):
        raise KeyError("no such user")
    pwd.getpwuid = unknown
    os.environ.pop("HOME", None)
    os.environ.pop("XDG_CACHE_HOME", None)
"""

SHUFFLE = """
    kernel = fresh()
    answer(order=shuffled(kernel), hits=hits(kernel), folder=kernel.stats.cache_path)
"""


def start(
    program: str, cache: Path | None, package: Path = PACKAGE, preexec: Any = None, **settings: str
) -> subprocess.Popen[str]:
    """A new process with a compile cache of its own."""
    environment = {name: text for name, text in os.environ.items() if name != "FASTBP_CACHE_DIR"}
    if cache is not None:
        environment["FASTBP_CACHE_DIR"] = str(cache)
    environment |= {"PYTHONPATH": os.pathsep.join([str(package.parent), *sys.path]), **settings}
    command = [sys.executable, "-P", "-W", "error", "-c", PRELUDE + program]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=preexec
    )


def finish(process: subprocess.Popen[str]) -> Any:
    """What the program answered."""
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    return json.loads(output)


def run(program: str, cache: Path | None, package: Path = PACKAGE, **settings: Any) -> Any:
    return finish(start(program, cache, package, **settings))


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache directory with the machine code of one kernel."""
    folder = tmp_path_factory.mktemp("filled")
    assert run(SHUFFLE, folder) == {
        "order": SHUFFLED,
        "hits": 0,
        "folder": str(next((folder / "kernels").iterdir())),
    }
    return folder


@pytest.fixture
def copied(filled, tmp_path):
    """The same, for one test to spoil."""
    return Path(shutil.copytree(filled, tmp_path / "cache"))


# --- found and missed -------------------------------------------------------------------------------------------------


def test_a_second_process_finds_the_machine_code(filled):
    again = run(SHUFFLE, filled)
    assert (again["order"], again["hits"]) == (SHUFFLED, 1)


def test_files_and_folders_are_private_and_nothing_else_is_left(filled):
    (folder,) = (filled / "kernels").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    (file,) = (path for path in filled.rglob("*") if path.is_file())
    assert (file.parent, file.suffix) == (folder, ".kernel")


@pytest.mark.parametrize(
    ("file", "before", "after", "program", "results"),
    [
        (
            "kernels/scalars.py",
            "return a * (one - a)",
            "return a * (one - a) * constant(2, a)",
            """
    from fastbp.kernels import stages
    a, y, delta = np.full((1, 1), 0.25), np.zeros((1, 1)), np.zeros((1, 1))
    stages.output_delta(a, y, 2, 0, delta)  # sigmoid, squared error
    answer(result=delta.item(), hits=hits(stages.output_delta))
            """,
            [0.25 * 0.25 * 0.75, 2 * 0.25 * 0.25 * 0.75],
        ),
        (
            "streams.py",
            "GOLDEN = 0x9E3779B97F4A7C15",
            "GOLDEN = 0x0  # ",
            "    kernel = fresh(); answer(result=shuffled(kernel), hits=hits(kernel))",
            [SHUFFLED, [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]],
        ),
    ],
    ids=["helper of a stage", "constant outside of the kernels"],
)
def test_an_edit_in_another_file_is_not_overlooked(file, before, after, program, results, tmp_path):
    copy = Path(shutil.copytree(PACKAGE, tmp_path / "fastbp", ignore=shutil.ignore_patterns("__pycache__")))
    cache = tmp_path / "cache"
    for expected_hits in (0, 1):
        assert run(program, cache, copy) == {"result": results[0], "hits": expected_hits}
    source = copy / file
    text = source.read_text()
    assert text.count(before) == 1
    source.write_text(text.replace(before, after))
    for expected_hits in (0, 1):
        assert run(program, cache, copy) == {"result": results[1], "hits": expected_hits}


def test_processes_that_start_cold_together_all_work(tmp_path):
    processes = [start(SHUFFLE, tmp_path) for _ in range(3)]
    assert [finish(process)["order"] for process in processes] == [SHUFFLED] * 3
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".kernel"]
    assert run(SHUFFLE, tmp_path)["hits"] == 1


@pytest.mark.parametrize("round_", range(2))
def test_four_processes_fill_one_cache_together(tmp_path, round_):
    processes = [start(SEVERAL, tmp_path) for _ in range(4)]
    assert [finish(process)["results"] for process in processes] == [[SHUFFLED, *UPDATED, *UPDATED]] * 4
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".kernel"] * 5
    assert run(SEVERAL, tmp_path) == {"results": [SHUFFLED, *UPDATED, *UPDATED], "hits": 5}


INDENTED = SEVERAL.replace("\n    ", "\n        ").replace("answer(", "found = dict(").rstrip()
TOGETHER = f"""
    from fastbp.kernels import stages, warming
    said = []
    with warming.announce_compiling(said.append):{INDENTED}
        left = [path.name for path in files() if path.suffix == ".lock"]
    compiled = [each.kernel for each in warming.prepared if not each.from_cache]
    answer(**found, left=left, said=len(said), compiled=compiled)
"""


def test_of_processes_that_start_cold_one_compiles_each_kernel(tmp_path):
    processes = [start(TOGETHER, tmp_path) for _ in range(6)]
    answers = [finish(process) for process in processes]
    assert [each["results"] for each in answers] == [[SHUFFLED, *UPDATED, *UPDATED]] * 6
    compiled = sorted(name for each in answers for name in each["compiled"])
    assert compiled == ["order.shuffle", "stages.output_delta", "stages.output_delta", *["stages_updates.update"] * 2]
    assert max(each["said"] for each in answers) == 1
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".kernel"] * 5  # and no locks are left


def test_a_process_that_dies_while_it_compiles_holds_nobody_up(tmp_path):
    """Killed, so that nothing is cleaned up; what it was about to compile is compiled by another."""
    program = """
    from fastbp.kernels import turns
    def die(*_):
        os.kill(os.getpid(), 9)
    jit.KernelCache.save_overload = die
    with turns.together():
        shuffled(fresh())
    """
    first = start(program, tmp_path)
    first.communicate(timeout=120)
    assert first.returncode == -9
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]
    begun = time.perf_counter()
    alone = run(TOGETHER, tmp_path)
    assert alone["results"] == [SHUFFLED, *UPDATED, *UPDATED]
    assert alone["left"] == []  # a turn ends when the kernel is kept, not with the block
    assert time.perf_counter() - begun < 50  # and has not waited for it
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".kernel"] * 5


# --- damage -----------------------------------------------------------------------------------------------------------


def test_sixty_flipped_bits_do_no_harm(copied):
    program = """
    (file,) = files()
    whole = file.read_bytes()
    rng = np.random.default_rng(1)
    results = []
    for bit in [0, 8 * len(whole) - 1, *rng.integers(0, 8 * len(whole), 58).tolist()]:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        first, second = fresh(), fresh()
        results.append([shuffled(first), hits(first), shuffled(second), hits(second)])
    answer(results=results, files=len(files()))
    """
    answers = run(program, copied)
    assert answers["results"] == [[SHUFFLED, 0, SHUFFLED, 1]] * 60  # compiled anew, then found again
    assert answers["files"] == 1


def test_broken_files_are_replaced(copied):
    program = """
    import hashlib, pickle
    (file,) = files()
    whole = file.read_bytes()
    sealed = lambda body: body + hashlib.sha256(body).digest()
    named = lambda body: body + hashlib.sha256(file.name.encode() + body).digest()
    broken = {
        "empty": b"", "one byte": b"\\x80", "half": whole[:len(whole) // 2], "no last byte": whole[:-1],
        "one more byte": whole + b"\\0", "zeros": bytes(len(whole)), "noise": np.random.default_rng(0).bytes(5000),
        "seal only": hashlib.sha256(b"").digest(), "sealed noise": sealed(b"\\x93noise"),
        "sealed number": sealed(pickle.dumps(5)), "sealed list": sealed(pickle.dumps([1, 2])),
        "noise, sealed for this file": named(b"\\x93noise"), "nothing, sealed for this file": named(b""),
        "number, sealed for this file": named(pickle.dumps(5)),
        "list, sealed for this file": named(pickle.dumps([[], {}, None])),
        "text, sealed for this file": named(pickle.dumps("abc")),
    }
    results = {}
    for name, content in broken.items():
        file.write_bytes(content)
        first, second = fresh(), fresh()
        results[name] = [shuffled(first), hits(first), shuffled(second), hits(second)]
    answer(**results)
    """
    results = run(program, copied)
    assert len(results) == 16
    for name, result in results.items():
        assert result == [SHUFFLED, 0, SHUFFLED, 1], name


def test_the_file_of_another_kernel_is_not_taken(copied):
    """Whole and sealed, but under the name of this kernel: machine code for other arguments."""
    program = """
    from fastbp.kernels import stages
    (file,) = files()
    stages.output_delta(*np.zeros((2, 1, 1)), 2, 0, np.zeros((1, 1)))
    (other,) = set(files()) - {file}
    file.write_bytes(other.read_bytes())
    kernel = fresh()
    answer(order=shuffled(kernel), hits=hits(kernel))
    """
    assert run(program, copied) == {"order": SHUFFLED, "hits": 0}


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A cache directory with the machine code of three kernels, two of them in both precisions."""
    folder = tmp_path_factory.mktemp("several")
    assert run(SEVERAL, folder) == {"results": [SHUFFLED, *UPDATED, *UPDATED], "hits": 0}
    return folder


@pytest.mark.parametrize("damage", ["emptied", "truncated", "noise", "each is another's", "gone", "folders"])
def test_every_file_damaged(several, tmp_path, damage):
    cache = Path(shutil.copytree(several, tmp_path / "cache"))
    files = sorted(path for path in cache.rglob("*") if path.is_file())
    assert len(files) == 5
    contents = [path.read_bytes() for path in files]
    for number, path in enumerate(files):
        path.unlink()
        if damage == "folders":
            path.mkdir()
        elif damage != "gone":
            path.write_bytes(
                {
                    "emptied": b"",
                    "truncated": contents[number][: len(contents[number]) * (number + 1) // 6],
                    "noise": np.random.default_rng(number).bytes(len(contents[number])),
                    "each is another's": contents[number - 1],
                }[damage]
            )
    expected = [SHUFFLED, *UPDATED, *UPDATED]
    assert run(SEVERAL, cache) == {"results": expected, "hits": 0}
    assert run(SEVERAL, cache) == {"results": expected, "hits": 0 if damage == "folders" else 5}
    assert [path.name for path in sorted(cache.rglob("*.kernel*"))] == [path.name for path in files]


# --- no place to keep it ----------------------------------------------------------------------------------------------


def test_without_a_writable_place_kernels_live_in_memory(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    nowhere = {"order": SHUFFLED, "hits": 0, "folder": None}
    assert run(SHUFFLE, blocked) == nowhere
    assert run(SHUFFLE, blocked / "below") == nowhere
    homes = {"HOME": str(blocked), "XDG_CACHE_HOME": str(blocked), "LOCALAPPDATA": str(blocked)}
    assert run(SHUFFLE, None, **homes) == nowhere
    assert blocked.read_text() == "not a folder"


def test_a_cache_that_can_only_be_read_is_read(copied, bound):
    for path in (copied, *copied.rglob("*")):
        path.chmod(0o500 if path.is_dir() else 0o400)
    again = run(SHUFFLE, copied, preexec=bound)
    assert (again["order"], again["hits"]) == (SHUFFLED, 1)
    assert len([path for path in copied.rglob("*") if path.is_file()]) == 1
    assert run(SEVERAL, copied, preexec=bound) == {"results": [SHUFFLED, *UPDATED, *UPDATED], "hits": 1}
    assert len([path for path in copied.rglob("*") if path.is_file()]) == 1


def test_an_empty_folder_that_can_only_be_read(tmp_path, bound):
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o500)
    assert run(SHUFFLE, cache, preexec=bound) == {"order": SHUFFLED, "hits": 0, "folder": None}
    assert list(cache.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows knows users by other means")
def test_without_a_home_nothing_is_littered(tmp_path):
    """No HOME, and a user whom the system does not know, as in containers."""
    program = NO_HOME + f"    os.chdir({str(tmp_path)!r})" + SHUFFLE
    assert run(program, None) == {"order": SHUFFLED, "hits": 0, "folder": None}
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_does_not_exist_is_made(tmp_path):
    homes = {"HOME": str(tmp_path / "me"), "XDG_CACHE_HOME": "", "LOCALAPPDATA": str(tmp_path / "me")}
    first, second = run(SHUFFLE, None, **homes), run(SHUFFLE, None, **homes)
    assert (first["order"], first["hits"], second["order"], second["hits"]) == (SHUFFLED, 0, SHUFFLED, 1)
    assert Path(second["folder"]).is_relative_to(tmp_path)


def test_a_cache_that_vanishes_under_way_does_no_harm(copied):
    program = """
    import shutil
    root = Path(os.environ["FASTBP_CACHE_DIR"])
    first = fresh()
    results = [shuffled(first)]
    shutil.rmtree(root)
    results.append(shuffled(fresh()))
    root.write_text("now a file")
    results.append(shuffled(fresh()))
    answer(results=results)
    """
    assert run(program, copied) == {"results": [SHUFFLED] * 3}


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_may_write_to_is_not_used(copied, mode):
    (folder,) = (copied / "kernels").iterdir()
    folder.chmod(mode)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert run(SHUFFLE, copied) == {"order": SHUFFLED, "hits": 0, "folder": None}
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_not_used(copied):
    (folder,) = (copied / "kernels").iterdir()
    os.chown(folder, 12345, -1)
    assert run(SHUFFLE, copied) == {"order": SHUFFLED, "hits": 0, "folder": None}


# --- what is compiled -------------------------------------------------------------------------------------------------


def dispatchers() -> dict[str, Dispatcher]:
    """Every compiled function of the kernels, by module and name."""
    found = {}
    for info in pkgutil.iter_modules(fastbp.kernels.__path__):
        module = importlib.import_module(f"fastbp.kernels.{info.name}")
        for name, value in vars(module).items():
            if isinstance(value, Dispatcher) and value.py_func.__module__ == module.__name__:
                found[f"{info.name}.{name}"] = value
    return found


def test_all_kernels_use_this_cache_and_no_other():
    compiled = dispatchers()
    kept = {name for name, dispatcher in compiled.items() if isinstance(dispatcher._cache, jit.KernelCache)}
    assert {"stages.forward", "fused.run_batches", "order.shuffle", "entries.pack_bytes"} <= kept
    assert all(isinstance(compiled[name]._cache, NullCache) for name in compiled.keys() - kept)


def test_no_kernel_may_fold_away_a_check_for_nan_or_hold_the_gil():
    for name, dispatcher in dispatchers().items():
        assert not dispatcher.targetoptions.get("fastmath"), name
        if isinstance(dispatcher._cache, jit.KernelCache):
            assert dispatcher.targetoptions["nogil"], name


def test_machine_says_what_kernels_are_compiled_for():
    facts = jit.machine()
    assert sorted(facts) == ["cpu", "llvmlite", "numba", "threads", "vector_bits"]
    assert facts["vector_bits"] in (128, 256, 512)
    assert 1 <= facts["threads"] <= os.cpu_count()


def train_a_little(
    sizes, activations, cost, *, layout="sparse", optimizer=0, dtype="float32", frozen=False, kind="uint8", **rule
):
    """Parameters and costs after six batches and an evaluation."""
    rng = np.random.default_rng(sum(sizes))
    network = Network(sizes, activations, cost)
    x = rng.integers(0, 256, (17, sizes[0])).astype(np.uint8)
    x[rng.random(x.shape) < 0.5] = 0
    x = x if kind == "uint8" else x.astype(dtype)
    y = rng.integers(0, sizes[-1], 17).astype(np.int32)
    x.flags.writeable = y.flags.writeable = not frozen
    split = Split(x, y, np.eye(sizes[-1], dtype=dtype))
    settings = Settings(optimizer, **{"batch_size": 6, **rule})
    theta = network.initial_parameters(seed=1, dtype=dtype)
    engine = open_engine(network, theta, split, split, settings, x_scale=1 / 255, engine="fused", input_layout=layout)
    n_batches = -(-34 // settings.batch_size)
    costs = np.empty(n_batches)
    engine.run(np.tile(np.arange(17, dtype=np.uint32), 2), np.linspace(0.5, 0.1, n_batches), costs)
    evaluation = engine.evaluate("test")
    return [*engine.parameters().tolist(), *costs.tolist(), float(evaluation.loss), float(evaluation.accuracy)]


VARIETY = [
    ((3, 4, 2), ("sigmoid", "softmax"), "cross_entropy", {}),
    ((3, 4, 2), ("sigmoid", "softmax"), "cross_entropy", {"layout": "dense", "decay": 0.01}),
    ((3, 5, 4, 2), ("tanh", "relu", "sigmoid"), "binary_cross_entropy", {"optimizer": 1}),
    ((5, 17, 3), ("leaky_relu", "identity"), "squared_error", {"optimizer": 2, "batch_size": 1}),
    ((2, 4), ("tanh",), "mean_squared_error", {"layout": "dense", "batch_size": 34, "update_biases": False}),
    ((3, 4, 2), ("sigmoid", "softmax"), "cross_entropy", {"frozen": True}),
    ((3, 4, 2), ("sigmoid", "softmax"), "cross_entropy", {"frozen": True, "layout": "dense"}),
]


INTERPRETED = [
    *VARIETY[:5],
    ((9, 4, 2), ("sigmoid", "softmax"), "cross_entropy", {"kind": "numbers"}),
    ((40, 4, 2), ("sigmoid", "softmax"), "cross_entropy", {"kind": "numbers", "layout": "auto", "optimizer": 2}),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_compilation_serves_every_network_and_setting(dtype):
    kernels = {
        "run_batches": fused.run_batches,
        "refresh": fused.refresh,
        "count_bytes": entries.count_bytes,
        "pack_bytes": entries.pack_bytes,
    }
    sizes, activations, cost, rule = VARIETY[0]
    train_a_little(sizes, activations, cost, dtype=dtype, **rule)
    before = {name: len(kernel.signatures) for name, kernel in kernels.items()}
    assert min(before.values()) >= 1
    for sizes, activations, cost, rule in VARIETY[1:]:
        train_a_little(sizes, activations, cost, dtype=dtype, **rule)
        assert {name: len(kernel.signatures) for name, kernel in kernels.items()} == before, (sizes, rule)


def test_interpreted_kernels_compute_the_same():
    """Without Numba's compiler the SIMD type is NumPy on slices: the plain meaning of every operation."""
    program = f"""
    import runpy
    tests = runpy.run_path({str(Path(__file__))!r})
    results = [
        tests["train_a_little"](*case[:3], dtype=dtype, **case[3])
        for dtype in ("float32", "float64") for case in tests["INTERPRETED"]
    ]
    answer(results=results, kind=type(tests["fused"].run_batches).__name__)
    """
    interpreted = run(program, None, NUMBA_DISABLE_JIT="1")
    assert interpreted["kind"] == "function"
    compiled = [
        train_a_little(*case[:3], dtype=dtype, **case[3]) for dtype in ("float32", "float64") for case in INTERPRETED
    ]
    for number, (ours, plain) in enumerate(zip(compiled, interpreted["results"], strict=True)):
        tolerance = 1e-5 if number < len(INTERPRETED) else 1e-12
        np.testing.assert_allclose(
            ours, plain, rtol=tolerance, atol=tolerance, err_msg=str(INTERPRETED[number % len(INTERPRETED)])
        )


@pytest.mark.parametrize("setting", [{"NUMBA_OPT": "0"}, {"NUMBA_BOUNDSCHECK": "1"}])
def test_settings_of_the_compiler_are_part_of_the_stamp(filled, setting):
    """Code that was compiled without optimising, say, is not there for processes that want it fast."""
    other = run(SHUFFLE, filled, **setting)
    assert (other["order"], other["hits"]) == (SHUFFLED, 0)
    assert other["folder"] != run(SHUFFLE, filled)["folder"]
    assert run(SHUFFLE, filled)["hits"] == 1
