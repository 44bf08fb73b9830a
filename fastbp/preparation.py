"""From a dataset and settings to what engines take: scaled samples, coded targets, weights.

In: `Dataset`, `Config`, `Network`. Out: one `Split` each for training, validation and testing. Scalings are fitted to
the training samples alone. Refused: settings for classes with target values, and the like.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .config import VALUE_COSTS, Config
from .data import Dataset, load_dataset
from .errors import UsageError
from .kernels import Split
from .model import Model
from .network import Network
from .preprocessing import Scaling, code_classes, fit_inputs, fit_targets
from .samples import Samples, divide

__all__ = ["Prepared", "check_fit", "dataset_for", "prepare", "smoothed"]


class Prepared(NamedTuple):
    """Data in the form that engines take."""

    inputs: Scaling
    targets: Scaling | None
    train: Split
    validation: Split | None
    test: Split
    nothing: Split  # like the validation samples, without any: what engines share is known by its arrays
    x_scale: float  # of all


def dataset_for(data: Any, config: Config) -> Dataset:
    """The Dataset that a caller means."""
    if isinstance(data, Dataset):
        return data
    if isinstance(data, tuple):
        if len(data) not in (2, 4):
            raise UsageError(
                f"data must be (x_train, y_train) or (x_train, y_train, x_test, y_test), got {len(data)} arrays"
            )
        return Dataset.from_arrays(*data)
    return load_dataset(data, target="values" if config.cost in VALUE_COSTS else "auto", seed=config.seed)


def prepare(
    data: Dataset,
    config: Config,
    network: Network,
    init_from: Model | None = None,
    validation_data: Any = None,
    sample_weight: ArrayLike | None = None,
) -> Prepared:
    """Divide the samples, and scale what must be scaled; bytes stay bytes where one factor is all: kernels scale sums.

    Parameters
    ----------
    init_from : Model, optional
        brings its scalings; that of target values where its outputs have the same activation
    validation_data, sample_weight
        as for `fastbp.samples.divide`, which says what is refused

    Raises
    ------
    UsageError
        `label_smoothing` with a cost that has no place for it
    """
    train, validation = divide(data, config, validation_data, sample_weight)
    test = Samples(data.x_test, data.y_test)
    inputs = init_from.inputs if init_from else fit_inputs(train.x, config.normalize)
    targets = _target_scaling(train.y, network, init_from) if data.is_regression else None
    parts = [part for part in (train, validation, test) if part is not None]
    x_scale = 1.0
    if all(part.x.dtype == np.uint8 for part in parts) and isinstance(inputs.scale, float) and inputs.shift == 0.0:
        x_scale = inputs.scale
    else:
        parts = [part._replace(x=inputs.apply(part.x, config.dtype)) for part in parts]
    splits = [_split(part, targets, data, network, config.dtype) for part in parts]
    if config.label_smoothing:
        splits[0] = splits[0]._replace(targets=smoothed(splits[0].targets, config.label_smoothing, network.cost))
    held = splits[1] if validation else None
    nothing = (held or splits[0])._replace(x=splits[-1].x[:0], y=splits[-1].y[:0])
    return Prepared(inputs, targets, splits[0], held, splits[-1], nothing, x_scale)


def check_fit(network: Network, data: Dataset, init_from: Model | None) -> None:
    """Raise UsageError where the network does not fit the data, or the start weights the network."""
    n_outputs = data.y_train.shape[1] if data.is_regression else data.n_classes
    if network.sizes[0] != data.n_features:
        raise UsageError(f"the network has {network.sizes[0]} inputs, but {data.name} has {data.n_features} features")
    pair = network.sizes[-1] == 1 and n_outputs == 2 and not data.is_regression and network.activations[-1] != "softmax"
    if network.sizes[-1] != n_outputs and not pair:
        raise UsageError(f"the network has {network.sizes[-1]} outputs, but {data.name} needs {n_outputs}")
    if network.cost == "perceptron" and data.is_regression:
        raise UsageError(f"cost perceptron is for classes, but {data.name} has target values; use squared_error")
    if init_from is not None and init_from.network.shapes != network.shapes:
        start, wanted = (
            str(each) if init_from.network.sizes != network.sizes else f"{each} of {', '.join(each.activations)}"
            for each in (init_from.network, network)
        )
        raise UsageError(f"the start model is {start}, but the network to train is {wanted}")


def smoothed(codes: NDArray[Any], share: float, cost: str) -> NDArray[Any]:
    """(1 - s) y + s / K: the share s of each class's code, spread over all K classes (Szegedy et al. 2016, section 7).

    Each output of binary_cross_entropy tells two classes apart, so K is 2 there. Only training targets are smoothed:
    costs of validation and test samples stay comparable.

    Examples
    --------
    >>> smoothed(np.eye(2), 0.2, "cross_entropy")
    array([[0.9, 0.1],
           [0.1, 0.9]])

    Raises
    ------
    UsageError
        a cost that is no cross-entropy
    """
    if cost not in ("cross_entropy", "binary_cross_entropy"):
        raise UsageError(
            f"label_smoothing is for cost cross_entropy and binary_cross_entropy, got cost {cost}; leave it out"
        )
    n_classes = codes.shape[1] if cost == "cross_entropy" else 2
    return np.asarray((1.0 - share) * codes + share / n_classes, dtype=codes.dtype)


def _target_scaling(y_train: NDArray[Any], network: Network, init_from: Model | None) -> Scaling:
    """The scaling that the start weights were trained with (none is one, too), or that of the training samples."""
    output = network.activations[-1]
    if init_from and init_from.is_regression and init_from.network.activations[-1] == output:
        return init_from.targets or Scaling(0.0, 1.0)
    return fit_targets(y_train, output)


def _split(samples: Samples, targets: Scaling | None, data: Dataset, network: Network, dtype: str) -> Split:
    """Samples with their target rows: one row per class, or one per sample."""
    weights: dict[str, Any] = {} if samples.weights is None else {"weights": samples.weights}
    if targets is not None:
        return Split(samples.x, np.arange(len(samples.y), dtype=np.int32), targets.apply(samples.y, dtype), **weights)
    codes = code_classes(np.arange(data.n_classes), network.sizes[-1], network.activations[-1], dtype)
    return Split(samples.x, samples.y, codes, **weights)
