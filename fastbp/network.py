"""A network's shape: sizes, activations, cost, and where each weight stands in the parameter vector.

    theta = W[1] row-major, b[1], W[2], b[2], ...        (784-16-16-10 has 13,002)

`W[l]` is (n_in, n_out): row k holds the weights from input unit k to all units of the next layer. A maxout layer has
two net inputs per unit, its pieces: `W[l]` is (n_in, 2 n_out) and `b[l]` (2 n_out,), where column j belongs to piece 0
of unit j and column n_out + j to its piece 1. What comes in is checked here, once; engines trust it. NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .activations import ACTIVATIONS, CustomActivation, name_of
from .config import COSTS, MAX_UNITS, OUTPUT_OF
from .errors import UsageError
from .streams import normal, stream_key, uniform

__all__ = ["Network"]

FloatArray = NDArray[np.floating]

CLASSIFIERS = "cross_entropy with softmax, or binary_cross_entropy with sigmoid"


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron's description; it holds no weights.

    Parameters
    ----------
    sizes : sequence of int
        units per layer, input and output included, each from 1 to 10,000
    activations : sequence of str or CustomActivation
        one per layer after the input: step, identity, sigmoid, tanh, relu, leaky_relu, softmax and exponential (output
        only), maxout and pairs of functions of your own (hidden layers only). The attribute holds names; the pairs are
        in `customs`
    cost : str
        squared_error, mean_squared_error, binary_cross_entropy (sigmoid output), cross_entropy (softmax output),
        poisson (exponential output), perceptron (step output, and no hidden layers)

    Raises
    ------
    UsageError
        a size, a name or a combination outside of these

    Examples
    --------
    >>> net = Network((784, 16, 16, 10), ("sigmoid", "sigmoid", "softmax"), "cross_entropy")
    >>> net.n_parameters
    13002
    >>> theta = net.initial_parameters(seed=0)
    >>> [(W.shape, b.shape) for W, b in net.layers_of(theta)]
    [((784, 16), (16,)), ((16, 16), (16,)), ((16, 10), (10,))]
    >>> Network((784, 16, 10), ("maxout", "softmax"), "cross_entropy").shapes
    ((784, 32), (16, 10))
    """

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    cost: str
    customs: tuple[CustomActivation, ...] = field(default=(), repr=False)

    def __init__(self, sizes: Sequence[int], activations: Sequence[str | CustomActivation], cost: str) -> None:
        own = tuple(dict.fromkeys(each for each in activations if isinstance(each, CustomActivation)))
        object.__setattr__(self, "sizes", tuple(sizes))
        object.__setattr__(self, "activations", tuple(map(name_of, activations)))
        object.__setattr__(self, "customs", own)
        object.__setattr__(self, "cost", cost)
        self._check()

    def _check(self) -> None:
        if len(self.sizes) < 2:
            raise UsageError(f"a network needs an input and an output layer, got sizes {list(self.sizes)}")
        for size in self.sizes:
            if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MAX_UNITS:
                raise UsageError(f"every layer must have 1 to {MAX_UNITS} units, got {size!r}")
        if len(self.activations) != len(self.sizes) - 1:
            raise UsageError(
                f"a network of {len(self.sizes)} layers needs {len(self.sizes) - 1} activations, "
                f"got {len(self.activations)}"
            )
        own = [each.name for each in self.customs]
        for name in self.activations:
            if name not in ACTIVATIONS and name not in own:
                raise UsageError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
            if own.count(name) > 1:
                raise UsageError(f"two activations have the name {name}; give each pair of functions its own")
        for name in ("softmax", "exponential"):
            if name in self.activations[:-1]:
                raise UsageError(f"{name} is for the output layer only; use sigmoid, tanh or relu in hidden layers")
        if self.cost not in COSTS:
            raise UsageError(f"cost must be one of {', '.join(COSTS)}, got {self.cost!r}")
        output = self.activations[-1]
        if output == "maxout" or output in own:
            raise UsageError(
                f"{output} is for hidden layers only; use softmax, sigmoid or identity in the output layer"
            )
        if self.cost == "perceptron" and len(self.sizes) > 2:
            raise UsageError(f"cost perceptron is for networks without hidden layers, got {self}; use {CLASSIFIERS}")
        needed = OUTPUT_OF.get(self.cost)
        if output != needed if needed else output in ("softmax", "exponential"):
            wanted = needed or "any but softmax and exponential"
            raise UsageError(f"cost {self.cost} needs output_activation {wanted}, got {output}")

    def __str__(self) -> str:
        return "-".join(map(str, self.sizes))

    @property
    def trainable(self) -> bool:
        """False where an activation has no gradient: step, unless the cost is the perceptron's."""
        return "step" not in self.activations or self.cost == "perceptron"

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Shape of each layer's W: (n_in, n_out), or (n_in, 2 n_out) for maxout; b has as many numbers as columns."""
        pairs = zip(pairwise(self.sizes), self.activations, strict=True)
        return tuple((n_in, 2 * n_out if name == "maxout" else n_out) for (n_in, n_out), name in pairs)

    @property
    def n_parameters(self) -> int:
        """Weights and biases together."""
        return sum((n_in + 1) * n_columns for n_in, n_columns in self.shapes)

    def layers_of(self, theta: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
        """Views (W, b) into theta, one pair per layer, of the `shapes`; writing to them changes theta.

        Raises UsageError where theta is not a vector of `n_parameters`.
        """
        if theta.shape != (self.n_parameters,):
            raise UsageError(f"{self} has {self.n_parameters} parameters, got an array of shape {theta.shape}")
        pairs = []
        start = 0
        for n_in, n_columns in self.shapes:
            middle, end = start + n_in * n_columns, start + (n_in + 1) * n_columns
            pairs.append((theta[start:middle].reshape(n_in, n_columns), theta[middle:end]))
            start = end
        return pairs

    def initial_parameters(self, seed: int = 0, init: str = "glorot", dtype: str = "float32") -> FloatArray:
        """Random weights, zero biases (Goodfellow, Bengio, Courville 2016, section 8.4).

        Parameters
        ----------
        seed : int
            the same seed gives the same weights on every machine
        init : str
            normal: Normal(0, 0.01^2); glorot: uniform in +-sqrt(6 / (n_in + n_out)) (Glorot, Bengio 2010);
            he: Normal(0, 2 / n_in) (He et al. 2015). Both pieces of a maxout unit are drawn as if it had one
        dtype : str
            float32 or float64; the numbers are drawn in float64 and rounded

        Returns
        -------
        theta : (n_parameters,)
        """
        if dtype not in ("float32", "float64"):
            raise UsageError(f"dtype must be float32 or float64, got {dtype!r}")
        theta = np.zeros(self.n_parameters, dtype=dtype)
        for layer, (W, _) in enumerate(self.layers_of(theta)):
            n_in, n_out = self.sizes[layer : layer + 2]
            key = stream_key(seed, "init", layer)
            if init == "glorot":
                values = (2.0 * uniform(key, W.size) - 1.0) * np.sqrt(6.0 / (n_in + n_out))
            elif init == "he":
                values = normal(key, W.size) * np.sqrt(2.0 / n_in)
            elif init == "normal":
                values = normal(key, W.size) * 0.01
            else:
                raise UsageError(f"init must be one of normal, glorot, he, got {init!r}")
            W[...] = values.reshape(W.shape)
        return theta
