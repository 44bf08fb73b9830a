"""The stages of hidden units whose f' needs z, compiled: maxout, and functions of a user's own.

What `stages` says of arrays holds here. `maxout` and `maxout_delta` are for your own @njit code, too; `custom` and
`custom_delta` are called from Python, and compile their loops around a user's functions once per process, not to disk.
"""

from __future__ import annotations

from functools import cache
from types import FunctionType

import numpy as np
from numba.core.errors import NumbaError
from numba.extending import is_jitted

from ..errors import UsageError
from .jit import kernel, passing
from .stages_product import add_product

__all__ = ["custom", "custom_delta", "maxout", "maxout_delta"]


@kernel
def maxout(z, a):
    """a[i, j] = max(z[i, j], z[i, n_units + j]): each unit has two pieces, and says the larger of their net inputs

    z   f4|f8 (n_batch, 2 n_units)   in    x W + b, the columns of piece 0 first: W (n_in, 2 n_units), b (2 n_units,)
    a   f4|f8 (n_batch, n_units)     out

    Raises ValueError where shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.kernels import maxout
    >>> a = np.empty((1, 2))
    >>> maxout(np.array([[1.0, 5.0, 3.0, 2.0]]), a)
    >>> a
    array([[3., 5.]])
    """
    n_batch, n_units = a.shape
    if z.shape != (n_batch, 2 * n_units):
        raise ValueError("maxout needs z (n_batch, 2 n_units) and a (n_batch, n_units)")
    for i in range(n_batch):
        for j in range(n_units):
            first, second = z[i, j], z[i, n_units + j]
            a[i, j] = first if first >= second or first != first else second  # NaN is not lost


@kernel(allocates=True)
def maxout_delta(delta_next, W_next, z, delta):
    """delta = delta_next W_next^T for the piece that is larger, 0 for the other one; of equals piece 0 is the larger

    delta_next   f4|f8 (n_batch, n_out)       in    delta of the layer after this one
    W_next       f4|f8 (n_units, n_out)       in    weights from this layer to the one after, not yet updated
    z            f4|f8 (n_batch, 2 n_units)   in    net inputs of this layer, as for `maxout`
    delta        f4|f8 (n_batch, 2 n_units)   out   as many as there are net inputs

    Raises ValueError where shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.kernels import maxout_delta
    >>> delta = np.empty((1, 4))
    >>> maxout_delta(np.array([[2.0]]), np.array([[1.0], [4.0]]), np.array([[1.0, 5.0, 3.0, 2.0]]), delta)
    >>> delta
    array([[0., 8., 2., 0.]])
    """
    n_batch, n_units = delta_next.shape[0], W_next.shape[0]
    if delta_next.shape[1] != W_next.shape[1] or z.shape != (n_batch, 2 * n_units) or delta.shape != z.shape:
        raise ValueError(
            "maxout_delta needs delta_next (n_batch, n_out), W_next (n_units, n_out), z and delta (n_batch, 2 n_units)"
        )
    back = np.zeros((n_batch, n_units), delta.dtype)
    add_product(delta_next, np.ascontiguousarray(W_next.T), back)
    delta[:, :] = 0
    for i in range(n_batch):
        for j in range(n_units):
            winner = j if z[i, j] >= z[i, n_units + j] else n_units + j
            delta[i, winner] = back[i, j]


def custom(activation, z, a):
    """a[i, j] = f(z[i, j])

    activation   CustomActivation           in    `f` is compiled, unless it is already
    z            f4|f8 (n_batch, n_units)   in    net input
    a            f4|f8 (n_batch, n_units)   out   activation

    Raises ValueError where shapes do not fit, UsageError where f cannot be compiled or raises an error.
    """
    if a.shape != z.shape:
        raise ValueError("custom needs z and a of one shape (n_batch, n_units)")
    _run(activation, activation.f, _values, z, a)


def custom_delta(delta_next, W_next, z, a, activation, delta):
    """delta[i, k] = f'(z[i, k], a[i, k]) sum_j W_next[k, j] delta_next[i, j]

    z            f4|f8 (n_batch, n_in)   in    net input of this layer
    a            f4|f8 (n_batch, n_in)   in    activation of this layer
    activation   CustomActivation        in    `f_prime` is compiled, unless it is already

    The other arrays are those of `hidden_delta`. Raises what `custom` raises.
    """
    n_batch, n_in = len(delta_next), len(W_next)
    if delta_next.shape[1] != W_next.shape[1] or not z.shape == a.shape == delta.shape == (n_batch, n_in):
        raise ValueError(
            "custom_delta needs delta_next (n_batch, n_out), W_next (n_in, n_out), z, a and delta (n_batch, n_in)"
        )
    _back(delta_next, W_next, delta)
    _run(activation, activation.f_prime, _times_slopes, z, a, delta)


@kernel(allocates=True)
def _back(delta_next, W_next, delta):
    """delta = delta_next W_next^T"""
    delta[:, :] = 0
    add_product(delta_next, np.ascontiguousarray(W_next.T), delta)


@passing
def _values(f, z, a):
    """a = f(z)"""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            a[i, j] = f(z[i, j])


@passing
def _times_slopes(f_prime, z, a, delta):
    """delta *= f'(z, a)"""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            delta[i, j] *= f_prime(z[i, j], a[i, j])


@cache
def _compiled(function, n_arguments):
    """A user's function as compiled code can call it; what is no plain function (math.tanh) is wrapped in one."""
    if is_jitted(function):
        return function
    if not isinstance(function, FunctionType):
        inner = function
        function = (lambda z: inner(z)) if n_arguments == 1 else (lambda z, a: inner(z, a))
    return passing(function)


def _run(activation, function, loop, *arrays):
    """loop(function, *arrays); what goes wrong in a user's function becomes one sentence."""
    name = "f" if loop is _values else "f_prime"
    try:
        loop(_compiled(function, 1 if loop is _values else 2), *arrays)
    except NumbaError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        why = next((line for line in lines if not line.startswith("Failed in")), type(error).__name__)
        raise UsageError(
            f"activation {activation.name}: Numba cannot compile {name} for numbers of type {arrays[0].dtype} "
            f"({why}); use arithmetic and the functions of math, or engine reference"
        ) from error
    except Exception as error:
        raise UsageError(
            f"activation {activation.name}: {name} raised {type(error).__name__} ({error}) during the run; it must "
            "give a number for every z"
        ) from error
