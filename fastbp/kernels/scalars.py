"""The mathematics of one element: activation, derivative, cost. The CPU's stages and the GPU's share these functions.

Numbers in, a number out, in the precision of the numbers that come in: float32 stays float32. Nothing overflows,
however large the net input, and NaN stays NaN. Softmax and its cross-entropy need a whole row; they are in the stages.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numba.extending import overload

from .codes import EXPONENTIAL, IDENTITY, LEAKY_RELU, LEAKY_SLOPE, MEAN_SQUARED_ERROR, RELU, SIGMOID, TANH
from .jit import inlined

__all__ = ["activate", "activate_prime", "binary_cross_entropy", "constant", "perceptron", "poisson", "squared_error"]


def constant(value, like):
    """`value` in the float type of `like`. A bare 1.0 is a float64 to Numba and would widen what it touches."""
    return np.float32(value) if isinstance(like, np.float32) else np.float64(value)


@overload(constant, inline="always")
def _compiled_constant(value, like):
    if like == types.float32:
        return lambda value, like: np.float32(value)
    return lambda value, like: np.float64(value)


@inlined
def activate(z, kind):
    """f(z) of one unit, for every kind but softmax

    z      f4|f8      in   net input
    kind   int        in   STEP, IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU or EXPONENTIAL
    """
    if kind == SIGMOID:
        one = constant(1, z)
        e = math.exp(-abs(z))  # at most 1; 1/(1+e) and e/(1+e) are the two halves of the same curve
        return one / (one + e) if z >= 0 else e / (one + e)
    if kind == TANH:
        return math.tanh(z)
    if kind == RELU:
        return constant(0, z) if z < 0 else z
    if kind == LEAKY_RELU:
        return z if z >= 0 else constant(LEAKY_SLOPE, z) * z
    if kind == IDENTITY:
        return z
    if kind == EXPONENTIAL:
        return math.exp(z)
    return constant(1, z) if z > 0 else constant(0, z)


@inlined
def activate_prime(a, kind):
    """f'(z) of one unit, taken from a = f(z)

    a      f4|f8      in   activation
    kind   int        in   IDENTITY, SIGMOID, TANH, RELU or LEAKY_RELU
    """
    one = constant(1, a)
    if kind == SIGMOID:
        return a * (one - a)
    if kind == TANH:
        return one - a * a
    if kind == RELU:
        return one if a > 0 else constant(0, a)
    if kind == LEAKY_RELU:
        return one if a >= 0 else constant(LEAKY_SLOPE, a)
    return one


@inlined
def squared_error(a, y, cost):
    """(a - y)^2, halved unless the cost is MEAN_SQUARED_ERROR

    a, y   f4|f8      in   activation and target of one output
    """
    squared = (a - y) * (a - y)
    return squared if cost == MEAN_SQUARED_ERROR else squared * constant(0.5, a)


@inlined
def binary_cross_entropy(z, y):
    """-(y ln a + (1 - y) ln(1 - a)) for a = sigmoid(z), computed from z: max(z, 0) - z y + ln(1 + exp(-|z|))

    z, y   f4|f8      in   net input and target of one output
    """
    positive = constant(0, z) if z < 0 else z
    return positive - z * y + math.log1p(math.exp(-abs(z)))


@inlined
def poisson(z, a, y):
    """a - y + y ln(y / a) for a = exp(z); half the deviance of a Poisson distribution

    z, a, y   f4|f8   in   net input, activation and target of one output, y at least 0
    """
    cost = a - y
    return cost + y * (math.log(y) - z) if y > 0 else cost


@inlined
def perceptron(z, a, y):
    """(a - y) z for a = step(z) and y of 0 or 1: |z| where the output is wrong, 0 where it is right

    z, a, y   f4|f8   in   net input, activation and target of one output
    """
    return (a - y) * z
