"""Run folders: who may write into one, what is read from one, and what is refused."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest

import fastbp.runs.folder
from fastbp.errors import FastbpError, UsageError
from fastbp.runs.folder import NAMES, RunFolder


def record(epoch: int) -> dict[str, object]:
    return {
        "epoch": epoch,
        "loss": 1.0 / epoch,
        "train_accuracy": None,
        "test_accuracy": 0.5,
        "learning_rate": 0.1,
        "seconds": 0.25,
        "samples_per_second": 4.0,
    }


def test_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="there is no such folder"):
        RunFolder(tmp_path / "none").settings()
    with pytest.raises(UsageError, match=r"has no config\.toml"):
        RunFolder(tmp_path).settings()
    with pytest.raises(UsageError, match="holds no model yet"):
        RunFolder(tmp_path).model()
    assert RunFolder(tmp_path).history() == ()
    assert RunFolder(tmp_path).summary() is None


def test_history_leaves_out_a_line_that_was_not_written_whole(tmp_path):
    folder = RunFolder(tmp_path)
    lines = [json.dumps(record(epoch)) for epoch in (1, 2, 3)]
    folder.metrics_file.write_text("\n".join(lines)[:-5])
    assert [each.epoch for each in folder.history()] == [1, 2]
    assert folder.history()[1].loss == 0.5
    folder.metrics_file.write_text('{"epoch": 1}\n')
    with pytest.raises(FastbpError, match="line 1, is no record"):
        folder.history()


@pytest.mark.parametrize("text", ["", "[1]", "{", "3"])
def test_a_damaged_summary_is_said(tmp_path, text):
    RunFolder(tmp_path).summary_file.write_text(text)
    with pytest.raises(FastbpError, match="no JSON object"):
        RunFolder(tmp_path).summary()


@pytest.mark.parametrize("name", NAMES)
def test_another_run_is_not_overwritten(tmp_path, name):
    (tmp_path / name).write_text("old")
    folder = RunFolder(tmp_path)
    with pytest.raises(UsageError, match="--force") as caught:
        folder.claim()
    assert ("--resume" in str(caught.value)) == (name == "config.toml")  # else there is nothing to go on with
    assert os.listdir(tmp_path) == [name]
    folder.claim(force=True)
    folder.clear()
    folder.release()
    assert not (tmp_path / name).exists()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="not a folder"):
        RunFolder(tmp_path / "file").claim()


def test_what_claim_made_is_gone_where_no_run_began(tmp_path):
    folder = RunFolder(tmp_path / "a" / "b")
    assert folder.claim() is True
    assert folder.is_in_use
    folder.release()
    assert os.listdir(tmp_path) == []
    folder.claim()
    folder.config_file.write_text("")
    folder.release()
    assert folder.settings() == {}


def test_one_process_at_a_time(tmp_path):
    """A lock is held by another process, also when this one asks twice; it ends with that process, killed or not."""
    claim = f"from fastbp.runs.folder import RunFolder; RunFolder({str(tmp_path)!r}).claim()"
    code = f"{claim}; print('in', flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdin is not None
    try:
        assert other.stdout.readline().strip() == b"in"
        folder = RunFolder(tmp_path)
        assert folder.is_in_use
        for _ in range(2):
            with pytest.raises(FastbpError, match="in use by another run"):
                folder.claim()
    finally:
        other.kill()
        other.wait()
        other.stdin.close()
        other.stdout.close()
    assert not folder.is_in_use
    folder.claim()
    folder.release()


def test_whoever_asks_whether_it_is_in_use_does_not_use_it(tmp_path, monkeypatch):
    """That takes its lock for a moment, in which another process may claim it."""
    real, asked = fastbp.runs.folder.try_lock, []

    def first_not(descriptor: int) -> bool:
        asked.append(descriptor)
        return len(asked) > 1 and real(descriptor)

    monkeypatch.setattr(fastbp.runs.folder, "try_lock", first_not)
    folder = RunFolder(tmp_path)
    assert folder.claim()
    folder.release()


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_made(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(FastbpError, match="Permission denied"):
            RunFolder(tmp_path / "a").claim()
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_without_locks(tmp_path, monkeypatch):
    """Where the file system knows no locks, claim says so."""

    def none(descriptor: int) -> bool:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fastbp.runs.folder, "try_lock", none)
    assert RunFolder(tmp_path).claim() is False
