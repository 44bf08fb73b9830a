"""What a `Config` leaves open, filled in from the data: the layers, the output, the cost, the learning rate.

A Config and a Dataset come in, a Network and a number go out. Refused: layers that do not fit the data.
"""

from __future__ import annotations

from .config import OUTPUT_OF, VALUE_COSTS, Config, parse_layers
from .data.dataset import Dataset
from .errors import UsageError
from .kernels import OPTIMIZER, SGD, Settings
from .network import Network

__all__ = ["dropout_for", "learning_rate_for", "network_for", "rule_for"]

MOST_HIDDEN_LAYERS = 3

# Learning rates for batches of 32, by what narrows them most; measured by scripts/choose_rates.py on images held out of
# MNIST's training set. Larger batches take larger steps, by the square root of their size within these bounds.
SGD_RATES = {
    "sigmoid": 1.0,
    "softmax": 1.0,
    "tanh": 0.2,
    "relu": 0.1,
    "leaky_relu": 0.1,
    "identity": 0.1,
    "exponential": 0.02,
    "maxout": 0.1,
    "step": 1.0,
}
RATE_OF_OTHERS = 0.1  # of functions that nobody has measured
COST_FACTORS = {
    "squared_error": 2.0,
    "mean_squared_error": 1.0,
    "binary_cross_entropy": 0.5,
    "cross_entropy": 1.0,
    "poisson": 1.0,
}
ADAPTIVE_RATES = {"adam": 0.005, "adamw": 0.005, "rmsprop": 0.005}
SMALLEST_FACTOR, LARGEST_FACTOR = 0.5, 4.0


def network_for(config: Config, data: Dataset) -> Network:
    """The network that the settings and the data describe together.

    Parameters
    ----------
    config : Config
        one to three sizes in `layers` are hidden layers; a list that begins with the number of features and ends with
        the number of outputs, and any longer list, names all layers
    data : Dataset

    Raises
    ------
    UsageError
        sizes or activations that do not fit the data; both numbers are named

    Examples
    --------
    >>> import numpy as np
    >>> data = Dataset.from_arrays(np.zeros((4, 30)), np.array([0, 1, 2, 0]))
    >>> str(network_for(Config(layers="16-16"), data))
    '30-16-16-3'
    """
    cost, output_activation = _output_for(config, data)
    n_outputs = data.y_train.shape[1] if data.is_regression else data.n_classes
    if data.is_regression and cost not in VALUE_COSTS:
        raise UsageError(
            f"cost {cost} is for classes, but {data.name} has target values; use {' or '.join(VALUE_COSTS)}"
        )
    sizes = parse_layers(config.layers)
    outputs = {n_outputs}
    if n_outputs == 2 and not data.is_regression and output_activation != "softmax":
        outputs.add(1)  # one output can tell two classes apart
        if cost in ("binary_cross_entropy", "perceptron"):
            n_outputs = 1
    if not (len(sizes) >= 2 and sizes[0] == data.n_features and sizes[-1] in outputs):
        _refuse_misfit(config.layers, sizes, data, n_outputs)
        sizes = (data.n_features, *sizes, n_outputs)
    hidden = config.hidden_activations
    n_hidden = len(sizes) - 2
    if output_activation == "step" and n_hidden:
        raise UsageError(
            f"output_activation step is trained without hidden layers only, by the perceptron rule, and layers "
            f"{config.layers} has some; use layers '', or output_activation sigmoid"
        )
    if len(hidden) not in (1, n_hidden):
        raise UsageError(
            f"activation names {len(hidden)} hidden layers and the network {'-'.join(map(str, sizes))} has {n_hidden}; "
            "give one name, or one for each"
        )
    return Network(sizes, (*(hidden * n_hidden if len(hidden) == 1 else hidden), output_activation), cost)


def learning_rate_for(config: Config, network: Network) -> float | None:
    """The learning rate that was asked for, or one that suits the optimizer and the activations; None for lbfgs.

    Examples
    --------
    >>> learning_rate_for(Config(), Network((784, 16, 10), ("sigmoid", "softmax"), "cross_entropy"))
    1.0
    """
    if config.learning_rate is not None or config.optimizer == "lbfgs":
        return config.learning_rate
    if config.optimizer in ADAPTIVE_RATES:
        return ADAPTIVE_RATES[config.optimizer]
    rate = min(SGD_RATES.get(name, RATE_OF_OTHERS) for name in network.activations)
    if network.activations[-1] == "sigmoid":  # its squared error is flat where it saturates
        rate *= COST_FACTORS[network.cost]
    size = LARGEST_FACTOR if config.batch_size is None else (config.batch_size / 32) ** 0.5
    rate *= min(max(size, SMALLEST_FACTOR), LARGEST_FACTOR)
    return rate * (1.0 - config.momentum) if config.optimizer in ("momentum", "nesterov") else rate


def dropout_for(config: Config, network: Network) -> tuple[float, ...]:
    """The share of dropped units of each hidden layer; empty where nothing is dropped.

    Raises
    ------
    UsageError
        another number of shares than of hidden layers; both are named

    Examples
    --------
    >>> dropout_for(Config(dropout=0.5), Network((784, 16, 16, 10), ("relu", "relu", "softmax"), "cross_entropy"))
    (0.5, 0.5)
    """
    shares, n_hidden = config.hidden_dropout, len(network.sizes) - 2
    if len(shares) == 1 and (n_hidden or not shares[0]):
        shares *= n_hidden
    if len(shares) != n_hidden:
        raise UsageError(
            f"dropout {config.dropout} is for {len(shares)} hidden layer{'s' * (len(shares) > 1)}, and the network "
            f"{network} has {n_hidden}; give one number, or one for each"
        )
    return shares if any(shares) else ()


def rule_for(config: Config, network: Network, batch_size: int) -> Settings:
    """The update rule as engines take it.

    Raises
    ------
    UsageError
        see `dropout_for`
    """
    return Settings(
        optimizer=OPTIMIZER.get(config.optimizer, SGD),  # lbfgs asks for gradients alone
        batch_size=batch_size,
        momentum=config.momentum,
        beta_1=config.beta_1,
        beta_2=config.beta_2,
        rho=config.rho,
        epsilon=config.epsilon,
        decay=config.weight_decay,
        dropout=dropout_for(config, network),
        seed=config.seed,
        clip_norm=config.clip_norm or 0.0,
    )


def _output_for(config: Config, data: Dataset) -> tuple[str, str]:
    """(cost, output activation), each taken from the other where only one is given."""
    cost, output_activation = config.cost, config.output_activation
    if cost is None:
        if output_activation in ("exponential", "step"):
            cost = "poisson" if output_activation == "exponential" else "perceptron"
        elif data.is_regression or output_activation in ("identity", "tanh", "relu", "leaky_relu"):
            cost = "squared_error"
        else:
            cost = "binary_cross_entropy" if output_activation == "sigmoid" else "cross_entropy"
    if output_activation is None:
        output_activation = OUTPUT_OF.get(cost, "identity" if data.is_regression else "sigmoid")
    return cost, output_activation


def _refuse_misfit(text: str, sizes: tuple[int, ...], data: Dataset, n_outputs: int) -> None:
    """Raise UsageError for a list that is meant to name all layers but does not fit the data."""
    ends = (bool(sizes) and sizes[0] == data.n_features, bool(sizes) and sizes[-1] == n_outputs)
    if len(sizes) <= MOST_HIDDEN_LAYERS and not (len(sizes) == MOST_HIDDEN_LAYERS and any(ends)):
        return
    if not ends[0]:
        raise UsageError(
            f"layers {text} begins with {sizes[0]} inputs, but {data.name} has {data.n_features} features; "
            f"lists of more than {MOST_HIDDEN_LAYERS} sizes name all layers"
        )
    raise UsageError(
        f"layers {text} ends with {sizes[-1]} outputs, but {data.name} needs {n_outputs}; "
        f"lists of more than {MOST_HIDDEN_LAYERS} sizes name all layers"
    )
