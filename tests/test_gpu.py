"""What GPU there is, told by a driver that is made up here."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from importlib import metadata
from typing import Any

import pytest

from fastbp import FastbpError, gpu


class Driver:
    """The functions of libcuda that are asked, with what they answer."""

    def __init__(self, version: int = 13000, init: int = 0, capability: tuple[int, int] = (9, 0), n: int = 2) -> None:
        self.version, self.init, self.capability, self.n = version, init, capability, n
        self.calls: list[str] = []

    def cuDriverGetVersion(self, out: Any) -> int:  # noqa: N802  as NVIDIA names them
        return self._put(out, self.version)

    def cuInit(self, flags: Any) -> int:  # noqa: N802
        assert flags.value == 0
        return self.init

    def cuDeviceGetCount(self, out: Any) -> int:  # noqa: N802
        return self._put(out, self.n)

    def cuDeviceGet(self, out: Any, number: Any) -> int:  # noqa: N802
        return self._put(out, 70 + number.value)

    def cuDeviceGetName(self, out: Any, size: Any, device: Any) -> int:  # noqa: N802
        assert len(out) == size.value
        out.value = f"Device {device.value}".encode()
        return 0

    def cuDeviceTotalMem_v2(self, out: Any, device: Any) -> int:  # noqa: N802
        assert device.value >= 70
        return self._put(out, 80 * 2**30)

    def cuDeviceGetAttribute(self, out: Any, which: Any, device: Any) -> int:  # noqa: N802
        assert device.value >= 70
        return self._put(out, {16: 132, 75: self.capability[0], 76: self.capability[1]}[which.value])

    def _put(self, out: Any, value: int) -> int:
        out._obj.value = value
        return 0


@pytest.fixture(autouse=True)
def packages(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is installed, as far as `gpu` can see; no simulator."""
    installed = {"numba-cuda": "0.30.4", "nvidia-nvvm": "13.0.88"}

    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    return installed


def report(driver: Driver) -> gpu.Report:
    return gpu.report(lambda name: driver)


def test_all_is_there() -> None:
    found = report(Driver())
    assert found.problem is None
    assert (found.provider, found.driver) == ("numba-cuda 0.30.4", "13.0")
    assert [device.name for device in found.devices] == ["Device 70", "Device 71"]
    assert str(found.devices[0]) == "Device 70 (132 multiprocessors, 80 GiB, compute capability 9.0)"


@pytest.mark.parametrize(
    ("driver", "changes", "words"),
    [
        (Driver(n=0), {}, "needs a GPU from NVIDIA, and the driver finds none; use device cpu"),
        (Driver(init=100), {}, "needs a GPU from NVIDIA, and the driver finds none; use device cpu"),
        (Driver(init=999), {}, r"driver does not start \(cuInit failed with error 999\); use device cpu"),
        (Driver(), {"numba-cuda": None}, r"needs the package numba-cuda; run: pip install 'fastbp\[cuda\]'"),
        (Driver(12040), {}, "for CUDA 13.0 or newer, and the one here is for CUDA 12.4; update the driver"),
        (Driver(13000), {"nvidia-nvvm": "13.4.1"}, "for CUDA 13.4 or newer, and the one here is for CUDA 13.0"),
        (Driver(11080), {"nvidia-nvvm": None}, "for CUDA 12.0 or newer, and the one here is for CUDA 11.8"),
        (Driver(capability=(7, 0)), {}, "compute capability 7.5 or more, and Device 70 has 7.0; use device cpu"),
    ],
)
def test_what_is_missing(packages: dict[str, str], driver: Driver, changes: dict[str, Any], words: str) -> None:
    packages.update(changes)
    for name in [name for name, version in packages.items() if version is None]:
        del packages[name]
    found = report(driver)
    assert found.problem is not None
    assert found.problem.startswith("device cuda ")
    assert re.search(words, found.problem)


def test_older_compilers_need_less(packages: dict[str, str]) -> None:
    del packages["nvidia-nvvm"]
    packages["nvidia-cuda-nvcc-cu12"] = "12.4.131"
    assert report(Driver(12040)).problem is None
    assert report(Driver(12040, capability=(6, 1))).problem is None
    assert "CUDA 12.4 or newer" in (report(Driver(12020)).problem or "")


def test_no_driver(packages: dict[str, str]) -> None:
    asked: list[str] = []

    def load(name: str) -> Any:
        asked.append(name)
        raise OSError(name)

    found = gpu.report(load)
    assert "there is no such driver here" in (found.problem or "")
    assert (found.provider, found.driver, found.devices) == ("numba-cuda 0.30.4", None, ())
    assert all("cuda" in name for name in asked)


def test_a_library_that_lacks_functions_is_no_crash() -> None:
    """A stub, or something else of that name."""
    found = gpu.report(lambda name: object())
    assert "cuDriverGetVersion failed with error -1" in (found.problem or "")
    assert found.devices == ()


def test_real_ctypes_can_be_asked() -> None:
    """The C library has none of the functions, and ctypes says so in its own way."""
    if os.name != "posix":
        pytest.skip("there is no C library under a known name")
    assert "error -1" in (gpu.report(lambda name: ctypes.CDLL(None)).problem or "")


@pytest.mark.parametrize(("value", "simulated"), [("1", True), ("0", False), ("", False)])
def test_the_simulator_needs_nothing(monkeypatch: pytest.MonkeyPatch, value: str, simulated: bool) -> None:
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", value)
    found = report(Driver(n=0))
    assert (found.problem is None) is simulated
    assert ("simulator" in (found.provider or "")) is simulated


def test_require_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "report", lambda: gpu.Report(None, None, (), "device cuda needs a GPU"))
    with pytest.raises(FastbpError, match="device cuda needs a GPU") as caught:
        gpu.require()
    assert caught.value.exit_code == 1
    monkeypatch.setattr(gpu, "report", lambda: gpu.Report("numba-cuda", "13.0", (), None))
    gpu.require()


def test_looking_imports_nothing_and_the_cpu_does_not_look() -> None:
    """In a process of its own: neither Numba nor a CUDA package for a report; no report for training on the CPU."""
    code = """
import sys
from fastbp import gpu
gpu.report()
assert not {"numba", "numpy", "numba_cuda", "cuda"} & set(sys.modules), sorted(sys.modules)
gpu.report = None
import numpy as np, fastbp
fastbp.train((np.eye(2), np.array([0, 1])), layers="", epochs=1)
fastbp.train_many([{"layers": "", "epochs": 1}], (np.eye(2), np.array([0, 1])))
assert not [name for name in sys.modules if name.startswith(("numba.cuda", "numba_cuda", "fastbp.kernels.cuda"))]
assert "fastbp.lockstep" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
