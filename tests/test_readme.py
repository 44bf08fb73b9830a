"""What README and docs/ say is true: their Python runs, their options, commands, links and pictures exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
BLOCKS = [
    (name, number, block)
    for name, text in TEXTS.items()
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL), start=1)
]


@pytest.mark.parametrize(("name", "number", "block"), BLOCKS, ids=[f"{name}-{number}" for name, number, _ in BLOCKS])
def test_python_runs(name: str, number: int, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = compile(block, f"{name}, block {number}", "exec")
    exec(code, {"__name__": "readme"})


def test_there_are_blocks() -> None:
    assert len(BLOCKS) >= 6
    assert len(PAGES) >= 5


def test_the_suite_passes(tmp_path: Path) -> None:
    """The quick start for a performance regression suite, as a file that pytest runs."""
    (block,) = [block for name, _, block in BLOCKS if name == "README.md" and "speed_ratio" in block]
    (tmp_path / "test_speed.py").write_text(block, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_speed.py"]
    done = subprocess.run([*command, "--speed-json", "speed.json"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "speed.json").exists()


def test_every_option_and_command_that_is_named_exists() -> None:
    from fastbp.cli import cli

    known = {name for command in cli.commands.values() for param in command.params for name in param.opts}
    text = re.sub(r"<!--.*?-->", "", "\n".join(TEXTS.values()))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert named - known <= {"--help", "--benchmark-enable", "--speed-json"}
    commands = set(re.findall(r"^    fastbp ([a-z]+)", text, re.MULTILINE))
    assert len(commands) > 8
    assert commands <= set(cli.commands)


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    text = TEXTS[page.name]
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src(?:set)?="([^"]+)"', text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings], target


def test_what_explain_is_shown_to_say_it_says() -> None:
    from click.testing import CliRunner

    from fastbp.cli import cli

    text = TEXTS["explain.md"]
    (block,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    assert block in CliRunner().invoke(cli, ["explain"]).stdout
    (command,) = re.findall(r"^    fastbp (explain --layers .*)$", text, re.MULTILINE)
    assert CliRunner().invoke(cli, command.split()).exit_code == 0
