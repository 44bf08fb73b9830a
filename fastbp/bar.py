"""One line of a terminal that moves: what goes on, how far it is, how fast, and how long it will still take.

Texts and numbers come in, characters for a stream go out. A line is overwritten by the next one, so that no escape
sequence is needed but for colours. It is written by hand: in the midst of training, rich's bar with rows above it took
4 % of the time (784-16-16-10 on MNIST, ten updates a second); this one takes 0.3 %, at five.
"""

from __future__ import annotations

from collections import deque
from typing import TextIO

from .console import can_print, columns_of, styled, write

__all__ = ["Bar", "Pace"]

WIDTHS = (20, 16, 12, 8)  # of the bar itself, whichever fits: few, so that it does not jump about
REMEMBERED = 30  # seconds that a speed is taken over


class Bar:
    """The line that moves, below all others. `wipe` it before anybody else writes there."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._drawn, self._length = "", 0  # what stands there now
        self._full, self._rest = "\u2501\u2500" if can_print("\u2501\u2500", stream) else "#-"
        self._paintings: dict[tuple[int, int], str] = {}

    def draw(self, text: str, share: float | None = None, rate: str = "", left: str = "", above: str = "") -> bool:
        """Bring it up to date, below lines that stay, in one piece. False where the stream has gone.

        Parameters
        ----------
        text : str
        share : float, optional
            how much is done, from 0 to 1, if anybody knows
        rate, left : str
            how fast, and how long it will take; on a narrow terminal the share goes first, then the rate
        above : str
            lines that stay, each with its end
        """
        columns = columns_of(self._stream)
        room = columns - 1  # characters in the last column may begin another line
        wide = 1 if text.isascii() else 2  # columns that a character may take
        text = text[: room // wide]
        used = wide * len(text)
        notes = [note for note in ("" if share is None else f"{100 * share:3.0f} %", rate, left) if note]
        while notes and used + sum(2 + len(note) for note in notes) > room:
            notes.pop(0)
        end = "".join(f"  {note}" for note in notes)
        width = next((width for width in WIDTHS if used + 1 + width + len(end) <= room), 0)
        line = text
        if share is not None and width:
            line += " " + self._painted(width, round(width * share))
            used += 1 + width
        before, self._drawn, self._length = self._wiped(columns), line + end, used + len(end)
        return write(self._stream, before + above + self._drawn)

    def print(self, lines: str) -> bool:
        """Lines that stay, above it. False where the stream has gone."""
        return write(self._stream, self._wiped() + lines + self._drawn)

    def wipe(self) -> bool:
        """Take it away. False where the stream has gone."""
        before, self._drawn, self._length = self._wiped(), "", 0
        return not before or write(self._stream, before)

    def _painted(self, width: int, full: int) -> str:
        """The bar itself. It has few states."""
        if (width, full) not in self._paintings:
            done = styled(self._full * full, self._stream, fg="cyan")
            self._paintings[width, full] = done + styled(self._rest * (width - full), self._stream, dim=True)
        return self._paintings[width, full]

    def _wiped(self, columns: int | None = None) -> str:
        """Blanks over what stands there, as far as the terminal reaches: it may have become narrower."""
        if not self._length:
            return ""
        blanks = min(self._length, (columns or columns_of(self._stream)) - 1)
        return f"\r{' ' * blanks}\r"


class Pace:
    """How fast a number grows, over the last half minute.

    Examples
    --------
    >>> pace = Pace()
    >>> pace.heard(10.0, 600), pace.heard(12.0, 640)
    (None, 20.0)
    """

    def __init__(self) -> None:
        self._marks: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)  # (seconds, value), one a second

    def heard(self, seconds: float, value: float) -> float | None:
        """The number has this value at this time. How much it grew per second; None before anybody can tell."""
        if not self._marks or seconds - self._marks[-1][0] >= 1:
            self._marks.append((seconds, value))
        begun, first = self._marks[0]
        return (value - first) / (seconds - begun) if value > first and seconds > begun else None
