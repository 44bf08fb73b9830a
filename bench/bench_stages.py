"""The stages of backpropagation, one by one, on the first hidden layer and the output layer of 784-16-16-10.

Each entry takes turns with the same stage of `reference`, whose own entries show how much ratios scatter; `figures`
tells what stands in `extra_info`. The updates work on the weights, whatever the batch; their samples per second are
those of a trainer that does nothing else.
"""

from __future__ import annotations

import numpy as np
import pytest
from figures import race_of_calls, tell

from fastbp.kernels import CROSS_ENTROPY, SIGMOID, SOFTMAX, reference, stages

MODULES = {"reference": reference, "stages": stages}
N_IN, N_HIDDEN, N_OUT = 784, 16, 10
N_PARAMETERS = (N_IN + 1) * N_HIDDEN


def arrays(*shapes):
    """float32 arrays of these shapes, filled with numbers between 0.1 and 0.9."""
    rng = np.random.default_rng(0)
    return [rng.uniform(0.1, 0.9, shape).astype(np.float32) for shape in shapes]


def stage_arguments(stage, n):
    """What each stage is called with for a batch of n samples; at a rate so small that weights stay where they are."""
    x, h, W, b, delta = arrays((n, N_IN), (n, N_HIDDEN), (N_IN, N_HIDDEN), (N_HIDDEN,), (n, N_HIDDEN))
    p, y, W_next, delta_next = arrays((n, N_OUT), (n, N_OUT), (N_HIDDEN, N_OUT), (n, N_OUT))
    dW, db, mean_W, mean_b, square_W, square_b = arrays(*3 * [W.shape, b.shape])
    eta = 1e-9
    return {
        "forward": (x, W, b, SIGMOID, h, h),
        "output_delta": (p, y, SOFTMAX, CROSS_ENTROPY, delta_next),
        "hidden_delta": (delta_next, W_next, h, SIGMOID, delta),
        "gradient": (x, delta, np.empty_like(W), np.empty_like(b)),
        "update": (W, b, dW, db, eta, 0.0, n),
        "momentum_update": (W, b, dW, db, mean_W, mean_b, eta, 0.0, n, 0.9),
        "nesterov_update": (W, b, dW, db, mean_W, mean_b, eta, 0.0, n, 0.9),
        "rmsprop_update": (W, b, dW, db, square_W, square_b, eta, 0.0, n, 0.9, 1e-8),
        "adam_update": (W, b, dW, db, mean_W, mean_b, square_W, square_b, eta, 0.0, n, 0.9, 0.999, 1e-8, 1000),
        "loss": (p, p, y, CROSS_ENTROPY),
    }[stage]


def stage_flops(stage, n):
    """Operations of a stage on a batch of n samples, as `peers.useful_flops` counts them where weights take part.

    Other stages have one for each addition, multiplication, division, root and exponential of an element: a - y; for
    the loss z - max z, exp, y z and two sums; for the updates, at no decay, those of their formulas.
    """
    return {
        "forward": 2 * n * N_IN * N_HIDDEN,
        "output_delta": n * N_OUT,
        "hidden_delta": 2 * n * N_HIDDEN * N_OUT,
        "gradient": 2 * n * N_IN * N_HIDDEN,
        "update": 2 * N_PARAMETERS,
        "momentum_update": 4 * N_PARAMETERS,
        "nesterov_update": 6 * N_PARAMETERS,
        "rmsprop_update": 9 * N_PARAMETERS,
        "adam_update": 13 * N_PARAMETERS,
        "loss": 5 * n * N_OUT,
    }[stage]


@pytest.mark.parametrize("n", [1, 32, 256, 4096])
@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("stage", stages.__all__)
def bench_stage(benchmark, stage, module, n):
    ours, plain = (getattr(each, stage) for each in (MODULES[module], reference))
    mine, other = stage_arguments(stage, n), stage_arguments(stage, n)
    ours(*mine)  # compiles
    benchmark.group = f"{stage}, batch {n}"
    times = race_of_calls(benchmark, lambda: ours(*mine), lambda: plain(*other))
    tell(benchmark, times, samples=n, flops=stage_flops(stage, n) / n, against="reference")
