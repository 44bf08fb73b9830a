"""Fetch the published datasets: https only, checksums pinned, the next mirror on any failure, nothing half-written.

What comes in: a name of `sources.PUBLISHED`. What goes out: a folder with its four files. What it refuses:
bytes whose size or SHA-256 is not the pinned one, redirects away from https, a server that stalls. Standard
library only; NumPy is not imported.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from .. import __version__
from ..errors import DownloadError, FastbpError
from ..files import open_regular, reason, write_atomically
from .folders import describe_folders, download_folder, idx_folders
from .sources import PUBLISHED, PinnedFile

__all__ = ["MIRRORS", "FileRecord", "fetch", "verify"]

MIRRORS: dict[str, tuple[str, ...]] = {name: item.mirrors for name, item in PUBLISHED.items()}
TIMEOUT = 20.0
STALL_SECONDS = 20.0
STALL_BYTES = 16_384
PIECE = 1 << 16
STALE_SECONDS = 86_400.0
_LOCAL = ("127.0.0.1", "localhost")

Progress = Callable[[str, int, int | None], None]


class FileRecord(NamedTuple):
    """What `verify` found out about one file: status is ok, damaged, unknown or missing."""

    name: str
    path: str
    status: str
    detail: str


class _MirrorError(Exception):
    """Why a mirror was given up."""


def fetch(name: str, *, offline: bool = False, progress: Progress | None = None) -> Path:
    """Have the four files of a published dataset in the cache directory, each with its pinned checksum.

    Files that are there and right are left alone, others are downloaded.

    Parameters
    ----------
    name : str
        mnist, fashion or kmnist
    offline : bool
        do not use the network
    progress : callable or None
        called as progress(text, bytes done, bytes in all)

    Returns
    -------
    Path
        the folder that holds the files

    Raises
    ------
    DownloadError
        no mirror could deliver a file, or `offline` and a file is not there; says which files to put where
    FastbpError
        the cache directory cannot be written
    """
    folder = download_folder(name)
    missing = [pin for pin in PUBLISHED[name].files if not _is_right(folder / pin.name, pin)]
    if missing and offline:
        raise DownloadError(
            f"{name} is not on this machine and the network is not to be used. {_by_hand(name, folder)}"
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FastbpError(
            f"cannot create {folder}: {reason(error)}; set FASTBP_CACHE_DIR to a writable folder"
        ) from error
    _remove_stale(folder)
    for pin in missing:
        failures = []
        for mirror in MIRRORS[name]:
            try:
                write_atomically(folder / pin.name, _received(urllib.parse.urljoin(mirror, pin.name), pin, progress))
                break
            except _MirrorError as error:
                failures.append(f"{mirror}{pin.name}: {error}")
        else:
            raise DownloadError(
                f"{name} could not be downloaded ({'; '.join(failures) or 'no mirrors'}). {_by_hand(name, folder)}"
            )
    return folder


def verify(name: str, data_dir: str | os.PathLike[str] | None = None) -> tuple[FileRecord, ...]:
    """Compare the files of a published dataset on this machine with their pinned checksums.

    Parameters
    ----------
    name : str
        mnist, fashion or kmnist
    data_dir : str or path, optional
        looked at first, as in `load_dataset`; then the folder in FASTBP_DATA, then the download folder

    Returns
    -------
    tuple of FileRecord, one for each of the four files
        ok; damaged (a file by that name with other contents); unknown (unpacked or renamed, so that there is
        no checksum to compare with); missing

    Raises
    ------
    DataError
        `data_dir` is not a folder, or holds only some of the files that it needs
    """
    found = idx_folders(name, data_dir)
    records = []
    for index, pin in enumerate(PUBLISHED[name].files):
        path = found[index] if found else download_folder(name) / pin.name
        if path is None or not path.exists():
            records.append(FileRecord(pin.name, str(path or ""), "missing", "not there"))
        elif path.name != pin.name:
            records.append(
                FileRecord(pin.name, str(path), "unknown", "not the published .gz file; nothing to compare with")
            )
        elif (size := path.stat().st_size) != pin.size:
            records.append(FileRecord(pin.name, str(path), "damaged", f"{size} bytes instead of {pin.size}"))
        elif (digest := _sha256(path)) != pin.sha256:
            records.append(FileRecord(pin.name, str(path), "damaged", f"sha256 {digest} instead of {pin.sha256}"))
        else:
            records.append(FileRecord(pin.name, str(path), "ok", f"{size} bytes, sha256 {digest}"))
    return tuple(records)


def _by_hand(name: str, folder: Path) -> str:
    """What to do without a network."""
    names = ", ".join(pin.name for pin in PUBLISHED[name].files)
    return (
        f"Get {names} (for example from {PUBLISHED[name].mirrors[0]}) and put them into {folder}, "
        f"or name a folder that holds them with --data-dir or FASTBP_DATA ({describe_folders(name)})"
    )


def _sha256(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()


def _is_right(path: Path, pin: PinnedFile) -> bool:
    return path.is_file() and path.stat().st_size == pin.size and _sha256(path) == pin.sha256


def _remove_stale(folder: Path) -> None:
    """Remove what a killed download left behind more than a day ago; a younger one may still be running."""
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()


def _is_allowed(url: str) -> bool:
    """https anywhere; plain http only to this machine itself."""
    parts = urllib.parse.urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to allowed addresses only."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not _is_allowed(newurl):
            raise _MirrorError(f"redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def _mirror_failures() -> Iterator[None]:
    """Turn everything that a network and a server can do wrong into _MirrorError."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise _MirrorError(f"HTTP status {error.code}") from error
    except urllib.error.URLError as error:
        cause = error.reason
        raise _MirrorError(reason(cause) if isinstance(cause, BaseException) else str(cause)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _MirrorError(reason(error)) from error


def _received(url: str, pin: PinnedFile, progress: Progress | None) -> Iterator[bytes]:
    """The bytes at an address as they come; _MirrorError unless they are the pinned ones."""
    if not _is_allowed(url):
        raise _MirrorError("not an https address")
    headers = {"User-Agent": f"fastbp/{__version__}", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers=headers)
    host = urllib.parse.urlsplit(url).hostname
    digest = hashlib.sha256()
    done, mark, mark_time = 0, 0, time.monotonic()
    with _mirror_failures():
        response = urllib.request.build_opener(_SafeRedirects).open(request, timeout=TIMEOUT)
    with response:
        declared = response.headers.get("Content-Length")
        if declared is not None and declared.strip() != str(pin.size):
            raise _MirrorError(f"offers {declared} bytes, expected {pin.size}")
        while True:
            with _mirror_failures():
                piece = response.read1(PIECE)
            if not piece:
                break
            done += len(piece)
            if done > pin.size:
                raise _MirrorError(f"sent more than the expected {pin.size} bytes")
            digest.update(piece)
            yield piece
            if progress is not None:
                progress(f"downloading {pin.name} from {host}", done, pin.size)
            now = time.monotonic()
            if now - mark_time > STALL_SECONDS:
                if done - mark < STALL_BYTES:
                    raise _MirrorError(f"stalled: {done - mark} bytes in {now - mark_time:.0f} seconds")
                mark, mark_time = done, now
    if done != pin.size:
        raise _MirrorError(f"sent {done} bytes, expected {pin.size}")
    if digest.hexdigest() != pin.sha256:
        raise _MirrorError(f"sent a file with sha256 {digest.hexdigest()}, expected {pin.sha256}")
