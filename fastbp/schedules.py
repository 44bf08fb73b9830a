"""Learning rates over a run: constant, linear, step, inverse, adaptive, cosine and one_cycle.

The settings, the number of batches per epoch and of samples come in; one learning rate per batch goes out, an epoch at
a time. In all formulas eta is the setting `learning_rate`, t = 0, 1, ... counts updates, T is the number of updates
in all epochs, and e = 0, 1, ... counts epochs. NumPy only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import Config
from .errors import UsageError

__all__ = ["Schedule", "cosine", "inverse", "linear", "one_cycle", "step"]

Rates = NDArray[np.float64]

START_SHARE = 1 / 25  # of the peak, where one_cycle begins; it ends at a ten thousandth of that (PyTorch's OneCycleLR)
END_SHARE = START_SHARE / 1e4


def linear(eta: float, t: Rates, n_updates: int) -> Rates:
    """eta (1 - t / T): to 0 in equal steps, one per update.

    Examples
    --------
    >>> linear(0.8, np.arange(4), 4).round(3)
    array([0.8, 0.6, 0.4, 0.2])
    """
    return eta * (1.0 - t / n_updates)


def cosine(eta: float, t: Rates, n_updates: int) -> Rates:
    """eta/2 (1 + cos(pi t / T)): slowly at both ends. Loshchilov, Hutter 2017 (SGDR), eq. 5, without restarts.

    Examples
    --------
    >>> cosine(1.0, np.array([0, 1, 2, 3]), 4).round(3)
    array([1.   , 0.854, 0.5  , 0.146])
    """
    return eta / 2 * (1.0 + np.cos(math.pi * t / n_updates))


def one_cycle(eta: float, t: Rates, n_updates: int, warm_up: float) -> Rates:
    """From eta/25 up to eta in the share `warm_up` of all updates, then down to eta/250,000; each way half a cosine.

    Smith, Topin 2018 (super-convergence), with the numbers and the half cosines of PyTorch's OneCycleLR: the peak is
    at update warm_up * T - 1, the end at T - 1. Momentum does not cycle.

    Examples
    --------
    >>> one_cycle(1.0, np.arange(5), 5, 0.6).round(4)
    array([0.04, 0.52, 1.  , 0.5 , 0.  ])
    """
    peak = warm_up * n_updates - 1.0
    up = np.clip(t / peak, 0.0, 1.0) if peak > 0 else np.ones_like(t, dtype=np.float64)
    down = np.clip((t - peak) / (n_updates - 1.0 - peak), 0.0, 1.0)
    rising = START_SHARE + (1 - START_SHARE) * (1.0 - np.cos(math.pi * up)) / 2
    falling = END_SHARE + (1 - END_SHARE) * (1.0 + np.cos(math.pi * down)) / 2
    return np.asarray(eta * np.where(t <= peak, rising, falling))


def step(eta: float, epoch: int, every: int, factor: float) -> float:
    """eta * factor^floor(e / every): multiplied by `factor` after every `every` epochs (PyTorch's StepLR).

    Examples
    --------
    >>> [step(1.0, epoch, every=2, factor=0.5) for epoch in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    n_steps = epoch // every
    return eta * math.pow(factor, n_steps)


def inverse(eta: float, n_seen: int, power: float) -> float:
    """eta / (n + 1)^power, n samples seen before the epoch: scikit-learn's "invscaling", as its MLPs count.

    It falls fast: after one epoch of 60,000 samples, a power of 0.5 leaves 1/245 of the rate and 0.1 leaves 1/3.

    Examples
    --------
    >>> inverse(1.0, 99, 0.5)
    0.1
    """
    return eta / math.pow(n_seen + 1, power)


class Schedule:
    """The learning rates of one run.

    Parameters
    ----------
    config : Config
        its `learning_rate` is set; with lbfgs, which asks for no rates, it is None
    n_batches, n_samples : int
        of one epoch

    Examples
    --------
    >>> schedule = Schedule(Config(learning_rate=0.5, epochs=2), n_batches=2, n_samples=64)
    >>> schedule.rates(1), schedule.rates(2)
    (array([0.5  , 0.375]), array([0.25 , 0.125]))
    """

    def __init__(self, config: Config, n_batches: int, n_samples: int) -> None:
        self._config, self._n_batches, self._n_samples = config, n_batches, n_samples
        self._eta = config.learning_rate or math.nan  # of adaptive, which lowers it
        self._held: float | None = None
        self._lowest, self._waited = math.inf, 0
        self._scale = 1.0

    def rates(self, epoch: int) -> Rates:
        """One learning rate per batch of an epoch, (n_batches,); the first epoch is 1."""
        rates = self._planned(epoch)
        return rates if self._scale == 1.0 else rates * self._scale

    def _planned(self, epoch: int) -> Rates:
        config, eta, e = self._config, self._eta, epoch - 1
        t = e * self._n_batches + np.arange(self._n_batches, dtype=np.float64)
        n_updates = config.epochs * self._n_batches
        if self._held is not None:
            return np.full(self._n_batches, self._held)
        if config.schedule == "linear":
            return linear(eta, t, n_updates)
        if config.schedule == "cosine":
            return cosine(eta, t, n_updates)
        if config.schedule == "one_cycle":
            return one_cycle(eta, t, n_updates, config.warm_up)
        if config.schedule == "step":
            eta = step(eta, e, config.step_every, config.rate_factor)
        elif config.schedule == "inverse":
            eta = inverse(eta, e * self._n_samples, config.inverse_power)
        return np.full(self._n_batches, eta)  # constant and adaptive, too

    def heard(self, cost: float) -> None:
        """The cost of an epoch, of the validation samples where there are some.

        adaptive: after `rate_patience` epochs in a row whose cost is not lower than the lowest one by more than
        `min_delta`, eta is multiplied by `rate_factor`, and the count begins anew (PyTorch's ReduceLROnPlateau;
        scikit-learn's "adaptive" with factor 1/5).
        """
        if cost < self._lowest - self._config.min_delta:
            self._lowest, self._waited = cost, 0
            return
        self._waited += 1
        if self._config.schedule == "adaptive" and self._waited >= self._config.rate_patience:
            self._eta *= self._config.rate_factor
            self._waited = 0

    def halve(self) -> None:
        """From here on, all learning rates are half as large; those that `hold` sets afterwards, too."""
        self._scale /= 2

    def state(self) -> dict[str, float | None]:
        """What the rates depend on besides the settings, for `set_state`."""
        return {
            "eta": self._eta,
            "held": self._held,
            "lowest": self._lowest,
            "waited": self._waited,
            "scale": self._scale,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what another schedule of the same settings had."""
        self._eta, self._held, self._scale = state["eta"], state["held"], state["scale"]
        self._lowest, self._waited = state["lowest"], int(state["waited"])

    def hold(self, rate: float) -> None:
        """From the next epoch on, the learning rate is `rate`, whatever the schedule.

        Raises
        ------
        UsageError
            a rate that is no finite number above 0, or lbfgs
        """
        if self._config.optimizer == "lbfgs":
            raise UsageError("lbfgs has no learning rate to set: its line search finds the length of each step")
        if not (isinstance(rate, int | float | np.floating) and math.isfinite(rate) and rate > 0):
            raise UsageError(f"the learning rate must be a finite number greater than 0, got {rate!r}")
        self._held = float(rate)
