"""A performance regression suite for your own project: copy this file, put your functions in, and run

    pytest test_speed.py --speed-json speed.json

It needs no conftest: `speed_ratio` comes with fastbp (pip install fastbp pytest).
"""

import numpy as np

from fastbp.kernels import SIGMOID, forward, update


def plain_forward(x, W, b, a):
    """What `forward` computes, as one would write it in NumPy."""
    a[:] = 1 / (1 + np.exp(-(x @ W + b)))


def test_a_small_layer_beats_numpy(speed_ratio):
    rng = np.random.default_rng(0)
    x, W, b = rng.random((1, 32)), rng.random((32, 16)), rng.random(16)
    a, expected = np.empty((1, 16)), np.empty((1, 16))
    speed_ratio(
        lambda: forward(x, W, b, SIGMOID, a, a),
        lambda: plain_forward(x, W, b, expected),
        at_least=0.5,  # your own limit: somewhat below what you measure
    )
    np.testing.assert_allclose(a, expected)  # a wrong result is no speed


def test_with_a_setup(speed_ratio):
    """`setup` makes the arguments before every call, outside the timed part: here, weights nobody has changed yet."""

    def fresh():
        return np.ones((784, 16)), np.ones(16), np.ones((784, 16)), np.ones(16)

    def one_by_one(W, b, dW, db):
        for k in range(W.shape[0]):
            W[k] -= 0.1 * dW[k] / 32
        b -= 0.1 * db / 32

    speed_ratio(
        lambda W, b, dW, db: update(W, b, dW, db, 0.1, 0.0, 32),
        one_by_one,
        at_least=2.0,
        setup=fresh,
        rounds=30,
        seconds=0.5,
        name="update against a loop in Python",
    )
