"""The script that compares two commits: its judgement on times that are given, and what it refuses."""

from __future__ import annotations

import runpy
import subprocess
import sys
from argparse import ArgumentTypeError
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_against.py"


@pytest.fixture(scope="module")
def script():
    return SimpleNamespace(**runpy.run_path(str(SCRIPT)))


def side(script, name, times, skipped=()):
    """All entries took the same times."""
    entries = [*script.EPOCHS, script.START_UP]
    return SimpleNamespace(
        name=name,
        times={entry: times for entry in entries if entry not in dict(skipped)},
        skipped=dict(skipped),
    )


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ([1.0, 1.01, 1.02, 1.03], [1.0, 1.01, 1.02, 1.03], "same"),
        ([1.0, 1.01, 1.02, 1.03], [1.05, 1.05, 1.2, 1.2], "same"),  # 5 % is not above 5 %
        ([1.0, 1.01, 1.02, 1.03], [1.06, 1.07, 1.2, 1.2], "slower"),
        ([1.0, 1.1, 1.2, 1.3], [1.06, 1.07, 1.2, 1.2], "too noisy to tell"),  # BASE differs from itself by 10 %
        ([1.0, 1.0, 1.0, 1.0], [1.06, 1.2, 1.3, 1.4], "too noisy to tell"),  # the other side does
        ([1.0, 1.1, 1.2, 1.3], [1.2, 1.2, 1.3, 1.3], "slower"),  # by more than that
        ([1.0, 1.0, 1.0, 1.0], [0.9, 0.9, 0.9, 0.9], "faster"),
        ([1.0, 1.0, 1.0, 1.0], [0.96, 0.96, 0.96, 0.96], "same"),
        ([1.0, 1.2, 1.2, 1.2], [0.9, 0.9, 0.9, 0.9], "same"),
    ],
)
def test_the_judgement(script, before, after, verdict):
    results = script.compare(side(script, "base", before), side(script, "head", after), 0.05)
    assert {each["verdict"] for each in results} == {verdict}
    assert results[0]["ratio"] == pytest.approx(min(after) / min(before))


def test_what_a_commit_cannot_do_is_skipped_with_the_reason(script, capsys):
    old = side(script, "base", [1.0] * 4, [("784-16-16-10, dense", "TypeError: no such layout")])
    results = script.compare(old, side(script, "head", [2.0] * 4), 0.05)
    verdicts = {each["entry"]: each["verdict"] for each in results}
    assert verdicts.pop("784-16-16-10, dense") == "skipped"
    assert set(verdicts.values()) == {"slower"}
    script.show(results, 0.05)
    shown = capsys.readouterr().out
    assert "784-16-16-10, dense          skipped (base: TypeError: no such layout)" in shown
    assert shown.splitlines()[-1].startswith("slower by more than 5 % and the noise: 784-16-16-10, auto;")


def test_limits_and_rounds(script):
    assert (script.share("5%"), script.share("0.1"), script.even("4")) == (0.05, 0.1, 4)
    for convert, text in ((script.share, "five"), (script.share, "-1%"), (script.share, "nan"), (script.even, "3")):
        with pytest.raises(ArgumentTypeError):
            convert(text)


def test_a_commit_that_does_not_exist_is_refused():
    run = subprocess.run([sys.executable, str(SCRIPT), "no-such-commit"], capture_output=True, text=True)
    assert run.returncode == 2
    assert "'no-such-commit' is no commit of this repository" in run.stderr
