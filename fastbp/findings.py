"""What `fastbp inspect` answers: findings first, as sentences; then the layers, the mistakes, what matters, the noise.

In: a model, the samples it was measured on, a `Diagnosis`. Out: a dictionary for `--json`, and a page on stdout.
"""

from __future__ import annotations

import dataclasses
import shutil
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .console import draw_images, echo, percent, printable, shortened, table
from .symptoms import FEWEST_SAMPLES

if TYPE_CHECKING:
    from .data import Dataset
    from .diagnostics import Diagnosis, ImportantParameter, LayerFacts
    from .model import Model

__all__ = ["diagnosis_facts", "in_place", "show_diagnosis"]

Array = Any
LINE_WIDTH = 100
MOST_CLASSES = 5  # that are named in the answer to noise


def in_place(diagnosis: Diagnosis, chosen: Array) -> Diagnosis:
    """A diagnosis of the samples `chosen` from a split, with their numbers in that split."""
    worst = tuple(dataclasses.replace(sample, index=int(chosen[sample.index])) for sample in diagnosis.worst)
    return dataclasses.replace(diagnosis, worst=worst)


def diagnosis_facts(diagnosis: Diagnosis, model: Model) -> dict[str, Any]:
    """Everything by name, JSON-ready; class numbers count the entries of `classes`."""
    facts = diagnosis.as_dict()
    facts["samples"] = facts.pop("n_samples")
    return {**facts, "classes": list(model.class_names)}


def show_diagnosis(diagnosis: Diagnosis, model: Model, dataset: Dataset, split: str, x: Array, top: int) -> None:
    """The page for people.

    Parameters
    ----------
    diagnosis : Diagnosis
        its samples are numbered as in the split
    model : Model
    dataset : Dataset
    split : str
        train or test
    x : (n, n_features)
        all samples of the split
    top : int
        how many inputs are named
    """
    said = f"accuracy {percent(diagnosis.accuracy)}, " if diagnosis.accuracy is not None else ""
    name = shortened(dataset.name, 40)
    echo(f"{diagnosis.n_samples:,} {split} samples of {name}: {said}loss {diagnosis.loss:.4g}", bold=True)
    echo()
    _show_findings(diagnosis)
    _show_layers(diagnosis.layers)
    _show_worst(diagnosis, model, dataset, x)
    _show_confusions(diagnosis, model)
    _show_parameters(diagnosis.parameters, model, dataset)
    _show_inputs(diagnosis.saliency, model, dataset, top)
    _show_noise(diagnosis, model)


def _show_findings(diagnosis: Diagnosis) -> None:
    """What is unusual, a sentence for each."""
    if not diagnosis.findings:
        echo("nothing unusual")
    for finding in diagnosis.findings:
        echo(_folded(printable(finding.text, 1000), "* "))
    if diagnosis.n_samples < FEWEST_SAMPLES:
        fewest, here = FEWEST_SAMPLES, diagnosis.n_samples
        echo(
            _folded(f"what units do on every sample is judged from {fewest} samples on, and not from {here}"), dim=True
        )


def _folded(text: str, bullet: str = "") -> str:
    """text in lines that fit the terminal, and that an eye can follow."""
    width = min(LINE_WIDTH, shutil.get_terminal_size((80, 24)).columns)
    return textwrap.fill(text, width, initial_indent=bullet, subsequent_indent=" " * len(bullet))


def _heading(text: str, legend: str = "") -> None:
    echo()
    echo(text, bold=True)
    if legend:
        echo(_folded(legend), dim=True)


def _show_layers(layers: Sequence[LayerFacts]) -> None:
    """One row per layer, twice: how it learns, and what its units do."""
    _heading(
        "How the layers learn",
        "gradient: norm of the gradient of the mean cost by the weights; ratio: that of a layer to the next one's; "
        "delta: error that comes back to the layer, root mean square over the samples",
    )
    table(
        ("layer", "weights", "gradient", "ratio", "delta", "norm of weights", "largest"),
        [
            (
                str(each.layer),
                f"{each.n_inputs} x {'2 x ' if each.activation == 'maxout' else ''}{each.n_units}",
                _short(each.gradient_norm),
                "" if each.gradient_ratio is None else _short(each.gradient_ratio),
                _short(each.delta_norm),
                _short(each.weight_norm),
                _short(each.largest_weight),
            )
            for each in layers
        ],
    )
    _heading(
        "What their units do",
        "saturated: share of activations near a limit of sigmoid or tanh; always: units that are on every sample; "
        "dead: relu units that are positive on none",
    )
    table(
        ("layer", "units", "mean", "deviation", "saturated", "always", "dead"),
        [
            (
                str(each.layer),
                f"{each.n_units} {each.activation}",
                _short(each.mean),
                _short(each.deviation),
                "" if each.saturated_share is None else percent(each.saturated_share),
                "" if each.saturated_units is None else str(each.saturated_units),
                "" if each.dead_units is None else str(each.dead_units),
            )
            for each in layers
        ],
        left=(0, 1),
    )


def _show_worst(diagnosis: Diagnosis, model: Model, dataset: Dataset, x: Array) -> None:
    """The samples with the highest cost, as a table and, where they are images, as pictures."""
    worst = diagnosis.worst
    if model.is_regression:
        _heading("The largest errors")
        table(
            ("sample", "target", "answer", "cost"),
            [(str(each.index), _values(each.target), _values(each.answer), _short(each.cost)) for each in worst],
        )
        return
    is_wrong = any(each.answer != each.target for each in worst)
    _heading(
        "The worst mistakes" if is_wrong else "No mistakes; the samples that come nearest to one",
        "the samples with the highest cost; probability: what the network gives to its answer",
    )
    rows = [
        (
            str(each.index),
            _class(model, each.target),
            _class(model, each.answer) + (" (right)" if each.answer == each.target else ""),
            percent(each.probability),
            percent(each.target_probability),
            _short(each.cost),
        )
        for each in worst
    ]
    table(("sample", "target", "answer", "probability", "of the target", "cost"), rows, left=(0, 1, 2))
    shape = dataset.image_shape or model.image_shape
    if shape is not None:
        labels = [f"{each.index}: {_class(model, each.target)} as {_class(model, each.answer)}" for each in worst]
        _draw(x[[each.index for each in worst]].reshape(-1, *shape), labels)


def _show_confusions(diagnosis: Diagnosis, model: Model) -> None:
    """Which class is taken for which."""
    if not diagnosis.confusions:
        return
    _heading("What is taken for what", "share: of all samples of that class")
    rows = [
        (_class(model, each.target), _class(model, each.answer), f"{each.count:,}", percent(each.share))
        for each in diagnosis.confusions
    ]
    table(("class", "taken for", "times", "share"), rows, left=(0, 1))


def _show_parameters(parameters: Sequence[ImportantParameter], model: Model, dataset: Dataset) -> None:
    """The weights and biases with the largest gradients."""
    if not parameters:
        return
    _heading(
        "The parameters that matter most",
        "those with the largest gradients; the mean cost falls when a parameter moves against its gradient",
    )
    last = len(model.network.sizes) - 1
    rows = []
    for each in parameters:
        if each.from_unit is None:
            begin = "bias"
        else:
            begin = f"unit {each.from_unit}" if each.layer > 1 else _input(each.from_unit, model, dataset)
        is_class = each.layer == last and len(model.class_names) == model.network.sizes[-1]
        end = f"output {_class(model, each.to_unit)}" if is_class else f"unit {each.to_unit}"
        end += "" if each.piece is None else f", piece {each.piece}"
        rows.append((str(each.layer), begin, end, _short(each.value), _short(each.gradient)))
    table(("layer", "from", "to", "value", "gradient"), rows, left=(0, 1, 2))


def _show_inputs(values: Array, model: Model, dataset: Dataset, top: int) -> None:
    """The inputs that the cost depends on most; of images, a picture of all of them."""
    import numpy as np

    shape = model.image_shape
    order = np.argsort(-values, kind="stable")[:top]
    if not (values.any() and np.isfinite(values).all()):
        return
    what = "pixels" if shape else "inputs"
    _heading(f"The {what} that matter most", "mean over the samples of the size of the cost's derivative by the input")
    rows = [(_input(k, model, dataset), _short(values[k])) for k in order.tolist() if values[k] > 0]
    table((what[:-1], "derivative"), rows)
    if shape is not None:
        _draw(values.reshape(1, *shape), ["bright: matters much"])


def _show_noise(diagnosis: Diagnosis, model: Model) -> None:
    """The answers to noise, the most frequent first."""
    noise = diagnosis.noise
    if noise is None:
        return
    _heading("The answer to noise")
    order = sorted(range(len(noise.counts)), key=lambda number: -noise.counts[number])
    given = [number for number in order if noise.counts[number]]
    shares = [f"{_class(model, k)} ({percent(noise.counts[k] / noise.n_samples)})" for k in given[:MOST_CLASSES]]
    more = f" and {len(given) - MOST_CLASSES} more" if len(given) > MOST_CLASSES else ""
    echo(_folded(f"{noise.n_samples:,} samples of uniform noise are taken for: {', '.join(shares)}{more}"))
    sure = percent(noise.sure_share)
    echo(f"mean probability of these answers {percent(noise.probability)}; {sure} of them have 90 % or more")


def _draw(images: Array, labels: Sequence[str]) -> None:
    """Pictures side by side: bytes as they are, other numbers from the smallest, black, to the largest, white."""
    import numpy as np

    if images.dtype != np.uint8:
        low, high = float(images.min()), float(images.max())
        images = ((images - low) * (255 / (high - low or 1.0))).astype(np.uint8)
    for line in ("", *draw_images(images, labels)[:-1]):
        echo(line)


def _class(model: Model, number: Any) -> str:
    return printable(model.class_names[number], 20)


def _input(number: int, model: Model, dataset: Dataset) -> str:
    """What an input is called: a pixel by its place, a column by its name."""
    if model.image_shape is not None:
        row, column = divmod(number, model.image_shape[1])
        return f"row {row}, column {column}"
    return printable(dataset.feature_names[number], 24) if dataset.feature_names else f"input {number}"


def _values(row: Any) -> str:
    return ", ".join(f"{value:.6g}" for value in row)


def _short(value: float) -> str:
    return f"{value:.3g}"
