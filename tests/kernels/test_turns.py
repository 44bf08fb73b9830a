"""Taking turns at compiling: who waits for whom, and that nobody waits for ever."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic

import pytest

from fastbp.kernels import turns
from fastbp.kernels.turns import end_turn, take_turn, together

HOLD = """
import sys
from pathlib import Path
from fastbp.kernels.turns import take_turn, together
with together():
    print(take_turn(Path(sys.argv[1])), flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def other(tmp_path):
    """Another process, which compiles what will be at `path`."""
    environment = {**os.environ, "PYTHONPATH": str(Path(turns.__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "a.kernel")],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "True\n"
    yield process
    process.kill()
    process.communicate()


def locks(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0


def test_a_turn_leaves_nothing_behind(tmp_path):
    before = open_files()
    with together():
        assert take_turn(tmp_path / "a.kernel")
        assert locks(tmp_path) == ["a.kernel.lock"]
        end_turn()
        assert locks(tmp_path) == []
        end_turn()  # without one
        assert open_files() == before


def test_outside_of_a_block_there_are_no_turns(tmp_path):
    assert not take_turn(tmp_path / "a.kernel")
    assert locks(tmp_path) == []


def test_a_block_that_is_broken_off_ends_the_turn(tmp_path):
    def broken_off() -> None:
        with together(), together():
            take_turn(tmp_path / "a.kernel")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert locks(tmp_path) == []
    assert not take_turn(tmp_path / "a.kernel")


def test_one_turn_at_a_time(tmp_path):
    """So that two that need two kernels, in another order each, do not wait for each other."""
    with together():
        take_turn(tmp_path / "a.kernel")
        take_turn(tmp_path / "b.kernel")
        assert locks(tmp_path) == ["b.kernel.lock"]


def test_others_are_waited_for(tmp_path, other):
    timer = threading.Timer(0.4, lambda: other.communicate("\n"))
    begun = monotonic()
    timer.start()
    with together():
        assert take_turn(tmp_path / "a.kernel")
    timer.join()
    assert 0.35 <= monotonic() - begun < 20
    assert locks(tmp_path) == []


def test_other_kernels_are_not_waited_for(tmp_path, other):
    begun = monotonic()
    with together():
        assert take_turn(tmp_path / "b.kernel")
    assert monotonic() - begun < 0.4


def test_who_is_killed_has_had_its_turn(tmp_path, other):
    other.kill()
    other.wait()
    assert locks(tmp_path) == ["a.kernel.lock"]
    begun = monotonic()
    with together():
        assert take_turn(tmp_path / "a.kernel")
    assert monotonic() - begun < 5
    assert locks(tmp_path) == []


def test_patience_ends(tmp_path, other, monkeypatch):
    """One that is stopped, or very slow. Then nobody is waited for any more in this block."""
    monkeypatch.setattr(turns, "PATIENCE", 0.3)
    begun = monotonic()
    with together():
        assert not take_turn(tmp_path / "a.kernel")
        assert 0.25 <= monotonic() - begun < 5
        begun = monotonic()
        assert not take_turn(tmp_path / "a.kernel")
        assert monotonic() - begun < 0.2


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO])
def test_where_files_cannot_be_locked_everybody_compiles(tmp_path, monkeypatch, number):
    def none(descriptor: int) -> bool:
        raise OSError(number, "no locks")

    monkeypatch.setattr(turns, "try_lock", none)
    before = open_files()
    with together():
        for _ in range(3):
            assert not take_turn(tmp_path / "a.kernel")
    assert open_files() == before


def test_where_nothing_can_be_written_everybody_compiles(tmp_path):
    with together():
        assert not take_turn(tmp_path / "nowhere" / "a.kernel")


def test_threads_have_turns_of_their_own(tmp_path):
    seen: list[object] = []

    def elsewhere() -> None:
        seen.append(take_turn(tmp_path / "b.kernel"))  # in no block
        with together():
            seen.append(take_turn(tmp_path / "b.kernel"))
            seen.append(locks(tmp_path))

    with together():
        take_turn(tmp_path / "a.kernel")
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert seen == [False, True, ["a.kernel.lock", "b.kernel.lock"]]
        assert locks(tmp_path) == ["a.kernel.lock"]
