"""Training on a GPU: many networks of one shape side by side, or one. Owns data, parameters and state on the device.

What comes in is what `protocol.Engine` describes, and what goes out are the CPU's numbers, to rounding: the same
initial weights, order of samples and formulas, in float32, which is what GPUs are fast in. `cuda_layout` decides where
everything stands, `cuda_fused` has the kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FastbpError, UsageError
from ..streams import stream_key
from .codes import SGD
from .cuda import SIMULATED, cuda, is_out_of_memory, launch
from .cuda_fused import run_batches, shuffle_orders
from .cuda_layout import (
    BATCH_SIZE,
    COPIES,
    LEARN,
    MOST_LAYERS,
    MOST_THREADS,
    N_STEP,
    N_WORDS,
    WEIGHTED,
    Networks,
    Samples,
    Work,
    has_mean,
    has_square,
    layout_of,
    plan_of,
    rule_of,
    steps_of,
)
from .order import shuffle
from .protocol import CsrRows, Evaluation, Settings, Split
from .warming import before_compiling

__all__ = ["CudaEngine", "Fleet"]

MEASURED_AT_ONCE = 256  # samples of a batch that is only measured
WAVES = 4  # blocks for each place on the device where networks are measured, since they end at different times

Array = NDArray[Any]


class Fleet:
    """Networks of one shape on one GPU, trained side by side: one launch trains all of them for some batches.

    Parameters
    ----------
    network
        anything with `sizes`, `activations` and `cost`; see `fastbp.Network`
    thetas : (n, n_parameters) float32
        start weights of n networks, copied
    train, test : Split
        the same for all; `x` is uint8 or float32
    settings : sequence of Settings
        one for each network. They agree in optimizer, batch_size, dropout, update_biases and decay_per_batch, and in
        whether gradients are clipped; rates, decay and seeds may differ
    x_scale : float
        network input = x * x_scale
    classes : bool
        False where targets are values: no accuracy

    Raises
    ------
    UsageError
        what is not done here: float64, sparse rows, networks that are too large, penalties in costs
    FastbpError
        the memory of the device is full
    """

    def __init__(
        self,
        network: Any,
        thetas: Array,
        train: Split,
        test: Split,
        settings: Sequence[Settings],
        *,
        x_scale: float = 1.0,
        classes: bool = True,
    ) -> None:
        rule = settings[0]
        _check(thetas, train, test, rule)
        self.name = "cuda float32"
        self.density = float(np.count_nonzero(train.x) / max(train.x.size, 1))
        self._settings, self._classes = tuple(settings), classes
        self._n, self._n_train = len(thetas), len(train.y)
        self._splits = {"train": train, "test": test}
        self._processors = processors()
        plain = rule.optimizer == SGD and rule.clip_norm == 0
        self._layout = layout_of(network.sizes, rule.batch_size, plain, self._n, self._processors)
        as_bytes = train.x.dtype == np.uint8
        n_threads = self._layout.n_threads
        self._kernel = run_batches(self._layout.inputs, as_bytes, n_threads, max(1, MOST_THREADS // n_threads))
        plan = plan_of(self._layout, network, rule, train.weights is not None, as_bytes)
        with _device_memory(self._n):
            self._plan = cuda.to_device(plan)
            self._measuring = {name: cuda.to_device(self._as_measuring(plan, name)) for name in self._splits}
            self._samples = {name: self._upload(split, x_scale) for name, split in self._splits.items()}
            self._networks = self._upload_networks(thetas, rule)
            self._scratch()
        self._n_updates = np.zeros(self._n, dtype=np.int64)
        self._orders: Any = None
        self._host_orders: Array | None = None  # None where they were made on the device
        self.set_orders(np.arange(self._n_train, dtype=np.uint32)[None])
        self._compile(as_bytes)

    def shuffle(self, keys: Array) -> None:
        """Order the samples of every network by the permutation that `order.shuffle` gives for its key.

        keys   u8 (n,)   in
        """
        if self._splits["train"].weights is not None:  # what each batch weighs is summed up on the host
            orders = np.empty((self._n, self._n_train), dtype=np.uint32)
            for order, key in zip(orders, keys, strict=True):
                shuffle(order, np.uint64(key))
            self.set_orders(orders)
            return
        if self._orders.shape != (self._n, self._n_train):
            with _device_memory(self._n):
                self._orders = cuda.device_array((self._n, self._n_train), np.uint32)
        self._host_orders = None
        on_device = cuda.to_device(np.asarray(keys, dtype=np.uint64))
        launch(shuffle_orders(), -(-self._n // 32), 32, self._orders, on_device)

    def set_orders(self, orders: Array) -> None:
        """Order the samples of the networks.

        orders   u4 (n or 1, n_order)   in    rows of the training split; one row serves all networks
        """
        self._host_orders = np.ascontiguousarray(orders, dtype=np.uint32)
        with _device_memory(self._n):
            self._orders = cuda.to_device(self._host_orders)

    def run(self, members: Array, first: int, etas: Array, costs: Array) -> None:
        """Train some networks for some batches of their order.

        members   i8 (k,)             in    which networks
        first     int                 in    number of the first batch
        etas      f8 (k, n_batches)   in    learning rates
        costs     f8 (k, n_batches)   out   mean cost per sample of each batch, before its update, without decay
        """
        members = np.asarray(members, dtype=np.int64)
        size, n_batches = self._settings[0].batch_size, etas.shape[1]
        begin = first * size
        n = min(self._orders.shape[1] - begin, n_batches * size)
        for n_updates in np.unique(self._n_updates[members]):
            rows = np.flatnonzero(self._n_updates[members] == n_updates)
            some = members[rows]
            masses = self._masses(some, begin, n)
            rates, steps = steps_of([self._settings[member] for member in some], etas[rows], masses, int(n_updates))
            work = self._launch(self._plan, "train", some, rates, steps, self._orders, begin, n, int(n_updates), 1)
            for at, part in work:
                costs[rows[at]] = part.costs.copy_to_host()
        self._n_updates[members] += n_batches

    def evaluate(self, split: str) -> list[Evaluation]:
        """Cost and accuracy of all networks on the split "train" or "test"; nothing is dropped."""
        samples = self._splits[split]
        n = len(samples.y)
        if n == 0:
            return [Evaluation(float("nan"), None)] * self._n
        n_batches = -(-n // MEASURED_AT_ONCE)
        rates, steps = np.zeros((1, n_batches), np.float32), np.ones((1, n_batches, N_STEP - 1), np.float32)
        order = cuda.to_device(np.arange(n, dtype=np.uint32)[None])
        everybody, costs, n_right = np.arange(self._n), np.empty(self._n), np.empty(self._n)
        plan, copies = self._measuring[split], self._copies(split)
        for at, part in self._launch(plan, split, everybody, rates, steps, order, 0, n, 0, copies):
            costs[at] = part.costs.copy_to_host().sum(axis=1, dtype=np.float64)
            n_right[at] = part.right.copy_to_host().sum(axis=1)
        mass = n if samples.weights is None else max(float(samples.weights.sum()), 1e-300)
        return [
            Evaluation(float(cost) / mass, float(count) / n if self._classes else None)
            for cost, count in zip(costs, n_right, strict=True)
        ]

    def parameters(self) -> NDArray[np.float32]:
        """Copies of all thetas, (n, n_parameters)."""
        return self._layout.unpadded(self._networks.theta.copy_to_host())

    def set_parameters(self, member: int, theta: Array) -> None:
        """Overwrite theta, (n_parameters,), of one network; the state of its optimiser stays."""
        self._networks.theta[member].copy_to_device(self._layout.padded(theta[None])[0])

    def reset_state(self) -> None:
        """Forget moments and the number of updates of all networks; the parameters stay."""
        for state in (self._networks.mean, self._networks.square):
            state.copy_to_device(np.zeros(state.shape, dtype=np.float32))
        self._n_updates[:] = 0

    def _launch(
        self,
        plan: Any,
        split: str,
        members: Array,
        rates: Array,
        steps: Array,
        order: Any,
        begin: int,
        n: int,
        n_updates: int,
        copies: int,
    ) -> Iterator[tuple[slice, Work]]:
        """Run the kernel; yields which of the members it was for, and what it left on the device.

        Blocks that wait for each other must all be on the device at the same time: many such networks take turns.
        """
        layout, k, n_batches = self._layout, len(members), rates.shape[1]
        at_once = k if layout.parts == 1 else max(1, self._processors // (layout.parts * copies))
        for start in range(0, k, at_once):
            some = slice(start, min(start + at_once, k))
            n_some = some.stop - start
            with _device_memory(self._n):
                work = Work(
                    members=cuda.to_device(members[some].astype(np.int32)),
                    order=order,
                    rates=cuda.to_device(rates[some] if len(rates) == k else rates),
                    steps=cuda.to_device(steps[some] if len(steps) == k else steps),
                    costs=cuda.device_array((n_some, n_batches), np.float32),
                    right=cuda.device_array((n_some, n_batches), np.int32),
                    exchange=self._exchange,
                    met=cuda.to_device(np.zeros(n_some * copies, dtype=np.int32)),
                )
                blocks = n_some * copies * layout.parts
                arguments = plan, self._networks, self._samples[split], work, begin, n, n_updates
                launch(self._kernel, blocks, layout.n_threads, *arguments, shared_bytes=layout.shared_bytes)
            yield some, work

    def _masses(self, members: Array, begin: int, n: int) -> NDArray[np.float64]:
        """(k or 1, n_batches): what the samples of each batch weigh together."""
        size, weights = self._settings[0].batch_size, self._splits["train"].weights
        starts = np.arange(0, n, size)
        if weights is None:
            return np.diff(starts, append=n)[None].astype(np.float64)
        assert self._host_orders is not None
        orders = self._host_orders[members] if len(self._host_orders) > 1 else self._host_orders
        masses = np.add.reduceat(weights[orders[:, begin : begin + n]], starts, axis=1)
        return np.where(masses > 0, masses, 1.0)

    def _copies(self, split: str) -> int:
        """How many blocks, or teams of them, share the measuring of a network."""
        layout, n_batches = self._layout, -(-len(self._splits[split].y) // MEASURED_AT_ONCE)
        if layout.parts > 1:
            places = self._processors // layout.parts
        else:
            places = WAVES * self._processors * max(1, MOST_THREADS // layout.n_threads)
        return max(1, min(places // self._n, n_batches))

    def _as_measuring(self, plan: Array, split: str) -> Array:
        """The plan of a launch that learns nothing."""
        plan = plan.copy()
        plan[[LEARN, N_WORDS]] = 0
        plan[BATCH_SIZE], plan[COPIES] = MEASURED_AT_ONCE, self._copies(split)
        plan[WEIGHTED] = self._splits[split].weights is not None
        return plan

    def _upload(self, split: Split, x_scale: float) -> Samples:
        """Samples on the device: rows padded to the inputs of all parts, bytes as words of four."""
        n = max(len(split.y), 1)
        if n * self._layout.strides[0] >= 2**31:
            raise UsageError(
                f"device cuda takes fewer than 2^31 inputs altogether, got {n} samples of {self._layout.strides[0]}; "
                "use device cpu"
            )
        x = np.zeros((n, self._layout.strides[0]), dtype=split.x.dtype)
        x[: len(split.y), : split.x.shape[1]] = split.x
        weights = np.ones(1) if split.weights is None else split.weights
        return Samples(
            x=cuda.to_device(x.reshape(-1).view(np.uint32) if x.dtype == np.uint8 else x.reshape(-1)),
            y=cuda.to_device(np.resize(split.y, n).astype(np.int32)),
            targets=cuda.to_device(np.ascontiguousarray(split.targets, dtype=np.float32).reshape(-1)),
            weights=cuda.to_device(weights.astype(np.float32)),
            scale=np.float32(x_scale),
        )

    def _upload_networks(self, thetas: Array, rule: Settings) -> Networks:
        """Parameters, state and rules on the device."""
        layout, n = self._layout, self._n

        def state(used: bool) -> Any:
            shape = (n * layout.parts, layout.n_row if used else 1)
            return cuda.to_device(np.zeros(shape, dtype=np.float32))

        factors = np.ones(MOST_LAYERS)
        factors[1 : 1 + len(rule.dropout)] = 1.0 / (1.0 - np.array(rule.dropout))
        keys = [stream_key(each.seed, "dropout") for each in self._settings]
        return Networks(
            theta=cuda.to_device(layout.padded(thetas)),
            gradient=state(not layout.direct),
            mean=state(has_mean(rule)),
            square=state(has_square(rule)),
            rule=cuda.to_device(np.stack([rule_of(each) for each in self._settings])),
            key=cuda.to_device(np.array(keys, dtype=np.uint64)),
            factor=cuda.to_device(factors.astype(np.float32)),
        )

    def _scratch(self) -> None:
        """Where blocks that share a network leave their sums for each other."""
        layout = self._layout
        teams = self._processors // layout.parts + 1 if layout.parts > 1 else 0
        size = 2 * teams * layout.parts * layout.rows * layout.strides[1]
        self._exchange = cuda.device_array(max(size, 1), np.float32)

    def _compile(self, as_bytes: bool) -> None:
        """Get the kernel ready: announce it, and launch it for no sample at all."""
        key = (self._layout.inputs, as_bytes, self._layout.n_threads)
        if key not in _compiled:
            for tell in tuple(before_compiling):
                tell("cuda_fused.run_batches")
            _compiled.add(key)
        rates, steps = np.zeros((1, 1), np.float32), np.zeros((1, 1, N_STEP - 1), np.float32)
        list(self._launch(self._plan, "train", np.zeros(1, np.int64), rates, steps, self._orders, 0, 0, 0, 1))


class CudaEngine:
    """One network on the GPU; `protocol.Engine` says what the methods do, `Fleet` what the parameters are."""

    def __init__(
        self,
        network: Any,
        theta: Array,
        train: Split,
        test: Split,
        settings: Settings,
        *,
        x_scale: float = 1.0,
        classes: bool = True,
    ) -> None:
        self._fleet = Fleet(network, theta[None], train, test, [settings], x_scale=x_scale, classes=classes)
        self.name, self.density = self._fleet.name, self._fleet.density

    def run(self, order: Array, etas: Array, costs: Array) -> None:
        self._fleet.set_orders(order[None])
        self._fleet.run(np.zeros(1, np.int64), 0, etas[None], costs[None])

    def evaluate(self, split: str) -> Evaluation:
        return self._fleet.evaluate(split)[0]

    def cost_and_gradient(self) -> tuple[float, Array]:
        raise UsageError("device cuda trains batch by batch and gives no gradient of all samples; use device cpu")

    def reset_state(self) -> None:
        self._fleet.reset_state()

    def parameters(self) -> Array:
        theta: Array = self._fleet.parameters()[0]
        return theta

    def set_parameters(self, theta: Array) -> None:
        self._fleet.set_parameters(0, theta)


_compiled: set[tuple[int, bool, int]] = set()


def processors() -> int:
    """Multiprocessors of the device; 1 in the simulator."""
    return 1 if SIMULATED else int(cuda.get_current_device().MULTIPROCESSOR_COUNT)


def _check(thetas: Array, train: Split, test: Split, rule: Settings) -> None:
    """Raise UsageError for what is not done on a GPU."""
    if thetas.dtype != np.float32:
        raise UsageError(f"device cuda computes in float32, got dtype {thetas.dtype}; use dtype float32 or device cpu")
    for split in (train, test):
        if isinstance(split.x, CsrRows):
            raise UsageError("device cuda takes dense input only; use device cpu for sparse samples")
        if split.x.dtype not in (np.uint8, np.float32):
            raise UsageError(f"device cuda takes samples of uint8 or float32, got {split.x.dtype}; use device cpu")
    if rule.penalty_in_cost:
        raise UsageError("device cuda reports costs without the penalty of weight decay; use device cpu")


@contextmanager
def _device_memory(n_networks: int) -> Iterator[None]:
    """Say in one sentence that the device is full."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise FastbpError(
            f"the memory of the GPU is full with the data of {n_networks} network{'s' * (n_networks > 1)}; "
            "train fewer at a time, or use device cpu"
        ) from None
