"""The answer to noise: which classes a network sees in samples without any, and how sure it is of that.

A model and the samples that give the range of its inputs come in, a `NoiseAnswers` goes out. The noise is drawn from
counter-based random numbers: one seed, one answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import UsageError
from .model import Model
from .streams import stream_key, uniform

__all__ = ["NoiseAnswers", "answers_to_noise", "probabilities"]

SURE = 0.9  # an answer with this probability or more is a sure one
BLOCK_ROWS = 100


@dataclass(frozen=True, kw_only=True)
class NoiseAnswers:
    """What a network says to samples of noise.

    Attributes
    ----------
    n_samples, seed : int
    counts : tuple of int
        how often each class is the answer
    probability : float
        mean of the probabilities that the network gives to its answers
    sure_share : float
        share of the answers with a probability of 0.9 or more
    """

    n_samples: int
    seed: int
    counts: tuple[int, ...]
    probability: float
    sure_share: float


def answers_to_noise(model: Model, x: ArrayLike, n_samples: int = 1000, seed: int = 0) -> NoiseAnswers:
    """What the network says to noise, drawn uniformly from the range of the samples x.

    A network has no way to say that it is shown none of its classes, and many are sure of what they see in noise.

    Parameters
    ----------
    model : Model
        of classes
    x : as for `Model.outputs`, one sample at least
        images have one range for all pixels, other samples one for each feature
    n_samples : int
        of noise; sample i is the same whatever their number
    seed : int

    Raises
    ------
    UsageError
        what `Model.outputs` refuses; no samples; a model of target values

    Examples
    --------
    >>> from fastbp.network import Network
    >>> network = Network((1, 2), ("softmax",), "cross_entropy")
    >>> coin = Model(network, np.zeros(4), class_names=("heads", "tails"))
    >>> answers_to_noise(coin, [[0.0], [1.0]], n_samples=3)
    NoiseAnswers(n_samples=3, seed=0, counts=(3, 0), probability=0.5, sure_share=0.0)
    """
    if model.is_regression:
        raise UsageError("this model answers with values, not classes, and values say nothing about how sure they are")
    samples = np.asarray(x)
    if samples.ndim == 0 or len(samples) == 0 or n_samples < 1:
        raise UsageError("there are no samples to take the range of noise from, or none to draw; at least 1 is needed")
    model.outputs(samples[:1])  # refuses other shapes
    samples = samples.reshape(len(samples), -1)
    axis = None if model.image_shape else 0
    low, high = (limit.astype(np.float64) for limit in (samples.min(axis=axis), samples.max(axis=axis)))
    counts = np.zeros(len(model.class_names), dtype=np.int64)
    certainty = np.empty(n_samples)
    for start in range(0, n_samples, BLOCK_ROWS):
        numbers = range(start, min(start + BLOCK_ROWS, n_samples))
        u = np.stack([uniform(stream_key(seed, "noise", i), samples.shape[1]) for i in numbers])
        noise = low * (1.0 - u) + high * u
        answers = model.predict(noise)
        counts += np.bincount(answers, minlength=len(counts))
        certainty[numbers] = probabilities(model, model.outputs(noise))[np.arange(len(answers)), answers]
    return NoiseAnswers(
        n_samples=n_samples,
        seed=seed,
        counts=tuple(counts.tolist()),
        probability=float(certainty.mean()),
        sure_share=float((certainty >= SURE).mean()),
    )


def probabilities(model: Model, outputs: ArrayLike) -> NDArray[np.float64]:
    """Outputs as shares of 1, one per class. Those of softmax already are; others are divided by their sum.

    Parameters
    ----------
    model : Model
        of classes; the -1..1 of tanh become 0..1 first, and negative outputs 0
    outputs : (n, n_outputs)

    Returns
    -------
    probabilities : (n, n_classes) float64
    """
    values = np.array(outputs, dtype=np.float64)
    if model.network.activations[-1] == "tanh":
        values = (values + 1) / 2
    values = np.maximum(values, 0.0)
    if values.shape[1] == 1:
        values = np.minimum(values, 1.0)
        return np.concatenate([1 - values, values], axis=1)
    if model.network.activations[-1] == "softmax":
        return values
    totals = values.sum(axis=1, keepdims=True)
    even = np.full_like(values, 1 / values.shape[1])
    return np.asarray(np.divide(values, totals, out=even, where=totals > 0))
