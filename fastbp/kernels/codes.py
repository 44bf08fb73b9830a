"""Small integers that name activations, costs and optimisers inside kernels, where texts are slow.

from fastbp.kernels import SIGMOID, SOFTMAX, CROSS_ENTROPY
"""

from __future__ import annotations

__all__ = [
    "ACTIVATION",
    "ADAM",
    "ADAMW",
    "BINARY_CROSS_ENTROPY",
    "COST",
    "CROSS_ENTROPY",
    "EXPONENTIAL",
    "IDENTITY",
    "LEAKY_RELU",
    "LEAKY_SLOPE",
    "MAXOUT",
    "MEAN_SQUARED_ERROR",
    "MOMENTUM",
    "NESTEROV",
    "OPTIMIZER",
    "PERCEPTRON",
    "POISSON",
    "RELU",
    "RMSPROP",
    "SGD",
    "SIGMOID",
    "SOFTMAX",
    "SQUARED_ERROR",
    "STEP",
    "TANH",
    "WITH_MOMENTS",
    "WITH_SQUARES",
]

STEP, IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU, SOFTMAX, EXPONENTIAL, MAXOUT = range(9)
SQUARED_ERROR, MEAN_SQUARED_ERROR, BINARY_CROSS_ENTROPY, CROSS_ENTROPY, POISSON, PERCEPTRON = range(6)
SGD, MOMENTUM, ADAM, NESTEROV, RMSPROP, ADAMW = range(6)
WITH_MOMENTS = (MOMENTUM, NESTEROV, ADAM, ADAMW)  # optimizers that remember a velocity, or a mean of gradients
WITH_SQUARES = (RMSPROP, ADAM, ADAMW)  # and those that remember a mean of squared gradients

LEAKY_SLOPE = 0.01

ACTIVATION = {  # those of the stage `forward`; maxout is a stage of its own
    "step": STEP,
    "identity": IDENTITY,
    "sigmoid": SIGMOID,
    "tanh": TANH,
    "relu": RELU,
    "leaky_relu": LEAKY_RELU,
    "softmax": SOFTMAX,
    "exponential": EXPONENTIAL,
}
COST = {
    "squared_error": SQUARED_ERROR,
    "mean_squared_error": MEAN_SQUARED_ERROR,
    "binary_cross_entropy": BINARY_CROSS_ENTROPY,
    "cross_entropy": CROSS_ENTROPY,
    "poisson": POISSON,
    "perceptron": PERCEPTRON,
}
OPTIMIZER = {
    "sgd": SGD,
    "momentum": MOMENTUM,
    "nesterov": NESTEROV,
    "rmsprop": RMSPROP,
    "adam": ADAM,
    "adamw": ADAMW,
}
