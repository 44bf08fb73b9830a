"""`fastbp report`: a run folder as one HTML page."""

from __future__ import annotations

import os

import click

from ..errors import UsageError
from ..options import SectionedCommand, complete_path, output_options

__all__ = ["report"]

DEFAULT_NAME = "report.html"


@click.command(cls=SectionedCommand, short_help="Write a page about a run, for any browser.")
@click.argument("run", metavar="RUN", shell_complete=complete_path)
@click.argument("file", metavar="[FILE]", required=False, shell_complete=complete_path)
@output_options
def report(run: str, file: str | None, quiet: bool, as_json: bool) -> None:
    """Write a page about a run: curves, mistakes, weights and settings.

    RUN is a folder that fastbp train --out wrote, finished or not. The page is one file, RUN/report.html by default,
    opened by any browser without a server.
    """
    file = os.path.join(run, DEFAULT_NAME) if file is None else file
    if not file.lower().endswith(".html"):
        raise UsageError(f"a report is a page, so FILE must end in .html, got {file!r}")
    from ..console import facts, note, print_json, size
    from ..files import write_atomically
    from ..pages.report_page import report_of
    from ..progress import LiveView
    from ..runs.folder import RunFolder

    with LiveView(quiet) as view:
        made = report_of(RunFolder(run), view.on_progress)
    write_atomically(file, made.page)
    if made.missing and not quiet:
        note(f"note: the page says nothing of how the model answers: {made.missing}")
    if as_json:
        print_json(
            {
                "report": file,
                "run": run,
                "bytes": len(made.page),
                "finished": made.finished,
                "mistakes": made.mistakes,
                "missing": made.missing,
            }
        )
    else:
        mistakes = None if made.mistakes is None else f"{made.mistakes:,}"
        facts([("report", f"{file} ({size(len(made.page))})"), ("mistakes", mistakes)])
