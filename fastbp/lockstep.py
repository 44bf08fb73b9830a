"""Networks side by side on a GPU, epoch by epoch: each is a `Run` as in `training`, but their batches are one launch.

Settings come in, results go out as networks end, and are those of `train`. Networks that agree in shape, data and rule
are a fleet (`kernels.protocol.Fleet`); what differs from one to the other (seed, learning rates, stopping, ...) stays
with its run. What a run sees as its engine is a `Member`, which has no batches trained for itself alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import Config
from .data import Dataset
from .epochs import Epoch, batches_that_last
from .errors import UsageError
from .kernels import Evaluation, OptimizerState, Settings, Split, announce_compiling, open_fleet
from .result import TrainingResult
from .training import Run
from .watching import Callback

__all__ = ["Formation", "Member", "fleets_of", "train_fleet", "train_in_fleets"]

LAUNCH_SECONDS = 0.25  # a launch lasts about this long: weights come back after each, and Ctrl-C is heard
LARGEST_FLEET = 2048  # networks; a GPU has room for some hundreds at a time
MOST_BYTES = 2**31  # what the weights, orders, rates and costs of a fleet may take

# Settings that may differ within a fleet: each run knows its own, or every block of threads is told. Others must agree.
OF_EACH = (
    *("seed", "init", "learning_rate", "momentum", "beta_1", "beta_2", "rho", "epsilon", "weight_decay"),
    *("schedule", "step_every", "rate_factor", "rate_patience", "inverse_power", "warm_up"),
    *("epochs", "patience", "min_delta", "stop_below", "time_limit", "evaluate"),
)


def train_in_fleets(
    dataset: Dataset,
    configs: Mapping[int, Config],
    on_result: Callable[[int, TrainingResult], None],
    watchers: tuple[Callback, ...] = (),
    samples: Mapping[str, Any] | None = None,
) -> None:
    """Train one network for each config, as many at a time as memory has room for.

    Parameters
    ----------
    dataset : Dataset
    configs : dict of Config
        by any number
    on_result : callable
        called as on_result(number, result) when a network has ended
    watchers : tuple of Callback
        told of phases, such as compiling
    samples : dict, optional
        further arguments of `Run`: validation_data, sample_weight

    Raises
    ------
    UsageError
        ``on_nan restore``: the memory of a fleet's optimizers stays on the device
    """
    if any(config.on_nan == "restore" for config in configs.values()):
        raise UsageError("on_nan restore is for networks on the CPU, or one at a time; use device cpu, or on_nan stop")
    shared: dict[Any, Any] = {}

    def tell(text: str) -> None:
        for watcher in watchers:
            watcher.on_phase(text)

    for numbers in fleets_of(configs):
        kept = {} if configs[numbers[0]].validation else shared  # each seed holds out others: they must not pile up
        begun = 0
        while begun < len(numbers):
            with announce_compiling(tell):
                formation, runs = _open(dataset, configs, numbers[begun:], kept, samples or {})
            begun += len(runs)
            train_fleet(formation, runs, on_result)
            del formation  # and its memory on the device


def _open(
    dataset: Dataset,
    configs: Mapping[int, Config],
    numbers: Sequence[int],
    shared: dict[Any, Any],
    samples: Mapping[str, Any],
) -> tuple[Formation, dict[int, Run]]:
    """The runs of the first of these networks, as many as there is room for, and their fleet."""
    members: list[Member] = []

    def enlist(*what: Any, **how: Any) -> Member:
        members.append(Member(*what, **how))
        return members[-1]

    runs: dict[int, Run] = {}
    for number in numbers:
        runs[number] = Run(dataset, configs[number], shared=shared, opener=enlist, **samples)
        if len(runs) == members[0].fleet_size:
            break
    return Formation(dict(zip(runs, members, strict=True))), runs


def fleets_of(configs: Mapping[int, Config]) -> list[list[int]]:
    """The numbers of the configs that can be trained together, of each kind.

    Examples
    --------
    >>> fleets_of({1: Config(seed=1), 2: Config(layers="8"), 5: Config(seed=2, learning_rate=0.1)})
    [[1, 5], [2]]
    """
    fleets: dict[Any, list[int]] = {}
    names = [field.name for field in dataclasses.fields(Config) if field.name not in (*OF_EACH, "clip_norm")]
    for number, config in configs.items():
        held_out = config.seed if config.validation else None  # the seed chooses the samples that are held out
        kind = (*(getattr(config, name) for name in names), config.clip_norm is None, held_out)
        fleets.setdefault(kind, []).append(number)
    return list(fleets.values())


class Member:
    """One network of a fleet, as a `Run` sees it: an engine. Made like one by `open_engine`; `Formation` opens it."""

    def __init__(
        self, network: Any, theta: NDArray[Any], train: Split, test: Split, settings: Settings, **how: Any
    ) -> None:
        self.data = (network, train, test)
        self.how = {name: how[name] for name in ("x_scale", "classes", "engine", "input_layout")}
        self.theta, self.settings = theta, settings
        self.name, self.density = "", 0.0
        self._formation: Formation | None = None
        self._place = 0

    @property
    def fleet_size(self) -> int:
        """How many networks like this one may be trained at a time, so that memory stays bounded."""
        n_train = len(self.data[1].y)
        each = 4 * n_train + 32 * -(-n_train // self.settings.batch_size) + 32 * self.theta.size
        return max(1, min(LARGEST_FLEET, MOST_BYTES // each))

    def join(self, formation: Formation, place: int) -> None:
        """From now on, the weights are on the device."""
        self._formation, self._place = formation, place
        self.name, self.density = formation.fleet.name, formation.fleet.density

    def evaluate(self, split: str) -> Evaluation:
        """See `protocol.Engine`, for this and the others."""
        assert self._formation is not None
        return self._formation.evaluate(self._place, split)

    def parameters(self) -> NDArray[Any]:
        return self.theta if self._formation is None else self._formation.parameters(self._place)

    def set_parameters(self, theta: NDArray[Any]) -> None:
        assert self._formation is not None
        self._formation.set_parameters(self._place, theta)

    def run(self, order: NDArray[np.uint32], etas: NDArray[np.float64], costs: NDArray[np.float64]) -> None:
        raise UsageError("a network of a fleet is trained together with the others; use train for one alone")

    def cost_and_gradient(self) -> tuple[float, NDArray[Any]]:
        raise UsageError("a fleet tells no gradients; use device cpu")

    def reset_state(self) -> None:
        raise UsageError("a fleet keeps the state of its optimizers; use train for one network alone")

    def state(self) -> OptimizerState:
        raise UsageError("a fleet keeps the state of its optimizers; use train for one network alone")

    def set_state(self, state: OptimizerState) -> None:
        raise UsageError("a fleet keeps the state of its optimizers; use train for one network alone")


class Formation:
    """A fleet, and what it was last asked: one question to the device answers for all its networks."""

    def __init__(self, members: Mapping[int, Member]) -> None:
        first = next(iter(members.values()))
        network, train, test = first.data
        thetas = np.stack([member.theta for member in members.values()])
        rules = [member.settings for member in members.values()]
        self.fleet = open_fleet(network, thetas, train, test, rules, **first.how)
        self.weighted = train.weights is not None
        self.places = {number: place for place, number in enumerate(members)}
        self._thetas: NDArray[Any] | None = None  # (n, n_parameters)
        self._own: dict[int, NDArray[Any]] = {}  # weights that were set since
        self._evaluations: dict[str, Sequence[Evaluation]] = {}
        for number, member in members.items():
            member.join(self, self.places[number])

    def order(self, epochs: Mapping[int, Epoch]) -> None:
        """Every network's samples in the order of its epoch: made on the device, unless it is needed here as well."""
        n_networks, first = len(self.places), next(iter(epochs.values()))
        if first.key is not None and not self.weighted:
            keys = np.zeros(n_networks, np.uint64)
            for number, epoch in epochs.items():
                keys[self.places[number]] = epoch.key or 0
            self.fleet.shuffle(keys)
        elif first.key is not None or first.number == 1:
            orders = np.zeros((n_networks, first.n_samples), np.uint32)
            for number, epoch in epochs.items():
                orders[self.places[number]] = epoch.order
            self.fleet.set_orders(orders)

    def run(self, numbers: Sequence[int], first: int, etas: NDArray[Any], costs: NDArray[Any]) -> None:
        """Train these networks; what was known is out of date."""
        self._thetas, self._own, self._evaluations = None, {}, {}
        self.fleet.run(np.array([self.places[number] for number in numbers]), first, etas, costs)

    def parameters(self, place: int) -> NDArray[Any]:
        """Of one network: a row of those of all, (n_parameters,), to be read only."""
        if place in self._own:
            return self._own[place]
        if self._thetas is None:
            self._thetas = self.fleet.parameters()
        row: NDArray[Any] = self._thetas[place]
        return row

    def set_parameters(self, place: int, theta: NDArray[Any]) -> None:
        """Of one network. Who sets those of several and then asks how good they are, pays for one launch."""
        self._own[place] = np.array(theta, dtype=np.float32)
        self.fleet.set_parameters(place, self._own[place])
        self._evaluations = {}

    def evaluate(self, place: int, split: str) -> Evaluation:
        """Of one network."""
        if split not in self._evaluations:
            self._evaluations[split] = self.fleet.evaluate(split)
        return self._evaluations[split][place]


def train_fleet(formation: Formation, runs: dict[int, Run], on_result: Callable[[int, TrainingResult], None]) -> None:
    """Train all, and call on_result(number, result) as each ends; it is then taken out of `runs`, with its memory.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C: all stop after the present launch
    """
    pace = 1
    try:
        for run in runs.values():
            run.begin()
        while runs:
            planned = {number: run.next_epoch() for number, run in runs.items()}
            ended = [number for number, epoch in planned.items() if epoch is None]
            for number in ended:
                runs[number].close()  # all of them before the first is measured: callbacks may set weights here
            for number in ended:
                on_result(number, runs[number].result())
                del runs[number]
            epochs = {number: epoch for number, epoch in planned.items() if epoch is not None}
            if epochs:
                pace = _train_epoch(formation, runs, epochs, pace)
    except KeyboardInterrupt:
        for run in runs.values():
            run.close("interrupted")
        raise
    finally:
        for run in runs.values():
            run.close("failed")


def _train_epoch(formation: Formation, runs: dict[int, Run], epochs: dict[int, Epoch], pace: int) -> int:
    """One epoch of networks that are all at its beginning; takes and returns how many batches a launch has."""
    formation.order(epochs)
    going = list(epochs)
    etas = np.stack([epoch.etas for epoch in epochs.values()])
    done, n_batches = 0, etas.shape[1]
    while done < n_batches and going:
        end = min(done + pace, n_batches)
        costs = np.empty((len(going), end - done))
        begun = perf_counter()
        formation.run(going, done, np.ascontiguousarray(etas[:, done:end]), costs)
        spent = perf_counter() - begun
        goes_on = []
        for number, of_one in zip(going, costs, strict=True):
            epochs[number].costs[done:end] = of_one
            goes_on.append(runs[number].trained(epochs[number], end, spent))
        pace = batches_that_last(LAUNCH_SECONDS, end - done, spent)
        if not all(goes_on):
            etas = etas[goes_on]
            going = [number for number, yes in zip(going, goes_on, strict=True) if yes]
        done = end
    for number, epoch in epochs.items():
        runs[number].record(epoch)
    return pace
