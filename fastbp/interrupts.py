"""Ctrl-C, SIGTERM and SIGHUP: heard once, and never lost.

Python runs a signal's handler wherever it happens to be, and a KeyboardInterrupt that rises inside of a
callback from C (a compiler's, the garbage collector's) is dropped there. So what was received is kept, and
whoever is called regularly asks `check`.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

__all__ = ["check", "exit_code", "ignore", "listen", "received"]

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_received: list[int] = []


def listen() -> None:
    """Let every signal that asks the program to stop raise KeyboardInterrupt, unless it is ignored (nohup, &)."""
    for name in SIGNALS:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    sys.unraisablehook = _report


def _report(dropped: sys.UnraisableHookArgs) -> None:
    """Report an exception that could not rise, as Python does, unless `check` will raise it again."""
    if not isinstance(dropped.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt


def check() -> None:
    """Raise KeyboardInterrupt where a signal was received."""
    if _received:
        raise KeyboardInterrupt


def received() -> bool:
    """True where a signal was received."""
    return bool(_received)


def exit_code() -> int:
    """128 plus the number of the first signal received; 130, as for Ctrl-C, without one."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def ignore() -> None:
    """From here on, let the program end undisturbed."""
    for name in SIGNALS:
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, signal.SIG_IGN)
