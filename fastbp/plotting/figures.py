"""Whole figures: one run with all that is known of it, or several runs on top of each other.

Run folders come in, a Matplotlib figure goes out. What cannot be drawn (the data is gone, no epoch has ended) is left
out and said in a remark; what is there is drawn.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..errors import FastbpError, UsageError
from ..model import Model
from ..model_checks import last_part
from ..runs.comparing import Run, differing_settings, in_order, read_runs, setting_text
from ..runs.mistakes import Answers, answers_of
from .answers import draw_confusion, draw_mistakes, draw_predictions, draw_residuals
from .curves import draw_history, points_of
from .several import draw_list, draw_overlay, line_looks, list_height
from .style import DPI, LARGE, NORMAL, SMALL, STYLES, Panel, Style, drawing, duration, number, percent, short
from .weights import draw_weights

__all__ = ["Drawing", "draw", "plot_run"]

WIDTH, MARGIN, HEAD = 10.0, 0.4, 1.02  # inches
HALF, RIGHT = 4.5, 5.45  # how wide what stands at the left is, and where begins what stands at the right
UPPER, LOWER, BETWEEN = 4.4, 2.75, 0.4
EACH = 2.55

Progress = Callable[[str, int, "int | None"], None]


class Drawing(NamedTuple):
    """A figure, and what could not be drawn, one sentence each."""

    figure: Any
    remarks: tuple[str, ...]


class _Known(NamedTuple):
    """What there is to draw of a run besides its history."""

    model: Model | None
    answers: Answers | None
    features: tuple[str, ...]
    data_name: str
    remarks: tuple[str, ...]


def plot_run(*folders: str | os.PathLike[str], style: str = "light") -> Any:
    """Draw runs of training: of one run all that is known, of several their learning curves.

    One run: cost, accuracy and learning rate over the epochs, with the best epoch marked; the confusion matrix of the
    test samples; the weights of the first layer; the worst mistakes. For target values: predicted against true values,
    and residuals. Several runs: their curves, best first by validation (or else training) cost, named by the settings
    that differ.

    Parameters
    ----------
    *folders : path
        run folders, or folders that hold some
    style : str
        ``light``, readable in print and in black and white, or ``dark``

    Returns
    -------
    figure : matplotlib.figure.Figure
        ``figure.savefig("run.pdf")`` writes it; it belongs to no window and no pyplot

    Raises
    ------
    UsageError
        no folder, a folder without a run, another style
    FastbpError
        Matplotlib is not installed; a file of a run that is damaged

    Examples
    --------
    >>> import fastbp
    >>> figure = fastbp.plot_run("runs/a")  # doctest: +SKIP
    >>> figure.savefig("a.pdf")  # doctest: +SKIP
    """
    return draw(read_runs(folders), style).figure


def draw(runs: Sequence[Run], style: str = "light", progress: Progress | None = None) -> Drawing:
    """The figure of some runs, and what could not be drawn; parameters and errors are those of `plot_run`.

    `progress` is that of `load_dataset`.
    """
    if style not in STYLES:
        raise UsageError(f"style must be one of {', '.join(STYLES)}, got {style!r}")
    if not runs:
        raise UsageError("there is no run to draw; name a folder that fastbp train --out wrote")
    with drawing(STYLES[style]):  # says at once that Matplotlib is missing
        if len(runs) > 1:
            return _draw_several(in_order(runs)[0], STYLES[style])
        return _draw_one(runs[0], _known(runs[0], progress), STYLES[style])


def _known(run: Run, progress: Progress | None) -> _Known:
    """The model of a run and its answers, as far as they can be had."""
    nothing = _Known(None, None, (), str(run.settings["data"] or "data"), ())
    if not run.folder.model_file.exists():
        return nothing
    try:
        model = run.folder.model()
    except UsageError as error:  # activations of a user's own
        return nothing._replace(remarks=(f"the model is not drawn: {error}",))
    known = nothing._replace(model=model, data_name=model.data_name or nothing.data_name)
    if "data" not in run.folder.settings():
        return known._replace(remarks=("answers and mistakes are not drawn: the run's data are arrays, not a file",))
    try:
        dataset = run.folder.dataset(progress)
        answers = answers_of(model, dataset)
    except FastbpError as error:
        return known._replace(remarks=(f"answers and mistakes are not drawn: {error}",))
    return known._replace(answers=answers, features=dataset.feature_names)


def _figure(height: float, style: Style) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), dpi=DPI, facecolor=style.ground)


def _draw_one(run: Run, known: _Known, style: Style) -> Drawing:
    """Curves and answers above, weights and mistakes below; what is missing leaves no hole."""
    model, answers = known.model, known.answers
    height = HEAD + UPPER + (BETWEEN + LOWER if model is not None else 0.0) + 0.3 + 0.2 * len(known.remarks)
    figure = _figure(height, style)
    _draw_head(figure, run, known, style)
    full = WIDTH - 2 * MARGIN
    below = HEAD + UPPER + BETWEEN
    draw_history(Panel(figure, MARGIN, HEAD, full if answers is None else RIGHT - MARGIN - 0.1, UPPER), run, style)
    if model is not None:
        draw_weights(
            Panel(figure, MARGIN, below, full if answers is None else HALF, LOWER), model, known.features, style
        )
    if model is not None and answers is not None:
        upper, lower = (
            Panel(figure, RIGHT, top, WIDTH - RIGHT - MARGIN, size) for top, size in ((HEAD, UPPER), (below, LOWER))
        )
        if model.is_regression:
            draw_predictions(upper, answers, style)
            draw_residuals(lower, answers, style)
        else:
            draw_confusion(upper, answers, model.class_names, style)
            draw_mistakes(lower, model, answers, known.features, style)
    page = Panel(figure, MARGIN, 0, WIDTH, height)
    for line, remark in enumerate(known.remarks):
        page.write(0, height - 0.2 * (len(known.remarks) - line), short(remark, 150), fontsize=SMALL, color=style.quiet)
    return Drawing(figure, known.remarks)


def _draw_head(figure: Any, run: Run, known: _Known, style: Style) -> None:
    """What was trained, how, and how it ended; at the right what came of it."""
    settings, measured = run.settings, run.measured
    page = Panel(figure, MARGIN, 0, WIDTH - 2 * MARGIN, HEAD)
    network = str(known.model.network) if known.model is not None else str(settings["layers"])
    page.write(0, 0.46, short(f"{last_part(known.data_name)}, {network}", 60), fontsize=LARGE, fontweight="bold")
    how = [settings["activation"]] if known.model is None or len(known.model.network.sizes) > 2 else []
    how.append(settings["optimizer"])
    for name, words in (("learning_rate", "learning rate {}"), ("batch_size", "batches of {}"), ("seed", "seed {}")):
        if settings["optimizer"] != "lbfgs" or name == "seed":
            text = "all samples" if settings[name] is None else setting_text(name, settings[name])
            if settings[name] is not None or name == "batch_size":
                how.append(words.format(text))
    ended = f"{run.ended} after {measured['epochs'] or 0:,} epoch{'s' * (measured['epochs'] != 1)}"
    if measured["seconds"]:
        ended += f", {duration(measured['seconds'])} of training"
    page.write(0, 0.68, short(f"{', '.join(how)}; {ended}", 110), fontsize=NORMAL, color=style.quiet)
    value, what = measured["test_accuracy"], "test accuracy"
    if value is None and measured["test_loss"] is not None:
        value, what = measured["test_loss"], "test cost"
    if value is not None:
        text = percent(value) if what == "test accuracy" else number(value)
        page.write(page.width, 0.46, text, fontsize=LARGE, fontweight="bold", ha="right")
        page.write(page.width, 0.68, what, fontsize=NORMAL, color=style.quiet, ha="right")


def _draw_several(runs: Sequence[Run], style: Style) -> Drawing:
    """Curves, and a list of the runs: beside the curves where it is short, at their right where it is long."""
    looks = line_looks(len(runs), style)
    curves = _curves(runs)
    short_list = list_height(len(runs)) <= EACH
    rows = max(1, math.ceil((len(curves) + 1) / 2) if short_list else len(curves))
    height = HEAD + max(rows * EACH, 0.0 if short_list else list_height(len(runs))) + 0.2
    figure = _figure(height, style)
    page = Panel(figure, MARGIN, 0, WIDTH - 2 * MARGIN, HEAD)
    names = {run.settings["data"] for run in runs} - {None}
    where = f" on {last_part(str(names.pop()))}" if len(names) == 1 else ""
    page.write(0, 0.46, short(f"{len(runs)} runs{where}", 60), fontsize=LARGE, fontweight="bold")
    validated = all(run.measured["validation_loss"] is not None for run in runs)
    words = f"best first, by {'validation' if validated else 'training'} cost"
    differ = differing_settings(runs)
    if differ:
        words += f"; they differ in {', '.join(name.replace('_', ' ') for name in differ)}"
    page.write(0, 0.68, short(words, 125), fontsize=NORMAL, color=style.quiet)
    each = (height - HEAD - 0.2) / rows
    for place, (field, texts) in enumerate(curves):
        column, row = (place // rows, place % rows) if short_list else (0, place)
        left, top = (RIGHT, HEAD + (row + 1) * each) if column else (MARGIN, HEAD + row * each)
        width = WIDTH - MARGIN - RIGHT if column else HALF
        draw_overlay(Panel(figure, left, top, width, each), runs, looks, field, texts, style)
    draw_list(Panel(figure, RIGHT, HEAD, WIDTH - MARGIN - RIGHT, height - HEAD - 0.2), runs, looks, style)
    return Drawing(figure, ())


def _curves(runs: Sequence[Run]) -> list[tuple[str, tuple[str, str]]]:
    """What was measured after each epoch of any of the runs: costs, and accuracy of validation or training samples."""
    found = [("loss", ("Training cost", "mean per sample, while the weights change"))]
    others = (
        ("validation_loss", ("Validation cost", "the lowest is the best epoch")),
        ("validation_accuracy", ("Validation accuracy", "after each epoch")),
        ("train_accuracy", ("Training accuracy", "after each epoch")),
    )
    found += [each for each in others if any(points_of(run.history, each[0])[0] for run in runs)]
    return found[:3]
