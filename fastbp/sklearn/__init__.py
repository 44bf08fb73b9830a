"""scikit-learn estimators that are trained by the compiled engines of fastbp.

    from fastbp.sklearn import MLPClassifier, MLPRegressor

stand in for `sklearn.neural_network.MLPClassifier` and `MLPRegressor`: the same parameters, attributes and random
numbers, so that the same `random_state` gives the same network. They need `pip install 'fastbp[sklearn]'`, which is
imported when one of the two names is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import FastbpError

if TYPE_CHECKING:
    from .classifier import MLPClassifier
    from .regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]

_HOMES = {"MLPClassifier": "classifier", "MLPRegressor": "regressor"}


def __getattr__(name: str) -> Any:
    """Import an estimator on its first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f".{_HOMES[name]}", __name__)
    except ImportError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in ("sklearn", "scipy"):
            raise
        raise FastbpError(
            "fastbp.sklearn needs scikit-learn 1.7 or newer, which is not installed; pip install 'fastbp[sklearn]'"
        ) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
