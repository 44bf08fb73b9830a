"""From measurements to sentences: what is unusual about a network, why that hurts, and what to do about it.

Facts about layers, answers and noise come in; `Finding`s go out, none where nothing is unusual. The thresholds stand
here, with the reason for each; those of a finding lie well away from what healthy networks measure. Nothing is computed
from samples here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .diagnostics import LayerFacts
    from .noise import NoiseAnswers

__all__ = ["FEWEST_SAMPLES", "Finding", "of_answers", "of_gradients", "of_noise", "of_units"]

VANISHING, EXPLODING = 1e-3, 1e3
MOSTLY_SATURATED = 0.95
STUCK_UNITS = 0.1
MOSTLY_SURE = 0.5
FEWEST_SAMPLES = 50  # a unit that is active on one sample in ten is silent on so many once in 200 times


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something unusual.

    Attributes
    ----------
    kind : str
        vanishing, exploding, saturated, dead, one answer, or noise
    layer : int or None
        the first one concerned, counted from 1; None where the network as a whole is meant
    text : str
        one sentence for people: what it is, and what to do
    """

    kind: str
    layer: int | None
    text: str


def of_gradients(layers: Sequence[LayerFacts], loss: float) -> Iterator[Finding]:
    """Gradients that vanish or explode on their way to the first layers.

    They are judged by `delta_norm`, the error that comes back to a layer: a hidden layer's below 1/1,000 of the last
    layer's vanishes, above 1,000 times it explodes. With one learning rate for all layers, such a layer stands still
    while the others learn, or is torn about while they do not. A layer of sigmoids passes on at most a quarter of what
    its weights bring back: ten such layers shrink it to about 0.25^9 = 4e-6. Networks of two to ten layers that read
    digits well measure 0.3 to 4. The gradient itself, which the sentence names too, would be a bad judge: it grows with
    the inputs of its layer, and cancels between samples where a network has converged.

    One finding names the first layer of those concerned. No gradient at all in spite of a cost is a finding, too.

    Parameters
    ----------
    layers : sequence of LayerFacts
    loss : float
        mean cost per sample
    """
    n, last = len(layers), layers[-1]
    if last.delta_norm == 0.0:
        if loss > 0.0:
            yield Finding(
                kind="vanishing",
                layer=n,
                text=f"no layer gets any gradient although the mean cost is {loss:.3g}: the outputs are stuck where "
                f"{last.activation} is flat; begin again with smaller weights or a lower learning rate",
            )
        return
    relative = [facts.delta_norm / last.delta_norm for facts in layers]
    small = [number for number, value in enumerate(relative) if value < VANISHING]
    large = [number for number, value in enumerate(relative) if not value <= EXPLODING]  # NaN is too large as well
    if small:
        facts, others = layers[small[0]], _others(len(small) - 1)
        if facts.delta_norm == 0.0:
            text = (
                f"layer {facts.layer} of {n} gets no gradient at all{others}: the units above it are dead or "
                "saturated, or their weights are 0; begin again with a lower learning rate or other initial weights"
            )
        else:
            text = (
                f"{_speed(facts, last, n)} the error that comes back to it has shrunk to {_power(relative[small[0]])} "
                f"of the last layer's, and its gradient vanishes{others}; {_less_shrinking(layers)}, or fewer layers"
            )
        yield Finding(kind="vanishing", layer=facts.layer, text=text)
    if large:
        text = (
            f"the error that comes back to layer {layers[large[0]].layer} of {n} has grown to "
            f"{_power(relative[large[0]])} times the last layer's: its gradient explodes{_others(len(large) - 1)}; "
            "begin with smaller weights (init he for relu, glorot for the others), use a lower learning rate, or fewer "
            "layers"
        )
        yield Finding(kind="exploding", layer=layers[large[0]].layer, text=text)


def of_units(layers: Sequence[LayerFacts], n_samples: int) -> Iterator[Finding]:
    """Hidden units that are stuck: saturated sigmoids and tanhs, dead relus.

    A layer is saturated where 95 % of its activations are, or 10 % of its units on every sample. Much less is no sign
    of trouble: units that tell two things apart are near their limits most of the time, and networks that read 96 % of
    the digits rightly have up to 87 % of saturated activations in their first layer. Of relu units, 10 % that are dead
    are a finding: they add nothing, and as their gradient is 0 they stay as they are. What units do on every sample is
    judged where there are 50 or more. The output layer is left out: there, 0 and 1 are what is wanted. One finding for
    each kind names all layers concerned.

    Parameters
    ----------
    layers : sequence of LayerFacts
    n_samples : int
        that they were measured on
    """
    n, enough = len(layers), n_samples >= FEWEST_SAMPLES
    saturated = [facts for facts in layers[:-1] if _is_saturated(facts, enough)]
    dead = [facts for facts in layers[:-1] if enough and (facts.dead_share or 0.0) >= STUCK_UNITS]
    if saturated:
        n_units = sum(facts.n_units for facts in saturated)
        share = sum((facts.saturated_share or 0.0) * facts.n_units for facts in saturated) / n_units
        stuck = sum(facts.saturated_units or 0 for facts in saturated) if enough else 0
        units = f", {stuck} of the {n_units} units on every sample" if stuck else ""
        text = (
            f"{_percent(share)} of the activations of {_named(saturated, n)} are saturated{units}, and let little "
            "gradient through; scale the inputs, begin with smaller weights, or use a lower learning rate"
        )
        yield Finding(kind="saturated", layer=saturated[0].layer, text=text)
    if dead:
        n_dead, n_units = sum(facts.dead_units or 0 for facts in dead), sum(facts.n_units for facts in dead)
        closed = [facts for facts in dead if facts.dead_units == facts.n_units]
        text = (
            f"{n_dead} of the {n_units} relu units of {_named(dead, n)} are dead: positive on none of the "
            f"{n_samples:,} samples, they get no gradient; use a lower learning rate, or leaky_relu"
        )
        if closed:
            text = (
                f"all relu units of {_named(closed, n)} are dead: nothing gets through, and the network gives one "
                "answer to everything; begin again with a lower learning rate, or leaky_relu"
            )
        yield Finding(kind="dead", layer=dead[0].layer, text=text)


def of_answers(counts: NDArray[np.int64], class_names: Sequence[str]) -> Iterator[Finding]:
    """A network that gives the same answer to 50 or more samples of several classes.

    Parameters
    ----------
    counts : (n_classes, n_classes) int64
        a confusion matrix: rows are the true classes, columns the answers
    class_names : sequence of str

    Examples
    --------
    >>> [finding.text for finding in of_answers(np.array([[30, 0], [20, 0]]), ("cat", "dog"))]
    ["it answers 'cat' to every sample, whatever it is shown"]
    """
    given = np.flatnonzero(counts.sum(axis=0))
    if len(given) == 1 and np.count_nonzero(counts.sum(axis=1)) > 1 and counts.sum() >= FEWEST_SAMPLES:
        text = f"it answers '{class_names[given[0]]}' to every sample, whatever it is shown"
        yield Finding(kind="one answer", layer=None, text=text)


def of_noise(noise: NoiseAnswers, class_names: Sequence[str]) -> Iterator[Finding]:
    """A network that is sure about noise: half of its answers have a probability of 0.9 or more.

    Parameters
    ----------
    noise : NoiseAnswers
    class_names : sequence of str
    """
    if noise.sure_share < MOSTLY_SURE:
        return
    favourite = int(np.argmax(noise.counts))
    share = noise.counts[favourite] / noise.n_samples
    yield Finding(
        kind="noise",
        layer=None,
        text=f"it is sure about noise: {_percent(noise.sure_share)} of its answers to {noise.n_samples:,} samples of "
        f"noise have a probability of 90 % or more, and {_percent(share)} are '{class_names[favourite]}'; do not trust "
        "its probabilities where a sample may belong to no class",
    )


def _is_saturated(facts: LayerFacts, enough: bool) -> bool:
    """Where `enough` samples were seen, what a unit does on all of them counts, too."""
    if facts.saturated_share is None or facts.saturated_units is None:
        return False
    return facts.saturated_share >= MOSTLY_SATURATED or (
        enough and facts.saturated_units >= STUCK_UNITS * facts.n_units
    )


def _named(some: Sequence[LayerFacts], n: int) -> str:
    """layer 2 of 3; layers 1, 2 of 3."""
    return f"layer{'s' if len(some) > 1 else ''} {', '.join(str(facts.layer) for facts in some)} of {n}"


def _speed(facts: LayerFacts, last: LayerFacts, n: int) -> str:
    """How fast a layer learns compared with the last one, where its gradient says so too."""
    speed = facts.gradient_norm / last.gradient_norm if last.gradient_norm else 1.0
    which = f"layer {facts.layer} of {n}"
    return f"{which} learns {_power(speed)} times as fast as the last:" if speed < 0.1 else f"{which} is cut off:"


def _others(count: int) -> str:
    return "" if count == 0 else f" (and so does that of {count} other layer{'s' if count > 1 else ''})"


def _less_shrinking(layers: Sequence[LayerFacts]) -> str:
    """What keeps errors from shrinking in this network."""
    has_limits = any(facts.activation in ("sigmoid", "tanh") for facts in layers[:-1])
    return "use relu with init he" if has_limits else "begin with init he"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _power(value: float) -> str:
    """One digit and a power of ten: 3e-6."""
    digit, _, exponent = f"{value:.0e}".partition("e")
    return f"{digit}e{int(exponent)}" if exponent else digit
