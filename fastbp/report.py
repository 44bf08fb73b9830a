"""What the commands answer: facts are gathered and laid out as tables for people, or as plain values for JSON.

In: results, models, datasets. Out: dictionaries for `--json`, and lines on stdout. What a file says about itself
(names, settings) is shown without control characters.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .console import aligned, draw_images, echo, folded, percent, printable, seconds, shortened, size, table
from .errors import DataError, FastbpError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .data import Dataset
    from .model import Model

__all__ = [
    "class_numbers",
    "dataset_rows",
    "model_facts",
    "prediction_lists",
    "sample_rows",
    "show_datasets",
    "show_evaluation",
    "show_files",
    "show_predictions",
    "show_samples",
    "show_training",
    "verify_files",
]

Array = Any
MOST_CLASSES = 40
MOST_COLUMNS = 8
STOPPED = {
    "patience": "the validation cost did not fall any more (--patience)",
    "stop_below": "the cost fell below --stop-below",
    "time_limit": "the time was up (--time-limit)",
    "converged": "no partial derivative of the cost is larger than --tol, or the cost did not change any more",
    "line_search": "no step lowers the cost in this precision (--dtype float64 goes further)",
}


def show_training(result: Any, saved: Path | None, keeps_best: bool = False) -> None:
    """The result of a training run; `keeps_best` where its model is that of the epoch with the lowest cost."""
    lines = []
    if result.test_accuracy is not None:
        lines.append(("test accuracy", percent(result.test_accuracy)))
    elif result.test_loss is not None:
        lines.append(("test loss", f"{result.test_loss:.4g}"))
    if result.validation_loss is not None:
        accuracy = "" if result.validation_accuracy is None else f"{percent(result.validation_accuracy)}, "
        lines.append(("validation", f"{accuracy}loss {result.validation_loss:.4g}"))
    if result.train_accuracy is not None:
        lines.append(("train accuracy", percent(result.train_accuracy)))
    lines.append(("loss", f"{result.loss:.4g}"))
    speed = result.samples_per_second
    lines.append(("training", f"{result.epochs:,} epochs, {seconds(result.train_seconds)} s, {speed:,.0f} samples/s"))
    if result.stopped != "epochs":
        why = STOPPED.get(result.stopped, printable(result.stopped))
        lines.append(("stopped", f"early, because {why}"))
    if result.restores:
        again = "an epoch was" if result.restores == 1 else f"{result.restores} times, an epoch was"
        lines.append(("restored", f"{again} begun again with half the learning rate"))
    best, model = result.best_epoch, []
    if saved is not None:
        model.append(f"{printable(saved, 200)} ({size(os.path.getsize(saved))})")
    if best is not None and best != result.epochs:
        if keeps_best or result.model.config.get("patience"):
            cost = "training" if result.validation_loss is None else "validation"
            model.append(f"of epoch {best:,}, which has the lowest {cost} cost")
        else:
            lines.append(("best epoch", f"{best:,}, by the validation cost; the model is that of the last"))
    if model:
        lines.append(("model", ", ".join(model)))
    for name, text in lines:
        first, *more = folded(text, sys.stdout, 1000, 16)
        echo("\n".join([f"{name:<15} {first}", *(" " * 16 + line for line in more)]), bold=name == "test accuracy")


def class_numbers(model: Model, dataset: Dataset, y: Array) -> Array:
    """The targets of a dataset as the model numbers its classes.

    Raises
    ------
    UsageError
        another number of features or classes, or classes that the model does not know; both sides are named
    """
    import numpy as np

    n_inputs, n_outputs = model.network.sizes[0], model.network.sizes[-1]
    if dataset.n_features != n_inputs:
        raise UsageError(
            f"{dataset.name} has {dataset.n_features} features and the model reads {n_inputs}; they must be equal"
        )
    if model.is_regression != dataset.is_regression:
        kinds = ("classes", "target values")
        here, there = kinds[dataset.is_regression], kinds[model.is_regression]
        raise UsageError(f"{dataset.name} holds {here}, and the model was trained on {there}")
    if model.is_regression:
        if y.shape[1] != n_outputs:
            raise UsageError(
                f"{dataset.name} has {y.shape[1]} target values and the model {n_outputs}; they must be equal"
            )
        return y
    known = {name: number for number, name in enumerate(model.class_names)}
    if all(name in known for name in dataset.class_names):
        return np.array([known[name] for name in dataset.class_names], dtype=np.int32)[y]
    if dataset.n_classes != len(known):
        raise UsageError(
            f"{dataset.name} has {dataset.n_classes} classes and the model {len(known)}; they must be equal"
        )
    counted = tuple(map(str, range(len(known))))
    if counted in (dataset.class_names, model.class_names):
        return y
    strange = next(name for name in dataset.class_names if name not in known)
    raise UsageError(
        f"{dataset.name} has the class {printable(strange)!r}, which the model does not know; "
        f"its classes are {printable(', '.join(model.class_names), 200)}"
    )


def show_evaluation(model: Model, x: Array, y: Array, loss: float, accuracy: float | None) -> None:
    """Accuracy, loss, and how each class fares."""
    if accuracy is not None:
        echo(f"{'accuracy':<15} {percent(accuracy)}", bold=True)
    echo(f"{'loss':<15} {loss:.4g}")
    echo(f"{'samples':<15} {len(x):,}")
    if accuracy is None:
        return
    from .metrics import confusion_matrix

    counts = confusion_matrix(model.predict(x), y, len(model.class_names))
    rows = []
    for number, row in enumerate(counts):
        total, right = int(row.sum()), int(row[number])
        if total == 0:
            continue
        row[number] = 0
        worst = int(row.argmax())
        mistaken = f"{printable(model.class_names[worst], 20)} ({row[worst]:,})" if row[worst] else ""
        name = printable(model.class_names[number], 24)
        rows.append((right / total, (name, percent(right / total), f"{right:,}", f"{total:,}", mistaken)))
    if len(rows) > MOST_CLASSES:
        echo(f"the {MOST_CLASSES} of {len(rows)} classes that fare worst:")
        rows = sorted(rows, key=lambda row: row[0])[:MOST_CLASSES]
    echo()
    table(("class", "accuracy", "right", "of", "most often taken for"), [row for _, row in rows], left=(0, 4))


def prediction_lists(model: Model, outputs: Array, answers: Array) -> dict[str, Any]:
    """Labels and probabilities, one entry per sample; or values. Labels are numbers where all class names are."""
    from .noise import probabilities

    if model.is_regression:
        return {"values": outputs}
    names: list[Any] = list(model.class_names)
    if all(str(number) == name for number, name in enumerate(names)):
        names = list(range(len(names)))
    return {
        "labels": [names[answer] for answer in answers],
        "probabilities": probabilities(model, outputs),
        "classes": names,
    }


def show_predictions(model: Model, files: list[str], outputs: Array, answers: Array) -> None:
    """One row per sample: what it is, how sure that is, and what comes next."""
    from .noise import probabilities

    several = len(set(files)) < len(files)
    counted: dict[str, int] = {}
    rows = []
    shares = None if model.is_regression else probabilities(model, outputs)
    for k, file in enumerate(files):
        number = counted[file] = counted.get(file, -1) + 1
        name = shortened(file, 32) + (f" [{number}]" if several else "")
        if shares is None:
            rows.append((name, *(f"{value:.6g}" for value in outputs[k])))
            continue
        row = shares[k].copy()
        answer = int(answers[k])
        certainty, row[answer] = row[answer], -1.0
        next_best = int(row.argmax())
        label, second = (printable(model.class_names[n], 20) for n in (answer, next_best))
        rows.append((name, label, percent(certainty), f"{second} ({percent(max(row[next_best], 0.0))})"))
    if shares is None:
        table(("file", *(f"value {k + 1}" if outputs.shape[1] > 1 else "value" for k in range(outputs.shape[1]))), rows)
    else:
        table(("file", "label", "probability", "next"), rows, left=(0, 1, 3))


def dataset_rows() -> list[dict[str, Any]]:
    """The named datasets, and where they are."""
    from .data.folders import download_folder, idx_folders
    from .data.sources import GENERATED, PUBLISHED

    drawn = {"name": GENERATED, "title": "built in: digits drawn like handwriting", "licence": "MIT", "bytes": 0}
    rows: list[dict[str, Any]] = [{**drawn, "place": "drawn on first use"}]
    for item in PUBLISHED.values():
        folder = download_folder(item.name)
        try:
            found = idx_folders(item.name)
        except DataError:
            found = None
        place: str | None = None
        if found and all(found):
            place = str(Path(str(found[0])).parent)
        elif all((folder / pin.name).is_file() for pin in item.files):
            place = str(folder)
        rows.append(
            {
                "name": item.name,
                "title": item.title,
                "licence": item.licence,
                "bytes": sum(pin.size for pin in item.files),
                "place": place,
            }
        )
    return rows


def show_datasets(rows: list[dict[str, Any]]) -> None:
    """The named datasets as a table."""
    shown = []
    for row in rows:
        title, weight = row["title"].split(": ")[-1].split(" (")[0], size(row["bytes"]) if row["bytes"] else "-"
        shown.append((row["name"], title, weight, printable(row["place"] or "not here yet", 100)))
    table(("name", "what", "size", "where"), shown, left=(0, 1, 3))


def verify_files(what: str | None) -> list[dict[str, str]]:
    """The state of the files of a dataset (a name), of all of them (None), or of those at a path.

    Returns
    -------
    list of dict
        name, file, status (ok, damaged, unknown, missing) and detail of each file
    """
    from .data.download import verify
    from .data.sources import GENERATED, NAMES, PUBLISHED

    if what == GENERATED:
        raise UsageError(
            f"{GENERATED} is drawn on this machine and has no files to verify; names are {', '.join(PUBLISHED)}"
        )
    if what is None or what in NAMES:
        names = list(PUBLISHED) if what is None else [what]
        return [
            {"name": name, "file": record.path or record.name, "status": record.status, "detail": record.detail}
            for name in names
            for record in verify(name)
        ]
    path = Path(what)
    if not path.exists():
        raise DataError(f"{what} does not exist, and is no name of a dataset ({', '.join(NAMES)})")
    if path.is_file():
        return [_checked(path)]
    files = sorted(file for file in (*path.glob("*"), *path.glob("*/*"), *path.glob("*/raw/*")) if _is_data(file))
    if not files:
        raise DataError(f"{what} holds no dataset files (IDX, .npz, .csv)")
    rows = [_checked(file) for file in files]
    for row in rows:  # a stranger among the files of a published set is a damaged member of it
        folder = Path(row["file"]).parent
        kin = {other["name"] for other in rows if other["status"] == "ok" and Path(other["file"]).parent == folder}
        if row["status"] == "unknown" and len(kin) == 1 and row["file"].endswith(".gz"):
            row.update(name=kin.pop(), status="damaged", detail="differs from the published file")
    return rows


def _is_data(file: Path) -> bool:
    return file.is_file() and ("ubyte" in file.name or file.suffix in (".npz", ".csv"))


def _checked(path: Path) -> dict[str, str]:
    """One file: ok where its checksum is a published one, unknown where it can be read, else damaged."""
    import hashlib

    from .data.idx import read_idx
    from .data.sources import PUBLISHED
    from .files import open_regular

    with open_regular(path) as file:
        digest = hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
    row = {"name": "", "file": str(path), "status": "unknown", "detail": "readable; not a published file"}
    for item in PUBLISHED.values():
        if any(pin.sha256 == digest for pin in item.files):
            return {**row, "name": item.name, "status": "ok", "detail": f"sha256 {digest}"}
    try:
        if "ubyte" in path.name:
            read_idx(path)
        else:
            from .data import load_dataset

            load_dataset(path)
    except FastbpError as error:
        row.update(status="damaged", detail=str(error))
    return row


def show_files(rows: list[dict[str, str]]) -> None:
    """The state of files as a table."""
    shown = []
    for row in rows:
        detail = "" if row["status"] == "ok" else printable(row["detail"], 160)
        shown.append((row["status"], row["name"], printable(row["file"], 100), detail))
    table(("status", "name", "file", "detail"), shown, left=(0, 1, 2, 3))


def sample_rows(dataset: Dataset, count: int, seed: int) -> NDArray[Any]:
    """The numbers of `count` training samples, drawn by `seed`."""
    from .streams import permutation, stream_key

    return permutation(stream_key(seed, "shuffle"), len(dataset.x_train))[:count]


def show_samples(dataset: Dataset, chosen: Array) -> None:
    """Images as pictures, everything else as a table."""
    import numpy as np

    x, y = dataset.x_train[chosen], dataset.y_train[chosen]
    if dataset.is_regression:
        targets = [", ".join(f"{value:.6g}" for value in row) for row in y]
    else:
        targets = [printable(dataset.class_names[number], 24) for number in y]
    if dataset.image_shape is not None:
        if x.dtype != np.uint8:
            low, high = float(x.min()), float(x.max())
            x = ((x - low) * (255 / (high - low or 1.0))).astype(np.uint8)
        for line in draw_images(x.reshape(-1, *dataset.image_shape), targets):
            echo(line)
        return
    names = dataset.feature_names or tuple(f"x{k}" for k in range(dataset.n_features))
    more = ("...",) if len(names) > MOST_COLUMNS else ()
    headers = (*(printable(name, 16) for name in names[:MOST_COLUMNS]), *more, "target")
    rows = [
        (*(f"{value:.6g}" for value in row[:MOST_COLUMNS]), *more, target)
        for row, target in zip(x, targets, strict=True)
    ]
    for line in aligned(headers, rows, left=()):
        echo(line)


def model_facts(path: str) -> dict[str, Any]:
    """What a model file holds."""
    from .model import load

    model = load(path)
    network = model.network
    inputs = model.inputs
    scaling = "per feature" if inputs.n_features is not None else f"(x - {inputs.shift:.6g}) * {inputs.scale:.6g}"
    return {
        "file": path,
        "bytes": os.path.getsize(path),
        "network": str(network),
        "activations": list(network.activations),
        "cost": network.cost,
        "parameters": network.n_parameters,
        "dtype": model.parameters.dtype.name,
        "inputs": scaling,
        "image_shape": None if model.image_shape is None else list(model.image_shape),
        "classes": list(model.class_names) or None,
        "data": model.data_name or None,
        "data_sha256": model.data_sha256 or None,
        "fastbp": model.fastbp_version,
        "settings": dict(model.config),
    }
