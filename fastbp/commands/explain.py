"""`fastbp explain`: options become a network, its weights and a sample; one step of backpropagation is shown.

Without options it is the worked example that textbooks share: two inputs, two hidden units, two outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..activations import HIDDEN_ACTIVATIONS, OUTPUT_ACTIVATIONS
from ..config import COSTS, OUTPUT_OF, VALUE_COSTS, Config, parse_layers
from ..errors import UsageError
from ..options import (
    SectionedCommand,
    Setting,
    complete_data,
    complete_path,
    data_options,
    option,
    option_name,
    output_options,
)
from .reading import read_dataset
from .training import with_option_names

if TYPE_CHECKING:
    from ..data import Dataset
    from ..explaining import Origin
    from ..model import Model
    from ..network import Network
    from ..preprocessing import Scaling
    from ..progress import LiveView

    Case = tuple[Network, Any, Any, Any, Origin]  # network, theta, x, y, where they came from

__all__ = ["explain"]

# W[1] is (inputs, outputs): w1 and w2 lead from x1 and x2 to h1, and stand in its first column
WORKED_LAYERS, WORKED_INPUT, WORKED_TARGET = "2-2-2", "0.05,0.1", "0.01,0.99"
WORKED_THETA = (0.15, 0.25, 0.20, 0.30, 0.35, 0.35, 0.40, 0.50, 0.45, 0.55, 0.60, 0.60)
LAYERS_FOR_DATA = "3"
FIELDS = Config.__dataclass_fields__


@click.command(cls=SectionedCommand)
@click.argument("model_file", metavar="[MODEL]", required=False, shell_complete=complete_path)
@option(
    "--input",
    "--sample",
    metavar="NUMBERS",
    section="Data",
    help="one number per input, such as 0.05,0.1; with MODEL, in the units of its training data",
)
@option(
    "--target",
    metavar="NUMBERS|CLASS",
    section="Data",
    help="what the outputs should be, such as 0.01,0.99; for a MODEL of classes, the name of one",
)
@option(
    "--data",
    metavar="NAME|PATH",
    section="Data",
    help="take the sample from the training samples of this data",
    shell_complete=complete_data,
)
@option("--index", type=click.IntRange(0), section="Data", help="which of them, counted from 0  [default: 0]")
@data_options
@option(
    "--layers",
    metavar="SIZES",
    section="Network",
    help="random weights for these layers, such as 2-3-2; with --data, hidden layers are enough",
)
@option(
    "--activation",
    type=Setting(FIELDS["activation"]),
    metavar="NAMES",
    section="Network",
    help=f"of the hidden layers: one name, or a comma-separated list ({', '.join(HIDDEN_ACTIVATIONS)})"
    "  [default: sigmoid]",
)
@option(
    "--output-activation",
    type=click.Choice(OUTPUT_ACTIVATIONS),
    metavar="NAME",
    section="Network",
    help=f"of the output layer; by default the one that the cost is meant for ({', '.join(OUTPUT_ACTIVATIONS)})",
)
@option(
    "--cost",
    type=click.Choice(COSTS),
    metavar="NAME",
    section="Network",
    help=f"what is minimised ({', '.join(COSTS)})  [default: squared_error]",
)
@option("--seed", type=Setting(FIELDS["seed"]), section="Network", help="of random weights  [default: 0]")
@option(
    "--learning-rate",
    type=Setting(FIELDS["learning_rate"]),
    default=0.5,
    show_default=True,
    section="Training",
    help="step size",
)
@option(
    "--update-biases/--keep-biases",
    default=None,
    section="Training",
    help="whether the step moves the biases; by default, all but those of the worked example",
)
@option(
    "--steps",
    type=click.IntRange(1, 100_000),
    default=1,
    show_default=True,
    section="Training",
    help="how many to take; the first is explained",
)
@output_options
def explain(**options: Any) -> None:
    """One step of backpropagation, with every formula and every number.

    Without options, a worked example of two inputs, two hidden units and two outputs. Other small networks: a MODEL
    file, or --layers. Other samples: --input and --target, or --data and --index.

    \b
    Examples:
      fastbp explain
      fastbp explain --layers 2-3-2 --activation tanh
      fastbp explain --data iris.csv --label species --layers 3
    """
    from ..console import print_json
    from ..explaining import check_size, counts_up_to, explanation_facts, show_explanation
    from ..one_step import after_steps, check_by_graph, one_step
    from ..progress import LiveView

    check_combinations(options)
    with LiveView(options["quiet"]) as view:
        if options["model_file"]:
            network, theta, x, y, origin = case_of_model(options, view)
        elif options["data"]:
            network, theta, x, y, origin = case_of_data(options, view)
        else:
            network, theta, x, y, origin = case_of_layers(options)
    check_size(network)
    check_target(network, y)
    update_biases = options["update_biases"]
    if update_biases is None:
        update_biases = not origin.is_worked_example
    step = one_step(network, theta, x, y, options["learning_rate"], update_biases=update_biases)
    found = check_by_graph(step)
    later = list(after_steps(step, counts_up_to(options["steps"]))) if options["steps"] > 1 else []
    if options["as_json"]:
        print_json(explanation_facts(step, origin, found, later))
    else:
        show_explanation(step, origin, found, later)


def check_combinations(options: dict[str, Any]) -> None:
    """Refuse options that would be left without a meaning."""
    if options["model_file"]:
        for name in ("layers", "activation", "output_activation", "cost", "seed"):
            if options[name] is not None:
                raise UsageError(f"{option_name(name)} is for networks without a file; MODEL brings its own")
        if not options["data"] and (options["input"] is None or options["target"] is None):
            raise UsageError("a MODEL needs a sample to explain: give --input and --target, or --data and --index")
    for name in ("input", "target"):
        if options["data"] and options[name] is not None:
            raise UsageError(f"{option_name(name)} and --data are two ways to give a sample; use one")
    for name in ("index", "label", "data_dir"):
        if not options["data"] and options[name] is not None:
            raise UsageError(f"{option_name(name)} is for --data, which is not given")


def case_of_layers(options: dict[str, Any]) -> Case:
    """The worked example, or random weights, with the sample that the options give."""
    import numpy as np

    from ..explaining import Origin, check_size
    from ..network import Network

    sizes = parse_layers(WORKED_LAYERS if options["layers"] is None else options["layers"])
    n_hidden = max(0, len(sizes) - 2)
    hidden = tuple(name.strip() for name in (options["activation"] or "sigmoid").split(","))
    if len(hidden) not in (1, n_hidden):
        raise UsageError(
            f"--activation names {len(hidden)} hidden layers and the network {'-'.join(map(str, sizes))} has "
            f"{n_hidden}; give one name, or one for each"
        )
    cost, output = options["cost"], options["output_activation"]
    cost = cost or {output: cost for cost, output in OUTPUT_OF.items()}.get(output or "", "squared_error")
    output = output or OUTPUT_OF.get(cost, "sigmoid")
    with_option_names(lambda: Config(cost=cost, output_activation=output))
    network = Network(sizes, (*(hidden * n_hidden if len(hidden) == 1 else hidden), output), cost)
    check_size(network)
    x = numbers_of("input", options["input"], WORKED_INPUT, sizes[0], network)
    y = numbers_of("target", options["target"], WORKED_TARGET, sizes[-1], network)
    sample = "of the worked example" if options["input"] is options["target"] is None else "as given"
    if options["layers"] is None and options["seed"] is None:
        origin = Origin("of the worked example", sample, is_worked_example=True)
        return network, np.array(WORKED_THETA), x, y, origin
    seed = options["seed"] or 0
    return network, network.initial_parameters(seed, dtype="float64"), x, y, Origin(f"random, seed {seed}", sample)


def case_of_data(options: dict[str, Any], view: LiveView) -> Case:
    """Random weights and a sample of a dataset: what `fastbp train` would begin with."""
    from ..defaults import network_for
    from ..explaining import check_size
    from ..preprocessing import Scaling, fit_inputs, fit_targets

    chosen = {name: options[name] for name in ("activation", "output_activation", "cost", "seed")}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    layers = LAYERS_FOR_DATA if options["layers"] is None else options["layers"]
    config = with_option_names(lambda: Config(layers=layers, **chosen))
    dataset = read_dataset(options, view, config.seed, "values" if config.cost in VALUE_COSTS else "auto")
    network = with_option_names(lambda: network_for(config, dataset))
    check_size(network)
    row = row_of(options, dataset)
    targets = Scaling(0.0, 1.0)
    if dataset.is_regression:
        targets = fit_targets(dataset.y_train, network.activations[-1])
    sample = dataset.x_train[row], dataset.y_train[row]
    theta = network.initial_parameters(config.seed, dtype="float64")
    names = f"random, seed {config.seed}", f"training sample {row.start} of {dataset.name}"
    return case_of(network, theta, sample, fit_inputs(dataset.x_train), targets, dataset.class_names, names)


def case_of_model(options: dict[str, Any], view: LiveView) -> Case:
    """The weights of a model file, and a sample in the units of its training data."""
    import numpy as np

    from ..explaining import check_size
    from ..model import load
    from ..preprocessing import Scaling
    from ..report import class_numbers

    model = load(options["model_file"])
    network = model.network
    check_size(network)
    if options["data"]:
        seed = int(model.config.get("seed", 0))
        dataset = read_dataset(options, view, seed, "values" if model.is_regression else "classes")
        answers = class_numbers(model, dataset, dataset.y_train)
        row = row_of(options, dataset)
        sample, name = (dataset.x_train[row], answers[row]), f"training sample {row.start} of {dataset.name}"
    else:
        raw = numbers_of("input", options["input"], None, network.sizes[0], network)
        if model.is_regression:
            answer = numbers_of("target", options["target"], None, network.sizes[-1], network)
        else:
            answer = class_of(model, options["target"])
        sample, name = (raw[None], answer[None]), "as given"
    theta = model.parameters.astype(np.float64)
    names = f"from {options['model_file']}", name
    return case_of(network, theta, sample, model.inputs, model.targets or Scaling(0.0, 1.0), model.class_names, names)


def case_of(
    network: Network,
    theta: Any,
    sample: tuple[Any, Any],
    inputs: Scaling,
    targets: Scaling,
    class_names: tuple[str, ...],
    names: tuple[str, str],
) -> Case:
    """A case from a sample (x, y) in the units of its data, (1, n_features) and (1,) or (1, n_outputs)."""
    from ..explaining import Origin
    from ..preprocessing import code_classes

    raw, answer = sample
    x = inputs.apply(raw, "float64")
    as_it_came = tuple(raw[0].tolist()) if (x != raw).any() else ()
    weights, name = names
    if class_names:
        y = code_classes(answer, network.sizes[-1], network.activations[-1], "float64")
        name += f", class {class_names[int(answer[0])]}"
    else:
        y = targets.apply(answer, "float64")
    classes = class_names if len(class_names) == network.sizes[-1] else ()
    return network, theta, x[0], y[0], Origin(weights, name, as_it_came, classes)


def row_of(options: dict[str, Any], dataset: Dataset) -> slice:
    """The training sample that --index names."""
    index, n_samples = options["index"] or 0, len(dataset.x_train)
    if index >= n_samples:
        raise UsageError(f"{dataset.name} has {n_samples} training samples; --index counts from 0, got {index}")
    return slice(index, index + 1)


def numbers_of(name: str, text: str | None, otherwise: str | None, n_units: int, network: Network) -> Any:
    """The numbers in --input or --target, (n_units,); without any, those in `otherwise`, if they fit."""
    import numpy as np

    text = text if text is not None else otherwise or ""
    try:
        values = np.array([float(part) for part in text.split(",")])
    except ValueError:
        raise UsageError(f"--{name} must be numbers joined by ',', such as {WORKED_INPUT}, got {text!r}") from None
    if not np.isfinite(values).all():
        raise UsageError(f"--{name} must be finite numbers, got {text!r}")
    if len(values) != n_units:
        units = "inputs" if name == "input" else "outputs"
        got = "got none" if text is otherwise else f"got {len(values)}"
        raise UsageError(f"the network {network} has {n_units} {units}; give as many numbers with --{name}, {got}")
    return values


def class_of(model: Model, text: str) -> Any:
    """The number of a class, () int."""
    import numpy as np

    if text not in model.class_names:
        known = ", ".join(model.class_names)
        raise UsageError(f"--target must be one of the model's classes ({known}), got {text!r}")
    return np.array(model.class_names.index(text))


def check_target(network: Network, y: Any) -> None:
    """Refuse targets for which the cost is no cost: cross-entropies compare probabilities."""
    if network.cost == "cross_entropy" and ((y < 0).any() or abs(y.sum() - 1) > 1e-9):
        raise UsageError(f"--target must be probabilities that add up to 1 for cost cross_entropy, got {y.tolist()}")
    if network.cost == "binary_cross_entropy" and ((y < 0).any() or (y > 1).any()):
        raise UsageError(f"--target must be from 0 to 1 for cost binary_cross_entropy, got {y.tolist()}")
