"""Load a dataset by name or path: the one door of this room.

What comes in: a name (digits, mnist, fashion, kmnist) or a path. What goes out: a checked `Dataset`. The way
there is always the same: find the files, look for their parsed form on the disk, else read, check and keep
it; at the end split off test samples if there are none.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..errors import DataError, UsageError
from . import cache
from .assemble import from_idx, from_npz, from_tables
from .dataset import Dataset
from .folders import ACCEPTED, download_folder, idx_files, idx_folders, layout_of, require_all
from .idx import Progress
from .sources import GENERATED, NAMES, PUBLISHED
from .targets import split

__all__ = ["TARGETS", "load_dataset"]

TARGETS = ("auto", "classes", "values")


def load_dataset(
    source: str | os.PathLike[str] = GENERATED,
    *,
    label: str | int | None = None,
    target: str = "auto",
    test_fraction: float = 0.2,
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Load training and test samples.

    Parameters
    ----------
    source : str or path
        * ``digits`` (generated here, always the same 60,000 + 10,000 pictures), ``mnist``, ``fashion``,
          ``kmnist`` (downloaded once);
        * a folder with the four IDX files of MNIST and its kin (raw or .gz, also in torchvision's MNIST/raw),
          an .npz file, or train.csv with or without test.csv;
        * an .npz file with x_train, y_train and, if there is one, x_test, y_test (Keras' mnist.npz);
        * a .csv, .tsv, .txt or .data file (or .gz of it): one sample per line, separated by comma, semicolon
          or tab
    label : str or int, optional
        the label column of a table: a name in its header, or a position from 0 (-1 is the last). By default
        the column named label, class, target or y; else the only column of texts; else the first one where
        the others look like the pixels of a square picture; else the last. In an .npz file without y_train:
        the column of x_train
    target : str
        ``classes``; ``values`` (numbers to be approximated); ``auto``: texts and whole numbers are classes,
        numbers with fractions are values. Texts, and the labels of pictures, are always classes
    test_fraction : float
        from 0 to below 1: the share of samples set aside for testing where the source has no test samples of
        its own
    seed : int
        of that split. The same seed gives the same split; named datasets do not depend on it
    data_dir : str or path, optional
        folder that is searched for the files of named datasets, before the one in the environment variable
        FASTBP_DATA and the download cache
    offline : bool
        never use the network
    progress : callable, optional
        called as progress(text, done, total) during longer steps; total is None where it is not known

    Returns
    -------
    Dataset
        pixels stay uint8; the arrays may be read-only views of a file in the cache directory

    Raises
    ------
    DataError
        the files are damaged, incomplete or not what they claim to be; the message names the file, what was
        found and what was expected
    UsageError
        an unknown name, a label column that does not exist, a test_fraction outside of [0, 1)
    DownloadError
        a named dataset is not on this machine and no mirror could deliver it

    Examples
    --------
    >>> Path("fastbp-example.csv").write_text("width,kind\\n1.5,a\\n2.5,b\\n1.4,a\\n2.6,b\\n")
    35
    >>> data = load_dataset("fastbp-example.csv", test_fraction=0.25)
    >>> data.x_train.shape, data.class_names
    ((3, 1), ('a', 'b'))
    """
    if target not in TARGETS:
        raise UsageError(f"target must be one of {', '.join(TARGETS)}, got {target!r}")
    if isinstance(test_fraction, bool) or not isinstance(test_fraction, int | float) or not 0 <= test_fraction < 1:
        raise UsageError(f"test_fraction must be at least 0 and less than 1, got {test_fraction!r}")
    if isinstance(label, bool) or not isinstance(label, str | int | None):
        raise UsageError(f"label must be a column's name or position, got {label!r}")
    if not isinstance(source, str | os.PathLike):
        raise UsageError(f"a dataset is a name ({', '.join(NAMES)}) or a path, got {type(source).__name__}")
    if isinstance(source, str) and source in NAMES:
        if label is not None:
            raise UsageError(f"{source} has no columns; leave label out")
        return _digits(progress) if source == GENERATED else _published(source, data_dir, offline, progress)
    path = _existing(source)
    kind, files = layout_of(path)
    if kind == "idx" and label is not None:
        raise UsageError(f"{path} holds images, which have no columns; leave label out")
    if kind == "idx":
        dataset = _idx(files, str(path), progress)
    else:
        paths = [file for file in files if file is not None]
        read = from_npz if kind == "npz" else from_tables
        dataset = _through_cache(
            paths,
            lambda: read(paths, str(path), label, target, progress),
            name=str(path),
            kind=kind,
            label=label,
            target=target,
        )
    return split(dataset, test_fraction, seed)


def _existing(source: str | os.PathLike[str]) -> Path:
    """The path, if there is something at it; else an error that says what could have been meant."""
    text = os.fsdecode(source)
    if text and os.path.lexists(os.path.expanduser(text)):
        return Path(text).expanduser()
    names = ", ".join(NAMES)
    if Path(text).suffix or os.sep in text or not isinstance(source, str):
        raise DataError(f"there is no file or folder {text!r}; give a path to data, or a name: {names}")
    close = difflib.get_close_matches(text.lower(), NAMES, 1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise UsageError(f"no dataset, file or folder is called {text!r}.{hint} Known names: {names}; or give {ACCEPTED}")


def _through_cache(paths: Iterable[Path], read: Callable[[], Dataset], *, name: str, **options: Any) -> Dataset:
    """The parsed form of these files, from the disk or else from `read`; kept unless the files changed meanwhile."""
    paths = list(paths)
    key = cache.source_key(paths, **options)
    dataset = cache.load(key, name)
    if dataset is None:
        dataset = read()
        if cache.source_key(paths, **options) == key:
            cache.store(key, dataset)
    return dataset


def _digits(progress: Progress | None) -> Dataset:
    """The generated digits. Their seed is fixed: they are a dataset, not part of a run's randomness."""
    from . import digits

    def generate() -> Dataset:
        x_train, y_train, x_test, y_test = digits.make_digits(progress=progress)
        return Dataset.from_arrays(
            x_train, y_train, x_test, y_test, name=GENERATED, class_names=tuple("0123456789"), image_shape=(28, 28)
        )

    return _through_cache((), generate, name=GENERATED, kind=GENERATED, version=str(digits.VERSION))


def _published(name: str, data_dir: str | os.PathLike[str] | None, offline: bool, progress: Progress | None) -> Dataset:
    """A named dataset: from a local folder, the parsed cache, or downloaded files with the right checksums."""
    found = idx_folders(name, data_dir)
    class_names = PUBLISHED[name].class_names
    if found is not None:
        folder = next(path.parent for path in found if path)
        return _idx(require_all(found, folder), name, progress, class_names)
    folder = download_folder(name)
    here = idx_files(folder)
    if here is not None and all(here):
        paths = require_all(here, folder)
        if any(path.suffix != ".gz" for path in paths):
            return _idx(paths, name, progress, class_names)  # unpacked and put there by hand
        known = cache.load(cache.source_key(paths, kind="idx", class_names=class_names), name)
        if known is not None:
            return known
    from . import download  # it imports urllib and ssl, which takes 20 ms

    download.fetch(name, offline=offline, progress=progress)
    return _idx(tuple(folder / pin.name for pin in PUBLISHED[name].files), name, progress, class_names)


def _idx(
    files: tuple[Path | None, ...], name: str, progress: Progress | None, class_names: tuple[str, ...] = ()
) -> Dataset:
    """Images and labels from four IDX files, or from the two training files where there are no test files at all."""
    paths = require_all(files, name) if any(files[2:]) else require_all((*files[:2], *files[:2]), name)[:2]
    return _through_cache(
        paths,
        lambda: from_idx(paths, name, class_names, progress),
        name=name,
        kind="idx",
        class_names=class_names,
    )
