"""Several threads on one network: who does which part of a batch, and how they wait for each other.

A batch is two phases: forward pass and deltas, where the parts are samples; then gradients and steps, where the parts
are rows of the weights. A number is computed by the same operations in the same order whoever computes its part, so
results are the same bit for bit for any number of threads.

All threads walk through the same batches and phases in the same compiled function. In each phase a thread claims parts,
its own first, then those that nobody has begun; the next phase begins when all parts are done. So a helper that comes
late, or never, costs nothing but its help. One that is interrupted *within* a part holds up the others; when that takes
too long, it is sent away for a while, and the first thread goes on alone.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .atomics import add, exchange, pause, read, write
from .jit import inlined, outlined

__all__ = ["SPINS", "Helpers", "Team", "join", "leave", "over", "share", "team_of"]

LINE = (
    16  # int64 words between two that different threads change: two cache lines, which some processors fetch together
)
PHASE, DONE, HELPERS, LATE, CLAIMS = 0, LINE, 2 * LINE, 3 * LINE, 4 * LINE
SPINS = 10_000  # about 0.15 ms
LONGEST_BREAK = 64


class Team(NamedTuple):
    """The parts of the work, and the words through which the threads of one call talk."""

    words: NDArray[Any]  # i8; see the constants above
    n_parts: int  # as many as there are threads
    patience: int  # how often a thread looks before it holds that another one is not running
    entry_rows: NDArray[Any]  # i8 (n_parts + 1,) the rows of sparse inputs, cut into parts


def team_of(n_parts: int, patience: int, entry_rows: NDArray[Any]) -> Team:
    """A team whose call has not begun."""
    return Team(np.zeros(CLAIMS + n_parts * LINE, dtype=np.int64), n_parts, patience, entry_rows)


# --- in the kernel ----------------------------------------------------------------------------------------------------


@inlined
def join(team, role):
    """A thread begins; the first one has the role 0"""
    if role > 0:
        add(team.words, HELPERS, 1)


@inlined
def leave(team):
    """A helper stops before the end"""
    add(team.words, HELPERS, -1)


@outlined
def share(team, phase, role, n_done):
    """Report parts that are computed, if any, and claim others: the parts [first, last) to compute now, or none

    Who reports the last one begins the next phase. All that are left are claimed where nobody helps, since together
    they cost less.
    """
    n = team.n_parts
    if n == 1:
        return n_done, 1
    if n_done > 0 and add(team.words, DONE, n_done) == n:
        write(team.words, DONE, 0)
        write(team.words, PHASE, phase + 1)
        return n, n
    alone = read(team.words, HELPERS) == 0 or read(team.words, LATE) != 0
    for i in range(n):
        first = (role + i) % n
        last = first
        while last < n and (last == first or alone) and exchange(team.words, CLAIMS + last * LINE, phase, phase + 1):
            last += 1
        if last > first:
            return first, last
    return n, n


@outlined
def over(team, phase, role):
    """Wait for the end of a phase; False where a helper should leave instead"""
    if team.n_parts == 1:
        return True
    spins = 0
    while read(team.words, PHASE) <= phase:
        spins += 1
        if spins > team.patience:
            if role > 0:
                return False
            write(team.words, LATE, 1)
        pause()
    return role == 0 or read(team.words, LATE) == 0


# --- in Python --------------------------------------------------------------------------------------------------------


class Helpers:
    """Threads that help with compiled calls, and take a break when they cannot keep up.

    A thread waits for a call, without taking processor time, until there is one; it ends with this object.
    """

    def __init__(self, n: int) -> None:
        self._queues: list[SimpleQueue[Callable[[], Any] | None]] = [SimpleQueue() for _ in range(n)]
        for queue in self._queues:
            Thread(target=_serve, args=(queue,), daemon=True, name="fastbp helper").start()
            weakref.finalize(self, queue.put, None)
        self._calls_to_skip = 0
        self._break = 1

    def run(self, call: Callable[..., None], team: Team) -> None:
        """call(team, role) in this thread with role 0, and in the helpers with roles 1, 2, ..."""
        if self._calls_to_skip > 0:
            self._calls_to_skip -= 1
            call(team, 0)
            return
        for role, queue in enumerate(self._queues, start=1):
            queue.put(partial(call, team, role))
        call(team, 0)
        if team.words[LATE]:
            self._calls_to_skip = self._break
            self._break = min(2 * self._break, LONGEST_BREAK)
        else:
            self._break = 1


def _serve(queue: SimpleQueue[Callable[[], Any] | None]) -> None:
    while (call := queue.get()) is not None:
        call()
        del call  # or its arrays would live until the next one
