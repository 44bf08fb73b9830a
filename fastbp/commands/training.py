"""`fastbp train`: options become a Config, one call does the work, the result is shown and saved.

Errors rise, and `fastbp.__main__` puts them into words.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import interrupts
from ..config import VALUE_COSTS, Config
from ..errors import DivergedError, FastbpError, UsageError
from ..options import (
    SectionedCommand,
    complete_path,
    data_options,
    option,
    option_name,
    output_options,
    setting_options,
    settings_file_option,
    source_option,
)
from .folders import as_run_origin, checked_folder, folder_options, in_folder
from .reading import read_dataset

if TYPE_CHECKING:
    from ..data import Dataset
    from ..model import Model
    from ..progress import LiveView
    from ..runs.folder import RunFolder

__all__ = ["train"]

DEFAULT_MODEL = "model.safetensors"


@click.command(cls=SectionedCommand, short_help="Train a network; write a model file, or a run folder.")
@source_option
@data_options
@setting_options
@option(
    "--init-from",
    metavar="MODEL",
    section="Training",
    help="begin with the weights of this model file",
    shell_complete=complete_path,
)
@option("--seeds", metavar="LIST", section="Training", help="train one network per seed, side by side: 0-9 or 1,5,7")
@option(
    "--threads",
    type=click.IntRange(1, 1024),
    section="Machine",
    help="cores to use: by default 1 for one network, and all with --seeds, for networks side by side",
)
@option(
    "--save",
    metavar="PATH",
    section="Output",
    default=DEFAULT_MODEL,
    show_default=True,
    help="where the model goes",
    shell_complete=complete_path,
)
@option(
    "--log",
    metavar="FILE",
    section="Output",
    help="one line per epoch as well into FILE.csv or FILE.jsonl",
    shell_complete=complete_path,
)
@option(
    "--checkpoint",
    metavar="FILE",
    section="Output",
    help="save the model after each epoch as well",
    shell_complete=complete_path,
)
@option("--no-save", is_flag=True, section="Output", help="keep no model")
@folder_options
@settings_file_option
@option("--show-config", is_flag=True, section="Output", help="print all settings as such a file, and do nothing else")
@output_options
@click.pass_context
def train(ctx: click.Context, /, **options: Any) -> None:
    """Train a network; write it to a model file, or all of the run to a folder.

    \b
    Examples:
      fastbp train
      fastbp train --data mnist --layers 32-16
      fastbp train --data iris.csv --label species
      fastbp train --data mnist --epochs 100 --out runs/a
      fastbp train --resume runs/a
    """
    from ..console import print_json
    from ..progress import LiveView

    chosen = {name: options[name] for name in Config.__dataclass_fields__}
    folder = checked_folder(ctx, options)
    save = None if folder or options["no_save"] or not options["save"] else Path(options["save"])
    if save is not None:
        check_destination(save)
    start = None
    if options["init_from"] and not options["resume"]:
        from ..model import load

        start = load(options["init_from"])
        given = {name for name in chosen if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT}
        chosen |= {name: value for name, value in network_settings(start).items() if name not in given}
    config = with_option_names(lambda: Config(**chosen))
    if options["show_config"]:
        from ..settings_file import OTHERS, settings_text

        others = {name: options[name] for name in OTHERS if options[name] is not False}
        click.echo(settings_text({**others, **config.as_dict()}), nl=False)
        return
    if config.device == "cuda":  # said before data is loaded
        from ..kernels import check_for_cuda

        with_option_names(lambda: check_for_cuda(config.engine, config.input_layout, options["threads"] or 1))
    seeds = seeds_for(options)
    watchers = watchers_for(options)
    if config.engine in ("auto", "fused"):  # they do without BLAS, whose threads take 30 of 440 ms to start and to end
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with LiveView(options["quiet"]) as view:
        target = "values" if config.cost in VALUE_COSTS else "auto"
        dataset = read_dataset(options, view, config.seed, target)
        view.data_name = dataset.name
        if seeds:
            from ..seeds import best_of, train_seeds

            view.expect(len(seeds), config.epochs)
            results = with_option_names(lambda: train_seeds(dataset, config, seeds, options["threads"], view))
            result = best_of(results)
        elif folder is not None:
            result = run_in_folder(folder, dataset, config, start, view, options)
            save = folder.model_file
        else:
            result = run_training(dataset, config, start, (view, *watchers), save, options["threads"] or 1)
    problem = None
    if save is not None and folder is None:
        try:
            result.model.save(save)
        except FastbpError as error:
            problem = FastbpError(f"training is done, but the model is not saved: {error}")
    saved = save if problem is None else None
    model = None if saved is None else str(saved)
    if seeds:
        from ..seeds import seeds_facts, show_seeds

        print_json({**seeds_facts(results), "model": model}) if options["as_json"] else show_seeds(results, saved)
    elif options["as_json"]:
        print_json({**result.as_dict(), "model": model, **({"run": str(folder)} if folder else {})})
    else:
        from ..report import show_training

        show_training(result, saved, keeps_best=folder is not None)
    if problem is not None:
        raise problem
    if interrupts.received():
        raise KeyboardInterrupt(f"interrupted; training was over{f', and the model is {saved}' if saved else ''}")


def run_in_folder(
    folder: RunFolder, dataset: Dataset, config: Config, start: Model | None, view: LiveView, options: dict[str, Any]
) -> Any:
    """Train into a folder, or go on there."""
    from ..runs.training import resume, train_to

    how: dict[str, Any] = {"callbacks": (view,), "threads": options["threads"] or 1}
    if options["resume"]:
        call = partial(resume, folder.path, dataset, epochs=config.epochs, **how)
    else:
        how |= {"config": config, "init_from": start, "force": options["force"], "origin": as_run_origin(options)}
        call = partial(train_to, folder.path, dataset, **how)
    return in_folder(folder, lambda: with_option_names(call), resumed=bool(options["resume"]))


def seeds_for(options: dict[str, Any]) -> list[int]:
    """The seeds of --seeds, none without it; refuses what does not go with them."""
    if options["seeds"] is None:
        return []
    if options["init_from"]:
        raise UsageError("--seeds begins with random weights; leave out --init-from")
    for name in ("log", "checkpoint"):
        if options[name]:
            raise UsageError(f"--{name} follows one network; leave out --seeds")
    from ..many import parse_seeds

    return parse_seeds(options["seeds"])


def watchers_for(options: dict[str, Any]) -> tuple[Any, ...]:
    """The callbacks of --log and --checkpoint; refuses places that could not be written."""
    watchers: list[Any] = []
    if options["log"]:
        from ..logs import logger_for

        watchers.append(logger_for(options["log"]))
        check_destination(Path(options["log"]), "--log")
    if options["checkpoint"]:
        from ..logs import Checkpoint

        check_destination(Path(options["checkpoint"]), "--checkpoint")
        watchers.append(Checkpoint(options["checkpoint"]))
    return tuple(watchers)


def run_training(
    dataset: Dataset, config: Config, start: Model | None, callbacks: tuple[Any, ...], save: Path | None, threads: int
) -> Any:
    """Train; where that is cut short, save the weights that there are and say so in the error."""
    from ..training import train as train_network

    start_with: dict[str, Any] = {
        "config": config,
        "init_from": start,
        "threads": threads,
        "callbacks": callbacks,
    }
    try:
        return with_option_names(lambda: train_network(dataset, **start_with))
    except DivergedError as error:
        outcome = kept(error.result, save, "the last finite weights")
        raise DivergedError(f"{on_the_command_line(str(error))}; {outcome}", error.result) from error
    except KeyboardInterrupt as error:
        result = getattr(error, "result", None)
        if result is None and interrupts.twice():
            raise KeyboardInterrupt("stopped at once; no model is saved") from error
        raise KeyboardInterrupt(f"interrupted; {kept(result, save, 'the weights so far')}") from error


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


def check_destination(path: Path, option: str = "--save") -> None:
    """Refuse a path that could not be written after training, before any work is done."""
    import tempfile

    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder; name a file, such as {path / DEFAULT_MODEL}")
    if path.exists() and not path.is_file():
        raise UsageError(f"{option} {path} is not a plain file; choose another name")
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise UsageError(f"{option} {path}: there is no folder {folder}; create it first")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FastbpError(
            f"{option} {path}: the folder {folder} cannot be written ({error.strerror}); nothing was trained or changed"
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
