"""Run folders on the command line: `fastbp train --out RUN`, and `--resume RUN`.

Options come in; what cannot go together is refused before any work is done, and what ended a run is told with the
command that goes on.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import interrupts
from ..config import Config
from ..errors import DivergedError, FastbpError, UsageError
from ..options import complete_path, option, option_name

if TYPE_CHECKING:
    from ..runs.folder import RunFolder

__all__ = ["as_run_origin", "checked_folder", "folder_options", "in_folder"]

KEPT_THERE = ("save", "no_save", "log", "checkpoint")  # what a run folder holds anyway
OF_DATA = ("data", "label", "test_fraction", "data_dir", "offline", "threads")


def folder_options(command: Any) -> Any:
    """Give a command --out, --resume and --force. The settings of a run that goes on become the defaults."""

    def read(ctx: click.Context, _: click.Parameter, path: str | None) -> str | None:
        if path is not None:
            from ..runs.folder import RunFolder

            _refuse_no_name("--resume", path)
            ctx.default_map = {**(ctx.default_map or {}), **RunFolder(path).settings()}
        return path

    options = (
        option(
            "--out",
            metavar="RUN",
            section="Output",
            help="keep the run in a folder: settings, a line per epoch, the best model, checkpoints, a summary",
            shell_complete=complete_path,
        ),
        option(
            "--resume",
            metavar="RUN",
            section="Output",
            is_eager=True,
            callback=read,
            help="go on with the run in a folder, to the bits of one never interrupted; --epochs N may extend it",
            shell_complete=complete_path,
        ),
        option("--force", is_flag=True, section="Output", help="let --out replace another run"),
    )
    for decorate in reversed(options):
        command = decorate(command)
    return command


def checked_folder(ctx: click.Context, options: dict[str, Any]) -> RunFolder | None:
    """The folder of --out or --resume; refuses what does not go with them, and a folder that could not be used."""
    given = {name for name in options if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT}
    path = options["resume"] or options["out"]
    if path is not None:
        _refuse_no_name("--out", path)
    else:
        if options["force"]:
            raise UsageError("--force lets --out replace another run; give --out RUN, or leave it out")
        return None
    name = "--resume" if options["resume"] else "--out"
    for other in ("seeds", *KEPT_THERE, *(("out", "force", "init_from") if options["resume"] else ())):
        by_hand = ctx.get_parameter_source(other) is click.core.ParameterSource.COMMANDLINE
        if other in given and (by_hand or other in ("seeds", *KEPT_THERE)):
            raise UsageError(f"{name} {path} and {option_name(other)} do not go together; leave one of them out")
    if options["resume"] and ctx.get_parameter_source("config") is not click.core.ParameterSource.DEFAULT:
        raise UsageError(f"--resume {path} brings its own settings; leave out --config")
    from ..runs.folder import RunFolder

    folder = RunFolder(path)
    if options["resume"]:
        _refuse_changes(ctx, options, folder)
    elif not options["force"]:
        folder.refuse_another()
    if folder.is_in_use:
        raise FastbpError(f"{folder} is in use by another run; wait for it, or choose another folder")
    return folder


def as_run_origin(options: dict[str, Any]) -> dict[str, Any]:
    """How the data was loaded, for config.toml; paths hold from wherever one goes on."""
    from ..runs.training import data_path

    values = {name: options[name] for name in OF_DATA if options[name] not in (None, False)}
    values["data"] = data_path(values["data"])
    if "data_dir" in values:
        values["data_dir"] = str(Path(values["data_dir"]).absolute())
    return values


def in_folder(folder: RunFolder, call: Callable[[], Any], resumed: bool) -> Any:
    """call(), which trains into a folder; errors say what is there, and how to go on."""
    go_on = f"go on with fastbp train --resume {shlex.quote(str(folder))}"
    there = _stamp(folder)

    def has_begun() -> bool:
        return folder.config_file.exists() and (resumed or _stamp(folder) != there)

    try:
        return call()
    except DivergedError as error:
        raise DivergedError(f"{error}; the best model so far is {folder.model_file}", error.result) from error
    except UsageError:
        raise
    except FastbpError as error:
        raise type(error)(f"{error}; then {go_on}" if has_begun() else str(error)) from error
    except KeyboardInterrupt as error:
        if not has_begun():
            raise KeyboardInterrupt("interrupted; training had not begun, and nothing was changed") from error
        how = "stopped at once" if interrupts.twice() else "interrupted"
        raise KeyboardInterrupt(f"{how}; {go_on}") from error


def _stamp(folder: RunFolder) -> tuple[int, int] | None:
    """What tells one config.toml from the next: a run that begins writes its own, perhaps in place of another run's."""
    try:
        status = os.stat(folder.config_file)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _refuse_no_name(option: str, path: str) -> None:
    """An empty name, as of a variable of the shell that is not set, would be the present folder."""
    if not path:
        raise UsageError(f"{option} needs the name of a folder, got ''; the present folder is called .")


def _refuse_changes(ctx: click.Context, options: dict[str, Any], folder: RunFolder) -> None:
    """Refuse settings that were given and are not those of the run, by name."""
    from ..runs.training import changed_settings, config_of

    chosen = Config(**{name: options[name] for name in Config.__dataclass_fields__})
    for name, now, before in changed_settings(chosen, config_of(folder).as_dict()):
        by_environment = ctx.get_parameter_source(name) is click.core.ParameterSource.ENVIRONMENT
        where = f"FASTBP_{name.upper()}" if by_environment else option_name(name)
        raise UsageError(
            f"{where} is {now}, and the run in {folder} was begun with {before}; leave it out, or begin another run"
        )
