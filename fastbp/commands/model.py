"""Commands that take a model file: eval, predict, info."""

from __future__ import annotations

from typing import Any

import click

from ..errors import UsageError
from ..options import SectionedCommand, complete_path, data_options, option, output_options, source_option
from .reading import read_dataset

__all__ = ["evaluate", "info", "predict"]


@click.command("eval", cls=SectionedCommand)
@click.argument("model_file", metavar="MODEL", shell_complete=complete_path)
@source_option
@data_options
@option(
    "--split",
    type=click.Choice(["test", "train"]),
    default="test",
    show_default=True,
    section="Data",
    help="samples to use",
)
@option("--seed", type=click.IntRange(0), section="Data", help="of the split, by default the one of the training run")
@output_options
def evaluate(model_file: str, **options: Any) -> None:
    """Measure a model's accuracy and loss on data."""
    from ..console import note, print_json
    from ..model import load
    from ..progress import LiveView
    from ..report import class_numbers, show_evaluation

    model = load(model_file)
    seed = options["seed"] if options["seed"] is not None else int(model.config.get("seed", 0))
    with LiveView(options["quiet"]) as view:
        dataset = read_dataset(options, view, seed, "values" if model.is_regression else "classes")
    x, y = (dataset.x_test, dataset.y_test) if options["split"] == "test" else (dataset.x_train, dataset.y_train)
    if len(x) == 0:
        raise UsageError(f"{dataset.name} has no {options['split']} samples; use --split train")
    y = class_numbers(model, dataset, y)
    loss, accuracy = model.evaluate(x, y)
    if not options["quiet"] and model.data_sha256 and dataset.sha256 != model.data_sha256:
        note(f"note: this is not the data that the model was trained on ({model.data_name})")
    if options["as_json"]:
        name = f"{options['split']}_accuracy"
        print_json({name: accuracy, "loss": loss, "samples": len(x), "model": model_file, "data": dataset.name})
    else:
        show_evaluation(model, x, y, loss, accuracy)


@click.command(cls=SectionedCommand)
@click.argument("model_file", metavar="MODEL", shell_complete=complete_path)
@click.argument("files", metavar="IMAGE...", nargs=-1, required=True, shell_complete=complete_path)
@option("--raw", is_flag=True, section="Data", help="take pictures as they are: no inverting, cutting out or centring")
@output_options
def predict(model_file: str, files: tuple[str, ...], **options: Any) -> None:
    """Say what is on pictures, or in rows of numbers.

    IMAGE is a picture (PNG, JPEG, ...), an IDX file, a .npy array or a .csv table of samples. Pictures of any size are
    prepared as MNIST's were; IDX files and arrays of the right size are taken as they are.
    """
    import numpy as np

    from ..console import print_json
    from ..images import read_samples
    from ..model import load
    from ..report import prediction_lists, show_predictions

    model = load(model_file)
    n_features = model.network.sizes[0]
    shape = model.image_shape or ((28, 28) if n_features == 784 else None)
    centre = not any(name in model.data_name.lower() for name in ("fashion", "kmnist"))
    of_bytes = model.inputs.n_features is None and model.inputs.scale == 1 / 255
    parts = [
        read_samples(file, n_features, shape, of_bytes=of_bytes, centre=centre, raw=options["raw"]) for file in files
    ]
    names = [file for file, part in zip(files, parts, strict=True) for _ in range(len(part))]
    outputs = np.concatenate([model.outputs(part) for part in parts])
    answers = np.concatenate([model.predict(part) for part in parts])
    if options["as_json"]:
        print_json({"model": model_file, "files": names, **prediction_lists(model, outputs, answers)})
    else:
        show_predictions(model, names, outputs, answers)


@click.command(short_help="What is in a model file; without one, what machine this is.")
@click.argument("model_file", metavar="[MODEL]", required=False, shell_complete=complete_path)
@output_options
def info(model_file: str | None, quiet: bool, as_json: bool) -> None:
    """What is in a model file; without one, what this machine and this installation are."""
    from ..console import facts, print_json
    from ..installation import machine_facts
    from ..report import model_facts

    found = machine_facts() if model_file is None else model_facts(model_file)
    print_json(found) if as_json else facts(found.items())
