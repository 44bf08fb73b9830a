"""ALL compile options."""

from __future__ import annotations

from typing import Any

from numba import njit

__all__ = ["kernel", "inlined"]


def kernel(function: Any) -> Any:
    """Compile an entry point, cached on disk."""
    return njit(nogil=True, error_model="numpy", cache=True)(function)


def inlined(function: Any) -> Any:
    """A helper that is compiled into its callers."""
    return njit(error_model="numpy", inline="never")(function)
