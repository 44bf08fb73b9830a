"""`fastbp data`: datasets, what there is, getting, checking and looking at them."""

from __future__ import annotations

from typing import Any

import click

from ..errors import DataError, UsageError
from ..options import SectionedCommand, complete_data, complete_name, data_options, output_options
from .reading import read_dataset

__all__ = ["data"]


@click.group()
def data() -> None:
    """Datasets: what there is, getting, checking and looking at them."""


@data.command("list")
@output_options
def data_list(quiet: bool, as_json: bool) -> None:
    """The datasets that have a name, and where they are on this machine."""
    from ..console import print_json
    from ..report import dataset_rows, show_datasets

    rows = dataset_rows()
    print_json({"datasets": rows}) if as_json else show_datasets(rows)


@data.command("get")
@click.argument("name", shell_complete=complete_name)
@output_options
def data_get(name: str, quiet: bool, as_json: bool) -> None:
    """Download (or, for digits, draw) a dataset, so that it is there without a network."""
    from ..console import echo, print_json
    from ..data import load_dataset
    from ..data.sources import NAMES
    from ..progress import LiveView

    if name not in NAMES:
        raise UsageError(f"there is no dataset {name!r}; the names are {', '.join(NAMES)}")
    with LiveView(quiet) as view:
        dataset = load_dataset(name, progress=view.on_progress)
    counts = {"train": len(dataset.x_train), "test": len(dataset.x_test)}
    if as_json:
        print_json({"name": name, **counts})
    else:
        echo(f"{name} is here: {counts['train']:,} training and {counts['test']:,} test samples")


@data.command("verify")
@click.argument("what", metavar="[NAME|PATH]", required=False, shell_complete=complete_data)
@output_options
def data_verify(what: str | None, quiet: bool, as_json: bool) -> None:
    """Compare files with the published checksums; without NAME, all of them."""
    from ..console import print_json
    from ..report import show_files, verify_files

    rows = verify_files(what)
    print_json({"files": rows}) if as_json else show_files(rows)
    damaged = [row["file"] for row in rows if row["status"] == "damaged"]
    if damaged:
        raise DataError(f"damaged: {', '.join(damaged)}; remove them and run: fastbp data get NAME")


@data.command("show", cls=SectionedCommand)
@click.argument("name", metavar="NAME|PATH", shell_complete=complete_data)
@click.option("-n", "count", type=click.IntRange(1, 1000), default=5, show_default=True, help="how many samples")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="which samples")
@data_options
@output_options
def data_show(name: str, count: int, seed: int, **options: Any) -> None:
    """A few training samples, in the terminal."""
    from ..console import print_json
    from ..progress import LiveView
    from ..report import sample_rows, show_samples

    with LiveView(options["quiet"]) as view:
        dataset = read_dataset({**options, "data": name}, view, 0)
    chosen = sample_rows(dataset, count, seed)
    if options["as_json"]:
        print_json(
            {"samples": dataset.x_train[chosen], "targets": dataset.y_train[chosen], "classes": dataset.class_names}
        )
    else:
        show_samples(dataset, chosen)
