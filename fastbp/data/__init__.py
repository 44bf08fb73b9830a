"""Datasets: by name or from files, checked, as arrays.

What comes in: names and paths. What goes out: a `Dataset`. Importing this package loads neither NumPy nor
Numba; using a name of it loads NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .dataset import Dataset
    from .loading import load_dataset

__all__ = ["Dataset", "load_dataset"]


def __getattr__(name: str) -> Any:
    if name == "load_dataset":
        from .loading import load_dataset

        return load_dataset
    if name == "Dataset":
        from .dataset import Dataset

        return Dataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
