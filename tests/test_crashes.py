"""Runs that are killed or interrupted, by the real command in a process of its own: what they leave, and what follows.

scripts/crash_campaign.py does the same many more times, at moments that are drawn, and measures.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastbp.files import write_atomically
from fastbp.model import load
from fastbp.runs.checkpoint_file import read_state
from fastbp.runs.folder import NAMES, RunFolder
from fastbp.settings_file import read_settings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

ROOT = Path(__file__).resolve().parent.parent
CONFIG, METRICS, MODEL, CHECKPOINT, SUMMARY, START = NAMES
TIMES = re.compile(r'"(seconds|samples_per_second|train_seconds)": [^,}\n]+')

# the command, with a checkpoint whenever there is something new
OFTEN = """
import sys
import fastbp.runs.keeping
from fastbp.__main__ import main

fastbp.runs.keeping.AFTER_EPOCHS = fastbp.runs.keeping.WITHIN_EPOCHS = 0.0
fastbp.runs.keeping.MOST_SHARE = 1e9
sys.exit(main())
"""
POINTS = ("--data", "d.npz", "--layers", "16", "--optimizer", "adam", "--learning-rate", 0.003, "--dropout", 0.1)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("crashes")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 8))
    y = (x @ rng.normal(size=(8, 3)) + 0.5 * rng.normal(size=(4000, 3))).argmax(axis=1)
    np.savez(folder / "d.npz", x_train=x[:3600], y_train=y[:3600], x_test=x[3600:], y_test=y[3600:])
    return folder


@pytest.fixture
def start(place) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `fastbp train` where the data is; what is still there at the end of a test is killed."""
    begun = []
    environment = {name: text for name, text in os.environ.items() if name != "FASTBP_DEBUG"}
    environment["PYTHONPATH"] = str(ROOT)

    def begin(*words: object, often: bool = False, **settings: Any) -> subprocess.Popen[str]:
        program = ["-c", OFTEN] if often else ["-m", "fastbp"]
        command = settings.pop("args", None) or [sys.executable, *program, "train", *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": place, "env": environment}
        begun.append(subprocess.Popen(command, **{**pipes, **settings}))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def until(process: subprocess.Popen[str], there: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)


def lines(folder: Path) -> int:
    """How many epochs have ended."""
    return (folder / METRICS).read_bytes().count(b"\n") if (folder / METRICS).exists() else 0


def kept(folder: Path) -> dict[str, Any]:
    return {
        "model": (folder / MODEL).read_bytes(),
        "config": (folder / CONFIG).read_bytes(),
        "metrics": TIMES.sub("", (folder / METRICS).read_text()),
        "summary": TIMES.sub("", (folder / SUMMARY).read_text()),
    }


def check_whole(folder: Path) -> None:
    for name, read in ((CONFIG, read_settings), (MODEL, load), (CHECKPOINT, read_state), (START, load)):
        if (folder / name).exists():
            read(folder / name)
    RunFolder(folder).history()
    RunFolder(folder).summary()


@pytest.fixture(scope="module")
def whole(place) -> dict[str, Any]:
    """A run that nobody disturbed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "fastbp", "train", *POINTS, "--epochs", 60, "--quiet", "--out", "whole"]
    subprocess.run(list(map(str, command)), cwd=place, env=environment, check=True, capture_output=True, timeout=120)
    return kept(place / "whole")


@pytest.mark.parametrize("epochs", [(0, 1, 30), (5,), (40, 41)])
def test_killed_and_resumed_it_is_the_same(place, start, whole, epochs):
    """Killed when so many epochs are over; while it goes on, killed again."""
    folder = place / f"killed{len(epochs)}{epochs[0]}"
    for k, epoch in enumerate(epochs):
        words = ("--resume", folder) if k else (*POINTS, "--epochs", 60, "--out", folder)
        process = start(*words, "--quiet", often=True)
        until(process, lambda epoch=epoch: (folder / CONFIG).exists() and lines(folder) >= epoch)
        process.kill()
        process.wait()
        check_whole(folder)
        # the work since the last checkpoint is lost, and no more: here at most one epoch and what was to be written
        done = len(read_state(folder / CHECKPOINT)[0].history) if (folder / CHECKPOINT).exists() else 0
        assert lines(folder) - done <= 1
    _, said = start("--resume", folder, "--quiet").communicate(timeout=60)
    assert said == ""
    assert kept(folder) == whole
    assert sorted(path.name for path in folder.iterdir()) == sorted([".lock", *NAMES[:5]])


def test_killed_before_it_begins_it_can_begin_again(place, start, whole):
    folder = place / "early"
    process = start(*POINTS, "--epochs", 60, "--quiet", "--out", folder)
    until(process, folder.exists)
    process.kill()
    process.wait()
    if not (folder / CONFIG).exists():
        _, said = start(*POINTS, "--epochs", 60, "--quiet", "--out", folder).communicate(timeout=60)
        assert said == ""
        assert kept(folder) == whole


def test_killed_while_saving_every_file_is_whole(place, whole, tmp_path):
    """A process that does nothing but replace the files of a run; its last one is cleared away by the next run."""
    versions = {name: ((place / "whole" / name).read_bytes(), bytes(1000)) for name in NAMES[2:5]}
    for trial in range(40):
        child = os.fork()
        if child == 0:
            try:
                while True:
                    for turn in range(2):
                        for name, data in versions.items():
                            write_atomically(tmp_path / name, data[turn])
            finally:
                os._exit(1)
        time.sleep(0.0007 * trial)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for name, data in versions.items():
            assert not (tmp_path / name).exists() or (tmp_path / name).read_bytes() in data
    folder = RunFolder(tmp_path)
    folder.claim(new=False)
    folder.release()
    assert {path.name for path in tmp_path.iterdir()} <= {".lock", *versions}


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["INT", "TERM", "HUP"]
)
def test_a_signal_while_training_writes_a_checkpoint(place, start, number, code):
    folder = place / f"signal{code}"
    process = start(*POINTS, "--epochs", 100_000, "--out", folder)
    until(process, lambda: lines(folder) > 5)
    process.send_signal(number)
    out, said = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "")
    assert said.splitlines()[-1] == f"Error: interrupted; go on with fastbp train --resume {folder}"
    assert "Traceback" not in said
    check_whole(folder)
    state = read_state(folder / CHECKPOINT)[0]
    assert len(state.history) == lines(folder) > 5
    summary = RunFolder(folder).summary()
    assert summary is not None
    assert summary["stopped"] == "interrupted"
    assert not RunFolder(folder).is_in_use
    process = start("--resume", folder, "--epochs", len(state.history) + 2, "--quiet")
    assert process.communicate(timeout=60)[1] == ""
    assert lines(folder) == len(state.history) + 2


SLOW = """
import sys
from time import sleep
import fastbp.kernels.reference
import fastbp.training
from fastbp.__main__ import main

measure = fastbp.training.Run.result

def slowly(self, measured=True):
    if measured:
        open("measuring", "w").close()
        sleep(60)
    return measure(self, measured)

fastbp.training.Run.result = slowly
sys.exit(main())
"""


@pytest.mark.parametrize("saved", [True, False], ids=["--out", "--save"])
def test_a_second_ctrl_c_ends_at_once_with_whole_files(place, start, tmp_path, saved):
    """The first waits for something that lasts: measurements with very wide layers, for example."""
    folder = tmp_path / "run"
    where = ("--out", folder) if saved else ("--save", tmp_path / "m.safetensors")
    command = [sys.executable, "-c", SLOW, "train", "--data", place / "d.npz", "--epochs", 100_000, *where]
    process = start(args=list(map(str, command)), cwd=tmp_path)
    for line in process.stderr or ():
        if line.split()[:1] == ["3"]:
            break
    process.send_signal(signal.SIGINT)
    until(process, (tmp_path / "measuring").exists)
    time.sleep(0.25)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - begun < 10
    assert process.returncode == 130
    assert "Traceback" not in said
    if saved:
        assert f"Error: stopped at once; go on with fastbp train --resume {folder}\n" in said
        check_whole(folder)
        assert len(read_state(folder / CHECKPOINT)[0].history) == lines(folder)
    else:
        assert "the weights so far are saved in" in said
        load(tmp_path / "m.safetensors")


def test_ctrl_c_while_another_run_is_about_to_be_replaced(place, start, whole, tmp_path):
    """With --force: until training begins, the old run stays, and is not what the message speaks of."""
    code = "import sys, fastbp.training\nfrom time import sleep\nfrom fastbp.__main__ import main\n"
    code += "fastbp.training.open_engines = lambda *_: (open('opening', 'w').close(), sleep(60))\nsys.exit(main())"
    before = kept(place / "whole")
    command = [sys.executable, "-c", code, "train", *POINTS, "--quiet", "--out", place / "whole", "--force"]
    process = start(args=list(map(str, command)))
    until(process, (place / "opening").exists)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 143
    assert said.strip() == "Error: interrupted; training had not begun, and nothing was changed"
    (place / "opening").unlink()
    command = [sys.executable, "-c", code, "train", "--resume", place / "whole", "--quiet"]
    process = start(args=list(map(str, command)))
    until(process, (place / "opening").exists)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 143
    assert said.strip() == f"Error: interrupted; go on with fastbp train --resume {place / 'whole'}"
    assert kept(place / "whole") == before == whole


def test_two_that_go_on_at_once(place, start):
    """One of them trains, the other is told; a process that was killed holds nothing any more."""
    folder = place / "two"
    first = start(*POINTS, "--epochs", 100_000, "--quiet", "--out", folder)
    until(first, lambda: lines(folder) > 2)
    for words in (("--resume", folder), (*POINTS, "--out", folder, "--force")):
        second = start(*words, "--quiet")
        said = second.communicate(timeout=60)[1]
        assert second.returncode == 1
        assert said == f"Error: {folder} is in use by another run; wait for it, or choose another folder\n"
    assert first.poll() is None
    first.kill()
    first.wait()
    assert start("--resume", folder, "--epochs", lines(folder) + 1).wait(timeout=60) == 0


@pytest.mark.parametrize("moved", [False, True])
def test_a_folder_that_goes_away_while_it_is_used(place, start, moved):
    folder = place / f"goes{moved}"
    process = start(*POINTS, "--epochs", 100_000, "--quiet", "--out", folder, often=True)
    until(process, lambda: (folder / MODEL).exists())
    if moved:
        folder.rename(place / "elsewhere")
    else:
        for path in (folder / ".lock", folder / CONFIG, folder):
            path.unlink() if path.is_file() else path.rename(place / "gone")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.fullmatch(f"Error: cannot write {folder}/.*: No such file or directory; .*\n", said)
    if moved:  # and it goes on from there
        check_whole(place / "elsewhere")
        again = start("--resume", place / "elsewhere", "--epochs", lines(place / "elsewhere") + 1, "--quiet")
        assert again.communicate(timeout=60)[1] == ""


COMPILED = """
import sys
import numpy as np
from fastbp import Callback, train
from fastbp.kernels.warming import prepared

class Begins(Callback):
    def on_start(self, plan):
        self.known = len(prepared)

begins, engine, x, y = Begins(), sys.argv[1], np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
settings = {"layers": "4", "epochs": 2, "optimizer": "adam", "dropout": 0.1, "validation": 0.2}
train((x, y, x, y), callbacks=[begins], engine=engine, **settings)
print([each.kernel for each in prepared[begins.known:]])
"""


@pytest.mark.parametrize("engine", ["fused", "stages"])
def test_all_kernels_are_there_before_training_begins(engine, tmp_path):
    """From then on Ctrl-C waits for the end of a batch; if a kernel were compiled in it, for ten seconds."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", COMPILED, engine]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert (done.stdout, done.stderr) == ("[]\n", "")
