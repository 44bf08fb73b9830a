"""What goes on inside a trained network: gradients, stuck units, mistakes, and its answer to noise.

A model with samples and their targets comes in; small frozen records of plain numbers go out. `diagnose` measures
everything in one pass, and says in sentences what is unusual (`fastbp.symptoms`). The gradients are those of
`fastbp.gradients`: of the mean cost over the samples, without weight decay, in float64. Refused: what `Model.evaluate`
refuses, and networks with step units, which have no gradient.

Layers are counted from 1, as in model files: layer l has the weights ``weights.l``. Units, inputs, classes and samples
are counted from 0, as in arrays.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import UsageError
from .gradients import Measured, measure
from .metrics import confusion_matrix
from .model import Model
from .network import Network
from .noise import NoiseAnswers, answers_to_noise, probabilities
from .symptoms import Finding, of_answers, of_gradients, of_noise, of_units

__all__ = [
    "Confusion",
    "Diagnosis",
    "Finding",
    "ImportantParameter",
    "LayerFacts",
    "NoiseAnswers",
    "WorstSample",
    "answers_to_noise",
    "confusions",
    "diagnose",
    "important_parameters",
    "layer_facts",
    "probabilities",
    "saliency",
    "worst_samples",
]

FloatArray = NDArray[np.float64]

ANSWER_VALUES = 1 << 20  # outputs that are kept at a time


@dataclass(frozen=True, kw_only=True)
class LayerFacts:
    """One layer: the weights, and the units they lead to, on some samples.

    Attributes
    ----------
    layer : int
        the first is 1
    n_inputs, n_units : int
        shape of the weights; those of maxout have two columns per unit
    activation : str
    gradient_norm : float
        Euclidean norm of the gradient by the weights; biases are left out
    gradient_ratio : float or None
        that norm divided by the one of the next layer; None for the last layer, or where the next layer's is 0
    delta_norm : float
        root mean square over the samples of the norm of delta = dJ_i/dz, J_i being a sample's cost. Deltas do not
        cancel between samples, as gradients do where a network has converged
    saturated_share : float or None
        share of the activations, over units and samples, within 1 % of the range from a limit of sigmoid (0, 1) or tanh
        (-1, 1), where the derivative is below 4 % of its largest; None for other activations
    saturated_units : int or None
        units that are saturated on every sample
    dead_share, dead_units : float, int, or None
        relu units that are positive on none of the samples: their share of the layer, their number
    mean, deviation : float
        of the activations, over units and samples
    weight_norm : float
        Euclidean
    largest_weight : float
        the one of the largest magnitude, with its sign
    """

    layer: int
    n_inputs: int
    n_units: int
    activation: str
    gradient_norm: float
    gradient_ratio: float | None
    delta_norm: float
    saturated_share: float | None
    saturated_units: int | None
    dead_share: float | None
    dead_units: int | None
    mean: float
    deviation: float
    weight_norm: float
    largest_weight: float


@dataclass(frozen=True, kw_only=True)
class ImportantParameter:
    """A weight, or a bias where `from_unit` is None, and the gradient by it.

    The gradient's sign says which way the parameter should not move, its size how much the parameter matters. Of a
    maxout unit, `piece` is 0 or 1.
    """

    layer: int
    from_unit: int | None
    to_unit: int
    value: float
    gradient: float
    piece: int | None = None


@dataclass(frozen=True, kw_only=True)
class WorstSample:
    """A sample with a high cost: its index among those given, what it is, and what the network says.

    `target` and `answer` are class numbers, or tuples of values in the units of the data. The probabilities are those
    that the network gives to its answer and to the target; None for values.
    """

    index: int
    cost: float
    target: int | tuple[float, ...]
    answer: int | tuple[float, ...]
    probability: float | None
    target_probability: float | None


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """`count` samples of the class `target` are taken for the class `answer`: a `share` of that class's samples."""

    target: int
    answer: int
    count: int
    share: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Diagnosis:
    """Everything that `diagnose` measures. For target values there are no accuracy, confusions and noise.

    Attributes
    ----------
    n_samples : int
    loss, accuracy : float
        as `Model.evaluate` measures them
    findings : tuple of Finding
        what is unusual; empty where nothing is
    layers : tuple of LayerFacts
    parameters : tuple of ImportantParameter
    saliency : (n_features,) float64
    worst : tuple of WorstSample
    confusions : tuple of Confusion
    noise : NoiseAnswers or None
    """

    n_samples: int
    loss: float
    accuracy: float | None
    findings: tuple[Finding, ...]
    layers: tuple[LayerFacts, ...]
    parameters: tuple[ImportantParameter, ...]
    saliency: FloatArray
    worst: tuple[WorstSample, ...]
    confusions: tuple[Confusion, ...]
    noise: NoiseAnswers | None

    def as_dict(self) -> dict[str, Any]:
        """All fields by name, as plain values and one array."""
        return dataclasses.asdict(self)


def diagnose(model: Model, x: ArrayLike, y: ArrayLike, *, top: int = 5, seed: int = 0) -> Diagnosis:
    """Measure a network on some samples, and say what is unusual about it.

    Parameters
    ----------
    model : Model
    x, y : as for `Model.evaluate`
    top : int
        how many parameters, samples and confusions are named
    seed : int
        of the noise

    Raises
    ------
    UsageError
        what `Model.evaluate` refuses; step units, which have no gradient; `top` below 1

    Examples
    --------
    >>> network = Network((1, 1, 1), ("sigmoid", "identity"), "squared_error")
    >>> stuck = Model(network, np.array([80.0, -30.0, 1.0, 0.0]))
    >>> diagnosis = diagnose(stuck, [[0.0], [1.0]], [[0.5], [2.0]])
    >>> [finding.kind for finding in diagnosis.findings]
    ['vanishing', 'saturated']
    """
    measured = measure(model, x, y)
    layers = _layer_facts(model, measured)
    findings = [*of_gradients(layers, measured.loss), *of_units(layers, len(measured.x))]
    mistaken: tuple[Confusion, ...] = ()
    noise = None
    if not model.is_regression:
        counts = confusion_matrix(_answers(model, measured.x), measured.y, len(model.class_names))
        mistaken = _confusions(counts, top)
        noise = answers_to_noise(model, x, seed=seed)
        findings += [*of_answers(counts, model.class_names), *of_noise(noise, model.class_names)]
    return Diagnosis(
        n_samples=len(measured.x),
        loss=measured.loss,
        accuracy=measured.accuracy,
        findings=tuple(findings),
        layers=layers,
        parameters=_important(model, measured, top),
        saliency=measured.sensitivity,
        worst=_worst(model, measured, top),
        confusions=mistaken,
        noise=noise,
    )


def layer_facts(model: Model, x: ArrayLike, y: ArrayLike) -> tuple[LayerFacts, ...]:
    """Gradients, activations and weights of each layer, the first layer first. Errors are those of `diagnose`.

    Examples
    --------
    >>> network = Network((2, 2, 1), ("relu", "identity"), "squared_error")
    >>> model = Model(network, np.array([1.0, 0, 1, 0, 0, -1, 3, 5, 0]))  # the hidden units are x0 + x1, and dead
    >>> first, last = layer_facts(model, [[1.0, 1.0]], [[5.0]])  # it answers 6
    >>> first.dead_units, first.mean, last.gradient_norm
    (1, 1.0, 2.0)
    """
    return _layer_facts(model, measure(model, x, y))


def important_parameters(model: Model, x: ArrayLike, y: ArrayLike, top: int = 10) -> tuple[ImportantParameter, ...]:
    """The weights and biases with the largest gradients, the largest first. Errors are those of `diagnose`.

    Examples
    --------
    >>> line = Model(Network((2, 1), ("identity",), "squared_error"), np.array([2.0, 0.0, 1.0]))
    >>> important_parameters(line, [[3.0, 0.0]], [[8.0]], top=1)  # it answers 7
    (ImportantParameter(layer=1, from_unit=0, to_unit=0, value=2.0, gradient=-3.0, piece=None),)
    """
    return _important(model, measure(model, x, y), top)


def saliency(model: Model, x: ArrayLike, y: ArrayLike) -> FloatArray:
    """How much each input matters: the mean over the samples of |dJ_i/dx|, J_i being a sample's cost.

    x is taken as the network sees it, scaled, so that features in different units compare. Errors are those of
    `diagnose`. After Simonyan, Vedaldi, Zisserman 2013, "Deep inside convolutional networks", with the cost in the
    place of a class's score.

    Returns
    -------
    saliency : (n_features,) float64

    Examples
    --------
    >>> line = Model(Network((2, 1), ("identity",), "squared_error"), np.array([2.0, 0.0, 1.0]))
    >>> saliency(line, [[1.0, 7.0], [3.0, 7.0]], [[2.0], [8.0]])  # errors of 1 and -1, times the weights
    array([2., 0.])
    """
    return measure(model, x, y).sensitivity


def worst_samples(model: Model, x: ArrayLike, y: ArrayLike, top: int = 10) -> tuple[WorstSample, ...]:
    """The samples with the highest cost, the highest first; some may be answered rightly. Errors as for `diagnose`.

    Examples
    --------
    >>> line = Model(Network((1, 1), ("identity",), "squared_error"), np.array([2.0, 1.0]))
    >>> [worst] = worst_samples(line, [[1.0], [2.0]], [[3.0], [9.0]], top=1)
    >>> worst.index, worst.target, worst.answer, worst.cost
    (1, (9.0,), (5.0,), 8.0)
    """
    return _worst(model, measure(model, x, y), top)


def confusions(model: Model, x: ArrayLike, y: ArrayLike, top: int = 10) -> tuple[Confusion, ...]:
    """Which class is taken for which other one: at most `top` pairs, the most frequent first.

    Raises
    ------
    UsageError
        what `Model.evaluate` refuses; a model of target values; `top` below 1

    Examples
    --------
    >>> network = Network((1, 2), ("softmax",), "cross_entropy")
    >>> always_a = Model(network, np.array([0.0, 0, 1, 0]), class_names=("a", "b"))
    >>> confusions(always_a, [[1.0], [2.0], [3.0]], [0, 1, 1])
    (Confusion(target=1, answer=0, count=2, share=1.0),)
    """
    if model.is_regression:
        raise UsageError("this model answers with values, not classes; worst_samples names its largest errors")
    model.evaluate(x, y)
    answers = _answers(model, np.asarray(x))
    return _confusions(confusion_matrix(answers, np.asarray(y), len(model.class_names)), top)


def _layer_facts(model: Model, measured: Measured) -> tuple[LayerFacts, ...]:
    """One record per layer."""
    with np.errstate(over="ignore"):
        norms = [float(np.linalg.norm(dW)) for dW, _ in model.network.layers_of(measured.gradient)]
    facts = []
    for number, (W, _) in enumerate(model.network.layers_of(model.parameters.astype(np.float64))):
        seen, n_units = measured.activity[number], model.network.sizes[number + 1]
        above = norms[number + 1] if number + 1 < len(norms) else 0.0
        has_limits, is_relu = seen.activation in ("sigmoid", "tanh"), seen.activation == "relu"
        n_dead = int((~seen.ever_positive).sum())
        facts.append(
            LayerFacts(
                layer=number + 1,
                n_inputs=W.shape[0],
                n_units=n_units,
                activation=seen.activation,
                gradient_norm=norms[number],
                gradient_ratio=norms[number] / above if above else None,
                delta_norm=float(measured.delta_norms[number]),
                saturated_share=seen.n_saturated / seen.n_values if has_limits else None,
                saturated_units=int(seen.always_saturated.sum()) if has_limits else None,
                dead_share=n_dead / n_units if is_relu else None,
                dead_units=n_dead if is_relu else None,
                mean=seen.mean,
                deviation=seen.deviation,
                weight_norm=float(np.linalg.norm(W)),
                largest_weight=float(W.flat[np.abs(W).argmax()]),
            )
        )
    return tuple(facts)


def _important(model: Model, measured: Measured, top: int) -> tuple[ImportantParameter, ...]:
    """The parameters with the largest gradients; those without any are left out."""
    size = np.abs(measured.gradient)
    n = min(_checked_top(top), size.size)
    places = np.argpartition(-size, n - 1)[:n]
    places = places[np.lexsort((places, -size[places]))]
    return tuple(
        ImportantParameter(
            layer=layer,
            from_unit=from_unit,
            to_unit=to_unit,
            value=float(model.parameters[place]),
            gradient=float(measured.gradient[place]),
            piece=piece,
        )
        for place in places[size[places] > 0].tolist()
        for layer, from_unit, to_unit, piece in [_position(model.network, place)]
    )


def _position(network: Network, place: int) -> tuple[int, int | None, int, int | None]:
    """(layer, input unit or None for a bias, output unit, piece of a maxout unit or None) of a place in theta."""
    for layer, (n_in, n_columns) in enumerate(network.shapes, start=1):
        row, column = divmod(place, n_columns)  # a layer's biases follow its weights, as row n_in
        if row <= n_in:
            piece, unit = divmod(column, network.sizes[layer])
            return layer, row if row < n_in else None, unit, piece if n_columns > network.sizes[layer] else None
        place -= (n_in + 1) * n_columns
    raise IndexError(f"{network} has no parameter {place} after its last")


def _worst(model: Model, measured: Measured, top: int) -> tuple[WorstSample, ...]:
    """The samples with the highest cost, the first of equals first."""
    chosen = np.argsort(-measured.costs, kind="stable")[: _checked_top(top)]
    x, targets, costs = measured.x[chosen], measured.y[chosen], measured.costs[chosen].tolist()
    answers = model.predict(x)
    if model.is_regression:
        values = zip(chosen.tolist(), costs, targets.astype(np.float64).tolist(), answers.tolist(), strict=True)
        return tuple(
            WorstSample(
                index=index,
                cost=cost,
                target=tuple(target),
                answer=tuple(answer),
                probability=None,
                target_probability=None,
            )
            for index, cost, target, answer in values
        )
    shares = probabilities(model, model.outputs(x))
    classes = zip(chosen.tolist(), costs, shares.tolist(), map(int, targets), map(int, answers), strict=True)
    return tuple(
        WorstSample(
            index=index,
            cost=cost,
            target=target,
            answer=answer,
            probability=share[answer],
            target_probability=share[target],
        )
        for index, cost, share, target, answer in classes
    )


def _confusions(counts: NDArray[np.int64], top: int) -> tuple[Confusion, ...]:
    """The largest entries beside the diagonal of a confusion matrix."""
    totals = counts.sum(axis=1)
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[: _checked_top(top)]
    pairs = [divmod(place, len(counts)) for place in order.tolist()]
    return tuple(
        Confusion(
            target=row, answer=column, count=int(wrong[row, column]), share=float(wrong[row, column] / totals[row])
        )
        for row, column in pairs
        if wrong[row, column]
    )


def _answers(model: Model, x: NDArray[Any]) -> NDArray[Any]:
    """`Model.predict`, for some rows at a time, so that not all outputs are in memory at once."""
    n_rows = max(1, ANSWER_VALUES // model.network.sizes[-1])
    return np.concatenate([model.predict(x[start : start + n_rows]) for start in range(0, len(x), n_rows)])


def _checked_top(top: int) -> int:
    if top < 1:
        raise UsageError(f"top must be at least 1, got {top}")
    return top
