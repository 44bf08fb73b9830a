"""How things are said: numbers as people read them, lines, tables and pictures for a terminal, JSON for programs.

Values come in, text goes out: in colours on a terminal; plain into a file or a pipe, and where NO_COLOR or
TERM=dumb ask for it. Control characters never reach a terminal, and NaN never reaches JSON. Nothing is computed
here.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "aligned",
    "can_print",
    "clock",
    "columns_of",
    "complain",
    "decimals",
    "draw_images",
    "echo",
    "facts",
    "fancy",
    "folded",
    "note",
    "percent",
    "print_json",
    "printable",
    "seconds",
    "shortened",
    "size",
    "styled",
    "table",
    "write",
]

MAX_RICH_ROWS = 200


def fancy(stream: TextIO | None) -> bool:
    """True on a terminal that can move its cursor."""
    return stream is not None and stream.isatty() and os.environ.get("TERM", "") != "dumb"


def styled(text: str, stream: TextIO | None, **style: Any) -> str:
    """text in colours or bold where `stream` is a terminal that wants them (no-color.org)."""
    coloured = style and fancy(stream) and not os.environ.get("NO_COLOR") and _colours()
    return click.style(text, **style) if coloured else text


@cache
def _colours() -> bool:
    """False on a console of Windows that would print escape sequences; one that can obey them is told to."""
    if os.name != "nt":
        return True
    import ctypes

    system, answers = ctypes.windll.kernel32, []  # type: ignore[attr-defined]
    for number in (-11, -12):  # stdout, stderr
        handle, mode = system.GetStdHandle(number), ctypes.c_ulong()
        if system.GetConsoleMode(handle, ctypes.byref(mode)):
            answers.append(bool(system.SetConsoleMode(handle, mode.value | 4)))
    return bool(answers) and all(answers)


def columns_of(stream: TextIO | None) -> int:
    """The width of a terminal at this moment; 80 where it cannot be told."""
    try:
        found = os.get_terminal_size(stream.fileno()).columns if stream is not None else 0
    except (OSError, ValueError, AttributeError):
        found = shutil.get_terminal_size().columns
    return found or 80


def folded(text: str, stream: TextIO | None, longest: int, indent: int = 0) -> list[str]:
    """The lines of a text that stands behind `indent` other characters, at most `longest` with them.

    On a terminal that is narrower, its width. Long words, such as paths, stay whole.
    """
    width = min(longest, columns_of(stream)) if fancy(stream) else longest
    return textwrap.wrap(text, max(width - indent, 20), break_long_words=False, break_on_hyphens=False) or [""]


def printable(text: object, longest: int = 80) -> str:
    """text on one line, without control characters (a file could hold escape sequences), cut where it is very long.

    Examples
    --------
    >>> print(printable("a\\x1b[31mb"))
    a\\x1b[31mb
    """
    safe = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text)[: longest + 1])
    return safe if len(safe) <= longest else safe[: longest - 3] + "..."


def percent(share: float | None) -> str:
    """A share from 0 to 1 as people read it: ``95.12 %``."""
    return "-" if share is None else f"{100 * share:.2f} %"


def size(n_bytes: float) -> str:
    """A number of bytes: ``53.2 KB``."""
    for unit in ("bytes", "KB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB"


def seconds(value: float) -> str:
    """A time with three digits that mean something."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def clock(value: float) -> str:
    """A time as clocks show it: ``0:07``, ``1:02:03``, ``2 days 3 h``.

    Examples
    --------
    >>> clock(7.2), clock(3723), clock(183_600)
    ('0:07', '1:02:03', '2 days 3 h')
    """
    whole = round(value)
    if whole >= 48 * 3600:
        return f"{whole // 86_400} days {whole % 86_400 // 3600} h"
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def decimals(value: float | None) -> str:
    """A number with four decimals, so that columns stay aligned; small ones in powers of ten."""
    if value is None:
        return "-"
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.2e}"


def shortened(path: object, longest: int) -> str:
    """A path with its end, which tells more than its beginning."""
    safe = printable(path, 4096)
    return safe if len(safe) <= longest else "..." + safe[3 - longest :]


def echo(text: str = "", **style: Any) -> None:
    """A line of the result, on stdout."""
    click.echo(styled(text, sys.stdout, **style) if style else text)


def note(text: str) -> None:
    """A remark on stderr."""
    write(sys.stderr, styled(text, sys.stderr, dim=True) + "\n")


def complain(text: str) -> None:
    """An error, on stderr: in one line, which a terminal gets folded and in red; OSError where it cannot be written."""
    if fancy(sys.stderr):
        first, *lines = folded(f"Error: {text}", sys.stderr, 100)
        text = "\n".join([styled("Error:", sys.stderr, fg="red", bold=True) + first.removeprefix("Error:"), *lines])
    else:
        text = f"Error: {text}"
    click.echo(text, err=True)


def write(stream: TextIO | None, text: str) -> bool:
    """Write to a stream that may have gone away; tells whether it is still there."""
    if stream is None:
        return False
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):  # a closed pipe, a full disk, a closed file
        return False
    return True


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on stdout; NaN and infinity, which JSON lacks, become null."""
    click.echo(json.dumps(_finite(value), allow_nan=False))


def _finite(value: Any) -> Any:
    """value with null for numbers that are not finite, and with plain Python numbers and lists."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], left: Iterable[int] = (0,)) -> None:
    """A table on stdout; columns whose number is in `left` are flush left, all others flush right."""
    left = set(left)
    if fancy(sys.stdout) and len(rows) <= MAX_RICH_ROWS:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        grid = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for column, header in enumerate(headers):
            grid.add_column(Text(header), justify="left" if column in left else "right", overflow="fold")
        for row in rows:
            grid.add_row(*(Text(cell) for cell in row))
        Console(highlight=False).print(grid)
        return
    for line in aligned(headers, rows, left):
        click.echo(line)


def aligned(headers: Sequence[str], rows: Sequence[Sequence[str]], left: Iterable[int] = (0,)) -> list[str]:
    """The lines of a table in plain text, two blanks between columns."""
    left = set(left)
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    lines = []
    for row in (headers, *rows):
        cells = (
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return lines


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Names and values on stdout, one pair per line, long values folded."""
    shown = [(name.replace("_", " "), _one_line(value)) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        lines = folded(value, sys.stdout, 80, width + 2)
        click.echo(f"{styled(name.ljust(width), sys.stdout, dim=True)}  {lines[0]}")
        for line in lines[1:]:
            click.echo(" " * (width + 2) + line)


def _one_line(value: object) -> str:
    """A value as text for people."""
    if isinstance(value, Mapping):
        value = ", ".join(f"{key} {item}" for key, item in value.items() if item is not None)
    elif isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    return printable(value, 2000)


def draw_images(images: NDArray[Any], labels: Sequence[str], width: int | None = None) -> list[str]:
    """Lines of text that show images side by side: two pixels in one character.

    Parameters
    ----------
    images : (n, height, width) uint8
        0 is black
    labels : sequence of str
        one per image, printed below it
    width : int or None
        of the terminal, which is asked where it is None

    Returns
    -------
    lines : list of str
    """
    import shutil

    import numpy as np

    columns = width or shutil.get_terminal_size((80, 24)).columns
    rows_used, columns_used = np.flatnonzero(images.any(axis=(0, 2))), np.flatnonzero(images.any(axis=(0, 1)))
    if len(rows_used):  # what is black in all of them is left out
        images = images[:, rows_used[0] : rows_used[-1] + 1, columns_used[0] : columns_used[-1] + 1]
    if images.shape[1] % 2:
        images = np.pad(images, ((0, 0), (0, 1), (0, 0)))
    one = max(images.shape[2], *(len(label) for label in labels))
    per_row = max(1, (columns + 2) // (one + 2))
    paint = _halves_in_grey if fancy(sys.stdout) and not os.environ.get("NO_COLOR") else _halves
    if not can_print("\u2580\u2584\u2588", sys.stdout):
        paint = _shades
    lines = []
    for start in range(0, len(images), per_row):
        group, names = images[start : start + per_row], labels[start : start + per_row]
        blank = " " * (one - images.shape[2])
        for row in range(0, images.shape[1], 2):
            parts = [paint(image[row].tolist(), image[row + 1].tolist()) + blank for image in group]
            lines.append("  ".join(parts).rstrip())
        lines += ["  ".join(name.ljust(one) for name in names).rstrip(), ""]
    return lines


def can_print(text: str, stream: TextIO | None) -> bool:
    """True where a stream has these characters."""
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _halves(upper: Sequence[int], lower: Sequence[int]) -> str:
    """One character per pair of pixels, each black or white."""
    return "".join(" \u2584\u2580\u2588"[2 * (a > 100) + (b > 100)] for a, b in zip(upper, lower, strict=True))


def _halves_in_grey(upper: Sequence[int], lower: Sequence[int]) -> str:
    """One character per pair of pixels, in the 24 greys of a terminal with 256 colours."""
    pairs = ((232 + a * 23 // 255, 232 + b * 23 // 255) for a, b in zip(upper, lower, strict=True))
    return "".join(f"\x1b[38;5;{a};48;5;{b}m\u2580" for a, b in pairs) + "\x1b[0m"


def _shades(upper: Sequence[int], lower: Sequence[int]) -> str:
    """One character per pair of pixels, in ASCII."""
    return "".join(" .:-=+*#%@"[(a + b) * 9 // 510] for a, b in zip(upper, lower, strict=True))
