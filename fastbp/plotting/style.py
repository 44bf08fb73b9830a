"""How pictures look, in light and in dark: colours, type, axes, numbers; and the bytes of their files.

Lines differ in their dashes and markers as well as in colour, so that they can be told apart in black and white.
The same figure gives the same bytes: files hold no time of day and no random names.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import FastbpError, UsageError

__all__ = [
    "DARK",
    "LIGHT",
    "STYLES",
    "Panel",
    "Style",
    "check_format",
    "drawing",
    "duration",
    "file_bytes",
    "mixed",
    "number",
    "percent",
    "short",
    "title",
]

FORMATS = (".png", ".pdf", ".svg")
DPI = 160
SMALL, NORMAL, LARGE = 7.5, 8.5, 15.0  # points


@dataclass(frozen=True)
class Style:
    """Colours: those of the page that `fastbp export` writes.

    Attributes
    ----------
    ground, text, quiet, faint : str
        behind everything; for what is read first; for remarks; for lines that only help the eye
    plus, minus : str
        the two ends of what has a sign; training and validation
    lines : tuple of (str, str, str)
        colour, dashes and marker of the first lines of many
    ramp : tuple of str
        colours of many lines, from the best to the last; brightness alone tells their order
    """

    ground: str
    text: str
    quiet: str
    faint: str
    plus: str
    minus: str
    lines: tuple[tuple[str, Any, str], ...]
    ramp: tuple[str, ...]


_DASHES: tuple[tuple[Any, str], ...] = (
    ("-", "o"),
    ((0, (5, 1.6)), "s"),
    ((0, (1.2, 1.2)), "^"),
    ((0, (6, 1.5, 1.2, 1.5)), "D"),
    ("-", "v"),
    ((0, (5, 1.6)), "P"),
    ((0, (1.2, 1.2)), "X"),
    ((0, (6, 1.5, 1.2, 1.5)), "h"),
)


def _lines(*colours: str) -> tuple[tuple[str, Any, str], ...]:
    """Some colours with the dashes and the marker of each."""
    return tuple((colour, *dashes) for colour, dashes in zip(colours, _DASHES, strict=True))


LIGHT = Style(
    ground="#ffffff",
    text="#1d2026",
    quiet="#636874",
    faint="#dddad3",
    plus="#d9620b",
    minus="#1f6fd1",
    lines=_lines("#1f6fd1", "#d9620b", "#11805a", "#8a3ffc", "#1d2026", "#b8860b", "#c2255c", "#0b7285"),
    ramp=("#0b3d78", "#1f6fd1", "#7fb0e8", "#d2deee"),
)
DARK = Style(
    ground="#0d1014",
    text="#e9ebee",
    quiet="#9aa2ae",
    faint="#2a303a",
    plus="#ffa23e",
    minus="#56a4ff",
    lines=_lines("#56a4ff", "#ffa23e", "#3ddc97", "#c39bff", "#e9ebee", "#ffd866", "#ff7aa8", "#4dd0e1"),
    ramp=("#ffe3bd", "#ffa23e", "#a5602a", "#4a3426"),
)
STYLES = {"light": LIGHT, "dark": DARK}


def check_format(path: str | os.PathLike[str]) -> str:
    """The format of a picture by the ending of its name: png, pdf or svg.

    Raises
    ------
    UsageError
        another ending

    Examples
    --------
    >>> check_format("runs/a/plot.PDF")
    'pdf'
    """
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise UsageError(f"a picture is written as .png, .pdf or .svg, got {os.fspath(path)!r}; choose such an ending")
    return ending[1:]


@contextmanager
def drawing(style: Style) -> Iterator[Any]:
    """For a `with` statement: Matplotlib with its own defaults and these, and afterwards with what was set before.

    Raises
    ------
    FastbpError
        Matplotlib is not installed
    """
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        raise FastbpError(
            "drawing needs the package matplotlib, which is not installed; run: pip install 'fastbp[plot]'"
        ) from error
    mine = {
        "font.family": ["DejaVu Sans"],  # it comes with Matplotlib: the same picture on every machine
        "font.size": NORMAL,
        "text.color": style.text,
        "text.parse_math": False,  # a dollar in a name is a dollar
        "axes.edgecolor": style.quiet,
        "axes.facecolor": style.ground,
        "axes.labelcolor": style.quiet,
        "axes.labelsize": SMALL,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.unicode_minus": False,
        "figure.facecolor": style.ground,
        "savefig.facecolor": style.ground,
        "xtick.color": style.quiet,
        "ytick.color": style.quiet,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "lines.linewidth": 1.5,
        "lines.markersize": 3.5,
        "lines.solid_capstyle": "round",
        "pdf.fonttype": 42,  # text in a PDF stays text that can be searched and edited
        "svg.fonttype": "path",
        "svg.hashsalt": "fastbp",
    }
    left = {"backend", "interactive", "toolbar", "timezone"}
    usual = {name: value for name, value in matplotlib.rcParamsDefault.items() if name.split(".")[0] not in left}
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # a box stands for it
        dict.update(matplotlib.rcParams, {**usual, **mine})
        yield matplotlib


def file_bytes(figure: Any, path: str | os.PathLike[str]) -> bytes:
    """A figure as the contents of the file `path`, whose ending names the format; nothing is written.

    Raises
    ------
    UsageError
        an ending other than .png, .pdf and .svg
    """
    kind = check_format(path)
    program = f"fastbp {__version__}"
    metadata = {
        "png": {"Software": program},
        "pdf": {"Creator": program, "Producer": None, "CreationDate": None},
        "svg": {"Creator": program, "Date": None},
    }[kind]
    file = io.BytesIO()
    with drawing(LIGHT):
        figure.savefig(file, format=kind, dpi=DPI, metadata=metadata, facecolor=figure.get_facecolor())
    return file.getvalue()


@dataclass(frozen=True)
class Panel:
    """A rectangle of a figure, in inches from its upper left corner."""

    figure: Any
    left: float
    top: float
    width: float
    height: float

    def axes(self, left: float = 0.0, top: float = 0.0, right: float = 0.0, bottom: float = 0.0) -> Any:
        """Axes in the panel, as far from its edges as is said."""
        across, down = self.figure.get_size_inches()
        width, height = self.width - left - right, self.height - top - bottom
        lower = down - self.top - top - height
        return self.figure.add_axes(((self.left + left) / across, lower / down, width / across, height / down))

    def canvas(self, top: float = 0.0) -> Any:
        """Axes without ticks and lines, with inches from the upper left as their coordinates."""
        axes = self.axes(top=top)
        axes.set(xlim=(0, self.width), ylim=(self.height - top, 0), xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.patch.set_visible(False)
        return axes

    def write(self, left: float, top: float, text: str, **how: Any) -> Any:
        """A line of text whose baseline begins there."""
        across, down = self.figure.get_size_inches()
        how = {"va": "baseline", "ha": "left", **how}
        return self.figure.text((self.left + left) / across, 1 - (self.top + top) / down, text, **how)


def title(panel: Panel, text: str, remark: str, style: Style) -> None:
    """What a panel shows, with a remark in small print below."""
    panel.write(0, 0.13, text, fontsize=NORMAL + 1, fontweight="bold")
    if remark:
        panel.write(0, 0.29, remark, fontsize=SMALL, color=style.quiet)


def number(value: float) -> str:
    """Three digits, as people write them.

    Examples
    --------
    >>> number(0.12345), number(1234.5), number(0.00001)
    ('0.123', '1,234', '1e-05')
    """
    if 1000 <= abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """A time as people read it.

    Examples
    --------
    >>> duration(0.0042), duration(2.5), duration(90), duration(5400)
    ('4.2 ms', '2.5 s', '90 s', '90 min')
    """
    if seconds < 0.1:
        return f"{1000 * seconds:.2g} ms"
    return f"{seconds:.3g} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def percent(share: float) -> str:
    """A share as people read it, two decimals: ``95.12 %``."""
    return f"{100 * share:.2f} %"


def short(text: object, longest: int) -> str:
    """A name on one line, its middle left out where it is long.

    Examples
    --------
    >>> short("a very long name of a class", 15)
    'a very ...class'
    """
    plain = "".join(letter if letter.isprintable() else "?" for letter in str(text))
    if len(plain) <= longest:
        return plain
    tail = (longest - 3) * 5 // 12
    return plain[: longest - 3 - tail] + "..." + plain[len(plain) - tail :]


def mixed(colours: Sequence[str], shares: Any) -> Any:
    """Colours between the given ones, (n, 3), each share from 0 to 1."""
    from matplotlib.colors import to_rgb

    table = np.array([to_rgb(colour) for colour in colours])
    places = np.linspace(0, 1, len(table))
    return np.stack([np.interp(shares, places, table[:, part]) for part in range(3)], axis=-1)
