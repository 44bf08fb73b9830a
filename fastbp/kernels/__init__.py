"""The engines, and the stages of backpropagation as functions for research code.

    from fastbp.kernels import forward, output_delta, hidden_delta, gradient, update

are the compiled stages of `stages`: for NumPy arrays and inside your own `@njit` code. Codes that name activations and
costs (SIGMOID, CROSS_ENTROPY, ...) are here too. `open_engine` gives a trainer an engine; who reads the code should
begin with `reference`. Numba is imported when the first of these is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import gpu
from ..errors import UsageError
from .codes import (
    ADAM,
    ADAMW,
    BINARY_CROSS_ENTROPY,
    CROSS_ENTROPY,
    EXPONENTIAL,
    IDENTITY,
    LEAKY_RELU,
    MEAN_SQUARED_ERROR,
    MOMENTUM,
    NESTEROV,
    OPTIMIZER,
    PERCEPTRON,
    POISSON,
    RELU,
    RMSPROP,
    SGD,
    SIGMOID,
    SOFTMAX,
    SQUARED_ERROR,
    STEP,
    TANH,
)
from .layers import needs_stages
from .protocol import CsrRows, Engine, Evaluation, Fleet, OptimizerState, Settings, Split
from .warming import Preparation, announce_compiling, warm_up

if TYPE_CHECKING:
    from .stages import (
        adam_update,
        forward,
        gradient,
        hidden_delta,
        loss,
        maxout,
        maxout_delta,
        momentum_update,
        nesterov_update,
        output_delta,
        rmsprop_update,
        update,
    )

__all__ = [
    "ADAM",
    "ADAMW",
    "BINARY_CROSS_ENTROPY",
    "CROSS_ENTROPY",
    "EXPONENTIAL",
    "IDENTITY",
    "LEAKY_RELU",
    "MEAN_SQUARED_ERROR",
    "MOMENTUM",
    "NESTEROV",
    "OPTIMIZER",
    "PERCEPTRON",
    "POISSON",
    "RELU",
    "RMSPROP",
    "SGD",
    "SIGMOID",
    "SOFTMAX",
    "SQUARED_ERROR",
    "STEP",
    "TANH",
    "CsrRows",
    "Engine",
    "Evaluation",
    "Fleet",
    "OptimizerState",
    "Preparation",
    "Settings",
    "Split",
    "adam_update",
    "announce_compiling",
    "check_for_cuda",
    "forward",
    "gradient",
    "hidden_delta",
    "loss",
    "maxout",
    "maxout_delta",
    "momentum_update",
    "needs_stages",
    "nesterov_update",
    "open_engine",
    "open_fleet",
    "output_delta",
    "rmsprop_update",
    "update",
    "warm_up",
]

NOT_ON_CUDA = "device cuda cannot train networks of {}; use device cpu"

_STAGES = (
    "adam_update",
    "forward",
    "gradient",
    "hidden_delta",
    "loss",
    "maxout",
    "maxout_delta",
    "momentum_update",
    "nesterov_update",
    "output_delta",
    "rmsprop_update",
    "update",
)


def __getattr__(name: str) -> Any:
    """Import a compiled stage on its first use (PEP 562)."""
    if name not in _STAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import stages

    globals().update({stage: getattr(stages, stage) for stage in _STAGES})
    return globals()[name]


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))


def open_engine(
    network: Any,
    theta: Any,
    train: Split,
    test: Split,
    settings: Settings,
    *,
    x_scale: float = 1.0,
    classes: bool = True,
    engine: str = "auto",
    device: str = "auto",
    input_layout: str = "auto",
    shared: dict[Any, Any] | None = None,
    threads: int = 1,
) -> Engine:
    """Choose an engine and give it the network and the data.

    Parameters
    ----------
    network : Network
        or anything with its `sizes`, `activations`, `cost` and `layers_of(theta)`; `customs` where it has them
    theta : (n_parameters,) float32 or float64
        start weights, copied; their dtype is the precision of the run
    train, test : Split
        samples and targets; `test` may have no rows
    settings : Settings
    x_scale : float
        network input = x * x_scale
    classes : bool
        False where targets are values
    engine : str
        auto (the fastest that fits), fused, stages, reference. maxout, activations of a user's own and the cost
        perceptron are for the last two
    device : str
        cpu, auto (the CPU as well: for one small network it is the better choice), or cuda, an NVIDIA GPU
    input_layout : str
        auto, sparse, dense; only the fused engine has a choice
    shared : dict, optional
        engines opened with the same dict and the same arrays share what they make of the samples
    threads : int
        cores that the fused engine uses; they change no bit of the result

    Raises
    ------
    FastbpError
        a device that this machine does not have, or that lacks a driver or a package
    UsageError
        a network or a layout that the engine cannot use, or a choice that the device does not leave
    """
    if special := needs_stages(network):
        if device == "cuda":
            raise UsageError(NOT_ON_CUDA.format(special))
        if engine == "fused":
            raise UsageError(f"engine fused cannot train networks of {special}; use engine auto, stages or reference")
        engine = "stages" if engine == "auto" else engine
    if device == "cuda":
        check_for_cuda(engine, input_layout, threads)
        one = import_module(".cuda_engine", __name__).CudaEngine
        on_gpu: Engine = one(network, theta, train, test, settings, x_scale=x_scale, classes=classes)
        return on_gpu
    if engine in ("auto", "fused"):
        from .cpu import FusedEngine

        return FusedEngine(
            network,
            theta,
            train,
            test,
            settings,
            x_scale=x_scale,
            classes=classes,
            layout=input_layout,
            shared=shared,
            threads=threads,
        )
    if input_layout == "sparse":
        cure = (
            f"{special} needs it, so use input_layout dense" if special else "use engine fused for input_layout sparse"
        )
        raise UsageError(f"engine {engine} takes dense input only; {cure}")
    if isinstance(train.x, CsrRows) or isinstance(test.x, CsrRows):
        cure = f"{special} needs it, so make samples dense" if special else "use engine fused for sparse samples"
        raise UsageError(f"engine {engine} takes dense input only; {cure}")
    from .stepwise import StepwiseEngine

    module = import_module(f".{engine}", __name__)

    def engine_for(samples: Split, rule: Settings) -> Engine:
        name = f"{engine} {theta.dtype}"
        return StepwiseEngine(module, name, network, theta, samples, test, rule, x_scale=x_scale, classes=classes)

    if engine == "stages" and len(train.y):  # compiled or loaded now, not in the first epoch
        one = train._replace(x=train.x[:1], y=train.y[:1])
        engine_for(one, settings._replace(batch_size=1)).run(np.zeros(1, np.uint32), np.zeros(1), np.empty(1))
    return engine_for(train, settings)


def open_fleet(
    network: Any,
    thetas: Any,
    train: Split,
    test: Split,
    settings: Sequence[Settings],
    *,
    x_scale: float = 1.0,
    classes: bool = True,
    engine: str = "auto",
    input_layout: str = "auto",
) -> Fleet:
    """Give a GPU many networks of one shape, to be trained side by side; see `protocol.Fleet`.

    Parameters
    ----------
    network, train, test, x_scale, classes, engine, input_layout
        as for `open_engine` with device cuda
    thetas : (n_networks, n_parameters) float32
        start weights, copied
    settings : sequence of Settings
        one for each network. They agree in optimizer, batch_size and dropout, and in whether gradients are cut

    Raises
    ------
    FastbpError, UsageError
        what `check_for_cuda` refuses, and what the GPU has no memory or no kernels for
    """
    if special := needs_stages(network):
        raise UsageError(NOT_ON_CUDA.format(special))
    check_for_cuda(engine, input_layout)
    many = import_module(".cuda_engine", __name__).Fleet
    fleet: Fleet = many(network, thetas, train, test, settings, x_scale=x_scale, classes=classes)
    return fleet


def check_for_cuda(engine: str = "auto", input_layout: str = "auto", threads: int = 1) -> None:
    """Raise UsageError for choices that device cuda does not leave, and FastbpError where it cannot be used."""
    if engine != "auto":
        raise UsageError(f"device cuda has one engine of its own, got engine {engine}; leave it out, or use device cpu")
    if input_layout == "sparse":
        raise UsageError("device cuda takes dense input only, got input_layout sparse; leave it out, or use device cpu")
    if threads > 1:
        raise UsageError(f"threads are cores of the CPU, got {threads} with device cuda; leave them out")
    gpu.require()
