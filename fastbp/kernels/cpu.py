"""The fused engine: whole batches per call, one thread or several. Owns the packed network and data.

What comes in is what `protocol.Engine` describes; the kernels are in `fused`, the memory layout in `layout`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import config
from numpy.typing import NDArray

from ..streams import stream_key
from . import fused
from .codes import ACTIVATION, ADAMW, COST, WITH_MOMENTS, WITH_SQUARES
from .dropout import UNITS, limits_of
from .fused_forward import ROWS
from .layout import Buffers, Rule, aligned, pack, plan_of, unpack
from .packing import cut_rows, order_inputs, pack_splits
from .protocol import Evaluation, OptimizerState, Settings, Split
from .simd import VECTOR_BYTES
from .team import SPINS, Helpers, team_of

__all__ = ["FusedEngine"]

# Bytes of activations and deltas that one block of samples may fill: about one second-level cache.
BLOCK_BYTES = 1 << 20
LARGEST_BLOCK = 4096
SMALLEST_BLOCK = 256
WORK_PER_CALL = 2_000_000_000  # multiply-adds that measuring does before signals are heard: some 0.1 s
WORK_PER_SPIN = 200  # multiply-adds; a thread that has waited for a whole part this often suspects an interruption


class FusedEngine:
    """Trains with `fused.run_batches`. float32 or float64, whichever theta is.

    Parameters
    ----------
    network
        anything with `sizes`, `activations`, `cost` and `layers_of(theta)`; see `fastbp.Network`
    theta : (n_parameters,) float32 or float64
        start weights, copied
    train, test : Split
        samples; `x` is uint8 or of theta's dtype, or CsrRows
    settings : Settings
    x_scale : float
        network input = x * x_scale
    classes : bool
        False where targets are values: no accuracy
    layout : str
        auto, sparse or dense; auto keeps the often nonzero inputs dense and the others sparse
    shared : dict, optional
        engines that are given the same dict, and the same arrays, pack the samples once and share them
    threads : int
        how many work on a batch together; they change no bit of the result
    """

    def __init__(
        self,
        network: Any,
        theta: NDArray[Any],
        train: Split,
        test: Split,
        settings: Settings,
        *,
        x_scale: float = 1.0,
        classes: bool = True,
        layout: str = "auto",
        shared: dict[Any, Any] | None = None,
        threads: int = 1,
    ) -> None:
        self._network = network
        self._classes = classes
        self._dtype = theta.dtype
        self._lanes = VECTOR_BYTES // theta.itemsize
        inputs = order_inputs(train.x, layout, self._lanes, settings.batch_size)
        n_dense = inputs.n_dense
        self._inputs, self.density = inputs.order, inputs.density
        block = _block_size((n_dense, *network.sizes[1:]), theta.itemsize, settings.batch_size)
        kinds = [ACTIVATION[name] for name in network.activations]
        self._plan = plan = plan_of(network.sizes, n_dense, kinds, self._lanes, block)
        self._rule = Rule(
            cost=COST[network.cost],
            optimizer=settings.optimizer,
            batch_size=settings.batch_size,
            block=block,
            decay=float(settings.decay),
            momentum=float(settings.momentum),
            beta_1=float(settings.beta_1),
            beta_2=float(settings.beta_2),
            epsilon=float(settings.epsilon),
            update_biases=settings.update_biases,
            rho=float(settings.rho),
            decay_per_batch=settings.decay_per_batch,
            penalty_in_cost=settings.penalty_in_cost and settings.optimizer != ADAMW,
            clip_norm=float(settings.clip_norm),
            hold=False,
            dropping=any(settings.dropout),
            key=np.uint64(stream_key(settings.seed, "dropout")),
            limits=limits_of(settings.dropout, max(len(kinds) - 1, 1)),
            factors=1.0 / (1.0 - np.array(settings.dropout or (0.0,))),
            n_words=sum(-(-size // UNITS) for size in network.sizes[1:-1]),
        )
        mask = aligned(int(plan.padded[-1]), self._dtype)
        mask[: plan.sizes[-1]] = 1
        n_moments = plan.n_w if settings.optimizer in WITH_MOMENTS else self._lanes
        n_squares = plan.n_w if settings.optimizer in WITH_SQUARES else self._lanes
        self._buffers = Buffers(
            w=aligned(plan.n_w, self._dtype),
            wt=aligned(plan.n_wt, self._dtype),
            g=aligned(plan.n_w, self._dtype),
            m=aligned(n_moments, self._dtype),
            u=aligned(n_squares, self._dtype),
            a=aligned(plan.n_a, self._dtype),
            delta=aligned(plan.n_a, self._dtype),
            keep=aligned(plan.n_a if any(settings.dropout) else self._lanes, self._dtype),
            sums=np.zeros(2),
            mask=mask,
            norms=np.ones(block + self._lanes, self._dtype),
            losses=aligned(block + self._lanes, self._dtype),
        )
        self._steps = 0
        self._n_parameters = theta.size
        threads = 1 if config.DISABLE_JIT else threads  # interpreted, `atomics` are for one thread
        entry_rows = cut_rows(plan, inputs, self._lanes, threads)
        self._samples = pack_splits(train, test, x_scale, inputs, entry_rows, self._dtype, shared)
        patience = SPINS + block * plan.n_weights // (threads * WORK_PER_SPIN)
        self._new_team = partial(team_of, threads, patience, entry_rows)
        self._helpers = Helpers(threads - 1)
        kind = "dense" if n_dense == network.sizes[0] else "mixed" if n_dense else "sparse"
        self.name = f"fused {kind} {self._dtype}"
        self.set_parameters(theta)
        self.evaluate("train", np.zeros(0, dtype=np.uint32))  # compiled or loaded now, not in the first epoch

    def run(self, order: NDArray[np.uint32], etas: NDArray[np.float64], costs: NDArray[np.float64]) -> None:
        """Train on the samples `order`; see `protocol.Engine.run`."""
        self._run("train", order, etas, costs)
        self._steps += etas.size

    def evaluate(self, split: str, order: NDArray[np.uint32] | None = None) -> Evaluation:
        """Cost and accuracy of the present parameters; see `protocol.Engine.evaluate`. By default on all samples."""
        if order is None:
            order = np.arange(self._samples[split].y.size, dtype=np.uint32)
        size = self._rule.batch_size
        costs = np.empty(-(-order.size // size))
        right, some = 0, max(1, WORK_PER_CALL // (size * self._n_parameters))
        for k in range(0, max(costs.size, 1), some):  # without samples once, too: it is what compiles
            part = costs[k : k + some]
            right += int(self._run(split, order[k * size : (k + some) * size], np.full(part.size, -1.0), part).sum())
        if order.size == 0:
            return Evaluation(float("nan"), None)
        masses = np.minimum(size, order.size - size * np.arange(costs.size)).astype(np.float64)
        samples = self._samples[split]
        if samples.weighted:
            masses = np.add.reduceat(samples.weights[order], np.arange(0, order.size, size))
        accuracy = right / order.size if self._classes else None
        return Evaluation(float(costs @ masses) / max(float(masses.sum()), 1e-300), accuracy)

    def cost_and_gradient(self) -> tuple[float, NDArray[Any]]:
        """Mean cost of all training samples, and its gradient; see `protocol.Engine.cost_and_gradient`."""
        samples, rule, g = self._samples["train"], self._rule, self._buffers.g
        order, cost = np.arange(samples.y.size, dtype=np.uint32), np.empty(1)
        whole = rule._replace(batch_size=order.size, hold=True, dropping=False, penalty_in_cost=False)
        self._run("train", order, np.zeros(1), cost, whole)
        gradient = self._unpacked(g)
        g[:] = 0
        mass = float(samples.weights.sum()) if samples.weighted else float(order.size)
        gradient /= mass
        decay = 0.0 if rule.optimizer == ADAMW else rule.decay / mass if rule.decay_per_batch else rule.decay
        theta, penalty = self._network.layers_of(self.parameters()), 0.0
        for (W, _), (dW, db) in zip(theta, self._network.layers_of(gradient), strict=True):
            dW += W.dtype.type(decay) * W
            penalty += decay / 2 * float(np.vdot(W, W))
            if not rule.update_biases:
                db[:] = 0
        return float(cost[0]) + penalty, gradient

    def reset_state(self) -> None:
        """Forget moments and the number of updates; the parameters stay."""
        self._buffers.m[:] = 0
        self._buffers.u[:] = 0
        self._steps = 0

    def _run(
        self,
        split: str,
        order: NDArray[np.uint32],
        etas: NDArray[np.float64],
        costs: NDArray[np.float64],
        rule: Rule | None = None,
    ) -> NDArray[np.int64]:
        right = np.empty(etas.size, dtype=np.int64)
        samples = self._samples[split]
        work = (self._plan, self._buffers, samples, rule or self._rule, order, etas, costs, right, self._steps)
        self._helpers.run(partial(fused.run_batches, *work), self._new_team())
        return right

    def parameters(self) -> NDArray[Any]:
        """A copy of theta, (n_parameters,)."""
        return self._unpacked(self._buffers.w)

    def set_parameters(self, theta: NDArray[Any]) -> None:
        """Overwrite theta, (n_parameters,); the state of the optimiser stays."""
        self._pack(theta, self._buffers.w)
        fused.refresh(self._plan, self._buffers)

    def state(self) -> OptimizerState:
        """What the optimizer remembers; see `protocol.Engine.state`."""
        optimizer = self._rule.optimizer
        return OptimizerState(
            self._unpacked(self._buffers.m) if optimizer in WITH_MOMENTS else None,
            self._unpacked(self._buffers.u) if optimizer in WITH_SQUARES else None,
            self._steps,
        )

    def set_state(self, state: OptimizerState) -> None:
        """Go on from there; see `protocol.Engine.set_state`."""
        self.reset_state()
        if state.moments is not None and self._rule.optimizer in WITH_MOMENTS:
            self._pack(state.moments, self._buffers.m)
        if state.squares is not None and self._rule.optimizer in WITH_SQUARES:
            self._pack(state.squares, self._buffers.u)
        self._steps = state.n_updates

    def _pack(self, theta: NDArray[Any], packed: NDArray[Any]) -> None:
        pack(self._network.layers_of(theta), self._plan, self._inputs, self._lanes, packed)

    def _unpacked(self, packed: NDArray[Any]) -> NDArray[Any]:
        """A vector in theta's layout, from one that is laid out like the packed weights."""
        theta = np.empty(self._n_parameters, dtype=self._dtype)
        unpack(packed, self._plan, self._inputs, self._lanes, self._network.layers_of(theta))
        return theta


def _block_size(sizes: tuple[int, ...], itemsize: int, batch_size: int) -> int:
    """How many samples go through the layers together: a whole batch where its activations fit into the cache."""
    fit = BLOCK_BYTES // (2 * itemsize * sum(sizes))
    block = min(max(fit, SMALLEST_BLOCK), LARGEST_BLOCK, batch_size)
    return -(-block // ROWS) * ROWS
