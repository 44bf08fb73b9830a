"""README's Python runs, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_python_runs(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = compile(BLOCKS[number], f"README.md, block {number + 1}", "exec")
    exec(code, {"__name__": "readme"})


def test_there_are_blocks() -> None:
    assert len(BLOCKS) >= 2


def test_every_option_that_is_named_exists() -> None:
    from fastbp.cli import cli

    known = {name for command in ("train", "explain") for param in cli.commands[command].params for name in param.opts}
    text = re.sub(r"<!--.*?-->", "", README.read_text(encoding="utf-8"))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert named - known <= {"--help", "--benchmark-enable", "--speed-json"}


def test_what_explain_is_shown_to_say_it_says() -> None:
    from click.testing import CliRunner

    from fastbp.cli import cli

    text = README.read_text(encoding="utf-8")
    (block,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    assert block in CliRunner().invoke(cli, ["explain"]).stdout
    (command,) = re.findall(r"^    fastbp (explain --layers .*)$", text, re.MULTILINE)
    assert CliRunner().invoke(cli, command.split()).exit_code == 0
