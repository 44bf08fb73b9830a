"""Learning rates, against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastbp import Config, UsageError
from fastbp.schedules import Schedule


def rates(n_batches: int = 2, n_samples: int = 100, costs: tuple[float, ...] = (), **settings: Any) -> list[float]:
    """Of all batches of all epochs; costs are those of the epochs."""
    config = Config(**{"learning_rate": 1.0, "epochs": 3, **settings})
    schedule = Schedule(config, n_batches, n_samples)
    found = []
    for epoch in range(1, config.epochs + 1):
        each = schedule.rates(epoch)
        assert (each.shape, each.dtype) == ((n_batches,), np.float64)
        found.extend(each.tolist())
        schedule.heard(costs[epoch - 1] if costs else 1.0)
    return found


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"schedule": "constant"}, [1, 1, 1, 1, 1, 1]),
        ({"schedule": "linear"}, [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        # cos of 0, 30, 60, 90, 120, 150 degrees
        ({"schedule": "cosine"}, [1, 0.9330127, 0.75, 0.5, 0.25, 0.0669873]),
        ({"schedule": "step", "step_every": 1, "rate_factor": 0.5}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ({"schedule": "step", "step_every": 2, "rate_factor": 0.1}, [1, 1, 1, 1, 0.1, 0.1]),
        ({"schedule": "step"}, [1] * 6),
        # 1 / 101^0.5 and 1 / 201^0.5
        ({"schedule": "inverse"}, [1, 1, 0.0995037, 0.0995037, 0.0705346, 0.0705346]),
        ({"schedule": "inverse", "inverse_power": 1.0}, [1, 1, 1 / 101, 1 / 101, 1 / 201, 1 / 201]),
        # the peak at update 0.5 * 6 - 1 = 2, the end at update 5; between them half cosines:
        # rising 1/25 + 24/25 (1 - cos 90) / 2, falling with cos 60 and cos 120
        ({"schedule": "one_cycle", "warm_up": 0.5}, [0.04, 0.52, 1, 0.750001, 0.250003, 4e-6]),
        # no warm-up: it falls from before the first update, with cos of 30, 60, ... degrees
        ({"schedule": "one_cycle", "warm_up": 0.0}, [0.9330130, 0.750001, 0.500002, 0.250003, 0.0669910, 4e-6]),
    ],
)
def test_worked_by_hand(settings: dict[str, Any], expected: list[float]) -> None:
    assert rates(**settings) == pytest.approx(expected, abs=3e-6)
    doubled = rates(learning_rate=2.0, **settings)
    assert doubled == pytest.approx([2 * rate for rate in expected], abs=6e-6)


def test_one_cycle_as_pytorch_counts() -> None:
    """The formulas of torch.optim.lr_scheduler.OneCycleLR(max_lr=1, total_steps=10), in Python's math."""
    from math import cos, pi

    expected = []
    for t in range(10):
        if t <= 0.3 * 10 - 1:
            low, high, share = 1 / 25, 1.0, t / 2
        else:
            low, high, share = 1.0, 1 / 25 / 1e4, (t - 2) / 7
        expected.append(high + (low - high) / 2 * (1 + cos(pi * share)))
    assert rates(n_batches=10, epochs=1, schedule="one_cycle") == pytest.approx(expected, abs=1e-12)
    assert expected[2] == pytest.approx(1.0)


@pytest.mark.parametrize("n_batches", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("warm_up", [0.0, 0.1, 0.25, 0.3, 1 / 3, 0.5, 0.99])
def test_one_cycle_is_finite_and_positive_whatever_the_numbers(n_batches: int, warm_up: float) -> None:
    for epochs in (1, 2):
        found = rates(n_batches=n_batches, epochs=epochs, schedule="one_cycle", warm_up=warm_up)
        assert np.isfinite(found).all()
        assert min(found) > 0
        assert max(found) <= 1.0
        assert found[-1] == pytest.approx(4e-6, rel=1e-6) or warm_up == 0.99


@pytest.mark.parametrize(
    ("costs", "settings", "expected"),
    [
        # two epochs in a row without a lower cost, then the rate falls and the count begins anew
        ((1.0, 0.9, 0.9, 0.95, 0.8, 0.8, 0.8), {}, [1, 1, 1, 1, 0.2, 0.2, 0.2]),
        ((1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0), {}, [1, 1, 1, 0.2, 0.2, 0.04, 0.04]),
        (
            (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
            {"rate_patience": 1, "rate_factor": 0.5},
            [1, 1, 0.5, 0.25, 0.125, 2**-4, 2**-5],
        ),
        # each is lower by 0.1, which is not enough once, but is twice
        (
            (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4),
            {"rate_patience": 1, "min_delta": 0.15},
            [1, 1, 0.2, 0.2, 0.04, 0.04, 0.008],
        ),
        ((1.0, float("nan"), float("nan"), 0.5, 0.4, 0.3, 0.2), {}, [1, 1, 1, 0.2, 0.2, 0.2, 0.2]),
    ],
)
def test_adaptive(costs: tuple[float, ...], settings: dict[str, Any], expected: list[float]) -> None:
    found = rates(n_batches=1, epochs=7, costs=costs, schedule="adaptive", **settings)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["constant", "linear", "step", "inverse", "cosine", "one_cycle"])
def test_costs_move_no_other_schedule(schedule: str) -> None:
    falling = tuple(np.linspace(1, 0.1, 5))
    assert rates(epochs=5, costs=falling, schedule=schedule) == rates(epochs=5, costs=(1.0,) * 5, schedule=schedule)


def test_a_rate_that_is_held_is_the_rate() -> None:
    schedule = Schedule(Config(learning_rate=1.0), 2, 10)
    schedule.hold(np.float32(0.25))
    assert schedule.rates(3).tolist() == [0.25, 0.25]
    for wrong in (0, -1.0, float("nan"), float("inf"), "1", None):
        with pytest.raises(UsageError, match="learning rate must be a finite number greater than 0, got"):
            schedule.hold(wrong)  # type: ignore[arg-type]
