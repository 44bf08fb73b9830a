"""What people see on a terminal: a line that moves, colours, widths; with a clock of its own, and in earnest.

`screen` knows what a terminal makes of the characters that it gets.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastbp import bar, console, progress
from fastbp.bar import Bar, Pace
from fastbp.config import Config
from fastbp.console import clock
from fastbp.metrics import EpochRecord
from fastbp.model import Model
from fastbp.network import Network
from fastbp.preprocessing import Scaling
from fastbp.progress import LiveView
from fastbp.report import show_training
from fastbp.result import TrainingResult
from fastbp.watching import Plan

ROOT = Path(__file__).resolve().parent.parent
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def screen(text: str) -> list[str]:
    """The lines that stand there in the end; the last one is the one that moves."""
    lines, at = [""], 0
    for part in re.split(r"(\r\n|\r|\n)", COLOURS.sub("", text)):
        if part in ("\n", "\r\n"):
            lines.append("")
        if part in ("\n", "\r\n", "\r"):
            at = 0
        else:
            assert part.isprintable(), part
            lines[-1] = lines[-1][:at].ljust(at) + part + lines[-1][at + len(part) :]
            at += len(part)
    return [line.rstrip() for line in lines]


class World(io.StringIO):
    """A terminal of some width, in a world where time passes only when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, columns: int, encoding: str = "utf-8") -> None:
        super().__init__()
        self.columns, self.now = columns, 1000.0
        self.kind = encoding
        self.written: list[float] = []
        self.monkeypatch = monkeypatch
        monkeypatch.setattr(progress, "perf_counter", lambda: self.now)
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.delenv("NO_COLOR", raising=False)
        for module in (bar, console, progress):
            monkeypatch.setattr(module, "columns_of", lambda stream: self.columns)

    def view(self, **options: str) -> LiveView:
        """One that writes here. (pytest puts its own stderr in place between a fixture and its test.)"""
        self.monkeypatch.setattr(sys, "stderr", self)
        return LiveView(**options)  # type: ignore[arg-type]

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.kind

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.written.append(self.now)
        return super().write(text)

    def lines(self) -> list[str]:
        return screen(self.getvalue())

    def train(
        self, view: LiveView, epochs: range, *, seconds: float, measuring: float = 0.0, batches: int = 10
    ) -> None:
        """Epochs that take so many seconds, and then some for measuring."""
        for epoch in epochs:
            for done in range(1, batches + 1):
                self.now += seconds / batches
                view.on_batches(epoch, done, batches, 0.25)
            self.now += measuring
            view.on_epoch(record(epoch, seconds))


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch, 80)


def plan(epochs: int, **changes: object) -> Plan:
    values: dict[str, object] = {
        "config": Config(learning_rate=0.5, epochs=epochs), "engine": "fused sparse float32", "n_train": 60_000,
        "network": Network((784, 16, 16, 10), ("sigmoid", "sigmoid", "softmax"), "cross_entropy"), "n_test": 10_000,
        "density": 0.19123, "n_parameters": 13_002, "n_validation": 0, "run": None,
    }  # fmt: skip
    return Plan(**{**values, **changes})  # type: ignore[arg-type]


def record(epoch: int, seconds: float = 0.01, **changes: object) -> EpochRecord:
    values: dict[str, object] = {
        "loss": 0.25, "train_accuracy": 0.9512, "test_accuracy": 0.9444, "learning_rate": 0.5, "seconds": seconds,
        "samples_per_second": 60_000 / seconds,
    }  # fmt: skip
    return EpochRecord(epoch=epoch, **{**values, **changes})  # type: ignore[arg-type]


# --- the line that moves ----------------------------------------------------------------------------------------------


def test_it_tells_the_loss_the_share_the_speed_and_the_time_that_is_left(world):
    with world.view(data_name="mnist") as view:
        view.on_start(plan(20))
        world.train(view, range(1, 6), seconds=2.0, measuring=0.5)
        world.now += 1.0
        view.on_batches(6, 5, 10, 0.125)  # half of the sixth
    before = world.getvalue()
    text = before[: before.rindex("\r", 0, before.rindex("\r"))]
    assert screen(text)[-1] == "epoch  6 of 20, loss 0.1250 ━━━─────────   28 %  30,000 samples/s  0:36 left"
    assert world.lines()[-2:] == ["", ""]  # and then it is gone
    assert "epoch  5 of 20" not in "\n".join(world.lines())
    assert [line.split()[0] for line in world.lines()[-7:-2]] == ["1", "2", "3", "4", "5"]


def test_a_run_that_goes_on_knows_its_speed_from_the_first_second_on(world):
    """Ninety epochs are done, in the last one a half: none of that took any time now."""
    with world.view() as view:
        view.on_start(plan(100, history=tuple(record(epoch) for epoch in range(1, 91))))
        for done in range(51, 61):  # of 100, in a tenth of a second each
            world.now += 0.1
            view.on_batches(91, done, 100, 0.25)
        shown = world.lines()[-1]
    assert "goes on after epoch 90 of 100" in world.getvalue()
    assert shown == "epoch  91 of 100, loss 0.2500 ━━━━━━━━━━━─   91 %  6,000 samples/s  1:34 left"


def test_speeds_are_those_of_the_last_half_minute(world):
    with world.view() as view:
        view.on_start(plan(100))
        world.train(view, range(1, 21), seconds=1.0)
        world.train(view, range(21, 36), seconds=4.0)
        shown = world.lines()[-1]
    assert "15,000 samples/s" in shown
    assert "4:20 left" in shown  # 65 epochs, 4 s each


def test_the_end_may_be_that_of_the_time(world):
    with world.view() as view:
        view.on_start(plan(100_000, config=Config(learning_rate=0.5, epochs=100_000, time_limit=60)))
        world.train(view, range(1, 6), seconds=2.0)
        assert world.lines()[-1].endswith(" 0:50 left")


def test_an_epoch_that_begins_again_is_no_speed(world):
    with world.view() as view:
        view.on_start(plan(10))
        world.train(view, range(1, 3), seconds=2.0)
        view.on_batches(3, 1, 10, 0.25)
        view.on_restored(3, 0.25)
        world.now += 1.0
        view.on_batches(3, 1, 10, 0.25)
        assert world.lines()[-1].endswith("   21 %")
        world.now += 1.0
        view.on_batches(3, 2, 10, 0.25)
        assert world.lines()[-1].endswith("   22 %  6,000 samples/s  1:18 left")
    assert "epoch 3 diverged and begins again, with half the learning rate: 0.25" in world.lines()


@pytest.mark.parametrize("seconds", [0.002, 0.03, 0.15, 3.0])
def test_updates_are_no_more_than_ten_a_second(world, seconds):
    """Rows and line together; here, half as many are made."""
    with world.view() as view:
        view.on_start(plan(100_000))
        world.now += 1
        begun, before = world.now, len(world.written)
        for epoch in range(1, 100_000):
            world.train(view, range(epoch, epoch + 1), seconds=seconds)
            if world.now - begun > 6:
                break
        updates = world.written[before:]
    assert len(updates) <= 10 * (world.now - begun) + 1
    assert len(updates) >= (world.now - begun) / max(seconds / 10, 0.3)  # and it does move
    for first, eleventh in zip(updates, updates[11:], strict=False):
        assert eleventh - first > 0.999


def test_a_quick_run_has_no_line_that_moves(world):
    with world.view() as view:
        view.on_start(plan(10))
        world.train(view, range(1, 11), seconds=0.02)
        view.on_end("epochs")
    assert "\r" not in world.getvalue()
    assert [line.split()[0] for line in world.lines()[-12:-2]] == [str(epoch) for epoch in range(1, 11)]


@pytest.mark.parametrize(("epochs", "rows"), [(200, 200), (201, 20)])
def test_long_runs_get_a_row_a_second(world, epochs, rows):
    """And every epoch in a file: `test_console`."""
    with world.view() as view:
        view.on_start(plan(epochs))
        world.train(view, range(1, epochs + 1), seconds=0.1)
        view.on_end("epochs")
    numbers = [int(line.split()[0]) for line in world.lines() if line.strip()[:1].isdigit()]
    assert abs(len(numbers) - rows) <= 1
    assert (numbers[0], numbers[-1]) == (1, epochs)
    assert numbers == sorted(set(numbers))
    assert ("a row a second is shown here" in world.getvalue()) == (epochs == 201)


def test_the_last_row_is_there_wherever_a_run_ends(world):
    with world.view() as view:
        view.on_start(plan(10_000))
        world.train(view, range(1, 58), seconds=0.03)
        view.on_end("patience")
    assert world.lines()[-3].split()[0] == "57"


@pytest.mark.parametrize("columns", [1, 5, 20, 40, 79, 80, 120])
def test_nothing_is_wider_than_the_terminal(monkeypatch, columns):
    world = World(monkeypatch, columns)
    config = Config(learning_rate=1.41421, epochs=12_345, optimizer="adamw", weight_decay=0.01, schedule="one_cycle")
    network = Network((784, *[16] * 30, 10), (*["sigmoid"] * 30, "softmax"), "cross_entropy")
    moving = []
    with world.view(data_name="name " * 10) as view:
        for done in range(10):
            world.now += 0.5
            view.on_progress("drawing digits " * 9, done, 10)
            moving.append(world.lines()[-1])
        view.on_start(plan(12_345, config=config, network=network, n_validation=6_000))
        header = world.lines()[:-1]
        world.now += 1
        for epoch in range(12_000, 12_005):
            world.train(view, range(epoch, epoch + 1), seconds=0.006, measuring=1e5, batches=3)
            moving.append(world.lines()[-1])
        view.on_end("epochs")
    assert max(map(len, moving)) < max(columns, 2)
    if columns >= 60:
        assert all("left" in line for line in moving[-2:])
        network_line = "-".join(["784", *["16"] * 30, "10"])
        assert max(map(len, (line for line in header if network_line not in line))) <= columns
        assert max(map(len, world.lines()[len(header) :])) <= columns
    if columns >= 80:
        assert re.search(r"12004 of 12345, loss 0.2500 .* 10,000,000 samples/s  \d+ days \d+ h left", moving[-1])


def test_wide_characters_fit_too(monkeypatch):
    world = World(monkeypatch, 40)
    with world.view() as view:
        for done in range(3):
            world.now += 1
            view.on_progress("数字" * 30, done, 3)
            assert sum(1 + (c > "\u2fff") for c in world.lines()[-1]) < 40


def test_a_terminal_that_becomes_narrower(world):
    with world.view() as view:
        view.on_start(plan(20))
        world.train(view, range(1, 3), seconds=2.0)
        world.columns, before = 30, len(world.getvalue())
        world.train(view, range(3, 5), seconds=2.0)
        assert max(len(part) for part in re.split(r"[\r\n]", COLOURS.sub("", world.getvalue()[before:]))) <= 80
        assert len(world.lines()[-1].rstrip()) <= 80
        after = world.getvalue()[before:].rsplit("\n", 1)[1]
        assert len(COLOURS.sub("", after)) < 30


def test_without_unicode_the_bar_is_ascii(monkeypatch):
    world = World(monkeypatch, 80, "ascii")
    with world.view() as view:
        view.on_start(plan(4))
        world.train(view, range(1, 3), seconds=2.0)
    assert world.getvalue().isascii()
    assert "######------" in COLOURS.sub("", world.getvalue())


def test_no_color_takes_the_colours_and_leaves_the_bar(world, monkeypatch):
    def text() -> str:
        with world.view() as view:
            view.on_start(plan(4))
            world.train(view, range(1, 3), seconds=2.0)
        return world.getvalue()

    assert "\x1b[36m" in text()
    world.seek(0)
    world.truncate()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in text()
    assert "━━━" in text()


def test_a_dumb_terminal_gets_rows_only(world, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    with world.view() as view:
        view.on_start(plan(300))
        world.train(view, range(1, 301), seconds=0.1)
        view.on_end("epochs")
    assert not {"\r", "\x1b"} & set(world.getvalue())
    assert [line.split()[0] for line in world.lines()[-301:-1]] == [str(epoch) for epoch in range(1, 301)]


def test_networks_side_by_side_are_counted(world):
    with world.view(data_name="fake") as view:
        view.expect(4, 30)
        assert world.lines()[:2] == ["data      fake", "training  4 networks side by side, 30 epochs each"]
        for seed in range(2):
            world.now += 10
            view.on_result(seed, result_of(seed=seed))
        assert world.lines()[-1].startswith("network 3 of 4 ━━━━━━━━━━──────────   50 %  0:20 left")
        for seed in range(2, 4):
            world.now += 10
            view.on_result(seed, result_of(seed=seed))
    assert [line.split()[0] for line in world.lines()[-5:-1]] == ["0", "1", "2", "3"]


def test_when_it_takes_long_to_write_nothing_is_lost(world):
    """A row is never later than the next news, however long epochs are."""
    with world.view() as view:
        view.on_start(plan(5))
        for epoch in range(1, 4):
            world.train(view, range(epoch, epoch + 1), seconds=600.0, batches=1)
            assert world.lines()[-2].split()[0] == str(epoch)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.6, "1:00"), (3599.4, "59:59"), (3600, "1:00:00"), (172_799, "47:59:59"), (200_000, "2 days 7 h")],
)
def test_clocks(seconds, text):
    assert clock(seconds) == text


def test_a_pace_of_nothing():
    pace = Pace()
    assert pace.heard(1.0, 5.0) is None
    assert pace.heard(1.0, 6.0) is None  # no time has passed
    assert pace.heard(2.0, 5.0) is None  # nothing was done
    assert pace.heard(3.0, 4.0) is None


def test_a_bar_without_a_stream():
    assert not Bar(None).draw("text", 0.5)


# --- the result -------------------------------------------------------------------------------------------------------


def result_of(best: int | None = None, losses: tuple[float, ...] = (), seed: int = 0, **settings: object):
    config = Config(**settings)  # type: ignore[arg-type]
    network = Network((4, 3), ("softmax",), "cross_entropy")
    history = tuple(record(epoch, loss=loss) for epoch, loss in enumerate(losses, start=1))
    model = Model(
        network=network, parameters=network.initial_parameters(), inputs=Scaling(0.0, 1.0),
        class_names=tuple("abc"), image_shape=None, config=config.as_dict(), data_name="fake",
    )  # fmt: skip
    return TrainingResult(
        model=model, history=history, loss=0.25, train_accuracy=0.96, test_accuracy=0.95, test_loss=0.3,
        epochs=len(losses), seed=seed, engine="fused", train_seconds=0.1, samples_per_second=5e6, stopped="epochs",
        best_epoch=best, validation_loss=None if best is None else 0.2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("keeps_best", "result", "said"),
    [
        (True, result_of(2, (0.3, 0.2, 0.1)), ", of epoch 2, which has the lowest validation cost"),
        (True, result_of(3, (0.3, 0.2, 0.1)), ""),
        (True, replace(result_of(2, (0.3, 0.1, 0.2)), validation_loss=None), ", of epoch 2, which has the lowest trai"),
        (True, result_of(None, ()), ""),
        (False, result_of(2, (0.3, 0.2, 0.1), patience=1, validation=0.1), ", of epoch 2, which has the lowest vali"),
        (False, result_of(2, (0.3, 0.2, 0.1)), ""),
        (False, result_of(None, (0.3, 0.1, 0.2)), ""),
    ],
)
def test_which_epoch_the_model_is_of(tmp_path, capsys, keeps_best, result, said):
    path = tmp_path / "m"
    path.write_bytes(bytes(53_800))
    show_training(result, path, keeps_best)
    out = capsys.readouterr().out.splitlines()
    assert out[-1].startswith(f"model           {path} (53.8 KB){said}")
    assert ("of epoch" in out[-1]) == bool(said)
    by_hand = not keeps_best and result.best_epoch == 2 and not said
    assert ("best epoch      2, by the validation cost; the model is that of the last" in out) == by_hand
    show_training(result, None, keeps_best)
    assert ("of epoch" in capsys.readouterr().out) == bool(said)


def test_epochs_that_began_again_are_told(capsys):
    show_training(replace(result_of(), restores=2), None)
    assert "restored        2 times, an epoch was begun again with half the learning rate" in capsys.readouterr().out


# --- in earnest -------------------------------------------------------------------------------------------------------

pty = pytest.importorskip("pty", reason="Windows has no such terminals")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("terminal")
    rng = np.random.default_rng(0)
    y = np.arange(3000) % 3
    x = rng.normal(size=(3, 4))[y] * 3 + rng.normal(size=(3000, 4))
    np.savez(folder / "d.npz", x_train=x, y_train=y, x_test=x[:60], y_test=y[:60])
    return folder


def in_a_terminal(folder, *options: object, columns: int = 80, both: bool = True, narrower: int = 0, **settings: str):
    """Run a command there; returns its exit code, what came to the terminal and when, and stdout if it is a pipe."""
    import fcntl
    import struct
    import termios

    def size(width: int) -> bytes:
        return struct.pack("HHHH", 24, width, 0, 0)

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, size(columns))
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    environment |= {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **settings}
    process = subprocess.Popen(
        [sys.executable, "-m", "fastbp", *map(str, options)],
        cwd=folder, env=environment, stdin=slave, stdout=slave if both else subprocess.PIPE, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    pieces = []
    while True:
        try:
            piece = os.read(master, 1 << 16)
        except OSError:
            break
        if not piece:
            break
        pieces.append((time.perf_counter(), piece.decode()))
        if narrower and len(pieces) == 8:
            fcntl.ioctl(master, termios.TIOCSWINSZ, size(narrower))
    out = process.stdout.read().decode() if process.stdout else ""
    if process.stdout:
        process.stdout.close()
    code = process.wait(timeout=60)
    os.close(master)
    return code, pieces, out


LONG = ("train", "--data", "d.npz", "--engine", "reference", "--epochs", 100_000, "--time-limit", 2, "--no-save")


def test_a_run_in_a_terminal(workplace):
    code, pieces, _ = in_a_terminal(workplace, *LONG)
    text = "".join(piece for _, piece in pieces)
    lines = screen(text)
    assert code == 0
    assert max(map(len, lines)) <= 80
    bars = re.findall(r"\r(epoch +\d+ of 100000, loss \S+ .*? samples/s  0:0\d left)", COLOURS.sub("", text))
    times = [at for at, piece in pieces if re.search(r"\repoch|\nepoch", COLOURS.sub("", piece))]
    assert 3 <= len(times) <= 10 * (times[-1] - times[0]) + 2
    assert bars
    assert max(map(len, bars)) < 80
    rows = [line for line in lines if line.strip()[:1].isdigit()]
    assert rows[0].split()[0] == "1"
    assert len(rows) <= 6  # one a second
    assert not any(line.startswith("epoch ") and " of " in line for line in lines)
    assert "stopped         early, because the time was up (--time-limit)" in lines


@pytest.mark.parametrize(
    ("settings", "moves"),
    [({"NO_COLOR": "1"}, True), ({"TERM": "dumb"}, False), ({"LANG": "C", "PYTHONIOENCODING": "ascii"}, True)],
    ids=["NO_COLOR", "TERM=dumb", "ASCII"],
)
def test_terminals_that_want_less(workplace, settings, moves):
    code, pieces, _ = in_a_terminal(workplace, *LONG, **settings)
    text = "".join(piece for _, piece in pieces).replace("\r\n", "\n")
    assert code == 0
    assert ("\x1b" in text) == ("LANG" in settings)
    assert ("\r" in text) == moves
    if "LANG" in settings:
        assert text.isascii()


def test_a_narrow_terminal_and_one_that_becomes_so(workplace):
    code, pieces, _ = in_a_terminal(workplace, *LONG, columns=40)
    text = "".join(piece for _, piece in pieces)
    assert code == 0
    assert max(map(len, screen(text[: text.index("test accuracy")]))) <= 40
    assert in_a_terminal(workplace, *LONG, columns=100, narrower=30)[0] == 0


def test_json_is_alone_on_stdout_and_quiet_is_silent(workplace):
    code, pieces, out = in_a_terminal(workplace, *LONG, "--json", both=False)
    assert code == 0
    assert json.loads(out)["stopped"] == "time_limit"
    assert out.count("\n") == 1
    assert "left" in "".join(piece for _, piece in pieces)
    code, pieces, out = in_a_terminal(workplace, *LONG[:5], "--no-save", "--json", "--quiet", both=False)
    assert (code, pieces, json.loads(out)["epochs"]) == (0, [], 10)
    code, pieces, out = in_a_terminal(workplace, "train", "--quiet", "--data", "nowhere.csv", both=False)
    assert (code, out) == (3, "")
    text = "".join(piece for _, piece in pieces)
    assert text.startswith("\x1b[31m\x1b[1mError:\x1b[0m there is no file or folder 'nowhere.csv'")


def test_errors_are_folded_between_words(workplace):
    code, pieces, _ = in_a_terminal(workplace, "train", "--epochs", -3, "--patience", 4, columns=40)
    lines = screen("".join(piece for _, piece in pieces))
    assert code == 2
    assert max(map(len, lines)) <= 40
    assert lines[-3:] == ["Error: Invalid value for '--epochs':", "epochs must be at least 0, got -3", ""]
    code, pieces, _ = in_a_terminal(workplace, "eval", "nothing.safetensors", columns=40)
    lines = screen("".join(piece for _, piece in pieces))
    assert code == 4
    assert max(map(len, lines)) <= 40
    assert " ".join(lines).count("nothing.safetensors") == 1


def test_help_fits_into_80_columns(workplace):
    for command in ([], ["train"], ["explain"], ["eval"], ["predict"], ["export"]):
        code, pieces, _ = in_a_terminal(workplace, *command, "--help")
        lines = screen("".join(piece for _, piece in pieces))
        assert code == 0
        assert max(map(len, lines)) <= 80, command
        assert command or not any(line.endswith("...") for line in lines[1:])


def test_without_stderr_a_run_is_a_run(workplace):
    """2>&- in a shell."""
    command = [sys.executable, "-m", "fastbp", *map(str, LONG[:5]), "--epochs", "2", "--save", "closed.safetensors"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    shell = ["sh", "-c", '"$@" 2>&-', "sh", *command]
    process = subprocess.run(shell, cwd=workplace, env=environment, stdout=subprocess.PIPE, text=True, timeout=60)
    assert process.returncode == 0
    assert process.stdout.startswith("test accuracy")
    assert (workplace / "closed.safetensors").is_file()


def test_names_in_letters_that_the_encoding_lacks(workplace):
    """Such as a pipe's on Windows: escaped, as on stderr, and no error."""
    rows = "".join(f"{k % 3 + k / 100},{['süß', 'größe', '数字'][k % 3]}\n" for k in range(60))
    (workplace / "names.csv").write_text("x,kind\n" + rows, encoding="utf-8")
    options = ["--data", "names.csv", "--label", "kind"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "cp1252"}
    outputs = []
    for command in (
        ["train", *options, "--epochs", "1", "--engine", "reference", "--save", "数.safetensors", "--quiet"],
        ["eval", "数.safetensors", *options, "--quiet"],
        ["data", "show", *options[1:], "--quiet"],
    ):
        process = subprocess.run(
            [sys.executable, "-m", "fastbp", *command], cwd=workplace, env=environment, capture_output=True, timeout=60
        )
        assert (process.returncode, process.stderr) == (0, b"")
        outputs.append(process.stdout.decode("cp1252"))
    assert "\\u6570.safetensors (" in outputs[0]
    for output in outputs[1:]:
        assert "süß" in output
        assert "\\u6570\\u5b57" in output
