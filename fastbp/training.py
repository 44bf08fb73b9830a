"""Training, on one page: dataset -> batch -> forward -> delta -> gradient -> update -> metrics.

A dataset and settings come in, a `TrainingResult` with the model and one record per epoch goes out. The middle of that
chain, from the batch to the update, is the engine's (`fastbp.kernels`, first of all `kernels/reference.py`); here is
what surrounds it: order of samples, learning rates, stopping, and what the caller gets to see. The test samples are
measured and choose nothing.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .callbacks import Callback, Plan
from .config import VALUE_COSTS, Config
from .cores import checked_threads, usable_cores
from .data import Dataset, load_dataset
from .defaults import learning_rate_for, network_for
from .errors import DivergedError, UsageError
from .kernels import OPTIMIZER, Engine, Settings, Split, announce_compiling, open_engine
from .metrics import EpochRecord
from .model import Model
from .network import Network
from .preprocessing import Scaling, code_classes, fit_inputs, fit_targets
from .result import Interrupted, TrainingResult
from .streams import stream_key

__all__ = ["Run", "dataset_for", "merged", "train"]

CHUNK_SECONDS = 0.05  # a compiled call lasts about this long, so that Ctrl-C and progress are prompt


def train(
    data: Dataset | str | os.PathLike[str] | tuple[Any, ...] = "digits",
    *,
    config: Config | None = None,
    network: Network | None = None,
    init_from: Model | None = None,
    callbacks: Iterable[Callback] = (),
    threads: int = 1,
    **settings: Any,
) -> TrainingResult:
    """Train a network by backpropagation.

    Parameters
    ----------
    data : Dataset, name, path, or tuple of arrays
        what `load_dataset` takes, a Dataset, or (x_train, y_train) or (x_train, y_train, x_test, y_test)
    config : Config, optional
        the settings; by default Config()
    network : Network, optional
        in place of the settings layers, activation, output_activation and cost
    init_from : Model, optional
        start from its weights and its input scaling instead of random ones; its network must be the same
    callbacks : iterable of Callback
        whoever wants to watch
    threads : int
        cores that work on a batch together: they pay from about 64 samples a batch, or with wide layers, and change no
        bit of the result. More than there are, are not used
    **settings
        single settings of `Config`, such as ``epochs=5``

    Returns
    -------
    TrainingResult

    Raises
    ------
    UsageError
        settings that make no sense, alone, together or with this data
    DataError, DownloadError
        data that cannot be read
    DivergedError
        the cost or a weight became NaN or infinite; its `result` holds the last finite weights
    Interrupted
        Ctrl-C; its `result` holds the weights so far

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    >>> xor = train((x, np.array([0, 1, 1, 0])), layers="4", epochs=500, batch_size=4, optimizer="adam",
    ...             learning_rate=0.1)
    >>> xor.model.predict(x)
    array([0, 1, 1, 0])
    """
    config = merged(config or Config(), settings)
    return Run(dataset_for(data, config), config, network, init_from, tuple(callbacks), threads=threads).train()


def merged(config: Config, settings: Mapping[str, Any]) -> Config:
    """config with some settings replaced; UsageError for one that does not exist."""
    try:
        return dataclasses.replace(config, **settings)
    except TypeError as error:
        raise UsageError(f"there is no such setting ({error}); the settings are the fields of fastbp.Config") from None


class _Prepared(NamedTuple):
    """Data in the form that engines take."""

    inputs: Scaling
    targets: Scaling | None
    train: Split
    test: Split
    x_scale: float


class Run:
    """One run: the engine, what has been recorded so far, and the way from one to the result.

    Runs that are given the same dict as `shared` prepare and pack their data once.
    """

    def __init__(
        self,
        data: Dataset,
        config: Config,
        network: Network | None = None,
        init_from: Model | None = None,
        callbacks: tuple[Callback, ...] = (),
        shared: dict[Any, Any] | None = None,
        threads: int = 1,
    ) -> None:
        self._threads = min(checked_threads(threads), usable_cores())
        network = network or network_for(config, data)
        if not network.trainable:
            raise UsageError("activation step has no gradient and cannot be trained; use sigmoid")
        _check_fit(network, data, init_from)
        config = dataclasses.replace(config, learning_rate=learning_rate_for(config, network))
        self._data, self._config, self._network, self._callbacks = data, config, network, callbacks
        self._n_train = len(data.x_train)
        self._batch_size = min(config.batch_size or self._n_train, self._n_train)
        self._n_batches = -(-self._n_train // self._batch_size)
        shared = {} if shared is None else shared
        key = (id(init_from), config.normalize, config.dtype, network.sizes[-1], network.activations[-1])
        if key not in shared:
            shared[key] = self._prepare(init_from)
        self._prepared: _Prepared = shared[key]
        with announce_compiling(lambda text: self._tell("on_phase", text)):
            self._engine = self._open(init_from, shared)
        self._finite = self._engine.parameters()
        self._history: list[EpochRecord] = []
        self._seconds = 0.0
        self._batches_done = 0

    def train(self) -> TrainingResult:
        """All epochs: order the samples, run the batches, measure, record."""
        config, engine = self._config, self._engine
        self._tell("on_start", self._plan())
        stopped = "epochs"
        try:
            for epoch in range(1, config.epochs + 1):
                order = self._order(epoch)
                etas = self._learning_rates(epoch)
                costs, seconds = self._run_epoch(epoch, order, etas)
                sizes = np.full(self._n_batches, self._batch_size)
                sizes[-1] = self._n_train - self._batch_size * (self._n_batches - 1)
                loss = float(np.average(costs, weights=sizes))
                self._seconds += seconds
                each = config.evaluate == "each"
                record = EpochRecord(
                    epoch=epoch,
                    loss=loss,
                    train_accuracy=engine.evaluate("train").accuracy if each else None,
                    test_accuracy=engine.evaluate("test").accuracy if each else None,
                    learning_rate=float(etas[0]),
                    seconds=seconds,
                    samples_per_second=self._n_train / max(seconds, 1e-9),
                )
                self._history.append(record)
                self._tell("on_epoch", record)
                if config.stop_below is not None and loss < config.stop_below:
                    stopped = "stop_below"
                    break
            return self._result(stopped)
        except KeyboardInterrupt:
            raise Interrupted(self._result("interrupted")) from None

    def _run_epoch(
        self, epoch: int, order: NDArray[np.uint32], etas: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float]:
        """Train on all batches, in compiled calls of about CHUNK_SECONDS; returns their costs and the time."""
        costs = np.empty(self._n_batches)
        seconds, done, chunk = 0.0, 0, 1
        while done < self._n_batches:
            end = min(done + chunk, self._n_batches)
            begun = perf_counter()
            self._engine.run(order[done * self._batch_size : end * self._batch_size], etas[done:end], costs[done:end])
            spent = perf_counter() - begun
            seconds += spent
            self._check_finite(epoch, costs, done, end)
            # where to cut changes no result: batches are the same, and their costs are added up at the end
            chunk = max(1, min(8 * chunk, int((end - done) * CHUNK_SECONDS / max(spent, 1e-6))))
            done = end
            self._batches_done += 1
            self._tell("on_batches", epoch, done, self._n_batches, float(costs[:done].mean()))
        return costs, seconds

    def _check_finite(self, epoch: int, costs: NDArray[np.float64], done: int, end: int) -> None:
        """Keep the weights where they and the costs are finite; else go back to the last that were, and raise."""
        parameters = self._engine.parameters()
        if np.isfinite(costs[done:end]).all() and np.isfinite(parameters).all():
            self._finite = parameters
            return
        self._engine.set_parameters(self._finite)
        raise DivergedError(
            f"training diverged in epoch {epoch}, before batch {end + 1}: the cost or a weight is no longer finite; "
            f"use a learning_rate below {self._config.learning_rate:g}",
            self._result("diverged"),
        )

    def _order(self, epoch: int) -> NDArray[np.uint32]:
        """The order in which an epoch visits the samples: one stream of random numbers per epoch."""
        order = np.arange(self._n_train, dtype=np.uint32)
        if self._config.shuffle and self._n_batches > 1:
            from .kernels.order import shuffle

            shuffle(order, np.uint64(stream_key(self._config.seed, "shuffle", epoch)))
        return order

    def _learning_rates(self, epoch: int) -> NDArray[np.float64]:
        """One learning rate per batch of an epoch (the first is 1)."""
        config = self._config
        assert config.learning_rate is not None
        if config.schedule == "constant":
            return np.full(self._n_batches, config.learning_rate)
        batch = (epoch - 1) * self._n_batches + np.arange(self._n_batches)
        return config.learning_rate * (1.0 - batch / (config.epochs * self._n_batches))

    def _prepare(self, init_from: Model | None) -> _Prepared:
        """Scale what must be scaled; bytes stay bytes where one factor is all, and the kernel scales its sums."""
        data, network, dtype = self._data, self._network, self._config.dtype
        inputs = init_from.inputs if init_from else fit_inputs(data.x_train, self._config.normalize)
        targets = None
        if data.is_regression:
            targets = (init_from and init_from.targets) or fit_targets(data.y_train, network.activations[-1])
        x_train, x_test, x_scale = data.x_train, data.x_test, 1.0
        if x_train.dtype == np.uint8 == x_test.dtype and isinstance(inputs.scale, float) and inputs.shift == 0.0:
            x_scale = inputs.scale
        else:
            x_train, x_test = inputs.apply(x_train, dtype), inputs.apply(x_test, dtype)
        train, test = (self._split(x, y, targets) for x, y in ((x_train, data.y_train), (x_test, data.y_test)))
        return _Prepared(inputs, targets, train, test, x_scale)

    def _split(self, x: NDArray[Any], y: NDArray[Any], targets: Scaling | None) -> Split:
        """Samples with their target rows: one row per class, or one per sample."""
        network, dtype = self._network, self._config.dtype
        if targets is not None:
            return Split(x, np.arange(len(y), dtype=np.int32), targets.apply(y, dtype))
        codes = code_classes(np.arange(self._data.n_classes), network.sizes[-1], network.activations[-1], dtype)
        return Split(x, y, codes)

    def _open(self, init_from: Model | None, shared: dict[Any, Any]) -> Engine:
        """Give an engine the data, the start weights and the rule."""
        config, network, prepared = self._config, self._network, self._prepared
        if init_from:
            theta = init_from.parameters.astype(config.dtype)
        else:
            theta = network.initial_parameters(config.seed, config.init, config.dtype)
        return open_engine(
            network,
            theta,
            prepared.train,
            prepared.test,
            Settings(
                optimizer=OPTIMIZER[config.optimizer],
                batch_size=self._batch_size,
                momentum=config.momentum,
                beta_1=config.beta_1,
                beta_2=config.beta_2,
                epsilon=config.epsilon,
                decay=config.weight_decay,
            ),
            x_scale=prepared.x_scale,
            classes=not self._data.is_regression,
            engine=config.engine,
            device=config.device,
            input_layout=config.input_layout,
            shared=shared,
            threads=self._threads,
        )

    def _plan(self) -> Plan:
        """What callbacks are told at the start."""
        x = self._data.x_train
        return Plan(
            config=self._config,
            network=self._network,
            engine=self._engine.name,
            n_train=self._n_train,
            n_test=len(self._data.x_test),
            n_parameters=self._network.n_parameters,
            density=self._engine.density if hasattr(self._engine, "density") else np.count_nonzero(x) / x.size,
        )

    def _result(self, stopped: str) -> TrainingResult:
        """Measure the engine's weights and wrap them up."""
        data, config, engine = self._data, self._config, self._engine
        train, test = engine.evaluate("train"), engine.evaluate("test")
        return TrainingResult(
            model=Model(
                network=self._network,
                parameters=engine.parameters(),
                inputs=self._prepared.inputs,
                targets=self._prepared.targets,
                class_names=data.class_names,
                image_shape=data.image_shape,
                config=config.as_dict(),
                data_name=data.name,
                data_sha256=data.sha256,
            ),
            history=tuple(self._history),
            loss=train.loss,
            train_accuracy=train.accuracy,
            test_accuracy=test.accuracy,
            test_loss=test.loss if len(data.x_test) else None,
            epochs=len(self._history),
            seed=config.seed,
            engine=engine.name,
            train_seconds=self._seconds,
            samples_per_second=self._n_train * len(self._history) / max(self._seconds, 1e-9),
            stopped=stopped,
        )

    def _tell(self, event: str, *what: Any) -> None:
        for callback in self._callbacks:
            getattr(callback, event)(*what)


def dataset_for(data: Any, config: Config) -> Dataset:
    """The Dataset that a caller means."""
    if isinstance(data, Dataset):
        return data
    if isinstance(data, tuple):
        if len(data) not in (2, 4):
            raise UsageError(
                f"data must be (x_train, y_train) or (x_train, y_train, x_test, y_test), got {len(data)} arrays"
            )
        return Dataset.from_arrays(*data)
    return load_dataset(data, target="values" if config.cost in VALUE_COSTS else "auto", seed=config.seed)


def _check_fit(network: Network, data: Dataset, init_from: Model | None) -> None:
    """Raise UsageError where the network does not fit the data, or the start weights the network."""
    n_outputs = data.y_train.shape[1] if data.is_regression else data.n_classes
    if network.sizes[0] != data.n_features:
        raise UsageError(f"the network has {network.sizes[0]} inputs, but {data.name} has {data.n_features} features")
    pair = network.sizes[-1] == 1 and n_outputs == 2 and not data.is_regression and network.activations[-1] != "softmax"
    if network.sizes[-1] != n_outputs and not pair:
        raise UsageError(f"the network has {network.sizes[-1]} outputs, but {data.name} needs {n_outputs}")
    if init_from is not None and init_from.network.sizes != network.sizes:
        raise UsageError(f"the start model is {init_from.network}, but the network to train is {network}")
