"""Runs side by side: what is read from their folders, their order, and the tables of `fastbp compare`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fastbp.__main__ import _explain
from fastbp.cli import cli
from fastbp.config import Config
from fastbp.errors import FastbpError, UsageError
from fastbp.runs.comparing import differing_settings, in_order, read_runs, run_folders, setting_text
from fastbp.runs.folder import RunFolder
from fastbp.settings_file import settings_text


def record(epoch: int, loss: float | None, validation: float | None = None, **more: Any) -> dict[str, Any]:
    return {
        "epoch": epoch, "loss": loss, "train_accuracy": 0.75, "test_accuracy": 0.5 + epoch / 100, "learning_rate": 0.1,
        "seconds": 0.25, "samples_per_second": 4.0, "validation_loss": validation, "validation_accuracy": None, **more,
    }  # fmt: skip


def make_run(
    folder: Path, history: list[dict[str, Any]], summary: dict[str, Any] | None = None, **settings: Any
) -> Path:
    """A run folder; `summary` has what differs from a run that ended after all epochs, None: it has not ended."""
    run = RunFolder(folder)
    folder.mkdir(parents=True)
    run.config_file.write_text(settings_text({"data": "digits", **Config().as_dict(), **settings}))
    run.metrics_file.write_text("".join(json.dumps(each) + "\n" for each in history))
    if summary is not None:
        found = {
            "loss": 0.5, "train_accuracy": 0.9, "test_accuracy": 0.8, "test_loss": 0.6, "epochs": len(history),
            "train_seconds": 2.0, "stopped": "epochs", "validation_loss": None, "validation_accuracy": None,
        }  # fmt: skip
        run.summary_file.write_text(json.dumps(found | summary))
    return folder


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Runs a command in this process, on a terminal of 80 columns; returns its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def invoke(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        result = CliRunner().invoke(cli, [str(arg) for arg in args], standalone_mode=False)
        code = 0 if result.exception is None else _explain(result.exception)
        return code, result.stdout, result.stderr + capsys.readouterr().err

    return invoke


def cells_of(text: str) -> list[dict[str, str]]:
    """The rows of the first table of some text, by header."""
    lines = text.split("\n\n")[0].splitlines()
    headers = re.split(r"\s{2,}", lines[0].strip())
    return [dict(zip(headers, re.split(r"\s{2,}", line.strip()), strict=True)) for line in lines[1:]]


# --- what is read -----------------------------------------------------------------------------------------------------


def test_folders_of_runs_are_opened(tmp_path, monkeypatch):
    for name in ("b/run-10", "b/run-2", "a", "b/inner"):
        make_run(tmp_path / name, [])
    (tmp_path / "b" / "notes").mkdir()
    (tmp_path / "b" / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    found = [folder.path.as_posix() for folder in run_folders(["b", "a", "b/run-2", tmp_path / "a"])]
    assert found == ["b/inner", "b/run-2", "b/run-10", "a"]
    assert [run.name for run in read_runs([".", "b"])] == ["a", "inner", "run-2", "run-10"]
    monkeypatch.chdir(tmp_path / "a")
    assert [run.name for run in read_runs(["."])] == ["a"]


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path):
    paths = [make_run(tmp_path / name, []) for name in ("a/run", "b/run", "b/other")]
    assert [run.name for run in read_runs(paths)] == [str(paths[0]), str(paths[1]), "other"]


def test_a_run_that_has_ended_is_what_its_summary_says(tmp_path):
    history = [record(1, 0.9, 0.8), record(2, 0.7, 0.5), record(3, 0.4, 0.6)]
    more = {"validation_loss": 0.5, "validation_accuracy": 0.7, "stopped": "patience", "test_accuracy": 0.65}
    (run,) = read_runs([make_run(tmp_path / "a", history, more)])
    assert run.ended == "patience"
    assert run.measured == {
        "epochs": 3, "best_epoch": 2, "loss": 0.5, "validation_loss": 0.5, "validation_accuracy": 0.7,
        "train_accuracy": 0.9, "test_accuracy": 0.65, "test_loss": 0.6, "seconds": 2.0,
    }  # fmt: skip
    assert run.is_validated


def test_a_run_that_has_not_ended_is_measured_at_its_best_epoch(tmp_path):
    history = [record(1, 0.9, 0.8), record(2, 0.7, 0.5), record(3, 0.4, 0.6)]
    (run,) = read_runs([make_run(tmp_path / "a", history)])
    assert run.ended == "not finished"
    assert run.measured == {
        "epochs": 3, "best_epoch": 2, "loss": 0.7, "validation_loss": 0.5, "validation_accuracy": None,
        "train_accuracy": 0.75, "test_accuracy": 0.52, "test_loss": None, "seconds": 0.75,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("history", "best"),
    [
        ([], None),
        ([record(1, 0.9), record(2, 0.2), record(3, 0.3)], 2),
        ([record(1, 0.9), record(2, 0.2), record(3, 0.2)], 2),
        ([record(1, 0.1, 0.9), record(2, 0.5, 0.2)], 2),
        ([record(1, 0.1, None), record(2, 0.5, 0.2)], 2),
        ([record(1, 0.1), record(2, float("nan")), record(3, None)], 1),
        ([record(1, 0.5, float("nan")), record(2, 0.4, float("inf"))], 2),
        ([record(1, None)], None),
    ],
)
def test_the_best_epoch(tmp_path, history, best):
    assert read_runs([make_run(tmp_path / "a", history)])[0].best_epoch == best
    assert read_runs([make_run(tmp_path / "b", history, {})])[0].best_epoch == best
    assert read_runs([make_run(tmp_path / "c", history, {"best_epoch": 7})])[0].best_epoch == 7


@pytest.mark.parametrize(
    ("stopped", "words"),
    [("epochs", "finished"), ("interrupted", "interrupted"), ("time_limit", "time limit"), ("diverged", "diverged")],
)
def test_how_a_run_ended(tmp_path, stopped, words):
    folder = make_run(tmp_path / "a", [record(1, 0.5)], {"stopped": stopped})
    assert read_runs([folder])[0].ended == words
    writer = RunFolder(folder)
    locked = writer.claim(new=False)
    try:
        assert read_runs([folder])[0].ended == ("running" if locked else words)
    finally:
        writer.release()


def test_a_run_that_is_written_is_running(tmp_path):
    folder = make_run(tmp_path / "a", [])
    claim = f"from fastbp.runs.folder import RunFolder; RunFolder({str(folder)!r}).claim(new=False)"
    code = f"{claim}; print('in', flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdin is not None
    assert other.stdout is not None
    try:
        assert other.stdout.readline().strip() == b"in"
        assert read_runs([folder])[0].ended == "running"
    finally:
        other.kill()
        other.wait()
        other.stdin.close()
        other.stdout.close()
    assert read_runs([folder])[0].ended == "not finished"


def test_only_what_differs_differs(tmp_path):
    runs = read_runs(
        [
            make_run(tmp_path / "a", [], seed=1, layers="8", learning_rate=0.5),
            make_run(tmp_path / "b", [], seed=2, layers="8", data="mnist", batch_size=None, learning_rate=0.5),
        ]
    )
    assert differing_settings(runs) == ("data", "batch_size", "seed")
    assert differing_settings(runs[:1]) == ()


def test_what_a_settings_file_leaves_out_has_its_default(tmp_path):
    full = make_run(tmp_path / "a", [])
    brief = make_run(tmp_path / "b", [])
    RunFolder(brief).config_file.write_text("data = 'digits'\nseed = 1\n")
    assert differing_settings(read_runs([full, brief])) == ("seed",)


def test_arrays_have_their_name(tmp_path):
    named, nameless = make_run(tmp_path / "a", [], {"data": "arrays"}), make_run(tmp_path / "b", [])
    for folder in (named, nameless):
        RunFolder(folder).config_file.write_text("")
    assert [run.settings["data"] for run in read_runs([named, nameless])] == ["arrays", None]


def test_settings_as_people_write_them():
    values = {"shuffle": True, "learning_rate": 1e-4, "layers": "16-16", "epochs": 20}
    assert [setting_text(*item) for item in values.items()] == ["yes", "0.0001", "16-16", "20"]


# --- the order --------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """By validation loss c, a, b; by training loss b, a, c; by test accuracy a, b, c."""
    for name, loss, validation, test, seed in (
        ("a", 0.2, 0.5, 0.9, 1),
        ("b", 0.1, 0.6, 0.8, 10),
        ("c", 0.3, 0.4, 0.7, 2),
    ):
        more = {
            "loss": loss,
            "validation_loss": validation,
            "validation_accuracy": 1 - validation,
            "test_accuracy": test,
        }
        make_run(tmp_path / "three" / name, [record(1, loss, validation)], more, seed=seed, validation=0.1)
    return tmp_path / "three"


def order(folder: Path, by: str | None = None) -> str:
    return "".join(run.name for run in in_order(read_runs([folder]), by)[0])


def test_runs_are_in_the_order_of_their_validation_cost(three):
    assert order(three) == "cab"
    assert in_order(read_runs([three]))[1] == "validation_loss"


def test_one_run_without_validation_and_the_training_cost_decides(three):
    summary = json.loads((three / "c" / "summary.json").read_text()) | {"validation_loss": None}
    (three / "c" / "summary.json").write_text(json.dumps(summary))
    assert order(three) == "bac"
    assert in_order(read_runs([three]))[1] == "loss"


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("test_accuracy", "abc"), ("test-accuracy", "abc"), ("validation accuracy", "cab"), ("loss", "bac"),
        ("seed", "acb"), ("run", "abc"), ("seconds", "abc"), ("data", "abc"),
    ],
)  # fmt: skip
def test_any_column_sorts(three, by, names):
    assert order(three, by) == names


def test_runs_without_a_value_come_last(three, tmp_path):
    make_run(three / "0", [])
    make_run(three / "1", [record(1, None)], {"loss": None, "test_accuracy": None})
    assert order(three) == "bac01"
    assert order(three, "test_accuracy") == "abc01"


def test_no_such_column(three):
    with pytest.raises(
        UsageError, match=r"no column speed to sort by; columns are run, ended, .* settings such as seed"
    ):
        order(three, "speed")


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_table(run, three):
    code, out, err = run("compare", three)
    assert (code, err) == (0, "")
    assert cells_of(out) == [
        {"run": "c", "ended": "finished", "epoch": "1 of 1", "loss": "0.3000", "val. loss": "0.4000", "val. %": "60.00",
         "test %": "70.00", "seconds": "2", "seed": "2"},
        {"run": "a", "ended": "finished", "epoch": "1 of 1", "loss": "0.2000", "val. loss": "0.5000", "val. %": "50.00",
         "test %": "90.00", "seconds": "2", "seed": "1"},
        {"run": "b", "ended": "finished", "epoch": "1 of 1", "loss": "0.1000", "val. loss": "0.6000", "val. %": "40.00",
         "test %": "80.00", "seconds": "2", "seed": "10"},
    ]  # fmt: skip
    _, out, _ = run("compare", three, "--sort", "test_accuracy")
    assert [row["run"] for row in cells_of(out)] == ["a", "b", "c"]


@pytest.mark.parametrize("columns", [56, 80, 120, 300])
@pytest.mark.parametrize("terminal", [False, True])
def test_tables_fit_the_terminal(run, three, monkeypatch, columns, terminal):
    make_run(
        three / "a-run-with-a-name-that-is-longer-than-others", [record(1, 0.5, 0.5)], {"validation_loss": 0.45},
        optimizer="adam", layers="128-64-32", schedule="one_cycle", learning_rate=1e-3, normalize="standard",
        data="some/folder/with/a/table/of/numbers.csv", label="price",
    )  # fmt: skip
    monkeypatch.setenv("COLUMNS", str(columns))
    if terminal:
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setattr("fastbp.console.fancy", lambda stream: True)
    code, out, _ = run("compare", three)
    assert code == 0
    widest = max(map(len, out.splitlines()))
    assert widest <= columns
    assert re.findall(r"(?m)^ ?run ", out), "each table begins with the names"
    for words in ("one_cycle", "128-64-32", "0.4500", "optimizer", "longer-than-others"):
        assert words in out
    if columns == 300:
        assert len(re.findall(r"(?m)^ ?run ", out)) == 1


def test_json_has_everything(run, three):
    code, out, _ = run("compare", three, "--json", "--quiet")
    found = json.loads(out)
    assert code == 0
    assert (found["differ"], found["sorted_by"]) == (["seed"], "validation_loss")
    assert [row["run"] for row in found["runs"]] == ["c", "a", "b"]
    first = found["runs"][0]
    assert (first["path"], first["ended"], first["best_epoch"]) == (str(three / "c"), "finished", 1)
    assert (first["validation_loss"], first["test_accuracy"], first["seconds"]) == (0.4, 0.7, 2.0)
    assert set(Config().as_dict()) <= set(first["settings"])
    assert first["settings"]["seed"] == 2


def test_target_values_beside_classes(run, tmp_path):
    make_run(tmp_path / "runs" / "classes", [record(1, 0.5)], {})
    none = {"train_accuracy": None, "test_accuracy": None}
    make_run(tmp_path / "runs" / "values", [record(1, 0.1) | none], none | {"loss": 0.1}, cost="squared_error")
    make_run(tmp_path / "runs" / "begun", [])
    _, out, _ = run("compare", "runs")
    rows = {row["run"]: row for row in cells_of(out)}
    assert list(rows) == ["values", "classes", "begun"]
    assert (rows["values"]["test %"], rows["classes"]["test %"]) == ("-", "80.00")
    assert (rows["begun"]["epoch"], rows["begun"]["loss"], rows["begun"]["ended"]) == ("- of 0", "-", "not finished")
    assert "val. loss" not in out


def test_one_run_has_a_table_too(run, three):
    code, out, _ = run("compare", three / "a")
    assert (code, len(cells_of(out))) == (0, 1)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "RUN"),
        (["nowhere"], "nowhere holds no run (there is no such folder)"),
        (["three", "--sort", "x"], "no column x"),
        (["."], ". holds no run"),
    ],
)
def test_what_is_refused(run, three, args, words):
    if args == ["."]:
        (three / "a" / "empty").mkdir()
        args = ["three/a/empty"]
        words = "holds no run, and neither do the folders in it"
    code, out, err = run("compare", *args)
    assert (code, out) == (2, "")
    assert words in err


def test_damaged_files_are_named(run, three):
    (three / "b" / "summary.json").write_text("{")
    code, _, err = run("compare", three)
    assert code == 1
    assert "summary.json is no JSON object" in err
    with pytest.raises(FastbpError, match=r"summary\.json"):
        read_runs([three])


def test_a_process_of_its_own(three):
    code = "import sys; from fastbp.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "compare", str(three)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert [row["run"] for row in cells_of(done.stdout)] == ["c", "a", "b"]
    assert subprocess.run([*command, "--sort", "x"], capture_output=True).returncode == 2
