"""Which stages a layer takes, forward and back, and which networks only the stages can train.

For most activations f' follows from a: `forward` and `hidden_delta` are all, and z is not kept. The f' of maxout and of
a user's own functions needs z, so there z has an array of its own, and a and delta come from other stages. The stages
are those of a module that the caller names, `reference` or `stages`.
"""

from __future__ import annotations

from typing import Any

from ..activations import CustomActivation
from .codes import ACTIVATION, IDENTITY, MAXOUT

__all__ = ["activations_of", "forward", "hidden_delta", "keeps_z", "needs_stages"]


FROM_A = frozenset(ACTIVATION.values())  # those whose f' follows from a; looked up for every layer of every batch


def activations_of(network: Any) -> list[int | CustomActivation]:
    """One for each layer after the input: its code, or a user's pair of functions."""
    known: dict[str, int | CustomActivation] = {**ACTIVATION, "maxout": MAXOUT}
    known |= {each.name: each for each in getattr(network, "customs", ())}
    return [known[name] for name in network.activations]


def keeps_z(activation: int | CustomActivation) -> bool:
    """True where f' needs z, so that z must not be the same array as a."""
    return activation not in FROM_A


def needs_stages(network: Any) -> str:
    """What the fused engine cannot do for a network; an empty text where it can do everything."""
    for activation, name in zip(activations_of(network), network.activations, strict=True):
        if keeps_z(activation):
            return f"activation {name}"
    return "cost perceptron" if network.cost == "perceptron" else ""


def forward(stages: Any, x: Any, W: Any, b: Any, activation: int | CustomActivation, z: Any, a: Any) -> None:
    """z = x W + b, a = f(z)

    z   f4|f8 (n_batch, n_columns)   out   as many columns as W: 2 n_units for maxout, else n_units
    a   f4|f8 (n_batch, n_units)     out

    The other arrays are those of the stage `forward`.
    """
    if activation in FROM_A:
        stages.forward(x, W, b, activation, z, a)
        return
    stages.forward(x, W, b, IDENTITY, z, z)
    if activation == MAXOUT:
        stages.maxout(z, a)
    else:
        stages.custom(activation, z, a)


def hidden_delta(
    stages: Any, delta_next: Any, W_next: Any, z: Any, a: Any, activation: int | CustomActivation, delta: Any
) -> None:
    """delta = (delta_next W_next^T) * f'(z)

    z       f4|f8 (n_batch, n_columns)   in    not looked at unless `keeps_z(activation)`
    a       f4|f8 (n_batch, n_units)     in
    delta   f4|f8 (n_batch, n_columns)   out

    The other arrays are those of the stage `hidden_delta`.
    """
    if activation in FROM_A:
        stages.hidden_delta(delta_next, W_next, a, activation, delta)
    elif activation == MAXOUT:
        stages.maxout_delta(delta_next, W_next, z, delta)
    else:
        stages.custom_delta(delta_next, W_next, z, a, activation, delta)
