"""The stages of backpropagation, compiled: the functions of `reference`, name by name, for any shape.

Call them from Python, or from inside your own @njit functions, on arrays of your own:

    forward -> (loss) -> output_delta -> hidden_delta -> gradient -> update, or one of its kin

Arrays are float32 or float64, all of one kind, one row per sample; C-contiguous ones are fastest. Results go into
arrays that the caller gives. Shapes are compared on entry: arrays that do not fit raise ValueError and change nothing.
Sums run in one fixed order, so a sample's activations do not depend on the batch that it is in. NaN stays NaN.

Rumelhart, Hinton, Williams 1986, "Learning representations by back-propagating errors".
"""

from __future__ import annotations

import math

import numpy as np

from .codes import (
    BINARY_CROSS_ENTROPY,
    CROSS_ENTROPY,
    EXPONENTIAL,
    IDENTITY,
    LEAKY_RELU,
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
from .jit import inlined, kernel
from .scalars import activate, activate_prime, binary_cross_entropy, perceptron, poisson, squared_error
from .stages_pieces import custom as custom
from .stages_pieces import custom_delta as custom_delta
from .stages_pieces import maxout as maxout
from .stages_pieces import maxout_delta as maxout_delta
from .stages_product import add_product
from .stages_updates import adam_update, momentum_update, nesterov_update, rmsprop_update, update

__all__ = [
    "adam_update",
    "forward",
    "gradient",
    "hidden_delta",
    "loss",
    "momentum_update",
    "nesterov_update",
    "output_delta",
    "rmsprop_update",
    "update",
]


@kernel
def forward(x, W, b, activation, z, a):
    """z[i, j] = b[j] + sum_k x[i, k] W[k, j], a = f(z)

    x   f4|f8 (n_batch, n_in)    in
    W   f4|f8 (n_in, n_out)      in
    b   f4|f8 (n_out,)           in
    z   f4|f8 (n_batch, n_out)   out   net input; may be the same array as `a` where it is not needed
    a   f4|f8 (n_batch, n_out)   out   activation

    Raises ValueError where shapes do not fit or `activation` is not one of the numbers in `codes`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.kernels import RELU, forward
    >>> z, a = np.empty((1, 2)), np.empty((1, 2))
    >>> forward(np.array([[1.0, 2.0]]), np.array([[3.0, -3.0], [1.0, 1.0]]), np.zeros(2), RELU, z, a)
    >>> z, a
    (array([[ 5., -1.]]), array([[5., 0.]]))
    """
    n_batch, n_out = x.shape[0], W.shape[1]
    if x.shape[1] != W.shape[0] or b.shape[0] != n_out or z.shape != (n_batch, n_out) or a.shape != z.shape:
        raise ValueError("forward needs x (n_batch, n_in), W (n_in, n_out), b (n_out,), z and a (n_batch, n_out)")
    if not (STEP <= activation <= EXPONENTIAL):
        raise ValueError("forward needs an activation code from STEP (0) to EXPONENTIAL (7)")
    for i in range(n_batch):
        for j in range(n_out):
            z[i, j] = b[j]
    add_product(x, W, z)
    if activation == SOFTMAX:
        for i in range(n_batch):
            _softmax(z[i], a[i])
    else:
        for i in range(n_batch):
            for j in range(n_out):
                a[i, j] = activate(z[i, j], activation)


@kernel
def output_delta(a, y, activation, cost, delta):
    """delta[i, j] = dJ/da[i, j] f'(z[i, j]), with f' taken from a

    a       f4|f8 (n_batch, n_out)   in    activation of the output layer
    y       f4|f8 (n_batch, n_out)   in    target
    delta   f4|f8 (n_batch, n_out)   out

    Softmax with cross-entropy, sigmoid with binary cross-entropy and exponential with Poisson simplify to a - y. So
    does step with the perceptron's cost, which is taken from z: f' of step plays no part.

    Raises ValueError where shapes do not fit, or for an activation without a derivative in a squared cost.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.kernels import CROSS_ENTROPY, SOFTMAX, output_delta
    >>> delta = np.empty((1, 2))
    >>> output_delta(np.array([[0.25, 0.75]]), np.array([[1.0, 0.0]]), SOFTMAX, CROSS_ENTROPY, delta)
    >>> delta
    array([[-0.75,  0.75]])
    """
    if y.shape != a.shape or delta.shape != a.shape:
        raise ValueError("output_delta needs a, y and delta of one shape (n_batch, n_out)")
    if not (SQUARED_ERROR <= cost <= PERCEPTRON):
        raise ValueError("output_delta needs a cost code from SQUARED_ERROR (0) to PERCEPTRON (5)")
    squared = cost in (SQUARED_ERROR, MEAN_SQUARED_ERROR)
    if squared and not _has_derivative(activation):
        raise ValueError("output_delta needs an activation other than step and softmax with a squared cost")
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            error = a[i, j] - y[i, j]
            if cost == MEAN_SQUARED_ERROR:
                error += error
            delta[i, j] = error * activate_prime(a[i, j], activation) if squared else error


@kernel(allocates=True)
def hidden_delta(delta_next, W_next, a, activation, delta):
    """delta[i, k] = f'(z[i, k]) sum_j W_next[k, j] delta_next[i, j], with f' taken from a

    delta_next   f4|f8 (n_batch, n_out)   in    delta of the layer after this one
    W_next       f4|f8 (n_in, n_out)      in    weights from this layer to the one after, not yet updated
    a            f4|f8 (n_batch, n_in)    in    activation of this layer
    delta        f4|f8 (n_batch, n_in)    out   no part of the other arrays

    Raises ValueError where shapes do not fit or the activation has no derivative.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.kernels import SIGMOID, hidden_delta
    >>> delta = np.empty((1, 2))
    >>> hidden_delta(np.array([[2.0]]), np.array([[1.0], [4.0]]), np.array([[0.5, 0.75]]), SIGMOID, delta)
    >>> delta
    array([[0.5, 1.5]])
    """
    n_batch, n_in = delta_next.shape[0], W_next.shape[0]
    if delta_next.shape[1] != W_next.shape[1] or a.shape != (n_batch, n_in) or delta.shape != a.shape:
        raise ValueError(
            "hidden_delta needs delta_next (n_batch, n_out), W_next (n_in, n_out), a and delta (n_batch, n_in)"
        )
    if not _has_derivative(activation):
        raise ValueError("hidden_delta needs an activation other than step and softmax")
    delta[:, :] = 0
    add_product(delta_next, np.ascontiguousarray(W_next.T), delta)
    for i in range(n_batch):
        for k in range(n_in):
            delta[i, k] *= activate_prime(a[i, k], activation)


@kernel
def gradient(a, delta, dW, db):
    """dW[k, j] = sum_i a[i, k] delta[i, j], db[j] = sum_i delta[i, j]

    a       f4|f8 (n_batch, n_in)    in    activation that goes into the layer
    delta   f4|f8 (n_batch, n_out)   in    delta of the layer
    dW      f4|f8 (n_in, n_out)      out   sums over the batch, not means
    db      f4|f8 (n_out,)           out

    Raises ValueError where shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.kernels import gradient
    >>> dW, db = np.empty((2, 1)), np.empty(1)
    >>> gradient(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0], [10.0]]), dW, db)
    >>> dW, db
    (array([[31.],
           [42.]]), array([11.]))
    """
    n_out = delta.shape[1]
    if delta.shape[0] != a.shape[0] or dW.shape != (a.shape[1], n_out) or db.shape[0] != n_out:
        raise ValueError("gradient needs a (n_batch, n_in), delta (n_batch, n_out), dW (n_in, n_out), db (n_out,)")
    dW[:, :] = 0
    add_product(a.T, delta, dW)
    db[:] = 0
    for i in range(delta.shape[0]):
        for j in range(n_out):
            db[j] += delta[i, j]


@kernel
def loss(z, a, y, cost):
    """The cost, summed over the samples of a batch in float64; no decay term

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

    Raises ValueError where shapes do not fit or `cost` is not one of the numbers in `codes`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.kernels import SQUARED_ERROR, loss
    >>> a = np.array([[1.0, 3.0]])
    >>> loss(a, a, np.array([[0.0, 1.0]]), SQUARED_ERROR)
    2.5
    """
    if a.shape != z.shape or y.shape != z.shape:
        raise ValueError("loss needs z, a and y of one shape (n_batch, n_out)")
    if not (SQUARED_ERROR <= cost <= PERCEPTRON):
        raise ValueError("loss needs a cost code from SQUARED_ERROR (0) to PERCEPTRON (5)")
    total = 0.0
    for i in range(z.shape[0]):
        if cost == CROSS_ENTROPY:
            total += float(_cross_entropy(z[i], y[i]))
        elif cost == BINARY_CROSS_ENTROPY:
            for j in range(z.shape[1]):
                total += float(binary_cross_entropy(z[i, j], y[i, j]))
        elif cost == POISSON:
            for j in range(z.shape[1]):
                total += float(poisson(z[i, j], a[i, j], y[i, j]))
        elif cost == PERCEPTRON:
            for j in range(z.shape[1]):
                total += float(perceptron(z[i, j], a[i, j], y[i, j]))
        else:
            for j in range(z.shape[1]):
                total += float(squared_error(a[i, j], y[i, j], cost))
    return total


@inlined
def _has_derivative(activation):
    """True where f' can be taken from a: all activations but step and softmax"""
    return activation in (IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU)


@inlined
def _softmax(z, a):
    """a = exp(z - max z) / sum exp(z - max z) for one row; z and a may be one array

    z   f4|f8 (n_out,)   in
    a   f4|f8 (n_out,)   out
    """
    top = _largest(z)
    total = top - top  # a zero of the right precision; NaN where z is not finite
    for j in range(z.shape[0]):
        a[j] = math.exp(z[j] - top)
        total += a[j]
    for j in range(a.shape[0]):
        a[j] /= total


@inlined
def _cross_entropy(z, y):
    """-sum_j y_j ln softmax(z)_j = (ln sum exp(z)) sum y - sum y z for one row, with z shifted by its maximum

    z, y   f4|f8 (n_out,)   in
    """
    top = _largest(z)
    zero = top - top
    total, mass, picked = zero, zero, zero
    for j in range(z.shape[0]):
        total += math.exp(z[j] - top)
        mass += y[j]
        picked += y[j] * (z[j] - top)
    return math.log(total) * mass - picked


@inlined
def _largest(z):
    """max z of one row

    z   f4|f8 (n_out,)   in   one number or more
    """
    top = z[0]
    for j in range(1, z.shape[0]):
        top = max(top, z[j])
    return top
