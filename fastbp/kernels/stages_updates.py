"""The last stage of backpropagation, compiled: a step of each optimiser; the functions of `reference`, name by name.

What `stages` says of arrays holds here.
"""

from __future__ import annotations

import math

import numpy as np

from .jit import kernel

__all__ = ["adam_update", "momentum_update", "nesterov_update", "rmsprop_update", "update"]


@kernel
def update(W, b, dW, db, eta, decay, n_samples):
    """W -= eta (dW / n_samples + decay W), b -= eta db / n_samples

    W    f4|f8 (n_in, n_out)   in, out
    b    f4|f8 (n_out,)        in, out   never decayed
    dW   f4|f8 (n_in, n_out)   in
    db   f4|f8 (n_out,)        in

    One step of gradient descent on the mean cost of the samples plus decay/2 * sum of W^2.

    Raises ValueError where shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.kernels import update
    >>> W, b = np.array([[1.0]]), np.array([2.0])
    >>> update(W, b, np.array([[8.0]]), np.array([4.0]), 0.5, 0.0, 4)
    >>> W, b
    (array([[0.]]), array([1.5]))
    """
    if dW.shape != W.shape or db.shape != b.shape or b.shape[0] != W.shape[1]:
        raise ValueError("update needs W and dW (n_in, n_out), b and db (n_out,)")
    real = W.dtype.type  # scalars come as float64; in the precision of W they do not widen every product
    eta, decay, n = real(eta), real(decay), real(n_samples)
    for k in range(W.shape[0]):
        for j in range(W.shape[1]):
            W[k, j] -= eta * (dW[k, j] / n + decay * W[k, j])
    for j in range(b.shape[0]):
        b[j] -= eta * (db[j] / n)


@kernel
def momentum_update(W, b, dW, db, velocity_W, velocity_b, eta, decay, n_samples, momentum):
    """v = momentum v - eta g, W += v, where g = dW / n_samples + decay W (no decay for b)

    velocity_W   f4|f8 (n_in, n_out)   in, out   starts at 0
    velocity_b   f4|f8 (n_out,)        in, out   starts at 0

    Polyak 1964; the other arrays are those of `update`.

    Raises ValueError where shapes do not fit.
    """
    if dW.shape != W.shape or db.shape != b.shape or b.shape[0] != W.shape[1]:
        raise ValueError("momentum_update needs W and dW (n_in, n_out), b and db (n_out,)")
    if velocity_W.shape != W.shape or velocity_b.shape != b.shape:
        raise ValueError("momentum_update needs velocity_W of the shape of W and velocity_b of the shape of b")
    real = W.dtype.type
    eta, decay, n, momentum = real(eta), real(decay), real(n_samples), real(momentum)
    for k in range(W.shape[0]):
        for j in range(W.shape[1]):
            v = momentum * velocity_W[k, j] - eta * (dW[k, j] / n + decay * W[k, j])
            velocity_W[k, j] = v
            W[k, j] += v
    for j in range(b.shape[0]):
        v = momentum * velocity_b[j] - eta * (db[j] / n)
        velocity_b[j] = v
        b[j] += v


@kernel
def nesterov_update(W, b, dW, db, velocity_W, velocity_b, eta, decay, n_samples, momentum):
    """v = momentum v - eta g, W += momentum v - eta g, where g = dW / n_samples + decay W (no decay for b)

    The arrays are those of `momentum_update`. Nesterov 1983, in the form of Bengio, Boulanger-Lewandowski and Pascanu
    2013: W is the point at which the next gradient is taken.

    Raises ValueError where shapes do not fit.
    """
    if dW.shape != W.shape or db.shape != b.shape or b.shape[0] != W.shape[1]:
        raise ValueError("nesterov_update needs W and dW (n_in, n_out), b and db (n_out,)")
    if velocity_W.shape != W.shape or velocity_b.shape != b.shape:
        raise ValueError("nesterov_update needs velocity_W of the shape of W and velocity_b of the shape of b")
    real = W.dtype.type
    eta, decay, n, momentum = real(eta), real(decay), real(n_samples), real(momentum)
    for k in range(W.shape[0]):
        for j in range(W.shape[1]):
            step = eta * (dW[k, j] / n + decay * W[k, j])
            v = momentum * velocity_W[k, j] - step
            velocity_W[k, j] = v
            W[k, j] += momentum * v - step
    for j in range(b.shape[0]):
        step = eta * (db[j] / n)
        v = momentum * velocity_b[j] - step
        velocity_b[j] = v
        b[j] += momentum * v - step


@kernel
def rmsprop_update(W, b, dW, db, square_W, square_b, eta, decay, n_samples, rho, epsilon):
    """u = rho u + (1 - rho) g^2, W -= eta g / (sqrt(u) + epsilon), where g = dW / n_samples + decay W (no decay for b)

    square_W   f4|f8 (n_in, n_out)   in, out   starts at 0
    square_b   f4|f8 (n_out,)        in, out   starts at 0

    Tieleman, Hinton 2012, lecture 6.5; the other arrays are those of `update`.

    Raises ValueError where shapes do not fit.
    """
    if dW.shape != W.shape or db.shape != b.shape or b.shape[0] != W.shape[1]:
        raise ValueError("rmsprop_update needs W and dW (n_in, n_out), b and db (n_out,)")
    if square_W.shape != W.shape or square_b.shape != b.shape:
        raise ValueError("rmsprop_update needs square_W of the shape of W and square_b of the shape of b")
    real = W.dtype.type
    eta, decay, n, epsilon = real(eta), real(decay), real(n_samples), real(epsilon)
    keep, take = real(rho), real(1.0 - rho)
    for k in range(W.shape[0]):
        for j in range(W.shape[1]):
            g = dW[k, j] / n + decay * W[k, j]
            u = keep * square_W[k, j] + take * (g * g)
            square_W[k, j] = u
            W[k, j] -= eta * g / (np.sqrt(u) + epsilon)
    for j in range(b.shape[0]):
        g = db[j] / n
        u = keep * square_b[j] + take * (g * g)
        square_b[j] = u
        b[j] -= eta * g / (np.sqrt(u) + epsilon)


@kernel
def adam_update(W, b, dW, db, mean_W, mean_b, square_W, square_b, eta, decay, n_samples, beta_1, beta_2, epsilon, step):
    """m = beta_1 m + (1 - beta_1) g, u = beta_2 u + (1 - beta_2) g^2, W -= eta_t m / (sqrt(u) + epsilon)

    where g = dW / n_samples + decay W (no decay for b) and eta_t = eta sqrt(1 - beta_2^step) / (1 - beta_1^step).

    mean_W, square_W   f4|f8 (n_in, n_out)   in, out   m and u, start at 0
    mean_b, square_b   f4|f8 (n_out,)        in, out   start at 0
    step               1 for the first update

    Kingma, Ba 2015, the form at the end of their section 2; the other arrays are those of `update`.

    Raises ValueError where shapes do not fit.
    """
    if dW.shape != W.shape or db.shape != b.shape or b.shape[0] != W.shape[1]:
        raise ValueError("adam_update needs W and dW (n_in, n_out), b and db (n_out,)")
    if mean_W.shape != W.shape or square_W.shape != W.shape or mean_b.shape != b.shape or square_b.shape != b.shape:
        raise ValueError("adam_update needs mean_W, square_W of the shape of W and mean_b, square_b of that of b")
    real = W.dtype.type
    eta_t = real(eta * math.sqrt(1.0 - beta_2**step) / (1.0 - beta_1**step))
    decay, n, epsilon = real(decay), real(n_samples), real(epsilon)
    keep_1, take_1, keep_2, take_2 = real(beta_1), real(1.0 - beta_1), real(beta_2), real(1.0 - beta_2)
    for k in range(W.shape[0]):
        for j in range(W.shape[1]):
            g = dW[k, j] / n + decay * W[k, j]
            m = keep_1 * mean_W[k, j] + take_1 * g
            u = keep_2 * square_W[k, j] + take_2 * (g * g)
            mean_W[k, j] = m
            square_W[k, j] = u
            W[k, j] -= eta_t * m / (np.sqrt(u) + epsilon)
    for j in range(b.shape[0]):
        g = db[j] / n
        m = keep_1 * mean_b[j] + take_1 * g
        u = keep_2 * square_b[j] + take_2 * (g * g)
        mean_b[j] = m
        square_b[j] = u
        b[j] -= eta_t * m / (np.sqrt(u) + epsilon)
