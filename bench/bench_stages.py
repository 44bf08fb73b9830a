"""The stages of backpropagation, one by one, on the first hidden layer and the output layer of 784-16-16-10."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.kernels import CROSS_ENTROPY, SIGMOID, SOFTMAX, reference, stages

MODULES = {"reference": reference, "stages": stages}


def arrays(*shapes):
    """float32 arrays of these shapes, filled with numbers between 0.1 and 0.9."""
    rng = np.random.default_rng(0)
    return [rng.uniform(0.1, 0.9, shape).astype(np.float32) for shape in shapes]


def stage_arguments(stage, n):
    """What each stage is called with for a batch of n samples."""
    x, h, W, b, delta = arrays((n, 784), (n, 16), (784, 16), (16,), (n, 16))
    p, y, W_next, delta_next = arrays((n, 10), (n, 10), (16, 10), (n, 10))
    return {
        "forward": (x, W, b, SIGMOID, h, h),
        "output_delta": (p, y, SOFTMAX, CROSS_ENTROPY, delta_next),
        "hidden_delta": (delta_next, W_next, h, SIGMOID, delta),
        "gradient": (x, delta, np.empty_like(W), np.empty_like(b)),
        "update": (W, b, np.zeros_like(W), np.zeros_like(b), 0.1, 0.0, n),
        "loss": (p, p, y, CROSS_ENTROPY),
    }[stage]


@pytest.mark.parametrize("n", [1, 32, 256])
@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("stage", ["forward", "output_delta", "hidden_delta", "gradient", "update", "loss"])
def bench_stage(benchmark, stage, module, n):
    function = getattr(MODULES[module], stage)
    arguments = stage_arguments(stage, n)
    function(*arguments)  # compiles
    benchmark.group = f"{stage}, batch {n}"
    benchmark(function, *arguments)
