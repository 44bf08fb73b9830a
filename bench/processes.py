"""Whole processes: how long a command takes from its start to its end, and the most memory that it has in use.

They are started by a small process that does nothing else. Linux counts the memory of the process that starts a command
as the command's own at first: `python -c pass`, started by one that holds 300 MB, seems to take 311 MB.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Launcher", "Outcome"]

SERVER = """
import json, os, subprocess, sys, time
for line in sys.stdin:
    command, env, folder = json.loads(line)
    with open(os.path.join(folder, "output.txt"), "wb") as output:
        begun = time.perf_counter()
        process = subprocess.Popen(command, env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        memory = None
        if hasattr(os, "wait4"):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        process.wait()
        seconds = time.perf_counter() - begun
    print(json.dumps([process.returncode, seconds, memory]), flush=True)
"""


class Outcome(NamedTuple):
    """What became of a command."""

    seconds: float
    memory: int | None  # bytes; None where the system does not tell
    output: str  # and errors


class Launcher:
    """Runs commands in a folder, one after the other. To be closed at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        command = [sys.executable, "-I", "-S", "-c", SERVER]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, command: Sequence[str], env: Mapping[str, str]) -> Outcome:
        """Raises RuntimeError, with all that the command wrote, where it fails."""
        streams: Any = self._server
        streams.stdin.write(json.dumps([list(command), dict(env), str(self._folder)]) + "\n")
        streams.stdin.flush()
        code, seconds, memory = json.loads(streams.stdout.readline())
        output = (self._folder / "output.txt").read_text(encoding="utf-8", errors="replace")
        if code != 0:
            raise RuntimeError(f"{' '.join(command)} ended with exit code {code}: {output}")
        return Outcome(seconds, memory, output)

    def close(self) -> None:
        self._server.communicate()
