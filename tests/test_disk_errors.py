"""Errors of the disk at every step of every file of a run: one error, old files whole, and the run goes on later."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp.files
import fastbp.runs.keeping
from fastbp import Dataset, load
from fastbp.errors import FastbpError
from fastbp.runs.checkpoint_file import read_state
from fastbp.runs.folder import NAMES, RunFolder
from fastbp.runs.training import resume, train_to
from fastbp.settings_file import read_settings

ROOT = Path(__file__).resolve().parent.parent
ERRNOS = ("ENOSPC", "EIO", "EROFS", "EDQUOT", "EACCES")
CALLS = ("open", "write", "fsync", "replace")
SETTINGS: dict[str, Any] = {"layers": "4", "epochs": 6, "engine": "reference", "optimizer": "momentum"}
CONFIG, METRICS, MODEL, CHECKPOINT, SUMMARY, START = NAMES

# (file, how many calls on it go well, does the run go on from an earlier one)
PLACES = [
    *((file, 0, resumed) for file in (CONFIG, METRICS, MODEL, CHECKPOINT, SUMMARY) for resumed in (False, True)),
    *((file, 2, resumed) for file in (MODEL, CHECKPOINT) for resumed in (False, True)),
    (START, 0, False),
]
CASES = [(word, call, *place) for word in ERRNOS for call in CALLS for place in PLACES]
assert len(CASES) >= 200


class Disk:
    """Calls of one kind on the files of one name fail, from the one after the first `skip` on."""

    def __init__(self, word: str, call: str, file: str, skip: int = 0, room: int = 0) -> None:
        self.number, self.call, self.file = getattr(errno, word), call, file
        self.skip, self.room, self.names = skip, room, {}

    def fail(self, call: str, path: object) -> bool:
        name = os.path.basename(os.fspath(path)) if isinstance(path, str | os.PathLike) else self.names.get(path, "")
        if call != self.call or (name not in (self.file, ".") and not name.startswith(f".{self.file}.")):
            return False
        self.skip -= 1
        return self.skip < 0

    def error(self) -> OSError:
        return OSError(self.number, os.strerror(self.number))


class Writer(io.FileIO):
    """A file on such a disk."""

    def __init__(self, disk: Disk, *how: Any) -> None:
        super().__init__(*how)
        self.disk = disk

    def write(self, data: Any) -> int:
        if not self.disk.fail("write", self.name):
            return super().write(data)
        room, self.disk.room = self.disk.room, 0
        if not room:
            raise self.disk.error()
        return super().write(memoryview(data)[:room])


@pytest.fixture
def attach(monkeypatch):
    """Lets the files of fastbp be on a disk."""

    def to(disk: Disk) -> None:
        def failing(call: str, place: int) -> Callable[..., Any]:
            real = getattr(os, call) if call != "fsync" else lambda descriptor: None  # takes 10 ms on some disks

            def wrapped(*what: Any, **more: Any) -> Any:
                if (call != "open" or what[1] & (os.O_WRONLY | os.O_RDWR)) and disk.fail(call, what[place]):
                    raise disk.error()
                found = real(*what, **more)
                if call == "open":
                    disk.names[found] = os.path.basename(os.fspath(what[0]))
                return found

            return wrapped

        for call, place in (("open", 0), ("fsync", 0), ("replace", 1)):
            monkeypatch.setattr(os, call, failing(call, place))
        writer = lambda path, mode, buffering=-1: Writer(disk, path, mode.replace("b", ""))  # noqa: E731
        monkeypatch.setattr(fastbp.files, "open", writer, raising=False)
        monkeypatch.setattr(fastbp.runs.keeping, "open", writer, raising=False)

    monkeypatch.setattr(fastbp.runs.keeping, "AFTER_EPOCHS", 0.0)
    monkeypatch.setattr(fastbp.runs.keeping, "MOST_SHARE", 1e9)
    return to


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(90, 4))
    return Dataset.from_arrays(x[:70], (x[:70] @ rng.normal(size=(4, 3))).argmax(axis=1), name="made")


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory) -> tuple[Path, Path, Path]:
    """A run that ended, with a model it began from; one without; and what a disk error left of that after epoch 3."""
    folder = tmp_path_factory.mktemp("runs")
    first = train_to(folder / "first", data, **SETTINGS).model
    train_to(folder / "begun", data, init_from=first, **SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fastbp.runs.keeping, "AFTER_EPOCHS", 0.0)
        patch.setattr(fastbp.runs.keeping, "MOST_SHARE", 1e9)
        saved = iter(range(3))
        real = fastbp.runs.keeping.state_bytes

        def three(*what: Any) -> bytes:
            if next(saved, None) is None:
                raise FastbpError("no more")
            return real(*what)

        patch.setattr(fastbp.runs.keeping, "state_bytes", three)
        with pytest.raises(FastbpError, match="no more"):
            train_to(folder / "half", data, **SETTINGS)
    return folder / "first", folder / "begun", folder / "half"


def kept(folder: Path) -> dict[str, Any]:
    run = RunFolder(folder)
    times = {"seconds", "samples_per_second"}
    history = [{k: v for k, v in record.as_dict().items() if k not in times} for record in run.history()]
    config = {name: value for name, value in run.settings().items() if name != "init_from"}
    return {"model": run.model_file.read_bytes(), "config": config, "history": history}


def check_whole(folder: Path) -> None:
    """Every file of a run can be read, and there is none that is only begun."""
    reads = {CONFIG: read_settings, MODEL: load, CHECKPOINT: read_state, START: load}
    for path in folder.iterdir() if folder.exists() else ():
        if path.name in reads:
            reads[path.name](path)
        elif path.name == SUMMARY:
            json.loads(path.read_text())
        else:
            assert path.name in (METRICS, ".lock")
    if folder.exists():
        RunFolder(folder).history()


@pytest.mark.parametrize(("word", "call", "file", "skip", "resumed"), CASES)
def test_an_error_at_every_step_of_every_file(data, runs, tmp_path, attach, word, call, file, skip, resumed):
    first, begun, half = runs
    folder = tmp_path / "run"
    start = load(first / MODEL) if file == START else None
    if resumed:
        shutil.copytree(half, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()} if resumed else {}

    def train() -> Any:
        if (folder / CONFIG).exists():
            return resume(folder, data)
        return train_to(folder, data, init_from=start, force=(folder / START).exists(), **SETTINGS)

    disk = Disk(word, call, file, skip)
    attach(disk)
    with pytest.raises(FastbpError) as caught:
        train()
    disk.skip = 10**9  # the error goes away
    assert type(caught.value) is FastbpError
    assert caught.value.exit_code == 1
    assert os.strerror(disk.number) in str(caught.value)
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)
    check_whole(folder)
    assert not RunFolder(folder).is_in_use
    if skip == 0:
        now = (folder / file).read_bytes() if (folder / file).exists() else None
        assert now == before.get(file)
    train()
    assert kept(folder) == kept(begun if start else first)


@pytest.mark.parametrize("word", ERRNOS)
@pytest.mark.parametrize("room", [0, 1, 40])
@pytest.mark.parametrize("line", [1, 3, 6])
def test_a_line_of_metrics_that_finds_no_room(data, runs, tmp_path, attach, word, room, line):
    """Nor half of one passes for written: the last line, too, is whole or an error."""
    folder = tmp_path / "run"
    disk = Disk(word, "write", METRICS, line, room)  # the first write is that of the empty file
    attach(disk)
    with pytest.raises(FastbpError, match=METRICS) as caught:
        train_to(folder, data, **SETTINGS)
    assert os.strerror(disk.number) in str(caught.value)
    check_whole(folder)
    assert len(RunFolder(folder).history()) == line - 1
    if (
        line > 1
    ):  # a checkpoint is written after the line of its epoch: whoever looks on sees no epoch of which none tells
        assert len(read_state(folder / CHECKPOINT)[0].history) == line - 1
    disk.skip = 10**9
    resume(folder, data)
    assert kept(folder) == kept(runs[0])


@pytest.mark.parametrize("word", ERRNOS)
def test_a_folder_whose_names_do_not_reach_the_disk(data, runs, tmp_path, monkeypatch, word):
    """What was written is there, and the run says that it may not last."""
    real, folder = os.fsync, tmp_path / "run"
    number = getattr(errno, word)

    def failing(descriptor: int) -> None:
        if os.path.isdir(f"/dev/fd/{descriptor}") and (folder / CHECKPOINT).exists():
            raise OSError(number, os.strerror(number))
        real(descriptor)

    if not os.path.isdir("/dev/fd"):
        pytest.skip("what a descriptor stands for is not told here")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(FastbpError, match=CHECKPOINT):
            train_to(folder, data, **SETTINGS)
    check_whole(folder)
    resume(folder, data)
    assert kept(folder) == kept(runs[0])


# the real command


@pytest.fixture(scope="module")
def command(tmp_path_factory, data):
    """Runs `fastbp train` in a folder with small data; returns its exit code and what it said."""
    place = tmp_path_factory.mktemp("commands")
    np.savez(place / "d.npz", x_train=data.x_train, y_train=data.y_train)
    words = [sys.executable, "-m", "fastbp", "train", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("FASTBP_DEBUG", None)

    def run(*more: object, **settings: Any) -> tuple[int, str]:
        done = subprocess.run(
            [*words, *map(str, more)],
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            **settings,
        )
        return done.returncode, done.stderr

    return run


NEW = ("--data", "d.npz", "--engine", "reference", "--epochs", 4, "--out")


def test_files_that_may_not_grow(command, tmp_path):
    resource = pytest.importorskip("resource", reason="limits on file sizes are Unix's")
    whole = tmp_path / "whole"
    assert command(*NEW, whole) == (0, "")
    sizes = sorted(path.stat().st_size for path in whole.iterdir())
    for most in (10, sizes[1] + 1, sizes[-1] - 1):
        folder = tmp_path / f"run{most}"
        code, said = command(*NEW, folder, preexec_fn=lambda most=most: limit(resource, most))
        assert (code, said.count("\n")) == (1, 1)
        assert said.startswith("Error: cannot write ")
        assert "File too large" in said
        check_whole(folder)
        again = ("--resume", folder) if (folder / CONFIG).exists() else (*NEW, folder)
        assert command(*again) == (0, "")
        assert kept(folder) == kept(whole)


def limit(resource: Any, most: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def test_a_folder_that_cannot_be_written(command, bound, tmp_path):
    """A new run in a read-only folder, and one that goes on in its own, which has become read-only."""
    assert command(*NEW, tmp_path / "a") == (0, "")
    before = kept(tmp_path / "a")
    (tmp_path / "closed").mkdir()
    for folder in (tmp_path / "a", tmp_path / "closed"):
        folder.chmod(0o500)
    try:
        for words in ((*NEW, tmp_path / "closed" / "run"), ("--resume", tmp_path / "a", "--epochs", 9)):
            code, said = command(*words, preexec_fn=bound)
            assert (code, said.count("\n")) == (1, 1)
            assert "Permission denied" in said
        assert list((tmp_path / "closed").iterdir()) == []
    finally:
        for folder in (tmp_path / "a", tmp_path / "closed"):
            folder.chmod(0o700)
    assert kept(tmp_path / "a") == before
    assert command("--resume", tmp_path / "a", "--epochs", 9) == (0, "")
