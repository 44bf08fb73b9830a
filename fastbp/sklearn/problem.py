"""What one fit works on: the training samples with their targets and weights, and the samples that it is validated on.

Rows that are set aside for early stopping stay where they are: an engine holds all samples and visits the others.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from .engines import Shape, Targets

__all__ = ["Problem", "Validation", "set_aside"]

Array = NDArray[Any]


class Validation(NamedTuple):
    """Samples that choose when to stop; nothing is learnt from them."""

    X: Any
    labels: Any  # as `predict` answers
    targets: Array  # (n, n_outputs)
    weights: Array | None


class Problem(NamedTuple):
    """One fit."""

    X: Any  # from `engines.samples`
    labels: Any  # y as the user gave it, checked
    targets: Targets
    weights: Array | None  # (n,) sample weights times class weights
    shape: Shape
    validation: Validation | None
    rows: Array | None = None  # which rows are trained on; None: all

    @property
    def n_trained(self) -> int:
        """How many samples are trained on."""
        return int(self.X.shape[0]) if self.rows is None else len(self.rows)


def set_aside(problem: Problem, fraction: float, random_state: Any, stratify: Any) -> Problem:
    """Split off a validation set, with the same random numbers as scikit-learn's MLP.

    Parameters
    ----------
    fraction : float
    random_state : RandomState
    stratify : (n,) array or None
        both parts get the same shares of these values

    Raises
    ------
    ValueError
        fewer than two samples are left for validation
    """
    rows = np.arange(problem.X.shape[0])
    trained, held = train_test_split(rows, random_state=random_state, test_size=fraction, stratify=stratify)
    if len(held) < 2:
        raise ValueError(
            f"The validation set is too small: {len(held)} of {len(rows)} samples. "
            "Increase 'validation_fraction' or the size of your dataset."
        )
    validation = Validation(
        problem.X[held],
        problem.labels[held],
        problem.targets.dense(held),
        None if problem.weights is None else problem.weights[held],
    )
    return problem._replace(rows=trained, validation=validation)
