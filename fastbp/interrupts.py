"""Ctrl-C, SIGTERM and SIGHUP: heard once, and never lost.

Python runs a signal's handler wherever it happens to be, and a KeyboardInterrupt that rises inside of a
callback from C (a compiler's, the garbage collector's) is dropped there. So what was received is kept, and
whoever is called regularly asks `check`. A compiler asks nobody: what was dropped rises again a moment later, or Ctrl-C
would take up to 9 s while kernels are compiled. While a network trains (`hold`), the first signal rises from `check`
alone, where weights and records fit together; the second rises at once, as `AtOnce`.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from time import monotonic
from types import FrameType

from .errors import AtOnce

__all__ = ["check", "exit_code", "hold", "ignore", "let_go", "listen", "received", "twice"]

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
AGAIN_AFTER = 0.02  # seconds: the callback is over by then
SAME_WITHIN = 0.2  # seconds: a terminal sends Ctrl-C to all its processes, and wrappers send it on
_received: list[int] = []
_held = False  # a signal waits until `check`
_first = 0.0  # when the first was received
_echoes: list[threading.Timer] = []  # at most one: it will let a dropped KeyboardInterrupt rise again
_noticed = False  # `check` has raised it, and whoever caught it is saving weights


def listen() -> None:
    """Let every signal that asks the program to stop raise KeyboardInterrupt, unless it is ignored (nohup, &)."""
    for name in SIGNALS:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    sys.unraisablehook = _report


def _report(dropped: sys.UnraisableHookArgs) -> None:
    """Report an exception that could not rise, as Python does, unless it is one that will be raised again."""
    if not isinstance(dropped.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)
    elif _received and not _echoes:
        echo = threading.Timer(AGAIN_AFTER, _thread.interrupt_main, (_received[0],))
        echo.daemon = True
        _echoes.append(echo)
        echo.start()


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _first
    if _echoes:
        _echoes.clear()
        if _noticed:
            return
    else:
        _received.append(number)
        if len(_received) == 1:
            _first = monotonic()
        if _held and (len(_received) == 1 or monotonic() - _first < SAME_WITHIN):
            return
        if twice():
            raise AtOnce
    raise KeyboardInterrupt


def hold() -> None:
    """From here on, the first signal waits until `check` is called, which must be often."""
    global _held
    _held = True


def let_go() -> None:
    """Signals rise at once again; what was held is still told by `received`."""
    global _held
    _held = False


def check() -> None:
    """Raise KeyboardInterrupt where a signal was received."""
    global _noticed
    if _received:
        _noticed = True
        raise KeyboardInterrupt


def received() -> bool:
    """True where a signal was received."""
    return bool(_received)


def twice() -> bool:
    """True where a second signal asked to stop at once."""
    return len(_received) > 1 and monotonic() - _first >= SAME_WITHIN


def exit_code() -> int:
    """128 plus the number of the first signal received; 130, as for Ctrl-C, without one."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def ignore() -> None:
    """From here on, let the program end undisturbed."""
    for name in SIGNALS:
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, signal.SIG_IGN)
