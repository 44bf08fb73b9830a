"""Settings from a file and from the environment: what goes before what, and what is refused."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from fastbp import Config, UsageError
from fastbp.cli import cli
from fastbp.settings_file import OTHERS, read_settings, settings_text


def shown(*arguments: str, env: dict[str, str] | None = None) -> dict[str, object]:
    """What `fastbp train --show-config` prints, read by another reader of TOML."""
    result = CliRunner().invoke(cli, ["train", "--show-config", *arguments], env=env)
    assert result.exit_code == 0, result.output
    return tomllib.loads(result.output)


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_settings(path)
    return str(caught.value)


def test_defaults_are_shown() -> None:
    found = shown()
    for field in dataclasses.fields(Config):
        if field.name == "batch_size" or field.default is not None:
            assert found[field.name] == field.default
        else:
            assert field.name not in found
    assert found["data"] == "digits"


def test_options_go_before_variables_and_those_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('epochs = 2\nlayers = "8"\nseed = 5\nbatch_size = "full"\nshuffle = false\ndata = "some.npz"\n')
    given = ["--config", str(file), "--epochs", "4"]
    found = shown(*given, env={"FASTBP_EPOCHS": "3", "FASTBP_SEED": "6"})
    assert (found["epochs"], found["seed"], found["layers"]) == (4, 6, "8")
    assert (found["batch_size"], found["shuffle"], found["data"]) == ("full", False, "some.npz")
    assert shown(env={"FASTBP_SHUFFLE": "no", "FASTBP_OPTIMIZER": "adam"})["shuffle"] is False


def test_what_is_shown_is_a_file_of_settings(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    odd = [
        "--optimizer",
        "adamw",
        "--dropout",
        "0.25",
        "--learning-rate",
        "1e-3",
        "--label",
        'a "b" \\ c',
        "--batch-size",
    ]
    odd += ["full", "--threads", "2"]
    file.write_text(CliRunner().invoke(cli, ["train", "--show-config", *odd]).output)
    assert shown("--config", str(file)) == shown(*odd)
    assert Config(**{n: v for n, v in read_settings(file).items() if n not in OTHERS}).batch_size is None


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        'learning_rte = 3\nepochs = 2\ndropout = 2.0\nthreads = "two"\nofline = true\nzzz = 1\nseed = 1.5\n'
    )
    assert refused(file) == (
        f"{file}: there is no setting learning_rte; did you mean learning_rate?; "
        "dropout must be numbers from 0 to below 1, one or a comma-separated list, got 2.0; "
        "threads must be a whole number, got 'two'; there is no setting ofline; did you mean offline?; "
        "there is no setting zzz; seed must be a whole number, got 1.5"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"epochs = ", "is not a TOML file"), (b"\xff", "it is not UTF-8"), (None, "No such file or directory")],
)
def test_files_that_are_none(content: bytes | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    if content is not None:
        file.write_bytes(content)
    assert message in refused(file)


def test_a_file_is_refused_with_exit_code_2(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("epochs = -1\n")
    command = [sys.executable, "-m", "fastbp", "train", "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"Error: {file}: epochs must be at least 0, got -1\n"
    assert done.stdout == ""


def test_settings_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("momentum = 0.5\n")
    result = CliRunner().invoke(cli, ["train", "--config", str(file)], standalone_mode=False)
    assert "momentum is for optimizer momentum and nesterov" in str(result.exception)


def test_texts_survive() -> None:
    text = settings_text({"data": 'a\\b\n"c" \u00e9', "epochs": 3, "warm_up": 0.25, "offline": True, "label": None})
    assert tomllib.loads(text) == {"data": 'a\\b\n"c" \u00e9', "epochs": 3, "warm_up": 0.25, "offline": True}


def test_every_other_option_is_one_of_the_command() -> None:
    names = {param.name for param in cli.commands["train"].params}
    assert set(OTHERS) <= names
    assert not set(OTHERS) & set(Config.__dataclass_fields__)


@pytest.mark.parametrize("text", ["", 'a"b\\', "\N{GRINNING FACE}", "\x00\x1f\x7f\x80\u2028", "\\U0001f600", "\ue000"])
def test_every_text_is_read_back(tmp_path, text):
    """TOML knows no pairs of surrogates, as JSON writes them, and no DEL."""
    (tmp_path / "c.toml").write_text(settings_text({"data": text}))
    assert read_settings(tmp_path / "c.toml") == {"data": text}


def test_a_text_that_is_no_unicode_is_refused():
    with pytest.raises(UsageError, match=r"'d\\udcff' is not UTF-8"):
        settings_text({"data": "d\udcff"})
