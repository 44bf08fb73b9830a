"""A run folder as one HTML file: how it went, what its model is good at, and which mistakes it makes.

In: a folder that `fastbp train --out` wrote, finished or not. Out: a page without a server and without a network, put
together by `parts`: numbers, learning curves, confusion matrix, mistakes, settings, and the part to draw in
for models of square pictures. Refused: folders that hold no run. Where the run's data is not there any more, or is not
what it was, the page does without what depends on it, and says so.

The same run gives the same bytes. No path of this machine goes into them but the last parts of names.
"""

from __future__ import annotations

import html
import math
import os
import shlex
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..activations import name_of
from ..config import Config
from ..errors import FastbpError, UsageError
from ..files import write_atomically
from ..metrics import EpochRecord, best_record
from ..model import Model
from ..model_checks import last_part
from ..runs.folder import RunFolder
from ..runs.mistakes import answers_of
from .answers import described_answers, rounded
from .model_page import DRAWING_SCRIPTS, DRAWING_STYLES, MAX_BYTES, check_drawable, described
from .parts import filled, html_file, template
from .settings import described_settings

__all__ = ["SCRIPTS", "Report", "report_of", "to_report"]

Progress = Callable[[str, int, int | None], None]

BASE_SCRIPTS = ("numbers.js", "elements.js")
SCRIPTS = ("tables.js", "axes.js", "curves.js", "scatter.js", "confusion.js", "mistakes.js", "report.js")
SERIES = ("loss", "validation_loss", "train_accuracy", "validation_accuracy", "test_accuracy", "learning_rate")
MOST_EPOCHS = 1000  # that are all drawn
STRETCHES = 200  # of more epochs, the extremes of so many stretches
ENDINGS = {
    "patience": "the validation cost had not fallen for a while",
    "stop_below": "the training cost was low enough",
    "time_limit": "its time was up",
    "interrupted": "it was interrupted",
    "diverged": "it diverged",
    "converged": "it converged",
    "line_search": "no step lowered the cost any more",
}


class Report(NamedTuple):
    """A report, and what became of its parts."""

    page: bytes
    finished: bool
    mistakes: int | None  # of the model; None without its data, or for target values
    missing: str | None  # why there are no answers of the model: a sentence that may name a path


def to_report(folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Write the report of a run as an HTML file, which is replaced whole. The same run gives the same bytes.

    Parameters
    ----------
    folder : path
        a run folder; reading it needs no lock, so that a run may go on meanwhile
    path : path

    Raises
    ------
    UsageError
        a folder that holds no run
    FastbpError
        a damaged file in it; the page cannot be written, and an older one is untouched

    Examples
    --------
    >>> import fastbp
    >>> fastbp.to_report("runs/a", "report.html")  # doctest: +SKIP
    """
    write_atomically(path, report_of(RunFolder(folder)).page)


def report_of(folder: RunFolder, progress: Progress | None = None) -> Report:
    """The report of a run; `progress` hears of its data as it is loaded. The errors are those of `to_report`."""
    settings, history, summary = folder.settings(), folder.history(), folder.summary()
    best, said = best_record(history), (summary or {}).get("best_epoch")
    best_epoch = said if isinstance(said, int) else best.epoch if best else None
    model, answers, note, missing = _judged(folder, progress)
    name, data = _name(folder), model.data_name if model else last_part(str(settings.get("data", "digits")))
    network = _network(settings, model, summary)
    run = {
        "finished": summary is not None,
        "note": note,
        "tiles": _tiles(history, summary),
        "facts": _facts(settings, model, history, summary),
        "curves": _curves(history, best_epoch, settings),
        "answers": answers,
        "settings": described_settings(settings, model),
        "command": f"fastbp train --config {shlex.quote(name + '/config.toml')} --out OTHER",
    }
    words = {"title": f"{network} on {data}", "name": name, "state": _state(settings, history, summary)}
    drawable = model is not None and _is_drawable(model)
    page = _page(words, run, model if drawable else None)
    if drawable and len(page) > MAX_BYTES:
        page = _page(words, run, None)
    return Report(page, summary is not None, answers.get("wrong") if answers else None, missing)


def _judged(
    folder: RunFolder, progress: Progress | None
) -> tuple[Model | None, dict[str, Any] | None, str, str | None]:
    """The model and its answers; where there are none, why not, in words for the page and in those of the error."""
    if not folder.model_file.exists():
        return None, None, "This run has no model yet.", None
    try:
        model = folder.model()
    except UsageError as error:
        note = "The model needs functions of your own, which no model file holds: it is not in this page."
        return None, None, note, str(error)
    try:
        dataset = folder.dataset(progress)
    except FastbpError as error:
        note = "The data of this run could not be loaded: how the model answers to it is not in this page."
        return model, None, note, str(error)
    try:
        return model, described_answers(answers_of(model, dataset), model, dataset), "", None
    except UsageError as error:
        note = "The data is not what it was when the run began: how the model answers to it is not in this page."
        return model, None, note, str(error)


def _is_drawable(model: Model) -> bool:
    """True for models that the part in which one draws can show."""
    try:
        check_drawable(model)
    except UsageError:
        return False
    return True


def _page(words: dict[str, str], run: dict[str, Any], model: Model | None) -> bytes:
    """The file; with a model, the part in which one draws is in it."""
    inside = "" if model is None else filled(template("inside.html"), {"drawing": template("drawing.html")})
    body = {name: html.escape(text) for name, text in words.items()}
    return html_file(
        f"fastbp: {words['title']}",
        filled(template("report.html"), {**body, "inside": inside}),
        (*DRAWING_STYLES, "report.css") if model else ("frame.css", "report.css"),
        (*(DRAWING_SCRIPTS if model else BASE_SCRIPTS), *SCRIPTS),
        {"run": run} if model is None else {"model": described(model), "run": run},
    )


def _name(folder: RunFolder) -> str:
    """What the folder is called, without the way to it."""
    return last_part(folder.path.resolve().name) or "run"


def _network(settings: dict[str, Any], model: Model | None, summary: dict[str, Any] | None) -> str:
    """784-16-16-10; where nothing knows it yet, what the settings say."""
    found = str(model.network) if model else (summary or {}).get("network")
    return found if isinstance(found, str) else f"layers {settings.get('layers', Config().layers)}"


def _state(settings: dict[str, Any], history: Sequence[EpochRecord], summary: dict[str, Any] | None) -> str:
    """How far the run came, and why it ended."""
    wanted, done = settings.get("epochs", Config().epochs), len(history)
    if summary is None:
        what = (
            f" The numbers are those after epoch {done:,}, the answers those of the best model so far." if done else ""
        )
        return f"Not finished: {done:,} of {wanted:,} epochs so far; fastbp train --resume goes on with it.{what}"
    stopped = str(summary.get("stopped", "epochs"))
    if stopped == "epochs":
        return f"All {done:,} epochs are done." if done > 1 else f"{'One epoch' if done else 'No epoch'}, as asked."
    return f"Ended after {done:,} of {wanted:,} epochs: {ENDINGS.get(stopped, stopped)}."


def _tiles(history: Sequence[EpochRecord], summary: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The numbers that one looks for first: {name, value, kind}. Of an unfinished run, those after its last epoch."""
    found = summary if summary is not None else history[-1].as_dict() if history else {}
    wanted = (
        ("test accuracy", "test_accuracy", "share"),
        ("validation accuracy", "validation_accuracy", "share"),
        ("training accuracy", "train_accuracy", "share"),
        ("test cost", "test_loss", "number"),
        ("validation cost", "validation_loss", "number"),
        ("training cost", "loss", "number"),
        ("best epoch", "best_epoch", "count"),
    )
    tiles = [{"name": name, "value": _number(found.get(key)), "kind": kind} for name, key, kind in wanted]
    return [tile for tile in tiles if tile["value"] is not None]


def _number(value: Any) -> float | None:
    """A finite number as it is; None for anything else, whatever a file says."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return value if plain and math.isfinite(value) else None


def _facts(
    settings: dict[str, Any], model: Model | None, history: Sequence[EpochRecord], summary: dict[str, Any] | None
) -> list[list[str]]:
    """Names and texts."""
    said = summary or {}
    seconds = _number(said.get("train_seconds", sum(each.seconds for each in history)))
    speed = _number(said.get("samples_per_second"))
    network = model.network if model else None
    facts = {
        "weights and biases": f"{network.n_parameters:,}" if network else None,
        "activations": ", ".join(map(name_of, network.activations)) if network else None,
        "cost": network.cost if network else settings.get("cost"),
        "optimizer": settings.get("optimizer", Config().optimizer),
        "seed": settings.get("seed", Config().seed),
        "engine": said.get("engine"),
        "seconds of training": None if seconds is None else f"{seconds:.3g}" if seconds < 100 else f"{seconds:,.0f}",
        "samples per second": None if speed is None else f"{speed:,.0f}",
        "restores": said.get("restores") or None,
        "fastbp": said.get("fastbp", model.fastbp_version if model else None),
    }
    return [[name, str(value)] for name, value in facts.items() if value is not None]


def _curves(history: Sequence[EpochRecord], best: int | None, settings: dict[str, Any]) -> dict[str, Any]:
    """One list for each series, all for the same epochs; None for a series that was never measured."""
    table = np.array([[getattr(each, name) for name in SERIES] for each in history], dtype=np.float64)
    table = table.reshape(len(history), len(SERIES))
    epochs, notes = [each.epoch for each in history], []
    if settings.get("optimizer") != "lbfgs":
        notes.append("The training cost of an epoch is the mean while the weights were changing.")
    if settings.get("evaluate") == "end":
        notes.append("Accuracies were measured at the end alone.")
    kept = _thinned(table, epochs.index(best) if best in epochs else None)
    columns = {name: rounded(table[kept, column].tolist()) for column, name in enumerate(SERIES)}
    return {
        "total": len(history),
        "notes": notes,
        "best": best if best in epochs else None,
        "epochs": [epochs[i] for i in kept],
        **{name: values if any(v is not None for v in values) else None for name, values in columns.items()},
    }


def _thinned(table: NDArray[np.float64], best: int | None) -> list[int]:
    """The rows that are drawn: all, or of very many the first, the last, the best and the extremes of each stretch."""
    n = len(table)
    if n <= MOST_EPOCHS:
        return list(range(n))
    kept = {0, n - 1} | ({best} if best is not None else set())
    for start, stop in pairwise(np.linspace(0, n, STRETCHES + 1).astype(int).tolist()):
        for column in table[start:stop].T:
            if np.isfinite(column).any():
                finite = np.where(np.isfinite(column), column, np.nan)
                kept |= {start + int(np.nanargmin(finite)), start + int(np.nanargmax(finite))}
    return sorted(kept)
