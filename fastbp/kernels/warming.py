"""Which kernels are ready, which have to be compiled, and getting all of them ready beforehand.

Numba compiles a kernel for the types of its arguments, when it is called with them for the first time; `jit` keeps the
machine code. It notes here what it loads and what it compiles, and calls those who want to know beforehand. Nothing
here imports Numba until a kernel is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from .codes import ADAM, MOMENTUM, SGD
from .protocol import Settings, Split
from .turns import together

__all__ = ["Preparation", "announce_compiling", "before_compiling", "prepared", "warm_up"]

# Seconds of compiling that follow when the first kernel of a module is missing, on a processor of 2023.
EXPECTED_SECONDS = {"fused": 8, "cuda_fused": 5, "stages": 4, "glyphs": 2, "entries": 0, "pixels": 0, "order": 0}


class Preparation(NamedTuple):
    """How a kernel became ready for arguments of some types."""

    kernel: str  # module and name, such as fused.run_batches
    seconds: float  # without those of other kernels that it calls
    from_cache: bool  # loaded, not compiled


prepared: list[Preparation] = []  # in this process, in order
before_compiling: list[Callable[[str], None]] = []  # called with the name of the kernel


@contextmanager
def announce_compiling(tell: Callable[[str], None]) -> Iterator[None]:
    """Call tell(text) before kernels are compiled in this block: at most once, and not for those that take no time.

    What another process compiles at that moment is waited for.

    Examples
    --------
    >>> with announce_compiling(print):
    ...     pass
    """
    said: list[str] = []

    def announce(kernel: str) -> None:
        module = kernel.split(".")[0]
        seconds = EXPECTED_SECONDS.get(module, 5)
        if seconds and not said:
            said.append(kernel)
            what = "the kernel that draws digits" if module == "glyphs" else "kernels"
            tell(f"compiling {what}, about {seconds} s, once")

    before_compiling.append(announce)
    try:
        with together():
            yield
    finally:
        before_compiling.remove(announce)


def warm_up(tell: Callable[[str], None] | None = None) -> list[Preparation]:
    """Compile, or load, every kernel that training needs: both precisions, all forms of input, all engines.

    Parameters
    ----------
    tell : callable, optional
        called with the name of each kernel that is about to be compiled

    Returns
    -------
    list of Preparation
        one per kernel and types, in order; what this process had ready before is not among them
    """
    from .order import shuffle

    first = len(prepared)
    if tell is not None:
        before_compiling.append(tell)
    try:
        with together():
            shuffle(np.empty(1, np.uint32), np.uint64(0))
            _draw_nothing()
            for dtype, engine in product((np.float32, np.float64), ("fused", "stages")):
                for kind, optimizer in product((np.uint8, dtype), (SGD, MOMENTUM, ADAM)):
                    _train_a_little(_Network(), engine, dtype, kind, optimizer)
                if engine == "stages":
                    _train_a_little(_MaxoutNetwork(), engine, dtype, dtype, SGD)
    finally:
        if tell is not None:
            before_compiling.remove(tell)
    return prepared[first:]


def _draw_nothing() -> None:
    """No digits at all, by the kernel that draws the built-in ones."""
    from .glyphs import BOX, IMAGE, Hand, Skeletons, Workspace, draw

    number, numbers = np.zeros(1, np.int64), np.zeros(1)
    skeletons = Skeletons(np.zeros((1, 2)), np.zeros(1, np.uint8), number, number, numbers, numbers)
    workspace = Workspace(np.zeros((1, 3)), np.zeros((1, 4)), np.zeros((BOX, BOX)))
    images = np.zeros((0, IMAGE, IMAGE), np.uint8)
    draw(np.uint64(0), 0, skeletons, Hand(*[0.0] * len(Hand._fields)), workspace, images, np.zeros(0, np.uint8))


class _Network(NamedTuple):
    """As much of a network as engines ask for; a `fastbp.Network` checks its values, and kernels do not import it."""

    sizes: tuple[int, ...] = (2, 2, 2)
    activations: tuple[str, ...] = ("sigmoid", "softmax")
    cost: str = "cross_entropy"

    def layers_of(self, theta: Any) -> list[tuple[Any, Any]]:
        return [(theta[at : at + 4].reshape(2, 2), theta[at + 4 : at + 6]) for at in (0, 6)]


class _MaxoutNetwork(NamedTuple):
    """One with two pieces in each hidden unit, which only the stages can train."""

    sizes: tuple[int, ...] = (2, 2, 2)
    activations: tuple[str, ...] = ("maxout", "softmax")
    cost: str = "cross_entropy"

    def layers_of(self, theta: Any) -> list[tuple[Any, Any]]:
        return [(theta[:8].reshape(2, 4), theta[8:12]), (theta[12:16].reshape(2, 2), theta[16:18])]


def _train_a_little(network: Any, engine: str, dtype: Any, kind: Any, optimizer: int) -> None:
    from . import open_engine

    split = Split(np.eye(2, dtype=kind), np.arange(2, dtype=np.int32), np.eye(2, dtype=dtype))
    layout = "sparse" if kind == np.uint8 and engine == "fused" else "auto"
    run = open_engine(
        network,
        np.zeros(18 if "maxout" in network.activations else 12, dtype),
        split,
        split,
        Settings(optimizer, 1),
        engine=engine,
        input_layout=layout,
    )
    run.run(np.arange(2, dtype=np.uint32), np.zeros(2), np.empty(2))
    run.evaluate("test")
