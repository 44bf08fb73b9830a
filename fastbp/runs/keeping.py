"""A callback that keeps a run in its folder while it trains, so that nothing is lost when it is cut short.

What `RunFolder` names is written here: the settings at the start, a line per epoch, a checkpoint and the best model now
and then, and the summary at the end. Every file is replaced whole. What cannot be written ends the run, whose last
checkpoint is then still there.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from time import perf_counter
from typing import Any, BinaryIO

from .. import __version__
from ..errors import FastbpError
from ..files import reason, write_atomically
from ..logs import record_line, without_nan
from ..metrics import EpochRecord
from ..model import Model
from ..result import TrainingResult
from ..settings_file import settings_text
from ..watching import Callback, Plan
from .checkpoint_file import Origin, state_bytes
from .folder import RunFolder

__all__ = ["Keeper"]

AFTER_EPOCHS = 1.0  # seconds from one checkpoint to the next, at the end of an epoch
WITHIN_EPOCHS = 30.0
BETWEEN_MODELS = 10.0  # the checkpoint has the best weights, too: a model file beside it takes another 1.2 ms
MOST_SHARE = 0.01  # of the time that checkpoints may take: where writing is slow, they are further apart
SUMMARY_FORMAT = 1


class Keeper(Callback):
    """Keeps a run in a folder that is claimed. It must be the last of the callbacks: what the others remember is kept.

    Parameters
    ----------
    folder : RunFolder
    settings : dict
        how the data was named, and other settings that are not those of `Config`, for config.toml
    start : Model, optional
        the model that the run begins from
    samples_sha256 : str
        as in `Origin`
    new : bool
        a run begins; what the folder holds of another one is removed
    """

    def __init__(
        self,
        folder: RunFolder,
        settings: Mapping[str, Any],
        start: Model | None = None,
        samples_sha256: str = "",
        new: bool = True,
    ) -> None:
        self._folder, self._settings, self._start, self._samples = folder, settings, start, samples_sha256
        self._new = new
        self._metrics: BinaryIO | None = None
        self._cost = 0.0
        self._best: Any = None
        self._modelled = 0.0

    def on_start(self, plan: Plan) -> None:
        folder, self._run = self._folder, plan.run
        self._model = model = plan.run.model()
        self._origin = Origin(
            config=plan.config.as_dict(),
            network=str(plan.network),
            data_name=model.data_name,
            data_sha256=model.data_sha256,
            samples_sha256=self._samples,
        )
        settings = dict(self._settings)
        if self._start is not None:
            settings["init_from"] = str(folder.start_file.absolute())
        text = settings_text({**settings, **plan.config.as_dict()})  # refused before anything is removed
        folder.clear() if self._new else folder.reopen()
        if self._start is not None:
            self._start.save(folder.start_file)
        write_atomically(folder.config_file, text.encode())
        lines = "".join(record_line(record) + "\n" for record in plan.history)
        write_atomically(folder.metrics_file, lines.encode())
        try:
            self._metrics = open(folder.metrics_file, "ab", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._problem(error) from error
        self._saved = perf_counter()

    def on_batches(self, epoch: int, done: int, total: int, loss: float) -> None:
        if perf_counter() - self._saved >= max(WITHIN_EPOCHS, self._cost / MOST_SHARE):
            self._save()

    def on_epoch(self, record: EpochRecord) -> None:
        assert self._metrics is not None
        left = memoryview((record_line(record) + "\n").encode())
        try:
            while left:  # a disk that is nearly full takes a part, and says so with the next one
                left = left[self._metrics.write(left) :]
        except OSError as error:
            raise self._problem(error) from error
        if perf_counter() - self._saved >= max(AFTER_EPOCHS, self._cost / MOST_SHARE):
            self._save()

    def on_end(self, reason: str) -> None:
        metrics, self._metrics = self._metrics, None
        if metrics is None:
            return
        try:
            metrics.close()
        except OSError as error:  # where writing is put off, a full disk is told here
            if reason != "failed":
                raise self._problem(error) from error
        if reason != "failed":
            self._save(durable=True)

    def finish(self, result: TrainingResult) -> None:
        """Write the model of a run that has ended, and the summary."""
        result.model.save(self._folder.model_file)
        facts = {name: value for name, value in result.as_dict().items() if name not in ("history", "config")}
        summary = without_nan({"format": SUMMARY_FORMAT, "fastbp": __version__, **facts})
        write_atomically(self._folder.summary_file, (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())

    def _save(self, durable: bool = False) -> None:
        """Write where the run is, and its best model if there is a better one."""
        begun = perf_counter()
        state, best = self._run.state(), self._run.best()
        config = self._origin.config
        if state is None or (config["optimizer"] == "lbfgs" and not state.is_over(config["epochs"])):
            return  # what L-BFGS remembers is SciPy's
        write_atomically(self._folder.checkpoint_file, state_bytes(state, self._origin), durable=durable)
        waited = self._best is None or durable or begun - self._modelled >= BETWEEN_MODELS
        if best is not None and best is not self._best and waited:
            model = dataclasses.replace(self._model, parameters=best)
            write_atomically(self._folder.model_file, model.to_bytes(), durable=durable)
            self._best, self._modelled = best, begun
        self._saved = perf_counter()
        self._cost = self._saved - begun

    def _problem(self, error: OSError) -> FastbpError:
        return FastbpError(
            f"cannot write {self._folder.metrics_file}: {reason(error)}; choose a place that can be written"
        )
