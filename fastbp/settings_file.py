"""Settings of `fastbp train` in a TOML file: read and checked as a whole, or written.

    layers = "32-16"
    learning_rate = 0.5

A path comes in, names and values go out, or the other way round. All that is wrong with a file is said at once; a name
that is not known is told which one is meant. The names are those of `Config`, and those of the options beside them.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .config import Config, checked_setting
from .errors import UsageError
from .files import reason

__all__ = ["OTHERS", "read_settings", "settings_text"]

# What else a file may say: options of `fastbp train` that are not settings of `Config`, and what they are.
OTHERS: dict[str, type] = {
    "data": str,
    "label": str,
    "test_fraction": float,
    "data_dir": str,
    "offline": bool,
    "init_from": str,
    "seeds": str,
    "threads": int,
    "out": str,
    "save": str,
    "log": str,
    "checkpoint": str,
}
_WORDS = {str: "a text", float: "a number", int: "a whole number", bool: "true or false"}


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings in a file, by name.

    Raises
    ------
    UsageError
        a file that cannot be read or is not TOML; or every wrong name and value at once
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = reason(error) if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"cannot read the settings in {path}: {why}") from error
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not a TOML file: {error}") from error
    problems = [problem for name, value in found.items() if (problem := _problem(name, value))]
    if problems:
        raise UsageError(f"{path}: " + "; ".join(problems))
    return {name: None if (name, value) == ("batch_size", "full") else value for name, value in found.items()}


def settings_text(settings: Mapping[str, Any]) -> str:
    """A TOML file with these settings, in this order; those that are None are left out, as that is their default.

    Examples
    --------
    >>> print(settings_text({"layers": "16-16", "learning_rate": None, "batch_size": None, "shuffle": True}), end="")
    layers = "16-16"
    batch_size = "full"
    shuffle = true
    """
    values = {name: "full" if (name, value) == ("batch_size", None) else value for name, value in settings.items()}
    return "".join(f"{name} = {_toml(value)}\n" for name, value in values.items() if value is not None)


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return _toml_text(value)
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _toml_text(text: str) -> str:
    """As in JSON, except that TOML knows no pairs of surrogates, and no DEL."""
    if any("\ud800" <= each <= "\udfff" for each in text):
        raise UsageError(f"{text!a} is not UTF-8, and TOML has no other texts; rename it")
    return '"' + "".join(json.dumps(each)[1:-1] if each < "\x7f" else f"\\U{ord(each):08x}" for each in text) + '"'


def _problem(name: str, value: Any) -> str | None:
    """What is wrong with one line of a file; None: nothing."""
    if name in OTHERS:
        kind = OTHERS[name]
        fits = isinstance(value, (int, float) if kind is float else kind)
        if not fits or (kind is not bool and isinstance(value, bool)):
            return f"{name} must be {_WORDS[kind]}, got {value!r}"
        return None
    if name not in Config.__dataclass_fields__:
        near = difflib.get_close_matches(name, [*Config.__dataclass_fields__, *OTHERS], n=1, cutoff=0.5)
        return f"there is no setting {name}" + (f"; did you mean {near[0]}?" if near else "")
    if (name, value) == ("batch_size", "full"):
        return None
    try:
        checked_setting(name, value)
    except UsageError as error:
        return str(error)
    return None
