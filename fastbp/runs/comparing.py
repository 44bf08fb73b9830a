"""Runs side by side: where they are, how they ended, what was measured, and which settings tell them apart.

Paths of run folders come in, or of folders that hold some; `Run` records go out, for tables and pictures. Nothing is
written. The test samples choose nothing: runs are put in order by their validation cost, or by their training cost.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Config
from ..errors import UsageError
from ..metrics import EpochRecord, best_record
from .folder import RunFolder

__all__ = ["MEASURED", "Run", "differing_settings", "in_order", "read_runs", "run_folders", "setting_text"]

# settings of `fastbp train` that tell runs apart and are not fields of Config, and what is meant where they are missing
BESIDE_CONFIG = {"data": None, "label": None, "test_fraction": 0.2, "init_from": None, "threads": 1}
MEASURED = (
    "epochs",
    "best_epoch",
    "loss",
    "validation_loss",
    "validation_accuracy",
    "train_accuracy",
    "test_accuracy",
    "test_loss",
    "seconds",
)
ENDED = {"epochs": "finished"}


@dataclass(frozen=True)
class Run:
    """One run: what its folder says.

    Attributes
    ----------
    folder : RunFolder
    name : str
        of the folder; its path where another run has the same name
    settings : dict
        every setting by name, with the defaults of those that config.toml leaves out
    history : tuple of EpochRecord
    ended : str
        ``finished``, ``running``, ``not finished``, or why it ended early: ``interrupted``, ``patience``, ...
    measured : dict
        the numbers named in `MEASURED`, None where there is none: of the model in summary.json, or, while there is no
        such file, of the best epoch so far
    """

    folder: RunFolder
    name: str
    settings: Mapping[str, Any]
    history: tuple[EpochRecord, ...]
    ended: str
    measured: Mapping[str, Any]

    @property
    def best_epoch(self) -> int | None:
        """The epoch of the model that the run keeps; None before the first has ended."""
        best: int | None = self.measured["best_epoch"]
        return best

    @property
    def is_validated(self) -> bool:
        """True where validation samples chose the best epoch."""
        return any(_is_finite(record.validation_loss) for record in self.history)


def run_folders(paths: Iterable[str | os.PathLike[str]]) -> list[RunFolder]:
    """The run folders that are named, and those inside of folders that are no runs themselves, each of them once.

    Parameters
    ----------
    paths : iterable of path

    Returns
    -------
    folders : list of RunFolder
        in the order of `paths`; those inside of one folder by name, 2 before 10

    Raises
    ------
    UsageError
        a path where there is no run, and no folder with a run in it

    Examples
    --------
    >>> run_folders(["no-such-folder"])
    Traceback (most recent call last):
        ...
    fastbp.errors.UsageError: no-such-folder holds no run (there is no such folder); name a folder that fastbp train ...
    """
    found: dict[str, RunFolder] = {}
    for path in map(Path, paths):
        inside = [path]
        if path.is_dir() and not _is_run(path):
            inside = sorted(filter(_is_run, path.iterdir()), key=lambda each: _natural(each.name))
            if not inside:
                raise UsageError(
                    f"{path} holds no run, and neither do the folders in it; name a folder that fastbp train --out "
                    "wrote, or one that holds such folders"
                )
        for each in inside:
            folder = RunFolder(each)
            if not _is_run(each):
                folder.settings()  # says what is missing
            found.setdefault(os.path.realpath(each), folder)
    return list(found.values())


def read_runs(paths: Iterable[str | os.PathLike[str]]) -> list[Run]:
    """What the folders of runs say, in the order of `run_folders` and with its errors.

    Raises
    ------
    UsageError
        a path without a run; a config.toml with something wrong in it
    FastbpError
        a file that cannot be read or is damaged
    """
    folders = run_folders(paths)
    short = [os.path.basename(os.path.realpath(folder.path)) for folder in folders]
    return [
        _read(folder, name if short.count(name) == 1 else str(folder))
        for folder, name in zip(folders, short, strict=True)
    ]


def differing_settings(runs: Sequence[Run]) -> tuple[str, ...]:
    """The names of the settings that are not the same in all runs, the data first, the others as `Config` has them."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    return tuple(name for name in names if any(run.settings[name] != runs[0].settings[name] for run in runs))


def setting_text(name: str, value: Any) -> str:
    """The value of a setting as people write it.

    Examples
    --------
    >>> setting_text("learning_rate", 0.5), setting_text("batch_size", None), setting_text("patience", None)
    ('0.5', 'full', '-')
    """
    if value is None:
        return "full" if name == "batch_size" else "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def in_order(runs: Sequence[Run], by: str | None = None) -> tuple[list[Run], str]:
    """Runs sorted, best first.

    Parameters
    ----------
    runs : sequence of Run
    by : str or None
        ``run``, ``ended``, one of `MEASURED`, or a setting. Accuracies begin with the highest, all else with the
        lowest; runs without a value come last. None: the validation loss where all runs have one, else the training
        loss, and never what was measured on test samples

    Returns
    -------
    runs : list of Run
    by : str
        what they are sorted by

    Raises
    ------
    UsageError
        a name that is no column
    """
    if by is None:
        by = "validation_loss" if all(_is_finite(run.measured["validation_loss"]) for run in runs) else "loss"
    name = by.strip().replace("-", "_").replace(" ", "_")
    settings = dict.fromkeys(each for run in runs for each in run.settings)
    if name not in ("run", "ended", *MEASURED, *settings):
        differ = differing_settings(runs)
        raise UsageError(
            f"there is no column {by} to sort by; columns are run, ended, {', '.join(MEASURED)}, and settings"
            + (f" such as {', '.join(differ)}" if differ else "")
        )
    values = [_column(run, name) for run in runs]
    sign = -1 if name.endswith("_accuracy") else 1
    order = sorted(range(len(runs)), key=lambda row: _sort_key(values[row], sign))
    return [runs[row] for row in order], name


def _column(run: Run, name: str) -> Any:
    if name in ("run", "ended"):
        return run.name if name == "run" else run.ended
    return run.measured[name] if name in MEASURED else run.settings[name]


def _sort_key(value: Any, sign: int) -> tuple[Any, ...]:
    """Numbers before texts before what is missing."""
    if _is_finite(value):
        return (0, sign * value)
    return (1, _natural(value)) if isinstance(value, str) else (2,)


def _natural(text: str) -> list[tuple[int, Any]]:
    """For sorting: run-2 comes before run-10."""
    parts = re.split(r"(\d+)", text)
    return [(0, int(part)) if part.isdecimal() else (1, part.casefold()) for part in parts if part]


def _is_run(path: Path) -> bool:
    return RunFolder(path).config_file.is_file()


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _read(folder: RunFolder, name: str) -> Run:
    defaults = {field: item.default for field, item in Config.__dataclass_fields__.items()}
    found = folder.settings()
    settings = {each: found.get(each, default) for each, default in {**BESIDE_CONFIG, **defaults}.items()}
    history, summary = folder.history(), folder.summary()
    if settings["data"] is None and summary is not None:  # arrays: their name is all that is known
        settings["data"] = summary.get("data")
    if folder.is_in_use:
        ended = "running"
    elif summary is None:
        ended = "not finished"
    else:
        why = str(summary.get("stopped", "epochs"))
        ended = ENDED.get(why, why.replace("_", " "))
    return Run(folder, name, settings, history, ended, _measured(history, summary))


def _measured(history: Sequence[EpochRecord], summary: Mapping[str, Any] | None) -> dict[str, Any]:
    """The numbers of a run, from its summary; while there is none, from the best epoch."""
    best = best_record(history)
    if summary is None:
        values: dict[str, Any] = {} if best is None else best.as_dict()
        values |= {"epochs": len(history), "seconds": sum(record.seconds for record in history)}
    else:
        values = {**summary, "seconds": summary.get("train_seconds")}
        values.setdefault("epochs", len(history))
    if values.get("best_epoch") is None:
        values["best_epoch"] = None if best is None else best.epoch
    return {name: values[name] if _is_finite(values.get(name)) else None for name in MEASURED}
