"""Training into a run folder, and going on there: runs that survive anything.

`train_to` is `train` with a folder that holds what `fastbp.runs.folder` says; `resume` goes on with what is in one, and
ends with the very model that a run without interruption gives. Refused: folders of other runs or in use, data and
settings that are no longer those of the run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..config import Config, merged
from ..data import Dataset
from ..data.sources import NAMES
from ..errors import DivergedError, UsageError
from ..model import Model, load
from ..preparation import dataset_for
from ..result import Interrupted, TrainingResult
from ..run_state import RunState
from ..stopping import KeepBest
from ..training import Run
from ..watching import Callback
from .checkpoint_file import Origin, read_state
from .folder import RunFolder
from .keeping import Keeper

__all__ = ["changed_settings", "config_of", "data_path", "resume", "train_to"]

Data = Dataset | str | os.PathLike[str] | tuple[Any, ...]


def train_to(
    path: str | os.PathLike[str],
    data: Data = "digits",
    *,
    force: bool = False,
    config: Config | None = None,
    init_from: Model | None = None,
    callbacks: Iterable[Callback] = (),
    threads: int = 1,
    validation_data: tuple[ArrayLike, ArrayLike] | None = None,
    sample_weight: ArrayLike | None = None,
    origin: Mapping[str, Any] | None = None,
    **settings: Any,
) -> TrainingResult:
    """Train a network, and keep all of it in a folder, from where `resume` goes on after whatever cuts it short.

    The model is that of the epoch with the lowest validation cost; without validation samples, training cost.

    Parameters
    ----------
    path : path
        the folder; it is made if need be. `fastbp.runs.folder` says what will be in it
    data, config, init_from, callbacks, threads, validation_data, sample_weight, **settings
        as for `train`
    force : bool
        replace the run that the folder holds
    origin : dict, optional
        how the data was loaded, as options of ``fastbp train`` (``data``, ``label``, ...); by default, `data` where it
        is a name or a path

    Returns
    -------
    TrainingResult
        of the best model

    Raises
    ------
    UsageError
        the folder holds another run; settings as for `train`; an activation of your own, which no file can hold
    FastbpError
        the folder is in use, or cannot be written
    DivergedError, Interrupted
        as for `train`; what there is, is in the folder

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     first = train_to(folder + "/a", ([[0.0], [1.0]], [0, 1]), layers="", epochs=2)
    ...     again = resume(folder + "/a", ([[0.0], [1.0]], [0, 1]), epochs=3)
    >>> first.epochs, again.epochs
    (2, 3)
    """
    config = merged(config or Config(), settings)
    if not isinstance(config.activation, str) and any(not isinstance(each, str) for each in config.hidden_activations):
        raise UsageError("a run folder cannot hold functions of your own; use fastbp's activations, or train")
    folder = RunFolder(path)
    folder.claim(force=force)
    try:
        if origin is None:
            origin = {"data": data_path(data)} if isinstance(data, str | os.PathLike) else {}
        keeper = Keeper(folder, origin, init_from, _fingerprint(validation_data, sample_weight))
        run = Run(
            dataset_for(data, config),
            config,
            init_from=init_from,
            callbacks=_all_callbacks(config, callbacks, keeper),
            threads=threads,
            validation_data=validation_data,
            sample_weight=sample_weight,
        )
        return _train(run, keeper)
    finally:
        folder.release()


def resume(
    path: str | os.PathLike[str],
    data: Data | None = None,
    *,
    epochs: int | None = None,
    callbacks: Iterable[Callback] = (),
    threads: int = 1,
    validation_data: tuple[ArrayLike, ArrayLike] | None = None,
    sample_weight: ArrayLike | None = None,
) -> TrainingResult:
    """Go on with the run in a folder, in the middle of an epoch if need be; its end is that of a run never interrupted.

    The model file is then the same, byte for byte. A run without a checkpoint begins again, and so does one of
    optimizer lbfgs, whose memory is SciPy's. One that has ended is measured again.

    Parameters
    ----------
    path : path
        a folder of `train_to` or ``fastbp train --out``
    data : optional
        as for `train`; by default what the folder's config.toml names. It must be the data of the run
    epochs : int, optional
        another number of epochs for the run. Learning rates of epochs that are over stay what they were
    callbacks, threads, validation_data, sample_weight
        as for `train`; the samples must be those that `train_to` was given

    Returns
    -------
    TrainingResult
        of the best model, with the records of all epochs

    Raises
    ------
    UsageError
        no run there; other data or samples; settings that were edited; fewer epochs than are done
    FastbpError
        the folder is in use, or cannot be written
    ModelError
        the checkpoint is damaged
    DivergedError, Interrupted
        as for `train`

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     first = train_to(folder + "/a", ([[0.0], [1.0]], [0, 1]), layers="", epochs=1)
    ...     resume(folder + "/a", ([[0.0], [1.0]], [0, 1])).history == first.history
    True
    """
    folder = RunFolder(path)
    config = config_of(folder, epochs)
    folder.claim(new=False)
    try:
        state = _state_of(folder, config)
        dataset = folder.dataset() if data is None else dataset_for(data, config)
        samples = _fingerprint(validation_data, sample_weight)
        if state is not None:
            _check_data(folder, state[1], dataset, samples)
        others = {name: value for name, value in folder.settings().items() if name not in Config.__dataclass_fields__}
        start = load(folder.start_file) if folder.start_file.exists() or "init_from" in others else None
        keeper = Keeper(folder, others, start, samples, new=False)
        run = Run(
            dataset,
            config,
            init_from=start,
            callbacks=_all_callbacks(config, callbacks, keeper),
            threads=threads,
            validation_data=validation_data,
            sample_weight=sample_weight,
            state=state[0] if state is not None else None,
        )
        return _train(run, keeper)
    finally:
        folder.release()


def config_of(folder: RunFolder, epochs: int | None = None) -> Config:
    """The settings of a run, perhaps with another number of epochs; UsageError where there is none, or a wrong one."""
    settings = {name: value for name, value in folder.settings().items() if name in Config.__dataclass_fields__}
    return Config(**(settings if epochs is None else {**settings, "epochs": epochs}))


def changed_settings(config: Config, before: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, value, value before) of the settings that differ, the number of epochs aside."""
    now = config.as_dict()
    return [(name, now[name], before.get(name)) for name in now if name != "epochs" and now[name] != before.get(name)]


def data_path(data: str | os.PathLike[str]) -> str:
    """The name of a dataset as it is; a path so that it holds from wherever one goes on."""
    return os.fspath(data) if data in NAMES or not Path(data).exists() else str(Path(data).absolute())


def _state_of(folder: RunFolder, config: Config) -> tuple[RunState, Origin] | None:
    """Where the run stands, if it can go on from there; UsageError where the settings are no longer its own."""
    if not folder.checkpoint_file.exists():
        return None
    state, origin = read_state(folder.checkpoint_file)
    for name, now, before in changed_settings(config, origin.config):
        raise UsageError(
            f"{name} is {now} in {folder.config_file}, and the run was begun with {before}; put that back, or begin "
            "another run"
        )
    if config.epochs < len(state.history):
        raise UsageError(f"{len(state.history)} epochs are done in {folder}, got epochs {config.epochs}; it takes more")
    if config.optimizer == "lbfgs" and not state.is_over(config.epochs):
        return None
    return state, origin


def _check_data(folder: RunFolder, origin: Origin, dataset: Dataset, samples_sha256: str) -> None:
    """UsageError unless these are the data and samples of the run."""
    if dataset.sha256 != origin.data_sha256:
        raise UsageError(
            f"{dataset.name} is not the data that {folder} was begun with ({origin.data_name}): it has changed, or is "
            "another; give that data, or begin another run"
        )
    if samples_sha256 != origin.samples_sha256:
        raise UsageError(f"sample_weight and validation_data are not those that {folder} was begun with; give the same")


def _all_callbacks(config: Config, callbacks: Iterable[Callback], keeper: Keeper) -> tuple[Callback, ...]:
    """What remembers comes before the keeper; `patience` brings what keeps the best."""
    best = () if config.patience is not None else (KeepBest(),)
    return (*best, *callbacks, keeper)


def _train(run: Run, keeper: Keeper) -> TrainingResult:
    """Train, and leave the model and the summary in the folder, whatever ends the run."""
    try:
        result = run.train()
    except (DivergedError, Interrupted) as error:
        if isinstance(error.result, TrainingResult):
            keeper.finish(error.result)
        raise
    keeper.finish(result)
    return result


def _fingerprint(validation_data: Any, sample_weight: Any) -> str:
    """SHA-256 of samples that no dataset holds; empty where there are none."""
    arrays = [*([] if validation_data is None else validation_data), sample_weight]
    if all(each is None for each in arrays):
        return ""
    digest = sha256()
    for each in arrays:
        values = np.asarray(0 if each is None else each)
        digest.update(f"{values.dtype.str} {values.shape} ".encode() + values.tobytes())
    return digest.hexdigest()
