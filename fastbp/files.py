"""Files on this machine: written whole or not at all, opened only where they are plain files, cached in one place.

What comes in: paths. What goes out: bytes on the disk, open files, the cache directory. What it refuses: to
leave a half-written file behind, to replace a device or a pipe, and to wait for either. Standard library and
platformdirs only.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from .errors import DataError, FastbpError

__all__ = ["cache_directory", "is_private", "open_regular", "reason", "try_lock", "write_atomically"]

NO_FOLDERS = (errno.EINVAL, errno.EBADF, errno.ENOTSUP)  # some network file systems bring files to the disk, only


def reason(error: BaseException) -> str:
    """The operating system's words for an error: ``No space left on device``, without numbers and paths."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()


def write_atomically(
    path: str | os.PathLike[str],
    data: bytes | memoryview | Iterable[bytes | memoryview],
    mode: int = 0o666,
    durable: bool = True,
) -> None:
    """Write a file so that a reader, a full disk or a power cut sees the old contents or the new, never a mixture.

    The bytes go to a new name in the same folder, reach the disk, and then take the name of `path` in one
    step.

    Parameters
    ----------
    path : str or path
        a new or existing plain file; a symbolic link is followed
    data : bytes, or an iterable of bytes-like pieces
        written in order
    mode : int
        permissions of the file, before the umask
    durable : bool
        False leaves it to the system when the name reaches the disk: after a power cut the old contents, whole, may be
        back. It saves one of two waits for the disk

    Raises
    ------
    FastbpError
        naming the path and the reason (disk full, read-only, not a plain file, ...). What was there is
        untouched and nothing else is left behind

    Examples
    --------
    >>> write_atomically("fastbp-example.bin", b"abc")
    >>> Path("fastbp-example.bin").read_bytes()
    b'abc'
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise FastbpError(f"cannot write {path}: it is not a plain file; choose another name")
    pieces = [data] if isinstance(data, bytes | memoryview) else data
    temporary = target.with_name(f".{target.name[:80]}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
            with open(descriptor, "wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        if durable:
            _sync_folder(target.parent)
    except OSError as error:
        raise FastbpError(f"cannot write {path}: {reason(error)}; choose a place that can be written") from error


def _sync_folder(folder: Path) -> None:
    """Bring a folder's list of names to the disk, on systems and file systems where folders can be opened for that."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # one that may be written and not read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDERS:
            raise
    finally:
        os.close(descriptor)


def open_regular(path: str | os.PathLike[str], error: type[FastbpError] = DataError) -> BinaryIO:
    """Open a plain file for reading; a folder, a device or a pipe is refused at once instead of waited for.

    Raises
    ------
    FastbpError
        of the class `error`, naming the path and what it is

    Examples
    --------
    >>> open_regular("/dev/null")
    Traceback (most recent call last):
        ...
    fastbp.errors.DataError: /dev/null is not a plain file but a device; give the path of a file
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        kind = os.stat(path).st_mode
        # looked at before opening, because opening a device can already have an effect ...
        descriptor = os.open(path, flags) if stat.S_ISREG(kind) else -1
    except (OSError, ValueError) as failure:
        raise error(
            f"cannot read {os.fspath(path)!r}: {reason(failure)}; give the path of a readable file"
        ) from failure
    if descriptor >= 0:
        kind = os.fstat(descriptor).st_mode  # ... and after it, because the name can change hands in between
        if stat.S_ISREG(kind):
            return open(descriptor, "rb")
        os.close(descriptor)
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    what = next((words for test, words in kinds if test(kind)), "a device")
    raise error(f"{os.fspath(path)} is not a plain file but {what}; give the path of a file")


def cache_directory() -> Path:
    """The folder for downloads, parsed data and compiled code; created for this user alone (0700) if need be.

    It is the platform's usual place (``~/.cache/fastbp`` on Linux), or the value of the environment variable
    FASTBP_CACHE_DIR.

    Raises
    ------
    FastbpError
        it cannot be created, or is not a folder
    """
    chosen = os.environ.get("FASTBP_CACHE_DIR")
    try:
        if chosen:
            folder = Path(chosen).expanduser()
        else:
            from platformdirs import user_cache_path

            folder = user_cache_path("fastbp", appauthor=False)
    except RuntimeError as error:  # no HOME, and a user whom the system does not know: in containers
        raise FastbpError(
            f"cannot find the cache directory: {reason(error)}; set FASTBP_CACHE_DIR to a writable folder"
        ) from error
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise FastbpError(
            f"cannot use the cache directory {folder}: {reason(error)}; set FASTBP_CACHE_DIR to a writable folder"
        ) from error
    return folder.absolute()


def is_private(folder: Path) -> bool:
    """True where a folder is ours and nobody else may write to it; OSError where it cannot be looked at.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     is_private(Path(folder))
    True
    """
    info = folder.stat()
    return not hasattr(os, "getuid") or (info.st_uid == os.getuid() and not stat.S_IMODE(info.st_mode) & 0o022)


def try_lock(descriptor: int) -> bool:
    """Lock an open file until it is closed, or its process ends in whatever way; False where another has it.

    Raises
    ------
    OSError
        the file system has no locks
    """
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        raise
    return True
