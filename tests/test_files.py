"""Writing whole or not at all, opening plain files only, and the cache directory."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from fastbp import files
from fastbp.errors import DataError, FastbpError, ModelError
from fastbp.files import cache_directory, open_regular, write_atomically


def test_writes_new_and_replaces_old(tmp_path: Path) -> None:
    target = tmp_path / "model.bin"
    write_atomically(target, b"first")
    write_atomically(target, [b"sec", memoryview(b"ond")])
    assert target.read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["model.bin"]


@pytest.mark.skipif(os.name == "nt", reason="permission bits")
def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / "open", b"")
        write_atomically(tmp_path / "closed", b"", mode=0o600)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "closed").stat().st_mode) == 0o600


def test_symbolic_link_stays_and_its_target_changes(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
def test_failure_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    target = tmp_path / "model.bin"
    target.write_bytes(b"precious")

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(FastbpError) as caught:
        write_atomically(target, b"new")
    monkeypatch.undo()
    assert str(target) in str(caught.value)
    assert os.strerror(number) in str(caught.value)
    assert caught.value.exit_code == 1
    assert target.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["model.bin"]


def test_interrupt_while_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "model.bin"
    target.write_bytes(b"precious")

    def pieces() -> object:
        yield b"half of"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(target, pieces())  # type: ignore[arg-type]
    assert target.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["model.bin"]


def test_refuses_to_replace_what_is_not_a_plain_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", Path(os.devnull)):
        with pytest.raises(FastbpError, match="not a plain file"):
            write_atomically(path, b"x")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FastbpError, match=r"cannot write .*nowhere/model\.bin: No such file"):
        write_atomically(tmp_path / "nowhere" / "model.bin", b"x")


def test_open_regular_reads_plain_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    with open_regular(tmp_path / "a") as file:
        assert file.read() == b"abc"


@pytest.mark.skipif(os.name == "nt", reason="no such files there")
@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "absent", "zero byte"])
def test_open_regular_refuses_others_without_waiting(tmp_path: Path, kind: str) -> None:
    path: str | Path = tmp_path / "thing"
    if kind == "folder":
        Path(path).mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = "/dev/zero"
    elif kind == "zero byte":
        path = "a\0b"
    with pytest.raises(DataError) as caught:
        open_regular(path)
    words = {"folder": "a folder", "pipe": "a pipe", "device": "a device", "absent": "No such file"}
    assert words.get(kind, "null") in str(caught.value)


def test_open_regular_raises_the_error_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        open_regular(tmp_path, ModelError)


def test_cache_directory_is_private_and_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTBP_CACHE_DIR", str(tmp_path / "deep" / "cache"))
    folder = cache_directory()
    assert folder == tmp_path / "deep" / "cache"
    assert folder.is_dir()
    if os.name != "nt":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_cache_directory_default_is_the_platforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTBP_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    folder = cache_directory()
    assert folder.name.lower() == "fastbp" or "fastbp" in folder.parts
    assert tmp_path in folder.parents or os.name == "nt"


def test_cache_directory_that_cannot_be_made_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("FASTBP_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(FastbpError, match="FASTBP_CACHE_DIR"):
        cache_directory()


def test_a_home_that_nobody_knows(monkeypatch):
    """Containers: no HOME, and no entry of the user in /etc/passwd."""

    def unknown(path):
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setenv("FASTBP_CACHE_DIR", "~/cache")
    monkeypatch.setattr(Path, "expanduser", unknown)
    with pytest.raises(FastbpError, match="could not determine the home directory; set FASTBP_CACHE_DIR"):
        cache_directory()


@pytest.mark.skipif(os.name == "nt", reason="folders are not brought to the disk there")
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF, errno.ENOTSUP])
def test_file_systems_that_bring_no_folders_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = os.fsync

    def files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", files_only)
    write_atomically(tmp_path / "a", b"abc")
    assert (tmp_path / "a").read_bytes() == b"abc"


def test_a_folder_that_may_be_written_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def closed(path: object, flags: int, *more: int) -> int:
        if path == tmp_path:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, flags, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(files.os, "open", closed)
    write_atomically(tmp_path / "a", b"abc")
    assert (tmp_path / "a").read_bytes() == b"abc"
