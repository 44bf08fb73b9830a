"""A network's shape: sizes, activations, cost, and where each weight stands in the parameter vector.

    theta = W[1] row-major, b[1], W[2], b[2], ...        (784-16-16-10 has 13,002)

`W[l]` is (n_in, n_out): row k holds the weights from input unit k to all units of the next layer. What comes in is
checked here, once; engines trust it. NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .config import ACTIVATIONS, COSTS, MAX_UNITS
from .errors import UsageError
from .streams import normal, stream_key, uniform

__all__ = ["Network"]

FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron's description; it holds no weights.

    Parameters
    ----------
    sizes : sequence of int
        units per layer, input and output included, each from 1 to 10,000
    activations : sequence of str
        one name per layer after the input: step, identity, sigmoid, tanh, relu, leaky_relu, softmax (output only)
    cost : str
        squared_error, mean_squared_error, binary_cross_entropy (sigmoid output), cross_entropy (softmax output)

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
    """

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    cost: str

    def __init__(self, sizes: Sequence[int], activations: Sequence[str], cost: str) -> None:
        object.__setattr__(self, "sizes", tuple(sizes))
        object.__setattr__(self, "activations", tuple(activations))
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
        for name in self.activations:
            if name not in ACTIVATIONS:
                raise UsageError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
        for name in ("softmax", "exponential"):
            if name in self.activations[:-1]:
                raise UsageError(f"{name} is for the output layer only; use sigmoid, tanh or relu in hidden layers")
        if self.cost not in COSTS:
            raise UsageError(f"cost must be one of {', '.join(COSTS)}, got {self.cost!r}")
        output = self.activations[-1]
        needed = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid", "poisson": "exponential"}.get(
            self.cost
        )
        if output != needed if needed else output in ("softmax", "exponential"):
            wanted = needed or "any but softmax and exponential"
            raise UsageError(f"cost {self.cost} needs output_activation {wanted}, got {output}")

    def __str__(self) -> str:
        return "-".join(map(str, self.sizes))

    @property
    def trainable(self) -> bool:
        """False where an activation has no gradient (step)."""
        return "step" not in self.activations

    @property
    def n_parameters(self) -> int:
        """Weights and biases together."""
        return sum((n_in + 1) * n_out for n_in, n_out in pairwise(self.sizes))

    def layers_of(self, theta: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
        """Views (W, b) into theta, one pair per layer: W (n_in, n_out), b (n_out,). Writing to them changes theta.

        Raises UsageError where theta is not a vector of `n_parameters`.
        """
        if theta.shape != (self.n_parameters,):
            raise UsageError(f"{self} has {self.n_parameters} parameters, got an array of shape {theta.shape}")
        pairs = []
        start = 0
        for n_in, n_out in pairwise(self.sizes):
            middle, end = start + n_in * n_out, start + (n_in + 1) * n_out
            pairs.append((theta[start:middle].reshape(n_in, n_out), theta[middle:end]))
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
            he: Normal(0, 2 / n_in) (He et al. 2015)
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
            n_in, n_out = W.shape
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
