"""Models that come from scikit-learn and PyTorch, and models that go to scikit-learn.

In and out: a fitted `MLPClassifier` or `MLPRegressor`, alone or behind a scaler in a `Pipeline`; and, in only, the
weights of a PyTorch `nn.Sequential` of Linear layers, from a safetensors file or as a mapping of arrays. PyTorch itself
is not needed, scikit-learn only for its own estimators. The answers are the same before and after, to rounding. What
the other side cannot express, or a file leaves open, is refused in one sentence, never approximated.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from .errors import FastbpError, ModelError, UsageError
from .model import Model
from .model_file import read_bytes, shown
from .network import Network
from .preprocessing import Scaling

__all__ = ["from_sklearn", "from_torch", "to_sklearn"]

Array = NDArray[Any]
Layers = list[tuple[Array, Array]]  # (W, b) with W (n_in, n_out), first layer first

OURS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu", "softmax": "softmax"}
SKLEARN = {ours: theirs for theirs, ours in OURS.items() if ours != "softmax"}
COSTS = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"}

PICKLES = (b"PK\x03\x04", b"\x80")  # torch.save writes a zip archive, and once wrote a bare pickle
FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
FLOAT_NAMES = ("float64", "float32", "float16", "bfloat16")


def from_sklearn(estimator: Any) -> Model:
    """The network of a fitted scikit-learn MLPClassifier or MLPRegressor.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor, or a Pipeline of a scaler (Standard-, MinMax- or MaxAbsScaler) and one
        the scaler becomes the model's input scaling. Classes keep their order: ``estimator.classes_[model.predict(x)]``
        is what ``estimator.predict(x)`` says; their names are texts

    Returns
    -------
    Model
        in the precision of the estimator's weights

    Raises
    ------
    UsageError
        something else; an estimator that is not fitted, multi-label, or has the loss poisson
    FastbpError
        scikit-learn is not installed

    Examples
    --------
    >>> from sklearn.neural_network import MLPClassifier  # doctest: +SKIP
    >>> model = from_sklearn(MLPClassifier((16,)).fit(x, y))  # doctest: +SKIP
    """
    _require_sklearn("from_sklearn")
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    inputs, mlp = _scaling_and_mlp(estimator)
    if not isinstance(mlp, MLPClassifier | MLPRegressor):
        raise UsageError(
            f"from_sklearn takes an MLPClassifier, an MLPRegressor, or a Pipeline of a scaler and one of these, "
            f"got {type(mlp).__name__}"
        )
    if not hasattr(mlp, "coefs_"):
        raise UsageError(f"this {type(mlp).__name__} is not fitted; call its fit first")
    names: list[str] = []
    if isinstance(mlp, MLPClassifier):
        names = [str(name) for name in mlp.classes_]
        if mlp._label_binarizer.y_type_.startswith("multilabel"):
            raise UsageError("this MLPClassifier is multi-label, and a model names one class; fit one for each label")
    elif mlp.out_activation_ not in OURS:
        raise UsageError(
            f"this MLPRegressor has the output activation {mlp.out_activation_}, of loss {mlp.loss!r}, which fastbp "
            "lacks; fit it with loss='squared_error'"
        )
    hidden, output = [OURS[mlp.activation]] * (len(mlp.coefs_) - 1), OURS[mlp.out_activation_]
    layers = list(zip(mlp.coefs_, mlp.intercepts_, strict=True))
    return _model(layers, (*hidden, output), COSTS.get(output, "squared_error"), names, inputs)


def to_sklearn(model: Model) -> Any:
    """A fitted scikit-learn MLPClassifier or MLPRegressor with a model's network.

    It takes the same raw samples: the scaling of inputs is multiplied into the first layer's weights, that of target
    values into the last layer's. `predict` says class names (numbers where the names are 0, 1, 2, ...). It has what
    `predict`, `predict_proba`, `score` and `partial_fit` need; how it would train on are scikit-learn's defaults.

    Parameters
    ----------
    model : Model
        hidden layers of one activation: identity, sigmoid, tanh or relu. Classes: softmax, or a single sigmoid output.
        Target values: identity output

    Returns
    -------
    MLPClassifier or MLPRegressor
        with float64 weights

    Raises
    ------
    UsageError
        a network that scikit-learn cannot express; what it can is named
    FastbpError
        scikit-learn is not installed

    Examples
    --------
    >>> import fastbp
    >>> digits = fastbp.load_dataset("digits")  # doctest: +SKIP
    >>> to_sklearn(fastbp.train(digits).model).predict(digits.x_test)  # doctest: +SKIP
    """
    activation = _one_hidden_activation(model.network)
    layers = _folded(model)
    classes: Array | None = None
    if not model.is_regression:
        classes, layers = _sorted_classes(model, layers)
    elif model.network.activations[-1] != "identity":
        raise UsageError(
            f"scikit-learn's MLPRegressor has the output activation identity, this model has "
            f"{model.network.activations[-1]}; train it with output_activation identity"
        )
    _require_sklearn("to_sklearn")
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.preprocessing import LabelBinarizer

    kind = MLPRegressor if classes is None else MLPClassifier
    mlp = kind(hidden_layer_sizes=model.network.sizes[1:-1], activation=activation)
    mlp.coefs_, mlp.intercepts_ = [W for W, _ in layers], [b for _, b in layers]
    mlp.n_features_in_, mlp.n_layers_, mlp.n_outputs_ = model.network.sizes[0], len(layers) + 1, len(layers[-1][1])
    mlp.out_activation_ = "identity"
    if classes is not None:
        mlp.out_activation_ = "logistic" if mlp.n_outputs_ == 1 else "softmax"
        mlp.classes_ = classes
        mlp._label_binarizer = LabelBinarizer().fit(classes)
    mlp.n_iter_ = mlp.t_ = mlp._no_improvement_count = 0  # and from here on, as before the first epoch
    mlp.loss_curve_, mlp.best_loss_ = [], np.inf
    mlp.validation_scores_ = mlp.best_validation_score_ = None
    return mlp


def from_torch(
    source: str | os.PathLike[str] | Mapping[str, Any],
    activation: str,
    *,
    output_activation: str = "softmax",
    class_names: Sequence[str] | None = None,
    inputs: Scaling | None = None,
    prefix: str | None = None,
) -> Model:
    """The network of a PyTorch nn.Sequential of Linear layers, from its weights. PyTorch itself is not needed.

    Weights do not say what stands between the layers: you do.

    Parameters
    ----------
    source : path of a safetensors file, or mapping of name to array
        what ``safetensors.torch.save_file(net.state_dict(), path)`` wrote, or ``net.state_dict()`` itself. Names are
        ``0.weight`` (n_out, n_in), ``0.bias`` (n_out,), ``2.weight``, ...; float64, float32, float16 or bfloat16
    activation : str
        of the hidden layers: one name, or a comma-separated list. PyTorch's LeakyReLU must have its default slope 0.01
    output_activation : str
        softmax where the net ends in the logits of a CrossEntropyLoss, sigmoid with BCEWithLogitsLoss, identity
        for target values
    class_names : sequence of str, optional
        by default 0, 1, 2, ... for softmax and sigmoid (two for a single sigmoid output), and none, that is target
        values, for others. Empty: target values
    inputs : Scaling, optional
        what is done to samples first, such as ``Scaling(0.0, 1 / 255)`` for torchvision's ToTensor; by default nothing
    prefix : str, optional
        what all names begin with, such as ``net.``; by default it is found. Names with another beginning are left out

    Returns
    -------
    Model
        float64 where a tensor is float64, else float32

    Raises
    ------
    ModelError
        no safetensors file; a layer that is not Linear, or has no bias; shapes that do not follow each other
    UsageError
        activations or class names that do not fit the layers

    Examples
    --------
    >>> weights = {"0.weight": np.eye(2), "0.bias": np.zeros(2), "2.weight": np.eye(2), "2.bias": np.array([0.0, 1.5])}
    >>> from_torch(weights, "relu").predict([[1.0, -5.0], [2.0, -5.0]])
    array([1, 0])
    """
    if isinstance(source, Mapping):
        name, tensors = "the mapping", {str(key): _as_array(str(key), value) for key, value in source.items()}
    else:
        name, tensors = shown(source), _read_tensors(source)
    numbers, layers = _linear_layers(name, tensors, prefix)
    if not isinstance(activation, str):
        raise UsageError(f"activation must be a text such as 'relu' or 'relu,tanh', got {activation!r}")
    hidden = [each.strip() for each in activation.split(",")]
    if len(hidden) == 1:
        hidden *= len(layers) - 1
    if len(hidden) != len(layers) - 1:
        raise UsageError(
            f"activation names {len(hidden)} hidden layers and {name} has {len(layers) - 1}; give one name, or one each"
        )
    if "maxout" in hidden:
        raise UsageError("maxout is no module of PyTorch, and an nn.Sequential of Linear layers cannot hold its pieces")
    for (before, after), each in zip(pairwise(numbers), hidden, strict=True):
        if after == before + 1 and each != "identity":
            raise UsageError(
                f"layers {before} and {after} of an nn.Sequential have nothing between them, so their activation is "
                f"identity, not {each}; if the model does call one there, number its layers {before}, {before + 2}, ..."
            )
    n_outputs = len(layers[-1][1])
    if class_names is None:
        n_classes = n_outputs if output_activation in COSTS else 0
        class_names = [str(k) for k in range(2 if n_classes == 1 else n_classes)]
    if n_outputs == 1 and output_activation == "softmax":
        raise UsageError("one softmax output is always 1; use output_activation sigmoid, or identity for target values")
    cost = COSTS.get(output_activation, "squared_error")
    return _model(layers, (*hidden, output_activation), cost, class_names, inputs)


def _model(
    layers: Layers, activations: Sequence[str], cost: str, class_names: Sequence[str], inputs: Scaling | None
) -> Model:
    """A model from weights and biases, layer by layer; float64 where one of them is."""
    network = Network([len(layers[0][0]), *(len(b) for _, b in layers)], activations, cost)
    theta = np.concatenate([part.ravel() for pair in layers for part in pair])
    return Model(network, theta, inputs=inputs or Scaling(0.0, 1.0), class_names=tuple(class_names))


# scikit-learn


def _require_sklearn(what: str) -> None:
    """Raise FastbpError where scikit-learn is not installed."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise FastbpError(
            f"{what} needs scikit-learn, which is not installed; run: pip install 'fastbp[sklearn]'"
        ) from error


def _scaling_and_mlp(estimator: Any) -> tuple[Scaling | None, Any]:
    """The input scaling that a Pipeline begins with, and the estimator that it ends with."""
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler

    if not isinstance(estimator, Pipeline):
        return None, estimator
    steps = [step for _, step in estimator.steps if step not in (None, "passthrough")]
    if len(steps) == 1:
        return None, steps[0]
    kinds = " and ".join(type(step).__name__ for step in steps)
    if len(steps) != 2 or not isinstance(steps[0], StandardScaler | MinMaxScaler | MaxAbsScaler):
        raise UsageError(
            f"from_sklearn takes a Pipeline of one StandardScaler, MinMaxScaler or MaxAbsScaler and one MLP, got "
            f"{kinds}; leave the other steps outside"
        )
    scaler, mlp = steps
    if not hasattr(scaler, "n_features_in_"):
        raise UsageError(f"this {type(scaler).__name__} is not fitted; call the Pipeline's fit first")
    if getattr(scaler, "clip", False):
        raise UsageError(f"this {type(scaler).__name__} clips, and a model's input scaling does not; use clip=False")
    if isinstance(scaler, MinMaxScaler):
        return Scaling(-scaler.min_ / scaler.scale_, scaler.scale_), mlp
    nothing = np.zeros(scaler.n_features_in_)
    if isinstance(scaler, MaxAbsScaler):
        return Scaling(nothing, 1 / scaler.scale_), mlp
    return Scaling(
        scaler.mean_ if scaler.with_mean else nothing, 1 / scaler.scale_ if scaler.with_std else nothing + 1
    ), mlp


def _one_hidden_activation(network: Network) -> str:
    """scikit-learn's name of the activation that all hidden layers have; relu, its default, where there are none."""
    names = sorted(set(network.activations[:-1]))
    if len(names) > 1 or not set(names) <= set(SKLEARN):
        raise UsageError(
            f"scikit-learn's networks have one activation in all hidden layers, {', '.join(SKLEARN)}; this model has "
            f"{', '.join(network.activations[:-1])}"
        )
    return SKLEARN[names[0]] if names else "relu"


def _folded(model: Model) -> Layers:
    """The layers in float64, with both scalings multiplied into them.

    W a + b of (x - shift) scale:   W' = scale W (row by row),   b' = b - (shift scale) W
    y / scale + shift of W a + b:   W' = W / scale (column by column),   b' = b / scale + shift
    """
    layers = [(W.astype(np.float64), b.astype(np.float64)) for W, b in model.network.layers_of(model.parameters)]
    W, b = layers[0]
    shift, scale = (np.broadcast_to(part, len(W)) for part in (model.inputs.shift, model.inputs.scale))
    layers[0] = (W * scale[:, None], b - (shift * scale) @ W)
    if model.targets is not None:
        W, b = layers[-1]
        layers[-1] = (W / model.targets.scale, b / model.targets.scale + model.targets.shift)
    return layers


def _sorted_classes(model: Model, layers: Layers) -> tuple[Array, Layers]:
    """Classes in scikit-learn's order, which is sorted, and layers whose outputs follow it: one for two classes.

    Of two softmax outputs one is enough: exp(z_1) / (exp(z_0) + exp(z_1)) = sigmoid(z_1 - z_0).
    """
    n_outputs, output = model.network.sizes[-1], model.network.activations[-1]
    is_pair = n_outputs == 1 and output == "sigmoid" and len(model.class_names) == 2
    if not is_pair and (output != "softmax" or n_outputs == 1):
        raise UsageError(
            f"scikit-learn's MLPClassifier has softmax outputs, or one sigmoid output for two classes; this model has "
            f"{n_outputs} {output}; train it with output_activation softmax"
        )
    classes: Array = np.array(model.class_names)
    if all(name == str(number) for number, name in enumerate(model.class_names)):
        classes = np.arange(len(classes))
    order = np.argsort(classes)
    classes = classes[order]
    if (classes[1:] == classes[:-1]).any():
        raise UsageError("two classes of this model have the same name, and scikit-learn tells classes apart by name")
    W, b = layers[-1]
    if is_pair:
        sign = 1.0 if order[0] == 0 else -1.0
        W, b = sign * W, sign * b
    elif n_outputs == 2:
        W, b = W[:, order[1:]] - W[:, order[:1]], b[order[1:]] - b[order[:1]]
    else:
        W, b = W[:, order], b[order]
    return classes, [*layers[:-1], (W, b)]


# PyTorch


def _as_array(key: str, value: Any) -> Array:
    """A mapping's value as an array of floats."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # as tensors say that they are elsewhere, or bfloat16
        raise UsageError(
            f"{shown(key)} cannot be read as an array ({shown(str(error))}); give NumPy arrays, or tensors of a "
            "state_dict that are float32 and on the CPU"
        ) from None
    if array.dtype.name not in FLOAT_NAMES:
        raise ModelError(f"{shown(key)} is {array.dtype}, accepted are {', '.join(FLOAT_NAMES)}")
    return array.astype(np.float32) if array.dtype.itemsize == 2 else array


def _read_tensors(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The tensors of a safetensors file; half precision, of both kinds, becomes float32."""
    data, name = read_bytes(path), shown(path)
    try:
        found: list[tuple[str, dict[str, Any]]] = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        if data.startswith(PICKLES):
            raise ModelError(
                f"{name} looks like a file of torch.save, which is not read because it can hold code; write it with "
                "safetensors.torch.save_file(model.state_dict(), path)"
            ) from None
        raise ModelError(f"{name}: not a whole safetensors file ({shown(str(error))}); use an undamaged copy") from None
    tensors = {}
    for key, content in found:
        kind = content["dtype"]
        if kind not in FLOATS:
            raise ModelError(f"{name}: {shown(key)} is {kind}, accepted are {', '.join(FLOATS)}")
        values: Array = np.frombuffer(content["data"], FLOATS[kind])
        if kind == "BF16":  # the upper half of a float32
            values = (values.astype("<u4") << 16).view("<f4")
        native = values.astype(np.float64 if kind == "F64" else np.float32)
        tensors[key] = native.reshape(content["shape"])
    return tensors


def _linear_layers(name: str, tensors: Mapping[str, Array], prefix: str | None) -> tuple[list[int], Layers]:
    """The numbers of the Linear layers, and their weights as (n_in, n_out) with their biases."""
    found: dict[int, dict[str, Array]] = {}
    beginnings = set()
    for key, array in tensors.items():
        if prefix is not None and not key.startswith(prefix):
            continue
        parts = re.fullmatch(r"(.*?)([0-9]{1,9})\.(weight|bias)", key, re.DOTALL)
        if parts is None or (prefix is not None and parts[1] != prefix):
            raise ModelError(
                f"{name} holds {shown(key)}; only Linear layers of one nn.Sequential can be read, whose names end in a "
                "number and weight or bias"
            )
        beginnings.add(parts[1])
        found.setdefault(int(parts[2]), {})[parts[3]] = array
    if len(beginnings) > 1:
        both = ", ".join(shown(repr(each)) for each in sorted(beginnings)[:5])
        raise ModelError(f"{name} holds layers whose names begin with {both}; name one of these as prefix")
    if not found:
        where = "" if prefix is None else f" whose names begin with {shown(repr(prefix))}"
        raise ModelError(f"{name} holds no layers{where}; names such as 0.weight and 0.bias are needed")
    numbers = sorted(found)
    layers = [_linear(name, number, found[number]) for number in numbers]
    for (before, after), ((_, b), (W, _)) in zip(pairwise(numbers), pairwise(layers), strict=True):
        if len(b) != len(W):
            raise ModelError(
                f"{name}: layer {before} gives {len(b)} numbers and layer {after} takes {len(W)}; they must be equal, "
                "or a layer between them is missing"
            )
    return numbers, layers


def _linear(name: str, number: int, tensors: dict[str, Array]) -> tuple[Array, Array]:
    """(W, b) of one layer; PyTorch's weight is (n_out, n_in)."""
    for part in ("weight", "bias"):
        if part not in tensors:
            hint = "; for nn.Linear(..., bias=False) add one of zeros" if part == "bias" else ""
            raise ModelError(f"{name}: layer {number} has no {part}{hint}")
    weight, bias = tensors["weight"], tensors["bias"]
    if weight.ndim != 2:
        kind = "a convolution" if weight.ndim > 2 else "a normalization or a PReLU"
        raise ModelError(
            f"{name}: the weight of layer {number} has shape {weight.shape}, as of {kind}; only Linear layers can be "
            "read, whose weights are (n_out, n_in)"
        )
    if bias.shape != weight.shape[:1]:
        raise ModelError(
            f"{name}: layer {number} has a weight of shape {weight.shape} and a bias of shape {bias.shape}; "
            f"the bias must be {weight.shape[:1]}"
        )
    return weight.T, bias
