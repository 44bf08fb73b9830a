"""fastbp: backpropagation for small neural networks, compiled, from Python and from the shell.

The public names are listed in `__all__` and are imported when they are first used, so that `import fastbp` is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .activations import CustomActivation
    from .config import Config
    from .data import Dataset, load_dataset
    from .errors import DataError, DivergedError, DownloadError, FastbpError, ModelError, UsageError
    from .exchange import from_sklearn, from_torch, to_sklearn
    from .kernels import forward, gradient, hidden_delta, output_delta, update
    from .many import train_many
    from .model import Model, load
    from .network import Network
    from .onnx_export import to_onnx
    from .pages.model_page import to_page
    from .pages.report_page import to_report
    from .plotting import plot_run
    from .result import TrainingResult
    from .runs.training import resume, train_to
    from .training import train
    from .watching import Callback

__version__ = "0.1.0"

__all__ = [
    "Callback",
    "Config",
    "CustomActivation",
    "DataError",
    "Dataset",
    "DivergedError",
    "DownloadError",
    "FastbpError",
    "Model",
    "ModelError",
    "Network",
    "TrainingResult",
    "UsageError",
    "__version__",
    "forward",
    "from_sklearn",
    "from_torch",
    "gradient",
    "hidden_delta",
    "load",
    "load_dataset",
    "output_delta",
    "plot_run",
    "resume",
    "to_onnx",
    "to_page",
    "to_report",
    "to_sklearn",
    "train",
    "train_many",
    "train_to",
    "update",
]

_HOMES = {
    "activations": ("CustomActivation",),
    "config": ("Config",),
    "data": ("Dataset", "load_dataset"),
    "errors": ("DataError", "DivergedError", "DownloadError", "FastbpError", "ModelError", "UsageError"),
    "exchange": ("from_sklearn", "from_torch", "to_sklearn"),
    "kernels": ("forward", "gradient", "hidden_delta", "output_delta", "update"),
    "many": ("train_many",),
    "model": ("Model", "load"),
    "network": ("Network",),
    "onnx_export": ("to_onnx",),
    "pages.model_page": ("to_page",),
    "plotting": ("plot_run",),
    "pages.report_page": ("to_report",),
    "result": ("TrainingResult",),
    "runs.training": ("resume", "train_to"),
    "training": ("train",),
    "watching": ("Callback",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name on its first use (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
