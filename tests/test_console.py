"""What people see: texts, tables, JSON, the live view in a pipe and after the reader has gone.

On a terminal: `test_terminal`.
"""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from fastbp import console
from fastbp.config import Config
from fastbp.console import aligned, draw_images, percent, print_json, printable, shortened, size
from fastbp.metrics import EpochRecord
from fastbp.network import Network
from fastbp.progress import LiveView
from fastbp.watching import Plan


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    """A pipe whose reader has left."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def plan(**settings) -> Plan:
    config = Config(**{"learning_rate": 0.5, "epochs": 2, **settings})
    network = Network((784, 16, 16, 10), ("sigmoid", "sigmoid", "softmax"), "cross_entropy")
    return Plan(
        config=config, network=network, engine="fused sparse float32", n_train=60_000, n_test=10_000, density=0.19123,
        n_parameters=13_002, n_validation=0, run=None,
    )  # fmt: skip


def record(epoch: int = 1, **changes) -> EpochRecord:
    values = {
        "loss": 0.25, "train_accuracy": 0.9512, "test_accuracy": 0.9444, "learning_rate": 0.5, "seconds": 0.0123,
        "samples_per_second": 4_878_048.8,
    }  # fmt: skip
    return EpochRecord(epoch=epoch, **{**values, **changes})


def watch(view: LiveView, n_epochs: int = 2) -> None:
    with view:
        view.on_progress("reading a file", 1, 10)
        view.on_phase("compiling kernels, about 5 s, once")
        view.on_start(plan(epochs=n_epochs))
        for epoch in range(1, n_epochs + 1):
            for done in range(1, 4):
                view.on_batches(epoch, done, 3, 0.3)
            view.on_epoch(record(epoch))


# texts


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("two\nlines", "two\\nlines"),
        ("\udcff", "\\udcff"),
        ("süß", "süß"),
    ],
)
def test_control_characters_are_shown_not_sent(text, shown):
    assert printable(text) == shown


def test_long_texts_are_cut_at_one_end_or_the_other():
    assert printable("x" * 1_000_000, 10) == "xxxxxxx..."
    assert len(shortened("/a/long/way/to/train-images.gz", 20)) == 20
    assert shortened("/a/long/way/to/train-images.gz", 20).endswith("train-images.gz")


def test_numbers_for_people():
    assert percent(0.95123) == "95.12 %"
    assert percent(None) == "-"
    assert [size(n) for n in (0, 999, 53_496, 11_600_000, 2.5e9)] == [
        "0 bytes",
        "999 bytes",
        "53.5 KB",
        "11.6 MB",
        "2.5 GB",
    ]
    assert [console.decimals(v) for v in (0, 0.25, 1e-7, 123456.0)] == ["0.0000", "0.2500", "1.00e-07", "1.23e+05"]


def test_columns_are_aligned():
    lines = aligned(("name", "n"), [("a", "1"), ("longer", "1,000")])
    assert lines == ["name        n", "a           1", "longer  1,000"]


# JSON


def test_json_is_one_valid_object_whatever_comes_in(capsys):
    value = {
        "nan": float("nan"), "inf": [float("inf"), 1.5], "array": np.array([[1.0, np.nan]], np.float32),
        "number": np.int64(7), "truth": np.bool_(True), "none": None, "path": np.float64(0.25), "text": "a\x1b\udcff\n",
    }  # fmt: skip
    print_json(value)
    printed = capsys.readouterr().out

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    read = json.loads(printed, parse_constant=refuse)
    assert printed.count("\n") == 1
    assert read["nan"] is None
    assert read["inf"] == [None, 1.5]
    assert read["array"] == [[1.0, None]]
    assert (read["number"], read["truth"], read["none"], read["path"]) == (7, True, None, 0.25)


# the live view


def test_in_a_pipe_there_are_plain_rows(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    watch(LiveView(data_name="mnist"))
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "\r" not in text
    parts = "mnist|60,000 + 10,000|784|19.1 % nonzero|784-16-16-10|13,002 parameters|sigmoid|fused sparse float32|"
    parts += "learning rate 0.5 to 0, batch size 32|compiling kernels, about 5 s, once"
    for part in parts.split("|"):
        assert part in text
    rows = text.splitlines()[-3:]
    assert rows[0].split() == ["epoch", "loss", "train", "test", "rate", "seconds", "samples/s"]
    assert rows[1].split() == ["1", "0.2500", "95.12", "%", "94.44", "%", "0.5000", "0.012", "4,878,049"]
    assert len({len(row) for row in rows}) == 1
    assert max(map(len, text.splitlines())) <= 80


def test_validation_has_its_columns_and_the_table_keeps_its_width(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with LiveView(data_name="mnist") as view:
        view.on_start(replace(plan(schedule="cosine"), n_validation=6_000))
        view.on_epoch(record(1, validation_loss=0.3125, validation_accuracy=0.9444))
        view.on_epoch(record(2, validation_loss=0.3125))
        view.on_end("epochs")
    text = stream.getvalue()
    assert "60,000 + 6,000 + 10,000 samples" in text
    assert "learning rate 0.5 (cosine), batch size 32" in text
    rows = text.splitlines()[-3:]
    assert rows[0].split() == ["epoch", "loss", "train", "val", "loss", "val", "test", "rate", "seconds"]
    assert rows[1].split() == ["1", "0.2500", "95.12", "%", "0.3125", "94.44", "%", "94.44", "%", "0.5000", "0.012"]
    assert rows[2].split()[5] == "-"
    assert len({len(row) for row in rows}) == 1
    assert max(map(len, text.splitlines())) <= 80


def test_every_epoch_has_its_row_even_when_epochs_are_quick(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    watch(LiveView(), n_epochs=500)
    assert [int(line.split()[0]) for line in stream.getvalue().splitlines()[-500:]] == list(range(1, 501))


def test_rows_that_wait_are_printed_when_training_is_cut_short(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    view = LiveView()

    def cut_short() -> None:
        with view:
            view.on_start(plan(epochs=9))
            view.on_epoch(record(1))
            view.on_epoch(record(2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_short()
    assert [line.split()[0] for line in stream.getvalue().splitlines()[-2:]] == ["1", "2"]


def test_accuracies_that_were_not_measured_are_dashes(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with LiveView() as view:
        view.on_start(plan(epochs=1, batch_size=None, schedule="constant"))
        view.on_epoch(record(train_accuracy=None, test_accuracy=None))
    assert stream.getvalue().splitlines()[-1].split()[2:4] == ["-", "-"]
    assert "learning rate 0.5, all samples" in stream.getvalue()


@pytest.mark.parametrize("setting", ["TERM", "NO_COLOR"])
def test_dumb_terminals_and_no_color_get_no_colours(monkeypatch, setting):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv(setting, "dumb" if setting == "TERM" else "1")
    watch(LiveView())
    assert "\x1b[" not in stream.getvalue()


def test_quiet_shows_nothing(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    watch(LiveView(quiet=True))
    assert stream.getvalue() == ""


@pytest.mark.parametrize("stream", [Gone(), None], ids=["closed pipe", "no stderr"])
def test_training_goes_on_when_nobody_can_read(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    watch(LiveView())


def test_hostile_names_reach_no_terminal(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    watch(LiveView(data_name="evil\x1b]0;title\x07"))
    assert "\x1b" not in stream.getvalue()


# tables and pictures


def test_a_table_in_a_pipe_is_plain(capsys):
    console.table(("file", "label"), [("a.png", "7")], left=(0,))
    assert capsys.readouterr().out == "file   label\na.png      7\n"


def test_a_table_on_a_terminal_keeps_markup_as_text(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("TERM", "xterm")
    console.table(("file",), [("[red]a[/red].png",)])
    assert "[red]a[/red].png" in stream.getvalue()


def test_two_pixels_are_one_character(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    image = np.array([[255, 0, 255, 0], [255, 255, 0, 0], [255, 0, 0, 255]], np.uint8)
    lines = draw_images(image[None], ["seven"], width=80)
    assert lines == ["█▄▀", "▀  ▀", "seven", ""]


def test_pictures_stand_side_by_side_as_far_as_they_fit(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    images = np.full((5, 20, 20), 255, np.uint8)
    lines = draw_images(images, list("01234"), width=80)
    assert max(map(len, lines)) <= 80
    assert lines[10].split() == ["0", "1", "2"]
    assert lines[22].split() == ["3", "4"]


def test_without_unicode_pictures_are_ascii(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    lines = draw_images(np.array([[[255, 0], [255, 0]]], np.uint8), ["1"], width=80)
    assert lines[0] == "@"


def test_a_black_picture_is_drawn_too(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert draw_images(np.zeros((1, 4, 4), np.uint8), ["none"], width=80)[-2] == "none"
