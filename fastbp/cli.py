"""The command line: options become a Config, one call does the work, the result is shown.

    fastbp train | eval MODEL | predict MODEL IMAGE... | data list, get, verify, show | info [MODEL] | warmup | bench

Options that are settings come from the fields of `Config`, with their defaults, limits and help texts. NumPy, Numba
and rich are imported by the commands that need them, so that `fastbp --help` answers at once. Errors rise, and
`fastbp.__main__` puts them into words.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from . import __version__
from .config import SQUARED_COSTS, Config
from .errors import DataError, DivergedError, FastbpError, UsageError
from .options import SectionedCommand, data_options, option, option_name, output_options, setting_options, source_option

if TYPE_CHECKING:
    from .data import Dataset
    from .model import Model
    from .progress import LiveView

__all__ = ["cli"]

DEFAULT_MODEL = "model.safetensors"
HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=HELP)
@click.version_option(__version__, prog_name="fastbp", message="%(prog)s %(version)s")
def cli() -> None:
    """Train small neural networks by backpropagation, compiled for this machine.

    Begin with: fastbp train
    """


@cli.command(cls=SectionedCommand)
@source_option
@data_options
@setting_options
@option("--init-from", metavar="MODEL", section="Training", help="begin with the weights of this model file")
@option("--seeds", metavar="LIST", section="Training", help="train one network per seed, side by side: 0-9 or 1,5,7")
@option(
    "--threads",
    type=click.IntRange(1, 1024),
    section="Machine",
    help="networks trained at the same time, with --seeds; by default one per core",
)
@option(
    "--save", metavar="PATH", section="Output", default=DEFAULT_MODEL, show_default=True, help="where the model goes"
)
@option("--no-save", is_flag=True, section="Output", help="keep no model")
@output_options
@click.pass_context
def train(ctx: click.Context, /, **options: Any) -> None:
    """Train a network; write it to a model file.

    Examples: fastbp train; fastbp train --data mnist --layers 32-16; fastbp train --data iris.csv --label species
    """
    from .console import print_json
    from .progress import LiveView

    chosen = {name: options[name] for name in Config.__dataclass_fields__}
    save = None if options["no_save"] or not options["save"] else Path(options["save"])
    if save is not None:
        check_destination(save)
    start = None
    if options["init_from"]:
        from .model import load

        start = load(options["init_from"])
        given = {name for name in chosen if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT}
        chosen |= {name: value for name, value in network_settings(start).items() if name not in given}
    config = with_option_names(lambda: Config(**chosen))
    seeds = seeds_for(options)
    if config.engine in ("auto", "fused"):  # they do without BLAS, whose threads take 30 of 440 ms to start and to end
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with LiveView(options["quiet"]) as view:
        target = "values" if config.cost in SQUARED_COSTS else "auto"
        dataset = read_dataset(options, view, config.seed, target)
        view.data_name = dataset.name
        if seeds:
            from .seeds import best_of, train_seeds

            results = with_option_names(lambda: train_seeds(dataset, config, seeds, options["threads"], view))
            result = best_of(results)
        else:
            result = run_training(dataset, config, start, view, save)
    problem = None
    if save is not None:
        try:
            result.model.save(save)
        except FastbpError as error:
            problem = FastbpError(f"training is done, but the model is not saved: {error}")
    saved = save if problem is None else None
    model = None if saved is None else str(saved)
    if seeds:
        from .seeds import seeds_facts, show_seeds

        print_json({**seeds_facts(results), "model": model}) if options["as_json"] else show_seeds(results, saved)
    elif options["as_json"]:
        print_json({**result.as_dict(), "model": model})
    else:
        from .report import show_training

        show_training(result, saved)
    if problem is not None:
        raise problem


def seeds_for(options: dict[str, Any]) -> list[int]:
    """The seeds of --seeds, none without it; refuses what does not go with them."""
    if options["seeds"] is None:
        if options["threads"] is not None:
            raise UsageError("--threads is for --seeds: one network is trained on one core")
        return []
    if options["init_from"]:
        raise UsageError("--seeds begins with random weights; leave out --init-from")
    from .many import parse_seeds

    return parse_seeds(options["seeds"])


def run_training(dataset: Dataset, config: Config, start: Model | None, view: LiveView, save: Path | None) -> Any:
    """Train; where that is cut short, save the weights that there are and say so in the error."""
    from .training import train as train_network

    watchers = (cast(Any, view),)
    try:
        return with_option_names(lambda: train_network(dataset, config=config, init_from=start, callbacks=watchers))
    except DivergedError as error:
        outcome = kept(error.result, save, "the last finite weights")
        raise DivergedError(f"{on_the_command_line(str(error))}; {outcome}", error.result) from error
    except KeyboardInterrupt as error:
        outcome = kept(getattr(error, "result", None), save, "the weights so far")
        raise KeyboardInterrupt(f"interrupted; {outcome}") from error


def kept(result: Any, save: Path | None, what: str) -> str:
    """Save the model of a run that was cut short; tells what became of it."""
    if result is None:
        return "training had not begun, and nothing was changed"
    if save is None:
        return "no model is saved, as asked"
    try:
        result.model.save(save)
    except FastbpError as error:
        return f"{what} could not be saved: {error}"
    return f"{what} are saved in {save}"


def check_destination(path: Path) -> None:
    """Refuse a path that could not be written after training, before any work is done."""
    import tempfile

    if path.is_dir():
        raise UsageError(f"--save {path} is a folder; name a file, such as {path / DEFAULT_MODEL}")
    if path.exists() and not path.is_file():
        raise UsageError(f"--save {path} is not a plain file; choose another name")
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise UsageError(f"--save {path}: there is no folder {folder}; create it first")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FastbpError(
            f"--save {path}: the folder {folder} cannot be written ({error.strerror}); nothing was trained or changed"
        ) from error


def network_settings(model: Model) -> dict[str, Any]:
    """The settings that describe a model's network."""
    network = model.network
    return {
        "layers": "-".join(map(str, network.sizes)),
        "activation": ",".join(network.activations[:-1]) or Config.__dataclass_fields__["activation"].default,
        "output_activation": network.activations[-1],
        "cost": network.cost,
    }


def with_option_names(call: Callable[[], Any]) -> Any:
    """call(); in its UsageErrors, settings have the names that they have on the command line."""
    try:
        return call()
    except UsageError as error:
        raise UsageError(on_the_command_line(str(error))) from error


def on_the_command_line(text: str) -> str:
    """text with --learning-rate in place of learning_rate, and so on."""
    names = "|".join(name for name in Config.__dataclass_fields__ if "_" in name)
    return re.sub(rf"\b({names})\b", lambda found: option_name(found[0]), text)


def read_dataset(options: dict[str, Any], view: LiveView, seed: int, target: str = "auto") -> Dataset:
    """Load what the data options name, showing how far it is."""
    from .data import load_dataset

    return load_dataset(
        options["data"],
        label=options["label"],
        target=target,
        test_fraction=options["test_fraction"],
        seed=seed,
        data_dir=options["data_dir"],
        offline=options["offline"],
        progress=view.on_progress,
    )


@cli.command("eval", cls=SectionedCommand)
@click.argument("model_file", metavar="MODEL")
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
    from .console import note, print_json
    from .model import load
    from .progress import LiveView
    from .report import class_numbers, show_evaluation

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


@cli.command(cls=SectionedCommand)
@click.argument("model_file", metavar="MODEL")
@click.argument("files", metavar="IMAGE...", nargs=-1, required=True)
@option("--raw", is_flag=True, section="Data", help="take pictures as they are: no inverting, cutting out or centring")
@output_options
def predict(model_file: str, files: tuple[str, ...], **options: Any) -> None:
    """Say what is on pictures, or in rows of numbers.

    IMAGE is a picture (PNG, JPEG, ...), an IDX file, a .npy array or a .csv table of samples. Pictures of any size are
    prepared as MNIST's were; IDX files and arrays of the right size are taken as they are.
    """
    import numpy as np

    from .console import print_json
    from .images import read_samples
    from .model import load
    from .report import prediction_lists, show_predictions

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


@cli.group()
def data() -> None:
    """Datasets: what there is, getting, checking and looking at them."""


@data.command("list")
@output_options
def data_list(quiet: bool, as_json: bool) -> None:
    """The datasets that have a name, and where they are on this machine."""
    from .console import print_json
    from .report import dataset_rows, show_datasets

    rows = dataset_rows()
    print_json({"datasets": rows}) if as_json else show_datasets(rows)


@data.command("get")
@click.argument("name")
@output_options
def data_get(name: str, quiet: bool, as_json: bool) -> None:
    """Download (or, for digits, draw) a dataset, so that it is there without a network."""
    from .console import echo, print_json
    from .data import load_dataset
    from .data.sources import NAMES
    from .progress import LiveView

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
@click.argument("what", metavar="[NAME|PATH]", required=False)
@output_options
def data_verify(what: str | None, quiet: bool, as_json: bool) -> None:
    """Compare files with the published checksums; without NAME, all of them."""
    from .console import print_json
    from .report import show_files, verify_files

    rows = verify_files(what)
    print_json({"files": rows}) if as_json else show_files(rows)
    damaged = [row["file"] for row in rows if row["status"] == "damaged"]
    if damaged:
        raise DataError(f"damaged: {', '.join(damaged)}; remove them and run: fastbp data get NAME")


@data.command("show", cls=SectionedCommand)
@click.argument("name", metavar="NAME|PATH")
@click.option("-n", "count", type=click.IntRange(1, 1000), default=5, show_default=True, help="how many samples")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="which samples")
@data_options
@output_options
def data_show(name: str, count: int, seed: int, **options: Any) -> None:
    """A few training samples, in the terminal."""
    from .console import print_json
    from .progress import LiveView
    from .report import sample_rows, show_samples

    with LiveView(options["quiet"]) as view:
        dataset = read_dataset({**options, "data": name}, view, 0)
    chosen = sample_rows(dataset, count, seed)
    if options["as_json"]:
        print_json(
            {"samples": dataset.x_train[chosen], "targets": dataset.y_train[chosen], "classes": dataset.class_names}
        )
    else:
        show_samples(dataset, chosen)


@cli.command()
@click.argument("model_file", metavar="[MODEL]", required=False)
@output_options
def info(model_file: str | None, quiet: bool, as_json: bool) -> None:
    """What is in a model file; without one, what this machine and this installation are."""
    from .console import facts, print_json
    from .report import machine_facts, model_facts

    found = machine_facts() if model_file is None else model_facts(model_file)
    print_json(found) if as_json else facts(found.items())


@cli.command()
@output_options
def warmup(quiet: bool, as_json: bool) -> None:
    """Compile all kernels now, so that no later run has to: for images of machines, and after an upgrade.

    Takes half a minute, and nothing where they are compiled already.
    """
    from .console import print_json
    from .kernels import warm_up
    from .progress import LiveView
    from .speed import show_warmth, warmth_facts

    with LiveView(quiet) as view:
        found = warmth_facts(warm_up(lambda kernel: view.on_phase(f"compiling {kernel}")))
    print_json(found) if as_json else show_warmth(found)


@cli.command(cls=SectionedCommand)
@option("--seconds", type=click.FloatRange(0, 3600), default=10.0, show_default=True, help="rounds go on for so long")
@option("--batch-size", type=click.IntRange(1, 60_000), default=32, show_default=True, help="samples per step")
@output_options
def bench(seconds: float, batch_size: int, **options: Any) -> None:
    """How fast this machine trains 784-16-16-10 on the built-in digits, by each engine, and by scikit-learn if here."""
    from .benchmark import measure
    from .console import print_json
    from .data import load_dataset
    from .progress import LiveView
    from .speed import show_speed, speed_facts

    with LiveView(options["quiet"]) as view:
        digits = load_dataset(progress=view.on_progress)
        timings = measure(digits, batch_size=batch_size, seconds=seconds, progress=view.on_progress)
    found = speed_facts(timings, digits, batch_size)
    print_json(found) if options["as_json"] else show_speed(found)
