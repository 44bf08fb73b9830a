"""Tables in text files: comma, semicolon or tab; with or without a header; raw or gzipped; errors carry line numbers.

What comes in: a path and which column is the label. What goes out: the other columns as one array, the labels
as texts. What it refuses: lines of unequal length, texts, NaN, infinity or nothing where a number belongs,
bytes that are not UTF-8, lines over 16 MiB, more than 2 GiB of text. Read in blocks, so that memory follows
the numbers and not the text.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import math
import os
import re
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from ..files import open_regular, reason
from .idx import GZIP_MAGIC, MAX_BYTES, Progress
from .targets import NOT_FINITE, NUMBER

__all__ = ["Table", "read_table"]

MAX_LINE = 1 << 24
BLOCK_CHARACTERS = 1 << 22
PREVIEW_LINES = 100
LABEL_NAMES = ("label", "class", "target", "y")

Line = tuple[int, str]
"""The number of a line in its file, from 1, and its text without the end."""


class _Form(NamedTuple):
    """How the lines of a file are cut."""

    path: Path
    delimiter: str
    header: tuple[str, ...]
    n_columns: int
    label_column: int | None


@dataclass(frozen=True)
class Table:
    """A table read from a file.

    Attributes
    ----------
    path : Path
    x : (n, n_features) uint8 where every number is whole and from 0 to 255, else float64
    labels : (n,) str; all empty where the table has no label column
    lines : (n,) int64, the line of the file that each row stands on, from 1
    header : names of all columns, label included; empty without a header
    label_column : position of the label column from 0, or None
    """

    path: Path
    x: NDArray[Any]
    labels: NDArray[np.str_]
    lines: NDArray[np.int64]
    header: tuple[str, ...]
    label_column: int | None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns that are not the label."""
        return tuple(name for column, name in enumerate(self.header) if column != self.label_column)

    def place(self, row: int) -> str:
        """Where a row stands, for messages."""
        return f"{self.path}, line {self.lines[row]}"


def read_table(
    path: str | os.PathLike[str],
    *,
    label: str | int | None = None,
    like: Table | None = None,
    max_bytes: int = MAX_BYTES,
    progress: Progress | None = None,
) -> Table:
    """Read a table of numbers with one label column.

    Parameters
    ----------
    path : str or path
        a plain file; gzipped or not is told by its first bytes
    label : str, int or None
        the label column: a name in the header, or a position from 0 (-1 is the last). None: the column named
        label, class, target or y (in any case); else the only column of texts; else the first column
        where the others look like the pixels of a square picture (whole numbers from 0 to 255, at least 64 of
        them); else the last column
    like : Table or None
        the training table that this test table belongs to: same columns, same label column. Where exactly the
        label column is absent, the result has empty labels
    max_bytes : int
        the most text that is read, once unpacked
    progress : callable or None
        called as progress(text, bytes done, bytes in all or None)

    Returns
    -------
    Table

    Raises
    ------
    DataError
        naming the file, the line and the column
    UsageError
        `label` names no column
    """
    file_path = Path(path)
    with open_regular(path) as file:
        try:
            packed = file.read(2) == GZIP_MAGIC
            size = None if packed else os.fstat(file.fileno()).st_size
            file.seek(0)
            if not packed:
                return _read(file, file_path, label, like, max_bytes, size, progress)
            with gzip.GzipFile(fileobj=file, mode="rb") as stream:
                return _read(cast(BinaryIO, stream), file_path, label, like, max_bytes, size, progress)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"{path}: the gzip data is damaged or cut off ({reason(error)}); get the file again"
            ) from error
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {reason(error)}") from error


def _read(
    file: BinaryIO,
    path: Path,
    label: str | int | None,
    like: Table | None,
    max_bytes: int,
    size: int | None,
    progress: Progress | None,
) -> Table:
    """Preview, columns, blocks."""
    lines = _text_lines(file, path, max_bytes, size, progress)
    first = next(lines, None)
    if first is None:
        raise DataError(f"{path} holds no rows; expected a table with one sample per line and a label column")
    delimiter = _delimiter(first[1])
    preview = [first, *islice(lines, PREVIEW_LINES)]
    cells = [_cells(line, delimiter, path) for line in preview]
    header: tuple[str, ...] = ()
    if _is_header(cells[0], label):
        header = tuple(name.strip() for name in cells.pop(0))
        preview.pop(0)
        if not preview:
            raise DataError(f"{path} has a header and no rows; expected one sample per line")
    n_columns = len(header or cells[0])
    if like is None:
        column: int | None = _label_column(path, header, cells, n_columns, label)
    else:
        column = _same_columns(path, header, n_columns, like)
    if n_columns < (1 if column is None else 2):
        raise DataError(
            f"{path}, line {first[0]}: 1 column; expected a label and at least one number, "
            "separated by commas, semicolons or tabs"
        )
    form = _Form(path, delimiter, header, n_columns, column)
    blocks: list[NDArray[Any]] = []
    labels: list[str] = []
    numbers: list[int] = []
    for block in _blocks(chain(preview, lines)):
        cut = [_cut(line, form) for line in block]
        block_numbers = [number for number, _ in block]
        blocks.append(_parse([rest for _, rest in cut], block_numbers, form))
        labels += [text.strip() for text, _ in cut]
        numbers += block_numbers
    kind = np.uint8 if all(block.dtype == np.uint8 for block in blocks) else np.float64
    x = np.concatenate(blocks, dtype=kind) if len(blocks) > 1 else blocks[0]
    return Table(path, x, np.array(labels), np.array(numbers, dtype=np.int64), header, column)


def _text_lines(
    file: BinaryIO, path: Path, max_bytes: int, size: int | None, progress: Progress | None
) -> Iterator[Line]:
    """Numbered lines that are not blank, as text without their ends."""
    done, number = 0, 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        done += len(line)
        if len(line) > MAX_LINE:
            raise DataError(f"{path}, line {number}: longer than {MAX_LINE} bytes; expected one sample per line")
        if done > max_bytes:
            raise DataError(f"{path}: more than {max_bytes} bytes of text; at most so many are accepted")
        if number == 1:
            if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise DataError(f"{path}: UTF-16 text; save it as UTF-8")
            line = line.removeprefix(b"\xef\xbb\xbf")
        if progress is not None and number % 1000 == 0:
            progress(f"reading {path.name}", done, size)
        try:
            text = line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}, line {number}: byte {line[error.start]:#04x} at position {error.start + 1} is not UTF-8 text"
            ) from error
        if "\0" in text or "\r" in text:
            found = "a zero byte" if "\0" in text else "a carriage return"
            raise DataError(
                f"{path}, line {number}: {found} in the line; expected text with lines that end in LF or CRLF"
            )
        if text.strip():
            yield number, text


def _delimiter(line: str) -> str:
    """Tab, semicolon or comma: the first of these that stands outside of quotes in a line."""
    bare = re.sub(r'"[^"]*"', "", line)
    return next((mark for mark in "\t;," if mark in bare), ",")


def _cells(line: Line, delimiter: str, path: Path) -> list[str]:
    """A line cut into cells, quotes removed."""
    if '"' not in line[1]:
        return line[1].split(delimiter)
    try:
        return next(csv.reader([line[1]], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DataError(
            f"{path}, line {line[0]}: the quotes do not match ({error}); a cell must end on the line where it begins"
        ) from error


def _is_number(cell: str) -> bool:
    cell = cell.strip()
    return bool(NUMBER.fullmatch(cell) or NOT_FINITE.fullmatch(cell))


def _is_header(first: list[str], label: str | int | None) -> bool:
    """Whether the first row names columns: no number in it, or only a count (label,0,1,2,...), or the wanted name."""
    first = [cell.strip() for cell in first]
    if isinstance(label, str) and label in first and not _is_number(label):
        return True
    counted = [cell for cell in first if _is_number(cell)]
    if not counted:
        return any(first)
    start = int(counted[0]) if counted[0] in ("0", "1") else 0
    counts_up = counted == [str(start + k) for k in range(len(counted))]
    return counts_up and len(counted) >= 8


def _label_column(
    path: Path, header: tuple[str, ...], preview: list[list[str]], n_columns: int, label: str | int | None
) -> int:
    """The position of the label column; see `read_table`."""
    if isinstance(label, str) and label in header:
        if header.count(label) > 1:
            raise UsageError(f"{path}: {header.count(label)} columns are named {label!r}; give the position, from 0")
        return header.index(label)
    if isinstance(label, str) and re.fullmatch(r"-?\d{1,9}", label, re.ASCII):
        label = int(label)
    if isinstance(label, str):
        close = difflib.get_close_matches(label, header, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        columns = ", ".join(header[:10]) + (", ..." if len(header) > 10 else "") if header else "it has no header"
        raise UsageError(
            f"{path} has no column named {label!r} ({columns}){hint} A name or a position from 0 is accepted"
        )
    if label is not None:
        if not -n_columns <= label < n_columns:
            raise UsageError(
                f"{path} has {n_columns} columns; the label column must be from 0 to {n_columns - 1}, got {label}"
            )
        return label % n_columns
    lower = [name.lower() for name in header]
    for name in LABEL_NAMES:
        if name in lower:
            return lower.index(name)
    whole = [cells for cells in preview if len(cells) == n_columns]
    texts = [k for k in range(n_columns) if all(cells[k].strip() and not _is_number(cells[k]) for cells in whole)]
    if len(texts) == 1:
        return texts[0]
    if math.isqrt(n_columns - 1) ** 2 == n_columns - 1 >= 64:
        varies = [len({cells[k] for cells in whole}) > 1 for k in (0, -1)]
        bytes_only = all(cell.isdigit() and int(cell) <= 255 for cells in whole for cell in cells[1:])
        if bytes_only and (varies[0] or not varies[1]):
            return 0
    return n_columns - 1


def _same_columns(path: Path, header: tuple[str, ...], n_columns: int, train: Table) -> int | None:
    """The label column of a test table; None where exactly that column is absent."""
    n_train = train.x.shape[1] + 1
    if header and train.header:
        if header == train.header:
            return train.label_column
        if header == train.feature_names:
            return None
        differs = next(
            (k for k, pair in enumerate(zip(header, train.header, strict=False)) if pair[0] != pair[1]), None
        )
        found = (
            f"column {differs} is {header[differs]!r} and not {train.header[differs]!r}"
            if differs is not None
            else f"{n_columns} columns and not {n_train}"
        )
        raise DataError(f"{path} has other columns than {train.path}: {found}; both need the same header")
    if n_columns == n_train:
        return train.label_column
    if n_columns == n_train - 1:
        return None
    raise DataError(f"{path} has {n_columns} columns and {train.path} has {n_train}; both need the same")


def _blocks(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Lines in groups of a few megabytes."""
    block: list[Line] = []
    room = BLOCK_CHARACTERS
    for line in lines:
        block.append(line)
        room -= len(line[1])
        if room <= 0:
            yield block
            block, room = [], BLOCK_CHARACTERS
    if block:
        yield block


def _cut(line: Line, form: _Form) -> tuple[str, str]:
    """A line as its label and the other cells, still joined by the delimiter; checks the number of cells."""
    number, text = line
    mark, column = form.delimiter, form.label_column
    if '"' in text:
        cells = _cells(line, mark, form.path)
        n_cells = len(cells)
    else:
        cells = []
        n_cells = text.count(mark) + 1
    if n_cells != form.n_columns:
        raise DataError(
            f"{form.path}, line {number}: {n_cells} columns; {form.n_columns} were expected, as in the first line"
        )
    if column is None:
        return "", mark.join(cells) if cells else text
    if not cells and column == 0:
        label, _, rest = text.partition(mark)
        return label, rest
    if not cells and column == n_cells - 1:
        rest, _, label = text.rpartition(mark)
        return label, rest
    cells = cells or text.split(mark)
    label = cells.pop(column)
    for cell in cells:
        if mark in cell:
            raise DataError(f"{form.path}, line {number}: found {cell[:40]!r} where a number was expected")
    return label, mark.join(cells)


def _parse(texts: list[str], numbers: list[int], form: _Form) -> NDArray[Any]:
    """Joined cells as uint8 where that is possible, else as finite float64."""
    for kind in (np.uint8, np.float64):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # NumPy only warns about a block without any data
                x = np.loadtxt(texts, kind, comments=None, delimiter=form.delimiter, ndmin=2)
        except (ValueError, Warning):
            continue
        if x.shape == (len(texts), form.n_columns - (form.label_column is not None)) and np.isfinite(x).all():
            return x
    names = [name for column, name in enumerate(form.header) if column != form.label_column]
    for number, text in zip(numbers, texts, strict=True):
        for k, cell in enumerate(text.split(form.delimiter)):
            word = cell.strip()
            if NUMBER.fullmatch(word) and math.isfinite(float(word)):
                continue
            column = (
                f"column {names[k]!r}"
                if names
                else f"column {k + (form.label_column is not None and k >= form.label_column)}"
            )
            hint = "; decimals need a point" if re.fullmatch(r"-?\d+,\d+", word) else ""
            found = f"found {word[:40]!r}" if word else "found nothing"
            raise DataError(f"{form.path}, line {number}, {column}: {found} where a finite number was expected{hint}")
    raise DataError(f"{form.path}, lines {numbers[0]} to {numbers[-1]}: cannot be read as numbers")
