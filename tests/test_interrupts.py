"""Signals that ask the program to stop: each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process could hear")

LOST = """
import ctypes, os, sys
from fastbp import interrupts

interrupts.listen()

@ctypes.CFUNCTYPE(None)
def callback():
    os.kill(os.getpid(), {number})
    for _ in range(100_000):
        pass

callback()  # an exception that rises in here is dropped by ctypes
assert interrupts.received()
try:
    interrupts.check()
except KeyboardInterrupt:
    sys.exit(interrupts.exit_code())
"""

DROPPED = """
import ctypes, os, sys, time
from fastbp import interrupts

interrupts.listen()

@ctypes.CFUNCTYPE(None)
def callback():
    os.kill(os.getpid(), {number})
    for _ in range(100_000):
        pass

def work():
    begun = time.monotonic()
    while time.monotonic() - begun < 20:
        pass
"""

COMPILING = """
try:
    for _ in range(3):
        callback()
    work()  # as a compiler does: it asks nobody
except KeyboardInterrupt:
    sys.exit(interrupts.exit_code())
"""

SAVING = """
try:
    callback()
    interrupts.check()
except KeyboardInterrupt:
    time.sleep(0.2)  # weights are saved here: what was dropped does not rise any more
    sys.exit(interrupts.exit_code())
"""

COMMAND = """
import os, signal, sys
import fastbp.cli
from fastbp.__main__ import main

fastbp.cli.cli.main = lambda **_: exec({code!r})
sys.exit(main())
"""


@pytest.fixture
def python(tmp_path):
    """Runs code in a process of its own, as `python -m fastbp` is run."""

    def start(code: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "command.py").write_text(code)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment.pop("FASTBP_DEBUG", None)
        command = [sys.executable, "-m", "command"]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60)

    return start


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_that_was_dropped_is_raised_again(python, name, code):
    done = python(LOST.format(number=int(getattr(signal, name))))
    assert done.returncode == code
    assert done.stderr == ""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_the_process_ends_with_the_code_of_its_first_signal(python, name, code):
    done = python(COMMAND.format(code=f"os.kill(os.getpid(), signal.{name}); list(range(100_000))"))
    assert done.returncode == code
    assert done.stderr.strip() == "Error: interrupted; nothing was changed"


def test_what_a_signal_broke_elsewhere_is_an_interruption_too(python):
    code = "import time\ntry: os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)\nexcept BaseException: pass\n1 / 0"
    done = python(COMMAND.format(code=code))
    assert done.returncode == 143
    assert done.stderr.strip() == "Error: interrupted"


def test_an_ignored_signal_stays_ignored(python):
    code = "os.kill(os.getpid(), signal.SIGHUP); print('still here')"
    ignoring = COMMAND.format(code=code).replace("sys.exit", "signal.signal(signal.SIGHUP, signal.SIG_IGN); sys.exit")
    done = python(ignoring)
    assert done.returncode == 0
    assert done.stdout == "still here\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("code", [COMPILING, SAVING], ids=["nobody asks", "weights are being saved"])
def test_what_was_dropped_rises_again_unless_it_was_noticed(python, number, code):
    process = python(DROPPED.format(number=int(number)) + code)
    assert (process.returncode, process.stderr) == (128 + number, "")


TWICE = """
import os, sys, time
from fastbp import interrupts
from fastbp.errors import AtOnce

interrupts.listen()
interrupts.hold()
for wait in ({wait}, 0.0):
    os.kill(os.getpid(), {number})
    time.sleep(wait)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_rises_at_once_unless_it_is_an_echo_of_the_first(python, number):
    """A terminal sends Ctrl-C to all its processes, and wrappers send it on: that is one, and not two."""
    process = python(TWICE.format(number=int(number), wait=0.3) + "sys.exit(7)")
    assert "AtOnce" in process.stderr
    process = python(TWICE.format(number=int(number), wait=0.01) + "sys.exit(7)")
    assert (process.returncode, process.stderr) == (7, "")
