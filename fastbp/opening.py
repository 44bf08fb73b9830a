"""Engines for a run: one that trains, and, where samples are held out, one that validates.

Prepared samples and settings come in; engines that hold them, with their first weights, go out. What takes seconds here
(compiling) is told as it begins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .config import Config
from .defaults import rule_for
from .kernels import Engine, Split, needs_stages, open_engine
from .model import Model
from .network import Network
from .preparation import Prepared

__all__ = ["open_engines"]


def open_engines(
    network: Network,
    config: Config,
    prepared: Prepared,
    batch_size: int,
    init_from: Model | None,
    tell: Callable[[str], None],
    opener: Callable[..., Engine],
    shared: dict[Any, Any],
    threads: int,
) -> tuple[Engine, Engine | None]:
    """The engine that trains, by `opener`, and the one that validates, on the CPU; None without samples for it.

    Parameters
    ----------
    config : Config
        its `learning_rate` is set
    tell : callable
        called with words about what begins
    opener : callable
        like `open_engine`
    shared : dict
        what engines of several runs may share, such as packed samples
    """
    if config.engine == "auto" and config.device != "cuda" and (special := needs_stages(network)):
        tell(f"{special} is trained by engine stages, not by the fused one")
    for each in network.customs if config.engine in ("auto", "stages") and config.device != "cuda" else ():
        tell(f"compiling activation {each.name}, once per process: it is never kept on disk")
    if init_from:
        theta = init_from.parameters.astype(config.dtype)
    else:
        theta = network.initial_parameters(config.seed, config.init, config.dtype)
    rule = rule_for(config, network, batch_size)

    def engine_for(train: Split, test: Split, opener: Callable[..., Engine], device: str) -> Engine:
        return opener(
            network,
            theta,
            train,
            test,
            rule,
            x_scale=prepared.x_scale,
            classes=prepared.targets is None,
            engine=config.engine,
            device=device,
            input_layout=config.input_layout,
            shared=shared,
            threads=threads,
        )

    engine = engine_for(prepared.train, prepared.test, opener, config.device)
    if opener is open_engine:
        _compile(engine, shuffles=config.shuffle and batch_size < len(prepared.train.y))
    if prepared.validation is None:
        return engine, None
    return engine, engine_for(prepared.validation, prepared.nothing, open_engine, "cpu")


def _compile(engine: Engine, shuffles: bool) -> None:
    """Compile what training will need, before it begins: from then on, Ctrl-C waits for the end of a batch."""
    if shuffles:
        from .kernels.order import shuffle

        shuffle(np.empty(1, np.uint32), np.uint64(0))
    if engine.name.startswith("stages"):  # the fused one has compiled all it needs when it was made
        theta, state = engine.parameters(), engine.state()
        engine.run(np.zeros(1, np.uint32), np.zeros(1), np.empty(1))  # the first sample, and all is as it was
        engine.set_parameters(theta)
        engine.set_state(state)
