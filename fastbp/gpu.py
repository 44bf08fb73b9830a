"""What GPU there is, and in one sentence what is missing.

Nothing comes in, a `Report` goes out. The NVIDIA driver is asked directly, through ctypes, and packages by their
metadata: no CUDA package is imported, so nothing can crash that is too old or too new for the driver. Asking takes some
milliseconds where there is no driver. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Any, NamedTuple

from .errors import FastbpError

__all__ = ["Device", "Report", "report", "require"]

PROVIDER = (
    "numba-cuda"  # the package that brings `numba.cuda`; what Numba has built in crashes with drivers from 580 on
)
COMPILERS = ("nvidia-nvvm", "nvidia-cuda-nvcc-cu12")  # the driver must know the CUDA version that these write code for
OLDEST_CUDA = (12, 0)
OLDEST_CAPABILITY = {12: (5, 0), 13: (7, 5)}  # the oldest devices that a compiler of CUDA 12 or 13 knows
LIBRARIES = {"win32": ("nvcuda.dll",)}
LIBRARIES_ELSEWHERE = ("libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1")

# of the driver's cuda.h
NO_DEVICE = 100
MULTIPROCESSORS, CAPABILITY_MAJOR, CAPABILITY_MINOR = 16, 75, 76

Version = tuple[int, int]


class Device(NamedTuple):
    """One GPU."""

    name: str
    capability: Version  # such as (9, 0)
    memory: int  # bytes
    multiprocessors: int

    def __str__(self) -> str:
        return (
            f"{self.name} ({self.multiprocessors} multiprocessors, {self.memory / 2**30:.0f} GiB, "
            f"compute capability {_dotted(self.capability)})"
        )


class Report(NamedTuple):
    """What is there for device cuda."""

    provider: str | None  # package and version, or the simulator; None: not installed
    driver: str | None  # the newest CUDA version that the driver knows, such as 13.0; None: no driver
    devices: tuple[Device, ...]  # the first one is used
    problem: str | None  # why device cuda cannot be used, and what to do; None: it can


class _DriverError(Exception):
    """A call of the driver that failed, by its number in cuda.h."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"{call} failed with error {code}")
        self.code = code


def report(load: Callable[[str], Any] | None = None) -> Report:
    """Look for a driver, devices and the package that compiles for them.

    With NUMBA_ENABLE_CUDASIM=1 Numba's simulator takes the place of them all: for tests of kernels, and slow.

    Parameters
    ----------
    load : callable, optional
        opens a shared library by its name, OSError where there is none; by default ctypes does

    Examples
    --------
    >>> def no_library(name):
    ...     raise OSError(name)
    >>> report(no_library).problem
    'device cuda needs a GPU and its driver from NVIDIA, and there is no such driver here; use device cpu'
    """
    if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0"):
        return Report("Numba's simulator", None, (), None)
    version = _installed(PROVIDER)
    provider = None if version is None else f"{PROVIDER} {version}"
    library = _opened(load or ctypes.CDLL)
    if library is None:
        why = "device cuda needs a GPU and its driver from NVIDIA, and there is no such driver here; use device cpu"
        return Report(provider, None, (), why)
    driver, devices, trouble = _asked(library)
    needed = _needed()
    if trouble is not None:
        why = f"device cuda cannot be used, because the NVIDIA driver does not start ({trouble}); use device cpu"
    elif not devices:
        why = "device cuda needs a GPU from NVIDIA, and the driver finds none; use device cpu"
    elif provider is None:
        why = f"device cuda needs the package {PROVIDER}; run: pip install 'fastbp[cuda]'"
    elif driver < needed:
        why = (
            f"device cuda needs an NVIDIA driver for CUDA {_dotted(needed)} or newer, and the one here is for CUDA "
            f"{_dotted(driver)}; update the driver, or use device cpu"
        )
    elif devices[0].capability < (oldest := OLDEST_CAPABILITY.get(needed[0], (0, 0))):
        why = (
            f"device cuda needs a GPU of compute capability {_dotted(oldest)} or more, and {devices[0].name} has "
            f"{_dotted(devices[0].capability)}; use device cpu"
        )
    else:
        return Report(provider, _dotted(driver), devices, None)
    return Report(provider, _dotted(driver), devices, why)


def require() -> None:
    """Raise FastbpError where device cuda cannot be used; it says why, and what to do."""
    problem = report().problem
    if problem is not None:
        raise FastbpError(problem)


def _asked(library: Any) -> tuple[Version, tuple[Device, ...], str | None]:
    """The CUDA version that the driver knows, its devices, and what went wrong, in words."""
    driver = (0, 0)
    try:
        version = _number(library, "cuDriverGetVersion")
        driver = version // 1000, version % 1000 // 10
        _call(library, "cuInit", ctypes.c_uint(0))
        return driver, tuple(_device(library, number) for number in range(_number(library, "cuDeviceGetCount"))), None
    except _DriverError as error:
        return driver, (), None if error.code == NO_DEVICE else str(error)


def _device(library: Any, number: int) -> Device:
    handle = ctypes.c_int()
    _call(library, "cuDeviceGet", ctypes.byref(handle), ctypes.c_int(number))
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    _call(library, "cuDeviceGetName", name, ctypes.c_int(len(name)), handle)
    _call(library, "cuDeviceTotalMem_v2", ctypes.byref(memory), handle)

    def attribute(which: int) -> int:
        return _number(library, "cuDeviceGetAttribute", ctypes.c_int(which), handle)

    return Device(
        name=name.value.decode(errors="replace"),
        capability=(attribute(CAPABILITY_MAJOR), attribute(CAPABILITY_MINOR)),
        memory=memory.value,
        multiprocessors=attribute(MULTIPROCESSORS),
    )


def _number(library: Any, name: str, *arguments: Any) -> int:
    """What a function of the driver writes to its first argument, an int."""
    value = ctypes.c_int()
    _call(library, name, ctypes.byref(value), *arguments)
    return value.value


def _call(library: Any, name: str, *arguments: Any) -> None:
    """Call a function of the driver; _DriverError where it fails, or where the library has none of this name."""
    function = getattr(library, name, None)
    code = -1 if function is None else function(*arguments)
    if code != 0:
        raise _DriverError(name, code)


def _opened(load: Callable[[str], Any]) -> Any:
    """The driver's library; None without one."""
    for name in LIBRARIES.get(sys.platform, LIBRARIES_ELSEWHERE):
        try:
            return load(name)
        except OSError:
            continue
    return None


def _needed() -> Version:
    """The oldest CUDA version that the driver must know: the one that the installed compiler writes code for."""
    for package in COMPILERS:
        version = _installed(package)
        if version is not None:
            major, minor = version.split(".")[:2]
            return max(OLDEST_CUDA, (int(major), int(minor)))
    return OLDEST_CUDA


def _installed(package: str) -> str | None:
    """The version of an installed package; None without it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _dotted(version: Version) -> str:
    return f"{version[0]}.{version[1]}"
