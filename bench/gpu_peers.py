"""One network, or many side by side, trained on a GPU by fastbp, PyTorch and JAX; `gpu.py` measures them.

Every trainer is given a `Job` and a device, "cuda" or "cpu" (to try things out without a GPU), and then trains all
networks of the job for some batches: `run(n)` returns the costs of at least n batches, (n_networks, n or more), on the
host, so that its end is the end of the work. `block` is how many batches it trains in one call; a number of batches
that is a multiple of it is trained as it is. `reset()` puts the start weights back. Pixels, labels, orders and rates
are brought to the device when a trainer is made: that is not timed, and neither is compiling.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastbp import Network
from fastbp.cores import usable_cores
from fastbp.kernels import SGD, Evaluation, Settings, Split

__all__ = ["TRAINERS", "Job", "MissingPeerError", "largest_divisor", "make", "open_fleet", "takes_part"]

Array = np.ndarray[Any, Any]

MOST_STEPS = 80  # in one CUDA graph
GRAPH_BYTES = 64 << 20  # of what a graph keeps from its first step to its last
JAX_BATCHES = 250  # of one call where there are many networks


class MissingPeerError(Exception):
    """Why a peer cannot take part."""


class Job(NamedTuple):
    """Networks of one shape on the same samples: sigmoid layers, softmax, cross-entropy, float32, plain SGD."""

    sizes: tuple[int, ...]
    thetas: Array  # f4 (n_networks, n_parameters)  start weights
    etas: Array  # f8 (n_networks,)  learning rates
    orders: Array  # u4 (n_networks, n)  the order in which each network visits the samples
    x: Array  # uint8 (n, n_features)  network input = x / 255
    y: Array  # i4 (n,)
    x_test: Array
    y_test: Array
    batch_size: int

    @property
    def network(self) -> Network:
        return network_of(self.sizes)

    @property
    def n_networks(self) -> int:
        return len(self.thetas)

    @property
    def n_batches(self) -> int:
        """Whole batches of an epoch; a rest is left out, since compiled peers want batches of one size."""
        return len(self.x) // self.batch_size

    def batches(self) -> Array:
        """The samples of each batch, (n_batches, n_networks, batch_size)."""
        whole = self.orders[:, : self.n_batches * self.batch_size]
        return np.ascontiguousarray(whole.reshape(self.n_networks, -1, self.batch_size).swapaxes(0, 1))


def network_of(sizes: tuple[int, ...]) -> Network:
    return Network(sizes, ("sigmoid",) * (len(sizes) - 2) + ("softmax",), "cross_entropy")


def takes_part(name: str, n_networks: int) -> bool:
    """Whether a trainer is made for one network, for many, or for both."""
    return TRAINERS[name].one if n_networks == 1 else TRAINERS[name].many


def make(name: str, job: Job, device: str) -> Any:
    """The trainer of this name; raises MissingPeerError."""
    return TRAINERS[name].trainer(job, device)


def largest_divisor(n: int, most: int) -> int:
    """The largest divisor of n, from 1 to `most`."""
    return max(k for k in range(1, max(1, min(n, most)) + 1) if n % k == 0)


def splits_of(job: Job) -> tuple[Split, Split]:
    codes = np.eye(job.sizes[-1], dtype=np.float32)
    return Split(job.x, job.y, codes), Split(job.x_test, job.y_test, codes)


class CpuFleet:
    """What `Fleet` of the GPU engine does, by the fused engine, one network after the other."""

    def __init__(self, network: Any, thetas: Array, train: Split, test: Split, settings: Any, *, x_scale: float):
        from fastbp.kernels.cpu import FusedEngine

        shared: dict[Any, Any] = {}
        self._engines = [
            FusedEngine(network, theta, train, test, rule, x_scale=x_scale, shared=shared)
            for theta, rule in zip(thetas, settings, strict=True)
        ]
        self._batch_size = settings[0].batch_size
        self._orders = np.tile(np.arange(len(train.y), dtype=np.uint32), (len(thetas), 1))
        self.name = self._engines[0].name

    def shuffle(self, keys: Array) -> None:
        from fastbp.kernels.order import shuffle

        for order, key in zip(self._orders, keys, strict=True):
            shuffle(order, key)

    def set_orders(self, orders: Array) -> None:
        self._orders[:] = orders

    def run(self, members: Array, first: int, etas: Array, costs: Array) -> None:
        begin = first * self._batch_size
        end = begin + etas.shape[1] * self._batch_size
        for k, member in enumerate(members):
            self._engines[member].run(self._orders[member, begin:end], etas[k], costs[k])

    def evaluate(self, split: str) -> list[Evaluation]:
        return [engine.evaluate(split) for engine in self._engines]

    def set_parameters(self, member: int, theta: Array) -> None:
        self._engines[member].set_parameters(theta)


def open_fleet(job: Job, device: str) -> Any:
    """All networks of a job, by the engine of this device."""
    if device == "cuda":
        try:
            from fastbp.kernels.cuda_engine import Fleet
        except ImportError as error:
            raise MissingPeerError(f"this fastbp has no GPU engine here: {error}") from error
    else:
        Fleet = CpuFleet
    settings = [Settings(SGD, job.batch_size)] * job.n_networks
    return Fleet(job.network, np.array(job.thetas), *splits_of(job), settings, x_scale=1 / 255)


class Fastbp:
    """All networks in one launch."""

    block = 1

    def __init__(self, job: Job, device: str) -> None:
        self.fleet, self._job = open_fleet(job, device), job
        self.fleet.set_orders(np.array(job.orders))
        self._members = np.arange(job.n_networks, dtype=np.int64)
        self.detail = self.fleet.name

    def run(self, n: int) -> Array:
        costs = np.empty((self._job.n_networks, n))
        etas = np.repeat(self._job.etas[:, None], n, axis=1)
        self.fleet.run(self._members, 0, etas, costs)
        return costs

    def reset(self) -> None:
        for member, theta in enumerate(self._job.thetas):
            self.fleet.set_parameters(member, theta)


class FastbpOne:
    """One network by the engine that `train(..., device="cuda")` opens."""

    block = 1

    def __init__(self, job: Job, device: str) -> None:
        if device == "cuda":
            try:
                from fastbp.kernels.cuda_engine import CudaEngine as Engine
            except ImportError as error:
                raise MissingPeerError(f"this fastbp has no GPU engine here: {error}") from error
        else:
            from fastbp.kernels.cpu import FusedEngine as Engine
        self._job, self._order = job, np.array(job.orders[0])
        theta, settings = np.array(job.thetas[0]), Settings(SGD, job.batch_size)
        self._engine = Engine(job.network, theta, *splits_of(job), settings, x_scale=1 / 255)
        self.detail = self._engine.name

    def run(self, n: int) -> Array:
        costs = np.empty((1, n))
        self._engine.run(self._order[: n * self._job.batch_size], np.full(n, self._job.etas[0]), costs[0])
        return costs

    def reset(self) -> None:
        self._engine.set_parameters(np.array(self._job.thetas[0]))


class FastbpCpu:
    """The fused engine on all cores of the host, as `train_many` uses it: whether a GPU pays."""

    block = 1

    def __init__(self, job: Job, device: str) -> None:
        settings = [Settings(SGD, job.batch_size)] * job.n_networks
        self._fleet = CpuFleet(job.network, np.array(job.thetas), *splits_of(job), settings, x_scale=1 / 255)
        self._fleet.set_orders(job.orders)
        self._job, cores = job, usable_cores()
        self._pool = ThreadPoolExecutor(cores)
        self.detail = f"{self._fleet.name}, {cores} threads"

    def run(self, n: int) -> Array:
        costs = np.empty((self._job.n_networks, n))
        etas = np.repeat(self._job.etas[:, None], n, axis=1)

        def one(k: int) -> None:
            self._fleet.run(np.array([k]), 0, etas[k : k + 1], costs[k : k + 1])

        list(self._pool.map(one, range(self._job.n_networks)))
        return costs

    def reset(self) -> None:
        for member, theta in enumerate(self._job.thetas):
            self._fleet.set_parameters(member, np.array(theta))


class PyTorch:
    """All networks as one tensor, backpropagation by hand, a CUDA graph of many steps, and no work of the host between.

    A step takes 14 kernels: biases are rows of the weights, which read a unit that is always 1, and one baddbmm_ per
    layer updates weights and biases in place. The learning rate of each network is a factor of its output deltas. A
    graph fetches its own piece of the order by a counter on the device and, where they are small, the pixels of all
    its steps at once; it computes the costs of its steps together, from the outputs. Rows of pixels and units are
    padded to multiples of 16 bytes. With `compiled`, torch.compile fuses what is not a product of matrices.
    """

    def __init__(
        self, job: Job, device: str, *, most: int = MOST_STEPS, compile_mode: str | None = None, tf32: bool = False
    ) -> None:
        import torch

        if device == "cuda" and not torch.cuda.is_available():
            raise MissingPeerError("PyTorch finds no GPU that it can use")
        self._torch, self._job, self._device = torch, job, device
        if device == "cpu":
            torch.set_num_threads(1)
        self._precision = "high" if tf32 else "highest"
        torch.set_float32_matmul_precision(self._precision)
        n, batch, sizes = job.n_networks, job.batch_size, job.sizes
        in_bytes = 4 * n * batch * sizes[-1]  # of the outputs of a step
        self.block = steps = largest_divisor(job.n_batches, min(most, GRAPH_BYTES // in_bytes))
        self._ahead = 4 * steps * n * batch * sizes[0] <= GRAPH_BYTES
        self.detail = f"{steps} steps per graph" if device == "cuda" else f"{steps} steps together, no graph"

        tensor = partial(torch.tensor, device=device)
        self._padded = [-(-(sizes[0] + 1) // 16) * 16, *(-(-(size + 1) // 4) * 4 for size in sizes[1:-1])]
        pixels = torch.zeros(len(job.x), self._padded[0], dtype=torch.uint8, device=device)
        pixels[:, : sizes[0]] = tensor(np.array(job.x))
        pixels[:, sizes[0]] = 255
        self._x, self._y = pixels, tensor(job.y.astype(np.int64))
        self._order = tensor(job.batches().astype(np.int64))
        self._factor = tensor((job.etas / batch).astype(np.float32)).view(n, 1, 1)
        self._codes = -torch.eye(sizes[-1], device=device)
        self._costs = torch.zeros(job.n_batches, n, device=device)
        self._first = torch.zeros((), dtype=torch.int64, device=device)
        self._steps = torch.arange(steps, device=device)
        self._z = torch.zeros(steps, n, batch, sizes[-1], device=device)
        self._start = self._weights(job)
        self._W = [W.clone() for W in self._start]
        self._h = [torch.zeros(n, batch, rows, device=device) for rows in self._padded[1:]]
        for h, size in zip(self._h, sizes[1:], strict=False):
            h[:, :, size] = 1
        self._pass, self._fetch = self._deltas, self._inputs
        if compile_mode is not None:
            compiled = partial(torch.compile, fullgraph=True, dynamic=False, mode=compile_mode)
            self._pass, self._fetch = compiled(self._functional_deltas), compiled(self._inputs)
            self.detail += ", compiled"
        self._replay = self._block
        with torch.no_grad():
            self._capture()
        self.reset()

    def _capture(self) -> None:
        torch = self._torch
        if self._device != "cuda":
            self._block()
            return
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._first.zero_()
                self._block()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        self._first.zero_()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._block()
        self._replay = graph.replay

    def reset(self) -> None:
        for W, start in zip(self._W, self._start, strict=True):
            W.copy_(start)

    def _weights(self, job: Job) -> list[Any]:
        """Start weights of each layer, (n_networks, padded inputs, units); the row after the inputs is the biases."""
        weights = [
            np.zeros((job.n_networks, rows, size), np.float32)
            for rows, size in zip(self._padded, job.sizes[1:], strict=True)
        ]
        for k, theta in enumerate(job.thetas):
            for all_W, (W, b) in zip(weights, job.network.layers_of(np.array(theta)), strict=True):
                all_W[k, : len(W)] = W
                all_W[k, len(W)] = b
        return [self._torch.tensor(W, device=self._device) for W in weights]

    def _block(self) -> None:
        """Some steps, from the batch that the counter names; it goes on by as many."""
        torch, steps = self._torch, self.block
        rows = self._steps + self._first
        order = self._order.index_select(0, rows)
        labels = self._y[order]
        codes = self._codes[labels] * self._factor
        pixels = self._fetch(self._x, order) if self._ahead else None
        for k in range(steps):
            x = self._fetch(self._x, order[k]) if pixels is None else pixels[k]
            self._step(x, codes[k], self._z[k])
        costs = torch.nn.functional.cross_entropy(
            self._z.view(-1, self._z.shape[-1]), labels.view(-1), reduction="none"
        )
        self._costs.index_copy_(0, rows, costs.view(labels.shape).mean(2))
        self._first += steps

    def _inputs(self, x: Any, order: Any) -> Any:
        pixels = x.index_select(0, order.reshape(-1)).view(*order.shape, x.shape[1])
        return self._torch.mul(pixels, 1 / 255)

    def _step(self, x: Any, codes: Any, z: Any) -> None:
        outputs, deltas = self._pass(x, codes, self._factor, z, self._h, self._W)
        for W, a, delta in zip(self._W, outputs, deltas, strict=True):
            W.baddbmm_(a.transpose(1, 2), delta, alpha=-1)

    def _deltas(self, x: Any, codes: Any, factor: Any, z: Any, hidden: Any, W: Any) -> Any:
        """What each layer reads, and its deltas times the learning rate; the outputs go to z."""
        torch = self._torch
        outputs = [x]
        for h, W_h in zip(hidden, W[:-1], strict=True):
            torch.sigmoid(torch.bmm(outputs[-1], W_h), out=h[:, :, : W_h.shape[2]])
            outputs.append(h)
        torch.bmm(outputs[-1], W[-1], out=z)
        deltas = [torch.addcmul(codes, torch.softmax(z, 2), factor)]
        for h, W_next, size in zip(reversed(hidden), reversed(W), reversed(self._job.sizes[1:-1]), strict=False):
            back = torch.bmm(deltas[0], W_next[:, :size].transpose(1, 2))
            deltas.insert(0, torch.ops.aten.sigmoid_backward(back, h[:, :, :size]))
        return outputs, deltas

    def _functional_deltas(self, x: Any, codes: Any, factor: Any, z: Any, hidden: Any, W: Any) -> Any:
        """The same for torch.compile, which does not like views of outputs."""
        torch = self._torch
        outputs, sigmoids = [x], []
        for h, W_h in zip(hidden, W[:-1], strict=True):
            sigmoids.append(torch.sigmoid(torch.bmm(outputs[-1], W_h)))
            outputs.append(torch.cat([sigmoids[-1], h[:, :, W_h.shape[2] :]], 2))
        net_output = torch.bmm(outputs[-1], W[-1])
        z.copy_(net_output)
        deltas = [torch.softmax(net_output, 2) * factor + codes]
        for a, W_next in zip(reversed(sigmoids), reversed(W), strict=False):
            back = torch.bmm(deltas[0], W_next[:, : a.shape[2]].transpose(1, 2))
            deltas.insert(0, back * a * (1 - a))
        return outputs, deltas

    def run(self, n: int) -> Array:
        torch, blocks = self._torch, -(-n // self.block)
        torch.set_float32_matmul_precision(self._precision)
        with torch.no_grad():
            self._first.zero_()
            for _ in range(blocks):
                self._replay()
            return self._costs[: blocks * self.block].T.cpu().numpy()


class Jax:
    """One jit of a lax.scan over the epoch, parameters donated; for many networks vmap of that scan.

    Samples are gathered as bytes inside the scan. An order and a learning rate for each network; many networks are
    trained in calls of some hundred steps, so that a run need not be an epoch.
    """

    def __init__(self, job: Job, device: str, *, tf32: bool = False, unroll: int = 1) -> None:
        import jax
        import jax.numpy as jnp

        try:
            jax.devices()
        except (RuntimeError, AssertionError) as error:  # the environment asks for one kind of device only
            raise MissingPeerError(f"JAX finds no {device} device that it can use") from error
        jax.config.update("jax_default_matmul_precision", "tensorfloat32" if tf32 else "float32")
        self._jax, self._jnp, self._job = jax, jnp, job
        self._many = job.n_networks > 1
        self.block = largest_divisor(job.n_batches, JAX_BATCHES) if self._many else job.n_batches
        self.detail = f"{self.block} steps per call"
        x, y = jnp.array(job.x), jnp.array(job.y)
        etas = jnp.array(job.etas, jnp.float32)
        batches = job.batches().astype(np.int32)
        if not self._many:
            batches, etas = batches[:, 0], etas[0]
        self._orders = [jnp.array(part) for part in np.split(batches, job.n_batches // self.block)]
        self._data = etas, x, y
        self.reset()
        epoch = self._epoch_of(unroll)
        if self._many:
            epoch = jax.vmap(epoch, in_axes=(0, 1, 0, None, None), out_axes=(0, 1))
        compiled = jax.jit(epoch, donate_argnums=0).lower(self._state, self._orders[0], *self._data)
        self._epoch = compiled.compile()

    def reset(self) -> None:
        jnp, pairs = self._jnp, [self._job.network.layers_of(np.array(theta)) for theta in self._job.thetas]
        stacked = [tuple(np.stack(arrays) for arrays in zip(*layer, strict=True)) for layer in zip(*pairs, strict=True)]
        self._state = [tuple(jnp.array(each if self._many else each[0]) for each in layer) for layer in stacked]

    def _epoch_of(self, unroll: int) -> Any:
        jax, jnp = self._jax, self._jnp

        def cost(parameters: Any, x: Any, y: Any) -> Any:
            *hidden, (W_out, b_out) = parameters
            for W, b in hidden:
                x = jax.nn.sigmoid(x @ W + b)
            z = x @ W_out + b_out
            return -jnp.mean(jnp.sum(jax.nn.log_softmax(z) * jax.nn.one_hot(y, z.shape[1]), axis=1))

        def epoch(parameters: Any, order: Any, eta: Any, x: Any, y: Any) -> Any:
            def step(parameters: Any, indices: Any) -> Any:
                inputs = jnp.take(x, indices, axis=0, mode="clip").astype(jnp.float32) * (1 / 255)
                labels = jnp.take(y, indices, mode="clip")
                value, gradient = jax.value_and_grad(cost)(parameters, inputs, labels)
                return jax.tree.map(lambda w, g: w - eta * g, parameters, gradient), value

            return jax.lax.scan(step, parameters, order, unroll=unroll)

        return epoch

    def run(self, n: int) -> Array:
        costs = []
        for order in self._orders[: -(-n // self.block)]:
            self._state, part = self._epoch(self._state, order, *self._data)
            costs.append(part)
        return np.concatenate([np.asarray(part) for part in costs]).reshape(-1, self._job.n_networks).T


class Entry(NamedTuple):
    """A trainer, and what it is for."""

    trainer: Any
    needs: str = ""
    one: bool = True
    many: bool = True
    peer: bool = True  # one of those that fastbp on the GPU is compared with
    tolerance: float = 1e-4  # of the mean cost, relative
    by_default: bool = True


COMPILED: dict[str, Any] = {"compile_mode": "default"}
TRAINERS: dict[str, Entry] = {
    "fastbp": Entry(Fastbp, peer=False),
    "fastbp, one network": Entry(FastbpOne, many=False, peer=False),
    "fastbp, CPU": Entry(FastbpCpu, peer=False),
    "PyTorch, graph of a step": Entry(partial(PyTorch, most=1), "torch", many=False),
    "PyTorch, graph of many steps": Entry(PyTorch, "torch"),
    "PyTorch, compiled": Entry(partial(PyTorch, **COMPILED), "torch"),
    "PyTorch, tuned": Entry(partial(PyTorch, compile_mode="max-autotune-no-cudagraphs"), "torch", by_default=False),
    "PyTorch, TF32": Entry(partial(PyTorch, tf32=True), "torch", tolerance=1e-3),
    "PyTorch, compiled, TF32": Entry(
        partial(PyTorch, tf32=True, **COMPILED), "torch", tolerance=1e-3, by_default=False
    ),
    "JAX": Entry(Jax, "jax"),
    "JAX, unrolled": Entry(partial(Jax, unroll=5), "jax", many=False),
    "JAX, TF32": Entry(partial(Jax, tf32=True), "jax", tolerance=1e-3),
}
