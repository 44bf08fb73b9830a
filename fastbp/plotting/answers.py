"""What a model answers to its test samples: confusion matrix and worst mistakes; residuals of target values.

A model and its answers come in, panels of a figure are drawn. Mistakes are pictures where the samples are, and rows of
a table otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..model import Model
from ..runs.mistakes import Answers
from .style import NORMAL, SMALL, Panel, Style, mixed, number, short, title
from .weights import draw_picture, grid_for

__all__ = ["draw_confusion", "draw_mistakes", "draw_predictions", "draw_residuals"]

Array = NDArray[Any]

MOST_NUMBERS = 24  # classes up to which every cell has its number
MOST_NAMES = 40
GAP = 0.12  # inches between pictures
LONGEST = 14  # letters of a class's name
LETTER, LINE = 0.062, 0.12  # inches that a letter and a line take
MOST_PICTURES = 10
MOST_ROWS = 9
MOST_POINTS = 3000
MOST_TARGETS = 4
NAMED = ("softmax", "sigmoid")  # outputs that are probabilities


def draw_confusion(panel: Panel, answers: Answers, names: Sequence[str], style: Style) -> None:
    """How often each class was taken for which: mistakes in colour, by their share of the class; the rest in grey."""
    counts = answers.confusion()
    n, totals = len(counts), np.maximum(counts.sum(axis=1, keepdims=True), 1)
    wrong = counts * (1 - np.eye(n, dtype=np.int64))
    title(panel, "Confusion", _confusion_words(answers, counts, wrong, names), style)
    labels = [short(name, LONGEST) for name in names]
    characters = max(map(len, labels))
    left, top, right = 0.12 + LETTER * characters, 0.62, 0.52
    bottom = 0.36 if characters <= 3 else 0.28 + 0.05 * characters
    size = min(panel.width - left - right, panel.height - top - bottom)
    axes = panel.axes(left=left, top=top, right=panel.width - left - size, bottom=panel.height - top - size)
    shares = wrong / totals
    colours = mixed((style.ground, style.plus), (shares / (shares.max() or 1.0)) ** 0.75)
    colours[np.arange(n), np.arange(n)] = mixed((style.ground, style.quiet), 0.22)
    axes.imshow(colours, interpolation="nearest")
    shown = list(range(0, n, 1 if n <= MOST_NAMES else math.ceil(n / 20)))
    cell = size / n
    axes.set_yticks(shown, [labels[place] for place in shown])
    axes.set_xticks(shown, [labels[place] for place in shown])
    room = size / len(shown)
    axes.tick_params(length=0, colors=style.text, labelsize=max(4.0, min(SMALL, 72 * room * 0.8)))
    if LETTER * characters > room:
        slanted = len(shown) <= 12
        for tick in axes.get_xticklabels():
            tick.set(rotation=45 if slanted else 90)
            if slanted:
                tick.set(ha="right", rotation_mode="anchor")
    panel.write(left - 0.07, top - 0.06, "is", fontsize=SMALL, color=style.quiet, ha="right")
    panel.write(left, top - 0.06, "taken for", fontsize=SMALL, color=style.quiet)
    for spine in axes.spines.values():
        spine.set(visible=True, color=style.faint, linewidth=0.6)
    if n > MOST_NUMBERS:
        return
    for edge in range(1, n):
        axes.axhline(edge - 0.5, color=style.faint, linewidth=0.4)
        axes.axvline(edge - 0.5, color=style.faint, linewidth=0.4)
    small = min(NORMAL, 72 * cell * 0.45)
    for row, column in np.argwhere(counts):
        axes.text(
            column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=small,
            color=_readable_on(colours[row, column], style), gid=f"cell-{row}-{column}",
        )  # fmt: skip
    panel.write(left + size + 0.06, top - 0.06, "right", fontsize=SMALL, color=style.quiet)
    for row in np.flatnonzero(counts.sum(axis=1)):
        share = f"{100 * counts[row, row] / totals[row, 0]:.1f} %"
        panel.write(
            left + size + 0.06, top + (row + 0.5) * cell, share, va="center", fontsize=min(SMALL, small),
            color=style.quiet,
        )  # fmt: skip


def draw_mistakes(panel: Panel, model: Model, answers: Answers, features: Sequence[str], style: Style) -> None:
    """The wrong answers that the model is surest of."""
    n_wrong = int((answers.predicted != answers.y).sum())
    words = f"of {n_wrong:,} among {len(answers.y):,} {answers.split} samples, those it is surest of"
    if n_wrong == 0:
        words = f"none among {len(answers.y):,} {answers.split} samples"
    title(panel, "Worst mistakes", words, style)
    if model.image_shape is None:
        rows = answers.mistakes(MOST_ROWS)
        _draw_table(panel, model, answers, rows, features, style)
        return
    rows = answers.mistakes(MOST_PICTURES)
    if not len(rows):
        return
    height, width = model.image_shape
    captions = [_caption(model, answers, row) for row in rows]
    lines = max(map(len, captions))
    canvas = panel.canvas(top=0.4)
    space = LINE * lines + 0.04
    columns, side = grid_for(len(rows), panel.width, panel.height - 0.4, space, height / width, gap=GAP)
    pixels = answers.x[rows].astype(np.float64)
    look = {"cmap": "gray_r" if style.ground == "#ffffff" else "gray", "vmin": pixels.min(), "vmax": pixels.max()}
    for place, (picture, caption) in enumerate(zip(pixels, captions, strict=True)):
        left, top = (place % columns) * (side + GAP), (place // columns) * (side * height / width + GAP + space)
        draw_picture(canvas, picture.reshape(height, width), left, top, side, style, **look)
        for line, text in enumerate(caption, start=1):
            y = top + side * height / width + 0.02 + LINE * line
            canvas.text(left + side / 2, y, text, ha="center", va="baseline", fontsize=SMALL)


def draw_predictions(panel: Panel, answers: Answers, style: Style) -> None:
    """Predicted against true values, one square per target value; on the diagonal an answer is right."""
    words = f"{len(answers.y):,} {answers.split} samples; off by: root mean square; on the line an answer is right"
    title(panel, "Predicted against true values", words, style)
    for axes, target in _squares(panel, answers.y.shape[1]):
        true, predicted = answers.y[:, target], answers.predicted[:, target]
        low, high = _range(np.concatenate([true, predicted]))
        axes.plot([low, high], [low, high], color=style.quiet, linewidth=0.8, zorder=3)
        _scatter(axes, true, predicted, style)
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        error = float(np.sqrt(np.mean((predicted - true) ** 2)))
        spread = float(np.sum((true - true.mean()) ** 2))
        score = f", R\u00b2 {1 - float(np.sum((predicted - true) ** 2)) / spread:.3f}" if spread > 0 else ""
        which = _which(answers, target)
        _finish(axes, f"{which}: off by {number(error)}{score}" if which else f"off by {number(error)}{score}", style)
        axes.set_xlabel("true", loc="right", labelpad=1)
        axes.set_ylabel("predicted", loc="top", labelpad=1)


def draw_residuals(panel: Panel, answers: Answers, style: Style) -> None:
    """Predicted less true, over what was predicted: a pattern in it is what the model has not learnt."""
    title(panel, "Residuals", "predicted less true values, over what was predicted", style)
    for axes, target in _squares(panel, answers.y.shape[1]):
        predicted = answers.predicted[:, target]
        errors = predicted - answers.y[:, target]
        axes.axhline(0, color=style.quiet, linewidth=0.8, zorder=3)
        _scatter(axes, predicted, errors, style)
        limit = float(np.abs(errors).max(initial=0.0)) * 1.08 or 1.0
        axes.set(ylim=(-limit, limit), xlim=_range(predicted))
        _finish(axes, _which(answers, target), style)
        axes.set_xlabel("predicted", loc="right", labelpad=1)
        axes.set_ylabel("residual", loc="top", labelpad=1)


def _confusion_words(answers: Answers, counts: Array, wrong: Array, names: Sequence[str]) -> str:
    words = f"{counts.sum():,} {answers.split} samples"
    if not wrong.any():
        return f"{words}, all of them right"
    row, column = divmod(int(wrong.argmax()), len(wrong))
    times = int(wrong[row, column])
    true, taken = short(names[row], LONGEST), short(names[column], LONGEST)
    return f"{words}; most often {true} for {taken}, {times:,} time{'s' * (times > 1)}"


def _readable_on(colour: Array, style: Style) -> str:
    """The text colour that stands out from a cell's."""
    from matplotlib.colors import to_rgb

    weights = np.array([0.299, 0.587, 0.114])
    both = (style.text, style.ground)
    return max(both, key=lambda text: abs(float(weights @ (np.array(to_rgb(text)) - colour))))


def _sure(model: Model, answers: Answers, row: int) -> str:
    """How sure an answer is: its probability, or the output where that is none."""
    outputs, predicted = answers.outputs[row], int(answers.predicted[row])
    value = float(outputs[0] if len(outputs) == 1 else outputs[predicted])
    if model.network.activations[-1] not in NAMED:
        return f"output {number(value)}"
    share = 1 - value if len(outputs) == 1 and predicted == 0 else value
    return f"{100 * share:.0f} %" if share < 0.995 else f"{math.floor(1000 * share) / 10:.1f} %"


def _caption(model: Model, answers: Answers, row: int) -> tuple[str, ...]:
    """What it is, what it was taken for, and how sure that was: two lines where all classes have short names."""
    true, predicted = (model.class_names[int(each[row])] for each in (answers.y, answers.predicted))
    sure = _sure(model, answers, row)
    if max(map(len, model.class_names)) <= 2:
        return (f"{true} taken for {predicted},", sure)
    return (short(true, LONGEST), f"for {short(predicted, LONGEST - 3)},", sure)


def _draw_table(
    panel: Panel, model: Model, answers: Answers, rows: Array, features: Sequence[str], style: Style
) -> None:
    """Mistakes as rows: what it is, what it was taken for, how sure, and the first features."""
    if not len(rows):
        return
    n_columns = min(3, answers.x.shape[1])
    labels = list(features) or [f"x{place}" for place in range(answers.x.shape[1])]
    headers = ["is", "taken for", "sure", *(short(name, 9) for name in labels[:n_columns])]
    places = [0.0, 1.0, 2.3, *(2.3 + 0.62 * (place + 1) for place in range(n_columns))]
    for place, header in zip(places, headers, strict=True):
        side = "left" if place < 2 else "right"
        panel.write(place, 0.62, header, fontsize=SMALL, color=style.quiet, ha=side)
    for line, row in enumerate(rows):
        true, predicted = (short(model.class_names[int(each[row])], LONGEST) for each in (answers.y, answers.predicted))
        cells = [true, predicted, _sure(model, answers, row), *(number(float(v)) for v in answers.x[row, :n_columns])]
        for place, cell in zip(places, cells, strict=True):
            panel.write(place, 0.86 + line * 0.21, cell, fontsize=NORMAL, ha="left" if place < 2 else "right")


def _squares(panel: Panel, n_targets: int) -> list[tuple[Any, int]]:
    """Axes for each target value, at most four of them."""
    n = min(n_targets, MOST_TARGETS)
    columns = 1 if n == 1 else 2
    rows = math.ceil(n / columns)
    width, height = panel.width / columns, (panel.height - 0.4) / rows
    found = []
    for target in range(n):
        left, top = (target % columns) * width, 0.4 + (target // columns) * height
        cell = Panel(panel.figure, panel.left + left, panel.top + top, width, height)
        found.append((cell.axes(left=0.55, top=0.24, right=0.1, bottom=0.36), target))
    return found


def _scatter(axes: Any, x: Array, y: Array, style: Style) -> None:
    """At most some thousand points, taken evenly."""
    step = max(1, math.ceil(len(x) / MOST_POINTS))
    alpha = 0.55 if len(x) <= 1000 else 0.3
    axes.plot(
        x[::step], y[::step], "o", markersize=2.6, markeredgewidth=0, color=style.minus, alpha=alpha, rasterized=True
    )


def _range(values: Array) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return low - margin, high + margin


def _which(answers: Answers, target: int) -> str:
    n = answers.y.shape[1]
    return "" if n == 1 else f"{target + 1} of {n}"


def _finish(axes: Any, words: str, style: Style) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_title(words, loc="left", fontsize=SMALL, color=style.quiet, pad=4)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(colors=style.quiet, labelsize=SMALL, width=0.6, length=2.5)
    axes.grid(True, color=style.faint, linewidth=0.5)
    axes.set_axisbelow(True)
