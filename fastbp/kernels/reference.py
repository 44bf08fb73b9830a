"""Backpropagation in plain NumPy. Read this first: every other engine computes exactly these formulas.

A layer of neurons forms its net input z = x W + b and its activation a = f(z). The cost J of a batch is a sum over its
samples. Backpropagation computes dJ/dz, the delta of every layer, from the last layer to the first; each weight's
gradient is then the product of the activation that goes in and the delta that comes back:

    forward        z = x W + b                                a = f(z)
    output_delta   delta = dJ/da * f'(z)                      at the last layer
    hidden_delta   delta = (delta_next W_next^T) * f'(z)      at the layers before it
    gradient       dW = a^T delta                             db = sum over samples of delta
    update         W -= eta (dW / m + decay W)                b -= eta db / m

Arrays: one row per sample; W is (n_in, n_out). The results are written into arrays that the caller gives, so the five
functions allocate little and chain without surprises. All deltas of a batch are computed before any weight changes.
float32 or float64, whichever the arrays are. Names of activations and costs are the integers in `codes`.

Two kinds of hidden units take their f' from z, and have stages of their own. After a `forward` with IDENTITY,

    maxout         a = the larger of two net inputs           maxout_delta: the larger one gets the whole delta
    custom         a = f(z) for a function of your own        custom_delta: with an f' of your own

Rumelhart, Hinton, Williams 1986, "Learning representations by back-propagating errors".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .codes import (
    ACTIVATION,
    BINARY_CROSS_ENTROPY,
    COST,
    CROSS_ENTROPY,
    EXPONENTIAL,
    IDENTITY,
    LEAKY_RELU,
    LEAKY_SLOPE,
    MEAN_SQUARED_ERROR,
    PERCEPTRON,
    POISSON,
    RELU,
    SIGMOID,
    SOFTMAX,
    SQUARED_ERROR,
    STEP,
    TANH,
)

__all__ = [
    "ACTIVATION",
    "COST",
    "adam_update",
    "custom",
    "custom_delta",
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
]

Array = NDArray[Any]


def forward(x: Array, W: Array, b: Array, activation: int, z: Array, a: Array) -> None:
    """z = x W + b, a = f(z)

    x   f4|f8 (n_batch, n_in)    in
    W   f4|f8 (n_in, n_out)      in
    b   f4|f8 (n_out,)           in
    z   f4|f8 (n_batch, n_out)   out   net input; may be the same array as `a` where it is not needed
    a   f4|f8 (n_batch, n_out)   out   activation
    """
    np.matmul(x, W, out=z)
    z += b
    if activation == IDENTITY:
        a[...] = z
    elif activation == SIGMOID:
        # exp(-|z|) cannot overflow; 1/(1+e) and e/(1+e) are the two halves of the same curve
        e = np.exp(-np.abs(z))
        a[...] = np.where(z >= 0, 1 / (1 + e), e / (1 + e))
    elif activation == TANH:
        np.tanh(z, out=a)
    elif activation == RELU:
        np.maximum(z, 0, out=a)
    elif activation == LEAKY_RELU:
        a[...] = np.where(z >= 0, z, z.dtype.type(LEAKY_SLOPE) * z)
    elif activation == STEP:
        a[...] = z > 0
    elif activation == EXPONENTIAL:
        np.exp(z, out=a)
    elif activation == SOFTMAX:
        np.exp(z - z.max(axis=-1, keepdims=True), out=a)
        a /= a.sum(axis=-1, keepdims=True)
    else:
        raise ValueError(f"activation must be one of {sorted(ACTIVATION.values())}, got {activation}")


def output_delta(a: Array, y: Array, activation: int, cost: int, delta: Array) -> None:
    """delta = dJ/da * f'(z), with f' taken from a

    a       f4|f8 (n_batch, n_out)   in    activation of the output layer
    y       f4|f8 (n_batch, n_out)   in    target
    delta   f4|f8 (n_batch, n_out)   out

    Softmax with cross-entropy, sigmoid with binary cross-entropy and exponential with Poisson simplify to a - y. So
    does step with the perceptron's cost, which is taken from z: f' of step plays no part.
    """
    if cost not in COST.values():
        raise ValueError(f"cost must be one of {sorted(COST.values())}, got {cost}")
    np.subtract(a, y, out=delta)
    if cost == MEAN_SQUARED_ERROR:
        delta *= 2
    if cost not in (CROSS_ENTROPY, BINARY_CROSS_ENTROPY, POISSON, PERCEPTRON):
        _times_derivative(delta, a, activation)


def hidden_delta(delta_next: Array, W_next: Array, a: Array, activation: int, delta: Array) -> None:
    """delta = (delta_next W_next^T) * f'(z), with f' taken from a

    delta_next   f4|f8 (n_batch, n_out)   in    delta of the layer after this one
    W_next       f4|f8 (n_in, n_out)      in    weights from this layer to the one after, not yet updated
    a            f4|f8 (n_batch, n_in)    in    activation of this layer
    delta        f4|f8 (n_batch, n_in)    out
    """
    np.matmul(delta_next, W_next.T, out=delta)
    _times_derivative(delta, a, activation)


def maxout(z: Array, a: Array) -> None:
    """a[i, j] = max(z[i, j], z[i, n_units + j]): each unit has two pieces, and says the larger of their net inputs

    z   f4|f8 (n_batch, 2 n_units)   in    x W + b, the columns of piece 0 first: W (n_in, 2 n_units), b (2 n_units,)
    a   f4|f8 (n_batch, n_units)     out

    Goodfellow, Warde-Farley, Mirza, Courville, Bengio 2013, "Maxout networks".
    """
    n_units = a.shape[-1]
    np.maximum(z[..., :n_units], z[..., n_units:], out=a)


def maxout_delta(delta_next: Array, W_next: Array, z: Array, delta: Array) -> None:
    """delta = delta_next W_next^T for the piece that is larger, 0 for the other one; of equals piece 0 is the larger

    delta_next   f4|f8 (n_batch, n_out)       in    delta of the layer after this one
    W_next       f4|f8 (n_units, n_out)       in    weights from this layer to the one after, not yet updated
    z            f4|f8 (n_batch, 2 n_units)   in    net inputs of this layer, as for `maxout`
    delta        f4|f8 (n_batch, 2 n_units)   out   as many as there are net inputs
    """
    back, n_units = np.matmul(delta_next, W_next.T), len(W_next)
    first = z[:, :n_units] >= z[:, n_units:]
    delta[:, :n_units] = np.where(first, back, 0)
    delta[:, n_units:] = np.where(first, 0, back)


def custom(activation: Any, z: Array, a: Array) -> None:
    """a = f(z), number by number, in plain Python

    activation   CustomActivation           in    its method `value` is f
    z            f4|f8 (n_batch, n_units)   in    net input
    a            f4|f8 (n_batch, n_units)   out   activation
    """
    a[...] = np.array([activation.value(each) for each in z.ravel().tolist()], a.dtype).reshape(a.shape)


def custom_delta(delta_next: Array, W_next: Array, z: Array, a: Array, activation: Any, delta: Array) -> None:
    """delta = (delta_next W_next^T) * f'(z), for a function f' of z and a = f(z), number by number, in plain Python

    z            f4|f8 (n_batch, n_in)   in    net input of this layer
    a            f4|f8 (n_batch, n_in)   in    activation of this layer
    activation   CustomActivation        in    its method `slope` is f'

    The other arrays are those of `hidden_delta`.
    """
    np.matmul(delta_next, W_next.T, out=delta)
    pairs = zip(z.ravel().tolist(), a.ravel().tolist(), strict=True)
    delta *= np.array([activation.slope(*pair) for pair in pairs], delta.dtype).reshape(delta.shape)


def gradient(a: Array, delta: Array, dW: Array, db: Array) -> None:
    """dW = a^T delta, db = sum over samples of delta

    a       f4|f8 (n_batch, n_in)    in    activation that goes into the layer
    delta   f4|f8 (n_batch, n_out)   in    delta of the layer
    dW      f4|f8 (n_in, n_out)      out   sums over the batch, not means
    db      f4|f8 (n_out,)           out
    """
    np.matmul(a.T, delta, out=dW)
    np.sum(delta, axis=0, out=db)


def update(W: Array, b: Array, dW: Array, db: Array, eta: float, decay: float, n_samples: float) -> None:
    """W -= eta (dW / n_samples + decay W), b -= eta db / n_samples

    W    f4|f8 (n_in, n_out)   in, out
    b    f4|f8 (n_out,)        in, out   never decayed
    dW   f4|f8 (n_in, n_out)   in
    db   f4|f8 (n_out,)        in

    One step of gradient descent on the mean cost of the samples plus decay/2 * sum of W^2.
    """
    W -= eta * (dW / n_samples + decay * W)
    b -= eta * (db / n_samples)


def momentum_update(
    W: Array,
    b: Array,
    dW: Array,
    db: Array,
    velocity_W: Array,
    velocity_b: Array,
    eta: float,
    decay: float,
    n_samples: float,
    momentum: float,
) -> None:
    """v = momentum v - eta g, W += v, where g = dW / n_samples + decay W (no decay for b)

    velocity_W   f4|f8 (n_in, n_out)   in, out   starts at 0
    velocity_b   f4|f8 (n_out,)        in, out   starts at 0

    Polyak 1964; the other arrays are those of `update`.
    """
    velocity_W *= momentum
    velocity_W -= eta * (dW / n_samples + decay * W)
    W += velocity_W
    velocity_b *= momentum
    velocity_b -= eta * (db / n_samples)
    b += velocity_b


def nesterov_update(
    W: Array,
    b: Array,
    dW: Array,
    db: Array,
    velocity_W: Array,
    velocity_b: Array,
    eta: float,
    decay: float,
    n_samples: float,
    momentum: float,
) -> None:
    """v = momentum v - eta g, W += momentum v - eta g, where g = dW / n_samples + decay W (no decay for b)

    The arrays are those of `momentum_update`. Nesterov 1983, in the form of Bengio, Boulanger-Lewandowski and Pascanu
    2013: W is the point at which the next gradient is taken.
    """
    for w, dw, velocity, lam in ((W, dW, velocity_W, decay), (b, db, velocity_b, 0.0)):
        step = eta * (dw / n_samples + lam * w)
        velocity *= momentum
        velocity -= step
        w += momentum * velocity - step


def rmsprop_update(
    W: Array,
    b: Array,
    dW: Array,
    db: Array,
    square_W: Array,
    square_b: Array,
    eta: float,
    decay: float,
    n_samples: float,
    rho: float,
    epsilon: float,
) -> None:
    """u = rho u + (1 - rho) g^2, W -= eta g / (sqrt(u) + epsilon), where g = dW / n_samples + decay W (no decay for b)

    square_W   f4|f8 (n_in, n_out)   in, out   starts at 0
    square_b   f4|f8 (n_out,)        in, out   starts at 0

    Tieleman, Hinton 2012, lecture 6.5; the other arrays are those of `update`.
    """
    for w, dw, square, lam in ((W, dW, square_W, decay), (b, db, square_b, 0.0)):
        g = dw / n_samples + lam * w
        square *= rho
        square += (1 - rho) * (g * g)
        w -= eta * g / (np.sqrt(square) + epsilon)


def adam_update(
    W: Array,
    b: Array,
    dW: Array,
    db: Array,
    mean_W: Array,
    mean_b: Array,
    square_W: Array,
    square_b: Array,
    eta: float,
    decay: float,
    n_samples: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    step: int,
) -> None:
    """m = beta_1 m + (1 - beta_1) g, u = beta_2 u + (1 - beta_2) g^2, W -= eta_t m / (sqrt(u) + epsilon)

    where g = dW / n_samples + decay W (no decay for b) and eta_t = eta sqrt(1 - beta_2^step) / (1 - beta_1^step).

    mean_W, square_W   f4|f8 (n_in, n_out)   in, out   m and u, start at 0
    mean_b, square_b   f4|f8 (n_out,)        in, out   start at 0
    step               1 for the first update

    Kingma, Ba 2015, the form at the end of their section 2; the other arrays are those of `update`.
    """
    eta_t = eta * np.sqrt(1 - beta_2**step) / (1 - beta_1**step)
    for w, dw, mean, square, lam in ((W, dW, mean_W, square_W, decay), (b, db, mean_b, square_b, 0.0)):
        g = dw / n_samples + lam * w
        mean *= beta_1
        mean += (1 - beta_1) * g
        square *= beta_2
        square += (1 - beta_2) * (g * g)
        w -= float(eta_t) * mean / (np.sqrt(square) + epsilon)


def loss(z: Array, a: Array, y: Array, cost: int) -> float:
    """The cost, summed over the samples of a batch; no decay term

    z   f4|f8 (n_batch, n_out)   in   net input of the output layer
    a   f4|f8 (n_batch, n_out)   in   its activation
    y   f4|f8 (n_batch, n_out)   in   target

    squared error          sum_k 1/2 (a_k - y_k)^2
    mean squared error     sum_k (a_k - y_k)^2
    binary cross-entropy   -sum_k (y_k ln a_k + (1 - y_k) ln(1 - a_k))
    cross-entropy          -sum_k y_k ln a_k
    Poisson                sum_k a_k - y_k + y_k ln(y_k / a_k), for a = exp(z); half the deviance
    perceptron             sum_k (a_k - y_k) z_k, for a = step(z): |z_k| where output k is wrong, 0 where it is right

    Both cross-entropies and Poisson are computed from z, where they cannot overflow however saturated the outputs are.
    """
    if cost == CROSS_ENTROPY:
        shifted = z - z.max(axis=1, keepdims=True)
        terms = np.log(np.exp(shifted).sum(axis=1, keepdims=True)) * y.sum(axis=1, keepdims=True) - np.sum(
            y * shifted, axis=1, keepdims=True
        )
    elif cost == BINARY_CROSS_ENTROPY:
        terms = np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))
    elif cost == POISSON:
        terms = a - y + np.where(y > 0, y * (np.log(np.where(y > 0, y, 1)) - z), 0)
    elif cost == PERCEPTRON:
        terms = (a - y) * z
    elif cost == SQUARED_ERROR:
        terms = (a - y) ** 2 / 2
    elif cost == MEAN_SQUARED_ERROR:
        terms = (a - y) ** 2
    else:
        raise ValueError(f"cost must be one of {sorted(COST.values())}, got {cost}")
    return float(np.sum(terms, dtype=np.float64))


def _times_derivative(delta: Array, a: Array, activation: int) -> None:
    """delta *= f'(z), where f' is a function of a = f(z): that is why z need not be kept"""
    if activation == SIGMOID:
        delta *= a * (1 - a)
    elif activation == TANH:
        delta *= 1 - a * a
    elif activation == RELU:
        delta *= a > 0
    elif activation == LEAKY_RELU:
        delta *= np.where(a >= 0, 1, a.dtype.type(LEAKY_SLOPE))
    elif activation != IDENTITY:
        raise ValueError(f"activation {activation} has no derivative that can be taken from a")
