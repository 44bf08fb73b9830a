"""The options of the commands. Those that are settings are read off the fields of `Config`, so nothing is said twice.

In: Config. Out: decorators for click commands. Values are checked by `Config` itself; a wrong one is a usage error that
names its option.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from .activations import HIDDEN_ACTIVATIONS
from .config import Config, checked_setting, kind_of
from .data.sources import NAMES
from .errors import UsageError

__all__ = [
    "SectionedCommand",
    "complete_data",
    "complete_name",
    "complete_path",
    "data_options",
    "option",
    "option_name",
    "output_options",
    "setting_options",
    "settings_file_option",
    "source_option",
]

_SETTINGS_IN = {
    "Data": ("normalize",),
    "Network": ("layers", "activation", "output_activation", "cost", "init"),
    "Optimizer": ("optimizer", "learning_rate", "momentum", "beta_1", "beta_2", "rho", "epsilon", "tol", "clip_norm"),
    "Schedule": ("schedule", "step_every", "rate_factor", "rate_patience", "inverse_power", "warm_up"),
    "Regularization": ("weight_decay", "dropout", "label_smoothing"),
    "Training": ("batch_size", "epochs", "shuffle", "seed", "class_weight"),
    "Validation and stopping": ("validation", "patience", "min_delta", "stop_below", "time_limit", "on_nan"),
    "Machine": ("dtype", "device", "engine", "input_layout"),
    "Output": ("evaluate",),
}
MOST_CHOICES = 30  # characters
SECTIONS = (*_SETTINGS_IN, "Other")
_SECTION_OF = {setting: section for section, settings in _SETTINGS_IN.items() for setting in settings}


class SectionOption(click.Option):
    """An option that is listed under a heading."""

    def __init__(self, *args: Any, section: str = "Other", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose help lists its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list per section that has options."""
        lists: dict[str, list[tuple[str, str]]] = {name: [] for name in SECTIONS}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                lists[getattr(param, "section", "Other")].append(record)
        for name, records in lists.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


class Setting(click.ParamType[Any]):
    """The value of one field of Config, checked by Config."""

    def __init__(self, field: dataclasses.Field[Any]) -> None:
        self.field = field
        self.kind = kind_of(field.name)
        self.name = {"int": "integer", "float": "number"}.get(self.kind, "text")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """From the text on the command line."""
        if isinstance(value, str):
            if self.field.name == "batch_size" and value == "full":
                return None
            try:
                value = {"int": int, "float": float}.get(self.kind, str)(value)
            except ValueError:
                self.fail(f"{value!r} is not a {'whole ' if self.kind == 'int' else ''}number", param, ctx)
        try:
            value = checked_setting(self.field.name, value)
        except UsageError as error:
            self.fail(str(error), param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names of activations, also after a comma."""
        before, comma, begun = incomplete.rpartition(",")
        known = HIDDEN_ACTIVATIONS if self.field.name == "activation" else ()
        return [CompletionItem(before + comma + name) for name in known if name.startswith(begun)]


def option_name(setting: str) -> str:
    """What a setting is called on the command line.

    Examples
    --------
    >>> option_name("batch_size")
    '--batch-size'
    """
    return "--" + setting.replace("_", "-")


def complete_path(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For the completion of shells: files, which the shell knows."""
    return [CompletionItem(incomplete, type="file")]


def complete_name(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of datasets."""
    return [CompletionItem(name) for name in NAMES if name.startswith(incomplete)]


def complete_data(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of datasets, and files."""
    return complete_name(ctx, param, incomplete) + complete_path(ctx, param, incomplete)


def option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """`click.option` with a `section`."""
    return click.option(*names, cls=SectionOption, **settings)


def setting_options(command: Any) -> Any:
    """Give a command one option for each field of Config."""
    for field in reversed(dataclasses.fields(Config)):
        command = _setting_option(field)(command)
    return command


def _note(field: dataclasses.Field[Any]) -> str:
    """What stands behind a help text: names to choose from, or the setting that the field is for."""
    if field.name == "activation":
        return f" ({', '.join(HIDDEN_ACTIVATIONS)})"
    by, *values = field.metadata.get("use", ("",))
    chosen = f" ({', '.join(field.metadata['choices'])})" if _has_many_choices(field) else ""
    return f" ({by} {', '.join(values)})" if by else chosen


def _has_many_choices(field: dataclasses.Field[Any]) -> bool:
    """True where they would not fit into a line of help, in front of the text."""
    return len("|".join(field.metadata.get("choices", ()))) > MOST_CHOICES


def _setting_option(field: dataclasses.Field[Any]) -> Callable[[Any], Any]:
    name = option_name(field.name)
    shown: dict[str, Any] = {
        "default": field.default,
        "show_default": field.default is not None,
        "help": field.metadata["help"] + _note(field),
        "section": _SECTION_OF[field.name],
        "envvar": f"FASTBP_{field.name.upper()}",
    }
    if field.type == "bool":
        return option(f"{name}/--no-{name[2:]}", **shown)
    if "choices" in field.metadata:
        names = "NAME" if _has_many_choices(field) else None
        return option(name, type=click.Choice(field.metadata["choices"]), metavar=names, **shown)
    metavar = {"layers": "SIZES", "activation": "NAMES", "batch_size": "N|full", "dropout": "SHARES"}.get(field.name)
    return option(name, type=Setting(field), metavar=metavar, **shown)


def settings_file_option(command: Any) -> Any:
    """Give a command --config: a file's settings take the place of the defaults, before other options are looked at."""

    def read(ctx: click.Context, _: click.Parameter, path: str | None) -> None:
        if path is not None:
            from .settings_file import read_settings

            ctx.default_map = {**(ctx.default_map or {}), **read_settings(path)}

    text = "settings in a TOML file; FASTBP_EPOCHS=5 and the like in the environment, and options, go before them"
    return option(
        "--config", metavar="FILE", section="Output", is_eager=True, expose_value=False, callback=read, help=text
    )(command)


def source_option(command: Any) -> Any:
    """Give a command --data."""
    text = "digits, mnist, fashion, kmnist, or a file or folder"
    shown: dict[str, Any] = {"default": "digits", "show_default": True, "section": "Data", "help": text}
    return option("--data", metavar="NAME|PATH", shell_complete=complete_data, **shown)(command)


def data_options(command: Any) -> Any:
    """Give a command the options that say how to load data."""
    options = (
        option("--label", metavar="COLUMN", section="Data", help="in tables, by name or position from 0"),
        option(
            "--test-fraction",
            metavar="SHARE",
            type=click.FloatRange(0, 1, max_open=True),
            default=0.2,
            show_default=True,
            section="Data",
            help="share set aside for testing where the data has no test set",
        ),
        option(
            "--data-dir",
            metavar="FOLDER",
            section="Data",
            help="where to look for downloaded datasets first",
            shell_complete=complete_path,
        ),
        option("--offline", is_flag=True, section="Data", help="never use the network"),
    )
    for decorate in reversed(options):
        command = decorate(command)
    return command


def output_options(command: Any) -> Any:
    """Give a command --json and --quiet."""
    command = option("--quiet", is_flag=True, section="Output", help="show nothing on stderr but errors")(command)
    return option("--json", "as_json", is_flag=True, section="Output", help="print the result as one JSON object")(
        command
    )
