"""Learning curves of one run: cost above accuracy above learning rate, and the scales that such curves have.

Records of epochs come in, lines go onto axes. What was not measured is left out of a line; a scale is logarithmic
where costs span most of a decade. Lines are named where they end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..metrics import EpochRecord
from ..runs.comparing import Run
from .style import NORMAL, SMALL, Panel, Style, number, percent, title

__all__ = ["FEW_POINTS", "draw_history", "finish", "points_of", "scale_costs", "scale_epochs", "scale_shares", "spread"]

FEW_POINTS = 16  # up to so many have a marker each
MANY_POINTS = 250  # more have thinner lines
LOG_FROM = 6.0  # largest by smallest cost from which the scale is logarithmic
ROW = 0.155  # inches from one name at the end of a line to the next
LEFT, RIGHT = 0.4, 1.2  # inches for numbers, and for the names of lines
TITLE, GAP, RATE = 0.56, 0.52, 0.3
NAMES = {"loss": "training", "train_accuracy": "training", "test_accuracy": "test"}


class _End(NamedTuple):
    """What is written where a line ends."""

    value: float
    text: str
    colour: str


def points_of(history: Sequence[EpochRecord], field: str) -> tuple[list[int], list[float]]:
    """The epochs in which something was measured, and what."""
    found = [(record.epoch, getattr(record, field)) for record in history]
    kept = [(epoch, value) for epoch, value in found if value is not None and math.isfinite(value)]
    return [epoch for epoch, _ in kept], [value for _, value in kept]


def draw_history(panel: Panel, run: Run, style: Style) -> None:
    """Cost above accuracy above learning rate, of one run, with its best epoch marked.

    Accuracies that were never measured are left out, and so is a learning rate that stays the same.
    """
    losses = _measured(run, ("loss", "validation_loss"))
    shares = _measured(run, ("train_accuracy", "validation_accuracy", "test_accuracy"))
    rates = points_of(run.history, "learning_rate")
    varies = len(set(rates[1])) > 1
    free = panel.height - TITLE - 0.36 - (0.72 if varies else 0.0)
    height = (free - GAP) / 2 if shares else free
    if losses:
        title(panel, "Cost", "mean per sample" + ("" if len(losses) == 1 else ", training and validation"), style)
    else:
        title(panel, "Cost", "no epoch has ended yet", style)

    top = TITLE
    stack = [_axes(panel, top, height)]
    ends = [_draw_lines(stack[0], losses, style, number)]
    scale_costs(stack[0])
    if shares:
        top += height + GAP
        title(Panel(panel.figure, panel.left, panel.top + top - 0.28, panel.width, 0.28), "Accuracy", "", style)
        stack.append(_axes(panel, top, height))
        ends.append(_draw_lines(stack[1], shares, style, percent))
        scale_shares(stack[1])
    if varies:
        stack.append(_axes(panel, top + height + 0.42, RATE))
        ends.append(_draw_rate(stack[-1], *rates, style))
    for axes, names in zip(stack, ends, strict=True):
        scale_epochs(axes, len(run.history), axes is stack[-1])
        finish(axes, style)
        _name_ends(axes, names)
    _mark_best(stack, run, style)


def scale_costs(axes: Any) -> None:
    """A logarithmic scale where all costs are positive and far apart."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    values = [float(value) for line in axes.lines for value in line.get_ydata()]
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low > 0 and high / low >= LOG_FROM:
        axes.set_yscale("log")
        steps = (1, 2, 5) if high / low < 200 else (1,)
        axes.yaxis.set_major_locator(LogLocator(base=10, subs=steps, numticks=8))
        margin = (high / low) ** 0.07
        axes.set_ylim(low / margin, high * margin)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        margin = (high - low) * 0.07 or abs(high) * 0.1 or 1.0
        axes.set_ylim(low - margin, high + margin)
        if not values:
            axes.set_yticks([])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


def scale_shares(axes: Any) -> None:
    """From the lowest accuracy to the highest, and no farther than 100 %."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    values = [float(value) for line in axes.lines for value in line.get_ydata()]
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = (high - low) * 0.1 or 0.02
    axes.set_ylim(max(low - margin, -0.01), min(high + margin, 1.005))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(100 * value, 6):g} %"))


def scale_epochs(axes: Any, n_epochs: int, last: bool) -> None:
    """From the first epoch to the last, whole numbers only, which stand below the last axes of a stack."""
    from matplotlib.ticker import MaxNLocator

    n_epochs = max(n_epochs, 1)
    margin = (n_epochs - 1) * 0.025 or 0.5
    axes.set_xlim(1 - margin, n_epochs + margin)
    places = MaxNLocator(min(8, n_epochs), integer=True, steps=[1, 2, 5, 10]).tick_values(1, n_epochs)
    shown = sorted({round(place) for place in places if 1 <= place <= n_epochs} | ({1} if n_epochs < 10 else set()))
    axes.set_xticks(shown, [f"{place:,}" for place in shown])
    axes.tick_params(labelbottom=last)
    if last:
        axes.set_xlabel("epoch", loc="right", labelpad=1)


def finish(axes: Any, style: Style) -> None:
    """Small quiet numbers, and lines across that help the eye."""
    axes.tick_params(colors=style.quiet, labelsize=SMALL, width=0.6, length=2.5)
    axes.grid(True, axis="y", color=style.faint, linewidth=0.5)
    axes.set_axisbelow(True)


def _axes(panel: Panel, top: float, height: float) -> Any:
    return panel.axes(left=LEFT, top=top, right=RIGHT, bottom=panel.height - top - height)


def _measured(run: Run, fields: Sequence[str]) -> dict[str, tuple[list[int], list[float]]]:
    """The points of those fields that have any."""
    found = {field: points_of(run.history, field) for field in fields}
    return {field: points for field, points in found.items() if points[0]}


def _look(field: str, style: Style) -> tuple[str, Any, str]:
    if field.startswith("validation"):
        return style.minus, (0, (5, 1.6)), "s"
    return (style.quiet, (0, (1.2, 1.2)), "^") if field.startswith("test") else (style.plus, "-", "o")


def _draw_lines(
    axes: Any, lines: dict[str, tuple[list[int], list[float]]], style: Style, words: Callable[[float], str]
) -> list[_End]:
    ends = []
    for field, (x, y) in lines.items():
        colour, dashes, marker = _look(field, style)
        axes.plot(
            x, y, color=colour, linestyle=dashes, marker=marker if len(x) <= FEW_POINTS else "", label=field,
            linewidth=1.5 if len(x) <= MANY_POINTS else 0.9,
        )  # fmt: skip
        ends.append(_End(y[-1], f"{NAMES.get(field, 'validation')} {words(y[-1])}", colour))
    return ends


def _draw_rate(axes: Any, epochs: Sequence[int], rates: Sequence[float], style: Style) -> list[_End]:
    """A thin line, with the highest rate and zero as its only numbers."""
    axes.plot(epochs, rates, color=style.quiet, linewidth=1.0, drawstyle="steps-mid", label="learning_rate")
    axes.set_ylim(0, max(rates) * 1.15)
    axes.set_yticks([0, max(rates)], ["0", number(max(rates))])
    return [_End(rates[-1], "learning rate", style.quiet)]


def _name_ends(axes: Any, ends: Sequence[_End]) -> None:
    """Write what each line is beside its end; names that would cover each other move apart."""
    ends = sorted(ends, key=lambda end: end.value)
    height = axes.get_position().height * axes.figure.get_size_inches()[1]
    to_share = axes.transAxes.inverted()
    wanted = [float(to_share.transform(axes.transData.transform((1, end.value)))[1]) * height for end in ends]
    for end, place in zip(ends, spread(wanted, ROW, height), strict=True):
        axes.annotate(
            end.text, (1, place / height), xycoords="axes fraction", xytext=(5, 0), textcoords="offset points",
            va="center", fontsize=NORMAL, color=end.colour, annotation_clip=False,
        )  # fmt: skip


def spread(places: Sequence[float], gap: float, limit: float) -> list[float]:
    """Places in rising order, at least `gap` apart and none above `limit`, close to where they were.

    Examples
    --------
    >>> spread([1.0, 1.5, 4.0], 1.0, 4.5), spread([3.0, 3.5], 1.0, 3.5)
    ([1.0, 2.0, 4.0], [2.5, 3.5])
    """
    found: list[float] = []
    for place in places:
        found.append(max(place, found[-1] + gap) if found else place)
    for row in reversed(range(len(found))):
        found[row] = min(found[row], limit)
        limit = found[row] - gap
    return found


def _mark_best(stack: Sequence[Any], run: Run, style: Style) -> None:
    """A hairline through all axes at the best epoch, and a ring on the line that chose it."""
    best = run.best_epoch
    if best is None:
        return
    for axes in stack:
        axes.axvline(best, color=style.text, linewidth=0.6, zorder=1, label="best")
    field = "validation_loss" if run.is_validated else "loss"
    x, y = points_of(run.history, field)
    if best in x:
        stack[0].plot(
            best, y[x.index(best)], "o", markersize=7, markeredgewidth=1.4, color=_look(field, style)[0],
            markerfacecolor=style.ground, zorder=5, label="best",
        )  # fmt: skip
    left, right = stack[0].get_xlim()
    stack[0].annotate(
        f"best epoch {best:,}", (best, 1), xycoords=("data", "axes fraction"), xytext=(0, 4),
        textcoords="offset points", fontsize=SMALL, ha="right" if best > (left + right) / 2 else "left",
        annotation_clip=False,
    )  # fmt: skip
