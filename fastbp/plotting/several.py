"""Several runs in one figure: their curves on top of each other, and a list that says which is which.

Runs come in, the best first; lines and rows go out. Some runs differ in colour, dashes and markers; many get darker
the better they are. The list names the settings that differ, or the folders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..runs.comparing import Run, differing_settings, setting_text
from .curves import FEW_POINTS, finish, points_of, scale_costs, scale_epochs, scale_shares
from .style import NORMAL, SMALL, Panel, Style, mixed, number, percent, short, title

__all__ = ["ROW", "TITLE", "LineLook", "draw_list", "draw_overlay", "line_looks", "list_height"]

MOST_LISTED = 40
ROW, TITLE = 0.18, 0.56
LEFT = 0.4
LETTER = 0.063  # inches
SWATCH, NUMBER, DOTS = 0.45, 0.6, 0.6


class LineLook(NamedTuple):
    """How the line of a run looks."""

    colour: Any
    dashes: Any
    marker: str
    width: float


def line_looks(n_runs: int, style: Style) -> list[LineLook]:
    """Different colours, dashes and markers for some runs; for many a ramp from the best to the last."""
    if n_runs <= len(style.lines):
        return [LineLook(*look, 1.5) for look in style.lines[:n_runs]]
    colours = mixed(style.ramp, [place / (n_runs - 1) for place in range(n_runs)])
    return [LineLook(tuple(colour), "-", "", 1.8 if place == 0 else 1.0) for place, colour in enumerate(colours)]


def draw_overlay(
    panel: Panel, runs: Sequence[Run], looks: Sequence[LineLook], field: str, words: tuple[str, str], style: Style
) -> None:
    """One measurement of all runs, the best run on top; a ring where each was best, unless they are many."""
    title(panel, *words, style)
    axes = panel.axes(left=LEFT, top=TITLE - 0.14, bottom=0.36)
    for place, (run, look) in enumerate(zip(runs, looks, strict=True)):
        x, y = points_of(run.history, field)
        marker = look.marker if len(x) <= FEW_POINTS else ""
        axes.plot(
            x, y, color=look.colour, linestyle=look.dashes, marker=marker or ("o" if len(x) == 1 else ""),
            linewidth=look.width, zorder=50 - place / len(runs), label=f"run {place + 1}",
        )  # fmt: skip
        if look.marker and run.best_epoch in x:
            value = y[x.index(run.best_epoch)]
            axes.plot(
                run.best_epoch, value, "o", markersize=6, markeredgewidth=1.3, color=look.colour,
                markerfacecolor=style.ground, zorder=51 - place / len(runs), label=f"best of run {place + 1}",
            )  # fmt: skip
    (scale_shares if field.endswith("accuracy") else scale_costs)(axes)
    scale_epochs(axes, max(len(run.history) for run in runs), True)
    finish(axes, style)


def list_height(n_runs: int) -> float:
    """Inches that `draw_list` needs for some runs."""
    return TITLE + 0.36 + ROW * (min(n_runs, MOST_LISTED) + (n_runs > MOST_LISTED))


def draw_list(panel: Panel, runs: Sequence[Run], looks: Sequence[LineLook], style: Style) -> None:
    """One row per run: its line, what tells it from the others, and its result, as a dot and as a number.

    The result is the accuracy of test samples where any run has one, else the lowest cost that chose its best epoch.
    """
    listed = runs[:MOST_LISTED]
    field = "test_accuracy" if any(run.measured["test_accuracy"] is not None for run in runs) else "test_loss"
    if all(run.measured[field] is None for run in runs):
        field = "loss"
    words = {"test_accuracy": "Test accuracy", "test_loss": "Test cost", "loss": "Training cost"}[field]
    title(panel, words, "of the model that each run keeps", style)
    canvas = panel.canvas(top=TITLE - 0.2)
    right = panel.width - NUMBER
    columns = _columns(runs, right - SWATCH - DOTS)
    place = SWATCH
    for header, cells in columns:
        for line, part in enumerate(reversed(header)):
            canvas.text(place, 0.25 - 0.12 * line, part, fontsize=SMALL, color=style.quiet, va="baseline")
        for row, cell in enumerate(cells[: len(listed)]):
            canvas.text(place, _row(row), cell, va="center", fontsize=NORMAL)
        place += _width(header, cells)
    for row, (run, look) in enumerate(zip(listed, looks, strict=False)):
        y = _row(row)
        canvas.plot([0, 0.34], [y, y], color=look.colour, linestyle=look.dashes, linewidth=look.width)
        if look.marker:
            canvas.plot([0.17], [y], marker=look.marker, color=look.colour)
        value = run.measured[field]
        text = "-" if value is None else percent(value) if field == "test_accuracy" else number(value)
        canvas.text(panel.width, y, text, va="center", ha="right", fontsize=NORMAL)
    if len(runs) > len(listed):
        more = f"and {len(runs) - len(listed)} more, drawn but not listed"
        canvas.text(SWATCH, _row(len(listed)), more, va="center", color=style.quiet, fontsize=NORMAL)
    _draw_dots(canvas, [run.measured[field] for run in listed], looks, place + 0.1, right - 0.1, style)


def _row(row: int) -> float:
    return 0.42 + ROW * row


def _draw_dots(
    canvas: Any, values: Sequence[float | None], looks: Sequence[LineLook], left: float, right: float, style: Style
) -> None:
    """The results as dots on one scale, which begins at the lowest."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if len(known) < 2 or min(known) == max(known):
        return
    low, high = min(known), max(known)
    bottom = _row(len(values) - 1) + ROW / 2
    for edge in (left, right):
        canvas.plot([edge, edge], [_row(0) - ROW / 2, bottom], color=style.faint, linewidth=0.6)
    for row, (value, look) in enumerate(zip(values, looks, strict=False)):
        if value is not None and math.isfinite(value):
            x, y = left + (right - left) * (value - low) / (high - low), _row(row)
            canvas.plot([left, x], [y, y], color=style.faint, linewidth=0.8)
            canvas.plot([x], [y], "o", markersize=4.5, color=look.colour, label=f"result {row + 1}")


def _columns(runs: Sequence[Run], room: float) -> list[tuple[tuple[str, ...], list[str]]]:
    """The settings that differ, a column each, where they fit and no two runs agree in all; else the folders' names."""
    names = differing_settings(runs)
    texts = [[setting_text(name, run.settings[name]) for name in names] for run in runs]
    columns = [
        (tuple(name.split("_")), [short(cells[place], 20) for cells in texts]) for place, name in enumerate(names)
    ]
    fits = sum(_width(*column) for column in columns) <= room
    if names and fits and len(set(map(tuple, texts))) == len(runs):
        return columns
    return [((), [short(run.name, int(room / LETTER)) for run in runs])]


def _width(header: tuple[str, ...], cells: Sequence[str]) -> float:
    return LETTER * max(0.9 * max(map(len, header), default=0), *map(len, cells)) + 0.11
