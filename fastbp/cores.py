"""How many cores there are to use, and how many a caller asks for."""

from __future__ import annotations

import os

from .errors import UsageError

__all__ = ["checked_threads", "usable_cores"]


def usable_cores() -> int:
    """Hardware threads that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def checked_threads(threads: int) -> int:
    """threads; UsageError where it is no whole number from 1."""
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise UsageError(f"threads must be at least 1, got {threads!r}")
    return threads
