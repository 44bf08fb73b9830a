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
from .layout import SPARE_ROWS, Buffers, Rule, Samples, aligned, count_entries, pack, pack_entries, plan_of, unpack
from .protocol import Evaluation, Settings, Split
from .simd import VECTOR_BYTES

__all__ = ["FusedEngine"]

# Below this share of nonzero values the sparse form of the first layer is faster.
SPARSE_DENSITY = 0.41
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
        auto, sparse or dense; auto takes sparse for bytes of which fewer than 41 % are nonzero
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
        block = _block_size(network.sizes, theta.itemsize, settings.batch_size)
        kinds = [ACTIVATION[name] for name in network.activations]
        self._plan = plan = plan_of(network.sizes, kinds, self._lanes, block)
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
        self._samples: dict[str, Samples] = {}
        self._samples["train"], sparse, self.density = self._pack(train, x_scale, layout)
        self._samples["test"], _, _ = self._pack(test, x_scale, "sparse" if sparse else "dense")
        self.name = f"fused {'sparse' if sparse else 'dense'} {self._dtype}"
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
        unpack(self._buffers.w, self._plan, self._lanes, self._network.layers_of(theta))
        return theta

    def set_parameters(self, theta: NDArray[Any]) -> None:
        """Overwrite theta, (n_parameters,); the state of the optimiser stays."""
        pack(self._network.layers_of(theta), self._plan, self._lanes, self._buffers.w)
        fused.refresh(self._plan, self._buffers)

    def _pack(self, split: Split, x_scale: float, layout: str) -> tuple[Samples, bool, float]:
        """The samples in the form that kernels take, whether that is sparse, and the share of nonzero values."""
        x, y, targets = _frozen(split.x), _frozen(split.y), split.targets
        starts = np.zeros(len(x) + 1, dtype=np.int64)
        fits = x.dtype == np.uint8 and (x.shape[1] + SPARE_ROWS) * self._lanes <= 0xFFFF + 1
        if fits:
            density = count_entries(x, starts) / max(x.size, 1)
        else:
            density = float(np.count_nonzero(x)) / max(x.size, 1)
        if layout == "sparse" and not fits:
            raise UsageError(
                f"sparse input takes bytes and at most {0x10000 // self._lanes - SPARE_ROWS} features, "
                f"got {x.dtype} and {x.shape[1]}; use dense"
            )
        sparse = fits and (layout == "sparse" or (layout == "auto" and density < SPARSE_DENSITY))
        entries = np.empty(int(starts[-1]) if sparse else 1, dtype=np.uint32)
        if sparse:
            pack_entries(x, starts, self._lanes, entries)
        padded = np.zeros((len(targets), int(self._plan.padded[-1])), dtype=self._dtype)
        padded[:, : targets.shape[1]] = targets
        samples = Samples(
            x=x[:0] if sparse else x,
            entries=entries,
            starts=starts,
            y=y,
            targets=padded.reshape(-1),
            scale=float(x_scale),
            sparse=sparse,
        )
        return samples, sparse, density


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view. Arrays mapped from a file are read-only: one kind of array means one compilation for all."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def _block_size(sizes: tuple[int, ...], itemsize: int, batch_size: int) -> int:
    """How many samples go through the layers together: a whole batch where its activations fit into the cache."""
    fit = BLOCK_BYTES // (2 * itemsize * sum(sizes))
    block = min(max(fit, SMALLEST_BLOCK), LARGEST_BLOCK, batch_size)
    return -(-block // ROWS) * ROWS
