"""`fastbp train --seeds`: the same network from several seeds, side by side; which one is kept, and what is shown.

The one that is kept has the lowest validation cost, or training cost where nothing was validated: the test samples
choose nothing.
"""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import Config
from .console import decimals, echo, percent, printable
from .errors import DivergedError

if TYPE_CHECKING:
    from .data import Dataset
    from .result import TrainingResult

__all__ = ["best_of", "seeds_facts", "show_seeds", "train_seeds"]


def train_seeds(
    dataset: Dataset, config: Config, seeds: list[int], threads: int | None, view: Any
) -> list[TrainingResult]:
    """Train one network per seed; accuracy is measured at the end."""
    from .many import train_many

    settings = [dataclasses.replace(config, seed=seed, evaluate="end") for seed in seeds]
    return train_many(settings, dataset, threads=threads, on_result=view.on_result, callbacks=(view,))


def best_of(results: list[TrainingResult]) -> TrainingResult:
    """The result with the lowest validation cost, or training cost without validation samples.

    Raises
    ------
    DivergedError
        where every network diverged
    """
    whole = [result for result in results if result.stopped != "diverged"]
    if not whole:
        steps = results[0].model.config.get("learning_rate")  # lbfgs has none
        advice = "use a lower --learning-rate" if steps else "scale the data, or use --weight-decay"
        raise DivergedError(f"all {len(results)} networks diverged; {advice}", results[0])
    return min(whole, key=lambda result: result.loss if result.validation_loss is None else result.validation_loss)


def seeds_facts(results: list[TrainingResult]) -> dict[str, Any]:
    """All results and their summary, JSON-ready."""
    facts: dict[str, Any] = {
        "seeds": [result.seed for result in results],
        "best_seed": best_of(results).seed,
        "diverged": [result.seed for result in results if result.stopped == "diverged"],
    }
    for name in ("test_accuracy", "train_accuracy", "validation_accuracy", "loss", "validation_loss"):
        mean, deviation = _spread(results, name)
        facts |= {f"{name}_mean": mean, f"{name}_deviation": deviation}
    return facts | {"runs": [result.as_dict() for result in results]}


def show_seeds(results: list[TrainingResult], saved: Path | None) -> None:
    """The summary for people."""
    for name, label in (
        ("test_accuracy", "test accuracy"),
        ("validation_accuracy", "validation"),
        ("train_accuracy", "train accuracy"),
        ("loss", "loss"),
    ):
        mean, deviation = _spread(results, name)
        if mean is not None:
            show = decimals if name == "loss" else percent
            spread = "" if deviation is None else f", deviation {show(deviation)}"
            echo(f"{label:<15} {show(mean)} in the mean of {len(results)} seeds{spread}", bold=name == "test_accuracy")
    if saved is not None:
        best = best_of(results)
        cost = "training" if best.validation_loss is None else "validation"
        echo(f"{'model':<15} {printable(saved, 200)}, of seed {best.seed}, which has the lowest {cost} cost")


def _spread(results: list[TrainingResult], name: str) -> tuple[float | None, float | None]:
    """Mean and standard deviation of a number over the runs that have it and did not diverge."""
    values = [getattr(result, name) for result in results if result.stopped != "diverged"]
    values = [value for value in values if value is not None]
    if not values:
        return None, None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
