"""One process compiles a kernel; others that need it at that moment wait, and load what it has kept.

Sixteen processes that start together with an empty cache would compile everything sixteen times. So whoever is about
to compile locks a file beside the one that the kernel will have. The lock is the system's: it ends with its process,
in whatever way that ends. Nothing depends on it but time: where files cannot be locked, and where another process
takes longer than PATIENCE, a kernel is compiled all the same.

A process holds one lock at a time, so that none waits for one that waits for it, and holds none outside of
`together`: what breaks off a compilation leaves that block, too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

from ..files import try_lock

__all__ = ["end_turn", "take_turn", "together"]

PATIENCE = 60.0  # seconds to wait for others, in one block
BETWEEN_LOOKS = 0.05


class _Turn(threading.local):
    """What this thread holds."""

    depth = 0  # blocks that it is in
    lock: tuple[Path, int] | None = None  # and the descriptor of the file
    patience = 0.0


_turn = _Turn()


@contextmanager
def together() -> Iterator[None]:
    """A block in which kernels are compiled, and in which others may be waited for."""
    _turn.depth += 1
    if _turn.depth == 1:
        _turn.patience = PATIENCE
    try:
        yield
    finally:
        _turn.depth -= 1
        if _turn.depth == 0:
            end_turn()


def take_turn(path: Path) -> bool:
    """Before compiling what will be kept at `path`: wait for others that do. True where it should be looked for again.

    Not outside of `together`, and not where files cannot be locked.
    """
    if _turn.depth == 0:
        return False
    end_turn()
    begun = monotonic()
    while monotonic() - begun <= _turn.patience:
        descriptor = -1
        try:
            descriptor = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
            if try_lock(descriptor):
                _turn.lock = path, descriptor
                return True
            os.close(descriptor)
        except OSError:
            if descriptor >= 0:
                os.close(descriptor)
            return False
        sleep(BETWEEN_LOOKS)
    _turn.patience = 0.0
    return False


def end_turn() -> None:
    """What was compiled is kept, or will not be: let others go on."""
    held, _turn.lock = _turn.lock, None
    if held is not None:
        path, descriptor = held
        os.close(descriptor)
        with suppress(OSError):  # another process may have opened it, or have removed it
            _lock_of(path).unlink()


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")
