"""`fastbp doctor`: what it finds on a healthy machine and on broken ones, in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastbp import doctor, gpu, installation, selftest
from fastbp.doctor import NOTE, OK, PROBLEM, Finding, doctor_facts, examine, show_findings
from fastbp.gpu import Device, Report
from fastbp.kernels.jit import stamp

ROOT = Path(__file__).resolve().parent.parent
TRIALS = [f"self-test: {name}" for name in ("engines", "same seed", "threads", "model file")]
PATIENCE = 180  # seconds: kernels may have to be compiled


def start(folder, *options: str, bound: Any = None, **settings: str | None) -> subprocess.CompletedProcess[str]:
    """`fastbp doctor` in an empty folder; a setting None is no variable at all."""
    environment: dict[str, str | None] = dict(os.environ)
    for name in [name for name in environment if name.startswith(("FASTBP_", "NUMBA_"))]:
        if name != "FASTBP_CACHE_DIR":
            del environment[name]
    environment |= {"PYTHONPATH": str(ROOT), **settings}
    here = folder / "here"
    here.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "fastbp", "doctor", *options],
        env={name: value for name, value in environment.items() if value is not None},
        cwd=here, capture_output=True, text=True, timeout=PATIENCE, check=False,
        preexec_fn=bound,
    )  # fmt: skip


def examined(folder, **settings) -> tuple[int, dict[str, Finding]]:
    """The exit code, and the findings by their subject; nothing but JSON is said."""
    process = start(folder, "--json", "--quiet", **settings)
    assert process.stderr == ""
    answer = json.loads(process.stdout)
    findings = [Finding(**row) for row in answer["findings"]]
    assert answer["healthy"] == all(finding.state != PROBLEM for finding in findings) == (process.returncode == 0)
    assert process.returncode in (0, 1)
    assert all(finding.advice for finding in findings if finding.state == PROBLEM)
    return process.returncode, {finding.subject: finding for finding in findings}


def found(part) -> dict[str, Finding]:
    return {finding.subject: finding for finding in part()}


# --- a healthy machine ------------------------------------------------------------------------------------------------


def test_a_healthy_machine(own_cache, tmp_path):
    before = sorted(own_cache.iterdir())
    process = start(tmp_path)
    assert (process.returncode, process.stdout.splitlines()[-1][:7]) == (0, "healthy")
    states = {line.split()[0] for line in process.stdout.splitlines()[:-2] if not line.startswith(" ")}
    assert states <= {OK, NOTE}
    for subject in (*TRIALS, "python", "numpy", "llvmlite", "vectors", "threads", "cache privacy", "datasets", "gpu"):
        assert f"  {subject} " in process.stdout
    assert max(map(len, process.stdout.splitlines())) <= 100 or str(own_cache) in process.stdout
    assert sorted(own_cache.iterdir()) == before
    assert list((tmp_path / "here").iterdir()) == []


def test_as_json(own_cache, tmp_path):
    code, findings = examined(tmp_path)
    assert code == 0
    assert [findings[name].state for name in TRIALS] == [OK] * 4
    assert findings["numpy"].detail == np.__version__
    assert findings["cache"].detail.startswith(str(own_cache))


def test_nothing_is_written_but_to_the_cache(tmp_path):
    home, cache, temporary = (tmp_path / name for name in ("home", "cache", "temporary"))
    for folder in (home, temporary):
        folder.mkdir()
    places = {"HOME": home, "FASTBP_CACHE_DIR": cache, "TMPDIR": temporary, "XDG_CACHE_HOME": None}
    settings = {name: None if path is None else str(path) for name, path in places.items()}
    examined(tmp_path, NUMBA_DISABLE_JIT="1", **settings)
    assert list(home.iterdir()) == list(temporary.iterdir()) == []
    assert [path for path in cache.rglob("*") if path.is_file()] == []


# --- broken ones ------------------------------------------------------------------------------------------------------

# Where nothing can be kept, kernels would be compiled in each of these tests; interpreted ones do for the rest of them.
INTERPRETED = {"NUMBA_DISABLE_JIT": "1"}


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_cache_directory_that_cannot_be_one(tmp_path, below):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    code, findings = examined(tmp_path, FASTBP_CACHE_DIR=str(blocked / below), **INTERPRETED)
    assert code == 1
    assert (findings["cache"].state, "FASTBP_CACHE_DIR" in findings["cache"].advice) == (PROBLEM, True)
    assert str(blocked) in findings["cache"].detail
    assert [findings[name].state for name in TRIALS] == [OK] * 4
    assert "kernels" not in findings
    assert "datasets" not in findings


def test_a_home_that_is_not_there(tmp_path):
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    homes = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"), str(nowhere / "me"))
    code, findings = examined(tmp_path, FASTBP_CACHE_DIR=None, **homes, **INTERPRETED)
    assert (code, findings["cache"].state) == (1, PROBLEM)
    assert [findings[name].state for name in TRIALS] == [OK] * 4


def test_no_home_at_all(tmp_path):
    settings = {"HOME": None, "FASTBP_CACHE_DIR": None, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    _, findings = examined(tmp_path, **settings, **INTERPRETED)
    assert findings["cache"].state == OK
    assert findings["cache"].detail.startswith(str(tmp_path / "cache"))


def test_an_empty_cache_that_cannot_be_written(tmp_path, bound):
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o500)
    code, findings = examined(tmp_path, FASTBP_CACHE_DIR=str(cache), bound=bound, **INTERPRETED)
    assert code == 1
    assert findings["cache"].state == OK
    assert findings["cache writing"].state == PROBLEM
    assert "Permission denied" in findings["cache writing"].detail
    assert findings["kernels"].state == NOTE


def test_a_cache_with_kernels_that_cannot_be_written(tmp_path, bound, shared_cache):
    cache = tmp_path / "cache"
    shutil.copytree(next(shared_cache.glob(f"kernels/{stamp()}")), cache / "kernels" / stamp())
    (cache / "kernels" / stamp()).chmod(0o500)
    cache.chmod(0o500)
    code, findings = examined(tmp_path, FASTBP_CACHE_DIR=str(cache), bound=bound)
    assert (code, findings["cache writing"].state, findings["kernels"].state) == (0, NOTE, OK)


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_cache_that_others_may_write_to(tmp_path):
    cache = tmp_path / "cache"
    examined(tmp_path, FASTBP_CACHE_DIR=str(cache), **INTERPRETED)
    (stamp,) = (cache / "kernels").iterdir()
    stamp.chmod(0o777)
    cache.chmod(0o770)
    code, findings = examined(tmp_path, FASTBP_CACHE_DIR=str(cache), **INTERPRETED)
    assert code == 1
    assert (findings["cache privacy"].state, findings["kernels"].state) == (NOTE, PROBLEM)
    assert f"chmod go-w {stamp}" in findings["kernels"].advice


def test_a_numba_that_cannot_be_imported(tmp_path):
    (tmp_path / "fake" / "numba").mkdir(parents=True)
    (tmp_path / "fake" / "numba" / "__init__.py").write_text("raise ImportError('libLLVM.so cannot be opened')")
    path = os.pathsep.join([str(tmp_path / "fake"), str(ROOT)])
    code, findings = examined(tmp_path, PYTHONPATH=path)
    assert code == 1
    for subject in ("numba", "kernels", "self-test"):
        assert findings[subject].state == PROBLEM
        assert "libLLVM.so cannot be opened" in findings[subject].detail
    assert findings["numpy"].state == OK


# --- the parts --------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache directory; this process has settled for its own kernels already."""
    monkeypatch.setenv("FASTBP_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("fastbp.kernels.jit.cache_folder", lambda: tmp_path / "kernels" / "now")
    monkeypatch.setattr("fastbp.kernels.jit.stamp", lambda: "now")
    (tmp_path / "kernels" / "now").mkdir(parents=True)
    return tmp_path


def test_kernels_are_counted(cache, shared_cache):
    assert found(doctor._kernels)["kernels"].state == NOTE
    whole = next(path for path in (shared_cache / "kernels").rglob("order.shuffle-*.kernel"))
    now = cache / "kernels" / "now"
    (now / whole.name).write_bytes(whole.read_bytes())
    findings = found(doctor._kernels)
    assert (findings["kernels"].state, findings["kernels, stale"].state) == (OK, OK)
    assert findings["kernels"].detail.startswith("1 for this version")
    assert "kernels, cut off" not in findings
    (now / "other.kernel").write_bytes(whole.read_bytes())  # whole, but of another name
    (now / "empty.kernel").write_bytes(b"")
    (now / "half.kernel.0123").write_bytes(b"abc")
    for name in ("old", "older"):
        (cache / "kernels" / name).mkdir()
        (cache / "kernels" / name / "x.kernel").write_bytes(bytes(1500))
    findings = found(doctor._kernels)
    assert findings["kernels"][:3] == ("kernels", NOTE, "2 of 3 are damaged")
    assert findings["kernels, cut off"].detail.startswith("1 files")
    assert findings["kernels, stale"][:3] == ("kernels, stale", NOTE, "2 other versions, 3.0 KB")
    assert "but now" in findings["kernels, stale"].advice


def test_datasets_are_weighed_and_checked(cache):
    assert found(doctor._datasets)["datasets"].detail == "none downloaded; 0 parsed (0 bytes)"
    (cache / "parsed").mkdir()
    (cache / "parsed" / "x.data").write_bytes(bytes(2000))
    (cache / "data" / "mnist").mkdir(parents=True)
    (cache / "data" / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"no picture")
    damaged, others = doctor._datasets()
    assert (damaged.state, damaged.advice) == (NOTE, "run: fastbp data get mnist")
    assert (others.state, others.detail) == (OK, "none downloaded; 1 parsed (2.0 KB)")


@pytest.mark.parametrize(
    ("name", "value", "state", "words"),
    [
        ("NUMBA_DISABLE_JIT", "1", PROBLEM, "not compiled"),
        ("NUMBA_DISABLE_JIT", "0", OK, "off"),
        ("NUMBA_ENABLE_CUDASIM", "1", NOTE, "simulator"),
        ("NUMBA_BOUNDSCHECK", "1", NOTE, "indices"),
        ("NUMBA_OPT", "0", NOTE, "compiled"),
        ("OMP_NUM_THREADS", "4", OK, "threads"),
        ("NO_COLOR", "1", OK, "colours"),
        ("FASTBP_DATA", "/no/such/folder", PROBLEM, "not a folder"),
        ("FASTBP_DEBUG", "1", OK, "traceback"),
        ("FASTBP_CACHE", "x\x1b[2J", NOTE, r"x\x1b[2J is nothing that fastbp reads"),
    ],
)
def test_variables(monkeypatch, name, value, state, words):
    for other in [other for other in os.environ if other.startswith(("FASTBP_", "NUMBA_"))]:
        monkeypatch.delenv(other)
    for other in ("OMP_NUM_THREADS", "NO_COLOR"):
        monkeypatch.delenv(other, raising=False)
    assert list(doctor._environment()) == []
    monkeypatch.setenv(name, value)
    (finding,) = doctor._environment()
    assert finding.state == state
    assert words in finding.detail
    assert (finding.advice is None) == (state == OK)


def test_a_gpu(monkeypatch):
    device = Device("NVIDIA H100", (9, 0), 80 * 2**30, 132)
    monkeypatch.setattr(gpu, "report", lambda: Report("numba-cuda 0.30.4", "13.0", (device,), None))
    (finding,) = doctor._gpu()
    assert finding.state == OK
    assert "NVIDIA H100 (132" in finding.detail
    monkeypatch.setattr(gpu, "report", lambda: Report(None, "12.0", (device,), "the driver is old; update it"))
    (finding,) = doctor._gpu()
    assert (finding.state, finding.advice) == (NOTE, "update it")
    assert finding.detail.endswith("): the driver is old")


def test_packages(monkeypatch):
    versions = {"numpy": "2.4", "numba": "0.9.1", "scipy": "1.10.1", "fastbp": "0.0.1"}
    monkeypatch.setattr(installation, "_version", versions.get)
    asked = ["numpy>=2.0", "numba<0.70,>=0.68.1", "scipy>=1.11; extra == 'lbfgs'"]
    monkeypatch.setattr(installation, "_requirements", lambda: asked)
    findings = found(doctor._packages)
    assert findings["numpy"][1:3] == (OK, "2.4")
    assert findings["numba"][1:] == (
        PROBLEM,
        "0.9.1 is older than 0.68.1",
        "run: pip install --upgrade 'numba>=0.68.1'",
    )
    assert findings["safetensors"][1:] == (PROBLEM, "not installed", "run: pip install --upgrade 'safetensors'")
    assert findings["scipy"][1] == NOTE
    assert findings["onnx"][1:] == (
        NOTE, "not installed, needed only for fastbp export to ONNX", "run: pip install 'fastbp[onnx]'"
    )  # fmt: skip
    assert findings["fastbp"].state == NOTE


def test_extras_are_those_of_the_project():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, (extra, _) in installation.EXTRAS.items():
        if extra is not None:
            assert any(line.startswith(name) for line in extras[extra])


def test_what_breaks_while_it_is_looked_at_is_a_finding(monkeypatch):
    def broken(*_):
        raise RuntimeError("the sky is falling")

    for name in ("_packages", "_processor", "_cache", "_kernels", "_datasets", "_gpu", "_environment", "_self_test"):
        monkeypatch.setattr(doctor, name, broken)
    monkeypatch.setattr(doctor, "machine_facts", broken)
    findings = list(examine())
    assert (doctor_facts(findings)["healthy"], doctor_facts(findings)["machine"]) == (False, None)
    assert [finding.state for finding in findings] == [PROBLEM] * 8
    assert {finding.detail for finding in findings} == {"cannot be looked at: RuntimeError: the sky is falling"}


def test_findings_in_words(capsys):
    show_findings([Finding("a", OK, "fine"), Finding("bc", NOTE, "x " * 80, "mend it"), Finding("d", PROBLEM, "\x1b")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ok       a   fine"
    assert lines[1].startswith("note     bc  x x x")
    assert lines[3] == "             -> mend it"
    assert lines[4] == "problem  d   \\x1b"
    assert lines[-1] == "1 problem"
    assert max(map(len, lines)) <= 100


# --- the self-test finds what it is for -------------------------------------------------------------------------------


def test_wrong_results_are_found(monkeypatch):
    """Planted: a fused engine that is off by a little more than allowed, seeds and threads that change the result."""
    from fastbp import training

    right, count = training.train, 0

    def wrong(data, **settings):
        nonlocal count
        result = right(data, **settings)
        if settings["engine"] == "fused":
            count += 1
            result.model.parameters.flags.writeable = True
            result.model.parameters[0] += 1e-3 * count
        return result

    monkeypatch.setattr(training, "train", wrong)
    assert [trial.passed for trial in selftest.trials()] == [False, False, False, True]
    assert all(trial.advice for trial in selftest.trials() if not trial.passed)


def test_a_model_file_that_comes_back_changed_is_found(monkeypatch):
    changed = SimpleNamespace(outputs=lambda x: np.zeros(3))
    monkeypatch.setattr("fastbp.model.load", lambda path: changed)
    assert [trial.passed for trial in selftest.trials()] == [True, True, True, False]


def test_no_temporary_folder(monkeypatch):
    def none(**_):
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryDirectory", none)
    last = list(selftest.trials())[-1]
    assert (last.passed, "TMPDIR" in last.advice) == (False, True)
