"""What this installation and this machine are: versions, extras, processor, threads, GPU, and where things are kept.

Nothing comes in, plain values go out: `fastbp info`, `fastbp bench` and `fastbp doctor` say the same. What is not
there, or cannot be asked, is a value too and no error.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from . import __version__, gpu
from .errors import FastbpError

__all__ = ["EXTRAS", "Package", "machine_facts", "needed_packages", "package", "probed"]

NEEDED = ("numpy", "numba", "llvmlite", "click", "rich", "safetensors", "platformdirs")
EXTRAS = {  # a package, the extra of fastbp that brings it, and what it is for
    "scipy": ("lbfgs", "--optimizer lbfgs"),
    "scikit-learn": ("sklearn", "fastbp.sklearn"),
    "onnx": ("onnx", "fastbp export to ONNX"),
    "pillow": ("images", "PNG and JPEG pictures"),
    "matplotlib": (None, "plots of your own"),
    "numba-cuda": ("cuda", "--device cuda"),
}
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[^]]*])?[^;]*?>=\s*([\d.]+)")


class Package(NamedTuple):
    """A package that fastbp needs, or can use."""

    name: str
    version: str | None  # None: not installed
    at_least: str | None  # what fastbp asks for; None where nothing is known

    @property
    def too_old(self) -> bool:
        return bool(self.version and self.at_least and _numbers(self.version) < _numbers(self.at_least))


def machine_facts() -> dict[str, Any]:
    """Versions, the processor, and where things are kept."""
    from .files import cache_directory

    try:
        cache: str = str(cache_directory())
    except FastbpError as error:
        cache = str(error)
    machine, trouble = probed()
    graphics = gpu.report()
    return {
        "fastbp": __version__,
        "python": f"{platform.python_version()} ({sys.implementation.name})",
        "numpy": _shown("numpy"),
        "numba": trouble or machine.get("numba") or _shown("numba"),
        "llvmlite": machine.get("llvmlite") or _shown("llvmlite"),
        "system": platform.platform(),
        "cpu": " ".join(filter(None, (_processor(), f"({machine['cpu']})" if "cpu" in machine else None))),
        "vector_bits": machine.get("vector_bits"),
        "threads": machine.get("threads") or os.cpu_count(),
        "gpu": [str(device) for device in graphics.devices] or None,
        "gpu_driver": graphics.driver and f"for CUDA {graphics.driver}",
        "gpu_package": graphics.provider,
        "gpu_problem": graphics.problem,
        "cache": cache,
        "data": os.environ.get("FASTBP_DATA") or None,
    }


def probed() -> tuple[dict[str, Any], str | None]:
    """What kernels are compiled with and for, as `jit.machine` has it; and why that cannot be said, or None."""
    try:
        from .kernels.jit import machine

        return machine(), None
    except Exception as error:  # of Numba, NumPy or LLVM: an installation that is broken raises anything
        return {}, f"cannot be imported: {error or type(error).__name__}"


def needed_packages() -> list[Package]:
    """What fastbp cannot do without."""
    return [package(name) for name in NEEDED]


def package(name: str) -> Package:
    """A package as it is installed, and as fastbp's own metadata ask for it.

    Examples
    --------
    >>> package("numpy").version is None, package("no-such-package").version
    (False, None)
    """
    asked = (_REQUIREMENT.match(text) for text in _requirements())
    return Package(name, _version(name), next((found[2] for found in asked if found and found[1] == name), None))


def _requirements() -> list[str]:
    """Lines such as scipy>=1.11; extra == 'lbfgs'. None where fastbp is used from its sources."""
    try:
        return metadata.requires("fastbp") or []
    except metadata.PackageNotFoundError:
        return []


def _numbers(version: str) -> tuple[int, ...]:
    """0.68.1rc1 -> (0, 68, 1)"""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _processor() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _shown(name: str) -> str:
    return _version(name) or "not installed"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
