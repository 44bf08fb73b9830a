"""Which files make up a dataset: the layouts of MNIST's own site, torchvision, Keras and Kaggle.

What comes in: a path, or the name of a published dataset and where to look. What goes out: the kind of data
and its files, none of them read yet. What it refuses: folders with no dataset, with half of one, or with more
than one. NumPy is not imported.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

from ..errors import DataError
from ..files import cache_directory, open_regular, reason
from .sources import PUBLISHED, ROLES

__all__ = ["Layout", "describe_folders", "download_folder", "idx_files", "idx_folders", "layout_of", "require_all"]

IdxFiles = tuple[Path | None, Path | None, Path | None, Path | None]
"""The files of `ROLES`, in that order; None where one is not there."""

_TABLE = re.compile(r"\.(csv|tsv|txt|data)(\.gz)?$", re.IGNORECASE)
_TRAIN_TABLE = re.compile(r"^(?P<before>.*[-_])?train(?P<after>\.(csv|tsv)(\.gz)?)$", re.IGNORECASE)
_SUBFOLDERS = tuple(name for item in PUBLISHED.values() for name in (item.torchvision_folder, item.name))
ACCEPTED = (
    "a folder with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte "
    "(.gz or not), an .npz file with x_train and y_train, or a .csv file"
)


class Layout(NamedTuple):
    """Files that make up a dataset.

    kind is idx (four entries, of which some may be None), npz (one) or csv (training and test table, or
    None).
    """

    kind: str
    files: tuple[Path | None, ...]


def layout_of(path: Path) -> Layout:
    """Find out what is at a path that exists.

    Raises
    ------
    DataError
        nothing that is known, half a dataset, or several; the message lists what was found
    """
    try:
        return _folder_layout(path) if path.is_dir() else _file_layout(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from error


def idx_files(folder: Path) -> IdxFiles | None:
    """The four IDX files of a folder, unpacked rather than gzipped where both are there; None where there is none.

    ``train-images-idx3-ubyte``, ``train-images.idx3-ubyte`` and both with ``.gz`` are recognised.
    """
    try:
        names = set(os.listdir(folder))
    except OSError:
        return None  # not there, not a folder or not readable: nothing to be found in it
    found = []
    for role in ROLES:
        n_dimensions = 3 if role.endswith("images") else 1
        stems = (f"{role}-idx{n_dimensions}-ubyte", f"{role}.idx{n_dimensions}-ubyte")
        matches = [stem + suffix for suffix in ("", ".gz") for stem in stems if stem + suffix in names]
        found.append(folder / matches[0] if matches else None)
    return (found[0], found[1], found[2], found[3]) if any(found) else None


def require_all(files: Iterable[Path | None], where: object) -> tuple[Path, ...]:
    """The files, none of them missing.

    Raises
    ------
    DataError
        naming those that are
    """
    files = tuple(files)
    missing = [role for role, path in zip(ROLES, files, strict=True) if path is None]
    if missing:
        names = ", ".join(f"{role}-idx{3 if role.endswith('images') else 1}-ubyte(.gz)" for role in missing)
        raise DataError(f"{where} lacks {names}; put it beside the others")
    return tuple(path for path in files if path is not None)


def download_folder(name: str) -> Path:
    """Where the files of a published dataset are downloaded to."""
    return cache_directory() / "data" / name


def describe_folders(name: str) -> str:
    """Where inside of a data folder the files of a published dataset are looked for."""
    return f"in it directly, in {name}/ or in {PUBLISHED[name].torchvision_folder}/raw/"


def idx_folders(name: str, data_dir: str | os.PathLike[str] | None = None) -> IdxFiles | None:
    """Look for a published dataset in `data_dir`, then in the folder that FASTBP_DATA names.

    Returns
    -------
    IdxFiles or None
        what was found, perhaps not all four; None where there is nothing

    Raises
    ------
    DataError
        one of the two is not a folder, or `data_dir` holds another published dataset
    """
    places = (("data_dir", data_dir, True), ("FASTBP_DATA", os.environ.get("FASTBP_DATA") or None, False))
    for setting, value, explicit in places:
        if value is None:
            continue
        base = Path(value).expanduser()
        if not base.is_dir():
            raise DataError(
                f"{setting} is {os.fspath(value)!r}, which is not a folder; name the one that holds the data files"
            )
        torchvision = base / PUBLISHED[name].torchvision_folder
        for folder in (base / name, base / name / "raw", torchvision, torchvision / "raw"):
            if files := idx_files(folder):
                return files
        for folder in (base, base / "raw"):
            files = idx_files(folder)
            if files is None:
                continue
            other = _identified(files)
            if other in (None, name):
                return files
            if explicit:
                raise DataError(
                    f"{folder} holds the files of {other}, not of {name}; name another folder or another dataset"
                )
    return None


def _identified(files: IdxFiles) -> str | None:
    """Which published dataset a folder's label files belong to, where their checksum says so."""
    for path in (files[1], files[3]):
        if path is None:
            continue
        for item in PUBLISHED.values():
            for pin in (item.files[1], item.files[3]):
                if path.is_file() and path.stat().st_size == pin.size:
                    with open_regular(path) as file:
                        if hashlib.file_digest(cast(Any, file), "sha256").hexdigest() == pin.sha256:
                            return item.name
    return None


def _folder_layout(root: Path) -> Layout:
    """A folder: IDX files in it or in torchvision's subfolders, else one .npz, else tables."""
    if files := (idx_files(root) or idx_files(root / "raw")):
        return Layout("idx", files)
    inner: dict[str, IdxFiles] = {}
    for name in _SUBFOLDERS:
        files = idx_files(root / name) or idx_files(root / name / "raw")
        first = next((path for path in files if path), None) if files else None
        if files and first:
            inner.setdefault(os.path.realpath(first.parent), files)
    if len(inner) == 1:
        return Layout("idx", next(iter(inner.values())))
    if inner:
        raise DataError(f"{root} holds {len(inner)} datasets ({', '.join(sorted(inner))}); name one of these folders")
    entries = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    archives = [path for path in entries if path.suffix.lower() == ".npz"]
    if len(archives) == 1:
        return Layout("npz", (archives[0],))
    if archives:
        raise DataError(f"{root} holds {len(archives)} .npz files ({_some(archives)}); name one of them")
    tables = [path for path in entries if _TABLE.search(path.name)]
    for path in tables:
        if match := _TRAIN_TABLE.match(path.name):
            test = path.with_name(f"{match['before'] or ''}test{match['after']}")
            return Layout("csv", (path, test if test.exists() else None))
    if len(tables) == 1:
        return Layout("csv", (tables[0], None))
    if tables:
        raise DataError(f"{root} holds {len(tables)} tables ({_some(tables)}) and no train.csv; name one of them")
    raise DataError(f"{root} holds no dataset ({_some(entries)}); expected {ACCEPTED}")


def _file_layout(path: Path) -> Layout:
    """A file: told apart by its first bytes, and by its name where they say little."""
    with open_regular(path) as file:
        head = file.read(8)
    if not head:
        raise DataError(f"{path} is empty; expected {ACCEPTED}")
    if path.name.startswith(ROLES) and (files := idx_files(path.parent)) and path in files:
        return Layout("idx", files)
    if head.startswith(b"PK") or path.suffix.lower() == ".npz":
        return Layout("npz", (path,))
    if head.startswith(b"\x93NUMPY"):
        raise DataError(f"{path} holds a single array; store x_train and y_train together with numpy.savez")
    if head.startswith(b"\0\0"):
        raise DataError(f"{path} looks like a single IDX file; name the folder that holds all four of a dataset")
    if _TABLE.search(path.name):
        return Layout("csv", (path, None))
    raise DataError(f"{path} is not a kind of file that is known here; expected {ACCEPTED}")


def _some(paths: list[Path]) -> str:
    names = ", ".join(path.name for path in paths[:5]) or "it is empty"
    return names + (", ..." if len(paths) > 5 else "")
