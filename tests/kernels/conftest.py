"""All blocks of a launch side by side in Numba's CUDA simulator, one thread at a time, in an order that can be turned.

The simulator runs one block after the other, so blocks that wait for each other would wait for ever, and it polls its
threads, which takes most of the time. Here a scheduler runs a thread until its next barrier, then the next thread. A
kernel whose results do not depend on who comes first has them in any order; a forgotten barrier shows as a difference.
"""

from __future__ import annotations

import sys
import threading
from collections import deque

import numpy as np
import pytest


class Scheduler:
    """Runs the threads of all blocks; exactly one of them at a time."""

    def __init__(self, backward: bool) -> None:
        self.backward = backward
        self.ready: deque[SimulatedThread] = deque()
        self.done = threading.Event()
        self.error: BaseException | None = None

    def run(self, threads: list[SimulatedThread]) -> None:
        self.ready.extend(reversed(threads) if self.backward else threads)
        for thread in threads:
            thread.start()
        self.next()
        self.done.wait()
        if self.error is not None:
            raise self.error

    def next(self) -> None:
        """Let the next thread go on; without one, the launch is over, or all wait for a barrier that cannot open."""
        if self.error is None and self.ready:
            self.ready.popleft().turn.release()
        else:
            self.done.set()

    def give_way(self, thread: SimulatedThread) -> None:
        """Go to the end of the queue."""
        if self.ready:
            self.ready.append(thread)
            self.next()
            thread.turn.acquire()

    def wait(self, thread: SimulatedThread) -> None:
        """A barrier of the thread's block."""
        waiting = thread.block.waiting
        waiting.append(thread)
        if len(waiting) == thread.block.n_alive:
            self.ready.extend(sorted(waiting, key=lambda each: each.thread_id, reverse=self.backward))
            waiting.clear()
        self.next()
        thread.turn.acquire()


class Block:
    """What the threads of a block share."""

    def __init__(self, n_threads: int) -> None:
        self.n_alive = n_threads
        self.waiting: list[SimulatedThread] = []
        self.arrays: dict[object, np.ndarray] = {}


class SimulatedThread(threading.Thread):
    """A thread as the simulator's functions know it."""

    def __init__(self, scheduler, block, call, block_index, thread_index, block_dim) -> None:
        super().__init__(target=call, daemon=True)
        from numba.cuda.simulator.kernelapi import Dim3

        self.scheduler, self.block = scheduler, block
        self.blockIdx, self.threadIdx = Dim3(*block_index), Dim3(*thread_index)
        self.thread_id = thread_index[0] + block_dim[0] * (thread_index[1] + block_dim[1] * thread_index[2])
        self.turn = threading.Semaphore(0)

    def run(self) -> None:
        self.turn.acquire()
        try:
            super().run()
            if self.block.waiting:
                raise AssertionError("a thread ended while others of its block wait at a barrier")
        except BaseException as error:  # whatever it is, it is the launch that fails
            self.scheduler.error = error
        self.block.n_alive -= 1
        self.scheduler.next()

    def syncthreads(self) -> None:
        self.scheduler.wait(self)


@pytest.fixture(params=["forward", "backward"])
def blocks_together(request, monkeypatch):
    """Every kernel that is launched in this test runs on a `Scheduler`."""
    from numba.cuda.simulator import kernel, kernelapi

    backward = request.param == "backward"
    pending: list[SimulatedThread] = []
    state: dict[str, Scheduler] = {}

    class Manager:
        def __init__(self, function, grid_dim, block_dim, debug) -> None:
            self.function, self.grid_dim, self.block_dim = function, grid_dim, block_dim

        def run(self, block_index, *arguments) -> None:
            if not pending:
                state["scheduler"] = Scheduler(backward)
            block = Block(int(np.prod(self.block_dim)))
            call = self.function, arguments
            for thread_index in np.ndindex(*self.block_dim):
                thread = SimulatedThread(
                    state["scheduler"], block, lambda: call[0](*call[1]), block_index, thread_index, self.block_dim
                )
                pending.append(thread)
            if tuple(block_index) == tuple(size - 1 for size in self.grid_dim):
                threads = pending.copy()
                pending.clear()
                state["scheduler"].run(threads)

    def shared_array(self, shape, dtype, alignment=None):
        arrays = threading.current_thread().block.arrays
        dtype = np.dtype(str(dtype))
        if shape == 0:
            whole = arrays.setdefault("dynamic", np.full(self._dynshared_size, 0xFF, np.uint8))  # NaN as float32
            return whole.view(dtype)
        caller = sys._getframe(1)
        return arrays.setdefault((caller.f_code, caller.f_lineno), np.full(shape, -(2**30), dtype))

    add = kernelapi.FakeCUDAAtomic.add

    def add_or_look(self, array, index, value):
        if value == 0:  # a look at what others have done, so let them do it
            thread = threading.current_thread()
            thread.scheduler.give_way(thread)
        return add(self, array, index, value)

    monkeypatch.setattr(kernel, "BlockManager", Manager)
    monkeypatch.setattr(kernelapi.FakeCUDAShared, "array", shared_array)
    monkeypatch.setattr(kernelapi.FakeCUDAAtomic, "add", add_or_look)
    return request.param
