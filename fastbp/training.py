"""Training, on one page: dataset -> batch -> forward -> delta -> gradient -> update -> metrics.

A dataset and settings come in, a `TrainingResult` with the model and one record per epoch goes out. The middle of that
chain, from the batch to the update, is the engine's (`fastbp.kernels`, first of all `kernels/reference.py`); here is
what surrounds it: order of samples, measuring, and what those who watch get to see and may do. `preparation` makes the
arrays, `schedules` the learning rates, `stopping` ends runs. The test samples are measured and choose nothing.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .config import Config, merged
from .cores import checked_threads, usable_cores
from .data import Dataset
from .defaults import learning_rate_for, network_for
from .epochs import Epoch, batch_masses, batches_that_last
from .errors import AtOnce, DivergedError, UsageError
from .iterations import Iterations
from .kernels import Engine, Evaluation, announce_compiling, open_engine
from .lbfgs import scipy_minimize
from .metrics import EpochRecord, best_record
from .model import Model
from .network import Network
from .opening import open_engines
from .preparation import Prepared, check_fit, dataset_for, prepare
from .rescue import Rescue
from .result import Interrupted, TrainingResult
from .resuming import check_state, go_on, state_of
from .run_state import RunState
from .schedules import Schedule
from .stopping import KeepBest, stopping_for
from .streams import stream_key
from .watching import Callback, Plan

__all__ = ["Run", "train"]

CHUNK_SECONDS = 0.05  # a compiled call lasts about this long, so that Ctrl-C and progress are prompt


def train(
    data: Dataset | str | os.PathLike[str] | tuple[Any, ...] = "digits",
    *,
    config: Config | None = None,
    network: Network | None = None,
    init_from: Model | None = None,
    callbacks: Iterable[Callback] = (),
    threads: int = 1,
    validation_data: tuple[ArrayLike, ArrayLike] | None = None,
    sample_weight: ArrayLike | None = None,
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
        whoever wants to watch, or to intervene; `fastbp.callbacks` has ready-made ones
    threads : int
        cores that work on a batch together: they pay from about 64 samples a batch, or with wide layers, and change no
        bit of the result. More than there are, are not used
    validation_data : (x, y), optional
        measured after each epoch, in place of the setting `validation`; y holds class numbers or values like the data's
    sample_weight : array-like (n_train,), optional
        how much each training sample counts: a cost is sum(w c) / sum(w). At least 0; a sample of weight 0 is left out
    **settings
        single settings of `Config`, such as ``epochs=5``

    Returns
    -------
    TrainingResult

    Raises
    ------
    UsageError
        settings that make no sense, alone, together or with this data
    FastbpError
        what this machine lacks: a GPU, or SciPy for optimizer lbfgs
    DataError, DownloadError
        data that cannot be read
    DivergedError
        the cost or a weight became NaN or infinite; its `result` holds the last finite weights (with `patience`, the
        best ones)
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
    run = Run(
        dataset_for(data, config),
        config,
        network,
        init_from,
        tuple(callbacks),
        threads=threads,
        validation_data=validation_data,
        sample_weight=sample_weight,
    )
    return run.train()


class Run:
    """One run: the engine, what has been recorded so far, and the way from one to the result.

    Runs that are given the same dict as `shared` prepare and pack their data once. `opener` is called like
    `open_engine`, for an engine in its place. With a `state`, a run goes on where the one of that state was.
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
        validation_data: Any = None,
        sample_weight: ArrayLike | None = None,
        opener: Callable[..., Engine] = open_engine,
        state: RunState | None = None,
    ) -> None:
        self._threads = min(checked_threads(threads), usable_cores())
        network = network or network_for(config, data)
        if not network.trainable:
            raise UsageError(
                "activation step has no gradient and cannot be trained; use sigmoid, or, without hidden layers, cost "
                "perceptron"
            )
        if config.optimizer == "lbfgs":
            scipy_minimize()  # refused here where there is none
        check_fit(network, data, init_from)
        batch_size = None if config.optimizer == "lbfgs" else config.batch_size
        config = dataclasses.replace(config, learning_rate=learning_rate_for(config, network), batch_size=batch_size)
        self._data, self._config, self._network = data, config, network
        self._callbacks = (*stopping_for(config), *callbacks)
        shared = {} if shared is None else shared
        key = (
            *(id(init_from), config.normalize, config.dtype, network.sizes[-1], network.activations[-1], network.cost),
            *(config.label_smoothing, config.class_weight, config.validation, config.validation and config.seed),
        )
        if key not in shared:
            shared[key] = prepare(data, config, network, init_from, validation_data, sample_weight)
        self._prepared: Prepared = shared[key]
        self._n_train = len(self._prepared.train.y)
        self._batch_size = min(config.batch_size or self._n_train, self._n_train)
        self._n_batches = -(-self._n_train // self._batch_size)
        self._schedule = Schedule(config, self._n_batches, self._n_train)
        with announce_compiling(tell := partial(self._tell, "on_phase")):
            self._engine, self._judge = open_engines(
                network, config, self._prepared, self._batch_size, init_from, tell, opener, shared, self._threads
            )
        self._finite = self._at_end = self._engine.parameters()
        self._history: list[EpochRecord] = []
        self._seconds = 0.0
        self._samples_done = 0
        self._begun: Epoch | None = None  # the epoch that is being trained
        self._pace = 1  # batches of a compiled call
        self._stopped: str | None = None
        self._diverged: str | None = None  # in words
        self._ended: str | None = None
        self._whole = True  # what a state holds fits together: no batch or event is under way
        self._rescue = Rescue(self._engine) if config.on_nan == "restore" else None
        self._state = state
        if state is not None:
            check_state(state, config, network, self._n_batches)
            self._history = list(state.history)

    def train(self) -> TrainingResult:
        """All epochs: order the samples, run the batches, measure, record."""
        try:
            self.begin()
            try:
                if self._config.optimizer == "lbfgs":
                    Iterations(self).train()
                else:
                    while (epoch := self.next_epoch()) is not None:
                        self._run_batches(epoch)
                        self.record(epoch)
                result = self._end()
            except KeyboardInterrupt as error:
                raise Interrupted(self._cut_short(isinstance(error, AtOnce))) from None
            if self._diverged is not None:
                raise DivergedError(self._diverged, result)
            return result
        finally:
            self.close("failed")  # unless it has ended

    def _run_batches(self, epoch: Epoch) -> None:
        """Train on all batches, in compiled calls of about CHUNK_SECONDS."""
        goes_on = True
        while goes_on and epoch.done < self._n_batches:
            begin, end = epoch.done, min(epoch.done + self._pace, self._n_batches)
            rows = epoch.order[begin * self._batch_size : end * self._batch_size]
            begun = perf_counter()
            self._whole = False
            self._engine.run(rows, epoch.etas[begin:end], epoch.costs[begin:end])
            spent = perf_counter() - begun
            goes_on = self.trained(epoch, end, spent)
            # where to cut changes no result: batches are the same, and their costs are added up at the end
            self._pace = batches_that_last(CHUNK_SECONDS, end - begin, spent)

    def begin(self) -> None:
        """Let callbacks know. This, the next three, `close` and `result` are steps that `lockstep` takes too."""
        self._tell("on_start", self._plan())
        if self._state is not None:
            go_on(self, self._state)

    def next_epoch(self) -> Epoch | None:
        """The plan of the next epoch: one stream of random numbers orders its samples; None where the run is over."""
        if self._stopped is not None or len(self._history) >= self._config.epochs:
            return None
        number, state = len(self._history) + 1, self._state
        shuffled = self._config.shuffle and self._n_batches > 1
        epoch = Epoch(
            number=number,
            n_samples=self._n_train,
            key=stream_key(self._config.seed, "shuffle", number) if shuffled else None,
            etas=self._schedule.rates(number),
            costs=np.empty(self._n_batches),
        )
        if state is not None and state.done:
            epoch.resume(state.done, state.etas, state.costs, state.epoch_seconds)
        elif self._rescue is not None:
            self._rescue.remember()
        self._begun, self._state = epoch, None
        return epoch

    def trained(self, epoch: Epoch, end: int, seconds: float) -> bool:
        """The batches up to `end` are trained, and their costs are there: keep the weights, let callbacks know.

        False where the run ends here.
        """
        begin = epoch.done
        epoch.seconds += seconds
        self._seconds += seconds
        if not self._keep_finite(epoch.costs[begin:end]):
            self._diverge(epoch.number, end)
            return False
        epoch.done = end
        self._samples_done += min(end * self._batch_size, self._n_train) - begin * self._batch_size
        self._whole = True
        if self._callbacks:
            self._tell("on_batches", epoch.number, end, self._n_batches, float(epoch.costs[:end].mean()))
        return self._stopped is None

    def record(self, epoch: Epoch) -> None:
        """Measure and record an epoch; not one that was cut short."""
        if epoch.done < self._n_batches:
            return
        self._whole = False
        masses = batch_masses(epoch, self._batch_size, self._prepared.train.weights)
        loss = float((epoch.costs * masses).sum() / masses.sum())
        self._record(epoch.number, loss, float(epoch.etas[0]), epoch.seconds, self._n_train)

    def _record(self, epoch: int, loss: float, rate: float | None, seconds: float, n_samples: int) -> None:
        """Measure the present weights, and tell what the epoch did: it took so many seconds for so many samples."""
        each, validation = self._config.evaluate == "each", self._validate()
        record = EpochRecord(
            epoch=epoch,
            loss=loss,
            train_accuracy=self._engine.evaluate("train").accuracy if each else None,
            test_accuracy=self._engine.evaluate("test").accuracy if each else None,
            learning_rate=rate,
            seconds=seconds,
            samples_per_second=n_samples / max(seconds, 1e-9),
            validation_loss=validation.loss if validation else None,
            validation_accuracy=validation.accuracy if validation else None,
        )
        self._history.append(record)
        self._begun = None
        self._schedule.heard(validation.loss if validation else record.loss)
        self._tell("on_epoch", record)
        self._whole = True

    def _keep_finite(self, costs: NDArray[np.float64]) -> bool:
        """Keep the weights where they and the costs are finite; else go back to the last that were."""
        parameters = self._engine.parameters()
        if np.isfinite(costs).all() and np.isfinite(parameters).all():
            self._finite = parameters
            return True
        self._engine.set_parameters(self._finite)
        return False

    def _diverge(self, epoch: int, batch: int) -> None:
        """Redo the epoch (on_nan), or end the run: `train` raises DivergedError, unless a callback stops it here."""
        self._tell("on_diverged", epoch)
        if self._stopped is None and self._rescue is not None and self._rescue.restore():
            self._finite, self._begun = self._engine.parameters(), None
            self._schedule.halve()
            self._whole = True
            self._tell("on_restored", epoch, float(self._schedule.rates(epoch)[0]))
        elif self._stopped is None:
            rate = self._config.learning_rate
            advice = f"use a learning_rate below {rate:g}" if rate else "scale the data, or use weight_decay"
            self._stopped = "diverged"
            self._diverged = (
                f"training diverged in epoch {epoch}, before batch {batch + 1}: the cost or a weight is no longer "
                f"finite; {advice}"
            )

    def _validate(self) -> Evaluation | None:
        """Cost and accuracy of the present weights on the validation samples, if there are some."""
        if self._judge is None:
            return None
        self._judge.set_parameters(self._finite)
        return self._judge.evaluate("train")

    def _plan(self) -> Plan:
        """What callbacks are told at the start."""
        x = self._prepared.train.x
        return Plan(
            config=self._config,
            network=self._network,
            engine=self._engine.name,
            n_train=self._n_train,
            n_test=len(self._data.x_test),
            n_parameters=self._network.n_parameters,
            density=self._engine.density if hasattr(self._engine, "density") else np.count_nonzero(x) / x.size,
            n_validation=0 if self._prepared.validation is None else len(self._prepared.validation.y),
            run=self,
            history=tuple(self._history),
            is_over=self._state is not None and self._state.is_over(self._config.epochs),
        )

    def state(self) -> RunState | None:
        """See `RunControl`, for this and the next six."""
        if self._state is not None:  # nothing has been trained since
            return self._state
        return state_of(self) if self._ended is None or self._whole else None

    def best(self) -> NDArray[Any] | None:
        return next((each.best for each in self._callbacks if isinstance(each, KeepBest)), None)

    def stop(self, reason: str) -> None:
        self._stopped = self._stopped or str(reason)

    def parameters(self) -> NDArray[Any]:
        return self._finite.copy()

    def set_parameters(self, theta: NDArray[Any]) -> None:
        self._engine.set_parameters(theta)
        self._finite = self._engine.parameters()

    def set_learning_rate(self, rate: float) -> None:
        self._schedule.hold(rate)

    def model(self) -> Model:
        return Model(
            network=self._network,
            parameters=self._finite,
            inputs=self._prepared.inputs,
            targets=self._prepared.targets,
            class_names=self._data.class_names,
            image_shape=self._data.image_shape,
            config=self._config.as_dict(),
            data_name=self._data.name,
            data_sha256=self._data.sha256,
        )

    def _end(self, reason: str | None = None) -> TrainingResult:
        """Let callbacks know, and measure what they leave."""
        self.close(reason)
        return self.result()

    def _cut_short(self, at_once: bool) -> TrainingResult:
        """The result of a run that was interrupted; measuring it takes a second with wide layers."""
        self._engine.set_parameters(self._finite)  # a batch may be done of which nobody knows
        self.close("interrupted")
        try:
            return self.result(measured=not at_once)
        except AtOnce:
            return self.result(measured=False)

    def close(self, reason: str | None = None) -> None:
        """The run ends, unless it has: let callbacks know."""
        if self._ended is None:
            self._ended, self._at_end = reason or self._stopped or "epochs", self._finite
            self._tell("on_end", self._ended)

    def result(self, measured: bool = True) -> TrainingResult:
        """Measure the engine's weights, or not, and wrap them up, after `close`."""
        assert self._ended is not None
        engine, validation = self._engine, self._validate() if measured else None
        train, test = (engine.evaluate(split) if measured else Evaluation(np.nan, None) for split in ("train", "test"))
        best = best_record(self._history) if self._judge is not None or self.best() is not None else None
        return TrainingResult(
            model=self.model(),
            history=tuple(self._history),
            loss=train.loss,
            train_accuracy=train.accuracy,
            test_accuracy=test.accuracy,
            test_loss=test.loss if len(self._data.x_test) else None,
            epochs=len(self._history),
            seed=self._config.seed,
            engine=engine.name,
            train_seconds=self._seconds,
            samples_per_second=self._samples_done / max(self._seconds, 1e-9),
            stopped=self._ended,
            validation_loss=validation.loss if validation else None,
            validation_accuracy=validation.accuracy if validation else None,
            best_epoch=best.epoch if best else None,
            restores=self._rescue.restores if self._rescue else 0,
        )

    def _tell(self, event: str, *what: Any) -> None:
        for callback in self._callbacks:
            getattr(callback, event)(*what)
