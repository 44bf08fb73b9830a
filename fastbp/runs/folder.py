"""A folder that holds one run: its settings, one record per epoch, its best model, where it can go on, how it ended.

    config.toml              every setting, enough to repeat the run:  fastbp train --config RUN/config.toml --out OTHER
    metrics.jsonl            one JSON object per epoch, the fields of `EpochRecord`
    model.safetensors        the model with the lowest validation cost; without validation samples, training cost
    checkpoint.safetensors   everything the rest of the run depends on; `fastbp.run_state` says what
    summary.json             how it ended, and the measurements of the model: a `TrainingResult`
    start.safetensors        the model that it began from, if not from random weights

This room knows the names, reads what is there, and lets one process at a time write, by a lock that ends with it.
What goes into the files comes from `fastbp.runs.keeping`. Refused: folders that hold another run, or none.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

from ..config import VALUE_COSTS
from ..errors import FastbpError, UsageError
from ..files import open_regular, reason, try_lock
from ..metrics import EpochRecord
from ..settings_file import read_settings

if TYPE_CHECKING:
    from ..data import Dataset
    from ..model import Model

__all__ = ["RunFolder"]

NAMES = (
    *("config.toml", "metrics.jsonl", "model.safetensors"),
    *("checkpoint.safetensors", "summary.json", "start.safetensors"),
)
LOCK = ".lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
MOST_BYTES = 1 << 30


class RunFolder:
    """The files of a run. Reading needs no lock: files are replaced whole.

    Parameters
    ----------
    path : str or path

    Examples
    --------
    >>> RunFolder("runs/a").model_file.as_posix()
    'runs/a/model.safetensors'
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock: int | None = None
        self._made: list[Path] = []
        self.config_file, self.metrics_file, self.model_file = (self.path / name for name in NAMES[:3])
        self.checkpoint_file, self.summary_file, self.start_file = (self.path / name for name in NAMES[3:])

    def __str__(self) -> str:
        return str(self.path)

    def settings(self) -> dict[str, Any]:
        """The settings of the run by name, as `read_settings` gives them; UsageError where there is no run."""
        if not self.config_file.is_file():
            what = "has no config.toml" if self.path.is_dir() else "there is no such folder"
            raise UsageError(f"{self} holds no run ({what}); name a folder that fastbp train --out wrote")
        return read_settings(self.config_file)

    def history(self) -> tuple[EpochRecord, ...]:
        """One record per epoch that has ended; a last line that was not written whole is left out.

        Raises
        ------
        FastbpError
            a file that cannot be read, or a line that is no record
        """
        if not self.metrics_file.exists():
            return ()
        lines = self._text(self.metrics_file).split("\n")
        names = {field.name for field in dataclasses.fields(EpochRecord)}
        records = []
        for number, line in enumerate(lines[:-1], start=1):
            try:
                found = json.loads(line)
                records.append(EpochRecord(**{name: found[name] for name in names & found.keys()}))
            except (ValueError, TypeError, AttributeError):
                raise FastbpError(f"{self.metrics_file}, line {number}, is no record of an epoch") from None
        return tuple(records)

    def summary(self) -> dict[str, Any] | None:
        """What summary.json says; None while the run has not ended."""
        if not self.summary_file.exists():
            return None
        try:
            found = json.loads(self._text(self.summary_file))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise FastbpError(f"{self.summary_file} is no JSON object; remove it and resume the run")
        return found

    def model(self) -> Model:
        """The best model so far; UsageError where none is there yet."""
        from ..model import load

        if not self.model_file.exists():
            raise UsageError(f"{self} holds no model yet; resume the run with fastbp train --resume {self}")
        return load(self.model_file)

    def dataset(self, progress: Callable[[str, int, int | None], None] | None = None) -> Dataset:
        """The data that the run was begun with, as config.toml names it; the errors are those of `load_dataset`."""
        from ..data import load_dataset

        settings = self.settings()
        names = ("label", "test_fraction", "data_dir", "offline", "seed")
        return load_dataset(
            settings.get("data", "digits"),
            target="values" if settings.get("cost") in VALUE_COSTS else "auto",
            progress=progress,
            **{name: settings[name] for name in names if name in settings},
        )

    @property
    def is_in_use(self) -> bool:
        """True where a process writes into it."""
        if self._lock is not None or not (self.path / LOCK).exists():
            return self._lock is not None
        with suppress(OSError):
            descriptor = os.open(self.path / LOCK, os.O_RDWR)
            try:
                return not try_lock(descriptor)
            finally:
                os.close(descriptor)
        return False

    def claim(self, new: bool = True, force: bool = False) -> bool:
        """Take the folder for this process, and make it where there is none. `release` gives it back.

        Parameters
        ----------
        new : bool
            a new run is to go there, rather than the one that is there to go on
        force : bool
            another run may be replaced; `clear` removes it

        Returns
        -------
        locked : bool
            False on file systems without locks, where nothing keeps other processes away

        Raises
        ------
        UsageError
            it holds another run, or is no folder
        FastbpError
            another process is writing into it; it cannot be made or written
        """
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self} is not a folder; choose another name")
        if new and not force:
            self.refuse_another()
        try:
            for folder in reversed([each for each in (self.path, *self.path.parents) if not each.exists()]):
                folder.mkdir(exist_ok=True)
                self._made.append(folder)
            locked = self._take_lock()
            for name in NAMES if locked else ():
                for left in self.path.glob(f".{name}.*.tmp"):  # of a process that was killed while it wrote
                    left.unlink(missing_ok=True)
        except OSError as error:
            self.release()
            raise FastbpError(
                f"cannot use the folder {self}: {reason(error)}; choose one that can be written"
            ) from error
        if new and not force:  # a run that has begun since
            try:
                self.refuse_another()
            except UsageError:
                self.release()
                raise
        return locked

    def clear(self) -> None:
        """Remove the run that is there, its settings last: what is left of it never passes for the new one."""
        self._remove(*reversed(NAMES))

    def reopen(self) -> None:
        """Remove what says that the run has ended."""
        self._remove(self.summary_file.name)

    def _remove(self, *names: str) -> None:
        try:
            for name in names:
                (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise FastbpError(f"cannot change the run in {self}: {reason(error)}; choose another folder") from error

    def release(self) -> None:
        """Give the folder back; where no run has begun in it, what `claim` made is gone."""
        if self._made and not any((self.path / name).exists() for name in NAMES):
            with suppress(OSError):
                (self.path / LOCK).unlink(missing_ok=True)
                for folder in reversed(self._made):
                    folder.rmdir()
        self._made.clear()
        descriptor, self._lock = self._lock, None
        if descriptor is not None:
            os.close(descriptor)

    def refuse_another(self) -> None:
        """Raise UsageError where the folder holds a run, or files that a run would overwrite."""
        there = next((name for name in NAMES if (self.path / name).exists()), None)
        if there is not None:
            what, go_on = ("a run", f", go on with --resume {self},") if there == NAMES[0] else (there, "")
            raise UsageError(f"{self} already holds {what}; choose another folder{go_on} or replace it with --force")

    def _take_lock(self) -> bool:
        while True:
            descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            try:
                taken = try_lock(descriptor) or self._try_again(descriptor)
            except OSError as error:
                os.close(descriptor)
                if error.errno in NO_LOCKS:
                    return False
                raise
            if not taken:
                os.close(descriptor)
                raise FastbpError(f"{self} is in use by another run; wait for it, or choose another folder")
            with suppress(FileNotFoundError):
                # Windows removes no file that is open, and tells no inode here
                if os.name == "nt" or os.path.samestat(os.fstat(descriptor), os.stat(self.path / LOCK)):
                    self._lock = descriptor
                    return True
            os.close(descriptor)  # its owner has removed it in between: what is locked has no name any more

    @staticmethod
    def _try_again(descriptor: int) -> bool:
        """Once more after a moment: whoever asks whether a folder `is_in_use` has its lock for that long."""
        sleep(0.05)
        return try_lock(descriptor)

    @staticmethod
    def _text(path: Path) -> str:
        try:
            with open_regular(path, FastbpError) as file:
                return file.read(MOST_BYTES).decode("utf-8")
        except OSError as error:
            raise FastbpError(f"cannot read {path}: {reason(error)}") from error
        except UnicodeDecodeError:
            raise FastbpError(f"{path} is damaged: it is not UTF-8") from None
