"""Exit codes of the real command, in processes of their own: those of run folders, and the table as a whole.

tests/test_cli.py has others: of train without a run folder, and of the other commands.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastbp.model_file import decode, encode
from fastbp.runs.folder import NAMES, RunFolder

ROOT = Path(__file__).resolve().parent.parent
CONFIG, METRICS, MODEL, CHECKPOINT, SUMMARY, _ = NAMES
NEW = ("--data", "d.npz", "--engine", "reference", "--epochs", 2)

Done = tuple[int, str, str]  # exit code, stdout, stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("codes")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 4))
    y = (x @ rng.normal(size=(4, 3))).argmax(axis=1)
    np.savez(folder / "d.npz", x_train=x, y_train=y)
    np.savez(folder / "other.npz", x_train=x + 1, y_train=y)
    return folder


@pytest.fixture(scope="module")
def call(place) -> Callable[..., Done]:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("FASTBP_")}
    environment |= {"PYTHONPATH": str(ROOT), "FASTBP_CACHE_DIR": os.environ["FASTBP_CACHE_DIR"]}

    def run(*words: object, env: dict[str, str] | None = None, **settings: Any) -> Done:
        command = [sys.executable, "-m", "fastbp", "train", "--quiet", *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": place}
        done = subprocess.run(command, env={**environment, **(env or {})}, timeout=60, **{**pipes, **settings})
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture(scope="module")
def made(place, call) -> Path:
    """A run that ended."""
    assert call(*NEW, "--out", "made")[0] == 0
    return place / "made"


@pytest.fixture
def run(made, place) -> Path:
    """A run that a test may spoil; it is called `run`, and commands find it by that name."""
    shutil.rmtree(place / "run", ignore_errors=True)
    shutil.copytree(made, place / "run")
    return place / "run"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def refused(done: Done, code: int, words: str) -> None:
    """One sentence on stderr, and nothing else."""
    assert (done[0], done[1]) == (code, "")
    assert re.fullmatch(r"Error: .*\n", done[2]), done[2]
    assert words in done[2]


# 0


def test_0_a_run_that_goes_on_and_one_that_ended(call, run):
    before = contents(run)
    assert call("--resume", "run") == (0, *call("--resume", "run")[1:])
    assert contents(run)[MODEL] == before[MODEL]
    code, out, err = call("--resume", "run", "--epochs", 5, "--json", "--threads", 2)
    assert (code, err) == (0, "")
    assert json.loads(out)["epochs"] == 5
    assert json.loads(out)["run"] == "run"


def test_0_from_another_folder(call, run, place, tmp_path):
    """config.toml names the data so that it is found from everywhere; the folder may have been moved, and linked."""
    run.rename(place / "moved run")
    try:
        (tmp_path / "link").symlink_to(place / "moved run")
        assert call("--resume", "link", cwd=tmp_path)[0] == 0
        assert sorted(path.name for path in tmp_path.iterdir()) == ["link"]
        assert call("--resume", ".", cwd=place / "moved run")[0] == 0
    finally:
        shutil.rmtree(place / "moved run")


@pytest.mark.parametrize("name", ["a run", "run\x1b[31m\n", "\N{SNOWMAN}\N{GRINNING FACE}"])
def test_0_and_2_with_names_of_any_kind(call, place, name):
    """Data and folder; where such a name is told, no control character reaches the terminal."""
    shutil.copy(place / "d.npz", place / f"{name}.npz")
    words = ("--data", f"{name}.npz", *NEW[2:], "--out", name)
    assert call(*words)[0] == 0
    assert call("--resume", name)[0] == 0
    code, _, said = call(*words)
    assert code == 2
    assert said.strip().isprintable()
    code, _, said = call("--resume", f"no {name}")
    assert code == 2
    assert said.strip().isprintable()


def test_0_what_says_nothing_of_where_a_run_is_may_be_damaged(call, run):
    (run / METRICS).unlink()
    (run / SUMMARY).write_text("{")
    (run / ".lock").unlink()
    assert call("--resume", "run", "--epochs", 4)[0] == 0
    assert len(RunFolder(run).history()) == 4
    assert json.loads((run / SUMMARY).read_text())["epochs"] == 4
    (run / METRICS).write_bytes((run / METRICS).read_bytes()[:-30])
    (run / METRICS).chmod(0o400)
    assert call("--resume", "run", "--epochs", 5)[0] == 0
    assert len(RunFolder(run).history()) == 5


def test_0_settings_are_shown_and_no_folder_is_made(call, place):
    code, out, _ = call(*NEW, "--out", "shown", "--show-config")
    assert code == 0
    assert 'out = "shown"' in out
    assert not (place / "shown").exists()


def test_0_force_removes_nothing_but_the_run(call, run):
    others = ("notes.txt", "model.onnx", ".config.toml", "config.toml.bak", "checkpoint.safetensors.1", ".x.tmp")
    for name in others:
        (run / name).write_text(name)
    (run / "pictures").mkdir()
    before = contents(run)
    assert call(*NEW, "--seed", 3, "--out", "run", "--force")[0] == 0
    after = contents(run)
    assert [after[name] for name in others] == [before[name] for name in others]
    assert (run / "pictures").is_dir()
    assert {name for name in NAMES if name in after} == set(NAMES[:5])
    assert after[MODEL] != before[MODEL]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows closes pipes in its own way")
def test_0_and_1_where_nobody_reads(call, place):
    """A closed stderr is no error; a closed stdout is one, after the run has ended and is kept."""
    for stream, code in (("stdout", 1), ("stderr", 0)):
        reader, writer = os.pipe()
        os.close(reader)
        try:
            done = call(*NEW, "--out", f"no {stream}", **{stream: writer})
        finally:
            os.close(writer)
        assert done[0] == code
        assert done[2] in ("", None)
        assert contents(place / f"no {stream}").keys() == {".lock", *NAMES[:5]}
    for number in (1, 2):
        done = call(*NEW, "--out", f"closed {number}", preexec_fn=lambda number=number: os.close(number))
        assert done[0] == 0
        assert len(RunFolder(place / f"closed {number}").history()) == 2


# 1


def test_1_a_folder_in_use(call, run):
    owner = RunFolder(run)
    owner.claim(new=False)
    before = contents(run)
    try:
        for words in (("--resume", "run"), (*NEW, "--out", "run", "--force")):
            refused(call(*words), 1, "run is in use by another run; wait for it, or choose another folder\n")
    finally:
        owner.release()
    assert contents(run) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_1_a_disk_error(call, run, place):
    """tests/test_disk_errors.py has hundreds of others."""
    refused(call(*NEW, "--out", Path("d.npz") / "run"), 1, "Not a directory")
    (run / SUMMARY).unlink()
    (run / SUMMARY).mkdir()
    refused(call("--resume", "run"), 1, "cannot change the run in run: ")
    with open("/dev/full", "w") as full:
        code, _, said = call(*NEW, "--out", "full", stdout=full)
    assert (code, said) == (1, "Error: No space left on device\n")
    assert (place / "full" / SUMMARY).is_file()


# 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--out", "made"), "made already holds a run; choose another folder, go on with --resume made, or replace it"),
        (("--out", "d.npz"), "d.npz is not a folder"),
        (("--out", ""), "--out needs the name of a folder"),
        (("--resume", ""), "--resume needs the name of a folder"),
        (("--resume", "nowhere"), "nowhere holds no run (there is no such folder)"),
        (("--resume", "."), ". holds no run (has no config.toml)"),
        (("--force",), "--force lets --out replace another run"),
        (("--out", "x", "--seeds", "0-3"), "--out x and --seeds do not go together"),
        (("--out", "x", "--save", "m"), "--out x and --save do not go together"),
        (("--out", "x", "--no-save"), "--out x and --no-save do not go together"),
        (("--out", "x", "--log", "l.csv"), "--out x and --log do not go together"),
        (("--out", "x", "--checkpoint", "c"), "--out x and --checkpoint do not go together"),
        (("--out", "x", "--patience", 3), "there are no validation samples"),
        (("--resume", "made", "--out", "x"), "--resume made and --out do not go together"),
        (("--resume", "made", "--force"), "--resume made and --force do not go together"),
        (("--resume", "made", "--save", "m"), "--resume made and --save do not go together"),
        (("--resume", "made", "--init-from", "made/model.safetensors"), "--init-from do not go together"),
        (("--resume", "made", "--config", "made/config.toml"), "brings its own settings; leave out --config"),
        (("--resume", "made", "--seed", 3), "--seed is 3, and the run in made was begun with 0"),
        (("--resume", "made", "--layers", "9"), "--layers is 9, and the run in made was begun with 16-16"),
        (("--resume", "made", "--epochs", 0), "2 epochs are done in made, got epochs 0"),
        (("--resume", "made", "--data", "other.npz"), "other.npz is not the data that made was begun with (d.npz)"),
    ],
)
def test_2_what_is_refused_changes_nothing(call, made, place, words, said):
    before, names = contents(made), sorted(path.name for path in place.iterdir())
    refused(call(*words), 2, said)
    assert contents(made) == before
    assert sorted(path.name for path in place.iterdir()) == names


def test_2_a_setting_of_the_environment_that_differs(call, run):
    before = contents(run)
    said = "FASTBP_SEED is 7, and the run in run was begun with 0"
    refused(call("--resume", "run", env={"FASTBP_SEED": "7"}), 2, said)
    assert contents(run) == before
    assert call("--resume", "run", env={"FASTBP_SEED": "0", "FASTBP_EPOCHS": "3"})[0] == 0
    assert len(RunFolder(run).history()) == 3


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (b"", "and the run was begun with"),
        (b"layers = [", "config.toml is not a TOML file"),
        (b"layers = 3\n", "layers must be a text, got 3"),
        (b"\xff\xfe\x00\x81", "config.toml: it is not UTF-8"),
        (b"colour = 3\n", "there is no setting colour"),
    ],
)
def test_2_settings_that_were_edited(call, run, config, said):
    (run / CONFIG).write_bytes(config)
    before = contents(run)
    refused(call("--resume", "run"), 2, said)
    assert contents(run) == before


def test_2_data_that_changed(call, run, place):
    (run / CONFIG).write_text((run / CONFIG).read_text().replace("d.npz", "changing.npz"))
    shutil.copy(place / "d.npz", place / "changing.npz")
    assert call("--resume", "run")[0] == 0
    shutil.copy(place / "other.npz", place / "changing.npz")
    refused(call("--resume", "run"), 2, "changing.npz is not the data that run was begun with")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are Unicode")
def test_2_a_name_that_no_toml_file_can_hold(call, place):
    """Said before another run is removed for it."""
    name = os.fsdecode(b"d\xff.npz")
    shutil.copy(place / "d.npz", place / name)
    assert call(*NEW, "--out", "bytes")[0] == 0
    before = contents(place / "bytes")
    said = call("--data", name, *NEW[2:], "--out", "bytes", "--force")
    refused(said, 2, "is not UTF-8")
    assert contents(place / "bytes") == before


# 3, 4, 5, 6


def test_3_data_that_is_gone(call, run, place):
    refused(call("--resume", "run", "--data", "gone.npz"), 3, "there is no file or folder")
    (place / "bad.npz").write_bytes(b"PK\x03\x04 no zip")
    refused(call("--data", "bad.npz", "--out", "x"), 3, "bad.npz")
    assert not (place / "x").exists()


def test_4_a_damaged_checkpoint(call, run):
    whole = (run / CHECKPOINT).read_bytes()
    damaged = [b"", whole[:100], whole[:-1], whole[:900] + bytes([whole[900] ^ 1]) + whole[901:]]
    description, tensors = decode(whole, CHECKPOINT)
    damaged.append(encode({**description, "format": 2}, tensors))  # of a newer fastbp
    damaged.append((run / MODEL).read_bytes())
    for data in damaged:
        (run / CHECKPOINT).write_bytes(data)
        before = contents(run)
        refused(call("--resume", "run"), 4, CHECKPOINT)
        assert contents(run) == before


def test_4_the_model_that_a_run_began_from(call, run, place):
    start = run / MODEL
    assert call(*NEW, "--init-from", start, "--out", "begun")[0] == 0
    (place / "begun" / "start.safetensors").unlink()
    refused(call("--resume", "begun"), 4, "start.safetensors")


def test_5_a_run_that_diverges(call, place):
    """Also when it is resumed; the best model is kept."""
    words = ("--data", "d.npz", "--activation", "relu", "--learning-rate", 1e30, "--out", "far")
    refused(call(*words), 5, "the best model so far is far/model.safetensors")
    assert RunFolder(place / "far").model().network.sizes[0] == 4
    refused(call("--resume", "far"), 5, "training diverged")


def test_6_a_download_that_fails(call, place, tmp_path):
    nowhere = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    environment = {"FASTBP_CACHE_DIR": str(tmp_path), **nowhere}
    refused(call("--data", "mnist", "--out", "x", env=environment), 6, "mnist could not be downloaded")
    assert not (place / "x").exists()


# 130, 143: with a checkpoint in tests/test_crashes.py


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_130_and_143_before_training_nothing_is_changed(place, number, code):
    """While data is loaded."""
    program = "import os, signal, fastbp.data.loading\nfrom fastbp.__main__ import main\nimport sys\n"
    program += (
        f"fastbp.data.load_dataset = lambda *_, **__: os.kill(os.getpid(), {int(number)}) or list(range(10**6))\n"
    )
    command = [sys.executable, "-c", program + "sys.exit(main())", "train", "--quiet", "--out", "signalled"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, env=environment, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (code, "Error: interrupted; nothing was changed")
    assert not (place / "signalled").exists()
