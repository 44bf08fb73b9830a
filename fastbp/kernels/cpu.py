"""The fused engine: one core, whole batches per call, sparse or dense input. Owns the packed network and data.

What comes in is what `protocol.Engine` describes; the kernels are in `fused`, the memory layout in `layout`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from . import fused
from .codes import ACTIVATION, ADAM, COST, SGD
from .fused_forward import ROWS
from .layout import (
    SPARE_ROWS,
    Buffers,
    Rule,
    Samples,
    aligned,
    count_entries,
    pack,
    pack_columns,
    pack_entries,
    plan_of,
    unpack,
)
from .protocol import Evaluation, Settings, Split
from .simd import VECTOR_BYTES

__all__ = ["FusedEngine"]

# Inputs of which a larger share is nonzero are cheaper as a dense array: the best share lies between 0.4 and 0.5 for
# 784-16-16-10 and 784-128-10. A batch of 10 moves every dense row of W as often as one of 32, for less work.
DENSE_SHARE = 0.4
SAMPLED_ROWS = 4096
# Bytes of activations and deltas that one block of samples may fill: about one second-level cache.
BLOCK_BYTES = 1 << 20
LARGEST_BLOCK = 4096
SMALLEST_BLOCK = 256


class FusedEngine:
    """Trains with `fused.run_batches`. float32 or float64, whichever theta is.

    Parameters
    ----------
    network
        anything with `sizes`, `activations`, `cost` and `layers_of(theta)`; see `fastbp.Network`
    theta : (n_parameters,) float32 or float64
        start weights, copied
    train, test : Split
        samples; `x` is uint8 or of theta's dtype
    settings : Settings
    x_scale : float
        network input = x * x_scale
    classes : bool
        False where targets are values: no accuracy
    layout : str
        auto, sparse or dense; auto keeps the often nonzero inputs dense and the others sparse
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
    ) -> None:
        self._network = network
        self._classes = classes
        self._dtype = theta.dtype
        self._lanes = VECTOR_BYTES // theta.itemsize
        self._inputs, n_dense, self.density = _order_inputs(train.x, layout, self._lanes, settings.batch_size)
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
        )
        mask = aligned(int(plan.padded[-1]), self._dtype)
        mask[: plan.sizes[-1]] = 1
        n_state = plan.n_w if settings.optimizer != SGD else self._lanes
        self._buffers = Buffers(
            w=aligned(plan.n_w, self._dtype),
            wt=aligned(plan.n_wt, self._dtype),
            g=aligned(plan.n_w, self._dtype),
            m=aligned(n_state, self._dtype),
            u=aligned(plan.n_w if settings.optimizer == ADAM else self._lanes, self._dtype),
            a=aligned(plan.n_a, self._dtype),
            delta=aligned(plan.n_a, self._dtype),
            mask=mask,
            norms=np.ones(block + self._lanes, self._dtype),
            losses=aligned(block + self._lanes, self._dtype),
        )
        self._steps = 0
        self._samples = {"train": self._pack(train, x_scale), "test": self._pack(test, x_scale)}
        kind = "dense" if n_dense == network.sizes[0] else "mixed" if n_dense else "sparse"
        self.name = f"fused {kind} {self._dtype}"
        self.set_parameters(theta)
        nothing = np.zeros(0)
        self.run(np.zeros(0, dtype=np.uint32), nothing, nothing)  # compiled or loaded now, not in the first epoch
        self._evaluate(self._samples["train"], 0)

    def run(self, order: NDArray[np.uint32], etas: NDArray[np.float64], costs: NDArray[np.float64]) -> None:
        """Train on the samples `order`; see `protocol.Engine.run`."""
        fused.run_batches(
            self._plan, self._buffers, self._samples["train"], self._rule, order, etas, costs, self._steps
        )
        self._steps += etas.size

    def evaluate(self, split: str) -> Evaluation:
        """Cost and accuracy of the present parameters; see `protocol.Engine.evaluate`."""
        return self._evaluate(self._samples[split], self._samples[split].y.size)

    def _evaluate(self, samples: Samples, n: int) -> Evaluation:
        correct = np.zeros(1, dtype=np.int64)
        order = np.arange(n, dtype=np.uint32)
        total = fused.evaluate(self._plan, self._buffers, samples, self._rule, order, correct)
        if n == 0:
            return Evaluation(float("nan"), None)
        return Evaluation(total / n, int(correct[0]) / n if self._classes else None)

    def parameters(self) -> NDArray[Any]:
        """A copy of theta, (n_parameters,)."""
        pairs = zip(self._network.sizes, self._network.sizes[1:], strict=False)
        theta = np.empty(sum((n_in + 1) * n_out for n_in, n_out in pairs), dtype=self._dtype)
        unpack(self._buffers.w, self._plan, self._inputs, self._lanes, self._network.layers_of(theta))
        return theta

    def set_parameters(self, theta: NDArray[Any]) -> None:
        """Overwrite theta, (n_parameters,); the state of the optimiser stays."""
        pack(self._network.layers_of(theta), self._plan, self._inputs, self._lanes, self._buffers.w)
        fused.refresh(self._plan, self._buffers)

    def _pack(self, split: Split, x_scale: float) -> Samples:
        """The samples in the form that kernels take: the dense inputs, the entries, the padded targets."""
        x, y, targets = split
        y = y if y.flags.writeable else y.copy()  # read-only arrays would compile another kernel
        n_dense = int(self._plan.sizes[0])
        starts = np.zeros(len(x) + 1, dtype=np.int64)
        entries = np.empty(1, dtype=np.uint32)
        if n_dense == x.shape[1]:
            dense = x.reshape(-1) if x.flags.writeable else x.flatten()  # read-only arrays would compile another kernel
        else:
            if not x.flags.writeable:
                x = x.copy()
            dense = np.empty(len(x) * n_dense, dtype=np.uint8)
            pack_columns(x, self._inputs[:n_dense], dense)
            columns = self._inputs[n_dense:]
            count_entries(x, columns, starts)
            entries = np.empty(max(int(starts[-1]), 1), dtype=np.uint32)
            pack_entries(x, columns, n_dense, starts, self._lanes, entries)
        padded = np.zeros((len(targets), int(self._plan.padded[-1])), dtype=self._dtype)
        padded[:, : targets.shape[1]] = targets
        sparse = n_dense < x.shape[1]
        return Samples(dense, entries, starts, y, padded.reshape(-1), float(x_scale), sparse)


def _order_inputs(x: NDArray[Any], layout: str, lanes: int, batch_size: int) -> tuple[NDArray[Any], int, float]:
    """(order of the inputs, how many of them are dense, share of nonzero values), measured on some of the samples."""
    n_in = x.shape[1]
    some = x[:: max(1, len(x) // SAMPLED_ROWS)]
    shares = np.count_nonzero(some, axis=0) / max(len(some), 1)
    density = float(shares.mean())
    everything = np.arange(n_in)
    fits = x.dtype == np.uint8 and (n_in + SPARE_ROWS) * lanes <= 0xFFFF + 1
    if layout == "sparse" and not fits:
        raise UsageError(
            f"sparse input takes bytes and at most {0x10000 // lanes - SPARE_ROWS} features, "
            f"got {x.dtype} and {n_in}; use dense"
        )
    if layout == "dense" or not fits:
        return everything, n_in, density
    if layout == "sparse":
        return everything, 0, density
    limit = DENSE_SHARE + 2.0 / batch_size
    n_lit = int(np.sum(shares > limit))
    if n_lit > 0.9 * n_in:
        return everything, n_in, density
    n_dense = n_lit // lanes * lanes
    dense = np.sort(np.argsort(-shares, kind="stable")[:n_dense])
    return np.concatenate([dense, np.setdiff1d(everything, dense)]), n_dense, density


def _block_size(sizes: tuple[int, ...], itemsize: int, batch_size: int) -> int:
    """How many samples go through the layers together: a whole batch where its activations fit into the cache."""
    fit = BLOCK_BYTES // (2 * itemsize * sum(sizes))
    block = min(max(fit, SMALLEST_BLOCK), LARGEST_BLOCK, batch_size)
    return -(-block // ROWS) * ROWS
