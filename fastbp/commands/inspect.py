"""`fastbp inspect`: what goes on inside a trained network, and what is unusual about it."""

from __future__ import annotations

from typing import Any

import click

from ..errors import UsageError
from ..options import SectionedCommand, complete_path, data_options, option, output_options, source_option
from .reading import read_dataset

__all__ = ["inspect"]


@click.command(cls=SectionedCommand)
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
@option("--samples", type=click.IntRange(1), metavar="N", section="Data", help="use at most N of them, drawn at random")
@option(
    "--seed",
    type=click.IntRange(0),
    section="Data",
    help="of the split, of the samples that are drawn and of the noise; by default the one of the training run",
)
@option(
    "--top",
    type=click.IntRange(1, 1000),
    metavar="K",
    default=5,
    show_default=True,
    section="Output",
    help="how many mistakes, confusions, parameters and inputs are named",
)
@output_options
def inspect(model_file: str, **options: Any) -> None:
    """What goes on inside a network, and what is unusual about it.

    What is unusual comes first, as sentences: gradients that vanish or explode, units that are dead or saturated. Then
    the layers one by one, the worst mistakes, the parameters and inputs that matter most, and the answer to noise.
    """
    import numpy as np

    from ..console import note, print_json
    from ..diagnostics import diagnose
    from ..findings import diagnosis_facts, in_place, show_diagnosis
    from ..model import load
    from ..progress import LiveView
    from ..report import class_numbers
    from ..streams import permutation, stream_key

    model = load(model_file)
    seed = options["seed"] if options["seed"] is not None else int(model.config.get("seed", 0))
    with LiveView(options["quiet"]) as view:
        dataset = read_dataset(options, view, seed, "values" if model.is_regression else "classes")
    split = options["split"]
    x, y = (dataset.x_test, dataset.y_test) if split == "test" else (dataset.x_train, dataset.y_train)
    if len(x) == 0:
        raise UsageError(f"{dataset.name} has no {split} samples; use --split train")
    y = class_numbers(model, dataset, y)
    chosen = np.arange(len(x))
    if options["samples"] is not None:
        chosen = np.sort(permutation(stream_key(seed, "shuffle"), len(x))[: options["samples"]])
    every = len(chosen) == len(x)
    diagnosis = diagnose(model, x if every else x[chosen], y if every else y[chosen], top=options["top"], seed=seed)
    diagnosis = in_place(diagnosis, chosen)
    if not options["quiet"] and model.data_sha256 and dataset.sha256 != model.data_sha256:
        note(f"note: this is not the data that the model was trained on ({model.data_name})")
    if options["as_json"]:
        place = {"model": model_file, "data": dataset.name, "split": split}
        print_json({**place, **diagnosis_facts(diagnosis, model)})
    else:
        show_diagnosis(diagnosis, model, dataset, split, x, options["top"])
