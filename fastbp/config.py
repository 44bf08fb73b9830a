"""Every setting of a training run: its default, its allowed values and what it means, once.

`Config` is frozen and checks itself, so a `Config` that exists is valid on its own. What depends on the data (layer
sizes, classes) is checked where the network is built. Nothing here imports NumPy or Numba: the command line
reads its options, help texts and defaults from these fields without waiting for either.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from .activations import HIDDEN_ACTIVATIONS, OUTPUT_ACTIVATIONS, CustomActivation, name_of
from .errors import UsageError

__all__ = [
    "COSTS",
    "OUTPUT_OF",
    "SQUARED_COSTS",
    "VALUE_COSTS",
    "Config",
    "checked_setting",
    "kind_of",
    "merged",
    "parse_layers",
]

COSTS = ("squared_error", "mean_squared_error", "binary_cross_entropy", "cross_entropy", "poisson", "perceptron")
OUTPUT_OF = {  # the one output activation that a cost goes with; squared costs go with several
    "cross_entropy": "softmax",
    "binary_cross_entropy": "sigmoid",
    "poisson": "exponential",
    "perceptron": "step",
}
SQUARED_COSTS = ("squared_error", "mean_squared_error")
VALUE_COSTS = (*SQUARED_COSTS, "poisson")  # those for which target values are read rather than classes
OPTIMIZERS = ("sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "lbfgs")
SCHEDULES = ("constant", "linear", "step", "inverse", "adaptive", "cosine", "one_cycle")
CLASS_WEIGHTS = ("none", "balanced")
MAX_UNITS = 10_000

# what lbfgs has no use for -> why
_NOT_FOR_LBFGS = {
    "learning_rate": "whose line search finds the length of each step",
    "schedule": "whose line search finds the length of each step",
    "clip_norm": "whose line search finds the length of each step",
    "dropout": "whose line search compares costs, and these would change by chance",
    "shuffle": "which takes all samples at once, in whatever order",
    "on_nan": "which takes no learning rate that could be halved",
    "batch_size": "which takes all samples at once",
}

# type of a field -> what is accepted (NumPy's numbers are), how that is called, and what it becomes
_KINDS: dict[str, tuple[type, str, Callable[[Any], Any]]] = {
    "int": (Integral, "a whole number", int),
    "float": (Real, "a finite number", float),
    "bool": (bool, "True or False", bool),
    "str": (str, "a text", str),
}


def _setting(default: Any, text: str, **limits: Any) -> Any:
    """A dataclass field whose metadata carries its help text and limits.

    Limits: `choices` (tuple of str), `low` and `high` (inclusive), `above` and `below` (exclusive). `use` names the
    setting, and its values, that the field is for: with others, a value that is not the default is refused.
    """
    return field(default=default, metadata={"help": text, **limits})


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings of one training run.

    Raises `UsageError` (a ValueError) naming the setting, what was got and what is accepted.

    Examples
    --------
    >>> Config(batch_size=10).batch_size
    10
    >>> Config(batch_size=0)
    Traceback (most recent call last):
        ...
    fastbp.errors.UsageError: batch_size must be at least 1, got 0
    """

    layers: str = _setting("16-16", "hidden layers (16-16), or all of them (784-16-16-10)")
    activation: tuple[str | CustomActivation, ...] | CustomActivation | str = _setting(  # noqa: RUF009
        "sigmoid", "of the hidden layers: one name, or a comma-separated list"
    )
    output_activation: str | None = _setting(
        None, "of the output layer; by default the one that the cost is meant for", choices=OUTPUT_ACTIVATIONS
    )
    cost: str | None = _setting(
        None, "what is minimised; by default cross_entropy for classes, squared_error for values", choices=COSTS
    )
    init: str = _setting("glorot", "initial weights", choices=("normal", "glorot", "he"))

    optimizer: str = _setting(
        "sgd", "update rule; an epoch of lbfgs is one of its iterations, on all samples", choices=OPTIMIZERS
    )
    learning_rate: float | None = _setting(
        None, "step size; by default one that suits the optimizer and the activations", above=0.0
    )
    momentum: float = _setting(
        0.9, "share of the last step kept", low=0.0, below=1.0, use=("optimizer", "momentum", "nesterov")
    )
    beta_1: float = _setting(
        0.9, "decay of the mean of gradients", low=0.0, below=1.0, use=("optimizer", "adam", "adamw")
    )
    beta_2: float = _setting(
        0.999, "decay of the mean of squared gradients", low=0.0, below=1.0, use=("optimizer", "adam", "adamw")
    )
    rho: float = _setting(
        0.9, "decay of the mean of squared gradients", low=0.0, below=1.0, use=("optimizer", "rmsprop")
    )
    epsilon: float = _setting(
        1e-8, "keeps a division by that mean finite", above=0.0, use=("optimizer", "rmsprop", "adam", "adamw")
    )
    tol: float = _setting(
        1e-6, "stop when no partial derivative of the cost is larger", low=0.0, use=("optimizer", "lbfgs")
    )
    clip_norm: float | None = _setting(None, "longest gradient, in the Euclidean norm; longer ones are cut", above=0.0)

    schedule: str = _setting(
        "linear",
        "how the learning rate changes: linear and cosine fall to 0, one_cycle rises before",
        choices=SCHEDULES,
    )
    step_every: int = _setting(5, "epochs between two steps", low=1, use=("schedule", "step"))
    rate_factor: float = _setting(
        0.2, "what the learning rate is multiplied with", above=0.0, below=1.0, use=("schedule", "step", "adaptive")
    )
    rate_patience: int = _setting(
        2, "epochs without improvement before the learning rate falls", low=1, use=("schedule", "adaptive")
    )
    inverse_power: float = _setting(
        0.5, "rate / (samples seen + 1)^power, each epoch", above=0.0, use=("schedule", "inverse")
    )
    warm_up: float = _setting(
        0.3, "share of the run in which the rate rises", low=0.0, below=1.0, use=("schedule", "one_cycle")
    )

    weight_decay: float = _setting(
        0.0,
        "lambda of the penalty lambda/2 * sum of W^2, whose gradient is added; adamw shrinks the weights beside its "
        "step instead, by rate * lambda; never on biases",
        low=0.0,
    )
    dropout: float | str = _setting(0.0, "share of hidden units dropped: one number, or a comma-separated list")
    label_smoothing: float = _setting(
        0.0, "share of each class code spread over all classes; for the cross-entropies", low=0.0, below=1.0
    )

    batch_size: int | None = _setting(32, "samples per update; full for gradient descent on all of them", low=1)
    epochs: int = _setting(10, "passes over the training set", low=0)
    shuffle: bool = _setting(True, "visit the samples in a new random order each epoch")
    seed: int = _setting(0, "one seed, one result", low=0, high=2**63 - 1)
    class_weight: str = _setting(
        "none", "balanced: samples of rare classes count more, so that all classes do alike", choices=CLASS_WEIGHTS
    )

    validation: float = _setting(
        0.0,
        "share of the training samples held out and measured after each epoch, chosen by the seed",
        low=0.0,
        below=1.0,
    )
    patience: int | None = _setting(
        None, "stop after so many epochs without a lower validation cost, and keep the best weights", low=1
    )
    min_delta: float = _setting(0.0, "a cost is lower if by more than this (patience, schedule adaptive)", low=0.0)
    stop_below: float | None = _setting(None, "stop once the training cost of an epoch is below this")
    time_limit: float | None = _setting(None, "stop after so many seconds of training", above=0.0)
    on_nan: str = _setting(
        "stop",
        "when the cost is no longer finite: stop, or go back to the start of the epoch with half the learning rate",
        choices=("stop", "restore"),
    )

    normalize: str = _setting(
        "auto",
        "inputs: unit (to 0..1), standard (mean 0, deviation 1), scale (deviation 1, zeros stay 0), none; auto is unit "
        "for bytes, standard for floats",
        choices=("auto", "none", "unit", "standard", "scale"),
    )
    dtype: str = _setting("float32", "precision of the arithmetic", choices=("float32", "float64"))
    device: str = _setting(
        "auto",
        "where the arithmetic runs: cuda is an NVIDIA GPU, for many networks at a time; auto is the CPU",
        choices=("auto", "cpu", "cuda"),
    )
    engine: str = _setting("auto", "which kernels run", choices=("auto", "fused", "stages", "reference"))
    input_layout: str = _setting(
        "auto", "sparse or dense input; auto measures the share of nonzeros", choices=("auto", "dense", "sparse")
    )
    evaluate: str = _setting("each", "measure accuracy after each epoch, or at the end", choices=("each", "end"))

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            object.__setattr__(self, item.name, checked_setting(item.name, getattr(self, item.name)))
        _check_pair(self.cost, self.output_activation)
        for item in dataclasses.fields(self):
            if "use" in item.metadata and getattr(self, item.name) != item.default:
                self._check_use(item.name, *item.metadata["use"])
            if self.optimizer == "lbfgs" and item.name in _NOT_FOR_LBFGS:
                self._check_lbfgs(item.name, item.default)
        if self.optimizer == "lbfgs" and self.device == "cuda":
            raise UsageError("optimizer lbfgs runs on the CPU, got device cuda; use another optimizer, or device cpu")
        if self.min_delta and self.patience is None and self.schedule != "adaptive":
            raise UsageError("min_delta is for patience and for schedule adaptive; give one of them, or leave it out")

    def _check_use(self, name: str, by: str, *values: str) -> None:
        """Raise UsageError for a setting that another one leaves without a use."""
        if getattr(self, by) not in values:
            raise UsageError(
                f"{name} is for {by} {' and '.join(values)} and has no use with {by} {getattr(self, by)}; leave it out"
            )

    def _check_lbfgs(self, name: str, default: Any) -> None:
        """Raise UsageError for a setting that lbfgs has no use for; that its batch is full may be said."""
        value = getattr(self, name)
        if value != default and not (name == "batch_size" and value is None):
            raise UsageError(f"{name} has no use with optimizer lbfgs, {_NOT_FOR_LBFGS[name]}; leave it out")

    @property
    def hidden_activations(self) -> tuple[str | CustomActivation, ...]:
        """Those in `activation`: one for all hidden layers, or one for each."""
        return _activations(self.activation)

    @property
    def hidden_dropout(self) -> tuple[float, ...]:
        """The shares in `dropout`: one for all hidden layers, or one for each."""
        return _shares(self.dropout)

    def as_dict(self) -> dict[str, Any]:
        """All settings by name, JSON-ready; of activations of one's own, the names."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        if not isinstance(self.activation, str):
            values["activation"] = ",".join(map(name_of, self.hidden_activations))
        return values


def merged(config: Config, settings: Mapping[str, Any]) -> Config:
    """config with some settings replaced; UsageError for one that does not exist."""
    try:
        return dataclasses.replace(config, **settings)
    except TypeError as error:
        raise UsageError(f"there is no such setting ({error}); the settings are the fields of fastbp.Config") from None


def parse_layers(text: str) -> tuple[int, ...]:
    """The sizes in a text such as ``784-16-16-10``; an empty text means no hidden layer.

    Raises
    ------
    UsageError
        a size that is not a whole number from 1 to 10,000

    Examples
    --------
    >>> parse_layers("784-16-16-10")
    (784, 16, 16, 10)
    """
    if not text.strip():
        return ()
    sizes = []
    for part in text.split("-"):
        digits = part.strip()
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 9) or not 1 <= int(digits) <= MAX_UNITS:
            raise UsageError(
                f"layers must be sizes from 1 to {MAX_UNITS} joined by '-', such as 784-16-16-10, got {text!r}"
            )
        sizes.append(int(part))
    return tuple(sizes)


def checked_setting(name: str, value: Any) -> Any:
    """The value of one setting as a plain int, float, bool or text.

    Raises
    ------
    UsageError
        a value outside the limits of its field, whatever the other settings are

    Examples
    --------
    >>> checked_setting("dropout", "0.2")
    0.2
    """
    limits = Config.__dataclass_fields__[name].metadata
    if value is None:
        if Config.__dataclass_fields__[name].default is not None and name != "batch_size":
            raise UsageError(f"{name} must not be None")
        return None
    if name == "dropout":
        shares = _shares(value)
        return value if len(shares) > 1 else shares[0]
    if name == "activation":
        return value if isinstance(value, str) and _activations(value) else _activations(value)
    if "choices" in limits:
        if value not in limits["choices"]:
            raise UsageError(f"{name} must be one of {', '.join(limits['choices'])}, got {value!r}")
        return value
    kind = kind_of(name)
    accepted, words, convert = _KINDS[kind]
    if not isinstance(value, accepted) or (kind != "bool" and isinstance(value, bool)):
        raise UsageError(f"{name} must be {words}, got {value!r}")
    try:
        value = convert(value)
    except OverflowError:
        value = math.inf
    if kind == "float" and not math.isfinite(value):
        raise UsageError(f"{name} must be {words}, got {value!r}")
    for limit, fits, side in (
        ("low", operator.ge, "at least"),
        ("high", operator.le, "at most"),
        ("above", operator.gt, "greater than"),
        ("below", operator.lt, "less than"),
    ):
        if limit in limits and not fits(value, limits[limit]):
            raise UsageError(f"{name} must be {side} {limits[limit]:{'d' if kind == 'int' else 'g'}}, got {value}")
    if name == "layers":
        parse_layers(value)
    return value


def kind_of(name: str) -> str:
    """int, float, bool or str: what the values of a setting are, beside None; str for those that may be a list."""
    return str(Config.__annotations__[name]).removesuffix(" | None").split(" ")[-1]


def _activations(value: Any) -> tuple[str | CustomActivation, ...]:
    """The activations in a value of that setting: names and pairs of functions; UsageError for anything else."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else (value,)
    if not parts or not all(isinstance(part, str | CustomActivation) for part in parts):
        raise UsageError(f"activation must be a text, a CustomActivation, or a list of these, got {value!r}")
    activations = tuple(part.strip() if isinstance(part, str) else part for part in parts)
    for each in activations:
        if isinstance(each, str) and each not in HIDDEN_ACTIVATIONS:
            raise UsageError(f"activation must be one of {', '.join(HIDDEN_ACTIVATIONS)}, got {each!r}")
    return activations


def _shares(value: Any) -> tuple[float, ...]:
    """The numbers in a value of `dropout`; UsageError where they are none from 0 to below 1."""
    try:
        if isinstance(value, bool) or not isinstance(value, Real | str):
            raise ValueError
        shares = tuple(float(part) for part in (value.split(",") if isinstance(value, str) else (value,)))
        if not all(0.0 <= share < 1.0 for share in shares):
            raise ValueError
    except (ValueError, OverflowError):
        raise UsageError(
            f"dropout must be numbers from 0 to below 1, one or a comma-separated list, got {value!r}"
        ) from None
    return shares


def _check_pair(cost: str | None, output_activation: str | None) -> None:
    """Raise UsageError for a cost and an output activation that do not belong together."""
    if cost is None or output_activation is None:
        return
    needed = OUTPUT_OF.get(cost)
    if needed and output_activation != needed:
        raise UsageError(f"cost {cost} needs output_activation {needed}, got {output_activation}")
    if not needed and output_activation in ("softmax", "exponential", "step"):
        meant = next(name for name, output in OUTPUT_OF.items() if output == output_activation)
        raise UsageError(f"cost {cost} cannot be used with output_activation {output_activation}; use {meant}")
