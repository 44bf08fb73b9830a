"""The arrows of the house, read from the sources: what may import, print, unpickle or grow where."""

from __future__ import annotations

import ast
import re
import socket
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fastbp"

FRONT_DOOR = {
    "__main__",
    "bar",
    "cli",
    "commands",
    "console",
    "doctor",
    "explaining",
    "findings",
    "formulas",
    "interrupts",
    "options",
    "progress",
    "pytest_plugin",
    "report",
    "seeds",
    "sklearn",
    "speed",
}
GROUND_FLOOR = {"activations", "errors", "config", "cores", "gpu", "streams", "files"}
FACE = {"__init__"}  # the lazy names of the package, and its version

# The engines, by the beginnings of their files' names; all other files in kernels/ are shared and know none of them.
ENGINES = {
    "reference": "reference",
    "stages": "stages",
    "stepwise": "stepwise",
    "fused": "fused",
    "cpu": "fused",
    "cuda": "cuda",
}
UNPICKLES = {"kernels/jit.py": "pickle.loads"}  # of files that are sealed and private
MOST_LINES = 450


@cache
def sources() -> dict[str, ast.Module]:
    """Every file of the package by its path, such as kernels/jit.py."""
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 20
    return {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in files}


def module_of(file: str) -> tuple[str, ...]:
    """kernels/jit.py -> (kernels, jit); kernels/__init__.py -> (kernels,)."""
    parts = tuple(file.removesuffix(".py").split("/"))
    return parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts


def imports(file: str) -> Iterator[tuple[str, ...]]:
    """What a file imports, anywhere in it: (fastbp, kernels, jit), (numpy,), (numba, njit), ..."""
    package = ("fastbp", *file.split("/")[:-1])
    for node in ast.walk(sources()[file]):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple((node.module or "").split(".")) if node.module else ()
            for alias in node.names:
                inside = (*base, alias.name)
                yield base if base[0] == "fastbp" and not is_module(inside[1:]) else inside


def is_module(parts: tuple[str, ...]) -> bool:
    path = PACKAGE.joinpath(*parts)
    return path.with_suffix(".py").is_file() or path.is_dir()


def room(module: tuple[str, ...]) -> str:
    """Where a module of the package lives."""
    first = module[0] if module else "__init__"
    if first in FRONT_DOOR:
        return "front door"
    if first in GROUND_FLOOR:
        return "ground floor"
    if first in FACE:
        return "face"
    return "kernels" if first == "kernels" else "pipeline"


MAY_IMPORT = {
    "face": {"pipeline", "kernels", "ground floor"},
    "front door": {"front door", "pipeline", "kernels", "ground floor", "face"},
    "pipeline": {"pipeline", "kernels", "ground floor", "face"},
    "kernels": {"kernels", "ground floor"},
    "ground floor": {"ground floor"},
}

every_file = pytest.mark.parametrize("file", sources())


def files_that_import(*packages: str) -> set[str]:
    return {file for file in sources() for module in imports(file) if module[0] in packages}


def calls(file: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a file with the text of what is called, such as np.load."""
    for node in ast.walk(sources()[file]):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_imports_are_seen():
    """The reader of imports itself: relative and absolute ones, inside functions too."""
    assert ("fastbp", "kernels", "jit") in set(imports("kernels/stages.py"))
    assert ("fastbp", "errors") in set(imports("kernels/jit.py"))
    assert ("fastbp", "kernels", "fused") in set(imports("kernels/cpu.py"))
    assert ("fastbp", "training") in set(imports("__init__.py"))
    assert ("fastbp", "kernels") in set(imports("training.py"))
    assert ("numba", "config") in set(imports("kernels/order.py"))
    assert ("fastbp", "kernels", "order") in set(imports("epochs.py"))


@every_file
def test_imports_only_go_right(file):
    here = room(module_of(file))
    for module in imports(file):
        if module[0] == "fastbp":
            assert room(module[1:]) in MAY_IMPORT[here], f"{file} ({here}) imports {'.'.join(module)}"


def test_numba_stays_in_the_kernels():
    users = files_that_import("numba", "llvmlite")
    assert "kernels/jit.py" in users
    assert [file for file in users if not file.startswith("kernels/")] == []


def test_one_file_imports_cuda():
    """Who provides it will change, and whoever trains on the CPU must not wait for it."""
    users = {file for file in sources() for module in imports(file) if is_cuda(module)}
    assert users == {"kernels/cuda.py"}


def is_cuda(module: tuple[str, ...]) -> bool:
    return module[:2] == ("numba", "cuda") or module[0] in ("numba_cuda", "numba_cuda_mlir", "cuda", "cupy")


def test_the_gpu_is_looked_for_without_importing_anything():
    """A driver and packages that do not go together crash the process; `gpu` has to say so before."""
    assert {module[0] for module in imports("gpu.py")} <= {*sys.stdlib_module_names, "fastbp"}
    assert {module for module in imports("gpu.py") if module[0] == "fastbp"} == {("fastbp", "errors")}


def test_click_and_rich_stay_at_the_front_door():
    users = files_that_import("click", "rich")
    assert {"cli.py", "commands/training.py", "console.py"} <= users
    assert [file for file in users if room(module_of(file)) != "front door"] == []
    assert files_that_import("rich") <= {"console.py", "report.py"}


@every_file
def test_only_the_front_door_prints(file):
    if room(module_of(file)) != "front door":
        found = [node.lineno for name, node in calls(file) if name in ("print", "sys.stdout.write", "sys.stderr.write")]
        assert found == []


def engine_of(name: str) -> str | None:
    """fused_forward -> fused; None for what engines share."""
    return ENGINES.get(name.split("_")[0])


def test_engines_do_not_import_each_other():
    """The steps of an engine may import each other; `kernels/__init__` opens engines and knows all."""
    seen = set()
    for file in sources():
        name = module_of(file)[-1]
        if file.startswith("kernels/") and name != "kernels":
            seen.add(engine_of(name))
            used = {module[2] for module in imports(file) if module[:2] == ("fastbp", "kernels") and len(module) > 2}
            engines = {engine_of(each) for each in used} - {None}
            assert engines <= {engine_of(name)}, f"{file} imports {used}"
    assert seen == {*ENGINES.values(), None}


def test_reference_needs_nothing_but_numpy():
    assert {module[0] for module in imports("kernels/reference.py")} == {"__future__", "typing", "numpy", "fastbp"}
    inside = {module for module in imports("kernels/reference.py") if module[0] == "fastbp"}
    assert inside == {("fastbp", "kernels", "codes")}


@every_file
def test_no_data_can_become_code(file):
    for name, node in calls(file):
        last = name.rsplit(".", 1)[-1]
        assert name not in ("eval", "exec", "compile", "__import__"), f"{file}:{node.lineno} calls {name}"
        if name.startswith(("pickle.", "marshal.", "shelve.", "dill.", "joblib.")):
            assert name == UNPICKLES.get(file), f"{file}:{node.lineno} calls {name}"
        if last in ("load", "read_array"):
            allowed = [word.value for word in node.keywords if word.arg == "allow_pickle"]
            assert all(isinstance(value, ast.Constant) and value.value is False for value in allowed), (
                f"{file}:{node.lineno} allows pickles"
            )
    unpicklers = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
    if file not in UNPICKLES:
        assert not any(module[0] in unpicklers for module in imports(file))


@every_file
def test_files_are_short_and_finished(file):
    text = (PACKAGE / file).read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", text)
    assert text.isascii()


@every_file
def test_every_file_says_what_it_is(file):
    assert len(ast.get_docstring(sources()[file]) or "") > 40


@every_file
def test_no_error_is_swallowed(file):
    """`except:` and `except Exception: pass` hide the bug that the next person looks for."""
    for node in ast.walk(sources()[file]):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            silent = all(isinstance(line, ast.Pass) for line in node.body)
            assert node.type is not None, f"{file}:{node.lineno} catches everything without a name"
            assert not (silent and caught in ("Exception", "BaseException")), f"{file}:{node.lineno} hides {caught}"


def test_tests_cannot_reach_the_network():
    for host in ("192.0.2.1", "2001:db8::1", "example.org"):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as client:
            for call in (client.connect, client.connect_ex):
                with pytest.raises(RuntimeError, match="must not touch the network"):
                    call((host, 80))
        with pytest.raises(RuntimeError, match="must not touch the network"):
            socket.getaddrinfo(host, 80)
    with pytest.raises(RuntimeError, match="must not touch the network"):
        socket.create_connection(("example.org", 80), timeout=1)


def test_tests_can_reach_this_machine():
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(("localhost", server.getsockname()[1]), timeout=5)
        peer, address = server.accept()
        with client, peer:
            assert address == client.getsockname()
