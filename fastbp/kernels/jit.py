"""All compile options and the whole cache policy, in one place.

`kernel` compiles an entry point and keeps its machine code on disk; `inlined` makes a helper that dissolves into its
callers; `passing` is for code of users, which is compiled anew in each process. No fastmath: it would let the compiler
fold away the checks for NaN, and the SIMD type needs no help.

Why not Numba's own `cache=True`? It looks only at the file of the entry point, so an edited helper in another file
leaves stale machine code behind; it dies on a damaged cache file; and it fails at import where the package is
read-only and there is no home directory. `KernelCache` keeps one sealed file per kernel and signature, in a private
directory named after all sources of this folder and the versions of Numba and Python. Whatever goes wrong with a
file, the kernel is compiled again; where nothing can be written, it is compiled in memory.

What is loaded and what is compiled, and how long that took, is noted in `warming`. Of several processes that want the
same kernel at once, one compiles it (`turns`).
"""

from __future__ import annotations

import hashlib
import pickle
import sys
import uuid
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from time import perf_counter
from typing import Any

import llvmlite
import numba
from llvmlite import binding
from numba import config, njit
from numba.core import compiler
from numba.core.caching import CompileResultCacheImpl, _Cache
from numba.core.runtime import rtsys
from numba.core.serialize import dumps
from numba.extending import register_jitable

from ..cores import usable_cores
from ..errors import FastbpError
from ..files import cache_directory, is_private
from .turns import end_turn, take_turn
from .warming import Preparation, before_compiling, prepared

__all__ = ["cache_folder", "inlined", "is_whole", "kernel", "machine", "outlined", "passing", "stamp"]


def kernel(function: Any = None, *, allocates: bool = False) -> Any:
    """Compile an entry point on its first call with each signature; cached on disk, runs without the GIL."""
    if function is None:
        return partial(kernel, allocates=allocates)
    dispatcher = njit(nogil=True, **(_ALL | {"_nrt": allocates}))(function)
    if dispatcher is not function:  # not under NUMBA_DISABLE_JIT=1
        dispatcher._cache = KernelCache(function)
    return dispatcher


def inlined(function: Any) -> Any:
    """A helper that LLVM inlines into every kernel, so that SIMD values stay in registers.

    It stays a plain function in Python, for debugging. Without wrappers for Python and C the epoch's kernel compiles in
    8.8 instead of 9.6 s.
    """
    return register_jitable(forceinline=True, **_HELPER)(function)


def outlined(function: Any) -> Any:
    """A helper that may stay a function of its own: what a hot loop seldom needs would only crowd its registers."""
    return register_jitable(**_HELPER)(function)


def passing(function: Any) -> Any:
    """Compile for this process only: the stamp of the cache does not know what a user's functions are made of."""
    return njit(nogil=True, error_model="numpy")(function)


# Where no array is made, references need not be counted: atomic counters would cost 0.4 us a batch, and a tenth of the
# time to compile.
_ALL = {"error_model": "numpy", "_nrt": False}
_HELPER = {**_ALL, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def machine() -> dict[str, Any]:
    """What the kernels are compiled with and for: versions, processor, vector width in bits, hardware threads."""
    features = binding.get_host_cpu_features()
    widths = {"avx512f": 512, "avx": 256, "sse2": 128, "neon": 128}
    return {
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "cpu": binding.get_host_cpu_name(),
        "vector_bits": next((bits for name, bits in widths.items() if features.get(name)), 128),
        "threads": usable_cores(),
    }


@cache
def stamp() -> str:
    """A name for all that machine code depends on: the sources of the kernels, Numba and its settings, LLVM, Python."""
    settings = [f"{name}={getattr(config, name, None)}" for name in ("OPT", "BOUNDSCHECK", "DEBUGINFO_DEFAULT")]
    versions = numba.__version__, llvmlite.__version__, sys.version
    digest = hashlib.sha256(" ".join((*versions, *settings)).encode())
    here = Path(__file__).parent
    for source in (*sorted(here.glob("*.py")), here.parent / "streams.py"):
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()[:24]


@cache
def cache_folder() -> Path | None:
    """The private directory of this stamp, or None where there is no place that only we can write.

    The files hold code, so a directory that somebody else owns or may write to is not used.
    """
    try:
        folder = cache_directory() / "kernels" / stamp()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder if is_private(folder) else None
    except (OSError, FastbpError):
        return None


def _seal(path: Path, body: bytes) -> bytes:
    """What a file must end with: its contents are whole, and were written under this name."""
    return hashlib.sha256(path.name.encode() + body).digest()


def is_whole(path: Path) -> bool:
    """True for a file of the cache that is as it was written; OSError where it cannot be read."""
    sealed = path.read_bytes()
    return _seal(path, sealed[:-32]) == sealed[-32:]


class KernelCache(_Cache):
    """One sealed file per signature: the pickled compile result, then the sha256 of its name and itself.

    `dispatcher._cache` is where Numba looks before compiling and stores after it.
    """

    def __init__(self, function: Any) -> None:
        self.name = f"{function.__module__.rsplit('.', 1)[-1]}.{function.__qualname__}"
        self._enabled = True
        self._begun: dict[Any, tuple[float, int]] = {}

    @property
    def cache_path(self) -> str | None:
        return None if (folder := cache_folder()) is None else str(folder)

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def flush(self) -> None:
        """Numba calls this on `recompile()`; a stale file cannot exist here."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compile result for the signature, or None: then Numba compiles."""
        begun = perf_counter()
        found = self._load(sig, target_context)
        if found is None:
            for tell in tuple(before_compiling):
                tell(self.name)
            path = self._path(sig, target_context.codegen())
            if path is not None and take_turn(path):
                found = self._load(sig, target_context)
                if found is not None:
                    end_turn()
        if found is not None:
            prepared.append(Preparation(self.name, perf_counter() - begun, True))
            return found
        self._begun[sig] = begun, len(prepared)
        target_context.refresh()
        return None

    def _load(self, sig: Any, target_context: Any) -> Any:
        # Numba's own caches refresh the context first: that imports 70 modules, which only compiling needs, and takes
        # 110 of the 530 ms of `fastbp train --epochs 0`. Machine code needs the addresses of the runtime, no more.
        rtsys.initialize(target_context)
        path = self._path(sig, target_context.codegen())
        if path is None:
            return None
        try:
            sealed = path.read_bytes()
            body, seal = sealed[:-32], sealed[-32:]
            if _seal(path, body) != seal:
                return None
            return compiler.CompileResult._rebuild(target_context, *pickle.loads(body))
        except FileNotFoundError:
            return None
        except (OSError, pickle.UnpicklingError, EOFError, TypeError, ValueError, AttributeError, ImportError):
            return None  # unreadable or foreign in spite of its seal: compile

    def save_overload(self, sig: Any, cres: Any) -> None:
        """Store a compile result; a place that cannot be written is no error."""
        try:
            self._save(sig, cres)
        finally:
            end_turn()

    def _save(self, sig: Any, cres: Any) -> None:
        begun, position = self._begun.pop(sig)
        inner = sum(each.seconds for each in prepared[position:])  # compiling holds a lock: nobody else's
        prepared.append(Preparation(self.name, perf_counter() - begun - inner, False))
        path = self._path(sig, cres.codegen)
        if path is None or cres.library.has_dynamic_globals or any(not lifted.can_cache for lifted in cres.lifted):
            return
        body = dumps(CompileResultCacheImpl.reduce(None, cres))
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}")
        try:
            temporary.write_bytes(body + _seal(path, body))
            temporary.replace(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink()

    def _path(self, sig: Any, codegen: Any) -> Path | None:
        folder = cache_folder()
        if folder is None or not self._enabled:
            return None
        key = hashlib.sha256(repr((sig, codegen.magic_tuple())).encode()).hexdigest()[:24]
        return folder / f"{self.name}-{key}.kernel"
