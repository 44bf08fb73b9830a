"""Commands that look at run folders: plot, compare."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ..options import SectionedCommand, complete_path, option, output_options

if TYPE_CHECKING:
    from ..runs.comparing import Run

__all__ = ["compare", "plot"]

Column = tuple[str, list[str]]  # a header, and one cell per run

LONGEST = 24  # characters of a name or of a setting in a table


@click.command(cls=SectionedCommand)
@click.argument("paths", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_path)
@option(
    "--out",
    metavar="FILE",
    section="Output",
    help="where the picture goes, its format by its ending: .png, .pdf or .svg; by default plot.png in the folder of "
    "one run, or here for several",
    shell_complete=complete_path,
)
@option(
    "--style",
    type=click.Choice(["light", "dark"]),
    default="light",
    show_default=True,
    section="Output",
    help="light is for print, also in black and white; dark is for slides",
)
@output_options
def plot(paths: tuple[str, ...], out: str | None, style: str, quiet: bool, as_json: bool) -> None:
    """Draw what runs of training did, as one picture.

    RUN is a folder that fastbp train --out wrote, or one that holds such folders. Of one run: learning curves,
    confusion matrix, first-layer weights, worst mistakes; for target values, predictions and residuals. Of several:
    their learning curves, best first, named by the settings that differ. A run that has not ended is drawn as far as it
    is. Needs the package matplotlib: pip install 'fastbp[plot]'

    Examples: fastbp plot runs/a; fastbp plot runs/ --out curves.pdf
    """
    from ..console import echo, note, print_json, printable
    from ..files import write_atomically
    from ..plotting import check_format, draw, file_bytes
    from ..progress import LiveView
    from ..runs.comparing import read_runs

    if out is not None:
        check_format(out)
    runs = read_runs(paths)
    file = out or str(runs[0].folder.path / "plot.png" if len(runs) == 1 else "plot.png")
    with LiveView(quiet) as view:
        drawing = draw(runs, style, view.on_progress)
    write_atomically(file, file_bytes(drawing.figure, file))
    if not quiet:
        for remark in drawing.remarks:
            note(f"note: {printable(remark, 400)}")
    if as_json:
        print_json({"plot": file, "runs": [str(run.folder) for run in runs], "remarks": drawing.remarks})
    else:
        echo(printable(file, 4096))


@click.command(cls=SectionedCommand, short_help="Put runs of training side by side, in a table.")
@click.argument("paths", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_path)
@option(
    "--sort",
    metavar="COLUMN",
    section="Output",
    help="run, ended, epochs, best_epoch, loss, validation_loss, validation_accuracy, train_accuracy, test_accuracy, "
    "test_loss, seconds, or a setting; by default validation_loss where all runs have one, else loss",
)
@output_options
def compare(paths: tuple[str, ...], sort: str | None, quiet: bool, as_json: bool) -> None:
    """Put runs side by side: their measurements, and settings that differ.

    RUN is a folder that fastbp train --out wrote, or one that holds such folders. The best run comes first, by its
    validation loss, or by its training loss where a run has no validation samples; never by test samples unless --sort
    says so. The numbers are those of the model that a run keeps. While it is running, they are those of its best epoch.

    Examples: fastbp compare runs/a runs/b; fastbp compare runs/ --sort seconds
    """
    from ..console import print_json
    from ..runs.comparing import differing_settings, in_order, read_runs

    runs, by = in_order(read_runs(paths), sort)
    differ = differing_settings(runs)
    if as_json:
        rows = [
            {"run": run.name, "path": str(run.folder), "ended": run.ended, **run.measured, "settings": run.settings}
            for run in runs
        ]
        print_json({"runs": rows, "differ": differ, "sorted_by": by})
    else:
        _show(_measured_columns(runs), _setting_columns(runs, differ))


def _measured_columns(runs: Sequence[Run]) -> list[Column]:
    """How the runs ended and what was measured, without the columns in which there is nothing."""
    from ..console import decimals

    def share(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.2f}"

    measured: dict[str, tuple[str, Any]] = {
        "loss": ("loss", decimals),
        "validation_loss": ("val. loss", decimals),
        "validation_accuracy": ("val. %", share),
        "test_accuracy": ("test %", share),
    }
    epochs = [f"{'-' if run.best_epoch is None else run.best_epoch} of {run.measured['epochs'] or 0}" for run in runs]
    columns = [_names(runs), ("ended", [run.ended for run in runs]), ("epoch", epochs)]
    for name, (header, text) in measured.items():
        if name == "loss" or any(run.measured[name] is not None for run in runs):
            columns.append((header, [text(run.measured[name]) for run in runs]))
    return columns


def _setting_columns(runs: Sequence[Run], differ: Sequence[str]) -> list[Column]:
    """How long the runs took, and what tells them apart."""
    from ..console import seconds, shortened
    from ..runs.comparing import setting_text

    times = [run.measured["seconds"] for run in runs]
    columns = [_names(runs), ("seconds", ["-" if time is None else seconds(time) for time in times])]
    for name in differ:
        cells = [shortened(setting_text(name, run.settings[name]), LONGEST) for run in runs]
        columns.append((name.replace("_", " "), cells))
    return columns


def _names(runs: Sequence[Run]) -> Column:
    from ..console import shortened

    return ("run", [shortened(run.name, LONGEST) for run in runs])


def _show(measured: list[Column], settings: list[Column]) -> None:
    """One table where the terminal is wide enough; else what was measured first, and the settings below it."""
    from ..console import echo, fancy, table

    tables = _fitting([*measured, *settings[1:]])
    if len(tables) > 1:
        tables = _fitting(measured) + _fitting(settings)
    for number, columns in enumerate(tables):
        if number and not fancy(sys.stdout):
            echo()
        words = [place for place, (_, cells) in enumerate(columns) if any(cell[:1].isalpha() for cell in cells)]
        rows = list(zip(*(cells for _, cells in columns), strict=True))
        table([header for header, _ in columns], rows, left=(0, *words))


def _fitting(columns: Sequence[Column]) -> list[list[Column]]:
    """The columns, as many at a time as fit the terminal; the first one begins every time."""
    from ..console import fancy

    gap, margin = (3, 2) if fancy(sys.stdout) else (2, 0)
    room = shutil.get_terminal_size((80, 24)).columns - margin - _width(columns[0])
    tables, used = [[columns[0]]], 0
    for column in columns[1:]:
        used += gap + _width(column)
        if used > room and len(tables[-1]) > 1:
            tables.append([columns[0]])
            used = gap + _width(column)
        tables[-1].append(column)
    return tables


def _width(column: Column) -> int:
    return max(map(len, (column[0], *column[1])))
