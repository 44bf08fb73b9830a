"""The same training written for each peer, as well as its own users would write it.

Every trainer is given a `Job` and then runs whole epochs: `prepare(order)` brings the order of the samples to the form
it likes, which is not timed; `run(prepared)` trains on them and returns the cost of each batch (or, of one who does not
tell, their mean). Data and weights are brought to its form when a trainer is made: that is not timed either.

Peers are optional; `make` raises with the reason where one cannot run. What was tried for each, and what it
bought, stands in its docstring (times of one epoch of 784-16-16-10, batch 32, MNIST, one core).
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy_trainer import NumpyTrainer

from fastbp.cores import usable_cores
from fastbp.kernels import OPTIMIZER, Settings, Split, open_engine

__all__ = ["TRAINERS", "Job", "MissingPeerError", "make", "useful_flops"]

Array = np.ndarray[Any, Any]

MOMENTUM = 0.9
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class MissingPeerError(Exception):
    """Why a peer cannot take part."""


class Job(NamedTuple):
    """What to train: sigmoid layers, softmax, cross-entropy, float32. Bytes are scaled to 0..1, floats stay."""

    network: Any  # fastbp.Network
    theta: Array  # f4 (n_parameters,)  start weights
    x: Array  # uint8, or f4; (n, n_features)
    y: Array  # i4 (n,)
    batch_size: int
    optimizer: str  # sgd, momentum, adam
    eta: float

    @property
    def n_batches(self) -> int:
        """Whole batches of an epoch; a rest is left out, since compiled peers want batches of one size."""
        return len(self.x) // self.batch_size

    @property
    def x_scale(self) -> float:
        return 1 / 255 if self.x.dtype == np.uint8 else 1.0

    @property
    def rates(self) -> Array:
        """Learning rates of the batches of the first epoch, with Adam's correction."""
        if self.optimizer != "adam":
            return np.full(self.n_batches, self.eta)
        step = np.arange(1, self.n_batches + 1)
        return self.eta * np.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)

    def inputs(self) -> Array:
        """Network inputs, f4 (n, n_features)."""
        return self.x.astype(np.float32) * np.float32(self.x_scale)


def useful_flops(network: Any) -> int:
    """Floating-point operations that one sample needs if nothing is skipped: 6 n_weights - 2 n_weights[first layer].

    A weight takes one multiplication and one addition in the forward pass, in the gradient and, but for the first
    layer, in the backward pass of the deltas. Activations, biases and the optimiser are not counted.
    """
    weights = [n_in * n_out for n_in, n_out in zip(network.sizes, network.sizes[1:], strict=False)]
    return 6 * sum(weights) - 2 * weights[0]


def make(name: str, job: Job) -> Any:
    """The trainer of this name for a job; raises MissingPeerError."""
    trainer = TRAINERS[name]
    for module in trainer.needs:
        if find_spec(module) is None:
            raise MissingPeerError(f"{module} is not installed")
    if job.optimizer not in trainer.optimizers:
        raise MissingPeerError(f"{name} has no {job.optimizer} here")
    return trainer(job)


class _Trainer:
    detail = ""
    n_networks = 1
    needs: ClassVar[tuple[str, ...]] = ()
    optimizers: ClassVar[tuple[str, ...]] = ("sgd", "momentum", "adam")

    def prepare(self, order: Array) -> Any:
        return order


class Fastbp(_Trainer):
    """The engine that `fastbp train --threads` opens, with one thread per core of this process."""

    def __init__(self, job: Job, threads: int | None = None, like: Fastbp | None = None) -> None:
        codes = np.eye(job.network.sizes[-1], dtype=np.float32)
        splits = Split(job.x, job.y, codes), Split(job.x[:0], job.y[:0], codes)
        self._splits, self._shared = (like._splits, like._shared) if like else (splits, {})
        settings = Settings(OPTIMIZER[job.optimizer], job.batch_size, MOMENTUM, BETA_1, BETA_2, EPSILON)
        options: dict[str, Any] = {"shared": self._shared, "threads": threads or usable_cores()}
        self._engine = open_engine(job.network, job.theta, *self._splits, settings, x_scale=job.x_scale, **options)
        self._etas = np.full(job.n_batches, job.eta)
        self.detail = self._engine.name

    def run(self, order: Array) -> Array:
        costs = np.empty(self._etas.size)
        self._engine.run(order, self._etas, costs)
        return costs

    def parameters(self) -> Array:
        """theta, (n_parameters,)."""
        return self._engine.parameters()


class FastbpMany(_Trainer):
    """32 networks as `train_many` trains them: side by side on all cores, over one copy of the packed data."""

    n_networks = 32

    def __init__(self, job: Job, cores: int | None = None) -> None:
        first = Fastbp(job, threads=1)
        self._trainers = [first, *(Fastbp(job, threads=1, like=first) for _ in range(self.n_networks - 1))]
        self._pool = ThreadPoolExecutor(cores or usable_cores())
        self.detail = self._trainers[0].detail

    def run(self, order: Array) -> Array:
        costs = list(self._pool.map(lambda trainer: trainer.run(order), self._trainers))
        return costs[0]

    def parameters(self) -> list[Array]:
        """theta of each network."""
        return [trainer.parameters() for trainer in self._trainers]


class NumPy(_Trainer):
    """See `numpy_trainer`: everything in place, biases as weights, one update for all layers."""

    def __init__(self, job: Job) -> None:
        self._trainer = NumpyTrainer(
            job.network,
            job.theta,
            job.x,
            job.y,
            job.batch_size,
            optimizer=job.optimizer,
            momentum=MOMENTUM,
            beta_1=BETA_1,
            beta_2=BETA_2,
            epsilon=EPSILON,
        )
        self._eta = job.eta

    def run(self, order: Array) -> Array:
        return self._trainer.run(order, self._eta)


class ScikitLearn(_Trainer):
    """MLPClassifier.partial_fit: one call, one epoch. It gets the samples in order, so that it need not shuffle."""

    needs = ("sklearn",)

    def __init__(self, job: Job) -> None:
        from sklearn.neural_network import MLPClassifier

        self._job, self._x = job, job.inputs()
        self._model = model = MLPClassifier(
            hidden_layer_sizes=job.network.sizes[1:-1],
            activation="logistic",
            solver="adam" if job.optimizer == "adam" else "sgd",
            alpha=0.0,
            batch_size=job.batch_size,
            learning_rate_init=job.eta,
            momentum=MOMENTUM if job.optimizer == "momentum" else 0.0,
            nesterovs_momentum=False,
            beta_1=BETA_1,
            beta_2=BETA_2,
            epsilon=EPSILON,
            shuffle=False,
        )
        model.partial_fit(self._x[: job.batch_size], job.y[: job.batch_size], classes=np.arange(job.network.sizes[-1]))
        pairs = job.network.layers_of(job.theta)
        model.coefs_ = [W.copy() for W, _ in pairs]
        model.intercepts_ = [b.copy() for _, b in pairs]
        del model._optimizer  # it holds the old weights

    def prepare(self, order: Array) -> Any:
        return self._x[order], self._job.y[order]

    def run(self, prepared: Any) -> Array:
        self._model.partial_fit(*prepared)
        return np.array([self._model.loss_])


class PyTorch(_Trainer):
    """Eager mode with autograd: functions instead of modules, batches gathered with index tensors, updates in place.

    nn.Sequential with optim.SGD took 642 to 680 ms, fused, foreach or neither; functions with torch.autograd.grad and
    one _foreach_add_ 476 to 490; functions, backward() and a loop of sub_ 434 to 463; bytes instead of floats 476.
    Momentum and Adam keep the gradients of all layers in one tensor, which they update in a few operations.
    """

    needs = ("torch",)

    def __init__(self, job: Job) -> None:
        import torch

        self._torch, self._job = torch, job
        torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
        self._x = torch.from_numpy(job.inputs())
        self._y = torch.from_numpy(job.y.astype(np.int64))
        self._theta = torch.from_numpy(job.theta.copy())
        self._gradient, self._mean, self._square = (torch.zeros_like(self._theta) for _ in range(3))
        self._together = job.optimizer != "sgd"
        self._parameters = self._views(self._theta)
        for parameter, gradient in zip(self._parameters, self._views(self._gradient), strict=True):
            parameter.requires_grad_()
            if self._together:
                parameter.grad = gradient
        self._rates = job.rates.tolist()

    def _views(self, flat: Any) -> list[Any]:
        """W and b of each layer."""
        return [
            view
            for W, b in self._job.network.layers_of(flat.numpy())
            for view in (self._torch.from_numpy(W), self._torch.from_numpy(b))
        ]

    def _net_output(self, parameters: Any, x: Any) -> Any:
        addmm = self._torch.addmm
        *hidden, W_out, b_out = parameters
        for W, b in zip(hidden[::2], hidden[1::2], strict=True):
            x = addmm(b, x, W).sigmoid()
        return addmm(b_out, x, W_out)

    def prepare(self, order: Array) -> Any:
        return self._torch.from_numpy(order.astype(np.int64)).split(self._job.batch_size)

    def run(self, batches: Any) -> Array:
        torch, parameters, x, y = self._torch, self._parameters, self._x, self._y
        cross_entropy = torch.nn.functional.cross_entropy
        costs = []
        for indices, rate in zip(batches, self._rates, strict=True):
            cost = cross_entropy(self._net_output(parameters, x.index_select(0, indices)), y.index_select(0, indices))
            cost.backward()
            with torch.no_grad():
                self._update(rate)
            costs.append(cost.detach())
        return torch.stack(costs).numpy()

    def _update(self, rate: float) -> None:
        if not self._together:
            for parameter in self._parameters:
                parameter.sub_(parameter.grad, alpha=rate)
                parameter.grad = None
            return
        theta, gradient, mean, square = self._theta, self._gradient, self._mean, self._square
        if self._job.optimizer == "momentum":
            mean.mul_(MOMENTUM).add_(gradient)
            theta.sub_(mean, alpha=rate)
        else:
            mean.lerp_(gradient, 1 - BETA_1)
            square.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
            theta.addcdiv_(mean, square.sqrt().add_(EPSILON), value=-rate)
        gradient.zero_()


class PyTorchCompiled(PyTorch):
    """torch.compile of whole steps, up to 15 in one call: gather, conversion of bytes, forward, backward, update.

    With module and one step a call 278 to 323 ms; with bytes and functions 245; cpp_wrapper (308) and max_autotune
    (283) do not help; 5 steps a call 166, 15 steps a call 131, for 38 s of compiling.
    """

    MOST_STEPS = 15
    SMALL = 50_000  # weights; calls cost nothing beside the steps of larger networks

    def __init__(self, job: Job) -> None:
        if shutil.which("g++") is None and shutil.which("c++") is None:
            raise MissingPeerError("torch.compile needs a C++ compiler")
        super().__init__(job)
        torch = self._torch
        if job.x.dtype == np.uint8:
            self._x = torch.from_numpy(job.x.copy())
        steps = range(1, self.MOST_STEPS + 1 if job.theta.size < self.SMALL else 2)
        self._steps = max(k for k in steps if job.n_batches % k == 0)
        self._parameters = [torch.from_numpy(p.detach().numpy().copy()) for p in self._parameters]
        self._state = [[torch.zeros_like(p) for p in self._parameters] for _ in range(2)]
        self._rates = torch.from_numpy(job.rates.astype(np.float32)).split(self._steps)
        self._call = torch.compile(self._step_of(), fullgraph=True, dynamic=False)
        saved = [p.clone() for p in self._parameters]
        few = np.arange(2 * self._steps * job.batch_size) % len(job.x)
        rates, self._rates = self._rates, self._rates[:2]
        self.run(self.prepare(few))
        self._rates = rates
        for parameter, value, *state in zip(self._parameters, saved, *self._state, strict=True):
            parameter.copy_(value)
            for each in state:
                each.zero_()

    def _step_of(self) -> Any:
        torch, optimizer, scale, n_steps = self._torch, self._job.optimizer, self._job.x_scale, self._steps

        def cost(parameters: Any, x: Any, y: Any) -> Any:
            return torch.nn.functional.cross_entropy(self._net_output(parameters, x), y)

        def steps(parameters: Any, means: Any, squares: Any, x: Any, y: Any, order: Any, rates: Any) -> Any:
            costs = []
            for indices, rate in zip(order.split(order.shape[0] // n_steps), rates, strict=True):
                inputs = x[indices].float() * scale if x.dtype == torch.uint8 else x[indices]
                gradients, value = torch.func.grad_and_value(cost)(parameters, inputs, y[indices])
                costs.append(value)
                for p, g, mean, square in zip(parameters, gradients, means, squares, strict=True):
                    if optimizer == "sgd":
                        p.sub_(rate * g)
                    elif optimizer == "momentum":
                        mean.mul_(MOMENTUM).add_(g)
                        p.sub_(rate * mean)
                    else:
                        mean.mul_(BETA_1).add_(g, alpha=1 - BETA_1)
                        square.mul_(BETA_2).add_(g * g, alpha=1 - BETA_2)
                        p.sub_(rate * mean / (square.sqrt() + EPSILON))
            return torch.stack(costs)

        return steps

    def prepare(self, order: Array) -> Any:
        return self._torch.from_numpy(order.astype(np.int64)).split(self._steps * self._job.batch_size)

    def run(self, batches: Any) -> Array:
        call, parameters, (means, squares), x, y = self._call, self._parameters, self._state, self._x, self._y
        with self._torch.no_grad():
            costs = [
                call(parameters, means, squares, x, y, order, rates)
                for order, rates in zip(batches, self._rates, strict=True)
            ]
            return self._torch.cat(costs).numpy()


class Jax(_Trainer):
    """One jit of a lax.scan over the epoch, parameters donated, samples gathered as bytes inside the scan.

    Samples as float32 106 ms, as bytes 97, as bytes with one_hot instead of take_along_axis and mode="clip" 95, with
    a backward pass by hand 95, with all samples put in order before the scan 178, the scan unrolled four times 109.
    """

    needs = ("jax",)

    def __init__(self, job: Job) -> None:
        import jax
        import jax.numpy as jnp

        self._jax, self._jnp, self._job = jax, jnp, job
        self._x, self._y = jnp.array(job.x), jnp.array(job.y)
        parameters = [(jnp.array(W), jnp.array(b)) for W, b in job.network.layers_of(job.theta)]
        self._state = self._start(parameters)
        self._epoch = jax.jit(self._epoch_of(), donate_argnums=0)
        order = self.prepare(np.arange(job.n_batches * job.batch_size))
        self._epoch = self._epoch.lower(self._state, order, self._x, self._y).compile()

    def _start(self, parameters: Any) -> Any:
        zeros = self._jax.tree.map(self._jnp.zeros_like, parameters)
        if self._job.optimizer == "adam":
            return parameters, zeros, self._jax.tree.map(self._jnp.copy, zeros), self._jnp.zeros((), self._jnp.int32)
        return (parameters, zeros) if self._job.optimizer == "momentum" else (parameters,)

    def _epoch_of(self) -> Any:
        jax, jnp, job = self._jax, self._jnp, self._job
        eta, optimizer, tree = job.eta, job.optimizer, jax.tree.map

        def cost(parameters: Any, x: Any, y: Any) -> Any:
            *hidden, (W_out, b_out) = parameters
            for W, b in hidden:
                x = jax.nn.sigmoid(x @ W + b)
            z = x @ W_out + b_out
            return -jnp.mean(jnp.sum(jax.nn.log_softmax(z) * jax.nn.one_hot(y, z.shape[1]), axis=1))

        def update(state: Any, gradient: Any) -> Any:
            if optimizer == "sgd":
                return (tree(lambda w, g: w - eta * g, state[0], gradient),)
            if optimizer == "momentum":
                velocity = tree(lambda v, g: MOMENTUM * v - eta * g, state[1], gradient)
                return tree(jnp.add, state[0], velocity), velocity
            parameters, mean, square, step = state
            step = step + 1
            rate = eta * jnp.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
            mean = tree(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, mean, gradient)
            square = tree(lambda u, g: BETA_2 * u + (1 - BETA_2) * g * g, square, gradient)
            parameters = tree(lambda w, m, u: w - rate * m / (jnp.sqrt(u) + EPSILON), parameters, mean, square)
            return parameters, mean, square, step

        def epoch(state: Any, order: Any, x: Any, y: Any) -> Any:
            def step(state: Any, indices: Any) -> Any:
                inputs = jnp.take(x, indices, axis=0, mode="clip")
                if x.dtype == jnp.uint8:
                    inputs = inputs.astype(jnp.float32) * job.x_scale
                value, gradient = jax.value_and_grad(cost)(state[0], inputs, y[indices])
                return update(state, gradient), value

            return jax.lax.scan(step, state, order)

        return epoch

    def prepare(self, order: Array) -> Any:
        return self._jnp.array(order.reshape(-1, self._job.batch_size).astype(np.int32))

    def run(self, order: Any) -> Array:
        self._state, costs = self._epoch(self._state, order, self._x, self._y)
        return np.asarray(costs)


class JaxMany(Jax):
    """The same under vmap: 32 networks over one copy of the data, all in one order, which is what suits vmap best.

    With an order for each network 149 ms per network instead of 74: nothing can be shared then.
    """

    n_networks = 32

    def _start(self, parameters: Any) -> Any:
        state = super()._start(parameters)
        return self._jax.tree.map(lambda leaf: self._jnp.stack([leaf] * self.n_networks), state)

    def _epoch_of(self) -> Any:
        return self._jax.vmap(super()._epoch_of(), in_axes=(0, None, None, None))

    def run(self, order: Any) -> Array:
        return super().run(order)[0]


class _C(_Trainer):
    optimizers = ("sgd",)

    def _compile(self, source: str, job: Job, *flags: str) -> Any:
        """Compile a file of bench/c for the sizes of the job and load it."""
        if (gcc := shutil.which("gcc")) is None:
            raise MissingPeerError("gcc is not installed")
        path = Path(__file__).parent / "c" / source
        sizes = ",".join(map(str, job.network.sizes))
        command = [gcc, "-O3", "-march=native", "-shared", "-fPIC", f"-DSIZES={sizes}", f"-DBATCH={job.batch_size}"]
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / (hashlib.sha256(repr((command, flags)).encode()).hexdigest()[:12] + ".so")
            made = subprocess.run(
                [*command, *flags, str(path), "-o", str(library), "-lm"], capture_output=True, text=True
            )
            if made.returncode:
                raise MissingPeerError(f"gcc cannot compile {source}: {made.stderr.strip()[:300]}")
            return ctypes.CDLL(str(library))

    def prepare(self, order: Array) -> Any:
        return np.ascontiguousarray(order, np.uint32)


def _pointer(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


class PlainC(_C):
    """`c/plain.c`. Sums that run over one sample after the other took 658 ms, loops that need not wait 200."""

    def __init__(self, job: Job) -> None:
        self._train = self._compile("plain.c", job).train
        self._x, self._y, self._theta, self._job = job.inputs(), job.y.astype(np.int32), job.theta.copy(), job

    def run(self, order: Array) -> Array:
        costs = np.empty(self._job.n_batches)
        n, eta = ctypes.c_long(costs.size), ctypes.c_float(self._job.eta)
        self._train(*map(_pointer, (self._theta, self._x, self._y, order)), n, eta, _pointer(costs))
        return costs


class VectorC(_C):
    """`c/vector_sparse.c`, with the input that is faster for the data.

    Without prefetching 35 ms, with it 24, as far ahead as it may be; blocks of 8 rows instead of 4 are 3 % faster.
    """

    SPARSE_BELOW = 0.45

    def __init__(self, job: Job) -> None:
        sparse = np.count_nonzero(job.x) < self.SPARSE_BELOW * job.x.size
        library = self._compile("vector_sparse.c", job, *([] if sparse else ["-DDENSE"]))
        library.open_state.restype = ctypes.c_void_p
        self.detail = "sparse input" if sparse else "dense input"
        self._job, self._y, self._train = job, job.y.astype(np.int32), library.train
        self._state = ctypes.c_void_p(library.open_state(_pointer(job.theta)))
        self._x, self._kept, self._lists, self._scale = None, (), None, 1.0
        if sparse:
            self._kept, self._scale = _lists_of(job.x), job.x_scale
            self._lists = (ctypes.c_void_p * 3)(*(array.ctypes.data for array in self._kept))
        else:
            self._x = job.inputs()

    def run(self, order: Array) -> Array:
        costs = np.empty(self._job.n_batches)
        x = None if self._x is None else _pointer(self._x)
        numbers = ctypes.c_long(costs.size), ctypes.c_float(self._scale), ctypes.c_float(self._job.eta)
        self._train(self._state, self._lists, x, _pointer(self._y), _pointer(order), *numbers, _pointer(costs))
        return costs


def _lists_of(x: Array) -> tuple[Array, Array, Array]:
    """(column, value, starts) of the nonzero inputs, padded with zeros at columns of their own to groups of four."""
    n_in = x.shape[1]
    counts = np.count_nonzero(x, axis=1)
    starts = np.concatenate([[0], np.cumsum((counts + 3) // 4 * 4)])
    column = np.tile(np.arange(n_in, n_in + 4, dtype=np.uint16), starts[-1] // 4 + 16)
    value = np.zeros(column.size, np.float32)
    rows, columns = np.nonzero(x)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    place = starts[rows] + np.arange(rows.size) - first[rows]
    column[place], value[place] = columns, x[rows, columns]
    return column, value, starts.astype(np.int64)


TRAINERS: dict[str, Any] = {
    "fastbp": Fastbp,
    "NumPy": NumPy,
    "scikit-learn": ScikitLearn,
    "PyTorch": PyTorch,
    "PyTorch, compiled": PyTorchCompiled,
    "JAX": Jax,
    "fastbp, 32 networks": FastbpMany,
    "JAX, vmap of 32 networks": JaxMany,
    "C, plain loops": PlainC,
    "C, vector extensions": VectorC,
}
